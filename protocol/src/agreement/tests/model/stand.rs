//! One honest seat: the shipped engine with its journal and its ledger; and the judge of what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use BallotKind::{Dummy, Finalise, Propose, Vote as Real};

use super::Setup;
use super::shelf::Shelf;
use crate::agreement::engine::Conduct;
use crate::agreement::tests::bench::{Entry, In, Out, Pen, Seat, Talk, Tiny, V};
use crate::agreement::*;
use crate::fault::Fault;
use crate::state::BlockId;
use crate::time::Timestamp;

/// What can happen to a seat.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stimulus {
    /// Its iteration times out.
    TimeOut,
    /// It may go on by itself: it makes one block a call.
    Nudge,
    /// It hears the leader's proposal.
    Proposal(Ballot, Tiny),
    /// It hears one ballot.
    Ballot(V, Ballot),
    /// It hears a certificate by these voters.
    Certificate(Ballot, Vec<V>),
    /// It is given a body that it lacks.
    Body(Tiny),
    /// It loses power and comes back. Whether its ledger had written all that was final.
    Crash(bool),
}

/// What a stimulus may make of a seat.
#[derive(Default)]
pub(super) struct Reaction {
    /// If that is another state.
    pub(super) after: Option<Stand>,
    /// If power is lost while its outputs are carried out, and comes back.
    pub(super) crashed: Vec<Stand>,
}

/// What an honest seat must never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Wrong {
    /// A ballot left before it, or what it rests on, was in the journal (SPEC 8.9).
    SaidBeforeDurable,
    /// A ballot left that contradicts another (SPEC 8.15).
    ContradictsItself,
    /// A journal that nobody touched is called lost.
    CallsJournalLost,
    /// An honest voter is convicted, or an honest peer blamed.
    BlamesTheHonest,
    /// A contradiction was heard and not told.
    KeepsALieToItself,
    /// It saw two final blocks in one iteration.
    SeesAFork,
    /// It signed in an epoch whose last block it held final (SPEC 8.19).
    SignsWhenOver,
}

#[derive(Clone, Debug)]
pub(super) struct Stand {
    pub(super) engine: Seat,
    pub(super) shelf: Shelf,
    journal: BTreeMap<JournalKey, Entry>,
    /// Every ballot that left, ever.
    pub(super) said: BTreeSet<Ballot>,
    /// The bodies of its proposals among them.
    pub(super) proposed: BTreeMap<BlockId, Tiny>,
    /// Every block that it called final, ever.
    pub(super) told: BTreeSet<BlockId>,
    /// What it heard from the liar since it started, of iterations in which it has not told of a lie.
    heard: BTreeSet<Ballot>,
    reported: BTreeSet<u64>,
    pub(super) wrong: BTreeSet<Wrong>,
    /// Of all that can matter, and of all that can matter once nobody crashes any more.
    pub(super) print: u64,
    pub(super) print_without_journal: u64,
}

/// Seats that lead nothing within the bounds, and hear ballots only in certificates, are alike.
fn are_alike(setup: &Setup, seat: V) -> bool {
    !setup.watches(seat) && (1..=setup.iterations).all(|iteration| setup.table.leader(iteration) != seat)
}

impl Stand {
    pub(super) fn new(setup: &Setup, seat: V) -> Stand {
        let config = Config { me: seat, ..setup.table.clone() };
        let shelf = Shelf::new(setup, &config);
        let mut stand = Stand {
            engine: start(setup, config, Journal::Fresh),
            shelf,
            journal: BTreeMap::new(),
            said: BTreeSet::new(),
            proposed: BTreeMap::new(),
            told: BTreeSet::new(),
            heard: BTreeSet::new(),
            reported: BTreeSet::new(),
            wrong: BTreeSet::new(),
            print: 0,
            print_without_journal: 0,
        };
        stand.tick(setup);
        stand.seal(setup);
        stand
    }

    pub(super) fn seat(&self) -> V {
        self.engine.config.me
    }

    /// Whether it has told of a lie in every iteration within the bounds.
    pub(super) fn has_told_all(&self, setup: &Setup) -> bool {
        self.reported.len() as u64 == setup.iterations
    }

