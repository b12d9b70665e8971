//! Agreement for the model checker: the shipped engine, stepped through every order of events within bounds.
//!
//! A [`State`] is a row of honest seats and how many crashes are still to come. There is no network in it: whatever an honest seat ever
//! said, and whatever the liar can sign, can be heard by anybody at any time, any number of times, or never. So loss, delay, reordering
//! and duplication are all there without being counted. What a seat does when it hears something depends on the seat alone, so each
//! seat's reaction to each stimulus is computed once ([`Table::reaction`]); the search then only puts seats together.
//!
//! What makes the search small, and why nothing is lost by it:
//!
//! - **Time is a choice.** A time-out may come whenever it could; clocks, and how long time-outs are, do not occur. Every
//!   schedule of clocks is one of these orders of events. Work always waits and leaders propose at once: a leader that keeps silent says
//!   no more than one whose proposal is lost.
//! - **Certificates instead of ballots**, at seats that are not [`Watched`]. Below a quorum, a ballot of another moves a seat to nothing:
//!   it is counted, and compared for contradictions. A quorum of ballots moves it as the certificate of them does. So a seat is handed
//!   certificates of whatever Q seats have signed, or the liar can; by whom does not matter to what it signs. How ballots are counted
//!   and compared is searched at watched seats, which hear each ballot alone, and each certificate by each quorum.
//! - **A proposal is heard when it is voted for**, at seats that are not watched: heard earlier or later it leaves behind a body, which
//!   may be handed over by itself when it is lacking, and bars a second proposal, as if that had been lost.
//! - **Seats that lead nothing within the bounds are alike**: a state is its seats in any order ([`State::hash`]).
//! - **The liar's second block of a parent is only heard once its first was voted for**: they are alike until then.
//! - **Where a watched seat has told of a lie in every iteration the search ends**: there is nothing more to tell.
//! - **Journals do not count once no crash is to come**: they are read at a start alone.
//!
//! Where [`Setup::last_height`] has blocks end their epoch, one block is proposed, notarised and finalised in more than one iteration
//! (SPEC 8.18). That takes nothing away from the above:
//!
//! - Ballots and certificates are told apart by iteration here as they are in the engine, which keeps them in rounds: two notarisations of
//!   one block are two things to hear, in any order, or never. Proposals come without certificates: whether the liar proposes the block
//!   again rightly depends on which dummy certificates a seat has heard, so both are searched.
//! - A proposal whose block is known leaves behind less than any other: not even a body. Heard when it is voted for, it loses nothing.
//! - A leader proposes again at once: half of the time-out is time, too. And the liar's two blocks stay alike: either comes again.
//! - What is made beyond the bounds does not count, but a block that is only proposed again there was made within them.
//! - A seat that is done with the epoch hears on. If it loses power with the last block durable its owner would take no seat in this epoch
//!   any more: here the engine from before stays, which can do only more.
//!
//! Every block at that height is a last one, the liar's too; what extends one is refused by each ledger. Where L4 is checked, who is
//! done shows the end to whoever is not (SPEC 8.21).

mod heal;
mod shelf;
mod stand;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use stateright::{Model, Property};

use super::bench::{LAST, Tiny, V, config};
use crate::agreement::planted::Planted;
use crate::agreement::*;
use crate::state::BlockId;
use crate::time::Timestamp;
use BallotKind::{Dummy, Finalise, Propose, Vote as Real};
use shelf::tiny;
use stand::{Reaction, Stand, Stimulus, Wrong};

/// Which seats hear each ballot alone, and each certificate by each quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Nobody,
    One(V),
    All,
}

