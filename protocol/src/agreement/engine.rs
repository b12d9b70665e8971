//! The rules of SPEC 8: entering, proposing, voting, giving up, finalising.
//!
//! Every input is checked first, so that a refused one changes nothing; then taken in; then the rules run until none applies. What
//! may be sent rests on what was pushed before it: `Persist` comes first.
//!
//! **Invariant:** [`Agreement::say`] is the only place that signs, and asserts there that the ballot contradicts none before it.

use std::collections::{BTreeMap, BTreeSet};

use super::ballot::{Ballot, BallotKind, Certificate, Message, Proposal, Vote};
use super::journal::{JournalKey, JournalRecord, Slot};
use super::planted::Planted;
use super::seam::{Accepted, Config, Input, Ledger, Output, Signer, Timely, Value, Voter};
use super::start::Begin;
use super::tally::Round;
use crate::fault::Fault;
use crate::limits;
use crate::state::BlockId;
use crate::time::Timestamp;

/// One endorser's part in agreement, for one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agreement<B, V: Ord, P> {
    pub(super) config: Config<V>,
    /// By iteration, from that of the newest final block on.
    pub(super) rounds: BTreeMap<u64, Round<V, P>>,
    /// The iteration that it is in.
    pub(super) iteration: u64,
    pub(super) head: Head,
    /// Blocks that the ledger accepted, from the newest final one on.
    pub(super) known: BTreeMap<BlockId, B>,
    /// Blocks that wait for their parents.
    pub(super) parked: BTreeMap<BlockId, Parked<B, V>>,
    /// What lies in the journal.
    pub(super) journalled: BTreeSet<JournalKey>,
    /// Journal records of earlier iterations may go when the next block is final: one block late, since the ledger may still be writing
    /// the newest one.
    pub(super) floor: u64,
    pub(super) conduct: Conduct,
    pub(super) timers: Timers,
    /// The newest ballot seen from each other voter, to show it when it asks (SPEC 8.14).
    pub(super) newest: BTreeMap<V, Vote<V, P>>,
    /// Who has not yet shown our own newest ballot.
    pub(super) unanswered: BTreeSet<V>,
    /// What was asked of whom in this iteration: certificates from which on, and blocks.
    pub(super) asked: BTreeSet<(V, u64)>,
    pub(super) asked_blocks: BTreeSet<(V, BlockId)>,
    /// How often each peer was answered in this iteration.
    pub(super) answered: BTreeMap<V, u32>,
    /// What the first input has still to do.
    pub(super) begin: Option<Begin<B>>,
    #[cfg(test)]
    pub(super) planted: Option<Planted>,
}

/// The newest final block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Head {
    /// In which iteration it was finalised; zero for the block that the epoch starts on.
    pub(super) iteration: u64,
    pub(super) block: BlockId,
    /// Whether the ledger has it, and the owner was told.
    pub(super) delivered: bool,
    /// Of the newest block that was delivered.
    pub(super) height: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parked<B, V> {
    pub(super) from: V,
    pub(super) parent: BlockId,
    pub(super) height: u64,
    pub(super) block: B,
}

/// Whether it may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Conduct {
    Votes,
    JournalLost,
    Forked,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers {
    /// Since when there has been work in this iteration.
    pub(super) work_since: Option<Timestamp>,
    /// When to resend, once the iteration has timed out.
    pub(super) resend_at: Option<Timestamp>,
    pub(super) resends: u32,
    /// When the proposal here may be voted for by our clock.
    pub(super) vote_after: Option<Timestamp>,
    /// The answer of `next_deadline`.
    pub(super) deadline: Option<Timestamp>,
}

/// What is lacking to stand on a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// A certificate of this iteration.
    Certificate(u64),
    /// A block.
    Block(BlockId),
    /// Nothing that could come: the parent is not on the final chain.
    Hope,
}

