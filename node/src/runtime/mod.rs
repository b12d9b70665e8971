//! One node at work: the core between the transport, the store and the control socket.
//!
//! One task owns the core. What came in is handled a few at a time; then their records are stored, all at once; then what rests on them
//! is sent. **Invariant:** what was not stored is not sent: a write that fails stops the node.
//!
//! | file | holds |
//! |---|---|
//! | `checks` | decoding and signature checks, beside that task |
//! | `inputs`, `host` | the core's inputs and effects |
//! | `alarms` | what of those an operator should know, in words |
//! | `clock` | the time that the core is given |
//! | `contacts` | whom to be connected to |
//! | `rotating` | the transport under the next key |
//! | `holding` | holds, as an operator gives and sees them |
//! | `amending` | voting keys, and the next charter |
//! | `recovering`, `renewing` | the way back; admissions that run out |
//! | `backing_up` | what of this node goes into a backup |
//! | `answers`, `explain`, `accusations`, `waits` | what the control socket is told |
//! | `feed`, `lately`, `logbook` | what changes, what changed lately, and the log as far as it is here |

mod accusations;
mod alarms;
mod amending;
mod answers;
mod backing_up;
mod checks;
mod clock;
mod contacts;
mod explain;
mod feed;
mod holding;
mod host;
mod inputs;
mod lately;
mod logbook;
mod recovering;
mod renewing;
mod rotating;
#[cfg(test)]
mod tests;
mod waits;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use frith_protocol::door::{self, Core, Input, OpenError, Router, Table};
use frith_protocol::following::PlainWorkshop;
use tokio::sync::mpsc;

use crate::backup::Restored;
use crate::config::Config;
use crate::control::{Asked, BindError, Listener};
use crate::home::{Home, HomeError};
use crate::keys::{self, KeyError, NodeKeys};
use crate::net::{self, NetConfig, NetError, Network};
use crate::rotation;
use crate::store::{Damage, Opened, Store, StoreError};
use checks::Incoming;
use contacts::Contacts;
use host::Host;

pub(crate) use clock::now;
pub use contacts::Hints;

/// Checked messages that may wait for the core.
const INCOMING_MAX: usize = 256;
/// Control requests that may wait for it.
const ASKED_MAX: usize = 32;
/// Inputs that are stored together.
const BATCH_MAX: usize = 64;
/// The clock is looked at again at least this often: it may be set while we sleep.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(10);
/// Refuse connections beyond this much memory.
const MEMORY_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;

/// Why a node could not run, or stopped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is explained by what it wraps")]
pub enum RunError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this node stopped, because it could not store what it would have had to stand by: {0}")]
    NotStored(StoreError),
    #[error("{store}: {why}")]
    Open { store: String, why: OpenError },
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Control(#[from] BindError),
    #[error("the transport stopped by itself: this is a fault of frith, please report it with the log")]
    NetGone,
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It joined, and was to stop then.
    Joined,
    /// It cannot join any more.
    JoinFailed(String),
}

/// When a node ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Not before it is told.
    Told,
    /// When it cannot join any more.
    JoinFails,
    /// When it has joined, or cannot any more.
    JoinSettles,
}

/// Runs the node that lives in `home` until `stop` is done, or as `until` says.
///
/// # Errors
/// [`RunError`] if it cannot start, or must stop: because it could not store what it would have had to stand by.
pub async fn run(
    home: Home,
    config: Config,
    until: Until,
    stop: impl Future<Output = ()>,
) -> Result<Ended, RunError> {
    start(home, config).await?.work(until, stop).await
}

/// A node that is up.
struct Running {
    config: Config,
    host: Host,
    network: Network,
    incoming: mpsc::Receiver<Incoming>,
    listener: Listener,
}

/// Whether final blocks, or states to begin from, are gone that were there.
fn loses_the_log(damage: &Damage) -> bool {
    match damage {
        Damage::Tables { .. } => true,
        Damage::Missing { table, count: _ } => matches!(table, Table::Final | Table::Base),
        Damage::Record { .. } | Damage::Journal { .. } => false,
    }
}

