//! `frith recover`: what a running node does for it. Drafting and consenting need its state; taking is the core's to judge.

use std::sync::Arc;

use frith_protocol::door::{Command, Error};
use frith_protocol::identity::verify;
use frith_protocol::state::{Reason, Revoke, Terms};
use frith_protocol::time::Timestamp;
use serde_json::json;

use super::answers::to_value;
use super::explain::{find, state_of};
use super::host::Host;
use crate::amendment::{CharterFile, Wish};
use crate::control::{Refusal, Reply};
use crate::founding::signature_check;
use crate::recovery::RecoveryFile;

fn refused(error: Error) -> Refusal {
    match error {
        Error::Refused(fault) => Refusal::refused(fault.to_string()),
        other @ (Error::Untimely(_) | Error::ApiMisuse(_) | Error::PeerMisbehaved { .. }) => {
            Refusal::refused(other.to_string())
        }
    }
}

impl Host {
    /// A draft: from this node's final block at `base` or its newest, under the charter that `wish` makes of the one in force there.
    pub(super) fn draft_recovery(
        &self,
        wish: Wish,
        base: Option<u64>,
        epoch: Option<u64>,
        gone: &[String],
        now: Timestamp,
    ) -> Reply {
        let core = self.core();
        let state = core.state_to_recover(base).map_err(refused)?;
        let Wish { charter, add, remove, faults, thresholds, role_freshness, fresh_keys: _ } = wish;
        let whole = charter.is_some();
        let mut file = charter.unwrap_or_else(|| CharterFile::of(&state));
        let known: std::collections::BTreeSet<_> =
            state.members().map(|(node, _)| node).chain(state.seats().map(|(node, _)| *node)).collect();
        let known = || known.iter().copied();
        for prefix in &remove {
            file.remove(find("node", prefix, known())?).map_err(Refusal::refused)?;
        }
        for prefix in &add {
            file.add(&state, find("node", prefix, known())?).map_err(Refusal::refused)?;
        }
        file.freshen(&role_freshness).map_err(Refusal::refused)?;
        if !whole {
            file.fit(faults, thresholds);
        }
        let mut charter =
            file.next(&state, now.max(state.charter().written.plus(1))).map_err(Refusal::refused)?;
        // Later than all that began here, on whatever branch.
        charter.epoch = epoch.unwrap_or(state_of(core)?.charter().epoch.saturating_add(1));
        let subjects = gone.iter().map(|prefix| find("node", prefix, known()));
        let gone: Vec<Revoke> = subjects
            .map(|subject| Ok(Revoke { subject: subject?, reason: Reason::Unspecified }))
            .collect::<Result<_, Refusal>>()?;
        let recover = core.draft_recovery(charter, base, gone, Vec::new()).map_err(refused)?;
        Ok(to_value(&RecoveryFile::new(self.domain, recover)))
    }

    /// This node takes the seat that the draft gives it. Whoever is last makes the block.
    pub(super) fn consent_to_recovery(&mut self, mut file: RecoveryFile, now: Timestamp) -> Reply {
        self.check_domain(&file)?;
        self.have_voting_key()?;
        let recover = &mut file.recover;
        let consent = self.core().consent_to_recovery(recover).map_err(refused)?;
        recover.consents.retain(|other| other.node != consent.node);
        recover.consents.push(consent);
        recover.consents.sort_by_key(|consent| consent.node);
        // What was signed before is of another block.
        (file.header, file.signatures) = (None, Vec::new());
        if file.silent().is_empty() {
            let block = self.core().recovery_block(file.recover.clone(), now).map_err(refused)?;
            file.header = Some(block.header);
        }
        Ok(to_value(&file))
    }

    /// Hands it to the core, which judges whether it may be taken, and shows it to others.
    pub(super) fn apply_recovery(&mut self, file: &RecoveryFile, dry_run: bool, now: Timestamp) -> Reply {
        self.check_domain(file)?;
        let chain = file.chain().map_err(Refusal::refused)?;
        let (id, height) = (chain.ids().last().copied(), self.core().head().map(|head| head.height));
        let proven = verify(Arc::new(chain), &signature_check())
            .map_err(|fault| Refusal::refused(fault.to_string()))?;
        let at_once = self.core().check_recovery(&proven, now).map_err(refused)?;
        if !dry_run {
            self.act(Command::Recover(proven))?;
        }
        let waits = self.core().recovery_waiting().map(|(_, at)| at);
        Ok(json!({
            "block": id,
            "base": file.recover.base.height,
            "drops": height.map(|height| height.saturating_sub(file.recover.base.height)),
            "dry_run": dry_run,
            "taken": at_once && !dry_run,
            "may_be_taken_at_once": at_once,
            "waits_until": waits,
        }))
    }

    /// Whether the block in the file is one that executes here, whoever has signed it by now.
    pub(super) fn check_recovery_file(&self, file: &RecoveryFile) -> Result<(), Refusal> {
        self.check_domain(file)?;
        let Some(header) = &file.header else { return Ok(()) };
        let ours = self.core().recovery_block(file.recover.clone(), header.time).map_err(refused)?;
        if ours.header == *header {
            return Ok(());
        }
        Err(Refusal::refused(
            "the block in the file is not what it says, as this node computes it: do not sign it",
        ))
    }

    fn check_domain(&self, file: &RecoveryFile) -> Result<(), Refusal> {
        let terms = Terms::of(file.domain, file.recover.charter.clone());
        if file.domain != self.domain || terms.charter != file.recover.charter {
            return Err(Refusal::bad("the file is of another domain, or names voting keys in its charter"));
        }
        Ok(())
    }
}
