//! What the law itself says of holds, charters and recoveries, and what comes of them.

use std::collections::BTreeSet;

use frith_protocol::identity::NodeId;
use frith_protocol::state::{Amend, Charter, Hold, Recover, Suspend};
use frith_protocol::time::Timestamp;

use super::{History, Suspensions};
use crate::engine::{Instant, NodeIndex};
use crate::oracles::Invariant;

impl History {
    /// S1 of a hold: by an endorser that may endorse, with its own key, and each slot once. It takes nothing from anybody.
    pub(super) fn recorded(&mut self, now: Instant, node: NodeIndex, time: Timestamp, hold: &Hold) {
        let by = hold.by;
        let current = self.rotated.get(&by).and_then(|keys| keys.last());
        let entitled = self.domain.endorsers.contains(&by)
            && !self.gone.contains(&by)
            && !self.rests(&by, time)
            && current.is_none_or(|key| *key == hold.key);
        *self.held_times.entry(hold.subject).or_default() += 1;
        if !entitled || !self.held.insert((by, hold.day(), hold.slot)) {
            let what = format!("a hold by {by:?} was recorded twice, or it may not hold");
            self.broke(Invariant::S1, now, node, what);
        }
    }

    /// S1 of a charter: by its threshold, and nobody is seated who is no member, or who was no endorser and did not consent.
    pub(super) fn amended(&mut self, now: Instant, node: NodeIndex, have: usize, amend: &Amend) {
        let need = self.domain.amend;
        if have < need {
            let what = format!("the charter was amended by {have} entitled endorsers of {need}");
            self.broke(Invariant::S1, now, node, what);
        }
        let seats: BTreeSet<NodeId> = amend.charter.endorsers.iter().map(|seat| seat.node_id()).collect();
        let consented: BTreeSet<NodeId> = amend.consents.iter().map(|consent| consent.node).collect();
        for seat in &seats {
            let agrees = self.domain.endorsers.contains(seat) || consented.contains(seat);
            if !agrees || !self.members.contains_key(seat) {
                let what = format!("{seat:?} was seated, and is no member or did not agree");
                self.broke(Invariant::S1, now, node, what);
            }
        }
        self.convicted.retain(|node| seats.contains(node) && !consented.contains(node));
        if amend.charter.epoch != self.epoch + 1 {
            let what = format!("epoch {} follows {}", amend.charter.epoch, self.epoch);
            self.broke(Invariant::S3, now, node, what);
        }
        self.begins(&amend.charter);
    }

    /// S1 of a recovery: on a final block (what was above it is dropped by now), and nobody is seated who is no member or did not consent.
    pub(super) fn recovered(&mut self, now: Instant, node: NodeIndex, recover: &Recover) {
        for revoke in &recover.gone {
            self.members.remove(&revoke.subject);
            self.suspensions.remove(&revoke.subject);
            self.gone.insert(revoke.subject);
        }
        // Everybody whom it seats has a fresh voting key by it.
        self.convicted.clear();
        for Suspend { subject, number, until, reason: _ } in &recover.suspended {
            let before = self.suspensions.get(subject).map_or(0, |suspensions| suspensions.number);
            if *number <= before || !self.members.contains_key(subject) {
                let what = format!(
                    "{subject:?} was suspended by a recovery as number {number} after {before}, or is no member"
                );
                self.broke(Invariant::S1, now, node, what);
            }
            self.suspensions.insert(*subject, Suspensions { number: *number, until: Some(*until) });
        }
        let consented: BTreeSet<NodeId> = recover.consents.iter().map(|consent| consent.node).collect();
        for seat in recover.charter.endorsers.iter().map(|seat| seat.node_id()) {
            if !consented.contains(&seat) || !self.members.contains_key(&seat) {
                let what = format!("{seat:?} was seated by a recovery, and is no member or did not agree");
                self.broke(Invariant::S1, now, node, what);
            }
        }
        let base = match recover.base.height {
            0 => Some(self.domain.genesis),
            height => self.finals.get(&height).map(|(block, _)| *block),
        };
        if base != Some(recover.base.block) || recover.charter.epoch <= self.epoch {
            let what = format!("epoch {} goes on from {:?}", recover.charter.epoch, recover.base);
            self.broke(Invariant::S3, now, node, what);
        }
        self.begins(&recover.charter);
    }

    /// Who had a seat before and has none under this charter is a member for one lifetime more.
    pub(super) fn unseated(&mut self, before: &BTreeSet<NodeId>, time: Timestamp, charter: &Charter) {
        let until = time.plus(charter.timing.member_lifetime_ms);
        for node in before.difference(&self.domain.endorsers) {
            self.until.insert(*node, until);
        }
    }

    /// From here on this is the charter.
    pub(super) fn begins(&mut self, charter: &Charter) {
        let thresholds = &charter.thresholds;
        let seats: BTreeSet<NodeId> = charter.endorsers.iter().map(|seat| seat.node_id()).collect();
        self.epoch = charter.epoch;
        self.domain.quorum = (seats.len() + usize::from(charter.faults)) / 2 + 1;
        self.domain.endorsers = seats;
        self.domain.admit = usize::from(thresholds.admit);
        self.domain.revoke = usize::from(thresholds.revoke);
        self.domain.contain = usize::from(thresholds.contain);
        self.domain.amend = usize::from(thresholds.amend);
    }
}
