//! Scenario files: TOML, every key known or refused. `scenarios/README.md` explains each key to whoever writes one.

mod names;
mod read;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::gossip::GossipRules;
use crate::oracles::{Invariant, Violation};

pub use names::{NodeName, NotAName};
pub use read::{BadScenario, Scenario};

/// Everything that a scenario file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What happens, in a sentence.
    pub about: String,
    /// The seed, if the command line names no other.
    #[serde(default = "one")]
    pub seed: u64,
    /// Who there is.
    pub mesh: Mesh,
    /// How newcomers come.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// How links behave.
    #[serde(default)]
    pub network: Network,
    /// The overlay.
    #[serde(default)]
    pub gossip: Gossip,
    /// How disks behave.
    #[serde(default)]
    pub disks: Disks,
    /// How wrong clocks are.
    #[serde(default)]
    pub clocks: Clocks,
    /// The charter's bounds on time.
    #[serde(default)]
    pub timing: Timing,
    /// What operators do.
    #[serde(default)]
    pub act: Vec<Act>,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Vec<FaultAt>,
    /// What goes wrong at random.
    #[serde(default)]
    pub chaos: Chaos,
    /// Who lies.
    #[serde(default)]
    pub liar: Vec<Liar>,
    /// When to stop.
    #[serde(default)]
    pub run: Run,
    /// What must have come out.
    #[serde(default)]
    pub expect: Expect,
}

fn one() -> u64 {
    1
}

/// Who there is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// How many newcomers come, over all domains.
    pub newcomers: u32,
    /// How many endorsers found each domain.
    pub endorsers: u8,
    /// `f`: how many of them may be faulty.
    #[serde(default)]
    pub faults: u8,
    /// The threshold of admissions; f+1 and at least two, if it is not set.
    pub admit: Option<u8>,
    /// The threshold of revocations; f+1, if it is not set.
    pub revoke: Option<u8>,
    /// The most members of one domain, endorsers included: as many domains are founded as that takes.
    pub members_max: Option<u32>,
}

/// How newcomers come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arrivals {
    /// By which process.
    pub process: Process,
    /// How many a second, in each domain.
    pub per_second: u32,
    /// When the first may come.
    pub first_ms: u64,
    /// What they come with.
    pub by: By,
    /// How long an operator takes to say yes: drawn between these, for each endorser and newcomer.
    pub approve_after_ms: [u64; 2],
    /// Whether they were told of the charter that is in force when they come, and not only of the founding one.
    pub recent_anchors: bool,
}

impl Default for Arrivals {
    fn default() -> Self {
        let (process, by) = (Process::Poisson, By::Ticket);
        let (approve_after_ms, recent_anchors) = ([1_000, 5_000], false);
        Arrivals { process, per_second: 4, first_ms: 5_000, by, approve_after_ms, recent_anchors }
    }
}

/// By which process newcomers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// Each on its own.
    Poisson,
    /// At equal distances.
    Even,
    /// All at once.
    Together,
}

/// What newcomers come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A ticket; one for all newcomers of a domain.
    Ticket,
    /// Nothing: operators look at each.
    Approval,
}

/// How links behave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The fastest and the slowest link's one-way delay.
    pub latency_ms: [u64; 2],
    /// Each message takes up to this much longer.
    pub jitter_ms: u64,
    /// How many messages in a million are lost.
    pub loss_ppm: u32,
    /// How many in a million arrive twice.
    pub duplicate_ppm: u32,
    /// How long an end of a connection that went silent takes to notice.
    pub notice_ms: u64,
    /// To how many members each member is connected, beside the endorsers.
    pub peers: u32,
}

impl Default for Network {
    fn default() -> Self {
        Network {
            latency_ms: [10, 100],
            jitter_ms: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            notice_ms: 10_000,
            peers: 12,
        }
    }
}

/// The overlay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gossip {
    /// Whether there is one. Without it, members follow by height alone.
    pub on: bool,
    /// D.
    pub mesh: u32,
    /// With fewer mesh links, a node grafts.
    pub mesh_low: u32,
    /// With more, it prunes.
    pub mesh_high: u32,
    /// How many others it tells of what it has.
    pub lazy: u32,
    /// How often it does.
    pub heartbeat_ms: u64,
    /// Whether a publisher sends to all its peers.
    pub flood_publish: bool,
}

