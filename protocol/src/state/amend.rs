//! The next charter: its terms, the consents of whom it seats, and when an `Amend` is valid (SPEC 3.8, 4.12).

use serde::{Deserialize, Serialize};

use super::charter::{Charter, DomainId};
use super::maps::{SpineItem, Standing, charter_slot, key_slot};
use super::rules::Scene;
use super::statement::{Basis, Window};
use crate::encoding::{self, Hash, Label, digest_of};
use crate::fault::Fault;
use crate::identity::{Algorithm, KeySequence, NodeId, PublicKey, SecretKey, Sheet, Signature, Stateless};
use crate::limits;
use crate::planted::{Bug, loosened};

encoding::byte_string!(
    /// The terms of a charter: all of it but the voting keys.
    TermsId,
    "terms"
);

/// A charter of which every voting key is [`PublicKey::BLANK`]: what can be agreed on before anybody has made a key (SPEC 3.8).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// For which domain.
    pub domain: DomainId,
    /// The charter without its voting keys.
    pub charter: Charter,
}

impl Terms {
    /// The terms of `charter`, whatever its voting keys are.
    pub fn of(domain: DomainId, mut charter: Charter) -> Terms {
        for seat in &mut charter.endorsers {
            seat.voting_key = PublicKey::BLANK;
        }
        Terms { domain, charter }
    }

    /// What endorsers and next endorsers sign.
    pub fn id(&self) -> TermsId {
        digest_of(Label::Terms, self).into()
    }

    /// Whether these terms give `node` a seat.
    pub fn seats(&self, node: &NodeId) -> bool {
        self.charter.seat_of(node).is_some()
    }
}

impl Stateless for Terms {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        let (count, max) = (self.charter.size(), limits::ENDORSERS_MAX);
        if count > max {
            return Err(Fault::TooMany { what: "endorsers of a charter", count, max });
        }
        for seat in &self.charter.endorsers {
            seat.inception.inspect(sheet)?;
            if seat.voting_key != PublicKey::BLANK {
                return Err(Fault::BadCharter { why: "its terms name a voting key".into() });
            }
        }
        self.charter.recovery.keys.iter().for_each(|key| sheet.introduces(*key));
        Ok(())
    }
}

/// «I take the seat that these terms give me, and vote by this key» (SPEC 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Consent {
    /// Whose.
    pub node: NodeId,
    /// With which of its keys.
    pub sequence: KeySequence,
    /// That key.
    pub key: PublicKey,
    /// The key of its ballots in the epoch of these terms, and in no other.
    pub voting_key: PublicKey,
    /// A recent final block: whoever names it has caught up.
    pub basis: Basis,
    /// By that key.
    pub signature: Signature,
    /// By the voting key: nobody binds another's.
    pub possession: Signature,
}

impl Consent {
    /// The consent of `node`, which holds both keys.
    pub fn sign(
        terms: &TermsId,
        (node, sequence, key): (NodeId, KeySequence, &SecretKey),
        voting: &SecretKey,
        basis: Basis,
    ) -> Consent {
        let digest = consent_digest(terms, &node, sequence, &key.public(), &voting.public(), &basis);
        Consent {
            node,
            sequence,
            key: key.public(),
            voting_key: voting.public(),
            basis,
            signature: key.sign(&digest),
            possession: voting.sign(&digest),
        }
    }

    /// Notes on `sheet` that this must be a consent to these terms.
    pub fn inspect(&self, terms: &TermsId, sheet: &mut Sheet) {
        let Consent { node, sequence, key, voting_key, basis, .. } = self;
        let digest = consent_digest(terms, node, *sequence, key, voting_key, basis);
        sheet.introduces(*voting_key);
        if !loosened(Bug::ConsentsUnsigned) {
            sheet.claims(*key, digest, self.signature);
        }
        if !loosened(Bug::VotingKeysUnproven) {
            sheet.claims(*voting_key, digest, self.possession);
        }
    }
}

fn consent_digest(
    terms: &TermsId,
    node: &NodeId,
    sequence: KeySequence,
    key: &PublicKey,
    voting_key: &PublicKey,
    basis: &Basis,
) -> Hash {
    digest_of(Label::Consent, &(Algorithm::Ed25519, terms, node, sequence, key, voting_key, basis))
}

