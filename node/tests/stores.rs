//! A node's store against real processes: whose it is, what is damaged or lost, and a disk that is full.

use std::fs;
use std::io::Write;
use std::process::Command;

use frith_protocol::joining::Ticket;
use serde_json::Value;

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
