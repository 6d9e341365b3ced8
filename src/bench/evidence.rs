//! From the simulated counts to the engine's criteria and observations, and nothing else: what changes when the engine
//! learns another kind of evidence.

use super::scenario::{ABSOLUTE, Objective, RATIO, SLACK, SLOW};
use crate::engine::judge::Tally;
use crate::engine::{Answer, Criterion, Pair, Rule, Seen};

/// The criteria of an objective, as the product makes them of one: a limit comes with its companion.
pub(super) fn criteria(objective: Objective) -> Vec<Criterion> {
    let (metric, rules) = match objective {
        Objective::Absolute => ("istio/error-rate", limited(ABSOLUTE)),
        Objective::Quantile => ("istio/latency-p95", limited(SLOW)),
        Objective::Relative => ("istio/error-rate", vec![Rule::RelativeShare { factor: RATIO, slack: SLACK }]),
    };
    rules.into_iter().map(|rule| Criterion { metric: metric.into(), source: 0, candidate: 0, rule }).collect()
}

fn limited(limit: f64) -> Vec<Rule> {
    vec![Rule::Share { limit }, Rule::Companion { limit }]
}

/// What the one metric says of an interval.
pub(super) fn pairs((baseline, candidate): (Tally, Tally)) -> Vec<Seen<Answer>> {
    vec![Ok(Pair::requests(baseline, candidate).into())]
}
