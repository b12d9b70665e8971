//! A node's program: Frith's core, and around it what a host does for it. Nothing of the core is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use frith_protocol::door::{
    Command, Config, Core, Durability, Effects, Error, Event, Input as CoreInput, Keys, Message, Outbox,
    Record, Table,
};
use frith_protocol::fault::Fault;
use frith_protocol::following::Workshop;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::DomainId;
use frith_protocol::time::Timestamp;

use super::check::{Checker, Lookup};
use super::grave::Grave;
use super::letter::{Letter, Letters};
use super::liar::{Plot, twisted, unheard, unpublished};
use super::workshop::SharedWorkshop;
use crate::engine::{Actions, Actor, Input, Instant, Millis, NodeIndex, Parcel as _, Store, Verdict, Write};
use crate::oracles::Ballots;
use crate::scenario::Lie;

/// What the nodes of one domain share: their keys as far as the world must know them, what was computed before, and who watches.
pub(super) struct Shared {
    /// The domain.
    pub(super) domain: DomainId,
    /// Each node's name: its public key. Beside its keys, which are large, and asked for with every message.
    pub(super) names: Vec<PublicKey>,
    /// Each node's keys.
    pub(super) keys: Vec<Keys>,
    /// Each node's seed for its own randomness.
    pub(super) seeds: Vec<[u8; 32]>,
    /// Whose key is whose.
    pub(super) nodes: Lookup<PublicKey, NodeIndex>,
    /// Who runs from a copy of whose disk.
    pub(super) twins: BTreeMap<NodeIndex, NodeIndex>,
    /// The same of those that run, the other way round.
    pub(super) up_twins: BTreeMap<NodeIndex, NodeIndex>,
    /// How many times somebody said which process it is.
    pub(super) sessions: u64,
    /// The check of signatures.
    pub(super) checker: Checker,
    /// The transitions.
    pub(super) workshop: Arc<SharedWorkshop>,
    /// Watches what is sent.
    pub(super) ballots: Ballots,
    /// How many messages of each kind were sent or published, and how many bytes they had.
    pub(super) sent: BTreeMap<&'static str, (u64, u64)>,
    /// Who lies, how, and from when on by its own clock.
    pub(super) lies: BTreeMap<NodeIndex, (Lie, Millis)>,
    /// What grave robbers have dug up.
    pub(super) grave: Grave,
    /// What the liars have agreed on.
    pub(super) plot: Plot,
    /// What rejected messages were rejected for, how often.
    pub(super) faults: BTreeMap<String, u64>,
    /// Which nodes' disks need keep nothing.
    pub(super) forgetful: Vec<bool>,
    /// Messages as they travel.
    pub(super) letters: Letters,
    /// Equal values on many disks are one here.
    pub(super) values: Values,
}

impl Shared {
    /// Whom `from` reaches under that name. Of two machines that have it, each of the others talks to one.
    fn reaches(&self, from: NodeIndex, name: &PublicKey) -> Option<NodeIndex> {
        let named = *self.nodes.get(name)?;
        let twin = self.up_twins.get(&named).filter(|_| from.0 % 2 == 1);
        Some(twin.copied().unwrap_or(named))
    }
}

/// A running node: its core.
pub(super) struct Program {
    node: NodeIndex,
    core: Core,
}

impl Program {
    /// The core.
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// How it lies by now, if it does.
    fn lie(&self, shared: &Shared, now: Millis) -> Option<Lie> {
        shared.lies.get(&self.node).filter(|(_, from)| *from <= now).map(|(lie, _)| *lie)
    }

    /// Puts what the core sends into letters.
    fn send(&self, shared: &mut Shared, now: Millis, outbox: Outbox, actions: &mut Actions<Program>) {
        // No simulated node keeps an archive.
        let Outbox { sends, publishes, events, lookups: _ } = outbox;
        let lie = self.lie(shared, now);
        let robs = lie == Some(Lie::GraveRobber);
        let told = |shared: &Shared, message: Arc<Message>| {
            let robbed = if robs { shared.grave.robbed(&message) } else { None };
            robbed.unwrap_or(message)
        };
        let mut last: Option<(Arc<Message>, Letter)> = None;
        for (to, message) in sends {
            let message = told(shared, message);
            let Some(to) = shared.reaches(self.node, &to) else { continue };
            let message = match lie {
                None => message,
                Some(lie) => {
                    let keys = &shared.keys[self.node.index()];
                    let Some(message) = twisted(lie, &mut shared.plot, keys, to, message) else { continue };
                    message
                }
            };
            // One message to many is one letter.
            let letter = match &last {
                Some((same, letter)) if Arc::ptr_eq(same, &message) => letter.clone(),
                Some(_) | None => {
                    if matches!(&*message, Message::Session(said) if said.key == shared.names[self.node.index()])
                    {
                        shared.sessions += 1;
                    }
                    shared.checker.foresee(&message);
                    shared.letters.letter(shared.domain, &message)
                }
            };
            last = Some((message, letter.clone()));
            actions.sends.push((to, letter));
        }
        for message in publishes {
            if lie.is_some_and(|lie| unpublished(lie, &message)) {
                continue;
            }
            let message = told(shared, message);
            shared.checker.foresee(&message);
            actions.publishes.push(shared.letters.letter(shared.domain, &message));
        }
        actions.told.extend(events);
    }
}

