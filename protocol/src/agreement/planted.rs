//! Rules that a test can loosen, to see that the model checker and the explorer find out. Outside tests every answer is no.

use super::ballot::{Ballot, BallotKind, Certificate};
use super::engine::Agreement;
use super::seam::{Ledger, Value, Voter};
use super::tally::Round;
use crate::fault::Fault;
use crate::state::BlockId;

/// A rule loosened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Planted {
    /// 8.1, counting signatures rather than voters.
    CountSignatures,
    /// 8.1 without «equal in epoch».
    HeedOtherEpochs,
    /// 8.4 on the newest final block, without the dummy certificates between.
    ProposeAnyway,
    /// 8.6 without «if it has not voted», once it was started again.
    VoteAgain,
    /// 8.8 without «unless it dummied».
    FinaliseAfterDummy,
    /// 8.8 without «or voted for another block».
    FinaliseAnother,
    /// 8.4 without the dummy certificates between.
    AnyNotarisedParent,
    /// 8.9 the other way round.
    SendFirst,
    /// 8.9 without certificates.
    ForgetCertificates,
    /// 8.9 without bodies.
    ForgetBodies,
    /// No 8.7.
    NeverGiveUp,
    /// 8.11 without resending.
    NeverResend,
    /// No 8.15.
    KeepLies,
    /// 8.18 without «nothing extends it».
    ExtendLast,
    /// 8.18 without the dummy certificates of the iterations between.
    RepeatAnyway,
    /// 8.18 without «votes for it count only with votes of the same iteration», for finalises.
    CountTogether,
    /// 8.18 without proposing the last block again.
    NeverRepeat,
    /// No 8.19. The last of them.
    OutstayEpoch,
}

#[cfg(test)]
impl Planted {
    /// All of them: a test sees to it that the model checker finds each.
    pub(super) const ALL: [Planted; Planted::OutstayEpoch as usize + 1] = [
        Planted::CountSignatures,
        Planted::HeedOtherEpochs,
        Planted::ProposeAnyway,
        Planted::VoteAgain,
        Planted::FinaliseAfterDummy,
        Planted::FinaliseAnother,
        Planted::AnyNotarisedParent,
        Planted::SendFirst,
        Planted::ForgetCertificates,
        Planted::ForgetBodies,
        Planted::NeverGiveUp,
        Planted::NeverResend,
        Planted::KeepLies,
        Planted::ExtendLast,
        Planted::RepeatAnyway,
        Planted::CountTogether,
        Planted::NeverRepeat,
        Planted::OutstayEpoch,
    ];
}

impl<B: Value, V: Voter, P: Value> Agreement<B, V, P> {
    #[cfg(test)]
    pub(super) fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(test))]
    pub(super) fn is_planted(&self, _: Planted) -> bool {
        false
    }

    /// Rule 8.1, as far as it is not loosened.
    pub(super) fn check_certificate(&self, certificate: &Certificate<V, P>) -> Result<(), Fault> {
        let config = &self.config;
        if self.is_planted(Planted::CountSignatures) && certificate.votes.len() >= config.quorum {
            return config.check_ballot(&certificate.ballot);
        }
        if self.is_planted(Planted::HeedOtherEpochs) {
            let mut certificate = certificate.clone();
            certificate.ballot.epoch = config.epoch;
            return config.check_certificate(&certificate);
        }
        config.check_certificate(certificate)
    }

    /// The certificate that a ballot just taken completes, as far as rule 8.1 is not loosened.
    pub(super) fn completed_by(&self, ballot: Ballot) -> Option<Certificate<V, P>> {
        let Ballot { iteration, kind, block, .. } = ballot;
        if kind == BallotKind::Finalise && self.is_planted(Planted::CountTogether) {
            let by = |voter: &V| {
                let mut rounds = self.rounds.values();
                let said =
                    |round: &Round<V, P>| round.ballot(kind, *voter).filter(|(said, _)| *said == block);
                rounds.find_map(said).map(|(_, proof)| (*voter, proof))
            };
            let mut votes: Vec<(V, P)> = self.config.voters.iter().filter_map(by).collect();
            votes.sort_by_key(|(voter, _)| *voter);
            return (votes.len() >= self.config.quorum).then_some(Certificate { ballot, votes });
        }
        self.round(iteration)?.completed_by(ballot, self.config.quorum)
    }

    /// For a bug: a last block that was notarised, whatever has come since.
    pub(super) fn last_anyway<L: Ledger<Block = B>>(&self, ledger: &L) -> Option<BlockId> {
        if !self.is_planted(Planted::RepeatAnyway) {
            return None;
        }
        let is_last = |id: &BlockId| self.known.get(id).is_some_and(|block| ledger.ends_epoch(block));
        self.rounds.values().filter_map(Round::notarised).find(is_last)
    }

    /// What a bug does to a journal that was read.
    pub(super) fn misread(&mut self) {
        if self.is_planted(Planted::VoteAgain) {
            let me = self.config.me;
            self.rounds.values_mut().for_each(|round| round.forget_vote(me));
        }
    }

    /// Whether the engine's own assertions stand aside.
    #[cfg(test)]
    pub(super) fn is_loosened(&self) -> bool {
        self.planted.is_some()
    }

    #[cfg(not(test))]
    pub(super) fn is_loosened(&self) -> bool {
        false
    }
}
