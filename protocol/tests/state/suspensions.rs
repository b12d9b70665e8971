//! SPEC 4.9 and 4.10: rights that rest, and rest no longer.

use frith_protocol::fault::Fault;
use frith_protocol::identity::NodeId;
use frith_protocol::state::{Basis, Effective, Entry, Kind, Reason, Release, Suspend};
use frith_protocol::time::Timestamp;

use crate::domain::{Domain, Person, endorsed_by};

const HOUR: u64 = 3_600_000;

fn with_member(n: u32) -> (Domain, Person) {
    let mut domain = Domain::new(n);
    let member = Person::new(1000);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    (domain, member)
}

fn suspension(domain: &Domain, subject: NodeId, number: u64, until: Timestamp) -> Entry {
    let suspend = Suspend { subject, number, until, reason: Reason::Compromised };
    domain.endorsed(domain.statement(Kind::Suspend(suspend)))
}

/// The first founder, for the first time.
fn suspended_by_the_others(domain: &Domain, subject: NodeId, until: Timestamp) -> Entry {
    let suspend = Suspend { subject, number: 1, until, reason: Reason::Compromised };
    let others: Vec<&Person> = domain.founders[1..].iter().collect();
    endorsed_by(domain.statement(Kind::Suspend(suspend)), &others)
}

fn release(domain: &Domain, subject: NodeId, number: u64) -> Entry {
    let head = &domain.head;
    let basis = Basis { height: head.height, block: head.id(), time: head.time };
    domain.endorsed(domain.statement(Kind::Release(Release { subject, number, basis })))
}

fn says(domain: &Domain, subject: &Person, at: Timestamp) -> Effective {
    domain.state.effective(&subject.node, at)
}

#[test]
fn rule_4_9_a_suspended_members_rights_rest_until_then_and_no_longer() {
    let (mut domain, member) = with_member(4);
    let until = domain.now().plus(HOUR);
    domain.advance(&[suspension(&domain, member.node, 1, until)]);
    assert_eq!(says(&domain, &member, domain.now()), Effective::Suspended);
    assert_eq!(says(&domain, &member, Timestamp(until.0 - 1)), Effective::Suspended);
    assert_eq!(says(&domain, &member, until), Effective::Yes);
    let standing = domain.state.standing(&member.node).expect("it stands");
    assert_eq!((standing.number, standing.suspensions), (1, 1), "its admission is untouched");
}

#[test]
fn rule_4_9_when_rights_may_change_by_time_alone_is_never_told_too_late() {
    let (mut domain, member) = with_member(4);
    let founder = domain.founders[0].node;
    let (now, window) = (domain.now(), domain.state.standing(&member.node).expect("it stands").window);
    assert_eq!(domain.state.may_change_at(&member.node, now), Some(window.until));
    assert_eq!(domain.state.may_change_at(&founder, now), None, "a seat never lapses");
    let until = now.plus(HOUR);
    domain.advance(&[suspension(&domain, member.node, 1, until)]);
    domain.advance(&[suspended_by_the_others(&domain, founder, until)]);
    assert_eq!(domain.state.may_change_at(&member.node, now), Some(until));
    assert_eq!(domain.state.may_change_at(&founder, now), Some(until));
    assert_eq!(domain.state.may_change_at(&founder, until), None);
    for from in [Timestamp(0), window.from, now, until, window.until] {
        let at = domain.state.may_change_at(&member.node, from).unwrap_or(window.until.plus(HOUR));
        let before = says(&domain, &member, from);
        assert_eq!(says(&domain, &member, Timestamp(at.0 - 1)), before, "from {from}");
    }
}

#[test]
fn rule_4_9_a_suspension_needs_the_contain_threshold_and_nobody_suspends_itself() {
    let (domain, member) = with_member(4);
    let suspend = Suspend {
        subject: member.node,
        number: 1,
        until: domain.now().plus(HOUR),
        reason: Reason::Misbehaved,
    };
    let statement = domain.statement(Kind::Suspend(suspend));
    let short = endorsed_by(statement.clone(), &[&domain.founders[0]]);
    assert_eq!(domain.judge(&short), Err(Fault::TooFewEndorsements { have: 1, need: 2 }));
    let own = endorsed_by(statement, &[&member]);
    assert_eq!(domain.judge(&own), Err(Fault::NotAnEndorser { node: member.node }));
}

#[test]
fn rule_4_9_a_suspension_carries_the_next_number_and_ends_after_its_block() {
    let (mut domain, member) = with_member(4);
    let (subject, until) = (member.node, domain.now().plus(HOUR));
    for theirs in [0, 2] {
        let wrong = domain.judge(&suspension(&domain, subject, theirs, until));
        assert_eq!(wrong, Err(Fault::WrongNumber { subject, theirs, expected: 1 }));
    }
    let over = suspension(&domain, subject, 1, domain.now());
    assert!(matches!(domain.judge(&over), Err(Fault::BadSuspension { .. })));
    let first = suspension(&domain, subject, 1, until);
    domain.advance(std::slice::from_ref(&first));
    assert_eq!(domain.judge(&first), Err(Fault::WrongNumber { subject, theirs: 1, expected: 2 }), "a replay");
}