/// One call of `handle`.
pub(super) struct Turn<'a, L: Ledger, S: ?Sized, V, P> {
    pub(super) now: Timestamp,
    pub(super) ledger: &'a mut L,
    pub(super) signer: &'a S,
    pub(super) out: &'a mut Vec<Output<L::Block, V, P>>,
    /// Who caused it: whom to ask first for what is lacking.
    pub(super) source: Option<V>,
    /// Whether a peer showed that it is beyond our iteration.
    pub(super) outrun: bool,
    /// Whether blocks that wait for parents should all be tried.
    pub(super) ledger_grew: bool,
    proposed: bool,
    finalised: bool,
}

impl<B: Value, V: Voter, P: Value> Agreement<B, V, P> {
    /// When [`Input::Tick`] should come, if nothing else does before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.deadline
    }

    /// The iteration that it is in.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// Whether it may still sign: its journal is not lost, and the log has not forked.
    pub fn is_voting(&self) -> bool {
        self.conduct == Conduct::Votes
    }

    /// Takes one input, and pushes what is to be done, in order.
    ///
    /// # Errors
    /// The [`Fault`] of the peer that sent a message; nothing has changed then. [`Fault::Unknown`] blames nobody.
    pub fn handle<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        now: Timestamp,
        input: Input<B, V, P>,
        ledger: &mut L,
        signer: &S,
        out: &mut Vec<Output<B, V, P>>,
    ) -> Result<(), Fault> {
        let here = match &input {
            Input::Message { from, message } => self.check_message(*from, message, ledger)?,
            Input::Final { certificate, block } => {
                self.config.check_certificate(certificate)?;
                if certificate.ballot.kind != BallotKind::Finalise
                    || certificate.ballot.block != ledger.id(block)
                {
                    return Err(Fault::BadCertificate { why: "it does not make that block final" });
                }
                BTreeSet::new()
            }
            Input::Tick | Input::WorkChanged | Input::Connected(_) => BTreeSet::new(),
        };
        let mut turn = Turn {
            now,
            ledger,
            signer,
            out,
            source: None,
            outrun: false,
            ledger_grew: false,
            proposed: false,
            finalised: false,
        };
        if let Some(begin) = self.begin.take() {
            self.begin(begin, &mut turn);
        }
        match input {
            Input::Message { from, message } => {
                turn.source = Some(from);
                self.take_message(from, message, &here, &mut turn);
            }
            Input::Tick | Input::WorkChanged => {}
            Input::Final { certificate, block } => self.take_final(certificate, block, &mut turn),
            Input::Connected(peer) => self.greet(peer, turn.ledger, turn.out),
        }
        self.settle(&mut turn);
        Ok(())
    }

    fn take_final<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        certificate: Certificate<V, P>,
        block: B,
        turn: &mut Turn<'_, L, S, V, P>,
    ) {
        let id = certificate.ballot.block;
        self.learn(certificate, false, turn.out);
        turn.ledger_grew = true;
        if id == self.head.block && !self.head.delivered {
            let height = turn.ledger.height(&block);
            self.known.insert(id, block);
            self.delivered(height, turn);
        }
    }

    /// Runs the rules until none applies.
    fn settle<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) {
        loop {
            let moved = self.adopt(turn) | self.finalise(turn) | self.deliver(turn) | self.vote(turn);
            if moved {
                continue;
            }
            self.watch(turn);
            if !self.propose(turn) && !self.time_out(turn) {
                break;
            }
        }
        self.ask(turn);
        self.timers.deadline = self.deadline(turn);
    }

    // --- what is known ---

    /// Whether the ledger has the block.
    pub(super) fn is_here(&self, block: BlockId) -> bool {
        self.known.contains_key(&block) || (self.head.delivered && self.head.block == block)
    }

    pub(super) fn round(&self, iteration: u64) -> Option<&Round<V, P>> {
        self.rounds.get(&iteration)
    }

    /// What we said ourselves.
    pub(super) fn mine(&self, iteration: u64, kind: BallotKind) -> Option<BlockId> {
        self.round(iteration)?.said(kind, self.config.me)
    }

    /// The leader's proposal for the current iteration.
    pub(super) fn proposed(&self) -> Option<BlockId> {
        self.round(self.iteration)?.said(BallotKind::Propose, self.config.leader(self.iteration))
    }

    /// The parent that a proposal of ours would have (SPEC 8.4): the newest notarised block from which dummies lead here. If its body is
    /// not here and a dummy bridges its iteration, an older one.
    pub(super) fn parent_to_propose(&self) -> Result<BlockId, Lack> {
        for iteration in (self.head.iteration + 1..self.iteration).rev() {
            let round = self.round(iteration).ok_or(Lack::Certificate(iteration))?;
            match round.notarised() {
                Some(block) if self.is_here(block) => return Ok(block),
                Some(_) | None if round.is_dummy() => {}
                Some(block) => return Err(Lack::Block(block)),
                None => return Err(Lack::Certificate(iteration)),
            }
        }
        let head = self.head.block;
        if self.is_here(head) { Ok(head) } else { Err(Lack::Block(head)) }
    }

    /// Whether a proposal in the current iteration may stand on `parent` (SPEC 8.4).
    pub(super) fn stands_on(&self, parent: BlockId) -> Result<(), Lack> {
        // A notarisation that we lack may hide behind a dummy certificate that we have.
        let mut hidden = Lack::Hope;
        if self.is_planted(Planted::AnyNotarisedParent)
            && self.rounds.values().any(|round| round.notarised() == Some(parent))
        {
            return Ok(());
        }
        for iteration in (self.head.iteration + 1..self.iteration).rev() {
            let round = self.round(iteration).ok_or(Lack::Certificate(iteration))?;
            match round.notarised() {
                Some(block) if block == parent => return Ok(()),
                Some(_) if round.is_dummy() => {}
                Some(_) => return Err(Lack::Hope),
                None if round.is_dummy() => hidden = Lack::Certificate(iteration),
                None => return Err(Lack::Certificate(iteration)),
            }
        }
        if self.head.block == parent { Ok(()) } else { Err(hidden) }
    }

    /// Whether a notarised block is not final.
    fn is_tip_unfinal(&self) -> bool {
        self.rounds.range(self.head.iteration + 1..).any(|(_, round)| round.notarised().is_some())
    }

    /// The time-out of this iteration: doubled for each iteration since the newest final block's, its successor not counted (SPEC 8.10).
    fn timeout_ms(&self, more: u32) -> u64 {
        let since_final = self.iteration.saturating_sub(self.head.iteration).saturating_sub(2);
        let doublings = since_final.saturating_add(u64::from(more)).min(63);
        let cap = self.config.timeout_cap_ms.max(1);
        self.config.first_timeout_ms.max(1).saturating_mul(1 << doublings).min(cap)
    }

    // --- what is learnt ---

    pub(super) fn persist(&mut self, record: JournalRecord<B, V, P>, out: &mut Vec<Output<B, V, P>>) {
        self.journalled.insert(record.key());
        out.push(Output::Persist(record));
    }

    pub(super) fn broadcast(&self, message: Message<B, V, P>, out: &mut Vec<Output<B, V, P>>) {
        if self.config.voters.len() > 1 {
            out.push(Output::Broadcast(message));
        }
    }

    /// Takes somebody's ballot, and what it completes.
    pub(super) fn record(&mut self, vote: Vote<V, P>, out: &mut Vec<Output<B, V, P>>) {
        let ballot = vote.ballot;
        if ballot.iteration > self.iteration.saturating_add(limits::ITERATIONS_AHEAD_MAX) {
            return;
        }
        self.note(&vote, out);
        if ballot.iteration <= self.head.iteration {
            return;
        }
        let quorum = self.quorum_for(ballot.kind);
        let completed = self.round(ballot.iteration).and_then(|round| round.completed_by(ballot, quorum));
        if let Some(certificate) = completed {
            self.learn(certificate, true, out);
        }
    }

    fn quorum_for(&self, kind: BallotKind) -> usize {
        let short = match kind {
            BallotKind::Finalise => self.is_planted(Planted::FinalityOneShort),
            BallotKind::Vote => self.is_planted(Planted::NotarisationOneShort),
            BallotKind::Propose | BallotKind::Dummy => false,
        };
        self.config.quorum - usize::from(short)
    }

    fn note(&mut self, vote: &Vote<V, P>, out: &mut Vec<Output<B, V, P>>) {
        let Ballot { iteration, kind, block, .. } = vote.ballot;
        if iteration < self.head.iteration {
            return;
        }
        if vote.voter == self.config.me {
            self.compare_with_journal(vote, out);
            return;
        }
        let place = |vote: &Vote<V, P>| (vote.ballot.iteration, vote.ballot.kind);
        if self.newest.get(&vote.voter).is_none_or(|newest| place(newest) < (iteration, kind)) {
            self.newest.insert(vote.voter, vote.clone());
        }
        if let Some(first) = self.rounds.entry(iteration).or_default().take(vote) {
            out.push(Output::Contradiction { first, second: vote.clone() });
        }
        debug_assert!(kind == BallotKind::Dummy || block != BlockId::NONE, "a ballot was not checked");
    }

    /// A ballot of ours that somebody shows must be in the journal (SPEC 8.14).
    pub(super) fn compare_with_journal(&mut self, vote: &Vote<V, P>, out: &mut Vec<Output<B, V, P>>) {
        let Ballot { iteration, kind, block, .. } = vote.ballot;
        // What was settled long ago is no longer in the journal.
        if iteration >= self.head.iteration && self.mine(iteration, kind) != Some(block) {
            self.lose(
                format!("a peer holds our {kind:?} of iteration {iteration}, and the journal does not"),
                out,
            );
        }
    }

    pub(super) fn lose(&mut self, why: String, out: &mut Vec<Output<B, V, P>>) {
        if self.conduct != Conduct::JournalLost {
            self.conduct = Conduct::JournalLost;
            self.persist(JournalRecord::Lost { why: why.clone() }, out);
            out.push(Output::Lost { why });
        }
    }

    /// Takes a certificate that was formed here or checked. `forward`: to all others, if it is not of old (SPEC 8.11).
    pub(super) fn learn(
        &mut self,
        certificate: Certificate<V, P>,
        forward: bool,
        out: &mut Vec<Output<B, V, P>>,
    ) {
        let ballot = certificate.ballot;
        let Ballot { iteration, kind, block, .. } = ballot;
        if iteration <= self.head.iteration {
            self.compare_with_head(certificate, out);
            return;
        }
        if self.round(iteration).is_some_and(|round| round.certificate(kind).is_some()) {
            return;
        }
        for (voter, proof) in &certificate.votes {
            self.note(&Vote { ballot, voter: *voter, proof: proof.clone() }, out);
        }
        self.persist(JournalRecord::Certificate(certificate.clone()), out);
        if forward && iteration + 1 >= self.iteration {
            self.broadcast(Message::Certificate(certificate.clone()), out);
        }
        self.rounds.entry(iteration).or_default().put_certificate(certificate);
        if iteration >= self.iteration {
            self.enter(iteration + 1);
        }
        if kind == BallotKind::Finalise {
            self.head = Head { iteration, block, delivered: false, height: self.head.height };
            self.rounds = self.rounds.split_off(&iteration);
        }
    }

    /// Two blocks that are final in one iteration: more than `f` lie (SPEC 8.12). Blocks of one height in different iterations are
    /// for whoever keeps the log to compare.
    fn compare_with_head(&mut self, theirs: Certificate<V, P>, out: &mut Vec<Output<B, V, P>>) {
        let Ballot { iteration, kind, block, .. } = theirs.ballot;
        let is_rival =
            kind == BallotKind::Finalise && iteration == self.head.iteration && block != self.head.block;
        if !is_rival || self.conduct == Conduct::Forked {
            return;
        }
        if let Some(ours) = self.round(iteration).and_then(|round| round.certificate(kind)).cloned() {
            self.conduct = Conduct::Forked;
            out.push(Output::Forked { ours, theirs });
        }
    }

    fn enter(&mut self, iteration: u64) {
        self.iteration = iteration;
        self.timers = Timers::default();
        self.asked.clear();
        self.asked_blocks.clear();
        self.answered.clear();
    }

    pub(super) fn ballot(&self, iteration: u64, kind: BallotKind, block: BlockId) -> Ballot {
        Ballot { domain: self.config.domain, epoch: self.config.epoch, iteration, kind, block }
    }

    // --- the rules ---

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
    fn finalise<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
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
        let height = turn.ledger.height(block);
        turn.out.push(Output::Final { certificate: certificate.clone(), block: block.clone() });
        self.delivered(height, turn);
        true
    }

    /// Forgets what is settled by the newest final block.
    fn delivered<L: Ledger<Block = B>, S: ?Sized>(&mut self, height: u64, turn: &mut Turn<'_, L, S, V, P>) {
        turn.finalised = true;
        self.head.delivered = true;
        self.head.height = height;
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

    /// Rule 8.6.
    fn vote<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) -> bool {
        self.timers.vote_after = None;
        let Some(id) = self.votable() else { return false };
        let Some(block) = self.known.get(&id) else { return false };
        if self.stands_on(turn.ledger.parent(block)).is_err() {
            return false;
        }
        match turn.ledger.timely(turn.now, block) {
            Timely::Never => return false,
            Timely::NotBefore(then) => {
                self.timers.vote_after = Some(then);
                return false;
            }
            Timely::Yes => {}
        }
        self.keep_block(block.clone(), turn.out);
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

    fn keep_block(&mut self, block: B, out: &mut Vec<Output<B, V, P>>) {
        let record = JournalRecord::Block { iteration: self.iteration, block };
        if !self.journalled.contains(&record.key()) {
            self.persist(record, out);
        }
    }

    /// Rules 8.4 and 8.5.
    fn propose<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        if !self.may_propose() {
            return false;
        }
        let Ok(parent) = self.parent_to_propose() else { return false };
        let unfinal = self.is_tip_unfinal();
        let due = turn.ledger.entry_waits(parent)
            || (!unfinal && self.is_heartbeat_due(turn))
            || (unfinal && self.propose_anyway_at().is_some_and(|at| at <= turn.now));
        // One block a call: whatever a ledger says, a call ends.
        if !due || turn.proposed {
            return false;
        }
        let Some(block) = turn.ledger.build(turn.now, parent) else { return false };
        if turn.ledger.accept(&block) != Accepted::Yes {
            return false;
        }
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
    fn watch<L: Ledger<Block = B>, S: ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) {
        if self.head.delivered && !self.has_work(turn) {
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
    fn time_out<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(
        &mut self,
        turn: &mut Turn<'_, L, S, V, P>,
    ) -> bool {
        if self.times_out_at().is_none_or(|at| turn.now < at) {
            return false;
        }
        let said = |kind| self.mine(self.iteration, kind).is_some();
        let gives_up = self.is_voting()
            && !said(BallotKind::Dummy)
            && !said(BallotKind::Finalise)
            // Whoever only waits for a final block's body has no reason to end an iteration.
            && self.has_work(turn);
        if gives_up {
            let before = self.iteration;
            self.say(BallotKind::Dummy, before, BlockId::NONE, turn);
            if self.iteration != before {
                return true;
            }
        }
        self.timers.resends = self.timers.resends.saturating_add(1);
        self.timers.resend_at = Some(turn.now.plus(self.timeout_ms(self.timers.resends)));
        self.resend(turn.ledger, turn.out);
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
        self.persist(JournalRecord::Ballot(vote.clone()), turn.out);
        let message = match kind {
            Propose => {
                let block = self.known[&block].clone();
                let grounds = self.grounds(turn.ledger.parent(&block));
                Message::Propose(Box::new(Proposal { vote: vote.clone(), block, grounds }))
            }
            Real | Dummy | Finalise => Message::Ballot(vote.clone()),
        };
        self.broadcast(message, turn.out);
        let contradicted = self.rounds.entry(iteration).or_default().take(&vote);
        assert!(contradicted.is_none() || is_loosened, "contradicted ourselves: {kind:?} in {iteration}");
        let quorum = self.quorum_for(kind);
        if let Some(certificate) = self.round(iteration).and_then(|round| round.completed_by(ballot, quorum))
        {
            self.learn(certificate, true, turn.out);
        }
    }

    /// When something will be due though nothing comes in.
    fn deadline<L: Ledger<Block = B>, S: ?Sized>(&self, turn: &Turn<'_, L, S, V, P>) -> Option<Timestamp> {
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
