//! SPEC 4.13, 5.8 and 5.27 through the door: whoever is caught in a contradiction is convicted, whoever it is that holds the proof.

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Message as Talk, Vote};
use frith_protocol::door::{Alarm, Command, Event, Input, Message, Phase, Standing, Table};
use frith_protocol::identity::{PublicKey, Rotation, SecretKey, Signature};
use frith_protocol::state::{
    Accuse, BlockId, Contradiction, ConvictedKey, Effective, Entry, Kind, Reason, Rotate, Statement, Suspend,
};
use frith_protocol::time::Timestamp;

use super::amendments::{next, propose, say_yes};
use super::mesh::{Mesh, key_of};

type Signed = Vote<PublicKey, Signature>;

/// What `key` signs by its first voting key, some iterations ahead of whatever is going on.
fn ballot(mesh: &Mesh, key: PublicKey, kind: BallotKind, block: u8) -> Signed {
    let iteration = mesh.any().head().unwrap().height + 20;
    let block = if kind == BallotKind::Dummy { BlockId::NONE } else { BlockId([block; 32]) };
    let ballot = Ballot { domain: mesh.any().domain(), epoch: 1, iteration, kind, block };
    let voting = &mesh.nodes[&key].keys.voting[0];
    Vote { ballot, voter: voting.public(), proof: voting.sign(&ballot.digest()) }
}

fn says(mesh: &mut Mesh, from: PublicKey, to: PublicKey, vote: Signed) {
    mesh.tell(from, to, Message::Talk(Arc::new(Talk::Ballot(vote))));
}

/// `liar` tells `to` of two blocks.
fn lies(mesh: &mut Mesh, liar: PublicKey, to: PublicKey) {
    for block in [1, 2] {
        let vote = ballot(mesh, liar, BallotKind::Vote, block);
        says(mesh, liar, to, vote);
    }
}

fn accusation(mesh: &Mesh, liar: PublicKey) -> Message {
    let (first, second) = (ballot(mesh, liar, BallotKind::Vote, 1), ballot(mesh, liar, BallotKind::Vote, 2));
    let accuse = Accuse { subject: mesh.id(liar), contradiction: Contradiction::Ballots(first, second) };
    let statement = Statement { domain: mesh.any().domain(), kind: Kind::Accuse(Box::new(accuse)) };
    Message::Submit(Arc::new(Entry { statement, endorsements: Vec::new() }))
}

/// What every live node holds of `whom`.
pub fn held(mesh: &Mesh, whom: PublicKey) -> Vec<Effective> {
    let node = mesh.id(whom);
    let cores = mesh.nodes.values().filter_map(|node| node.core.as_ref());
    let mut all: Vec<Effective> =
        cores.map(|core| core.state().unwrap().effective(&node, mesh.now)).collect();
    all.dedup();
    all
}

fn alarms(mesh: &Mesh, key: PublicKey) -> Vec<&Alarm> {
    let events = mesh.nodes[&key].events.iter();
    events.filter_map(|event| if let Event::Alarm(alarm) = event { Some(alarm) } else { None }).collect()
}

fn nobody_is_convicted(mesh: &Mesh) {
    let state = mesh.any().state().unwrap();
    assert!(state.members().all(|(_, standing)| standing.convictions.is_empty()));
    assert_eq!(state.gone_count(), 0);
}

#[test]
fn rule_5_27_an_endorser_that_hears_a_contradiction_has_its_author_convicted() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    lies(&mut mesh, e[3], e[0]);
    mesh.run(2_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Convicted]);
    mesh.assert_equal_heads();
    for key in [e[1], member] {
        let told = alarms(&mesh, key);
        let [Alarm::Convicted { node, key, .. }] = told[..] else { panic!("{told:?}") };
        let voting = mesh.nodes[&e[3]].keys.voting[0].public();
        assert_eq!((*node, *key), (mesh.id(e[3]), ConvictedKey::Voting(voting)));
    }
    assert_eq!(mesh.core(e[3]).phase(), Phase::Restrained);
    assert_eq!(mesh.core(e[0]).standing_of(&e[3]), Standing::Suspended);
    // Its vote still counts: with another one away, the log needs it.
    mesh.stop(e[2]);
    let before = mesh.any().head().unwrap().height;
    mesh.run(60_000);
    assert!(mesh.any().head().unwrap().height > before + 2);
}

#[test]
fn rule_5_27_a_vote_in_a_certificate_contradicts_one_that_was_heard() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    let voting = &mesh.nodes[&e[3]].keys.voting[0].clone();
    let domain = mesh.any().domain();
    let first = mesh.any().head().unwrap().height + 1;
    for iteration in first..first + 20 {
        let ballot = Ballot { domain, epoch: 1, iteration, kind: BallotKind::Vote, block: BlockId([1; 32]) };
        says(
            &mut mesh,
            e[3],
            e[0],
            Vote { ballot, voter: voting.public(), proof: voting.sign(&ballot.digest()) },
        );
    }
    // What it tells the others from now on reaches the first one in their certificates alone.
    mesh.cut.insert((e[3], e[0]));
    mesh.run(60_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Convicted]);
    assert_eq!(held(&mesh, e[1]), [Effective::Yes]);
}

