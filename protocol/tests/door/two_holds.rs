//! SPEC 4.13, 5.24 and 5.27 through the door: whoever gives one slot to two holds is convicted, and nobody honest ever does.

use frith_protocol::agreement::{Ballot, BallotKind, Message as Talk, Vote};
use frith_protocol::door::{Alarm, Command, Event, Input, Message, Phase, Standing, Table};
use frith_protocol::identity::{PublicKey, SecretKey};
use frith_protocol::limits::HOLDS_PER_DAY;
use frith_protocol::state::{
    Admit, BlockId, ConvictedKey, Effective, Grounds, Hold, HoldTerms, Kind, Reason, Statement, Subject,
    Window,
};
use frith_protocol::time::Timestamp;

use super::accusations::held;
use super::amendments::{next, propose, say_yes};
use super::mesh::{Mesh, key_of};

const MINUTE: u64 = 60_000;

/// What a liar signs for its first slot with the key that it has: of this length.
fn hold(mesh: &Mesh, by: PublicKey, of: PublicKey, length_ms: u64) -> Hold {
    let basis = mesh.core(by).chain().unwrap().basis();
    let (domain, subject, until) = (mesh.any().domain(), mesh.id(of), basis.time.plus(length_ms));
    let terms = HoldTerms { domain, subject, slot: 0, basis, until, reason: Reason::Unspecified };
    let keys = &mesh.nodes[&by].keys;
    let sequence = keys.rotations.last().map_or(0, |rotation| rotation.sequence);
    Hold::sign(terms, mesh.id(by), sequence, &key_of(&keys.inception, sequence))
}

fn two(mesh: &Mesh, by: PublicKey, of: PublicKey) -> [Hold; 2] {
    [5, 6].map(|minutes| hold(mesh, by, of, minutes * MINUTE))
}

fn show(mesh: &mut Mesh, from: PublicKey, to: PublicKey, hold: &Hold) {
    mesh.tell(from, to, Message::Hold(Box::new(*hold)));
}

fn convictions(mesh: &Mesh, whom: PublicKey) -> Vec<ConvictedKey> {
    let standing = mesh.any().state().unwrap().standing(&mesh.id(whom)).unwrap();
    standing.convictions.iter().map(|conviction| conviction.key).collect()
}

#[test]
fn rule_5_27_two_holds_in_one_slot_convict_whoever_gave_them() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let (liar, both) = (e[3], two(&mesh, e[3], member));
    show(&mut mesh, liar, e[0], &both[0]);
    show(&mut mesh, liar, e[1], &both[1]);
    mesh.run(2_000);
    assert_eq!(held(&mesh, liar), [Effective::Convicted]);
    let convicted = ConvictedKey::Identity(liar);
    assert_eq!(convictions(&mesh, liar), [convicted]);
    let node = mesh.id(liar);
    for key in [e[0], e[2], member] {
        let told = mesh.nodes[&key].events.iter();
        let told = told.filter(|event| matches!(event, Event::Alarm(Alarm::Convicted { node: of, key, .. }) if (*of, *key) == (node, convicted)));
        assert_eq!(told.count(), 1);
    }
    assert_eq!(mesh.core(liar).phase(), Phase::Restrained);
    assert!(mesh.core(member).effective(&mesh.id(member), mesh.now).unwrap().is_yes(), "neither counts");

    // With another key it is free, and what it signed with the one before convicts nobody.
    mesh.rotate(liar).unwrap();
    mesh.run(5_000);
    let now = mesh.key_of(node);
    assert_eq!(held(&mesh, now), [Effective::Yes]);
    assert_eq!(mesh.core(now).phase(), Phase::Endorsing);
    for hold in &both {
        show(&mut mesh, member, e[0], hold);
    }
    mesh.run(60_000);
    assert_eq!(held(&mesh, now), [Effective::Yes]);
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_27_whoever_is_convicted_of_its_ballots_first_is_convicted_of_its_holds_after_that() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let liar = e[3];
    let iteration = mesh.any().head().unwrap().height + 20;
    let voting = mesh.nodes[&liar].keys.voting[0].clone();
    let domain = mesh.any().domain();
    let vote = |block| {
        let ballot =
            Ballot { domain, epoch: 1, iteration, kind: BallotKind::Vote, block: BlockId([block; 32]) };
        Message::Talk(
            Talk::Ballot(Vote { ballot, voter: voting.public(), proof: voting.sign(&ballot.digest()) })
                .into(),
        )
    };
    let votes = [vote(1), vote(2)];
    for vote in votes {
        mesh.tell(liar, e[0], vote);
    }
    // One accusation of it waits by now, and another finds no place.
    for hold in two(&mesh, liar, member) {
        show(&mut mesh, liar, e[0], &hold);
    }
    mesh.run(30_000);
    let both = [ConvictedKey::Voting(voting.public()), ConvictedKey::Identity(liar)];
    assert_eq!(convictions(&mesh, liar), both);
}

