//! The next charter: SPEC 3.8, 3.9, 4.12, 6.2 and 6.7.

use frith_protocol::fault::Fault;
use frith_protocol::identity::PublicKey;
use frith_protocol::limits;
use frith_protocol::state::{Amend, Charter, Effective, Entry, Kind, Reason, Role, Seat, Suspend, Terms};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, MINUTE, Person, check};

/// Four founders and a member.
fn domain() -> (Domain, Person) {
    let mut domain = Domain::new(4);
    let member = Person::new(100);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    (domain, member)
}

fn seat(person: &Person) -> Seat {
    Seat { inception: person.inception.clone(), voting_key: PublicKey::BLANK, roles: vec!["node".into()] }
}

/// The member gets the seat of the last founder.
fn replaced(domain: &Domain, member: &Person) -> Terms {
    let leaving = domain.founders[3].node;
    domain.next_charter(|charter| {
        charter.endorsers.retain(|seat| seat.node_id() != leaving);
        charter.endorsers.push(seat(member));
    })
}

fn changed(entry: &Entry, change: impl FnOnce(&mut Amend)) -> Entry {
    let mut entry = entry.clone();
    let Kind::Amend(amend) = &mut entry.statement.kind else { unreachable!("it is an amendment") };
    change(amend);
    entry
}

/// The fault of a next charter that differs so from this one, whoever agrees to it.
fn refused(domain: &Domain, change: impl FnOnce(&mut Charter)) -> Fault {
    let terms = domain.next_charter(change);
    domain.judge(&domain.amendment(&terms, &[])).expect_err("the charter is taken")
}

#[test]
fn rule_4_12_a_member_takes_the_seat_of_a_founder() {
    let (mut domain, member) = domain();
    let leaving = domain.founders[3].node;
    let terms = replaced(&domain, &member);
    let block = domain.advance(&[domain.amendment(&terms, &[&member])]);
    assert!(block.ends_its_epoch());
    let state = &domain.state;
    assert_eq!(state.charter().epoch, 2);
    assert!(state.has_seat(&member.node) && !state.has_seat(&leaving));
    let voting = state.seat_of(&member.node).expect("it sits").voting_key;
    assert_eq!(voting, member.voting_key_of(2).public());
    assert_eq!(state.owner_of(&voting), Some(member.node));
    // A silent founder keeps its key.
    let kept = domain.founders[0].clone();
    assert_eq!(state.seat_of(&kept.node).expect("it sits").voting_key, kept.voting.public());
    // Whoever lost its seat is a member for a lifetime, and no longer.
    let until = domain.head.time.plus(state.charter().timing.member_lifetime_ms);
    assert_eq!(state.effective(&leaving, Timestamp(until.0 - 1)), Effective::Yes);
    assert_eq!(state.effective(&leaving, until), Effective::Lapsed);
    assert_eq!(state.effective(&member.node, until), Effective::Yes);
}

#[test]
fn rule_4_12_endorsers_of_the_charter_in_force_amend_it_and_no_others() {
    let (mut domain, member) = domain();
    let terms = replaced(&domain, &member);
    let entry = domain.amendment(&terms, &[&member]);
    let few = Entry { endorsements: entry.endorsements[1..].to_vec(), ..entry.clone() };
    assert_eq!(domain.judge(&few), Err(Fault::TooFewEndorsements { have: 2, need: 3 }));
    domain.advance(&[entry]);
    let leaving = domain.founders[3].clone();
    let next = domain.next_charter(|_| {});
    let mut entry = domain.amendment(&next, &[]);
    let subject = frith_protocol::state::Subject::Terms(Box::new(next));
    entry.endorsements.push(leaving.endorse(&subject));
    entry.endorsements.sort_by_key(|e| e.node);
    assert_eq!(domain.judge(&entry), Err(Fault::NotAnEndorser { node: leaving.node }));
}

