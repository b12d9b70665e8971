//! Every order of events within small bounds: links that keep their order and lose nothing and hand over all that they hold at once, one
//! time-out a seat and iteration. The shipped code is stepped, not a model of it.
//!
//! One to three honest seats are searched to the end. With four, of which the first leader has told each other seat what it likes (one of
//! two blocks, its vote, its finalise, its dummy), the search goes as deep as a few thousand states take it: what lies beyond is for the
//! explorer, at random.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::bench::*;
use crate::agreement::planted::Planted;
use crate::agreement::tally::Round;
use crate::agreement::*;
use crate::state::BlockId;
use crate::time::Timestamp;

use BallotKind::{Dummy, Finalise, Vote as Real};

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    n: u8,
    iterations: u64,
    seats: BTreeMap<V, (Seat, TinyLedger, Timestamp)>,
    links: BTreeMap<(V, V), VecDeque<Talk>>,
    said: BTreeSet<(V, Ballot)>,
    log: BTreeMap<u64, BlockId>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    n: u8,
    iterations: u64,
    tales: Option<[Tale; 3]>,
    planted: Option<Planted>,
}

enum Step {
    Deliver(V, V),
    TimeOut(V),
}

/// What the liar tells a seat: its choice of block, and in which order it gives up and finalises.
#[derive(Clone, Copy, Debug)]
struct Tale {
    block: u64,
    dummy_first: bool,
}

impl State {
    /// Of `n` seats. With tales the first leader lies, and tells one to each other seat.
    fn new(bounds: Bounds) -> State {
        let Bounds { n, iterations, tales, planted } = bounds;
        let liar = tales.map(|_| leader(n, 1));
        let (seats, links) = (BTreeMap::new(), BTreeMap::new());
        let mut state = State { n, iterations, seats, links, said: BTreeSet::new(), log: BTreeMap::new() };
        for seat in (0..n).filter(|seat| Some(*seat) != liar) {
            let config = Config { first_timeout_ms: 1, timeout_cap_ms: 1, ..config(n, seat) };
            let mut engine = Seat::start(config, Journal::Fresh, Timestamp(1));
            engine.planted = planted;
            let mut ledger = TinyLedger::new();
            ledger.waiting = 4;
            state.seats.insert(seat, (engine, ledger, Timestamp(1)));
        }
        let honest: Vec<V> = state.seats.keys().copied().collect();
        if let Some((liar, tales)) = liar.zip(tales) {
            for (seat, tale) in honest.iter().zip(tales) {
                let block = TinyLedger::new().child(genesis(), Timestamp(1), tale.block);
                let id = block.id();
                let mut told = vec![
                    proposal(n, 1, &block, vec![]),
                    said(liar, 1, Real, id),
                    said(liar, 1, Finalise, id),
                    said(liar, 1, Dummy, BlockId::NONE),
                ];
                if tale.dummy_first {
                    told.rotate_right(1);
                }
                state.links.insert((liar, *seat), told.into());
            }
        }
        for seat in honest {
            state.call(seat, Input::Tick).expect("the start is in order");
        }
        state
    }

