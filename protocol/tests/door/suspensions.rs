//! SPEC 4.9, 4.10 and 5.8 through the door: what whoever is suspended may still do, and how its rights come back.

use std::sync::Arc;

use frith_protocol::door::{Command, Input, Message, Phase, Standing};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_protocol::joining::{Retry, Verdict};
use frith_protocol::state::{BlockId, Kind, Reason, Release, Subject, Suspend};
use frith_protocol::time::Timestamp;

use crate::mesh::Mesh;

const MINUTE: u64 = 60_000;
const FOR_GOOD: Timestamp = Timestamp(u64::MAX);

/// By the first two endorsers.
fn suspend(mesh: &mut Mesh, key: PublicKey, until: Timestamp) {
    let subject = mesh.id(key);
    let number = mesh.any().state().unwrap().standing(&subject).unwrap().suspensions + 1;
    let suspend = Suspend { subject, number, until, reason: Reason::Compromised };
    let endorsers = mesh.endorsers();
    mesh.decide(Kind::Suspend(suspend), &endorsers[..2]);
    assert_eq!(mesh.core(endorsers[0]).standing_of(&key), Standing::Suspended);
}

/// By the first three endorsers.
fn release(mesh: &mut Mesh, key: PublicKey) {
    let subject = mesh.id(key);
    let number = mesh.any().state().unwrap().standing(&subject).unwrap().suspensions;
    let endorsers = mesh.endorsers();
    let basis = mesh.core(endorsers[0]).chain().unwrap().basis();
    mesh.decide(Kind::Release(Release { subject, number, basis }), &endorsers[..3]);
}

fn height_with_entries(mesh: &Mesh) -> u64 {
    mesh.any().state().unwrap().last().height
}

/// What a core says to its operator, if it refuses.
fn refusal(mesh: &mut Mesh, key: PublicKey, command: Command) -> Option<String> {
    let before = mesh.nodes[&key].refused.len();
    mesh.input(key, Input::Command(command));
    mesh.nodes[&key].refused.get(before).cloned()
}

#[test]
fn rule_5_8_a_suspended_member_follows_and_fetches_snapshots_and_nothing_else_of_it_is_taken() {
    let (mut mesh, member) = Mesh::with_member();
    let endorser = mesh.endorsers()[0];
    suspend(&mut mesh, member, FOR_GOOD);
    let follow = mesh.tell(member, endorser, Message::Follow { height: 0, head: [0; 8] });
    assert!(matches!(&follow[..], [(to, answer)] if *to == member && matches!(**answer, Message::Final(_))));
    let ask = Message::AskSnapshot { head: BlockId::NONE, chunk: 0, lean: false };
    let snapshot = mesh.tell(member, endorser, ask);
    let is_snapshot = |answer: &Message| matches!(answer, Message::Snapshot(_));
    assert!(matches!(&snapshot[..], [(to, answer)] if *to == member && is_snapshot(answer)), "{snapshot:?}");

    let others = [
        Message::Same,
        mesh.heard(|message| matches!(message, Message::Talk(_))),
        mesh.heard(|message| matches!(message, Message::Circulate(_))),
        mesh.heard(is_snapshot),
    ];
    for message in others {
        let (what, before) = (message.name(), mesh.nodes[&endorser].refused.len());
        assert_eq!(mesh.tell(member, endorser, message), [], "{what}");
        let refused = &mesh.nodes[&endorser].refused[before..];
        assert!(matches!(refused, [why] if why.contains("standing does not allow")), "{what}: {refused:?}");
    }
}

#[test]
fn rule_5_8_whoever_is_suspended_knows_it_also_after_a_restart_and_learns_of_its_release_by_following() {
    let (mut mesh, member) = Mesh::with_member();
    // Nobody gossips with whoever is suspended.
    mesh.gossip = false;
    // It is suspended while it is away.
    mesh.stop(member);
    suspend(&mut mesh, member, FOR_GOOD);
    mesh.start(member);
    assert_eq!(mesh.core(member).phase(), Phase::Following, "it cannot know");
    mesh.connect(member);
    mesh.run(2_000);
    assert_eq!(mesh.core(member).status(mesh.now).phase, Phase::Restrained);
    mesh.stop(member);
    mesh.start(member);
    assert_eq!(mesh.core(member).status(mesh.now).phase, Phase::Restrained);
    mesh.connect(member);
    release(&mut mesh, member);
    mesh.run(MINUTE);
    assert_eq!(mesh.core(member).status(mesh.now).phase, Phase::Following);
}

