//! L4 from a given state: nothing that was said before arrives any more, and from then on nothing is lost, nobody crashes and the liar is
//! dumb. The real messages are exchanged, bodies, certificates and questions included; time moves on when nothing is under way.

use std::collections::{BTreeMap, VecDeque};

use super::stand::Stand;
use super::{State, Table};
use crate::agreement::tests::bench::{In, Out, Pen, Talk, V};
use crate::agreement::*;
use crate::time::Timestamp;

/// How many time-outs may pass, and how many messages may be heard, until a further block is final everywhere.
const TIME_OUTS_MAX: u64 = 40;
const HEARD_MAX: u64 = 20_000;

struct Healed {
    seats: BTreeMap<V, Stand>,
    /// Who signed what before.
    signed: BTreeMap<Ballot, Vec<(V, V)>>,
    under_way: VecDeque<(V, V, Talk)>,
    /// Who has to follow the log to its end.
    behind: Vec<V>,
    height: BTreeMap<V, u64>,
    quorum: usize,
    now: Timestamp,
}

/// Whether every honest seat tells of a final block above all that was final before, or of the last one.
pub(super) fn goes_on(table: &Table, state: &State) -> bool {
    let setup = &table.setup;
    let seats: BTreeMap<V, Stand> =
        state.seats.iter().map(|seat| (seat.seat(), Stand::clone(seat))).collect();
    let finals = seats.values().flat_map(|seat| {
        seat.told.iter().map(|id| seat.shelf.blocks.get(id).map_or(0, |block| block.height))
    });
    let before = finals.max().unwrap_or(setup.table.genesis_height);
    let signed = table.said(state).0.into_iter().map(|(ballot, voters)| {
        let mut voters: Vec<(V, V)> =
            voters.into_iter().chain(setup.liar).map(|voter| (voter, voter)).collect();
        voters.sort_unstable();
        (ballot, voters)
    });
    let mut healed = Healed {
        seats,
        signed: signed.collect(),
        under_way: VecDeque::new(),
        behind: Vec::new(),
        height: BTreeMap::new(),
        quorum: setup.table.quorum,
        now: Timestamp::ZERO,
    };
    let mut heard = 0;
    for _ in 0..TIME_OUTS_MAX {
        for seat in healed.seats.keys().copied().collect::<Vec<_>>() {
            healed.call(table, seat, Input::Tick);
        }
        while let Some((from, to, mut message)) = healed.under_way.pop_front() {
            match &mut message {
                Message::Propose(proposal) => healed.sign_anew(&mut proposal.grounds),
                Message::Certificate(certificate) => healed.sign_anew(std::slice::from_mut(certificate)),
                Message::Have(have) => healed.sign_anew(&mut have.certificates),
                Message::Ballot(_) | Message::Want(_) | Message::AskNewest { .. } | Message::Newest(_) => {}
            }
            heard += 1;
            if heard > HEARD_MAX {
                return false;
            }
            if healed.seats.get(&to).is_some_and(|seat| seat.shelf.is_over()) {
                // Whoever still speaks in that epoch is shown its end (SPEC 8.21).
                healed.follow(table, from);
            } else {
                healed.call(table, to, Input::Message { from, message });
            }
            // Work never ends, so neither does talk.
            if healed.has_grown(before) {
                return true;
            }
        }
        for seat in std::mem::take(&mut healed.behind) {
            healed.follow(table, seat);
        }
        if healed.has_grown(before) {
            return true;
        }
        let due = healed.seats.values().filter_map(|seat| seat.engine.next_deadline()).min();
        healed.now = due.map_or(healed.now, |due| due.max(healed.now));
    }
    false
}

impl Healed {
    fn has_grown(&self, before: u64) -> bool {
        self.seats.iter().all(|(at, seat)| {
            seat.shelf.is_over() || self.height.get(at).is_some_and(|height| *height > before)
        })
    }

    /// Puts certificates into the names of those who signed in this very state. Seats that hold a certificate by other voters count as
    /// one in the search, and the one that was kept may name voters who here have signed nothing.
    fn sign_anew(&self, certificates: &mut [Certificate<V, V>]) {
        for certificate in certificates {
            if let Some(signed) =
                self.signed.get(&certificate.ballot).filter(|signed| signed.len() >= self.quorum)
            {
                certificate.votes.clone_from(signed);
            }
        }
    }

    /// What following does (SPEC 9): takes the final blocks of whoever has most of them.
    fn follow(&mut self, table: &Table, at: V) {
        let height = |seat: &Stand| seat.shelf.blocks.get(&seat.shelf.head).map_or(0, |block| block.height);
        let Some(ahead) = self.seats.values().max_by_key(|seat| height(seat)) else { return };
        let head = &ahead.engine.head;
        let certificate =
            ahead.engine.round(head.iteration).and_then(|round| round.certificate(BallotKind::Finalise));
        let (Some(certificate), Some(block)) = (certificate, ahead.shelf.blocks.get(&ahead.shelf.head))
        else {
            return;
        };
        if !head.delivered || height(&self.seats[&at]) >= block.height {
            return;
        }
        let (mut certificate, block) = (certificate.clone(), block.clone());
        self.sign_anew(std::slice::from_mut(&mut certificate));
        let log = ahead.shelf.after_crash(true);
        let Some(seat) = self.seats.get_mut(&at) else { return };
        seat.shelf.blocks.extend(log.blocks);
        seat.shelf.finalise(&block);
        self.height.insert(at, block.height);
        self.call(table, at, Input::Final { certificate, block });
    }

    fn call(&mut self, table: &Table, at: V, input: In) {
        let Some(seat) = self.seats.get_mut(&at) else { return };
        let mut out = Out::new();
        // Whom it may blame is judged where seats are stepped.
        let _ = seat.engine.handle(self.now, input, &mut seat.shelf, &Pen(at), &mut out);
        for output in out {
            match output {
                Output::Send { to, message } => self.under_way.push_back((at, to, message)),
                Output::Broadcast(message) => {
                    let others = table.setup.table.voters.iter().filter(|to| **to != at);
                    self.under_way.extend(others.map(|to| (at, *to, message.clone())));
                }
                Output::Final { block, .. } => {
                    seat.shelf.finalise(&block);
                    let height = self.height.entry(at).or_default();
                    *height = block.height.max(*height);
                }
                Output::Behind { .. } => self.behind.push(at),
                Output::Persist(_)
                | Output::Forget(_)
                | Output::Lost { .. }
                | Output::Contradiction { .. }
                | Output::Forked { .. }
                | Output::Misbehaved { .. } => {}
            }
        }
    }
}
