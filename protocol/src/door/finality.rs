//! How a core comes to new final blocks, from its own agreement or from others, and what follows from each.

use std::sync::Arc;

use super::core::{Core, Phase};
use super::effects::Effects;
use super::input::{Alarm, Error, Event};
use super::message::{Message, Standing};
use super::record::{Record, Table};
use crate::agreement;
use crate::encoding::encode;
use crate::fault::Fault;
use crate::following::{NotTaken, Proof, chain_below};
use crate::identity::{NodeId, PublicKey, Verified};
use crate::limits;
use crate::state::{Block, FinalChain, Kind, Rank};

impl Core {
    /// A peer sent, or gossip brought, a final chain.
    pub(super) fn take_final(
        &mut self,
        from: PublicKey,
        proven: &Verified<Arc<FinalChain>>,
        by_gossip: bool,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if let Some(newcomer) = &self.newcomer {
            let Some(height) = newcomer.admitted_by(proven) else {
                let epoch = self.charter().map_or(u64::MAX, |charter| charter.epoch);
                if !by_gossip && proven.certificate.ballot.epoch > epoch {
                    effects.send(from, Arc::new(Message::AskLinks { epoch }));
                }
                return Err(Error::Untimely("it does not admit us"));
            };
            return self.was_admitted(from, height, effects);
        }
        let Some(chain) = &mut self.chain else {
            self.shown_without_a_state(proven, effects);
            return Err(Error::Untimely("there is no state yet"));
        };
        if proven.certificate.is_of_recovery() {
            return self.recovery_shown(Some(from), proven, effects);
        }
        if self.halted.is_some() {
            self.keep_fork_if_shown(proven, effects);
            return Err(Error::Untimely("this node has halted"));
        }
        match chain.take(proven, &*self.workshop) {
            Ok(taken) => {
                chain.renew_checkpoint();
                let jitter = self.jitter();
                self.follower.satisfied(self.now, jitter);
                if taken.complete {
                    self.report_clock(proven, effects);
                }
                self.became_final(&taken.blocks, proven, effects);
                self.tell_hall(proven, effects);
                if by_gossip {
                    self.passed_on = self.workshop.ids(proven).last().copied();
                }
                if taken.complete {
                    // A snapshot that was on its way is of no use any more.
                    self.fetch = None;
                }
                // An answer that is as long as answers may be, or ends an epoch, is rarely all that there is.
                if !taken.complete || !by_gossip && self.is_a_full_answer(proven) {
                    self.ask_what_follows(from, effects);
                }
                Ok(())
            }
            Err(NotTaken::Known) if by_gossip => {
                // Somebody did publish it, with the bodies that are final here: we need not.
                let Some(tip) = self.workshop.ids(proven).last().copied() else { return Ok(()) };
                self.publications.remove(&tip);
                // One copy of the newest is passed on: others of it, and of what is old, could be made without end.
                let newest = self.chain.as_ref().is_some_and(|chain| chain.head_id() == tip);
                if !newest || self.passed_on == Some(tip) {
                    return Err(Error::Untimely("it is known already"));
                }
                self.passed_on = Some(tip);
                Ok(())
            }
            Err(NotTaken::Known) => {
                self.follower.answered();
                Err(Error::Untimely("it is known already"))
            }
            Err(NotTaken::Gap) => {
                if let Some(height) = self.revoked_at(proven) {
                    self.dismissed(height, effects);
                    return Ok(());
                }
                self.shown_to_have_rotated(proven, effects);
                self.ask_about_a_gap(from, effects);
                Err(Error::Untimely("blocks are missing here before it"))
            }
            Err(NotTaken::PathsMissing { places }) => {
                // Nobody shows anything to whoever is gone, nor to a key that is over: so first what the chain says of this node.
                if let Some(height) = self.revoked_at(proven) {
                    self.dismissed(height, effects);
                    return Ok(());
                }
                self.shown_to_have_rotated(proven, effects);
                let passes = self.passes_in_part(proven);
                if let Some(fault) = passes.clone().filter(Fault::is_of_the_body) {
                    return Err(Error::PeerMisbehaved { culprit: from, fault });
                }
                self.lacks_paths(from, proven, places, effects);
                let tip = self.workshop.ids(proven).last().copied();
                if by_gossip && passes.is_none() && self.passed_on != tip {
                    // Others may hold what is not held here, and should not wait for it.
                    self.passed_on = tip;
                    return Ok(());
                }
                Err(Error::Untimely("it touches what is not held here, and that is asked for"))
            }
            Err(NotTaken::LaterEpoch) => {
                // Nothing of it could be checked: no stranger shall keep us from asking a member when there is need.
                if self.standing_of(&from) >= Standing::Member {
                    self.ask_about_a_gap(from, effects);
                }
                Err(Error::Untimely("it is of an epoch that is not known here yet"))
            }
            Err(NotTaken::Void) => Err(Error::Untimely("it is of an epoch that is long over")),
            Err(NotTaken::OtherBody) => {
                self.ask_about_a_gap(from, effects);
                Err(Error::Untimely("a block of it has another body here"))
            }
            Err(NotTaken::Wrong(fault)) => Err(Error::PeerMisbehaved { culprit: from, fault }),
            Err(NotTaken::Dropped { theirs }) => Err(self.shown_what_was_dropped(theirs, effects)),
            Err(NotTaken::Forked { height, ours, theirs }) => {
                self.keep_fork(proven, height, effects);
                self.halt(Alarm::Forked { height, ours, theirs }, effects);
                Ok(())
            }
            Err(NotTaken::DoesNotExecute { height, fault }) => {
                // What is below it is final all the same: a removal there counts.
                if let Some(below) = chain_below(proven, height)
                    && let Ok(taken) = chain.take(&below, &*self.workshop)
                {
                    self.became_final(&taken.blocks, &below, effects);
                }
                self.halt(Alarm::DoesNotExecute { height, why: fault.to_string() }, effects);
                Ok(())
            }
        }
    }

