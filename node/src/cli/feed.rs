//! `log` and `watch`: what happened, and what happens.

use std::io::{self, Write as _};
use std::sync::Mutex;

use frith_protocol::identity::NodeId;
use serde::Serialize;

use super::args::{LogArgs, WatchArgs};
use super::look::{read, text, until};
use super::output::Out;
use super::{CommandError, Done, Exit};
use crate::control::feed::{FeedView, Happening};
use crate::control::views::{BlockView, EntryView, Heights, LogItem};
use crate::control::{Client, ClientError, PAGE_MAX, RefusalKind, Request, Since};
use crate::home::Home;
use crate::runtime::now;
use crate::words::utc;

/// Blocks that `log` shows unless it is told how many.
const LOG_USUAL: usize = 20;

pub(super) fn log(home: &Home, args: LogArgs, out: Out) -> Done {
    let LogArgs { limit, mut below, mut since } = args;
    let limit = limit.unwrap_or(if since.is_some() { usize::MAX } else { LOG_USUAL });
    let mut client = Client::connect(&home.socket())?;
    let mut items: Vec<LogItem> = Vec::new();
    let mut blocks = 0;
    while blocks < limit {
        let limit = (limit - blocks).min(PAGE_MAX);
        let page: Vec<LogItem> = read(client.ask(&Request::Log { below, since, limit })?)?;
        let Some(last) = page.last() else { break };
        if since.is_some() {
            since = Some(after(last));
        } else {
            below = Some(match last {
                LogItem::Block(block) => block.height,
                LogItem::Missed { missed } => missed.above.saturating_add(1),
            });
        }
        blocks += page.iter().filter(|item| matches!(item, LogItem::Block(_))).count();
        items.extend(page);
    }
    out.result(&items, || {
        if items.is_empty() {
            return "no block with entries is held here\n".into();
        }
        let mut text = String::new();
        for item in &items {
            match item {
                LogItem::Block(block) => {
                    text.push_str(&format!(
                        "height {}  {}  block {}\n",
                        block.height,
                        until(block.time),
                        block.block
                    ));
                    for entry in &block.entries {
                        text.push_str(&format!("  {}\n", entry_in_words(entry)));
                    }
                }
                LogItem::Missed { missed } => text.push_str(&format!("{}\n", missed_in_words(missed))),
            }
        }
        text
    })
}

/// Where the log goes on after this piece of it.
fn after(item: &LogItem) -> Since {
    Since::Height(match item {
        LogItem::Block(block) => block.height,
        LogItem::Missed { missed } => missed.up_to,
    })
}

fn missed_in_words(Heights { above, up_to }: &Heights) -> String {
    format!(
        "missed: this node does not hold the blocks above height {above} up to height {up_to}; ask one that keeps an archive"
    )
}

fn entry_in_words(entry: &EntryView) -> String {
    let by: Vec<String> = entry.endorsed_by.iter().map(NodeId::short).collect();
    format!("{}; endorsed by {}", entry.what, by.join(", "))
}

pub(super) fn watch(home: &Home, args: WatchArgs, out: Out) -> Done {
    end_on_a_signal()?;
    let told = Told { out };
    match feed(home, args.since, &told) {
        Ok(exit) => Ok(exit),
        Err(Cut::ByReader) => Ok(Exit::Holds),
        Err(Cut::ByNode(ClientError::Refused(refusal))) if refusal.kind == RefusalKind::Stopping => {
            match told.say(&Happening::Stopped { time: now() }) {
                Ok(()) | Err(Cut::ByReader) => Ok(Exit::Holds),
                Err(cut) => cut.into(),
            }
        }
        Err(cut) => cut.into(),
    }
}

/// Why a feed ended.
enum Cut {
    /// Nobody reads it any more.
    ByReader,
    /// The node answers no more, or refuses.
    ByNode(ClientError),
    /// Anything else.
    Otherwise(CommandError),
}

impl From<ClientError> for Cut {
    fn from(error: ClientError) -> Cut {
        Cut::ByNode(error)
    }
}

impl From<CommandError> for Cut {
    fn from(error: CommandError) -> Cut {
        Cut::Otherwise(error)
    }
}

impl From<Cut> for Done {
    fn from(cut: Cut) -> Done {
        match cut {
            Cut::ByReader => Ok(Exit::Holds),
            Cut::ByNode(error) => Err(error.into()),
            Cut::Otherwise(error) => Err(error),
        }
    }
}

