//! Where peers may be reached: signed address records, and hints that nobody signed.
//!
//! A record is libp2p's signed peer record: a peer's addresses under its own key, with a number that is the time of its signing. Since
//! nobody can forge one, anybody may hand one on; since a newer one replaces an older, a peer that moves is found again through
//! whichever member it still reaches.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use frith_protocol::identity::PublicKey;
use frith_protocol::limits::ADDRESSES_MAX;
use libp2p::Multiaddr;
use libp2p::core::{PeerRecord, SignedEnvelope};
use rand::RngExt as _;

use super::limits;
use super::names::{dialable, key_of};

/// Why a record is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Too long.
    #[error("an address record of {bytes} bytes; at most {} are allowed", limits::RECORD_BYTES_MAX)]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Not a record, or its signature does not hold.
    #[error("not a signed address record: {0}")]
    Invalid(String),
    /// Too many addresses.
    #[error("{count} addresses in one record; at most {ADDRESSES_MAX} are allowed")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Its number is a time in the future.
    #[error("an address record from {ahead_s} s ahead of this clock: one of the two clocks is wrong")]
    FromTheFuture {
        /// By how much.
        ahead_s: u64,
    },
    /// Another one, as new or newer, is here already.
    #[error("an address record number {theirs}, and number {known} is known")]
    Old {
        /// Its number.
        theirs: u64,
        /// The number of the one that is known.
        known: u64,
    },
    /// There is no room for another peer.
    #[error("the address book is full")]
    Full,
}

/// A record that holds.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) of: PublicKey,
    pub(super) number: u64,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) bytes: Vec<u8>,
}

impl Record {
    /// Reads a record and checks everything about it that needs nothing else.
    pub(super) fn open(bytes: &[u8], now_s: u64) -> Result<Record, RecordFault> {
        if bytes.len() > limits::RECORD_BYTES_MAX {
            return Err(RecordFault::TooLong { bytes: bytes.len() });
        }
        let invalid = |e: &dyn std::fmt::Display| RecordFault::Invalid(e.to_string());
        let envelope = SignedEnvelope::from_protobuf_encoding(bytes).map_err(|e| invalid(&e))?;
        let record = PeerRecord::from_signed_envelope_interop(envelope).map_err(|e| invalid(&e))?;
        let of =
            key_of(&record.peer_id()).ok_or_else(|| invalid(&"its signer has no key that may be used"))?;
        if record.addresses().len() > ADDRESSES_MAX {
            return Err(RecordFault::TooMany { count: record.addresses().len() });
        }
        let ahead_s = record.seq().saturating_sub(now_s);
        if ahead_s > limits::RECORD_AHEAD_MAX_S {
            return Err(RecordFault::FromTheFuture { ahead_s });
        }
        let addresses = record.addresses().iter().filter(|address| dialable(address)).cloned().collect();
        Ok(Record { of, number: record.seq(), addresses, bytes: bytes.to_vec() })
    }
}

/// When to try again: later after each failure, and never all at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    failures: u32,
    pub(super) due: Instant,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(250);
    const LAST: Duration = Duration::from_secs(60);

    pub(super) fn new(now: Instant) -> Backoff {
        Backoff { failures: 0, due: now }
    }

    /// One more failure.
    pub(super) fn failed(&mut self, now: Instant) {
        let full = Self::FIRST.saturating_mul(1 << self.failures.min(16)).min(Self::LAST);
        self.failures = self.failures.saturating_add(1);
        // Half of it is chance, so that peers that failed together do not return together.
        self.due = now + full.mul_f64(rand::rng().random_range(0.5..=1.0));
    }

    /// A success, or a reason to hope: try at once.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Backoff::new(now);
    }
}

#[derive(Debug)]
struct Page {
    record: Option<Record>,
    hints: Vec<Multiaddr>,
    backoff: Backoff,
    used: u64,
}

/// All that is known of where peers may be reached.
#[derive(Debug, Default)]
pub(super) struct Book {
    pages: HashMap<PublicKey, Page>,
    /// Which page was touched when, the longest ago first.
    order: BTreeMap<u64, PublicKey>,
    clock: u64,
}

