//! A node's secret keys: one a file, readable by nobody else, never printed and never logged.
//!
//! The *next* key is written once and then only checked: a running node does not read it before it rotates ([`crate::rotation`]), and an
//! operator does well to move its file to where no thief of the machine finds it.
//!
//! *Voting keys* come and go: that of the node's seat, if it has one, and a fresh one for the next charter that gives it a seat. Each
//! lies in a file that bears its public key. A file is whole and on the disk before anything is signed with its key, or promised; and it
//! goes only when the log knows its key and its seat is another's or another key's. A kill in between leaves a key too many, never one
//! too few: both are put right at the next start. What goes is removed, not written over: on flash that would write elsewhere, and be a
//! comfort to nobody. Disks of endorsers should be encrypted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use frith_protocol::identity::{Inception, PublicKey, Rotation, SecretKey};
use frith_protocol::state::TicketId;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::home::{Home, HomeError, owned_and_without};
use crate::rotation;

/// No key file is longer.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Who the node is, on the wire and in endorsements.
    Identity,
    /// The key that the identity will rotate to.
    Next,
    /// The key of an endorser's ballots.
    Voting,
    /// The key of a ticket that was made here.
    Ticket,
    /// An offline key of the recovery quorum.
    Recovery,
}

impl KeyKind {
    fn name(self) -> &'static str {
        match self {
            KeyKind::Identity => "identity",
            KeyKind::Next => "next",
            KeyKind::Voting => "voting",
            KeyKind::Ticket => "ticket",
            KeyKind::Recovery => "recovery",
        }
    }
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum KeyError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(
        "{path}: there are keys already; a directory holds one identity: say another --dir for another node"
    )]
    Exists { path: PathBuf },
    #[error("{path}: there are no keys yet; run: frith init --dir {dir}")]
    Missing { path: PathBuf, dir: PathBuf },
    #[error("{path}: {why}; restore the file from a backup")]
    Damaged { path: PathBuf, why: &'static str },
    #[error("{path}: it is the {theirs} key, and the {ours} key belongs here")]
    OtherKind { path: PathBuf, theirs: String, ours: &'static str },
    #[error(
        "{path}: the key that this node rotates to is not there; put its file back, or say where it is: frith rotate --next-key FILE"
    )]
    NextMissing { path: PathBuf },
    #[error("a rotation is on its way already; see `frith status`")]
    UnderWay,
    #[error("the operating system gives no randomness: {0}")]
    NoRandomness(String),
}

/// What a running node needs of its keys.
#[derive(Debug)]
pub struct NodeKeys {
    /// Who it is.
    pub inception: Inception,
    /// All its rotations since.
    pub rotations: Vec<Rotation>,
    /// Its current key.
    pub identity: SecretKey,
    /// The key that the last rotation is to, if that was not final when the node was last running.
    pub successor: Option<SecretKey>,
    /// Its voting keys, in the order of their public keys.
    pub voting: Vec<SecretKey>,
}

/// Makes an identity in `home`: all of its files, or none.
///
/// # Errors
/// [`KeyError::Exists`] if there is one already; others if they cannot be written.
pub fn create(home: &Home) -> Result<NodeKeys, KeyError> {
    home.create()?;
    let (dir, new) = (home.keys(), home.dir().join("keys.new"));
    if dir.exists() {
        return Err(KeyError::Exists { path: dir });
    }
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(HomeError::io(&new, "remove what an earlier attempt left")(e).into());
        }
        Ok(()) | Err(_) => {}
    }
    make_dir(&new)?;
    let (identity, next) = (random_key()?, random_key()?);
    write_key(&new.join("identity.key"), KeyKind::Identity, &identity)?;
    write_key(&new.join("next.key"), KeyKind::Next, &next)?;
    let inception = Inception::new(&identity, &next.public());
    write_inception(home, &inception)?;
    fs::rename(&new, &dir).map_err(HomeError::io(&dir, "put the keys in their place"))?;
    sync_dir(home.dir())?;
    Ok(NodeKeys { inception, rotations: Vec::new(), identity, successor: None, voting: Vec::new() })
}

