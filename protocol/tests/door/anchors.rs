//! SPEC 9.15: an anchor for a node that has a state, and cannot go on from what it holds.

use frith_protocol::door::{Message, Phase, anchor_records};
use frith_protocol::identity::PublicKey;
use frith_protocol::joining::Anchor;
use frith_protocol::state::{Kind, Reason, Revoke};
use frith_protocol::time::Timestamp;

use super::amendments::{epoch, next, propose, say_yes};
use super::mesh::{Mesh, charter};

/// Members that were switched off in the first epoch, and are back when its charter's last day is over; and whom they reach: nobody but a member
/// that came in the second, and has no block of the first.
struct Late {
    mesh: Mesh,
    sleeper: PublicKey,
    newcomer: PublicKey,
    old: Anchor,
    newer: Anchor,
}

impl Late {
    fn new() -> Late {
        Late::of(false)
    }

    /// The same, of a founder that has everything from genesis on.
    fn of(founder: bool) -> Late {
        let mut founding = charter(4, 1, 3);
        founding.last_day = Timestamp(100_000);
        let mut mesh = Mesh::found(founding);
        mesh.run(1_000);
        let old = mesh.any().anchor(vec![]).unwrap();
        let ticket = mesh.ticket(1);
        let member = mesh.join(10, Some(ticket));
        mesh.run(20_000);
        let mut endorsers = mesh.endorsers();
        let sleeper = if founder { endorsers.remove(3) } else { member };
        mesh.stop(sleeper);
        let terms = next(&mesh, &[], &[], |charter| charter.last_day = Timestamp(100_000_000));
        let id = propose(&mut mesh, endorsers[0], terms);
        say_yes(&mut mesh, id, &endorsers[1..]);
        mesh.run(80_000);
        assert_eq!(epoch(&mesh, endorsers[0]), 2);
        let newer = mesh.any().anchor(vec![]).unwrap();
        let ticket = mesh.ticket(2);
        let newcomer = mesh.join_by(11, newer.clone(), Some(ticket));
        mesh.run(5_000);
        assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
        let cut = endorsers.iter().flat_map(|endorser| [(*endorser, sleeper), (sleeper, *endorser)]);
        mesh.cut.extend(cut);
        mesh.gossip = false;
        Late { mesh, sleeper, newcomer, old, newer }
    }

    fn give(&mut self, anchor: &Anchor) {
        let disk = &mut self.mesh.nodes.get_mut(&self.sleeper).unwrap().disk;
        for record in anchor_records(anchor) {
            disk.insert((record.table, record.key), record.value.unwrap());
        }
    }

    fn wake(&mut self) {
        self.mesh.start(self.sleeper);
        self.mesh.connect(self.sleeper);
        self.mesh.run(60_000);
    }

    fn epoch(&self) -> u64 {
        self.mesh.core(self.sleeper).state().map_or(0, |state| state.charter().epoch)
    }

    fn agrees(&self) -> bool {
        let [ours, theirs] =
            [self.sleeper, self.newcomer].map(|key| self.mesh.core(key).state().unwrap().root());
        ours == theirs
    }
}

#[test]
fn rule_9_15_whoever_cannot_go_on_from_what_it_holds_goes_on_from_a_newer_anchor() {
    let mut late = Late::new();
    late.wake();
    assert_eq!(late.epoch(), 1, "without an anchor nobody shows it a way that it may take");
    late.mesh.stop(late.sleeper);
    let newer = late.newer.clone();
    late.give(&newer);
    late.wake();
    assert_eq!((late.epoch(), late.agrees()), (2, true));
    late.mesh.stop(late.sleeper);
    late.wake();
    assert_eq!((late.epoch(), late.agrees()), (2, true), "it is in its store");
}

