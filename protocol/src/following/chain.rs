//! The chain as one node holds it: what is final, with the state after it; what may become final; a recent tail to serve from.
//!
//! The same for an endorser and a follower: one learns finality from its own agreement, the other from a [`FinalChain`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agreement::Certificate;
use crate::fault::Fault;
use crate::identity::{PublicKey, Signature, Verified};
use crate::limits;
use crate::state::{Basis, Block, BlockId, Charter, FinalChain, Header, Parent, Place, State};
use crate::time::Timestamp;

use super::Workshop;
mod branches;
mod states;

use super::by_height::ByHeight;
use super::proven::{check_certificate, check_links, check_one_epoch, tip_of};

/// Why a block is final: its own certificate, or a descendant's with the headers between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// From the block's first descendant to the certified one; empty if the certificate is the block's own.
    pub headers: Vec<Header>,
    /// The finality certificate.
    pub certificate: Certificate<PublicKey, Signature>,
}

/// A final block that carries entries.
#[derive(Clone, Debug)]
pub struct Held {
    /// The block.
    pub block: Verified<Arc<Block>>,
    /// Why it is final; none if a later block of the tail says so.
    pub proof: Option<Arc<Proof>>,
    bytes: usize,
}

/// The epoch before the one in force: whose certificates still show a fork (SPEC 9.13).
#[derive(Clone, Debug)]
pub struct Before {
    /// Its charter.
    pub charter: Arc<Charter>,
    /// The height of its last block.
    pub end: u64,
    /// Whether that block recovered the domain: what else is certified in that epoch was dropped, and shows no fork any more.
    pub recovered: bool,
}

/// A block that may become final, with the state after it.
#[derive(Clone, Debug)]
struct Branch {
    block: Verified<Arc<Block>>,
    state: State,
}

/// The log's newest final block and the state after it, with what is needed to go on and to serve others.
#[derive(Clone, Debug)]
pub struct Chain {
    state: State,
    /// The newest final block, for its header: that lies with all others who hold it.
    head: Arc<Block>,
    head_id: BlockId,
    /// Why the head is final; none for genesis.
    proof: Option<Arc<Proof>>,
    /// Blocks that were executed and are not final, by id. All descend from the head.
    branches: BTreeMap<BlockId, Branch>,
    /// A recent tail of final blocks with entries, by height.
    tail: ByHeight<Held>,
    tail_bytes: usize,
    /// Every final block with entries above this height is in the tail.
    tail_from: u64,
    /// The time of the block at that height.
    tail_since: Timestamp,
    /// Recent final blocks that were seen here, heartbeats included: what a basis may name.
    recent: ByHeight<(BlockId, Timestamp)>,
    /// The state that snapshots are served from: the same at every node that holds it, so that several can serve one newcomer.
    checkpoint: Box<Checkpoint>,
    /// States that snapshots were served from before, ascending: what a recovery may go back to.
    older: VecDeque<State>,
    /// The epoch before this one, if it is known here.
    before: Option<Before>,
    /// How many blocks with entries came since; at least `CHECKPOINT_BLOCKS` if a new one is due for another reason.
    since_checkpoint: usize,
    /// How many entries those have.
    entries_since_checkpoint: usize,
}

/// A state to serve snapshots from.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The block after which the state is.
    pub header: Header,
    /// Why it is final; none for genesis.
    pub proof: Option<Arc<Proof>>,
    /// The state.
    pub state: State,
}

/// What taking a [`FinalChain`] changed.
#[derive(Debug, Default)]
pub struct Taken {
    /// The blocks with entries that became final, ascending.
    pub blocks: Vec<Verified<Arc<Block>>>,
    /// Whether the certified block itself was reached; if not, there is more to ask for.
    pub complete: bool,
}

/// Why a [`FinalChain`] was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is wrong, and whoever sent it is to blame.
    Wrong(Fault),
    /// We hold all of it.
    Known,
    /// Blocks are missing between ours and it.
    Gap,
    /// It is of an epoch that we have not reached.
    LaterEpoch,
    /// It is of an epoch so long over that its certificates mean nothing any more (SPEC 9.13).
    Void,
    /// A block of it that is final here has another body here. Nobody is to blame: endorsements are no part of what is certified.
    OtherBody,
    /// It is of a branch that a recovery dropped (SPEC 9.18).
    Dropped {
        /// Its newest block.
        theirs: BlockId,
    },
    /// Two blocks of one height are both certified (SPEC 8.12).
    Forked {
        /// The height.
        height: u64,
        /// Ours.
        ours: BlockId,
        /// Theirs.
        theirs: BlockId,
    },
    /// It is certified, and touches what is not held here (SPEC 7.6): whoever gets the ways there takes it.
    PathsMissing {
        /// To where.
        places: Vec<Place>,
    },
    /// It is certified and does not execute here (SPEC 9.2).
    DoesNotExecute {
        /// The height of the block that does not.
        height: u64,
        /// Why.
        fault: Fault,
    },
}

