//! From what is stored to a core, and what must be stored before there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::accusing::LIE_KEY;
use super::anchoring::{ANCHOR_KEY, Anchored};
use super::core::{Config, Core, seeded};
use super::epochs::{CHARTER_KEY, RETIRED_KEY, first_charter_record};
use super::finality::{DISMISSED_KEY, FORKED_KEY, HEAD_KEY};
use super::given::Given;
use super::holding::Holds;
use super::holding::LOST_ON_KEY;
use super::input::Alarm;
use super::paths::PATHS_KEY;
use super::pruning::{Base, LogOnDisk};
use super::record::{Record, Table};
use super::recovering::{PROOF_KEY, Recovering, WAITING_KEY};
use super::rotating::Again;
use super::sessions::Sessions;
use super::syncing::{ADMITTED_KEY, APPLICATION_KEY, proof_of};
use super::talk::record_with_block;
use crate::agreement::{Journal, JournalRecord};
use crate::encoding::{Hash, Malformed, decode, encode};
use crate::fault::Fault;
use crate::following::{Chain, Charters, Follower, Link, NotTaken, Proof, Workshop};
use crate::identity::{PublicKey, Signature, Verified};
use crate::joining::{Anchor, Application, Newcomer, Proposal, Proposals, Waiting};
use crate::limits;
use crate::state::{
    Block, BlockId, Charter, DomainId, Entry, FinalChain, Founded, Header, Hold, MapProof, Place,
    SnapshotChunk,
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

/// The stored states, the oldest first. They are not read yet: most of the time one of them is not needed, and they are large.
fn stored_bases(store: &Store) -> Result<Vec<Base>, OpenError> {
    let mut bases: BTreeMap<u64, Base> = BTreeMap::new();
    for ((table, place), value) in store.0.iter().filter(|((table, _), _)| *table == Table::Base) {
        let height = match place.first_chunk() {
            Some(height) => u64::from_be_bytes(*height),
            // As they were kept before there were two.
            None => {
                let chunk: SnapshotChunk = read(*table, place, value)?;
                chunk.tip.as_deref().and_then(|tip| tip.headers.first()).map_or(0, |header| header.height)
            }
        };
        let base = bases.entry(height).or_insert(Base { height, places: Vec::new(), bytes: 0 });
        base.places.push(place.clone());
        base.bytes += value.len();
    }
    Ok(bases.into_values().collect())
}

/// Reads the parts of a stored state, and lets go of their bytes one by one.
fn take_parts(store: &mut Store, base: &Base) -> Result<Vec<Arc<SnapshotChunk>>, OpenError> {
    let mut parts = Vec::with_capacity(base.places.len());
    for place in &base.places {
        if let Some(value) = store.0.remove(&(Table::Base, place.clone())) {
            parts.push(Arc::new(read(Table::Base, place, &value)?));
        }
    }
    Ok(parts)
}

/// The stored blocks.
struct StoredLog {
    /// As they were proven, the head last.
    runs: Vec<Verified<Arc<FinalChain>>>,
    /// The header of the lowest.
    first: Option<Header>,
    /// Their heights, and how many bytes each has.
    sizes: Vec<(u64, usize)>,
    /// The ways to what a state in part did not hold by itself, by the block that the state is after.
    paths: Vec<(BlockId, Vec<(Place, MapProof)>)>,
    /// Where those lie.
    paths_at: Vec<(u64, u32)>,
}

fn stored_log(store: &Store) -> Result<StoredLog, OpenError> {
    let mut log = StoredLog {
        runs: Vec::new(),
        first: None,
        sizes: Vec::new(),
        paths: Vec::new(),
        paths_at: Vec::new(),
    };
    let proven = |chain: FinalChain| Verified::of_verified_parts(Arc::new(chain));
    let mut blocks: Vec<Arc<Block>> = Vec::new();
    let all = store.0.iter().filter(|((table, key), _)| *table == Table::Final && key != HEAD_KEY);
    for ((table, key), value) in all {
        if let Some(place) = key.strip_prefix(PATHS_KEY) {
            let (Some(height), Some(number)) = (place.first_chunk(), place.last_chunk()) else { continue };
            log.paths_at.push((u64::from_be_bytes(*height), u32::from_be_bytes(*number)));
            log.paths.push(read(*table, key, value)?);
            continue;
        }
        let (block, proof): (Arc<Block>, Option<Proof>) = read(*table, key, value)?;
        log.sizes.push((block.header.height, value.len()));
        log.first.get_or_insert_with(|| block.header.clone());
        blocks.push(block);
        if let Some(Proof { headers, certificate }) = proof {
            log.runs.push(proven(FinalChain { blocks: std::mem::take(&mut blocks), headers, certificate }));
        }
    }
    if let Some(value) = store.0.get(&(Table::Final, HEAD_KEY.to_vec())) {
        let (header, proof): (Header, Proof) = read(Table::Final, HEAD_KEY, value)?;
        let mut headers = vec![header];
        headers.extend(proof.headers);
        log.runs.push(proven(FinalChain { blocks: Vec::new(), headers, certificate: proof.certificate }));
    }
    Ok(log)
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
        let mut store = Store(
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
            reached: 0,
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
            proofs: BTreeMap::new(),
            publications: BTreeMap::new(),
            rotation_again: None,
            rotated_before: false,
            anchored: None,
            renewal: None,
            renews_at: None,
            sessions: Sessions::begin(&config.seed, now),
            passed_on: None,
            lacking: None,
            wants_whole: false,
            past: VecDeque::new(),
            snapshots: VecDeque::new(),
            archive: config.archive,
            on_disk: LogOnDisk::default(),
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
        let anchored = store.value::<Anchor>(Table::Meta, ANCHOR_KEY)?.map(Anchored::at);
        core.anchored = anchored.map(Box::new);
        core.reached = core.admitted.unwrap_or(0);
        core.open_log(&mut store)?;
        if let Some(head) = core.chain.as_ref().map(|chain| chain.head().time) {
            // A clock that is late at the start is no reason to take what this node said before for another's.
            core.sessions.began_after(head);
        }
        core.open_recovery();
        if core.chain.is_none() {
            // What it saw of a fork, or of a recovery, was of a log that it does not have any more: others show it, if it is so still.
            core.halted = None;
            *core.recovering = Recovering::default();
        }
        core.follower = Follower::new(now, core.jitter_at_start(), core.follow_period_ms());
        core.wants_whole = core.archive && core.chain.as_ref().is_some_and(|chain| !chain.state().is_whole());
        core.unsynced = core.chain.as_ref().is_some_and(|chain| chain.state().is_anybody_gone());
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
    fn open_log(&mut self, store: &mut Store) -> Result<(), OpenError> {
        let Some(charters) = self.charters.as_deref() else { return Ok(()) };
        let (first, epoch) = (Arc::clone(&charters.first().charter), charters.newest().charter.epoch);
        let genesis = if first.epoch == 1 { Some(self.workshop.genesis(&first)?) } else { None };
        let (bases, log) = (stored_bases(store)?, stored_log(store)?);
        self.on_disk = LogOnDisk::found(bases.clone(), log.sizes, log.paths_at);

        // From the oldest on, since most can be served from there; from a newer one only if the way to that is broken.
        let newest = bases.last().map_or(0, |base| base.height);
        let halted = self.halted.clone();
        let mut best: Option<Chain> = None;
        let from_genesis = match (&genesis, &log.first) {
            (Some((_, header)), Some(first)) => header.id() == first.previous,
            // Whoever knows of a later charter has seen more than that.
            (Some(_), None) => bases.is_empty() && self.admitted.is_none() && epoch == first.epoch,
            (None, _) => false,
        };
        let genesis_header = genesis.as_ref().map(|(_, header)| header.clone());
        let mut begun =
            genesis.filter(|_| from_genesis).map(|(state, header)| Chain::begin(state, header, None, None));
        let mut bases = bases.iter();
        // What was recovered is of a later epoch, and may lie lower than what it dropped.
        let far = |chain: &Chain| (chain.state().charter().epoch, chain.head().height);
        loop {
            if let Some(mut chain) = begun.take() {
                self.halted = halted.clone();
                self.replay(&mut chain, &log.runs, &log.paths);
                if best.as_ref().is_none_or(|best| far(best) < far(&chain)) {
                    best = Some(chain);
                }
            }
            let reached = best.as_ref().is_some_and(|best| far(best) >= (epoch, newest));
            let Some(base) = bases.next().filter(|_| !reached) else { break };
            begun = self.restored(take_parts(store, base)?, genesis_header.as_ref());
        }
        let Some(chain) = best else {
            // A snapshot was still on its way; or what is here is damaged, and nothing leads on from what is left. It is fetched.
            self.admitted = Some(self.admitted.unwrap_or(newest));
            return Ok(());
        };
        self.admitted = None;
        self.chain = Some(chain);
        // Its link is in the store, or will be with the next one: the block is.
        self.adopt_charter_of_the_state();
        Ok(())
    }

    /// The chain that a stored state begins; none if it is damaged.
    fn restored(&self, chunks: Vec<Arc<SnapshotChunk>>, genesis: Option<&Header>) -> Option<Chain> {
        let tip = chunks.first()?.tip.as_deref();
        let header = tip.map_or(genesis, |tip| tip.headers.first())?.clone();
        let state = self.workshop.restore(self.domain, &header, &chunks).ok()?;
        let before = self.epoch_before(state.charter().epoch);
        Some(Chain::begin(state, header, tip.map(|tip| Arc::new(proof_of(tip))), before))
    }

    /// Executes what follows, as far as it does.
    fn replay(
        &mut self,
        chain: &mut Chain,
        runs: &[Verified<Arc<FinalChain>>],
        paths: &[(BlockId, Vec<(Place, MapProof)>)],
    ) {
        for run in runs {
            let at = chain.state().last_id();
            for (_, paths) in paths.iter().filter(|(block, _)| *block == at) {
                // What is damaged leads nowhere: it is asked for anew.
                let grafted = chain.state().grafted(paths.iter().map(|(place, path)| (place, path)));
                grafted.into_iter().for_each(|state| chain.hold_more(state));
            }
            let is_old = run.tip().is_none_or(|tip| tip.height <= chain.head().height);
            if !is_old && self.replay_one(chain, run).is_none() {
                break;
            }
        }
    }

    /// `None` if the log cannot be gone on with from here.
    fn replay_one(&mut self, chain: &mut Chain, proven: &Verified<Arc<FinalChain>>) -> Option<()> {
        match chain.take(proven, &*self.workshop) {
            Ok(_) => {
                // Where it was moved on to before the restart.
                chain.renew_checkpoint();
                Some(())
            }
            Err(NotTaken::Known) => Some(()),
            Err(
                NotTaken::Gap
                | NotTaken::LaterEpoch
                | NotTaken::Void
                | NotTaken::PathsMissing { .. }
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
        self.holds.lost_on = store.value(Table::Meta, LOST_ON_KEY)?;
        for hold in store.all::<Hold>(Table::Holds) {
            self.holds.restore(hold?.1, self.now);
        }
        for proposal in store.all::<Proposal>(Table::Proposals) {
            // One that no longer fits its limits lapses with the rest.
            let Ok(()) = self.proposals.insert(proposal?.1) else { continue };
        }
        let proofs =
            store.0.iter().filter(|((table, key), _)| *table == Table::Meta && key.starts_with(LIE_KEY));
        for ((table, key), value) in proofs {
            let entry: Arc<Entry> = read(*table, key, value)?;
            let Some(subject) = entry.statement.subject() else { continue };
            self.proofs.insert(subject, Verified::of_verified_parts(entry));
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
