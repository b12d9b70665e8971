//! What a crash may not take, and what a peer may not claim.

use std::sync::Arc;

use frith_protocol::door::{Event, Input, Message, Phase, Standing};
use frith_protocol::identity::{BatchCheck, Inception, PublicKey, SecretKey, verify};
use frith_protocol::joining::Draft;
use frith_protocol::limits::{ANSWER_BYTES_BURST, PROPOSALS_MAX};
use frith_protocol::state::{Admit, BlockId, Grounds, Kind, Statement, Window};
use frith_protocol::time::Timestamp;
use rand_core::SeedableRng as _;

use super::mesh::{Mesh, charter};
use super::revoke;

#[test]
fn rule_9_9_whoever_lost_power_right_after_it_said_that_somebody_is_gone_says_so_still() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(2);
    let follower = mesh.join(10, Some(ticket.clone()));
    let thief = mesh.join(11, Some(ticket));
    mesh.run(5_000);
    assert_eq!(mesh.core(follower).standing_of(&thief), Standing::Member);
    revoke(&mut mesh, thief);
    assert_eq!(mesh.core(follower).standing_of(&thief), Standing::Gone);

    for key in [follower, mesh.endorsers()[0]] {
        mesh.lose_power(key);
        mesh.start(key);
        assert_eq!(mesh.core(key).standing_of(&thief), Standing::Gone);
    }
    mesh.lose_power(thief);
    mesh.start(thief);
    assert_eq!(mesh.core(thief).phase(), Phase::Gone);
}

#[test]
fn rule_9_9_whoever_lost_power_right_after_it_took_a_snapshot_has_it_still() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following);
    mesh.lose_power(key);
    mesh.start(key);
    assert_eq!(mesh.core(key).phase(), Phase::Following);
}

/// Somebody made up asks one endorser to be let in. Its key.
fn ask(mesh: &mut Mesh, endorser: PublicKey, name: u32) -> PublicKey {
    let secret = |which: u8| {
        let mut seed = [which; 32];
        seed[..4].copy_from_slice(&name.to_le_bytes());
        SecretKey::from_seed(seed)
    };
    let admit = Admit {
        subject: Inception::new(&secret(1), &secret(2).public()),
        number: 1,
        roles: vec!["server".into()],
        window: Window { from: mesh.now, until: mesh.now.plus(3_600_000) },
        basis: mesh.core(endorser).chain().unwrap().basis(),
        grounds: Grounds::Approval,
    };
    let statement = Statement { domain: mesh.any().domain(), kind: Kind::Admit(Box::new(admit)) };
    let draft = Draft { statement, shown: None, note: format!("number {name}") };
    tell(mesh, secret(1).public(), endorser, Message::AskEndorsement(Box::new(draft)));
    secret(1).public()
}

fn tell(mesh: &mut Mesh, from: PublicKey, to: PublicKey, message: Message) {
    let check = BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([1; 32]));
    let message = Arc::new(verify(message, &check).unwrap());
    mesh.input(to, Input::Received { from, message });
}

fn waits(mesh: &Mesh, endorser: PublicKey, note: &str) -> bool {
    mesh.core(endorser).proposals().any(|(_, proposal)| proposal.note == note)
}

#[test]
fn rule_5_17_a_crowd_that_asks_and_goes_takes_no_place_from_whoever_stays() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let endorser = mesh.endorsers()[0];
    for name in 0..PROPOSALS_MAX as u32 / 2 {
        let key = ask(&mut mesh, endorser, name);
        if name == 0 {
            mesh.input(endorser, Input::Connected(key));
        }
    }
    assert!(waits(&mesh, endorser, "number 1"));
    mesh.join(10, None);
    mesh.run(2_000);
    assert!(waits(&mesh, endorser, "node 10"), "the newcomer found no place");
    assert!(waits(&mesh, endorser, "number 0"), "whoever is connected lost its place");
    let lapsed = mesh.nodes[&endorser].events.iter().filter(|event| matches!(event, Event::Lapsed { .. }));
    assert_eq!(lapsed.count(), 1);

    for name in 1_000..2_000 {
        ask(&mut mesh, endorser, name);
    }
    assert!(waits(&mesh, endorser, "node 10"), "the crowd took its place");
    mesh.stop(endorser);
    mesh.start(endorser);
    assert_eq!(mesh.core(endorser).proposals().count(), PROPOSALS_MAX / 2, "what gave way is in the store");
}

#[test]
fn rule_9_10_a_member_that_asks_again_and_again_is_sent_its_ration_and_then_the_newest_answer() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(2);
    let (greedy, other) = (mesh.join(10, Some(ticket.clone())), mesh.join(11, Some(ticket)));
    mesh.run(5_000);
    let endorser = mesh.endorsers()[0];
    mesh.cut.insert((greedy, endorser));
    mesh.bytes.clear();
    let question = || Message::AskSnapshot { head: BlockId::NONE, chunk: 0, lean: false };
    for _ in 0..20_000 {
        tell(&mut mesh, greedy, endorser, question());
    }
    mesh.run(100);
    let had = mesh.bytes[&greedy] as u64;
    assert!((ANSWER_BYTES_BURST..ANSWER_BYTES_BURST * 11 / 10).contains(&had), "{had} bytes");
    mesh.bytes.clear();
    tell(&mut mesh, other, endorser, question());
    mesh.run(100);
    assert!(mesh.bytes.contains_key(&other), "whoever did not ask too much waits, too");
}

#[test]
fn rule_9_5_a_clock_far_behind_the_newest_block_does_not_keep_it_young() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(60_000);
    let (key, node) = (mesh.endorsers()[0], mesh.id(mesh.endorsers()[0]));
    let made = mesh.core(key).head().unwrap().time;
    let behind = 2 * mesh.founded.charter.timing.skew_ms;
    let answers = |at: u64| mesh.core(key).effective(&node, Timestamp(at)).is_some();
    assert!(answers(made.0 - behind), "within the skew");
    assert!(!answers(made.0 - behind - 1));
}
