//! Cores of the domain, and what they cost: fed with bytes as from a wire, with disks that are maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use frith_protocol::door::{
    Config, Core, Effects, Error, Event, Input, Keys, Lookup, Message, Outbox, Phase, Record, Table,
    founding_records, open_envelope,
};
use frith_protocol::following::PlainWorkshop;
use frith_protocol::identity::{PublicKey, verify};
use frith_protocol::limits;
use frith_protocol::time::Timestamp;

use super::domain::{Person, check};
use super::history::History;

/// Records by table and key.
pub(crate) type Disk = BTreeMap<(Table, Vec<u8>), Arc<[u8]>>;

/// Carries a write out.
pub(crate) fn put(disk: &mut Disk, record: &Record) {
    match &record.value {
        Some(value) => disk.insert((record.table, record.key.clone()), Arc::clone(value)),
        None => disk.remove(&(record.table, record.key.clone())),
    };
}

/// A core and its disk.
pub(crate) struct Node {
    pub(crate) key: PublicKey,
    pub(crate) core: Core,
    pub(crate) disk: Disk,
    /// What was written since it was opened, in order.
    pub(crate) writes: Vec<Record>,
    person: Person,
    archive: bool,
    now: Timestamp,
}

/// What a core with these keys is opened with.
pub(crate) fn config(person: &Person) -> Config {
    let keys = Keys {
        inception: person.inception.clone(),
        rotations: Vec::new(),
        identity: person.key.clone(),
        successor: None,
        voting: Vec::new(),
    };
    Config { keys, seed: [1; 32], workshop: Arc::new(PlainWorkshop), archive: false, journal_lost: None }
}

/// The charter alone, as everybody stores it who follows from genesis.
fn charter(history: &History) -> Vec<Record> {
    let mut records = founding_records(&history.domain.founded, &PublicKey([9; 32]));
    records.retain(|record| record.table == Table::Meta);
    records
}

impl Node {
    fn open(person: &Person, records: Vec<Record>, now: Timestamp, archive: bool) -> Node {
        let disk = records
            .iter()
            .filter_map(|record| Some(((record.table, record.key.clone()), record.value.clone()?)))
            .collect();
        let config = Config { archive, ..config(person) };
        let core = Core::open(config, records, now).expect("the records are sound");
        Node { key: person.public(), core, disk, writes: Vec::new(), person: person.clone(), archive, now }
    }

    /// A member that has the charter and no block.
    pub(crate) fn at_genesis(history: &History, person: &Person) -> Node {
        Node::open(person, charter(history), history.domain.head.time, false)
    }

    /// The same, that keeps an archive from there on.
    pub(crate) fn archiving(history: &History, person: &Person) -> Node {
        Node::open(person, charter(history), history.domain.head.time, true)
    }

    /// A newcomer that was just told that it is admitted.
    pub(crate) fn just_admitted(history: &History, person: &Person) -> Node {
        let mut records = charter(history);
        let height = history.domain.head.height;
        let value = Some(height.to_be_bytes().into());
        records.push(Record { table: Table::Meta, key: b"admitted".to_vec(), value });
        let node = Node::open(person, records, history.domain.head.time, false);
        assert_eq!(node.core.phase(), Phase::Syncing);
        node
    }

    pub(crate) fn input(&mut self, input: Input) -> Outbox {
        let (out, error) = self.tried(input);
        if let Some(why) = error {
            assert!(matches!(why, Error::Untimely(_)), "{why}");
        }
        out
    }

    /// Its time goes on.
    pub(crate) fn later(&mut self, by_ms: u64) {
        self.now = self.now.plus(by_ms);
    }

    fn tried(&mut self, input: Input) -> (Outbox, Option<Error>) {
        let mut effects = Effects::new();
        let error = self.core.handle(self.now, input, &mut effects).err();
        let unsettled = effects.take();
        for record in unsettled.records() {
            put(&mut self.disk, record);
            self.writes.push(record.clone());
        }
        let mut out = unsettled.settled();
        for Lookup { to, height } in std::mem::take(&mut out.lookups) {
            let records = self.found(height);
            let more = self.input(Input::LookedUp { to, height, records });
            out.sends.extend(more.sends);
            out.events.extend(more.events);
        }
        (out, error)
    }

    /// What its host finds in the archive: the newest up to that height, and those above.
    fn found(&self, height: u64) -> Vec<Arc<[u8]>> {
        let place = |height: u64| (Table::Archive, height.to_be_bytes().to_vec());
        let before = self.disk.range(place(0)..=place(height)).next_back();
        let above = self.disk.range(place(height + 1)..=place(u64::MAX));
        let mut bytes = 0;
        let fits = |record: &&Arc<[u8]>| {
            bytes += record.len();
            bytes <= limits::ARCHIVE_ANSWER_BYTES_MAX
        };
        before.into_iter().chain(above).map(|(_, record)| record).take_while(fits).cloned().collect()
    }

    /// Takes what came over a wire: decodes it, checks every signature, hands it in.
    pub(crate) fn receive(&mut self, from: PublicKey, wire: &[u8]) -> Outbox {
        let (_, message) = open_envelope(wire, limits::MESSAGE_BYTES_MAX).expect("it was encoded by us");
        let message = verify(message, &check()).expect("it was signed by us");
        self.input(Input::Received { from, message: Arc::new(message) })
    }

