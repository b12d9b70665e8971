//! Transitions computed once: nodes that execute the same block on the same state share the result, which is immutable.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use frith_protocol::encoding::{Hash, Label, digest_of, encoded_len};
use frith_protocol::fault::Fault;
use frith_protocol::following::{PlainWorkshop, Proof, Workshop};
use frith_protocol::identity::Verified;
use frith_protocol::state::{
    Block, BlockId, Charter, DomainId, FinalChain, Header, Parent, SnapshotChunk, State,
};

use serde::Serialize;

use super::check::Lookup;

/// The state and header of a genesis block, or why there is none.
type Beginning = Result<(State, Header), Fault>;

/// How many results are kept: far more than nodes can be apart.
const KEPT: usize = 4_096;
/// How many parts of snapshots: they are large, and newcomers take the newest.
const CHUNKS_KEPT: usize = 64;
/// How many whole ones: nodes write down the newest at about the same time, under as many certificates as there are endorsers.
const MADE_KEPT: usize = 16;

/// The state (by its newest block with entries), the parent if it is known, and the block's whole body. Never the block's id alone: two
/// bodies of one id may differ in their endorsements (SPEC 6.9).
type Step = (BlockId, BlockId, Hash);

/// A final block, and its proof if it has one of its own.
type Proven = (Arc<Block>, Option<Arc<Proof>>);

/// A record as it is stored.
type Stored = Arc<[u8]>;

/// The newest results, by what they are of.
struct Shelf<K, V, const MOST: usize = KEPT> {
    by_key: Lookup<K, V>,
    order: VecDeque<K>,
}

impl<K, V, const MOST: usize> Default for Shelf<K, V, MOST> {
    fn default() -> Self {
        Shelf { by_key: Lookup::default(), order: VecDeque::new() }
    }
}

impl<K: Eq + std::hash::Hash + Copy, V: Clone, const MOST: usize> Shelf<K, V, MOST> {
    fn get(&self, key: &K) -> Option<&V> {
        self.by_key.get(key)
    }

    /// What is there, or else what `make` makes.
    fn get_or(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(known) = self.by_key.get(&key) {
            return known.clone();
        }
        let made = make();
        self.put(key, made.clone());
        made
    }

    fn put(&mut self, key: K, value: V) {
        self.by_key.insert(key, value);
        self.order.push_back(key);
        if self.order.len() > MOST {
            let oldest = self.order.pop_front().expect("it is not empty");
            self.by_key.remove(&oldest);
        }
    }
}

/// Where something lies that many nodes hold one copy of. It is a key of what is computed from it, beside which it is held: so nothing
/// else can come to lie there.
fn place<T>(of: &Arc<T>) -> usize {
    Arc::as_ptr(of) as usize
}

/// The digest of all of a value, and how many bytes that has.
#[derive(Clone, Copy)]
struct Measure {
    digest: Hash,
    bytes: usize,
}

fn measure<T: Serialize, const MOST: usize>(
    shelf: &mut Shelf<usize, (Arc<T>, Measure), MOST>,
    value: &Arc<T>,
) -> Measure {
    let make = || {
        let (digest, bytes) = (digest_of(Label::Record, &**value), encoded_len(&**value));
        (Arc::clone(value), Measure { digest, bytes })
    };
    shelf.get_or(place(value), make).1
}

#[derive(Default)]
struct Shelves {
    blocks: Shelf<usize, (Arc<Block>, Measure)>,
    chunks: Shelf<usize, (Arc<SnapshotChunk>, Measure), CHUNKS_KEPT>,
    steps: Shelf<Step, Result<State, Fault>>,
    snapshots: Shelf<Hash, Result<State, Fault>>,
    genesis: Option<(Charter, Beginning)>,
    proofs: Shelf<usize, (Arc<FinalChain>, Arc<Proof>)>,
    ids: Shelf<usize, (Arc<FinalChain>, Arc<[BlockId]>)>,
    final_records: Shelf<(usize, usize), (Proven, Stored)>,
    made: Shelf<(BlockId, Hash), Vec<Arc<SnapshotChunk>>, MADE_KEPT>,
    chunk_records: Shelf<usize, (Arc<SnapshotChunk>, Stored), CHUNKS_KEPT>,
    asked: u64,
    computed: u64,
}

