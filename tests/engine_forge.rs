//! What the engine wants of a forge's requests beside their being opened, against observations made by hand.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "support/trial.rs"]
mod trial;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reiter8::engine::*;

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn commit(name: &str) -> CommitId {
    CommitId(name.into())
}

fn plan() -> Plan {
    let gitops = Gitops {
        base_branch: "main".into(),
        stale_after: SignedDuration::from_hours(24),
        drain: SignedDuration::ZERO,
        waiting: WhileWaiting::Hold,
        handover: Handover::TwoPullRequests,
    };
    Plan { gitops: Some(gitops), ..trial::plan(vec![]) }
}

/// A promotion whose stage is in a state.
fn progress(stage: Stage, state: StageState) -> Progress {
    let decision = Decision {
        outcome: Outcome::Promote,
        reason: Reason::Proven,
        sentence: "The candidate is proven.".into(),
        at: start(),
        weight: 50,
        rows: vec![],
        baseline_images: vec![],
        candidate_images: vec![],
    };
    let (base, commit) = (commit("base"), commit("ours"));
    let work = StageWork { base: base.clone(), commit, files: vec![], after: BTreeMap::new() };
    let number = (state == StageState::Waiting).then_some(7);
    let weight = if stage == Stage::Promote { 50 } else { 0 };
    Progress {
        phase: Phase::Promoting,
        since: Some(start()),
        held: true,
        weight,
        carried: Some(weight),
        decision: Some(decision),
        preflight: Some(Preflight { base, blobs: BTreeMap::new() }),
        stages: vec![StageProgress { work: Some(work), number, ..StageProgress::new(stage, 1, state, start()) }],
        ..Progress::default()
    }
}

/// Request 7 is open with this commit at its head.
fn open(head: &str) -> StageSeen {
    let pull = Pull { number: 7, url: String::new(), state: PullState::Open, head: Some(commit(head)) };
    StageSeen { head: Some(commit("base")), branch: Some(commit(head)), pull: Some(pull), ..StageSeen::default() }
}

fn lacking(what: &str) -> StageSeen {
    StageSeen { lacks: vec![what.into()], ..open("ours") }
}

fn seen(stage: StageSeen, weight: u8) -> Observation {
    let workload = || Workload { exists: true, desired: 1, ready: 1, ..Workload::default() };
    Observation {
        lock: Some(Ok(Lock::Mine)),
        routes: Some(Ok(Routes::split(weight))),
        workloads: Some(Ok(Workloads { baseline: workload(), candidate: workload() })),
        stage: Some(Ok(stage)),
        ..Observation::default()
    }
}

/// A step; its progress as another process reads it from the status.
fn next(plan: &Plan, progress: &Progress, stage: StageSeen, now: Timestamp) -> Step {
    let done = step(plan, progress, &seen(stage, progress.weight), now);
    let written = serde_json::to_string(&done.progress).unwrap();
    Step { progress: serde_json::from_str(&written).unwrap(), ..done }
}

fn opens(step: &Step) -> usize {
    step.effects.iter().filter(|effect| matches!(effect, Effect::Open { .. })).count()
}

#[test]
fn a_request_whose_opener_died_gets_its_labels_from_the_next_process() {
    let (plan, pushed) = (plan(), progress(Stage::Promote, StageState::Pushed));
    let first = next(&plan, &pushed, lacking("label env"), start());
    assert_eq!((opens(&first), first.progress.stages[0].state), (1, StageState::Pushed));
    // That process may die as well, after the record and before the work.
    let second = next(&plan, &first.progress, lacking("label env"), start());
    assert_eq!((opens(&second), second.progress.stages[0].state), (1, StageState::Pushed));
    let whole = next(&plan, &first.progress, open("ours"), start());
    assert_eq!((opens(&whole), whole.progress.stages[0].state), (0, StageState::Waiting));
    assert_eq!(whole.progress.stages[0].number, Some(7));
}

#[test]
fn a_label_that_the_forge_does_not_take_holds_up_nothing() {
    let (plan, mut now) = (plan(), start());
    let (mut progress, mut opened) = (progress(Stage::Promote, StageState::Pushed), 0);
    while progress.stages[0].state == StageState::Pushed {
        let done = next(&plan, &progress, lacking("label no-such"), now);
        opened += opens(&done);
        progress = done.progress;
        now += SignedDuration::from_secs(1);
        assert!(now < start() + SignedDuration::from_secs(10), "it is tried for ever: {progress:?}");
    }
    assert_eq!((opened, progress.stages[0].state), (2, StageState::Waiting));
}

#[test]
fn a_request_that_has_ended_or_is_not_wanted_gets_nothing() {
    let (plan, pushed) = (plan(), progress(Stage::Promote, StageState::Pushed));
    let mut merged = lacking("label env");
    merged.pull.as_mut().unwrap().state = PullState::Merged(commit("merged"));
    assert_eq!(opens(&next(&plan, &pushed, merged, start())), 0);
    let unwanted = Progress { phase: Phase::Discarding, ..pushed };
    assert_eq!(opens(&next(&plan, &unwanted, lacking("label env"), start())), 0);
}
