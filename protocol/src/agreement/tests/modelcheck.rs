//! The model checker at work: the shipped code within small bounds to the end; and every planted bug, which it must find.
//!
//! What takes longer, and prints the table of the README:
//!
//! ```text
//! cargo test -p frith-protocol --lib modelcheck -- --ignored --nocapture
//! ```

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};

use super::model::*;
use crate::agreement::planted::Planted;

/// What a search came to.
struct Searched {
    states: usize,
    steps: usize,
    depth: usize,
    is_complete: bool,
    /// What does not hold, and the way there.
    broken: Vec<(&'static str, String)>,
    sees_finality: bool,
}

fn searched(checker: impl Checker<Table>, steps_max: usize) -> Searched {
    let mut broken = Vec::new();
    let mut sees_finality = false;
    for (name, path) in checker.discoveries() {
        if name == ALL_FINAL {
            sees_finality = true;
        } else {
            let way: String = path.into_actions().iter().map(|action| format!("\n  {action:?}")).collect();
            broken.push((name, way));
        }
    }
    Searched {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        is_complete: checker.state_count() < steps_max && broken.is_empty(),
        broken,
        sees_finality,
    }
}

/// Searches everything, or as much as so many steps reach, and prints a line of the README.
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long a search takes is told, and nothing rests on it"
)]
fn search(setup: Setup, steps_max: usize) -> Searched {
    let what = setup.to_string();
    let begun = std::time::Instant::now();
    let checker = Table::new(setup)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(steps_max)
        .spawn_dfs()
        .join();
    let searched = searched(checker, steps_max);
    let Searched { states, steps, depth, is_complete, .. } = searched;
    let (complete, time) = (if is_complete { "yes" } else { "no" }, begun.elapsed());
    println!("| {what} | {states} | {steps} | {depth} | {complete} | {:.1} s |", time.as_secs_f32());
    for (name, way) in &searched.broken {
        println!("{name}:{way}");
    }
    searched
}

/// Everything within the bounds, in which all that must hold holds.
fn must_hold(setup: Setup) {
    let searched = search(setup, usize::MAX);
    assert_eq!(searched.broken, []);
    assert!(searched.is_complete);
    assert!(searched.sees_finality, "nothing became final, so nothing was seen");
}

/// The shortest way to break `promise`.
fn must_break(promise: &'static str, setup: Setup) {
    let steps_max = 2_000_000;
    let what = format!("{setup}, {:?}", setup.planted);
    let checker = Table::new(setup)
        .checker()
        .finish_when(HasDiscoveries::AllOf(BTreeSet::from([promise])))
        .target_state_count(steps_max)
        .spawn_bfs()
        .join();
    let searched = searched(checker, steps_max);
    let broken = searched.broken.into_iter().find(|(name, _)| *name == promise);
    let (_, way) = broken.unwrap_or_else(|| panic!("{promise}: not found to be broken by {what}"));
    println!("{what}: {} states\n{promise}:{way}", searched.states);
}

fn four(liar: u8, iterations: u64) -> Setup {
    Setup { liar: Some(liar), ..Setup::of(4, iterations) }
}

/// With blocks at this height that end the epoch.
fn last(height: u64, setup: Setup) -> Setup {
    Setup { last_height: Some(height), ..setup }
}

// Seat 2 leads the first iteration of four seats, seat 3 the second, seat 0 the third.

#[test]
fn a_few_honest_seats_that_lose_power_keep_every_promise_within_the_bounds() {
    let watched = Watched::All;
    must_hold(Setup { watched, crashes: 3, ..Setup::of(1, 3) });
    must_hold(Setup { watched, crashes: 1, heals_one_in: 8, ..Setup::of(2, 2) });
    must_hold(Setup { watched, crashes: 1, heals_one_in: 64, ..Setup::of(3, 1) });
}

#[test]
fn three_honest_seats_and_a_liar_keep_every_promise_within_the_bounds() {
    for liar in [1, 2] {
        must_hold(Setup { crashes: 1, heals_one_in: 8, ..four(liar, 1) });
    }
}

#[test]
fn whoever_hears_a_liar_contradict_itself_tells_and_convicts_nobody_else() {
    for watched in [0, 3] {
        let watched = Watched::One(watched);
        must_hold(Setup { watched, heals_one_in: 0, ..four(2, 1) });
    }
}

#[test]
fn the_epoch_and_the_block_that_it_starts_on_make_no_difference() {
    let mut setup = four(3, 1);
    setup.table.genesis = crate::state::BlockId([9; 32]);
    setup.table.genesis_height = 70;
    // The seats have moved on by four: the same ones lead.
    setup.table.epoch = 5;
    let moved = search(setup, usize::MAX);
    let first = search(four(3, 1), usize::MAX);
    assert!(moved.is_complete && first.is_complete);
    assert_eq!((moved.states, moved.depth), (first.states, first.depth));
}

