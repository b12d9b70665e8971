//! The dependency rule of the design: `protocol` depends on no sibling and on nothing that does input and output; `node` and `simulator`
//! depend on `protocol`, never on each other; only `tests` sees all.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Every crate of the workspace, with all that it depends on (not for its tests), near and far.
fn tree_of(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}", "--package", package])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let names: BTreeSet<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert!(names.contains(package), "{package} is not in its own tree: {text}");
    names.into_iter().filter(|name| name != package).collect()
}

fn workspace() -> BTreeMap<&'static str, BTreeSet<String>> {
    ["frith-protocol", "frith-node", "frith-simulator"].map(|package| (package, tree_of(package))).into()
}

#[test]
fn the_protocol_depends_on_no_sibling_and_on_nothing_that_has_a_clock_sockets_or_disks() {
    let tree = &workspace()["frith-protocol"];
    let siblings: Vec<_> = tree.iter().filter(|name| name.starts_with("frith-")).collect();
    assert!(siblings.is_empty(), "{siblings:?}");
    let banned =
        ["tokio", "libp2p", "sled", "mio", "socket2", "async-std", "smol", "futures-timer", "rustix"];
    let clocks = ["chrono", "time", "web-time", "getrandom", "rand", "fastrand", "rayon", "num_cpus"];
    let found: Vec<_> = tree
        .iter()
        .filter(|name| {
            banned.iter().chain(&clocks).any(|banned| name == banned) || name.starts_with("libp2p-")
        })
        .collect();
    assert!(found.is_empty(), "{found:?}");
    // The names are spelt as cargo spells them: the node has these.
    let node = &workspace()["frith-node"];
    assert!(
        ["tokio", "libp2p", "sled", "mio", "getrandom"].iter().all(|name| node.contains(*name)),
        "{node:?}"
    );
}

#[test]
fn node_and_simulator_depend_on_the_protocol_and_never_on_each_other_nor_on_the_tests() {
    let workspace = workspace();
    for (package, other) in [("frith-node", "frith-simulator"), ("frith-simulator", "frith-node")] {
        let tree = &workspace[package];
        assert!(tree.contains("frith-protocol"), "{package} does not depend on the protocol");
        assert!(!tree.contains(other) && !tree.contains("frith-tests"), "{package}: {tree:?}");
    }
}

/// The features with which `frith-protocol` is built, by all that the workspace builds along these edges.
fn features_of_the_protocol(edges: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--workspace", "--edges", edges, "--prefix", "none"])
        .args(["--format", "{p}|{f}"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let of_protocol = text.lines().filter(|line| line.starts_with("frith-protocol "));
    of_protocol
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|it| it.split(','))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_program_that_anybody_runs_has_rules_that_can_be_loosened() {
    // All of them at once: cargo builds a crate once, with every feature that any of them asks for.
    let built = features_of_the_protocol("normal,build");
    assert!(!built.is_empty(), "the protocol is not in the tree");
    assert!(!built.contains("planted"), "{built:?}");
    let tested = features_of_the_protocol("normal,build,dev");
    assert!(tested.contains("planted"), "the suites ask for it: {tested:?}");
}
