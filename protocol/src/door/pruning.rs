//! What of the log is kept on the disk: two states to begin from, the blocks since the older of them, and no more (SPEC 9.20).
//!
//! Why two: whoever loses the newer, by a crash in the middle of it or by a bad disk, comes to the same head from the older.
//!
//! **Invariant:** blocks go only after a state above them was written, in one order of writes. So whatever beginning of it a crash leaves,
//! there is a whole state, and every block that follows it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::core::Core;
use super::effects::Effects;
use super::finality::HEAD_KEY;
use super::paths::PATHS_KEY;
use super::record::{Record, Table};
use crate::following::tip_of;
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::SnapshotChunk;

/// A state on the disk.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The height of the block that it is after.
    pub(super) height: u64,
    /// Where its parts lie.
    pub(super) places: Vec<Vec<u8>>,
    /// How many bytes they have.
    pub(super) bytes: usize,
}

/// The log as it lies on the disk.
#[derive(Debug, Default)]
pub(super) struct LogOnDisk {
    /// The older first.
    bases: VecDeque<Base>,
    /// Blocks with entries by height, and how many bytes each has.
    blocks: VecDeque<(u64, usize)>,
    /// How many bytes those above the newest base have.
    since: usize,
    /// Paths to what a state of that height does not hold by itself: the height, and a number.
    paths: VecDeque<(u64, u32)>,
}

impl LogOnDisk {
    /// As it was found.
    pub(super) fn found(bases: Vec<Base>, blocks: Vec<(u64, usize)>, paths: Vec<(u64, u32)>) -> LogOnDisk {
        let mut found =
            LogOnDisk { bases: bases.into(), blocks: blocks.into(), since: 0, paths: paths.into() };
        found.count();
        found
    }

    fn count(&mut self) {
        let base = self.bases.back().map_or(0, |base| base.height);
        let above = self.blocks.iter().rev().take_while(|(height, _)| *height > base);
        self.since = above.map(|(_, bytes)| *bytes).sum();
    }

    /// A block was written; maybe in the place of one that lay there, and that nothing led on to any more.
    pub(super) fn wrote(&mut self, height: u64, bytes: usize) {
        let above = self.bases.back().is_none_or(|base| height > base.height);
        let before = match self.blocks.binary_search_by_key(&height, |(at, _)| *at) {
            Ok(at) => std::mem::replace(&mut self.blocks[at].1, bytes),
            Err(at) => {
                self.blocks.insert(at, (height, bytes));
                0
            }
        };
        if above {
            self.since = self.since.saturating_sub(before) + bytes;
        }
    }

    /// Paths under the state of that height are written: by which number.
    pub(super) fn next_paths(&mut self, height: u64) -> u32 {
        let number = self.paths.back().filter(|(at, _)| *at == height).map_or(0, |(_, number)| number + 1);
        self.paths.push_back((height, number));
        number
    }

    /// Whether the state after the block at `height` is to be written: a state costs what it weighs, so not before as much of the log was.
    fn is_due(&self, height: u64) -> bool {
        let newest = self.bases.back();
        let weight = newest.map_or(0, |base| base.bytes).max(limits::BASE_AFTER_BYTES_MIN);
        self.since >= weight && height > newest.map_or(0, |base| base.height)
    }
}

impl Core {
    /// Writes down the state that snapshots are served from, if it is time to, and removes what nobody begins from any more.
    pub(super) fn prune(&mut self, effects: &mut Effects) {
        let Some(checkpoint) = self.chain.as_ref().map(|chain| chain.checkpoint()) else { return };
        if !self.on_disk.is_due(checkpoint.header.height) {
            return;
        }
        self.write_base_of_the_checkpoint(effects);
        while self.on_disk.bases.len() > limits::BASES_KEPT && !loosened(Bug::NothingPruned) {
            let Some(oldest) = self.on_disk.bases.pop_front() else { break };
            remove(Table::Base, oldest.places, effects);
        }
        if self.on_disk.bases.len() == limits::BASES_KEPT {
            let from = self.on_disk.bases.front().map_or(0, |base| base.height);
            self.remove_blocks(from, effects);
        }
    }

    /// Puts a state that came from others in the place of all that was there.
    pub(super) fn begin_on_disk(
        &mut self,
        height: u64,
        chunks: &[Arc<SnapshotChunk>],
        effects: &mut Effects,
    ) {
        let old = self.begin_beside(height, chunks, effects);
        self.remove_old(old, u64::MAX, effects);
        remove(Table::Final, vec![HEAD_KEY.to_vec()], effects);
    }

    /// Writes down a state that came from others, beside all that is there; the states that were, for [`Self::remove_old`].
    pub(super) fn begin_beside(
        &mut self,
        height: u64,
        chunks: &[Arc<SnapshotChunk>],
        effects: &mut Effects,
    ) -> Vec<Vec<u8>> {
        let before = std::mem::take(&mut self.on_disk.bases);
        self.write_base(height, chunks, effects);
        let mut places: Vec<Vec<u8>> = before.into_iter().flat_map(|base| base.places).collect();
        places.retain(|place| self.on_disk.bases.iter().all(|base| !base.places.contains(place)));
        places
    }

