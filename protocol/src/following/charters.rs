//! The charters of a domain, one after the other: how a verifier comes from one that it holds to the newest, without the log (SPEC 9.12 to 9.14).
//!
//! **Invariant:** it moves forward only. Whoever was there when a charter was adopted is moved by no key of an older one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::proven::check_certificate;
use crate::agreement::Certificate;
use crate::fault::Fault;
use crate::identity::{PublicKey, Sheet, Signature, Stateless, Verified};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{
    BlockId, Charter, CharterId, DomainId, FinalChain, Header, State, StateProof, charter_proof,
    charter_proven,
};
use crate::time::Timestamp;

/// From one charter to the next: the last block of an epoch, why it is final, and proof of the charter that it makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    /// The header of the epoch's last block.
    pub header: Header,
    /// Its own finality certificate, by the charter before.
    pub certificate: Certificate<PublicKey, Signature>,
    /// That the state after it has the next charter.
    pub proof: StateProof,
}

impl Link {
    /// The link to the charter of `state`, which is that after the block of `header`, the last of its epoch.
    pub fn to(state: &State, header: Header, certificate: Certificate<PublicKey, Signature>) -> Link {
        Link { header, certificate, proof: charter_proof(state) }
    }
}

impl Stateless for Link {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        self.certificate.inspect(sheet)
    }
}

/// A charter, and where its epoch began.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// The charter.
    pub charter: Arc<Charter>,
    /// Its id.
    pub id: CharterId,
    /// The height and id of the block that its epoch starts on; none if an anchor named the charter.
    pub since: Option<(u64, BlockId)>,
}

/// The charters from the first that this verifier held to the newest.
#[derive(Clone, Debug)]
pub struct Charters {
    domain: DomainId,
    first: Adopted,
    /// By epoch, each with the link that led to it.
    later: BTreeMap<u64, (Adopted, Arc<Link>)>,
}

impl Charters {
    /// Begins with a charter that this verifier was told to believe: by founding it, or by an anchor that names it.
    pub fn begin(domain: DomainId, charter: Charter, since: Option<(u64, BlockId)>) -> Charters {
        let first = Adopted { id: charter.id(), charter: Arc::new(charter), since };
        Charters { domain, first, later: BTreeMap::new() }
    }

    /// The domain.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The first that was held here.
    pub fn first(&self) -> &Adopted {
        &self.first
    }

    /// The newest.
    pub fn newest(&self) -> &Adopted {
        self.later.last_key_value().map_or(&self.first, |(_, (newest, _))| newest)
    }

    /// The one of this epoch, if it was held here.
    pub fn of_epoch(&self, epoch: u64) -> Option<&Adopted> {
        if self.first.charter.epoch == epoch {
            return Some(&self.first);
        }
        self.later.get(&epoch).map(|(adopted, _)| adopted)
    }

    /// The one with this id.
    pub fn of_id(&self, id: &CharterId) -> Option<&Adopted> {
        let later = self.later.values().map(|(adopted, _)| adopted);
        std::iter::once(&self.first).chain(later).find(|adopted| adopted.id == *id)
    }

    /// The links to the charters after this epoch, as many as fit an answer.
    pub fn links_after(&self, epoch: u64) -> Vec<Arc<Link>> {
        let after = self.later.range(epoch.saturating_add(1)..).take(limits::LINKS_MAX);
        after.map(|(_, (_, link))| Arc::clone(link)).collect()
    }

    /// Whether `tip` is certified for just the block that the newest epoch starts on: a link proved that one final already.
    pub fn closes(&self, tip: &FinalChain) -> bool {
        let certified = tip.tip().map(|header| (header.height, header.id()));
        certified.is_some() && certified == self.newest().since
    }

    /// The charter by which `tip` must be certified: the newest; of the block that ended the epoch before, that epoch's.
    ///
    /// # Errors
    /// [`Fault::Unknown`] if that one is not known here.
    pub fn that_certifies(&self, tip: &FinalChain) -> Result<&Arc<Charter>, Fault> {
        let newest = &self.newest().charter;
        if !self.closes(tip) {
            return Ok(newest);
        }
        let before = self.before(newest.epoch).ok_or(Fault::Unknown { what: "the charter before" })?;
        Ok(&before.charter)
    }

