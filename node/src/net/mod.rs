//! The transport: libp2p behind a small handle. It moves bytes between peers that it names by their keys, and knows nothing of what
//! they mean.
//!
//! | file | holds |
//! |---|---|
//! | `swarm` | which behaviours, over which transports |
//! | `driver`, `connections`, `contacts` | the one task that owns the swarm: standing; connections and their streams; whom to dial, and where |
//! | `pipe`, `frames` | the core's messages: one ordered stream each way |
//! | `gate`, `gossip` | gossipsub, for members only |
//! | `book`, `exchange` | address records and how members pass them on |
//! | `notices` | what a slow host has not been told yet |
//! | `limits` | every bound |
//!
//! What a peer reaches follows from its [`Standing`], which the host sets. *Strangers*: small messages at a bounded rate, from a bounded
//! number of connections; no gossip, no addresses. Peers that the host chose to dial, or wants to keep: messages of full length.
//! *Members and endorsers*: everything. *Gone*: nothing; their connections are closed at once, and they do not get another.
//! Which message needs which standing is for the core to say: here only volume and reach are bounded.
//!
//! Nothing here waits for the host. Messages wait at the peer (their stream is not read on), gossip is dropped, and the rest are
//! facts that need no queue.

#[cfg(test)]
mod attacks;
mod book;
mod connections;
mod contacts;
mod counters;
mod driver;
mod exchange;
mod frames;
mod gate;
pub mod gossip;
mod limits;
mod names;
mod notices;
mod pipe;
mod swarm;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use frith_protocol::door::Standing;
use frith_protocol::identity::{PublicKey, SecretKey};
use frith_protocol::limits::{GOSSIP_BYTES_MAX, MESSAGE_BYTES_MAX};
use frith_protocol::state::DomainId;
pub use libp2p::Multiaddr;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub use book::RecordFault;
use counters::Counters;
use driver::{Command, Driver};
use frames::{Held, Outbox};

/// How to start.
#[derive(Clone)]
pub struct NetConfig {
    /// The seed of the Ed25519 key that names this node to its peers.
    pub identity_seed: [u8; 32],
    /// Where to listen: `/ip4/0.0.0.0/tcp/4400`, `/ip4/0.0.0.0/udp/4400/quic-v1`. Port 0 takes a free one.
    pub listen: Vec<Multiaddr>,
    /// Where peers can reach this node beyond the addresses of its interfaces: behind NAT, by name.
    pub external: Vec<Multiaddr>,
    /// Whether to look for known peers on the local network.
    pub mdns: bool,
    /// Refuse further connections while this process is larger than so many bytes.
    pub memory_bytes_max: Option<usize>,
    /// Address records from an earlier run, as [`NetEvent::Addresses`] gave them. They are checked again.
    pub records: Vec<Vec<u8>>,
}

impl NetConfig {
    /// A node that listens nowhere, and dials only.
    pub fn new(identity_seed: [u8; 32]) -> NetConfig {
        NetConfig {
            identity_seed,
            listen: Vec::new(),
            external: Vec::new(),
            mdns: false,
            memory_bytes_max: None,
            records: Vec::new(),
        }
    }
}

impl fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetConfig")
            .field("listen", &self.listen)
            .field("external", &self.external)
            .field("mdns", &self.mdns)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// What the transport tells its host.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer sent a message.
    Received {
        /// Who.
        from: PublicKey,
        /// What.
        bytes: Vec<u8>,
    },
    /// A member gossiped a message. It goes no further until [`Network::verdict`].
    Gossiped {
        /// From whom we have it, which need not be who published it.
        from: PublicKey,
        /// In whose topic.
        domain: DomainId,
        /// What.
        bytes: Vec<u8>,
        /// For the verdict.
        token: GossipToken,
    },
    /// The first connection to a peer was opened.
    Connected(PublicKey),
    /// The last connection to a peer was closed. What it sent before may still follow.
    Disconnected(PublicKey),
    /// This node listens here now.
    Listening(Multiaddr),
    /// A peer's addresses changed. The host may store the record, one for each peer, and give it back in [`NetConfig::records`].
    Addresses {
        /// Whose.
        of: PublicKey,
        /// The signed record.
        record: Vec<u8>,
        /// What it says.
        addresses: Vec<Multiaddr>,
    },
}

/// Names a gossiped message that waits for its verdict.
#[derive(Clone, Debug)]
pub struct GossipToken {
    message: MessageId,
    source: PeerId,
}

/// What becomes of a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good: forward it.
    Accept,
    /// It is of no use now: drop it, nobody is to blame.
    Ignore,
    /// It breaks a rule: drop it, and blame whoever handed it on.
    Reject,
}

