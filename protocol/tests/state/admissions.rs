//! SPEC 4.1–4.6, 4.8: who gets in.

use std::sync::Arc;

use frith_protocol::fault::Fault;
use frith_protocol::identity::{Inception, SecretKey, verify};
use frith_protocol::limits;
use frith_protocol::state::{Admit, AdmittedBy, Effective, Entry, Grounds, Kind, Subject, TicketTerms};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, MINUTE, Person, check, endorsed_by, noise};

fn newcomer() -> Person {
    Person::new(1000)
}

/// What is said of a newcomer's sound admission once `change` was made.
fn verdict(domain: &Domain, change: impl FnOnce(&mut Admit)) -> Result<(), Fault> {
    let mut admit = domain.admit(&newcomer());
    change(&mut admit);
    domain.judge(&domain.admission(admit))
}

fn by_ticket(domain: &Domain, person: &Person, terms: &TicketTerms) -> Entry {
    let mut admit = domain.admit(person);
    admit.grounds = Grounds::Ticket(Box::new(terms.clone()));
    domain.admission(admit)
}

#[test]
fn an_approved_newcomer_is_admitted() {
    let mut domain = Domain::new(4);
    let person = newcomer();
    assert_eq!(domain.state.effective(&person.node, domain.now()), Effective::Unknown);
    domain.advance(&[domain.admission(domain.admit(&person))]);
    let standing = domain.state.standing(&person.node).expect("it was just admitted");
    assert_eq!((standing.number, standing.height, standing.by), (1, 1, AdmittedBy::Approval));
    assert_eq!(domain.state.owner_of(&person.public()), Some(person.node));
    assert_eq!(domain.state.effective(&person.node, domain.now()), Effective::Yes);
    assert_eq!(domain.state.member_count(), 5);
    assert!(domain.state.members().any(|(node, _)| node == person.node));
}

#[test]
fn rule_4_1_a_statement_for_another_domain_is_refused() {
    let (domain, other) = (Domain::new(4), Domain::with(4, |c| c.name = "other".into()));
    let entry = other.admission(domain.admit(&newcomer()));
    assert!(matches!(domain.judge(&entry), Err(Fault::OtherDomain { .. })));
}

#[test]
fn rule_4_2_an_endorsement_holds_for_one_statement_one_identity_and_one_sequence() {
    let domain = Domain::new(4);
    let sound = domain.admission(domain.admit(&newcomer()));
    let bad = |change: &dyn Fn(&mut Entry)| {
        let mut entry = sound.clone();
        change(&mut entry);
        matches!(verify(entry, &check()), Err(Fault::BadSignature { .. }))
    };
    assert!(!bad(&|_| {}));
    assert!(bad(&|e| e.endorsements[0].sequence = 1));
    assert!(bad(&|e| e.endorsements[0].node.0[31] ^= 1));
    assert!(bad(&|e| e.endorsements[0].key = e.endorsements[1].key));
    assert!(bad(&|e| e.endorsements[0].signature = e.endorsements[1].signature));
    assert!(bad(&|e| match &mut e.statement.kind {
        Kind::Admit(admit) => admit.number += 1,
        Kind::Revoke(_)
        | Kind::Suspend(_)
        | Kind::Release(_)
        | Kind::Amend(_)
        | Kind::Rotate(_)
        | Kind::Accuse(_)
        | Kind::Hold(_)
        | Kind::Recover(_) => unreachable!("it is an admission"),
    }));
}

#[test]
fn rule_4_3_identities_are_counted_not_signatures() {
    let domain = Domain::new(4);
    let sound = domain.admission(domain.admit(&newcomer()));
    let not_in_order = |entry: Entry| matches!(verify(entry, &check()), Err(Fault::NotInOrder { .. }));
    let mut twice = sound.clone();
    twice.endorsements[1] = twice.endorsements[0];
    assert!(not_in_order(twice.clone()));
    let need = sound.endorsements.len();
    let counted = domain.state.check_endorsers(domain.now(), &twice.endorsements, need);
    assert!(matches!(counted, Err(Fault::NotInOrder { .. })));
    let mut swapped = sound;
    swapped.endorsements.swap(0, 1);
    assert!(not_in_order(swapped));
}

#[test]
fn rule_4_4_one_endorsement_short_is_too_few() {
    let domain = Domain::new(7);
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&newcomer()))));
    let need = domain.state.threshold_for(&Subject::Statement(statement.clone()));
    assert_eq!(need, 3);
    for count in 0..=7 {
        let endorsers: Vec<&Person> = domain.founders.iter().take(count).collect();
        let expected =
            if count < need { Err(Fault::TooFewEndorsements { have: count, need }) } else { Ok(()) };
        assert_eq!(domain.judge(&endorsed_by(statement.clone(), &endorsers)), expected, "{count}");
    }
}

