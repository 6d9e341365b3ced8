//! `spec.versionInfo` and `spec.traffic`: who takes part, and the route that divides requests among them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::legacy::WeightObjRef;
use crate::api::schema;

/// The versions that take part.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionInfo {
    /// The version that serves today and that traffic returns to. Required.
    pub baseline: Version,
    /// The challengers: exactly one for Canary and A/B, one to seven for A/B/N, none for Conformance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub candidates: Vec<Version>,
}

impl VersionInfo {
    /// All versions: the baseline, then the candidates.
    pub fn versions(&self) -> impl Iterator<Item = &Version> {
        std::iter::once(&self.baseline).chain(&self.candidates)
    }
}

/// One version.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Version {
    /// The name that status, metrics (`$name`) and messages use; unique in the experiment. Required.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The workload that runs this version. Required when `spec.gitops` is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Where the route sends this version's requests. Required with `spec.traffic`. Each version's subset must select the pods of its own
    /// workload and not those of another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Values for the placeholders of metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub variables: Vec<Variable>,
    /// Iter8's way to name the field that holds this version's weight, in any object of the experiment's namespace: `apiVersion`, `kind`,
    /// `name` and `fieldPath`, for every version. Instead of `spec.traffic`. Nothing says then where requests go: a metric that asks for the
    /// host needs a variable `host`, and nobody checks that the fields lead to the workloads. The controller has to be allowed to get and
    /// patch the object; kinds other than VirtualService are not watched, so that a foreign edit is repaired a little later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_obj_ref: Option<WeightObjRef>,
}

/// A workload in the experiment's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Kind. Default, and today the only one: Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == 'Deployment'").message("not yet supported: write `kind: Deployment` or remove it"))]
    pub kind: Option<String>,
    /// Name. Required.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace. Default: the experiment's; another one only if the controller allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The destination of a route that belongs to a version, as the VirtualService writes it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.subset) || has(self.host)")
    .message("an empty destination: write `subset` (a subset of the DestinationRule), `host`, or both"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// The subset of the DestinationRule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub subset: Option<String>,
    /// The host of the destination. Default: `spec.traffic.host`, or else the route's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
}

/// A value for a placeholder of metrics.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variable {
    /// The placeholder without `$`. Required.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its value for this version. Required.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// The Istio route whose weights are shifted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.match)")
        .message("not yet supported: remove `spec.traffic.match`; write the match on the http route of the VirtualService and name that route in `routes`"),
    validation = Rule::new("!has(self.stickiness)")
        .message("not yet supported: remove `spec.traffic.stickiness`; write a `consistentHash` load balancer in the DestinationRule"),
    validation = Rule::new("!has(self.mirror)")
        .message("not yet supported: remove `spec.traffic.mirror`; write `mirror` on the http route of the VirtualService")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    /// The VirtualService, `name` or `namespace/name`; another namespace than the experiment's only if the controller allows it.
    /// Required.
    #[schemars(length(min = 1, max = 317))]
    pub virtual_service: String,
    /// Names of the http routes to shift, all with the same weights. Default: every http route that leads to both destinations. No third
    /// destination may have a weight in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub routes: Vec<String>,
    /// Host of the service, as the route writes it. Default: the host of the route's destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Who else writes the VirtualService: InPlace (the GitOps tool, which ignores the weights) or Delegate (a VirtualService without hosts
    /// and gateways, to which another one delegates; the GitOps tool ignores its whole `spec.http`). Default: InPlace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mode")]
    pub mode: Option<Mode>,
    /// Percent of the route's traffic that one ready replica of the candidate carries: the candidate never gets more than its ready replicas
    /// carry. Default: what one ready replica of the baseline carries at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub capacity: Option<i32>,
    /// Only requests that match take part. Not supported: refused.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque_list")]
    pub matching: Option<serde_json::Value>,
    /// Keep a user on one version. Not supported: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub stickiness: Option<serde_json::Value>,
    /// Send copies of requests to the candidate. Not supported: refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::opaque")]
    pub mirror: Option<serde_json::Value>,
}

impl Traffic {
    /// Who else writes the VirtualService.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }
}

/// Who else writes the VirtualService.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The GitOps tool owns the VirtualService and ignores its weights.
    #[default]
    InPlace,
    /// The VirtualService is a delegate, without hosts and gateways, whose routes the GitOps tool ignores.
    Delegate,
}
