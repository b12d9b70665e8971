//! What can be wrong with something that somebody says: one closed list, each with the number of the rule that it breaks.

use crate::encoding::{Hash, Malformed};
use crate::identity::{BadKey, NodeId, PublicKey};
use crate::state::{BlockId, DomainId, MapName};
use crate::time::Timestamp;

/// Why a statement, entry, block, ticket or message is refused. It names the culprit where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum Fault {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("protocol version {theirs}; this node speaks {ours} (SPEC 1.7)")]
    UnknownVersion { theirs: u8, ours: u8 },
    #[error("{key:?} may not be introduced: {why} (SPEC 1.6)")]
    BadKey { key: PublicKey, why: BadKey },
    #[error("a signature by {key:?} does not hold (SPEC 1.5)")]
    BadSignature { key: PublicKey },
    #[error("{what}: {count}, and at most {max} are allowed (limits.rs)")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("{what} must be in strict order: one is out of place or repeated (SPEC {rule})")]
    NotInOrder { what: &'static str, rule: &'static str },
    #[error("it is for the domain {theirs:?}; this is {ours:?} (SPEC 4.1)")]
    OtherDomain { theirs: DomainId, ours: DomainId },

    #[error("{node:?} is not an endorser of this domain (SPEC 4.4)")]
    NotAnEndorser { node: NodeId },
    #[error("endorser {node:?} is revoked (SPEC 4.4)")]
    EndorserGone { node: NodeId },
    #[error("endorser {node:?} is suspended (SPEC 4.4)")]
    EndorserSuspended { node: NodeId },
    #[error("endorser {node:?} is convicted: a key of it contradicted itself (SPEC 4.4, 4.13)")]
    EndorserConvicted { node: NodeId },
    #[error("{node:?} signed with a key that is not its current one (SPEC 4.4)")]
    NotTheCurrentKey { node: NodeId },
    #[error("{have} endorsements, and {need} are needed (SPEC 4.5, 4.7)")]
    TooFewEndorsements { have: usize, need: usize },

    #[error("{subject:?} is gone for ever (SPEC 4.5, 4.7)")]
    SubjectGone { subject: NodeId },
    #[error("{subject:?} is suspended (SPEC 4.5)")]
    SubjectSuspended { subject: NodeId },
    #[error("{subject:?} is convicted: a key of it contradicted itself (SPEC 4.5, 4.13)")]
    SubjectConvicted { subject: NodeId },
    #[error("the accusation does not hold: {why} (SPEC 4.13)")]
    BadAccusation { why: &'static str },
    #[error("the suspension does not fit: {why} (SPEC 4.9, 4.10)")]
    BadSuspension { why: &'static str },
    #[error("{subject:?} is unknown here (SPEC 4.7)")]
    SubjectUnknown { subject: NodeId },
    #[error("{subject:?} carries number {theirs}, and {expected} is next (SPEC 4.5)")]
    WrongNumber { subject: NodeId, theirs: u64, expected: u64 },
    #[error("the rotations do not fit: {why} (SPEC 2.4, 4.11)")]
    BadRotation { why: &'static str },
    #[error("{subject:?} has rotated {entries} times today, and may not more often: tomorrow (SPEC 4.11)")]
    RotatedTooOften { subject: NodeId, entries: u32 },
    #[error("the hold does not fit: {why} (SPEC 4.14, 5.24)")]
    BadHold { why: &'static str },
    #[error("{subject:?} is held until {until} (SPEC 5.26)")]
    Held { subject: NodeId, until: Timestamp },
    #[error("{key:?} belongs to {owner:?} already (SPEC 2.3)")]
    KeyTaken { key: PublicKey, owner: NodeId },
    #[error("the charter has no role {role:?} (SPEC 4.5)")]
    UnknownRole { role: String },
    #[error("the ticket does not give the role {role:?} (SPEC 4.6)")]
    RoleBeyondTicket { role: String },
    #[error("the charter admits nobody by {grounds} (SPEC 4.5)")]
    GroundsNotAllowed { grounds: &'static str },
    #[error("the renewal does not fit: {why} (SPEC 4.5)")]
    BadRenewal { why: &'static str },
    #[error("{subject:?} renews too early: half of its window is over at {middle} (SPEC 4.5)")]
    RenewedTooEarly { subject: NodeId, middle: Timestamp },
    #[error("the window of the admission is not open: {why} (SPEC 4.5)")]
    BadWindow { why: &'static str },
    #[error("the basis does not fit: {why} (SPEC 4.5, 5.6)")]
    BadBasis { why: &'static str },
    #[error("the ticket has expired (SPEC 4.6)")]
    TicketExpired,
    #[error("the ticket is spent: {uses} of {uses} uses (SPEC 4.6)")]
    TicketSpent { uses: u32 },
    #[error("the ticket is no good: {why} (SPEC 5.1, 5.2)")]
    BadTicket { why: &'static str },
    #[error("the domain is full: {members} members (limits.rs)")]
    DomainFull { members: usize },
    #[error(
        "it would leave {left} endorsers able to endorse, and amending needs {amend}: amend first (SPEC 4.7, 4.12)"
    )]
    WouldStrandTheCharter { left: usize, amend: usize },

    #[error("{subject:?} is no effective member, and cannot be given a seat (SPEC 4.12)")]
    NotEffective { subject: NodeId },
    #[error("the consent of {node:?} does not fit: {why} (SPEC 4.12)")]
    BadConsent { node: NodeId, why: &'static str },
    #[error("the recovery does not fit: {why} (SPEC 4.15)")]
    BadRecovery { why: &'static str },
    #[error(
        "{subject:?} is gone or suspended here, and the recovery forgets it: name it, and sign anew (SPEC 9.16)"
    )]
    WouldBeForgotten { subject: NodeId },
    #[error("charter refused: {why} (SPEC 3, 4.12)")]
    BadCharter { why: String },

    #[error("block {block:?}: {what} is not what its parent and entries give (SPEC 6)")]
    WrongHeader { block: BlockId, what: &'static str },
    #[error("block {block:?}: its time {why} (SPEC 6.2, 8.6)")]
    WrongTime { block: BlockId, why: &'static str },
    #[error("block {block:?}: {what} (SPEC 6.7)")]
    BadBlock { block: BlockId, what: &'static str },
    #[error("certificate: {why} (SPEC 8.1)")]
    BadCertificate { why: &'static str },
    #[error("ballot: {why} (SPEC 8)")]
    BadBallot { why: &'static str },
    #[error("whoever proposed does not lead iteration {iteration} (SPEC 8.3)")]
    NotTheLeader { iteration: u64 },
    #[error("the snapshot does not have the root that it is for (SPEC 7.4)")]
    WrongSnapshot,
    #[error("the proof does not lead to the root that it is for (SPEC 7.2)")]
    BadProof,
    #[error(
        "what the map {map:?} has under {key:?} is not held here: a peer that holds it shows the path (SPEC 7.5)"
    )]
    PathMissing { map: MapName, key: Hash },
    #[error("it is not for a peer of this standing to send {what} (SPEC 5.8)")]
    NotAllowed { what: &'static str },
    #[error("it is not known here, or not yet: {what}")]
    Unknown { what: &'static str },
}

impl Fault {
    /// Whether it may lie in the body at hand and not in the block: its id covers statements, and no endorsement (SPEC 6.9).
    pub fn is_of_the_body(&self) -> bool {
        match self {
            Fault::WrongHeader { block: _, what } => *what == ENTRIES_ROOT,
            Fault::NotInOrder { .. }
            | Fault::NotAnEndorser { .. }
            | Fault::EndorserGone { .. }
            | Fault::EndorserSuspended { .. }
            | Fault::EndorserConvicted { .. }
            | Fault::NotTheCurrentKey { .. }
            | Fault::TooFewEndorsements { .. }
            | Fault::BadSignature { .. }
            | Fault::BadKey { .. }
            | Fault::TooMany { .. }
            | Fault::Malformed(_) => true,
            Fault::UnknownVersion { .. }
            | Fault::OtherDomain { .. }
            | Fault::SubjectGone { .. }
            | Fault::SubjectSuspended { .. }
            | Fault::SubjectConvicted { .. }
            | Fault::BadAccusation { .. }
            | Fault::BadSuspension { .. }
            | Fault::SubjectUnknown { .. }
            | Fault::WrongNumber { .. }
            | Fault::BadRotation { .. }
            | Fault::RotatedTooOften { .. }
            | Fault::BadHold { .. }
            | Fault::Held { .. }
            | Fault::KeyTaken { .. }
            | Fault::UnknownRole { .. }
            | Fault::RoleBeyondTicket { .. }
            | Fault::BadRenewal { .. }
            | Fault::RenewedTooEarly { .. }
            | Fault::BadWindow { .. }
            | Fault::BadBasis { .. }
            | Fault::TicketExpired
            | Fault::TicketSpent { .. }
            | Fault::BadTicket { .. }
            | Fault::DomainFull { .. }
            | Fault::WouldStrandTheCharter { .. }
            | Fault::BadCharter { .. }
            | Fault::NotEffective { .. }
            | Fault::BadConsent { .. }
            | Fault::BadRecovery { .. }
            | Fault::WouldBeForgotten { .. }
            | Fault::WrongTime { .. }
            | Fault::BadBlock { .. }
            | Fault::BadCertificate { .. }
            | Fault::NotTheLeader { .. }
            | Fault::WrongSnapshot
            | Fault::NotAllowed { .. }
            | Fault::GroundsNotAllowed { .. }
            | Fault::BadBallot { .. }
            | Fault::BadProof
            | Fault::PathMissing { .. }
            | Fault::Unknown { .. } => false,
        }
    }
}

/// How [`Fault::WrongHeader`] names the root of the entries.
pub const ENTRIES_ROOT: &str = "the entries root";
