//! Random charters that follow another: such as may be, and such as have one thing or two wrong.

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{Algorithm, Inception, KeySequence, NodeId, PublicKey, SecretKey, Signature};
use frith_protocol::limits;
use frith_protocol::state::{
    Amend, Basis, BlockId, Charter, CharterId, Consent, DomainId, Reason, Recover, Revoke, Role, Seat,
    Suspend, TermsId, Thresholds,
};
use frith_protocol::time::Timestamp;

use crate::histories::History;
use crate::ink;
use crate::model::hashes::{self, digest_of};
use crate::model::{Gone, block_id};
use crate::people::{DAY, Dice, MINUTE, Person, bad_keys, people};
use crate::signers::Signer;

/// Who consents, by which keys, and what is wrong with it.
struct Consenting {
    node: NodeId,
    sequence: KeySequence,
    key: SecretKey,
    voting: SecretKey,
    basis: Basis,
    to_other_terms: bool,
    /// Which of its two signatures is spoilt.
    flipped: Option<bool>,
    /// A voting key that nobody can have.
    forged: Option<PublicKey>,
}

fn role(name: &str) -> Role {
    Role { name: name.into(), capabilities: vec!["serve".into()], freshness_ms: None }
}

impl History {
    /// The next charter, with whoever consents to it.
    pub(crate) fn amend(&mut self, time: Timestamp) -> Amend {
        let mut charter = self.next_charter(time);

        let flaws = [0, 0, 0, 1, 1, 2][self.dice.below(6)];
        let of_terms = (0..flaws).filter(|_| self.dice.chance(1, 2)).count();
        for _ in 0..of_terms {
            self.spoil_terms(time, &mut charter);
        }
        let mut consenting: Vec<Consenting> = Vec::new();
        for person in seated(&charter) {
            let had_one = self.endorsers.iter().any(|endorser| endorser.node == person.node);
            if !had_one || self.dice.chance(1, 2) {
                consenting.push(self.consenting(time, person));
            }
        }
        for _ in of_terms..flaws {
            self.spoil_consents(time, &charter, &mut consenting);
        }
        let consents = self.signed_consents(&charter, consenting);
        Amend { charter, consents }
    }

    /// A charter that follows, and what the recovery quorum says besides.
    pub(crate) fn recover(&mut self, time: Timestamp) -> Recover {
        let head = self.model.head();
        let mut base = Basis { height: head.height, block: BlockId(block_id(head)), time: head.time };
        let mut charter = self.next_charter(time);
        charter.epoch += *self.dice.one_of(&[0, 0, 0, 1, 7, limits::RECOVERY_EPOCHS_MAX - 1]);
        let gone = self.some_gone();
        let suspended = self.some_suspended(time);
        // Whom it revokes it does not seat, but by mistake.
        if charter.endorsers.iter().any(|seat| gone.iter().all(|gone| gone.subject != seat.node_id()))
            && self.dice.chance(7, 8)
        {
            charter.endorsers.retain(|seat| gone.iter().all(|gone| gone.subject != seat.node_id()));
            make_lawful(&mut charter);
            charter.endorsers.iter_mut().for_each(|seat| seat.voting_key = PublicKey([0; 32]));
        }
        let flaws = [0, 0, 0, 1, 1, 2][self.dice.below(6)];
        for _ in 0..flaws {
            match self.dice.below(8) {
                0 | 1 => self.spoil_terms(time, &mut charter),
                2 => charter.epoch = self.charter.epoch,
                3 => charter.epoch = self.charter.epoch + limits::RECOVERY_EPOCHS_MAX + 1,
                4 => base.height += 1,
                5 => base.block = BlockId([5; 32]),
                6 => base.time = base.time.plus(1),
                7 => charter.previous = self.charter.previous.or(Some(CharterId([1; 32]))),
                _ => {}
            }
        }
        let mut consenting: Vec<Consenting> = Vec::new();
        for person in seated(&charter) {
            let mut said = self.consenting(time, person);
            said.basis = base;
            consenting.push(said);
        }
        match self.dice.below(8) {
            0 | 1 => self.spoil_consents(time, &charter, &mut consenting),
            2 => drop(consenting.pop()),
            _ => {}
        }
        let consents = self.signed_consents(&charter, consenting);
        Recover { base, gone, suspended, charter, consents }
    }

