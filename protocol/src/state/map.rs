//! A persistent, authenticated map from 32-byte keys: a crit-bit tree (SPEC 7.2).
//!
//! A branch names the first bit in which the keys below it differ, so the set of keys alone fixes the shape, and with it the root:
//! two replicas that hold the same items agree, in whatever order they came. Copies share all that did not change. Hashes are
//! computed when they are first asked for: the entries of one block pay for the upper branches once.
//!
//! A map may be held in part: a stub is the hash of a subtree of which nothing is held (SPEC 7.5, [`stubs`]).
//!
//! Deliberately absent: balancing. Keys are digests, or begin with a time that endorsers chose, and no path is longer than the 256
//! bits of a key.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::encoding::{Hash, Label, digest_after, digest_parts, encode};
use crate::limits;
use crate::planted::{Bug, loosened};

mod stubs;

pub(super) use stubs::{Look, Part};

/// A key of a map.
pub(super) type Key = [u8; 32];

/// What a map can hold.
pub(super) trait Value: Serialize {
    /// Where the hash of its leaf is kept; `()` if it is not. Those of large values are: a block asks again for the leaves beside those that
    /// it changes. Those of small ones are not: most leaves are of those long gone, and each hash kept is memory for ever.
    type Kept: Kept;
}

/// A place for a hash, or none.
pub(super) trait Kept: Default {
    fn get_or_init(&self, make: impl FnOnce() -> Hash) -> Hash;
}

impl Kept for OnceLock<Hash> {
    fn get_or_init(&self, make: impl FnOnce() -> Hash) -> Hash {
        *OnceLock::get_or_init(self, make)
    }
}

impl Kept for () {
    fn get_or_init(&self, make: impl FnOnce() -> Hash) -> Hash {
        make()
    }
}

/// A map that is cheap to copy.
pub(super) struct Map<V: Value> {
    root: Option<Arc<Node<V>>>,
    /// Of what is held.
    len: usize,
    /// Whether something is not held.
    lean: bool,
    /// Whether something was to be put where nothing is held: the map is not what it would have been.
    torn: bool,
}

struct Leaf<V: Value> {
    value: V,
    hash: V::Kept,
}

enum Node<V: Value> {
    Leaf { key: Key, leaf: Arc<Leaf<V>> },
    Branch { bit: u8, left: Arc<Node<V>>, right: Arc<Node<V>>, hash: OnceLock<Hash> },
    Stub(Hash),
}

// Written out, since a derive would ask for `V: Clone`.
impl<V: Value> Clone for Map<V> {
    fn clone(&self) -> Self {
        Map { root: self.root.clone(), ..*self }
    }
}

impl<V: Value> Default for Map<V> {
    fn default() -> Self {
        Map { root: None, len: 0, lean: false, torn: false }
    }
}

impl<V: Value> Clone for Node<V> {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf { key, leaf } => Node::Leaf { key: *key, leaf: Arc::clone(leaf) },
            Node::Branch { bit, left, right, hash } => Node::Branch {
                bit: *bit,
                left: Arc::clone(left),
                right: Arc::clone(right),
                hash: hash.clone(),
            },
            Node::Stub(hash) => Node::Stub(*hash),
        }
    }
}

impl<V: Value> Node<V> {
    fn leaf(key: Key, value: V) -> Node<V> {
        let hash = V::Kept::default();
        Node::Leaf { key, leaf: Arc::new(Leaf { value, hash }) }
    }
}

/// Bit `bit` of `key`, the highest bit of the first byte first: so that the tree is in the order of its keys.
fn goes_right(key: &Key, bit: u8) -> bool {
    key[usize::from(bit / 8)] >> (7 - bit % 8) & 1 == 1
}

fn first_difference(a: &Key, b: &Key) -> Option<u8> {
    let byte = (0..32).find(|&i| a[i] != b[i])?;
    let bit = byte * 8 + (a[byte] ^ b[byte]).leading_zeros() as usize;
    Some(u8::try_from(bit).expect("a key has 256 bits"))
}

