//! What was said in one iteration, and what makes a certificate (SPEC 8.1, 8.15).

use std::collections::{BTreeMap, BTreeSet};

use super::ballot::{Ballot, BallotKind, Certificate, Vote};
use super::seam::{Config, Value, Voter};
use crate::fault::Fault;
use crate::state::BlockId;

/// One iteration: the first ballot of each kind by each voter, and the certificates. So what a voter can make us keep is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Round<V: Ord, P> {
    ballots: BTreeMap<(BallotKind, V), (BlockId, P)>,
    certificates: BTreeMap<BallotKind, Certificate<V, P>>,
    /// Whose contradictions were told already.
    liars: BTreeSet<V>,
}

impl<V: Ord, P> Default for Round<V, P> {
    fn default() -> Self {
        Round { ballots: BTreeMap::new(), certificates: BTreeMap::new(), liars: BTreeSet::new() }
    }
}

impl<V: Voter, P: Value> Round<V, P> {
    /// Which block `voter` named in a ballot of this kind.
    pub(super) fn said(&self, kind: BallotKind, voter: V) -> Option<BlockId> {
        self.ballots.get(&(kind, voter)).map(|(block, _)| *block)
    }

    /// The ballot of this kind by `voter` with its proof.
    pub(super) fn ballot(&self, kind: BallotKind, voter: V) -> Option<(BlockId, P)> {
        self.ballots.get(&(kind, voter)).cloned()
    }

    /// How many voters said so, whatever block they named.
    pub(super) fn count(&self, kind: BallotKind) -> usize {
        self.ballots.keys().filter(|(theirs, _)| *theirs == kind).count()
    }

    pub(super) fn certificate(&self, kind: BallotKind) -> Option<&Certificate<V, P>> {
        self.certificates.get(&kind)
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &Certificate<V, P>> {
        self.certificates.values()
    }

    /// The certificate that shows a block notarised. A finality certificate serves as one.
    pub(super) fn notarisation(&self) -> Option<&Certificate<V, P>> {
        self.certificate(BallotKind::Finalise).or_else(|| self.certificate(BallotKind::Vote))
    }

    /// The notarised block.
    pub(super) fn notarised(&self) -> Option<BlockId> {
        self.notarisation().map(|certificate| certificate.ballot.block)
    }

    pub(super) fn is_dummy(&self) -> bool {
        self.certificates.contains_key(&BallotKind::Dummy)
    }

    /// Any certificate: whoever has one may go on.
    pub(super) fn way_on(&self) -> Option<&Certificate<V, P>> {
        self.notarisation().or_else(|| self.certificate(BallotKind::Dummy))
    }

    pub(super) fn put_certificate(&mut self, certificate: Certificate<V, P>) {
        self.certificates.insert(certificate.ballot.kind, certificate);
    }

    /// For a planted bug.
    pub(super) fn forget_vote(&mut self, voter: V) {
        self.ballots.remove(&(BallotKind::Vote, voter));
    }

    /// Takes a ballot; the first of its kind and voter stays. Gives what it contradicts, once per voter.
    pub(super) fn take(&mut self, vote: &Vote<V, P>) -> Option<Vote<V, P>> {
        let Ballot { kind, block, .. } = vote.ballot;
        let contradicted = self.contradicted_by(vote);
        self.ballots.entry((kind, vote.voter)).or_insert_with(|| (block, vote.proof.clone()));
        contradicted.filter(|_| self.liars.insert(vote.voter))
    }

    fn contradicted_by(&self, vote: &Vote<V, P>) -> Option<Vote<V, P>> {
        use BallotKind::{Dummy, Finalise, Propose, Vote as Real};
        [Propose, Real, Finalise, Dummy].into_iter().find_map(|kind| {
            let (block, proof) = self.ballots.get(&(kind, vote.voter))?;
            let ballot = Ballot { kind, block: *block, ..vote.ballot };
            let said = || Vote { ballot, voter: vote.voter, proof: proof.clone() };
            ballot.contradicts(&vote.ballot).then(said)
        })
    }

    /// The certificate that this ballot completes: the first Q in the order of voters, so that all who saw the same form the same.
    pub(super) fn completed_by(&self, ballot: Ballot, quorum: usize) -> Option<Certificate<V, P>> {
        if ballot.kind == BallotKind::Propose || self.certificates.contains_key(&ballot.kind) {
            return None;
        }
        let same = self
            .ballots
            .iter()
            .filter(|((kind, _), (block, _))| *kind == ballot.kind && *block == ballot.block);
        let votes: Vec<(V, P)> =
            same.take(quorum).map(|((_, voter), (_, proof))| (*voter, proof.clone())).collect();
        (votes.len() == quorum).then_some(Certificate { ballot, votes })
    }
}

impl<V: Voter> Config<V> {
    /// Whether a ballot can be one of this epoch at all.
    pub(super) fn check_ballot(&self, ballot: &Ballot) -> Result<(), Fault> {
        if ballot.domain != self.domain {
            return Err(Fault::OtherDomain { theirs: ballot.domain, ours: self.domain });
        }
        if ballot.epoch != self.epoch {
            return Err(Fault::Unknown { what: "the epoch of that ballot" });
        }
        if ballot.iteration == 0 || ballot.iteration == u64::MAX {
            return Err(Fault::BadBallot { why: "there is no such iteration" });
        }
        if (ballot.kind == BallotKind::Dummy) != (ballot.block == BlockId::NONE) {
            return Err(Fault::BadBallot { why: "a dummy names no block, and everything else names one" });
        }
        Ok(())
    }

    /// Whether a certificate is one, its signatures aside (SPEC 8.1).
    pub(super) fn check_certificate<P>(&self, certificate: &Certificate<V, P>) -> Result<(), Fault> {
        self.check_ballot(&certificate.ballot)?;
        if certificate.ballot.kind == BallotKind::Propose {
            return Err(Fault::BadCertificate { why: "proposals make none" });
        }
        if !certificate.votes.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Fault::BadCertificate { why: "its voters are not in order, or repeated" });
        }
        if certificate.votes.len() < self.quorum {
            return Err(Fault::BadCertificate { why: "fewer than a quorum signed it" });
        }
        if !certificate.votes.iter().all(|(voter, _)| self.voters.contains(voter)) {
            return Err(Fault::BadCertificate { why: "somebody signed it who has no vote in this epoch" });
        }
        Ok(())
    }
}
