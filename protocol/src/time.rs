//! Time as an integer that somebody claims. The core has no clock: `now` comes in through the door.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch; in a simulated world, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The beginning of time.
    pub const ZERO: Timestamp = Timestamp(0);

    /// `ms` later; stops at the end of time rather than wrap, since `ms` may be a peer's.
    #[must_use]
    pub fn plus(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Which day it is in, counted from the beginning of time.
    #[must_use]
    pub fn day(self) -> u64 {
        self.0 / (24 * 3600 * 1000)
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
