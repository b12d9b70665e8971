//! The state as chunks, and back.

use crate::domain::{Domain, Person, noise};
use frith_protocol::encoding::{Hash, Label, decode, digest, encode};
use frith_protocol::fault::Fault;
use frith_protocol::state::{Header, SnapshotChunk, State};

fn grown() -> Domain {
    let mut domain = Domain::new(4);
    let people: Vec<Person> = (100..120).map(Person::new).collect();
    let entries: Vec<_> = people.iter().map(|p| domain.admission(domain.admit(p))).collect();
    domain.advance(&entries);
    domain.advance(&[]);
    domain.advance(&[domain.revocation(people[3].node)]);
    domain
}

fn restore(domain: &Domain, tip: &Header, chunks: &[SnapshotChunk]) -> Result<State, Fault> {
    State::restore(domain.founded.domain(), tip, chunks)
}

#[test]
fn rule_7_4_a_snapshot_restores_to_the_state_that_it_was_taken_of() {
    let mut domain = grown();
    let chunks = domain.state.snapshot(None);
    assert_eq!(restore(&domain, &domain.head, &chunks), Ok(domain.state.clone()));
    // Under a heartbeat on the same state, too; and what follows executes.
    domain.advance(&[]);
    let restored = restore(&domain, &domain.head, &domain.state.snapshot(None));
    assert_eq!(restored, Ok(domain.state.clone()));
    domain.state = restored.expect("just compared");
    let before = domain.state.root();
    domain.advance(&[domain.admission(domain.admit(&Person::new(200)))]);
    assert_ne!(domain.state.root(), before);
}

#[test]
fn rule_7_4_genesis_has_a_snapshot() {
    let domain = Domain::new(4);
    assert_eq!(restore(&domain, &domain.head, &domain.state.snapshot(None)), Ok(domain.state.clone()));
}

#[test]
fn rule_7_4_a_snapshot_with_any_byte_changed_is_refused() {
    let domain = grown();
    let chunks = domain.state.snapshot(None);
    for (c, chunk) in chunks.iter().enumerate() {
        for (i, item) in chunk.items.iter().enumerate() {
            for byte in 0..item.value.len() {
                let mut bad = chunks.clone();
                bad[c].items[i].value[byte] ^= 1;
                assert!(restore(&domain, &domain.head, &bad).is_err(), "item {i}, byte {byte}");
            }
            let mut bad = chunks.clone();
            bad[c].items[i].key[31] ^= 1;
            assert!(restore(&domain, &domain.head, &bad).is_err(), "the key of item {i}");
            let mut bad = chunks.clone();
            bad[c].items.remove(i);
            assert!(restore(&domain, &domain.head, &bad).is_err(), "without item {i}");
        }
    }
    let mut tip = domain.head.clone();
    tip.state_root = noise(1);
    assert_eq!(restore(&domain, &tip, &chunks), Err(Fault::WrongSnapshot));
}

#[test]
fn rule_7_4_items_out_of_order_or_repeated_are_refused() {
    let domain = grown();
    let chunks = domain.state.snapshot(None);
    let refused = Err(Fault::NotInOrder { what: "the items of a snapshot", rule: "7.4" });
    let mut swapped = chunks.clone();
    swapped[0].items.swap(0, 1);
    assert_eq!(restore(&domain, &domain.head, &swapped), refused);
    let mut repeated = chunks;
    let first = repeated[0].items[0].clone();
    repeated[0].items.insert(0, first);
    assert_eq!(restore(&domain, &domain.head, &repeated), refused);
}

#[test]
fn rule_7_4_all_chunks_are_needed_in_their_order() {
    // Over a kilobyte each, a thousand standings fill more than one chunk.
    let long: Vec<String> = (0..16).map(|i| format!("{i:064}")).collect();
    let mut domain = Domain::with(1, |charter| {
        charter.roles = long
            .iter()
            .map(|name| frith_protocol::state::Role {
                name: name.clone(),
                capabilities: Vec::new(),
                freshness_ms: None,
            })
            .collect();
        charter.endorsers[0].roles.clear();
    });
    for block in 0..5 {
        let entries: Vec<_> = (0..200)
            .map(|i| {
                let mut admit = domain.admit(&Person::new(1000 + block * 200 + i));
                admit.roles = long.clone();
                domain.admission(admit)
            })
            .collect();
        domain.advance(&entries);
    }
    let chunks = domain.state.snapshot(None);
    assert!(chunks.len() >= 2, "{} chunks are too few to try anything", chunks.len());
    assert_eq!(restore(&domain, &domain.head, &chunks), Ok(domain.state.clone()));
    let refused = Err(Fault::WrongSnapshot);
    assert_eq!(restore(&domain, &domain.head, &chunks[1..]), refused);
    assert_eq!(restore(&domain, &domain.head, &chunks[..1]), refused);
    let mut renumbered = chunks;
    renumbered[0].index = 1;
    assert_eq!(restore(&domain, &domain.head, &renumbered), refused);
}

#[test]
fn rule_7_4_a_snapshot_of_another_domain_is_refused() {
    let (domain, other) = (Domain::new(4), Domain::with(4, |charter| charter.name = "other".into()));
    let chunks = other.state.snapshot(None);
    assert_eq!(State::restore(domain.founded.domain(), &other.head, &chunks), Err(Fault::WrongSnapshot));
}

#[test]
fn rule_7_4_a_log_frontier_that_would_go_on_wrongly_is_refused() {
    type Beside = (Header, (u64, Vec<Hash>));
    let mut domain = Domain::new(4);
    for i in 0..3 {
        domain.advance(&[domain.admission(domain.admit(&Person::new(100 + i)))]);
    }
    let chunks = domain.state.snapshot(None);
    let last = chunks[0].items.last().expect("what lies beside the maps").clone();
    let (header, (count, peaks)): Beside = decode("beside", &last.value, 1 << 16).expect("as SPEC 7.4 says");
    assert_eq!((count, peaks.len()), (3, 2));
    let with = |count: u64, peaks: Vec<Hash>| {
        let mut forged = chunks.clone();
        let item = forged[0].items.last_mut().expect("as above");
        item.value = encode(&(header.clone(), (count, peaks)));
        restore(&domain, &domain.head, &forged)
    };
    assert_eq!(with(3, peaks.clone()), Ok(domain.state.clone()));
    // One peak that has the root of both: as a list of one, and as a list of three that is not whole.
    let root = digest(Label::MerkleNode, &[peaks[0].0, peaks[1].0].concat());
    assert_eq!(with(1, vec![root]), Err(Fault::WrongSnapshot));
    assert_eq!(with(3, vec![root]), Err(Fault::WrongSnapshot));
    assert_eq!(with(u64::MAX, vec![root; 64]), Err(Fault::WrongSnapshot));
}
