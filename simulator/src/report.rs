//! What a run reports: the figures of `--json`, whose names others rely on, and a text for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::engine::TraceHash;
use crate::run::Finished;

/// How a run ended: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything holds.
    Holds = 0,
    /// An expectation of the scenario failed.
    Disappointed = 1,
    /// Bad usage or input.
    BadInput = 2,
    /// A safety invariant broke.
    Safety = 3,
    /// Liveness failed.
    Liveness = 4,
    /// The budget cut it off.
    CutOff = 5,
}

impl Exit {
    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Holds => "everything holds",
            Exit::Disappointed => "an expectation failed",
            Exit::BadInput => "bad usage or input",
            Exit::Safety => "a safety invariant broke",
            Exit::Liveness => "liveness failed",
            Exit::CutOff => "cut off: the budget of events is spent",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// The middle, the tail and the end of some durations, in milliseconds, rounded up; none if there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Half of them are no longer.
    pub p50: Option<u64>,
    /// 99 of 100 are no longer.
    pub p99: Option<u64>,
    /// None is longer.
    pub max: Option<u64>,
}

impl Spread {
    /// The spread of durations in microseconds.
    pub fn of_us(all: Vec<u64>) -> Spread {
        let Tail { p50, p99, p999: _, max } = Tail::of_us(all);
        Spread { p50, p99, max }
    }
}

/// The same with one more rank, for what there are many of and none may be slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tail {
    /// Half of them are no longer.
    pub p50: Option<u64>,
    /// 99 of 100 are no longer.
    pub p99: Option<u64>,
    /// 999 of 1,000 are no longer.
    pub p999: Option<u64>,
    /// None is longer.
    pub max: Option<u64>,
}

impl Tail {
    /// The tail of durations in microseconds.
    pub fn of_us(mut all: Vec<u64>) -> Tail {
        all.sort_unstable();
        let rank = |permille: usize| {
            let at = (all.len() * permille).div_ceil(1_000).checked_sub(1)?;
            all.get(at).map(|us| us.div_ceil(1_000))
        };
        Tail { p50: rank(500), p99: rank(990), p999: rank(999), max: rank(1_000) }
    }
}

/// The figures of a run: exactly the fields of the object that `--json` ends with, in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the README beside this crate explains each field")]
pub struct Report {
    pub scenario: String,
    pub seed: u64,
    pub nodes: u64,
    pub joined: u64,
    pub converged: bool,
    pub violations: u64,
    pub virtual_ms: u64,
    pub wall_ms: u64,
    pub events: u64,
    pub deliveries: u64,
    pub bytes_sent: u64,
    pub blocks: u64,
    pub signatures_made: u64,
    pub signatures_checked: u64,
    pub peak_rss_bytes: u64,
    pub join_latency_ms: Spread,
    pub convergence_ms: Spread,
    pub refusal_latency_ms: Tail,
    pub amend_latency_ms: Spread,
    pub state_hash: TraceHash,
    pub trace_hash: TraceHash,
}

/// How many kinds of messages the report for people names.
const KINDS_SHOWN: usize = 4;

/// The most memory that this process has held so far; zero where the system does not say.
pub fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib =
        line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1_024)
}

