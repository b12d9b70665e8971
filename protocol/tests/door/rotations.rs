//! SPEC 5.19 and 5.20: nodes that rotate their keys, and mesh on.

use std::sync::Arc;

use frith_protocol::door::{Command, Event, Input, Message, Phase, Standing};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, PublicKey, Rotation};
use frith_protocol::joining::{KeyHistory, Origin};
use frith_protocol::state::{Kind, Reason, Revoke, Statement, Subject, Suspend};
use frith_protocol::time::Timestamp;

use crate::mesh::{Mesh, charter, key_of};

fn with_member() -> (Mesh, NodeId) {
    let (mesh, key) = Mesh::with_member();
    let node = mesh.id(key);
    (mesh, node)
}

/// The number of the key that every core says `node` has, and that it says itself.
fn assert_sequence(mesh: &Mesh, node: NodeId, sequence: u32) {
    let key = mesh.key_of(node);
    let own = mesh.core(key).status(mesh.now);
    assert_eq!((own.key, own.key_sequence, own.rotating), (key, sequence, false));
    for other in mesh.nodes.values().filter_map(|node| node.core.as_ref()) {
        let standing = other.state().unwrap().standing(&node).expect("it stands");
        assert_eq!((standing.keys.current, standing.keys.sequence), (key, sequence));
    }
}

/// What a newcomer waits for.
fn the_draft(mesh: &Mesh) -> Hash {
    let core = mesh.core(mesh.endorsers()[0]);
    let of_a_newcomer = |origin| matches!(origin, Origin::Newcomer(_));
    *core.proposals().find(|(_, proposal)| of_a_newcomer(proposal.origin)).expect("it waits").0
}

fn rotated(mesh: &Mesh, node: NodeId) -> usize {
    let events = &mesh.nodes[&mesh.key_of(node)].events;
    events.iter().filter(|event| matches!(event, Event::Rotated { .. })).count()
}

#[test]
fn rule_5_19_a_member_rotates_and_speaks_by_the_new_key_once_that_is_final() {
    let (mut mesh, member) = with_member();
    let old = mesh.key_of(member);
    mesh.rotate(old).unwrap();
    assert_eq!(mesh.key_of(member), old, "not before it is final");
    assert!(mesh.core(old).status(mesh.now).rotating);
    mesh.run(1_000);
    assert_sequence(&mesh, member, 1);
    assert_eq!(rotated(&mesh, member), 1);
    for endorser in mesh.endorsers() {
        let core = mesh.core(endorser);
        assert_eq!(core.standing_of(&old), Standing::Stranger, "the old key is nobody's");
        assert_eq!(core.standing_of(&mesh.key_of(member)), Standing::Member);
    }
    mesh.run(30_000);
    mesh.assert_equal_heads();
    // And again, and again, up to as often as a day allows.
    for sequence in 2..=4 {
        mesh.rotate(mesh.key_of(member)).unwrap();
        mesh.run(1_000);
        assert_sequence(&mesh, member, sequence);
    }
    let refused = mesh.rotate(mesh.key_of(member)).unwrap_err();
    assert!(refused.contains("rotated 4 times today"), "{refused}");
}

#[test]
fn rule_5_19_a_second_rotation_waits_for_the_first() {
    let (mut mesh, member) = with_member();
    mesh.rotate(mesh.key_of(member)).unwrap();
    let refused = mesh.rotate(mesh.key_of(member)).unwrap_err();
    assert!(refused.contains("another is still on its way"), "{refused}");
}

#[test]
fn rule_5_19_every_endorser_rotates_at_once_and_the_log_goes_on() {
    for (n, f, admit) in [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 3), (7, 2, 3)] {
        let mut mesh = Mesh::found(charter(n, f, admit));
        mesh.run(1_000);
        for key in mesh.endorsers() {
            mesh.rotate(key).unwrap();
        }
        mesh.run(5_000);
        let nodes: Vec<NodeId> = mesh.nodes.values().map(|node| node.keys.inception.node_id()).collect();
        for node in nodes {
            assert_sequence(&mesh, node, 1);
        }
        let height = mesh.any().head().unwrap().height;
        mesh.run(60_000);
        mesh.assert_equal_heads();
        let made = mesh.any().head().unwrap().height - height;
        assert!((5..=7).contains(&made), "{made} heartbeats in a minute of ten seconds each, of {n}");
    }
}

