//! A whole run: all domains of a scenario, on as many threads as there are, and what is made of their outcomes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::identity::SecretKey;

use crate::engine::{Plan, TraceHash};
use crate::oracles::Violation;
use crate::report::{Exit, Report, Spread, Tail, peak_rss_bytes};
use crate::scenario::{Expect, Joined, Scenario, Script};
use crate::world::{self, Order, Outcome, Progress};

/// What the command line changes of a scenario, or a recorded failure says of its run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Another seed.
    pub seed: Option<u64>,
    /// How many threads at most; as many as there are processors, if it is not set.
    pub threads: Option<usize>,
    /// The faults of each domain, instead of those that would be drawn.
    pub plans: Option<Vec<Plan>>,
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The figures.
    pub report: Report,
    /// How it ended.
    pub exit: Exit,
    /// What was expected and is not so.
    pub disappointments: Vec<String>,
    /// What broke and was not to, in the order of domains and time.
    pub violations: Vec<Violation>,
    /// What broke as the scenario expects, likewise. The report counts both.
    pub expected: Vec<Violation>,
    /// The faults that happened, by domain: with the seed, all that a replay needs.
    pub plans: Vec<Plan>,
    /// What else is worth knowing, and how often it happened.
    pub notes: BTreeMap<String, u64>,
    /// Figures that are for people only.
    pub aside: Aside,
}

/// Figures that are for people only: some of them differ from run to run.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// How many domains there were.
    pub domains: usize,
    /// On how many threads they ran.
    pub threads: usize,
    /// How many entries became final.
    pub entries: u64,
    /// How many identities are gone.
    pub gone: u64,
    /// The epoch that every domain came to: the least.
    pub epoch: u64,
    /// How many identities are suspended at the end.
    pub suspended: u64,
    /// How many were convicted, or removed by a proof.
    pub convicted: u64,
    /// How many were found to run on two machines.
    pub cloned: u64,
    /// How many identities are effective members at the end.
    pub effective: u64,
    /// How many renewals are final.
    pub renewals: u64,
    /// How many members that run answer *stale* at the end.
    pub stale: u64,
    /// The longest time that a domain was without a new final block.
    pub silence_ms: u64,
    /// How many faults happened.
    pub faults: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Lost gossip that was repaired.
    pub repaired: u64,
    /// Checks that were asked for.
    pub checks_asked: u64,
    /// How many messages of each kind were sent or published, and how many bytes they had.
    pub sent: BTreeMap<&'static str, (u64, u64)>,
    /// Transitions asked for, and computed.
    pub transitions: (u64, u64),
    /// What the distinct signatures alone take on one processor: the checks as measured in this run, and a measured rate of signing.
    pub signatures_alone: Duration,
    /// What the links alone take for the median join.
    pub join_links_ms: Spread,
}

/// Runs `scenario`.
///
/// # Errors
/// The [`Fault`] for which a charter of the scenario is refused.
pub fn run(scenario: &Scenario, options: &Options, progress: &Progress) -> Result<Finished, Fault> {
    let begun = Instant::now();
    let script = &scenario.script;
    let seed = options.seed.unwrap_or(script.seed);
    let newcomers = script.newcomers_by_domain();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = options.threads.unwrap_or(processors).max(1);
    let threads = processors.min(newcomers.len());
    let orders: Vec<Order> = (0..newcomers.len() as u32)
        .map(|domain| {
            let recorded = options.plans.as_ref().and_then(|plans| plans.get(domain as usize)).cloned();
            let plan = recorded.unwrap_or_else(|| world::draw(script, domain, seed));
            let spare_processor = processors > threads;
            Order { domain, newcomers: newcomers[domain as usize], seed, plan, spare_processor }
        })
        .collect();
    let outcomes = in_parallel(script, &orders, threads, progress)?;
    Ok(conclude(scenario, seed, orders, outcomes, threads, begun))
}

/// Each thread takes the next domain until none is left. Which thread runs which makes no difference: domains share nothing.
fn in_parallel(
    script: &Script,
    orders: &[Order],
    threads: usize,
    progress: &Progress,
) -> Result<Vec<Outcome>, Fault> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<Outcome, Fault>>>> = orders.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(order) = orders.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = world::run(script, order, progress);
                    *done[order.domain as usize].lock().expect("nobody panicked with it") = Some(outcome);
                }
            });
        }
    });
    done.into_iter()
        .map(|outcome| outcome.into_inner().expect("nobody panicked with it").expect("every domain was run"))
        .collect()
}

