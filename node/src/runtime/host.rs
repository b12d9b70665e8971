//! The core's inputs and effects: handle, store, send, in this order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use frith_protocol::door::{
    Alarm, Core, Effects, Envelope, Error, Event, ForDomain, Input, Lookup, Message, Outbox, Phase, Router,
    Standing, Unsettled,
};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_protocol::joining::Origin;
use frith_protocol::state::DomainId;
use frith_protocol::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::alarms::{gone_in_words, in_words};
use super::checks::Incoming;
use super::clock::Clock;
use super::contacts::Contacts;
use super::feed::Feed;
use super::waits::Wait;
use super::{Ended, LOOK_AT_CLOCK, Until};
use crate::backup::Restored;
use crate::control::Reply;
use crate::control::feed::Happening;
use crate::home::Home;
use crate::kill_point::kill_point;
use crate::net::{GossipToken, Network, NotSent, Verdict};
use crate::store::{Damage, Store, StoreError};

/// Alarms that `status` shows, the newest ones.
const ALARMS_KEPT: usize = 16;
/// A newcomer that has reached nobody for so long says so.
const ALONE_AFTER: Duration = Duration::from_secs(5);
/// What is learnt of addresses is written down this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// How this node's joining came out, if it was a newcomer when it started.
#[derive(Debug, Default)]
pub(super) struct Joining {
    pub(super) failed: Option<String>,
    /// Endorsers that declined, and why.
    pub(super) declined: BTreeMap<String, String>,
    /// It was said that nobody answers.
    said_alone: bool,
}

/// The core and everything that its effects reach.
pub(super) struct Host {
    pub(super) home: Home,
    pub(super) domain: DomainId,
    pub(super) router: Router,
    pub(super) store: Store,
    pub(super) network: Network,
    pub(super) contacts: Contacts,
    pub(super) damage: Vec<String>,
    /// Whether this directory came out of a backup.
    pub(super) restored: Option<Restored>,
    /// Since when a restored node has a state and peers, in this process.
    pub(super) state_since: Option<Instant>,
    pub(super) alarms: VecDeque<String>,
    pub(super) joining: Joining,
    pub(super) started: Instant,
    pub(super) clock: Clock,
    /// Who is connected, and as what the network knows it.
    pub(super) connected: BTreeMap<PublicKey, Standing>,
    /// What was handled and is not stored yet.
    unsettled: Vec<Unsettled>,
    /// What is said once it is.
    pub(super) verdicts: Vec<(GossipToken, Verdict)>,
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    pub(super) waits: Vec<Wait>,
    pub(super) feed: Feed,
    /// The state changed in a way that may change who is what.
    pub(super) standings_changed: bool,
    /// When, by time alone, somebody may become something else than the network knows it as.
    look_again_at: Option<Timestamp>,
    /// A ticket may be over whose key lies here.
    tickets_changed: bool,
    /// The charter was amended: a fresh voting key may be needed, and others may be over.
    charter_changed: bool,
    pub(super) misbehaved: Vec<PublicKey>,
    /// Who was told on this connection that we speak another version.
    pub(super) told_version: BTreeSet<PublicKey>,
    /// Who was named in the log on this connection for breaking a rule.
    pub(super) named: BTreeSet<PublicKey>,
    save_at: Instant,
    /// The transport must begin anew, under another key.
    has_rotated: bool,
    /// A rotation that is due is not tried before.
    pub(super) rotate_at: Option<tokio::time::Instant>,
}

