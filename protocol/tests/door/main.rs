//! The core through its door: whole stories among a few cores in one process.
#![allow(unreachable_pub, reason = "a test has no public items")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing among many")]

mod accusations;
mod amendments;
mod anchors;
mod bounds;
mod chains;
mod edges;
mod epochs;
mod following;
mod hand_over;
mod holds;
mod joining;
mod mesh;
#[cfg(feature = "planted")]
#[path = "../planted/mod.rs"]
mod planted;

mod recovery;
mod recovery_attacks;
mod renewals;
mod restored;
mod rotations;
mod sessions;
mod suspensions;
mod two_holds;

use frith_protocol::door::{Command, Event, Input, Phase, Standing};
use frith_protocol::encoding::Hash;
use frith_protocol::state::{Kind, Reason, Revoke, Role, Subject};
use mesh::{Mesh, charter};

fn is_member(mesh: &Mesh, key: frith_protocol::identity::PublicKey) -> bool {
    mesh.endorsers().iter().all(|endorser| mesh.core(*endorser).standing_of(&key) >= Standing::Member)
}

#[test]
fn rule_8_13_an_idle_domain_makes_heartbeats_and_nothing_else() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(60_000);
    mesh.assert_equal_heads();
    let head = mesh.any().head().unwrap();
    assert!((5..=7).contains(&head.height), "{} heartbeats in a minute of ten seconds each", head.height);
    for node in mesh.nodes.values() {
        assert!(node.refused.iter().all(|why| why.contains("not now")), "{:?}", node.refused);
    }
}

#[test]
fn rule_5_2_a_newcomer_with_a_ticket_is_admitted_and_follows() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following, "{:?}", mesh.nodes[&key].events);
    assert!(is_member(&mesh, key));
    mesh.run(30_000);
    mesh.assert_equal_heads();
}

#[test]
fn rule_4_6_of_two_who_spend_one_ticket_one_is_admitted_and_the_other_told_why() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let one = mesh.join(10, Some(ticket.clone()));
    let two = mesh.join(11, Some(ticket));
    mesh.run(10_000);
    let admitted = [one, two].map(|key| is_member(&mesh, key));
    assert_eq!(admitted.iter().filter(|yes| **yes).count(), 1, "{admitted:?}");
    let loser = if admitted[0] { two } else { one };
    let told = mesh.nodes[&loser]
        .events
        .iter()
        .any(|event| matches!(event, Event::JoinFailed { why } if why.contains("spent")));
    assert!(told, "{:?}", mesh.nodes[&loser].events);
}

#[test]
fn rule_5_7_a_newcomer_without_a_ticket_waits_until_enough_operators_say_yes() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let key = mesh.join(10, None);
    mesh.run(5_000);
    assert_eq!(mesh.core(key).phase(), Phase::Joining);
    let endorsers = mesh.endorsers();
    let id: Hash = *mesh.core(endorsers[0]).proposals().next().expect("it waits").0;
    for endorser in &endorsers[..2] {
        mesh.input(*endorser, Input::Command(Command::Endorse(id)));
    }
    mesh.run(5_000);
    assert_eq!(mesh.core(key).phase(), Phase::Joining, "two of three are not enough");
    mesh.input(endorsers[2], Input::Command(Command::Endorse(id)));
    mesh.run(2_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following);
}

#[test]
fn rule_5_4_a_newcomer_that_reaches_too_few_endorsers_succeeds_when_one_returns() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let endorsers = mesh.endorsers();
    mesh.stop(endorsers[0]);
    mesh.stop(endorsers[1]);
    let key = mesh.join(10, Some(ticket));
    mesh.run(30_000);
    assert_eq!(mesh.core(key).phase(), Phase::Joining);
    mesh.start(endorsers[1]);
    mesh.connect(endorsers[1]);
    mesh.run(30_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following, "{:?}", mesh.nodes[&key].events);
}

fn revoke(mesh: &mut Mesh, key: frith_protocol::identity::PublicKey) {
    let revoke = Revoke { subject: mesh.id(key), reason: Reason::Compromised };
    let endorsers = mesh.endorsers();
    mesh.decide(Kind::Revoke(revoke), &endorsers[..2]);
}

