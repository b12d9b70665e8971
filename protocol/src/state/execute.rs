//! From a state and a block to the next state, and from waiting entries to a block (SPEC 6).

use std::sync::Arc;

use super::block::{Block, BlockId, Header};
use super::charter::Charter;
use super::maps::MapName;
use super::merkle;
use super::rules::{Facts, Law, Scene};
use super::statement::{Entry, Kind, Rank, StatementId};
use super::value::{Inner, State};
use crate::encoding::{Hash, encoded_len};
use crate::fault::{ENTRIES_ROOT, Fault};
use crate::identity::Verified;
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

/// What is known of the block that another stands on.
#[derive(Clone, Copy, Debug)]
pub enum Parent<'a> {
    /// Its header, and the id of that: whoever holds a block knows it.
    Known {
        /// The id.
        id: BlockId,
        /// The header.
        header: &'a Header,
    },
    /// Nothing: heartbeats were skipped, and only `previous` links the block (SPEC 6.1).
    Skipped,
}

impl<'a> Parent<'a> {
    /// A parent of which only the header is known.
    pub fn of(header: &'a Header) -> Parent<'a> {
        Parent::Known { id: header.id(), header }
    }
}

pub(super) fn entries_root<'a>(entries: impl Iterator<Item = &'a Entry>) -> Hash {
    merkle::root(entries.map(|entry| Hash(entry.statement.id().0)))
}

impl Block {
    /// Whether the statements are those that the header names (SPEC 6.3).
    pub fn has_its_entries(&self) -> bool {
        self.header.entries_root == self.root_of_entries()
    }

    /// The Merkle root of the entries at hand (SPEC 6.3).
    pub fn root_of_entries(&self) -> Hash {
        entries_root(self.entries.iter())
    }
}

impl State {
    /// The state after `block`. The block is judged whole: links, roots, every entry.
    ///
    /// # Errors
    /// The [`Fault`] for which the block is void.
    pub fn execute(&self, parent: Parent<'_>, block: &Verified<Arc<Block>>) -> Result<State, Fault> {
        let header = &block.header;
        if block.entries.is_empty() {
            self.check_heartbeat(parent, header)?;
            return Ok(self.after_heartbeat(header));
        }
        let id = header.id();
        self.check_links(parent, header, id)?;
        let wrong = |what| Err(Fault::WrongHeader { block: id, what });
        if !block.has_its_entries() && !loosened(Bug::AnyEntriesRoot) {
            return wrong(ENTRIES_ROOT);
        }
        // Only now is what the packing breaks the block's own fault, and not that of whoever sent another body.
        check_packing(block, id)?;
        let mut scene = self.open_block(header.height, header.time);
        scene.recovers = block.recovers().then_some(header.parent);
        for entry in &block.entries {
            let facts = Facts::of(&entry.statement);
            match loosened(Bug::JudgedBeforeAll) {
                true => self.open_block(header.height, header.time).judge(entry, &facts)?,
                false => scene.judge(entry, &facts)?,
            }
            scene.apply(&entry.statement, &facts);
        }
        scene.maps.check_sound()?;
        let roots = scene.maps.roots();
        if header.state_root != roots.state_root() && !loosened(Bug::AnyStateRoot) {
            return wrong("the state root");
        }
        if header.spine_root != roots.of(MapName::Spine) && !loosened(Bug::AnySpineRoot) {
            return wrong("the spine root");
        }
        let (law, log) = (self.law_after(scene.amended), self.0.log.clone());
        Ok(State(Arc::new(Inner::new(law, scene.maps, roots, header.clone(), log))))
    }

    /// Whether `header` is that of a heartbeat on this state: it changes nothing but the time (SPEC 6.6).
    ///
    /// # Errors
    /// [`Fault::WrongHeader`] or [`Fault::WrongTime`] says what it is not.
    pub fn check_heartbeat(&self, parent: Parent<'_>, header: &Header) -> Result<(), Fault> {
        let id = header.id();
        self.check_links(parent, header, id)?;
        let wrong = |what| Err(Fault::WrongHeader { block: id, what });
        if header.entries_root != Hash::ZERO {
            return wrong(ENTRIES_ROOT);
        }
        if header.state_root != self.root() {
            return wrong("the state root");
        }
        if header.spine_root != self.spine_root() {
            return wrong("the spine root");
        }
        Ok(())
    }

    /// What a heartbeat leaves: the same.
    fn after_heartbeat(&self, header: &Header) -> State {
        if !loosened(Bug::HeartbeatsCount) {
            return self.clone();
        }
        let scene = self.open_block(header.height, header.time);
        let (roots, last, log) = (scene.maps.roots(), self.0.last.clone(), self.0.log_before.clone());
        State(Arc::new(Inner::new(Arc::clone(&self.0.law), scene.maps, roots, last, log)))
    }

