//! The one check of signatures: stateless, batched, before the core.
//!
//! Everything signed says which key signed it, so that checking needs nothing but the bytes; whether that key *is* the current
//! one of whom it names is compared later, against the state. What has passed is [`Verified`], and only [`verify`] makes one.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use rand_core::CryptoRng;

use super::keys::{BadKey, PublicKey, Signature};
use crate::encoding::Hash;
use crate::fault::Fault;
use crate::limits;
use crate::planted::{Bug, loosened};

/// «This key signed this digest so»: to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// What.
    pub digest: Hash,
    /// The signature.
    pub signature: Signature,
}

/// All that a value asks to be checked, collected by [`Stateless::inspect`] and then checked at once.
#[derive(Debug, Default)]
pub struct Sheet {
    claims: Vec<Claim>,
    /// Each once: all admissions of a block may well name one ticket.
    introduced: BTreeSet<PublicKey>,
}

impl Sheet {
    /// Notes that `key` must have signed `digest`.
    pub fn claims(&mut self, key: PublicKey, digest: Hash, signature: Signature) {
        self.claims.push(Claim { key, digest, signature });
    }

    /// Notes a key that a statement, charter or ticket introduces (SPEC 1.6).
    pub fn introduces(&mut self, key: PublicKey) {
        self.introduced.insert(key);
    }

    /// What was noted so far.
    pub fn claimed(&self) -> &[Claim] {
        &self.claims
    }

    /// The keys noted so far, each once.
    pub fn introduced(&self) -> impl Iterator<Item = PublicKey> {
        self.introduced.iter().copied()
    }
}

/// A value whose signatures, keys and shape can be checked without any state.
pub trait Stateless {
    /// Writes all that must be checked onto `sheet`.
    ///
    /// # Errors
    /// A [`Fault`] if the shape alone is wrong: out of order, repeated, too many.
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault>;
}

impl<T: Stateless> Stateless for Arc<T> {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        (**self).inspect(sheet)
    }
}

/// How signatures are checked: injected, since batches need unpredictable coefficients and a simulator remembers what it checked.
pub trait SignatureCheck {
    /// The index of the first claim that does not hold; `None` if all do.
    fn first_bad(&self, claims: &[Claim]) -> Option<usize>;

    /// Whether `key` may be introduced.
    ///
    /// # Errors
    /// [`BadKey`] says why not.
    fn check_key(&self, key: &PublicKey) -> Result<(), BadKey> {
        key.check()
    }
}

/// A value of which every signature and key was checked. Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// What is part of verified values, or put together from nothing but them, is verified. Only this crate can say so.
    pub(crate) fn of_verified_parts(value: T) -> Verified<T> {
        Verified(value)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Checks all that `value` claims.
///
/// # Errors
/// A [`Fault`] that names the first key or signature that does not hold.
pub fn verify<T: Stateless>(value: T, check: &dyn SignatureCheck) -> Result<Verified<T>, Fault> {
    let mut sheet = Sheet::default();
    value.inspect(&mut sheet)?;
    let (count, max) = (sheet.claims.len(), limits::SIGNATURES_PER_MESSAGE_MAX);
    if count > max {
        return Err(Fault::TooMany { what: "signatures of one message", count, max });
    }
    let bad_key = |key: PublicKey| move |why| Fault::BadKey { key, why };
    let signers: BTreeSet<&PublicKey> = sheet.claims.iter().map(|claim| &claim.key).collect();
    for key in sheet.introduced.iter().filter(|_| !loosened(Bug::AnyKey)) {
        // A signature by a key that is no point cannot hold, so whether it is one need not be asked twice.
        let checked = if signers.contains(key) { key.check_encoding() } else { check.check_key(key) };
        checked.map_err(bad_key(*key))?;
    }
    match check.first_bad(&sheet.claims).filter(|_| !loosened(Bug::AnySignature)) {
        None => Ok(Verified(value)),
        Some(bad) => {
            let key = sheet.claims[bad].key;
            if sheet.introduced.contains(&key) {
                key.check().map_err(bad_key(key))?;
            }
            Err(Fault::BadSignature { key })
        }
    }
}

/// ZIP-215 by `ed25519-zebra`, in batches; halves of a batch that was spoilt, to find who spoilt it at twice the price and not more.
///
/// The random source must be one that a peer cannot predict: its numbers are the batch coefficients, and whoever knew them
/// beforehand could forge a pair of signatures that cancel out.
pub struct BatchCheck<R>(Mutex<R>);

impl<R: CryptoRng> BatchCheck<R> {
    /// A check that draws its coefficients from `rng`.
    pub fn new(rng: R) -> Self {
        BatchCheck(Mutex::new(rng))
    }
}

impl<R: CryptoRng> SignatureCheck for BatchCheck<R> {
    fn first_bad(&self, claims: &[Claim]) -> Option<usize> {
        if self.all_hold(claims) {
            return None;
        }
        // One of them is bad: each step tells in which half the first is.
        let (mut from, mut until) = (0, claims.len());
        while until - from > 1 {
            let middle = from + (until - from) / 2;
            if self.all_hold(&claims[from..middle]) {
                from = middle;
            } else {
                until = middle;
            }
        }
        Some(from)
    }
}

impl<R: CryptoRng> BatchCheck<R> {
    fn all_hold(&self, claims: &[Claim]) -> bool {
        if let [one] = claims {
            return holds(one);
        }
        let mut batch = ed25519_zebra::batch::Verifier::new();
        for claim in claims {
            let key = ed25519_zebra::VerificationKeyBytes::from(claim.key.0);
            let signature = ed25519_zebra::Signature::from_bytes(&claim.signature.bytes);
            batch.queue((key, signature, &claim.digest.0));
        }
        let rng = &mut *self.0.lock().expect("a batch check does not panic half-way");
        batch.verify(rng).is_ok()
    }
}

fn holds(claim: &Claim) -> bool {
    ed25519_zebra::VerificationKey::try_from(claim.key.0).is_ok_and(|key| {
        key.verify(&ed25519_zebra::Signature::from_bytes(&claim.signature.bytes), &claim.digest.0).is_ok()
    })
}
