//! The rules by which it proposes, votes, gives up, finalises and forgets (SPEC 8.4 to 8.13).
//!
//! **Invariant:** [`Agreement::say`] is the only place that signs, and asserts there that the ballot contradicts none before it.

use std::collections::BTreeSet;

use super::ballot::{BallotKind, Message, Proposal, Vote};
use super::engine::{Agreement, Head, Turn};
use super::journal::{JournalKey, JournalRecord, Slot};
use super::planted::Planted;
use super::seam::{Accepted, Ledger, Output, Signer, Timely, Value, Voter};
use crate::state::BlockId;
use crate::time::Timestamp;

impl<B: Value, V: Voter, P: Value> Agreement<B, V, P> {
    /// Hands blocks to the ledger whose parents have come.
    pub(super) fn adopt<L: Ledger<Block = B>, S: ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) -> bool {
        let all = std::mem::take(&mut turn.ledger_grew);
        let mut ready: Vec<(u64, BlockId)> = self
            .parked
            .iter()
            .filter(|(_, parked)| all || self.is_here(parked.parent))
            .map(|(id, parked)| (parked.height, *id))
            .collect();
        ready.sort_unstable();
        let mut moved = false;
        for (_, id) in ready {
            let parked = &self.parked[&id];
            match turn.ledger.accept(&parked.block) {
                Accepted::ParentMissing => continue,
                Accepted::Yes => {
                    self.known.insert(id, parked.block.clone());
                }
                Accepted::Invalid(fault) => {
                    if parked.from != self.config.me {
                        turn.out.push(Output::Misbehaved { culprit: parked.from, fault });
                    }
                }
            }
            self.parked.remove(&id);
            moved = true;
        }
        moved
    }

    /// Rule 8.8.
    pub(super) fn finalise<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        if !self.is_voting() {
            return false;
        }
        let due = self.rounds.range(self.head.iteration + 1..).find_map(|(iteration, round)| {
            let block = round.notarised()?;
            let me = self.config.me;
            let no_other = |kind| round.said(kind, me).is_none_or(|said| said == block);
            let may = (round.said(BallotKind::Dummy, me).is_none()
                || self.is_planted(Planted::FinaliseAfterDummy))
                && round.said(BallotKind::Finalise, me).is_none()
                && ((no_other(BallotKind::Vote) && no_other(BallotKind::Propose))
                    || self.is_planted(Planted::FinaliseAnother));
            may.then_some((*iteration, block))
        });
        let Some((iteration, block)) = due else { return false };
        self.say(BallotKind::Finalise, iteration, block, turn);
        true
    }

    /// Rule 8.12.
    pub(super) fn deliver<L: Ledger<Block = B>, S: ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        if self.head.delivered {
            return false;
        }
        let certificate =
            self.round(self.head.iteration).and_then(|round| round.certificate(BallotKind::Finalise));
        let (Some(block), Some(certificate)) = (self.known.get(&self.head.block), certificate) else {
            return false;
        };
        let (height, last) = (turn.ledger.height(block), turn.ledger.ends_epoch(block));
        turn.out.push(Output::Final { certificate: certificate.clone(), block: block.clone() });
        self.delivered(height, last, turn);
        true
    }

    /// Forgets what is settled by the newest final block.
    pub(super) fn delivered<L: Ledger<Block = B>, S: ?Sized>(
        &mut self,
        height: u64,
        ends_epoch: bool,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        turn.finalised = true;
        self.head = Head { delivered: true, height, ends_epoch, ..self.head };
        let mut kept = BTreeSet::from([self.head.block]);
        let mut ascending: Vec<(u64, BlockId, BlockId)> = self
            .known
            .iter()
            .map(|(id, block)| (turn.ledger.height(block), *id, turn.ledger.parent(block)))
            .collect();
        ascending.sort_unstable();
        for (_, id, parent) in ascending {
            if kept.contains(&parent) {
                kept.insert(id);
            }
        }
        self.known.retain(|id, _| kept.contains(id));
        self.parked.retain(|_, parked| parked.height > height);
        let floor = std::mem::replace(&mut self.floor, self.head.iteration);
        let settled: Vec<JournalKey> = self
            .journalled
            .iter()
            .filter(|key| key.iteration < floor && !matches!(key.slot, Slot::Seat | Slot::Lost))
            .copied()
            .collect();
        for key in settled {
            self.journalled.remove(&key);
            turn.out.push(Output::Forget(key));
        }
    }

    /// Rules 8.6 and 8.18.
    pub(super) fn vote<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        self.timers.vote_after = None;
        let Some(id) = self.votable() else { return false };
        let Some(block) = self.known.get(&id) else { return false };
        let base = self.base_of(turn.ledger, id, block);
        if self.stands_on(base).is_err() && self.last_anyway(turn.ledger) != Some(base) {
            return false;
        }
        // What was notarised already had the right time then.
        let timely = if base == id { Timely::Yes } else { turn.ledger.timely(turn.now, block) };
        match timely {
            Timely::Never => return false,
            Timely::NotBefore(then) => {
                self.timers.vote_after = Some(then);
                return false;
            }
            Timely::Yes => {}
        }
        // A leader's own block was kept when it was proposed.
        if self.mine(self.iteration, BallotKind::Propose) != Some(id) {
            self.keep_block(block.clone(), turn.out);
        }
        self.say(BallotKind::Vote, self.iteration, id, turn);
        true
    }

    /// The proposal of this iteration, unless we voted or gave up already.
    pub(super) fn votable(&self) -> Option<BlockId> {
        let (me, iteration) = (self.config.me, self.iteration);
        let round = self.round(iteration)?;
        let done = round.said(BallotKind::Vote, me).is_some() || round.said(BallotKind::Dummy, me).is_some();
        if done || !self.is_voting() { None } else { self.proposed() }
    }

    /// In place of another, if there is one: power was lost after that was written, and before it was named.
    fn keep_block(&mut self, block: B, out: &mut Vec<Output<B, V, P>>) {
        if self.is_planted(Planted::ForgetBodies) {
            return;
        }
        self.persist(JournalRecord::Block { iteration: self.iteration, block }, out);
    }

    /// Rules 8.4, 8.5 and 8.18.
    pub(super) fn propose<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        if !self.may_propose() {
            return false;
        }
        let Some(parent) = self.last_anyway(turn.ledger).or_else(|| self.parent_to_propose().ok()) else {
            return false;
        };
        let unfinal = self.is_tip_unfinal();
        let ends_epoch = |block: &&B| turn.ledger.ends_epoch(block) && !self.is_planted(Planted::ExtendLast);
        let last = self.known.get(&parent).filter(ends_epoch).cloned();
        if last.is_some() && self.is_planted(Planted::NeverRepeat) {
            return false;
        }
        let due = (last.is_none() && turn.ledger.entry_waits(parent))
            || (!unfinal && self.is_heartbeat_due(turn))
            || (unfinal && self.propose_anyway_at().is_some_and(|at| at <= turn.now));
        // One block a call: whatever a ledger says, a call ends.
        if !due || turn.proposed {
            return false;
        }
        let block = match last {
            Some(block) => block,
            None => {
                let Some(block) = turn.ledger.build(turn.now, parent) else { return false };
                if turn.ledger.accept(&block) != Accepted::Yes {
                    return false;
                }
                block
            }
        };
        turn.proposed = true;
        let id = turn.ledger.id(&block);
        self.known.insert(id, block.clone());
        self.keep_block(block, turn.out);
        self.say(BallotKind::Propose, self.iteration, id, turn);
        true
    }

    pub(super) fn may_propose(&self) -> bool {
        let said = |kind| self.mine(self.iteration, kind).is_some();
        self.is_voting()
            && self.config.leader(self.iteration) == self.config.me
            && !said(BallotKind::Propose)
            && !said(BallotKind::Dummy)
    }

    /// When a leader proposes though nothing but the unfinal tip asks for it.
    fn propose_anyway_at(&self) -> Option<Timestamp> {
        self.timers.work_since.map(|since| since.plus(self.timeout_ms(0) / 2))
    }

    fn is_heartbeat_due<L: Ledger<Block = B>, S: ?Sized>(&self, turn: &Turn<'_, L, S, V, P>) -> bool {
        // A block that became final in this very call is news to the ledger only afterwards.
        !turn.finalised && turn.ledger.heartbeat_due() <= turn.now
    }

    /// Whether this iteration has a reason to go on: what runs its timer (SPEC 8.10).
    fn has_work<L: Ledger<Block = B>, S: ?Sized>(&self, turn: &Turn<'_, L, S, V, P>) -> bool {
        self.is_tip_unfinal()
            || self.is_heartbeat_due(turn)
            || self.mine(self.iteration, BallotKind::Vote).is_some()
            || self
                .round(self.iteration)
                .is_some_and(|round| round.count(BallotKind::Dummy) >= self.config.blocking())
            || turn.ledger.entry_waits(self.parent_to_propose().unwrap_or(self.head.block))
    }

    /// Starts or stops the timer.
    pub(super) fn watch<L: Ledger<Block = B>, S: ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) {
        if self.is_over() || (self.head.delivered && !self.has_work(turn)) {
            self.timers.work_since = None;
            self.timers.resend_at = None;
            self.timers.resends = 0;
        } else if self.timers.work_since.is_none() {
            self.timers.work_since = Some(turn.now);
        }
    }

    /// When this iteration times out, or is resent.
    fn times_out_at(&self) -> Option<Timestamp> {
        let since = self.timers.work_since?;
        Some(self.timers.resend_at.unwrap_or_else(|| since.plus(self.timeout_ms(0))))
    }

    /// Rule 8.7, and the resending of rule 8.11.
    pub(super) fn time_out<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        if self.times_out_at().is_none_or(|at| turn.now < at) {
            return false;
        }
        let said = |kind| self.mine(self.iteration, kind).is_some();
        let gives_up = self.is_voting()
            && !self.is_planted(Planted::NeverGiveUp)
            && !said(BallotKind::Dummy)
            && !said(BallotKind::Finalise)
            // Whoever only waits for a final block's body has no reason to end an iteration.
            && self.has_work(turn);
        self.timers.resends = self.timers.resends.saturating_add(1);
        self.timers.resend_at = Some(turn.now.plus(self.timeout_ms(self.timers.resends)));
        self.resend(turn.ledger, turn.out);
        if gives_up {
            self.say(BallotKind::Dummy, self.iteration, BlockId::NONE, turn);
        }
        gives_up
    }

    /// Signs a ballot: makes it durable, sends it and counts it.
    fn say<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        kind: BallotKind,
        iteration: u64,
        block: BlockId,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        use BallotKind::{Dummy, Finalise, Propose, Vote as Real};
        assert!(self.is_voting(), "a voter whose journal is lost was about to sign");
        let said = |kind| self.mine(iteration, kind);
        let agrees =
            |kinds: &[BallotKind]| kinds.iter().all(|&kind| said(kind).is_none_or(|said| said == block));
        let fits = match kind {
            Propose | Real => agrees(&[Propose, Real, Finalise]),
            Finalise => agrees(&[Propose, Real]) && said(Dummy).is_none(),
            Dummy => said(Finalise).is_none(),
        };
        let is_loosened = self.is_loosened();
        assert!(
            (fits && said(kind).is_none()) || is_loosened,
            "about to contradict ourselves: {kind:?} in {iteration}"
        );
        let ballot = self.ballot(iteration, kind, block);
        let vote = Vote { ballot, voter: self.config.me, proof: turn.signer.sign(&ballot) };
        if !self.is_planted(Planted::SendFirst) {
            self.persist(JournalRecord::Ballot(vote.clone()), turn.out);
        }
        let message = match kind {
            Propose => {
                let body = self.known[&block].clone();
                let grounds = self.grounds(self.base_of(turn.ledger, block, &body));
                let block = body;
                Message::Propose(Box::new(Proposal { vote: vote.clone(), block, grounds }))
            }
            Real | Dummy | Finalise => Message::Ballot(vote.clone()),
        };
        self.broadcast(message, turn.out);
        if self.is_planted(Planted::SendFirst) {
            self.persist(JournalRecord::Ballot(vote.clone()), turn.out);
        }
        let contradicted = self.rounds.entry(iteration).or_default().take(&vote);
        assert!(contradicted.is_none() || is_loosened, "contradicted ourselves: {kind:?} in {iteration}");
        if let Some(certificate) = self.completed_by(ballot) {
            self.learn(certificate, true, turn.out);
        }
    }

    /// When something will be due though nothing comes in.
    pub(super) fn deadline<L: Ledger<Block = B>, S: ?Sized>(
        &self,
        turn: &Turn<'_, L, S, V, P>,
    ) -> Option<Timestamp> {
        let heartbeat = turn.ledger.heartbeat_due();
        let more_to_propose = turn.proposed
            && self.may_propose()
            && self.parent_to_propose().is_ok_and(|parent| turn.ledger.entry_waits(parent));
        if more_to_propose || (turn.finalised && heartbeat <= turn.now) {
            return Some(turn.now);
        }
        let propose_at = self.propose_anyway_at().filter(|_| self.may_propose() && self.is_tip_unfinal());
        // What is past and had no effect waits for the next of the others: a deadline never spins.
        [Some(heartbeat), self.times_out_at(), propose_at, self.timers.vote_after]
            .into_iter()
            .flatten()
            .filter(|at| *at > turn.now)
            .min()
    }
}
