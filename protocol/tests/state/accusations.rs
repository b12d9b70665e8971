//! SPEC 4.13: what a key signed against itself, and what becomes of whose it is.

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Vote};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{NodeId, Rotation, SecretKey, verify};
use frith_protocol::state::{
    Accuse, Basis, BlockId, Contradiction, ConvictedKey, DomainId, Effective, Entry, Kind, Rank, Reason,
    Release, SignedBallot, Suspend,
};

use crate::domain::{DAY, Domain, Person, check, endorsed_by, endorsed_by_terms};

const BLOCK: BlockId = BlockId([1; 32]);
const OTHER: BlockId = BlockId([2; 32]);

fn ballot(domain: &Domain, kind: BallotKind, block: BlockId) -> Ballot {
    let epoch = domain.state.charter().epoch;
    let block = if kind == BallotKind::Dummy { BlockId::NONE } else { block };
    Ballot { domain: domain.state.domain(), epoch, iteration: 7, kind, block }
}

fn sign(key: &SecretKey, ballot: Ballot) -> SignedBallot {
    Vote { ballot, voter: key.public(), proof: key.sign(&ballot.digest()) }
}

fn accusation(domain: &Domain, subject: NodeId, contradiction: Contradiction) -> Entry {
    let statement = domain.statement(Kind::Accuse(Box::new(Accuse { subject, contradiction })));
    Entry { statement, endorsements: Vec::new() }
}

fn by_ballots(domain: &Domain, subject: NodeId, first: SignedBallot, second: SignedBallot) -> Entry {
    accusation(domain, subject, Contradiction::Ballots(first, second))
}

/// Of two votes in one iteration of the epoch in force, by `key`.
fn two_votes(domain: &Domain, subject: NodeId, key: &SecretKey) -> Entry {
    let vote = |block| sign(key, ballot(domain, BallotKind::Vote, block));
    by_ballots(domain, subject, vote(BLOCK), vote(OTHER))
}

fn of_liar(domain: &Domain, liar: &Person) -> Entry {
    two_votes(domain, liar.node, &liar.voting)
}

fn by_rotations(domain: &Domain, subject: NodeId, first: Rotation, second: Rotation) -> Entry {
    accusation(domain, subject, Contradiction::Rotations(first, second))
}

/// To the key of that sequence, to be followed by another than [`Person::rotation`] says.
fn another_rotation(person: &Person, sequence: u32) -> Rotation {
    let next = SecretKey::from_seed([99; 32]).public();
    Rotation::new(&person.node, sequence, &person.key_of(sequence), &next)
}

fn says(domain: &Domain, node: &NodeId) -> Effective {
    domain.state.effective(node, domain.now())
}

fn why(domain: &Domain, entry: &Entry) -> &'static str {
    match domain.judge(entry) {
        Err(Fault::BadAccusation { why }) => why,
        otherwise => panic!("{otherwise:?} is no bad accusation"),
    }
}

/// The next charter with the seats of all founders but those left out, endorsed by the last three.
fn amended(domain: &Domain, without: &[NodeId], consenting: &[&Person]) -> Entry {
    let terms = domain.next_charter(|charter| {
        charter.endorsers.retain(|seat| !without.contains(&seat.node_id()));
        if charter.endorsers.len() < 4 {
            charter.faults = 0;
            (charter.thresholds.admit, charter.thresholds.amend) = (2, 2);
        }
    });
    let able: Vec<&Person> = domain.founders[1..].iter().collect();
    endorsed_by_terms(domain.amendment(&terms, consenting), &terms, &able)
}

#[test]
fn rule_4_13_a_voting_key_that_contradicts_itself_is_convicted_and_its_owner_restrained() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    domain.advance(&[of_liar(&domain, &liar)]);
    assert_eq!(says(&domain, &liar.node), Effective::Convicted);
    let standing = domain.state.standing(&liar.node).expect("it stands");
    let [conviction] = &standing.convictions[..] else { panic!("one conviction") };
    assert_eq!((conviction.key, conviction.height), (ConvictedKey::Voting(liar.voting.public()), 1));
    assert!(domain.state.has_seat(&liar.node), "it keeps its vote");

    let [first, second, ..] = &domain.founders[..] else { panic!("four founders") };
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&Person::new(1000)))));
    let with_it = domain.judge(&endorsed_by(statement, &[first, second]));
    assert_eq!(with_it, Err(Fault::EndorserConvicted { node: liar.node }));
    let admit = domain.statement(Kind::Admit(Box::new(domain.admit(&liar))));
    let anew = domain.judge(&endorsed_by(admit, &[second, &domain.founders[2]]));
    assert_eq!(anew, Err(Fault::SubjectConvicted { subject: liar.node }));
}

