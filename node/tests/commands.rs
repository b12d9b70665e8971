//! The command line against real processes: what it prints where, its exit codes, and what it refuses.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use frith_protocol::identity::SecretKey;
use frith_protocol::joining::Ticket;
use frith_protocol::state::{CharterId, DomainId, TicketTerms};
use frith_protocol::time::Timestamp;
use serde_json::Value;

mod processes;

use processes::*;

#[test]
fn a_domain_of_one_invites_admits_explains_revokes_and_stops() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let twice = ["--external", "/ip4/127.0.0.1/tcp/1", "--external", "/ip4/127.0.0.1/tcp/1"];
    let founder = Running::start(&alone, &[&["run"][..], &twice].concat());
    founder.wait(&["height", "1"]);

    let status = json(&alone, &["status"]);
    let announced = status["net"]["announced"].as_array().unwrap();
    assert_eq!(announced.iter().filter(|one| **one == "/ip4/127.0.0.1/tcp/1").count(), 1, "{status}");
    assert_eq!((&status["phase"], &status["name"]), (&"endorsing".into(), &"alone".into()));
    assert_eq!(status["endorsers"]["liars_tolerated"], 0);
    assert!(ok(&alone, &["status"]).contains("bears 0 down and no liar"));

    let ticket = root.path().join("ticket");
    fs::write(&ticket, ok(&alone, &["invite", "--role", "member", "--for", "1h"])).unwrap();
    let guest = root.path().join("guest");
    let joined = frith(
        &guest,
        &["join", ticket.to_str().unwrap(), "--exit", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"],
    );
    assert!(joined.status.success(), "{}", text(&joined.stderr));
    let joined: Value = serde_json::from_slice(&joined.stdout).unwrap();
    assert_eq!(joined["joined"], true);
    let id = joined["node"].as_str().unwrap().to_string();

    let members = json(&alone, &["members"]);
    assert_eq!(members.as_array().unwrap().len(), 2);
    let why = ok(&alone, &["why", &id[..8]]);
    assert!(why.contains(": member\n") && why.contains("by ticket") && why.contains("endorsed by"), "{why}");
    let log = ok(&alone, &["log"]);
    assert!(log.contains(&format!("admit {} as member", &id[..8])), "{log}");

    // The ticket had one use.
    let late = root.path().join("late");
    let (code, why) =
        refusal(&late, &["join", ticket.to_str().unwrap(), "--exit", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert!(code == 1 && why.contains("spent"), "{code}: {why}");
    assert_eq!(why.matches("cannot join").count(), 1, "{why}");
    // Without a word about roles a ticket gives the only one that there is.
    // With another ticket it asks anew, in the same directory and under the same identity.
    let another = ok(&alone, &["invite"]);
    assert_eq!(another.trim().parse::<Ticket>().unwrap().terms.roles, ["member"]);
    let identity = fs::read(late.join("inception.json")).unwrap();
    ok(&late, &["join", another.trim(), "--exit", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!(fs::read(late.join("inception.json")).unwrap(), identity);

    // By approval, with the one operator's yes.
    let anchor = ok(&alone, &["anchor"]);
    let asks = Running::start(
        &root.path().join("asks"),
        &["join", anchor.trim(), "--note", "rack\u{1b}[31m 7", "--listen", "/ip4/127.0.0.1/tcp/0"],
    );
    founder.wait(&["pending"]);
    assert!(asks.log().contains("it asks for no role"), "{}", asks.log());
    let pending = json(&alone, &["pending"]);
    let asked = pending.as_array().unwrap().iter().find(|one| one["kind"] == "admission").unwrap();
    assert_eq!(asked["note"], "rack [31m 7", "control characters must not reach a terminal");
    assert!(ok(&alone, &["pending"]).contains("they say: rack"));
    let (code, why) = refusal(&alone, &["endorse", "ffffffff"]);
    assert!(code == 1 && why.contains("no proposal that begins with ffffffff"), "{why}");
    ok(&alone, &["endorse", asked["id"].as_str().unwrap()]);
    asks.wait(&["member"]);
    assert_eq!(asks.stop(), 0);
    // With an anchor it holds already, it runs on as it did.
    let again = Running::start(
        &root.path().join("asks"),
        &["join", anchor.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"],
    );
    again.wait(&["member"]);
    assert!(again.log().contains("goes on from the anchor, if that is newer"), "{}", again.log());
    assert_eq!(again.stop(), 0);

    // The guest is a member also after a restart; then it leaves, and is gone.
    let join = ["join", ticket.to_str().unwrap(), "--listen", "/ip4/127.0.0.1/tcp/0"];
    let guest_runs = Running::start(&guest, &join);
    guest_runs.wait(&["member"]);
    assert!(
        guest_runs.log().contains("was admitted to domain") && !guest_runs.log().contains("joins domain")
    );
    let (code, why) = refusal(&guest, &["leave"]);
    assert!(code == 2 && why.contains("--yes"), "{why}");
    guest_runs.wait(&["peers", "1"]);
    ok(&guest, &["leave", "--yes"]);
    founder.wait(&["gone", &id]);
    let why = ok(&alone, &["why", &id]);
    assert!(why.contains(": gone\n") && why.contains("Revoked for good at height"), "{why}");
    drop(guest_runs);

    assert_eq!(founder.stop(), 0);
    assert!(!alone.join("control.sock").exists());
    let (code, why) = refusal(&alone, &["status"]);
    assert!(code == 2 && why.contains("frith run --dir"), "{why}");
}

#[test]
fn with_json_even_an_error_leaves_nothing_but_json_on_stdout() {
    let root = tempfile::tempdir().unwrap();
    let output = frith(root.path(), &["status", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["error"].as_str().unwrap().contains("no node is running here"));
    assert!(text(&output.stderr).starts_with("frith: "));
}

#[test]
fn stdout_that_nobody_reads_ends_a_command_quietly_and_a_full_one_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    for args in [&["config"][..], &["config", "--help"], &["completions", "bash"], &["init", "--json"]] {
        let dir = root.path().join(args.concat());
        let mut reader = command(&dir, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(reader.stdout.take());
        let closed = reader.wait_with_output().unwrap();
        assert_eq!((closed.status.code(), text(&closed.stderr)), (Some(0), String::new()), "{args:?}");
    }
    for args in [&["config"][..], &["completions", "bash"], &["init", "--json"]] {
        let dir = root.path().join("full").join(args.concat());
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command(&dir, args).stdout(full).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.starts_with("frith: stdout: cannot write to it: "), "{said}");
    }
    // Nor does it matter whether anybody hears what goes wrong.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(root.path(), &["status"]).stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn joining_that_is_stopped_before_membership_is_not_taken_for_membership() {
    let root = tempfile::tempdir().unwrap();
    let nobody = ticket(Timestamp(u64::MAX)).to_string();
    let join = ["join", &nobody, "--listen", "/ip4/127.0.0.1/tcp/0"];
    let scripted = Running::start(&root.path().join("scripted"), &[&join[..], &["--exit"]].concat());
    // Whoever waits knows what for.
    scripted.until("it says that nobody answers", |_| scripted.log().contains("nobody answers yet"));
    assert!(scripted.log().contains("/ip4/127.0.0.1/tcp/1; it goes on trying"), "{}", scripted.log());
    let (code, said) = scripted.stopped();
    assert!(code == 5 && said.contains("told to stop before this node was a member"), "{code}: {said}");
    // Whoever meant it to run on has stopped a node that runs.
    let (code, said) = Running::start(&root.path().join("runs"), &join).stopped();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn what_waits_is_shown_whole_and_what_is_over_only_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    // Two of three admit.
    let dirs = found(root.path(), &["left", "middle", "right"]);
    let left = Running::start(&dirs[0], &["run"]);
    let address = json(&dirs[0], &["status"])["net"]["listening"][0].as_str().unwrap().to_string();
    let [middle, right] = [&dirs[1], &dirs[2]].map(|dir| Running::start(dir, &["run", "--peer", &address]));
    // Only then does the anchor lead to all three.
    left.until("it knows where both others are", |status| status["remembered"] == 2);
    let anchor = ok(&dirs[0], &["anchor"]);
    let asks = root.path().join("asks");
    // It asks for no role, and then for one: two requests, of which one can become true.
    let join = ["join", anchor.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"];
    let first = Running::start(&asks, &join);
    right.wait(&["pending"]);
    assert_eq!(first.stop(), 0);
    let newcomer = Running::start(&asks, &[&join[..], &["--role", "member"]].concat());
    let id = json(&asks, &["status"])["node"].as_str().unwrap().to_string();
    let second = |dir: &Path| {
        let all = json(dir, &["pending"]);
        let found =
            all.as_array().unwrap().iter().find(|one| one["what"].as_str().unwrap().contains("as member"));
        found.map(|one| one["id"].as_str().unwrap().to_string())
    };
    for (node, dir) in [&left, &middle, &right].into_iter().zip(&dirs) {
        node.until("the second request waits", |_| second(dir).is_some());
        let shown = ok(dir, &["pending"]);
        assert!(
            shown.contains(&format!("admit {id} as member")) && shown.contains("waits for you"),
            "{shown}"
        );
    }
    let waits = second(&dirs[0]).unwrap();
    ok(&dirs[0], &["endorse", &waits[..8]]);
    let (code, why) = refusal(&dirs[0], &["deny", &waits]);
    assert!(code == 1 && why == "frith: it is endorsed already, and what is signed stays signed\n", "{why}");
    let dead = json(&dirs[2], &["pending"]);
    let dead = dead.as_array().unwrap().iter().find(|one| one["id"] != waits.as_str()).unwrap()["id"]
        .as_str()
        .unwrap();
    ok(&dirs[1], &["endorse", &waits[..8]]);

    // The third need not decide any more.
    right.wait(&["admitted", &id[..8]]);
    assert_eq!(json(&dirs[2], &["pending"]), Value::Array(vec![]));
    assert_eq!(json(&dirs[2], &["status"])["pending"], 0);
    let all = ok(&dirs[2], &["pending", "--all"]);
    assert!(all.contains(&format!("{} is a member already", &id[..8])), "{all}");
    let (code, why) = refusal(&dirs[2], &["endorse", dead]);
    assert!(code == 1 && why.contains("is a member already, since height"), "{why}");
    let (code, why) = refusal(&dirs[2], &["endorse", &waits]);
    assert!(code == 1 && why.contains("it is in the log already, at height"), "{why}");

    // Who let it in is said also when it is out again.
    ok(&dirs[0], &["revoke", &id]);
    right.wait(&["gone", &id[..8]]);
    let why = ok(&dirs[2], &["why", &id]);
    assert!(why.contains("Admitted at height") && why.contains("by approval"), "{why}");
    drop(newcomer);

    let (code, why) = refusal(&dirs[0], &["wait", "peers", "9", "--timeout", "0s"]);
    let expected =
        "frith: it did not come to be in time: at least 9 connected peers; the node is endorsing, at height ";
    assert!(code == 4 && why.starts_with(expected), "{why}");
    let (code, why) = refusal(&dirs[0], &["wait", "gone", "beef"]);
    assert!(code == 2 && why.contains("at least 6 hex digits"), "{why}");
    let (code, why) = refusal(&dirs[0], &["log", "--limit", "0"]);
    assert!(code == 2 && why.contains("at least 1"), "{why}");
}

#[test]
fn what_is_missing_or_there_already_is_said_with_the_command_that_helps() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("node");
    let (code, why) = refusal(&dir, &["run"]);
    assert!(code == 2 && why.contains("frith init --dir"), "{why}");
    ok(&dir, &["init"]);
    let (code, why) = refusal(&dir, &["init"]);
    assert!(code == 2 && why.contains("there are keys already"), "{why}");
    let (code, why) = refusal(&dir, &["run"]);
    assert!(code == 2 && why.contains("frith join TICKET"), "{why}");

    let output =
        Command::new(env!("CARGO_BIN_EXE_frith")).arg("status").env_remove("FRITH_DIR").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("say --dir D"));
}

#[test]
fn keys_that_others_may_read_keep_a_node_from_starting() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "open");
    let key = dir.join("keys/identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, why) = refusal(&dir, &["run"]);
    assert!(code == 2 && why.contains(&format!("chmod 0600 {}", key.display())), "{why}");
}

#[test]
fn a_mistyped_configuration_is_refused_with_its_line() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "typo");
    fs::write(dir.join("frith.toml"), "mdns = false\nlisen = []\n").unwrap();
    let (code, why) = refusal(&dir, &["run"]);
    assert!(code == 2 && why.contains("line 2") && why.contains("did you mean `listen`?"), "{why}");
}

#[test]
fn frith_config_prints_a_file_that_frith_takes() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "printed");
    fs::write(dir.join("frith.toml"), ok(&dir, &["config"])).unwrap();
    let node = Running::start(&dir, &["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn frith_config_shows_what_is_set_in_the_nodes_directory() {
    let root = tempfile::tempdir().unwrap();
    let dir = new_node(root.path(), "set");
    assert!(ok(&dir, &["config"]).contains("\"/ip4/127.0.0.1/tcp/0\""));
    let other = root.path().display().to_string();
    assert!(!ok(&dir, &["config", "--dir", &other]).contains("127.0.0.1"));
}

#[test]
fn an_address_at_which_nobody_would_find_the_node_is_refused_or_warned_of() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("node");
    let (code, why) = refusal(&dir, &["init", "--address", "/ip4/192.0.2.1/udp/5747"]);
    assert!(code == 2 && why.contains("nobody can dial /ip4/192.0.2.1/udp/5747"), "{why}");
    assert!(!dir.exists());
    let other_port = frith(&dir, &["init", "--address", "/ip4/192.0.2.1/udp/15747/quic-v1"]);
    let said = text(&other_port.stderr);
    assert!(other_port.status.success() && said.contains("this node listens at no such port"), "{said}");
    let heard = frith(&root.path().join("heard"), &["init", "--address", "/ip4/192.0.2.1/udp/5747/quic-v1"]);
    assert_eq!(text(&heard.stderr), "");
}

