//! Charters that change: how they come about, and how a running mesh goes on to the next (SPEC 4.12, 5.21, 8.18 to 8.21, 9.12).

use frith_protocol::door::{Command, Event, Input, Phase, Standing};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_protocol::limits;
use frith_protocol::state::{Charter, Seat, Subject, Terms};

use super::is_member;
use super::mesh::{Mesh, keys};

/// The next charter, with `add` seated and `remove` not, and whatever else `change` does.
pub fn next(
    mesh: &Mesh,
    add: &[PublicKey],
    remove: &[PublicKey],
    change: impl FnOnce(&mut Charter),
) -> Terms {
    let state = mesh.any().state().unwrap().clone();
    let mut charter = state.charter().clone();
    charter.previous = Some(state.charter_id());
    charter.epoch += 1;
    charter.written = mesh.now;
    charter.endorsers.retain(|seat| !remove.contains(&seat.inception.key));
    for key in add {
        let inception = mesh.nodes[key].keys.inception.clone();
        charter.endorsers.push(Seat { inception, voting_key: *key, roles: vec!["server".into()] });
    }
    charter.endorsers.sort_by_key(Seat::node_id);
    change(&mut charter);
    Terms::of(state.domain(), charter)
}

pub fn propose(mesh: &mut Mesh, by: PublicKey, terms: Terms) -> Hash {
    let subject = Subject::Terms(Box::new(terms));
    let id = subject.digest();
    let expires = mesh.now.plus(3_600_000);
    mesh.input(by, Input::Command(Command::Propose { subject, note: "the next charter".into(), expires }));
    mesh.run(50);
    id
}

pub fn say_yes(mesh: &mut Mesh, id: Hash, who: &[PublicKey]) {
    for key in who {
        mesh.input(*key, Input::Command(Command::Endorse(id)));
    }
}

pub fn epoch(mesh: &Mesh, key: PublicKey) -> u64 {
    mesh.core(key).charter().unwrap().epoch
}

/// A mesh of four founders with a member.
pub fn with_member() -> (Mesh, PublicKey) {
    let (mesh, key) = Mesh::with_member();
    assert!(is_member(&mesh, key));
    (mesh, key)
}

/// The same, once the member took the seat of the last founder. That founder comes last.
pub fn amended() -> (Mesh, PublicKey, PublicKey) {
    let (mut mesh, member) = with_member();
    let endorsers = mesh.endorsers();
    let leaving = endorsers[3];
    let terms = next(&mesh, &[member], &[leaving], |_| {});
    let id = propose(&mut mesh, endorsers[0], terms);
    say_yes(&mut mesh, id, &[endorsers[1], endorsers[2], member]);
    mesh.run(3_000);
    (mesh, member, leaving)
}

pub fn still_agree_on_blocks(mesh: &mut Mesh) {
    let before = mesh.any().head().unwrap().height;
    mesh.run(60_000);
    mesh.assert_equal_heads();
    let after = mesh.any().head().unwrap().height;
    assert!(after >= before + 4, "{before} and {after}: the log does not go on");
}

#[test]
fn rule_8_19_a_member_takes_the_seat_of_a_founder_and_the_log_goes_on() {
    let (mut mesh, member, leaving) = amended();
    for key in mesh.nodes.keys() {
        assert_eq!(epoch(&mesh, *key), 2, "{:?}", mesh.nodes[key].refused);
    }
    assert_eq!(mesh.core(member).phase(), Phase::Endorsing);
    assert_eq!(mesh.core(leaving).phase(), Phase::Following);
    assert_eq!(mesh.any().standing_of(&member), Standing::Endorser);
    assert_eq!(mesh.any().standing_of(&leaving), Standing::Member);
    still_agree_on_blocks(&mut mesh);
    // The new one is needed now: with one of the others away, three of four make blocks.
    let others = mesh.endorsers();
    mesh.stop(others[0]);
    mesh.run(60_000);
    let newest = mesh.core(member).head().unwrap();
    assert!(newest.age_ms < 30_000, "{newest:?}");
}

