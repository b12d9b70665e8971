//! The append-only file for what nobody else can restore.
//!
//! One frame per commit, synced before anything that rests on it is sent:
//!
//! ```text
//! head   magic, version, node, domain, birth, sequence before the first frame, check
//! frame  length u32 | sequence u64 | records | check     (little endian; check covers the check before it, too)
//! ```
//!
//! The chain of checks tells what was never acknowledged from what was lost. A commit that the machine's end cut short leaves a frame
//! that is shorter than it says, or lacks a page (pages that were never synced arrive in any order, and one that did not reads as zeros),
//! at the very end: a *torn tail*, dropped without a word to anybody but the log. Everything else that does not verify is *damage*: had
//! it been written once and synced, it would verify.
//!
//! What no file can know is that whole frames are missing at its end. The store keeps the newest sequence elsewhere too, and
//! compares; a restored backup of everything is caught by the other endorsers (SPEC 8.14).
//!
//! Not sled: its `flush` is no barrier against power loss.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frith_protocol::door::{Record, Table};

use super::Owner;
use super::error::StoreError;
use crate::kill_point::kill_point;

const MAGIC: &[u8; 15] = b"frith journal\n\0";
const VERSION: u8 = 1;
const CHECK: usize = 32;
const HEAD: usize = MAGIC.len() + 1 + 32 + 32 + 16 + 8 + CHECK;
/// What a file system writes at once, at least.
const PAGE: usize = 4096;
/// Length and sequence.
const FRAME_HEAD: usize = 4 + 8;
/// Longest body of a frame. What is longer was not written by us.
const BODY_MAX: usize = 64 * 1024 * 1024;
/// A journal smaller than this is not worth rewriting.
const COMPACT_FROM: u64 = 1024 * 1024;
/// It is rewritten once so many times larger than what is alive in it.
const COMPACT_RATIO: u64 = 4;

/// A chained checksum.
type Check = [u8; CHECK];

fn check(context: u8, before: &Check, bytes: &[u8]) -> Check {
    let mut hasher = blake3::Hasher::new_derive_key("frith 2026-11 journal v1");
    hasher.update(&[context]).update(before).update(bytes);
    *hasher.finalize().as_bytes()
}

/// Where a live value lies in the file.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    length: u32,
}

/// How far a journal has come: kept elsewhere, to notice when its end is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which journal.
    pub(super) birth: [u8; 16],
    /// Its newest frame.
    pub(super) sequence: u64,
}

/// An open journal, positioned at its end.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    owner: Owner,
    birth: [u8; 16],
    sequence: u64,
    last: Check,
    length: u64,
    /// The bytes that a rewritten journal would have, roughly.
    alive: u64,
    places: BTreeMap<(Table, Vec<u8>), Place>,
    /// A write failed: what the file holds beyond `length` is unknown, so nothing more may be appended.
    failed: bool,
    /// Do not try to compact below this length again: the last try failed.
    compact_from: u64,
}

/// What reading a journal from the disk gives.
#[derive(Debug)]
pub(super) enum Reading {
    /// It verifies, but for what was never acknowledged.
    Intact { journal: Journal, torn_bytes: u64 },
    /// There is none.
    Missing,
    /// It was another node's or domain's.
    Foreign { owner: Owner },
    /// It was written by a newer frith.
    Newer { version: u8 },
    /// It is broken. `before` is what verifies before the break.
    Damaged { why: String, before: BTreeMap<(Table, Vec<u8>), Arc<[u8]>> },
}

impl Journal {
    /// Makes an empty journal under `path`, and sees to it that it survives.
    pub(super) fn create(path: &Path, owner: Owner, birth: [u8; 16]) -> Result<Journal, StoreError> {
        let journal = Journal::begin(path, owner, birth, 0)?;
        sync_dir_of(path)?;
        Ok(journal)
    }