#[test]
fn rule_4_9_a_suspension_in_force_is_made_longer_and_never_shorter() {
    let (mut domain, member) = with_member(4);
    let until = domain.now().plus(HOUR);
    domain.advance(&[suspension(&domain, member.node, 1, until)]);
    let shorter = suspension(&domain, member.node, 2, Timestamp(until.0 - 1));
    assert!(matches!(domain.judge(&shorter), Err(Fault::BadSuspension { .. })));
    domain.advance(&[suspension(&domain, member.node, 2, until.plus(HOUR))]);
    assert_eq!(says(&domain, &member, until), Effective::Suspended);
    // Once it has lapsed, a short one does.
    domain.advance_to(until.plus(2 * HOUR), &[]);
    let brief = domain.now().plus(5);
    domain.advance(&[suspension(&domain, member.node, 3, brief)]);
    assert_eq!(says(&domain, &member, brief), Effective::Yes);
}

#[test]
fn rule_4_9_strangers_and_the_gone_are_not_suspended() {
    let (mut domain, member) = with_member(4);
    let subject = Person::new(77).node;
    let until = domain.now().plus(HOUR);
    assert_eq!(domain.judge(&suspension(&domain, subject, 1, until)), Err(Fault::SubjectUnknown { subject }));
    domain.advance(&[domain.revocation(member.node)]);
    let (subject, until) = (member.node, domain.now().plus(HOUR));
    assert_eq!(domain.judge(&suspension(&domain, subject, 1, until)), Err(Fault::SubjectGone { subject }));
}

#[test]
fn rule_4_9_suspensions_stop_where_the_charter_could_be_amended_no_more_until_they_lapse() {
    // n = 4, f = 1: amend needs 3, so one endorser may be restrained.
    let mut domain = Domain::new(4);
    let (one, two, until) = (domain.founders[0].node, domain.founders[1].node, domain.now().plus(HOUR));
    domain.advance(&[suspension(&domain, one, 1, until)]);
    let stranded = Err(Fault::WouldStrandTheCharter { left: 2, amend: 3 });
    let by: Vec<&Person> = domain.founders[2..].iter().collect();
    let second = Suspend { subject: two, number: 1, until: until.plus(HOUR), reason: Reason::Unspecified };
    let second = endorsed_by(domain.statement(Kind::Suspend(second)), &by);
    assert_eq!(domain.judge(&second), stranded);
    // Whoever is missing already may be suspended for longer, and revoked.
    let longer = Suspend { subject: one, number: 2, until: until.plus(HOUR), reason: Reason::Unspecified };
    assert_eq!(domain.judge(&endorsed_by(domain.statement(Kind::Suspend(longer)), &by)), Ok(()));
    assert_eq!(domain.judge_at(until, &second), Ok(()), "the first has lapsed by then");
}

#[test]
fn rule_4_4_a_suspended_endorser_endorses_nothing_until_it_lapses() {
    let mut domain = Domain::new(4);
    let (node, until) = (domain.founders[0].node, domain.now().plus(HOUR));
    domain.advance(&[suspended_by_the_others(&domain, node, until)]);
    let admission = domain.admission(domain.admit(&Person::new(5)));
    assert!(admission.endorsements.iter().any(|endorsement| endorsement.node == node));
    assert_eq!(domain.judge(&admission), Err(Fault::EndorserSuspended { node }));
    let countersigned = domain.state.check_endorsers(domain.now(), &admission.endorsements, 2);
    assert_eq!(countersigned, Err(Fault::EndorserSuspended { node }));
    assert_eq!(domain.state.check_endorsers(until, &admission.endorsements, 2), Ok(()));
}

#[test]
fn rule_4_10_a_release_gives_the_rights_back_once() {
    let (mut domain, member) = with_member(4);
    let (subject, end) = (member.node, Timestamp(u64::MAX));
    domain.advance(&[suspension(&domain, subject, 1, end)]);
    let first = release(&domain, subject, 1);
    domain.advance(std::slice::from_ref(&first));
    assert_eq!(says(&domain, &member, domain.now()), Effective::Yes);
    assert!(matches!(domain.judge(&first), Err(Fault::BadSuspension { .. })), "there is nothing to lift");
    // Suspended anew: the old release does not lift the new suspension.
    domain.advance(&[suspension(&domain, subject, 2, end)]);
    assert_eq!(domain.judge(&first), Err(Fault::WrongNumber { subject, theirs: 1, expected: 2 }));
    assert_eq!(says(&domain, &member, domain.now()), Effective::Suspended);
}

#[test]
fn rule_4_10_a_release_needs_what_an_admission_needs_and_a_recent_basis() {
    let (mut domain, member) = with_member(4);
    domain.advance(&[suspension(&domain, member.node, 1, Timestamp(u64::MAX))]);
    let entry = release(&domain, member.node, 1);
    let need = usize::from(domain.state.charter().thresholds.admit);
    let mut short = entry.clone();
    short.endorsements.truncate(need - 1);
    assert_eq!(domain.judge(&short), Err(Fault::TooFewEndorsements { have: need - 1, need }));
    let late = domain.head.time.plus(domain.state.charter().timing.basis_ms + 1);
    assert!(matches!(domain.judge_at(late, &entry), Err(Fault::BadBasis { .. })));
}

#[test]
fn rule_4_5_whoever_is_suspended_is_admitted_to_nothing_and_no_admission_lifts_it() {
    let (mut domain, member) = with_member(4);
    let (subject, until) = (member.node, domain.now().plus(HOUR));
    domain.advance(&[suspension(&domain, subject, 1, until)]);
    let renewal = domain.admission(domain.admit(&member));
    assert_eq!(domain.judge(&renewal), Err(Fault::SubjectSuspended { subject }));
    // After it has lapsed a renewal keeps its number, so that it is never used again.
    domain.advance_to(until, &[]);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    assert_eq!(domain.state.standing(&subject).expect("it stands").suspensions, 1);
}
