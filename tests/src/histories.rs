//! Random small histories of one domain: entries that are valid, and entries with one thing or two wrong.
//!
//! Nothing here decides what is valid: the model does, and the engine, each for itself.

use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{Algorithm, Inception, NodeId, PublicKey, Rotation, SecretKey, Signature};
use frith_protocol::state::{
    Admit, Basis, Block, BlockId, Charter, CharterId, DomainId, Entry, Founded, Grounds, Kind, Reason,
    Release, Revoke, Rotate, Statement, Suspend, TicketTerms, Window,
};
use frith_protocol::time::Timestamp;

use crate::ink;
use crate::model::{Facts, Model, Standing, block_id, hashes};
use crate::people::{
    DAY, Dice, MINUTE, Person, bad_keys, bring_keys, charter, found, people, secret_committed_to,
};

/// One domain, and what its random log is drawn from.
pub struct History {
    /// All that is random.
    pub dice: Dice,
    /// The charter and its signatures.
    pub founded: Founded,
    /// The log.
    pub model: Model,
    /// The charter in force.
    pub charter: Charter,
    /// Those before it, the first first.
    pub former: Vec<Charter>,
    /// What a branch amounted to that was dropped just now, if one was.
    pub(crate) dropped: Option<Arc<Facts>>,
    /// Who has a seat in it.
    pub endorsers: Vec<&'static Person>,
    /// Voting keys that were made for later charters, and for whom.
    pub fresh: Vec<(&'static Person, SecretKey)>,
    /// Some of what was drawn before, to be played again.
    pub(crate) drawn: Vec<Entry>,
    /// Who had a seat at first.
    pub founders: Vec<&'static Person>,
    /// Who had none. The last few endorse another domain.
    pub others: Vec<&'static Person>,
    /// Tickets that were made.
    pub tickets: Vec<TicketTerms>,
    /// Somebody who rotates again and again, in some histories.
    restless: Option<NodeId>,
}

impl History {
    /// A domain of one to seven endorsers, with whatever thresholds, policy and lifetimes its charter may have.
    ///
    /// # Panics
    /// If the model refuses the charter.
    pub fn new(seed: u64) -> History {
        bring_keys();
        let mut dice = Dice::new(seed);
        let mut everybody: Vec<&'static Person> = people().iter().collect();
        dice.shuffle(&mut everybody);
        let n = 1 + dice.below(7);
        let others = everybody.split_off(n);
        let founders = everybody;
        let mut charter = charter(&founders);
        let f = dice.between(0, u64::from(charter.faults)) as u8;
        let most = n as u8 - f;
        let mut threshold = |least: u8| dice.between(u64::from(least), u64::from(most)) as u8;
        charter.faults = f;
        charter.thresholds.admit = threshold((f + 1).max(2.min(n as u8)));
        charter.thresholds.revoke = threshold(f + 1);
        charter.thresholds.contain = threshold(f + 1);
        charter.thresholds.amend = threshold((n as u8 + f) / 2 + 1);
        charter.written = Timestamp(dice.between(0, DAY));
        charter.last_day = Timestamp(400 * DAY);
        charter.timing.member_lifetime_ms = dice.between(1, 5) * DAY;
        charter.timing.basis_ms = dice.between(1, 60) * MINUTE;
        charter.timing.proposal_lifetime_ms = *dice.one_of(&[10 * MINUTE, DAY]);
        charter.timing.silence_ms = *dice.one_of(&[2 * MINUTE, 60 * MINUTE, 14 * DAY]);
        charter.roles[0].freshness_ms = dice.chance(1, 4).then_some(charter.timing.freshness_ms);
        match dice.below(8) {
            0 => charter.admission.tickets = false,
            1 => charter.admission.approval = false,
            _ => {}
        }
        let founded = found(charter);
        let model = Model::found(&founded).expect("the charter is sound");
        let restless = dice.chance(1, 8).then(|| founders[dice.below(n)].node);
        let charter = founded.charter.clone();
        let (endorsers, fresh, drawn, tickets) = (founders.clone(), Vec::new(), Vec::new(), Vec::new());
        History {
            dice,
            founded,
            model,
            charter,
            former: Vec::new(),
            dropped: None,
            endorsers,
            fresh,
            drawn,
            founders,
            others,
            tickets,
            restless,
        }
    }

