//! The engine against the naive model of [`frith_tests::model`]: random small histories, random charters, and the edges that random ones
//! miss.
//!
//! It was tried by hand that the comparison bites. Each of these was planted in the engine alone, caught here, and taken out again:
//! a ticket refused one millisecond early · a revocation that strands the charter by one · endorsements by a key that is not the current
//! one · a first key that belongs to somebody else · a renewal that replaces the inception · a number that skips one · a basis at the
//! block's own height.

use frith_tests::survey;

/// Few enough for every test run. `cargo run --release --bin histories` does a hundred thousand.
#[test]
fn model_and_engine_agree_on_a_thousand_random_histories() {
    let survey = survey::many(0, 1000, 2).unwrap_or_else(|disagreement| panic!("{disagreement}"));
    println!("{survey}");
    assert!(survey.lacks().is_empty(), "{:#?}", survey.lacks());
}
