//! Proofs that somebody lied (SPEC 4.13, 8.15).

use frith_protocol::agreement::{Ballot, BallotKind};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, Rotation};
use frith_protocol::state::{Accuse, Contradiction, Hold, Reason, SignedBallot};
use frith_protocol::time::Timestamp;

use super::No;
use super::amend::seat_of;
use super::facts::{ConvictedKey, Conviction, Facts, Standing, day};
use super::hashes::{Bytes32, commitment, digest_of, holds, rotation};
use super::hold::{self, hold_digest};
use super::rules::{leaves_enough, unless};

/// SPEC 8: what a ballot signs.
pub fn ballot_digest(ballot: &Ballot) -> Hash {
    Hash(digest_of("ballot", &(1u8, 0u8, ballot)))
}

/// What needs no state.
pub(super) fn check_signatures(it: &Accuse) -> Result<(), No> {
    match &it.contradiction {
        Contradiction::Ballots(first, second) => [first, second].into_iter().try_for_each(|signed| {
            let digest = ballot_digest(&signed.ballot);
            unless(holds(&signed.voter, &digest.0, &signed.proof), "8 signature of a ballot")
        }),
        Contradiction::Rotations(first, second) => [first, second].into_iter().try_for_each(|one| {
            let signed = rotation(it.subject.0, one);
            unless(holds(&one.key, &signed, &one.signature), "4.13 signature of a rotation")
        }),
        Contradiction::Holds(first, second) => {
            [first, second].into_iter().try_for_each(hold::check_signature)
        }
    }
}

/// SPEC 8.15: a closed list.
fn contradict(one: &Ballot, other: &Ballot) -> bool {
    let names_a_block = |ballot: &Ballot| match ballot.kind {
        BallotKind::Propose | BallotKind::Vote | BallotKind::Finalise => true,
        BallotKind::Dummy => false,
    };
    let two = |a: BallotKind, b: BallotKind| one.kind == a && other.kind == b;
    let gave_up_and_finalised =
        two(BallotKind::Dummy, BallotKind::Finalise) || two(BallotKind::Finalise, BallotKind::Dummy);
    let two_blocks = names_a_block(one) && names_a_block(other) && one.block != other.block;
    one.epoch == other.epoch && one.iteration == other.iteration && (gave_up_and_finalised || two_blocks)
}

/// SPEC 4.13.
pub(super) fn check(domain: Bytes32, facts: &Facts, time: Timestamp, it: &Accuse) -> Result<(), No> {
    let standing = facts.standing.get(&it.subject.0).ok_or("4.13 the subject does not stand")?;
    match &it.contradiction {
        Contradiction::Ballots(first, second) => {
            check_ballots(domain, facts, standing, &it.subject, first, second)?;
        }
        Contradiction::Rotations(first, second) => check_rotations(standing, first, second)?,
        Contradiction::Holds(first, second) => check_holds(domain, standing, &it.subject, first, second)?,
    }
    unless(leaves_enough(facts, time, &it.subject.0), "4.13 it would strand the charter")
}

fn check_ballots(
    domain: Bytes32,
    facts: &Facts,
    standing: &Standing,
    subject: &NodeId,
    first: &SignedBallot,
    second: &SignedBallot,
) -> Result<(), No> {
    let ours = [first, second].iter().all(|signed| signed.ballot.domain.0 == domain);
    unless(ours, "4.13 ballots of another domain")?;
    unless(first.voter == second.voter, "4.13 ballots of two keys")?;
    unless(contradict(&first.ballot, &second.ballot), "8.15 no contradiction")?;
    let (key, epoch, charter) = (first.voter, first.ballot.epoch, facts.charter());
    let seated = seat_of(charter, &subject.0).is_some_and(|seat| seat.voting_key == key);
    let voted_before = facts.previous_voters().contains(&(key, Hash(subject.0)));
    let before = u128::from(epoch) + 1 == u128::from(charter.epoch);
    unless(seated || voted_before, "4.13 a key that did not vote for the subject")?;
    unless(seated && epoch == charter.epoch || voted_before && before, "4.13 ballots of another epoch")?;
    let convicted = standing.convictions.iter().any(|it| it.key == ConvictedKey::Voting(key));
    unless(!convicted, "4.13 convicted already")
}

fn check_rotations(standing: &Standing, first: &Rotation, second: &Rotation) -> Result<(), No> {
    unless(first.sequence == second.sequence, "4.13 rotations of two sequences")?;
    unless(first.key == second.key, "4.13 rotations to two keys")?;
    unless(first.next != second.next, "4.13 the same rotation twice")?;
    unless(first.sequence != 0, "4.13 rotations of sequence 0")?;
    let keys = &standing.keys;
    let current = first.key == keys.current && first.sequence == keys.sequence;
    let next =
        commitment(&first.key) == keys.next && u64::from(first.sequence) == u64::from(keys.sequence) + 1;
    unless(current || next, "4.13 rotations by an earlier key, or none")
}

fn check_holds(
    domain: Bytes32,
    standing: &Standing,
    subject: &NodeId,
    first: &Hold,
    second: &Hold,
) -> Result<(), No> {
    let both = [first, second];
    unless(both.iter().all(|hold| hold.domain.0 == domain), "4.13 holds of another domain")?;
    unless(both.iter().all(|hold| hold.by == *subject), "4.13 holds by somebody else")?;
    let keys = (standing.keys.sequence, standing.keys.current);
    unless(
        both.iter().all(|hold| (hold.sequence, hold.key) == keys),
        "4.13 holds by an earlier key, or none",
    )?;
    let slot = |hold: &Hold| (day(hold.basis.time), hold.slot);
    unless(slot(first) == slot(second), "8.15 holds of two slots")?;
    // SPEC 5.24: they say different things, whatever the signatures are.
    unless(hold_digest(first) != hold_digest(second), "8.15 the same hold twice")?;
    let convicted = standing.convictions.iter().any(|it| it.key == ConvictedKey::Identity(first.key));
    unless(!convicted, "4.13 convicted of holds already")
}

/// SPEC 4.11, 4.13: a rotation ends what holds began.
pub(super) fn rotated(standing: &mut Standing) {
    standing.convictions.retain(|it| match it.key {
        ConvictedKey::Voting(_) => true,
        ConvictedKey::Identity(_) => false,
    });
}

/// SPEC 4.13: what it changes, taken to be valid.
pub(super) fn apply(facts: &mut Facts, height: u64, it: &Accuse) {
    match &it.contradiction {
        Contradiction::Ballots(first, _) => {
            let Some(standing) = facts.standing_mut(&it.subject.0) else { return };
            standing.convictions.push(Conviction { key: ConvictedKey::Voting(first.voter), height });
        }
        Contradiction::Holds(first, _) => {
            let Some(standing) = facts.standing_mut(&it.subject.0) else { return };
            standing.convictions.push(Conviction { key: ConvictedKey::Identity(first.key), height });
        }
        Contradiction::Rotations(..) => facts.remove(height, &it.subject.0, Reason::Misbehaved),
    }
}
