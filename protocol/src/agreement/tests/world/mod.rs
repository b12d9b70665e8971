//! A few seats, their disks and the network between them, driven by one random stream: what goes wrong is drawn from the seed.
//!
//! It judges by what honest seats send and finalise alone, at every step: two final blocks at one height (S3), ballots that contradict
//! one another, also across restarts (S5, SPEC 8.15), a ballot that left before it and what it rests on were durable (S5, SPEC 8.9); and
//! at the end: a log that does not grow once all is well again (L4), and talk that does not end when there is nothing left to say.

use std::collections::{BTreeMap, BTreeSet};

use super::bench::{Tiny, TinyLedger, table};
use crate::agreement::planted::Planted;
use crate::agreement::*;
use crate::state::BlockId;
use crate::time::Timestamp;

use ink::{Ink, Keys, Numbers, Pen};

mod ink;
mod judge;
mod liars;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) n: u8,
    /// How many of the seats lie.
    pub(super) liars: u8,
    /// A rule that honest seats do not keep.
    pub(super) planted: Option<Planted>,
    /// Whether honest seats take one ballot fewer than Q for a certificate.
    pub(super) quorum_short: bool,
    /// Whether honest seats come back without their journal and do not say so.
    pub(super) forget_journals: bool,
    /// Whether final blocks alone are judged, and not what honest seats say and keep.
    pub(super) blocks_alone: bool,
    /// Whether seats sign with keys, and what does not hold is refused as it would be in a mesh.
    pub(super) keys: bool,
}

impl Plan {
    /// Runs the world of this plan.
    ///
    /// # Errors
    /// What is wrong in it.
    pub(super) fn run(self) -> Result<Done, String> {
        if self.keys { World::<Keys>::new(self).run() } else { World::<Numbers>::new(self).run() }
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) calls: u64,
    pub(super) crashes: u64,
    pub(super) final_height: u64,
    pub(super) contradictions: u64,
    /// Messages refused for a signature that does not hold.
    pub(super) forged: u64,
}

type Talk<I> = Message<Tiny, <I as Ink>::Voter, <I as Ink>::Proof>;
type Seat<I> = Agreement<Tiny, <I as Ink>::Voter, <I as Ink>::Proof>;
type Said<I> = Vote<<I as Ink>::Voter, <I as Ink>::Proof>;
type Proven<I> = Certificate<<I as Ink>::Voter, <I as Ink>::Proof>;
type Entry<I> = JournalRecord<Tiny, <I as Ink>::Voter, <I as Ink>::Proof>;
type Log<I> = Journal<Tiny, <I as Ink>::Voter, <I as Ink>::Proof>;
type In<I> = Input<Tiny, <I as Ink>::Voter, <I as Ink>::Proof>;
type Out<I> = Output<Tiny, <I as Ink>::Voter, <I as Ink>::Proof>;

const CHAOS_MS: u64 = 20_000;
const HEALED_MS: u64 = 240_000;
const CALLS_MAX: u64 = 60_000;
const LAST_ENTRY: u8 = 63;

/// SplitMix64: a few lines, and the same on every machine.
#[derive(Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

enum Event<I: Ink> {
    Deliver { to: usize, from: u8, message: Talk<I> },
    Tick(usize),
    Restart(usize),
    Entry(usize, u8),
    Connect(usize, u8),
    Follow(usize),
    Regroup,
    Lie(usize),
    Heal,
}

/// A change of the journal, in the order of the outputs.
enum Change<I: Ink> {
    Put(Entry<I>),
    Remove(JournalKey),
}

/// A process at a seat. A lying seat has two, which know nothing of each other: it equivocates and votes twice by itself.
struct Process<I: Ink> {
    seat: u8,
    lies: bool,
    /// None while it is down.
    engine: Option<Seat<I>>,
    ledger: TinyLedger,
    synced: BTreeMap<JournalKey, Entry<I>>,
    unsynced: Vec<Change<I>>,
    /// Final blocks, and where a certificate was had.
    finals: Vec<(Tiny, Option<Proven<I>>)>,
    finals_synced: usize,
    clock_ahead_ms: u64,
    ticks_at: Option<Timestamp>,
}