#[test]
fn rule_4_13_just_what_8_15_lists_convicts() {
    use BallotKind::{Dummy, Finalise, Propose, Vote};
    let domain = Domain::new(4);
    let liar = &domain.founders[0];
    let kinds = [Propose, Vote, Dummy, Finalise];
    for first in kinds {
        for second in kinds {
            for block in [BLOCK, OTHER] {
                let signed = |kind, block| sign(&liar.voting, ballot(&domain, kind, block));
                let entry = by_ballots(&domain, liar.node, signed(first, BLOCK), signed(second, block));
                let dummies = [first, second].iter().filter(|kind| **kind == Dummy).count();
                let lies = match dummies {
                    0 => block == OTHER,
                    1 => first == Finalise || second == Finalise,
                    _ => false,
                };
                assert_eq!(domain.judge(&entry).is_ok(), lies, "{first:?}, then {second:?} of {block:?}");
            }
        }
    }
}

#[test]
fn rule_4_13_both_ballots_are_of_one_key_domain_epoch_and_iteration() {
    let domain = Domain::new(4);
    let [liar, other, ..] = &domain.founders[..] else { panic!("four founders") };
    let vote = ballot(&domain, BallotKind::Vote, BLOCK);
    let rival = Ballot { block: OTHER, ..vote };
    let judged = |first: SignedBallot, second: SignedBallot| {
        domain.judge(&by_ballots(&domain, liar.node, first, second))
    };
    assert_eq!(judged(sign(&liar.voting, vote), sign(&liar.voting, rival)), Ok(()));
    let refused = |second| judged(sign(&liar.voting, vote), second).is_err();
    assert!(refused(sign(&other.voting, rival)));
    assert!(refused(sign(&liar.voting, Ballot { iteration: 8, ..rival })));
    assert!(refused(sign(&liar.voting, Ballot { epoch: 2, ..rival })));
    assert!(refused(sign(&liar.voting, Ballot { domain: DomainId([3; 32]), ..rival })));
    let elsewhere = |block| sign(&liar.voting, Ballot { domain: DomainId([3; 32]), block, ..vote });
    assert!(judged(elsewhere(BLOCK), elsewhere(OTHER)).is_err(), "what it said in another domain");
    let to_come = |block| sign(&liar.voting, Ballot { epoch: 2, block, ..vote });
    assert!(judged(to_come(BLOCK), to_come(OTHER)).is_err(), "of an epoch to come");
}

#[test]
fn rule_4_13_only_the_owner_of_the_key_is_convicted_and_only_by_its_voting_key() {
    let domain = Domain::new(4);
    let [liar, other, ..] = &domain.founders[..] else { panic!("four founders") };
    let framed = two_votes(&domain, other.node, &liar.voting);
    assert!(why(&domain, &framed).contains("no vote by that key"));
    let by_identity_key = two_votes(&domain, liar.node, &liar.key);
    assert!(why(&domain, &by_identity_key).contains("no vote by that key"));
    let member = Person::new(1000);
    let unknown = two_votes(&domain, member.node, &member.voting);
    assert_eq!(domain.judge(&unknown), Err(Fault::SubjectUnknown { subject: member.node }));
}

