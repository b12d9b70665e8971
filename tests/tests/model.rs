//! The engine against the naive model of [`frith_tests::model`], on random small histories. That the comparison bites is shown in `planted.rs`.

use frith_tests::survey;

/// Few enough for every test run. `cargo run --release --bin histories` does a hundred thousand.
#[test]
fn model_and_engine_agree_on_a_thousand_random_histories() {
    let survey = survey::many(0, 1000, 2).unwrap_or_else(|disagreement| panic!("{disagreement}"));
    println!("{survey}");
    assert!(survey.lacks().is_empty(), "{:#?}", survey.lacks());
}
