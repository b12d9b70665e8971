//! SPEC 5.22 and 5.23 through the door: members that renew by themselves, and the way back for whoever slept.

use std::collections::BTreeSet;
use std::sync::Arc;

use frith_protocol::door::{Command, Event, Input, Message, Phase, Standing};
use frith_protocol::identity::PublicKey;
use frith_protocol::joining::{Draft, Retry, Verdict};
use frith_protocol::limits::RENEWALS_SIGNED_MAX;
use frith_protocol::state::{
    Admit, Basis, BlockId, Effective, Grounds, Kind, Reason, Revoke, Statement, Subject, Suspend, Terms,
    Window,
};
use frith_protocol::time::Timestamp;

use crate::mesh::{Mesh, charter};

const MINUTE: u64 = 60_000;
const LIFETIME: u64 = 12 * MINUTE;
const SILENCE: u64 = 20 * MINUTE;

/// Four founders whose members stand for twelve minutes, and can renew for twenty after that.
fn short_lived() -> Mesh {
    let mut law = charter(4, 1, 3);
    law.timing.member_lifetime_ms = LIFETIME;
    law.timing.silence_ms = SILENCE;
    let mut mesh = Mesh::found(law);
    mesh.run(1_000);
    mesh
}

fn with_members(count: u8) -> (Mesh, Vec<PublicKey>) {
    let mut mesh = short_lived();
    let ticket = mesh.ticket(u32::from(count));
    let members: Vec<PublicKey> = (0..count).map(|nth| mesh.join(10 + nth, Some(ticket.clone()))).collect();
    mesh.run(3_000);
    for member in &members {
        assert_eq!(mesh.core(*member).phase(), Phase::Following);
    }
    (mesh, members)
}

fn with_member() -> (Mesh, PublicKey) {
    let (mesh, members) = with_members(1);
    (mesh, members[0])
}

/// What the endorsers have of it.
fn window(mesh: &Mesh, key: PublicKey) -> Window {
    let state = mesh.core(mesh.endorsers()[0]).state().unwrap();
    state.standing(&mesh.id(key)).expect("it stands").window
}

fn number(mesh: &Mesh, key: PublicKey) -> u64 {
    let state = mesh.core(mesh.endorsers()[0]).state().unwrap();
    state.standing(&mesh.id(key)).expect("it stands").number
}

fn effective(mesh: &Mesh, key: PublicKey) -> Effective {
    mesh.core(mesh.endorsers()[0]).state().unwrap().effective(&mesh.id(key), mesh.now)
}

fn run_until(mesh: &mut Mesh, at: Timestamp) {
    mesh.run(at.since(mesh.now));
}

/// All endorsers amend the charter: members stand for half as long from then on.
fn halve_the_lifetime(mesh: &mut Mesh) {
    let state = mesh.any().state().unwrap();
    let mut next = state.charter().clone();
    (next.previous, next.epoch, next.written) = (Some(state.charter_id()), 2, mesh.now);
    next.timing.member_lifetime_ms = LIFETIME / 2;
    let terms = Terms::of(state.domain(), next);
    let endorsers = mesh.endorsers();
    mesh.propose(Subject::Terms(Box::new(terms)), &endorsers);
}

/// How often it asked for a renewal.
fn asked(mesh: &Mesh, key: PublicKey) -> usize {
    let is_renewal = |message: &Message| match message {
        Message::AskEndorsement(draft) => {
            matches!(&draft.statement.kind, Kind::Admit(admit) if admit.grounds == Grounds::Renewal)
        }
        _ => false,
    };
    mesh.sent.iter().filter(|(from, _, message)| *from == key && is_renewal(message)).count()
}

fn renewed(mesh: &Mesh, key: PublicKey) -> usize {
    mesh.nodes[&key].events.iter().filter(|event| matches!(event, Event::Renewed { .. })).count()
}

fn admission(mesh: &Mesh, key: PublicKey) -> frith_protocol::door::Admission {
    mesh.core(key).status(mesh.now).admission.expect("it has an admission")
}

fn suspend(mesh: &mut Mesh, key: PublicKey, until: Timestamp) {
    let suspend = Suspend { subject: mesh.id(key), number: 1, until, reason: Reason::Compromised };
    let endorsers = mesh.endorsers();
    mesh.decide(Kind::Suspend(suspend), &endorsers[..2]);
    assert_eq!(effective(mesh, key), Effective::Suspended);
}

