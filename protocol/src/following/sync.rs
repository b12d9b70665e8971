//! Asking others for what we lack: what follows our head, or a whole snapshot (SPEC 9.3, 9.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::PublicKey;
use crate::limits;
use crate::state::{BlockId, Header, SnapshotChunk};
use crate::time::Timestamp;

/// When to ask whom what follows our head. Silence is the rule: every final block that comes by itself puts the question off.
#[derive(Clone, Debug)]
pub struct Follower {
    period_ms: u64,
    due: Timestamp,
    /// The question that is open, until when no other is asked because of a gap.
    open_until: Option<Timestamp>,
}

impl Follower {
    /// Asks first after `first_ms`, then when nothing final came for `period_ms`.
    pub fn new(now: Timestamp, first_ms: u64, period_ms: u64) -> Follower {
        Follower { period_ms, due: now.plus(first_ms), open_until: None }
    }

    /// When the next question is due.
    pub fn deadline(&self) -> Timestamp {
        self.due
    }

    /// Something final came: the next question can wait; `jitter_ms` keeps nodes from asking all at once.
    pub fn satisfied(&mut self, now: Timestamp, jitter_ms: u64) {
        self.due = now.plus(self.period_ms + jitter_ms);
        self.open_until = None;
    }

    /// Whether the timer says to ask now; if so, it is set anew.
    pub fn is_due(&mut self, now: Timestamp, jitter_ms: u64) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now.plus(self.period_ms + jitter_ms);
        self.open_until = Some(now.plus(self.patience_ms()));
        true
    }

    /// A gap showed: whether to ask at once. Not while a question is open, or gossip of every block would ask anew.
    pub fn gap(&mut self, now: Timestamp) -> bool {
        if self.open_until.is_some_and(|until| now < until) {
            return false;
        }
        self.open_until = Some(now.plus(self.patience_ms()));
        true
    }

    /// The open question was answered.
    pub fn answered(&mut self) {
        self.open_until = None;
    }

    fn patience_ms(&self) -> u64 {
        (self.period_ms / 4).clamp(1, 2_000)
    }
}

/// A snapshot that is being fetched, chunk by chunk, from one peer at a time.
#[derive(Clone, Debug)]
pub struct SnapshotFetch {
    from: PublicKey,
    lean: bool,
    head: BlockId,
    of: u32,
    chunks: BTreeMap<u32, Arc<SnapshotChunk>>,
    bytes: usize,
    begun: Timestamp,
    retry: Timestamp,
}

/// What a chunk did to a fetch.
#[derive(Debug)]
pub enum Fetched {
    /// It is no part of what was asked for.
    Useless,
    /// Ask for this one next.
    Next {
        /// Under which head.
        head: BlockId,
        /// Which part.
        chunk: u32,
    },
    /// All are here, in order, and the header that they are under.
    Whole(Box<Header>, Vec<Arc<SnapshotChunk>>),
}

impl SnapshotFetch {
    /// A fetch from `from`, of a lean snapshot if it may be one; ask it for chunk 0 of its newest.
    pub fn new(from: PublicKey, lean: bool, now: Timestamp, patience_ms: u64) -> SnapshotFetch {
        SnapshotFetch {
            from,
            lean,
            head: BlockId::NONE,
            of: 0,
            chunks: BTreeMap::new(),
            bytes: 0,
            begun: now,
            retry: now.plus(patience_ms),
        }
    }

    /// Whom it is fetched from.
    pub fn from(&self) -> PublicKey {
        self.from
    }

    /// Whether a lean one will do.
    pub fn lean(&self) -> bool {
        self.lean
    }

    /// When to give up on that peer.
    pub fn deadline(&self) -> Timestamp {
        self.retry
    }

    /// Takes a chunk that is under `header`, which the caller has found to be final.
    pub fn take(
        &mut self,
        from: PublicKey,
        header: &Header,
        chunk: &Arc<SnapshotChunk>,
        now: Timestamp,
        patience_ms: u64,
    ) -> Fetched {
        let head = header.id();
        let expected = self.chunks.len() as u32;
        let first = expected == 0;
        let fits = first || (head == self.head && chunk.of == self.of);
        let bytes = self.bytes + chunk.items.iter().map(|item| item.value.len()).sum::<usize>();
        if from != self.from
            || !fits
            || chunk.index != expected
            || chunk.index >= chunk.of
            || chunk.of as usize > limits::SNAPSHOT_CHUNKS_MAX
            || bytes > limits::SNAPSHOT_BYTES_MAX
        {
            return Fetched::Useless;
        }
        (self.head, self.of) = (head, chunk.of);
        self.bytes = bytes;
        // Slow is as bad as silent: crumbs shall not keep us from asking another.
        let whole = self.begun.plus(patience_ms + self.bytes as u64 / limits::SNAPSHOT_BYTES_PER_MS_MIN);
        self.retry = now.plus(patience_ms).min(whole);
        self.chunks.insert(chunk.index, Arc::clone(chunk));
        if self.chunks.len() as u32 == self.of {
            return Fetched::Whole(Box::new(header.clone()), self.chunks.values().cloned().collect());
        }
        Fetched::Next { head, chunk: expected + 1 }
    }
}
