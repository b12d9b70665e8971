//! Statements, endorsements and entries: the one mechanism (SPEC 4).

use serde::{Deserialize, Serialize};

use super::accuse::Accuse;
use super::amend::{Amend, Terms};
use super::block::BlockId;
use super::charter::{Charter, CharterId, DomainId, RoleName};
use super::hold::Hold;
use super::recover::Recover;
use crate::encoding::{self, Hash, Label, digest_of};
use crate::fault::Fault;
use crate::identity::{
    Algorithm, Inception, KeySequence, NodeId, PublicKey, Rotation, SecretKey, Sheet, Signature, Stateless,
};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

encoding::byte_string!(
    /// A statement, whoever endorsed it.
    StatementId,
    "statement"
);
encoding::byte_string!(
    /// The terms of a ticket, whoever countersigned them.
    TicketId,
    "ticket"
);

/// Something that a domain may come to believe.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Statement {
    /// Which domain. The same words in another domain are another statement.
    pub domain: DomainId,
    /// What.
    pub kind: Kind,
}

/// The order of entries in a block (SPEC 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// What takes away. Whoever endorsed it and rotates at the same time must not make it void so.
    Denial,
    /// Rotations. They take a stolen key from a thief: no crowd of newcomers shall keep them waiting.
    Rotation,
    /// What gives.
    Grant,
    /// What changes nobody's rights.
    Record,
    /// What ends an epoch: the next charter, or a new beginning under one.
    Amend,
}

/// What a statement says. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This identity is a member.
    Admit(Box<Admit>),
    /// This identity is out, for good.
    Revoke(Revoke),
    /// This member's rights rest.
    Suspend(Suspend),
    /// They rest no longer.
    Release(Release),
    /// The charter of the next epoch.
    Amend(Box<Amend>),
    /// This identity's key is now another.
    Rotate(Rotate),
    /// A key of this identity contradicted itself.
    Accuse(Box<Accuse>),
    /// An endorser held somebody: for the record.
    Hold(Box<Hold>),
    /// The log goes on from that block, under this charter.
    Recover(Box<Recover>),
}

impl Kind {
    /// Whom it removes for good, if it does.
    pub fn removes(&self) -> Option<NodeId> {
        match self {
            Kind::Revoke(revoke) => Some(revoke.subject),
            Kind::Accuse(accuse) => accuse.contradiction.convicts().is_none().then_some(accuse.subject),
            Kind::Admit(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Rotate(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => None,
        }
    }
}

/// «This identity is a member, with these roles, in this window.» Renews and changes roles, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Admit {
    /// Who.
    pub subject: Inception,
    /// 1 for the first, then one more each time: an old admission can never be played again.
    pub number: u64,
    /// Ordered and distinct.
    pub roles: Vec<RoleName>,
    /// When.
    pub window: Window,
    /// A recent final block: what the endorsers knew when they judged.
    pub basis: Basis,
    /// Why.
    pub grounds: Grounds,
}

/// A span of time: `from` belongs to it, `until` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

impl Window {
    /// Whether `now` lies in it.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// How long it is.
    pub fn length_ms(&self) -> u64 {
        self.until.since(self.from)
    }

    /// When half of it is over.
    pub fn middle(&self) -> Timestamp {
        self.from.plus(self.length_ms() / 2)
    }
}

/// A final block that a grant rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Basis {
    /// Its height.
    pub height: u64,
    /// Which.
    pub block: BlockId,
    /// Its time.
    pub time: Timestamp,
}

/// Why an endorser may sign an admission. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grounds {
    /// A ticket gives it. Only the log spends a ticket.
    Ticket(Box<TicketTerms>),
    /// The endorsers' operators said yes.
    Approval,
    /// It stands, and is in good standing.
    Renewal,
}

/// What a ticket gives: its uses, until when, and at most which roles (SPEC 5.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TicketTerms {
    /// For which domain.
    pub domain: DomainId,
    /// The charter in force when it was made: with epoch and height, the newcomer's anchor.
    pub charter: CharterId,
    /// The epoch of that charter.
    pub epoch: u64,
    /// The height of the newest final block then.
    pub height: u64,
    /// Ordered and distinct.
    pub roles: Vec<RoleName>,
    /// How many may join by it.
    pub uses: u32,
    /// The last moment at which it is good.
    pub expires: Timestamp,
    /// Whoever holds the secret of this key holds the ticket.
    pub key: PublicKey,
}

impl TicketTerms {
    /// This ticket's id.
    pub fn id(&self) -> TicketId {
        digest_of(Label::Ticket, self).into()
    }

    pub(super) fn check_shape(&self) -> Result<(), Fault> {
        check_role_order(&self.roles)?;
        if !(1..=limits::TICKET_USES_MAX).contains(&self.uses) {
            return Err(Fault::BadTicket { why: "it has no uses, or more than a ticket may have" });
        }
        Ok(())
    }
}

/// «This identity is out, for good.»
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revoke {
    /// Who.
    pub subject: NodeId,
    /// Why. Binds nothing.
    pub reason: Reason,
}

