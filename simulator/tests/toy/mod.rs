//! A toy protocol for the engine: every node wants to know every number that anybody was told.
//!
//! A number is stored before it is passed on, and its node tells the world once it is. Peers that connect exchange all that they
//! have; now and then each node sends all that it has to one of its peers.

#![allow(dead_code, unreachable_pub, reason = "each user of this module needs another part of it")]

use std::collections::BTreeSet;

use frith_simulator::engine::{
    Actions, Actor, DiskRules, Input, Instant, LinkRules, Millis, NodeIndex, NodeRules, Parcel, Simulation,
    Step, Store, Verdict, Write,
};

/// Table of the numbers that must not be lost.
pub const SYNCED: u8 = 1;
/// Table of those that others could bring back.
pub const RESTORABLE: u8 = 2;
/// How often a node sends all that it has to somebody.
pub const EVERY_MS: u64 = 1_000;

/// Some numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(pub std::rc::Rc<[u64]>);

impl Parcel for Numbers {
    fn bytes(&self) -> u64 {
        self.0.len() as u64 * 8
    }
    fn content(&self) -> u128 {
        self.0.iter().fold(7, |hash: u128, number| hash.wrapping_mul(1_000_003) ^ u128::from(*number))
    }
}

/// What all nodes of a run share: how it is configured, and what was seen.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Whether nodes repeat themselves; without, only gossip and commands spread numbers.
    pub repeats: bool,
    /// Everything that left a node.
    pub left: Vec<(Instant, NodeIndex, Numbers)>,
    /// Everything that a node was handed.
    pub handed: Vec<(Millis, NodeIndex, String)>,
}

#[derive(Debug)]
pub struct Toy {
    me: NodeIndex,
    pub numbers: BTreeSet<u64>,
    peers: Vec<NodeIndex>,
    next: Option<Millis>,
    turn: usize,
}

impl Toy {
    fn all(&self) -> Numbers {
        Numbers(self.numbers.iter().copied().collect())
    }

    fn learn(&mut self, number: u64, actions: &mut Actions<Toy>) -> bool {
        let new = self.numbers.insert(number);
        if new {
            for (table, synced) in [(SYNCED, true), (RESTORABLE, false)] {
                let value = Some(number.to_le_bytes().into());
                actions.writes.push(Write { table, key: number.to_be_bytes().to_vec(), value, synced });
            }
            actions.told.push(number);
        }
        new
    }
}

impl Actor for Toy {
    type Shared = Shared;
    type Message = Numbers;
    type Command = u64;
    type Told = u64;

    fn start(shared: &mut Shared, me: NodeIndex, store: Store<'_>, now: Millis) -> Result<Toy, String> {
        let numbers: BTreeSet<u64> = store
            .image
            .iter()
            .filter(|((table, _), _)| *table == SYNCED)
            .map(|(_, value)| u64::from_le_bytes(value[..].try_into().expect("eight bytes")))
            .collect();
        if numbers.contains(&u64::MAX) {
            return Err("its disk holds the number that no program starts with".into());
        }
        let next = shared.repeats.then_some(Millis(now.0 + EVERY_MS));
        Ok(Toy { me, numbers, peers: Vec::new(), next, turn: 0 })
    }

    fn handle(
        &mut self,
        shared: &mut Shared,
        now: Millis,
        input: Input<Numbers, u64>,
        actions: &mut Actions<Toy>,
    ) -> Verdict {
        shared.handed.push((now, self.me, format!("{input:?}")));
        match input {
            Input::Received { from: _, message } | Input::Gossiped { from: _, message } => {
                let mut new = false;
                for number in message.0.iter() {
                    new |= self.learn(*number, actions);
                }
                if new { Verdict::Accept } else { Verdict::Ignore }
            }
            Input::Connected(peer) => {
                self.peers.push(peer);
                actions.sends.push((peer, self.all()));
                Verdict::Accept
            }
            Input::Disconnected(peer) => {
                self.peers.retain(|other| *other != peer);
                Verdict::Accept
            }
            Input::Tick => {
                self.next = Some(Millis(now.0 + EVERY_MS));
                self.turn += 1;
                if !self.peers.is_empty() {
                    actions.sends.push((self.peers[self.turn % self.peers.len()], self.all()));
                }
                Verdict::Accept
            }
            Input::Command(number) => {
                self.learn(number, actions);
                actions.publishes.push(Numbers([number].into()));
                Verdict::Accept
            }
        }
    }

    fn next_deadline(&self) -> Option<Millis> {
        self.next
    }

    fn leaves(shared: &mut Shared, node: NodeIndex, now: Instant, message: &Numbers) {
        shared.left.push((now, node, message.clone()));
    }
}

/// `count` nodes, started, each connected to the next `degree` of a ring.
pub fn ring(mut world: Simulation<Toy>, count: u32, degree: u32) -> Simulation<Toy> {
    for _ in 0..count {
        let node = world.add_node(NodeRules::default());
        world.start(node, 0);
    }
    while world.next_time() == Some(Instant::ZERO) {
        world.step();
    }
    for node in 0..count {
        for step in 1..=degree.min(count / 2) {
            world.connect(NodeIndex(node), NodeIndex((node + step) % count));
        }
        world.subscribe(NodeIndex(node));
    }
    world
}

/// A world of toys whose nodes repeat themselves or not.
pub fn world(repeats: bool, links: LinkRules, seed: u64) -> Simulation<Toy> {
    Simulation::new(Shared { repeats, ..Shared::default() }, links, DiskRules::default(), seed, 0)
}

/// Lets everything happen that happens before `ms`; returns what was told.
pub fn run_until(world: &mut Simulation<Toy>, ms: u64) -> Vec<(Instant, NodeIndex, u64)> {
    let (mut all, mut told) = (Vec::new(), Vec::new());
    while world.next_time().is_some_and(|at| at < Instant::from_ms(ms)) {
        let step = world.step();
        if let Some(Step::NotStarted(node, why)) = step {
            panic!("{node} did not start: {why}");
        }
        world.take_told(&mut told);
        all.extend(told.drain(..).map(|(node, number)| (world.now(), node, number)));
    }
    all
}

/// Which nodes have `number`.
pub fn who_has(world: &Simulation<Toy>, number: u64) -> Vec<u32> {
    let has = |node: &u32| world.actor(NodeIndex(*node)).is_some_and(|toy| toy.numbers.contains(&number));
    (0..world.nodes() as u32).filter(has).collect()
}