#[test]
fn rule_5_8_a_revoked_member_is_out_everywhere_and_stays_out() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(2);
    let key = mesh.join(10, Some(ticket.clone()));
    mesh.run(2_000);
    assert!(is_member(&mesh, key));
    revoke(&mut mesh, key);
    for endorser in mesh.endorsers() {
        assert_eq!(mesh.core(endorser).standing_of(&key), Standing::Gone);
        let told = mesh.nodes[&endorser].events.iter().any(|e| matches!(e, Event::Denied { .. }));
        assert!(told, "the host was told to disconnect it");
    }
    assert_eq!(mesh.core(key).phase(), Phase::Gone);
    // The same identity, with a store wiped clean and a ticket that has a use left.
    mesh.nodes.remove(&key);
    let again = mesh.join(10, Some(ticket));
    mesh.run(60_000);
    assert_eq!(again, key);
    assert_eq!(mesh.core(key).phase(), Phase::Joining);
    assert_eq!(mesh.core(mesh.endorsers()[0]).standing_of(&key), Standing::Gone);
}

#[test]
fn an_endorser_that_was_killed_comes_back_from_its_store_and_catches_up() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let victim = mesh.endorsers()[3];
    let first = mesh.join(10, Some(ticket.clone()));
    // In the middle of agreement: proposals and votes are in flight.
    mesh.run(70);
    mesh.stop(victim);
    mesh.run(5_000);
    assert_eq!(mesh.core(first).phase(), Phase::Following);
    let second = mesh.join(11, Some(ticket.clone()));
    mesh.run(10_000);
    assert_eq!(mesh.core(second).phase(), Phase::Following, "three of four go on");
    mesh.start(victim);
    mesh.connect(victim);
    let third = mesh.join(12, Some(ticket));
    mesh.run(30_000);
    assert_eq!(mesh.core(third).phase(), Phase::Following);
    mesh.assert_equal_heads();
}

#[test]
fn rule_9_3_with_gossip_off_everybody_still_follows() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(2);
    let one = mesh.join(10, Some(ticket.clone()));
    mesh.run(5_000);
    let two = mesh.join(11, Some(ticket));
    mesh.run(40_000);
    assert_eq!(mesh.core(one).phase(), Phase::Following);
    assert!(mesh.core(one).standing_of(&two) == Standing::Member, "the first learnt of the second");
}

#[test]
fn a_follower_restarts_from_its_store_without_asking_for_a_snapshot() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(5);
    let key = mesh.join(10, Some(ticket.clone()));
    mesh.run(3_000);
    mesh.join(11, Some(ticket));
    mesh.run(13_000);
    let before = mesh.core(key).head().unwrap();
    mesh.stop(key);
    mesh.start(key);
    let after = mesh.core(key).head().unwrap();
    assert_eq!((after.height, after.block), (before.height, before.block));
}

#[test]
fn rule_8_14_a_founder_whose_journal_is_gone_signs_nothing_and_the_others_go_on() {
    use frith_protocol::door::Table;
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(15_000);
    let victim = mesh.endorsers()[2];
    mesh.stop(victim);
    mesh.nodes.get_mut(&victim).unwrap().disk.retain(|(table, _), _| *table != Table::Journal);
    mesh.start(victim);
    mesh.connect(victim);
    mesh.run(60_000);
    assert!(mesh.core(victim).status(mesh.now).journal_lost.is_some());
    mesh.assert_equal_heads();
}

#[test]
fn a_domain_of_one_admits() {
    let mut mesh = Mesh::found(charter(1, 0, 1));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following);
}

#[test]
fn rule_9_1_catching_up_costs_the_missing_blocks_that_carry_entries_and_a_constant() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(60);
    let sleeper = mesh.join(10, Some(ticket.clone()));
    mesh.run(15_000);
    mesh.stop(sleeper);
    let height_before = mesh.any().head().unwrap().height;
    for name in 20..30 {
        mesh.join(name, Some(ticket.clone()));
        mesh.run(120_000);
    }
    let missing: usize = mesh
        .any()
        .chain()
        .unwrap()
        .recent_blocks()
        .filter(|held| held.block.header.height > height_before)
        .map(|held| frith_protocol::encoding::encoded_len(&**held.block))
        .sum();
    let heights = mesh.any().head().unwrap().height - height_before;
    assert!(heights > 100, "{heights} heights, most of them heartbeats");
    mesh.start(sleeper);
    mesh.bytes.clear();
    mesh.connect(sleeper);
    mesh.run(1_000);
    assert!(mesh.core(sleeper).head().unwrap().height >= height_before + heights);
    let cost = mesh.bytes[&sleeper];
    println!("{cost} bytes for {missing} bytes of blocks, {heights} heights");
    assert!(cost * 10 <= missing * 11 + 10_240, "{cost} bytes for {missing} bytes of blocks");
}

#[test]
fn rule_9_3_equal_heads_cost_one_short_message_each_way() {
    use frith_protocol::door::{Envelope, Message};
    let domain = frith_protocol::state::DomainId([7; 32]);
    let ask = Message::Follow { height: u64::MAX, head: [7; 8] };
    for message in [ask, Message::Same] {
        let bytes = Envelope { domain, message: std::sync::Arc::new(message) }.wire_len();
        assert!(bytes <= 64, "{bytes} bytes");
    }
}

