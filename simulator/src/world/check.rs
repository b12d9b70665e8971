//! The real check of signatures, computed once for each distinct claim.
//!
//! What is remembered is the outcome of a check of these very bytes, and nothing is put in by signing: a wrong signature is found to be
//! wrong here as it is in a node.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use frith_protocol::agreement::Message as Talk;
use frith_protocol::door::Message;
use frith_protocol::identity::{BadKey, BatchCheck, Claim, PublicKey, SignatureCheck, verify};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::ahead::Ahead;

/// Hashes what is random already, such as keys and signatures: folds the first bytes of each part together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        let len = bytes.len().min(8);
        word[..len].copy_from_slice(&bytes[..len]);
        self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map whose keys are random bytes. It is only ever asked, never walked: its order must not matter.
pub type Lookup<K, V> = HashMap<K, V, BuildHasherDefault<Folded>>;

/// Checks signatures and keys, and remembers what it found.
pub struct Checker {
    batch: BatchCheck<ChaCha20Rng>,
    claims: RefCell<Lookup<Claim, bool>>,
    keys: RefCell<Lookup<PublicKey, Result<(), BadKey>>>,
    asked: Cell<u64>,
    spent: Cell<Duration>,
    /// What will be asked, and the answer if there is one by now: in `claims` is only what somebody really asked.
    foreseen: RefCell<Lookup<Claim, Option<bool>>>,
    /// What was foreseen and has no answer yet, in order. Always empty if another thread checks it.
    pending: RefCell<Vec<Claim>>,
    /// The thread that checks what is foreseen, if there is a processor to spare.
    ahead: Option<Ahead>,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checker({} distinct claims)", self.computed())
    }
}

impl Checker {
    /// A checker that knows nothing. Its batch coefficients grow from `seed`: nobody in a simulation aims at them. With `ahead`, a thread
    /// of its own checks what is [foreseen](Checker::foresee).
    pub fn new(seed: [u8; 32], ahead: bool) -> Checker {
        Checker {
            batch: BatchCheck::new(ChaCha20Rng::from_seed(seed)),
            claims: RefCell::default(),
            keys: RefCell::default(),
            asked: Cell::new(0),
            spent: Cell::new(Duration::ZERO),
            foreseen: RefCell::default(),
            pending: RefCell::default(),
            ahead: ahead.then(|| Ahead::start(seed)),
        }
    }

    /// Somebody will check this soon: so it can be checked meanwhile, or at least together with others, which takes half the time.
    pub fn foresee(&self, message: &Message) {
        if !carries_new_signatures(message) {
            return;
        }
        let claims = Collected::default();
        // What is wrong with its shape is found out by whoever receives it.
        if verify(message.clone(), &claims).is_err() {
            return;
        }
        let (known, mut foreseen) = (self.claims.borrow(), self.foreseen.borrow_mut());
        let mut claims = claims.0.into_inner();
        claims.retain(|claim| {
            let new = !known.contains_key(claim) && !foreseen.contains_key(claim);
            if new {
                foreseen.insert(*claim, None);
            }
            new
        });
        match &self.ahead {
            Some(ahead) if !claims.is_empty() => ahead.check(claims),
            Some(_) | None => self.pending.borrow_mut().append(&mut claims),
        }
    }

    /// How many distinct signatures were really checked.
    pub fn computed(&self) -> u64 {
        self.claims.borrow().len() as u64
    }

    /// How many checks were asked for.
    pub fn asked(&self) -> u64 {
        self.asked.get()
    }

    /// How long the real checks took. For the report only; nothing in the run depends on it.
    pub fn spent(&self) -> Duration {
        self.spent.get()
    }
}

impl SignatureCheck for Checker {
    fn first_bad(&self, claims: &[Claim]) -> Option<usize> {
        self.asked.set(self.asked.get() + claims.len() as u64);
        let mut known = self.claims.borrow_mut();
        let mut foreseen = self.foreseen.borrow_mut();
        let mut unknown: Vec<Claim> = Vec::new();
        for claim in claims.iter().filter(|claim| !known.contains_key(claim)).copied().collect::<Vec<_>>() {
            match foreseen.get(&claim) {
                Some(Some(holds)) => drop(known.insert(claim, *holds)),
                Some(None) | None => unknown.push(claim),
            }
        }
        if !unknown.is_empty() {
            let mut batch = std::mem::take(&mut *self.pending.borrow_mut());
            batch.extend(unknown.iter().filter(|claim| !foreseen.contains_key(claim)));
            if !batch.is_empty() {
                let begun = Instant::now();
                foreseen.extend(answered(checked(&self.batch, batch)));
                self.spent.set(self.spent.get() + begun.elapsed());
            }
            for claim in unknown {
                let holds = loop {
                    let known = foreseen.get(&claim).expect("it is in the batch, or was foreseen");
                    match (known, &self.ahead) {
                        (Some(holds), _) => break *holds,
                        (None, Some(ahead)) => {
                            for answers in ahead.answers() {
                                foreseen.extend(answered(answers.found));
                                self.spent.set(self.spent.get() + answers.took);
                            }
                        }
                        (None, None) => unreachable!("what nobody else checks was in the batch"),
                    }
                };
                known.insert(claim, holds);
            }
        }
        claims.iter().position(|claim| !known[claim])
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), BadKey> {
        *self.keys.borrow_mut().entry(*key).or_insert_with(|| key.check())
    }
}

