//! Two machines that run one identity show themselves (SPEC 5.28).
//!
//! Why an alarm and no more: nothing that an honest machine says is a lie here. A virtual machine that was copied while it ran, and a store
//! that was moved while the old one was still up, look just so, and their owner is to be told, not convicted. Why by the time of blocks: a
//! block that was made after somebody was heard is a challenge that nobody had to send. **Invariant:** one machine that starts again, as often
//! as it likes, is never taken for two, whatever is delayed on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::effects::Effects;
use super::input::{Alarm, Error, Event};
use super::message::Message;
use crate::encoding::{Hash, Label, digest_of};
use crate::fault::Fault;
use crate::identity::{Algorithm, NodeId, PublicKey, SecretKey, Sheet, Signature, Stateless};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::DomainId;
use crate::time::Timestamp;

/// «This process speaks by this key, and knew a final block of this time.»
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// In which domain.
    pub domain: DomainId,
    /// The key that it speaks by: that of the connection, or whoever passes it on shows whom it means.
    pub key: PublicKey,
    /// What this process calls itself, from its start to its end.
    pub id: Hash,
    /// The time of its newest final block.
    pub newest: Timestamp,
    /// By that key.
    pub signature: Signature,
}

impl Session {
    /// What the process `id`, which holds `key`, says.
    pub fn sign(domain: DomainId, key: &SecretKey, id: Hash, newest: Timestamp) -> Session {
        let public = key.public();
        let signature = key.sign(&session_digest(&domain, &public, &id, newest));
        Session { domain, key: public, id, newest, signature }
    }
}

fn session_digest(domain: &DomainId, key: &PublicKey, id: &Hash, newest: Timestamp) -> Hash {
    digest_of(Label::Session, &(Algorithm::Ed25519, domain, key, id, newest))
}

impl Stateless for Session {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        let digest = session_digest(&self.domain, &self.key, &self.id, self.newest);
        sheet.claims(self.key, digest, self.signature);
        Ok(())
    }
}

/// What is known of the processes that speak by one key.
#[derive(Clone, Debug)]
struct Seen {
    newest: Session,
    /// No later than this it was heard for the first time: what it then knew, when it was here, and what was final here.
    since: Timestamp,
    /// Those before it, the oldest first.
    earlier: Vec<Hash>,
}

/// Sessions, this process's own and those of others.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    own: Hash,
    /// When this process began.
    since: Timestamp,
    /// When it last said so to all.
    said: Timestamp,
    seen: BTreeMap<PublicKey, Seen>,
    /// By which keys two machines speak.
    cloned: BTreeSet<PublicKey>,
}

/// What comes of a session that was heard.
enum Heard {
    Nothing,
    /// Another one spoke by that key before.
    Another(Session),
    /// Two speak by it in turn.
    Cloned(Session),
}

impl Sessions {
    pub(super) fn begin(seed: &[u8; 32], now: Timestamp) -> Box<Sessions> {
        let own = digest_of(Label::Session, &(seed, now));
        Box::new(Sessions { own, since: now, said: now, seen: BTreeMap::new(), cloned: BTreeSet::new() })
    }

    /// This process began no earlier than a block of this time was final.
    pub(super) fn began_after(&mut self, block: Timestamp) {
        self.since = self.since.max(block);
    }

    /// `now` is the latest that is known here: the clock, or the newest final block. What is said on a block from after `since` and a
    /// margin for two clocks was said after that.
    fn hear(&mut self, session: &Session, now: Timestamp, margin_ms: u64) -> Heard {
        // Whoever claims to know blocks of tomorrow would silence for so long whoever else speaks by its key.
        if session.newest > now.plus(margin_ms) {
            return Heard::Nothing;
        }
        let since = now.max(session.newest);
        if self.seen.len() >= limits::SESSIONS_MAX && !self.seen.contains_key(&session.key) {
            // Whoever is left out comes again.
            self.seen.pop_first();
        }
        let Some(seen) = self.seen.get_mut(&session.key) else {
            let first = Seen { newest: *session, since, earlier: Vec::new() };
            self.seen.insert(session.key, first);
            return Heard::Nothing;
        };
        if seen.newest.id == session.id {
            if session.newest > seen.newest.newest {
                seen.newest = *session;
            }
            return Heard::Nothing;
        }
        // It may have been said long ago, and have been on its way until now.
        if session.newest <= seen.since.plus(margin_ms) && !loosened(Bug::LateWordsCount) {
            return Heard::Nothing;
        }
        let before = std::mem::replace(&mut seen.newest, *session);
        seen.since = since;
        let again = seen.earlier.contains(&session.id);
        seen.earlier.retain(|id| *id != session.id);
        seen.earlier.push(before.id);
        if seen.earlier.len() > limits::SESSIONS_EACH_MAX {
            seen.earlier.remove(0);
        }
        if again && !loosened(Bug::ClonesUnseen) { Heard::Cloned(before) } else { Heard::Another(before) }
    }
}

