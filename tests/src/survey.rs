//! Histories by the thousand, on all cores; and the smallest history in which model and engine still disagree, if they do.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

use frith_protocol::state::Entry;

use crate::trial::{Met, Step, Trial};

/// How many blocks a history is drawn with; not all of them are valid.
pub const BLOCKS: usize = 34;

/// What so many histories were.
#[derive(Default)]
pub struct Survey {
    /// Every verdict, and how often it was met.
    pub met: Met,
    /// How many entries the log of each history has.
    pub lengths: Vec<usize>,
    /// How many of them changed their charter.
    pub amended: usize,
    /// How many did so twice or more.
    pub twice: usize,
}

/// A history in which model and engine disagree.
pub struct Disagreement {
    /// What draws it.
    pub seed: u64,
    /// What was said when it was drawn.
    pub why: String,
    /// As little of it as still makes them disagree.
    pub steps: Vec<Step>,
    /// What is said of that.
    pub why_still: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disagreement { seed, why, steps, why_still } = self;
        writeln!(f, "history {seed}: {why}\n")?;
        writeln!(f, "The least of it in which they disagree: {why_still}")?;
        write!(f, "{steps:#?}")
    }
}

impl Disagreement {
    /// How many entries are left, those that are judged alone included.
    pub fn entries(&self) -> usize {
        self.steps.iter().map(entries_of).sum()
    }
}

fn entries_of(step: &Step) -> usize {
    let of_block = step.block.as_ref().map_or(0, |offered| offered.block.entries.len());
    step.drawn.len() + step.waiting.len() + of_block
}

thread_local! {
    /// Whether panics on this thread are somebody's answer, and nothing to report.
    static HEARD: Cell<bool> = const { Cell::new(false) };
}

/// What a panic says; nothing, if there is none. A disagreement is a panic, and so is a fault of the engine's own.
pub fn said_by(what: impl FnOnce()) -> Option<String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !HEARD.get() {
                usual(panic);
            }
        }));
    });
    HEARD.set(true);
    let panicked = catch_unwind(AssertUnwindSafe(what)).err();
    HEARD.set(false);
    let panicked = panicked?;
    let text = panicked.downcast_ref::<String>().cloned();
    Some(text.or(panicked.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default())
}

/// Draws the history of a seed.
///
/// # Errors
/// If model and engine disagree about it.
pub fn history(seed: u64, survey: &mut Survey) -> Result<(), Box<Disagreement>> {
    let mut trial = None;
    let why = said_by(|| {
        let trial = trial.insert(Trial::new(seed));
        trial.run(BLOCKS, &mut survey.met);
    });
    let steps = trial.as_mut().map(|trial| std::mem::take(&mut trial.steps)).unwrap_or_default();
    if let Some(why) = why {
        let (steps, why_still) = shrunk(seed, steps).unwrap_or_default();
        return Err(Box::new(Disagreement { seed, why, steps, why_still }));
    }
    if let Some(trial) = trial {
        let log = trial.history.model.log();
        survey.lengths.push(log.iter().map(|block| block.entries.len()).sum());
        let epoch = trial.history.charter.epoch;
        survey.amended += usize::from(epoch > 1);
        survey.twice += usize::from(epoch > 2);
    }
    Ok(())
}

/// The first of so many histories about which they disagree, and what is said of it.
pub fn first_disagreement(seeds: std::ops::Range<u64>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let said = said_by(|| Trial::new(seed).run(BLOCKS, &mut Met::new()));
        said.map(|why| (seed, why))
    })
}

/// Whether they disagree about a history of which so much is left.
fn still(seed: u64, steps: &[Step]) -> Option<String> {
    said_by(|| Trial::new(seed).play(steps))
}

/// As few steps with as few entries as still make them disagree. `None` if they do not, played again.
fn shrunk(seed: u64, steps: Vec<Step>) -> Option<(Vec<Step>, String)> {
    let why = still(seed, &steps)?;
    let mut least = Least { seed, steps, why };
    while least.cut_once() {}
    Some((least.steps, least.why))
}

struct Least {
    seed: u64,
    steps: Vec<Step>,
    why: String,
}

