//! The experiment that the engine's tests are about, and what they remember of it.

use jiff::{SignedDuration, Timestamp};
use reiter8_engine::{
    Analysis, AutoMerge, CommitId, Criterion, Decision, Gitops, Handover, Identity, OnUndecided, Outcome, Plan, Ramp,
    Reason, Rule, Version, WhileWaiting,
};

/// When everything begins.
pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A commit, by a name that a reader knows again.
pub fn commit(name: &str) -> CommitId {
    CommitId(name.into())
}

/// The defaults, without a write-back.
pub fn plan(criteria: Vec<Criterion>) -> Plan {
    let seconds = SignedDuration::from_secs;
    let version = |name: &str, workload: &str| Version { name: name.into(), workload: workload.into() };
    Plan {
        identity: Identity { namespace: "ns".into(), name: "trial".into(), uid: "u1".into(), target: "ns/app".into() },
        deleting: None,
        refused: None,
        baseline: version("stable", "app"),
        candidates: vec![version("next", "app-next")],
        ramp: Ramp::Gated { budget: 50.0 },
        cap: 50,
        capacity: None,
        race: None,
        iterations: None,
        wishes: vec![],
        criteria,
        analysis: Analysis {
            false_rollback: 0.05,
            false_promotion: 0.05,
            interval: seconds(10),
            lag: seconds(20),
            warm_up: seconds(30),
            soak: seconds(60),
            deadline: seconds(3600),
            hard_deadline: seconds(7200),
            on_undecided: OnUndecided::Hold,
        },
        gitops: None,
    }
}

/// The defaults with an error rate of at most 1 %.
pub fn limited() -> Plan {
    let rule = Rule::Share { limit: 0.01 };
    plan(vec![Criterion { metric: "istio/error-rate".into(), source: 0, candidate: 0, rule }])
}

/// A write-back with two requests, which people merge.
pub fn gitops() -> Gitops {
    Gitops {
        base_branch: "main".into(),
        stale_after: SignedDuration::from_hours(24),
        drain: SignedDuration::ZERO,
        waiting: WhileWaiting::Hold,
        handover: Handover::TwoPullRequests,
        auto_merge: AutoMerge::default(),
    }
}

/// A verdict on the one candidate, which had 50 % of the traffic.
pub fn decision(outcome: Outcome, reason: Reason) -> Decision {
    Decision {
        outcome,
        reason,
        sentence: "So it is.".into(),
        at: start(),
        candidate: 0,
        weight: 50,
        race: vec![],
        rows: vec![],
        baseline_images: vec![],
        candidate_images: vec![],
    }
}
