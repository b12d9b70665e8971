//! Holds, against real processes: who is held, who is told, and what is left of it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

mod processes;

use processes::*;
use serde_json::Value;

fn member_of(list: &Value, id: &str) -> Value {
    list.as_array().unwrap().iter().find(|one| one["node"] == id).unwrap().clone()
}

#[test]
fn an_operator_holds_a_member_at_once_and_every_command_says_so() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    founder.wait(&["height", "1"]);
    let ticket = ok(&alone, &["invite", "--role", "member", "--for", "1h"]);
    let guest = root.path().join("guest");
    let joins = Running::start(&guest, &["join", ticket.trim(), "--listen", "/ip4/127.0.0.1/tcp/0"]);
    joins.wait(&["member"]);
    let id = json(&guest, &["status"])["node"].as_str().unwrap().to_string();
    let of_founder = json(&alone, &["status"])["node"].as_str().unwrap().to_string();

    let (code, why) = refusal(&guest, &["hold", &of_founder]);
    assert!(code == 1 && why.contains("not an endorser"), "{code}: {why}");
    let (code, why) = refusal(&alone, &["hold", "ffffffff"]);
    assert!(code == 1 && why.contains("no node that begins with ffffffff"), "{code}: {why}");

    let given = json(&alone, &["hold", &id[..8], "--for", "10m", "--reason", "compromised"]);
    assert_eq!((&given["node"], &given["held"]), (&id.as_str().into(), &true.into()), "{given}");
    joins.until("the phase of whoever is held", |status| status["phase"] == "restrained");
    let status = json(&guest, &["status"]);
    assert_eq!(status["held"]["by"], Value::from(vec![of_founder.clone()]), "{status}");
    let seen = member_of(&json(&alone, &["members"]), &id);
    assert_eq!((&seen["effective"], &seen["held"]["until"]), (&"held".into(), &given["until"]), "{seen}");
    let why = ok(&alone, &["why", &id]);
    assert!(why.contains(": suspended\n"), "{why}");
    assert!(why.contains(&format!("Held by {} (compromised), for ", &of_founder[..8])), "{why}");
    let mut watch =
        command(&alone, &["watch", "--json", "--since", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let told = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let held = told.take_while(|line| line["what"] != "here").find(|line| line["what"] == "held");
    watch.kill().unwrap();
    watch.wait().unwrap();
    let held = held.expect("whoever watches is told");
    assert_eq!((&held["node"], &held["by"]), (&id.as_str().into(), &of_founder.as_str().into()), "{held}");
    let waits = json(&alone, &["pending", "--all"]);
    let held = waits.as_array().unwrap().iter().find(|one| one["kind"] == "hold").unwrap();
    assert_eq!((&held["subject"], &held["met"]), (&id.as_str().into(), &true.into()), "{waits}");
    assert!(!json(&alone, &["pending"]).as_array().unwrap().iter().any(|one| one["kind"] == "hold"));
    assert!(ok(&alone, &["status"]).contains("1 in force"));
    founder.until("the hold in the log", |_| {
        ok(&alone, &["log"]).contains(&format!("{} held {} (compromised)", &of_founder[..8], &id[..8]))
    });

    // A restart frees nobody, there or here.
    assert_eq!(joins.stop(), 0);
    assert_eq!(founder.stop(), 0);
    let founder = Running::start(&alone, &["run"]);
    assert_eq!(member_of(&json(&alone, &["members"]), &id)["effective"], "held");
    // Eight a day, and one is given.
    for _ in 1..8 {
        ok(&alone, &["hold", &id, "--for", "1s"]);
    }
    let (code, why) = refusal(&alone, &["hold", &id]);
    assert!(code == 1 && why.contains("all of this day's are given"), "{code}: {why}");
    assert_eq!(founder.stop(), 0);
}
