//! One domain's run: who comes when, what operators do, and what is measured and watched while they do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use frith_protocol::door::{Alarm, Command, Event, Keys, joining_records};
use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::NodeId;
use frith_protocol::joining::{Decision, Proposal};
use frith_protocol::state::{Kind, Reason, Revoke, Statement, Subject};

use super::check::Checker;
use super::founding::{Founding, by_hand, new_keys};
use super::letter::Letters;
use super::liar::Plot;
use super::outcome::Outcome;
use super::plan::{index_of, name_of};
use super::program::{Program, Shared, Values};
use super::workshop::SharedWorkshop;
use crate::engine::{
    Action, Clock, Concern, DiskRules, Instant, LinkRules, NodeIndex, NodeRules, Plan, Random, Simulation,
    Step,
};
use crate::gossip::GossipRules;
use crate::oracles::{Ballots, Domain as Origin, History, Invariant, Violation};
use crate::scenario::{Act, By, Lie, NodeName, Process, Script};

/// What can be seen of a run while it goes on, from other threads.
#[derive(Debug, Default)]
pub struct Progress {
    /// How many newcomers are in.
    pub joined: AtomicU64,
    /// How many events have happened.
    pub events: AtomicU64,
}

/// What one domain's run is made of.
#[derive(Clone, Debug)]
pub struct Order {
    /// The domain's number.
    pub domain: u32,
    /// How many newcomers come to it.
    pub newcomers: u32,
    /// The seed of the whole run.
    pub seed: u64,
    /// What goes wrong.
    pub plan: Plan,
    /// Whether a processor is to spare, for a thread that checks signatures. The run is the same with it and without.
    pub spare_processor: bool,
}

/// Wake-ups beyond these are acts; below, arrivals.
const ACTS: u64 = 1 << 32;
/// An operator who has to wait tries again after this.
const ACT_AGAIN_US: u64 = 3_000_000;
/// A proposal of an operator lapses after this.
const ACT_EXPIRES_MS: u64 = 600_000;

/// A block with entries that not every live member holds yet.
struct Open {
    since: Instant,
    missing: Missing,
}

/// Who lacks something: a bit for each node, and how many are set.
#[derive(Default)]
struct Missing {
    bits: Vec<u64>,
    count: usize,
}