/// «This member's rights rest until then, or until it is released.»
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suspend {
    /// Who.
    pub subject: NodeId,
    /// 1 for the first, then one more each time.
    pub number: u64,
    /// When it lapses by itself; the end of time, if it shall not.
    pub until: Timestamp,
    /// Why. Binds nothing.
    pub reason: Reason,
}

/// «Its rights rest no longer.»
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// Who.
    pub subject: NodeId,
    /// Which suspension: an old release never lifts a newer one.
    pub number: u64,
    /// A recent final block: what the endorsers knew when they judged.
    pub basis: Basis,
}

/// «This identity's key is now …»: the rotations that a log lacks. They prove themselves, and need nobody's endorsement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotate {
    /// Whose.
    pub subject: NodeId,
    /// One after the other.
    pub rotations: Vec<Rotation>,
}

/// Why somebody is revoked or suspended: for those who look later. Discriminants are wire format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// No reason given.
    Unspecified,
    /// Its keys are, or may be, in other hands.
    Compromised,
    /// It was taken out of service.
    Retired,
    /// It broke the rules.
    Misbehaved,
}

impl Statement {
    /// This statement's id.
    pub fn id(&self) -> StatementId {
        digest_of(Label::Statement, self).into()
    }

    /// What endorsers sign: its id, or that of the terms in an `Amend` (SPEC 4.2).
    pub fn endorsed(&self) -> Hash {
        match &self.kind {
            Kind::Admit(_)
            | Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Rotate(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => Hash(self.id().0),
            Kind::Amend(amend) => Hash(amend.terms(self.domain).id().0),
        }
    }

    /// Whom it is about; nobody in particular, if it is about the charter.
    pub fn subject(&self) -> Option<NodeId> {
        match &self.kind {
            Kind::Admit(admit) => Some(admit.subject.node_id()),
            Kind::Revoke(revoke) => Some(revoke.subject),
            Kind::Suspend(suspend) => Some(suspend.subject),
            Kind::Release(release) => Some(release.subject),
            Kind::Amend(_) | Kind::Recover(_) => None,
            Kind::Rotate(rotate) => Some(rotate.subject),
            Kind::Accuse(accuse) => Some(accuse.subject),
            Kind::Hold(hold) => Some(hold.subject),
        }
    }

    /// The admission, if it is one.
    pub fn admission(&self) -> Option<&Admit> {
        match &self.kind {
            Kind::Admit(admit) => Some(admit),
            Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Rotate(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => None,
        }
    }

    /// The rotations of a key, if it is that.
    pub fn rotation(&self) -> Option<&Rotate> {
        match &self.kind {
            Kind::Rotate(rotate) => Some(rotate),
            Kind::Admit(_)
            | Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => None,
        }
    }

    /// The next charter, if it ends an epoch.
    pub fn next_charter(&self) -> Option<&Charter> {
        match &self.kind {
            Kind::Amend(amend) => Some(&amend.charter),
            Kind::Recover(recover) => Some(&recover.charter),
            Kind::Admit(_)
            | Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Rotate(_)
            | Kind::Accuse(_)
            | Kind::Hold(_) => None,
        }
    }

    /// The final block that it rests on, if it is a grant.
    pub fn basis(&self) -> Option<&Basis> {
        match &self.kind {
            Kind::Admit(admit) => Some(&admit.basis),
            Kind::Release(release) => Some(&release.basis),
            Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Amend(_)
            | Kind::Rotate(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => None,
        }
    }

    /// Whether it takes away rather than gives: such go first in a block.
    pub fn is_denial(&self) -> bool {
        self.rank() == Rank::Denial
    }

    /// Where it goes in a block (SPEC 6.7).
    pub fn rank(&self) -> Rank {
        match &self.kind {
            Kind::Revoke(_) | Kind::Suspend(_) | Kind::Accuse(_) => Rank::Denial,
            Kind::Rotate(_) => Rank::Rotation,
            Kind::Admit(_) | Kind::Release(_) => Rank::Grant,
            Kind::Hold(_) => Rank::Record,
            Kind::Amend(_) | Kind::Recover(_) => Rank::Amend,
        }
    }
}

impl Stateless for Statement {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        match &self.kind {
            Kind::Admit(admit) => admit.inspect(sheet),
            Kind::Amend(amend) => amend.inspect(self.domain, sheet),
            Kind::Rotate(rotate) => rotate.inspect(sheet),
            Kind::Accuse(accuse) => accuse.inspect(sheet),
            Kind::Hold(hold) => hold.inspect(sheet),
            Kind::Recover(recover) => recover.inspect(self.domain, sheet),
            Kind::Revoke(_) | Kind::Suspend(_) | Kind::Release(_) => Ok(()),
        }
    }
}

impl Rotate {
    pub(super) fn check_count(&self) -> Result<(), Fault> {
        let (count, max) = (self.rotations.len(), limits::ROTATIONS_PER_ENTRY_MAX);
        if count > max {
            return Err(Fault::TooMany { what: "rotations of one entry", count, max });
        }
        if count == 0 { Err(Fault::BadRotation { why: "there is none" }) } else { Ok(()) }
    }
}

impl Stateless for Rotate {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        self.check_count()?;
        for rotation in &self.rotations {
            rotation.inspect(&self.subject, sheet);
        }
        Ok(())
    }
}

impl Stateless for Admit {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        check_role_order(&self.roles)?;
        self.subject.inspect(sheet)?;
        match &self.grounds {
            Grounds::Ticket(terms) => terms.inspect(sheet),
            Grounds::Approval | Grounds::Renewal => Ok(()),
        }
    }
}

