//! What a node keeps: records of the core, as durable as their tables ask, and a few notes of the host's own.
//!
//! ```text
//! store.lock          one process at a time
//! store/label         whose it is, in plain text
//! store/journal       what nobody else can restore: `Durability::Synced`
//! store/tables/       sled: what peers can restore, and copies and notes that help
//! store/stopped       after a clean stop: how much the tables hold
//! store/quarantine/   what was found damaged
//! ```
//!
//! **Invariant:** when [`Store::commit`] returns, the synced records among those given are on the disk, all of them; when it fails, the
//! store takes nothing more. Whatever rests on them may be sent after the one and never after the other.

mod error;
mod journal;
mod lock;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frith_protocol::door::{Durability, Record, Table};
use frith_protocol::identity::NodeId;
use frith_protocol::limits::ARCHIVE_ANSWER_BYTES_MAX;
use frith_protocol::state::DomainId;
use serde::{Deserialize, Serialize};

use crate::kill_point::kill_point;
pub use error::{Damage, StoreError};
use journal::{Journal, Reading};
use lock::Lock;
use tables::{Quarantine, Tables};

/// The format that this code writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Whose store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// The domain that it lives in.
    pub domain: DomainId,
}

/// An open store. Blocking: callers on a runtime's thread say so to the runtime.
pub struct Store {
    dir: PathBuf,
    owner: Owner,
    journal: Journal,
    tables: Tables,
    _lock: Lock,
    /// As if the disk were full from then on.
    #[cfg(test)]
    full: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

/// What opening a store gives.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// All records but the archive's, in (table, key) order: what the core is opened with.
    pub records: Vec<Record>,
    /// What was found damaged, and set aside.
    pub damage: Vec<Damage>,
}

/// The plain-text file that says whose store it is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    format: u32,
    node: NodeId,
    domain: DomainId,
}