impl Book {
    /// Takes a record over if it is newer than what is known of its peer.
    pub(super) fn take(
        &mut self,
        record: Record,
        keep: impl Fn(&PublicKey) -> bool,
    ) -> Result<(), RecordFault> {
        if let Some(known) = self.pages.get(&record.of).and_then(|page| page.record.as_ref())
            && known.number >= record.number
        {
            return Err(RecordFault::Old { theirs: record.number, known: known.number });
        }
        let page = self.page(record.of, keep).ok_or(RecordFault::Full)?;
        page.backoff.reset(Instant::now());
        page.record = Some(record);
        Ok(())
    }

    /// Adds addresses that nobody signed. The newest come first, and push out the oldest.
    pub(super) fn hint(
        &mut self,
        of: PublicKey,
        addresses: impl IntoIterator<Item = Multiaddr>,
        keep: impl Fn(&PublicKey) -> bool,
    ) {
        let Some(page) = self.page(of, keep) else { return };
        for address in addresses.into_iter().filter(dialable) {
            page.hints.retain(|known| *known != address);
            page.hints.insert(0, address);
            page.hints.truncate(ADDRESSES_MAX);
        }
    }

    /// Where the peer may be reached; signed addresses first.
    pub(super) fn addresses(&self, of: &PublicKey) -> Vec<Multiaddr> {
        let Some(page) = self.pages.get(of) else { return Vec::new() };
        let mut all: Vec<Multiaddr> = page.record.iter().flat_map(|r| r.addresses.iter().cloned()).collect();
        for hint in &page.hints {
            if !all.contains(hint) {
                all.push(hint.clone());
            }
        }
        all
    }

    /// The signed record of a peer.
    pub(super) fn record(&self, of: &PublicKey) -> Option<&Record> {
        self.pages.get(of)?.record.as_ref()
    }

    /// Every peer of whom there is a signed record.
    pub(super) fn recorded(&self) -> impl Iterator<Item = &Record> {
        self.pages.values().filter_map(|page| page.record.as_ref())
    }

    /// When to dial the peer next. `None`: nothing is known of it.
    pub(super) fn backoff(&mut self, of: &PublicKey) -> Option<&mut Backoff> {
        Some(&mut self.pages.get_mut(of)?.backoff)
    }

    /// Forgets a peer.
    pub(super) fn forget(&mut self, of: &PublicKey) {
        if let Some(page) = self.pages.remove(of) {
            self.order.remove(&page.used);
        }
    }

