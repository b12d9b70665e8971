//! What a log amounts to: four maps and the charter (SPEC 4, 7.1).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{Inception, PublicKey};
use frith_protocol::limits;
use frith_protocol::state::{Admit, Block, Charter, Entry, Grounds, Kind, Reason, TicketTerms, Window};
use frith_protocol::time::Timestamp;
use serde::Serialize;

use super::hashes::{Bytes32, digest, digest_of, map_root, node_id};
use super::{accuse, amend, hold, recover};

/// SPEC 7.1, in its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Keys.
    pub keys: Keys,
    /// Roles.
    pub roles: Vec<String>,
    /// Window.
    pub window: Window,
    /// Number.
    pub number: u64,
    /// Height of the newest `Admit`.
    pub height: u64,
    /// How.
    pub how: How,
    /// The number of the newest `Suspend`.
    pub suspensions: u64,
    /// Until when, the height of its block, its reason; none if it was released.
    pub suspension: Option<(Timestamp, u64, Reason)>,
    /// The newest `Rotate`: the height of its block, its day, how many that day had.
    pub rotated: Option<(u64, u64, u32)>,
    /// The newest `Hold` of its own: the height of its block, its day, the slots of that day.
    pub holds: Option<(u64, u64, u8)>,
    /// Whether its newest `Admit` gave it less than the charter's lifetime.
    pub limited: bool,
    /// Its convictions that have not ended, in the order of their blocks.
    pub convictions: Vec<Conviction>,
}

impl Standing {
    /// SPEC 4.9: in force at every time before its end.
    pub fn is_suspended(&self, time: Timestamp) -> bool {
        match self.suspension {
            Some((until, _, _)) => time < until,
            None => false,
        }
    }

    /// SPEC 4.13: what is said of the suspended holds of the convicted.
    pub fn is_restrained(&self, time: Timestamp) -> bool {
        self.is_suspended(time) || !self.convictions.is_empty()
    }
}

/// A key that is proven to have contradicted itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Conviction {
    /// Which.
    pub key: ConvictedKey,
    /// Of the block with the proof.
    pub height: u64,
}

/// Which key, and so what ends its conviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConvictedKey {
    /// A key of ballots.
    Voting(PublicKey),
    /// The key of the identity.
    Identity(PublicKey),
}

/// Inception, key sequence, current key, commitment to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// As it was when the identity first stood.
    pub inception: Inception,
    /// 0 until there are rotations.
    pub sequence: u32,
    /// The key that endorses.
    pub current: PublicKey,
    /// What the next one must hash to.
    pub next: Hash,
}

/// How an identity came to stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum How {
    /// By the charter.
    Seat,
    /// By this ticket.
    Ticket(Hash),
    /// By its endorsers' yes.
    Approval,
    /// Because it stood.
    Renewal,
}

/// Height and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Of the block.
    pub height: u64,
    /// As the revocation gave it.
    pub reason: Reason,
    /// The last.
    pub key: PublicKey,
}

/// What the spine holds: under "charter", the charter; under "previous voters", those of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SpineItem {
    /// The charter.
    Charter(Box<Charter>),
    /// Voting keys and whose they were.
    Voters(Vec<(PublicKey, Hash)>),
}

/// Everything that is under the state root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Who stands.
    pub standing: BTreeMap<Bytes32, Arc<Standing>>,
    /// Who is gone.
    pub gone: BTreeMap<Bytes32, Gone>,
    /// Whose each key is.
    pub keys: BTreeMap<Bytes32, Hash>,
    /// How often each ticket was used.
    pub tickets: BTreeMap<Bytes32, u32>,
    /// The charter.
    pub spine: BTreeMap<Bytes32, Arc<SpineItem>>,
}

/// SPEC 7.1: the place of a key.
pub fn key_place(key: &PublicKey) -> Bytes32 {
    digest("map key", &key.0)
}

fn charter_place() -> Bytes32 {
    static PLACE: OnceLock<Bytes32> = OnceLock::new();
    *PLACE.get_or_init(|| digest("spine", b"charter"))
}

/// SPEC 7.1: the place of a ticket.
pub fn ticket_place(terms: &TicketTerms) -> Bytes32 {
    let mut place = [0; 32];
    place[..8].copy_from_slice(&terms.expires.0.to_be_bytes());
    place[8..].copy_from_slice(&digest_of("ticket", terms)[..24]);
    place
}

