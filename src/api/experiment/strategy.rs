//! `spec.strategy`: the pattern, the cap and the ramp.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{Span, schema};

/// Requests that the candidate may answer badly while the ramp rises, without `badRequestBudget`.
const DEFAULT_BAD_REQUEST_BUDGET: i32 = 50;

/// How traffic moves to the candidate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.actions)")
    .message("not yet supported: remove `spec.strategy.actions`; `spec.gitops` writes the outcome to Git, and `spec.traffic` moves the weights"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Strategy {
    /// Canary: one candidate is judged by the objectives. Conformance: one version without a comparison. A/B and A/B/N: the version
    /// with the best reward. Required.
    pub testing_pattern: TestingPattern,
    /// Iter8's way of shifting traffic: FixedSplit (not at all), Progressive, or BlueGreen. Default: Progressive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DeploymentPattern")]
    pub deployment_pattern: Option<DeploymentPattern>,
    /// Iter8's tasks at start, loop and finish. Not supported: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub actions: Option<serde_json::Value>,
    /// Limits of the candidate's weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// How the candidate's weight rises. Default: gated by evidence, with a budget of 50 bad requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
}

impl Strategy {
    /// Requests that the candidate may answer badly while its weight rises by evidence; at least 1.
    pub fn bad_request_budget(&self) -> i32 {
        self.ramp.as_ref().and_then(|ramp| ramp.bad_request_budget).unwrap_or(DEFAULT_BAD_REQUEST_BUDGET)
    }

    /// The explicit steps; empty if the weight rises by evidence.
    pub fn steps(&self) -> &[RampStep] {
        self.ramp.as_ref().map_or(&[], |ramp| &ramp.steps)
    }
}

/// What is compared, and how a winner is found.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestingPattern {
    /// One candidate against the baseline.
    Canary,
    /// One candidate and one reward.
    #[serde(rename = "A/B")]
    Ab,
    /// Several candidates and one reward: those that keep their limits race for it, together with the baseline.
    #[serde(rename = "A/B/N")]
    Abn,
    /// The baseline alone.
    Conformance,
}

/// Iter8's ways of shifting traffic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentPattern {
    /// The weights stay as they are.
    FixedSplit,
    /// The candidate's weight rises.
    Progressive,
    /// The candidate takes all traffic.
    BlueGreen,
}

/// Limits of the candidate's weight.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Weights {
    /// The most traffic that a candidate gets, percent; each of several at most an equal part. Default: 50 with `spec.traffic`, 100 with
    /// `weightObjRef`. At most 90 if an objective compares with the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub max_candidate_weight: Option<i32>,
    /// Iter8's largest rise per iteration, percent points. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub max_candidate_weight_increment: Option<i32>,
}

/// How the candidate's weight rises: by evidence within a budget, or in explicit steps.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!(has(self.badRequestBudget) && has(self.steps) && self.steps.size() > 0)")
        .message("two ramps: write `badRequestBudget` (the weight rises by evidence) or `steps`, not both"),
    validation = Rule::new("!has(self.steps) || self.steps.all(s, s.weight <= self.steps[self.steps.size() - 1].weight)")
        .message("the weights of `steps` must rise: write the largest weight last")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ramp {
    /// Requests that the candidate may answer badly while its weight rises by evidence. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub bad_request_budget: Option<i32>,
    /// Explicit steps, in order, instead of a ramp by evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub steps: Vec<RampStep>,
}

/// One step of an explicit ramp.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RampStep {
    /// The candidate's share of the traffic, percent; above that of the step before, at most `maxCandidateWeight`. Required.
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// The least time at this weight. Default: one analysis interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Span>,
    /// Wait at this weight until a person resumes the experiment. Default: false.
    #[serde(default)]
    pub approval: bool,
}
