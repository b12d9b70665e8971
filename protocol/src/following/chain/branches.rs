//! What does not lie on this chain: certified blocks of other epochs, and branches that a recovery drops (SPEC 9.11, 9.13, 9.16, 9.18).

use std::sync::Arc;

use super::super::Workshop;
use super::super::proven::{check_certificate, check_links, check_one_epoch};
use super::{Before, Chain, Checkpoint, Held, NotTaken, step};
use crate::limits;
use crate::state::{Basis, Block, BlockId, FinalChain, Header, Parent};

impl Chain {
    /// What a chain of another epoch than the one in force is worth (SPEC 9.11, 9.13, 9.18).
    pub(super) fn check_epoch(
        &self,
        chain: &FinalChain,
        ids: &[BlockId],
        tip: &Header,
    ) -> Result<(), NotTaken> {
        let (theirs, ours) = (chain.certificate.ballot.epoch, self.state.charter().epoch);
        if theirs == ours {
            return Ok(());
        }
        if theirs > ours {
            return Err(NotTaken::LaterEpoch);
        }
        let Some(before) = self.before.as_ref().filter(|before| before.charter.epoch == theirs) else {
            return Err(NotTaken::Void);
        };
        let tip_id = *ids.last().expect("a chain with a tip has its id");
        check_certificate(self.state.domain(), &before.charter, &chain.certificate, tip, tip_id)
            .map_err(NotTaken::Wrong)?;
        check_links(chain, ids).map_err(NotTaken::Wrong)?;
        check_one_epoch(chain).map_err(NotTaken::Wrong)?;
        let forks = self.check_fork(chain, ids).err().or_else(|| {
            // Nothing in its epoch extends an epoch's last block: whatever is certified there and higher lies on another branch.
            let (height, theirs) = (before.end, tip_id);
            let ours = self.recent.get(height).map_or(BlockId::NONE, |(id, _)| *id);
            (tip.height > before.end).then_some(NotTaken::Forked { height, ours, theirs })
        });
        Err(match forks {
            Some(_) if before.recovered => NotTaken::Dropped { theirs: tip_id },
            Some(forked) => forked,
            None => NotTaken::Known,
        })
    }

    /// This chain without what came after `base`, a final block of it; `before` is the epoch before the one that `base` lies in. None if the
    /// block is not known here, or the state after it cannot be had any more.
    pub fn rolled_back_to(
        &self,
        base: &Basis,
        before: Option<Before>,
        workshop: &dyn Workshop,
    ) -> Option<Chain> {
        if !self.knows(base) {
            return None;
        }
        let mut chain = self.clone();
        chain.branches.clear();
        if base.block == self.head_id {
            return Some(chain);
        }
        if base.height < self.state.last().height {
            let mut states = self.older.iter().chain([&self.checkpoint.state]);
            let mut state = states.rfind(|state| state.last().height <= base.height)?.clone();
            let from = state.last().height;
            if from < self.tail_from {
                return None;
            }
            for (_, held) in self.tail.range(from.saturating_add(1)..=base.height) {
                state = step(&state, Parent::Skipped, &held.block, workshop).ok()?;
            }
            if state.charter().epoch != self.state.charter().epoch {
                chain.before = before;
            }
            chain.state = state;
        }
        // The certificate may be of a block that is dropped: it proves what was below it all the same.
        let last = chain.state.last().height;
        let proof = self.proof_of_tail(last).map(Arc::new);
        chain.older.retain(|state| state.last().height <= base.height);
        chain.recent.truncate(base.height);
        chain.tail.truncate(base.height);
        chain.tail_bytes = chain.tail.range(..).map(|(_, held)| held.bytes).sum();
        chain.since_checkpoint = limits::CHECKPOINT_BLOCKS;
        // The base may be a heartbeat, of which no more than its id is known: what goes on from it is linked by that.
        let header = chain.state.last().clone();
        chain.head_id = chain.state.last_id();
        if let (Some(held), Some(proof)) = (chain.tail.get(last).cloned(), &proof) {
            chain.tail.truncate(last.saturating_sub(1));
            chain.tail.push(last, Held { proof: Some(Arc::clone(proof)), ..held });
        }
        chain.proof = proof;
        if chain.checkpoint.header.height > base.height {
            let (proof, state) = (chain.proof.clone(), chain.state.clone());
            *chain.checkpoint = Checkpoint { header: header.clone(), proof, state };
        }
        chain.head = Arc::new(Block { header, entries: Vec::new() });
        Some(chain)
    }
}