#[test]
fn rule_4_4_whoever_is_no_endorser_voids_the_entry_it_signs() {
    let mut domain = Domain::new(4);
    let member = Person::new(500);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&newcomer()))));
    let stranger = Person::new(501);
    for outsider in [&member, &stranger] {
        // Even with the threshold met by others.
        let mut endorsers: Vec<&Person> = domain.founders.iter().collect();
        endorsers.push(outsider);
        let verdict = domain.judge(&endorsed_by(statement.clone(), &endorsers));
        assert_eq!(verdict, Err(Fault::NotAnEndorser { node: outsider.node }));
    }
}

#[test]
fn rule_4_4_an_endorsement_with_another_key_or_sequence_does_not_count() {
    let domain = Domain::new(4);
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&newcomer()))));
    let subject = Subject::Statement(statement.clone());
    let sound = domain.endorsed(statement);
    let (index, endorser) = (1, &domain.founders[1]);
    assert_eq!(sound.endorsements[index].node, endorser.node);
    for (sequence, key) in [(0, &endorser.next), (0, &endorser.voting), (1, &endorser.key)] {
        let mut entry = sound.clone();
        entry.endorsements[index] =
            frith_protocol::state::Endorsement::sign(&subject.digest(), endorser.node, sequence, key);
        assert_eq!(domain.judge(&entry), Err(Fault::NotTheCurrentKey { node: endorser.node }));
    }
}

#[test]
fn rule_4_4_a_revoked_endorser_endorses_no_more() {
    let mut domain = Domain::new(5);
    let revoked = domain.founders[4].clone();
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&newcomer()))));
    let entry = endorsed_by(statement, &[&domain.founders[0], &revoked]);
    assert_eq!(domain.judge(&entry), Ok(()));
    domain.advance(&[domain.revocation(revoked.node)]);
    assert_eq!(domain.judge(&entry), Err(Fault::EndorserGone { node: revoked.node }));
    assert!(domain.state.has_seat(&revoked.node));
}

#[test]
fn rule_4_5_the_number_is_exactly_the_next() {
    let mut domain = Domain::new(4);
    let person = newcomer();
    let wrong = |theirs, expected| Err(Fault::WrongNumber { subject: person.node, theirs, expected });
    assert_eq!(verdict(&domain, |a| a.number = 0), wrong(0, 1));
    assert_eq!(verdict(&domain, |a| a.number = 2), wrong(2, 1));
    let first = domain.admission(domain.admit(&person));
    domain.advance(std::slice::from_ref(&first));
    assert_eq!(domain.judge(&first), wrong(1, 2), "an old admission was played again");
    assert_eq!(verdict(&domain, |a| a.number = 3), wrong(3, 2));
    assert_eq!(verdict(&domain, |_| {}), Ok(()));
    assert_eq!(verdict(&domain, |a| a.number = u64::MAX), wrong(u64::MAX, 2));
}

#[test]
fn rule_4_5_a_renewal_changes_roles_and_window_and_keeps_the_keys() {
    let mut domain = Domain::new(4);
    let person = newcomer();
    domain.advance(&[domain.admission(domain.admit(&person))]);
    let keys = domain.state.standing(&person.node).expect("admitted").keys.clone();
    let mut renewal = domain.admit(&person);
    renewal.roles = vec!["gateway".into(), "operator".into()];
    domain.advance(&[domain.admission(renewal.clone())]);
    let standing = domain.state.standing(&person.node).expect("renewed");
    assert_eq!((standing.number, &standing.roles, standing.window), (2, &renewal.roles, renewal.window));
    assert_eq!(standing.keys, keys);
    assert_eq!(domain.state.member_count(), 5);
}

#[test]
fn rule_4_5_a_demoted_member_holds_the_lesser_roles_only() {
    let mut domain = Domain::new(4);
    let person = newcomer();
    let mut high = domain.admit(&person);
    high.roles = vec!["node".into(), "operator".into()];
    domain.advance(&[domain.admission(high)]);
    domain.advance(&[domain.admission(domain.admit(&person))]);
    assert_eq!(domain.state.standing(&person.node).expect("stands").roles, ["node"]);
}

