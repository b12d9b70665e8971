//! What a long history costs: a log of 100,000 entries with 1,000 living members.
//!
//! `cargo bench -p frith-protocol --bench growth` prints the figures of `protocol/README.md`; with `-- --plot` it draws the plot there anew.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark is no part of the law")]

#[path = "../../tests/state/domain.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod domain;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod history;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod nodes;
mod plot;
mod weight;

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use domain::{Domain, Person, check, verified};
use frith_protocol::door::Table;
use frith_protocol::encoding::{Label, digest};
use frith_protocol::identity::{Claim, PublicKey, Sheet, SignatureCheck, Stateless};
use frith_protocol::state::{Entry, Parent};
use frith_protocol::time::Timestamp;
use history::History;
use nodes::Node;
use plot::Series;

/// Whoever weighs a core in a process of its own.
const WEIGH: &str = "--weigh";
const PLOT: &str = "benches/growth/cost.svg";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == WEIGH) {
        let number: u32 = args[at + 2].parse().expect("a number of a person");
        weight::weigh(&Person::new(number), &args[at + 1], Timestamp(args[at + 3].parse().expect("a time")));
        return;
    }
    // `cargo test --benches` runs this, too: a little is enough there.
    let whole = args.iter().any(|arg| arg == "--bench");
    let (entries, living, sizes): (usize, usize, &[usize]) = if whole {
        (100_000, 1_000, &[1_000, 3_000, 10_000, 30_000, 100_000])
    } else {
        (600, 100, &[100, 300, 600])
    };
    println!("building a log of {entries} entries …");
    let history = History::of(entries, living, sizes);
    let state = &history.domain.state;
    println!(
        "{} entries in {} blocks; {} stand, {} are gone\n",
        history.entries,
        history.domain.head.height,
        state.member_count(),
        state.gone_count()
    );

    let server = &history.living[0];
    let (mut node, replayed) = nodes::replay(&history, server);
    let library = signatures_alone(&history);
    println!("replayed and checked, from the wire     {:>10}", ms(replayed));
    println!("  its signatures and keys alone         {:>10}", ms(library));
    let times = if whole { 9 } else { 1 };
    // Another each time: nobody is given several snapshots in a row (SPEC 9.10).
    let members: Vec<&Person> = history.living.iter().rev().take(times).collect();
    println!("\na newcomer that holds a part of the state (SPEC 7.5), from admitted to synced");
    let lean = join(&history, &mut node, &members, replayed);
    println!("\na newcomer that holds all of it: with a seat");
    let seats: Vec<&Person> = (0..times).map(|nth| &history.domain.founders[1 + nth % 3]).collect();
    join(&history, &mut node, &seats, replayed);
    println!("\nwho holds all of it");
    weigh(&history, &node);
    println!("\nwho holds a part");
    weigh(&history, &lean);
    let series = cost_against_size(&history, if whole { 201 } else { 1 });
    if args.iter().any(|arg| arg == "--plot") {
        let title = "Applying an entry whose signatures are checked: microseconds";
        std::fs::write(PLOT, plot::svg(title, &series)).expect("the plot can be written");
        println!("\n{PLOT} is drawn anew");
    }
}

/// A newcomer, several times; the median.
fn join(history: &History, node: &mut Node, newcomers: &[&Person], replayed: u64) -> Node {
    let mut syncs: Vec<(Node, nodes::Talk)> =
        newcomers.iter().map(|newcomer| nodes::sync(history, node, newcomer)).collect();
    syncs.sort_by_key(|(_, sync)| sync.nanoseconds);
    let (newcomer, sync) = syncs.swap_remove(newcomers.len() / 2);
    let state = &history.domain.state;
    let live: usize =
        state.members().map(|(_, standing)| frith_protocol::encoding::encoded_len(standing)).sum();
    println!("  on its processor                      {:>10}", ms(sync.nanoseconds));
    println!("  hashing what it was sent, alone       {:>10}", ms(hashing_alone(sync.snapshot_bytes)));
    println!(
        "  of replaying                          {:>10}",
        format!("1/{:.0}", replayed as f64 / sync.nanoseconds as f64)
    );
    println!("  bytes of the snapshot                 {:>10}", sync.snapshot_bytes);
    println!("  bytes of what followed                {:>10}", sync.other_bytes);
    println!("  what the living stand with, alone     {live:>10}");
    newcomer
}

/// What a node takes that was there all along.
fn weigh(history: &History, node: &Node) {
    let stored = node.stored(&[Table::Base, Table::Final, Table::Charters]);
    let path = std::env::temp_dir().join(format!("frith-growth-{}", std::process::id()));
    std::fs::write(&path, weight::pack(node)).expect("there is room for the records");
    let began = on_wall();
    let number = 1_000 + (history.entries as u32);
    let out = Command::new(std::env::current_exe().expect("this program is a file"))
        .args([
            WEIGH,
            &path.display().to_string(),
            &number.to_string(),
            &history.domain.head.time.0.to_string(),
        ])
        .output()
        .expect("it runs once more");
    let took = on_wall() - began;
    std::fs::remove_file(&path).expect("it was just written");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    println!("  on the disk: base, final blocks, links{:>10}", format!("{:.1} MiB", stored as f64 / MIB));
    println!("  opened from that, process and all     {:>10}", ms(took));
    println!(
        "  memory then: now, and at most         {:>10}",
        format!("{:.1}, {:.1} MiB", numbers[0] as f64 / 1024.0, numbers[1] as f64 / 1024.0)
    );
    assert_eq!(numbers[2], history.domain.head.height, "it did not get to the head");
}

