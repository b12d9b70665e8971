//! Messages between two: on either transport, in order, within bounds.

use frith_node::net::NetError;
use frith_node::net::NotSent;
use frith_protocol::limits::{MESSAGE_BYTES_MAX, STRANGER_MESSAGE_BYTES_MAX};

use crate::peers::{Node, QUIC, TCP, two_members, within};

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
async fn rule_10_2_messages_over_tcp_arrive_both_ways_in_order() {
    messages_arrive_both_ways_in_order(TCP).await;
}

#[tokio::test]
async fn rule_10_2_messages_over_quic_arrive_both_ways_in_order() {
    messages_arrive_both_ways_in_order(QUIC).await;
}

#[tokio::test]
async fn rule_10_4_the_longest_message_arrives_and_a_longer_one_is_not_sent() {
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
async fn rule_10_4_a_stranger_that_sends_too_long_a_message_is_disconnected_and_nobody_else_is() {
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