#[test]
fn rule_2_3_a_key_belongs_to_one_identity_for_ever() {
    let mut domain = Domain::new(4);
    let person = newcomer();
    domain.advance(&[domain.admission(domain.admit(&person))]);
    // The same first key with another commitment is another identity.
    let double = Person {
        inception: Inception::new(&person.key, &SecretKey::from_seed([99; 32]).public()),
        ..person.clone()
    };
    let double = Person { node: double.inception.node_id(), ..double };
    assert_ne!(double.node, person.node);
    let taken = Err(Fault::KeyTaken { key: person.public(), owner: person.node });
    assert_eq!(domain.judge(&domain.admission(domain.admit(&double))), taken);
    domain.advance(&[domain.revocation(person.node)]);
    assert_eq!(domain.judge(&domain.admission(domain.admit(&double))), taken);
    assert_eq!(domain.state.owner_of(&person.public()), Some(person.node));
    // Nor may anybody begin with an endorser's voting key.
    let endorser = domain.founders[0].clone();
    let inception = Inception::new(&endorser.voting, &SecretKey::from_seed([98; 32]).public());
    let voter = Person { node: inception.node_id(), inception, ..endorser.clone() };
    let taken = Err(Fault::KeyTaken { key: endorser.voting.public(), owner: endorser.node });
    assert_eq!(domain.judge(&domain.admission(domain.admit(&voter))), taken);
}

#[test]
fn rule_4_5_roles_are_ordered_distinct_and_in_the_charter() {
    let domain = Domain::new(4);
    let unknown = verdict(&domain, |a| a.roles = vec!["king".into()]);
    assert_eq!(unknown, Err(Fault::UnknownRole { role: "king".into() }));
    assert_eq!(verdict(&domain, |a| a.roles.clear()), Ok(()));
    for roles in [["node", "gateway"], ["node", "node"]] {
        let mut admit = domain.admit(&newcomer());
        admit.roles = roles.map(String::from).to_vec();
        let entry = domain.admission(admit);
        let not_in_order = Err(Fault::NotInOrder { what: "roles", rule: "4.5" });
        assert_eq!(verify(Arc::new(entry.clone()), &check()).map(drop), not_in_order);
        let statement = &entry.statement;
        assert_eq!(domain.state.judge_statement(&domain.head, domain.now(), statement), not_in_order);
    }
}

#[test]
fn rule_4_5_the_window_holds_the_block_and_is_not_longer_than_the_charter_allows() {
    let domain = Domain::new(4);
    let now = domain.now();
    let lifetime = 90 * DAY;
    let with = |from: Timestamp, until: Timestamp| {
        verdict(&domain, |a| (a.window.from, a.window.until) = (from, until))
    };
    assert_eq!(with(now, now.plus(1)), Ok(()));
    assert!(matches!(with(now.plus(1), now.plus(2)), Err(Fault::BadWindow { .. })));
    assert!(matches!(with(Timestamp::ZERO, now), Err(Fault::BadWindow { .. })));
    assert!(matches!(with(now.plus(5), now), Err(Fault::BadWindow { .. })));
    assert_eq!(with(now, now.plus(lifetime)), Ok(()));
    assert!(matches!(with(now, now.plus(lifetime + 1)), Err(Fault::BadWindow { .. })));
    assert!(matches!(with(Timestamp::ZERO, Timestamp(u64::MAX)), Err(Fault::BadWindow { .. })));
}

#[test]
fn rule_4_5_the_basis_is_below_the_block_not_later_and_not_too_old() {
    let mut domain = Domain::new(4);
    domain.advance_to(domain.head.time.plus(DAY), &[]);
    let now = domain.now();
    let bad = |change: &dyn Fn(&mut Admit)| matches!(verdict(&domain, change), Err(Fault::BadBasis { .. }));
    assert!(!bad(&|a| a.basis.height = domain.head.height));
    assert!(bad(&|a| a.basis.height = domain.head.height + 1));
    assert!(bad(&|a| a.basis.height = u64::MAX));
    assert!(!bad(&|a| a.basis.time = now));
    assert!(bad(&|a| a.basis.time = now.plus(1)));
    assert!(!bad(&|a| a.basis.time = Timestamp(now.0 - 30 * MINUTE)));
    assert!(bad(&|a| a.basis.time = Timestamp(now.0 - 30 * MINUTE - 1)));
}

#[test]
fn rule_4_5_grounds_are_such_as_the_charter_allows() {
    let no_approval = Domain::with(4, |c| c.admission.approval = false);
    assert_eq!(verdict(&no_approval, |_| {}), Err(Fault::GroundsNotAllowed { grounds: "approval" }));
    let no_tickets = Domain::with(4, |c| c.admission.tickets = false);
    let entry = by_ticket(&no_tickets, &newcomer(), &no_tickets.terms(1, 1));
    let refused = Err(Fault::GroundsNotAllowed { grounds: "ticket" });
    assert_eq!(no_tickets.judge(&entry), refused);
    assert_eq!(no_tickets.state.judge_ticket(no_tickets.now(), &no_tickets.terms(1, 1)), refused);
}

