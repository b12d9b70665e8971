//! What time alone does to a member that is cut off, against real processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

mod processes;

use processes::*;

/// A domain of one, and a member of it.
fn founder_and_member(root: &Path, timing: &[&str]) -> (PathBuf, Running, PathBuf, Running) {
    let alone = found_timed(root, "alone", timing);
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member"]);
    let guest = root.join("guest");
    let runs = Running::start(&guest, &["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"]);
    runs.wait(&["member"]);
    (alone, founder, guest, runs)
}

#[test]
fn a_watch_on_a_stale_node_does_not_say_that_a_suspension_that_is_over_left_anybody_effective() {
    let root = tempfile::tempdir().unwrap();
    let quick = ["freshness=6s", "skew=1s", "first-timeout=500ms", "timeout-cap=1s"];
    let (alone, founder, guest, runs) = founder_and_member(root.path(), &quick);
    let id = json(&guest, &["status"])["node"].as_str().unwrap().to_string();
    ok(&alone, &["suspend", &id, "--for", "15s"]);
    runs.until("it knows that it is suspended", |status| status["phase"] == "restrained");
    assert_eq!(founder.stop(), 0);

    // Nobody tells it anything from now on: it may have been revoked meanwhile.
    let mut watch = command(&guest, &["watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let told = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let told: Vec<Value> = told
        .scan(false, |over, line| {
            (!*over).then(|| {
                *over = line["what"] == "standing";
                line
            })
        })
        .collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    let last = told.last().unwrap();
    assert_eq!((&last["was"], &last["is"]), (&"suspended".into(), &"stale".into()), "{told:?}");
    assert!(told.iter().any(|line| line["what"] == "phase" && line["stale"] == true), "{told:?}");
    assert_eq!(runs.stop(), 0);
}

#[test]
fn whoever_has_lapsed_is_no_member_to_a_script_that_waits_for_it_and_its_status_says_since_when() {
    let root = tempfile::tempdir().unwrap();
    let short = ["member-lifetime=8s", "freshness=10m"];
    let (_, founder, guest, runs) = founder_and_member(root.path(), &short);
    let admission =
        |text: &str| text.lines().find(|line| line.trim_start().starts_with("admission")).map(str::to_owned);
    let row = admission(&ok(&guest, &["status"])).expect("it says until when");
    assert!(
        row.contains("number ") && row.contains("until in ") && row.contains("renews by itself"),
        "{row}"
    );
    assert_eq!(founder.stop(), 0);
    runs.until("its window is over", |status| status["admission"]["lapsed"] == true);
    let status = json(&guest, &["status"]);
    assert_eq!(
        (&status["phase"], &status["stale"]),
        (&"following".into(), &false.into()),
        "it follows still"
    );
    let (code, why) = refusal(&guest, &["wait", "member", "--timeout", "1s"]);
    assert!(code == 4 && why.contains("it did not come to be in time"), "{code}: {why}");
    let row = admission(&ok(&guest, &["status"])).unwrap();
    assert!(row.contains("lapsed ") && row.contains("as soon as endorsers are reached"), "{row}");
    assert_eq!(runs.stop(), 0);
}

#[test]
fn operators_limit_a_member_and_it_ends_then_until_they_admit_it_anew() {
    let root = tempfile::tempdir().unwrap();
    let (alone, founder, guest, runs) = founder_and_member(root.path(), &["freshness=10m"]);
    let id = json(&guest, &["status"])["node"].as_str().unwrap().to_string();
    let (code, why) = refusal(&alone, &["readmit", &id, "--for", "600w"]);
    assert!(code == 2 && why.contains("the charter admits for at most "), "{code}: {why}");

    ok(&alone, &["readmit", &id, "--for", "8s", "--note", "for the afternoon"]);
    runs.until("it knows its new window", |status| status["admission"]["limited"] == true);
    let row = ok(&guest, &["renew"]);
    assert!(row.contains("number 2, until in ") && row.contains("and does not renew"), "{row}");
    let (code, why) = refusal(&guest, &["renew", "--now"]);
    assert!(code == 1 && why.contains("less than a lifetime"), "{code}: {why}");
    // It is connected to whoever could renew it, and nobody does.
    runs.until("its window is over", |status| status["admission"]["lapsed"] == true);
    founder
        .wait(&["height", &(json(&alone, &["status"])["head"]["height"].as_u64().unwrap() + 1).to_string()]);
    let why = ok(&alone, &["why", &id]);
    assert!(why.contains("was for less than a whole lifetime: so it does not renew"), "{why}");
    let row = ok(&guest, &["renew"]);
    assert!(row.contains("number 2, lapsed ") && row.contains("frith readmit"), "{row}");

    ok(&alone, &["readmit", &id]);
    runs.wait(&["member"]);
    let admission = &json(&guest, &["status"])["admission"];
    assert_eq!((&admission["number"], &admission["limited"]), (&3.into(), &false.into()), "{admission}");
    assert_eq!((runs.stop(), founder.stop()), (0, 0));
}
