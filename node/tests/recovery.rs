//! The drill, against real processes: three of four endorsers are lost for good, and the domain goes on (SPEC 4.15, 9.16).

mod processes;

use std::path::{Path, PathBuf};

use processes::*;

/// The shortest bounds that a charter of four allows; clocks here are one clock.
const TIMING: [&str; 6] =
    ["heartbeat=1s", "skew=100ms", "first-timeout=300ms", "timeout-cap=500ms", "freshness=3s", "silence=6s"];

/// Four founders, and two offline keys.
fn found_with_keys(root: &Path) -> (Vec<PathBuf>, [String; 2]) {
    let file = |name: &str| root.join(name).display().to_string();
    let keys = ["one.key", "two.key"].map(file);
    let public = keys
        .each_ref()
        .map(|key| json(root, &["recover", "key", "--out", key])["key"].as_str().unwrap().to_string());
    let names = ["ash", "birch", "cedar", "doug"];
    let dirs: Vec<PathBuf> = names.iter().map(|name| new_node(root, name)).collect();
    let draft = file("draft");
    let mut drafting = vec!["found", "draft", "--name", "grove", "--out", &draft];
    public.iter().for_each(|key| drafting.extend(["--recovery", key]));
    TIMING.iter().for_each(|bound| drafting.extend(["--timing", bound]));
    let cards = names.map(|name| file(&format!("{name}.card")));
    let signatures = names.map(|name| file(&format!("{name}.sig")));
    for (dir, card) in dirs.iter().zip(&cards) {
        ok(dir, &["found", "card", "--out", card]);
        drafting.push(card);
    }
    ok(root, &drafting);
    let mut opening = vec!["found", "open", &draft];
    for (dir, signature) in dirs.iter().zip(&signatures) {
        ok(dir, &["found", "sign", &draft, "--out", signature]);
        opening.push(signature);
    }
    dirs.iter().for_each(|dir| drop(ok(dir, &opening)));
    (dirs, keys)
}

#[test]
fn three_of_four_endorsers_burn_down_and_the_fourth_goes_on_by_the_recovery_keys() {
    let root = tempfile::tempdir().unwrap();
    let (dirs, keys) = found_with_keys(root.path());
    let mut nodes = vec![Running::start(&dirs[0], &["run"])];
    let address = json(&dirs[0], &["status"])["net"]["listening"][0].as_str().unwrap().to_string();
    for dir in &dirs[1..] {
        nodes.push(Running::start(dir, &["run", "--peer", &address]));
    }
    let left = nodes.pop().unwrap();
    let dir = &dirs[3];
    left.wait(&["peers", "3"]);
    left.wait(&["height", "3"]);
    let lost = nodes.into_iter().zip(&dirs).map(|(node, dir)| {
        let id = json(dir, &["status"])["node"].as_str().unwrap().to_string();
        node.stop();
        id
    });
    let lost: Vec<String> = lost.collect();
    let file = root.path().join("way-back.json").display().to_string();
    let mut draft = vec!["recover", "draft", "--out", &file];
    lost.iter().for_each(|id| draft.extend(["--remove", id]));
    ok(dir, &draft);

    let (code, why) = refusal(dir, &["recover", "sign", &file, "--key", &keys[0]]);
    assert!(code == 1 && why.contains("cannot be signed before"), "{why}");
    ok(dir, &["recover", "consent", &file]);
    ok(dir, &["recover", "sign", &file, "--key", &keys[0]]);
    let (code, why) = refusal(dir, &["recover", "apply", &file]);
    assert!(code == 1 && why.contains("fewer than the recovery quorum"), "{why}");
    // The second key lies where there is no node.
    let mut offline = command(dir, &["recover", "sign", &file, "--key", &keys[1]]);
    assert!(offline.env_remove("FRITH_DIR").status().unwrap().success());

    let dry = json(dir, &["recover", "apply", &file, "--dry-run"]);
    assert_eq!((&dry["taken"], &dry["dry_run"]), (&false.into(), &true.into()), "{dry}");
    assert_eq!(json(dir, &["status"])["charter"]["epoch"], 1);
    ok(dir, &["recover", "apply", &file]);
    left.wait(&["epoch", "2"]);
    let before = json(dir, &["status"])["head"]["height"].as_u64().unwrap();
    left.wait(&["height", &(before + 2).to_string()]);
    let log = ok(dir, &["log"]);
    assert!(log.contains("by recovery: epoch 2"), "{log}");
    assert_eq!(left.stop(), 0);
    // It is what it was, and needs nobody, after a restart.
    let again = Running::start(dir, &["run"]);
    again.wait(&["height", &(before + 3).to_string()]);
    assert_eq!(json(dir, &["status"])["charter"]["epoch"], 2);
}
