//! Nodes that rotate their keys, as real processes: nobody drops out, and `kill -9` leaves one key.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use frith_tests::harness::Fleet;

const FOUNDERS: [&str; 4] = ["a", "b", "c", "d"];

/// Four founders and a member.
fn mesh() -> Fleet {
    let mut fleet = Fleet::new();
    fleet.found(&FOUNDERS, &["--faults", "1", "--admit", "3"]);
    for name in FOUNDERS {
        fleet.run(name);
    }
    fleet.until("all founders are connected and at work", &FOUNDERS, |status| {
        status["endorsers"]["connected"] == 4 && status["head"]["height"].as_u64() >= Some(1)
    });
    join(&mut fleet, "e");
    fleet
}

fn join(fleet: &mut Fleet, name: &str) {
    let ticket = fleet.invite(&["a", "b", "c"], 1);
    fs::write(fleet.file("ticket"), &ticket).unwrap();
    fleet.init(name);
    fleet.start(name, &["join", "ticket"]);
    fleet.ok(name, &["wait", "member", "--timeout", "60s"]);
}

fn until_all_is_well(fleet: &Fleet, names: &[&str], sequence: u64) {
    fleet.until("everybody has its new key, and is connected", names, |status| {
        status["key_sequence"] == sequence
            && status["rotating"] == false
            && status["endorsers"]["connected"] == 4
            && status["members"] == names.len()
            && status["stale"] == false
    });
    fleet.until_heads_are_equal(names, 1);
}

fn keys_of(fleet: &Fleet, name: &str) -> BTreeSet<String> {
    let files = fs::read_dir(fleet.dir(name).join("keys")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_key_of_a_running_mesh_is_rotated_with_nobody_dropping_out() {
    let mut fleet = mesh();
    let all = ["a", "b", "c", "d", "e"];
    let before = fleet.json("e", &["status"]);
    // One after the other: the log goes on meanwhile.
    for name in all {
        let rotated = fleet.json(name, &["rotate"]);
        assert_eq!((&rotated["sequence"], &rotated["final"]), (&1.into(), &true.into()), "{rotated}");
    }
    until_all_is_well(&fleet, &all, 1);
    let after = fleet.json("e", &["status"]);
    assert_eq!(before["node"], after["node"], "who it is does not change");
    assert_ne!(before["key"], after["key"]);
    // All at once.
    let commands: Vec<_> = all
        .map(|name| fleet.command(name, &["rotate"]).stdout(Stdio::null()).spawn().unwrap())
        .into_iter()
        .collect();
    for command in commands {
        assert!(command.wait_with_output().unwrap().status.success());
    }
    until_all_is_well(&fleet, &all, 2);
    // Endorsers that have rotated twice admit a newcomer, and find one another after a restart.
    join(&mut fleet, "f");
    for name in ["a", "e"] {
        assert_eq!(fleet.stop(name), 0, "{name}");
        fleet.run(name);
    }
    fleet.until("everybody knows all six", &["a", "b", "c", "d", "e", "f"], |status| {
        status["members"] == 6 && status["endorsers"]["connected"] == 4
    });
    fleet.until_heads_are_equal(&["a", "b", "c", "d", "e", "f"], 1);
    let text = fleet.ok("b", &["log"]);
    assert!(text.contains("number 2"), "{text}");
}

#[test]
fn a_node_that_is_killed_while_it_rotates_comes_out_with_one_key() {
    let mut fleet = mesh();
    for (round, name) in [(1, "b"), (1, "e"), (2, "b"), (2, "e")] {
        fleet.ok(name, &["rotate", "--wait", "0s"]);
        fleet.kill(name);
        fleet.run(name);
        fleet.until("the rotation is final", &[name], |status| {
            status["key_sequence"] == round && status["rotating"] == false
        });
        fleet.until("it is connected", &[name], |status| {
            status["endorsers"]["connected"] == 4 && status["stale"] == false
        });
        fleet.until_heads_are_equal(&["a", "b", "c", "d", "e"], 1);
        let files = keys_of(&fleet, name);
        assert!(files.iter().all(|file| !file.contains("new")), "{files:?}");
        let status = fleet.json(name, &["status"]);
        assert!(status["journal_lost"].is_null(), "{status}");
    }
}

#[test]
fn a_next_key_that_was_moved_away_is_asked_for_by_name() {
    let fleet = mesh();
    let (place, elsewhere) = (fleet.dir("e").join("keys/next.key"), fleet.file("offline.key"));
    fs::rename(&place, &elsewhere).unwrap();
    let refused = fleet.refusal("e", &["rotate"]);
    assert!(refused.why.contains("--next-key"), "{refused:?}");
    let status = fleet.json("e", &["status"]);
    assert_eq!((&status["key_sequence"], &status["rotating"]), (&0.into(), &false.into()));
    fleet.ok("e", &["rotate", "--next-key", "offline.key"]);
    assert!(place.exists(), "the key after it lies where it was made");
    until_all_is_well_for(&fleet, "e");
}

fn until_all_is_well_for(fleet: &Fleet, name: &str) {
    fleet.until("it is back", &[name], |status| {
        status["key_sequence"] == 1 && status["endorsers"]["connected"] == 4
    });
}
