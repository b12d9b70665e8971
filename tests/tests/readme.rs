//! The README's commands do what it says, as they stand there: only machines' addresses, ids, tickets and anchors are filled in.

use std::path::PathBuf;
use std::process::Command;

use frith_tests::binaries::{frith_sim, frith_sim_released, workspace};
use frith_tests::harness::{Fleet, text};
use frith_tests::ports::free_address;
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

/// What differs from run to run is blotted out: ids, times, and heights, since heartbeats come by the clock.
fn normalised(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let blot = |nth: usize| {
        let word = words[nth].trim_end_matches(['…', ',', '.', ';']);
        let is_id = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        let unit = words.get(nth + 1).map(|unit| unit.trim_end_matches(['.', ',']));
        let is_time = is_number && matches!(unit, Some("s" | "ms"));
        let is_height = is_number && nth > 0 && words[nth - 1] == "height";
        if is_id || is_time || is_height { "…" } else { words[nth] }
    };
    (0..words.len()).map(blot).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// Writes what was printed below the command that printed it: for whoever changed it on purpose.
fn rewrite(command: &[String], printed: &str) {
    let text = std::fs::read_to_string(readme()).unwrap();
    let prompt = format!("$ {}\n", command.join(" "));
    let (before, after) = text.split_once(&prompt).expect("the command is there");
    let (_, rest) = after.split_once("```").expect("its block ends");
    std::fs::write(readme(), format!("{before}{prompt}{}\n```{rest}", printed.trim_matches('\n'))).unwrap();
}

/// Compares what the README shows below a command with what it prints. `FRITH_REWRITE=1` writes the one over the other instead.
fn compare(what: &str, printed: &str, differs: fn(&str) -> bool) {
    let shown = commands(&readme(), "Two commands");
    let command = shown.iter().find(|one| one.words.iter().any(|word| word == what)).expect("it is shown");
    if std::env::var_os("FRITH_REWRITE").is_some() {
        rewrite(&command.words, printed);
        return;
    }
    let lines = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        lines.filter(|line| !line.trim().is_empty() && !differs(line)).map(normalised).collect()
    };
    let expected = lines(&mut command.output.iter().map(String::as_str));
    assert_eq!(lines(&mut printed.lines()), expected, "FRITH_REWRITE=1 rewrites it");
}

#[test]
fn the_output_that_the_readme_shows_of_the_demo_is_what_the_demo_prints() {
    compare("demo", &Fleet::new().ok("demo", &["demo"]), |_| false);
}

#[test]
fn the_output_that_the_readme_shows_of_a_thousand_joins_is_what_the_simulator_prints() {
    let shown = commands(&readme(), "Two commands");
    let scenario = "scenarios/joins/thousand.toml";
    let run = shown.iter().find(|one| one.words.iter().any(|word| word == scenario)).expect("it is shown");
    if run.output.is_empty() && std::env::var_os("FRITH_REWRITE").is_none() {
        // It need not show any.
        return;
    }
    let program = frith_sim_released().unwrap_or_else(|| frith_sim().to_path_buf());
    let output = Command::new(program).args(["run", scenario]).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let own_to_the_machine = |line: &str| {
        ["mesh", "time", "memory"].iter().any(|what| line.trim_start().starts_with(&format!("{what}  ")))
    };
    compare(scenario, &text(&output.stdout), own_to_the_machine);
}