#[test]
fn rule_4_13_nobody_endorses_it_and_forged_signatures_never_come_so_far() {
    let domain = Domain::new(4);
    let liar = &domain.founders[0];
    let sound = of_liar(&domain, liar);
    assert_eq!(domain.judge(&sound), Ok(()));
    let endorsed = endorsed_by(sound.statement.clone(), &[&domain.founders[1]]);
    assert!(matches!(domain.judge(&endorsed), Err(Fault::TooMany { .. })));

    let refused = |entry: Entry| matches!(verify(entry, &check()), Err(Fault::BadSignature { .. }));
    let genuine = sign(&liar.voting, ballot(&domain, BallotKind::Vote, BLOCK));
    let mut forged = genuine.clone();
    forged.ballot.block = OTHER;
    assert!(refused(by_ballots(&domain, liar.node, genuine.clone(), forged.clone())));
    assert!(refused(by_ballots(&domain, liar.node, forged, genuine)));
    let (first, mut second) = (liar.rotation(1), liar.rotation(1));
    second.next = another_rotation(liar, 1).next;
    assert!(refused(by_rotations(&domain, liar.node, first, second)));
    assert!(refused(by_rotations(&domain, liar.node, second, first)));
}

#[test]
fn rule_4_13_votes_of_the_last_epoch_convict_and_stolen_older_keys_convict_nobody() {
    let mut domain = Domain::new(4);
    let everybody: Vec<Person> = domain.founders.clone();
    let of_epoch_1: Vec<Entry> = everybody.iter().map(|person| of_liar(&domain, person)).collect();
    let consenting: Vec<&Person> = everybody.iter().collect();
    domain.advance(&[amended(&domain, &[], &consenting)]);
    assert!(of_epoch_1.iter().all(|entry| domain.judge(entry) == Ok(())), "they are of the last epoch");
    // Whoever has a retired key now cannot speak of this epoch by it.
    for person in &everybody {
        let by_old_key = two_votes(&domain, person.node, &person.voting);
        assert!(why(&domain, &by_old_key).contains("no vote by that key"));
    }
    domain.advance(&[amended(&domain, &[], &consenting)]);
    for entry in &of_epoch_1 {
        assert!(why(&domain, entry).contains("no vote by that key"));
    }
}

#[test]
fn rule_4_13_a_key_that_was_kept_is_still_convicted_of_this_epoch_and_the_last_only() {
    let mut domain = Domain::new(4);
    let silent = domain.founders[0].clone();
    let of_epoch_1 = of_liar(&domain, &silent);
    let rest: Vec<Person> = domain.founders[1..].to_vec();
    let consenting: Vec<&Person> = rest.iter().collect();
    domain.advance(&[amended(&domain, &[], &consenting)]);
    assert_eq!(domain.judge(&of_epoch_1), Ok(()));
    domain.advance(&[amended(&domain, &[], &consenting)]);
    assert!(why(&domain, &of_epoch_1).contains("no vote by that key"));
    assert_eq!(
        domain.judge(&of_liar(&domain, &silent)),
        Ok(()),
        "of the epoch in force, by the key that it kept"
    );
}

#[test]
fn rule_4_13_one_key_is_convicted_once_whatever_else_it_signed() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    let signed = |kind, block| sign(&liar.voting, ballot(&domain, kind, block));
    let another =
        by_ballots(&domain, liar.node, signed(BallotKind::Dummy, BLOCK), signed(BallotKind::Finalise, BLOCK));
    assert_eq!(domain.judge(&another), Ok(()));
    let first = of_liar(&domain, &liar);
    domain.advance(std::slice::from_ref(&first));
    for entry in [&another, &first] {
        assert!(why(&domain, entry).contains("convicted already"));
    }
    // An `Amend` that frees it does not let it be convicted again of the same key.
    domain.advance(&[amended(&domain, &[], &[&liar])]);
    assert_eq!(says(&domain, &liar.node), Effective::Yes);
    for entry in [another, first] {
        assert!(domain.judge(&entry).is_err());
    }
}