fn feed(home: &Home, since: Option<Since>, told: &Told) -> Result<Exit, Cut> {
    let mut client = Client::connect(&home.socket())?;
    let begins: FeedView = read(client.ask(&Request::Watch { next: None, since })?)?;
    let FeedView { mut next, missed, past, happened } = begins;
    told.missed(missed)?;
    // What became final while we ask for older blocks comes again, by number.
    let here =
        happened.iter().find_map(|one| if let Happening::Here { height, .. } = one { *height } else { None });
    let mut past = past.into_iter().peekable();
    let mut since = since;
    'pages: while let Some(since_then) = since {
        let page: Vec<LogItem> =
            read(client.ask(&Request::Log { below: None, since: Some(since_then), limit: PAGE_MAX })?)?;
        since = page.last().map(after);
        for item in page {
            let block = match item {
                LogItem::Block(block) => block,
                LogItem::Missed { missed } => {
                    told.say(&Happening::Missed { time: now(), count: None, blocks: Some(missed) })?;
                    continue;
                }
            };
            if here.is_none_or(|here| block.height > here) {
                break 'pages;
            }
            while let Some(before) = past.next_if(|one| one.time() <= block.time) {
                told.say(&before)?;
            }
            told.say(&Happening::Final(block))?;
        }
    }
    for one in past.chain(happened) {
        told.say(&one)?;
    }
    loop {
        let page: FeedView = read(client.ask(&Request::Watch { next: Some(next), since: None })?)?;
        told.missed(page.missed)?;
        for one in page.happened {
            told.say(&one)?;
        }
        next = page.next;
    }
}

/// Whoever is told to stop finishes the line first: half a line is no JSON.
static LINE: Mutex<()> = Mutex::new(());

/// How a line is said.
struct Told {
    out: Out,
}

impl Told {
    fn say(&self, happening: &Happening) -> Result<(), Cut> {
        let mut line = if self.out.json {
            serde_json::to_string(happening).expect("what happens is plain JSON")
        } else {
            in_words(happening)
        };
        line.push('\n');
        let whole = LINE.lock().expect("nobody panics with it");
        let mut stdout = io::stdout().lock();
        let said = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        drop(whole);
        said.map_err(|why| {
            if why.kind() == io::ErrorKind::BrokenPipe {
                return Cut::ByReader;
            }
            CommandError::failed(format!("stdout: cannot write to it: {why}")).into()
        })
    }

    fn missed(&self, count: u64) -> Result<(), Cut> {
        if count == 0 {
            return Ok(());
        }
        self.say(&Happening::Missed { time: now(), count: Some(count), blocks: None })
    }
}

/// Ends this process when it is told to stop, between two lines. A second signal does not wait for that.
fn end_on_a_signal() -> Result<(), CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let cannot = |why: io::Error| CommandError::usage(format!("cannot listen for signals: {why}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt()).map_err(cannot)?, signal(SignalKind::terminate()).map_err(cannot)?)
    };
    std::thread::spawn(move || {
        let mut told = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
        };
        told();
        std::thread::spawn(|| {
            let whole = LINE.lock();
            drop(io::stdout().flush());
            std::process::exit(Exit::Holds as i32 + i32::from(whole.is_err()));
        });
        told();
        std::process::exit(130);
    });
    Ok(())
}

fn json_word(word: &impl Serialize) -> String {
    serde_json::to_value(word).map(|value| text(&value)).unwrap_or_default()
}

/// The word of `frith members` in a sentence.
fn effective_words(word: &str) -> &str {
    match word {
        "yes" => "effective",
        "stale" => "what this node cannot tell: its newest block is too old",
        word => word,
    }
}

/// A happening as a line, but for blocks: each entry has a line of its own.
fn in_words(happening: &Happening) -> String {
    let stale_words = |stale: &bool| if *stale { ", stale" } else { "" };
    let words = match happening {
        Happening::Here { time: _, node, domain, phase, stale, height } => {
            let height = height.map_or("none yet".to_string(), |height| format!("height {height}"));
            let phase = json_word(phase);
            format!(
                "from here on as it happens: node {node}, domain {domain}, {phase}{}, {height}",
                stale_words(stale)
            )
        }
        Happening::Final(BlockView { height, entries, .. }) => {
            let lines: Vec<String> = entries.iter().map(entry_in_words).collect();
            format!("height {height}: {}", lines.join(&format!("\n{:26}", "")))
        }
        Happening::Standing { time: _, node, was, is } => {
            format!("{node} was {}, and is {}", effective_words(was), effective_words(is))
        }
        Happening::Held { time: _, node, by, until } => {
            format!("{node} is held by {by} until {}", utc(until.0))
        }
        Happening::Phase { time: _, phase, stale } => {
            format!("this node is {}{}", json_word(phase), stale_words(stale))
        }
        Happening::Alarm { time: _, why } => format!("alarm: {why}"),
        Happening::Waiting { time: _, id, asks, note } => {
            let note = if note.is_empty() { String::new() } else { format!("; they say: {note}") };
            format!("waits for you: {asks}{note}; frith endorse {id}")
        }
        Happening::Newcomers { time: _, count } => {
            format!("{count} more newcomers came, more than are told of one by one: see `frith pending`")
        }
        Happening::Met { time: _, id } => format!("{id} has all its endorsements"),
        Happening::Lapsed { time: _, id } => format!("{id} came to nothing in time"),
        Happening::Connected { time: _, node } => format!("{node} is connected"),
        Happening::Disconnected { time: _, node } => format!("{node} is not connected any more"),
        Happening::Missed { time: _, count: _, blocks: Some(blocks) } => missed_in_words(blocks),
        Happening::Missed { time: _, count, blocks: None } => {
            let count = count.unwrap_or_default();
            format!("missed: {count} happenings at most; see `frith log` and `frith status`")
        }
        Happening::Stopped { .. } => "the node has stopped".into(),
    };
    format!("{}  {words}", utc(happening.time().0))
}
