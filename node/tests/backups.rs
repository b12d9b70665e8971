//! `frith backup` and `frith restore` against real processes: what comes back, and what an endorser that comes back does not do.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

mod processes;

use processes::*;

/// Four founders, one of whom may be faulty, all at work and connected.
fn four(root: &Path) -> (Vec<PathBuf>, Vec<Running>) {
    let dirs = found(root, &["ash", "birch", "cedar", "doug"]);
    let first = Running::start(&dirs[0], &["run"]);
    let address = json(&dirs[0], &["status"])["net"]["listening"][0].as_str().unwrap().to_string();
    let rest = dirs[1..].iter().map(|dir| Running::start(dir, &["run", "--peer", &address]));
    let nodes: Vec<Running> = std::iter::once(first).chain(rest.collect::<Vec<_>>()).collect();
    for node in &nodes {
        node.until("it knows where all others are", |status| status["remembered"] == 3);
        node.wait(&["peers", "3"]);
    }
    (dirs, nodes)
}

/// The height of the head plus so much.
fn height(dir: &Path, more: u64) -> String {
    (json(dir, &["status"])["head"]["height"].as_u64().unwrap() + more).to_string()
}

fn backup(dir: &Path, file: &Path) -> Value {
    json(dir, &["backup", "--out", file.to_str().unwrap()])
}

#[test]
fn an_endorser_from_an_old_backup_signs_no_block_says_why_and_votes_again_under_a_fresh_key() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, mut nodes) = four(root.path());
    let doug = nodes.pop().unwrap();
    let file = root.path().join("doug.backup");
    let facts = backup(&dirs[3], &file);
    assert_eq!((&facts["key_sequence"], &facts["next_key"]), (&0.into(), &true.into()));
    let (code, why) = refusal(&dirs[3], &["backup", "--out", file.to_str().unwrap()]);
    assert!(code == 2 && why.contains("never written over"), "{why}");
    // It goes on signing, of which the backup knows nothing. Then the machine is lost.
    doug.wait(&["height", &height(&dirs[3], 3)]);
    assert_eq!(doug.stop(), 0);

    let there = root.path().join("there");
    let restored = frith(&there, &["restore", file.to_str().unwrap()]);
    let said = text(&restored.stderr);
    assert!(restored.status.success() && said.contains("must never run again"), "{said}");
    assert!(said.contains("it signs no block until the charter is amended"), "{said}");
    let (code, why) = refusal(&there, &["restore", file.to_str().unwrap()]);
    assert!(code == 2 && why.contains("something of a node is there already"), "{why}");
    let doug = Running::start(&there, &["run"]);
    assert_eq!(json(&there, &["status"])["node"], facts["node"]);
    doug.wait(&["peers", "3"]);
    doug.wait(&["height", &height(&dirs[0], 1)]);
    let status = json(&there, &["status"]);
    assert!(
        status["journal_lost"].as_str().unwrap().contains("the voting key of this seat is not in"),
        "{status}"
    );
    let words = ok(&there, &["status"]);
    assert!(words.contains("from a backup made 20") && words.contains("frith amend --fresh-keys"), "{words}");

    // Three make a block final. Without ash there would be three, if doug counted.
    let ash = nodes.remove(0);
    assert_eq!(ash.stop(), 0);
    let (code, why) = refusal(&dirs[1], &["wait", "height", &height(&dirs[1], 3), "--timeout", "8s"]);
    assert_eq!(code, 4, "{why}");
    let address = json(&dirs[1], &["status"])["net"]["listening"][0].as_str().unwrap().to_string();
    let ash = Running::start(&dirs[0], &["run", "--peer", &address]);
    ash.wait(&["peers", "3"]);

    // It endorses as before: that is no ballot. With the next epoch it votes.
    let id =
        json(&there, &["amend", "--fresh-keys", "--note", "new disk"])["id"].as_str().unwrap().to_string();
    for (node, dir) in nodes.iter().zip(&dirs[1..3]) {
        node.wait(&["pending"]);
        ok(dir, &["endorse", &id]);
    }
    doug.wait(&["epoch", "2"]);
    doug.until("it votes again", |status| status["journal_lost"].is_null());
    assert_eq!(ash.stop(), 0);
    doug.wait(&["height", &height(&there, 3)]);
    assert_eq!(doug.stop(), 0);
    // Also after another start.
    let doug = Running::start(&there, &["run", "--peer", &address]);
    doug.wait(&["peers", "2"]);
    assert!(json(&there, &["status"])["journal_lost"].is_null());
    doug.wait(&["height", &height(&there, 2)]);
}

