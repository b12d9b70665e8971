//! Rules that a test can loosen, to see that the model checker and the explorer find out. Outside tests every answer is no.

use super::ballot::Certificate;
use super::engine::Agreement;
use super::seam::{Value, Voter};
use crate::fault::Fault;

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
    /// No 8.15. The last of them.
    KeepLies,
}

#[cfg(test)]
impl Planted {
    /// All of them: a test sees to it that the model checker finds each.
    pub(super) const ALL: [Planted; Planted::KeepLies as usize + 1] = [
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
