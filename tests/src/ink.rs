//! How random histories sign: with keys, or, most of them, with stand-ins that cost nothing.
//!
//! The engine is given its signature check by its host, and the model asks the one here; so both take a *stand-in*, which is the key and the
//! digest that a signature would be of, in plain. Whoever draws histories makes them only where it has the secret key. A stand-in for
//! another digest, by another key or with one bit spoilt is none: it is checked as the signature that it claims to be, and does not hold.
//! Making and checking real ones took most of the time of a history, and said nothing of the rules of state; one history in
//! [`ONE_IN`] has them all the same, so that it would show if stand-ins hid anything.
//!
//! What was checked once, by one or the other, is not checked again: the pool of people, with their possessions, is the same in all histories.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use ed25519_zebra::VerificationKey;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{Algorithm, BadKey, Claim, PublicKey, SecretKey, Signature, SignatureCheck};

use crate::people::check;

/// One history in so many is signed with keys.
pub const ONE_IN: u64 = 64;

/// What a history is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Ed25519.
    Keys,
    /// Nothing that anybody could not write.
    StandIns,
}

/// A hash for maps of keys, digests and signatures, which are random enough as they are.
#[derive(Default)]
pub struct Folding(u64);

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map that is asked so often that the usual hash would show.
pub type Memo<K, V> = HashMap<K, V, BuildHasherDefault<Folding>>;

/// What one side of a trial found out about signatures.
#[derive(Default)]
struct Known {
    held: HashSet<Claim, BuildHasherDefault<Folding>>,
    did_not: HashSet<Claim, BuildHasherDefault<Folding>>,
}

thread_local! {
    static INK: Cell<Ink> = const { Cell::new(Ink::Keys) };
    static BY_MODEL: RefCell<Known> = RefCell::default();
    static BY_ENGINE: RefCell<Known> = RefCell::default();
    static CHECKED_KEYS: RefCell<Memo<PublicKey, Result<(), BadKey>>> = RefCell::default();
}

/// Begins a history on this thread. Real signatures of the one before, but for those of the pool, are seldom met again.
pub fn begin(ink: Ink) {
    INK.set(ink);
    for known in [&BY_MODEL, &BY_ENGINE] {
        known.with_borrow_mut(|known| {
            known.did_not.clear();
            if known.held.len() > 50_000 {
                known.held.clear();
            }
        });
    }
}

/// Signs, or writes down who would have signed what.
pub fn sign(key: &SecretKey, digest: &Hash) -> Signature {
    match INK.get() {
        Ink::Keys => key.sign(digest),
        Ink::StandIns => stand_in(&key.public(), digest),
    }
}

fn stand_in(key: &PublicKey, digest: &Hash) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&key.0);
    bytes[32..].copy_from_slice(&digest.0);
    Signature { algorithm: Algorithm::Ed25519, bytes }
}

fn is_stand_in(claim: &Claim) -> bool {
    INK.get() == Ink::StandIns && claim.signature == stand_in(&claim.key, &claim.digest)
}

impl Known {
    fn of(&self, claim: &Claim) -> Option<bool> {
        match is_stand_in(claim) || self.held.contains(claim) {
            true => Some(true),
            false => self.did_not.contains(claim).then_some(false),
        }
    }

    fn learn(&mut self, claim: &Claim, holds: bool) {
        let _ = if holds { self.held.insert(*claim) } else { self.did_not.insert(*claim) };
    }
}

/// The model's check: one by one.
pub(crate) fn holds(claim: &Claim) -> bool {
    BY_MODEL.with_borrow_mut(|known| {
        known.of(claim).unwrap_or_else(|| {
            let signature = ed25519_zebra::Signature::from_bytes(&claim.signature.bytes);
            let key = VerificationKey::try_from(claim.key.0);
            let holds = key.is_ok_and(|key| key.verify(&signature, &claim.digest.0).is_ok());
            known.learn(claim, holds);
            holds
        })
    })
}

/// The engine's check: what is not known yet, in a batch, as nodes do it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remembering;

impl SignatureCheck for Remembering {
    fn first_bad(&self, claims: &[Claim]) -> Option<usize> {
        BY_ENGINE.with_borrow_mut(|known| {
            let mut asked: Vec<Claim> = claims.iter().filter(|it| known.of(it).is_none()).copied().collect();
            while !asked.is_empty() {
                let bad = check().first_bad(&asked);
                let held = bad.unwrap_or(asked.len());
                asked[..held].iter().for_each(|claim| known.learn(claim, true));
                if let Some(bad) = bad {
                    known.learn(&asked[bad], false);
                }
                asked.retain(|claim| known.of(claim).is_none());
            }
            claims.iter().position(|claim| known.of(claim) == Some(false))
        })
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), BadKey> {
        CHECKED_KEYS.with_borrow_mut(|known| *known.entry(*key).or_insert_with(|| key.check()))
    }
}
