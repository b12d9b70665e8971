//! Random worlds by the thousand; and bugs planted into honest seats, which the same worlds must find.
//!
//! The four explorations run 5,000 seeds, in well under a minute; each draws loss, delay, duplication, partitions, crashes in the middle of
//! a step, restarts from what was durable, and liars up to `f`. At every step of every world is checked that no two honest seats
//! finalise different blocks at one height (S3), that a ballot and what it rests on were durable before it left, and that no seat ever
//! says anything that contradicts what it said, whatever crashes lie between (S5); afterwards, that the log grows again. One world of
//! every hundred signs with Ed25519 keys and checks each message as a node does; the others sign with numbers. Many more seeds:
//!
//! ```text
//! FRITH_SEEDS=100000 cargo test --release -p frith-protocol --lib explorer
//! ```

use super::world::{Done, Plan};
use crate::agreement::planted::Planted;

fn plan(n: u8, liars: u8) -> Plan {
    Plan {
        seed: 0,
        n,
        liars,
        planted: None,
        quorum_short: false,
        forget_journals: false,
        blocks_alone: false,
        keys: false,
    }
}

/// How many seeds an exploration runs: its share of what the environment asks for, `usual` if it asks for nothing.
#[allow(clippy::disallowed_methods, reason = "whoever runs the tests says how long they may take")]
fn seeds(usual: u64) -> u64 {
    match std::env::var("FRITH_SEEDS") {
        Ok(all) => all.parse::<u64>().expect("FRITH_SEEDS is a number").saturating_mul(usual) / USUAL_SEEDS,
        Err(_) => usual,
    }
}

const USUAL_SEEDS: u64 = 5_000;
/// One world of so many signs with keys.
const WORLDS_PER_KEYS: u64 = 100;

fn explore(plan: Plan, usual: u64) -> Done {
    let seeds = seeds(usual);
    let mut all = Done::default();
    for seed in 0..seeds {
        let plan = Plan { seed, keys: seed % WORLDS_PER_KEYS == 0, ..plan };
        let done = plan.run().unwrap_or_else(|why| panic!("{plan:?}: {why}"));
        all.calls += done.calls;
        all.crashes += done.crashes;
        all.final_height += done.final_height;
        all.contradictions += done.contradictions;
        all.forged += done.forged;
    }
    println!("{seeds} worlds: {all:?}");
    all
}

/// The first world that shows `what` of this plan.
fn must_show(plan: Plan, what: &str) {
    let worlds = 3_000;
    let shows = |seed: &u64| Plan { seed: *seed, ..plan }.run().is_err_and(|why| why.contains(what));
    let seed = (0..worlds).find(shows);
    println!("{what}: seed {seed:?} of {plan:?}");
    assert!(seed.is_some(), "none of {worlds} worlds shows «{what}» of {plan:?}");
}

#[test]
fn one_endorser_keeps_its_log_through_crashes() {
    let done = explore(plan(1, 0), 500);
    assert!(done.crashes > 0);
}

#[test]
fn four_honest_endorsers_agree_and_go_on() {
    let done = explore(plan(4, 0), 2_000);
    assert!(done.crashes > 0 && done.contradictions == 0 && done.forged == 0);
}

#[test]
fn four_endorsers_of_whom_one_lies_agree_and_go_on() {
    let done = explore(plan(4, 1), 2_000);
    assert!(done.crashes > 0 && done.contradictions > 0 && done.forged > 0);
}

#[test]
fn seven_endorsers_of_whom_two_lie_agree_and_go_on() {
    let done = explore(plan(7, 2), 500);
    assert!(done.crashes > 0 && done.contradictions > 0 && done.forged > 0);
}

#[test]
fn a_finalise_after_a_dummy_is_found() {
    let plan = Plan { planted: Some(Planted::FinaliseAfterDummy), ..plan(4, 1) };
    must_show(plan, "contradicts itself");
    must_show(Plan { blocks_alone: true, ..plan }, "finalises beside its own head");
}

#[test]
fn a_finalise_for_another_block_than_the_one_voted_for_is_found() {
    must_show(Plan { planted: Some(Planted::FinaliseAnother), ..plan(4, 1) }, "contradicts itself");
}

#[test]
fn a_quorum_one_short_is_found() {
    must_show(Plan { quorum_short: true, blocks_alone: true, ..plan(4, 1) }, "two final blocks at height");
}

#[test]
fn a_vote_for_a_block_that_skips_a_notarised_one_is_found() {
    must_show(
        Plan { planted: Some(Planted::AnyNotarisedParent), ..plan(4, 1) },
        "finalises beside its own head",
    );
}

#[test]
fn a_forgotten_journal_is_found() {
    let plan = Plan { forget_journals: true, ..plan(4, 1) };
    must_show(plan, "contradicts itself");
    must_show(plan, "calls its journal lost");
    must_show(Plan { blocks_alone: true, ..plan }, "two final blocks at height");
}

#[test]
fn a_ballot_that_is_sent_before_it_is_durable_is_found() {
    must_show(Plan { planted: Some(Planted::SendFirst), ..plan(4, 1) }, "sent before it was durable");
}

#[test]
fn an_endorser_that_never_gives_up_is_found() {
    must_show(Plan { planted: Some(Planted::NeverGiveUp), ..plan(4, 1) }, "the log does not grow");
}

#[test]
fn an_endorser_that_never_resends_is_found() {
    must_show(Plan { planted: Some(Planted::NeverResend), ..plan(4, 1) }, "the log does not grow");
}

#[test]
fn under_real_signatures_the_same_bugs_are_found() {
    let plan = Plan { keys: true, ..plan(4, 1) };
    must_show(Plan { planted: Some(Planted::FinaliseAnother), ..plan }, "contradicts itself");
    must_show(Plan { planted: Some(Planted::SendFirst), ..plan }, "sent before it was durable");
    must_show(Plan { forget_journals: true, ..plan }, "contradicts itself");
    must_show(Plan { quorum_short: true, blocks_alone: true, ..plan }, "two final blocks at height");
}
