//! This node's own rotations: on their way into the log, and from when on it speaks by the new key (SPEC 4.11, 5.19, 5.20).
//!
//! What was rotated is kept by the host, beside the keys, and belongs to the identity; which of it *this* log lacks follows from the
//! state. So there is nothing to remember here: after a restart at whatever point, what is lacking is handed in again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::{Core, Phase};
use super::effects::Effects;
use super::input::{Error, Event};
use super::message::Message;
use crate::encoding::encoded_len;
use crate::fault::Fault;
use crate::following::{check_certificate, check_links};
use crate::identity::{KeySequence, PublicKey, Rotation, SecretKey, Verified};
use crate::joining::{Decision, KeyHistory};
use crate::limits;
use crate::state::{Entry, FinalChain, Kind, Rotate, Statement};
use crate::time::Timestamp;

/// When a rotation that is not in the log yet is handed in again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) at: Timestamp,
    patience_ms: u64,
}

impl Again {
    pub(super) fn from(now: Timestamp) -> Again {
        Again { at: now, patience_ms: limits::NEWCOMER_PATIENCE_FIRST_MS }
    }

    fn later(self, now: Timestamp) -> Again {
        let patience_ms = (self.patience_ms * 2).min(limits::NEWCOMER_PATIENCE_CAP_MS);
        Again { at: now.plus(self.patience_ms), patience_ms }
    }
}

impl Core {
    /// The number of the key that this node speaks by.
    pub(super) fn sequence(&self) -> KeySequence {
        let key = self.keys.identity.public();
        self.keys
            .rotations
            .iter()
            .find(|rotation| rotation.key == key)
            .map_or(0, |rotation| rotation.sequence)
    }

    /// Whether the log says that the key by which we speak is ours now. It does not where somebody else has rotated this identity, or where
    /// our log has not caught up with what others showed us.
    pub(super) fn check_own_key(&self) -> Result<(), Fault> {
        let current = self.state().and_then(|state| state.key_of(&self.me));
        if current == Some(self.keys.identity.public()) {
            Ok(())
        } else {
            Err(Fault::NotTheCurrentKey { node: self.me })
        }
    }

    /// Whether this domain would take `rotation` of this node now. A host asks before it makes keys durable for it.
    ///
    /// # Errors
    /// The [`Fault`] for which it would not.
    pub fn check_rotation(&self, rotation: &Rotation) -> Result<(), Fault> {
        let Some(chain) = &self.chain else { return Err(Fault::Unknown { what: "the state" }) };
        if !self.lacking().is_empty() {
            return Err(Fault::BadRotation { why: "another is still on its way into the log" });
        }
        let time = self.now.max(chain.head().time.plus(1));
        chain.state().judge_statement(chain.head(), time, &self.rotate_statement(vec![*rotation]))
    }

    /// Our operator wants another key.
    pub(super) fn rotate(
        &mut self,
        rotation: Rotation,
        key: SecretKey,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if key.public() != rotation.key {
            return Err(Error::ApiMisuse("the key is not the one that the rotation is to"));
        }
        self.check_rotation(&rotation)?;
        self.keys.rotations.push(rotation);
        self.keys.successor = Some(key);
        self.rotation_again = Some(Again::from(self.now));
        self.hand_in_again(effects);
        Ok(())
    }

    fn rotate_statement(&self, rotations: Vec<Rotation>) -> Statement {
        Statement { domain: self.domain, kind: Kind::Rotate(Rotate { subject: self.me, rotations }) }
    }

    /// What the log lacks of our rotations, as far as one entry holds it.
    fn lacking(&self) -> Vec<Rotation> {
        // Where there is no state yet, or one from before we were admitted, all may be final but the last. If that is, too, nobody gives us
        // more under the old key; so we ask by it.
        let standing = self.state().and_then(|state| state.standing(&self.me));
        let known = match (standing, &self.keys.successor) {
            (Some(standing), _) => standing.keys.sequence,
            (None, Some(_)) => (self.keys.rotations.len() as KeySequence).saturating_sub(1),
            (None, None) => return Vec::new(),
        };
        let lacking = self.keys.rotations.iter().filter(|rotation| rotation.sequence > known);
        lacking.take(limits::ROTATIONS_PER_ENTRY_MAX).copied().collect()
    }

    /// Whether a rotation of ours is not in the log yet.
    pub(super) fn is_rotating(&self) -> bool {
        !self.lacking().is_empty()
    }

    fn rotate_entry(&self) -> Option<Verified<Arc<Entry>>> {
        let rotations = self.lacking();
        if rotations.is_empty() || self.phase() == Phase::Gone {
            return None;
        }
        let statement = self.rotate_statement(rotations);
        Some(Verified::of_verified_parts(Arc::new(Entry { statement, endorsements: Vec::new() })))
    }

    /// Hands in what the log lacks, to everybody who makes blocks.
    fn hand_in_again(&mut self, effects: &mut Effects) {
        let Some(entry) = self.rotate_entry() else {
            self.rotation_again = None;
            return;
        };
        self.rotation_again = self.rotation_again.map(|again| again.later(self.now));
        if self.hall.is_some() {
            // It is in nobody's way if it must wait: for another day, or for our log to catch up.
            let _ = self.submitted(None, &entry, effects);
        }
        let message = Arc::new(Message::Submit(entry.into_inner()));
        // To whoever is connected: while we were away the endorsers may have rotated, too, and then we know none of their keys.
        let to: BTreeSet<PublicKey> =
            self.endorser_keys().into_iter().chain(self.connected.iter().copied()).collect();
        for key in to {
            effects.send(key, Arc::clone(&message));
        }
    }

