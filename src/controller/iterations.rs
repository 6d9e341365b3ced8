//! Iter8's timing in iterations, for experiments whose objectives are all opaque.
//!
//! Pure; called by [`super::resolve`]. The judge of typed metrics needs no number of looks, and is refused one.

use jiff::SignedDuration;

use super::analysis::end;
use super::objectives::is_threshold;
use super::refusal::Refusal;
use crate::api::experiment::ExperimentSpec;
use crate::engine::{Analysis, Criterion};

/// Iter8's default: seconds between iterations.
const INTERVAL: i32 = 20;
/// Iter8's default: iterations of a loop.
const ITERATIONS: i32 = 15;
/// Iter8's default: loops.
const LOOPS: i32 = 1;

/// The field that messages name.
const DURATION: &str = "spec.duration";

/// How many iterations there are, if they decide; their interval becomes that of the analysis.
pub(super) fn iterations(
    spec: &ExperimentSpec,
    criteria: &[Criterion],
    analysis: &mut Analysis,
) -> Result<Option<u32>, Refusal> {
    let written = spec.duration.as_ref();
    if !criteria.iter().all(is_threshold) {
        let instead = || "remove it; write `spec.analysis.interval` and `deadline`".to_owned();
        return match written {
            Some(_) => Err(Refusal::NotSupported { field: DURATION.into(), instead: instead() }),
            None => Ok(None),
        };
    }
    let invalid = |problem: String| Refusal::Invalid { field: DURATION.into(), problem };
    match (written.and_then(|d| d.interval_seconds), spec.analysis.interval.is_some()) {
        (Some(seconds), true) => {
            let problem =
                format!("`intervalSeconds: {seconds}` and `spec.analysis.interval` are two intervals; write one");
            return Err(invalid(problem));
        }
        (None, true) => {}
        (seconds, false) => {
            analysis.interval = SignedDuration::from_secs(i64::from(seconds.unwrap_or(INTERVAL).max(1)));
        }
    }
    let of = |value: Option<i32>, default: i32| u32::try_from(value.unwrap_or(default)).unwrap_or(1).max(1);
    let per_loop = of(written.and_then(|d| d.iterations_per_loop), ITERATIONS);
    let all = per_loop.saturating_mul(of(written.and_then(|d| d.max_loops), LOOPS));
    let (field, end) = end(analysis);
    let (needed, given) = (f64::from(all) * analysis.interval.as_secs_f64(), end.as_secs_f64());
    if needed >= given {
        let problem = format!(
            "{all} iterations take {needed} s, and the experiment ends after {given} s; write a longer `{field}`"
        );
        return Err(invalid(problem));
    }
    Ok(Some(all))
}