fn conclude(
    scenario: &Scenario,
    seed: u64,
    orders: Vec<Order>,
    outcomes: Vec<Outcome>,
    threads: usize,
    begun: Instant,
) -> Finished {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let spread = |of: fn(&Outcome) -> &Vec<u64>| {
        Spread::of_us(outcomes.iter().flat_map(|outcome| of(outcome).iter().copied()).collect())
    };
    let mut violations: Vec<Violation> =
        outcomes.iter().flat_map(|outcome| outcome.violations.clone()).collect();
    violations.sort_by_key(|violation| (violation.domain, violation.at_ms));
    let signatures_made = sum(|outcome| outcome.signatures_made);
    let checking: Duration = outcomes.iter().map(|outcome| outcome.checking).sum();
    let mut notes = BTreeMap::new();
    for (what, count) in outcomes.iter().flat_map(|outcome| &outcome.notes) {
        *notes.entry(what.clone()).or_default() += count;
    }
    for (_, why) in outcomes.iter().flat_map(|outcome| &outcome.failed) {
        *notes.entry(format!("a newcomer gave up: {why}")).or_default() += 1;
    }
    let mut sent: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for (name, (count, bytes)) in outcomes.iter().flat_map(|outcome| &outcome.sent) {
        let total = sent.entry(*name).or_default();
        *total = (total.0 + count, total.1 + bytes);
    }
    let aside = Aside {
        sent,
        domains: outcomes.len(),
        threads,
        entries: sum(|outcome| outcome.entries),
        gone: sum(|outcome| outcome.gone),
        epoch: outcomes.iter().map(|outcome| outcome.epoch).min().unwrap_or(1),
        suspended: sum(|outcome| outcome.suspended),
        convicted: sum(|outcome| outcome.convicted),
        cloned: sum(|outcome| outcome.cloned.len() as u64),
        effective: sum(|outcome| outcome.effective),
        renewals: sum(|outcome| outcome.renewals),
        stale: sum(|outcome| outcome.stale),
        silence_ms: outcomes.iter().map(|outcome| outcome.silence_us.div_ceil(1_000)).max().unwrap_or(0),
        faults: sum(|outcome| outcome.faults),
        lost: sum(|outcome| outcome.counters.lost),
        repaired: sum(|outcome| outcome.counters.repaired),
        checks_asked: sum(|outcome| outcome.checks_asked),
        transitions: (sum(|outcome| outcome.transitions.0), sum(|outcome| outcome.transitions.1)),
        signatures_alone: checking + signing_takes(signatures_made),
        join_links_ms: spread(|outcome| &outcome.join_links_us),
    };
    let report = Report {
        scenario: scenario.name.clone(),
        seed,
        nodes: sum(|outcome| outcome.nodes.into()),
        joined: sum(|outcome| outcome.join_us.len() as u64),
        converged: outcomes.iter().all(|outcome| outcome.converged),
        violations: violations.len() as u64,
        virtual_ms: outcomes.iter().map(|outcome| outcome.virtual_ms).max().unwrap_or(0),
        wall_ms: begun.elapsed().as_millis() as u64,
        events: sum(|outcome| outcome.counters.events),
        deliveries: sum(|outcome| outcome.counters.deliveries),
        bytes_sent: sum(|outcome| outcome.counters.bytes),
        blocks: sum(|outcome| outcome.blocks),
        signatures_made,
        signatures_checked: sum(|outcome| outcome.signatures_checked),
        peak_rss_bytes: peak_rss_bytes(),
        join_latency_ms: spread(|outcome| &outcome.join_us),
        convergence_ms: spread(|outcome| &outcome.convergence_us),
        refusal_latency_ms: Tail::of_us(
            outcomes.iter().flat_map(|outcome| outcome.refusal_us.iter().copied()).collect(),
        ),
        amend_latency_ms: spread(|outcome| &outcome.amend_us),
        state_hash: TraceHash::combine("states", outcomes.iter().map(|outcome| &outcome.state_hash)),
        trace_hash: TraceHash::combine("traces", outcomes.iter().map(|outcome| &outcome.trace_hash.0)),
    };
    let expect = &scenario.script.expect;
    let mut disappointments = disappointments(&scenario.script, &report, &aside);
    for invariant in &expect.broken {
        if !violations.iter().any(|violation| violation.invariant == *invariant) {
            disappointments.push(format!("{invariant:?} holds; it should have broken"));
        }
    }
    let (expected, violations): (Vec<_>, Vec<_>) =
        violations.into_iter().partition(|violation| expect.allows(violation));
    let exit = if violations.iter().any(|violation| violation.invariant.is_safety()) {
        Exit::Safety
    } else if !violations.is_empty() {
        Exit::Liveness
    } else if outcomes.iter().any(|outcome| outcome.cut_off) {
        Exit::CutOff
    } else if !disappointments.is_empty() {
        Exit::Disappointed
    } else {
        Exit::Holds
    };
    let plans = orders.into_iter().map(|order| order.plan).collect();
    Finished { report, exit, disappointments, violations, expected, plans, notes, aside }
}