    /// Whether there may have been no room for another block.
    fn is_a_full_answer(&self, chain: &FinalChain) -> bool {
        let bytes: usize = chain.blocks.iter().map(|block| self.workshop.block_bytes(block)).sum();
        let ends = chain.blocks.last().is_some_and(|last| last.ends_its_epoch());
        ends || bytes > limits::FOLLOW_ANSWER_BYTES_MAX - limits::BLOCK_BYTES_MAX
    }

    /// Where a certified chain revokes us, in a block that we cannot execute because earlier ones are missing here. Nobody sends those to
    /// whoever is gone, and they are not needed: a quorum executed them. (Whoever has a seat follows still, and gets there.)
    pub(super) fn revoked_at(&self, proven: &FinalChain) -> Option<u64> {
        if self.chain.as_ref().is_some_and(|chain| chain.state().has_seat(&self.me)) {
            return None;
        }
        let revokes = |kind: &Kind| kind.removes() == Some(self.me);
        // The certificate is of the header: the entries must be those that it names.
        let revokes_us = |block: &&Arc<Block>| {
            block.entries.iter().any(|entry| revokes(&entry.statement.kind)) && block.has_its_entries()
        };
        proven.blocks.iter().find(revokes_us).map(|block| block.header.height)
    }

    pub(super) fn dismissed(&mut self, height: u64, effects: &mut Effects) {
        self.dismissed = Some(height);
        let value = Some(encode(&height).into());
        effects.persist(Record { table: Table::Meta, key: DISMISSED_KEY.to_vec(), value });
        self.went(height, effects);
    }

    /// We are gone: nothing is left to do.
    fn went(&mut self, height: u64, effects: &mut Effects) {
        self.hall = None;
        self.connected.clear();
        effects.tell(Event::Dismissed { height });
    }

    pub(super) fn halt(&mut self, alarm: Alarm, effects: &mut Effects) {
        effects.tell(Event::Alarm(alarm.clone()));
        match &alarm {
            // A fork is not undone by a restart. What does not execute may be our own fault, and be mended by one.
            Alarm::Forked { height, ours, theirs } => {
                let value = Some(encode(&(height, ours, theirs)).into());
                effects.persist(Record { table: Table::Meta, key: FORKED_KEY.to_vec(), value });
            }
            Alarm::DoesNotExecute { .. }
            | Alarm::JournalLost { .. }
            | Alarm::Contradiction { .. }
            | Alarm::Convicted { .. }
            | Alarm::RotatedTwice { .. }
            | Alarm::HoldsContradict { .. }
            | Alarm::Cloned { .. }
            | Alarm::RecoveryShown { .. }
            | Alarm::RecoveryForgets { .. }
            | Alarm::RecoveredTwice { .. }
            | Alarm::DroppedBranch { .. }
            | Alarm::ClockRanBack { .. }
            | Alarm::ClockFarOff { .. } => {}
        }
        self.halted = Some(alarm);
    }

