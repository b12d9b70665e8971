//! A map of which a part is held (SPEC 7.5 to 7.7): what can be asked of it, how more of it comes to be held, and how it travels.

use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Key, Map, MapProof, NoProof, Node, Value, goes_right};
use crate::encoding::{Hash, decode};
use crate::limits;
use crate::planted::{Bug, loosened};

/// What a map says of a key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::state) enum Look<'a, V> {
    /// This.
    Held(&'a V),
    /// There is nothing under it.
    Nothing,
    /// It lies under a stub.
    Unknown,
}

/// A map as it travels, from the root down and from left to right. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::state) enum Part<V> {
    /// Its left side comes next, then its right.
    Branch(u8),
    /// An item.
    Leaf(Key, V),
    /// Something of which only the hash is told.
    Stub(Hash),
}

impl<V: Value> Map<V> {
    /// What is under `key`, or that it is not held.
    pub(in crate::state) fn look(&self, key: &Key) -> Look<'_, V> {
        match self.nearest(key).map(|node| &**node) {
            Some(Node::Leaf { key: found, leaf }) if found == key => Look::Held(&leaf.value),
            Some(Node::Leaf { .. }) | None => Look::Nothing,
            Some(Node::Stub(_)) => Look::Unknown,
            Some(Node::Branch { .. }) => unreachable!("no search ends at a branch"),
        }
    }

    /// Whether the way to `key` is held to its end.
    pub(in crate::state) fn holds(&self, key: &Key) -> bool {
        !matches!(self.look(key), Look::Unknown)
    }

    /// Whether there is nothing in it, held or not.
    pub(in crate::state) fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Whether all of it is held.
    pub(in crate::state) fn is_whole(&self) -> bool {
        !self.lean
    }

    /// Whether something was to be put where nothing is held.
    pub(in crate::state) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Puts what `proof` shows of `key` in the place of a stub. The root stays what it is.
    pub(in crate::state) fn graft(&mut self, proof: &MapProof, key: &Key) -> Result<(), NoProof>
    where
        V: DeserializeOwned,
    {
        if !loosened(Bug::AnyPathGrafted) {
            proof.check(&self.root(), key)?;
        }
        let (Some((found, value)), Some(mut slot)) = (&proof.leaf, self.root.as_mut()) else { return Ok(()) };
        let mut steps = &proof.steps[..];
        // One root, and so one tree: only what is held of it can differ.
        while !matches!(**slot, Node::Stub(_)) {
            match Arc::make_mut(slot) {
                Node::Leaf { .. } | Node::Stub(_) => return Ok(()),
                Node::Branch { bit, left, right, .. } => {
                    let ((step, _), rest) = steps.split_first().ok_or(NoProof)?;
                    if step != bit {
                        return Err(NoProof);
                    }
                    steps = rest;
                    slot = if goes_right(key, *bit) { right } else { left };
                }
            }
        }
        let value =
            decode("an item of a path", value, limits::SNAPSHOT_CHUNK_BYTES_MAX).map_err(|_| NoProof)?;
        let leaf = Arc::new(Node::leaf(*found, value));
        let far = |hash: &Hash| Arc::new(Node::Stub(*hash));
        *slot = steps.iter().rev().fold(leaf, |near, (bit, hash)| {
            let (left, right) = if goes_right(key, *bit) { (far(hash), near) } else { (near, far(hash)) };
            branch(*bit, left, right)
        });
        self.len += 1;
        Ok(())
    }

    /// All that is held of the map, with stubs for what is not.
    pub(in crate::state) fn held_parts(&self) -> Vec<Part<V>>
    where
        V: Clone,
    {
        let mut parts = Vec::new();
        let mut ahead: Vec<&Arc<Node<V>>> = self.root.iter().collect();
        while let Some(node) = ahead.pop() {
            match &**node {
                Node::Leaf { key, leaf } => parts.push(Part::Leaf(*key, leaf.value.clone())),
                Node::Stub(hash) => parts.push(Part::Stub(*hash)),
                Node::Branch { bit, left, right, .. } => {
                    parts.push(Part::Branch(*bit));
                    ahead.push(right);
                    ahead.push(left);
                }
            }
        }
        parts
    }

    /// The map with the ways to `keys`, and stubs for all else.
    pub(in crate::state) fn parts(&self, keys: &[Key]) -> Vec<Part<V>>
    where
        V: Clone,
    {
        let mut parts = Vec::new();
        if let Some(root) = &self.root {
            root.put_parts(keys.to_vec(), &mut parts);
        }
        parts
    }

    /// A map of these; none if they are not one. Only its root tells whether it is the one that was meant.
    pub(in crate::state) fn of_parts(parts: impl Iterator<Item = Part<V>>) -> Option<Map<V>> {
        let mut map = Map { lean: true, ..Map::default() };
        // The branches that lack a side, the uppermost first, each with its left side if that is there.
        let mut open: Vec<(u8, Option<Arc<Node<V>>>)> = Vec::new();
        for part in parts {
            if map.root.is_some() {
                return None;
            }
            let mut node = match part {
                // Bits rise from the root down: so nobody makes a tree that is deeper than a key is long.
                Part::Branch(bit) if open.last().is_none_or(|(above, _)| *above < bit) => {
                    open.push((bit, None));
                    continue;
                }
                Part::Branch(_) => return None,
                Part::Leaf(key, value) => {
                    map.len += 1;
                    Arc::new(Node::leaf(key, value))
                }
                Part::Stub(hash) => Arc::new(Node::Stub(hash)),
            };
            loop {
                match open.pop() {
                    None => {
                        map.root = Some(node);
                        break;
                    }
                    Some((bit, None)) => {
                        open.push((bit, Some(node)));
                        break;
                    }
                    Some((bit, Some(left))) => node = branch(bit, left, node),
                }
            }
        }
        open.is_empty().then_some(map)
    }
}

