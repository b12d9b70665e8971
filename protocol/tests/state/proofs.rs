//! SPEC 7.1–7.3: what the roots are of, and proofs under them.

use std::collections::BTreeMap;

use frith_protocol::encoding::{Hash, Label, decode, digest, encode};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{NodeId, PublicKey};
use frith_protocol::state::{AdmittedBy, Grounds, MapName, Reason, Standing, StateProof};

use crate::domain::{Domain, Person};

/// The root of a crit-bit tree, written from SPEC 7.2 alone: no tree, only sorted items and the first bit in which they differ.
fn naive_root(items: &[([u8; 32], Vec<u8>)]) -> Hash {
    match items {
        [] => Hash([0; 32]),
        [(key, value)] => digest(Label::MapLeaf, &[&key[..], value].concat()),
        [first, .., last] => {
            let bit_of = |key: &[u8; 32], bit: usize| key[bit / 8] >> (7 - bit % 8) & 1;
            // In a sorted list, the first and the last share what all share.
            let bit = (0..256).find(|&b| bit_of(&first.0, b) != bit_of(&last.0, b)).expect("keys differ");
            let (left, right) = items.split_at(items.partition_point(|(key, _)| bit_of(key, bit) == 0));
            let number = u16::try_from(bit).expect("few bits").to_le_bytes();
            digest(Label::MapBranch, &[&number[..], &naive_root(left).0, &naive_root(right).0].concat())
        }
    }
}

/// Some members, one revoked, some tickets spent.
fn grown() -> (Domain, Vec<Person>) {
    let mut domain = Domain::new(4);
    let people: Vec<Person> = (2000..2040).map(Person::new).collect();
    for few in people.chunks(7) {
        let entries: Vec<_> = few.iter().map(|p| domain.admission(domain.admit(p))).collect();
        domain.advance(&entries);
    }
    domain.advance(&[domain.revocation(people[5].node), domain.revocation(people[6].node)]);
    (domain, people)
}

type Items = Vec<([u8; 32], Vec<u8>)>;

fn items_of(domain: &Domain) -> BTreeMap<u8, Items> {
    let mut maps: BTreeMap<u8, Items> = BTreeMap::new();
    for item in domain.state.snapshot(None).into_iter().flat_map(|chunk| chunk.items) {
        maps.entry(item.map).or_default().push((item.key, item.value));
    }
    maps
}

#[test]
fn rule_7_2_roots_are_those_of_a_naive_tree_after_every_block() {
    let mut domain = Domain::new(4);
    let people: Vec<Person> = (3000..3012).map(Person::new).collect();
    for (i, person) in people.iter().enumerate() {
        domain.advance(&[domain.admission(domain.admit(person))]);
        if i % 3 == 2 {
            domain.advance(&[domain.revocation(people[i - 1].node)]);
        }
        let maps = items_of(&domain);
        let roots: Vec<Hash> =
            (0..5).map(|map| naive_root(maps.get(&map).map_or(&[][..], Vec::as_slice))).collect();
        let all: Vec<u8> = roots.iter().flat_map(|root| root.0).collect();
        assert_eq!(domain.state.root(), digest(Label::State, &all), "after {i}");
        assert_eq!(domain.state.spine_root(), roots[4]);
        assert_eq!(domain.state.roots().of(MapName::Gone), roots[1]);
    }
}

#[test]
fn rule_7_2_the_order_in_which_items_came_does_not_matter() {
    let people: Vec<Person> = (3000..3020).map(Person::new).collect();
    let root_of = |order: &mut dyn Iterator<Item = &Person>| {
        let mut domain = Domain::new(4);
        let entries: Vec<_> = order.map(|p| domain.admission(domain.admit(p))).collect();
        domain.advance(&entries);
        domain.state.root()
    };
    assert_eq!(root_of(&mut people.iter()), root_of(&mut people.iter().rev()));
}

#[test]
fn rule_7_2_presence_and_absence_can_be_proven() {
    let (domain, people) = grown();
    let root = domain.state.root();
    for person in &people {
        let key = &person.node.0;
        let standing = domain.state.proof(MapName::Standing, key);
        let value = standing.check(&root, key).expect("the proof is ours");
        let expected = domain.state.standing(&person.node);
        assert_eq!(value.map(<[u8]>::to_vec), expected.map(encode));
        if let Some(value) = value {
            let read: Standing = decode("a standing", value, 4096).expect("a standing");
            assert_eq!(Some(&read), expected);
        }
        let gone = domain.state.proof(MapName::Gone, key);
        let is_gone = gone.check(&root, key).expect("the proof is ours").is_some();
        assert_eq!(is_gone, domain.state.is_gone(&person.node));
    }
    for stranger in (9000..9100).map(|i| Person::new(i).node) {
        let proof = domain.state.proof(MapName::Standing, &stranger.0);
        assert_eq!(proof.check(&root, &stranger.0), Ok(None));
    }
    // In an empty map, too.
    let fresh = Domain::new(4);
    let nobody = NodeId([7; 32]);
    let proof = fresh.state.proof(MapName::Gone, &nobody.0);
    assert_eq!(proof.check(&fresh.state.root(), &nobody.0), Ok(None));
}

