//! What a program is handed, and what becomes of what it wants done: first onto its disk, then to its peers.

use super::{Event, Simulation, Step};
use crate::engine::actor::{Actions, Actor, Input, Parcel as _, Verdict};
use crate::engine::{Instant, NodeIndex};

/// A program that asks for a tick this often without time moving on has a bug.
const TICKS_AT_ONCE_MAX: u32 = 10_000;

impl<A: Actor> Simulation<A> {
    /// Hands an input to a program, and its actions to disk and network.
    pub(super) fn handle(
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
    pub(super) fn release(&mut self, node: NodeIndex, actions: &mut Actions<A>) {
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

    pub(super) fn tick(&mut self, at: NodeIndex, alarm: u32) -> Step {
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
    pub(super) fn set_alarm(&mut self, at: NodeIndex) {
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
}
