//! The charter: who endorses, by which thresholds, within which bounds (SPEC 3).

use serde::{Deserialize, Serialize};

use crate::encoding::{self, Label, digest, digest_of};
use crate::fault::Fault;
use crate::identity::{Inception, NodeId, PublicKey, SecretKey, Sheet, Signature, Stateless};
use crate::limits;
use crate::time::Timestamp;

encoding::byte_string!(
    /// A trust domain: the hash of its founding charter. There is no domain key.
    DomainId,
    "domain"
);
encoding::byte_string!(
    /// One charter of a domain.
    CharterId,
    "charter"
);

/// The name of a role, as the charter spells it.
pub type RoleName = String;
/// The name of something that a role may do. Its meaning is the fleet's own.
pub type Capability = String;

/// The law of one domain for one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// The charter that this one amends; none when founding.
    pub previous: Option<CharterId>,
    /// 1 when founding.
    pub epoch: u64,
    /// What people call the domain. Binds nothing.
    pub name: String,
    /// When it was written; the time of the genesis block.
    pub written: Timestamp,
    /// Who endorses, ordered by `NodeId`.
    pub endorsers: Vec<Seat>,
    /// How many endorsers may be faulty (`f`).
    pub faults: u8,
    /// How many endorsers each kind of statement needs.
    pub thresholds: Thresholds,
    /// Who can re-anchor the domain once its log has forked or stopped for good.
    pub recovery: Recovery,
    /// What members may be, ordered by name.
    pub roles: Vec<Role>,
    /// Bounds on time.
    pub timing: Timing,
    /// On which grounds endorsers admit.
    pub admission: AdmissionPolicy,
    /// Binds a verifier that wakes after it, never one awake.
    pub last_day: Timestamp,
}

/// One endorser's place in a charter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// Who sits here.
    pub inception: Inception,
    /// The key of its ballots, in this epoch only.
    pub voting_key: PublicKey,
    /// The roles that it holds as a member, ordered.
    pub roles: Vec<RoleName>,
}

impl Seat {
    /// Who sits here.
    pub fn node_id(&self) -> NodeId {
        self.inception.node_id()
    }
}

/// How many distinct endorsers a statement needs, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// `Admit`, and tickets.
    pub admit: u8,
    /// `Revoke`.
    pub revoke: u8,
    /// Restraints that can be lifted again.
    pub contain: u8,
    /// The next charter.
    pub amend: u8,
}

/// The recovery quorum: keys kept offline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Ordered; may be none, and then nothing recovers the domain.
    pub keys: Vec<PublicKey>,
    /// How many of them.
    pub threshold: u8,
}

/// What a member may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// What it may do, ordered.
    pub capabilities: Vec<Capability>,
    /// A bound on freshness for whoever has this role, if it is tighter than the charter's (SPEC 9.5).
    pub freshness_ms: Option<u64>,
}

/// Bounds on time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// An idle domain makes a block this often.
    pub heartbeat_ms: u64,
    /// A verifier whose newest final block is older answers *stale*.
    pub freshness_ms: u64,
    /// After this long without a final block, recovery may be taken.
    pub silence_ms: u64,
    /// How far apart correct clocks may be.
    pub skew_ms: u64,
    /// The time-out of an iteration that follows no dummy.
    pub first_timeout_ms: u64,
    /// The longest time-out of an iteration.
    pub timeout_cap_ms: u64,
    /// The longest window of an admission.
    pub member_lifetime_ms: u64,
    /// How old the basis of a grant may be.
    pub basis_ms: u64,
    /// The longest life of a ticket.
    pub ticket_lifetime_ms: u64,
    /// The longest life of a proposal.
    pub proposal_lifetime_ms: u64,
    /// How long after the time of its basis a hold may last; 0: there are none.
    pub hold_ms: u64,
}

/// On which grounds endorsers admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionPolicy {
    /// By ticket.
    pub tickets: bool,
    /// By an operator's yes.
    pub approval: bool,
}

impl Charter {
    /// This charter's id.
    pub fn id(&self) -> CharterId {
        digest_of(Label::Charter, self).into()
    }

    /// The domain that this charter founds. Meaningful for a founding charter only.
    pub fn founds(&self) -> DomainId {
        digest_of(Label::Domain, self).into()
    }

    /// n: how many endorsers there are.
    pub fn size(&self) -> usize {
        self.endorsers.len()
    }

    /// Q: how many ballots make a certificate (SPEC 3.2).
    pub fn quorum(&self) -> usize {
        (self.size() + usize::from(self.faults)) / 2 + 1
    }

    /// The seat of `node`.
    pub fn seat_of(&self, node: &NodeId) -> Option<&Seat> {
        self.endorsers.iter().find(|seat| seat.node_id() == *node)
    }

    /// The seat whose voting key this is.
    pub fn seat_of_voter(&self, key: &PublicKey) -> Option<&Seat> {
        self.endorsers.iter().find(|seat| seat.voting_key == *key)
    }
}

/// What each founder signs with the first key of its inception.
pub fn founding_digest(domain: &DomainId) -> crate::encoding::Hash {
    digest(Label::Founding, &domain.0)
}

/// A founding charter with the signature of every founder, in the order of its endorsers (SPEC 3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founded {
    /// The charter.
    pub charter: Charter,
    /// One signature per endorser.
    pub signatures: Vec<Signature>,
}

impl Founded {
    /// The domain founded.
    pub fn domain(&self) -> DomainId {
        self.charter.founds()
    }
}

impl Charter {
    /// One founder's signature. Its key never leaves its machine: signatures travel, and are put together by whoever likes.
    pub fn sign_founding(&self, key: &SecretKey) -> Signature {
        key.sign(&founding_digest(&self.founds()))
    }
}

impl Stateless for Founded {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        if self.signatures.len() != self.charter.size() {
            return Err(Fault::BadCharter {
                why: format!(
                    "{} founders signed, and all {} must",
                    self.signatures.len(),
                    self.charter.size()
                ),
            });
        }
        let (count, max) = (self.charter.size(), limits::ENDORSERS_MAX);
        if count > max {
            return Err(Fault::TooMany { what: "endorsers of a charter", count, max });
        }
        let digest = founding_digest(&self.domain());
        for (seat, signature) in self.charter.endorsers.iter().zip(&self.signatures) {
            seat.inception.inspect(sheet)?;
            sheet.introduces(seat.voting_key);
            sheet.claims(seat.inception.key, digest, *signature);
        }
        self.charter.recovery.keys.iter().for_each(|key| sheet.introduces(*key));
        Ok(())
    }
}
