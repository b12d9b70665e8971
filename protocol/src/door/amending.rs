//! How a charter comes about: whoever it seats consents with a fresh voting key, and what has enough of all becomes an `Amend` (SPEC 5.21).

use super::core::Core;
use super::effects::Effects;
use super::input::Error;
use crate::fault::Fault;
use crate::identity::PublicKey;
use crate::joining::Decision;
use crate::state::{Amend, Consent, Kind, Statement, Subject, Terms};

impl Core {
    /// Our consent, if `subject` is of a charter that gives us a seat; none if it is not, or we have a seat and no fresh key: then we keep
    /// the old one.
    pub(super) fn consent_to(&self, subject: &Subject) -> Result<Option<Consent>, Error> {
        let Subject::Terms(terms) = subject else { return Ok(None) };
        let Some(chain) = self.chain.as_ref().filter(|_| terms.seats(&self.me)) else { return Ok(None) };
        if !chain.state().is_whole() {
            return Err(Error::Untimely(
                "a part of the state is held here, and the whole is on its way: say yes again then",
            ));
        }
        let Some(voting) = self.fresh_voting_key() else {
            return match chain.state().has_seat(&self.me) {
                true => Ok(None),
                false => Err(Error::ApiMisuse("there is no fresh voting key to consent with")),
            };
        };
        let head = chain.head();
        if self.now.since(head.time) > chain.state().charter().timing.freshness_ms {
            let why =
                "this node's newest final block is older than the freshness bound: let it catch up first";
            return Err(Fault::BadBasis { why }.into());
        }
        let signer = (self.me, self.sequence(), &self.keys.identity);
        Ok(Some(Consent::sign(&terms.id(), signer, voting, chain.basis())))
    }

    /// Those consents that would hold in the next block.
    pub(super) fn fitting_consents(&self, terms: &Terms, consents: &[Consent]) -> Vec<Consent> {
        let Some(chain) = &self.chain else { return Vec::new() };
        let (state, head) = (chain.state(), chain.head());
        let time = self.now.max(head.time.plus(1));
        let fits = |consent: &&Consent| state.judge_consent(head, time, terms, consent).is_ok();
        consents.iter().filter(fits).copied().collect()
    }

    /// The `Amend` of these terms, once everybody whom they add consented.
    pub(super) fn amend_of(&self, terms: &Terms, consents: &[Consent]) -> Option<Statement> {
        let state = self.chain.as_ref()?.state();
        let mut consents = self.fitting_consents(terms, consents);
        // With one voting key twice there is no charter. Whoever stays and brings such a key keeps its own instead, and vetoes nothing.
        let mut keys: Vec<PublicKey> = consents.iter().map(|consent| consent.voting_key).collect();
        keys.extend(&terms.charter.recovery.keys);
        consents.retain(|consent| keys.iter().filter(|key| **key == consent.voting_key).count() == 1);
        let agreed = terms.charter.endorsers.iter().all(|seat| {
            let node = seat.node_id();
            state.has_seat(&node) || consents.binary_search_by_key(&node, |consent| consent.node).is_ok()
        });
        let amend = Amend { charter: terms.charter.clone(), consents };
        agreed.then(|| Statement { domain: terms.domain, kind: Kind::Amend(Box::new(amend)) })
    }

    /// Whoever should see a proposal: the endorsers; and, of a charter, whom it adds.
    pub(super) fn who_judges(&self, subject: &Subject) -> Vec<PublicKey> {
        let mut keys = self.endorser_keys();
        if let (Subject::Terms(terms), Some(state)) = (subject, self.state()) {
            let nodes = terms.charter.endorsers.iter().map(|seat| seat.node_id());
            let added = nodes.filter(|node| *node != self.me && !state.has_seat(node));
            keys.extend(added.filter_map(|node| Some(state.standing(&node)?.keys.current)));
        }
        keys
    }

    /// A consent names a recent block. While the others are still at it, ours is given again before it is too old.
    pub(super) fn renew_consents(&mut self, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        let bound = chain.state().charter().timing.basis_ms / 2;
        let old: Vec<_> = self
            .proposals
            .iter()
            .filter(|(_, proposal)| {
                let ours = proposal.consents.iter().find(|consent| consent.node == self.me);
                proposal.decision == Decision::Endorsed
                    && !proposal.met
                    && ours.is_some_and(|consent| self.now.since(consent.basis.time) > bound)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            // What does not hold any more is not endorsed anew.
            let _ = self.endorse(&id, effects);
        }
    }
}