    /// The charter before that of this epoch. Recovery leaves numbers out.
    pub fn before(&self, epoch: u64) -> Option<&Adopted> {
        let later = self.later.range(..epoch).next_back().map(|(_, (adopted, _))| adopted);
        later.or_else(|| Some(&self.first).filter(|first| first.charter.epoch < epoch))
    }

    /// The charter after that of this epoch.
    pub fn after(&self, epoch: u64) -> Option<&Adopted> {
        self.later.range(epoch.saturating_add(1)..).next().map(|(_, (adopted, _))| adopted)
    }

    /// The links to all charters after that of this epoch.
    pub fn links_of_later(&self, epoch: u64) -> Vec<Arc<Link>> {
        let later = self.later.range(epoch.saturating_add(1)..);
        later.map(|(_, (_, link))| Arc::clone(link)).collect()
    }

    /// Forgets the charters after that of this epoch: they are of a branch that is dropped.
    pub fn drop_after(&mut self, epoch: u64) {
        self.later.split_off(&epoch.saturating_add(1));
    }

    /// The link that leads to the charter of this epoch.
    pub fn link_to(&self, epoch: u64) -> Option<&Arc<Link>> {
        self.later.get(&epoch).map(|(_, link)| link)
    }

    /// Goes on by a link: whether it led to a newer charter.
    ///
    /// # Errors
    /// The [`Fault`] of whoever made the link.
    pub fn adopt(&mut self, link: &Verified<Arc<Link>>) -> Result<bool, Fault> {
        let newest = self.newest();
        if link.header.epoch != newest.charter.epoch {
            return Ok(false);
        }
        let id = link.header.id();
        if !loosened(Bug::LinksUncertified) {
            check_certificate(self.domain, &newest.charter, &link.certificate, &link.header, id)?;
        }
        let charter = charter_proven(&link.proof, &link.header)?;
        // Only a recovery leaves epochs out.
        let follows = match charter.epoch.checked_sub(newest.charter.epoch) {
            Some(1) => true,
            Some(steps) => {
                link.certificate.is_of_recovery() && (2..=limits::RECOVERY_EPOCHS_MAX).contains(&steps)
            }
            None => false,
        };
        if !follows || charter.previous != Some(newest.id) {
            let why = "the link does not lead to the charter that follows".into();
            return Err(Fault::BadCharter { why });
        }
        self.put(charter, link);
        Ok(true)
    }

    /// Goes on by those of `links` that lead on, up to the first that is wrong: which, and what is wrong with that.
    ///
    /// None from a charter past its last day: whoever takes links was not there when it was in force, or it would have executed the block
    /// (SPEC 9.14). None by recovery unless `may_recover` says so of its block (SPEC 9.16).
    pub fn follow(
        &mut self,
        links: &[Verified<Arc<Link>>],
        now: Timestamp,
        may_recover: &dyn Fn(&Header) -> bool,
    ) -> (Vec<Arc<Link>>, Option<Fault>) {
        let mut adopted = Vec::new();
        for link in links {
            if self.are_over(now) {
                break;
            }
            if link.certificate.is_of_recovery()
                && link.header.epoch == self.newest().charter.epoch
                && !may_recover(&link.header)
            {
                break;
            }
            match self.adopt(link) {
                Ok(true) => adopted.push(Arc::clone(link)),
                Ok(false) => {}
                Err(fault) => return (adopted, Some(fault)),
            }
        }
        (adopted, None)
    }

    /// Goes on by a link that follows from a block that was executed here.
    pub fn advance(&mut self, charter: &Charter, link: &Arc<Link>) {
        if charter.epoch > self.newest().charter.epoch {
            self.put(charter.clone(), link);
        }
    }

    fn put(&mut self, charter: Charter, link: &Arc<Link>) {
        let since = Some((link.header.height, link.header.id()));
        let adopted = Adopted { id: charter.id(), charter: Arc::new(charter), since };
        self.later.insert(adopted.charter.epoch, (adopted, Arc::clone(link)));
    }

    /// Whether whoever wakes at `now` may believe no certificate by the newest charter any more (SPEC 9.14).
    pub fn are_over(&self, now: Timestamp) -> bool {
        now > self.newest().charter.last_day && !loosened(Bug::LastDayForgotten)
    }
}
