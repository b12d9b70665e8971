//! Random accusations: honest proofs, framed ones, proofs by keys of any age, and such as have one thing or two wrong.

use frith_protocol::agreement::{Ballot, BallotKind};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, PublicKey, Rotation, Signature};
use frith_protocol::state::{Accuse, BlockId, Charter, Contradiction, DomainId, Hold, Reason, SignedBallot};
use frith_protocol::time::Timestamp;

use crate::histories::{History, rotation_to};
use crate::ink;
use crate::model::{ballot_digest, hold_digest};
use crate::people::{DAY, Dice, Person, people, secret_committed_to, secret_of};

/// Whose voting key, as of which epoch.
struct Voter {
    node: NodeId,
    key: PublicKey,
    epoch: u64,
}

impl History {
    pub(crate) fn accuse(&mut self, time: Timestamp) -> Accuse {
        match self.dice.below(8) {
            0 | 1 => self.accuse_of_rotations(),
            2 | 3 => self.accuse_of_holds(time),
            _ => self.accuse_of_ballots(),
        }
    }

    fn accuse_of_holds(&mut self, time: Timestamp) -> Accuse {
        let first = self.hold(time);
        let mut second = first;
        match self.dice.below(3) {
            0 => second.subject = self.anybody().node,
            1 => second.until = second.until.plus(1),
            _ => second.reason = Reason::Retired,
        }
        let (mut subject, mut signer) = (first.by, first.key);
        match self.dice.below(16) {
            0 => second = first,
            1 => second.slot = second.slot.wrapping_add(1),
            2 => second.basis.time = second.basis.time.plus(DAY),
            3 => second.domain.0[0] ^= 1,
            4 => second.sequence += 1,
            5 => subject = self.anybody().node,
            6 => {
                second.by = self.anybody().node;
                subject = *self.dice.one_of(&[second.by, first.by]);
            }
            7 => signer = self.anybody().public(),
            _ => {}
        }
        second.key = signer;
        let sign = |hold: &mut Hold| {
            if let Some(key) = secret_of(&hold.key) {
                hold.signature = ink::sign(&key, &hold_digest(hold));
            }
        };
        sign(&mut second);
        let mut both = [first, second];
        match self.dice.below(16) {
            // Both by the same stranger, or by an earlier key.
            0 => {
                both.iter_mut().for_each(|hold| hold.key = signer);
                both.iter_mut().for_each(sign);
            }
            1 => {
                let person = people().iter().find(|person| person.node == first.by);
                both.iter_mut().for_each(|hold| {
                    hold.sequence = 0;
                    hold.key = person.map_or(hold.key, Person::public);
                    sign(hold);
                });
            }
            2 => both.reverse(),
            _ => self.spoil_proof(both.iter_mut().map(|it| &mut it.signature).collect()),
        }
        let [first, second] = both;
        Accuse { subject, contradiction: Contradiction::Holds(first, second) }
    }

    /// Mostly by a key of the charter in force; also by one of the last epoch, or of one before that.
    fn voter(&mut self) -> Voter {
        let charter: &Charter = match self.dice.below(8) {
            0..3 => self.former.last().unwrap_or(&self.charter),
            3 if !self.former.is_empty() => self.dice.one_of(&self.former),
            _ => &self.charter,
        };
        let seat = &charter.endorsers[self.dice.below(charter.endorsers.len())];
        Voter { node: seat.node_id(), key: seat.voting_key, epoch: charter.epoch }
    }

