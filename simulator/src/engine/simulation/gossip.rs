//! What is published, on its way through the overlay.

use super::{Event, SOURCE_OVERLAY, Simulation, Step};
use crate::engine::NodeIndex;
use crate::engine::actor::{Actor, Input, Parcel, Verdict};
use crate::gossip::{Push, Told};

/// Bytes that an IHAVE and an IWANT of one message take together.
const REPAIR_BYTES: u64 = 120;

impl<A: Actor> Simulation<A> {
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

    pub(super) fn publish(&mut self, node: NodeIndex, message: A::Message) {
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

    pub(super) fn gossip_arrives(&mut self, to: NodeIndex, from: NodeIndex, item: u32) -> Step {
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

    pub(super) fn heartbeat(&mut self) {
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
    pub(super) fn is_told(&mut self, to: NodeIndex, from: NodeIndex, item: u32) {
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
}
