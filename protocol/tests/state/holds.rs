//! SPEC 3.10, 4.14 and 5.24: what a hold is, and what the log records of it.

use frith_protocol::fault::Fault;
use frith_protocol::identity::verify;
use frith_protocol::limits;
use frith_protocol::state::{Basis, Entry, Hold, HoldTerms, HoldsRecorded, Kind, Reason, Suspend};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, MINUTE, Person, check, endorsed_by, verified};

fn with_member() -> (Domain, Person) {
    let mut domain = Domain::new(4);
    let member = Person::new(1000);
    domain.advance(&[domain.admission(domain.admit(&member))]);
    (domain, member)
}

/// The same words but for these, signed anew.
fn changed(hold: &Hold, by: &Person, change: impl FnOnce(&mut HoldTerms)) -> Hold {
    let mut terms = hold.terms();
    change(&mut terms);
    Hold::sign(terms, by.node, 0, &by.key)
}

fn refused(domain: &Domain, hold: &Hold, why: &str) {
    let judged = domain.judge(&domain.record(hold));
    assert!(judged.as_ref().is_err_and(|fault| fault.to_string().contains(why)), "{why}: {judged:?}");
}

#[test]
fn rule_3_10_a_charter_bounds_how_long_a_hold_may_last() {
    let founders = crate::domain::founders(4);
    for (bound, fits) in [(0, true), (limits::HOLD_MAX_MS, true), (limits::HOLD_MAX_MS + 1, false)] {
        let mut charter = crate::domain::charter(&founders);
        charter.timing.hold_ms = bound;
        assert_eq!(charter.check().is_ok(), fits, "{bound}");
    }
    let domain = Domain::with(4, |charter| charter.timing.hold_ms = 0);
    let hold = domain.hold(&domain.founders[0], domain.founders[1].node, 0);
    refused(&domain, &hold, "longer than the charter allows");
}

#[test]
fn rule_4_14_the_log_records_a_hold_and_it_changes_nobodys_rights() {
    let (mut domain, member) = with_member();
    let signer = domain.founders[1].clone();
    let hold = domain.hold(&signer, member.node, 2);
    let before = domain.state.standing(&member.node).cloned();
    domain.advance(&[domain.record(&hold)]);
    assert_eq!(domain.state.standing(&member.node).cloned(), before);
    assert!(domain.state.effective(&member.node, domain.now()).is_yes());
    let recorded = domain.state.standing(&signer.node).and_then(|standing| standing.holds);
    assert_eq!(recorded, Some(HoldsRecorded { height: 2, day: hold.day(), slots: 0b100 }));
}

#[test]
fn rule_4_14_it_is_by_an_endorser_that_may_endorse_and_by_its_current_key() {
    let (mut domain, member) = with_member();
    let [one, two, three] = [0, 1, 2].map(|at: usize| domain.founders[at].clone());
    assert_eq!(domain.judge(&domain.record(&domain.hold(&one, member.node, 0))), Ok(()));
    let by_member = domain.hold(&member, one.node, 0);
    assert_eq!(domain.judge(&domain.record(&by_member)), Err(Fault::NotAnEndorser { node: member.node }));
    let mut stolen = domain.hold(&one, member.node, 0);
    stolen = Hold::sign(stolen.terms(), one.node, 0, &two.key);
    assert_eq!(domain.judge(&domain.record(&stolen)), Err(Fault::NotTheCurrentKey { node: one.node }));

    let until = domain.now().plus(5 * MINUTE);
    let suspend = Suspend { subject: one.node, number: 1, until, reason: Reason::Misbehaved };
    let others = [&two, &three];
    domain.advance(&[endorsed_by(domain.statement(Kind::Suspend(suspend)), &others)]);
    let suspended = domain.record(&domain.hold(&one, member.node, 0));
    assert_eq!(domain.judge(&suspended), Err(Fault::EndorserSuspended { node: one.node }));
    assert_eq!(domain.judge_at(until, &suspended), Ok(()), "its office is back");

    domain.advance(&[domain.rotate(two.node, vec![two.rotation(1)])]);
    let old = domain.record(&domain.hold(&two, member.node, 0));
    assert_eq!(domain.judge(&old), Err(Fault::NotTheCurrentKey { node: two.node }));
}

#[test]
fn rule_4_14_nobody_endorses_it() {
    let (domain, member) = with_member();
    let Entry { statement, .. } = domain.record(&domain.hold(&domain.founders[0], member.node, 0));
    let endorsed = endorsed_by(statement, &[&domain.founders[0]]);
    assert!(matches!(domain.judge(&endorsed), Err(Fault::TooMany { count: 1, max: 0, .. })));
}

#[test]
fn rule_4_14_it_ends_after_its_basis_and_within_the_charters_bound_of_it() {
    let (domain, member) = with_member();
    let signer = &domain.founders[0];
    let hold = domain.hold(signer, member.node, 0);
    let bound = domain.state.charter().timing.hold_ms;
    let ending = |until| changed(&hold, signer, |terms| terms.until = until);
    let longest = ending(hold.basis.time.plus(bound));
    assert_eq!(domain.judge(&domain.record(&longest)), Ok(()));
    refused(&domain, &ending(hold.basis.time.plus(bound + 1)), "longer than the charter allows");
    refused(&domain, &ending(Timestamp(u64::MAX)), "longer than the charter allows");
    refused(&domain, &ending(hold.basis.time), "no time");
    refused(&domain, &ending(Timestamp::ZERO), "no time");
}

