//! From what is stored to a core, and what must be stored before there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::anchoring::ANCHOR_KEY;
use super::core::{Config, Core, Given, seeded};
use super::epochs::{CHARTER_KEY, RETIRED_KEY, first_charter_record};
use super::finality::{DISMISSED_KEY, FORKED_KEY, HEAD_KEY};
use super::holding::Holds;
use super::input::Alarm;
use super::record::{Record, Table};
use super::recovering::{PROOF_KEY, WAITING_KEY};
use super::rotating::Again;
use super::syncing::{ADMITTED_KEY, APPLICATION_KEY, proof_of};
use super::talk::record_with_block;
use crate::agreement::{Journal, JournalRecord};
use crate::encoding::{Hash, Malformed, decode, encode};
use crate::fault::Fault;
use crate::following::{Chain, Charters, Follower, Link, Proof, Workshop};
use crate::identity::{PublicKey, Signature, Verified};
use crate::joining::{Anchor, Application, Newcomer, Proposal, Proposals, Waiting};
use crate::limits;
use crate::state::{
    Block, BlockId, Charter, DomainId, Entry, FinalChain, Founded, Header, Hold, SnapshotChunk,
};
use crate::time::Timestamp;

/// A ballot of this mesh, its block or its certificate, as the journal keeps it.
type Kept = JournalRecord<Arc<Block>, PublicKey, Signature>;

/// Why a store is not one that a core can open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It holds neither a charter nor an application.
    #[error("the store is empty: found a domain, or join one, first")]
    Empty,
    /// A record does not decode, though its checksum held.
    #[error("record {key} of table {table:?} was not written by this version: {why}")]
    Record {
        /// In which table.
        table: Table,
        /// Under which key, in hex.
        key: String,
        /// What is wrong.
        why: Malformed,
    },
    /// The charter that it holds is refused.
    #[error(transparent)]
    Charter(#[from] Fault),
}

/// What a founder's empty store must hold before its core is opened.
pub fn founding_records(founded: &Verified<Founded>, voting_key: &PublicKey) -> Vec<Record> {
    let charter = founded.charter.clone();
    let epoch = charter.epoch;
    let seat: Kept = JournalRecord::Seat { domain: founded.domain(), epoch, voter: *voting_key };
    let charters = Charters::begin(founded.domain(), charter, None);
    vec![
        first_charter_record(&charters),
        Record {
            table: Table::Journal,
            key: Core::journal_place(epoch, seat.key()),
            value: Some(encode(&seat).into()),
        },
    ]
}

/// What a newcomer's empty store must hold before its core is opened.
pub fn joining_records(application: &Application) -> Vec<Record> {
    vec![Record {
        table: Table::Meta,
        key: APPLICATION_KEY.to_vec(),
        value: Some(encode(application).into()),
    }]
}

/// What the store of a node that comes back without its log must hold besides its charters: that it has no state, not even that of genesis,
/// however it came into the domain. From there a founder would take for members whoever has rotated or was revoked since, and for
/// strangers all who came; so it takes a snapshot. `height` is what it had reached, for whoever looks into the store.
pub fn returning_record(height: u64) -> Record {
    let value = Some(height.to_be_bytes()[..].into());
    Record { table: Table::Meta, key: ADMITTED_KEY.to_vec(), value }
}

/// Of whom a journal says that it is.
fn voter<B>(record: &JournalRecord<B, PublicKey, Signature>) -> Option<PublicKey> {
    match record {
        JournalRecord::Seat { voter, .. } => Some(*voter),
        JournalRecord::Lost { .. }
        | JournalRecord::Block { .. }
        | JournalRecord::Certificate(_)
        | JournalRecord::Ballot(_) => None,
    }
}

/// The records by table and key.
struct Store(BTreeMap<(Table, Vec<u8>), Arc<[u8]>>);

impl Store {
    fn value<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, OpenError> {
        let key = (table, key.to_vec());
        self.0.get(&key).map(|value| read(table, &key.1, value)).transpose()
    }

    fn all<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        table: Table,
    ) -> impl Iterator<Item = Result<(Vec<u8>, T), OpenError>> {
        self.0
            .iter()
            .filter(move |((of, _), _)| *of == table)
            .map(move |((_, key), value)| Ok((key.clone(), read(table, key, value)?)))
    }
}

