//! Who counts and what is counted around a recovery: numbers, listeners, rotations, links, and the archive (SPEC 4.15, 9.10, 9.16, 9.21).

use std::sync::Arc;

use frith_protocol::door::{Error, Event, Input, Message, Table};
use frith_protocol::encoding::{decode, encode};
use frith_protocol::fault::Fault;
use frith_protocol::following::Proof;
use frith_protocol::identity::SecretKey;
use frith_protocol::limits;
use frith_protocol::state::{Block, Reason, Suspend};

use super::mesh::Mesh;
use super::recovery::{
    SILENCE_MS, bring, consent, destroyed, drafted, epoch, has, mesh, offline_keys, recovery, seating, signed,
};

#[test]
fn rule_9_16_whoever_is_connected_to_strangers_only_has_listened_to_nobody() {
    let (mut mesh, left, members) = destroyed();
    members.iter().for_each(|member| mesh.stop(*member));
    mesh.run(2 * SILENCE_MS);
    let chain = recovery(&mesh, left, &[left]);
    let thief = SecretKey::from_seed([99; 32]).public();
    mesh.input(left, Input::Connected(thief));
    mesh.tell(thief, left, Message::Final(Arc::new(chain)));
    mesh.run(2 * SILENCE_MS);
    assert_eq!(epoch(&mesh, left), 1);
    assert!(has(&mesh, left, |event| matches!(event, Event::RecoveryWaits { .. })));
    mesh.start(members[0]);
    mesh.connect(members[0]);
    mesh.run(SILENCE_MS);
    assert_eq!(epoch(&mesh, left), 2, "who stands in the log is somebody, though its admission may be over");
}

#[test]
fn rule_4_15_a_rotation_that_is_dropped_is_handed_in_again_and_whoever_rotated_gives_no_void_consent() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    let (left, rotated, other) = (endorsers[3], members[0], members[1]);
    let base = mesh.any().head().unwrap().height;
    let node = mesh.id(rotated);
    mesh.rotate(rotated).unwrap();
    mesh.run(10_000);
    let new = mesh.core(left).state().unwrap().key_of(&node).unwrap();
    assert_ne!(new, rotated);
    for lost in &endorsers[..3] {
        mesh.stop(*lost);
    }
    mesh.run(2 * SILENCE_MS);

    let charter = seating(&mesh, left, &[left, new]);
    let recover = mesh.core(left).draft_recovery(charter, Some(base), vec![], vec![]).unwrap();
    let refused = mesh.core(new).consent_to_recovery(&recover).unwrap_err().to_string();
    assert!(refused.contains("its key at the base was another"), "{refused}");

    let charter = seating(&mesh, left, &[left, other]);
    let mut recover = mesh.core(left).draft_recovery(charter, Some(base), vec![], vec![]).unwrap();
    consent(&mesh, &mut recover, &[left, other]);
    let block = mesh.core(left).recovery_block(recover, mesh.now).unwrap();
    let chain = signed(&mesh, block, &offline_keys()[..2]);
    bring(&mut mesh, left, &chain);
    // Nobody connects anew.
    mesh.run(120_000);
    assert_eq!(epoch(&mesh, new), 2);
    assert_eq!(mesh.core(left).state().unwrap().key_of(&node), Some(new));
}

#[test]
fn rule_4_15_a_recovery_numbers_a_suspension_little_above_the_last() {
    let (mut mesh, left, members) = destroyed();
    mesh.run(2 * SILENCE_MS);
    let suspend = |number| Suspend {
        subject: mesh.id(members[2]),
        number,
        until: mesh.now.plus(SILENCE_MS),
        reason: Reason::Compromised,
    };
    let block = |number| {
        let mut recover = drafted(&mesh, left, &[left, members[0]], None);
        recover.suspended = vec![suspend(number)];
        mesh.core(left).recovery_block(recover, mesh.now)
    };
    let most = limits::RECOVERY_SUSPENSIONS_MAX;
    for number in [1, most] {
        block(number).unwrap();
    }
    for number in [0, most + 1, u64::MAX] {
        let refused = block(number).unwrap_err();
        let wrong =
            Error::Refused(Fault::WrongNumber { subject: mesh.id(members[2]), theirs: number, expected: 1 });
        assert_eq!(refused, wrong);
    }
}

