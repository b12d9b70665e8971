//! The simulator models the node's gossip, and not gossip of its own.

use frith_node::net::gossip;
use frith_simulator::gossip::GossipRules;

#[test]
fn the_simulated_overlay_has_the_parameters_of_the_nodes() {
    let nodes = GossipRules {
        mesh: gossip::MESH,
        mesh_low: gossip::MESH_LOW,
        mesh_high: gossip::MESH_HIGH,
        lazy: gossip::LAZY,
        heartbeat_us: u64::try_from(gossip::HEARTBEAT.as_micros()).unwrap(),
        told_for: gossip::TOLD_FOR as u64,
        remembered_us: u64::try_from(gossip::REMEMBERED.as_micros()).unwrap(),
        flood_publish: false,
    };
    assert_eq!(GossipRules::default(), nodes);
}
