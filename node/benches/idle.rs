//! What an idle node costs in a domain of fifty: memory, and processor time over a minute.
//!
//! Real processes on loopback: four endorsers, to each of which all 49 others are connected, and 46 members. The charter is what
//! `frith found draft` makes by default: one heartbeat a minute. `cargo bench -p frith-node --bench idle`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ENDORSERS: usize = 4;
const MEMBERS: usize = 46;
/// Over how long processor time is measured.
const WINDOW: Duration = Duration::from_secs(120);

struct Node {
    dir: PathBuf,
    child: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn frith(dir: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_frith"))
        .args(args)
        .env("FRITH_DIR", dir)
        .stdin(Stdio::null())
        .output()
        .expect("frith runs");
    assert!(output.status.success(), "frith {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("frith prints text")
}

impl Node {
    fn start(dir: &Path, args: &[&str]) -> Node {
        let child = Command::new(env!("CARGO_BIN_EXE_frith"))
            .args(args)
            .args(["--dir", &dir.display().to_string(), "--log", "error", "--until-stdin-closes"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("frith starts");
        Node { dir: dir.to_path_buf(), child: Some(child) }
    }

    fn ask(&self, args: &[&str]) -> String {
        frith(&self.dir, args)
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.as_ref().map_or(0, Child::id);
        fs::read_to_string(format!("/proc/{pid}/{file}")).expect("this needs Linux")
    }

    /// Processor time until now, in hundredths of a second.
    fn ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(") ").expect("a stat line");
        fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a count")).sum()
    }

    fn resident_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

fn main() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = |name: String| root.path().join(name);
    let shown = |name: String| path(name).display().to_string();

    let mut words = vec!["found".to_string(), "draft".into()];
    for i in 0..ENDORSERS {
        frith(&path(format!("e{i}")), &["init"]);
        frith(&path(format!("e{i}")), &["found", "card", "--out", &shown(format!("{i}.card"))]);
        words.push(shown(format!("{i}.card")));
    }
    let draft = shown("draft".into());
    words.extend(["--name", "fifty", "--out", &draft].map(String::from));
    frith(root.path(), &words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut words = vec!["found".to_string(), "open".into(), draft.clone()];
    for i in 0..ENDORSERS {
        let signature = shown(format!("{i}.sig"));
        frith(&path(format!("e{i}")), &["found", "sign", &draft, "--out", &signature]);
        words.push(signature);
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut peers = Vec::new();
    for i in 0..ENDORSERS {
        let dir = path(format!("e{i}"));
        frith(&dir, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let mut args = vec!["run"];
        args.extend(peers.iter().flat_map(|peer: &String| ["--peer", peer.as_str()]));
        let node = Node::start(&dir, &args);
        node.ask(&["wait", "peers", &i.to_string()]);
        let status: serde_json::Value = serde_json::from_str(&node.ask(&["status", "--json"])).expect("JSON");
        peers.push(status["net"]["listening"][0].as_str().expect("it listens").to_string());
        nodes.push(node);
    }

    let proposed = nodes[0].ask(&["invite", "--role", "member", "--uses", "100", "--wait", "0s"]);
    nodes[1].ask(&["wait", "pending"]);
    nodes[1].ask(&["endorse", proposed.trim()]);
    nodes[0].ask(&["wait", "countersigned", proposed.trim()]);
    let ticket = nodes[0].ask(&["invite", "--ticket", proposed.trim()]);
    let file = shown("ticket".into());
    fs::write(&file, ticket).expect("a file can be written");
    for i in 0..MEMBERS {
        let node = Node::start(&path(format!("m{i}")), &["join", &file]);
        node.ask(&["wait", "member", "--timeout", "10m"]);
        nodes.push(node);
    }
    let others = (ENDORSERS + MEMBERS - 1).to_string();
    for node in &nodes[..ENDORSERS] {
        node.ask(&["wait", "peers", &others, "--timeout", "10m"]);
    }

    eprintln!("{} nodes are connected; measuring for {} s", nodes.len(), WINDOW.as_secs());
    let before: Vec<u64> = nodes.iter().map(Node::ticks).collect();
    let began = Instant::now();
    std::thread::sleep(WINDOW);
    let seconds = began.elapsed().as_secs_f64();
    let share = |(node, before): (&Node, &u64)| (node.ticks() - before) as f64 / seconds;
    let shares: Vec<f64> = nodes.iter().zip(&before).map(share).collect();
    let sizes: Vec<u64> = nodes.iter().map(Node::resident_kib).collect();

    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown");
    println!("idle, a domain of {}, {}", nodes.len(), cpu.trim_start_matches(['\t', ':', ' ']));
    println!("| | connections | resident, largest | of a core, largest |\n|---|---|---|---|");
    for (name, range) in [("endorser", 0..ENDORSERS), ("member", ENDORSERS..nodes.len())] {
        let largest = sizes[range.clone()].iter().max().copied().unwrap_or(0) as f64 / 1024.0;
        let busiest = shares[range.clone()].iter().copied().fold(0.0, f64::max);
        let status: serde_json::Value =
            serde_json::from_str(&nodes[range.start].ask(&["status", "--json"])).expect("JSON");
        println!("| {name} | {} | {largest:.1} MiB | {busiest:.2} % |", status["connected"]);
    }
}