impl Chain {
    /// A chain that begins at `header`, final by `proof` (none: genesis), with `state` after it. `before`: the epoch before that of the
    /// state's charter.
    pub fn begin(state: State, header: Header, proof: Option<Arc<Proof>>, before: Option<Before>) -> Chain {
        let head_id = header.id();
        let checkpoint = Checkpoint { header: header.clone(), proof: proof.clone(), state: state.clone() };
        let mut recent = ByHeight::default();
        recent.push(header.height, (head_id, header.time));
        Chain {
            state,
            recent,
            tail_from: header.height,
            tail_since: header.time,
            head: Arc::new(Block { header, entries: Vec::new() }),
            head_id,
            proof,
            branches: BTreeMap::new(),
            tail: ByHeight::default(),
            tail_bytes: 0,
            checkpoint: Box::new(checkpoint),
            older: VecDeque::new(),
            before,
            since_checkpoint: 0,
            entries_since_checkpoint: 0,
        }
    }

    /// The state after the newest final block.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The newest final block.
    pub fn head(&self) -> &Header {
        &self.head.header
    }

    /// Its id.
    pub fn head_id(&self) -> BlockId {
        self.head_id
    }

    /// The newest final block as a basis for grants.
    pub fn basis(&self) -> Basis {
        Basis { height: self.head().height, block: self.head_id, time: self.head().time }
    }

    /// The final block at this height as a basis, if it is known here.
    pub fn basis_at(&self, height: u64) -> Option<Basis> {
        self.recent.get(height).map(|(block, time)| Basis { height, block: *block, time: *time })
    }

    /// The state that snapshots are served from.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What the node knows of a basis: `None` if it lies beyond the head, or the block that it names is not known here.
    pub fn knows(&self, basis: &Basis) -> bool {
        self.recent.get(basis.height) == Some(&(basis.block, basis.time))
    }

    /// Whether the final block that is known here at `height` begins with `head`; yes if none is known.
    pub fn agrees(&self, height: u64, head: &[u8; 8]) -> bool {
        self.recent.get(height).is_none_or(|(id, _)| id.0[..8] == *head)
    }

    /// The height of the newest block with entries below `height` that is in the tail.
    pub fn entries_below(&self, height: u64) -> Option<u64> {
        self.tail.range(..height).next_back().map(|(height, _)| height)
    }

    /// The final block with entries at `height`, if the tail goes back to it.
    pub fn held(&self, height: u64) -> Option<&Held> {
        self.tail.get(height)
    }

    /// From where the tail is whole: every final block with entries above this height, and after the time of the block there, is in it.
    pub fn whole_from(&self) -> (u64, Timestamp) {
        (self.tail_from, self.tail_since)
    }

    /// The final blocks with entries that are still at hand, newest first.
    pub fn recent_blocks(&self) -> impl Iterator<Item = &Held> {
        self.tail.range(..).rev().map(|(_, held)| held)
    }

    /// The header and state after `id`, if it is the head or an executed block above it.
    pub fn after(&self, id: &BlockId) -> Option<(&Header, &State)> {
        if *id == self.head_id {
            return Some((self.head(), &self.state));
        }
        self.branches.get(id).map(|branch| (&branch.block.header, &branch.state))
    }

    /// Executes a block on its parent and remembers it. `Ok(false)`: the parent is not here.
    ///
    /// # Errors
    /// The [`Fault`] by which the block, with the body at hand, is void.
    pub fn execute(&mut self, block: &Verified<Arc<Block>>, workshop: &dyn Workshop) -> Result<bool, Fault> {
        let id = block.id();
        if self.branches.contains_key(&id) || id == self.head_id {
            return Ok(true);
        }
        let Some((header, state)) = self.after(&block.header.parent) else { return Ok(false) };
        let parent = Parent::Known { id: block.header.parent, header };
        let state = step(state, parent, block, workshop)?;
        self.branches.insert(id, Branch { block: block.clone(), state });
        Ok(true)
    }

