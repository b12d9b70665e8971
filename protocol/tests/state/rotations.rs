//! SPEC 2.4 and 4.11: from one key to the next.

use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::{PublicKey, Rotation, SecretKey, verify};
use frith_protocol::limits;
use frith_protocol::state::{
    Effective, Endorsement, Entry, Kind, Parent, Reason, Revoke, Rotated, Subject, Suspend,
};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, MINUTE, Person, check, endorsed_by, verified};

fn with_member(n: u32) -> (Domain, Person) {
    let mut domain = Domain::new(n);
    let member = Person::new(1000);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    (domain, member)
}

fn rotate(domain: &Domain, person: &Person, sequences: std::ops::RangeInclusive<u32>) -> Entry {
    domain.rotate(person.node, sequences.map(|sequence| person.rotation(sequence)).collect())
}

fn bad_rotation(verdict: Result<(), Fault>) -> bool {
    matches!(verdict, Err(Fault::BadRotation { .. }))
}

#[test]
fn rule_2_4_a_rotation_is_the_new_keys_signature_over_who_to_what_and_what_comes_after() {
    let person = Person::new(5);
    let rotation = person.rotation(1);
    // As SPEC 2.4 writes it: version, algorithm, and each byte string with its length before it.
    let mut said = vec![1, 0, 32];
    said.extend(person.node.0);
    said.extend([1, 32]);
    said.extend(person.next.public().0);
    said.push(32);
    said.extend(person.key_of(2).public().commitment().0);
    let digest = Hash(blake3::derive_key("frith 2026-11 rotation v1", &said));
    assert_eq!(rotation.signature, person.next.sign(&digest));
    assert_eq!(rotation, person.rotation(1), "made again, it is the same");
}

#[test]
fn rule_2_4_nothing_in_a_rotation_can_be_changed() {
    let (domain, member) = with_member(4);
    let verdict = |change: &dyn Fn(&mut Rotation)| {
        let mut rotation = member.rotation(1);
        change(&mut rotation);
        verify(domain.rotate(member.node, vec![rotation]), &check()).map(|_| ())
    };
    assert_eq!(verdict(&|_| {}), Ok(()));
    let bad = |verdict| matches!(verdict, Err(Fault::BadSignature { .. }));
    assert!(bad(verdict(&|r| r.sequence = 2)));
    assert!(bad(verdict(&|r| r.key = member.public())));
    assert!(bad(verdict(&|r| r.next.0[31] ^= 1)));
    assert!(bad(verdict(&|r| r.signature.bytes[0] ^= 1)));
    let of_another = domain.rotate(domain.founders[0].node, vec![member.rotation(1)]);
    assert!(matches!(verify(of_another, &check()), Err(Fault::BadSignature { .. })));
}

#[test]
fn rule_1_6_a_key_that_nobody_can_have_is_not_rotated_to() {
    let (domain, member) = with_member(4);
    let mut identity = [0; 32];
    identity[0] = 1;
    let bad = Rotation { key: PublicKey(identity), ..member.rotation(1) };
    let verdict = verify(domain.rotate(member.node, vec![bad]), &check());
    assert!(matches!(verdict, Err(Fault::BadKey { .. })), "{verdict:?}");
}

#[test]
fn rule_4_11_the_keys_that_stand_are_those_after_the_last_rotation() {
    let (mut domain, member) = with_member(4);
    domain.advance(&[rotate(&domain, &member, 1..=3)]);
    let standing = domain.state.standing(&member.node).expect("it stands").clone();
    assert_eq!((standing.keys.sequence, standing.keys.current), (3, member.key_of(3).public()));
    assert_eq!(standing.keys.next, member.key_of(4).public().commitment());
    assert_eq!(standing.keys.inception, member.inception, "who it is does not change");
    assert_eq!(standing.rotated, Some(Rotated { height: 2, day: 0, entries: 1 }));
    assert_eq!((standing.number, standing.height), (1, 1), "its admission is untouched");
    assert_eq!(domain.state.key_of(&member.node), Some(member.key_of(3).public()));
    for sequence in 0..=3 {
        let owner = domain.state.owner_of(&member.key_of(sequence).public());
        assert_eq!(owner, Some(member.node), "its key {sequence} is its own for ever");
    }
    assert_eq!(domain.state.effective(&member.node, domain.now()), Effective::Yes);
}

