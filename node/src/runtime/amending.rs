//! Charters that change: the voting keys that a seat needs, the next charter as an operator wishes it, and what the log says of those that
//! were.

use frith_protocol::door::{Command, Core, Input};
use frith_protocol::identity::NodeId;
use frith_protocol::joining::Proposal;
use frith_protocol::state::{Charter, Entry, Seat, State, Subject, Terms};
use frith_protocol::time::Timestamp;
use serde_json::{Value, json};

use super::answers::to_value;
use super::explain::{find, state_of};
use super::host::Host;
use crate::amendment::{CharterFile, Wish, differences, seated_only};
use crate::control::views::{AmendView, OfficeView, PendingView};
use crate::control::{Refusal, Reply};
use crate::keys::{self, KeyError};

impl Host {
    /// Destroys voting keys that are over, and has a fresh one ready for the next charter. It may be killed anywhere: a key that was made
    /// and is not in the log is found again at the next start, and what is over by then is destroyed then.
    pub(super) fn keep_voting_keys(&mut self) -> Result<(), KeyError> {
        if let Some(state) = self.core().state() {
            let mine = state.seat_of(&self.core().node_id()).map(|seat| seat.voting_key);
            // What a dropped branch knew is known to no state any more.
            let is_over = |key: &_| {
                mine != Some(*key) && (state.owner_of(key).is_some() || self.core().is_retired(key))
            };
            let destroyed = keys::destroy_voting_keys(&self.home, is_over)?;
            if destroyed > 0 {
                tracing::info!(destroyed, "voting keys of epochs that are over were destroyed");
            }
        }
        if self.core().lacks_fresh_voting_key() {
            let key = keys::new_voting_key(&self.home)?;
            self.handle(Input::Command(Command::FreshVotingKey(key)))
                .expect("a key that was asked for is taken");
        }
        Ok(())
    }

    /// The charter in force, as it can be edited.
    pub(super) fn charter_file(&self) -> Reply {
        Ok(to_value(&CharterFile::of(state_of(self.core())?)))
    }

    /// Proposes the charter that `wish` makes of the one in force, or says what it would change.
    pub(super) fn amend(&mut self, wish: Wish, dry_run: bool, note: String, now: Timestamp) -> Reply {
        let (terms, mut view) = self.wished(wish, now)?;
        if dry_run {
            return Ok(to_value(&view));
        }
        if let Some(why) = view.refused {
            return Err(Refusal::refused(why));
        }
        self.have_voting_key()?;
        let expires = now.plus(state_of(self.core())?.charter().timing.proposal_lifetime_ms);
        view.proposed = Some(self.propose(Subject::Terms(Box::new(terms)), note, expires)?);
        Ok(to_value(&view))
    }

    /// Whoever says yes to a charter that seats it brings a fresh voting key.
    pub(super) fn have_voting_key(&mut self) -> Result<(), Refusal> {
        tokio::task::block_in_place(|| self.keep_voting_keys())
            .map_err(|error| Refusal::refused(format!("no fresh voting key can be made: {error}")))
    }

    fn wished(&self, wish: Wish, now: Timestamp) -> Result<(Terms, AmendView), Refusal> {
        let core = self.core();
        let state = state_of(core)?;
        let law = state.charter();
        let Wish { charter, add, remove, faults, thresholds, role_freshness, fresh_keys } = wish;
        let whole = charter.is_some();
        let mut file = charter.unwrap_or_else(|| CharterFile::of(state));
        let known = || state.members().map(|(node, _)| node).chain(law.endorsers.iter().map(Seat::node_id));
        for prefix in &remove {
            file.remove(find_once(prefix, known())?).map_err(Refusal::refused)?;
        }
        for prefix in &add {
            file.add(state, find_once(prefix, known())?).map_err(Refusal::refused)?;
        }
        file.freshen(&role_freshness).map_err(Refusal::refused)?;
        // Whoever wrote all of it meant all of it.
        let chosen = if whole { Vec::new() } else { file.fit(faults, thresholds) };
        // Later than the charter in force, and no later than any block to come.
        let written = state.last().time.plus(1);
        let terms = Terms::of(self.domain, file.next(state, written).map_err(Refusal::refused)?);
        let next = &terms.charter;
        let changes = differences(law, next);
        let refused = match state.judge_terms(now.max(written), &terms) {
            Err(fault) => Some(fault.to_string()),
            Ok(()) if changes.is_empty() && !fresh_keys => Some(
                "nothing would change; to give those who say yes fresh voting keys all the same: --fresh-keys".into(),
            ),
            Ok(()) => None,
        };
        let lost = law.roles.iter().filter(|role| !next.has_role(&role.name));
        let holders = |name: &String| state.members().filter(|(_, one)| one.roles.contains(name)).count();
        let view = AmendView {
            id: Subject::Terms(Box::new(terms.clone())).digest(),
            epoch: next.epoch,
            seated: seated_only(next, law),
            unseated: seated_only(law, next),
            chosen,
            roles_lost: lost.map(|role| (role.name.clone(), holders(&role.name))).collect(),
            now: self.office(state, law),
            next: self.office(state, next),
            changes,
            refused,
            proposed: None,
        };
        Ok((terms, view))
    }

