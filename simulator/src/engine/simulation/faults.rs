//! What is done to the world: processes start and end, and every fault of the plan.

use super::{Event, SOURCE_PLAN, Simulation};
use crate::engine::NodeIndex;
use crate::engine::actor::Actor;
use crate::engine::disk::Ending;
use crate::engine::fault::Action;

impl<A: Actor> Simulation<A> {
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

    pub(super) fn end(&mut self, at: NodeIndex, how: Ending) {
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

    pub(super) fn apply(&mut self, action: &Action) -> Result<(), (NodeIndex, String)> {
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
            // A machine that is down, or that never ran, has no state that another could be a twin of.
            Action::Twin { node, twin: _ } if self.nodes[node.index()].actor.is_none() => {}
            Action::Twin { node, twin } => {
                self.nodes[twin.index()].disk = self.nodes[node.index()].disk.copy(self.now);
                self.start_now(*twin).map_err(|why| (*twin, why))?;
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