#[test]
fn rule_4_11_a_thief_of_the_running_key_cannot_rotate() {
    let (domain, member) = with_member(4);
    let thief = SecretKey::from_seed([66; 32]);
    let by = |key: &SecretKey| {
        let rotation = Rotation::new(&member.node, 1, key, &thief.public());
        domain.judge(&domain.rotate(member.node, vec![rotation]))
    };
    assert!(bad_rotation(by(&member.key)));
    assert!(bad_rotation(by(&thief)));
    assert_eq!(by(&member.next), Ok(()));
}

#[test]
fn rule_4_11_rotations_follow_on_the_keys_that_stand_and_on_one_another() {
    let (mut domain, member) = with_member(4);
    let subject = member.node;
    let wrong = |theirs, expected| Err(Fault::WrongNumber { subject, theirs, expected });
    assert_eq!(domain.judge(&rotate(&domain, &member, 2..=2)), wrong(2, 1));
    let gap = domain.rotate(subject, vec![member.rotation(1), member.rotation(3)]);
    assert_eq!(domain.judge(&gap), wrong(3, 2));
    let other = Rotation::new(&subject, 2, &member.voting, &member.key_of(3).public());
    assert!(bad_rotation(domain.judge(&domain.rotate(subject, vec![member.rotation(1), other]))));
    let first = rotate(&domain, &member, 1..=1);
    domain.advance(std::slice::from_ref(&first));
    assert_eq!(domain.judge(&first), wrong(1, 2), "a replay");
    assert_eq!(domain.judge(&rotate(&domain, &member, 2..=2)), Ok(()));
}

#[test]
fn rule_4_11_an_entry_has_from_one_to_eight_rotations() {
    let (domain, member) = with_member(4);
    let verdict = |entry| verify(entry, &check()).map(|_| ());
    assert!(bad_rotation(verdict(domain.rotate(member.node, Vec::new()))));
    assert_eq!(verdict(rotate(&domain, &member, 1..=8)), Ok(()));
    assert_eq!(domain.judge(&rotate(&domain, &member, 1..=8)), Ok(()));
    let too_many = verdict(rotate(&domain, &member, 1..=9));
    assert!(matches!(too_many, Err(Fault::TooMany { count: 9, max: 8, .. })), "{too_many:?}");
}

#[test]
fn rule_2_3_nobody_rotates_to_a_key_that_is_somebodys() {
    let (mut domain, member) = with_member(4);
    let subject = member.node;
    // Each time the key after is one that is taken by then: another's, its own first key, one of this very entry.
    let founder = domain.founders[0].clone();
    let to =
        |sequence, key: &SecretKey, next: &SecretKey| Rotation::new(&subject, sequence, key, &next.public());
    let taken = |domain: &Domain, key: &SecretKey, owner| {
        let chain = vec![to(1, &member.next, key), to(2, key, &member.key_of(5))];
        let verdict = domain.judge(&domain.rotate(subject, chain));
        assert_eq!(verdict, Err(Fault::KeyTaken { key: key.public(), owner }));
    };
    taken(&domain, &founder.key, founder.node);
    taken(&domain, &founder.voting, founder.node);
    taken(&domain, &member.key, subject);
    taken(&domain, &member.next, subject);
    // And the keys of whoever is gone.
    let gone = Person::new(1001);
    domain.advance(&[domain.admission(domain.admit(&gone))]);
    domain.advance(&[domain.revocation(gone.node)]);
    taken(&domain, &gone.key, gone.node);
    // Whoever comes later finds all keys taken that were rotated to.
    domain.advance(&[rotate(&domain, &member, 1..=2)]);
    let mut thief = domain.admit(&Person::new(1002));
    thief.subject = frith_protocol::identity::Inception::new(&member.key_of(2), &gone.next.public());
    let verdict = domain.judge(&domain.admission(thief));
    assert!(matches!(verdict, Err(Fault::KeyTaken { owner, .. }) if owner == subject), "{verdict:?}");
}

