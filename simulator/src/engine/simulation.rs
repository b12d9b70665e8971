//! The world: nodes, what they do to one another, and what is done to them.

use super::NodeIndex;
use super::disk::{Disk, DiskRules, Ending, Store, Write};
use super::fault::{Action, Plan};
use super::network::{LinkRules, Network};
use super::queue::{Key, Queue};
use super::random::{Concern, Random};
use super::time::{Clock, Instant, Millis};
use super::trace::{Trace, TraceHash};
use crate::gossip::{GossipRules, Overlay, Push, Told};

/// A message on its way. Cloning it must be cheap.
pub trait Parcel: Clone {
    /// How many bytes it has on the wire.
    fn bytes(&self) -> u64;

    /// A hash of those bytes: messages with equal contents are the same.
    fn content(&self) -> u128;
}

/// A node's program.
pub trait Actor: Sized {
    /// What all programs of a run share: caches, and whoever watches them.
    type Shared;
    /// What they say to one another.
    type Message: Parcel;
    /// What an operator can ask.
    type Command;
    /// What a program tells whoever drives the world.
    type Told;

    /// Starts the program of `node` on what its disk holds.
    ///
    /// # Errors
    /// Why it does not start; it then stays down.
    fn start(
        shared: &mut Self::Shared,
        node: NodeIndex,
        store: Store<'_>,
        now: Millis,
    ) -> Result<Self, String>;

    /// Something happened.
    fn handle(
        &mut self,
        shared: &mut Self::Shared,
        now: Millis,
        input: Input<Self::Message, Self::Command>,
        actions: &mut Actions<Self>,
    ) -> Verdict;

    /// When the program wants [`Input::Tick`] next, by its own clock.
    fn next_deadline(&self) -> Option<Millis>;

    /// A message leaves `node`, once for each time it is sent: what a watcher on the wire sees.
    fn leaves(_shared: &mut Self::Shared, _node: NodeIndex, _now: Instant, _message: &Self::Message) {}
}

/// What can happen to a program.
#[derive(Clone, Debug)]
pub enum Input<M, C> {
    /// A peer's message.
    Received {
        /// Whose.
        from: NodeIndex,
        /// What.
        message: M,
    },
    /// A peer passed on what somebody published.
    Gossiped {
        /// Who passed it on.
        from: NodeIndex,
        /// What.
        message: M,
    },
    /// A connection to a peer was opened.
    Connected(NodeIndex),
    /// The connection to a peer was closed, or is found to be dead.
    Disconnected(NodeIndex),
    /// Its deadline has come.
    Tick,
    /// The operator wants something.
    Command(C),
}

/// What a program makes of an input. For gossip it decides whether the message is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Accept,
    /// Of no use; nobody's fault.
    Ignore,
    /// Its sender broke a rule.
    Reject,
}

/// What a program wants done, in this order.
#[derive(Debug)]
pub struct Actions<A: Actor> {
    /// What must be stored.
    pub writes: Vec<Write>,
    /// Whether everything that was ever written must be durable before the rest.
    pub sync_all: bool,
    /// Then, what goes to one peer each. To a peer that is not connected it goes nowhere.
    pub sends: Vec<(NodeIndex, A::Message)>,
    /// What goes to the gossip overlay.
    pub publishes: Vec<A::Message>,
    /// What to tell.
    pub told: Vec<A::Told>,
}

impl<A: Actor> Default for Actions<A> {
    fn default() -> Self {
        Actions {
            writes: Vec::new(),
            sync_all: false,
            sends: Vec::new(),
            publishes: Vec::new(),
            told: Vec::new(),
        }
    }
}

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

