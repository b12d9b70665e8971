//! The README's own commands: what it tells a reader to type is read out of it, so that it cannot go stale.

use std::path::Path;

/// A command of a console block: on which machine (`a$ …`; none for the reader's own, `$ …`), its words, and what it is said to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The machine.
    pub machine: Option<String>,
    /// The words after the prompt, quotes taken off.
    pub words: Vec<String>,
    /// The lines below it.
    pub output: Vec<String>,
}

/// Every command in the console blocks of the section under `heading`.
///
/// # Panics
/// If there is no such file or section.
pub fn commands(readme: &Path, heading: &str) -> Vec<Shown> {
    let text = std::fs::read_to_string(readme).unwrap_or_else(|why| panic!("{}: {why}", readme.display()));
    let at = text.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading:?}"));
    let section = &text[at + 4..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let mut shown: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            match prompt(line) {
                Some((machine, command)) => {
                    shown.push(Shown { machine, words: words(command), output: Vec::new() });
                }
                None => shown.last_mut().expect("output follows a command").output.push(line.to_owned()),
            }
        }
    }
    shown
}

fn prompt(line: &str) -> Option<(Option<String>, &str)> {
    let (before, command) = line.split_once("$ ")?;
    let is_machine = before.len() <= 1 && before.chars().all(|c| c.is_ascii_lowercase());
    is_machine.then(|| ((!before.is_empty()).then(|| before.to_owned()), command))
}

/// Words as a shell would split them: at spaces, except within double quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (nth, part) in command.split('"').enumerate() {
        if nth % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}