/// Why the transport does not start, or does not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// It cannot listen there.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// Why, and what to do.
        why: String,
    },
    /// It cannot find peers on the local network.
    #[error("cannot look for peers on the local network (mDNS): {why}; switch mDNS off to start without")]
    Mdns {
        /// Why.
        why: String,
    },
    /// It cannot set up its transports.
    #[error("cannot set up the transports: {why}")]
    Transport {
        /// Why.
        why: String,
    },
    /// It does not dial such an address.
    #[error(
        "{address} cannot be dialled: an address is a host and TCP or QUIC, as in /ip4/192.0.2.1/tcp/4400 or \
         /dns/host.example/udp/4400/quic-v1, and may end in /p2p/ and a peer id"
    )]
    Address {
        /// Which.
        address: Multiaddr,
    },
    /// Nobody answers there, or somebody else.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// Where.
        address: Multiaddr,
        /// Why.
        why: String,
    },
    /// The transport has been shut down.
    #[error("the transport has been shut down")]
    Stopped,
}

/// Why a message is not sent. Whoever sent it may try again: nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// It is longer than any peer would take.
    #[error("a message of {bytes} bytes; at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// The peer takes messages more slowly than they are sent.
    #[error("too much waits for the peer already")]
    QueueFull,
}

/// A peer as [`Network::status`] shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PeerStatus {
    /// Its key.
    pub key: PublicKey,
    /// What it is to us.
    pub standing: Standing,
    /// From or to where it is connected.
    pub addresses: Vec<Multiaddr>,
    /// Whether we dialled it, at least once.
    pub dialled: bool,
}

/// What the transport is doing.
#[derive(Clone, Debug, Serialize)]
pub struct NetStatus {
    /// Who we are.
    pub key: PublicKey,
    /// Who is connected, ordered by key.
    pub peers: Vec<PeerStatus>,
    /// Where we listen.
    pub listening: Vec<Multiaddr>,
    /// What our own signed record says.
    pub announced: Vec<Multiaddr>,
    /// How many peers the address book knows.
    pub known: usize,
    /// How many connections strangers have.
    pub strangers: usize,
}

/// What handles and driver share.
struct Shared {
    outboxes: RwLock<HashMap<PublicKey, Arc<Outbox>>>,
    counters: Counters,
    registry: Mutex<Registry>,
}

/// The handle of the transport. When the last one is dropped, the transport shuts down.
#[derive(Clone)]
pub struct Network {
    key: PublicKey,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// What the transport tells, in the order of its happening to each peer.
#[derive(Debug)]
pub struct NetEvents(mpsc::Receiver<Delivery>);

/// An event, and the room that its bytes take in the queue.
#[derive(Debug)]
struct Delivery {
    event: NetEvent,
    held: Option<Held>,
}

/// The room that a message takes of its sender's. Whoever drops it has dealt with the message, and lets the sender say more.
#[derive(Debug)]
pub struct Claim {
    _held: Option<Held>,
}

impl NetEvents {
    /// The next event; `None` once the transport has shut down. Safe to cancel.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        self.recv_claimed().await.map(|(event, _)| event)
    }

    /// The same for a host that works on several at once: no peer has more than a few megabytes of messages in claims that are not
    /// dropped yet, so such a host needs no bounds of its own.
    pub async fn recv_claimed(&mut self) -> Option<(NetEvent, Claim)> {
        let Delivery { event, held } = self.0.recv().await?;
        Some((event, Claim { _held: held }))
    }
}

/// Whether the transport dials such an address, with or without the peer that is expected there.
pub fn is_dialled(address: &Multiaddr) -> bool {
    names::dialable(&names::split_peer(address.clone()).0)
}

/// Whose address record this is, and what it says; `None` if it does not hold.
pub fn addresses_in(record: &[u8]) -> Option<(PublicKey, Vec<Multiaddr>)> {
    let book::Record { of, addresses, .. } = book::Record::open(record, contacts::now_s()).ok()?;
    Some((of, addresses))
}

