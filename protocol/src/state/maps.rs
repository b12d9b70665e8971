//! What the state holds: four maps and the spine (SPEC 7.1, 7.3).

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::charter::{Charter, RoleName};
use super::map::{Key, Map, Value};
use super::statement::{Reason, TicketId, Window};
use crate::encoding::{Hash, Label, digest, digest_parts};
use crate::fault::Fault;
use crate::identity::{Inception, KeySequence, NodeId, PublicKey, Rotation};
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

/// What a domain holds of an identity that is not gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// Its keys.
    pub keys: Keys,
    /// What it may be, ordered.
    pub roles: Vec<RoleName>,
    /// When. It binds no endorser (SPEC 4.8).
    pub window: Window,
    /// The number of its newest `Admit`; 0 if it stands by its seat alone.
    pub number: u64,
    /// The height of the block with that; 0 likewise.
    pub height: u64,
    /// On which grounds.
    pub by: AdmittedBy,
    /// The number of its newest `Suspend`; 0 if there was none.
    pub suspensions: u64,
    /// That one, if it was not released. It may have lapsed.
    pub suspension: Option<Suspension>,
    /// Its newest `Rotate`, if there was one.
    pub rotated: Option<Rotated>,
    /// Holds by it that the log recorded, of the newest day that there is any of.
    pub holds: Option<HoldsRecorded>,
    /// Whether its newest `Admit` gave it less than a whole lifetime: operators limited it, and it cannot renew (SPEC 4.5).
    pub limited: bool,
    /// Its keys that contradicted themselves, in the order in which that was proven, until what ends each (SPEC 4.13).
    pub convictions: Vec<Conviction>,
}

/// A key of which it is proven that it signed what no honest owner signs (SPEC 4.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conviction {
    /// Which.
    pub key: ConvictedKey,
    /// The height of the block with the proof.
    pub height: u64,
}

/// Discriminants are under the state root: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConvictedKey {
    /// A voting key: until an `Amend` that leaves its owner without a seat, or gives it a fresh one.
    Voting(PublicKey),
    /// The key that its owner had then: until it rotates.
    Identity(PublicKey),
}

/// When the log last took over rotations of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotated {
    /// The height of the block.
    pub height: u64,
    /// The day of its time, counted from the beginning of time.
    pub day: u64,
    /// How many such entries that day has seen.
    pub entries: u32,
}

/// Which holds of an endorser the log has recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HoldsRecorded {
    /// The height of the block with the newest of them.
    pub height: u64,
    /// Their day, counted from the beginning of time.
    pub day: u64,
    /// A bit for each slot of that day, the lowest for slot 0.
    pub slots: u8,
}

impl HoldsRecorded {
    /// Whether the hold in this slot is among them.
    pub fn has(&self, slot: u8) -> bool {
        1u8.checked_shl(slot.into()).is_some_and(|bit| self.slots & bit != 0)
    }
}

/// Rights that rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suspension {
    /// Until when.
    pub until: Timestamp,
    /// The height of the block that says so.
    pub height: u64,
    /// The reason given.
    pub reason: Reason,
}

impl Standing {
    /// Whether its rights rest at `time`: it is suspended, or convicted.
    pub fn restrained(&self, time: Timestamp) -> bool {
        self.suspended(time).is_some() || self.is_convicted()
    }

    /// Whether a key of it is convicted. Neither time nor a `Release` ends that.
    pub fn is_convicted(&self) -> bool {
        !self.convictions.is_empty()
    }

    /// The suspension that is in force at `time`.
    pub fn suspended(&self, time: Timestamp) -> Option<&Suspension> {
        self.suspension.as_ref().filter(|it| time < it.until || loosened(Bug::SuspensionEndless))
    }
}

/// The keys of an identity, as far as a domain's log knows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Keys {
    /// How it began.
    pub inception: Inception,
    /// How often its key was rotated since.
    pub sequence: KeySequence,
    /// The key that it signs with now.
    pub current: PublicKey,
    /// The commitment to the next one.
    pub next: Hash,
}

impl Keys {
    /// The keys of whoever has only begun.
    pub fn of(inception: &Inception) -> Keys {
        Keys { inception: inception.clone(), sequence: 0, current: inception.key, next: inception.next }
    }

    /// The keys after `rotation`, whose signature was checked before (SPEC 2.4).
    ///
    /// # Errors
    /// If it is not the next one, or not to the key that was committed to.
    pub fn rotated(&self, rotation: &Rotation) -> Result<Keys, Fault> {
        let expected = self.sequence.checked_add(1);
        if expected != Some(rotation.sequence) {
            let (theirs, expected) = (rotation.sequence.into(), u64::from(self.sequence) + 1);
            return Err(Fault::WrongNumber { subject: self.inception.node_id(), theirs, expected });
        }
        if rotation.key.commitment() != self.next && !loosened(Bug::RotatedByAThief) {
            return Err(Fault::BadRotation { why: "its key is not the one that was committed to" });
        }
        let Rotation { sequence, key: current, next, signature: _ } = *rotation;
        Ok(Keys { inception: self.inception.clone(), sequence, current, next })
    }
}

