//! The one task that owns the swarm.
//!
//! **Invariant:** it waits for nobody: not for the host (see [`super::notices`]), and not for a peer (each has its own two tasks).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use frith_protocol::door::Standing;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::DomainId;
use futures::StreamExt as _;
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::identity::Keypair;
use libp2p::metrics::{Metrics, Recorder as _};
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, mdns, ping};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::book::{Backoff, Book, Record};
use super::connections::{Ended, Peer, outbox_bytes_max};
use super::frames::{Budgets, Outbox, Throttle};
use super::names::{domain_of, key_of, peer_id_of, split_peer, topic_of};
use super::notices::{Notice, Notices};
use super::swarm::{Behaviour, BehaviourEvent};
use super::{Delivery, GossipToken, NetError, NetEvent, NetStatus, PeerStatus, Shared, Verdict, gossip};

const TICK: Duration = Duration::from_millis(250);
/// How long a shutdown may take to send what is queued, and then to close connections.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a handle asks for.
pub(super) enum Command {
    Send { to: PublicKey, bytes: Arc<[u8]> },
    Publish { domain: DomainId, bytes: Vec<u8> },
    Subscribe(DomainId),
    Verdict { token: GossipToken, verdict: Verdict },
    Dial { address: Multiaddr, reply: oneshot::Sender<Result<PublicKey, NetError>> },
    DialPeer { key: PublicKey, addresses: Vec<Multiaddr> },
    KeepConnected(Vec<PublicKey>),
    SetStanding { key: PublicKey, standing: Standing },
    Forget(PublicKey),
    Status(oneshot::Sender<NetStatus>),
    Shutdown(oneshot::Sender<()>),
}

/// See the module.
pub(super) struct Driver {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) identity: Keypair,
    pub(super) key: PublicKey,
    metrics: Metrics,
    pub(super) shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Delivery>,
    pub(super) budgets: Budgets,
    pub(super) throttle: Arc<Throttle>,
    pub(super) tasks: JoinSet<Ended>,
    pub(super) notices: Notices,
    pub(super) peers: HashMap<PublicKey, Peer>,
    /// Whoever is no stranger.
    standings: HashMap<PublicKey, Standing>,
    /// Whom the host told us to dial.
    pub(super) chosen: HashSet<PublicKey>,
    pub(super) wanted: BTreeSet<PublicKey>,
    pub(super) book: Book,
    /// Dials of addresses: who waits for the answer.
    pub(super) dials: HashMap<ConnectionId, (Multiaddr, oneshot::Sender<Result<PublicKey, NetError>>)>,
    /// Dials of peers.
    pub(super) dialling: HashMap<ConnectionId, PublicKey>,
    /// Messages for peers that are being dialled, since when.
    pub(super) waiting: HashMap<PublicKey, (Arc<Outbox>, Instant)>,
    /// Whoever is gone, or a member no more, and still connected; since when.
    leaving: HashMap<PublicKey, Instant>,
    pub(super) questions: HashMap<OutboundRequestId, PublicKey>,
    pub(super) search: Backoff,
    pub(super) listening: BTreeSet<Multiaddr>,
    pub(super) external: Vec<Multiaddr>,
    pub(super) own: Option<Record>,
    pub(super) started_s: u64,
}

