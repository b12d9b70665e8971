//! What operators do when a quorum is lost for good: they draft a recovery on what is left, consent, and sign with the offline keys.

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, Certificate};
use frith_protocol::door::{Command, Core, Phase};
use frith_protocol::identity::{NodeId, verify};
use frith_protocol::state::FinalChain;
use frith_protocol::time::Timestamp;
use toml::Spanned;

use super::workload::next_charter;
use super::{Pending, Run, Wanted};
use crate::engine::NodeIndex;
use crate::scenario::NodeName;
use crate::world::plan::index_of;
use crate::world::program::Program;

impl Run<'_> {
    /// Seats these and nobody else, going on from the highest block that one of them has; where their logs have forked, from the highest that
    /// all of them have, with the denials of every branch. False if one of them is not there, or not far enough.
    pub(super) fn recover(&mut self, seats: &[Spanned<NodeName>], stolen: bool) -> bool {
        let seats: Vec<NodeIndex> = seats.iter().map(|name| index_of(self.script, *name.as_ref())).collect();
        if !seats.iter().all(|node| self.is_up(*node)) {
            return false;
        }
        let height = |node: &NodeIndex| {
            let core = self.world.actor(*node).map(Program::core);
            core.and_then(|core| core.head()).map_or(0, |head| head.height)
        };
        let Some(by) = seats.iter().copied().max_by_key(|node| (height(node), *node)) else { return false };
        let Some((epoch, chain)) = self.recovery(by, &seats) else { return false };
        let Ok(proven) = verify(Arc::new(chain), &self.world.shared.checker) else { return false };
        self.world.command(by, 0, Command::Recover(proven));
        if stolen {
            return true;
        }
        let what = format!("the recovery by the charter of epoch {epoch}");
        self.pending.push(Pending { subject: NodeId::default(), wanted: Wanted::Amended(epoch), what });
        true
    }

    fn recovery(&mut self, by: NodeIndex, seats: &[NodeIndex]) -> Option<(u64, FinalChain)> {
        let core = self.world.actor(by)?.core();
        let now = Timestamp(self.world.reads(by).0);
        let state = core.state()?;
        let ids: Vec<NodeId> = seats.iter().map(|node| self.node_id(*node)).collect();
        let add: Vec<NodeId> = ids.iter().filter(|id| !state.has_seat(id)).copied().collect();
        let remove: Vec<NodeId> = state.seats().map(|(id, _)| *id).filter(|id| !ids.contains(id)).collect();
        let mut charter = next_charter(core, now, &add, &remove)?.charter;
        charter.written = now;
        let (base, mut gone, mut suspended) = (self.before_the_fork(seats), Vec::new(), Vec::new());
        if base.is_some() {
            // By charter and base alone each says what its own branch denies.
            for node in seats {
                let core = self.world.actor(*node)?.core();
                let theirs = core.draft_recovery(charter.clone(), base, Vec::new(), Vec::new()).ok()?;
                gone.extend(theirs.gone);
                suspended.extend(theirs.suspended);
            }
        }
        let mut recover = core.draft_recovery(charter, base, gone, suspended).ok()?;
        let consents =
            seats.iter().map(|node| self.world.actor(*node)?.core().consent_to_recovery(&recover).ok());
        recover.consents = consents.collect::<Option<_>>()?;
        recover.consents.sort_by_key(|consent| consent.node);
        let epoch = recover.charter.epoch;
        let block = core.recovery_block(recover, now).ok()?;
        let ballot = Ballot::of_recovery(core.domain(), block.header.epoch, block.id());
        let keys = &self.founding.recovery;
        let mut votes: Vec<_> = keys.iter().map(|key| (key.public(), key.sign(&ballot.digest()))).collect();
        votes.sort();
        // A consent is signed by two keys.
        self.outcome.signatures_made += (2 * seats.len() + votes.len()) as u64;
        let certificate = Certificate { ballot, votes };
        Some((epoch, FinalChain { blocks: vec![Arc::new(block)], headers: Vec::new(), certificate }))
    }
    /// The height of the highest block that all of these hold; none if none of them has halted.
    fn before_the_fork(&self, seats: &[NodeIndex]) -> Option<u64> {
        let cores: Vec<&Core> =
            seats.iter().filter_map(|node| self.world.actor(*node)).map(Program::core).collect();
        if cores.iter().all(|core| core.phase() != Phase::Halted) {
            return None;
        }
        let lowest = cores.iter().filter_map(|core| core.head()).map(|head| head.height).min()?;
        (0..=lowest).rev().find(|height| {
            let at = |core: &Core| core.chain().and_then(|chain| chain.basis_at(*height));
            let first = cores.first().and_then(|core| at(core));
            first.is_some() && cores.iter().all(|core| at(core) == first)
        })
    }
}