#[test]
fn rule_4_12_whoever_is_added_consents_with_its_own_fresh_key() {
    let (domain, member) = domain();
    let node = member.node;
    let terms = replaced(&domain, &member);
    let entry = domain.amendment(&terms, &[&member]);
    assert_eq!(domain.judge(&entry), Ok(()));
    let without = changed(&entry, |amend| amend.consents.clear());
    assert!(matches!(domain.judge(&without), Err(Fault::BadConsent { .. })));
    // A key that the domain knows already, of whomever.
    let known = domain.founders[1].voting.public();
    let judged = domain.state.judge(
        &domain.head,
        domain.now(),
        &frith_protocol::identity::verify(
            std::sync::Arc::new(with_voting_key(
                &domain,
                &terms,
                &member,
                &domain.founders[1].voting.clone(),
            )),
            &check(),
        )
        .expect("both keys signed"),
    );
    assert_eq!(judged, Err(Fault::KeyTaken { key: known, owner: domain.founders[1].node }));
    // Consent to other terms is none to these, and consent without the voting key's signature is none at all.
    let other = domain.next_charter(|charter| charter.endorsers.push(seat(&member)));
    let of_other = domain.amendment(&other, &[&member]);
    let Kind::Amend(amend) = &of_other.statement.kind else { unreachable!("it is an amendment") };
    let stolen = changed(&entry, |mine| mine.consents.clone_from(&amend.consents));
    assert!(frith_protocol::identity::verify(stolen, &check()).is_err());
    let unproven = changed(&entry, |amend| amend.consents[0].possession = amend.consents[0].signature);
    assert!(frith_protocol::identity::verify(unproven, &check()).is_err());
    // Whoever gets no seat has nothing to consent to.
    let outsider = domain.amendment(&domain.next_charter(|_| {}), &[&member]);
    assert!(matches!(domain.judge(&outsider), Err(Fault::BadConsent { node: of, .. }) if of == node));
}

fn with_voting_key(
    domain: &Domain,
    terms: &Terms,
    person: &Person,
    voting: &frith_protocol::identity::SecretKey,
) -> Entry {
    let entry = domain.amendment(terms, &[person]);
    changed(&entry, |amend| {
        let basis = amend.consents[0].basis;
        let signer = (person.node, 0, &person.key);
        amend.consents[0] = frith_protocol::state::Consent::sign(&terms.id(), signer, voting, basis);
    })
}

#[test]
fn rule_4_12_a_consent_is_of_whoever_has_caught_up() {
    let (mut domain, member) = domain();
    let terms = replaced(&domain, &member);
    let entry = domain.amendment(&terms, &[&member]);
    let bound = domain.state.charter().timing.basis_ms;
    let late = domain.head.time.plus(bound + 1);
    assert!(matches!(domain.judge_at(late, &entry), Err(Fault::BadBasis { .. })));
    domain.advance(&[domain.admission(domain.admit(&Person::new(101)))]);
    assert_eq!(domain.judge(&entry), Ok(()));
}

#[test]
fn rule_4_12_only_whoever_stands_gets_a_seat() {
    let (mut domain, member) = domain();
    let stranger = Person::new(300);
    let with = |domain: &Domain, person: &Person| {
        let terms = domain.next_charter(|charter| {
            charter.endorsers.push(seat(person));
            charter.thresholds.amend = 4;
        });
        domain.judge(&domain.amendment(&terms, &[person]))
    };
    assert_eq!(with(&domain, &member), Ok(()));
    assert_eq!(with(&domain, &stranger), Err(Fault::SubjectUnknown { subject: stranger.node }));
    let suspend = Suspend {
        subject: member.node,
        number: 1,
        until: domain.head.time.plus(DAY),
        reason: Reason::Unspecified,
    };
    domain.advance(&[domain.endorsed(domain.statement(Kind::Suspend(suspend)))]);
    assert_eq!(with(&domain, &member), Err(Fault::NotEffective { subject: member.node }));
    domain.advance(&[domain.revocation(member.node)]);
    assert_eq!(with(&domain, &member), Err(Fault::SubjectGone { subject: member.node }));
}

#[test]
fn rule_4_12_a_charter_that_does_not_follow_or_could_not_live_is_refused() {
    let (domain, _) = domain();
    let bad = |change: fn(&mut Charter)| matches!(refused(&domain, change), Fault::BadCharter { .. });
    assert!(bad(|charter| charter.epoch = 3));
    assert!(bad(|charter| charter.previous = None));
    assert!(bad(|charter| charter.written = Timestamp::ZERO));
    assert!(bad(|charter| charter.written = charter.written.plus(MINUTE)));
    assert!(bad(|charter| charter.thresholds.amend = 1));
    assert!(bad(|charter| charter.faults = 2));
    assert!(bad(|charter| charter.timing.freshness_ms = 1));
    assert!(bad(|charter| charter.last_day = charter.written));
}

#[test]
fn rule_4_12_recovery_keys_are_nobodys_other_keys() {
    let (domain, member) = domain();
    let fault = refused(&domain, |charter| {
        charter.recovery = frith_protocol::state::Recovery { keys: vec![member.public()], threshold: 1 };
    });
    assert_eq!(fault, Fault::KeyTaken { key: member.public(), owner: member.node });
}

