//! Checks signatures on a spare processor, while the messages that carry them are still under way.
//!
//! What is found does not depend on when it is found: whoever needs an answer waits for it. So a run is the same with this thread and
//! without.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use frith_protocol::identity::{BatchCheck, Claim};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::check::checked;

/// How many claims are checked at once at most. More save little, and keep the others waiting.
const BATCH_MAX: usize = 64;

/// Claims with what became of them, and how long that took.
pub(super) struct Answers {
    /// Each claim, and whether it holds.
    pub(super) found: Vec<(Claim, bool)>,
    /// How long the check took.
    pub(super) took: Duration,
}

/// A thread that checks signatures.
pub(super) struct Ahead {
    /// None only while it is being dropped: then the thread ends.
    claims: Option<Sender<Vec<Claim>>>,
    answers: Receiver<Answers>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread. Its batch coefficients grow from `seed`.
    pub(super) fn start(seed: [u8; 32]) -> Ahead {
        let (claims, inbox) = channel::<Vec<Claim>>();
        let (outbox, answers) = channel();
        let thread = std::thread::spawn(move || {
            let batch = BatchCheck::new(ChaCha20Rng::from_seed(seed));
            while let Ok(mut claims) = inbox.recv() {
                while claims.len() < BATCH_MAX
                    && let Ok(more) = inbox.try_recv()
                {
                    claims.extend(more);
                }
                let begun = Instant::now();
                let found = checked(&batch, claims);
                if outbox.send(Answers { found, took: begun.elapsed() }).is_err() {
                    return;
                }
            }
        });
        Ahead { claims: Some(claims), answers, thread: Some(thread) }
    }

    /// Has `claims` checked.
    pub(super) fn check(&self, claims: Vec<Claim>) {
        let sender = self.claims.as_ref().expect("it is there until the end");
        sender.send(claims).expect("the checking thread ends only when this end is dropped");
    }

    /// What was found since; waits for it if nothing was.
    pub(super) fn answers(&self) -> impl Iterator<Item = Answers> {
        let first = self.answers.recv().expect("the checking thread ends only when this end is dropped");
        std::iter::once(first).chain(self.answers.try_iter())
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
