//! Rules that a test can loosen, to see that the explorer finds out. Outside tests every answer is no.

use super::engine::Agreement;
use super::seam::{Value, Voter};

/// A rule loosened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Planted {
    /// 8.8 without «unless it dummied».
    FinaliseAfterDummy,
    /// 8.8 without «or voted for another block».
    FinaliseAnother,
    /// 8.4 without the dummy certificates between.
    AnyNotarisedParent,
    /// 8.9 the other way round.
    SendFirst,
    /// No 8.7.
    NeverGiveUp,
    /// 8.11 without resending.
    NeverResend,
}

impl<B: Value, V: Voter, P: Value> Agreement<B, V, P> {
    #[cfg(test)]
    pub(super) fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(test))]
    pub(super) fn is_planted(&self, _: Planted) -> bool {
        false
    }

    /// Whether the engine's own assertions stand aside.
    #[cfg(test)]
    pub(super) fn is_loosened(&self) -> bool {
        self.planted.is_some()
    }

    #[cfg(not(test))]
    pub(super) fn is_loosened(&self) -> bool {
        false
    }
}
