//! The state as chunks, and back.

use crate::domain::{Domain, Person, noise};
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
    State::restore(&domain.founded, tip, chunks)
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
