//! What can be seen of a core from outside.

use serde::Serialize;

use super::core::{Core, Phase};
use super::holding::Held;
use super::input::Alarm;
use crate::encoding::Hash;
use crate::following::Chain;
use crate::identity::{KeySequence, NodeId, PublicKey};
use crate::joining::{Anchor, Proposal};
use crate::planted::{Bug, loosened};
use crate::state::{BlockId, DomainId, Effective, RoleName, State};
use crate::time::Timestamp;

/// What a node is, does and knows, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Who this is.
    pub node: NodeId,
    /// Its current transport key.
    pub key: PublicKey,
    /// How often that was rotated.
    pub key_sequence: KeySequence,
    /// Whether a rotation to the next key is on its way into the log.
    pub rotating: bool,
    /// Its domain.
    pub domain: DomainId,
    /// What people call the domain; none before a newcomer has seen the charter.
    pub name: Option<String>,
    /// What this node is doing.
    pub phase: Phase,
    /// Its roles.
    pub roles: Vec<RoleName>,
    /// The newest final block.
    pub head: Option<Head>,
    /// Whether that block is older than the freshness bound that this node's roles have: of itself it answers *stale* then, never *valid*.
    pub stale: bool,
    /// How many identities stand.
    pub members: usize,
    /// How many are gone.
    pub gone: usize,
    /// The endorsers and what they withstand.
    pub endorsers: Option<Endorsers>,
    /// How many peers are connected.
    pub connected: usize,
    /// Entries that wait for a block here.
    pub waiting: usize,
    /// Proposals that wait for this node's operator.
    pub pending: usize,
    /// Until when this node is a member, and what it does about that; none if it has a seat, or is no member.
    pub admission: Option<Admission>,
    /// Holds that are in force here.
    pub holds: usize,
    /// By whom this node itself is held, if it is.
    pub held: Option<Held>,
    /// Whom two machines run at once, as far as was heard since the start (SPEC 5.28).
    pub cloned: Vec<NodeId>,
    /// A newcomer's endorsements: how many it has, and how many it needs.
    pub joining: Option<(usize, usize)>,
    /// Why this endorser signs nothing, if it does not.
    pub journal_lost: Option<String>,
    /// Why this node takes no further blocks, if it does not.
    pub halted: Option<Alarm>,
}

/// A final block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Its height.
    pub height: u64,
    /// Which.
    pub block: BlockId,
    /// The state root after it.
    pub state_root: Hash,
    /// Its time.
    pub time: Timestamp,
    /// How old it is.
    pub age_ms: u64,
}

/// This node's own admission, which runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admission {
    /// Its number.
    pub number: u64,
    /// Until when it runs.
    pub until: Timestamp,
    /// Whether that is over.
    pub lapsed: bool,
    /// Whether operators gave it less than a whole lifetime: then it does not renew, and ends.
    pub limited: bool,
    /// When this node begins to renew it; none if it cannot by itself any more, or its rights rest for good.
    pub renews_at: Option<Timestamp>,
    /// Until when it can. After that the endorsers' operators must admit it anew.
    pub renewable_until: Timestamp,
    /// If it is being renewed: how many endorsements it has, and how many it needs.
    pub renewing: Option<(usize, usize)>,
    /// Why an endorser last declined that.
    pub declined: Option<String>,
}

/// The endorsers of a domain, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endorsers {
    /// How many there are.
    pub count: usize,
    /// How many ballots make a certificate.
    pub quorum: usize,
    /// How many of them are connected, this node counted.
    pub connected: usize,
    /// How many may crash before the log stops.
    pub crashes_tolerated: usize,
    /// How many may lie before the log can fork.
    pub liars_tolerated: usize,
}

impl Core {
    /// Who this node is.
    pub fn node_id(&self) -> NodeId {
        self.me
    }

