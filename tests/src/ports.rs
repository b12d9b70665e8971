//! Where real nodes can listen. The tests of `frith-node`, which cannot see this crate, take this file as it is.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address of the loopback interface that nobody listens at. Below the ports that the system hands out by itself, so that it stays free
/// while its node is down.
///
/// # Panics
/// If all are taken.
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 12_000) as u16;
    for _ in 0..12_000 {
        let port = 18_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let at = ("127.0.0.1", port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return format!("/ip4/127.0.0.1/tcp/{port}");
        }
    }
    panic!("no port is free");
}