/// Reads the keys in `home`, after checking that nobody else can.
///
/// # Errors
/// If there are none, if others may read them, or if they do not fit together.
pub fn load(home: &Home) -> Result<NodeKeys, KeyError> {
    home.check().or_else(|e| match e {
        // Said better below.
        HomeError::Io { ref why, .. } if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other @ (HomeError::Io { .. }
        | HomeError::TooOpen { .. }
        | HomeError::NotOurs { .. }
        | HomeError::NotPlain { .. }
        | HomeError::NotADirectory { .. }) => Err(other),
    })?;
    let dir = home.keys();
    if !dir.exists() {
        return Err(KeyError::Missing { path: dir, dir: home.dir().to_path_buf() });
    }
    owned_and_without(&dir, 0o077, 0o700, "look into it")?;
    let identity = read_key(&dir.join("identity.key"), KeyKind::Identity)?;
    let next = dir.join("next.key");
    if next.exists() {
        check_file(&next)?;
    }
    let path = home.inception();
    let text = fs::read_to_string(&path).map_err(HomeError::io(&path, "read who this node is"))?;
    let damaged = |why| KeyError::Damaged { path: path.clone(), why };
    let inception: Inception = serde_json::from_str(&text)
        .map_err(|_| damaged("it is not an inception as `frith init` writes it"))?;
    let rotations = rotation::read(home)?;
    if rotations.is_empty() && inception.key != identity.public() {
        return Err(damaged("it is of another identity than keys/identity.key"));
    }
    let known = rotation::known_keys(home, &inception, &rotations)?;
    let successor = rotation::successor(home, &identity.public(), &known)?;
    Ok(NodeKeys { inception, rotations, identity, successor, voting: voting(home)? })
}

/// The files of voting keys in `home`, in the order of their names.
fn voting_files(home: &Home) -> Result<BTreeMap<PublicKey, PathBuf>, KeyError> {
    let dir = home.keys();
    let mut files = BTreeMap::new();
    for file in fs::read_dir(&dir).map_err(HomeError::io(&dir, "look for voting keys"))? {
        let name = file.map_err(HomeError::io(&dir, "look for voting keys"))?.file_name();
        let key =
            name.to_str().and_then(|name| name.strip_prefix("voting-")?.strip_suffix(".key")?.parse().ok());
        if let Some(key) = key {
            files.insert(key, dir.join(&name));
        }
    }
    Ok(files)
}

/// The voting keys in `home`.
fn voting(home: &Home) -> Result<Vec<SecretKey>, KeyError> {
    let read = |(public, path): (PublicKey, PathBuf)| {
        let key = read_key(&path, KeyKind::Voting)?;
        if key.public() == public {
            return Ok(key);
        }
        Err(KeyError::Damaged { path, why: "it holds another voting key than its name says" })
    };
    voting_files(home)?.into_iter().map(read).collect()
}

/// The voting key in `home` with which it founds, made if there is none: the same whenever it is asked for.
///
/// # Errors
/// If it can be neither read nor written.
pub fn voting_or_new(home: &Home) -> Result<SecretKey, KeyError> {
    voting(home)?.into_iter().next().map_or_else(|| new_voting_key(home), Ok)
}

/// A fresh voting key, on the disk when this returns.
///
/// # Errors
/// If it cannot be written.
pub fn new_voting_key(home: &Home) -> Result<SecretKey, KeyError> {
    let key = random_key()?;
    let path = home.keys().join(format!("voting-{}.key", key.public()));
    write_key(&path, KeyKind::Voting, &key)?;
    sync_dir(&home.keys())?;
    Ok(key)
}

/// Removes what a kill left of keys that were half written. Nobody but the running node may call this.
///
/// # Errors
/// If they cannot be looked for.
pub fn sweep(home: &Home) -> Result<(), KeyError> {
    let dir = home.keys();
    for file in fs::read_dir(&dir).map_err(HomeError::io(&dir, "look for half-written keys"))? {
        let path = file.map_err(HomeError::io(&dir, "look for half-written keys"))?.path();
        if path.extension().is_some_and(|ending| ending == "new") {
            fs::remove_file(&path).map_err(HomeError::io(&path, "remove a half-written key"))?;
        }
    }
    Ok(())
}

/// Destroys the voting keys of which `is_over` says so, and says how many.
///
/// # Errors
/// If one is left. It is tried again at the next start.
pub fn destroy_voting_keys(home: &Home, is_over: impl Fn(&PublicKey) -> bool) -> Result<usize, KeyError> {
    let over: Vec<_> = voting_files(home)?.into_iter().filter(|(key, _)| is_over(key)).collect();
    for (_, path) in &over {
        fs::remove_file(path).map_err(HomeError::io(path, "destroy a voting key that is over"))?;
    }
    if !over.is_empty() {
        sync_dir(&home.keys())?;
    }
    Ok(over.len())
}

/// Keeps the key of a ticket, so that the ticket can be printed once its countersignatures are here.
///
/// # Errors
/// If it cannot be written.
pub fn keep_ticket_key(home: &Home, ticket: &TicketId, key: &SecretKey) -> Result<(), KeyError> {
    write_key(&ticket_path(home, ticket), KeyKind::Ticket, key)?;
    sync_dir(&home.keys())
}

/// The key of a ticket that was made here; `None` if it was made elsewhere.
///
/// # Errors
/// If there is a file that cannot be used.
pub fn ticket_key(home: &Home, ticket: &TicketId) -> Result<Option<SecretKey>, KeyError> {
    let path = ticket_path(home, ticket);
    if path.exists() { read_key(&path, KeyKind::Ticket).map(Some) } else { Ok(None) }
}

