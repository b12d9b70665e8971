//! What peers can restore, and what only helps: sled, each value with a checksum that binds its table and key.
//!
//! sled says of itself that it is beta, and may panic on bytes that it did not write: every call is fenced. Whatever does not open or
//! verify is set aside, never used and never thrown away.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use frith_protocol::door::{Record, Table};
use rustix::fs::{FlockOperation, flock};

use super::error::{Damage, StoreError};
use super::journal::{Mark, sync_dir_of};

/// The version byte of a sealed value.
const VERSION: u8 = 1;
const CHECK: usize = 32;
/// What sled may keep in memory. Its default is a gigabyte, and a node reads its store once.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// How long an earlier handle's threads may take to end.
const HANDLE_PATIENCE: Duration = Duration::from_secs(5);
/// How long written blocks may stay unflushed. Losing them to a crash costs asking a peer.
const FLUSH_EVERY_MS: u64 = 250;

/// A name for our own tree, beside those of the core.
pub(super) const HOST: &str = "host";
const MARK: &[u8] = b"journal mark";

pub(super) struct Tables {
    path: PathBuf,
    db: sled::Db,
}

/// `value` as it is stored under `key`.
fn seal(tree: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(1 + value.len() + CHECK);
    sealed.push(VERSION);
    sealed.extend_from_slice(value);
    let check = check(tree, key, &sealed);
    sealed.extend_from_slice(&check);
    sealed
}

fn check(tree: &str, key: &[u8], versioned: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new_derive_key("frith 2026-11 stored value v1");
    for part in [tree.as_bytes(), key] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.update(versioned).finalize().as_bytes()
}

fn unseal<'a>(tree: &str, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], String> {
    let Some((versioned, found)) = sealed.len().checked_sub(CHECK).map(|at| sealed.split_at(at)) else {
        return Err(format!("it has {} bytes, fewer than its checksum", sealed.len()));
    };
    if check(tree, key, versioned)[..] != *found {
        return Err("its checksum does not hold".into());
    }
    match versioned.split_first() {
        Some((&VERSION, value)) => Ok(value),
        Some((version, _)) => Err(format!("it has version {version}, and this frith knows {VERSION}")),
        None => Err("it is empty".into()),
    }
}

/// The tree of a table. Stored names: never change one.
fn tree_of(table: Table) -> &'static str {
    match table {
        Table::Meta => "meta",
        Table::Journal => "journal",
        Table::Endorsed => "endorsed",
        Table::Proposals => "proposals",
        Table::Waiting => "waiting",
        Table::Final => "final",
        Table::Base => "base",
        Table::Charters => "charters",
        Table::Holds => "holds",
        Table::Archive => "archive",
    }
}

impl Tables {
    /// Opens the database at `path`, or makes it. One that does not open is moved to `quarantine`, and a new one made.
    pub(super) fn open(path: &Path, quarantine: &Quarantine) -> Result<(Tables, Option<Damage>), StoreError> {
        match Tables::try_open(path) {
            Ok(tables) => Ok((tables, None)),
            // Not the database's fault, so moving it away would help nobody.
            Err(e @ StoreError::Io { .. }) => Err(e),
            Err(StoreError::Tables { why, .. }) => {
                let kept = quarantine.take_in(path, "tables")?;
                let tables = Tables::try_open(path)?;
                Ok((tables, Some(Damage::Tables { why, kept })))
            }
            Err(other) => Err(other),
        }
    }

    fn try_open(path: &Path) -> Result<Tables, StoreError> {
        wait_for_an_earlier_handle(path);
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .mode(sled::Mode::LowSpace);
        let db = fenced(path, || config.open())?;
        Ok(Tables { path: path.to_path_buf(), db })
    }