#[test]
fn rule_4_7_a_revoked_endorser_keeps_its_vote_so_that_the_log_bears_one_more_crash() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let endorsers = mesh.endorsers();
    revoke(&mut mesh, endorsers[3]);
    assert_eq!(mesh.core(endorsers[0]).standing_of(&endorsers[3]), Standing::Gone);
    assert_eq!(mesh.core(endorsers[3]).phase(), Phase::Restrained);
    mesh.stop(endorsers[2]);
    let before = mesh.core(endorsers[0]).head().unwrap().height;
    mesh.run(60_000);
    assert!(mesh.core(endorsers[0]).head().unwrap().height > before + 2, "heartbeats need three of four");
}

#[test]
fn rule_5_6_no_operators_yes_makes_an_endorser_vouch_for_a_block_that_it_does_not_know() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let key = mesh.join(10, None);
    mesh.run(2_000);
    let endorser = mesh.endorsers()[0];
    let (_, proposal) = mesh.core(endorser).proposals().next().expect("the draft waits");
    let Subject::Statement(mut statement) = proposal.subject.clone() else {
        panic!("a draft is a statement")
    };
    let Kind::Admit(admit) = &mut statement.kind else { panic!("of an admission") };
    admit.basis.block = frith_protocol::state::BlockId([1; 32]);
    let subject = Subject::Statement(statement);
    let refused = mesh.nodes[&endorser].refused.len();
    let expires = mesh.now.plus(60_000);
    mesh.input(endorser, Input::Command(Command::Propose { subject, note: String::new(), expires }));
    assert!(mesh.nodes[&endorser].refused[refused..].iter().any(|why| why.contains("not known here")));
    assert_eq!(mesh.core(key).phase(), Phase::Joining);
}

#[test]
fn rule_9_1_gossip_carries_final_chains_and_holds_and_nothing_else() {
    use frith_protocol::identity::verify;
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let endorsers = mesh.endorsers();
    let message = frith_protocol::door::Message::Follow { height: 0, head: [0; 8] };
    let check = frith_protocol::identity::BatchCheck::new(
        <rand_chacha::ChaCha8Rng as rand_core::SeedableRng>::from_seed([1; 32]),
    );
    let message = std::sync::Arc::new(verify(message, &check).unwrap());
    mesh.input(endorsers[0], Input::Gossiped { from: endorsers[1], message });
    assert!(mesh.nodes[&endorsers[0]].refused.last().unwrap().contains("misbehaved"));
}

#[test]
fn rule_6_9_a_certified_header_with_another_body_blames_its_sender_and_halts_nobody() {
    use frith_protocol::door::Message;
    use frith_protocol::identity::{BatchCheck, verify};
    use frith_protocol::state::{Block, FinalChain};
    use std::sync::Arc;
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let sleeper = mesh.join(10, Some(ticket.clone()));
    mesh.run(2_000);
    let cut: Vec<_> = mesh.endorsers().into_iter().map(|endorser| (endorser, sleeper)).collect();
    mesh.cut.extend(cut);
    mesh.join(11, Some(ticket));
    mesh.run(3_000);
    let victim = mesh.endorsers()[3];
    revoke(&mut mesh, victim);

    let endorser = mesh.endorsers()[0];
    let head = mesh.core(sleeper).head().unwrap().height;
    let FinalChain { blocks, headers, certificate } =
        mesh.core(endorser).chain().unwrap().since(head).expect("there is something to follow");
    let mut body: Block = (*blocks[0]).clone();
    let denial = blocks.last().unwrap().entries[0].clone();
    assert!(denial.statement.is_denial());
    body.entries.push(denial);
    let mut tampered = blocks.clone();
    tampered[0] = Arc::new(body);
    let check = BatchCheck::new(<rand_chacha::ChaCha8Rng as rand_core::SeedableRng>::from_seed([1; 32]));
    let message = Message::Final(Arc::new(FinalChain { blocks: tampered, headers, certificate }));
    let message = Arc::new(verify(message, &check).unwrap());
    mesh.input(sleeper, Input::Received { from: endorser, message });
    assert!(mesh.nodes[&sleeper].refused.last().unwrap().contains("misbehaved"));
    assert_eq!(mesh.core(sleeper).phase(), Phase::Following, "it has not halted");
    mesh.cut.clear();
    mesh.run(30_000);
    assert!(mesh.core(sleeper).head().unwrap().height > head);
}