const MIB: f64 = 1024.0 * 1024.0;

/// Blocks of one and of a hundred entries on ever longer logs: microseconds for each entry.
fn cost_against_size(history: &History, times: usize) -> Vec<Series> {
    let mut one = Series { name: "one in a block", colour: "#b2182b", points: Vec::new() };
    let mut hundred = Series { name: "a hundred in a block", colour: "#2166ac", points: Vec::new() };
    let mut hashing = Series { name: "hashing its paths alone", colour: "#777777", points: Vec::new() };
    println!("\nentries before | one in a block: µs | a hundred: µs each | hashing its paths alone: µs");
    let hash = one_hash();
    for (size, domain) in &history.at {
        let alone = applied(domain, &[newcomer(domain, 0)], times);
        let mut many: Vec<Entry> = domain
            .state
            .members()
            .filter(|(_, s)| s.number > 0)
            .take(50)
            .map(|(node, _)| domain.revocation(node))
            .collect();
        many.extend((0..50).map(|i| newcomer(domain, i)));
        let together = applied(domain, &many, times) / many.len() as f64;
        // An admission changes the maps of who stands and of keys; a path is as deep as its map's items ask.
        let depth = |items: usize| (items.max(2) as f64).log2();
        let hashes = depth(domain.state.member_count())
            + depth(domain.state.member_count() + domain.state.gone_count());
        let paths = hashes * hash;
        println!("{size:14} | {alone:18.2} | {together:18.2} | {paths:27.2}");
        one.points.push((*size, alone));
        hundred.points.push((*size, together));
        hashing.points.push((*size, paths));
    }
    vec![one, hundred, hashing]
}

fn newcomer(domain: &Domain, number: u32) -> Entry {
    domain.admission(domain.admit(&Person::new(4_000_000 + number)))
}

/// Microseconds to apply a block of these, whose signatures were checked before; the median.
fn applied(domain: &Domain, entries: &[Entry], times: usize) -> f64 {
    let waiting: Vec<_> = entries.iter().map(|entry| verified(Arc::new(entry.clone()))).collect();
    let (block, _, refused) = domain.state.build(&domain.head, domain.now(), waiting.iter());
    assert!(refused.is_empty() && block.entries.len() == entries.len(), "{refused:?}");
    let parent = Parent::of(&domain.head);
    let mut all: Vec<u64> = (0..times)
        .map(|_| {
            let began = on_wall();
            let state = domain.state.execute(parent, &block).expect("it was built on this state");
            let took = on_wall() - began;
            drop(state);
            took
        })
        .collect();
    all.sort_unstable();
    all[times / 2] as f64 / 1000.0
}

/// Microseconds for one hash of a branch; the median of many runs.
fn one_hash() -> f64 {
    let mut bytes = [0u8; 66];
    let mut runs: Vec<u64> = (0..101)
        .map(|_| {
            let began = on_wall();
            for _ in 0..1000 {
                let hash = digest(Label::MapBranch, &bytes);
                bytes[..32].copy_from_slice(&hash.0);
            }
            on_wall() - began
        })
        .collect();
    runs.sort_unstable();
    runs[50] as f64 / 1e6
}

/// Nanoseconds of hashing so many bytes, as one piece.
fn hashing_alone(bytes: usize) -> u64 {
    let bytes = vec![7u8; bytes];
    let began = on_wall();
    std::hint::black_box(digest(Label::MapLeaf, &bytes));
    on_wall() - began
}

/// Nanoseconds that the signature library takes for all claims of the log, chain by chain, and for checking the keys in it.
fn signatures_alone(history: &History) -> u64 {
    let check = check();
    let mut nanoseconds = 0;
    for wire in &history.chains {
        let (_, message) =
            frith_protocol::door::open_envelope(wire, frith_protocol::limits::MESSAGE_BYTES_MAX)
                .expect("it was encoded by us");
        let mut sheet = Sheet::default();
        message.inspect(&mut sheet).expect("it was built of valid entries");
        let (claims, keys): (Vec<Claim>, Vec<PublicKey>) =
            (sheet.claimed().to_vec(), sheet.introduced().collect());
        let began = nodes::on_processor();
        assert!(keys.iter().all(|key| key.check().is_ok()));
        assert_eq!(check.first_bad(&claims), None);
        nanoseconds += nodes::on_processor() - began;
    }
    nanoseconds
}

fn ms(nanoseconds: u64) -> String {
    format!("{:.1} ms", nanoseconds as f64 / 1e6)
}

fn on_wall() -> u64 {
    use std::sync::OnceLock;
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_nanos()).expect("no bench takes centuries")
}
