//! `hold`, and what is shown of holds.

use std::collections::{BTreeMap, BTreeSet};

use frith_protocol::door::{Command, Core};
use frith_protocol::identity::NodeId;
use frith_protocol::state::{Hold, Kind, Reason, State, Statement};
use frith_protocol::time::Timestamp;

use super::answers::to_value;
use super::explain::{find, reason_words, state_of, until_words};
use super::host::Host;
use crate::control::Reply;
use crate::control::views::{HeldView, HoldView, PendingView};

impl Host {
    /// Holds a node at once, on this operator's word alone.
    pub(super) fn hold(&mut self, node: &str, for_ms: u64, reason: Reason, now: Timestamp) -> Reply {
        let state = state_of(self.core())?;
        let subject = find("node", node, state.members().map(|(node, _)| node))?;
        let needed = state.holders_needed(&subject);
        self.act(Command::Hold { subject, until: now.plus(for_ms), reason })?;
        let core = self.core();
        let on: Vec<&Hold> = core.holds(now).filter(|hold| hold.subject == subject).collect();
        let by: BTreeSet<NodeId> = on.iter().map(|hold| hold.by).collect();
        let mine = on.iter().filter(|hold| hold.by == core.node_id()).map(|hold| hold.until).max();
        let (have, until) = (by.len(), mine.unwrap_or(now));
        Ok(to_value(&HoldView { node: subject, until, have, needed, held: have >= needed }))
    }
}

/// By whom a node is held, and until when.
pub(super) fn held_view(core: &Core, node: &NodeId, now: Timestamp) -> Option<HeldView> {
    let held = core.held(node, now)?;
    Some(HeldView { by: held.by.into_iter().collect(), until: held.until })
}

/// What there is to say of holds of `node`: who gave each, until when, and whether they are enough.
pub(super) fn holds_in_words(core: &Core, state: &State, node: NodeId, now: Timestamp) -> Vec<String> {
    let of_it = |hold: &&Hold| hold.subject == node;
    let held = core.held(&node, now);
    let mut words: Vec<String> = Vec::new();
    for hold in core.holds(now).filter(of_it) {
        let Hold { by, until, reason, .. } = *hold;
        let (by, until) = (by.short(), until_words(until, now));
        words.push(format!("Held by {by}{}, {until}.", reason_words(reason)));
    }
    if !words.is_empty() && held.is_none() {
        let needed = state.holders_needed(&node);
        words.push(format!("That is not enough: an endorser is held when {needed} endorsers hold it."));
    }
    words
}

/// Holds that are in force, and those of endorsers that too few others have joined yet, as things that wait.
pub(super) fn pending_holds(core: &Core, now: Timestamp) -> Vec<PendingView> {
    let Some(state) = core.state() else { return Vec::new() };
    let mut by_subject: BTreeMap<NodeId, Vec<&Hold>> = BTreeMap::new();
    for hold in core.holds(now) {
        by_subject.entry(hold.subject).or_default().push(hold);
    }
    let view = |(subject, holds): (NodeId, Vec<&Hold>)| {
        let by: BTreeSet<NodeId> = holds.iter().map(|hold| hold.by).collect();
        let (have, needed) = (by.len(), state.holders_needed(&subject));
        let last = holds.iter().max_by_key(|hold| hold.until).expect("each was put there for a hold");
        let statement = Statement { domain: core.domain(), kind: Kind::Hold(Box::new(**last)) };
        let met = have >= needed;
        let short = subject.short();
        let over = met.then(|| "it is in force, and lapses by itself".to_string());
        PendingView {
            id: statement.endorsed(),
            what: format!("hold {subject}{} (join in with: frith hold {short})", reason_words(last.reason)),
            kind: "hold".into(),
            subject: Some(subject),
            note: String::new(),
            decision: if by.contains(&core.node_id()) { "endorsed" } else { "open" }.into(),
            endorsed_by: by.into_iter().collect(),
            needed,
            changes: Vec::new(),
            consented: Vec::new(),
            must_consent: Vec::new(),
            met,
            over,
            expires: last.until,
        }
    };
    by_subject.into_iter().map(view).collect()
}