impl Driver {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        identity: Keypair,
        key: PublicKey,
        metrics: Metrics,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Delivery>,
    ) -> Driver {
        Driver {
            swarm,
            identity,
            key,
            metrics,
            shared,
            commands,
            events,
            budgets: Budgets::new(),
            throttle: Arc::new(Throttle::of_all_strangers()),
            tasks: JoinSet::new(),
            notices: Notices::default(),
            peers: HashMap::new(),
            standings: HashMap::new(),
            chosen: HashSet::new(),
            wanted: BTreeSet::new(),
            book: Book::default(),
            dials: HashMap::new(),
            dialling: HashMap::new(),
            waiting: HashMap::new(),
            leaving: HashMap::new(),
            questions: HashMap::new(),
            search: Backoff::new(Instant::now()),
            listening: BTreeSet::new(),
            external: Vec::new(),
            own: None,
            started_s: super::contacts::now_s(),
        }
    }

    /// Until a handle says so, or nobody is there any more to take events.
    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let farewell = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    None => break None,
                    Some(Command::Shutdown(reply)) => break Some(reply),
                    Some(command) => self.on_command(command),
                },
                Some(ended) = self.tasks.join_next() => self.on_task_end(ended),
                _ = tick.tick() => {
                    let now = Instant::now();
                    self.see_off(now);
                    self.on_tick(now);
                }
                room = events.reserve(), if !self.notices.is_empty() => match room {
                    Ok(room) => if let Some(event) = self.next_notice() {
                        room.send(Delivery { event, held: None });
                    },
                    Err(_) => break None,
                },
            }
        };
        self.say_farewell().await;
        if let Some(reply) = farewell {
            // Whoever asked may have given up waiting.
            let _ = reply.send(());
        }
    }

    /// Sends what is queued and closes connections in order, so that peers need not wait to notice; as far as that goes quickly.
    /// What is left then is lost, as it would be on any other day that a connection breaks.
    async fn say_farewell(&mut self) {
        self.go_on_until(|driver| driver.peers.values().all(|peer| peer.outbox.is_idle())).await;
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error says that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        self.go_on_until(|driver| driver.peers.is_empty()).await;
    }

    async fn go_on_until(&mut self, done: impl Fn(&Driver) -> bool) {
        let deadline = tokio::time::Instant::now() + FAREWELL;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !done(self) {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(ended) = self.tasks.join_next() => self.on_task_end(ended),
                _ = look.tick() => {}
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }

    fn next_notice(&mut self) -> Option<NetEvent> {
        loop {
            return Some(match self.notices.next()? {
                Notice::Connected(key) => {
                    if let Some(peer) = self.peers.get_mut(&key) {
                        peer.told = true;
                    }
                    self.read_unread(key);
                    NetEvent::Connected(key)
                }
                Notice::Disconnected(key) => NetEvent::Disconnected(key),
                Notice::Listening(address) => NetEvent::Listening(address),
                Notice::Addresses(of) => match self.book.record(&of) {
                    Some(record) => NetEvent::Addresses {
                        of,
                        record: record.bytes.clone(),
                        addresses: record.addresses.clone(),
                    },
                    // Forgotten since.
                    None => continue,
                },
            });
        }
    }

    // ---- commands ----

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Send { to, bytes } => self.send(to, bytes),
            Command::Publish { domain, bytes } => {
                let gossip = self.swarm.behaviour_mut().gossip.inner();
                match gossip.publish(topic_of(&domain), bytes) {
                    Ok(_) => self.shared.counters.published.inc(),
                    Err(why) => {
                        tracing::debug!(?domain, %why, "not published");
                        self.shared.counters.unpublished.inc()
                    }
                };
            }
            Command::Subscribe(domain) => {
                let (topic, gossip) = (topic_of(&domain), self.swarm.behaviour_mut().gossip.inner());
                if let Err(why) = gossip.set_topic_params(topic.clone(), gossip::topic_scores()) {
                    tracing::error!(%why, "the scores of a topic were refused");
                }
                if let Err(why) = gossip.subscribe(&topic) {
                    tracing::warn!(?domain, %why, "not subscribed");
                }
            }
            Command::Verdict { token, verdict } => {
                let acceptance = match verdict {
                    Verdict::Accept => MessageAcceptance::Accept,
                    Verdict::Ignore => MessageAcceptance::Ignore,
                    Verdict::Reject => {
                        self.shared.counters.gossip_rejected.inc();
                        MessageAcceptance::Reject
                    }
                };
                let gossip = self.swarm.behaviour_mut().gossip.inner();
                gossip.report_message_validation_result(&token.message, &token.source, acceptance);
            }
            Command::Dial { address, reply } => self.dial_address(address, reply),
            Command::DialPeer { key, addresses } => self.dial_peer(key, addresses),
            Command::KeepConnected(keys) => self.keep_connected(keys),
            Command::SetStanding { key, standing } => self.set_standing(key, standing),
            Command::Forget(key) => self.forget(&key),
            Command::Status(reply) => {
                // Whoever asked may have given up waiting.
                let _ = reply.send(self.status());
            }
            Command::Shutdown(_) => unreachable!("the loop ends with it"),
        }
    }

    pub(super) fn standing_of(&self, key: &PublicKey) -> Standing {
        self.standings.get(key).copied().unwrap_or(Standing::Stranger)
    }

    pub(super) fn is_member(&self, key: &PublicKey) -> bool {
        self.standing_of(key) >= Standing::Member
    }

    /// Whether a peer may send messages of full length, unthrottled.
    pub(super) fn is_known(&self, key: &PublicKey) -> bool {
        let standing = self.standing_of(key);
        standing >= Standing::Member
            || standing != Standing::Gone && (self.chosen.contains(key) || self.wanted.contains(key))
    }

    fn set_standing(&mut self, key: PublicKey, standing: Standing) {
        let Some(id) = peer_id_of(&key) else { return };
        let before = self.standing_of(&key);
        match standing {
            // Whoever is suspended, or lapsed, reaches no more than a stranger; what it may say besides is for the core to know.
            Standing::Stranger | Standing::Lapsed | Standing::Suspended => self.standings.remove(&key),
            Standing::Gone | Standing::Member | Standing::Endorser => self.standings.insert(key, standing),
        };
        self.leaving.remove(&key);
        let behaviour = self.swarm.behaviour_mut();
        match standing {
            Standing::Gone => {
                behaviour.gossip.close(&id);
                self.book.forget(&key);
                self.hush(&key);
                if self.peers.contains_key(&key) {
                    // What was said to it before goes out first: it is the proof that it is gone.
                    self.leaving.insert(key, Instant::now());
                } else {
                    self.swarm.behaviour_mut().gone.block_peer(id);
                }
            }
            Standing::Stranger | Standing::Lapsed | Standing::Suspended => {
                behaviour.gossip.close(&id);
                behaviour.gone.unblock_peer(id);
                if before >= Standing::Member && self.peers.contains_key(&key) {
                    // gossipsub knows it. It may come back, as a stranger. What was said to it before goes out first: it may be the proof that
                    // its key is another now.
                    self.leaving.insert(key, Instant::now());
                }
            }
            Standing::Member | Standing::Endorser => {
                behaviour.gone.unblock_peer(id);
                behaviour.gossip.open(id);
                if let Some(peer) = self.peers.get_mut(&key)
                    && before < Standing::Member
                {
                    peer.exchange.due_now();
                }
            }
        }
        self.fit_bounds(&key);
    }

    /// Ends the connections of whoever is gone, or a member no more, and has heard why, or does not listen.
    pub(super) fn see_off(&mut self, now: Instant) {
        let heard = |key: &PublicKey| self.peers.get(key).is_none_or(|peer| peer.outbox.is_idle());
        let late = |since: &Instant| now.duration_since(*since) > FAREWELL;
        let ready: Vec<PublicKey> = self
            .leaving
            .iter()
            .filter(|(key, since)| heard(key) || late(since))
            .map(|(key, _)| *key)
            .collect();
        for key in ready {
            self.leaving.remove(&key);
            let Some(id) = peer_id_of(&key) else { continue };
            if self.standing_of(&key) == Standing::Gone {
                self.silence(&key);
                self.swarm.behaviour_mut().gone.block_peer(id);
            } else {
                // An error says that it has gone by itself.
                let _ = self.swarm.disconnect_peer_id(id);
            }
        }
    }

    /// Makes what a peer may claim fit what it is now.
    pub(super) fn fit_bounds(&mut self, key: &PublicKey) {
        let Some(id) = peer_id_of(key) else { return };
        let (known, endorses) = (self.is_known(key), self.standing_of(key) == Standing::Endorser);
        let pipe = &mut self.swarm.behaviour_mut().pipe;
        if known {
            pipe.welcome(id);
        } else {
            pipe.estrange(&id);
        }
        if let Some(peer) = self.peers.get(key) {
            peer.bounds.set_known(known);
            peer.bounds.set_endorses(endorses);
            peer.outbox.set_bytes_max(outbox_bytes_max(known));
        }
    }

    fn forget(&mut self, key: &PublicKey) {
        self.wanted.remove(key);
        self.chosen.remove(key);
        self.set_standing(*key, Standing::Stranger);
        self.book.forget(key);
        if let Some(id) = peer_id_of(key) {
            // An error says that it is not connected, which is as well.
            let _ = self.swarm.disconnect_peer_id(id);
        }
    }

    pub(super) fn outboxes<T>(&self, change: impl FnOnce(&mut HashMap<PublicKey, Arc<Outbox>>) -> T) -> T {
        change(&mut self.shared.outboxes.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn status(&self) -> NetStatus {
        let mut peers: Vec<PeerStatus> = self
            .peers
            .iter()
            .map(|(key, peer)| PeerStatus {
                key: *key,
                standing: self.standing_of(key),
                addresses: peer.connections.iter().map(|connection| connection.address.clone()).collect(),
                dialled: peer.connections.iter().any(|connection| connection.dialled),
            })
            .collect();
        peers.sort_by_key(|peer| peer.key);
        NetStatus {
            key: self.key,
            peers,
            listening: self.listening.iter().cloned().collect(),
            announced: self.own.iter().flat_map(|own| own.addresses.iter().cloned()).collect(),
            known: self.book.len(),
            strangers: self.swarm.behaviour().pipe.strangers(),
        }
    }

    // ---- what happens to the swarm ----

    #[allow(clippy::wildcard_enum_match_arm, reason = "libp2p adds to its events")]
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => {
                self.on_connection_closed(&peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, why = %error, "an incoming connection failed");
                self.shared.counters.denied.inc();
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.notices.listening(address.clone());
                self.listening.insert(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.remove(&address);
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                for address in &addresses {
                    self.listening.remove(address);
                }
                if let Err(why) = reason {
                    tracing::error!(?addresses, %why, "a listener failed: peers cannot reach this node there");
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(why = %error, "an incoming connection could not be accepted");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Pipe(event) => self.on_stream(event),
            BehaviourEvent::Gossip(event) => {
                self.metrics.record(&event);
                self.on_gossip(event);
            }
            BehaviourEvent::Addresses(event) => self.on_exchange(event),
            BehaviourEvent::Ping(event) => {
                self.metrics.record(&event);
                let ping::Event { peer, connection, result } = event;
                if let Err(ping::Failure::Timeout | ping::Failure::Other { .. }) = result {
                    tracing::debug!(%peer, "no answer to a ping: the connection counts as dead");
                    self.swarm.close_connection(connection);
                }
            }
            BehaviourEvent::Identify(event) => self.metrics.record(&event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    let Some(key) = key_of(&peer) else { continue };
                    if self.is_member(&key) || self.wanted.contains(&key) {
                        self.hint(key, [split_peer(address).0]);
                    }
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) => {}
            BehaviourEvent::Gone(never) | BehaviourEvent::Limits(never) | BehaviourEvent::Memory(never) => {
                match never {}
            }
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: source, message_id, message } = event else {
            // Who subscribes to what, who is slow: gossipsub's own business.
            return;
        };
        let token = GossipToken { message: message_id, source };
        let from = key_of(&source).filter(|key| self.is_member(key));
        let (Some(from), Some(domain)) = (from, domain_of(&message.topic)) else {
            return self.on_command(Command::Verdict { token, verdict: Verdict::Ignore });
        };
        let peer = self.peers.get(&from);
        let held = peer.and_then(|peer| peer.bounds.try_hold(&self.budgets, message.data.len()));
        let sent = held.is_some_and(|held| {
            let event = NetEvent::Gossiped { from, domain, bytes: message.data, token: token.clone() };
            self.events.try_send(Delivery { event, held: Some(held) }).is_ok()
        });
        if sent {
            self.shared.counters.gossiped.inc();
        } else {
            self.shared.counters.gossip_dropped.inc();
            self.on_command(Command::Verdict { token, verdict: Verdict::Ignore });
        }
    }
}
