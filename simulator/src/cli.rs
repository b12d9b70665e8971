//! The command line of `frith-sim`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use frith_protocol::fault::Fault;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::replay::Record;
use crate::report::Exit;
use crate::run::{Finished, Options, run};
use crate::scenario::Scenario;
use crate::world::Progress;

/// Simulate meshes of Frith nodes: the real core, virtual time, network and disks.
///
/// Exit codes: 0 everything holds; 1 an expectation of the scenario failed; 2 bad usage or input; 3 a safety invariant broke;
/// 4 liveness failed; 5 the run was cut off by its budget.
#[derive(Debug, Parser)]
#[command(name = "frith-sim", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one scenario.
    Run(RunArgs),
    /// Name every scenario of a folder, and say what it is about.
    List {
        /// The folder.
        #[arg(default_value = "scenarios")]
        folder: PathBuf,
        /// Print one JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Run a recorded failure again: the same scenario, seed and faults.
    Replay {
        /// The file that the failing run wrote.
        file: PathBuf,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Run one scenario with many seeds, several at a time.
    Swarm {
        /// The scenario file.
        file: PathBuf,
        /// How many seeds.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Where to write what a replay of each failure needs.
        #[arg(long)]
        report: Option<PathBuf>,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The scenario file.
    file: PathBuf,
    /// Another seed than the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// How many newcomers come, instead of the scenario's number.
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// On how many threads at most. The result does not depend on it.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object, on one line, instead of text.
    #[arg(long)]
    json: bool,
    /// Write the report, and what a replay needs, into this folder.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// Does what `cli` says.
pub fn main(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => run_one(&args),
        Command::List { folder, json } => list(&folder, json),
        Command::Replay { file, json } => replay(&file, json),
        Command::Swarm { file, seeds, first, report, json } => {
            swarm(&file, first, seeds, report.as_deref(), json)
        }
    };
    done.unwrap_or_else(|problem| {
        tell(&format!("frith-sim: {problem}"));
        Exit::BadInput
    })
    .into()
}

/// A line on stderr. Where nobody can read it, it is not said.
fn tell(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// How a run ended whose telling may have gone wrong: what broke weighs more than that it could not be written down.
fn ended(exit: Exit, told: Result<(), Problem>) -> Result<Exit, Problem> {
    match told {
        Err(problem) if exit != Exit::Holds => {
            tell(&format!("frith-sim: {problem}"));
            Ok(exit)
        }
        told => told.map(|()| exit),
    }
}

/// That reports can be written into `folder`: better known before a long run than after it.
fn check_writable(folder: &Path) -> Result<(), Problem> {
    let probe = folder.join(".frith-sim");
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, "probe"))
        .and_then(|()| std::fs::remove_file(&probe));
    written.map_err(|e| format!("{}: no report can be written there: {e}", folder.display()).into())
}

/// What is wrong with what the command line asks for.
type Problem = Box<dyn std::error::Error>;

fn run_one(args: &RunArgs) -> Result<Exit, Problem> {
    let mut scenario = Scenario::read(&args.file)?;
    if let Some(newcomers) = args.nodes {
        scenario = scenario.with_newcomers(newcomers)?;
    }
    if let Some(folder) = &args.report {
        check_writable(folder)?;
    }
    let options = Options { seed: args.seed, threads: args.threads, plans: None };
    let finished = watched(&scenario, &options, &args.file)?;
    ended(finished.exit, tell_all(args, &scenario, &finished))
}

fn tell_all(args: &RunArgs, scenario: &Scenario, finished: &Finished) -> Result<(), Problem> {
    let shown = show(finished, args.json);
    if let Some(folder) = &args.report {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let path = folder.join("report.txt");
        std::fs::write(&path, finished.text()).map_err(|e| format!("{}: {e}", path.display()))?;
        let path = folder.join("report.json");
        let json = serde_json::to_string(&finished.report)? + "\n";
        std::fs::write(&path, json).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if finished.exit != Exit::Holds {
        let folder = args.report.clone().unwrap_or_else(reports);
        tell_replay(&Record::of(scenario, args.nodes, finished), &folder)?;
    }
    shown
}

/// Where records go if the command line names no place.
fn reports() -> PathBuf {
    std::env::temp_dir().join("frith-sim")
}

fn tell_replay(record: &Record, folder: &Path) -> Result<(), Problem> {
    let path = record.write(folder)?;
    tell(&format!("To see it again: frith-sim replay {}", path.display()));
    Ok(())
}

fn show(finished: &Finished, json: bool) -> Result<(), Problem> {
    let text = if json { serde_json::to_string(&finished.report)? + "\n" } else { finished.text() };
    print(&text)?;
    if json {
        for violation in &finished.violations {
            tell(&format!("violation: {violation}"));
        }
        for what in &finished.disappointments {
            tell(&format!("not as expected: {what}"));
        }
    }
    Ok(())
}

/// Prints to stdout; a reader who has seen enough is no error.
fn print(text: &str) -> Result<(), Problem> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| format!("stdout: cannot write to it: {e}").into()),
    }
}

