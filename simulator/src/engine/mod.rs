//! The engine: a world of nodes with virtual time, a network, disks and clocks, in which everything happens in one order.
//!
//! It knows nothing of Frith. A program is an [`Actor`]; the engine hands it inputs, makes durable what it writes, then sends what it
//! sends, and tells whoever drives the world what it tells. Events are ordered by (time, source, source's sequence), every random number
//! comes from a stream of its own concern, and no floating point, no hash order, no clock and no thread takes part: the same seed
//! gives the same run on any machine.
//!
//! Deliberately absent: bandwidth and CPU time. A message takes as long as its link, however long it is; a node handles an input in no time.

mod actor;
mod disk;
mod fault;
mod network;
mod queue;
mod random;
mod simulation;
mod time;
mod trace;

pub use actor::{Actions, Actor, Input, Parcel, Verdict};
pub use disk::{Disk, DiskRules, Ending, Image, Store, Write};
pub use fault::{Action, Fault, Plan};
pub use network::{Fate, LinkRules, Network};
pub use queue::{COARSE_SLOTS, COARSE_US, FINE_SLOTS, FINE_US, Key, Queue};
pub use random::{Concern, Random, mix, scaled};
pub use simulation::{Counters, NodeRules, Simulation, Step};
pub use time::{Clock, Instant, Millis};
pub use trace::{Trace, TraceHash};

use serde::{Deserialize, Serialize};

/// A node of the world, by the order in which it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// For tables.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {}", self.0)
    }
}
