//! How peers find one another again.

use frith_node::net::{NetConfig, NetEvent, start};
use frith_protocol::door::Standing;

use crate::peers::{Node, TCP, two_members};

#[tokio::test]
async fn rule_10_6_a_peer_that_moved_is_found_through_another_member() {
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
async fn rule_10_6_a_stranger_is_told_no_addresses() {
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