impl<V: Value> Map<V> {
    /// How many items are held.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What stands under `key`, as far as is held: whoever must tell nothing from not held [looks](Map::look).
    pub(super) fn get(&self, key: &Key) -> Option<&V> {
        match self.look(key) {
            Look::Held(value) => Some(value),
            Look::Nothing | Look::Unknown => None,
        }
    }

    /// Whether there is anything under `key`.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Where a search for `key` ends.
    fn nearest(&self, key: &Key) -> Option<&Arc<Node<V>>> {
        let mut node = self.root.as_ref()?;
        while let Node::Branch { bit, left, right, .. } = &**node {
            node = if goes_right(key, *bit) { right } else { left };
        }
        Some(node)
    }

    /// A map of these items, whose keys rise: without looking for the place of each.
    pub(super) fn of_rising(items: impl Iterator<Item = (Key, V)>) -> Self {
        // The branches to the right of which the newest leaf lies, the uppermost first, each without its right side.
        let mut open: Vec<(u8, Arc<Node<V>>)> = Vec::new();
        let close = |(bit, left), right| Arc::new(Node::Branch { bit, left, right, hash: OnceLock::new() });
        let mut newest: Option<(Key, Arc<Node<V>>)> = None;
        let mut len = 0;
        for (key, value) in items {
            len += 1;
            let leaf = Arc::new(Node::leaf(key, value));
            let Some((before, mut left)) = newest.replace((key, leaf)) else { continue };
            let bit = first_difference(&before, &key).expect("keys that rise are different");
            while let Some(branch) = open.pop_if(|(below, _)| *below > bit) {
                left = close(branch, left);
            }
            open.push((bit, left));
        }
        let root =
            newest.map(|(_, leaf)| open.into_iter().rev().fold(leaf, |right, branch| close(branch, right)));
        Map { root, len, lean: false, torn: false }
    }

    /// Puts `value` under `key`, whatever was there. Where nothing is held nothing can be put: the map is torn then.
    pub(super) fn insert(&mut self, key: Key, value: V) {
        let difference = match self.nearest(&key).map(|node| &**node) {
            Some(Node::Leaf { key: found, .. }) => Some(first_difference(found, &key)),
            Some(Node::Stub(_)) => {
                self.torn = true;
                return;
            }
            Some(Node::Branch { .. }) => unreachable!("no search ends at a branch"),
            None => None,
        };
        let new = Arc::new(Node::leaf(key, value));
        match (&mut self.root, difference) {
            (Some(root), Some(None)) => *Self::open(root, &key, None) = new,
            (Some(root), Some(Some(bit))) => {
                let slot = Self::open(root, &key, Some(bit));
                let old = Arc::clone(slot);
                let (left, right) = if goes_right(&key, bit) { (old, new) } else { (new, old) };
                *slot = Arc::new(Node::Branch { bit, left, right, hash: OnceLock::new() });
                self.len += 1;
            }
            (root, _) => {
                *root = Some(new);
                self.len = 1;
            }
        }
    }