/// Refuses consents that are not in strict order of identity, or too many, and notes their signatures.
pub(crate) fn inspect_consents(
    consents: &[Consent],
    terms: &TermsId,
    sheet: &mut Sheet,
) -> Result<(), Fault> {
    let (count, max) = (consents.len(), limits::ENDORSERS_MAX);
    if count > max {
        return Err(Fault::TooMany { what: "consents", count, max });
    }
    if !consents.is_sorted_by(|a, b| a.node < b.node) {
        return Err(Fault::NotInOrder { what: "consents", rule: "4.12" });
    }
    consents.iter().for_each(|consent| consent.inspect(terms, sheet));
    Ok(())
}

/// «The charter of the next epoch.»
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Amend {
    /// The next charter without its voting keys.
    pub charter: Charter,
    /// Who takes a seat, with a fresh voting key: everybody who had none, and whoever of the others did. Ordered by identity.
    pub consents: Vec<Consent>,
}

impl Amend {
    /// The terms in it.
    pub fn terms(&self, domain: DomainId) -> Terms {
        Terms { domain, charter: self.charter.clone() }
    }

    pub(super) fn inspect(&self, domain: DomainId, sheet: &mut Sheet) -> Result<(), Fault> {
        let terms = self.terms(domain);
        terms.inspect(sheet)?;
        inspect_consents(&self.consents, &terms.id(), sheet)
    }
}