struct World<I: Ink> {
    plan: Plan,
    ink: I,
    dice: Dice,
    now: u64,
    queue: BTreeMap<(u64, u64), Event<I>>,
    pushed: u64,
    processes: Vec<Process<I>>,
    healed: bool,
    loss: u64,
    delay_ms: u64,
    crash_chance: u64,
    group: Vec<u8>,
    /// Every block that anybody proposed.
    seen: Vec<Tiny>,
    said: BTreeMap<(u8, u64), BTreeSet<(BallotKind, BlockId)>>,
    log: BTreeMap<u64, BlockId>,
    done: Done,
}

impl<I: Ink> World<I> {
    fn new(plan: Plan) -> World<I> {
        let mut dice = Dice(plan.seed.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ u64::from(plan.n));
        let mut seats: Vec<(u8, bool)> = (0..plan.n).map(|seat| (seat, false)).collect();
        for _ in 0..plan.liars {
            let at = dice.below(u64::from(plan.n)) as usize;
            seats[at].1 = true;
        }
        let twins: Vec<(u8, bool)> = seats.iter().copied().filter(|(_, lies)| *lies).collect();
        seats.extend(twins);
        let processes: Vec<Process<I>> = seats
            .into_iter()
            .map(|(seat, lies)| Process {
                seat,
                lies,
                engine: None,
                ledger: TinyLedger::new(),
                synced: BTreeMap::new(),
                unsynced: Vec::new(),
                finals: Vec::new(),
                finals_synced: 0,
                clock_ahead_ms: dice.below(300),
                ticks_at: None,
            })
            .collect();
        let group = vec![0; processes.len()];
        let mut world = World {
            plan,
            ink: I::of(plan.n),
            now: 0,
            queue: BTreeMap::new(),
            pushed: 0,
            healed: false,
            loss: [0, 5, 20, 40][dice.below(4) as usize],
            delay_ms: [20, 200, 2_000][dice.below(3) as usize],
            crash_chance: [0, 1, 3][dice.below(3) as usize],
            group,
            seen: Vec::new(),
            said: BTreeMap::new(),
            log: BTreeMap::new(),
            done: Done::default(),
            processes,
            dice,
        };
        for at in 0..world.processes.len() {
            world.start(at, Journal::Fresh);
        }
        for entry in 0..12 {
            let (at, when) = (world.dice.below(world.processes.len() as u64), world.dice.below(CHAOS_MS));
            world.push(when, Event::Entry(at as usize, entry));
        }
        for _ in 0..4 {
            let when = world.dice.below(CHAOS_MS);
            world.push(when, Event::Regroup);
        }
        for at in 0..world.processes.len() {
            if world.processes[at].lies {
                world.push(0, Event::Lie(at));
            }
        }
        world.push(CHAOS_MS, Event::Heal);
        world
    }

    /// Runs until the log has grown after healing and all is quiet.
    ///
    /// # Errors
    /// What is wrong.
    fn run(mut self) -> Result<Done, String> {
        while let Some(((when, _), event)) = self.queue.pop_first() {
            self.now = when;
            self.step(event)?;
            if self.done.calls > CALLS_MAX {
                return Err(format!("more than {CALLS_MAX} calls: a flood"));
            }
            if self.healed && (when > CHAOS_MS + HEALED_MS || self.has_grown()) {
                break;
            }
        }
        if !self.has_grown() {
            return Err(self.why_stuck());
        }
        self.done.final_height = self.log.last_key_value().map_or(0, |(height, _)| *height);
        Ok(self.done)
    }

    fn honest(&self) -> impl Iterator<Item = &Process<I>> {
        self.processes.iter().filter(|process| !process.lies)
    }

    fn has_grown(&self) -> bool {
        let wanted = 1 << LAST_ENTRY;
        self.honest().all(|process| {
            let head = process.ledger.head;
            process.ledger.entries_up_to(head).is_some_and(|entries| entries & wanted != 0)
        })
    }

    fn why_stuck(&self) -> String {
        let mut why = String::from("the log does not grow after healing:");
        for process in self.honest() {
            let engine = process.engine.as_ref();
            why += &format!(
                "\n  seat {}: height {}, iteration {:?}, voting {:?}, next {:?}",
                process.seat,
                process.ledger.height_of(process.ledger.head),
                engine.map(Agreement::iteration),
                engine.map(Agreement::is_voting),
                process.ticks_at,
            );
        }
        why
    }