    /// Everything that `stimulus` can lead to.
    pub(super) fn react(&self, setup: &Setup, stimulus: &Stimulus) -> Reaction {
        if let Stimulus::Crash(all_was_written) = stimulus {
            let mut after = self.clone();
            after.restart(setup, *all_was_written);
            after.seal(setup);
            return Reaction { after: Some(after), crashed: Vec::new() };
        }
        let mut called = self.clone();
        let (input, now, is_genuine) = called.input(setup, stimulus);
        let mut out = Out::new();
        let result = called.engine.handle(now, input, &mut called.shelf, &Pen(self.seat()), &mut out);
        if result.is_err_and(|fault| is_genuine && !matches!(fault, Fault::Unknown { .. })) {
            called.wrong.insert(Wrong::BlamesTheHonest);
        }
        let lies = called.listen(setup, stimulus, self.engine.head.iteration);
        // To be in time, the outcry must come with the call.
        let tells = |iteration: &u64| {
            out.iter().any(|output| {
                matches!(output, Output::Contradiction { first, .. }
                    if Some(first.voter) == setup.liar && first.ballot.iteration == *iteration)
            })
        };
        if !lies.iter().all(tells) {
            called.wrong.insert(Wrong::KeepsALieToItself);
        }
        // A crash before the first output is one before the call. One after the last is a step of its own.
        let mut crashed = Vec::new();
        for done in 1..out.len() {
            let mut cut = called.clone();
            for output in &out[..done] {
                cut.carry_out(setup, output);
            }
            for all_was_written in cut.ways_to_lose_power() {
                let mut cut = cut.clone();
                cut.restart(setup, *all_was_written);
                cut.seal(setup);
                crashed.push(cut);
            }
        }
        for output in &out {
            called.carry_out(setup, output);
        }
        called.seal(setup);
        let is_idle_talk = matches!(stimulus, Stimulus::Proposal(..))
            && !setup.watches(self.seat())
            && called.said == self.said
            && called.wrong == self.wrong;
        if called.print == self.print || is_idle_talk {
            return Reaction::default();
        }
        Reaction { after: Some(called), crashed }
    }

