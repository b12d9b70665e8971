//! The engine against the naive model of [`frith_tests::model`]: random small histories, random charters, and the edges that random ones
//! miss.
//!
//! It was tried by hand that the comparison bites. Each of these was planted in the engine alone, caught here, and taken out again:
//! a ticket refused one millisecond early · a revocation that strands the charter by one · endorsements by a key that is not the current
//! one · a first key that belongs to somebody else · a renewal that replaces the inception · a number that skips one · a basis at the
//! block's own height.

use frith_tests::trial::{Met, Trial};

/// Every verdict that random histories must have met, or the generator has gone blind somewhere.
const MUST_BE_MET: &[&str] = &[
    "1.5 signature of an endorsement",
    "1.6 first key",
    "1.6 key rotated to",
    "1.6 ticket key",
    "1.6 voting key of a consent",
    "2.1 possession does not hold",
    "2.3 a key that is somebody's",
    "2.3 a key twice",
    "2.3 the key is another's",
    "2.3 the voting key is somebody's",
    "2.4 another key than was committed to",
    "2.4 sequence",
    "2.4 signature of a rotation",
    "3.1 endorsers out of order",
    "3.2 amend",
    "3.2 n",
    "3.4 a key twice",
    "3.7 roles of a seat",
    "3.8 a possession in the terms",
    "3.8 possession of a voting key",
    "3.8 signature of a consent",
    "3.8 terms with a voting key",
    "4.1 another domain",
    "4.11 endorsed",
    "4.11 gone",
    "4.11 how many rotations",
    "4.11 too often in a day",
    "4.11 unknown",
    "4.12 a recovery key is somebody's",
    "4.12 a seat for who does not stand",
    "4.12 a seat for who is not effective",
    "4.12 a voting key in two consents",
    "4.12 consent not by the current key",
    "4.12 consent without a seat",
    "4.12 consents out of order",
    "4.12 epoch",
    "4.12 it strands itself",
    "4.12 last day",
    "4.12 no consent",
    "4.12 previous charter",
    "4.12 too few endorsements",
    "4.12 written",
    "4.3 endorsements out of order",
    "4.4 a revoked endorser",
    "4.4 a suspended endorser",
    "4.4 no endorser",
    "4.4 not the current key",
    "4.5 basis later than the block",
    "4.5 basis not below the block",
    "4.5 basis too old",
    "4.5 no approval here",
    "4.5 no tickets here",
    "4.5 number",
    "4.5 roles out of order",
    "4.5 the subject is gone",
    "4.5 too few endorsements",
    "4.5 unknown role",
    "4.5 window not open",
    "4.5 window too long",
    "4.6 a role beyond the ticket",
    "4.6 a spent ticket",
    "4.6 a ticket for who stands",
    "4.6 a ticket of another domain",
    "4.6 an expired ticket",
    "4.6 roles of the ticket out of order",
    "4.6 uses that no ticket has",
    "4.7 gone already",
    "4.7 it would strand the charter",
    "4.7 too few endorsements",
    "4.7 unknown",
    "a valid amendment",
    "a valid denial",
    "a valid grant",
    "a valid rotation",
    "block: 6.1 previous",
    "block: 6.2 epoch",
    "block: 6.2 height",
    "block: 6.2 parent",
    "block: 6.2 time",
    "block: 6.3 entries root",
    "block: 6.4 log root",
    "block: 6.5 spine root",
    "block: 6.5 state root",
    "block: 6.7 an entry after an amendment",
    "block: 6.7 out of order",
    "block: 6.7 two amendments",
    "block: a valid heartbeat, skipped: false",
    "block: a valid heartbeat, skipped: true",
    "block: valid, skipped: false",
    "block: valid, skipped: true",
];

/// About a minute of one core as tests are built. Takes `FRITH_HISTORIES` for another number of them, `FRITH_SEED` for where to begin.
#[test]
fn model_and_engine_agree_on_thousands_of_random_histories() {
    let number = |name: &str, usual: u64| {
        std::env::var(name).map_or(usual, |text| text.parse().expect("it is a number"))
    };
    let first = number("FRITH_SEED", 0);
    let count = number("FRITH_HISTORIES", 1000);
    let mut met = Met::new();
    let (mut lengths, mut amended, mut twice) = (Vec::new(), 0, 0);
    for seed in first..first + count {
        let mut trial = Trial::new(seed);
        trial.run(27, &mut met);
        let log = trial.history.model.log();
        lengths.push(log.iter().map(|block| block.entries.len()).sum::<usize>());
        let epoch = trial.history.charter.epoch;
        amended += u64::from(epoch > 1);
        twice += u64::from(epoch > 2);
    }
    for (what, times) in &met {
        println!("{times:7} {what}");
    }
    lengths.sort();
    let median = lengths[lengths.len() / 2];
    println!(
        "{count} histories, of {median} entries in the median; {amended} with an amendment, {twice} with two or more"
    );
    if count >= 1000 {
        let missing: Vec<_> = MUST_BE_MET.iter().filter(|what| !met.contains_key(**what)).collect();
        assert!(missing.is_empty(), "never met: {missing:?}");
        assert!(median >= 20, "histories of {median} entries say little");
        assert!(10 * amended >= count, "only {amended} of {count} histories have an amendment");
    }
}
