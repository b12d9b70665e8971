//! One core: one node's part in one domain. It wires the rooms; the rules are theirs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::effects::Effects;
use super::epochs::KeptJournal;
use super::given::Given;
use super::holding::Holds;
use super::input::{Alarm, Command, Error, Event, Input};
use super::message::{Message, Standing};
use super::paths::Lacking;
use super::pruning::LogOnDisk;
use super::rations::{Question, Rations};
use super::record::{Record, Table};
use super::recovering::Recovering;
use super::rotating::Again;
use super::sessions::Sessions;
use super::syncing::Served;
use crate::agreement::{self, Agreement};
use crate::encoding::Hash;
use crate::fault::Fault;
use crate::following::{Chain, Charters, Follower, SnapshotFetch, Workshop};
use crate::identity::{Inception, NodeId, PublicKey, Rotation, SecretKey, Signature, Verified};
use crate::joining::{Draft, Newcomer, Proposals, Renewal, Waiting};
use crate::planted::{Bug, loosened};
use crate::state::{Block, BlockId, DomainId, Effective, Entry, Kind, State, StatementId};
use crate::time::Timestamp;

/// The agreement of a mesh: real blocks, keys and signatures.
pub(super) type Hall = Agreement<Verified<Arc<Block>>, PublicKey, Signature>;

/// The keys of one node.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Who it is.
    pub inception: Inception,
    /// All its rotations since, in order. What a domain's log lacks of them is handed in.
    pub rotations: Vec<Rotation>,
    /// Its current key: also that of its transport.
    pub identity: SecretKey,
    /// The key that the last rotation is to, as long as that is not final. From then on it is the current one: [`Event::Rotated`].
    pub successor: Option<SecretKey>,
    /// Voting keys: that of its seat, if it has one; and a fresh one, for the next charter that gives it a seat.
    pub voting: Vec<SecretKey>,
}

/// What a core needs to know before it opens its store.
#[derive(Clone)]
pub struct Config {
    /// The node's keys.
    pub keys: Keys,
    /// From which all its randomness grows: whom to ask, how long to wait beyond a period. No secret.
    pub seed: [u8; 32],
    /// Where costly pure functions are computed.
    pub workshop: Arc<dyn Workshop>,
    /// Whether it keeps every final block, and serves what others have removed (SPEC 9.21).
    pub archive: bool,
    /// Why the journal cannot be trusted, if the host found it missing or damaged (SPEC 8.14).
    pub journal_lost: Option<String>,
}

/// One node's part in one domain.
pub struct Core {
    // The rooms that most nodes of a mesh seldom enter, or never, are boxed: what every final block touches lies close together then.
    pub(super) keys: Box<Keys>,
    pub(super) me: NodeId,
    pub(super) domain: DomainId,
    pub(super) workshop: Arc<dyn Workshop>,
    pub(super) rng: ChaCha8Rng,
    /// The latest time that was given.
    pub(super) now: Timestamp,

    /// None until a newcomer was shown the charter that its anchor names.
    pub(super) charters: Option<Box<Charters>>,
    /// None until a newcomer has its snapshot.
    pub(super) chain: Option<Chain>,
    /// Some until this node holds the certificate of its admission.
    pub(super) newcomer: Option<Box<Newcomer>>,
    /// The height of the block that admitted this node, while it fetches its snapshot.
    pub(super) admitted: Option<u64>,
    /// A height that it had come to before, in whatever way: below it, it knows less than it did, and says nothing of others.
    pub(super) reached: u64,
    pub(super) follower: Follower,
    pub(super) fetch: Option<Box<SnapshotFetch>>,
    /// A chain that waits for the ways to what it touches.
    pub(super) lacking: Option<Box<Lacking>>,
    /// This node is about to vote, or was found to: a part of the state does not do for it.
    pub(super) wants_whole: bool,
    /// States of the past that were worked out for peers that hold a part of them.
    pub(super) past: VecDeque<State>,