#[test]
fn rule_9_21_an_archive_answers_up_to_a_recovery_and_then_from_it() {
    let (mut mesh, members) = mesh();
    let endorsers = mesh.endorsers();
    let left = endorsers[3];
    mesh.archiving = true;
    for key in &endorsers {
        mesh.stop(*key);
        mesh.start(*key);
    }
    endorsers.iter().for_each(|key| mesh.connect(*key));
    mesh.run(30_000);
    for name in [20, 21] {
        let ticket = mesh.ticket(1);
        mesh.join(name, Some(ticket));
        mesh.run(30_000);
    }
    for lost in &endorsers[..3] {
        mesh.stop(*lost);
    }
    mesh.run(2 * SILENCE_MS);
    let chain = recovery(&mesh, left, &[left, members[0], members[1]]);
    bring(&mut mesh, left, &chain);
    mesh.run(60_000);
    assert_eq!(epoch(&mesh, left), 2);

    let archive = |mesh: &Mesh| {
        let disk = mesh.nodes[&left].disk.iter().filter(|((table, _), _)| *table == Table::Archive);
        disk.map(|((_, key), value)| (u64::from_be_bytes(key[..].try_into().unwrap()), value.clone()))
            .collect::<Vec<_>>()
    };
    let kept = archive(&mesh);
    let recovered = chain.blocks[0].header.height;
    assert!(
        kept.len() >= 3 && kept[1].0 < recovered,
        "{:?}",
        kept.iter().map(|(at, _)| at).collect::<Vec<_>>()
    );
    let records: Vec<Arc<[u8]>> = kept.into_iter().map(|(_, record)| record).collect();
    let answer = |mesh: &mut Mesh, height| {
        let before = mesh.sent.len();
        mesh.input(left, Input::LookedUp { to: members[0], height, records: records.clone() });
        let sent = mesh.sent[before..].iter().find(|(from, to, _)| (*from, *to) == (left, members[0]));
        let Some(Message::Final(chain)) = sent.map(|(_, _, message)| &**message) else {
            panic!("no chain: {sent:?}, {:?}", mesh.nodes[&left].refused.last())
        };
        chain.clone()
    };
    // The newest below the one that is asked for leads on to it.
    type Stored = (Arc<Block>, Option<Proof>);
    let (first, _): Stored = decode("a record", &records[0], limits::MESSAGE_BYTES_MAX).unwrap();
    let below = answer(&mut mesh, first.header.height);
    assert!(!below.blocks.iter().any(|block| block.recovers()), "a recovery certifies nothing below it");
    let last = below.blocks.last().unwrap().header.height;
    let alone = answer(&mut mesh, last);
    assert!(alone.blocks.len() == 1 && alone.blocks[0].recovers());
}

#[test]
fn rule_9_10_links_and_charters_are_rationed_for_strangers_too() {
    let (mut mesh, left, members) = destroyed();
    mesh.run(2 * SILENCE_MS);
    let chain = recovery(&mesh, left, &[left, members[0]]);
    bring(&mut mesh, left, &chain);
    mesh.run(30_000);
    assert_eq!(epoch(&mesh, left), 2);
    let charter = mesh.founded.charter.id();
    for question in [Message::AskLinks { epoch: 1 }, Message::AskCharter(charter)] {
        let stranger = SecretKey::from_seed([98; 32]).public();
        mesh.input(left, Input::Connected(stranger));
        let mut had = 0;
        loop {
            let sent = mesh.tell(stranger, left, question.clone());
            let Some((_, answer)) = sent.iter().find(|(to, _)| *to == stranger) else { break };
            had += encode(&**answer).len() as u64;
            mesh.sent.clear();
            assert!(had <= 2 * limits::ANSWER_BYTES_BURST, "it is sent whatever it asks for");
        }
        assert!(had > limits::ANSWER_BYTES_BURST / 2, "{had} bytes at once are little");
        mesh.input(left, Input::Disconnected(stranger));
        // Until all is forgiven.
        mesh.run(10_000);
    }
}
