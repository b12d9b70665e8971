//! The nodes of the demonstration: child processes of this same program, each in a directory of its own.
//!
//! A child stops when its stdin is closed, so that none outlives this process, however that ends.

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use frith_protocol::identity::NodeId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::control::{Client, ClientError, Condition, RefusalKind, Request};
use crate::home::Home;

/// Longest that anything here may take on a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that cannot be waited for.
const GLANCE: Duration = Duration::from_millis(20);
/// A wait is asked for in slices, so that an interruption is noticed in between.
const SLICE: Duration = Duration::from_millis(500);
/// Ports below those that the system hands out by itself, so that a port of ours is not taken while its node is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Why the story cannot go on.
pub(super) type Trouble = String;

/// Set once somebody wants this to end.
#[derive(Clone, Default)]
pub(super) struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Notices Ctrl-C and SIGTERM from now on.
    pub(super) fn watch() -> Result<Interrupted, Trouble> {
        let interrupted = Interrupted::default();
        let flag = Arc::clone(&interrupted.0);
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| format!("cannot listen for signals: {why}"))?;
        std::thread::spawn(move || {
            tokio.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                flag.store(true, Ordering::SeqCst);
            });
        });
        Ok(interrupted)
    }

    fn check(&self) -> Result<(), Trouble> {
        if self.0.load(Ordering::SeqCst) { Err("interrupted".into()) } else { Ok(()) }
    }

    /// Looks again and again until something is there.
    pub(super) fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(format!("not within {} s: {what}", PATIENCE.as_secs()));
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// Runs a command of this program to its end; its stdout.
pub(super) fn frith(args: &[&str]) -> Result<String, Trouble> {
    let output = program()?
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("cannot run frith {}: {why}", args.join(" ")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("frith {} failed ({}): {}", args.join(" "), output.status, said.trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("frith {} prints no text", args.join(" ")))
}

fn program() -> Result<Command, Trouble> {
    let path = std::env::current_exe().map_err(|why| format!("cannot find this program itself: {why}"))?;
    let mut command = Command::new(path);
    // Nothing of what the operator set for nodes of their own.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FRITH_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// A port of the loopback interface that nobody uses, neither by TCP nor by UDP.
fn free_port() -> Result<u16, Trouble> {
    use rand::RngExt as _;
    let mut rng = rand::rng();
    for _ in 0..1000 {
        let port = rng.random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port was found".into())
}

/// One node.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) home: Home,
    pub(super) id: NodeId,
    port: u16,
    log: PathBuf,
    child: Option<Child>,
    interrupted: Interrupted,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Node {
    /// A node with a new identity, not running.
    pub(super) fn new(dir: &Path, name: &'static str, interrupted: &Interrupted) -> Result<Node, Trouble> {
        let home = Home::at(dir.join(name));
        let port = free_port()?;
        let mut node = Node {
            name,
            id: NodeId([0; 32]),
            port,
            log: dir.join(format!("{name}.log")),
            child: None,
            interrupted: interrupted.clone(),
            home,
        };
        let [tcp, quic] = node.addresses();
        let made = frith(&[
            "init",
            "--json",
            "--dir",
            &node.dir(),
            "--listen",
            &quic,
            "--listen",
            &tcp,
            "--address",
            &quic,
            "--address",
            &tcp,
        ])?;
        let made: Value = serde_json::from_str(&made).map_err(|e| format!("init prints no JSON: {e}"))?;
        node.id = made["node"].as_str().and_then(|text| text.parse().ok()).ok_or("init names no node")?;
        Ok(node)
    }

    pub(super) fn dir(&self) -> String {
        self.home.dir().display().to_string()
    }

    fn addresses(&self) -> [String; 2] {
        let port = self.port;
        [format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip4/127.0.0.1/udp/{port}/quic-v1")]
    }

    /// Starts `frith run`, or `frith join PAPER`, and waits until it answers.
    pub(super) fn start(&mut self, join: Option<&Path>) -> Result<(), Trouble> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|why| format!("{}: {why}", self.log.display()))?;
        let mut command = program()?;
        match join {
            None => command.arg("run"),
            Some(paper) => command.arg("join").arg(paper).args(["--note", self.name]),
        };
        let child = command
            .args(["--dir", &self.dir(), "--log", "info", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C at the terminal is ours: we stop the children ourselves.
            .process_group(0)
            .spawn()
            .map_err(|why| format!("cannot start node {}: {why}", self.name))?;
        self.child = Some(child);
        let interrupted = self.interrupted.clone();
        interrupted.until(&format!("node {} answers", self.name), || {
            self.check_alive()?;
            match Client::connect(&self.home.socket()) {
                Ok(_) => Ok(Some(())),
                Err(ClientError::NotRunning { .. }) => Ok(None),
                Err(other) => Err(other.to_string()),
            }
        })
    }

    /// That the process is still there.
    fn check_alive(&mut self) -> Result<(), Trouble> {
        let Some(child) = &mut self.child else { return Err(format!("node {} is not running", self.name)) };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                Err(format!(
                    "node {} ended by itself ({status}); its log ends:\n{}",
                    self.name,
                    self.log_tail()
                ))
            }
            Err(why) => Err(format!("cannot look after node {}: {why}", self.name)),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The end of its log, for whoever must find out what happened.
    pub(super) fn log_tail(&self) -> String {
        let mut text = String::new();
        drop(File::open(&self.log).and_then(|mut file| file.read_to_string(&mut text)));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Sends a signal, and waits for the end.
    fn end(&mut self, signal: Signal) -> Result<ExitStatus, Trouble> {
        let mut child = self.child.take().ok_or_else(|| format!("node {} is not running", self.name))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a child without a pid")?;
        kill_process(pid, signal).map_err(|why| format!("cannot stop node {}: {why}", self.name))?;
        let ended = self.interrupted.until(&format!("node {} ends", self.name), || {
            child.try_wait().map_err(|why| format!("cannot wait for node {}: {why}", self.name))
        });
        if ended.is_err() {
            self.child = Some(child);
        }
        ended
    }

    /// Asks it to stop, as `systemctl stop` would.
    pub(super) fn stop(&mut self) -> Result<(), Trouble> {
        let status = self.end(Signal::TERM)?;
        if status.success() {
            Ok(())
        } else {
            Err(format!(
                "node {} did not stop cleanly ({status}); its log ends:\n{}",
                self.name,
                self.log_tail()
            ))
        }
    }

    /// Kills it, as a power cut would.
    pub(super) fn kill(&mut self) -> Result<(), Trouble> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.end(Signal::KILL)?;
        match status.signal() {
            Some(9) => Ok(()),
            Some(_) | None => {
                Err(format!("node {} was to be killed and ended otherwise: {status}", self.name))
            }
        }
    }

    /// Asks something of the running node.
    pub(super) fn ask(&self, request: &Request) -> Result<Value, Trouble> {
        let mut client = Client::connect(&self.home.socket()).map_err(|e| self.said(&e))?;
        client.give_up_after(Some(PATIENCE)).map_err(|e| self.said(&e))?;
        client.ask(request).map_err(|e| self.said(&e))
    }

    fn said(&self, error: &ClientError) -> Trouble {
        format!("node {}: {error}", self.name)
    }

    pub(super) fn status(&self) -> Result<Value, Trouble> {
        self.ask(&Request::Status {})
    }

    /// Waits until the node itself says that something holds.
    pub(super) fn wait(&mut self, until: Condition) -> Result<(), Trouble> {
        let deadline = Instant::now() + PATIENCE;
        let mut client = Client::connect(&self.home.socket()).map_err(|e| self.said(&e))?;
        let request = Request::Wait { until, timeout_ms: SLICE.as_millis() as u64 };
        loop {
            self.interrupted.check()?;
            match client.ask(&request) {
                Ok(_) => return Ok(()),
                Err(ClientError::Refused(refusal)) if refusal.kind == RefusalKind::TimedOut => {
                    if Instant::now() > deadline {
                        return Err(format!(
                            "node {}: {refusal}; its log ends:\n{}",
                            self.name,
                            self.log_tail()
                        ));
                    }
                }
                Err(other) => {
                    self.check_alive()?;
                    return Err(self.said(&other));
                }
            }
        }
    }
}

/// Writes a file that is handed from one operator to another.
pub(super) fn mail(path: &Path, text: &str) -> Result<(), Trouble> {
    fs::write(path, text).map_err(|why| format!("{}: {why}", path.display()))
}
