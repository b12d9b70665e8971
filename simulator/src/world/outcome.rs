//! What came out of one domain's run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use frith_protocol::identity::NodeId;

use super::domain::Order;
use crate::engine::{Counters, NodeIndex, TraceHash};
use crate::oracles::Violation;

/// How many different notes are kept of one domain.
const NOTES_MAX: usize = 64;

/// What came out of one domain's run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The domain's number.
    pub domain: u32,
    /// How many nodes there were, endorsers and newcomers.
    pub nodes: u32,
    /// How long each join took, from its arrival with connections up to its certificate.
    pub join_us: Vec<u64>,
    /// What the links alone would have taken for each.
    pub join_links_us: Vec<u64>,
    /// Who gave up, and why.
    pub failed: Vec<(NodeIndex, String)>,
    /// From an entry's finality at the first node to every live member's holding it, for each block with entries.
    pub convergence_us: Vec<u64>,
    /// From the last signature that takes rights away to each live member's refusing whom they are taken from.
    pub refusal_us: Vec<u64>,
    /// From the last yes that a charter needs to every live member's holding a final block under it, for each charter.
    pub amend_us: Vec<u64>,
    /// Whether every live member holds the newest block with entries.
    pub converged: bool,
    /// How many identities are gone.
    pub gone: u64,
    /// The epoch that it came to.
    pub epoch: u64,
    /// How many are suspended.
    pub suspended: u64,
    /// How many were convicted, or removed by a proof.
    pub convicted: u64,
    /// Who was found to run on two machines.
    pub cloned: BTreeSet<NodeId>,
    /// How many are effective members.
    pub effective: u64,
    /// How many renewals are final.
    pub renewals: u64,
    /// How many members that run answer *stale*.
    pub stale: u64,
    /// The longest time without a new final block.
    pub silence_us: u64,
    /// How many blocks are final, heartbeats included.
    pub blocks: u64,
    /// How many entries are in them.
    pub entries: u64,
    /// How many faults of the plan happened.
    pub faults: u64,
    /// Signatures made by anybody.
    pub signatures_made: u64,
    /// Distinct signatures checked.
    pub signatures_checked: u64,
    /// Checks asked for, before the memory of them.
    pub checks_asked: u64,
    /// How long the checks took.
    pub checking: Duration,
    /// Transitions asked for, and computed.
    pub transitions: (u64, u64),
    /// How many messages of each kind were sent or published, and how many bytes they had. What gossip hands on is not among them.
    pub sent: BTreeMap<&'static str, (u64, u64)>,
    /// What the engine counted.
    pub counters: Counters,
    /// When it ended.
    pub virtual_ms: u64,
    /// Whether the budget cut it off.
    pub cut_off: bool,
    /// What broke.
    pub violations: Vec<Violation>,
    /// What else is worth knowing, and how often it happened.
    pub notes: BTreeMap<String, u64>,
    /// The hash of every event.
    pub trace_hash: TraceHash,
    /// The hash of what every node believes at the end.
    pub state_hash: [u8; 32],
}

impl Outcome {
    pub(super) fn new(order: &Order, nodes: u32, signatures_made: u64) -> Outcome {
        Outcome {
            domain: order.domain,
            nodes,
            join_us: Vec::new(),
            join_links_us: Vec::new(),
            failed: Vec::new(),
            convergence_us: Vec::new(),
            refusal_us: Vec::new(),
            amend_us: Vec::new(),
            converged: false,
            gone: 0,
            epoch: 1,
            suspended: 0,
            convicted: 0,
            cloned: BTreeSet::new(),
            effective: 0,
            renewals: 0,
            stale: 0,
            silence_us: 0,
            blocks: 0,
            entries: 0,
            faults: 0,
            signatures_made,
            signatures_checked: 0,
            checks_asked: 0,
            checking: Duration::ZERO,
            transitions: (0, 0),
            sent: BTreeMap::new(),
            counters: Counters::default(),
            virtual_ms: 0,
            cut_off: false,
            violations: Vec::new(),
            notes: BTreeMap::new(),
            trace_hash: TraceHash([0; 32]),
            state_hash: [0; 32],
        }
    }

    pub(super) fn note(&mut self, what: String) {
        if self.notes.len() < NOTES_MAX || self.notes.contains_key(&what) {
            *self.notes.entry(what).or_default() += 1;
        }
    }
}