impl Host {
    pub(super) fn new(
        home: Home,
        domain: DomainId,
        router: Router,
        store: Store,
        network: Network,
        contacts: Contacts,
        damage: Vec<Damage>,
    ) -> Host {
        let now = Instant::now();
        Host {
            home,
            domain,
            router,
            store,
            network,
            contacts,
            damage: damage.iter().map(Damage::to_string).collect(),
            restored: None,
            state_since: None,
            alarms: VecDeque::new(),
            joining: Joining::default(),
            started: now,
            clock: Clock::new(),
            connected: BTreeMap::new(),
            unsettled: Vec::new(),
            verdicts: Vec::new(),
            replies: Vec::new(),
            waits: Vec::new(),
            feed: Feed::new(),
            standings_changed: true,
            look_again_at: None,
            tickets_changed: true,
            charter_changed: false,
            misbehaved: Vec::new(),
            told_version: BTreeSet::new(),
            named: BTreeSet::new(),
            save_at: now + SAVE_EVERY,
            has_rotated: false,
            rotate_at: None,
        }
    }

    /// Whoever sets it makes every later write fail.
    #[cfg(test)]
    pub(super) fn disk_is_full(&self) -> Arc<std::sync::atomic::AtomicBool> {
        self.store.full()
    }

    pub(super) fn core(&self) -> &Core {
        self.router.core(&self.domain).expect("the one core is never taken out")
    }

    /// Whether the transport must begin anew, under another key: said once.
    pub(super) fn rotated(&mut self) -> bool {
        self.standings_changed |= self.has_rotated;
        std::mem::take(&mut self.has_rotated)
    }

    pub(super) fn is_connected(&self, key: &PublicKey) -> bool {
        self.connected.contains_key(key)
    }

    /// Starts looking for others, and says what is wrong from the beginning.
    pub(super) async fn begin(&mut self, answered: mpsc::Sender<Incoming>) {
        let status = self.core().status(self.clock.latest());
        if status.phase == Phase::Gone {
            self.raise(gone_in_words(None));
        }
        if let Some(why) = status.journal_lost {
            self.raise(in_words(&Alarm::JournalLost { why }));
        }
        self.feed_state();
        if let Some(head) = self.core().head() {
            self.feed.reached(head.height);
        }
        self.contacts.begin(&self.network, &answered).await;
    }

    // ---- inputs ----

    /// Takes effects over, to be settled.
    pub(super) fn take(&mut self, ForDomain { domain: _, mut effects }: ForDomain) {
        self.unsettled.push(effects.take());
    }

    /// Hands an input to the core. Its effects wait for [`Host::settle`].
    pub(super) fn handle(&mut self, input: Input) -> Result<(), Error> {
        let mut effects = Effects::new();
        let result = self.router.handle(self.clock.now(), &self.domain, input, &mut effects);
        self.unsettled.push(effects.take());
        result
    }

    /// Hands the core a piece of the archive.
    fn look_up(&mut self, Lookup { to, height }: Lookup) -> Result<(), StoreError> {
        let records = tokio::task::block_in_place(|| self.store.archived(height))?;
        if let Err(error) = self.handle(Input::LookedUp { to, height, records }) {
            tracing::debug!(%error, "nobody was answered out of the archive");
        }
        Ok(())
    }

    /// The identity behind a key, as `frith members` names it; the key itself, if that is not known here.
    pub(super) fn name_of(&self, key: &PublicKey) -> String {
        let core = self.core();
        let seats = core.charter().into_iter().flat_map(|charter| &charter.endorsers);
        let mut seated = seats.filter(|seat| seat.inception.key == *key).map(|seat| seat.node_id());
        let owner = core.state().and_then(|state| state.owner_of(key)).or_else(|| seated.next());
        owner.map_or_else(|| format!("key {key}"), |node| node.to_string())
    }

    /// A newcomer that reaches nobody would wait in silence.
    fn say_if_alone(&mut self) {
        let is_alone = self.core().phase() == Phase::Joining && self.connected.is_empty();
        if is_alone && !self.joining.said_alone && self.started.elapsed() > ALONE_AFTER {
            self.joining.said_alone = true;
            let tried = self.contacts.tried().join(", ");
            tracing::warn!("nobody answers yet of whom this node was told: {tried}; it goes on trying");
        }
    }

