//! Whom to dial, and where: the driver's other half.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use frith_protocol::door::Standing;
use frith_protocol::identity::PublicKey;
use frith_protocol::limits::ADDRESSES_MAX;
use futures::StreamExt as _;
use libp2p::core::PeerRecord;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, ResponseChannel};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, TransportError};
use rand::RngExt as _;
use rand::seq::IteratorRandom as _;
use tokio::sync::oneshot;

use super::book::{Backoff, Record, RecordFault};
use super::driver::Driver;
use super::exchange::{Answer, Question};
use super::frames::Outbox;
use super::names::{dialable, ip_of, is_loopback, key_of, peer_id_of, split_peer};
use super::{NetError, limits};

/// How long a listener may take to say where it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Members tell one another their addresses this often; sooner when one changes.
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(600);

/// When to exchange addresses with a peer.
#[derive(Debug)]
pub(super) struct Exchange {
    backoff: Backoff,
    asking: bool,
    /// When a stranger was answered last.
    answered: Option<Instant>,
}

impl Exchange {
    pub(super) fn new(now: Instant) -> Exchange {
        Exchange { backoff: Backoff::new(now), asking: false, answered: None }
    }

    pub(super) fn due_now(&mut self) {
        self.backoff.reset(Instant::now());
    }
}