    /// A time for the next block.
    pub fn next_time(&mut self) -> Timestamp {
        let after = match self.dice.below(8) {
            0 => 1,
            1 => self.dice.between(1, DAY),
            2 => self.dice.between(1, 2 * 60 * MINUTE),
            // Midnight, or just before or after.
            3 if self.dice.chance(1, 4) => DAY - self.model.head().time.0 % DAY + self.dice.between(0, 2),
            _ => self.dice.between(1, MINUTE),
        };
        self.model.head().time.plus(after)
    }

    /// A recovery from the head, for a block at `time` that has nothing else.
    pub fn recovery(&mut self, time: Timestamp) -> Entry {
        let kind = Kind::Recover(Box::new(self.recover(time)));
        let statement = Statement { domain: DomainId(self.model.domain()), kind };
        let signers = self.signers(&statement);
        self.signed(statement, signers)
    }

    /// An entry for a block at `time`.
    pub fn entry(&mut self, time: Timestamp) -> Entry {
        if !self.drawn.is_empty() && self.dice.chance(1, 24) {
            return self.dice.one_of(&self.drawn).clone();
        }
        let rotates = self.dice.chance(if self.restless.is_some() { 9 } else { 1 }, 16);
        let kind = match self.dice.below(20) {
            _ if rotates => Kind::Rotate(self.rotate()),
            _ if self.dice.chance(1, 14) => Kind::Accuse(Box::new(self.accuse(time))),
            _ if self.dice.chance(1, 20) => Kind::Hold(Box::new(self.hold(time))),
            _ if self.dice.chance(1, 200) => Kind::Recover(Box::new(self.recover(time))),
            0..13 => Kind::Admit(Box::new(self.admit(time))),
            13 | 14 => Kind::Suspend(self.suspend(time)),
            15 | 16 => Kind::Release(self.release(time)),
            17 | 18 => Kind::Revoke(self.revoke()),
            _ => Kind::Amend(Box::new(self.amend(time))),
        };
        let mut domain = DomainId(self.model.domain());
        if self.dice.chance(1, 50) {
            domain.0[self.dice.below(32)] ^= 1;
        }
        let statement = Statement { domain, kind };
        let signers = self.signers(&statement);
        let entry = self.signed(statement, signers);
        if self.dice.chance(1, 4) {
            self.drawn.push(entry.clone());
        }
        entry
    }

    pub(crate) fn anybody(&mut self) -> &'static Person {
        match self.dice.below(6) {
            0 => self.founders[self.dice.below(self.founders.len())],
            1 => self.endorsers[self.dice.below(self.endorsers.len())],
            _ => self.bystander(),
        }
    }

