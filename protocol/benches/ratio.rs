//! Which share of the signature library's own rate is left once entries are inspected, checked, judged and applied.
//!
//! Both sides take turns, pair by pair, so that a noisy machine slows both; the figure is the median of the pairs' ratios.

#[path = "../tests/state/domain.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod domain;

use std::sync::Arc;
#[allow(clippy::disallowed_types, reason = "a benchmark is no part of the law")]
use std::time::Instant;

use domain::{Domain, Person, check, endorsed_by, verified};
use frith_protocol::identity::{Claim, PublicKey, Sheet, SignatureCheck, Stateless, verify};
use frith_protocol::state::{Block, Grounds, Kind, Parent};

const PAIRS: usize = 200;

#[allow(clippy::disallowed_methods, reason = "a bench is no part of the core")]
fn main() {
    // `cargo test --benches` runs this, too: once around is enough there.
    let pairs = if std::env::args().any(|arg| arg == "--bench") { PAIRS } else { 1 };
    println!("entries in a block | library alone, entries/s | check and apply, entries/s | share");
    for count in [64, 128, 224] {
        let mut domain = Domain::new(4);
        for hundred in 0..10 {
            let people = (0..100).map(|i| Person::new(10_000 + hundred * 100 + i));
            let entries: Vec<_> = people.map(|person| domain.admission(domain.admit(&person))).collect();
            domain.advance(&entries);
        }
        let block = block_of_admissions(&domain, count);
        let (library, ours, share) = measure(&domain, &block, pairs);
        println!("{count:18} | {library:24} | {ours:26} | {share} %");
    }
}

/// Admissions by one ticket, with three endorsements each.
fn block_of_admissions(domain: &Domain, count: u32) -> Arc<Block> {
    let terms = domain.terms(1, 1000);
    let endorsers: Vec<&Person> = domain.founders.iter().take(3).collect();
    let entries: Vec<_> = (0..count)
        .map(|i| {
            let mut admit = domain.admit(&Person::new(50_000 + i));
            admit.grounds = Grounds::Ticket(Box::new(terms.clone()));
            let entry = endorsed_by(domain.statement(Kind::Admit(Box::new(admit))), &endorsers);
            verified(Arc::new(entry))
        })
        .collect();
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), entries.iter());
    assert_eq!((refused.len(), block.entries.len()), (0, count as usize));
    Arc::clone(&block)
}

/// Entries per second on either side, by the median, and the median share in per cent.
fn measure(domain: &Domain, block: &Arc<Block>, pairs: usize) -> (u128, u128, u128) {
    let mut sheet = Sheet::default();
    block.inspect(&mut sheet).expect("it was built of valid entries");
    let (claims, keys): (Vec<Claim>, Vec<PublicKey>) =
        (sheet.claimed().to_vec(), sheet.introduced().collect());
    let check = check();
    let library = || {
        assert!(keys.iter().all(|key| key.check().is_ok()));
        assert_eq!(check.first_bad(&claims), None);
    };
    let ours = || {
        let block = verify(Arc::clone(block), &check).expect("it was built of valid entries");
        domain.state.execute(Parent::of(&domain.head), &block).expect("it was built on this state");
    };
    let (mut libraries, mut all, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let (one, two) = (nanoseconds(library), nanoseconds(ours));
        libraries.push(one);
        all.push(two);
        shares.push(one * 100 / two);
    }
    let rate = |times| block.entries.len() as u128 * 1_000_000_000 / median(times);
    (rate(libraries), rate(all), median(shares))
}

#[allow(clippy::disallowed_types, reason = "a benchmark is no part of the law")]
fn nanoseconds(run: impl Fn()) -> u128 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos().max(1)
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