    /// Agreement goes on from what others finalised.
    fn tell_hall(&mut self, proven: &Verified<Arc<FinalChain>>, effects: &mut Effects) {
        // By the last block of an epoch the seat in it is left already.
        if self.hall.as_deref().is_none_or(|hall| hall.epoch() != proven.certificate.ballot.epoch) {
            return;
        }
        let Some(tip) = proven.tip() else { return };
        // Only if we hold the certified block itself: otherwise the rest is on its way.
        if self.chain.as_ref().is_none_or(|chain| chain.head_id() != tip.id()) {
            return;
        }
        let block = match proven.blocks.last() {
            Some(block) if block.id() == tip.id() => Arc::clone(block),
            Some(_) | None => Arc::new(Block { header: tip.clone(), entries: Vec::new() }),
        };
        let (certificate, block) = (proven.certificate.clone(), Verified::of_verified_parts(block));
        self.agree(agreement::Input::Final { certificate, block }, effects);
        self.agree(agreement::Input::WorkChanged, effects);
    }

    /// A clock more than the freshness bound away from a block that has just been made is wrong, or the quorum's is (SPEC 9.6).
    pub(super) fn report_clock(&mut self, proven: &FinalChain, effects: &mut Effects) {
        let (Some(tip), Some(charter)) = (proven.tip(), self.charter()) else { return };
        let bound = charter.timing.freshness_ms;
        let (behind, ahead) = (tip.time.since(self.now), self.now.since(tip.time));
        if behind.max(ahead) <= bound {
            self.clock_far_off = false;
        } else if !self.clock_far_off {
            self.clock_far_off = true;
            let alarm = Alarm::ClockFarOff { by_ms: behind.max(ahead), ahead: ahead > behind };
            effects.tell(Event::Alarm(alarm));
        }
    }

    /// What follows from `blocks`, which were executed and have just become final here by `proven`. (That may hold more, of which nothing
    /// but the headers is vouched for.)
    pub(super) fn became_final(
        &mut self,
        blocks: &[Verified<Arc<Block>>],
        proven: &Verified<Arc<FinalChain>>,
        effects: &mut Effects,
    ) {
        self.lives(effects);
        let Some(chain) = &self.chain else { return };
        let head = chain.head().clone();
        for block in blocks {
            let height = block.header.height;
            let last = chain.state().last().height == height;
            let id = if last { chain.state().last_id() } else { block.id() };
            effects.tell(Event::Final { height, block: id, entries: block.entries.len() });
        }
        if head.is_heartbeat() {
            effects.tell(Event::Final { height: head.height, block: chain.head_id(), entries: 0 });
        }
        self.persist_final(blocks, proven, effects);
        if blocks.last().is_some_and(|block| block.ends_its_epoch()) {
            self.enter_epoch(effects);
        }
        for block in blocks {
            // Whoever waits for one of its entries gets all of it, once encoded.
            let mut proof = None;
            for entry in &block.entries {
                // Most nodes follow and wait for nothing: they need not hash what they would then not find.
                if entry.statement.rank() != Rank::Grant || self.waits_for_entries() {
                    self.entry_became_final(entry, block.header.height, &mut proof, effects);
                }
            }
        }
        if !blocks.is_empty() {
            self.forget_useless_endorsements(effects);
            self.sift_waiting(effects);
            self.look_after_renewal(effects);
        }
        self.offer_proofs(effects);
        self.accuse_whoever_held_twice(effects);
        // After a heartbeat, too: a suspension may have lapsed, and who endorsed before may endorse again.
        self.retry_proposals(effects);
        self.renew_consents(effects);
        self.circulate_again(effects);
        self.judge_drafts_ahead(effects);
        self.renew_on_a_newer_head(effects);
        if self.phase() == Phase::Gone {
            let gone = self.chain.as_ref().and_then(|chain| chain.state().gone_since(&self.me));
            let height = gone.map_or(0, |gone| gone.height);
            self.went(height, effects);
        }
    }

    fn waits_for_entries(&self) -> bool {
        let proposals = self.proposals.iter().next().is_some();
        proposals || !(self.relays.is_empty() && self.given.is_empty() && self.promised.is_empty())
    }