#[test]
fn rule_4_12_a_charter_keeps_enough_endorsers_that_can_endorse() {
    let (mut domain, member) = domain();
    // One of four is suspended: three are left, and three amend.
    let resting = domain.founders[0].node;
    let until = domain.head.time.plus(DAY);
    let suspend = Suspend { subject: resting, number: 1, until, reason: Reason::Unspecified };
    let entry = domain.statement(Kind::Suspend(suspend));
    let by: Vec<&Person> = domain.founders[1..].iter().take(2).collect();
    domain.advance(&[crate::domain::endorsed_by(entry, &by)]);
    let able: Vec<&Person> = domain.founders[1..].iter().collect();
    let amend = |terms: &Terms, consenting: &[&Person]| {
        let entry = domain.amendment(terms, consenting);
        domain.judge(&crate::domain::endorsed_by_terms(entry, terms, &able))
    };
    assert_eq!(amend(&domain.next_charter(|_| {}), &[]), Ok(()));
    let all_needed = domain.next_charter(|charter| {
        charter.endorsers.push(seat(&member));
        (charter.faults, charter.thresholds.amend) = (0, 5);
    });
    assert_eq!(amend(&all_needed, &[&member]), Err(Fault::WouldStrandTheCharter { left: 4, amend: 5 }));
}

#[test]
fn rule_4_12_whoever_was_revoked_in_its_seat_keeps_its_vote_until_it_is_amended_away() {
    let (mut domain, member) = domain();
    let gone = domain.founders[3].node;
    domain.advance(&[domain.revocation(gone)]);
    assert!(domain.state.has_seat(&gone));
    assert_eq!(refused(&domain, |_| {}), Fault::SubjectGone { subject: gone });
    let terms = replaced(&domain, &member);
    domain.advance(&[domain.amendment(&terms, &[&member])]);
    assert!(!domain.state.has_seat(&gone));
    assert_eq!(domain.state.effective(&gone, domain.head.time), Effective::Gone);
}

fn with_auditors(charter: &mut Charter) {
    charter.roles.push(Role { name: "auditor".into(), capabilities: Vec::new(), freshness_ms: None });
    charter.roles.sort_by(|a, b| a.name.cmp(&b.name));
}

#[test]
fn rule_4_12_roles_that_the_charter_loses_are_lost_for_good() {
    let mut domain = Domain::with(4, |charter| {
        with_auditors(charter);
    });
    let member = Person::new(100);
    let mut admit = domain.admit(&member);
    admit.roles = vec!["auditor".into(), "node".into()];
    domain.advance(&[domain.admission(admit)]);
    let roles = |domain: &Domain| domain.state.standing(&member.node).expect("it stands").roles.clone();
    domain.advance(&[domain.amendment(
        &domain.next_charter(|charter| charter.roles.retain(|role| role.name != "auditor")),
        &[],
    )]);
    assert_eq!(roles(&domain), ["node"]);
    domain.advance(&[domain.amendment(&domain.next_charter(with_auditors), &[])]);
    assert_eq!(roles(&domain), ["node"], "what comes back one day is not what was given");
}

#[test]
fn rule_6_7_an_amendment_is_the_last_entry_of_its_block_and_the_only_one() {
    let (mut domain, member) = domain();
    let amendment = domain.amendment(&replaced(&domain, &member), &[&member]);
    let other = domain.amendment(&domain.next_charter(|_| {}), &[]);
    let admission = domain.admission(domain.admit(&Person::new(200)));
    let waiting: Vec<_> = [amendment.clone(), other, admission]
        .into_iter()
        .map(|entry| crate::domain::verified(std::sync::Arc::new(entry)))
        .collect();
    let (block, ..) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert_eq!(block.entries.len(), 2);
    assert_eq!(block.entries[1].statement, amendment.statement);
    domain.advance(&block.entries);
    // The next block is of the next epoch.
    let block = domain.advance(&[domain.admission(domain.admit(&Person::new(201)))]);
    assert_eq!(block.header.epoch, 2);
}

#[test]
fn rule_3_8_terms_name_no_voting_key() {
    let (domain, _) = domain();
    let mut terms = domain.next_charter(|_| {});
    let id = terms.id();
    terms.charter.endorsers[0].voting_key = domain.founders[0].voting.public();
    assert_eq!(Terms::of(terms.domain, terms.charter.clone()).id(), id);
    assert!(matches!(frith_protocol::identity::verify(terms, &check()), Err(Fault::BadCharter { .. })));
}

#[test]
fn rule_3_9_a_charter_is_no_longer_than_its_limit() {
    let (domain, _) = domain();
    let fault = refused(&domain, |charter| {
        charter.roles = (0..32)
            .map(|i| Role {
                name: format!("role {i:02}"),
                capabilities: (0..64).map(|j| format!("{j:064}")).collect(),
                freshness_ms: None,
            })
            .chain(charter.roles.clone())
            .take(32)
            .collect();
        charter.endorsers.iter_mut().for_each(|seat| seat.roles.clear());
        charter.roles.sort_by(|a, b| a.name.cmp(&b.name));
    });
    assert!(
        matches!(&fault, Fault::BadCharter { why } if why.contains(&limits::CHARTER_BYTES_MAX.to_string())),
        "{fault}"
    );
}
