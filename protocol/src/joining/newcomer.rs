//! The newcomer's side of joining (SPEC 5.4): it gathers its own endorsements, and nobody coordinates it.
//!
//! It believes its anchor, then the charter with the anchor's hash, then those to which links lead from there, then whatever the newest
//! charter's quorum certifies. An endorser that is
//! silent, slow or lying costs it nothing but that endorser: every step asks all, and goes on with the first answers that hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::following::{Charters, Link, Workshop, check_certificate, check_links};
use crate::identity::{Inception, NodeId, PublicKey, Verified};
use crate::limits;
use crate::state::{
    Admit, Basis, Charter, Endorsement, Entry, FinalChain, Grounds, Header, Keys, Kind, RoleName, Statement,
    StatementId, Window,
};
use crate::time::Timestamp;

use super::ticket::{Anchor, Answer, Draft, KeyHistory, Retry, Shown, Ticket, Verdict, spend_digest};

/// What a newcomer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Where it begins to believe.
    pub anchor: Anchor,
    /// By which ticket; none: it waits for the operators' approval.
    pub ticket: Option<Ticket>,
    /// As which roles. With a ticket, none means all that it gives.
    pub roles: Vec<RoleName>,
    /// A line for the operators.
    pub note: String,
}

/// What a newcomer does next, in the order of the list.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this endorser for the charter and the head.
    AskBeginning(PublicKey),
    /// Ask it for a newer head.
    AskHead(PublicKey),
    /// Ask it how to come to its charter.
    AskLinks(PublicKey),
    /// Ask it to endorse.
    AskEndorsement(PublicKey, Arc<Draft>),
    /// Hand it the entry.
    Submit(PublicKey, Arc<Entry>),
    /// Tell the operator that one endorser declined.
    Declined(PublicKey, String),
    /// Tell the operator that it is over.
    Failed(String),
}

/// The charters from the one that the anchor names on.
#[derive(Clone, Debug)]
struct Known {
    charters: Charters,
    /// If the anchor's is the founding charter: the head of whoever shows none.
    genesis: Option<Header>,
}

#[derive(Clone, Debug)]
struct Drafted {
    id: StatementId,
    /// The time of its basis.
    basis: Timestamp,
    draft: Arc<Draft>,
    endorsements: BTreeMap<NodeId, Endorsement>,
    /// Endorsers that will never sign this draft, and why.
    declined: BTreeMap<NodeId, String>,
    /// Endorsers that want a newer basis.
    outdated: BTreeSet<NodeId>,
    entry: Option<Arc<Entry>>,
}

/// A newcomer on its way in.
#[derive(Clone, Debug)]
pub struct Newcomer {
    application: Application,
    inception: Inception,
    known: Option<Known>,
    /// The keys of the charter's endorsers, as far as they have shown that they are not those in it any more.
    keys: BTreeMap<NodeId, Keys>,
    /// Heads that were shown before the charter was.
    early: BTreeMap<PublicKey, Option<FinalChain>>,
    /// The newest certified head that anybody showed.
    head: Option<Header>,
    /// Links across a recovery, and since when nobody has shown that the domain lives without it.
    noted: Option<(Timestamp, Vec<Verified<Arc<Link>>>)>,
    drafted: Option<Drafted>,
    /// Endorsers that refused the entry as such, and what they say may help.
    refused: BTreeMap<NodeId, Retry>,
    /// In how many entries that were refused for their endorsements each endorser was: one that was revoked may go on signing, and a newcomer
    /// cannot know who that is. It is in all of them; so the next entry is made of those who were in the fewest.
    doubts: BTreeMap<NodeId, u32>,
    connected: BTreeSet<PublicKey>,
    retry: Timestamp,
    patience_ms: u64,
    failed: bool,
}

impl Newcomer {
    /// A newcomer that has just been told to join.
    pub fn new(application: Application, inception: Inception, now: Timestamp) -> Newcomer {
        Newcomer {
            application,
            inception,
            known: None,
            keys: BTreeMap::new(),
            early: BTreeMap::new(),
            head: None,
            noted: None,
            drafted: None,
            refused: BTreeMap::new(),
            doubts: BTreeMap::new(),
            connected: BTreeSet::new(),
            retry: now.plus(limits::NEWCOMER_PATIENCE_FIRST_MS),
            patience_ms: limits::NEWCOMER_PATIENCE_FIRST_MS,
            failed: false,
        }
    }

