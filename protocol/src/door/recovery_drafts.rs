//! What operators make a recovery of: a draft on what is final here, consents to it, and the block that the recovery quorum signs (SPEC 4.15, 9.17).

use super::core::Core;
use super::input::Error;
use crate::fault::Fault;
use crate::state::{Block, Charter, Consent, Recover, Revoke, State, Suspend};
use crate::time::Timestamp;

impl Core {
    /// A recovery of this domain under `charter`, whose voting keys do not matter, going on from the final block at this height, or from the
    /// newest. It names what is denied here since then, and these. Nobody has consented to it, and nobody has signed it.
    ///
    /// # Errors
    /// [`Error::Refused`] says why the log cannot be gone on with so.
    pub fn draft_recovery(
        &self,
        charter: Charter,
        base: Option<u64>,
        gone: Vec<Revoke>,
        suspended: Vec<Suspend>,
    ) -> Result<Recover, Error> {
        let unknown =
            Error::Refused(Fault::BadRecovery { why: "no final block of that height is known here" });
        let chain = self.chain.as_ref().ok_or(unknown.clone())?;
        let base = match base {
            None => chain.basis(),
            Some(height) => chain.basis_at(height).ok_or(unknown)?,
        };
        let rolled = self.rolled_back_to(&base)?;
        let (mut also_gone, mut also_suspended) = chain.state().denials_since(rolled.state(), self.now);
        also_gone.extend(gone);
        also_gone.retain(|revoke| !rolled.state().is_gone(&revoke.subject));
        also_gone.sort_by_key(|revoke| revoke.subject);
        also_gone.dedup_by_key(|revoke| revoke.subject);
        also_suspended.extend(suspended);
        // Of two suspensions of one identity the longer.
        also_suspended
            .sort_by_key(|suspend| (suspend.subject, std::cmp::Reverse((suspend.until, suspend.number))));
        also_suspended.dedup_by_key(|suspend| suspend.subject);
        also_suspended.retain(|suspend| {
            let goes = also_gone.binary_search_by_key(&suspend.subject, |revoke| revoke.subject).is_ok();
            !goes && rolled.state().standing(&suspend.subject).is_some()
        });
        let terms = crate::state::Terms::of(self.domain, charter);
        Ok(Recover {
            base,
            gone: also_gone,
            suspended: also_suspended,
            charter: terms.charter,
            consents: Vec::new(),
        })
    }

    /// The state after the final block at this height, or after the newest: what a recovery that goes on from there goes on from.
    ///
    /// # Errors
    /// [`Error::Refused`] if it cannot be had here.
    pub fn state_to_recover(&self, base: Option<u64>) -> Result<State, Error> {
        let unknown =
            Error::Refused(Fault::BadRecovery { why: "no final block of that height is known here" });
        let chain = self.chain.as_ref().ok_or(unknown.clone())?;
        let base = base.map_or(Some(chain.basis()), |height| chain.basis_at(height)).ok_or(unknown)?;
        Ok(self.rolled_back_to(&base)?.state().clone())
    }

    /// Our consent to the seat that `recover` gives us, by a voting key that never voted.
    ///
    /// # Errors
    /// [`Error`] says why we cannot give it.
    pub fn consent_to_recovery(&self, recover: &Recover) -> Result<Consent, Error> {
        let terms = recover.terms(self.domain);
        if !terms.seats(&self.me) {
            return Err(Error::Refused(Fault::BadConsent { node: self.me, why: "it gets no seat" }));
        }
        let rolled = self.rolled_back_to(&recover.base)?;
        if rolled.state().key_of(&self.me) != Some(self.keys.identity.public()) {
            let why = "its key at the base was another, which it has destroyed: go on from a later block, or seat it afterwards";
            return Err(Error::Refused(Fault::BadConsent { node: self.me, why }));
        }
        if !rolled.state().is_whole() {
            return Err(Error::ApiMisuse(
                "a part of the state is held here: whoever holds the whole can consent",
            ));
        }
        let Some(voting) = self.fresh_voting_key() else {
            return Err(Error::ApiMisuse("there is no fresh voting key to consent with"));
        };
        let signer = (self.me, self.sequence(), &self.keys.identity);
        Ok(Consent::sign(&terms.id(), signer, voting, recover.base))
    }

    /// The block that the recovery quorum has to sign, made at `time`.
    ///
    /// # Errors
    /// [`Error::Refused`] says what is wrong with it, or who has not consented yet.
    pub fn recovery_block(&self, recover: Recover, time: Timestamp) -> Result<Block, Error> {
        let rolled = self.rolled_back_to(&recover.base)?;
        Ok(rolled.state().recovered(recover, time.max(rolled.head().time.plus(1)))?.0)
    }
}
