//! The tests of this suite on trial: with a rule of `planted.rs` loosened, the test that is named there must fail.
//!
//! Only in a build with the feature `planted`: `cargo test --workspace` makes one, `cargo test -p frith-protocol --features planted` too. Each
//! such test runs again in a process of its own, which loosens the rule when it sets its scene.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests may start processes and ask what for"
)]

use std::env;
use std::process::Command;

use frith_protocol::planted::{Bug, plant};

const NAME: &str = "FRITH_PLANTED";

/// Loosens on this thread what this process is to loosen, if anything.
pub(crate) fn begin() {
    let name = env::var(NAME).ok();
    plant(name.and_then(|name| Bug::ALL.iter().copied().find(|bug| format!("{bug:?}") == name)));
}

/// Whether `test` runs, and fails, with the rule loosened.
fn finds(test: &str, bug: Bug) -> bool {
    let own = env::current_exe().expect("this is a program");
    let ran = Command::new(own).args([test, "--exact"]).env(NAME, format!("{bug:?}")).output();
    let said = String::from_utf8_lossy(&ran.expect("it can be started again").stdout).into_owned();
    said.contains("0 passed; 1 failed")
}

#[test]
fn every_planted_bug_that_this_suite_is_to_find_fails_the_test_that_is_named() {
    let suite = format!("{}::", env!("CARGO_CRATE_NAME"));
    let test_of = |bug: &Bug| Some((*bug, bug.found_by()?.strip_prefix(&suite)?));
    let named: Vec<(Bug, &str)> = Bug::ALL.iter().filter_map(test_of).collect();
    assert!(!named.is_empty(), "{suite} is to find something");
    let escaped: Vec<_> = named.into_iter().filter(|(bug, test)| !finds(test, *bug)).collect();
    assert!(escaped.is_empty(), "these tests do not find what is planted for them: {escaped:#?}");
}
