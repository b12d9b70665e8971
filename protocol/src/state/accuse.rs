//! Keys that contradicted themselves: the proof, and what becomes of their owner (SPEC 4.13).
//!
//! Why nobody endorses it: the two signatures are all there is to know, and whoever had to agree could spare a friend. Why it restrains
//! and does not remove: a voting key lies also where a backup was restored unnoticed, and its owner may well be let back in with a
//! fresh one. **Invariant:** what one honest owner signs, whatever crashes and restarts, is never in here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::charter::Charter;
use super::hold::Hold;
use super::maps::{ConvictedKey, Conviction, SpineItem, Standing, previous_voters_slot};
use super::rules::Scene;
use super::statement::Reason;
use crate::agreement::Vote;
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Rotation, Sheet, Signature, Stateless};
use crate::planted::{Bug, loosened};

/// A ballot as its voting key signed it.
pub type SignedBallot = Vote<PublicKey, Signature>;

/// «A key of this identity contradicted itself.» It proves itself, and needs nobody's endorsement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accuse {
    /// Whose key.
    pub subject: NodeId,
    /// The proof.
    pub contradiction: Contradiction,
}

/// What no honest owner of a key signs: a closed list. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contradiction {
    /// By one voting key, of one epoch and iteration (SPEC 8.15).
    Ballots(SignedBallot, SignedBallot),
    /// Of one sequence of the subject's keys (SPEC 2.4).
    Rotations(Rotation, Rotation),
    /// By one key of the subject, of one day and slot (SPEC 5.24).
    Holds(Hold, Hold),
}

impl Contradiction {
    /// The key that it convicts; `None` if its owner is removed for good instead.
    pub fn convicts(&self) -> Option<ConvictedKey> {
        match self {
            Contradiction::Ballots(first, _) => Some(ConvictedKey::Voting(first.voter)),
            Contradiction::Holds(first, _) => Some(ConvictedKey::Identity(first.key)),
            Contradiction::Rotations(..) => None,
        }
    }
}

impl Stateless for Accuse {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        match &self.contradiction {
            Contradiction::Ballots(first, second) => {
                first.inspect(sheet)?;
                second.inspect(sheet)
            }
            Contradiction::Rotations(first, second) => {
                first.inspect(&self.subject, sheet);
                second.inspect(&self.subject, sheet);
                Ok(())
            }
            Contradiction::Holds(first, second) => {
                first.inspect(sheet)?;
                second.inspect(sheet)
            }
        }
    }
}

impl Standing {
    fn is_convicted_of(&self, key: ConvictedKey) -> bool {
        self.convictions.iter().any(|conviction| conviction.key == key)
    }
}

