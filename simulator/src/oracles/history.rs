//! S1, S2, S3: one history, and everybody in it by right.
//!
//! The first node that calls a block final has it entered into a naive model of the domain: sets of members, of those who are gone, of those
//! who are suspended, of those who are convicted. Every state that a node holds at a block with entries must have the root that all others have there, and the first
//! one must say of every identity what the model says. Nor may a node that knows of a suspension treat its subject as if there were none.

mod law;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, PublicKey};
use frith_protocol::state::{Block, BlockId, Contradiction, Entry, Grounds, Kind, Release, State, Suspend};
use frith_protocol::time::Timestamp;

use super::{Invariant, Violation};
use crate::engine::{Instant, NodeIndex};

/// What a domain began with.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its number.
    pub number: u32,
    /// Its genesis block.
    pub genesis: BlockId,
    /// Its endorsers.
    pub endorsers: BTreeSet<NodeId>,
    /// The threshold of admissions.
    pub admit: usize,
    /// The threshold of revocations.
    pub revoke: usize,
    /// The threshold of suspensions.
    pub contain: usize,
    /// The threshold of charters.
    pub amend: usize,
    /// How many ballots make a certificate.
    pub quorum: usize,
    /// Who may contradict itself: liars, and whoever runs in a way that counts as a fault.
    pub faulty: BTreeSet<NodeId>,
}

/// The suspensions of one identity.
#[derive(Clone, Copy, Debug, Default)]
struct Suspensions {
    /// The number of the newest.
    number: u64,
    /// Until when it is, if it was not released.
    until: Option<Timestamp>,
}

/// The history of one domain as its nodes tell it.
#[derive(Debug)]
pub struct History {
    domain: Domain,
    /// What is final at each height, and who said so first.
    finals: BTreeMap<u64, (BlockId, NodeIndex)>,
    /// The state root at each height that has entries.
    roots: BTreeMap<u64, Hash>,
    /// The newest block in the model.
    newest: BlockId,
    newest_height: u64,
    members: BTreeMap<NodeId, u64>,
    /// Until when each was admitted; of no meaning for whoever has a seat.
    until: BTreeMap<NodeId, Timestamp>,
    renewals: u64,
    gone: BTreeSet<NodeId>,
    suspensions: BTreeMap<NodeId, Suspensions>,
    /// Who is convicted by its ballots, until an `Amend` ends it.
    convicted: BTreeSet<NodeId>,
    /// Who is convicted by its holds, until it rotates.
    convicted_by_holds: BTreeSet<NodeId>,
    /// Who was ever convicted, or removed by a proof.
    ever_convicted: BTreeSet<NodeId>,
    /// Who was found to treat whom as effective who is suspended: once is enough.
    lenient: BTreeSet<(NodeIndex, NodeId)>,
    epoch: u64,
    /// The keys of whoever has rotated, the newest last.
    rotated: BTreeMap<NodeId, Vec<PublicKey>>,
    /// The slots of holds that are recorded: whose, and of which day.
    held: BTreeSet<(NodeId, u64, u8)>,
    /// How many holds of whom are.
    held_times: BTreeMap<NodeId, u64>,
    entries: u64,
    /// All that was entered, if some of it may be dropped one day, and what the domain began with.
    kept: Option<(Domain, Vec<Entered>)>,
    violations: Vec<Violation>,
}

/// A block as it was entered.
#[derive(Clone, Debug)]
struct Entered {
    at: Instant,
    by: NodeIndex,
    block: Arc<Block>,
}

impl History {
    /// The history of a domain that has just been founded.
    pub fn new(domain: Domain) -> History {
        let members = domain.endorsers.iter().map(|node| (*node, 0)).collect();
        let newest = domain.genesis;
        History {
            domain,
            finals: BTreeMap::new(),
            roots: BTreeMap::new(),
            newest,
            newest_height: 0,
            members,
            until: BTreeMap::new(),
            renewals: 0,
            gone: BTreeSet::new(),
            suspensions: BTreeMap::new(),
            convicted: BTreeSet::new(),
            convicted_by_holds: BTreeSet::new(),
            ever_convicted: BTreeSet::new(),
            lenient: BTreeSet::new(),
            epoch: 1,
            rotated: BTreeMap::new(),
            held: BTreeSet::new(),
            held_times: BTreeMap::new(),
            entries: 0,
            kept: None,
            violations: Vec::new(),
        }
    }

