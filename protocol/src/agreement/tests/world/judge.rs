//! What honest seats send and finalise, judged at every step.

use std::collections::BTreeSet;

use BallotKind::{Dummy, Finalise, Propose, Vote as Real};

use super::ink::Ink;
use super::{Change, Event, Out, Proven, Said, Talk, World, apply};
use crate::agreement::tests::bench::Tiny;
use crate::agreement::*;
use crate::state::BlockId;

impl<I: Ink> World<I> {
    pub(super) fn carry_out(&mut self, at: usize, output: Out<I>) -> Result<(), String> {
        let process = &mut self.processes[at];
        let seat = process.seat;
        match output {
            Output::Persist(record) => process.unsynced.push(Change::Put(record)),
            Output::Forget(key) => {
                process.finals_synced = process.finals.len();
                process.unsynced.push(Change::Remove(key));
            }
            Output::Send { to, message } => {
                self.sync_and_check(at, &message)?;
                self.send(at, self.seat_of(to), &message);
            }
            Output::Broadcast(message) => {
                self.sync_and_check(at, &message)?;
                for to in (0..self.plan.n).filter(|to| *to != seat) {
                    self.send(at, to, &message);
                }
            }
            Output::Final { certificate, block } => {
                // Telling is sending: whoever hears of it may rest on it.
                let process = &mut self.processes[at];
                apply(&mut process.synced, std::mem::take(&mut process.unsynced));
                // After a restart it may be one that is in the log already.
                if block.height > process.ledger.height_of(process.ledger.head) {
                    self.take_final(at, certificate, block)?;
                }
            }
            Output::Behind { .. } => {
                let when = self.now + 5 + self.dice.below(200);
                self.push(when, Event::Follow(at));
            }
            Output::Lost { why } => {
                if !process.lies && !self.plan.blocks_alone {
                    return Err(format!("honest seat {seat} calls its journal lost: {why}"));
                }
            }
            Output::Contradiction { first, second } => {
                self.done.contradictions += 1;
                if !self.lies(self.seat_of(first.voter)) && !self.plan.blocks_alone {
                    return Err(format!("an honest seat is convicted: {first:?} against {second:?}"));
                }
            }
            Output::Forked { .. } => return Err(format!("seat {seat} sees a fork")),
            Output::Misbehaved { culprit, fault } => {
                if !self.lies(self.seat_of(culprit)) {
                    return Err(format!("seat {seat} blames an honest {culprit:?}: {fault}"));
                }
            }
        }
        Ok(())
    }

    /// S3: the block and its ancestors take their heights, for all honest seats alike.
    pub(super) fn take_final(
        &mut self,
        at: usize,
        certificate: Proven<I>,
        block: Tiny,
    ) -> Result<(), String> {
        let process = &mut self.processes[at];
        let mut branch = Vec::new();
        let mut id = block.id();
        while id != process.ledger.head {
            let Some((ancestor, _)) = process.ledger.blocks.get(&id) else {
                return Err(format!("seat {} finalises beside its own head", process.seat));
            };
            branch.push(ancestor.clone());
            id = ancestor.parent;
        }
        for ancestor in branch.into_iter().rev() {
            if !process.lies {
                let there = *self.log.entry(ancestor.height).or_insert(ancestor.id());
                if there != ancestor.id() {
                    return Err(format!("two final blocks at height {}", ancestor.height));
                }
            }
            process.finals.push((ancestor, None));
        }
        if let Some(last) = process.finals.last_mut() {
            last.1 = Some(certificate);
        }
        process.ledger.finalise(&block);
        Ok(())
    }

    /// What leaves must be durable before; and what an honest seat says must contradict nothing that it ever said.
    fn sync_and_check(&mut self, at: usize, message: &Talk<I>) -> Result<(), String> {
        let process = &mut self.processes[at];
        apply(&mut process.synced, std::mem::take(&mut process.unsynced));
        let (seat, lies) = (process.seat, process.lies);
        let vote = match message {
            Message::Propose(proposal) => {
                self.seen.push(proposal.block.clone());
                &proposal.vote
            }
            Message::Ballot(vote) => vote,
            Message::Certificate(_)
            | Message::Want(_)
            | Message::Have(_)
            | Message::AskNewest { .. }
            | Message::Newest(_) => return Ok(()),
        };
        if lies || self.plan.blocks_alone {
            return Ok(());
        }
        let Ballot { iteration, kind, block, .. } = vote.ballot;
        let said = self.said.entry((seat, iteration)).or_default();
        said.insert((kind, block));
        let named: BTreeSet<BlockId> =
            said.iter().filter(|(kind, _)| *kind != Dummy).map(|(_, block)| *block).collect();
        let both = said.contains(&(Dummy, BlockId::NONE)) && said.iter().any(|(kind, _)| *kind == Finalise);
        if named.len() > 1 || both {
            return Err(format!("seat {seat} contradicts itself in iteration {iteration}: {said:?}"));
        }
        self.check_durable(at, vote)
    }

    fn check_durable(&self, at: usize, vote: &Said<I>) -> Result<(), String> {
        let synced = &self.processes[at].synced;
        let Ballot { iteration, kind, .. } = vote.ballot;
        let has = |iteration, slot| synced.contains_key(&JournalKey { iteration, slot });
        let certified = |iteration, kinds: &[BallotKind]| {
            kinds.iter().any(|kind| has(iteration, Slot::Certificate(*kind)))
        };
        let entered = iteration == 1 || certified(iteration - 1, &[Real, Dummy, Finalise]);
        let rests = match kind {
            Propose | Real => entered && has(iteration, Slot::Block),
            Dummy => entered,
            Finalise => certified(iteration, &[Real, Finalise]),
        };
        if rests && has(iteration, Slot::Ballot(kind)) {
            Ok(())
        } else {
            Err(format!("seat {} sent before it was durable: {vote:?}", self.processes[at].seat))
        }
    }
}