/// Forgets the keys of all tickets but these.
///
/// # Errors
/// If they cannot be looked for.
pub fn forget_ticket_keys_but(home: &Home, alive: &BTreeSet<TicketId>) -> Result<(), KeyError> {
    let dir = home.keys();
    for file in fs::read_dir(&dir).map_err(HomeError::io(&dir, "look for the keys of tickets"))? {
        let name = file.map_err(HomeError::io(&dir, "look for the keys of tickets"))?.file_name();
        let id =
            name.to_str().and_then(|name| name.strip_prefix("ticket-")?.strip_suffix(".key")?.parse().ok());
        if let Some(id) = id.filter(|id| !alive.contains(id)) {
            forget_ticket_key(home, &id);
        }
    }
    Ok(())
}

/// Forgets the key of a ticket that can no longer be used. It is no loss if the file is gone already.
pub fn forget_ticket_key(home: &Home, ticket: &TicketId) {
    drop(fs::remove_file(ticket_path(home, ticket)));
}

/// A key that nobody can guess.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn random_key() -> Result<SecretKey, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(&mut seed[..]).map_err(|e| KeyError::NoRandomness(e.to_string()))?;
    Ok(SecretKey::from_seed(*seed))
}

fn ticket_path(home: &Home, ticket: &TicketId) -> PathBuf {
    home.keys().join(format!("ticket-{ticket}.key"))
}

pub(crate) fn make_dir(path: &Path) -> Result<(), KeyError> {
    DirBuilder::new().mode(0o700).create(path).map_err(HomeError::io(path, "create the directory"))?;
    Ok(())
}

pub(crate) fn sync_dir(path: &Path) -> Result<(), KeyError> {
    fs::File::open(path).and_then(|dir| dir.sync_all()).map_err(HomeError::io(path, "sync the directory"))?;
    Ok(())
}

fn write_inception(home: &Home, inception: &Inception) -> Result<(), KeyError> {
    let path = home.inception();
    let mut text = serde_json::to_string_pretty(inception).expect("an inception is plain JSON");
    text.push('\n');
    fs::File::create(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(HomeError::io(&path, "write who this node is"))?;
    Ok(())
}

pub(crate) fn write_key(path: &Path, kind: KeyKind, key: &SecretKey) -> Result<(), KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    let seed = Zeroizing::new(key.seed());
    let name = kind.name();
    // The capacity above keeps a growing string from leaving copies behind.
    write!(text, "frith {name} key 1\npublic {}\nsecret ", key.public()).expect("strings take text");
    for byte in seed.iter() {
        write!(text, "{byte:02x}").expect("strings take text");
    }
    text.push('\n');
    if path.exists() {
        return Err(KeyError::Exists { path: path.to_path_buf() });
    }
    // Under another name first: a kill half-way must not leave a key that keeps the node from starting.
    let new = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(|e| {
        drop(fs::remove_file(&new));
        HomeError::io(path, "write a key")(e).into()
    })
}

fn check_file(path: &Path) -> Result<(), KeyError> {
    owned_and_without(path, 0o077, 0o600, "read or write it")?;
    let meta = fs::symlink_metadata(path).map_err(HomeError::io(path, "look at it"))?;
    if !meta.is_file() {
        return Err(HomeError::NotPlain { path: path.to_path_buf() }.into());
    }
    Ok(())
}

pub(crate) fn read_key(path: &Path, kind: KeyKind) -> Result<SecretKey, KeyError> {
    check_file(path)?;
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize + 1));
    fs::File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(HomeError::io(path, "read a key"))?;
    let damaged = |why| KeyError::Damaged { path: path.to_path_buf(), why };
    let mut lines = text.lines();
    let theirs = lines
        .next()
        .and_then(|line| line.strip_prefix("frith ")?.strip_suffix(" key 1"))
        .ok_or_else(|| damaged("it is not a frith key file of version 1"))?;
    if theirs != kind.name() {
        let (theirs, ours) = (theirs.chars().take(16).collect(), kind.name());
        return Err(KeyError::OtherKind { path: path.to_path_buf(), theirs, ours });
    }
    let mut field = |name| lines.next().and_then(|line| line.strip_prefix(name));
    let public: PublicKey = field("public ")
        .and_then(|hex| hex.parse().ok())
        .ok_or_else(|| damaged("the line with the public key is broken"))?;
    let seed = field("secret ")
        .and_then(seed_from_hex)
        .ok_or_else(|| damaged("the line with the secret key is broken"))?;
    let key = SecretKey::from_seed(*seed);
    if key.public() != public {
        return Err(damaged("its two lines do not belong together: at least one character was changed"));
    }
    Ok(key)
}

/// Our own few lines, since an error of a library's would carry what it could not read.
fn seed_from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut seed = Zeroizing::new([0; 32]);
    for (byte, pair) in seed.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(seed)
}

#[cfg(test)]
mod tests;