#[test]
fn rule_9_15_a_restart_between_the_charter_and_the_state_goes_on_from_there() {
    let mut late = Late::new();
    let newer = late.newer.clone();
    late.give(&newer);
    late.mesh.start(late.sleeper);
    late.mesh.connect(late.sleeper);
    // The charter takes two messages, and a snapshot two more.
    late.mesh.run(25);
    assert_eq!(late.epoch(), 1, "it has the charter, and no state yet");
    late.mesh.lose_power(late.sleeper);
    late.wake();
    assert_eq!((late.epoch(), late.agrees()), (2, true));
}

#[test]
fn rule_9_15_a_founder_that_restarts_in_between_knows_what_it_knew() {
    let mut late = Late::of(true);
    let newer = late.newer.clone();
    late.give(&newer);
    late.mesh.start(late.sleeper);
    late.mesh.connect(late.sleeper);
    late.mesh.run(25);
    let asked =
        late.mesh.sent.iter().any(|(from, _, message)| {
            *from == late.sleeper && matches!(**message, Message::AskSnapshot { .. })
        });
    assert!(asked, "it has the charter");
    late.mesh.lose_power(late.sleeper);
    late.mesh.start(late.sleeper);
    assert_eq!(late.epoch(), 1, "no state under the newer charter was there yet");
    late.wake();
    assert_eq!((late.epoch(), late.agrees()), (2, true));
    late.mesh.stop(late.sleeper);
    late.wake();
    assert_eq!((late.epoch(), late.agrees()), (2, true), "it is in its store");
}

#[test]
fn rule_9_15_an_anchor_that_is_not_newer_or_of_another_charter_changes_nothing() {
    let mut late = Late::new();
    let lies: [Anchor; 3] = [
        late.old.clone(),
        Anchor { height: 0, ..late.newer.clone() },
        Anchor { charter: late.old.charter, ..late.newer.clone() },
    ];
    for lie in lies {
        late.give(&lie);
        late.wake();
        assert_eq!(late.epoch(), 1, "{lie:?}");
        late.mesh.stop(late.sleeper);
    }
}

#[test]
fn rule_9_15_no_other_charter_than_the_one_that_the_anchor_names_is_believed() {
    let mut late = Late::new();
    let newer = late.newer.clone();
    late.give(&newer);
    // Nobody else is within reach.
    late.mesh.cut.extend([(late.newcomer, late.sleeper), (late.sleeper, late.newcomer)]);
    late.wake();
    let right = late.mesh.core(late.newcomer).charter().unwrap().clone();
    let mut wrong = right.clone();
    wrong.name = "another".into();
    let answer = |late: &mut Late, charter| {
        let told = late.mesh.tell(late.newcomer, late.sleeper, Message::Charter(Box::new(charter)));
        told.into_iter().any(|(_, message)| matches!(*message, Message::AskSnapshot { .. }))
    };
    assert!(!answer(&mut late, wrong));
    assert!(answer(&mut late, right), "and from the right one it goes on");
}

#[test]
fn rule_9_15_no_anchor_moves_whoever_is_gone() {
    let (mut mesh, member) = Mesh::with_member();
    let endorsers = mesh.endorsers();
    let revoke = Revoke { subject: mesh.id(member), reason: Reason::Compromised };
    mesh.decide(Kind::Revoke(revoke), &endorsers[..2]);
    assert_eq!(mesh.core(member).phase(), Phase::Gone);
    mesh.stop(member);
    let anchor = Anchor { epoch: 2, height: 1_000_000, ..mesh.any().anchor(vec![]).unwrap() };
    for record in anchor_records(&anchor) {
        mesh.nodes.get_mut(&member).unwrap().disk.insert((record.table, record.key), record.value.unwrap());
    }
    let before = mesh.sent.len();
    let asks = |message: &Message| matches!(message, Message::AskCharter(_) | Message::AskSnapshot { .. });
    mesh.start(member);
    mesh.connect(member);
    mesh.run(20_000);
    assert_eq!(mesh.core(member).phase(), Phase::Gone);
    let asked = mesh.sent[before..].iter().any(|(from, _, message)| *from == member && asks(message));
    assert!(!asked, "it asks nobody for the way");
}
