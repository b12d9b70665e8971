//! Addresses as operators write them: what can be one, and what nobody could reach.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::net::is_dialled;

/// An address to listen at.
///
/// # Errors
/// What an address looks like.
pub fn parse(text: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|why| {
        format!(
            "{why}; an address is written like /ip4/192.0.2.1/udp/5747/quic-v1 or /dns/a.example/tcp/5747"
        )
    })
}

/// An address at which somebody is reached.
///
/// # Errors
/// Why nobody could be.
pub fn parse_dialable(text: &str) -> Result<Multiaddr, String> {
    let address = parse(text)?;
    check_dialable(&address)?;
    Ok(address)
}

/// Refuses an address that no node dials.
///
/// # Errors
/// Why not, and what one looks like.
pub fn check_dialable(address: &Multiaddr) -> Result<(), String> {
    if is_dialled(address) {
        return Ok(());
    }
    Err(format!(
        "nobody can dial {address}: an address is a host and a port of TCP or QUIC, as in /ip4/192.0.2.1/udp/5747/quic-v1 or \
         /dns/a.example/tcp/5747"
    ))
}

/// How nodes talk to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Quic,
}

/// The transport and port in an address. `None` if there is neither TCP nor QUIC in it.
fn port_of(address: &Multiaddr) -> Option<(Transport, u16)> {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    parts.iter().enumerate().find_map(|(nth, part)| match (part, parts.get(nth + 1)) {
        (Protocol::Tcp(port), None) => Some((Transport::Tcp, *port)),
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => Some((Transport::Quic, *port)),
        _ => None,
    })
}

/// Those of the `announced` addresses to whose port this node does not listen by itself: unless something forwards them, nobody reaches it
/// there.
pub fn unheard<'a>(announced: &'a [Multiaddr], listen: &[Multiaddr]) -> Vec<&'a Multiaddr> {
    let ports: Vec<(Transport, u16)> = listen.iter().filter_map(port_of).collect();
    // Port 0 is any free one: which, nobody knows yet.
    let is_heard = |(transport, port): (Transport, u16)| {
        ports.iter().any(|(one, at)| *one == transport && (*at == port || *at == 0))
    };
    announced.iter().filter(|address| port_of(address).is_some_and(|at| !is_heard(at))).collect()
}

/// What whoever announces `unheard` addresses should know.
pub fn warning(unheard: &[&Multiaddr]) -> Option<String> {
    let list: Vec<String> = unheard.iter().map(ToString::to_string).collect();
    (!list.is_empty()).then(|| {
        format!(
            "this node listens at no such port as others are told to reach it at: {}; unless something forwards it, set `listen` in \
             frith.toml, or say --listen",
            list.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn only_a_host_with_a_port_of_tcp_or_quic_can_be_dialled() {
        for good in [
            "/ip4/192.0.2.1/udp/5747/quic-v1",
            "/ip6/::1/tcp/1",
            "/dns4/a.example/tcp/5747",
            "/dns/a.example/udp/5747/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
        ] {
            parse_dialable(good).unwrap();
        }
        for bad in [
            "/ip4/192.0.2.1/udp/5747",
            "/ip4/192.0.2.1",
            "/ip4/0.0.0.0/tcp/5747",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/udp/5747/quic",
            "/tcp/5747",
        ] {
            let why = parse_dialable(bad).expect_err(bad);
            assert!(why.contains("as in /ip4/192.0.2.1/udp/5747/quic-v1"), "{why}");
        }
        assert!(parse("192.0.2.1:5747").unwrap_err().contains("like /ip4/192.0.2.1/udp/5747/quic-v1"));
    }

    #[test]
    fn an_address_at_whose_port_nobody_listens_is_noticed() {
        let listen = all(&["/ip4/0.0.0.0/udp/5747/quic-v1", "/ip4/0.0.0.0/tcp/5748"]);
        let heard = all(&["/ip4/192.0.2.1/udp/5747/quic-v1", "/dns/a.example/tcp/5748"]);
        assert!(unheard(&heard, &listen).is_empty());
        let not = all(&["/ip4/192.0.2.1/udp/5748/quic-v1", "/ip4/192.0.2.1/tcp/5747"]);
        assert_eq!(unheard(&not, &listen).len(), 2);
        let any = all(&["/ip4/0.0.0.0/tcp/0"]);
        assert_eq!(unheard(&not, &any), [&not[0]]);
    }
}
