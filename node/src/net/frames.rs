//! Messages on a stream: a length (four bytes, little endian), then so many bytes. One task writes to a peer, one reads from it.
//!
//! Memory that a peer can claim: one message that it has begun ([`Bounds::frame_bytes_max`]), what flow control lets lie unread, one
//! complete message that waits for room, and [`limits::PEER_BYTES_MAX`] that the host has not dealt with ([`Held`]). Strangers are read at
//! a bounded rate besides; how the host shares its time among the others is its own business.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frith_protocol::identity::PublicKey;
use frith_protocol::limits::{MESSAGE_BYTES_MAX, STRANGER_MESSAGE_BYTES_MAX};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::limits;
use super::{Delivery, NetEvent};

/// What waits to be sent to one peer, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug)]
struct Queue {
    frames: VecDeque<Arc<[u8]>>,
    bytes: usize,
    bytes_max: usize,
    /// Whether something was taken out that may not have left this machine yet.
    unflushed: bool,
}

impl Outbox {
    pub(super) fn new(bytes_max: usize) -> Outbox {
        let queue = Queue { frames: VecDeque::new(), bytes: 0, bytes_max, unflushed: false };
        Outbox { queue: Mutex::new(queue), filled: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much may wait from now on. What waits already stays.
    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        self.queue().bytes_max = bytes_max;
    }

    /// Adds a message at the end. `false`: there is no room, and it is dropped. (Of a queue that overflows the *newest* is lost, so
    /// that what arrives is what was sent, without holes, up to some point.)
    pub(super) fn push(&self, frame: Arc<[u8]>) -> bool {
        let mut queue = self.queue();
        let fits = queue.bytes + frame.len() <= queue.bytes_max || queue.frames.is_empty();
        if !fits || queue.frames.len() >= limits::OUTBOX_FRAMES_MAX {
            return false;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Whether everything has left.
    pub(super) fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.frames.is_empty() && !queue.unflushed
    }

    fn try_pop(&self) -> Option<Arc<[u8]>> {
        let mut queue = self.queue();
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.len();
        queue.unflushed = true;
        Some(frame)
    }

    async fn pop(&self) -> Arc<[u8]> {
        loop {
            let filled = self.filled.notified();
            if let Some(frame) = self.try_pop() {
                return frame;
            }
            filled.await;
        }
    }
}

/// Sends what comes into `outbox`, until the stream breaks.
pub(super) async fn write(mut stream: impl AsyncWrite + Unpin, outbox: &Outbox) -> io::Error {
    let run = async {
        loop {
            let frame = match outbox.try_pop() {
                Some(frame) => frame,
                None => {
                    stream.flush().await?;
                    outbox.queue().unflushed = false;
                    outbox.pop().await
                }
            };
            let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
            stream.write_all(&length.to_le_bytes()).await?;
            stream.write_all(&frame).await?;
        }
    };
    let ended: io::Result<std::convert::Infallible> = run.await;
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// A token bucket. Whoever asks waits for its turn, in order.
#[derive(Debug)]
pub(super) struct Throttle {
    level: tokio::sync::Mutex<Level>,
    messages: Rate,
    bytes: Rate,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

#[derive(Debug)]
struct Level {
    messages: f64,
    bytes: f64,
    at: Instant,
}

impl Throttle {
    pub(super) fn new(messages: Rate, bytes: Rate) -> Throttle {
        let level = Level { messages: messages.burst, bytes: bytes.burst, at: Instant::now() };
        Throttle { level: tokio::sync::Mutex::new(level), messages, bytes }
    }

    /// The bucket of one stranger.
    pub(super) fn of_a_stranger() -> Throttle {
        Throttle::new(
            Rate { per_second: limits::STRANGER_MESSAGES_PER_SECOND, burst: limits::STRANGER_MESSAGES_BURST },
            Rate { per_second: limits::STRANGER_BYTES_PER_SECOND, burst: limits::STRANGER_BYTES_BURST },
        )
    }

    /// The bucket that all strangers share.
    pub(super) fn of_all_strangers() -> Throttle {
        Throttle::new(
            Rate {
                per_second: limits::STRANGERS_MESSAGES_PER_SECOND,
                burst: limits::STRANGERS_MESSAGES_BURST,
            },
            Rate { per_second: limits::STRANGERS_BYTES_PER_SECOND, burst: limits::STRANGERS_BYTES_BURST },
        )
    }

    /// Waits until one message of so many bytes may pass.
    pub(super) async fn pass(&self, bytes: usize) {
        // The lock is kept while waiting: the next in line must not overtake.
        let mut level = self.level.lock().await;
        let bytes = (bytes as f64).min(self.bytes.burst);
        let now = Instant::now();
        let elapsed = now.duration_since(level.at).as_secs_f64();
        level.messages = (level.messages + elapsed * self.messages.per_second).min(self.messages.burst) - 1.0;
        level.bytes = (level.bytes + elapsed * self.bytes.per_second).min(self.bytes.burst) - bytes;
        level.at = now;
        let wait =
            (-level.messages / self.messages.per_second).max(-level.bytes / self.bytes.per_second).max(0.0);
        if wait > 0.0 {
            sleep_until(now + Duration::from_secs_f64(wait)).await;
        }
    }
}

/// Room for what the host has not dealt with, of all peers together. Endorsers have theirs apart: whatever members say, votes come through.
#[derive(Clone, Debug)]
pub(super) struct Budgets {
    endorsers: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Budgets {
    pub(super) fn new() -> Budgets {
        let room = || Arc::new(Semaphore::new(limits::EVENT_BYTES_MAX));
        Budgets { endorsers: room(), others: room() }
    }
}

/// What one peer may send. Changes with its standing, at once.
#[derive(Debug)]
pub(super) struct Bounds {
    frame_bytes_max: AtomicUsize,
    throttled: AtomicBool,
    endorses: AtomicBool,
    /// Somebody may be waiting in the wrong room.
    moved: Notify,
    own: Throttle,
    shared: Arc<Throttle>,
    /// Room for what the host has not dealt with.
    room: Arc<Semaphore>,
}

/// The room that a message takes until the host has dealt with it.
#[derive(Debug)]
pub(super) struct Held {
    _of_the_peer: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

fn room_of(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.max(limits::HELD_BYTES_MIN)).ok()
}

impl Bounds {
    /// Those of a stranger.
    pub(super) fn new(shared: Arc<Throttle>) -> Bounds {
        Bounds {
            frame_bytes_max: AtomicUsize::new(STRANGER_MESSAGE_BYTES_MAX),
            throttled: AtomicBool::new(true),
            endorses: AtomicBool::new(false),
            moved: Notify::new(),
            own: Throttle::of_a_stranger(),
            shared,
            room: Arc::new(Semaphore::new(limits::PEER_BYTES_MAX)),
        }
    }

    /// Waits for room: first among the peer's own, so that a peer that has filled it takes nothing from others while it waits.
    async fn hold(&self, budgets: &Budgets, bytes: usize) -> Option<Held> {
        let room = room_of(bytes)?;
        let of_the_peer = self.room.clone().acquire_many_owned(room).await.ok()?;
        loop {
            let moved = self.moved.notified();
            tokio::select! {
                biased;
                of_all = self.of_all(budgets).clone().acquire_many_owned(room) => {
                    return Some(Held { _of_the_peer: of_the_peer, _of_all: of_all.ok()? });
                }
                // Whoever gets a seat meanwhile does not go on waiting among those who have none: its votes are behind this message.
                () = moved => {}
            }
        }
    }

    /// The same for gossip, which is dropped rather than waited for.
    pub(super) fn try_hold(&self, budgets: &Budgets, bytes: usize) -> Option<Held> {
        let room = room_of(bytes)?;
        let of_the_peer = self.room.clone().try_acquire_many_owned(room).ok()?;
        let of_all = self.of_all(budgets).clone().try_acquire_many_owned(room).ok()?;
        Some(Held { _of_the_peer: of_the_peer, _of_all: of_all })
    }

    /// Gives or takes the bounds of somebody known.
    pub(super) fn set_known(&self, known: bool) {
        let max = if known { MESSAGE_BYTES_MAX } else { STRANGER_MESSAGE_BYTES_MAX };
        self.frame_bytes_max.store(max, Ordering::Relaxed);
        self.throttled.store(!known, Ordering::Relaxed);
    }

    /// Gives or takes a share of the endorsers' room.
    pub(super) fn set_endorses(&self, endorses: bool) {
        if self.endorses.swap(endorses, Ordering::Relaxed) != endorses {
            self.moved.notify_waiters();
        }
    }

    fn of_all<'a>(&self, budgets: &'a Budgets) -> &'a Arc<Semaphore> {
        if self.endorses.load(Ordering::Relaxed) { &budgets.endorsers } else { &budgets.others }
    }

    /// The longest message that the peer may send now.
    pub(super) fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max.load(Ordering::Relaxed)
    }

    async fn pass(&self, bytes: usize) {
        if self.throttled.load(Ordering::Relaxed) {
            self.own.pass(bytes).await;
            self.shared.pass(bytes).await;
        }
    }
}

/// Why reading from a peer ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadEnd {
    /// It closed the stream between two messages.
    #[error("the peer closed the stream")]
    Closed,
    /// The host takes no more events.
    #[error("the host takes no more events")]
    HostGone,
    /// It announced a message that it may not send.
    #[error("the peer announced a message of {bytes} bytes; at most {max} are allowed from it")]
    TooLong {
        /// How many bytes.
        bytes: usize,
        /// How many it may send.
        max: usize,
    },
    /// It began a message and did not end it in time.
    #[error("the peer took more than {} s over one message", limits::FRAME_TIMEOUT.as_secs())]
    TooSlow,
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(#[from] io::Error),
}

/// Hands what a peer sends to the host, message by message, as fast as the host and the peer's bounds allow.
pub(super) async fn read(
    mut stream: impl AsyncRead + Unpin,
    from: PublicKey,
    bounds: Arc<Bounds>,
    budgets: Budgets,
    events: mpsc::Sender<Delivery>,
    received: Counter,
) -> ReadEnd {
    loop {
        let bytes = match read_frame(&mut stream, &bounds).await {
            Ok(bytes) => bytes,
            Err(end) => return end,
        };
        bounds.pass(bytes.len()).await;
        let Some(held) = bounds.hold(&budgets, bytes.len()).await else { return ReadEnd::HostGone };
        let delivery = Delivery { event: NetEvent::Received { from, bytes }, held: Some(held) };
        if events.send(delivery).await.is_err() {
            return ReadEnd::HostGone;
        }
        received.inc();
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin), bounds: &Bounds) -> Result<Vec<u8>, ReadEnd> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Err(ReadEnd::Closed);
    }
    let rest = async {
        stream.read_exact(&mut length[1..]).await?;
        let (length, max) = (u32::from_le_bytes(length) as usize, bounds.frame_bytes_max());
        if length > max {
            return Err(ReadEnd::TooLong { bytes: length, max });
        }
        // It grows as bytes arrive: an announcement alone costs us nothing.
        let mut bytes = Vec::new();
        stream.take(length as u64).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    };
    timeout(limits::FRAME_TIMEOUT, rest).await.unwrap_or(Err(ReadEnd::TooSlow))
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    fn frame(bytes: usize) -> Arc<[u8]> {
        vec![0; bytes].into()
    }