#[test]
fn rule_9_4_a_newcomer_starts_from_a_checkpoint_and_replays_only_what_came_after() {
    use frith_protocol::door::Table;
    let mut mesh = Mesh::found(charter(1, 0, 1));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(100);
    for name in 10..80 {
        let key = mesh.join(name, Some(ticket.clone()));
        mesh.run(200);
        mesh.stop(key);
        mesh.nodes.remove(&key);
    }
    let last = mesh.join(90, Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(last).phase(), Phase::Following);
    let founder = mesh.endorsers()[0];
    let heads = [founder, last].map(|key| mesh.core(key).head().map(|head| head.state_root));
    assert_eq!(heads[0], heads[1]);
    let replayed = mesh.nodes[&last].disk.keys().filter(|(table, _)| *table == Table::Final).count();
    assert!(replayed < 20, "71 joined, and the newcomer executed {replayed} blocks");
}

#[test]
fn rule_9_5_a_node_that_hears_of_nothing_new_answers_stale_and_never_valid() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    let node = mesh.id(key);
    assert!(mesh.core(key).effective(&node, mesh.now).is_some_and(|answer| answer.is_yes()));
    for endorser in mesh.endorsers() {
        mesh.stop(endorser);
    }
    mesh.run(61_000);
    assert_eq!(mesh.core(key).effective(&node, mesh.now), None);
    assert!(mesh.core(key).status(mesh.now).stale);
}

#[test]
fn rule_9_5_about_whoever_has_a_role_with_a_tighter_bound_answers_go_stale_earlier_and_about_nobody_else() {
    let mut law = charter(4, 1, 3);
    let gateway = Role { name: "gateway".into(), capabilities: vec![], freshness_ms: Some(30_000) };
    law.roles.insert(0, gateway);
    law.endorsers[0].roles.insert(0, "gateway".into());
    let mut mesh = Mesh::found(law);
    mesh.run(20_000);
    let [gateway, other] = [0, 1].map(|at| mesh.id(mesh.endorsers()[at]));
    let core = mesh.core(mesh.endorsers()[2]);
    let made = core.head().unwrap().time;
    let stale = |node, after_ms| core.effective(&node, made.plus(after_ms)).is_none();
    assert!(!stale(gateway, 30_000) && stale(gateway, 30_001), "the bound of its tightest role");
    assert!(!stale(other, 60_000) && stale(other, 60_001), "the bound of the charter");
}

#[test]
fn rule_9_6_a_clock_that_runs_backwards_is_reported_once_and_not_obeyed() {
    use frith_protocol::door::Alarm;
    use frith_protocol::time::Timestamp;
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(20_000);
    let key = mesh.endorsers()[0];
    let before = mesh.core(key).head().unwrap();
    let now = std::mem::replace(&mut mesh.now, Timestamp(5));
    mesh.input(key, Input::Tick);
    mesh.input(key, Input::Tick);
    mesh.now = now;
    let told = mesh.nodes[&key]
        .events
        .iter()
        .filter(|event| matches!(event, Event::Alarm(Alarm::ClockRanBack { .. })))
        .count();
    assert_eq!(told, 1);
    assert_eq!(mesh.core(key).head().unwrap().height, before.height);
    mesh.run(30_000);
    mesh.assert_equal_heads();
}

#[test]
fn rule_5_16_whoever_is_revoked_learns_it_from_the_proof_before_it_is_disconnected() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    revoke(&mut mesh, key);
    assert_eq!(mesh.core(key).phase(), Phase::Gone);
}

#[test]
fn rule_9_8_gossip_is_taken_from_whoever_was_admitted_in_the_very_block_that_is_lacking() {
    use frith_protocol::door::Message;
    use frith_protocol::identity::{BatchCheck, verify};
    use std::sync::Arc;
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.gossip = false;
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let behind = mesh.join(10, Some(ticket.clone()));
    mesh.run(2_000);
    let cut: Vec<_> = mesh.endorsers().into_iter().map(|endorser| (endorser, behind)).collect();
    mesh.cut.extend(cut);
    let forwarder = mesh.join(11, Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(forwarder).phase(), Phase::Following);
    assert_eq!(mesh.core(behind).standing_of(&forwarder), Standing::Stranger);

    let head = mesh.core(behind).head().unwrap().height;
    let chain = mesh.core(forwarder).chain().unwrap().since(head).expect("it admits the forwarder");
    let check = BatchCheck::new(<rand_chacha::ChaCha8Rng as rand_core::SeedableRng>::from_seed([1; 32]));
    let message = Arc::new(verify(Message::Final(Arc::new(chain)), &check).unwrap());
    mesh.input(behind, Input::Gossiped { from: forwarder, message });
    assert_eq!(mesh.core(behind).standing_of(&forwarder), Standing::Member);
}
