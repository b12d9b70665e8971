//! What the host must be told and may be slow to take: who is connected, and what changed.
//!
//! These are facts, not a log: while the host does not look, a peer that comes and goes a thousand times is one entry, or none. So a
//! slow host costs a bounded amount of memory, and the driver never waits for it.

use std::collections::{BTreeSet, VecDeque};

use frith_protocol::identity::PublicKey;
use libp2p::Multiaddr;

/// One thing to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Connected(PublicKey),
    Disconnected(PublicKey),
    Listening(Multiaddr),
    Addresses(PublicKey),
}

/// What has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// Peers of whom the host was last told that they are connected.
    told: BTreeSet<PublicKey>,
    /// Of these, who was gone for a moment at least.
    left: BTreeSet<PublicKey>,
    /// Connected, and the host does not know.
    arrived: BTreeSet<PublicKey>,
    listening: VecDeque<Multiaddr>,
    addresses: BTreeSet<PublicKey>,
}

impl Notices {
    pub(super) fn connected(&mut self, key: PublicKey) {
        self.arrived.insert(key);
    }

    pub(super) fn disconnected(&mut self, key: PublicKey) {
        self.arrived.remove(&key);
        if self.told.contains(&key) {
            self.left.insert(key);
        }
    }

    /// Addresses are our own interfaces', so there are few.
    pub(super) fn listening(&mut self, address: Multiaddr) {
        self.listening.push_back(address);
    }

    /// There is a new address record of a peer.
    pub(super) fn addresses(&mut self, of: PublicKey) {
        self.addresses.insert(of);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
            && self.arrived.is_empty()
            && self.listening.is_empty()
            && self.addresses.is_empty()
    }

    /// The next thing to tell: departures first, so that whoever returned is seen to have been away.
    pub(super) fn next(&mut self) -> Option<Notice> {
        if let Some(key) = self.left.pop_first() {
            self.told.remove(&key);
            return Some(Notice::Disconnected(key));
        }
        if let Some(key) = self.arrived.pop_first() {
            self.told.insert(key);
            return Some(Notice::Connected(key));
        }
        if let Some(address) = self.listening.pop_front() {
            return Some(Notice::Listening(address));
        }
        self.addresses.pop_first().map(Notice::Addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);

    fn drain(notices: &mut Notices) -> Vec<Notice> {
        std::iter::from_fn(|| notices.next()).collect()
    }

    #[test]
    fn a_peer_that_was_away_while_nobody_looked_is_told_to_have_left_and_come() {
        let mut notices = Notices::default();
        notices.connected(A);
        assert_eq!(drain(&mut notices), [Notice::Connected(A)]);
        for _ in 0..3 {
            notices.disconnected(A);
            notices.connected(A);
        }
        assert_eq!(drain(&mut notices), [Notice::Disconnected(A), Notice::Connected(A)]);
        assert!(notices.is_empty());
    }

    #[test]
    fn a_peer_that_came_and_went_while_nobody_looked_is_not_mentioned() {
        let mut notices = Notices::default();
        notices.connected(A);
        notices.disconnected(A);
        assert!(notices.is_empty());
        assert_eq!(drain(&mut notices), []);
    }
}
