//! A tiny ledger, and a bench on which one seat or a few stand.

use std::collections::BTreeMap;

use crate::agreement::*;
use crate::fault::Fault;
use crate::state::{BlockId, DomainId};
use crate::time::Timestamp;

pub(super) type V = u8;
/// A proof is the voter's own number: a harness hands nobody's ballot on that was not signed.
pub(super) type P = u8;
pub(super) type Seat = Agreement<Tiny, V, P>;
pub(super) type Out = Vec<Output<Tiny, V, P>>;
pub(super) type In = Input<Tiny, V, P>;
pub(super) type Talk = Message<Tiny, V, P>;
pub(super) type Log = Journal<Tiny, V, P>;
pub(super) type Entry = JournalRecord<Tiny, V, P>;

pub(super) const DOMAIN: DomainId = DomainId([7; 32]);
pub(super) const FIRST_TIMEOUT_MS: u64 = 1_000;
pub(super) const TIMEOUT_CAP_MS: u64 = 8_000;
pub(super) const HEARTBEAT_MS: u64 = 60_000;
pub(super) const SKEW_MS: u64 = 500;

/// The entry that ends an epoch.
pub(super) const LAST: u64 = 1 << 63;

/// A block whose entries are numbers below 64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tiny {
    pub(super) parent: BlockId,
    pub(super) height: u64,
    pub(super) time: Timestamp,
    /// As bits.
    pub(super) entries: u64,
    /// The id does not cover it, as a block's id does not cover endorsements.
    pub(super) body_is_good: bool,
}