impl Default for Gossip {
    fn default() -> Self {
        let rules = GossipRules::default();
        let small = |number: usize| u32::try_from(number).expect("a small constant");
        Gossip {
            on: true,
            mesh: small(rules.mesh),
            mesh_low: small(rules.mesh_low),
            mesh_high: small(rules.mesh_high),
            lazy: small(rules.lazy),
            heartbeat_ms: rules.heartbeat_us / 1_000,
            flood_publish: rules.flood_publish,
        }
    }
}

/// How disks behave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disks {
    /// How long it takes until a vote is durable.
    pub sync_us: u64,
    /// How often what peers can restore is flushed.
    pub flush_ms: u64,
}

impl Default for Disks {
    fn default() -> Self {
        Disks { sync_us: 200, flush_ms: 500 }
    }
}

/// How wrong clocks are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// Each clock is ahead or behind by up to this.
    pub offset_ms: u64,
    /// And too fast or too slow by up to this.
    pub drift_ppm: u32,
}

/// The charter's bounds on time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "each is the charter's field of that name")]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub freshness_ms: u64,
    pub silence_ms: u64,
    pub skew_ms: u64,
    pub first_timeout_ms: u64,
    pub timeout_cap_ms: u64,
    pub member_lifetime_ms: u64,
    pub basis_ms: u64,
    pub ticket_lifetime_ms: u64,
    pub proposal_lifetime_ms: u64,
    pub hold_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat_ms: 30_000,
            freshness_ms: 120_000,
            silence_ms: 14 * 24 * 3_600_000,
            skew_ms: 2_000,
            first_timeout_ms: 1_000,
            timeout_cap_ms: 16_000,
            member_lifetime_ms: 90 * 24 * 3_600_000,
            basis_ms: 3_600_000,
            ticket_lifetime_ms: 24 * 3_600_000,
            proposal_lifetime_ms: 3_600_000,
            hold_ms: 3_600_000,
        }
    }
}

/// What an operator does. Exactly one of the keys beside `at_ms` and `domain` says what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// When.
    pub at_ms: u64,
    /// In which domain.
    #[serde(default)]
    pub domain: u32,
    /// Endorsers revoke this node: one proposes, and the others' operators agree.
    pub revoke: Option<Spanned<NodeName>>,
    /// This node leaves for good.
    pub leave: Option<Spanned<NodeName>>,
    /// Endorsers suspend this node, likewise …
    pub suspend: Option<Spanned<NodeName>>,
    /// … for so long; until it is released, if it is not set.
    pub for_ms: Option<u64>,
    /// Endorsers hold these nodes at once, each by as many as that takes, for `for_ms`; as long as the charter allows, if it is not set.
    pub hold: Option<Vec<Spanned<NodeName>>>,
    /// See `hold`: this endorser does; any that can, if it is not set.
    pub by: Option<Spanned<NodeName>>,
    /// Endorsers release this node.
    pub release: Option<Spanned<NodeName>>,
    /// This node renews its admission, if it is not too early.
    pub renew: Option<Spanned<NodeName>>,
    /// This node rotates its key.
    pub rotate: Option<Spanned<NodeName>>,
    /// Of a revocation or suspension: only the operators of these endorsers agree, and the first proposes. Nothing need come of it.
    pub faction: Option<Vec<Spanned<NodeName>>>,
    /// The same for so many that come next, if they do, …
    #[serde(default)]
    pub and_next: u32,
    /// … each so much later than the one before.
    #[serde(default)]
    pub every_ms: u64,
    /// Endorsers amend the charter: these members get a seat …
    pub seat: Option<Vec<Spanned<NodeName>>>,
    /// … and these lose theirs. At least one of both lists; thresholds follow the number of seats.
    pub unseat: Option<Vec<Spanned<NodeName>>>,
    /// The recovery quorum seats these and nobody else, going on from the newest block that one of them has.
    pub recover: Option<Vec<Spanned<NodeName>>>,
    /// With `recover`: by a thief of the recovery keys, so that nothing need come of it.
    #[serde(default)]
    pub stolen: bool,
}