    fn stranger() -> Arc<Bounds> {
        Arc::new(Bounds::new(Arc::new(Throttle::of_all_strangers())))
    }

    fn stream_of(lengths_and_bytes: &[(u32, usize)]) -> Cursor<Vec<u8>> {
        let mut all = Vec::new();
        for (length, bytes) in lengths_and_bytes {
            all.extend(length.to_le_bytes());
            all.extend(vec![7; *bytes]);
        }
        Cursor::new(all)
    }

    async fn read_all(stream: Cursor<Vec<u8>>, bounds: Arc<Bounds>) -> (Vec<usize>, ReadEnd) {
        let (events, mut received) = mpsc::channel(64);
        let budgets = Budgets::new();
        let end = read(stream, PublicKey::default(), bounds, budgets, events, Counter::default()).await;
        let mut lengths = Vec::new();
        while let Some(Delivery { event: NetEvent::Received { bytes, .. }, .. }) = received.recv().await {
            lengths.push(bytes.len());
        }
        (lengths, end)
    }

    #[test]
    fn an_outbox_loses_the_newest_and_always_takes_one() {
        let outbox = Outbox::new(10);
        assert!(outbox.push(frame(100)), "one message fits whatever its length");
        assert!(!outbox.push(frame(1)));
        assert_eq!(outbox.try_pop().map(|frame| frame.len()), Some(100));
        assert!(outbox.push(frame(6)));
        assert!(outbox.push(frame(4)));
        assert!(!outbox.push(frame(1)));
        assert_eq!(outbox.try_pop().map(|frame| frame.len()), Some(6));
        assert_eq!(outbox.try_pop().map(|frame| frame.len()), Some(4));
        assert!(!outbox.is_idle(), "nobody has flushed");
    }

