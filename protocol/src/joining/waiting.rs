//! Entries that wait for a block: one per subject and kind, so that nobody can fill the queue with variants of one wish (SPEC 6.7).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fault::Fault;
use crate::identity::{NodeId, Verified};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{BlockId, Entry, Header, Kind, State, StatementId};
use crate::time::Timestamp;

/// Denials sort first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Slot {
    Revoke(NodeId),
    Suspend(NodeId),
    Accuse(NodeId),
    Rotate(NodeId),
    Release(NodeId),
    Admit(NodeId),
    /// Of whose it is, with its day and slot.
    Hold(NodeId, u64, u8),
    Amend,
}

fn slot(entry: &Entry) -> Slot {
    match &entry.statement.kind {
        Kind::Admit(admit) => Slot::Admit(admit.subject.node_id()),
        Kind::Revoke(revoke) => Slot::Revoke(revoke.subject),
        Kind::Suspend(suspend) => Slot::Suspend(suspend.subject),
        Kind::Release(release) => Slot::Release(release.subject),
        // Of the second none ever waits: it is no entry for a block that is voted for.
        Kind::Amend(_) | Kind::Recover(_) => Slot::Amend,
        Kind::Rotate(rotate) => Slot::Rotate(rotate.subject),
        Kind::Accuse(accuse) => Slot::Accuse(accuse.subject),
        Kind::Hold(hold) => Slot::Hold(hold.by, hold.day(), hold.slot),
    }
}

/// What became of an entry that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered {
    /// It waits now.
    Waits {
        /// The entry of the same subject and kind that it replaces, which had grown too old.
        instead_of: Option<StatementId>,
    },
    /// It, or another of the same subject and kind, waits already.
    Already,
}

/// The entries that wait at one endorser.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    entries: BTreeMap<Slot, (StatementId, Verified<Arc<Entry>>)>,
    removals: usize,
    /// The last answer of [`Waiting::any_valid`], and for which block; none once the queue has changed.
    answered: Cell<Option<(BlockId, bool)>>,
}

impl Waiting {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Denials first, then by subject.
    pub fn iter(&self) -> impl Iterator<Item = &Verified<Arc<Entry>>> {
        self.entries.values().map(|(_, entry)| entry)
    }

    /// The entry of this statement, if it waits.
    pub fn get(&self, statement: &StatementId) -> Option<&Verified<Arc<Entry>>> {
        self.entries.values().find(|(id, _)| id == statement).map(|(_, entry)| entry)
    }

    /// The rotations of `subject`, if they wait.
    pub fn rotate_of(&self, subject: &NodeId) -> Option<&Verified<Arc<Entry>>> {
        self.entries.get(&Slot::Rotate(*subject)).map(|(_, entry)| entry)
    }

    /// Takes an entry that would be valid next, in `state` after `head` at `now`.
    ///
    /// # Errors
    /// The [`Fault`] by which it would not be, or [`Fault::TooMany`].
    pub fn offer(
        &mut self,
        entry: &Verified<Arc<Entry>>,
        state: &State,
        head: &Header,
        now: Timestamp,
    ) -> Result<Offered, Fault> {
        let at = slot(entry);
        let time = now.max(head.time.plus(1));
        // No departure, which waits for all removals, may keep out the removal of whoever departs: it may even be of the same words.
        let goes_sooner = |waiting: &Entry| entry.is_removal() && waiting.is_departure();
        let same = |id: &StatementId| *id == entry.statement.id();
        if self.entries.get(&at).is_some_and(|(id, waiting)| same(id) && !goes_sooner(waiting)) {
            return Ok(Offered::Already);
        }
        state.judge(head, time, entry)?;
        // What lies there may have expired since: it must not keep its own successor out.
        let instead_of = match self.entries.get(&at) {
            Some((_, waiting)) if !goes_sooner(waiting) && state.judge(head, time, waiting).is_ok() => {
                return Ok(Offered::Already);
            }
            Some((id, waiting)) => {
                self.removals -= usize::from(waiting.is_removal());
                Some(*id)
            }
            None => None,
        };
        if instead_of.is_some() {
            self.removals += usize::from(entry.is_removal());
            self.entries.insert(at, (entry.statement.id(), entry.clone()));
            self.answered.set(None);
            return Ok(Offered::Waits { instead_of });
        }
        let (count, max) = if entry.is_removal() {
            (self.entries.len(), limits::WAITING_ENTRIES_MAX)
        } else {
            (
                self.entries.len() - self.removals,
                limits::WAITING_ENTRIES_MAX
                    - if loosened(Bug::NoRoomForRemovals) { 0 } else { limits::WAITING_DENIALS_RESERVED },
            )
        };
        if count >= max {
            return Err(Fault::TooMany { what: "entries that wait for a block", count, max });
        }
        self.removals += usize::from(entry.is_removal());
        self.entries.insert(at, (entry.statement.id(), entry.clone()));
        self.answered.set(None);
        Ok(Offered::Waits { instead_of: None })
    }

    /// Drops what can no longer become valid, now that `state` is after the newest final block: each with why.
    pub fn sift(
        &mut self,
        state: &State,
        head: &Header,
        now: Timestamp,
    ) -> Vec<(Verified<Arc<Entry>>, Fault)> {
        let time = now.max(head.time.plus(1));
        let mut dropped = Vec::new();
        self.entries.retain(|_, (_, entry)| match state.judge(head, time, entry) {
            Ok(()) => true,
            Err(fault) => {
                self.removals -= usize::from(entry.is_removal());
                dropped.push((entry.clone(), fault));
                false
            }
        });
        self.answered.set(None);
        dropped
    }

    /// What [`Waiting::any_valid`] found is so no longer: it goes by more than what waits.
    pub fn look_again(&self) {
        self.answered.set(None);
    }

    /// Whether an entry waits that would be valid on the block `on`, after which `state` is, and that `may` be in it.
    pub fn any_valid(
        &self,
        on: BlockId,
        header: &Header,
        state: &State,
        now: Timestamp,
        may: impl Fn(&Entry) -> bool,
    ) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        if let Some((block, answer)) = self.answered.get()
            && block == on
        {
            return answer;
        }
        let time = now.max(header.time.plus(1));
        let answer = self.iter().any(|entry| may(entry) && state.judge(header, time, entry).is_ok());
        self.answered.set(Some((on, answer)));
        answer
    }
}
