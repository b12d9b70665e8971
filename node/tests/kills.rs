//! An endorser that dies at every point between a ballot and its sending, and comes back. Only in a build with kill points:
//! `cargo test -p frith-node --features kill-points --test kills`.

mod processes;

use std::path::Path;
use std::process::{Child, Stdio};

use frith_node::KILL_POINTS;
use processes::{End, Running, command, found_connected, json};

/// How often the point is come by unharmed: the first time, in the middle of things, and once some heartbeats are over.
const COME_BY: [u32; 3] = [0, 2, 7];

struct Doomed(Child);

impl Drop for Doomed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a node until it dies at `point`.
fn die_at(dir: &Path, point: &str, come_by: u32) {
    let mut command = command(dir, &["run", "--until-stdin-closes"]);
    command.env("FRITH_KILL_AT", point).env("FRITH_KILL_AFTER", come_by.to_string());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut doomed = Doomed(child);
    let end = End::of(&mut doomed.0);
    let Some(ended) = end.wait(&mut doomed.0) else {
        panic!("it never came by «{point}» for the {come_by}th time");
    };
    assert_eq!(ended.code(), None, "it was to be killed at «{point}», and ended by itself: {ended}");
}

#[test]
fn an_endorser_that_dies_at_any_point_between_vote_and_send_comes_back_and_contradicts_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dirs = found_connected(root.path(), &["a", "b", "c"]);
    let (a, c) = (Running::start(&dirs[0], &["run"]), Running::start(&dirs[2], &["run"]));
    for point in KILL_POINTS {
        for come_by in COME_BY {
            die_at(&dirs[1], point, come_by);
        }
        // It holds all that it ever said, and the log goes on by its vote as well.
        let b = Running::start(&dirs[1], &["run"]);
        b.until(&format!("it votes again after dying at «{point}»"), |status| {
            assert!(status["journal_lost"].is_null(), "after «{point}»: {status}");
            status["stale"] == false && status["endorsers"]["connected"] == 3
        });
        let height = json(&dirs[1], &["status"])["head"]["height"].as_u64().unwrap();
        b.wait(&["height", &(height + 1).to_string()]);
        assert_eq!(b.stop(), 0);
    }
    for (node, dir) in [(&a, &dirs[0]), (&c, &dirs[2])] {
        let status = json(dir, &["status"]);
        assert!(status["halted"].is_null(), "{status}");
        assert!(!node.log().contains("contradict"), "{}", node.log());
    }
}
