//! What an endorser does for others, and what others do for a newcomer: drafts, proposals, entries on their way into a block.

use std::sync::Arc;

use super::core::{Core, Given, Phase};
use super::effects::Effects;
use super::input::{Error, Event};
use super::message::Message;
use super::record::{Record, Table};
use crate::agreement;
use crate::encoding::{Hash, encode};
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Verified};
use crate::joining::{Answer, Circulated, Decision, Draft, Offered, Origin, Proposal, Retry, Step, Verdict};
use crate::limits;
use crate::state::{
    Admit, Basis, Endorsement, Entry, Founded, Grounds, Kind, Reason, Revoke, Statement, Subject, TicketId,
    TicketTerms,
};
use crate::time::Timestamp;

/// What becomes of a draft.
enum Judged {
    Endorse,
    AskOperator,
    Decline(String, Retry),
    /// Our log must first reach its basis.
    WaitForLog,
    /// It is in the log already, at this height.
    Admitted(u64),
}

impl Core {
    /// Carries out what the newcomer's side wants next.
    pub(super) fn walk(&mut self, steps: Vec<Step>, effects: &mut Effects) {
        for step in steps {
            match step {
                Step::AskBeginning(peer) => {
                    let Some(newcomer) = &self.newcomer else { return };
                    let charter = newcomer.application().anchor.charter;
                    effects.send(peer, Arc::new(Message::AskCharter(charter)));
                    effects.send(peer, Arc::new(Message::AskHead));
                }
                Step::AskHead(peer) => effects.send(peer, Arc::new(Message::AskHead)),
                Step::AskEndorsement(peer, draft) => {
                    effects.send(peer, Arc::new(Message::AskEndorsement(Box::new((*draft).clone()))));
                }
                Step::Submit(peer, entry) => effects.send(peer, Arc::new(Message::Submit(entry))),
                Step::Declined(by, why) => effects.tell(Event::Declined { by, why }),
                Step::Failed(why) => effects.tell(Event::JoinFailed { why }),
            }
        }
    }

    pub(super) fn answer_charter(
        &mut self,
        to: PublicKey,
        id: &crate::state::CharterId,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        match &self.founded {
            Some(founded) if founded.charter.id() == *id => {
                effects.send(to, Arc::new(Message::Charter(Box::new(Founded::clone(founded)))));
                Ok(())
            }
            Some(_) | None => Err(Error::Untimely("that charter is not known here")),
        }
    }

    pub(super) fn charter_shown(
        &mut self,
        founded: &Verified<Founded>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(newcomer) = &mut self.newcomer else {
            return Err(Error::Untimely("no charter was asked for"));
        };
        let steps = newcomer.charter_shown(founded, &*self.workshop, self.now);
        if self.founded.is_none()
            && let Some(founded) = newcomer.founded()
        {
            self.founded = Some(Box::new(founded.clone()));
            let value = Some(encode(&**founded).into());
            effects.persist(Record { table: Table::Meta, key: FOUNDED_KEY.to_vec(), value });
        }
        self.walk(steps, effects);
        Ok(())
    }

    /// A newcomer asks us to endorse its admission (SPEC 5.5, 5.6).
    pub(super) fn judge_draft(&mut self, from: PublicKey, draft: &Verified<Draft>, effects: &mut Effects) {
        let statement = draft.statement.id();
        let id = Hash(statement.0);
        if let Some(given) = self.given.get(&id) {
            let verdict = Verdict::Endorsed(given.endorsement);
            effects.send(from, Arc::new(Message::Answer(Box::new(Answer { statement, verdict }))));
            return;
        }
        let verdict = match self.judge(draft) {
            Judged::Endorse => {
                Verdict::Endorsed(self.sign(&Subject::Statement(draft.statement.clone()), effects))
            }
            Judged::Decline(why, retry) => Verdict::Declined { why: within_a_note(why), retry },
            Judged::AskOperator => match self.ask_operator(from, draft, effects) {
                Ok(()) => Verdict::Waiting,
                Err(fault) => {
                    Verdict::Declined { why: within_a_note(fault.to_string()), retry: Retry::Later }
                }
            },
            Judged::WaitForLog => {
                // One a peer: nobody fills the queue. Whoever finds no place asks again by its own timer.
                self.drafts_ahead.retain(|(peer, _)| *peer != from);
                if self.drafts_ahead.len() < limits::DRAFTS_AHEAD_MAX {
                    self.drafts_ahead.push((from, draft.clone()));
                }
                return;
            }
            Judged::Admitted(height) => {
                if let Some(chain) = self.chain.as_ref().and_then(|chain| chain.chain_of(height)) {
                    effects.send(from, Arc::new(Message::Final(Arc::new(chain))));
                }
                return;
            }
        };
        effects.send(from, Arc::new(Message::Answer(Box::new(Answer { statement, verdict }))));
    }

