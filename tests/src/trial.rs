//! One history, judged twice: by the model and by the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::{Verified, verify};
use frith_protocol::state::{AdmittedBy, Block, Effective, Entry, Kind, Parent, Rank, State, StatementId};
use frith_protocol::time::Timestamp;

use crate::histories::History;
use crate::model::{Facts, How, No, hashes, key_place, ticket_place};
use crate::people::{DAY, Person, Remembering, forget_signed, people};

/// How often each verdict was met: a generator that never draws a case tests nothing.
pub type Met = BTreeMap<String, usize>;

fn note(met: &mut Met, what: impl Into<String>) {
    *met.entry(what.into()).or_default() += 1;
}

fn is_amend(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Amend(_))
}

/// One history, and the engine beside it.
pub struct Trial {
    seed: u64,
    /// The history, with the model.
    pub history: History,
    /// The engine's state.
    pub state: State,
    check: Remembering,
}

impl Trial {
    /// The history of a seed.
    ///
    /// # Panics
    /// If the two disagree on genesis.
    pub fn new(seed: u64) -> Trial {
        forget_signed();
        hashes::forget_held();
        let history = History::new(seed);
        let check = Remembering::default();
        let founded = verify(history.founded.clone(), &check).expect("signatures of founders hold");
        let (state, genesis) = State::genesis(&founded).expect("the model took the charter");
        assert_eq!(&genesis, history.model.head(), "seed {seed}: genesis");
        let trial = Trial { seed, history, state, check };
        trial.compare_views(genesis.time);
        trial
    }

    fn engine_judges(&self, time: Timestamp, entry: &Entry) -> Result<(), Fault> {
        let entry = verify(Arc::new(entry.clone()), &self.check)?;
        self.state.judge(self.history.model.head(), time, &entry)
    }

    /// The engine's state after the block, as the host of an engine gets it.
    pub fn engine_executes(&self, skipped: bool, block: &Arc<Block>) -> Result<State, Fault> {
        let parent = if skipped { Parent::Skipped } else { Parent::of(self.history.model.head()) };
        let block = verify(Arc::clone(block), &self.check)?;
        if block.entries.is_empty() {
            return self.state.check_heartbeat(parent, &block.header).map(|()| self.state.clone());
        }
        self.state.execute(parent, &block)
    }

    /// Two verdicts that must be of one mind.
    ///
    /// # Panics
    /// If they are not.
    pub fn compare<T>(&self, model: Result<(), No>, engine: &Result<T, Fault>, about: &dyn Debug) {
        let (seed, engine) = (self.seed, engine.as_ref().map(|_| ()));
        let agree = model.is_ok() == engine.is_ok();
        assert!(agree, "seed {seed}: the model says {model:?}, the engine {engine:?}, of {about:#?}");
    }

    /// Judges an entry twice. Whether it is valid.
    ///
    /// # Panics
    /// If the two disagree.
    pub fn judge(&self, time: Timestamp, entry: &Entry, met: &mut Met) -> bool {
        let verdict = self.history.model.judge(time, entry);
        self.compare(verdict, &self.engine_judges(time, entry), entry);
        let kind = match entry.statement.rank() {
            Rank::Denial => "a valid denial",
            Rank::Rotation => "a valid rotation",
            Rank::Grant => "a valid grant",
            Rank::Amend => "a valid amendment",
        };
        note(met, verdict.err().unwrap_or(kind));
        verdict.is_ok()
    }

    /// Judges a block twice, and goes on from it if it is valid.
    ///
    /// # Panics
    /// If the two disagree, on the verdict or on the state after it.
    pub fn follow(&mut self, skipped: bool, block: Block, met: &mut Met) -> bool {
        let verdict = self.history.model.check(skipped, &block);
        let block = Arc::new(block);
        let executed = self.engine_executes(skipped, &block);
        self.compare(verdict, &executed, &block);
        note(
            met,
            match verdict {
                Err(why) => format!("block: {why}"),
                Ok(()) if block.entries.is_empty() => format!("block: a valid heartbeat, skipped: {skipped}"),
                Ok(()) => format!("block: valid, skipped: {skipped}"),
            },
        );
        let Ok(after) = executed else { return false };
        self.state = after;
        self.history.push(&block);
        let now = block.header.time.plus(self.history.dice.between(0, 2 * DAY));
        self.compare_views(now);
        true
    }

    /// Everything that can be asked of a state gets the model's answer.
    fn compare_views(&self, now: Timestamp) {
        let (model, state) = (&self.history.model, &self.state);
        let facts = model.facts();
        let (root, spine) = facts.roots();
        let seed = self.seed;
        assert_eq!((state.root(), state.spine_root()), (Hash(root), Hash(spine)), "seed {seed}: the roots");
        assert_eq!(state.domain().0, model.domain(), "seed {seed}");
        assert_eq!(state.last(), model.last(), "seed {seed}");
        let counts = (state.member_count(), state.gone().count());
        assert_eq!(counts, (facts.standing.len(), facts.gone.len()), "seed {seed}");
        for person in people() {
            self.compare_person(&facts, person, now);
        }
        for (_, key) in &self.history.fresh {
            let owner = facts.keys.get(&key_place(&key.public())).map(|owner| owner.0);
            assert_eq!(
                state.owner_of(&key.public()).map(|node| node.0),
                owner,
                "seed {seed}: whose a voting key is"
            );
        }
        assert_eq!(state.charter(), facts.charter(), "seed {seed}: the charter in force");
        for terms in &self.history.tickets {
            let uses = facts.tickets.get(&ticket_place(terms)).copied().unwrap_or(0);
            assert_eq!(state.ticket_uses(terms), uses, "seed {seed}: the uses of {terms:?}");
        }
    }

