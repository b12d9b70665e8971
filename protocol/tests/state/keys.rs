//! SPEC 1.5, 1.6, 2: keys, signatures, identities. One rule of validity, alone or in a batch.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::CompressedEdwardsY;
use frith_protocol::encoding::{Hash, Label, digest};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{
    Algorithm, BadKey, Claim, Inception, PublicKey, SecretKey, Signature, SignatureCheck, verify,
};
use frith_protocol::state::{Endorsement, Subject};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::domain::{Domain, Person, check};

fn claim(person: &Person, byte: u8) -> Claim {
    let digest = digest(Label::Statement, &[byte]);
    Claim { key: person.public(), digest, signature: person.key.sign(&digest) }
}

/// y as little-endian bytes of 2^255 − 19 + `above`, with the sign bit as asked.
fn unreduced(above: u8, sign: bool) -> PublicKey {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed + above;
    bytes[31] = if sign { 0xff } else { 0x7f };
    PublicKey(bytes)
}

#[test]
fn rule_1_6_a_key_of_small_order_is_refused() {
    for point in EIGHT_TORSION {
        let key = PublicKey(point.compress().0);
        assert_eq!(key.check(), Err(BadKey::SmallOrder), "{key}");
        // And with the sign bit that x = 0 does not have.
        let mut other = key;
        other.0[31] ^= 0x80;
        assert!(other.check().is_err(), "{other}");
    }
}

#[test]
fn rule_1_6_a_key_in_another_encoding_is_refused() {
    let mut points = 0;
    for above in 0..19 {
        for sign in [false, true] {
            let key = unreduced(above, sign);
            let is_point = CompressedEdwardsY(key.0).decompress().is_some();
            points += usize::from(is_point);
            let expected = if is_point { BadKey::NotCanonical } else { BadKey::NotAPoint };
            assert_eq!(key.check(), Err(expected), "{key}");
        }
    }
    assert!(points > 10, "the test found {points} points to try");
}

#[test]
fn rule_1_6_the_check_of_encodings_agrees_with_encoding_again() {
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let mut refused = 0;
    for _ in 0..2000 {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        let key = PublicKey(bytes);
        let by_hand = match CompressedEdwardsY(bytes).decompress() {
            None => Err(BadKey::NotAPoint),
            Some(point) if point.compress().0 != bytes => Err(BadKey::NotCanonical),
            Some(point) if point.is_small_order() => Err(BadKey::SmallOrder),
            Some(_) => Ok(()),
        };
        refused += u32::from(by_hand.is_err());
        assert_eq!(key.check(), by_hand, "{key}");
    }
    assert!((500..1500).contains(&refused), "half of all strings are points, not {refused} of 2000");
}

#[test]
fn rule_1_6_an_inception_with_a_key_that_is_no_good_is_refused() {
    // The identity point: one fixed signature holds for any text (R = B·0, s = 0 would do, too).
    let identity = PublicKey(EIGHT_TORSION[0].compress().0);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&ED25519_BASEPOINT_POINT.compress().0);
    bytes[32] = 1;
    let possession = Signature { algorithm: Algorithm::Ed25519, bytes };
    let forged = Inception { key: identity, next: Hash([1; 32]), possession };
    // ZIP-215 lets the signature pass, alone and in a batch: it is the key that must not come in.
    let node = forged.node_id();
    let claim = Claim { key: identity, digest: digest(Label::Possession, &node.0), signature: possession };
    let honest = self::claim(&Person::new(1), 1);
    assert_eq!(check().first_bad(&[claim]), None);
    assert_eq!(check().first_bad(&[claim, honest]), None);
    let fault = verify(forged, &check()).expect_err("its key is of small order");
    assert_eq!(fault, Fault::BadKey { key: identity, why: BadKey::SmallOrder });
}

#[test]
fn rule_1_6_an_inception_with_a_key_that_is_no_point_or_not_canonical_is_refused_as_such() {
    // Its possession is the first thing that cannot hold; what is wrong is the key nevertheless.
    let not_a_point = (2..).map(|i| PublicKey([i; 32])).find(|key| key.check() == Err(BadKey::NotAPoint));
    let not_canonical = (0..19)
        .map(|above| unreduced(above, false))
        .find(|key| key.check() == Err(BadKey::NotCanonical))
        .expect("rule_1_6_a_key_in_another_encoding_is_refused finds several");
    for key in [not_a_point.expect("half of all strings are none"), not_canonical] {
        let possession = Person::new(1).inception.possession;
        let forged = Inception { key, next: Hash([1; 32]), possession };
        let why = key.check().expect_err("it was chosen so");
        assert_eq!(verify(forged, &check()), Err(Fault::BadKey { key, why }));
    }
}