    /// Some if the charter has a seat for this node.
    pub(super) hall: Option<Box<Hall>>,
    pub(super) journal_lost: Option<String>,
    /// Voting keys that may have signed what no journal here knows.
    pub(super) retired: BTreeSet<PublicKey>,
    /// Whether that is still to be written down.
    pub(super) retires: bool,
    /// There are retired voting keys that the store does not name yet.
    pub(super) retired_unsaved: bool,
    /// When endorsers that speak of an epoch that is over were last shown its end.
    pub(super) shown_the_end: BTreeMap<PublicKey, Timestamp>,
    /// Journals of epochs that the log here has not reached again, since it lost its tail.
    pub(super) journals: BTreeMap<u64, KeptJournal>,
    /// Journal records that agreement needs no more, each with the height at which it said so.
    pub(super) forgotten: VecDeque<(u64, Vec<u8>)>,
    pub(super) waiting: Waiting,
    pub(super) proposals: Proposals,
    pub(super) given: BTreeMap<Hash, Given>,
    pub(super) holds: Holds,
    /// The newest proposal that was not voted for because of some: the other endorsers were shown them.
    pub(super) kept_back: Option<BlockId>,
    /// Drafts whose basis is ahead of us: judged again when we have caught up.
    pub(super) drafts_ahead: Vec<(PublicKey, Verified<Draft>)>,
    /// Which newcomers wait for which statement.
    pub(super) promised: BTreeMap<StatementId, BTreeSet<PublicKey>>,
    /// Entries to pass on to every endorser, unless they are in a block by then.
    pub(super) relays: BTreeMap<StatementId, Timestamp>,
    /// Proofs of contradictions that no block can take yet, by whom they convict.
    pub(super) proofs: BTreeMap<NodeId, Verified<Arc<Entry>>>,
    /// Final blocks to publish, unless somebody else did by then: by id.
    pub(super) publications: BTreeMap<BlockId, (Timestamp, Arc<Message>)>,

    /// When a rotation of ours is handed in again, while the log lacks it.
    pub(super) rotation_again: Option<Again>,
    /// The log that it was opened with says that we rotated; that is told at the first occasion.
    pub(super) rotated_before: bool,

    /// Our renewal, while it is on its way.
    pub(super) renewal: Option<Box<Renewal>>,
    /// When the next one is due, as of the newest block with entries.
    pub(super) renews_at: Option<Timestamp>,

    /// An anchor that an operator gave to this node when it had a state already.
    pub(super) anchored: Option<Box<super::anchoring::Anchored>>,
    /// Which process this is, and which speak by whose key.
    pub(super) sessions: Box<Sessions>,

    /// The newest head of which a gossiped copy was passed on.
    pub(super) passed_on: Option<BlockId>,

    /// Snapshots that are kept to be served.
    pub(super) snapshots: VecDeque<Served>,
    pub(super) archive: bool,
    /// What is in [`Table::Base`] and [`Table::Final`].
    pub(super) on_disk: LogOnDisk,

    pub(super) connected: BTreeSet<PublicKey>,
    pub(super) rations: Rations,
    /// A recovery to come, if one is.
    pub(super) recovering: Box<Recovering>,
    /// Why this node takes no further blocks.
    pub(super) halted: Option<Alarm>,
    /// The height of a certified block that revokes this node, though it lacks blocks before (SPEC 5.18).
    pub(super) dismissed: Option<u64>,
    /// What it was opened with may never have reached the disk, if its last process was killed: removals among it count from now on (SPEC 9.9).
    pub(super) unsynced: bool,
    /// What was told of the clock, so that it is told once and not at every input.
    pub(super) clock_ran_back: bool,
    pub(super) clock_far_off: bool,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It gathers endorsements.
    Joining,
    /// It is admitted, and fetches the state.
    Syncing,
    /// It follows the log.
    Following,
    /// It follows and endorses.
    Endorsing,
    /// It is suspended, or was revoked and has a seat. It follows; if it has a seat it keeps its vote, and nothing else.
    Restrained,
    /// It was revoked.
    Gone,
    /// Its log forked, or does not execute: it takes no further blocks.
    Halted,
}

