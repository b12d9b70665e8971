//! Whole stories on real processes, real sockets and real stores.
//!
//! What one node and its directory do by themselves is tested beside the node (`node/tests/commands.rs`): a port in use, a second `run` on one
//! directory, a store of another node, damaged records, a full disk.

use std::fs;

use frith_tests::harness::{Fleet, ReadOnly, text};
use serde_json::json;

const FOUNDERS: [&str; 4] = ["a", "b", "c", "d"];

fn founded(more: &[&str]) -> Fleet {
    let mut fleet = Fleet::new();
    fleet.found(&FOUNDERS, more);
    for name in FOUNDERS {
        fleet.run(name);
    }
    fleet.until("all founders are connected and at work", &FOUNDERS, |status| {
        status["endorsers"]["connected"] == 4 && status["head"]["height"].as_u64() >= Some(1)
    });
    fleet
}

#[test]
fn four_founders_admit_by_ticket_and_by_approval_lose_one_of_them_and_revoke_a_member() {
    let mut fleet = founded(&["--faults", "1", "--admit", "3"]);
    let ticket = fleet.invite(&["a", "b", "c"], 2);
    fs::write(fleet.file("ticket"), &ticket).unwrap();

    // By ticket; while one founder is killed, whatever it is in the middle of.
    fleet.init("e");
    fleet.start("e", &["join", "ticket"]);
    fleet.kill("d");
    fleet.ok("e", &["wait", "member", "--timeout", "60s"]);

    // The other three go on: one more by ticket, one by approval.
    fleet.init("f");
    fleet.start("f", &["join", "ticket"]);
    fleet.ok("f", &["wait", "member", "--timeout", "60s"]);
    let anchor = fleet.ok("a", &["anchor"]);
    fleet.init("g");
    fleet.start("g", &["join", anchor.trim(), "--role", "member", "--note", "the printer in the hall"]);
    fleet.endorse(&["a", "b", "c"], "admission");
    fleet.ok("g", &["wait", "member", "--timeout", "60s"]);

    // It comes back, catches up, and has not contradicted itself.
    fleet.run("d");
    let everybody = ["a", "b", "c", "d", "e", "f", "g"];
    fleet.until("everybody knows all seven", &everybody, |status| status["members"] == 7);
    let status = fleet.json("d", &["status"]);
    assert!(status["journal_lost"].is_null(), "{status}");
    fleet.until_heads_are_equal(&everybody, 4);

    // One is revoked: out everywhere, and stays out.
    let (e, f) = (fleet.id("e"), fleet.id("f"));
    fleet.ok("a", &["revoke", &e, "--reason", "compromised", "--note", "stolen"]);
    fleet.endorse(&["b"], "revocation");
    for name in ["a", "b", "c", "d", "f", "g"] {
        fleet.ok(name, &["wait", "gone", &e, "--timeout", "60s"]);
    }
    fleet.until("the revoked one knows it", &["e"], |status| status["phase"] == "gone");
    // Stopped, and not killed: what others can restore need not be on the disk at once, and nobody tells it a second time.
    assert_eq!(fleet.stop("e"), 0);
    fleet.run("e");
    fleet.until("the revoked one is still out", &["e"], |status| status["phase"] == "gone");
    let why = fleet.ok("g", &["why", &e]);
    assert!(why.contains("Revoked for good") && why.contains("compromised"), "{why}");
    assert!(fleet.ok("g", &["why", &f]).contains("by ticket"));
    let others = ["a", "b", "c", "d", "f", "g"];
    fleet.until("six are left", &others, |status| status["members"] == 6 && status["gone"] == 1);
    fleet.until_heads_are_equal(&others, 5);
    for name in others {
        assert_eq!(fleet.stop(name), 0, "{name}");
    }
}

#[test]
fn a_log_without_its_quorum_stands_still_says_so_and_goes_on_when_one_returns() {
    let mut fleet = founded(&["--faults", "1"]);
    let ticket = fleet.invite(&["a", "b"], 1);
    fs::write(fleet.file("ticket"), &ticket).unwrap();
    fleet.kill("c");
    fleet.kill("d");
    fleet.init("e");
    fleet.start("e", &["join", "ticket"]);
    fleet.until("it has endorsements, and no block", &["e"], |status| {
        status["phase"] == "joining"
            && status["joining"][0] == status["joining"][1]
            && status["joining"][0] == 2
    });
    // Three endorsers of four make a block; one that comes back is enough.
    fleet.run("d");
    fleet.ok("e", &["wait", "member", "--timeout", "80s"]);
    fleet.run("c");
    fleet.until_heads_are_equal(&["a", "b", "c", "d", "e"], 2);
}