    /// Remembers a block that was built here, with the state that building it gave.
    pub fn remember(&mut self, block: Verified<Arc<Block>>, state: State) {
        self.branches.insert(block.id(), Branch { block, state });
    }

    /// Makes an executed block and its ancestors final. The chain that proves it, for whoever follows; none if the block is not
    /// here or not above the head.
    pub fn finalise(
        &mut self,
        id: BlockId,
        certificate: &Certificate<PublicKey, Signature>,
        workshop: &dyn Workshop,
    ) -> Option<Verified<Arc<FinalChain>>> {
        let mut path = Vec::new();
        let mut at = id;
        while at != self.head_id {
            let branch = self.branches.get(&at)?;
            path.push((at, branch.clone()));
            at = branch.block.header.parent;
        }
        path.reverse();
        let tip = path.last()?.1.block.header.clone();
        let with_entries = path.iter().filter(|(_, branch)| !branch.block.header.is_heartbeat());
        let last_with_entries = with_entries.clone().next_back().map(|(id, _)| *id);
        let blocks: Vec<_> = with_entries.map(|(_, branch)| branch.block.clone()).collect();
        let headers = if tip.is_heartbeat() { vec![tip] } else { Vec::new() };
        let proof = Arc::new(Proof { headers: headers.clone(), certificate: certificate.clone() });
        for (id, branch) in path {
            let proven = last_with_entries == Some(id);
            self.advance(id, &branch.block, branch.state, proven.then(|| Arc::clone(&proof)), workshop);
        }
        self.proof = Some(Arc::new(Proof { headers: Vec::new(), certificate: certificate.clone() }));
        Some(Verified::of_verified_parts(Arc::new(FinalChain {
            blocks: blocks.into_iter().map(Verified::into_inner).collect(),
            headers,
            certificate: certificate.clone(),
        })))
    }

    /// Moves the head on to `block`. Who calls this sets the proof of the head when the last of its blocks is in.
    fn advance(
        &mut self,
        id: BlockId,
        block: &Verified<Arc<Block>>,
        state: State,
        proof: Option<Arc<Proof>>,
        workshop: &dyn Workshop,
    ) {
        let header = &block.header;
        self.head = Arc::clone(block);
        self.head_id = id;
        self.recent.push(header.height, (self.head_id, header.time));
        while self.recent.len() > limits::RECENT_BLOCKS_MAX {
            self.recent.pop_first();
        }
        if state.charter().epoch > self.state.charter().epoch {
            let charter = Arc::new(self.state.charter().clone());
            let recovered = block.recovers();
            self.before = Some(Before { charter, end: header.height, recovered });
        }
        self.state = state;
        if !header.is_heartbeat() {
            let bytes = workshop.block_bytes(block);
            self.tail.push(header.height, Held { block: block.clone(), proof, bytes });
            self.tail_bytes += bytes;
            while self.tail_bytes > limits::TAIL_BYTES_MAX {
                let Some((height, oldest)) = self.tail.pop_first() else { break };
                self.tail_bytes -= oldest.bytes;
                (self.tail_from, self.tail_since) = (height, oldest.block.header.time);
                // Whoever takes the checkpoint goes on from the tail, so the tail must reach back to it.
                if self.checkpoint.header.height < height {
                    self.since_checkpoint = limits::CHECKPOINT_BLOCKS;
                }
            }
            self.since_checkpoint += 1;
            self.entries_since_checkpoint += block.entries.len();
        }
        self.keep_descendants_of_the_head();
    }

    /// What does not descend from the head can never become final.
    fn keep_descendants_of_the_head(&mut self) {
        let (head, height) = (self.head_id, self.head().height);
        let mut kept: BTreeMap<BlockId, Branch> = BTreeMap::new();
        let mut open: Vec<(BlockId, Branch)> = std::mem::take(&mut self.branches)
            .into_iter()
            .filter(|(_, branch)| branch.block.header.height > height)
            .collect();
        open.sort_by_key(|(_, branch)| branch.block.header.height);
        for (id, branch) in open {
            let parent = branch.block.header.parent;
            if parent == head || kept.contains_key(&parent) {
                kept.insert(id, branch);
            }
        }
        self.branches = kept;
    }