impl Act {
    /// Whether it amends the charter.
    pub fn amends(&self) -> bool {
        self.seat.is_some() || self.unseat.is_some()
    }

    /// Whom it is about, if that is one.
    pub fn whom(&self) -> Option<&Spanned<NodeName>> {
        let whom = [&self.revoke, &self.leave, &self.suspend, &self.release, &self.renew, &self.rotate];
        whom.into_iter().flatten().next()
    }

    /// The same of the node that comes so much later.
    #[must_use]
    pub fn of_the_next(&self, nth: u32) -> Act {
        let mut act = self.clone();
        let whom = [
            &mut act.revoke,
            &mut act.leave,
            &mut act.suspend,
            &mut act.release,
            &mut act.renew,
            &mut act.rotate,
        ];
        for name in whom.into_iter().flatten() {
            *name.as_mut() = name.as_ref().next(nth);
        }
        act
    }
}

/// Something that goes wrong at a given time, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultAt {
    /// When.
    pub at_ms: u64,
    /// For how long; for good, if it is not set.
    pub for_ms: Option<u64>,
    /// In which domain.
    #[serde(default)]
    pub domain: u32,
    /// The processes of these nodes die, and start again.
    pub kill: Option<Vec<Spanned<NodeName>>>,
    /// These machines lose power.
    pub lose_power: Option<Vec<Spanned<NodeName>>>,
    /// These processes stand still.
    pub pause: Option<Vec<Spanned<NodeName>>>,
    /// These nodes hear one another, and nobody else.
    pub cut_off: Option<Vec<Spanned<NodeName>>>,
    /// So many messages in a million are lost.
    pub loss_ppm: Option<u32>,
    /// So many in a million arrive twice.
    pub duplicate_ppm: Option<u32>,
    /// While these nodes are down, their disks go back to how they were at `as_of_ms`.
    pub roll_back: Option<Vec<Spanned<NodeName>>>,
    /// See `roll_back`.
    pub as_of_ms: Option<u64>,
    /// While these nodes are down, a record of `table` is damaged.
    pub damage: Option<Vec<Spanned<NodeName>>>,
    /// See `damage`: any table, if it is not set.
    pub table: Option<TableName>,
    /// Another machine starts from a copy of the disk of each of these, beside it.
    pub twin: Option<Vec<Spanned<NodeName>>>,
    /// The clocks of these nodes are set, by `by_ms`.
    pub step_clock: Option<Vec<Spanned<NodeName>>>,
    /// See `step_clock`.
    pub by_ms: Option<i64>,
}

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is the core's table of that name")]
pub enum TableName {
    Meta,
    Journal,
    Endorsed,
    Proposals,
    Waiting,
    Final,
    Base,
}

/// Faults drawn from the seed, in each domain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chaos {
    /// How many endorsers' processes die.
    pub kills: u32,
    /// How many endorsers' machines lose power.
    pub power_losses: u32,
    /// How many processes of any node stand still.
    pub pauses: u32,
    /// How many times some nodes are cut off from the others.
    pub cuts: u32,
    /// When they begin.
    pub between_ms: [u64; 2],
    /// How long each lasts.
    pub lasting_ms: [u64; 2],
}

impl Default for Chaos {
    fn default() -> Self {
        let (between_ms, lasting_ms) = ([10_000, 60_000], [500, 10_000]);
        Chaos { kills: 0, power_losses: 0, pauses: 0, cuts: 0, between_ms, lasting_ms }
    }
}

/// A node that lies.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Liar {
    /// Which.
    pub node: Spanned<NodeName>,
    /// How.
    pub lie: Lie,
    /// From when on, by its own clock; until then it is honest. If none lies from the beginning, the two-faced wait for one of them to lead.
    #[serde(default)]
    pub from_ms: u64,
    /// In which domain.
    #[serde(default)]
    pub domain: u32,
}

