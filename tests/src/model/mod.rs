//! The naive model: a log, and what it amounts to.
//!
//! Written from `SPEC.md` alone, before the engine's own rules were read. It shares with the engine the plain types of what is signed
//! and stored, and the encoding; ids, roots, signatures and rules are its own. It is as simple as it can be: whole maps, hashed whole,
//! block after block, and [`Model::fold`] does all of it again from genesis: each random history ends with that. What is dear and asked
//! again and again (digests of keys, signatures, the root of a map that is still the same) is remembered; nothing is kept up to date
//! cleverly. Where it differs from the engine, one of the two misreads the rules.
//!
//! What it found so far: SPEC 2.1 did not say that version and algorithm are under the `NodeId`; and by the engine a conviction by a key of
//! the last epoch did not end with the next `Amend` (4.13) if its owner had a fresh key already and said nothing to that.

mod accuse;
mod amend;
mod charters;
mod facts;
pub mod hashes;
mod hold;
mod recover;
mod rules;

use std::sync::Arc;

use frith_protocol::encoding::{Hash, encode};
use frith_protocol::limits;
use frith_protocol::state::{Block, BlockId, Charter, Entry, Founded, Header, Kind};
use frith_protocol::time::Timestamp;

pub use accuse::ballot_digest;
pub use charters::check_charter;
pub use facts::{
    ConvictedKey, Conviction, Facts, Gone, How, Keys, SpineItem, Standing, key_place, ticket_place,
};
use hashes::{Bytes32, ZERO, digest_of, log_root, merkle_root};
pub use hold::hold_digest;

/// Why not, in a word: the same word for the same rule, so that tests can count what they have met.
pub type No = &'static str;

/// A domain as its log: the blocks with entries, and the header of the newest block.
#[derive(Clone, Debug)]
pub struct Model {
    founding: Charter,
    genesis: Header,
    log: Vec<Arc<Block>>,
    head: Header,
    /// What follows from these, each as plain as can be, kept from one block to the next.
    domain: Bytes32,
    facts: Arc<Facts>,
    head_id: Bytes32,
    /// Of genesis and the blocks in the log.
    ids: Vec<Bytes32>,
    log_root: Bytes32,
}

/// SPEC 1.4.
pub fn block_id(header: &Header) -> Bytes32 {
    digest_of("block", header)
}

fn entries_root(entries: &[Entry]) -> Bytes32 {
    let ids: Vec<Bytes32> = entries.iter().map(|entry| digest_of("statement", &entry.statement)).collect();
    merkle_root(&ids)
}

impl Model {
    /// SPEC 3.5 and 3.6.
    ///
    /// # Errors
    /// What is wrong with the charter or its signatures.
    pub fn found(founded: &Founded) -> Result<Model, No> {
        charters::check_founded(founded)?;
        let facts = Arc::new(Facts::genesis(&founded.charter));
        let (state, spine) = facts.roots();
        let genesis = Header {
            epoch: 1,
            height: 0,
            parent: BlockId(ZERO),
            previous: BlockId(ZERO),
            time: founded.charter.written,
            entries_root: Hash(ZERO),
            state_root: Hash(state),
            spine_root: Hash(spine),
            log_root: Hash(log_root(&[])),
        };
        let (head_id, head) = (block_id(&genesis), genesis.clone());
        Ok(Model {
            founding: founded.charter.clone(),
            genesis,
            log: Vec::new(),
            head,
            domain: digest_of("domain", &founded.charter),
            facts,
            head_id,
            ids: vec![head_id],
            log_root: log_root(&[head_id]),
        })
    }

    /// The domain (SPEC 1.4).
    pub fn domain(&self) -> Bytes32 {
        self.domain
    }

    /// The newest block, heartbeats included.
    pub fn head(&self) -> &Header {
        &self.head
    }

    /// The newest block with entries; genesis if there is none.
    pub fn last(&self) -> &Header {
        self.log.last().map_or(&self.genesis, |block| &block.header)
    }

    /// The blocks with entries, genesis left out.
    pub fn log(&self) -> &[Arc<Block>] {
        &self.log
    }