/// How long `count` signatures take on one processor, at the rate of some that are made now.
fn signing_takes(count: u64) -> Duration {
    const SAMPLE: u8 = 200;
    let key = SecretKey::from_seed([1; 32]);
    let begun = Instant::now();
    for byte in 0..SAMPLE {
        std::hint::black_box(key.sign(&Hash([byte; 32])));
    }
    begun.elapsed() * u32::try_from(count).unwrap_or(u32::MAX) / u32::from(SAMPLE)
}

fn disappointments(script: &Script, report: &Report, aside: &Aside) -> Vec<String> {
    let Expect {
        joined,
        converged,
        gone,
        suspended,
        convicted,
        cloned,
        effective,
        renewals_at_least,
        stale,
        epoch,
        join_p50_ms_at_most,
        join_p99_ms_at_most,
        join_p50_percent_of_links_at_most,
        convergence_p99_ms_at_most,
        refusal_p999_ms_at_most,
        amend_ms_at_most,
        blocks_at_least,
        silence_ms_at_most,
        broken: _,
        broken_until_ms: _,
    } = &script.expect;
    let mut wrong = Vec::new();
    let wanted = match joined {
        Some(Joined::All) => Some(script.mesh.newcomers.into()),
        Some(Joined::Exactly(count)) => Some(u64::from(*count)),
        None => None,
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != report.joined) {
        wrong.push(format!(
            "{} of {} newcomers joined; {wanted} should have",
            report.joined, script.mesh.newcomers
        ));
    }
    if converged.is_some_and(|wanted| wanted != report.converged) {
        let what = if report.converged { "every live member has" } else { "not every live member has" };
        wrong.push(format!("{what} the newest state of its domain"));
    }
    if let Some(gone) = gone.filter(|gone| u64::from(*gone) != aside.gone) {
        wrong.push(format!("{} identities are gone; {gone} should be", aside.gone));
    }
    if let Some(wanted) = epoch.filter(|wanted| *wanted != aside.epoch) {
        wrong.push(format!("the last epoch is {}; it should be {wanted}", aside.epoch));
    }
    if let Some(wanted) = suspended.filter(|wanted| u64::from(*wanted) != aside.suspended) {
        wrong.push(format!("{} identities are suspended; {wanted} should be", aside.suspended));
    }
    if let Some(wanted) = convicted.filter(|wanted| u64::from(*wanted) != aside.convicted) {
        wrong.push(format!("{} identities were convicted; {wanted} should be", aside.convicted));
    }
    if let Some(wanted) = cloned.filter(|wanted| u64::from(*wanted) != aside.cloned) {
        wrong.push(format!(
            "{} identities were found to run on two machines; {wanted} should be",
            aside.cloned
        ));
    }
    if let Some(wanted) = effective.filter(|wanted| u64::from(*wanted) != aside.effective) {
        wrong.push(format!("{} identities are effective members; {wanted} should be", aside.effective));
    }
    if let Some(wanted) = renewals_at_least.filter(|wanted| aside.renewals < *wanted) {
        wrong.push(format!("{} renewals are final; {wanted} should be, at least", aside.renewals));
    }
    if let Some(wanted) = stale.filter(|wanted| u64::from(*wanted) != aside.stale) {
        wrong.push(format!("{} members answer «stale»; {wanted} should", aside.stale));
    }
    let mut at_most = |what: &str, is: Option<u64>, most: &Option<u64>| {
        if let Some(most) = most
            && is.is_none_or(|is| is > *most)
        {
            let is = is.map_or("not known: there was none".to_owned(), |is| is.to_string());
            wrong.push(format!("{what} is {is}; it may be {most}"));
        }
    };
    at_most("the median join, in ms,", report.join_latency_ms.p50, join_p50_ms_at_most);
    at_most("the 99th percentile of joins, in ms,", report.join_latency_ms.p99, join_p99_ms_at_most);
    let percent =
        report.join_latency_ms.p50.zip(aside.join_links_ms.p50).map(|(is, links)| is * 100 / links.max(1));
    at_most(
        "the median join, in per cent of what the links take,",
        percent,
        join_p50_percent_of_links_at_most,
    );
    at_most(
        "the 99th percentile of convergence, in ms,",
        report.convergence_ms.p99,
        convergence_p99_ms_at_most,
    );
    at_most(
        "the 99.9th percentile of refusals, in ms,",
        report.refusal_latency_ms.p999,
        refusal_p999_ms_at_most,
    );
    at_most("the longest amendment, in ms,", report.amend_latency_ms.max, amend_ms_at_most);
    at_most("the longest silence, in ms,", Some(aside.silence_ms), silence_ms_at_most);
    if let Some(least) = blocks_at_least.filter(|least| *least > report.blocks) {
        wrong.push(format!("{} blocks are final; at least {least} should be", report.blocks));
    }
    wrong
}