impl Least {
    /// Tries to do without each step, each list of entries, each entry. Whether any of it was of no account.
    fn cut_once(&mut self) -> bool {
        let mut any = false;
        for at in (0..self.steps.len()).rev() {
            any |= self.does_without(|steps| drop(steps.remove(at)));
        }
        for at in 0..self.steps.len() {
            for list in 0..3 {
                let count = lists(&mut self.steps[at]).get(list).map_or(0, |entries| entries.len());
                if count > 0 && self.does_without(|steps| lists(&mut steps[at])[list].clear()) {
                    any = true;
                    continue;
                }
                for entry in (0..count).rev() {
                    any |= self.does_without(|steps| drop(lists(&mut steps[at])[list].remove(entry)));
                }
            }
            any |= self.steps[at].block.is_some() && self.does_without(|steps| steps[at].block = None);
        }
        any
    }

    fn does_without(&mut self, cut: impl FnOnce(&mut Vec<Step>)) -> bool {
        let mut less = self.steps.clone();
        cut(&mut less);
        let Some(why) = still(self.seed, &less) else { return false };
        (self.steps, self.why) = (less, why);
        true
    }
}

fn lists(step: &mut Step) -> Vec<&mut Vec<Entry>> {
    let of_block = step.block.as_mut().map(|offered| &mut offered.block.entries);
    [&mut step.drawn, &mut step.waiting].into_iter().chain(of_block).collect()
}

/// Draws so many histories, on so many threads.
///
/// # Errors
/// Of the first disagreement that is met.
pub fn many(first: u64, count: u64, threads: usize) -> Result<Survey, Box<Disagreement>> {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(Ok(Survey::default()));
    let work = || {
        let mut own = Survey::default();
        let mut outcome = Ok(());
        while outcome.is_ok() && !over.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                break;
            }
            outcome = history(first + at, &mut own);
        }
        over.fetch_or(outcome.is_err(), Ordering::Relaxed);
        let mut found = found.lock().expect("nobody panics while it is held");
        match (&mut *found, outcome) {
            (Ok(all), Ok(())) => all.add(own),
            (Ok(_), Err(disagreement)) => *found = Err(disagreement),
            (Err(_), _) => {}
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    found.into_inner().expect("nobody panicked while it was held")
}

impl Survey {
    fn add(&mut self, other: Survey) {
        let Survey { met, lengths, amended, twice } = other;
        met.into_iter().for_each(|(what, times)| *self.met.entry(what).or_default() += times);
        self.lengths.extend(lengths);
        self.amended += amended;
        self.twice += twice;
    }

    /// The length of a history, in entries, that half of them have at least.
    pub fn median(&self) -> usize {
        let mut lengths = self.lengths.clone();
        lengths.sort();
        lengths.get(lengths.len() / 2).copied().unwrap_or_default()
    }

    /// What such a survey should have met, and did not: else it says little.
    pub fn lacks(&self) -> Vec<String> {
        let never = MUST_BE_MET.iter().filter(|what| !self.met.contains_key(**what));
        let mut lacks: Vec<String> = never.map(|what| format!("never met: {what}")).collect();
        if self.median() < 20 {
            lacks.push(format!("histories of {} entries in the median are too short", self.median()));
        }
        if 10 * self.amended < self.lengths.len() {
            lacks.push(format!("only {} have an amendment", self.amended));
        }
        lacks
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.met {
            writeln!(f, "{times:9} {what}")?;
        }
        let (count, median, Survey { amended, twice, .. }) = (self.lengths.len(), self.median(), self);
        write!(f, "{count} histories, of {median} entries in the median; ")?;
        write!(f, "{amended} with an amendment, {twice} with two or more")
    }
}

