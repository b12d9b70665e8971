//! What nodes tell, as it is measured and shown to the oracles.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use frith_protocol::door::{Alarm, Core, Event, Keys, Phase, Standing};
use frith_protocol::identity::{NodeId, PublicKey};
use frith_protocol::state::{Effective, Rank};
use frith_protocol::time::Timestamp;

use super::Run;
use crate::engine::{Action, Instant, NodeIndex};
use crate::oracles::Invariant;
use crate::world::plan::name_of;
use crate::world::program::Program;

/// A block with entries that not every live member holds yet.
pub(super) struct Open {
    since: Instant,
    missing: Missing,
}

/// Who lacks something: a bit for each node, and how many are set.
#[derive(Default)]
pub(super) struct Missing {
    bits: Vec<u64>,
    count: usize,
}

impl Missing {
    pub(super) fn insert(&mut self, node: NodeIndex) {
        let (word, bit) = (node.index() / 64, 1 << (node.index() % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.count += usize::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    /// Whether it was among them.
    pub(super) fn remove(&mut self, node: NodeIndex) -> bool {
        let (word, bit) = (node.index() / 64, 1 << (node.index() % 64));
        let set = self.bits.get_mut(word).filter(|bits| **bits & bit != 0);
        let was_among = set.is_some();
        if let Some(bits) = set {
            *bits &= !bit;
            self.count -= 1;
        }
        was_among
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Run<'_> {
    pub(super) fn told(&mut self, node: NodeIndex, event: Event) {
        let now = self.world.now();
        if self.world.shared.twins.contains_key(&node) {
            // Nobody is asked about it, but it may notice what it is.
            if let Event::Alarm(Alarm::Cloned { node: subject }) = &event {
                self.is_called_cloned(now, node, subject);
            }
            return;
        }
        match event {
            Event::Final { .. } | Event::Alarm(_) if self.lies(node) => {}
            Event::Final { height, block, entries } => {
                let first = self.history.is_final(now, node, height, block);
                if first {
                    self.outcome.silence_us = self.outcome.silence_us.max(now.since(self.last_block));
                    self.last_block = now;
                }
                if entries > 0 {
                    self.entries_final(now, node, height, first);
                }
                self.may_refuse(node);
                self.may_have_come_to_an_epoch(node);
                self.knows_the_suspended(now, node);
                self.knows_the_held(now, node);
            }
            Event::Admitted { node: _, height: _ } => {
                if let Some(arrived) = self.arrived.remove(&node) {
                    self.progress.joined.fetch_add(1, Ordering::Relaxed);
                    self.outcome.join_us.push(now.since(arrived));
                    self.outcome.join_links_us.push(self.links_us(node));
                }
            }
            Event::Synced { height } => {
                self.has_all_to(node, height);
                self.joins_the_members(node);
                self.keeps_to_the_seated(node);
            }
            Event::Waiting { id, note: _ } => self.agree_to(node, id),
            Event::Endorsed { id } => {
                self.outcome.signatures_made += 1;
                self.endorsed(node, id);
            }
            Event::Denied { key, node: _ } => {
                if let Some(other) = self.world.shared.nodes.get(&key).copied() {
                    self.world.part(node, other);
                }
            }
            Event::Held { node: subject, by, until } => self.heard_of_a_hold(node, subject, by, until),
            Event::Rotated { sequence: _, key } => self.has_rotated(node, key),
            Event::Dismissed { height: _ } => {}
            Event::JoinFailed { why } => {
                self.arrived.remove(&node);
                self.outcome.failed.push((node, why));
            }
            Event::Declined { by: _, why } => self.outcome.note(format!("an endorser declined: {why}")),
            Event::Misbehaved { key: _, why } => self.outcome.note(format!("an endorser misbehaved: {why}")),
            Event::Alarm(alarm) => self.alarm(now, node, &alarm),
            Event::Amended { epoch, height: _ } => {
                self.epoch_began(epoch);
                self.keeps_to_the_seated(node);
            }
            Event::CharterLearnt { epoch: _ } => self.keeps_to_the_seated(node),
            Event::Recovered { height, epoch, dropped: _ } if !self.lies(node) => {
                self.halted.remove(&node);
                self.goes_on_from(height - 1, epoch);
            }
            Event::Recovered { .. } | Event::RecoveryWaits { .. } | Event::RecoveryVoid { .. } => {}
            Event::Renewed { .. } | Event::Met { .. } | Event::Lapsed { .. } | Event::Accepted { .. } => {}
        }
    }

    /// What a host does then: the old key is destroyed, and the node's connections begin anew under the next.
    fn has_rotated(&mut self, node: NodeIndex, key: PublicKey) {
        self.outcome.signatures_made += 1;
        let at = node.index();
        self.world.begin_anew(node, |shared| {
            if let Some(next) = shared.keys[at].successor.take() {
                shared.keys[at].identity = next;
            }
            let old = std::mem::replace(&mut shared.names[at], key);
            shared.nodes.remove(&old);
            shared.nodes.insert(key, node);
        });
    }

    fn alarm(&mut self, now: Instant, node: NodeIndex, alarm: &Alarm) {
        let who = name_of(self.script, node);
        match alarm {
            Alarm::Forked { .. } | Alarm::DoesNotExecute { .. } => {
                self.halted.insert(node);
                self.broke(Invariant::S3, now, node, format!("{who} halted: {alarm:?}"));
            }
            Alarm::Contradiction { key, iteration: _ } => {
                let voter = |keys: &Keys| keys.voting.iter().any(|voting| voting.public() == *key);
                let liar = self.world.shared.keys.iter().position(voter).map(|at| NodeIndex(at as u32));
                let liar = liar.map_or(key.to_string(), |liar| name_of(self.script, liar).to_string());
                self.outcome.note(format!("{who} has proof that {liar} contradicted itself"));
            }
            Alarm::Convicted { .. } => {}
            Alarm::RotatedTwice { node, sequence } => {
                self.outcome.note(format!("{who} has proof that {node} rotated twice as number {sequence}"));
            }
            Alarm::HoldsContradict { node: liar, day: _, slot: _ } => {
                let liar = self.by_id.get(liar).map(|at| name_of(self.script, *at).to_string());
                let liar = liar.unwrap_or_else(|| "a stranger".to_owned());
                self.outcome.note(format!("{liar} gave one slot to two holds"));
            }
            Alarm::Cloned { node: subject } => self.is_called_cloned(now, node, subject),
            Alarm::JournalLost { why } => self.outcome.note(format!("{who} lost its journal: {why}")),
            Alarm::RecoveryShown { .. } => self.outcome.note(format!("{who} is shown a recovery")),
            Alarm::RecoveryForgets { .. } | Alarm::RecoveredTwice { .. } | Alarm::DroppedBranch { .. } => {
                self.outcome.note(format!("{who}: {alarm:?}"))
            }
            Alarm::ClockRanBack { .. } => self.outcome.note(format!("the clock of {who} ran backwards")),
            Alarm::ClockFarOff { .. } => self.outcome.note(format!("the clock of {who} is far off")),
        }
    }

    /// Of whoever has no twin that is an error.
    fn is_called_cloned(&mut self, now: Instant, node: NodeIndex, subject: &NodeId) {
        let twice = self.world.shared.up_twins.keys().any(|twice| self.node_id(*twice) == *subject);
        if twice {
            self.outcome.cloned.insert(*subject);
            return;
        }
        let what = format!("{subject:?} is one machine, and was taken for two");
        self.broke(Invariant::S7, now, node, what);
    }

    fn entries_final(&mut self, now: Instant, node: NodeIndex, height: u64, first: bool) {
        let Some(core) = self.world.actor(node).map(Program::core) else { return };
        if first {
            match core.chain().and_then(|chain| chain.held(height)) {
                Some(held) => {
                    self.history.enters(now, node, &held.block);
                    let grants = held.block.entries.iter().any(|e| e.statement.rank() == Rank::Grant);
                    let gone: Vec<NodeIndex> =
                        self.history.gone().iter().filter_map(|id| self.by_id.get(id)).copied().collect();
                    for node in gone {
                        self.members.remove(&node);
                        self.arrived.remove(&node);
                        self.refusals.forget(node);
                        self.amendments.forget(node);
                        for open in self.open.values_mut() {
                            open.missing.remove(node);
                        }
                    }
                    let mut missing = Missing::default();
                    for member in self
                        .members
                        .iter()
                        .filter(|node| self.world.actor(**node).is_some() && !self.lies(**node))
                    {
                        missing.insert(*member);
                    }
                    self.open.insert(height, Open { since: now, missing });
                    if grants && self.is_frozen() {
                        let what = "somebody was granted something when every correct endorser had halted";
                        self.broke(Invariant::S7, now, node, what.to_owned());
                    }
                }
                None => self.outcome.note(format!("nobody holds the block at height {height} any more")),
            }
        }
        if let Some(state) = self.world.actor(node).and_then(|program| program.core().state()) {
            self.history.holds(now, node, state.last().height, state);
        }
        if let Some(open) = self.open.get_mut(&height) {
            open.missing.remove(node);
            if first || open.missing.is_empty() {
                self.close();
            }
        }
    }

    /// Whether every correct endorser has halted: then there is no quorum.
    fn is_frozen(&self) -> bool {
        let seated = self.history.endorsers().filter_map(|id| self.by_id.get(id));
        let mut correct = seated.filter(|node| !self.lies(**node)).peekable();
        correct.peek().is_some() && correct.all(|node| self.halted.contains(node))
    }

    /// Every node is connected to all who have a seat in the newest charter that it knows, newcomers included: where they are it learns from
    /// whoever it is connected to (SPEC 10.6).
    fn keeps_to_the_seated(&mut self, node: NodeIndex) {
        let Some(core) = self.world.actor(node).map(Program::core) else { return };
        if core.phase() == Phase::Gone || self.world.peers(node).is_empty() {
            return;
        }
        let seated: Vec<NodeIndex> =
            core.endorser_keys().iter().filter_map(|key| self.world.shared.nodes.get(key)).copied().collect();
        let connected = self.world.peers(node).to_vec();
        for other in seated.into_iter().filter(|other| !connected.contains(other)) {
            self.world.connect(node, other);
        }
    }

    /// Nobody who knows of a suspension takes its subject for effective: as a peer, in an answer, or as itself.
    pub(super) fn knows_the_suspended(&mut self, now: Instant, node: NodeIndex) {
        let Some(core) = self.world.actor(node).map(Program::core) else { return };
        let newest = core.state().is_some_and(|state| state.last_id() == self.history.newest().0);
        if !newest || self.world.shared.lies.contains_key(&node) {
            return;
        }
        let time = Timestamp(self.world.reads(node).0);
        let suspended = self.history.suspended(time);
        let effective: BTreeSet<NodeId> =
            suspended.filter(|subject| self.takes_for_effective(core, subject, time)).copied().collect();
        self.history.treats(now, node, time, |subject| effective.contains(subject));
    }

    /// Whether a node takes `subject` for effective: as a peer, in an answer, or as itself.
    pub(super) fn takes_for_effective(&self, core: &Core, subject: &NodeId, time: Timestamp) -> bool {
        let key = self.by_id.get(subject).map(|at| self.world.shared.names[at.index()]);
        let as_itself = *subject == core.node_id() && core.phase() != Phase::Restrained;
        as_itself
            || key.is_some_and(|key| core.standing_of(&key) >= Standing::Member)
            || core.effective(subject, time).is_some_and(Effective::is_yes)
    }

    /// A snapshot holds all that its blocks did: nobody is told of those one by one.
    fn has_all_to(&mut self, node: NodeIndex, height: u64) {
        for (_, open) in self.open.range_mut(..=height) {
            open.missing.remove(node);
        }
        self.close();
    }

    /// Somebody is the first to take a recovery: what it drops was never there. Who came on the dropped branch alone is no member.
    fn goes_on_from(&mut self, base: u64, epoch: u64) {
        if epoch <= self.recovered_to {
            return;
        }
        self.recovered_to = epoch;
        self.history.drops_above(base);
        self.open.retain(|height, _| *height <= base);
        let members: BTreeSet<NodeIndex> =
            self.history.members().filter_map(|id| self.by_id.get(id)).copied().collect();
        self.members.retain(|node| members.contains(node));
    }

    /// Blocks that everybody holds by now.
    fn close(&mut self) {
        let now = self.world.now();
        let converged = &mut self.outcome.convergence_us;
        self.open.retain(|_, open| {
            if open.missing.is_empty() {
                converged.push(now.since(open.since));
            }
            !open.missing.is_empty()
        });
    }

    pub(super) fn faulted(&mut self, number: usize) {
        let action = &self.order.plan.0[number].action;
        self.outcome.faults += 1;
        // Before a cut heals and lets newer blocks in.
        self.say_stale();
        if let Action::Kill { node } | Action::LosePower { node } = action {
            for open in self.open.values_mut() {
                open.missing.remove(*node);
            }
            self.refusals.forget(*node);
            self.amendments.forget(*node);
            self.close();
        }
        if let Action::RollBack { node, image: _ } = action {
            self.holds.remove(node);
        }
        if let Action::Twin { node, twin } = action
            && self.world.actor(*twin).is_some()
        {
            let (node, twin) = (*node, *twin);
            self.world.shared.up_twins.insert(node, twin);
            for peer in self.world.peers(node).to_vec() {
                self.world.connect(twin, peer);
            }
            self.world.subscribe(twin);
        }
        if let Action::Restart { node } | Action::Resume { node } = action {
            self.look_again(*node);
        }
    }

    /// What the links alone take for a join: the round trip to the endorser that completes the threshold, four one-way delays to
    /// finality, one to publish.
    fn links_us(&self, newcomer: NodeIndex) -> u64 {
        let network = self.world.network();
        let endorsers = (0..self.script.mesh.endorsers.into()).map(NodeIndex);
        let mut delays: Vec<u64> = endorsers.map(|endorser| network.latency_us(newcomer, endorser)).collect();
        delays.sort_unstable();
        let threshold = usize::from(self.founding.founded.charter.thresholds.admit);
        let rules = network.rules();
        let one_way = (rules.latency_min_us + rules.latency_max_us + rules.jitter_us) / 2;
        2 * delays[threshold.min(delays.len()) - 1] + 5 * one_way
    }
}