    #[test]
    fn an_outbox_bounds_the_number_of_messages_too() {
        let outbox = Outbox::new(usize::MAX);
        assert!((0..limits::OUTBOX_FRAMES_MAX).all(|_| outbox.push(frame(0))));
        assert!(!outbox.push(frame(0)));
    }

    #[tokio::test]
    async fn rule_10_3_a_message_is_its_length_and_then_its_bytes_and_is_read_as_it_was_written() {
        let outbox = Outbox::new(usize::MAX);
        for bytes in [0, 1, 70_000] {
            assert!(outbox.push(frame(bytes)));
        }
        let mut bytes = Vec::new();
        let mut writing = Box::pin(write(&mut bytes, &outbox));
        assert!(futures::poll!(&mut writing).is_pending(), "it waits for more");
        drop(writing);
        assert_eq!(bytes[..9], [0, 0, 0, 0, 1, 0, 0, 0, 0], "nothing, and one byte");
        assert_eq!(bytes[9..13], 70_000u32.to_le_bytes());
        let bounds = stranger();
        bounds.set_known(true);
        let (lengths, end) = read_all(Cursor::new(bytes), bounds).await;
        assert_eq!(lengths, [0, 1, 70_000]);
        assert!(matches!(end, ReadEnd::Closed), "{end}");
    }

