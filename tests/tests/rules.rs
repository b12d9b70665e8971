//! The rules of `protocol/SPEC.md` and the tests that quote them: each rule has its number alone, a test that begins with it, and no test
//! or comment names a rule that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Section and number.
type Rule = (u32, u32);

/// The number at the beginning of `text`, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// The rule at the beginning of `text`, its two numbers joined by `point`; and what follows it.
fn rule(text: &str, point: char) -> Option<(Rule, &str)> {
    let (section, rest) = number(text)?;
    let (number, rest) = number(rest.strip_prefix(point)?)?;
    Some(((section, number), rest))
}

/// The rules that a specification sets, in its order: a paragraph that begins with a number at the left edge.
fn rules_of(spec: &str) -> Vec<Rule> {
    spec.lines()
        .filter_map(|line| rule(line, '.').filter(|(_, rest)| rest.starts_with(' ')))
        .map(|r| r.0)
        .collect()
}

/// What a source says of rules: which its tests quote, with the name of the test, and which it mentions otherwise.
fn quoted_by(source: &str) -> (Vec<(Rule, String)>, Vec<Rule>) {
    let (mut tests, mut attributes) = (Vec::new(), String::new());
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push_str(line);
            continue;
        }
        let name = line.trim_start_matches("async ").strip_prefix("fn ").unwrap_or_default();
        let name = name.split('(').next().unwrap_or_default();
        let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
        let quoted = name.strip_prefix("rule_").and_then(|rest| rule(rest, '_'));
        if let Some((quoted, rest)) = quoted
            && is_test
            && rest.starts_with('_')
        {
            tests.push((quoted, name.to_owned()));
        }
        attributes.clear();
    }
    let mentions = source.split("SPEC ").skip(1).filter_map(|rest| rule(rest, '.')).map(|r| r.0).collect();
    (tests, mentions)
}

/// What is wrong between a specification and the sources, by their names.
fn faults(spec: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut rules, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for rule @ (a, b) in rules_of(spec) {
        if !rules.insert(rule) {
            faults.push(format!("SPEC.md has two rules {a}.{b}"));
        }
    }
    for (path, source) in sources {
        let (tests, mentions) = quoted_by(source);
        for (rule @ (a, b), name) in tests {
            shown.insert(rule);
            if !rules.contains(&rule) {
                faults.push(format!("{path}: {name} quotes rule {a}.{b}, which SPEC.md does not have"));
            }
        }
        for (a, b) in mentions.into_iter().filter(|rule| !rules.contains(rule)) {
            faults.push(format!("{path} mentions rule {a}.{b}, which SPEC.md does not have"));
        }
    }
    let missing = rules.difference(&shown);
    faults.extend(missing.map(|(a, b)| format!("no test's name begins with rule_{a}_{b}_")));
    faults
}

fn sources_under(directory: &Path, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).expect("the workspace can be read") {
        let path = entry.expect("the workspace can be read").path();
        if path.is_dir() {
            sources_under(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).expect("sources are text");
            into.insert(path.display().to_string(), source);
        }
    }
}

#[test]
fn every_rule_has_a_number_of_its_own_and_a_test_that_quotes_it() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let spec = fs::read_to_string(root.join("protocol/SPEC.md")).expect("the specification is there");
    let mut sources = BTreeMap::new();
    for member in ["protocol", "node", "simulator"] {
        sources_under(&root.join(member), &mut sources);
    }
    // All but this file, which quotes rules that nobody has.
    sources_under(&root.join("tests/src"), &mut sources);
    sources_under(&root.join("tests/tests"), &mut sources);
    sources.retain(|path, _| !path.ends_with("tests/tests/rules.rs"));
    assert!(rules_of(&spec).len() > 80, "the rules of SPEC.md are not recognised any more");
    let faults = faults(&spec, &sources);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The rules that some source names in full, between these words.
fn rules_between(text: &str, from: &str, to: &str) -> BTreeSet<Rule> {
    let text = text.split(from).nth(1).unwrap_or_default().split(to).next().unwrap_or_default();
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    words
        .filter_map(|word| rule(word.trim_matches('.'), '.').filter(|(_, rest)| rest.is_empty()))
        .map(|r| r.0)
        .collect()
}

#[test]
fn every_rule_is_loosened_by_a_planted_bug_or_the_readme_says_why_not() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("it is there");
    let rules: BTreeSet<Rule> = rules_of(&read("protocol/SPEC.md")).into_iter().collect();
    let mut planted = rules_between(&read("protocol/src/planted.rs"), "bugs! {", "\n}\n");
    planted.extend(rules_between(&read("protocol/src/agreement/planted.rs"), "enum Planted {", "\n}\n"));
    let explained = rules_between(&read("tests/README.md"), "### Rules with nothing planted", "\n## ");
    assert!(planted.len() > 60, "what is planted is not recognised any more: {planted:?}");
    let neither: Vec<_> =
        rules.iter().filter(|it| !planted.contains(it) && !explained.contains(it)).collect();
    assert!(neither.is_empty(), "nothing is planted in {neither:?}, and tests/README.md does not say why");
    let both: Vec<_> = planted.intersection(&explained).collect();
    assert!(both.is_empty(), "something is planted in {both:?} by now: tests/README.md says there is not");
    let unknown: Vec<_> = planted.union(&explained).filter(|it| !rules.contains(it)).collect();
    assert!(unknown.is_empty(), "SPEC.md has no rules {unknown:?}");
}

#[test]
fn a_missing_test_a_number_used_twice_and_an_unknown_rule_are_named() {
    let spec = "# Rules\n\n## 1 Section\n\n1.1 **One.** See 9.9.\n    2.2 of something\n1.2 Two.\n1.2 Two, too.\n10.11 Far.\n";
    assert_eq!(rules_of(spec), [(1, 1), (1, 2), (1, 2), (10, 11)]);
    let source = "
        /// As SPEC 1.1 says, and SPEC 7.7–7.8.
        fn rule_10_11_is_no_test() {}
        #[test]
        fn rule_1_1_holds() {}
        #[tokio::test(start_paused = true)]
        async fn rule_3_4_holds() {}
        #[test]
        fn rule_1_10th_is_no_quotation() {}
    ";
    let sources = BTreeMap::from([("a.rs".to_owned(), source.to_owned())]);
    let expected = [
        "SPEC.md has two rules 1.2",
        "a.rs: rule_3_4_holds quotes rule 3.4, which SPEC.md does not have",
        "a.rs mentions rule 7.7, which SPEC.md does not have",
        "no test's name begins with rule_1_2_",
        "no test's name begins with rule_10_11_",
    ];
    assert_eq!(faults(spec, &sources), expected);
}