/// SPEC 4.11.
pub(super) fn day(time: Timestamp) -> u64 {
    time.0 / 86_400_000
}

/// How many `Rotate`s of whoever stands so a day has had.
pub(super) fn rotations_on(day: u64, standing: &Standing) -> u32 {
    match standing.rotated {
        Some((_, of, entries)) if of == day => entries,
        _ => 0,
    }
}

impl Facts {
    /// SPEC 3.6.
    pub fn genesis(charter: &Charter) -> Facts {
        let mut facts = Facts {
            standing: BTreeMap::new(),
            gone: BTreeMap::new(),
            keys: BTreeMap::new(),
            tickets: BTreeMap::new(),
            spine: BTreeMap::new(),
        };
        facts.set_charter(charter.clone());
        for seat in &charter.endorsers {
            let node = node_id(&seat.inception);
            let standing = Standing {
                keys: keys_of(&seat.inception),
                roles: seat.roles.clone(),
                window: Window { from: charter.written, until: Timestamp(u64::MAX) },
                number: 0,
                height: 0,
                how: How::Seat,
                suspensions: 0,
                suspension: None,
                rotated: None,
                holds: None,
                limited: false,
                convictions: Vec::new(),
            };
            facts.standing.insert(node, Arc::new(standing));
            facts.keys.insert(key_place(&seat.inception.key), Hash(node));
            facts.keys.insert(key_place(&seat.voting_key), Hash(node));
        }
        facts
    }

    /// The charter in force.
    pub fn charter(&self) -> &Charter {
        match &*self.spine[&charter_place()] {
            SpineItem::Charter(charter) => charter,
            SpineItem::Voters(_) => unreachable!("they have a place of their own"),
        }
    }

    /// Puts another in its place.
    pub(super) fn set_charter(&mut self, charter: Charter) {
        self.spine.insert(charter_place(), Arc::new(SpineItem::Charter(Box::new(charter))));
    }

    /// What a block with entries changes, taken to be valid.
    pub fn follow(&mut self, block: &Block) {
        self.forget_tickets(block.header.time);
        for entry in &block.entries {
            self.apply(block.header.height, block.header.time, entry);
        }
    }

    /// Whether there is a ticket to forget.
    pub fn has_expired_tickets(&self, time: Timestamp) -> bool {
        self.tickets.keys().next().is_some_and(|place| place[..8] < time.0.to_be_bytes()[..])
    }

    /// SPEC 7.1.
    pub(super) fn set_previous_voters(&mut self, voters: Vec<(PublicKey, Hash)>) {
        self.spine.insert(digest("spine", b"previous voters"), Arc::new(SpineItem::Voters(voters)));
    }

    /// SPEC 7.1: nobody, in the first epoch.
    pub fn previous_voters(&self) -> &[(PublicKey, Hash)] {
        match self.spine.get(&digest("spine", b"previous voters")).map(|item| &**item) {
            Some(SpineItem::Voters(voters)) => voters,
            Some(SpineItem::Charter(_)) | None => &[],
        }
    }

    /// SPEC 4.6: what a block with entries does first.
    pub fn forget_tickets(&mut self, time: Timestamp) {
        let expired: Vec<Bytes32> = self
            .tickets
            .keys()
            .filter(|place| place[..8] < time.0.to_be_bytes()[..])
            .take(limits::TICKETS_FORGOTTEN_MAX)
            .copied()
            .collect();
        self.tickets.retain(|place, _| !expired.contains(place));
    }

