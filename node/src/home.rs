//! The directory of one node (`--dir D`): what lies where, and who may look.
//!
//! ```text
//! D/frith.toml        configuration; may be missing
//! D/inception.json    who the node is: public
//! D/rotations.json    how its key came to be what it is: public; see the module `rotation`
//! D/keys/             secret keys, one a file (0700, 0600)
//! D/store/            see the module `store`
//! D/control.sock      while the node runs (0600)
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A node's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

/// Why a directory or file of a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum HomeError {
    #[error("{path}: cannot {what}: {why}")]
    Io { path: PathBuf, what: &'static str, why: io::Error },
    #[error("{path}: others on this machine may {what} (mode {mode:04o}); run: chmod {should:04o} {path}")]
    TooOpen { path: PathBuf, what: &'static str, mode: u32, should: u32 },
    #[error(
        "{path}: it belongs to user {theirs}, and this process runs as user {ours}; run: chown {ours} {path}"
    )]
    NotOurs { path: PathBuf, theirs: u32, ours: u32 },
    #[error("{path}: it is a link or no plain file; put the file itself there")]
    NotPlain { path: PathBuf },
    #[error("{path}: it is no directory; a node lives in one of its own: say another --dir")]
    NotADirectory { path: PathBuf },
}

impl HomeError {
    pub(crate) fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> HomeError {
        let path = path.to_path_buf();
        move |why| HomeError::Io { path, what, why }
    }
}

impl Home {
    /// The home at `dir`, whether or not anything is there.
    pub fn at(dir: impl Into<PathBuf>) -> Home {
        Home { dir: dir.into() }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("frith.toml")
    }

    /// The public beginning of the identity.
    pub fn inception(&self) -> PathBuf {
        self.dir.join("inception.json")
    }

    /// Every rotation of the identity's key.
    pub fn rotations(&self) -> PathBuf {
        self.dir.join("rotations.json")
    }

    /// The secret keys.
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Makes the directory, for its owner only, if it is not there.
    ///
    /// # Errors
    /// If it cannot be made, or if others may write into it.
    pub fn create(&self) -> Result<(), HomeError> {
        match fs::DirBuilder::new().mode(0o700).create(&self.dir) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && !self.dir.is_dir() => {
                Err(HomeError::NotADirectory { path: self.dir.clone() })
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.check(),
            Err(e) => Err(HomeError::io(&self.dir, "create the directory")(e)),
        }
    }

    /// That nobody else may put files here.
    ///
    /// # Errors
    /// If others may, or it cannot be found out.
    pub fn check(&self) -> Result<(), HomeError> {
        owned_and_without(&self.dir, 0o022, 0o700, "put files into it")
    }
}

/// That `path` belongs to us, and none of the bits of `mask` are set. Root may run what belongs to others.
pub(crate) fn owned_and_without(
    path: &Path,
    mask: u32,
    should: u32,
    what: &'static str,
) -> Result<(), HomeError> {
    let meta = fs::symlink_metadata(path).map_err(HomeError::io(path, "look at it"))?;
    let ours = rustix::process::geteuid().as_raw();
    if meta.uid() != ours && ours != 0 {
        return Err(HomeError::NotOurs { path: path.to_path_buf(), theirs: meta.uid(), ours });
    }
    let mode = meta.mode() & 0o7777;
    // A link's own mode says nothing.
    if !meta.is_symlink() && mode & mask != 0 {
        return Err(HomeError::TooOpen { path: path.to_path_buf(), what, mode, should });
    }
    Ok(())
}
