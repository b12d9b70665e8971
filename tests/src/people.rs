//! Identities, charters and signatures for tests.

use std::cell::RefCell;
use std::sync::OnceLock;

use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{
    Algorithm, BatchCheck, Inception, KeySequence, NodeId, PublicKey, SecretKey, Signature,
};
use frith_protocol::state::{
    AdmissionPolicy, Charter, Endorsement, Founded, Recovery, Role, Seat, Thresholds, Timing, founding_digest,
};
use frith_protocol::time::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::ink::{self, Memo};

/// A minute, in milliseconds.
pub const MINUTE: u64 = 60_000;
/// A day, in milliseconds.
pub const DAY: u64 = 24 * 60 * MINUTE;

/// How many people there are.
pub const PEOPLE: usize = 64;

/// Whoever has keys.
#[derive(Clone, Debug)]
pub struct Person {
    number: u32,
    /// The key of its identity.
    pub key: SecretKey,
    /// The key that it has committed to.
    pub next: SecretKey,
    /// The key of its ballots, if it has a seat.
    pub voting: SecretKey,
    /// How it began.
    pub inception: Inception,
    /// Who it is.
    pub node: NodeId,
    otherwise: OnceLock<Inception>,
}

impl Person {
    /// One of as many as a test needs, always the same.
    pub fn numbered(number: u32) -> Person {
        let secret = |purpose: u8| SecretKey::from_seed(seed(number, purpose, 0));
        let (key, next, voting) = (secret(1), secret(2), secret(3));
        let inception = Inception::new(&key, &next.public());
        let node = inception.node_id();
        Person { number, key, next, voting, inception, node, otherwise: OnceLock::new() }
    }

    /// Its key of that sequence, if it rotates to one of its own each time.
    pub fn key_of(&self, sequence: KeySequence) -> SecretKey {
        match sequence {
            0 => self.key.clone(),
            1 => self.next.clone(),
            later => grown(seed(self.number, 4, later)),
        }
    }

    /// A voting key of its own for a later charter, the same for the same number.
    pub fn fresh_voting_key(&self, number: u32) -> SecretKey {
        let mut seed = self.voting.seed();
        seed[4..8].copy_from_slice(&number.to_be_bytes());
        seed[8] ^= 1;
        grown(seed)
    }

    /// The public half of its key.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Its endorsement of what has this digest.
    pub fn endorse(&self, subject: &Hash) -> Endorsement {
        Endorsement::sign(subject, self.node, 0, &self.key)
    }

    /// Its inception with another proof of possession that holds as well: whoever has a key can sign one text in many ways.
    pub fn inception_signed_otherwise(&self) -> Inception {
        self.otherwise.get_or_init(|| self.sign_otherwise()).clone()
    }

    fn sign_otherwise(&self) -> Inception {
        let usual = ExpandedSecretKey::from(&self.key.seed());
        let mut prefix = usual.hash_prefix;
        prefix[0] ^= 1;
        let other = ExpandedSecretKey { scalar: usual.scalar, hash_prefix: prefix };
        let verifying = ed25519_dalek::SigningKey::from_bytes(&self.key.seed()).verifying_key();
        let text = crate::model::hashes::digest("possession", &self.node.0);
        let signature = raw_sign::<sha2::Sha512>(&other, &text, &verifying);
        let possession = Signature { algorithm: Algorithm::Ed25519, bytes: signature.to_bytes() };
        assert_ne!(possession, self.inception.possession);
        Inception { possession, ..self.inception.clone() }
    }
}

fn seed(number: u32, purpose: u8, sequence: KeySequence) -> [u8; 32] {
    let mut seed = [purpose; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    if sequence > 0 {
        seed[4..8].copy_from_slice(&sequence.to_be_bytes());
    }
    seed
}

/// Everybody, always the same.
pub fn people() -> &'static [Person] {
    static PEOPLE_OF_ALL_TESTS: OnceLock<Vec<Person>> = OnceLock::new();
    PEOPLE_OF_ALL_TESTS.get_or_init(|| (0..PEOPLE as u32).map(Person::numbered).collect())
}

/// The check that nodes use; its coefficients need not be secret here.
pub fn check() -> BatchCheck<ChaCha8Rng> {
    BatchCheck::new(ChaCha8Rng::from_seed([9; 32]))
}

thread_local! {
    static RING: RefCell<Ring> = RefCell::default();
}

/// Secret keys that were made: making one costs more than judging an entry.
#[derive(Default)]
struct Ring {
    by_seed: Memo<[u8; 32], SecretKey>,
    by_public: Memo<PublicKey, SecretKey>,
    by_commitment: Memo<Hash, SecretKey>,
}