fn branch<V: Value>(bit: u8, left: Arc<Node<V>>, right: Arc<Node<V>>) -> Arc<Node<V>> {
    Arc::new(Node::Branch { bit, left, right, hash: OnceLock::new() })
}

impl<V: Value + Clone> Node<V> {
    /// No deeper than a key has bits.
    fn put_parts(&self, keys: Vec<Key>, parts: &mut Vec<Part<V>>) {
        match self {
            _ if keys.is_empty() => parts.push(Part::Stub(self.hash())),
            Node::Stub(hash) => parts.push(Part::Stub(*hash)),
            Node::Leaf { key, leaf } => parts.push(Part::Leaf(*key, leaf.value.clone())),
            Node::Branch { bit, left, right, .. } => {
                parts.push(Part::Branch(*bit));
                let (rights, lefts): (Vec<Key>, Vec<Key>) =
                    keys.into_iter().partition(|key| goes_right(key, *bit));
                left.put_parts(lefts, parts);
                right.put_parts(rights, parts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng as _, SeedableRng as _};

    use super::*;

    fn key(rng: &mut ChaCha20Rng) -> Key {
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        key
    }

    #[test]
    fn a_map_in_part_takes_what_lies_where_it_is_held_and_is_torn_by_all_else() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut whole: Map<u32> = Map::default();
        for _ in 0..500 {
            whole.insert(key(&mut rng), rng.next_u32());
        }
        let (kept, other) = (key(&mut rng), key(&mut rng));
        let mut lean = Map::of_parts(whole.parts(&[kept]).into_iter()).expect("it was just made");
        assert_eq!((lean.root(), lean.len()), (whole.root(), 1));
        assert_eq!((lean.look(&kept), lean.look(&other)), (Look::Nothing, Look::Unknown));
        let mut torn = lean.clone();
        torn.insert(other, 1);
        assert!(torn.is_torn(), "something was put where nothing is held");
        lean.graft(&whole.proof(&other), &other).expect("one root, one proof");
        assert_eq!((lean.root(), lean.look(&other)), (whole.root(), Look::Nothing));
        for place in [kept, other] {
            lean.insert(place, 7);
            whole.insert(place, 7);
            assert_eq!((lean.root(), lean.is_torn()), (whole.root(), false));
        }
    }

    #[test]
    fn parts_that_are_no_tree_make_no_map() {
        let leaf = |at: u8| Part::Leaf([at; 32], 1u32);
        let made = |parts: Vec<Part<u32>>| Map::of_parts(parts.into_iter()).is_some();
        assert!(made(vec![]) && made(vec![leaf(1)]));
        assert!(made(vec![Part::Branch(3), leaf(1), Part::Branch(5), leaf(2), leaf(3)]));
        assert!(!made(vec![Part::Branch(3), leaf(1)]), "a side is missing");
        assert!(!made(vec![leaf(1), leaf(2)]), "something follows");
        assert!(!made(vec![Part::Branch(3), Part::Branch(3), leaf(1), leaf(2), leaf(3)]), "bits do not rise");
    }
}
