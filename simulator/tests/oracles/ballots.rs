//! S5: ballots that contradict one another.

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Message as Talk, Vote};
use frith_protocol::door::Message;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::{BlockId, DomainId};
use frith_simulator::engine::NodeIndex;
use frith_simulator::oracles::{Ballots, Invariant};

use crate::{A, B, NOW, block, key};

fn ballots(excused: &[NodeIndex]) -> Ballots {
    let voters = [(A, key(1).public()), (B, key(2).public())];
    Ballots::new(3, voters, excused.iter().copied().collect())
}

fn ballot(voter: PublicKey, iteration: u64, kind: BallotKind, of: BlockId) -> Message {
    let ballot = Ballot { domain: DomainId::default(), epoch: 1, iteration, kind, block: of };
    let proof = key(1).sign(&Hash([0; 32]));
    Message::Talk(Arc::new(Talk::Ballot(Vote { ballot, voter, proof })))
}

/// What A says, in order; how many violations that makes.
fn said_by_a(said: &[(u64, BallotKind, u8)]) -> usize {
    let mut watched = ballots(&[]);
    for (iteration, kind, of) in said {
        watched.leaves(A, NOW, &ballot(key(1).public(), *iteration, *kind, block(*of)));
    }
    watched.violations().len()
}

#[test]
fn two_votes_for_different_blocks_in_one_iteration_break_s5() {
    use BallotKind::{Finalise, Propose, Vote};
    assert_eq!(said_by_a(&[(1, Vote, 1), (1, Vote, 2)]), 1);
    assert_eq!(said_by_a(&[(1, Propose, 1), (1, Vote, 2)]), 1);
    assert_eq!(said_by_a(&[(1, Vote, 1), (1, Finalise, 2)]), 1);
    assert_eq!(said_by_a(&[(1, Propose, 1), (1, Propose, 2)]), 1);
}

#[test]
fn a_dummy_and_a_finalise_in_one_iteration_break_s5_in_either_order() {
    use BallotKind::{Dummy, Finalise};
    assert_eq!(said_by_a(&[(4, Finalise, 1), (4, Dummy, 0)]), 1);
    assert_eq!(said_by_a(&[(4, Dummy, 0), (4, Finalise, 1)]), 1);
}

#[test]
fn what_the_rules_allow_breaks_nothing() {
    use BallotKind::{Dummy, Finalise, Propose, Vote};
    // The same again is a retry; a dummy after a vote, and another block in another iteration, are allowed.
    let allowed =
        [(1, Propose, 1), (1, Vote, 1), (1, Vote, 1), (1, Finalise, 1), (2, Vote, 3), (2, Dummy, 0)];
    assert_eq!(said_by_a(&allowed), 0);
}

#[test]
fn a_violation_is_told_once_and_names_the_node() {
    use BallotKind::Vote;
    assert_eq!(said_by_a(&[(1, Vote, 1), (1, Vote, 2), (1, Vote, 2), (1, Vote, 1)]), 1);
    let mut watched = ballots(&[]);
    for of in [1, 2] {
        watched.leaves(B, NOW, &ballot(key(2).public(), 1, Vote, block(of)));
    }
    let [violation] = watched.violations() else { panic!("{:?}", watched.violations()) };
    assert_eq!(
        (violation.invariant, violation.domain, violation.node, violation.at_ms),
        (Invariant::S5, 3, B, 7)
    );
    assert_eq!(watched.distinct(), 2);
}

#[test]
fn another_nodes_ballots_and_those_of_the_excused_are_not_held_against_anybody() {
    use BallotKind::Vote;
    let mut watched = ballots(&[B]);
    for of in [1, 2] {
        // A passes on what somebody else said.
        watched.leaves(A, NOW, &ballot(key(2).public(), 1, Vote, block(of)));
        watched.leaves(B, NOW, &ballot(key(2).public(), 1, Vote, block(of)));
    }
    assert_eq!(watched.violations(), []);
}
