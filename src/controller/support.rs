//! What the schema accepts and this release does not carry out: refused by name, never ignored.
//!
//! Pure; called by [`super::resolve`]. A field leaves this list when it is carried out.

use kube::ResourceExt;

use super::refusal::Refusal;
use crate::api::Experiment;
use crate::api::experiment::{DeploymentPattern, TestingPattern};
use crate::live::builtin;

/// Refuses an experiment that asks for something that would not happen.
pub(super) fn check(experiment: &Experiment) -> Result<(), Refusal> {
    let spec = &experiment.spec;
    let (strategy, criteria) = (&spec.strategy, &spec.criteria);
    let namespace = experiment.namespace().unwrap_or_default();
    if !spec.target.starts_with(&format!("{namespace}/")) {
        let problem = format!("`{}` is not in the experiment's namespace; write `{namespace}/NAME`", spec.target);
        return Err(Refusal::Invalid { field: "spec.target".into(), problem });
    }
    let increment = strategy.weights.as_ref().is_some_and(|w| w.max_candidate_weight_increment.is_some());
    let foreign_count = criteria.request_count.as_ref().is_some_and(|m| builtin::count(m).is_none());
    let blue_green = strategy.deployment_pattern == Some(DeploymentPattern::BlueGreen);
    let table = [
        (
            strategy.testing_pattern == TestingPattern::Conformance,
            "spec.strategy.testingPattern",
            "write `Canary`, or `A/B` or `A/B/N` with one reward",
        ),
        (
            blue_green,
            "spec.strategy.deploymentPattern",
            "write `Progressive`, with one step of `spec.strategy.ramp.steps` for a single switch",
        ),
        (
            increment,
            "spec.strategy.weights.maxCandidateWeightIncrement",
            "remove it; the evidence bounds each increase, or write `spec.strategy.ramp.steps`",
        ),
        (
            spec.version_info.candidates.len() > 1
                && strategy.deployment_pattern == Some(DeploymentPattern::FixedSplit),
            "spec.strategy.deploymentPattern",
            "write `Progressive`: several candidates always get the same weight; `spec.strategy.ramp.steps` sets it",
        ),
        (foreign_count, "spec.criteria.requestCount", "write `istio/request-count` or remove it"),
        (
            !criteria.indicators.is_empty(),
            "spec.criteria.indicators",
            "remove it; status shows requests and bad requests of every objective",
        ),
        (
            criteria.strength.is_some(),
            "spec.criteria.strength",
            "remove it; write `spec.analysis.falseRollback` and `falsePromotion`",
        ),
    ];
    match table.into_iter().find(|(asked, _, _)| *asked) {
        Some((_, field, instead)) => Err(Refusal::NotSupported { field: field.into(), instead: instead.into() }),
        None => Ok(()),
    }
}
