//! What people read: the resource's status, drawn from the plan and the progress.
//!
//! Pure. Owns the mapping from phases to Iter8's stages and to conditions; decides nothing about the experiment. The
//! engine's memory rides along, whole, in `status.progress`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::{self, Claim, Truth};
use crate::api::experiment::{
    CriterionStatus, GitOpsStatus, Interval, Next, Preflight, PullRequestStatus, RaceStatus, RaceVersion, Stage,
    StageStatus, VersionWeight, WaitingFor,
};
use crate::api::{Experiment, ExperimentStatus};
use crate::engine::{self, Outcome, Phase, Plan, Progress, Row, StageProgress, StageState};

/// Waits that are part of normal progress; every other reason to wait sets `Stalled`.
const NORMAL: &[&str] = &[
    "TargetTaken",
    "WorkloadNotReady",
    "Shifting",
    "Deciding",
    "NoTraffic",
    "WaitingForReview",
    "WaitingForChecks",
    "RequestEdited",
    "MergeNotVisible",
    "WaitingForSync",
    "WaitingForRollout",
    "HandingOver",
    "Draining",
    "Deleting",
    "CandidateNotReady",
    "Paused",
    "WaitingForApproval",
    "TrafficOverridden",
    "BaselineScaledDown",
    "EnvironmentRetreat",
];

/// Iter8's stage of a phase.
fn stage(phase: Phase) -> Stage {
    match phase {
        Phase::Queued => Stage::Waiting,
        Phase::Preparing => Stage::Initializing,
        Phase::Shifting | Phase::Deciding => Stage::Running,
        Phase::Promoting | Phase::Discarding => Stage::Finishing,
        Phase::Completed => Stage::Completed,
    }
}

/// The status of an experiment with this progress.
pub fn of(experiment: &Experiment, plan: &Plan, progress: &Progress, now: Timestamp) -> ExperimentStatus {
    let before = experiment.status.clone().unwrap_or_default();
    let generation = experiment.metadata.generation.unwrap_or(0);
    let decision = progress.decision.as_ref();
    let mut status = ExperimentStatus {
        stage: Some(stage(progress.phase)),
        init_time: before.init_time.clone().or(Some(Time(now))),
        start_time: progress.first_traffic.map(Time),
        last_update_time: Some(Time(now)),
        completed_iterations: Some(i32::try_from(progress.intervals).unwrap_or(i32::MAX)),
        current_weight_distribution: weights(plan, progress),
        version_recommended_for_promotion: Some(recommended(plan, progress)),
        message: None,
        metrics: before.metrics,
        analysis: before.analysis,
        observed_generation: Some(generation),
        phase: Some(progress.phase.as_str().into()),
        outcome: decision.map(|d| d.outcome.as_str().into()),
        reason: decision.map(|d| d.reason.as_str().into()),
        waiting_for: progress.waiting.as_ref().map(|w| WaitingFor { what: w.what.clone(), until: w.until.map(Time) }),
        weights: weights(plan, progress),
        criteria: decision
            .map_or_else(|| engine::rows(plan, progress), |d| d.rows.clone())
            .iter()
            .map(criterion)
            .collect(),
        race: race(plan, progress),
        // What cannot be carried out says nothing about the requests that it made before.
        gitops: plan
            .gitops
            .as_ref()
            .map(|g| gitops(g, plan, progress))
            .or_else(|| before.gitops.filter(|_| plan.is_unresolved())),
        next: next(plan, progress),
        // Whole nanoseconds: who waits for a request compares its time.
        handled: progress.handled.iter().map(|(verb, at)| (verb.as_str().to_owned(), at.to_string())).collect(),
        repairs: (progress.repairs.count > 0).then_some(i64::from(progress.repairs.count)),
        guard: guard(plan, progress),
        conditions: before.conditions,
        accepted: before.accepted,
        progress: serde_json::to_value(progress).ok(),
    };
    status.message = Some(message(progress));
    set_conditions(&mut status, plan, progress, generation, now);
    status
}

/// What the guard promises while a decided candidate serves.
fn guard(plan: &Plan, progress: &Progress) -> Option<String> {
    let serves =
        progress.phase == Phase::Promoting && plan.gitops.is_some() && progress.carried.is_some_and(|w| !w.is_home());
    serves.then(|| {
        let minutes = plan.analysis.deadline.as_mins();
        format!("armed: of the windows of {minutes} min, at most 1 % take back a candidate that keeps its limits")
    })
}

