//! How a core comes to new final blocks, from its own agreement or from others, and what follows from each.

use std::sync::Arc;

use super::core::{Core, Hall, Phase};
use super::effects::Effects;
use super::input::{Alarm, Error, Event};
use super::message::{Message, Standing, Talk};
use super::record::{Record, Table};
use super::syncing::proven_header;
use super::talk::{epoch_of, heard, record_with_block, said};
use crate::agreement::{self, Accepted, Ballot, JournalRecord, Ledger, Output, Signer, Timely};
use crate::encoding::{encode, encoded_len};
use crate::fault::Fault;
use crate::following::{Chain, NotTaken, Proof, Workshop, chain_below};
use crate::identity::{PublicKey, SecretKey, Signature, Verified};
use crate::joining::Waiting;
use crate::limits;
use crate::state::{Block, BlockId, FinalChain, Header, Kind, Rank};
use crate::time::Timestamp;

type Input = agreement::Input<Verified<Arc<Block>>, PublicKey, Signature>;
type Outputs = Vec<Output<Verified<Arc<Block>>, PublicKey, Signature>>;

/// What agreement sees of chain and queue.
struct Bench<'a> {
    chain: &'a mut Chain,
    waiting: &'a mut Waiting,
    now: Timestamp,
    /// The epoch in which blocks are made.
    epoch: u64,
    workshop: &'a dyn Workshop,
}

impl Ledger for Bench<'_> {
    type Block = Verified<Arc<Block>>;

    fn id(&self, block: &Self::Block) -> BlockId {
        block.id()
    }

    fn parent(&self, block: &Self::Block) -> BlockId {
        block.header.parent
    }

    fn height(&self, block: &Self::Block) -> u64 {
        block.header.height
    }

    fn build(&mut self, now: Timestamp, parent: BlockId) -> Option<Self::Block> {
        let (header, state) = self.chain.after(&parent)?;
        if state.charter().epoch != self.epoch {
            return None;
        }
        let time = now.max(header.time.plus(1));
        let (block, state, _) = state.build(header, time, self.waiting.iter());
        self.chain.remember(block.clone(), state);
        Some(block)
    }

    fn accept(&mut self, block: &Self::Block) -> Accepted {
        if block.header.epoch != self.epoch {
            let fault = Fault::WrongHeader { block: block.id(), what: "the epoch" };
            return Accepted::Invalid(fault);
        }
        match self.chain.execute(block, self.workshop) {
            Ok(true) => Accepted::Yes,
            Ok(false) => Accepted::ParentMissing,
            Err(fault) => Accepted::Invalid(fault),
        }
    }

    fn timely(&self, now: Timestamp, block: &Self::Block) -> Timely {
        let skew = self.chain.state().charter().timing.skew_ms;
        let time = block.header.time;
        if time > now.plus(skew) {
            return Timely::NotBefore(Timestamp(time.0 - skew));
        }
        // A proposal travels and waits for at most an iteration; what is older was made by a clock that is behind.
        let slack = skew.saturating_add(self.chain.state().charter().timing.timeout_cap_ms);
        if now.since(time) > slack { Timely::Never } else { Timely::Yes }
    }

    fn entry_waits(&self, tip: BlockId) -> bool {
        match self.chain.after(&tip) {
            Some((header, state)) if state.charter().epoch == self.epoch => {
                self.waiting.any_valid(tip, header, state, self.now)
            }
            Some(_) | None => false,
        }
    }

    fn ends_epoch(&self, block: &Self::Block) -> bool {
        block.ends_its_epoch()
    }

    fn heartbeat_due(&self) -> Timestamp {
        let head = self.chain.head();
        // Whoever begins in this epoch needs a certificate of it: at once, however idle the domain is.
        let idle =
            if head.epoch == self.epoch { self.chain.state().charter().timing.heartbeat_ms } else { 0 };
        head.time.plus(idle)
    }
}

/// The key that signs ballots.
struct VotingKey<'a>(&'a SecretKey);

impl Signer<Signature> for VotingKey<'_> {
    fn sign(&self, ballot: &Ballot) -> Signature {
        self.0.sign(&ballot.digest())
    }
}

impl Core {
    /// An endorser said something about agreement.
    pub(super) fn talked(
        &mut self,
        from: PublicKey,
        talk: &Talk,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(voter) = self.voter_of(&from) else {
            return Err(Error::Untimely("only endorsers agree on blocks"));
        };
        let ours = self.hall.as_deref().map(Hall::epoch);
        if let (Some(epoch), Some(ours)) = (epoch_of(talk), ours)
            && epoch != ours
        {
            return Err(self.heard_of_epoch(from, epoch, effects));
        }
        let message = heard(talk);
        self.try_agree(agreement::Input::Message { from: voter, message }, effects).map_err(|fault| {
            if let Fault::Unknown { what } = fault {
                return Error::Untimely(what);
            }
            Error::PeerMisbehaved { culprit: from, fault }
        })
    }