    fn judge(&self, draft: &Verified<Draft>) -> Judged {
        let never = |fault: Fault| Judged::Decline(fault.to_string(), Retry::Never);
        let declined = |fault: Fault| {
            let retry = outlook(&fault).unwrap_or(Retry::Later);
            Judged::Decline(fault.to_string(), retry)
        };
        let Kind::Admit(admit) = &draft.statement.kind else {
            return never(Fault::NotAllowed { what: "a draft of anything but an admission" });
        };
        if let Err(fault) = self.check_may_endorse() {
            // A seat that has no state yet, or has halted, may come round.
            let retry = match self.phase() {
                Phase::Syncing | Phase::Halted => Retry::Later,
                Phase::Endorsing | Phase::Joining | Phase::Following | Phase::Restrained | Phase::Gone => {
                    Retry::Never
                }
            };
            return Judged::Decline(fault.to_string(), retry);
        }
        let Some(chain) = &self.chain else { return never(Fault::Unknown { what: "the state" }) };
        let state = chain.state();
        let charter = state.charter();
        let head = chain.head();
        if self.now.since(head.time) > charter.timing.freshness_ms {
            let why = "this endorser's own newest final block is older than the freshness bound";
            return Judged::Decline(why.into(), Retry::Later);
        }
        let subject = admit.subject.node_id();
        if let Some(standing) = state.standing(&subject)
            && standing.number >= admit.number
            && standing.number > 0
        {
            return Judged::Admitted(standing.height);
        }
        if admit.basis.height > head.height {
            let ahead = admit.basis.height - head.height;
            return if ahead <= limits::BASIS_AHEAD_MAX {
                Judged::WaitForLog
            } else {
                Judged::Decline("the basis is far beyond this endorser's head".into(), Retry::Later)
            };
        }
        if let Err(fault) = self.check_basis(&admit.basis) {
            return Judged::Decline(fault.to_string(), Retry::NewerBasis);
        }
        let time = self.now.max(head.time.plus(1));
        if let Err(fault) = state.judge_statement(head, time, &draft.statement) {
            return declined(fault);
        }
        match (&admit.grounds, &draft.shown) {
            (Grounds::Ticket(terms), Some(shown)) if charter.admission.tickets => {
                let need = usize::from(charter.thresholds.admit);
                let judged = state
                    .judge_ticket(time, terms)
                    .and_then(|()| state.check_endorsers(&shown.countersignatures, need));
                match judged {
                    Ok(()) if self.has_signed_too_often(terms) => Judged::Decline(
                        "too many identities ask with this ticket: ask again when some of them are in".into(),
                        Retry::Later,
                    ),
                    Ok(()) => Judged::Endorse,
                    Err(fault) => declined(fault),
                }
            }
            (Grounds::Approval, None) if charter.admission.approval => {
                match self.proposals.get(&Hash(draft.statement.id().0)).map(|proposal| proposal.decision) {
                    Some(Decision::Declined) => {
                        Judged::Decline("the operator of this endorser said no".into(), Retry::Never)
                    }
                    Some(Decision::Open | Decision::Endorsed) | None => Judged::AskOperator,
                }
            }
            (Grounds::Ticket(_) | Grounds::Approval, _) => {
                Judged::Decline("the charter does not admit on these grounds".into(), Retry::Never)
            }
        }
    }

