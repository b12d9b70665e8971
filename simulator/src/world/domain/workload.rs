//! Who comes when, and what operators do.

use std::collections::{BTreeMap, BTreeSet};

use frith_protocol::door::{Command, Core, Phase, joining_records};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, PublicKey, Rotation};
use frith_protocol::joining::{Decision, Proposal};
use frith_protocol::state::{
    Kind, Reason, Release, Revoke, Seat, Standing, Statement, Subject, Suspend, Terms,
};
use frith_protocol::time::Timestamp;
use toml::Spanned;

use super::amendments::Asked;
use super::{Pending, Run, Wanted};
use crate::engine::{Instant, NodeIndex};
use crate::scenario::{Act, By, NodeName, Process};
use crate::world::founding::{ROLE, by_hand, next_key};
use crate::world::plan::index_of;
use crate::world::program::Program;

/// Wake-ups beyond these are acts; below, arrivals.
const ACTS: u64 = 1 << 63;
/// An operator who has to wait tries again after this.
const ACT_AGAIN_US: u64 = 3_000_000;
/// A proposal of an operator lapses after this.
const ACT_EXPIRES_MS: u64 = 600_000;

impl Run<'_> {
    pub(super) fn schedule_work(&mut self) {
        let arrivals = &self.script.arrivals;
        let mean_us = 1_000_000 / u64::from(arrivals.per_second);
        let mut at = Instant::from_ms(arrivals.first_ms);
        for number in 0..self.order.newcomers {
            self.world.wake(at, number.into());
            self.last_order = self.last_order.max(at);
            at = at.plus_us(match arrivals.process {
                Process::Poisson => self.workload.exponential(mean_us),
                Process::Even => mean_us,
                Process::Together => 0,
            });
        }
        for (number, act) in (0..).zip(&self.script.act) {
            if act.domain == self.order.domain {
                for nth in 0..=act.and_next {
                    let whom = act.whom().map(|name| name.as_ref().next(nth));
                    if matches!(whom, Some(NodeName::Newcomer(number)) if number >= self.order.newcomers) {
                        break;
                    }
                    let at = Instant::from_ms(
                        act.at_ms.saturating_add(u64::from(nth).saturating_mul(act.every_ms)),
                    );
                    self.world.wake(at, ACTS + (u64::from(nth) << 32) + number);
                    self.last_order = self.last_order.max(at);
                    self.acts_left += 1;
                }
            }
        }
    }

    pub(super) fn woken(&mut self, token: u64) {
        match token.checked_sub(ACTS) {
            None => self.arrives(NodeIndex(u32::from(self.script.mesh.endorsers) + token as u32)),
            Some(number) => {
                let (nth, number) = ((number >> 32) as u32, number as u32);
                let act = self.script.act[number as usize].of_the_next(nth);
                if self.act(&act) {
                    self.acts_left -= 1;
                } else {
                    self.world.wake(self.world.now().plus_us(ACT_AGAIN_US), token);
                }
            }
        }
    }

    /// A newcomer comes, and is connected to the endorsers that its ticket names.
    fn arrives(&mut self, node: NodeIndex) {
        self.to_come -= 1;
        let mut application = self.founding.application.clone();
        if self.script.arrivals.recent_anchors {
            let honest = self.seated().into_iter().filter(|node| self.is_up(*node) && !self.lies(*node));
            let mut known = honest.filter_map(|node| self.world.actor(node)?.core().anchor(Vec::new()));
            application.anchor = known.next().unwrap_or(application.anchor);
        }
        for record in joining_records(&application) {
            self.world.prepare(node, by_hand(record));
        }
        self.start(node);
        for endorser in self.seated() {
            self.world.connect_now(node, endorser);
        }
        self.arrived.insert(node, self.world.now());
        // Its proof of possession, and its signature with the ticket's key.
        self.outcome.signatures_made += 1 + u64::from(self.script.arrivals.by == By::Ticket);
    }

    /// Has an operator act. False if that has to wait: the node is down, or has not heard yet of whom it is about.
    fn act(&mut self, act: &Act) -> bool {
        if let Some(name) = &act.revoke {
            return self.propose(*name.as_ref(), "revocation", act, |_, subject, _, _| {
                Some((Kind::Revoke(Revoke { subject, reason: Reason::Compromised }), Wanted::Gone))
            });
        }
        if let Some(name) = &act.suspend {
            return self.propose(*name.as_ref(), "suspension", act, |_, subject, standing, now| {
                let number = standing.suspensions + 1;
                let until = act.for_ms.map_or(Timestamp(u64::MAX), |ms| now.plus(ms));
                let suspend = Suspend { subject, number, until, reason: Reason::Misbehaved };
                Some((Kind::Suspend(suspend), Wanted::Suspended(number, until)))
            });
        }
        if let Some(names) = &act.hold {
            return self.hold(names, act);
        }
        if let Some(name) = &act.release {
            return self.propose(*name.as_ref(), "release", act, |core, subject, standing, now| {
                standing.suspended(now)?;
                let (number, basis) = (standing.suspensions, core.chain()?.basis());
                Some((Kind::Release(Release { subject, number, basis }), Wanted::Released(number)))
            });
        }
        if act.amends() {
            return self.amend(act);
        }
        if let Some(seats) = &act.recover {
            return self.recover(seats, act.stolen);
        }
        if let Some(name) = &act.rotate {
            return self.rotate(*name.as_ref());
        }
        if let Some(name) = &act.renew {
            return self.renew(*name.as_ref());
        }
        if let Some(name) = &act.leave {
            let name = *name.as_ref();
            let (node, subject) = (index_of(self.script, name), self.id_of(name));
            if self.history.gone().contains(&subject) {
                return true;
            }
            // A wish to leave is sent once: if no endorser was within reach, it is for the operator to wish again.
            if self.is_up(node) && self.members.contains(&node) {
                self.world.command(node, 0, Command::Leave);
            }
            if self.pending.iter().all(|act| act.subject != subject) {
                let what = format!("the leave of {name}");
                self.pending.push(Pending { subject, wanted: Wanted::Gone, what });
            }
            return false;
        }
        true
    }

    /// Has a node renew at once; if that is too early it renews when it is due, as it would anyway. False if it is down.
    fn renew(&mut self, name: NodeName) -> bool {
        let (node, subject) = (index_of(self.script, name), self.id_of(name));
        if self.history.gone().contains(&subject) {
            return true;
        }
        if !self.is_up(node) || !self.members.contains(&node) {
            return false;
        }
        self.world.command(node, 0, Command::Renew);
        let wanted = Wanted::Renewed(self.history.number_of(&subject) + 1);
        self.pending.push(Pending { subject, wanted, what: format!("the renewal of {name}") });
        true
    }

    /// Has a node rotate, as its host does: first everything durable, then the core. False if it cannot yet.
    fn rotate(&mut self, name: NodeName) -> bool {
        let (node, subject) = (index_of(self.script, name), self.id_of(name));
        if self.history.gone().contains(&subject) {
            return true;
        }
        let up = self.world.actor(node).filter(|_| self.is_up(node));
        let Some(core) = up.map(Program::core) else { return false };
        let keys = &self.world.shared.keys[node.index()];
        let sequence = keys.rotations.len() as u32 + 1;
        let key = next_key(&keys.identity);
        let rotation = Rotation::new(&subject, sequence, &key, &next_key(&key).public());
        if core.check_rotation(&rotation).is_err() {
            return false;
        }
        let keys = &mut self.world.shared.keys[node.index()];
        keys.rotations.push(rotation);
        keys.successor = Some(key.clone());
        let (rotation, key) = (Box::new(rotation), Box::new(key));
        self.world.command(node, 0, Command::Rotate { rotation, key });
        let what = format!("the rotation of {name}");
        self.pending.push(Pending { subject, wanted: Wanted::Rotated(sequence), what });
        true
    }

    /// Has the first endorser that can propose what `kind` makes of the node of this name. False if none can yet. Of whoever is gone nothing
    /// is left to decide.
    fn propose(
        &mut self,
        name: NodeName,
        what: &str,
        act: &Act,
        kind: impl Fn(&Core, NodeId, &Standing, Timestamp) -> Option<(Kind, Wanted)>,
    ) -> bool {
        let subject = self.id_of(name);
        if self.history.gone().contains(&subject) {
            return true;
        }
        let faction: Option<BTreeSet<NodeIndex>> = act
            .faction
            .as_ref()
            .map(|faction| faction.iter().map(|name| index_of(self.script, *name.as_ref())).collect());
        let honest = |node: &NodeIndex| {
            let is_asked = faction.as_ref().is_none_or(|faction| faction.contains(node));
            is_asked && !self.lies(*node) && *node != index_of(self.script, name)
        };
        let endorsers = self.seated().into_iter();
        let proposal = |node: NodeIndex| {
            let core = self.world.actor(node).filter(|_| self.is_up(node))?.core();
            let standing = core.state()?.standing(&subject)?;
            let now = Timestamp(self.world.reads(node).0);
            let (kind, wanted) = kind(core, subject, standing, now)?;
            (core.phase() == Phase::Endorsing).then_some((node, now, kind, wanted))
        };
        let Some((proposer, now, kind, wanted)) = endorsers.filter(honest).find_map(proposal) else {
            return false;
        };
        let statement = Statement { domain: self.founding.founded.domain(), kind };
        let (what_is_asked, expires) = (Subject::Statement(statement), now.plus(ACT_EXPIRES_MS));
        match faction {
            Some(faction) => drop(self.factions.insert(what_is_asked.digest(), faction)),
            None => self.pending.push(Pending { subject, wanted, what: format!("the {what} of {name}") }),
        }
        let propose = Command::Propose { subject: what_is_asked, note: "simulated".into(), expires };
        self.world.command(proposer, 0, propose);
        true
    }

    /// Has endorsers hold nodes, each by as many as that takes. False if not all of them can be held yet.
    fn hold(&mut self, names: &[Spanned<NodeName>], act: &Act) -> bool {
        let by = act.by.as_ref().map(|name| index_of(self.script, *name.as_ref()));
        let mut left: BTreeMap<NodeIndex, u8> = BTreeMap::new();
        for node in self.seated() {
            let chosen = by.map_or(!self.lies(node), |by| by == node);
            let core = self.world.actor(node).filter(|_| chosen && self.is_up(node)).map(Program::core);
            if let Some(core) = core.filter(|core| core.phase() == Phase::Endorsing) {
                left.insert(node, core.holds_left());
            }
        }
        let mut given: Vec<(NodeIndex, NodeId, Timestamp, NodeName)> = Vec::new();
        for name in names.iter().map(|name| *name.as_ref()) {
            let (subject, before) = (self.id_of(name), given.len());
            if self.history.gone().contains(&subject) {
                continue;
            }
            for (node, left) in left.iter_mut().filter(|(node, _)| **node != index_of(self.script, name)) {
                let Some(state) = self.world.actor(*node).and_then(|it| it.core().state()) else { continue };
                let enough = given.len() - before >= state.holders_needed(&subject);
                if enough || *left == 0 || state.standing(&subject).is_none() {
                    continue;
                }
                *left -= 1;
                let now = Timestamp(self.world.reads(*node).0);
                let until = act.for_ms.map_or(Timestamp(u64::MAX), |ms| now.plus(ms));
                given.push((*node, subject, until, name));
            }
            if given.len() == before {
                return false;
            }
        }
        let recorded = |run: &Run<'_>, subject: &NodeId| run.history.recorded_holds(subject);
        for (node, subject, until, name) in given {
            let wanted = Wanted::Held(recorded(self, &subject) + 1);
            // What a liar holds need not come to anything.
            if !self.lies(node) && self.pending.iter().all(|act| act.subject != subject) {
                self.pending.push(Pending { subject, wanted, what: format!("the hold of {name}") });
            }
            let reason = Reason::Misbehaved;
            self.world.command(node, 0, Command::Hold { subject, until, reason });
        }
        true
    }

    /// Who has a seat in the newest charter that anybody reached, in the order of their numbers.
    fn seated(&self) -> BTreeSet<NodeIndex> {
        self.history.endorsers().filter_map(|id| self.by_id.get(id)).copied().collect()
    }

    /// Has the first endorser that can propose the next charter. False if none can yet, or some of whom it is about are not there yet.
    fn amend(&mut self, act: &Act) -> bool {
        let ids = |list: &Option<Vec<Spanned<NodeName>>>| -> Vec<NodeId> {
            list.iter().flatten().map(|name| self.id_of(*name.as_ref())).collect()
        };
        let (add, remove) = (ids(&act.seat), ids(&act.unseat));
        let terms = |node: NodeIndex| {
            let core = self.world.actor(node).filter(|_| self.is_up(node))?.core();
            let now = Timestamp(self.world.reads(node).0);
            let terms = next_charter(core, now, &add, &remove)?;
            (core.phase() == Phase::Endorsing).then_some((node, now, terms))
        };
        let proposer = self.seated().into_iter().filter(|node| !self.lies(*node)).find_map(terms);
        let Some((proposer, now, terms)) = proposer else { return false };
        let (epoch, expires) = (terms.charter.epoch, now.plus(ACT_EXPIRES_MS));
        let subject = Subject::Terms(Box::new(terms));
        let need = self.world.actor(proposer).and_then(|program| program.core().state());
        let amend = need.map_or(0, |state| state.threshold_for(&subject));
        let added = add.iter().filter_map(|id| self.by_id.get(id)).copied().collect();
        let yes = BTreeMap::from([(proposer, self.world.now())]);
        self.amendments.asked(subject.digest(), Asked { epoch, amend, seated: self.seated(), added, yes });
        let propose = Command::Propose { subject, note: "simulated".into(), expires };
        self.world.command(proposer, 0, propose);
        let what = format!("the charter of epoch {epoch}");
        self.pending.push(Pending { subject: NodeId::default(), wanted: Wanted::Amended(epoch), what });
        true
    }

    /// The operator of a node that is back looks at what waits there: what was agreed to before may have been lost.
    pub(super) fn look_again(&mut self, node: NodeIndex) {
        let Some(program) = self.world.actor(node) else { return };
        let open = |(id, proposal): (&Hash, &Proposal)| (proposal.decision == Decision::Open).then_some(*id);
        let waiting: Vec<Hash> = program.core().proposals().filter_map(open).collect();
        for id in waiting {
            self.agree_to(node, id);
        }
    }

    /// The operator of a node says yes, after a while.
    pub(super) fn agree_to(&mut self, node: NodeIndex, id: Hash) {
        if self.factions.get(&id).is_some_and(|faction| !faction.contains(&node)) {
            return;
        }
        let [low, high] = self.script.arrivals.approve_after_ms;
        let after_us = self.workload.between(low, high) * 1_000;
        self.amendments.yes(&id, node, self.world.now().plus_us(after_us));
        self.world.command(node, after_us, Command::Endorse(id));
    }

    /// A newcomer has the state: it takes part in gossip, and connects to some others.
    pub(super) fn joins_the_members(&mut self, node: NodeIndex) {
        if self.history.gone().contains(&self.node_id(node)) {
            return;
        }
        let others: Vec<NodeIndex> = self.members.iter().copied().filter(|other| *other != node).collect();
        let wanted = (self.script.network.peers as usize).min(others.len());
        if self.members.insert(node) {
            let mut chosen = BTreeSet::new();
            while chosen.len() < wanted {
                chosen.insert(others[self.workload.below(others.len() as u64) as usize]);
            }
            for other in chosen {
                self.world.connect(node, other);
            }
        }
        self.world.subscribe(node);
    }
}