/// What is searched.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// The table, with its epoch and the block that it starts on. Whose `me` it is does not matter.
    pub(super) table: Config<V>,
    /// Who lies: signs anything, in any order, to anybody, within the bounds.
    pub(super) liar: Option<V>,
    /// How many iterations.
    pub(super) iterations: u64,
    /// How many blocks a liar makes on each parent when it leads.
    pub(super) lies: u64,
    /// How often an honest seat loses power, at any point between two outputs, and comes back.
    pub(super) crashes: u8,
    pub(super) watched: Watched,
    /// At which height all blocks end their epoch, if any do (SPEC 8.18).
    pub(super) last_height: Option<u64>,
    /// Of how many states one is healed, to see whether the log goes on (L4).
    pub(super) heals_one_in: u64,
    /// A rule that honest seats do not keep.
    pub(super) planted: Option<Planted>,
    /// Whether honest seats come back without their journal and do not say so.
    pub(super) forgets_journals: bool,
}

impl Setup {
    /// Of `n` seats; nobody lies or crashes.
    pub(super) fn of(n: u8, iterations: u64) -> Setup {
        Setup {
            table: Config { first_timeout_ms: 1, timeout_cap_ms: 1, ..config(n, 0) },
            liar: None,
            iterations,
            lies: 2,
            crashes: 0,
            watched: Watched::Nobody,
            last_height: None,
            heals_one_in: 1,
            planted: None,
            forgets_journals: false,
        }
    }

    fn watches(&self, seat: V) -> bool {
        match self.watched {
            Watched::Nobody => false,
            Watched::One(watched) => watched == seat,
            Watched::All => true,
        }
    }

    fn ballot(&self, iteration: u64, kind: BallotKind, block: BlockId) -> Ballot {
        Ballot { domain: self.table.domain, epoch: self.table.epoch, iteration, kind, block }
    }

    /// Whether that is no certificate, whatever its ballots are.
    fn is_forged(&self, ballot: &Ballot, voters: &[V]) -> bool {
        ballot.epoch != self.table.epoch || !voters.is_sorted_by(|a, b| a < b)
    }

    /// A block that was made final in the epoch before: its certificates are signed by everybody, and mean nothing here.
    fn foreign(&self) -> Tiny {
        Tiny {
            parent: self.table.genesis,
            height: self.table.genesis_height + 1,
            time: Timestamp::ZERO,
            entries: 999,
            body_is_good: true,
        }
    }
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let liar = match self.liar {
            None => "none".to_owned(),
            Some(liar) => match (1..=self.iterations).find(|iteration| self.table.leader(*iteration) == liar)
            {
                None => "leads none".to_owned(),
                Some(led) => format!("leads {led}"),
            },
        };
        let watched = match self.watched {
            Watched::Nobody => "none",
            Watched::One(_) => "one",
            Watched::All => "all",
        };
        let last = self.last_height.map_or_else(|| "–".to_owned(), |height| height.to_string());
        let Setup { iterations, crashes, heals_one_in, .. } = self;
        let seats = self.table.voters.len();
        write!(f, "{seats} | {liar} | {iterations} | {last} | {crashes} | {watched} | {heals_one_in}")
    }
}

/// The honest seats, and how many crashes are still to come.
#[derive(Clone, Debug)]
pub(super) struct State {
    seats: Vec<Arc<Stand>>,
    crashes: u8,
}

impl State {
    fn prints(&self) -> Vec<u64> {
        let print =
            |seat: &Arc<Stand>| if self.crashes > 0 { seat.print } else { seat.print_without_journal };
        let mut prints: Vec<u64> = self.seats.iter().map(print).collect();
        // A print names its seat, but for seats that are alike.
        prints.sort_unstable();
        prints
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.prints(), self.crashes).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        (self.prints(), self.crashes) == (other.prints(), other.crashes)
    }
}

/// What happens to which seat, and what comes of it.
#[derive(Clone)]
pub(super) struct Action {
    seat: usize,
    stimulus: Stimulus,
    then: Arc<Stand>,
    crashes: bool,
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let crashes = if self.crashes { ", and loses power" } else { "" };
        write!(f, "seat {}: {}{crashes}", self.then.seat(), self.stimulus)
    }
}