    fn office(&self, state: &State, charter: &Charter) -> OfficeView {
        let me = self.core().node_id();
        let is_here = |node: &NodeId| {
            *node == me
                || state.standing(node).is_some_and(|standing| self.is_connected(&standing.keys.current))
        };
        let quorum = charter.quorum();
        OfficeView {
            endorsers: charter.size(),
            quorum,
            crashes: charter.size().saturating_sub(quorum),
            liars: charter.faults.into(),
            connected: charter.endorsers.iter().filter(|seat| is_here(&seat.node_id())).count(),
        }
    }

    /// What `frith status` says of the charter in force and the next.
    pub(super) fn charter_status(&self) -> Value {
        let core = self.core();
        let Some(state) = core.state() else { return Value::Null };
        json!({
            "epoch": state.charter().epoch,
            "id": state.charter_id(),
            "fresh_voting_key": !core.lacks_fresh_voting_key(),
            "recovery_waits_until": core.recovery_waiting().map(|(_, at)| at),
        })
    }

    /// Of every node that the log here says had a seat, or lost one: since when and by whom; the most recent fact last.
    pub(super) fn seat_in_words(&self, state: &State, node: NodeId, founder: bool) -> Vec<String> {
        let amendments = amendments(self.core());
        let by = |entry: &Entry| {
            let names: Vec<String> = entry.endorsements.iter().map(|one| one.node.short()).collect();
            names.join(", ")
        };
        // What the oldest one that is held here changed is known only if it amended the founding charter.
        let mut seated = match amendments.first() {
            Some((_, _, first)) if first.epoch > 2 => None,
            Some(_) => Some(founder),
            None => Some(state.has_seat(&node)),
        };
        let mut words = Vec::new();
        if founder && (seated == Some(true)) {
            words.push("The founding charter has a seat for it: it stands without admission.".to_string());
        }
        for (height, entry, charter) in amendments {
            let seats = charter.seat_of(&node).is_some();
            let (epoch, endorsed) = (charter.epoch, by(entry));
            match (seated, seats) {
                (Some(false), true) => words.push(format!(
                    "Seated since height {height}, epoch {epoch}, by the amendment endorsed by {endorsed}."
                )),
                (Some(true), false) => words.push(format!(
                    "It lost its seat at height {height}, epoch {epoch}, by the amendment endorsed by {endorsed}."
                )),
                (None, true) => words.push(format!(
                    "Seated since epoch {epoch} or before: this node holds no older charter."
                )),
                (None | Some(false), false) | (Some(true), true) => {}
            }
            seated = Some(seats);
        }
        if words.is_empty() && founder {
            words.push("It stood by its seat in the founding charter.".into());
        }
        if words.is_empty() && state.has_seat(&node) {
            let epoch = state.charter().epoch;
            words.push(format!(
                "The charter has a seat for it, in epoch {epoch}; since when this node does not hold."
            ));
        }
        words
    }
}

/// The amendments that a node holds, oldest first.
fn amendments(core: &Core) -> Vec<(u64, &Entry, &Charter)> {
    let blocks = core.chain().into_iter().flat_map(|chain| chain.recent_blocks()).map(|held| &held.block);
    let mut all: Vec<_> = blocks
        .flat_map(|block| block.entries.iter().map(|entry| (block.header.height, entry)))
        .filter_map(|(height, entry)| Some((height, entry, entry.statement.next_charter()?)))
        .collect();
    all.sort_by_key(|(height, _, _)| *height);
    all
}

/// One and the same may be a member and have a seat.
fn find_once(prefix: &str, known: impl Iterator<Item = NodeId>) -> Result<NodeId, Refusal> {
    let once: std::collections::BTreeSet<NodeId> = known.collect();
    find("node", prefix, once.into_iter())
}

/// What a charter that waits would change for `node`.
pub(super) fn seat_that_waits(state: &State, next: &Charter, node: NodeId, have: usize) -> Option<String> {
    let change = match (state.has_seat(&node), next.seat_of(&node).is_some()) {
        (false, true) => "gives it a seat",
        (true, false) => "takes its seat",
        (true, true) | (false, false) => return None,
    };
    let need = state.charter().thresholds.amend;
    Some(format!("Waiting: an amendment that {change} ({have} of {need} endorsements known here)."))
}

/// What `frith pending` says of a charter besides.
pub(super) fn add_changes(view: &mut PendingView, core: &Core, proposal: &Proposal) {
    let (Subject::Terms(terms), Some(state)) = (&proposal.subject, core.state()) else { return };
    let law = state.charter();
    // Against another charter than that which it amends the differences would be wrong.
    if terms.charter.previous != Some(state.charter_id()) {
        return;
    }
    let consented = |node: &NodeId| proposal.has_consent_of(node);
    let seated = seated_only(&terms.charter, law);
    if seated.contains(&core.node_id()) {
        view.what = format!("you are asked to take a seat: {}", view.what);
    }
    view.changes = differences(law, &terms.charter);
    view.consented = proposal.consents.iter().map(|consent| consent.node).collect();
    view.must_consent = seated.into_iter().filter(|node| !consented(node)).collect();
}
