//! The log, as far as this node has it: what its core holds, and before that what its archive keeps (SPEC 9.20, 9.21).
//!
//! Blocks with entries are a chain of their own: each names the one before. So what is missing between two of them shows.
//! **Invariant:** nobody is shown a part of the log as if it were the whole.

use std::sync::Arc;

use frith_protocol::door::archived_block;
use frith_protocol::following::Chain;
use frith_protocol::limits::ARCHIVE_ANSWER_BYTES_MAX;
use frith_protocol::state::{Block, BlockId, Header};

use super::explain::{block_view, state_of};
use super::host::Host;
use crate::control::views::{Heights, LogItem};
use crate::control::{PAGE_MAX, Refusal, Since};
use crate::store::StoreError;

/// A part of the log on its way into an answer.
struct Page {
    items: Vec<LogItem>,
    blocks: usize,
    weight: usize,
    limit: usize,
}

impl Page {
    fn new(limit: usize) -> Page {
        Page { items: Vec::new(), blocks: 0, weight: 0, limit }
    }

    /// Whether there was room for it. There is for one block, whatever it weighs.
    fn takes(&mut self, block: &Block) -> bool {
        self.weight += 1 + block.entries.len();
        let fits = self.blocks < self.limit && (self.blocks == 0 || self.weight <= PAGE_MAX);
        if fits {
            self.blocks += 1;
            self.items.push(LogItem::Block(block_view(block)));
        }
        fits
    }

    /// Nobody need know of a gap beyond what was asked for.
    fn missed(&mut self, above: u64, up_to: u64) {
        if above < up_to && self.blocks < self.limit {
            self.items.push(LogItem::Missed { missed: Heights { above, up_to } });
        }
    }
}

/// Blocks upwards from `above`, up to `whole`, if each follows the one before: `before` is the newest up to `above`, if it is known. `then`
/// is the block before the first that is above `whole`, if nothing else can come before that.
fn upwards(
    page: &mut Page,
    (above, whole): (u64, u64),
    before: Option<BlockId>,
    blocks: &[Arc<Block>],
    then: Option<BlockId>,
) {
    let (mut above, mut before) = (above, before);
    for block in blocks {
        if before != Some(block.header.previous) {
            page.missed(above, block.header.height - 1);
        }
        if !page.takes(block) {
            return;
        }
        (above, before) = (block.header.height, Some(block.id()));
    }
    if let Some(then) = then
        && before != Some(then)
    {
        page.missed(above, whole);
    }
}

/// The same downwards, from below `below`; `before` is the block before the one there, if it is known, and `genesis` the first of all.
fn downwards(
    page: &mut Page,
    below: u64,
    before: Option<BlockId>,
    blocks: &[Arc<Block>],
    genesis: Option<BlockId>,
) {
    let (mut below, mut before) = (below, before);
    for block in blocks {
        if before.is_some_and(|before| before != block.id()) {
            page.missed(block.header.height, below - 1);
        }
        if !page.takes(block) {
            return;
        }
        (below, before) = (block.header.height, Some(block.header.previous));
    }
    if blocks.is_empty() && (before.is_none() || before != genesis) {
        page.missed(0, below.saturating_sub(1));
    }
}

impl Host {
    /// Newest first, or oldest first of those after `since`: a page of them, which has one block at least if there is one.
    pub(super) fn log(
        &self,
        below: Option<u64>,
        since: Option<Since>,
        limit: usize,
    ) -> Result<Vec<LogItem>, Refusal> {
        state_of(self.core())?;
        let Some(chain) = self.core().chain() else { return Ok(Vec::new()) };
        let mut page = Page::new(limit);
        let told = match since {
            Some(since) => self.log_upwards(&mut page, chain, below, since),
            None => self.log_downwards(&mut page, chain, below.unwrap_or(u64::MAX)),
        };
        told.map_err(|error| Refusal::refused(error.to_string()))?;
        Ok(page.items)
    }

