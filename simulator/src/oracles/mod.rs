//! What must never happen, watched from outside. The oracles see what nodes send and hold, and judge it by rules of their own: they share
//! types with the core, and no code that decides anything.
//!
//! | oracle | watches | invariants |
//! |---|---|---|
//! | [`Ballots`] | every ballot that leaves a node | S5: no correct node contradicts itself, across restarts |
//! | [`History`] | every block that a node calls final, and the state that it holds then | S1, S2, S3, S7 |
//!
//! Liveness (L1 to L3) is judged at the end of a run by whoever drives it: `world`.

mod ballots;
mod history;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::NodeIndex;

pub use ballots::Ballots;
pub use history::{Domain, History};

/// What must hold at every correct node while no more endorsers than the charter's `f` are faulty (S), and what must come about once faults
/// stop (L).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Invariant {
    /// Every effective member was admitted by its threshold.
    S1,
    /// Who was revoked stays out; who is suspended has no rights meanwhile.
    S2,
    /// One block a height, one state a block.
    S3,
    /// No correct node contradicts itself.
    S5,
    /// Only whoever lied is convicted; whoever hears of a fork halts.
    S7,
    /// Whose newest final block is too old answers *stale*, and never *valid*.
    S8,
    /// All correct connected nodes reach the same head.
    L1,
    /// Honest newcomers are admitted, and members renewed.
    L2,
    /// A revocation, a suspension, a release comes about.
    L3,
}

impl Invariant {
    /// Whether breaking it is for good, rather than a matter of more time.
    pub fn is_safety(self) -> bool {
        match self {
            Invariant::S1 | Invariant::S2 | Invariant::S3 | Invariant::S5 | Invariant::S7 | Invariant::S8 => {
                true
            }
            Invariant::L1 | Invariant::L2 | Invariant::L3 => false,
        }
    }
}

/// An invariant that broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// In which domain, by number.
    pub domain: u32,
    /// When, in the world's milliseconds.
    pub at_ms: u64,
    /// At which node.
    pub node: NodeIndex,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { invariant, domain, at_ms, node, what } = self;
        write!(f, "{invariant:?} broke in domain {domain} at {at_ms} ms, at {node}: {what}")
    }
}