#[test]
fn rule_4_13_only_an_amend_frees_whom_it_leaves_without_a_seat_or_gives_a_fresh_key() {
    let convicted = || {
        let mut domain = Domain::new(4);
        let liar = domain.founders[0].clone();
        domain.advance(&[of_liar(&domain, &liar)]);
        (domain, liar)
    };
    let (mut unseated, liar) = convicted();
    unseated.advance(&[amended(&unseated, &[liar.node], &[])]);
    assert_eq!(says(&unseated, &liar.node), Effective::Yes, "it is a member, for as long as members are");
    assert!(!unseated.state.has_seat(&liar.node));

    let (mut fresh, liar) = convicted();
    fresh.advance(&[amended(&fresh, &[], &[&liar])]);
    assert_eq!(says(&fresh, &liar.node), Effective::Yes);

    let (mut silent, liar) = convicted();
    silent.advance(&[amended(&silent, &[], &[])]);
    assert_eq!(says(&silent, &liar.node), Effective::Convicted, "it votes by the same key");

    let (mut rotated, liar) = convicted();
    rotated.advance(&[rotated.rotate(liar.node, vec![liar.rotation(1)])]);
    assert_eq!(says(&rotated, &liar.node), Effective::Convicted, "its voting key is the same");

    let (mut released, liar) = convicted();
    let until = released.now().plus(DAY);
    let suspend = Suspend { subject: liar.node, number: 1, until, reason: Reason::Misbehaved };
    let statement = released.statement(Kind::Suspend(suspend));
    let able: Vec<Person> = released.founders[1..].to_vec();
    let able: Vec<&Person> = able.iter().collect();
    released.advance(&[endorsed_by(statement, &able)]);
    let basis = Basis { height: released.head.height, block: released.head.id(), time: released.head.time };
    let release = Kind::Release(Release { subject: liar.node, number: 1, basis });
    released.advance(&[endorsed_by(released.statement(release), &able)]);
    assert_eq!(says(&released, &liar.node), Effective::Convicted);
    assert_eq!(released.state.effective(&liar.node, until.plus(DAY)), Effective::Convicted, "nor does time");
    assert_eq!(released.state.may_change_at(&liar.node, released.now()), None);
}

#[test]
fn rule_4_13_whoever_lied_in_its_last_epoch_in_office_is_restrained_until_the_next_amend() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    let lie = of_liar(&domain, &liar);
    domain.advance(&[amended(&domain, &[liar.node], &[])]);
    domain.advance(&[lie]);
    assert_eq!(says(&domain, &liar.node), Effective::Convicted);
    let seated_again = domain.next_charter(|charter| {
        charter.endorsers.push(Domain::new(4).state.charter().endorsers[0].clone());
        charter.thresholds.amend = 3;
    });
    let able: Vec<&Person> = domain.founders[1..].iter().collect();
    let again = domain.amendment(&seated_again, &[&liar]);
    let refused = domain.judge(&endorsed_by_terms(again, &seated_again, &able));
    assert_eq!(refused, Err(Fault::NotEffective { subject: liar.node }));
    domain.advance(&[amended(&domain, &[], &[])]);
    assert_eq!(says(&domain, &liar.node), Effective::Yes);
}

#[test]
fn rule_4_13_whoever_has_a_fresh_key_already_is_restrained_until_the_next_amend_whatever_it_says_to_that() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    let lie = of_liar(&domain, &liar);
    domain.advance(&[amended(&domain, &[], &[&liar])]);
    domain.advance(&[lie]);
    assert_eq!(says(&domain, &liar.node), Effective::Convicted);
    domain.advance(&[amended(&domain, &[], &[])]);
    assert_eq!(says(&domain, &liar.node), Effective::Yes, "the key that lied is nobody's vote any more");
}

#[test]
fn rule_4_13_the_next_charter_has_enough_who_are_not_convicted() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    domain.advance(&[of_liar(&domain, &liar)]);
    let able: Vec<&Person> = domain.founders[1..].iter().collect();
    let all_must_amend = domain.next_charter(|charter| {
        charter.faults = 0;
        (charter.thresholds.admit, charter.thresholds.amend) = (2, 4);
    });
    let refused =
        domain.judge(&endorsed_by_terms(domain.amendment(&all_must_amend, &[]), &all_must_amend, &able));
    assert_eq!(refused, Err(Fault::WouldStrandTheCharter { left: 3, amend: 4 }));
}