impl Core {
    fn session_margin_ms(&self) -> u64 {
        self.charter().map_or(0, |charter| charter.timing.skew_ms.saturating_mul(2))
    }

    fn own_session(&self) -> Option<Arc<Message>> {
        let newest = self.chain.as_ref()?.head().time;
        let session = Session::sign(self.domain, &self.keys.identity, self.sessions.own, newest);
        Some(Arc::new(Message::Session(Box::new(session))))
    }

    /// A connection opened.
    pub(super) fn show_session(&self, peer: PublicKey, effects: &mut Effects) {
        // Whoever has a seat is connected to most: two machines meet there, if anywhere.
        if self.is_seated(&peer)
            && let Some(message) = self.own_session()
        {
            effects.send(peer, message);
        }
    }

    /// When our session is said again: it shows that this process goes on, whatever other speaks by its key.
    pub(super) fn session_deadline(&self) -> Option<Timestamp> {
        let idle = self.connected.is_empty() || self.halted.is_some();
        let charter = self.chain.as_ref().filter(|_| !idle)?.state().charter();
        Some(self.sessions.said.plus(charter.timing.freshness_ms))
    }

    pub(super) fn show_session_if_due(&mut self, effects: &mut Effects) {
        if self.session_deadline().is_none_or(|at| at > self.now) {
            return;
        }
        self.sessions.said = self.now;
        let Some(message) = self.own_session() else { return };
        for peer in self.connected.iter().filter(|peer| self.is_seated(peer)) {
            effects.send(*peer, Arc::clone(&message));
        }
    }

    /// A peer says which process it is; or shows us what another process said by our own key.
    pub(super) fn session_shown(
        &mut self,
        from: PublicKey,
        session: &Session,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if session.domain != self.domain {
            let fault = Fault::OtherDomain { theirs: session.domain, ours: self.domain };
            return Err(Error::PeerMisbehaved { culprit: from, fault });
        }
        let margin = self.session_margin_ms();
        if session.key == self.keys.identity.public() {
            let is_another = session.id != self.sessions.own;
            // Said before we began, it is of a process that we follow on.
            if is_another && session.newest > self.sessions.since.plus(margin) {
                self.tell_cloned(session.key, effects);
            }
            return Ok(());
        }
        if session.key != from {
            return Err(Error::Untimely("nobody asked for somebody else's session"));
        }
        let head = self.chain.as_ref().map_or(Timestamp::ZERO, |chain| chain.head().time);
        let before = match self.sessions.hear(session, self.now.max(head), margin) {
            Heard::Nothing => return Ok(()),
            Heard::Another(before) => before,
            Heard::Cloned(before) => {
                self.tell_cloned(from, effects);
                before
            }
        };
        // Whichever of the two reads it learns of the other by its own signature.
        effects.send(from, Arc::new(Message::Session(Box::new(before))));
        Ok(())
    }

    fn tell_cloned(&mut self, key: PublicKey, effects: &mut Effects) {
        let Some(node) = self.owner_of(&key) else { return };
        if self.sessions.cloned.len() < limits::SESSIONS_MAX && self.sessions.cloned.insert(key) {
            effects.tell(Event::Alarm(Alarm::Cloned { node }));
        }
    }

    /// Whom two machines or more run by their current key, as far as this process has heard since it started.
    pub fn cloned(&self) -> impl Iterator<Item = NodeId> + '_ {
        let owner = |key: &PublicKey| {
            let node = self.owner_of(key)?;
            (self.state()?.key_of(&node) == Some(*key)).then_some(node)
        };
        self.sessions.cloned.iter().filter_map(owner)
    }
}
