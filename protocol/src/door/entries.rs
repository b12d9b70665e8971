//! Entries on their way into a block: taken over, handed on, dropped when they can no longer be one (SPEC 5.13, 5.15).

use std::sync::Arc;

use super::core::Core;
use super::effects::Effects;
use super::input::{Error, Event};
use super::message::Message;
use super::rations::Question;
use super::record::{Record, Table};
use crate::agreement;
use crate::encoding::encode;
use crate::fault::Fault;
use crate::identity::{PublicKey, Verified};
use crate::joining::{Offered, Retry};
use crate::limits;
use crate::state::{Admit, Conviction, Entry, Kind, Statement, StatementId};

impl Core {
    /// Somebody hands us an entry for a block; `None`: we ourselves.
    pub(super) fn submitted(
        &mut self,
        from: Option<PublicKey>,
        entry: &Verified<Arc<Entry>>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let statement = entry.statement.id();
        if self.chain.is_none() {
            return Err(Error::Untimely("there is no state yet"));
        }
        if self.hall.is_none() {
            return Err(Error::Untimely("this node does not make blocks"));
        }
        if let (Kind::Rotate(rotate), Some(_)) = (&entry.statement.kind, from) {
            self.compare_rotations(rotate, effects);
        }
        let Some(chain) = &self.chain else { return Ok(()) };
        match self.waiting.offer(entry, chain.state(), chain.head(), self.now) {
            Ok(Offered::Waits { instead_of }) => {
                if let Some(dead) = instead_of {
                    self.relays.remove(&dead);
                    effects.persist(Record { table: Table::Waiting, key: dead.0.to_vec(), value: None });
                }
                self.promise_to(statement, from);
                let key = statement.0.to_vec();
                effects.persist(Record { table: Table::Waiting, key, value: Some(encode(&**entry).into()) });
                effects.tell(Event::Accepted { statement });
                self.relay(entry, from, effects);
                self.agree(agreement::Input::WorkChanged, effects);
                Ok(())
            }
            Ok(Offered::Already) => {
                self.promise_to(statement, from);
                Ok(())
            }
            Err(fault) if self.keep_proof(entry, &fault, effects) => {
                if from.is_none() {
                    self.pass_on_proof(entry, effects);
                }
                Ok(())
            }
            Err(fault) => {
                let Some(from) = from else { return Err(Error::Refused(fault)) };
                // Whoever asks again after it is in gets the proof once more.
                // Nobody else: it shows other members.
                if (self.is_seated(&from) || self.speaks_for(&from, &entry.statement))
                    && let Some(height) = self.height_of(&entry.statement)
                {
                    return self.asked(from, Question::Proof { height }, effects);
                }
                if !self.is_seated(&from)
                    && let Some(retry) = outlook(&fault)
                {
                    let why = within_a_note(fault.to_string());
                    effects.send(from, Arc::new(Message::Refused { statement, why, retry }));
                }
                Ok(())
            }
        }
    }

    /// A newcomer waits for its entry; an endorser that relayed one has the block anyway.
    fn promise_to(&mut self, statement: StatementId, from: Option<PublicKey>) {
        if let Some(from) = from.filter(|from| !self.is_seated(from)) {
            self.promise(statement, from);
        }
    }

    /// Whether the peer at this transport key is the one whom `statement` is about.
    pub(super) fn speaks_for(&self, from: &PublicKey, statement: &Statement) -> bool {
        let Some(subject) = statement.subject() else { return false };
        let current = self.state().and_then(|state| state.key_of(&subject));
        match &statement.kind {
            Kind::Admit(admit) => current.unwrap_or(admit.subject.key) == *from,
            // By the key that it had, by that which it has, or between the two.
            Kind::Rotate(rotate) => {
                self.owner_of(from) == Some(subject)
                    || rotate.rotations.iter().any(|rotation| rotation.key == *from)
            }
            Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => current == Some(*from),
        }
    }

    /// The height of the block that holds `statement`, or one with its effect.
    fn height_of(&self, statement: &Statement) -> Option<u64> {
        let state = self.chain.as_ref()?.state();
        match &statement.kind {
            Kind::Admit(admit) => {
                let Admit { subject, number, .. } = &**admit;
                let standing = state.standing(&subject.node_id())?;
                (standing.number == *number).then_some(standing.height)
            }
            Kind::Revoke(revoke) => state.gone_since(&revoke.subject).map(|gone| gone.height),
            Kind::Suspend(suspend) => {
                let standing = state.standing(&suspend.subject)?;
                let newest = standing.suspension.filter(|_| standing.suspensions == suspend.number)?;
                Some(newest.height)
            }
            // What is lifted leaves no trace of when. A recovery is nobody's to hand in as an entry.
            Kind::Release(_) | Kind::Recover(_) => None,
            // Nobody waits for it.
            Kind::Hold(_) => None,
            Kind::Amend(amend) => {
                let of_epoch = self.charters.as_ref()?.of_epoch(amend.charter.epoch)?;
                let same = of_epoch.charter.previous == amend.charter.previous;
                of_epoch.since.filter(|_| same).map(|(height, _)| height)
            }
            Kind::Accuse(accuse) => match accuse.contradiction.convicts() {
                Some(key) => {
                    let standing = state.standing(&accuse.subject)?;
                    let of_it = |it: &&Conviction| it.key == key;
                    standing.convictions.iter().find(of_it).map(|conviction| conviction.height)
                }
                None => state.gone_since(&accuse.subject).map(|gone| gone.height),
            },
            Kind::Rotate(rotate) => {
                let standing = state.standing(&rotate.subject)?;
                let last = rotate.rotations.last()?.sequence;
                standing.rotated.filter(|_| last <= standing.keys.sequence).map(|rotated| rotated.height)
            }
        }
    }

