//! Whether a Deployment runs what a manifest says, everywhere and for good. Pure; both worlds use it.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

use crate::engine::{Rollout, Synced};
use crate::gitops::layout::RUNNING;

/// Keys by which Kubernetes tells the items of a list apart, most telling first.
const ITEM_KEYS: [&str; 6] = ["name", "containerPort", "mountPath", "devicePath", "topologyKey", "ip"];

/// Most characters of a foreign text in a message.
const MOST_TEXT: usize = 120;

/// Compares a live Deployment with the pod template that its manifest has.
///
/// Complete is the strict condition: the controller has seen the newest generation, there is at least one replica, and
/// all of them are updated and available with none of the old ones left.
pub fn rollout(live: &Deployment, template: &Value) -> Rollout {
    let spec = live.spec.as_ref();
    let running = spec.and_then(|s| serde_json::to_value(&s.template).ok()).unwrap_or(Value::Null);
    let applied = template_difference(&running, template).is_none();
    let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
    let status = live.status.clone().unwrap_or_default();
    let observed = status.observed_generation.unwrap_or(0) >= live.metadata.generation.unwrap_or(0);
    let (updated, all) = (status.updated_replicas.unwrap_or(0), status.replicas.unwrap_or(0));
    let available = status.available_replicas.unwrap_or(0);
    let complete = observed && wanted >= 1 && updated == wanted && all == wanted && available == wanted;
    let detail = format!("{updated} of {wanted} replicas are updated, {available} available, {all} in all");
    Rollout { applied, complete, detail }
}

/// Compares live Deployments with the pod templates of their manifests: names, what is live, what Git says.
pub fn synced<'a>(workloads: impl IntoIterator<Item = (&'a str, Option<&'a Deployment>, &'a Value)>) -> Synced {
    for (name, live, template) in workloads {
        let Some(spec) = live.and_then(|d| d.spec.as_ref()) else {
            return Synced::No(format!("Deployment {name} is not there, Git has it"));
        };
        let running = serde_json::to_value(&spec.template).unwrap_or(Value::Null);
        if let Some(found) = template_difference(&running, template) {
            return Synced::No(format!("Deployment {name}: {found}"));
        }
    }
    Synced::Yes
}

/// Where a live pod template is not what Git says: the template or, where a tool renders it, the images of which each ends
/// one container's.
fn template_difference(live: &Value, template: &Value) -> Option<String> {
    let Some(images) = template.get(RUNNING).and_then(Value::as_array) else {
        return difference(live, template, Place::Plain, "").map(|found| found.sentence());
    };
    let containers = ["/spec/containers", "/spec/initContainers"].iter().filter_map(|list| live.pointer(list));
    let running: Vec<&str> = containers
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|container| container.get("image")?.as_str())
        .collect();
    let runs = |wanted: &str| {
        // A tag or digest alone is an end of its own, a name is one behind a slash only.
        running.iter().any(|image| match image.strip_suffix(wanted) {
            Some(before) => before.is_empty() || before.ends_with('/') || wanted.starts_with([':', '@']),
            None => false,
        })
    };
    let missing = images.iter().filter_map(Value::as_str).find(|wanted| !runs(wanted))?;
    let shown: String = missing.chars().take(MOST_TEXT).collect();
    Some(format!("no container runs {shown}, as Git says"))
}

/// What a value is by its place: only quantities may be written in several ways. Elsewhere `1.10` is not `1.1`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Anything else.
    Plain,
    /// `resources`: what it limits and requests are quantities.
    Resources,
    /// A quantity, or a map or list of them.
    Quantities,
    /// Labels and annotations, whose keys say nothing about their values.
    Words,
}

impl Place {
    /// The place of a field in an object at this place.
    fn of(self, field: &str) -> Self {
        match (self, field) {
            (Self::Words | Self::Quantities, _) => self,
            (Self::Plain, "labels" | "annotations" | "nodeSelector" | "matchLabels") => Self::Words,
            (Self::Plain, "resources") => Self::Resources,
            (Self::Resources, "limits" | "requests") => Self::Quantities,
            (Self::Plain, "sizeLimit" | "divisor" | "overhead") => Self::Quantities,
            (Self::Plain | Self::Resources, _) => Self::Plain,
        }
    }
}

/// A field in which the live object is not what the manifest says.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// The steps to it, innermost first.
    path: Vec<String>,
    /// What is there and what Git says, if that may be shown.
    text: String,
}

