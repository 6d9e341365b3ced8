//! Nobody waits for ever: whatever the engine can wait for, in a world where nothing changes any more, ends at a time that
//! is told, or calls a person. The reasons are read from the engine's sources: one that is new needs a row here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use reiter8::engine::judge::Tally;
use reiter8::engine::*;
use reiter8_testing::{but, trial};
use serde_json::{Value, json};

/// How long after its time a wait has to be over. A deadline may become a hard deadline, an hour later.
const GRACE: SignedDuration = SignedDuration::from_hours(2);
/// Why a fact is missing, whatever it is.
const WHY: Cause = Cause::Internal;
/// The reason of a wait for it.
const MISSING: &str = "Internal";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn id(name: &str) -> CommitId {
    CommitId(name.into())
}

fn missing<T>() -> Seen<T> {
    Err(Unavailable::new(WHY, "it is away"))
}

fn ago(time: SignedDuration) -> Timestamp {
    start() - time
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// An experiment in some state, in a world that answers in the same way for ever.
struct Scene {
    plan: Plan,
    progress: Progress,
    /// The candidate's weight, and whether it becomes what is written.
    weight: u8,
    obeys: bool,
    /// What is unlike a world in which all is well.
    twist: fn(&mut Observation),
    /// Whether the wait outlasts its time: then traffic is where it is safest, the status calls for a person, and each look may
    /// find that one came.
    lasts: bool,
}

impl Scene {
    fn new(phase: Phase) -> Self {
        let rule = Rule::Share { limit: 0.01 };
        let plan = trial::plan(vec![Criterion { metric: "istio/error-rate".into(), source: 0, candidate: 0, rule }]);
        let running = matches!(phase, Phase::Shifting | Phase::Deciding);
        let weight = if running { plan.cap } else { 0 };
        let progress = Progress {
            phase,
            since: Some(start()),
            held: phase != Phase::Queued,
            weight,
            carried: Some(Split::one(weight)),
            applied: Some(start()),
            first_traffic: running.then(start),
            looked: running.then(start),
            evidence: plan.criteria.iter().map(|c| Evidence::start(c, &[], plan.analysis.horizon())).collect(),
            budgets: Some(plan.analysis.budgets()),
            start: Some(Start { baseline_desired: 1, baseline_ready: 1 }),
            ..Progress::default()
        };
        Self { plan, progress, weight, obeys: true, twist: |_| {}, lasts: false }
    }

    /// One that is written to Git.
    fn written(phase: Phase) -> Self {
        let mut scene = Self::new(phase);
        scene.plan.gitops = Some(Gitops {
            base_branch: "main".into(),
            stale_after: HOUR * 3,
            drain: SignedDuration::from_secs(30),
            waiting: WhileWaiting::Hold,
            handover: Handover::TwoPullRequests,
            auto_merge: AutoMerge::default(),
        });
        let blobs = [("a.yaml".to_owned(), "before".to_owned())].into();
        scene.progress.preflight = Some(Preflight { base: id("base"), blobs });
        scene
    }

    /// One with a verdict whose write-back is in a state.
    fn stage(stage: Stage, state: StageState) -> Self {
        use StageState::{Confirming, Draining, HandingOver, Merged, RollingOut, Waiting};
        let discards = stage != Stage::Promote;
        let mut scene = Self::written(if discards { Phase::Discarding } else { Phase::Promoting });
        let reason = if stage == Stage::Revert { Reason::BaselineRolloutFailed } else { Reason::Proven };
        scene.weight = if stage == Stage::CleanUp { 0 } else { 20 };
        (scene.progress.weight, scene.progress.carried) = (scene.weight, Some(Split::one(scene.weight)));
        let outcome = if discards { Outcome::Discard } else { Outcome::Promote };
        scene.progress.decision = Some(Decision { weight: 20, ..trial::decision(outcome, reason) });
        let merged = matches!(state, Merged | RollingOut | Confirming | HandingOver | Draining);
        let asked = merged || state == Waiting;
        scene.remember(&json!({"stages": [{
            "stage": stage,
            "state": state,
            "since": start(),
            "work": work(),
            "number": asked.then_some(7),
            "opened": asked.then(start),
            "merged": merged.then(|| id("merged")),
        }]}));
        scene
    }

    /// Its memory has something else in it.
    fn remember(&mut self, what: &Value) {
        self.progress = but(&self.progress, what);
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn twisted(self, twist: fn(&mut Observation)) -> Self {
        Self { twist, ..self }
    }

    fn lasting(self) -> Self {
        Self { lasts: true, ..self }
    }

    /// Whether its status calls for a person.
    fn is_stalled(&self) -> bool {
        let spec = serde_json::json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment", "metadata": {"name": "x"},
            "spec": {"target": "ns/app", "strategy": {"testingPattern": "Canary"}, "versionInfo": {"baseline": {"name": "a"}},
                "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}}});
        let experiment = serde_json::from_value(spec).unwrap();
        let status = reiter8::controller::status::of(&experiment, &self.plan, &self.progress, start());
        status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True")
    }

    fn see(&self, asked: &Questions) -> Observation {
        let workload = || Workload { exists: true, desired: 1, ready: 1, ..Workload::default() };
        let pair = Pair::requests(Tally { requests: 300.0, bad: 0.0 }, Tally { requests: 3.0, bad: 0.0 });
        let calm = || Ok(vec![Tally { requests: 500.0, bad: 0.0 }; 360]);
        let mut seen = Observation {
            lock: Some(Ok(Lock::Mine)),
            routes: Some(Ok(Routes::split(Split::one(self.weight)))),
            workloads: Some(Ok(Workloads { baseline: workload(), candidates: vec![workload()] })),
            reading: asked.window.map(|window| Reading::new(window, vec![Ok(pair.into())])),
            history: asked.history.map(|_| vec![calm()]),
            preflight: asked.preflight.then(|| Ok(Preflight { base: id("base"), blobs: BTreeMap::new() })),
            stage: asked.stage.as_ref().map(|question| Ok(remote(question))),
            rollout: asked.rollout.as_ref().map(|_| Ok(rollout(true, true))),
            sync: asked.sync.as_ref().map(|_| Ok(Synced::Yes)),
            subsets: asked.subsets.then_some(Ok(())),
        };
        (self.twist)(&mut seen);
        seen
    }
}

fn work() -> StageWork {
    let after = [("a.yaml".to_owned(), Some("after".to_owned()))].into();
    StageWork { base: id("base"), commit: id("ours"), files: vec![], after }
}

fn rollout(applied: bool, complete: bool) -> Rollout {
    Rollout { applied, complete, detail: String::new() }
}

/// A remote on which everything that was wanted is there.
fn remote(question: &StageQuestion) -> StageSeen {
    let pull = Pull {
        number: 7,
        url: "#7".into(),
        state: PullState::Open,
        head: Some(id("ours")),
        text: Some(TextSeen::Edited),
    };
    let request = RequestSeen { head: Some(id("base")), branch: Some(id("ours")), pull: Some(pull) };
    match &question.look {
        Look::Plan => StageSeen::Plan(Planned::Commit(work())),
        Look::Publish => StageSeen::Publish { request, lacks: vec![] },
        Look::Review(_) => StageSeen::Review(Reviewed { request, ..Reviewed::default() }),
        Look::Contents(proposed) => StageSeen::Contents { blobs: proposed.clone(), kept: BTreeSet::new() },
        Look::Base(_) => StageSeen::Base { head: id("base"), landed: true },
    }
}

/// Changes what is seen of the request, if it is asked about.
fn of_request(seen: &mut Observation, change: impl FnOnce(&mut RequestSeen)) {
    if let Some(Ok(StageSeen::Publish { request, .. } | StageSeen::Review(Reviewed { request, .. }))) = &mut seen.stage
    {
        change(request);
    }
}

/// Changes what both versions are seen to do.
fn of_pairs(seen: &mut Observation, answer: Seen<Answer>) {
    if let Some(reading) = &mut seen.reading {
        reading.answers = vec![answer];
    }
}

/// Every reason with a state of the experiment and the world in which it is waited for.
fn table() -> Vec<(&'static str, Scene)> {
    [before_the_verdict(), after_the_verdict()].into_iter().flatten().collect()
}

fn before_the_verdict() -> Vec<(&'static str, Scene)> {
    use Phase::{Deciding, Preparing, Queued, Shifting};
    let scene = Scene::new;
    let hold =
        |by: HeldBy| scene(Shifting).with(|s| s.progress.hold = Some(Hold { since: start(), by, why: String::new() }));
    let slow =
        || scene(Shifting).with(|s| (s.progress.weight, s.progress.carried, s.weight) = (5, Some(Split::one(5)), 5));
    vec![
        ("TargetTaken", scene(Queued).twisted(|seen| seen.lock = Some(Ok(Lock::Taken("shop/other".into()))))),
        (MISSING, scene(Preparing).twisted(|seen| seen.history = Some(vec![missing()]))),
        (MISSING, scene(Preparing).with(|s| s.plan.refused = Some(Unavailable::new(WHY, "gone")))),
        (MISSING, scene(Shifting).with(|s| s.plan.refused = Some(Unavailable::new(WHY, "gone")))),
        (MISSING, scene(Shifting).twisted(|seen| seen.workloads = Some(missing()))),
        (MISSING, scene(Shifting).twisted(|seen| seen.routes = Some(missing()))),
        (MISSING, scene(Queued).twisted(|seen| seen.lock = Some(missing()))),
        (
            "WorkloadNotReady",
            scene(Preparing).twisted(|seen| {
                let Some(Ok(workloads)) = &mut seen.workloads else { return };
                workloads.candidates[0].ready = 0;
            }),
        ),
        ("WaitingForSync", Scene::written(Preparing).twisted(|seen| seen.sync = Some(Ok(Synced::No("a.yaml".into()))))),
        ("NoSplit", scene(Preparing).with(|s| s.plan.ramp = Ramp::Fixed)),
        ("Paused", hold(HeldBy::Pause)),
        ("WaitingForApproval", hold(HeldBy::Approval)),
        ("Shifting", slow()),
        ("Deciding", scene(Deciding)),
        (
            "TrafficOverridden",
            scene(Shifting).with(|s| {
                (s.progress.overridden, s.progress.carried, s.weight) = (Some(start()), Some(Split::HOME), 0);
            }),
        ),
        (
            "EnvironmentRetreat",
            scene(Shifting).twisted(|seen| {
                let tally = || Tally { requests: 300.0, bad: 30.0 };
                of_pairs(seen, Ok(Pair::requests(tally(), tally()).into()));
            }),
        ),
        (
            "CandidateNotReady",
            scene(Shifting).twisted(|seen| {
                let Some(Ok(workloads)) = &mut seen.workloads else { return };
                workloads.candidates[0].ready = 0;
            }),
        ),
        ("MetricsUnavailable", scene(Shifting).twisted(|seen| of_pairs(seen, missing()))),
        (
            "NoTraffic",
            scene(Shifting).twisted(|seen| {
                let tally = |requests| Tally { requests, bad: 0.0 };
                of_pairs(seen, Ok(Pair::requests(tally(300.0), tally(0.0)).into()));
            }),
        ),
        (
            "NoValue",
            scene(Shifting)
                .with(|s| {
                    s.plan.iterations = Some(10);
                    let rule = Rule::Threshold { lower: None, upper: Some(1.0), at_once: false };
                    s.plan.criteria[0].rule = rule;
                    s.progress.evidence = vec![Evidence::start(&s.plan.criteria[0], &[], 720)];
                })
                .twisted(|seen| {
                    let none = reiter8::engine::judge::Sample::default();
                    of_pairs(seen, Ok(Pair::Values { baseline: none, candidate: none }.into()));
                }),
        ),
        ("BaselineScaledDown", slow().with(|s| s.progress.start.as_mut().unwrap().baseline_desired = 5)),
        (
            "WeightsContested",
            scene(Shifting).with(|s| s.obeys = false).twisted(|seen| {
                seen.routes = Some(Ok(Routes { writer: Some("webhook".into()), ..Routes::split(Split::one(33)) }));
            }),
        ),
        ("Deleting", scene(Shifting).with(|s| (s.plan.deleting, s.obeys) = (Some(start()), false))),
    ]
}

fn after_the_verdict() -> Vec<(&'static str, Scene)> {
    use Stage::{CleanUp, Promote, Revert};
    use StageState::{Confirming, Draining, HandingOver, Merged, Planning, Pushed, RollingOut, Waiting};
    let stage = Scene::stage;
    let late = |mut scene: Scene| {
        let mut stages = serde_json::to_value(&scene.progress.stages).unwrap();
        stages[0]["since"] = json!(ago(HOUR * 48));
        scene.remember(&json!({"stages": stages}));
        scene
    };
    vec![
        (MISSING, stage(Promote, Planning).twisted(|seen| seen.stage = Some(missing()))),
        (MISSING, stage(Promote, Waiting).twisted(|seen| seen.stage = Some(missing()))),
        (MISSING, stage(CleanUp, Planning).twisted(|seen| seen.stage = Some(missing()))),
        (MISSING, stage(Promote, Merged).twisted(|seen| seen.stage = Some(missing())).lasting()),
        (MISSING, stage(Promote, Confirming).twisted(|seen| seen.stage = Some(missing())).lasting()),
        (MISSING, stage(Promote, RollingOut).twisted(|seen| seen.rollout = Some(missing())).lasting()),
        (MISSING, stage(Revert, Waiting).twisted(|seen| seen.stage = Some(missing())).lasting()),
        (
            MISSING,
            Scene::new(Phase::Discarding)
                .with(|s| s.weight = 20)
                .twisted(|seen| seen.routes = Some(missing()))
                .lasting(),
        ),
        (
            "BranchDeleted",
            stage(Promote, Pushed).twisted(|seen| of_request(seen, |s| (s.branch, s.pull) = (None, None))),
        ),
        (
            "BranchEdited",
            stage(Promote, Pushed)
                .twisted(|seen| of_request(seen, |s| (s.branch, s.pull) = (Some(id("theirs")), None))),
        ),
        ("WaitingForReview", stage(Promote, Waiting)),
        (
            "RequestEdited",
            stage(Promote, Waiting).twisted(|seen| {
                of_request(seen, |s| s.pull.as_mut().into_iter().for_each(|pull| pull.head = Some(id("theirs"))));
            }),
        ),
        (
            "WaitingForChecks",
            stage(Promote, Waiting).with(|s| s.plan.gitops.as_mut().unwrap().auto_merge.promote = true),
        ),
        (
            "WaitingForChecks",
            stage(CleanUp, Waiting).with(|s| s.plan.gitops.as_mut().unwrap().auto_merge.cleanup = true),
        ),
        ("BaseBranchMissing", stage(Promote, Waiting).twisted(|seen| of_request(seen, |s| s.head = None))),
        (
            "BaseConflict",
            stage(Promote, Waiting).twisted(|seen| {
                let Some(Ok(StageSeen::Review(review))) = &mut seen.stage else { return };
                review.conflict = Some(Conflict::default());
                review.request.head = Some(id("moved"));
            }),
        ),
        ("ReviewOverdue", late(stage(Revert, Waiting)).lasting()),
        (
            "MergeNotVisible",
            stage(Promote, Merged).twisted(|seen| {
                let Some(Ok(StageSeen::Contents { blobs, .. })) = &mut seen.stage else { return };
                *blobs = [("a.yaml".to_owned(), Some("before".to_owned()))].into();
            }),
        ),
        ("WaitingForRollout", stage(Promote, RollingOut).twisted(|seen| seen.rollout = Some(Ok(rollout(true, false))))),
        ("WaitingForSync", stage(Promote, RollingOut).twisted(|seen| seen.rollout = Some(Ok(rollout(false, false))))),
        (
            "SyncOverdue",
            late(stage(Promote, RollingOut)).twisted(|seen| seen.rollout = Some(Ok(rollout(false, false)))).lasting(),
        ),
        ("WaitingForRollout", stage(Revert, RollingOut).twisted(|seen| seen.rollout = Some(Ok(rollout(true, false))))),
        (
            "BaselineRolloutFailed",
            stage(Revert, RollingOut).twisted(|seen| seen.rollout = Some(Ok(rollout(true, false)))).lasting(),
        ),
        ("HandingOver", stage(Promote, HandingOver).with(|s| s.obeys = false)),
        ("HandOverOverdue", stage(Promote, HandingOver).with(|s| s.obeys = false).lasting()),
        ("Draining", stage(Promote, Draining)),
    ]
}

/// How a wait ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Something else happened, by the time that was told or soon after.
    Left,
    /// It goes on.
    Lasts,
    /// Nobody is told until when.
    Untold,
    /// Nobody looks again.
    Unseen,
    /// It never came to it, but to this.
    Unmet(Option<String>),
}

/// Lets time pass in a world that does not change, from the first time that the reason is waited for.
fn outcome(reason: &str, scene: &mut Scene) -> End {
    let (mut now, mut met) = (start(), None);
    for turn in 0.. {
        let seen = scene.see(&ask(&scene.plan, &scene.progress, now));
        let done = step(&scene.plan, &scene.progress, &seen, now);
        scene.progress = done.progress;
        for effect in &done.effects {
            match effect {
                Effect::Route(split) if scene.obeys => scene.weight = split.of(0),
                Effect::Forget => return if met.is_some() { End::Left } else { End::Unmet(None) },
                _ => {}
            }
        }
        let stage = scene.progress.stages.last().map(|s| (s.stage(), s.state()));
        let waiting = scene.progress.waiting.as_ref();
        let place = (scene.progress.phase, stage, waiting.map(|w| w.reason.clone()));
        match &met {
            Some(before) if *before != place => return End::Left,
            None if place.2.as_deref() == Some(reason) => met = Some(place),
            None if turn > 5000 => return End::Unmet(place.2),
            Some(_) | None => {}
        }
        if met.is_some() {
            match waiting.and_then(|w| w.until) {
                None => return End::Untold,
                Some(until) if now > until + GRACE => return End::Lasts,
                Some(_) => {}
            }
        }
        match done.wake {
            Wake::At(time) => now = now.max(time),
            Wake::OnChange if met.is_some() => return End::Unseen,
            Wake::OnChange => return End::Unmet(scene.progress.waiting.as_ref().map(|w| w.reason.clone())),
        }
    }
    unreachable!("turns do not end")
}

#[test]
fn every_wait_ends_by_itself_or_calls_a_person() {
    let mut wrong = vec![];
    for (row, (reason, mut scene)) in table().into_iter().enumerate() {
        let wanted = if scene.lasts { End::Lasts } else { End::Left };
        let end = outcome(reason, &mut scene);
        if end != wanted || scene.lasts && !scene.is_stalled() {
            wrong.push(format!(
                "row {row}, {reason}: {end:?}, now {:?} {:?}",
                scene.progress.phase, scene.progress.waiting
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The engine's sources, without their tests.
fn sources(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let product = |text: String| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![product(text(&path))] }).collect()
}

/// What is waited for in a source: written there, named there, or chosen earlier in the same function. The reason of a fact
/// that is missing is that fact's, and is found here as [`MISSING`].
fn waits(source: &str) -> BTreeSet<String> {
    let call = Regex::new(r#"\.(?:wait|stuck)\(\s*(?:"(\w+)"|([\w.]+)(?:\.word\(\))?),"#).unwrap();
    let word = Regex::new(r#""((?:[A-Z][a-z]+)+)""#).unwrap();
    let mut found = BTreeSet::new();
    for captures in call.captures_iter(source) {
        let name = match (captures.get(1), captures.get(2)) {
            (Some(reason), _) => {
                found.insert(reason.as_str().to_owned());
                continue;
            }
            (None, name) => name.unwrap(),
        };
        let before = &source[..name.start()];
        match name.as_str() {
            "u.cause" | "refusal.cause" => {
                found.insert(MISSING.to_owned());
            }
            "reason" => {
                let function = &before[before.rfind("fn ").unwrap()..];
                found.extend(word.captures_iter(function).map(|word| word[1].to_owned()));
            }
            constant => {
                let value = Regex::new(&format!(r#"const {constant}: &str = "(\w+)""#)).unwrap();
                let value =
                    value.captures(source).unwrap_or_else(|| panic!("what is `{constant}`, which is waited for?"));
                found.insert(value[1].to_owned());
            }
        }
    }
    found
}

#[test]
fn every_reason_to_wait_has_a_row() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/src");
    let code: BTreeSet<String> = sources(&engine).iter().flat_map(|source| waits(source)).collect();
    assert!(code.len() > 25, "the patterns find too little: {code:?}");
    let rows: BTreeSet<String> = table().into_iter().map(|(reason, _)| reason.to_owned()).collect();
    let (new, old): (Vec<_>, Vec<_>) = (code.difference(&rows).collect(), rows.difference(&code).collect());
    assert!(new.is_empty(), "say in what world these are waited for: {new:?}");
    assert!(old.is_empty(), "nobody waits for these: {old:?}");
}

#[test]
fn a_wait_is_found_however_its_reason_is_written() {
    let source = r#"
        const LATE: &str = "IsLate";
        fn one(&mut self) { self.wait("Plain", "x", None); self.stuck(
            "OnItsOwnLine", &what); }
        fn two(&mut self) { let reason = if x { "EitherWay" } else { "OrSo" }; self.wait(reason, "not A word", u); }
        fn three(&mut self) { self.wait(LATE, "x", None); self.wait(u.cause.word(), "x", None); }
    "#;
    let found: Vec<String> = waits(source).into_iter().collect();
    assert_eq!(found, ["EitherWay", "Internal", "IsLate", "OnItsOwnLine", "OrSo", "Plain"]);
}
