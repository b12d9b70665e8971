//! What becomes of a contradiction that this node comes to hold: an entry, on its way to a block (SPEC 4.13, 5.27).
//!
//! Nobody is asked, and nobody is waited for: the proof is enough. **Invariant:** a proof that is known here, and that could yet
//! convict somebody, is on the disk until it is in a block or can convict nobody any more: by itself, or in the queue.

use std::sync::Arc;

use super::core::Core;
use super::effects::Effects;
use super::input::{Alarm, Event};
use super::message::Message;
use super::record::{Record, Table};
use crate::encoding::encode;
use crate::fault::Fault;
use crate::identity::{NodeId, Rotation, Verified};
use crate::planted::{Bug, loosened};
use crate::state::{
    Accuse, Contradiction, ConvictedKey, DomainId, Entry, Hold, Kind, Rotate, SignedBallot, Statement,
};

/// What comes before the subject in the place in [`Table::Meta`] of a proof that must wait.
pub(super) const LIE_KEY: &[u8] = b"lie of ";

fn place_of(subject: &NodeId) -> Vec<u8> {
    [LIE_KEY, &subject.0].concat()
}

impl Core {
    /// A voter said both.
    pub(super) fn accuse_voter(&mut self, first: SignedBallot, second: SignedBallot, effects: &mut Effects) {
        if let Some(subject) = self.owner_of(&first.voter).filter(|_| !loosened(Bug::LiesUntold)) {
            self.accuse(subject, Contradiction::Ballots(first, second), effects);
        }
    }

    fn accuse(&mut self, subject: NodeId, contradiction: Contradiction, effects: &mut Effects) {
        let entry = proof_entry(self.domain, subject, contradiction);
        // What no block can take, nobody needs: the key is convicted, or its owner gone.
        let _ = self.submitted(None, &entry, effects);
    }

    /// Whoever gave one slot to two holds, by a key that can still be convicted of it, is accused: when the second comes, and again
    /// with each final block, since another accusation of it may have been first, or this node had no seat then (SPEC 5.27).
    pub(super) fn accuse_whoever_held_twice(&mut self, effects: &mut Effects) {
        if self.hall.is_none() {
            return;
        }
        for (first, second) in self.holds_that_convict() {
            self.accuse(first.by, Contradiction::Holds(first, second), effects);
        }
    }

    /// A node that makes no blocks was brought both, and perhaps nobody else: whoever does is handed the proof.
    pub(super) fn hand_in_two_holds(&self, first: Hold, second: Hold, effects: &mut Effects) {
        let entry = proof_entry(self.domain, first.by, Contradiction::Holds(first, second));
        self.pass_on_proof(&entry, effects);
    }

    /// Of others: nobody accuses itself.
    fn holds_that_convict(&self) -> Vec<(Hold, Hold)> {
        let Some(state) = self.state() else { return Vec::new() };
        let convicted = |hold: &Hold| {
            let convictions = state.standing(&hold.by).into_iter().flat_map(|it| &it.convictions);
            convictions.into_iter().any(|it| it.key == ConvictedKey::Identity(hold.key))
        };
        self.holds.lies().filter(|(first, _)| first.by != self.me && !convicted(first)).collect()
    }

    /// Keeps an accusation that is refused for `fault`, if it may be taken later. Whether it is kept.
    pub(super) fn keep_proof(
        &mut self,
        entry: &Verified<Arc<Entry>>,
        fault: &Fault,
        effects: &mut Effects,
    ) -> bool {
        let (Kind::Accuse(accuse), Fault::WouldStrandTheCharter { .. }) = (&entry.statement.kind, fault)
        else {
            return false;
        };
        let subject = accuse.subject;
        if self.proofs.contains_key(&subject) || loosened(Bug::ProofsDropped) {
            return false;
        }
        let value = Some(encode(&**entry).into());
        effects.persist(Record { table: Table::Meta, key: place_of(&subject), value });
        self.proofs.insert(subject, entry.clone());
        true
    }

