//! A few cores in one process, for whoever attacks them: every message can be seen, held back, forged and handed over by hand.
//!
//! Messages take [`LATENCY_MS`]; disks are maps. There is no gossip: what is not sent directly is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use frith_protocol::door::{
    Command, Config, Core, Effects, Error, Event, Input, Keys, Message, Record, Status, Table,
    founding_records, joining_records,
};
use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::following::PlainWorkshop;
use frith_protocol::identity::{NodeId, PublicKey, SecretKey, verify};
use frith_protocol::joining::{Anchor, Application, Ticket};
use frith_protocol::state::{Charter, Founded, Kind, Reason, Revoke, Statement, Subject, TicketTerms};
use frith_protocol::time::Timestamp;

use crate::ink::Remembering;
use crate::people::{DAY, Person, found, people};

/// How long a message takes.
pub const LATENCY_MS: u64 = 10;

/// One core and its disk.
pub struct Node {
    keys: Keys,
    /// None while it is stopped.
    pub core: Option<Core>,
    /// What it stored.
    pub disk: BTreeMap<(Table, Vec<u8>), Arc<[u8]>>,
    /// What it told.
    pub events: Vec<Event>,
}

/// A message that was sent, whether or not it arrived.
#[derive(Clone, Debug)]
pub struct Sent {
    /// By whom.
    pub from: PublicKey,
    /// To whom.
    pub to: PublicKey,
    /// What.
    pub message: Arc<Message>,
}

enum What {
    Message(PublicKey, Arc<Message>),
    Connected(PublicKey),
}

/// Everything of a core that an input which is refused must leave alone.
#[derive(Debug, PartialEq)]
pub struct Frozen {
    disk: BTreeMap<(Table, Vec<u8>), Arc<[u8]>>,
    status: Status,
    root: Option<Hash>,
    log_root: Option<Hash>,
    deadline: Option<Timestamp>,
    proposals: Vec<(Hash, usize)>,
}

impl Frozen {
    /// What is not as it was.
    pub fn changes(&self, before: &Frozen) -> Vec<String> {
        let mut changes = Vec::new();
        let mut compare = |what: &str, same: bool, now: &dyn std::fmt::Debug, then: &dyn std::fmt::Debug| {
            if !same {
                changes.push(format!("{what}: {then:?} before, {now:?} now"));
            }
        };
        let keys = |frozen: &Frozen| frozen.disk.keys().map(|(table, _)| *table).collect::<Vec<_>>();
        compare("the disk", self.disk == before.disk, &keys(self), &keys(before));
        compare("the status", self.status == before.status, &self.status, &before.status);
        let roots = |frozen: &Frozen| (frozen.root, frozen.log_root);
        compare("the roots", roots(self) == roots(before), &roots(self), &roots(before));
        compare("the deadline", self.deadline == before.deadline, &self.deadline, &before.deadline);
        compare("proposals", self.proposals == before.proposals, &self.proposals, &before.proposals);
        changes
    }
}

/// Some cores, and all that is on its way between them.
pub struct Mesh {
    /// The time of all.
    pub now: Timestamp,
    /// By transport key.
    pub nodes: BTreeMap<PublicKey, Node>,
    queue: BTreeMap<(Timestamp, u64), (PublicKey, What)>,
    sequence: u64,
    /// Pairs (from, to) between which nothing passes.
    pub cut: BTreeSet<(PublicKey, PublicKey)>,
    /// Every message that was sent.
    pub sent: Vec<Sent>,
    check: Remembering,
    /// The charter and its signatures.
    pub founded: Founded,
}

fn keys(person: &Person, votes: bool) -> Keys {
    Keys {
        inception: person.inception.clone(),
        rotations: Vec::new(),
        successor: None,
        identity: person.key.clone(),
        voting: votes.then(|| person.voting.clone()).into_iter().collect(),
    }
}

impl Mesh {
    /// A domain of the first `n` people.
    pub fn of(n: usize) -> Mesh {
        let founders: Vec<&Person> = people()[..n].iter().collect();
        Mesh::found(crate::people::charter(&founders))
    }

    /// The domain of a charter, all of whose founders run and are connected.
    ///
    /// # Panics
    /// If the charter is refused.
    pub fn found(charter: Charter) -> Mesh {
        let founded = found(charter);
        let mut mesh = Mesh {
            now: Timestamp(1),
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            sent: Vec::new(),
            check: Remembering,
            founded: founded.clone(),
        };
        let verified = verify(founded.clone(), &mesh.check).expect("founders signed");
        for seat in &founded.charter.endorsers {
            let person = person_of(&seat.inception.key);
            let records = founding_records(&verified, &person.voting.public());
            mesh.add(keys(person, true), records);
        }
        for key in mesh.endorsers() {
            mesh.connect(key);
        }
        mesh
    }