    /// Hands agreement something that is nobody's fault.
    pub(super) fn agree(&mut self, input: Input, effects: &mut Effects) {
        let refused = self.try_agree(input, effects);
        debug_assert!(refused.is_ok(), "agreement refused our own input: {refused:?}");
    }

    fn try_agree(&mut self, input: Input, effects: &mut Effects) -> Result<(), Fault> {
        let Some(hall) = &mut self.hall else { return Ok(()) };
        let voter = hall.voter();
        let voting = self.keys.voting.iter().find(|key| key.public() == voter);
        let voting = voting.expect("no seat is taken without its key");
        let Some(chain) = &mut self.chain else { return Ok(()) };
        if self.halted.is_some() {
            return Ok(());
        }
        let mut outputs: Outputs = Vec::new();
        let epoch = hall.epoch();
        let mut bench =
            Bench { chain, waiting: &mut self.waiting, now: self.now, epoch, workshop: &*self.workshop };
        hall.handle(self.now, input, &mut bench, &VotingKey(voting), &mut outputs)?;
        self.carry_out(epoch, outputs, effects);
        Ok(())
    }

    fn carry_out(&mut self, epoch: u64, outputs: Outputs, effects: &mut Effects) {
        let mut finalised = false;
        for output in outputs {
            match output {
                Output::Persist(record) => Self::persist_journal(epoch, record, effects),
                Output::Send { to, message } => {
                    if let Some(key) = self.key_of_voter(&to) {
                        effects.send(key, said(message));
                    }
                }
                Output::Broadcast(message) => {
                    let message = said(message);
                    for key in self.endorser_keys() {
                        effects.send(key, Arc::clone(&message));
                    }
                }
                Output::Final { certificate, block } => {
                    let Some(chain) = &mut self.chain else { continue };
                    let Some(proven) = chain.finalise(block.id(), &certificate, &*self.workshop) else {
                        continue;
                    };
                    chain.renew_checkpoint();
                    finalised = true;
                    let jitter = self.jitter();
                    self.follower.satisfied(self.now, jitter);
                    self.report_clock(&proven, effects);
                    self.plan_publication(certificate.ballot.iteration, &proven, effects);
                    // Each was executed here before it was voted for.
                    let blocks: Vec<_> =
                        proven.blocks.iter().cloned().map(Verified::of_verified_parts).collect();
                    self.became_final(&blocks, &proven, effects);
                }
                Output::Forget(key) => {
                    let height = self.chain.as_ref().map_or(0, |chain| chain.head().height);
                    self.forgotten.push_back((height, Core::journal_place(epoch, key)));
                }
                Output::Behind { certificate: _ } => {
                    if self.follower.gap(self.now)
                        && let Some(peer) = self.any_endorser_connected()
                    {
                        self.ask_what_follows(peer, effects);
                    }
                }
                Output::Forked { ours, theirs } => {
                    let height = self.chain.as_ref().map_or(0, |chain| chain.head().height);
                    let (ours, theirs) = (ours.ballot.block, theirs.ballot.block);
                    self.halt(Alarm::Forked { height, ours, theirs }, effects);
                }
                Output::Misbehaved { culprit, fault } => {
                    if let Some(key) = self.key_of_voter(&culprit) {
                        effects.tell(Event::Misbehaved { key, why: fault.to_string() });
                    }
                }
                Output::Lost { why } => {
                    effects.tell(Event::Alarm(Alarm::JournalLost { why: why.clone() }));
                    let known = self.hall.as_deref().is_some_and(|hall| self.retired.contains(&hall.voter()));
                    self.journal_lost = Some(why);
                    if !known {
                        self.retire_voting_keys(effects);
                    }
                }
                Output::Contradiction { first, second: _ } => {
                    effects.tell(Event::Alarm(Alarm::Contradiction {
                        key: first.voter,
                        iteration: first.ballot.iteration,
                    }))
                }
            }
        }
        if finalised {
            // What waits may have changed, and the next leader may have something to propose.
            self.agree(agreement::Input::WorkChanged, effects);
        }
    }

