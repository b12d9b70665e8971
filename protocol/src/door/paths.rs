//! Whoever holds a part of the state asks for what a chain touches beyond that, and goes on (SPEC 9.23).
//!
//! Why under the asker's own root: proofs under a later one say nothing of what a block was to find. Whoever is asked works that state out anew
//! from the last that it keeps. **Invariant:** what is taken leads to a root that a quorum certified; so a liar costs a question, and no more.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::effects::Effects;
use super::input::Error;
use super::message::Message;
use super::pruning::paths_place;
use super::record::{Record, Table};
use super::syncing::proof_of;
use crate::encoding::{encode, encoded_len};
use crate::fault::Fault;
use crate::following::Chain;
use crate::identity::{PublicKey, Verified};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{Block, BlockId, FinalChain, Header, MapName, MapProof, Place, SnapshotChunk, State};
use crate::time::Timestamp;

/// «What lies at these places of the state after that block?»
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AskProofs {
    /// The height of the newest block with entries that the asker has executed.
    pub height: u64,
    /// That block.
    pub block: BlockId,
    /// Where, in order.
    pub places: Vec<Place>,
}

/// The answer to that.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proofs {
    /// After which block.
    pub block: BlockId,
    /// The ways there; none if that state is not at hand, or not whole.
    pub paths: Vec<(Place, MapProof)>,
}

fn check_count(count: usize) -> Result<(), Fault> {
    let max = limits::PATHS_MAX;
    if count > max { Err(Fault::TooMany { what: "paths of a message", count, max }) } else { Ok(()) }
}

impl AskProofs {
    pub(super) fn inspect(&self) -> Result<(), Fault> {
        check_count(self.places.len())?;
        // The others are held whole by everybody, and their values are long.
        if self.places.iter().any(|place| !matches!(place.map, MapName::Gone | MapName::Keys)) {
            return Err(Fault::BadProof);
        }
        if self.places.is_sorted_by(|a, b| a < b) {
            Ok(())
        } else {
            Err(Fault::NotInOrder { what: "the places of a question", rule: "9.23" })
        }
    }
}

impl Proofs {
    pub(super) fn inspect(&self) -> Result<(), Fault> {
        check_count(self.paths.len())?;
        if self.paths.iter().all(|(_, path)| path.is_short()) { Ok(()) } else { Err(Fault::BadProof) }
    }
}

/// A chain that waits for what it touches.
#[derive(Debug)]
pub(super) struct Lacking {
    proven: Verified<Arc<FinalChain>>,
    /// Who brought it.
    brought_by: PublicKey,
    /// Who was asked last.
    asked: PublicKey,
    /// The state of which it was.
    block: BlockId,
    /// Where it looks.
    places: Vec<Place>,
    until: Timestamp,
    tries: u32,
}

/// The place of paths in [`Table::Final`]: this, the height of the block of whose state they are, and a number.
pub(super) const PATHS_KEY: &[u8] = b"paths";

impl Core {
    /// Whether this node may do with a part of the state: whoever votes, or keeps all that there was, may not.
    pub(super) fn takes_lean(&self) -> bool {
        let seated = self.charter().is_some_and(|charter| charter.seat_of(&self.me).is_some());
        !self.archive && !seated && !self.wants_whole
    }

    /// A certified chain touches what is not held here.
    pub(super) fn lacks_paths(
        &mut self,
        from: PublicKey,
        proven: &Verified<Arc<FinalChain>>,
        mut places: Vec<Place>,
        effects: &mut Effects,
    ) {
        let Some(state) = self.state() else { return };
        let block = state.last_id();
        let height = |proven: &FinalChain| proven.tip().map_or(0, |tip| tip.height);
        let open = self.lacking.as_deref().filter(|open| open.block == block && self.now < open.until);
        if open.is_some_and(|open| height(&open.proven) >= height(proven)) {
            return;
        }
        // What is still missing then is asked for after that.
        places.truncate(limits::PATHS_MAX);
        let asked = match self.is_seated(&from) {
            true => from,
            false => self.any_endorser_connected().unwrap_or(from),
        };
        let (proven, until) = (proven.clone(), self.now.plus(limits::PATHS_PATIENCE_MS));
        let lacking = Lacking { proven, brought_by: from, asked, block, places, until, tries: 0 };
        self.lacking = Some(Box::new(lacking));
        self.ask_for_paths(effects);
    }