    fn add(&mut self, keys: Keys, records: Vec<Record>) -> PublicKey {
        let key = keys.identity.public();
        let stored = |record: Record| Some(((record.table, record.key), record.value?));
        let disk = records.into_iter().filter_map(stored).collect();
        self.nodes.insert(key, Node { keys, core: None, disk, events: Vec::new() });
        self.start(key);
        key
    }

    /// Lets somebody begin to join.
    pub fn join(&mut self, person: &Person, ticket: Option<Ticket>) -> PublicKey {
        let roles = if ticket.is_some() { vec![] } else { vec!["server".to_owned()] };
        self.apply(person, Application { anchor: self.anchor(), ticket, roles, note: "please".into() })
    }

    /// Lets somebody begin to join by this application.
    pub fn apply(&mut self, person: &Person, application: Application) -> PublicKey {
        let key = self.add(keys(person, false), joining_records(&application));
        self.connect(key);
        key
    }

    /// Where newcomers may begin to believe.
    ///
    /// # Panics
    /// If no endorser runs.
    pub fn anchor(&self) -> Anchor {
        let mut cores = self.nodes.values().filter_map(|node| node.core.as_ref());
        cores.find_map(|core| core.anchor(vec![])).expect("somebody has a state")
    }

    /// Opens a core from its disk.
    ///
    /// # Panics
    /// If the disk cannot be opened.
    pub fn start(&mut self, key: PublicKey) {
        let node = self.nodes.get_mut(&key).expect("it was added");
        let records = node.disk.iter().map(|((table, key), value)| Record {
            table: *table,
            key: key.clone(),
            value: Some(value.clone()),
        });
        let config = Config {
            keys: node.keys.clone(),
            seed: key.0,
            workshop: Arc::new(PlainWorkshop),
            archive: false,
            journal_lost: None,
        };
        node.core = Some(Core::open(config, records.collect(), self.now).expect("the disk is whole"));
        self.input(key, Input::Tick).expect("a tick is never refused");
    }

    /// Stops a core; its disk stays.
    pub fn stop(&mut self, key: PublicKey) {
        self.node_mut(key).core = None;
        for other in self.others(key) {
            let _ = self.input(other, Input::Disconnected(key));
        }
    }

    fn others(&self, key: PublicKey) -> Vec<PublicKey> {
        self.nodes.keys().copied().filter(|other| *other != key).collect()
    }

    /// Connects a node with every other.
    pub fn connect(&mut self, key: PublicKey) {
        for other in self.others(key) {
            self.push(0, key, What::Connected(other));
            self.push(0, other, What::Connected(key));
        }
    }

    fn push(&mut self, after_ms: u64, to: PublicKey, what: What) {
        self.sequence += 1;
        self.queue.insert((self.now.plus(after_ms), self.sequence), (to, what));
    }

    fn node_mut(&mut self, key: PublicKey) -> &mut Node {
        self.nodes.get_mut(&key).expect("it was added")
    }

    /// A running core.
    ///
    /// # Panics
    /// If it does not run.
    pub fn core(&self, key: PublicKey) -> &Core {
        self.nodes[&key].core.as_ref().expect("it runs")
    }

    /// What a node told so far.
    pub fn events(&self, key: PublicKey) -> &[Event] {
        &self.nodes[&key].events
    }

    /// The transport keys of the endorsers, in the order of their seats.
    pub fn endorsers(&self) -> Vec<PublicKey> {
        self.founded.charter.endorsers.iter().map(|seat| seat.inception.key).collect()
    }

    /// Whose key this is.
    pub fn id(&self, key: PublicKey) -> NodeId {
        self.nodes[&key].keys.inception.node_id()
    }

    /// Hands a core an input, and carries out what it wants done.
    ///
    /// # Errors
    /// What the core says. A core that does not run says nothing.
    pub fn input(&mut self, key: PublicKey, input: Input) -> Result<(), Error> {
        let now = self.now;
        self.input_at(key, now, input)
    }

    /// The same, by another clock.
    ///
    /// # Errors
    /// What the core says.
    pub fn input_at(&mut self, key: PublicKey, now: Timestamp, input: Input) -> Result<(), Error> {
        let node = self.node_mut(key);
        let Some(core) = &mut node.core else { return Ok(()) };
        let mut effects = Effects::new();
        let answer = core.handle(now, input, &mut effects);
        let unsettled = effects.take();
        for record in unsettled.records() {
            let at = (record.table, record.key.clone());
            match &record.value {
                Some(value) => node.disk.insert(at, value.clone()),
                None => node.disk.remove(&at),
            };
        }
        let outbox = unsettled.settled();
        node.events.extend(outbox.events);
        for (to, message) in outbox.sends {
            self.sent.push(Sent { from: key, to, message: Arc::clone(&message) });
            self.push(LATENCY_MS, to, What::Message(key, message));
        }
        answer
    }

