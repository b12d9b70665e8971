//! The state held in part, and how it travels: SPEC 7.5, 7.6, 7.7.

use std::sync::Arc;

use frith_protocol::encoding::{Hash, Label, decode, digest, encode};
use frith_protocol::fault::Fault;
use frith_protocol::identity::NodeId;
use frith_protocol::state::{
    Effective, Entry, Gone, Kind, MapName, Parent, Place, Reason, SnapshotChunk, State, Suspend, touched,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::{DAY, Domain, Person, lean, verified};

/// Many are gone, few stand.
struct Old {
    domain: Domain,
    gone: Vec<Person>,
    standing: Vec<Person>,
}

fn old() -> Old {
    crate::set_scene();
    let mut domain = Domain::new(4);
    let mut people: Vec<Person> = (100..220).map(Person::new).collect();
    let standing = people.split_off(110);
    for some in [&people[..], &standing[..]] {
        let entries: Vec<Entry> = some.iter().map(|person| domain.admission(domain.admit(person))).collect();
        domain.advance(&entries);
    }
    let entries: Vec<Entry> = people.iter().map(|person| domain.revocation(person.node)).collect();
    domain.advance(&entries);
    Old { domain, gone: people, standing }
}

impl Old {
    fn lean(&self) -> State {
        lean(&self.domain.state, &self.domain.head)
    }

    /// What it says of an entry.
    fn judged(&self, state: &State, entry: &Entry) -> Result<(), Fault> {
        state.judge(&self.domain.head, self.domain.now(), &verified(Arc::new(entry.clone())))
    }

    /// The same with what an entry touches.
    fn shown(&self, state: &State, entry: &Entry) -> State {
        let places = touched(&entry.statement);
        let paths: Vec<_> = places.iter().filter_map(|place| self.domain.state.path(place)).collect();
        state.grafted(places.iter().zip(&paths)).expect("they are of one root")
    }
}

#[test]
fn rule_7_5_a_lean_state_has_the_roots_of_the_whole_and_everybody_who_stands() {
    let old = old();
    let (whole, lean) = (&old.domain.state, old.lean());
    assert!(whole.is_whole() && !lean.is_whole());
    assert_eq!((lean.root(), lean.roots()), (whole.root(), whole.roots()));
    assert!(lean.members().eq(whole.members()));
    assert!(lean.gone_count() < whole.gone_count() / 2, "it holds nearly all who are gone");
    for person in old.standing.iter().chain(&old.domain.founders) {
        assert!(lean.holds(&Place::of_node(&person.node)));
        assert_eq!(lean.owner_of(&person.public()), Some(person.node));
    }
    for founder in &old.domain.founders {
        assert_eq!(lean.owner_of(&founder.voting.public()), Some(founder.node));
    }
}

#[test]
fn rule_7_5_whatever_removes_or_restrains_whoever_stands_executes_without_asking_anybody() {
    let old = old();
    let lean = old.lean();
    let suspend = Suspend {
        subject: old.standing[1].node,
        number: 1,
        until: old.domain.now().plus(DAY),
        reason: Reason::Compromised,
    };
    let suspension = old.domain.endorsed(old.domain.statement(Kind::Suspend(suspend)));
    for entry in [old.domain.revocation(old.standing[0].node), suspension] {
        assert_eq!(old.judged(&lean, &entry), Ok(()));
        assert!(touched(&entry.statement).iter().all(|place| lean.holds(place)));
    }
}

#[test]
fn rule_7_5_what_lies_under_a_stub_is_neither_gone_nor_free_nor_anybodys() {
    let old = old();
    let lean = old.lean();
    let unknown = |person: &&Person| !lean.holds(&Place::of_node(&person.node));
    let person = old.gone.iter().find(unknown).expect("of many who are gone most are not held");
    assert!(!lean.is_gone(&person.node));
    assert_eq!(lean.effective(&person.node, old.domain.now()), Effective::Unknown);
    assert!(lean.is_anybody_gone());
    assert_eq!(lean.path(&Place::of_node(&person.node)), None);
    let proof = lean.proof(MapName::Gone, &person.node.0);
    assert_eq!(proof.check(&lean.root(), &person.node.0), Err(Fault::BadProof));

    // It says neither that somebody who is gone may come back, nor that it may not: it asks for the path, and then it knows.
    let back = old.domain.admission(old.domain.admit(person));
    let missing = Fault::PathMissing { map: MapName::Gone, key: Hash(person.node.0) };
    assert_eq!(old.judged(&lean, &back), Err(missing));
    let shown = old.shown(&lean, &back);
    assert_eq!(old.judged(&shown, &back), Err(Fault::SubjectGone { subject: person.node }));
}

#[test]
fn rule_7_5_a_key_under_a_stub_is_nobodys_to_take() {
    let old = old();
    let lean = old.lean();
    let unknown = |person: &&Person| !lean.holds(&Place::of_key(&person.public()));
    let thief = old.gone.iter().find(unknown).expect("of many keys most are not held");
    // Another identity of the same first key.
    let mut other = Person::new(900);
    other.inception = frith_protocol::identity::Inception::new(&thief.key, &other.next.public());
    other.node = other.inception.node_id();
    let entry = old.domain.admission(old.domain.admit(&other));
    assert!(matches!(old.judged(&lean, &entry), Err(Fault::PathMissing { .. })));
    let shown = old.shown(&lean, &entry);
    let taken = Fault::KeyTaken { key: thief.public(), owner: thief.node };
    assert_eq!(old.judged(&shown, &entry), Err(taken));
}

#[test]
fn rule_7_6_a_block_that_touches_a_stub_is_void_here_by_a_fault_that_names_the_path() {
    let old = old();
    let lean = old.lean();
    let entry = old.domain.admission(old.domain.admit(&Person::new(800)));
    let waiting = [verified(Arc::new(entry))];
    let (block, _, _) = old.domain.state.build(&old.domain.head, old.domain.now(), waiting.iter());
    let Err(Fault::PathMissing { map, key }) = lean.execute(Parent::of(&old.domain.head), &block) else {
        panic!("it was executed without a path");
    };
    assert!(lean.missing_for(std::iter::once(&**block)).contains(&Place { map, key }));
}

#[test]
fn rule_7_6_paths_from_before_a_chain_serve_for_all_of_its_blocks() {
    let mut old = old();
    let (mut state, before) = (old.lean(), old.domain.state.clone());
    let mut heads = vec![old.domain.head.clone()];
    let mut blocks = Vec::new();
    // They go next to one another, and one of them goes again.
    for n in 0..40 {
        let mut entries = vec![old.domain.admission(old.domain.admit(&Person::new(500 + n)))];
        if n == 20 {
            entries.insert(0, old.domain.revocation(Person::new(505).node));
        }
        blocks.push(old.domain.advance(&entries));
        heads.push(old.domain.head.clone());
    }
    let missing = state.missing_for(blocks.iter().map(|block| &***block));
    assert!(missing.len() > 40, "{} paths are too few to try anything", missing.len());
    let paths: Vec<_> = missing.iter().filter_map(|place| before.path(place)).collect();
    state = state.grafted(missing.iter().zip(&paths)).expect("they are of its root");
    for (head, block) in heads.iter().zip(&blocks) {
        state = state.execute(Parent::of(head), block).expect("nothing is removed from where it looks");
    }
    assert_eq!(state, old.domain.state);
}

#[test]
fn rule_7_6_a_path_that_does_not_lead_to_the_root_changes_nothing() {
    let mut old = old();
    let lean = old.lean();
    let unknown = |person: &&Person| !lean.holds(&Place::of_node(&person.node));
    let person = old.gone.iter().find(unknown).expect("of many who are gone most are not held").clone();
    let place = Place::of_node(&person.node);
    let refused = |state: &State, at: &Place, of: &Place| {
        let path = state.path(of).expect("it is whole");
        assert_eq!(lean.grafted([(at, &path)].into_iter()), Err(Fault::BadProof));
    };
    // That somebody who is gone is not, by a state from before; or from after.
    refused(&Domain::new(4).state, &place, &place);
    old.domain.advance(&[old.domain.admission(old.domain.admit(&Person::new(801)))]);
    old.domain.advance(&[old.domain.revocation(Person::new(801).node)]);
    refused(&old.domain.state, &place, &place);
    let before = old.domain.state.clone();
    old.domain.state = lean.clone();
    // What another map has there; and one of another key, which may serve only if the search for both ends there.
    refused(&before, &place, &Place { map: MapName::Keys, ..place });
    let path = before.path(&place).expect("it is whole");
    let elsewhere = Place { map: MapName::Standing, ..place };
    assert_eq!(lean.grafted([(&elsewhere, &path)].into_iter()), Err(Fault::BadProof));
    assert!(!lean.is_gone(&person.node) && !lean.holds(&place));
}

/// As SPEC 7.7 says.
#[derive(Clone, Serialize, Deserialize)]
enum Part<V> {
    Branch(u8),
    Leaf([u8; 32], V),
    Stub(Hash),
}

/// Every leaf of one map in turn told as its hash alone: one root, and less.
fn without_each<V: Clone + Serialize + DeserializeOwned>(
    chunks: &[SnapshotChunk],
    map: u8,
) -> Vec<([u8; 32], Vec<SnapshotChunk>)> {
    let at = chunks[0].items.iter().position(|item| item.map == map).expect("it is told in part");
    let parts: Vec<Part<V>> = decode("parts", &chunks[0].items[at].value, 1 << 20).expect("as SPEC 7.7 says");
    let mut all = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let Part::Leaf(key, value) = part else { continue };
        let mut less = parts.clone();
        less[i] = Part::Stub(digest(Label::MapLeaf, &[&key[..], &encode(value)].concat()));
        let mut chunks = chunks.to_vec();
        chunks[0].items[at].value = encode(&less);
        all.push((*key, chunks));
    }
    all
}

