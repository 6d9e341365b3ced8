//! `spec.gitops`: where and how the outcome is written to Git.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use super::Edits;
use crate::api::{InvalidField, Span};

/// How long a pull request may wait for its review.
const STALE_AFTER: Duration = Duration::from_hours(7 * 24);

/// The rule for a path in a repository, and what to write instead.
///
/// Only characters that no tool treats specially: `..`, `.git`, look-alikes and drive letters cannot be written with the rest.
macro_rules! path_rule {
    ($what:literal) => {
        Rule::new("self.matches('^[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*(/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)*$')").message(
            concat!(
                "not a path in the repository: write ",
                $what,
                ", relative, with `/` between names of letters, digits and `._@+-`, none of which begins with a dot"
            ),
        )
    };
}

/// Where and how the outcome is written to Git.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!(has(self.edits) && has(self.layout))")
    .message("`layout` and `edits` both say what is edited: remove one of them"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitOps {
    /// The Repository, `name` or `namespace/name`; it must allow the experiment's namespace. Required.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = Rule::new("self.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')")
        .message("not the name of a Repository: write `name` or `namespace/name` of the object, such as `platform/environment`; its address is in there"))]
    pub repository: String,
    /// Directory of the application in the repository; all other paths are relative to it and cannot leave it. Required.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = path_rule!("a directory such as `apps/productpage`"))]
    pub path: String,
    /// What the directory looks like: Flat (plain manifests), Kustomize (a kustomization lists them), or HelmValues (the values of a chart,
    /// with the blocks `candidate` and `experiment`). Default: Flat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Layout")]
    pub layout: Option<Layout>,
    /// What a promotion copies from the candidate to the baseline. Required.
    pub promote: Promote,
    /// Further files that belong to the experiment, such as a load generator. The files of the Experiment and of the candidate are found,
    /// not listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    #[x_kube(validation = Rule::new("self.all(f, f.matches('^[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*(/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)*$'))")
        .message("not a path below `spec.gitops.path`: write file names such as `fortio.yaml`, relative, with `/` between names of letters, digits and `._@+-`"))]
    pub remove: Vec<String>,
    /// In how many requests the outcome is written: TwoPullRequests (one changes the baseline; when it has the traffic, another removes
    /// the experiment), SinglePullRequest, or CommitToBase (no review). Default: TwoPullRequests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Handover")]
    pub handover: Option<Handover>,
    /// Where traffic is while the promotion waits for its review: Hold (at the split that was proven), Candidate, or Baseline.
    /// Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WeightsWhileWaiting")]
    pub weights_while_waiting: Option<WeightsWhileWaiting>,
    /// How pull requests are opened and how long they wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// What each outcome edits, in place of a layout. `promote` still names the files of the two versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edits: Option<Edits>,
}

impl GitOps {
    /// What the directory looks like.
    pub fn layout(&self) -> Layout {
        self.layout.unwrap_or_default()
    }

    /// In how many requests the outcome is written.
    pub fn handover(&self) -> Handover {
        self.handover.unwrap_or_default()
    }

    /// Where traffic is while the promotion waits for its review.
    pub fn weights_while_waiting(&self) -> WeightsWhileWaiting {
        self.weights_while_waiting.unwrap_or_default()
    }

    /// Which requests are merged without a person.
    pub fn auto_merge(&self) -> AutoMerge {
        self.pull_request.as_ref().and_then(|request| request.auto_merge.clone()).unwrap_or_default()
    }

    /// How long a pull request may wait for its review; then the candidate is discarded.
    pub fn stale_after(&self) -> Result<Duration, InvalidField> {
        let written = self.pull_request.as_ref().and_then(|request| request.stale_after.as_ref());
        written.map_or(Ok(STALE_AFTER), |text| {
            text.duration()
                .map_err(|source| InvalidField { field: "spec.gitops.pullRequest.staleAfter", source: source.into() })
        })
    }
}