/// On which grounds somebody stands. Discriminants are under the state root: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdmittedBy {
    /// It has a seat in the charter.
    Seat,
    /// This ticket.
    Ticket(TicketId),
    /// The endorsers' operators said yes.
    Approval,
    /// It stood already, and was in good standing.
    Renewal,
}

/// What a domain holds of an identity that is gone for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gone {
    /// The height of the block that revoked it.
    pub height: u64,
    /// The reason given.
    pub reason: Reason,
    /// Its last key: if it had a seat, it keeps its vote, and is reached by that.
    pub key: PublicKey,
}

/// An item of the spine. Discriminants are under the state root: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SpineItem {
    /// The charter in force.
    Charter(Box<Charter>),
    /// The voting keys of the charter before, each with whose it was, but for those that were convicted under it.
    Voters(Vec<(PublicKey, NodeId)>),
}

/// One of the state's maps. Discriminants are wire format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapName {
    /// `NodeId` → [`Standing`].
    Standing,
    /// `NodeId` → [`Gone`].
    Gone,
    /// Digest of a key → `NodeId` of whom it belongs to.
    Keys,
    /// Expiry and ticket → uses spent.
    Tickets,
    /// Digest of a name → [`SpineItem`].
    Spine,
}

/// The roots of the five maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roots(pub(super) [Hash; 5]);

impl Roots {
    /// The root of one map.
    pub fn of(&self, map: MapName) -> Hash {
        self.0[map as usize]
    }

    /// The state root over them (SPEC 7.3).
    pub fn state_root(&self) -> Hash {
        let parts: [&[u8]; 5] = std::array::from_fn(|i| &self.0[i].0[..]);
        digest_parts(Label::State, &parts)
    }
}

impl Value for Standing {
    type Kept = OnceLock<Hash>;
}

impl Value for SpineItem {
    type Kept = OnceLock<Hash>;
}

impl Value for Gone {
    type Kept = ();
}

impl Value for NodeId {
    type Kept = ();
}

impl Value for u32 {
    type Kept = ();
}

#[derive(Clone, Default)]
pub(super) struct Maps {
    pub(super) standing: Map<Standing>,
    pub(super) gone: Map<Gone>,
    pub(super) keys: Map<NodeId>,
    pub(super) tickets: Map<u32>,
    pub(super) spine: Map<SpineItem>,
}

/// Where `key` lies in [`MapName::Keys`].
pub(super) fn key_slot(key: &PublicKey) -> Key {
    digest(Label::MapKey, &key.0).0
}

/// Where a ticket lies in [`MapName::Tickets`]: by expiry first, so that expired ones lie in front.
pub(super) fn ticket_slot(expires: Timestamp, ticket: &TicketId) -> Key {
    let mut slot = [0; 32];
    slot[..8].copy_from_slice(&expires.0.to_be_bytes());
    slot[8..].copy_from_slice(&ticket.0[..24]);
    slot
}

fn ticket_slot_expiry(slot: &Key) -> Timestamp {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&slot[..8]);
    Timestamp(u64::from_be_bytes(bytes))
}

/// Where the charter in force lies in [`MapName::Spine`].
pub(super) fn charter_slot() -> Key {
    digest(Label::Spine, b"charter").0
}

/// Where the voters of the charter before lie in [`MapName::Spine`].
pub(super) fn previous_voters_slot() -> Key {
    digest(Label::Spine, b"previous voters").0
}

impl Maps {
    /// The voting keys of the charter before, as far as they can still be convicted, each with whose it was.
    pub(super) fn previous_voters(&self) -> &[(PublicKey, NodeId)] {
        match self.spine.get(&previous_voters_slot()) {
            Some(SpineItem::Voters(voters)) => voters,
            Some(SpineItem::Charter(_)) | None => &[],
        }
    }

    pub(super) fn roots(&self) -> Roots {
        Roots([
            self.standing.root(),
            self.gone.root(),
            self.keys.root(),
            self.tickets.root(),
            self.spine.root(),
        ])
    }

    /// Forgets tickets that expired before `time`, at most `max` of them, the oldest first (SPEC 4.6).
    pub(super) fn forget_expired_tickets(&mut self, time: Timestamp, max: usize) {
        for _ in 0..max {
            let oldest = self.tickets.iter().next().map(|(slot, _)| *slot);
            match oldest {
                Some(_) if loosened(Bug::TicketsKept) => return,
                Some(slot) if ticket_slot_expiry(&slot) < time => self.tickets.remove(&slot),
                Some(slot) if ticket_slot_expiry(&slot) == time && loosened(Bug::TicketsForgottenEarly) => {
                    self.tickets.remove(&slot)
                }
                Some(_) | None => return,
            };
        }
    }
}
