//! Who is connected to whom: connections open after a handshake, end at each end in its own time, and come back by themselves.

use super::{Event, Simulation, Step};
use crate::engine::actor::{Actor, Input};
use crate::engine::{Instant, NodeIndex};

/// A handshake is this many one-way delays: TCP and noise take two round trips.
const HANDSHAKE_HOPS: u64 = 4;

impl<A: Actor> Simulation<A> {
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

    /// Ends all connections of a node at this instant, at both ends; has `change` say what is different from then on; and dials again.
    pub fn begin_anew(&mut self, node: NodeIndex, change: impl FnOnce(&mut A::Shared)) {
        let both = [&self.nodes[node.index()].up[..], &self.nodes[node.index()].told_up].concat();
        for peer in both {
            for (at, other) in [(node, peer), (peer, node)] {
                remove(&mut self.nodes[at.index()].up, other);
                if remove(&mut self.nodes[at.index()].told_up, other)
                    && self.nodes[at.index()].actor.is_some()
                {
                    self.handle(at, 2, other.0, 0, Input::Disconnected(other));
                }
            }
            if let Some(overlay) = &mut self.overlay {
                overlay.unlink(node, peer);
            }
        }
        change(&mut self.shared);
        self.dial_all(node);
    }

    /// Whether what `from` sent reaches `to` at this moment: as long as the end of the receiver is open, since what was sent before its
    /// sender died is still under way.
    pub(super) fn hears(&self, to: NodeIndex, from: NodeIndex) -> bool {
        let node = &self.nodes[to.index()];
        node.actor.is_some()
            && node.told_up.binary_search(&from).is_ok()
            && (!self.network.is_cut() || self.network.reaches(to, from))
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
    pub(super) fn dial_all(&mut self, node: NodeIndex) {
        for peer in self.nodes[node.index()].wanted.clone() {
            self.dial(node, peer);
        }
    }

    pub(super) fn open(&mut self, a: NodeIndex, b: NodeIndex, lives: (u32, u32)) {
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
    pub(super) fn close(&mut self, a: NodeIndex, b: NodeIndex, a_hears: Instant, b_hears: Instant) {
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

    pub(super) fn connection(&mut self, at: NodeIndex, peer: NodeIndex, life: u32, up: bool) -> Step {
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