impl Difference {
    fn of(live: &Value, manifest: &Value, field: &str) -> Self {
        let shown = |value: &Value| match value {
            Value::Null => Some("missing".to_owned()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            // Texts of other fields may be nobody's business: arguments, variables, annotations.
            Value::String(text) if field == "image" => Some(text.chars().take(MOST_TEXT).collect()),
            Value::Array(items) => Some(format!("{} items", items.len())),
            Value::String(_) | Value::Object(_) => None,
        };
        let text = match (shown(live), shown(manifest)) {
            (Some(live), Some(manifest)) => format!("is {live}, Git says {manifest}"),
            (Some(live), None) if live == "missing" => "is missing, Git has it".into(),
            _ => "is not what Git says".into(),
        };
        Self { path: vec![], text }
    }

    fn below(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }

    fn sentence(&self) -> String {
        let path: String = self.path.iter().rev().map(String::as_str).collect();
        format!("spec.template{path} {}", self.text)
    }
}

/// The first field that the manifest has and the live object has not or otherwise. The live object may say more
/// (defaults, injected parts). `field`: the name of the place.
fn difference(live: &Value, manifest: &Value, place: Place, field: &str) -> Option<Difference> {
    match (live, manifest) {
        (_, Value::Null) => None,
        (Value::Object(live), Value::Object(manifest)) => manifest.iter().find_map(|(key, value)| {
            difference(live.get(key).unwrap_or(&Value::Null), value, place.of(key), key)
                .map(|d| d.below(format!(".{key}")))
        }),
        (Value::Array(live), Value::Array(manifest)) => list_difference(live, manifest, place, field),
        // A map or list that the API server drops because it is empty.
        (Value::Null, Value::Object(of)) if of.values().all(|v| covers(&Value::Null, v, place)) => None,
        (Value::Null, Value::Array(manifest)) if manifest.is_empty() => None,
        (live, manifest) if live == manifest => None,
        (live, manifest) if place == Place::Quantities && same_quantity(live, manifest) => None,
        (live, manifest) => Some(Difference::of(live, manifest, field)),
    }
}

/// Whether everything the manifest says holds in the live object.
fn covers(live: &Value, manifest: &Value, place: Place) -> bool {
    difference(live, manifest, place, "").is_none()
}

/// Items are paired by their key, else by position.
fn list_difference(live: &[Value], manifest: &[Value], place: Place, field: &str) -> Option<Difference> {
    let key =
        ITEM_KEYS.iter().find(|key| !manifest.is_empty() && manifest.iter().all(|item| item.get(**key).is_some()));
    // As many: a promotion that only takes an item away is live when the item is gone.
    if live.len() != manifest.len() {
        let (live, manifest) = (Value::Array(live.to_vec()), Value::Array(manifest.to_vec()));
        return Some(Difference::of(&live, &manifest, field));
    }
    let Some(key) = key else {
        let pairs = live.iter().zip(manifest).enumerate();
        return pairs
            .into_iter()
            .find_map(|(i, (l, m))| difference(l, m, place, "").map(|d| d.below(format!("[{i}]"))));
    };
    manifest.iter().find_map(|item| {
        // Several items may have the same key: one of them has to be as the manifest says.
        let mut differences = vec![];
        for found in live.iter().filter(|l| l.get(*key) == item.get(*key)) {
            differences.push(difference(found, item, place, "")?);
        }
        let first = differences.into_iter().next().unwrap_or_else(|| Difference::of(&Value::Null, item, ""));
        Some(first.below(format!("[{}]", named(item.get(*key)))))
    })
}

/// The name of an item, for people.
fn named(key: Option<&Value>) -> String {
    let text = key.map(|k| k.as_str().map_or_else(|| k.to_string(), ToOwned::to_owned)).unwrap_or_default();
    text.chars().take(MOST_TEXT).collect()
}

/// The API server rewrites quantities: `0.5` becomes `500m`, `1024Mi` becomes `1Gi`.
fn same_quantity(live: &Value, manifest: &Value) -> bool {
    match (quantity(live), quantity(manifest)) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    }
}

