//! Ids and roots by the formulas of SPEC 1, 2, 6 and 7, on plain slices and sorted lists.

use std::cell::RefCell;
use std::collections::BTreeMap;

use curve25519_dalek::edwards::CompressedEdwardsY;
use frith_protocol::encoding::{Hash, encode};
use frith_protocol::identity::{Claim, Inception, PublicKey, Rotation, Signature};
use frith_protocol::state::Consent;
use serde::Serialize;

use crate::ink::{self, Memo};

/// 32 bytes; here nothing is typed more finely, so that no conversion of the engine's is used.
pub type Bytes32 = [u8; 32];

pub(super) const ZERO: Bytes32 = [0; 32];

thread_local! {
    /// A label is itself hashed: once will do.
    static LABELLED: RefCell<Vec<(String, blake3::Hasher)>> = RefCell::default();
    static NODE_IDS: RefCell<Memo<(PublicKey, Hash), Bytes32>> = RefCell::default();
    static INTRODUCIBLE: RefCell<Memo<PublicKey, bool>> = RefCell::default();
}

/// SPEC 1.3.
pub fn digest(label: &str, bytes: &[u8]) -> Bytes32 {
    let hasher = LABELLED.with_borrow_mut(|labelled| {
        let named = |label: &str| blake3::Hasher::new_derive_key(&format!("frith 2026-11 {label} v1"));
        match labelled.iter().find(|(known, _)| *known == label) {
            Some((_, hasher)) => hasher.clone(),
            None => {
                let hasher = named(label);
                labelled.push((label.to_owned(), hasher.clone()));
                hasher
            }
        }
    });
    { hasher }.update(bytes).finalize().into()
}

/// SPEC 1.4: the digest of an encoding.
pub fn digest_of<T: Serialize>(label: &str, value: &T) -> Bytes32 {
    digest(label, &encode(value))
}

/// SPEC 2.1: version and algorithm, then key and commitment.
pub fn node_id(inception: &Inception) -> Bytes32 {
    let Inception { key, next, possession: _ } = inception;
    NODE_IDS.with_borrow_mut(|known| {
        *known.entry((*key, *next)).or_insert_with(|| digest_of("inception", &(1u8, 0u8, key, next)))
    })
}

/// SPEC 2.1: what possession signs.
pub(super) fn possession(inception: &Inception) -> Bytes32 {
    digest("possession", &node_id(inception))
}

/// SPEC 4.2: what an endorsement signs.
pub fn endorsement(subject: Bytes32, node: Bytes32, sequence: u32) -> Bytes32 {
    let mut bytes = vec![0];
    for string in [subject, node] {
        bytes.push(32);
        bytes.extend(string);
    }
    bytes.extend(encode(&sequence));
    digest("endorsement", &bytes)
}

/// SPEC 2.4: what a rotation signs.
pub fn rotation(node: Bytes32, rotation: &Rotation) -> Bytes32 {
    let mut bytes = vec![1, 0, 32];
    bytes.extend(node);
    bytes.extend(encode(&(rotation.sequence, rotation.key, rotation.next)));
    digest("rotation", &bytes)
}

/// SPEC 2.1: the commitment to a key.
pub(super) fn commitment(key: &PublicKey) -> Hash {
    Hash(digest("next key", &key.0))
}

/// SPEC 3.8: what the two signatures of a consent sign.
pub fn consent(terms: Bytes32, consent: &Consent) -> Bytes32 {
    let Consent { node, sequence, key, voting_key, basis, .. } = consent;
    digest_of("consent", &(0u8, Hash(terms), node, sequence, key, voting_key, basis))
}

/// SPEC 1.6, by decompressing the point and compressing it again.
pub(super) fn may_be_introduced(key: &PublicKey) -> bool {
    INTRODUCIBLE.with_borrow_mut(|known| {
        *known.entry(*key).or_insert_with(|| {
            let compressed = CompressedEdwardsY(key.0);
            let point = compressed.decompress();
            point.is_some_and(|point| point.compress() == compressed && !point.is_small_order())
        })
    })
}

/// SPEC 1.5.
pub(super) fn holds(key: &PublicKey, digest: &Bytes32, signature: &Signature) -> bool {
    ink::holds(&Claim { key: *key, digest: Hash(*digest), signature: *signature })
}

/// SPEC 6.3: RFC 6962, as its section 2.1 defines it.
pub fn merkle_root(leaves: &[Bytes32]) -> Bytes32 {
    match leaves {
        [] => ZERO,
        [leaf] => digest("merkle leaf", leaf),
        _ => {
            // The largest power of two below their number.
            let split = (1..).map(|k| 1 << k).take_while(|k| *k < leaves.len()).last().unwrap_or(1);
            let (left, right) = leaves.split_at(split);
            digest("merkle node", &[merkle_root(left), merkle_root(right)].concat())
        }
    }
}

/// SPEC 6.4.
pub fn log_root(blocks: &[Bytes32]) -> Bytes32 {
    let mut bytes = (blocks.len() as u64).to_le_bytes().to_vec();
    bytes.extend(merkle_root(blocks));
    digest("log", &bytes)
}

fn bit(key: &Bytes32, bit: u16) -> bool {
    key[usize::from(bit / 8)] & (0x80 >> (bit % 8)) != 0
}

/// SPEC 7.2.
pub fn map_root<T: Serialize>(map: &BTreeMap<Bytes32, T>) -> Bytes32 {
    let leaves: Vec<(Bytes32, Bytes32)> = map
        .iter()
        .map(|(key, value)| (*key, digest("map leaf", &[key.to_vec(), encode(value)].concat())))
        .collect();
    if leaves.is_empty() { ZERO } else { subtree(&leaves) }
}

fn subtree(leaves: &[(Bytes32, Bytes32)]) -> Bytes32 {
    if let [(_, leaf)] = leaves {
        return *leaf;
    }
    // They are sorted: where any two differ first, the first and the last do.
    let (first, last) = (&leaves[0].0, &leaves[leaves.len() - 1].0);
    let differs = (0..256).find(|at| bit(first, *at) != bit(last, *at));
    let at = differs.expect("keys of a map differ somewhere");
    let (left, right) = leaves.split_at(leaves.partition_point(|(key, _)| !bit(key, at)));
    let mut bytes = at.to_le_bytes().to_vec();
    bytes.extend(subtree(left));
    bytes.extend(subtree(right));
    digest("map branch", &bytes)
}