impl Ring {
    fn take(&mut self, key: SecretKey) -> SecretKey {
        self.by_seed.insert(key.seed(), key.clone());
        self.by_public.insert(key.public(), key.clone());
        self.by_commitment.insert(key.public().commitment(), key.clone());
        key
    }
}

/// The key that grows from `seed`, made once.
fn grown(seed: [u8; 32]) -> SecretKey {
    RING.with_borrow_mut(|ring| {
        let known = ring.by_seed.get(&seed).cloned();
        known.unwrap_or_else(|| ring.take(SecretKey::from_seed(seed)))
    })
}

/// Whoever made this key on this thread made it for one of [`people`].
pub fn secret_of(key: &PublicKey) -> Option<SecretKey> {
    RING.with_borrow(|ring| ring.by_public.get(key).cloned())
}

/// The same of the key that somebody has committed to.
pub fn secret_committed_to(commitment: &Hash) -> Option<SecretKey> {
    RING.with_borrow(|ring| ring.by_commitment.get(commitment).cloned())
}

/// Makes the keys of [`people`] known to this thread.
pub fn bring_keys() {
    let known = RING.with_borrow(|ring| ring.by_public.contains_key(&people()[0].public()));
    for person in people().iter().filter(|_| !known) {
        for key in [&person.key, &person.next, &person.voting] {
            RING.with_borrow_mut(|ring| ring.take(key.clone()));
        }
    }
}

/// A charter that may be founded, over these founders: the most faults that their number allows, and an `admit` threshold that it allows.
pub fn charter(founders: &[&Person]) -> Charter {
    let n = founders.len() as u8;
    let faults = n.saturating_sub(1) / 3;
    let mut endorsers: Vec<Seat> = founders
        .iter()
        .map(|person| Seat {
            inception: person.inception.clone(),
            voting_key: person.voting.public(),
            roles: vec!["server".into()],
        })
        .collect();
    endorsers.sort_by_key(Seat::node_id);
    let role =
        |name: &str| Role { name: name.into(), capabilities: vec!["serve".into()], freshness_ms: None };
    Charter {
        previous: None,
        epoch: 1,
        name: "test".into(),
        written: Timestamp::ZERO,
        endorsers,
        faults,
        thresholds: Thresholds {
            admit: (faults + 1).max(n.min(2)),
            revoke: faults + 1,
            contain: faults + 1,
            amend: (n + faults) / 2 + 1,
        },
        recovery: Recovery::default(),
        roles: vec![role("gateway"), role("operator"), role("server")],
        timing: Timing {
            heartbeat_ms: 10_000,
            freshness_ms: MINUTE,
            silence_ms: 14 * DAY,
            skew_ms: 2_000,
            first_timeout_ms: 500,
            timeout_cap_ms: 8_000,
            member_lifetime_ms: 90 * DAY,
            basis_ms: 60 * MINUTE,
            ticket_lifetime_ms: DAY,
            proposal_lifetime_ms: DAY,
            hold_ms: 3_600_000,
        },
        admission: AdmissionPolicy { tickets: true, approval: true },
        last_day: Timestamp(3650 * DAY),
    }
}

/// The charter with the signatures of all its founders.
///
/// # Panics
/// If an endorser is none of [`people`].
pub fn found(charter: Charter) -> Founded {
    let digest = founding_digest(&charter.founds());
    let signatures = charter
        .endorsers
        .iter()
        .map(|seat| {
            let founder = people().iter().find(|person| person.public() == seat.inception.key);
            ink::sign(&founder.expect("founders are people").key, &digest)
        })
        .collect();
    Founded { charter, signatures }
}

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high - low + 1)
    }

    /// True `of` times in `all`.
    pub fn chance(&mut self, of: usize, all: usize) -> bool {
        self.below(all) < of
    }

    /// One of them.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Puts them into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// Encodings that no key may have: no point, points of small order, and points encoded otherwise than they should be.
pub fn bad_keys() -> Vec<PublicKey> {
    let mut two_not_on_curve = [0; 32];
    two_not_on_curve[0] = 2;
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut identity_with_sign = identity;
    identity_with_sign[31] = 0x80;
    // y = p, which is 0, encoded without being reduced; and y = p + 1, which is 1.
    let mut unreduced = [0xff; 32];
    unreduced[0] = 0xed;
    unreduced[31] = 0x7f;
    let mut unreduced_one = unreduced;
    unreduced_one[0] = 0xee;
    // y = p + 3 and the like are points of full order in a second encoding, where the curve has them.
    let second_encodings = (0xef..=0xff).map(|low| {
        let mut bytes = unreduced;
        bytes[0] = low;
        bytes
    });
    [two_not_on_curve, [0; 32], identity, identity_with_sign, unreduced, unreduced_one]
        .into_iter()
        .chain(second_encodings)
        .map(PublicKey)
        .collect()
}
