//! A node's store against real processes: whose it is, what is damaged or lost, and a disk that is full.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use frith_protocol::joining::Ticket;
use serde_json::{Value, json as value};

mod processes;

use processes::*;

#[test]
fn a_store_in_use_names_the_process_that_uses_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "twice");
    let first = Running::start(&dir, &["run"]);
    let (code, why) = refusal(&dir, &["run"]);
    let pid = format!("in use by process {}", first.child.id());
    assert!(code == 2 && why.contains(&pid), "{why}");
}

#[test]
fn a_store_of_another_node_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (one, other) = (found_alone(root.path(), "one"), new_node(root.path(), "other"));
    fs::rename(one.join("store"), other.join("store")).unwrap();
    let (code, why) = refusal(&other, &["run"]);
    assert!(code == 2 && why.contains("the store belongs to node"), "{why}");
}

#[test]
fn a_record_that_was_damaged_on_the_disk_is_named_set_aside_and_restored_from_peers() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member", "--uses", "2"]);
    let guest = root.path().join("guest");
    let join = ["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"];
    let runs = Running::start(&guest, &join);
    runs.wait(&["member"]);
    // Two blocks with entries, of which the guest holds the second as a block.
    let second = Running::start(&root.path().join("second"), &join);
    second.wait(&["member"]);
    let head = json(&alone, &["log"])[0]["height"].to_string();
    runs.wait(&["height", &head]);
    let log = json(&guest, &["log"]);
    assert_eq!(runs.stop(), 0);

    let tables = sled::open(guest.join("store/tables")).unwrap();
    let tree = tables.open_tree("final").unwrap();
    let (key, value) = tree.first().unwrap().unwrap();
    let mut damaged = value.to_vec();
    damaged[10] ^= 4;
    tree.insert(&key, damaged).unwrap();
    drop((tree, tables));

    let again = Running::start(&guest, &["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let damage = json(&guest, &["status"])["damage"][0].as_str().unwrap().to_string();
    assert!(damage.contains("table Final is damaged") && damage.contains("checksum"), "{damage}");
    assert_eq!(fs::read_dir(guest.join("store/quarantine")).unwrap().count(), 1);
    again.wait(&["height", &head]);
    assert_eq!(json(&guest, &["log"]), log);
    assert_eq!(json(&guest, &["status"])["members"], 3);
    assert_eq!((again.stop(), second.stop(), founder.stop()), (0, 0, 0));
}

#[test]
fn a_founder_whose_tables_are_lost_does_not_begin_at_genesis_again() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    founder.wait(&["height", "1"]);
    assert_eq!(founder.stop(), 0);
    fs::remove_dir_all(alone.join("store/tables")).unwrap();
    // Nor later, when nothing is missing any more that was there.
    for _ in 0..2 {
        let founder = Running::start(&alone, &["run"]);
        let status = json(&alone, &["status"]);
        assert_eq!((&status["phase"], &status["head"]), (&value!("syncing"), &Value::Null), "{status}");
        assert_eq!(founder.stop(), 0);
    }
}

#[test]
fn an_endorser_whose_journal_is_gone_says_so_and_what_it_means() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "amnesia");
    let node = Running::start(&dir, &["run"]);
    node.wait(&["height", "1"]);
    assert_eq!(node.stop(), 0);
    fs::remove_file(dir.join("store/journal")).unwrap();
    let node = Running::start(&dir, &["run"]);
    let status = json(&dir, &["status"]);
    assert!(status["journal_lost"].as_str().unwrap().contains("the file is missing"), "{status}");
    assert!(node.log().contains("it signs nothing more"), "{}", node.log());
    assert_eq!(node.stop(), 0);
    // Lost once is lost: a new file does not pass for the old one.
    let node = Running::start(&dir, &["run"]);
    assert!(!json(&dir, &["status"])["journal_lost"].is_null());
    assert_eq!(node.stop(), 0);
}

/// Puts the archive of `from` in the place of that of `to`, but for the block at `lost`. Neither runs.
fn copy_archive(from: &Path, to: &Path, lost: Option<u64>) {
    let [from, to] = [from, to].map(|dir| sled::open(dir.join("store/tables")).unwrap());
    let [from, to] = [&from, &to].map(|tables| tables.open_tree("archive").unwrap());
    for item in from.iter() {
        let (key, value) = item.unwrap();
        to.insert(&key, value).unwrap();
        if lost.is_some_and(|lost| key[..] == lost.to_be_bytes()) {
            to.remove(&key).unwrap();
        }
    }
}