impl Finished {
    /// The report for people.
    pub fn text(&self) -> String {
        let (r, a) = (&self.report, &self.aside);
        let mut text = String::new();
        let spread = |s: &Spread| match (s.p50, s.p99, s.max) {
            (Some(p50), Some(p99), Some(max)) => format!("{p50} ms median, {p99} ms p99, {max} ms at most"),
            _ => "none".to_owned(),
        };
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let mut line = |name: &str, what: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:>14}  {what}");
        };
        line("scenario", format!("{}, seed {}", r.scenario, r.seed));
        line(
            "mesh",
            format!(
                "{} nodes in {} domain{}, on {} thread{}",
                r.nodes,
                a.domains,
                plural(a.domains),
                a.threads,
                plural(a.threads)
            ),
        );
        line("joined", format!("{}: {}", r.joined, spread(&r.join_latency_ms)));
        if let (Some(links), Some(p50)) = (a.join_links_ms.p50, r.join_latency_ms.p50) {
            let percent = p50 * 100 / links.max(1);
            line("", format!("the links alone take {links} ms at the median: {percent} % of that"));
        }
        let suspended = if a.suspended > 0 { format!(", {} suspended", a.suspended) } else { String::new() };
        let convicted = if a.convicted > 0 { format!(", {} convicted", a.convicted) } else { String::new() };
        let renewals = if a.renewals > 0 { format!(", {} renewed", a.renewals) } else { String::new() };
        let epoch = if a.epoch > 1 { format!(", epoch {}", a.epoch) } else { String::new() };
        line(
            "log",
            format!(
                "{} entries in {} blocks; {} gone{suspended}{convicted}{renewals}{epoch}",
                a.entries, r.blocks, a.gone
            ),
        );
        let all = if r.converged {
            "every live member has the newest state"
        } else {
            "NOT every live member has the newest state"
        };
        line("converged", format!("{all}; {}", spread(&r.convergence_ms)));
        let refusals = &r.refusal_latency_ms;
        if let (Some(p50), Some(p99), Some(p999), Some(max)) =
            (refusals.p50, refusals.p99, refusals.p999, refusals.max)
        {
            let times = format!("{p50} ms median, {p99} ms p99, {p999} ms p99.9, {max} ms at most");
            line("refused", format!("{times}: from the last signature to each member's refusing"));
        }
        let amended = &r.amend_latency_ms;
        if let Some(max) = amended.max {
            let times = format!(
                "{}, {max} ms at most",
                amended.p50.map_or_else(String::new, |p50| format!("{p50} ms median"))
            );
            line(
                "amended",
                format!("{times}: from the last yes to a final block under the charter everywhere"),
            );
        }
        line(
            "faults",
            format!("{}; {} messages lost, {} copies of gossip repaired", a.faults, a.lost, a.repaired),
        );
        line(
            "traffic",
            format!("{} events, {} deliveries, {} sent", r.events, r.deliveries, mebibytes(r.bytes_sent)),
        );
        let mut sent: Vec<_> = a.sent.iter().collect();
        sent.sort_by_key(|(name, (_, bytes))| (std::cmp::Reverse(*bytes), **name));
        let kinds: Vec<String> = sent
            .iter()
            .take(KINDS_SHOWN)
            .map(|(name, (count, bytes))| format!("{count} {name} ({})", mebibytes(*bytes)))
            .collect();
        line("above all", kinds.join(", "));
        line(
            "signatures",
            format!(
                "{} made, {} distinct checked ({} checks asked for)",
                r.signatures_made, r.signatures_checked, a.checks_asked
            ),
        );
        line(
            "transitions",
            format!(
                "{} asked for, {} computed: the others share the result",
                a.transitions.0, a.transitions.1
            ),
        );
        line(
            "time",
            format!(
                "{} ms of wall time for {} s; the signatures alone take {} ms of one processor",
                r.wall_ms,
                r.virtual_ms / 1_000,
                a.signatures_alone.as_millis()
            ),
        );
        line("memory", format!("{} at most", mebibytes(r.peak_rss_bytes)));
        line("states", r.state_hash.to_string());
        line("trace", r.trace_hash.to_string());
        for (what, count) in &self.notes {
            line("note", if *count == 1 { what.clone() } else { format!("{what} ({count} times)") });
        }
        for what in &self.disappointments {
            line("NOT AS EXPECTED", what.clone());
        }
        for violation in &self.expected {
            line("as expected", violation.to_string());
        }
        for violation in &self.violations {
            line("VIOLATION", violation.to_string());
        }
        let as_expected = self.exit == Exit::Holds && !self.expected.is_empty();
        let result =
            if as_expected { "what was to break broke, and nothing else" } else { self.exit.meaning() };
        line("result", result.to_owned());
        text
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}