#[test]
fn a_bad_word_from_the_environment_is_told_from_one_on_the_command_line() {
    let root = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| command(root.path(), args).env("FRITH_LISTEN", "foo").output().unwrap();
    let output = run(&["run"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("said by FRITH_LISTEN") && said.contains("like /ip4/192.0.2.1/udp"), "{said}");
    let said = text(&run(&["run", "--listen", "bar"]).stderr);
    assert!(said.contains("'bar'") && !said.contains("said by FRITH_LISTEN"), "{said}");
    // Programs that asked for JSON get it.
    let output = run(&["run", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["error"].as_str().unwrap().contains("'foo'"), "{told}");
}

#[test]
fn a_draft_that_may_be_signed_already_is_not_written_over_unasked() {
    let root = tempfile::tempdir().unwrap();
    let dir = new_node(root.path(), "node");
    let file = |name: &str| root.path().join(name).display().to_string();
    let (card, draft) = (file("card"), file("draft"));
    ok(&dir, &["found", "card", "--out", &card]);
    let drafting = ["found", "draft", &card, "--name", "home", "--out", &draft];
    ok(&dir, &drafting);
    let signed = fs::read_to_string(&draft).unwrap();
    let (code, why) = refusal(&dir, &drafting);
    assert!(code == 2 && why.contains("it is there already") && why.contains("--force"), "{why}");
    assert_eq!(fs::read_to_string(&draft).unwrap(), signed);
    let closed = [&drafting[..], &["--force", "--no-tickets", "--no-approval"]].concat();
    let output = frith(&dir, &closed);
    assert!(output.status.success() && text(&output.stderr).contains("admits nobody beyond its founders"));
    assert_ne!(fs::read_to_string(&draft).unwrap(), signed);
    let twice = [&drafting[..], &["--force", "--role", "member", "--role", "member=x"]].concat();
    let (code, why) = refusal(&dir, &twice);
    assert!(code == 2 && why.contains("the role \"member\" is named twice"), "{why}");
}

#[test]
fn a_file_where_the_directory_should_be_is_said_to_be_one() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let (code, why) = refusal(&file, &["init"]);
    assert!(code == 2 && why.contains("it is no directory"), "{why}");
}

#[test]
fn the_key_of_a_ticket_lies_there_as_long_as_the_ticket_is_good_and_no_longer() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "alone");
    let kept = || {
        let names = fs::read_dir(dir.join("keys")).unwrap().map(|file| file.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("ticket-")).count()
    };
    let founder = Running::start(&dir, &["run"]);
    let ticket = json(&dir, &["invite", "--role", "member"]);
    let other = json(&dir, &["invite", "--role", "member"])["id"].as_str().unwrap().to_string();
    let id = ticket["id"].as_str().unwrap();
    // As often as it is wanted.
    for _ in 0..2 {
        assert_eq!(json(&dir, &["invite", "--ticket", id])["ticket"], ticket["ticket"]);
    }
    assert_eq!(kept(), 2);
    let join =
        ["join", ticket["ticket"].as_str().unwrap(), "--exit", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let joined: Value = serde_json::from_str(&ok(&root.path().join("guest"), &join)).unwrap();
    founder.wait(&["admitted", joined["node"].as_str().unwrap()]);
    assert_eq!(kept(), 1, "the ticket is spent");
    let (code, why) = refusal(&dir, &["invite", "--ticket", id]);
    assert!(code == 1 && why.contains("the ticket is spent"), "{why}");
    ok(&dir, &["invite", "--role", "member", "--for", "5s"]);
    founder.until("the key of a ticket that has expired is gone", |_| kept() == 1);
    assert_eq!(founder.stop(), 0);

    // One whose proposal lapsed while the node was down, as far as can be told from its name.
    let (lapsed, good) = (format!("ticket-{id}.key"), format!("ticket-{other}.key"));
    fs::copy(dir.join("keys").join(&good), dir.join("keys").join(&lapsed)).unwrap();
    let founder = Running::start(&dir, &["run"]);
    assert!(!dir.join("keys").join(&lapsed).exists() && dir.join("keys").join(&good).exists());
    ok(&dir, &["invite", "--ticket", &other]);
    assert_eq!(founder.stop(), 0);
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let root = tempfile::tempdir().unwrap();
    let dir = found_alone(root.path(), "port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let (code, why) = refusal(&dir, &["run", "--listen", &address]);
    assert!(code == 2 && why.contains(&address), "{why}");
    assert!(why.contains("`listen` in frith.toml") && why.contains("or --listen"), "{why}");
    assert!(!dir.join("control.sock").exists());
}

/// A ticket that nobody countersigned: good enough to be refused for other reasons.
fn ticket(expires: Timestamp) -> Ticket {
    let key = SecretKey::from_seed([9; 32]);
    let terms = TicketTerms {
        domain: DomainId([1; 32]),
        charter: CharterId([2; 32]),
        epoch: 1,
        height: 0,
        roles: vec!["member".into()],
        uses: 1,
        expires,
        key: key.public(),
    };
    let addresses = vec!["/ip4/127.0.0.1/tcp/1".to_string()];
    Ticket { terms, countersignatures: Vec::new(), addresses, secret: key.seed() }
}

#[test]
fn a_ticket_that_cannot_be_good_is_refused_before_anybody_is_asked() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("node");
    let refused = |paper: &str, more: &[&str]| {
        let (code, why) = refusal(&dir, &[&["join", paper], more].concat());
        assert_eq!(code, 2, "{why}");
        why
    };
    let good = ticket(Timestamp(u64::MAX)).to_string();
    let at = good.len() / 2;
    let other = if good.as_bytes()[at] == b'a' { "b" } else { "a" };
    let mistyped = format!("{}{other}{}", &good[..at], &good[at + 1..]);
    assert!(refused(&mistyped, &[]).contains("mistyped"));
    assert!(refused(&good[..at], &[]).contains("lost"));
    assert!(refused(&good.replacen("ticket", "tikcet", 1), &[]).contains("begins with"));
    assert!(refused("hello", &[]).contains("no ticket or anchor"));
    assert!(refused(&ticket(Timestamp(1)).to_string(), &[]).contains("the ticket expired"));
    assert!(refused(&good, &["--role", "king"]).contains("does not give the role \"king\""));
    assert!(!dir.exists(), "something was made for a ticket that is no good");
}

