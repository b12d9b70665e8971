//! A node's whole runtime in this process, and peers that are a transport and a key.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use frith_protocol::door::{Envelope, Message, Talk, founding_records, open_envelope};
use frith_protocol::encoding::VERSION;
use frith_protocol::identity::NodeId;
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::{DomainId, Reason};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::control::{Client, Request};
use crate::founding::{self, Card, DraftOptions};
use crate::net::{Multiaddr, NetEvent, NetEvents};
use crate::store::Owner;

const BOUND: Duration = Duration::from_secs(60);

/// The first of four founders, running; the others are known by their keys.
struct Node {
    _dir: tempfile::TempDir,
    home: Home,
    domain: DomainId,
    others: Vec<NodeKeys>,
    address: Multiaddr,
    key: frith_protocol::identity::PublicKey,
    disk_is_full: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<Ended, RunError>>,
}

impl Node {
    async fn found() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("node"));
        let mut all = vec![keys::create(&home).unwrap()];
        all[0].voting = vec![keys::voting_or_new(&home).unwrap()];
        for number in 2..=4 {
            all.push(crate::founding::tests::founder(number).keys);
        }
        let file = |what: &str, number: usize| PathBuf::from(format!("{number}.{what}"));
        let address = |number: usize| vec![format!("/ip4/192.0.2.{number}/tcp/5747")];
        let card = |(number, keys): (usize, &NodeKeys)| {
            let voting = keys.voting[0].public();
            (file("card", number), Card::new(keys, voting, address(number + 1)).unwrap())
        };
        let cards: Vec<_> = all.iter().enumerate().map(card).collect();
        let options = DraftOptions { name: "test".into(), ..DraftOptions::default() };
        let draft = founding::draft(&cards, options, now()).unwrap();
        let origin = PathBuf::from("draft");
        let sign = |(number, keys): (usize, &NodeKeys)| {
            (file("signature", number), founding::sign(&draft, &origin, keys).unwrap())
        };
        let signatures: Vec<_> = all.iter().enumerate().map(sign).collect();
        let founded = founding::put_together(&draft, &origin, &signatures, &all[0]).unwrap();
        let records = founding_records(&founded, &all[0].voting[0].public());
        let owner = Owner { node: all[0].inception.node_id(), domain: founded.domain() };
        Store::create(&home.store(), owner, &records, &[]).unwrap();

        let config = Config { listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()], ..Config::default() };
        let (up, is_up) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (over, ended) = oneshot::channel();
        let of_thread = Home::at(home.dir());
        // As in the program, where the one future of a node stays on the thread that it began on.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let running = start(of_thread, config).await.unwrap();
                let address = running.network.status().await.unwrap().listening[0].clone();
                drop(up.send((running.network.key(), running.host.disk_is_full(), address)));
                drop(over.send(running.work(Until::Told, async { drop(stopped.await) }).await));
            });
        });
        let (key, disk_is_full, address) = is_up.await.expect("it starts");
        let (others, domain) = (all.split_off(1), founded.domain());
        Node { _dir: dir, home, domain, others, address, key, disk_is_full, stop, ended }
    }

    /// What its operator's request comes to.
    fn revoke(&self, node: NodeId) -> Result<serde_json::Value, String> {
        let request =
            Request::Revoke { node: node.to_string(), reason: Reason::Compromised, note: String::new() };
        let ask = || {
            let mut client = Client::connect(&self.home.socket())?;
            client.give_up_after(Some(BOUND))?;
            client.ask(&request)
        };
        tokio::task::block_in_place(ask).map_err(|e| e.to_string())
    }
}

/// A peer that says only what the test says.
struct Peer {
    network: Network,
    events: NetEvents,
}

impl Peer {
    async fn with_keys(seed: [u8; 32]) -> Peer {
        let (network, events) = net::start(NetConfig::new(seed)).await.unwrap();
        Peer { network, events }
    }

    async fn dial(&mut self, node: &Node) {
        assert_eq!(self.network.dial(node.address.clone()).await.unwrap(), node.key);
    }

    fn say(&self, node: &Node, message: Message) {
        let envelope = Envelope { domain: node.domain, message: Arc::new(message) };
        self.network.send(node.key, envelope.to_bytes()).unwrap();
    }

    /// The next message; none once the node has gone.
    async fn next(&mut self) -> Option<Message> {
        timeout(BOUND, async {
            loop {
                match self.events.recv().await.expect("the transport runs") {
                    NetEvent::Received { bytes, .. } => {
                        break Some(open_envelope(&bytes, MESSAGE_BYTES_MAX).expect("it is one").1);
                    }
                    NetEvent::Disconnected(_) => break None,
                    _ => {}
                }
            }
        })
        .await
        .expect("in time")
    }
}

/// Whether a message rests on something that its sender must have stored: a ballot, or an endorsement.
fn rests_on_the_store(message: &Message) -> bool {
    match message {
        Message::Circulate(_) => true,
        Message::Talk(talk) => matches!(**talk, Talk::Propose(_) | Talk::Ballot(_)),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_9_when_the_store_fails_nothing_that_rests_on_it_is_sent_and_the_node_stops_and_says_why() {
    let node = Node::found().await;
    let mut peer = Peer::with_keys(node.others[0].identity.seed()).await;
    peer.dial(&node).await;
    let [_, second, third] = &node.others[..] else { panic!("there are four") };
    // It has heard that the peer is there, and shown it what it shows to whoever comes.
    peer.say(&node, Message::AskHead);
    while !matches!(peer.next().await, Some(Message::Head { .. })) {}
    // As long as the disk has room, what is signed is stored and sent.
    node.revoke(second.inception.node_id()).unwrap();
    while !rests_on_the_store(&peer.next().await.expect("the node runs")) {}

    node.disk_is_full.store(true, Ordering::SeqCst);
    let refusal = node.revoke(third.inception.node_id()).unwrap_err();
    assert!(refusal.contains("stopping"), "its operator is told that it is done: {refusal}");
    while let Some(message) = peer.next().await {
        assert!(!rests_on_the_store(&message), "{message:?} was sent and is not stored");
    }
    let why = timeout(BOUND, node.ended).await.expect("it stops").unwrap().unwrap_err();
    assert!(matches!(why, RunError::NotStored(_)), "{why}");
    let why = why.to_string();
    assert!(why.contains("could not store") && why.contains("No space left on device"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_1_7_another_version_is_answered_once_a_connection() {
    let node = Node::found().await;
    for _connection in 0..2 {
        let mut stranger = Peer::with_keys([99; 32]).await;
        stranger.dial(&node).await;
        for theirs in [VERSION + 1, VERSION + 1, VERSION + 2] {
            stranger.network.send(node.key, vec![theirs, 1, 2, 3]).unwrap();
        }
        // What is answered to these comes before what is answered to this.
        stranger.say(&node, Message::AskHead);
        let mut told = Vec::new();
        loop {
            match stranger.next().await.expect("it is not disconnected") {
                Message::Unsupported { theirs, ours } => told.push((theirs, ours)),
                Message::Head { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, [(VERSION + 1, VERSION)]);
        stranger.network.shutdown().await;
    }
    node.stop.send(()).expect("it runs");
    let ended = timeout(BOUND, node.ended).await.expect("it stops").unwrap();
    assert_eq!(ended.unwrap(), Ended::Stopped);
}