    /// What the log amounts to, after all of it.
    pub fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts)
    }

    /// The same, folded from genesis over all of the log.
    pub fn fold(&self) -> Facts {
        let mut facts = Facts::genesis(&self.founding);
        self.log.iter().for_each(|block| facts.follow(block));
        facts
    }

    /// Whether `entry` could be the first of a block at `time` on the head.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn judge(&self, time: Timestamp, entry: &Entry) -> Result<(), No> {
        rules::check_signatures(entry)?;
        let mut facts = self.facts();
        if facts.has_expired_tickets(time) {
            Arc::make_mut(&mut facts).forget_tickets(time);
        }
        rules::judge(self, &facts, None, self.head.height + 1, time, entry)
    }

    /// A header on the head with every root right, whether or not the entries are valid.
    pub fn header_at(&self, height: u64, time: Timestamp, entries: &[Entry]) -> Header {
        let mut facts = Facts::clone(&self.facts);
        let epoch = facts.charter().epoch;
        if !entries.is_empty() {
            facts.forget_tickets(time);
        }
        entries.iter().for_each(|entry| facts.apply(height, time, entry));
        let (state, spine) = facts.roots();
        Header {
            epoch,
            height,
            parent: BlockId(self.head_id),
            previous: BlockId(self.last_id()),
            time,
            entries_root: Hash(entries_root(entries)),
            state_root: Hash(state),
            spine_root: Hash(spine),
            log_root: Hash(self.log_root),
        }
    }

    /// The state after these entries, each judged in the state just before it (SPEC 6.8).
    fn after(&self, base: BlockId, height: u64, time: Timestamp, entries: &[Entry]) -> Result<Facts, No> {
        let mut facts = Facts::clone(&self.facts);
        if entries.is_empty() {
            return Ok(facts);
        }
        facts.forget_tickets(time);
        for entry in entries {
            rules::check_signatures(entry)?;
            rules::judge(self, &facts, Some(base), height, time, entry)?;
            facts.apply(height, time, entry);
        }
        Ok(facts)
    }

    fn last_id(&self) -> Bytes32 {
        self.ids[self.ids.len() - 1]
    }

    /// Whether `block` may follow: on the head, or, if `skipped`, on the newest block with entries and heartbeats that nobody has seen.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn check(&self, skipped: bool, block: &Block) -> Result<(), No> {
        let Block { header, entries } = block;
        check_body(entries)?;
        let last = self.last();
        if header.epoch != self.facts.charter().epoch {
            return Err("6.2 epoch");
        }
        if header.previous != BlockId(self.last_id()) {
            return Err("6.1 previous");
        }
        if skipped {
            let risen = header.height.checked_sub(last.height).filter(|risen| *risen > 0);
            let risen = risen.ok_or("6.2 height")?;
            if (header.parent == header.previous) != (risen == 1) {
                return Err("6.2 parent");
            }
            if u128::from(header.time.0) < u128::from(last.time.0) + u128::from(risen) {
                return Err("6.2 time");
            }
        } else {
            if header.height != self.head.height + 1 {
                return Err("6.2 height");
            }
            if header.parent != BlockId(self.head_id) {
                return Err("6.2 parent");
            }
            if header.time <= self.head.time {
                return Err("6.2 time");
            }
        }
        if header.entries_root.0 != entries_root(entries) {
            return Err("6.3 entries root");
        }
        if header.log_root.0 != self.log_root {
            return Err("6.4 log root");
        }
        let (state, spine) = self.after(header.parent, header.height, header.time, entries)?.roots();
        if header.state_root.0 != state {
            return Err("6.5 state root");
        }
        if header.spine_root.0 != spine {
            return Err("6.5 spine root");
        }
        Ok(())
    }

    /// Adds a block that passed [`Model::check`].
    pub fn push(&mut self, block: &Arc<Block>) {
        (self.head_id, self.head) = (block_id(&block.header), block.header.clone());
        if !block.entries.is_empty() {
            self.log.push(Arc::clone(block));
            Arc::make_mut(&mut self.facts).follow(block);
            self.ids.push(self.head_id);
            // SPEC 6.4, for the block after this one.
            self.log_root = log_root(&self.ids);
        }
    }
}

/// SPEC 6.7.
fn check_body(entries: &[Entry]) -> Result<(), No> {
    if entries.len() > limits::BLOCK_ENTRIES_MAX {
        return Err("6.7 too many entries");
    }
    let denials = entries.iter().take_while(|entry| is_denial(entry)).count();
    let rotations = entries[denials..].iter().take_while(|entry| is_rotation(entry)).count();
    let rest = &entries[denials + rotations..];
    let grants = rest.iter().take_while(|entry| !is_record(entry)).count();
    let records = rest[grants..].iter().take_while(|entry| is_record(entry)).count();
    if rest.iter().any(|entry| is_denial(entry) || is_rotation(entry))
        || !rest[grants + records..].iter().all(is_amend)
        || records > 0 && rest[..grants].iter().any(is_amend)
    {
        return Err("6.7 out of order");
    }
    if records > limits::BLOCK_HOLDS_MAX {
        return Err("6.7 too many records");
    }
    if rotations > limits::BLOCK_ROTATES_MAX {
        return Err("6.7 too many rotations");
    }
    if entries.len() > 1 && entries.iter().any(|entry| matches!(entry.statement.kind, Kind::Recover(_))) {
        return Err("6.7 a recovery that is not alone");
    }
    let (amends, others): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| is_amend(entry));
    if amends.len() > 1 {
        return Err("6.7 two amendments");
    }
    if !amends.is_empty() && !entries.last().is_some_and(is_amend) {
        return Err("6.7 an entry after an amendment");
    }
    let open_to_grants = limits::BLOCK_ENTRIES_MAX - limits::BLOCK_DENIALS_RESERVED;
    if others.len() > denials.max(open_to_grants) {
        return Err("6.7 a grant in a reserved place");
    }
    if amends.iter().any(|entry| encode(entry).len() > limits::AMEND_BYTES_MAX) {
        return Err("6.7 an amendment too long");
    }
    let bytes: Vec<usize> = others.iter().map(|entry| encode(entry).len()).collect();
    if bytes.iter().any(|bytes| *bytes > limits::ENTRY_BYTES_MAX) {
        return Err("6.7 an entry too long");
    }
    if bytes.iter().sum::<usize>() > limits::ENTRIES_BYTES_MAX {
        return Err("6.7 a body too long");
    }
    Ok(())
}

fn is_amend(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Amend(_))
}

fn is_denial(entry: &Entry) -> bool {
    match &entry.statement.kind {
        Kind::Admit(_)
        | Kind::Release(_)
        | Kind::Amend(_)
        | Kind::Rotate(_)
        | Kind::Hold(_)
        | Kind::Recover(_) => false,
        Kind::Revoke(_) | Kind::Suspend(_) | Kind::Accuse(_) => true,
    }
}

fn is_record(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Hold(_))
}

fn is_rotation(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Rotate(_))
}
