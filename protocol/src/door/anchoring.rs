//! A newer anchor for a node that has a state (SPEC 9.15): the way on where no link and no block leads from what it holds.
//!
//! It is believed like a newcomer's, because an operator says so, and goes forward only: what this node holds stays until there is
//! a state under the newer charter, and counts for who is gone until then.

use std::sync::Arc;

use super::core::{Core, Phase};
use super::effects::Effects;
use super::epochs::first_charter_record;
use super::message::Message;
use super::record::{Record, Table};
use crate::encoding::encode;
use crate::following::{Chain, Charters};
use crate::identity::PublicKey;
use crate::joining::Anchor;
use crate::planted::{Bug, loosened};
use crate::state::Charter;

/// The place of an anchor that an operator gave to a node with a state, in [`Table::Meta`].
pub(super) const ANCHOR_KEY: &[u8] = b"anchor";

/// What must be put into the store of a node that has a state, before its core is opened, for it to go on from a newer anchor. An anchor that
/// is not newer than what it holds changes nothing.
pub fn anchor_records(anchor: &Anchor) -> Vec<Record> {
    vec![Record { table: Table::Meta, key: ANCHOR_KEY.to_vec(), value: Some(encode(anchor).into()) }]
}

/// An anchor that an operator gave to a node with a state.
#[derive(Debug)]
pub(super) struct Anchored {
    anchor: Anchor,
    /// Where the links lie that lead to the charters before it.
    left: Vec<Vec<u8>>,
}

impl Anchored {
    pub(super) fn at(anchor: Anchor) -> Anchored {
        Anchored { anchor, left: Vec::new() }
    }
}

impl Core {
    /// The anchor from which to go on, as long as it leads further than our log: never back, and nowhere for whoever is gone or saw a fork.
    pub(super) fn newer_anchor(&self) -> Option<&Anchor> {
        let (anchor, chain) = (&self.anchored.as_deref()?.anchor, self.chain.as_ref()?);
        let is_ahead = chain.state().charter().epoch < anchor.epoch && chain.head().height <= anchor.height
            || loosened(Bug::AnyAnchor);
        let may = self.halted.is_none() && self.phase() != Phase::Gone;
        (may && is_ahead && anchor.domain == self.domain).then_some(anchor)
    }

    /// Whether this node holds the charter that its newer anchor names, or a later one, and lacks the state only.
    fn holds_the_newer_charter(&self) -> bool {
        let newest = self.charters.as_deref().map(|charters| charters.newest().charter.epoch);
        self.newer_anchor().is_some_and(|anchor| newest >= Some(anchor.epoch))
    }

    /// Asks a peer for what lies between our log and the newer anchor: its charter, and then a state.
    pub(super) fn ask_about_the_newer_anchor(&mut self, peer: PublicKey, effects: &mut Effects) {
        let Some(charter) = self.newer_anchor().map(|anchor| anchor.charter) else { return };
        if !self.holds_the_newer_charter() {
            effects.send(peer, Arc::new(Message::AskCharter(charter)));
        } else if self.fetch.is_none() {
            self.fetch_snapshot_from(peer, effects);
        }
    }

    /// The peer from which a snapshot was fetched has not brought it: asks another.
    pub(super) fn fetch_for_the_newer_anchor(&mut self, failed: PublicKey, effects: &mut Effects) {
        if !self.holds_the_newer_charter() {
            return;
        }
        // Whom the newer charter seats is not known before there is a state under it, and snapshots prove themselves.
        let others = self.connected.iter().copied().filter(|peer| *peer != failed);
        let peers: Vec<PublicKey> = others.collect();
        let nth = self.jitter() as usize % peers.len().max(1);
        let peer = peers.get(nth).copied().or_else(|| self.connected.contains(&failed).then_some(failed));
        if let Some(peer) = peer {
            self.fetch_snapshot_from(peer, effects);
        }
    }

    /// A peer showed a charter. It is believed if it is the newer anchor's; whether it was.
    pub(super) fn charter_of_the_newer_anchor(
        &mut self,
        from: PublicKey,
        charter: &Charter,
        effects: &mut Effects,
    ) -> bool {
        let Some(anchor) = self.newer_anchor() else { return false };
        let named = charter.id() == anchor.charter && charter.epoch == anchor.epoch;
        if !named || self.holds_the_newer_charter() || charter.check().is_err() || self.now > charter.last_day
        {
            return false;
        }
        let charters = Charters::begin(self.domain, charter.clone(), None);
        // Not written down before there is a state under it: what is on the disk goes on from the charter before, and would have no beginning.
        let before = self.charters.replace(Box::new(charters));
        if let (Some(before), Some(anchored)) = (before, &mut self.anchored) {
            anchored.left = before.links_of_later(0).iter().map(|link| Core::link_place(link)).collect();
        }
        // Our epoch is over, whatever our log says.
        let height = self.chain.as_ref().map_or(0, |chain: &Chain| chain.head().height);
        self.leave_seat(height);
        self.fetch_snapshot_from(from, effects);
        true
    }

    /// There is a state under the newer charter.
    pub(super) fn has_come_to_the_anchor(&mut self, effects: &mut Effects) {
        let Some(anchored) = self.anchored.take() else { return };
        if let Some(charters) = self.charters.as_deref() {
            effects.persist(first_charter_record(charters));
        }
        // They lead nowhere any more.
        for key in anchored.left {
            effects.persist(Record { table: Table::Charters, key, value: None });
        }
        effects.persist(Record { table: Table::Meta, key: ANCHOR_KEY.to_vec(), value: None });
    }
}