#[test]
fn rule_5_27_a_stranger_may_hand_in_the_proof_and_one_endorser_that_has_it_is_enough() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    let stranger = SecretKey::from_seed([42; 32]).public();
    let proof = accusation(&mesh, e[3]);
    mesh.tell(stranger, e[0], proof);
    mesh.run(2_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Convicted]);
}

#[test]
fn rule_5_27_a_proof_that_no_block_can_take_yet_waits_on_the_disk_until_one_can() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    // Two of four lie, which is more than `f`: three must stay able to amend.
    lies(&mut mesh, e[3], e[0]);
    mesh.run(2_000);
    lies(&mut mesh, e[2], e[0]);
    mesh.run(2_000);
    assert_eq!(held(&mesh, e[2]), [Effective::Yes]);
    let kept = |mesh: &Mesh, key: &PublicKey| {
        mesh.nodes[key].disk.keys().any(|(table, key)| *table == Table::Meta && key.starts_with(b"lie of "))
    };
    assert!(e[..2].iter().all(|key| kept(&mesh, key)), "whoever heard it told the others");
    // Whoever heard it is gone for good; the others have it still.
    mesh.lose_power(e[1]);
    mesh.start(e[1]);
    mesh.connect(e[1]);
    mesh.run(1_000);
    let terms = next(&mesh, &[], &[e[3]], |charter| {
        charter.faults = 0;
        (charter.thresholds.admit, charter.thresholds.amend) = (2, 2);
        (charter.thresholds.revoke, charter.thresholds.contain) = (1, 1);
    });
    let id = propose(&mut mesh, e[1], terms);
    say_yes(&mut mesh, id, &[e[0], e[2]]);
    mesh.run(500);
    mesh.lose_power(e[0]);
    mesh.run(30_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Yes], "it is a member without a seat");
    assert_eq!(held(&mesh, e[2]), [Effective::Convicted]);
    assert!(!kept(&mesh, &e[1]), "it is in the log");
}

#[test]
fn rule_5_27_whoever_holds_a_proof_and_makes_no_blocks_any_more_has_others_take_it() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    lies(&mut mesh, e[3], e[0]);
    mesh.run(2_000);
    // Nobody has the second proof but the one who is about to lose its seat.
    let others = [e[1], e[2], e[3]];
    mesh.cut.extend(others.map(|other| (e[0], other)));
    lies(&mut mesh, e[2], e[0]);
    mesh.run(1_000);
    mesh.cut.clear();
    let terms = next(&mesh, &[member], &[e[3], e[0]], |charter| {
        charter.faults = 0;
        (charter.thresholds.admit, charter.thresholds.amend) = (2, 2);
        (charter.thresholds.revoke, charter.thresholds.contain) = (1, 1);
    });
    let id = propose(&mut mesh, e[1], terms);
    say_yes(&mut mesh, id, &[e[0], e[2], member]);
    mesh.run(30_000);
    assert_eq!(mesh.core(e[0]).phase(), Phase::Following);
    assert_eq!(held(&mesh, e[2]), [Effective::Convicted]);
}

#[test]
fn rule_5_8_a_convicted_endorser_consents_to_a_charter_that_gives_it_a_fresh_voting_key() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    lies(&mut mesh, e[3], e[0]);
    mesh.run(2_000);
    assert_eq!(mesh.core(e[3]).phase(), Phase::Restrained);
    let terms = next(&mesh, &[], &[], |_| {});
    let id = propose(&mut mesh, e[0], terms);
    // It first: its consent must be there when the others meet the rule.
    say_yes(&mut mesh, id, &[e[3]]);
    mesh.run(200);
    say_yes(&mut mesh, id, &[e[1], e[2]]);
    mesh.run(10_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Yes], "{:?}", mesh.nodes[&e[3]].refused);
    assert_eq!(mesh.core(e[3]).phase(), Phase::Endorsing);
    // What it said before the amendment convicts it no more.
    let again = accusation(&mesh, e[3]);
    mesh.tell(e[1], e[0], again);
    mesh.run(2_000);
    assert_eq!(held(&mesh, e[3]), [Effective::Yes]);
}

