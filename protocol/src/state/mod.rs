//! What a domain believes: charter, statements, blocks, and the pure function from a state and a block to the next state.
//!
//! Knows nothing of how blocks come to be final, nor of peers.

mod block;
mod charter;
mod snapshot;
mod statement;

pub use block::{Block, BlockId, FinalChain, Header};
pub use charter::{
    AdmissionPolicy, Capability, Charter, CharterId, DomainId, Founded, Recovery, Role, RoleName, Seat,
    Thresholds, Timing, founding_digest,
};
pub use snapshot::{SnapshotChunk, SnapshotItem};
pub(crate) use statement::inspect_endorsements;
pub use statement::{
    Admit, Basis, Endorsement, Entry, Grounds, Kind, Reason, Revoke, Statement, StatementId, Subject,
    TicketId, TicketTerms, Window,
};
