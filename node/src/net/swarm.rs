//! The swarm: which behaviours a node has, and over which transports.

use libp2p::identity::Keypair;
use libp2p::metrics::Registry;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Swarm, SwarmBuilder, allow_block_list, connection_limits, identify, mdns, memory_connection_limits,
    noise, ping, tcp, yamux,
};

use super::gate::Gate;
use super::gossip::{self, Gossipsub};
use super::{NetConfig, NetError, exchange, limits, pipe};

/// All that a node does on its connections.
///
/// **Invariant:** whoever may deny a connection comes before whoever records one when it makes a handler (`addresses`, `gossip`): those
/// would never hear of the end of a connection that was denied after them.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) gone: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    limits: connection_limits::Behaviour,
    memory: Toggle<memory_connection_limits::Behaviour>,
    pub(super) pipe: pipe::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) addresses: exchange::Behaviour,
    pub(super) gossip: Gate<Gossipsub>,
}

fn behaviour(config: &NetConfig, key: &Keypair, registry: &mut Registry) -> Result<Behaviour, NetError> {
    let connections = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits::PENDING_CONNECTIONS_MAX))
        .with_max_pending_outgoing(Some(limits::PENDING_CONNECTIONS_MAX))
        .with_max_established(Some(limits::CONNECTIONS_MAX))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER_MAX));
    let identity = identify::Config::new("/frith/1".into(), key.public())
        .with_agent_version(concat!("frith/", env!("CARGO_PKG_VERSION")).into())
        // Where we can be reached is told to members, signed.
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    let ping = ping::Config::new().with_interval(limits::PING_INTERVAL).with_timeout(limits::PING_TIMEOUT);
    let mdns = if config.mdns {
        let mdns = mdns::tokio::Behaviour::new(mdns::Config::default(), key.public().to_peer_id());
        Some(mdns.map_err(|why| NetError::Mdns { why: why.to_string() })?)
    } else {
        None
    };
    Ok(Behaviour {
        gone: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(connections),
        memory: Toggle::from(
            config.memory_bytes_max.map(memory_connection_limits::Behaviour::with_max_bytes),
        ),
        pipe: pipe::Behaviour::new(pipe::PROTOCOL),
        ping: ping::Behaviour::new(ping),
        identify: identify::Behaviour::new(identity),
        mdns: Toggle::from(mdns),
        addresses: exchange::behaviour(),
        gossip: Gate::new(gossip::behaviour(registry)),
    })
}

fn muxer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(limits::STREAMS_MAX);
    config
}

/// A swarm that listens nowhere yet.
pub(super) fn build(
    config: &NetConfig,
    key: Keypair,
    registry: &mut Registry,
) -> Result<Swarm<Behaviour>, NetError> {
    let behaviour = behaviour(config, &key, registry)?;
    let transports = || {
        SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, muxer)
            .map(|builder| {
                builder.with_quic_config(|mut quic| {
                    quic.max_stream_data = limits::QUIC_STREAM_BYTES_MAX;
                    quic.max_connection_data = limits::QUIC_CONNECTION_BYTES_MAX;
                    quic.max_concurrent_stream_limit = limits::STREAMS_MAX as u32;
                    quic
                })
            })
            .map_err(|why| NetError::Transport { why: why.to_string() })
    };
    let tune = |config: libp2p::swarm::Config| {
        config
            .with_idle_connection_timeout(limits::IDLE_TIMEOUT)
            .with_max_negotiating_inbound_streams(limits::NEGOTIATING_STREAMS_MAX)
    };
    Ok(match transports()?.with_dns() {
        Ok(builder) => {
            builder.with_behaviour(|_| behaviour).unwrap_or_else(built).with_swarm_config(tune).build()
        }
        Err(why) => {
            tracing::warn!(%why, "no DNS on this machine: only addresses that are numbers can be dialled");
            transports()?.with_behaviour(|_| behaviour).unwrap_or_else(built).with_swarm_config(tune).build()
        }
    })
}

/// A behaviour that is there already cannot fail to be built.
fn built<T>(never: std::convert::Infallible) -> T {
    match never {}
}