#[test]
fn rule_8_19_the_new_endorsers_admit_newcomers() {
    let (mut mesh, member, leaving) = amended();
    let endorsers: Vec<_> = mesh.endorsers().into_iter().filter(|key| *key != leaving).collect();
    mesh.stop(endorsers[0]);
    let newcomer = mesh.join(11, None);
    mesh.run(5_000);
    let id = *mesh.core(member).proposals().next().expect("its draft waits").0;
    say_yes(&mut mesh, id, &[endorsers[1], endorsers[2], member]);
    // It may ask the one that is away for the snapshot first.
    mesh.run(15_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.nodes[&newcomer].events);
    assert_eq!(epoch(&mesh, newcomer), 2);
}

#[test]
fn rule_5_21_nothing_comes_of_a_charter_before_everybody_whom_it_adds_consents() {
    let (mut mesh, member) = with_member();
    let endorsers = mesh.endorsers();
    let terms = next(&mesh, &[member], &[], |charter| charter.thresholds.amend = 4);
    let id = propose(&mut mesh, endorsers[0], terms);
    say_yes(&mut mesh, id, &endorsers[1..]);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, endorsers[0]), 1);
    let asked = mesh.nodes[&member]
        .events
        .iter()
        .any(|event| matches!(event, Event::Waiting { id: of, .. } if *of == id));
    assert!(asked, "whoever is to get a seat is asked");
    say_yes(&mut mesh, id, &[member]);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, endorsers[0]), 2);
    assert_eq!(mesh.core(member).phase(), Phase::Endorsing);
    still_agree_on_blocks(&mut mesh);
}

#[test]
fn rule_4_12_a_silent_endorser_keeps_its_voting_key_and_whoever_said_yes_has_a_fresh_one() {
    let (mut mesh, _) = with_member();
    let endorsers = mesh.endorsers();
    let before = mesh.any().charter().unwrap().clone();
    let terms = next(&mesh, &[], &[], |charter| charter.timing.heartbeat_ms = 5_000);
    let id = propose(&mut mesh, endorsers[0], terms);
    say_yes(&mut mesh, id, &endorsers[1..3]);
    mesh.run(3_000);
    let after = mesh.any().charter().unwrap().clone();
    assert_eq!((after.epoch, after.timing.heartbeat_ms), (2, 5_000));
    let fresh: Vec<bool> = before
        .endorsers
        .iter()
        .zip(&after.endorsers)
        .map(|(old, new)| old.voting_key != new.voting_key)
        .collect();
    assert_eq!(fresh, [true, true, true, false]);
    still_agree_on_blocks(&mut mesh);
}

#[test]
fn rule_8_21_an_endorser_that_was_away_while_the_charter_changed_votes_by_the_new_one() {
    let (mut mesh, member) = with_member();
    let endorsers = mesh.endorsers();
    mesh.stop(endorsers[3]);
    let terms = next(&mesh, &[member], &[], |charter| charter.thresholds.amend = 4);
    let id = propose(&mut mesh, endorsers[0], terms);
    say_yes(&mut mesh, id, &[endorsers[1], endorsers[2], member]);
    mesh.run(20_000);
    assert_eq!(epoch(&mesh, endorsers[0]), 2);
    mesh.start(endorsers[3]);
    mesh.connect(endorsers[3]);
    mesh.run(5_000);
    assert_eq!(epoch(&mesh, endorsers[3]), 2);
    assert_eq!(mesh.core(endorsers[3]).phase(), Phase::Endorsing);
    assert_eq!(mesh.core(endorsers[3]).status(mesh.now).journal_lost, None);
    // Five, of whom four must vote.
    mesh.stop(endorsers[2]);
    mesh.run(60_000);
    let newest = mesh.core(endorsers[3]).head().unwrap();
    assert!(newest.age_ms < 30_000, "{newest:?}");
}