/// Bytes that an IHAVE and an IWANT of one message take together.
const REPAIR_BYTES: u64 = 120;
/// A handshake is this many one-way delays: TCP and noise take two round trips.
const HANDSHAKE_HOPS: u64 = 4;
/// A program that asks for a tick this often without time moving on has a bug.
const TICKS_AT_ONCE_MAX: u32 = 10_000;

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

    /// Has two nodes connect, and again whenever they can.
    pub fn connect(&mut self, a: NodeIndex, b: NodeIndex) {
        if a != b {
            insert(&mut self.nodes[a.index()].wanted, b);
            insert(&mut self.nodes[b.index()].wanted, a);
            self.dial(a, b);
        }
    }

    /// Has two running nodes be connected from this instant on, without a handshake.
    pub fn connect_now(&mut self, a: NodeIndex, b: NodeIndex) {
        insert(&mut self.nodes[a.index()].wanted, b);
        insert(&mut self.nodes[b.index()].wanted, a);
        let lives = (self.nodes[a.index()].life, self.nodes[b.index()].life);
        if self.actor(a).is_some() && self.actor(b).is_some() {
            self.open(a, b, lives);
        }
    }

    /// Has `a` hang up on `b` for good.
    pub fn part(&mut self, a: NodeIndex, b: NodeIndex) {
        remove(&mut self.nodes[a.index()].wanted, b);
        remove(&mut self.nodes[b.index()].wanted, a);
        let far = self.now.plus_us(self.network.latency_us(a, b));
        self.close(a, b, self.now, far);
    }

    /// Has a running node take part in gossip, also after restarts.
    pub fn subscribe(&mut self, node: NodeIndex) {
        if let Some(overlay) = &mut self.overlay {
            overlay.join(node, &self.nodes[node.index()].up);
        }
    }

    /// Takes a node out of gossip.
    pub fn unsubscribe(&mut self, node: NodeIndex) {
        if let Some(overlay) = &mut self.overlay {
            overlay.leave(node);
        }
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

    /// Whether what `from` sent reaches `to` at this moment: as long as the end of the receiver is open, since what was sent before its
    /// sender died is still under way.
    fn hears(&self, to: NodeIndex, from: NodeIndex) -> bool {
        let node = &self.nodes[to.index()];
        node.actor.is_some()
            && node.told_up.binary_search(&from).is_ok()
            && (!self.network.is_cut() || self.network.reaches(to, from))
    }

    /// Hands an input to a program, and its actions to disk and network.
    fn handle(
        &mut self,
        to: NodeIndex,
        kind: u8,
        about: u32,
        content: u128,
        input: Input<A::Message, A::Command>,
    ) -> Verdict {
        let node = &mut self.nodes[to.index()];
        let actor = node.actor.as_mut().expect("only a running program is handed anything");
        self.trace.event(self.now, to, kind, about, content);
        self.counters.events += 1;
        let mut actions = std::mem::take(&mut self.scratch);
        let verdict = actor.handle(&mut self.shared, node.clock.reads(self.now), input, &mut actions);
        self.counters.rejected += u64::from(verdict == Verdict::Reject);
        self.set_alarm(to);

        let node = &mut self.nodes[to.index()];
        let sync_all = std::mem::take(&mut actions.sync_all);
        let synced = sync_all || actions.writes.iter().any(|write| write.synced);
        if synced {
            node.settled_at = node.settled_at.max(self.now).plus_us(self.disk_rules.sync_us);
        }
        let flush = self.disk_rules.flush_us.max(1);
        let flushed_at = Instant((self.now.0 / flush + 1).saturating_mul(flush));
        for write in actions.writes.drain(..) {
            let durable_at = if write.synced { node.settled_at } else { flushed_at };
            node.disk.write(write, self.now, durable_at);
        }
        if sync_all {
            node.disk.sync_all(node.settled_at);
        }
        if node.settled_at <= self.now {
            self.release(to, &mut actions);
            self.scratch = actions;
        } else if !(actions.sends.is_empty() && actions.publishes.is_empty() && actions.told.is_empty()) {
            let (at, life) = (node.settled_at, node.life);
            self.schedule(to.0, at, Event::Settle { node: to, life, actions: Box::new(actions) });
        } else {
            self.scratch = actions;
        }
        verdict
    }

    /// What was written is durable: the rest may leave.
    fn release(&mut self, node: NodeIndex, actions: &mut Actions<A>) {
        for (to, message) in actions.sends.drain(..) {
            self.send(node, to, message);
        }
        for message in actions.publishes.drain(..) {
            A::leaves(&mut self.shared, node, self.now, &message);
            self.publish(node, message);
        }
        self.told.extend(actions.told.drain(..).map(|told| (node, told)));
    }

    fn send(&mut self, from: NodeIndex, to: NodeIndex, message: A::Message) {
        if to == from || self.nodes[from.index()].up.binary_search(&to).is_err() {
            self.counters.unsent += 1;
            return;
        }
        A::leaves(&mut self.shared, from, self.now, &message);
        self.counters.sends += 1;
        self.counters.bytes += message.bytes();
        let fate = self.network.fate(from, to);
        self.counters.lost += u64::from(fate.arrives.is_none());
        for after in [fate.arrives, fate.again].into_iter().flatten() {
            let message = message.clone();
            self.schedule(from.0, self.now.plus_us(after), Event::Deliver { to, from, message });
        }
    }

    fn publish(&mut self, node: NodeIndex, message: A::Message) {
        let Some(overlay) = &mut self.overlay else { return };
        let (bytes, content) = (message.bytes(), message.content());
        let Some(item) = overlay.publish(node, message, content, self.now) else { return };
        let targets =
            if overlay.rules.flood_publish { &self.nodes[node.index()].up } else { overlay.mesh(node) };
        let targets: Vec<NodeIndex> = targets.iter().copied().filter(|peer| overlay.wants(*peer)).collect();
        for to in targets {
            self.push(item, bytes, node, to, 0);
        }
    }

    /// Hands a gossiped message on along the mesh.
    fn hand_on(&mut self, item: u32, node: NodeIndex, from: NodeIndex) {
        let Some(overlay) = &self.overlay else { return };
        let Some(bytes) = overlay.message(item).map(Parcel::bytes) else { return };
        for at in 0..overlay.mesh(node).len() {
            let to = self.overlay.as_ref().expect("it was just here").mesh(node)[at];
            if to != from {
                self.push(item, bytes, node, to, 0);
            }
        }
    }

    /// Sends one copy of a gossiped message, `later_us` from now.
    fn push(&mut self, item: u32, bytes: u64, from: NodeIndex, to: NodeIndex, later_us: u64) {
        self.counters.sends += 1;
        self.counters.bytes += bytes;
        let fate = self.network.fate(from, to);
        self.counters.lost += u64::from(fate.arrives.is_none());
        for after in [fate.arrives, fate.again].into_iter().flatten() {
            let at = self.now.plus_us(later_us + after);
            let overlay = self.overlay.as_mut().expect("only an overlay pushes");
            match overlay.push(item, to, at) {
                Push::Schedule => self.schedule(from.0, at, Event::Gossip { to, from, item }),
                Push::Duplicate => self.counters.deliveries += 1,
            }
        }
    }

    fn gossip_arrives(&mut self, to: NodeIndex, from: NodeIndex, item: u32) -> Step {
        let hears = self.hears(to, from);
        let overlay = self.overlay.as_mut().expect("only an overlay pushes");
        if !hears {
            self.counters.lost += 1;
            overlay.miss(item, to);
            return Step::Quiet;
        }
        if let Some(held) = &mut self.nodes[to.index()].held {
            held.push(Event::Gossip { to, from, item });
            return Step::Quiet;
        }
        self.counters.deliveries += 1;
        if !overlay.arrive(item, to) {
            return Step::Quiet;
        }
        let message = overlay.message(item).expect("it has just arrived").clone();
        let content = message.content();
        if self.handle(to, 1, from.0, content, Input::Gossiped { from, message }) == Verdict::Accept {
            self.hand_on(item, to, from);
        }
        Step::Node(to)
    }

    fn heartbeat(&mut self) {
        let overlay = self.overlay.as_mut().expect("only an overlay has a heartbeat");
        let nodes = &self.nodes;
        let peers = |node: NodeIndex| nodes[node.index()].up.as_slice();
        let telling = overlay.heartbeat(self.now, &mut self.network, peers);
        let next = self.now.plus_us(overlay.rules.heartbeat_us);
        for Told { item, from, to, told_us } in telling {
            self.schedule(from.0, self.now.plus_us(told_us), Event::Told { to, from, item });
        }
        self.schedule(SOURCE_OVERLAY, next, Event::Heartbeat);
    }

    /// A node is told of an item, and asks for it if it lacks it still.
    fn is_told(&mut self, to: NodeIndex, from: NodeIndex, item: u32) {
        let overlay = self.overlay.as_ref().expect("only an overlay tells");
        if overlay.has(item, to) || !self.hears(to, from) {
            return;
        }
        let Some(bytes) = overlay.message(item).map(Parcel::bytes) else { return };
        self.counters.bytes += REPAIR_BYTES;
        // The question can be lost, too, and so can the copy.
        if let Some(asked_us) = self.network.fate(to, from).arrives {
            self.counters.repaired += 1;
            self.push(item, bytes, from, to, asked_us);
        }
    }

    fn tick(&mut self, at: NodeIndex, alarm: u32) -> Step {
        let node = &mut self.nodes[at.index()];
        if node.alarm != alarm || node.actor.is_none() {
            return Step::Quiet;
        }
        if let Some(held) = &mut node.held {
            held.push(Event::Tick { node: at, alarm });
            return Step::Quiet;
        }
        node.tick_at = None;
        let Some(deadline) = node.deadline else { return Step::Quiet };
        if node.clock.reads(self.now) < deadline {
            self.set_alarm(at);
            return Step::Quiet;
        }
        node.deadline = None;
        self.handle(at, 3, 0, 0, Input::Tick);
        Step::Node(at)
    }

    /// Schedules a tick for the program's deadline, unless one is due before it anyway.
    fn set_alarm(&mut self, at: NodeIndex) {
        let node = &mut self.nodes[at.index()];
        let deadline = node.actor.as_ref().and_then(Actor::next_deadline);
        if deadline == node.deadline && (node.tick_at.is_some() || deadline.is_none()) {
            return;
        }
        node.deadline = deadline;
        let Some(deadline) = deadline else { return };
        let due = node.clock.reaches(deadline, self.now);
        if node.tick_at.is_some_and(|scheduled| scheduled <= due) {
            return;
        }
        node.ticks_at_once = if due == self.now { node.ticks_at_once + 1 } else { 0 };
        assert!(
            node.ticks_at_once < TICKS_AT_ONCE_MAX,
            "{at} asks for {deadline:?} again and again at {}",
            self.now
        );
        node.alarm += 1;
        node.tick_at = Some(due);
        let alarm = node.alarm;
        self.schedule(at.0, due, Event::Tick { node: at, alarm });
    }

    fn dial(&mut self, a: NodeIndex, b: NodeIndex) {
        let (one, other) = (&self.nodes[a.index()], &self.nodes[b.index()]);
        let can = one.actor.is_some() && other.actor.is_some() && one.up.binary_search(&b).is_err();
        if can && self.network.reaches(a, b) {
            let lives = (one.life, other.life);
            let at = self.now.plus_us(HANDSHAKE_HOPS * self.network.latency_us(a, b));
            self.schedule(a.0, at, Event::Open { a, b, lives });
        }
    }

    /// Dials whomever a node would be connected to and is not.
    fn dial_all(&mut self, node: NodeIndex) {
        for peer in self.nodes[node.index()].wanted.clone() {
            self.dial(node, peer);
        }
    }

    fn open(&mut self, a: NodeIndex, b: NodeIndex, lives: (u32, u32)) {
        let (one, other) = (&self.nodes[a.index()], &self.nodes[b.index()]);
        let still = (one.life, other.life) == lives && one.wanted.binary_search(&b).is_ok();
        if !still || one.up.binary_search(&b).is_ok() || !self.network.reaches(a, b) {
            return;
        }
        for (node, peer) in [(a, b), (b, a)] {
            insert(&mut self.nodes[node.index()].up, peer);
            let life = self.nodes[node.index()].life;
            self.schedule(node.0, self.now, Event::Connection { node, peer, life, up: true });
        }
    }

    /// Ends a connection; each end hears of it at its own time.
    fn close(&mut self, a: NodeIndex, b: NodeIndex, a_hears: Instant, b_hears: Instant) {
        for (node, peer, at) in [(a, b, a_hears), (b, a, b_hears)] {
            if remove(&mut self.nodes[node.index()].up, peer) {
                let life = self.nodes[node.index()].life;
                self.schedule(node.0, at, Event::Connection { node, peer, life, up: false });
            }
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.unlink(a, b);
        }
    }

    fn connection(&mut self, at: NodeIndex, peer: NodeIndex, life: u32, up: bool) -> Step {
        let node = &mut self.nodes[at.index()];
        if node.life != life || node.actor.is_none() {
            return Step::Quiet;
        }
        if let Some(held) = &mut node.held {
            held.push(Event::Connection { node: at, peer, life, up });
            return Step::Quiet;
        }
        if up != node.up.binary_search(&peer).is_ok() {
            // It has changed again since; another such event says so.
            return Step::Quiet;
        }
        // If a peer comes back before its end was noticed, its end is noticed now.
        if remove(&mut node.told_up, peer) {
            self.handle(at, 2, peer.0, 0, Input::Disconnected(peer));
        }
        if up {
            insert(&mut self.nodes[at.index()].told_up, peer);
            self.handle(at, 2, peer.0, 1, Input::Connected(peer));
        }
        Step::Node(at)
    }

    /// Starts a node that is down, at this instant.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start_now(&mut self, at: NodeIndex) -> Result<(), String> {
        let node = &mut self.nodes[at.index()];
        if node.actor.is_some() {
            return Ok(());
        }
        node.life += 1;
        self.trace.event(self.now, at, 5, node.life, 0);
        let actor = A::start(&mut self.shared, at, node.disk.store(), node.clock.reads(self.now))?;
        node.disk.started();
        node.actor = Some(actor);
        node.settled_at = self.now;
        self.set_alarm(at);
        self.dial_all(at);
        if let Some(overlay) = &mut self.overlay
            && overlay.wants(at)
        {
            overlay.join(at, &self.nodes[at.index()].up);
        }
        Ok(())
    }

    fn end(&mut self, at: NodeIndex, how: Ending) {
        let node = &mut self.nodes[at.index()];
        if node.actor.take().is_none() {
            return;
        }
        self.trace.event(self.now, at, 6, node.life, 0);
        node.life += 1;
        node.alarm += 1;
        (node.deadline, node.tick_at, node.held) = (None, None, None);
        node.told_up.clear();
        node.disk.end(self.now, how, &mut self.disks);
        if let Some(overlay) = &mut self.overlay {
            overlay.stop(at);
        }
        for peer in self.nodes[at.index()].up.clone() {
            let after = match how {
                // Its kernel hangs up for it.
                Ending::Killed => self.network.latency_us(at, peer),
                Ending::PowerLost => self.network.rules().notice_us,
            };
            let hears = self.now.plus_us(after);
            self.close(at, peer, hears, hears);
        }
    }

    fn apply(&mut self, action: &Action) -> Result<(), (NodeIndex, String)> {
        match action {
            Action::Kill { node } => self.end(*node, Ending::Killed),
            Action::LosePower { node } => self.end(*node, Ending::PowerLost),
            // Who has not come yet cannot come back.
            Action::Restart { node } if self.nodes[node.index()].life == 0 => {}
            Action::Restart { node } => self.start_now(*node).map_err(|why| (*node, why))?,
            Action::Pause { node } => {
                let place = &mut self.nodes[node.index()];
                if place.actor.is_some() && place.held.is_none() {
                    place.held = Some(Vec::new());
                }
            }
            Action::Resume { node } => {
                for event in self.nodes[node.index()].held.take().into_iter().flatten() {
                    self.schedule(node.0, self.now, event);
                }
            }
            Action::Cut { id, sides } => {
                self.network.cut(*id, sides);
                let pairs =
                    |node: NodeIndex| self.nodes[node.index()].up.iter().map(move |peer| (node, *peer));
                let cut: Vec<_> = (0..self.nodes.len() as u32)
                    .map(NodeIndex)
                    .flat_map(pairs)
                    .filter(|(a, b)| a < b && !self.network.reaches(*a, *b))
                    .collect();
                let at = self.now.plus_us(self.network.rules().notice_us);
                self.schedule(SOURCE_PLAN, at, Event::Notice { cut });
            }
            Action::Heal { id } => {
                self.network.heal(*id);
                for node in (0..self.nodes.len() as u32).map(NodeIndex) {
                    self.dial_all(node);
                }
            }
            Action::Loss { ppm } => self.network.set_loss(*ppm),
            Action::Duplicates { ppm } => self.network.set_duplicates(*ppm),
            Action::KeepImage { node, image } => self.nodes[node.index()].disk.keep(self.now, *image),
            Action::RollBack { node, image } => {
                let place = &mut self.nodes[node.index()];
                if place.actor.is_none() {
                    place.disk.roll_back(*image);
                }
            }
            Action::Damage { node, table } => {
                let place = &mut self.nodes[node.index()];
                if place.actor.is_none() {
                    place.disk.damage(*table, &mut self.disks);
                }
            }
            Action::StepClock { node, by_ms } => {
                let place = &mut self.nodes[node.index()];
                place.clock.offset_us = place.clock.offset_us.saturating_add(by_ms.saturating_mul(1_000));
                (place.alarm, place.deadline, place.tick_at) = (place.alarm + 1, None, None);
                self.set_alarm(*node);
            }
        }
        Ok(())
    }
}

/// Puts `node` into an ordered list. Whether it was not there.
fn insert(list: &mut Vec<NodeIndex>, node: NodeIndex) -> bool {
    match list.binary_search(&node) {
        Ok(_) => false,
        Err(at) => {
            list.insert(at, node);
            true
        }
    }
}

/// Takes `node` out of an ordered list. Whether it was there.
fn remove(list: &mut Vec<NodeIndex>, node: NodeIndex) -> bool {
    list.binary_search(&node).map(|at| list.remove(at)).is_ok()
}