/// Only the format: read first, since a newer label may hold anything else.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Store {
    /// Makes the store of a new founder or newcomer at `dir`, holding `records` and the host's `notes`: all of it or, whatever
    /// happens, none.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is a store already; others if it cannot be written.
    pub fn create(
        dir: &Path,
        owner: Owner,
        records: &[Record],
        notes: &[(&str, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let _lock = Lock::take(&lock_path(dir))?;
        if let Some(label) = read_label(dir)? {
            return Err(StoreError::Exists { path: dir.to_path_buf(), domain: label.domain });
        }
        if dir.exists() {
            let why = "there is a directory without a label, so whose it is cannot be told".to_string();
            return Err(StoreError::BadLabel { path: dir.to_path_buf(), why });
        }
        let new = dir.with_extension("new");
        match fs::remove_dir_all(&new) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io(&new, "remove what an earlier attempt left")(e));
            }
            Ok(()) | Err(_) => {}
        }
        let made = Store::make(&new, owner, records, notes)
            .and_then(|()| fs::rename(&new, dir).map_err(StoreError::io(dir, "put the store in its place")))
            .and_then(|()| journal::sync_dir_of(dir));
        if made.is_err() {
            drop(fs::remove_dir_all(&new));
        }
        made
    }

    fn make(
        new: &Path,
        owner: Owner,
        records: &[Record],
        notes: &[(&str, Vec<u8>)],
    ) -> Result<(), StoreError> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(new)
            .map_err(StoreError::io(new, "create the store's directory"))?;
        let mut birth = [0; 16];
        rand::fill(&mut birth);
        let mut journal = Journal::create(&new.join("journal"), owner, birth)?;
        let (tables, _) = Tables::open(&new.join("tables"), &Quarantine(new.join("quarantine")))?;
        write(&mut journal, &tables, records)?;
        for (name, value) in notes {
            tables.put(&note_key(name), Some(value))?;
        }
        tables.flush()?;
        drop(tables);

        let path = new.join("label");
        let label = Label { format: FORMAT, node: owner.node, domain: owner.domain };
        let text = toml::to_string(&label).expect("a label is plain TOML");
        let text = format!("# A frith node's store. Nothing in here is for editing.\n{text}");
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(StoreError::io(&path, "write the label"))?;
        journal::sync_dir_of(&path)
    }

    /// Whose the store at `dir` is; `None` if there is none.
    ///
    /// # Errors
    /// If its label cannot be read, or is of a newer format.
    pub fn owner_of(dir: &Path) -> Result<Option<Owner>, StoreError> {
        Ok(read_label(dir)?.map(|label| Owner { node: label.node, domain: label.domain }))
    }

    /// Opens the store at `dir`, which must be `node`'s, and of `domain` if one is given.
    ///
    /// # Errors
    /// If it is another's, of a newer format, in use, or cannot be read or written. Damage is no error: it is set aside and reported.
    pub fn open(dir: &Path, node: NodeId, domain: Option<DomainId>) -> Result<Opened, StoreError> {
        let Some(label) = read_label(dir)? else {
            return Err(StoreError::Missing { path: dir.to_path_buf() });
        };
        let owner = Owner { node: label.node, domain: label.domain };
        if owner.node != node {
            return Err(StoreError::OtherNode { path: dir.to_path_buf(), theirs: owner.node, ours: node });
        }
        match domain {
            Some(ours) if ours != owner.domain => {
                return Err(StoreError::OtherDomain { path: dir.to_path_buf(), theirs: owner.domain, ours });
            }
            Some(_) | None => {}
        }
        let lock = Lock::take(&lock_path(dir))?;
        let quarantine = Quarantine(dir.join("quarantine"));
        let mut damage = Vec::new();
        let (tables, broken) = Tables::open(&dir.join("tables"), &quarantine)?;
        damage.extend(broken);
        let journal = open_journal(dir, owner, &tables, &quarantine, &mut damage)?;

        let mut records = journal.records()?;
        let stopped = Stopped::take(dir)?;
        for table in restorable().filter(|table| *table != Table::Archive) {
            let (known, read) = (damage.len(), tables.read(table, &quarantine, &mut damage)?);
            let found = (read.len() + damage.len() - known) as u64;
            let count = stopped.as_ref().map_or(0, |stopped| stopped.held(table).saturating_sub(found));
            if count > 0 && !damage.iter().any(|damage| matches!(damage, Damage::Tables { .. })) {
                damage.push(Damage::Missing { table, count });
            }
            records.extend(read);
        }
        records.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        let store = Store {
            dir: dir.to_path_buf(),
            owner,
            journal,
            tables,
            _lock: lock,
            #[cfg(test)]
            full: std::sync::Arc::default(),
        };
        Ok(Opened { store, records, damage })
    }

    /// Stores `records` in order. The synced ones among them are on the disk when this returns.
    ///
    /// # Errors
    /// If they cannot be stored. Then whatever rests on them must not be sent, and the store takes nothing more.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        #[cfg(test)]
        self.fill_if_told()?;
        write(&mut self.journal, &self.tables, records).inspect_err(|_| self.journal.fail())?;
        if self.journal.wants_compaction()
            && let Err(e) = self.journal.compact()
        {
            // The old file goes on. If it cannot, the next commit says so.
            tracing::warn!(error = %e, "the journal could not be rewritten; it goes on growing for now");
        }
        Ok(())
    }

    /// What follows `height` in the archive: the newest block up to there, and those above, as much as fits an answer.
    ///
    /// # Errors
    /// If the database fails.
    pub fn archived(&self, height: u64) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.tables.from(Table::Archive, &height.to_be_bytes(), ARCHIVE_ANSWER_BYTES_MAX)
    }

    /// What the archive has from `height` down: the newest block up to there, and those below, as much as has `most` bytes.
    ///
    /// # Errors
    /// If the database fails.
    pub fn archived_down(&self, height: u64, most: usize) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.tables.down_from(Table::Archive, &height.to_be_bytes(), most)
    }

    /// Returns when everything that was ever stored is on the disk, restorable records included.
    ///
    /// # Errors
    /// If it cannot be put there. Then whatever rests on it must not be sent, and the store takes nothing more.
    pub fn sync_all(&mut self) -> Result<(), StoreError> {
        self.tables.sync().inspect_err(|_| self.journal.fail())
    }

    /// Whoever sets it makes every later write fail as on a full disk.
    #[cfg(test)]
    pub(crate) fn full(&self) -> std::sync::Arc<std::sync::atomic::AtomicBool> {
        std::sync::Arc::clone(&self.full)
    }

    #[cfg(test)]
    fn fill_if_told(&mut self) -> Result<(), StoreError> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            let path = Path::new("/dev/full");
            let full = fs::OpenOptions::new().write(true).open(path).map_err(StoreError::io(path, "open"))?;
            drop(self.journal.replace_file(full));
        }
        Ok(())
    }

    /// All synced records: what nobody else has.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn synced(&self) -> Result<Vec<Record>, StoreError> {
        self.journal.records()
    }

    /// Whose it is.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A note of the host's own: something that only helps, and may be missing or old.
    ///
    /// # Errors
    /// If the database fails.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.tables.get(&note_key(name))
    }

    /// Writes such a note, when convenient.
    ///
    /// # Errors
    /// If the database fails.
    pub fn set_note(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.tables.put(&note_key(name), Some(value))
    }

    /// Writes everything out and closes.
    ///
    /// # Errors
    /// If the last of what peers can restore could not be written.
    pub fn close(self) -> Result<(), StoreError> {
        self.tables.flush()?;
        Stopped::leave(&self.dir, &self.tables)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Synced records to the journal, one frame; then the others, with a copy of [`Table::Meta`], and how far the journal is.
fn write(journal: &mut Journal, tables: &Tables, records: &[Record]) -> Result<(), StoreError> {
    let (synced, restorable): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record.table.durability() == Durability::Synced);
    if !synced.is_empty() {
        journal.append(&synced)?;
    }
    // Without the founding charter a node is nobody; so a lost journal shall not cost it that, too.
    let copied = synced.iter().copied().filter(|record| record.table == Table::Meta);
    let mark = (!synced.is_empty()).then(|| journal.mark());
    tables.write(copied.chain(restorable), mark)?;
    kill_point("after the tables are written");
    Ok(())
}