    /// Something is final: what had to wait may be valid now, or never again.
    pub(super) fn offer_proofs(&mut self, effects: &mut Effects) {
        let Some(chain) = self.chain.as_ref().filter(|_| !self.proofs.is_empty()) else { return };
        let time = self.now.max(chain.head().time.plus(1));
        let judged =
            |entry: &Verified<Arc<Entry>>| chain.state().judge(chain.head(), time, entry).map(|_| ());
        let waits =
            |entry: &Verified<Arc<Entry>>| matches!(judged(entry), Err(Fault::WouldStrandTheCharter { .. }));
        let due: Vec<(NodeId, bool)> = self
            .proofs
            .iter()
            .filter(|(_, entry)| !waits(entry))
            .map(|(subject, entry)| (*subject, judged(entry).is_ok()))
            .collect();
        for (subject, convicts) in due {
            let Some(entry) = self.proofs.get(&subject).cloned() else { continue };
            if convicts && self.submitted(None, &entry, effects).is_err() {
                // It makes no blocks any more, or has no room: others do, and it goes on saying so until one of them has it in.
                self.pass_on_proof(&entry, effects);
                continue;
            }
            // In the queue it is on the disk, too; or it can convict nobody any more.
            self.proofs.remove(&subject);
            effects.persist(Record { table: Table::Meta, key: place_of(&subject), value: None });
        }
    }

    /// Tells every endorser of a proof that must wait: whoever holds it alone may not be there when it is due.
    pub(super) fn pass_on_proof(&self, entry: &Verified<Arc<Entry>>, effects: &mut Effects) {
        let message = Arc::new(Message::Submit(Arc::clone(entry)));
        for key in self.endorser_keys() {
            effects.send(key, Arc::clone(&message));
        }
    }

    /// A rotation is handed in. If another of its number waits here, or is in a block at hand, its keys have two owners.
    pub(super) fn compare_rotations(&mut self, rotate: &Rotate, effects: &mut Effects) {
        let subject = rotate.subject;
        let Some((sequence, current)) = self
            .state()
            .and_then(|state| state.standing(&subject))
            .map(|standing| (standing.keys.sequence, standing.rotated))
        else {
            return;
        };
        let of_it = |statement: &Statement| {
            let rotate = statement.rotation().filter(|known| known.subject == subject);
            rotate.map_or_else(Vec::new, |known| known.rotations.clone())
        };
        let mut known: Vec<Rotation> =
            self.waiting.rotate_of(&subject).map(|entry| of_it(&entry.statement)).unwrap_or_default();
        let block = current.and_then(|rotated| self.chain.as_ref()?.held(rotated.height));
        known.extend(
            block.iter().flat_map(|held| &held.block.entries).flat_map(|entry| of_it(&entry.statement)),
        );
        let rival = |ours: &Rotation| {
            let theirs = known.iter().find(|theirs| {
                (theirs.sequence, theirs.key) == (ours.sequence, ours.key) && theirs.next != ours.next
            })?;
            // Of an earlier key nothing can be proven any more.
            (ours.sequence >= sequence).then_some((*theirs, *ours))
        };
        let rivals = rotate.rotations.iter().find_map(rival);
        if let Some((first, second)) = rivals.filter(|_| !loosened(Bug::RivalsUntold)) {
            let sequence = first.sequence;
            effects.tell(Event::Alarm(Alarm::RotatedTwice { node: subject, sequence }));
            self.accuse(subject, Contradiction::Rotations(first, second), effects);
        }
    }
}

/// The contradiction as an entry. Whoever found it was handed nothing but what was checked.
fn proof_entry(domain: DomainId, subject: NodeId, contradiction: Contradiction) -> Verified<Arc<Entry>> {
    let kind = Kind::Accuse(Box::new(Accuse { subject, contradiction }));
    let statement = Statement { domain, kind };
    Verified::of_verified_parts(Arc::new(Entry { statement, endorsements: Vec::new() }))
}
