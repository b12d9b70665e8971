//! A backup of a node, from which no voter can come back that contradicts itself.
//!
//! What is in it: who the node is, its keys (the next one can be left out), its rotations, which charters it has adopted, where others are, its
//! configuration. What is *not*: voting keys, journal, endorsements, proposals, blocks. Whoever is restored follows the log from peers, and an endorser
//! signs no block until a charter binds a fresh voting key (SPEC 8.14, 8.20): what the machine signed after the backup, nobody here can know.
//!
//! ```text
//! frith backup 1
//! { … }                 JSON
//! checksum <hex>        of all bytes before this line
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frith_protocol::door::{Record, Table, returning_record};
use frith_protocol::identity::{Inception, NodeId, Rotation, SecretKey};
use frith_protocol::state::DomainId;
use frith_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::home::{Home, HomeError};
use crate::keys::{self, KeyError, KeyKind, NodeKeys, make_dir, sync_dir, write_key};
use crate::rotation;
use crate::store::{Owner, Store, StoreError};

const FIRST_LINE: &str = "frith backup 1\n";
const CHECKSUM: &str = "checksum ";
/// No backup is longer: charters are bounded, and so is how many there are in practice.
const BACKUP_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no backup, or none that can be restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum BackupError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: it is there already, and a backup is never written over; say another --out")]
    Exists { path: PathBuf },
    #[error("{path}: {why}; use another backup")]
    Damaged { path: PathBuf, why: String },
    #[error("{path}: it is a backup of a newer frith: use that one")]
    Newer { path: PathBuf },
    #[error(
        "{path}: something of a node is there already; restore into a directory of its own: say another --dir"
    )]
    Occupied { path: PathBuf },
    #[error(
        "{path}: it is not the next key that this node committed to; put the right file there, or move this one away"
    )]
    WrongNext { path: PathBuf },
    #[error("a rotation is on its way: back up once it is final (see `frith status`)")]
    Rotating,
}

/// All that a backup holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// When it was made.
    pub made: Timestamp,
    /// Of whom: for people; it follows from the inception.
    pub node: NodeId,
    /// In which domain the node lives; none, if it has not joined one.
    pub domain: Option<DomainId>,
    /// How often its key had been rotated: later keys are not in here.
    pub key_sequence: u32,
    /// How high its head was.
    pub height: Option<u64>,
    inception: Inception,
    rotations: Vec<Rotation>,
    identity: Secret,
    next: Option<Secret>,
    config: Option<String>,
    /// What cannot be had from peers, and is nobody's signature: which charters were adopted, that the node was revoked, that a fork was seen.
    records: Vec<Kept>,
    /// Where others are.
    notes: Vec<(String, String)>,
}

/// A secret key in hex.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    fn of(key: &SecretKey) -> Secret {
        let seed = Zeroizing::new(key.seed());
        Secret(data_encoding::HEXLOWER.encode(&seed[..]))
    }

    fn key(&self) -> Option<SecretKey> {
        let seed = Zeroizing::new(data_encoding::HEXLOWER.decode(self.0.as_bytes()).ok()?);
        Some(SecretKey::from_seed(seed[..].try_into().ok()?))
    }
}

/// A record, in hex.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    table: Table,
    key: String,
    value: String,
}

/// Whether a record of this table may be in a backup. **Invariant:** nothing that says what the node has signed is.
fn is_kept(table: Table) -> bool {
    match table {
        Table::Meta | Table::Charters => true,
        Table::Journal
        | Table::Endorsed
        | Table::Proposals
        | Table::Waiting
        | Table::Final
        | Table::Base
        | Table::Holds
        | Table::Archive => false,
    }
}

/// Names and values.
pub type Notes = Vec<(String, Vec<u8>)>;

/// What a running node knows of itself beyond its files.
pub struct Known {
    /// Where it lives.
    pub domain: DomainId,
    /// How high its head is.
    pub height: Option<u64>,
    /// All its records, as far as nobody else has them.
    pub records: Vec<Record>,
    /// The host's notes of where others are.
    pub notes: Notes,
}

/// A backup of the node in `home`, with or without its next key. `known` is none if the node has no store.
///
/// # Errors
/// If its files cannot be read, or a rotation is on its way.
pub fn take(
    home: &Home,
    known: Option<Known>,
    now: Timestamp,
    with_next_key: bool,
) -> Result<Backup, BackupError> {
    let NodeKeys { inception, rotations, identity, successor, voting: _ } = keys::load(home)?;
    if successor.is_some() {
        return Err(BackupError::Rotating);
    }
    let next = home.keys().join("next.key");
    // An operator does well to have moved it away.
    let next =
        if with_next_key && next.exists() { Some(keys::read_key(&next, KeyKind::Next)?) } else { None };
    // What a restore would refuse is no backup.
    let after = rotation::known_keys(home, &inception, &rotations)?;
    if next.as_ref().is_some_and(|next| next.public().commitment() != after.next) {
        return Err(BackupError::WrongNext { path: home.keys().join("next.key") });
    }
    let config = match fs::read_to_string(home.config()) {
        Ok(text) => Some(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(HomeError::io(&home.config(), "read the configuration")(e).into()),
    };
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let (records, notes) =
        known.as_ref().map_or((&[][..], &[][..]), |known| (&known.records[..], &known.notes[..]));
    let records = records.iter().filter(|record| is_kept(record.table)).filter_map(|record| {
        let value = hex(record.value.as_deref()?);
        Some(Kept { table: record.table, key: hex(&record.key), value })
    });
    Ok(Backup {
        made: now,
        node: inception.node_id(),
        domain: known.as_ref().map(|known| known.domain),
        key_sequence: rotations.len() as u32,
        height: known.as_ref().and_then(|known| known.height),
        inception,
        rotations,
        identity: Secret::of(&identity),
        next: next.as_ref().map(Secret::of),
        config,
        records: records.collect(),
        notes: notes.iter().map(|(name, value)| (name.clone(), hex(value))).collect(),
    })
}

impl std::fmt::Debug for Backup {
    /// Without anything secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("node", &self.node).field("made", &self.made).finish_non_exhaustive()
    }
}