impl PartialEq for Action {
    fn eq(&self, other: &Action) -> bool {
        (self.seat, &self.stimulus, self.then.print) == (other.seat, &other.stimulus, other.then.print)
    }
}

/// A reaction, each seat in it being the only one of its kind.
struct Known {
    after: Option<Arc<Stand>>,
    crashed: Vec<Arc<Stand>>,
}

#[derive(Default)]
struct Memory {
    stands: BTreeMap<(V, u64), Arc<Stand>>,
    reactions: BTreeMap<(V, u64, Stimulus), Arc<Known>>,
}

impl Memory {
    fn keep(&mut self, stand: Stand) -> Arc<Stand> {
        let key = (stand.seat(), stand.print);
        Arc::clone(self.stands.entry(key).or_insert_with(|| Arc::new(stand)))
    }
}

/// The model.
pub(super) struct Table {
    pub(super) setup: Setup,
    memory: Mutex<Memory>,
}

impl Table {
    pub(super) fn new(setup: Setup) -> Table {
        Table { setup, memory: Mutex::default() }
    }

    fn reaction(&self, seat: &Stand, stimulus: &Stimulus) -> Arc<Known> {
        let mut memory = self.memory.lock().expect("a search has panicked");
        let key = (seat.seat(), seat.print, stimulus.clone());
        if let Some(known) = memory.reactions.get(&key) {
            return Arc::clone(known);
        }
        let Reaction { after, crashed } = seat.react(&self.setup, stimulus);
        let after = after.map(|stand| memory.keep(stand));
        let mut crashed: Vec<Arc<Stand>> = crashed.into_iter().map(|stand| memory.keep(stand)).collect();
        crashed.sort_by_key(|stand| stand.print);
        crashed.dedup_by_key(|stand| stand.print);
        let known = Arc::new(Known { after, crashed });
        memory.reactions.insert(key, Arc::clone(&known));
        known
    }

    /// Blocks that the liar may propose, by the proposal.
    fn lies(&self, state: &State) -> BTreeMap<Ballot, Tiny> {
        let setup = &self.setup;
        let mut lies = BTreeMap::new();
        let Some(liar) = setup.liar else { return lies };
        for iteration in (1..=setup.iterations).filter(|iteration| setup.table.leader(*iteration) == liar) {
            let older: BTreeMap<BlockId, Tiny> = state
                .seats
                .iter()
                .flat_map(|seat| {
                    let proposals =
                        seat.said.iter().filter(|said| said.kind == Propose && said.iteration < iteration);
                    proposals.map(|said| seat.proposed[&said.block].clone())
                })
                .chain(lies.values().cloned())
                .map(|block: Tiny| (block.id(), block))
                .collect();
            let below = (setup.table.genesis, setup.table.genesis_height);
            let parents = older.iter().map(|(id, block)| (*id, block.height)).chain([below]);
            let mut made = Vec::new();
            for (parent, height) in parents {
                for lie in 1..=setup.lies {
                    let block = tiny(setup.last_height, parent, height + 1, 10 * iteration + lie);
                    let is_voted_for =
                        |ballot: Ballot| state.seats.iter().any(|seat| seat.said.contains(&ballot));
                    made.push((setup.ballot(iteration, Propose, block.id()), block.clone()));
                    if setup.watched == Watched::Nobody
                        && !is_voted_for(setup.ballot(iteration, Real, block.id()))
                    {
                        break;
                    }
                }
            }
            // A last block may come again, rightly or not: what else has to be known for it, comes apart.
            let last = older.into_iter().filter(|(_, block)| block.entries & LAST != 0);
            made.extend(last.map(|(id, block)| (setup.ballot(iteration, Propose, id), block)));
            lies.extend(made);
        }
        lies
    }

