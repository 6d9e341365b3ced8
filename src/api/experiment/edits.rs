//! `spec.gitops.edits`: the closed set of verbs, for directories that no layout fits.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What each outcome edits, in order. A verb selects exactly one place, does nothing when it was done before, and is refused when the place
/// is no longer what it was at the start.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edits {
    /// What brings the candidate's content to the baseline. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub promote: Vec<Edit>,
    /// What removes the experiment, whatever its outcome is. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub cleanup: Vec<Edit>,
    /// What is further edited when the baseline stays. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub discard: Vec<Edit>,
}

/// One edit: exactly one verb.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.copy), has(self.set), has(self.kustomizeImage), has(self.helmBlock), has(self.setMarked), has(self.removeFiles), has(self.removeListItem), has(self.removeKey)].filter(one, one).size() == 1")
    .message("not one verb: write exactly one of `copy`, `set`, `kustomizeImage`, `helmBlock`, `setMarked`, `removeFiles`, `removeListItem` and `removeKey` in each item"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edit {
    /// Copies parts of the pod template from the candidate's manifest to the baseline's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyEdit>,
    /// Sets one value; quotes and the comment behind it stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<SetEdit>,
    /// Sets the build of an entry of a kustomization's `images` to the candidate's: `newTag` or `digest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kustomize_image: Option<KustomizeImageEdit>,
    /// Sets a block of a chart's values to what another block of the same file holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helm_block: Option<HelmBlockEdit>,
    /// Sets every value that has the comment `# {"$iter8": "MARKER:PART"}` behind it to a part of the candidate's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_marked: Option<SetMarkedEdit>,
    /// Removes files, below `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 512)))]
    #[schemars(with = "Vec<String>")]
    pub remove_files: Option<Vec<String>>,
    /// Removes items of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_list_item: Option<RemoveListItemEdit>,
    /// Removes an entry of a mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_key: Option<RemoveKeyEdit>,
}

/// A manifest in a file of several.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DocumentRef {
    /// Its `kind`. Required.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its `metadata.name`. Required.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A workload's manifest.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestRef {
    /// The file, below `path`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub file: String,
    /// The manifest in it. Default: the version's Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
}

/// Copies parts of the pod template.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyEdit {
    /// The candidate's manifest. Required.
    pub from: ManifestRef,
    /// The baseline's manifest. Required.
    pub to: ManifestRef,
    /// What is copied, as in `promote.fields`. Default: Template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<super::PromoteFields>,
}

/// Sets one value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
// A value of any type is no field to the API server's rules; its schema can still ask for one of both.
#[schemars(extend("oneOf" = [{"required": ["value"]}, {"required": ["from"]}]))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetEdit {
    /// The file, below `path`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub file: String,
    /// The manifest in it. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
    /// The place, such as `image.tag` or `spec.source.helm.parameters[name=tag].value`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
    /// The new value: a text, number or boolean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Leaf>,
    /// The place whose value it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<SpotRef>,
    /// What happens when a place is not there: Fail, Skip (nothing), or Add (it is made). Default: Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OnMissing")]
    pub on_missing: Option<OnMissing>,
}

/// A place in a file.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpotRef {
    /// The file, below `path`. Default: the file that is edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub file: Option<String>,
    /// The manifest in it. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
    /// The place, such as `candidate.image.tag`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
}

/// What happens when a place is not there.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// The edit is refused, at the start of the experiment.
    #[default]
    Fail,
    /// Nothing.
    Skip,
    /// The place is made.
    Add,
}

/// Sets the build of an entry of `images`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KustomizeImageEdit {
    /// The kustomization, below `path`. Default: kustomization.yaml.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub file: Option<String>,
    /// The entry's `name`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// The candidate's container whose image it is. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

/// Sets a block of a chart's values.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelmBlockEdit {
    /// The values, below `path`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub file: String,
    /// The candidate's block, such as `candidate.dynamic`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub from: String,
    /// The baseline's block, such as `baseline.dynamic`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub to: String,
}

/// Sets every value with a marker.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetMarkedEdit {
    /// The files, below `path`; one `*` in the name stands for any text. Required.
    #[schemars(length(min = 1, max = 512))]
    pub files: String,
    /// The marker's name, what is before the colon. Required.
    #[schemars(length(min = 1, max = 253))]
    pub marker: String,
    /// The candidate's container whose image it is. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

/// Removes items of a list.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveListItemEdit {
    /// The file, below `path`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub file: String,
    /// The manifest in it. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
    /// The list, such as `resources`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub list: String,
    /// The items. Required.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 512)))]
    pub items: Vec<String>,
    /// The key that tells the items apart when they are mappings, such as `name`. Default: the items are texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub key: Option<String>,
}

/// Removes an entry of a mapping.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoveKeyEdit {
    /// The file, below `path`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub file: String,
    /// The manifest in it. Default: the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentRef>,
    /// The entry, such as `candidate`. Required.
    #[schemars(length(min = 1, max = 512))]
    pub path: String,
}

/// A text, number or boolean.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(untagged)]
pub enum Leaf {
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

impl JsonSchema for Leaf {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Leaf".into()
    }

    /// Untyped, because a structural schema has no choice of types; no list or object is short enough.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-preserve-unknown-fields": true,
            "maxLength": 512,
            "minItems": 1,
            "maxItems": 0,
            "minProperties": 1,
            "maxProperties": 0,
        })
    }
}