#[test]
fn rule_4_11_whoever_is_suspended_or_has_lapsed_may_rotate_and_whoever_is_gone_or_unknown_may_not() {
    let (mut domain, member) = with_member(4);
    let entry = rotate(&domain, &member, 1..=1);
    let suspend =
        Suspend { subject: member.node, number: 1, until: Timestamp(u64::MAX), reason: Reason::Compromised };
    domain.advance(&[domain.endorsed(domain.statement(Kind::Suspend(suspend)))]);
    assert_eq!(domain.judge(&entry), Ok(()));
    let lapsed = domain.now().plus(31 * DAY);
    assert_eq!(domain.judge_at(lapsed, &entry), Ok(()));
    domain.advance(&[domain.revocation(member.node)]);
    assert_eq!(domain.judge(&entry), Err(Fault::SubjectGone { subject: member.node }));
    let stranger = Person::new(1003);
    let verdict = domain.judge(&rotate(&domain, &stranger, 1..=1));
    assert_eq!(verdict, Err(Fault::SubjectUnknown { subject: stranger.node }));
}

#[test]
fn rule_4_11_an_endorsement_voids_it() {
    let (domain, member) = with_member(4);
    let statement = rotate(&domain, &member, 1..=1).statement;
    for signer in [&domain.founders[0], &member] {
        let endorsed = endorsed_by(statement.clone(), &[signer]);
        let verdict = domain.judge(&endorsed).expect_err("it carries ballast");
        assert!(matches!(verdict, Fault::TooMany { count: 1, max: 0, .. }), "{verdict:?}");
        assert!(verdict.is_of_the_body(), "the block's id does not cover it");
    }
}

#[test]
fn rule_4_11_four_entries_a_day_of_block_time_and_the_next_day_four_more() {
    let (mut domain, member) = with_member(4);
    let midnight = Timestamp(domain.now().0.next_multiple_of(DAY));
    for sequence in 1..=limits::ROTATE_ENTRIES_PER_DAY {
        domain.advance(&[rotate(&domain, &member, sequence..=sequence)]);
    }
    let fifth = rotate(&domain, &member, 5..=5);
    let too_often = Err(Fault::RotatedTooOften { subject: member.node, entries: 4 });
    assert_eq!(domain.judge_at(Timestamp(midnight.0 - 1), &fifth), too_often);
    assert_eq!(domain.judge_at(midnight, &fifth), Ok(()));
    // Others have days of their own.
    assert_eq!(domain.judge(&rotate(&domain, &domain.founders[1], 1..=1)), Ok(()));
    domain.advance_to(midnight, &[fifth]);
    let standing = domain.state.standing(&member.node).expect("it stands");
    assert_eq!(standing.rotated, Some(Rotated { height: 6, day: 1, entries: 1 }));
}

#[test]
fn rule_4_4_what_was_endorsed_with_an_earlier_key_counts_no_more() {
    let (mut domain, member) = with_member(4);
    let before = domain.admission(domain.admit(&Person::new(2000)));
    assert_eq!(domain.judge(&before), Ok(()));
    let first =
        domain.founders.iter().find(|p| p.node == before.endorsements[0].node).expect("it is").clone();
    domain.advance(&[rotate(&domain, &first, 1..=1)]);
    assert_eq!(domain.judge(&before), Err(Fault::NotTheCurrentKey { node: first.node }));
    let digest = Subject::Statement(before.statement.clone()).digest();
    let mut again = before.clone();
    again.endorsements[0] = Endorsement::sign(&digest, first.node, 1, &first.next);
    assert_eq!(domain.judge(&again), Ok(()), "the same by the new key");
    again.endorsements[0] = Endorsement::sign(&digest, first.node, 0, &first.next);
    assert!(domain.judge(&again).is_err(), "the new key under the old number");
    // Nor does an earlier key take anybody out any more, not even whose it was.
    domain.advance(&[rotate(&domain, &member, 1..=1)]);
    let leave = domain.statement(Kind::Revoke(Revoke { subject: member.node, reason: Reason::Retired }));
    let verdict = domain.judge(&endorsed_by(leave, &[&member]));
    assert_eq!(verdict, Err(Fault::NotTheCurrentKey { node: member.node }));
}

#[test]
fn rule_4_11_seat_roles_window_and_voting_key_stay() {
    let mut domain = Domain::new(4);
    let founder = domain.founders[2].clone();
    let before = domain.state.standing(&founder.node).expect("it stands").clone();
    domain.advance(&[rotate(&domain, &founder, 1..=1)]);
    let after = domain.state.standing(&founder.node).expect("it stands");
    assert_eq!((&after.roles, after.window, after.by), (&before.roles, before.window, before.by));
    let seat = domain.state.seat_of(&founder.node).expect("it has a seat");
    assert_eq!(seat.voting_key, founder.voting.public());
}