    fn push(&mut self, when: u64, event: Event<I>) {
        self.pushed += 1;
        self.queue.insert((when, self.pushed), event);
    }

    fn step(&mut self, event: Event<I>) -> Result<(), String> {
        match event {
            Event::Deliver { to, from, message } => self.deliver(to, from, message),
            Event::Tick(at) => {
                // Only the tick that is still wanted counts.
                if self.processes[at].ticks_at == Some(self.clock(at)) {
                    self.call(at, Input::Tick)
                } else {
                    Ok(())
                }
            }
            Event::Restart(at) => {
                self.restart(at);
                self.call(at, Input::Tick)?;
                self.connect_all(at);
                Ok(())
            }
            Event::Entry(at, entry) => {
                self.processes[at].ledger.waiting |= 1 << entry;
                self.call(at, Input::WorkChanged)
            }
            Event::Connect(at, peer) => self.call(at, Input::Connected(self.ink.voter(peer))),
            Event::Follow(at) => self.follow(at),
            Event::Regroup => {
                if !self.healed {
                    for at in 0..self.group.len() {
                        self.group[at] = self.dice.below(2) as u8;
                    }
                    for at in 0..self.processes.len() {
                        self.connect_all(at);
                    }
                }
                Ok(())
            }
            Event::Lie(at) => {
                self.lie(at);
                let again = self.now + 1 + self.dice.below(2_000);
                self.push(again, Event::Lie(at));
                Ok(())
            }
            Event::Heal => {
                self.heal();
                Ok(())
            }
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        (self.loss, self.delay_ms, self.crash_chance) = (0, 50, 0);
        self.group.fill(0);
        // Connections may also have stood all the time, and only lost what was sent.
        let reconnects = self.dice.percent(50);
        for at in 0..self.processes.len() {
            if self.processes[at].engine.is_none() {
                self.restart(at);
            }
            if reconnects {
                self.connect_all(at);
            }
            // Whoever takes an entry relays it to all endorsers.
            let when = self.now + 10 + self.dice.below(50);
            if !self.processes[at].lies {
                self.push(when, Event::Entry(at, LAST_ENTRY));
            }
        }
    }

    fn connect_all(&mut self, at: usize) {
        let (seat, n) = (self.processes[at].seat, self.plan.n);
        for peer in (0..n).filter(|peer| *peer != seat) {
            let when = self.now + 1 + self.dice.below(20);
            self.push(when, Event::Connect(at, peer));
            for back in 0..self.processes.len() {
                if self.processes[back].seat == peer {
                    self.push(when + 1, Event::Connect(back, seat));
                }
            }
        }
    }

    fn clock(&self, at: usize) -> Timestamp {
        Timestamp(1_000 + self.now + self.processes[at].clock_ahead_ms)
    }

    fn start(&mut self, at: usize, journal: Log<I>) {
        let now = self.clock(at);
        let voters = (0..self.plan.n).map(|seat| self.ink.voter(seat)).collect();
        let mut config = table(voters, self.processes[at].seat);
        config.quorum -= usize::from(self.plan.quorum_short);
        let mut engine = Seat::<I>::start(config, journal, now);
        engine.planted = self.plan.planted.filter(|_| !self.processes[at].lies);
        let process = &mut self.processes[at];
        process.engine = Some(engine);
        process.ticks_at = Some(now);
        self.push(self.now, Event::Tick(at));
    }

    /// Power comes back: what was synced is there, and as much of the rest as the disk had got round to.
    fn restart(&mut self, at: usize) {
        if self.processes[at].engine.is_some() {
            return;
        }
        let process = &mut self.processes[at];
        let kept = self.dice.below(process.unsynced.len() as u64 + 1) as usize;
        apply(&mut process.synced, process.unsynced.drain(..).take(kept).collect());
        let lost = self.dice.below((process.finals.len() - process.finals_synced) as u64 + 1) as usize;
        process.finals.truncate(process.finals.len() - lost);
        process.finals_synced = process.finals.len();
        let waiting = process.ledger.waiting;
        process.ledger = TinyLedger::new();
        process.ledger.waiting = waiting;
        for (block, _) in &process.finals {
            assert_eq!(process.ledger.accept(block), Accepted::Yes, "the final blocks are not a chain");
            process.ledger.finalise(block);
        }
        let fresh = process.synced.is_empty() || process.lies || self.plan.forget_journals;
        let journal = if fresh {
            process.synced.clear();
            Journal::Fresh
        } else {
            Journal::Intact(process.synced.values().cloned().collect())
        };
        self.start(at, journal);
    }

    /// What does not hold gets no further than the check of signatures, and whoever sent it is to blame.
    fn deliver(&mut self, to: usize, from: u8, message: Talk<I>) -> Result<(), String> {
        if self.ink.holds(&message) {
            let from = self.ink.voter(from);
            return self.call(to, Input::Message { from, message });
        }
        self.done.forged += 1;
        if self.lies(from) {
            Ok(())
        } else {
            Err(format!("a signature that honest seat {from} sent does not hold: {message:?}"))
        }
    }

    fn call(&mut self, at: usize, input: In<I>) -> Result<(), String> {
        let now = self.clock(at);
        let process = &mut self.processes[at];
        let Some(engine) = &mut process.engine else { return Ok(()) };
        self.done.calls += 1;
        let mut out: Vec<Out<I>> = Vec::new();
        let culprit = if let Input::Message { from, .. } = &input { Some(*from) } else { None };
        let pen = Pen { ink: &self.ink, seat: process.seat };
        if let Err(fault) = engine.handle(now, input, &mut process.ledger, &pen, &mut out) {
            let blames_honest = culprit.is_some_and(|voter| !self.lies(self.seat_of(voter)));
            if blames_honest {
                return Err(format!(
                    "seat {} blames an honest {culprit:?}: {fault}",
                    self.processes[at].seat
                ));
            }
            return Ok(());
        }
        let deadline = engine.next_deadline();
        let crashes = self.dice.percent(self.crash_chance);
        let done = if crashes { self.dice.below(out.len() as u64 + 1) as usize } else { out.len() };
        for output in out.into_iter().take(done) {
            self.carry_out(at, output)?;
        }
        if crashes {
            self.done.crashes += 1;
            self.processes[at].engine = None;
            let back = self.now + 1 + self.dice.below(5_000);
            self.push(back, Event::Restart(at));
            return Ok(());
        }
        if let Some(deadline) = deadline
            && self.processes[at].ticks_at != Some(deadline)
        {
            let when = self.now + deadline.since(now);
            self.push(when, Event::Tick(at));
        }
        // A past deadline is now.
        self.processes[at].ticks_at = deadline.map(|deadline| deadline.max(now));
        Ok(())
    }

    fn seat_of(&self, voter: I::Voter) -> u8 {
        let seat = (0..self.plan.n).find(|seat| self.ink.voter(*seat) == voter);
        seat.expect("somebody is named who has no seat")
    }

    fn lies(&self, seat: u8) -> bool {
        self.processes.iter().any(|process| process.seat == seat && process.lies)
    }

    /// What following does: takes final blocks from somebody who has more.
    fn follow(&mut self, at: usize) -> Result<(), String> {
        let from = self.dice.below(self.processes.len() as u64) as usize;
        let reached = self.processes[from].engine.is_some() && self.group[from] == self.group[at];
        let height = |world: &World<I>, at: usize| {
            world.processes[at].ledger.height_of(world.processes[at].ledger.head)
        };
        if !reached || self.processes[at].engine.is_none() || self.processes[from].lies {
            return Ok(());
        }
        let mine = height(self, at);
        let newer: Vec<_> =
            self.processes[from].finals.iter().filter(|(block, _)| block.height > mine).cloned().collect();
        let Some((block, Some(certificate))) = newer.last().cloned() else { return Ok(()) };
        for (block, _) in &newer {
            if self.processes[at].ledger.accept(block) != Accepted::Yes {
                return Err(format!("a final block does not execute at seat {}", self.processes[at].seat));
            }
        }
        self.take_final(at, certificate.clone(), block.clone())?;
        self.call(at, Input::Final { certificate, block })
    }
}

fn apply<I: Ink>(synced: &mut BTreeMap<JournalKey, Entry<I>>, changes: Vec<Change<I>>) {
    for change in changes {
        match change {
            Change::Put(record) => {
                synced.insert(record.key(), record);
            }
            Change::Remove(key) => {
                synced.remove(&key);
            }
        }
    }
}