    fn compare_person(&self, facts: &Facts, person: &Person, now: Timestamp) {
        let (seed, state) = (self.seed, &self.state);
        let node = &person.node;
        let ours = facts.standing.get(&node.0);
        let theirs = state.standing(node).map(|theirs| {
            let how = match &theirs.by {
                AdmittedBy::Seat => How::Seat,
                AdmittedBy::Ticket(id) => How::Ticket(Hash(id.0)),
                AdmittedBy::Approval => How::Approval,
                AdmittedBy::Renewal => unreachable!("no history draws it yet"),
            };
            let keys = (&theirs.keys.inception, theirs.keys.sequence, theirs.keys.current, theirs.keys.next);
            (keys, &theirs.roles, theirs.window, theirs.number, theirs.height, how)
        });
        let expected = ours.map(|ours| {
            let keys = (&ours.keys.inception, ours.keys.sequence, ours.keys.current, ours.keys.next);
            (keys, &ours.roles, ours.window, ours.number, ours.height, ours.how.clone())
        });
        assert_eq!(theirs, expected, "seed {seed}: the standing of {node:?}");
        let theirs = state.gone_since(node).map(|gone| (gone.height, gone.reason));
        let gone = facts.gone.get(&node.0).map(|gone| (gone.height, gone.reason));
        assert_eq!(
            (theirs, state.is_gone(node)),
            (gone, gone.is_some()),
            "seed {seed}: since when {node:?} is gone"
        );
        let key = ours.map(|ours| ours.keys.current).or(facts.gone.get(&node.0).map(|gone| gone.key));
        assert_eq!(state.key_of(node), key, "seed {seed}: the key of {node:?}");
        let later = (2..4).map(|sequence| person.key_of(sequence).public());
        for key in [person.public(), person.voting.public(), person.next.public()].into_iter().chain(later) {
            let owner = facts.keys.get(&key_place(&key)).map(|owner| owner.0);
            assert_eq!(state.owner_of(&key).map(|node| node.0), owner, "seed {seed}: whose {key:?} is");
        }
        // SPEC 4.8.
        let seats = &facts.charter().endorsers;
        let seated = seats.iter().any(|seat| hashes::node_id(&seat.inception) == node.0);
        let effective = ours
            .filter(|ours| !ours.is_suspended(now))
            .is_some_and(|ours| seated || (ours.window.from <= now && now < ours.window.until));
        let theirs = state.effective(node, now) == Effective::Yes;
        assert_eq!(theirs, effective, "seed {seed}: whether {node:?} is effective at {now}");
    }

    /// What the engine packs, the model takes; what it refuses, it names; and what waits alone is packed exactly if the model takes it.
    fn compare_packing(&self, time: Timestamp, entries: &[Entry]) {
        let model = &self.history.model;
        let waiting: Vec<Verified<Arc<Entry>>> =
            entries.iter().filter_map(|entry| verify(Arc::new(entry.clone()), &self.check).ok()).collect();
        let (block, _, refused) = self.state.build(model.head(), time, waiting.iter());
        assert_eq!(model.check(false, &block), Ok(()), "seed {}: a block that the engine built", self.seed);
        let named: BTreeSet<StatementId> = refused.iter().map(|(id, _)| *id).collect();
        for entry in &waiting {
            let packed = block.entries.contains(entry);
            // A second amendment finds no place, and waits on.
            let second = is_amend(entry) && block.entries.iter().any(is_amend);
            assert!(
                packed || second || named.contains(&entry.statement.id()),
                "seed {}: {entry:?} was lost",
                self.seed
            );
        }
        if let [only] = &waiting[..] {
            let taken = model.judge(time, only).is_ok();
            assert_eq!(block.entries.len() == 1, taken, "seed {}: {only:?} waits alone", self.seed);
        }
    }

    /// Lets so many random blocks pass.
    ///
    /// # Panics
    /// If the two disagree anywhere.
    pub fn run(&mut self, blocks: usize, met: &mut Met) {
        for _ in 0..blocks {
            let time = self.history.next_time();
            let mut entries = Vec::new();
            for _ in 0..self.history.dice.below(9) {
                let entry = self.history.entry(time);
                let valid = self.judge(time, &entry, met);
                // A second amendment voids any block: seldom.
                let second = is_amend(&entry) && entries.iter().any(is_amend);
                if valid && (!second || self.history.dice.chance(1, 4)) || self.history.dice.chance(1, 60) {
                    entries.push(entry);
                }
            }
            self.compare_packing(time, &entries);
            if self.history.dice.chance(24, 25) {
                entries.sort_by_key(|entry| entry.statement.rank());
            }
            let (skipped, block) = self.history.block(time, entries);
            if block.header.time.0 > u64::MAX / 2 {
                // Nothing can follow a block at the end of time. Execution may take it; voters do not (SPEC 8.6).
                continue;
            }
            self.follow(skipped, block, met);
        }
    }
}