    pub(super) fn hand_in_what_is_due(&mut self, effects: &mut Effects) {
        if self.rotation_again.is_some_and(|again| again.at <= self.now) {
            self.hand_in_again(effects);
        }
    }

    /// A connection opened. Whoever it is gets our rotation while that is on its way, since it may be an endorser under a key that we do not
    /// know yet; an endorser gets what its log may lack of our keys: under the old key we may be a stranger to it by now,
    /// under the new one still.
    pub(super) fn show_own_rotation(&mut self, peer: PublicKey, effects: &mut Effects) {
        if let Some(entry) = self.rotate_entry() {
            effects.send(peer, Arc::new(Message::Submit(entry.into_inner())));
            return;
        }
        let Some(chain) = self.chain.as_ref().filter(|_| self.is_seated(&peer)) else { return };
        let rotated = chain.state().standing(&self.me).and_then(|standing| standing.rotated);
        let recent = rotated
            .map(|rotated| rotated.height)
            .filter(|height| chain.head().height - height <= limits::JOURNAL_KEPT_HEIGHTS);
        // A final chain is taken from strangers, too, if it is as short as what they may say.
        if let Some(proof) = recent.and_then(|height| chain.chain_of(height))
            && encoded_len(&proof) <= limits::STRANGER_MESSAGE_BYTES_MAX / 2
        {
            effects.send(peer, Arc::new(Message::Final(Arc::new(proof))));
        }
    }

    /// Speaks by the key that the log names as ours, once that is the one that we rotate to.
    pub(super) fn adopt_rotation(&mut self, effects: &mut Effects) {
        let current = self.state().and_then(|state| state.key_of(&self.me));
        if self.keys.successor.as_ref().is_some_and(|key| Some(key.public()) == current) {
            self.take_successor(effects);
        }
    }

    fn take_successor(&mut self, effects: &mut Effects) {
        let Some(key) = self.keys.successor.take() else { return };
        self.keys.identity = key;
        self.tell_rotated(effects);
    }

    /// The host destroys the old key upon this: by then everything that says so is on the disk.
    pub(super) fn tell_rotated(&self, effects: &mut Effects) {
        effects.sync_all();
        effects.tell(Event::Rotated { sequence: self.sequence(), key: self.keys.identity.public() });
    }

    /// What was endorsed under the old key lapsed with it (SPEC 4.4): our operators said yes all the same.
    pub(super) fn endorse_again(&mut self, effects: &mut Effects) {
        let endorsed = self.proposals.iter().filter(|(_, it)| it.decision == Decision::Endorsed);
        let ids: Vec<_> = endorsed.map(|(id, _)| *id).collect();
        for id in ids {
            // What would not do any more lapses with the rest.
            let _ = self.endorse(&id, effects);
        }
    }

    /// A certified chain has our rotation in a block that we cannot execute, because earlier ones are missing here. Those are given to
    /// members only, and under the old key we are none any more; so we speak by the new key from here on (SPEC 5.20).
    pub(super) fn shown_to_have_rotated(&mut self, proven: &FinalChain, effects: &mut Effects) {
        let Some(to) = self.keys.successor.as_ref().map(SecretKey::public) else { return };
        let is_ours = |statement: &Statement| {
            let last = statement.rotation().and_then(|rotate| rotate.rotations.last());
            last.is_some_and(|rotation| rotation.key == to)
        };
        // The certificate is of the header: the entries must be those that it names.
        let says_so = proven.blocks.iter().any(|block| {
            block.entries.iter().any(|entry| is_ours(&entry.statement)) && block.has_its_entries()
        });
        if says_so {
            self.take_successor(effects);
        }
    }

    /// What a chain that was checked by nothing yet says of us while we are without a state: that our key was rotated, or that we are gone for
    /// good, in which case nobody gives us anything else.
    pub(super) fn shown_without_a_state(&mut self, proven: &FinalChain, effects: &mut Effects) {
        // Nobody here can execute it: a thief of the recovery keys would put anything into its block.
        if proven.certificate.is_of_recovery() {
            return;
        }
        let Some(charters) = self.charters.as_deref() else { return };
        let ids = proven.ids();
        let (Some(tip), Some(id)) = (proven.tip(), ids.last()) else { return };
        let charter = &charters.newest().charter;
        let is_final = check_certificate(self.domain, charter, &proven.certificate, tip, *id).is_ok()
            && check_links(proven, &ids).is_ok();
        // Whoever has a seat keeps its vote until an `Amend` (SPEC 4.7).
        let has_a_seat = charter.seat_of(&self.me).is_some();
        if !is_final {
            return;
        }
        self.shown_to_have_rotated(proven, effects);
        if let Some(height) = self.revoked_at(proven).filter(|_| !has_a_seat) {
            self.dismissed(height, effects);
        }
    }

    /// How our key came to be what it is; nothing if it is the first.
    pub(super) fn key_history(&self) -> Option<Message> {
        let sequence = self.sequence();
        let until_now = self.keys.rotations.iter().filter(|rotation| rotation.sequence <= sequence);
        let rotations: Vec<Rotation> = until_now.copied().collect();
        let fits = !rotations.is_empty() && rotations.len() <= limits::ROTATIONS_SHOWN_MAX;
        fits.then(|| Message::KeyHistory(Box::new(KeyHistory { node: self.me, rotations })))
    }
}
