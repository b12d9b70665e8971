//! Peers that say what no honest peer says, on streams that they open by themselves.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]

use std::time::{Duration, Instant};

use frith_protocol::door::Standing;
use frith_protocol::identity::{PublicKey, SecretKey};
use frith_protocol::limits::{MESSAGE_BYTES_MAX, STRANGER_MESSAGE_BYTES_MAX};
use frith_protocol::state::DomainId;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::PeerRecord;
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, noise, request_response, tcp, yamux};
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::names::topic_of;
use super::{NetConfig, NetEvent, NetEvents, Network, exchange, pipe, start};

const BOUND: Duration = Duration::from_secs(60);
const DOMAIN: DomainId = DomainId([0xd0; 32]);
const MESHSUB: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");

async fn victim() -> (Network, NetEvents) {
    let mut config = NetConfig::new([1; 32]);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let (network, events) = start(config).await.unwrap();
    network.subscribe(DOMAIN).await;
    (network, events)
}

async fn next<T>(events: &mut NetEvents, pick: impl Fn(NetEvent) -> Option<T>) -> T {
    timeout(BOUND, async {
        loop {
            if let Some(picked) = pick(events.recv().await.expect("the transport runs")) {
                return picked;
            }
        }
    })
    .await
    .expect("in time")
}

/// Two kinds of streams on one connection.
#[derive(NetworkBehaviour)]
struct Raw {
    first: pipe::Behaviour,
    then: pipe::Behaviour,
}

impl Raw {
    async fn dialling(victim: &Network, seed: u8, protocol: StreamProtocol) -> Swarm<Raw> {
        let identity = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let mut swarm = SwarmBuilder::with_existing_identity(identity)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Raw {
                first: pipe::Behaviour::new(protocol),
                then: pipe::Behaviour::new(pipe::PROTOCOL),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(BOUND))
            .build();
        swarm.dial(victim.status().await.unwrap().listening[0].clone()).unwrap();
        swarm
    }
}

/// A peer that opens a stream of `protocol`, writes `bytes`, and then opens one of the core's and says «done» there.
struct Attacker {
    key: PublicKey,
    /// Whether all its bytes got out.
    rid: mpsc::Receiver<bool>,
    ended: mpsc::Receiver<()>,
}

impl Attacker {
    async fn on(victim: &Network, seed: u8, protocol: StreamProtocol, bytes: Vec<u8>) -> Attacker {
        let alone = protocol == pipe::PROTOCOL;
        let mut swarm = Raw::dialling(victim, seed, protocol).await;
        let (written, mut all_written) = mpsc::channel(4);
        let (tell, rid) = mpsc::channel(1);
        let (over, ended) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut streams = Vec::new();
            let mut at = None;
            let mut bytes = Some(bytes);
            loop {
                tokio::select! {
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                            at = Some((peer_id, connection_id));
                            swarm.behaviour_mut().first.open(peer_id, connection_id);
                        }
                        SwarmEvent::ConnectionClosed { .. } => {
                            // The test may be over.
                            let _ = over.send(()).await;
                        }
                        SwarmEvent::Behaviour(RawEvent::First(pipe::Event { what, .. })) => {
                            if let pipe::Report::Opened(mut stream) = what
                                && let Some(bytes) = bytes.take()
                            {
                                let (written, tell) = (written.clone(), tell.clone());
                                streams.push(tokio::spawn(async move {
                                    // More than the victim reads may not get out: then it is done as well.
                                    let all = timeout(Duration::from_secs(1), async {
                                        stream.write_all(&bytes).await?;
                                        stream.flush().await
                                    })
                                    .await;
                                    let _ = tell.send(matches!(all, Ok(Ok(())))).await;
                                    let _ = written.send(()).await;
                                    futures::future::pending::<()>().await;
                                    drop(stream);
                                }));
                            }
                        }
                        SwarmEvent::Behaviour(RawEvent::Then(pipe::Event {
                            what: pipe::Report::Opened(mut stream),
                            ..
                        })) => streams.push(tokio::spawn(async move {
                            let _ = stream.write_all(b"\x04\0\0\0done").await;
                            let _ = stream.flush().await;
                            futures::future::pending::<()>().await;
                            drop(stream);
                        })),
                        _ => {}
                    },
                    // A second stream of the core's would be read instead of the first.
                    Some(()) = all_written.recv() => if let (false, Some((peer, connection))) = (alone, at) {
                        swarm.behaviour_mut().then.open(peer, connection);
                    },
                    () = over.closed() => return,
                }
            }
        });
        Attacker { key: SecretKey::from_seed([seed; 32]).public(), rid, ended }
    }

    async fn is_disconnected(&mut self) {
        timeout(BOUND, self.ended.recv()).await.expect("in time");
    }
}