/// Runs with a progress bar on a terminal, and in silence otherwise.
fn watched(scenario: &Scenario, options: &Options, origin: &Path) -> Result<Finished, Problem> {
    let in_file = |fault: Fault| format!("{}: {fault}", origin.display());
    let progress = Progress::default();
    if !std::io::stderr().is_terminal() {
        return Ok(run(scenario, options, &progress).map_err(in_file)?);
    }
    let done = AtomicBool::new(false);
    let bar = ProgressBar::with_draw_target(
        Some(scenario.script.mesh.newcomers.into()),
        ProgressDrawTarget::stderr(),
    );
    let style = "{prefix} [{wide_bar}] {pos}/{len} joined, {msg} events";
    bar.set_style(
        ProgressStyle::with_template(style).expect("the template is well-formed").progress_chars("=> "),
    );
    bar.set_prefix(scenario.name.clone());
    let finished = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                bar.set_position(progress.joined.load(Ordering::Relaxed));
                bar.set_message(progress.events.load(Ordering::Relaxed).to_string());
                std::thread::park_timeout(Duration::from_millis(100));
            }
        });
        let finished = run(scenario, options, &progress);
        done.store(true, Ordering::Relaxed);
        finished
    });
    bar.finish_and_clear();
    Ok(finished.map_err(in_file)?)
}

fn replay(file: &Path, json: bool) -> Result<Exit, Problem> {
    let record = Record::read(file)?;
    let (scenario, options) = record.scenario()?;
    let finished = watched(&scenario, &options, file)?;
    let shown = show(&finished, json);
    let same = finished.report.trace_hash.to_string() == record.trace_hash;
    if same {
        tell(&format!("The same run as recorded: exit {}.", record.exit));
    } else {
        tell(&format!(
            "Another run than recorded: its trace was {}. Either the file was changed since, or this build (version {}) differs from \
             the one that wrote it (version {}).",
            record.trace_hash,
            env!("CARGO_PKG_VERSION"),
            record.version
        ));
    }
    ended(finished.exit, shown)
}

/// Scenario files below `folder`, ordered.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn list(folder: &Path, json: bool) -> Result<Exit, Problem> {
    #[derive(Serialize)]
    struct Line {
        scenario: String,
        file: PathBuf,
        about: String,
    }
    let mut lines = Vec::new();
    for file in files(folder)? {
        let Scenario { name, text: _, script } = Scenario::read(&file)?;
        lines.push(Line { scenario: name, file, about: script.about });
    }
    if lines.is_empty() {
        return Err(format!("{}: there is no scenario in it", folder.display()).into());
    }
    if json {
        print(&(serde_json::to_string(&lines)? + "\n"))?;
    } else {
        let width = lines.iter().map(|line| line.scenario.len()).max().unwrap_or(0);
        let text: String =
            lines.iter().map(|line| format!("{:width$}  {}\n", line.scenario, line.about)).collect();
        print(&text)?;
    }
    Ok(Exit::Holds)
}

/// A seed whose run did not hold.
#[derive(Serialize)]
struct Failed {
    seed: u64,
    exit: u8,
    why: Vec<String>,
}

fn swarm(file: &Path, first: u64, seeds: u64, report: Option<&Path>, json: bool) -> Result<Exit, Problem> {
    let scenario = Scenario::read(file)?;
    if let Some(folder) = report {
        check_writable(folder)?;
    }
    let all: Vec<u64> = (0..seeds).filter_map(|nth| first.checked_add(nth)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(all.len()) {
            scope.spawn(|| {
                while let Some(seed) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let options = Options { seed: Some(*seed), threads: Some(1), plans: None };
                    let finished = run(&scenario, &options, &Progress::default());
                    // What holds is only counted.
                    let failed = match finished {
                        Ok(finished) => (finished.exit != Exit::Holds).then_some(Ok(finished)),
                        Err(fault) => Some(Err(fault)),
                    };
                    results.lock().expect("nobody panicked with it").push((*seed, failed));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("nobody panicked with it");
    results.sort_by_key(|(seed, _)| *seed);
    let (mut worst, mut failures, mut told) = (Exit::Holds, Vec::new(), Ok(()));
    for (seed, failed) in results {
        let Some(finished) = failed else { continue };
        let finished = finished.map_err(|fault| format!("{}: {fault}", file.display()))?;
        let record = Record::of(&scenario, None, &finished);
        tell(&format!("seed {seed}: {}", finished.exit.meaning()));
        told = told.and(tell_replay(&record, report.map_or_else(reports, Path::to_owned).as_path()));
        if severity(finished.exit) > severity(worst) {
            worst = finished.exit;
        }
        failures.push(Failed { seed, exit: record.exit, why: record.broke });
    }
    if json {
        let held = seeds - failures.len() as u64;
        let all = serde_json::json!({ "scenario": scenario.name, "seeds": seeds, "held": held, "failed": failures });
        told = told.and(print(&format!("{all}\n")));
    } else {
        let held = seeds - failures.len() as u64;
        told = told.and(print(&format!("{}: {held} of {seeds} seeds hold\n", scenario.name)));
    }
    ended(worst, told)
}

/// Which of two endings is worse.
fn severity(exit: Exit) -> u8 {
    match exit {
        Exit::Holds => 0,
        Exit::CutOff => 1,
        Exit::Disappointed => 2,
        Exit::Liveness => 3,
        Exit::BadInput => 4,
        Exit::Safety => 5,
    }
}
