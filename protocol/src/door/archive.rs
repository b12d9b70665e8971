//! Blocks that were removed elsewhere: kept by whoever is told to, and served by height (SPEC 9.21).
//!
//! A core has no disk, and an archive does not fit its memory: it asks its host for a piece, and goes on when that has come.

use std::sync::Arc;

use super::core::Core;
use super::effects::{Effects, Lookup};
use super::input::Error;
use super::message::{Message, Standing};
use super::record::{Record, Table};
use crate::encoding::decode;
use crate::following::{Chain, Proof};
use crate::identity::PublicKey;
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{Block, BlockId, FinalChain};

impl Core {
    /// Asks the host for what follows `height`, if this node keeps an archive. False if it keeps none.
    pub(super) fn look_up(&self, to: PublicKey, height: u64, effects: &mut Effects) -> bool {
        if self.archive {
            effects.look_up(Lookup { to, height });
        }
        self.archive
    }

    /// The host found this.
    pub(super) fn looked_up(
        &mut self,
        to: PublicKey,
        height: u64,
        records: &[Arc<[u8]>],
        effects: &mut Effects,
    ) -> Result<(), Error> {
        // Reading costs, too, whether or not there is an answer in it, or anybody to have it.
        self.rations.gave_back(to, limits::ARCHIVE_ANSWER_BYTES_MAX);
        if !loosened(Bug::ArchiveUnrationed) {
            self.rations.sent(to, records.iter().map(|record| record.len()).sum(), self.now);
        }
        if !self.connected.contains(&to) || self.standing_of(&to) < Standing::Suspended {
            return Err(Error::Untimely("whoever asked is not there any more"));
        }
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let message = match run_above(height, records, self.genesis()) {
            Some(run) => Message::Final(Arc::new(run)),
            None => Message::Head { charter: chain.state().charter_id(), tip: chain.tip().map(Box::new) },
        };
        effects.send(to, Arc::new(message));
        Ok(())
    }

    pub(super) fn keep_in_the_archive(&self, key: &[u8], value: &Arc<[u8]>, effects: &mut Effects) {
        if self.archive {
            let (key, value) = (key.to_vec(), Some(Arc::clone(value)));
            effects.persist(Record { table: Table::Archive, key, value });
        }
    }

    /// What a recovery drops of `old`, above `height`, is no part of the log any more.
    pub(super) fn drop_from_the_archive(&self, old: &Chain, height: u64, effects: &mut Effects) {
        let tail = old.recent_blocks().filter(|_| self.archive);
        for dropped in tail.map(|held| held.block.header.height).take_while(|dropped| *dropped > height) {
            let key = dropped.to_be_bytes().to_vec();
            effects.persist(Record { table: Table::Archive, key, value: None });
        }
    }

    /// The block that every log of this domain begins with, as far as it is known here.
    pub fn genesis(&self) -> Option<BlockId> {
        self.charters.as_deref()?.of_epoch(1)?.since.map(|(_, id)| id)
    }
}

/// The block in a record of the archive; none if it is none.
pub fn archived_block(record: &[u8]) -> Option<Arc<Block>> {
    stored(record).map(|(block, _)| block)
}

fn stored(record: &[u8]) -> Option<(Arc<Block>, Option<Proof>)> {
    decode("a block of the archive", record, limits::MESSAGE_BYTES_MAX).ok()
}

/// What follows `height` of these records, of which the first may be of a block up to there: as much as fits an answer and is of one
/// epoch, up to a block with a proof. None if it does not follow without a gap.
fn run_above(height: u64, records: &[Arc<[u8]>], genesis: Option<BlockId>) -> Option<FinalChain> {
    let mut before = genesis;
    let mut run: Vec<Arc<Block>> = Vec::new();
    let mut bytes = 0;
    let mut proven: Option<(usize, Proof)> = None;
    for record in records {
        let (block, proof) = stored(record)?;
        if block.header.height <= height {
            before = Some(block.id());
            continue;
        }
        bytes += record.len();
        let fits = proven.is_none() && bytes <= limits::ARCHIVE_ANSWER_BYTES_MAX
            || bytes <= limits::FOLLOW_ANSWER_BYTES_MAX;
        // No further than the end of an epoch (SPEC 9.11); and a recovery comes alone.
        let goes_on = run.first().is_none_or(|first| {
            first.header.epoch == block.header.epoch && !first.recovers() && !block.recovers()
        });
        let follows = Some(block.header.previous) == before || loosened(Bug::ArchiveWithGaps);
        if !fits || !goes_on || !follows {
            break;
        }
        before = Some(block.id());
        run.push(block);
        if let Some(proof) = proof {
            proven = Some((run.len(), proof));
        }
    }
    let (len, Proof { headers, certificate }) = proven?;
    run.truncate(len);
    Some(FinalChain { blocks: run, headers, certificate })
}
