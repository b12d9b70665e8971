//! What a core asks its host to keep.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a record lies. Discriminants are stored format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// The first charter that was believed here; a newcomer's application; what must not be forgotten of one's own.
    Meta,
    /// Own ballots, the blocks that they name and the certificates that they stand on (SPEC 8.9). It reaches back some blocks behind the
    /// head, so that `Final` may lose its tail.
    Journal,
    /// Own endorsements (SPEC 5.5).
    Endorsed,
    /// Proposals that wait for operators or for others.
    Proposals,
    /// Entries taken over for a block and not yet in one.
    Waiting,
    /// Final blocks and certificates, by height.
    Final,
    /// The snapshot that the blocks in `Final` go on from.
    Base,
    /// The links from the first charter that was believed here to the newest, by epoch: a verifier goes forward only (SPEC 9.12).
    Charters,
    /// Holds given and received of late: a restart must not free whom they restrain, nor give a slot twice (SPEC 5.24).
    Holds,
    /// Every final block since this node keeps an archive, by height. The core never reads it at its start: it asks for pieces
    /// ([`Lookup`](super::Lookup)).
    Archive,
}

impl Table {
    /// Every table, in the order of their discriminants.
    pub const ALL: [Table; 10] = [
        Table::Meta,
        Table::Journal,
        Table::Endorsed,
        Table::Proposals,
        Table::Waiting,
        Table::Final,
        Table::Base,
        Table::Charters,
        Table::Holds,
        Table::Archive,
    ];

    /// What must have happened to a record of this table before anything that rests on it is sent.
    pub fn durability(self) -> Durability {
        match self {
            Table::Meta
            | Table::Journal
            | Table::Endorsed
            | Table::Proposals
            | Table::Waiting
            | Table::Charters
            | Table::Holds => Durability::Synced,
            Table::Final | Table::Base | Table::Archive => Durability::Restorable,
        }
    }
}

/// How hard a record must be to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Peers can restore it: written in order, synced when convenient, or when [`Unsettled::syncs_all`](super::Unsettled::syncs_all).
    Restorable,
    /// Nobody can: on the disk (`fdatasync`, not just handed to the kernel) before the effects that follow it.
    Synced,
}

/// One change of the store: `value` under `key` in `table`, or nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Where.
    pub table: Table,
    /// Under which key; ordered as bytes.
    pub key: Vec<u8>,
    /// What; `None` removes it. Shared, since a thousand simulated nodes store the same blocks.
    pub value: Option<Arc<[u8]>>,
}