    /// Deadlines may have passed.
    pub(super) fn tick(&mut self) {
        self.say_if_alone();
        let now = self.clock.now();
        for effects in self.router.tick(now) {
            self.take(effects);
        }
        if self.look_again_at.take_if(|at| *at <= now).is_some() {
            // The core judges by the time that it was given last.
            self.handle(Input::Tick).expect("time is nobody's fault");
            self.standings_changed = true;
        }
        self.feed_time(now);
        self.note_caught_up();
    }

    // ---- effects ----

    /// Stores what was handled, then sends what rests on it, then answers.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        self.settle_once().await?;
        // What was looked up in the archive meanwhile has its own effects.
        while !self.unsettled.is_empty() {
            self.settle_once().await?;
        }
        Ok(())
    }

    async fn settle_once(&mut self) -> Result<(), StoreError> {
        let unsettled = std::mem::take(&mut self.unsettled);
        let records: Vec<_> = unsettled.iter().flat_map(|one| one.records().iter().cloned()).collect();
        let sync_all = unsettled.iter().any(Unsettled::syncs_all);
        if !records.is_empty() || sync_all {
            // On an error everything that is unsettled is dropped here, and nothing of it sent.
            tokio::task::block_in_place(|| {
                self.store.commit(&records)?;
                if sync_all { self.store.sync_all() } else { Ok(()) }
            })?;
            kill_point("before anything is sent");
        }
        let mut events = Vec::new();
        for one in unsettled {
            let Outbox { sends, publishes, events: told, lookups } = one.settled();
            for lookup in lookups {
                self.look_up(lookup)?;
            }
            self.send(&sends);
            for message in publishes {
                let bytes = Envelope { domain: self.domain, message }.to_bytes();
                if let Err(e) = self.network.publish(self.domain, bytes).await {
                    tracing::warn!(error = %e, "a message could not be gossiped");
                }
            }
            events.extend(told);
        }
        for event in events {
            self.told(event).await;
        }
        for (token, verdict) in std::mem::take(&mut self.verdicts) {
            self.network.verdict(token, verdict).await;
        }
        if std::mem::take(&mut self.tickets_changed) {
            self.forget_ticket_keys();
        }
        // What the core told of is on the disk by now.
        if std::mem::take(&mut self.charter_changed)
            && let Err(error) = tokio::task::block_in_place(|| self.keep_voting_keys())
        {
            self.raise(format!("the keys of a seat are not as they should be: {error}"));
        }
        if std::mem::take(&mut self.standings_changed) {
            self.tell_standings().await;
            self.feed_connections();
        }
        for key in std::mem::take(&mut self.misbehaved) {
            self.network.forget(key).await;
        }
        for (asker, reply) in std::mem::take(&mut self.replies) {
            // Whoever asked may have gone.
            drop(asker.send(reply));
        }
        self.check_waits();
        self.tell_watchers();
        if self.save_at <= Instant::now() {
            self.contacts.save(&mut self.store)?;
            self.save_at = Instant::now() + SAVE_EVERY;
        }
        Ok(())
    }

    /// One message to many peers is encoded once.
    fn send(&self, sends: &[(PublicKey, Arc<Message>)]) {
        let mut last: Option<(&Arc<Message>, Arc<[u8]>)> = None;
        for (to, message) in sends {
            let bytes = match &last {
                Some((same, bytes)) if Arc::ptr_eq(same, message) => Arc::clone(bytes),
                Some(_) | None => {
                    let message = Arc::clone(message);
                    Envelope { domain: self.domain, message }.to_bytes().into()
                }
            };
            last = Some((message, Arc::clone(&bytes)));
            report_unsent(*to, self.network.send(*to, bytes));
            kill_point("after one message is sent");
        }
    }

    /// Says to the network who is what now, and whom to keep to.
    async fn tell_standings(&mut self) {
        let core = self.router.core(&self.domain).expect("the one core is never taken out");
        let seated = core.endorser_keys();
        for (key, known) in &mut self.connected {
            let mut standing = core.standing_of(key);
            // A restrained endorser keeps its vote (SPEC 4.7, 4.9): its ballots must come through.
            if matches!(standing, Standing::Gone | Standing::Suspended) && seated.contains(key) {
                standing = Standing::Endorser;
            }
            if standing != *known {
                self.network.set_standing(*key, standing).await;
                *known = standing;
            }
        }
        // Windows and suspensions end without an entry that says so. This is exact, and a few look-ups whenever an entry comes; whoever is not
        // connected is looked at when it connects. (Looking every few seconds would go through all members each time, and be late.)
        self.look_again_at = core.may_change_at(self.connected.keys());
        self.contacts.keep(core, &self.network).await;
    }

    async fn told(&mut self, event: Event) {
        match event {
            Event::Final { height, block, entries } => {
                self.feed.reached(height);
                if entries > 0 {
                    tracing::info!(height, ?block, entries, "final");
                    self.feed_block(height);
                    self.tickets_changed = true;
                    self.standings_changed = true;
                } else {
                    tracing::debug!(height, ?block, "final");
                }
            }
            Event::Amended { epoch, height } => {
                tracing::info!(epoch, height, "the charter was amended: a new epoch begins");
                self.standings_changed = true;
                self.charter_changed = true;
            }
            Event::CharterLearnt { epoch } => {
                tracing::info!(epoch, "a charter is known here: this node keeps to its endorsers");
                self.standings_changed = true;
            }
            Event::Recovered { height, epoch, dropped } => {
                tracing::warn!(
                    height,
                    epoch,
                    dropped,
                    "the log goes on by a recovery, under other endorsers"
                );
                self.feed.reached(height);
                self.standings_changed = true;
                self.charter_changed = true;
                self.tickets_changed = true;
            }
            Event::RecoveryWaits { height, block } => {
                tracing::warn!(
                    height,
                    ?block,
                    "a recovery is kept until the log has been silent for long enough"
                );
            }
            Event::RecoveryVoid { why } => tracing::warn!(why, "the recovery that was kept here is void"),
            Event::Admitted { node, height } => {
                tracing::info!(%node, height, "this node is a member now");
                self.standings_changed = true;
            }
            Event::Synced { height } => {
                tracing::info!(height, "the state is here");
                self.feed_state();
                self.feed_jump(height);
                self.standings_changed = true;
            }
            Event::Declined { by, why } => {
                tracing::warn!(by = self.name_of(&by), why, "an endorser declined this node's admission");
                // Of a renewal the core itself says what was last said.
                if self.core().state().is_none() {
                    self.joining.declined.insert(self.name_of(&by), why);
                }
            }
            Event::JoinFailed { why } => {
                // Whoever runs it says it, as the last word.
                tracing::debug!(why, "this node cannot join any more");
                self.joining.failed = Some(why);
            }
            Event::Waiting { id, note } => {
                let waits = self.waiting(id, self.clock.latest());
                // Strangers can make these without end: the log names what endorsers propose.
                if self.is_of_endorsers(&id) {
                    waits.into_iter().for_each(|waits| self.feed.happened(waits));
                    tracing::info!(%id, note, "something waits for an operator: see `frith pending`");
                } else {
                    waits.into_iter().for_each(|waits| self.feed.lately.newcomer_waits(id, waits));
                    tracing::debug!(%id, note, "a newcomer waits for an operator: see `frith pending`");
                }
            }
            Event::Endorsed { id } => tracing::info!(%id, "endorsed"),
            Event::Met { id, subject: _, endorsements } => {
                tracing::info!(%id, endorsements = endorsements.len(), "a proposal met its rule");
                self.feed.happened(Happening::Met { time: self.clock.latest(), id });
            }
            Event::Lapsed { id } => {
                tracing::debug!(%id, "a proposal lapsed");
                self.feed.lately.lapsed(id, Happening::Lapsed { time: self.clock.latest(), id });
                self.tickets_changed = true;
            }
            Event::Accepted { statement } => tracing::debug!(?statement, "an entry waits for a block"),
            Event::Denied { key, node } => {
                tracing::info!(%node, ?key, "gone: disconnected, and kept out");
                self.network.set_standing(key, Standing::Gone).await;
                self.connected.entry(key).and_modify(|known| *known = Standing::Gone);
            }
            Event::Held { node, by, until } => {
                tracing::warn!(%node, %by, %until, "an endorser holds a node: see `frith members`");
                self.feed.happened(Happening::Held { time: self.clock.latest(), node, by, until });
                self.standings_changed = true;
            }
            Event::Dismissed { height } => self.raise(gone_in_words(Some(height))),
            Event::Rotated { sequence, key } => {
                tracing::info!(sequence, %key, "this node has rotated to its next key");
                self.has_rotated = true;
            }
            Event::Renewed { number, until } => {
                tracing::info!(number, until = until.0, "this node's admission was renewed");
            }
            Event::Misbehaved { key, why } => {
                if self.named.insert(key) {
                    tracing::warn!(peer = self.name_of(&key), why, "a peer broke a rule");
                }
            }
            Event::Alarm(alarm) => self.alarm(&alarm),
        }
    }

    fn is_of_endorsers(&self, id: &Hash) -> bool {
        let proposal = self.core().proposals().find(|(of, _)| *of == id);
        proposal.is_some_and(|(_, proposal)| proposal.origin == Origin::Endorsers)
    }

    fn alarm(&mut self, alarm: &Alarm) {
        tracing::debug!(?alarm);
        self.raise(in_words(alarm));
    }

    /// Tells the operator something that asks for a person.
    pub(super) fn raise(&mut self, text: String) {
        tracing::error!("{text}");
        self.feed.happened(Happening::Alarm { time: self.clock.latest(), why: text.clone() });
        if self.alarms.len() == ALARMS_KEPT {
            self.alarms.pop_front();
        }
        self.alarms.push_back(text);
    }

    // ---- answers ----

    /// Answers once what was handled until now is stored.
    pub(super) fn reply(&mut self, asker: oneshot::Sender<Reply>, reply: Reply) {
        self.replies.push((asker, reply));
    }

    // ---- the loop ----

    /// How long nothing need be done.
    pub(super) fn deadline(&self) -> Duration {
        let coming = self.look_again_at.into_iter().chain(self.feed.next_change());
        let core = self.router.next_deadline().into_iter().chain(coming).min();
        let core = core.map(|at| Duration::from_millis(at.since(self.clock.latest())));
        let instant = Instant::now();
        let waits = self.next_wait().map(|at| at.saturating_duration_since(instant));
        core.into_iter().chain(waits).min().unwrap_or(LOOK_AT_CLOCK).min(LOOK_AT_CLOCK)
    }

    /// Whether the node has done what it was to do.
    pub(super) fn ended(&self, until: Until) -> Option<Ended> {
        let gone = || (self.core().phase() == Phase::Gone).then(|| Ended::JoinFailed(gone_in_words(None)));
        let failed = || self.joining.failed.clone().map(Ended::JoinFailed);
        match until {
            Until::Told => None,
            // Whoever is gone goes on answering its operator; nobody restarts it for nothing.
            Until::JoinFails => failed(),
            Until::JoinSettles => {
                failed().or_else(gone).or_else(|| self.is_member().then_some(Ended::Joined))
            }
        }
    }

    /// Writes down what is only kept in memory until the end, and closes the store.
    pub(super) fn close(mut self) -> Result<(), StoreError> {
        tokio::task::block_in_place(|| {
            self.contacts.save(&mut self.store)?;
            self.store.close()
        })
    }
}

pub(super) fn report_unsent(to: PublicKey, sent: Result<(), NotSent>) {
    match sent {
        Ok(()) => {}
        Err(NotSent::QueueFull) => tracing::debug!(?to, "a peer takes messages too slowly; one was dropped"),
        Err(e @ NotSent::TooLong { .. }) => tracing::error!(?to, error = %e, "a message was not sent"),
    }
}