    /// SPEC 6.1, 6.2, 6.4: all that a header must take from the blocks before.
    fn check_links(&self, parent: Parent<'_>, header: &Header, id: BlockId) -> Result<(), Fault> {
        let wrong = |what| Err(Fault::WrongHeader { block: id, what });
        let last = self.last();
        if header.epoch != self.charter().epoch && !loosened(Bug::AnyEpoch) {
            return wrong("the epoch");
        }
        if header.previous != self.last_id() && !loosened(Bug::AnyPreviousBlock) {
            return wrong("`previous`");
        }
        if header.log_root != self.log_root_after() && !loosened(Bug::AnyLogRoot) {
            return wrong("the log root");
        }
        match parent {
            Parent::Known { id: parent_id, header: parent } => {
                if (header.parent != parent_id || !self.is_tip_of(parent)) && !loosened(Bug::AnyParent) {
                    return wrong("the parent");
                }
                if Some(header.height) != parent.height.checked_add(1) && !loosened(Bug::AnyHeight) {
                    return wrong("the height");
                }
                if header.time <= parent.time && !loosened(Bug::TimeStandsStill) {
                    return Err(Fault::WrongTime { block: id, why: "is not later than its parent's" });
                }
            }
            Parent::Skipped => {
                let Some(between) = header.height.checked_sub(last.height).filter(|steps| *steps > 0) else {
                    return wrong("the height");
                };
                if (header.parent == self.last_id()) != (between == 1) {
                    return wrong("the parent");
                }
                // Each of the blocks between is later than the one before, by a millisecond at least.
                if header.time.since(last.time) < between && !loosened(Bug::NoTimeBetween) {
                    return Err(Fault::WrongTime { block: id, why: "leaves no room for those before it" });
                }
            }
        }
        Ok(())
    }

    /// Whether `header` is of the newest block with entries here, or of a heartbeat on it.
    fn is_tip_of(&self, header: &Header) -> bool {
        *header == *self.last() || header.is_heartbeat() && header.previous == self.last_id()
    }

    /// The law after a block that made this charter, if it made one.
    pub(super) fn law_after(&self, amended: Option<Charter>) -> Arc<Law> {
        match amended {
            Some(charter) => Arc::new(Law::new(self.domain(), charter)),
            None => Arc::clone(&self.0.law),
        }
    }

    pub(super) fn open_block(&self, height: u64, time: Timestamp) -> Scene<'_> {
        let mut scene = self.scene(height, time);
        scene.maps.forget_expired_tickets(time, limits::TICKETS_FORGOTTEN_MAX);
        scene
    }

    /// The header of a block on `parent` that changes nothing: what [`State::build`] and genesis have in common with a heartbeat.
    pub(super) fn heartbeat_header(&self, parent: &Header, time: Timestamp) -> Header {
        Header {
            epoch: self.charter().epoch,
            height: parent.height + 1,
            parent: parent.id(),
            previous: self.last_id(),
            time,
            entries_root: Hash::ZERO,
            state_root: self.root(),
            spine_root: self.spine_root(),
            log_root: self.log_root_after(),
        }
    }

    /// A block on `parent` with whatever is valid of `waiting`, denials first, then rotations, grants and records, and the state after it; a heartbeat if nothing is.
    /// Its time is `time`, or just after the parent's if that is later. What is not valid is named, with its fault; what found no
    /// place is not named, and waits on.
    ///
    /// # Panics
    /// If `parent` is neither the newest block with entries of this state nor a heartbeat on it.
    pub fn build<'a>(
        &self,
        parent: &Header,
        time: Timestamp,
        waiting: impl Iterator<Item = &'a Verified<Arc<Entry>>>,
    ) -> (Verified<Arc<Block>>, State, Vec<(StatementId, Fault)>) {
        assert!(self.is_tip_of(parent), "a block was to be built on {parent:?}, which is not on {self:?}");
        let time = time.max(parent.time.plus(1));
        let mut header = self.heartbeat_header(parent, time);
        let mut scene = self.open_block(header.height, time);
        let mut packing = Packing::default();
        let mut refused = Vec::new();
        let mut waiting: Vec<_> = waiting.collect();
        if !loosened(Bug::PackedAsItComes) {
            // Whoever leaves by itself waits for those who are put out: it costs nobody but the leaver, and takes nobody's yes.
            waiting.sort_by_key(|entry| (entry.statement.rank(), entry.is_departure()));
        }
        for entry in waiting {
            let bytes = encoded_len(&***entry);
            if !packing.has_place(entry, bytes) {
                continue;
            }
            let facts = Facts::of(&entry.statement);
            match scene.judge(entry, &facts) {
                Ok(()) => {
                    scene.apply(&entry.statement, &facts);
                    packing.add(entry, bytes);
                }
                Err(fault) => refused.push((entry.statement.id(), fault)),
            }
        }
        let entries = packing.entries;
        if entries.is_empty() {
            let block = Block { header, entries };
            return (Verified::of_verified_parts(Arc::new(block)), self.clone(), refused);
        }
        let roots = scene.maps.roots();
        header.entries_root = entries_root(entries.iter());
        header.state_root = roots.state_root();
        header.spine_root = roots.of(MapName::Spine);
        let (law, log) = (self.law_after(scene.amended), self.0.log.clone());
        let state = State(Arc::new(Inner::new(law, scene.maps, roots, header.clone(), log)));
        (Verified::of_verified_parts(Arc::new(Block { header, entries })), state, refused)
    }
}