/// The weights that the routes were last seen to have as wanted. Before the first write all traffic is the baseline's;
/// what others write in between is being put right, and said by the Event and the reason.
fn weights(plan: &Plan, progress: &Progress) -> Vec<VersionWeight> {
    let carried = progress.carried.unwrap_or_default();
    plan.versions()
        .zip(carried.all(plan.candidates.len()))
        .map(|(version, value)| VersionWeight { name: version.name.clone(), value: value.into() })
        .collect()
}

fn recommended(plan: &Plan, progress: &Progress) -> String {
    let promoted = progress.decision.as_ref().filter(|d| d.outcome == Outcome::Promote);
    let winner = promoted.and_then(|d| plan.candidates.get(d.candidate));
    winner.unwrap_or(&plan.baseline).name.clone()
}

fn criterion(row: &Row) -> CriterionStatus {
    // Counts that a status shows are whole and far below 2^53.
    #[allow(clippy::cast_possible_truncation)]
    let whole = |x: f64| Some(x.round() as i64);
    CriterionStatus {
        metric: row.metric.clone(),
        candidate: row.candidate.clone(),
        limit: row.rule.text(),
        requests: whole(row.requests),
        bad: whole(row.bad).filter(|_| row.rule.is_share()),
        estimate: row.estimate,
        interval: row.interval.filter(|_| row.requests > 0.0).map(|(low, high)| Interval { low, high }),
        fail_evidence: Some(row.fail),
        fail_needed: Some(row.needed_fail),
        pass_evidence: Some(row.pass),
        needed: Some(row.needed_pass),
        verdict: Some(row.verdict.as_str().into()),
        why: Some(format!(
            "Fail evidence {:.1} of {:.0}, Pass evidence {:.1} of {:.0}",
            row.fail, row.needed_fail, row.pass, row.needed_pass
        )),
    }
}

/// Where each version of a race stands.
fn race(plan: &Plan, progress: &Progress) -> Option<RaceStatus> {
    let race = plan.race.as_ref()?;
    let rows = progress.decision.as_ref().map_or_else(|| engine::race_rows(plan, progress), |d| d.race.clone());
    let version = |row: engine::ArmRow| {
        // Whole and far below 2^53.
        #[allow(clippy::cast_possible_truncation)]
        let values = row.values.round() as i64;
        let state = if row.racing { "Racing" } else { "Out" };
        let why = row.left.unwrap_or_else(|| format!("evidence against it {:.1} of {:.0}", row.against, row.needed));
        RaceVersion { name: row.name, mean: row.mean, values, state: state.into(), why }
    };
    let versions: Vec<RaceVersion> = rows.into_iter().map(version).collect();
    (!versions.is_empty()).then(|| RaceStatus { metric: race.metric.to_string(), versions })
}

fn gitops(gitops: &engine::Gitops, plan: &Plan, progress: &Progress) -> GitOpsStatus {
    GitOpsStatus {
        preflight: progress.preflight.as_ref().map(|p| Preflight { base: p.base.0.clone(), blobs: p.blobs.clone() }),
        stages: progress.stages.iter().map(|s| stage_status(gitops, plan, progress, s)).collect(),
    }
}

fn stage_status(gitops: &engine::Gitops, plan: &Plan, progress: &Progress, s: &StageProgress) -> StageStatus {
    let request = engine::request(plan, progress, s);
    let state = match s.state() {
        StageState::Waiting => "Open",
        StageState::Checking | StageState::Withdrawing => "Open",
        _ if s.merged().is_some() => "Merged",
        _ => "Closed",
    };
    StageStatus {
        stage: s.stage().as_str().into(),
        key: request.as_ref().map(|r| r.key.clone()).unwrap_or_default(),
        attempt: i32::try_from(s.attempt()).unwrap_or(i32::MAX),
        state: s.state().as_str().into(),
        branch: request.map(|r| r.branch),
        base: Some(gitops.base_branch.clone()),
        commit: s.work().map(|w| w.commit.0.clone()),
        pull_request: s.number().map(|number| PullRequestStatus {
            number: i64::try_from(number).unwrap_or(i64::MAX),
            url: s.url().unwrap_or_default().to_owned(),
            state: state.into(),
        }),
    }
}

