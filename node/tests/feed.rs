//! `frith watch` and `frith log --since`: what changed, against real processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use frith_node::control::{Client, ClientError, Request, WATCHERS_MAX};
use frith_protocol::joining::Ticket;
use serde_json::Value;

mod processes;

use processes::*;

/// `frith watch --json` at work. It ends with this value.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(dir: &Path, args: &[&str]) -> Watch {
        let args = [&["watch", "--json"], args].concat();
        let mut child = command(dir, &args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Watch { child, lines }
    }

    /// The next line, if there is one.
    fn line(&mut self) -> Option<Value> {
        next_line(&self.lines).map(|line| serde_json::from_str(&line).unwrap())
    }

    /// The next line of this kind.
    fn next(&mut self, what: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("the feed ended before it said {what:?}"));
            if line["what"] == what {
                return line;
            }
        }
    }

    /// Interrupts it, and says how it ended.
    fn interrupt(&mut self) -> i32 {
        assert!(
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success()
        );
        // It has ended, or is about to, once its output has.
        while self.line().is_some() {}
        self.child.wait().unwrap().code().expect("it ends by itself")
    }
}

/// What a process writes, line by line, read on a thread of its own: a pipe knows no deadline, and a test has one. The thread
/// ends with the pipe, or once nobody takes the lines any more.
fn lines_of(out: ChildStdout) -> Receiver<String> {
    let (read, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(out)
            .lines()
            .map_while(Result::ok)
            .take_while(|line| read.send(line.clone()).is_ok())
            .count()
    });
    lines
}

