//! Whether all is as it should be: while a run goes on, to see when it may end, and at its end.

use frith_protocol::identity::NodeId;
use frith_protocol::state::Effective;
use frith_protocol::time::Timestamp;

use super::{Ended, Pending, Run, Wanted};
use crate::engine::{Instant, NodeIndex};
use crate::oracles::Invariant;
use crate::world::outcome::Outcome;
use crate::world::plan::name_of;
use crate::world::program::Program;

impl Run<'_> {
    /// Whether nothing is left to wait for.
    pub(super) fn is_settled(&self) -> bool {
        self.to_come == 0
            && self.arrived.is_empty()
            && self.acts_left == 0
            && self.open.is_empty()
            && self.amendments.are_done()
            && self.world.now() >= self.last_order
            && self.pending.iter().all(|act| self.came_about(act))
            && self.lagging().is_empty()
            && self.lapsed().is_empty()
    }

    /// Whether an act is final. Of whoever is gone nothing else can be wanted any more.
    fn came_about(&self, act: &Pending) -> bool {
        let now = Timestamp(self.world.now().as_ms());
        self.history.gone().contains(&act.subject)
            || match act.wanted {
                Wanted::Gone => false,
                Wanted::Suspended(number, until) => {
                    self.history.was_suspended(&act.subject, number) || until <= now
                }
                Wanted::Released(number) => self.history.is_over(&act.subject, number, now),
                Wanted::Amended(epoch) => self.history.epoch() >= epoch,
                Wanted::Held(count) => self.history.recorded_holds(&act.subject) >= count,
                Wanted::Renewed(number) => self.history.number_of(&act.subject) >= number,
                Wanted::Rotated(sequence) => self.has_come_to(&act.subject, sequence),
            }
    }

    /// Whether the log says that a node has come to its key of this number, and the node, if it can know, speaks by that or a later one.
    fn has_come_to(&self, subject: &NodeId, sequence: u32) -> bool {
        let Some(node) = self.by_id.get(subject) else { return false };
        let (history, name) = (&self.history, &self.world.shared.names[node.index()]);
        let speaks = history.sequence_of(subject, name) >= sequence as usize;
        history.rotations_of(subject) >= sequence as usize && (speaks || !self.is_judged(*node))
    }

    /// Members that run, hear a quorum, did not halt, and are not at the newest block with entries.
    fn lagging(&self) -> Vec<NodeIndex> {
        let (newest, _) = self.history.newest();
        let behind = |node: &NodeIndex| {
            let state = self.world.actor(*node).and_then(|program| program.core().state());
            let halted = self.halted.contains(node);
            self.is_judged(*node) && !halted && state.is_none_or(|state| state.last_id() != newest)
        };
        self.members.iter().copied().filter(behind).collect()
    }

    /// Members that run, hear a quorum, and have lapsed although they could still renew.
    fn lapsed(&self) -> Vec<NodeIndex> {
        let now = Timestamp(self.world.now().as_ms());
        let silence_ms = self.script.timing.silence_ms;
        let could = |node: &NodeIndex| {
            let id = self.node_id(*node);
            let renewable = self.history.until_of(&id).is_some_and(|until| now < until.plus(silence_ms));
            renewable && self.history.has_lapsed(&id, now) && !self.history.rests(&id, now)
        };
        self.members.iter().copied().filter(|node| could(node) && self.is_judged(*node)).collect()
    }

    /// S8: whoever knows of no newer block than one that is too old, by its own clock, takes nobody for valid, itself included. How many
    /// members answer so of themselves.
    pub(super) fn say_stale(&mut self) -> u64 {
        let now = self.world.now();
        let mut stale = 0;
        for node in self.members.clone() {
            let Some(core) = self.world.actor(node).filter(|_| self.is_up(node)).map(Program::core) else {
                continue;
            };
            let time = Timestamp(self.world.reads(node).0);
            let Some(head) = core.head() else { continue };
            let says = |id: &&NodeId| core.effective(id, time).is_some_and(Effective::is_yes);
            stale += u64::from(core.effective(&core.node_id(), time).is_none());
            let (age_ms, bound_ms) = (time.since(head.time), self.script.timing.freshness_ms);
            // Whom everybody takes for valid does not matter as long as the block is fresh.
            let valid = if age_ms > bound_ms { self.by_id.keys().find(says).copied() } else { None };
            if !self.lies(node) {
                self.history.answers(now, node, age_ms, bound_ms, valid);
            }
        }
        stale
    }

    /// Whether a node should be able to do its part: it runs, and hears enough endorsers that do.
    fn is_judged(&self, node: NodeIndex) -> bool {
        let network = self.world.network();
        if !self.is_up(node) || self.lies(node) {
            return false;
        }
        if !network.is_cut() {
            return true;
        }
        let endorsers = self.history.endorsers().filter_map(|id| self.by_id.get(id));
        let heard =
            endorsers.filter(|endorser| self.is_up(**endorser) && network.reaches(node, **endorser)).count();
        heard >= self.history.quorum()
    }

    pub(super) fn finish(mut self, ended: Ended) -> Outcome {
        let now = self.world.now();
        let lagging = self.lagging();
        self.outcome.converged = lagging.is_empty() && self.open.is_empty();
        self.outcome.cut_off = ended == Ended::CutOff;
        if ended == Ended::Stuck {
            let (newest, height) = self.history.newest();
            for node in lagging {
                let head = self.world.actor(node).and_then(|program| program.core().head());
                let at = head.map_or("nothing".to_owned(), |head| format!("height {}", head.height));
                let what = format!(
                    "{} is at {at}, without {newest:?} of height {height}",
                    name_of(self.script, node)
                );
                self.broke(Invariant::L1, now, node, what);
            }
            for node in self.lapsed() {
                let what = format!("{} has lapsed, and is not renewed", name_of(self.script, node));
                self.broke(Invariant::L2, now, node, what);
            }
            for (node, arrived) in std::mem::take(&mut self.arrived) {
                if self.is_judged(node) {
                    let since = arrived.as_ms();
                    let what = format!("{} has been joining since {since} ms", name_of(self.script, node));
                    self.broke(Invariant::L2, now, node, what);
                }
            }
            if self.acts_left > 0 {
                let what = format!("{} acts could not be done until then", self.acts_left);
                self.broke(Invariant::L3, now, NodeIndex(0), what);
            }
            for act in std::mem::take(&mut self.pending) {
                if !self.came_about(&act) {
                    self.broke(Invariant::L3, now, NodeIndex(0), format!("{} is not final", act.what));
                }
            }
        }
        self.stays_out(now);
        self.knows_of_the_fork(now);
        for node in self.members.clone() {
            self.knows_the_suspended(now, node);
            self.knows_the_held(now, node);
        }
        self.outcome.stale = self.say_stale();
        let time = Timestamp(now.as_ms());
        let effective = self.history.members().filter(|node| self.history.is_effective(node, time));
        self.outcome.effective = effective.count() as u64;
        self.outcome.renewals = self.history.renewals();
        self.outcome.gone = self.history.gone().len() as u64;
        self.outcome.epoch = self.history.epoch();
        self.outcome.suspended = self.history.suspended(Timestamp(now.as_ms())).count() as u64;
        self.outcome.convicted = self.history.ever_convicted().len() as u64;
        self.outcome.silence_us = self.outcome.silence_us.max(now.since(self.last_block));
        self.outcome.virtual_ms = now.as_ms();
        self.outcome.blocks = self.history.blocks();
        self.outcome.entries = self.history.entries();
        self.outcome.violations.extend_from_slice(self.history.violations());
        let shared = &self.world.shared;
        self.outcome.violations.extend_from_slice(shared.ballots.violations());
        self.outcome.signatures_made += shared.ballots.distinct() + shared.sessions;
        self.outcome.signatures_checked = shared.checker.computed();
        self.outcome.checks_asked = shared.checker.asked();
        self.outcome.checking = shared.checker.spent();
        self.outcome.transitions = shared.workshop.asked_and_computed();
        self.outcome.sent.clone_from(&shared.sent);
        for (fault, count) in &shared.faults {
            self.outcome.notes.insert(format!("rejected: {fault}"), *count);
        }
        self.outcome.counters = self.world.counters();
        self.outcome.trace_hash = self.world.trace_hash();
        self.outcome.state_hash = self.state_hash();
        self.outcome
    }

    /// S7: once some have had time to show it to the others, whoever hears them knows of a fork.
    fn knows_of_the_fork(&mut self, now: Instant) {
        // Whoever is gone is told of no recovery.
        if self.halted.is_disjoint(&self.members) {
            return;
        }
        let runs_on = |node: &NodeIndex| self.is_judged(*node) && !self.halted.contains(node);
        for node in self.members.iter().copied().filter(runs_on).collect::<Vec<_>>() {
            let what = format!("the log has forked, and {} goes on", name_of(self.script, node));
            self.broke(Invariant::S7, now, node, what);
        }
    }

    /// S2 on the wire: nobody who knows of a revocation keeps a connection to its subject.
    fn stays_out(&mut self, now: Instant) {
        for node in self.members.clone() {
            let Some(state) = self.world.actor(node).and_then(|program| program.core().state()) else {
                continue;
            };
            let peers = self.world.peers(node).to_vec();
            let state = state.clone();
            for peer in peers {
                // A revoked endorser keeps its vote, and so its connections, until the charter is amended (SPEC 4.7).
                let out = self.node_id(peer);
                if state.is_gone(&out) && !state.has_seat(&out) {
                    let what = format!("{} is revoked, and still connected", name_of(self.script, peer));
                    self.broke(Invariant::S2, now, node, what);
                }
            }
        }
    }

    /// What every node believes at the end.
    fn state_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("frith-sim 2026-11 states v1");
        for node in (0..self.world.nodes() as u32).map(NodeIndex) {
            let state = self.world.actor(node).and_then(|program| program.core().state());
            hasher.update(&node.0.to_le_bytes());
            hasher.update(&state.map_or([0; 32], |state| state.last_id().0));
            hasher.update(&state.map_or([0; 32], |state| state.root().0));
        }
        *hasher.finalize().as_bytes()
    }
}
