//! SPEC 4.5: whoever is in and in good standing goes on, and nothing else comes of a renewal.

use frith_protocol::fault::Fault;
use frith_protocol::state::{
    Admit, AdmittedBy, Basis, Effective, Entry, Grounds, Kind, Reason, Suspend, Window,
};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, Person, endorsed_by};

/// A domain of four whose members stand for sixty days, with one who has just come; its silence bound is thirty.
fn with_member() -> (Domain, Person) {
    let mut domain = Domain::with(4, |charter| charter.timing.member_lifetime_ms = 60 * DAY);
    let member = Person::new(1000);
    domain.advance(&[domain.admission(window_of(domain.admit(&member), domain.head.time))]);
    (domain, member)
}

fn window_of(admit: Admit, from: Timestamp) -> Admit {
    Admit { window: Window { from, until: from.plus(60 * DAY) }, ..admit }
}

/// What the member would draft on the head.
fn draft(domain: &Domain, member: &Person) -> Admit {
    Admit { grounds: Grounds::Renewal, ..window_of(domain.admit(member), domain.head.time) }
}

fn standing_window(domain: &Domain, member: &Person) -> Window {
    domain.state.standing(&member.node).expect("it stands").window
}

/// Lets the log go on to `time`, so that drafts there have a recent basis.
fn pass(domain: &mut Domain, time: Timestamp) {
    domain.advance_to(time, &[]);
}

fn judge_renewal(domain: &Domain, member: &Person, change: impl FnOnce(&mut Admit)) -> Result<(), Fault> {
    let mut admit = draft(domain, member);
    change(&mut admit);
    domain.judge(&domain.admission(admit))
}

fn suspension(domain: &Domain, member: &Person, until: Timestamp) -> Entry {
    let suspend = Suspend { subject: member.node, number: 1, until, reason: Reason::Compromised };
    domain.endorsed(domain.statement(Kind::Suspend(suspend)))
}

#[test]
fn rule_4_5_a_renewal_goes_on_with_number_keys_and_roles_and_a_whole_lifetime() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let renewal = domain.admission(draft(&domain, &member));
    domain.advance(std::slice::from_ref(&renewal));
    let standing = domain.state.standing(&member.node).expect("it stands");
    assert_eq!((standing.number, standing.by), (2, AdmittedBy::Renewal));
    assert_eq!(standing.roles, ["node"]);
    assert_eq!(standing.window, Window { from: middle, until: middle.plus(60 * DAY) });
    assert_eq!(standing.keys.current, member.public());
    let twice = Err(Fault::WrongNumber { subject: member.node, theirs: 2, expected: 3 });
    assert_eq!(domain.judge(&renewal), twice, "a replay");
}

#[test]
fn rule_4_5_a_renewal_needs_the_admit_threshold() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let statement = domain.statement(Kind::Admit(Box::new(draft(&domain, &member))));
    let one = endorsed_by(statement.clone(), &[&domain.founders[0]]);
    assert_eq!(domain.judge(&one), Err(Fault::TooFewEndorsements { have: 1, need: 2 }));
    let own = endorsed_by(statement, &[&member]);
    assert_eq!(domain.judge(&own), Err(Fault::NotAnEndorser { node: member.node }));
}

#[test]
fn rule_4_5_nobody_renews_before_half_of_its_window_is_over() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    let early = Err(Fault::RenewedTooEarly { subject: member.node, middle });
    assert_eq!(judge_renewal(&domain, &member, |_| {}), early);
    pass(&mut domain, Timestamp(middle.0 - 1));
    assert_eq!(
        judge_renewal(&domain, &member, |_| {}),
        early,
        "the window begins too early, if only by a moment"
    );
    pass(&mut domain, middle);
    assert_eq!(judge_renewal(&domain, &member, |_| {}), Ok(()));
    // What a member asks of itself before it drafts.
    let may = |time| domain.state.check_renewable(&member.node, time);
    assert_eq!(may(Timestamp(middle.0 - 1)), early);
    assert_eq!((may(middle), may(middle.plus(1))), (Ok(()), Ok(())));
}

#[test]
fn rule_4_5_at_most_two_renewals_a_lifetime_get_into_the_log_however_often_one_asks() {
    let (mut domain, member) = with_member();
    let begun = domain.head.time;
    let mut renewals = 0_u64;
    for day in 1..=240 {
        pass(&mut domain, begun.plus(day * DAY));
        let renewal = domain.admission(draft(&domain, &member));
        if domain.judge(&renewal).is_ok() {
            domain.advance(&[renewal]);
            renewals += 1;
        }
    }
    assert_eq!(renewals, 8, "240 days are four lifetimes");
    assert_eq!(domain.state.effective(&member.node, domain.now()), Effective::Yes);
}

