//! `reiter8 demo`, as somebody runs it; what its document says is derived again from the kept repositories with `git`.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

fn demo(args: &[&str]) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_reiter8")).arg("demo").args(args).args(["-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn git(repository: &Path, args: &[&str]) -> Vec<String> {
    let output = Command::new("git").arg("-C").arg(repository).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_document_is_what_the_repositories_say() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let document = demo(&["--keep", folder.path().to_str().unwrap()]);
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
    let scenarios = document["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>(), ["good", "bad"]);
    for told in scenarios {
        let name = told["name"].as_str().unwrap();
        let repository = folder.path().join(format!("{name}.git"));
        let mut log = git(&repository, &["log", "--format=%H %s", "main"]);
        let mut commits = strings(&told["commits"]);
        log.sort();
        commits.sort();
        assert_eq!(log, commits);
        assert_eq!(git(&repository, &["ls-tree", "-r", "--name-only", "main"]), strings(&told["filesAfter"]));
        let first = git(&repository, &["rev-list", "--max-parents=0", "main"]);
        assert_eq!(git(&repository, &["ls-tree", "-r", "--name-only", &first[0]]), strings(&told["filesBefore"]));
        // The outcome, from Git alone: a promotion changed the baseline's manifest, a discard changed nothing.
        let changed = git(&repository, &["diff", "--name-only", &first[0], "main"]);
        let outcome = if changed.is_empty() { "Discard" } else { "Promote" };
        assert_eq!(told["outcome"], outcome);
        let merges = git(&repository, &["log", "--merges", "--format=%s", "main"]).len();
        assert_eq!(merges, if outcome == "Promote" { 2 } else { 1 });
        assert_eq!(told["finalWeights"], serde_json::json!({"baseline": 100, "candidate": 0}));
        let trailers =
            git(&repository, &["log", "--no-merges", "--format=%(trailers:key=Iter8-Stage,valueonly)", "main"]);
        let stages: Vec<&String> = trailers.iter().filter(|t| !t.is_empty()).collect();
        assert_eq!(stages.len(), merges, "{stages:?}");
    }
}

#[test]
fn arguments_change_what_happens() {
    let outcomes = |document: &Value| {
        document["scenarios"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["outcome"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&demo(&[])), ["Promote", "Discard"]);
    assert_eq!(outcomes(&demo(&["--candidate-errors", "5%,0.1%"])), ["Discard", "Promote"]);
    let numbers = |document: &Value| {
        let all = document["scenarios"].as_array().unwrap();
        all.iter().map(|s| (s["secondsToDecision"].clone(), s["badRequests"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(demo(&["--seed", "4"]), demo(&["--seed", "4"]), "the seed determines everything");
    assert_ne!(numbers(&demo(&["--seed", "4"])), numbers(&demo(&["--seed", "5"])));
}

#[test]
fn the_story_shows_both_requests_with_their_diffs() {
    let output = Command::new(env!("CARGO_BIN_EXE_reiter8")).arg("demo").output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for needle in [
        "Pull request #1: Promote candidate",
        "+        image: reiter8.dev/productpage:v2",
        "Pull request #2",
        "discarded",
        "of 20",
    ] {
        assert!(story.contains(needle), "{needle} is missing in:\n{story}");
    }
    assert!(!story.contains('\x1b'), "no colours for a pipe");
}

#[test]
fn wrong_arguments_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("good.git")).unwrap();
    for (args, needle, code) in [
        (vec!["--candidate-errors", "lots"], "lots", 2),
        (vec!["--keep", folder.path().to_str().unwrap()], "is there already", 1),
        (vec!["--output", "xml"], "xml", 2),
        (vec!["--candidate-errors", "5%,1%,0.1%"], "one share or two", 2),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_reiter8")).arg("demo").args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(needle), "{said}");
    }
}

#[test]
fn a_reader_who_leaves_early_is_no_failure() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/good.yaml");
    for args in [vec!["demo"], vec!["demo", "-o", "json"], vec!["simulate", scenario]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reiter8"))
            .args(&args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
