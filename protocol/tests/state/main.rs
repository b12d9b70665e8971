//! The rules of SPEC.md 1 to 4, 6 and 7 (and of 9 those that take a long log: `growth`, `paths`), each by its number, on small domains in memory.

mod accusations;
mod admissions;
mod amendments;
mod blocks;
mod bytes;
mod charters;
mod domain;
mod growth;
#[path = "../../benches/growth/history.rs"]
#[allow(dead_code, reason = "shared with the bench, which uses all of it")]
mod history;

mod holds;
mod keys;
mod lean;
#[path = "../../benches/growth/nodes.rs"]
#[allow(dead_code, reason = "shared with the bench, which uses all of it")]
mod nodes;

#[cfg(feature = "planted")]
#[path = "../planted/mod.rs"]
mod planted;

mod paths;
mod proofs;
mod recovery;
mod renewals;
mod revocations;
mod rotations;
mod snapshot;
mod suspensions;
mod two_holds;
mod wire;

/// Where a rule is loosened, if this process is to loosen one.
fn set_scene() {
    #[cfg(feature = "planted")]
    planted::begin();
}
