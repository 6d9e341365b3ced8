//! The table in `docs/races.md` names a test for each race, and each of them is there and runs.

use crate::support::named_tests::{check, problem, table, wrong};

/// Races that the table has to have.
const RACES: usize = 30;

#[test]
fn every_race_has_a_test_that_runs() {
    check("docs/races.md", 'F', RACES);
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
    let rows = table("| F1 | a | b | `x.rs::good`, `x.rs::gone` |\n| F2 | a | b | none |\n", 'F');
    let wrong = wrong(&rows, ('F', RACES), |path| (path == "x.rs").then(|| code.to_owned()));
    assert_eq!(wrong.iter().filter(|w| w.starts_with("F1:")).count(), 1);
    assert_eq!(wrong.len(), 1 + RACES - 1, "{wrong:?}");
}