    /// Takes a chain that somebody sent: checks its certificate against the charter and its links, executes what is new (SPEC 9.2).
    ///
    /// # Errors
    /// [`NotTaken`] says why not; nothing has changed then.
    pub fn take(
        &mut self,
        chain: &Verified<Arc<FinalChain>>,
        workshop: &dyn Workshop,
    ) -> Result<Taken, NotTaken> {
        let tip =
            chain.tip().ok_or(NotTaken::Wrong(Fault::BadCertificate { why: "it is for no block" }))?.clone();
        let ids = workshop.ids(chain);
        let tip_id = *ids.last().expect("a chain with a tip has its id");
        if chain.certificate.is_of_recovery() && chain.blocks.is_empty() {
            return Err(NotTaken::Wrong(Fault::BadCertificate { why: "a recovery comes with its block" }));
        }
        self.check_epoch(chain, &ids, &tip)?;
        check_certificate(self.state.domain(), self.state.charter(), &chain.certificate, &tip, tip_id)
            .map_err(NotTaken::Wrong)?;
        check_links(chain, &ids).map_err(NotTaken::Wrong)?;
        check_one_epoch(chain).map_err(NotTaken::Wrong)?;
        self.check_fork(chain, &ids)?;
        self.check_known_bodies(chain)?;
        if tip.height <= self.head().height {
            return Err(NotTaken::Known);
        }
        let fresh: Vec<&Arc<Block>> =
            chain.blocks.iter().filter(|block| block.header.height > self.state.last().height).collect();
        let first = fresh.first().map_or(&tip, |block| &block.header);
        if first.previous != self.state.last_id() {
            return Err(NotTaken::Gap);
        }

        let places = self.state.missing_for(fresh.iter().map(|block| &***block));
        if !places.is_empty() {
            // Nobody is asked for what a body touches that is not the block's.
            return Err(match fresh.iter().find(|block| !block.has_its_entries()) {
                Some(block) => NotTaken::Wrong(Fault::WrongHeader {
                    block: block.id(),
                    what: crate::fault::ENTRIES_ROOT,
                }),
                None => NotTaken::PathsMissing { places },
            });
        }

        // Executed first and taken then: a spoilt body must not leave half of its chain behind.
        let mut executed: Vec<(Verified<Arc<Block>>, State)> = Vec::with_capacity(fresh.len());
        for block in &fresh {
            let block = Verified::of_verified_parts(Arc::clone(block));
            let (state, before, id) = match executed.last() {
                // Every block of a chain carries entries: the state after it knows its id.
                Some((before, state)) => (state, &before.header, state.last_id()),
                None => (&self.state, self.head(), self.head_id),
            };
            let parent = if block.header.parent == id {
                Parent::Known { id, header: before }
            } else {
                Parent::Skipped
            };
            let state = step(state, parent, &block, workshop).map_err(|fault| {
                // The header is certified. So either the body is not the one that was voted for, or we and the quorum disagree.
                if let Fault::PathMissing { map, key } = fault {
                    NotTaken::PathsMissing { places: vec![Place { map, key }] }
                } else if fault.is_of_the_body() {
                    NotTaken::Wrong(fault)
                } else {
                    NotTaken::DoesNotExecute { height: block.header.height, fault }
                }
            })?;
            executed.push((block, state));
        }
        let (state, before, id) = match executed.last() {
            Some((before, state)) => (state, &before.header, state.last_id()),
            None => (&self.state, self.head(), self.head_id),
        };
        let beats = tip.height > before.height && tip.is_heartbeat() && tip.previous == state.last_id();
        if beats {
            let parent =
                if tip.parent == id { Parent::Known { id, header: before } } else { Parent::Skipped };
            state
                .check_heartbeat(parent, &tip)
                .map_err(|fault| NotTaken::DoesNotExecute { height: tip.height, fault })?;
        }

        if executed.is_empty() && !beats {
            // A certified header alone, of a block with entries: nothing of it can be taken.
            return Err(NotTaken::Gap);
        }

        let mut taken = Taken::default();
        for (block, state) in executed {
            let last = taken.blocks.len() + 1 == fresh.len();
            let proof = last.then(|| workshop.proof(chain));
            self.advance(state.last_id(), &block, state, proof.clone(), workshop);
            self.proof = proof;
            taken.blocks.push(block);
        }
        if tip.height == self.head().height {
            taken.complete = true;
        } else if beats {
            let beat = Verified::of_verified_parts(Arc::new(Block { header: tip, entries: Vec::new() }));
            self.advance(tip_id, &beat, self.state.clone(), None, workshop);
            self.proof =
                Some(Arc::new(Proof { headers: Vec::new(), certificate: chain.certificate.clone() }));
            taken.complete = true;
        }
        Ok(taken)
    }

