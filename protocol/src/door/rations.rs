//! How much a member gets of what it asks for: a question of a few bytes can be answered with a megabyte (SPEC 9.10).

use std::collections::BTreeMap;

use crate::identity::PublicKey;
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{BlockId, CharterId};
use crate::time::Timestamp;

/// What has a long answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// «What follows this height?»
    Follow { height: u64, head: [u8; 8] },
    /// «Show me the block at this height, which has what I wait for.»
    Proof { height: u64 },
    /// «How does one come from the charter of this epoch to yours?»
    Links { epoch: u64 },
    /// «Show me the charter of that id.»
    Charter { id: CharterId },
    /// «Send me this part of that snapshot.»
    Snapshot { head: BlockId, chunk: u32, lean: bool },
}

/// What one peer has had lately.
#[derive(Clone, Copy, Debug)]
struct Eaten {
    /// Bytes, less what has been forgiven since.
    bytes: u64,
    /// Until when that is counted.
    at: Timestamp,
}

impl Eaten {
    fn at(self, now: Timestamp) -> u64 {
        let forgiven = now.since(self.at).saturating_mul(limits::ANSWER_BYTES_PER_MS);
        self.bytes.saturating_sub(forgiven)
    }
}

/// What each peer has had, and the newest question of each that must wait.
#[derive(Debug, Default)]
pub(super) struct Rations {
    eaten: BTreeMap<PublicKey, Eaten>,
    waiting: BTreeMap<PublicKey, (Timestamp, Question)>,
}

impl Rations {
    /// Whether a question may be answered now. If not it waits, in the place of an older one of the same peer.
    pub(super) fn allows(&mut self, from: PublicKey, question: Question, now: Timestamp) -> bool {
        self.waiting.remove(&from);
        let eaten = self.eaten.get(&from).map_or(0, |eaten| eaten.at(now));
        if eaten < limits::ANSWER_BYTES_BURST || loosened(Bug::NoRations) {
            return true;
        }
        let over = eaten - limits::ANSWER_BYTES_BURST + 1;
        let wait_ms = over.div_ceil(limits::ANSWER_BYTES_PER_MS);
        self.waiting.insert(from, (now.plus(wait_ms), question));
        false
    }

    /// Whether a question may be answered now that does not wait if it may not.
    pub(super) fn has_room(&self, from: &PublicKey, now: Timestamp) -> bool {
        let eaten = self.eaten.get(from).map_or(0, |eaten| eaten.at(now));
        eaten < limits::ANSWER_BYTES_BURST || loosened(Bug::NoRations)
    }

    /// A peer was sent so much.
    pub(super) fn sent(&mut self, to: PublicKey, bytes: usize, now: Timestamp) {
        // Whoever has been forgiven everything needs no place.
        self.eaten.retain(|_, eaten| eaten.at(now) > 0);
        let before = self.eaten.get(&to).map_or(0, |eaten| eaten.at(now));
        self.eaten.insert(to, Eaten { bytes: before.saturating_add(bytes as u64), at: now });
    }

    /// It was counted, and not sent.
    pub(super) fn gave_back(&mut self, to: PublicKey, bytes: usize) {
        if let Some(eaten) = self.eaten.get_mut(&to) {
            eaten.bytes = eaten.bytes.saturating_sub(bytes as u64);
        }
    }

    /// Nobody waits for that answer any more. What was eaten stays eaten: reconnecting gives nobody a second helping.
    pub(super) fn disconnected(&mut self, peer: &PublicKey) {
        self.waiting.remove(peer);
    }

    /// When the next question that waits is due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.waiting.values().map(|(at, _)| *at).min()
    }

    /// Takes a question out that is due.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<(PublicKey, Question)> {
        let (peer, question) = self
            .waiting
            .iter()
            .find(|(_, (at, _))| *at <= now)
            .map(|(peer, (_, question))| (*peer, *question))?;
        self.waiting.remove(&peer);
        Some((peer, question))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublicKey = PublicKey([1; 32]);
    const B: PublicKey = PublicKey([2; 32]);
    const ASKED: Question = Question::Follow { height: 1, head: [0; 8] };
    const LATER: Question = Question::Follow { height: 2, head: [0; 8] };

    #[test]
    fn rule_9_10_whoever_has_had_its_burst_waits_and_nobody_else_does() {
        let (mut rations, now) = (Rations::default(), Timestamp(1_000));
        assert!(rations.allows(A, ASKED, now));
        rations.sent(A, limits::ANSWER_BYTES_BURST as usize + limits::ANSWER_BYTES_PER_MS as usize, now);
        assert!(!rations.allows(A, ASKED, now));
        assert!(rations.allows(B, ASKED, now));
        assert_eq!(rations.deadline(), Some(now.plus(2)));
        assert_eq!(rations.due(now.plus(1)), None);
        assert_eq!(rations.due(now.plus(2)), Some((A, ASKED)));
        assert!(rations.allows(A, ASKED, now.plus(2)));
    }

    #[test]
    fn rule_9_10_of_one_peer_the_newest_question_waits_and_it_takes_no_second_helping_by_reconnecting() {
        let (mut rations, now) = (Rations::default(), Timestamp(1_000));
        rations.sent(A, 2 * limits::ANSWER_BYTES_BURST as usize, now);
        assert!(!rations.allows(A, ASKED, now));
        assert!(!rations.allows(A, LATER, now));
        let at = rations.deadline().expect("one waits");
        assert_eq!(rations.due(at), Some((A, LATER)));
        assert_eq!(rations.due(at), None);
        assert!(!rations.allows(A, ASKED, now));
        rations.disconnected(&A);
        assert_eq!(rations.deadline(), None);
        assert!(!rations.allows(A, ASKED, now));
    }

    #[test]
    fn rule_9_10_what_is_forgiven_takes_no_place() {
        let (mut rations, now) = (Rations::default(), Timestamp(1_000));
        rations.sent(A, 10, now);
        rations.sent(B, 10, now.plus(1_000));
        assert_eq!(rations.eaten.len(), 1);
    }
}
