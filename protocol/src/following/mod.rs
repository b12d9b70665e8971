//! How whoever does not vote learns what is final: by gossip, by height, or from a snapshot (SPEC 9).

mod by_height;
mod chain;
mod charters;
mod proven;
mod sync;
mod workshop;

pub use chain::{Before, Chain, Checkpoint, Held, NotTaken, Proof, Taken};
pub use charters::{Adopted, Charters, Link};
pub use proven::{chain_below, check_certificate, check_links, tip_of};
pub use sync::{Fetched, Follower, SnapshotFetch};
pub use workshop::{PlainWorkshop, Workshop};
