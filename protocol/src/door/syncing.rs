//! From admitted to following: snapshots, asked for and served (SPEC 9.4).

use std::sync::Arc;

use super::core::{Core, Hall};
use super::effects::Effects;
use super::input::{Alarm, Error, Event};
use super::message::{Message, Standing};
use super::rations::Question;
use super::record::{Record, Table};
use super::rotating::Again;
use crate::agreement::{self, Journal};
use crate::encoding::encoded_len;
use crate::fault::Fault;
use crate::following::{
    Chain, Charters, Fetched, Follower, Proof, SnapshotFetch, check_certificate, check_links, tip_of,
};
use crate::identity::{NodeId, PublicKey};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{BlockId, FinalChain, Header, SnapshotChunk, State};

/// A snapshot that is kept to be served.
#[derive(Debug)]
pub(super) struct Served {
    /// The block that it is under.
    under: BlockId,
    lean: bool,
    chunks: Vec<Arc<SnapshotChunk>>,
}

/// The places of a newcomer's records in [`Table::Meta`].
pub(super) const APPLICATION_KEY: &[u8] = b"application";
pub(super) const ADMITTED_KEY: &[u8] = b"admitted";

impl Core {
    /// We hold a final block with our admission.
    pub(super) fn was_admitted(
        &mut self,
        from: PublicKey,
        height: u64,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.newcomer = None;
        self.admitted = Some(height);
        self.reached = self.reached.max(height);
        let value = Some(height.to_be_bytes().into());
        effects.persist(Record { table: Table::Meta, key: ADMITTED_KEY.to_vec(), value });
        effects.persist(Record { table: Table::Meta, key: APPLICATION_KEY.to_vec(), value: None });
        effects.tell(Event::Admitted { node: self.me, height });
        // Not of whoever was first to bring the news: anybody may bring it.
        self.fetch_snapshot(None, effects);
        if self.fetch.is_none() {
            self.fetch_snapshot_from(from, effects);
        }
        Ok(())
    }

    /// Asks some connected endorser for its snapshot; another than `failed`, if there is one.
    pub(super) fn fetch_snapshot(&mut self, failed: Option<PublicKey>, effects: &mut Effects) {
        let mut connected: Vec<PublicKey> =
            self.connected.iter().copied().filter(|key| self.is_seated(key)).collect();
        if connected.is_empty() {
            // Without a state we know endorsers by their first keys only, and all of them may have rotated. Snapshots prove themselves.
            connected = self.connected.iter().copied().collect();
        }
        if connected.len() > 1 {
            connected.retain(|key| Some(*key) != failed);
        }
        if connected.is_empty() {
            return;
        }
        let nth = self.jitter() as usize % connected.len();
        self.fetch_snapshot_from(connected[nth], effects);
    }

    pub(super) fn fetch_snapshot_from(&mut self, from: PublicKey, effects: &mut Effects) {
        let lean = self.takes_lean();
        self.fetch = Some(Box::new(SnapshotFetch::new(from, lean, self.now, limits::SNAPSHOT_PATIENCE_MS)));
        effects.send(from, Arc::new(Message::AskSnapshot { head: BlockId::NONE, chunk: 0, lean }));
    }

    /// Answers now, or when the peer's ration allows.
    pub(super) fn asked(
        &mut self,
        from: PublicKey,
        question: Question,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if !self.rations.allows(from, question, self.now) {
            return Ok(());
        }
        match question {
            Question::Follow { height, head } => self.answer_follow(from, height, &head, effects),
            Question::Links { epoch } => self.answer_links(from, epoch, effects),
            Question::Charter { id } => self.answer_charter(from, &id, effects),
            Question::Snapshot { head, chunk, lean } => {
                self.answer_snapshot(from, (head, chunk, lean), effects)
            }
            Question::Proof { height } => {
                let chain = self.chain.as_ref().and_then(|chain| chain.chain_of(height));
                let chain = chain.ok_or(Error::Untimely("that block is not at hand any more"))?;
                self.rations.sent(from, encoded_len(&chain), self.now);
                effects.send(from, Arc::new(Message::Final(Arc::new(chain))));
                Ok(())
            }
        }
    }

