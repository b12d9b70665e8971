//! The whole state as chunks, and back (SPEC 7.4).

use serde::{Deserialize, Serialize};

use super::block::FinalChain;

/// A part of a snapshot: items of the state's maps, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Proof that the head it is under is final: a chain without blocks; none for genesis.
    pub tip: Option<Box<FinalChain>>,
    /// Which part this is.
    pub index: u32,
    /// Of how many.
    pub of: u32,
    /// Encoded items, each with the map that it belongs to and its key.
    pub items: Vec<SnapshotItem>,
}

/// One item of the state: which map, key, encoded value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotItem {
    /// Which map.
    pub map: u8,
    /// Under which key.
    pub key: [u8; 32],
    /// Its encoding.
    pub value: Vec<u8>,
}
