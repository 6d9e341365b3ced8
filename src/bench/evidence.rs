//! From the simulated counts to the engine's criteria and observations, and nothing else: what changes when the engine
//! learns another kind of evidence.

use super::scenario::{ABSOLUTE, Objective, SLOW};
use crate::engine::judge::Tally;
use crate::engine::{Criterion, Pair, Seen};

/// The criteria of an objective; none if the engine has no test of its kind.
pub(super) fn criteria(objective: Objective) -> Vec<Criterion> {
    match objective {
        Objective::Absolute => vec![Criterion { metric: "istio/error-rate".into(), limit: ABSOLUTE }],
        Objective::Quantile => vec![Criterion { metric: "istio/latency-p95".into(), limit: SLOW }],
        Objective::Relative => vec![],
    }
}

/// What each criterion sees of an interval.
pub(super) fn pairs(criteria: &[Criterion], (baseline, candidate): (Tally, Tally)) -> Vec<Seen<Option<Pair>>> {
    criteria.iter().map(|_| Ok(Some(Pair { baseline, candidate }))).collect()
}

/// What each criterion sees of the baseline's past.
pub(super) fn history(criteria: &[Criterion], past: &[Tally]) -> Vec<Seen<Vec<Tally>>> {
    criteria.iter().map(|_| Ok(past.to_vec())).collect()
}