    fn steps(&self) -> Vec<Step> {
        let deliveries = self
            .links
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|((from, to), _)| Step::Deliver(*from, *to));
        let time_outs = self.seats.iter().filter(|(_, (seat, _, _))| {
            let iteration = seat.iteration();
            iteration <= self.iterations && seat.mine(iteration, Dummy).is_none()
        });
        deliveries.chain(time_outs.map(|(seat, _)| Step::TimeOut(*seat))).collect()
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Deliver(from, to) => {
                for message in self.links.remove(&(*from, *to)).unwrap_or_default() {
                    self.call(*to, Input::Message { from: *from, message })?;
                }
                Ok(())
            }
            Step::TimeOut(seat) => {
                let (engine, _, now) = self.seats.get_mut(seat).expect("no such seat");
                *now = engine.next_deadline().map_or(*now, |deadline| deadline.max(*now));
                self.call(*seat, Input::Tick)
            }
        }
    }

    fn call(&mut self, at: V, input: In) -> Result<(), String> {
        let (engine, ledger, now) = self.seats.get_mut(&at).expect("no such seat");
        let mut out = Out::new();
        // What a liar sends may be refused.
        let _ = engine.handle(*now, input, ledger, &Pen(at), &mut out);
        for output in out {
            match output {
                Output::Broadcast(message) => self.spread(at, &message)?,
                Output::Final { block, .. } => self.finalise(at, &block)?,
                Output::Lost { why } => return Err(format!("seat {at} calls its journal lost: {why}")),
                Output::Forked { .. } => return Err("a fork".into()),
                // Nothing is lost here, so nothing need be asked for.
                Output::Send { .. }
                | Output::Persist(_)
                | Output::Forget(_)
                | Output::Behind { .. }
                | Output::Contradiction { .. }
                | Output::Misbehaved { .. } => {}
            }
        }
        Ok(())
    }

    fn spread(&mut self, from: V, message: &Talk) -> Result<(), String> {
        let ballot = match message {
            Message::Propose(proposal) => proposal.vote.ballot,
            Message::Ballot(vote) => vote.ballot,
            Message::Certificate(certificate) => certificate.ballot,
            Message::Want(_) | Message::Have(_) | Message::AskNewest { .. } | Message::Newest(_) => {
                return Ok(());
            }
        };
        if !matches!(message, Message::Certificate(_)) {
            let is_new = self.said.insert((from, ballot));
            let here: Vec<Ballot> = self
                .said
                .iter()
                .filter(|(by, b)| *by == from && b.iteration == ballot.iteration)
                .map(|(_, b)| *b)
                .collect();
            let blocks: BTreeSet<BlockId> =
                here.iter().filter(|b| b.kind != Dummy).map(|b| b.block).collect();
            let has = |kind| here.iter().any(|b| b.kind == kind);
            if blocks.len() > 1 || (has(Dummy) && has(Finalise)) {
                return Err(format!("seat {from} contradicts itself: {here:?}"));
            }
            if !is_new {
                return Ok(());
            }
        }
        if ballot.iteration <= self.iterations {
            for to in self.seats.keys().copied().filter(|to| *to != from) {
                let known = |round: &Round<V, P>| round.certificate(ballot.kind).is_some();
                let is_news = !matches!(message, Message::Certificate(_))
                    || !self.seats[&to].0.round(ballot.iteration).is_some_and(known);
                if is_news {
                    self.links.entry((from, to)).or_default().push_back(message.clone());
                }
            }
        }
        Ok(())
    }

    fn finalise(&mut self, at: V, block: &Tiny) -> Result<(), String> {
        let (_, ledger, _) = self.seats.get_mut(&at).expect("no such seat");
        ledger.finalise(block);
        let mut next = Some(block.clone());
        while let Some(block) = next {
            if *self.log.entry(block.height).or_insert(block.id()) != block.id() {
                return Err(format!("two final blocks at height {}", block.height));
            }
            next = ledger.blocks.get(&block.parent).map(|(parent, _)| parent.clone());
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Searched {
    states: usize,
    complete: bool,
    violation: Option<String>,
    finals_max: usize,
}

fn search(bounds: Bounds, states_max: usize) -> Searched {
    let fingerprint = |state: &State| {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        hasher.finish()
    };
    let first = State::new(bounds);
    let mut seen = BTreeSet::from([fingerprint(&first)]);
    let mut open = VecDeque::from([first]);
    let mut finals_max = 0;
    while let Some(state) = open.pop_back() {
        finals_max = finals_max.max(state.log.len());
        for step in state.steps() {
            let mut next = state.clone();
            if let Err(why) = next.take(&step) {
                return Searched { states: seen.len(), complete: false, violation: Some(why), finals_max };
            }
            if seen.len() < states_max && seen.insert(fingerprint(&next)) {
                open.push_back(next);
            }
        }
    }
    Searched { states: seen.len(), complete: seen.len() < states_max, violation: None, finals_max }
}

#[test]
fn every_order_of_events_within_the_bounds_keeps_one_log() {
    for (n, iterations, finals) in [(1, 3, 3), (2, 3, 3), (3, 1, 1)] {
        let searched = search(Bounds { n, iterations, tales: None, planted: None }, 50_000);
        println!("{n} seats, {iterations} iterations: {searched:?}");
        assert_eq!(searched.violation, None);
        assert!(searched.complete, "the bounds of this test are too wide for it");
        assert_eq!(searched.finals_max, finals, "something must become final, or nothing was seen");
    }
}

#[test]
fn a_finalise_after_a_dummy_is_found_by_searching_every_order_of_events() {
    let planted = Some(Planted::FinaliseAfterDummy);
    let searched = search(Bounds { n: 3, iterations: 1, tales: None, planted }, 50_000);
    assert!(searched.violation.is_some_and(|why| why.contains("contradicts itself")));
}

#[test]
fn four_seats_of_which_the_first_leader_lies_keep_one_log_as_far_as_was_searched() {
    let tale = |block, dummy_first| Tale { block, dummy_first };
    // The first seat is told of the first block, without loss of generality.
    for tales in [
        [tale(1, false), tale(1, false), tale(2, false)],
        [tale(1, false), tale(2, true), tale(2, false)],
        [tale(1, true), tale(1, false), tale(1, false)],
    ] {
        let bounds = Bounds { n: 4, iterations: 2, tales: Some(tales), planted: None };
        let searched = search(bounds, 3_000);
        println!("{tales:?}: {searched:?}");
        assert_eq!(searched.violation, None);
        let planted = Some(Planted::FinaliseAfterDummy);
        assert!(
            search(Bounds { planted, ..bounds }, 3_000).violation.is_some(),
            "a planted bug was not found"
        );
    }
}
