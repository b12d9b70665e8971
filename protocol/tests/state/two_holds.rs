//! SPEC 4.13: two holds in one slot, and what becomes of who gave them.

use frith_protocol::fault::Fault;
use frith_protocol::identity::{NodeId, verify};
use frith_protocol::state::{
    Accuse, Contradiction, ConvictedKey, DomainId, Effective, Entry, Hold, HoldTerms, Kind, Reason, Suspend,
};

use crate::domain::{DAY, Domain, MINUTE, Person, check, endorsed_by, endorsed_by_terms};

fn says(domain: &Domain, node: &NodeId) -> Effective {
    domain.state.effective(node, domain.now())
}

fn accusation(domain: &Domain, subject: NodeId, first: Hold, second: Hold) -> Entry {
    let contradiction = Contradiction::Holds(first, second);
    let statement = domain.statement(Kind::Accuse(Box::new(Accuse { subject, contradiction })));
    Entry { statement, endorsements: Vec::new() }
}

/// What `liar` signs with its key of that sequence, but for this change.
fn changed(domain: &Domain, liar: &Person, sequence: u32, change: impl FnOnce(&mut HoldTerms)) -> Hold {
    let mut terms = domain.hold(liar, domain.founders[3].node, 0).terms();
    change(&mut terms);
    Hold::sign(terms, liar.node, sequence, &liar.key_of(sequence))
}

/// Two holds in one slot, by its key of that sequence.
fn lie_by(domain: &Domain, liar: &Person, sequence: u32) -> Entry {
    let first = changed(domain, liar, sequence, |_| {});
    let second = changed(domain, liar, sequence, |terms| terms.until = terms.until.plus(1));
    accusation(domain, liar.node, first, second)
}

fn why(domain: &Domain, entry: &Entry) -> &'static str {
    match domain.judge(entry) {
        Err(Fault::BadAccusation { why }) => why,
        otherwise => panic!("{otherwise:?} is no bad accusation"),
    }
}

#[test]
fn rule_4_13_two_holds_in_one_slot_convict_the_key_and_restrain_its_owner() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    domain.advance(&[lie_by(&domain, &liar, 0)]);
    assert_eq!(says(&domain, &liar.node), Effective::Convicted);
    let standing = domain.state.standing(&liar.node).expect("it stands");
    let [conviction] = &standing.convictions[..] else { panic!("one conviction") };
    assert_eq!((conviction.key, conviction.height), (ConvictedKey::Identity(liar.key.public()), 1));
    assert!(domain.state.has_seat(&liar.node), "it keeps its vote");

    let [first, second, third, ..] = &domain.founders[..] else { panic!("four founders") };
    let convicted = Err(Fault::EndorserConvicted { node: liar.node });
    let statement = domain.statement(Kind::Admit(Box::new(domain.admit(&Person::new(1000)))));
    assert_eq!(domain.judge(&endorsed_by(statement, &[first, second])), convicted);
    let admit = domain.statement(Kind::Admit(Box::new(domain.admit(&liar))));
    let anew = domain.judge(&endorsed_by(admit, &[second, third]));
    assert_eq!(anew, Err(Fault::SubjectConvicted { subject: liar.node }));
    let hold = domain.hold(&liar, third.node, 1);
    assert_eq!(domain.judge(&domain.record(&hold)), convicted, "its holds are no record");
}

#[test]
fn rule_5_25_the_holds_of_whoever_is_convicted_count_no_more_suspended_besides_or_not() {
    let mut domain = Domain::new(4);
    let (liar, held) = (domain.founders[0].clone(), domain.founders[1].node);
    let hold = domain.hold(&liar, held, 1);
    assert!(domain.state.honours(&hold, domain.now()));
    domain.advance(&[lie_by(&domain, &liar, 0)]);
    assert!(!domain.state.honours(&hold, domain.now()));
    let suspend = Suspend {
        subject: liar.node,
        number: 1,
        until: domain.now().plus(5 * MINUTE),
        reason: Reason::Misbehaved,
    };
    let able: Vec<&Person> = domain.founders[1..3].iter().collect();
    domain.advance(&[endorsed_by(domain.statement(Kind::Suspend(suspend)), &able)]);
    assert!(!domain.state.honours(&hold, domain.now()));
}

#[test]
fn rule_4_13_two_holds_in_one_slot_are_of_one_domain_day_slot_key_and_owner_and_differ() {
    let domain = Domain::new(4);
    let [liar, other, ..] = &domain.founders[..] else { panic!("four founders") };
    let first = changed(&domain, liar, 0, |_| {});
    let judged = |second: Hold| domain.judge(&accusation(&domain, liar.node, first, second));
    let with = |change: fn(&mut HoldTerms)| judged(changed(&domain, liar, 0, change));
    // Whatever it is in which they differ.
    assert_eq!(with(|terms| terms.subject = NodeId([7; 32])), Ok(()));
    assert_eq!(with(|terms| terms.reason = Reason::Unspecified), Ok(()));
    assert_eq!(with(|terms| terms.basis.height += 1), Ok(()));
    assert_eq!(
        with(|terms| terms.until = terms.until.plus(DAY)),
        Ok(()),
        "also if it lasts too long to count"
    );
    for told in [
        with(|_| {}),
        with(|terms| terms.slot += 1),
        with(|terms| terms.basis.time = terms.basis.time.plus(DAY)),
        with(|terms| terms.domain = DomainId([3; 32])),
        judged(Hold::sign(
            changed(&domain, liar, 0, |it| it.reason = Reason::Unspecified).terms(),
            other.node,
            0,
            &other.key,
        )),
    ] {
        assert!(
            told.is_err_and(|fault| fault.to_string().contains("an honest endorser may give both holds"))
        );
    }
    let elsewhere = |reason| {
        changed(&domain, liar, 0, |terms| (terms.domain, terms.reason) = (DomainId([3; 32]), reason))
    };
    let elsewhere =
        accusation(&domain, liar.node, elsewhere(Reason::Unspecified), elsewhere(Reason::Misbehaved));
    assert!(why(&domain, &elsewhere).contains("another domain"));
}