#[test]
fn rule_4_5_a_renewal_has_just_the_lifetime_of_the_charter_in_force() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let other =
        |ms: u64| judge_renewal(&domain, &member, |admit| admit.window.until = admit.window.from.plus(ms));
    assert!(
        matches!(other(60 * DAY - 1), Err(Fault::BadRenewal { .. })),
        "shorter could be renewed without end"
    );
    assert!(matches!(other(60 * DAY + 1), Err(Fault::BadWindow { .. })));
    let terms = domain.next_charter(|charter| charter.timing.member_lifetime_ms = 10 * DAY);
    domain.advance(&[domain.amendment(&terms, &[])]);
    let by_the_old = judge_renewal(&domain, &member, |_| {});
    assert!(matches!(by_the_old, Err(Fault::BadWindow { .. })), "{by_the_old:?}");
    let by_the_new = |admit: &mut Admit| admit.window.until = admit.window.from.plus(10 * DAY);
    assert_eq!(judge_renewal(&domain, &member, by_the_new), Ok(()));
}

#[test]
fn rule_4_5_what_operators_limited_is_not_renewed_and_a_charter_with_other_lifetimes_limits_nobody() {
    let (mut domain, member) = with_member();
    let guest = Person::new(2000);
    let short = |admit: Admit| Admit {
        window: Window { until: admit.window.from.plus(20 * DAY), ..admit.window },
        ..admit
    };
    let brief = short(window_of(domain.admit(&guest), domain.head.time));
    domain.advance(&[domain.admission(brief)]);
    assert_eq!(domain.state.renewable_until(&guest.node), None, "neither now nor after it lapsed");
    let lapses = standing_window(&domain, &guest).until;
    assert_eq!(
        domain.state.may_change_at(&guest.node, domain.now()),
        Some(lapses),
        "and that it lapses is told"
    );
    let terms = domain.next_charter(|charter| charter.timing.member_lifetime_ms = 20 * DAY);
    domain.advance(&[domain.amendment(&terms, &[])]);
    let later = domain.head.time.plus(15 * DAY);
    pass(&mut domain, later);
    let limited = judge_renewal(&domain, &guest, |admit| *admit = short(admit.clone()));
    let Err(Fault::BadRenewal { why }) = limited else { panic!("{limited:?}") };
    assert!(why.contains("does not prolong what was limited"), "{why}");
    // A whole lifetime by the charter of its block stays one, however long they become later.
    let terms = domain.next_charter(|charter| charter.timing.member_lifetime_ms = 90 * DAY);
    domain.advance(&[domain.amendment(&terms, &[])]);
    let later = domain.head.time.plus(20 * DAY);
    pass(&mut domain, later);
    let whole = |admit: &mut Admit| admit.window.until = admit.window.from.plus(90 * DAY);
    assert_eq!(judge_renewal(&domain, &member, whole), Ok(()));
    // Operators may say otherwise.
    let longer = Window { from: domain.head.time, until: domain.head.time.plus(90 * DAY) };
    domain.advance(&[domain.admission(Admit { window: longer, ..domain.admit(&guest) })]);
    assert!(domain.state.renewable_until(&guest.node).is_some());
}

#[test]
fn rule_4_5_a_renewal_gives_no_new_role_and_may_give_fewer() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let with = |roles: &[&str]| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        judge_renewal(&domain, &member, |admit| admit.roles = roles)
    };
    assert!(matches!(with(&["gateway", "node"]), Err(Fault::BadRenewal { .. })));
    assert!(matches!(with(&["operator"]), Err(Fault::BadRenewal { .. })));
    assert_eq!(with(&["king", "node"]), Err(Fault::UnknownRole { role: "king".into() }));
    assert_eq!(with(&[]), Ok(()));
}