fn timestamp(now: Millis) -> Timestamp {
    Timestamp(now.0)
}

impl Actor for Program {
    type Shared = Shared;
    type Message = Letter;
    type Command = Command;
    type Told = Event;

    fn start(shared: &mut Shared, node: NodeIndex, store: Store<'_>, now: Millis) -> Result<Program, String> {
        let records = store
            .image
            .iter()
            .map(|((table, key), value)| Record {
                table: Table::ALL[usize::from(*table)],
                key: key.clone(),
                value: Some(Arc::clone(value)),
            })
            .collect();
        let journal = Table::Journal as u8;
        let journal_lost = store
            .damaged
            .iter()
            .any(|(table, _)| *table == journal)
            .then(|| "a record of it is damaged".to_owned());
        let config = Config {
            keys: shared.keys[node.index()].clone(),
            seed: shared.seeds[node.index()],
            workshop: Arc::clone(&shared.workshop) as Arc<dyn Workshop>,
            archive: false,
            journal_lost,
        };
        let core = Core::open(config, records, timestamp(now)).map_err(|e| e.to_string())?;
        Ok(Program { node, core })
    }

    fn handle(
        &mut self,
        shared: &mut Shared,
        now: Millis,
        input: Input<Letter, Command>,
        actions: &mut Actions<Program>,
    ) -> Verdict {
        if let (Input::Received { from: _, message }, Some(lie)) = (&input, self.lie(shared, now))
            && unheard(lie, &shared.plot, self.node, message.message())
        {
            return Verdict::Ignore;
        }
        let input = match received(shared, input) {
            Ok(input) => input,
            Err(fault) => {
                *shared.faults.entry(fault.to_string()).or_default() += 1;
                return Verdict::Reject;
            }
        };
        let mut effects = Effects::new();
        let result = self.core.handle(timestamp(now), input, &mut effects);
        let unsettled = effects.take();
        let forgetful = shared.forgetful[self.node.index()];
        for record in unsettled.records() {
            actions.writes.push(write(record, forgetful, &mut shared.values));
        }
        actions.sync_all |= unsettled.syncs_all();
        self.send(shared, now, unsettled.settled(), actions);
        match result {
            Ok(()) => Verdict::Accept,
            Err(Error::PeerMisbehaved { culprit: _, fault }) => {
                *shared.faults.entry(fault.to_string()).or_default() += 1;
                Verdict::Reject
            }
            Err(Error::Untimely(_) | Error::Refused(_)) => Verdict::Ignore,
            Err(Error::ApiMisuse(what)) => panic!("the simulator used a core wrongly: {what}"),
        }
    }

    fn next_deadline(&self) -> Option<Millis> {
        self.core.next_deadline().map(|at| Millis(at.0))
    }

    fn leaves(shared: &mut Shared, node: NodeIndex, now: Instant, letter: &Letter) {
        let sent = shared.sent.entry(letter.message().name()).or_default();
        *sent = (sent.0 + 1, sent.1 + letter.bytes());
        shared.ballots.leaves(node, now, letter.message());
    }
}

/// What a host does with what comes in, before its core sees it.
fn received(shared: &Shared, input: Input<Letter, Command>) -> Result<CoreInput, Fault> {
    let key = |node: NodeIndex| shared.names[node.index()];
    Ok(match input {
        Input::Received { from, message } => {
            CoreInput::Received { from: key(from), message: message.checked(&shared.checker)? }
        }
        Input::Gossiped { from, message } => {
            CoreInput::Gossiped { from: key(from), message: message.checked(&shared.checker)? }
        }
        Input::Connected(peer) => CoreInput::Connected(key(peer)),
        Input::Disconnected(peer) => CoreInput::Disconnected(key(peer)),
        Input::Tick => CoreInput::Tick,
        Input::Command(command) => CoreInput::Command(command),
    })
}

/// A record on its way to a disk. A disk that keeps nothing needs to know no more than how durable it must be.
fn write(record: &Record, forgetful: bool, values: &mut Values) -> Write {
    let synced = record.table.durability() == Durability::Synced;
    let table = record.table as u8;
    if forgetful {
        return Write { table, key: Vec::new(), value: None, synced };
    }
    let value = record.value.as_ref().map(|value| values.share(value));
    Write { table, key: record.key.clone(), value, synced }
}

/// Values on disks, each once: a thousand nodes store the same blocks.
#[derive(Debug, Default)]
pub(super) struct Values(Lookup<[u8; 32], std::sync::Weak<[u8]>>);

impl Values {
    /// The one copy of `value`.
    pub(super) fn share(&mut self, value: &Arc<[u8]>) -> Arc<[u8]> {
        let digest = *blake3::hash(value).as_bytes();
        if let Some(known) = self.0.get(&digest).and_then(std::sync::Weak::upgrade) {
            return known;
        }
        self.0.insert(digest, Arc::downgrade(value));
        Arc::clone(value)
    }
}