    fn persist_journal(
        epoch: u64,
        record: JournalRecord<Verified<Arc<Block>>, PublicKey, Signature>,
        effects: &mut Effects,
    ) {
        let key = Core::journal_place(epoch, record.key());
        let value = Some(encode(&record_with_block(record, Verified::into_inner)).into());
        effects.persist(Record { table: Table::Journal, key, value });
    }

    /// The leader publishes at once; the others stand by, in case it cannot.
    fn plan_publication(
        &mut self,
        iteration: u64,
        proven: &Verified<Arc<FinalChain>>,
        effects: &mut Effects,
    ) {
        let Some(tip) = proven.tip().map(Header::id) else { return };
        let message = Arc::new(Message::Final(Arc::clone(proven)));
        let (Some(charter), Some(hall)) = (self.charter(), &self.hall) else { return };
        let rank = hall.rank(iteration);
        if rank == 0 {
            effects.publish(message);
            return;
        }
        let at = self.now.plus(rank * charter.timing.first_timeout_ms);
        while self.publications.len() >= limits::WANTED_MAX {
            self.publications.pop_first();
        }
        self.publications.insert(tip, (at, message));
    }

    pub(super) fn publish_what_is_due(&mut self, effects: &mut Effects) {
        let now = self.now;
        self.publications.retain(|_, (at, message)| {
            let due = *at <= now;
            if due {
                effects.publish(Arc::clone(message));
            }
            !due
        });
    }

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
        if self.halted.is_some() {
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
                } else {
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
            Err(NotTaken::Forked { height, ours, theirs }) => {
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

    /// Where a certified chain revokes us, in a block that we cannot execute because earlier ones are missing here. Nobody sends those to
    /// whoever is gone, and they are not needed: a quorum executed them. (Whoever has a seat follows still, and gets there.)
    fn revoked_at(&self, proven: &FinalChain) -> Option<u64> {
        if self.chain.as_ref().is_some_and(|chain| chain.state().has_seat(&self.me)) {
            return None;
        }
        let revokes = |kind: &Kind| matches!(kind, Kind::Revoke(revoke) if revoke.subject == self.me);
        // The certificate is of the header: the entries must be those that it names.
        let revokes_us = |block: &&Arc<Block>| {
            block.entries.iter().any(|entry| revokes(&entry.statement.kind)) && block.has_its_entries()
        };
        proven.blocks.iter().find(revokes_us).map(|block| block.header.height)
    }

    fn dismissed(&mut self, height: u64, effects: &mut Effects) {
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

    fn halt(&mut self, alarm: Alarm, effects: &mut Effects) {
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
    fn report_clock(&mut self, proven: &FinalChain, effects: &mut Effects) {
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
    fn became_final(
        &mut self,
        blocks: &[Verified<Arc<Block>>],
        proven: &Verified<Arc<FinalChain>>,
        effects: &mut Effects,
    ) {
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
        }
        // After a heartbeat, too: a suspension may have lapsed, and who endorsed before may endorse again.
        self.retry_proposals(effects);
        self.renew_consents(effects);
        self.circulate_again(effects);
        self.judge_drafts_ahead(effects);
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
            // Before the first ballot of the next epoch, the last block of this one (SPEC 8.19).
            Kind::Amend(_) | Kind::Suspend(_) => effects.sync_all(),
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
                let Some(chain) = &self.chain else { return };
                let node = revoke.subject;
                let keys: Vec<PublicKey> =
                    self.connected.iter().copied().filter(|key| self.owner_of(key) == Some(node)).collect();
                let seated = chain.state().has_seat(&node);
                for key in keys.into_iter().filter(|_| !seated) {
                    // Whoever is out learns it from the proof, and not from silence.
                    if let Some(message) = self.proof_of(height, proof) {
                        effects.send(key, message);
                    }
                    self.connected.remove(&key);
                    effects.tell(Event::Denied { key, node });
                }
            }
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
    fn persist_final(&mut self, blocks: &[Verified<Arc<Block>>], proven: &FinalChain, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        for block in blocks {
            let Some(held) = chain.held(block.header.height) else { continue };
            let key = block.header.height.to_be_bytes().to_vec();
            let value = Some(self.workshop.final_record(&held.block, held.proof.as_ref()));
            self.stored_heights.push(block.header.height);
            effects.persist(Record { table: Table::Final, key, value });
        }
        if chain.head().is_heartbeat() {
            let proof = Proof { headers: Vec::new(), certificate: proven.certificate.clone() };
            let key = HEAD_KEY.to_vec();
            let value = Some(encode(&(chain.head(), &proof)).into());
            effects.persist(Record { table: Table::Final, key, value });
        }
        // What agreement needs no more is the only copy on a disk that is sure to be there, until `Final` is.
        let height = chain.head().height;
        while self.forgotten.front().is_some_and(|(at, _)| at + limits::JOURNAL_KEPT_HEIGHTS < height) {
            let Some((_, key)) = self.forgotten.pop_front() else { break };
            effects.persist(Record { table: Table::Journal, key, value: None });
        }
    }

    /// «What is final, newest first?»
    pub(super) fn answer_head(&mut self, to: PublicKey, effects: &mut Effects) -> Result<(), Error> {
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let charter = chain.state().charter_id();
        if self.hall.is_some()
            && self.standing_of(&to) == Standing::Stranger
            && let Some(history) = self.key_history()
        {
            effects.send(to, Arc::new(history));
        }
        effects.send(to, Arc::new(Message::Head { charter, tip: chain.tip().map(Box::new) }));
        Ok(())
    }

    /// A head that somebody showed: a newcomer's beginning, or word that a snapshot is needed.
    pub(super) fn head_shown(
        &mut self,
        from: PublicKey,
        tip: Option<&FinalChain>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if let Some(newcomer) = &mut self.newcomer {
            let steps = newcomer.head_shown(from, tip, self.now);
            self.walk(steps, effects);
            return Ok(());
        }
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        if self.standing_of(&from) < Standing::Member {
            return Err(Error::Untimely("no stranger was asked"));
        }
        if let Some(tip) = tip {
            let newest = self.charters.as_deref().map_or(0, |charters| charters.newest().charter.epoch);
            if tip.certificate.ballot.epoch > newest {
                self.follower.answered();
                effects.send(from, Arc::new(Message::AskLinks { epoch: newest }));
                return Err(Error::Untimely("it is of an epoch that is not known here yet"));
            }
            if let Some(charters) = self.charters.as_deref() {
                proven_header(charters, tip)
                    .map_err(|fault| Error::PeerMisbehaved { culprit: from, fault })?;
            }
        }
        self.follower.answered();
        let ahead = tip.and_then(FinalChain::tip).is_some_and(|header| header.height > chain.head().height);
        if !ahead {
            return Err(Error::Untimely("it is known already"));
        }
        if self.fetch.is_some() {
            return Err(Error::Untimely("a snapshot is being fetched already"));
        }
        // The peer's log does not go back to our head: only a snapshot closes the gap.
        self.fetch_snapshot_from(from, effects);
        Ok(())
    }

    /// «What follows this height?»
    pub(super) fn answer_follow(
        &mut self,
        to: PublicKey,
        height: u64,
        head: &[u8; 8],
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let ours = chain.head();
        let message = if !chain.agrees(height, head) {
            // Another block of that height is final here: let the other see ours, from before it, with the certificate.
            let from = chain.entries_below(height).map_or(0, |before| before.saturating_sub(1));
            match chain.since(from).or_else(|| chain.tip()) {
                Some(since) => Message::Final(Arc::new(since)),
                None => Message::Same,
            }
        } else if height >= ours.height {
            Message::Same
        } else {
            match chain.since(height) {
                Some(since) => Message::Final(Arc::new(since)),
                None => Message::Head { charter: chain.state().charter_id(), tip: chain.tip().map(Box::new) },
            }
        };
        let ahead = height > ours.height;
        if let Message::Final(chain) = &message {
            self.rations.sent(to, encoded_len(&**chain), self.now);
        }
        effects.send(to, Arc::new(message));
        if ahead {
            self.ask_about_a_gap(to, effects);
        }
        Ok(())
    }

    /// Asks one peer what follows our head, unless somebody was asked and has not answered.
    pub(super) fn ask_about_a_gap(&mut self, peer: PublicKey, effects: &mut Effects) {
        if self.follower.gap(self.now) {
            self.ask_what_follows(peer, effects);
        }
    }

    /// Asks one peer what follows our head.
    pub(super) fn ask_what_follows(&mut self, peer: PublicKey, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        let mut head = [0; 8];
        head.copy_from_slice(&chain.head_id().0[..8]);
        effects.send(peer, Arc::new(Message::Follow { height: chain.head().height, head }));
    }
}

/// The place in [`Table::Meta`] of a fork that was seen: its height, and the two blocks.
pub(super) const FORKED_KEY: &[u8] = b"forked";

/// The place in [`Table::Meta`] of the height at which we were revoked, if it is not in our own log.
pub(super) const DISMISSED_KEY: &[u8] = b"dismissed";

/// The place of the newest heartbeat in [`Table::Final`]; heights have eight bytes.
pub(super) const HEAD_KEY: &[u8] = b"head";