    /// What is wrong with a certified chain of one block that follows here, whatever lies where this node cannot look; or that it is more than that.
    pub(super) fn passes_in_part(&self, proven: &FinalChain) -> Option<Fault> {
        let more = Some(Fault::Unknown { what: "more than one block" });
        let (Some(state), [block]) = (self.state(), &proven.blocks[..]) else { return more };
        if block.header.previous != state.last_id() {
            return more;
        }
        state.judge_in_part(block).err()
    }

    fn ask_for_paths(&mut self, effects: &mut Effects) {
        let (Some(lacking), Some(state)) =
            (&mut self.lacking, self.chain.as_ref().map(|chain| chain.state()))
        else {
            return;
        };
        lacking.tries += 1;
        lacking.until = self.now.plus(limits::PATHS_PATIENCE_MS);
        let asked =
            AskProofs { height: state.last().height, block: lacking.block, places: lacking.places.clone() };
        effects.send(lacking.asked, Arc::new(Message::AskProofs(Box::new(asked))));
    }

    /// When to ask another.
    pub(super) fn paths_deadline(&self) -> Option<Timestamp> {
        self.lacking.as_deref().map(|lacking| lacking.until)
    }

    pub(super) fn ask_again_for_paths(&mut self, effects: &mut Effects) {
        if self.paths_deadline().is_some_and(|until| until <= self.now) {
            self.no_paths(effects);
        }
    }

    /// Whoever was asked has not helped: another is, or a snapshot will do.
    fn no_paths(&mut self, effects: &mut Effects) {
        let (state, failed) = (self.state().map(State::last_id), self.lacking.as_deref());
        let Some(failed) = failed.map(|lacking| (lacking.asked, lacking.block, lacking.tries)) else {
            return;
        };
        let (asked, block, tries) = failed;
        let others: Vec<PublicKey> = self
            .connected
            .iter()
            .copied()
            .filter(|key| self.is_seated(key) && *key != asked)
            .chain(self.connected.get(&asked).copied())
            .collect();
        // Of the others any; whoever failed only if there is nobody else.
        let nth = self.jitter() as usize % (others.len().max(2) - 1);
        let other = others.get(nth).copied();
        let of_old = state != Some(block);
        match other {
            Some(other) if !of_old && tries < limits::PATHS_TRIES_MAX => {
                if let Some(lacking) = &mut self.lacking {
                    lacking.asked = other;
                }
                self.ask_for_paths(effects);
            }
            Some(_) | None => {
                // Whoever has the log gives it again, when it is asked what follows.
                self.lacking = None;
                if !of_old {
                    self.fetch_snapshot(Some(asked), effects);
                }
            }
        }
    }

    /// «What lies there?»
    pub(super) fn answer_proofs(
        &mut self,
        to: PublicKey,
        asked: &AskProofs,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if !self.rations.has_room(&to, self.now) {
            return Err(Error::Untimely("it has had its ration, and asks another, or later"));
        }
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let known = self.past.iter().find(|state| state.last_id() == asked.block).cloned();
        let mut cost = 0;
        let state = known.or_else(|| {
            cost = limits::PAST_STATE_BYTES;
            let state = chain.state_at(asked.height, &asked.block, &*self.workshop)?;
            self.past.push_back(state.clone());
            while self.past.len() > limits::PAST_STATES_KEPT {
                self.past.pop_front();
            }
            Some(state)
        });
        let paths = state.map_or(Vec::new(), |state| {
            asked.places.iter().filter_map(|place| Some((*place, state.path(place)?))).collect()
        });
        let message = Message::Proofs(Box::new(Proofs { block: asked.block, paths }));
        if !loosened(Bug::PathsUnrationed) {
            self.rations.sent(to, encoded_len(&message) + cost, self.now);
        }
        effects.send(to, Arc::new(message));
        Ok(())
    }