    /// Removes these states, and the blocks up to that height.
    pub(super) fn remove_old(&mut self, states: Vec<Vec<u8>>, height: u64, effects: &mut Effects) {
        remove(Table::Base, states, effects);
        self.remove_blocks(height, effects);
        self.on_disk.count();
    }

    /// Writes down the state that snapshots are served from.
    pub(super) fn write_base_of_the_checkpoint(&mut self, effects: &mut Effects) {
        let Some(checkpoint) = self.chain.as_ref().map(|chain| chain.checkpoint()) else { return };
        let Some(proof) = checkpoint.proof.as_deref() else { return };
        let height = checkpoint.header.height;
        let tip = Box::new(tip_of(&checkpoint.header, proof));
        let chunks = self.workshop.snapshot(&checkpoint.state, Some(tip));
        self.write_base(height, &chunks, effects);
    }

    /// The log goes on in another way from the block at `height` on, of which the state is the checkpoint: that first, and then all from there
    /// on that was there before goes. So whoever is killed in between begins from what was recovered, or has lost nothing.
    pub(super) fn recover_on_disk(&mut self, height: u64, effects: &mut Effects) {
        let kept = self.on_disk.bases.partition_point(|base| base.height < height);
        let dropped: Vec<Base> = self.on_disk.bases.drain(kept..).collect();
        self.write_base_of_the_checkpoint(effects);
        let mut places: Vec<Vec<u8>> = dropped.into_iter().flat_map(|base| base.places).collect();
        places.retain(|place| self.on_disk.bases.iter().all(|base| !base.places.contains(place)));
        remove(Table::Base, places, effects);
        let kept = self.on_disk.blocks.partition_point(|(at, _)| *at < height);
        let places = self.on_disk.blocks.drain(kept..).map(|(at, _)| at.to_be_bytes().to_vec());
        remove(Table::Final, places.collect(), effects);
        self.remove_paths(|at| at > height, effects);
        remove(Table::Final, vec![HEAD_KEY.to_vec()], effects);
        self.on_disk.count();
    }

    fn write_base(&mut self, height: u64, chunks: &[Arc<SnapshotChunk>], effects: &mut Effects) {
        let mut base = Base { height, places: Vec::new(), bytes: 0 };
        for chunk in chunks {
            let place = [&height.to_be_bytes()[..], &chunk.index.to_be_bytes()].concat();
            let value = self.workshop.chunk_record(chunk);
            base.bytes += value.len();
            base.places.push(place.clone());
            effects.persist(Record { table: Table::Base, key: place, value: Some(value) });
        }
        self.on_disk.bases.push_back(base);
        self.on_disk.count();
    }

    /// Removes the blocks up to that height.
    fn remove_blocks(&mut self, height: u64, effects: &mut Effects) {
        let old = self.on_disk.blocks.partition_point(|(at, _)| *at <= height);
        let places = self.on_disk.blocks.drain(..old).map(|(at, _)| at.to_be_bytes().to_vec());
        remove(Table::Final, places.collect(), effects);
        // Those under the state of just that height may be younger than it is on the disk.
        self.remove_paths(|at| at < height, effects);
    }

    fn remove_paths(&mut self, old: impl Fn(u64) -> bool, effects: &mut Effects) {
        let (gone, kept) = std::mem::take(&mut self.on_disk.paths).into_iter().partition(|(at, _)| old(*at));
        self.on_disk.paths = kept;
        let gone: VecDeque<(u64, u32)> = gone;
        let place = |(at, number): (u64, u32)| paths_place(at, number);
        remove(Table::Final, gone.into_iter().map(place).collect(), effects);
    }
}

/// Where paths under the state of that height lie in [`Table::Final`].
pub(super) fn paths_place(height: u64, number: u32) -> Vec<u8> {
    [PATHS_KEY, &height.to_be_bytes(), &number.to_be_bytes()].concat()
}

fn remove(table: Table, places: Vec<Vec<u8>>, effects: &mut Effects) {
    for key in places {
        effects.persist(Record { table, key, value: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_9_20_a_block_that_is_written_again_below_others_is_counted_once_and_removed_in_its_turn() {
        let base = Base { height: 10, places: Vec::new(), bytes: 0 };
        // Nothing led on from 12 when it was opened: that came again, and 11 before it.
        let mut log = LogOnDisk::found(vec![base], vec![(9, 1), (12, 100), (13, 1000)], Vec::new());
        for (height, bytes) in [(11, 10), (12, 200)] {
            log.wrote(height, bytes);
        }
        assert_eq!(log.blocks, [(9, 1), (11, 10), (12, 200), (13, 1000)]);
        assert_eq!(log.since, 1210);
        log.wrote(9, 2);
        assert_eq!(
            (log.blocks[0], log.since),
            ((9, 2), 1210),
            "what lies below the newest state is no reason for another"
        );
    }
}
