//! Newcomers' drafts, from both sides: what a newcomer does next, and what an endorser makes of it (SPEC 5.4 to 5.6).

use std::sync::Arc;

use super::core::{Core, Phase};
use super::effects::Effects;
use super::entries::{outlook, within_a_note};
use super::given::Given;
use super::input::{Error, Event};
use super::message::Message;
use super::rations::Question;
use super::record::{Record, Table};
use crate::encoding::{Hash, encoded_len};
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Verified};
use crate::joining::{Answer, Decision, Draft, Origin, Proposal, Retry, Step, Verdict};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{Admit, Charter, Grounds, Kind, Statement, Subject, TicketTerms};

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
                Step::AskLinks(peer) => {
                    let epoch = self.charter().map_or(0, |charter| charter.epoch);
                    effects.send(peer, Arc::new(Message::AskLinks { epoch }));
                }
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
        let Some(known) = self.charters.as_deref().and_then(|charters| charters.of_id(id)) else {
            return Err(Error::Untimely("that charter is not known here"));
        };
        self.rations.sent(to, encoded_len(&*known.charter), self.now);
        effects.send(to, Arc::new(Message::Charter(Box::new((*known.charter).clone()))));
        Ok(())
    }

    pub(super) fn charter_shown(
        &mut self,
        from: PublicKey,
        charter: &Charter,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if self.charter_of_the_newer_anchor(from, charter, effects) {
            return Ok(());
        }
        let Some(newcomer) = &mut self.newcomer else {
            return Err(Error::Untimely("no charter was asked for"));
        };
        let steps = newcomer.charter_shown(charter, &*self.workshop, self.now);
        self.take_charters_of_the_newcomer(effects);
        self.walk(steps, effects);
        Ok(())
    }

    /// A newcomer asks us to endorse its admission (SPEC 5.5, 5.6).
    pub(super) fn judge_draft(&mut self, from: PublicKey, draft: &Verified<Draft>, effects: &mut Effects) {
        let statement = draft.statement.id();
        let id = Hash(statement.0);
        if let Err(fault) = self.check_not_held(&draft.statement) {
            // Not even what was signed before is shown: it may be for the better that it was not heard.
            let verdict = Verdict::Declined { why: within_a_note(fault.to_string()), retry: Retry::Later };
            effects.send(from, Arc::new(Message::Answer(Box::new(Answer { statement, verdict }))));
            return;
        }
        let stored = self.given.get(&id).map(|given| given.endorsement.key == self.keys.identity.public());
        let stored = stored.filter(|_| !loosened(Bug::JudgedAnew));
        if stored.is_some_and(|by_this_key| by_this_key || self.check_may_endorse().is_ok()) {
            // What was signed by an earlier key is signed anew: it was judged, and an operator's yes is not asked for twice.
            let subject = Subject::Statement(draft.statement.clone());
            let verdict = Verdict::Endorsed(self.sign(&subject, effects));
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
                // It asks again by its own timer.
                let _ = self.asked(from, Question::Proof { height }, effects);
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
            // A seat that has no state yet, or has halted, may come round; one that is suspended may be released, and one that is convicted brought back by
            // an amendment; the log of one that has rotated
            // catches up.
            let retry = match self.phase() {
                Phase::Syncing | Phase::Halted | Phase::Endorsing => Retry::Later,
                Phase::Restrained
                    if matches!(
                        fault,
                        Fault::EndorserSuspended { .. }
                            | Fault::EndorserConvicted { .. }
                            | Fault::Held { .. }
                    ) =>
                {
                    Retry::Later
                }
                // It may have had a seat: whoever asks it does not know the newest charter, and learns it with the newest head.
                Phase::Following => Retry::NewerBasis,
                Phase::Joining | Phase::Restrained | Phase::Gone => Retry::Never,
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
                // A ticket whose countersigner lost its office is void (SPEC 5.1): no newer draft makes it good. One that is suspended or
                // convicted may come back.
                match state.check_endorsers(time, &shown.countersignatures, need) {
                    Ok(()) => {}
                    Err(fault @ (Fault::EndorserSuspended { .. } | Fault::EndorserConvicted { .. })) => {
                        return Judged::Decline(fault.to_string(), Retry::Later);
                    }
                    Err(fault) => return never(fault),
                }
                match state.judge_ticket(time, terms) {
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
            // Nobody is asked: whoever should not go on is suspended or revoked, and then the state said so above (SPEC 4.5).
            (Grounds::Renewal, None) if self.is_being_admitted(&subject, admit.number) => Judged::Decline(
                "operators of endorsers decide about this member's admission: ask again later".into(),
                Retry::Later,
            ),
            (Grounds::Renewal, None) if self.has_signed_enough_of(&subject) => Judged::Decline(
                "too many renewals of this member are signed here and in no block yet: ask again later"
                    .into(),
                Retry::Later,
            ),
            (Grounds::Renewal, None) => Judged::Endorse,
            (Grounds::Ticket(_) | Grounds::Approval | Grounds::Renewal, _) => {
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
            consents: Vec::new(),
            met: false,
        };
        if let Some(gone) = self.proposals.make_room(|key| self.connected.contains(key)) {
            effects.persist(Record { table: Table::Proposals, key: gone.0.to_vec(), value: None });
            effects.tell(Event::Lapsed { id: gone });
        }
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

    /// Whether operators are about to admit `subject` anew: our own said yes, or so many others that one of them is honest. A renewal would
    /// take the number from theirs, which may give it less. One that lies alone keeps nobody from renewing.
    fn is_being_admitted(&self, subject: &NodeId, number: u64) -> bool {
        let Some(charter) = self.charter() else { return false };
        let may_still_become = |admit: &Admit| {
            admit.number == number
                && admit.subject.node_id() == *subject
                && self.now.since(admit.basis.time) <= charter.timing.basis_ms
        };
        self.proposals.iter().any(|(_, proposal)| match (&proposal.subject, proposal.origin) {
            (Subject::Statement(Statement { kind: Kind::Admit(admit), .. }), Origin::Endorsers) => {
                let vouched = proposal.endorsements.len() > usize::from(charter.faults);
                may_still_become(admit) && (proposal.has(&self.me) || vouched)
            }
            (Subject::Statement(_) | Subject::Ticket(_) | Subject::Terms(_), _) => false,
        })
    }

    /// What a member can have us sign, and remember, without anybody's yes has a bound.
    fn has_signed_enough_of(&self, subject: &NodeId) -> bool {
        let of_it = |given: &&Given| {
            given.until >= self.now && given.admits.is_some_and(|(node, _)| node == *subject)
        };
        self.given.values().filter(of_it).count() >= limits::RENEWALS_SIGNED_MAX
            && !loosened(Bug::RenewalsSignedWithoutEnd)
    }

    /// Whoever holds a ticket can make identities without end: what we sign for it, and must remember, has a bound.
    fn has_signed_too_often(&self, terms: &TicketTerms) -> bool {
        let id = terms.id();
        let signed = self
            .given
            .values()
            .filter(|given| {
                given.until >= self.now && given.admits.is_some_and(|(_, ticket)| ticket == Some(id))
            })
            .count();
        signed >= (terms.uses as usize).saturating_add(limits::SPARE_ENDORSEMENTS_PER_TICKET)
            && !loosened(Bug::TicketsSignedWithoutEnd)
    }
}
