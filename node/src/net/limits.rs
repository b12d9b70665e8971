//! Every bound of the transport, unit last. Those that the core shares are in [`frith_protocol::limits`].

use std::time::Duration;

use frith_protocol::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, MESSAGE_BYTES_MAX, STRANGER_MESSAGE_BYTES_MAX,
};

/// Connections in all, strangers included.
pub(super) const CONNECTIONS_MAX: u32 = 1024;
/// Connections to one peer: two when both dialled at once, and as many again that died and have not been noticed yet.
pub(super) const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Connections of strangers: they can fill these places, and none of the others.
pub(super) const STRANGERS_MAX: usize = 64;
/// Connections of strangers from one network address (an IPv6 /64 counts as one). Loopback is exempt: a machine is not many strangers.
pub(super) const STRANGERS_PER_ADDRESS_MAX: usize = 16;
/// How long a stranger keeps its place when others wait for one.
pub(super) const STRANGER_STAY: Duration = Duration::from_secs(60);
/// Connections that have not shaken hands yet, each way.
pub(super) const PENDING_CONNECTIONS_MAX: u32 = 64;
/// Streams of one connection.
pub(super) const STREAMS_MAX: usize = 32;
/// Streams of one connection whose protocol is being agreed upon.
pub(super) const NEGOTIATING_STREAMS_MAX: usize = 16;
/// Unread bytes of one QUIC stream, and of one QUIC connection.
pub(super) const QUIC_STREAM_BYTES_MAX: u32 = 1024 * 1024;
/// See [`QUIC_STREAM_BYTES_MAX`].
pub(super) const QUIC_CONNECTION_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// A connection on which nothing is open is closed after this long.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a peer is pinged, and how long it has to answer; otherwise its connection counts as dead.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(15);
/// See [`PING_INTERVAL`].
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Commands that wait for the driver.
pub(super) const COMMANDS_MAX: usize = 1024;
/// Events that wait for the host.
pub(super) const EVENTS_MAX: usize = 1024;
/// Bytes of all messages that the host has not dealt with: of endorsers, and as many of all others. Whoever has more to say waits, each peer
/// with one message.
pub(super) const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of one peer’s messages that the host has not dealt with. Whoever has more to say waits.
pub(super) const PEER_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// What the smallest message counts among those bytes: what it costs to look at it.
pub(super) const HELD_BYTES_MIN: usize = 4 * 1024;
/// Bytes that wait to be sent to one peer.
pub(super) const OUTBOX_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Messages that wait to be sent to one peer.
pub(super) const OUTBOX_FRAMES_MAX: usize = 2048;
/// Bytes that wait for one stranger, or for a peer that is being dialled.
pub(super) const SMALL_OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Peers for whom messages wait while they are dialled.
pub(super) const WAITING_PEERS_MAX: usize = 256;
/// How long messages wait for a peer that is being dialled.
pub(super) const WAITING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take from the first to the last byte of one message.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(60);
/// How much younger a connection must be than the one we send on before a peer that speaks on it makes us follow: long enough that
/// two dials at once do not chase one another, short enough that a peer that restarted is not spoken to on a dead connection.
pub(super) const SUCCESSION_AGE: Duration = Duration::from_secs(10);

/// Messages per second of one stranger, and how many at once.
pub(super) const STRANGER_MESSAGES_PER_SECOND: f64 = 8.0;
/// See [`STRANGER_MESSAGES_PER_SECOND`].
pub(super) const STRANGER_MESSAGES_BURST: f64 = 32.0;
/// Bytes per second of one stranger, and how many at once.
pub(super) const STRANGER_BYTES_PER_SECOND: f64 = 64.0 * 1024.0;
/// See [`STRANGER_BYTES_PER_SECOND`].
pub(super) const STRANGER_BYTES_BURST: f64 = 128.0 * 1024.0;
/// Messages per second of all strangers together: a bound on the signatures that we check for them, whoever they say they are.
pub(super) const STRANGERS_MESSAGES_PER_SECOND: f64 = 400.0;
/// See [`STRANGERS_MESSAGES_PER_SECOND`].
pub(super) const STRANGERS_MESSAGES_BURST: f64 = 800.0;
/// Bytes per second of all strangers together.
pub(super) const STRANGERS_BYTES_PER_SECOND: f64 = 4.0 * 1024.0 * 1024.0;
/// See [`STRANGERS_BYTES_PER_SECOND`].
pub(super) const STRANGERS_BYTES_BURST: f64 = 8.0 * 1024.0 * 1024.0;

/// Topics that one peer may subscribe to.
pub(super) const TOPICS_PER_PEER_MAX: usize = 64;

/// Peers in the address book.
pub(super) const BOOK_PEERS_MAX: usize = 4096;
/// Bytes of one signed address record.
pub(super) const RECORD_BYTES_MAX: usize = ADDRESSES_MAX * (ADDRESS_BYTES_MAX + 16) + 512;
/// Records in one answer.
pub(super) const RECORDS_MAX: usize = 32;
/// Peers that one question asks for by name.
pub(super) const WANTS_MAX: usize = 32;
/// Bytes of a question about addresses, and of an answer.
pub(super) const QUESTION_BYTES_MAX: usize = RECORD_BYTES_MAX + WANTS_MAX * 32 + 64;
/// See [`QUESTION_BYTES_MAX`].
pub(super) const ANSWER_BYTES_MAX: usize = RECORDS_MAX * (RECORD_BYTES_MAX + 8) + 64;
/// Streams of one connection for questions and answers about addresses.
pub(super) const ADDRESS_STREAMS_MAX: usize = 4;
/// How often a stranger is told where endorsers are.
pub(super) const STRANGER_QUESTION_INTERVAL: Duration = Duration::from_secs(1);
/// How far ahead of our clock the number of an address record may be. It is a time; one from a far future would lock its owner out.
pub(super) const RECORD_AHEAD_MAX_S: u64 = 24 * 3600;
/// Members that are asked at once for an address that we lack.
pub(super) const ASKED_AT_ONCE: usize = 3;

const _: () = assert!(STRANGERS_MAX < CONNECTIONS_MAX as usize);
const _: () = assert!(STRANGERS_PER_ADDRESS_MAX < STRANGERS_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= PEER_BYTES_MAX && PEER_BYTES_MAX < EVENT_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= OUTBOX_BYTES_MAX);
const _: () = assert!(STRANGER_MESSAGE_BYTES_MAX as f64 <= STRANGER_BYTES_BURST);
const _: () = assert!(STRANGER_BYTES_BURST <= STRANGERS_BYTES_BURST);
const _: () = assert!(EVENT_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(ANSWER_BYTES_MAX <= MESSAGE_BYTES_MAX);