#[test]
fn rule_7_7_a_lean_snapshot_that_leaves_out_somebody_who_stands_is_refused() {
    let old = old();
    let (state, head) = (&old.domain.state, &old.domain.head);
    let chunks = state.lean_snapshot(None);
    assert_eq!(chunks.len(), 1);
    let restore = |chunks: &[SnapshotChunk]| State::restore(state.domain(), head, chunks);
    assert_eq!(restore(&chunks), Ok(state.clone()));
    let (gone, keys) = (without_each::<Gone>(&chunks, 6), without_each::<NodeId>(&chunks, 7));
    assert!(gone.len() > 5 && keys.len() > 14, "{} and {} are too few", gone.len(), keys.len());
    for (_, less) in gone {
        // At each of these leaves the search for somebody who stands ends.
        assert_eq!(restore(&less), Err(Fault::WrongSnapshot), "somebody's absence among the gone");
    }
    for (_, less) in keys {
        assert_eq!(restore(&less), Err(Fault::WrongSnapshot), "somebody's key");
    }
}

#[test]
fn rule_7_7_a_lean_snapshot_with_any_byte_changed_or_an_item_missing_is_refused() {
    let old = old();
    let (state, head) = (&old.domain.state, &old.domain.head);
    let chunks = state.lean_snapshot(None);
    let restore = |chunks: &[SnapshotChunk]| State::restore(state.domain(), head, chunks);
    for (i, item) in chunks[0].items.iter().enumerate() {
        for byte in 0..item.value.len() {
            let mut bad = chunks.clone();
            bad[0].items[i].value[byte] ^= 1;
            assert!(restore(&bad).is_err(), "item {i} of map {}, byte {byte}", item.map);
        }
        let mut bad = chunks.clone();
        bad[0].items.remove(i);
        assert!(restore(&bad).is_err(), "without item {i} of map {}", item.map);
    }
    // Both in part and whole; and of a map that there is not.
    let whole = state.snapshot(None)[0].items.clone();
    let mut both = chunks.clone();
    both[0].items.extend(whole.into_iter().filter(|item| item.map == MapName::Gone as u8));
    both[0].items.sort_by_key(|item| (item.map, item.key));
    assert_eq!(restore(&both), Err(Fault::WrongSnapshot));
    let mut more = chunks.clone();
    let mut item = more[0].items.last().expect("there are items").clone();
    item.map = 8;
    more[0].items.push(item);
    assert_eq!(restore(&more), Err(Fault::WrongSnapshot));
}

#[test]
fn rule_7_7_whoever_holds_a_lean_state_passes_on_the_same_lean_snapshot_and_no_whole_one() {
    let old = old();
    let lean = old.lean();
    assert_eq!(lean.lean_snapshot(None), old.domain.state.lean_snapshot(None));
    assert_eq!(lean.snapshot(None), lean.lean_snapshot(None));
    let (short, long) =
        (encode(&lean.lean_snapshot(None)).len(), encode(&old.domain.state.snapshot(None)).len());
    assert!(short < long, "{short} and {long} bytes");
}