    pub(crate) fn bystander(&mut self) -> &'static Person {
        self.others[self.dice.below(16)]
    }

    fn reason(&mut self) -> Reason {
        *self.dice.one_of(&[Reason::Unspecified, Reason::Compromised, Reason::Retired, Reason::Misbehaved])
    }

    pub(crate) fn somebody_standing(&mut self) -> NodeId {
        let standing: Vec<[u8; 32]> = self.model.facts().standing.keys().copied().collect();
        if self.dice.chance(4, 5) { NodeId(*self.dice.one_of(&standing)) } else { self.anybody().node }
    }

    fn revoke(&mut self) -> Revoke {
        Revoke { subject: self.somebody_standing(), reason: self.reason() }
    }

    pub(crate) fn suspend(&mut self, time: Timestamp) -> Suspend {
        let subject = self.somebody_standing();
        let before = self.model.facts().standing.get(&subject.0).map_or(0, |standing| standing.suspensions);
        let until = match self.dice.below(8) {
            0 => time,
            1 => Timestamp(u64::MAX),
            2 => time.plus(1),
            _ => time.plus(self.dice.between(1, 90 * MINUTE)),
        };
        Suspend { subject, number: self.near(before + 1), until, reason: self.reason() }
    }

    fn release(&mut self, time: Timestamp) -> Release {
        let facts = self.model.facts();
        let suspended: Vec<[u8; 32]> =
            facts.standing.iter().filter(|(_, it)| it.suspensions > 0).map(|(node, _)| *node).collect();
        let subject = match suspended.is_empty() || self.dice.chance(1, 8) {
            true => self.somebody_standing(),
            false => NodeId(*self.dice.one_of(&suspended)),
        };
        let number = facts.standing.get(&subject.0).map_or(0, |standing| standing.suspensions);
        let basis = self.admit(time).basis;
        Release { subject, number: self.near(number), basis }
    }

    fn rotate(&mut self) -> Rotate {
        let subject = match self.restless {
            Some(restless) if self.dice.chance(7, 8) => restless,
            Some(_) | None => self.somebody_standing(),
        };
        let facts = self.model.facts();
        let person = people().iter().find(|person| person.node == subject).unwrap_or(&people()[0]);
        let keys = facts.standing.get(&subject.0).map(|standing| &standing.keys);
        let (mut sequence, mut next) =
            keys.map_or((0, person.inception.next), |keys| (keys.sequence, keys.next));
        let mut rotations = Vec::new();
        for _ in 0..*self.dice.one_of(&[1, 1, 1, 1, 2, 3, 8, 9, 0]) {
            sequence += 1;
            let key = secret_committed_to(&next).unwrap_or_else(|| person.key_of(sequence));
            // To one that is its own already, or becomes so twice: it cannot rotate again then.
            let after = match self.dice.below(12) {
                0 => person.voting.public(),
                1 => person.key_of(self.dice.below(3) as u32).public(),
                2 => self.anybody().public(),
                _ => person.key_of(sequence + 1).public(),
            };
            rotations.push(rotation_to(&subject, sequence, &key, &after));
            next = after.commitment();
        }
        if self.dice.chance(1, 4) && !rotations.is_empty() {
            self.spoil_rotations(person, &mut rotations);
        }
        Rotate { subject, rotations }
    }

    fn spoil_rotations(&mut self, person: &Person, rotations: &mut Vec<Rotation>) {
        let at = self.dice.below(rotations.len());
        let Rotation { sequence, next, .. } = rotations[at];
        let otherwise = |sequence, key: &SecretKey| Rotation {
            next,
            ..rotation_to(&person.node, sequence, key, &person.key_of(sequence.wrapping_add(1)).public())
        };
        let by =
            |key: &SecretKey| rotation_to(&person.node, sequence, key, &person.key_of(sequence + 1).public());
        match self.dice.below(8) {
            0 => rotations[at] = otherwise(sequence + 1, &person.key_of(sequence)),
            1 => rotations[at] = otherwise(sequence - 1, &person.key_of(sequence)),
            // The thief has the running key.
            2 => rotations[at] = by(&person.key_of(sequence - 1)),
            3 => rotations[at] = by(&person.voting),
            4 => rotations[at].signature.bytes[self.dice.below(64)] ^= 1 << self.dice.below(8),
            5 => rotations[at].key = *self.dice.one_of(&bad_keys()),
            6 => drop(rotations.remove(at)),
            _ => rotations[at].next.0[0] ^= 1,
        }
    }

    /// A number, or now and then one beside it.
    fn near(&mut self, number: u64) -> u64 {
        match self.dice.below(16) {
            0 => number + 1,
            1 => number.saturating_sub(1),
            _ => number,
        }
    }

    fn admit(&mut self, time: Timestamp) -> Admit {
        let person = self.anybody();
        let standing = self.model.facts().standing.get(&person.node.0).cloned();
        let policy = self.charter.admission;
        let by_ticket = policy.tickets && standing.is_none() && (!policy.approval || self.dice.chance(1, 2));
        let grounds =
            if by_ticket { Grounds::Ticket(Box::new(self.ticket(time))) } else { Grounds::Approval };
        let timing = self.charter.timing;
        let mut admit = Admit {
            subject: person.inception.clone(),
            number: standing.as_ref().map_or(1, |standing| standing.number + 1),
            roles: self.roles(),
            window: Window { from: time, until: time.plus(timing.member_lifetime_ms.min(DAY)) },
            basis: self.basis(time),
            grounds,
        };
        let seated = self.endorsers.iter().any(|endorser| endorser.node == person.node);
        if let Some(standing) = standing
            && self.dice.chance(if seated { 1 } else { 12 }, 20)
        {
            self.renew(time, &standing, &mut admit);
        }
        let flaws = [0, 0, 0, 0, 0, 0, 1, 1, 2][self.dice.below(9)];
        for _ in 0..flaws {
            self.spoil(time, person, &mut admit);
        }
        admit
    }

    /// Makes it a renewal, as early as may be or as late, or a little earlier, or with one role more.
    fn renew(&mut self, time: Timestamp, standing: &Standing, admit: &mut Admit) {
        let Window { from, until } = standing.window;
        let middle = from.0 + (until.0 - from.0) / 2;
        let from = match self.dice.below(8) {
            0 => middle.saturating_sub(1),
            1 | 2 => middle,
            3 => middle + 1,
            _ => time.0,
        };
        let lifetime = self.charter.timing.member_lifetime_ms;
        let lifetime = lifetime - u64::from(self.dice.chance(1, 16));
        admit.grounds = Grounds::Renewal;
        admit.window = Window { from: Timestamp(from), until: Timestamp(from).plus(lifetime) };
        admit.roles.clone_from(&standing.roles);
        match self.dice.below(8) {
            0 => drop(admit.roles.pop()),
            1 => admit.roles = self.charter.roles.iter().map(|role| role.name.clone()).collect(),
            _ => {}
        }
    }

    /// Roles that members usually get, as far as the charter has them.
    fn roles(&self) -> Vec<String> {
        let server = self.charter.roles.iter().filter(|role| role.name == "server");
        server.map(|role| role.name.clone()).collect()
    }

    /// A basis that will do.
    pub(crate) fn basis(&self, time: Timestamp) -> Basis {
        let head = self.model.head();
        let oldest = time.0.saturating_sub(self.charter.timing.basis_ms);
        let time = Timestamp(head.time.0.max(oldest));
        Basis { height: head.height, block: BlockId(block_id(head)), time }
    }

    fn ticket(&mut self, time: Timestamp) -> TicketTerms {
        if !self.tickets.is_empty() && self.dice.chance(2, 3) {
            return self.dice.one_of(&self.tickets).clone();
        }
        let number = self.tickets.len() as u8;
        let mut secret = [200; 32];
        secret[0] = number;
        let mut roles = vec!["server".to_owned()];
        if self.dice.chance(1, 2) {
            roles.insert(0, "gateway".into());
        }
        let terms = TicketTerms {
            domain: DomainId(self.model.domain()),
            charter: CharterId([number; 32]),
            epoch: 1,
            height: self.model.head().height,
            roles,
            uses: self.dice.between(1, 3) as u32,
            expires: time.plus(self.dice.between(0, 6 * 60 * MINUTE)),
            key: SecretKey::from_seed(secret).public(),
        };
        self.tickets.push(terms.clone());
        terms
    }

    /// Changes one thing, which may or may not make the admission invalid.
    fn spoil(&mut self, time: Timestamp, person: &Person, admit: &mut Admit) {
        let timing = self.charter.timing;
        let height = self.model.head().height;
        let bits = |dice: &mut Dice, bytes: &mut [u8]| bytes[dice.below(bytes.len())] ^= 1 << dice.below(8);
        match self.dice.below(18) {
            0 => {
                admit.number = *self.dice.one_of(&[
                    0,
                    admit.number.wrapping_sub(1),
                    admit.number.wrapping_add(1),
                    u64::MAX,
                ])
            }
            1 => admit.subject = person.inception_signed_otherwise(),
            2 => bits(&mut self.dice, &mut admit.subject.possession.bytes),
            3 => {
                let from = self.anybody();
                let key = if self.dice.chance(1, 2) { &from.key } else { &from.voting };
                admit.subject = Inception::new(key, &person.next.public());
                admit.number = 1;
            }
            4 => admit.subject.key = *self.dice.one_of(&bad_keys()),
            5 => admit.roles = vec![],
            6 => admit.roles = vec!["gateway".into(), "server".into()],
            7 => admit.roles = vec!["server".into(), "gateway".into()],
            8 => admit.roles = vec!["server".into(), "server".into()],
            9 => admit.roles.push("unheard-of".into()),
            10 => {
                let from = Timestamp(time.0 - self.dice.between(0, 2).min(time.0));
                admit.window = Window { from, until: from.plus(timing.member_lifetime_ms) };
            }
            11 => admit.window.until = admit.window.from.plus(timing.member_lifetime_ms + 1),
            12 => {
                let near = [time.0, time.0 + 1, time.0.saturating_sub(1), 0, u64::MAX];
                admit.window.from = Timestamp(*self.dice.one_of(&near));
                admit.window.until = Timestamp(*self.dice.one_of(&near));
            }
            13 => admit.basis.height = *self.dice.one_of(&[0, height, height + 1, height + 2, u64::MAX]),
            14 => self.spoil_basis_time(time, &mut admit.basis),
            15 => admit.basis.block = BlockId([3; 32]),
            _ => self.spoil_grounds(time, admit),
        }
    }

    pub(crate) fn spoil_basis_time(&mut self, time: Timestamp, basis: &mut Basis) {
        let oldest = time.0.saturating_sub(self.charter.timing.basis_ms);
        let times = [0, oldest.saturating_sub(1), oldest, oldest + 1, time.0, time.0 + 1, u64::MAX];
        basis.time = Timestamp(*self.dice.one_of(&times));
    }

    fn spoil_grounds(&mut self, time: Timestamp, admit: &mut Admit) {
        let terms = match &mut admit.grounds {
            Grounds::Approval => {
                admit.grounds = Grounds::Ticket(Box::new(self.ticket(time)));
                return;
            }
            Grounds::Renewal => {
                admit.grounds = Grounds::Approval;
                return;
            }
            Grounds::Ticket(terms) => terms,
        };
        match self.dice.below(9) {
            0 => admit.grounds = Grounds::Approval,
            1 => terms.uses = *self.dice.one_of(&[0, 1, 100_000, 100_001, u32::MAX]),
            2 => terms.domain.0[0] ^= 1,
            3 => terms.expires = Timestamp(time.0.saturating_sub(1)),
            4 => terms.expires = time,
            5 => terms.roles = vec!["gateway".into()],
            6 => terms.roles = vec!["server".into(), "gateway".into()],
            7 => terms.roles = vec!["no role of this charter".into(), "server".into()],
            _ => terms.key = *self.dice.one_of(&bad_keys()),
        }
    }

    /// Adds a block that the model accepts.
    pub fn push(&mut self, block: &Arc<Block>) {
        self.model.push(block);
        let amends = |entry: &Entry| matches!(entry.statement.kind, Kind::Amend(_) | Kind::Recover(_));
        self.dropped = None;
        if block.entries.iter().any(amends) {
            let after = self.model.facts().charter().clone();
            self.former.push(std::mem::replace(&mut self.charter, after));
            self.seat_people();
        }
    }

    /// Goes on from an earlier block, as if what came after it had never been.
    pub(crate) fn drop_to(&mut self, model: Model) {
        self.dropped = Some(self.model.facts());
        self.model = model;
        self.charter = self.model.facts().charter().clone();
        let now = self.charter.epoch;
        self.former.retain(|charter| charter.epoch < now);
        self.seat_people();
    }

    fn seat_people(&mut self) {
        let seated = |person: &&Person| {
            self.charter.endorsers.iter().any(|seat| seat.inception.key == person.public())
        };
        self.endorsers = people().iter().filter(seated).collect();
    }
}

/// [`Rotation::new`], with whatever ink this history has.
pub(crate) fn rotation_to(node: &NodeId, sequence: u32, key: &SecretKey, next: &PublicKey) -> Rotation {
    let unsigned = Signature { algorithm: Algorithm::Ed25519, bytes: [0; 64] };
    let rotation = Rotation { sequence, key: key.public(), next: next.commitment(), signature: unsigned };
    let signature = ink::sign(key, &Hash(hashes::rotation(node.0, &rotation)));
    Rotation { signature, ..rotation }
}
