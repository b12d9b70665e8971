//! What an endorser must not forget (SPEC 8.9, 8.14): its seat, its ballots, the certificates that it saw, the blocks that it voted for.
//!
//! Blocks are here since a certificate proves that a block is final and does not hold it: if all who voted lost power at once, a
//! final block could be gone for ever.

use serde::{Deserialize, Serialize};

use super::ballot::{BallotKind, Certificate, Vote};
use crate::state::DomainId;

/// One record of the journal. Discriminants are stored format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JournalRecord<B, V, P> {
    /// Written when the seat is taken, and never removed: a journal without it is not this seat's.
    Seat {
        /// In which domain.
        domain: DomainId,
        /// In which epoch.
        epoch: u64,
        /// Which voter.
        voter: V,
    },
    /// The journal was found to be lost. Never removed: a voting key that may have signed more than is known signs nothing again.
    Lost {
        /// How it showed.
        why: String,
    },
    /// A block that a ballot of ours names.
    Block {
        /// In which iteration.
        iteration: u64,
        /// The block.
        block: B,
    },
    /// A certificate that was formed or learnt.
    Certificate(Certificate<V, P>),
    /// Our own ballot.
    Ballot(Vote<V, P>),
}

/// Where a record lies. Ordered by iteration, so that what is settled is one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JournalKey {
    /// Zero for what is never removed.
    pub iteration: u64,
    /// What.
    pub slot: Slot,
}

/// What a key holds. Discriminants are stored format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// The seat.
    Seat,
    /// The loss of the journal.
    Lost,
    /// A block.
    Block,
    /// A certificate of such ballots.
    Certificate(BallotKind),
    /// Our own ballot.
    Ballot(BallotKind),
}

impl JournalKey {
    /// The key as bytes, which sort as the key does.
    pub fn to_bytes(self) -> [u8; 10] {
        let (slot, kind) = match self.slot {
            Slot::Seat => (0, 0),
            Slot::Lost => (1, 0),
            Slot::Block => (2, 0),
            Slot::Certificate(kind) => (3, kind as u8),
            Slot::Ballot(kind) => (4, kind as u8),
        };
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.iteration.to_be_bytes());
        bytes[8..].copy_from_slice(&[slot, kind]);
        bytes
    }
}

impl<B, V, P> JournalRecord<B, V, P> {
    /// Where it lies.
    pub fn key(&self) -> JournalKey {
        let (iteration, slot) = match self {
            JournalRecord::Seat { .. } => (0, Slot::Seat),
            JournalRecord::Lost { .. } => (0, Slot::Lost),
            JournalRecord::Block { iteration, block: _ } => (*iteration, Slot::Block),
            JournalRecord::Certificate(certificate) => {
                (certificate.ballot.iteration, Slot::Certificate(certificate.ballot.kind))
            }
            JournalRecord::Ballot(vote) => (vote.ballot.iteration, Slot::Ballot(vote.ballot.kind)),
        };
        JournalKey { iteration, slot }
    }
}

/// What an endorser starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journal<B, V, P> {
    /// The seat is being taken now, and no journal was ever written: only whoever founds or joins the epoch may say so. The first
    /// outputs create it.
    Fresh,
    /// The records as they were stored.
    Intact(Vec<JournalRecord<B, V, P>>),
    /// It is known to be missing, damaged or restored.
    Lost(String),
}