#[test]
fn rule_5_27_a_member_that_alone_was_brought_the_second_half_hands_both_in() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let (liar, both) = (e[3], two(&mesh, e[3], e[2]));
    show(&mut mesh, liar, e[0], &both[0]);
    show(&mut mesh, liar, member, &both[0]);
    mesh.run(1_000);
    show(&mut mesh, liar, member, &both[1]);
    mesh.run(2_000);
    assert_eq!(held(&mesh, liar), [Effective::Convicted]);
}

#[test]
fn rule_5_27_two_holds_that_one_endorser_knew_before_it_lost_power_still_convict() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let (liar, both) = (e[3], two(&mesh, e[3], member));
    // Whatever it says of them reaches nobody.
    for other in e[1..].iter().chain([&member]) {
        mesh.cut.extend([(e[0], *other), (*other, e[0])]);
    }
    for hold in &both {
        show(&mut mesh, liar, e[0], hold);
    }
    mesh.lose_power(e[0]);
    mesh.run(1_000);
    mesh.cut.clear();
    assert_eq!(held(&mesh, liar), [Effective::Yes], "nobody else knows");
    mesh.start(e[0]);
    mesh.connect(e[0]);
    mesh.run(30_000);
    assert_eq!(held(&mesh, liar), [Effective::Convicted]);
}

#[test]
fn rule_5_24_crashes_and_lost_power_around_a_hold_convict_nobody() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    for round in 0..3 * u64::from(HOLDS_PER_DAY) {
        let key = e[round as usize % 4];
        // Each says something else: none could take the slot of another and not contradict it.
        let (subject, until) = (mesh.id(member), mesh.now.plus(MINUTE + round));
        let again = Input::Command(Command::Hold { subject, until, reason: Reason::Compromised });
        mesh.input(key, again);
        mesh.run(round % 3 * 7);
        if round % 2 == 0 {
            mesh.lose_power(key);
        } else {
            mesh.stop(key);
        }
        mesh.run(round % 5 * 11);
        mesh.start(key);
        // Before anybody could show it what it gave.
        if round % 8 < 4 {
            let (subject, until) = (mesh.id(member), mesh.now.plus(2 * MINUTE + round));
            mesh.input(key, Input::Command(Command::Hold { subject, until, reason: Reason::Misbehaved }));
        }
        mesh.connect(key);
        mesh.run(500);
    }
    mesh.run(MINUTE);
    let state = mesh.any().state().unwrap();
    assert!(state.members().all(|(_, standing)| standing.convictions.is_empty()));
    let events = mesh.nodes.values().flat_map(|node| &node.events);
    let lies = events.filter(|event| matches!(event, Event::Alarm(Alarm::HoldsContradict { .. })));
    assert_eq!(lies.count(), 0);
    let recorded = e.iter().filter(|key| state.standing(&mesh.id(**key)).unwrap().holds.is_some()).count();
    assert_eq!(recorded, 4, "each of them held");
}

#[test]
fn rule_5_27_two_holds_in_one_slot_convict_at_once_whether_or_not_either_could_count() {
    let (mut mesh, _) = Mesh::with_member();
    let e = mesh.endorsers();
    let before = mesh.any().head().unwrap().height;
    // Longer than any charter allows: nobody records it, so that no block comes of it, nor a heartbeat for a while.
    for days in [2, 3] {
        let hold = hold(&mesh, e[3], e[2], days * 24 * 60 * MINUTE);
        show(&mut mesh, e[3], e[0], &hold);
    }
    mesh.run(1_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Convicted]);
    assert_eq!(mesh.any().head().unwrap().height, before + 1);
}

#[test]
fn rule_5_27_nobody_accuses_itself_of_two_holds() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    for hold in two(&mesh, e[3], e[2]) {
        show(&mut mesh, e[0], e[3], &hold);
    }
    mesh.run(2_000);
    let accuses = |message: &Message| matches!(message, Message::Submit(entry) if matches!(entry.statement.kind, Kind::Accuse(_)));
    let first = mesh.sent.iter().find(|(_, _, message)| accuses(message)).map(|(from, ..)| *from);
    assert!(first.is_some_and(|first| first != e[3]), "it showed both to the others");
    assert!(!mesh.sent.iter().any(|(from, _, message)| *from == e[3] && accuses(message)));
    assert_eq!(held(&mesh, e[3]), [Effective::Convicted]);
}