    /// What we made goes to everybody at once; what a newcomer handed us only if it is still not in a block after a while (SPEC 8.10): it
    /// hands its entry to every endorser itself, and each relaying it to each would send it n² times.
    fn relay(&mut self, entry: &Verified<Arc<Entry>>, from: Option<PublicKey>, effects: &mut Effects) {
        let statement = entry.statement.id();
        if from.is_none() {
            let message = Arc::new(Message::Submit(Arc::clone(entry)));
            for key in self.endorser_keys() {
                effects.send(key, Arc::clone(&message));
            }
            return;
        }
        let Some(timing) = self.charter().map(|charter| charter.timing) else { return };
        self.relays.insert(statement, self.now.plus(timing.first_timeout_ms / 2));
    }

    pub(super) fn relay_what_is_due(&mut self, effects: &mut Effects) {
        let now = self.now;
        let due: Vec<_> =
            self.relays.iter().filter(|(_, at)| **at <= now).map(|(statement, _)| *statement).collect();
        for statement in due {
            self.relays.remove(&statement);
            let Some(entry) = self.waiting.get(&statement) else { continue };
            let message = Arc::new(Message::Submit(Arc::clone(entry)));
            for key in self.endorser_keys() {
                effects.send(key, Arc::clone(&message));
            }
        }
    }

    /// Drops what can no longer become an entry, and tells whoever waits for it.
    pub(super) fn sift_waiting(&mut self, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        for (entry, fault) in self.waiting.sift(chain.state(), chain.head(), self.now) {
            let statement = entry.statement.id();
            self.relays.remove(&statement);
            effects.persist(Record { table: Table::Waiting, key: statement.0.to_vec(), value: None });
            self.keep_proof(&entry, &fault, effects);
            // One of its endorsers may have lost its office; the others may be enough for a new entry.
            if let Some(proposal) = self.proposals.get_mut(&entry.statement.endorsed()) {
                proposal.met = false;
            }
            if let Some(retry) = outlook(&fault)
                && let Some(newcomers) = self.promised.remove(&statement)
            {
                let why = within_a_note(fault.to_string());
                let refused = Arc::new(Message::Refused { statement, why, retry });
                // By another entry of its own that was first it is in: it must not take its number for somebody else's.
                let height = self.height_of(&entry.statement);
                let proof = height.and_then(|height| self.proof_of(height, &mut None));
                for key in newcomers {
                    let proof = proof.as_ref().filter(|_| self.speaks_for(&key, &entry.statement));
                    effects.send(key, Arc::clone(proof.unwrap_or(&refused)));
                }
            }
        }
    }
}

/// What a newcomer can do about a fault of its draft or entry; `None` if it may be that only our log or clock is behind.
pub(super) fn outlook(fault: &Fault) -> Option<Retry> {
    match fault {
        Fault::SubjectGone { .. }
        | Fault::KeyTaken { .. }
        | Fault::WrongNumber { .. }
        | Fault::BadRotation { .. }
        | Fault::BadRenewal { .. }
        | Fault::UnknownRole { .. }
        | Fault::RoleBeyondTicket { .. }
        | Fault::TicketExpired
        | Fault::TicketSpent { .. }
        | Fault::BadTicket { .. }
        | Fault::OtherDomain { .. }
        | Fault::GroundsNotAllowed { .. }
        | Fault::BadKey { .. }
        | Fault::NotAllowed { .. } => Some(Retry::Never),
        // It may be released, or an amendment free it; tomorrow it may rotate again; later it may renew; a hold lapses.
        Fault::SubjectSuspended { .. }
        | Fault::SubjectConvicted { .. }
        | Fault::Held { .. }
        | Fault::RotatedTooOften { .. }
        | Fault::RenewedTooEarly { .. } => Some(Retry::Later),
        // Whoever endorsed it may not any more: others can.
        Fault::NotAnEndorser { .. }
        | Fault::EndorserGone { .. }
        | Fault::EndorserSuspended { .. }
        | Fault::EndorserConvicted { .. }
        | Fault::NotTheCurrentKey { .. }
        | Fault::TooFewEndorsements { .. } => Some(Retry::NewerBasis),
        Fault::BadWindow { .. }
        | Fault::BadBasis { .. }
        | Fault::DomainFull { .. }
        | Fault::TooMany { .. }
        | Fault::Malformed(_)
        | Fault::UnknownVersion { .. }
        | Fault::BadSignature { .. }
        | Fault::NotInOrder { .. }
        | Fault::SubjectUnknown { .. }
        | Fault::BadSuspension { .. }
        | Fault::BadAccusation { .. }
        | Fault::BadHold { .. }
        | Fault::WouldStrandTheCharter { .. }
        | Fault::NotEffective { .. }
        | Fault::BadConsent { .. }
        | Fault::BadRecovery { .. }
        | Fault::WouldBeForgotten { .. }
        | Fault::BadCharter { .. }
        | Fault::WrongHeader { .. }
        | Fault::WrongTime { .. }
        | Fault::BadBlock { .. }
        | Fault::BadCertificate { .. }
        | Fault::BadBallot { .. }
        | Fault::BadProof
        | Fault::PathMissing { .. }
        | Fault::NotTheLeader { .. }
        | Fault::WrongSnapshot
        | Fault::Unknown { .. } => None,
    }
}

pub(super) fn within_a_note(mut text: String) -> String {
    while text.len() > limits::NOTE_BYTES_MAX {
        text.pop();
    }
    text
}
