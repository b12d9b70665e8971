//! The world: nodes, what they do to one another, and what is done to them.

//!
//! Here are the world itself and the one order in which everything happens; what happens is in the files beside: connections, gossip,
//! faults, and the effects of what programs do.

mod connections;
mod effects;
mod faults;
mod gossip;

use super::NodeIndex;
use super::actor::{Actions, Actor, Input, Parcel as _};
use super::disk::{Disk, DiskRules, Write};
use super::fault::Plan;
use super::network::{LinkRules, Network};
use super::queue::{Key, Queue};
use super::random::{Concern, Random};
use super::time::{Clock, Instant, Millis};
use super::trace::{Trace, TraceHash};
use crate::gossip::{GossipRules, Overlay};

/// How one node differs from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeRules {
    /// Its clock.
    pub clock: Clock,
    /// Whether its disk may keep nothing, because it never restarts.
    pub forgetful: bool,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of [`Actor::handle`].
    pub events: u64,
    /// Messages that reached a node, copies included.
    pub deliveries: u64,
    /// Messages handed to the network.
    pub sends: u64,
    /// Bytes handed to the network.
    pub bytes: u64,
    /// Messages that the network lost.
    pub lost: u64,
    /// Messages for a peer that was not connected.
    pub unsent: u64,
    /// Lost gossip that was repaired.
    pub repaired: u64,
    /// Messages whose receiver rejected them.
    pub rejected: u64,
}

/// What one step of the world was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A program handled an input, or its effects were settled; look at what was told.
    Node(NodeIndex),
    /// A timer of whoever drives the world.
    Wake(u64),
    /// A fault of the plan, by its number.
    Fault(usize),
    /// A node did not start.
    NotStarted(NodeIndex, String),
    /// Nothing that concerns anybody outside.
    Quiet,
}

const SOURCE_DRIVER: u32 = u32::MAX;
const SOURCE_PLAN: u32 = u32::MAX - 1;
const SOURCE_OVERLAY: u32 = u32::MAX - 2;

enum Event<A: Actor> {
    Deliver { to: NodeIndex, from: NodeIndex, message: A::Message },
    Gossip { to: NodeIndex, from: NodeIndex, item: u32 },
    Told { to: NodeIndex, from: NodeIndex, item: u32 },
    Tick { node: NodeIndex, alarm: u32 },
    Settle { node: NodeIndex, life: u32, actions: Box<Actions<A>> },
    Command { node: NodeIndex, command: Box<A::Command> },
    Connection { node: NodeIndex, peer: NodeIndex, life: u32, up: bool },
    Open { a: NodeIndex, b: NodeIndex, lives: (u32, u32) },
    Notice { cut: Vec<(NodeIndex, NodeIndex)> },
    Start { node: NodeIndex },
    Fault { number: usize },
    Wake { token: u64 },
    Heartbeat,
}

struct Node<A: Actor> {
    actor: Option<A>,
    disk: Disk,
    clock: Clock,
    /// Counts starts and ends, so that what was meant for an earlier life is known.
    life: u32,
    sequence: u64,
    alarm: u32,
    /// The deadline last asked for, and the tick that is scheduled for it or for an earlier one.
    deadline: Option<Millis>,
    tick_at: Option<Instant>,
    ticks_at_once: u32,
    /// What was written is durable from then on.
    settled_at: Instant,
    /// What waits for a paused process.
    held: Option<Vec<Event<A>>>,
    /// Whom it is connected to; whom the program was told of; whom it would connect to. Each ordered.
    up: Vec<NodeIndex>,
    told_up: Vec<NodeIndex>,
    wanted: Vec<NodeIndex>,
}

/// A world of nodes that run `A`.
pub struct Simulation<A: Actor> {
    /// What the programs share.
    pub shared: A::Shared,
    now: Instant,
    queue: Queue<Event<A>>,
    nodes: Vec<Node<A>>,
    network: Network,
    disk_rules: DiskRules,
    disks: Random,
    overlay: Option<Overlay<A::Message>>,
    plan: Plan,
    sequences: [u64; 3],
    trace: Trace,
    counters: Counters,
    told: Vec<(NodeIndex, A::Told)>,
    scratch: Actions<A>,
}

