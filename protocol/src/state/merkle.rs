//! Merkle trees over lists, by RFC 6962 with this protocol's own labels (SPEC 6.3, 6.4).

use serde::{Deserialize, Serialize};

use super::block::BlockId;
use crate::encoding::{Hash, Label, digest, digest_parts};

fn leaf(item: &Hash) -> Hash {
    digest(Label::MerkleLeaf, &item.0)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    digest_parts(Label::MerkleNode, &[&left.0, &right.0])
}

/// The root over a list; all zero if it is empty.
pub(super) fn root(items: impl Iterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::default();
    for item in items {
        frontier.push(&item);
    }
    frontier.root()
}

/// Proof that a block with entries is the so-many-th of those that a header's log root is of (SPEC 6.4, RFC 6962 section 2.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogProof {
    /// Its place among them; genesis is at 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
    /// The roots of the subtrees beside its way, from the leaf up.
    pub path: Vec<Hash>,
}

impl LogProof {
    /// The proof for the block at `index` of these, which are all up to some height, genesis first; none if there are not so many.
    pub fn of(ids: &[BlockId], index: usize) -> Option<LogProof> {
        ids.get(index)?;
        let mut path = Vec::new();
        collect(&mut path, ids, index);
        Some(LogProof { index: index as u64, count: ids.len() as u64, path })
    }

    /// Whether `block` is at that place of a log with this root.
    pub fn holds(&self, block: &BlockId, log_root: &Hash) -> bool {
        let (mut at, Some(mut last)) = (self.index, self.count.checked_sub(1)) else { return false };
        if at > last {
            return false;
        }
        let mut root = leaf(&Hash(block.0));
        for beside in &self.path {
            if last == 0 {
                return false;
            }
            if at % 2 == 1 || at == last {
                root = node(beside, &root);
                // The rightmost subtree goes up as it is where it has nothing beside it.
                while at % 2 == 0 && at != 0 {
                    (at, last) = (at / 2, last / 2);
                }
            } else {
                root = node(&root, beside);
            }
            (at, last) = (at / 2, last / 2);
        }
        last == 0 && log_root_of(self.count, &root) == *log_root
    }
}

/// The path of the item at `index`, from the leaf up.
fn collect(path: &mut Vec<Hash>, ids: &[BlockId], index: usize) {
    if ids.len() < 2 {
        return;
    }
    // The left subtree is full, and as wide as can be.
    let (left, right) = ids.split_at(1 << (ids.len() - 1).ilog2());
    let (inside, beside, at) =
        if index < left.len() { (left, right, index) } else { (right, left, index - left.len()) };
    collect(path, inside, at);
    path.push(root(beside.iter().map(|id| Hash(id.0))));
}

fn log_root_of(count: u64, root: &Hash) -> Hash {
    digest_parts(Label::Log, &[&count.to_le_bytes(), &root.0])
}

/// A list that only grows, reduced to what its later roots need: the roots of its full subtrees, the widest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Frontier {
    count: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many items the list has.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are as many full subtrees as the count asks for. Only one that came from outside can be otherwise.
    pub(super) fn is_whole(&self) -> bool {
        self.peaks.len() == self.count.count_ones() as usize
    }

    /// Appends an item.
    pub(super) fn push(&mut self, item: &Hash) {
        let mut full = leaf(item);
        // As in adding one to a binary number: every full subtree of equal width merges into one twice as wide.
        for _ in 0..self.count.trailing_ones() {
            let left = self.peaks.pop().expect("a frontier has one peak for each bit of its count");
            full = node(&left, &full);
        }
        self.peaks.push(full);
        self.count += 1;
    }

    /// The Merkle root; all zero if the list is empty.
    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(narrowest) = peaks.next() else { return Hash::ZERO };
        peaks.fold(*narrowest, |right, left| node(left, &right))
    }

    /// What a header calls the log root (SPEC 6.4). The count is under it, since one root can be that of lists of several lengths
    /// as far as full subtrees show: whoever restores a snapshot could be handed a frontier that goes on wrongly.
    pub(super) fn log_root(&self) -> Hash {
        log_root_of(self.count, &self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> BlockId {
        BlockId([number; 32])
    }

    #[test]
    fn rule_9_21_a_block_is_proven_at_its_place_in_a_log_of_any_length_and_no_other_is_there() {
        for count in 1..=33 {
            let ids: Vec<BlockId> = (0..count).map(id).collect();
            let mut frontier = Frontier::default();
            ids.iter().for_each(|id| frontier.push(&Hash(id.0)));
            let root = frontier.log_root();
            for (index, block) in ids.iter().enumerate() {
                let proof = LogProof::of(&ids, index).expect("there are so many");
                assert!(proof.holds(block, &root), "{index} of {count}");
                assert!(!proof.holds(&id(200), &root), "{index} of {count}: another block");
                assert!(!proof.holds(block, &Hash([7; 32])), "{index} of {count}: another log");
                for other in (0..=count.into()).filter(|other| *other != proof.index) {
                    let moved = LogProof { index: other, ..proof.clone() };
                    assert!(!moved.holds(block, &root), "{index} of {count}, said to be at {other}");
                }
                for other in (0..70).filter(|other| *other != proof.count) {
                    let longer = LogProof { count: other, ..proof.clone() };
                    assert!(!longer.holds(block, &root), "{index} of {count}, said to be of {other}");
                }
                let mut longer = proof.clone();
                longer.path.push(Hash([9; 32]));
                assert!(!longer.holds(block, &root), "{index} of {count}: a longer path");
                if proof.path.len() > 1 {
                    longer.path.truncate(proof.path.len() - 1);
                    assert!(!longer.holds(block, &root), "{index} of {count}: a shorter path");
                }
            }
            assert_eq!(LogProof::of(&ids, ids.len()), None);
        }
    }
}
