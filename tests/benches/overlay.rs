//! The simulator's gossip overlay beside the real one: how many copies of a message a node gets, and how many it publishes for.
//!
//! Real transports on loopback, each connected to each, all members; then as many simulated nodes with the same parameters. What is
//! compared is what does not depend on how fast this machine is. `cargo bench -p frith-tests --bench overlay`.

use std::time::Duration;

use frith_node::net::{NetConfig, NetEvent, NetEvents, Network, Verdict, gossip, start};
use frith_protocol::door::Standing;
use frith_protocol::state::DomainId;
use frith_simulator::engine::{
    Actions, Actor, DiskRules, Input, Instant, LinkRules, Millis, NodeIndex, NodeRules, Parcel, Simulation,
    Store, Verdict as Simulated,
};
use frith_simulator::gossip::GossipRules;

const NODES: usize = 40;
const MESSAGES: usize = 50;
const DOMAIN: DomainId = DomainId([0xd0; 32]);
/// Between two messages: nothing of the one is under way any more when the next is published.
const PAUSE: Duration = Duration::from_millis(200);
/// How long gossipsub gets to form its mesh: a few of its heartbeats.
const FORMING: Duration = Duration::from_secs(8);
/// How long anything may take before this bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const MESH_LINKS: &str = "gossipsub_mesh_peer_counts";
const COPIES: &str = "gossipsub_topic_msg_recv_counts_unfiltered_total";

fn main() {
    println!("{NODES} nodes, each connected to each, {MESSAGES} messages\n");
    println!("| | mesh links of a node | copies that a node gets of a message |\n|---|---|---|");
    for bytes in [600, 6_000] {
        let (links, copies) = real(bytes);
        println!("| gossipsub, messages of {bytes} bytes | {links:.1} | {copies:.2} |");
    }
    let (links, copies) = simulated();
    println!("| simulated, whatever their length | {links:.1} | {copies:.2} |");
}

// ---- real ----

#[tokio::main]
async fn real(bytes: usize) -> (f64, f64) {
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let mut config = NetConfig::new([number as u8 + 1; 32]);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        let (network, events) = start(config).await.expect("a transport starts");
        network.subscribe(DOMAIN).await;
        tokio::spawn(accept_everything(network.clone(), events));
        nodes.push(network);
    }
    for one in &nodes {
        for other in &nodes {
            one.set_standing(other.key(), Standing::Member).await;
        }
    }
    // One comes after the other, as newcomers do.
    let mut addresses = Vec::new();
    for one in &nodes {
        for address in &addresses {
            one.dial(Clone::clone(address)).await.expect("loopback answers");
        }
        addresses.push(one.status().await.expect("it runs").listening[0].clone());
    }
    until(|| nodes.iter().all(|node| of_one(node, MESH_LINKS) >= gossip::MESH_LOW as f64)).await;
    tokio::time::sleep(FORMING).await;
    let before = count(&nodes, COPIES);
    for number in 0..MESSAGES {
        let mut message = vec![0; bytes];
        message[..8].copy_from_slice(&(number as u64).to_le_bytes());
        nodes[number % NODES].publish(DOMAIN, message).await.expect("it is short");
        let all = ((number + 1) * (NODES - 1)) as f64;
        until(|| count(&nodes, "frith_net_gossiped_total") >= all).await;
        // The last copies are under way still.
        tokio::time::sleep(PAUSE).await;
    }
    let copies = count(&nodes, COPIES) - before;
    let links = count(&nodes, MESH_LINKS);
    for node in &nodes {
        node.shutdown().await;
    }
    (links / NODES as f64, copies / (MESSAGES * (NODES - 1)) as f64)
}

async fn accept_everything(network: Network, mut events: NetEvents) {
    while let Some(event) = events.recv().await {
        if let NetEvent::Gossiped { token, .. } = event {
            network.verdict(token, Verdict::Accept).await;
        }
    }
}

async fn until(holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "the mesh does not come to rest");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The sum of a counter over all nodes.
fn count(nodes: &[Network], name: &str) -> f64 {
    nodes.iter().map(|node| of_one(node, name)).sum()
}

fn of_one(node: &Network, name: &str) -> f64 {
    let text = node.metrics();
    let values = text.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

// ---- simulated ----

#[derive(Clone)]
struct Number(u64);

impl Parcel for Number {
    fn bytes(&self) -> u64 {
        600
    }
    fn content(&self) -> u128 {
        u128::from(self.0)
    }
}

/// Publishes what it is told to, accepts everything.
struct Plain;

impl Actor for Plain {
    type Shared = ();
    type Message = Number;
    type Command = Number;
    type Told = ();

    fn start((): &mut (), _: NodeIndex, _: Store<'_>, _: Millis) -> Result<Plain, String> {
        Ok(Plain)
    }

    fn handle(
        &mut self,
        (): &mut (),
        _: Millis,
        input: Input<Number, Number>,
        actions: &mut Actions<Plain>,
    ) -> Simulated {
        if let Input::Command(number) = input {
            actions.publishes.push(number);
        }
        Simulated::Accept
    }

    fn next_deadline(&self) -> Option<Millis> {
        None
    }
}

fn simulated() -> (f64, f64) {
    // One delay for all, as on loopback.
    let links = LinkRules { latency_min_us: 1_000, latency_max_us: 1_000, ..LinkRules::default() };
    let mut world: Simulation<Plain> =
        Simulation::new((), links, DiskRules::default(), 1, 0).with_gossip(GossipRules::default(), 1, 0);
    let nodes: Vec<NodeIndex> = (0..NODES).map(|_| world.add_node(NodeRules::default())).collect();
    for node in &nodes {
        world.start_now(*node).expect("it starts");
    }
    for one in &nodes {
        for other in nodes.iter().filter(|other| *other < one) {
            world.connect_now(*one, *other);
        }
        world.subscribe(*one);
    }
    let run_until = |world: &mut Simulation<Plain>, end: Instant| {
        while world.next_time().is_some_and(|at| at <= end) {
            world.step();
        }
    };
    let (pause_us, mut end) = (PAUSE.as_micros() as u64, Instant(FORMING.as_micros() as u64));
    run_until(&mut world, end);
    let before = world.counters().deliveries;
    for number in 0..MESSAGES {
        world.command(nodes[number % NODES], 0, Number(number as u64));
        end = end.plus_us(pause_us);
        run_until(&mut world, end);
    }
    let copies = world.counters().deliveries - before;
    let links: usize = nodes.iter().map(|node| world.mesh(*node).len()).sum();
    (links as f64 / NODES as f64, copies as f64 / (MESSAGES * (NODES - 1)) as f64)
}
