//! Connections and the streams on them: the driver's hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use frith_protocol::door::Standing;
use frith_protocol::identity::PublicKey;
use frith_protocol::limits::STRANGER_MESSAGE_BYTES_MAX;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId, Stream};
use tokio::task::{AbortHandle, JoinError};

use super::contacts::Exchange;
use super::driver::Driver;
use super::frames::{self, Bounds, Outbox, ReadEnd};
use super::names::{key_of, split_peer};
use super::{limits, pipe};

/// A connection that ended sooner counts as a failure to connect.
const SHORT_CONNECTION: Duration = Duration::from_secs(10);

/// A task that reads from or writes to a peer has ended.
pub(super) struct Ended {
    key: PublicKey,
    connection: ConnectionId,
    why: Why,
}

pub(super) enum Why {
    Read(ReadEnd),
    Wrote(std::io::Error),
}

pub(super) struct Connection {
    id: ConnectionId,
    pub(super) address: Multiaddr,
    pub(super) dialled: bool,
    since: Instant,
    reader: Option<AbortHandle>,
    /// A stream of the peer's that is not read before the host knows that the peer is connected.
    unread: Option<Stream>,
}

/// A peer with at least one connection.
pub(super) struct Peer {
    id: PeerId,
    pub(super) connections: Vec<Connection>,
    pub(super) bounds: Arc<Bounds>,
    pub(super) outbox: Arc<Outbox>,
    /// The connection that we send on, and the task that does; none while the stream is being opened.
    sending: Option<(ConnectionId, Option<AbortHandle>)>,
    /// Whether the host knows.
    pub(super) told: bool,
    pub(super) exchange: Exchange,
}

