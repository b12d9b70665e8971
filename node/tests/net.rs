//! The transport on real sockets of the loopback interface: what peers of each standing reach, and how they find one another.
//!
//! Every wait is for an event, within a bound that only a failure meets.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use frith_node::net::{
    Multiaddr, NetConfig, NetError, NetEvent, NetEvents, Network, NotSent, Verdict, start,
};
use frith_protocol::door::Standing;
use frith_protocol::identity::PublicKey;
use frith_protocol::limits::{GOSSIP_BYTES_MAX, MESSAGE_BYTES_MAX, STRANGER_MESSAGE_BYTES_MAX};
use frith_protocol::state::DomainId;
use tokio::time::timeout;

const DOMAIN: DomainId = DomainId([0xd0; 32]);
const BOUND: Duration = Duration::from_secs(60);
const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

struct Node {
    name: u8,
    network: Network,
    events: NetEvents,
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(BOUND, future).await.unwrap_or_else(|_| panic!("not within {BOUND:?}: {what}"))
}

impl Node {
    async fn new(name: u8, listen: &[&str]) -> Node {
        let mut config = NetConfig::new([name; 32]);
        config.listen = listen.iter().map(|address| address.parse().unwrap()).collect();
        let (network, events) = start(config).await.unwrap();
        Node { name, network, events }
    }

    fn key(&self) -> PublicKey {
        self.network.key()
    }

    async fn address(&self) -> Multiaddr {
        self.network.status().await.unwrap().listening[0].clone()
    }

    async fn sees(&self, other: &Node, standing: Standing) {
        self.network.set_standing(other.key(), standing).await;
    }

    async fn dial(&self, other: &Node) {
        let dialled = self.network.dial(other.address().await).await.unwrap();
        assert_eq!(dialled, other.key());
    }

    /// What the first event is for which `pick` gives something; events before it are dropped.
    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
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

    async fn connected(&mut self, to: PublicKey) {
        let is = |event| matches!(event, NetEvent::Connected(key) if key == to).then_some(());
        self.until("connected", is).await;
    }

    async fn disconnected(&mut self, from: PublicKey) {
        let is = |event| matches!(event, NetEvent::Disconnected(key) if key == from).then_some(());
        self.until("disconnected", is).await;
    }

    async fn received(&mut self) -> (PublicKey, Vec<u8>) {
        self.until("received", |event| match event {
            NetEvent::Received { from, bytes } => Some((from, bytes)),
            _ => None,
        })
        .await
    }

    /// The next gossiped message, judged.
    async fn gossiped(&mut self, verdict: Verdict) -> Vec<u8> {
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
    async fn counter(&self, name: &str) -> u64 {
        self.network.status().await.unwrap();
        let text = self.network.metrics();
        let line = text.lines().find(|line| line.starts_with(&format!("frith_net_{name}_total ")));
        line.and_then(|line| line.split(' ').nth(1)).and_then(|n| n.parse().ok()).unwrap_or_else(|| {
            panic!("no counter {name} in\n{text}");
        })
    }
}

/// Two members of one domain, the first of which has dialled the second.
async fn two_members(listen: &str) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1, &[]).await, Node::new(2, &[listen]).await);
    a.sees(&b, Standing::Member).await;
    b.sees(&a, Standing::Member).await;
    a.dial(&b).await;
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    (a, b)
}

async fn messages_arrive_both_ways_in_order(listen: &str) {
    let (mut a, mut b) = two_members(listen).await;
    let messages: Vec<Vec<u8>> = (0..500u32).map(|i| i.to_le_bytes().repeat(1 + i as usize % 40)).collect();
    for message in &messages {
        a.network.send(b.key(), message.clone()).unwrap();
        b.network.send(a.key(), message.clone()).unwrap();
    }
    for message in &messages {
        assert_eq!(b.received().await, (a.key(), message.clone()));
        assert_eq!(a.received().await, (b.key(), message.clone()));
    }
}

