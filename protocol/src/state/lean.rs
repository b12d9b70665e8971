//! The state held in part (SPEC 7.5 to 7.7): who stands, whole; of those who are gone and of all keys that ever were, what execution looks up.
//!
//! Nearly all that execution asks is about those who stand, and of them everything is held. Only who is new may lie anywhere among those who
//! are gone, and a new key anywhere among all keys. What an entry asks follows from its statement alone ([`touched`]), so that a node can ask a
//! peer for just those paths before it executes.
//!
//! **Invariant:** nothing is ever removed from these two maps. So what is held stays held, and paths under the state before a chain serve for
//! all of its blocks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::amend::Consent;
use super::block::Block;
use super::charter::Charter;
use super::execute::check_packing;
use super::map::{Key, Look, MapProof};
use super::maps::{MapName, Maps, Standing, key_slot};
use super::rules::{Facts, Law, Scene};
use super::statement::{Kind, Statement};
use super::value::{Inner, State};
use crate::encoding::Hash;
use crate::fault::{ENTRIES_ROOT, Fault};
use crate::identity::{NodeId, PublicKey};
use crate::limits;
use crate::planted::{Bug, loosened};

/// A place in one of the two maps that may be held in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// [`MapName::Gone`] or [`MapName::Keys`].
    pub map: MapName,
    /// The key in it.
    pub key: Hash,
}

impl Place {
    /// Where it says whether `node` is gone.
    pub fn of_node(node: &NodeId) -> Place {
        Place { map: MapName::Gone, key: Hash(node.0) }
    }

    /// Where it says whose `key` is or was.
    pub fn of_key(key: &PublicKey) -> Place {
        Place { map: MapName::Keys, key: Hash(key_slot(key)) }
    }

    fn missing(self) -> Fault {
        Fault::PathMissing { map: self.map, key: self.key }
    }
}

/// Where executing an entry with this statement may look, or put something, in the maps that may be held in part (SPEC 7.6). The ways to whoever
/// sits in the charter in force by the key that it votes with are not among them: those are always held.
pub fn touched(statement: &Statement) -> Vec<Place> {
    let mut places: Vec<Place> = statement.subject().iter().map(Place::of_node).collect();
    match &statement.kind {
        Kind::Admit(admit) => places.push(Place::of_key(&admit.subject.key)),
        Kind::Rotate(rotate) => {
            places.extend(rotate.rotations.iter().map(|rotation| Place::of_key(&rotation.key)));
        }
        Kind::Amend(amend) => touched_by_charter(&amend.charter, &amend.consents, &mut places),
        Kind::Recover(recover) => {
            places.extend(recover.gone.iter().map(|revoke| Place::of_node(&revoke.subject)));
            places.extend(recover.suspended.iter().map(|suspend| Place::of_node(&suspend.subject)));
            touched_by_charter(&recover.charter, &recover.consents, &mut places);
        }
        // No right depends on a recorded hold, so its subject may be anybody (SPEC 4.14).
        Kind::Hold(_) => places.clear(),
        Kind::Revoke(_) | Kind::Suspend(_) | Kind::Release(_) | Kind::Accuse(_) => {}
    }
    places
}

fn touched_by_charter(charter: &Charter, consents: &[Consent], places: &mut Vec<Place>) {
    places.extend(charter.endorsers.iter().map(|seat| Place::of_node(&seat.node_id())));
    places.extend(charter.recovery.keys.iter().map(Place::of_key));
    for consent in consents {
        places.push(Place::of_node(&consent.node));
        places.push(Place::of_key(&consent.voting_key));
    }
}

impl Maps {
    pub(super) fn holds(&self, place: &Place) -> bool {
        match place.map {
            MapName::Gone => self.gone.holds(&place.key.0),
            MapName::Keys => self.keys.holds(&place.key.0),
            MapName::Standing | MapName::Tickets | MapName::Spine => true,
        }
    }

    /// Whether all that was put somewhere could be put there.
    pub(super) fn check_sound(&self) -> Result<(), Fault> {
        let torn =
            |map, torn: bool| if torn { Err(Place { map, key: Hash::ZERO }.missing()) } else { Ok(()) };
        torn(MapName::Gone, self.gone.is_torn())?;
        torn(MapName::Keys, self.keys.is_torn())
    }

    /// What a lean state holds of the maps of those who are gone and of keys.
    pub(super) fn kept_in_a_lean_state(&self, law: &Law) -> (Vec<Key>, Vec<Key>) {
        let standing = self.standing.iter().map(|(node, _)| *node);
        let gone = standing.chain(law.seats().map(|node| node.0)).collect();
        let keys_of = |standing: &Standing| {
            let keys = &standing.keys;
            [keys.inception.key, keys.current]
        };
        let of_members = self.standing.iter().flat_map(|(_, standing)| keys_of(standing));
        let of_seats = law.charter.endorsers.iter().map(|seat| seat.voting_key);
        let of_voters = self.previous_voters().iter().map(|(key, _)| *key);
        let keys = of_members.chain(of_seats).chain(of_voters).map(|key| key_slot(&key)).collect();
        (gone, keys)
    }