#[test]
fn rule_4_5_the_lapsed_renew_until_the_silence_bound_is_over_and_then_need_approval() {
    let (mut domain, member) = with_member();
    let end = standing_window(&domain, &member).until;
    let last = end.plus(domain.state.charter().timing.silence_ms);
    assert_eq!(domain.state.renewable_until(&member.node), Some(last));
    pass(&mut domain, Timestamp(last.0 - 2000));
    assert_eq!(domain.state.effective(&member.node, domain.now()), Effective::Lapsed);
    let renewal = domain.admission(draft(&domain, &member));
    assert_eq!(domain.judge_at(Timestamp(last.0 - 1), &renewal), Ok(()));
    let late = domain.judge_at(last, &renewal).expect_err("the time is over");
    assert!(matches!(late, Fault::BadRenewal { .. }));
    assert!(late.to_string().contains("must admit it anew"), "{late}");
    let approved = domain.admission(window_of(domain.admit(&member), domain.head.time));
    assert_eq!(domain.judge_at(last, &approved), Ok(()), "an operator's yes, under the same identity");
}

#[test]
fn rule_4_5_newcomers_and_seats_have_nothing_to_renew() {
    let (domain, _) = with_member();
    let stranger = Person::new(2000);
    let unknown = judge_renewal(&domain, &stranger, |_| {});
    assert_eq!(unknown, Err(Fault::SubjectUnknown { subject: stranger.node }));
    let founder = domain.founders[3].clone();
    assert!(matches!(judge_renewal(&domain, &founder, |_| {}), Err(Fault::BadRenewal { .. })));
    assert_eq!(domain.state.renewable_until(&founder.node), None);
}

#[test]
fn rule_4_5_whoever_lost_its_seat_renews_as_a_member() {
    let (mut domain, _) = with_member();
    let leaver = domain.founders[3].clone();
    let terms = domain.next_charter(|charter| {
        charter.endorsers.pop();
        charter.faults = 0;
    });
    domain.advance(&[domain.amendment(&terms, &[])]);
    assert_eq!(domain.state.standing(&leaver.node).expect("it stands").number, 0);
    let later = domain.head.time.plus(40 * DAY);
    pass(&mut domain, later);
    domain.advance(&[domain.admission(draft(&domain, &leaver))]);
    assert_eq!(domain.state.standing(&leaver.node).expect("it stands").number, 1);
}

#[test]
fn rule_4_5_of_a_renewal_and_a_revocation_the_revocation_wins_whichever_is_first() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let (subject, revocation) = (member.node, domain.revocation(member.node));
    let renewal = domain.admission(draft(&domain, &member));

    let mut revoked_first = domain.clone();
    revoked_first.advance(std::slice::from_ref(&revocation));
    assert_eq!(revoked_first.judge(&renewal), Err(Fault::SubjectGone { subject }));

    let mut renewed_first = domain.clone();
    renewed_first.advance(std::slice::from_ref(&renewal));
    renewed_first.advance(std::slice::from_ref(&revocation));
    assert!(renewed_first.state.is_gone(&subject), "the thief who renewed in time gained nothing");
    assert_eq!(renewed_first.judge(&renewal), Err(Fault::SubjectGone { subject }));

    // In one block the denial comes first, and the renewal is void.
    let both = [renewal, revocation].map(|entry| crate::domain::verified(std::sync::Arc::new(entry)));
    let (block, state, refused) = domain.state.build(&domain.head, domain.now(), both.iter());
    assert_eq!((block.entries.len(), refused.len()), (1, 1));
    assert!(state.is_gone(&subject));
}

#[test]
fn rule_4_5_the_suspended_do_not_renew_and_a_renewal_in_flight_is_void() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let renewal = domain.admission(draft(&domain, &member));
    let until = domain.now().plus(DAY);
    domain.advance(&[suspension(&domain, &member, until)]);
    let subject = member.node;
    assert_eq!(domain.judge(&renewal), Err(Fault::SubjectSuspended { subject }));
    pass(&mut domain, until);
    assert_eq!(judge_renewal(&domain, &member, |_| {}), Ok(()), "the suspension lapsed");
}

#[test]
fn rule_4_5_a_renewal_rests_on_a_recent_block() {
    let (mut domain, member) = with_member();
    let middle = standing_window(&domain, &member).middle();
    pass(&mut domain, middle);
    let oldest = domain.state.charter().timing.basis_ms;
    let renewal = domain.admission(draft(&domain, &member));
    let basis: Basis = draft(&domain, &member).basis;
    assert_eq!(domain.judge_at(basis.time.plus(oldest), &renewal), Ok(()));
    assert!(matches!(domain.judge_at(basis.time.plus(oldest + 1), &renewal), Err(Fault::BadBasis { .. })));
}