#[test]
fn every_endorser_may_be_killed_in_turn_while_newcomers_join() {
    let mut fleet = founded(&["--faults", "1"]);
    let ticket = fleet.invite(&["a", "b"], 4);
    fs::write(fleet.file("ticket"), &ticket).unwrap();
    let mut everybody: Vec<String> = FOUNDERS.map(str::to_owned).to_vec();
    for (founder, newcomer) in FOUNDERS.iter().zip(["e", "f", "g", "h"]) {
        fleet.init(newcomer);
        fleet.start(newcomer, &["join", "ticket"]);
        fleet.kill(founder);
        fleet.ok(newcomer, &["wait", "member", "--timeout", "60s"]);
        fleet.run(founder);
        fleet.until("it is back", &[founder], |status| status["endorsers"]["connected"].as_u64() >= Some(3));
        everybody.push(newcomer.to_owned());
    }
    let names: Vec<&str> = everybody.iter().map(String::as_str).collect();
    fleet.until("everybody knows all eight", &names, |status| status["members"] == 8);
    fleet.until_heads_are_equal(&names, 4);
    for name in FOUNDERS {
        let status = fleet.json(name, &["status"]);
        assert!(status["journal_lost"].is_null() && status["halted"].is_null(), "{name}: {status}");
    }
}

#[test]
fn an_endorser_is_suspended_by_two_keeps_its_vote_and_endorses_again_once_three_have_released_it() {
    let mut fleet = founded(&["--faults", "1", "--admit", "3"]);
    let d = fleet.id("d");
    let of_d = |fleet: &Fleet, name: &str| {
        let members = fleet.json(name, &["members"]);
        let members = members.as_array().or_else(|| members["members"].as_array()).expect("a list").clone();
        members.into_iter().find(|member| member["node"] == d.as_str()).expect("it stands")
    };
    fleet.ok(
        "a",
        &["suspend", &d, "--for", "8h", "--reason", "misbehaved", "--note", "until it is looked at"],
    );
    fleet.endorse(&["b"], "suspension");
    fleet.until("it knows that it is suspended", &["d"], |status| status["phase"] == "restrained");
    fleet.until_heads_are_equal(&FOUNDERS, 2);
    for name in FOUNDERS {
        assert_eq!(of_d(&fleet, name)["effective"], "suspended", "at {name}");
    }
    let why = fleet.ok("c", &["why", &d]);
    assert!(why.contains("Suspended at height") && why.contains("misbehaved"), "{why}");
    let refused = fleet.refusal("d", &["invite", "--role", "member"]);
    assert!(refused.code == 1 && refused.why.contains("suspended"), "{refused:?}");

    // Without its vote, three of four would be two: the log goes on by it, and so does its own release.
    fleet.kill("c");
    let high = fleet.json("a", &["status"])["head"]["height"].as_u64().expect("a height");
    fleet.ok("a", &["wait", "height", &(high + 2).to_string(), "--timeout", "60s"]);
    fleet.run("c");
    fleet.ok("a", &["release", &d, "--note", "it was the cable"]);
    fleet.endorse(&["b", "c"], "release");
    fleet.until("it knows that it is released", &["d"], |status| status["phase"] == "endorsing");
    fleet.until_heads_are_equal(&FOUNDERS, high + 2);
    for name in FOUNDERS {
        assert_eq!(of_d(&fleet, name)["effective"], "yes", "at {name}");
    }
    let again = fleet.refusal("a", &["release", &d]);
    assert!(again.code == 1 && again.why.contains("is not suspended"), "{again:?}");
    // Its endorsement counts again: the third of three.
    let ticket = fleet.invite(&["d", "a", "b"], 1);
    assert!(ticket.starts_with("frith-ticket-"), "{ticket}");
}