    /// What the seats have said, by whom; and every body.
    fn said(&self, state: &State) -> (BTreeMap<Ballot, BTreeSet<V>>, BTreeMap<Ballot, Tiny>) {
        let mut said: BTreeMap<Ballot, BTreeSet<V>> = BTreeMap::new();
        let mut proposals = self.lies(state);
        for seat in &state.seats {
            for ballot in &seat.said {
                if ballot.kind == Propose {
                    proposals.insert(*ballot, seat.proposed[&ballot.block].clone());
                } else {
                    said.entry(*ballot).or_default().insert(seat.seat());
                }
            }
        }
        (said, proposals)
    }

    /// What `seat` may hear of what was said, and of what the liar likes to say.
    fn talk(
        &self,
        seat: &Stand,
        said: &BTreeMap<Ballot, BTreeSet<V>>,
        proposals: &BTreeMap<Ballot, Tiny>,
        stimuli: &mut Vec<Stimulus>,
    ) {
        let setup = &self.setup;
        let (me, quorum) = (seat.seat(), setup.table.quorum);
        let watched = setup.watches(me);
        for (ballot, block) in proposals {
            if setup.table.leader(ballot.iteration) != me {
                stimuli.push(Stimulus::Proposal(*ballot, block.clone()));
            }
        }
        for (ballot, voters) in said {
            if watched {
                let others = voters.iter().filter(|voter| **voter != me);
                stimuli.extend(others.map(|voter| Stimulus::Ballot(*voter, *ballot)));
            }
            let signers: Vec<V> = voters.iter().copied().chain(setup.liar).collect();
            if let Some(liar) = setup.liar {
                let mut repeated = signers.clone();
                repeated.resize(quorum.max(signers.len()), liar);
                stimuli.extend((signers.len() < quorum).then_some(Stimulus::Certificate(*ballot, repeated)));
            }
            let is_news = seat
                .engine
                .round(ballot.iteration)
                .is_none_or(|round| round.certificate(ballot.kind).is_none());
            if watched {
                let sets = subsets(&signers, quorum);
                stimuli.extend(sets.into_iter().map(|voters| Stimulus::Certificate(*ballot, voters)));
            } else if signers.len() >= quorum && is_news && ballot.iteration > seat.engine.head.iteration {
                // Our own ballot first: whether we know it is asked then.
                let mut first = signers;
                first.sort_by_key(|voter| (*voter != me, Some(*voter) == setup.liar));
                first.truncate(quorum);
                first.sort_unstable();
                stimuli.push(Stimulus::Certificate(*ballot, first));
            }
        }
        let Some(liar) = setup.liar else { return };
        if watched {
            let named = proposals
                .keys()
                .flat_map(|proposal| [Real, Finalise].map(|kind| Ballot { kind, ..*proposal }));
            let dummies =
                (1..=setup.iterations).map(|iteration| setup.ballot(iteration, Dummy, BlockId::NONE));
            stimuli.extend(named.chain(dummies).map(|ballot| Stimulus::Ballot(liar, ballot)));
        }
        for (kind, block) in [(Real, self.setup.foreign().id()), (Finalise, self.setup.foreign().id())] {
            let ballot = Ballot { epoch: setup.table.epoch - 1, ..setup.ballot(1, kind, block) };
            stimuli.push(Stimulus::Certificate(ballot, setup.table.voters.clone()));
        }
    }

    /// Every block that a quorum has finalised.
    fn finalised(&self, said: &BTreeMap<Ballot, BTreeSet<V>>) -> BTreeSet<BlockId> {
        let liars = usize::from(self.setup.liar.is_some());
        let is_final = |(ballot, voters): &(&Ballot, &BTreeSet<V>)| {
            ballot.kind == Finalise && voters.len() + liars >= self.setup.table.quorum
        };
        said.iter().filter(is_final).map(|(ballot, _)| ballot.block).collect()
    }

    /// S3: every block that was told to be final, or that a quorum has finalised, whoever has noticed.
    fn finals(&self, state: &State) -> (BTreeSet<BlockId>, BTreeMap<BlockId, Tiny>) {
        let mut finals: BTreeSet<BlockId> =
            state.seats.iter().flat_map(|seat| seat.told.iter().copied()).collect();
        let (said, proposals) = self.said(state);
        finals.extend(self.finalised(&said));
        let mut bodies: BTreeMap<BlockId, Tiny> =
            state.seats.iter().flat_map(|seat| seat.shelf.blocks.clone()).collect();
        bodies.extend(proposals.into_values().map(|block| (block.id(), block)));
        (finals, bodies)
    }