    /// Takes out what is under `key`; says whether there was anything.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        if !self.contains(key) {
            return false;
        }
        self.len -= 1;
        let mut slot = self.root.as_mut().expect("a map that contains a key has a root");
        loop {
            let sibling = match &**slot {
                Node::Leaf { .. } | Node::Stub(_) => break,
                Node::Branch { bit, left, right, .. } => {
                    let (near, far) = if goes_right(key, *bit) { (right, left) } else { (left, right) };
                    matches!(**near, Node::Leaf { .. }).then(|| Arc::clone(far))
                }
            };
            if let Some(sibling) = sibling {
                *slot = sibling;
                return true;
            }
            slot = Self::step(slot, key);
        }
        // Only a root can be a leaf here: every other leaf was seen from its branch.
        self.root = None;
        true
    }

    /// Walks towards `key` up to the leaf, or to the first branch beyond bit `before`, unsharing the way there.
    fn open<'a>(mut slot: &'a mut Arc<Node<V>>, key: &Key, before: Option<u8>) -> &'a mut Arc<Node<V>> {
        loop {
            let on = match &**slot {
                Node::Leaf { .. } | Node::Stub(_) => false,
                Node::Branch { bit, .. } => before.is_none_or(|before| *bit < before),
            };
            if !on {
                return slot;
            }
            slot = Self::step(slot, key);
        }
    }

    /// One step down from a branch that is about to change: it is copied if it is shared, and its hash forgotten.
    fn step<'a>(slot: &'a mut Arc<Node<V>>, key: &Key) -> &'a mut Arc<Node<V>> {
        match Arc::make_mut(slot) {
            Node::Leaf { .. } | Node::Stub(_) => unreachable!("there is no step down from a leaf"),
            Node::Branch { bit, left, right, hash } => {
                *hash = OnceLock::new();
                if goes_right(key, *bit) { right } else { left }
            }
        }
    }

    /// All items that are held, in the order of their keys.
    pub(super) fn iter(&self) -> Iter<'_, V> {
        Iter { ahead: self.root.iter().collect() }
    }
}

/// The items of a map, in the order of their keys.
pub(super) struct Iter<'a, V: Value> {
    ahead: Vec<&'a Arc<Node<V>>>,
}

impl<'a, V: Value> Iterator for Iter<'a, V> {
    type Item = (&'a Key, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match &**self.ahead.pop()? {
                Node::Leaf { key, leaf } => return Some((key, &leaf.value)),
                Node::Branch { left, right, .. } => {
                    self.ahead.push(right);
                    self.ahead.push(left);
                }
                Node::Stub(_) => {}
            }
        }
    }
}

fn leaf_hash(key: &Key, value: &[u8]) -> Hash {
    digest_parts(Label::MapLeaf, &[key, value])
}

fn branch_hash(bit: u8, left: &Hash, right: &Hash) -> Hash {
    digest_parts(Label::MapBranch, &[&u16::from(bit).to_le_bytes(), &left.0, &right.0])
}

impl<V: Value> Node<V> {
    fn hash(&self) -> Hash {
        match self {
            Node::Leaf { key, leaf } => {
                leaf.hash.get_or_init(|| digest_after(Label::MapLeaf, key, &leaf.value))
            }
            Node::Branch { bit, left, right, hash } => {
                *hash.get_or_init(|| branch_hash(*bit, &left.hash(), &right.hash()))
            }
            Node::Stub(hash) => *hash,
        }
    }
}

impl<V: Value> Map<V> {
    /// The root; all zero if there is nothing.
    pub(super) fn root(&self) -> Hash {
        self.root.as_ref().map_or(Hash::ZERO, |node| node.hash())
    }

    /// Proof of what is under `key`, or that there is nothing; one that proves nothing, where nothing is held.
    pub(super) fn proof(&self, key: &Key) -> MapProof {
        let mut steps = Vec::new();
        let Some(mut node) = self.root.as_ref() else { return MapProof { steps, leaf: None } };
        loop {
            match &**node {
                Node::Leaf { key, leaf } => {
                    return MapProof { steps, leaf: Some((*key, encode(&leaf.value))) };
                }
                Node::Branch { bit, left, right, .. } => {
                    let (near, far) = if goes_right(key, *bit) { (right, left) } else { (left, right) };
                    steps.push((*bit, far.hash()));
                    node = near;
                }
                Node::Stub(_) => return MapProof { steps, leaf: None },
            }
        }
    }
}

/// The way from a map's root to the leaf at which a search for a key ends (SPEC 7.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MapProof {
    /// The bit of each branch and the hash of the side not taken, from the root down.
    steps: Vec<(u8, Hash)>,
    /// The leaf: its key and its encoded value. None if the map is empty.
    leaf: Option<([u8; 32], Vec<u8>)>,
}

impl MapProof {
    /// Whether it is no longer than a path to a small value can be: bits rise, and a value of the two maps that are held in part is short.
    pub(crate) fn is_short(&self) -> bool {
        self.steps.is_sorted_by(|(a, _), (b, _)| a < b)
            && self.leaf.as_ref().is_none_or(|(_, value)| value.len() <= limits::PATH_VALUE_BYTES_MAX)
    }
}

