//! What travels when somebody joins: tickets and anchors on paper, drafts and answers on the wire.

use serde::{Deserialize, Serialize};

use crate::encoding::{Hash, Label, digest_of};
use crate::fault::Fault;
use crate::identity::{NodeId, Rotation, Sheet, Signature, Stateless};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{
    CharterId, Consent, DomainId, Endorsement, Grounds, Kind, Statement, StatementId, Subject, TicketId,
    TicketTerms,
};
use crate::time::Timestamp;

/// From where a newcomer starts to believe: the newest charter and height that whoever invites it knew.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Anchor {
    /// The domain.
    pub domain: DomainId,
    /// Its charter.
    pub charter: CharterId,
    /// That charter's epoch.
    pub epoch: u64,
    /// The height of a final block: nothing older is believed.
    pub height: u64,
    /// Where endorsers may be reached, as the transport spells it. Hints only.
    pub addresses: Vec<String>,
}

/// An invitation. Whoever has its text can join by it; its secret is never sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// What it gives.
    pub terms: TicketTerms,
    /// The endorsers' signatures of the terms, ordered by identity.
    pub countersignatures: Vec<Endorsement>,
    /// Where endorsers may be reached. Hints only.
    pub addresses: Vec<String>,
    /// The seed of the ticket key.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({:?}, secret withheld)", self.terms.id())
    }
}

/// What whoever spends a ticket signs with the ticket's key (SPEC 5.2).
pub fn spend_digest(ticket: &TicketId, node: &NodeId) -> Hash {
    digest_of(Label::TicketSpend, &(ticket, node))
}

/// What a newcomer shows of its ticket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// The endorsers' signatures of the terms.
    pub countersignatures: Vec<Endorsement>,
    /// The ticket key's signature over the newcomer's identity.
    pub spend: Signature,
}

/// «Please endorse this»: a newcomer's draft of its own admission.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Draft {
    /// The `Admit`.
    pub statement: Statement,
    /// Proof that the ticket on which it is grounded is the newcomer's to spend.
    pub shown: Option<Shown>,
    /// A line for the operators who judge it. Signed by nobody.
    pub note: String,
}

impl Stateless for Draft {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        note_within_bounds(&self.note)?;
        let Kind::Admit(admit) = &self.statement.kind else {
            return Err(Fault::NotAllowed { what: "a draft of anything but an admission" });
        };
        self.statement.inspect(sheet)?;
        match (&admit.grounds, &self.shown) {
            (Grounds::Ticket(terms), Some(shown)) => {
                let digest = Subject::Ticket((**terms).clone()).digest();
                crate::state::inspect_endorsements(&shown.countersignatures, &digest, sheet)?;
                if !loosened(Bug::SpentByAnybody) {
                    let spent = spend_digest(&terms.id(), &admit.subject.node_id());
                    sheet.claims(terms.key, spent, shown.spend);
                }
                Ok(())
            }
            (Grounds::Approval | Grounds::Renewal, None) => Ok(()),
            (Grounds::Ticket(_), None) => Err(Fault::BadTicket { why: "it is named and not shown" }),
            (Grounds::Approval | Grounds::Renewal, Some(_)) => {
                Err(Fault::BadTicket { why: "it is shown and not named" })
            }
        }
    }
}

fn note_within_bounds(note: &str) -> Result<(), Fault> {
    let max = limits::NOTE_BYTES_MAX;
    if note.len() > max {
        return Err(Fault::TooMany { what: "bytes of a note", count: note.len(), max });
    }
    Ok(())
}

/// «My key is not that in the charter any more: so it came to be what it is.» What a newcomer, who has no state yet, knows an endorser by
/// (SPEC 5.19).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyHistory {
    /// Whose.
    pub node: NodeId,
    /// All rotations since its inception, which is in the charter.
    pub rotations: Vec<Rotation>,
}

impl Stateless for KeyHistory {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        let (count, max) = (self.rotations.len(), limits::ROTATIONS_SHOWN_MAX);
        if count > max {
            return Err(Fault::TooMany { what: "rotations of one identity", count, max });
        }
        for rotation in &self.rotations {
            rotation.inspect(&self.node, sheet);
        }
        Ok(())
    }
}

/// What an endorser answers to a [`Draft`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// To which draft.
    pub statement: StatementId,
    /// What.
    pub verdict: Verdict,
}

/// An endorser's judgement of a draft. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// «Here is my signature.»
    Endorsed(Endorsement),
    /// «My operator must look at it.»
    Waiting,
    /// «No.»
    Declined {
        /// Why, for people.
        why: String,
        /// Whether asking again may help.
        retry: Retry,
    },
}

/// Whether asking again may help. Discriminants are wire format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Retry {
    /// No.
    Never,
    /// With a draft on a newer basis.
    NewerBasis,
    /// Later, unchanged.
    Later,
}

impl Stateless for Answer {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        match &self.verdict {
            Verdict::Endorsed(endorsement) => endorsement.inspect(&Hash(self.statement.0), sheet),
            Verdict::Waiting => {}
            Verdict::Declined { why, retry: _ } => note_within_bounds(why)?,
        }
        Ok(())
    }
}

/// A proposal on its way among endorsers, with the endorsements that the sender knows: at least its proposer's (SPEC 5.7).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Circulated {
    /// What is to be endorsed.
    pub subject: Subject,
    /// A line for the operators who judge it. Signed by nobody.
    pub note: String,
    /// When it lapses.
    pub expires: Timestamp,
    /// Ordered by identity.
    pub endorsements: Vec<Endorsement>,
    /// If it is of a charter: who takes a seat by it. Ordered by identity.
    pub consents: Vec<Consent>,
}

impl Stateless for Circulated {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        note_within_bounds(&self.note)?;
        match &self.subject {
            Subject::Statement(statement) => statement.inspect(sheet)?,
            Subject::Ticket(terms) => terms.inspect(sheet)?,
            Subject::Terms(terms) => {
                terms.inspect(sheet)?;
                crate::state::inspect_consents(&self.consents, &terms.id(), sheet)?;
            }
        }
        if !self.consents.is_empty() && !matches!(self.subject, Subject::Terms(_)) {
            return Err(Fault::NotAllowed { what: "a consent to anything but a charter" });
        }
        crate::state::inspect_endorsements(&self.endorsements, &self.subject.digest(), sheet)
    }
}
