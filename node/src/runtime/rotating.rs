//! The transport under the next key, once a rotation is final: in the same process, and where it was before.

use std::time::Duration;

use frith_protocol::door::Command;
use frith_protocol::state::{Rotated, Standing};
use frith_protocol::time::Timestamp;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::checks::{self, Incoming};
use super::host::Host;
use super::{INCOMING_MAX, RunError, net_config};
use crate::config::Config;
use crate::control::{Refusal, Reply};
use crate::keys;
use crate::net::{self, NetError, NetEvent, NetEvents, Network};
use crate::rotation;

/// How long the ports of the transport that ended may take to come free.
const PORTS_PATIENCE: Duration = Duration::from_secs(10);
const PORTS_PAUSE: Duration = Duration::from_millis(20);
/// A rotation that is due and cannot be is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(3600);

impl Host {
    /// `frith rotate`: first everything durable, then the core.
    pub(super) fn rotate(&mut self, next_key: Option<&std::path::Path>) -> Reply {
        let refused = |e: keys::KeyError| Refusal::refused(e.to_string());
        self.may_rotate()?;
        let prepared = rotation::prepare(&self.home, next_key).map_err(refused)?;
        let rotation = prepared.rotation;
        self.core().check_rotation(&rotation).map_err(|fault| Refusal::refused(fault.to_string()))?;
        tokio::task::block_in_place(|| rotation::stage(&self.home, &prepared)).map_err(refused)?;
        let (rotation, key) = (Box::new(rotation), Box::new(prepared.key));
        let (sequence, public) = (rotation.sequence, rotation.key);
        self.act(Command::Rotate { rotation, key })?;
        Ok(json!({ "sequence": sequence, "key": public }))
    }

    /// Rotates if that is due by the configuration.
    pub(super) fn rotate_if_due(&mut self, config: &Config, now: Timestamp) {
        let Some(days) = config.rotate_every_days else { return };
        let core = self.core();
        let Some(standing) = core.state().and_then(|state| state.standing(&core.node_id())) else { return };
        let since = standing.rotated.map_or(standing.window.from.day(), |rotated| rotated.day);
        // Not everybody in the same minute.
        let apart_ms = u64::from(core.node_id().0[0]) * 5 * 60 * 1000;
        let today = Timestamp(now.0.saturating_sub(apart_ms)).day();
        let due = today >= since.saturating_add(u64::from(days.get())) && !core.status(now).rotating;
        if !due || self.rotate_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.rotate_at = Some(Instant::now() + TRY_AGAIN);
        match self.rotate(None) {
            Ok(_) => tracing::info!(days, "a rotation was due"),
            Err(refusal) => self.raise(format!("a rotation is due, and cannot be: {refusal}")),
        }
    }
}

/// By which key somebody speaks, and since when, if it was ever rotated.
pub(super) fn key_in_words(standing: &Standing) -> Option<String> {
    let Rotated { height, .. } = standing.rotated?;
    let number = standing.keys.sequence;
    Some(format!(
        "Its key is number {number} since height {height}: the one that it had committed to. Nobody else had to agree."
    ))
}

/// Destroys the old key; then ends the transport, and begins it anew under the key that is in its place now.
pub(super) async fn speak_anew(
    host: &mut Host,
    config: &Config,
) -> Result<Option<(Network, mpsc::Receiver<Incoming>)>, RunError> {
    tokio::task::block_in_place(|| rotation::finish(&host.home))?;
    let identity = keys::load(&host.home)?.identity;
    if host.network.key() == identity.public() {
        // It was final before we started.
        return Ok(None);
    }
    let listening = host.network.status().await.map_or_else(Vec::new, |status| status.listening);
    host.network.shutdown().await;
    let mut net_config = net_config(config, &host.contacts, identity.seed());
    net_config.listen = net_config.listen.iter().map(|address| as_it_was(address, &listening)).collect();
    let (network, events) = start_where_it_was(net_config).await?;
    network.subscribe(host.domain).await;
    // What the old transport still says falls away with its channel: nobody is connected any more.
    let (ready, incoming) = mpsc::channel(INCOMING_MAX);
    checks::start(events, ready.clone());
    let connected: Vec<_> = host.connected.keys().copied().collect();
    for key in connected {
        host.input(Incoming::Net(NetEvent::Disconnected(key)));
    }
    host.network = network.clone();
    host.contacts.forget_kept();
    host.settle().await.map_err(RunError::NotStored)?;
    host.begin(ready).await;
    Ok(Some((network, incoming)))
}

async fn start_where_it_was(config: net::NetConfig) -> Result<(Network, NetEvents), NetError> {
    let deadline = Instant::now() + PORTS_PATIENCE;
    loop {
        match net::start(config.clone()).await {
            Err(NetError::Listen { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PORTS_PAUSE).await;
            }
            started => return started,
        }
    }
}

/// An address to listen on: where that says «any port», the one that was taken then, since that is where others look for us.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "of all that addresses are made of, only ports matter here"
)]
fn as_it_was(address: &Multiaddr, listening: &[Multiaddr]) -> Multiaddr {
    let port = |address: &Multiaddr| {
        address.iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some((true, port)),
            Protocol::Udp(port) => Some((false, port)),
            _ => None,
        })
    };
    let Some((tcp, 0)) = port(address) else { return address.clone() };
    let same_ip = |other: &&Multiaddr| other.iter().next() == address.iter().next();
    let taken = |other: &Multiaddr| port(other).filter(|(of, _)| *of == tcp).map(|(_, port)| port);
    let exact = listening.iter().filter(same_ip).find_map(taken);
    let Some(was) = exact.or_else(|| listening.iter().find_map(taken)) else { return address.clone() };
    let with = |part| match part {
        Protocol::Tcp(0) => Protocol::Tcp(was),
        Protocol::Udp(0) => Protocol::Udp(was),
        other => other,
    };
    address.iter().map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_taken_is_taken_again() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Multiaddr>>();
        let listening =
            all(&["/ip4/192.0.2.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/udp/4002/quic-v1"]);
        let asked = all(&[
            "/ip4/0.0.0.0/tcp/0",
            "/ip4/127.0.0.1/udp/0/quic-v1",
            "/ip4/0.0.0.0/tcp/5747",
            "/ip6/::/udp/0",
        ]);
        let taken = all(&[
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/127.0.0.1/udp/4002/quic-v1",
            "/ip4/0.0.0.0/tcp/5747",
            "/ip6/::/udp/4002",
        ]);
        let as_they_were: Vec<Multiaddr> =
            asked.iter().map(|address| as_it_was(address, &listening)).collect();
        assert_eq!(as_they_were, taken);
        assert_eq!(as_it_was(&asked[0], &[]), asked[0]);
    }
}
