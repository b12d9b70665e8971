//! One history, judged twice: by the model and by the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::{NodeId, Verified, verify};
use frith_protocol::state::{
    AdmittedBy, Block, Contradiction, Effective, Entry, Kind, Parent, Rank, State, StatementId,
};
use frith_protocol::time::Timestamp;

use crate::histories::History;
use crate::ink::{self, Ink, Remembering};
use crate::model::{Facts, How, Model, No, hashes, key_place, ticket_place};
use crate::offers::Offered;
use crate::people::{Person, people};

type Checked = Verified<Arc<Entry>>;

/// How often each verdict was met: a generator that never draws a case tests nothing.
pub type Met = BTreeMap<String, usize>;

fn note(met: &mut Met, what: impl Into<String>) {
    *met.entry(what.into()).or_default() += 1;
}

fn is_amend(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Amend(_))
}

fn recovers(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Recover(_))
}

fn is_charter(entry: &Entry) -> bool {
    is_amend(entry) || recovers(entry)
}

fn is_rotation(entry: &Entry) -> bool {
    matches!(entry.statement.kind, Kind::Rotate(_))
}

/// What happens between one block and the next: so much is written down that all of it can be played again, with less and less of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The time of the next block.
    pub time: Timestamp,
    /// Entries that are judged each for itself.
    pub drawn: Vec<Entry>,
    /// How many blocks are dropped before that one, for the recovery in it to begin at an earlier one.
    pub dropped: usize,
    /// Which of them wait when the engine builds a block.
    pub waiting: Vec<Entry>,
    /// The block that is judged, if it came to that.
    pub block: Option<Offered>,
}

/// One history, and the engine beside it.
pub struct Trial {
    seed: u64,
    /// The history, with the model.
    pub history: History,
    /// The engine's state.
    pub state: State,
    /// What it was before each block that was taken, the newest last.
    earlier: Vec<(Model, State)>,
    /// What happened so far.
    pub steps: Vec<Step>,
}

impl Trial {
    /// The history of a seed.
    ///
    /// # Panics
    /// If the two disagree on genesis.
    pub fn new(seed: u64) -> Trial {
        ink::begin(if seed.is_multiple_of(ink::ONE_IN) { Ink::Keys } else { Ink::StandIns });
        let history = History::new(seed);
        let founded = verify(history.founded.clone(), &Remembering).expect("signatures of founders hold");
        let (state, genesis) = State::genesis(&founded).expect("the model took the charter");
        assert_eq!(&genesis, history.model.head(), "seed {seed}: genesis");
        let trial = Trial { seed, history, state, earlier: Vec::new(), steps: Vec::new() };
        trial.compare_views(genesis.time, people());
        trial
    }