#[test]
fn rule_4_9_a_suspended_endorser_keeps_its_vote_so_that_the_log_bears_one_more_crash() {
    let mut mesh = Mesh::of_four();
    let endorsers = mesh.endorsers();
    suspend(&mut mesh, endorsers[3], FOR_GOOD);
    assert_eq!(mesh.core(endorsers[3]).phase(), Phase::Restrained);
    mesh.stop(endorsers[2]);
    let before = mesh.core(endorsers[0]).head().unwrap().height;
    mesh.run(MINUTE);
    assert!(mesh.core(endorsers[0]).head().unwrap().height > before + 2, "heartbeats need three of four");
}

#[test]
fn rule_4_9_a_suspended_endorser_endorses_nothing_and_what_it_circulates_is_not_taken() {
    let mut mesh = Mesh::of_four();
    let endorsers = mesh.endorsers();
    let suspended = endorsers[3];
    // It has proposed this before; nobody else endorsed it.
    let terms = mesh.ticket_terms(5);
    mesh.propose(Subject::Ticket(terms.clone()), &[suspended]);
    let circulated = mesh.sent.iter().rev().find_map(|(from, _, message)| match &**message {
        Message::Circulate(circulated) if *from == suspended => Some(Arc::clone(circulated)),
        _ => None,
    });
    let circulated = circulated.expect("it has circulated its proposal");
    suspend(&mut mesh, suspended, FOR_GOOD);

    let propose =
        |uses| Command::Propose { subject: Subject::Ticket(uses), note: String::new(), expires: FOR_GOOD };
    let ticket = propose(mesh.ticket_terms(6));
    let why = refusal(&mut mesh, suspended, ticket).expect("its operator is told");
    assert!(why.contains("is suspended"), "{why}");
    for from in [suspended, endorsers[1]] {
        // Whoever passes it on: it carries the endorsement of nobody who may endorse.
        let before = mesh.nodes[&endorsers[0]].refused.len();
        mesh.tell(from, endorsers[0], Message::Circulate(Arc::clone(&circulated)));
        assert_eq!(mesh.nodes[&endorsers[0]].refused.len(), before + 1, "from {from}");
    }
    // Its endorsement does not count among those of a ticket: two others are not three.
    let id = mesh.propose(Subject::Ticket(terms), &endorsers[..2]);
    assert_eq!(mesh.met(endorsers[0], id), None);
    mesh.input(endorsers[2], Input::Command(Command::Endorse(id)));
    mesh.run(100);
    let by: Vec<_> = mesh.met(endorsers[0], id).expect("three others").iter().map(|one| one.node).collect();
    assert!(!by.contains(&mesh.id(suspended)), "{by:?}");
}

#[test]
fn rule_5_9_a_suspended_endorser_declines_a_draft_for_now_and_not_for_good() {
    let mut mesh = Mesh::of_four();
    let suspended = mesh.endorsers()[3];
    suspend(&mut mesh, suspended, FOR_GOOD);
    let newcomer = mesh.join(10, None);
    mesh.run(1_000);
    let said: Vec<&Verdict> = mesh
        .sent
        .iter()
        .filter(|(from, to, _)| (*from, *to) == (suspended, newcomer))
        .filter_map(|(_, _, message)| match &**message {
            Message::Answer(answer) => Some(&answer.verdict),
            _ => None,
        })
        .collect();
    assert!(matches!(said[..], [Verdict::Declined { retry: Retry::Later, .. }]), "{said:?}");
}

#[test]
fn rule_5_7_a_proposal_goes_round_among_the_others_when_one_who_endorsed_it_is_suspended() {
    let mut mesh = Mesh::of_four();
    let endorsers = mesh.endorsers();
    let suspended = endorsers[3];
    let terms = mesh.ticket_terms(5);
    let id = mesh.propose(Subject::Ticket(terms), &[suspended, endorsers[2]]);
    suspend(&mut mesh, suspended, FOR_GOOD);
    for key in &endorsers[..2] {
        mesh.input(*key, Input::Command(Command::Endorse(id)));
        mesh.run(100);
    }
    for key in &endorsers[..3] {
        assert_eq!(mesh.met(*key, id).map(|by| by.len()), Some(3), "{key}");
    }
}