    /// «Send me this part of your newest snapshot, or of this one.»
    fn answer_snapshot(
        &mut self,
        to: PublicKey,
        (head, chunk, lean): (BlockId, u32, bool),
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(checkpoint) = self.chain.as_ref().map(Chain::checkpoint) else {
            return Err(Error::Untimely("there is no state yet"));
        };
        let state = &checkpoint.state;
        if !lean && !state.is_whole() {
            return Err(Error::Untimely("a part of the state is held here, and no more"));
        }
        let newest = checkpoint.header.id();
        // Where it has not much less in it a whole one is served: whoever takes that need not ask for anything more.
        let lean_newest = lean && (state.pays_lean() || !state.is_whole());
        let is_newest = |served: &Served| served.under == newest && served.lean == lean_newest;
        if head == BlockId::NONE && !self.snapshots.iter().any(is_newest) {
            let tip = checkpoint.proof.as_deref().map(|proof| Box::new(tip_of(&checkpoint.header, proof)));
            let chunks = match lean_newest {
                true => self.workshop.lean_snapshot(state, tip),
                false => self.workshop.snapshot(state, tip),
            };
            self.snapshots.push_back(Served { under: newest, lean: lean_newest, chunks });
            let of_its_kind = |served: &&Served| served.lean == lean_newest;
            if self.snapshots.iter().filter(of_its_kind).count() > limits::SNAPSHOTS_KEPT {
                let oldest = self.snapshots.iter().position(|served| served.lean == lean_newest);
                oldest.and_then(|oldest| self.snapshots.remove(oldest));
            }
        }
        let (wanted, wanted_lean) = if head == BlockId::NONE { (newest, lean_newest) } else { (head, lean) };
        let of_wanted = |lean: bool| {
            self.snapshots.iter().find(move |served| served.under == wanted && served.lean == lean)
        };
        let served = of_wanted(wanted_lean).or_else(|| of_wanted(false));
        let Some(chunk) = served.and_then(|served| served.chunks.get(chunk as usize)) else {
            return Err(Error::Untimely("that snapshot is not kept any more"));
        };
        self.rations.sent(to, encoded_len(&**chunk), self.now);
        let is_last = chunk.index + 1 == chunk.of;
        effects.send(to, Arc::new(Message::Snapshot(Arc::clone(chunk))));
        if is_last {
            // When it connected it had no state to judge them by.
            self.show_holds(to, effects);
        }
        Ok(())
    }

    /// A part of a snapshot came.
    pub(super) fn take_snapshot(
        &mut self,
        from: PublicKey,
        chunk: &Arc<SnapshotChunk>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(charters) = self.charters.as_deref() else { return Err(Error::Untimely("no charter yet")) };
        if self.chain.is_some() && self.halted.is_some() {
            self.fetch = None;
            return Err(Error::Untimely("this node has halted"));
        }
        let blame = |fault| Error::PeerMisbehaved { culprit: from, fault };
        let newest = charters.newest().charter.epoch;
        let header = match &chunk.tip {
            None if newest == 1 => self.workshop.genesis(&charters.first().charter)?.1,
            None => return Err(Error::Untimely("the snapshot is of an epoch that is over")),
            Some(tip) if tip.certificate.ballot.epoch > newest => {
                effects.send(from, Arc::new(Message::AskLinks { epoch: newest }));
                return Err(Error::Untimely("the snapshot is of an epoch that is not known here yet"));
            }
            Some(tip) if tip.certificate.is_of_recovery() && !charters.closes(tip) => {
                effects.send(from, Arc::new(Message::AskLinks { epoch: newest }));
                return Err(Error::Untimely("the snapshot rests on a recovery that was not taken here"));
            }
            // Its server has not seen the new epoch's first block yet.
            Some(tip) if tip.certificate.ballot.epoch < newest && !charters.closes(tip) => {
                return Err(Error::Untimely("the snapshot is of an epoch that is over"));
            }
            Some(tip) => proven_header(charters, tip).map_err(blame)?,
        };
        let older = self.chain.as_ref().is_some_and(|chain| chain.head().height >= header.height);
        let whole_wanted = self.lacks_the_whole() && self.fetch.as_deref().is_some_and(|fetch| !fetch.lean());
        if older && !whole_wanted {
            self.fetch = None;
            return Err(Error::Untimely("the snapshot is older than what is held here"));
        }
        let Some(fetch) = &mut self.fetch else { return Err(Error::Untimely("no snapshot was asked for")) };
        match fetch.take(from, &header, chunk, self.now, limits::SNAPSHOT_PATIENCE_MS) {
            Fetched::Useless => Err(Error::Untimely("it is no part of what was asked for")),
            Fetched::Next { head, chunk } => {
                let lean = fetch.lean();
                effects.send(from, Arc::new(Message::AskSnapshot { head, chunk, lean }));
                Ok(())
            }
            Fetched::Whole(header, chunks) => {
                let lean = fetch.lean();
                self.fetch = None;
                let restored = self.workshop.restore(self.domain, &header, &chunks);
                let state = match restored.and_then(|state| {
                    if lean || state.is_whole() { Ok(state) } else { Err(Fault::WrongSnapshot) }
                }) {
                    Ok(state) => state,
                    Err(fault) => {
                        self.fetch_snapshot(Some(from), effects);
                        return Err(blame(fault));
                    }
                };
                // Nothing that is certified brings anybody back: it is of another branch, whatever its certificate says.
                // (Of an older one that is to be made whole, all that followed is executed once more.)
                if let Some(subject) =
                    self.would_come_back(&state).filter(|_| !older && !loosened(Bug::GoneComeBack))
                {
                    effects.tell(Event::Alarm(Alarm::RecoveryForgets { subject }));
                    return Err(Error::Untimely("somebody stands in it who is gone here"));
                }
                if !state.is_whole() && state.has_seat(&self.me) {
                    // The charter that was known here was older. Nobody votes on a part of a state.
                    self.fetch_the_whole(effects);
                    return Ok(());
                }
                if older {
                    return self.becomes_whole(state, *header, &chunks, effects);
                }
                self.begin_from(state, *header, &chunks, effects);
                self.ask_what_follows(from, effects);
                Ok(())
            }
        }
    }

