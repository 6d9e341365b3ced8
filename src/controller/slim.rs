//! What the cache keeps of an experiment.
//!
//! Pure; called by [`super::experiments`] for every object that the watch brings. Every turn reads its experiment fresh.
//! The cache only has to tell who wants a target ([`crate::live::Contender`]), whom a change concerns
//! ([`super::references`]), whether there is anything to do ([`super::rest`]), and what the metrics show
//! ([`crate::telemetry`]): a tenth of an object.

use std::mem;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::DeserializeGuard;

use crate::api::conditions::{self, Truth};
use crate::api::{Experiment, ExperimentStatus};
use crate::engine::Phase;

/// Takes away what nobody reads from the cache.
pub(super) fn slim(guard: &mut DeserializeGuard<Experiment>) {
    let experiment = match &mut guard.0 {
        Ok(experiment) => experiment,
        Err(unreadable) => return unreadable.metadata.managed_fields = None,
    };
    let metadata = &mut experiment.metadata;
    metadata.managed_fields = None;
    metadata.labels = None;
    // Written by every `kubectl apply`, as large as the object.
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let spec = &mut experiment.spec;
    spec.criteria.objectives = vec![];
    (spec.strategy.weights, spec.strategy.ramp) = (None, None);
    if let Some(gitops) = &mut spec.gitops {
        (gitops.remove, gitops.pull_request, gitops.edits) = (vec![], None, None);
    }
    if let Some(status) = &mut experiment.status {
        keep(status);
    }
}

/// Of the status, what the metrics show, what tells whether a target is free, and whether there is anything to do.
fn keep(status: &mut ExperimentStatus) {
    let before = mem::take(status);
    status.observed_generation = before.observed_generation;
    status.handled = before.handled;
    status.waiting_for = before.waiting_for;
    // Only a running experiment has series of its own.
    let idle = [Phase::Queued, Phase::Completed].iter().any(|phase| before.phase.as_deref() == Some(phase.as_str()));
    if !idle {
        status.weights = before.weights;
        status.criteria = before.criteria;
        status.criteria.iter_mut().for_each(|criterion| criterion.why = None);
    }
    status.phase = before.phase;
    status.gitops = before.gitops;
    if let Some(gitops) = &mut status.gitops {
        gitops.preflight = None;
    }
    let shown = [conditions::READY, conditions::STALLED];
    // Nobody waits for one that cannot be carried out.
    let failed = |c: &Condition| c.type_ == conditions::FAILED && c.status == Truth::True.as_str();
    let kept = |c: &Condition| shown.contains(&c.type_.as_str()) || failed(c);
    let conditions = before.conditions.into_iter().filter(kept);
    status.conditions = conditions.collect();
    status.conditions.shrink_to_fit();
    status.conditions.iter_mut().for_each(|condition| condition.message = String::new());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;
    use crate::telemetry::Metrics;

    fn experiment(phase: Phase) -> Experiment {
        let condition = |kind: &str, reason: &str| {
            json!({"type": kind, "status": "True", "reason": reason, "message": "long ".repeat(50),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let mut sample: Value = serde_saphyr::from_str(include_str!("../../samples/bookinfo/experiment.yaml")).unwrap();
        let managed = json!({"fieldsV1": {"f:spec": "x".repeat(1000)}, "manager": "kubectl"});
        sample["metadata"]["managedFields"] = json!([managed]);
        sample["status"] = json!({
            "phase": phase.as_str(), "waitingFor": {"what": "something"}, "message": "long ".repeat(50),
            "weights": [{"name": "stable", "value": 70}, {"name": "candidate", "value": 30}],
            "criteria": [{"metric": "istio/error-rate", "limit": "1 %", "requests": 100, "bad": 1, "estimate": 0.01,
                "interval": {"low": 0.001, "high": 0.1}, "failEvidence": 3.0, "passEvidence": 4.0, "needed": 20.0,
                "verdict": "Undecided", "why": "long ".repeat(50)}],
            "gitops": {"stages": [{"stage": "Promote", "key": "k", "attempt": 1, "state": "Waiting",
                "pullRequest": {"number": 1, "url": "https://git.example.com/1", "state": "Open"}}]},
            "conditions": [condition(conditions::READY, "WaitingForReview"), condition(conditions::STALLED, "BranchEdited"),
                condition(conditions::DECIDED, "Proven"), condition(conditions::COMPLETED, "Proven")],
            "progress": {"phase": phase.as_str(), "much": "more ".repeat(1000)},
        });
        serde_json::from_value(sample).unwrap()
    }

    /// What a scrape shows of one experiment.
    fn drawn(experiment: Experiment) -> String {
        let metrics = Metrics::default();
        metrics.watch(move |show: &mut dyn FnMut(&Experiment)| show(&experiment));
        let own = |line: &&str| line.starts_with("reiter8_experiment") || line.starts_with("reiter8_criterion");
        let own = |line: &&str| own(line) || line.starts_with("reiter8_pull_requests");
        metrics.encode().lines().filter(own).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_kept_draws_the_same_metrics_and_is_a_small_part() {
        for phase in [Phase::Queued, Phase::Shifting, Phase::Promoting, Phase::Completed] {
            let whole = experiment(phase);
            let mut guard = DeserializeGuard(Ok(whole.clone()));
            slim(&mut guard);
            let kept = guard.0.unwrap();
            let size = |e: &Experiment| serde_json::to_vec(e).unwrap().len();
            assert!(size(&kept) * 4 < size(&whole), "{} of {} bytes", size(&kept), size(&whole));
            let text = drawn(whole);
            assert!(text.contains(&format!("phase=\"{}\"}} 1", phase.as_str())), "{text}");
            assert!(text.contains("WaitingForReview"), "{text}");
            assert_eq!(text.contains("criterion_evidence"), phase == Phase::Shifting || phase == Phase::Promoting);
            assert_eq!(drawn(kept), text);
        }
    }
}