#[test]
fn a_backup_from_before_a_rotation_is_a_strangers_and_does_not_rotate_into_a_contradiction() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member"]);
    let guest = root.path().join("guest");
    let join = ["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"];
    let runs = Running::start(&guest, &join);
    runs.wait(&["member"]);
    let (old, new) = (root.path().join("old.backup"), root.path().join("new.backup"));
    backup(&guest, &old);
    ok(&guest, &["rotate"]);
    backup(&guest, &new);
    assert_eq!(runs.stop(), 0);
    let (code, why) = refusal(&guest, &["backup", "--out", root.path().join("third").to_str().unwrap()]);
    assert!(code == 2 && why.contains("only a running node can be backed up"), "{why}");

    let stranger = root.path().join("stranger");
    ok(&stranger, &["restore", old.to_str().unwrap()]);
    fs::write(stranger.join("frith.toml"), "listen = [\"/ip4/127.0.0.1/tcp/0\"]\n").unwrap();
    let runs = Running::start(&stranger, &["run"]);
    runs.wait(&["peers", "1"]);
    let (code, why) = refusal(&stranger, &["rotate"]);
    assert!(code == 1 && why.contains("restored from a backup"), "{why}");
    // Nobody gives a stranger the log.
    let status = json(&stranger, &["status"]);
    assert!(status["phase"] == "syncing" && status["stale"] == true, "{status}");
    assert_eq!(runs.stop(), 0);

    // The newer one is the member's.
    let member = root.path().join("member");
    ok(&member, &["restore", new.to_str().unwrap()]);
    fs::write(member.join("frith.toml"), "listen = [\"/ip4/127.0.0.1/tcp/0\"]\n").unwrap();
    let runs = Running::start(&member, &["run"]);
    runs.wait(&["height", &height(&alone, 1)]);
    assert_eq!(json(&member, &["status"])["phase"], "following");
    assert_eq!((runs.stop(), founder.stop()), (0, 0));
}

#[test]
fn a_member_from_a_backup_is_the_member_that_it_was_and_can_rotate_once_it_has_caught_up() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member"]);
    let guest = root.path().join("guest");
    let runs = Running::start(&guest, &["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"]);
    runs.wait(&["member"]);
    ok(&guest, &["rotate"]);
    let file = root.path().join("guest.backup");
    let facts = backup(&guest, &file);
    assert_eq!(facts["key_sequence"], 1);
    assert_eq!(runs.stop(), 0);
    fs::remove_dir_all(&guest).unwrap();

    ok(&guest, &["restore", file.to_str().unwrap()]);
    fs::write(guest.join("frith.toml"), "listen = [\"/ip4/127.0.0.1/tcp/0\"]\n").unwrap();
    // As by a machine whose clock had not been set yet.
    let mut mark: Value = serde_json::from_slice(&fs::read(guest.join("restored.json")).unwrap()).unwrap();
    mark["at"] = 7.into();
    fs::write(guest.join("restored.json"), mark.to_string()).unwrap();
    let runs = Running::start(&guest, &["run"]);
    runs.wait(&["height", &height(&alone, 1)]);
    runs.wait(&["member"]);
    let status = json(&guest, &["status"]);
    runs.until("it has caught up", |status| !status["restored"]["began"].is_null());
    let began = json(&guest, &["status"])["restored"]["began"].as_u64().unwrap();
    assert!(began >= mark["made"].as_u64().unwrap(), "{status}");
    // What the lost machine may have sent is in the next block, or lost.
    runs.wait(&["height", &height(&guest, 1)]);
    assert_eq!((&status["phase"], &status["node"]), (&"following".into(), &facts["node"]));
    ok(&guest, &["rotate"]);
    assert_eq!(json(&guest, &["status"])["key_sequence"], 2);
    assert_eq!((runs.stop(), founder.stop()), (0, 0));
}

#[test]
fn backups_by_the_clock_go_into_a_directory_and_each_says_which_file_it_is() {
    let root = tempfile::tempdir().unwrap();
    let node = new_node(root.path(), "node");
    let to = root.path().join("backups");
    fs::create_dir(&to).unwrap();
    let made: Vec<Value> = (0..2).map(|_| backup(&node, &to)).collect();
    let files: Vec<PathBuf> =
        made.iter().map(|facts| PathBuf::from(facts["file"].as_str().expect("it says where"))).collect();
    assert!(files[0] < files[1], "the newest comes last: {files:?}");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    for (file, facts) in files.iter().zip(&made) {
        assert_eq!(file.parent(), Some(to.as_path()));
        let there = root.path().join(file.file_name().unwrap());
        assert_eq!(json(&there, &["restore", file.to_str().unwrap()])["node"], facts["node"]);
    }
}