    /// How many peers it knows.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// The page of a peer, touched; a new one takes the place of the one not touched for longest that need not be kept.
    fn page(&mut self, of: PublicKey, keep: impl Fn(&PublicKey) -> bool) -> Option<&mut Page> {
        if !self.pages.contains_key(&of) && self.pages.len() >= limits::BOOK_PEERS_MAX {
            let victim = *self.order.values().find(|key| !keep(key))?;
            self.forget(&victim);
        }
        self.clock += 1;
        let page = self.pages.entry(of).or_insert_with(|| Page {
            record: None,
            hints: Vec::new(),
            backoff: Backoff::new(Instant::now()),
            used: 0,
        });
        self.order.remove(&page.used);
        page.used = self.clock;
        self.order.insert(page.used, of);
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    fn signed(seed: u8, addresses: &[&str]) -> Vec<u8> {
        let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        PeerRecord::new_interop(&key, addresses).unwrap().into_signed_envelope().into_protobuf_encoding()
    }

    fn numbered(seed: u8, number: u64) -> Record {
        let mut record = Record::open(&signed(seed, &["/ip4/192.0.2.1/tcp/1"]), u64::MAX).unwrap();
        record.number = number;
        record
    }

    #[test]
    fn rule_10_6_a_record_with_any_bit_flipped_is_refused() {
        let bytes = signed(1, &["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/udp/1/quic-v1"]);
        let good = Record::open(&bytes, u64::MAX).unwrap();
        assert_eq!(good.addresses.len(), 2);
        for i in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[i / 8] ^= 1 << (i % 8);
            assert!(Record::open(&flipped, u64::MAX).is_err(), "bit {i}");
        }
        for len in 0..bytes.len() {
            assert!(Record::open(&bytes[..len], u64::MAX).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn rule_10_6_a_record_beyond_the_bounds_is_refused() {
        let many: Vec<String> =
            (0..=ADDRESSES_MAX).map(|i| format!("/ip4/192.0.2.1/tcp/{}", i + 1)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let refused = Record::open(&signed(1, &many), u64::MAX).unwrap_err();
        assert_eq!(refused, RecordFault::TooMany { count: ADDRESSES_MAX + 1 });
        let bytes = limits::RECORD_BYTES_MAX + 1;
        assert_eq!(Record::open(&vec![0; bytes], 0).unwrap_err(), RecordFault::TooLong { bytes });
        let good = Record::open(&signed(1, &[]), u64::MAX).unwrap();
        let now_s = good.number - limits::RECORD_AHEAD_MAX_S;
        assert!(Record::open(&good.bytes, now_s).is_ok());
        let ahead_s = limits::RECORD_AHEAD_MAX_S + 1;
        assert_eq!(Record::open(&good.bytes, now_s - 1).unwrap_err(), RecordFault::FromTheFuture { ahead_s });
    }

    #[test]
    fn rule_10_6_the_number_of_a_record_only_moves_forward() {
        let mut book = Book::default();
        assert_eq!(book.take(numbered(1, 5), |_| true), Ok(()));
        for theirs in [4, 5] {
            let old = RecordFault::Old { theirs, known: 5 };
            assert_eq!(book.take(numbered(1, theirs), |_| true), Err(old));
        }
        assert_eq!(book.take(numbered(1, 6), |_| true), Ok(()));
        assert_eq!(book.record(&numbered(1, 6).of).map(|record| record.number), Some(6));
    }

    #[test]
    fn a_full_book_gives_up_the_page_not_touched_for_longest_and_keeps_whom_it_must() {
        let mut book = Book::default();
        let key = |i: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(i as u64).to_le_bytes());
            PublicKey(bytes)
        };
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        for i in 0..limits::BOOK_PEERS_MAX {
            book.hint(key(i), [address.clone()], |_| false);
        }
        book.hint(key(limits::BOOK_PEERS_MAX), [address.clone()], |kept| *kept == key(0));
        assert_eq!(book.len(), limits::BOOK_PEERS_MAX);
        assert!(!book.addresses(&key(0)).is_empty(), "it had to be kept");
        assert!(book.addresses(&key(1)).is_empty(), "it was touched longest ago");
        book.hint(key(limits::BOOK_PEERS_MAX + 1), [address], |_| true);
        assert_eq!(book.len(), limits::BOOK_PEERS_MAX);
    }

    #[test]
    fn hints_are_bounded_and_the_newest_come_first() {
        let mut book = Book::default();
        let of = PublicKey([1; 32]);
        let hint = |i: usize| -> Multiaddr { format!("/ip4/192.0.2.1/tcp/{i}").parse().unwrap() };
        book.hint(of, (1..=ADDRESSES_MAX + 3).map(hint), |_| false);
        let known = book.addresses(&of);
        assert_eq!(known.len(), ADDRESSES_MAX);
        assert_eq!(known[0], hint(ADDRESSES_MAX + 3));
    }

    #[test]
    fn backoff_grows_to_its_bound_and_starts_anew() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        let mut before = Duration::ZERO;
        for _ in 0..40 {
            backoff.failed(now);
            let wait = backoff.due - now;
            assert!(wait <= Backoff::LAST && wait >= (before / 2).min(Backoff::LAST / 2), "{wait:?}");
            before = wait;
        }
        assert!(before >= Backoff::LAST / 2);
        backoff.reset(now);
        assert_eq!(backoff.due, now);
    }
}