    fn tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        fenced(&self.path, || self.db.open_tree(name))
    }

    /// Everything that verifies, by tree; what does not is set aside, and named in `damage`.
    pub(super) fn read(
        &self,
        table: Table,
        quarantine: &Quarantine,
        damage: &mut Vec<Damage>,
    ) -> Result<Vec<Record>, StoreError> {
        let name = tree_of(table);
        let tree = self.tree(name)?;
        let all = fenced(&self.path, || tree.iter().collect::<Result<Vec<_>, _>>())?;
        let mut records = Vec::with_capacity(all.len());
        for (key, sealed) in all {
            match unseal(name, &key, &sealed) {
                Ok(value) => {
                    records.push(Record { table, key: key.to_vec(), value: Some(value.into()) });
                }
                Err(why) => {
                    let hex = hex(&key);
                    let kept = quarantine.write(&format!("{name}-{}", &hex[..hex.len().min(64)]), &sealed)?;
                    fenced(&self.path, || tree.remove(&key))?;
                    damage.push(Damage::Record { table, key: hex, why, kept });
                }
            }
        }
        Ok(records)
    }

    /// What `table` holds from the newest key up to `key` on, in order, until it has `most` bytes; nothing of what does not verify, nor
    /// of what comes after.
    pub(super) fn from(&self, table: Table, key: &[u8], most: usize) -> Result<Vec<Arc<[u8]>>, StoreError> {
        let name = tree_of(table);
        let tree = self.tree(name)?;
        fenced(&self.path, || {
            let first = tree.get_lt([key, &[0]].concat())?.map_or(sled::IVec::from(key), |(key, _)| key);
            let (mut found, mut bytes) = (Vec::new(), 0);
            for item in tree.range(first..) {
                let (key, sealed) = item?;
                let Ok(value) = unseal(name, &key, &sealed) else { break };
                bytes += value.len();
                if bytes > most {
                    break;
                }
                found.push(value.into());
            }
            Ok(found)
        })
    }

    /// What `table` holds from `key` down, the first whatever it weighs; nothing of what does not verify, nor of what comes after.
    pub(super) fn down_from(
        &self,
        table: Table,
        key: &[u8],
        most: usize,
    ) -> Result<Vec<Arc<[u8]>>, StoreError> {
        let name = tree_of(table);
        let tree = self.tree(name)?;
        fenced(&self.path, || {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for item in tree.range(..=key).rev() {
                let (key, sealed) = item?;
                let Ok(value) = unseal(name, &key, &sealed) else { break };
                bytes += value.len();
                if bytes > most && !found.is_empty() {
                    break;
                }
                found.push(value.into());
            }
            Ok(found)
        })
    }

    /// How many records `table` holds.
    pub(super) fn count(&self, table: Table) -> Result<u64, StoreError> {
        let tree = self.tree(tree_of(table))?;
        fenced(&self.path, || Ok(tree.len() as u64))
    }

    /// Writes `records` in order, and `mark` after them.
    pub(super) fn write<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
        mark: Option<Mark>,
    ) -> Result<(), StoreError> {
        for record in records {
            let name = tree_of(record.table);
            let tree = self.tree(name)?;
            fenced(&self.path, || match &record.value {
                Some(value) => tree.insert(&record.key, seal(name, &record.key, value)),
                None => tree.remove(&record.key),
            })?;
        }
        if let Some(Mark { birth, sequence }) = mark {
            let value = [&birth[..], &sequence.to_le_bytes()].concat();
            self.put(MARK, Some(&value))?;
        }
        Ok(())
    }

    /// How far the journal had come when that was last written down here. What does not verify counts as nothing: it only helps.
    pub(super) fn mark(&self) -> Result<Option<Mark>, StoreError> {
        let parse = |value: Vec<u8>| {
            let (birth, sequence) = value.split_at_checked(16)?;
            Some(Mark {
                birth: birth.try_into().ok()?,
                sequence: u64::from_le_bytes(sequence.try_into().ok()?),
            })
        };
        Ok(self.get(MARK)?.and_then(parse))
    }

    /// One of the host's own values; `None` if there is none or it does not verify.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let tree = self.tree(HOST)?;
        let sealed = fenced(&self.path, || tree.get(key))?;
        Ok(sealed.and_then(|sealed| unseal(HOST, key, &sealed).ok().map(<[u8]>::to_vec)))
    }

    /// Writes or removes one of the host's own values.
    pub(super) fn put(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let tree = self.tree(HOST)?;
        fenced(&self.path, || match value {
            Some(value) => tree.insert(key, seal(HOST, key, value)),
            None => tree.remove(key),
        })?;
        Ok(())
    }

    /// Writes everything out.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        fenced(&self.path, || self.db.flush()).map(drop)
    }

    /// Writes everything out, past the kernel, too: sled hands its log to the kernel, which a loss of power need not survive. (Values that
    /// sled keeps in files of their own it syncs itself.)
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.flush()?;
        let log = self.path.join("db");
        fs::File::open(&log)
            .and_then(|file| file.sync_data())
            .map_err(StoreError::io(&log, "put the database on the disk"))
    }

    /// Stores a value as it is, sealed or not: for tests that damage one.
    #[cfg(test)]
    pub(super) fn put_raw(&self, table: Table, key: &[u8], sealed: &[u8]) {
        self.tree(tree_of(table)).unwrap().insert(key, sealed).unwrap();
    }

    /// The bytes as they are stored.
    #[cfg(test)]
    pub(super) fn get_raw(&self, table: Table, key: &[u8]) -> Vec<u8> {
        self.tree(tree_of(table)).unwrap().get(key).unwrap().unwrap().to_vec()
    }
}

