//! The network, and what lying seats put on it.

use BallotKind::{Dummy, Finalise, Vote as Real};

use super::ink::{Ink, forge};
use super::{Event, Talk, World};
use crate::agreement::tests::bench::{Tiny, ballot, genesis, leader};
use crate::agreement::*;
use crate::state::BlockId;
use crate::time::Timestamp;

impl<I: Ink> World<I> {
    pub(super) fn send(&mut self, from_at: usize, to: u8, message: &Talk<I>) {
        let (from, lies) = (self.processes[from_at].seat, self.processes[from_at].lies);
        for at in 0..self.processes.len() {
            if self.processes[at].seat != to {
                continue;
            }
            let cut = self.group[at] != self.group[from_at];
            let withheld = lies && self.dice.percent(30);
            if cut || withheld || self.dice.percent(self.loss) {
                continue;
            }
            let copies = if !self.healed && self.dice.percent(10) { 2 } else { 1 };
            for _ in 0..copies {
                let mut message = message.clone();
                if lies && self.dice.percent(10) {
                    spoil::<I>(&mut message);
                }
                if lies && self.plan.keys && self.dice.percent(10) {
                    forge::<I>(&mut message);
                }
                let when = self.now + 1 + self.dice.below(self.delay_ms);
                self.push(when, Event::Deliver { to: at, from, message });
            }
        }
    }

    /// A lying seat says whatever comes to its mind of blocks that it has seen.
    pub(super) fn lie(&mut self, at: usize) {
        let Some(engine) = &self.processes[at].engine else { return };
        let near = engine.iteration();
        if self.dice.percent(50) {
            return self.propose_a_lie(at, near);
        }
        let iteration = (near + self.dice.below(3)).saturating_sub(1).max(1);
        let recent = self.seen.len().min(4) as u64;
        let kind = [Real, Dummy, Finalise][self.dice.below(3) as usize];
        let block = match self.seen.len() as u64 {
            0 => return,
            count => self.seen[(count - 1 - self.dice.below(recent)) as usize].id(),
        };
        let block = if kind == Dummy { BlockId::NONE } else { block };
        let message = Message::Ballot(self.ink.vote(self.processes[at].seat, ballot(iteration, kind, block)));
        let to = self.dice.below(u64::from(self.plan.n)) as u8;
        if to != self.processes[at].seat {
            self.send(at, to, &message);
        }
    }

    /// A lying leader proposes on whatever block it likes.
    fn propose_a_lie(&mut self, at: usize, near: u64) {
        let (n, seat) = (self.plan.n, self.processes[at].seat);
        let Some(iteration) = (near..near + 3).find(|iteration| leader(n, *iteration) == seat) else {
            return;
        };
        let back = self.dice.below(6) as usize;
        let ledger = &self.processes[at].ledger;
        let parent = self.seen.iter().rev().nth(back).map_or(genesis(), Tiny::id);
        let time = ledger.blocks.get(&parent).map_or(Timestamp(1), |(block, _)| block.time.plus(1));
        let block = ledger.child(parent, time, 0);
        self.seen.push(block.clone());
        let vote = self.ink.vote(seat, ballot(iteration, BallotKind::Propose, block.id()));
        let message = Message::Propose(Box::new(Proposal { vote, block, grounds: Vec::new() }));
        for to in (0..n).filter(|to| *to != seat) {
            self.send(at, to, &message);
        }
    }
}

fn spoil<I: Ink>(message: &mut Talk<I>) {
    match message {
        Message::Propose(proposal) => proposal.block.body_is_good = false,
        Message::Have(have) => have.blocks.iter_mut().for_each(|block| block.body_is_good = false),
        Message::Ballot(_)
        | Message::Certificate(_)
        | Message::Want(_)
        | Message::AskNewest { .. }
        | Message::Newest(_) => {}
    }
}
