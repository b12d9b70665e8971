//! Charters that change, against real processes: endorsers replaced under a running mesh, keys, files, refusals.

mod processes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use processes::*;
use serde_json::Value;

fn id(dir: &Path) -> String {
    json(dir, &["status"])["node"].as_str().unwrap().to_string()
}

fn voting_keys(dir: &Path) -> usize {
    let names = fs::read_dir(dir.join("keys")).unwrap().map(|file| file.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("voting-")).count()
}

/// Nodes of one domain, each with its directory.
struct Mesh {
    root: tempfile::TempDir,
    nodes: Vec<(PathBuf, Running)>,
}

impl Mesh {
    /// Four founders that know one another.
    fn found() -> Mesh {
        let root = tempfile::tempdir().unwrap();
        let dirs = found(root.path(), &["ash", "birch", "cedar", "doug"]);
        let mut mesh = Mesh { root, nodes: Vec::new() };
        for dir in dirs {
            mesh.start(dir);
        }
        for (_, node) in &mesh.nodes {
            node.wait(&["peers", "3"]);
        }
        mesh
    }

    fn start(&mut self, dir: PathBuf) {
        let address = self
            .nodes
            .first()
            .map(|(dir, _)| json(dir, &["status"])["net"]["listening"][0].as_str().unwrap().to_string());
        let mut args = vec!["run"];
        if let Some(address) = &address {
            args.extend(["--peer", address]);
        }
        let node = Running::start(&dir, &args);
        self.nodes.push((dir, node));
    }

    fn node(&self, name: &str) -> &(PathBuf, Running) {
        self.nodes.iter().find(|(dir, _)| dir.ends_with(name)).unwrap()
    }

    fn dir(&self, name: &str) -> &Path {
        &self.node(name).0
    }

    fn id(&self, name: &str) -> String {
        id(self.dir(name))
    }

    fn stop(&mut self, name: &str) -> PathBuf {
        let at = self.nodes.iter().position(|(dir, _)| dir.ends_with(name)).unwrap();
        let (dir, node) = self.nodes.remove(at);
        assert_eq!(node.stop(), 0);
        dir
    }

    /// The id of a ticket that `inviter` makes and `other` countersigns.
    fn countersigned(&self, inviter: &str, other: &str) -> String {
        let proposed = json(self.dir(inviter), &["invite", "--for", "1h", "--wait", "0s"]);
        let ticket = proposed["id"].as_str().unwrap();
        self.endorse(other, ticket);
        self.node(inviter).1.wait(&["countersigned", ticket]);
        ticket.to_string()
    }

