//! How the seats of a world sign: with numbers, which cost nothing, or with keys.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use crate::agreement::tests::bench::Tiny;
use crate::agreement::*;
use crate::identity::{
    BatchCheck, PublicKey, SecretKey, Sheet, Signature, SignatureCheck as _, Stateless as _,
};

/// What names the seats, and what their ballots carry. Where it matters who signed, seats are numbers, in the order of the charter.
pub(crate) trait Ink: Sized {
    type Voter: Voter;
    type Proof: Value;
    fn of(seats: u8) -> Self;
    fn voter(&self, seat: u8) -> Self::Voter;
    fn sign(&self, seat: u8, ballot: &Ballot) -> Self::Proof;
    /// What a node checks before its core hears of the message.
    fn holds(&self, message: &Message<Tiny, Self::Voter, Self::Proof>) -> bool;
    /// Makes a proof one that does not hold, if there is such a thing.
    fn forge(proof: &mut Self::Proof);

    fn vote(&self, seat: u8, ballot: Ballot) -> Vote<Self::Voter, Self::Proof> {
        Vote { ballot, voter: self.voter(seat), proof: self.sign(seat, &ballot) }
    }
}

/// A proof is the voter's own number: the harness hands on nobody's ballot that was not signed.
pub(crate) struct Numbers;

impl Ink for Numbers {
    type Voter = u8;
    type Proof = u8;
    fn of(_: u8) -> Numbers {
        Numbers
    }
    fn voter(&self, seat: u8) -> u8 {
        seat
    }
    fn sign(&self, seat: u8, _: &Ballot) -> u8 {
        seat
    }
    fn holds(&self, _: &Message<Tiny, u8, u8>) -> bool {
        true
    }
    fn forge(_: &mut u8) {}
}

/// Ed25519, as in a mesh: voters are named by their keys, which are in another order than their seats, and each message is checked as a
/// node checks it, in a batch.
pub(crate) struct Keys {
    keys: Vec<SecretKey>,
    check: BatchCheck<ChaCha8Rng>,
}

impl Ink for Keys {
    type Voter = PublicKey;
    type Proof = Signature;
    fn of(seats: u8) -> Keys {
        let keys = (0..seats).map(|seat| SecretKey::from_seed([seat + 1; 32])).collect();
        Keys { keys, check: BatchCheck::new(ChaCha8Rng::from_seed([9; 32])) }
    }
    fn voter(&self, seat: u8) -> PublicKey {
        self.keys[usize::from(seat)].public()
    }
    fn sign(&self, seat: u8, ballot: &Ballot) -> Signature {
        self.keys[usize::from(seat)].sign(&ballot.digest())
    }
    fn holds(&self, message: &Message<Tiny, PublicKey, Signature>) -> bool {
        let mut sheet = Sheet::default();
        let inspected = match message {
            Message::Propose(proposal) => proposal
                .vote
                .inspect(&mut sheet)
                .and_then(|()| proposal.grounds.iter().try_for_each(|grounds| grounds.inspect(&mut sheet))),
            Message::Ballot(vote) => vote.inspect(&mut sheet),
            Message::Certificate(certificate) => certificate.inspect(&mut sheet),
            Message::Have(have) => {
                have.certificates.iter().try_for_each(|certificate| certificate.inspect(&mut sheet))
            }
            Message::Newest(newest) => newest.iter().try_for_each(|vote| vote.inspect(&mut sheet)),
            Message::Want(_) | Message::AskNewest { .. } => Ok(()),
        };
        inspected.is_ok() && self.check.first_bad(sheet.claimed()).is_none()
    }
    fn forge(proof: &mut Signature) {
        proof.bytes[0] ^= 1;
    }
}

/// The hand of one seat.
pub(super) struct Pen<'a, I> {
    pub(super) ink: &'a I,
    pub(super) seat: u8,
}

impl<I: Ink> Signer<I::Proof> for Pen<'_, I> {
    fn sign(&self, ballot: &Ballot) -> I::Proof {
        self.ink.sign(self.seat, ballot)
    }
}

/// Spoils the proofs that the sender itself made up.
pub(super) fn forge<I: Ink>(message: &mut Message<Tiny, I::Voter, I::Proof>) {
    match message {
        Message::Propose(proposal) => I::forge(&mut proposal.vote.proof),
        Message::Ballot(vote) => I::forge(&mut vote.proof),
        Message::Certificate(certificate) => {
            certificate.votes.iter_mut().take(1).for_each(|(_, proof)| I::forge(proof));
        }
        Message::Have(have) => {
            let votes = have.certificates.iter_mut().flat_map(|certificate| &mut certificate.votes);
            votes.take(1).for_each(|(_, proof)| I::forge(proof));
        }
        Message::Newest(newest) => newest.iter_mut().for_each(|vote| I::forge(&mut vote.proof)),
        Message::Want(_) | Message::AskNewest { .. } => {}
    }
}
