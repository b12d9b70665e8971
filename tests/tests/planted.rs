//! The suites themselves on trial: each rule of [`frith_protocol::planted`] is loosened in turn, and a suite must find out.
//!
//! `tests/README.md` has the table of what finds which; this sees to it that it is true, and that it is whole. Where it names a test of
//! `protocol`, that suite sees to it itself (`protocol/tests/planted`).

use frith_protocol::planted::{Bug, plant};
use frith_tests::{drills, edges, survey};

/// So many histories are drawn to find a bug. Most show in the first ten.
const HISTORIES: u64 = 1500;

/// What finds bugs that no history shows, or few do.
const SUITES: [(&str, fn()); 15] = [
    ("edges::places", edges::places),
    ("edges::rotations", edges::rotations),
    ("edges::records", edges::records),
    ("edges::amendments", edges::amendments),
    ("edges::forgotten_tickets", edges::forgotten_tickets),
    ("edges::charters", edges::charters),
    ("drills::proofs", drills::proofs),
    ("drills::snapshot", drills::snapshot),
    ("drills::overheard_ticket", drills::overheard_ticket),
    ("drills::unknown_basis", drills::unknown_basis),
    ("drills::strangers", drills::strangers),
    ("drills::shares", drills::shares),
    ("drills::chain_by_few", drills::chain_by_few),
    ("drills::stale", drills::stale),
    ("drills::rations", drills::rations),
];

/// Which of them is to find what. All others are for the histories.
const ELSEWHERE: [(Bug, &str); 18] = [
    (Bug::OneAdmits, "edges::charters"),
    (Bug::FreshnessShort, "edges::charters"),
    (Bug::AmendBelowQuorum, "edges::charters"),
    (Bug::TicketsForgottenEarly, "edges::forgotten_tickets"),
    (Bug::HoldsWithoutEnd, "edges::records"),
    (Bug::TwoAmends, "edges::amendments"),
    (Bug::ReservedPlacesTaken, "edges::places"),
    (Bug::RotationsWithoutEnd, "edges::rotations"),
    (Bug::AnyPath, "drills::proofs"),
    (Bug::AnyRoots, "drills::proofs"),
    (Bug::AnySnapshot, "drills::snapshot"),
    (Bug::SpentByAnybody, "drills::overheard_ticket"),
    (Bug::AnyBasis, "drills::unknown_basis"),
    (Bug::StrangersServed, "drills::strangers"),
    (Bug::NoShares, "drills::shares"),
    (Bug::ChainsByFew, "drills::chain_by_few"),
    (Bug::StaleIsValid, "drills::stale"),
    (Bug::NoRations, "drills::rations"),
];

/// Which suite finds it, if one does.
fn finder(bug: Bug) -> Option<&'static str> {
    plant(Some(bug));
    let found = match ELSEWHERE.iter().find(|(known, _)| *known == bug) {
        None => survey::first_disagreement(0..HISTORIES).map(|_| "histories"),
        Some((_, name)) => {
            let (_, suite) = SUITES.iter().find(|(known, _)| known == name).expect("it is one of them");
            survey::said_by(suite).map(|_| *name)
        }
    };
    plant(None);
    found
}

#[test]
fn what_finds_planted_bugs_finds_nothing_where_there_are_none() {
    for (name, suite) in SUITES {
        assert_eq!(survey::said_by(suite), None, "{name}");
    }
    assert_eq!(survey::first_disagreement(0..20), None);
}

#[test]
fn every_planted_bug_is_found_by_the_suite_that_the_readme_names() {
    let readme = include_str!("../README.md");
    let (mut escaped, mut untold) = (Vec::new(), Vec::new());
    for bug in Bug::ALL {
        let Some(name) = bug.found_by().or_else(|| finder(*bug)) else {
            escaped.push(*bug);
            continue;
        };
        let (rule, what) = bug.about();
        let line = format!("| {rule} | `{bug:?}` | {what} | `{name}` |");
        if !readme.lines().any(|told| told == line) {
            untold.push(line);
        }
    }
    assert!(escaped.is_empty(), "no suite finds {escaped:?}");
    assert!(untold.is_empty(), "tests/README.md lacks these lines:\n{}", untold.join("\n"));
    let names: Vec<String> = Bug::ALL.iter().map(|bug| format!("{bug:?}")).collect();
    let table =
        readme.lines().filter_map(|line| line.split('|').nth(2)?.trim().strip_prefix('`')?.strip_suffix('`'));
    let gone: Vec<&str> = table.filter(|name| names.iter().all(|known| known != name)).collect();
    assert!(gone.is_empty(), "tests/README.md tells of what is not planted any more: {gone:?}");
}

#[test]
fn a_planted_bug_is_shown_by_a_history_of_a_few_entries() {
    plant(Some(Bug::GoneForgotten));
    let mut found = None;
    for seed in 0..HISTORIES {
        if let Err(disagreement) = survey::history(seed, &mut survey::Survey::default()) {
            found = Some(disagreement);
            break;
        }
    }
    plant(None);
    let found = found.expect("it is found");
    assert!(found.entries() <= 4, "{} entries are left: {found}", found.entries());
    assert!(!found.why_still.is_empty(), "{found}");
}
