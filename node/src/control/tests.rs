use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::sync::mpsc;

use super::*;

/// A node that answers every request with what it understood, but for `Leave`, which it refuses, `Anchor`, which it drops, and `Wait`,
/// which it never answers.
struct Echo {
    _dir: tempfile::TempDir,
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Echo {
    fn start() -> Echo {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(Listener::bind(&path)).unwrap();
        let (asked, mut asks) = mpsc::channel::<Asked>(8);
        runtime.spawn(async move { listener.serve(asked).await });
        runtime.spawn(async move {
            let mut kept = Vec::new();
            while let Some(Asked { request, reply }) = asks.recv().await {
                if request == (Request::Leave {}) {
                    reply.send(Err(Refusal::refused("not today"))).unwrap();
                } else if request == (Request::Anchor {}) {
                    drop(reply);
                } else if matches!(request, Request::Wait { .. }) {
                    kept.push(reply);
                } else {
                    reply.send(Ok(json!({ "understood": format!("{request:?}") }))).unwrap();
                }
            }
        });
        Echo { _dir: dir, path, runtime }
    }

    /// What comes back for raw bytes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn requests_and_refusals_travel_both_ways_on_one_connection() {
    let echo = Echo::start();
    let mut client = Client::connect(&echo.path).unwrap();
    for request in [
        Request::Status {},
        Request::Members { after: Some(NodeId([9; 32])) },
        Request::Why { node: "abcdef".into() },
        Request::Revoke { node: "abcd".into(), reason: Reason::Compromised, note: "line\nbreak".into() },
    ] {
        let answer = client.ask(&request).unwrap();
        assert_eq!(answer["understood"], format!("{request:?}"));
    }
    let refusal = client.ask(&Request::Leave {}).unwrap_err();
    assert!(matches!(refusal, ClientError::Refused(Refusal { kind: RefusalKind::Refused, .. })));
    assert_eq!(refusal.to_string(), "not today");
    let stopping = client.ask(&Request::Anchor {}).unwrap_err();
    assert!(
        matches!(stopping, ClientError::Refused(Refusal { kind: RefusalKind::Stopping, .. })),
        "{stopping}"
    );
}

#[test]
fn what_is_no_request_is_refused_with_the_reason_and_harms_nobody() {
    let echo = Echo::start();
    for (bytes, part) in [
        (&b"hello\n"[..], "one JSON object"),
        (b"{\"v\":2,\"op\":\"status\"}\n", "version 2; this node speaks 1"),
        (b"{\"v\":1,\"op\":\"explode\"}\n", "unknown variant `explode`"),
        (b"{\"v\":1,\"op\":\"status\",\"extra\":1}\n", "unknown field `extra`"),
        (b"{\"v\":1,\"op\":\"log\"}\n", "missing field `limit`"),
        (b"{\"op\":\"status\"}\n", "missing field `v`"),
        (b"{\"v\":1", "one line of at most"),
        (b"\xff\xfe\n", "one JSON object"),
    ] {
        let reply = echo.raw(bytes);
        assert!(reply.contains(part) && reply.contains("\"kind\":\"bad\""), "{part}: {reply}");
    }
    let mut long = vec![b'x'; REQUEST_BYTES_MAX + 1];
    long.push(b'\n');
    assert!(echo.raw(&long).contains("one line of at most"));
    let nested = [vec![b'['; 10_000], b"\n".to_vec()].concat();
    assert!(echo.raw(&nested).contains("one JSON object"));
    assert!(Client::connect(&echo.path).unwrap().ask(&Request::Status {}).is_ok());
}

#[test]
fn whoever_hangs_up_while_waiting_leaves_its_place_to_others() {
    let echo = Echo::start();
    let waits = RequestLine {
        v: VERSION,
        request: serde_json::to_value(Request::Wait { until: Condition::Member {}, timeout_ms: 1 << 40 })
            .unwrap(),
    };
    let mut line = serde_json::to_vec(&waits).unwrap();
    line.push(b'\n');
    let connect = || {
        let mut stream = UnixStream::connect(&echo.path).unwrap();
        stream.write_all(&line).unwrap();
        stream
    };
    for _ in 0..3 {
        let hanging: Vec<UnixStream> = (0..CONNECTIONS_MAX).map(|_| connect()).collect();
        drop(hanging);
    }
    let mut client = Client::connect(&echo.path).unwrap();
    client.give_up_after(Some(std::time::Duration::from_secs(30))).unwrap();
    client.ask(&Request::Status {}).unwrap();
}

#[test]
fn only_its_user_may_open_the_socket() {
    let echo = Echo::start();
    let mode = std::fs::metadata(&echo.path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(!echo.path.with_extension("new").exists());
}

#[test]
fn a_live_socket_is_an_error_and_a_dead_ones_place_is_taken() {
    let echo = Echo::start();
    let again = echo.runtime.block_on(Listener::bind(&echo.path)).unwrap_err();
    assert!(again.to_string().contains("a node is running here already"), "{again}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    // As kill -9 leaves it: the file without a process.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning { .. })));
    let bound = echo.runtime.block_on(Listener::bind(&path)).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn where_no_node_runs_the_error_says_how_to_start_one() {
    let error = Client::connect(Path::new("/nowhere/control.sock")).unwrap_err().to_string();
    assert!(error.ends_with("start it: frith run --dir /nowhere"), "{error}");
}

#[test]
fn a_path_too_long_for_a_socket_is_said_to_be_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = PathBuf::from("/tmp").join("d".repeat(120)).join("control.sock");
    let error = runtime.block_on(Listener::bind(&path)).unwrap_err().to_string();
    assert!(error.contains("use a shorter --dir"), "{error}");
}