    fn begin(path: &Path, owner: Owner, birth: [u8; 16], sequence: u64) -> Result<Journal, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::io(path, "create the journal"))?;
        let (head, last) = head(&owner, &birth, sequence);
        file.write_all(&head)
            .and_then(|()| file.sync_data())
            .map_err(StoreError::io(path, "write the journal"))?;
        let length = HEAD as u64;
        Ok(Journal {
            path: path.to_path_buf(),
            file,
            owner,
            birth,
            sequence,
            last,
            length,
            alive: length,
            places: BTreeMap::new(),
            failed: false,
            compact_from: COMPACT_FROM,
        })
    }

    /// Reads the journal at `path`, which must be `owner`'s.
    pub(super) fn read(path: &Path, owner: Owner) -> Result<Reading, StoreError> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Reading::Missing),
            Err(e) => return Err(StoreError::io(path, "open the journal")(e)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(StoreError::io(path, "read the journal"))?;

        let nothing = BTreeMap::new;
        let Some((read_head, rest)) = bytes.split_at_checked(HEAD) else {
            let why = format!("it has {} bytes, and its head alone has {HEAD}", bytes.len());
            return Ok(Reading::Damaged { why, before: nothing() });
        };
        if read_head[..MAGIC.len()] != MAGIC[..] {
            return Ok(Reading::Damaged {
                why: "it does not begin like a journal".into(),
                before: nothing(),
            });
        }
        if read_head[MAGIC.len()] > VERSION {
            return Ok(Reading::Newer { version: read_head[MAGIC.len()] });
        }
        let Some(Head { owner: theirs, birth, sequence, check: last }) = parse_head(read_head) else {
            return Ok(Reading::Damaged { why: "its head does not verify".into(), before: nothing() });
        };
        if theirs != owner {
            return Ok(Reading::Foreign { owner: theirs });
        }

        let mut journal = Journal {
            path: path.to_path_buf(),
            file,
            owner,
            birth,
            sequence,
            last,
            length: HEAD as u64,
            alive: HEAD as u64,
            places: BTreeMap::new(),
            failed: false,
            compact_from: COMPACT_FROM,
        };
        let mut rest = rest;
        let end = loop {
            match Frame::parse(rest, journal.length as usize, journal.sequence, &journal.last) {
                Parsed::Frame(frame) => {
                    let Some(changes) = parse_records(frame.body) else {
                        break Parsed::Broken("a frame verifies and does not parse");
                    };
                    journal.take_over(&changes, journal.length + FRAME_HEAD as u64);
                    journal.sequence += 1;
                    journal.last = frame.check;
                    journal.length += frame.length as u64;
                    rest = &rest[frame.length..];
                }
                end @ (Parsed::End | Parsed::Torn | Parsed::Broken(_)) => break end,
            }
        };
        // A frame that verifies after one that does not was written, and synced, after it.
        let why = match end {
            Parsed::Frame(_) | Parsed::End => None,
            Parsed::Torn | Parsed::Broken(_)
                if later_frame(&bytes, journal.length as usize, journal.sequence) =>
            {
                Some("frames in its middle are missing or altered")
            }
            Parsed::Torn => None,
            Parsed::Broken(why) => Some(why),
        };
        if let Some(why) = why {
            let why = format!("{why} (byte {}, after frame {})", journal.length, journal.sequence);
            let value = |place: &Place| bytes[place.offset as usize..][..place.length as usize].into();
            let before = journal.places.iter().map(|(key, place)| (key.clone(), value(place))).collect();
            return Ok(Reading::Damaged { why, before });
        }
        let torn_bytes = bytes.len() as u64 - journal.length;
        if torn_bytes > 0 {
            let cut = || {
                journal.file.set_len(journal.length)?;
                journal.file.sync_data()
            };
            cut().map_err(StoreError::io(path, "cut off the journal's torn tail"))?;
        }
        journal
            .file
            .seek(SeekFrom::Start(journal.length))
            .map_err(StoreError::io(path, "position in the journal"))?;
        Ok(Reading::Intact { journal, torn_bytes })
    }

    /// Appends `records` as one frame and returns when they are on the disk. On an error nothing of them counts, and the journal takes
    /// nothing more: after a failed sync, what the disk holds is anybody's guess.
    pub(super) fn append(&mut self, records: &[&Record]) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed { path: self.path.clone() });
        }
        let frame = self.frame(records)?;
        self.failed = true;
        kill_point("before the journal is written");
        self.file
            .write_all(&frame)
            .and_then(|()| {
                kill_point("before the journal is synced");
                self.file.sync_data()
            })
            .map_err(StoreError::io(&self.path, "write the journal"))?;
        kill_point("after the journal is synced");
        self.failed = false;
        self.advance(&frame);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }

    fn frame(&self, records: &[&Record]) -> Result<Vec<u8>, StoreError> {
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&(self.sequence + 1).to_le_bytes());
        for record in records {
            write_record(&mut frame, record);
        }
        let body = frame.len() - FRAME_HEAD;
        if body > BODY_MAX {
            return Err(StoreError::TooBig { bytes: body, max: BODY_MAX });
        }
        frame[..4].copy_from_slice(&(body as u32).to_le_bytes());
        let check = check(b'f', &self.last, &frame);
        frame.extend_from_slice(&check);
        Ok(frame)
    }

    /// Takes note of a frame that now lies at the end of the file.
    fn advance(&mut self, frame: &[u8]) {
        let (body, check) = frame[FRAME_HEAD..].split_at(frame.len() - FRAME_HEAD - CHECK);
        let changes = parse_records(body).expect("a frame that was just written parses");
        self.take_over(&changes, self.length + FRAME_HEAD as u64);
        self.sequence += 1;
        self.last.copy_from_slice(check);
        self.length += frame.len() as u64;
    }

    fn take_over(&mut self, changes: &[Change<'_>], body_at: u64) {
        for change in changes {
            let key = (change.table, change.key.to_vec());
            let cost = |value: usize| (RECORD_HEAD + change.key.len() + value) as u64;
            let gone = match change.value {
                Some((at, value)) => {
                    self.alive += cost(value.len());
                    let place = Place { offset: body_at + at as u64, length: value.len() as u32 };
                    self.places.insert(key, place)
                }
                None => self.places.remove(&key),
            };
            if let Some(gone) = gone {
                self.alive -= cost(gone.length as usize);
            }
        }
    }

    /// All that is alive, in (table, key) order.
    pub(super) fn records(&self) -> Result<Vec<Record>, StoreError> {
        self.places
            .iter()
            .map(|((table, key), place)| {
                let mut value = vec![0; place.length as usize];
                self.file
                    .read_exact_at(&mut value, place.offset)
                    .map_err(StoreError::io(&self.path, "read the journal"))?;
                Ok(Record { table: *table, key: key.clone(), value: Some(value.into()) })
            })
            .collect()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { birth: self.birth, sequence: self.sequence }
    }

    /// Whether most of the file is dead.
    pub(super) fn wants_compaction(&self) -> bool {
        !self.failed && self.length >= self.compact_from && self.length / COMPACT_RATIO >= self.alive
    }

    /// Rewrites the journal with what is alive only. Nothing changes until the new file is on the disk whole; on an error the old one
    /// goes on being used.
    pub(super) fn compact(&mut self) -> Result<(), StoreError> {
        let result = self.rewrite();
        if result.is_err() {
            self.compact_from = self.length.saturating_mul(2);
        }
        result
    }

    fn rewrite(&mut self) -> Result<(), StoreError> {
        let records = self.records()?;
        *self = Journal::write_beside(&self.path, self.owner, self.birth, self.sequence, &records)?;
        // Which of the two files a power loss would leave is open until now: append to neither before.
        sync_dir_of(&self.path).inspect_err(|_| self.failed = true)
    }

    /// A new journal with these records in the place of whatever is at `path`, at once.
    pub(super) fn replace(
        path: &Path,
        owner: Owner,
        birth: [u8; 16],
        records: &[Record],
    ) -> Result<Journal, StoreError> {
        let journal = Journal::write_beside(path, owner, birth, 0, records)?;
        sync_dir_of(path)?;
        Ok(journal)
    }

    fn write_beside(
        path: &Path,
        owner: Owner,
        birth: [u8; 16],
        sequence: u64,
        records: &[Record],
    ) -> Result<Journal, StoreError> {
        let beside = path.with_extension("new");
        remove_if_there(&beside)?;
        let write = || {
            let mut new = Journal::begin(&beside, owner, birth, sequence)?;
            let mut rest = records;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(fitting(rest));
                new.append(&now.iter().collect::<Vec<_>>())?;
                rest = later;
            }
            fs::rename(&beside, path).map_err(StoreError::io(&beside, "rename the journal"))?;
            new.path = path.to_path_buf();
            Ok(new)
        };
        write().inspect_err(|_| drop(fs::remove_file(&beside)))
    }

    /// Takes nothing more: something that belongs to what was appended could not be done.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }
}