    fn ask_operator(
        &mut self,
        from: PublicKey,
        draft: &Verified<Draft>,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let subject = Subject::Statement(draft.statement.clone());
        let id = subject.digest();
        if let Some(known) = self.proposals.get_mut(&id) {
            // It may have reconnected under the same key only: the draft names that key.
            known.origin = Origin::Newcomer(from);
            return Ok(());
        }
        let timing = self
            .charter()
            .map_or(0, |charter| charter.timing.proposal_lifetime_ms.min(charter.timing.basis_ms / 2));
        let proposal = Proposal {
            subject,
            note: draft.note.clone(),
            expires: self.now.plus(timing),
            origin: Origin::Newcomer(from),
            decision: Decision::Open,
            endorsements: Vec::new(),
            met: false,
        };
        self.proposals.insert(proposal.clone())?;
        self.keep_proposal(&proposal, effects);
        effects.tell(Event::Waiting { id, note: draft.note.clone() });
        Ok(())
    }

    pub(super) fn judge_drafts_ahead(&mut self, effects: &mut Effects) {
        for (from, draft) in std::mem::take(&mut self.drafts_ahead) {
            self.judge_draft(from, &draft, effects);
        }
    }

    /// Signs a subject that was judged, once: a repeated wish gets the stored bytes.
    fn sign(&mut self, subject: &Subject, effects: &mut Effects) -> Endorsement {
        let id = subject.digest();
        if let Some(given) = self.given.get(&id) {
            return given.endorsement;
        }
        let endorsement = Endorsement::sign(&id, self.me, self.keys.sequence, &self.keys.identity);
        let given = Given { endorsement, until: self.useful_until(subject), admits: admission_of(subject) };
        self.keep_given(id, given, effects);
        effects.tell(Event::Endorsed { id });
        endorsement
    }

    /// Whoever holds a ticket can make identities without end: what we sign for it, and must remember, has a bound.
    fn has_signed_too_often(&self, terms: &TicketTerms) -> bool {
        let id = terms.id();
        let signed = self
            .given
            .values()
            .filter(|given| given.admits.is_some_and(|(_, ticket)| ticket == Some(id)))
            .count();
        signed >= (terms.uses as usize).saturating_add(limits::SPARE_ENDORSEMENTS_PER_TICKET)
    }

    /// When an endorsement of `subject` can no longer make an entry.
    fn useful_until(&self, subject: &Subject) -> Timestamp {
        let Some(charter) = self.charter() else { return self.now };
        match subject {
            Subject::Ticket(terms) => terms.expires,
            Subject::Statement(statement) => match &statement.kind {
                Kind::Admit(admit) => admit.basis.time.plus(charter.timing.basis_ms),
                // A removal is good for as long as its subject is there: kept until it is in a block.
                Kind::Revoke(_) => Timestamp(u64::MAX),
            },
        }
    }

    fn keep_proposal(&self, proposal: &Proposal, effects: &mut Effects) {
        let key = proposal.id().0.to_vec();
        effects.persist(Record { table: Table::Proposals, key, value: Some(encode(proposal).into()) });
    }

    fn check_may_endorse(&self) -> Result<(), Fault> {
        match self.phase() {
            Phase::Endorsing => Ok(()),
            Phase::Restrained => Err(Fault::EndorserGone { node: self.me }),
            Phase::Joining | Phase::Syncing | Phase::Following | Phase::Gone | Phase::Halted => {
                Err(Fault::NotAnEndorser { node: self.me })
            }
        }
    }

    /// Whether we may vouch for the basis of a grant (SPEC 5.6): execution trusts the endorsers with it.
    fn check_basis(&self, basis: &Basis) -> Result<(), Fault> {
        let Some(chain) = &self.chain else { return Err(Fault::Unknown { what: "the state" }) };
        if !chain.knows(basis) {
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
            Subject::Statement(statement) => {
                match &statement.kind {
                    Kind::Admit(admit) => self.check_basis(&admit.basis)?,
                    Kind::Revoke(_) => {}
                }
                chain.state().judge_statement(chain.head(), time, statement)
            }
            Subject::Ticket(terms) => chain.state().judge_ticket(time, terms),
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
            met: false,
        };
        self.proposals.insert(proposal)?;
        self.endorse(&id, effects)
    }

