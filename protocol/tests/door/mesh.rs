//! A few cores in one process: a queue of messages that take 10 ms each, and disks that are maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use frith_protocol::door::{
    Command, Config, Core, Durability, Effects, Event, Input, Keys, Message, Phase, Record, Standing, Table,
    founding_records, joining_records,
};
use frith_protocol::encoding::Hash;
use frith_protocol::following::PlainWorkshop;
use frith_protocol::identity::{BatchCheck, Inception, NodeId, PublicKey, Rotation, SecretKey, verify};
use frith_protocol::joining::{Anchor, Application, Ticket};
use frith_protocol::state::{
    AdmissionPolicy, Charter, Endorsement, Founded, Kind, Recovery, Role, Seat, Statement, Subject,
    Thresholds, TicketTerms, Timing,
};
use frith_protocol::time::Timestamp;
use rand_core::SeedableRng;

pub const LATENCY_MS: u64 = 10;

pub fn keys(name: u8) -> Keys {
    let secret = |use_: u8| SecretKey::from_seed([name, use_].repeat(16).try_into().unwrap());
    Keys {
        inception: Inception::new(&secret(1), &secret(2).public()),
        rotations: Vec::new(),
        successor: None,
        identity: secret(1),
        voting: [3, 4, 5].map(secret).to_vec(),
    }
}

/// The key of that sequence of whoever began so.
pub fn key_of(inception: &Inception, sequence: u32) -> SecretKey {
    let name = (0..=u8::MAX).find(|name| keys(*name).inception == *inception).expect("it has a name");
    let use_ = match sequence {
        0 => 1,
        1 => 2,
        later => 8 + later as u8,
    };
    SecretKey::from_seed([name, use_].repeat(16).try_into().unwrap())
}

pub fn charter(founders: u8, faults: u8, admit: u8) -> Charter {
    let mut endorsers: Vec<Seat> = (0..founders)
        .map(|name| {
            let keys = keys(name);
            let voting_key = keys.voting[0].public();
            Seat { inception: keys.inception, voting_key, roles: vec!["server".into()] }
        })
        .collect();
    endorsers.sort_by_key(Seat::node_id);
    let quorum = (founders + faults) / 2 + 1;
    Charter {
        previous: None,
        epoch: 1,
        name: "test".into(),
        written: Timestamp::ZERO,
        endorsers,
        faults,
        thresholds: Thresholds { admit, revoke: faults + 1, contain: faults + 1, amend: quorum },
        recovery: Recovery::default(),
        roles: vec![Role { name: "server".into(), capabilities: vec!["serve".into()], freshness_ms: None }],
        timing: Timing {
            heartbeat_ms: 10_000,
            freshness_ms: 60_000,
            silence_ms: 14 * 24 * 3_600_000,
            skew_ms: 2_000,
            first_timeout_ms: 500,
            timeout_cap_ms: 8_000,
            member_lifetime_ms: 365 * 24 * 3_600_000,
            basis_ms: 3_600_000,
            ticket_lifetime_ms: 24 * 3_600_000,
            proposal_lifetime_ms: 24 * 3_600_000,
            hold_ms: 3_600_000,
        },
        admission: AdmissionPolicy { tickets: true, approval: true },
        last_day: Timestamp(10 * 365 * 24 * 3_600_000),
    }
}

fn ticket_secret(uses: u32) -> [u8; 32] {
    [77 + uses as u8; 32]
}

pub struct Node {
    pub keys: Keys,
    pub core: Option<Core>,
    /// What a loss of power leaves.
    pub disk: BTreeMap<(Table, Vec<u8>), Arc<[u8]>>,
    /// What it takes: written, and not synced yet.
    unsynced: Vec<Record>,
    pub events: Vec<Event>,
    pub refused: Vec<String>,
}

impl Node {
    pub fn sync(&mut self) {
        for record in std::mem::take(&mut self.unsynced) {
            keep(&mut self.disk, record);
        }
    }
}