impl<A: Actor> Simulation<A> {
    /// A world without nodes, of part `part` of the run that `seed` names.
    pub fn new(shared: A::Shared, links: LinkRules, disks: DiskRules, seed: u64, part: u64) -> Simulation<A> {
        Simulation {
            shared,
            now: Instant::ZERO,
            queue: Queue::new(),
            nodes: Vec::new(),
            network: Network::new(links, seed, part),
            disk_rules: disks,
            disks: Random::new(seed, part, Concern::Disks),
            overlay: None,
            plan: Plan::default(),
            sequences: [0; 3],
            trace: Trace::default(),
            counters: Counters::default(),
            told: Vec::new(),
            scratch: Actions::default(),
        }
    }

    /// Gives the world a gossip overlay. Without one, what is published goes nowhere.
    pub fn with_gossip(mut self, rules: GossipRules, seed: u64, part: u64) -> Simulation<A> {
        assert!(self.nodes.is_empty(), "the overlay comes before the nodes");
        let heartbeat = rules.heartbeat_us;
        self.overlay = Some(Overlay::new(rules, seed, part));
        self.schedule(SOURCE_OVERLAY, Instant(heartbeat), Event::Heartbeat);
        self
    }

    /// Has these faults happen.
    pub fn with_plan(mut self, plan: Plan) -> Simulation<A> {
        for (number, fault) in plan.0.iter().enumerate() {
            self.schedule(SOURCE_PLAN, Instant(fault.at_us), Event::Fault { number });
        }
        self.plan = plan;
        self
    }

    /// Adds a node that is down.
    pub fn add_node(&mut self, rules: NodeRules) -> NodeIndex {
        let node = NodeIndex(u32::try_from(self.nodes.len()).expect("fewer than 2³² nodes"));
        assert!(node.0 < SOURCE_OVERLAY, "too many nodes");
        self.nodes.push(Node {
            actor: None,
            disk: if rules.forgetful { Disk::forgetful() } else { Disk::default() },
            clock: rules.clock,
            life: 0,
            sequence: 0,
            alarm: 0,
            deadline: None,
            tick_at: None,
            ticks_at_once: 0,
            settled_at: Instant::ZERO,
            held: None,
            up: Vec::new(),
            told_up: Vec::new(),
            wanted: Vec::new(),
        });
        if let Some(overlay) = &mut self.overlay {
            overlay.add_node();
        }
        node
    }

    /// What time it is in the world.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When the next event happens.
    pub fn next_time(&mut self) -> Option<Instant> {
        self.queue.next_key().map(|key| key.time)
    }

    /// How many events wait.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The program of a node, if it runs.
    pub fn actor(&self, node: NodeIndex) -> Option<&A> {
        self.nodes[node.index()].actor.as_ref()
    }

    /// Whether the process of a node stands still.
    pub fn is_paused(&self, node: NodeIndex) -> bool {
        self.nodes[node.index()].held.is_some()
    }

    /// What the clock of a node says.
    pub fn reads(&self, node: NodeIndex) -> Millis {
        self.nodes[node.index()].clock.reads(self.now)
    }

    /// Whom a node is connected to, ordered.
    pub fn peers(&self, node: NodeIndex) -> &[NodeIndex] {
        &self.nodes[node.index()].up
    }