    /// `name` joins by such a ticket.
    fn join(&mut self, name: &str, inviter: &str, other: &str) {
        let ticket = self.countersigned(inviter, other);
        let printed = ok(self.dir(inviter), &["invite", "--ticket", &ticket]);
        let dir = self.root.path().join(name);
        let node = Running::start(&dir, &["join", printed.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"]);
        node.wait(&["member"]);
        self.nodes.push((dir, node));
    }

    /// The operator of `name` says yes, once it is there to be said.
    fn endorse(&self, name: &str, proposal: &str) {
        let (dir, node) = self.node(name);
        node.until("it sees what it is to endorse", |_| {
            json(dir, &["pending", "--all"]).as_array().unwrap().iter().any(|one| one["id"] == proposal)
        });
        ok(dir, &["endorse", proposal]);
    }

    /// Every node holds the charter of this epoch.
    fn all_in(&self, epoch: u64) {
        for (_, node) in &self.nodes {
            node.wait(&["epoch", &epoch.to_string()]);
        }
    }

    /// A block that is not there yet becomes final at every node.
    fn all_go_on(&self) {
        let (dir, _) = self.nodes.last().unwrap();
        let next = json(dir, &["status"])["head"]["height"].as_u64().unwrap() + 2;
        for (dir, node) in &self.nodes {
            node.wait(&["height", &next.to_string()]);
            assert_eq!(json(dir, &["status"])["stale"], false);
        }
    }
}

#[test]
fn endorsers_are_replaced_one_by_one_under_a_running_mesh_and_nobody_drops_out() {
    let mut mesh = Mesh::found();
    for name in ["elm", "fir", "ivy"] {
        mesh.join(name, "ash", "birch");
    }
    // One that is countersigned before a countersigner loses its seat is void after that.
    let void = mesh.countersigned("birch", "ash");
    let rounds = [
        ("ash", "elm", ["birch", "cedar", "doug"]),
        ("birch", "fir", ["cedar", "doug", "elm"]),
        ("cedar", "gum", ["doug", "elm", "fir"]),
        ("doug", "hazel", ["elm", "fir", "gum"]),
    ];
    for (round, (leaves, comes, yes)) in rounds.into_iter().enumerate() {
        let epoch = round as u64 + 2;
        let (leaves_id, comes_id) = (mesh.id(leaves), mesh.id(comes));
        let [first, others @ ..] = yes;
        let change = ["amend", "--add", &comes_id[..12], "--remove", &leaves_id[..12]];
        let plan = json(mesh.dir(first), &[&change[..], &["--dry-run"]].concat());
        assert_eq!(plan["seated"], serde_json::json!([comes_id]));
        assert_eq!(plan["unseated"], serde_json::json!([leaves_id]));
        assert_eq!((&plan["refused"], &plan["next"]["connected"]), (&Value::Null, &4.into()), "{plan}");
        assert_eq!(json(mesh.dir(first), &["status"])["charter"]["epoch"], epoch - 1, "it was a dry run");

        let proposal = json(mesh.dir(first), &change);
        let proposal = proposal["id"].as_str().unwrap();
        for other in others {
            mesh.endorse(other, proposal);
        }
        let (dir, node) = mesh.node(first);
        node.until("all three say yes", |_| {
            let pending = json(dir, &["pending"]);
            let one = pending.as_array().unwrap().iter().find(|one| one["id"] == proposal);
            one.is_some_and(|one| one["endorsed_by"].as_array().unwrap().len() == 3)
        });
        let shown = ok(dir, &["pending"]);
        assert!(shown.contains(&format!("and for the consent of {}", &comes_id[..8])), "{shown}");
        assert!(shown.contains(&format!("{} loses its seat", &leaves_id[..8])), "{shown}");
        // Nothing comes of it before whoever gets the seat says yes, too.
        mesh.node(comes).1.wait(&["pending"]);
        let why = ok(mesh.dir(first), &["why", &comes_id]);
        assert!(why.contains("Waiting: an amendment that gives it a seat (3 of 3"), "{why}");
        let asked = ok(mesh.dir(comes), &["pending"]);
        assert!(asked.contains("you are asked to take a seat"), "{asked}");
        mesh.endorse(comes, proposal);
        mesh.all_in(epoch);
        mesh.all_go_on();

        let phase = |name: &str| json(mesh.dir(name), &["status"])["phase"].clone();
        assert_eq!((phase(comes), phase(leaves)), ("endorsing".into(), "following".into()));
        assert_eq!((voting_keys(mesh.dir(comes)), voting_keys(mesh.dir(leaves))), (2, 1));
        let why = ok(mesh.dir(leaves), &["why", &comes_id]);
        assert!(
            why.contains(": endorser\n") && why.contains(&format!("epoch {epoch}, by the amendment")),
            "{why}"
        );
        let why = ok(mesh.dir(comes), &["why", &leaves_id]);
        assert!(why.contains(": member\n") && why.contains("It lost its seat at height"), "{why}");
        match comes {
            "elm" => {
                mesh.join("gum", "cedar", "elm");
                let (code, why) = refusal(mesh.dir("birch"), &["invite", "--ticket", &void]);
                assert!(code == 1 && why.contains("the ticket is void"), "{why}");
            }
            "fir" => mesh.join("hazel", "elm", "fir"),
            _ => {}
        }
    }
    // All founders go, and the domain does without them: a newcomer finds those who took their seats.
    for name in ["ash", "birch", "cedar", "doug"] {
        mesh.stop(name);
    }
    mesh.all_go_on();
    mesh.join("iris", "gum", "hazel");
    mesh.all_go_on();
    // The founders' addresses are all that ivy was told; where their successors are it remembers by itself.
    let ivy = mesh.stop("ivy");
    let node = Running::start(&ivy, &["run"]);
    node.until("it is connected to all endorsers", |status| status["endorsers"]["connected"] == 4);
    mesh.nodes.push((ivy, node));
    mesh.all_go_on();
}

#[test]
fn a_newcomer_finds_those_who_have_the_seats_now_through_the_one_that_its_old_anchor_leads_to() {
    let mut mesh = Mesh::found();
    mesh.node("ash").1.until("it knows where the others are", |status| status["remembered"] == 3);
    let anchor = ok(mesh.dir("ash"), &["anchor"]);
    let (leave, come) = (["ash", "birch", "cedar"], ["elm", "fir", "gum"]);
    let mut change = vec!["amend".to_string()];
    for (out, name) in leave.into_iter().zip(come) {
        mesh.join(name, "ash", "birch");
        change.extend(["--add".to_string(), mesh.id(name), "--remove".to_string(), mesh.id(out)]);
    }
    let change: Vec<&str> = change.iter().map(String::as_str).collect();
    let proposal = json(mesh.dir("doug"), &change)["id"].as_str().unwrap().to_string();
    for name in ["ash", "birch"].into_iter().chain(come) {
        mesh.endorse(name, &proposal);
    }
    mesh.all_in(2);
    for name in leave {
        mesh.stop(name);
    }

    // Of those whom the anchor leads to, doug is left, and another must endorse, too.
    let dir = mesh.root.path().join("iris");
    let join = ["join", anchor.trim(), "--listen", "/ip4/127.0.0.1/tcp/0", "--role", "member"];
    let node = Running::start(&dir, &join);
    mesh.node("doug").1.wait(&["pending"]);
    let asked = json(mesh.dir("doug"), &["pending"])[0]["id"].as_str().unwrap().to_string();
    mesh.endorse("doug", &asked);
    mesh.endorse("fir", &asked);
    node.wait(&["member"]);
    mesh.nodes.push((dir, node));
    mesh.all_go_on();
}

#[test]
fn an_endorser_whose_journal_was_lost_votes_again_by_a_fresh_key_that_an_amendment_gives_it() {
    let mut mesh = Mesh::found();
    mesh.all_go_on();
    let dir = mesh.stop("doug");
    let journal = dir.join("store").join("journal");
    assert!(journal.exists(), "{:?}", fs::read_dir(dir.join("store")).unwrap().collect::<Vec<_>>());
    if journal.is_dir() { fs::remove_dir_all(&journal) } else { fs::remove_file(&journal) }.unwrap();
    mesh.start(dir.clone());
    let status = ok(&dir, &["status"]);
    assert!(status.contains("journal lost") && status.contains("frith amend --fresh-keys"), "{status}");

    // By whoever lacks a key: an amendment waits for whom it adds, and for nobody else's consent.
    let (_, node) = mesh.node("doug");
    node.wait(&["peers", "3"]);
    let proposal = json(&dir, &["amend", "--fresh-keys"]);
    assert_eq!(proposal["changes"], serde_json::json!([]));
    for name in ["ash", "birch"] {
        mesh.endorse(name, proposal["id"].as_str().unwrap());
    }
    mesh.all_in(2);
    assert_eq!(json(&dir, &["status"])["journal_lost"], Value::Null);
    // It is needed now.
    mesh.stop("cedar");
    mesh.all_go_on();
}

#[test]
fn a_charter_is_shown_edited_looked_at_and_proposed_as_a_file() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    founder.wait(&["height", "1"]);
    let file = root.path().join("next.toml");
    let path = file.to_str().unwrap();
    let shown = ok(&alone, &["amend", "--show"]);
    fs::write(&file, &shown).unwrap();

    let (code, why) = refusal(&alone, &["amend", path]);
    assert!(code == 1 && why.contains("nothing would change") && why.contains("--fresh-keys"), "{why}");
    fs::write(&file, shown.replace("heartbeat_ms = 2000", "heartbeat_ms = 0")).unwrap();
    let (code, why) = refusal(&alone, &["amend", path]);
    assert!(code == 1 && why.contains(path) && why.contains("heartbeat_ms is 0"), "{why}");
    fs::write(&file, shown.replace("heartbeat_ms", "hartbeat_ms")).unwrap();
    let (code, why) = refusal(&alone, &["amend", path]);
    assert!(code == 2 && why.contains("did you mean `heartbeat_ms`?"), "{why}");
    let (code, why) = refusal(&alone, &["amend", "--add", "ffffffffff"]);
    assert!(code == 1 && why.contains("no node that begins with ffffffffff"), "{why}");
    let (code, why) = refusal(&alone, &["amend", path, "--admit", "1"]);
    assert!(code == 2 && why.contains("cannot be used with"), "{why}");

    let keys = || fs::read_dir(alone.join("keys")).unwrap().map(|file| file.unwrap().path());
    let before: Vec<(PathBuf, Vec<u8>)> =
        keys().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    fs::write(&file, shown.replace("heartbeat_ms = 2000", "heartbeat_ms = 1500")).unwrap();
    let plan = ok(&alone, &["amend", path, "--dry-run"]);
    assert!(plan.contains("heartbeat: 1500ms instead of 2s"), "{plan}");
    ok(&alone, &["amend", path]);
    founder.wait(&["epoch", "2"]);
    assert_eq!(voting_keys(&alone), 2);
    let (code, why) = refusal(&alone, &["amend", path]);
    assert!(code == 1 && why.contains("start again from `frith amend --show`"), "{why}");
    assert!(ok(&alone, &["log"]).contains("amend the charter: epoch 2, endorsers "));

    // Killed before it had destroyed the key of epoch 1, it does so when it starts again, and goes on by the key of its seat.
    drop(founder);
    let over: Vec<_> = before.into_iter().filter(|(path, _)| !path.exists()).collect();
    let [(path, key)] = &over[..] else { panic!("{over:?}") };
    fs::write(path, key).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path.with_extension("new"), &key[..50]).unwrap();
    let founder = Running::start(&alone, &["run"]);
    assert!(!path.exists() && !path.with_extension("new").exists());
    ok(&alone, &["amend", "--fresh-keys"]);
    founder.wait(&["epoch", "3"]);
    let height = json(&alone, &["status"])["head"]["height"].as_u64().unwrap();
    founder.wait(&["height", &(height + 1).to_string()]);
    assert_eq!(voting_keys(&alone), 2);
    assert_eq!(founder.stop(), 0);
}

