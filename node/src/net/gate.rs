//! A gate before gossipsub: strangers never get in.
//!
//! gossipsub knows only peers. Its blacklist drops what a peer says, after reading it, and cannot be lifted without a reconnection,
//! since subscriptions are told once, when a connection opens. So this gate holds a stranger's connection back: gossipsub is not
//! told of it, nothing is sent on it, and the stream on which the stranger would gossip is accepted and *not read*, so that flow
//! control stops the stranger after one window. When the peer becomes a member, gossipsub is told of the connection as if it had
//! just opened, and reads that stream from its beginning. A newcomer's gossip therefore works from the moment of its admission,
//! in whatever order the two sides learn of it.
//!
//! **Invariant:** gossipsub holds no topic of a peer that is not a member, so it never sends one anything. (It does hold an empty
//! record of each connection, because it makes one with the handler.) A peer that stops being a member must be disconnected by
//! whoever closes the gate.

use std::collections::{HashMap, HashSet, VecDeque};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    behaviour::ConnectionEstablished,
};
use libp2p::{Multiaddr, PeerId};

/// `B` behind a gate that opens for members only.
pub(super) struct Gate<B: NetworkBehaviour> {
    inner: B,
    members: HashSet<PeerId>,
    /// Connections that `inner` has not been told of.
    held: HashMap<PeerId, Vec<(ConnectionId, ConnectedPoint)>>,
    opening: VecDeque<(PeerId, ConnectionId)>,
}

impl<B: NetworkBehaviour> Gate<B> {
    pub(super) fn new(inner: B) -> Gate<B> {
        Gate { inner, members: HashSet::new(), held: HashMap::new(), opening: VecDeque::new() }
    }

    /// What is behind the gate.
    pub(super) fn inner(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Lets a peer in, with the connections that it has.
    pub(super) fn open(&mut self, peer: PeerId) {
        self.members.insert(peer);
        for (i, (connection, endpoint)) in self.held.remove(&peer).unwrap_or_default().iter().enumerate() {
            self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id: *connection,
                endpoint,
                failed_addresses: &[],
                other_established: i,
            }));
            self.opening.push_back((peer, *connection));
        }
    }

    /// Lets no further connection of a peer in.
    pub(super) fn close(&mut self, peer: &PeerId) {
        self.members.remove(peer);
    }

    fn wrap(&self, peer: PeerId, inner: THandler<B>) -> Handler<THandler<B>> {
        Handler { inner, open: self.members.contains(&peer), unread: None }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B>
where
    THandler<B>: ConnectionHandler<InboundOpenInfo = ()>,
{
    type ConnectionHandler = Handler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(self.wrap(peer, inner))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner =
            self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)?;
        Ok(self.wrap(peer, inner))
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "libp2p adds to its events")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(established) if !self.members.contains(&established.peer_id) => {
                let held = self.held.entry(established.peer_id).or_default();
                held.push((established.connection_id, established.endpoint.clone()));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(held) = self.held.get_mut(&peer_id) {
                    held.retain(|(held, _)| *held != connection_id);
                    if held.is_empty() {
                        self.held.remove(&peer_id);
                    }
                }
                // `inner` recorded every connection when it made its handler, so it hears of every end.
                self.inner.on_swarm_event(event);
            }
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        // On its way when the peer ceased to be a member.
        if self.members.contains(&peer) {
            self.inner.on_connection_handler_event(peer, connection, event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.opening.pop_front() {
            let handler = NotifyHandler::One(connection);
            return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event: Instruction::Open });
        }
        self.inner.poll(cx).map(|action| action.map_in(Instruction::Inner))
    }
}

/// What the gate tells a connection.
#[derive(Debug)]
pub(super) enum Instruction<I> {
    /// The peer is a member now.
    Open,
    /// What the behaviour behind the gate says.
    Inner(I),
}

/// One connection.
pub(super) struct Handler<H: ConnectionHandler> {
    inner: H,
    open: bool,
    /// The stream that a stranger would gossip on; of several, the newest. Nobody reads it.
    unread: Option<FullyNegotiatedInbound<H::InboundProtocol, ()>>,
}

impl<H: ConnectionHandler<InboundOpenInfo = ()>> ConnectionHandler for Handler<H> {
    type FromBehaviour = Instruction<H::FromBehaviour>;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.open && self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        // No waker is needed while it is closed: `Open` arrives through `on_behaviour_event`, after which the connection polls again.
        if self.open { self.inner.poll(cx) } else { Poll::Pending }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {
            Instruction::Open => {
                self.open = true;
                if let Some(unread) = self.unread.take() {
                    self.inner.on_connection_event(ConnectionEvent::FullyNegotiatedInbound(unread));
                }
            }
            Instruction::Inner(event) => self.inner.on_behaviour_event(event),
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "libp2p adds to its events")]
    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(stream) if !self.open => self.unread = Some(stream),
            other => self.inner.on_connection_event(other),
        }
    }
}