impl Core {
    /// The one door. On `Err` nothing that was said has been taken over; effects are carried out all the same (a question that it gave
    /// rise to).
    ///
    /// # Errors
    /// [`Error`] says whose fault it was.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Effects) -> Result<(), Error> {
        self.tell_time(now, effects);
        if std::mem::take(&mut self.unsynced) {
            effects.sync_all();
        }
        if std::mem::take(&mut self.retires) {
            self.retire_voting_keys(effects);
        }
        if std::mem::take(&mut self.retired_unsaved) {
            self.retire(Vec::new(), effects);
        }
        if std::mem::take(&mut self.rotated_before) {
            self.tell_rotated(effects);
        }
        match input {
            Input::Received { from, message } => self.received(from, &message, effects),
            Input::Gossiped { from, message } => {
                let gossiped = matches!(&**message, Message::Final(_) | Message::Hold(_));
                if !gossiped {
                    let fault = Fault::NotAllowed { what: message.name() };
                    return Err(Error::PeerMisbehaved { culprit: from, fault });
                }
                self.check_allowed(from, &message, effects)?;
                if let Message::Final(chain) = &**message {
                    self.take_final(from, &Verified::of_verified_parts(Arc::clone(chain)), true, effects)?;
                }
                if let Message::Hold(hold) = &**message {
                    self.take_hold(Some(from), &Verified::of_verified_parts(**hold), true, effects)?;
                }
                Ok(())
            }
            Input::Connected(peer) => {
                self.connected(peer, effects);
                Ok(())
            }
            Input::Disconnected(peer) => {
                self.connected.remove(&peer);
                self.rations.disconnected(&peer);
                if let Some(newcomer) = &mut self.newcomer {
                    newcomer.disconnected(&peer);
                }
                Ok(())
            }
            Input::LookedUp { to, height, records } => self.looked_up(to, height, &records, effects),
            Input::Tick => {
                self.tick(effects);
                Ok(())
            }
            Input::Command(command) => self.command(command, effects),
        }
    }

    /// When [`Input::Tick`] is due next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.phase() == Phase::Gone {
            return None;
        }
        let follow = (self.chain.is_some() && !self.connected.is_empty()).then(|| self.follower.deadline());
        [
            follow,
            // Agreement is not asked any more once the log has forked: its deadlines would come for ever.
            self.hall.as_deref().filter(|_| self.halted.is_none()).and_then(Agreement::next_deadline),
            self.newcomer.as_deref().and_then(Newcomer::deadline),
            self.fetch.as_deref().map(SnapshotFetch::deadline),
            self.paths_deadline(),
            self.proposals.deadline(),
            self.rations.deadline(),
            self.relays.values().min().copied(),
            self.publications.values().map(|(at, _)| *at).min(),
            self.rotation_again.map(|again| again.at),
            self.session_deadline(),
            self.renewal_deadline(),
            self.hall.as_deref().and_then(|_| self.holds.deadline()),
            self.recovery_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time never runs backwards inside (SPEC 9.6).
    fn tell_time(&mut self, now: Timestamp, effects: &mut Effects) {
        if now < self.now {
            if !self.clock_ran_back {
                self.clock_ran_back = true;
                effects.tell(Event::Alarm(Alarm::ClockRanBack { by_ms: self.now.since(now) }));
            }
            return;
        }
        self.clock_ran_back = false;
        self.listen(now.since(self.now));
        self.now = now;
    }

    fn received(
        &mut self,
        from: PublicKey,
        message: &Verified<Message>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.check_allowed(from, message, effects)?;
        match &**message {
            Message::Unsupported { .. } => Err(Error::Untimely("the peer speaks another version")),
            Message::AskHead => self.answer_head(from, effects),
            Message::Head { charter: _, tip } => self.head_shown(from, tip.as_deref(), effects),
            Message::AskCharter(id) => self.asked(from, Question::Charter { id: *id }, effects),
            Message::Charter(charter) => self.charter_shown(from, charter, effects),
            Message::AskLinks { epoch } => self.asked(from, Question::Links { epoch: *epoch }, effects),
            Message::Links(links) => {
                let links: Vec<_> = links.iter().cloned().map(Verified::of_verified_parts).collect();
                self.links_shown(from, &links, effects)
            }
            Message::AskEndorsement(draft) => {
                // Or the answer, and an operator's yes, would go to whoever passed it on.
                if !self.speaks_for(&from, &draft.statement) {
                    let fault = Fault::NotAllowed { what: "a draft about somebody else" };
                    return Err(Error::PeerMisbehaved { culprit: from, fault });
                }
                self.judge_draft(from, &Verified::of_verified_parts((**draft).clone()), effects);
                Ok(())
            }
            Message::Answer(answer) => {
                if self.is_our_renewal(&answer.statement) {
                    self.renewal_answered(from, answer, effects);
                    return Ok(());
                }
                let Some(newcomer) = &mut self.newcomer else {
                    return Err(Error::Untimely("nothing was asked"));
                };
                let steps = newcomer.answered(from, answer);
                self.walk(steps, effects);
                Ok(())
            }
            Message::Submit(entry) => {
                if let Kind::Hold(hold) = &entry.statement.kind {
                    // For whoever hears of it for the first time; it is handed in all the same.
                    let _ = self.take_hold(Some(from), &Verified::of_verified_parts(**hold), false, effects);
                }
                self.submitted(Some(from), &Verified::of_verified_parts(Arc::clone(entry)), effects)
            }
            Message::Refused { statement, why, retry } => {
                if self.is_our_renewal(statement) {
                    self.renewal_declined(from, why, effects);
                    return Ok(());
                }
                let Some(newcomer) = &mut self.newcomer else {
                    return Err(Error::Untimely("nothing was submitted"));
                };
                let steps = newcomer.refused(from, statement, why, *retry);
                self.walk(steps, effects);
                Ok(())
            }
            Message::Follow { height, head } => {
                self.asked(from, Question::Follow { height: *height, head: *head }, effects)
            }
            Message::Same => {
                if self.standing_of(&from) < Standing::Member {
                    return Err(Error::Untimely("no stranger was asked"));
                }
                self.follower.answered();
                Ok(())
            }
            Message::Final(chain) => {
                self.take_final(from, &Verified::of_verified_parts(Arc::clone(chain)), false, effects)
            }
            Message::AskSnapshot { head, chunk, lean } => {
                self.asked(from, Question::Snapshot { head: *head, chunk: *chunk, lean: *lean }, effects)
            }
            Message::AskProofs(asked) => self.answer_proofs(from, asked, effects),
            Message::Proofs(proofs) => self.proofs_shown(from, proofs, effects),
            Message::Snapshot(chunk) => self.take_snapshot(from, chunk, effects),
            Message::Talk(talk) => self.talked(from, talk, effects),
            Message::KeyHistory(history) => {
                let Some(newcomer) = &mut self.newcomer else {
                    return Err(Error::Untimely("the log says whose key is whose"));
                };
                let steps = newcomer.keys_shown(history);
                self.walk(steps, effects);
                Ok(())
            }
            Message::Hold(hold) => {
                self.take_hold(Some(from), &Verified::of_verified_parts(**hold), false, effects)
            }
            Message::Session(session) => self.session_shown(from, session, effects),
            Message::Circulate(circulated) => {
                self.circulated(from, &Verified::of_verified_parts(Arc::clone(circulated)), effects)
            }
        }
    }

    /// Whether `from` may say this at all (SPEC 5.8).
    fn check_allowed(
        &mut self,
        from: PublicKey,
        message: &Message,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        // What anybody may say needs no look at who says it, unless somebody is gone: most messages are gossip, and looking is dear.
        let somebody_gone = self.chain.as_ref().is_some_and(|chain| chain.state().is_anybody_gone());
        if message.needs() == Standing::Stranger && !somebody_gone {
            return Ok(());
        }
        let standing = self.standing_of(&from);
        if standing == Standing::Gone && !self.is_seated(&from) {
            self.tell_denied(from, effects);
            return Err(Error::PeerMisbehaved {
                culprit: from,
                fault: Fault::NotAllowed { what: message.name() },
            });
        }
        // A restrained endorser keeps its vote, and nothing else, until it is released or the charter is amended (SPEC 4.7, 4.9).
        let allowed = match standing {
            Standing::Gone => matches!(message, Message::Talk(_)),
            Standing::Suspended => {
                standing >= message.needs() || message.is_of_a_seat() && self.is_seated(&from)
            }
            Standing::Stranger | Standing::Lapsed | Standing::Member | Standing::Endorser => {
                standing >= message.needs() || loosened(Bug::StrangersServed)
            }
        };
        // Whoever has no state yet cannot know anybody's standing, and judges what it hears by its certificate.
        let anchors =
            matches!(message, Message::Charter(_) | Message::Snapshot(_)) && self.newer_anchor().is_some();
        if allowed || anchors || self.chain.is_none() {
            return Ok(());
        }
        // No fault: it may have been admitted in a block that is still on its way here.
        Err(Error::Untimely("the peer's standing does not allow this message"))
    }

    fn connected(&mut self, peer: PublicKey, effects: &mut Effects) {
        if self.standing_of(&peer) == Standing::Gone && !self.is_seated(&peer) {
            self.dismiss(peer, effects);
            return;
        }
        self.connected.insert(peer);
        if let Some(newcomer) = &mut self.newcomer {
            let steps = newcomer.connected(peer, self.now);
            self.walk(steps, effects);
        }
        if self.admitted.is_some() && self.fetch.is_none() {
            self.fetch_snapshot(None, effects);
        }
        self.ask_about_the_newer_anchor(peer, effects);
        self.recirculate_to(peer, effects);
        self.show_recovery(peer, effects);
        self.show_own_rotation(peer, effects);
        self.show_session(peer, effects);
        if self.is_seated(&peer) {
            self.ask_one_for_renewal(peer, effects);
        }
        self.renew_if_due(effects);
        self.show_holds(peer, effects);
        if self.seat_of(&peer).is_some() {
            if let Some(voter) = self.voter_of(&peer) {
                self.agree(agreement::Input::Connected(voter), effects);
            }
            // Whoever was away asks one endorser at once rather than wait for its timer.
            if self.chain.is_some() {
                self.ask_about_a_gap(peer, effects);
            }
        }
    }

    fn tick(&mut self, effects: &mut Effects) {
        let now = self.now;
        if let Some(newcomer) = &mut self.newcomer {
            let steps = newcomer.tick(now);
            self.take_charters_of_the_newcomer(effects);
            self.walk(steps, effects);
        }
        if let Some(fetch) = self.fetch.take_if(|fetch| fetch.deadline() <= now) {
            // Whoever has a state asks what follows by its own timer, and is told if it needs a snapshot still.
            if self.chain.is_none() {
                self.fetch_snapshot(Some(fetch.from()), effects);
            } else {
                self.fetch_for_the_newer_anchor(fetch.from(), effects);
            }
        }
        self.ask_again_for_paths(effects);
        if self.hall.as_deref().and_then(Agreement::next_deadline).is_some_and(|at| at <= now) {
            self.agree(agreement::Input::Tick, effects);
        }
        for id in self.proposals.lapse(now) {
            effects.persist(Record { table: Table::Proposals, key: id.0.to_vec(), value: None });
            effects.tell(Event::Lapsed { id });
        }
        self.relay_what_is_due(effects);
        self.hand_in_what_is_due(effects);
        self.renew_if_due(effects);
        self.holds_lapse(effects);
        self.publish_what_is_due(effects);
        self.show_session_if_due(effects);
        self.recover_when_due(effects);
        while let Some((peer, question)) = self.rations.due(now) {
            // Nobody is to blame if there is no answer any more: the peer asks again.
            let _ = self.asked(peer, question, effects);
        }
        let jitter = self.jitter();
        if self.chain.is_some()
            && !self.connected.is_empty()
            && self.follower.is_due(now, jitter)
            && let Some(peer) = self.any_member_connected()
        {
            self.ask_what_follows(peer, effects);
            if self.lacks_the_whole() && self.fetch.is_none() {
                self.fetch_snapshot(None, effects);
            }
        }
    }

    fn command(&mut self, command: Command, effects: &mut Effects) -> Result<(), Error> {
        match command {
            Command::Propose { subject, note, expires } => self.propose(subject, note, expires, effects),
            Command::Endorse(id) => self.endorse(&id, effects),
            Command::Decline(id) => self.decline(&id, effects),
            Command::Hold { subject, until, reason } => self.hold(subject, until, reason, effects),
            Command::Leave => self.leave(effects),
            Command::Recover(proven) => self.bring_recovery(&proven, effects),
            Command::FreshVotingKey(key) => {
                self.keys.voting.push(key);
                Ok(())
            }
            Command::Rotate { rotation, key } => self.rotate(*rotation, *key, effects),
            Command::Renew => self.renew_now(effects),
        }
    }

    /// Up to a quarter of the heartbeat, so that nodes do not ask all at once.
    pub(super) fn jitter(&mut self) -> u64 {
        let span = self.charter().map_or(1, |charter| charter.timing.heartbeat_ms / 4).max(1);
        self.rng.next_u64() % span
    }

    /// Whoever is gone is shown why, as far as the tail goes back, and nothing else (SPEC 5.18).
    fn dismiss(&mut self, peer: PublicKey, effects: &mut Effects) {
        let gone = self.owner_of(&peer).and_then(|node| self.state()?.gone_since(&node));
        let gone = gone.filter(|_| !loosened(Bug::DismissedInSilence));
        if let Some(proof) = gone.and_then(|gone| self.proof_of(gone.height, &mut None)) {
            effects.send(peer, proof);
        }
        self.tell_denied(peer, effects);
    }

    pub(super) fn tell_denied(&self, key: PublicKey, effects: &mut Effects) {
        if let Some(node) = self.owner_of(&key) {
            effects.tell(Event::Denied { key, node });
        }
    }

    /// What this node is doing.
    pub fn phase(&self) -> Phase {
        if self.halted.is_some() {
            return Phase::Halted;
        }
        match &self.chain {
            Some(_) | None if self.dismissed.is_some() => Phase::Gone,
            None if self.admitted.is_some() => Phase::Syncing,
            None => Phase::Joining,
            Some(chain) => {
                let state = chain.state();
                let seated = state.has_seat(&self.me);
                match self.effective_here(state, &self.me, self.now) {
                    Effective::Gone if !seated => Phase::Gone,
                    Effective::Gone | Effective::Suspended | Effective::Convicted => Phase::Restrained,
                    Effective::Yes | Effective::Unknown | Effective::NotYet | Effective::Lapsed if seated => {
                        Phase::Endorsing
                    }
                    Effective::Yes | Effective::Unknown | Effective::NotYet | Effective::Lapsed => {
                        Phase::Following
                    }
                }
            }
        }
    }
}

pub(super) fn seeded(seed: [u8; 32]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(seed)
}
