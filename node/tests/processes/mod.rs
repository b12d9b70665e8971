//! Real processes of `frith`, for tests of the command line.

#![allow(dead_code, reason = "each test program needs some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

#[allow(unreachable_pub, reason = "it is the other tests' file")]
#[path = "../../../tests/src/ports.rs"]
mod ports;

use ports::free_address;

/// Longest that anything here may take on a machine with other work to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn frith(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frith"));
    command.args(args).env("FRITH_DIR", dir).stdin(Stdio::null());
    command
}

/// Stdout of a command that must succeed.
pub(crate) fn ok(dir: &Path, args: &[&str]) -> String {
    let output = frith(dir, args);
    assert!(output.status.success(), "frith {args:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn json(dir: &Path, args: &[&str]) -> Value {
    let args = [args, &["--json"]].concat();
    serde_json::from_str(&ok(dir, &args)).unwrap()
}

/// Exit code and stderr of a command that must fail.
pub(crate) fn refusal(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = frith(dir, args);
    assert!(!output.status.success(), "frith {args:?} was not refused");
    assert_eq!(text(&output.stdout), "", "frith {args:?}");
    (output.status.code().unwrap(), text(&output.stderr))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// When a process ends, to be waited for with a deadline: its output, which nobody reads otherwise, ends with it.
pub(crate) struct End(Receiver<()>);

impl End {
    /// Of a process that was started with its output piped.
    pub(crate) fn of(child: &mut Child) -> End {
        let mut out = child.stdout.take().expect("its output is piped");
        let (ended, end) = channel();
        std::thread::spawn(move || {
            drop(std::io::copy(&mut out, &mut std::io::sink()));
            drop(ended);
        });
        End(end)
    }

    /// How it ended, if it did in time.
    pub(crate) fn wait(&self, child: &mut Child) -> Option<ExitStatus> {
        let waited = self.0.recv_timeout(PATIENCE);
        (waited == Err(RecvTimeoutError::Disconnected)).then(|| child.wait().unwrap())
    }
}

/// A running node. It ends with this value.
pub(crate) struct Running {
    pub(crate) child: Child,
    end: End,
    dir: PathBuf,
    log: tempfile::NamedTempFile,
}

impl Running {
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Running {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut child = command(dir, args)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let end = End::of(&mut child);
        let node = Running { child, end, dir: dir.to_path_buf(), log };
        node.wait(&["peers", "0"]);
        node
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    pub(crate) fn wait(&self, until: &[&str]) {
        let args = [&["wait", "--timeout", "60s"], until].concat();
        let output = frith(&self.dir, &args);
        assert!(output.status.success(), "{until:?}: {}{}", text(&output.stderr), self.log());
    }

    /// Waits until its status is as it should be.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = json(&self.dir, &["status"]);
            if holds(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "not in time: {what}: {status}\n{}", self.log());
        }
    }

    /// Asks it to stop, and says how it ended.
    pub(crate) fn stop(self) -> i32 {
        self.stopped().0
    }

    /// The same, with what it said.
    pub(crate) fn stopped(mut self) -> (i32, String) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let code = self.child.wait().unwrap().code().unwrap();
        (code, self.log())
    }

    /// How it ends by itself, and what it said.
    pub(crate) fn ends(mut self) -> (i32, String) {
        let Some(status) = self.end.wait(&mut self.child) else { panic!("it goes on: {}", self.log()) };
        (status.code().unwrap(), self.log())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

/// A directory with a new identity in it, which listens on any free port of the loopback interface.
pub(crate) fn new_node(root: &Path, name: &str) -> PathBuf {
    let dir = root.join(name);
    ok(&dir, &["init", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    dir
}

/// A domain of one: the least that has everything.
pub(crate) fn found_alone(root: &Path, name: &str) -> PathBuf {
    found(root, &[name]).remove(0)
}

/// The directories of the founders of a domain.
pub(crate) fn found(root: &Path, names: &[&str]) -> Vec<PathBuf> {
    let dirs: Vec<PathBuf> = names.iter().map(|name| new_node(root, name)).collect();
    found_by(root, names, &dirs, &[]);
    dirs
}

/// A domain of one, with these bounds on time.
pub(crate) fn found_timed(root: &Path, name: &str, timing: &[&str]) -> PathBuf {
    let dir = new_node(root, name);
    let more: Vec<&str> = timing.iter().flat_map(|bound| ["--timing", bound]).collect();
    found_by(root, &[name], std::slice::from_ref(&dir), &more);
    dir
}

/// Founders that can reach one another: each at a port of the loopback interface of its own.
pub(crate) fn found_connected(root: &Path, names: &[&str]) -> Vec<PathBuf> {
    let addresses: Vec<String> = names.iter().map(|_| free_address()).collect();
    let dirs: Vec<PathBuf> = names.iter().map(|name| root.join(name)).collect();
    for (dir, address) in dirs.iter().zip(&addresses) {
        ok(dir, &["init", "--listen", address, "--address", address]);
    }
    found_by(root, names, &dirs, &[]);
    dirs
}

fn found_by(root: &Path, names: &[&str], dirs: &[PathBuf], more: &[&str]) {
    let file = |name: &str, what: &str| root.join(format!("{name}.{what}")).display().to_string();
    let draft = file(names[0], "draft");
    let (mut drafting, mut opening) = (vec!["found", "draft"], vec!["found", "open", &draft]);
    let cards: Vec<String> = names.iter().map(|name| file(name, "card")).collect();
    let signatures: Vec<String> = names.iter().map(|name| file(name, "sig")).collect();
    for (dir, card) in dirs.iter().zip(&cards) {
        ok(dir, &["found", "card", "--out", card]);
        drafting.push(card);
    }
    let options = ["--name", names[0], "--timing", "heartbeat=2s", "--out", &draft];
    ok(root, &[&drafting[..], &options, more].concat());
    for (dir, signature) in dirs.iter().zip(&signatures) {
        ok(dir, &["found", "sign", &draft, "--out", signature]);
        opening.push(signature);
    }
    for dir in dirs {
        ok(dir, &opening);
    }
}