struct Head {
    owner: Owner,
    birth: [u8; 16],
    sequence: u64,
    check: Check,
}

fn head(owner: &Owner, birth: &[u8; 16], sequence: u64) -> (Vec<u8>, Check) {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(MAGIC);
    head.push(VERSION);
    head.extend_from_slice(&owner.node.0);
    head.extend_from_slice(&owner.domain.0);
    head.extend_from_slice(birth);
    head.extend_from_slice(&sequence.to_le_bytes());
    let check = check(b'h', &[0; CHECK], &head);
    head.extend_from_slice(&check);
    (head, check)
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let (body, found) = bytes.split_at_checked(HEAD - CHECK)?;
    let found = Check::try_from(found).ok()?;
    let fields = &body[MAGIC.len() + 1..];
    let owner = Owner {
        node: frith_protocol::identity::NodeId(fields[..32].try_into().ok()?),
        domain: frith_protocol::state::DomainId(fields[32..64].try_into().ok()?),
    };
    let birth = fields[64..80].try_into().ok()?;
    let sequence = u64::from_le_bytes(fields[80..88].try_into().ok()?);
    (check(b'h', &[0; CHECK], body) == found).then_some(Head { owner, birth, sequence, check: found })
}

struct Frame<'a> {
    length: usize,
    body: &'a [u8],
    check: Check,
}

