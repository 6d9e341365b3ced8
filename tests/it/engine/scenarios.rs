//! Every file in `tests/scenarios` is a test: its timeline is compared with the golden one beside it.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it scenarios` writes the golden timelines anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use crate::support::scratch::scratch;
use reiter8::cli::simulate::timeline;
use reiter8::engine::Outcome;
use reiter8::simulate::{Scenario, Story, play};

/// The story of every scenario's file: what is told of it, and what it is about, are read of the same one.
static STORIES: LazyLock<BTreeMap<PathBuf, Story>> = LazyLock::new(stories);

/// Plays all scenarios, as many at a time as there are processors.
fn stories() -> BTreeMap<PathBuf, Story> {
    let (files, told) = (Mutex::new(scenarios().into_iter()), Mutex::new(BTreeMap::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let next = || files.lock().unwrap().next();
                while let Some(file) = next() {
                    let story = story(&file);
                    told.lock().unwrap().insert(file, story);
                }
            });
        }
    });
    told.into_inner().unwrap()
}

fn story(file: &Path) -> Story {
    let scenario = Scenario::read(&std::fs::read_to_string(file).unwrap()).unwrap();
    let (folder, runtime) = (scratch(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    runtime.block_on(play(&scenario, &folder.path().join("environment.git"), |_| {})).unwrap()
}

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn every_scenario_has_its_golden_timeline() {
    let files = scenarios();
    assert!(files.len() >= 12, "{files:?}");
    let mut wrong = vec![];
    for file in files {
        let (told, golden) = (timeline(&STORIES[&file]), file.with_extension("timeline"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &told).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if told != wanted {
            let differs = told.lines().zip(wanted.lines()).find(|(a, b)| a != b);
            wrong.push(format!(
                "{}: {differs:?} ({} and {} lines)",
                file.display(),
                told.lines().count(),
                wanted.lines().count()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What each scenario is about, said beside its golden file, so that an update of all goldens cannot hide a change.
#[test]
fn every_scenario_ends_as_it_should() {
    let table = [
        ("good", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("bad", Some(Outcome::Discard), Some("Harmful"), 0, true, 1),
        ("broken", Some(Outcome::Discard), Some("Harmful"), 0, true, 1),
        ("late-onset", Some(Outcome::Discard), Some("Harmful"), 0, true, 1),
        ("outage", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("not-ready", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("never-ready", Some(Outcome::Discard), Some("CandidateNotReady"), 0, true, 1),
        ("rejected", Some(Outcome::Discard), Some("RejectedInReview"), 0, true, 2),
        ("stale", Some(Outcome::Discard), Some("Stale"), 0, true, 2),
        ("undecided", Some(Outcome::Discard), Some("Undecided"), 0, true, 1),
        ("hold", Some(Outcome::Discard), Some("Undecided"), 0, true, 1),
        ("steps", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("edited", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("further-files", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("status-only", Some(Outcome::Discard), Some("Harmful"), 0, false, 0),
        ("status-only-good", Some(Outcome::Promote), Some("Proven"), 50, false, 0),
        ("waiting", Some(Outcome::Promote), Some("Proven"), 50, false, 1),
        ("pause", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("pause-harm", Some(Outcome::Discard), Some("Harmful"), 0, true, 1),
        ("abort", Some(Outcome::Discard), Some("Aborted"), 0, true, 1),
        ("abort-review", Some(Outcome::Discard), Some("Aborted"), 0, true, 2),
        ("abort-merged", Some(Outcome::Discard), Some("Aborted"), 0, true, 3),
        ("promote", Some(Outcome::Promote), Some("Requested"), 0, true, 2),
        ("approval", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("retry", Some(Outcome::Discard), Some("Harmful"), 0, false, 2),
        ("retry-promotion", Some(Outcome::Discard), Some("RejectedInReview"), 0, false, 4),
        ("overridden", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("overridden-forever", Some(Outcome::Discard), Some("Undecided"), 0, true, 1),
        ("gitops-reset", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("contested", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("guard", Some(Outcome::Discard), Some("GuardTripped"), 0, true, 2),
        ("guard-merged", Some(Outcome::Discard), Some("GuardTrippedAfterMerge"), 0, true, 3),
        ("candidate-waiting", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("baseline-waiting", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("changed", Some(Outcome::Discard), Some("CandidateChanged"), 0, true, 1),
        ("changed-review", Some(Outcome::Discard), Some("CandidateChanged"), 0, true, 2),
        ("capacity-stated", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("capacity", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("scaled-down", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("retreat", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("blip", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("fixed-split", Some(Outcome::Discard), Some("Unprepared"), 0, true, 1),
        ("unproven", Some(Outcome::Promote), Some("Unproven"), 0, true, 2),
        ("remote-outage", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("remote-lost", Some(Outcome::Discard), Some("Stale"), 0, false, 1),
        ("refused", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("refused-forever", Some(Outcome::Discard), Some("Undecided"), 0, true, 1),
        ("refused-review", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("merged-differently", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("request-pushed", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("squashed", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("auto-merge", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("auto-merge-bad", Some(Outcome::Discard), Some("Harmful"), 0, true, 1),
        ("merge-denied", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("branch-deleted", Some(Outcome::Discard), Some("BranchDeleted"), 0, true, 2),
        ("base-renamed", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("base-reverted", Some(Outcome::Discard), Some("PromotionReverted"), 0, true, 2),
        ("base-rewritten", Some(Outcome::Discard), Some("PromotionReverted"), 0, true, 2),
        ("rollout-failed", Some(Outcome::Discard), Some("BaselineRolloutFailed"), 0, true, 3),
        ("rollout-failed-kept", Some(Outcome::Discard), Some("BaselineRolloutFailed"), 50, false, 2),
        ("single", Some(Outcome::Promote), Some("Proven"), 0, true, 1),
        ("single-rejected", Some(Outcome::Discard), Some("RejectedInReview"), 0, true, 2),
        ("direct", Some(Outcome::Promote), Some("Proven"), 0, true, 0),
        ("direct-bad", Some(Outcome::Discard), Some("Harmful"), 0, true, 0),
        ("direct-aborted", Some(Outcome::Discard), Some("Aborted"), 0, true, 0),
        ("ab", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("ab-worse", Some(Outcome::Discard), Some("Harmful"), 0, true, 1),
        ("race", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("race-harm", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("race-baseline", Some(Outcome::Discard), Some("Outperformed"), 0, true, 1),
        ("race-tie", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
        ("race-lost", Some(Outcome::Promote), Some("Proven"), 0, true, 2),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    assert_eq!(table.len(), scenarios().len(), "a scenario is missing in the table");
    for (name, outcome, reason, weight, removed, requests) in table {
        let story = &STORIES[&folder.join(name).with_extension("yaml")];
        assert_eq!((story.outcome, story.reason), (outcome, reason), "{name}");
        assert_eq!(
            (100 - story.weights.baseline(), story.removed, story.requests.len()),
            (weight, removed, requests),
            "{name}"
        );
        if removed {
            let paths = |files: &[(String, String)]| files.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>();
            assert_eq!(paths(&story.before), paths(&story.after), "{name}: the files are those of before");
        }
        if removed && outcome == Some(Outcome::Discard) {
            assert_eq!(story.before, story.after, "{name}: a discard changes no byte");
        }
    }
}

/// The promotion of one of several candidates takes that one's content, and that one's alone.
#[test]
fn the_winner_of_a_race_is_what_the_baseline_becomes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    for (name, winners) in
        [("race", &["red"][..]), ("race-harm", &["red"]), ("race-tie", &["black", "red"]), ("race-lost", &["red"])]
    {
        let story = &STORIES[&folder.join(name).with_extension("yaml")];
        let winner = story.candidate.as_deref().unwrap();
        assert!(winners.contains(&winner), "{name}: {winner}");
        let changed: Vec<_> = story.after.iter().filter(|file| !story.before.contains(file)).collect();
        let [(path, text)] = changed.as_slice() else { panic!("{name}: {changed:?}") };
        assert_eq!(path, "apps/reviews/reviews.yaml");
        let image = if winner == "red" { "reviews:v3" } else { "reviews:v2" };
        assert!(text.contains(image) && text.contains(&format!("value: {winner}")), "{name}: {text}");
        let promote = &story.requests[0].diff;
        assert!(!promote.contains("a/apps/reviews/reviews-"), "{name}: the first request changes only the baseline");
        let clean_up = &story.requests[1].diff;
        for file in ["reviews-black.yaml", "reviews-red.yaml", "experiment.yaml"] {
            assert!(clean_up.contains(&format!("a/apps/reviews/{file}")), "{name}: {file} is not removed");
        }
    }
}

/// What people should know of a request that was opened or was to be merged is told in this world as in the real one.
#[test]
fn what_the_forge_does_not_take_is_told() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/merge-denied.yaml");
    let told = |needle: &str| STORIES[&file].events.iter().filter(|event| event.what.contains(needle)).count();
    assert!(told("RequestIncomplete: request #1 is open without all that was asked for: label `production`") > 0);
    assert!(told("RequestNotMerged: request #1 has to be merged by a person") > 0);
    assert!(told("RequestNotMerged: request #2 has to be merged by a person") > 0);
}

#[test]
fn a_wrong_scenario_names_its_field() {
    for (text, needle) in [
        ("candidate: {errors: 7 bananas}", "candidate.errors"),
        ("until: soon", "until"),
        ("rps: -3", "rps"),
        ("speed: 3", "speed"),
        ("reviewer: {promote: maybe}", "maybe"),
        ("edits: [{at: 60s, candidate: 101}]", "edits[].candidate"),
        ("outages: [{from: 4m, to: 2m}]", "outages"),
        ("notReady: [{from: 1m, to: 1m}]", "notReady"),
        ("baseline: {reward: -1}", "baseline.reward"),
        ("candidates: {red: {reward: .nan}}", "candidates.*.reward"),
        ("candidate: {from: [{at: 1m}]}", "`errors` or `reward`"),
        ("sample: shop", "shop"),
    ] {
        let error = Scenario::read(text).unwrap_err();
        let said =
            format!("{error} {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        assert!(said.contains(needle), "{text}: {said}");
    }
}

#[tokio::test]
async fn a_candidate_that_is_named_is_one_of_the_experiments() {
    for text in [
        "candidates: {red: {}}",
        "notReady: [{from: 1m, to: 2m, candidate: red}]",
        "changes: [{at: 1m, candidate: red}]",
    ] {
        let folder = scratch();
        let refused = play(&Scenario::read(text).unwrap(), &folder.path().join("environment.git"), |_| {}).await;
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("`red`") && told.contains("`candidate`"), "{text}: {told}");
        let several = Scenario::read(&format!("{{sample: reviews, until: 10s, {text}}}")).unwrap();
        assert!(play(&several, &folder.path().join("reviews.git"), |_| {}).await.is_ok(), "{text}");
    }
}

#[tokio::test]
async fn a_further_file_is_a_new_one_in_the_experiments_directory() {
    for file in ["productpage.yaml", "../x.yaml", ".git", "a/b.yaml"] {
        let scenario = Scenario::read(&format!("experiment: {{gitops: {{remove: ['{file}']}}}}")).unwrap();
        let folder = scratch();
        let refused = play(&scenario, &folder.path().join("environment.git"), |_| {}).await.unwrap_err();
        assert!(refused.to_string().contains(file), "{refused}");
    }
}