impl Scene<'_> {
    /// SPEC 4.12 but for the consents: whether a charter of these terms could follow, if everybody whom it seats agreed.
    pub(super) fn judge_terms(&self, terms: &Charter) -> Result<(), Fault> {
        let law = self.law;
        let follows =
            terms.previous == Some(law.charter_id) && Some(terms.epoch) == law.charter.epoch.checked_add(1);
        if !follows && !loosened(Bug::AnyPrevious) {
            let why = "it does not follow the charter in force: its epoch or its previous charter is another";
            return Err(Fault::BadCharter { why: why.into() });
        }
        let window_is_open = |standing: &Standing| standing.window.contains(self.time);
        self.judge_law(terms, &window_is_open)
    }

    /// What a next charter must be whatever it follows, of whom `may_sit` tells who may get a seat that had none.
    pub(super) fn judge_law(
        &self,
        terms: &Charter,
        may_sit: &dyn Fn(&Standing) -> bool,
    ) -> Result<(), Fault> {
        let bad = |why: &str| Err(Fault::BadCharter { why: why.into() });
        let law = self.law;
        if terms.written <= law.charter.written {
            return bad("it was written before the charter in force");
        }
        if terms.written > self.time && !loosened(Bug::WrittenLater) {
            return bad("it was written after the block");
        }
        // Whoever said yes said it then: years later, one liar shall not make a law of it.
        let old = self.time.since(terms.written) > law.charter.timing.proposal_lifetime_ms;
        if old && !loosened(Bug::WrittenLongAgo) {
            return bad("it was written longer ago than a proposal lives");
        }
        if terms.last_day <= self.time && !loosened(Bug::LastDayOver) {
            return bad("its last day is over");
        }
        terms.check_terms()?;
        let mut able = 0;
        for seat in &terms.endorsers {
            let node = seat.node_id();
            let standing = self.standing_of(&node)?;
            let restrained = standing.restrained(self.time);
            let effective = !restrained && may_sit(standing);
            if !law.has_seat(&node) && !effective && !loosened(Bug::LapsedSeated) {
                return Err(Fault::NotEffective { subject: node });
            }
            able += usize::from(!restrained);
        }
        for key in terms.recovery.keys.iter().filter(|_| !loosened(Bug::RecoveryKeysShared)) {
            if let Some(owner) = self.owner_at(&key_slot(key))? {
                return Err(Fault::KeyTaken { key: *key, owner });
            }
        }
        let amend = usize::from(terms.thresholds.amend);
        let able = if loosened(Bug::CharterStrandsItself) { amend } else { able };
        if able < amend { Err(Fault::WouldStrandTheCharter { left: able, amend }) } else { Ok(()) }
    }

    /// Whether this consent is one to terms that seat its node, signatures aside.
    pub(super) fn judge_consent(&self, terms: &Charter, consent: &Consent) -> Result<(), Fault> {
        self.judge_consent_but_its_basis(terms, consent)?;
        self.judge_basis(&consent.basis)
    }

    pub(super) fn judge_consent_but_its_basis(
        &self,
        terms: &Charter,
        consent: &Consent,
    ) -> Result<(), Fault> {
        let Consent { node, sequence, key, voting_key, .. } = *consent;
        if terms.seat_of(&node).is_none() {
            return Err(Fault::BadConsent { node, why: "it gets no seat" });
        }
        let keys = &self.standing_of(&node)?.keys;
        if (keys.sequence, keys.current) != (sequence, key) && !loosened(Bug::OldKeysConsent) {
            return Err(Fault::BadConsent { node, why: "its key is not its current one" });
        }
        let owner = self.owner_at(&key_slot(&voting_key))?;
        if let Some(owner) = owner.filter(|_| !loosened(Bug::VotingKeysShared)) {
            return Err(Fault::KeyTaken { key: voting_key, owner });
        }
        Ok(())
    }

    /// SPEC 4.12.
    pub(super) fn judge_amend(&self, amend: &Amend) -> Result<(), Fault> {
        if !amend.consents.is_sorted_by(|a, b| a.node < b.node) {
            return Err(Fault::NotInOrder { what: "consents", rule: "4.12" });
        }
        self.judge_terms(&amend.charter)?;
        amend.consents.iter().try_for_each(|consent| self.judge_consent(&amend.charter, consent))?;
        self.seated(&amend.charter, &amend.consents)?.check()
    }

    /// The charter that an `Amend` makes: its terms, with a voting key for each seat.
    pub(super) fn seated(&self, terms: &Charter, consents: &[Consent]) -> Result<Charter, Fault> {
        let mut charter = terms.clone();
        for seat in &mut charter.endorsers {
            let node = seat.node_id();
            let consent = consents.binary_search_by_key(&node, |consent| consent.node);
            seat.voting_key = match (consent, self.law.seat_of(&node)) {
                (Ok(at), _) => consents[at].voting_key,
                (Err(_), Some(held)) => held.voting_key,
                (Err(_), None) => {
                    return Err(Fault::BadConsent { node, why: "it has no seat yet, and did not consent" });
                }
            };
        }
        Ok(charter)
    }

    pub(super) fn apply_amend(&mut self, amend: &Amend) {
        let charter = self.seated(&amend.charter, &amend.consents);
        let charter = charter.expect("an entry is applied after it was judged");
        let voters = self.voters();
        self.close_epoch(&charter, voters);
        self.adopt(charter);
    }

    /// From here on this is the charter in force.
    pub(super) fn adopt(&mut self, charter: Charter) {
        let until = self.time.plus(charter.timing.member_lifetime_ms);
        let law = self.law;
        for node in law.seats().filter(|node| charter.seat_of(node).is_none()) {
            // Whoever was revoked in its seat stands no more.
            if self.maps.standing.contains(&node.0) && !loosened(Bug::FormerSeatsEndless) {
                self.change(node, |standing| standing.window = Window { until, ..standing.window });
            }
        }
        let lost = law.charter.roles.iter().any(|role| !charter.has_role(&role.name));
        if lost && !loosened(Bug::RolesComeBack) {
            let held = |roles: &[String]| roles.iter().any(|role| !charter.has_role(role));
            let of: Vec<NodeId> = self
                .maps
                .standing
                .iter()
                .filter(|(_, standing)| held(&standing.roles))
                .map(|(node, _)| NodeId(*node))
                .collect();
            for node in &of {
                self.change(node, |standing| standing.roles.retain(|role| charter.has_role(role)));
            }
        }
        for seat in &charter.endorsers {
            let node = seat.node_id();
            if !loosened(Bug::VotingKeysForgotten) {
                self.maps.keys.insert(key_slot(&seat.voting_key), node);
            }
            self.change(&node, |standing| standing.roles.clone_from(&seat.roles));
        }
        self.maps.spine.insert(charter_slot(), SpineItem::Charter(Box::new(charter.clone())));
        self.amended = Some(charter);
    }
}