/// What the directory of the application looks like.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Plain manifests, one workload in each of the two files.
    #[default]
    Flat,
    /// A kustomization lists the manifests, and may set their images.
    Kustomize,
    /// Values of a Helm chart, with the blocks `candidate` and `experiment`.
    HelmValues,
}

/// In how many requests the outcome is written.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handover {
    /// One changes the baseline; when it runs and has the traffic, another removes the experiment.
    #[default]
    TwoPullRequests,
    /// One request does both.
    SinglePullRequest,
    /// Commits to the base branch, without a review.
    CommitToBase,
}

/// Where traffic is while the promotion waits for its review.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightsWhileWaiting {
    /// At the split that was proven.
    #[default]
    Hold,
    /// At the candidate.
    Candidate,
    /// At the baseline.
    Baseline,
}

/// What a promotion copies from the candidate's manifest to the baseline's.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Promote {
    /// File of the candidate's manifest or, with HelmValues, of the values that hold the block `candidate`; below `path`. Required.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = path_rule!("a file such as `productpage-candidate.yaml`"))]
    pub from: String,
    /// With several candidates: the file of each one's manifest, by the candidate's name. Those that are not named are in `from`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 7, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 512}))]
    #[x_kube(validation = Rule::new("self.all(name, self[name].matches('^[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*(/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)*$'))")
        .message("not paths below `spec.gitops.path`: write `NAME: FILE` with the names of candidates and files such as `productpage-b.yaml`"))]
    pub from_each: BTreeMap<String, String>,
    /// File of the baseline's manifest, below `path`; of its values with HelmValues; or, for `Images` alone, a kustomization. Required.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = path_rule!("a file such as `productpage.yaml`"))]
    pub to: String,
    /// What is copied: `Template` (the pod template but the labels that tell the versions apart), `Images` (of all containers), or a list
    /// of paths such as `spec.template.spec.containers[name=app].image`; with HelmValues all values of the block, those of images, or paths
    /// in it. Default: Template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<PromoteFields>,
}

impl Promote {
    /// What is copied.
    pub fn fields(&self) -> PromoteFields {
        self.fields.clone().unwrap_or(PromoteFields::Named(NamedFields::Template))
    }
}

/// What a promotion copies.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum PromoteFields {
    /// One of the two sets that have a name.
    Named(NamedFields),
    /// Paths in the manifest, such as `spec.template.spec.containers[name=app].image`.
    Paths(Vec<String>),
}

/// The sets of fields that have a name.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedFields {
    /// The pod template but the labels that tell the versions apart.
    Template,
    /// The images of all containers.
    Images,
}

impl JsonSchema for PromoteFields {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PromoteFields".into()
    }

    /// Untyped, because a structural schema has no "string or list"; the pattern binds texts only, the sizes lists and objects.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "pattern": "^(Template|Images)$",
            "minItems": 1,
            "maxItems": 32,
            "items": {"type": "string", "minLength": 1, "maxLength": 512},
            "minProperties": 1,
            "maxProperties": 0,
        })
    }
}

/// How pull requests are opened and how long they wait.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PullRequest {
    /// User names at the forge who are asked for a review. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub reviewers: Vec<String>,
    /// Labels at the forge. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 50)))]
    pub labels: Vec<String>,
    /// Whether requests are opened as drafts, which a person marks as ready before they can be merged. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// Which requests are merged without a person, as soon as the forge's own rules (required checks, required reviews) let them be.
    /// The Repository has to allow it (`allowAutoMerge`). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_merge: Option<AutoMerge>,
    /// How long a request may wait; then the candidate is discarded. Default: 7d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<Span>,
}

/// Which requests are merged without a person.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoMerge {
    /// The request that promotes the candidate. Default: false.
    #[serde(default)]
    pub promote: bool,
    /// The request that only removes the experiment. Default: false.
    #[serde(default)]
    pub cleanup: bool,
}
