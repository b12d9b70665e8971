//! What of this node goes into a backup, and what a node that came out of one must not do yet.

use std::time::{Duration, Instant};

use frith_protocol::time::Timestamp;

use super::answers::to_value;
use super::contacts::notes;
use super::host::Host;
use crate::backup::{self, Known};
use crate::control::{Refusal, Reply};

impl Host {
    /// All that a backup holds. Nothing else is handled meanwhile, so it fits together.
    pub(super) fn back_up(&mut self, with_next_key: bool, now: Timestamp) -> Reply {
        let refused = |why: &dyn std::fmt::Display| Refusal::refused(why.to_string());
        let height = self.core().head().map(|head| head.height);
        tokio::task::block_in_place(|| {
            // What is known of addresses is written down from time to time only.
            self.contacts.save(&mut self.store).map_err(|e| refused(&e))?;
            let records = self.store.synced().map_err(|e| refused(&e))?;
            let notes = notes(&self.store).map_err(|e| refused(&e))?;
            let known = Known { domain: self.domain, height, records, notes };
            backup::take(&self.home, Some(known), now, with_next_key).map_err(|e| refused(&e))
        })
        .map(|backup| to_value(&backup))
    }

    /// Whoever was restored and has followed its peers for a heartbeat's time has caught up, as far as it can tell. (Its first state is
    /// older than that: the one that snapshots are served of. A clock may be set meanwhile; this time is the process's own.)
    pub(super) fn note_caught_up(&mut self) {
        if self.restored.is_none_or(|restored| restored.began.is_some()) || self.connected.is_empty() {
            return;
        }
        let core = self.core();
        let (Some(head), Some(charter)) = (core.head(), core.charter()) else { return };
        let heartbeat = Duration::from_millis(charter.timing.heartbeat_ms);
        if self.state_since.get_or_insert_with(Instant::now).elapsed() < heartbeat {
            return;
        }
        if let Some(restored) = &mut self.restored
            && let Err(error) = tokio::task::block_in_place(|| restored.begin_at(&self.home, head.time))
        {
            tracing::warn!(%error, "this node may not rotate yet");
        }
    }

    /// A rotation that the machine of the backup began later may be on its way: another one of the same number would contradict it (SPEC 2.4).
    pub(super) fn may_rotate(&self) -> Result<(), Refusal> {
        let Some(restored) = self.restored else { return Ok(()) };
        if restored.has_seen_later(self.core().head().map(|head| head.time)) {
            return Ok(());
        }
        Err(Refusal::refused(
            "this directory was restored from a backup, and its node has seen no block that is newer than that, nor any since it caught \
             up: whether it had \
             rotated meanwhile cannot be known; wait until it has caught up",
        ))
    }
}
