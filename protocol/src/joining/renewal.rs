//! A member's side of its renewal (SPEC 5.22): like a newcomer it gathers its own endorsements, and nobody coordinates it.
//!
//! It is a good deal simpler than a newcomer. Whoever renews has the state: it knows who endorses and by which keys, and whether what it
//! drafted would still do, and needs no endorser's word for any of that. Its core asks the state, and keeps here how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::newcomer::Step;
use super::ticket::Draft;
use crate::identity::{NodeId, PublicKey};
use crate::limits;
use crate::state::{Endorsement, Entry, Statement, StatementId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
struct Drafted {
    id: StatementId,
    draft: Arc<Draft>,
    /// How many endorsements it needs.
    need: usize,
    endorsements: BTreeMap<NodeId, Endorsement>,
    /// Endorsers that want a newer basis.
    outdated: BTreeSet<NodeId>,
    entry: Option<Arc<Entry>>,
}

/// A renewal on its way.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// When what is unanswered is asked again.
    at: Timestamp,
    patience_ms: u64,
    drafted: Option<Drafted>,
    /// Why each endorser last declined, for people; and who of them did last.
    said: BTreeMap<NodeId, String>,
    last: Option<NodeId>,
    /// Who has said something new since it asked.
    heard: BTreeSet<NodeId>,
}

impl Renewal {
    /// One that begins now.
    pub fn new(now: Timestamp) -> Renewal {
        let (said, heard) = (BTreeMap::new(), BTreeSet::new());
        let patience_ms = limits::NEWCOMER_PATIENCE_FIRST_MS;
        Renewal { at: now, patience_ms, drafted: None, said, last: None, heard }
    }

    /// When it asks again.
    pub fn deadline(&self) -> Timestamp {
        self.at
    }

    /// It asks now, and later each time if nothing comes of it.
    pub fn asks(&mut self, now: Timestamp) {
        self.heard.clear();
        self.at = now.plus(self.patience_ms);
        self.patience_ms = (self.patience_ms * 2).min(limits::NEWCOMER_PATIENCE_CAP_MS);
    }

    /// What it drafted, and whether that is an entry already.
    pub fn drafted(&self) -> Option<(&Statement, bool)> {
        self.drafted.as_ref().map(|drafted| (&drafted.draft.statement, drafted.entry.is_some()))
    }

    /// How many endorsements it has, and how many it needs.
    pub fn progress(&self) -> (usize, usize) {
        self.drafted.as_ref().map_or((0, 0), |drafted| (drafted.endorsements.len(), drafted.need))
    }

    /// Why an endorser last declined.
    pub fn said(&self) -> Option<&str> {
        self.said.get(&self.last?).map(String::as_str)
    }

    /// Takes up another draft.
    pub fn draft(&mut self, statement: Statement, need: usize) {
        let id = statement.id();
        let draft = Arc::new(Draft { statement, shown: None, note: String::new() });
        let (endorsements, outdated) = (BTreeMap::new(), BTreeSet::new());
        self.drafted = Some(Drafted { id, draft, need, endorsements, outdated, entry: None });
    }

    /// The draft is good for nothing any more.
    pub fn drop_draft(&mut self) {
        self.drafted = None;
    }

    /// Leaves out whoever may not endorse any more: an entry with such an endorsement is void, and the others may be enough for another.
    pub fn retain(&mut self, entitled: impl Fn(&Endorsement) -> bool) {
        let Some(drafted) = &mut self.drafted else { return };
        drafted.endorsements.retain(|_, endorsement| entitled(endorsement));
        let holds = |entry: &Arc<Entry>| entry.endorsements.iter().all(&entitled);
        drafted.entry = drafted.entry.take().filter(holds);
        drafted.compose();
    }

    /// An endorser endorsed: by its current key, as the core has looked up. Whether that makes an entry of the draft.
    pub fn endorsed(&mut self, statement: &StatementId, endorsement: Endorsement) -> bool {
        let Some(drafted) = self.drafted.as_mut().filter(|drafted| drafted.id == *statement) else {
            return false;
        };
        if drafted.entry.is_some() {
            return false;
        }
        drafted.outdated.remove(&endorsement.node);
        drafted.endorsements.insert(endorsement.node, endorsement);
        drafted.compose();
        drafted.entry.is_some()
    }

    /// An endorser declined the draft, or refused the entry. Whether that is new: it may say the same at every asking, and whoever says
    /// something else each time is heard once an asking.
    pub fn declined(&mut self, by: NodeId, why: &str) -> bool {
        let is_new = self.said.get(&by).is_none_or(|before| before != why) && self.heard.insert(by);
        if is_new {
            self.said.insert(by, why.to_owned());
            self.last = Some(by);
        }
        is_new
    }

    /// An endorser wants a newer basis. An honest one may lack the block that a draft names; but those who may lie shall not have us draft anew
    /// again and again, since others sign only so many.
    pub fn outdated(&mut self, statement: &StatementId, by: NodeId, may_lie: usize) {
        let Some(drafted) = self.drafted.as_mut().filter(|drafted| drafted.id == *statement) else { return };
        drafted.outdated.insert(by);
        if drafted.entry.is_none() && drafted.outdated.len() > may_lie {
            self.drafted = None;
        }
    }

    /// What to ask this endorser for.
    pub fn step_for(&self, peer: PublicKey) -> Option<Step> {
        let drafted = self.drafted.as_ref()?;
        Some(match &drafted.entry {
            Some(entry) => Step::Submit(peer, Arc::clone(entry)),
            None => Step::AskEndorsement(peer, Arc::clone(&drafted.draft)),
        })
    }
}

impl Drafted {
    fn compose(&mut self) {
        if self.entry.is_some() || self.endorsements.len() < self.need {
            return;
        }
        let endorsements = self.endorsements.values().take(self.need).copied().collect();
        let statement = self.draft.statement.clone();
        self.entry = Some(Arc::new(Entry { statement, endorsements }));
    }
}