impl Tiny {
    pub(super) fn id(&self) -> BlockId {
        let mut id = [0; 32];
        let mut mix = 0xcbf2_9ce4_8422_2325_u64;
        let parent =
            self.parent.0.chunks(8).map(|chunk| chunk.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        for word in parent.chain([self.height, self.time.0, self.entries]) {
            mix = (mix.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mix ^= mix >> 29;
        }
        id[..8].copy_from_slice(&mix.to_be_bytes());
        id[8..16].copy_from_slice(&self.height.to_be_bytes());
        BlockId(id)
    }
}

pub(super) fn genesis() -> BlockId {
    BlockId([1; 32])
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TinyLedger {
    /// With all entries of each block's chain.
    pub(super) blocks: BTreeMap<BlockId, (Tiny, u64)>,
    pub(super) waiting: u64,
    pub(super) head: BlockId,
    pub(super) head_time: Timestamp,
    pub(super) heartbeat_ms: u64,
}

impl TinyLedger {
    pub(super) fn new() -> TinyLedger {
        TinyLedger {
            blocks: BTreeMap::new(),
            waiting: 0,
            head: genesis(),
            head_time: Timestamp::ZERO,
            heartbeat_ms: HEARTBEAT_MS,
        }
    }

    pub(super) fn entries_up_to(&self, block: BlockId) -> Option<u64> {
        if block == genesis() { Some(0) } else { self.blocks.get(&block).map(|(_, entries)| *entries) }
    }

    pub(super) fn height_of(&self, block: BlockId) -> u64 {
        self.blocks.get(&block).map_or(0, |(block, _)| block.height)
    }

    pub(super) fn child(&self, parent: BlockId, time: Timestamp, entries: u64) -> Tiny {
        Tiny { parent, height: self.height_of(parent) + 1, time, entries, body_is_good: true }
    }

    /// What an owner does with a final block.
    pub(super) fn finalise(&mut self, block: &Tiny) {
        if block.height > self.height_of(self.head) {
            self.head = block.id();
            self.head_time = block.time;
        }
    }
}

impl Ledger for TinyLedger {
    type Block = Tiny;
    fn id(&self, block: &Tiny) -> BlockId {
        block.id()
    }
    fn parent(&self, block: &Tiny) -> BlockId {
        block.parent
    }
    fn height(&self, block: &Tiny) -> u64 {
        block.height
    }
    fn build(&mut self, now: Timestamp, parent: BlockId) -> Option<Tiny> {
        let before = self.entries_up_to(parent)?;
        let parent_time = self.blocks.get(&parent).map_or(Timestamp::ZERO, |(block, _)| block.time);
        Some(self.child(parent, now.max(parent_time.plus(1)), self.waiting & !before))
    }
    fn accept(&mut self, block: &Tiny) -> Accepted {
        let Some(before) = self.entries_up_to(block.parent) else { return Accepted::ParentMissing };
        let parent_time = self.blocks.get(&block.parent).map_or(Timestamp::ZERO, |(block, _)| block.time);
        let follows = block.height == self.height_of(block.parent) + 1
            && before & LAST == 0
            && block.time > parent_time
            && block.entries & before == 0
            && block.body_is_good;
        if !follows {
            return Accepted::Invalid(Fault::BadBlock {
                block: block.id(),
                what: "a tiny block that does not follow",
            });
        }
        self.blocks.insert(block.id(), (block.clone(), before | block.entries));
        Accepted::Yes
    }
    fn timely(&self, now: Timestamp, block: &Tiny) -> Timely {
        if block.time <= now.plus(SKEW_MS) {
            Timely::Yes
        } else {
            Timely::NotBefore(Timestamp(block.time.0 - SKEW_MS))
        }
    }
    fn entry_waits(&self, tip: BlockId) -> bool {
        self.entries_up_to(tip).is_some_and(|before| before & LAST == 0 && self.waiting & !before != 0)
    }
    fn ends_epoch(&self, block: &Tiny) -> bool {
        block.entries & LAST != 0
    }
    fn heartbeat_due(&self) -> Timestamp {
        self.head_time.plus(self.heartbeat_ms)
    }
}

pub(super) struct Pen(pub(super) V);

impl Signer<P> for Pen {
    fn sign(&self, _: &Ballot) -> P {
        self.0
    }
}

pub(super) fn quorum(n: u8) -> usize {
    let faults = (usize::from(n) - 1) / 3;
    (usize::from(n) + faults) / 2 + 1
}

pub(super) fn config(n: u8, me: V) -> Config<V> {
    table((0..n).collect(), me)
}

/// The table of these voters, at one of its seats.
pub(super) fn table<T: Voter>(voters: Vec<T>, seat: u8) -> Config<T> {
    Config {
        domain: DOMAIN,
        epoch: 1,
        quorum: quorum(voters.len() as u8),
        me: voters[usize::from(seat)],
        voters,
        first_timeout_ms: FIRST_TIMEOUT_MS,
        timeout_cap_ms: TIMEOUT_CAP_MS,
        genesis: genesis(),
        genesis_height: 0,
    }
}

pub(super) fn leader(n: u8, iteration: u64) -> V {
    config(n, 0).leader(iteration)
}

pub(super) fn ballot(iteration: u64, kind: BallotKind, block: BlockId) -> Ballot {
    Ballot { domain: DOMAIN, epoch: 1, iteration, kind, block }
}

pub(super) fn vote(voter: V, iteration: u64, kind: BallotKind, block: BlockId) -> Vote<V, P> {
    Vote { ballot: ballot(iteration, kind, block), voter, proof: voter }
}

pub(super) fn said(voter: V, iteration: u64, kind: BallotKind, block: BlockId) -> Talk {
    Message::Ballot(vote(voter, iteration, kind, block))
}

pub(super) fn certificate(
    voters: &[V],
    iteration: u64,
    kind: BallotKind,
    block: BlockId,
) -> Certificate<V, P> {
    Certificate {
        ballot: ballot(iteration, kind, block),
        votes: voters.iter().map(|voter| (*voter, *voter)).collect(),
    }
}

pub(super) fn proposal(n: u8, iteration: u64, block: &Tiny, grounds: Vec<Certificate<V, P>>) -> Talk {
    Message::Propose(Box::new(Proposal {
        vote: vote(leader(n, iteration), iteration, BallotKind::Propose, block.id()),
        block: block.clone(),
        grounds,
    }))
}

/// One seat with its ledger and its journal, and a clock that the test moves.
pub(super) struct Bench {
    pub(super) n: u8,
    pub(super) me: V,
    pub(super) now: Timestamp,
    pub(super) seat: Seat,
    pub(super) ledger: TinyLedger,
    pub(super) journal: BTreeMap<JournalKey, Entry>,
}

impl Bench {
    /// A seat that has done its first tick.
    pub(super) fn new(n: u8, me: V) -> Bench {
        let mut bench = Bench::unstarted(n, me);
        bench.tick();
        bench
    }

    pub(super) fn unstarted(n: u8, me: V) -> Bench {
        let now = Timestamp(10_000);
        let seat = Seat::start(config(n, me), Journal::Fresh, now);
        let mut ledger = TinyLedger::new();
        ledger.head_time = now;
        Bench { n, me, now, seat, ledger, journal: BTreeMap::new() }
    }

    pub(super) fn try_handle(&mut self, input: In) -> Result<Out, Fault> {
        let mut out = Out::new();
        let result = self.seat.handle(self.now, input, &mut self.ledger, &Pen(self.me), &mut out);
        if result.is_err() {
            assert!(out.is_empty(), "a refused input had effects: {out:?}");
        }
        for output in &out {
            match output {
                Output::Persist(record) => {
                    self.journal.insert(record.key(), record.clone());
                }
                Output::Forget(key) => {
                    assert!(self.journal.remove(key).is_some(), "forgot what was not there: {key:?}");
                }
                Output::Final { block, .. } => self.ledger.finalise(block),
                Output::Send { .. }
                | Output::Broadcast(_)
                | Output::Behind { .. }
                | Output::Lost { .. }
                | Output::Contradiction { .. }
                | Output::Forked { .. }
                | Output::Misbehaved { .. } => {}
            }
        }
        result.map(|()| out)
    }

    pub(super) fn handle(&mut self, input: In) -> Out {
        self.try_handle(input).expect("the input is refused")
    }

    pub(super) fn tick(&mut self) -> Out {
        self.handle(Input::Tick)
    }

    /// Moves the clock to the next deadline.
    pub(super) fn next_tick(&mut self) -> Out {
        let deadline = self.seat.next_deadline().expect("nothing is due, ever");
        assert!(deadline >= self.now, "a deadline lies in the past");
        self.now = deadline;
        self.tick()
    }

    pub(super) fn hear(&mut self, from: V, message: Talk) -> Out {
        self.handle(Input::Message { from, message })
    }

    pub(super) fn refuses(&mut self, from: V, message: Talk) -> Fault {
        let before = self.seat.clone();
        let fault = self.try_handle(Input::Message { from, message }).expect_err("the message is taken");
        assert_eq!(self.seat, before, "a refused message changed the state");
        fault
    }

    pub(super) fn entry(&mut self, entry: u8) -> Out {
        self.ledger.waiting |= 1 << entry;
        self.handle(Input::WorkChanged)
    }

    /// Starts again from the journal, with a ledger that knows the final block only.
    pub(super) fn restart(&mut self) -> Out {
        let records = self.journal.values().cloned().collect();
        self.restart_with(Journal::Intact(records))
    }

    pub(super) fn restart_with(&mut self, journal: Log) -> Out {
        self.seat = Seat::start(config(self.n, self.me), journal, self.now);
        let mut chain = Vec::new();
        let mut id = self.ledger.head;
        while let Some((block, _)) = self.ledger.blocks.get(&id) {
            chain.push(block.clone());
            id = block.parent;
        }
        let before = std::mem::replace(&mut self.ledger, TinyLedger::new());
        self.ledger.waiting = before.waiting;
        self.ledger.head_time = before.head_time;
        for block in chain.iter().rev() {
            assert_eq!(self.ledger.accept(block), Accepted::Yes);
            self.ledger.finalise(block);
        }
        self.tick()
    }
}

/// What was sent to all.
pub(super) fn broadcasts(out: &Out) -> Vec<Talk> {
    out.iter()
        .filter_map(
            |output| if let Output::Broadcast(message) = output { Some(message.clone()) } else { None },
        )
        .collect()
}

/// The ballots of one kind that were sent to all.
pub(super) fn ballots(out: &Out, kind: BallotKind) -> Vec<Ballot> {
    broadcasts(out)
        .into_iter()
        .filter_map(|message| match message {
            Message::Ballot(vote) => Some(vote.ballot),
            Message::Propose(proposal) => Some(proposal.vote.ballot),
            Message::Certificate(_)
            | Message::Want(_)
            | Message::Have(_)
            | Message::AskNewest { .. }
            | Message::Newest(_) => None,
        })
        .filter(|ballot| ballot.kind == kind)
        .collect()
}

/// The blocks that became final.
pub(super) fn finals(out: &Out) -> Vec<Tiny> {
    out.iter()
        .filter_map(
            |output| if let Output::Final { block, .. } = output { Some(block.clone()) } else { None },
        )
        .collect()
}

/// What was sent to `peer` alone.
pub(super) fn sent_to(out: &Out, peer: V) -> Vec<Talk> {
    out.iter()
        .filter_map(|output| match output {
            Output::Send { to, message } => (*to == peer).then(|| message.clone()),
            Output::Persist(_)
            | Output::Forget(_)
            | Output::Broadcast(_)
            | Output::Final { .. }
            | Output::Behind { .. }
            | Output::Lost { .. }
            | Output::Contradiction { .. }
            | Output::Forked { .. }
            | Output::Misbehaved { .. } => None,
        })
        .collect()
}

/// The contradictions told.
pub(super) fn contradictions(out: &Out) -> Vec<(Vote<V, P>, Vote<V, P>)> {
    out.iter()
        .filter_map(|output| {
            if let Output::Contradiction { first, second } = output {
                Some((first.clone(), second.clone()))
            } else {
                None
            }
        })
        .collect()
}

pub(super) fn is_lost(out: &Out) -> bool {
    out.iter().any(|output| matches!(output, Output::Lost { .. }))
}

/// A heartbeat on `parent`, a little later than it.
pub(super) fn block_on(bench: &Bench, parent: BlockId, entries: u64) -> Tiny {
    let height = bench.ledger.height_of(parent) + 1;
    let block = bench.ledger.child(parent, Timestamp(bench.now.0 + height), entries);
    assert!(block.height == height);
    block
}

/// The block that the first leader proposes, once seat 0 has it and voted.
pub(super) fn voted() -> (Bench, Tiny) {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 1);
    let out = bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    assert_eq!(ballots(&out, BallotKind::Vote), [ballot(1, BallotKind::Vote, block.id())]);
    (bench, block)
}

/// The same, notarised: seat 0 has finalised and is in iteration 2.
pub(super) fn notarised() -> (Bench, Tiny) {
    let (mut bench, block) = voted();
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, BallotKind::Vote, block.id())));
    assert_eq!(ballots(&out, BallotKind::Finalise), [ballot(1, BallotKind::Finalise, block.id())]);
    (bench, block)
}