#[test]
fn rule_7_2_a_proof_proves_nothing_of_another_key_or_root() {
    let (domain, people) = grown();
    let (mut later, root) = (domain.clone(), domain.state.root());
    later.advance(&[later.revocation(people[0].node)]);
    let key = people[0].node.0;
    let proof = domain.state.proof(MapName::Standing, &key);
    assert_eq!(proof.check(&later.state.root(), &key), Err(Fault::BadProof));
    for other in &people[1..] {
        // Where the searches part, it proves nothing; where they do not, it would prove absence, which must then be true.
        if other.node.0 != key {
            let absent = domain.state.standing(&other.node).is_none();
            let says = proof.check(&root, &other.node.0);
            assert!(says == Err(Fault::BadProof) || says == Ok(None) && absent, "{says:?}");
        }
    }
}

#[test]
fn rule_7_2_no_flipped_bit_of_a_proof_goes_unnoticed() {
    let (domain, people) = grown();
    let root = domain.state.root();
    for (key, map) in [(people[0].node.0, MapName::Standing), (NodeId([9; 32]).0, MapName::Gone)] {
        let proof = domain.state.proof(map, &key);
        let truth = proof.check(&root, &key).expect("ours").map(<[u8]>::to_vec);
        let bytes = encode(&proof);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let Ok(other) = decode::<StateProof>("a proof", &changed, 1 << 16) else { continue };
            // Another map may be named, of which it then says something true or nothing.
            let says = other.check(&root, &key).map(|value| value.map(<[u8]>::to_vec));
            assert!(says == Err(Fault::BadProof) || other.map != map, "bit {bit}: {says:?}, not {truth:?}");
            if let (Ok(says), true) = (says, other.map != map) {
                let direct = domain.state.proof(other.map, &key);
                assert_eq!(Ok(says.as_deref()), direct.check(&root, &key), "bit {bit}");
            }
        }
    }
}

#[test]
fn rule_7_1_each_of_the_five_maps_holds_its_items_under_their_keys() {
    let mut domain = Domain::new(4);
    let (member, revoked) = (Person::new(2000), Person::new(2001));
    let terms = domain.terms(1, 3);
    let by_ticket = |domain: &Domain, person: &Person| {
        let mut admit = domain.admit(person);
        admit.grounds = Grounds::Ticket(Box::new(terms.clone()));
        domain.admission(admit)
    };
    domain.advance(&[by_ticket(&domain, &member), by_ticket(&domain, &revoked)]);
    domain.advance(&[domain.revocation(revoked.node)]);
    let maps = items_of(&domain);
    let sorted = |mut items: Items| {
        items.sort();
        items
    };

    let standing: Vec<[u8; 32]> = maps[&0].iter().map(|(key, _)| *key).collect();
    let mut expected: Vec<[u8; 32]> =
        domain.founders.iter().chain([&member]).map(|person| person.node.0).collect();
    expected.sort();
    assert_eq!(standing, expected);
    let (_, value) = maps[&0].iter().find(|(key, _)| *key == member.node.0).expect("it stands");
    let Standing {
        keys,
        roles,
        window,
        number,
        height,
        by,
        suspensions,
        suspension,
        rotated,
        holds,
        limited,
    } = decode("a standing", value, 4096).expect("a standing");
    let inception = &member.inception;
    assert_eq!((&keys.inception, keys.sequence, keys.current), (inception, 0, member.public()));
    assert_eq!((keys.next, roles, number, height), (inception.next, vec!["node".into()], 1, 1));
    // It was admitted for less than a lifetime.
    assert_eq!((suspensions, suspension, rotated, holds, limited), (0, None, None, None, true));
    assert_eq!((window.from, by), (crate::domain::START, AdmittedBy::Ticket(terms.id())));

    // Since the second block, for the reason given, with its last key.
    assert_eq!(maps[&1], [(revoked.node.0, encode(&(2u64, Reason::Unspecified, revoked.public())))]);
    // Nobody's key is free again, and whoever is gone keeps its own.
    let owner = |key: &PublicKey, person: &Person| {
        (blake3::derive_key("frith 2026-11 map key v1", &key.0), encode(&person.node))
    };
    let of_founders =
        domain.founders.iter().flat_map(|p| [owner(&p.public(), p), owner(&p.voting.public(), p)]);
    let of_all = of_founders.chain([&member, &revoked].map(|p| owner(&p.public(), p)));
    assert_eq!(maps[&2], sorted(of_all.collect()));
    let mut slot = [0; 32];
    slot[..8].copy_from_slice(&terms.expires.0.to_be_bytes());
    slot[8..].copy_from_slice(&terms.id().0[..24]);
    assert_eq!(maps[&3], [(slot, encode(&2u32))]);
    let [(key, value)] = &maps[&4][..] else { panic!("more than the charter in the spine") };
    assert_eq!(*key, blake3::derive_key("frith 2026-11 spine v1", b"charter"));
    assert_eq!(value[1..], encode(&domain.founded.charter), "after the discriminant of its kind");
}

#[test]
fn rule_7_3_the_state_root_is_of_the_five_roots_in_their_order_and_of_nothing_beside_them() {
    let (domain, _) = grown();
    let maps = items_of(&domain);
    let roots: Vec<u8> =
        (0..5).flat_map(|map| naive_root(maps.get(&map).map_or(&[][..], Vec::as_slice)).0).collect();
    let root = Hash(blake3::derive_key("frith 2026-11 state v1", &roots));
    assert_eq!(domain.state.root(), root);
    assert_eq!(domain.head.state_root, root);
    // What lies beside the maps is in the snapshot, and not under the root.
    assert!(maps.contains_key(&5));
}
