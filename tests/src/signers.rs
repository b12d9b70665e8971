//! Who signs the entries of random histories: enough of those who may, or too few, or others.

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, SecretKey};
use frith_protocol::state::{Endorsement, Entry, Kind, Statement};

use crate::histories::History;
use crate::ink;
use crate::model::{Facts, hashes};
use crate::people::{PEOPLE, Person, people, secret_of};

/// Who signs, as what, with which key.
pub(crate) struct Signer {
    pub(crate) node: NodeId,
    pub(crate) sequence: u32,
    pub(crate) key: SecretKey,
    flipped: bool,
}

impl Signer {
    fn of(person: &Person) -> Signer {
        Signer { node: person.node, sequence: 0, key: person.key.clone(), flipped: false }
    }

    /// With the key that it has by now.
    pub(crate) fn current(person: &Person, facts: &Facts) -> Signer {
        let keys = facts.standing.get(&person.node.0).map(|standing| &standing.keys);
        let (sequence, next) = keys.map_or((0, person.inception.key), |keys| (keys.sequence, keys.current));
        let key = secret_of(&next).unwrap_or_else(|| person.key.clone());
        Signer { node: person.node, sequence, key, flipped: false }
    }
}

impl History {
    pub(crate) fn signers(&mut self, statement: &Statement) -> Vec<Signer> {
        let facts = self.model.facts();
        let mut able: Vec<&Person> = self
            .endorsers
            .iter()
            .copied()
            .filter(|person| !facts.gone.contains_key(&person.node.0))
            .collect();
        self.dice.shuffle(&mut able);
        if self.dice.chance(3, 4) {
            let convicted = |person: &&Person| {
                facts.standing.get(&person.node.0).is_some_and(|standing| !standing.convictions.is_empty())
            };
            able.sort_by_key(convicted);
        }
        let need = self.threshold(&statement.kind);
        let subject = match &statement.kind {
            Kind::Rotate(_) | Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_)
                if self.dice.chance(7, 8) =>
            {
                return Vec::new();
            }
            Kind::Admit(_) | Kind::Amend(_) | Kind::Hold(_) | Kind::Recover(_) => None,
            Kind::Revoke(revoke) => Some(revoke.subject),
            Kind::Suspend(suspend) => Some(suspend.subject),
            Kind::Release(release) => Some(release.subject),
            Kind::Accuse(accuse) => Some(accuse.subject),
            Kind::Rotate(rotate) => Some(rotate.subject),
        };
        let mut signers: Vec<Signer> =
            able.iter().take(usize::from(need)).map(|person| Signer::current(person, &facts)).collect();
        // A member may leave by itself; it may neither suspend nor release itself.
        let own = subject.and_then(|subject| people().iter().find(|person| person.node == subject));
        if let Some(own) = own
            && self.dice.chance(1, 3)
        {
            signers = vec![Signer::current(own, &facts)];
            if self.dice.chance(1, 4) {
                let more = able.iter().filter(|p| p.node != own.node).take(2);
                signers.extend(more.map(|p| Signer::current(p, &facts)));
            }
        }
        if self.dice.chance(1, 6) {
            self.spoil_signers(&mut signers, &able);
        }
        signers
    }

    pub(crate) fn threshold(&self, kind: &Kind) -> u8 {
        let thresholds = self.charter.thresholds;
        match kind {
            Kind::Admit(_) | Kind::Release(_) => thresholds.admit,
            Kind::Revoke(_) => thresholds.revoke,
            Kind::Suspend(_) => thresholds.contain,
            Kind::Amend(_) => thresholds.amend,
            // By nobody; or, if it is to be void, by somebody.
            Kind::Rotate(_) | Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_) => 1,
        }
    }

    fn spoil_signers(&mut self, signers: &mut Vec<Signer>, able: &[&Person]) {
        let Some(at) = (!signers.is_empty()).then(|| self.dice.below(signers.len())) else { return };
        match self.dice.below(11) {
            0 => drop(signers.remove(at)),
            1 => {
                let again = Signer {
                    key: signers[at].key.clone(),
                    ..Signer { flipped: false, ..copy(&signers[at]) }
                };
                signers.push(again);
            }
            2 => {
                let more = able.iter().find(|person| signers.iter().all(|signer| signer.node != person.node));
                signers.extend(more.map(|person| Signer::of(person)));
            }
            3 => signers[at] = Signer::of(self.bystander()),
            4 => signers[at] = Signer::of(self.others[PEOPLE - 8]),
            5 => signers.push(Signer::of(self.bystander())),
            6 => signers[at].sequence += 1,
            7 => {
                let other = self.anybody();
                signers[at].key =
                    if self.dice.chance(1, 2) { other.voting.clone() } else { other.key.clone() };
            }
            8 => signers[at].flipped = true,
            9 if self.dice.chance(1, 2) => {
                // Its first key, whether or not it has another by now.
                let person = people().iter().find(|person| person.node == signers[at].node);
                signers[at] = person.map_or_else(|| copy(&signers[at]), Signer::of);
            }
            9 => {
                let seated = |person: &Person| self.endorsers.iter().any(|it| it.node == person.node);
                let former = self.founders.iter().find(|person| !seated(person));
                signers.extend(former.map(|person| Signer::of(person)));
            }
            _ => {
                let facts = self.model.facts();
                let gone = self.endorsers.iter().find(|person| facts.gone.contains_key(&person.node.0));
                signers.extend(gone.map(|person| Signer::of(person)));
            }
        }
    }

    pub(crate) fn signed(&mut self, statement: Statement, signers: Vec<Signer>) -> Entry {
        let subject = statement.endorsed();
        let mut endorsements: Vec<Endorsement> = signers
            .iter()
            .map(|signer| {
                let mut signed = endorse(&subject, signer.node, signer.sequence, &signer.key);
                if signer.flipped {
                    signed.signature.bytes[self.dice.below(64)] ^= 1 << self.dice.below(8);
                }
                signed
            })
            .collect();
        endorsements.sort_by_key(|endorsement| endorsement.node);
        if self.dice.chance(1, 40) {
            endorsements.reverse();
        }
        Entry { statement, endorsements }
    }
}

/// [`Endorsement::sign`], likewise.
pub(crate) fn endorse(subject: &Hash, node: NodeId, sequence: u32, key: &SecretKey) -> Endorsement {
    let signature = ink::sign(key, &Hash(hashes::endorsement(subject.0, node.0, sequence)));
    Endorsement { node, sequence, key: key.public(), signature }
}

fn copy(signer: &Signer) -> Signer {
    Signer { key: signer.key.clone(), ..*signer }
}
