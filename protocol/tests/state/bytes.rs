//! SPEC 1.1–1.4, 1.7: the one encoding and the one digest.

use frith_protocol::door::{Envelope, Message, open_envelope};
use frith_protocol::encoding::{Hash, Label, Malformed, VERSION, decode, digest, encode, encoded_len};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{Algorithm, NodeId, PublicKey, Signature};
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::{DomainId, Kind, SnapshotChunk, StatementId, Subject};

use crate::domain::{Domain, Person};

#[test]
fn rule_1_2_trailing_bytes_are_refused() {
    let mut bytes = encode(&(5u64, true));
    bytes.push(0);
    let refused = decode::<(u64, bool)>("a pair", &bytes, 100);
    assert_eq!(refused, Err(Malformed::Trailing { what: "a pair", bytes: 1 }));
}

#[test]
fn rule_1_2_truncation_is_refused_at_every_length() {
    let bytes = encode(&(300u64, "text".to_owned(), vec![1u8, 2, 3]));
    for len in 0..bytes.len() {
        let refused = decode::<(u64, String, Vec<u8>)>("a triple", &bytes[..len], 100);
        assert!(matches!(refused, Err(Malformed::Undecodable { .. })), "{len}");
    }
}

#[test]
fn rule_1_2_an_integer_has_one_encoding() {
    assert_eq!(decode::<u64>("a number", &[5], 100), Ok(5));
    for longer in [&[251, 5, 0][..], &[252, 5, 0, 0, 0], &[253, 5, 0, 0, 0, 0, 0, 0, 0]] {
        let refused = decode::<u64>("a number", longer, 100);
        assert_eq!(refused, Err(Malformed::NotCanonical { what: "a number" }), "{longer:?}");
    }
    // As a length, too, and as a discriminant.
    let refused = decode::<Vec<u8>>("bytes", &[251, 1, 0, 7], 100);
    assert_eq!(refused, Err(Malformed::NotCanonical { what: "bytes" }));
    assert!(decode::<Message>("a message", &[251, 1, 0], 100).is_err());
}

#[test]
fn rule_1_2_a_repeated_map_key_is_refused() {
    use std::collections::BTreeMap;
    let refused = decode::<BTreeMap<u8, u8>>("a map", &[2, 1, 1, 1, 2], 100);
    assert_eq!(refused, Err(Malformed::NotCanonical { what: "a map" }));
}

#[test]
fn rule_1_2_more_than_the_limit_is_refused_before_it_is_read() {
    let refused = decode::<Vec<u8>>("bytes", &[0; 101], 100);
    assert_eq!(refused, Err(Malformed::TooLong { what: "bytes", bytes: 101, max: 100 }));
}

#[test]
fn rule_1_2_absurd_lengths_are_refused_without_reserving_them() {
    // Nine bytes that make an unbounded decoder abort the process.
    for length in [u64::MAX, u64::MAX / 2, 1 << 40, MESSAGE_BYTES_MAX as u64 + 1] {
        let mut bytes = vec![253];
        bytes.extend(length.to_le_bytes());
        assert!(decode::<Vec<u8>>("bytes", &bytes, 100).is_err());
        assert!(decode::<String>("text", &bytes, 100).is_err());
        assert!(decode::<Vec<[u8; 32]>>("hashes", &bytes, 100).is_err());
        assert!(decode::<Vec<SnapshotChunk>>("chunks", &bytes, 100).is_err());
        // Units take no bytes, so that no limit of bytes would stop them.
        assert!(decode::<Vec<Vec<u8>>>("lists", &bytes, 100).is_err());
    }
}

#[test]
fn rule_1_2_what_is_not_text_or_truth_or_a_variant_is_refused() {
    assert!(decode::<String>("text", &[2, 0xff, 0xfe], 100).is_err());
    assert!(decode::<bool>("truth", &[2], 100).is_err());
    assert!(decode::<Option<u8>>("an option", &[2, 0], 100).is_err());
    assert!(decode::<Algorithm>("an algorithm", &[1], 100).is_err());
}

#[test]
fn rule_1_3_digests_of_one_text_under_two_labels_differ() {
    let labels = [
        Label::Inception,
        Label::NextKey,
        Label::Possession,
        Label::Charter,
        Label::Domain,
        Label::Founding,
        Label::Statement,
        Label::Endorsement,
        Label::Ticket,
        Label::TicketSpend,
        Label::Printed,
        Label::Block,
        Label::Ballot,
        Label::MerkleLeaf,
        Label::MerkleNode,
        Label::MapLeaf,
        Label::MapBranch,
        Label::MapKey,
        Label::State,
        Label::Spine,
        Label::Record,
        Label::Wire,
        Label::Log,
    ];
    let mut digests: Vec<Hash> = labels.iter().map(|label| digest(*label, b"text")).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), labels.len());
    assert_eq!(digest(Label::NextKey, b"text").0, blake3::derive_key("frith 2026-11 next key v1", b"text"));
}