/// gossipsub's «here is a message», as bytes on its stream.
fn gossip(data: &[u8]) -> Vec<u8> {
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![tag];
        all.extend(varint(bytes.len()));
        all.extend(bytes);
        all
    }
    let topic = topic_of(&DOMAIN).hash();
    let message = [field(0x12, data), field(0x22, topic.as_str().as_bytes())].concat();
    let rpc = field(0x12, &message);
    [varint(rpc.len()), rpc].concat()
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

#[derive(Debug, PartialEq)]
enum Heard {
    Done,
    Gossip(Vec<u8>),
}

fn heard(from: PublicKey) -> impl Fn(NetEvent) -> Option<Heard> {
    move |event| match event {
        NetEvent::Received { from: who, .. } if who == from => Some(Heard::Done),
        NetEvent::Gossiped { from: who, bytes, .. } if who == from => Some(Heard::Gossip(bytes)),
        _ => None,
    }
}

#[tokio::test]
async fn rule_10_5_what_a_stranger_gossips_is_not_read_until_it_is_a_member() {
    let (network, mut events) = victim().await;
    let attacker = Attacker::on(&network, 66, MESHSUB, gossip(b"early")).await;
    assert_eq!(next(&mut events, heard(attacker.key)).await, Heard::Done);
    network.set_standing(attacker.key, Standing::Member).await;
    assert_eq!(next(&mut events, heard(attacker.key)).await, Heard::Gossip(b"early".to_vec()));
}

#[tokio::test]
async fn a_flood_of_a_strangers_gossip_stops_at_the_stranger() {
    let (network, mut events) = victim().await;
    let flood = gossip(&[7; 512 * 1024]).repeat(64);
    let mut attacker = Attacker::on(&network, 66, MESHSUB, flood).await;
    assert_eq!(next(&mut events, heard(attacker.key)).await, Heard::Done);
    assert_eq!(attacker.rid.recv().await, Some(false), "32 MiB went somewhere");
    network.set_standing(attacker.key, Standing::Gone).await;
    let left = |event| matches!(event, NetEvent::Disconnected(_)).then_some(());
    next(&mut events, left).await;
    assert!(events.0.is_empty());
}

#[tokio::test]
async fn rule_10_4_an_announcement_of_more_than_may_be_sent_ends_the_connection() {
    for (standing, length) in [
        (Standing::Stranger, STRANGER_MESSAGE_BYTES_MAX as u32 + 1),
        (Standing::Stranger, u32::MAX),
        (Standing::Endorser, MESSAGE_BYTES_MAX as u32 + 1),
        (Standing::Endorser, u32::MAX),
    ] {
        let (network, mut events) = victim().await;
        network.set_standing(SecretKey::from_seed([66; 32]).public(), standing).await;
        let mut attacker = Attacker::on(&network, 66, pipe::PROTOCOL, length.to_le_bytes().to_vec()).await;
        let met = |event| matches!(event, NetEvent::Connected(_)).then_some(());
        next(&mut events, met).await;
        attacker.is_disconnected().await;
        let left = |event| matches!(event, NetEvent::Disconnected(_)).then_some(());
        next(&mut events, left).await;
        assert_eq!(network.shared.counters.refused.get(), 1);
    }
}

#[tokio::test]
async fn rule_10_3_a_newer_stream_on_a_connection_replaces_an_older() {
    let (network, mut events) = victim().await;
    let mut swarm = Raw::dialling(&network, 66, pipe::PROTOCOL).await;
    let key = SecretKey::from_seed([66; 32]).public();
    let (mut at, mut older) = (None, None);
    let mut newer = loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                at = Some((peer_id, connection_id));
                swarm.behaviour_mut().first.open(peer_id, connection_id);
            }
            SwarmEvent::Behaviour(RawEvent::First(pipe::Event {
                what: pipe::Report::Opened(mut stream),
                ..
            })) => {
                // A message, and the beginning of another.
                stream.write_all(b"\x04\0\0\0done\x04\0\0\0ha").await.unwrap();
                stream.flush().await.unwrap();
                assert_eq!(next(&mut events, heard(key)).await, Heard::Done);
                older = Some(stream);
                let (peer, connection) = at.expect("it is connected");
                swarm.behaviour_mut().then.open(peer, connection);
            }
            SwarmEvent::Behaviour(RawEvent::Then(pipe::Event {
                what: pipe::Report::Opened(stream), ..
            })) => break stream,
            _ => {}
        }
    };
    newer.write_all(b"\x04\0\0\0done").await.unwrap();
    newer.flush().await.unwrap();
    assert_eq!(next(&mut events, heard(key)).await, Heard::Done);
    // The victim writes nothing there: reading can only end because it has let go of the stream.
    let mut nothing = [0; 1];
    let ended =
        timeout(BOUND, older.expect("it was opened first").read(&mut nothing)).await.expect("in time");
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
}

