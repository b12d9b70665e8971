//! A ledger without time and without entries: whatever stands on a block that is here is valid, unless that was the last of its epoch; and
//! until then work never ends.

use std::collections::BTreeMap;

use super::Setup;
use crate::agreement::planted::Planted;
use crate::agreement::tests::bench::{LAST, Tiny, V};
use crate::agreement::*;
use crate::fault::Fault;
use crate::state::BlockId;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shelf {
    owner: V,
    /// All that were accepted.
    pub(super) blocks: BTreeMap<BlockId, Tiny>,
    genesis: BlockId,
    genesis_height: u64,
    /// The newest final block, and the newest that the owner has made durable.
    pub(super) head: BlockId,
    pub(super) durable: BlockId,
    /// How many blocks it built: no two are the same, as if a clock had stamped them.
    built: u64,
    /// At which height blocks end the epoch.
    last_height: Option<u64>,
    /// Whether it has them extended all the same, for a planted bug.
    extends_last: bool,
}

impl Shelf {
    pub(super) fn new(setup: &Setup, config: &Config<V>) -> Shelf {
        Shelf {
            owner: config.me,
            blocks: BTreeMap::new(),
            genesis: config.genesis,
            genesis_height: config.genesis_height,
            head: config.genesis,
            durable: config.genesis,
            built: 0,
            last_height: setup.last_height,
            extends_last: setup.planted == Some(Planted::ExtendLast),
        }
    }

    /// A block on `parent`, told apart from its like by `mark`.
    pub(super) fn block_on(&self, parent: BlockId, mark: u64) -> Option<Tiny> {
        let below =
            if parent == self.genesis { self.genesis_height } else { self.blocks.get(&parent)?.height };
        Some(tiny(self.last_height, parent, below + 1, mark))
    }

    /// Whether this block is here and nothing may extend it.
    fn is_last(&self, id: BlockId) -> bool {
        !self.extends_last && self.blocks.get(&id).is_some_and(|block| self.ends_epoch(block))
    }

    /// Whether the last block is final here.
    pub(super) fn is_over(&self) -> bool {
        self.blocks.get(&self.head).is_some_and(|block| self.ends_epoch(block))
    }

    /// What an owner does with a final block.
    pub(super) fn finalise(&mut self, block: &Tiny) {
        let height = |id| self.blocks.get(&id).map_or(self.genesis_height, |block: &Tiny| block.height);
        if block.height > height(self.head) {
            self.head = block.id();
        }
    }

    /// What is left after a crash: the final blocks up to the newest durable one, or as far as the disk had got round to.
    pub(super) fn after_crash(&self, all_was_written: bool) -> Shelf {
        let head = if all_was_written { self.head } else { self.durable };
        let mut blocks = BTreeMap::new();
        let mut next = self.blocks.get(&head);
        while let Some(block) = next {
            blocks.insert(block.id(), block.clone());
            next = self.blocks.get(&block.parent);
        }
        Shelf { blocks, head, durable: head, ..self.clone() }
    }
}

/// A block at this height, told apart from its like by `mark`.
pub(super) fn tiny(last_height: Option<u64>, parent: BlockId, height: u64, mark: u64) -> Tiny {
    let last = if last_height == Some(height) { LAST } else { 0 };
    Tiny { parent, height, time: Timestamp::ZERO, entries: mark | last, body_is_good: true }
}

impl Ledger for Shelf {
    type Block = Tiny;
    fn id(&self, block: &Tiny) -> BlockId {
        block.id()
    }
    fn parent(&self, block: &Tiny) -> BlockId {
        block.parent
    }
    fn height(&self, block: &Tiny) -> u64 {
        block.height
    }
    fn build(&mut self, _: Timestamp, parent: BlockId) -> Option<Tiny> {
        let mark = 1_000 * (u64::from(self.owner) + 1) + self.built;
        let block = self.block_on(parent, mark)?;
        self.built += 1;
        Some(block)
    }
    fn accept(&mut self, block: &Tiny) -> Accepted {
        if block.parent != self.genesis && !self.blocks.contains_key(&block.parent) {
            return Accepted::ParentMissing;
        }
        if self.is_last(block.parent) {
            let what = "it extends the last block of its epoch";
            return Accepted::Invalid(Fault::BadBlock { block: block.id(), what });
        }
        self.blocks.insert(block.id(), block.clone());
        Accepted::Yes
    }
    fn timely(&self, _: Timestamp, _: &Tiny) -> Timely {
        Timely::Yes
    }
    fn entry_waits(&self, tip: BlockId) -> bool {
        !self.is_last(tip)
    }
    fn ends_epoch(&self, block: &Tiny) -> bool {
        block.entries & LAST != 0
    }
    fn heartbeat_due(&self) -> Timestamp {
        Timestamp(u64::MAX)
    }
}