#[tokio::test]
async fn messages_over_tcp_arrive_both_ways_in_order() {
    messages_arrive_both_ways_in_order(TCP).await;
}

#[tokio::test]
async fn messages_over_quic_arrive_both_ways_in_order() {
    messages_arrive_both_ways_in_order(QUIC).await;
}

#[tokio::test]
async fn the_longest_message_arrives_and_a_longer_one_is_not_sent() {
    for listen in [TCP, QUIC] {
        let (a, mut b) = two_members(listen).await;
        let longest: Vec<u8> = (0..MESSAGE_BYTES_MAX).map(|i| i as u8).collect();
        let bytes = MESSAGE_BYTES_MAX + 1;
        assert_eq!(a.network.send(b.key(), vec![0; bytes]), Err(NotSent::TooLong { bytes }));
        a.network.send(b.key(), longest.clone()).unwrap();
        a.network.send(b.key(), *b"after").unwrap();
        assert!(b.received().await.1 == longest);
        assert_eq!(b.received().await.1, b"after");
    }
}

#[tokio::test]
async fn a_stranger_that_sends_too_long_a_message_is_disconnected_and_nobody_else_is() {
    let (mut member, mut b) = two_members(TCP).await;
    let mut stranger = Node::new(3, &[]).await;
    stranger.dial(&b).await;
    b.connected(stranger.key()).await;
    stranger.connected(b.key()).await;
    let longest = vec![7; STRANGER_MESSAGE_BYTES_MAX];
    stranger.network.send(b.key(), longest.clone()).unwrap();
    assert_eq!(b.received().await, (stranger.key(), longest));
    stranger.network.send(b.key(), vec![7; STRANGER_MESSAGE_BYTES_MAX + 1]).unwrap();
    stranger.disconnected(b.key()).await;
    b.disconnected(stranger.key()).await;
    assert_eq!(b.counter("refused").await, 1);

    member.network.send(b.key(), vec![7; STRANGER_MESSAGE_BYTES_MAX + 1]).unwrap();
    assert_eq!(b.received().await.0, member.key());
    b.network.send(member.key(), *b"still here").unwrap();
    assert_eq!(member.received().await.1, b"still here");
    stranger.dial(&b).await;
    b.connected(stranger.key()).await;
}

#[tokio::test]
async fn whom_we_dialled_may_send_us_long_messages() {
    let (mut newcomer, mut endorser) = (Node::new(1, &[]).await, Node::new(2, &[TCP]).await);
    newcomer.dial(&endorser).await;
    endorser.connected(newcomer.key()).await;
    endorser.network.send(newcomer.key(), vec![1; STRANGER_MESSAGE_BYTES_MAX + 1]).unwrap();
    assert_eq!(newcomer.received().await.1.len(), STRANGER_MESSAGE_BYTES_MAX + 1);
}

/// gossipsub does not say who takes part yet; so publish, each time something new, until the first arrives.
async fn published_until_received(from: &Node, to: &mut Node, what: &[u8]) {
    let mut again = tokio::time::interval(Duration::from_millis(100));
    let publish = async {
        for n in 0u32.. {
            again.tick().await;
            from.network.publish(DOMAIN, [what, &n.to_le_bytes()].concat()).await.unwrap();
        }
    };
    let receive = async { while !to.gossiped(Verdict::Accept).await.starts_with(what) {} };
    tokio::select! {
        () = publish => unreachable!("it goes on"),
        () = receive => {}
    }
}