/// The journal as it was, or a new one with what can be saved of it: never with [`Table::Journal`], of which an endorser must know
/// that it has all or that it has lost it (SPEC 8.14).
fn open_journal(
    dir: &Path,
    owner: Owner,
    tables: &Tables,
    quarantine: &Quarantine,
    damage: &mut Vec<Damage>,
) -> Result<Journal, StoreError> {
    let path = dir.join("journal");
    journal::remove_if_there(&path.with_extension("new"))?;
    let mark = tables.mark()?;
    let mut saved = BTreeMap::new();
    let why = match Journal::read(&path, owner)? {
        Reading::Intact { journal, torn_bytes } => {
            if torn_bytes > 0 {
                tracing::info!(
                    bytes = torn_bytes,
                    "the journal ended in a write that was never finished; cut off"
                );
            }
            match (mark, journal.mark()) {
                (Some(mark), ours) if mark.birth == ours.birth && mark.sequence > ours.sequence => {
                    saved.extend(
                        journal
                            .records()?
                            .into_iter()
                            .map(|record| ((record.table, record.key), record.value.unwrap_or_default())),
                    );
                    format!(
                        "its end is missing: it had come to frame {}, and ends after {}",
                        mark.sequence, ours.sequence
                    )
                }
                (Some(mark), ours) if mark.birth != ours.birth => {
                    "it is the journal of another life of this node".to_string()
                }
                (Some(_) | None, _) => return Ok(journal),
            }
        }
        Reading::Missing => "the file is missing".to_string(),
        Reading::Foreign { owner } => {
            format!("it belongs to node {} in domain {}", owner.node, owner.domain)
        }
        Reading::Newer { version } => {
            return Err(StoreError::Newer { path, theirs: u32::from(version), ours: FORMAT });
        }
        Reading::Damaged { why, before } => {
            saved = before;
            why
        }
    };
    let kept = if path.exists() { Some(quarantine.keep_a_link(&path, "journal")?) } else { None };
    damage.push(Damage::Journal { why, kept });

    saved.retain(|(table, _), _| *table != Table::Journal);
    for record in tables.read(Table::Meta, quarantine, damage)? {
        saved.entry((record.table, record.key)).or_insert(record.value.unwrap_or_default());
    }
    let saved: Vec<Record> =
        saved.into_iter().map(|((table, key), value)| Record { table, key, value: Some(value) }).collect();
    let mut birth = [0; 16];
    rand::fill(&mut birth);
    let journal = Journal::replace(&path, owner, birth, &saved)?;
    // Flushed at once: with the old mark, the new journal would count as another life's.
    tables.write([].into_iter(), Some(journal.mark()))?;
    tables.flush()?;
    Ok(journal)
}

fn note_key(name: &str) -> Vec<u8> {
    format!("note {name}").into_bytes()
}

fn restorable() -> impl Iterator<Item = Table> {
    Table::ALL.into_iter().filter(|table| table.durability() == Durability::Restorable)
}

/// How many records the database held at a clean stop. sled mends a broken log by forgetting its end, and tells nobody; after a crash
/// there is nothing to compare with, and forgetting is what a crash may do.
#[derive(Serialize, Deserialize)]
struct Stopped {
    held: BTreeMap<String, u64>,
}

impl Stopped {
    fn held(&self, table: Table) -> u64 {
        self.held.get(&format!("{table:?}")).copied().unwrap_or(0)
    }

    /// Reads the note, and takes it away: it is true only until the store is used again.
    fn take(dir: &Path) -> Result<Option<Stopped>, StoreError> {
        let path = dir.join("stopped");
        let stopped = fs::read_to_string(&path).ok().and_then(|text| toml::from_str(&text).ok());
        journal::remove_if_there(&path)?;
        Ok(stopped)
    }

    fn leave(dir: &Path, tables: &Tables) -> Result<(), StoreError> {
        let path = dir.join("stopped");
        let count = |table: Table| Ok((format!("{table:?}"), tables.count(table)?));
        let held = restorable().map(count).collect::<Result<_, StoreError>>()?;
        let text = toml::to_string(&Stopped { held }).expect("counts are plain TOML");
        fs::write(&path, text).map_err(StoreError::io(&path, "note the clean stop"))
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.with_extension("lock")
}

fn read_label(dir: &Path) -> Result<Option<Label>, StoreError> {
    let path = dir.join("label");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // A store without its label is refused where it would be made anew, or opened.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io(&path, "read the label")(e)),
    };
    let bad = |e: toml::de::Error| StoreError::BadLabel { path: path.clone(), why: e.to_string() };
    let Format { format } = toml::from_str(&text).map_err(bad)?;
    if format > FORMAT {
        return Err(StoreError::Newer { path: dir.to_path_buf(), theirs: format, ours: FORMAT });
    }
    toml::from_str(&text).map(Some).map_err(bad)
}