fn revoke(mesh: &mut Mesh, key: PublicKey) {
    let revoke = Revoke { subject: mesh.id(key), reason: Reason::Compromised };
    let endorsers = mesh.endorsers();
    mesh.decide(Kind::Revoke(revoke), &endorsers[..2]);
    assert_eq!(effective(mesh, key), Effective::Gone);
}

/// A draft of its renewal on the newest block, whose window begins so long before that.
fn draft(mesh: &Mesh, key: PublicKey, before_ms: u64) -> Draft {
    let chain = mesh.core(mesh.endorsers()[0]).chain().unwrap();
    let basis: Basis = chain.basis();
    let from = Timestamp(basis.time.0 - before_ms);
    let admit = Admit {
        subject: mesh.nodes[&key].keys.inception.clone(),
        number: number(mesh, key) + 1,
        roles: vec!["server".into()],
        window: Window { from, until: from.plus(LIFETIME) },
        basis,
        grounds: Grounds::Renewal,
    };
    let statement = Statement { domain: chain.state().domain(), kind: Kind::Admit(Box::new(admit)) };
    Draft { statement, shown: None, note: String::new() }
}

fn asks(mesh: &mut Mesh, key: PublicKey, draft: Draft) -> Option<Verdict> {
    let endorser = mesh.endorsers()[0];
    let sent = mesh.tell(key, endorser, Message::AskEndorsement(Box::new(draft)));
    sent.into_iter().find_map(|(_, message)| match &*message {
        Message::Answer(answer) => Some(answer.verdict.clone()),
        _ => None,
    })
}

#[test]
fn rule_5_22_a_member_renews_by_itself_after_half_and_before_two_thirds_of_its_window() {
    let (mut mesh, member) = with_member();
    let before = window(&mesh, member);
    let (middle, two_thirds) = (before.middle(), before.from.plus(LIFETIME / 3 * 2));
    let due = admission(&mesh, member).renews_at.expect("it is due one day");
    assert!(middle <= due && due < two_thirds, "{due}");
    run_until(&mut mesh, middle);
    assert_eq!((number(&mesh, member), asked(&mesh, member)), (1, 0), "not before half of it");
    run_until(&mut mesh, two_thirds.plus(2_000));
    assert_eq!((number(&mesh, member), renewed(&mesh, member)), (2, 1));
    assert_eq!(mesh.core(member).state().unwrap().standing(&mesh.id(member)).unwrap().number, 2);
    let after = window(&mesh, member);
    assert!(middle <= after.from && after.from < two_thirds, "{after:?}");
    let operators_were_asked = |event: &Event| matches!(event, Event::Waiting { .. });
    for endorser in mesh.endorsers() {
        // Once: about the ticket.
        let waiting = mesh.nodes[&endorser].events.iter().filter(|event| operators_were_asked(event)).count();
        assert!(waiting <= 1, "an operator was asked about a renewal");
    }
}