#[test]
fn rule_4_13_two_holds_in_one_slot_frame_nobody_else_and_forged_ones_never_come_so_far() {
    let mut domain = Domain::new(4);
    let [liar, other, ..] = &domain.founders[..] else { panic!("four founders") };
    let (liar, other) = (liar.clone(), other.clone());
    let genuine = changed(&domain, &liar, 0, |_| {});
    let rival = changed(&domain, &liar, 0, |terms| terms.reason = Reason::Unspecified);
    assert!(why(&domain, &accusation(&domain, other.node, genuine, rival)).contains("current key"));
    // In the name of another, by a key of one's own.
    let as_other = |hold: Hold| Hold::sign(hold.terms(), other.node, 0, &liar.key);
    let framed = accusation(&domain, other.node, as_other(genuine), as_other(rival));
    assert!(why(&domain, &framed).contains("current key"));
    let in_its_name = accusation(&domain, liar.node, as_other(genuine), as_other(rival));
    assert!(why(&domain, &in_its_name).contains("current key"), "nor do they count for anybody");
    let sound = accusation(&domain, liar.node, genuine, rival);
    assert_eq!(domain.judge(&sound), Ok(()));
    let endorsed = endorsed_by(sound.statement.clone(), &[&other]);
    assert!(matches!(domain.judge(&endorsed), Err(Fault::TooMany { .. })));
    let forged = Hold { reason: Reason::Misbehaved, ..genuine };
    for (first, second) in [(genuine, forged), (forged, genuine)] {
        let checked = verify(accusation(&domain, liar.node, first, second), &check());
        assert!(matches!(checked, Err(Fault::BadSignature { .. })));
    }
    // A member's, too: no honest one signs any.
    let member = Person::new(1000);
    let entry = lie_by(&domain, &member, 0);
    assert_eq!(domain.judge(&entry), Err(Fault::SubjectUnknown { subject: member.node }));
    domain.advance(&[domain.admission(domain.admit(&member))]);
    domain.advance(&[entry]);
    assert_eq!(says(&domain, &member.node), Effective::Convicted);
}

#[test]
fn rule_4_13_whoever_gave_two_holds_in_one_slot_is_free_once_it_rotates_and_by_nothing_else() {
    let mut domain = Domain::new(4);
    let liar = domain.founders[0].clone();
    let lie = lie_by(&domain, &liar, 0);
    let again = {
        let first = changed(&domain, &liar, 0, |terms| terms.slot = 1);
        let second =
            changed(&domain, &liar, 0, |terms| (terms.slot, terms.reason) = (1, Reason::Unspecified));
        accusation(&domain, liar.node, first, second)
    };
    domain.advance(std::slice::from_ref(&lie));
    for entry in [&lie, &again] {
        assert!(why(&domain, entry).contains("convicted already"), "one key, one conviction");
    }
    assert_eq!(domain.state.effective(&liar.node, domain.now().plus(400 * DAY)), Effective::Convicted);
    assert_eq!(domain.state.may_change_at(&liar.node, domain.now()), None, "time does not free it");
    // Nor does a charter that gives it a fresh voting key.
    let terms = domain.next_charter(|_| {});
    let amend = domain.amendment(&terms, &[&liar]);
    let able: Vec<&Person> = domain.founders[1..].iter().collect();
    domain.advance(&[endorsed_by_terms(amend, &terms, &able)]);
    assert_eq!(says(&domain, &liar.node), Effective::Convicted);

    domain.advance(&[domain.rotate(liar.node, vec![liar.rotation(1)])]);
    assert_eq!(says(&domain, &liar.node), Effective::Yes);
    for entry in [lie, again] {
        assert!(why(&domain, &entry).contains("current key"), "whoever has the earlier key now");
    }
    domain.advance(&[lie_by(&domain, &liar, 1)]);
    assert_eq!(says(&domain, &liar.node), Effective::Convicted, "by its new key, of what that signed");
}

#[test]
fn rule_4_13_two_holds_in_one_slot_restrain_only_while_enough_stay_able_to_amend() {
    let mut domain = Domain::new(4);
    let [first, second, ..] = &domain.founders[..] else { panic!("four founders") };
    let (first, second) = (first.clone(), second.clone());
    domain.advance(&[lie_by(&domain, &first, 0)]);
    let another = lie_by(&domain, &second, 0);
    assert_eq!(domain.judge(&another), Err(Fault::WouldStrandTheCharter { left: 2, amend: 3 }));
    domain.advance(&[domain.rotate(first.node, vec![first.rotation(1)])]);
    assert_eq!(domain.judge(&another), Ok(()), "another one is able again");
}