/// Seconds since the Unix epoch.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Driver {
    /// Listens on each address, and waits until it is known where.
    #[allow(clippy::wildcard_enum_match_arm, reason = "libp2p adds to its events")]
    pub(super) async fn listen(
        &mut self,
        addresses: &[Multiaddr],
        external: Vec<Multiaddr>,
    ) -> Result<(), NetError> {
        let mut starting = Vec::new();
        for address in addresses {
            let failed = |why: &dyn std::fmt::Display| NetError::Listen {
                address: address.clone(),
                why: why.to_string(),
            };
            can_be_had(address).map_err(|why| failed(&explained(&why)))?;
            let listener = self.swarm.listen_on(address.clone()).map_err(|why| match why {
                TransportError::MultiaddrNotSupported(_) => {
                    failed(&"not an address of an interface with TCP or QUIC, as in /ip4/0.0.0.0/tcp/4400")
                }
                TransportError::Other(why) => failed(&explained(&why)),
            })?;
            starting.push((listener, address.clone()));
        }
        let deadline = tokio::time::Instant::now() + LISTEN_TIMEOUT;
        while let Some((listener, address)) = starting.first().cloned() {
            let failed = |why: String| NetError::Listen { address: address.clone(), why };
            let event = tokio::time::timeout_at(deadline, self.swarm.select_next_some())
                .await
                .map_err(|_| failed(format!("no interface of this machine within {LISTEN_TIMEOUT:?}")))?;
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    starting.retain(|(starting, _)| starting != listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(why), .. }
                    if *listener_id == listener =>
                {
                    return Err(failed(explained(why)));
                }
                _ => {}
            }
            self.on_swarm_event(event);
        }
        self.external = external;
        Ok(())
    }

    /// Takes over what an earlier run knew. The host stored it when these peers were members, and will say whether they still are.
    pub(super) fn restore(&mut self, records: &[Vec<u8>]) {
        for bytes in records {
            let taken = Record::open(bytes, now_s()).and_then(|record| self.book.take(record, |_| true));
            if let Err(why) = taken {
                tracing::warn!(%why, "a stored address record is of no use");
            }
        }
    }

    // ---- dialling ----

    pub(super) fn dial_address(
        &mut self,
        whole: Multiaddr,
        reply: oneshot::Sender<Result<PublicKey, NetError>>,
    ) {
        let (address, expected) = split_peer(whole.clone());
        // Whoever asked may have given up waiting.
        let answer = |reply: oneshot::Sender<_>, result| drop(reply.send(result));
        if !dialable(&address) {
            return answer(reply, Err(NetError::Address { address: whole }));
        }
        let connected = expected.as_ref().and_then(key_of).filter(|key| self.peers.contains_key(key));
        if let Some(key) = connected {
            self.choose(key);
            return answer(reply, Ok(key));
        }
        let opts = match expected {
            Some(peer) => {
                DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address]).build()
            }
            None => DialOpts::unknown_peer_id().address(address).build(),
        };
        let id = opts.connection_id();
        self.shared.counters.dials.inc();
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.dials.insert(id, (whole, reply));
            }
            Err(why) => answer(reply, Err(unreachable_because(whole, &why))),
        }
    }

    pub(super) fn dial_peer(&mut self, key: PublicKey, addresses: Vec<Multiaddr>) {
        self.choose(key);
        self.hint(key, addresses.into_iter().map(|address| split_peer(address).0));
        if let Some(backoff) = self.book.backoff(&key) {
            backoff.reset(Instant::now());
        }
        self.try_dial(key);
    }

    fn choose(&mut self, key: PublicKey) {
        self.chosen.insert(key);
        self.fit_bounds(&key);
    }

    pub(super) fn keep_connected(&mut self, keys: Vec<PublicKey>) {
        let before = std::mem::take(&mut self.wanted);
        self.wanted = keys.into_iter().filter(|key| *key != self.key).collect();
        let changed: Vec<PublicKey> = before.symmetric_difference(&self.wanted).copied().collect();
        for key in changed {
            self.fit_bounds(&key);
        }
        self.search.reset(Instant::now());
        self.on_tick(Instant::now());
    }

    /// Adds addresses to the book that nobody signed.
    pub(super) fn hint(&mut self, of: PublicKey, addresses: impl IntoIterator<Item = Multiaddr>) {
        if self.standing_of(&of) == Standing::Gone || of == self.key {
            return;
        }
        let (wanted, chosen) = (&self.wanted, &self.chosen);
        self.book.hint(of, addresses, |key| wanted.contains(key) || chosen.contains(key));
    }

    /// Dials a peer if that is due and there is an address. Whether it is on its way.
    fn try_dial(&mut self, key: PublicKey) -> bool {
        if self.peers.contains_key(&key) || self.dialling.values().any(|dialled| *dialled == key) {
            return true;
        }
        let (now, addresses) = (Instant::now(), self.book.addresses(&key));
        let Some(backoff) = self.book.backoff(&key) else { return false };
        if addresses.is_empty() || backoff.due > now {
            return false;
        }
        let Some(id) = peer_id_of(&key) else { return false };
        let opts = DialOpts::peer_id(id)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        let connection = opts.connection_id();
        self.shared.counters.dials.inc();
        match self.swarm.dial(opts) {
            Ok(()) => {
                self.dialling.insert(connection, key);
                true
            }
            Err(why) => {
                tracing::debug!(?key, %why, "not dialled");
                backoff.failed(now);
                false
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, why: &DialError) {
        self.shared.counters.dials_failed.inc();
        if let Some((address, reply)) = self.dials.remove(&connection) {
            // Whoever asked may have given up waiting.
            let _ = reply.send(Err(unreachable_because(address, why)));
        }
        let Some(key) = self.dialling.remove(&connection) else { return };
        tracing::debug!(?key, why = in_short(why), "a dial failed");
        if self.peers.contains_key(&key) {
            // It reached us in the meantime.
            return;
        }
        if let Some(backoff) = self.book.backoff(&key) {
            backoff.failed(Instant::now());
        }
        self.give_up(&key);
    }

    /// Drops what waits for a peer that cannot be reached.
    fn give_up(&mut self, key: &PublicKey) {
        if self.waiting.remove(key).is_some() {
            self.shared.counters.unsent.inc();
            self.outboxes(|outboxes| outboxes.remove(key));
        }
    }

    /// Sends to a peer that was not connected when the handle looked.
    pub(super) fn send(&mut self, to: PublicKey, bytes: Arc<[u8]>) {
        if let Some(outbox) = self.outboxes(|outboxes| outboxes.get(&to).cloned()) {
            if !outbox.push(bytes) {
                self.shared.counters.unsent.inc();
            }
            return;
        }
        let gone = self.standing_of(&to) == Standing::Gone;
        if gone || self.waiting.len() >= limits::WAITING_PEERS_MAX || !self.try_dial(to) {
            self.shared.counters.unsent.inc();
            return;
        }
        let outbox = Arc::new(Outbox::new(limits::SMALL_OUTBOX_BYTES_MAX));
        outbox.push(bytes);
        self.waiting.insert(to, (outbox.clone(), Instant::now()));
        self.outboxes(|outboxes| outboxes.insert(to, outbox));
    }

    pub(super) fn on_tick(&mut self, now: Instant) {
        let late: Vec<PublicKey> = self
            .waiting
            .iter()
            .filter(|(_, (_, since))| now.duration_since(*since) > limits::WAITING_TIMEOUT)
            .map(|(key, _)| *key)
            .collect();
        for key in late {
            self.give_up(&key);
        }
        let missing = self.missing();
        for key in &missing {
            self.try_dial(*key);
        }
        self.announce();
        let members: Vec<PublicKey> = self.peers.keys().copied().filter(|key| self.is_member(key)).collect();
        let mut due: BTreeSet<PublicKey> = members
            .iter()
            .filter(|key| self.peers.get(key).is_some_and(|peer| peer.exchange.backoff.due <= now))
            .copied()
            .collect();
        if missing.is_empty() {
            self.search.reset(now);
        } else if self.search.due <= now {
            let asked = if members.is_empty() { self.known_to_a_newcomer() } else { members };
            if !asked.is_empty() {
                self.search.failed(now);
            }
            due.extend(asked.into_iter().sample(&mut rand::rng(), limits::ASKED_AT_ONCE));
        }
        for key in due {
            self.ask(key, &missing);
        }
    }

    /// Whom a node asks that knows of no member: those whom it was told to dial, and those to whom it keeps.
    fn known_to_a_newcomer(&self) -> Vec<PublicKey> {
        self.peers.keys().copied().filter(|key| self.is_known(key)).collect()
    }

    /// Whom we want and do not have.
    fn missing(&self) -> Vec<PublicKey> {
        self.wanted
            .iter()
            .filter(|key| !self.peers.contains_key(key))
            .filter(|key| self.standing_of(key) != Standing::Gone)
            .copied()
            .collect()
    }

    // ---- addresses ----

    /// Signs where we are when that has changed. The number of a record is the second of its signing: one a second at most, and none
    /// in the second of our start, in which an earlier run may have signed its last.
    fn announce(&mut self) {
        let now_s = now_s();
        let last = self.own.as_ref().map_or(self.started_s, |own| own.number);
        let addresses = self.own_addresses();
        if now_s <= last || self.own.as_ref().map_or(addresses.is_empty(), |own| own.addresses == addresses) {
            return;
        }
        let record = PeerRecord::new_interop(&self.identity, addresses).expect("an Ed25519 key always signs");
        let bytes = record.into_signed_envelope().into_protobuf_encoding();
        match Record::open(&bytes, now_s) {
            Ok(own) => self.own = Some(own),
            Err(why) => return tracing::error!(%why, "our own address record is not valid"),
        }
        for peer in self.peers.values_mut() {
            peer.exchange.due_now();
        }
    }

    /// Where others can dial us: what the operator says, then our interfaces. Loopback only if there is nothing else.
    fn own_addresses(&self) -> Vec<Multiaddr> {
        let mut all = self.external.clone();
        all.extend(self.listening.iter().cloned());
        all.retain(dialable);
        if all.iter().any(|address| !is_loopback(address)) {
            all.retain(|address| !is_loopback(address));
        }
        all.truncate(ADDRESSES_MAX);
        all
    }

    fn ask(&mut self, key: PublicKey, missing: &[PublicKey]) {
        let Some(id) = peer_id_of(&key) else { return };
        // Whoever takes us for a stranger would not take it.
        let own = self.own.as_ref().filter(|_| self.is_member(&key)).map(|own| own.bytes.clone());
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if std::mem::replace(&mut peer.exchange.asking, true) {
            return;
        }
        let wants = missing.iter().copied().sample(&mut rand::rng(), limits::WANTS_MAX);
        let question = self.swarm.behaviour_mut().addresses.send_request(&id, Question { own, wants });
        self.questions.insert(question, key);
    }

    pub(super) fn on_exchange(&mut self, event: request_response::Event<Question, Answer>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let Some(from) = key_of(&peer) else { return };
                if self.is_member(&from) {
                    self.answer(&from, request, channel);
                } else {
                    self.answer_stranger(&from, &request, channel);
                }
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                let Some(from) = self.questions.remove(&request_id) else { return };
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.exchange.asking = false;
                    peer.exchange.backoff.reset(
                        Instant::now() + EXCHANGE_INTERVAL.mul_f64(rand::rng().random_range(0.75..=1.25)),
                    );
                }
                for record in response.records {
                    self.take(&record, &from);
                }
            }
            Event::OutboundFailure { request_id, error, .. } => {
                let Some(from) = self.questions.remove(&request_id) else { return };
                tracing::debug!(?from, why = %error, "a member did not answer a question about addresses");
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.exchange.asking = false;
                    peer.exchange.backoff.failed(Instant::now());
                }
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    /// A stranger must not learn whom we know. Where the endorsers are that its charter names it may: it must reach them to become a member.
    fn answer_stranger(&mut self, from: &PublicKey, question: &Question, channel: ResponseChannel<Answer>) {
        let now = Instant::now();
        let due = |last: Instant| now.duration_since(last) >= limits::STRANGER_QUESTION_INTERVAL;
        let peer = self.peers.get_mut(from).filter(|peer| peer.exchange.answered.is_none_or(due));
        let Some(peer) = peer else {
            // The channel is dropped: the asker sees that at once, and asks again later.
            self.shared.counters.questions_refused.inc();
            return;
        };
        peer.exchange.answered = Some(now);
        let endorsers = question.wants.iter().filter(|key| self.standing_of(key) == Standing::Endorser);
        let records = endorsers.filter_map(|key| self.book.record(key)).map(|record| record.bytes.clone());
        let records = records.take(limits::RECORDS_MAX).collect();
        self.shared.counters.strangers_answered.inc();
        // An error says that the asker is gone.
        let _ = self.swarm.behaviour_mut().addresses.send_response(channel, Answer { records });
    }

    fn answer(&mut self, from: &PublicKey, question: Question, channel: ResponseChannel<Answer>) {
        if let Some(own) = question.own {
            self.take(&own, from);
        }
        let wanted = question.wants.iter().filter_map(|key| self.book.record(key));
        let mut records: Vec<&Record> = self.own.iter().chain(wanted).take(limits::RECORDS_MAX).collect();
        let room = limits::RECORDS_MAX - records.len();
        let others = self.book.recorded().filter(|record| {
            record.of != *from && self.is_member(&record.of) && !question.wants.contains(&record.of)
        });
        records.extend(others.sample(&mut rand::rng(), room));
        let records = records.into_iter().map(|record| record.bytes.clone()).collect();
        // An error says that the asker is gone.
        let _ = self.swarm.behaviour_mut().addresses.send_response(channel, Answer { records });
    }

    /// Takes a record over from whoever handed it on, if it is of somebody who matters.
    fn take(&mut self, bytes: &[u8], via: &PublicKey) {
        let record = match Record::open(bytes, now_s()) {
            Ok(record) => record,
            Err(why) => {
                tracing::debug!(?via, %why, "refused an address record");
                self.shared.counters.records_refused.inc();
                return;
            }
        };
        let of = record.of;
        if of == self.key || !self.is_member(&of) && !self.wanted.contains(&of) {
            return;
        }
        let (wanted, chosen) = (&self.wanted, &self.chosen);
        match self.book.take(record, |key| wanted.contains(key) || chosen.contains(key)) {
            Ok(()) => {
                self.shared.counters.records_taken.inc();
                self.notices.addresses(of);
                if self.wanted.contains(&of) {
                    self.try_dial(of);
                }
            }
            Err(RecordFault::Old { .. }) => {}
            Err(why) => tracing::debug!(?of, %why, "did not keep an address record"),
        }
    }
}