#[test]
fn rule_5_22_whoever_renews_stays_a_member_for_lifetime_after_lifetime() {
    let (mut mesh, members) = with_members(3);
    for minute in 0..60 {
        mesh.run(MINUTE);
        for member in &members {
            assert_eq!(effective(&mesh, *member), Effective::Yes, "after {minute} minutes");
        }
    }
    for member in &members {
        // Five lifetimes.
        assert!((8..=11).contains(&number(&mesh, *member)), "{}", number(&mesh, *member));
    }
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_22_members_that_came_at_once_do_not_renew_at_once_and_a_restart_changes_nothing() {
    let (mut mesh, members) = with_members(6);
    let due = |mesh: &Mesh| -> Vec<Timestamp> {
        members.iter().map(|member| admission(mesh, *member).renews_at.expect("it is due")).collect()
    };
    let first = due(&mesh);
    let minutes: BTreeSet<u64> = first.iter().map(|at| at.0 / 10_000).collect();
    assert!(minutes.len() >= 4, "they are due at {first:?}");
    for member in &members {
        mesh.stop(*member);
        mesh.start(*member);
        mesh.connect(*member);
    }
    mesh.run(1_000);
    assert_eq!(due(&mesh), first);
}

#[test]
fn rule_5_22_it_asks_again_until_endorsers_answer() {
    let (mut mesh, member) = with_member();
    let window = window(&mesh, member);
    let all: Vec<_> = mesh.endorsers().into_iter().map(|endorser| (endorser, member)).collect();
    run_until(&mut mesh, window.middle());
    // It gets blocks from nobody, and its questions reach nobody.
    let away: Vec<_> =
        all.iter().flat_map(|(endorser, member)| [(*endorser, *member), (*member, *endorser)]).collect();
    mesh.cut.extend(away);
    run_until(&mut mesh, Timestamp(window.until.0 - MINUTE));
    assert_eq!(number(&mesh, member), 1);
    mesh.cut.clear();
    mesh.run(50_000);
    assert_eq!((number(&mesh, member), renewed(&mesh, member)), (2, 1));
}

#[test]
fn rule_5_22_a_draft_that_was_not_answered_in_time_is_drafted_anew() {
    let (mut mesh, member) = with_member();
    let window = window(&mesh, member);
    run_until(&mut mesh, window.middle());
    // Its questions reach nobody, and blocks reach it: the charter changes meanwhile, and with it what a renewal must say.
    let endorsers = mesh.endorsers();
    mesh.cut.extend(endorsers.iter().map(|endorser| (member, *endorser)));
    run_until(&mut mesh, window.from.plus(LIFETIME / 3 * 2));
    assert!(asked(&mesh, member) > 0);
    halve_the_lifetime(&mut mesh);
    mesh.run(5_000);
    assert_eq!(mesh.core(member).charter().unwrap().epoch, 2);
    mesh.cut.clear();
    mesh.run(MINUTE);
    assert_eq!(number(&mesh, member), 2);
    let state = mesh.core(endorsers[0]).state().unwrap();
    assert_eq!(state.standing(&mesh.id(member)).unwrap().window.length_ms(), LIFETIME / 2);
}

#[test]
fn rule_5_22_an_endorser_signs_a_renewal_for_its_subject_only_and_not_before_half_of_the_window() {
    let (mut mesh, members) = with_members(2);
    let [member, other] = members[..] else { unreachable!("there are two") };
    let early = draft(&mesh, member, 0);
    assert!(matches!(asks(&mut mesh, member, early), Some(Verdict::Declined { retry: Retry::Later, .. })));
    let middle = window(&mesh, member).middle();
    // Nobody renews by itself while this test speaks for it.
    mesh.stop(member);
    mesh.stop(other);
    run_until(&mut mesh, middle.plus(20_000));
    let right = draft(&mesh, member, 0);
    let endorser = mesh.endorsers()[0];
    let refused = mesh.nodes[&endorser].refused.len();
    assert_eq!(asks(&mut mesh, other, right.clone()), None);
    assert!(mesh.nodes[&endorser].refused[refused].contains("a draft about somebody else"));
    assert!(matches!(asks(&mut mesh, member, right), Some(Verdict::Endorsed(_))));
}

#[test]
fn rule_5_22_of_one_member_an_endorser_signs_a_few_renewals_and_remembers_no_more() {
    let (mut mesh, member) = with_member();
    let middle = window(&mesh, member).middle();
    mesh.stop(member);
    run_until(&mut mesh, middle.plus(20_000));
    for nth in 0..RENEWALS_SIGNED_MAX as u64 {
        let draft = draft(&mesh, member, nth);
        assert!(matches!(asks(&mut mesh, member, draft), Some(Verdict::Endorsed(_))), "draft {nth}");
    }
    let one_more = draft(&mesh, member, 1_000);
    assert!(matches!(asks(&mut mesh, member, one_more), Some(Verdict::Declined { retry: Retry::Later, .. })));
    let again = draft(&mesh, member, 0);
    assert!(
        matches!(asks(&mut mesh, member, again), Some(Verdict::Endorsed(_))),
        "what it signed it says again"
    );
}

#[test]
fn rule_5_22_whoever_is_suspended_asks_for_nothing_and_renews_once_that_has_lapsed() {
    let (mut mesh, member) = with_member();
    let until = window(&mesh, member).until.plus(MINUTE);
    suspend(&mut mesh, member, until);
    run_until(&mut mesh, Timestamp(until.0 - 1));
    assert_eq!((number(&mesh, member), asked(&mesh, member)), (1, 0));
    assert_eq!(admission(&mesh, member).renews_at, Some(until));
    mesh.run(30_000);
    assert_eq!((number(&mesh, member), effective(&mesh, member)), (2, Effective::Yes));
}

#[test]
fn rule_5_22_an_operator_renews_at_once_and_not_before_half_of_the_window() {
    let (mut mesh, member) = with_member();
    mesh.input(member, Input::Command(Command::Renew));
    let why = mesh.nodes[&member].refused.last().expect("it is too early").clone();
    assert!(why.contains("half of its window is over at"), "{why}");
    let middle = window(&mesh, member).middle();
    run_until(&mut mesh, middle.plus(11_000));
    mesh.input(member, Input::Command(Command::Renew));
    mesh.run(2_000);
    assert_eq!(number(&mesh, member), 2);
    let founder = mesh.endorsers()[0];
    mesh.input(founder, Input::Command(Command::Renew));
    let why = mesh.nodes[&founder].refused.last().expect("it has a seat").clone();
    assert!(why.contains("never lapses"), "{why}");
    assert_eq!(mesh.core(founder).status(mesh.now).admission, None);
}

#[test]
fn rule_5_22_a_thief_who_renews_just_before_the_revocation_gains_nothing() {
    let (mut mesh, member) = with_member();
    let middle = window(&mesh, member).middle();
    run_until(&mut mesh, middle.plus(11_000));
    mesh.input(member, Input::Command(Command::Renew));
    mesh.run(2_000);
    assert_eq!(number(&mesh, member), 2, "the renewal was first");
    revoke(&mut mesh, member);
    assert_eq!(mesh.core(member).phase(), Phase::Gone);
}

#[test]
fn rule_5_22_a_renewal_in_flight_does_not_outlive_the_revocation() {
    let (mut mesh, member) = with_member();
    let middle = window(&mesh, member).middle();
    mesh.stop(member);
    run_until(&mut mesh, middle.plus(20_000));
    // All endorsers sign, and the revocation is first.
    let draft = draft(&mesh, member, 0);
    let mut endorsements = Vec::new();
    for endorser in &mesh.endorsers()[..3] {
        let sent = mesh.tell(member, *endorser, Message::AskEndorsement(Box::new(draft.clone())));
        let signed = sent.into_iter().find_map(|(_, message)| match &*message {
            Message::Answer(answer) => match &answer.verdict {
                Verdict::Endorsed(endorsement) => Some(*endorsement),
                _ => None,
            },
            _ => None,
        });
        endorsements.push(signed.expect("it is in good standing"));
    }
    revoke(&mut mesh, member);
    endorsements.sort_by_key(|endorsement| endorsement.node);
    let entry = frith_protocol::state::Entry { statement: draft.statement, endorsements };
    // The member may say nothing any more; an endorser that lies may.
    let liar = mesh.endorsers()[3];
    for endorser in &mesh.endorsers()[..3] {
        mesh.tell(liar, *endorser, Message::Submit(Arc::new(entry.clone())));
    }
    mesh.run(30_000);
    assert_eq!(effective(&mesh, member), Effective::Gone);
    mesh.start(member);
    mesh.connect(member);
    mesh.run(2_000);
    assert_eq!(mesh.core(member).phase(), Phase::Gone, "shown the proof, it asks for nothing");
}

#[test]
fn rule_5_23_whoever_slept_past_its_window_comes_back_by_itself() {
    let (mut mesh, member) = with_member();
    mesh.stop(member);
    mesh.run(LIFETIME + SILENCE / 2);
    let endorser = mesh.endorsers()[0];
    assert_eq!(effective(&mesh, member), Effective::Lapsed);
    assert_eq!(mesh.core(endorser).standing_of(&member), Standing::Lapsed);
    mesh.start(member);
    mesh.connect(member);
    // As soon as it has the blocks that it missed, and not when it would ask again.
    mesh.run(800);
    assert_eq!((number(&mesh, member), effective(&mesh, member)), (2, Effective::Yes));
    assert_eq!(mesh.core(endorser).standing_of(&member), Standing::Member);
    let founder = mesh.endorsers()[0];
    assert_eq!(mesh.core(member).head().unwrap().block, mesh.core(founder).head().unwrap().block);
}

#[test]
fn rule_5_23_whoever_slept_comes_back_also_over_a_charter_that_it_has_not_seen() {
    let (mut mesh, member) = with_member();
    mesh.stop(member);
    mesh.run(LIFETIME);
    let endorsers = mesh.endorsers();
    halve_the_lifetime(&mut mesh);
    mesh.run(MINUTE);
    assert_eq!(mesh.core(endorsers[0]).charter().unwrap().epoch, 2);
    mesh.start(member);
    mesh.connect(member);
    // It asks for each epoch by itself.
    mesh.run(25_000);
    assert_eq!((number(&mesh, member), effective(&mesh, member)), (2, Effective::Yes));
    assert_eq!(window(&mesh, member).length_ms(), LIFETIME / 2, "under the charter in force");
}

#[test]
fn rule_5_23_a_lapsed_member_follows_and_fetches_snapshots_until_it_is_too_late_and_nothing_else_of_it_is_taken()
 {
    let (mut mesh, member) = with_member();
    mesh.stop(member);
    mesh.run(LIFETIME);
    let endorser = mesh.endorsers()[0];
    let follow = || Message::Follow { height: 0, head: [0; 8] };
    let snapshot = || Message::AskSnapshot { head: BlockId::NONE, chunk: 0, lean: false };
    assert!(matches!(&mesh.tell(member, endorser, follow())[..], [(to, _)] if *to == member));
    assert!(matches!(&mesh.tell(member, endorser, snapshot())[..], [(to, _)] if *to == member));
    let others = [
        Message::Same,
        mesh.heard(|message| matches!(message, Message::Talk(_))),
        mesh.heard(|message| matches!(message, Message::Circulate(_))),
        mesh.heard(|message| matches!(message, Message::Snapshot(_))),
    ];
    for message in others {
        let (what, before) = (message.name(), mesh.nodes[&endorser].refused.len());
        assert_eq!(mesh.tell(member, endorser, message), [], "{what}");
        let refused = &mesh.nodes[&endorser].refused[before..];
        assert!(matches!(refused, [why] if why.contains("standing does not allow")), "{what}: {refused:?}");
    }
    mesh.run(SILENCE);
    assert_eq!(mesh.core(endorser).standing_of(&member), Standing::Stranger);
    assert_eq!(mesh.tell(member, endorser, follow()), []);
    assert_eq!(mesh.tell(member, endorser, snapshot()), []);
}

#[test]
fn rule_5_23_after_that_the_operators_admit_it_anew_under_the_same_identity() {
    let (mut mesh, member) = with_member();
    mesh.stop(member);
    mesh.run(LIFETIME + SILENCE);
    mesh.start(member);
    mesh.connect(member);
    mesh.run(MINUTE);
    assert_eq!((number(&mesh, member), effective(&mesh, member)), (1, Effective::Lapsed));
    let told = admission(&mesh, member);
    assert!(told.lapsed && told.renews_at.is_none() && told.renewable_until <= mesh.now, "{told:?}");
    mesh.input(member, Input::Command(Command::Renew));
    let why = mesh.nodes[&member].refused.last().expect("it is too late").clone();
    assert!(why.contains("must admit it anew"), "{why}");

    let Kind::Admit(mut admit) = draft(&mesh, member, 0).statement.kind else { unreachable!("it is one") };
    admit.grounds = Grounds::Approval;
    let endorsers = mesh.endorsers();
    mesh.decide(Kind::Admit(admit), &endorsers[..3]);
    mesh.run(MINUTE);
    assert_eq!((number(&mesh, member), effective(&mesh, member)), (2, Effective::Yes));
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_23_a_fleet_that_was_dark_for_longer_than_a_lifetime_comes_back_by_itself() {
    let (mut mesh, members) = with_members(3);
    let all: Vec<PublicKey> = mesh.nodes.keys().copied().collect();
    for key in &all {
        mesh.stop(*key);
    }
    mesh.run(LIFETIME + SILENCE / 2);
    for key in &all {
        mesh.start(*key);
    }
    for key in &all {
        mesh.connect(*key);
    }
    mesh.run(MINUTE);
    for member in &members {
        assert_eq!((number(&mesh, *member), effective(&mesh, *member)), (2, Effective::Yes));
    }
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_22_a_renewal_does_not_get_ahead_of_what_operators_are_about_to_decide() {
    let (mut mesh, member) = with_member();
    let middle = window(&mesh, member).middle();
    mesh.stop(member);
    run_until(&mut mesh, middle.plus(20_000));
    let asks_of = |mesh: &mut Mesh, endorser: PublicKey| {
        let draft = draft(mesh, member, 0);
        let sent = mesh.tell(member, endorser, Message::AskEndorsement(Box::new(draft)));
        let answer = sent.into_iter().find_map(|(_, message)| match &*message {
            Message::Answer(answer) => Some(answer.verdict.clone()),
            _ => None,
        });
        answer.expect("it is answered")
    };
    let Kind::Admit(mut admit) = draft(&mesh, member, 0).statement.kind else { unreachable!("it is one") };
    (admit.grounds, admit.roles) = (Grounds::Approval, Vec::new());
    let statement = Statement { domain: mesh.any().domain(), kind: Kind::Admit(admit) };
    let endorsers = mesh.endorsers();
    let subject = frith_protocol::state::Subject::Statement(statement);
    let id = mesh.propose(subject, &endorsers[..1]);
    assert!(matches!(asks_of(&mut mesh, endorsers[0]), Verdict::Declined { retry: Retry::Later, .. }));
    // One alone may lie.
    assert!(matches!(asks_of(&mut mesh, endorsers[2]), Verdict::Endorsed(_)));
    mesh.input(endorsers[1], Input::Command(Command::Endorse(id)));
    mesh.run(100);
    assert!(matches!(asks_of(&mut mesh, endorsers[3]), Verdict::Declined { retry: Retry::Later, .. }));
    mesh.input(endorsers[2], Input::Command(Command::Endorse(id)));
    mesh.run(2_000);
    let standing = mesh.any().state().unwrap().standing(&mesh.id(member)).cloned().expect("it stands");
    assert_eq!((standing.number, standing.roles), (2, Vec::new()), "the operators' word came first");
}

#[test]
fn rule_5_22_that_it_was_declined_is_told_once_and_only_by_whom_it_asked() {
    let (mut mesh, members) = with_members(2);
    let [member, other] = members[..] else { unreachable!("there are two") };
    let endorsers = mesh.endorsers();
    mesh.cut.extend(endorsers.iter().map(|endorser| (member, *endorser)));
    let due = window(&mesh, member).from.plus(LIFETIME / 3 * 2);
    run_until(&mut mesh, due);
    let drafted = mesh.sent.iter().rev().find_map(|(from, _, message)| match &**message {
        Message::AskEndorsement(draft) if *from == member => Some(draft.statement.id()),
        _ => None,
    });
    let drafted = drafted.expect("it asks");
    let declines = |mesh: &mut Mesh, by: PublicKey, why: &str| {
        let verdict = Verdict::Declined { why: why.to_owned(), retry: Retry::Later };
        let answer = frith_protocol::joining::Answer { statement: drafted, verdict };
        mesh.tell(by, member, Message::Answer(Box::new(answer)));
        let told = |event: &&Event| matches!(event, Event::Declined { .. });
        mesh.nodes[&member].events.iter().filter(told).count()
    };
    assert_eq!(declines(&mut mesh, other, "because"), 0, "nobody asked it");
    for _ in 0..10 {
        assert_eq!(declines(&mut mesh, endorsers[0], "because"), 1);
    }
    assert_eq!(declines(&mut mesh, endorsers[0], "something else"), 1, "once an asking");
    assert_eq!(declines(&mut mesh, endorsers[1], "because"), 2);
    let refused = Message::Refused { statement: drafted, why: "because".into(), retry: Retry::Later };
    mesh.tell(other, member, refused);
    assert_eq!(declines(&mut mesh, endorsers[1], "because"), 2);
}

#[test]
fn rule_5_8_a_suspension_makes_nobody_more_than_a_stranger_once_it_could_not_renew_any_more() {
    let (mut mesh, member) = with_member();
    let end = window(&mesh, member).until.plus(SILENCE);
    suspend(&mut mesh, member, end.plus(LIFETIME));
    mesh.stop(member);
    run_until(&mut mesh, Timestamp(end.0 - MINUTE));
    let endorser = mesh.endorsers()[0];
    assert_eq!(mesh.core(endorser).standing_of(&member), Standing::Suspended);
    run_until(&mut mesh, end.plus(MINUTE));
    assert_eq!(mesh.core(endorser).standing_of(&member), Standing::Stranger);
}
