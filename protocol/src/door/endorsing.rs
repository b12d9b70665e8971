//! What an endorser signs, and how operators act together: proposals (SPEC 5.5 to 5.7).

use std::sync::Arc;

use super::core::{Core, Phase};
use super::effects::Effects;
use super::given::Given;
use super::holding::Held;
use super::input::{Error, Event};
use super::message::Message;
use super::record::{Record, Table};
use crate::encoding::{Hash, encode};
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Verified};
use crate::joining::{Answer, Circulated, Decision, Origin, Proposal, Retry, Verdict};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{
    Basis, Consent, Endorsement, Entry, Grounds, Kind, Reason, Revoke, Statement, Subject, TicketId,
};
use crate::time::Timestamp;

impl Core {
    /// Signs a subject that was judged, once with each key: a repeated wish gets the stored bytes.
    pub(super) fn sign(&mut self, subject: &Subject, effects: &mut Effects) -> Endorsement {
        let id = subject.digest();
        if let Some(given) = self.given.get(&id)
            && given.endorsement.key == self.keys.identity.public()
        {
            return given.endorsement;
        }
        let endorsement = Endorsement::sign(&id, self.me, self.sequence(), &self.keys.identity);
        let given = Given { endorsement, until: self.useful_until(subject), admits: admission_of(subject) };
        self.keep_given(id, given, effects);
        effects.tell(Event::Endorsed { id });
        endorsement
    }