#[test]
fn rule_4_13_enough_stay_able_to_amend_and_then_the_others_are_convicted() {
    let mut domain = Domain::new(4);
    let (first, second) = (domain.founders[0].clone(), domain.founders[1].clone());
    let (lie, another) = (of_liar(&domain, &first), of_liar(&domain, &second));
    domain.advance(&[lie]);
    assert_eq!(domain.judge(&another), Err(Fault::WouldStrandTheCharter { left: 2, amend: 3 }));
    let out = by_rotations(&domain, second.node, second.rotation(1), another_rotation(&second, 1));
    assert_eq!(domain.judge(&out), Err(Fault::WouldStrandTheCharter { left: 2, amend: 3 }));
    // Whoever is restrained already is not missed twice.
    let gone = by_rotations(&domain, first.node, first.rotation(1), another_rotation(&first, 1));
    assert_eq!(domain.judge(&gone), Ok(()));
    domain.advance(&[amended(&domain, &[first.node], &[])]);
    assert_eq!(domain.judge(&another), Ok(()), "amended first");
}

#[test]
fn rule_4_13_two_rotations_of_one_sequence_end_an_identity() {
    let (mut domain, member) = (Domain::new(4), Person::new(1000));
    domain.advance(&[domain.admission(domain.admit(&member))]);
    let (ours, theirs) = (member.rotation(1), another_rotation(&member, 1));
    let to_come = by_rotations(&domain, member.node, ours, theirs);
    assert_eq!(domain.judge(&to_come), Ok(()), "by the key that it is committed to");
    domain.advance(&[domain.rotate(member.node, vec![ours])]);
    domain.advance(std::slice::from_ref(&to_come));
    assert_eq!(says(&domain, &member.node), Effective::Gone);
    let gone = domain.state.gone_since(&member.node).expect("it is gone");
    assert_eq!((gone.height, gone.reason, gone.key), (3, Reason::Misbehaved, member.next.public()));
    assert_eq!(domain.judge(&to_come), Err(Fault::SubjectGone { subject: member.node }));
}

#[test]
fn rule_4_13_neither_the_same_rotation_again_nor_an_earlier_key_convicts_anybody() {
    let (mut domain, member) = (Domain::new(4), Person::new(1000));
    domain.advance(&[domain.admission(domain.admit(&member))]);
    let twice = by_rotations(&domain, member.node, member.rotation(1), member.rotation(1));
    assert!(why(&domain, &twice).contains("one"), "made again after a crash");
    let two = by_rotations(&domain, member.node, member.rotation(1), member.rotation(2));
    assert!(why(&domain, &two).contains("one sequence"));
    let first_key =
        |next: u8| Rotation::new(&member.node, 0, &member.key, &SecretKey::from_seed([next; 32]).public());
    let zero = by_rotations(&domain, member.node, first_key(1), first_key(2));
    assert!(why(&domain, &zero).contains("one sequence"), "the first key comes of no rotation");
    let ahead = by_rotations(&domain, member.node, member.rotation(2), another_rotation(&member, 2));
    assert!(why(&domain, &ahead).contains("current key"), "the log must know the rotation before");
    let thief = SecretKey::from_seed([98; 32]);
    let strange =
        |next: u8| Rotation::new(&member.node, 1, &thief, &SecretKey::from_seed([next; 32]).public());
    let by_nobody = by_rotations(&domain, member.node, strange(1), strange(2));
    assert!(why(&domain, &by_nobody).contains("current key"));
    let half = by_rotations(&domain, member.node, member.rotation(1), strange(1));
    assert!(why(&domain, &half).contains("current key"), "a stranger's beside the owner's");

    let of_first = by_rotations(&domain, member.node, member.rotation(1), another_rotation(&member, 1));
    domain.advance(&[domain.rotate(member.node, vec![member.rotation(1), member.rotation(2)])]);
    assert!(why(&domain, &of_first).contains("current key"), "whoever stole the key before");
}

#[test]
fn rule_6_7_an_accusation_is_a_denial() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    let admission = domain.admission(domain.admit(&Person::new(1000)));
    assert!(admission.endorsements.iter().any(|it| it.node == liar.node), "the liar endorsed it");
    let waiting = [admission, of_liar(&domain, &liar)];
    let waiting: Vec<_> =
        waiting.map(|entry| verify(Arc::new(entry), &check()).expect("what this test made holds")).into();
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert!(matches!(block.entries[0].statement.kind, Kind::Accuse(_)));
    assert_eq!(block.entries[0].statement.rank(), Rank::Denial);
    assert_eq!(refused.len(), 1, "what it endorsed counts no more");
    domain.advance(&[of_liar(&domain, &liar)]);
}
