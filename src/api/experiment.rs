//! The `Experiment`: its spec, and the rules across fields that the API server enforces.
//!
//! The parts of the spec are in the submodules; every field of Iter8's `v2alpha2` is here, so that nothing a user wrote for it is
//! pruned. What is not supported is refused with a message that names the replacement: here if a rule can see it, otherwise by the
//! controller.

mod analysis;
mod criteria;
mod edits;
mod gitops;
mod legacy;
mod status;
mod strategy;
mod versions;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use analysis::{Analysis, OnUndecided};
pub use criteria::{Criteria, Objective, Relative};
pub use edits::{
    CopyEdit, DocumentRef, Edit, Edits, HelmBlockEdit, KustomizeImageEdit, Leaf, ManifestRef, OnMissing, RemoveKeyEdit,
    RemoveListItemEdit, SetEdit, SetMarkedEdit, SpotRef,
};
pub use gitops::{
    AutoMerge, GitOps, Handover, Layout, NamedFields, Promote, PromoteFields, PullRequest, WeightsWhileWaiting,
};
pub use legacy::{Duration, PreferredDirection, Reward, WeightObjRef};
pub use status::{
    CriterionStatus, ExperimentStatus, GitOpsStatus, Interval, Next, Preflight, PullRequestStatus, RaceStatus,
    RaceVersion, Stage, StageStatus, VersionWeight, WaitingFor,
};
pub use strategy::{DeploymentPattern, Ramp, RampStep, Strategy, TestingPattern, Weights};
pub use versions::{Destination, Mode, Traffic, Variable, Version, VersionInfo, Workload};

/// The cap on the candidate's weight without `maxCandidateWeight`, percent: half of the traffic is the most that leaves as much baseline
/// to compare with.
pub const DEFAULT_MAX_CANDIDATE_WEIGHT: i32 = 50;

/// Iter8's cap, percent, kept for experiments that name their weights by `weightObjRef`.
pub const ITER8_MAX_CANDIDATE_WEIGHT: i32 = 100;

/// What to try, against what, with how much traffic, by which limits, and where the outcome is written.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "iter8.tools",
    version = "v2alpha2",
    kind = "Experiment",
    plural = "experiments",
    namespaced,
    status = "ExperimentStatus",
    doc = "A candidate version is tried on live traffic against the baseline; the outcome is written to Git.",
    printcolumn(name = "type", type_ = "string", json_path = ".spec.strategy.testingPattern"),
    printcolumn(name = "target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "stage", type_ = "string", json_path = ".status.stage"),
    printcolumn(name = "phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "weight", type_ = "integer", json_path = ".status.weights[1].value"),
    printcolumn(name = "outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "completed iterations", type_ = "string", json_path = ".status.completedIterations"),
    printcolumn(name = "message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "pull request", type_ = "string", json_path = ".status.gitops.stages[-1:].pullRequest.url", priority = 1),
    printcolumn(name = "age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63")
        .message("the name is too long: write at most 63 characters, because branches and labels carry it")
)]
#[x_kube(
    validation = Rule::new("self.strategy.testingPattern == 'A/B/N' || (has(self.versionInfo.candidates) ? self.versionInfo.candidates.size() : 0) == (self.strategy.testingPattern == 'Conformance' ? 0 : 1)")
        .message("wrong number of candidates: write exactly one under `spec.versionInfo.candidates` for Canary and A/B, none for Conformance"),
    validation = Rule::new("self.strategy.testingPattern != 'A/B/N' || (has(self.versionInfo.candidates) && self.versionInfo.candidates.size() > 0)")
        .message("no candidates: write at least one under `spec.versionInfo.candidates`"),
    validation = Rule::new("(has(self.criteria.rewards) ? self.criteria.rewards.size() : 0) == (self.strategy.testingPattern in ['A/B', 'A/B/N'] ? 1 : 0)")
        .message("wrong number of rewards: remove `spec.criteria.rewards`, or write `testingPattern: A/B` (or `A/B/N`) and exactly one reward such as `{metric: NAME, preferredDirection: High}`"),
    validation = Rule::new("!has(self.versionInfo.candidates) || !self.versionInfo.candidates.exists(c, c.name == self.versionInfo.baseline.name)")
        .message("a candidate has the name of the baseline: give every version its own `name`"),
    validation = Rule::new("self.strategy.testingPattern == 'Conformance' || has(self.traffic) || has(self.versionInfo.baseline.weightObjRef) || (has(self.versionInfo.candidates) && self.versionInfo.candidates.exists(c, has(c.weightObjRef)))")
        .message("nothing says where traffic is split: write `spec.traffic` (virtualService, routes) and a `destination` for every version, or a `weightObjRef` for every version"),
    validation = Rule::new("!has(self.traffic) || (has(self.versionInfo.baseline.destination) && (!has(self.versionInfo.candidates) || self.versionInfo.candidates.all(c, has(c.destination))))")
        .message("a version has no destination: write `destination: {subset: NAME}` for the baseline and every candidate, as the route names them"),
    validation = Rule::new("!has(self.traffic) || !(has(self.versionInfo.baseline.weightObjRef) || (has(self.versionInfo.candidates) && self.versionInfo.candidates.exists(c, has(c.weightObjRef))))")
        .message("traffic is named twice: remove every `weightObjRef`, `spec.traffic` and `destination` replace it"),
    validation = Rule::new("!(has(self.strategy.weights) && has(self.strategy.weights.maxCandidateWeight) && self.strategy.weights.maxCandidateWeight > 90 && self.criteria.objectives.exists(o, has(o.relative)))")
        .message("no baseline traffic would be left to compare with: write `maxCandidateWeight: 90` or less, or remove `relative` from the objectives")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExperimentSpec {
    /// What at most one experiment at a time may touch, by convention `namespace/name` of the application. Experiments with the same
    /// target queue in order of creation. Cannot be changed. Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the target cannot change: delete this experiment and create a new one"))]
    pub target: String,
    /// How traffic moves to the candidate. Required.
    pub strategy: Strategy,
    /// The versions that take part. Required.
    pub version_info: VersionInfo,
    /// The Istio route whose weights are shifted. Required for Canary unless the versions have Iter8's `weightObjRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// What the candidate must satisfy. Required.
    pub criteria: Criteria,
    /// How sure and how fast the decision is.
    #[serde(default)]
    pub analysis: Analysis,
    /// Iter8's timing in iterations, for experiments that have only opaque metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// Where and how the outcome is written to Git. Without it nothing is written and the outcome is in status only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gitops: Option<GitOps>,
}

impl ExperimentSpec {
    /// The most traffic that the candidate may get, percent.
    pub fn max_candidate_weight(&self) -> i32 {
        let default = if self.traffic.is_some() { DEFAULT_MAX_CANDIDATE_WEIGHT } else { ITER8_MAX_CANDIDATE_WEIGHT };
        self.strategy.weights.as_ref().and_then(|weights| weights.max_candidate_weight).unwrap_or(default)
    }
}