#[test]
fn rule_4_6_a_ticket_admits_as_many_as_it_has_uses() {
    let mut domain = Domain::new(4);
    let terms = domain.terms(1, 2);
    let people: Vec<Person> = (0..3).map(|i| Person::new(600 + i)).collect();
    // Two in one block, and the third has nothing left: whoever the log names first.
    let entries: Vec<_> = people.iter().map(|p| by_ticket(&domain, p, &terms)).collect();
    domain.advance(&entries[..1]);
    assert_eq!(domain.state.ticket_uses(&terms), 1);
    domain.advance(&entries[1..2]);
    assert_eq!(domain.state.ticket_uses(&terms), 2);
    assert_eq!(domain.judge(&entries[2]), Err(Fault::TicketSpent { uses: 2 }));
    assert_eq!(domain.state.judge_ticket(domain.now(), &terms), Err(Fault::TicketSpent { uses: 2 }));
    let standing = domain.state.standing(&people[0].node).expect("admitted");
    assert_eq!(standing.by, AdmittedBy::Ticket(terms.id()));
}

#[test]
fn rule_4_6_two_who_race_with_one_ticket_do_not_both_get_in() {
    let domain = Domain::new(4);
    let terms = domain.terms(1, 1);
    let racers = [Person::new(600), Person::new(601)];
    let waiting: Vec<_> =
        racers.iter().map(|p| crate::domain::verified(Arc::new(by_ticket(&domain, p, &terms)))).collect();
    let (block, state, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert_eq!(block.entries, [(**waiting[0]).clone()]);
    let loser = waiting[1].statement.id();
    assert_eq!(refused, [(loser, Fault::TicketSpent { uses: 1 })]);
    assert_eq!(state.member_count(), 5);
}

#[test]
fn rule_4_6_a_ticket_is_refused_after_its_last_moment_and_forgotten_then() {
    let mut domain = Domain::new(4);
    let terms = domain.terms(1, 5);
    domain.advance(&[by_ticket(&domain, &Person::new(600), &terms)]);
    // Keep the basis fresh up to the end.
    domain.advance_to(Timestamp(terms.expires.0 - 1), &[]);
    let entry = by_ticket(&domain, &newcomer(), &terms);
    assert_eq!(domain.judge_at(terms.expires, &entry), Ok(()));
    assert_eq!(domain.judge_at(terms.expires.plus(1), &entry), Err(Fault::TicketExpired));
    assert_eq!(domain.state.judge_ticket(terms.expires.plus(1), &terms), Err(Fault::TicketExpired));

    // A heartbeat forgets nothing, since it changes nothing; a block at the last moment keeps it; the next drops it.
    domain.advance_to(terms.expires, &[domain.admission(domain.admit(&Person::new(601)))]);
    assert_eq!(domain.state.ticket_uses(&terms), 1);
    domain.advance_to(terms.expires.plus(1), &[]);
    assert_eq!(domain.state.ticket_uses(&terms), 1);
    domain.advance_to(terms.expires.plus(2), &[domain.admission(domain.admit(&Person::new(602)))]);
    assert_eq!(domain.state.ticket_uses(&terms), 0);
}

#[test]
fn rule_4_6_one_block_forgets_a_bounded_number_of_tickets_the_oldest_first() {
    let mut domain = Domain::new(1);
    let per_block = limits::BLOCK_ENTRIES_MAX - limits::BLOCK_DENIALS_RESERVED;
    let terms: Vec<TicketTerms> = (0..limits::TICKETS_FORGOTTEN_MAX + 10)
        .map(|i| {
            let mut terms = domain.terms(1, 1);
            terms.expires = terms.expires.plus(i as u64);
            terms
        })
        .collect();
    for (block, terms) in terms.chunks(per_block).enumerate() {
        let person = |i| Person::new(u32::try_from(5000 + block * per_block + i).expect("few"));
        let entries: Vec<_> =
            terms.iter().enumerate().map(|(i, terms)| by_ticket(&domain, &person(i), terms)).collect();
        domain.advance(&entries);
    }
    let spent = |domain: &Domain| terms.iter().filter(|t| domain.state.ticket_uses(t) == 1).count();
    assert_eq!(spent(&domain), terms.len());
    domain.advance_to(domain.head.time.plus(2 * DAY), &[]);
    domain.advance(&[domain.admission(domain.admit(&Person::new(601)))]);
    assert_eq!(spent(&domain), 10);
    assert_eq!(domain.state.ticket_uses(&terms[limits::TICKETS_FORGOTTEN_MAX]), 1);
    domain.advance(&[domain.admission(domain.admit(&Person::new(602)))]);
    assert_eq!(spent(&domain), 0);
}

#[test]
fn rule_4_6_a_ticket_gives_its_roles_and_no_more() {
    let domain = Domain::new(4);
    let mut admit = domain.admit(&newcomer());
    admit.roles = vec!["node".into(), "operator".into()];
    admit.grounds = Grounds::Ticket(Box::new(domain.terms(1, 1)));
    let beyond = Err(Fault::RoleBeyondTicket { role: "operator".into() });
    assert_eq!(domain.judge(&domain.admission(admit)), beyond);
}

#[test]
fn rule_4_6_a_ticket_is_for_its_domain_and_for_newcomers() {
    let mut domain = Domain::new(4);
    let mut foreign = domain.terms(1, 1);
    foreign.domain = noise(1).into();
    let entry = by_ticket(&domain, &newcomer(), &foreign);
    assert!(matches!(domain.judge(&entry), Err(Fault::OtherDomain { .. })));

    let (person, endorser) = (newcomer(), domain.founders[0].clone());
    domain.advance(&[domain.admission(domain.admit(&person))]);
    for stands in [&person, &endorser] {
        let entry = by_ticket(&domain, stands, &domain.terms(1, 1));
        assert!(matches!(domain.judge(&entry), Err(Fault::BadTicket { .. })));
    }
}

#[test]
fn rule_4_6_the_uses_of_a_ticket_are_bounded() {
    let domain = Domain::new(4);
    for uses in [0, limits::TICKET_USES_MAX + 1] {
        let terms = domain.terms(1, uses);
        let bad = |result: Result<(), Fault>| matches!(result, Err(Fault::BadTicket { .. }));
        assert!(bad(verify(by_ticket(&domain, &newcomer(), &terms), &check()).map(drop)));
        assert!(bad(domain.state.judge_ticket(domain.now(), &terms)));
    }
}

#[test]
fn a_ticket_is_countersigned_only_if_it_can_be_spent() {
    let domain = Domain::new(4);
    let judge = |change: &dyn Fn(&mut TicketTerms)| {
        let mut terms = domain.terms(1, 3);
        change(&mut terms);
        domain.state.judge_ticket(domain.now(), &terms)
    };
    assert_eq!(judge(&|_| {}), Ok(()));
    assert_eq!(judge(&|t| t.roles = vec!["king".into()]), Err(Fault::UnknownRole { role: "king".into() }));
    assert!(matches!(
        judge(&|t| t.roles = vec!["node".into(), "gateway".into()]),
        Err(Fault::NotInOrder { .. })
    ));
    assert!(matches!(judge(&|t| t.charter = noise(1).into()), Err(Fault::BadTicket { .. })));
    assert!(matches!(judge(&|t| t.epoch = 2), Err(Fault::BadTicket { .. })));
    let of_the_next = |t: &mut TicketTerms| (t.epoch, t.charter) = (2, noise(1).into());
    assert!(matches!(judge(&of_the_next), Err(Fault::BadTicket { .. })));
    let longest = domain.now().plus(7 * DAY + MINUTE);
    assert_eq!(judge(&|t| t.expires = longest), Ok(()));
    assert!(matches!(judge(&|t| t.expires = longest.plus(1)), Err(Fault::BadTicket { .. })));
    assert!(matches!(judge(&|t| t.expires = Timestamp(u64::MAX)), Err(Fault::BadTicket { .. })));
}

#[test]
fn rule_4_8_a_member_is_effective_within_its_window_and_an_endorser_always() {
    let mut domain = Domain::new(4);
    let (person, endorser) = (newcomer(), domain.founders[0].clone());
    let (mut one, mut two) = (domain.admit(&person), domain.admit(&endorser));
    (one.window.from, two.window.from) = (domain.head.time, domain.head.time);
    let until = domain.head.time.plus(DAY);
    (one.window.until, two.window.until) = (until, until);
    let before = Timestamp(one.window.from.0 - 1);
    domain.advance(&[domain.admission(one), domain.admission(two)]);
    let of = |person: &Person, now| domain.state.effective(&person.node, now);
    assert_eq!(of(&person, before), Effective::NotYet);
    assert_eq!(of(&person, domain.now()), Effective::Yes);
    assert_eq!(of(&person, Timestamp(until.0 - 1)), Effective::Yes);
    assert_eq!(of(&person, until), Effective::Lapsed);
    assert_eq!(of(&endorser, until), Effective::Yes);
}