    fn some_gone(&mut self) -> Vec<Revoke> {
        let count = *self.dice.one_of(&[0, 0, 1, 2]);
        let mut gone: Vec<Revoke> = (0..count)
            .map(|_| Revoke { subject: self.anybody().node, reason: Reason::Compromised })
            .collect();
        // Denials of a branch that is dropped stay, unless somebody forgets them.
        if let Some(dropped) = self.dropped.clone()
            && self.dice.chance(7, 8)
        {
            let denied =
                |(node, it): (&[u8; 32], &Gone)| Revoke { subject: NodeId(*node), reason: it.reason };
            gone.extend(dropped.gone.iter().map(denied));
        }
        gone.sort_by_key(|it| it.subject);
        if self.dice.chance(7, 8) {
            gone.dedup_by_key(|it| it.subject);
            gone.retain(|it| !self.model.facts().gone.contains_key(&it.subject.0));
        }
        gone
    }

    fn some_suspended(&mut self, time: Timestamp) -> Vec<Suspend> {
        let count = *self.dice.one_of(&[0, 0, 1, 2]);
        let mut suspended: Vec<Suspend> = (0..count)
            .map(|_| {
                let mut suspend = self.suspend(time);
                suspend.number += self.dice.between(0, 2);
                if self.dice.chance(1, 4) {
                    let facts = self.model.facts();
                    suspend.number = facts.standing.get(&suspend.subject.0).map_or(1, |it| it.suspensions);
                }
                suspend
            })
            .collect();
        if let Some(dropped) = self.dropped.clone()
            && self.dice.chance(7, 8)
        {
            let denied = dropped.standing.iter().filter(|(_, it)| it.is_suspended(time));
            suspended.extend(denied.filter_map(|(node, it)| {
                let (until, _, reason) = it.suspension?;
                Some(Suspend { subject: NodeId(*node), number: it.suspensions + 1, until, reason })
            }));
        }
        suspended.sort_by_key(|it| it.subject);
        if self.dice.chance(7, 8) {
            suspended.dedup_by_key(|it| it.subject);
        }
        suspended
    }

    fn next_charter(&mut self, time: Timestamp) -> Charter {
        let mut charter = self.charter.clone();
        charter.previous = Some(CharterId(digest_of("charter", &self.charter)));
        charter.epoch += 1;
        let oldest = time.0.saturating_sub(self.charter.timing.proposal_lifetime_ms);
        let written = (self.charter.written.0 + 1).max(oldest).min(time.0);
        charter.written = Timestamp(self.dice.between(written, time.0));
        charter.last_day = Timestamp(charter.last_day.0.max(time.0 + 1));
        for _ in 0..1 + self.dice.below(3) {
            self.change(time, &mut charter);
        }
        make_lawful(&mut charter);
        charter.endorsers.iter_mut().for_each(|seat| seat.voting_key = PublicKey([0; 32]));
        charter
    }

    fn consenting(&mut self, time: Timestamp, person: &'static Person) -> Consenting {
        let voting = person.fresh_voting_key(self.fresh.len() as u32);
        self.fresh.push((person, voting.clone()));
        let Signer { node, sequence, key, .. } = Signer::current(person, &self.model.facts());
        Consenting {
            node,
            sequence,
            key,
            voting,
            basis: self.basis(time),
            to_other_terms: false,
            flipped: None,
            forged: None,
        }
    }

    /// A change that people make.
    fn change(&mut self, time: Timestamp, charter: &mut Charter) {
        match self.dice.below(12) {
            0..3 => self.seat_a_member(time, charter),
            3 | 4 => self.unseat(charter),
            5 => {
                self.unseat(charter);
                self.seat_a_member(time, charter);
            }
            6 => {
                let any = |dice: &mut Dice| dice.below(9) as u8;
                charter.faults = any(&mut self.dice) / 3;
                let [admit, revoke, contain, amend] = std::array::from_fn(|_| any(&mut self.dice));
                charter.thresholds = Thresholds { admit, revoke, contain, amend };
            }
            7 => self.change_roles(charter),
            8 => charter.timing.member_lifetime_ms = self.dice.between(1, 5 * DAY),
            9 if self.dice.chance(1, 2) => charter.timing.basis_ms = self.dice.between(1, 60) * MINUTE,
            9 => {
                let bound = self.dice.chance(1, 2).then_some(charter.timing.freshness_ms);
                charter.roles.iter_mut().take(1).for_each(|role| role.freshness_ms = bound);
            }
            10 => {
                let (tickets, approval) = *self.dice.one_of(&[(true, true), (true, false), (false, true)]);
                charter.admission.tickets = tickets;
                charter.admission.approval = approval;
            }
            _ => {
                let first = 48 + self.dice.below(4);
                charter.recovery.keys =
                    people()[first..first + 2].iter().map(|it| it.next.public()).collect();
                charter.recovery.keys.sort();
                charter.recovery.threshold = 1;
            }
        }
    }

