//! What a domain believes: charter, statements, blocks, and the pure function from a state and a block to the next state.
//!
//! | file | holds |
//! |---|---|
//! | `charter`, `charter_check` | the law of a domain, and which laws are refused |
//! | `accuse` | keys that contradicted themselves: the proof, and what becomes of their owner |
//! | `amend` | the next charter: its terms, the consents to them, and what it changes |
//! | `recover` | the log gone on with although no quorum finalises anything any more |
//! | `statement`, `block` | what is signed and what is ordered |
//! | `map`, `merkle` | authenticated structures that know nothing of Frith |
//! | `maps` | what the state holds |
//! | `lean` | the state held in part: what is held of it, and what execution asks |
//! | `hold` | holds: when one counts, and what the log records of it |
//! | `rules` | when a statement is valid, and what it changes: a new kind goes here |
//! | `renew` | what a renewal asks beyond any admission |
//! | `execute` | blocks: judged, and built |
//! | `value` | [`State`] and what can be asked of it |
//! | `proof`, `snapshot` | the state for those who do not have it |
//!
//! Knows nothing of how blocks come to be final, nor of peers.

mod accuse;
mod amend;
mod block;
mod charter;
mod charter_check;
mod execute;
mod hold;
mod lean;
mod map;
mod maps;
mod merkle;
mod proof;
mod recover;
mod renew;
mod rules;
mod snapshot;
mod statement;
mod value;

pub use accuse::{Accuse, Contradiction, SignedBallot};
pub(crate) use amend::inspect_consents;
pub use amend::{Amend, Consent, Terms, TermsId};
pub use block::{Block, BlockId, FinalChain, Header};
pub use charter::{
    AdmissionPolicy, Capability, Charter, CharterId, DomainId, Founded, Recovery, Role, RoleName, Seat,
    Thresholds, Timing, founding_digest,
};
pub use execute::Parent;
pub use hold::{Hold, HoldTerms};
pub use lean::{Place, touched};
pub use map::MapProof;
pub use maps::{
    AdmittedBy, ConvictedKey, Conviction, Gone, HoldsRecorded, Keys, MapName, Roots, Rotated, SpineItem,
    Standing, Suspension,
};
pub use merkle::LogProof;
pub use proof::StateProof;
pub(crate) use proof::{charter_proof, charter_proven};
pub use recover::Recover;
pub use snapshot::{SnapshotChunk, SnapshotItem};
pub(crate) use statement::inspect_endorsements;
pub use statement::{
    Admit, Basis, Endorsement, Entry, Grounds, Kind, Rank, Reason, Release, Revoke, Rotate, Statement,
    StatementId, Subject, Suspend, TicketId, TicketTerms, Window,
};
pub use value::{Effective, State};
