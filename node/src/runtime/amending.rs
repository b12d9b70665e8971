//! Charters that change: the voting keys that a seat needs.

use frith_protocol::door::{Command, Input};

use super::host::Host;
use crate::keys::{self, KeyError};

impl Host {
    /// Destroys voting keys that are over, and has a fresh one ready for the next charter. It may be killed anywhere: a key that was made
    /// and is not in the log is found again at the next start, and what is over by then is destroyed then.
    pub(super) fn keep_voting_keys(&mut self) -> Result<(), KeyError> {
        if let Some(state) = self.core().state() {
            let mine = state.seat_of(&self.core().node_id()).map(|seat| seat.voting_key);
            let is_over = |key: &_| state.owner_of(key).is_some() && mine != Some(*key);
            let destroyed = keys::destroy_voting_keys(&self.home, is_over)?;
            if destroyed > 0 {
                tracing::info!(destroyed, "voting keys of epochs that are over were destroyed");
            }
        }
        if self.core().lacks_fresh_voting_key() {
            let key = keys::new_voting_key(&self.home)?;
            self.handle(Input::Command(Command::FreshVotingKey(key)))
                .expect("a key that was asked for is taken");
        }
        Ok(())
    }
}
