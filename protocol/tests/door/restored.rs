//! What becomes of a node that comes back with its keys and the charters that it knew, and nothing else: no journal, no voting key, no block.

use std::collections::BTreeMap;

use frith_protocol::door::{Command, Event, Input, Phase, Table, returning_record};
use frith_protocol::identity::PublicKey;
use frith_protocol::state::{Effective, Kind, Reason, Revoke, Statement, Subject};

use crate::mesh::Mesh;

/// Ends a node, and leaves it what a backup of then has.
fn lose_all_but_a_backup(mesh: &mut Mesh, key: PublicKey) {
    let height = mesh.core(key).head().expect("it has a head").height;
    mesh.stop(key);
    let node = mesh.nodes.get_mut(&key).unwrap();
    node.keys.voting.clear();
    let kept = |table: &Table| matches!(table, Table::Meta | Table::Charters);
    let mut disk: BTreeMap<_, _> =
        std::mem::take(&mut node.disk).into_iter().filter(|((table, _), _)| kept(table)).collect();
    let record = returning_record(height);
    disk.insert((record.table, record.key), record.value.unwrap());
    node.disk = disk;
}

#[test]
fn rule_9_4_a_founder_that_comes_back_without_its_log_starts_from_a_snapshot_though_all_others_have_rotated()
{
    let mut mesh = Mesh::of_four();
    let founders = mesh.endorsers();
    lose_all_but_a_backup(&mut mesh, founders[0]);
    for founder in &founders[1..] {
        mesh.rotate(*founder).unwrap();
        mesh.run(30_000);
    }
    mesh.start(founders[0]);
    mesh.connect(founders[0]);
    assert!(mesh.core(founders[0]).head().is_none(), "it claims to know nothing");
    mesh.run(30_000);
    assert_eq!(mesh.core(founders[0]).phase(), Phase::Endorsing);
    mesh.assert_equal_heads();
}

#[test]
fn rule_8_14_an_endorser_without_its_voting_key_hears_proposals_and_endorses_them() {
    let mut mesh = Mesh::of_four();
    let ticket = mesh.ticket(1);
    let member = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    let founders = mesh.endorsers();
    lose_all_but_a_backup(&mut mesh, founders[0]);
    mesh.start(founders[0]);
    mesh.connect(founders[0]);
    mesh.run(30_000);
    let revoke = Revoke { subject: mesh.id(member), reason: Reason::Compromised };
    let statement = Statement { domain: mesh.any().domain(), kind: Kind::Revoke(revoke) };
    let id = mesh.propose(Subject::Statement(statement), &founders[1..2]);
    let waits = |event: &Event| matches!(event, Event::Waiting { id: of, .. } if *of == id);
    assert!(mesh.nodes[&founders[0]].events.iter().any(waits), "its operator is asked");
    mesh.input(founders[0], Input::Command(Command::Endorse(id)));
    mesh.run(2_000);
    assert_eq!(mesh.any().state().unwrap().effective(&mesh.id(member), mesh.now), Effective::Gone);
}

#[test]
fn rule_5_18_whoever_comes_back_without_its_log_and_was_revoked_meanwhile_learns_it() {
    let mut mesh = Mesh::of_four();
    let ticket = mesh.ticket(1);
    let member = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    lose_all_but_a_backup(&mut mesh, member);
    let founders = mesh.endorsers();
    let revoke = Revoke { subject: mesh.id(member), reason: Reason::Compromised };
    mesh.decide(Kind::Revoke(revoke), &founders[..2]);
    mesh.start(member);
    mesh.connect(member);
    mesh.run(2_000);
    assert_eq!(mesh.core(member).phase(), Phase::Gone);
}

#[test]
fn rule_8_14_a_voting_key_that_is_put_back_without_its_journal_signs_nothing() {
    for before_it_started in [true, false] {
        let mut mesh = Mesh::of_four();
        let founders = mesh.endorsers();
        let (ash, voting) = (founders[0], mesh.nodes[&founders[0]].keys.voting.clone());
        lose_all_but_a_backup(&mut mesh, ash);
        if !before_it_started {
            mesh.start(ash);
            mesh.connect(ash);
            mesh.run(30_000);
            let lost = mesh.core(ash).status(mesh.now).journal_lost.expect("it has no key to vote with");
            assert!(lost.contains("a copy put here"), "{lost}");
            mesh.stop(ash);
        }
        mesh.nodes.get_mut(&ash).unwrap().keys.voting = voting.clone();
        for _ in 0..2 {
            mesh.start(ash);
            mesh.connect(ash);
            mesh.run(30_000);
            assert!(mesh.core(ash).status(mesh.now).journal_lost.is_some(), "{before_it_started}");
            mesh.stop(ash);
        }
    }
}
