//! Blocks and how they follow one another (SPEC 6).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::statement::Entry;
use crate::agreement::Certificate;
use crate::encoding::{self, Hash, Label, digest_of};
use crate::fault::Fault;
use crate::identity::{PublicKey, Sheet, Signature, Stateless};
use crate::limits;
use crate::time::Timestamp;

encoding::byte_string!(
    /// A block: the hash of its header.
    BlockId,
    "block"
);

impl BlockId {
    /// What stands where there is no block: the parent of genesis, the block of a dummy.
    pub const NONE: BlockId = BlockId([0; 32]);
}

/// What a block says of itself; its entries are behind `entries_root`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Header {
    /// In which epoch it was proposed.
    pub epoch: u64,
    /// The parent's height + 1.
    pub height: u64,
    /// The block before.
    pub parent: BlockId,
    /// The newest block before that carries entries (genesis, if none does). Whoever catches up may so skip heartbeats.
    pub previous: BlockId,
    /// When its proposer says that it was made.
    pub time: Timestamp,
    /// The Merkle root of its entries.
    pub entries_root: Hash,
    /// The root of the state after its entries.
    pub state_root: Hash,
    /// The root of the spine in that state.
    pub spine_root: Hash,
    /// The Merkle root of the ids of all earlier blocks that carry entries.
    pub log_root: Hash,
}

impl Header {
    /// The block's id.
    pub fn id(&self) -> BlockId {
        digest_of(Label::Block, self).into()
    }

    /// Whether the block carries nothing but its time.
    pub fn is_heartbeat(&self) -> bool {
        self.entries_root == Hash::ZERO && self.height > 0
    }
}

/// A header and its entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// Denials first.
    pub entries: Vec<Entry>,
}

impl Block {
    /// The block's id. It covers the statements, and no signature: two bodies of one id may differ in who endorsed.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }
}

impl Stateless for Block {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        if self.entries.len() > limits::BLOCK_ENTRIES_MAX {
            let count = self.entries.len();
            return Err(Fault::TooMany { what: "entries of a block", count, max: limits::BLOCK_ENTRIES_MAX });
        }
        self.entries.iter().try_for_each(|entry| entry.inspect(sheet))
    }
}

/// Proof that blocks are final: blocks with entries, ascending, each linked to the one before by `previous`; then headers up to
/// the certified one, each linked to the one before by `parent` or `previous`; then the certificate of the last (SPEC 9.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FinalChain {
    /// Blocks with entries, ascending.
    pub blocks: Vec<Arc<Block>>,
    /// Headers between the last of them and the certified block, ending with it; none if the last block is the certified one.
    pub headers: Vec<Header>,
    /// The finality certificate of the last header, or of the last block where there is none.
    pub certificate: Certificate<PublicKey, Signature>,
}

impl FinalChain {
    /// The header that the certificate is for.
    pub fn tip(&self) -> Option<&Header> {
        self.headers.last().or_else(|| self.blocks.last().map(|block| &block.header))
    }

    /// All its headers, upwards.
    pub fn all_headers(&self) -> impl Iterator<Item = &Header> {
        self.blocks.iter().map(|block| &block.header).chain(&self.headers)
    }

    /// Their ids. Each is a hash: whoever needs them more than once keeps them.
    pub fn ids(&self) -> Vec<BlockId> {
        self.all_headers().map(Header::id).collect()
    }
}

impl Stateless for FinalChain {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        if self.headers.len() > limits::HEADERS_BETWEEN_MAX {
            let count = self.headers.len();
            return Err(Fault::TooMany {
                what: "headers of a chain",
                count,
                max: limits::HEADERS_BETWEEN_MAX,
            });
        }
        self.blocks.iter().try_for_each(|block| block.inspect(sheet))?;
        self.certificate.inspect(sheet)
    }
}