#[test]
fn rule_5_8_whoever_has_no_rights_circulates_nothing_but_terms() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    let terms = next(&mesh, &[], &[], |_| {});
    propose(&mut mesh, e[0], terms);
    let until = Timestamp(u64::MAX);
    let suspend = Suspend { subject: mesh.id(e[3]), number: 1, until, reason: Reason::Compromised };
    mesh.decide(Kind::Suspend(suspend), &e[..2]);
    let of_kind = |mesh: &Mesh, terms: bool| {
        let circulated = mesh.sent.iter().rev().find_map(|(_, _, message)| match &**message {
            Message::Circulate(it)
                if matches!(it.subject, frith_protocol::state::Subject::Terms(_)) == terms =>
            {
                Some((**message).clone())
            }
            _ => None,
        });
        circulated.expect("such a proposal was circulated")
    };
    for (terms, refused) in [(true, 0), (false, 1)] {
        let (message, before) = (of_kind(&mesh, terms), mesh.nodes[&e[0]].refused.len());
        mesh.tell(e[3], e[0], message);
        assert_eq!(mesh.nodes[&e[0]].refused.len(), before + refused, "terms: {terms}");
    }
}

/// Handed in by somebody who has the key of that number, too, and drew another key to follow.
fn rival(mesh: &Mesh, key: PublicKey, sequence: u32) -> Message {
    let inception = &mesh.nodes[&key].keys.inception;
    let (node, next) = (inception.node_id(), SecretKey::from_seed([43; 32]).public());
    let rotation = Rotation::new(&node, sequence, &key_of(inception, sequence), &next);
    let rotate = Rotate { subject: node, rotations: vec![rotation] };
    let statement = Statement { domain: mesh.any().domain(), kind: Kind::Rotate(rotate) };
    Message::Submit(Arc::new(Entry { statement, endorsements: Vec::new() }))
}

#[test]
fn rule_5_27_two_rotations_of_one_number_that_wait_or_are_in_the_log_convict() {
    // The other one comes while the first waits, or when it is final.
    for after_ms in [0, 5_000] {
        let (mut mesh, member) = Mesh::with_member();
        let e = mesh.endorsers();
        let (node, other) = (mesh.id(member), rival(&mesh, member, 1));
        mesh.rotate(member).unwrap();
        mesh.run(10 + after_ms);
        let from = SecretKey::from_seed([42; 32]).public();
        mesh.tell(from, e[0], other);
        mesh.run(5_000);
        let state = mesh.core(e[1]).state().unwrap();
        assert_eq!(state.gone_since(&node).map(|gone| gone.reason), Some(Reason::Misbehaved), "{after_ms}");
        assert!(alarms(&mesh, e[0]).contains(&&Alarm::RotatedTwice { node, sequence: 1 }));
        assert_eq!(mesh.core(e[0]).standing_of(&member), Standing::Gone);
    }
}

#[test]
fn rule_5_27_a_rotation_that_is_handed_in_again_and_one_that_came_first_convict_nobody() {
    let (mut mesh, member) = Mesh::with_member();
    let e = mesh.endorsers();
    let of_first_key = rival(&mesh, member, 1);
    mesh.rotate(member).unwrap();
    let handed_in = mesh.sent.iter().rev().find_map(|(_, _, message)| match &**message {
        Message::Submit(entry) if matches!(entry.statement.kind, Kind::Rotate(_)) => {
            Some((**message).clone())
        }
        _ => None,
    });
    let handed_in = handed_in.expect("it hands its rotation in");
    for _ in 0..3 {
        mesh.tell(member, e[0], handed_in.clone());
        mesh.run(2_000);
    }
    let now = mesh.key_of(mesh.id(*mesh.nodes.keys().find(|key| !e.contains(key)).unwrap()));
    mesh.rotate(now).unwrap();
    mesh.run(5_000);
    // Of the key before, whoever stole it can prove nothing.
    mesh.tell(SecretKey::from_seed([42; 32]).public(), e[0], of_first_key);
    mesh.run(2_000);
    nobody_is_convicted(&mesh);
}

#[test]
fn rule_5_27_crashes_restarts_and_lost_power_at_any_moment_convict_nobody() {
    let mut mesh = Mesh::of_four();
    let e = mesh.endorsers();
    // Steps of 7 ms meet each point between a ballot and the next, at one endorser after the other.
    for round in 0..120_u64 {
        let key = e[round as usize % 4];
        if round % 2 == 0 {
            mesh.lose_power(key)
        } else {
            mesh.stop(key)
        }
        mesh.run(7 * (round % 11));
        mesh.start(key);
        mesh.connect(key);
        mesh.run(97);
        if round % 30 == 0 {
            let command = Command::Propose {
                subject: frith_protocol::state::Subject::Ticket(mesh.ticket_terms(round as u32 + 1)),
                note: String::new(),
                expires: mesh.now.plus(60_000),
            };
            mesh.input(e[0], Input::Command(command));
        }
        mesh.run(11_000 * u64::from(round % 8 == 0));
    }
    mesh.run(60_000);
    nobody_is_convicted(&mesh);
    let told = e.iter().flat_map(|key| alarms(&mesh, *key));
    let lies: Vec<_> = told.filter(|alarm| matches!(alarm, Alarm::Contradiction { .. })).collect();
    assert_eq!(lies, Vec::<&Alarm>::new());
}
