//! Tables of the documentation whose rows name tests, `path::name` in the last cell: each is there and runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The tests of each row that begins with this letter and a number, as `path::name`.
pub(crate) fn table(text: &str, letter: char) -> BTreeMap<String, Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with(&format!("| {letter}")));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let named = cells.last().copied().unwrap_or_default().split('`').skip(1).step_by(2);
        (cells.first().copied().unwrap_or_default().to_owned(), named.map(ToOwned::to_owned).collect())
    })
    .collect()
}

/// What keeps a test from running, if anything does.
pub(crate) fn problem(code: &str, name: &str) -> Option<&'static str> {
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

/// Everything that is wrong with a table that should have these rows.
pub(crate) fn wrong(
    table: &BTreeMap<String, Vec<String>>,
    (letter, rows): (char, usize),
    read: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut wrong = vec![];
    for row in (1..=rows).map(|n| format!("{letter}{n}")) {
        let tests = table.get(&row).cloned().unwrap_or_default();
        if tests.is_empty() {
            wrong.push(format!("{row} names no test"));
        }
        for test in tests {
            let (path, name) = test.rsplit_once("::").unwrap_or((&test, ""));
            match read(path) {
                None => wrong.push(format!("{row}: there is no {path}")),
                Some(code) => wrong.extend(problem(&code, name).map(|why| format!("{row}: {test} {why}"))),
            }
        }
    }
    wrong
}

/// Holds a page to its tests.
pub(crate) fn check(page: &str, letter: char, rows: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table(&fs::read_to_string(root.join(page)).unwrap(), letter);
    assert_eq!(table.len(), rows);
    let wrong = wrong(&table, (letter, rows), |path| fs::read_to_string(root.join(path)).ok());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