    /// Our operator says yes.
    pub(super) fn endorse(&mut self, id: &Hash, effects: &mut Effects) -> Result<(), Error> {
        self.check_may_endorse()?;
        let Some(proposal) = self.proposals.get(id) else {
            return Err(Fault::Unknown { what: "a proposal of this id" }.into());
        };
        let (subject, origin) = (proposal.subject.clone(), proposal.origin);
        self.judge_subject(&subject)?;
        let endorsement = self.sign(&subject, effects);
        let Some(proposal) = self.proposals.get_mut(id) else { return Ok(()) };
        proposal.decision = Decision::Endorsed;
        proposal.merge(&[endorsement]);
        let proposal = proposal.clone();
        self.keep_proposal(&proposal, effects);
        match origin {
            Origin::Newcomer(key) => {
                let Subject::Statement(statement) = &subject else { return Ok(()) };
                let answer = Answer { statement: statement.id(), verdict: Verdict::Endorsed(endorsement) };
                effects.send(key, Arc::new(Message::Answer(Box::new(answer))));
            }
            Origin::Endorsers => {
                let message = Arc::new(Message::Circulate(Arc::new(proposal.circulated())));
                for key in self.endorser_keys() {
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

    /// Another endorser circulates a proposal, or what it knows of one.
    pub(super) fn circulated(
        &mut self,
        circulated: &Verified<Arc<Circulated>>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let (Some(chain), Some(_)) = (&self.chain, &self.hall) else {
            return Err(Error::Untimely("this node does not endorse"));
        };
        // At least its proposer's: whoever fills our queue signs for it. No fault if not: the sender's state may be older or newer.
        if chain.state().check_endorsers(&circulated.endorsements, 1).is_err() {
            return Err(Error::Untimely("its endorsements are not of endorsers, as far as is known here"));
        }
        let subject = &circulated.subject;
        let id = subject.digest();
        if self.proposals.get(&id).is_none() {
            // Not a fault: it may be in the log already, or be valid only in a state that we have not reached.
            if self.judge_subject(subject).is_err() || circulated.expires < self.now {
                return Ok(());
            }
            let charter = chain.state().charter();
            if self.proposals.is_beyond_a_share(&circulated.endorsements, charter) {
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
                met: false,
            };
            if self.proposals.insert(proposal).is_err() {
                return Err(Error::Untimely("too many proposals wait already"));
            }
            effects.tell(Event::Waiting { id, note: circulated.note.clone() });
        }
        let Some(proposal) = self.proposals.get_mut(&id) else { return Ok(()) };
        if proposal.merge(&circulated.endorsements) {
            let proposal = proposal.clone();
            self.keep_proposal(&proposal, effects);
            self.tell_if_met(&id, effects);
        }
        Ok(())
    }

    fn tell_if_met(&mut self, id: &Hash, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        let Some(proposal) = self.proposals.get_mut(id) else { return };
        let state = chain.state();
        // An entry carries no ballast (SPEC 4.4): whoever lost its office since it endorsed is left out.
        let entitled = |endorsement: &&Endorsement| state.check_endorsers(&[**endorsement], 1).is_ok();
        let endorsements: Vec<Endorsement> = proposal.endorsements.iter().filter(entitled).copied().collect();
        if proposal.met || endorsements.len() < state.threshold_for(&proposal.subject) {
            return;
        }
        let subject = proposal.subject.clone();
        match &subject {
            Subject::Ticket(_) => {}
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
        if self.hall.is_none() {
            return;
        }
        let Some(node) = self.seat_of(&peer) else { return };
        for (_, proposal) in self.proposals.iter() {
            let worth_it = proposal.origin == Origin::Endorsers
                && !proposal.endorsements.is_empty()
                && !(proposal.met && proposal.has(&node));
            if worth_it {
                effects.send(peer, Arc::new(Message::Circulate(Arc::new(proposal.circulated()))));
            }
        }
    }

    /// Somebody hands us an entry for a block; `None`: we ourselves.
    pub(super) fn submitted(
        &mut self,
        from: Option<PublicKey>,
        entry: &Verified<Arc<Entry>>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let statement = entry.statement.id();
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        if self.hall.is_none() {
            return Err(Error::Untimely("this node does not make blocks"));
        }
        match self.waiting.offer(entry, chain.state(), chain.head(), self.now) {
            Ok(Offered::Waits { instead_of }) => {
                if let Some(dead) = instead_of {
                    self.relays.remove(&dead);
                    effects.persist(Record { table: Table::Waiting, key: dead.0.to_vec(), value: None });
                }
                if let Some(from) = from {
                    self.promise(statement, from);
                }
                let key = statement.0.to_vec();
                effects.persist(Record { table: Table::Waiting, key, value: Some(encode(&**entry).into()) });
                effects.tell(Event::Accepted { statement });
                self.relay(entry, from, effects);
                self.agree(agreement::Input::WorkChanged, effects);
                Ok(())
            }
            Ok(Offered::Already) => {
                if let Some(from) = from {
                    self.promise(statement, from);
                }
                Ok(())
            }
            Err(fault) => {
                let Some(from) = from else { return Err(Error::Refused(fault)) };
                // Whoever asks again after it is in gets the proof once more.
                // Nobody else: it shows other members.
                if (self.is_seated(&from) || self.speaks_for(&from, &entry.statement))
                    && let Some(height) = self.height_of(&entry.statement)
                    && let Some(chain) = self.chain.as_ref().and_then(|chain| chain.chain_of(height))
                {
                    effects.send(from, Arc::new(Message::Final(Arc::new(chain))));
                    return Ok(());
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

    /// Whether the peer at this transport key is the one whom `statement` is about.
    pub(super) fn speaks_for(&self, from: &PublicKey, statement: &Statement) -> bool {
        let by_first_key = match &statement.kind {
            Kind::Admit(admit) => admit.subject.key == *from,
            Kind::Revoke(_) => false,
        };
        by_first_key || self.owner_of(from) == Some(statement.subject())
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
        for (statement, fault) in self.waiting.sift(chain.state(), chain.head(), self.now) {
            self.relays.remove(&statement);
            effects.persist(Record { table: Table::Waiting, key: statement.0.to_vec(), value: None });
            // One of its endorsers may have lost its office; the others may be enough for a new entry.
            if let Some(proposal) = self.proposals.get_mut(&Hash(statement.0)) {
                proposal.met = false;
            }
            if let Some(retry) = outlook(&fault)
                && let Some(newcomers) = self.promised.remove(&statement)
            {
                let why = within_a_note(fault.to_string());
                for key in newcomers {
                    effects.send(key, Arc::new(Message::Refused { statement, why: why.clone(), retry }));
                }
            }
        }
    }
}

/// The place of the founding charter in [`Table::Meta`].
pub(super) const FOUNDED_KEY: &[u8] = b"founded";

fn admission_of(subject: &Subject) -> Option<(NodeId, Option<TicketId>)> {
    match subject {
        Subject::Ticket(_) => None,
        Subject::Statement(statement) => match &statement.kind {
            Kind::Admit(admit) => {
                let ticket = match &admit.grounds {
                    Grounds::Ticket(terms) => Some(terms.id()),
                    Grounds::Approval => None,
                };
                Some((admit.subject.node_id(), ticket))
            }
            Kind::Revoke(_) => None,
        },
    }
}

/// What a newcomer can do about a fault of its draft or entry; `None` if it may be that only our log or clock is behind.
fn outlook(fault: &Fault) -> Option<Retry> {
    match fault {
        Fault::SubjectGone { .. }
        | Fault::KeyTaken { .. }
        | Fault::WrongNumber { .. }
        | Fault::UnknownRole { .. }
        | Fault::RoleBeyondTicket { .. }
        | Fault::TicketExpired
        | Fault::TicketSpent { .. }
        | Fault::BadTicket { .. }
        | Fault::OtherDomain { .. }
        | Fault::GroundsNotAllowed { .. }
        | Fault::BadKey { .. }
        | Fault::NotAllowed { .. } => Some(Retry::Never),
        // Whoever endorsed it may not any more: others can.
        Fault::NotAnEndorser { .. }
        | Fault::EndorserGone { .. }
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
        | Fault::WouldStrandTheCharter { .. }
        | Fault::BadCharter { .. }
        | Fault::WrongHeader { .. }
        | Fault::WrongTime { .. }
        | Fault::BadBlock { .. }
        | Fault::BadCertificate { .. }
        | Fault::BadBallot { .. }
        | Fault::BadProof
        | Fault::NotTheLeader { .. }
        | Fault::WrongSnapshot
        | Fault::Unknown { .. } => None,
    }
}

fn within_a_note(mut text: String) -> String {
    while text.len() > limits::NOTE_BYTES_MAX {
        text.pop();
    }
    text
}