    /// The same, of which a part may be dropped one day: so it keeps every block with entries.
    pub fn that_may_be_recovered(self) -> History {
        History { kept: Some((self.domain.clone(), Vec::new())), ..self }
    }

    /// A recovery goes on from the block at `base`: what is above it was never there, and what was entered before then is judged as it was.
    ///
    /// # Panics
    /// If blocks are to be dropped that it was not told to keep.
    pub fn drops_above(&mut self, base: u64) {
        self.finals.retain(|height, _| *height <= base);
        self.roots.retain(|height, _| *height <= base);
        if self.newest_height <= base {
            return;
        }
        let (origin, mut kept) = self.kept.take().expect("what may be dropped was kept");
        kept.retain(|entered| entered.block.header.height <= base);
        let mut again = History::new(origin).that_may_be_recovered();
        for Entered { at, by, block } in kept {
            again.enters(at, by, &block);
        }
        again.violations = std::mem::take(&mut self.violations);
        (again.finals, again.roots) = (std::mem::take(&mut self.finals), std::mem::take(&mut self.roots));
        again.lenient = std::mem::take(&mut self.lenient);
        *self = again;
    }

    /// How many blocks are final.
    pub fn blocks(&self) -> u64 {
        self.finals.len() as u64
    }

    /// How many holds of `node` the log has recorded.
    pub fn recorded_holds(&self, node: &NodeId) -> u64 {
        self.held_times.get(node).copied().unwrap_or(0)
    }

    /// Whether `node` may endorse at `time`, by whatever key it began with.
    pub fn may_endorse(&self, node: &NodeId, time: Timestamp) -> bool {
        let rotated = self.rotated.contains_key(node);
        self.domain.endorsers.contains(node)
            && !self.gone.contains(node)
            && !self.rests(node, time)
            && !rotated
    }

    /// How many entries are in them.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The newest block with entries, and its height.
    pub fn newest(&self) -> (BlockId, u64) {
        (self.newest, self.newest_height)
    }

    /// Which epoch the newest charter begins.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Who has a seat in it.
    pub fn endorsers(&self) -> impl Iterator<Item = &NodeId> {
        self.domain.endorsers.iter()
    }

    /// How many of them make a certificate.
    pub fn quorum(&self) -> usize {
        self.domain.quorum
    }

