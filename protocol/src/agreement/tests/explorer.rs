//! Random worlds by the thousand, and planted bugs that they must find.

use super::world::{Done, Plan, World};
use crate::agreement::planted::Planted;

fn plan(n: u8, liars: u8) -> Plan {
    Plan { seed: 0, n, liars, planted: None, forget_journals: false }
}

fn explore(plan: Plan, seeds: u64) -> Done {
    let mut all = Done::default();
    for seed in 0..seeds {
        let done = World::new(Plan { seed, ..plan })
            .run()
            .unwrap_or_else(|why| panic!("seed {seed} of {plan:?}: {why}"));
        all.calls += done.calls;
        all.crashes += done.crashes;
        all.final_height += done.final_height;
        all.contradictions += done.contradictions;
    }
    all
}

/// The first seed that shows what is wrong.
fn find(plan: Plan, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| World::new(Plan { seed, ..plan }).run().err().map(|why| (seed, why)))
}

#[test]
fn one_endorser_keeps_its_log_through_crashes() {
    let done = explore(plan(1, 0), 300);
    assert!(done.crashes > 0);
}

#[test]
fn four_honest_endorsers_agree_and_go_on() {
    let done = explore(plan(4, 0), 600);
    assert!(done.crashes > 0 && done.contradictions == 0);
}

#[test]
fn four_endorsers_of_whom_one_lies_agree_and_go_on() {
    let done = explore(plan(4, 1), 600);
    assert!(done.crashes > 0 && done.contradictions > 0);
}

#[test]
fn seven_endorsers_of_whom_two_lie_agree_and_go_on() {
    let done = explore(plan(7, 2), 200);
    assert!(done.crashes > 0 && done.contradictions > 0);
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        Planted::FinaliseAfterDummy,
        Planted::FinaliseAnother,
        Planted::FinalityOneShort,
        Planted::NotarisationOneShort,
        Planted::AnyNotarisedParent,
    ] {
        let found = find(Plan { planted: Some(bug), ..plan(4, 1) }, 2_000);
        println!("{bug:?}: {found:?}");
    }
    let found = find(Plan { forget_journals: true, ..plan(4, 1) }, 2_000);
    println!("forgotten: {found:?}");
}
