//! How fast entries are checked and applied, beside what the signature library alone takes for the same signatures and keys.
//!
//! `cargo bench -p frith-protocol`; each pair (`check_and_apply`, `library_alone`) is measured in one run on one machine.

#[path = "../tests/state/domain.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod domain;

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use domain::{Domain, Person, check, endorsed_by, verified};
use frith_protocol::encoding::{decode, encode};
use frith_protocol::identity::{Claim, PublicKey, Sheet, SignatureCheck, Stateless, verify};
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::{Block, Entry, Grounds, Kind, MapName, Parent, State, Subject};

fn main() {
    divan::main();
}

/// Four founders and a thousand members.
fn peopled() -> Domain {
    let mut domain = Domain::new(4);
    for hundred in 0..10 {
        let people = (0..100).map(|i| Person::new(10_000 + hundred * 100 + i));
        let entries: Vec<_> = people.map(|person| domain.admission(domain.admit(&person))).collect();
        domain.advance(&entries);
    }
    domain
}

/// Admissions of `count` newcomers by one ticket, three endorsements each.
fn admissions(domain: &Domain, count: u32) -> Vec<Entry> {
    let terms = domain.terms(1, 1000);
    let endorsers: Vec<&Person> = domain.founders.iter().take(3).collect();
    let newcomers = (0..count).map(|i| Person::new(50_000 + i));
    newcomers
        .map(|person| {
            let mut admit = domain.admit(&person);
            admit.grounds = Grounds::Ticket(Box::new(terms.clone()));
            endorsed_by(domain.statement(Kind::Admit(Box::new(admit))), &endorsers)
        })
        .collect()
}

fn block(domain: &Domain, count: u32) -> Arc<Block> {
    let entries: Vec<_> = admissions(domain, count).into_iter().map(|e| verified(Arc::new(e))).collect();
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), entries.iter());
    assert_eq!((refused.len(), block.entries.len()), (0, count as usize));
    Arc::clone(&block)
}

const SIZES: [u32; 3] = [64, 128, 224];

#[divan::bench(args = SIZES)]
fn check_and_apply(bencher: Bencher<'_, '_>, count: u32) {
    let domain = peopled();
    let block = block(&domain, count);
    let check = check();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let block = verify(Arc::clone(&block), &check).expect("it was built of valid entries");
        domain.state.execute(Parent::of(&domain.head), &block).expect("it was built on this state")
    });
}

/// The same claims, with digests at hand and keys collected: what no implementation on this library can beat.
#[divan::bench(args = SIZES)]
fn library_alone(bencher: Bencher<'_, '_>, count: u32) {
    let block = block(&peopled(), count);
    let mut sheet = Sheet::default();
    block.inspect(&mut sheet).expect("it was built of valid entries");
    let (claims, keys): (Vec<Claim>, Vec<PublicKey>) =
        (sheet.claimed().to_vec(), sheet.introduced().collect());
    let check = check();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        assert!(keys.iter().all(|key| key.check().is_ok()));
        assert_eq!(check.first_bad(&claims), None);
    });
}

#[divan::bench(args = SIZES)]
fn apply_alone(bencher: Bencher<'_, '_>, count: u32) {
    let domain = peopled();
    let block = verified(block(&domain, count));
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        domain.state.execute(Parent::of(&domain.head), &block).expect("it was built on this state")
    });
}

#[divan::bench(args = SIZES)]
fn build_alone(bencher: Bencher<'_, '_>, count: u32) {
    let domain = peopled();
    let entries: Vec<_> = admissions(&domain, count).into_iter().map(|e| verified(Arc::new(e))).collect();
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(|| domain.state.build(&domain.head, domain.now(), entries.iter()));
}

#[divan::bench]
fn encode_block_of_128(bencher: Bencher<'_, '_>) {
    let block = block(&peopled(), 128);
    bencher.counter(ItemsCount::new(128u32)).bench_local(|| encode(&block));
}

#[divan::bench]
fn decode_block_of_128(bencher: Bencher<'_, '_>) {
    let bytes = encode(&block(&peopled(), 128));
    bencher
        .counter(ItemsCount::new(128u32))
        .bench_local(|| decode::<Block>("a block", &bytes, MESSAGE_BYTES_MAX).expect("just encoded"));
}

#[divan::bench]
fn judge_one_entry(bencher: Bencher<'_, '_>) {
    let domain = peopled();
    let entry = verified(Arc::new(admissions(&domain, 1).remove(0)));
    bencher.bench_local(|| domain.state.judge(&domain.head, domain.now(), &entry));
}

#[divan::bench]
fn digest_one_statement(bencher: Bencher<'_, '_>) {
    let domain = peopled();
    let subject = Subject::Statement(admissions(&domain, 1).remove(0).statement);
    bencher.bench_local(|| subject.digest());
}

#[divan::bench]
fn prove_one_of_a_thousand(bencher: Bencher<'_, '_>) {
    let domain = peopled();
    let node = Person::new(10_500).node;
    bencher.bench_local(|| domain.state.proof(MapName::Standing, &node.0));
}

#[divan::bench]
fn check_one_proof_of_a_thousand(bencher: Bencher<'_, '_>) {
    let domain = peopled();
    let node = Person::new(10_500).node;
    let (proof, root) = (domain.state.proof(MapName::Standing, &node.0), domain.state.root());
    bencher.bench_local(|| proof.check(&root, &node.0).map(|value| value.is_some()));
}

#[divan::bench]
fn restore_a_thousand(bencher: Bencher<'_, '_>) {
    let domain = peopled();
    let chunks = domain.state.snapshot(None);
    bencher
        .counter(ItemsCount::new(1000u32))
        .bench_local(|| State::restore(domain.founded.domain(), &domain.head, &chunks).expect("just taken"));
}