/// Whether one can listen there. Asked first, since libp2p lets several processes of one user listen on one TCP port, each getting
/// some of the connections, without a word; and since it wraps the answer beyond recognition.
fn can_be_had(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter().skip(1);
    match (ip_of(address), parts.next()) {
        (Some(ip), Some(Protocol::Tcp(port))) => drop(TcpListener::bind(SocketAddr::new(ip, port))?),
        (Some(ip), Some(Protocol::Udp(port))) => drop(UdpSocket::bind(SocketAddr::new(ip, port))?),
        _ => {}
    }
    Ok(())
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest explain themselves")]
fn explained(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; stop whatever listens there, or choose another port".into()
        }
        io::ErrorKind::AddrNotAvailable => "the address is not one of this machine's".into(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 are for the administrator, choose a higher one".into()
        }
        _ => why.to_string(),
    }
}

fn unreachable_because(address: Multiaddr, why: &DialError) -> NetError {
    NetError::Unreachable { address, why: in_short(why) }
}

fn in_short(why: &DialError) -> String {
    match why {
        DialError::WrongPeerId { obtained, .. } => format!("another peer answers there: {obtained}"),
        // libp2p leaves out where it listens itself.
        DialError::LocalPeerId { .. } | DialError::NoAddresses => "this node itself listens there".into(),
        DialError::Denied { cause } => {
            // The cause's own text is one level down.
            std::error::Error::source(cause).map_or_else(|| cause.to_string(), ToString::to_string)
        }
        DialError::Transport(errors) => errors
            .iter()
            .map(|(_, error)| innermost(error))
            .collect::<BTreeSet<String>>()
            .into_iter()
            .collect::<Vec<String>>()
            .join("; "),
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => why.to_string(),
    }
}

fn innermost(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