    fn has_final(state: &State) -> bool {
        let is_finalised =
            |seat: &Arc<Stand>| !seat.told.is_empty() || seat.said.iter().any(|said| said.kind == Finalise);
        state.seats.iter().any(is_finalised)
    }

    fn keeps_one_log(&self, state: &State) -> bool {
        if !Table::has_final(state) {
            return true;
        }
        let (finals, bodies) = self.finals(state);
        let is_ancestor =
            |old: &BlockId, new: &BlockId| old == new || ancestors(&bodies, new).any(|block| block == *old);
        finals.iter().all(|a| finals.iter().all(|b| is_ancestor(a, b) || is_ancestor(b, a)))
    }

    /// SPEC 8.18: nothing that is final extends a last block.
    fn ends_with_the_last(&self, state: &State) -> bool {
        if self.setup.last_height.is_none() || !Table::has_final(state) {
            return true;
        }
        let (finals, bodies) = self.finals(state);
        let is_last = |id: BlockId| bodies.get(&id).is_some_and(|block: &Tiny| block.entries & LAST != 0);
        !finals.iter().any(|id| ancestors(&bodies, id).any(is_last))
    }

    /// SPEC 8.12: what was told to be final was finalised by a quorum, in one iteration.
    fn tells_what_is_final(&self, state: &State) -> bool {
        let mut told = state.seats.iter().flat_map(|seat| &seat.told).peekable();
        if told.peek().is_none() {
            return true;
        }
        let (said, proposals) = self.said(state);
        let finalised = self.finalised(&said);
        // A lone seat goes on beyond the bounds, where nobody notes what it says.
        let is_within = |id| proposals.keys().any(|proposal| proposal.block == id);
        told.all(|block| finalised.contains(block) || !is_within(*block))
    }

    fn is_free_of(state: &State, wrongs: &[Wrong]) -> bool {
        state.seats.iter().all(|seat| wrongs.iter().all(|wrong| !seat.wrong.contains(wrong)))
    }
}

/// The ids of all that this block extends.
fn ancestors(bodies: &BTreeMap<BlockId, Tiny>, of: &BlockId) -> impl Iterator<Item = BlockId> {
    let parent = |id: &BlockId| bodies.get(id).map(|block| block.parent);
    std::iter::successors(parent(of), move |id| parent(id))
}

/// The subsets of so many.
fn subsets(of: &[V], count: usize) -> Vec<Vec<V>> {
    let all = 0_u32..1 << of.len();
    let chosen = all.filter(|set| set.count_ones() as usize == count);
    let members = |set: u32| {
        let mut members: Vec<V> =
            of.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, seat)| *seat).collect();
        members.sort_unstable();
        members
    };
    chosen.map(members).collect()
}

/// The properties, by name.
pub(super) const ONE_LOG: &str = "S3: no two final blocks neither of which is an ancestor of the other";
pub(super) const NEVER_CONTRADICTS: &str = "S5: durable before said, and no honest seat contradicts itself";
pub(super) const LIES_ARE_PROOF: &str =
    "S7: contradictions that are heard are told, and the honest are not blamed";
pub(super) const GOES_ON: &str = "L4: once faults stop, a further block becomes final";
pub(super) const ALL_FINAL: &str =
    "somewhere every iteration makes a block final, or the last block is final after it was voted for again";
pub(super) const PROVEN: &str = "S3: what is told to be final was finalised by a quorum, in one iteration";
pub(super) const ENDS: &str = "8.18: nothing final extends a last block";
pub(super) const OVER: &str = "8.19: whoever holds the last block final signs nothing more";