#[test]
fn a_log_that_does_not_reach_back_says_what_is_missing_and_an_archive_fills_it() {
    let root = tempfile::tempdir().unwrap();
    let keeps_all = |dir: &Path| {
        let file = dir.join("frith.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace("archive = false", "archive = true"))
            .unwrap();
    };
    let alone = found_alone(root.path(), "alone");
    keeps_all(&alone);
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member", "--uses", "5"]);
    let join = ["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"];
    let exits = [&join[..], &["--exit"]].concat();
    for name in ["first", "second"] {
        ok(&root.path().join(name), &exits);
    }
    // Newcomers take the state with which a charter begins.
    ok(&alone, &["amend", "--fresh-keys"]);
    founder.wait(&["epoch", "2"]);
    let guest = new_node(root.path(), "guest");
    keeps_all(&guest);
    let runs = Running::start(&guest, &join);
    runs.wait(&["member"]);
    let log = json(&alone, &["log", "--since", "0"]);
    let heights: Vec<u64> =
        log.as_array().unwrap().iter().map(|block| block["height"].as_u64().unwrap()).collect();
    let [first, second, third, last] = heights[..] else { panic!("there are four blocks: {log}") };
    runs.wait(&["height", &last.to_string()]);

    // It began at some state, and has nothing before that.
    let newest_first = |log: &Value| log.as_array().unwrap().iter().rev().cloned().collect::<Vec<_>>();
    let since = |height: u64| json(&guest, &["log", "--since", &height.to_string()]);
    let all = since(0);
    let begins = all[0]["missed"]["up_to"].as_u64().expect("it says what is missing");
    assert_eq!(all[0], serde_json::json!({ "missed": { "above": 0, "up_to": begins } }));
    assert!(begins >= third, "{all}");
    assert_eq!(newest_first(&all), *json(&guest, &["log"]).as_array().unwrap());
    assert_eq!(since(second)[0], serde_json::json!({ "missed": { "above": second, "up_to": begins } }));
    assert!(since(begins).as_array().unwrap().iter().all(|item| item["missed"].is_null()));
    let before_all = json(&guest, &["log", "--since", "1h"]);
    assert_eq!(before_all, all, "of the time before that it knows as little");
    let words = ok(&guest, &["log"]);
    assert!(words.contains(&format!(
        "missed: this node does not hold the blocks above height 0 up to height {begins};"
    )));
    let moment = format!("@{}", log[3]["time"]);
    assert_eq!(
        json(&guest, &["log", "--since", &moment]),
        serde_json::json!([]),
        "nothing came after that, and it knows"
    );
    let mut watch =
        command(&guest, &["watch", "--json", "--since", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(watch.stdout.take().unwrap()).read_line(&mut line).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&told["what"], &told["blocks"]), (&"missed".into(), &all[0]["missed"]), "{told}");
    assert_eq!((runs.stop(), founder.stop()), (0, 0));

    // What it lacked it may have in its archive.
    copy_archive(&alone, &guest, None);
    let runs = Running::start(&guest, &["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!(since(0), log);
    assert_eq!(newest_first(&json(&guest, &["log"])), *log.as_array().unwrap());
    assert_eq!(
        json(&guest, &["log", "--since", "0", "--below", &third.to_string()]),
        serde_json::json!([log[0], log[1]])
    );
    assert_eq!(
        json(&guest, &["log", "--below", &third.to_string(), "--limit", "1"]),
        serde_json::json!([log[1]])
    );
    for block in log.as_array().unwrap() {
        let after = json(&guest, &["log", "--since", &format!("@{}", block["time"])]);
        let newer = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|other| other["height"].as_u64() > block["height"].as_u64());
        assert_eq!(after.as_array().unwrap().iter().collect::<Vec<_>>(), newer.collect::<Vec<_>>());
    }
    assert_eq!(runs.stop(), 0);

    // A gap in it shows, wherever it is.
    copy_archive(&alone, &guest, Some(second));
    let runs = Running::start(&guest, &["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let gap = serde_json::json!({ "missed": { "above": first, "up_to": third - 1 } });
    assert_eq!(since(0), serde_json::json!([log[0], gap, log[2], log[3]]));
    assert_eq!(since(first), serde_json::json!([gap, log[2], log[3]]));
    assert_eq!(newest_first(&json(&guest, &["log"])), *since(0).as_array().unwrap());
    assert_eq!(runs.stop(), 0);
    copy_archive(&alone, &guest, Some(first));
    let runs = Running::start(&guest, &["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let gap = serde_json::json!({ "missed": { "above": 0, "up_to": second - 1 } });
    assert_eq!(since(0)[0], gap);
    assert_eq!(json(&guest, &["log"]).as_array().unwrap().last(), Some(&gap));
    assert_eq!(runs.stop(), 0);
}

/// A small file system of its own, where the one who runs the tests may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=6m", "tmpfs"];
        let output = Command::new("mount").args(mount).arg(dir.path()).output();
        output.is_ok_and(|output| output.status.success()).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(self.0.path()).status().unwrap().success());
    }
}

#[test]
fn a_full_disk_stops_the_node_with_an_error_and_loses_nothing_that_was_acknowledged() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a small disk needs more rights");
        return;
    };
    let dir = found_alone(disk.0.path(), "full");
    let node = Running::start(&dir, &["run"]);
    let mut tickets = vec![ok(&dir, &["invite", "--role", "member", "--json"])];

    let mut ballast = fs::File::create(disk.0.path().join("ballast")).unwrap();
    let block = vec![0; 4096];
    while ballast.write_all(&block).is_ok() {}
    // What is acknowledged after this had found a last bit of room.
    loop {
        let output = frith(&dir, &["invite", "--role", "member", "--json"]);
        if !output.status.success() {
            break;
        }
        tickets.push(text(&output.stdout));
        assert!(tickets.len() < 500, "the disk never filled up");
    }
    // The next heartbeat, at the latest, cannot be stored.
    let (code, said) = node.ends();
    assert!(code == 1 && said.contains("make room"), "{code}: {said}");
    drop(ballast);
    fs::remove_file(disk.0.path().join("ballast")).unwrap();

    let again = Running::start(&dir, &["run"]);
    let status = json(&dir, &["status"]);
    assert!(status["journal_lost"].is_null(), "{status}");
    for ticket in tickets {
        let ticket: Value = serde_json::from_str(&ticket).unwrap();
        let printed = json(&dir, &["invite", "--ticket", ticket["id"].as_str().unwrap()]);
        let parsed = |one: &Value| one["ticket"].as_str().unwrap().parse::<Ticket>().unwrap();
        let (before, after) = (parsed(&ticket), parsed(&printed));
        // All but the addresses: it listens elsewhere now.
        assert_eq!(after, Ticket { addresses: after.addresses.clone(), ..before });
    }
    assert_eq!(again.stop(), 0);
}
