//! Real nodes: child processes on free ports of the loopback interface, each with a directory of its own.
//!
//! It waits on what nodes say of themselves, never on time alone; says who lacks what when it gives up; and leaves no process and no
//! directory behind: a child ends with its value, and, however this process ends, when its stdin closes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::binaries;
use crate::ports::free_address;

/// Longest that anything here may take on a machine with other work to do.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Some machines: directories, and the nodes that run in them.
pub struct Fleet {
    root: tempfile::TempDir,
    running: BTreeMap<String, Running>,
}

struct Running {
    child: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: i32,
    /// What it said on stderr.
    pub why: String,
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet::new()
    }
}

impl Fleet {
    /// No machine yet.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    pub fn new() -> Fleet {
        let root =
            tempfile::Builder::new().prefix("frith-tests-").tempdir().expect("there is room for files");
        Fleet { root, running: BTreeMap::new() }
    }

    /// A file that machines can mail to one another.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The directory of a machine's node.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.root.path().join(format!("machine-{name}"))
    }

    /// A command on one machine, where files are mailed to; not run yet.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, name: &str, args: &[S]) -> Command {
        let mut command = Command::new(binaries::frith());
        command.args(args).env("FRITH_DIR", self.dir(name)).env_remove("FRITH_LOG");
        command.current_dir(self.root.path()).stdin(Stdio::null());
        command
    }

    /// How a command on one machine ended.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn frith(&self, name: &str, args: &[&str]) -> Output {
        self.command(name, args).output().expect("frith can be run")
    }

    /// Stdout of a command that must succeed.
    ///
    /// # Panics
    /// If it does not.
    pub fn ok(&self, name: &str, args: &[&str]) -> String {
        let output = self.frith(name, args);
        let said = text(&output.stderr);
        assert!(output.status.success(), "{name}$ frith {args:?}: {}: {said}{}", output.status, self.logs());
        text(&output.stdout)
    }

    /// The JSON that a command prints.
    ///
    /// # Panics
    /// If it fails, or prints anything else.
    pub fn json(&self, name: &str, args: &[&str]) -> Value {
        let printed = self.ok(name, &[args, &["--json"]].concat());
        serde_json::from_str(&printed)
            .unwrap_or_else(|why| panic!("{name}$ frith {args:?}: {why}: {printed}"))
    }

    /// How a command that must fail did.
    ///
    /// # Panics
    /// If it succeeds, or prints anything but its refusal.
    pub fn refusal(&self, name: &str, args: &[&str]) -> Refusal {
        let output = self.frith(name, args);
        assert!(!output.status.success(), "{name}$ frith {args:?} was not refused");
        assert_eq!(text(&output.stdout), "", "{name}$ frith {args:?}");
        Refusal { code: output.status.code().unwrap_or(-1), why: text(&output.stderr) }
    }

    /// A new identity on a machine that others reach at a free port.
    pub fn init(&self, name: &str) -> String {
        let address = free_address();
        self.ok(name, &["init", "--address", &address, "--listen", &address]);
        address
    }

    /// Founds a domain by files, as the README tells, with heartbeats every other second.
    pub fn found(&self, names: &[&str], more: &[&str]) {
        for name in names {
            self.init(name);
            self.ok(name, &["found", "card", "--out", &format!("{name}.card")]);
        }
        let cards: Vec<String> = names.iter().map(|name| format!("{name}.card")).collect();
        let mut draft = vec!["found", "draft"];
        draft.extend(cards.iter().map(String::as_str));
        draft.extend(["--name", "home", "--timing", "heartbeat=2s", "--out", "home.draft"]);
        draft.extend(more);
        self.ok(names[0], &draft);
        let signatures: Vec<String> = names.iter().map(|name| format!("{name}.sig")).collect();
        for (name, signature) in names.iter().zip(&signatures) {
            self.ok(name, &["found", "sign", "home.draft", "--out", signature]);
        }
        for name in names {
            let mut open = vec!["found", "open", "home.draft"];
            open.extend(signatures.iter().map(String::as_str));
            self.ok(name, &open);
        }
    }

    /// Runs a node until it is stopped or killed.
    ///
    /// # Panics
    /// If it runs already, or ends before it answers.
    pub fn start(&mut self, name: &str, args: &[&str]) {
        assert!(!self.running.contains_key(name), "{name} runs already");
        let log = self.file(&format!("{name}.log"));
        let out = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log can be written");
        let child = self
            .command(name, args)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("frith can be run");
        self.running.insert(name.to_owned(), Running { child, log });
        let deadline = Instant::now() + PATIENCE;
        while !self.frith(name, &["status"]).status.success() {
            let child = &mut self.running.get_mut(name).expect("it was just started").child;
            let ended = child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "{name}: {ended:?}{}", self.logs());
        }
    }

    /// Runs the node of a founder or member.
    pub fn run(&mut self, name: &str) {
        self.start(name, &["run"]);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, name: &str) {
        drop(self.running.remove(name).expect("it runs"));
    }

    /// Asks a node to stop; its exit code.
    ///
    /// # Panics
    /// If it does not run, or does not stop.
    pub fn stop(&mut self, name: &str) -> i32 {
        let mut node = self.running.remove(name).expect("it runs");
        let asked = Command::new("kill").arg(node.child.id().to_string()).status().expect("kill can be run");
        assert!(asked.success());
        node.child.wait().expect("a child can be waited for").code().unwrap_or(-1)
    }

    /// The identity of a machine's node.
    pub fn id(&self, name: &str) -> String {
        self.json(name, &["status"])["node"].as_str().expect("a node has a name").to_owned()
    }

    /// Waits until `holds` of the status of each of these nodes.
    ///
    /// # Panics
    /// After [`PATIENCE`], with those of whom it does not hold, and their logs.
    pub fn until(&self, what: &str, names: &[&str], holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses: Vec<(&str, Option<Value>)> =
                names.iter().map(|name| (*name, self.status(name))).collect();
            let lacking: Vec<_> =
                statuses.iter().filter(|(_, status)| !status.as_ref().is_some_and(&holds)).collect();
            if lacking.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let lines: Vec<String> = lacking
                    .iter()
                    .map(|(name, status)| match status {
                        Some(status) => format!("{name} lacks it: {status}"),
                        None => format!("{name} does not answer"),
                    })
                    .collect();
                panic!("{what}, not within {PATIENCE:?}:\n{}{}", lines.join("\n"), self.logs());
            }
        }
    }

    fn status(&self, name: &str) -> Option<Value> {
        let output = self.frith(name, &["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
    }

    /// Waits until all these nodes have one head, at least so high, and one root.
    ///
    /// # Panics
    /// After [`PATIENCE`], with the heads that differ.
    pub fn until_heads_are_equal(&self, names: &[&str], at_least: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heads: Vec<Value> = names
                .iter()
                .map(|name| {
                    let head = self.status(name).map(|status| status["head"].clone()).unwrap_or_default();
                    serde_json::json!([head["height"], head["block"], head["state_root"]])
                })
                .collect();
            let high = heads.iter().all(|head| head[0].as_u64().is_some_and(|height| height >= at_least));
            if high && heads.windows(2).all(|pair| pair[0] == pair[1]) {
                return;
            }
            let all: Vec<String> =
                names.iter().zip(&heads).map(|(name, head)| format!("{name}: {head}")).collect();
            assert!(Instant::now() < deadline, "heads differ:\n{}{}", all.join("\n"), self.logs());
        }
    }

    /// Waits until a block at this node holds an entry of this kind.
    ///
    /// # Panics
    /// After [`PATIENCE`], with the log.
    pub fn until_logged(&self, name: &str, kind: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.json(name, &["log"]);
            let blocks = log.as_array().into_iter().flatten();
            let mut entries = blocks.flat_map(|block| block["entries"].as_array().into_iter().flatten());
            if entries.any(|entry| entry["kind"] == kind) {
                return;
            }
            assert!(Instant::now() < deadline, "{name}: no {kind} is final: {log}{}", self.logs());
        }
    }

    /// Has enough operators say yes to what waits at the first of them, of this kind.
    ///
    /// # Panics
    /// If one of them has nothing that waits.
    pub fn endorse(&self, names: &[&str], kind: &str) {
        for name in names {
            self.ok(name, &["wait", "pending", "--timeout", "60s"]);
            let deadline = Instant::now() + PATIENCE;
            let id = loop {
                let pending = self.json(name, &["pending"]);
                let mut waits = pending.as_array().into_iter().flatten();
                let found = waits.find(|one| one["kind"] == kind && one["decision"] != "endorsed");
                if let Some(found) = found {
                    break found["id"].as_str().expect("it has an id").to_owned();
                }
                assert!(Instant::now() < deadline, "{name}: no {kind} waits: {pending}{}", self.logs());
            };
            self.ok(name, &["endorse", &id]);
        }
    }

    /// A ticket, proposed by the first and endorsed by the others.
    ///
    /// # Panics
    /// If it is not countersigned in time.
    pub fn invite(&self, names: &[&str], uses: u32) -> String {
        let child = self
            .command(names[0], &["invite", "--role", "member", "--uses", &uses.to_string(), "--for", "1h"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("frith can be run");
        self.endorse(&names[1..], "ticket");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}{}", text(&output.stderr), self.logs());
        text(&output.stdout).trim().to_owned()
    }

    /// The last lines of everybody's log.
    pub fn logs(&self) -> String {
        let tail = |(name, node): (&String, &Running)| {
            let log = fs::read_to_string(&node.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(15)..];
            format!("\n--- {name}\n{}", tail.join("\n"))
        };
        self.running.iter().map(tail).collect()
    }
}

/// What a program printed.
///
/// # Panics
/// If it is not text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("programs print text")
}

/// A file system of its own that nothing can be written to, where the one who runs the tests may mount one.
pub struct ReadOnly(tempfile::TempDir);

impl ReadOnly {
    /// Mounts one.
    pub fn mount() -> Option<ReadOnly> {
        let dir = tempfile::tempdir().ok()?;
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", "ro,size=1m", "tmpfs"]).arg(dir.path()).output();
        output.is_ok_and(|output| output.status.success()).then_some(ReadOnly(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}