    /// The voting keys that are held here, for this epoch or a later one. A host destroys all others that it has (SPEC 8.20).
    pub fn voting_keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.keys.voting.iter().map(|key| key.public())
    }

    /// Its domain.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The state after the newest final block; none before a newcomer has one.
    pub fn state(&self) -> Option<&State> {
        self.chain.as_ref().map(Chain::state)
    }

    /// The chain; none before a newcomer has one.
    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// The newest final block.
    pub fn head(&self) -> Option<Head> {
        let chain = self.chain.as_ref()?;
        let header = chain.head();
        Some(Head {
            height: header.height,
            block: chain.head_id(),
            state_root: header.state_root,
            time: header.time,
            age_ms: self.now.since(header.time),
        })
    }

    /// What this node answers about `node` at `now` (SPEC 9.5): `None` is *stale*.
    pub fn effective(&self, node: &NodeId, now: Timestamp) -> Option<Effective> {
        let chain = self.chain.as_ref()?;
        let (timing, made) = (&chain.state().charter().timing, chain.head().time);
        let bound = chain.state().freshness_for(node);
        // A clock that is this far behind a final block is wrong, and would keep the block young.
        let clock_is_behind = made.since(now) > timing.skew_ms.saturating_mul(2);
        let knows = self.halted.is_none() && !self.is_behind_itself();
        let fresh = now.since(made) <= bound && !clock_is_behind && knows;
        let fresh = fresh || loosened(Bug::StaleIsValid);
        fresh.then(|| self.effective_here(chain.state(), node, now))
    }

    /// When this node or one of `peers` may become something else although no entry says so: a window, a suspension or a hold is over then. The
    /// core keeps no timer for it, since it judges everybody by the time of each input; a host that remembers standings looks again.
    pub fn may_change_at<'a>(&self, peers: impl IntoIterator<Item = &'a PublicKey>) -> Option<Timestamp> {
        let state = self.state()?;
        let nodes = peers.into_iter().filter_map(|key| state.owner_of(key)).chain([self.me]);
        let lapses = |node: &NodeId| self.held(node, self.now).map(|held| held.until);
        nodes
            .filter_map(|node| state.may_change_at(&node, self.now).into_iter().chain(lapses(&node)).min())
            .min()
    }

    /// All that collects endorsements here, by the digest that is endorsed.
    pub fn proposals(&self) -> impl Iterator<Item = (&Hash, &Proposal)> {
        self.proposals.iter()
    }

    /// Where a newcomer could begin to believe, as this node knows it. `addresses` are the host's to add.
    pub fn anchor(&self, addresses: Vec<String>) -> Option<Anchor> {
        let chain = self.chain.as_ref()?;
        let charter = chain.state().charter_id();
        let (epoch, height) = (chain.state().charter().epoch, chain.head().height);
        Some(Anchor { domain: self.domain, charter, epoch, height, addresses })
    }

    /// What a node is, does and knows, at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        let state = self.state();
        let endorsers = self.charter().map(|charter| {
            let seated = self.endorser_keys();
            let here = usize::from(charter.seat_of(&self.me).is_some());
            Endorsers {
                count: charter.size(),
                quorum: charter.quorum(),
                connected: seated.iter().filter(|key| self.connected.contains(key)).count() + here,
                crashes_tolerated: charter.size() - charter.quorum(),
                liars_tolerated: usize::from(charter.faults),
            }
        });
        Status {
            node: self.me,
            key: self.keys.identity.public(),
            key_sequence: self.sequence(),
            rotating: self.is_rotating(),
            domain: self.domain,
            name: self.charter().map(|charter| charter.name.clone()),
            phase: self.phase(),
            roles: state
                .and_then(|state| state.standing(&self.me))
                .map(|standing| standing.roles.clone())
                .unwrap_or_default(),
            head: self.head().map(|head| Head { age_ms: now.since(head.time), ..head }),
            stale: self.effective(&self.me, now).is_none(),
            members: state.map_or(0, State::member_count),
            gone: state.map_or(0, |state| state.gone().count()),
            endorsers,
            connected: self.connected.len(),
            waiting: self.waiting.len(),
            pending: self
                .proposals()
                .filter(|(_, proposal)| proposal.decision == crate::joining::Decision::Open)
                .count(),
            admission: self.admission(),
            holds: self.holds(now).count(),
            held: self.held(&self.me, now),
            cloned: self.cloned().collect(),
            joining: self.newcomer.as_deref().map(crate::joining::Newcomer::progress),
            journal_lost: self.journal_lost.clone(),
            halted: self.halted.clone(),
        }
    }
}