    /// Blocks of the chain that are final here already must have the bodies that they have here: certificate and links say nothing of
    /// entries, and nobody executes them again.
    fn check_known_bodies(&self, chain: &FinalChain) -> Result<(), NotTaken> {
        let known = chain.blocks.iter().filter(|block| block.header.height <= self.state.last().height);
        for block in known {
            let same = match self.tail.get(block.header.height) {
                Some(held) => Arc::ptr_eq(&held.block, block) || **held.block == **block,
                None => block.has_its_entries(),
            };
            if !same {
                return Err(NotTaken::OtherBody);
            }
        }
        Ok(())
    }

    /// Whether some header of the chain contradicts what is final here.
    fn check_fork(&self, chain: &FinalChain, ids: &[BlockId]) -> Result<(), NotTaken> {
        for (header, theirs) in chain.all_headers().zip(ids) {
            let Some((ours, _)) = self.recent.get(header.height) else { continue };
            if ours != theirs {
                return Err(NotTaken::Forked { height: header.height, ours: *ours, theirs: *theirs });
            }
        }
        // A parent that is not ours, where we hold one of its height.
        for header in chain.all_headers() {
            let below = header.height.saturating_sub(1);
            let Some((ours, _)) = self.recent.get(below) else { continue };
            if *ours != header.parent {
                return Err(NotTaken::Forked { height: below, ours: *ours, theirs: header.parent });
            }
        }
        Ok(())
    }

    /// The head and its proof, without blocks; none at genesis.
    pub fn tip(&self) -> Option<FinalChain> {
        Some(tip_of(self.head(), self.proof.as_deref()?))
    }

    /// What follows `height`, as much as fits one answer; none if the tail does not go back that far, or nothing follows.
    pub fn since(&self, height: u64) -> Option<FinalChain> {
        if height < self.tail_from {
            return None;
        }
        let (mut blocks, mut bytes, mut last) = (Vec::new(), 0, None);
        for (height, held) in self.tail.range(height.saturating_add(1)..) {
            if !blocks.is_empty() && bytes + held.bytes > limits::FOLLOW_ANSWER_BYTES_MAX {
                break;
            }
            // No further than the end of an epoch (SPEC 9.11); and a recovery comes alone.
            let ends = |first: &Arc<Block>| {
                first.header.epoch != held.block.header.epoch || held.block.recovers() || first.recovers()
            };
            if blocks.first().is_some_and(ends) {
                break;
            }
            bytes += held.bytes;
            blocks.push(Arc::clone(&held.block));
            last = Some(height);
        }
        match last {
            None => self.tip(),
            Some(last)
                if last == self.state.last().height
                    && self.head().is_heartbeat()
                    && self.head().epoch == self.state.last().epoch =>
            {
                let certificate = self.proof.as_ref()?.certificate.clone();
                Some(FinalChain { blocks, headers: vec![self.head().clone()], certificate })
            }
            Some(last) => {
                let Proof { headers, certificate } = self.proof_of_tail(last)?;
                Some(FinalChain { blocks, headers, certificate })
            }
        }
    }

    /// The chain that proves one block of the tail final, with its body.
    pub fn chain_of(&self, height: u64) -> Option<FinalChain> {
        let held = self.tail.get(height)?;
        let Proof { headers, certificate } = self.proof_of_tail(height)?;
        Some(FinalChain { blocks: vec![Arc::clone(&held.block)], headers, certificate })
    }

    /// Why the block of the tail at `height` is final: the nearest proof from there on, with the headers between.
    fn proof_of_tail(&self, height: u64) -> Option<Proof> {
        let mut headers = Vec::new();
        for (at, held) in self.tail.range(height..) {
            if at > height {
                // What a recovery quorum signs makes nothing below it final (SPEC 9.17).
                if held.block.recovers() {
                    return None;
                }
                headers.push(held.block.header.clone());
            }
            if let Some(proof) = &held.proof {
                headers.extend(proof.headers.iter().cloned());
                return Some(Proof { headers, certificate: proof.certificate.clone() });
            }
        }
        None
    }
}

/// Executes, or checks a heartbeat, which changes nothing.
fn step(
    state: &State,
    parent: Parent<'_>,
    block: &Verified<Arc<Block>>,
    workshop: &dyn Workshop,
) -> Result<State, Fault> {
    if block.header.is_heartbeat() {
        if !block.entries.is_empty() {
            return Err(Fault::BadBlock { block: block.id(), what: "a heartbeat has entries" });
        }
        state.check_heartbeat(parent, &block.header)?;
        return Ok(state.clone());
    }
    workshop.execute(state, parent, block)
}
