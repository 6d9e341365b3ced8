//! The table in `docs/outcomes.md` is what happens: each row's scenario is played and compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use reiter8::engine::Reason;
use reiter8::simulate::{Request, Scenario, play};

/// Every reason: one that is added has to be added here, and then to the table.
const REASONS: [Reason; 16] = [
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
    Reason::Stale,
    Reason::Aborted,
];

/// Fails to compile when a reason is missing in [`REASONS`]'s list of names.
fn is_listed(reason: Reason) -> bool {
    match reason {
        Reason::Proven
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

fn kind(request: &Request) -> String {
    let stage = ["promote", "revert", "cleanup"].into_iter().find(|w| request.branch.contains(&format!("-{w}-")));
    let name = match stage {
        Some("promote") => "Promote",
        Some("revert") => "Revert",
        _ => "CleanUp",
    };
    if request.outcome == "closed" { format!("{name} (closed)") } else { name.to_owned() }
}

#[tokio::test]
async fn the_table_is_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/outcomes.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let told: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    for reason in REASONS {
        assert!(is_listed(reason) && told.contains(&reason.as_str()), "{} is missing", reason.as_str());
    }
    assert_eq!(rows.len(), REASONS.len());
    for row in rows {
        let [reason, outcome, weights, requests, recommended, scenario] = row[..] else { panic!("{row:?}") };
        let file = root.join("tests/scenarios").join(scenario).with_extension("yaml");
        let scenario = Scenario::read(&std::fs::read_to_string(file).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let story = play(&scenario, &folder.path().join("environment.git"), |_| {}).await.unwrap();
        let opened: Vec<String> = story.requests.iter().map(kind).collect();
        assert_eq!(story.reason, Some(reason), "{row:?}");
        assert_eq!(story.outcome.unwrap().as_str(), outcome, "{row:?}");
        assert_eq!(format!("{}/{}", 100 - story.candidate_weight, story.candidate_weight), weights, "{row:?}");
        assert_eq!(opened.join(", "), requests, "{row:?}");
        let promoted = if outcome == "Promote" { "candidate" } else { "baseline" };
        assert_eq!(recommended, promoted, "{row:?}");
    }
}
