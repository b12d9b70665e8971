//! Ids and roots by the formulas of SPEC 1, 2, 6 and 7, on plain slices and sorted lists.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};

use curve25519_dalek::edwards::CompressedEdwardsY;
use frith_protocol::encoding::{Hash, encode};
use frith_protocol::identity::{Claim, Inception, PublicKey, Rotation, Signature};
use frith_protocol::state::Consent;
use serde::Serialize;

use crate::people::was_signed;

/// 32 bytes; here nothing is typed more finely, so that no conversion of the engine's is used.
pub type Bytes32 = [u8; 32];

pub(super) const ZERO: Bytes32 = [0; 32];

/// SPEC 1.3.
pub fn digest(label: &str, bytes: &[u8]) -> Bytes32 {
    blake3::derive_key(&format!("frith 2026-11 {label} v1"), bytes)
}

/// SPEC 1.4: the digest of an encoding.
pub fn digest_of<T: Serialize>(label: &str, value: &T) -> Bytes32 {
    digest(label, &encode(value))
}

/// SPEC 2.1: version and algorithm, then key and commitment.
pub fn node_id(inception: &Inception) -> Bytes32 {
    digest_of("inception", &(1u8, 0u8, inception.key, inception.next))
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
pub(super) fn rotation(node: Bytes32, rotation: &Rotation) -> Bytes32 {
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
    let compressed = CompressedEdwardsY(key.0);
    compressed.decompress().is_some_and(|point| point.compress() == compressed && !point.is_small_order())
}

thread_local! {
    /// What was found to hold: the model asks the same again and again.
    static HELD: RefCell<HashSet<(PublicKey, Bytes32, Signature)>> = RefCell::default();
}

/// Forgets what was found to hold: histories have little in common.
pub fn forget_held() {
    HELD.take();
}

/// SPEC 1.5, one by one.
pub(super) fn holds(key: &PublicKey, digest: &Bytes32, signature: &Signature) -> bool {
    let asked = (*key, *digest, *signature);
    let claim = Claim { key: *key, digest: Hash(*digest), signature: *signature };
    if was_signed(&claim) || HELD.with_borrow(|held| held.contains(&asked)) {
        return true;
    }
    let holds = ed25519_zebra::VerificationKey::try_from(key.0)
        .is_ok_and(|key| key.verify(&ed25519_zebra::Signature::from_bytes(&signature.bytes), digest).is_ok());
    if holds {
        HELD.with_borrow_mut(|held| held.insert(asked));
    }
    holds
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
    let differs = (0..256).find(|at| leaves.iter().any(|(key, _)| bit(key, *at) != bit(&leaves[0].0, *at)));
    let at = differs.expect("keys of a map differ somewhere");
    let (left, right): (Vec<_>, Vec<_>) = leaves.iter().partition(|(key, _)| !bit(key, at));
    let mut bytes = at.to_le_bytes().to_vec();
    bytes.extend(subtree(&left));
    bytes.extend(subtree(&right));
    digest("map branch", &bytes)
}
