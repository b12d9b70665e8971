//! What can go wrong with a store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use frith_protocol::door::Table;
use frith_protocol::identity::NodeId;
use frith_protocol::state::DomainId;

/// Why a store cannot be opened, or cannot take any more. Nothing that was acknowledged is lost by any of these.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum StoreError {
    #[error("{path}: cannot {what}: {why}{advice}")]
    Io { path: PathBuf, what: &'static str, why: io::Error, advice: &'static str },
    #[error(
        "{path}: the store is in use{by}; stop that node, or give this one a --dir of its own",
        by = match pid { Some(pid) => format!(" by process {pid}"), None => String::new() }
    )]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error(
        "{path}: there is no store yet; found a domain (`frith found`) or join one (`frith join TICKET`)"
    )]
    Missing { path: PathBuf },
    #[error(
        "{path}: there is a store already, of domain {domain}; a directory holds one node in one domain: say another --dir"
    )]
    Exists { path: PathBuf, domain: DomainId },
    #[error(
        "{path}: the store belongs to node {theirs}, and the keys here are those of {ours}: keys or store were copied from elsewhere; put back \
         the other of the two, or begin anew with another --dir"
    )]
    OtherNode { path: PathBuf, theirs: NodeId, ours: NodeId },
    #[error("{path}: the store is of domain {theirs}, not of {ours}")]
    OtherDomain { path: PathBuf, theirs: DomainId, ours: DomainId },
    #[error(
        "{path}: the store has format {theirs}, and this frith knows formats up to {ours}: use a newer frith"
    )]
    Newer { path: PathBuf, theirs: u32, ours: u32 },
    #[error(
        "{path}: {why}; restore this file from a backup, or start over with a new identity in another directory"
    )]
    BadLabel { path: PathBuf, why: String },
    #[error("{path}: the database failed: {why}")]
    Tables { path: PathBuf, why: String },
    #[error("{path}: it failed before, and takes nothing more until the node is started again")]
    Failed { path: PathBuf },
    #[error("a record of {bytes} bytes does not fit a journal frame (at most {max})")]
    TooBig { bytes: usize, max: usize },
}

impl StoreError {
    pub(super) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |why| StoreError::Io { path, what, advice: advice(&why), why }
    }
}

/// What an operator can do about `why`, as the end of a sentence.
pub(super) fn advice(why: &io::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let kind = why.kind();
    if [StorageFull, QuotaExceeded, FileTooLarge].contains(&kind) {
        "; make room and start the node again: what it acknowledged is safe"
    } else if kind == PermissionDenied {
        "; it must belong to, and be writable by, the user that runs the node"
    } else if kind == ReadOnlyFilesystem {
        "; the file system is mounted read-only"
    } else {
        ""
    }
}

/// Something that was found damaged when a store was opened. The store works without it; it is kept aside for whoever wants to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One record that peers can restore.
    Record {
        /// In which table.
        table: Table,
        /// Its key, in hex.
        key: String,
        /// What is wrong.
        why: String,
        /// Where it lies now.
        kept: PathBuf,
    },
    /// Records that were there when the node was last stopped, and are not now.
    Missing {
        /// Of which table.
        table: Table,
        /// How many.
        count: u64,
    },
    /// All that peers can restore: the database does not open.
    Tables {
        /// What it said.
        why: String,
        /// Where it lies now.
        kept: PathBuf,
    },
    /// The journal is missing, or broken in its middle: an endorser counts it as lost (SPEC 8.14).
    Journal {
        /// What is wrong.
        why: String,
        /// Where it lies now; `None` if it was missing.
        kept: Option<PathBuf>,
    },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Record { table, key, why, kept } => write!(
                f,
                "a record of table {table:?} is damaged (key {key}): {why}; set aside as {}, peers will restore it",
                kept.display()
            ),
            Damage::Missing { table, count } => write!(
                f,
                "{count} records of table {table:?} are missing: the database dropped them; peers will restore them"
            ),
            Damage::Tables { why, kept } => write!(
                f,
                "the database is damaged: {why}; set aside as {}, peers will restore what it held",
                kept.display()
            ),
            Damage::Journal { why, kept: Some(kept) } => {
                write!(
                    f,
                    "the journal is damaged: {why}; set aside as {}, and counted as lost",
                    kept.display()
                )
            }
            Damage::Journal { why, kept: None } => write!(f, "the journal is lost: {why}"),
        }
    }
}
