//! Weights in fields of arbitrary objects: one field for each version, read fresh, written with a fenced patch.
//!
//! The second way to keep weights beside [`super::routes`], for meshes that Reiter8 does not know. Nothing but the two
//! fields is touched; the kinds are looked up in the API server's discovery. Called by [`super::weights`].

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, ResourceExt};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use super::binding::WeightField;
use super::call::call;
use super::owner::{Step, Write, last_write};
use super::routes::patch;
use crate::engine::{Cause, Routes, Seen, Split, Unavailable};

/// Most steps of a path; a route's weight needs six.
const MOST_STEPS: usize = 32;
/// Largest index of a list item: no list of routes is longer.
const MOST_ITEMS: usize = 9999;

/// Where a weight is in an object: fields and indices below `.spec`, such as `.spec.http[0].route[1].weight`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<Step>);

/// Why a text is no path to a weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// Weights are in the spec; everything else of an object is not ours to write.
    #[error("`{0}` does not lead into the spec; write for example `.spec.http[0].route[1].weight`")]
    NotInSpec(String),
    /// A filter, a slice, a wildcard, a quoted name or something that is no path at all.
    #[error(
        "`{0}` cannot be read from `{1}` on; write names and indices only, for example `.spec.http[0].route[1].weight`"
    )]
    NotPlain(String, String),
    /// A list item cannot be a weight that has a name.
    #[error("`{0}` ends in a list item; write the field that holds the weight")]
    NoField(String),
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        let shown: String = text.chars().take(200).collect();
        let refuse = |rest: &str| FieldPathError::NotPlain(shown.clone(), rest.chars().take(60).collect());
        let (mut steps, mut rest) = (vec![], text);
        while !rest.is_empty() && steps.len() < MOST_STEPS {
            let (step, left) = if let Some(name) = rest.strip_prefix('.') {
                let end =
                    name.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')).unwrap_or(name.len());
                let (name, left) =
                    name.split_at_checked(end).filter(|(name, _)| !name.is_empty()).ok_or_else(|| refuse(rest))?;
                (Step::Key(name.to_owned()), left)
            } else {
                let (index, left) =
                    rest.strip_prefix('[').and_then(|r| r.split_once(']')).ok_or_else(|| refuse(rest))?;
                let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
                let index = index.parse().ok().filter(|i| digits && *i <= MOST_ITEMS).ok_or_else(|| refuse(rest))?;
                (Step::Index(index), left)
            };
            steps.push(step);
            rest = left;
        }
        if !rest.is_empty() {
            return Err(refuse(rest));
        }
        match steps.as_slice() {
            [Step::Key(root), .., Step::Index(_)] if root == "spec" => Err(FieldPathError::NoField(shown)),
            [Step::Key(root), .., _] if root == "spec" => Ok(Self(steps)),
            _ => Err(FieldPathError::NotInSpec(shown)),
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| match step {
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

impl FieldPath {
    /// As a JSON pointer; names need no escapes.
    fn pointer(&self) -> String {
        self.0
            .iter()
            .map(|step| match step {
                Step::Key(key) => format!("/{key}"),
                Step::Index(index) => format!("/{index}"),
            })
            .collect()
    }

    /// The pointer of what holds the field.
    fn parent(&self) -> String {
        let pointer = self.pointer();
        pointer.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned())
    }
}

/// The resources of kinds that were looked up, for all experiments: an API server's kinds change rarely.
static RESOURCES: LazyLock<Mutex<HashMap<GroupVersionKind, ApiResource>>> = LazyLock::new(Mutex::default);

fn resources() -> MutexGuard<'static, HashMap<GroupVersionKind, ApiResource>> {
    RESOURCES.lock()
}

/// The weights' fields of one experiment.
pub(super) struct FieldTable {
    client: Client,
    namespace: String,
    baseline: WeightField,
    candidates: Vec<WeightField>,
}

