//! Agreement at the door: what it sees of chain and queue, what it is told, and what its outputs come to.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::{Core, Hall};
use super::effects::Effects;
use super::holding::Holds;
use super::input::{Alarm, Error, Event};
use super::message::{Message, Talk};
use super::record::{Record, Table};
use super::talk::{epoch_of, heard, record_with_block, said};
use crate::agreement::{self, Accepted, Ballot, JournalRecord, Ledger, Output, Signer, Timely};
use crate::encoding::encode;
use crate::fault::Fault;
use crate::following::{Chain, Workshop};
use crate::identity::{NodeId, PublicKey, SecretKey, Signature, Verified};
use crate::joining::Waiting;
use crate::limits;
use crate::state::{Block, BlockId, Entry, FinalChain, Header};
use crate::time::Timestamp;

type Input = agreement::Input<Verified<Arc<Block>>, PublicKey, Signature>;
type Outputs = Vec<Output<Verified<Arc<Block>>, PublicKey, Signature>>;

/// What agreement sees of chain and queue.
struct Bench<'a> {
    chain: &'a mut Chain,
    waiting: &'a mut Waiting,
    holds: &'a Holds,
    /// A proposal that is not voted for because these are held.
    kept_back: RefCell<Option<(BlockId, BTreeSet<NodeId>)>>,
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
        let newest = self.chain.state();
        let free = |entry: &&Verified<Arc<Entry>>| {
            self.holds.keep_back(&entry.statement, newest, self.now).is_none()
        };
        let (block, state, _) = state.build(header, time, self.waiting.iter().filter(free));
        self.chain.remember(block.clone(), state);
        Some(block)
    }

    fn accept(&mut self, block: &Self::Block) -> Accepted {
        if block.header.epoch != self.epoch {
            let fault = Fault::WrongHeader { block: block.id(), what: "the epoch" };
            return Accepted::Invalid(fault);
        }
        // It is for the recovery quorum to sign, and for nobody to vote on (SPEC 4.15).
        if block.recovers() {
            return Accepted::Invalid(Fault::BadRecovery { why: "nobody votes for one" });
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
        if now.since(time) > slack {
            return Timely::Never;
        }
        match self.holds.keeps_back(block, self.chain.state(), now) {
            // It may be valid all the same: whoever is held is not known everywhere at once.
            Some((until, held)) => {
                self.kept_back.replace(Some((self.id(block), held)));
                Timely::NotBefore(until)
            }
            None => Timely::Yes,
        }
    }

    fn entry_waits(&self, tip: BlockId) -> bool {
        // The iteration of a proposal that is not voted for must come to an end, whether or not anything else waits.
        if self.kept_back.borrow().is_some() {
            return true;
        }
        match self.chain.after(&tip) {
            Some((header, state)) if state.charter().epoch == self.epoch => {
                let newest = self.chain.state();
                let free = |entry: &Entry| self.holds.keep_back(&entry.statement, newest, self.now).is_none();
                self.waiting.any_valid(tip, header, state, self.now, free)
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
        let mut bench = Bench {
            chain,
            waiting: &mut self.waiting,
            holds: &self.holds,
            kept_back: RefCell::default(),
            now: self.now,
            epoch,
            workshop: &*self.workshop,
        };
        hall.handle(self.now, input, &mut bench, &VotingKey(voting), &mut outputs)?;
        if let Some((block, held)) = bench.kept_back.into_inner()
            && self.kept_back != Some(block)
        {
            self.kept_back = Some(block);
            self.show_why_not(&held, effects);
        }
        self.carry_out(epoch, outputs, effects);
        Ok(())
    }

    fn carry_out(&mut self, epoch: u64, outputs: Outputs, effects: &mut Effects) {
        let mut finalised = false;
        let mut lies = Vec::new();
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
                    // A certificate shows a fork to whoever has the blocks; to show it to others takes the headers, too.
                    for peer in self.endorser_keys() {
                        if self.connected.contains(&peer) {
                            self.ask_what_follows(peer, effects);
                        }
                    }
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
                    self.holds_may_be_lost(effects);
                    if !known {
                        self.retire_voting_keys(effects);
                    }
                }
                Output::Contradiction { first, second } => {
                    let (key, iteration) = (first.voter, first.ballot.iteration);
                    effects.tell(Event::Alarm(Alarm::Contradiction { key, iteration }));
                    lies.push((first, second));
                }
            }
        }
        for (first, second) in lies {
            self.accuse_voter(first, second, effects);
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
}
