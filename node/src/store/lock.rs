//! One process per directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;

/// Held as long as it lives. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock at `path`, which is created if it is not there.
    pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::io(path, "create the lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                let pid = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(StoreError::InUse { path: path.to_path_buf(), pid });
            }
            Err(e) => return Err(StoreError::io(path, "lock")(e.into())),
        }
        // Only a courtesy to whoever finds it taken, so a full disk may keep it from being written.
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(e) = written {
            tracing::debug!(path = %path.display(), error = %e, "the lock does not name its holder");
        }
        Ok(Lock(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said, and not left to closing: a child of this process shares the open file between its fork and its exec, and would hold the lock.
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::debug!(%error, "the lock is let go of by closing it");
        }
    }
}
