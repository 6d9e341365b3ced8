//! `status.weights` is what the routes carry, at every write of a status, whatever the experiment goes through.
//!
//! The engine's steps against routes that obey them, from the middle of each phase. What is shown with a step is
//! compared with what the routes had when it was taken: effects come after the write.

#![allow(clippy::unnecessary_wraps, clippy::or_fun_call, clippy::large_stack_arrays)]

use jiff::{SignedDuration, Timestamp};
use reiter8::api::Experiment;
use reiter8::controller::resolve::{Referred, resolve};
use reiter8::controller::status;
use reiter8::engine::*;
use reiter8_testing::{but, remembered, trial};
use serde_json::{Value, json};

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Some(now() - SignedDuration::from_secs(seconds))
}

/// The sample, with or without its write-back.
fn experiment(waiting: Option<&str>) -> (Experiment, Plan) {
    let mut sample: Value = serde_saphyr::from_str(include_str!("../../../samples/bookinfo/experiment.yaml")).unwrap();
    match waiting {
        None => drop(sample["spec"].as_object_mut().unwrap().remove("gitops")),
        Some(waiting) => sample["spec"]["gitops"]["weightsWhileWaiting"] = json!(waiting),
    }
    let experiment: Experiment = serde_json::from_value(sample).unwrap();
    let repository = json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Repository",
        "metadata": {"name": "environment", "namespace": "platform"},
        "spec": {"url": "https://git.example.com/platform/environment.git", "provider": "Gitea",
            "secretRef": {"name": "token"}, "allowedNamespaces": ["*"], "allowedPaths": ["apps"]}});
    let referred = Referred { repository: serde_json::from_value(repository).unwrap(), ..Referred::default() };
    let plan = resolve(&experiment, &referred).unwrap_or_else(|e| panic!("{e}")).plan;
    (experiment, plan)
}

/// Traffic is shared: the ramp wants `weight`, the routes were last seen with `carried`.
fn running(weight: u8, carried: Option<u8>) -> Progress {
    remembered(&json!({
        "phase": Phase::Shifting,
        "since": ago(60),
        "weight": weight,
        "carried": carried.map(Split::one),
        "applied": carried.and(ago(60)),
        "firstTraffic": carried.and(ago(60)),
        "looked": carried.and(ago(5)),
        "held": true,
        "start": Start { baseline_desired: 1, baseline_ready: 1 },
    }))
}

/// The verdict fell at 50 %.
// Every caller makes it in place.
#[allow(clippy::needless_pass_by_value)]
fn decided(outcome: Outcome, carried: u8, stages: Value) -> Progress {
    let (phase, reason) = match outcome {
        Outcome::Promote => (Phase::Promoting, Reason::Proven),
        Outcome::Discard => (Phase::Discarding, Reason::Harmful),
    };
    let decision = Decision { sentence: "so it is".into(), at: now(), ..trial::decision(outcome, reason) };
    let preflight = Preflight { base: CommitId("b".into()), blobs: std::collections::BTreeMap::new() };
    let verdict = json!({
        "phase": phase, "since": now(), "decision": decision, "stages": stages, "preflight": preflight,
    });
    but(&running(50, Some(carried)), &verdict)
}

fn promote(state: StageState) -> Value {
    let (base, commit) = (CommitId("b".into()), CommitId("c".into()));
    let work = StageWork { base, commit, files: vec![], after: std::collections::BTreeMap::new() };
    let mut stage = json!({"stage": Stage::Promote, "state": state, "since": now()});
    if state == StageState::Waiting {
        json_patch::merge(&mut stage, &json!({"work": work, "number": 7, "opened": now()}));
    } else {
        json_patch::merge(&mut stage, &json!({"merged": CommitId("m".into())}));
    }
    json!([stage])
}

/// Routes and their last foreign writer; everything else is as an experiment wants it.
struct World {
    weight: u8,
    writer: Option<String>,
    locked: bool,
}

impl World {
    fn with(weight: u8) -> Self {
        Self { weight, writer: None, locked: true }
    }

    fn edited(weight: u8, by: &str) -> Self {
        Self { writer: Some(by.into()), ..Self::with(weight) }
    }

    fn see(&self, questions: &Questions) -> Observation {
        let workload = Workload { exists: true, desired: 1, ready: 1, ..Workload::default() };
        let open = Pull { number: 7, url: String::new(), state: PullState::Open, head: None, text: None };
        let here = || CommitId("h".into());
        let request = RequestSeen { pull: Some(open), head: Some(here()), branch: Some(here()) };
        let stage = |look: &Look| match look {
            Look::Plan => StageSeen::Plan(Planned::Nothing(here())),
            Look::Publish => StageSeen::Publish { request, lacks: vec![] },
            Look::Review(_) => StageSeen::Review(Reviewed { request, ..Reviewed::default() }),
            Look::Base(_) => StageSeen::Base { head: here(), landed: false },
            Look::Contents(_) => StageSeen::Contents {
                blobs: std::collections::BTreeMap::new(),
                kept: std::collections::BTreeSet::new(),
            },
        };
        Observation {
            lock: Some(Ok(if self.locked { Lock::Mine } else { Lock::Free })),
            routes: Some(Ok(Routes { writer: self.writer.clone(), ..Routes::split(Split::one(self.weight)) })),
            workloads: Some(Ok(Workloads { baseline: workload.clone(), candidates: vec![workload] })),
            stage: questions.stage.as_ref().map(|q| Ok(stage(&q.look))),
            ..Observation::default()
        }
    }

    fn obey(&mut self, effect: &Effect) {
        match effect {
            Effect::Route(split) => (self.weight, self.writer) = (split.of(0), None),
            Effect::Release => self.locked = false,
            other => panic!("{other:?}"),
        }
    }
}