impl Missing {
    fn insert(&mut self, node: NodeIndex) {
        let (word, bit) = (node.index() / 64, 1 << (node.index() % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.count += usize::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    fn remove(&mut self, node: NodeIndex) {
        let (word, bit) = (node.index() / 64, 1 << (node.index() % 64));
        if let Some(bits) = self.bits.get_mut(word).filter(|bits| **bits & bit != 0) {
            *bits &= !bit;
            self.count -= 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// An act that must have an end.
struct Pending {
    subject: NodeId,
    what: String,
}

struct Run<'a> {
    script: &'a Script,
    order: &'a Order,
    progress: &'a Progress,
    world: Simulation<Program>,
    workload: Random,
    founding: Founding,
    history: History,
    /// Who runs as a member, or would if it were not down: from its synchronisation to its revocation.
    members: BTreeSet<NodeIndex>,
    by_id: BTreeMap<NodeId, NodeIndex>,
    arrived: BTreeMap<NodeIndex, Instant>,
    to_come: u32,
    acts_left: usize,
    pending: Vec<Pending>,
    open: BTreeMap<u64, Open>,
    last_order: Instant,
    outcome: Outcome,
}

/// Runs one domain to its end.
///
/// # Errors
/// The [`Fault`] for which the charter is refused: a scenario can ask for what cannot be.
pub fn run(script: &Script, order: &Order, progress: &Progress) -> Result<Outcome, Fault> {
    let mut run = Run::prepare(script, order, progress)?;
    let ended = run.drive();
    Ok(run.finish(ended))
}

/// How the driving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Nothing is left to wait for.
    Settled,
    /// The time in which it should have settled is over.
    Stuck,
    /// The budget is spent.
    CutOff,
}

impl<'a> Run<'a> {
    fn prepare(script: &'a Script, order: &'a Order, progress: &'a Progress) -> Result<Run<'a>, Fault> {
        let (part, seed) = (u64::from(order.domain), order.seed);
        let mut workload = Random::new(seed, part, Concern::Workload);
        let checker = Checker::new(workload.seed(), order.spare_processor);
        let founding = Founding::new(script, order.domain, &mut workload, &checker)?;
        let mut keys: Vec<Keys> = founding.endorsers.clone();
        keys.extend((0..order.newcomers).map(|_| new_keys(&mut workload, false)));
        let everybody = keys.len() as u32;

        let index = |at: usize| NodeIndex(at as u32);
        let liars = script.liar.iter().filter(|liar| liar.domain == order.domain);
        let lies: BTreeMap<NodeIndex, Lie> =
            liars.map(|liar| (index_of(script, *liar.node.as_ref()), liar.lie)).collect();
        // An unnoticed old backup counts as a fault, too.
        let excused = order.plan.rolled_back().chain(lies.keys().copied()).collect();
        let voters = founding.endorsers.iter().enumerate();
        let voters = voters.filter_map(|(at, keys)| Some((index(at), keys.voting.as_ref()?.public())));
        let forgetful: Vec<bool> = (0..everybody).map(|node| !order.plan.restarts(NodeIndex(node))).collect();
        let shared = Shared {
            domain: founding.founded.domain(),
            seeds: keys.iter().map(|_| workload.seed()).collect(),
            nodes: keys.iter().enumerate().map(|(at, keys)| (keys.identity.public(), index(at))).collect(),
            names: keys.iter().map(|keys| keys.identity.public()).collect(),
            checker,
            workshop: Arc::new(SharedWorkshop::default()),
            ballots: Ballots::new(order.domain, voters, excused),
            sent: BTreeMap::new(),
            lies,
            plot: Plot::default(),
            faults: BTreeMap::new(),
            forgetful: forgetful.clone(),
            letters: Letters::default(),
            values: Values::default(),
            keys,
        };
        let charter = &founding.founded.charter;
        let history = History::new(Origin {
            number: order.domain,
            genesis: founding.genesis.id(),
            endorsers: founding.endorsers.iter().map(|keys| keys.inception.node_id()).collect(),
            admit: charter.thresholds.admit.into(),
            revoke: charter.thresholds.revoke.into(),
        });
        let by_id = shared.keys.iter().enumerate();
        let by_id = by_id.map(|(at, keys)| (keys.inception.node_id(), index(at))).collect();

        let mut world = world(script, order, shared);
        let mut clocks = Random::new(seed, part, Concern::Clocks);
        for forgetful in forgetful {
            world.add_node(NodeRules { clock: clock(script, &mut clocks), forgetful });
        }
        let mut run = Run {
            script,
            order,
            progress,
            world,
            workload,
            history,
            members: (0..u32::from(script.mesh.endorsers)).map(NodeIndex).collect(),
            by_id,
            arrived: BTreeMap::new(),
            to_come: order.newcomers,
            acts_left: 0,
            pending: Vec::new(),
            open: BTreeMap::new(),
            last_order: Instant(order.plan.last_us()),
            outcome: Outcome::new(order, everybody, founding.signatures),
            founding,
        };
        run.start_endorsers();
        run.schedule_work();
        Ok(run)
    }

    fn start_endorsers(&mut self) {
        let endorsers: Vec<NodeIndex> = self.members.iter().copied().collect();
        for node in &endorsers {
            for record in self.founding.records(node.index()) {
                self.world.prepare(*node, by_hand(record));
            }
            self.start(*node);
        }
        for a in &endorsers {
            for b in endorsers.iter().filter(|b| *b > a) {
                self.world.connect_now(*a, *b);
            }
            self.world.subscribe(*a);
        }
    }

    fn start(&mut self, node: NodeIndex) {
        if let Err(why) = self.world.start_now(node) {
            self.outcome.note(format!("{} does not start: {why}", name_of(self.script, node)));
        }
    }

    fn schedule_work(&mut self) {
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
                let at = Instant::from_ms(act.at_ms);
                self.world.wake(at, ACTS + number);
                self.last_order = self.last_order.max(at);
                self.acts_left += 1;
            }
        }
    }

    fn drive(&mut self) -> Ended {
        let at_least = Instant::from_ms(self.script.run.at_least_ms);
        let deadline = self.last_order.max(at_least).plus_us(self.script.run.settle_ms * 1_000);
        let (mut told, mut reported) = (Vec::new(), 0);
        loop {
            let Some(step) = self.world.step() else { return Ended::Settled };
            let now = self.world.now();
            if now > deadline {
                return Ended::Stuck;
            }
            let events = self.world.counters().events;
            if events > self.script.run.events_max {
                return Ended::CutOff;
            }
            if events >= reported + 1_000 {
                self.progress.events.fetch_add(events - reported, Ordering::Relaxed);
                reported = events;
            }
            let mut news = false;
            match step {
                Step::Node(_) => {
                    self.world.take_told(&mut told);
                    news = !told.is_empty();
                    for (node, event) in told.drain(..) {
                        self.told(node, event);
                    }
                }
                Step::Wake(token) => self.woken(token),
                Step::Fault(number) => {
                    news = true;
                    self.faulted(number);
                }
                Step::NotStarted(node, why) => {
                    self.outcome.note(format!("{} does not start: {why}", name_of(self.script, node)));
                }
                Step::Quiet => {}
            }
            if news && now >= at_least && self.is_settled() {
                return Ended::Settled;
            }
        }
    }

    /// Whether nothing is left to wait for.
    fn is_settled(&self) -> bool {
        self.to_come == 0
            && self.arrived.is_empty()
            && self.acts_left == 0
            && self.open.is_empty()
            && self.world.now() >= self.last_order
            && self.pending.iter().all(|act| self.history.gone().contains(&act.subject))
            && self.lagging().is_empty()
    }

    /// Members that run, hear a quorum, and are not at the newest block with entries.
    fn lagging(&self) -> Vec<NodeIndex> {
        let (newest, _) = self.history.newest();
        let behind = |node: &NodeIndex| {
            let state = self.world.actor(*node).and_then(|program| program.core().state());
            self.is_judged(*node) && state.is_none_or(|state| state.last_id() != newest)
        };
        self.members.iter().copied().filter(behind).collect()
    }

    fn is_up(&self, node: NodeIndex) -> bool {
        self.world.actor(node).is_some() && !self.world.is_paused(node)
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
        let endorsers = (0..self.script.mesh.endorsers.into()).map(NodeIndex);
        let heard =
            endorsers.filter(|endorser| self.is_up(*endorser) && network.reaches(node, *endorser)).count();
        heard >= self.founding.founded.charter.quorum()
    }

    /// Nobody is asked about what a liar says or holds.
    fn lies(&self, node: NodeIndex) -> bool {
        self.world.shared.lies.contains_key(&node)
    }

    fn woken(&mut self, token: u64) {
        match token.checked_sub(ACTS) {
            None => self.arrives(NodeIndex(u32::from(self.script.mesh.endorsers) + token as u32)),
            Some(number) => {
                let act = &self.script.act[number as usize];
                if self.act(act) {
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
        for record in joining_records(&self.founding.application) {
            self.world.prepare(node, by_hand(record));
        }
        self.start(node);
        for endorser in (0..self.script.mesh.endorsers.into()).map(NodeIndex) {
            self.world.connect_now(node, endorser);
        }
        self.arrived.insert(node, self.world.now());
        // Its proof of possession, and its signature with the ticket's key.
        self.outcome.signatures_made += 1 + u64::from(self.script.arrivals.by == By::Ticket);
    }

    /// Has an operator act. False if that has to wait: the node is down, or has not heard yet of whom it is about.
    fn act(&mut self, act: &Act) -> bool {
        if let Some(name) = &act.revoke {
            let name = *name.as_ref();
            let subject = self.id_of(name);
            let honest = |node: &NodeIndex| !self.lies(*node) && *node != index_of(self.script, name);
            let endorsers = (0..self.script.mesh.endorsers.into()).map(NodeIndex);
            let knows = |node: &NodeIndex| {
                let state = self.world.actor(*node).and_then(|program| program.core().state());
                self.is_up(*node) && state.is_some_and(|state| state.standing(&subject).is_some())
            };
            let Some(proposer) = endorsers.filter(honest).find(knows) else { return false };
            let kind = Kind::Revoke(Revoke { subject, reason: Reason::Compromised });
            let domain = self.founding.founded.domain();
            let expires = frith_protocol::time::Timestamp(self.world.reads(proposer).0 + ACT_EXPIRES_MS);
            let what = Subject::Statement(Statement { domain, kind });
            let command = Command::Propose { subject: what, note: "simulated".into(), expires };
            self.world.command(proposer, 0, command);
            self.pending.push(Pending { subject, what: format!("the revocation of {name}") });
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
                self.pending.push(Pending { subject, what: format!("the leave of {name}") });
            }
            return false;
        }
        true
    }

    fn id_of(&self, name: NodeName) -> NodeId {
        self.node_id(index_of(self.script, name))
    }

    fn node_id(&self, node: NodeIndex) -> NodeId {
        self.world.shared.keys[node.index()].inception.node_id()
    }

    fn faulted(&mut self, number: usize) {
        let action = &self.order.plan.0[number].action;
        self.outcome.faults += 1;
        if let Action::Kill { node } | Action::LosePower { node } = action {
            for open in self.open.values_mut() {
                open.missing.remove(*node);
            }
            self.close();
        }
        if let Action::Restart { node } | Action::Resume { node } = action {
            self.look_again(*node);
        }
    }

    /// The operator of a node that is back looks at what waits there: what was agreed to before may have been lost.
    fn look_again(&mut self, node: NodeIndex) {
        let Some(program) = self.world.actor(node) else { return };
        let open = |(id, proposal): (&Hash, &Proposal)| (proposal.decision == Decision::Open).then_some(*id);
        let waiting: Vec<Hash> = program.core().proposals().filter_map(open).collect();
        for id in waiting {
            self.agree_to(node, id);
        }
    }

    /// The operator of a node says yes, after a while.
    fn agree_to(&mut self, node: NodeIndex, id: Hash) {
        let [low, high] = self.script.arrivals.approve_after_ms;
        let after_us = self.workload.between(low, high) * 1_000;
        self.world.command(node, after_us, Command::Endorse(id));
    }

    fn told(&mut self, node: NodeIndex, event: Event) {
        let now = self.world.now();
        match event {
            Event::Final { .. } | Event::Alarm(_) if self.lies(node) => {}
            Event::Final { height, block, entries } => {
                let first = self.history.is_final(now, node, height, block);
                if entries > 0 {
                    self.entries_final(now, node, height, first);
                }
            }
            Event::Admitted { node: _, height: _ } => {
                if let Some(arrived) = self.arrived.remove(&node) {
                    self.progress.joined.fetch_add(1, Ordering::Relaxed);
                    self.outcome.join_us.push(now.since(arrived));
                    self.outcome.join_links_us.push(self.links_us(node));
                }
            }
            Event::Synced { height: _ } => self.joins_the_members(node),
            Event::Waiting { id, note: _ } => self.agree_to(node, id),
            Event::Endorsed { id: _ } => self.outcome.signatures_made += 1,
            Event::Denied { key, node: _ } => {
                if let Some(other) = self.world.shared.nodes.get(&key).copied() {
                    self.world.part(node, other);
                }
            }
            Event::JoinFailed { why } => {
                self.arrived.remove(&node);
                self.outcome.failed.push((node, why));
            }
            Event::Declined { by: _, why } => self.outcome.note(format!("an endorser declined: {why}")),
            Event::Misbehaved { key: _, why } => self.outcome.note(format!("an endorser misbehaved: {why}")),
            Event::Alarm(alarm) => self.alarm(now, node, &alarm),
            Event::Met { .. } | Event::Lapsed { .. } | Event::Accepted { .. } => {}
        }
    }

    fn alarm(&mut self, now: Instant, node: NodeIndex, alarm: &Alarm) {
        let who = name_of(self.script, node);
        match alarm {
            Alarm::Forked { .. } | Alarm::DoesNotExecute { .. } => {
                self.broke(Invariant::S3, now, node, format!("{who} halted: {alarm:?}"));
            }
            Alarm::Contradiction { key, iteration: _ } => {
                let voter = |keys: &Keys| keys.voting.as_ref().is_some_and(|voting| voting.public() == *key);
                let liar = self.world.shared.keys.iter().position(voter).map(|at| NodeIndex(at as u32));
                let liar = liar.map_or(key.to_string(), |liar| name_of(self.script, liar).to_string());
                self.outcome.note(format!("{who} has proof that {liar} contradicted itself"));
            }
            Alarm::JournalLost { why } => self.outcome.note(format!("{who} lost its journal: {why}")),
            Alarm::ClockRanBack { .. } => self.outcome.note(format!("the clock of {who} ran backwards")),
            Alarm::ClockFarOff { .. } => self.outcome.note(format!("the clock of {who} is far off")),
        }
    }

    fn broke(&mut self, invariant: Invariant, now: Instant, node: NodeIndex, what: String) {
        let (domain, at_ms) = (self.order.domain, now.as_ms());
        self.outcome.violations.push(Violation { invariant, domain, at_ms, node, what });
    }

    fn entries_final(&mut self, now: Instant, node: NodeIndex, height: u64, first: bool) {
        let Some(core) = self.world.actor(node).map(Program::core) else { return };
        if first {
            match core.chain().and_then(|chain| chain.held(height)) {
                Some(held) => {
                    self.history.enters(now, node, &held.block);
                    let gone: Vec<NodeIndex> =
                        self.history.gone().iter().filter_map(|id| self.by_id.get(id)).copied().collect();
                    for node in gone {
                        self.members.remove(&node);
                        self.arrived.remove(&node);
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

    /// A newcomer has the state: it takes part in gossip, and connects to some others.
    fn joins_the_members(&mut self, node: NodeIndex) {
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

    fn finish(mut self, ended: Ended) -> Outcome {
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
            for (node, arrived) in std::mem::take(&mut self.arrived) {
                if self.is_judged(node) {
                    let since = arrived.as_ms();
                    let what = format!("{} has been joining since {since} ms", name_of(self.script, node));
                    self.broke(Invariant::L2, now, node, what);
                }
            }
            for act in std::mem::take(&mut self.pending) {
                if !self.history.gone().contains(&act.subject) {
                    self.broke(Invariant::L3, now, NodeIndex(0), format!("{} is not final", act.what));
                }
            }
        }
        self.stays_out(now);
        self.outcome.gone = self.history.gone().len() as u64;
        self.outcome.virtual_ms = now.as_ms();
        self.outcome.blocks = self.history.blocks();
        self.outcome.entries = self.history.entries();
        self.outcome.violations.extend_from_slice(self.history.violations());
        let shared = &self.world.shared;
        self.outcome.violations.extend_from_slice(shared.ballots.violations());
        self.outcome.signatures_made += shared.ballots.distinct();
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

fn world(script: &Script, order: &Order, shared: Shared) -> Simulation<Program> {
    let (part, seed) = (u64::from(order.domain), order.seed);
    let network = &script.network;
    let links = LinkRules {
        latency_min_us: network.latency_ms[0] * 1_000,
        latency_max_us: network.latency_ms[1] * 1_000,
        jitter_us: network.jitter_ms * 1_000,
        loss_ppm: network.loss_ppm,
        duplicate_ppm: network.duplicate_ppm,
        notice_us: network.notice_ms * 1_000,
    };
    let disks = DiskRules { sync_us: script.disks.sync_us, flush_us: script.disks.flush_ms * 1_000 };
    let mut world = Simulation::new(shared, links, disks, seed, part);
    let gossip = &script.gossip;
    if gossip.on {
        let rules = GossipRules {
            mesh: gossip.mesh as usize,
            mesh_low: gossip.mesh_low as usize,
            mesh_high: gossip.mesh_high as usize,
            lazy: gossip.lazy as usize,
            heartbeat_us: gossip.heartbeat_ms * 1_000,
            flood_publish: gossip.flood_publish,
            ..GossipRules::default()
        };
        world = world.with_gossip(rules, seed, part);
    }
    world.with_plan(order.plan.clone())
}

fn clock(script: &Script, random: &mut Random) -> Clock {
    let (offset, drift) = (script.clocks.offset_ms as i64, i64::from(script.clocks.drift_ppm));
    let mut around = |most: i64| random.between(0, 2 * most as u64) as i64 - most;
    Clock { offset_us: around(offset * 1_000), drift_ppm: around(drift) as i32 }
}