#[test]
fn a_suspension_lapses_by_itself_for_the_member_and_for_whoever_is_connected_to_it() {
    let mut fleet = Fleet::new();
    fleet.found(&["a"], &[]);
    fleet.run("a");
    fleet.until("the founder is at work", &["a"], |status| status["head"]["height"].as_u64() >= Some(1));
    let ticket = fleet.invite(&["a"], 1);
    fs::write(fleet.file("ticket"), &ticket).unwrap();
    fleet.init("e");
    fleet.start("e", &["join", "ticket"]);
    fleet.ok("e", &["wait", "member", "--timeout", "60s"]);
    let e = fleet.id("e");
    let key = fleet.json("e", &["status"])["key"].clone();
    fleet.ok("a", &["suspend", &e, "--for", "5s"]);
    fleet.until_logged("a", "suspension");
    fleet.until("they are as before", &["a"], |status| {
        let peers = status["net"]["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["key"] == key).any(|peer| peer["standing"] == "member")
    });
    fleet.until("it knows it", &["e"], |status| status["phase"] == "following");
    fleet.until_heads_are_equal(&["a", "e"], 3);
    let log = fleet.json("a", &["log"]);
    let newest = log.as_array().into_iter().flatten().find(|block| block["entries"] != json!([]));
    assert_eq!(newest.expect("there are entries")["entries"][0]["kind"], "suspension", "{log}");
}

#[test]
fn a_member_renews_by_itself_and_operators_admit_it_anew_with_another_role() {
    let mut fleet = Fleet::new();
    let short = ["--timing", "member-lifetime=40s", "--timing", "heartbeat=2s", "--timing", "freshness=10m"];
    let roles = ["--role", "member", "--role", "gateway"];
    fleet.found(&["a", "b"], &[&short[..], &roles[..]].concat());
    fleet.run("a");
    fleet.run("b");
    fleet.until("the founders are at work", &["a", "b"], |status| status["endorsers"]["connected"] == 2);
    let ticket = fleet.invite(&["a", "b"], 1);
    fs::write(fleet.file("ticket"), &ticket).unwrap();
    fleet.init("e");
    fleet.start("e", &["join", "ticket"]);
    fleet.ok("e", &["wait", "member", "--timeout", "60s"]);
    let told = fleet.json("e", &["renew"]);
    assert_eq!((&told["begun"], &told["admission"]["lapsed"]), (&json!(false), &json!(false)), "{told}");
    let of_a_seat = fleet.refusal("a", &["renew"]);
    assert!(of_a_seat.code == 1 && of_a_seat.why.contains("a seat never lapses"), "{of_a_seat:?}");

    fleet.until("it has renewed by itself", &["e"], |status| {
        status["admission"]["number"].as_u64() >= Some(2)
    });
    let early = fleet.refusal("e", &["renew", "--now"]);
    assert!(early.code == 1 && early.why.contains("half of its window"), "{early:?}");
    let e = fleet.id("e");
    let why = fleet.ok("a", &["why", &e]);
    assert!(why.contains("Renewed at height"), "{why}");
    assert!(fleet.ok("e", &["status"]).contains("renews by itself"), "{}", fleet.ok("e", &["status"]));

    fleet.ok("a", &["readmit", &e, "--role", "gateway", "--note", "it has a second interface now"]);
    fleet.endorse(&["b"], "admission");
    fleet.until("it has its new role", &["e"], |status| status["roles"] == json!(["gateway"]));
    let why = fleet.ok("b", &["why", &e]);
    assert!(why.contains("the endorsers' operators"), "{why}");
}

#[test]
fn a_store_from_the_future_is_refused_and_left_as_it_was() {
    let fleet = Fleet::new();
    fleet.found(&["a"], &[]);
    let label = fleet.dir("a").join("store/label");
    let text = fs::read_to_string(&label).unwrap();
    let newer = text.replace("format = 1", "format = 2");
    assert_ne!(newer, text);
    fs::write(&label, &newer).unwrap();
    let refused = fleet.refusal("a", &["run"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.why.contains("format 2") && refused.why.contains("use a newer frith"), "{refused:?}");
    assert_eq!(fs::read_to_string(&label).unwrap(), newer);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let fleet = Fleet::new();
    // A file where the directory should be: the same for whoever runs the tests.
    fs::write(fleet.dir("a"), "").unwrap();
    let refused = fleet.refusal("a", &["init"]);
    assert!(refused.code == 2 && refused.why.contains("machine-a"), "{refused:?}");

    let Some(disk) = ReadOnly::mount() else {
        eprintln!("skipped: mounting a read-only file system needs more rights");
        return;
    };
    let dir = disk.path().join("node");
    let output = fleet.command("a", &["init", "--dir"]).arg(&dir).output().unwrap();
    let why = text(&output.stderr);
    assert!(!output.status.success() && why.contains(&dir.display().to_string()), "{why}");
}
