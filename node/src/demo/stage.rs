//! How the story is told: with colour and progress on a terminal, plainly into a pipe, as JSON for programs.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::cast::Trouble;

/// One step, as `--json` reports it.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    name: &'static str,
    ok: bool,
    ms: u64,
    /// What was claimed, each after it was checked.
    claims: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Everything, as `--json` reports it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    ok: bool,
    ms: u64,
    steps: Vec<Step>,
}

/// Where the story is told.
pub(super) struct Stage {
    json: bool,
    colour: bool,
    began: Instant,
    steps: Vec<Step>,
    /// Why the story could not be told.
    untold: RefCell<Option<Trouble>>,
}

/// What one step claims, told as soon as it was checked.
pub(super) struct Teller<'a> {
    stage: &'a Stage,
    spinner: ProgressBar,
    claims: Vec<String>,
}

impl Stage {
    pub(super) fn new(json: bool) -> Stage {
        // With JSON on stdout, people read the story on stderr.
        let terminal = if json { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Stage { json, colour, began: Instant::now(), steps: Vec::new(), untold: RefCell::default() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A line of the story.
    pub(super) fn say(&self, line: &str) {
        // Neither a reader that went away nor a full disk is a reason to leave processes behind.
        if self.json {
            drop(writeln!(std::io::stderr(), "{line}"));
        } else {
            self.print(line);
        }
    }

    fn print(&self, line: &str) {
        if let Err(why) = crate::cli::to_stdout(&format!("{line}\n")) {
            self.untold.borrow_mut().get_or_insert(format!("stdout: cannot write to it: {why}"));
        }
    }

    /// Plays one step. Its error ends the story.
    pub(super) fn step(
        &mut self,
        name: &'static str,
        title: &str,
        play: impl FnOnce(&mut Teller<'_>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let began = Instant::now();
        self.say(&self.paint("1", &format!("\n{}. {title}", self.steps.len() + 1)));
        let spinner = if self.colour { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        spinner
            .set_style(ProgressStyle::with_template("   {spinner} {msg}").expect("our own template is one"));
        spinner.enable_steady_tick(Duration::from_millis(100));
        let mut teller = Teller { stage: self, spinner, claims: Vec::new() };
        let played = play(&mut teller);
        let Teller { claims, spinner, .. } = teller;
        spinner.finish_and_clear();
        let ms = began.elapsed().as_millis() as u64;
        match &played {
            Ok(()) => self.say(&self.paint("2", &format!("   {:.1} s", began.elapsed().as_secs_f32()))),
            Err(trouble) => self.say(&self.paint("31", &format!("   ✗ {trouble}"))),
        }
        let error = played.as_ref().err().cloned();
        self.steps.push(Step { name, ok: played.is_ok(), ms, claims, error });
        played
    }

    /// The end. Its error is why the story could not be told.
    pub(super) fn close(mut self, ended: &Result<(), Trouble>) -> Result<(), Trouble> {
        let seconds = self.began.elapsed().as_secs_f32();
        match ended {
            Ok(()) => {
                self.say(
                    &self.paint(
                        "32;1",
                        &format!("\nAll of it held, in {seconds:.1} s. Nothing is left behind."),
                    ),
                );
            }
            Err(_) => self.say(&self.paint("31;1", "\nIt ended early. Nothing is left behind.")),
        }
        if self.json {
            let ms = self.began.elapsed().as_millis() as u64;
            let report = Report { ok: ended.is_ok(), ms, steps: std::mem::take(&mut self.steps) };
            self.print(&serde_json::to_string(&report).expect("a report is plain JSON"));
        }
        self.untold.take().map_or(Ok(()), Err)
    }
}

impl Teller<'_> {
    /// What is waited for now.
    pub(super) fn doing(&self, what: &str) {
        self.spinner.set_message(what.to_string());
    }

    /// Something that was just checked.
    pub(super) fn claim(&mut self, what: impl Into<String>) {
        let what = what.into();
        let mark = self.stage.paint("32", "✓");
        self.spinner.suspend(|| self.stage.say(&format!("   {mark} {what}")));
        self.claims.push(what);
    }
}
