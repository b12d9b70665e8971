//! Entries with nothing wrong, for whoever needs many of a kind.

use frith_protocol::identity::{Algorithm, Inception, NodeId, PublicKey, Signature};
use frith_protocol::state::{
    Admit, Amend, Basis, BlockId, CharterId, DomainId, Endorsement, Entry, Grounds, Hold, Kind, Reason,
    Revoke, Rotate, Statement, TicketTerms, Window,
};
use frith_protocol::time::Timestamp;

use crate::histories::{History, rotation_to};
use crate::ink;
use crate::model::{block_id, hashes, hold_digest};
use crate::people::{DAY, Person, people};
use crate::signers::{Signer, endorse};

impl History {
    /// An admission by approval, with nothing wrong.
    pub fn plain_admission(&mut self, time: Timestamp, subject: &Inception) -> Entry {
        self.admission(time, subject, Grounds::Approval)
    }

    /// An admission by a ticket, with nothing else wrong.
    pub fn admission_by(&mut self, time: Timestamp, subject: &Inception, terms: TicketTerms) -> Entry {
        self.admission(time, subject, Grounds::Ticket(Box::new(terms)))
    }

    /// A hold on the head by one of the endorsers, as an entry, with nothing wrong.
    pub fn plain_hold(&self, by: usize, slot: u8) -> Entry {
        let person = self.endorsers[by];
        let Signer { node, sequence, key, .. } = Signer::current(person, &self.model.facts());
        let (domain, basis) = (DomainId(self.model.domain()), self.basis(self.model.head().time));
        let mut hold = Hold {
            domain,
            by: node,
            sequence,
            key: key.public(),
            subject: people()[0].node,
            slot,
            basis,
            until: basis.time.plus(1),
            reason: Reason::Compromised,
            signature: Signature { algorithm: Algorithm::Ed25519, bytes: [0; 64] },
        };
        hold.signature = ink::sign(&key, &hold_digest(&hold));
        let statement = Statement { domain, kind: Kind::Hold(Box::new(hold)) };
        Entry { statement, endorsements: Vec::new() }
    }

    fn admission(&mut self, time: Timestamp, subject: &Inception, grounds: Grounds) -> Entry {
        let head = self.model.head();
        let admit = Admit {
            subject: subject.clone(),
            number: 1,
            roles: vec!["server".into()],
            window: Window { from: time, until: time.plus(DAY) },
            basis: Basis { height: head.height, block: BlockId(block_id(head)), time: head.time },
            grounds,
        };
        self.endorsed(Kind::Admit(Box::new(admit)))
    }

    /// A revocation with nothing wrong.
    pub fn plain_revocation(&mut self, subject: NodeId) -> Entry {
        self.endorsed(Kind::Revoke(Revoke { subject, reason: Reason::Retired }))
    }

    /// The charter in force once more, written so much after it: nobody gets a seat, and nobody has to consent.
    pub fn plain_amendment(&self, time: Timestamp, written: u64) -> Entry {
        let mut charter = self.charter.clone();
        charter.previous = Some(CharterId(hashes::digest_of("charter", &self.charter)));
        charter.epoch += 1;
        charter.written = Timestamp(charter.written.0 + written).min(time);
        charter.endorsers.iter_mut().for_each(|seat| seat.voting_key = PublicKey::BLANK);
        self.endorsed(Kind::Amend(Box::new(Amend { charter, consents: vec![] })))
    }

    /// The first rotation of somebody, with nothing wrong.
    pub fn plain_rotation(&self, person: &Person) -> Entry {
        let rotations = vec![rotation_to(&person.node, 1, &person.key_of(1), &person.key_of(2).public())];
        let kind = Kind::Rotate(Rotate { subject: person.node, rotations });
        let statement = Statement { domain: DomainId(self.model.domain()), kind };
        Entry { statement, endorsements: vec![] }
    }

    fn endorsed(&self, kind: Kind) -> Entry {
        let need = self.threshold(&kind);
        let statement = Statement { domain: DomainId(self.model.domain()), kind };
        let id = statement.endorsed();
        let mut endorsements: Vec<Endorsement> =
            self.endorsers[..usize::from(need)].iter().map(|it| endorse(&id, it.node, 0, &it.key)).collect();
        endorsements.sort_by_key(|endorsement| endorsement.node);
        Entry { statement, endorsements }
    }

    /// A ticket for one use.
    pub fn plain_ticket(&mut self, number: u32, expires: Timestamp) -> TicketTerms {
        TicketTerms {
            domain: DomainId(self.model.domain()),
            charter: CharterId([7; 32]),
            epoch: 1,
            height: u64::from(number),
            roles: vec!["server".into()],
            uses: 1,
            expires,
            key: people()[0].next.public(),
        }
    }
}
