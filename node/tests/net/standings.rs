//! What a peer may do by what it is: gone, stranger, member.

use frith_node::net::NetEvent;
use frith_protocol::door::Standing;

use crate::peers::{Node, QUIC, TCP, is_shown_out, two_members};

#[tokio::test]
async fn rule_10_7_whoever_is_gone_is_disconnected_at_once_and_cannot_return() {
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
async fn rule_5_18_whoever_is_gone_hears_what_was_said_to_it_before_it_is_disconnected() {
    for listen in [TCP, QUIC] {
        let (mut a, b) = two_members(listen).await;
        b.network.send(a.key(), b"you are gone, and here is why".to_vec()).unwrap();
        b.sees(&a, Standing::Gone).await;
        let heard = a.until("the proof", |event| match event {
            NetEvent::Received { bytes, .. } => Some(bytes),
            NetEvent::Disconnected(_) => Some(Vec::new()),
            _ => None,
        });
        assert_eq!(heard.await, b"you are gone, and here is why");
        a.disconnected(b.key()).await;
    }
}
