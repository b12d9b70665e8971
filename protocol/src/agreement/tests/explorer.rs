//! Random worlds by the thousand; and bugs planted into honest seats, which the same worlds must find.

use super::world::{Done, Plan, World};
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
    }
}

fn explore(plan: Plan, seeds: u64) -> Done {
    let mut all = Done::default();
    for seed in 0..seeds {
        let plan = Plan { seed, ..plan };
        let done = World::new(plan).run().unwrap_or_else(|why| panic!("{plan:?}: {why}"));
        all.calls += done.calls;
        all.crashes += done.crashes;
        all.final_height += done.final_height;
        all.contradictions += done.contradictions;
    }
    println!("{seeds} worlds: {all:?}");
    all
}

/// The first world that shows `what` of this plan.
fn must_show(plan: Plan, what: &str) {
    let worlds = 3_000;
    let shows =
        |seed: &u64| World::new(Plan { seed: *seed, ..plan }).run().is_err_and(|why| why.contains(what));
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
    let done = explore(plan(4, 0), 1_000);
    assert!(done.crashes > 0 && done.contradictions == 0);
}

#[test]
fn four_endorsers_of_whom_one_lies_agree_and_go_on() {
    let done = explore(plan(4, 1), 1_000);
    assert!(done.crashes > 0 && done.contradictions > 0);
}

#[test]
fn seven_endorsers_of_whom_two_lie_agree_and_go_on() {
    let done = explore(plan(7, 2), 300);
    assert!(done.crashes > 0 && done.contradictions > 0);
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