    /// The engine's state after the block, as the host of an engine gets it.
    pub fn engine_executes(&self, skipped: bool, block: &Arc<Block>) -> Result<State, Fault> {
        let parent = if skipped { Parent::Skipped } else { Parent::of(self.history.model.head()) };
        let block = verify(Arc::clone(block), &Remembering)?;
        if block.entries.is_empty() {
            let checked = self.state.check_heartbeat(parent, &block.header);
            let executed = self.state.execute(parent, &block);
            assert_eq!(
                checked.is_ok(),
                executed.is_ok(),
                "seed {}: a heartbeat, checked and executed",
                self.seed
            );
            return executed;
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

    /// Judges an entry twice. The entry, as far as its signatures hold, and whether it is valid.
    fn judge(&self, time: Timestamp, entry: &Entry, met: &mut Met) -> (Option<Checked>, bool) {
        let model = &self.history.model;
        let verdict = model.judge(time, entry);
        let checked = verify(Arc::new(entry.clone()), &Remembering);
        let engine = match &checked {
            Ok(checked) => self.state.judge(model.head(), time, checked),
            Err(fault) => Err(fault.clone()),
        };
        self.compare(verdict, &engine, entry);
        let kind = match entry.statement.rank() {
            Rank::Denial => match &entry.statement.kind {
                Kind::Accuse(it) => match it.contradiction {
                    Contradiction::Ballots(..) => "a valid proof of two ballots",
                    Contradiction::Rotations(..) => "a valid proof of two rotations",
                    Contradiction::Holds(..) => "a valid proof of two holds",
                },
                _ => "a valid denial",
            },
            Rank::Rotation => "a valid rotation",
            Rank::Grant => "a valid grant",
            Rank::Record => "a valid record",
            Rank::Amend => "a valid amendment",
        };
        note(met, verdict.err().unwrap_or(kind));
        (checked.ok(), verdict.is_ok())
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
                Ok(()) if block.entries.iter().any(recovers) => {
                    let earlier = if self.history.dropped.is_some() { ", from an earlier block" } else { "" };
                    format!("block: a valid recovery{earlier}")
                }
                Ok(()) if block.entries.is_empty() => format!("block: a valid heartbeat, skipped: {skipped}"),
                Ok(()) => format!("block: valid, skipped: {skipped}"),
            },
        );
        let Ok(after) = executed else { return false };
        let before = std::mem::replace(&mut self.state, after);
        self.earlier.push((self.history.model.clone(), before));
        let convicted = self.convictions();
        self.history.push(&block);
        for (what, of_it) in [("charter", is_charter as fn(&Entry) -> bool), ("rotation", is_rotation)] {
            if convicted > 0 && block.entries.iter().all(of_it) && !block.entries.is_empty() {
                let ends = self.convictions() < convicted;
                let then = if ends { "that ends a conviction" } else { "that leaves every conviction" };
                note(met, format!("a {what} {then}"));
            }
        }
        true
    }

    fn convictions(&self) -> usize {
        self.history.model.facts().standing.values().map(|standing| standing.convictions.len()).sum()
    }

    /// Drops so many of the newest blocks.
    fn drop_newest(&mut self, count: usize) {
        let at = self.earlier.len().saturating_sub(count);
        let Some((model, state)) = self.earlier.drain(at..).next() else { return };
        self.history.drop_to(model);
        self.state = state;
    }