#[test]
fn rule_5_19_endorsers_rotate_one_after_another_while_newcomers_join() {
    let mut mesh = Mesh::of_four();
    let nodes: Vec<NodeId> = mesh.endorsers().iter().map(|key| mesh.id(*key)).collect();
    for (name, node) in nodes.iter().enumerate() {
        let ticket = mesh.ticket(1 + name as u32);
        mesh.rotate(mesh.key_of(*node)).unwrap();
        // Its ticket was countersigned by keys of which one may just lapse: an operator's yes is given anew.
        drop(ticket);
        let key = mesh.join(20 + name as u8, None);
        mesh.run(3_000);
        let id = the_draft(&mesh);
        for endorser in mesh.endorsers() {
            mesh.input(endorser, Input::Command(Command::Endorse(id)));
        }
        mesh.run(5_000);
        assert_eq!(mesh.core(key).phase(), Phase::Following, "{:?}", mesh.nodes[&key].events);
        assert_sequence(&mesh, *node, 1);
    }
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_19_a_newcomer_knows_endorsers_that_have_all_rotated() {
    let mut mesh = Mesh::of_four();
    for _ in 0..2 {
        for key in mesh.endorsers() {
            mesh.rotate(key).unwrap();
        }
        mesh.run(5_000);
    }
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(5_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following, "{:?}", mesh.nodes[&key].events);
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_19_a_history_that_does_not_go_on_from_the_charter_is_ignored() {
    let mut mesh = Mesh::of_four();
    let endorser = mesh.endorsers()[0];
    let newcomer = mesh.join(10, None);
    mesh.run(200);
    let (node, inception) = (mesh.id(endorser), mesh.nodes[&endorser].keys.inception.clone());
    let thief = key_of(&inception, 7);
    let shown = |key, sequence| {
        let rotations = vec![Rotation::new(&node, sequence, key, &thief.public())];
        Message::KeyHistory(Box::new(KeyHistory { node, rotations }))
    };
    let asks = |mesh: &mut Mesh, message| {
        let sent = mesh.tell(endorser, newcomer, message);
        // Whoever's key it is now would be asked for its endorsement.
        sent.iter().any(|(_, message)| matches!(**message, Message::AskEndorsement(_)))
    };
    assert!(!asks(&mut mesh, shown(&thief, 1)), "a key that nothing committed to");
    assert!(!asks(&mut mesh, shown(&key_of(&inception, 1), 2)), "one left out");
    assert_eq!(mesh.core(newcomer).phase(), Phase::Joining);
    // It still believes the key in the charter: three yeses are enough.
    let id = the_draft(&mesh);
    for endorser in mesh.endorsers() {
        mesh.input(endorser, Input::Command(Command::Endorse(id)));
    }
    mesh.run(3_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
}

/// Ends the node at every moment of a rotation, with all that it has not synced.
fn survives_a_loss_of_power(endorser: bool) {
    for moment in 0..40 {
        let (mut mesh, member) = with_member();
        let node = if endorser { mesh.id(mesh.endorsers()[1]) } else { member };
        mesh.rotate(mesh.key_of(node)).unwrap();
        mesh.run(moment * 4);
        let key = mesh.key_of(node);
        mesh.lose_power(key);
        mesh.run(if moment % 2 == 0 { 10 } else { 15_000 });
        mesh.start(key);
        mesh.connect(mesh.key_of(node));
        mesh.run(20_000);
        assert_sequence(&mesh, node, 1);
        assert!(rotated(&mesh, node) >= 1, "the host would never destroy the old key");
        mesh.run(20_000);
        // The newest heartbeat may just be on its way.
        let lags = |mesh: &Mesh| {
            let heights = mesh.nodes.values().map(|node| node.core.as_ref().unwrap().head().unwrap().height);
            heights.collect::<std::collections::BTreeSet<_>>().len() > 1
        };
        if lags(&mesh) {
            mesh.run(500);
        }
        mesh.assert_equal_heads();
    }
}

#[test]
fn rule_5_19_a_member_that_loses_power_at_any_moment_of_its_rotation_comes_out_with_one_key() {
    survives_a_loss_of_power(false);
}

#[test]
fn rule_5_19_an_endorser_that_loses_power_at_any_moment_of_its_rotation_comes_out_with_one_key() {
    survives_a_loss_of_power(true);
}

#[test]
fn rule_5_20_one_that_was_away_while_its_rotation_became_final_is_shown_so_though_it_is_a_stranger_now() {
    for endorser in [false, true] {
        let (mut mesh, member) = with_member();
        let node = if endorser { mesh.id(mesh.endorsers()[3]) } else { member };
        let old = mesh.key_of(node);
        mesh.rotate(old).unwrap();
        // What it sent arrives; what comes back does not.
        mesh.lose_power(old);
        mesh.run(5_000);
        assert_eq!(mesh.any().standing_of(&old), Standing::Stranger);
        // More blocks come, so that there is a gap.
        let ticket = mesh.ticket(3);
        for name in 20..23 {
            mesh.join(name, Some(ticket.clone()));
            mesh.run(3_000);
        }
        mesh.start(old);
        mesh.connect(old);
        mesh.run(5_000);
        assert_sequence(&mesh, node, 1);
        mesh.run(20_000);
        mesh.assert_equal_heads();
    }
}

#[test]
fn rule_5_20_of_two_endorsers_the_one_that_rotated_alone_knows_that_and_shows_the_other() {
    for moment in 0..40 {
        let mut mesh = Mesh::found(charter(2, 0, 2));
        mesh.run(1_000);
        let [one, two] = mesh.endorsers()[..] else { panic!("there are two") };
        let node = mesh.id(one);
        mesh.rotate(one).unwrap();
        // From some moment on nothing reaches the other any more.
        mesh.run(moment * 4);
        mesh.cut.insert((mesh.key_of(node), two));
        mesh.run(100);
        mesh.cut.clear();
        // The connection broke, and opens again.
        let key = mesh.key_of(node);
        mesh.input(key, Input::Disconnected(two));
        mesh.input(two, Input::Disconnected(key));
        mesh.connect(key);
        mesh.run(60_000);
        assert_sequence(&mesh, node, 1);
        mesh.assert_equal_heads();
    }
}

fn propose(mesh: &mut Mesh, by: PublicKey, kind: Kind) -> Hash {
    let subject = Subject::Statement(Statement { domain: mesh.any().domain(), kind });
    let id = subject.digest();
    let expires = mesh.now.plus(3_600_000);
    mesh.input(by, Input::Command(Command::Propose { subject, note: "stolen".into(), expires }));
    mesh.run(100);
    id
}

#[test]
fn rule_5_19_what_was_endorsed_with_the_old_key_is_endorsed_anew_with_the_next() {
    let (mut mesh, member) = with_member();
    let nodes: Vec<NodeId> = mesh.endorsers().iter().map(|key| mesh.id(*key)).collect();
    let revoke = Kind::Revoke(Revoke { subject: member, reason: Reason::Compromised });
    let by = mesh.key_of(nodes[0]);
    let id = propose(&mut mesh, by, revoke);
    mesh.rotate(mesh.key_of(nodes[0])).unwrap();
    mesh.run(2_000);
    assert_sequence(&mesh, nodes[0], 1);
    assert!(!mesh.any().state().unwrap().is_gone(&member));
    mesh.input(mesh.key_of(nodes[1]), Input::Command(Command::Endorse(id)));
    mesh.run(2_000);
    assert!(
        mesh.any().state().unwrap().is_gone(&member),
        "one of the two endorsements was by a key that lapsed"
    );
}

#[test]
fn rule_5_19_an_operators_yes_to_a_newcomer_outlives_the_key_that_said_it() {
    let mut mesh = Mesh::of_four();
    let nodes: Vec<NodeId> = mesh.endorsers().iter().map(|key| mesh.id(*key)).collect();
    let key = mesh.join(10, None);
    mesh.run(3_000);
    let id = the_draft(&mesh);
    for node in &nodes[..2] {
        mesh.input(mesh.key_of(*node), Input::Command(Command::Endorse(id)));
    }
    mesh.run(100);
    mesh.rotate(mesh.key_of(nodes[0])).unwrap();
    mesh.run(5_000);
    assert_eq!(mesh.core(key).phase(), Phase::Joining);
    mesh.input(mesh.key_of(nodes[2]), Input::Command(Command::Endorse(id)));
    mesh.run(40_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following, "{:?}", mesh.nodes[&key].events);
}

#[test]
fn rule_5_19_a_rotation_cannot_be_proposed() {
    let (mut mesh, member) = with_member();
    let key = mesh.key_of(member);
    let rotation = Rotation::new(&member, 1, &key_of(&mesh.nodes[&key].keys.inception, 1), &key);
    let rotate = frith_protocol::state::Rotate { subject: member, rotations: vec![rotation] };
    let by = mesh.endorsers()[0];
    let id = propose(&mut mesh, by, Kind::Rotate(rotate));
    assert!(mesh.core(by).proposals().all(|(waits, _)| *waits != id));
    assert!(mesh.nodes[&by].refused.iter().any(|why| why.contains("needs nobody's endorsement")));
}

#[test]
fn rule_5_19_whoever_has_an_endorsers_earlier_key_is_a_stranger() {
    let (mut mesh, member) = with_member();
    let nodes: Vec<NodeId> = mesh.endorsers().iter().map(|key| mesh.id(*key)).collect();
    let old = mesh.key_of(nodes[0]);
    mesh.rotate(old).unwrap();
    mesh.run(2_000);
    let other = mesh.key_of(nodes[1]);
    // Something waits that endorsers are sent, and only they.
    propose(&mut mesh, other, Kind::Revoke(Revoke { subject: member, reason: Reason::Unspecified }));
    let before = mesh.sent.len();
    mesh.input(other, Input::Connected(old));
    assert_eq!(mesh.sent.len(), before, "a thief was told something: {:?}", &mesh.sent[before..]);
    let question = Message::Follow { height: 0, head: [0; 8] };
    assert!(mesh.tell(old, other, question).is_empty());
    assert!(
        mesh.tell(old, other, Message::AskSnapshot { head: Default::default(), chunk: 0, lean: false })
            .is_empty()
    );
    let talk = frith_protocol::agreement::Message::AskNewest { epoch: 1 };
    assert!(mesh.tell(old, other, Message::Talk(Arc::new(talk))).is_empty());
}

#[test]
fn rule_5_20_a_connection_under_a_retired_key_is_shown_the_block_that_retired_it() {
    let (mut mesh, member) = with_member();
    let old = mesh.key_of(member);
    mesh.rotate(old).unwrap();
    let sent = mesh.sent.len();
    mesh.run(1_000);
    let shown = mesh.sent[sent..].iter().filter(|(_, to, message)| {
        *to == old && matches!(&**message, Message::Final(chain) if !chain.blocks.is_empty())
    });
    assert!(shown.count() >= 4, "each endorser shows it");
}

#[test]
fn rule_4_11_a_suspended_endorser_and_one_that_is_gone_keep_their_vote_under_their_newest_key() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let nodes: Vec<NodeId> = mesh.endorsers().iter().map(|key| mesh.id(*key)).collect();
    let suspend =
        Suspend { subject: nodes[3], number: 1, until: Timestamp(u64::MAX), reason: Reason::Compromised };
    let by = mesh.key_of(nodes[0]);
    let id = propose(&mut mesh, by, Kind::Suspend(suspend));
    mesh.input(mesh.key_of(nodes[1]), Input::Command(Command::Endorse(id)));
    mesh.run(2_000);
    mesh.rotate(mesh.key_of(nodes[3])).unwrap();
    mesh.run(2_000);
    assert_sequence(&mesh, nodes[3], 1);
    let gone = Kind::Revoke(Revoke { subject: nodes[3], reason: Reason::Compromised });
    let id = propose(&mut mesh, by, gone);
    mesh.input(mesh.key_of(nodes[1]), Input::Command(Command::Endorse(id)));
    mesh.run(2_000);
    assert!(mesh.any().state().unwrap().is_gone(&nodes[3]));
    // Without its vote there is no quorum now.
    mesh.stop(mesh.key_of(nodes[2]));
    let height = mesh.core(by).head().unwrap().height;
    mesh.run(60_000);
    assert!(mesh.core(by).head().unwrap().height > height + 2, "the log stands still");
}

#[test]
fn rule_5_20_whoever_was_away_while_everybody_rotated_finds_its_way_back() {
    for (rotates, away_ms) in [(false, 1_000), (false, 3_600_000), (true, 1_000), (true, 3_600_000)] {
        let (mut mesh, member) = with_member();
        mesh.gossip = false;
        let old = mesh.key_of(member);
        if rotates {
            mesh.rotate(old).unwrap();
        }
        mesh.stop(old);
        mesh.run(2_000);
        for endorser in mesh.endorsers() {
            mesh.rotate(endorser).unwrap();
        }
        mesh.run(away_ms);
        mesh.start(old);
        mesh.connect(old);
        mesh.run(60_000);
        assert_sequence(&mesh, member, u32::from(rotates));
        let behind =
            mesh.any().head().unwrap().height - mesh.core(mesh.key_of(member)).head().unwrap().height;
        assert!(behind <= 2, "it is {behind} blocks behind; rotates: {rotates}, away {away_ms} ms");
    }
}