impl Driver {
    pub(super) fn on_connected(&mut self, id: PeerId, connection: ConnectionId, endpoint: ConnectedPoint) {
        let Some(key) = key_of(&id) else {
            unreachable!("the pipe denies peers without a key");
        };
        let dialled = endpoint.is_dialer();
        let address = split_peer(endpoint.get_remote_address().clone()).0;
        self.dialling.remove(&connection);
        if let Some((_, reply)) = self.dials.remove(&connection) {
            self.chosen.insert(key);
            // Whoever asked may have given up waiting.
            let _ = reply.send(Ok(key));
        }
        if dialled && self.is_known(&key) {
            self.hint(key, [address.clone()]);
        }
        let now = Instant::now();
        let known = self.is_known(&key);
        let opened = Connection { id: connection, address, dialled, since: now, reader: None, unread: None };
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.connections.push(opened);
        } else {
            let outbox = match self.waiting.remove(&key) {
                Some((outbox, _)) => outbox,
                None => Arc::new(Outbox::new(outbox_bytes_max(known))),
            };
            self.outboxes(|outboxes| outboxes.insert(key, outbox.clone()));
            let bounds = Arc::new(Bounds::new(self.throttle.clone()));
            let peer = Peer {
                id,
                connections: vec![opened],
                bounds,
                outbox,
                sending: None,
                told: false,
                exchange: Exchange::new(now),
            };
            self.peers.insert(key, peer);
            self.notices.connected(key);
            self.send_on(key, connection);
        }
        tracing::debug!(?key, dialled, known, "connected");
        self.fit_bounds(&key);
    }

    pub(super) fn on_connection_closed(&mut self, id: &PeerId, closed: ConnectionId) {
        let Some(key) = key_of(id) else { return };
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(i) = peer.connections.iter().position(|connection| connection.id == closed) else { return };
        let connection = peer.connections.swap_remove(i);
        // Its reader ends by itself, once it has handed over what had arrived.
        let lasted = connection.since.elapsed();
        if peer.sending.as_ref().is_some_and(|(sending, _)| *sending == closed)
            && let Some((_, Some(writer))) = peer.sending.take()
        {
            writer.abort();
        }
        if let Some(newest) = peer.connections.iter().max_by_key(|connection| connection.since) {
            if peer.sending.is_none() {
                let newest = newest.id;
                self.send_on(key, newest);
            }
            return;
        }
        self.peers.remove(&key);
        self.outboxes(|outboxes| outboxes.remove(&key));
        self.notices.disconnected(key);
        tracing::debug!(?key, "disconnected");
        let now = Instant::now();
        if let Some(backoff) = self.book.backoff(&key) {
            if lasted >= SHORT_CONNECTION {
                backoff.reset(now);
            }
            backoff.failed(now);
        }
        if self.wanted.contains(&key) {
            self.search.reset(now);
        }
    }

    /// Sends on this connection from now on, once there is a stream.
    pub(super) fn send_on(&mut self, key: PublicKey, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if let Some((_, Some(writer))) = peer.sending.replace((connection, None)) {
            writer.abort();
        }
        self.swarm.behaviour_mut().pipe.open(peer.id, connection);
    }

    pub(super) fn on_stream(&mut self, pipe::Event { peer: id, connection, what }: pipe::Event) {
        let Some(key) = key_of(&id) else { return };
        let gone = self.standing_of(&key) == Standing::Gone;
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match what {
            // Nothing it says is heard.
            pipe::Report::Accepted(_) if gone => {}
            pipe::Report::Opened(stream) => {
                let Some((sending, writer @ None)) = &mut peer.sending else { return };
                if *sending != connection {
                    return;
                }
                let outbox = peer.outbox.clone();
                *writer = Some(self.tasks.spawn(async move {
                    let why = Why::Wrote(frames::write(stream, &outbox).await);
                    Ended { key, connection, why }
                }));
            }
            pipe::Report::Failed(why) => {
                tracing::debug!(?key, why, "no stream to the peer: its connection is of no use");
                self.swarm.close_connection(connection);
            }
            pipe::Report::Accepted(stream) => {
                let Some(on) = peer.connections.iter_mut().find(|on| on.id == connection) else { return };
                on.unread = Some(stream);
                let since = on.since;
                let told = peer.told;
                // A peer that speaks on a much younger connection has lost the one that we send on, even if we have not noticed.
                let sending = peer.sending.as_ref().map(|(sending, _)| *sending);
                let outlived = peer.connections.iter().any(|other| {
                    Some(other.id) == sending
                        && since.saturating_duration_since(other.since) > limits::SUCCESSION_AGE
                });
                if outlived {
                    self.send_on(key, connection);
                }
                if told {
                    self.read_unread(key);
                }
            }
        }
    }

    /// Reads the streams that a peer has opened, each instead of an earlier one on the same connection.
    pub(super) fn read_unread(&mut self, key: PublicKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        for on in &mut peer.connections {
            let Some(stream) = on.unread.take() else { continue };
            if let Some(reader) = on.reader.take() {
                reader.abort();
            }
            let (bounds, budgets, events) = (peer.bounds.clone(), self.budgets.clone(), self.events.clone());
            let (connection, received) = (on.id, self.shared.counters.received.clone());
            on.reader = Some(self.tasks.spawn(async move {
                let why = Why::Read(frames::read(stream, key, bounds, budgets, events, received).await);
                Ended { key, connection, why }
            }));
        }
    }

    pub(super) fn on_task_end(&mut self, ended: Result<Ended, JoinError>) {
        let Ended { key, connection, why } = match ended {
            Ok(ended) => ended,
            Err(why) if why.is_cancelled() => return,
            // A panic is our bug, and not to be hidden.
            Err(why) => std::panic::resume_unwind(why.into_panic()),
        };
        match why {
            Why::Read(ReadEnd::Closed | ReadEnd::HostGone) => {}
            Why::Read(why @ (ReadEnd::TooLong { .. } | ReadEnd::TooSlow)) => {
                // Strangers can do that without end: the counter tells, and the log does not grow by it.
                tracing::debug!(?key, %why, "disconnected a peer");
                self.shared.counters.refused.inc();
                self.swarm.close_connection(connection);
            }
            Why::Read(ReadEnd::Broken(why)) => tracing::debug!(?key, %why, "a stream from a peer broke"),
            Why::Wrote(why) => {
                tracing::debug!(?key, %why, "a stream to a peer broke: its connection is of no use");
                self.swarm.close_connection(connection);
            }
        }
    }

    /// Nothing more is read from or queued for a peer.
    pub(super) fn hush(&mut self, key: &PublicKey) {
        self.waiting.remove(key);
        self.outboxes(|outboxes| outboxes.remove(key));
        let Some(peer) = self.peers.get_mut(key) else { return };
        for connection in &mut peer.connections {
            connection.unread = None;
            if let Some(reader) = connection.reader.take() {
                reader.abort();
            }
        }
    }

    /// Nor sent to it.
    pub(super) fn silence(&mut self, key: &PublicKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if let Some((_, Some(writer))) = peer.sending.take() {
            writer.abort();
        }
    }
}

/// How much may wait for a peer.
pub(super) fn outbox_bytes_max(known: bool) -> usize {
    if known { limits::OUTBOX_BYTES_MAX } else { limits::SMALL_OUTBOX_BYTES_MAX }
}

const _: () = assert!(STRANGER_MESSAGE_BYTES_MAX <= limits::SMALL_OUTBOX_BYTES_MAX);
