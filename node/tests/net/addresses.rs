//! How peers find one another again.

use std::collections::BTreeSet;

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

/// A newcomer whose anchor is older than the charter knows who has the seats by now, and not where they are.
#[tokio::test]
async fn rule_10_6_a_stranger_is_told_where_the_endorsers_are_that_it_asks_for_and_nobody_else() {
    let (endorser, member) = (Node::new(1, &[TCP]).await, Node::new(2, &[TCP]).await);
    let (mut answers, mut stranger) = (Node::new(3, &[TCP]).await, Node::new(4, &[TCP]).await);
    answers.sees(&endorser, Standing::Endorser).await;
    for other in [&endorser, &member] {
        other.sees(&answers, Standing::Endorser).await;
        other.dial(&answers).await;
    }
    answers.sees(&member, Standing::Member).await;
    // In whatever order they come.
    let mut known = BTreeSet::new();
    let both = |event| {
        if let NetEvent::Addresses { of, .. } = event {
            known.insert(of);
        }
        (known.len() == 2).then_some(())
    };
    answers.until("the records of the endorser and the member", both).await;

    // It knows nobody's standing, not even that of whom it was told to dial.
    stranger.network.keep_connected(vec![endorser.key(), member.key()]).await;
    stranger.dial(&answers).await;
    stranger.connected(answers.key()).await;
    stranger.connected(endorser.key()).await;
    let told = stranger.until("the record of the member", |event| match event {
        NetEvent::Addresses { of, .. } => (of == member.key()).then_some(()),
        _ => None,
    });
    tokio::select! {
        () = told => panic!("a stranger was told where a member is"),
        () = async { while answers.counter("strangers_answered").await < 3 { tokio::task::yield_now().await } } => {}
    }
    // Nor does anybody remember where a stranger is.
    let known = answers.network.status().await.unwrap().known;
    assert_eq!(known, 2, "the endorser and the member");
    // Once it is admitted it is told all.
    answers.sees(&stranger, Standing::Member).await;
    stranger.sees(&answers, Standing::Endorser).await;
    stranger.connected(member.key()).await;
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
