//! Scenario files: what is wrong with one is named, with its line and what was meant.

use std::path::{Path, PathBuf};

use frith_simulator::scenario::{Joined, NodeName, Scenario};

const GOOD: &str = r#"about = "Some newcomers come."

[mesh]
newcomers = 10
endorsers = 4
faults = 1

[[fault]]
at_ms = 1_000
for_ms = 500
kill = ["endorser 2"]

[expect]
joined = "all"
"#;

fn refusal(text: &str) -> String {
    match Scenario::parse("test", "test.toml", text.to_owned()) {
        Ok(scenario) => panic!("it was accepted: {scenario:?}"),
        Err(bad) => bad.to_string(),
    }
}

/// What is said when `from` is replaced by `to` in the good file.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from} is not in the file");
    refusal(&GOOD.replace(from, to))
}

#[test]
fn a_good_file_is_read() {
    let scenario = Scenario::parse("test", "test.toml", GOOD.to_owned()).unwrap();
    assert_eq!(scenario.script.expect.joined, Some(Joined::All));
    assert_eq!(scenario.script.seed, 1);
    let kill = scenario.script.fault[0].kill.as_ref().unwrap();
    assert_eq!(*kill[0].as_ref(), NodeName::Endorser(2));
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_key_that_was_meant() {
    let said = with("endorsers = 4", "endorser = 4");
    assert!(said.starts_with("test.toml:5: unknown key `endorser`: did you mean `endorsers`?"), "{said}");
    assert!(said.ends_with("endorser = 4"), "{said}");
    let said = with("for_ms = 500", "form_s = 500");
    assert!(said.contains("test.toml:10:") && said.contains("did you mean `for_ms`?"), "{said}");
    let said = with("[expect]", "[expects]");
    assert!(said.contains("test.toml:13:") && said.contains("did you mean `expect`?"), "{said}");
}

#[test]
fn a_key_that_is_like_none_is_refused_with_those_that_are_known() {
    let said = with("faults = 1", "colour = 1");
    assert!(
        said.contains("unknown key `colour`: known here are newcomers, endorsers, faults, admit"),
        "{said}"
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    let said = with("newcomers = 10", "newcomers = \"ten\"");
    assert!(said.starts_with("test.toml:4:") && said.contains("expected u32"), "{said}");
    let said = with("joined = \"all\"", "joined = \"most\"");
    assert!(said.starts_with("test.toml:14:") && said.contains("a number, or \"all\""), "{said}");
    let said = with("kill = [\"endorser 2\"]", "kill = [\"endorser two\"]");
    assert!(said.starts_with("test.toml:11:") && said.contains("names no node"), "{said}");
}

#[test]
fn a_missing_key_and_broken_syntax_are_refused_with_a_line() {
    let said = with("newcomers = 10\n", "");
    assert!(said.starts_with("test.toml:3:") && said.contains("missing field `newcomers`"), "{said}");
    let said = with("endorsers = 4", "endorsers = = 4");
    assert!(said.starts_with("test.toml:5:"), "{said}");
}

#[test]
fn a_node_that_will_not_be_there_is_refused_where_it_is_named() {
    let said = with("endorser 2", "endorser 4");
    assert!(
        said.starts_with("test.toml:11: there is no endorser 4: domain 0 has 4 endorsers, counted from 0"),
        "{said}"
    );
    let said = with("at_ms = 1_000", "at_ms = 1_000\ndomain = 3");
    assert!(said.starts_with("test.toml:12: there is no domain 3: there are 1"), "{said}");
    let scenario = GOOD.replace("endorser 2", "newcomer 9");
    let scenario = Scenario::parse("test", "test.toml", scenario).unwrap();
    let said = scenario.with_newcomers(5).unwrap_err().to_string();
    assert!(said.contains("there is no newcomer 9"), "{said}");
}

#[test]
fn a_fault_is_one_thing() {
    let said = with("kill = [\"endorser 2\"]", "kill = [\"endorser 2\"]\nloss_ppm = 5");
    assert!(said.contains("the fault at 1000 ms is 2 things at once"), "{said}");
    let said = with("kill = [\"endorser 2\"]", "roll_back = [\"endorser 2\"]");
    assert!(said.contains("`roll_back` and `as_of_ms` go together"), "{said}");
    let said = with("kill = [\"endorser 2\"]", "step_clock = [\"endorser 2\"]");
    assert!(said.contains("`step_clock` and `by_ms` go together"), "{said}");
}

#[test]
fn an_act_is_one_thing() {
    let act = |keys: &str| with("[expect]", &format!("[[act]]\nat_ms = 7\n{keys}\n\n[expect]"));
    let one = "the act at 7 ms needs exactly one of `revoke`, `leave`, `suspend`, `hold`, `release`, `renew`, `rotate`";
    for keys in ["", "suspend = \"newcomer 1\"\nrelease = \"newcomer 1\""] {
        let said = act(keys);
        assert!(said.starts_with("test.toml:13:") && said.contains(one), "{said}");
    }
    let said = act("release = \"newcomer 1\"\nfor_ms = 5");
    assert!(said.contains("in an act, `for_ms` goes with `suspend`"), "{said}");
    let said = act("suspend = \"newcomer 1\"\nby = \"endorser 1\"");
    assert!(said.contains("in an act, `by` goes with `hold`"), "{said}");
    let said = act("hold = [\"newcomer 10\"]");
    assert!(said.contains("there is no newcomer 10"), "{said}");
    let said = act("suspend = \"newcomer 10\"");
    assert!(said.contains("there is no newcomer 10"), "{said}");
}

#[test]
fn what_cannot_be_is_refused() {
    let said = with("faults = 1", "faults = 1\nmembers_max = 4");
    assert!(said.starts_with("test.toml:7:") && said.contains("leave no place for a newcomer"), "{said}");
    let said = with("[expect]", "[network]\nlatency_ms = [100, 10]\n\n[expect]");
    assert!(said.starts_with("test.toml:14:") && said.contains("goes from 100 down to 10"), "{said}");
    let said = with("[expect]", "[network]\nloss_ppm = 2_000_000\n\n[expect]");
    assert!(said.contains("a million is every message"), "{said}");
    let said = with("[expect]", "[gossip]\nmesh = 20\n\n[expect]");
    assert!(said.contains("mesh_low <= mesh <= mesh_high"), "{said}");
    let said = with("[expect]", "[arrivals]\nper_second = 0\n\n[expect]");
    assert!(said.contains("nobody would ever come"), "{said}");
}

#[test]
fn newcomers_are_spread_over_as_many_domains_as_they_need() {
    let text = GOOD.replace("newcomers = 10", "newcomers = 1000\nmembers_max = 256");
    let script = Scenario::parse("test", "test.toml", text).unwrap().script;
    assert_eq!(script.newcomers_by_domain(), [250, 250, 250, 250]);
    let text = GOOD.replace("newcomers = 10", "newcomers = 11\nmembers_max = 8");
    let script = Scenario::parse("test", "test.toml", text).unwrap().script;
    assert_eq!(script.newcomers_by_domain(), [4, 4, 3]);
}

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn the_readme_lists_every_scenario_with_what_it_says_of_itself_and_no_other() {
    let mut found = Vec::new();
    files(&scenarios(), &mut found);
    let mut expected: Vec<String> = found
        .iter()
        .map(|file| {
            let scenario = Scenario::read(file).unwrap_or_else(|bad| panic!("{bad}"));
            format!("| [`{0}`]({0}.toml) | {1} |", scenario.name, scenario.script.about)
        })
        .collect();
    expected.sort();
    let readme = std::fs::read_to_string(scenarios().join("README.md")).unwrap();
    let listed: Vec<&str> = readme.lines().filter(|line| line.starts_with("| [`")).collect();
    assert_eq!(listed, expected);
}

/// Every key of every section stands in the guide, and the guide speaks of none that is unknown.
#[test]
fn the_readme_explains_every_key() {
    let readme = std::fs::read_to_string(scenarios().join("README.md")).unwrap();
    for section in [
        "mesh", "arrivals", "network", "gossip", "disks", "clocks", "timing", "chaos", "run", "expect",
        "act", "fault", "liar",
    ] {
        let wrap = if ["act", "fault", "liar"].contains(&section) {
            format!("[[{section}]]")
        } else {
            format!("[{section}]")
        };
        let said = refusal(&format!("about = \"\"\n\n{wrap}\nno_such_key_at_all = 1\n"));
        let known = said.split("known here are ").nth(1).unwrap_or_else(|| panic!("{said}"));
        let known = known.lines().next().unwrap().split(", ");
        let explained: Vec<&str> = readme
            .split(&format!("### `{wrap}`"))
            .nth(1)
            .unwrap_or_else(|| panic!("{wrap} has no section"))
            .split("\n### ")
            .next()
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .flat_map(|line| line.split(" |").next().unwrap().split(", "))
            .map(|key| key.trim_matches('`'))
            .collect();
        assert_eq!(explained, known.collect::<Vec<_>>(), "in {wrap}");
    }
}

#[test]
fn what_does_not_go_with_an_act_is_refused() {
    for (act, part) in [
        ("leave = \"newcomer 1\"\nfaction = [\"endorser 1\"]", "`faction` goes with `revoke` or `suspend`"),
        ("revoke = \"newcomer 1\"\nfaction = []", "`faction` names endorsers"),
        ("revoke = \"newcomer 1\"\nfaction = [\"newcomer 2\"]", "`faction` names endorsers"),
        ("revoke = \"newcomer 1\"\nfaction = [\"endorser 9\"]", "there is no endorser 9"),
        ("revoke = \"endorser 1\"\nand_next = 2\nevery_ms = 5", "about a newcomer"),
        ("seat = [\"newcomer 1\"]\nand_next = 2\nevery_ms = 5", "about a newcomer"),
        ("revoke = \"newcomer 1\"\nand_next = 2", "go together"),
        ("revoke = \"newcomer 1\"\nevery_ms = 5", "go together"),
    ] {
        let said = refusal(&format!("{GOOD}\n[[act]]\nat_ms = 5\n{act}\n"));
        assert!(said.contains(part), "{act}: {said}");
    }
}