#[test]
fn rule_1_5_alone_or_in_a_batch_the_answer_is_the_same() {
    let sound = claim(&Person::new(1), 1);
    let mut suspects: Vec<Claim> = Vec::new();
    // Keys and commitments of small order and in all their encodings: where implementations differ.
    let mut odd: Vec<[u8; 32]> = EIGHT_TORSION.iter().map(|p| p.compress().0).collect();
    odd.extend((0..2).flat_map(|above| [false, true].map(|sign| unreduced(above, sign).0)));
    let with_sign: Vec<[u8; 32]> = odd
        .iter()
        .map(|bytes| {
            let mut bytes = *bytes;
            bytes[31] ^= 0x80;
            bytes
        })
        .collect();
    odd.extend(with_sign);
    for key in &odd {
        for commitment in &odd {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(commitment);
            let signature = Signature { algorithm: Algorithm::Ed25519, bytes };
            suspects.push(Claim { key: PublicKey(*key), digest: Hash([5; 32]), signature });
        }
    }
    // A scalar that is not reduced, a flipped bit in each part, another key.
    for bit in [0, 100, 255, 256, 400, 511] {
        let mut changed = sound;
        changed.signature.bytes[bit / 8] ^= 1 << (bit % 8);
        suspects.push(changed);
    }
    suspects.push(Claim { key: Person::new(2).public(), ..sound });
    suspects.push(sound);

    let (mut held, mut failed) = (0, 0);
    for suspect in suspects {
        let alone = check().first_bad(&[suspect]).is_none();
        let first = check().first_bad(&[suspect, sound]);
        let last = check().first_bad(&[sound, sound, suspect]);
        assert_eq!((first, last), if alone { (None, None) } else { (Some(0), Some(2)) }, "{suspect:?}");
        if alone { held += 1 } else { failed += 1 }
    }
    assert!(held > 50 && failed > 6, "{held} held, {failed} failed: the test tries nothing");
}

#[test]
fn rule_1_5_the_first_of_several_bad_signatures_is_named() {
    let mut claims: Vec<Claim> = (0u8..20).map(|i| claim(&Person::new(u32::from(i)), i)).collect();
    assert_eq!(check().first_bad(&claims), None);
    assert_eq!(check().first_bad(&[]), None);
    claims[17].signature.bytes[0] ^= 1;
    claims[11].digest.0[0] ^= 1;
    assert_eq!(check().first_bad(&claims), Some(11));
}

#[test]
fn rule_2_1_possession_is_proven_and_the_identity_covers_key_and_commitment() {
    let (one, two) = (Person::new(1), Person::new(2));
    verify(one.inception.clone(), &check()).expect("it is its own");
    for change in [
        |i: &mut Inception| i.key = Person::new(2).public(),
        |i: &mut Inception| i.next.0[0] ^= 1,
        |i: &mut Inception| i.possession = Person::new(2).inception.possession,
    ] {
        let mut forged = one.inception.clone();
        change(&mut forged);
        assert!(matches!(verify(forged, &check()), Err(Fault::BadSignature { .. })));
    }
    let same_key = Inception::new(&one.key, &two.next.public());
    assert_ne!(same_key.node_id(), one.node);
    let mut other_possession = one.inception.clone();
    other_possession.possession = two.inception.possession;
    assert_eq!(other_possession.node_id(), one.node);
    assert_eq!(one.inception.next, digest(Label::NextKey, &one.next.public().0));
}

#[test]
fn a_secret_key_is_not_shown() {
    let secret = SecretKey::from_seed([0xab; 32]);
    let shown = format!("{secret:?}");
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    assert!(shown.contains(&secret.public().short()));
}

#[test]
fn rule_2_2_the_first_key_of_an_identity_is_of_sequence_0() {
    let mut domain = Domain::new(4);
    let newcomer = Person::new(100);
    let mut entry = domain.admission(domain.admit(&newcomer));
    domain.advance(&[entry.clone()]);
    let founders = domain.founders.clone();
    for person in founders.iter().chain([&newcomer]) {
        let keys = &domain.state.standing(&person.node).expect("it stands").keys;
        assert_eq!((keys.sequence, keys.current), (0, person.public()));
    }
    // An endorsement by the same key as of its first rotation is by a key that nobody has yet.
    let renewal = domain.admission(domain.admit(&newcomer));
    assert_eq!(domain.judge(&renewal), Ok(()));
    entry = renewal;
    let digest = Subject::Statement(entry.statement.clone()).digest();
    let first = founders.iter().find(|person| person.node == entry.endorsements[0].node).expect("a founder");
    entry.endorsements[0] = Endorsement::sign(&digest, first.node, 1, &first.key);
    assert!(matches!(domain.judge(&entry), Err(Fault::NotTheCurrentKey { .. })));
}