#[test]
fn rule_7_1_whoever_is_gone_is_remembered_with_its_last_key() {
    let (mut domain, member) = with_member(4);
    domain.advance(&[rotate(&domain, &member, 1..=2)]);
    domain.advance(&[domain.revocation(member.node)]);
    assert_eq!(domain.state.key_of(&member.node), Some(member.key_of(2).public()));
}

#[test]
fn a_renewal_after_a_rotation_keeps_the_newest_key() {
    let (mut domain, member) = with_member(4);
    domain.advance(&[rotate(&domain, &member, 1..=1)]);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    let standing = domain.state.standing(&member.node).expect("it stands");
    assert_eq!((standing.number, standing.keys.sequence), (2, 1));
    assert_eq!(standing.rotated, Some(Rotated { height: 2, day: 0, entries: 1 }));
}

#[test]
fn rule_6_7_rotations_come_after_denials_and_before_grants() {
    let (mut domain, member) = with_member(4);
    let (founder, victim) = (domain.founders[0].clone(), Person::new(1001));
    domain.advance(&[domain.admission(domain.admit(&victim))]);
    // One of those who endorsed the revocation and the admission rotates in the same block: only what comes before counts still.
    let revocation = domain.revocation(victim.node);
    assert_eq!(revocation.endorsements[0].node, founder.node);
    let admission = domain.admission(domain.admit(&Person::new(1002)));
    let rotation = rotate(&domain, &founder, 1..=1);
    let renewal = {
        let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&member))));
        endorsed_by(statement, &[&domain.founders[1], &domain.founders[2]])
    };
    let waiting =
        [&renewal, &admission, &rotation, &revocation].map(|e| verified(std::sync::Arc::new(e.clone())));
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert_eq!(block.entries, [revocation, rotation, renewal]);
    assert_eq!(refused, [(admission.statement.id(), Fault::NotTheCurrentKey { node: founder.node })]);
    for swap in [(0, 1), (1, 2)] {
        let mut other = (**block).clone();
        other.entries.swap(swap.0, swap.1);
        other.header.entries_root = other.root_of_entries();
        let verdict = domain.state.execute(Parent::of(&domain.head), &verified(std::sync::Arc::new(other)));
        assert!(matches!(verdict, Err(Fault::BadBlock { .. })), "{swap:?}: {verdict:?}");
    }
}

#[test]
fn rule_6_7_a_crowd_that_rotates_keeps_out_neither_denials_nor_grants() {
    let mut domain = Domain::with(1, |charter| charter.timing.member_lifetime_ms = 90 * DAY);
    let crowd: Vec<Person> = (3000..3220).map(Person::new).collect();
    domain.advance(&crowd.iter().map(|p| domain.admission(domain.admit(p))).collect::<Vec<_>>());
    let entries = crowd.iter().map(|person| rotate(&domain, person, 1..=8));
    let denials = crowd[..20].iter().map(|person| domain.revocation(person.node));
    let grants = (4000..4200).map(|n| domain.admission(domain.admit(&Person::new(n))));
    let waiting: Vec<_> =
        entries.chain(grants).chain(denials).map(|e| verified(std::sync::Arc::new(e))).collect();
    let (block, ..) = domain.state.build(&domain.head, domain.now().plus(MINUTE), waiting.iter());
    let of = |which: fn(&Kind) -> bool| block.entries.iter().filter(|e| which(&e.statement.kind)).count();
    assert_eq!(of(|kind| matches!(kind, Kind::Revoke(_))), 20);
    assert_eq!(of(|kind| matches!(kind, Kind::Rotate(_))), limits::BLOCK_ROTATES_MAX);
    assert_eq!(of(|kind| matches!(kind, Kind::Admit(_))), 224 - 20 - limits::BLOCK_ROTATES_MAX);
    let rotations: Vec<_> = waiting.iter().filter(|e| matches!(e.statement.kind, Kind::Rotate(_))).collect();
    let mut more = (**block).clone();
    more.entries.pop();
    more.entries.insert(20, (***rotations[200]).clone());
    more.header.entries_root = more.root_of_entries();
    let verdict = domain.state.execute(Parent::of(&domain.head), &verified(std::sync::Arc::new(more)));
    assert!(matches!(verdict, Err(Fault::BadBlock { what: "it has too many rotations", .. })), "{verdict:?}");
}
