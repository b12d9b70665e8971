//! Where the pure and costly functions of the state are computed: injected, so that a simulator can share their results.

use std::sync::Arc;

use super::chain::Proof;
use crate::encoding::{encode, encoded_len};
use crate::fault::Fault;
use crate::identity::Verified;
use crate::state::{Block, BlockId, Charter, DomainId, FinalChain, Header, Parent, SnapshotChunk, State};

/// The costly pure functions. An implementation may remember results, and must return what the default would.
pub trait Workshop: Send + Sync {
    /// [`State::execute`].
    ///
    /// # Errors
    /// As there.
    fn execute(
        &self,
        state: &State,
        parent: Parent<'_>,
        block: &Verified<Arc<Block>>,
    ) -> Result<State, Fault> {
        state.execute(parent, block)
    }

    /// [`State::founded_by`].
    ///
    /// # Errors
    /// As there.
    fn genesis(&self, charter: &Charter) -> Result<(State, Header), Fault> {
        State::founded_by(charter)
    }

    /// [`State::restore`].
    ///
    /// # Errors
    /// As there.
    fn restore(&self, domain: DomainId, tip: &Header, chunks: &[Arc<SnapshotChunk>]) -> Result<State, Fault> {
        State::restore(domain, tip, chunks)
    }

    /// Why the blocks of `chain` are final, to be kept beside them. Whoever takes the same chain can keep the same proof.
    fn proof(&self, chain: &Arc<FinalChain>) -> Arc<Proof> {
        Arc::new(Proof { headers: chain.headers.clone(), certificate: chain.certificate.clone() })
    }

    /// [`FinalChain::ids`].
    fn ids(&self, chain: &Arc<FinalChain>) -> Arc<[BlockId]> {
        chain.ids().into()
    }

    /// How many encoded bytes `block` has.
    fn block_bytes(&self, block: &Arc<Block>) -> usize {
        encoded_len(&**block)
    }

    /// A final block as it is stored, with its proof if it has one of its own.
    fn final_record(&self, block: &Arc<Block>, proof: Option<&Arc<Proof>>) -> Arc<[u8]> {
        encode(&(&**block, proof.map(|proof| &**proof))).into()
    }

    /// [`State::snapshot`].
    fn snapshot(&self, state: &State, tip: Option<Box<FinalChain>>) -> Vec<Arc<SnapshotChunk>> {
        state.snapshot(tip).into_iter().map(Arc::new).collect()
    }

    /// [`State::lean_snapshot`].
    fn lean_snapshot(&self, state: &State, tip: Option<Box<FinalChain>>) -> Vec<Arc<SnapshotChunk>> {
        state.lean_snapshot(tip).into_iter().map(Arc::new).collect()
    }

    /// A part of a snapshot as it is stored.
    fn chunk_record(&self, chunk: &Arc<SnapshotChunk>) -> Arc<[u8]> {
        encode(&**chunk).into()
    }
}

/// Computes each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainWorkshop;

impl Workshop for PlainWorkshop {}
