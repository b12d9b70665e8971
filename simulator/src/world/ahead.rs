//! Checks signatures on a spare processor while the messages that carry them are still under way.
//!
//! It only fills the memory of the [`super::Checker`] earlier: what is found, and how many distinct claims there are, is the same with it and
//! without. A claim whose answer is not here when it is needed is checked on the spot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use frith_protocol::identity::{BatchCheck, Claim, SignatureCheck as _};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// How many claims are checked at once at most. More save little, and keep the others waiting.
const BATCH_MAX: usize = 64;

/// A thread that checks signatures.
pub(super) struct Ahead {
    /// None only while it is being dropped.
    claims: Option<Sender<Vec<Claim>>>,
    answers: Receiver<Vec<(Claim, bool)>>,
    spent_ns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread.
    pub(super) fn start(seed: [u8; 32]) -> Ahead {
        let (claims, inbox) = channel::<Vec<Claim>>();
        let (outbox, answers) = channel();
        let spent_ns = Arc::new(AtomicU64::new(0));
        let spent = Arc::clone(&spent_ns);
        let thread = std::thread::spawn(move || {
            let batch = BatchCheck::new(ChaCha20Rng::from_seed(seed));
            while let Ok(mut claims) = inbox.recv() {
                while claims.len() < BATCH_MAX
                    && let Ok(more) = inbox.try_recv()
                {
                    claims.extend(more);
                }
                let begun = Instant::now();
                let answers = checked(&batch, claims);
                spent.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
                if outbox.send(answers).is_err() {
                    return;
                }
            }
        });
        Ahead { claims: Some(claims), answers, spent_ns, thread: Some(thread) }
    }

    /// Has `claims` checked some time soon.
    pub(super) fn check(&self, claims: Vec<Claim>) {
        if let Some(sender) = &self.claims {
            // The thread ends only when this end is dropped.
            let sent = sender.send(claims);
            debug_assert!(sent.is_ok(), "the checking thread is gone");
        }
    }

    /// The answers that are here by now.
    pub(super) fn answers(&self) -> impl Iterator<Item = (Claim, bool)> {
        self.answers.try_iter().flatten()
    }

    /// How long the thread has been checking.
    pub(super) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.claims = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok() || std::thread::panicking(), "the checking thread panicked");
        }
    }
}

/// Checks all at once; one by one only if that fails, since one bad claim says nothing of those behind it.
pub(super) fn checked(batch: &BatchCheck<ChaCha20Rng>, claims: Vec<Claim>) -> Vec<(Claim, bool)> {
    let all = batch.first_bad(&claims).is_none();
    claims.into_iter().map(|claim| (claim, all || batch.first_bad(&[claim]).is_none())).collect()
}
