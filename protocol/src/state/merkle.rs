//! Merkle trees over lists, by RFC 6962 with this protocol's own labels (SPEC 6.3, 6.4).

use serde::{Deserialize, Serialize};

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
        digest_parts(Label::Log, &[&self.count.to_le_bytes(), &self.root().0])
    }
}