    /// What an entry changes, taken to be valid.
    pub fn apply(&mut self, height: u64, time: Timestamp, entry: &Entry) {
        match &entry.statement.kind {
            Kind::Amend(it) => amend::apply(self, time, it),
            Kind::Admit(admit) => self.admit(height, admit),
            Kind::Revoke(revoke) => {
                self.remove(height, &revoke.subject.0, revoke.reason);
            }
            Kind::Suspend(suspend) => {
                if let Some(standing) = self.standing_mut(&suspend.subject.0) {
                    standing.suspensions = suspend.number;
                    standing.suspension = Some((suspend.until, height, suspend.reason));
                }
            }
            Kind::Release(release) => {
                if let Some(standing) = self.standing_mut(&release.subject.0) {
                    standing.suspension = None;
                }
            }
            Kind::Recover(it) => recover::apply(self, height, time, it),
            Kind::Hold(it) => hold::apply(self, height, it),
            Kind::Accuse(it) => accuse::apply(self, height, it),
            Kind::Rotate(rotate) => {
                let Some(standing) = self.standing_mut(&rotate.subject.0) else { return };
                let Some(last) = rotate.rotations.last() else { return };
                (standing.keys.sequence, standing.keys.current) = (last.sequence, last.key);
                standing.keys.next = last.next;
                accuse::rotated(standing);
                let before = rotations_on(day(time), standing);
                standing.rotated = Some((height, day(time), before + 1));
                for rotation in &rotate.rotations {
                    self.keys.insert(key_place(&rotation.key), Hash(rotate.subject.0));
                }
            }
        }
    }

    pub(super) fn standing_mut(&mut self, node: &Bytes32) -> Option<&mut Standing> {
        self.standing.get_mut(node).map(Arc::make_mut)
    }

    /// Who stood stands no more, and is gone for ever.
    pub(super) fn remove(&mut self, height: u64, node: &Bytes32, reason: Reason) {
        if let Some(standing) = self.standing.remove(node) {
            self.gone.insert(*node, Gone { height, reason, key: standing.keys.current });
        }
    }

    fn admit(&mut self, height: u64, admit: &Admit) {
        let node = node_id(&admit.subject);
        let how = match &admit.grounds {
            Grounds::Ticket(terms) => {
                *self.tickets.entry(ticket_place(terms)).or_default() += 1;
                How::Ticket(Hash(digest_of("ticket", terms)))
            }
            Grounds::Approval => How::Approval,
            Grounds::Renewal => How::Renewal,
        };
        let keys = match self.standing.get(&node) {
            Some(standing) => standing.keys.clone(),
            None => keys_of(&admit.subject),
        };
        self.keys.insert(key_place(&keys.current), Hash(node));
        let before = self.standing.get(&node);
        let (rotated, holds) = (before.and_then(|it| it.rotated), before.and_then(|it| it.holds));
        let (suspensions, suspension) = before.map_or((0, None), |it| (it.suspensions, it.suspension));
        let convictions = before.map_or(Vec::new(), |it| it.convictions.clone());
        let standing = Standing {
            keys,
            roles: admit.roles.clone(),
            window: admit.window,
            number: admit.number,
            height,
            how,
            suspensions,
            suspension,
            rotated,
            holds,
            limited: admit.window.until.0.saturating_sub(admit.window.from.0)
                < self.charter().timing.member_lifetime_ms,
            convictions,
        };
        self.standing.insert(node, Arc::new(standing));
    }

    /// SPEC 7.3: the state root, and the spine's.
    pub fn roots(&self) -> (Bytes32, Bytes32) {
        let last = LAST.take();
        let last = last.as_ref();
        let maps = [
            root_of(&self.standing, last.map(|(it, roots)| (&it.standing, roots[0]))),
            root_of(&self.gone, last.map(|(it, roots)| (&it.gone, roots[1]))),
            root_of(&self.keys, last.map(|(it, roots)| (&it.keys, roots[2]))),
            root_of(&self.tickets, last.map(|(it, roots)| (&it.tickets, roots[3]))),
            root_of(&self.spine, last.map(|(it, roots)| (&it.spine, roots[4]))),
        ];
        LAST.set(Some((self.clone(), maps)));
        (digest("state", &maps.concat()), maps[4])
    }
}

thread_local! {
    /// The facts whose roots were asked for last, and the roots of their maps: most blocks leave most maps as they were.
    static LAST: RefCell<Option<(Facts, [Bytes32; 5])>> = const { RefCell::new(None) };
}

type Map<T> = BTreeMap<Bytes32, T>;

fn root_of<T: Serialize + PartialEq>(map: &Map<T>, known: Option<(&Map<T>, Bytes32)>) -> Bytes32 {
    match known {
        Some((same, root)) if same == map => root,
        Some(_) | None => map_root(map),
    }
}

fn keys_of(inception: &Inception) -> Keys {
    Keys { inception: inception.clone(), sequence: 0, current: inception.key, next: inception.next }
}
