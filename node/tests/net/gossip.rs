//! Gossip: whom it reaches, and what goes further.

use std::time::Duration;

use frith_node::net::{NetEvent, NotSent, Verdict};
use frith_protocol::door::Standing;
use frith_protocol::limits::GOSSIP_BYTES_MAX;

use crate::peers::{DOMAIN, Node, TCP, two_members};

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
async fn rule_10_5_gossip_reaches_members_and_no_stranger() {
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
async fn rule_10_5_gossip_goes_no_further_than_a_host_that_does_not_accept_it() {
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