impl Model for Table {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let setup = &self.setup;
        let honest = setup.table.voters.iter().filter(|seat| Some(**seat) != setup.liar);
        let mut memory = self.memory.lock().expect("a search has panicked");
        let seats = honest.map(|seat| memory.keep(Stand::new(setup, *seat))).collect();
        vec![State { seats, crashes: setup.crashes }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.seats.iter().any(|seat| seat.has_told_all(&self.setup)) {
            return;
        }
        let (said, proposals) = self.said(state);
        let bodies: BTreeMap<BlockId, Tiny> = proposals
            .values()
            .cloned()
            .chain(self.setup.planted.map(|_| self.setup.foreign()))
            .map(|block| (block.id(), block))
            .collect();
        let mut stimuli = Vec::new();
        for (at, seat) in state.seats.iter().enumerate() {
            self.talk(seat, &said, &proposals, &mut stimuli);
            let missing = seat.engine.missing_blocks();
            stimuli.extend(missing.iter().filter_map(|id| bodies.get(id)).cloned().map(Stimulus::Body));
            if seat.engine.iteration() <= self.setup.iterations {
                stimuli.push(Stimulus::TimeOut);
                stimuli.extend(seat.engine.may_propose().then_some(Stimulus::Nudge));
            }
            if state.crashes > 0 {
                stimuli.extend(seat.ways_to_lose_power().iter().copied().map(Stimulus::Crash));
            }
            for stimulus in stimuli.drain(..) {
                let known = self.reaction(seat, &stimulus);
                let is_crash = matches!(stimulus, Stimulus::Crash(_));
                let mut then = |then: &Arc<Stand>, crashes| {
                    let (stimulus, then) = (stimulus.clone(), Arc::clone(then));
                    actions.push(Action { seat: at, stimulus, then, crashes });
                };
                if let Some(after) = &known.after {
                    then(after, is_crash);
                }
                if state.crashes > 0 {
                    known.crashed.iter().for_each(|crashed| then(crashed, true));
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.seats[action.seat] = action.then;
        next.crashes -= u8::from(action.crashes);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_LOG, |table: &Table, state: &State| {
                table.keeps_one_log(state) && Table::is_free_of(state, &[Wrong::SeesAFork])
            }),
            Property::always(NEVER_CONTRADICTS, |_: &Table, state: &State| {
                use Wrong::{CallsJournalLost, ContradictsItself, SaidBeforeDurable};
                Table::is_free_of(state, &[SaidBeforeDurable, ContradictsItself, CallsJournalLost])
            }),
            Property::always(LIES_ARE_PROOF, |_: &Table, state: &State| {
                Table::is_free_of(state, &[Wrong::KeepsALieToItself, Wrong::BlamesTheHonest])
            }),
            Property::always(GOES_ON, |table: &Table, state: &State| {
                let every = table.setup.heals_one_in;
                let is_drawn = every > 0 && state.prints().iter().fold(0, |all, one| all ^ one) % every == 0;
                !is_drawn || heal::goes_on(table, state)
            }),
            Property::sometimes(ALL_FINAL, |table: &Table, state: &State| {
                let Some(height) = table.setup.last_height else {
                    return state.seats.iter().any(|seat| seat.told.len() as u64 == table.setup.iterations);
                };
                // A lone seat makes its votes final at once, and says nothing.
                let may_come_again = height < table.setup.iterations && table.setup.table.quorum > 1;
                let times = if may_come_again { 2 } else { 0 };
                state.seats.iter().filter(|seat| seat.shelf.is_over()).any(|seat| {
                    let again = |said: &&Ballot| said.kind == Real && said.block == seat.shelf.head;
                    seat.said.iter().filter(again).count() >= times
                })
            }),
            Property::always(PROVEN, Table::tells_what_is_final),
            Property::always(ENDS, Table::ends_with_the_last),
            Property::always(OVER, |_: &Table, state: &State| {
                Table::is_free_of(state, &[Wrong::SignsWhenOver])
            }),
        ]
    }
}