    /// When an endorsement of `subject` can no longer make an entry.
    fn useful_until(&self, subject: &Subject) -> Timestamp {
        let Some(charter) = self.charter() else { return self.now };
        match subject {
            Subject::Ticket(terms) => terms.expires,
            // For as long as a proposal lives: it is signed again then, with the same bytes.
            Subject::Terms(_) => self.now.plus(charter.timing.proposal_lifetime_ms),
            Subject::Statement(statement) => match &statement.kind {
                Kind::Admit(admit) => admit.basis.time.plus(charter.timing.basis_ms),
                Kind::Release(release) => release.basis.time.plus(charter.timing.basis_ms),
                // A removal is good for as long as its subject is there: kept until it is in a block.
                Kind::Revoke(_) => Timestamp(u64::MAX),
                // No longer than it would last.
                Kind::Suspend(suspend) => suspend.until,
                Kind::Amend(_) => self.now.plus(charter.timing.proposal_lifetime_ms),
                // Nobody endorses them.
                Kind::Rotate(_) | Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_) => self.now,
            },
        }
    }

    pub(super) fn keep_proposal(&self, proposal: &Proposal, effects: &mut Effects) {
        let key = proposal.id().0.to_vec();
        effects.persist(Record { table: Table::Proposals, key, value: Some(encode(proposal).into()) });
    }

    pub(super) fn check_may_endorse(&self) -> Result<(), Fault> {
        match self.phase() {
            Phase::Endorsing => self.check_own_key(),
            Phase::Restrained => {
                let node = self.me;
                if let Some(Held { until, .. }) = self.held(&node, self.now) {
                    return Err(Fault::Held { subject: node, until });
                }
                let standing = self.state().and_then(|state| state.standing(&node));
                Err(match standing {
                    None => Fault::EndorserGone { node },
                    Some(standing) if standing.is_convicted() => Fault::EndorserConvicted { node },
                    Some(_) => Fault::EndorserSuspended { node },
                })
            }
            Phase::Joining | Phase::Syncing | Phase::Following | Phase::Gone | Phase::Halted => {
                Err(Fault::NotAnEndorser { node: self.me })
            }
        }
    }

    /// Whether we may vouch for the basis of a grant (SPEC 5.6): execution trusts the endorsers with it.
    pub(super) fn check_basis(&self, basis: &Basis) -> Result<(), Fault> {
        let Some(chain) = &self.chain else { return Err(Fault::Unknown { what: "the state" }) };
        if !chain.knows(basis) && !loosened(Bug::AnyBasis) {
            return Err(Fault::BadBasis { why: "the block that it names is not known here" });
        }
        if self.now.since(basis.time) > chain.state().charter().timing.basis_ms / 2 {
            return Err(Fault::BadBasis { why: "it is too old to endorse on" });
        }
        Ok(())
    }

    /// Whether a subject would do in our own newest state, but for the endorsements.
    fn judge_subject(&self, subject: &Subject) -> Result<(), Fault> {
        let Some(chain) = &self.chain else { return Err(Fault::Unknown { what: "the state" }) };
        let time = self.now.max(chain.head().time.plus(1));
        match subject {
            Subject::Statement(Statement { kind: Kind::Rotate(_), .. }) => {
                Err(Fault::NotAllowed { what: "a rotation as a proposal: it needs nobody's endorsement" })
            }
            Subject::Statement(Statement { kind: Kind::Hold(_), .. }) => {
                Err(Fault::NotAllowed { what: "a hold as a proposal: it needs nobody's endorsement" })
            }
            Subject::Statement(Statement { kind: Kind::Recover(_), .. }) => Err(Fault::NotAllowed {
                what: "a recovery as a proposal: its quorum signs it, and nobody else",
            }),
            Subject::Statement(Statement { kind: Kind::Accuse(_), .. }) => {
                Err(Fault::NotAllowed { what: "an accusation as a proposal: it needs nobody's endorsement" })
            }
            Subject::Statement(statement) => {
                self.check_not_held(statement)?;
                if let Some(basis) = statement.basis() {
                    self.check_basis(basis)?;
                }
                chain.state().judge_statement(chain.head(), time, statement)
            }
            Subject::Ticket(terms) => chain.state().judge_ticket(time, terms),
            Subject::Terms(terms) => chain.state().judge_terms(time, terms),
        }
    }

    /// Our operator wants something that several endorsers must sign.
    pub(super) fn propose(
        &mut self,
        subject: Subject,
        note: String,
        expires: Timestamp,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.check_may_endorse()?;
        self.judge_subject(&subject)?;
        if note.len() > limits::NOTE_BYTES_MAX {
            let (count, max) = (note.len(), limits::NOTE_BYTES_MAX);
            return Err(Fault::TooMany { what: "bytes of a note", count, max }.into());
        }
        let id = subject.digest();
        if self.proposals.get(&id).is_some() {
            return self.endorse(&id, effects);
        }
        let longest = self.charter().map_or(0, |charter| charter.timing.proposal_lifetime_ms);
        let proposal = Proposal {
            subject,
            note,
            expires: expires.min(self.now.plus(longest)),
            origin: Origin::Endorsers,
            decision: Decision::Open,
            endorsements: Vec::new(),
            consents: Vec::new(),
            met: false,
        };
        self.proposals.insert(proposal)?;
        self.endorse(&id, effects)
    }

    /// Our operator says yes.
    pub(super) fn endorse(&mut self, id: &Hash, effects: &mut Effects) -> Result<(), Error> {
        let Some(proposal) = self.proposals.get(id) else {
            return Err(Fault::Unknown { what: "a proposal of this id" }.into());
        };
        let (subject, origin) = (proposal.subject.clone(), proposal.origin);
        self.judge_subject(&subject)?;
        let consent = self.consent_to(&subject)?;
        // Whoever only gets a seat says yes by its consent.
        let endorsement = match self.check_may_endorse() {
            Ok(()) => Some(self.sign(&subject, effects)),
            Err(fault) if consent.is_none() => return Err(fault.into()),
            Err(_) => None,
        };
        let Some(proposal) = self.proposals.get_mut(id) else { return Ok(()) };
        proposal.decision = Decision::Endorsed;
        proposal.merge(endorsement.as_slice());
        proposal.merge_consents(consent.as_slice());
        let proposal = proposal.clone();
        self.keep_proposal(&proposal, effects);
        match origin {
            Origin::Newcomer(key) => {
                let (Subject::Statement(statement), Some(endorsement)) = (&subject, endorsement) else {
                    return Ok(());
                };
                let answer = Answer { statement: statement.id(), verdict: Verdict::Endorsed(endorsement) };
                effects.send(key, Arc::new(Message::Answer(Box::new(answer))));
            }
            Origin::Endorsers => {
                let message = Arc::new(Message::Circulate(Arc::new(proposal.circulated())));
                for key in self.who_judges(&subject) {
                    effects.send(key, Arc::clone(&message));
                }
                self.tell_if_met(id, effects);
            }
        }
        Ok(())
    }

    /// Our operator says no. Others may still meet the rule without us.
    pub(super) fn decline(&mut self, id: &Hash, effects: &mut Effects) -> Result<(), Error> {
        let Some(proposal) = self.proposals.get_mut(id) else {
            return Err(Fault::Unknown { what: "a proposal of this id" }.into());
        };
        if proposal.decision == Decision::Endorsed {
            return Err(Error::ApiMisuse("it is endorsed already, and what is signed stays signed"));
        }
        proposal.decision = Decision::Declined;
        let proposal = proposal.clone();
        self.keep_proposal(&proposal, effects);
        if let (Origin::Newcomer(key), Subject::Statement(statement)) = (proposal.origin, &proposal.subject) {
            let why = "the operator of this endorser said no".to_owned();
            let answer =
                Answer { statement: statement.id(), verdict: Verdict::Declined { why, retry: Retry::Never } };
            effects.send(key, Arc::new(Message::Answer(Box::new(answer))));
        }
        Ok(())
    }

    /// We go, for good: a revocation of ourselves meets its rule with our own signature.
    pub(super) fn leave(&mut self, effects: &mut Effects) -> Result<(), Error> {
        let statement = Statement {
            domain: self.domain,
            kind: Kind::Revoke(Revoke { subject: self.me, reason: Reason::Retired }),
        };
        let subject = Subject::Statement(statement.clone());
        self.judge_subject(&subject)?;
        self.check_own_key()?;
        let endorsement = self.sign(&subject, effects);
        let entry =
            Verified::of_verified_parts(Arc::new(Entry { statement, endorsements: vec![endorsement] }));
        if self.hall.is_some() {
            return self.submitted(None, &entry, effects);
        }
        let message = Arc::new(Message::Submit(entry.into_inner()));
        for key in self.endorser_keys() {
            effects.send(key, Arc::clone(&message));
        }
        Ok(())
    }

    /// Another endorser, or whoever a charter in question gives a seat, circulates a proposal, or what it knows of one.
    pub(super) fn circulated(
        &mut self,
        from: PublicKey,
        circulated: &Verified<Arc<Circulated>>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let seats_us = matches!(&circulated.subject, Subject::Terms(terms) if terms.seats(&self.me));
        // By its seat, not by whether it can sign blocks: without a journal it judges and endorses as before (SPEC 8.14).
        if !chain.state().has_seat(&self.me) && !seats_us {
            return Err(Error::Untimely("this node does not endorse"));
        }
        // Whoever signed and is restrained since must not keep the others' endorsements from going round.
        let endorsements = self.entitled(&circulated.endorsements);
        // At least its proposer's: whoever fills our queue signs for it. No fault if not: the sender's state may be older or newer.
        if endorsements.is_empty() {
            return Err(Error::Untimely("its endorsements are not of endorsers, as far as is known here"));
        }
        if seats_us && !chain.state().is_whole() {
            self.fetch_the_whole(effects);
            return Err(Error::Untimely("this node fetches the whole state first: they say it again"));
        }
        let subject = &circulated.subject;
        let id = subject.digest();
        if self.proposals.get(&id).is_none() {
            // Not a fault: it may be in the log already, or be valid only in a state that we have not reached.
            if self.judge_subject(subject).is_err() || circulated.expires < self.now {
                return Ok(());
            }
            let charter = chain.state().charter();
            if self.proposals.is_beyond_a_share(&endorsements, charter) {
                return Err(Error::Untimely(
                    "its endorsers have too many proposals open that nobody else endorsed",
                ));
            }
            let longest = charter.timing.proposal_lifetime_ms;
            let proposal = Proposal {
                subject: subject.clone(),
                note: circulated.note.clone(),
                expires: circulated.expires.min(self.now.plus(longest)),
                origin: Origin::Endorsers,
                decision: Decision::Open,
                endorsements: Vec::new(),
                consents: Vec::new(),
                met: false,
            };
            if self.proposals.insert(proposal).is_err() {
                return Err(Error::Untimely("too many proposals wait already"));
            }
            effects.tell(Event::Waiting { id, note: circulated.note.clone() });
        }
        let by_endorser = self.is_seated(&from);
        let consents: Vec<Consent> = match subject {
            Subject::Terms(terms) => self.fitting_consents(terms, &circulated.consents),
            Subject::Statement(_) | Subject::Ticket(_) => Vec::new(),
        };
        let Some(proposal) = self.proposals.get_mut(&id) else { return Ok(()) };
        let new = proposal.merge(&endorsements) | proposal.merge_consents(&consents);
        if new {
            let proposal = proposal.clone();
            self.keep_proposal(&proposal, effects);
            if !by_endorser && self.has_a_seat() {
                // Whoever is to get a seat may reach one of us only.
                let message = Arc::new(Message::Circulate(Arc::new(proposal.circulated())));
                for key in self.endorser_keys() {
                    effects.send(key, Arc::clone(&message));
                }
            }
            self.tell_if_met(&id, effects);
        }
        // What we said of it did not arrive, or came too early.
        if let Some(proposal) = self.proposals.get(&id)
            && !self.is_of_the_held(&proposal.subject)
            && (proposal.has(&self.me)
                && !circulated.endorsements.iter().any(|endorsement| endorsement.node == self.me)
                || proposal.has_consent_of(&self.me)
                    && !circulated.consents.iter().any(|consent| consent.node == self.me))
        {
            effects.send(from, Arc::new(Message::Circulate(Arc::new(proposal.circulated()))));
        }
        Ok(())
    }

    /// What was circulated may be lost, or have come before the log of whoever got it was as far as ours. So whoever signed and lacks
    /// others' endorsements says it again to those: once a heartbeat at most, since operators take their time.
    pub(super) fn circulate_again(&mut self, effects: &mut Effects) {
        let Some(heartbeat) = self.charter().map(|charter| charter.timing.heartbeat_ms) else { return };
        if self.check_may_endorse().is_err() || !self.proposals.is_time_again(self.now, heartbeat) {
            return;
        }
        for (_, proposal) in self.proposals.iter() {
            let over = proposal.met || self.is_of_the_held(&proposal.subject);
            if over || proposal.origin != Origin::Endorsers || !proposal.has(&self.me) {
                continue;
            }
            let message = Arc::new(Message::Circulate(Arc::new(proposal.circulated())));
            let silent = |key: &PublicKey| {
                let node = self.owner_of(key);
                node.is_some_and(|node| !proposal.has(&node) && !proposal.has_consent_of(&node))
            };
            for key in self.who_judges(&proposal.subject).into_iter().filter(silent) {
                effects.send(key, Arc::clone(&message));
            }
        }
    }

    /// Whether it grants something to somebody who is held: until that is over it stays here (SPEC 5.26).
    fn is_of_the_held(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Statement(statement) => self.check_not_held(statement).is_err(),
            Subject::Ticket(_) | Subject::Terms(_) => false,
        }
    }

    /// Those of `endorsements` whose signers may endorse now.
    fn entitled(&self, endorsements: &[Endorsement]) -> Vec<Endorsement> {
        endorsements.iter().filter(|endorsement| self.is_entitled(endorsement)).copied().collect()
    }

    fn tell_if_met(&mut self, id: &Hash, effects: &mut Effects) {
        let Some(state) = self.state() else { return };
        let Some(proposal) = self.proposals.get(id) else { return };
        // An entry carries no ballast (SPEC 4.4): whoever lost its office since it endorsed is left out.
        let endorsements = self.entitled(&proposal.endorsements);
        let over = proposal.met || self.is_of_the_held(&proposal.subject);
        if over || endorsements.len() < state.threshold_for(&proposal.subject) {
            return;
        }
        let (subject, consents) = (proposal.subject.clone(), proposal.consents.clone());
        match &subject {
            Subject::Ticket(_) => {}
            Subject::Terms(terms) => {
                let Some(statement) = self.amend_of(terms, &consents) else { return };
                let entry = Entry { statement, endorsements: endorsements.clone() };
                let entry = Verified::of_verified_parts(Arc::new(entry));
                if self.submitted(None, &entry, effects).is_err() {
                    return;
                }
            }
            Subject::Statement(statement) => {
                let entry = Entry { statement: statement.clone(), endorsements: endorsements.clone() };
                let entry = Verified::of_verified_parts(Arc::new(entry));
                // It may find no room now, or be valid only when our log has caught up: it is tried again after every block.
                if self.submitted(None, &entry, effects).is_err() {
                    return;
                }
            }
        }
        let Some(proposal) = self.proposals.get_mut(id) else { return };
        proposal.met = true;
        let proposal = proposal.clone();
        self.keep_proposal(&proposal, effects);
        effects.tell(Event::Met { id: *id, subject: Box::new(subject), endorsements });
    }

    /// Proposals that have all their endorsements and could not be handed on.
    pub(super) fn retry_proposals(&mut self, effects: &mut Effects) {
        let unmet: Vec<Hash> =
            self.proposals.iter().filter(|(_, proposal)| !proposal.met).map(|(id, _)| *id).collect();
        for id in unmet {
            self.tell_if_met(&id, effects);
        }
    }

    /// A peer that was away gets what waits, so that it can endorse it.
    pub(super) fn recirculate_to(&mut self, peer: PublicKey, effects: &mut Effects) {
        let Some(node) = self.owner_of(&peer) else { return };
        let (seated, are_we) = (self.is_seated(&peer), self.has_a_seat());
        for (_, proposal) in self.proposals.iter() {
            let concerns = match &proposal.subject {
                Subject::Terms(terms) => seated || (are_we && terms.seats(&node)),
                Subject::Statement(_) | Subject::Ticket(_) => seated && are_we,
            };
            let worth_it = proposal.origin == Origin::Endorsers
                && !proposal.endorsements.is_empty()
                && concerns
                && !self.is_of_the_held(&proposal.subject)
                && !(proposal.met && proposal.has(&node));
            if worth_it {
                effects.send(peer, Arc::new(Message::Circulate(Arc::new(proposal.circulated()))));
            }
        }
    }
}

fn admission_of(subject: &Subject) -> Option<(NodeId, Option<TicketId>)> {
    match subject {
        Subject::Ticket(_) | Subject::Terms(_) => None,
        Subject::Statement(statement) => {
            let admit = statement.admission()?;
            let ticket = match &admit.grounds {
                Grounds::Ticket(terms) => Some(terms.id()),
                Grounds::Approval | Grounds::Renewal => None,
            };
            Some((admit.subject.node_id(), ticket))
        }
    }
}
