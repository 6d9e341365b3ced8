//! `spec.criteria`: what the candidate must satisfy.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::legacy::Reward;
use crate::api::{Quantity, QuantityError, Unit, schema};

/// What the candidate must satisfy.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.objectives.size() > 0")
        .message("nothing to judge: write at least one objective, for example `{metric: istio/error-rate, upperLimit: 1%}`")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Criteria {
    /// Limits on metrics, at least one; all must hold. Required.
    #[schemars(length(max = 16))]
    pub objectives: Vec<Objective>,
    /// Iter8: the metric that counts requests, reported only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub request_count: Option<String>,
    /// Iter8: metrics to report only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 317)))]
    pub indicators: Vec<String>,
    /// What an A/B or A/B/N experiment maximises or minimises, exactly one: the mean of a Metric with `mean`, `istio/mean-latency`, or for A/B
    /// a `gauge`, in which the candidate has to be better than the baseline, and than every other candidate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub rewards: Vec<Reward>,
    /// Iter8 declares it and never reads it. `spec.analysis` states how sure a decision is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub strength: Option<serde_json::Value>,
}

/// A limit on a metric: absolute, compared with the baseline, or both (then it is two criteria).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[schemars(extend("anyOf" = [{"required": ["upperLimit"]}, {"required": ["lowerLimit"]}, {"required": ["relative"]}]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objective {
    /// The metric: a built-in (`istio/error-rate`, `istio/mean-latency`, `istio/latency-p50`, `p75`, `p90`, `p95`, `p99`), or `name` or `namespace/name` of a Metric. Required.
    #[schemars(length(min = 1, max = 317))]
    pub metric: String,
    /// The largest good value, in the metric's unit: `1%`, `0.01`, `250ms`, `0.25s`. A bare `m` on a time is refused: write `ms` or `min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_limit: Option<Quantity>,
    /// The smallest good value, in the metric's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_limit: Option<Quantity>,
    /// Compare with the baseline in the same time: bad if worse than `factor` times the baseline plus `slack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<Relative>,
    /// Iter8: end the experiment as soon as this objective fails. Always so for typed metrics. Default: false.
    #[serde(rename = "rollback_on_failure", skip_serializing_if = "Option::is_none")]
    pub rollback_on_failure: Option<bool>,
}

/// A limit that follows the baseline: `factor` × baseline + `slack`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Relative {
    /// How many times the baseline's value is still good; at least 1. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<Quantity>,
    /// What is added, in the metric's unit. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<Quantity>,
}

impl Relative {
    /// How many times the baseline's value is still good.
    pub fn factor(&self) -> Result<f64, QuantityError> {
        self.factor.as_ref().map_or(Ok(1.0), |factor| factor.value(Unit::Plain))
    }

    /// What is added to it, in the metric's unit.
    pub fn slack(&self, unit: Unit) -> Result<f64, QuantityError> {
        self.slack.as_ref().map_or(Ok(0.0), |slack| slack.value(unit))
    }
}