/// A proof that proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoProof;

impl MapProof {
    /// The encoded value under `key` in the map of this root; `None` if there is none.
    pub(super) fn check(&self, root: &Hash, key: &Key) -> Result<Option<&[u8]>, NoProof> {
        let Some((found, value)) = &self.leaf else {
            return if self.steps.is_empty() && *root == Hash::ZERO { Ok(None) } else { Err(NoProof) };
        };
        // The hashes bind each step to its bit and side. So this is the leaf where a search for the key ends, whichever it is.
        let mut hash = leaf_hash(found, value);
        for (bit, far) in self.steps.iter().rev() {
            hash = if goes_right(key, *bit) {
                branch_hash(*bit, far, &hash)
            } else {
                branch_hash(*bit, &hash, far)
            };
        }
        if hash != *root && !loosened(Bug::AnyPath) {
            return Err(NoProof);
        }
        Ok((found == key).then_some(value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    /// Few bits set at few places: so that keys meet, part late, and come back.
    fn key(rng: &mut ChaCha20Rng) -> Key {
        let mut key = [0; 32];
        key[0] = (rng.next_u32() % 4) as u8;
        key[31] = (rng.next_u32() % 16) as u8;
        key[(rng.next_u32() % 32) as usize] |= 1 << (rng.next_u32() % 8);
        key
    }

    fn rebuilt(model: &BTreeMap<Key, u32>) -> Map<u32> {
        let mut map = Map::default();
        for (key, value) in model.iter().rev() {
            map.insert(*key, *value);
        }
        map
    }

    #[test]
    fn a_map_does_what_a_sorted_map_does_and_its_root_knows_no_history() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (mut map, mut model) = (Map::default(), BTreeMap::new());
        let mut copies = Vec::new();
        for round in 0..3000 {
            let (key, value) = (key(&mut rng), rng.next_u32());
            if rng.next_u32() % 3 == 0 {
                assert_eq!(map.remove(&key), model.remove(&key).is_some(), "round {round}");
            } else {
                map.insert(key, value);
                model.insert(key, value);
            }
            assert_eq!(map.get(&key), model.get(&key), "round {round}");
            assert_eq!(map.len(), model.len(), "round {round}");
            if round % 100 == 0 {
                assert!(map.iter().eq(model.iter()), "round {round}");
                assert_eq!(map.root(), rebuilt(&model).root(), "round {round}");
                let risen = Map::of_rising(model.iter().map(|(key, value)| (*key, *value)));
                assert_eq!((map.root(), map.len()), (risen.root(), risen.len()), "round {round}");
                copies.push((map.clone(), map.root(), model.clone()));
            }
        }
        assert!(model.len() > 50, "{} items are too few to try anything", model.len());
        for (copy, root, model) in copies {
            assert_eq!((copy.root(), copy.len()), (root, model.len()), "a copy changed");
            assert!(copy.iter().eq(model.iter()), "a copy changed");
        }
        while let Some((key, _)) = model.pop_first() {
            assert!(map.remove(&key));
        }
        assert_eq!((map.len(), map.root()), (0, Hash::ZERO));
    }

    #[test]
    fn every_key_present_or_absent_has_a_proof_that_holds_for_nothing_else() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut map = Map::default();
        for _ in 0..200 {
            map.insert(key(&mut rng), rng.next_u32());
        }
        let (root, mut absent) = (map.root(), 0);
        for _ in 0..2000 {
            let key = key(&mut rng);
            let proof = map.proof(&key);
            let expected = map.get(&key).map(encode);
            absent += u32::from(expected.is_none());
            assert_eq!(proof.check(&root, &key), Ok(expected.as_deref()));
            assert_eq!(proof.check(&Hash([1; 32]), &key), Err(NoProof));
        }
        assert!(absent > 100, "{absent} absent keys are too few");
    }
}