    /// They came.
    pub(super) fn proofs_shown(
        &mut self,
        from: PublicKey,
        proofs: &Proofs,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let asked = self.lacking.take_if(|lacking| lacking.asked == from && lacking.block == proofs.block);
        let Some(lacking) = asked else { return Err(Error::Untimely("no paths were asked for")) };
        let Some(state) = self.state().filter(|state| state.last_id() == lacking.block).cloned() else {
            return Err(Error::Untimely("the log has gone on meanwhile"));
        };
        let wanted: Vec<&(Place, MapProof)> = proofs
            .paths
            .iter()
            .filter(|(place, _)| lacking.places.binary_search(place).is_ok() && !state.holds(place))
            .collect();
        let grafted = match state.grafted(wanted.iter().map(|(place, path)| (place, path))) {
            Ok(grafted) if !wanted.is_empty() => grafted,
            useless => {
                self.lacking = Some(lacking);
                self.no_paths(effects);
                return Err(match useless {
                    Ok(_) => Error::Untimely("it does not hold the state that was asked for"),
                    Err(fault) => Error::PeerMisbehaved { culprit: from, fault },
                });
            }
        };
        // Before the blocks that could not be executed again without them.
        let height = state.last().height;
        let number = self.on_disk.next_paths(height);
        let key = paths_place(height, number);
        let value = Some(encode(&(lacking.block, &wanted)).into());
        effects.persist(Record { table: Table::Final, key, value });
        if let Some(chain) = &mut self.chain {
            chain.hold_more(grafted);
        }
        self.take_final(lacking.brought_by, &lacking.proven, false, effects)
    }

    /// Before this node votes, it holds all of the state.
    pub(super) fn fetch_the_whole(&mut self, effects: &mut Effects) {
        self.wants_whole = true;
        if self.fetch.as_deref().is_none_or(|fetch| fetch.lean()) {
            self.fetch_snapshot(None, effects);
        }
    }

    /// Whether a whole state is still to be had for this node, which holds a part of one.
    pub(super) fn lacks_the_whole(&self) -> bool {
        self.wants_whole && self.state().is_some_and(|state| !state.is_whole())
    }

    /// A whole state came, of a block that is final here already: what followed is executed on it once more, and it takes the place of what
    /// was held in part.
    pub(super) fn becomes_whole(
        &mut self,
        state: State,
        header: Header,
        chunks: &[Arc<SnapshotChunk>],
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let height = header.height;
        let before = self.epoch_before(state.charter().epoch);
        let proof = chunks.first().and_then(|chunk| chunk.tip.as_deref()).map(proof_of);
        let mut whole = Chain::begin(state, header, proof.map(Arc::new), before);
        let Some(held) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        while whole.head_id() != held.head_id() {
            let run = held.since(whole.head().height).map(|run| Verified::of_verified_parts(Arc::new(run)));
            let taken = run.map(|run| whole.take(&run, &*self.workshop));
            if !matches!(taken, Some(Ok(_))) {
                return Err(Error::Untimely("the snapshot is too old to go on from: a newer one is to come"));
            }
            whole.renew_checkpoint();
        }
        let mut blocks: Vec<Verified<Arc<Block>>> =
            held.recent_blocks().map(|held| held.block.clone()).collect();
        blocks.retain(|block| block.header.height > height);
        blocks.reverse();
        self.chain = Some(whole);
        // The new base, what followed it, and only then nothing of the old: whoever is killed in between goes back behind no removal.
        let old = self.begin_beside(height, chunks, effects);
        if let Some(tip) = self.chain.as_ref().and_then(Chain::tip) {
            self.persist_final(&blocks, &tip, effects);
        }
        self.remove_old(old, height, effects);
        // What removes somebody is among what is written anew.
        effects.sync_all();
        Ok(())
    }
}