    /// Mostly somebody who may have one.
    fn seat_a_member(&mut self, time: Timestamp, charter: &mut Charter) {
        let facts = self.model.facts();
        let able: Vec<&Inception> = facts
            .standing
            .values()
            .filter(|it| !it.is_suspended(time) && it.window.from <= time && time < it.window.until)
            .map(|it| &it.keys.inception)
            .filter(|inception| charter.endorsers.iter().all(|seat| seat.inception.key != inception.key))
            .collect();
        let inception = match able.is_empty() || self.dice.chance(1, 12) {
            true => self.anybody().inception.clone(),
            false => (*self.dice.one_of(&able)).clone(),
        };
        if charter.endorsers.iter().any(|seat| seat.inception.key == inception.key) {
            return;
        }
        let mut roles: Vec<String> = charter.roles.iter().map(|role| role.name.clone()).collect();
        roles.retain(|_| self.dice.chance(1, 2));
        charter.endorsers.push(Seat { inception, voting_key: PublicKey([0; 32]), roles });
    }

    fn unseat(&mut self, charter: &mut Charter) {
        if charter.endorsers.len() > 1 {
            charter.endorsers.remove(self.dice.below(charter.endorsers.len()));
        }
    }

    /// One role comes, comes back or goes.
    fn change_roles(&mut self, charter: &mut Charter) {
        let name = *self.dice.one_of(&["auditor", "gateway", "operator", "server"]);
        let before = charter.roles.len();
        charter.roles.retain(|known| known.name != name);
        if charter.roles.len() == before {
            charter.roles.push(role(name));
            charter.roles.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    /// Changes one thing, which may or may not make the charter one that cannot follow.
    fn spoil_terms(&mut self, time: Timestamp, charter: &mut Charter) {
        let now = (self.charter.epoch, self.charter.written.0, self.charter.previous);
        let seats = charter.endorsers.len();
        let at = self.dice.below(seats);
        match self.dice.below(15) {
            0 => charter.epoch = *self.dice.one_of(&[0, 1, now.0, now.0 + 2, u64::MAX]),
            1 => charter.previous = *self.dice.one_of(&[None, now.2, Some(CharterId([1; 32]))]),
            2 => {
                let near = [0, now.1, now.1 + 1, time.0, time.0 + 1];
                charter.written = Timestamp(*self.dice.one_of(&near));
            }
            3 => charter.last_day = Timestamp(*self.dice.one_of(&[0, time.0, time.0 + 1])),
            4 => charter.endorsers[at].voting_key = self.anybody().voting.public(),
            5 => charter.endorsers[at].inception.possession.bytes[self.dice.below(64)] ^= 1,
            6 => {
                let key = charter.endorsers[at].inception.key;
                if let Some(person) = people().iter().find(|person| person.public() == key) {
                    charter.endorsers[at].inception = person.inception_signed_otherwise();
                }
            }
            7 | 8 => self.seat_somebody_restrained(time, charter),
            9 => {
                charter.thresholds.amend =
                    charter.thresholds.amend.wrapping_add_signed(1 - 2 * (at % 2) as i8)
            }
            10 => charter.faults += 1,
            11 => {
                let somebody = self.anybody();
                let key = *self.dice.one_of(&[&somebody.voting, &somebody.key]);
                charter.recovery.keys = vec![key.public()];
                charter.recovery.threshold = 1;
            }
            12 => charter.endorsers.reverse(),
            13 => charter.endorsers[at].roles.push("unheard-of".into()),
            _ => charter.endorsers.push(charter.endorsers[at].clone()),
        }
    }

    /// Somebody who is suspended, gone, or whose window is over, if there is anybody.
    fn seat_somebody_restrained(&mut self, time: Timestamp, charter: &mut Charter) {
        let facts = self.model.facts();
        let restrained = |person: &&Person| match facts.standing.get(&person.node.0) {
            Some(it) => it.is_suspended(time) || it.window.until <= time,
            None => facts.gone.contains_key(&person.node.0),
        };
        let unseated =
            |person: &&Person| charter.endorsers.iter().all(|it| it.inception.key != person.public());
        let all: Vec<&Person> = people().iter().filter(restrained).filter(unseated).collect();
        if !all.is_empty() {
            let inception = self.dice.one_of(&all).inception.clone();
            charter.endorsers.push(Seat { inception, voting_key: PublicKey([0; 32]), roles: vec![] });
            charter.endorsers.sort_by_key(Seat::node_id);
        }
    }

    fn spoil_consents(&mut self, time: Timestamp, charter: &Charter, consenting: &mut Vec<Consenting>) {
        if consenting.is_empty() || self.dice.chance(1, 8) {
            let person = self.anybody();
            let more = self.consenting(time, person);
            consenting.push(more);
            return;
        }
        let at = self.dice.below(consenting.len());
        let other = self.anybody();
        let (height, count) = (self.model.head().height, consenting.len());
        let another = consenting[self.dice.below(count)].voting.clone();
        let it = &mut consenting[at];
        match self.dice.below(14) {
            0 => drop(consenting.remove(at)),
            1 => it.voting = other.voting.clone(),
            2 => it.voting = it.key.clone(),
            3 => {
                let own = self.charter.endorsers.iter().find(|seat| seat.node_id() == it.node);
                let own = own.map(|seat| seat.voting_key);
                let made = self.fresh.iter().find(|(_, key)| Some(key.public()) == own);
                it.voting = made.map_or_else(|| other.voting.clone(), |(_, key)| key.clone());
            }
            4 => it.voting = self.dice.one_of(&self.fresh).1.clone(),
            5 => it.voting = another,
            6 => it.flipped = Some(self.dice.chance(1, 2)),
            7 => it.to_other_terms = true,
            8 => it.basis.height = *self.dice.one_of(&[0, height, height + 1, height + 2, u64::MAX]),
            9 => self.spoil_basis_time(time, &mut it.basis),
            10 => it.sequence += 1,
            11 => it.key = other.key.clone(),
            12 => it.forged = Some(*self.dice.one_of(&bad_keys())),
            _ => {
                let recovery =
                    people().iter().find(|person| charter.recovery.keys.contains(&person.next.public()));
                it.voting = recovery.map_or_else(|| other.key.clone(), |person| person.next.clone());
            }
        }
    }

    fn signed_consents(&mut self, charter: &Charter, consenting: Vec<Consenting>) -> Vec<Consent> {
        let domain = DomainId(self.model.domain());
        let terms = TermsId(digest_of("terms", &(domain, charter)));
        let mut consents: Vec<Consent> = consenting
            .into_iter()
            .map(|it| {
                let to = if it.to_other_terms { TermsId(Hash::ZERO.0) } else { terms };
                let unsigned = Signature { algorithm: Algorithm::Ed25519, bytes: [0; 64] };
                let mut consent = Consent {
                    node: it.node,
                    sequence: it.sequence,
                    key: it.key.public(),
                    voting_key: it.voting.public(),
                    basis: it.basis,
                    signature: unsigned,
                    possession: unsigned,
                };
                let digest = Hash(hashes::consent(to.0, &consent));
                consent.signature = ink::sign(&it.key, &digest);
                consent.possession = ink::sign(&it.voting, &digest);
                let bytes = |dice: &mut Dice, signature: &mut Signature| signature.bytes[dice.below(64)] ^= 1;
                match it.flipped {
                    Some(true) => bytes(&mut self.dice, &mut consent.signature),
                    Some(false) => bytes(&mut self.dice, &mut consent.possession),
                    None => {}
                }
                if let Some(key) = it.forged {
                    consent.voting_key = key;
                    // With a key of small order, this is a signature of anything.
                    let mut anything = [0; 64];
                    anything[0] = 1;
                    consent.possession = Signature { algorithm: Algorithm::Ed25519, bytes: anything };
                }
                consent
            })
            .collect();
        consents.sort_by_key(|consent| consent.node);
        match self.dice.below(60) {
            0 => consents.reverse(),
            1 => consents.extend(consents.first().cloned()),
            _ => {}
        }
        consents
    }
}

/// Who is seated, of whom there is a key.
fn seated(charter: &Charter) -> Vec<&'static Person> {
    let of = |seat: &Seat| people().iter().find(|person| person.public() == seat.inception.key);
    charter.endorsers.iter().filter_map(of).collect()
}

/// Orders what must be in order, and brings every number to where the rules want it.
fn make_lawful(charter: &mut Charter) {
    charter.endorsers.sort_by_key(Seat::node_id);
    let known: Vec<String> = charter.roles.iter().map(|role| role.name.clone()).collect();
    charter.endorsers.iter_mut().for_each(|seat| seat.roles.retain(|role| known.contains(role)));
    let n = charter.endorsers.len() as u8;
    charter.faults = charter.faults.min((n - 1) / 3);
    let (f, most) = (charter.faults, n - charter.faults);
    let thresholds = &mut charter.thresholds;
    thresholds.admit = thresholds.admit.clamp((f + 1).max(n.min(2)), most);
    thresholds.revoke = thresholds.revoke.clamp(f + 1, most);
    thresholds.contain = thresholds.contain.clamp(f + 1, most);
    thresholds.amend = thresholds.amend.clamp((n + f) / 2 + 1, most);
}