#[test]
fn the_last_block_of_an_epoch_keeps_every_promise_however_often_it_is_proposed() {
    let watched = Watched::All;
    must_hold(last(2, Setup { watched, crashes: 3, ..Setup::of(1, 3) }));
    for height in [1, 2] {
        must_hold(last(height, Setup { watched, crashes: 1, heals_one_in: 8, ..Setup::of(2, 2) }));
    }
    must_hold(last(1, Setup { crashes: 1, heals_one_in: 64, ..Setup::of(2, 3) }));
}

#[test]
#[ignore = "takes minutes: for the table of the README"]
fn wider_bounds_of_the_last_block() {
    let steps_max = 25_000_000;
    let heals_one_in = 256;
    let crashes = 1;
    for setup in [
        last(1, Setup { crashes, ..Setup::of(2, 3) }),
        last(2, Setup { crashes, ..Setup::of(2, 3) }),
        last(1, Setup { crashes, ..Setup::of(2, 4) }),
        last(1, Setup { crashes, watched: Watched::All, ..Setup::of(2, 3) }),
        last(1, Setup::of(3, 2)),
        last(1, Setup { crashes, ..Setup::of(3, 2) }),
        last(1, four(2, 2)),
        last(1, four(3, 2)),
        last(1, Setup::of(3, 3)),
    ] {
        let searched = search(Setup { heals_one_in, ..setup }, steps_max);
        assert_eq!(searched.broken, []);
    }
}

/// Far from complete: the first so many steps, depth first.
#[test]
#[ignore = "takes minutes: for the table of the README"]
fn a_last_block_within_bounds_too_wide_to_search_to_the_end() {
    let steps_max = 4_000_000;
    let heals_one_in = 256;
    for setup in [
        last(1, four(3, 3)),
        last(2, four(3, 3)),
        last(1, Setup { crashes: 1, ..four(3, 2) }),
        last(2, Setup::of(3, 3)),
    ] {
        let searched = search(Setup { heals_one_in, ..setup }, steps_max);
        assert_eq!(searched.broken, []);
    }
}

#[test]
#[ignore = "takes minutes: for the table of the README"]
fn wider_bounds() {
    let steps_max = 25_000_000;
    let heals_one_in = 256;
    for setup in [
        Setup { crashes: 1, ..Setup::of(2, 3) },
        Setup::of(3, 2),
        four(1, 2),
        four(2, 2),
        four(3, 2),
        Setup { watched: Watched::One(0), crashes: 1, ..four(2, 1) },
        Setup { crashes: 1, ..four(2, 2) },
    ] {
        let searched = search(Setup { heals_one_in, ..setup }, steps_max);
        assert_eq!(searched.broken, []);
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Planted::ALL {
        let (promise, setup) = match bug {
            Planted::CountSignatures | Planted::HeedOtherEpochs => (ONE_LOG, four(2, 1)),
            Planted::VoteAgain => (NEVER_CONTRADICTS, Setup { crashes: 1, ..four(2, 1) }),
            Planted::FinaliseAfterDummy
            | Planted::FinaliseAnother
            | Planted::SendFirst
            | Planted::ForgetCertificates
            | Planted::ForgetBodies => (NEVER_CONTRADICTS, four(2, 1)),
            Planted::ProposeAnyway => (NEVER_CONTRADICTS, four(2, 3)),
            Planted::AnyNotarisedParent => (NEVER_CONTRADICTS, four(0, 3)),
            Planted::NeverGiveUp | Planted::NeverResend => (GOES_ON, four(2, 1)),
            Planted::KeepLies => (LIES_ARE_PROOF, Setup { watched: Watched::One(0), ..four(2, 1) }),
            Planted::ExtendLast => (ENDS, last(1, Setup::of(2, 2))),
            Planted::RepeatAnyway => (NEVER_CONTRADICTS, last(1, Setup::of(3, 3))),
            Planted::CountTogether => (PROVEN, last(1, Setup { watched: Watched::All, ..Setup::of(2, 2) })),
            Planted::NeverRepeat => (GOES_ON, last(1, Setup::of(2, 2))),
            Planted::OutstayEpoch => (OVER, last(1, Setup::of(2, 2))),
        };
        // Only those that stand still need healing to be found.
        let heals_one_in = u64::from(promise == GOES_ON);
        must_break(promise, Setup { planted: Some(bug), heals_one_in, ..setup });
    }
}

#[test]
fn a_quorum_one_short_and_a_forgotten_journal_are_found() {
    let mut short = four(2, 1);
    short.table.quorum -= 1;
    must_break(ONE_LOG, short);
    let forgetful = Setup { forgets_journals: true, crashes: 1, ..four(2, 1) };
    must_break(ONE_LOG, forgetful.clone());
    must_break(NEVER_CONTRADICTS, forgetful);
}

#[test]
fn an_honest_seat_that_is_convicted_is_found() {
    let planted = Some(Planted::FinaliseAfterDummy);
    let setup = Setup { planted, watched: Watched::One(0), heals_one_in: 0, ..four(2, 1) };
    must_break(LIES_ARE_PROOF, setup);
}
