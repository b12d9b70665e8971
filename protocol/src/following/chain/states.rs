//! States that a chain keeps beside its newest: what snapshots are served from, and what a recovery, or whoever holds a part, goes back to.

use std::sync::Arc;

use super::super::Workshop;
use super::{Chain, Checkpoint, Proof, step};
use crate::limits;
use crate::state::{BlockId, Parent, State};

impl Chain {
    /// More is held of the state after the newest block with entries: this.
    ///
    /// # Panics
    /// If it is another state.
    pub fn hold_more(&mut self, state: State) {
        assert_eq!(state, self.state, "what was grafted is not the state that it was grafted on");
        if self.checkpoint.state == state {
            self.checkpoint.state = state.clone();
        }
        self.state = state;
    }

    /// The state after the final block with entries at this height, worked out anew if it was not kept; none if it cannot be had any more.
    pub fn state_at(&self, height: u64, block: &BlockId, workshop: &dyn Workshop) -> Option<State> {
        if *block == self.state.last_id() {
            return Some(self.state.clone());
        }
        let kept = self.older.iter().chain([&self.checkpoint.state]);
        let mut state = kept.rev().find(|state| state.last().height <= height)?.clone();
        let from = state.last().height;
        if from < self.tail_from && from < height {
            return None;
        }
        for (_, held) in self.tail.range(from.saturating_add(1)..=height) {
            state = step(&state, Parent::Skipped, &held.block, workshop).ok()?;
        }
        (state.last_id() == *block).then_some(state)
    }

    /// The state that snapshots were served from until now is kept for a while.
    pub(super) fn keep_older(&mut self) {
        let state = self.checkpoint.state.clone();
        if self.older.back().is_none_or(|last| last.last().height < state.last().height) {
            self.older.push_back(state);
        }
        while self.older.len() > limits::STATES_KEPT
            || self.older.front().is_some_and(|state| state.last().height < self.tail_from)
        {
            self.older.pop_front();
        }
    }

    /// Moves the checkpoint on, if it is time to. Asked after blocks became final, when all proofs are in.
    pub fn renew_checkpoint(&mut self) {
        let last = self.state.last().height;
        let epoch = self.state.charter().epoch;
        // Whoever begins in a later epoch than a certificate's cannot check it: a new epoch's first certificates prove a new checkpoint.
        let proven = |proof: Option<&Proof>| proof.map_or(1, |proof| proof.certificate.ballot.epoch);
        let behind = self.checkpoint.state.charter().epoch < epoch
            || proven(self.checkpoint.proof.as_deref()) < proven(self.proof.as_deref());
        let entries = self.checkpoint.state.member_count() / limits::CHECKPOINT_MEMBERS_PER_ENTRY;
        if self.since_checkpoint < limits::CHECKPOINT_BLOCKS
            && self.entries_since_checkpoint < entries.max(limits::CHECKPOINT_ENTRIES)
            && !behind
        {
            return;
        }
        let Some(header) = self.tail.get(last).map(|held| held.block.header.clone()) else { return };
        let proof = match &self.proof {
            Some(proof) if self.head().is_heartbeat() => {
                let certificate = proof.certificate.clone();
                Some(Proof { headers: vec![self.head().clone()], certificate })
            }
            Some(_) | None => self.proof_of_tail(last),
        };
        let Some(proof) = proof else { return };
        (self.since_checkpoint, self.entries_since_checkpoint) = (0, 0);
        self.keep_older();
        *self.checkpoint = Checkpoint { header, proof: Some(Arc::new(proof)), state: self.state.clone() };
    }
}