    /// Whether this holds what a lean state must: nobody who stands is gone, and each has its keys.
    pub(super) fn holds_what_stands(&self, law: &Law) -> bool {
        let (gone, keys) = self.kept_in_a_lean_state(law);
        // Whoever has a seat may have been revoked in it.
        let stands = |node: &Key| self.standing.contains(node);
        let known = |node: &Key| match self.gone.look(node) {
            Look::Held(_) => !stands(node),
            Look::Nothing => true,
            Look::Unknown => false,
        };
        gone.iter().all(known) && keys.iter().all(|slot| matches!(self.keys.look(slot), Look::Held(_)))
    }
}

impl Scene<'_> {
    /// Whether `node` is gone.
    pub(super) fn is_gone(&self, node: &NodeId) -> Result<bool, Fault> {
        match self.maps.gone.look(&node.0) {
            Look::Held(_) => Ok(true),
            Look::Nothing => Ok(false),
            Look::Unknown if self.blind || loosened(Bug::UnknownIsFree) => Ok(false),
            Look::Unknown => Err(Place::of_node(node).missing()),
        }
    }

    /// Whose key lies at `slot`.
    pub(super) fn owner_at(&self, slot: &Key) -> Result<Option<NodeId>, Fault> {
        match self.maps.keys.look(slot) {
            Look::Held(owner) => Ok(Some(*owner)),
            Look::Nothing => Ok(None),
            Look::Unknown if self.blind || loosened(Bug::UnknownIsFree) => Ok(None),
            Look::Unknown => Err(Place { map: MapName::Keys, key: Hash(*slot) }.missing()),
        }
    }
}

impl State {
    /// Whether nothing of it lies under a stub.
    pub fn is_whole(&self) -> bool {
        self.0.maps.gone.is_whole() && self.0.maps.keys.is_whole()
    }

    /// Whether it holds what lies at `place`, or knows that nothing does.
    pub fn holds(&self, place: &Place) -> bool {
        self.0.maps.holds(place)
    }

    /// Whether somebody is gone, held here or not.
    pub fn is_anybody_gone(&self) -> bool {
        !self.0.maps.gone.is_empty()
    }

    /// Where `blocks` may look on this state, and it does not hold what is there; in order, each once.
    pub fn missing_for<'a>(&self, blocks: impl Iterator<Item = &'a Block>) -> Vec<Place> {
        if self.is_whole() {
            return Vec::new();
        }
        let entries = blocks.flat_map(|block| &block.entries);
        let mut places: Vec<Place> = entries.flat_map(|entry| touched(&entry.statement)).collect();
        places.retain(|place| !self.holds(place));
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The way to what lies at `place`, if it is held.
    pub fn path(&self, place: &Place) -> Option<MapProof> {
        self.holds(place).then(|| self.proof(place.map, &place.key.0).path)
    }

    /// Whether a lean snapshot of it has much less in it than a whole one (SPEC 9.23).
    pub fn pays_lean(&self) -> bool {
        let (gone, members) = (self.gone_count(), self.member_count());
        gone >= limits::LEAN_GONE_MIN && gone >= limits::LEAN_GONE_PER_MEMBER.saturating_mul(members)
    }

    /// The same state with what these paths show.
    ///
    /// # Errors
    /// [`Fault::BadProof`] if one does not lead to the root of this state: whoever sent it is to blame.
    pub fn grafted<'a>(
        &self,
        paths: impl Iterator<Item = (&'a Place, &'a MapProof)>,
    ) -> Result<State, Fault> {
        let inner = &*self.0;
        let mut maps = inner.maps.clone();
        for (place, path) in paths {
            let key = &place.key.0;
            match place.map {
                MapName::Gone => maps.gone.graft(path, key),
                MapName::Keys => maps.keys.graft(path, key),
                MapName::Standing | MapName::Tickets | MapName::Spine => return Err(Fault::BadProof),
            }
            .map_err(|_| Fault::BadProof)?;
        }
        let (law, last) = (Arc::clone(&inner.law), inner.last.clone());
        Ok(State(Arc::new(Inner::new(law, maps, inner.roots, last, inner.log_before.clone()))))
    }

    /// Whether nothing is wrong with the entries of `block` but for what is not held: a certified block of which that is so may be passed on. Its
    /// roots are not looked at.
    ///
    /// # Errors
    /// The [`Fault`] that is there in any case.
    pub fn judge_in_part(&self, block: &Block) -> Result<(), Fault> {
        let id = block.id();
        if !block.has_its_entries() {
            return Err(Fault::WrongHeader { block: id, what: ENTRIES_ROOT });
        }
        check_packing(block, id)?;
        let mut scene = self.open_block(block.header.height, block.header.time);
        scene.recovers = block.recovers().then_some(block.header.parent);
        scene.blind = true;
        for entry in &block.entries {
            let facts = Facts::of(&entry.statement);
            scene.judge(entry, &facts)?;
            scene.apply(&entry.statement, &facts);
        }
        Ok(())
    }
}