impl Stateless for TicketTerms {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        self.check_shape()?;
        sheet.introduces(self.key);
        Ok(())
    }
}

/// What endorsers can be asked to sign. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A statement, to become an entry.
    Statement(Statement),
    /// The terms of a ticket.
    Ticket(TicketTerms),
    /// The terms of the next charter, to become an `Amend`.
    Terms(Box<Terms>),
}

impl Subject {
    /// What is signed for it.
    pub fn digest(&self) -> Hash {
        match self {
            Subject::Statement(statement) => statement.endorsed(),
            Subject::Ticket(terms) => Hash(terms.id().0),
            Subject::Terms(terms) => Hash(terms.id().0),
        }
    }
}

/// A member's signed support of a statement or ticket. (Wider than RFC 9334's word: there it is of reference values.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endorsement {
    /// Whose.
    pub node: NodeId,
    /// With which of its keys.
    pub sequence: KeySequence,
    /// That key, so that the signature can be checked without any state.
    pub key: PublicKey,
    /// The signature.
    pub signature: Signature,
}

impl Endorsement {
    /// Signs what `subject` is the digest of.
    pub fn sign(subject: &Hash, node: NodeId, sequence: KeySequence, key: &SecretKey) -> Endorsement {
        let signature = key.sign(&endorsement_digest(subject, &node, sequence));
        Endorsement { node, sequence, key: key.public(), signature }
    }

    /// Notes on `sheet` that this must be an endorsement of `subject`.
    pub fn inspect(&self, subject: &Hash, sheet: &mut Sheet) {
        sheet.claims(self.key, endorsement_digest(subject, &self.node, self.sequence), self.signature);
    }
}

fn endorsement_digest(subject: &Hash, node: &NodeId, sequence: KeySequence) -> Hash {
    digest_of(Label::Endorsement, &(Algorithm::Ed25519, subject, node, sequence))
}

/// A statement with the endorsements that meet its rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// What is said.
    pub statement: Statement,
    /// By whom, ordered by identity and distinct.
    pub endorsements: Vec<Endorsement>,
}

/// SPEC 4.5, 5.1: roles are ordered and distinct, so that one set of them has one spelling; and few and short, whether or not a
/// charter knows them.
pub(super) fn check_role_order(roles: &[RoleName]) -> Result<(), Fault> {
    let (count, max) = (roles.len(), limits::ROLES_MAX);
    if count > max {
        return Err(Fault::TooMany { what: "roles", count, max });
    }
    let max = limits::NAME_BYTES_MAX;
    if let Some(long) = roles.iter().find(|role| role.len() > max) {
        return Err(Fault::TooMany { what: "bytes of a role's name", count: long.len(), max });
    }
    if !roles.is_sorted_by(|a, b| a < b) {
        return Err(Fault::NotInOrder { what: "roles", rule: "4.5" });
    }
    Ok(())
}

/// SPEC 4.3.
pub(super) fn in_order(endorsements: &[Endorsement]) -> bool {
    endorsements.is_sorted_by(|a, b| a.node < b.node || a.node == b.node && loosened(Bug::SignaturesCounted))
}

/// Refuses endorsements that are not in strict order of identity, or too many, and notes their signatures.
pub(crate) fn inspect_endorsements(
    endorsements: &[Endorsement],
    subject: &Hash,
    sheet: &mut Sheet,
) -> Result<(), Fault> {
    if endorsements.len() > limits::ENDORSERS_MAX {
        let count = endorsements.len();
        return Err(Fault::TooMany { what: "endorsements", count, max: limits::ENDORSERS_MAX });
    }
    if !in_order(endorsements) {
        return Err(Fault::NotInOrder { what: "endorsements", rule: "4.3" });
    }
    for endorsement in endorsements {
        endorsement.inspect(subject, sheet);
    }
    Ok(())
}

impl Entry {
    /// Whether somebody leaves by its own word alone (SPEC 4.7). As many as there are members may do so at once.
    pub fn is_departure(&self) -> bool {
        match (&self.statement.kind, &self.endorsements[..]) {
            (Kind::Revoke(revoke), [alone]) => alone.node == revoke.subject,
            (_, _) => false,
        }
    }

    /// Whether it takes away what its subject would keep: such always find room (SPEC 9.22).
    pub fn is_removal(&self) -> bool {
        self.statement.is_denial() && !self.is_departure()
    }
}

impl Stateless for Entry {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        self.statement.inspect(sheet)?;
        inspect_endorsements(&self.endorsements, &self.statement.endorsed(), sheet)
    }
}