    /// The same, of what it may hold against whoever sent it.
    pub(crate) fn told(&mut self, from: PublicKey, wire: &[u8]) -> (Outbox, Option<Error>) {
        let (_, message) = open_envelope(wire, limits::MESSAGE_BYTES_MAX).expect("it was encoded by us");
        let message = verify(message, &check()).expect("it was signed by us");
        self.tried(Input::Received { from, message: Arc::new(message) })
    }

    /// The same, as gossip brings it.
    pub(crate) fn heard(&mut self, from: PublicKey, wire: &[u8]) -> (Outbox, Option<Error>) {
        let (_, message) = open_envelope(wire, limits::MESSAGE_BYTES_MAX).expect("it was encoded by us");
        let message = verify(message, &check()).expect("it was signed by us");
        self.tried(Input::Gossiped { from, message: Arc::new(message) })
    }

    /// The same node, opened with what is on this disk.
    pub(crate) fn reopened(&self, disk: &Disk) -> Node {
        let record = |((table, key), value): (&(Table, Vec<u8>), &Arc<[u8]>)| {
            let (key, value) = (key.clone(), Some(Arc::clone(value)));
            Record { table: *table, key, value }
        };
        Node::open(&self.person, disk.iter().map(record).collect(), self.now, self.archive)
    }

    /// Bytes in these tables.
    pub(crate) fn stored(&self, tables: &[Table]) -> usize {
        let of = self.disk.iter().filter(|((table, _), _)| tables.contains(table));
        of.map(|((_, key), value)| key.len() + value.len()).sum()
    }
}

/// What one node had of another.
#[derive(Default)]
pub(crate) struct Talk {
    /// What it took, on its own processor.
    pub(crate) nanoseconds: u64,
    /// Of snapshots.
    pub(crate) snapshot_bytes: usize,
    /// Of all else that it was sent.
    pub(crate) other_bytes: usize,
    pub(crate) events: Vec<Event>,
}

/// Connects `node`, which is away else, to `server`: until neither has anything to say. Disconnects it again.
pub(crate) fn talk(history: &History, server: &mut Node, node: &mut Node) -> Talk {
    let mut talk = Talk::default();
    let (from, to) = (server.key, node.key);
    server.input(Input::Connected(to));
    let mut out = timed(&mut talk.nanoseconds, || node.input(Input::Connected(from)));
    while !out.sends.is_empty() {
        let mut next = Outbox::default();
        for (_, message) in std::mem::take(&mut out.sends) {
            let answers = server.receive(to, &history.wire((*message).clone()));
            for (_, answer) in answers.sends {
                let wire = history.wire((*answer).clone());
                if matches!(*answer, Message::Snapshot(_)) {
                    talk.snapshot_bytes += wire.len();
                } else {
                    talk.other_bytes += wire.len();
                }
                let more = timed(&mut talk.nanoseconds, || node.receive(from, &wire));
                next.sends.extend(more.sends);
                talk.events.extend(more.events);
            }
        }
        out = next;
    }
    server.input(Input::Disconnected(to));
    node.input(Input::Disconnected(from));
    talk
}

/// A newcomer takes the snapshot from `server` and follows up to its head.
pub(crate) fn sync(history: &History, server: &mut Node, person: &Person) -> (Node, Talk) {
    let mut newcomer = Node::just_admitted(history, person);
    let talk = talk(history, server, &mut newcomer);
    let synced = talk.events.iter().any(|event| matches!(event, Event::Synced { .. }));
    assert!(synced, "the newcomer was not told that it is synced");
    assert_eq!(newcomer.core.state(), server.core.state());
    let now = history.domain.head.time;
    let effective = newcomer.core.state().is_some_and(|state| state.effective(&person.node, now).is_yes());
    assert!(effective, "the newcomer is not effective");
    (newcomer, talk)
}

/// The whole log, block by block: how long that took.
pub(crate) fn replay(history: &History, person: &Person) -> (Node, u64) {
    replay_at(history, Node::at_genesis(history, person))
}

/// The same at a node that is there already.
pub(crate) fn replay_at(history: &History, mut node: Node) -> (Node, u64) {
    let from = history.living[0].public();
    let mut nanoseconds = 0;
    timed(&mut nanoseconds, || {
        for wire in &history.chains {
            node.receive(from, wire);
        }
    });
    assert_eq!(node.core.state(), Some(&history.domain.state));
    (node, nanoseconds)
}

/// Adds what `run` took of this thread's processor.
fn timed<T>(nanoseconds: &mut u64, run: impl FnOnce() -> T) -> T {
    let before = on_processor();
    let value = run();
    *nanoseconds += on_processor() - before;
    value
}

/// What this thread has had of a processor so far: other work on the machine does not count.
#[allow(clippy::disallowed_methods, reason = "a measurement is no part of the law")]
pub(crate) fn on_processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("this bench runs on Linux");
    stat.split(' ').next().and_then(|first| first.parse().ok()).expect("its first number is nanoseconds")
}