#[tokio::test]
async fn gossip_reaches_members_and_no_stranger() {
    let (mut a, mut b) = two_members(TCP).await;
    let mut stranger = Node::new(3, &[]).await;
    // It takes the others for what they are, as a newcomer does that has seen the charter.
    stranger.sees(&b, Standing::Endorser).await;
    stranger.dial(&b).await;
    b.connected(stranger.key()).await;
    for node in [&a, &b, &stranger] {
        node.network.subscribe(DOMAIN).await;
    }
    published_until_received(&a, &mut b, b"from a").await;
    published_until_received(&b, &mut a, b"from b").await;

    // What the stranger were to get of this would be here before what follows.
    b.network.send(stranger.key(), *b"direct").unwrap();
    let first = stranger
        .until("anything", |event| match event {
            NetEvent::Received { bytes, .. } => Some(("received", bytes)),
            NetEvent::Gossiped { bytes, .. } => Some(("gossiped", bytes)),
            _ => None,
        })
        .await;
    assert_eq!(first, ("received", b"direct".to_vec()));
    // Nor does it know anybody to publish to.
    stranger.network.publish(DOMAIN, b"from a stranger".to_vec()).await.unwrap();
    assert_eq!((stranger.counter("published").await, stranger.counter("unpublished").await), (0, 1));

    // From its admission on it takes part, on the connection that it has.
    b.sees(&stranger, Standing::Member).await;
    published_until_received(&b, &mut stranger, b"welcome").await;
    published_until_received(&stranger, &mut b, b"thanks").await;
    let status = b.network.status().await.unwrap();
    let connections: usize = status.peers.iter().map(|peer| peer.addresses.len()).sum();
    assert_eq!((connections, status.strangers), (2, 0));
}

#[tokio::test]
async fn gossip_goes_no_further_than_a_host_that_does_not_accept_it() {
    let (a, mut b) = two_members(TCP).await;
    let mut c = Node::new(3, &[]).await;
    c.sees(&b, Standing::Member).await;
    b.sees(&c, Standing::Member).await;
    c.dial(&b).await;
    c.connected(b.key()).await;
    for node in [&a, &b, &c] {
        node.network.subscribe(DOMAIN).await;
    }
    published_until_received(&a, &mut b, b"hello").await;
    published_until_received(&b, &mut c, b"hello").await;

    for (what, verdict) in
        [(b"ignored.", Verdict::Ignore), (b"rejected", Verdict::Reject), (b"accepted", Verdict::Accept)]
    {
        a.network.publish(DOMAIN, what.to_vec()).await.unwrap();
        loop {
            let judgement = |bytes: &[u8]| if bytes == what { verdict } else { Verdict::Accept };
            let (bytes, token) = b
                .until("gossiped", |event| match event {
                    NetEvent::Gossiped { bytes, token, .. } => Some((bytes, token)),
                    _ => None,
                })
                .await;
            b.network.verdict(token, judgement(&bytes)).await;
            if bytes == what {
                break;
            }
        }
    }
    loop {
        let bytes = c.gossiped(Verdict::Ignore).await;
        assert!(bytes.starts_with(b"hello") || bytes == b"accepted", "{}", String::from_utf8_lossy(&bytes));
        if bytes == b"accepted" {
            break;
        }
    }
    assert_eq!(b.counter("gossip_rejected").await, 1);
}

#[tokio::test]
async fn the_longest_gossip_arrives_and_a_longer_one_is_not_published() {
    let (a, mut b) = two_members(TCP).await;
    a.network.subscribe(DOMAIN).await;
    b.network.subscribe(DOMAIN).await;
    published_until_received(&a, &mut b, b"hello").await;
    let bytes = GOSSIP_BYTES_MAX + 1;
    assert_eq!(a.network.publish(DOMAIN, vec![1; bytes]).await, Err(NotSent::TooLong { bytes }));
    a.network.publish(DOMAIN, vec![1; GOSSIP_BYTES_MAX]).await.unwrap();
    while b.gossiped(Verdict::Accept).await.len() != GOSSIP_BYTES_MAX {}
}

/// A dial that the other side does not let in: it may succeed, since the handshake does, and then ends.
async fn is_shown_out(who: &mut Node, by: &Node) {
    if who.network.dial(by.address().await).await.is_ok() {
        who.connected(by.key()).await;
        who.disconnected(by.key()).await;
    }
}

