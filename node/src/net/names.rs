//! How the core's names and libp2p's stand for one another: keys and peer ids, domains and topics, and which addresses we dial.

use std::net::{IpAddr, Ipv6Addr};

use frith_protocol::identity::PublicKey;
use frith_protocol::limits::ADDRESS_BYTES_MAX;
use frith_protocol::state::DomainId;
use libp2p::gossipsub::{IdentTopic, TopicHash};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, identity};

const TOPIC_PREFIX: &str = "frith/1/";

/// The peer id of a key. `None` if it is no key at all.
pub(super) fn peer_id_of(key: &PublicKey) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The key that a peer id names. `None` for other kinds of keys, and for keys that may not be introduced (SPEC 1.6): with some points
/// of small order, one fixed signature would pass libp2p's handshake for everybody.
pub(super) fn key_of(peer: &PeerId) -> Option<PublicKey> {
    // An Ed25519 key is short enough that its peer id is the key itself, under the identity "hash".
    let hash: &libp2p::multihash::Multihash<64> = peer.as_ref();
    if hash.code() != 0 {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?.try_into_ed25519().ok()?;
    let key = PublicKey(key.to_bytes());
    key.check().ok()?;
    Some(key)
}

/// The gossip topic of a domain.
pub(super) fn topic_of(domain: &DomainId) -> IdentTopic {
    IdentTopic::new(format!("{TOPIC_PREFIX}{domain}"))
}

/// The domain of a gossip topic.
pub(super) fn domain_of(topic: &TopicHash) -> Option<DomainId> {
    let hex = topic.as_str().strip_prefix(TOPIC_PREFIX)?;
    let domain: DomainId = hex.parse().ok()?;
    // One domain has one topic: upper-case hex would be another.
    (topic_of(&domain).hash() == *topic).then_some(domain)
}

/// The address without the peer that is expected there, and that peer.
pub(super) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (address, Some(peer))
        }
        Some(_) | None => (address, None),
    }
}

/// Whether this is an address that we would dial because somebody told us: a host, and TCP or QUIC. Names that resolve to further
/// addresses, relays and other transports are left out.
pub(super) fn dialable(address: &Multiaddr) -> bool {
    if address.len() > ADDRESS_BYTES_MAX {
        return false;
    }
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        Some(_) | None => false,
    };
    let transport = match (parts.next(), parts.next()) {
        (Some(Protocol::Tcp(port)), None) => port != 0,
        (Some(Protocol::Udp(port)), Some(Protocol::QuicV1)) => port != 0,
        _ => false,
    };
    host && transport && parts.next().is_none()
}

/// The network address in `address`.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(IpAddr::V4(ip)),
        Some(Protocol::Ip6(ip)) => Some(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)),
        Some(_) | None => None,
    }
}

/// Whose an address is, as far as one can tell: an IPv6 /64 is one site's.
pub(super) fn site_of(address: &Multiaddr) -> Option<IpAddr> {
    match ip_of(address)? {
        IpAddr::V4(ip) => Some(IpAddr::V4(ip)),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Some(if ip.is_loopback() {
                IpAddr::V6(ip)
            } else {
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            })
        }
    }
}

/// Whether only this machine can dial it.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    ip_of(address).is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use frith_protocol::identity::SecretKey;

    use super::*;

    #[test]
    fn rule_10_1_a_key_and_its_peer_id_name_one_another() {
        let key = SecretKey::from_seed([7; 32]).public();
        assert_eq!(peer_id_of(&key).as_ref().and_then(key_of), Some(key));
    }

    #[test]
    fn rule_1_6_a_peer_whose_key_is_of_small_order_has_no_name() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        let peer = peer_id_of(&PublicKey(identity_point)).expect("libp2p takes it for a key");
        assert_eq!(key_of(&peer), None);
    }

    #[test]
    fn rule_10_5_a_topic_and_its_domain_name_one_another() {
        let domain = DomainId([0xab; 32]);
        let topic = topic_of(&domain).hash();
        assert_eq!(topic.as_str(), format!("frith/1/{}", "ab".repeat(32)));
        assert_eq!(domain_of(&topic), Some(domain));
        assert_eq!(domain_of(&TopicHash::from_raw(topic.as_str().to_uppercase())), None);
        assert_eq!(domain_of(&TopicHash::from_raw(format!("frith/1/{}", "AB".repeat(32)))), None);
    }

    #[test]
    fn only_hosts_with_tcp_or_quic_are_dialled() {
        let yes =
            ["/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/udp/4001/quic-v1", "/dns4/host.example/tcp/1"];
        let no = [
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/224.0.0.1/udp/4001/quic-v1",
            "/ip4/192.0.2.1/udp/4001",
            "/ip4/192.0.2.1/tcp/4001/ws",
            "/dnsaddr/host.example",
            "/memory/1",
        ];
        for address in yes {
            assert!(dialable(&address.parse().unwrap()), "{address}");
        }
        for address in no {
            assert!(!dialable(&address.parse().unwrap()), "{address}");
        }
    }
}
