//! How long it takes until a charter that was agreed to is in force everywhere: from the last yes that it needs.

use std::collections::{BTreeMap, BTreeSet};

use frith_protocol::encoding::Hash;

use super::Run;
use super::watch::Missing;
use crate::engine::{Instant, NodeIndex};
use crate::world::program::Program;

/// Charters that were proposed, and that are not in force everywhere yet.
#[derive(Default)]
pub(super) struct Amendments {
    /// Who is to say yes, and who did when.
    asked: BTreeMap<Hash, Asked>,
    open: Vec<Amendment>,
}

/// A charter that operators are asked about.
pub(super) struct Asked {
    pub(super) epoch: u64,
    /// How many endorsers must say yes.
    pub(super) amend: usize,
    /// Who they are.
    pub(super) seated: BTreeSet<NodeIndex>,
    /// Whom it adds: each must say yes.
    pub(super) added: BTreeSet<NodeIndex>,
    pub(super) yes: BTreeMap<NodeIndex, Instant>,
}

impl Asked {
    /// When it had every yes that it needs; none, if it lacks one.
    fn agreed(&self) -> Option<Instant> {
        let mut seated: Vec<Instant> =
            self.yes.iter().filter(|(node, _)| self.seated.contains(node)).map(|(_, at)| *at).collect();
        seated.sort_unstable();
        let added: Option<Vec<Instant>> = self.added.iter().map(|node| self.yes.get(node).copied()).collect();
        added?.into_iter().chain([*seated.get(self.amend.checked_sub(1)?)?]).max()
    }
}

struct Amendment {
    epoch: u64,
    since: Instant,
    missing: Missing,
}

impl Amendments {
    pub(super) fn asked(&mut self, id: Hash, asked: Asked) {
        self.asked.insert(id, asked);
    }

    /// An operator says yes then.
    pub(super) fn yes(&mut self, id: &Hash, node: NodeIndex, at: Instant) {
        if let Some(asked) = self.asked.get_mut(id) {
            asked.yes.entry(node).or_insert(at);
        }
    }

    /// Whether every charter that is in force somewhere is so everywhere.
    pub(super) fn are_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Of whoever is down, or gone, nothing is asked any more.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        for amendment in &mut self.open {
            amendment.missing.remove(node);
        }
        self.open.retain(|amendment| !amendment.missing.is_empty());
    }
}

impl Run<'_> {
    /// An epoch began at some node: everybody is to hold a block of it.
    pub(super) fn epoch_began(&mut self, epoch: u64) {
        let asked = &mut self.amendments.asked;
        let Some(id) = asked.iter().find(|(_, asked)| asked.epoch == epoch).map(|(id, _)| *id) else {
            return;
        };
        let Some(since) = asked.remove(&id).and_then(|asked| asked.agreed()) else { return };
        let mut missing = Missing::default();
        for node in &self.members {
            if self.is_up(*node) && !self.lies(*node) {
                missing.insert(*node);
            }
        }
        self.amendments.open.push(Amendment { epoch, since, missing });
    }

    /// A node has a new head: it may be of an epoch that it was to come to.
    pub(super) fn may_have_come_to_an_epoch(&mut self, node: NodeIndex) {
        if self.amendments.open.is_empty() {
            return;
        }
        let chain = self.world.actor(node).map(Program::core).and_then(|core| core.chain());
        let Some(epoch) = chain.map(|chain| chain.head().epoch) else { return };
        let now = self.world.now();
        for amendment in self.amendments.open.iter_mut().filter(|amendment| amendment.epoch <= epoch) {
            if amendment.missing.remove(node) && amendment.missing.is_empty() {
                self.outcome.amend_us.push(now.since(amendment.since));
            }
        }
        self.amendments.open.retain(|amendment| !amendment.missing.is_empty());
    }
}
