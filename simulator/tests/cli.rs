//! The binary: exit codes, JSON, determinism across processes and threads, and failures that can be replayed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn frith_sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frith-sim")).args(args).output().expect("the binary runs")
}

fn scenario(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    path.to_str().expect("the path is text").to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is text")
}

fn json(output: &Output) -> Value {
    let text = stdout(output);
    assert_eq!(text.lines().count(), 1, "more than one line: {text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A file in a folder of its own, which goes when the test does.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join("planned.toml");
    std::fs::write(&path, text).expect("there is room for a file");
    (folder, path)
}

const SMALL: &str =
    "about = \"A few come.\"\n[mesh]\nnewcomers = 6\nendorsers = 4\nfaults = 1\nmembers_max = 7\n";

#[test]
fn json_is_one_object_on_one_line_with_the_fields_of_the_contract() {
    let (_folder, path) = file(SMALL);
    let output = frith_sim(&["run", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let report = json(&output);
    let text = stdout(&output);
    let fields = [
        "scenario",
        "seed",
        "nodes",
        "joined",
        "converged",
        "violations",
        "virtual_ms",
        "wall_ms",
        "events",
        "deliveries",
        "bytes_sent",
        "blocks",
        "signatures_made",
        "signatures_checked",
        "peak_rss_bytes",
        "join_latency_ms",
        "convergence_ms",
        "refusal_latency_ms",
        "amend_latency_ms",
        "state_hash",
        "trace_hash",
    ];
    assert_eq!(report.as_object().unwrap().len(), fields.len());
    let places: Vec<usize> =
        fields.iter().map(|field| text.find(&format!("\"{field}\":")).expect(field)).collect();
    assert!(places.is_sorted(), "the fields are out of order: {text}");
    for spread in ["join_latency_ms", "convergence_ms"] {
        let spread = report[spread].as_object().unwrap();
        assert_eq!(spread.keys().collect::<Vec<_>>(), ["max", "p50", "p99"]);
        assert!(spread.values().all(Value::is_u64));
    }
    assert_eq!((&report["joined"], &report["nodes"]), (&6.into(), &14.into()));
    assert_eq!((&report["converged"], &report["violations"]), (&true.into(), &0.into()));
}

#[test]
fn a_charter_is_in_force_everywhere_so_long_after_the_last_yes_that_it_needs() {
    let acts = "[arrivals]\napprove_after_ms = [4000, 5000]\n[network]\nlatency_ms = [100, 100]\n\
        [[act]]\nat_ms = 20_000\nseat = [\"newcomer 1\"]\nunseat = [\"endorser 1\"]\n";
    let (_folder, path) = file(&format!("{SMALL}{acts}"));
    let report = json(&frith_sim(&["run", path.to_str().unwrap(), "--json"]));
    let amended = report["amend_latency_ms"].as_object().unwrap();
    let [least, most] = ["p50", "max"].map(|rank| amended[rank].as_u64().unwrap());
    // The yes to its proposer; a proposal, votes and finalises that end the epoch; as much for its first block. Operators' seconds are not in it.
    assert!(least >= 600 && most <= 2_500, "{amended:?}");
    let (_folder, path) = file(SMALL);
    let report = json(&frith_sim(&["run", path.to_str().unwrap(), "--json"]));
    assert!(report["amend_latency_ms"]["max"].is_null(), "nothing was amended");
}

#[test]
fn an_act_goes_on_to_those_who_come_next_and_a_faction_alone_decides_what_it_has_the_votes_for() {
    let gone = |acts: &str| {
        let expect = format!("[run]\nat_least_ms = 60_000\n[[act]]\nat_ms = 20_000\n{acts}");
        let (_folder, path) = file(&format!("{}{expect}", SMALL.replace("members_max = 7\n", "")));
        let output = stdout(&frith_sim(&["run", path.to_str().unwrap()]));
        let log = output.lines().find(|line| line.trim_start().starts_with("log  ")).unwrap().to_owned();
        log.split("; ").nth(1).unwrap().split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    assert_eq!(gone("revoke = \"newcomer 1\"\nand_next = 2\nevery_ms = 500\n"), 3);
    // As many as come.
    assert_eq!(gone("revoke = \"newcomer 1\"\nand_next = 20\nevery_ms = 500\n"), 5);
    // Two of four revoke, and one does not.
    assert_eq!(gone("revoke = \"newcomer 1\"\nfaction = [\"endorser 2\", \"endorser 3\"]\n"), 1);
    assert_eq!(gone("revoke = \"newcomer 1\"\nfaction = [\"endorser 2\"]\n"), 0);
}

#[test]
fn whoever_is_revoked_or_suspended_is_refused_so_long_after_the_last_signature() {
    let acts = "[network]\nlatency_ms = [100, 100]\n[[act]]\nat_ms = 20_000\nsuspend = \"newcomer 1\"\n\
        [[act]]\nat_ms = 30_000\nrevoke = \"newcomer 2\"\n";
    let (_folder, path) = file(&format!("{SMALL}{acts}"));
    let report = json(&frith_sim(&["run", path.to_str().unwrap(), "--json"]));
    let refused = report["refusal_latency_ms"].as_object().unwrap();
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["max", "p50", "p99", "p999"]);
    // The signature to its proposer, a proposal, votes and finalises take a hundred each; nobody waits for a time-out.
    let [least, most] = ["p50", "max"].map(|rank| refused[rank].as_u64().unwrap());
    assert!(least >= 300 && most <= 1_300, "{refused:?}");
    let (_folder, path) = file(SMALL);
    let report = json(&frith_sim(&["run", path.to_str().unwrap(), "--json"]));
    assert!(report["refusal_latency_ms"]["max"].is_null(), "nobody lost anything");
}

#[test]
fn equal_seeds_give_equal_hashes_in_any_process_and_on_any_number_of_threads() {
    let (_folder, path) = file(SMALL);
    let hashes = |more: &[&str]| {
        let args = [&["run", path.to_str().unwrap(), "--json"], more].concat();
        let report = json(&frith_sim(&args));
        (report["state_hash"].clone(), report["trace_hash"].clone())
    };
    let first = hashes(&["--threads", "1"]);
    assert_eq!(first, hashes(&["--threads", "1"]));
    assert_eq!(first, hashes(&["--threads", "2"]));
    assert_ne!(first.1, hashes(&["--seed", "2"]).1);
    assert_ne!(first.1, hashes(&["--nodes", "5"]).1);
}

#[test]
fn every_scenario_holds() {
    for name in [
        "agreement/chaos",
        "agreement/leaders_crash_in_turn",
        "agreement/one_endorser_is_two_faced",
        "agreement/one_journal_is_rolled_back",
        "agreement/power_fails_everywhere",
        "agreement/two_of_seven_lie",
        "amend/every_endorser_replaced_in_turn",
        "amend/proposer_dies",
        "amend/two_at_once_as_newcomers_come",
        "amend/under_chaos",
        "amend/under_partition",
        "gossip/off_following_alone",
        "joins/by_approval",
        "joins/over_a_bad_network",
        "partition/heals_and_catches_up",
        "partition/no_quorum_then_heals",
        "recovery/living_domain_is_safe",
        "recovery/quorum_lost_for_good",
        "revocation/one_of_a_hundred",
        "revocation/under_chaos",
        "suspension/of_an_endorser",
        "suspension/under_chaos",
    ] {
        let output = frith_sim(&["run", &scenario(&format!("{name}.toml")), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}{}", stderr(&output), stdout(&output));
        assert_eq!(json(&output)["scenario"], name);
    }
}

/// The two large ones, at a size that a debug build can bear; CI runs them whole.
#[test]
fn the_large_scenarios_hold_with_fewer_newcomers() {
    for (name, newcomers) in [("joins/thousand", "260"), ("joins/thousand_in_one_domain", "60")] {
        let output = frith_sim(&["run", &scenario(&format!("{name}.toml")), "--nodes", newcomers, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}{}", stderr(&output), stdout(&output));
        assert_eq!(json(&output)["joined"].to_string(), newcomers);
    }
}

#[test]
fn an_expectation_that_fails_is_exit_1_and_can_be_replayed() {
    let (folder, path) = file(&format!("{SMALL}\n[expect]\njoined = 5\n"));
    let reports = folder.path().join("reports");
    let output = frith_sim(&["run", path.to_str().unwrap(), "--json", "--report", reports.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("6 of 6 newcomers joined; 5 should have"), "{}", stderr(&output));
    let told = stderr(&output);
    let command =
        told.lines().find_map(|line| line.strip_prefix("To see it again: frith-sim ")).expect("a command");
    let again = frith_sim(&[&command.split(' ').collect::<Vec<_>>()[..], &["--json"]].concat());
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(json(&again)["trace_hash"], json(&output)["trace_hash"]);
    assert!(stderr(&again).contains("The same run as recorded"), "{}", stderr(&again));
    let written = std::fs::read_to_string(reports.join("report.json")).unwrap();
    assert_eq!(written, stdout(&output));
}

#[test]
fn bad_input_is_exit_2_and_says_what_and_where() {
    let (_folder, path) = file(&SMALL.replace("endorsers", "endorser"));
    let output = frith_sim(&["run", path.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("planned.toml:4: unknown key `endorser`"), "{}", stderr(&output));

    let output = frith_sim(&["run", "no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no/such/file.toml"), "{}", stderr(&output));

    let output = frith_sim(&["run"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_charter_that_cannot_be_safe_is_exit_2_with_the_reason() {
    let (_folder, path) = file(&SMALL.replace("faults = 1", "faults = 2"));
    let output = frith_sim(&["run", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let expected = format!("frith-sim: {}: charter refused", path.display());
    assert!(stderr(&output).starts_with(&expected), "{}", stderr(&output));
}

#[test]
fn a_mesh_without_its_quorum_is_exit_4_and_says_who_waits() {
    let faults =
        "\n[[fault]]\nat_ms = 1_000\nkill = [\"endorser 0\", \"endorser 1\"]\n\n[run]\nsettle_ms = 20_000\n";
    let (folder, path) = file(&format!("{SMALL}{faults}"));
    let output = frith_sim(&["run", path.to_str().unwrap(), "--report", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(4), "{}", stdout(&output));
    assert!(stdout(&output).contains("L2 broke in domain 0"), "{}", stdout(&output));
}

/// More liars than `f`: the log may fork, and then the oracles see it.
#[test]
fn two_faced_endorsers_beyond_f_fork_the_log_and_that_is_exit_3_with_a_replay() {
    let liars = "\n[[liar]]\nnode = \"endorser 2\"\nlie = \"two_faced\"\n\n[[liar]]\nnode = \"endorser 3\"\nlie = \"two_faced\"\n";
    let (folder, path) = file(&format!("{SMALL}{liars}\n[run]\nsettle_ms = 30_000\n"));
    let output = frith_sim(&["run", path.to_str().unwrap(), "--report", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(stdout(&output).contains("S3 broke in domain 0"), "{}", stdout(&output));
    let record = folder.path().join("planned-1.replay.json");
    let again = frith_sim(&["replay", record.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(3));
    assert!(stderr(&again).contains("The same run as recorded"), "{}", stderr(&again));
}

/// Where a fork is what the scenario is about: it must come, and nothing else may break, nor may it break later.
#[test]
fn what_is_expected_to_break_must_and_nothing_else_may() {
    let liars = "\n[[liar]]\nnode = \"endorser 2\"\nlie = \"two_faced\"\n\n[[liar]]\nnode = \"endorser 3\"\nlie = \"two_faced\"\n";
    let exit_of = |liars: &str, expect: &str| {
        let expect = format!("\n[run]\nsettle_ms = 30_000\n\n[expect]\n{expect}\n");
        let (folder, path) = file(&format!("{SMALL}{liars}{expect}"));
        let output = frith_sim(&["run", path.to_str().unwrap(), "--report", folder.path().to_str().unwrap()]);
        (output.status.code().unwrap(), stdout(&output))
    };
    let (exit, text) = exit_of(liars, "broken = [\"S3\", \"L2\"]");
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("as expected  S3 broke in domain 0") && !text.contains("VIOLATION"), "{text}");
    let (exit, text) = exit_of(liars, "broken = [\"S3\"]");
    assert_eq!(exit, 4, "nobody said that newcomers would not get in: {text}");
    let (exit, text) = exit_of(liars, "broken = [\"L2\"]");
    assert_eq!(exit, 3, "nobody said that it would fork: {text}");
    let (exit, text) = exit_of(liars, "broken = [\"S3\", \"L2\"]\nbroken_until_ms = 10");
    assert_eq!(exit, 3, "it breaks later than that: {text}");
    let (exit, text) = exit_of("", "broken = [\"S3\"]");
    assert_eq!(exit, 1, "it does not break: {text}");
    assert!(text.contains("S3 holds; it should have broken"), "{text}");
}

/// An unnoticed old backup is a fault (SPEC 8.14): of an instant ago it may have its node contradict itself, which convicts it, and is no
/// conviction of a correct node. In which runs it comes to that is chance; so seeds are tried until it has.
#[test]
fn an_endorser_whose_disk_was_rolled_back_unnoticed_may_be_convicted_and_no_invariant_breaks() {
    let rolled_back = "about = \"An unnoticed old backup.\"\n[mesh]\nnewcomers = 14\nendorsers = 4\nfaults = 1\nadmit = 3\n\
        [arrivals]\nby = \"approval\"\nprocess = \"even\"\nper_second = 4\napprove_after_ms = [0, 0]\nfirst_ms = 3_000\n\
        [[fault]]\nat_ms = 6_000\nfor_ms = 1\nroll_back = [\"endorser 1\"]\nas_of_ms = 5_900\n\
        [expect]\njoined = \"all\"\nconverged = true\nconvicted = 1\n";
    let (folder, path) = file(rolled_back);
    let (path, reports) = (path.to_str().unwrap(), folder.path().to_str().unwrap());
    let convicts = |seed: u32| {
        let output = frith_sim(&["run", path, "--seed", &seed.to_string(), "--report", reports]);
        let missed = stdout(&output).contains("0 identities were convicted; 1 should be");
        match output.status.code() {
            Some(0) => true,
            Some(1) if missed => false,
            code => panic!("seed {seed}: {code:?}: {}", stdout(&output)),
        }
    };
    assert!((1..=60).any(convicts), "nobody was convicted in sixty runs");
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_the_run_and_hides_no_exit_code() {
    let (folder, path) = file(&format!("{SMALL}\n[expect]\njoined = 5\n"));
    let path = path.to_str().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for command in [&["run", path][..], &["swarm", path, "--seeds", "2"]] {
        let output = frith_sim(&[command, &["--report", file.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("no report can be written there"), "{}", stderr(&output));
        assert_eq!(stdout(&output), "", "it was not run");
    }
    // A folder that lets itself be written to until a record comes: every seed is told, and what broke weighs more.
    let reports = folder.path().join("reports");
    for seed in [1, 2] {
        std::fs::create_dir_all(reports.join(format!("planned-{seed}.replay.json"))).unwrap();
    }
    let reports = reports.to_str().unwrap();
    let output = frith_sim(&["run", path, "--report", reports]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("planned-1.replay.json"), "{}", stderr(&output));
    let output = frith_sim(&["swarm", path, "--seeds", "2", "--report", reports]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("seed 2: an expectation failed"), "{}", stderr(&output));
    assert!(stdout(&output).contains("0 of 2 seeds hold"), "{}", stdout(&output));
}

#[test]
fn stdout_that_takes_nothing_is_an_error_and_hides_no_exit_code() {
    let (folder, path) = file(&format!("{SMALL}\n[expect]\njoined = 5\n"));
    let (good, path) = (scenario("joins/by_approval.toml"), path.to_str().unwrap());
    let run = |file: &str, stderr_too: bool| {
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_frith-sim"));
        command.args(["run", file, "--report"]).arg(folder.path().join("reports")).stdout(full());
        if stderr_too {
            command.stderr(full());
        }
        command.output().unwrap()
    };
    let output = run(&good, false);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("stdout: cannot write to it"), "{}", stderr(&output));
    assert_eq!(run(path, false).status.code(), Some(1));
    assert_eq!(run(path, true).status.code(), Some(1));
}

#[test]
fn a_replay_that_differs_does_not_say_more_than_it_knows() {
    let (folder, path) = file(&format!("{SMALL}\n[expect]\njoined = 5\n"));
    let reports = folder.path().to_str().unwrap();
    frith_sim(&["run", path.to_str().unwrap(), "--report", reports]);
    let record = folder.path().join("planned-1.replay.json");
    let edited = std::fs::read_to_string(&record).unwrap().replace("\"seed\": 1", "\"seed\": 2");
    std::fs::write(&record, edited).unwrap();
    let again = frith_sim(&["replay", record.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        stderr(&again).contains("Either the file was changed since, or this build"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn a_run_beyond_its_budget_is_exit_5() {
    let (folder, path) = file(&format!("{SMALL}\n[run]\nevents_max = 100\n"));
    let output = frith_sim(&["run", path.to_str().unwrap(), "--report", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5), "{}", stdout(&output));
}

#[test]
fn list_names_every_scenario_and_what_it_is_about() {
    let output = frith_sim(&["list", &scenario("")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("joins/thousand "), "{}", stdout(&output));
    let output = frith_sim(&["list", &scenario(""), "--json"]);
    assert!(json(&output).as_array().unwrap().len() >= 12);
}

#[test]
fn swarms_of_seeds_hold_under_chaos() {
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().to_str().unwrap();
    for name in [
        "agreement/chaos.toml",
        "amend/under_chaos.toml",
        "revocation/under_chaos.toml",
        "suspension/under_chaos.toml",
    ] {
        let output = frith_sim(&["swarm", &scenario(name), "--seeds", "30", "--json", "--report", reports]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stderr(&output), stdout(&output));
        assert_eq!(json(&output)["held"], 30);
    }
}

/// The example of the guide breaks what it says, and is no longer as expected if it does not say so.
#[test]
fn what_the_guide_expects_to_break_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    let example = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```\n").next());
    let example = example.expect("the guide shows a scenario");
    let exit_of = |text: &str| {
        let (folder, path) = file(text);
        let (path, reports) = (path.to_str().unwrap(), folder.path().to_str().unwrap());
        let output = frith_sim(&["run", path, "--json", "--report", reports]);
        let violations = json(&output)["violations"].as_u64().unwrap();
        (output.status.code().unwrap(), violations > 0)
    };
    let broken = "broken = [\"S3\", \"L2\"]";
    assert!(example.contains(broken), "{example}");
    assert_eq!(exit_of(example), (0, true));
    assert_eq!(exit_of(&example.replace(broken, "")), (3, true));
}

/// Whether a line of what a run prints differs from machine to machine.
fn is_own_to_the_machine(line: &str) -> bool {
    ["time  ", "memory  "].iter().any(|what| line.trim_start().starts_with(what))
}

/// What a run prints, without what differs from machine to machine.
fn lasting(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !is_own_to_the_machine(line)).collect()
}

/// The same scenario, seed and build give the same run, so the guide can show it to the last digit of its hashes. `FRITH_REWRITE=1` writes
/// what is printed over what is shown, but for what differs from machine to machine: for whoever changed it on purpose.
#[test]
fn the_guide_shows_what_a_run_really_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let guide = std::fs::read_to_string(&path).unwrap();
    let block = guide.split("```\n").nth(1).expect("the guide shows a run");
    let (command, shown) = block.split_once('\n').expect("a command, and what it prints");
    let file = command.strip_prefix("$ frith-sim run scenarios/").expect("a scenario");
    let printed = stdout(&frith_sim(&["run", &scenario(file)]));
    if std::env::var_os("FRITH_REWRITE").is_some() {
        let mut own = shown.lines().filter(|line| is_own_to_the_machine(line));
        let kept = |line| if is_own_to_the_machine(line) { own.next().unwrap_or(line) } else { line };
        let rewritten: String = printed.lines().map(kept).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, guide.replacen(shown, &rewritten, 1)).unwrap();
        return;
    }
    assert_eq!(lasting(shown), lasting(&printed), "FRITH_REWRITE=1 rewrites it");
}