#[tokio::test]
async fn whoever_is_gone_is_disconnected_at_once_and_cannot_return() {
    for listen in [TCP, QUIC] {
        let (mut a, mut b) = two_members(listen).await;
        b.sees(&a, Standing::Gone).await;
        b.disconnected(a.key()).await;
        a.disconnected(b.key()).await;
        is_shown_out(&mut a, &b).await;
        // Nor do we call it back.
        b.network.dial_peer(a.key(), vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]).await;
        b.network.keep_connected(vec![a.key()]).await;
        assert_eq!(b.counter("dials").await, 0);

        let witness = Node::new(3, &[]).await;
        witness.dial(&b).await;
        let next = b.until("anyone", |event| match event {
            NetEvent::Received { from, .. } | NetEvent::Connected(from) => Some(from),
            _ => None,
        });
        assert_eq!(next.await, witness.key());

        // Should the host change its mind, so does the transport.
        b.sees(&a, Standing::Member).await;
        a.dial(&b).await;
        b.connected(a.key()).await;
    }
}

#[tokio::test]
async fn a_member_that_becomes_a_stranger_may_return_as_one() {
    let (mut a, mut b) = two_members(TCP).await;
    b.sees(&a, Standing::Stranger).await;
    a.disconnected(b.key()).await;
    b.disconnected(a.key()).await;
    a.dial(&b).await;
    b.connected(a.key()).await;
    assert_eq!(b.network.status().await.unwrap().strangers, 1);
}

#[tokio::test]
async fn a_peer_that_moved_is_found_through_another_member() {
    let (a, mut b) = (Node::new(1, &[TCP]).await, Node::new(2, &[TCP]).await);
    let mut c = Node::new(3, &[TCP]).await;
    for (one, other) in [(&a, &b), (&a, &c), (&b, &a), (&b, &c), (&c, &a), (&c, &b)] {
        one.sees(other, Standing::Member).await;
    }
    let (first_address, c_key) = (c.address().await, c.key());
    b.dial(&a).await;
    c.dial(&a).await;
    // B never knew where C was, and is told by A.
    b.network.keep_connected(vec![c_key]).await;
    b.connected(c_key).await;
    c.connected(b.key()).await;

    c.network.shutdown().await;
    b.disconnected(c_key).await;
    drop(c);
    let c = Node::new(3, &[TCP]).await;
    let c_address = c.address().await;
    assert_ne!(c_address, first_address);
    c.sees(&a, Standing::Member).await;
    c.sees(&b, Standing::Member).await;
    c.dial(&a).await;
    b.until("the new address", |event| match event {
        NetEvent::Addresses { of, addresses, .. } => {
            (of == c_key && addresses == [c_address.clone()]).then_some(())
        }
        _ => None,
    })
    .await;
    b.connected(c_key).await;
    c.network.send(b.key(), *b"found").unwrap();
    assert_eq!(b.received().await, (c_key, b"found".to_vec()));
}

#[tokio::test]
async fn a_stranger_is_told_no_addresses() {
    let (a, mut b) = (Node::new(1, &[TCP]).await, Node::new(2, &[TCP]).await);
    let mut stranger = Node::new(3, &[TCP]).await;
    a.sees(&b, Standing::Member).await;
    b.sees(&a, Standing::Member).await;
    stranger.sees(&b, Standing::Endorser).await;
    a.dial(&b).await;
    let a_key = a.key();
    let is_a = |event| matches!(event, NetEvent::Addresses { of, .. } if of == a_key).then_some(());
    b.until("the record of a", is_a).await;
    stranger.network.keep_connected(vec![a_key]).await;
    stranger.dial(&b).await;
    b.connected(stranger.key()).await;
    // Each of its questions fails; once admitted it is told.
    let told = stranger.until("the record of a", is_a);
    tokio::select! {
        () = told => panic!("a stranger was told"),
        () = async { while b.counter("questions_refused").await < 3 { tokio::task::yield_now().await } } => {}
    }
    b.sees(&stranger, Standing::Member).await;
    stranger.connected(a_key).await;
}