    /// Somebody who is gone here, and not in that state; of which a part says no more of that than who stands.
    fn would_come_back(&self, state: &State) -> Option<NodeId> {
        let is_back = |node: &NodeId| {
            if state.is_whole() { !state.is_gone(node) } else { state.standing(node).is_some() }
        };
        self.state()?.gone().map(|(node, _)| node).find(is_back)
    }

    fn begin_from(
        &mut self,
        state: State,
        header: Header,
        chunks: &[Arc<SnapshotChunk>],
        effects: &mut Effects,
    ) {
        // The new base before the old blocks go: whoever is killed in between has the old base with all its blocks, or a whole new one; never the
        // old base without the removals since.
        self.begin_on_disk(header.height, chunks, effects);
        if self.chain.is_none() {
            self.forget_the_lost_log(effects);
        }
        // There may be somebody gone in it whom the state that it replaces did not know as such.
        effects.sync_all();
        let proof = chunks.first().and_then(|chunk| chunk.tip.as_deref()).map(proof_of);
        let height = header.height;
        if let (Some(tip), Some(charters)) =
            (chunks.first().and_then(|c| c.tip.as_deref()), &mut self.charters)
            && tip.headers.len() == 1
            && state.charter().previous == Some(charters.newest().id)
        {
            let link = Arc::new(crate::following::Link::to(&state, header.clone(), tip.certificate.clone()));
            charters.advance(state.charter(), &link);
            self.keep_link(&link, effects);
        }
        self.has_come_to_the_anchor(effects);
        let before = self.epoch_before(state.charter().epoch);
        self.chain = Some(Chain::begin(state, header, proof.map(Arc::new), before));
        // Whoever votes in this epoch goes on: its journal is not begun anew.
        let epoch = self.chain.as_ref().map(|chain| chain.state().charter().epoch);
        if self.hall.as_deref().map(Hall::epoch) != epoch {
            self.take_seat(Journal::Fresh);
            self.agree(agreement::Input::Tick, effects);
        }
        self.admitted = None;
        let (period, jitter) = (self.follow_period_ms(), self.jitter());
        self.follower = Follower::new(self.now, jitter, period);
        effects.tell(Event::Synced { height });
        self.look_after_renewal(effects);
        self.renew_on_a_newer_head(effects);
        self.adopt_rotation(effects);
        if self.is_rotating() {
            self.rotation_again = Some(Again::from(self.now));
        }
        // Whoever went while this node was away, and is connected.
        let gone: Vec<PublicKey> = self
            .connected
            .iter()
            .copied()
            .filter(|key| self.standing_of(key) == Standing::Gone && !self.is_seated(key))
            .collect();
        for key in gone {
            self.connected.remove(&key);
            self.tell_denied(key, effects);
        }
    }

    pub(super) fn follow_period_ms(&self) -> u64 {
        self.charter().map_or(1_000, |charter| charter.timing.heartbeat_ms)
    }
}

/// The first header of a chain without blocks, if its certificate proves it final by a charter that was adopted: the newest; or, of the
/// block that ended the epoch before, by that epoch's.
pub(super) fn proven_header(charters: &Charters, tip: &FinalChain) -> Result<Header, Fault> {
    let none = Fault::BadCertificate { why: "it is for no block" };
    let certified = tip.tip().ok_or(none.clone())?;
    let ids = tip.ids();
    let (charter, id) = (charters.that_certifies(tip)?, *ids.last().ok_or(none.clone())?);
    check_certificate(charters.domain(), charter, &tip.certificate, certified, id)?;
    check_links(tip, &ids)?;
    if !tip.blocks.is_empty() {
        return Err(Fault::BadCertificate { why: "a tip carries blocks" });
    }
    tip.headers.first().cloned().ok_or(none)
}

/// Why the first header of a chain without blocks is final.
pub(super) fn proof_of(tip: &FinalChain) -> Proof {
    Proof { headers: tip.headers[1..].to_vec(), certificate: tip.certificate.clone() }
}