/// How a node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// It shows endorsers of odd number another block, vote and finalise than those of even number.
    TwoFaced,
    /// It takes no part in agreement.
    Mute,
    /// Its ballots carry wrong signatures.
    Forger,
    /// It endorses nothing.
    Stingy,
    /// It shows its holds to endorsers of even number only.
    Whisperer,
    /// It shows endorsers of odd number another hold for the same slot.
    DoubleDealer,
    /// It has the retired voting keys of all founders, and shows in place of what is final a block that they certify.
    GraveRobber,
}

/// When to stop.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Goes on at least until then, and not just until nothing is left to wait for.
    pub at_least_ms: u64,
    /// How long after the last arrival, act and fault everything must have come to rest: else liveness failed.
    pub settle_ms: u64,
    /// How many events a run may take: else it is cut off.
    pub events_max: u64,
}

impl Default for Run {
    fn default() -> Self {
        Run { at_least_ms: 0, settle_ms: 120_000, events_max: 1_000_000_000 }
    }
}

/// What must have come out. What is not named is not asked for, except that no invariant may break but those that are expected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// How many newcomers are in: a number, or `"all"`.
    pub joined: Option<Joined>,
    /// Whether every live member of each domain has the same state at the end.
    pub converged: Option<bool>,
    /// How many identities are gone, over all domains.
    pub gone: Option<u32>,
    /// In which epoch every domain is at the end.
    pub epoch: Option<u64>,
    /// How many identities are suspended at the end, over all domains.
    pub suspended: Option<u32>,
    /// How many identities were convicted of a contradiction, over all domains, whatever came of it since.
    pub convicted: Option<u32>,
    /// How many identities were found to run on two machines, over all domains.
    pub cloned: Option<u32>,
    /// How many identities are effective members at the end, over all domains.
    pub effective: Option<u32>,
    /// At least so many renewals are final.
    pub renewals_at_least: Option<u64>,
    /// How many members that run answer *stale* at the end, over all domains.
    pub stale: Option<u32>,
    /// The median join takes at most this long.
    pub join_p50_ms_at_most: Option<u64>,
    /// 99 of 100 joins do.
    pub join_p99_ms_at_most: Option<u64>,
    /// The median join takes at most this many per cent of what the links alone take.
    pub join_p50_percent_of_links_at_most: Option<u64>,
    /// 99 of 100 entries reach every live member within this.
    pub convergence_p99_ms_at_most: Option<u64>,
    /// 999 of 1,000 times a member refuses whoever lost its rights within this, from the last signature that takes them away.
    pub refusal_p999_ms_at_most: Option<u64>,
    /// Every charter is in force everywhere within this: from the last yes that it needs to every live member's holding a final block under it.
    pub amend_ms_at_most: Option<u64>,
    /// At least so many blocks are final.
    pub blocks_at_least: Option<u64>,
    /// No domain is without a new final block for longer.
    pub silence_ms_at_most: Option<u64>,
    /// Which invariants break, each of them: more nodes lie than a charter bears. Any other may not.
    pub broken: Vec<Invariant>,
    /// From then on these may not break either.
    pub broken_until_ms: Option<u64>,
}

impl Expect {
    /// Whether it was to be expected that this breaks, at that time.
    pub fn allows(&self, violation: &Violation) -> bool {
        let in_time = self.broken_until_ms.is_none_or(|until| violation.at_ms < until);
        in_time && self.broken.contains(&violation.invariant)
    }
}

/// How many newcomers are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Each of them.
    All,
    /// So many.
    Exactly(u32),
}

impl<'de> Deserialize<'de> for Joined {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Joined;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, or \"all\"")
            }
            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Joined, E> {
                u32::try_from(count)
                    .map(Joined::Exactly)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(count), &self))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Joined, E> {
                match text {
                    "all" => Ok(Joined::All),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl Script {
    /// How many domains there are, and how many newcomers come to each: as even as can be.
    pub fn newcomers_by_domain(&self) -> Vec<u32> {
        let places = match self.mesh.members_max {
            Some(max) => max.saturating_sub(self.mesh.endorsers.into()).max(1),
            None => u32::MAX,
        };
        let domains = self.mesh.newcomers.div_ceil(places).max(1);
        (0..domains)
            .map(|domain| self.mesh.newcomers / domains + u32::from(domain < self.mesh.newcomers % domains))
            .collect()
    }
}