/// The entries of a block in the making.
#[derive(Default)]
struct Packing {
    entries: Vec<Entry>,
    bytes: usize,
    rotations: usize,
    holds: usize,
}

impl Packing {
    fn has_place(&self, entry: &Entry, bytes: usize) -> bool {
        let amended = self.entries.last().is_some_and(|last| last.statement.rank() == Rank::Amend);
        self.entries.len() < places(entry)
            && self.bytes + bytes <= room(entry)
            && (self.rotations < limits::BLOCK_ROTATES_MAX || !is_rotation(entry))
            && (self.holds < limits::BLOCK_HOLDS_MAX || !is_record(entry))
            && !amended
    }

    fn add(&mut self, entry: &Entry, bytes: usize) {
        self.rotations += usize::from(is_rotation(entry));
        self.holds += usize::from(is_record(entry));
        self.entries.push(entry.clone());
        self.bytes += bytes;
    }
}

fn is_rotation(entry: &Entry) -> bool {
    entry.statement.rank() == Rank::Rotation
}

fn is_record(entry: &Entry) -> bool {
    entry.statement.rank() == Rank::Record
}

/// Before which place of a block an entry of this kind must be.
fn places(entry: &Entry) -> usize {
    match entry.statement.rank() {
        Rank::Denial | Rank::Amend => limits::BLOCK_ENTRIES_MAX,
        Rank::Rotation | Rank::Grant | Rank::Record => {
            limits::BLOCK_ENTRIES_MAX - limits::BLOCK_DENIALS_RESERVED
        }
    }
}

/// Up to how many bytes of a block its entries may go, with one of this kind.
fn room(entry: &Entry) -> usize {
    match entry.statement.rank() {
        Rank::Amend => limits::BLOCK_BYTES_MAX,
        Rank::Denial | Rank::Rotation | Rank::Grant | Rank::Record => limits::ENTRIES_BYTES_MAX,
    }
}

impl Block {
    /// Whether it ends its epoch (SPEC 8.18).
    pub fn ends_its_epoch(&self) -> bool {
        self.entries.last().is_some_and(|last| last.statement.rank() == Rank::Amend)
    }
}

/// SPEC 6.7.
pub(super) fn check_packing(block: &Block, id: BlockId) -> Result<(), Fault> {
    let bad = |what| Err(Fault::BadBlock { block: id, what });
    let entries = &block.entries;
    if entries.len() > limits::BLOCK_ENTRIES_MAX {
        return bad("it has too many entries");
    }
    if !entries.is_sorted_by_key(|entry| entry.statement.rank()) && !loosened(Bug::AnyOrder) {
        return bad("its denials, rotations, grants, records and amendment are not in that order");
    }
    if entries.len() > 1 && entries.iter().any(|entry| matches!(entry.statement.kind, Kind::Recover(_))) {
        return bad("there is more in it than its recovery");
    }
    let amends = entries.iter().filter(|entry| entry.statement.rank() == Rank::Amend).count();
    if amends > 1 && !loosened(Bug::TwoAmends) {
        return bad("it has two of `Amend`");
    }
    let reserved = entries.iter().enumerate().any(|(place, entry)| place >= places(entry));
    if reserved && !loosened(Bug::ReservedPlacesTaken) {
        return bad("another entry is in a place that is kept for denials");
    }
    let rotations = entries.iter().filter(|entry| is_rotation(entry)).count();
    if rotations > limits::BLOCK_ROTATES_MAX && !loosened(Bug::RotationsWithoutEnd) {
        return bad("it has too many rotations");
    }
    let holds = entries.iter().filter(|entry| is_record(entry)).count();
    if holds > limits::BLOCK_HOLDS_MAX && !loosened(Bug::HoldsWithoutEnd) {
        return bad("it has too many holds");
    }
    let mut bytes = 0;
    for entry in entries {
        bytes += encoded_len(entry);
        let max = room(entry);
        if bytes > max {
            // Endorsements are no part of the block's id: whoever sent this body may have padded it.
            return Err(Fault::TooMany { what: "bytes of a block's entries", count: bytes, max });
        }
    }
    Ok(())
}
