//! Decoding and signature checks, beside the core's task: the costly part of every message, and pure.
//!
//! Each peer's messages go through one worker, so that they stay in order; a full queue makes the transport leave that peer's stream
//! unread.

use std::sync::Arc;

use frith_protocol::door::{Message, open_envelope};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{PublicKey, Verified, verify};
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::DomainId;
use tokio::sync::mpsc;

use crate::founding::signature_check;
use crate::net::{GossipToken, NetEvent, NetEvents};

/// Messages that may wait for one worker.
const WORKER_QUEUE_MAX: usize = 64;
/// More than this many cores are not worth a worker each: the core itself is one task.
const WORKERS_MAX: usize = 4;

/// What the transport said, ready for the core.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message, checked or found wanting.
    Message {
        from: PublicKey,
        what: Result<(DomainId, Arc<Verified<Message>>), Fault>,
        /// If it came by gossip, and waits for a verdict.
        gossip: Option<GossipToken>,
    },
    /// Everything else that the transport says, as it was.
    Net(NetEvent),
    /// Somebody answered at an address that we only had a hint of.
    Answered(PublicKey),
}

struct Unchecked {
    from: PublicKey,
    bytes: Vec<u8>,
    gossip: Option<GossipToken>,
}

/// Starts the workers and the task that hands them what the transport receives. It ends when either end is closed.
pub(super) fn start(mut events: NetEvents, ready: mpsc::Sender<Incoming>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers: Vec<_> = (0..cores.min(WORKERS_MAX)).map(|_| worker(ready.clone())).collect();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let (from, bytes, gossip) = match event {
                NetEvent::Received { from, bytes } => (from, bytes, None),
                NetEvent::Gossiped { from, domain: _, bytes, token } => (from, bytes, Some(token)),
                other @ (NetEvent::Connected(_)
                | NetEvent::Disconnected(_)
                | NetEvent::Listening(_)
                | NetEvent::Addresses { .. }) => {
                    if ready.send(Incoming::Net(other)).await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            let nth = usize::from(from.0[0]) % workers.len();
            if workers[nth].send(Unchecked { from, bytes, gossip }).await.is_err() {
                return;
            }
        }
    });
}

fn worker(ready: mpsc::Sender<Incoming>) -> mpsc::Sender<Unchecked> {
    let (queue, mut waiting) = mpsc::channel::<Unchecked>(WORKER_QUEUE_MAX);
    std::thread::spawn(move || {
        while let Some(Unchecked { from, bytes, gossip }) = waiting.blocking_recv() {
            let what = check(&bytes);
            drop(bytes);
            if ready.blocking_send(Incoming::Message { from, what, gossip }).is_err() {
                return;
            }
        }
    });
    queue
}

fn check(bytes: &[u8]) -> Result<(DomainId, Arc<Verified<Message>>), Fault> {
    let (domain, message) = open_envelope(bytes, MESSAGE_BYTES_MAX)?;
    Ok((domain, Arc::new(verify(message, &signature_check())?)))
}