/// The number of a Kubernetes quantity.
fn quantity(value: &Value) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 16] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.as_str(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    SUFFIXES.iter().find_map(|(suffix, factor)| {
        let number = text.strip_suffix(suffix)?;
        // `inf` and `nan` are words, not quantities.
        let plain = number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
        plain.then(|| number.parse::<f64>().ok()).flatten().map(|n| n * factor)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn the_live_template_may_say_more_but_not_less() {
        let manifest =
            json!({"spec": {"containers": [{"name": "app", "image": "a:2", "env": [{"name": "X", "value": "1"}]}]}});
        let live = json!({"spec": {"restartPolicy": "Always", "containers": [
            {"name": "app", "image": "a:2", "imagePullPolicy": "Always", "env": [{"name": "X", "value": "1"}]}]}});
        assert!(covers(&live, &manifest, Place::Plain));
        let more = json!({"spec": {"containers": [
            {"name": "app", "image": "a:2", "env": [{"name": "X", "value": "1"}, {"name": "Y"}]}]}});
        assert!(!covers(&more, &manifest, Place::Plain), "an item that the manifest took away is still there");
        let old =
            json!({"spec": {"containers": [{"name": "app", "image": "a:1", "env": [{"name": "X", "value": "1"}]}]}});
        assert!(!covers(&old, &manifest, Place::Plain));
        assert!(!covers(&json!({}), &manifest, Place::Plain));
    }

    #[test]
    fn of_a_rendered_template_the_images_are_known() {
        let live = json!({"spec": {"initContainers": [{"name": "init", "image": "r.example:5000/acme/init:v1"}],
            "containers": [{"name": "app", "image": "ghcr.io/acme/reviews:v1.3.0"}]}});
        let told = |images: Value| template_difference(&live, &json!({RUNNING: images}));
        for held in ["ghcr.io/acme/reviews:v1.3.0", "acme/reviews:v1.3.0", "reviews:v1.3.0", ":v1.3.0", "init:v1"] {
            assert_eq!(told(json!([held])), None, "{held}");
        }
        for other in ["views:v1.3.0", "acme/reviews:v1.2.0", ":3.0", "@sha256:0"] {
            assert_eq!(told(json!([":v1", other])), Some(format!("no container runs {other}, as Git says")));
        }
    }

    #[test]
    fn quantities_are_numbers_however_they_are_written_and_nothing_else_is() {
        let container =
            |cpu: &Value| json!({"spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": cpu}}}]}});
        let same = |live: Value, written: Value| covers(&container(&live), &container(&written), Place::Plain);
        for (live, written) in [(json!("500m"), json!("0.5")), (json!("1Gi"), json!("1024Mi")), (json!("2"), json!(2))]
        {
            assert!(same(live.clone(), written.clone()), "{live} {written}");
        }
        assert!(!same(json!("500m"), json!("0.6")));
        assert!(!same(json!("inf"), json!("nan")));
        let elsewhere = [
            |v: &str| json!({"metadata": {"labels": {"version": v, "sizeLimit": v}}}),
            |v: &str| json!({"metadata": {"annotations": {"resources": v}}}),
            |v: &str| json!({"spec": {"containers": [{"name": "app", "env": [{"name": "limits", "value": v}]}]}}),
            |v: &str| json!({"spec": {"containers": [{"name": "app", "args": [v], "image": v}]}}),
        ];
        for place in elsewhere {
            assert!(!covers(&place("1.1"), &place("1.10"), Place::Plain), "{}", place("1.10"));
        }
    }

    #[test]
    fn lists_without_keys_are_compared_in_order() {
        assert!(covers(&json!(["a", "b"]), &json!(["a", "b"]), Place::Plain));
        assert!(!covers(&json!(["b", "a"]), &json!(["a", "b"]), Place::Plain));
        assert!(!covers(&json!(["a", "b"]), &json!(["a"]), Place::Plain));
    }

    #[test]
    fn a_rollout_is_complete_when_nothing_old_is_left() {
        let deployment = |status: Value| -> Deployment {
            serde_json::from_value(json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {},
                "template": {"spec": {"containers": [{"name": "app", "image": "a:2"}]}}}, "status": status}))
            .unwrap()
        };
        let template = json!({"spec": {"containers": [{"name": "app", "image": "a:2"}]}});
        let table = [
            (json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}), true),
            (json!({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}), false),
            (json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 3, "availableReplicas": 3}), false),
            (json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 1}), false),
            (json!({}), false),
        ];
        for (status, complete) in table {
            let seen = rollout(&deployment(status.clone()), &template);
            assert!(seen.applied);
            assert_eq!(seen.complete, complete, "{status}");
        }
    }

    #[test]
    fn what_is_not_synced_is_named_and_nothing_private_is_told() {
        let deployment = |containers: Value| -> Deployment {
            serde_json::from_value(json!({"spec": {"selector": {}, "template": {
                "metadata": {"labels": {"app": "x"}}, "spec": {"containers": containers}}}}))
            .unwrap()
        };
        let container = |image: &str, secret: &str| json!({"name": "app", "image": image, "ports": [{"containerPort": 80}], "env": [{"name": "KEY", "value": secret}]});
        let git = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container("a:2", "s3cret")]}});
        let told = |live: Option<&Deployment>| match synced([("web", live, &git)]) {
            Synced::Yes => String::new(),
            Synced::No(what) => what,
        };
        let path = "Deployment web: spec.template.spec.containers";
        assert_eq!(told(None), "Deployment web is not there, Git has it");
        let table = [
            (json!([container("a:2", "s3cret")]), String::new()),
            (json!([container("a:1", "s3cret")]), format!("{path}[app].image is a:1, Git says a:2")),
            (json!([container("a:2", "other")]), format!("{path}[app].env[KEY].value is not what Git says")),
            (json!([container("a:2", "s3cret"), {"name": "b"}]), format!("{path} is 2 items, Git says 1 items")),
            (json!([{"name": "other"}]), format!("{path}[app] is missing, Git has it")),
        ];
        for (live, text) in table {
            assert_eq!(told(Some(&deployment(live))), text);
        }
    }
}