/// The next of them, if there is one.
fn next_line(lines: &Receiver<String>) -> Option<String> {
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("it said nothing more for {PATIENCE:?}"),
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

#[test]
fn what_changes_is_told_as_it_happens_and_once_more_to_whoever_comes_later() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let mut watch = Watch::start(&alone, &[]);
    let here = watch.line().unwrap();
    assert_eq!((&here["what"], &here["phase"]), (&"here".into(), &"endorsing".into()));

    // A newcomer waits for the operator, is let in, and is connected.
    let anchor = ok(&alone, &["anchor"]);
    let guest = root.path().join("guest");
    let join = ["join", anchor.trim(), "--note", "rack 7", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let asks = Running::start(&guest, &join);
    let waiting = watch.next("waiting");
    assert_eq!(waiting["note"], "rack 7");
    let said = ok(&alone, &["endorse", waiting["id"].as_str().unwrap()]);
    assert!(said.contains("; the newcomer gathers 1 endorsement itself"), "{said}");
    let admitted = watch.next("final");
    let id = json(&guest, &["status"])["node"].as_str().unwrap().to_string();
    assert_eq!(
        (&admitted["entries"][0]["kind"], &admitted["entries"][0]["subject"]),
        (&"admission".into(), &id.as_str().into())
    );
    assert_eq!(watch.next("connected")["node"], id.as_str());

    // Time alone ends a suspension, and that is told, too.
    ok(&alone, &["suspend", &id[..8], "--for", "1s"]);
    let suspended = watch.next("final");
    assert_eq!(suspended["entries"][0]["kind"], "suspension");
    let back = watch.next("standing");
    assert_eq!(
        (&back["node"], &back["was"], &back["is"]),
        (&id.as_str().into(), &"suspended".into(), &"yes".into())
    );
    assert_eq!(watch.interrupt(), 0);

    // What happens while nobody watches, whoever watches again is told first, in order.
    ok(&alone, &["revoke", &id]);
    founder.wait(&["gone", &id]);
    let height = suspended["height"].to_string();
    let mut again = Watch::start(&alone, &["--since", &height]);
    let told: Vec<Value> =
        std::iter::from_fn(|| again.line()).take_while(|line| line["what"] != "here").collect();
    let first = told.iter().position(|line| line["what"] == "standing").unwrap();
    let then = told.iter().position(|line| line["what"] == "final").unwrap();
    assert!(first < then, "{told:?}");
    assert_eq!(told.iter().filter(|line| line["what"] == "final").count(), 1, "{told:?}");
    assert_eq!(told[then]["entries"][0]["kind"], "revocation");
    let log = json(&alone, &["log", "--since", &height]);
    assert_eq!((log.as_array().unwrap().len(), &log[0]["block"]), (1, &told[then]["block"]));
    let moment = format!("@{}", admitted["time"]);
    let kinds = |log: &Value| {
        log.as_array()
            .unwrap()
            .iter()
            .map(|block| block["entries"][0]["kind"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&json(&alone, &["log", "--since", &moment])), ["suspension", "revocation"]);
    assert_eq!(kinds(&json(&alone, &["log", "--since", "1h", "--limit", "1"])), ["admission"]);
    assert_eq!(kinds(&json(&alone, &["log"])), ["revocation", "suspension", "admission"]);
    let (code, why) = refusal(&alone, &["log", "--since", "yesterday"]);
    assert!(code == 2 && why.contains("a span before now like 2h"), "{why}");

    // It ends with the node.
    drop(asks);
    assert_eq!(founder.stop(), 0);
    again.next("stopped");
    assert!(again.line().is_none());
    assert_eq!(again.child.wait().unwrap().code(), Some(0));
    let (code, why) = refusal(&alone, &["watch"]);
    assert!(code == 2 && why.contains("no node is running here"), "{why}");
}

#[test]
fn a_feed_in_words_says_who_and_when_and_a_reader_that_goes_away_ends_it() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let ticket = ok(&alone, &["invite", "--role", "member", "--uses", "2"]);
    let mut watch = command(&alone, &["watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(watch.stdout.take().unwrap());
    let mut line = next_line(&lines).expect("it says where it is");
    assert!(
        line.contains("Z  from here on as it happens: node ") && line.contains(", endorsing, height "),
        "{line}"
    );
    ticket.trim().parse::<Ticket>().unwrap();
    let join = ["join", ticket.trim(), "--exit", "--listen", "/ip4/127.0.0.1/tcp/0"];
    ok(&root.path().join("first"), &join);
    while !line.contains("admit ") {
        line = next_line(&lines).expect("the feed goes on");
    }
    assert!(line.contains(" as member for ") && line.contains("; endorsed by "), "{line}");
    drop(lines);
    ok(&root.path().join("second"), &join);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    assert_eq!(founder.stop(), 0);
}

#[test]
fn of_those_who_watch_one_too_many_is_refused_and_commands_are_answered_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    let alone = found_alone(root.path(), "alone");
    let founder = Running::start(&alone, &["run"]);
    let control = alone.join("control.sock");
    let next = {
        let mut first = Client::connect(&control).unwrap();
        first.ask(&Request::Watch { next: None, since: None }).unwrap()["next"].as_u64()
    };
    let watch = Request::Watch { next, since: None };
    // Whoever is refused, since another was between two questions, asks again: so sooner or later just so many wait for what comes next.
    let over = Arc::new(AtomicBool::new(false));
    let watching: Vec<_> = (0..WATCHERS_MAX)
        .map(|_| {
            let (control, watch, over) = (control.clone(), watch.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let mut client = Client::connect(&control).unwrap();
                    client.give_up_after(Some(Duration::from_secs(2))).unwrap();
                    let _ = client.ask(&watch);
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let refused = loop {
        let mut client = Client::connect(&control).unwrap();
        client.give_up_after(Some(Duration::from_millis(100))).unwrap();
        if let Err(ClientError::Refused(refusal)) = client.ask(&watch) {
            break refusal;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody is refused");
    };
    assert!(refused.why.contains("watch this node already"), "{refused}");
    let ahead = Request::Watch { next: Some(1 << 40), since: None };
    let ahead = Client::connect(&control).unwrap().ask(&ahead).unwrap_err();
    assert!(ahead.to_string().contains("this node was restarted"), "{ahead}");
    ok(&alone, &["status"]);
    over.store(true, Ordering::Relaxed);
    watching.into_iter().for_each(|watcher| watcher.join().unwrap());
    assert_eq!(founder.stop(), 0);
}