    fn entry_became_final(
        &mut self,
        entry: &crate::state::Entry,
        height: u64,
        proof: &mut Option<Arc<Message>>,
        effects: &mut Effects,
    ) {
        let id = entry.statement.id();
        let digest = entry.statement.endorsed();
        self.relays.remove(&id);
        if self.given.remove(&digest).is_some() {
            effects.persist(Record { table: Table::Endorsed, key: digest.0.to_vec(), value: None });
        }
        if self.proposals.remove(&digest).is_some() {
            effects.persist(Record { table: Table::Proposals, key: digest.0.to_vec(), value: None });
        }
        if let Some(newcomers) = self.promised.remove(&id)
            && let Some(message) = self.proof_of(height, proof)
        {
            for key in newcomers {
                effects.send(key, Arc::clone(&message));
            }
        }
        match &entry.statement.kind {
            Kind::Admit(admit) => self.forget_drafts_of(&admit.subject.node_id(), effects),
            Kind::Release(_) => {}
            Kind::Hold(hold) => {
                // For whoever did not get it by itself.
                let _ = self.take_hold(None, &Verified::of_verified_parts(**hold), false, effects);
            }
            // Before the first ballot of the next epoch, the last block of this one (SPEC 8.19).
            Kind::Amend(_) | Kind::Suspend(_) => effects.sync_all(),
            Kind::Accuse(accuse) => {
                effects.sync_all();
                let node = accuse.subject;
                match accuse.contradiction.convicts() {
                    Some(key) => effects.tell(Event::Alarm(Alarm::Convicted { node, key, height })),
                    None => self.send_off(node, height, proof, effects),
                }
            }
            Kind::Rotate(rotate) if rotate.subject == self.me => {
                self.adopt_rotation(effects);
                self.endorse_again(effects);
            }
            // Under its old key it is a stranger here, and would not be given what it may lack to know that.
            Kind::Rotate(rotate) => {
                let node = rotate.subject;
                let old = |key: &PublicKey| {
                    self.owner_of(key) == Some(node) && self.standing_of(key) == Standing::Stranger
                };
                let keys: Vec<PublicKey> = self.connected.iter().copied().filter(old).collect();
                for key in keys {
                    if let Some(message) = self.proof_of(height, proof) {
                        effects.send(key, message);
                    }
                }
            }
            Kind::Revoke(revoke) => {
                effects.sync_all();
                self.send_off(revoke.subject, height, proof, effects);
            }
            Kind::Recover(recover) => {
                effects.sync_all();
                for revoke in &recover.gone {
                    self.send_off(revoke.subject, height, proof, effects);
                }
            }
        }
    }

    /// Whoever is out learns it from the proof, and not from silence; if it has a seat, it stays for that.
    fn send_off(
        &mut self,
        node: NodeId,
        height: u64,
        proof: &mut Option<Arc<Message>>,
        effects: &mut Effects,
    ) {
        if self.chain.as_ref().is_none_or(|chain| chain.state().has_seat(&node)) {
            return;
        }
        let keys: Vec<PublicKey> =
            self.connected.iter().copied().filter(|key| self.owner_of(key) == Some(node)).collect();
        for key in keys {
            if let Some(message) = self.proof_of(height, proof) {
                effects.send(key, message);
            }
            self.connected.remove(&key);
            effects.tell(Event::Denied { key, node });
        }
    }

    /// The block at `height` with its proof, made once.
    pub(super) fn proof_of(&self, height: u64, made: &mut Option<Arc<Message>>) -> Option<Arc<Message>> {
        if made.is_none() {
            let chain = self.chain.as_ref().and_then(|chain| chain.chain_of(height));
            *made = chain.map(|chain| Arc::new(Message::Final(Arc::new(chain))));
        }
        made.clone()
    }

    /// Writes down what is final now: blocks with entries, and a heartbeat if that is the head.
    pub(super) fn persist_final(
        &mut self,
        blocks: &[Verified<Arc<Block>>],
        proven: &FinalChain,
        effects: &mut Effects,
    ) {
        let Some(chain) = &self.chain else { return };
        let height = chain.head().height;
        for block in blocks {
            let Some(held) = chain.held(block.header.height) else { continue };
            let key = block.header.height.to_be_bytes().to_vec();
            let value = self.workshop.final_record(&held.block, held.proof.as_ref());
            self.on_disk.wrote(block.header.height, value.len());
            self.keep_in_the_archive(&key, &value, effects);
            effects.persist(Record { table: Table::Final, key, value: Some(value) });
        }
        if chain.head().is_heartbeat() {
            let proof = Proof { headers: Vec::new(), certificate: proven.certificate.clone() };
            let key = HEAD_KEY.to_vec();
            let value = Some(encode(&(chain.head(), &proof)).into());
            effects.persist(Record { table: Table::Final, key, value });
        }
        self.prune(effects);
        // What agreement needs no more is the only copy on a disk that is sure to be there, until `Final` is.
        while self.forgotten.front().is_some_and(|(at, _)| at + limits::JOURNAL_KEPT_HEIGHTS < height) {
            let Some((_, key)) = self.forgotten.pop_front() else { break };
            effects.persist(Record { table: Table::Journal, key, value: None });
        }
    }
}

/// The place in [`Table::Meta`] of a fork that was seen: its height, and the two blocks.
pub(super) const FORKED_KEY: &[u8] = b"forked";

/// The place in [`Table::Meta`] of the height at which we were revoked, if it is not in our own log.
pub(super) const DISMISSED_KEY: &[u8] = b"dismissed";

/// The place of the newest heartbeat in [`Table::Final`]; heights have eight bytes.
pub(super) const HEAD_KEY: &[u8] = b"head";
