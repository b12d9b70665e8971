//! Who a node is: its keys, its inception, and the one rule by which signatures are valid.
//!
//! An identity is the hash of an *inception*: the first key, and a commitment to the next one (KERI's pre-rotation). A thief of
//! the running key cannot rotate, because the next key was never used. Nothing here knows of domains or charters.

mod inception;
mod keys;
mod rotation;
mod verify;

pub use inception::{Inception, NodeId};
pub use keys::{Algorithm, BadKey, KeySequence, PublicKey, SecretKey, Signature};
pub use rotation::Rotation;
pub use verify::{BatchCheck, Claim, Sheet, SignatureCheck, Stateless, Verified, verify};