async fn start(home: Home, config: Config) -> Result<Running, RunError> {
    rotation::tidy(&home)?;
    let restored = Restored::of(&home)?;
    let NodeKeys { inception, rotations, identity, successor, voting } = keys::load(&home)?;
    let node = inception.node_id();
    let Opened { mut store, mut records, damage } =
        tokio::task::block_in_place(|| Store::open(&home.store(), node, None))?;
    for damage in &damage {
        tracing::error!(store = %store.dir().display(), "{damage}");
    }
    let journal_lost = damage.iter().find_map(|damage| match damage {
        Damage::Journal { why, kept: _ } => Some(why.clone()),
        Damage::Record { .. } | Damage::Missing { .. } | Damage::Tables { .. } => None,
    });

    // What is left of it looks like a store in which nothing was final yet: a founder would begin again (SPEC 9.20).
    if damage.iter().any(loses_the_log) {
        let record = door::returning_record(0);
        tokio::task::block_in_place(|| store.commit(std::slice::from_ref(&record)))?;
        records.push(record);
    }

    let mut seed = [0; 32];
    rand::fill(&mut seed);
    let contacts = Contacts::load(&store, &config.peers)?;
    let both = [Some(identity.clone()), successor.clone()];
    let keys = door::Keys { inception, rotations, identity, successor, voting };
    let core_config =
        door::Config { keys, seed, workshop: Arc::new(PlainWorkshop), archive: config.archive, journal_lost };
    let open = || Core::open(core_config, records, now());
    let core = tokio::task::block_in_place(open)
        .map_err(|why| RunError::Open { store: store.dir().display().to_string(), why })?;
    let domain = core.domain();
    // It may have found in its log that a rotation is final: then it speaks by the next key already.
    let key = core.status(now()).key;
    let speaks = both.into_iter().flatten().find(|secret| secret.public() == key);
    let seed = speaks.expect("the core speaks by a key that it was given").seed();

    // The socket before the transport: a second node in one directory should fail before it greets anybody.
    let listener = Listener::bind(&home.socket()).await?;
    let (network, events) = net::start(net_config(&config, &contacts, seed)).await?;
    network.subscribe(domain).await;
    let (ready, incoming) = mpsc::channel(INCOMING_MAX);
    checks::start(events, ready.clone());

    let mut router = Router::new();
    let first = router.add(now(), core).expect("a core that hears of no peer refuses nothing");
    let mut host = Host::new(home, domain, router, store, network.clone(), contacts, damage);
    host.restored = restored;
    host.take(first);
    // With its first input the core says which voting keys a lost journal spoils: that is on the disk before another is made.
    host.handle(Input::Tick).expect("time is nobody's fault");
    host.settle().await.map_err(RunError::NotStored)?;
    // An earlier process may have been killed before it had done so.
    tokio::task::block_in_place(|| keys::sweep(&host.home).and_then(|()| host.keep_voting_keys()))?;
    host.begin(ready).await;
    tracing::info!(%node, %domain, "the node is running");
    Ok(Running { config, host, network, incoming, listener })
}

fn net_config(config: &Config, contacts: &Contacts, seed: [u8; 32]) -> NetConfig {
    NetConfig {
        listen: config.listen.clone(),
        external: config.external.clone(),
        mdns: config.mdns,
        memory_bytes_max: Some(MEMORY_BYTES_MAX),
        records: contacts.records(),
        ..NetConfig::new(seed)
    }
}

impl Running {
    async fn work(self, until: Until, stop: impl Future<Output = ()>) -> Result<Ended, RunError> {
        let Running { config, mut host, mut network, mut incoming, listener } = self;
        let (asked, mut asks) = mpsc::channel(ASKED_MAX);
        let serving = listener.serve(asked);
        tokio::pin!(serving, stop);
        let ended = loop {
            if let Some(ended) = host.ended(until) {
                break Ok(ended);
            }
            let wake = host.deadline();
            tokio::select! {
                biased;
                () = &mut stop => break Ok(Ended::Stopped),
                () = &mut serving => unreachable!("serving never ends by itself"),
                Some(Asked { request, reply }) = asks.recv() => host.answer(request, reply),
                first = incoming.recv() => {
                    let Some(first) = first else { break Err(RunError::NetGone) };
                    host.input(first);
                    for _ in 1..BATCH_MAX {
                        let Ok(next) = incoming.try_recv() else { break };
                        host.input(next);
                    }
                }
                () = tokio::time::sleep(wake) => {}
            }
            host.tick();
            host.rotate_if_due(&config, now());
            if let Err(e) = host.settle().await {
                break Err(RunError::NotStored(e));
            }
            if host.rotated() {
                match rotating::speak_anew(&mut host, &config).await {
                    Ok(Some((anew, next))) => (network, incoming) = (anew, next),
                    Ok(None) => {}
                    Err(e) => break Err(e),
                }
            }
        };
        match ended {
            Ok(ended) => {
                tracing::info!("the node is stopping");
                while let Ok(next) = incoming.try_recv() {
                    host.input(next);
                }
                host.settle().await.map_err(RunError::NotStored)?;
                network.shutdown().await;
                host.close().map_err(RunError::NotStored)?;
                Ok(ended)
            }
            Err(e) => {
                // Whatever was not stored is dropped with the host, and never sent.
                network.shutdown().await;
                Err(e)
            }
        }
    }
}
