//! SPEC 5.28 through the door: what two machines that run one identity show of themselves, and what one that starts again does not.

use std::sync::Arc;

use frith_protocol::door::{Alarm, Event, Message, Session};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_protocol::time::Timestamp;

use crate::mesh::Mesh;

const FRESHNESS_MS: u64 = 60_000;
const SKEW_MS: u64 = 2_000;

/// What the process `id` says by the key of `by`, which knows a block of `newest`.
fn session(mesh: &Mesh, by: PublicKey, id: u8, newest: Timestamp) -> Session {
    Session::sign(mesh.any().domain(), &mesh.nodes[&by].keys.identity, Hash([id; 32]), newest)
}

/// The same of the newest block that `to` knows, handed to it; what it sends back.
fn says(mesh: &mut Mesh, by: PublicKey, id: u8, to: PublicKey) -> Option<Session> {
    let newest = mesh.core(to).head().unwrap().time;
    says_of(mesh, by, id, newest, to)
}

fn says_of(mesh: &mut Mesh, by: PublicKey, id: u8, newest: Timestamp, to: PublicKey) -> Option<Session> {
    let session = session(mesh, by, id, newest);
    let sent = mesh.tell(by, to, Message::Session(Box::new(session)));
    sent.iter().find_map(|(receiver, message)| match &**message {
        Message::Session(session) if *receiver == by => Some(**session),
        _ => None,
    })
}

fn is_told(mesh: &Mesh, who: PublicKey, of: PublicKey) -> bool {
    let alarm = Event::Alarm(Alarm::Cloned { node: mesh.id(of) });
    mesh.nodes[&who].events.contains(&alarm)
}

/// A member whose own process says nothing, and an endorser.
fn quiet_member() -> (Mesh, PublicKey, PublicKey) {
    let (mut mesh, member) = Mesh::with_member();
    let endorser = mesh.endorsers()[0];
    mesh.stop(member);
    (mesh, member, endorser)
}

#[test]
fn rule_5_28_two_processes_that_speak_by_one_key_in_turn_are_two_machines() {
    let (mut mesh, member, endorser) = quiet_member();
    assert_eq!(says(&mut mesh, member, 1, endorser), None);
    mesh.run(FRESHNESS_MS);
    let former = says(&mut mesh, member, 2, endorser).expect("whoever is new is shown who spoke before");
    assert_eq!(former.id, Hash([1; 32]));
    assert!(!is_told(&mesh, endorser, member), "it may have started again");
    mesh.run(FRESHNESS_MS);
    says(&mut mesh, member, 1, endorser);
    assert!(is_told(&mesh, endorser, member), "the first one never ended");
    assert_eq!(mesh.core(endorser).cloned().collect::<Vec<_>>(), [mesh.id(member)]);
    assert_eq!(mesh.core(endorser).status(mesh.now).cloned, [mesh.id(member)]);
    let told = mesh.nodes[&endorser].events.len();
    mesh.run(FRESHNESS_MS);
    says(&mut mesh, member, 2, endorser);
    let again = &mesh.nodes[&endorser].events[told..];
    assert!(!again.iter().any(|event| matches!(event, Event::Alarm(Alarm::Cloned { .. }))), "once is enough");
}

#[test]
fn rule_5_28_a_machine_that_starts_again_and_again_is_one_machine() {
    let (mut mesh, member) = Mesh::with_member();
    for _ in 0..6 {
        mesh.run(FRESHNESS_MS + 10_000);
        mesh.stop(member);
        mesh.run(1_000);
        mesh.start(member);
        mesh.connect(member);
    }
    mesh.run(2 * FRESHNESS_MS);
    let alarms = mesh.nodes.values().flat_map(|node| &node.events);
    let alarms = alarms.filter(|event| matches!(event, Event::Alarm(Alarm::Cloned { .. })));
    assert_eq!(alarms.count(), 0);
    let by_member = |(from, _, message): &&(PublicKey, PublicKey, Arc<Message>)| {
        *from == member && matches!(**message, Message::Session(_))
    };
    assert!(mesh.sent.iter().filter(by_member).count() > 6, "each time it says which process it is");
}

