//! The tables in `docs/outcomes.md` are what happens: each row's scenario is played, its end is put into the resource's
//! status as the controller puts it, and read as `reiter8 assert` reads it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::scratch::scratch;
use reiter8::api::{Experiment, ExperimentStatus};
use reiter8::cli::assert::Expected;
use reiter8::engine::Reason;
use reiter8::simulate::{Request, Scenario, Story, play};

/// Every reason: one that is added has to be added here, and then to the table.
const REASONS: [Reason; 17] = [
    Reason::Proven,
    Reason::Unproven,
    Reason::Requested,
    Reason::Harmful,
    Reason::Undecided,
    Reason::Unprepared,
    Reason::CandidateNotReady,
    Reason::CandidateChanged,
    Reason::GuardTripped,
    Reason::GuardTrippedAfterMerge,
    Reason::RejectedInReview,
    Reason::BranchDeleted,
    Reason::PromotionReverted,
    Reason::BaselineRolloutFailed,
    Reason::Outperformed,
    Reason::Stale,
    Reason::Aborted,
];

/// Fails to compile when a reason is missing in [`REASONS`]'s list of names.
fn is_listed(reason: Reason) -> bool {
    match reason {
        Reason::Proven
        | Reason::Outperformed
        | Reason::Unproven
        | Reason::Requested
        | Reason::Harmful
        | Reason::Undecided
        | Reason::Unprepared
        | Reason::CandidateNotReady
        | Reason::CandidateChanged
        | Reason::GuardTripped
        | Reason::GuardTrippedAfterMerge
        | Reason::RejectedInReview
        | Reason::BranchDeleted
        | Reason::PromotionReverted
        | Reason::BaselineRolloutFailed
        | Reason::Stale
        | Reason::Aborted => REASONS.contains(&reason),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The rows of the table whose head begins with `first`, and the names of its columns.
fn table(first: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(root().join("docs/outcomes.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("| {first} |")));
    let head = cells(lines.next().unwrap_or_else(|| panic!("no table begins with {first}")));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
    (head, rows)
}

async fn story(scenario: &str) -> Story {
    let file = root().join("tests/scenarios").join(scenario).with_extension("yaml");
    let scenario = Scenario::read(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let folder = scratch();
    play(&scenario, &folder.path().join("environment.git"), |_| {}).await.unwrap()
}

fn status(experiment: &Experiment) -> &ExperimentStatus {
    experiment.status.as_ref().unwrap()
}

/// The types of the conditions that hold.
fn holding(experiment: &Experiment) -> String {
    let types: Vec<&str> =
        status(experiment).conditions.iter().filter(|c| c.status == "True").map(|c| c.type_.as_str()).collect();
    types.join(", ")
}

/// The exit code of `reiter8 assert NAME --outcome OUTCOME --timeout 0s`.
fn code(experiment: &Experiment, outcome: &str) -> String {
    let expected = Expected { outcomes: vec![outcome.to_owned()], ..Expected::default() };
    expected.standing(experiment).exit_code().to_string()
}

fn weights(experiment: &Experiment) -> String {
    let values: Vec<String> = status(experiment).weights.iter().map(|w| w.value.to_string()).collect();
    values.join("/")
}

/// A request by its stage; one that was not merged says so.
fn kind(request: &Request) -> String {
    let stage = ["promote", "revert", "cleanup"].into_iter().find(|w| request.branch.contains(&format!("-{w}-")));
    let name = match stage {
        Some("promote") => "Promote",
        Some("revert") => "Revert",
        Some("cleanup") => "CleanUp",
        _ => panic!("{}", request.branch),
    };
    if request.outcome == "merged" { name.to_owned() } else { format!("{name} ({})", request.outcome) }
}

/// The row that a scenario's end makes.
fn ending(story: &Story) -> Vec<String> {
    let last = story.life.last().unwrap();
    let s = status(last);
    // The status may not say other than the routes do.
    assert_eq!(weights(last), story.weights.text(story.candidates.len()));
    assert_eq!((s.phase.as_deref(), s.reason.as_deref()), (Some("Completed"), story.reason));
    let requests: Vec<String> = story.requests.iter().map(kind).collect();
    vec![
        s.reason.clone().unwrap(),
        s.outcome.clone().unwrap(),
        weights(last),
        if requests.is_empty() { "none".to_owned() } else { requests.join(", ") },
        holding(last),
        s.version_recommended_for_promotion.clone().unwrap(),
        code(last, "Promote"),
        code(last, "Discard"),
    ]
}

#[tokio::test]
async fn every_outcome_is_in_the_table_as_it_happens() {
    let (head, rows) = table("reason");
    let columns = "reason, outcome, weights, requests, conditions that hold, recommended version, assert Promote, assert Discard, scenario";
    assert_eq!(head.join(", "), columns);
    let told: BTreeSet<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    for reason in REASONS {
        assert!(is_listed(reason) && told.contains(reason.as_str()), "{} is missing", reason.as_str());
    }
    let scenarios: BTreeSet<&String> = rows.iter().filter_map(|row| row.last()).collect();
    assert_eq!(scenarios.len(), rows.len(), "each row has a scenario of its own");
    let mut wrong = vec![];
    for row in &rows {
        let (scenario, wanted) = row.split_last().unwrap();
        let happened = ending(&story(scenario).await);
        if happened != wanted {
            wrong.push(format!(
                "{scenario}: the table has {wanted:?}, it is\n| `{}` | `{scenario}` |",
                happened.join(" | ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rows of an experiment's phases, each as it looked when it began.
#[tokio::test]
async fn every_phase_is_in_the_table_as_it_looks() {
    let (head, rows) = table("phase");
    let columns =
        "phase, Iter8's stage, outcome, conditions that hold, recommended version, assert Promote, assert Discard";
    assert_eq!(head.join(", "), columns);
    let mut happened: Vec<Vec<String>> = vec![];
    for scenario in ["good", "bad"] {
        for seen in story(scenario).await.life {
            let s = status(&seen);
            let row = vec![
                s.phase.clone().unwrap(),
                serde_json::to_value(s.stage).unwrap().as_str().unwrap().to_owned(),
                s.outcome.clone().unwrap_or_else(|| "none yet".to_owned()),
                holding(&seen),
                s.version_recommended_for_promotion.clone().unwrap(),
                code(&seen, "Promote"),
                code(&seen, "Discard"),
            ];
            if !happened.contains(&row) {
                happened.push(row);
            }
        }
    }
    let wanted: Vec<String> = happened.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
    assert_eq!(rows, happened, "the rows are\n{}", wanted.join("\n"));
}
