//! SPEC 8.18 and 8.19: the last block of an epoch. The seat on the bench is seat 0 of four: it leads iteration 3.

use super::bench::*;
use crate::agreement::*;
use crate::fault::Fault;
use crate::state::BlockId;

use BallotKind::{Dummy, Finalise, Propose, Vote as Real};

/// Seat 0 in iteration 3, which it leads: the epoch's last block is notarised in 1, and 2 was given up. Its own finalise came to nothing.
fn in_iteration_3() -> (Bench, Tiny) {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), LAST | 1);
    bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())));
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 2, Dummy, BlockId::NONE)));
    assert_eq!(bench.seat.iteration(), 3);
    (bench, block)
}

#[test]
fn rule_8_18_the_last_block_is_proposed_again_and_nothing_extends_it() {
    let (mut bench, block) = in_iteration_3();
    // However many entries wait.
    let out = bench.entry(5);
    assert_eq!(ballots(&out, Propose), [], "it may be final in a moment");
    let out = bench.next_tick();
    assert_eq!(ballots(&out, Propose), [ballot(3, Propose, block.id())]);
    assert_eq!(ballots(&out, Real), [ballot(3, Real, block.id())]);
    let proposal = |message| if let Message::Propose(proposal) = message { Some(*proposal) } else { None };
    let sent = broadcasts(&out).into_iter().find_map(proposal);
    let kinds: Vec<_> = sent.expect("it is sent").grounds.iter().map(|held| held.ballot.kind).collect();
    assert_eq!(kinds, [Real, Dummy], "its own notarisation, and the dummy certificates since");
}

#[test]
fn rule_8_18_whoever_gets_the_last_block_again_votes_for_it_whatever_its_time() {
    let mut bench = Bench::new(4, 0);
    let mut block = block_on(&bench, genesis(), LAST);
    block.time = bench.now.plus(SKEW_MS + 1);
    let again = |iteration| proposal(4, iteration, &block, vec![]);
    let out = bench.hear(leader(4, 1), again(1));
    assert_eq!(ballots(&out, Real), [], "as a new block it is too early");
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())));
    let out = bench.hear(leader(4, 2), again(2));
    assert_eq!(ballots(&out, Real), [ballot(2, Real, block.id())]);
}

#[test]
fn rule_8_18_a_last_block_is_voted_for_again_only_with_a_dummy_certificate_for_every_iteration_between() {
    let (mut bench, block) = in_iteration_3();
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 4, Dummy, BlockId::NONE)));
    let out = bench.hear(leader(4, 5), proposal(4, 5, &block, vec![]));
    assert_eq!(ballots(&out, Real), [], "iteration 3 was not given up, as far as is known here");
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 3, Dummy, BlockId::NONE)));
    assert_eq!(ballots(&out, Real), [ballot(5, Real, block.id())]);
}

#[test]
fn rule_8_18_a_child_of_the_last_block_blames_its_proposer() {
    let (mut bench, block) = in_iteration_3();
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 3, Dummy, BlockId::NONE)));
    let child = block_on(&bench, block.id(), 2);
    assert!(matches!(bench.refuses(leader(4, 4), proposal(4, 4, &child, vec![])), Fault::BadBlock { .. }));
}

#[test]
fn rule_8_19_an_epoch_is_over_when_its_last_block_is_final() {
    let (mut bench, block) = in_iteration_3();
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Finalise, block.id())));
    assert_eq!(finals(&out), [block]);
    assert!(bench.seat.is_over() && !bench.seat.is_voting());
    assert_eq!(bench.seat.next_deadline(), None);
    bench.entry(5);
    bench.now = bench.now.plus(10 * HEARTBEAT_MS);
    let out = bench.tick();
    assert_eq!(broadcasts(&out), []);
    // Nor after a start.
    let out = bench.restart();
    assert!(bench.seat.is_over());
    for kind in [Propose, Real, Dummy, Finalise] {
        assert_eq!(ballots(&out, kind), []);
    }
}

#[test]
fn rule_8_19_of_the_last_block_finalises_of_different_iterations_make_no_certificate() {
    let (mut bench, block) = in_iteration_3();
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 3, Real, block.id())));
    bench.hear(1, said(1, 1, Finalise, block.id()));
    let out = bench.hear(2, said(2, 3, Finalise, block.id()));
    assert_eq!(finals(&out), []);
    let out = bench.hear(3, said(3, 3, Finalise, block.id()));
    assert_eq!(finals(&out), [block], "two others and seat 0 itself, in iteration 3");
}

#[test]
fn rule_8_19_a_second_finality_certificate_of_the_last_block_does_not_reopen_the_epoch() {
    let (mut bench, block) = in_iteration_3();
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Finalise, block.id())));
    assert!(bench.seat.is_over());
    // Others were slower to see it final, and proposed it again twice.
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 4, Real, block.id())));
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 3, Finalise, block.id())));
    assert!(bench.seat.is_over());
    assert_eq!(ballots(&out, Finalise), []);
}

#[test]
fn rule_8_19_whoever_hears_at_once_that_the_last_block_is_final_and_notarised_again_signs_nothing() {
    let (mut bench, block) = in_iteration_3();
    let certificates =
        vec![certificate(&[1, 2, 3], 4, Real, block.id()), certificate(&[1, 2, 3], 1, Finalise, block.id())];
    let out = bench.hear(1, Message::Have(Box::new(Have { certificates, blocks: vec![] })));
    assert!(bench.seat.is_over());
    assert_eq!(ballots(&out, Finalise), []);
}