/// A field as it was found.
struct Place<'a> {
    field: &'a WeightField,
    object: DynamicObject,
    resource: ApiResource,
    /// What it holds; nothing counts as 0.
    value: Option<Value>,
    weight: u8,
}

/// A field, or why it is not there.
type Looked<'a> = Result<Place<'a>, String>;

impl FieldTable {
    pub(super) fn new(client: Client, namespace: &str, baseline: WeightField, candidates: Vec<WeightField>) -> Self {
        Self { client, namespace: namespace.into(), baseline, candidates }
    }

    /// All weights, and who wrote them if we did not.
    ///
    /// Errors besides those of a call: `RouteNotFound` (no field is there), `RouteIncomplete` (some are not; the others
    /// can still be written), `NotSupported` (a kind without namespaces).
    pub(super) async fn read(&self) -> Seen<Routes> {
        let looked = self.look().await?;
        let there = looked.iter().any(Result::is_ok);
        if looked.iter().any(Result::is_err) {
            let cause = if there { Cause::RouteIncomplete } else { Cause::RouteNotFound };
            return Err(Unavailable::new(cause, missing(&looked)));
        }
        let places: Vec<Place<'_>> = looked.into_iter().flatten().collect();
        let writer = places.iter().filter_map(Place::foreign).max().map(|w| w.manager);
        let mut weights = places.iter().map(|place| place.weight);
        Ok(Routes { baseline: weights.next().unwrap_or(0), candidates: weights.collect(), writer })
    }