/// sled's threads may hold its lock for a moment after the last handle is dropped. Nobody else can hold it: our own lock (`lock.rs`) is taken
/// before. So whoever opens a database again in one process waits for them; should they never end, sled says so.
fn wait_for_an_earlier_handle(path: &Path) {
    let Ok(file) = fs::File::open(path.join("db")) else { return };
    let deadline = Instant::now() + HANDLE_PATIENCE;
    while flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Calls sled. A panic inside it is an error like others: the store is closed then, the process tells why.
fn fenced<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(why))) => Err(StoreError::io(path, "use the database")(why)),
        Ok(Err(other)) => Err(StoreError::Tables { path: path.to_path_buf(), why: other.to_string() }),
        Err(panic) => {
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()))
                .unwrap_or_else(|| "it panicked".to_string());
            Err(StoreError::Tables { path: path.to_path_buf(), why })
        }
    }
}

/// Where damaged things are set aside, under names that are never taken twice.
pub(super) struct Quarantine(pub(super) PathBuf);

impl Quarantine {
    fn place(&self, name: &str) -> Result<PathBuf, StoreError> {
        fs::create_dir_all(&self.0).map_err(StoreError::io(&self.0, "create the quarantine"))?;
        let free = |n: &u32| !self.0.join(format!("{name}.{n}")).exists();
        let number = (1..).find(free).expect("there are more numbers than files");
        Ok(self.0.join(format!("{name}.{number}")))
    }

    /// Moves a file or directory in.
    pub(super) fn take_in(&self, path: &Path, name: &str) -> Result<PathBuf, StoreError> {
        let place = self.place(name)?;
        fs::rename(path, &place).map_err(StoreError::io(path, "set it aside"))?;
        sync_dir_of(&place)?;
        Ok(place)
    }

    /// Keeps a file's content here, and the file where it is, so that it can be replaced at once.
    pub(super) fn keep_a_link(&self, path: &Path, name: &str) -> Result<PathBuf, StoreError> {
        let place = self.place(name)?;
        fs::hard_link(path, &place)
            .or_else(|_| fs::copy(path, &place).map(drop))
            .map_err(StoreError::io(path, "set it aside"))?;
        sync_dir_of(&place)?;
        Ok(place)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let place = self.place(name)?;
        fs::write(&place, bytes).map_err(StoreError::io(&place, "set a record aside"))?;
        Ok(place)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