#[test]
fn rule_5_7_what_was_circulated_in_vain_is_said_again_until_those_who_signed_know_of_one_another() {
    let mut mesh = Mesh::of_four();
    let endorsers = mesh.endorsers();
    let between = |a: PublicKey, b: PublicKey| [(a, b), (b, a)];
    // Each of the three signs, and no two of them hear of it.
    let pairs = [(0, 1), (0, 2), (1, 2)].map(|(a, b)| between(endorsers[a], endorsers[b]));
    let terms = mesh.ticket_terms(5);
    let propose =
        |terms| Command::Propose { subject: Subject::Ticket(terms), note: String::new(), expires: FOR_GOOD };
    mesh.cut.extend(pairs.into_iter().flatten());
    mesh.cut.extend(endorsers[..3].iter().flat_map(|key| between(*key, endorsers[3])));
    for key in &endorsers[..3] {
        mesh.input(*key, Input::Command(propose(terms.clone())));
    }
    mesh.run(100);
    let id = Subject::Ticket(terms).digest();
    mesh.cut.clear();
    let heartbeat = mesh.founded.charter.timing.heartbeat_ms;
    mesh.run(3 * heartbeat);
    for key in &endorsers[..3] {
        assert_eq!(mesh.met(*key, id).map(|by| by.len()), Some(3), "{key}");
    }
    assert!(mesh.core(endorsers[3]).proposals().any(|(of, _)| *of == id), "its operator is shown it");
    // Once it is met, nobody speaks of it any more.
    let said =
        |mesh: &Mesh| mesh.sent.iter().filter(|(_, _, it)| matches!(**it, Message::Circulate(_))).count();
    let before = said(&mesh);
    mesh.run(3 * heartbeat);
    assert_eq!(said(&mesh), before);
}

#[test]
fn rule_5_7_whoever_did_not_hear_the_endorsement_that_met_a_rule_asks_its_signer_again() {
    let mut mesh = Mesh::of_four();
    let endorsers = mesh.endorsers();
    let terms = mesh.ticket_terms(5);
    let id = mesh.propose(Subject::Ticket(terms), &endorsers[..2]);
    mesh.cut.insert((endorsers[2], endorsers[1]));
    mesh.input(endorsers[2], Input::Command(Command::Endorse(id)));
    mesh.run(100);
    assert_eq!([0, 1, 2].map(|at| mesh.met(endorsers[at], id).is_some()), [true, false, true]);
    mesh.cut.clear();
    let heartbeat = mesh.founded.charter.timing.heartbeat_ms;
    mesh.run(3 * heartbeat);
    assert_eq!(mesh.met(endorsers[1], id).map(|by| by.len()), Some(3));
}

#[test]
fn rule_4_9_a_suspension_that_lapses_gives_the_rights_back_without_an_entry() {
    let (mut mesh, member) = Mesh::with_member();
    let endorsers = mesh.endorsers();
    let suspended = endorsers[3];
    // It has endorsed this, and with it two are not enough.
    let terms = mesh.ticket_terms(5);
    let id = mesh.propose(Subject::Ticket(terms), &[suspended]);
    let until = mesh.now.plus(5 * MINUTE);
    suspend(&mut mesh, suspended, until);
    suspend(&mut mesh, member, until);
    mesh.input(endorsers[0], Input::Command(Command::Endorse(id)));
    mesh.input(endorsers[1], Input::Command(Command::Endorse(id)));
    mesh.run(until.0 - mesh.now.0 - 1);
    let before = height_with_entries(&mesh);
    let standings = |mesh: &mut Mesh| {
        mesh.input(endorsers[0], Input::Tick);
        mesh.input(suspended, Input::Tick);
        let core = mesh.core(endorsers[0]);
        (core.standing_of(&member), core.standing_of(&suspended), mesh.core(suspended).phase())
    };
    assert_eq!(standings(&mut mesh), (Standing::Suspended, Standing::Suspended, Phase::Restrained));
    assert_eq!(mesh.core(endorsers[0]).may_change_at([&member]), Some(until), "a host need not look before");
    assert_eq!(mesh.core(suspended).may_change_at([]), Some(until), "at itself");
    assert_eq!(mesh.met(endorsers[0], id), None);
    mesh.run(1);
    assert_eq!(standings(&mut mesh), (Standing::Member, Standing::Endorser, Phase::Endorsing));
    let heartbeat = mesh.founded.charter.timing.heartbeat_ms;
    mesh.run(2 * heartbeat);
    assert_eq!(mesh.met(endorsers[0], id).map(|by| by.len()), Some(3), "what it has endorsed counts again");
    assert_eq!(height_with_entries(&mesh), before);
}

#[test]
fn rule_4_10_a_release_gives_a_member_and_an_endorser_their_rights_back() {
    let (mut mesh, member) = Mesh::with_member();
    let endorsers = mesh.endorsers();
    for key in [member, endorsers[3]] {
        suspend(&mut mesh, key, FOR_GOOD);
        release(&mut mesh, key);
    }
    let core = mesh.core(endorsers[0]);
    assert_eq!(core.standing_of(&member), Standing::Member);
    assert_eq!(core.standing_of(&endorsers[3]), Standing::Endorser);
    // It proposes, and its endorsement is one of the three.
    let terms = mesh.ticket_terms(7);
    let id: Hash = mesh.propose(Subject::Ticket(terms), &[endorsers[3], endorsers[1], endorsers[2]]);
    assert_eq!(mesh.met(endorsers[3], id).map(|by| by.len()), Some(3));
}