#[test]
fn a_role_gets_a_bound_on_freshness_when_a_domain_is_founded_and_another_by_an_amendment() {
    let root = tempfile::tempdir().unwrap();
    let alone = new_node(root.path(), "alone");
    let file = |name: &str| root.path().join(name).display().to_string();
    let (card, draft, signature) = (file("card"), file("draft"), file("sig"));
    ok(&alone, &["found", "card", "--out", &card]);
    let drafting = |bound: &str| {
        let roles = ["--role", "member", "--role", "gateway=relay", "--role-freshness", bound, "--force"];
        frith(&alone, &[&["found", "draft", &card, "--name", "home", "--out", &draft], &roles[..]].concat())
    };
    for (bound, why) in [
        ("gatway=4m", "the charter has no role \"gatway\"; it has member, gateway"),
        ("gateway", "write ROLE=SPAN"),
        ("gateway=often", "--role-freshness gateway=often"),
        ("gateway=1s", "freshness"),
    ] {
        let output = drafting(bound);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{bound}: {said}");
    }
    assert!(drafting("gateway=4m").status.success());
    assert!(fs::read_to_string(&draft).unwrap().contains("freshness_ms = 240000"));
    ok(&alone, &["found", "sign", &draft, "--out", &signature]);
    ok(&alone, &["found", "open", &draft, &signature]);

    let founder = Running::start(&alone, &["run"]);
    founder.wait(&["height", "0"]);
    let dry = |bound: &str| ok(&alone, &["amend", "--role-freshness", bound, "--dry-run"]);
    let plan = dry("gateway=none");
    assert!(plan.contains("role \"gateway\": [relay] instead of [relay], stale after 4m"), "{plan}");
    ok(&alone, &["amend", "--role-freshness", "gateway=5m"]);
    founder.wait(&["epoch", "2"]);
    assert!(ok(&alone, &["amend", "--show"]).contains("freshness_ms = 300000"));
    assert_eq!(founder.stop(), 0);
}