    /// What an earlier process of it came to believe: it goes forward only (SPEC 9.12).
    pub fn remember(&mut self, charters: &Charters, workshop: &dyn Workshop) {
        if charters.first().id != self.application.anchor.charter {
            return;
        }
        let first = &charters.first().charter;
        let genesis = (first.epoch == 1).then(|| workshop.genesis(first).ok()).flatten();
        let genesis = genesis.map(|(_, header)| header).filter(|_| charters.newest().charter.epoch == 1);
        self.known = Some(Known { charters: charters.clone(), genesis });
    }

    /// What it asked for.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// The charters, once somebody showed the one that the anchor names.
    pub fn charters(&self) -> Option<&Charters> {
        self.known.as_ref().map(|known| &known.charters)
    }

    /// How many endorsements it has, and how many it needs.
    pub fn progress(&self) -> (usize, usize) {
        let have = self.drafted.as_ref().map_or(0, |drafted| drafted.endorsements.len());
        let need = self.charter().map_or(0, |charter| usize::from(charter.thresholds.admit));
        (have, need)
    }

    /// When it asks again.
    pub fn deadline(&self) -> Option<Timestamp> {
        let asks = !self.failed && !self.connected.is_empty();
        asks.then(|| self.noted_until().map_or(self.retry, |until| until.min(self.retry)))
    }

    fn charter(&self) -> Option<&Charter> {
        self.known.as_ref().map(|known| &*known.charters.newest().charter)
    }

    /// The endorser whose key this is, as far as it has shown.
    fn endorser_at(&self, key: &PublicKey) -> Option<NodeId> {
        if let Some((node, _)) = self.keys.iter().find(|(_, keys)| keys.current == *key) {
            return Some(*node);
        }
        let seat = self.charter()?.endorsers.iter().find(|seat| seat.inception.key == *key)?;
        // Whoever has shown a later key speaks by no earlier one.
        Some(seat.node_id()).filter(|node| !self.keys.contains_key(node))
    }

    fn is_endorser(&self, key: &PublicKey) -> bool {
        self.endorser_at(key).is_some()
    }

    /// A connection is up.
    pub fn connected(&mut self, peer: PublicKey, now: Timestamp) -> Vec<Step> {
        if self.connected.is_empty() {
            self.patience_ms = limits::NEWCOMER_PATIENCE_FIRST_MS;
            self.retry = now.plus(self.patience_ms);
        }
        self.connected.insert(peer);
        self.next_for(peer)
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, peer: &PublicKey) {
        self.connected.remove(peer);
    }

