//! From what is stored to a core, and what must be stored before there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::core::{Config, Core, Given, Hall, seeded};
use super::drafts::FOUNDED_KEY;
use super::finality::{DISMISSED_KEY, FORKED_KEY, HEAD_KEY};
use super::input::Alarm;
use super::record::{Record, Table};
use super::rotating::Again;
use super::syncing::{ADMITTED_KEY, APPLICATION_KEY, proof_of};
use super::talk::record_with_block;
use crate::agreement::{self, Agreement, Journal, JournalRecord};
use crate::encoding::{Hash, Malformed, decode, encode};
use crate::fault::Fault;
use crate::following::{Chain, Follower, Proof};
use crate::identity::{PublicKey, Signature, Verified};
use crate::joining::{Application, Newcomer, Proposal, Proposals, Waiting};
use crate::limits;
use crate::state::{Block, BlockId, Entry, FinalChain, Founded, Header, SnapshotChunk, State};
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
    let seat: Kept =
        JournalRecord::Seat { domain: founded.domain(), epoch: founded.charter.epoch, voter: *voting_key };
    vec![
        Record { table: Table::Meta, key: FOUNDED_KEY.to_vec(), value: Some(encode(&**founded).into()) },
        Record {
            table: Table::Journal,
            key: seat.key().to_bytes().to_vec(),
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

const NO_VOTING_KEY: &str = "the voting key of this seat is not in this directory";

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
        let founded: Option<Founded> = store.value(Table::Meta, FOUNDED_KEY)?;
        let founded = founded.map(Verified::of_verified_parts);
        let application: Option<Application> = store.value(Table::Meta, APPLICATION_KEY)?;
        let me = config.keys.inception.node_id();
        let domain = match (&founded, &application) {
            (_, Some(application)) => application.anchor.domain,
            (Some(founded), None) => founded.domain(),
            (None, None) => return Err(OpenError::Empty),
        };

        let mut core = Core {
            me,
            domain,
            workshop: config.workshop,
            rng: seeded(config.seed),
            now,
            founded: founded.map(Box::new),
            chain: None,
            newcomer: application
                .map(|wish| Box::new(Newcomer::new(wish, config.keys.inception.clone(), now))),
            admitted: None,
            follower: Follower::new(now, 0, 1_000),
            fetch: None,
            hall: None,
            journal_lost: None,
            forgotten: VecDeque::new(),
            waiting: Waiting::default(),
            proposals: Proposals::default(),
            given: BTreeMap::new(),
            drafts_ahead: Vec::new(),
            promised: BTreeMap::new(),
            relays: BTreeMap::new(),
            publications: BTreeMap::new(),
            rotation_again: None,
            rotated_before: false,
            passed_on: None,
            snapshots: VecDeque::new(),
            stored_heights: Vec::new(),
            stored_chunks: 0,
            connected: BTreeSet::new(),
            rations: super::rations::Rations::default(),
            halted: None,
            dismissed: None,
            unsynced: false,
            clock_ran_back: false,
            clock_far_off: false,
            keys: Box::new(config.keys),
        };
        if core.newcomer.is_some() {
            return Ok(core);
        }
        let admitted = store.0.get(&(Table::Meta, ADMITTED_KEY.to_vec()));
        core.admitted = admitted.and_then(|value| Some(u64::from_be_bytes((**value).try_into().ok()?)));
        core.dismissed = store.value(Table::Meta, DISMISSED_KEY)?;
        let forked: Option<(u64, BlockId, BlockId)> = store.value(Table::Meta, FORKED_KEY)?;
        core.halted = forked.map(|(height, ours, theirs)| Alarm::Forked { height, ours, theirs });
        core.open_log(&store)?;
        core.follower = Follower::new(now, core.jitter_at_start(), core.follow_period_ms());
        core.unsynced = core.chain.as_ref().is_some_and(|chain| chain.state().gone_count() > 0);
        core.open_hall(&store, config.journal_lost)?;
        core.open_queues(&store)?;
        core.open_rotation();
        Ok(core)
    }

    fn jitter_at_start(&mut self) -> u64 {
        self.jitter() / 4
    }

    /// Base and final blocks, as far as they fit together: what does not is fetched again.
    fn open_log(&mut self, store: &Store) -> Result<(), OpenError> {
        let Some(founded) = self.founded.clone() else { return Ok(()) };
        let (genesis, genesis_header) = State::genesis(&founded)?;
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
            Chain::begin(genesis, genesis_header, None)
        } else {
            let tip = chunks[0].tip.as_deref();
            let header = tip.and_then(|tip| tip.headers.first()).cloned().unwrap_or(genesis_header);
            let Ok(state) = self.workshop.restore(&founded, &header, &chunks) else {
                self.admitted = Some(self.admitted.unwrap_or(header.height));
                return Ok(());
            };
            Chain::begin(state, header, tip.map(|tip| Arc::new(proof_of(tip))))
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
        Ok(())
    }

    /// `None` if the log cannot be gone on with from here.
    fn replay(&mut self, chain: &mut Chain, proven: &Verified<Arc<FinalChain>>) -> Option<()> {
        use crate::following::NotTaken;
        match chain.take(proven, &*self.workshop) {
            Ok(_) | Err(NotTaken::Known) => Some(()),
            Err(NotTaken::Gap | NotTaken::OtherBody | NotTaken::Wrong(_)) => None,
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
        let Some(chain) = &self.chain else { return Ok(()) };
        let charter = chain.state().charter();
        let Some(seat) = charter.seat_of(&self.me) else { return Ok(()) };
        let voter = seat.voting_key;
        let has_key = self.keys.voting.as_ref().is_some_and(|key| key.public() == voter);
        let mut kept = Vec::new();
        for record in store.all::<Kept>(Table::Journal) {
            kept.push(record_with_block(record?.1, Verified::of_verified_parts));
        }
        let journal = match lost {
            Some(why) => Journal::Lost(why),
            None if !has_key => Journal::Lost(NO_VOTING_KEY.into()),
            None if kept.is_empty() => Journal::Lost("the journal is missing".into()),
            None => Journal::Intact(kept),
        };
        let config = agreement::Config {
            domain: self.domain,
            epoch: charter.epoch,
            voters: charter.endorsers.iter().map(|seat| seat.voting_key).collect(),
            quorum: charter.quorum(),
            me: voter,
            first_timeout_ms: charter.timing.first_timeout_ms,
            timeout_cap_ms: charter.timing.timeout_cap_ms,
            genesis: self.genesis_id(),
            genesis_height: 0,
        };
        if self.keys.voting.is_none() {
            // Agreement needs somebody to sign for it. Without it the node follows, and says why.
            self.journal_lost = Some(NO_VOTING_KEY.into());
            return Ok(());
        }
        let hall: Hall = Agreement::start(config, journal, self.now);
        self.hall = Some(Box::new(hall));
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

    fn genesis_id(&self) -> BlockId {
        let founded = self.founded.as_deref().map(State::genesis);
        match founded {
            Some(Ok((_, header))) => header.id(),
            Some(Err(_)) | None => BlockId::NONE,
        }
    }

    fn open_queues(&mut self, store: &Store) -> Result<(), OpenError> {
        for given in store.all::<Given>(Table::Endorsed) {
            let (key, given) = given?;
            if let Ok(id) = <[u8; 32]>::try_from(key) {
                self.given.insert(Hash(id), given);
            }
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
