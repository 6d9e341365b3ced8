//! Types that only Iter8's own fields use. They keep what was written; whether it is supported is decided elsewhere.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The field of an object that holds the weight of a version.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.fieldPath) || self.fieldPath.startsWith('.')")
    .message("not a field path: begin with a dot, for example `.spec.http[0].route[1].weight`"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightObjRef {
    /// Group and version of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_version: Option<String>,
    /// Kind of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub kind: Option<String>,
    /// Name of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Namespace of the object. Default, and the only one: the experiment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Where the weight is, a whole number of percent: names and indices below `.spec`, for example `.spec.http[0].route[1].weight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub field_path: Option<String>,
    /// Accepted and not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// Accepted and not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub resource_version: Option<String>,
}

/// Timing in iterations.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Duration {
    /// Seconds between iterations. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub interval_seconds: Option<i32>,
    /// Iterations per loop. Default: 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub iterations_per_loop: Option<i32>,
    /// Loops. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_loops: Option<i32>,
}

/// A metric to maximise or minimise.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reward {
    /// The metric. Required.
    #[schemars(length(min = 1, max = 317))]
    pub metric: String,
    /// Which values are better. Required.
    pub preferred_direction: PreferredDirection,
}

/// Which values of a reward are better.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferredDirection {
    /// High ones.
    High,
    /// Low ones.
    Low,
}