/// Whoever asks for addresses, and takes the streams that its peers open.
#[derive(NetworkBehaviour)]
struct Asks {
    pipe: pipe::Behaviour,
    addresses: exchange::Behaviour,
}

#[tokio::test]
async fn rule_10_6_a_stranger_is_answered_once_a_second_and_what_it_says_of_itself_is_not_taken() {
    const QUESTIONS: usize = 12;
    let (network, _events) = victim().await;
    let identity = Keypair::ed25519_from_bytes([66; 32]).unwrap();
    let at = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    let own = PeerRecord::new_interop(&identity, at).unwrap().into_signed_envelope();
    let question = exchange::Question { own: Some(own.into_protobuf_encoding()), wants: vec![network.key()] };
    let mut swarm = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Asks {
            pipe: pipe::Behaviour::new(pipe::PROTOCOL),
            addresses: exchange::behaviour(),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(BOUND))
        .build();
    swarm.dial(network.status().await.unwrap().listening[0].clone()).unwrap();
    let (begun, mut asked) = (Instant::now(), 0);
    let (mut answered, mut refused) = (0, 0);
    while answered + refused < QUESTIONS {
        let peer = match timeout(BOUND, swarm.select_next_some()).await.expect("in time") {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => peer_id,
            SwarmEvent::Behaviour(AsksEvent::Addresses(request_response::Event::Message {
                peer, ..
            })) => {
                answered += 1;
                peer
            }
            SwarmEvent::Behaviour(AsksEvent::Addresses(request_response::Event::OutboundFailure {
                peer,
                ..
            })) => {
                refused += 1;
                peer
            }
            _ => continue,
        };
        if asked < QUESTIONS {
            asked += 1;
            swarm.behaviour_mut().addresses.send_request(&peer, question.clone());
        }
    }
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(answered >= 1 && answered <= 1 + seconds, "{answered} answers in {seconds} seconds");
    assert_eq!(network.shared.counters.questions_refused.get(), refused as u64);
    assert_eq!(network.status().await.unwrap().known, 0);
}

#[tokio::test]
async fn noise_on_any_stream_harms_nobody() {
    let (network, mut events) = victim().await;
    let mut chance = rand::rngs::StdRng::seed_from_u64(1);
    for round in 0..24u8 {
        let protocol = [MESHSUB, exchange::PROTOCOL, pipe::PROTOCOL][usize::from(round % 3)].clone();
        let mut bytes = vec![0; 4096];
        chance.fill(&mut bytes[..]);
        if round % 2 == 0 {
            // So that it gets beyond the length that frames begin with.
            bytes.splice(..0, if protocol == MESHSUB { varint(4096) } else { vec![0, 16, 0, 0] });
        }
        let seed = 100 + round;
        let key = SecretKey::from_seed([seed; 32]).public();
        network.set_standing(key, [Standing::Member, Standing::Stranger][usize::from(round / 3 % 2)]).await;
        let _attacker = Attacker::on(&network, seed, protocol, bytes).await;
        let met = |event| matches!(event, NetEvent::Connected(who) if who == key).then_some(());
        next(&mut events, met).await;
    }
    // It still does its work.
    let honest = Attacker::on(&network, 200, MESHSUB, gossip(b"sense")).await;
    network.set_standing(honest.key, Standing::Member).await;
    let mut heard_both =
        [next(&mut events, heard(honest.key)).await, next(&mut events, heard(honest.key)).await];
    heard_both.sort_by_key(|heard| *heard == Heard::Done);
    assert_eq!(heard_both, [Heard::Gossip(b"sense".to_vec()), Heard::Done]);
}