fn read<T: serde::Serialize + serde::de::DeserializeOwned>(
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<T, OpenError> {
    decode("a stored record", value, limits::MESSAGE_BYTES_MAX).map_err(|why| OpenError::Record {
        table,
        key: data_encoding::HEXLOWER.encode(key),
        why,
    })
}

/// The first charter that was believed here, and the links since.
fn open_charters(store: &Store, workshop: &dyn Workshop) -> Result<Option<Charters>, OpenError> {
    let first: Option<(DomainId, Charter)> = store.value(Table::Meta, CHARTER_KEY)?;
    let Some((domain, charter)) = first else { return Ok(None) };
    let since = if charter.epoch == 1 { Some((0, workshop.genesis(&charter)?.1.id())) } else { None };
    let mut charters = Charters::begin(domain, charter, since);
    for link in store.all::<Arc<Link>>(Table::Charters) {
        charters.adopt(&Verified::of_verified_parts(link?.1))?;
    }
    Ok(Some(charters))
}

impl Core {
    /// The core of which `records` are the whole store. Records hold what was verified before it was stored, and the host's checksums vouch
    /// for the bytes; so signatures are not checked again, but every block is executed.
    ///
    /// # Errors
    /// [`OpenError`] if the store is empty or was not written by this version. Missing or misfit blocks are no error: peers have them.
    pub fn open(config: Config, records: Vec<Record>, now: Timestamp) -> Result<Core, OpenError> {
        let store = Store(
            records
                .into_iter()
                .filter_map(|record| Some(((record.table, record.key), record.value?)))
                .collect(),
        );
        let charters = open_charters(&store, &*config.workshop)?;
        let application: Option<Application> = store.value(Table::Meta, APPLICATION_KEY)?;
        let me = config.keys.inception.node_id();
        let domain = match (&charters, &application) {
            (_, Some(application)) => application.anchor.domain,
            (Some(charters), None) => charters.domain(),
            (None, None) => return Err(OpenError::Empty),
        };

        let mut core = Core {
            me,
            domain,
            workshop: config.workshop,
            rng: seeded(config.seed),
            now,
            charters: charters.map(Box::new),
            chain: None,
            newcomer: application
                .map(|wish| Box::new(Newcomer::new(wish, config.keys.inception.clone(), now))),
            admitted: None,
            follower: Follower::new(now, 0, 1_000),
            fetch: None,
            hall: None,
            journal_lost: None,
            retired: BTreeSet::new(),
            retires: false,
            retired_unsaved: false,
            shown_the_end: BTreeMap::new(),
            journals: BTreeMap::new(),
            forgotten: VecDeque::new(),
            waiting: Waiting::default(),
            proposals: Proposals::default(),
            given: BTreeMap::new(),
            holds: Holds::default(),
            kept_back: None,
            drafts_ahead: Vec::new(),
            promised: BTreeMap::new(),
            relays: BTreeMap::new(),
            publications: BTreeMap::new(),
            rotation_again: None,
            rotated_before: false,
            anchored: None,
            renewal: None,
            renews_at: None,
            passed_on: None,
            snapshots: VecDeque::new(),
            stored_heights: Vec::new(),
            stored_chunks: 0,
            connected: BTreeSet::new(),
            rations: super::rations::Rations::default(),
            recovering: Box::default(),
            halted: None,
            dismissed: None,
            unsynced: false,
            clock_ran_back: false,
            clock_far_off: false,
            keys: Box::new(config.keys),
        };
        if let Some(newcomer) = &mut core.newcomer {
            if let Some(charters) = core.charters.as_deref() {
                newcomer.remember(charters, &*core.workshop);
            }
            return Ok(core);
        }
        let admitted = store.0.get(&(Table::Meta, ADMITTED_KEY.to_vec()));
        core.admitted = admitted.and_then(|value| Some(u64::from_be_bytes((**value).try_into().ok()?)));
        core.dismissed = store.value(Table::Meta, DISMISSED_KEY)?;
        if let Some((waiting, brought)) = store.value(Table::Meta, WAITING_KEY)? {
            (core.recovering.waiting, core.recovering.brought) = (Some(waiting), brought);
        }
        core.recovering.fork = store.value(Table::Meta, PROOF_KEY)?;
        let forked: Option<(u64, BlockId, BlockId)> = store.value(Table::Meta, FORKED_KEY)?;
        core.halted = forked.map(|(height, ours, theirs)| Alarm::Forked { height, ours, theirs });
        let retired: Option<Vec<PublicKey>> = store.value(Table::Meta, RETIRED_KEY)?;
        core.retired.extend(retired.unwrap_or_default());
        let anchored: Option<Anchor> = store.value(Table::Meta, ANCHOR_KEY)?;
        core.anchored = anchored.map(Box::new);
        core.open_log(&store)?;
        core.follower = Follower::new(now, core.jitter_at_start(), core.follow_period_ms());
        core.unsynced = core.chain.as_ref().is_some_and(|chain| chain.state().gone_count() > 0);
        core.open_hall(&store, config.journal_lost)?;
        core.open_queues(&store)?;
        core.open_rotation();
        core.renews_at = core.renewal_due();
        Ok(core)
    }

    fn jitter_at_start(&mut self) -> u64 {
        self.jitter() / 4
    }

    /// Base and final blocks, as far as they fit together: what does not is fetched again.
    fn open_log(&mut self, store: &Store) -> Result<(), OpenError> {
        let Some(charters) = self.charters.as_deref() else { return Ok(()) };
        let first = Arc::clone(&charters.first().charter);
        let genesis = if first.epoch == 1 { Some(self.workshop.genesis(&first)?) } else { None };
        let mut chunks: Vec<Arc<SnapshotChunk>> = Vec::new();
        for chunk in store.all::<SnapshotChunk>(Table::Base) {
            chunks.push(Arc::new(chunk?.1));
        }
        self.stored_chunks = chunks.len() as u32;
        let mut chain = if chunks.is_empty() {
            if self.admitted.is_some() {
                // The snapshot was still on its way, or is damaged: it is fetched.
                return Ok(());
            }
            let Some((genesis, header)) = genesis else {
                self.admitted = Some(0);
                return Ok(());
            };
            Chain::begin(genesis, header, None, None)
        } else {
            let tip = chunks[0].tip.as_deref();
            let header = tip.and_then(|tip| tip.headers.first()).cloned();
            let Some(header) = header.or(genesis.map(|(_, header)| header)) else { return Ok(()) };
            let Ok(state) = self.workshop.restore(self.domain, &header, &chunks) else {
                self.admitted = Some(self.admitted.unwrap_or(header.height));
                return Ok(());
            };
            let before = self.epoch_before(state.charter().epoch);
            Chain::begin(state, header, tip.map(|tip| Arc::new(proof_of(tip))), before)
        };
        self.admitted = None;

        let mut run: Vec<Arc<Block>> = Vec::new();
        let final_blocks =
            store.0.iter().filter(|((table, key), _)| *table == Table::Final && key != HEAD_KEY);
        for ((table, key), value) in final_blocks {
            let (block, proof): (Arc<Block>, Option<Proof>) = read(*table, key, value)?;
            self.stored_heights.push(block.header.height);
            run.push(block);
            let Some(Proof { headers, certificate }) = proof else { continue };
            let blocks = std::mem::take(&mut run);
            let proven = Verified::of_verified_parts(Arc::new(FinalChain { blocks, headers, certificate }));
            if self.replay(&mut chain, &proven).is_none() {
                break;
            }
        }
        if let Some(value) = store.0.get(&(Table::Final, HEAD_KEY.to_vec())) {
            let (header, proof): (Header, Proof) = read(Table::Final, HEAD_KEY, value)?;
            let mut headers = vec![header];
            headers.extend(proof.headers);
            let proven = FinalChain { blocks: Vec::new(), headers, certificate: proof.certificate };
            self.replay(&mut chain, &Verified::of_verified_parts(Arc::new(proven)));
        }
        chain.renew_checkpoint();
        self.chain = Some(chain);
        // Its link is in the store, or will be with the next one: the block is.
        self.adopt_charter_of_the_state();
        Ok(())
    }

    /// `None` if the log cannot be gone on with from here.
    fn replay(&mut self, chain: &mut Chain, proven: &Verified<Arc<FinalChain>>) -> Option<()> {
        use crate::following::NotTaken;
        match chain.take(proven, &*self.workshop) {
            Ok(_) | Err(NotTaken::Known) => Some(()),
            Err(
                NotTaken::Gap
                | NotTaken::LaterEpoch
                | NotTaken::Void
                | NotTaken::OtherBody
                | NotTaken::Dropped { .. }
                | NotTaken::Wrong(_),
            ) => None,
            Err(NotTaken::Forked { height, ours, theirs }) => {
                self.halted = Some(Alarm::Forked { height, ours, theirs });
                None
            }
            Err(NotTaken::DoesNotExecute { height, fault }) => {
                self.halted = Some(Alarm::DoesNotExecute { height, why: fault.to_string() });
                None
            }
        }
    }

    /// The seat, if the charter has one for us, with the journal as it is stored.
    fn open_hall(&mut self, store: &Store, lost: Option<String>) -> Result<(), OpenError> {
        for record in store.all::<Kept>(Table::Journal) {
            let (key, record) = record?;
            let Some(epoch) = key.first_chunk().map(|epoch| u64::from_be_bytes(*epoch)) else { continue };
            let record = record_with_block(record, Verified::of_verified_parts);
            self.journals.entry(epoch).or_default().push(record);
        }
        if lost.is_some() {
            self.retires = true;
            self.retired.extend(self.keys.voting.iter().map(|key| key.public()));
        }
        let Some(chain) = &self.chain else {
            // What is lost may be more than blocks: a key of which no journal is here may have signed what is not known here (SPEC 8.14).
            let journaled: BTreeSet<PublicKey> = self.journals.values().flatten().filter_map(voter).collect();
            let unknown =
                self.keys.voting.iter().map(|key| key.public()).filter(|key| !journaled.contains(key));
            let before = self.retired.len();
            self.retired.extend(unknown);
            self.retired_unsaved = self.retired.len() > before;
            return Ok(());
        };
        let (epoch, height) = (chain.state().charter().epoch, chain.head().height);
        let later = self.journals.split_off(&epoch);
        for (epoch, records) in std::mem::replace(&mut self.journals, later) {
            // Left over from an epoch that is over.
            let places = records.iter().map(|record| (height, Core::journal_place(epoch, record.key())));
            self.forgotten.extend(places);
        }
        self.take_seat(Journal::Lost(lost.unwrap_or_else(|| "the journal is missing".into())));
        Ok(())
    }

    /// A rotation may have become final and not been told of, or not have become final.
    fn open_rotation(&mut self) {
        let current = self.state().and_then(|state| state.key_of(&self.me));
        if let Some(key) = self.keys.successor.take_if(|key| Some(key.public()) == current) {
            self.keys.identity = key;
            self.rotated_before = true;
        }
        if self.is_rotating() {
            self.rotation_again = Some(Again::from(self.now));
        }
    }

    fn open_queues(&mut self, store: &Store) -> Result<(), OpenError> {
        for given in store.all::<Given>(Table::Endorsed) {
            let (key, given) = given?;
            if let Ok(id) = <[u8; 32]>::try_from(key) {
                self.given.insert(Hash(id), given);
            }
        }
        for hold in store.all::<Hold>(Table::Holds) {
            self.holds.restore(hold?.1, self.now);
        }
        for proposal in store.all::<Proposal>(Table::Proposals) {
            // One that no longer fits its limits lapses with the rest.
            let Ok(()) = self.proposals.insert(proposal?.1) else { continue };
        }
        let Some(chain) = &self.chain else { return Ok(()) };
        for entry in store.all::<Arc<Entry>>(Table::Waiting) {
            let entry = Verified::of_verified_parts(entry?.1);
            // What became final, or invalid, while it lay here is dropped.
            let Ok(_) = self.waiting.offer(&entry, chain.state(), chain.head(), self.now) else { continue };
            // Whoever should have had it may not have got it before we stopped.
            self.relays.insert(entry.statement.id(), self.now);
        }
        Ok(())
    }
}