impl Backup {
    /// Whether the next key is in it.
    pub fn has_next_key(&self) -> bool {
        self.next.is_some()
    }

    /// Writes it to a file that only its owner may read, and that is on the disk when this returns.
    ///
    /// # Errors
    /// If there is such a file already, or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BackupError> {
        let mut text = Zeroizing::new(String::from(FIRST_LINE));
        text.push_str(&Zeroizing::new(serde_json::to_string_pretty(self).expect("a backup is plain JSON")));
        text.push('\n');
        let checksum = blake3::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum}\n"));
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists { path: path.to_path_buf() });
            }
            Err(e) => return Err(HomeError::io(path, "write the backup")(e).into()),
        };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|e| {
            // Half of one is none.
            drop(fs::remove_file(path));
            HomeError::io(path, "write the backup")(e)
        })?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(sync_dir(dir)?)
    }

    /// Reads and checks a backup.
    ///
    /// # Errors
    /// If it is none, or not whole.
    pub fn read(path: &Path) -> Result<Backup, BackupError> {
        let damaged = |why: &str| BackupError::Damaged { path: path.to_path_buf(), why: why.to_string() };
        let mut text = Zeroizing::new(String::new());
        File::open(path)
            .and_then(|file| file.take(BACKUP_BYTES_MAX + 1).read_to_string(&mut text))
            .map_err(HomeError::io(path, "read the backup"))?;
        if text.len() as u64 > BACKUP_BYTES_MAX {
            return Err(damaged("it is too long to be a backup"));
        }
        let Some(rest) = text.strip_prefix(FIRST_LINE) else {
            return Err(if text.starts_with("frith backup ") {
                BackupError::Newer { path: path.to_path_buf() }
            } else {
                damaged("it is no backup as `frith backup` writes it")
            });
        };
        let cut = || damaged("it is not whole: its checksum is missing");
        let (json, checksum) =
            rest.strip_suffix('\n').and_then(|rest| rest.rsplit_once('\n')).ok_or_else(cut)?;
        let checksum = checksum.strip_prefix(CHECKSUM).ok_or_else(cut)?;
        let covered = &text[..FIRST_LINE.len() + json.len() + 1];
        if blake3::hash(covered.as_bytes()).to_hex().as_str() != checksum {
            return Err(damaged("its checksum does not hold: it was damaged or changed"));
        }
        let backup: Backup = serde_json::from_str(json)
            .map_err(|e| damaged(&format!("its content is not as it should be: {e}")))?;
        if backup.node != backup.inception.node_id() {
            return Err(damaged("it is of another node than it says"));
        }
        Ok(backup)
    }
}

/// Whether the node in `home` was restored, and what is to be known of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restored {
    /// When the backup was made.
    pub made: Timestamp,
    /// When it was restored.
    pub at: Timestamp,
    /// The time of the newest block that it knew once it had caught up; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
}

impl Restored {
    /// Whether the log has moved since the restore, as far as anybody's clock can tell: whatever the machine of the backup had sent by then is in
    /// it, or lost. The clocks of both machines may have been wrong; but blocks that follow one another have times that rise.
    pub fn has_seen_later(&self, newest: Option<Timestamp>) -> bool {
        let Some(began) = self.began else { return false };
        newest.is_some_and(|newest| newest > self.made.max(self.at).max(began))
    }

    /// Notes the time of the block at which the node had caught up.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn begin_at(&mut self, home: &Home, block: Timestamp) -> Result<(), BackupError> {
        if self.began.is_none() {
            let begun = Restored { began: Some(block), ..*self };
            write_json(&mark(home), &begun, "write when this node had caught up")?;
            sync_dir(home.dir())?;
            *self = begun;
        }
        Ok(())
    }

    /// What `home` says of it; none, if it never was.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn of(home: &Home) -> Result<Option<Restored>, HomeError> {
        let path = mark(home);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|e| HomeError::io(&path, "read when this node was restored")(io::Error::other(e))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(HomeError::io(&path, "read when this node was restored")(e)),
        }
    }
}