    /// Whether the ledger had written all that was final, as far as that makes a difference.
    pub(super) fn ways_to_lose_power(&self) -> &'static [bool] {
        if self.shelf.head == self.shelf.durable { &[false] } else { &[false, true] }
    }

    /// The input, when it comes, and whether an honest peer sent it.
    fn input(&mut self, setup: &Setup, stimulus: &Stimulus) -> (In, Timestamp, bool) {
        let vote = |voter: V, ballot: Ballot| Vote { ballot, voter, proof: voter };
        let me = self.seat();
        let others = || setup.table.voters.iter().copied().filter(|seat| *seat != me);
        let honest = || others().find(|seat| Some(*seat) != setup.liar).unwrap_or(me);
        let said = |from, message: Talk| (Input::Message { from, message }, Timestamp::ZERO);
        let ((input, now), from) = match stimulus {
            Stimulus::TimeOut => {
                self.engine.timers.work_since = Some(Timestamp::ZERO);
                ((Input::Tick, Timestamp(setup.table.first_timeout_ms)), me)
            }
            Stimulus::Nudge | Stimulus::Crash(_) => ((Input::WorkChanged, Timestamp::ZERO), me),
            Stimulus::Proposal(ballot, block) => {
                let from = setup.table.leader(ballot.iteration);
                let vote = vote(from, *ballot);
                let proposal = Proposal { vote, block: block.clone(), grounds: Vec::new() };
                (said(from, Message::Propose(Box::new(proposal))), from)
            }
            Stimulus::Ballot(voter, ballot) => (said(*voter, Message::Ballot(vote(*voter, *ballot))), *voter),
            Stimulus::Certificate(ballot, voters) => {
                let votes: Vec<(V, V)> = voters.iter().map(|voter| (*voter, *voter)).collect();
                let certificate = Certificate { ballot: *ballot, votes };
                let from = match setup.liar {
                    Some(liar) if setup.is_forged(ballot, voters) => liar,
                    _ => honest(),
                };
                (said(from, Message::Certificate(certificate)), from)
            }
            Stimulus::Body(block) => {
                let have = Have { certificates: Vec::new(), blocks: vec![block.clone()] };
                (said(honest(), Message::Have(Box::new(have))), honest())
            }
        };
        (input, now, Some(from) != setup.liar)
    }

    /// Notes what the liar says in `stimulus`, and gives the iterations in which it contradicts itself thereby.
    fn listen(&mut self, setup: &Setup, stimulus: &Stimulus, settled: u64) -> Vec<u64> {
        let Some(liar) = setup.liar.filter(|_| setup.watches(self.seat())) else { return Vec::new() };
        let ballot = match stimulus {
            Stimulus::Proposal(ballot, _) if setup.table.leader(ballot.iteration) == liar => *ballot,
            Stimulus::Ballot(voter, ballot) if *voter == liar => *ballot,
            Stimulus::Certificate(ballot, voters)
                if voters.contains(&liar) && !setup.is_forged(ballot, voters) =>
            {
                *ballot
            }
            Stimulus::Proposal(..)
            | Stimulus::Ballot(..)
            | Stimulus::Certificate(..)
            | Stimulus::TimeOut
            | Stimulus::Nudge
            | Stimulus::Body(_)
            | Stimulus::Crash(_) => return Vec::new(),
        };
        // What is older than the newest final block is settled, and kept no longer (SPEC 8.14).
        if ballot.iteration < settled || self.reported.contains(&ballot.iteration) {
            return Vec::new();
        }
        self.heard.insert(ballot);
        if contradicts(&self.heard, &ballot) {
            self.reported.insert(ballot.iteration);
            self.heard.retain(|heard| heard.iteration != ballot.iteration);
            return vec![ballot.iteration];
        }
        Vec::new()
    }

    fn tick(&mut self, setup: &Setup) {
        let mut out = Out::new();
        let me = self.seat();
        let result = self.engine.handle(Timestamp::ZERO, Input::Tick, &mut self.shelf, &Pen(me), &mut out);
        assert!(result.is_ok(), "a tick was refused");
        for output in &out {
            self.carry_out(setup, output);
        }
    }

    fn restart(&mut self, setup: &Setup, all_was_written: bool) {
        let shelf = self.shelf.after_crash(all_was_written);
        if shelf.is_over() {
            // Its owner takes no seat in this epoch any more. What it would say all the same is still heard.
            self.shelf = shelf;
            return;
        }
        let journal = if setup.forgets_journals {
            self.journal.clear();
            Journal::Fresh
        } else if self.journal.is_empty() {
            Journal::Fresh
        } else {
            Journal::Intact(self.journal.values().cloned().collect())
        };
        self.engine = start(setup, self.engine.config.clone(), journal);
        self.shelf = shelf;
        self.heard.clear();
        self.reported.clear();
        self.tick(setup);
    }

    fn carry_out(&mut self, setup: &Setup, output: &Output<Tiny, V, V>) {
        match output {
            Output::Persist(record) => {
                // What it signed before may be said again.
                if matches!(record, JournalRecord::Ballot(_)) && self.shelf.is_over() {
                    self.wrong.insert(Wrong::SignsWhenOver);
                }
                self.journal.insert(record.key(), record.clone());
            }
            Output::Forget(key) => {
                self.shelf.durable = self.shelf.head;
                self.journal.remove(key);
            }
            Output::Send { to: _, message } | Output::Broadcast(message) => self.judge(setup, message),
            Output::Final { certificate: _, block } => {
                self.told.insert(block.id());
                self.shelf.finalise(block);
            }
            Output::Behind { .. } => {}
            Output::Lost { .. } => {
                self.wrong.insert(Wrong::CallsJournalLost);
            }
            Output::Contradiction { first, second } => {
                let both = BTreeSet::from([first.ballot, second.ballot]);
                let is_proof = first.voter == second.voter && contradicts(&both, &first.ballot);
                if Some(first.voter) != setup.liar || !is_proof {
                    self.wrong.insert(Wrong::BlamesTheHonest);
                }
                // It may know more than was heard since it started: what its journal kept in certificates.
                let iteration = first.ballot.iteration;
                if setup.watches(self.seat()) && iteration <= setup.iterations {
                    self.reported.insert(iteration);
                    self.heard.retain(|heard| heard.iteration != iteration);
                }
            }
            Output::Forked { .. } => {
                self.wrong.insert(Wrong::SeesAFork);
            }
            Output::Misbehaved { culprit, .. } => {
                if Some(*culprit) != setup.liar {
                    self.wrong.insert(Wrong::BlamesTheHonest);
                }
            }
        }
    }

    /// What an honest seat says was durable before, rests on what was durable before, and contradicts nothing.
    fn judge(&mut self, setup: &Setup, message: &Talk) {
        let (ballot, block) = match message {
            Message::Propose(proposal) => (proposal.vote.ballot, Some(&proposal.block)),
            Message::Ballot(vote) => (vote.ballot, None),
            Message::Certificate(_)
            | Message::Want(_)
            | Message::Have(_)
            | Message::AskNewest { .. }
            | Message::Newest(_) => return,
        };
        if !self.is_durable(&ballot) {
            self.wrong.insert(Wrong::SaidBeforeDurable);
        }
        if ballot.iteration > setup.iterations {
            return;
        }
        self.said.insert(ballot);
        if contradicts(&self.said, &ballot) {
            self.wrong.insert(Wrong::ContradictsItself);
        }
        if let Some(block) = block {
            self.proposed.insert(block.id(), block.clone());
        }
    }

    /// SPEC 8.9: the ballot itself, the certificate by which its iteration was entered, the body of what it names, and what that stands on
    /// by SPEC 8.4.
    fn is_durable(&self, ballot: &Ballot) -> bool {
        let Ballot { iteration, kind, block, .. } = *ballot;
        let certified = |iteration: u64, kinds: &[BallotKind], block: Option<BlockId>| {
            kinds.iter().any(|kind| {
                let key = JournalKey { iteration, slot: Slot::Certificate(*kind) };
                match self.journal.get(&key) {
                    Some(JournalRecord::Certificate(certificate)) => {
                        block.is_none_or(|block| certificate.ballot.block == block)
                    }
                    _ => false,
                }
            })
        };
        let itself = JournalKey { iteration, slot: Slot::Ballot(kind) };
        let is_itself = self
            .journal
            .get(&itself)
            .is_some_and(|record| matches!(record, JournalRecord::Ballot(vote) if vote.ballot == *ballot));
        let is_entered = iteration == 1 || certified(iteration - 1, &[Real, Dummy, Finalise], None);
        let has_ground = || {
            let body = JournalKey { iteration, slot: Slot::Block };
            let Some(JournalRecord::Block { block: body, .. }) = self.journal.get(&body) else {
                return false;
            };
            let newest = |base| (1..iteration).rev().find(|j| certified(*j, &[Real, Finalise], Some(base)));
            let below = newest(body.parent).or((body.parent == self.engine.config.genesis).then_some(0));
            // SPEC 8.18: the last block stands on itself.
            let itself = newest(block).filter(|_| self.shelf.ends_epoch(body));
            let leads_here = |base: u64| (base + 1..iteration).all(|j| certified(j, &[Dummy], None));
            body.id() == block && below.max(itself).is_some_and(leads_here)
        };
        let rests = match kind {
            Propose | Real => is_entered && has_ground(),
            Dummy => is_entered,
            Finalise => certified(iteration, &[Real, Finalise], Some(block)),
        };
        is_itself && rests
    }

    /// Takes time out of the engine, and prints what is left.
    fn seal(&mut self, setup: &Setup) {
        // As after any time in which nothing came in: what was asked may be asked again, and timers run anew.
        self.engine.timers = Default::default();
        self.engine.asked.clear();
        self.engine.asked_blocks.clear();
        self.engine.answered.clear();
        // What it would show others of their ballots: they are judged without it.
        self.engine.newest.clear();
        self.print_without_journal = self.digest(setup, false);
        self.print = self.digest(setup, true);
    }

    /// Prints what of this seat can ever make a difference to what it signs, tells or is judged by. The rest is named here, too, so that a
    /// new field of the engine has to be thought about.
    fn digest(&self, setup: &Setup, with_journal: bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        let hash = &mut hasher;
        let Agreement {
            config,
            rounds,
            iteration,
            head,
            known,
            parked,
            // What lies in the journal: read when it is written to.
            journalled: _,
            floor,
            conduct,
            // Sealed.
            timers: _,
            asked: _,
            asked_blocks: _,
            answered: _,
            // Who is asked for our newest ballot, and what is answered: a check of journals, which is judged here without being asked.
            newest: _,
            unanswered: _,
            begin: _,
            planted: _,
        } = &self.engine;
        let me = config.me;
        are_alike(setup, me).hash(hash);
        if !are_alike(setup, me) {
            me.hash(hash);
        }
        // What is said and made beyond the bounds reaches nobody. A last block that is only proposed again there was made within them.
        let within = |iteration: u64| iteration <= setup.iterations;
        let is_of_old =
            |id: &BlockId| rounds.range(..=setup.iterations).any(|(_, round)| round.notarised() == Some(*id));
        let beyond: BTreeSet<BlockId> = rounds
            .iter()
            .filter(|(iteration, _)| !within(**iteration))
            .filter_map(|(_, round)| round.said(Propose, me))
            .filter(|id| !is_of_old(id))
            .collect();
        for (iteration, round) in rounds.iter().filter(|(iteration, _)| within(**iteration)) {
            for kind in [Propose, Real, Dummy, Finalise] {
                // Others' ballots count only towards certificates, which the network can hand over whole.
                let leader = setup.table.leader(*iteration);
                for voter in &config.voters {
                    if setup.watches(me) || *voter == me || (kind == Propose && *voter == leader) {
                        let mine = *voter == me;
                        let voter = Some(*voter).filter(|_| !mine);
                        let said = round.said(kind, voter.unwrap_or(me));
                        (iteration, kind, mine, voter, said).hash(hash);
                    }
                }
                // By whom does not matter.
                (iteration, kind, round.certificate(kind).map(|held| held.ballot)).hash(hash);
            }
        }
        iteration.hash(hash);
        head.hash(hash);
        for id in known.keys().filter(|id| !beyond.contains(id)) {
            id.hash(hash);
        }
        parked.keys().for_each(|id| id.hash(hash));
        (*conduct == Conduct::Votes).hash(hash);
        (&self.said, &self.told, &self.heard, &self.reported, &self.wrong).hash(hash);
        self.shelf.blocks.keys().filter(|id| !beyond.contains(id)).for_each(|id| id.hash(hash));
        self.shelf.head.hash(hash);
        if with_journal {
            floor.hash(hash);
            self.shelf.durable.hash(hash);
            for (key, record) in self.journal.iter().filter(|(key, _)| within(key.iteration)) {
                key.hash(hash);
                match record {
                    JournalRecord::Block { block, .. } => block.id().hash(hash),
                    JournalRecord::Certificate(certificate) => certificate.ballot.hash(hash),
                    JournalRecord::Ballot(vote) => vote.ballot.hash(hash),
                    JournalRecord::Seat { .. } | JournalRecord::Lost { .. } => {}
                }
            }
        }
        hasher.finish()
    }
}

