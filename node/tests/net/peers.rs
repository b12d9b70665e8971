//! Nodes of a transport on loopback, and waiting for what happens to them.

use std::time::Duration;

use frith_node::net::{Multiaddr, NetConfig, NetEvent, NetEvents, Network, Verdict, start};
use frith_protocol::door::Standing;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::DomainId;
use tokio::time::timeout;

pub(crate) const DOMAIN: DomainId = DomainId([0xd0; 32]);
pub(crate) const BOUND: Duration = Duration::from_secs(60);
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

pub(crate) struct Node {
    pub(crate) name: u8,
    pub(crate) network: Network,
    pub(crate) events: NetEvents,
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(BOUND, future).await.unwrap_or_else(|_| panic!("not within {BOUND:?}: {what}"))
}

impl Node {
    pub(crate) async fn new(name: u8, listen: &[&str]) -> Node {
        let mut config = NetConfig::new([name; 32]);
        config.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
        let (network, events) = start(config).await.unwrap();
        Node { name, network, events }
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.network.key()
    }

    pub(crate) async fn address(&self) -> Multiaddr {
        self.network.status().await.unwrap().listening[0].clone()
    }

    pub(crate) async fn sees(&self, other: &Node, standing: Standing) {
        self.network.set_standing(other.key(), standing).await;
    }

    pub(crate) async fn dial(&self, other: &Node) {
        let dialled = self.network.dial(other.address().await).await.unwrap();
        assert_eq!(dialled, other.key());
    }

    /// What the first event is for which `pick` gives something; events before it are dropped.
    pub(crate) async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        let (name, events) = (self.name, &mut self.events);
        within(&format!("node {name}: {what}"), async move {
            loop {
                let event = events.recv().await.expect("the transport runs");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        })
        .await
    }

    pub(crate) async fn connected(&mut self, to: PublicKey) {
        let is = |event| matches!(event, NetEvent::Connected(key) if key == to).then_some(());
        self.until("connected", is).await;
    }

    pub(crate) async fn disconnected(&mut self, from: PublicKey) {
        let is = |event| matches!(event, NetEvent::Disconnected(key) if key == from).then_some(());
        self.until("disconnected", is).await;
    }

    pub(crate) async fn received(&mut self) -> (PublicKey, Vec<u8>) {
        self.until("received", |event| match event {
            NetEvent::Received { from, bytes } => Some((from, bytes)),
            _ => None,
        })
        .await
    }

    /// The next gossiped message, judged.
    pub(crate) async fn gossiped(&mut self, verdict: Verdict) -> Vec<u8> {
        let (bytes, token) = self
            .until("gossiped", |event| match event {
                NetEvent::Gossiped { domain, bytes, token, .. } => {
                    assert_eq!(domain, DOMAIN);
                    Some((bytes, token))
                }
                _ => None,
            })
            .await;
        self.network.verdict(token, verdict).await;
        bytes
    }

    /// A counter, once everything that was asked before has been done.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        self.network.status().await.unwrap();
        let text = self.network.metrics();
        let line = text.lines().find(|line| line.starts_with(&format!("frith_net_{name}_total ")));
        line.and_then(|line| line.split(' ').nth(1)).and_then(|n| n.parse().ok()).unwrap_or_else(|| {
            panic!("no counter {name} in\n{text}");
        })
    }
}

/// Two members of one domain, the first of which has dialled the second.
pub(crate) async fn two_members(listen: &str) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1, &[]).await, Node::new(2, &[listen]).await);
    a.sees(&b, Standing::Member).await;
    b.sees(&a, Standing::Member).await;
    a.dial(&b).await;
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    (a, b)
}

/// A dial that the other side does not let in: it may succeed, since the handshake does, and then ends.
pub(crate) async fn is_shown_out(who: &mut Node, by: &Node) {
    if who.network.dial(by.address().await).await.is_ok() {
        who.connected(by.key()).await;
        who.disconnected(by.key()).await;
    }
}