fn mark(home: &Home) -> PathBuf {
    home.dir().join("restored.json")
}

/// There from the first step of a restore to its last: only what lies beside it was left by one that was cut short.
fn begun(home: &Home) -> PathBuf {
    home.dir().join("restoring")
}

/// Whether a restore into `home` was cut short.
pub(crate) fn is_cut_short(home: &Home) -> bool {
    begun(home).exists() && !home.keys().exists()
}

/// Makes the node of `backup`, which was read from `origin`, in `home`: all of it; or, if that is cut short, something that nobody can run and that
/// this goes on with.
///
/// # Errors
/// If anything of a node is there already, the backup does not fit together, or it cannot be written.
pub fn restore(home: &Home, backup: &Backup, origin: &Path, now: Timestamp) -> Result<(), BackupError> {
    home.create()?;
    let keys = home.keys();
    // The keys come into their place last.
    let is_ours = is_cut_short(home);
    for path in [keys.clone(), home.store(), home.inception(), home.rotations(), home.socket()] {
        if path.exists() && !is_ours {
            return Err(BackupError::Occupied { path });
        }
    }
    let damaged = |why: &str| BackupError::Damaged { path: origin.to_path_buf(), why: why.to_string() };
    let identity = backup.identity.key().ok_or_else(|| damaged("its identity key is no key"))?;
    let next = backup
        .next
        .as_ref()
        .map(|next| next.key().ok_or_else(|| damaged("its next key is no key")))
        .transpose()?;
    let after = rotation::known_keys(home, &backup.inception, &backup.rotations)?;
    if after.current != identity.public() {
        return Err(damaged("its identity key is not the one that its rotations lead to"));
    }
    if next.as_ref().is_some_and(|next| next.public().commitment() != after.next) {
        return Err(damaged("its next key is not the one that was committed to"));
    }

    write(&begun(home), &[], "write that a restore has begun")?;
    sync_dir(home.dir())?;
    write_json(
        &mark(home),
        &Restored { made: backup.made, at: now, began: None },
        "write that this node is restored",
    )?;
    sync_dir(home.dir())?;
    remove_dir(&home.store(), "remove what an earlier restore left")?;
    let new = home.dir().join("keys.new");
    remove_dir(&new, "remove what an earlier restore left")?;
    write_json(&home.inception(), &backup.inception, "write who this node is")?;
    // Also if there are none: another backup may have been begun with.
    write_json(&home.rotations(), &backup.rotations, "write the rotations of this node")?;
    // What an operator has put there already is meant.
    if let Some(config) = backup.config.as_ref().filter(|_| !home.config().exists()) {
        write(&home.config(), config.as_bytes(), "write the configuration")?;
    }
    if let Some(domain) = backup.domain {
        let (mut records, notes) =
            kept(backup).ok_or_else(|| damaged("one of its records cannot be read"))?;
        let notes: Vec<(&str, Vec<u8>)> =
            notes.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        // It starts from a snapshot, and never from genesis, of which a founder's store is silent.
        let returning = returning_record(backup.height.unwrap_or_default());
        records.retain(|record| (record.table, &record.key) != (returning.table, &returning.key));
        records.insert(0, returning);
        Store::create(&home.store(), Owner { node: backup.node, domain }, &records, &notes)?;
    }
    make_dir(&new)?;
    write_key(&new.join("identity.key"), KeyKind::Identity, &identity)?;
    if let Some(next) = &next {
        write_key(&new.join("next.key"), KeyKind::Next, next)?;
    }
    sync_dir(&new)?;
    fs::rename(&new, &keys).map_err(HomeError::io(&keys, "put the keys in their place"))?;
    sync_dir(home.dir())?;
    let begun = begun(home);
    fs::remove_file(&begun).map_err(HomeError::io(&begun, "say that the restore is over"))?;
    Ok(sync_dir(home.dir())?)
}

/// Records and notes, as they were.
fn kept(backup: &Backup) -> Option<(Vec<Record>, Notes)> {
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
    let record = |kept: &Kept| {
        // Whoever wrote anything else into it did so by hand.
        let value = Some(Arc::from(hex(&kept.value)?)).filter(|_| is_kept(kept.table))?;
        Some(Record { table: kept.table, key: hex(&kept.key)?, value: Some(value) })
    };
    let records = backup.records.iter().map(record).collect::<Option<_>>()?;
    let note = |(name, value): &(String, String)| Some((name.clone(), hex(value)?));
    Some((records, backup.notes.iter().map(note).collect::<Option<_>>()?))
}

fn remove_dir(path: &Path, what: &'static str) -> Result<(), HomeError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(HomeError::io(path, what)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_json(path: &Path, value: &impl Serialize, what: &'static str) -> Result<(), HomeError> {
    let mut text = serde_json::to_string_pretty(value).expect("it is plain JSON");
    text.push('\n');
    write(path, text.as_bytes(), what)
}

/// All of it or nothing: half a file would be taken for what somebody meant.
fn write(path: &Path, bytes: &[u8], what: &'static str) -> Result<(), HomeError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    File::create(&new)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .map_err(HomeError::io(path, what))
}

#[cfg(test)]
mod tests;
