//! What a status keeps of an experiment: what release 0.1 wrote is read, and written again as it was.

use reiter8::engine::{Progress, Stage, StageState};
use serde_json::{Value, json};

const BASE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OURS: &str = "0123456789abcdef0123456789abcdef01234567";
const MERGED: &str = "cccccccccccccccccccccccccccccccccccccccc";

/// A promotion that was merged, whose clean-up waits, as release 0.1 wrote it.
fn written() -> Value {
    let work = json!({"base": BASE, "commit": OURS, "files": ["edit apps/app.yaml"], "after": {"apps/app.yaml": "0f"}});
    let stages = json!([
        {"stage": "Promote", "attempt": 1, "state": "Done", "since": "2026-01-01T01:00:00Z",
            "opened": "2026-01-01T00:30:00Z", "work": work, "number": 7, "url": "https://git.example.com/7",
            "merged": MERGED, "differently": true},
        {"stage": "CleanUp", "attempt": 2, "state": "Waiting", "since": "2026-01-01T02:00:00Z",
            "opened": "2026-01-01T02:00:00Z", "tidied": 1, "work": {"base": BASE, "commit": OURS, "files": []},
            "number": 8, "url": "https://git.example.com/8"},
    ]);
    json!({
        "phase": "Completed", "since": "2026-01-01T02:00:00Z", "weight": 50, "carried": [], "held": true,
        "applied": "2026-01-01T00:59:00Z", "firstTraffic": "2026-01-01T00:01:00Z", "looked": "2026-01-01T00:20:00Z",
        "intervals": 19, "silent": 0, "blind": 0, "rate": 51.7, "evidence": [],
        "preflight": {"base": BASE, "blobs": {"apps/app.yaml": "0e"}},
        "handled": {"retry": "2026-01-01T01:30:00Z"},
        "start": {"baselineDesired": 2, "baselineReady": 2},
        "entrants": [{"content": "digest", "losses": 1}],
        "budgets": [0.05, 0.05],
        "decision": {
            "outcome": "Promote", "reason": "Proven", "sentence": "It is proven.", "at": "2026-01-01T00:20:00Z",
            "weight": 50, "rows": [], "baselineImages": ["app:1"], "candidateImages": ["app:2"],
        },
        "stages": stages,
    })
}

fn read(written: &Value) -> Result<Progress, serde_json::Error> {
    serde_json::from_value(written.clone())
}

/// A memory whose only stage is this.
fn staged(stage: &Value) -> Value {
    let mut written = written();
    written["stages"] = json!([stage]);
    written
}

#[test]
fn what_release_0_1_wrote_is_read_and_written_as_it_was() {
    let progress = read(&written()).unwrap();
    assert_eq!(serde_json::to_value(&progress).unwrap(), written());
    let [promotion, clean_up] = progress.stages.as_slice() else { panic!("{:?}", progress.stages) };
    assert_eq!((promotion.stage(), promotion.state(), promotion.number()), (Stage::Promote, StageState::Done, Some(7)));
    assert!(promotion.differently() && promotion.merged().is_some_and(|head| head.0 == MERGED));
    assert_eq!((clean_up.stage(), clean_up.state(), clean_up.attempt()), (Stage::CleanUp, StageState::Waiting, 2));
    assert_eq!((clean_up.number(), clean_up.url()), (Some(8), Some("https://git.example.com/8")));
    assert!(clean_up.work().is_some_and(|work| work.commit.0 == OURS) && clean_up.merged().is_none());
}

#[test]
fn every_state_of_a_stage_is_written_as_release_0_1_wrote_it() {
    let work = json!({"base": BASE, "commit": OURS, "files": []});
    let since = "2026-01-01T01:00:00Z";
    let common = json!({"stage": "Promote", "attempt": 1, "since": since});
    let written = json!({"work": work, "tidied": 1});
    let asked = json!({"work": work, "number": 7, "url": "u", "opened": since});
    let merged = json!({"work": work, "number": 7, "url": "u", "opened": since, "merged": MERGED});
    let committed = json!({"work": work, "merged": OURS});
    let closed = json!({"work": work, "number": 7, "url": "u", "opened": since, "closed": true});
    for (state, rest) in [
        ("Planning", json!({})),
        ("Planned", written.clone()),
        ("Pushed", json!({"work": work, "annotated": 2})),
        ("Waiting", asked.clone()),
        ("Checking", asked.clone()),
        ("Withdrawing", written.clone()),
        ("Withdrawing", asked.clone()),
        ("Merged", merged.clone()),
        ("RollingOut", json!({"merged": MERGED})),
        ("Confirming", committed.clone()),
        ("HandingOver", json!({})),
        ("HandingOver", merged.clone()),
        ("Draining", json!({})),
        ("Draining", committed),
        ("Done", merged),
        ("Done", closed),
        ("Done", asked),
        ("Done", written),
        ("Done", json!({"closed": true})),
        ("Done", json!({})),
    ] {
        let mut stage = common.clone();
        stage["state"] = json!(state);
        stage.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let progress = read(&staged(&stage)).unwrap_or_else(|error| panic!("{error}: {stage}"));
        assert_eq!(serde_json::to_value(&progress.stages[0]).unwrap(), stage);
    }
}

#[test]
fn a_stage_that_lacks_what_its_state_needs_is_refused_by_name() {
    let stage = |state: &str| json!({"stage": "CleanUp", "state": state, "since": "2026-01-01T01:00:00Z"});
    for (state, lacks) in [("Planned", "`work`"), ("Waiting", "`number`"), ("RollingOut", "`merged`")] {
        let refused = read(&staged(&stage(state))).unwrap_err().to_string();
        assert!(refused.contains("CleanUp") && refused.contains(state) && refused.contains(lacks), "{refused}");
    }
}