    /// Who is a member.
    pub fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.members.keys()
    }

    /// The number of the newest admission of `node`.
    pub fn number_of(&self, node: &NodeId) -> u64 {
        self.members.get(node).copied().unwrap_or(0)
    }

    /// Whether it is an effective member at `time`.
    pub fn is_effective(&self, node: &NodeId, time: Timestamp) -> bool {
        self.members.contains_key(node) && !self.is_suspended(node, time) && !self.has_lapsed(node, time)
    }

    /// Whether it is a member whose window is over at `time`.
    pub fn has_lapsed(&self, node: &NodeId, time: Timestamp) -> bool {
        let ends = !self.domain.endorsers.contains(node);
        ends && self.members.contains_key(node) && self.until.get(node).is_some_and(|until| *until <= time)
    }

    /// Until when it was admitted, if it has no seat.
    pub fn until_of(&self, node: &NodeId) -> Option<Timestamp> {
        self.until.get(node).copied().filter(|_| !self.domain.endorsers.contains(node))
    }

    /// How many renewals are final.
    pub fn renewals(&self) -> u64 {
        self.renewals
    }

    /// Who is gone.
    pub fn gone(&self) -> &BTreeSet<NodeId> {
        &self.gone
    }

    /// Who is suspended at `time`.
    pub fn suspended(&self, time: Timestamp) -> impl Iterator<Item = &NodeId> {
        self.suspensions.keys().filter(move |node| self.is_suspended(node, time))
    }

    fn is_suspended(&self, node: &NodeId, time: Timestamp) -> bool {
        let until = self.suspensions.get(node).and_then(|suspensions| suspensions.until);
        until.is_some_and(|until| time < until)
    }

    /// Who was convicted so far, or removed by a proof, whatever has come of it since.
    pub fn ever_convicted(&self) -> &BTreeSet<NodeId> {
        &self.ever_convicted
    }

    /// Whether it has no rights at `time`, for whatever reason.
    pub fn rests(&self, node: &NodeId, time: Timestamp) -> bool {
        self.is_convicted(node) || self.is_suspended(node, time)
    }

    fn is_convicted(&self, node: &NodeId) -> bool {
        self.convicted.contains(node) || self.convicted_by_holds.contains(node)
    }

    /// How often `node` has rotated until `key` was its own; 0 if that is its first one, or none of its.
    pub fn sequence_of(&self, node: &NodeId, key: &PublicKey) -> usize {
        let keys = self.rotated.get(node).map_or(&[][..], Vec::as_slice);
        keys.iter().position(|one| one == key).map_or(0, |at| at + 1)
    }

    /// How often it has rotated.
    pub fn rotations_of(&self, node: &NodeId) -> usize {
        self.rotated.get(node).map_or(0, Vec::len)
    }

    /// Whether the suspension of `node` with this number came about, or a later one.
    pub fn was_suspended(&self, node: &NodeId, number: u64) -> bool {
        self.suspensions.get(node).is_some_and(|suspensions| suspensions.number >= number)
    }

    /// Whether that suspension is over at `time`: it was released, has lapsed, or gave way to a later one.
    pub fn is_over(&self, node: &NodeId, number: u64, time: Timestamp) -> bool {
        self.was_suspended(node, number + 1) || !self.is_suspended(node, time)
    }

    /// What broke.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn broke(&mut self, invariant: Invariant, now: Instant, node: NodeIndex, what: String) {
        let (domain, at_ms) = (self.domain.number, now.as_ms());
        self.violations.push(Violation { invariant, domain, at_ms, node, what });
    }

    /// `node` calls `block` final at `height`. Whether it is the first to.
    pub fn is_final(&mut self, now: Instant, node: NodeIndex, height: u64, block: BlockId) -> bool {
        match self.finals.get(&height).copied() {
            None => {
                self.finals.insert(height, (block, node));
                true
            }
            Some((same, _)) if same == block => false,
            Some((other, first)) => {
                let what =
                    format!("it calls {block:?} final at height {height}, where {first} has {other:?}");
                self.broke(Invariant::S3, now, node, what);
                false
            }
        }
    }

    /// The block that `node` was the first to call final, with its entries.
    pub fn enters(&mut self, now: Instant, node: NodeIndex, block: &Arc<Block>) {
        let (id, height) = (block.id(), block.header.height);
        if let Some((_, kept)) = &mut self.kept {
            kept.push(Entered { at: now, by: node, block: Arc::clone(block) });
        }
        if block.header.previous != self.newest || height <= self.newest_height {
            let what =
                format!("{id:?} follows {:?}, and the newest is {:?}", block.header.previous, self.newest);
            self.broke(Invariant::S3, now, node, what);
        }
        for entry in &block.entries {
            self.entry(now, node, block.header.time, entry);
        }
        (self.newest, self.newest_height) = (id, height);
        self.entries += block.entries.len() as u64;
    }

    fn entry(&mut self, now: Instant, node: NodeIndex, time: Timestamp, entry: &Entry) {
        let endorsed_by: BTreeSet<NodeId> = entry
            .endorsements
            .iter()
            // Whoever signs by a key that was retired has signed nothing.
            .filter(|endorsement| {
                let keys = self.rotated.get(&endorsement.node);
                keys.is_none_or(|keys| keys.last() == Some(&endorsement.key))
            })
            .map(|endorsement| endorsement.node)
            .filter(|endorser| self.domain.endorsers.contains(endorser) && !self.gone.contains(endorser))
            .filter(|endorser| !self.rests(endorser, time))
            .collect();
        match &entry.statement.kind {
            Kind::Admit(admit) => {
                let subject = admit.subject.node_id();
                if endorsed_by.len() < self.domain.admit {
                    let (have, need) = (endorsed_by.len(), self.domain.admit);
                    let what = format!("{subject:?} was admitted by {have} entitled endorsers of {need}");
                    self.broke(Invariant::S1, now, node, what);
                }
                if self.gone.contains(&subject) {
                    self.broke(Invariant::S2, now, node, format!("{subject:?} was admitted, and is gone"));
                }
                if self.rests(&subject, time) {
                    self.broke(
                        Invariant::S1,
                        now,
                        node,
                        format!("{subject:?} was admitted while restrained"),
                    );
                }
                if admit.grounds == Grounds::Renewal {
                    self.renewals += 1;
                    let has_seat = self.domain.endorsers.contains(&subject);
                    if has_seat || !self.members.contains_key(&subject) {
                        let what = format!("{subject:?} was renewed, and has a seat or is no member");
                        self.broke(Invariant::S1, now, node, what);
                    }
                }
                self.until.insert(subject, admit.window.until);
                let before = self.members.insert(subject, admit.number).unwrap_or(0);
                if admit.number != before + 1 {
                    let what = format!("{subject:?} was admitted as number {} after {before}", admit.number);
                    self.broke(Invariant::S1, now, node, what);
                }
            }
            Kind::Revoke(revoke) => {
                let subject = revoke.subject;
                let by_itself = entry.endorsements.iter().any(|endorsement| endorsement.node == subject);
                if endorsed_by.len() < self.domain.revoke && !by_itself {
                    let (have, need) = (endorsed_by.len(), self.domain.revoke);
                    let what = format!("{subject:?} was revoked by {have} entitled endorsers of {need}");
                    self.broke(Invariant::S1, now, node, what);
                }
                self.goes(subject);
            }
            Kind::Suspend(Suspend { subject, number, until, reason: _ }) => {
                let before = self.suspensions.get(subject).copied().unwrap_or_default();
                let fits = self.members.contains_key(subject) && *number == before.number + 1;
                let (have, need) = (endorsed_by.len(), self.domain.contain);
                if have < need || !fits {
                    let what = format!(
                        "{subject:?} was suspended as number {number} after {}, by {have} entitled endorsers of {need}",
                        before.number
                    );
                    self.broke(Invariant::S1, now, node, what);
                }
                self.suspensions.insert(*subject, Suspensions { number: *number, until: Some(*until) });
            }
            Kind::Release(Release { subject, number, basis: _ }) => {
                let before = self.suspensions.get(subject).copied().unwrap_or_default();
                let fits = self.is_suspended(subject, time) && *number == before.number;
                let (have, need) = (endorsed_by.len(), self.domain.admit);
                if have < need || !fits {
                    let what = format!(
                        "{subject:?} was released from number {number} of {}, by {have} entitled endorsers of {need}",
                        before.number
                    );
                    self.broke(Invariant::S1, now, node, what);
                }
                self.suspensions.insert(*subject, Suspensions { number: before.number, until: None });
            }
            Kind::Amend(amend) => {
                let before = self.domain.endorsers.clone();
                self.amended(now, node, endorsed_by.len(), amend);
                self.unseated(&before, time, &amend.charter);
            }
            Kind::Accuse(accuse) => {
                let subject = accuse.subject;
                if !entry.endorsements.is_empty() || !self.members.contains_key(&subject) {
                    let what = format!("{subject:?} was accused, and is no member or somebody endorsed it");
                    self.broke(Invariant::S1, now, node, what);
                }
                if !self.domain.faulty.contains(&subject) {
                    let what =
                        format!("{subject:?} is correct, and was convicted: {:?}", accuse.contradiction);
                    self.broke(Invariant::S7, now, node, what);
                }
                self.ever_convicted.insert(subject);
                match &accuse.contradiction {
                    Contradiction::Ballots(..) => drop(self.convicted.insert(subject)),
                    Contradiction::Rotations(..) => self.goes(subject),
                    Contradiction::Holds(..) => drop(self.convicted_by_holds.insert(subject)),
                }
            }
            Kind::Hold(hold) => self.recorded(now, node, time, hold),
            Kind::Recover(recover) => {
                let before = self.domain.endorsers.clone();
                self.recovered(now, node, recover);
                self.unseated(&before, time, &recover.charter);
            }
            Kind::Rotate(rotate) => {
                let subject = rotate.subject;
                if !self.members.contains_key(&subject) {
                    self.broke(Invariant::S2, now, node, format!("{subject:?} rotated, and is no member"));
                }
                self.convicted_by_holds.remove(&subject);
                let keys = rotate.rotations.iter().map(|rotation| rotation.key);
                self.rotated.entry(subject).or_default().extend(keys);
            }
        }
    }

    fn goes(&mut self, subject: NodeId) {
        self.members.remove(&subject);
        self.suspensions.remove(&subject);
        self.convicted.remove(&subject);
        self.convicted_by_holds.remove(&subject);
        self.gone.insert(subject);
    }

    /// `node` holds `state`, which is that after the block with entries at `height`.
    pub fn holds(&mut self, now: Instant, node: NodeIndex, height: u64, state: &State) {
        let root = state.root();
        match self.roots.get(&height) {
            Some(same) if *same == root => {}
            Some(other) => {
                let what = format!("at height {height} its state root is {root}, and others have {other}");
                self.broke(Invariant::S3, now, node, what);
            }
            None => {
                self.roots.insert(height, root);
                if state.last_id() == self.newest {
                    self.compare(now, node, state);
                }
            }
        }
    }

    /// `node`, whose newest block with entries is the newest of all and whose clock reads `time`, treats identities as effective as it says.
    pub fn treats(
        &mut self,
        now: Instant,
        node: NodeIndex,
        time: Timestamp,
        is_effective: impl Fn(&NodeId) -> bool,
    ) {
        let lenient: Vec<NodeId> = self
            .suspended(time)
            .chain(self.convicted.union(&self.convicted_by_holds))
            .filter(|subject| is_effective(subject))
            .copied()
            .collect();
        for subject in lenient {
            if self.lenient.insert((node, subject)) {
                let what = format!("{subject:?} is restrained, and treated as effective");
                self.broke(Invariant::S2, now, node, what);
            }
        }
    }

    /// `node` knows of no newer block than one that is so old by its own clock, and takes `valid` for effective, if anybody.
    pub fn answers(
        &mut self,
        now: Instant,
        node: NodeIndex,
        age_ms: u64,
        bound_ms: u64,
        valid: Option<NodeId>,
    ) {
        if let Some(valid) = valid.filter(|_| age_ms > bound_ms) {
            let what = format!("it takes {valid:?} for valid, and its newest block is {age_ms} ms old");
            self.broke(Invariant::S8, now, node, what);
        }
    }

    /// The state must say of everybody what the model says.
    pub fn compare(&mut self, now: Instant, node: NodeIndex, state: &State) {
        let time = state.last().time;
        // Both are in order, so one walk finds what only one of them has.
        let mut expected = self.members.keys().copied().peekable();
        let (mut extra, mut missing, mut rights) = (Vec::new(), None, Vec::new());
        for (member, standing) in state.members() {
            let restrained = (standing.suspended(time).is_some(), standing.is_convicted());
            if restrained != (self.is_suspended(&member, time), self.is_convicted(&member)) {
                rights.push(member);
            }
            while let Some(absent) = expected.next_if(|expected| *expected < member) {
                missing = missing.or(Some(absent));
            }
            if expected.next_if_eq(&member).is_none() {
                extra.push(member);
            }
        }
        let missing = missing.or(expected.next());
        for extra in extra {
            let (invariant, why) = match self.gone.contains(&extra) {
                true => (Invariant::S2, "was revoked"),
                false => (Invariant::S1, "was never admitted"),
            };
            self.broke(invariant, now, node, format!("{extra:?} stands, and {why}"));
        }
        for member in rights {
            let (invariant, what) = match self.rests(&member, time) {
                true => (Invariant::S2, "was suspended or convicted, and its rights do not rest so"),
                false => (Invariant::S3, "is neither suspended nor convicted, and its rights rest"),
            };
            self.broke(invariant, now, node, format!("{member:?} {what}"));
        }
        if let Some(missing) = missing {
            self.broke(Invariant::S3, now, node, format!("{missing:?} was admitted, and does not stand"));
        }
        let forgotten = self.gone.iter().find(|node| !state.is_gone(node)).copied();
        if let Some(forgotten) = forgotten {
            self.broke(Invariant::S2, now, node, format!("{forgotten:?} was revoked, and is not gone"));
        }
    }
}
