//! `docs/operations.md` says what the program does: flags and exit codes are those of `--help`, and what it says of
//! trouble is tried by a test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{ArgAction, CommandFactory as _};
use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The cells of the table in a section.
fn table(section: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, body) = text.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let rows = body.split("\n## ").next().unwrap_or_default().lines().filter(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_flags_of_run_are_those_of_its_help() {
    let mut cli = reiter8::cli::Cli::command();
    cli.build();
    let run = cli.find_subcommand("run").unwrap();
    let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
    let own = |a: &&clap::Arg| !matches!(a.get_action(), ArgAction::Help | ArgAction::Version);
    let flags = run.get_arguments().filter(own);
    let wanted: Vec<Vec<String>> = flags
        .map(|flag| {
            let default: Vec<_> = flag.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
            vec![
                format!("`--{}`", flag.get_long().unwrap()),
                code(flag.get_env().map(|v| v.to_string_lossy().into_owned()).unwrap_or_default()),
                if flag.is_required_set() { "required".to_owned() } else { code(default.join(", ")) },
                flag.get_help().unwrap().to_string(),
            ]
        })
        .collect();
    let rows: Vec<String> = wanted.iter().map(|cells| format!("| {} |", cells.join(" | "))).collect();
    assert_eq!(table("Flags of `reiter8 run`"), wanted, "the rows are\n{}", rows.join("\n"));
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let cli = reiter8::cli::Cli::command();
    let code = Regex::new(r"(?:^|[,:\n])\s*(\d)\s").unwrap();
    let mut wanted = BTreeSet::new();
    let below = |command: &clap::Command| {
        let name = command.get_name().to_owned();
        let own = (name.clone(), command.clone());
        let deeper = command.get_subcommands().map(move |c| (format!("{name} {}", c.get_name()), c.clone()));
        std::iter::once(own).chain(deeper.collect::<Vec<_>>())
    };
    for (name, command) in cli.get_subcommands().flat_map(below) {
        let help = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
        let Some((_, codes)) = help.as_deref().and_then(|h| h.split_once("Exit codes")) else { continue };
        let codes = codes.split("\n\n").next().unwrap();
        let found = code.captures_iter(codes).map(|c| c[1].parse::<u8>().unwrap());
        // Those below are everybody's, and said above the table.
        wanted.extend(found.filter(|code| *code > 2).map(|code| (name.clone(), code)));
    }
    assert!(wanted.len() >= 13, "{wanted:?}");
    let name = Regex::new("`([a-z ]+)`").unwrap();
    let rows = table("Exit codes");
    let told: BTreeSet<(String, u8)> = rows
        .iter()
        .flat_map(|row| name.captures_iter(&row[0]).map(|c| (c[1].to_owned(), row[1].parse().unwrap())))
        .collect();
    assert_eq!(told, wanted);
}

#[test]
fn what_is_said_of_trouble_is_tried_by_a_test() {
    let rows = table("When something is down");
    assert!(rows.len() >= 5, "{rows:?}");
    for row in rows {
        for test in row[2].split(", ") {
            let (file, name) = test.trim_matches('`').split_once("::").unwrap_or_else(|| panic!("{test}"));
            let text = std::fs::read_to_string(root().join("tests").join(file).with_extension("rs")).unwrap();
            let (before, _) = text.split_once(&format!("fn {name}(")).unwrap_or_else(|| panic!("no {test}"));
            assert!(!before.lines().rev().take(3).any(|l| l.contains("#[ignore")), "{test} is ignored");
            let called = text.matches(&format!("{name}(")).count() > 1;
            assert!(called || before.trim_end().ends_with("#[test]"), "{test} is never run");
        }
    }
}