/// Steps until nothing moves, half an hour at most; gives what a status shows at the end.
fn settle(experiment: &Experiment, plan: &Plan, progress: &mut Progress, world: &mut World) -> i32 {
    let (mut time, mut commits) = (now(), 0);
    for turn in 0..200 {
        let (seen, foreign) = (world.see(&ask(plan, progress, time)), world.writer.is_some());
        let done = step(plan, progress, &seen, time);
        let shown = status::of(experiment, plan, &done.progress, time).weights;
        assert_eq!(shown[0].value + shown[1].value, 100);
        if !done.progress.same_record(progress) {
            commits += 1;
            // What somebody else wrote is being put right by the effects of this very step.
            let as_seen = i32::from(world.weight) == shown[1].value;
            let repaired =
                foreign && done.effects.contains(&Effect::Route(Split::one(u8::try_from(shown[1].value).unwrap())));
            assert!(as_seen || repaired, "turn {turn}: shown {shown:?}, carried {}: {:?}", world.weight, done.progress);
        }
        *progress = done.progress;
        done.effects.iter().for_each(|effect| world.obey(effect));
        match done.wake {
            Wake::At(next) if next < now() + SignedDuration::from_mins(30) => time = time.max(next),
            Wake::At(_) | Wake::OnChange => break,
        }
    }
    assert!(commits > 0, "nothing was written");
    let shown = status::of(experiment, plan, progress, time).weights[1].value;
    assert_eq!(shown, i32::from(world.weight), "at the end: {progress:?}");
    shown
}

#[test]
fn every_status_shows_what_the_routes_carry() {
    use Outcome::{Discard, Promote};
    let review = || promote(StageState::Waiting);
    let (hold, candidate, baseline) = (Some("Hold"), Some("Candidate"), Some("Baseline"));
    let retreated = but(&running(30, Some(30)), &json!({"retreated": ago(1)}));
    let lost = but(&running(30, Some(0)), &json!({"entrants": [Entrant { losses: 1, ..Entrant::default() }]}));
    let table = [
        ("the first weight is not written yet", None, running(5, None), World::with(0), 5),
        ("a higher weight is not written yet", None, running(30, Some(10)), World::with(10), 30),
        ("the environment is degraded", None, retreated, World::with(30), 0),
        ("the candidate is back", None, lost, World::with(0), 30),
        ("a person took the traffic", None, running(30, Some(30)), World::edited(0, "kubectl-edit"), 0),
        ("Git's manifest came back", None, running(30, Some(30)), World::edited(0, "argocd-controller"), 30),
        ("proven, without a repository", None, decided(Promote, 50, json!([])), World::with(50), 50),
        ("asked for while the ramp rises", None, decided(Promote, 20, json!([])), World::with(20), 50),
        ("edited at the verdict", None, decided(Promote, 50, json!([])), World::edited(30, "kubectl-edit"), 50),
        ("harmful, without a repository", None, decided(Discard, 50, json!([])), World::with(50), 0),
        ("harmful, with a repository", hold, decided(Discard, 50, json!([])), World::with(50), 0),
        ("the review keeps the split", hold, decided(Promote, 50, review()), World::with(50), 50),
        ("the review at the candidate", candidate, decided(Promote, 50, review()), World::with(50), 100),
        ("edited during such a review", candidate, decided(Promote, 100, review()), World::edited(70, "x"), 100),
        ("the review at the baseline", baseline, decided(Promote, 50, review()), World::with(50), 0),
        ("handed over", hold, decided(Promote, 50, promote(StageState::HandingOver)), World::with(50), 0),
        ("handed over, from 100 %", hold, decided(Promote, 100, promote(StageState::HandingOver)), World::with(100), 0),
    ];
    for (name, waiting, mut progress, mut world, expected) in table {
        println!("{name}");
        let (experiment, plan) = experiment(waiting);
        assert_eq!(settle(&experiment, &plan, &mut progress, &mut world), expected, "{name}");
        let ends = waiting.is_none() && progress.decision.is_some() || name.starts_with("handed over");
        assert_eq!(ends || name == "harmful, with a repository", progress.phase == Phase::Completed, "{name}");
    }
}

#[test]
fn traffic_that_a_person_took_is_shown_until_it_is_given_back() {
    let (experiment, mut plan) = experiment(None);
    let (mut progress, mut world) = (running(30, Some(30)), World::edited(0, "kubectl-edit"));
    assert_eq!(settle(&experiment, &plan, &mut progress, &mut world), 0);
    assert_eq!(progress.waiting.as_ref().unwrap().reason, "TrafficOverridden");
    plan.wishes = vec![Wish::Asked { verb: Verb::Resume, at: now(), why: String::new() }];
    assert_eq!(settle(&experiment, &plan, &mut progress, &mut world), 30);
}

#[test]
fn a_promotion_without_a_repository_ends_although_its_weights_are_contested() {
    let (_, plan) = experiment(None);
    let mut progress = decided(Outcome::Promote, 50, json!([]));
    let (mut time, mut world) = (now(), World::with(50));
    for _ in 0..1000 {
        (world.weight, world.writer) = (30, Some("another".into()));
        let done = step(&plan, &progress, &world.see(&ask(&plan, &progress, time)), time);
        progress = done.progress;
        let Wake::At(next) = done.wake else { break };
        // Whoever contests them is quick; a write takes its time.
        time = time.max(next) + SignedDuration::from_secs(1);
    }
    assert_eq!(progress.phase, Phase::Completed);
    assert!(time.duration_since(now()) <= SignedDuration::from_mins(3), "{time}");
}