/// Remembers each transition and each restored snapshot.
#[derive(Default)]
pub(super) struct SharedWorkshop(Mutex<Shelves>);

impl SharedWorkshop {
    /// How many transitions were asked for, and how many were computed.
    pub(super) fn asked_and_computed(&self) -> (u64, u64) {
        let shelves = self.shelves();
        (shelves.asked, shelves.computed)
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().expect("no transition panics")
    }
}

impl Workshop for SharedWorkshop {
    fn execute(
        &self,
        state: &State,
        parent: Parent<'_>,
        block: &Verified<Arc<Block>>,
    ) -> Result<State, Fault> {
        if block.entries.is_empty() || !state.is_whole() {
            // Cheaper than looking it up; and what one holds in part (SPEC 7.5) is not what another does.
            return state.execute(parent, block);
        }
        let mut shelves = self.shelves();
        shelves.asked += 1;
        let known = match parent {
            Parent::Known { id, header: _ } => id,
            Parent::Skipped => BlockId::NONE,
        };
        let key = (state.last_id(), known, measure(&mut shelves.blocks, block).digest);
        if let Some(result) = shelves.steps.get(&key) {
            return result.clone();
        }
        let result = state.execute(parent, block);
        shelves.computed += 1;
        shelves.steps.put(key, result.clone());
        result
    }

    fn genesis(&self, charter: &Charter) -> Result<(State, Header), Fault> {
        let mut shelves = self.shelves();
        if let Some((same, result)) = &shelves.genesis
            && same == charter
        {
            return result.clone();
        }
        let result = State::founded_by(charter);
        shelves.genesis = Some((charter.clone(), result.clone()));
        result
    }

    fn proof(&self, chain: &Arc<FinalChain>) -> Arc<Proof> {
        let make = || (Arc::clone(chain), PlainWorkshop.proof(chain));
        self.shelves().proofs.get_or(place(chain), make).1
    }

    fn ids(&self, chain: &Arc<FinalChain>) -> Arc<[BlockId]> {
        let make = || (Arc::clone(chain), PlainWorkshop.ids(chain));
        self.shelves().ids.get_or(place(chain), make).1
    }

    fn block_bytes(&self, block: &Arc<Block>) -> usize {
        measure(&mut self.shelves().blocks, block).bytes
    }

    fn final_record(&self, block: &Arc<Block>, proof: Option<&Arc<Proof>>) -> Arc<[u8]> {
        let make = || ((Arc::clone(block), proof.cloned()), PlainWorkshop.final_record(block, proof));
        self.shelves().final_records.get_or((place(block), proof.map_or(0, place)), make).1
    }

    fn snapshot(&self, state: &State, tip: Option<Box<FinalChain>>) -> Vec<Arc<SnapshotChunk>> {
        if !state.is_whole() {
            return PlainWorkshop.snapshot(state, tip);
        }
        let key = (state.last_id(), digest_of(Label::Record, &tip));
        self.shelves().made.get_or(key, || PlainWorkshop.snapshot(state, tip))
    }

    fn chunk_record(&self, chunk: &Arc<SnapshotChunk>) -> Arc<[u8]> {
        let make = || (Arc::clone(chunk), PlainWorkshop.chunk_record(chunk));
        self.shelves().chunk_records.get_or(place(chunk), make).1
    }

    fn restore(&self, domain: DomainId, tip: &Header, chunks: &[Arc<SnapshotChunk>]) -> Result<State, Fault> {
        let mut shelves = self.shelves();
        let parts: Vec<Hash> =
            chunks.iter().map(|chunk| measure(&mut shelves.chunks, chunk).digest).collect();
        let key = digest_of(Label::Record, &(domain, tip, parts));
        if let Some(result) = shelves.snapshots.get(&key) {
            return result.clone();
        }
        let result = State::restore(domain, tip, chunks);
        shelves.snapshots.put(key, result.clone());
        result
    }
}