impl Scene<'_> {
    /// SPEC 4.13.
    pub(super) fn judge_accuse(&self, accuse: &Accuse) -> Result<(), Fault> {
        let Accuse { subject, contradiction } = accuse;
        let standing = self.standing_of(subject)?;
        match contradiction {
            Contradiction::Ballots(first, second) => self.judge_ballots(subject, standing, first, second)?,
            Contradiction::Rotations(first, second) => judge_rotations(standing, first, second)?,
            Contradiction::Holds(first, second) => self.judge_holds(subject, standing, first, second)?,
        }
        if loosened(Bug::LiarsStrand) { Ok(()) } else { self.check_leaves_enough(subject) }
    }

    fn judge_ballots(
        &self,
        subject: &NodeId,
        standing: &Standing,
        first: &SignedBallot,
        second: &SignedBallot,
    ) -> Result<(), Fault> {
        let bad = |why| Err(Fault::BadAccusation { why });
        let (key, ballot) = (first.voter, &first.ballot);
        if key != second.voter && !loosened(Bug::BallotsOfTwoKeys) {
            return bad("the ballots are by two keys");
        }
        if ballot.domain != self.law.domain && !loosened(Bug::BallotsOfAnyDomain) {
            return bad("the ballots are of another domain");
        }
        if !ballot.contradicts(&second.ballot) && !loosened(Bug::AnyTwoBallots) {
            return bad("an honest endorser may sign both ballots");
        }
        let epoch = self.law.charter.epoch;
        let has_a_vote = if loosened(Bug::AnybodyFramed) {
            self.law.seats().any(|node| self.law.seat_of(node).is_some_and(|seat| seat.voting_key == key))
        } else if ballot.epoch == epoch || loosened(Bug::AnyEpochConvicts) {
            self.law.seat_of(subject).is_some_and(|seat| seat.voting_key == key)
        } else {
            epoch.checked_sub(1) == Some(ballot.epoch)
                && self.maps.previous_voters().contains(&(key, *subject))
        };
        if standing.is_convicted_of(ConvictedKey::Voting(key)) && !loosened(Bug::ConvictedTwice) {
            return bad("that key is convicted already");
        }
        // Of what is older the keys may be in anybody's hands by now.
        if has_a_vote { Ok(()) } else { bad("the subject had no vote by that key in this epoch or the last") }
    }

    /// Not by an earlier key: the state does not know those, and whoever has one only is a thief of what its owner threw away.
    fn judge_holds(
        &self,
        subject: &NodeId,
        standing: &Standing,
        first: &Hold,
        second: &Hold,
    ) -> Result<(), Fault> {
        let bad = |why| Err(Fault::BadAccusation { why });
        if first.domain != self.law.domain && !loosened(Bug::BallotsOfAnyDomain) {
            return bad("the holds are of another domain");
        }
        let (keys, key) = (&standing.keys, first.key);
        let by_its_key = (first.sequence, key) == (keys.sequence, keys.current);
        if first.by != *subject || (!by_its_key && !loosened(Bug::EarlierHoldsConvict)) {
            return bad("the holds are not by the subject's current key");
        }
        if !first.contradicts(second) && !loosened(Bug::AnyTwoHolds) {
            return bad("an honest endorser may give both holds");
        }
        if standing.is_convicted_of(ConvictedKey::Identity(key)) && !loosened(Bug::ConvictedTwice) {
            return bad("that key is convicted already");
        }
        Ok(())
    }

    pub(super) fn apply_accuse(&mut self, accuse: &Accuse) {
        match accuse.contradiction.convicts() {
            Some(key) => {
                let conviction = Conviction { key, height: self.height };
                self.change(&accuse.subject, |standing| standing.convictions.push(conviction));
            }
            None => self.remove(&accuse.subject, Reason::Misbehaved),
        }
    }

    /// Whose ballots of this epoch can convict in the next one. One key is convicted once, also after that has ended.
    pub(super) fn voters(&self) -> Vec<(PublicKey, NodeId)> {
        let law = self.law;
        let stood = |node: &NodeId| self.maps.standing.get(&node.0);
        let voters = law.seats().filter_map(|node| Some((law.seat_of(node)?.voting_key, *node)));
        let convicted = |node: &NodeId, key: &PublicKey| {
            stood(node).is_some_and(|it| it.is_convicted_of(ConvictedKey::Voting(*key)))
        };
        voters.filter(|(key, node)| !convicted(node, key) || loosened(Bug::ConvictedVoters)).collect()
    }

    /// This epoch ends: these are its voters from here on, and those convictions end whose key gives nobody a vote by `charter`, the next
    /// one with its voting keys: their owner has no seat in it, or a fresh key, also if it had that before it was convicted.
    pub(super) fn close_epoch(&mut self, charter: &Charter, voters: Vec<(PublicKey, NodeId)>) {
        let law = self.law;
        let before = self.maps.previous_voters().iter().map(|(_, node)| node);
        let convicted = |node: &NodeId| self.maps.standing.get(&node.0).is_some_and(Standing::is_convicted);
        let convicted: BTreeSet<NodeId> = law.seats().chain(before).copied().filter(convicted).collect();
        for node in &convicted {
            let seat = charter.seat_of(node);
            self.change(node, |standing| {
                standing.convictions.retain(|conviction| match conviction.key {
                    ConvictedKey::Voting(_) if loosened(Bug::ConvictionsEnd) => false,
                    ConvictedKey::Voting(_) if loosened(Bug::ConvictionsLast) => true,
                    ConvictedKey::Voting(key) => seat.is_some_and(|seat| seat.voting_key == key),
                    ConvictedKey::Identity(_) => true,
                });
            });
        }
        self.maps.spine.insert(previous_voters_slot(), SpineItem::Voters(voters));
    }
}

/// The state knows no key before the current one, and need not: whoever has an earlier one only is a thief of what its owner threw away.
/// Whoever has the current one could revoke the subject as well (SPEC 4.7).
fn judge_rotations(standing: &Standing, first: &Rotation, second: &Rotation) -> Result<(), Fault> {
    let bad = |why| Err(Fault::BadAccusation { why });
    let one_sequence = first.sequence == second.sequence || loosened(Bug::RotationsOfTwoSequences);
    if !one_sequence || first.sequence == 0 {
        return bad("the rotations are not of one sequence");
    }
    // Whatever the signatures are: whoever says the same twice contradicts nothing.
    if (first.key, first.next) == (second.key, second.next) && !loosened(Bug::OneRotationConvicts) {
        return bad("the two rotations are one");
    }
    let keys = &standing.keys;
    let by_its_key = |rotation: &Rotation| {
        (rotation.sequence, rotation.key) == (keys.sequence, keys.current)
            || keys.rotated(rotation).is_ok()
            || loosened(Bug::EarlierKeysConvict)
    };
    if by_its_key(first) && by_its_key(second) {
        Ok(())
    } else {
        bad("the rotations are not by the subject's current key, nor by the next")
    }
}
