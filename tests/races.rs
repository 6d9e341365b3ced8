//! The table in `docs/races.md` names a test for each race, and each of them is there and runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Races that the table has to have.
const RACES: usize = 30;

/// The tests of each row, as `path::name`.
fn table(text: &str) -> BTreeMap<String, Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| F"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let named = cells.last().copied().unwrap_or_default().split('`').skip(1).step_by(2);
        (cells.first().copied().unwrap_or_default().to_owned(), named.map(ToOwned::to_owned).collect())
    })
    .collect()
}

/// What keeps a test from running, if anything does.
fn problem(code: &str, name: &str) -> Option<&'static str> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let is_it = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{name}(")))
    };
    let Some(at) = lines.iter().position(is_it) else { return Some("is missing") };
    let above = lines.get(..at).unwrap_or_default();
    let attributes: Vec<&str> = above.iter().rev().take_while(|l| l.starts_with("#[")).copied().collect();
    let is_test = |a: &&str| a.starts_with("#[test]") || a.starts_with("#[tokio::test");
    if !attributes.iter().any(is_test) {
        return Some("is no test");
    }
    attributes.iter().any(|a| a.contains("ignore") || a.starts_with("#[cfg")).then_some("does not always run")
}

/// Everything that is wrong with a table.
fn wrong(table: &BTreeMap<String, Vec<String>>, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut wrong = vec![];
    for race in (1..=RACES).map(|n| format!("F{n}")) {
        let tests = table.get(&race).cloned().unwrap_or_default();
        if tests.is_empty() {
            wrong.push(format!("{race} names no test"));
        }
        for test in tests {
            let (path, name) = test.rsplit_once("::").unwrap_or((&test, ""));
            match read(path) {
                None => wrong.push(format!("{race}: there is no {path}")),
                Some(code) => wrong.extend(problem(&code, name).map(|why| format!("{race}: {test} {why}"))),
            }
        }
    }
    wrong
}

#[test]
fn every_race_has_a_test_that_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table(&fs::read_to_string(root.join("docs/races.md")).unwrap());
    assert_eq!(table.len(), RACES);
    let wrong = wrong(&table, |path| fs::read_to_string(root.join(path)).ok());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_missing_and_an_ignored_test_are_found() {
    let code = "#[test]\nfn good() {}\n#[test]\n#[ignore]\nfn later() {}\nfn helper() {}\n";
    for (name, found) in [
        ("good", None),
        ("later", Some("does not always run")),
        ("helper", Some("is no test")),
        ("gone", Some("is missing")),
        ("goo", Some("is missing")),
    ] {
        assert_eq!(problem(code, name), found, "{name}");
    }
    let rows = table("| F1 | a | b | `x.rs::good`, `x.rs::gone` |\n| F2 | a | b | none |\n");
    let wrong = wrong(&rows, |path| (path == "x.rs").then(|| code.to_owned()));
    assert_eq!(wrong.iter().filter(|w| w.starts_with("F1:")).count(), 1);
    assert_eq!(wrong.len(), 1 + RACES - 1, "{wrong:?}");
}