fn keep(disk: &mut BTreeMap<(Table, Vec<u8>), Arc<[u8]>>, record: Record) {
    match record.value {
        Some(value) => disk.insert((record.table, record.key), value),
        None => disk.remove(&(record.table, record.key)),
    };
}

enum What {
    Message { from: PublicKey, message: Arc<Message> },
    Gossip { from: PublicKey, message: Arc<Message> },
    Connected(PublicKey),
}

pub struct Mesh {
    pub now: Timestamp,
    pub nodes: BTreeMap<PublicKey, Node>,
    queue: BTreeMap<(Timestamp, u64), (PublicKey, What)>,
    sequence: u64,
    pub gossip: bool,
    /// Pairs between which nothing passes.
    pub cut: BTreeSet<(PublicKey, PublicKey)>,
    /// Bytes of direct messages, by receiver.
    pub bytes: BTreeMap<PublicKey, usize>,
    /// Parts of snapshots that were sent.
    pub snapshots: usize,
    /// Every direct message, from whom and to whom, whether or not it arrived.
    pub sent: Vec<(PublicKey, PublicKey, Arc<Message>)>,
    /// What was published, when and by whom, whether or not there is gossip.
    pub published: Vec<(Timestamp, PublicKey, Arc<Message>)>,
    check: BatchCheck<rand_chacha::ChaCha8Rng>,
    pub founded: Founded,
    /// Whether whoever starts keeps an archive from then on.
    pub archiving: bool,
}

