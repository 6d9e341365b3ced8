//! `status`: what the controller reports, Iter8's fields first.
//!
//! The schema sets no sizes here: a status that the API server refuses would stop the experiment, so the writers bound what they write.
//! Everything is optional, so that a status of another release can be read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// What the controller reports.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ExperimentStatus {
    /// Iter8's stage; `phase` is finer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Stage")]
    pub stage: Option<Stage>,
    /// When the controller first saw the experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub init_time: Option<Time>,
    /// When the candidate first got traffic; the deadlines count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub start_time: Option<Time>,
    /// When the last interval of evidence was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_update_time: Option<Time>,
    /// Number of intervals of evidence so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_iterations: Option<i32>,
    /// The weights that were last observed in the cluster, percent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub current_weight_distribution: Vec<VersionWeight>,
    /// The version that should be the baseline after this experiment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_recommended_for_promotion: Option<String>,
    /// What happens, and why, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Iter8: the metrics as they were at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque_list")]
    pub metrics: Option<serde_json::Value>,
    /// Iter8: the last analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub analysis: Option<serde_json::Value>,
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the experiment is: Queued, Preparing, Shifting, Deciding, Promoting, Discarding, Completed, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What is done: Promote, Discard or None. Set at the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why: Proven, Harmful, Undecided, Aborted, RejectedInReview, Unproven, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the experiment waits for, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    /// The weights that are wanted, percent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<VersionWeight>,
    /// Each test of an objective: its data, its verdict and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<CriterionStatus>,
    /// Where each version of an A/B/N experiment stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub race: Option<RaceStatus>,
    /// The write-back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gitops: Option<GitOpsStatus>,
    /// What happens next, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The last request of each kind that was handled (`pause`, `resume`, `abort`, `promote`, `retry`): its time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub handled: BTreeMap<String, String>,
    /// How often weights that others wrote were put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repairs: Option<i64>,
    /// The watch over a candidate that was decided on and still serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// Ready, Reconciling, Stalled, Completed, Failed, TargetAcquired, Decided, GitOpsReady.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// What the spec said when it could be carried out last, with the Metrics that it refers to: traffic comes home by it
    /// when the spec is refused. Not for other readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub accepted: Option<serde_json::Value>,
    /// The memory of the engine between turns. Not for other readers; its shape may change with any release.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub progress: Option<serde_json::Value>,
}

/// Iter8's stages, in order.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another experiment holds the target.
    Waiting,
    /// The experiment is being prepared; no traffic moved yet.
    Initializing,
    /// Traffic moves, evidence is collected.
    Running,
    /// The outcome is known and is being written.
    Finishing,
    /// Nothing is left to do.
    Completed,
}

/// The weight of one version.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VersionWeight {
    /// The version.
    pub name: String,
    /// Its share of the traffic, percent.
    pub value: i32,
}

/// What the experiment waits for.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    /// What, in one line.
    pub what: String,
    /// Until when; then the step that `next` names is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub until: Option<Time>,
}

/// What happens next.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Next {
    /// What, in one line.
    pub what: String,
    /// When, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub at: Option<Time>,
}

/// One test of an objective.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CriterionStatus {
    /// The metric.
    pub metric: String,
    /// The candidate that is tested, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// The limit, as it reads: `at most 1 %`.
    pub limit: String,
    /// Requests of the candidate that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<i64>,
    /// How many of them were bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<i64>,
    /// The candidate's value, in the metric's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<f64>,
    /// Where the value is with the confidence that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Evidence that the limit is broken; Fail at `failNeeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_evidence: Option<f64>,
    /// The Fail evidence at which this criterion alone decides: with K criteria of one weight, K / falseRollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_needed: Option<f64>,
    /// Evidence that the limit is kept; Pass at `needed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_evidence: Option<f64>,
    /// The Pass evidence at which this criterion is met: 1 / falsePromotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<f64>,
    /// Pass, Fail or Undecided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The reward for which several candidates and the baseline compete.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RaceStatus {
    /// The metric.
    pub metric: String,
    /// All versions, the baseline first.
    pub versions: Vec<RaceVersion>,
}

/// One version of a race.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RaceVersion {
    /// The version.
    pub name: String,
    /// Its mean reward, once there are values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// How many values that is the mean of.
    pub values: i64,
    /// Racing, or Out.
    pub state: String,
    /// Why, in one line.
    pub why: String,
}

/// A range of values.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The write-back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct GitOpsStatus {
    /// What was found in the repository before any traffic moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// The stages of the write-back so far, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageStatus>,
}

/// What was found in the repository before any traffic moved.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Preflight {
    /// The commit of the base branch.
    pub base: String,
    /// Path to blob id of each file that the outcome changes or removes.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub blobs: std::collections::BTreeMap<String, String>,
}

/// One stage of the write-back.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct StageStatus {
    /// Promote, CleanUp or Revert.
    pub stage: String,
    /// The key that the branch and the commit carry.
    pub key: String,
    /// Counts from 1; a retry after a closed request is a new attempt.
    pub attempt: i32,
    /// Where the stage is: Planning, Pushed, Waiting, Merged, ...
    pub state: String,
    /// The branch of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The commit of the base branch that the edit was made on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The commit that was pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The request, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestStatus>,
}

/// A pull request at the forge.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PullRequestStatus {
    /// Its number.
    pub number: i64,
    /// Where a person finds it.
    pub url: String,
    /// Open, Merged or Closed.
    pub state: String,
}
