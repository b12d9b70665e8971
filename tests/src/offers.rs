//! Blocks that are offered, with headers that are right or have one thing wrong.

use frith_protocol::encoding::Hash;
use frith_protocol::state::{Block, BlockId, Entry, Header};
use frith_protocol::time::Timestamp;

use crate::histories::History;
use crate::model::Model;
use crate::people::DAY;

/// A block that may follow, or may not.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Whether it says that heartbeats were skipped.
    pub skipped: bool,
    /// The header that it should have.
    pub right: Header,
    /// The block with the header that it has.
    pub block: Block,
    /// When somebody asks what is true after it.
    pub now: Timestamp,
}

impl Offered {
    /// The same entries with the same flaws, on the head of another model.
    pub fn on(&self, model: &Model) -> (bool, Block) {
        let (right, given, entries) = (&self.right, &self.block.header, self.block.entries.clone());
        let next = model.head().height + 1;
        let height = right.height.max(next);
        let mut header = model.header_at(height, right.time, &entries);
        if height > next {
            header.parent = BlockId([9; 32]);
        }
        fn flaw<T: Clone + PartialEq>(to: &mut T, right: &T, given: &T) {
            if given != right {
                to.clone_from(given);
            }
        }
        flaw(&mut header.epoch, &right.epoch, &given.epoch);
        flaw(&mut header.height, &right.height, &given.height);
        flaw(&mut header.parent, &right.parent, &given.parent);
        flaw(&mut header.previous, &right.previous, &given.previous);
        flaw(&mut header.time, &right.time, &given.time);
        flaw(&mut header.entries_root, &right.entries_root, &given.entries_root);
        flaw(&mut header.state_root, &right.state_root, &given.state_root);
        flaw(&mut header.spine_root, &right.spine_root, &given.spine_root);
        flaw(&mut header.log_root, &right.log_root, &given.log_root);
        (self.skipped || height > next, Block { header, entries })
    }
}

impl History {
    /// A block on the head, with header and entries right, or one of them wrong.
    pub fn block(&mut self, time: Timestamp, entries: Vec<Entry>) -> Offered {
        let skipped = self.dice.chance(1, 4);
        let mut height = self.model.head().height + 1;
        let mut time = time;
        if skipped && self.dice.chance(1, 2) {
            height += self.dice.between(0, 3);
            time = time.plus(self.dice.between(0, 3));
        }
        let mut header = self.model.header_at(height, time, &entries);
        if height > self.model.head().height + 1 {
            header.parent = BlockId([9; 32]);
        }
        let right = header.clone();
        if self.dice.chance(1, 10) {
            self.spoil_header(&mut header);
        }
        let now = header.time.plus(self.dice.between(0, 2 * DAY));
        Offered { skipped, right, block: Block { header, entries }, now }
    }

    fn spoil_header(&mut self, header: &mut Header) {
        let last = self.model.last();
        match self.dice.below(12) {
            0 => header.epoch = *self.dice.one_of(&[0, header.epoch - 1, header.epoch + 1, u64::MAX]),
            1 => header.height = *self.dice.one_of(&[0, header.height - 1, header.height + 1, u64::MAX]),
            2 => header.parent = *self.dice.one_of(&[header.previous, BlockId([0; 32]), BlockId([5; 32])]),
            3 => header.previous = *self.dice.one_of(&[header.parent, BlockId([0; 32]), last.previous]),
            4 => {
                let near = [0, self.model.head().time.0, last.time.0, last.time.0 + 1, u64::MAX];
                header.time = Timestamp(*self.dice.one_of(&near));
            }
            5 => header.entries_root.0[self.dice.below(32)] ^= 1,
            6 => header.entries_root = Hash::ZERO,
            7 => header.state_root.0[self.dice.below(32)] ^= 1,
            8 => header.state_root = last.state_root,
            9 => header.spine_root.0[self.dice.below(32)] ^= 1,
            10 => header.log_root.0[self.dice.below(32)] ^= 1,
            _ => header.log_root = last.log_root,
        }
    }
}
