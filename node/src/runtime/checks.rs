//! Decoding and signature checks, beside the core's task: the costly part of every message, and pure.
//!
//! Whose turn it is follows from how much time each peer has had ([`Lines`]): a peer that sends what is dear to check waits for itself
//! alone. How much may wait is bounded by the transport: every message carries the claim on its sender's room until the core has dealt
//! with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use frith_protocol::door::{Message, open_envelope};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{PublicKey, Verified, verify};
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::DomainId;
use tokio::sync::mpsc;

use crate::founding::signature_check;
use crate::net::{Claim, GossipToken, NetEvent, NetEvents};

/// More than this many cores are not worth a worker each: the core itself is one task.
const WORKERS_MAX: usize = 4;
/// Peers whose time is remembered while nothing of theirs waits.
const REMEMBERED_MAX: usize = 4096;

/// What the transport said, ready for the core.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message, checked or found wanting.
    Message {
        from: PublicKey,
        what: Result<(DomainId, Arc<Verified<Message>>), Fault>,
        /// If it came by gossip, and waits for a verdict.
        gossip: Option<GossipToken>,
        /// Dropped with the rest when the core has dealt with it.
        claim: Claim,
    },
    /// Everything else that the transport says, as it was.
    Net(NetEvent),
    /// Somebody answered at an address that we only had a hint of.
    Answered(PublicKey),
}

struct Unchecked {
    from: PublicKey,
    bytes: Vec<u8>,
    gossip: Option<GossipToken>,
    claim: Claim,
}

/// Starts the workers and the task that hands them what the transport receives. It ends when either end is closed.
pub(super) fn start(mut events: NetEvents, ready: mpsc::Sender<Incoming>) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let queue = Arc::new(Queue::default());
    for _ in 0..cores.min(WORKERS_MAX) {
        let (queue, ready) = (Arc::clone(&queue), ready.clone());
        std::thread::spawn(move || work(&queue, &ready));
    }
    tokio::spawn(async move {
        while let Some((event, claim)) = events.recv_claimed().await {
            let (from, bytes, gossip) = match event {
                NetEvent::Received { from, bytes } => (from, bytes, None),
                NetEvent::Gossiped { from, domain: _, bytes, token } => (from, bytes, Some(token)),
                other @ (NetEvent::Connected(_)
                | NetEvent::Disconnected(_)
                | NetEvent::Listening(_)
                | NetEvent::Addresses { .. }) => {
                    if ready.send(Incoming::Net(other)).await.is_err() {
                        break;
                    }
                    continue;
                }
            };
            queue.lines().push(from, Unchecked { from, bytes, gossip, claim });
            queue.changed.notify_one();
        }
        queue.lines().closed = true;
        queue.changed.notify_all();
    });
}

/// What waits for the workers.
#[derive(Default)]
struct Queue {
    lines: Mutex<Lines<Unchecked>>,
    changed: Condvar,
}

impl Queue {
    fn lines(&self) -> MutexGuard<'_, Lines<Unchecked>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message; none once the transport has ended. Blocks.
    fn next(&self) -> Option<Unchecked> {
        let idle = |lines: &mut Lines<Unchecked>| lines.turns.is_empty() && !lines.closed;
        let waited = self.changed.wait_while(self.lines(), idle);
        waited.unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn work(queue: &Queue, ready: &mpsc::Sender<Incoming>) {
    while let Some(Unchecked { from, bytes, gossip, claim }) = queue.next() {
        let begun = Instant::now();
        let what = check(&bytes);
        let spent = begun.elapsed();
        drop(bytes);
        if ready.blocking_send(Incoming::Message { from, what, gossip, claim }).is_err() {
            return;
        }
        // Only now: a peer's messages stay in order.
        queue.lines().done(from, spent);
        queue.changed.notify_one();
    }
}

fn check(bytes: &[u8]) -> Result<(DomainId, Arc<Verified<Message>>), Fault> {
    let (domain, message) = open_envelope(bytes, MESSAGE_BYTES_MAX)?;
    Ok((domain, Arc::new(verify(message, &signature_check())?)))
}

/// One line of messages for each peer; the turn is the peer's that has had the least time (start-time fair queueing: Goyal, Vin and
/// Cheng, 1996). Whoever was idle comes in at the time of those who were not, and has saved up nothing.
struct Lines<T> {
    /// What waits, of each peer of which something waits or is being checked.
    lines: BTreeMap<PublicKey, VecDeque<T>>,
    /// Those of which something waits and nothing is being checked, by the time that they have had.
    turns: BTreeSet<(Duration, PublicKey)>,
    had: BTreeMap<PublicKey, Duration>,
    /// What the last whose turn came had had.
    floor: Duration,
    closed: bool,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Lines {
            lines: BTreeMap::new(),
            turns: BTreeSet::new(),
            had: BTreeMap::new(),
            floor: Duration::ZERO,
            closed: false,
        }
    }
}

impl<T> Lines<T> {
    fn push(&mut self, from: PublicKey, message: T) {
        let line = self.lines.entry(from).or_insert_with(|| {
            let had = self.had.entry(from).or_default();
            *had = self.floor.max(*had);
            self.turns.insert((*had, from));
            VecDeque::new()
        });
        line.push_back(message);
    }

