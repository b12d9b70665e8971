//! Heads, and what follows them: asked, answered and shown (SPEC 9.1, 9.3).

use std::sync::Arc;

use super::core::Core;
use super::effects::Effects;
use super::input::Error;
use super::message::{Message, Standing};
use super::syncing::proven_header;
use crate::encoding::encoded_len;
use crate::identity::PublicKey;
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::FinalChain;

impl Core {
    /// «What is final, newest first?»
    pub(super) fn answer_head(&mut self, to: PublicKey, effects: &mut Effects) -> Result<(), Error> {
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let charter = chain.state().charter_id();
        if self.hall.is_some()
            && self.standing_of(&to) == Standing::Stranger
            && let Some(history) = self.key_history()
        {
            effects.send(to, Arc::new(history));
        }
        effects.send(to, Arc::new(Message::Head { charter, tip: chain.tip().map(Box::new) }));
        Ok(())
    }

    /// A head that somebody showed: a newcomer's beginning, or word that a snapshot is needed.
    pub(super) fn head_shown(
        &mut self,
        from: PublicKey,
        tip: Option<&FinalChain>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if let Some(newcomer) = &mut self.newcomer {
            let steps = newcomer.head_shown(from, tip, self.now);
            self.walk(steps, effects);
            return Ok(());
        }
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        if self.halted.is_some() && !loosened(Bug::HaltedLedOn) {
            return Err(Error::Untimely("this node has halted"));
        }
        if self.standing_of(&from) < Standing::Member {
            return Err(Error::Untimely("no stranger was asked"));
        }
        if let Some(tip) = tip {
            let newest = self.charters.as_deref().map_or(0, |charters| charters.newest().charter.epoch);
            if tip.certificate.ballot.epoch > newest {
                self.follower.answered();
                effects.send(from, Arc::new(Message::AskLinks { epoch: newest }));
                return Err(Error::Untimely("it is of an epoch that is not known here yet"));
            }
            if tip.certificate.is_of_recovery()
                && !self.charters.as_deref().is_some_and(|charters| charters.closes(tip))
            {
                self.follower.answered();
                effects.send(from, Arc::new(Message::AskLinks { epoch: newest }));
                return Err(Error::Untimely("it rests on a recovery that was not taken here"));
            }
            if let Some(charters) = self.charters.as_deref() {
                proven_header(charters, tip)
                    .map_err(|fault| Error::PeerMisbehaved { culprit: from, fault })?;
            }
        }
        self.follower.answered();
        let ahead = tip.and_then(FinalChain::tip).is_some_and(|header| header.height > chain.head().height);
        if !ahead {
            return Err(Error::Untimely("it is known already"));
        }
        if self.fetch.is_some() {
            return Err(Error::Untimely("a snapshot is being fetched already"));
        }
        // The peer's log does not go back to our head: only a snapshot closes the gap.
        self.fetch_snapshot_from(from, effects);
        Ok(())
    }

    /// «What follows this height?»
    pub(super) fn answer_follow(
        &mut self,
        to: PublicKey,
        height: u64,
        head: &[u8; 8],
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(chain) = &self.chain else { return Err(Error::Untimely("there is no state yet")) };
        let ours = chain.head();
        let message = if !chain.agrees(height, head) {
            // Another block of that height is final here: let the other see ours, from before it, with the certificate.
            let from = chain.entries_below(height).map_or(0, |before| before.saturating_sub(1));
            match chain.since(from).or_else(|| chain.tip()) {
                Some(since) => Message::Final(Arc::new(since)),
                None => Message::Same,
            }
        } else if height >= ours.height {
            Message::Same
        } else {
            match chain.since(height) {
                Some(since) => Message::Final(Arc::new(since)),
                None if self.look_up(to, height, effects) => {
                    // As much as it may be, until it is read: many questions may come before the first answer.
                    self.rations.sent(to, limits::ARCHIVE_ANSWER_BYTES_MAX, self.now);
                    return Ok(());
                }
                None => Message::Head { charter: chain.state().charter_id(), tip: chain.tip().map(Box::new) },
            }
        };
        let ahead = height > ours.height;
        if let Message::Final(chain) = &message {
            self.rations.sent(to, encoded_len(&**chain), self.now);
        }
        effects.send(to, Arc::new(message));
        if ahead {
            self.ask_about_a_gap(to, effects);
        }
        Ok(())
    }

    /// Asks one peer what follows our head, unless somebody was asked and has not answered.
    pub(super) fn ask_about_a_gap(&mut self, peer: PublicKey, effects: &mut Effects) {
        if self.follower.gap(self.now) {
            self.ask_what_follows(peer, effects);
        }
    }

    /// Asks one peer what follows our head.
    pub(super) fn ask_what_follows(&mut self, peer: PublicKey, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        let mut head = [0; 8];
        head.copy_from_slice(&chain.head_id().0[..8]);
        effects.send(peer, Arc::new(Message::Follow { height: chain.head().height, head }));
    }
}
