//! The streams that carry the core's messages: one ordered stream each way between two peers, and the door that strangers come through.
//!
//! Why no request and answer per message: the core's messages are one-way (an answer is a message of its own), must stay in order,
//! and a leader's proposal must not wait a round trip for the acknowledgement of what was sent before it. A stream that is read
//! only as fast as the host takes messages also lets messages wait where they should: at the peer.
//!
//! This behaviour only opens and accepts streams; [`super::frames`] reads and writes them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent,
    ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol,
    THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};

use super::limits;
use super::names::{key_of, site_of};

/// The protocol of the core's messages.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/frith/core/1");

/// What happened to a stream.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) what: Report,
}

/// See [`Event`].
#[derive(Debug)]
pub(super) enum Report {
    /// The peer opened a stream to us.
    Accepted(Stream),
    /// The stream that we asked for.
    Opened(Stream),
    /// There will be no such stream.
    Failed(String),
}

struct Stranger {
    peer: PeerId,
    site: Option<IpAddr>,
    since: Instant,
}

/// Opens and accepts streams, and bounds how many strangers are connected.
pub(super) struct Behaviour {
    protocol: StreamProtocol,
    /// Peers that are no strangers: members, and whom the host chose to dial.
    known: HashSet<PeerId>,
    strangers: HashMap<ConnectionId, Stranger>,
    actions: VecDeque<ToSwarm<Event, Open>>,
}

/// «Open a stream.»
#[derive(Debug)]
pub(super) struct Open;

impl Behaviour {
    /// For streams of one protocol.
    pub(super) fn new(protocol: StreamProtocol) -> Behaviour {
        let (known, strangers, actions) = (HashSet::new(), HashMap::new(), VecDeque::new());
        Behaviour { protocol, known, strangers, actions }
    }

    fn handler(&self) -> Handler {
        Handler { protocol: self.protocol.clone(), wanted: 0, reports: VecDeque::new() }
    }

    /// Counts a peer among strangers no longer.
    pub(super) fn welcome(&mut self, peer: PeerId) {
        self.known.insert(peer);
        self.strangers.retain(|_, stranger| stranger.peer != peer);
    }

    /// Counts the next connections of a peer among strangers'.
    pub(super) fn estrange(&mut self, peer: &PeerId) {
        self.known.remove(peer);
    }

    /// Asks for a stream on a connection.
    pub(super) fn open(&mut self, peer_id: PeerId, connection: ConnectionId) {
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: Open });
    }

    /// How many connections strangers have.
    pub(super) fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// Makes a place for one more stranger, at the cost of the one that has been here longest if it has been here long.
    fn admit_stranger(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let (site, since) = (site_of(remote), Instant::now());
        let of_site = |stranger: &&Stranger| stranger.site == site;
        if site.is_some_and(|ip| !ip.is_loopback())
            && self.strangers.values().filter(of_site).count() >= limits::STRANGERS_PER_ADDRESS_MAX
        {
            return Err(ConnectionDenied::new(Denied::TooManyFromThere));
        }
        if self.strangers.len() >= limits::STRANGERS_MAX {
            let oldest = self.strangers.iter().min_by_key(|(_, stranger)| stranger.since);
            match oldest.map(|(id, stranger)| (*id, stranger.peer, stranger.since)) {
                Some((id, peer_id, seated)) if since.duration_since(seated) > limits::STRANGER_STAY => {
                    let connection = CloseConnection::One(id);
                    self.actions.push_back(ToSwarm::CloseConnection { peer_id, connection });
                    self.strangers.remove(&id);
                }
                Some(_) | None => return Err(ConnectionDenied::new(Denied::TooManyStrangers)),
            }
        }
        self.strangers.insert(connection, Stranger { peer, site, since });
        Ok(())
    }
}

/// Why a connection is refused.
#[derive(Debug)]
enum Denied {
    NoKey,
    TooManyStrangers,
    TooManyFromThere,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::NoKey => "the peer's id names no Ed25519 key that may be used",
            Denied::TooManyStrangers => "all places for strangers are taken",
            Denied::TooManyFromThere => "all places for strangers of that network address are taken",
        })
    }
}

impl std::error::Error for Denied {}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if key_of(&peer).is_none() {
            return Err(ConnectionDenied::new(Denied::NoKey));
        }
        if !self.known.contains(&peer) {
            self.admit_stranger(peer, connection, remote)?;
        }
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if key_of(&peer).is_none() {
            return Err(ConnectionDenied::new(Denied::NoKey));
        }
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) = event {
            self.strangers.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        what: THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(Event { peer, connection, what }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // No waker is needed: everything that adds an action is followed by another poll of the swarm.
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's streams.
pub(super) struct Handler {
    protocol: StreamProtocol,
    wanted: usize,
    reports: VecDeque<Report>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Report;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if self.wanted > 0 {
            self.wanted -= 1;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open: Self::FromBehaviour) {
        self.wanted += 1;
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "libp2p adds to its events")]
    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        let report = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                Report::Accepted(protocol)
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                Report::Opened(protocol)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                Report::Failed(self.why(error))
            }
            _ => return,
        };
        self.reports.push_back(report);
    }
}

impl Handler {
    fn why(&self, error: StreamUpgradeError<Infallible>) -> String {
        match error {
            StreamUpgradeError::Timeout => "agreeing on a stream took too long".into(),
            StreamUpgradeError::Apply(never) => match never {},
            StreamUpgradeError::NegotiationFailed => format!("the peer does not speak {}", self.protocol),
            StreamUpgradeError::Io(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use frith_protocol::identity::{PublicKey, SecretKey};

    use super::super::names::peer_id_of;
    use super::*;

    #[test]
    fn rule_10_1_a_peer_whose_key_is_of_small_order_is_connected_to_in_neither_direction() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        for (key, taken) in
            [(PublicKey(identity_point), false), (SecretKey::from_seed([7; 32]).public(), true)]
        {
            let peer = peer_id_of(&key).expect("libp2p takes it for a key");
            let mut pipe = Behaviour::new(PROTOCOL);
            let id = ConnectionId::new_unchecked(1);
            let inbound = pipe.handle_established_inbound_connection(id, peer, &address, &address);
            let (dialler, port) = (Endpoint::Dialer, PortUse::New);
            let outbound = pipe.handle_established_outbound_connection(id, peer, &address, dialler, port);
            assert_eq!((inbound.is_ok(), outbound.is_ok()), (taken, taken), "{key:?}");
        }
    }
}