#[test]
fn rule_4_14_its_basis_is_one_that_a_grant_might_have() {
    let (domain, member) = with_member();
    let signer = &domain.founders[0];
    let hold = domain.hold(signer, member.node, 0);
    let on = |change: &dyn Fn(&mut Basis)| {
        changed(&hold, signer, |terms| {
            change(&mut terms.basis);
            terms.until = terms.basis.time.plus(MINUTE);
        })
    };
    let height = domain.head.height + 1;
    refused(&domain, &on(&|basis| basis.height = height), "not below the block");
    refused(&domain, &on(&|basis| basis.time = domain.now().plus(1)), "later than the block");
    let late = domain.head.time.plus(domain.state.charter().timing.basis_ms + 1);
    assert!(matches!(domain.judge_at(late, &domain.record(&hold)), Err(Fault::BadBasis { .. })));
}

#[test]
fn rule_4_14_each_slot_of_a_day_is_recorded_once_and_no_day_before_the_newest() {
    let mut domain = Domain::with(4, |charter| charter.timing.basis_ms = 3 * DAY);
    let signer = domain.founders[0].clone();
    let subject = domain.founders[3].node;
    let early = domain.hold(&signer, subject, 5);
    for slot in 0..limits::HOLDS_PER_DAY {
        let hold = domain.hold(&signer, subject, slot);
        domain.advance(&[domain.record(&hold)]);
        refused(&domain, &hold, "recorded already");
        let other = changed(&hold, &signer, |terms| terms.until = terms.until.plus(1));
        refused(&domain, &other, "recorded already");
    }
    // Another endorser has slots of its own; another day, too.
    let other = domain.hold(&domain.founders[1], subject, 0);
    assert_eq!(domain.judge(&domain.record(&other)), Ok(()));
    domain.advance_to(domain.head.time.plus(DAY), &[]);
    let hold = domain.hold(&signer, subject, 0);
    domain.advance(&[domain.record(&hold)]);
    refused(&domain, &early, "a later day");
}

#[test]
fn rule_4_14_a_renewal_keeps_what_is_recorded() {
    let mut domain = Domain::new(4);
    let signer = domain.founders[0].clone();
    let hold = domain.hold(&signer, domain.founders[1].node, 0);
    domain.advance(&[domain.record(&hold)]);
    domain.advance(&[domain.admission(domain.admit(&signer))]);
    refused(&domain, &hold, "recorded already");
}

#[test]
fn rule_5_24_a_hold_is_signed_whole_and_has_a_slot_that_there_is() {
    let (domain, member) = with_member();
    let signer = &domain.founders[0];
    let hold = domain.hold(signer, member.node, 0);
    let changes: [&dyn Fn(&mut Hold); 8] = [
        &|hold| hold.domain.0[0] ^= 1,
        &|hold| hold.by.0[0] ^= 1,
        &|hold| hold.sequence += 1,
        &|hold| hold.subject.0[0] ^= 1,
        &|hold| hold.slot += 1,
        &|hold| hold.basis.height += 1,
        &|hold| hold.until.0 += 1,
        &|hold| hold.reason = Reason::Retired,
    ];
    for change in changes {
        let mut other = hold;
        change(&mut other);
        assert_eq!(verify(other, &check()), Err(Fault::BadSignature { key: hold.key }));
    }
    let beyond = domain.hold(signer, member.node, limits::HOLDS_PER_DAY);
    assert!(matches!(verify(beyond, &check()), Err(Fault::TooMany { .. })));
}

#[test]
fn rule_5_24_two_holds_by_one_key_in_one_slot_of_a_day_that_differ_contradict_each_other() {
    let (mut domain, member) = with_member();
    let [one, two] = [0, 1].map(|at: usize| domain.founders[at].clone());
    let hold = verified(domain.hold(&one, member.node, 0)).into_inner();
    let longer = changed(&hold, &one, |terms| terms.until = terms.until.plus(1));
    let later_basis = changed(&hold, &one, |terms| terms.basis.time = terms.basis.time.plus(1));
    let of_another = changed(&hold, &one, |terms| terms.subject = two.node);
    for other in [&longer, &later_basis, &of_another] {
        assert!(hold.contradicts(other) && other.contradicts(&hold), "{other:?}");
    }
    // The same words with another signature are the same hold.
    let mut again = hold;
    again.signature.bytes[0] ^= 1;
    assert!(!hold.contradicts(&again) && !hold.contradicts(&hold));
    let other_slot = changed(&hold, &one, |terms| terms.slot = 1);
    let of_another_signer = domain.hold(&two, member.node, 0);
    let after_a_rotation = Hold::sign(longer.terms(), one.node, 1, &one.next);
    domain.advance_to(domain.head.time.plus(DAY), &[]);
    let next_day = domain.hold(&one, member.node, 0);
    for other in [&other_slot, &of_another_signer, &after_a_rotation, &next_day] {
        assert!(!hold.contradicts(other) && !other.contradicts(&hold), "{other:?}");
    }
}

#[test]
fn rule_6_7_records_come_after_grants_and_before_an_amendment_and_have_few_places() {
    let mut domain = Domain::new(16);
    let signers = domain.founders.clone();
    let subject = signers[15].node;
    let mut entries: Vec<Entry> = Vec::new();
    for (at, signer) in signers.iter().enumerate().take(3) {
        let slots = 0..limits::HOLDS_PER_DAY;
        entries.extend(slots.map(|slot| domain.record(&domain.hold(signer, subject, slot))));
        entries.push(domain.admission(domain.admit(&Person::new(100 + at as u32))));
    }
    let waiting: Vec<_> = entries.iter().map(|e| verified(std::sync::Arc::new(e.clone()))).collect();
    let (block, ..) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    let kinds: Vec<bool> = block.entries.iter().map(|e| matches!(e.statement.kind, Kind::Hold(_))).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|is_hold| **is_hold).count(), limits::BLOCK_HOLDS_MAX);
    domain.advance(&entries[..4]);
}
