//! The gossip overlay: gossipsub, modelled cheaply, with the parameters of the real node.
//!
//! Nodes that subscribe form a mesh of degree [`GossipRules::mesh`] over the connections that they have. A message goes eagerly along the
//! mesh; each node hands it on once, when its program accepted it. Once a heartbeat, holders tell some of their other peers what they
//! have (IHAVE), and those that lack it ask (IWANT): so lost copies are repaired for a few heartbeats, and no longer.
//!
//! What is simplified, and why it does not matter here: a copy that cannot be the first to arrive is counted when it is sent and never
//! scheduled; grafting and pruning take no time and no bytes; an IHAVE that changes nothing is not counted; there are no scores, since
//! nodes that lie are judged by the program.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::{Concern, Instant, Network, NodeIndex, Random};

/// The parameters of gossipsub that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipRules {
    /// D: how many mesh links a node has after it grafted or pruned at a heartbeat.
    pub mesh: usize,
    /// So many it grafts when it joins; with fewer, it grafts up to `mesh` at the next heartbeat.
    pub mesh_low: usize,
    /// With so many or more, it prunes down to `mesh`, and takes no graft.
    pub mesh_high: usize,
    /// How many peers outside its mesh a holder tells at least; it tells a quarter of them, if that is more.
    pub lazy: usize,
    /// The heartbeat.
    pub heartbeat_us: u64,
    /// For how many heartbeats a message is told of.
    pub told_for: u64,
    /// For how long a node knows that it has had a message.
    pub remembered_us: u64,
    /// Whether a publisher sends to all its peers instead of its mesh.
    pub flood_publish: bool,
}

impl Default for GossipRules {
    fn default() -> Self {
        GossipRules {
            mesh: 6,
            mesh_low: 5,
            mesh_high: 12,
            lazy: 6,
            heartbeat_us: 1_000_000,
            told_for: 3,
            remembered_us: 120_000_000,
            flood_publish: false,
        }
    }
}

/// A published message, and where it has got to.
#[derive(Clone, Debug)]
struct Item<M> {
    message: M,
    content: u128,
    published: Instant,
    copies: Vec<Copy>,
    holders: usize,
}

/// What one node has of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    None,
    /// A copy is under way, and will be here then.
    Coming(Instant),
    Here,
}

#[derive(Clone, Debug, Default)]
struct Subscriber {
    /// Whether it wants to be part of the overlay when it runs.
    wants: bool,
    /// Whether it is.
    active: bool,
    /// Ordered.
    mesh: Vec<NodeIndex>,
}

/// What the network should do with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// Deliver it.
    Schedule,
    /// Count it: an earlier one is here or under way.
    Duplicate,
}

/// The overlay of one domain's topic.
#[derive(Clone, Debug)]
pub(crate) struct Overlay<M> {
    pub(crate) rules: GossipRules,
    random: Random,
    subscribers: Vec<Subscriber>,
    active: usize,
    items: VecDeque<Item<M>>,
    /// Number of the first of `items`.
    first: u32,
    by_content: BTreeMap<u128, u32>,
}

/// A peer that may lack an item is told of it by a holder (IHAVE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) item: u32,
    pub(crate) from: NodeIndex,
    pub(crate) to: NodeIndex,
    /// How long that takes.
    pub(crate) told_us: u64,
}

impl<M: Clone> Overlay<M> {
    pub(crate) fn new(rules: GossipRules, seed: u64, part: u64) -> Overlay<M> {
        assert!(
            rules.mesh_low <= rules.mesh && rules.mesh <= rules.mesh_high,
            "a mesh degree out of its bounds"
        );
        Overlay {
            rules,
            random: Random::new(seed, part, Concern::Gossip),
            subscribers: Vec::new(),
            active: 0,
            items: VecDeque::new(),
            first: 0,
            by_content: BTreeMap::new(),
        }
    }

    pub(crate) fn add_node(&mut self) {
        self.subscribers.push(Subscriber::default());
        for item in &mut self.items {
            item.copies.push(Copy::None);
        }
    }

    pub(crate) fn wants(&self, node: NodeIndex) -> bool {
        self.subscribers[node.index()].wants
    }

    pub(crate) fn mesh(&self, node: NodeIndex) -> &[NodeIndex] {
        &self.subscribers[node.index()].mesh
    }

    /// A running node joins, with links to some of the `peers` that it is connected to.
    pub(crate) fn join(&mut self, node: NodeIndex, peers: &[NodeIndex]) {
        let subscriber = &mut self.subscribers[node.index()];
        subscriber.wants = true;
        if !subscriber.active {
            subscriber.active = true;
            self.active += 1;
            self.graft(node, peers, self.rules.mesh_low);
        }
    }

    /// A node's process ended: it is in nobody's mesh, and has forgotten what it had.
    pub(crate) fn stop(&mut self, node: NodeIndex) {
        let subscriber = &mut self.subscribers[node.index()];
        if !subscriber.active {
            return;
        }
        subscriber.active = false;
        self.active -= 1;
        for peer in std::mem::take(&mut subscriber.mesh) {
            self.subscribers[peer.index()].mesh.retain(|other| *other != node);
        }
        for item in &mut self.items {
            item.holders -= usize::from(item.copies[node.index()] == Copy::Here);
            item.copies[node.index()] = Copy::None;
        }
    }

    /// A node leaves for good.
    pub(crate) fn leave(&mut self, node: NodeIndex) {
        self.stop(node);
        self.subscribers[node.index()].wants = false;
    }

    pub(crate) fn unlink(&mut self, a: NodeIndex, b: NodeIndex) {
        for (one, other) in [(a, b), (b, a)] {
            let mesh = &mut self.subscribers[one.index()].mesh;
            if let Ok(at) = mesh.binary_search(&other) {
                mesh.remove(at);
            }
        }
    }

