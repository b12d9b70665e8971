//! The node's end of the control socket.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::unix::ReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    CONNECTIONS_MAX, REQUEST_BYTES_MAX, Refusal, RefusalKind, Reply, Request, parse_request, to_line,
};

/// Longest path that a socket can have, on all systems that we know.
const SOCKET_PATH_MAX: usize = 100;

/// Before trying again to accept, when the system would not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// Answer here. Dropping it tells the asker that the node is stopping.
    pub reply: oneshot::Sender<Reply>,
}

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says what its fields are")]
pub enum BindError {
    #[error("{path}: a node is running here already; stop it first, or use another --dir")]
    InUse { path: PathBuf },
    #[error(
        "{path}: the path is too long for a socket ({length} bytes, at most {SOCKET_PATH_MAX}); use a shorter --dir"
    )]
    TooLong { path: PathBuf, length: usize },
    #[error("{path}: cannot {what}: {why}")]
    Io { path: PathBuf, what: &'static str, why: io::Error },
}

/// A bound control socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

impl Listener {
    /// Binds the socket at `path`, which takes the place of one whose process is dead.
    ///
    /// # Errors
    /// If a live process has it, or it cannot be made.
    pub async fn bind(path: &Path) -> Result<Listener, BindError> {
        let io = |what| {
            let path = path.to_path_buf();
            move |why| BindError::Io { path, what, why }
        };
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(BindError::TooLong { path: path.to_path_buf(), length });
        }
        match UnixStream::connect(path).await {
            Ok(_) => return Err(BindError::InUse { path: path.to_path_buf() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(io("remove the socket of a dead process"))?;
            }
            Err(e) => return Err(io("see whether a node is running here")(e)),
        }
        // Made in a directory that nobody else can enter and then moved, so that at no moment others could open it.
        let nursery = path.with_extension("new");
        drop(fs::remove_dir_all(&nursery));
        fs::DirBuilder::new().mode(0o700).create(&nursery).map_err(io("make room for the socket"))?;
        let newborn = nursery.join("s");
        let bound = UnixListener::bind(&newborn).and_then(|listener| {
            fs::set_permissions(&newborn, fs::Permissions::from_mode(0o600))?;
            fs::rename(&newborn, path)?;
            Ok(listener)
        });
        drop(fs::remove_dir_all(&nursery));
        let listener = bound.map_err(io("bind the control socket"))?;
        Ok(Listener { listener, path: path.to_path_buf() })
    }

    /// Serves whoever may ask, until dropped. What they ask comes out of `asked`.
    pub async fn serve(&self, asked: mpsc::Sender<Asked>) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&free).acquire_owned().await.expect("nobody closes the semaphore");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let asked = asked.clone();
                    tokio::spawn(async move {
                        if let Err(e) = converse(stream, asked).await {
                            tracing::debug!(error = %e, "a control connection ended");
                        }
                        drop(place);
                    });
                }
                // Out of file descriptors, most likely: others will be closed.
                Err(e) => {
                    tracing::warn!(error = %e, "a control connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The same user, or root.
fn may_ask(stream: &UnixStream) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0)
}

async fn converse(mut stream: UnixStream, asked: mpsc::Sender<Asked>) -> io::Result<()> {
    if !may_ask(&stream) {
        let reply = to_line(Err(Refusal::refused("only the user that runs the node may ask")));
        return stream.write_all(reply.as_bytes()).await;
    }
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = REQUEST_BYTES_MAX as u64 + 1;
        let length = (&mut read).take(most).read_until(b'\n', &mut line).await?;
        if length == 0 {
            return Ok(());
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            // Too long, or cut off: where the next request begins cannot be known.
            let why = format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes");
            return write.write_all(to_line(Err(Refusal::bad(why))).as_bytes()).await;
        }
        let reply = match parse_request(&line) {
            Ok(request) => tokio::select! {
                reply = answer(request, &asked) => reply,
                () = hung_up(&mut read, write.as_ref()) => return Ok(()),
            },
            Err(refusal) => Err(refusal),
        };
        write.write_all(to_line(reply).as_bytes()).await?;
    }
}

/// Done when the asker has closed its connection: whoever waited for something does not any more. One that has only said that it will
/// ask nothing else still waits.
async fn hung_up(read: &mut BufReader<ReadHalf<'_>>, stream: &UnixStream) {
    if read.fill_buf().await.is_ok_and(<[u8]>::is_empty)
        && stream.ready(Interest::WRITABLE).await.is_ok_and(|ready| ready.is_write_closed())
    {
        return;
    }
    std::future::pending().await
}

async fn answer(request: Request, asked: &mpsc::Sender<Asked>) -> Reply {
    let stopping = || Refusal { kind: RefusalKind::Stopping, why: "the node is stopping".into() };
    let (reply, answer) = oneshot::channel();
    asked.send(Asked { request, reply }).await.map_err(|_| stopping())?;
    answer.await.unwrap_or_else(|_| Err(stopping()))
}