#[tokio::test]
async fn a_stored_record_finds_a_peer_after_a_restart() {
    let (mut a, b) = two_members(TCP).await;
    let (b_key, b_address) = (b.key(), b.address().await);
    let record = a
        .until("the record of b", |event| match event {
            NetEvent::Addresses { of, record, .. } => (of == b_key).then_some(record),
            _ => None,
        })
        .await;
    a.network.shutdown().await;

    let mut config = NetConfig::new([1; 32]);
    config.records = vec![b"damaged".to_vec(), record];
    let (network, events) = start(config).await.unwrap();
    let mut a = Node { name: 1, network, events };
    a.network.keep_connected(vec![b_key]).await;
    a.connected(b_key).await;
    let peer = a.network.status().await.unwrap().peers.remove(0);
    assert_eq!(peer.addresses, [b_address]);
}

#[tokio::test]
async fn a_peer_that_restarts_where_it_was_is_connected_again() {
    let (mut a, b) = two_members(TCP).await;
    let (b_key, b_address) = (b.key(), b.address().await);
    a.network.keep_connected(vec![b_key]).await;
    b.network.shutdown().await;
    a.disconnected(b_key).await;
    let mut b = Node::new(2, &[&b_address.to_string()]).await;
    b.sees(&a, Standing::Member).await;
    a.connected(b_key).await;
    b.connected(a.key()).await;
    a.network.send(b_key, *b"again").unwrap();
    assert_eq!(b.received().await.1, b"again");
}

#[tokio::test]
async fn two_that_dial_one_another_at_once_stay_connected() {
    let (mut a, mut b) = (Node::new(1, &[TCP, QUIC]).await, Node::new(2, &[TCP, QUIC]).await);
    a.sees(&b, Standing::Member).await;
    b.sees(&a, Standing::Member).await;
    let (of_a, of_b) = (a.network.status().await.unwrap(), b.network.status().await.unwrap());
    tokio::join!(
        a.network.dial_peer(b.key(), of_b.listening),
        b.network.dial_peer(a.key(), of_a.listening),
        a.network.keep_connected(vec![b.key()]),
        b.network.keep_connected(vec![a.key()]),
    );
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    for i in 0..200u32 {
        a.network.send(b.key(), i.to_le_bytes()).unwrap();
        b.network.send(a.key(), i.to_le_bytes()).unwrap();
        for node in [&mut a, &mut b] {
            let bytes = node
                .until("the message", |event| match event {
                    NetEvent::Received { bytes, .. } => Some(bytes),
                    NetEvent::Disconnected(_) => panic!("they fell apart"),
                    _ => None,
                })
                .await;
            assert_eq!(bytes, i.to_le_bytes());
        }
    }
}

#[tokio::test]
async fn a_message_for_a_peer_whose_address_is_known_waits_for_the_dial() {
    let (a, mut b) = (Node::new(1, &[]).await, Node::new(2, &[TCP]).await);
    a.network.send(b.key(), *b"lost: nobody knows where").unwrap();
    assert_eq!(a.counter("unsent").await, 1);
    a.network.dial_peer(b.key(), vec![b.address().await]).await;
    for i in 0..10u8 {
        a.network.send(b.key(), [i]).unwrap();
    }
    for i in 0..10u8 {
        assert_eq!(b.received().await.1, [i]);
    }
}

#[tokio::test]
async fn messages_for_a_host_that_does_not_look_wait_at_their_sender() {
    let (a, mut b) = two_members(TCP).await;
    // Far more than may wait at the receiver and on the way.
    let (mut accepted, mut refused) = (0u32, false);
    while !refused && accepted < 4096 {
        let mut message = vec![0; 256 * 1024];
        message[..4].copy_from_slice(&accepted.to_le_bytes());
        match a.network.send(b.key(), message) {
            Ok(()) => accepted += 1,
            Err(why) => {
                assert_eq!(why, NotSent::QueueFull);
                // Full for now, or for good? Not for good while what waits here still shrinks.
                let before = b.counter("received").await;
                for _ in 0..200 {
                    a.counter("sent").await;
                    b.counter("received").await;
                }
                refused = b.counter("received").await == before;
            }
        }
    }
    assert!(refused, "a gigabyte went somewhere");
    // It still answers, and still lets others in.
    let other = Node::new(3, &[]).await;
    within("a dial to a host that does not look", other.network.dial(b.address().await)).await.unwrap();
    within("it knows of both", async { while b.network.status().await.unwrap().peers.len() < 2 {} }).await;
    for i in 0..accepted {
        assert_eq!(b.received().await.1[..4], i.to_le_bytes(), "in order, without holes");
    }
}

