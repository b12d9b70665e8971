//! What a core wants done: first what to make durable, then what to send and publish, then what to tell.
//!
//! The order is kept by types: [`Effects::take`] shows only the records; the rest comes out of [`Unsettled::settled`], which the host
//! calls once they are as durable as their tables ask.

use std::sync::Arc;

use super::input::Event;
use super::message::Message;
use super::record::Record;
use crate::identity::PublicKey;

/// A reusable bundle of effects, filled by `handle`.
#[derive(Debug, Default)]
pub struct Effects {
    records: Vec<Record>,
    sync_all: bool,
    outbox: Outbox,
}

/// What may leave the node, once the records are durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// To one peer each, in order. A peer that is not connected misses it: whoever sent will try again by its own timers.
    pub sends: Vec<(PublicKey, Arc<Message>)>,
    /// To the domain's gossip topic.
    pub publishes: Vec<Arc<Message>>,
    /// To the host: pieces of the archive to look up, each to come back as [`Input::LookedUp`](super::Input::LookedUp).
    pub lookups: Vec<Lookup>,
    /// To whoever watches this node: logs, the control socket, tests.
    pub events: Vec<Event>,
}

/// A piece of [`Table::Archive`](super::Table::Archive): the newest record up to a height, and those above, until they have
/// `limits::ARCHIVE_ANSWER_BYTES_MAX` bytes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// For whom.
    pub to: PublicKey,
    /// The height.
    pub height: u64,
}

/// Effects whose records are not durable yet.
#[must_use = "records must be made durable, and then the rest sent"]
#[derive(Debug)]
pub struct Unsettled {
    records: Vec<Record>,
    sync_all: bool,
    outbox: Outbox,
}

impl Effects {
    /// An empty bundle.
    pub fn new() -> Effects {
        Effects::default()
    }

    /// Takes everything out, records first.
    pub fn take(&mut self) -> Unsettled {
        let Effects { records, sync_all, outbox } = self;
        Unsettled {
            records: std::mem::take(records),
            sync_all: std::mem::take(sync_all),
            outbox: std::mem::take(outbox),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && !self.sync_all && self.outbox == Outbox::default()
    }

    /// See [`Unsettled::syncs_all`].
    pub(crate) fn sync_all(&mut self) {
        self.sync_all = true;
    }

    pub(crate) fn persist(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(crate) fn send(&mut self, to: PublicKey, message: Arc<Message>) {
        self.outbox.sends.push((to, message));
    }

    pub(crate) fn publish(&mut self, message: Arc<Message>) {
        self.outbox.publishes.push(message);
    }

    pub(crate) fn look_up(&mut self, lookup: Lookup) {
        self.outbox.lookups.push(lookup);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.outbox.events.push(event);
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        // A second panic would only hide the first.
        if !std::thread::panicking() {
            assert!(self.is_empty(), "effects were dropped before they were carried out: {self:?}");
        }
    }
}

impl Unsettled {
    /// What must be stored, in order, as durably as each table asks.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Whether *everything* that was ever written must be on the disk before the rest, restorable records included: somebody is gone,
    /// and no restart may bring it back (SPEC 9.9).
    pub fn syncs_all(&self) -> bool {
        self.sync_all
    }

    /// Everything else. Call this only when the records are stored; if they cannot be, drop this and stop the node: what was not
    /// stored must not be sent.
    pub fn settled(self) -> Outbox {
        self.outbox
    }
}