enum Parsed<'a> {
    Frame(Frame<'a>),
    End,
    /// Shorter than it says, or zeros where its check should be: the machine stopped while it was written.
    Torn,
    Broken(&'static str),
}

impl<'a> Frame<'a> {
    /// Reads the frame at the beginning of `bytes`, which lie in the file from `at` to its end.
    fn parse(bytes: &'a [u8], at: usize, sequence: u64, before: &Check) -> Parsed<'a> {
        if bytes.is_empty() {
            return Parsed::End;
        }
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Parsed::Torn;
        };
        let body = u32::from_le_bytes(*length) as usize;
        // A file that grew before its data arrived: no frame of ours begins so.
        if bytes.iter().take(FRAME_HEAD).all(|byte| *byte == 0) {
            return Parsed::Torn;
        }
        if body > BODY_MAX {
            return Parsed::Broken("a frame has an absurd length");
        }
        let length = FRAME_HEAD + body + CHECK;
        if bytes.len() < length {
            return Parsed::Torn;
        }
        let (covered, found) = bytes[..length].split_at(length - CHECK);
        let found = Check::try_from(found).expect("a check has its length");
        if bytes.len() == length && found == [0; CHECK] {
            return Parsed::Torn;
        }
        let theirs = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
        if theirs != sequence.wrapping_add(1) || check(b'f', before, covered) != found {
            if bytes.len() == length && lacks_a_page(bytes, at) {
                return Parsed::Torn;
            }
            return Parsed::Broken("a frame does not verify");
        }
        Parsed::Frame(Frame { length, body: &covered[FRAME_HEAD..], check: found })
    }
}

/// Whether a page of the file that begins in `bytes`, which lie from `at` on, is all zeros.
fn lacks_a_page(bytes: &[u8], at: usize) -> bool {
    let first = at.next_multiple_of(PAGE) - at;
    let mut pages = bytes.get(first..).unwrap_or_default().chunks(PAGE);
    pages.any(|page| page.iter().all(|byte| *byte == 0))
}

/// Whether a frame with a sequence above `after` verifies anywhere beyond `from`. It names the check before it by position, so the
/// chain up to there need not be whole.
fn later_frame(bytes: &[u8], from: usize, after: u64) -> bool {
    (from + 1..bytes.len().saturating_sub(FRAME_HEAD + CHECK - 1)).any(|at| {
        let sequence = u64::from_le_bytes(bytes[at + 4..][..8].try_into().expect("eight bytes"));
        // Cheap first: almost no offset passes this.
        if sequence <= after || sequence - after > bytes.len() as u64 {
            return false;
        }
        let before = Check::try_from(&bytes[at - CHECK..at]).expect("a check has its length");
        matches!(Frame::parse(&bytes[at..], at, sequence - 1, &before), Parsed::Frame(_))
    })
}

/// How many of `records`, at least one, make a frame of a comfortable size.
fn fitting(records: &[Record]) -> usize {
    let sizes = records.iter().scan(0, |sum, record| {
        *sum += RECORD_HEAD + record.key.len() + record.value.as_ref().map_or(0, |value| value.len());
        Some(*sum)
    });
    sizes.take_while(|sum| *sum <= BODY_MAX / 8).count().max(1)
}

/// Table, whether there is a value, length of the key, length of the value.
const RECORD_HEAD: usize = 1 + 1 + 4 + 4;

fn write_record(to: &mut Vec<u8>, record: &Record) {
    let value = record.value.as_deref();
    to.push(record.table as u8);
    to.push(u8::from(value.is_some()));
    to.extend_from_slice(&(record.key.len() as u32).to_le_bytes());
    to.extend_from_slice(&(value.map_or(0, <[u8]>::len) as u32).to_le_bytes());
    to.extend_from_slice(&record.key);
    to.extend_from_slice(value.unwrap_or_default());
}

struct Change<'a> {
    table: Table,
    key: &'a [u8],
    /// Offset in the body, and the bytes.
    value: Option<(usize, &'a [u8])>,
}

fn parse_records(body: &[u8]) -> Option<Vec<Change<'_>>> {
    let mut changes = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let head = body.get(at..at + RECORD_HEAD)?;
        let table = Table::ALL.into_iter().find(|table| *table as u8 == head[0])?;
        let key_len = u32::from_le_bytes(head[2..6].try_into().ok()?) as usize;
        let value_len = u32::from_le_bytes(head[6..10].try_into().ok()?) as usize;
        let key_at = at + RECORD_HEAD;
        let value_at = key_at.checked_add(key_len)?;
        let end = value_at.checked_add(value_len)?;
        let (key, value) = (body.get(key_at..value_at)?, body.get(value_at..end)?);
        let value = match head[1] {
            0 if value_len == 0 => None,
            1 => Some((value_at, value)),
            _ => return None,
        };
        changes.push(Change { table, key, value });
        at = end;
    }
    Some(changes)
}

pub(super) fn sync_dir_of(path: &Path) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io(dir, "sync the directory"))
}

pub(super) fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, "remove a left-over")(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