#[test]
fn rule_5_24_whoever_lost_its_journal_gives_no_hold_of_that_day_with_a_fresh_voting_key_either() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let victim = e[3];
    let ask = |mesh: &mut Mesh| {
        let before = mesh.nodes[&victim].refused.len();
        let (subject, until) = (mesh.id(member), mesh.now.plus(MINUTE));
        mesh.input(victim, Input::Command(Command::Hold { subject, until, reason: Reason::Compromised }));
        mesh.nodes[&victim].refused.get(before).cloned()
    };
    // A copy of its disk is put back; what it gave since, nobody was told but by itself.
    let backup = mesh.nodes[&victim].disk.clone();
    for other in e[..3].iter().chain([&member]) {
        mesh.cut.insert((victim, *other));
    }
    assert_eq!(ask(&mut mesh), None);
    mesh.lose_power(victim);
    mesh.run(1_000);
    mesh.cut.clear();
    mesh.nodes.get_mut(&victim).unwrap().disk = backup;
    mesh.nodes.get_mut(&victim).unwrap().disk.retain(|(table, _), _| *table != Table::Journal);
    mesh.start(victim);
    mesh.connect(victim);
    mesh.run(1_000);
    assert!(mesh.core(victim).status(mesh.now).journal_lost.is_some());
    let fresh = SecretKey::from_seed([99; 32]);
    mesh.nodes.get_mut(&victim).unwrap().keys.voting.push(fresh.clone());
    mesh.input(victim, Input::Command(Command::FreshVotingKey(fresh)));
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    say_yes(&mut mesh, id, &[victim]);
    mesh.run(200);
    say_yes(&mut mesh, id, &[e[1], e[2]]);
    mesh.run(5_000);
    for _ in 0..2 {
        assert_eq!(mesh.core(victim).status(mesh.now).journal_lost, None);
        assert_eq!(mesh.core(victim).holds_left(), 0);
        assert!(ask(&mut mesh).is_some_and(|why| why.contains("lost its journal")));
        mesh.stop(victim);
        mesh.start(victim);
        mesh.connect(victim);
    }
    // The next day nothing is left of which it could give the other half.
    mesh.now = Timestamp((mesh.now.day() + 1) * 24 * 60 * MINUTE);
    mesh.run(MINUTE);
    assert_eq!(ask(&mut mesh), None);
}

/// In which slots `by` holds somebody, as it knows itself.
fn slots(mesh: &Mesh, by: PublicKey) -> Vec<u8> {
    mesh.core(by).holds(mesh.now).filter(|hold| hold.by == mesh.id(by)).map(|hold| hold.slot).collect()
}

fn gives(mesh: &mut Mesh, by: PublicKey, of: PublicKey, minutes: u64) {
    let (subject, until) = (mesh.id(of), mesh.now.plus(minutes * MINUTE));
    mesh.input(by, Input::Command(Command::Hold { subject, until, reason: Reason::Compromised }));
}

#[test]
fn rule_5_24_a_clock_that_runs_ahead_for_a_while_gives_no_slot_twice() {
    let (mut mesh, member) = Mesh::with_member();
    let by = mesh.endorsers()[0];
    // Nobody is told, so that neither the others nor the log can show it what it gave.
    let others: Vec<PublicKey> = mesh.nodes.keys().copied().filter(|key| *key != by).collect();
    mesh.cut.extend(others.iter().map(|other| (by, *other)));
    gives(&mut mesh, by, member, 10);
    let right = mesh.now;
    mesh.now = right.plus(3 * 24 * 60 * MINUTE);
    mesh.input(by, Input::Tick);
    mesh.now = right;
    mesh.stop(by);
    mesh.start(by);
    gives(&mut mesh, by, member, 20);
    assert_eq!(slots(&mesh, by), [0, 1]);
}

#[test]
fn rule_5_24_a_slot_that_the_log_has_recorded_is_given_no_more_whatever_else_is_lost() {
    let (mut mesh, member) = Mesh::with_member();
    let by = mesh.endorsers()[0];
    gives(&mut mesh, by, member, 10);
    gives(&mut mesh, by, member, 11);
    mesh.run(2_000);
    mesh.stop(by);
    mesh.nodes.get_mut(&by).unwrap().disk.retain(|(table, _), _| *table != Table::Holds);
    mesh.start(by);
    gives(&mut mesh, by, member, 20);
    assert_eq!(slots(&mesh, by), [2]);
}