    fn log_upwards(
        &self,
        page: &mut Page,
        chain: &Chain,
        below: Option<u64>,
        since: Since,
    ) -> Result<(), StoreError> {
        let (whole, _) = chain.whole_from();
        let above = self.height_of(chain, since)?;
        let in_time = |block: &Block| below.is_none_or(|below| block.header.height < below);
        let newest_first: Vec<&Block> = chain.recent_blocks().map(|held| -> &Block { &held.block }).collect();
        if above < whole {
            let archived = self.archived(above)?;
            let older = archived.iter().take_while(|block| block.header.height <= above).last();
            let before = older.map(|block| block.id()).or(self.core().genesis());
            let is_older = |block: &&Arc<Block>| (above + 1..=whole).contains(&block.header.height);
            let blocks: Vec<Arc<Block>> = archived.iter().filter(is_older).cloned().collect();
            // The archive may go on beyond this answer: then the next one shows whether it does without a gap.
            let then = newest_first.last().map_or(chain.state().last_id(), |block| block.header.previous);
            let then = blocks.is_empty().then_some(then);
            let up_to = below.map_or(whole, |below| whole.min(below.saturating_sub(1)));
            let blocks: Vec<Arc<Block>> = blocks.into_iter().take_while(|block| in_time(block)).collect();
            upwards(page, (above, up_to), before, &blocks, then);
            if then.is_none() {
                return Ok(());
            }
        }
        let above = above.max(whole);
        let mut blocks = newest_first.into_iter().rev().filter(|block| block.header.height > above);
        blocks.by_ref().take_while(|block| in_time(block) && page.takes(block)).for_each(drop);
        Ok(())
    }

    fn log_downwards(&self, page: &mut Page, chain: &Chain, below: u64) -> Result<(), StoreError> {
        let (whole, _) = chain.whole_from();
        let newest_first = chain.recent_blocks().map(|held| -> &Block { &held.block });
        let mut held = newest_first.filter(|block| block.header.height < below).peekable();
        if held.peek().is_some() {
            held.take_while(|block| page.takes(block)).for_each(drop);
            return Ok(());
        }
        if whole == 0 || below <= 1 {
            return Ok(());
        }
        // Of whatever stands there the block says what is before it.
        let there = || -> Option<Header> {
            let archived = || self.archived_down(below, 0).ok()?.into_iter().next();
            let block = chain.held(below).map(|held| Arc::clone(&held.block)).or_else(archived)?;
            (block.header.height == below).then(|| block.header.clone())
        };
        let before = if below > chain.state().last().height {
            Some(chain.state().last_id())
        } else {
            there().map(|header| header.previous)
        };
        let genesis = self.core().genesis();
        if before.is_some() && before == genesis {
            return Ok(());
        }
        let below = below.min(whole.saturating_add(1));
        let archived = self.archived_down(below - 1, ARCHIVE_ANSWER_BYTES_MAX)?;
        downwards(page, below, before, &archived, genesis);
        Ok(())
    }

    /// Up to which height all was before `since`; lower, if that is not known.
    fn height_of(&self, chain: &Chain, since: Since) -> Result<u64, StoreError> {
        let time = match since {
            Since::Height(height) => return Ok(height),
            Since::Time(time) => time,
        };
        let (whole, whole_since) = chain.whole_from();
        if time >= whole_since {
            let before = chain.recent_blocks().find(|held| held.block.header.time <= time);
            return Ok(before.map_or(whole, |held| held.block.header.height));
        }
        // Times rise with heights: what is sought is the newest of the archive up to there, and no higher than `at_most`.
        let (mut sought, mut looked_at, mut at_most) = (0, 0, whole);
        while looked_at < at_most {
            let middle = looked_at + (at_most - looked_at).div_ceil(2);
            match self.archived_down(middle, 0)?.first() {
                Some(block) if block.header.time > time => at_most = block.header.height.saturating_sub(1),
                Some(block) => (sought, looked_at) = (block.header.height, middle),
                None => looked_at = middle,
            }
        }
        Ok(sought)
    }

    /// What the archive has from the newest block up to `height` on; nothing, if there is none.
    fn archived(&self, height: u64) -> Result<Vec<Arc<Block>>, StoreError> {
        let records = tokio::task::block_in_place(|| self.store.archived(height))?;
        Ok(records.iter().map_while(|record| archived_block(record)).collect())
    }

    fn archived_down(&self, height: u64, most: usize) -> Result<Vec<Arc<Block>>, StoreError> {
        let records = tokio::task::block_in_place(|| self.store.archived_down(height, most))?;
        Ok(records.iter().map_while(|record| archived_block(record)).collect())
    }
}