    /// Hands a core a message, at once, as if `from` had sent it. What the transport would refuse is a fault of its sender.
    ///
    /// # Errors
    /// What the check of signatures says, or the core.
    pub fn tell(&mut self, from: PublicKey, to: PublicKey, message: Message) -> Result<(), Error> {
        let blame = |fault: Fault| Error::PeerMisbehaved { culprit: from, fault };
        let message = verify(message, &self.check).map_err(blame)?;
        self.input(to, Input::Received { from, message: Arc::new(message) })
    }

    /// Everything that a refused input must not change.
    pub fn frozen(&self, key: PublicKey) -> Frozen {
        let (node, core) = (&self.nodes[&key], self.core(key));
        let mut status = core.status(self.now);
        // A refused input may still tell the time.
        if let Some(head) = &mut status.head {
            head.age_ms = 0;
        }
        Frozen {
            disk: node.disk.clone(),
            status,
            root: core.state().map(|state| state.root()),
            log_root: core.state().map(|state| state.log_root_after()),
            deadline: core.next_deadline(),
            proposals: core.proposals().map(|(id, proposal)| (*id, proposal.endorsements.len())).collect(),
        }
    }

    fn deadline(&self) -> Option<(Timestamp, PublicKey)> {
        let due = |(key, node): (&PublicKey, &Node)| Some((node.core.as_ref()?.next_deadline()?, *key));
        self.nodes.iter().filter_map(due).min()
    }

    /// Runs for `ms` of virtual time.
    ///
    /// # Panics
    /// If there is always something to do at once.
    pub fn run(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        for _ in 0..3_000_000 {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.deadline();
            let next = queued.into_iter().chain(deadline.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            match deadline {
                Some((at, key)) if queued.is_none_or(|queued| at < queued) => {
                    let _ = self.input(key, Input::Tick);
                }
                _ => self.deliver(),
            }
        }
        panic!("the mesh does not come to rest");
    }

    fn deliver(&mut self) {
        let Some((_, (to, what))) = self.queue.pop_first() else { return };
        let from = match &what {
            What::Message(from, _) | What::Connected(from) => *from,
        };
        if self.cut.contains(&(from, to)) || !self.nodes.contains_key(&to) {
            return;
        }
        // What a core says of an input is for whoever handed it in by hand.
        let _ = match what {
            What::Connected(peer) => self.input(to, Input::Connected(peer)),
            What::Message(from, message) => self.tell(from, to, (*message).clone()),
        };
    }

    /// A ticket that the endorsers' operators made, for a day.
    ///
    /// # Panics
    /// If it is not countersigned at once.
    pub fn ticket(&mut self, uses: u32) -> Ticket {
        let secret = [100 + uses as u8; 32];
        let anchor = self.anchor();
        let terms = TicketTerms {
            domain: anchor.domain,
            charter: anchor.charter,
            epoch: anchor.epoch,
            height: anchor.height,
            roles: vec!["server".into()],
            uses,
            expires: self.now.plus(DAY),
            key: SecretKey::from_seed(secret).public(),
        };
        let countersignatures = self.agree_on(Subject::Ticket(terms.clone())).expect("it was countersigned");
        Ticket { terms, countersignatures, addresses: vec![], secret }
    }

    /// Lets enough operators endorse `subject`; the endorsements, if the first of them was told that the rule is met.
    ///
    /// # Panics
    /// If the first operator may not propose it.
    pub fn agree_on(&mut self, subject: Subject) -> Option<Vec<frith_protocol::state::Endorsement>> {
        let id = subject.digest();
        let endorsers = self.endorsers();
        let need = self.core(endorsers[0]).state().expect("it has a state").threshold_for(&subject);
        let expires = self.now.plus(DAY);
        let propose = Command::Propose { subject, note: "please".into(), expires };
        self.input(endorsers[0], Input::Command(propose)).expect("it can be proposed");
        self.run(5 * LATENCY_MS);
        for key in &endorsers[1..need] {
            let _ = self.input(*key, Input::Command(Command::Endorse(id)));
        }
        self.run(5 * LATENCY_MS);
        self.events(endorsers[0]).iter().find_map(|event| match event {
            Event::Met { id: of, endorsements, .. } if *of == id => Some(endorsements.clone()),
            _ => None,
        })
    }

    /// The statement that somebody is out.
    pub fn revocation(&self, key: PublicKey) -> Statement {
        let revoke = Revoke { subject: self.id(key), reason: Reason::Compromised };
        Statement { domain: self.founded.domain(), kind: Kind::Revoke(revoke) }
    }

    /// Revokes somebody, by as many operators as it takes.
    pub fn revoke(&mut self, key: PublicKey) {
        let statement = self.revocation(key);
        self.agree_on(Subject::Statement(statement));
        self.run(2_000);
    }
}

/// The person whose key this is.
///
/// # Panics
/// If nobody has it.
pub fn person_of(key: &PublicKey) -> &'static Person {
    people().iter().find(|person| person.public() == *key).expect("it is somebody's")
}