/// Every verdict that random histories must have met, or the generator has gone blind somewhere.
const MUST_BE_MET: &[&str] = &[
    "1.5 signature of an endorsement",
    "1.6 first key",
    "1.6 key rotated to",
    "1.6 ticket key",
    "1.6 voting key of a consent",
    "2.1 possession does not hold",
    "2.3 a key that is somebody's",
    "2.3 a key twice",
    "2.3 the key is another's",
    "2.3 the voting key is somebody's",
    "2.4 another key than was committed to",
    "2.4 sequence",
    "2.4 signature of a rotation",
    "3.1 endorsers out of order",
    "3.2 amend",
    "3.2 n",
    "3.4 a key twice",
    "3.7 roles of a seat",
    "3.8 a possession in the terms",
    "3.8 possession of a voting key",
    "3.8 signature of a consent",
    "3.8 terms with a voting key",
    "4.1 another domain",
    "4.11 endorsed",
    "4.11 gone",
    "4.11 how many rotations",
    "4.11 too often in a day",
    "4.11 unknown",
    "4.12 a recovery key is somebody's",
    "4.12 a seat for who does not stand",
    "4.12 a seat for who is not effective",
    "4.12 a voting key in two consents",
    "4.12 consent not by the current key",
    "4.12 consent without a seat",
    "4.12 consents out of order",
    "4.12 epoch",
    "4.12 it strands itself",
    "4.12 last day",
    "4.12 no consent",
    "4.12 previous charter",
    "4.12 too few endorsements",
    "4.12 written",
    "4.12 written too long ago",
    "4.13 a key that did not vote for the subject",
    "4.13 ballots of another domain",
    "4.13 ballots of another epoch",
    "4.13 ballots of two keys",
    "4.13 convicted already",
    "4.13 convicted of holds already",
    "4.13 endorsed",
    "4.13 holds by an earlier key, or none",
    "4.13 holds by somebody else",
    "4.13 holds of another domain",
    "4.13 it would strand the charter",
    "4.13 rotations by an earlier key, or none",
    "4.13 rotations of sequence 0",
    "4.13 rotations of two sequences",
    "4.13 rotations to two keys",
    "4.13 signature of a rotation",
    "4.13 the same rotation twice",
    "4.13 the subject does not stand",
    "4.14 a convicted endorser",
    "4.14 a revoked endorser",
    "4.14 a slot twice",
    "4.14 a suspended endorser",
    "4.14 another domain",
    "4.14 endorsed",
    "4.14 it ends before its basis",
    "4.14 no endorser",
    "4.14 not the current key",
    "4.14 of an earlier day",
    "4.14 too long",
    "4.15 denials out of order",
    "4.15 endorsed",
    "4.15 nobody packs it",
    "4.3 endorsements out of order",
    "4.4 a convicted endorser",
    "4.4 a revoked endorser",
    "4.4 a suspended endorser",
    "4.4 no endorser",
    "4.4 not the current key",
    "4.5 basis later than the block",
    "4.5 basis not below the block",
    "4.5 a renewal for another time",
    "4.5 a renewal of a seat",
    "4.5 a renewal too early",
    "4.5 a renewal too late",
    "4.5 a role that it does not stand with",
    "4.5 basis too old",
    "4.5 no approval here",
    "4.5 no tickets here",
    "4.5 number",
    "4.5 roles out of order",
    "4.5 the subject is convicted",
    "4.5 the subject is gone",
    "4.5 too few endorsements",
    "4.5 unknown role",
    "4.5 window not open",
    "4.5 window too long",
    "4.6 a role beyond the ticket",
    "4.6 a spent ticket",
    "4.6 a ticket for who stands",
    "4.6 a ticket of another domain",
    "4.6 an expired ticket",
    "4.6 roles of the ticket out of order",
    "4.6 uses that no ticket has",
    "4.7 gone already",
    "4.7 it would strand the charter",
    "4.7 too few endorsements",
    "4.7 unknown",
    "5.24 signature of a hold",
    "5.24 slot",
    "8 signature of a ballot",
    "8.15 holds of two slots",
    "8.15 no contradiction",
    "8.15 the same hold twice",
    "a charter that ends a conviction",
    "a charter that leaves every conviction",
    "a valid amendment",
    "a valid denial",
    "a valid grant",
    "a rotation that ends a conviction",
    "a rotation that leaves every conviction",
    "a valid proof of two ballots",
    "a valid proof of two holds",
    "a valid proof of two rotations",
    "a valid record",
    "a valid rotation",
    "block: 4.15 a consent on another basis",
    "block: 4.15 a seat for who does not stand",
    "block: 4.15 a seat for who is restrained",
    "block: 4.15 a suspension shortened",
    "block: 4.15 a suspension that is over",
    "block: 4.15 a voting key in two consents",
    "block: 4.15 another base",
    "block: 4.15 epoch",
    "block: 4.15 gone already",
    "block: 4.15 gone and suspended",
    "block: 4.15 no consent",
    "block: 4.15 number of a suspension",
    "block: 4.15 previous charter",
    "block: 4.15 suspended without standing",
    "block: 6.1 previous",
    "block: 6.2 epoch",
    "block: 6.2 height",
    "block: 6.2 parent",
    "block: 6.2 time",
    "block: 6.3 entries root",
    "block: 6.4 log root",
    "block: 6.5 spine root",
    "block: 6.5 state root",
    "block: 6.7 an entry after an amendment",
    "block: 6.7 a recovery that is not alone",
    "block: 6.7 out of order",
    "block: 6.7 two amendments",
    "block: a valid heartbeat, skipped: false",
    "block: a valid heartbeat, skipped: true",
    "block: a valid recovery",
    "block: a valid recovery, from an earlier block",
    "block: valid, skipped: false",
    "block: valid, skipped: true",
];