    /// The next message. Nothing more of its sender comes before [`Lines::done`].
    fn take(&mut self) -> Option<T> {
        let (had, from) = self.turns.pop_first()?;
        self.floor = self.floor.max(had);
        self.lines.get_mut(&from)?.pop_front()
    }

    /// A message of `from` has been checked, which took `spent`.
    fn done(&mut self, from: PublicKey, spent: Duration) {
        let had = self.had.entry(from).or_default();
        *had += spent;
        let had = *had;
        if self.lines.get(&from).is_some_and(|line| !line.is_empty()) {
            self.turns.insert((had, from));
            return;
        }
        self.lines.remove(&from);
        if self.had.len() > REMEMBERED_MAX {
            // These would come in at the floor anyway.
            self.had.retain(|peer, had| *had > self.floor || self.lines.contains_key(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAR: PublicKey = PublicKey([1; 32]);
    const CHEAP: PublicKey = PublicKey([2; 32]);
    const LATE: PublicKey = PublicKey([3; 32]);
    const MS: Duration = Duration::from_millis(1);

    /// Takes `count` messages one after the other, each of which costs as much as its sender's do.
    fn serve(lines: &mut Lines<(PublicKey, u32)>, count: usize) -> Vec<PublicKey> {
        let mut order = Vec::new();
        for _ in 0..count {
            let Some((from, _)) = lines.take() else { break };
            lines.done(from, if from == DEAR { 100 * MS } else { MS });
            order.push(from);
        }
        order
    }

    fn of(order: &[PublicKey], peer: PublicKey) -> usize {
        order.iter().filter(|from| **from == peer).count()
    }

    #[test]
    fn a_peer_whose_messages_are_dear_gets_no_more_time_than_others() {
        let mut lines = Lines::default();
        for number in 0..1_000 {
            lines.push(DEAR, (DEAR, number));
            lines.push(CHEAP, (CHEAP, number));
        }
        let order = serve(&mut lines, 303);
        assert_eq!((of(&order, DEAR), of(&order, CHEAP)), (3, 300));
    }

    #[test]
    fn whoever_comes_late_waits_for_one_message_and_has_saved_up_nothing() {
        let mut lines = Lines::default();
        for number in 0..100 {
            lines.push(DEAR, (DEAR, number));
        }
        serve(&mut lines, 50);
        for number in 0..1_000 {
            lines.push(LATE, (LATE, number));
        }
        let order = serve(&mut lines, 220);
        assert!(order[..2].contains(&LATE));
        assert!((2..=3).contains(&of(&order, DEAR)), "{} of one, {}", of(&order, DEAR), order.len());
    }

    #[test]
    fn the_messages_of_one_peer_stay_in_order_and_are_checked_one_at_a_time() {
        let mut lines = Lines::default();
        for number in 0..3 {
            lines.push(CHEAP, (CHEAP, number));
        }
        assert_eq!(lines.take(), Some((CHEAP, 0)));
        assert_eq!(lines.take(), None, "the first is not done");
        lines.push(CHEAP, (CHEAP, 3));
        for number in 1..4 {
            lines.done(CHEAP, MS);
            assert_eq!(lines.take(), Some((CHEAP, number)));
        }
        lines.done(CHEAP, MS);
        assert_eq!(lines.take(), None);
        assert!(lines.lines.is_empty());
    }

    #[test]
    fn peers_that_come_and_go_without_end_are_forgotten() {
        let mut lines = Lines::default();
        for number in 0..3 * REMEMBERED_MAX as u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_le_bytes());
            lines.push(PublicKey(key), ());
            lines.take();
            lines.done(PublicKey(key), Duration::ZERO);
        }
        assert!(lines.had.len() <= REMEMBERED_MAX + 1, "{}", lines.had.len());
    }
}
