//! The same scenario and seed give the same world: in another process, and from a program that the compiler optimised otherwise.
//!
//! What `frith-sim` prints, refuses and exits with is tested beside it (`simulator/tests`).

use std::path::{Path, PathBuf};
use std::process::Command;

use frith_tests::binaries::{frith_sim, frith_sim_released, workspace};
use serde_json::Value;

/// Newcomers at most: enough that everything happens, and few enough for a debug build.
const NEWCOMERS_MAX: u64 = 60;

fn scenarios() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join("scenarios")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder of scenarios can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() >= 6, "{found:?}");
    found
}

fn newcomers(scenario: &Path) -> u64 {
    let text = std::fs::read_to_string(scenario).expect("a scenario can be read");
    let line = text.lines().find_map(|line| line.strip_prefix("newcomers = "));
    let digits: String = line.expect("it says how many come").chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("it is a number")
}

/// The whole report, but for how long it took and how much memory.
fn run(program: &Path, scenario: &Path, seed: u64) -> Value {
    let mut command = Command::new(program);
    command.arg("run").arg(scenario).args(["--json", "--seed", &seed.to_string()]);
    if newcomers(scenario) > NEWCOMERS_MAX {
        command.args(["--nodes", &NEWCOMERS_MAX.to_string()]);
    }
    let output = command.current_dir(workspace()).output().expect("frith-sim can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{}: {why}: {said}", scenario.display()))
}

fn trace(report: &Value) -> &str {
    report["trace_hash"].as_str().filter(|hash| hash.len() >= 16).unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn every_scenario_has_one_trace_in_two_processes_and_in_debug_and_release() {
    let released = frith_sim_released();
    if released.is_none() {
        eprintln!("debug against release is skipped: there is no release build of frith-sim, or an old one");
    }
    for scenario in scenarios() {
        let once = run(frith_sim(), &scenario, 7);
        let again = run(frith_sim(), &scenario, 7);
        assert_eq!(trace(&once), trace(&again), "{}", scenario.display());
        if let Some(released) = &released {
            let fast = run(released, &scenario, 7);
            assert_eq!(trace(&once), trace(&fast), "{}: debug and release", scenario.display());
        }
        let other = run(frith_sim(), &scenario, 8);
        assert_ne!(trace(&once), trace(&other), "{}: another seed, another world", scenario.display());
    }
}