/// What happens next, and when at the latest.
fn next(plan: &Plan, progress: &Progress) -> Option<Next> {
    let a = &plan.analysis;
    let at = |t: Option<Timestamp>| t.map(Time);
    let (what, when) = match progress.phase {
        Phase::Queued => ("preparing, when the target is free", None),
        Phase::Preparing => ("the first traffic, when everything is ready", None),
        Phase::Shifting | Phase::Deciding if progress.refused.is_some() => {
            ("the discard, unless the spec is mended before", progress.waiting.as_ref().and_then(|w| w.until))
        }
        Phase::Shifting | Phase::Deciding => {
            ("the next look at the metrics", progress.looked.map(|l| l + a.interval + a.lag))
        }
        Phase::Promoting => ("the hand-over to the new baseline, when its request is merged and rolled out", None),
        Phase::Discarding => ("the clean-up request", None),
        Phase::Completed => return None,
    };
    Some(Next { what: what.into(), at: at(when) })
}

/// `Reason: message` as Iter8 has it.
fn message(progress: &Progress) -> String {
    if let Some(refused) = &progress.refused {
        let shared = matches!(progress.phase, Phase::Shifting | Phase::Deciding | Phase::Promoting) && refused.home;
        let traffic = if shared { "; all traffic is at the baseline until it is mended" } else { "" };
        return format!("{}: {}{traffic}", refused.cause, refused.message);
    }
    match (&progress.waiting, &progress.decision) {
        (Some(w), _) => format!("{}: waiting for {}", w.reason, w.what),
        (None, Some(d)) => format!("{}: {}", d.reason.as_str(), d.sentence),
        (None, None) => progress.phase.as_str().into(),
    }
}

fn set_conditions(status: &mut ExperimentStatus, plan: &Plan, progress: &Progress, generation: i64, now: Timestamp) {
    let done = progress.phase == Phase::Completed;
    let waiting = progress.waiting.as_ref();
    let refused = progress.refused.as_ref().map(|r| r.cause.word());
    let stalled = refused.is_some() || waiting.is_some_and(|w| !NORMAL.contains(&w.reason.as_str()));
    let reason = refused.or_else(|| waiting.map(|w| w.reason.as_str())).unwrap_or(progress.phase.as_str());
    // It never began, and does not before it is mended.
    let aside = refused.is_some() && progress.phase == Phase::Queued;
    let message = status.message.clone().unwrap_or_default();
    let verdict = progress.decision.as_ref();
    let (verdict_reason, sentence) =
        verdict.map_or(("NotYet", "no verdict yet"), |d| (d.reason.as_str(), d.sentence.as_str()));
    let rehearsed = plan.gitops.is_none() || progress.preflight.is_some();
    let (rehearsal, rehearsal_message) = match (&plan.gitops, rehearsed) {
        (None, _) => ("NotWanted", "no write-back is asked for"),
        (Some(_), true) => ("PreflightPassed", "both outcomes were rehearsed"),
        (Some(_), false) => ("NotYet", "both outcomes are rehearsed while preparing"),
    };
    let phase = progress.phase.as_str();
    let claims = [
        (conditions::READY, done, reason, message.as_str()),
        (conditions::RECONCILING, !done && !stalled, reason, message.as_str()),
        (conditions::STALLED, stalled, reason, message.as_str()),
        (
            conditions::COMPLETED,
            done,
            if done { verdict_reason } else { phase },
            if done { sentence } else { message.as_str() },
        ),
        (conditions::FAILED, aside, if aside { reason } else { phase }, if aside { message.as_str() } else { "" }),
        (conditions::TARGET_ACQUIRED, progress.phase != Phase::Queued && !done, phase, ""),
        (conditions::DECIDED, verdict.is_some(), verdict_reason, sentence),
        (conditions::GITOPS_READY, rehearsed, rehearsal, rehearsal_message),
    ];
    for (type_, holds, reason, message) in claims {
        let claim = Claim { type_, truth: Truth::from(holds), reason, message };
        conditions::set(&mut status.conditions, &claim, generation, now);
    }
}
