//! The README's commands do what it says, as they stand there: only machines' addresses, ids, tickets and anchors are filled in.

use std::path::PathBuf;

use frith_tests::binaries::workspace;
use frith_tests::harness::{Fleet, free_address, text};
use frith_tests::readme::{Shown, commands};

const SECTION: &str = "A mesh of four machines";

fn readme() -> PathBuf {
    workspace().join("README.md")
}

/// What stands in for the placeholders of the text.
struct Reader {
    fleet: Fleet,
    ticket: String,
    anchor: String,
}

impl Reader {
    /// The arguments of a command, with machine `name` typing it.
    fn args(&self, shown: &Shown, name: &str, address: Option<&str>) -> Vec<String> {
        assert_eq!(shown.words[0], "frith", "{shown:?}");
        let mut args: Vec<String> = Vec::new();
        let mut words = shown.words[1..].iter().peekable();
        while let Some(word) = words.next() {
            match word.as_str() {
                // Each machine has a directory D of its own: here, by FRITH_DIR.
                "--dir" => assert_eq!(words.next().map(String::as_str), Some("D"), "{shown:?}"),
                "--address" => {
                    let address = address.expect("addresses are for init").to_owned();
                    words.next();
                    args.extend(["--address".to_owned(), address.clone(), "--listen".to_owned(), address]);
                }
                "TICKET" => args.push(self.ticket.clone()),
                "ANCHOR" => args.push(self.anchor.clone()),
                "ID" => args.push(self.waits_at(name)),
                other => args.push(other.to_owned()),
            }
        }
        args
    }

    /// What `frith pending` shows as waiting for this operator.
    fn waits_at(&self, name: &str) -> String {
        self.fleet.ok(name, &["wait", "pending", "--timeout", "60s"]);
        let pending = self.fleet.json(name, &["pending"]);
        let waits = pending.as_array().into_iter().flatten();
        let open = waits.into_iter().find(|one| one["decision"] != "endorsed").expect("something waits");
        open["id"].as_str().expect("it has an id").to_owned()
    }

    fn type_at(&self, shown: &Shown, name: &str, address: Option<&str>) -> String {
        let args = self.args(shown, name, address);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.fleet.ok(name, &args)
    }
}

/// `a.card`, `a.sig` on another machine have that machine's letter.
fn on(shown: &Shown, name: &str) -> Shown {
    let renamed = |word: &String| match word.as_str() {
        "a.card" if shown.words[2] == "card" => format!("{name}.card"),
        "a.sig" if shown.words[2] == "sign" => format!("{name}.sig"),
        _ => word.clone(),
    };
    Shown { words: shown.words.iter().map(renamed).collect(), ..shown.clone() }
}

#[test]
fn a_mesh_of_four_machines_is_founded_and_admits_by_the_readmes_own_commands() {
    let shown = commands(&readme(), SECTION);
    let find = |machine: &str, words: &[&str]| -> Shown {
        let found = shown.iter().find(|one| {
            one.machine.as_deref() == Some(machine)
                && words.iter().all(|word| one.words.iter().any(|w| w == word))
        });
        found
            .unwrap_or_else(|| panic!("the README shows no {words:?} on machine {machine}: {shown:#?}"))
            .clone()
    };
    let founders = ["a", "b", "c", "d"];
    let mut reader = Reader { fleet: Fleet::new(), ticket: String::new(), anchor: String::new() };

    for name in founders {
        reader.type_at(&find("a", &["init"]), name, Some(&free_address()));
        reader.type_at(&on(&find("a", &["found", "card"]), name), name, None);
    }
    reader.type_at(&find("a", &["found", "draft"]), "a", None);
    for name in founders {
        reader.type_at(&on(&find("a", &["found", "sign"]), name), name, None);
    }
    for name in founders {
        reader.type_at(&find("a", &["found", "open"]), name, None);
    }
    for name in founders {
        assert_eq!(reader.args(&find("a", &["run"]), name, None), ["run"]);
        reader.fleet.run(name);
    }
    reader
        .fleet
        .until("all founders are connected", &founders, |status| status["endorsers"]["connected"] == 4);

    // By ticket: one proposes, two more countersign.
    let invite = reader.args(&find("a", &["invite"]), "a", None);
    let child = reader.fleet.command("a", &invite).stdout(std::process::Stdio::piped()).spawn().unwrap();
    for name in ["b", "c"] {
        reader.fleet.ok(name, &["wait", "pending", "--timeout", "60s"]);
        assert!(!reader.type_at(&find("b", &["pending"]), name, None).is_empty());
        reader.type_at(&find("b", &["endorse"]), name, None);
    }
    reader.ticket = text(&child.wait_with_output().unwrap().stdout).trim().to_owned();
    assert!(reader.ticket.starts_with("frith-ticket-"), "{}", reader.ticket);
    reader.type_at(&find("e", &["init"]), "e", Some(&free_address()));
    let join = reader.args(&find("e", &["join"]), "e", None);
    reader.fleet.start("e", &join.iter().map(String::as_str).collect::<Vec<_>>());
    reader.fleet.ok("e", &["wait", "member", "--timeout", "60s"]);

    // By approval: three say yes.
    reader.anchor = reader.type_at(&find("a", &["anchor"]), "a", None).trim().to_owned();
    reader.type_at(&find("f", &["init"]), "f", Some(&free_address()));
    let join = reader.args(&find("f", &["join"]), "f", None);
    reader.fleet.start("f", &join.iter().map(String::as_str).collect::<Vec<_>>());
    reader
        .fleet
        .until("its draft waits for three operators", &["a", "b", "c"], |status| status["pending"] == 1);
    for name in ["a", "b", "c"] {
        reader.type_at(&find("a", &["endorse"]), name, None);
    }
    reader.fleet.ok("f", &["wait", "member", "--timeout", "60s"]);
    let everybody = ["a", "b", "c", "d", "e", "f"];
    reader.fleet.until("everybody knows all six", &everybody, |status| status["members"] == 6);
    reader.fleet.until_heads_are_equal(&everybody, 2);
}

/// Ids, times, ports, sizes and rates differ from run to run; words do not.
fn normalised(line: &str) -> String {
    let mut out = String::new();
    let mut token = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || c == '.' && !token.is_empty() {
            token.push(c);
            continue;
        }
        let hex = token.len() >= 8 && token.chars().all(|c| c.is_ascii_hexdigit());
        let number = token.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if hex || number { "…" } else { &token });
        token.clear();
        if c != '\n' {
            out.push(c);
        }
    }
    out.trim_end().to_owned()
}

#[test]
fn the_output_that_the_readme_shows_of_the_demo_is_what_the_demo_prints() {
    let shown = commands(&readme(), "Two commands");
    let demo =
        shown.iter().find(|one| one.words.iter().any(|word| word == "demo")).expect("it shows the demo");
    assert_eq!(demo.words, ["cargo", "run", "--release", "--bin", "frith", "--", "demo"]);
    let fleet = Fleet::new();
    let printed = fleet.ok("demo", &["demo"]);
    let words = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        lines.map(normalised).filter(|line| !line.is_empty() && line != "… s" && line != "   … s").collect()
    };
    let expected = words(&mut demo.output.iter().map(String::as_str));
    assert_eq!(words(&mut printed.lines()), expected);
}
