//! Transitions computed once: nodes that execute the same block on the same state share the result, which is immutable.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use frith_protocol::encoding::{Hash, Label, digest_of};
use frith_protocol::fault::Fault;
use frith_protocol::following::{PlainWorkshop, Proof, Workshop};
use frith_protocol::identity::Verified;
use frith_protocol::state::{Block, BlockId, FinalChain, Founded, Header, Parent, SnapshotChunk, State};

use serde::Serialize;

use super::check::Lookup;

/// The state and header of a genesis block, or why there is none.
type Beginning = Result<(State, Header), Fault>;

/// How many results are kept: far more than nodes can be apart.
const KEPT: usize = 4_096;

/// The state (by its newest block with entries), the parent if it is known, and the block's whole body. Never the block's id alone: two
/// bodies of one id may differ in their endorsements (SPEC 6.9).
type Step = (BlockId, BlockId, Hash);

/// Something that many nodes hold one copy of, known by where it lies. It is held here, so that nothing else can come to lie there.
struct Seen<T> {
    by_place: Lookup<usize, (Arc<T>, Hash)>,
    order: VecDeque<usize>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen { by_place: Lookup::default(), order: VecDeque::new() }
    }
}

impl<T: Serialize> Seen<T> {
    /// The digest of all of `value`.
    fn digest(&mut self, value: &Arc<T>) -> Hash {
        let place = Arc::as_ptr(value) as usize;
        if let Some((_, digest)) = self.by_place.get(&place) {
            return *digest;
        }
        let digest = digest_of(Label::Record, &**value);
        self.by_place.insert(place, (Arc::clone(value), digest));
        self.order.push_back(place);
        if self.order.len() > KEPT {
            let oldest = self.order.pop_front().expect("it is not empty");
            self.by_place.remove(&oldest);
        }
        digest
    }
}

/// Results by what they are of.
struct Shelf<K>(Lookup<K, Result<State, Fault>>, VecDeque<K>);

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Shelf(Lookup::default(), VecDeque::new())
    }
}

impl<K: Eq + std::hash::Hash + Copy> Shelf<K> {
    fn put(&mut self, key: K, result: &Result<State, Fault>) {
        self.0.insert(key, result.clone());
        self.1.push_back(key);
        if self.1.len() > KEPT {
            let oldest = self.1.pop_front().expect("it is not empty");
            self.0.remove(&oldest);
        }
    }
}

#[derive(Default)]
struct Shelves {
    blocks: Seen<Block>,
    chunks: Seen<SnapshotChunk>,
    steps: Shelf<Step>,
    snapshots: Shelf<Hash>,
    last_parent: Option<(Header, BlockId)>,
    genesis: Option<(Verified<Founded>, Beginning)>,
    /// Proofs by the chain that they are of, which is held here so that no other can come to lie in its place.
    proofs: Lookup<usize, (Arc<FinalChain>, Arc<Proof>)>,
    proof_order: VecDeque<usize>,
    asked: u64,
    computed: u64,
}

impl Shelves {
    /// The id of `header`: mostly the same as a moment ago.
    fn id_of(&mut self, header: &Header) -> BlockId {
        match &self.last_parent {
            Some((same, id)) if same == header => *id,
            Some(_) | None => {
                let id = header.id();
                self.last_parent = Some((header.clone(), id));
                id
            }
        }
    }
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
        if block.entries.is_empty() {
            // Cheaper than looking it up.
            return state.execute(parent, block);
        }
        let mut shelves = self.shelves();
        shelves.asked += 1;
        let known = match parent {
            Parent::Known(header) => shelves.id_of(header),
            Parent::Skipped => BlockId::NONE,
        };
        let key = (state.last_id(), known, shelves.blocks.digest(block));
        if let Some(result) = shelves.steps.0.get(&key) {
            return result.clone();
        }
        let result = state.execute(parent, block);
        shelves.computed += 1;
        shelves.steps.put(key, &result);
        result
    }

    fn genesis(&self, founded: &Verified<Founded>) -> Result<(State, Header), Fault> {
        let mut shelves = self.shelves();
        if let Some((same, result)) = &shelves.genesis
            && same == founded
        {
            return result.clone();
        }
        let result = State::genesis(founded);
        shelves.genesis = Some((founded.clone(), result.clone()));
        result
    }

    fn proof(&self, chain: &Arc<FinalChain>) -> Arc<Proof> {
        let mut shelves = self.shelves();
        let place = Arc::as_ptr(chain) as usize;
        if let Some((_, proof)) = shelves.proofs.get(&place) {
            return Arc::clone(proof);
        }
        let proof = PlainWorkshop.proof(chain);
        shelves.proofs.insert(place, (Arc::clone(chain), Arc::clone(&proof)));
        shelves.proof_order.push_back(place);
        if shelves.proof_order.len() > KEPT {
            let oldest = shelves.proof_order.pop_front().expect("it is not empty");
            shelves.proofs.remove(&oldest);
        }
        proof
    }

    fn restore(
        &self,
        founded: &Verified<Founded>,
        tip: &Header,
        chunks: &[Arc<SnapshotChunk>],
    ) -> Result<State, Fault> {
        let mut shelves = self.shelves();
        let parts: Vec<Hash> = chunks.iter().map(|chunk| shelves.chunks.digest(chunk)).collect();
        let key = digest_of(Label::Record, &(founded.domain(), tip, parts));
        if let Some(result) = shelves.snapshots.0.get(&key) {
            return result.clone();
        }
        let result = State::restore(founded, tip, chunks);
        shelves.snapshots.put(key, &result);
        result
    }
}
