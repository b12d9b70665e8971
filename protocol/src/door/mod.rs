//! The door: one closed input, one bundle of effects, one deadline.
//!
//! | file | holds |
//! |---|---|
//! | `input`, `effects`, `record`, `message` | what goes in, what comes out, what is stored, what travels |
//! | `core` | [`Core::handle`]: who may say what, and which room it goes to |
//! | `peers` | who is who |
//! | `agreeing`, `heads`, `finality` | agreement; asking what is final, and answering; what follows once a block is |
//! | `drafts`, `endorsing`, `given`, `entries` | newcomers' drafts; what endorsers sign, and proposals; what was signed; entries on their way into a block |
//! | `amending`, `epochs` | how a charter comes about; how one goes on to the next |
//! | `holding` | holds: given, received, acted upon |
//! | `recovering`, `recovery_drafts` | going on after a fork, or after too long a silence |
//! | `rotating`, `renewing` | this node's own rotations; its own renewals |
//! | `accusing`, `sessions` | what becomes of a contradiction that somebody shows; two machines that run one identity |
//! | `syncing`, `rations` | snapshots; how much of them, and of blocks, a member is sent |
//! | `paths` | what a chain touches of a state that is held in part: asked for, and shown |
//! | `anchoring` | a newer anchor for a node that has a state |
//! | `pruning`, `archive` | what of the log is kept on the disk; all of it, by whoever is told to |
//! | `open`, `view` | from a store to a core; what can be seen of it |
//! | `router` | the cores of one node, one per domain |

mod accusing;
mod agreeing;
mod amending;
mod anchoring;
mod archive;
mod core;
mod drafts;
mod effects;
mod endorsing;
mod entries;
mod epochs;
mod finality;
mod given;
mod heads;
mod holding;
mod input;
mod message;
mod open;
mod paths;
mod peers;
mod pruning;
mod rations;
mod record;
mod recovering;
mod recovery_drafts;
mod renewing;
mod rotating;
mod router;
mod sessions;
mod syncing;
mod talk;
mod view;

pub use anchoring::anchor_records;
pub use archive::archived_block;
pub use core::{Config, Core, Keys, Phase};
pub use effects::{Effects, Lookup, Outbox, Unsettled};
pub use holding::Held;
pub use input::{Alarm, Command, Error, Event, Input};
pub use message::{Envelope, Message, Standing, Talk, open_envelope};
pub use open::{OpenError, founding_records, joining_records, returning_record};
pub use paths::{AskProofs, Proofs};
pub use record::{Durability, Record, Table};
pub use router::{ForDomain, Router};
pub use sessions::Session;
pub use view::{Admission, Endorsers, Head, Status};
