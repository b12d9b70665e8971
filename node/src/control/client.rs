//! The other end: how commands ask a running node. Blocking, since a command has nothing else to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{REPLY_BYTES_MAX, Refusal, RefusalKind, ReplyLine, Request, RequestLine, VERSION};

/// Why a node could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum ClientError {
    #[error("{path}: no node is running here; start it: frith run --dir {dir}", dir = path.parent().unwrap_or(Path::new(".")).display())]
    NotRunning { path: PathBuf },
    #[error("{path}: cannot talk to the node: {why}")]
    Io { path: PathBuf, why: io::Error },
    #[error("{path}: the node answers something else than a reply: {why}")]
    NotAReply { path: PathBuf, why: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection to a running node.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the node whose control socket is at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if nobody listens.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let path = path.to_path_buf();
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Client { path, stream: BufReader::new(stream) }),
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&e.kind()) => {
                Err(ClientError::NotRunning { path })
            }
            Err(why) => Err(ClientError::Io { path, why }),
        }
    }

    /// Gives up on any answer after `timeout`; `None` waits as long as it takes.
    ///
    /// # Errors
    /// If the system will not.
    pub fn give_up_after(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.stream.get_ref().set_read_timeout(timeout).map_err(|why| self.io(why))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// If the node refuses, or cannot be talked to.
    pub fn ask(&mut self, request: &Request) -> Result<Value, ClientError> {
        let request = serde_json::to_value(request).expect("a request is plain JSON");
        let mut line = serde_json::to_string(&RequestLine { v: VERSION, request }).expect("as is its line");
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes()).map_err(|why| self.io(why))?;
        let mut reply = Vec::new();
        (&mut self.stream)
            .take(REPLY_BYTES_MAX as u64)
            .read_until(b'\n', &mut reply)
            .map_err(|why| ClientError::Io { path: self.path.clone(), why })?;
        if reply.is_empty() {
            let why = "the node is stopping".into();
            return Err(Refusal { kind: RefusalKind::Stopping, why }.into());
        }
        let not_a_reply = |why: String| ClientError::NotAReply { path: self.path.clone(), why };
        let reply: ReplyLine = serde_json::from_slice(&reply).map_err(|e| not_a_reply(e.to_string()))?;
        match reply {
            ReplyLine { v: VERSION, ok: Some(value), error: None, .. } => Ok(value),
            ReplyLine { v: VERSION, ok: None, error: Some(why), kind } => {
                Err(Refusal { kind: kind.unwrap_or(RefusalKind::Refused), why }.into())
            }
            ReplyLine { v, .. } if v != VERSION => {
                Err(not_a_reply(format!("it speaks version {v}, and this frith {VERSION}")))
            }
            ReplyLine { .. } => Err(not_a_reply("neither yes nor no".into())),
        }
    }

    fn io(&self, why: io::Error) -> ClientError {
        ClientError::Io { path: self.path.clone(), why }
    }
}
