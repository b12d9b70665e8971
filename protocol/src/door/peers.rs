//! Who is who: what a peer is to us, and whose key is whose.

use rand_core::Rng as _;

use super::core::Core;
use super::message::Standing;
use crate::identity::{NodeId, PublicKey};
use crate::planted::{Bug, loosened};
use crate::state::{Charter, Effective};

impl Core {
    pub(super) fn any_endorser_connected(&mut self) -> Option<PublicKey> {
        let peers: Vec<PublicKey> =
            self.connected.iter().copied().filter(|peer| self.is_seated(peer)).collect();
        (!peers.is_empty()).then(|| peers[(self.rng.next_u64() % peers.len() as u64) as usize])
    }

    pub(super) fn any_member_connected(&mut self) -> Option<PublicKey> {
        let peers: Vec<PublicKey> = self
            .connected
            .iter()
            .copied()
            .filter(|peer| self.standing_of(peer) >= Standing::Member)
            .collect();
        // All whom we know may have rotated while we were away. What a stranger answers is taken for its certificate, or not at all.
        let peers = if peers.is_empty() { self.connected.iter().copied().collect() } else { peers };
        if peers.is_empty() {
            return None;
        }
        Some(peers[(self.rng.next_u64() % peers.len() as u64) as usize])
    }

    /// Whose key this is or was, in this domain.
    pub(super) fn owner_of(&self, key: &PublicKey) -> Option<NodeId> {
        self.chain.as_ref()?.state().owner_of(key)
    }

    /// The charter in force; none before a newcomer has seen it.
    pub fn charter(&self) -> Option<&Charter> {
        match &self.chain {
            Some(chain) => Some(chain.state().charter()),
            None => self.charters.as_ref().map(|charters| &*charters.newest().charter),
        }
    }

    /// What a peer is to us, by its transport key.
    pub fn standing_of(&self, key: &PublicKey) -> Standing {
        let Some(chain) = &self.chain else { return Standing::Stranger };
        let state = chain.state();
        let Some(node) = state.owner_of(key) else { return Standing::Stranger };
        if state.is_gone(&node) {
            return Standing::Gone;
        }
        // An earlier key of that identity is nobody's any more.
        let is_current = state.standing(&node).is_some_and(|standing| standing.keys.current == *key);
        if !is_current && !loosened(Bug::EarlierKeysSpeak) {
            return Standing::Stranger;
        }
        // Somebody may be gone whom it knew as that: only those who lead on from here are more than strangers.
        if self.is_behind_itself() && !state.has_seat(&node) {
            return Standing::Stranger;
        }
        match self.effective_here(state, &node, self.now) {
            // A suspension prolongs nothing: whoever would be a stranger without it is one with it.
            Effective::Suspended | Effective::Convicted if self.is_over(&node) => Standing::Stranger,
            Effective::Suspended | Effective::Convicted => Standing::Suspended,
            Effective::Yes if state.has_seat(&node) => Standing::Endorser,
            Effective::Yes => Standing::Member,
            Effective::Lapsed
                if state
                    .renewable_until(&node)
                    .is_some_and(|end| self.now < end || loosened(Bug::LapsedForEver)) =>
            {
                Standing::Lapsed
            }
            Effective::Unknown | Effective::NotYet | Effective::Lapsed | Effective::Gone => {
                Standing::Stranger
            }
        }
    }

    /// Whether this node lacks blocks that it had before it lost its state, or the one that admitted it (SPEC 9.4).
    pub(super) fn is_behind_itself(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.head().height < self.reached)
    }

    /// Whether the time of `node` is over for so long that only operators can admit it anew.
    fn is_over(&self, node: &NodeId) -> bool {
        let Some(state) = self.state().filter(|state| !state.has_seat(node)) else { return false };
        let end = state.renewable_until(node).or_else(|| Some(state.standing(node)?.window.until));
        end.is_some_and(|end| end <= self.now)
    }

    /// Whether the charter in force has a seat for this node, with or without a voting key here.
    pub(super) fn has_a_seat(&self) -> bool {
        self.state().is_some_and(|state| state.has_seat(&self.me))
    }

    pub(super) fn is_seated(&self, key: &PublicKey) -> bool {
        self.seat_of(key).is_some()
    }

    /// The node that sits in the charter under this transport key.
    pub(super) fn seat_of(&self, key: &PublicKey) -> Option<NodeId> {
        match &self.chain {
            Some(chain) => {
                let state = chain.state();
                let node = state.owner_of(key)?;
                // Whoever has one of its earlier keys is not it.
                (state.has_seat(&node) && state.key_of(&node) == Some(*key)).then_some(node)
            }
            None => {
                let charter = self.charter()?;
                charter.endorsers.iter().find(|seat| seat.inception.key == *key).map(|seat| seat.node_id())
            }
        }
    }

    pub(super) fn voter_of(&self, key: &PublicKey) -> Option<PublicKey> {
        let node = self.seat_of(key)?;
        match &self.chain {
            Some(chain) => chain.state().seat_of(&node).map(|seat| seat.voting_key),
            None => self.charter()?.seat_of(&node).map(|seat| seat.voting_key),
        }
    }

    /// The transport keys of the charter's endorsers, ourselves left out: whom a node should be connected to.
    pub fn endorser_keys(&self) -> Vec<PublicKey> {
        let Some(chain) = &self.chain else {
            let charter = self.charter().map_or(&[][..], |charter| &charter.endorsers);
            let others = charter.iter().filter(|seat| seat.node_id() != self.me);
            return others.map(|seat| seat.inception.key).collect();
        };
        let state = chain.state();
        let others = state.seats().filter(|(node, _)| **node != self.me);
        others.map(|(node, seat)| state.key_of(node).unwrap_or(seat.inception.key)).collect()
    }

    /// The transport key of whoever votes by `voter`.
    pub(super) fn key_of_voter(&self, voter: &PublicKey) -> Option<PublicKey> {
        let Some(chain) = &self.chain else {
            return Some(self.charter()?.seat_of_voter(voter)?.inception.key);
        };
        let state = chain.state();
        let (node, seat) = state.seats().find(|(_, seat)| seat.voting_key == *voter)?;
        Some(state.key_of(node).unwrap_or(seat.inception.key))
    }
}