/// Checks all at once; one by one only if that fails, since one bad claim says nothing of those behind it.
pub(super) fn checked(batch: &BatchCheck<ChaCha20Rng>, claims: Vec<Claim>) -> Vec<(Claim, bool)> {
    let all = batch.first_bad(&claims).is_none();
    claims.into_iter().map(|claim| (claim, all || batch.first_bad(&[claim]).is_none())).collect()
}

fn answered(found: Vec<(Claim, bool)>) -> impl Iterator<Item = (Claim, Option<bool>)> {
    found.into_iter().map(|(claim, holds)| (claim, Some(holds)))
}

/// Whether `message` is of a kind that carries signatures which no earlier message did. Certificates and chains are made of those that
/// were sent one by one.
fn carries_new_signatures(message: &Message) -> bool {
    match message {
        Message::AskEndorsement(_)
        | Message::Answer(_)
        | Message::Circulate(_)
        | Message::KeyHistory(_)
        | Message::Hold(_)
        | Message::Session(_) => true,
        Message::Talk(talk) => matches!(&**talk, Talk::Propose(_) | Talk::Ballot(_)),
        Message::Unsupported { .. }
        | Message::AskHead
        | Message::Head { .. }
        | Message::AskCharter(_)
        | Message::AskLinks { .. }
        | Message::Links(_)
        | Message::Charter(_)
        | Message::Submit(_)
        | Message::Refused { .. }
        | Message::Follow { .. }
        | Message::Same
        | Message::Final(_)
        | Message::AskSnapshot { .. }
        | Message::AskProofs(_)
        | Message::Proofs(_)
        | Message::Snapshot(_) => false,
    }
}

/// Takes every claim for granted, and notes it.
#[derive(Default)]
struct Collected(RefCell<Vec<Claim>>);

impl SignatureCheck for Collected {
    fn first_bad(&self, claims: &[Claim]) -> Option<usize> {
        self.0.borrow_mut().extend_from_slice(claims);
        None
    }

    fn check_key(&self, _: &PublicKey) -> Result<(), BadKey> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use frith_protocol::encoding::Hash;
    use frith_protocol::identity::SecretKey;

    use super::*;

    fn claim(byte: u8) -> Claim {
        let key = SecretKey::from_seed([byte; 32]);
        let digest = Hash([byte; 32]);
        Claim { key: key.public(), digest, signature: key.sign(&digest) }
    }

    #[test]
    fn the_same_claim_is_computed_once_and_asked_as_often_as_it_is() {
        let checker = Checker::new([0; 32], false);
        let claims: Vec<Claim> = (0..5).map(claim).collect();
        for _ in 0..3 {
            assert_eq!(checker.first_bad(&claims), None);
        }
        assert_eq!((checker.computed(), checker.asked()), (5, 15));
    }

    #[test]
    fn a_bad_claim_is_bad_each_time_and_spoils_no_other() {
        let checker = Checker::new([0; 32], true);
        let mut claims: Vec<Claim> = (0..5).map(claim).collect();
        claims[3].digest = Hash([9; 32]);
        assert_eq!(checker.first_bad(&claims), Some(3));
        assert_eq!(checker.first_bad(&claims[..3]), None);
        assert_eq!(checker.first_bad(&claims[3..]), Some(0));
        assert_eq!(checker.first_bad(&claims[4..]), None);
        assert_eq!(checker.computed(), 5);
    }

    #[test]
    fn what_was_foreseen_is_found_to_be_the_same_and_counted_once() {
        use frith_protocol::agreement::{Ballot, BallotKind, Vote};
        let ballot = Ballot {
            domain: frith_protocol::state::DomainId::default(),
            epoch: 1,
            iteration: 1,
            kind: BallotKind::Vote,
            block: frith_protocol::state::BlockId::NONE,
        };
        let message = |byte: u8, bad: bool| {
            let key = SecretKey::from_seed([byte; 32]);
            let mut proof = key.sign(&ballot.digest());
            proof.bytes[3] ^= u8::from(bad);
            Message::Talk(std::sync::Arc::new(Talk::Ballot(Vote { ballot, voter: key.public(), proof })))
        };
        for (foreseen, ahead) in [0, 17, 40].into_iter().flat_map(|many| [(many, false), (many, true)]) {
            let checker = Checker::new([0; 32], ahead);
            for byte in 0..foreseen {
                checker.foresee(&message(byte, byte % 7 == 3));
            }
            assert_eq!(checker.computed(), 0, "nobody has asked yet");
            let holds: Vec<u8> =
                (0..40).filter(|byte| verify(message(*byte, byte % 7 == 3), &checker).is_ok()).collect();
            assert_eq!(holds, (0..40).filter(|byte| byte % 7 != 3).collect::<Vec<_>>());
            assert_eq!(checker.computed(), 40);
        }
    }
}
