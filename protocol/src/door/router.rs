//! The cores of one node, one per domain. It owns the peers: a connection belongs to the node, and every core hears of it.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Core;
use super::effects::Effects;
use super::input::{Error, Input};
use crate::fault::Fault;
use crate::identity::PublicKey;
use crate::state::DomainId;
use crate::time::Timestamp;

/// Effects, and the domain that they are of: its messages travel in its envelopes, its records lie in its store.
#[derive(Debug)]
pub struct ForDomain {
    /// Which domain.
    pub domain: DomainId,
    /// What it wants done.
    pub effects: Effects,
}

/// The cores of one node.
#[derive(Default)]
pub struct Router {
    cores: BTreeMap<DomainId, Core>,
    connected: BTreeSet<PublicKey>,
}

impl Router {
    /// A node that lives in no domain yet.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds the core of a domain, and tells it who is connected.
    pub fn add(&mut self, now: Timestamp, core: Core) -> Result<ForDomain, Error> {
        let domain = core.domain();
        let mut core = core;
        let mut effects = Effects::new();
        for peer in &self.connected {
            core.handle(now, Input::Connected(*peer), &mut effects)?;
        }
        self.cores.insert(domain, core);
        Ok(ForDomain { domain, effects })
    }

    /// One domain's core.
    pub fn core(&self, domain: &DomainId) -> Option<&Core> {
        self.cores.get(domain)
    }

    /// Hands an input to the domain that it is about.
    ///
    /// # Errors
    /// The core's; or [`Fault::Unknown`] if this node does not live in that domain.
    pub fn handle(
        &mut self,
        now: Timestamp,
        domain: &DomainId,
        input: Input,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        match self.cores.get_mut(domain) {
            Some(core) => core.handle(now, input, effects),
            None => Err(Error::Refused(Fault::Unknown { what: "this domain" })),
        }
    }

    /// A connection was opened or closed: every core hears of it.
    pub fn connection(&mut self, now: Timestamp, peer: PublicKey, up: bool) -> Vec<ForDomain> {
        let changed = if up { self.connected.insert(peer) } else { self.connected.remove(&peer) };
        if !changed {
            return Vec::new();
        }
        let input = |peer| if up { Input::Connected(peer) } else { Input::Disconnected(peer) };
        self.every(now, |_| Some(input(peer)))
    }

    /// Deadlines may have passed.
    pub fn tick(&mut self, now: Timestamp) -> Vec<ForDomain> {
        self.every(now, |core| core.next_deadline().is_some_and(|at| at <= now).then_some(Input::Tick))
    }

    /// When [`Router::tick`] is due next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.cores.values().filter_map(Core::next_deadline).min()
    }

    fn every(&mut self, now: Timestamp, input: impl Fn(&Core) -> Option<Input>) -> Vec<ForDomain> {
        let mut all = Vec::new();
        for (domain, core) in &mut self.cores {
            let Some(input) = input(core) else { continue };
            let mut effects = Effects::new();
            let done = core.handle(now, input, &mut effects);
            assert!(done.is_ok(), "time and connections are nobody's fault: {done:?}");
            all.push(ForDomain { domain: *domain, effects });
        }
        all
    }
}
