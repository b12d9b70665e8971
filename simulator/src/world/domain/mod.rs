//! One domain's run: who comes when, what operators do, and what is measured and watched while they do.

//!
//! Here are the run itself and how it is driven; beside it, its workload, what is watched meanwhile, and the verdict.

mod amendments;
mod recovering;
mod refusals;
mod verdict;
mod watch;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use frith_protocol::door::Keys;
use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::NodeId;
use frith_protocol::time::Timestamp;

use self::amendments::Amendments;
use self::refusals::{Known, Refusals};
use self::watch::Open;
use super::check::Checker;
use super::founding::{Founding, by_hand, charters_to_come, new_keys};
use super::grave::Grave;
use super::letter::Letters;
use super::liar::Plot;
use super::outcome::Outcome;
use super::plan::{index_of, name_of};
use super::program::{Program, Shared, Values};
use super::workshop::SharedWorkshop;
use crate::engine::{
    Clock, Concern, DiskRules, Instant, LinkRules, Millis, NodeIndex, NodeRules, Plan, Random, Simulation,
    Step,
};
use crate::gossip::GossipRules;
use crate::oracles::{Ballots, Domain as Origin, History, Invariant, Violation};
use crate::scenario::{Lie, NodeName, Script};

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

/// An act that must have an end.
struct Pending {
    subject: NodeId,
    wanted: Wanted,
    what: String,
}

/// What an act is to bring about.
#[derive(Clone, Copy)]
enum Wanted {
    Gone,
    /// By the suspension of this number, if it is final before it would be over.
    Suspended(u64, Timestamp),
    /// From the suspension of this number.
    Released(u64),
    /// By the charter of this epoch, or a later one.
    Amended(u64),
    /// To the key of this number.
    Rotated(u32),
    /// So that the log has recorded so many holds of it.
    Held(u64),
    /// By an admission of this number.
    Renewed(u64),
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
    refusals: Refusals,
    /// The holds that each node told of.
    holds: BTreeMap<NodeIndex, Vec<Known>>,
    amendments: Amendments,
    /// Of what only some operators are to agree to: which.
    factions: BTreeMap<Hash, BTreeSet<NodeIndex>>,
    last_order: Instant,
    /// Correct nodes that saw the log fork, and took no recovery since.
    halted: BTreeSet<NodeIndex>,
    /// The epoch that the newest recovery began, 0 if there was none.
    recovered_to: u64,
    /// When the newest block became final.
    last_block: Instant,
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
        keys.extend((0..order.newcomers).map(|_| new_keys(&mut workload, charters_to_come(script))));
        let everybody = keys.len() as u32;
        let twins: BTreeMap<NodeIndex, NodeIndex> = order.plan.twins().map(|(of, twin)| (twin, of)).collect();
        // Last of all, under keys that others have, too.
        keys.extend(twins.values().map(|of| keys[of.index()].clone()).collect::<Vec<_>>());

        let index = |at: usize| NodeIndex(at as u32);
        let liars = script.liar.iter().filter(|liar| liar.domain == order.domain);
        let lies: BTreeMap<NodeIndex, (Lie, Millis)> = liars
            .map(|liar| (index_of(script, *liar.node.as_ref()), (liar.lie, Millis(liar.from_ms))))
            .collect();
        let plot =
            if lies.values().all(|(_, from)| from.0 > 0) { Plot::that_waits() } else { Plot::default() };
        // An unnoticed old backup counts as a fault, too, and so does whoever runs twice.
        let excused = order.plan.rolled_back().chain(lies.keys().copied());
        let excused: BTreeSet<NodeIndex> =
            excused.chain(twins.iter().flat_map(|(twin, of)| [*twin, *of])).collect();
        let faulty = excused.iter().map(|node| keys[node.index()].inception.node_id()).collect();
        let voters = keys.iter().take(everybody as usize).enumerate();
        let voters =
            voters.flat_map(|(at, keys)| keys.voting.iter().map(move |key| (index(at), key.public())));
        let forgetful: Vec<bool> =
            (0..keys.len() as u32).map(|node| !order.plan.is_read_again(NodeIndex(node))).collect();
        let shared = Shared {
            domain: founding.founded.domain(),
            seeds: keys.iter().map(|_| workload.seed()).collect(),
            nodes: keys
                .iter()
                .take(everybody as usize)
                .enumerate()
                .map(|(at, keys)| (keys.identity.public(), index(at)))
                .collect(),
            twins,
            up_twins: BTreeMap::new(),
            sessions: 0,
            names: keys.iter().map(|keys| keys.identity.public()).collect(),
            checker,
            workshop: Arc::new(SharedWorkshop::default()),
            ballots: Ballots::new(order.domain, voters, excused),
            sent: BTreeMap::new(),
            lies,
            grave: grave(&founding),
            plot,
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
            contain: charter.thresholds.contain.into(),
            amend: charter.thresholds.amend.into(),
            quorum: charter.quorum(),
            faulty,
        });
        let recovers = script.act.iter().any(|act| act.recover.is_some());
        let history = if recovers { history.that_may_be_recovered() } else { history };
        let by_id = shared.keys.iter().take(everybody as usize).enumerate();
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
            refusals: Refusals::default(),
            holds: BTreeMap::new(),
            amendments: Amendments::default(),
            factions: BTreeMap::new(),
            last_order: Instant(order.plan.last_us()),
            halted: BTreeSet::new(),
            recovered_to: 0,
            last_block: Instant(0),
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

    fn is_up(&self, node: NodeIndex) -> bool {
        self.world.actor(node).is_some() && !self.world.is_paused(node)
    }

    /// Nobody is asked about what a liar says or holds.
    fn lies(&self, node: NodeIndex) -> bool {
        self.world.shared.lies.contains_key(&node)
    }

    fn id_of(&self, name: NodeName) -> NodeId {
        self.node_id(index_of(self.script, name))
    }

    fn node_id(&self, node: NodeIndex) -> NodeId {
        self.world.shared.keys[node.index()].inception.node_id()
    }

    fn broke(&mut self, invariant: Invariant, now: Instant, node: NodeIndex, what: String) {
        let (domain, at_ms) = (self.order.domain, now.as_ms());
        self.outcome.violations.push(Violation { invariant, domain, at_ms, node, what });
    }
}

/// As many of the founders' voting keys as make a block final.
fn grave(founding: &Founding) -> Grave {
    let charter = &founding.founded.charter;
    let mut keys: Vec<_> =
        founding.endorsers.iter().filter_map(|keys| keys.voting.first().cloned()).collect();
    keys.sort_by_key(|key| key.public());
    keys.truncate(charter.quorum());
    Grave { domain: founding.founded.domain(), charter: founding.application.anchor.charter, keys }
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