/// Starts the transport, on the current tokio runtime. When this returns, it listens.
///
/// # Errors
/// [`NetError::Listen`] names an address that cannot be listened on: a port in use, an address of another machine.
pub async fn start(config: NetConfig) -> Result<(Network, NetEvents), NetError> {
    let key = SecretKey::from_seed(config.identity_seed).public();
    let identity =
        Keypair::ed25519_from_bytes(config.identity_seed).expect("any 32 bytes are an Ed25519 seed");
    let mut registry = Registry::default();
    let swarm = swarm::build(&config, identity.clone(), &mut registry)?;
    let metrics = libp2p::metrics::Metrics::new(registry.sub_registry_with_prefix("libp2p"));
    let shared = Arc::new(Shared {
        outboxes: RwLock::default(),
        counters: Counters::new(&mut registry),
        registry: Mutex::new(registry),
    });
    let (commands, waiting) = mpsc::channel(limits::COMMANDS_MAX);
    let (events, receiver) = mpsc::channel(limits::EVENTS_MAX);
    let mut driver = Driver::new(swarm, identity, key, metrics, shared.clone(), waiting, events);
    driver.listen(&config.listen, config.external).await?;
    driver.restore(&config.records);
    tokio::spawn(driver.run());
    Ok((Network { key, commands, shared }, NetEvents(receiver)))
}

impl Network {
    /// The key that names this node.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Queues a message for a peer, in order. Never waits. A peer that is not connected is dialled if an address is known and it is not
    /// too soon after the last failure; otherwise the message is dropped: senders try again by their own timers.
    ///
    /// # Errors
    /// [`NotSent`], if the message can never be sent or its peer's queue is full.
    pub fn send(&self, to: PublicKey, bytes: impl Into<Arc<[u8]>>) -> Result<(), NotSent> {
        let bytes: Arc<[u8]> = bytes.into();
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(NotSent::TooLong { bytes: bytes.len() });
        }
        let outbox =
            self.shared.outboxes.read().unwrap_or_else(PoisonError::into_inner).get(&to).map(Arc::clone);
        let queued = match outbox {
            Some(outbox) => outbox.push(bytes),
            None => self.commands.try_send(Command::Send { to, bytes }).is_ok(),
        };
        if queued {
            self.shared.counters.sent.inc();
            Ok(())
        } else {
            self.shared.counters.unsent.inc();
            Err(NotSent::QueueFull)
        }
    }

    /// Gossips a message in a domain's topic.
    ///
    /// # Errors
    /// [`NotSent::TooLong`] beyond [`GOSSIP_BYTES_MAX`].
    pub async fn publish(&self, domain: DomainId, bytes: Vec<u8>) -> Result<(), NotSent> {
        if bytes.len() > GOSSIP_BYTES_MAX {
            return Err(NotSent::TooLong { bytes: bytes.len() });
        }
        self.command(Command::Publish { domain, bytes }).await;
        Ok(())
    }

    /// Takes part in a domain's gossip.
    pub async fn subscribe(&self, domain: DomainId) {
        self.command(Command::Subscribe(domain)).await;
    }

    /// Judges a gossiped message. Each should be judged once, soon.
    pub async fn verdict(&self, token: GossipToken, verdict: Verdict) {
        self.command(Command::Verdict { token, verdict }).await;
    }

    /// Dials an address, and says who answers there. That peer may send messages of full length from now on.
    ///
    /// # Errors
    /// [`NetError::Unreachable`] or [`NetError::Address`], with the address.
    pub async fn dial(&self, address: Multiaddr) -> Result<PublicKey, NetError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Dial { address, reply }).await;
        answer.await.unwrap_or(Err(NetError::Stopped))
    }

    /// Dials a peer, at these addresses and wherever else it is known to be. [`NetEvent::Connected`] tells of success.
    pub async fn dial_peer(&self, key: PublicKey, addresses: Vec<Multiaddr>) {
        self.command(Command::DialPeer { key, addresses }).await;
    }

    /// Stays connected to these peers as far as possible: dials them again and again, and asks members where they are. Replaces what
    /// was wanted before.
    pub async fn keep_connected(&self, keys: Vec<PublicKey>) {
        self.command(Command::KeepConnected(keys)).await;
    }

    /// Says what a peer is to us: [what it reaches](self) follows, at once.
    pub async fn set_standing(&self, key: PublicKey, standing: Standing) {
        self.command(Command::SetStanding { key, standing }).await;
    }

    /// Forgets everything about a peer, and disconnects it. It may come back as a stranger.
    pub async fn forget(&self, key: PublicKey) {
        self.command(Command::Forget(key)).await;
    }

    /// What the transport is doing. `None` once it has shut down.
    pub async fn status(&self) -> Option<NetStatus> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Status(reply)).await;
        answer.await.ok()
    }

    /// All counters, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        let registry = self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes any text");
        text
    }

    /// Sends what is queued, as far as that goes quickly, closes every connection, and stops.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Shutdown(reply)).await;
        // If it has stopped before, there is nothing to wait for.
        let _ = answer.await;
    }

    /// A driver that has stopped does nothing any more, and needs no telling.
    async fn command(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }
}