    fn link(&mut self, a: NodeIndex, b: NodeIndex) {
        for (one, other) in [(a, b), (b, a)] {
            let mesh = &mut self.subscribers[one.index()].mesh;
            if let Err(at) = mesh.binary_search(&other) {
                mesh.insert(at, other);
            }
        }
    }

    fn graft(&mut self, node: NodeIndex, peers: &[NodeIndex], up_to: usize) {
        let have = &self.subscribers[node.index()].mesh;
        let wanted = up_to.saturating_sub(have.len());
        let mut candidates: Vec<NodeIndex> = peers
            .iter()
            .copied()
            .filter(|peer| {
                let other = &self.subscribers[peer.index()];
                other.active && other.mesh.len() < self.rules.mesh_high && have.binary_search(peer).is_err()
            })
            .collect();
        self.random.shuffle(&mut candidates);
        for peer in candidates.into_iter().take(wanted) {
            self.link(node, peer);
        }
    }

    /// Mends the meshes, forgets what is old, and finds out who is told of what it lacks at this moment.
    pub(crate) fn heartbeat<'a>(
        &mut self,
        now: Instant,
        network: &mut Network,
        peers: impl Fn(NodeIndex) -> &'a [NodeIndex],
    ) -> Vec<Told> {
        for node in (0..self.subscribers.len() as u32).map(NodeIndex) {
            let subscriber = &self.subscribers[node.index()];
            if !subscriber.active {
                continue;
            }
            if subscriber.mesh.len() < self.rules.mesh_low {
                self.graft(node, peers(node), self.rules.mesh);
            } else if subscriber.mesh.len() >= self.rules.mesh_high {
                let mut mesh = subscriber.mesh.clone();
                self.random.shuffle(&mut mesh);
                for peer in mesh.drain(self.rules.mesh..) {
                    self.unlink(node, peer);
                }
            }
        }
        while self.items.front().is_some_and(|item| now.since(item.published) > self.rules.remembered_us) {
            let item = self.items.pop_front().expect("it was just looked at");
            self.by_content.remove(&item.content);
            self.first += 1;
        }
        let mut telling = Vec::new();
        let told_for = self.rules.told_for * self.rules.heartbeat_us;
        for (number, item) in (self.first..).zip(&self.items) {
            if now.since(item.published) > told_for || item.holders >= self.active {
                continue;
            }
            for node in (0..self.subscribers.len() as u32).map(NodeIndex) {
                if !self.subscribers[node.index()].active || item.copies[node.index()] != Copy::None {
                    continue;
                }
                let mesh = &self.subscribers[node.index()].mesh;
                let told = peers(node).iter().find_map(|holder| {
                    let others = peers(*holder).len().max(1) as u64;
                    let tells = item.copies[holder.index()] == Copy::Here
                        && mesh.binary_search(holder).is_err()
                        && self.random.below(others) < (self.rules.lazy as u64).max(others / 4);
                    let told_us = if tells { network.fate(*holder, node).arrives? } else { return None };
                    Some(Told { item: number, from: *holder, to: node, told_us })
                });
                telling.extend(told);
            }
        }
        telling
    }

    /// A node publishes: the item's number, unless the node knows that it is out already.
    pub(crate) fn publish(
        &mut self,
        node: NodeIndex,
        message: M,
        content: u128,
        now: Instant,
    ) -> Option<u32> {
        if let Some(number) = self.by_content.get(&content).copied() {
            return self.arrive(number, node).then_some(number);
        }
        let number = self.first + self.items.len() as u32;
        let copies = vec![Copy::None; self.subscribers.len()];
        self.items.push_back(Item { message, content, published: now, copies, holders: 0 });
        self.by_content.insert(content, number);
        self.arrive(number, node);
        Some(number)
    }

    pub(crate) fn message(&self, number: u32) -> Option<&M> {
        self.item(number).map(|item| &item.message)
    }

    fn item(&self, number: u32) -> Option<&Item<M>> {
        self.items.get(number.checked_sub(self.first)? as usize)
    }

    fn item_mut(&mut self, number: u32) -> Option<&mut Item<M>> {
        self.items.get_mut(number.checked_sub(self.first)? as usize)
    }

    /// A copy is sent that will be at `to` at `at`.
    pub(crate) fn push(&mut self, number: u32, to: NodeIndex, at: Instant) -> Push {
        let Some(item) = self.item_mut(number) else { return Push::Duplicate };
        match item.copies[to.index()] {
            Copy::Here => Push::Duplicate,
            Copy::Coming(earlier) if earlier <= at => Push::Duplicate,
            Copy::Coming(_) | Copy::None => {
                item.copies[to.index()] = Copy::Coming(at);
                Push::Schedule
            }
        }
    }

    /// A copy is here. Whether it is the first.
    pub(crate) fn arrive(&mut self, number: u32, to: NodeIndex) -> bool {
        let Some(item) = self.item_mut(number) else { return false };
        let first = item.copies[to.index()] != Copy::Here;
        item.copies[to.index()] = Copy::Here;
        item.holders += usize::from(first);
        first
    }

    /// Whether a node has had an item, as far as it knows.
    pub(crate) fn has(&self, number: u32, node: NodeIndex) -> bool {
        self.item(number).is_none_or(|item| item.copies[node.index()] == Copy::Here)
    }

    /// A copy that was under way will not arrive after all.
    pub(crate) fn miss(&mut self, number: u32, to: NodeIndex) {
        if let Some(item) = self.item_mut(number)
            && item.copies[to.index()] != Copy::Here
        {
            item.copies[to.index()] = Copy::None;
        }
    }
}