impl Mesh {
    pub fn found(charter: Charter) -> Mesh {
        #[cfg(feature = "planted")]
        crate::planted::begin();
        let founders: Vec<Keys> = (0..charter.endorsers.len() as u8).map(keys).collect();
        let signatures = charter
            .endorsers
            .iter()
            .map(|seat| {
                let founder =
                    founders.iter().find(|keys| keys.inception.node_id() == seat.node_id()).unwrap();
                charter.sign_founding(&founder.identity)
            })
            .collect();
        let founded = Founded { charter, signatures };
        let mut mesh = Mesh {
            now: Timestamp(1),
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            gossip: true,
            cut: BTreeSet::new(),
            bytes: BTreeMap::new(),
            snapshots: 0,
            sent: Vec::new(),
            published: Vec::new(),
            check: BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([9; 32])),
            founded,
            archiving: false,
        };
        let verified = verify(mesh.founded.clone(), &mesh.check).unwrap();
        for keys in founders {
            let records = founding_records(&verified, &keys.voting[0].public());
            mesh.add(keys, records);
        }
        mesh.connect_all();
        mesh
    }

    pub fn add(&mut self, keys: Keys, records: Vec<Record>) -> PublicKey {
        let key = keys.identity.public();
        let disk = records.into_iter().map(|r| ((r.table, r.key), r.value.unwrap())).collect();
        let (unsynced, events, refused) = (Vec::new(), Vec::new(), Vec::new());
        self.nodes.insert(key, Node { keys, core: None, disk, unsynced, events, refused });
        self.start(key);
        key
    }

    /// Four founders of whom one may lie; three endorse an admission, and two a suspension.
    pub fn of_four() -> Mesh {
        let mut mesh = Mesh::found(charter(4, 1, 3));
        mesh.run(1_000);
        mesh
    }

    /// The same with a member.
    pub fn with_member() -> (Mesh, PublicKey) {
        let mut mesh = Mesh::of_four();
        let ticket = mesh.ticket(1);
        let member = mesh.join(10, Some(ticket));
        mesh.run(2_000);
        assert_eq!(mesh.core(member).phase(), Phase::Following, "{:?}", mesh.nodes[&member].events);
        (mesh, member)
    }

    pub fn join(&mut self, name: u8, ticket: Option<Ticket>) -> PublicKey {
        let anchor = self.any().anchor(vec![]).unwrap();
        self.join_by(name, anchor, ticket)
    }

    pub fn join_by(&mut self, name: u8, anchor: Anchor, ticket: Option<Ticket>) -> PublicKey {
        let keys = keys(name);
        let roles = if ticket.is_some() { vec![] } else { vec!["server".into()] };
        let application = Application { anchor, ticket, roles, note: format!("node {name}") };
        let key = self.add(keys, joining_records(&application));
        self.connect(key);
        key
    }

    /// Such a message, as somebody sent it.
    pub fn heard(&self, is: impl Fn(&Message) -> bool) -> Message {
        let found = self.sent.iter().map(|(_, _, message)| message).find(|message| is(message));
        (**found.expect("such a message was sent")).clone()
    }

    pub fn start(&mut self, key: PublicKey) {
        let node = self.nodes.get_mut(&key).unwrap();
        let records = node
            .disk
            .iter()
            .map(|((table, key), value)| Record {
                table: *table,
                key: key.clone(),
                value: Some(value.clone()),
            })
            .collect();
        let config = Config {
            keys: node.keys.clone(),
            seed: key.0,
            workshop: Arc::new(PlainWorkshop),
            archive: self.archiving,
            journal_lost: None,
        };
        node.core = Some(Core::open(config, records, self.now).unwrap());
        self.input(key, Input::Tick);
    }

    pub fn stop(&mut self, key: PublicKey) {
        self.nodes.get_mut(&key).unwrap().sync();
        self.lose_power(key);
    }

    /// Ends a node, with all that it has written and not synced.
    pub fn lose_power(&mut self, key: PublicKey) {
        let node = self.nodes.get_mut(&key).unwrap();
        node.unsynced.clear();
        node.core = None;
        let others: Vec<PublicKey> = self.nodes.keys().copied().filter(|other| *other != key).collect();
        for other in others {
            self.input(other, Input::Disconnected(key));
        }
    }

    pub fn connect(&mut self, key: PublicKey) {
        let others: Vec<PublicKey> = self.nodes.keys().copied().filter(|other| *other != key).collect();
        for other in others {
            self.push(0, key, What::Connected(other));
            self.push(0, other, What::Connected(key));
        }
    }

    fn connect_all(&mut self) {
        let all: Vec<PublicKey> = self.nodes.keys().copied().collect();
        for a in &all {
            for b in all.iter().filter(|b| *b != a) {
                self.push(0, *a, What::Connected(*b));
            }
        }
    }

    fn push(&mut self, after_ms: u64, to: PublicKey, what: What) {
        self.sequence += 1;
        self.queue.insert((self.now.plus(after_ms), self.sequence), (to, what));
    }

    pub fn any(&self) -> &Core {
        self.nodes.values().filter_map(|node| node.core.as_ref()).find(|core| core.state().is_some()).unwrap()
    }

    pub fn core(&self, key: PublicKey) -> &Core {
        self.nodes[&key].core.as_ref().unwrap()
    }

    /// The keys that the endorsers have now, in the order of their seats.
    pub fn endorsers(&self) -> Vec<PublicKey> {
        self.founded.charter.endorsers.iter().map(|seat| self.key_of(seat.node_id())).collect()
    }

    /// The key that a node has now.
    pub fn key_of(&self, node: NodeId) -> PublicKey {
        *self.nodes.iter().find(|(_, of)| of.keys.inception.node_id() == node).expect("it is here").0
    }

    /// What its host does when an operator wants another key: first everything durable, then the core.
    pub fn rotate(&mut self, key: PublicKey) -> Result<(), String> {
        let node = self.nodes.get_mut(&key).unwrap();
        let inception = &node.keys.inception;
        let sequence = node.keys.rotations.last().map_or(0, |last| last.sequence) + 1;
        let (secret, after) = (key_of(inception, sequence), key_of(inception, sequence + 1).public());
        let rotation = Rotation::new(&inception.node_id(), sequence, &secret, &after);
        node.core.as_ref().unwrap().check_rotation(&rotation).map_err(|fault| fault.to_string())?;
        node.keys.rotations.push(rotation);
        node.keys.successor = Some(secret.clone());
        let (rotation, secret) = (Box::new(rotation), Box::new(secret));
        self.input(key, Input::Command(Command::Rotate { rotation, key: secret }));
        Ok(())
    }

    /// What its host does when the rotation is final: the old key is destroyed, and the transport begins anew under the next.
    fn has_rotated(&mut self, old: PublicKey, new: PublicKey) {
        let mut node = self.nodes.remove(&old).unwrap();
        if let Some(key) = node.keys.successor.take() {
            node.keys.identity = key;
        }
        assert_eq!(node.keys.identity.public(), new, "it rotated to a key that nobody has");
        let mut peers: Vec<PublicKey> = self.nodes.keys().copied().collect();
        self.nodes.insert(new, node);
        peers.retain(|peer| self.nodes[peer].core.is_some());
        for peer in peers {
            self.input(peer, Input::Disconnected(old));
            self.input(new, Input::Disconnected(peer));
        }
        self.connect(new);
    }

    pub fn id(&self, key: PublicKey) -> NodeId {
        self.nodes[&key].keys.inception.node_id()
    }

    pub fn input(&mut self, key: PublicKey, input: Input) {
        let now = self.now;
        // Some peers of these stories are a key and nothing else.
        let Some(node) = self.nodes.get_mut(&key) else { return };
        let Some(core) = &mut node.core else { return };
        let mut effects = Effects::new();
        if let Err(error) = core.handle(now, input, &mut effects) {
            node.refused.push(error.to_string());
        }
        let unsettled = effects.take();
        for record in unsettled.records() {
            match record.table.durability() {
                Durability::Synced => keep(&mut node.disk, record.clone()),
                Durability::Restorable => node.unsynced.push(record.clone()),
            }
        }
        if unsettled.syncs_all() {
            node.sync();
        }
        let outbox = unsettled.settled();
        let rotated = outbox.events.iter().find_map(|event| match event {
            Event::Rotated { key, .. } => Some(*key),
            _ => None,
        });
        node.events.extend(outbox.events);
        for (to, message) in outbox.sends {
            self.snapshots += usize::from(matches!(*message, Message::Snapshot(_)));
            self.sent.push((key, to, Arc::clone(&message)));
            self.push(LATENCY_MS, to, What::Message { from: key, message });
        }
        for message in outbox.publishes {
            self.published.push((now, key, Arc::clone(&message)));
            if !self.gossip {
                continue;
            }
            let members: Vec<PublicKey> = self
                .nodes
                .keys()
                .copied()
                .filter(|to| *to != key && self.any().standing_of(to) >= Standing::Member)
                .collect();
            for to in members {
                self.push(LATENCY_MS, to, What::Gossip { from: key, message: Arc::clone(&message) });
            }
        }
        if let Some(new) = rotated {
            self.has_rotated(key, new);
        }
    }

    /// Hands a core a message at once, as if `from` had sent it; what it sends because of that.
    pub fn tell(
        &mut self,
        from: PublicKey,
        to: PublicKey,
        message: Message,
    ) -> Vec<(PublicKey, Arc<Message>)> {
        let before = self.sent.len();
        let message = Arc::new(verify(message, &self.check).unwrap());
        self.input(to, Input::Received { from, message });
        self.sent[before..].iter().map(|(_, to, message)| (*to, Arc::clone(message))).collect()
    }

    /// One event; false if nothing will ever happen again.
    fn step(&mut self) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let deadline = self
            .nodes
            .iter()
            .filter_map(|(key, node)| Some((node.core.as_ref()?.next_deadline()?, *key)))
            .min();
        match (queued, deadline) {
            (None, None) => false,
            (queued, Some((at, key))) if queued.is_none_or(|queued| at < queued) => {
                assert!(at >= self.now || self.nodes[&key].core.is_some(), "a deadline in the past");
                self.now = self.now.max(at);
                self.input(key, Input::Tick);
                true
            }
            (_, _) => {
                let ((at, _), (to, what)) = self.queue.pop_first().unwrap();
                self.now = self.now.max(at);
                match what {
                    What::Connected(peer) => {
                        if !self.cut.contains(&(peer, to)) {
                            self.input(to, Input::Connected(peer));
                        }
                    }
                    What::Gossip { from, message } => {
                        if !self.cut.contains(&(from, to)) {
                            let message = Arc::new(verify((*message).clone(), &self.check).unwrap());
                            self.input(to, Input::Gossiped { from, message });
                        }
                    }
                    What::Message { from, message } => {
                        if self.cut.contains(&(from, to)) {
                            return true;
                        }
                        let length = frith_protocol::encoding::encoded_len(&*message);
                        *self.bytes.entry(to).or_default() += length;
                        let message = Arc::new(verify((*message).clone(), &self.check).unwrap());
                        self.input(to, Input::Received { from, message });
                    }
                }
                true
            }
        }
    }

    /// Runs for `ms` of virtual time.
    pub fn run(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        let mut steps = 0;
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
            steps += 1;
            assert!(steps < 1_000_000, "the mesh does not come to rest");
        }
        self.now = end;
    }

    fn next_at(&self) -> Option<Timestamp> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.nodes.values().filter_map(|node| node.core.as_ref()?.next_deadline()).min();
        queued.into_iter().chain(deadline).min()
    }

    /// A ticket that the endorsers' operators made.
    pub fn ticket(&mut self, uses: u32) -> Ticket {
        let terms = self.ticket_terms(uses);
        let need = usize::from(self.founded.charter.thresholds.admit);
        let id = self.propose(Subject::Ticket(terms.clone()), &self.endorsers()[..need]);
        let countersignatures = self.met(self.endorsers()[0], id).expect("the ticket was countersigned");
        Ticket { terms, countersignatures, addresses: vec![], secret: ticket_secret(uses) }
    }

    pub fn ticket_terms(&self, uses: u32) -> TicketTerms {
        let anchor = self.any().anchor(vec![]).unwrap();
        TicketTerms {
            domain: anchor.domain,
            charter: anchor.charter,
            epoch: anchor.epoch,
            height: anchor.height,
            roles: vec!["server".into()],
            uses,
            expires: self.now.plus(3_600_000),
            key: SecretKey::from_seed(ticket_secret(uses)).public(),
        }
    }

    /// By whose endorsements this proposal met its rule, as this node tells.
    pub fn met(&self, key: PublicKey, id: Hash) -> Option<Vec<Endorsement>> {
        self.nodes[&key].events.iter().find_map(|event| match event {
            Event::Met { id: of, endorsements, .. } if *of == id => Some(endorsements.clone()),
            _ => None,
        })
    }

    /// The first of these endorsers proposes it, and the others agree: what they endorse.
    pub fn propose(&mut self, subject: Subject, by: &[PublicKey]) -> Hash {
        let (id, expires) = (subject.digest(), self.now.plus(3_600_000));
        self.input(by[0], Input::Command(Command::Propose { subject, note: "please".into(), expires }));
        self.run(50);
        for key in &by[1..] {
            self.input(*key, Input::Command(Command::Endorse(id)));
        }
        self.run(50);
        id
    }

    /// The same, of a statement, until it is final.
    pub fn decide(&mut self, kind: Kind, by: &[PublicKey]) {
        let statement = Statement { domain: self.any().domain(), kind };
        self.propose(Subject::Statement(statement), by);
        self.run(2_000);
    }

    /// All live cores hold the same head and root, and a state.
    pub fn assert_equal_heads(&self) {
        let heads: BTreeSet<_> = self
            .nodes
            .values()
            .filter_map(|node| node.core.as_ref())
            .filter(|core| !core.state().is_some_and(|state| state.is_gone(&core.node_id())))
            .map(|core| core.head().map(|head| (head.height, head.block, head.state_root)))
            .collect();
        assert_eq!(heads.len(), 1, "heads differ: {heads:?}");
    }
}
