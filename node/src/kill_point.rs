//! Where a test can have the process die, as by `kill -9`: nothing is flushed and nothing is said. In a build without the feature `kill-points` a
//! point is nothing at all. (Twenty lines rather than a library: those that there are parse a language of actions, of which this needs one.)

/// Where a process can die, in the order in which it gets there.
#[cfg(feature = "kill-points")]
pub const KILL_POINTS: [&str; 6] = [
    "before the journal is written",
    "before the journal is synced",
    "after the journal is synced",
    "after the tables are written",
    "before anything is sent",
    "after one message is sent",
];

/// Dies here, if `FRITH_KILL_AT` names this point and it was come by as often as `FRITH_KILL_AFTER` says.
#[cfg(feature = "kill-points")]
pub(crate) fn kill_point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static AT: OnceLock<(String, u64)> = OnceLock::new();
    static COME_BY: AtomicU64 = AtomicU64::new(0);
    assert!(KILL_POINTS.contains(&name), "{name} is no point that a test could name");
    let (at, after) = AT.get_or_init(|| {
        let after = std::env::var("FRITH_KILL_AFTER").ok().and_then(|count| count.parse().ok());
        (std::env::var("FRITH_KILL_AT").unwrap_or_default(), after.unwrap_or(0))
    });
    if at == name && COME_BY.fetch_add(1, Ordering::SeqCst) >= *after {
        std::process::abort();
    }
}

#[cfg(not(feature = "kill-points"))]
pub(crate) fn kill_point(_name: &str) {}