/// SPEC 1.3, not as in the code.
fn id_of(label: &str, encoding: &[u8]) -> [u8; 32] {
    blake3::derive_key(&format!("frith 2026-11 {label} v1"), encoding)
}

#[test]
fn rule_1_4_ids_are_digests_of_encodings_each_under_its_label() {
    let domain = Domain::new(4);
    let charter = &domain.founded.charter;
    assert_eq!(charter.id().0, id_of("charter", &encode(charter)));
    assert_eq!(domain.founded.domain().0, id_of("domain", &encode(charter)));
    let terms = domain.terms(1, 1);
    assert_eq!(terms.id().0, id_of("ticket", &encode(&terms)));
    let entry = domain.admission(domain.admit(&Person::new(100)));
    assert_eq!(entry.statement.id().0, id_of("statement", &encode(&entry.statement)));
    assert_eq!(domain.head.id().0, id_of("block", &encode(&domain.head)));
    let person = Person::new(100).inception;
    let covered = encode(&(VERSION, Algorithm::Ed25519, person.key, person.next));
    assert_eq!(person.node_id().0, id_of("inception", &covered));
}

#[test]
fn rule_1_4_ids_cover_no_signature_but_the_possession_within_a_statement() {
    let mut domain = Domain::new(4);
    let (person, founders) = (Person::new(100), domain.founders.clone());
    let entry = domain.admission(domain.admit(&person));
    let statement = entry.statement.clone();
    let otherwise = crate::domain::endorsed_by(statement.clone(), &[&founders[2], &founders[3]]);
    assert_ne!(entry.endorsements, otherwise.endorsements);
    let block = domain.clone().advance(&[entry]).id();
    assert_eq!(domain.advance(&[otherwise]).id(), block, "two bodies, one block");
    // A ticket's countersignatures are beside its terms, and who signs what is no part of it.
    let terms = domain.terms(1, 1);
    assert_eq!(Subject::Ticket(terms.clone()).digest(), Hash(terms.id().0));
    // The state keeps an inception as it is: one with another possession is another statement, of the same identity.
    let mut other = statement.clone();
    let Kind::Admit(admit) = &mut other.kind else { panic!("an admission was made") };
    admit.subject.possession.bytes[0] ^= 1;
    assert_eq!(other.subject(), statement.subject());
    assert_ne!(other.id(), statement.id());
}

#[test]
fn rule_1_1_ids_keys_and_signatures_are_byte_strings_of_their_one_length() {
    let signature = Signature { algorithm: Algorithm::Ed25519, bytes: std::array::from_fn(|i| i as u8) };
    let bytes = encode(&signature);
    assert_eq!((&bytes[..2], &bytes[2..]), (&[0, 64][..], &signature.bytes[..]));
    let id = encode(&NodeId([7; 32]));
    assert_eq!((id[0], &id[1..]), (32, &[7; 32][..]));
    for len in [0, 31, 33, 64] {
        let other = [&[len][..], &vec![7; usize::from(len)]].concat();
        assert!(decode::<NodeId>("an id", &other, 100).is_err(), "{len}");
        assert!(decode::<Hash>("a hash", &other, 100).is_err(), "{len}");
    }
    assert_eq!(encode(&300u64), [251, 44, 1]);
    assert_eq!(encoded_len(&(signature, NodeId([7; 32]), "abc")), 66 + 33 + 4);
}

#[test]
fn rule_1_7_another_version_is_named_and_not_read() {
    let mut bytes = Envelope { domain: DomainId([1; 32]), message: Message::AskHead.into() }.to_bytes();
    assert_eq!(bytes[0], VERSION);
    for theirs in (0..=255).filter(|v| *v != VERSION) {
        bytes[0] = theirs;
        let refused = open_envelope(&bytes, MESSAGE_BYTES_MAX);
        assert_eq!(refused, Err(Fault::UnknownVersion { theirs, ours: VERSION }));
    }
    assert!(matches!(open_envelope(&[], MESSAGE_BYTES_MAX), Err(Fault::Malformed(_))));
}

#[test]
fn ids_are_read_as_they_are_written_and_nothing_else_is() {
    let id = StatementId(std::array::from_fn(|i| i as u8));
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
        assert!(bad.parse::<StatementId>().is_err(), "{bad}");
    }
    let json = serde_json::to_string(&id).expect("text");
    assert_eq!(serde_json::from_str::<StatementId>(&json).expect("text"), id);
    let key = PublicKey([3; 32]);
    let json = serde_json::to_string(&key).expect("text");
    assert_eq!(serde_json::from_str::<PublicKey>(&json).expect("text"), key);
}