    fn accuse_of_ballots(&mut self) -> Accuse {
        let Voter { node, key, epoch } = self.voter();
        let (mut subject, mut key) = (node, key);
        let iteration = self.dice.between(1, 3);
        let kinds = [BallotKind::Propose, BallotKind::Vote, BallotKind::Dummy, BallotKind::Finalise];
        let mut ballots: [Ballot; 2] = std::array::from_fn(|at| Ballot {
            domain: DomainId(self.model.domain()),
            epoch,
            iteration,
            kind: *self.dice.one_of(&kinds),
            block: BlockId([at as u8 + 1; 32]),
        });
        if self.dice.chance(3, 4) && ballots.iter().any(|ballot| ballot.kind == BallotKind::Dummy) {
            // Two that do contradict each other.
            (ballots[0].kind, ballots[1].kind) = (BallotKind::Dummy, BallotKind::Finalise);
            if self.dice.chance(1, 2) {
                ballots.reverse();
            }
        }
        for ballot in &mut ballots {
            if ballot.kind == BallotKind::Dummy {
                ballot.block = BlockId::NONE;
            }
        }
        let mut by_another = None;
        match self.dice.below(16) {
            0 => ballots[1].block = ballots[0].block,
            1 => ballots[1].iteration += 1,
            2 => ballots[self.dice.below(2)].epoch += 1,
            3 => ballots.iter_mut().for_each(|ballot| ballot.epoch += 1),
            4 => ballots.iter_mut().for_each(|ballot| ballot.epoch = ballot.epoch.saturating_sub(1)),
            5 => ballots[self.dice.below(2)].domain.0[0] ^= 1,
            6 => ballots.iter_mut().for_each(|ballot| ballot.domain.0[0] ^= 1),
            7 => by_another = Some(self.anybody().voting.public()),
            // Framed: somebody else's key, or somebody else for that key.
            8 => key = self.anybody().voting.public(),
            9 => subject = self.anybody().node,
            10 => key = self.key_of_an_identity(&node),
            _ => {}
        }
        let keys = [key, by_another.unwrap_or(key)];
        let mut signed: Vec<SignedBallot> =
            ballots.into_iter().zip(keys).map(|(ballot, key)| signed(ballot, &key)).collect();
        self.spoil_proof(signed.iter_mut().map(|it| &mut it.proof).collect());
        let second = signed.remove(1);
        Accuse { subject, contradiction: Contradiction::Ballots(signed.remove(0), second) }
    }

    fn key_of_an_identity(&self, node: &NodeId) -> PublicKey {
        let facts = self.model.facts();
        facts.standing.get(&node.0).map_or(people()[0].public(), |standing| standing.keys.current)
    }

    fn accuse_of_rotations(&mut self) -> Accuse {
        let mut subject = self.somebody_standing();
        let facts = self.model.facts();
        let person: &Person = people().iter().find(|it| it.node == subject).unwrap_or(&people()[0]);
        let Some(keys) = facts.standing.get(&subject.0).map(|standing| &standing.keys) else {
            let one = |next: &Person| rotation_to(&subject, 1, &person.next, &next.public());
            return Accuse {
                subject,
                contradiction: Contradiction::Rotations(one(person), one(&people()[1])),
            };
        };
        let next = || secret_committed_to(&keys.next).unwrap_or_else(|| person.next.clone());
        let (mut sequence, mut key) = match self.dice.below(4) {
            0 if keys.sequence > 0 => {
                // One that it had, and has no more.
                let earlier = self.dice.below(keys.sequence as usize) as u32;
                (earlier, person.key_of(earlier))
            }
            0 | 1 => (keys.sequence, secret_of(&keys.current).unwrap_or_else(|| person.key.clone())),
            _ => (keys.sequence + 1, next()),
        };
        let mut other = (sequence, key.clone());
        let mut after = [self.anybody().public(), self.anybody().voting.public()];
        match self.dice.below(14) {
            0 => after[1] = after[0],
            1 => other.0 += 1,
            2 => other.1 = self.anybody().next.clone(),
            // One after the other, as its owner makes them.
            3 => {
                (sequence, key) =
                    (keys.sequence, secret_of(&keys.current).unwrap_or_else(|| person.key.clone()));
                other = (sequence + 1, next());
            }
            4 => {
                // Whoever frames somebody has other keys.
                key = self.anybody().next.clone();
                other.1 = key.clone();
            }
            5 => {
                sequence = sequence.saturating_sub(1);
                other.0 = sequence;
            }
            _ => {}
        }
        let mut both = [
            rotation_to(&subject, sequence, &key, &after[0]),
            rotation_to(&subject, other.0, &other.1, &after[1]),
        ];
        match self.dice.below(24) {
            // Of somebody else: they are signed for the one who made them.
            0 => subject = self.anybody().node,
            _ => self.spoil_proof(both.iter_mut().map(|it| &mut it.signature).collect()),
        }
        let [first, second]: [Rotation; 2] = both;
        Accuse { subject, contradiction: Contradiction::Rotations(first, second) }
    }

    fn spoil_proof(&mut self, mut signatures: Vec<&mut Signature>) {
        if self.dice.chance(1, 24) {
            let flip = |dice: &mut Dice, signature: &mut Signature| signature.bytes[dice.below(64)] ^= 1;
            let at = self.dice.below(signatures.len());
            flip(&mut self.dice, signatures[at]);
        }
    }
}

/// By whoever has that key, or made one for this purpose.
fn signed(ballot: Ballot, key: &PublicKey) -> SignedBallot {
    let secret = secret_of(key).unwrap_or_else(|| people()[0].voting.clone());
    let digest: Hash = ballot_digest(&ballot);
    let proof = ink::sign(&secret, &digest);
    SignedBallot { ballot, voter: secret.public(), proof }
}
