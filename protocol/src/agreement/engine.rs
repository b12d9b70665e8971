//! One door: every input is checked first, so that a refused one changes nothing; then taken in; then the rules run until none
//! applies. What may be sent rests on what was pushed before it: `Persist` comes first.

use std::collections::{BTreeMap, BTreeSet};

use super::ballot::{Ballot, BallotKind, Certificate, Message, Vote};
use super::journal::{JournalKey, JournalRecord};
use super::planted::Planted;
use super::seam::{Config, Input, Ledger, Output, Signer, Value, Voter};
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
    /// Whether that one ended the epoch.
    pub(super) ends_epoch: bool,
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
    /// Whether a block was proposed, and whether one became final, in this call.
    pub(super) proposed: bool,
    pub(super) finalised: bool,
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

    /// Who leads `iteration` (SPEC 8.3).
    pub fn leader(&self, iteration: u64) -> V {
        self.config.leader(iteration)
    }

    /// Whether it may still sign: its journal is not lost, the log has not forked, and the epoch is not over.
    pub fn is_voting(&self) -> bool {
        self.conduct == Conduct::Votes && !self.is_over()
    }

    /// How many seats after that of the leader of `iteration` this voter sits.
    pub fn rank(&self, iteration: u64) -> u64 {
        let place = |voter| self.config.voters.iter().position(|other| *other == voter).unwrap_or(0);
        let (leader, mine, seats) =
            (place(self.leader(iteration)), place(self.config.me), self.config.voters.len());
        ((mine + seats - leader) % seats) as u64
    }

    /// In which epoch it votes.
    pub fn epoch(&self) -> u64 {
        self.config.epoch
    }

    /// As whom.
    pub fn voter(&self) -> V {
        self.config.me
    }

    /// Whether the epoch is over: its last block is final, and here (SPEC 8.19).
    pub fn is_over(&self) -> bool {
        self.head.delivered && self.head.ends_epoch && !self.is_planted(Planted::OutstayEpoch)
    }

    /// What it has in the journal, and needs no more once its epoch is over.
    pub fn journal_keys(&self) -> impl Iterator<Item = JournalKey> {
        self.journalled.iter().copied()
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
                self.check_certificate(certificate)?;
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
            let (height, last) = (turn.ledger.height(&block), turn.ledger.ends_epoch(&block));
            self.known.insert(id, block);
            self.delivered(height, last, turn);
        }
    }

    /// Runs the rules until none applies.
    fn settle<L: Ledger<Block = B>, S: Signer<P> + ?Sized>(&mut self, turn: &mut Turn<'_, L, S, V, P>) {
        loop {
            // In this order: what is final may end the epoch, and then nothing more is signed (SPEC 8.19).
            let moved = self.adopt(turn) || self.deliver(turn) || self.finalise(turn) || self.vote(turn);
            if moved {
                continue;
            }
            self.watch(turn);
            if !self.propose(turn) && !self.time_out(turn) {
                break;
            }
        }
        if self.is_over() {
            self.timers = Timers::default();
        } else {
            self.ask(turn);
            self.timers.deadline = self.deadline(turn);
        }
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
            if self.is_planted(Planted::ProposeAnyway) {
                break;
            }
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

    /// What a proposal of this block stands on in the current iteration: its parent; or itself, if it ends the epoch and was notarised before
    /// (SPEC 8.18).
    pub(super) fn base_of<L: Ledger<Block = B>>(&self, ledger: &L, id: BlockId, block: &B) -> BlockId {
        let again =
            ledger.ends_epoch(block) && (self.stands_on(id).is_ok() || self.last_anyway(ledger) == Some(id));
        if again { id } else { ledger.parent(block) }
    }

    /// Whether a notarised block is not final.
    pub(super) fn is_tip_unfinal(&self) -> bool {
        self.rounds.range(self.head.iteration + 1..).any(|(_, round)| round.notarised().is_some())
    }

    /// The time-out of this iteration: doubled for each iteration since the newest final block's, its successor not counted (SPEC 8.10).
    pub(super) fn timeout_ms(&self, more: u32) -> u64 {
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
        if let Some(certificate) = self.completed_by(ballot) {
            self.learn(certificate, true, out);
        }
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
        if let Some(first) = self.rounds.entry(iteration).or_default().take(vote)
            && !self.is_planted(Planted::KeepLies)
        {
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
        // Also where the certificate is no news: others may have signed it, who said something else before.
        for (voter, proof) in &certificate.votes {
            self.note(&Vote { ballot, voter: *voter, proof: proof.clone() }, out);
        }
        if iteration <= self.head.iteration {
            self.compare_with_head(certificate, out);
            return;
        }
        if self.round(iteration).is_some_and(|round| round.certificate(kind).is_some()) {
            return;
        }
        if !self.is_planted(Planted::ForgetCertificates) {
            self.persist(JournalRecord::Certificate(certificate.clone()), out);
        }
        if forward && iteration + 1 >= self.iteration {
            self.broadcast(Message::Certificate(certificate.clone()), out);
        }
        self.rounds.entry(iteration).or_default().put_certificate(certificate);
        if iteration >= self.iteration {
            self.enter(iteration + 1);
        }
        if kind == BallotKind::Finalise {
            self.head = Head { iteration, block, delivered: false, ..self.head };
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
}