    #[tokio::test]
    async fn rule_10_4_a_message_beyond_the_bounds_of_its_sender_ends_the_reading_before_it_is_read() {
        let max = STRANGER_MESSAGE_BYTES_MAX;
        let too_long = u32::try_from(max + 1).unwrap();
        let (lengths, end) = read_all(stream_of(&[(3, 3), (too_long, 0)]), stranger()).await;
        assert_eq!(lengths, [3]);
        assert!(matches!(end, ReadEnd::TooLong { bytes, max: m } if bytes == max + 1 && m == max), "{end}");

        let bounds = stranger();
        bounds.set_known(true);
        let (lengths, end) = read_all(stream_of(&[(too_long, max + 1), (u32::MAX, 0)]), bounds).await;
        assert_eq!(lengths, [max + 1]);
        assert!(matches!(end, ReadEnd::TooLong { .. }), "{end}");
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_is_not_delivered() {
        let (lengths, end) = read_all(stream_of(&[(3, 3), (5, 4)]), stranger()).await;
        assert_eq!(lengths, [3]);
        assert!(matches!(end, ReadEnd::Broken(_)), "{end}");
        let (lengths, end) = read_all(stream_of(&[(3, 3)]), stranger()).await;
        assert_eq!(lengths, [3]);
        assert!(matches!(end, ReadEnd::Closed), "{end}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_read_at_its_rate_once_its_burst_is_spent() {
        let start = Instant::now();
        let burst = limits::STRANGER_MESSAGES_BURST as usize;
        let more = 2 * limits::STRANGER_MESSAGES_PER_SECOND as usize;
        let frames = vec![(1, 1); burst + more];
        let (lengths, _) = read_all(stream_of(&frames), stranger()).await;
        assert_eq!(lengths.len(), burst + more);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(1_990) && took <= Duration::from_millis(2_010), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_counts_bytes_too() {
        let throttle =
            Throttle::new(Rate { per_second: 1e6, burst: 1e6 }, Rate { per_second: 10.0, burst: 100.0 });
        let start = Instant::now();
        throttle.pass(100).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        throttle.pass(50).await;
        assert_eq!(start.elapsed().as_millis(), 5_000);
    }

    #[tokio::test]
    async fn a_peer_that_filled_its_room_waits_and_others_do_not() {
        let known = || {
            let bounds = stranger();
            bounds.set_known(true);
            bounds
        };
        let (events, mut received) = mpsc::channel(64);
        let budgets = Budgets::new();
        let half = limits::PEER_BYTES_MAX / 2;
        let flood = stream_of(&[(u32::try_from(half).unwrap(), half); 3]);
        let (loud, quiet) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let reading = |stream, from| {
            Box::pin(read(stream, from, known(), budgets.clone(), events.clone(), Counter::default()))
        };
        let (mut of_the_loud, mut of_the_quiet) =
            (reading(flood, loud), reading(stream_of(&[(1, 1)]), quiet));
        assert!(futures::poll!(&mut of_the_loud).is_pending(), "its third message waits for room");
        assert!(futures::poll!(&mut of_the_quiet).is_ready());
        let mut held = Vec::new();
        while let Ok(Delivery { event: NetEvent::Received { from, .. }, held: room }) = received.try_recv() {
            held.push((from, room));
        }
        assert_eq!(held.iter().map(|(from, _)| *from).collect::<Vec<_>>(), [loud, loud, quiet]);
        drop(held);
        assert!(futures::poll!(&mut of_the_loud).is_ready(), "the host has dealt with the first two");
    }

    #[tokio::test]
    async fn members_that_filled_all_their_room_leave_endorsers_theirs() {
        let budgets = Budgets::new();
        let mut held = Vec::new();
        let member = || {
            let bounds = stranger();
            bounds.set_known(true);
            bounds
        };
        while let Some(room) = member().try_hold(&budgets, limits::PEER_BYTES_MAX) {
            held.push(room);
        }
        assert!(member().try_hold(&budgets, 1).is_none());
        let endorser = member();
        endorser.set_endorses(true);
        assert!(endorser.try_hold(&budgets, 1).is_some());
        // One that gets its seat while its message waits for room among members waits no longer.
        let next = member();
        let mut waiting = Box::pin(next.hold(&budgets, 1));
        assert!(futures::poll!(&mut waiting).is_pending());
        next.set_endorses(true);
        assert!(futures::poll!(&mut waiting).is_ready());
    }
}
