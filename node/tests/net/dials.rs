//! Dialling and listening, and what is said when it fails.

use std::net::{TcpListener, UdpSocket};

use frith_node::net::{NetConfig, NetError, NetEvent, start};
use frith_protocol::door::Standing;

use crate::peers::{Node, QUIC, TCP, within};

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