    /// Gives the candidates their weights and the baseline the rest: at once if all are in one object, else first those
    /// that get more, so that there is no moment at which nobody has a share. A field that is missing hinders nothing.
    pub(super) async fn write(&self, wanted: Split) -> Result<(), Unavailable> {
        let looked = self.look().await?;
        if looked.iter().all(Result::is_err) {
            return Err(Unavailable::new(Cause::RouteNotFound, missing(&looked)));
        }
        let mut serves = looked.first().is_some_and(|l| l.as_ref().is_ok_and(|baseline| baseline.weight > 0));
        let weights = wanted.all(self.candidates.len());
        let mut writes: Vec<(Place<'_>, u8)> =
            looked.into_iter().zip(weights).filter_map(|(place, weight)| Some((place.ok()?, weight))).collect();
        writes.sort_by_key(|(place, weight)| place.weight >= *weight);
        let mut failed = Ok(());
        while !writes.is_empty() {
            // What one object holds is written together, at its first place in the order.
            let first = writes.remove(0);
            let (mut together, rest): (Vec<_>, Vec<_>) =
                writes.into_iter().partition(|(place, _)| place.same_object(&first.0));
            together.insert(0, first);
            writes = rest;
            let operations: Vec<(&Place<'_>, u8)> = together.iter().map(|(place, weight)| (place, *weight)).collect();
            let written = self.patch(&operations).await;
            serves |= written.is_ok() && together.iter().any(|(_, weight)| *weight == 100);
            // Only a rollback goes on, and only if the baseline has a share: somebody must have one.
            if written.is_err() && !(wanted.is_home() && serves) {
                return written;
            }
            failed = failed.and(written);
        }
        failed
    }

    /// Finds all fields: the baseline's, then the candidates'.
    async fn look(&self) -> Seen<Vec<Looked<'_>>> {
        let all = std::iter::once(&self.baseline).chain(&self.candidates);
        futures::future::try_join_all(all.map(|field| self.find(field))).await
    }

    async fn find<'a>(&self, field: &'a WeightField) -> Seen<Looked<'a>> {
        let name = self.full_name(field);
        let Some(resource) = self.resource(&field.kind).await? else {
            let GroupVersionKind { kind, .. } = &field.kind;
            let version = field.kind.api_version();
            return Ok(Err(format!(
                "no kind `{kind}` in `{version}`; install its definition or correct `weightObjRef`"
            )));
        };
        let api = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let Some(object) = call(&format!("read {name}"), api.get(&field.name)).await? else {
            // Perhaps because the kind became another one.
            resources().remove(&field.kind);
            return Ok(Err(format!("{name} was not found")));
        };
        Ok(weight(&object, &field.path)
            .map(|(value, weight)| Place { field, object, resource, value, weight })
            .map_err(|why| format!("{name}: {why}")))
    }

    /// Looks a kind up; none if the API server does not know it.
    async fn resource(&self, kind: &GroupVersionKind) -> Seen<Option<ApiResource>> {
        if let Some(known) = resources().get(kind) {
            return Ok(Some(known.clone()));
        }
        let discovery = async {
            match pinned_kind(&self.client, kind).await {
                Err(kube::Error::Discovery(_)) => Ok(None),
                // A group that is not there is answered as any wrong address is.
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                found => found.map(Some),
            }
        };
        let found = call(&format!("look up the kind {}", kind.kind), discovery).await?.flatten();
        let Some((resource, capabilities)) = found else { return Ok(None) };
        if capabilities.scope == Scope::Cluster {
            let message =
                format!("weightObjRef: `{}` belongs to no namespace; write an object of the experiment's", kind.kind);
            return Err(Unavailable::new(Cause::NotSupported, message));
        }
        resources().insert(kind.clone(), resource.clone());
        Ok(Some(resource))
    }

    /// Sets weights of one object.
    async fn patch(&self, writes: &[(&Place<'_>, u8)]) -> Result<(), Unavailable> {
        let Some((first, _)) = writes.first() else { return Ok(()) };
        let name = self.full_name(first.field);
        let api = Api::namespaced_with(self.client.clone(), &self.namespace, &first.resource);
        let written = patch(&api, &first.field.name, operations(writes), &name).await?;
        if written { Ok(()) } else { Err(Unavailable::new(Cause::RouteNotFound, format!("{name} was not found"))) }
    }

    fn full_name(&self, field: &WeightField) -> String {
        format!("{} {}/{}", field.kind.kind, self.namespace, field.name)
    }
}

/// What is missing, for people.
fn missing(looked: &[Looked<'_>]) -> String {
    let missing: Vec<&str> = looked.iter().filter_map(|l| l.as_ref().err()).map(String::as_str).collect();
    missing.join("; ")
}

impl Place<'_> {
    fn same_object(&self, other: &Self) -> bool {
        self.object.metadata.uid.is_some() && self.object.metadata.uid == other.object.metadata.uid
    }

    fn foreign(&self) -> Option<Write> {
        last_write(&self.object, std::slice::from_ref(&self.field.path.0))
    }
}

/// What a field holds, and the weight that it means.
fn weight(object: &DynamicObject, path: &FieldPath) -> Result<(Option<Value>, u8), String> {
    let parent = object.data.pointer(&path.parent());
    if !parent.is_some_and(Value::is_object) {
        return Err(format!("there is no `{path}`; correct `weightObjRef.fieldPath`"));
    }
    let found = object.data.pointer(&path.pointer());
    let weight = match found {
        None | Some(Value::Null) => Some(0),
        Some(Value::Number(number)) => number.as_u64(),
        // Some kinds write numbers as text.
        Some(Value::String(text)) => text.parse::<u64>().ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    let weight = weight.ok_or_else(|| {
        let shown: String = found.unwrap_or(&Value::Null).to_string().chars().take(60).collect();
        format!("`{path}` is {shown} and not a whole number of percent; correct `weightObjRef.fieldPath`")
    })?;
    Ok((found.cloned(), u8::try_from(weight).unwrap_or(u8::MAX)))
}

/// The JSON patch: tests of what was seen, then the weights.
fn operations(writes: &[(&Place<'_>, u8)]) -> Value {
    let version = writes.first().and_then(|(place, _)| place.object.resource_version());
    let mut operations = vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": version})];
    for (place, weight) in writes {
        let path = place.field.path.pointer();
        if let Some(seen) = &place.value {
            operations.push(json!({"op": "test", "path": path, "value": seen}));
        }
        let value =
            if matches!(place.value, Some(Value::String(_))) { json!(weight.to_string()) } else { json!(weight) };
        // `add` replaces as well, and works where nothing was written.
        operations.push(json!({"op": "add", "path": path, "value": value}));
    }
    Value::Array(operations)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn object(spec: &Value) -> DynamicObject {
        serde_json::from_value(
            json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x", "resourceVersion": "7"}, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn a_path_is_names_and_indices_in_the_spec() {
        for text in [".spec.http[0].route[1].weight", ".spec.traffic[0].percent", ".spec.a-b_c[2][3].d", ".spec.weight"]
        {
            assert_eq!(text.parse::<FieldPath>().unwrap().to_string(), text);
        }
        assert_eq!(".spec.http[0].w".parse::<FieldPath>().unwrap().pointer(), "/spec/http/0/w");
        let long = ".spec.a".repeat(40);
        for text in [
            "",
            ".",
            "spec.weight",
            ".spec",
            ".status.weight",
            ".metadata.generation",
            ".spec.http[0]",
            ".spec..weight",
            ".spec.http[*].w",
            ".spec.http[-1].w",
            ".spec.http[+1].w",
            ".spec.http[].w",
            ".spec.http[0",
            ".spec.http[99999999999999999999].w",
            ".spec.http[?(@.name=='a')].w",
            ".spec['a'].w",
            ".spec.a/b",
            ".spec.a~1b",
            ".spec.ä",
            "{.spec.weight}",
            "$.spec.weight",
            "[0].weight",
            &long,
        ] {
            assert!(text.parse::<FieldPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_weight_is_a_whole_number_and_nothing_is_none() {
        let read = |spec: Value| weight(&object(&spec), &".spec.to[0].weight".parse().unwrap()).map(|(_, w)| w);
        assert_eq!(read(json!({"to": [{"weight": 30}]})), Ok(30));
        assert_eq!(read(json!({"to": [{"weight": "30"}]})), Ok(30));
        assert_eq!(read(json!({"to": [{}]})), Ok(0));
        assert_eq!(read(json!({"to": [{"weight": null}]})), Ok(0));
        assert_eq!(read(json!({"to": [{"weight": 100_000}]})), Ok(255));
        for wrong in [json!({"to": []}), json!({"to": {}}), json!({}), json!({"to": [7]})] {
            assert!(read(wrong.clone()).unwrap_err().contains("there is no"), "{wrong}");
        }
        for wrong in [json!(-1), json!(0.5), json!("50%"), json!(true), json!([1]), json!({"a": "b".repeat(1000)})] {
            let why = read(json!({"to": [{"weight": wrong}]})).unwrap_err();
            assert!(why.contains("not a whole number") && why.len() < 300, "{why}");
        }
    }

    #[test]
    fn the_patch_tests_what_it_saw_and_keeps_the_type() {
        let object = object(&json!({"a": 90, "b": "10", "c": {}}));
        let field = |path: &str| WeightField {
            kind: GroupVersionKind::gvk("x", "v1", "X"),
            name: "x".into(),
            path: path.parse().unwrap(),
        };
        let (a, b, c) = (field(".spec.a"), field(".spec.b"), field(".spec.c.d"));
        let place = |field| {
            let (value, weight) = weight(&object, &WeightField::clone(field).path).unwrap();
            Place { field, object: object.clone(), resource: super::super::virtual_service(), value, weight }
        };
        let patch = operations(&[(&place(&a), 75), (&place(&b), 25), (&place(&c), 0)]);
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "test", "path": "/spec/a", "value": 90}, {"op": "add", "path": "/spec/a", "value": 75},
                {"op": "test", "path": "/spec/b", "value": "10"}, {"op": "add", "path": "/spec/b", "value": "25"},
                {"op": "add", "path": "/spec/c/d", "value": 0},
            ])
        );
    }
}
