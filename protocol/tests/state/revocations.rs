//! SPEC 4.7: who is out, for good.

use frith_protocol::fault::Fault;
use frith_protocol::state::{Effective, Endorsement, Kind, Reason, Revoke, Subject};
use frith_protocol::time::Timestamp;

use crate::domain::{Domain, Person, endorsed_by};

fn with_member(n: u32) -> (Domain, Person) {
    let mut domain = Domain::new(n);
    let member = Person::new(1000);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    (domain, member)
}

fn revoke(domain: &Domain, subject: &Person) -> frith_protocol::state::Statement {
    domain.statement(Kind::Revoke(Revoke { subject: subject.node, reason: Reason::Compromised }))
}

#[test]
fn rule_4_7_the_revoked_is_gone_for_ever() {
    let (mut domain, member) = with_member(4);
    let renewal = domain.admission(domain.admit(&member));
    domain.advance(&[domain.endorsed(revoke(&domain, &member))]);
    assert!(domain.state.is_gone(&member.node));
    assert!(domain.state.standing(&member.node).is_none());
    assert_eq!(domain.state.effective(&member.node, domain.now()), Effective::Gone);
    let gone = domain.state.gone_since(&member.node).expect("it is gone");
    assert_eq!((gone.height, gone.reason), (2, Reason::Compromised));
    assert_eq!(domain.state.gone().count(), 1);

    let subject = member.node;
    // A renewal in flight, a new admission, a replayed revocation: nothing brings it back or moves it.
    assert_eq!(domain.judge(&renewal), Err(Fault::SubjectGone { subject }));
    let again = domain.admission(domain.admit(&member));
    assert_eq!(domain.judge(&again), Err(Fault::SubjectGone { subject }));
    let twice = domain.endorsed(revoke(&domain, &member));
    assert_eq!(domain.judge(&twice), Err(Fault::SubjectGone { subject }));
}

#[test]
fn rule_4_7_a_revocation_beats_a_renewal_in_the_same_block() {
    let (domain, member) = with_member(4);
    let renewal = crate::domain::verified(std::sync::Arc::new(domain.admission(domain.admit(&member))));
    let revocation = crate::domain::verified(std::sync::Arc::new(domain.endorsed(revoke(&domain, &member))));
    let (block, state, refused) =
        domain.state.build(&domain.head, domain.now(), [&renewal, &revocation].into_iter());
    assert_eq!(block.entries, [(**revocation).clone()]);
    assert_eq!(refused, [(renewal.statement.id(), Fault::SubjectGone { subject: member.node })]);
    assert!(state.is_gone(&member.node));
}

#[test]
fn rule_4_7_a_stranger_cannot_be_revoked() {
    let domain = Domain::new(4);
    let subject = Person::new(5000).node;
    assert_eq!(domain.judge(&domain.revocation(subject)), Err(Fault::SubjectUnknown { subject }));
}

#[test]
fn rule_4_7_too_few_endorsers_revoke_nobody() {
    let (domain, member) = with_member(4);
    let statement = revoke(&domain, &member);
    assert_eq!(domain.state.threshold_for(&Subject::Statement(statement.clone())), 2);
    let short = endorsed_by(statement.clone(), &[&domain.founders[0]]);
    assert_eq!(domain.judge(&short), Err(Fault::TooFewEndorsements { have: 1, need: 2 }));
    let other = Person::new(1001);
    let by_other = endorsed_by(statement, &[&other]);
    assert_eq!(domain.judge(&by_other), Err(Fault::NotAnEndorser { node: other.node }));
}

#[test]
fn rule_4_7_anybody_revokes_itself_alone_with_its_current_key() {
    let (mut domain, member) = with_member(4);
    let statement = revoke(&domain, &member);
    let digest = Subject::Statement(statement.clone()).digest();
    for (sequence, key) in [(0, &member.next), (1, &member.key)] {
        let mut forged = endorsed_by(statement.clone(), &[]);
        forged.endorsements = vec![Endorsement::sign(&digest, member.node, sequence, key)];
        assert_eq!(domain.judge(&forged), Err(Fault::NotTheCurrentKey { node: member.node }));
    }
    // Beside an endorser's it is ballast: the member is no endorser.
    let mixed = endorsed_by(statement.clone(), &[&member, &domain.founders[0]]);
    assert_eq!(domain.judge(&mixed), Err(Fault::NotAnEndorser { node: member.node }));
    domain.advance(&[endorsed_by(statement, &[&member])]);
    assert!(domain.state.is_gone(&member.node));
}

#[test]
fn rule_4_7_one_whose_window_lapsed_can_still_be_revoked() {
    let (mut domain, member) = with_member(4);
    let until = domain.state.standing(&member.node).expect("admitted").window.until;
    domain.advance_to(until.plus(1), &[]);
    assert_eq!(domain.state.effective(&member.node, domain.now()), Effective::Lapsed);
    domain.advance(&[domain.endorsed(revoke(&domain, &member))]);
    assert_eq!(domain.state.effective(&member.node, Timestamp::ZERO), Effective::Gone);
}

#[test]
fn rule_4_7_revocations_stop_where_the_charter_could_be_amended_no_more() {
    // n = 7, f = 2: amend needs 5, so two endorsers may go.
    let mut domain = Domain::new(7);
    let amend = usize::from(domain.state.charter().thresholds.amend);
    assert_eq!(amend, 5);
    for i in 0..2 {
        domain.advance(&[domain.revocation(domain.founders[i].node)]);
    }
    let third = domain.founders[2].clone();
    let stranded = Err(Fault::WouldStrandTheCharter { left: 4, amend });
    assert_eq!(domain.judge(&domain.revocation(third.node)), stranded);
    // Not by its own will either.
    assert_eq!(domain.judge(&endorsed_by(revoke(&domain, &third), &[&third])), stranded);
    // Two in one block are counted one after the other.
    let mut fresh = Domain::new(7);
    fresh.advance(&[fresh.revocation(fresh.founders[0].node)]);
    let by: Vec<&Person> = fresh.founders[3..6].iter().collect();
    let waiting: Vec<_> = [1, 2]
        .map(|i| endorsed_by(revoke(&fresh, &fresh.founders[i]), &by))
        .map(|entry| crate::domain::verified(std::sync::Arc::new(entry)))
        .into();
    let (block, _, refused) = fresh.state.build(&fresh.head, fresh.now(), waiting.iter());
    assert_eq!((block.entries.len(), refused.len()), (1, 1));
}

#[test]
fn rule_4_7_a_lone_founder_cannot_strand_its_own_domain() {
    let domain = Domain::new(1);
    let own = domain.revocation(domain.founders[0].node);
    assert_eq!(domain.judge(&own), Err(Fault::WouldStrandTheCharter { left: 0, amend: 1 }));
}
