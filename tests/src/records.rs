//! Random holds, for the record: by endorsers and others, in slots that are free or not.

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{Algorithm, Signature};
use frith_protocol::limits;
use frith_protocol::state::{DomainId, Hold, Reason};
use frith_protocol::time::Timestamp;

use crate::histories::History;
use crate::ink;
use crate::model::hold_digest;
use crate::people::{DAY, Person};
use crate::signers::Signer;

impl History {
    pub(crate) fn hold(&mut self, time: Timestamp) -> Hold {
        let by: &Person = match self.dice.below(12) {
            0 => self.anybody(),
            _ => self.endorsers[self.dice.below(self.endorsers.len())],
        };
        let (subject, mut basis) = (self.anybody().node, self.basis(time));
        let facts = self.model.facts();
        // Near midnight, who has given a hold today may give one of yesterday.
        let midnight = Timestamp(time.0 / DAY * DAY);
        let today = |person: &&Person| {
            let standing = facts.standing.get(&person.node.0);
            standing.and_then(|it| it.holds).is_some_and(|(_, day, _)| day == time.0 / DAY)
        };
        let late = self.endorsers.iter().copied().find(today);
        let late = late.filter(|_| time.since(midnight) < self.charter.timing.basis_ms);
        let late = late.filter(|_| self.dice.chance(1, 2));
        if late.is_some() {
            basis.time = Timestamp(midnight.0.saturating_sub(1));
        }
        let Signer { node, sequence, key, .. } = Signer::current(late.unwrap_or(by), &facts);
        let most = self.charter.timing.hold_ms;
        let length = *self.dice.one_of(&[most, most, most / 2, 1, 0, most + 1]);
        let mut hold = Hold {
            domain: DomainId(self.model.domain()),
            by: node,
            sequence,
            key: key.public(),
            subject,
            slot: self.dice.below(usize::from(limits::HOLDS_PER_DAY)) as u8,
            basis,
            until: basis.time.plus(length),
            reason: Reason::Compromised,
            signature: Signature { algorithm: Algorithm::Ed25519, bytes: [0; 64] },
        };
        match self.dice.below(24) {
            0 => hold.domain.0[0] ^= 1,
            1 => hold.slot = *self.dice.one_of(&[limits::HOLDS_PER_DAY, 255]),
            2 => hold.sequence += 1,
            3 => self.spoil_basis_time(time, &mut hold.basis),
            4 => hold.basis.height = self.model.head().height + 1,
            _ => {}
        }
        let digest: Hash = hold_digest(&hold);
        hold.signature = ink::sign(&key, &digest);
        if self.dice.chance(1, 24) {
            hold.until = hold.until.plus(1);
        }
        hold
    }
}
