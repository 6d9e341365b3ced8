//! From `spec.strategy` to the candidate's weights: how they rise, and where they end. Pure; called by [`super::resolve`].

use std::time::Duration;

use jiff::SignedDuration;

use super::analysis::{end, signed};
use super::refusal::Refusal;
use crate::api::experiment as spec;
use crate::engine::{Analysis, Ramp, Rung};

/// Beyond this cap the baseline is left with too little traffic to compare with.
const MOST_FOR_COMPARISON: i32 = 90;

/// The fields that messages name.
const RAMP: &str = "spec.strategy.ramp";
const STEPS: &str = "spec.strategy.ramp.steps";
const WEIGHT: &str = "spec.strategy.ramp.steps[].weight";
const HOLD: &str = "spec.strategy.ramp.steps[].hold";
const CAP: &str = "spec.strategy.weights.maxCandidateWeight";

/// How the weight rises, up to the cap and in time.
pub(super) fn ramp(spec: &spec::ExperimentSpec, cap: u8, analysis: &Analysis) -> Result<Ramp, Refusal> {
    let strategy = &spec.strategy;
    if strategy.deployment_pattern == Some(spec::DeploymentPattern::FixedSplit) {
        if strategy.ramp.is_some() {
            let problem = "`FixedSplit` keeps the weights that it finds; remove `ramp`, or write `Progressive`".into();
            return Err(Refusal::Invalid { field: RAMP.into(), problem });
        }
        return Ok(Ramp::Fixed);
    }
    let steps = strategy.steps();
    if steps.is_empty() {
        return Ok(Ramp::Gated { budget: f64::from(strategy.bad_request_budget()) });
    }
    let mut rungs: Vec<Rung> = vec![];
    for (index, step) in steps.iter().enumerate() {
        rungs.push(rung(step, rungs.last(), cap, equal_part(spec)).map_err(|refusal| refusal.of_item(index))?);
    }
    in_time(&rungs, analysis)?;
    Ok(Ramp::Steps(rungs))
}

/// One step, above the one before it.
fn rung(step: &spec::RampStep, before: Option<&Rung>, cap: u8, equal_part: i32) -> Result<Rung, Refusal> {
    let hold = step.hold.as_ref().map_or(Ok(Duration::ZERO), |h| {
        h.duration().map_err(|e| Refusal::Invalid { field: HOLD.into(), problem: e.to_string() })
    })?;
    let weight = percent(step.weight, WEIGHT)?;
    let refuse = |problem: String| Err(Refusal::Invalid { field: WEIGHT.into(), problem });
    if let Some(before) = before.filter(|before| before.weight >= weight) {
        return refuse(format!("{weight} is not above the {} before it; write weights that rise", before.weight));
    }
    if weight > cap {
        let remedy = if i32::from(cap) < equal_part {
            format!("or raise `{CAP}`")
        } else {
            "which leaves every version an equal part".to_owned()
        };
        return refuse(format!("{weight} is over the cap of {cap}; write at most {cap}, {remedy}"));
    }
    Ok(Rung { weight, hold: signed(hold), approval: step.approval })
}

/// Whether the last step is reached, and soaked, before the end.
fn in_time(rungs: &[Rung], analysis: &Analysis) -> Result<(), Refusal> {
    let before_last = rungs.iter().rev().skip(1);
    let needed = before_last.fold(analysis.soak, |sum: SignedDuration, rung| sum.saturating_add(rung.hold));
    let (field, end) = end(analysis);
    if needed >= end {
        let problem = format!(
            "the holds before the last step and the soak take {needed:#}, and the experiment ends after {end:#}; write shorter ones, or a longer `{field}`"
        );
        return Err(Refusal::Invalid { field: STEPS.into(), problem });
    }
    Ok(())
}

/// A weight, or a number of the same kind.
pub(super) fn percent(value: i32, field: &'static str) -> Result<u8, Refusal> {
    u8::try_from(value).ok().filter(|p| (1..=100).contains(p)).ok_or_else(|| Refusal::Invalid {
        field: field.into(),
        problem: format!("{value} is not a weight; write a whole number from 1 to 100"),
    })
}

/// The most that one of several candidates may get; a single one is bound by its cap alone.
fn equal_part(spec: &spec::ExperimentSpec) -> i32 {
    match i32::try_from(spec.version_info.candidates.len()).unwrap_or(i32::MAX) {
        several @ 2.. => 100 / several.saturating_add(1),
        _ => 100,
    }
}

/// The most that each candidate gets. Several, with the baseline, have equal parts at most: what one has more the others
/// have less, and the slowest comparison decides how long a race takes.
pub(super) fn cap(spec: &spec::ExperimentSpec) -> Result<u8, Refusal> {
    let cap = spec.max_candidate_weight().min(equal_part(spec));
    let relative = spec.criteria.objectives.iter().any(|o| o.relative.is_some());
    if relative && cap > MOST_FOR_COMPARISON {
        return Err(Refusal::Invalid {
            field: CAP.into(),
            problem: format!("{cap} leaves no baseline traffic to compare with; write at most {MOST_FOR_COMPARISON}"),
        });
    }
    percent(cap, CAP)
}