#[tokio::test]
async fn strangers_fill_their_places_and_none_of_the_members() {
    let mut b = Node::new(200, &[TCP]).await;
    let mut strangers = Vec::new();
    for name in 1..=64 {
        let stranger = Node::new(name, &[]).await;
        stranger.dial(&b).await;
        b.connected(stranger.key()).await;
        strangers.push(stranger);
    }
    let mut late = Node::new(100, &[]).await;
    is_shown_out(&mut late, &b).await;
    assert_eq!(b.network.status().await.unwrap().strangers, 64);
    let member = Node::new(101, &[]).await;
    b.sees(&member, Standing::Member).await;
    member.dial(&b).await;
    b.connected(member.key()).await;
    // One of them is admitted, which makes room.
    b.sees(&strangers[0], Standing::Member).await;
    late.dial(&b).await;
    b.connected(late.key()).await;
}

#[tokio::test]
async fn a_port_in_use_and_a_foreign_address_are_named() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let first = Node::new(1, &[TCP]).await;
    let busy = [
        format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port()),
        format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port()),
        first.address().await.to_string(),
    ];
    for (address, expected) in busy.iter().map(|address| (address.as_str(), "in use")).chain([
        ("/ip4/192.0.2.1/tcp/0", "not one of this machine's"),
        ("/ip4/192.0.2.1/tcp/4400", "not one of this machine's"),
        ("/ip4/192.0.2.1/udp/4400/quic-v1", "not one of this machine's"),
        ("/dns/localhost/tcp/4400", "not an address of an interface"),
    ]) {
        let mut config = NetConfig::new([2; 32]);
        config.listen = vec![address.parse().unwrap()];
        let refused = within("it fails", start(config)).await.map(|_| ()).unwrap_err();
        assert!(matches!(&refused, NetError::Listen { address: named, .. } if named.to_string() == address));
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}

#[tokio::test]
async fn a_dial_that_fails_says_why() {
    let (a, b) = (Node::new(1, &[TCP]).await, Node::new(2, &[TCP]).await);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let third = peer_id([3; 32]);
    for (address, expected) in [
        (format!("/ip4/127.0.0.1/tcp/{closed}"), "refused"),
        (b.address().await.with_p2p(third).unwrap().to_string(), "another peer answers there"),
        (a.address().await.to_string(), "this node itself"),
        ("/dnsaddr/host.example".into(), "cannot be dialled"),
    ] {
        let refused = within("it fails", a.network.dial(address.parse().unwrap())).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(refused.to_string().contains(&address), "{refused}");
    }
}

fn peer_id(seed: [u8; 32]) -> libp2p::PeerId {
    libp2p::identity::Keypair::ed25519_from_bytes(seed).unwrap().public().to_peer_id()
}

#[tokio::test]
async fn when_the_transport_is_shut_down_what_was_queued_has_arrived() {
    let (a, mut b) = two_members(TCP).await;
    for i in 0..100u8 {
        a.network.send(b.key(), vec![i; 10_000]).unwrap();
    }
    a.network.shutdown().await;
    for i in 0..100u8 {
        assert_eq!(b.received().await.1[0], i);
    }
    b.disconnected(a.key()).await;
    assert!(a.network.status().await.is_none());
    assert_eq!(a.network.dial(b.address().await).await, Err(NetError::Stopped));
}