/// The charter in force with these seats and without those, as many liars as it can bear of those that it bore, and the least quorum for the
/// next. None before everybody whom it adds is a member.
pub(super) fn next_charter(core: &Core, now: Timestamp, add: &[NodeId], remove: &[NodeId]) -> Option<Terms> {
    let state = core.state()?;
    let mut charter = state.charter().clone();
    charter.previous = Some(state.charter_id());
    charter.epoch += 1;
    // A leader whose clock is behind would have to wait for it.
    charter.written = charter.written.plus(1).max(core.head()?.time).min(now);
    charter.endorsers.retain(|seat| !remove.contains(&seat.node_id()));
    for node in add {
        let inception = state.standing(node)?.keys.inception.clone();
        charter.endorsers.push(Seat {
            inception,
            voting_key: PublicKey::BLANK,
            roles: vec![ROLE.to_owned()],
        });
    }
    charter.endorsers.sort_by_key(Seat::node_id);
    let seats = charter.size();
    charter.faults = charter.faults.min(u8::try_from((seats - 1) / 3).ok()?);
    let (least, most) = (charter.faults + 1, u8::try_from(seats).ok()? - charter.faults);
    charter.thresholds.amend = u8::try_from(charter.quorum()).ok()?;
    let thresholds = &mut charter.thresholds;
    thresholds.admit = thresholds.admit.clamp(least.max(2).min(most), most);
    thresholds.revoke = thresholds.revoke.clamp(least, most);
    thresholds.contain = thresholds.contain.clamp(least, most);
    Some(Terms::of(state.domain(), charter))
}