    /// Everything that can be asked of a state, and of these people, gets the model's answer.
    fn compare_views<'a>(&self, now: Timestamp, of: impl IntoIterator<Item = &'a Person>) {
        let (model, state) = (&self.history.model, &self.state);
        let facts = model.facts();
        let (root, spine) = facts.roots();
        let seed = self.seed;
        assert_eq!((state.root(), state.spine_root()), (Hash(root), Hash(spine)), "seed {seed}: the roots");
        assert_eq!(state.domain().0, model.domain(), "seed {seed}");
        assert_eq!(state.last(), model.last(), "seed {seed}");
        let counts = (state.member_count(), state.gone().count());
        assert_eq!(counts, (facts.standing.len(), facts.gone.len()), "seed {seed}");
        for person in of {
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
                AdmittedBy::Renewal => How::Renewal,
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
            .filter(|ours| !ours.is_restrained(now))
            .is_some_and(|ours| seated || (ours.window.from <= now && now < ours.window.until));
        let theirs = state.effective(node, now) == Effective::Yes;
        assert_eq!(theirs, effective, "seed {seed}: whether {node:?} is effective at {now}");
    }

    /// What the engine packs, the model takes; what it refuses, it names; and what waits alone is packed exactly if the model takes it.
    fn compare_packing(&self, time: Timestamp, waiting: &[Checked]) {
        let model = &self.history.model;
        let (block, _, refused) = self.state.build(model.head(), time, waiting.iter());
        assert_eq!(model.check(false, &block), Ok(()), "seed {}: a block that the engine built", self.seed);
        let named: BTreeSet<StatementId> = refused.iter().map(|(id, _)| *id).collect();
        for entry in waiting {
            let packed = block.entries.contains(entry);
            // A second amendment finds no place, and waits on.
            let second = (is_amend(entry) || recovers(entry)) && block.entries.iter().any(is_amend);
            assert!(!(packed && recovers(entry)), "seed {}: a recovery was packed", self.seed);
            assert!(
                packed || second || named.contains(&entry.statement.id()),
                "seed {}: {entry:?} was lost",
                self.seed
            );
        }
        if let [only] = waiting {
            let taken = model.judge(time, only).is_ok();
            assert_eq!(block.entries.len() == 1, taken, "seed {}: {only:?} waits alone", self.seed);
        }
    }

    /// Whom a block names, and a few others, each in turn: what is under the roots was compared of everybody.
    fn named_by(block: &Block) -> impl Iterator<Item = &'static Person> {
        let turn = (block.header.height % 16) as usize * 4;
        let subjects: Vec<NodeId> = block.entries.iter().filter_map(|it| it.statement.subject()).collect();
        let named = people().iter().filter(move |person| subjects.contains(&person.node));
        named.chain(&people()[turn..turn + 4])
    }

    /// Judges a block that is offered, and asks both what is true then.
    fn take(&mut self, (skipped, block): (bool, Block), now: Timestamp, met: &mut Met) {
        if block.header.time.0 > u64::MAX / 2 {
            // Nothing can follow a block at the end of time. Execution may take it; voters do not (SPEC 8.6).
            return;
        }
        let named: Vec<&Person> = Trial::named_by(&block).collect();
        if self.follow(skipped, block, met) {
            self.compare_views(now, named);
        }
    }

    /// Lets so many random blocks pass.
    ///
    /// # Panics
    /// If the two disagree anywhere.
    pub fn run(&mut self, blocks: usize, met: &mut Met) {
        for _ in 0..blocks {
            let time = self.history.next_time();
            let (drawn, waiting) = (Vec::new(), Vec::new());
            self.steps.push(Step { time, drawn, dropped: 0, waiting, block: None });
            let at = self.steps.len() - 1;
            let (mut entries, mut waiting) = (Vec::new(), Vec::new());
            for _ in 0..self.history.dice.below(9) {
                let entry = self.history.entry(time);
                self.steps[at].drawn.push(entry.clone());
                let (checked, valid) = self.judge(time, &entry, met);
                // A second amendment voids any block: seldom.
                let second = is_amend(&entry) && entries.iter().any(is_amend);
                if valid && (!second || self.history.dice.chance(1, 4)) || self.history.dice.chance(1, 60) {
                    waiting.extend(checked);
                    entries.push(entry);
                }
            }
            self.steps[at].waiting.clone_from(&entries);
            self.compare_packing(time, &waiting);
            if self.history.dice.chance(1, 16) {
                if self.history.dice.chance(1, 2) {
                    self.steps[at].dropped = self.history.dice.between(1, 4) as usize;
                    self.drop_newest(self.steps[at].dropped);
                }
                let entry = self.history.recovery(time);
                self.steps[at].drawn.push(entry.clone());
                self.judge(time, &entry, met);
                entries = vec![entry];
            }
            if self.history.dice.chance(24, 25) {
                entries.sort_by_key(|entry| entry.statement.rank());
            }
            let offered = self.history.block(time, entries);
            self.steps[at].block = Some(offered.clone());
            self.take((offered.skipped, offered.block), offered.now, met);
        }
        self.end();
    }

    /// Plays what happened once again, or what is left of it.
    ///
    /// # Panics
    /// If the two disagree anywhere.
    pub fn play(&mut self, steps: &[Step]) {
        let mut met = Met::new();
        for Step { time, drawn, dropped, waiting, block } in steps {
            for entry in drawn {
                self.judge(*time, entry, &mut met);
            }
            let waiting: Vec<Checked> = waiting
                .iter()
                .filter_map(|entry| verify(Arc::new(entry.clone()), &Remembering).ok())
                .collect();
            self.compare_packing(*time, &waiting);
            self.drop_newest(*dropped);
            if let Some(offered) = block {
                self.take(offered.on(&self.history.model), offered.now, &mut met);
            }
        }
        self.end();
    }

    /// The model's state is what the whole log folds to, and everybody's standing is asked once more.
    fn end(&self) {
        let model = &self.history.model;
        assert_eq!(*model.facts(), model.fold(), "seed {}: the model, block by block and at once", self.seed);
        self.compare_views(model.head().time, people());
    }
}