#[test]
fn rule_5_26_whoever_was_away_is_shown_both_halves_of_what_would_hold_somebody() {
    let mut mesh = Mesh::of_four();
    let ticket = mesh.ticket(2);
    let [held, away] = [10, 11].map(|name| {
        let key = mesh.join(name, Some(ticket.clone()));
        mesh.run(1_000);
        key
    });
    let e = mesh.endorsers();
    let (liar, both) = (e[3], two(&mesh, e[3], held));
    // No block is made, so that nobody is convicted yet.
    mesh.stop(e[1]);
    mesh.stop(e[2]);
    show(&mut mesh, liar, away, &both[0]);
    mesh.stop(away);
    for hold in &both {
        show(&mut mesh, liar, e[0], hold);
    }
    mesh.run(1_000);
    mesh.start(away);
    assert_eq!(mesh.core(away).standing_of(&held), Standing::Suspended, "by the half that it has");
    mesh.connect(away);
    mesh.run(1_000);
    assert_eq!(mesh.core(away).standing_of(&held), Standing::Member);
}

/// That the member stays for an hour, which its operators decide on.
fn admission(mesh: &Mesh, member: PublicKey) -> Subject {
    let core = mesh.any();
    let standing = core.state().unwrap().standing(&mesh.id(member)).unwrap();
    let admit = Admit {
        subject: standing.keys.inception.clone(),
        number: standing.number + 1,
        roles: standing.roles.clone(),
        window: Window { from: core.head().unwrap().time, until: mesh.now.plus(60 * MINUTE) },
        basis: core.chain().unwrap().basis(),
        grounds: Grounds::Approval,
    };
    let statement = Statement { domain: core.domain(), kind: Kind::Admit(Box::new(admit)) };
    Subject::Statement(statement)
}

#[test]
fn rule_5_26_a_proposal_of_the_held_is_circulated_no_more_until_the_hold_is_over() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let subject = admission(&mesh, member);
    mesh.propose(subject, &e[..2]);
    mesh.run(1_000);
    gives(&mut mesh, e[2], member, 3);
    mesh.run(100);
    let circulated = |mesh: &Mesh| {
        let of_it = |message: &Message| matches!(message, Message::Circulate(it) if matches!(it.subject, Subject::Statement(_)));
        mesh.sent.iter().filter(|(.., message)| of_it(message)).count()
    };
    let before = circulated(&mesh);
    mesh.run(MINUTE);
    assert_eq!(circulated(&mesh), before, "with no final block");
    mesh.connect(e[3]);
    mesh.run(1_000);
    assert_eq!(circulated(&mesh), before, "nor when one comes back");
    mesh.run(3 * MINUTE);
    assert!(circulated(&mesh) > before);
}

#[test]
fn rule_5_26_a_proposal_of_the_held_that_meets_its_rule_is_handed_in_when_the_hold_is_over() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let subject = admission(&mesh, member);
    let id = mesh.propose(subject, &e[..2]);
    mesh.run(1_000);
    let last = |mesh: &Mesh| {
        let of_it = |message: &Message| matches!(message, Message::Circulate(it) if matches!(it.subject, Subject::Statement(_)));
        mesh.sent.iter().rev().find(|(.., message)| of_it(message)).map(|(.., it)| (**it).clone()).unwrap()
    };
    // One that does not hear of the hold says yes meanwhile.
    for other in e[..3].iter().chain([&member]) {
        mesh.cut.extend([(e[3], *other), (*other, e[3])]);
    }
    gives(&mut mesh, e[2], member, 3);
    mesh.run(100);
    say_yes(&mut mesh, id, &[e[3]]);
    let all_three = last(&mesh);
    assert!(matches!(&all_three, Message::Circulate(it) if it.endorsements.len() == 3));
    mesh.tell(e[3], e[0], all_three.clone());
    mesh.run(MINUTE);
    assert_eq!(mesh.met(e[0], id), None);
    // Nor is it answered with what was signed before.
    let Message::Circulate(it) = all_three else { unreachable!() };
    let mut without = (*it).clone();
    without.endorsements.retain(|endorsement| endorsement.node == mesh.id(e[3]));
    assert!(mesh.tell(e[3], e[0], Message::Circulate(without.into())).is_empty());
    mesh.run(3 * MINUTE);
    assert_eq!(mesh.met(e[0], id).map(|endorsements| endorsements.len()), Some(3));
}