#[test]
fn nodes_find_one_another_again_when_all_addresses_but_one_have_changed() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member", "--uses", "2"]);
    let guest = root.path().join("guest");
    let stays = Running::start(
        &root.path().join("stays"),
        &["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"],
    );
    let runs = Running::start(&guest, &["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"]);
    for node in [&runs, &stays] {
        node.wait(&["member"]);
        node.wait(&["peers", "2"]);
    }
    // Nobody signs where it is in the very second of its start.
    for node in [&founder, &runs, &stays] {
        node.until("it knows where both others are", |status| status["remembered"] == 2);
    }
    // Each takes another port, and none is told of the others': signed records lead the way, by whoever stayed.
    assert_eq!((founder.stop(), runs.stop()), (0, 0));
    let founder = Running::start(&alone, &["run"]);
    let runs = Running::start(&guest, &["run", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    for node in [&founder, &runs, &stays] {
        node.wait(&["peers", "2"]);
    }
    assert_eq!((founder.stop(), runs.stop(), stays.stop()), (0, 0, 0));
}

#[test]
fn a_ticket_that_is_made_as_soon_as_nodes_run_still_says_where_enough_endorsers_are() {
    let root = tempfile::tempdir().unwrap();
    // Cards without addresses, and both endorsers are needed.
    let dirs = found(root.path(), &["left", "right"]);
    let left = Running::start(&dirs[0], &["run"]);
    let address = json(&dirs[0], &["status"])["net"]["listening"][0].as_str().unwrap().to_string();
    let right = Running::start(&dirs[1], &["run", "--peer", &address]);
    let id = ok(&dirs[0], &["invite", "--role", "member", "--wait", "0s"]);
    right.wait(&["pending"]);
    ok(&dirs[1], &["endorse", id.trim()]);
    left.wait(&["countersigned", id.trim()]);
    let ticket = ok(&dirs[0], &["invite", "--ticket", id.trim()]);
    let addresses = ticket.parse::<Ticket>().unwrap().addresses;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    ok(&root.path().join("guest"), &["join", ticket.trim(), "--exit", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!((left.stop(), right.stop()), (0, 0));
}