fn start(setup: &Setup, config: Config<V>, journal: Journal<Tiny, V, V>) -> Seat {
    let mut engine = Seat::start(config, journal, Timestamp::ZERO);
    engine.planted = setup.planted;
    engine
}

/// Whether one of `said` contradicts `ballot`, all being of one voter (SPEC 8.15, written anew).
fn contradicts(said: &BTreeSet<Ballot>, ballot: &Ballot) -> bool {
    said.iter().filter(|other| (other.epoch, other.iteration) == (ballot.epoch, ballot.iteration)).any(
        |other| {
            let kinds = [other.kind, ballot.kind];
            let is_both = kinds.contains(&Dummy) && kinds.contains(&Finalise);
            is_both || (!kinds.contains(&Dummy) && other.block != ballot.block)
        },
    )
}

impl std::fmt::Display for Stimulus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |block: &BlockId| u16::from_be_bytes([block.0[0], block.0[1]]);
        match self {
            Stimulus::TimeOut => write!(f, "times out"),
            Stimulus::Nudge => write!(f, "goes on"),
            Stimulus::Proposal(ballot, block) => write!(
                f,
                "hears the proposal of {:04x} on {:04x} in {}",
                name(&ballot.block),
                name(&block.parent),
                ballot.iteration
            ),
            Stimulus::Ballot(voter, Ballot { iteration, kind, block, .. }) => {
                write!(f, "hears {kind:?} of {voter} for {:04x} in {iteration}", name(block))
            }
            Stimulus::Certificate(Ballot { epoch, iteration, kind, block, .. }, voters) => {
                write!(
                    f,
                    "hears {kind:?} by {voters:?} for {:04x} in {iteration} of epoch {epoch}",
                    name(block)
                )
            }
            Stimulus::Body(block) => write!(f, "is given {:04x}", name(&block.id())),
            Stimulus::Crash(true) => write!(f, "its ledger is durable"),
            Stimulus::Crash(false) => write!(f, "its ledger is not durable"),
        }
    }
}