    /// Time passed: whatever is unanswered is asked again.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Step> {
        if self.failed || self.connected.is_empty() {
            return Vec::new();
        }
        if self.noted_until().is_some_and(|until| until <= now) {
            return self.cross_the_recovery(now);
        }
        if now < self.retry {
            return Vec::new();
        }
        self.patience_ms = (self.patience_ms * 2).min(limits::NEWCOMER_PATIENCE_CAP_MS);
        self.retry = now.plus(self.patience_ms);
        let mut steps = self.redraft_if_old(now);
        if steps.is_empty() {
            steps = self.compose();
        }
        if steps.is_empty() {
            steps = self.connected.clone().into_iter().flat_map(|peer| self.next_for(peer)).collect();
        }
        steps
    }

    fn next_for(&self, peer: PublicKey) -> Vec<Step> {
        if self.failed {
            return Vec::new();
        }
        if self.known.is_none() || self.head.is_none() {
            return vec![Step::AskBeginning(peer)];
        }
        let Some(endorser) = self.endorser_at(&peer) else {
            // An endorser whose key is a later one shows that with its head.
            return vec![Step::AskHead(peer)];
        };
        let Some(drafted) = &self.drafted else { return Vec::new() };
        match &drafted.entry {
            Some(entry) => vec![Step::Submit(peer, Arc::clone(entry))],
            // The others may have lost their seats meanwhile: its head says so.
            None if drafted.endorsements.contains_key(&endorser) => vec![Step::AskHead(peer)],
            None => vec![Step::AskEndorsement(peer, Arc::clone(&drafted.draft))],
        }
    }

    /// Somebody showed a charter. It is believed if it is the anchor's.
    pub fn charter_shown(&mut self, charter: &Charter, workshop: &dyn Workshop, now: Timestamp) -> Vec<Step> {
        let Application { anchor, .. } = &self.application;
        if self.known.is_some() || charter.id() != anchor.charter || charter.epoch != anchor.epoch {
            return Vec::new();
        }
        let genesis = if charter.epoch == 1 {
            let Ok((state, header)) = workshop.genesis(charter) else { return Vec::new() };
            if state.domain() != anchor.domain {
                return Vec::new();
            }
            Some(header)
        } else if charter.check().is_ok() {
            None
        } else {
            return Vec::new();
        };
        let since = genesis.as_ref().map(|header| (0, header.id()));
        let charters = Charters::begin(anchor.domain, charter.clone(), since);
        if charters.are_over(now) {
            self.failed = true;
            let why = "the charter that the invitation names is past its last day: ask for a newer one";
            return vec![Step::Failed(why.into())];
        }
        self.known = Some(Known { charters, genesis });
        let early = std::mem::take(&mut self.early);
        early.into_iter().flat_map(|(by, tip)| self.head_shown(by, tip.as_ref(), now)).collect()
    }

    /// Somebody showed how to come to newer charters.
    pub fn links_shown(&mut self, by: PublicKey, links: &[Verified<Arc<Link>>], now: Timestamp) -> Vec<Step> {
        let Some(known) = &mut self.known else { return Vec::new() };
        if !known.charters.follow(links, now, &|_| false).0.is_empty() {
            // Heads, and endorsers, of charters before say nothing any more.
            (self.head, self.noted) = (None, None);
            return vec![Step::AskHead(by)];
        }
        // What is left may lead across a recovery. Whoever has stolen its keys can show one of a domain that lives: so all are asked first
        // whether it does (SPEC 9.19).
        let leads_on = !known.charters.clone().follow(links, now, &self.may_cross()).0.is_empty();
        if !leads_on || self.noted.is_some() {
            return Vec::new();
        }
        self.noted = Some((now, links.to_vec()));
        self.connected.iter().map(|peer| Step::AskHead(*peer)).collect()
    }

    /// Below its anchor nothing is dropped: whoever made that held a final block there.
    fn may_cross(&self) -> impl Fn(&Header) -> bool + use<> {
        let Anchor { epoch, height, .. } = self.application.anchor;
        move |header| header.epoch != epoch || header.height > height
    }

    /// When the links that were noted are followed, if nobody has shown a fresh head by then.
    fn noted_until(&self) -> Option<Timestamp> {
        let (since, _) = self.noted.as_ref()?;
        Some(since.plus(self.charter()?.timing.freshness_ms))
    }

    fn cross_the_recovery(&mut self, now: Timestamp) -> Vec<Step> {
        let (Some((_, links)), may_cross) = (self.noted.take(), self.may_cross()) else { return Vec::new() };
        let freshness_ms = self.charter().map_or(0, |charter| charter.timing.freshness_ms);
        let lives = self.head.as_ref().is_some_and(|head| now.since(head.time) <= freshness_ms);
        let Some(known) = self.known.as_mut().filter(|_| !lives) else {
            return Vec::new();
        };
        if known.charters.follow(&links, now, &may_cross).0.is_empty() {
            return Vec::new();
        }
        self.head = None;
        self.connected.iter().map(|peer| Step::AskHead(*peer)).collect()
    }

    /// Somebody showed how an endorser's key came to be what it is. Its signatures were checked; here, that it goes on from the charter.
    pub fn keys_shown(&mut self, history: &KeyHistory) -> Vec<Step> {
        let seat = self.charter().and_then(|charter| charter.seat_of(&history.node));
        let Some(seat) = seat else { return Vec::new() };
        let begun = Keys::of(&seat.inception);
        let Ok(keys) = history.rotations.iter().try_fold(begun, |keys, next| keys.rotated(next)) else {
            return Vec::new();
        };
        let known = self.keys.get(&history.node).map_or(0, |keys| keys.sequence);
        if keys.sequence <= known {
            return Vec::new();
        }
        let key = keys.current;
        self.keys.insert(history.node, keys);
        // What it signed by an earlier key makes no entry any more: it signs anew when it is asked.
        if let Some(drafted) = self.drafted.as_mut().filter(|drafted| drafted.entry.is_none()) {
            drafted.endorsements.remove(&history.node);
        }
        if self.connected.contains(&key) { self.next_for(key) } else { Vec::new() }
    }

    /// Somebody showed its head: none if nothing follows genesis. It is believed if the newest charter's quorum certifies it, is not older than the anchor, and is fresh.
    pub fn head_shown(&mut self, by: PublicKey, tip: Option<&FinalChain>, now: Timestamp) -> Vec<Step> {
        let Some(known) = &self.known else {
            // A head is a header and its certificate; what is longer can wait until the charter is here.
            let short =
                tip.is_none_or(|tip| tip.blocks.is_empty() && tip.headers.len() <= limits::EARLY_HEADERS_MAX);
            if self.connected.contains(&by) && short && self.early.len() < limits::ENDORSERS_MAX {
                self.early.insert(by, tip.cloned());
            }
            return Vec::new();
        };
        let charter = Arc::clone(&known.charters.newest().charter);
        let header = match (tip, &known.genesis) {
            (None, Some(genesis)) => genesis.clone(),
            (None, None) => return Vec::new(),
            (Some(tip), _) => {
                let Some(header) = tip.tip() else { return Vec::new() };
                let by_recovery = tip.certificate.is_of_recovery() && !known.charters.closes(tip);
                if tip.certificate.ballot.epoch > charter.epoch || by_recovery {
                    return vec![Step::AskLinks(by)];
                }
                let (domain, id) = (known.charters.domain(), header.id());
                let Ok(by) = known.charters.that_certifies(tip) else { return Vec::new() };
                if check_certificate(domain, by, &tip.certificate, header, id).is_err() {
                    return Vec::new();
                }
                header.clone()
            }
        };
        // On a head that endorsers find too old as a basis (5.6), no draft would come of it: whoever shows one first shall not win.
        let timing = &charter.timing;
        let stale = now.since(header.time) > timing.freshness_ms.min(timing.basis_ms / 2);
        if header.height < self.application.anchor.height || stale {
            return vec![Step::Declined(
                by,
                "its newest final block is older than the domain's freshness bound".into(),
            )];
        }
        // Somebody makes blocks under the charters that it knows: no recovery leads away from those.
        self.noted = None;
        if self.head.as_ref().is_some_and(|head| head.height >= header.height) {
            return Vec::new();
        }
        self.head = Some(header);
        // A draft that is out stays: whoever shows newer heads must not make us forget who said yes to it.
        if self.drafted.is_some() { Vec::new() } else { self.draft() }
    }

    fn redraft_if_old(&mut self, now: Timestamp) -> Vec<Step> {
        let (Some(charter), Some(drafted)) = (self.charter(), &self.drafted) else {
            return Vec::new();
        };
        let timing = &charter.timing;
        // An entry can become final as long as its basis is not too old; who endorses asks for half of that.
        let bound = if drafted.entry.is_some() {
            timing.basis_ms.saturating_add(timing.skew_ms)
        } else {
            timing.basis_ms / 2
        };
        // An honest endorser can miss the basis that a draft names. What a ticket gave, it gives again; an operator's yes is worth more
        // than one endorser's word.
        let by_ticket = self.application.ticket.is_some();
        let may_lie = if by_ticket { 0 } else { usize::from(charter.faults) };
        let wanted = drafted.entry.is_none() && drafted.outdated.len() > may_lie;
        if now.since(drafted.basis) <= bound && !wanted {
            return Vec::new();
        }
        self.begin_anew()
    }

    fn begin_anew(&mut self) -> Vec<Step> {
        self.head = None;
        self.drafted = None;
        self.refused.clear();
        self.connected.iter().map(|peer| Step::AskHead(*peer)).collect()
    }

    /// Writes the admission, once charter and head are known, and asks everybody at once.
    fn draft(&mut self) -> Vec<Step> {
        let (Some(known), Some(head)) = (&self.known, &self.head) else { return Vec::new() };
        if self.drafted.as_ref().is_some_and(|drafted| drafted.entry.is_some()) {
            return Vec::new();
        }
        let application = &self.application;
        let roles = match &application.ticket {
            Some(ticket) if application.roles.is_empty() => ticket.terms.roles.clone(),
            Some(_) | None => application.roles.clone(),
        };
        let grounds = match &application.ticket {
            Some(ticket) => Grounds::Ticket(Box::new(ticket.terms.clone())),
            None => Grounds::Approval,
        };
        let statement = Statement {
            domain: application.anchor.domain,
            kind: Kind::Admit(Box::new(Admit {
                subject: self.inception.clone(),
                number: 1,
                roles,
                window: Window {
                    from: head.time,
                    until: head.time.plus(known.charters.newest().charter.timing.member_lifetime_ms),
                },
                basis: Basis { height: head.height, block: head.id(), time: head.time },
                grounds,
            })),
        };
        let shown = application.ticket.as_ref().map(|ticket| Shown {
            countersignatures: ticket.countersignatures.clone(),
            spend: ticket.secret_key().sign(&spend_digest(&ticket.terms.id(), &self.inception.node_id())),
        });
        let id = statement.id();
        let draft = Arc::new(Draft { statement, shown, note: application.note.clone() });
        self.drafted = Some(Drafted {
            id,
            basis: head.time,
            draft: Arc::clone(&draft),
            endorsements: BTreeMap::new(),
            declined: BTreeMap::new(),
            outdated: BTreeSet::new(),
            entry: None,
        });
        self.connected.clone().into_iter().flat_map(|peer| self.next_for(peer)).collect()
    }

    /// An endorser answered the draft. Its signature was checked; here, whose it is.
    pub fn answered(&mut self, by: PublicKey, answer: &Answer) -> Vec<Step> {
        let endorser = self.endorser_at(&by);
        let Some(known) = &self.known else { return Vec::new() };
        let charter = Arc::clone(&known.charters.newest().charter);
        let need = usize::from(charter.thresholds.admit);
        let Some(drafted) = self.drafted.as_mut().filter(|drafted| drafted.id == answer.statement) else {
            return Vec::new();
        };
        if drafted.entry.is_some() {
            return Vec::new();
        }
        match &answer.verdict {
            Verdict::Waiting => Vec::new(),
            Verdict::Endorsed(endorsement) => {
                // By its current key, as far as it has shown that.
                let entitled = charter.seat_of(&endorsement.node).is_some_and(|seat| {
                    let (key, sequence) = match self.keys.get(&endorsement.node) {
                        Some(keys) => (keys.current, keys.sequence),
                        None => (seat.inception.key, 0),
                    };
                    (endorsement.key, endorsement.sequence) == (key, sequence)
                });
                if !entitled {
                    return Vec::new();
                }
                drafted.declined.remove(&endorsement.node);
                drafted.outdated.remove(&endorsement.node);
                drafted.endorsements.insert(endorsement.node, *endorsement);
                // Once an entry was refused, whoever has not answered yet is waited for, until the next tick.
                if !self.doubts.is_empty() && self.somebody_is_silent() {
                    return Vec::new();
                }
                self.compose()
            }
            Verdict::Declined { why, retry } => {
                let mut steps = vec![Step::Declined(by, why.clone())];
                match (retry, endorser) {
                    (Retry::NewerBasis, Some(node)) => {
                        drafted.outdated.insert(node);
                    }
                    (Retry::Never, Some(node)) => {
                        drafted.declined.insert(node, why.clone());
                    }
                    (Retry::Later, _) | (Retry::NewerBasis | Retry::Never, None) => return steps,
                }
                // Those who may lie bring neither about alone.
                let against = drafted.declined.keys().chain(&drafted.outdated).collect::<BTreeSet<_>>();
                if charter.size() - drafted.declined.len() < need {
                    self.failed = true;
                    steps.push(Step::Failed(why.clone()));
                } else if charter.size() - against.len() < need {
                    steps.extend(self.begin_anew());
                }
                steps
            }
        }
    }

    fn somebody_is_silent(&self) -> bool {
        let Some(drafted) = &self.drafted else { return false };
        self.connected.iter().filter_map(|peer| self.endorser_at(peer)).any(|node| {
            let signed = drafted.endorsements.contains_key(&node);
            !signed && !drafted.declined.contains_key(&node) && !drafted.outdated.contains(&node)
        })
    }

    /// Makes the entry and hands it to every endorser, if enough have endorsed: of those, who are doubted least.
    fn compose(&mut self) -> Vec<Step> {
        let need = self.charter().map_or(usize::MAX, |charter| usize::from(charter.thresholds.admit));
        let seated =
            self.charter().map(|charter| charter.endorsers.iter().map(|seat| seat.node_id()).collect());
        let seated: BTreeSet<NodeId> = seated.unwrap_or_default();
        let Some(drafted) = &mut self.drafted else { return Vec::new() };
        // Whoever lost its seat since it endorsed would void the entry.
        drafted.endorsements.retain(|node, _| seated.contains(node));
        if drafted.entry.is_some() || drafted.endorsements.len() < need {
            return Vec::new();
        }
        let mut endorsements: Vec<Endorsement> = drafted.endorsements.values().copied().collect();
        endorsements.sort_by_key(|e| (self.doubts.get(&e.node).copied().unwrap_or(0), e.node));
        endorsements.truncate(need);
        endorsements.sort_by_key(|e| e.node);
        let entry = Arc::new(Entry { statement: drafted.draft.statement.clone(), endorsements });
        drafted.entry = Some(Arc::clone(&entry));
        let peers: Vec<PublicKey> =
            self.connected.iter().copied().filter(|peer| self.is_endorser(peer)).collect();
        peers.into_iter().map(|peer| Step::Submit(peer, Arc::clone(&entry))).collect()
    }

    /// An endorser says that the entry cannot go into a block. Believed when more say so than may lie.
    pub fn refused(&mut self, by: PublicKey, statement: &StatementId, why: &str, retry: Retry) -> Vec<Step> {
        let ours = self.drafted.as_ref().is_some_and(|drafted| drafted.id == *statement);
        let Some(node) = self.endorser_at(&by).filter(|_| ours && !self.failed) else { return Vec::new() };
        self.refused.insert(node, retry);
        let mut steps = vec![Step::Declined(by, why.to_owned())];
        let liars = self.charter().map_or(0, |charter| usize::from(charter.faults));
        // Only those count who say the same: one liar must not decide what the honest ones meant.
        if self.refused.values().filter(|said| **said == retry).count() <= liars {
            return steps;
        }
        match retry {
            Retry::Never => {
                self.failed = true;
                steps.push(Step::Failed(why.to_owned()));
            }
            // The endorsements do not hold any more: another draft, by others.
            Retry::NewerBasis => {
                let entry = self.drafted.as_ref().and_then(|drafted| drafted.entry.clone());
                for endorsement in entry.iter().flat_map(|entry| &entry.endorsements) {
                    *self.doubts.entry(endorsement.node).or_default() += 1;
                }
                steps.extend(self.begin_anew());
            }
            Retry::Later => {}
        }
        steps
    }

    /// The height of the block in `chain` that admits us, if there is one and the chain is certified.
    pub fn admitted_by(&self, chain: &Verified<Arc<FinalChain>>) -> Option<u64> {
        // A recovery admits nobody, and nobody executes it here.
        if chain.certificate.is_of_recovery() {
            return None;
        }
        let known = self.known.as_ref()?;
        let me = self.inception.node_id();
        let (header, ids) = (chain.tip()?, chain.ids());
        let charters = &known.charters;
        let charter = &charters.of_epoch(chain.certificate.ballot.epoch)?.charter;
        check_certificate(charters.domain(), charter, &chain.certificate, header, *ids.last()?).ok()?;
        check_links(chain, &ids).ok()?;
        let block = chain.blocks.iter().find(|block| {
            let mut admissions = block.entries.iter().filter_map(|entry| entry.statement.admission());
            admissions.any(|admit| admit.subject.node_id() == me)
        })?;
        // The statements are what the certified header names, whoever sent the body.
        block.has_its_entries().then_some(block.header.height)
    }
}