#[test]
fn rule_8_19_every_endorser_that_restarts_in_the_new_epoch_goes_on_voting() {
    let (mut mesh, member, leaving) = amended();
    let all: Vec<_> = mesh.nodes.keys().copied().collect();
    for key in &all {
        mesh.lose_power(*key);
        mesh.start(*key);
        mesh.connect(*key);
    }
    mesh.run(5_000);
    for key in all.iter().filter(|key| **key != leaving) {
        assert_eq!(mesh.core(*key).status(mesh.now).journal_lost, None);
        assert_eq!(mesh.core(*key).phase(), Phase::Endorsing);
    }
    assert_eq!(mesh.core(member).phase(), Phase::Endorsing);
    still_agree_on_blocks(&mut mesh);
}

#[test]
fn rule_9_12_a_newcomer_with_an_old_ticket_comes_to_the_newest_charter_by_links() {
    let (mut mesh, member) = with_member();
    let ticket = mesh.ticket(5);
    let anchor = mesh.any().anchor(vec![]).unwrap();
    let endorsers = mesh.endorsers();
    for round in 0..3 {
        let terms = next(&mesh, &[], &[], |charter| charter.timing.heartbeat_ms -= 1);
        let id = propose(&mut mesh, endorsers[0], terms);
        say_yes(&mut mesh, id, &endorsers[1..]);
        mesh.run(3_000);
        assert_eq!(epoch(&mesh, member), 2 + round);
    }
    assert_eq!(anchor.epoch, 1);
    let newcomer = mesh.join_by(11, anchor, Some(ticket));
    mesh.run(5_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.nodes[&newcomer].events);
    assert_eq!(epoch(&mesh, newcomer), 4);
    // Its host is told each time that others are to be connected to.
    let learnt = mesh.nodes[&newcomer].events.iter().filter_map(|event| match event {
        Event::CharterLearnt { epoch } => Some(*epoch),
        _ => None,
    });
    assert_eq!(learnt.collect::<Vec<u64>>(), [1, 4]);
    // It restarts from what it stored.
    mesh.stop(newcomer);
    mesh.start(newcomer);
    mesh.connect(newcomer);
    mesh.run(15_000);
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_10_a_newcomer_that_waits_hears_of_a_newer_charter_from_whoever_has_said_yes_already() {
    let mut mesh = Mesh::of_four();
    let ticket = mesh.ticket(2);
    let (a, b) = (mesh.join(10, Some(ticket.clone())), mesh.join(11, Some(ticket)));
    mesh.run(3_000);
    assert!(is_member(&mesh, a) && is_member(&mesh, b));

    // It reaches two of the four, whose operators say yes; the other two lose their seats to members that it does not reach either.
    let endorsers = mesh.endorsers();
    let newcomer = keys(12).identity.public();
    for away in [endorsers[0], endorsers[1], a, b] {
        mesh.cut.extend([(newcomer, away), (away, newcomer)]);
    }
    assert_eq!(mesh.join(12, None), newcomer);
    mesh.run(2_000);
    let draft: Hash = *mesh.core(endorsers[2]).proposals().next().expect("it waits").0;
    say_yes(&mut mesh, draft, &endorsers[2..]);
    let terms = next(&mesh, &[a, b], &endorsers[..2], |_| {});
    let charter = propose(&mut mesh, endorsers[2], terms);
    say_yes(&mut mesh, charter, &[endorsers[0], endorsers[3], a, b]);
    mesh.run(3_000);
    assert_eq!(epoch(&mesh, endorsers[2]), 2);

    mesh.run(limits::NEWCOMER_PATIENCE_CAP_MS);
    assert_eq!((mesh.core(newcomer).phase(), epoch(&mesh, newcomer)), (Phase::Joining, 2));
    // It keeps its draft: that needs one yes more, of somebody who has a seat by now.
    mesh.cut.retain(|(one, other)| *one != a && *other != a);
    mesh.connect(newcomer);
    mesh.run(1_000);
    say_yes(&mut mesh, draft, &[a]);
    mesh.run(3_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.nodes[&newcomer].events);
}