#[test]
fn rule_5_28_what_was_on_its_way_for_long_proves_nothing() {
    let (mut mesh, member, endorser) = quiet_member();
    let begun = mesh.core(endorser).head().unwrap().time;
    says(&mut mesh, member, 1, endorser);
    mesh.run(FRESHNESS_MS);
    // The last words of the first process, and the first of the second.
    let last = mesh.core(endorser).head().unwrap().time;
    says(&mut mesh, member, 2, endorser).expect("another process");
    mesh.run(FRESHNESS_MS);
    assert_eq!(says_of(&mut mesh, member, 1, last, endorser), None);
    assert_eq!(says_of(&mut mesh, member, 1, begun, endorser), None);
    assert!(!is_told(&mesh, endorser, member));
    // Two clocks may differ by twice the skew: so much later a block must be.
    let (mut mesh, member, endorser) = quiet_member();
    says(&mut mesh, member, 1, endorser);
    mesh.run(FRESHNESS_MS);
    says(&mut mesh, member, 2, endorser).expect("another process");
    let heard = mesh.now;
    mesh.run(10 * SKEW_MS);
    assert_eq!(says_of(&mut mesh, member, 1, heard.plus(2 * SKEW_MS), endorser), None);
    assert!(!is_told(&mesh, endorser, member));
    says_of(&mut mesh, member, 1, heard.plus(2 * SKEW_MS + 1), endorser);
    assert!(is_told(&mesh, endorser, member));
}

#[test]
fn rule_5_28_words_of_a_block_that_nobody_can_know_yet_silence_nobody() {
    let (mut mesh, member, endorser) = quiet_member();
    says(&mut mesh, member, 1, endorser);
    mesh.run(FRESHNESS_MS);
    let ahead = mesh.now.plus(10 * FRESHNESS_MS);
    assert_eq!(says_of(&mut mesh, member, 2, ahead, endorser), None);
    says(&mut mesh, member, 2, endorser).expect("another process");
    mesh.run(FRESHNESS_MS);
    says(&mut mesh, member, 1, endorser);
    assert!(is_told(&mesh, endorser, member));
}

#[test]
fn rule_5_28_a_process_that_reads_another_s_words_by_its_own_key_knows() {
    let (mut mesh, member) = Mesh::with_member();
    let endorser = mesh.endorsers()[0];
    // Of before it began, or as good as then: it follows on that process.
    let before = session(&mesh, member, 7, Timestamp(1));
    mesh.tell(endorser, member, Message::Session(Box::new(before)));
    assert!(!is_told(&mesh, member, member));
    mesh.run(FRESHNESS_MS);
    let newest = mesh.core(member).head().unwrap().time;
    let beside = session(&mesh, member, 7, newest);
    mesh.tell(endorser, member, Message::Session(Box::new(beside)));
    assert!(is_told(&mesh, member, member));
    assert_eq!(mesh.core(member).status(mesh.now).cloned, [mesh.id(member)]);
}

#[test]
fn rule_5_28_nobody_speaks_for_anybody_else() {
    let (mut mesh, member, endorser) = quiet_member();
    let liar = mesh.endorsers()[1];
    for id in [1, 2, 1, 2] {
        mesh.run(FRESHNESS_MS);
        let newest = mesh.core(endorser).head().unwrap().time;
        let theirs = session(&mesh, member, id, newest);
        mesh.tell(liar, endorser, Message::Session(Box::new(theirs)));
    }
    assert!(!is_told(&mesh, endorser, member) && !is_told(&mesh, endorser, liar));
}

/// A seat of whoever is found to be cloned, its standing and its endorsements are what they were.
#[test]
fn rule_5_28_it_convicts_nobody() {
    let (mut mesh, member, endorser) = quiet_member();
    let standing = mesh.core(endorser).standing_of(&member);
    for id in [1, 2, 1] {
        says(&mut mesh, member, id, endorser);
        mesh.run(FRESHNESS_MS);
    }
    assert!(is_told(&mesh, endorser, member));
    assert_eq!(mesh.core(endorser).standing_of(&member), standing);
    assert!(mesh.core(endorser).state().unwrap().standing(&mesh.id(member)).unwrap().convictions.is_empty());
}

#[test]
fn rule_5_28_a_clock_that_is_late_at_the_start_makes_nobody_another_machine() {
    let (mut mesh, member) = Mesh::with_member();
    let endorser = mesh.endorsers()[0];
    mesh.run(FRESHNESS_MS);
    mesh.stop(member);
    let (now, newest) = (mesh.now, mesh.core(endorser).head().unwrap().time);
    mesh.now = Timestamp(now.0 - FRESHNESS_MS / 2);
    mesh.start(member);
    mesh.now = now;
    // What it said itself before it started again.
    let before = session(&mesh, member, 7, newest);
    mesh.tell(endorser, member, Message::Session(Box::new(before)));
    assert!(!is_told(&mesh, member, member));
}