    /// A node's links in the gossip overlay.
    pub fn mesh(&self, node: NodeIndex) -> &[NodeIndex] {
        self.overlay.as_ref().map_or(&[], |overlay| overlay.mesh(node))
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The disk of a node.
    pub fn disk(&self, node: NodeIndex) -> &Disk {
        &self.nodes[node.index()].disk
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The hash of every event so far.
    pub fn trace_hash(&self) -> TraceHash {
        self.trace.hash()
    }

    /// Puts a record onto the disk of a node that is down: what its operator prepares.
    pub fn prepare(&mut self, node: NodeIndex, write: Write) {
        let place = &mut self.nodes[node.index()];
        assert!(place.actor.is_none(), "{node} runs: only its program writes its disk");
        place.disk.put(write);
    }

    /// Starts a node that is down, `after_us` from now.
    pub fn start(&mut self, node: NodeIndex, after_us: u64) {
        self.schedule(SOURCE_DRIVER, self.now.plus_us(after_us), Event::Start { node });
    }

    /// An operator tells the program of a node something, `after_us` from now. If it is down then, nobody hears it.
    pub fn command(&mut self, node: NodeIndex, after_us: u64, command: A::Command) {
        let at = self.now.plus_us(after_us);
        self.schedule(SOURCE_DRIVER, at, Event::Command { node, command: Box::new(command) });
    }

    /// Wakes whoever drives the world at `at`.
    pub fn wake(&mut self, at: Instant, token: u64) {
        self.schedule(SOURCE_DRIVER, at.max(self.now), Event::Wake { token });
    }

    /// Takes what was told since.
    pub fn take_told(&mut self, into: &mut Vec<(NodeIndex, A::Told)>) {
        into.append(&mut self.told);
    }

    /// Lets the next event happen. `None` if there is none.
    pub fn step(&mut self) -> Option<Step> {
        let (key, event) = self.queue.pop()?;
        debug_assert!(key.time >= self.now, "time ran backwards");
        self.now = key.time;
        Some(self.happen(event))
    }

    fn happen(&mut self, event: Event<A>) -> Step {
        match event {
            Event::Deliver { to, from, message } => {
                if !self.hears(to, from) {
                    self.counters.lost += 1;
                    return Step::Quiet;
                }
                if let Some(held) = &mut self.nodes[to.index()].held {
                    held.push(Event::Deliver { to, from, message });
                    return Step::Quiet;
                }
                self.counters.deliveries += 1;
                let content = message.content();
                self.handle(to, 0, from.0, content, Input::Received { from, message });
                Step::Node(to)
            }
            Event::Gossip { to, from, item } => self.gossip_arrives(to, from, item),
            Event::Told { to, from, item } => {
                self.is_told(to, from, item);
                Step::Quiet
            }
            Event::Tick { node, alarm } => self.tick(node, alarm),
            Event::Settle { node, life, mut actions } => {
                if self.nodes[node.index()].life != life {
                    return Step::Quiet;
                }
                if let Some(held) = &mut self.nodes[node.index()].held {
                    held.push(Event::Settle { node, life, actions });
                    return Step::Quiet;
                }
                self.release(node, &mut actions);
                Step::Node(node)
            }
            Event::Command { node, command } => {
                if self.nodes[node.index()].actor.is_none() {
                    return Step::Quiet;
                }
                if let Some(held) = &mut self.nodes[node.index()].held {
                    held.push(Event::Command { node, command });
                    return Step::Quiet;
                }
                self.handle(node, 4, 0, 0, Input::Command(*command));
                Step::Node(node)
            }
            Event::Connection { node, peer, life, up } => self.connection(node, peer, life, up),
            Event::Open { a, b, lives } => {
                self.open(a, b, lives);
                Step::Quiet
            }
            Event::Notice { cut } => {
                for (a, b) in cut {
                    if !self.network.reaches(a, b) {
                        self.close(a, b, self.now, self.now);
                    }
                }
                Step::Quiet
            }
            Event::Start { node } => match self.start_now(node) {
                Ok(()) => Step::Node(node),
                Err(why) => Step::NotStarted(node, why),
            },
            Event::Fault { number } => {
                let action = self.plan.0[number].action.clone();
                match self.apply(&action) {
                    Ok(()) => Step::Fault(number),
                    Err((node, why)) => Step::NotStarted(node, why),
                }
            }
            Event::Wake { token } => Step::Wake(token),
            Event::Heartbeat => {
                self.heartbeat();
                Step::Quiet
            }
        }
    }

    fn schedule(&mut self, source: u32, time: Instant, event: Event<A>) {
        let sequence = match source {
            SOURCE_DRIVER | SOURCE_PLAN | SOURCE_OVERLAY => {
                &mut self.sequences[(SOURCE_DRIVER - source) as usize]
            }
            node => &mut self.nodes[node as usize].sequence,
        };
        *sequence += 1;
        self.queue.push(Key { time, source, sequence: *sequence }, event);
    }
}
