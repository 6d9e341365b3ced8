//! Whether a Deployment runs what a manifest says, everywhere and for good. Pure; both worlds use it.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

use crate::engine::Rollout;

/// Keys by which Kubernetes tells the items of a list apart, most telling first.
const ITEM_KEYS: [&str; 6] = ["name", "containerPort", "mountPath", "devicePath", "topologyKey", "ip"];

/// Compares a live Deployment with the pod template that its manifest has.
///
/// Complete is the strict condition: the controller has seen the newest generation, there is at least one replica, and
/// all of them are updated and available with none of the old ones left.
pub fn rollout(live: &Deployment, template: &Value) -> Rollout {
    let spec = live.spec.as_ref();
    let running = spec.and_then(|s| serde_json::to_value(&s.template).ok()).unwrap_or(Value::Null);
    let applied = covers(&running, template, Place::Plain);
    let wanted = spec.and_then(|s| s.replicas).unwrap_or(1);
    let status = live.status.clone().unwrap_or_default();
    let observed = status.observed_generation.unwrap_or(0) >= live.metadata.generation.unwrap_or(0);
    let (updated, all) = (status.updated_replicas.unwrap_or(0), status.replicas.unwrap_or(0));
    let available = status.available_replicas.unwrap_or(0);
    let complete = observed && wanted >= 1 && updated == wanted && all == wanted && available == wanted;
    let detail = format!("{updated} of {wanted} replicas are updated, {available} available, {all} in all");
    Rollout { applied, complete, detail }
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

/// Whether everything the manifest says holds in the live object, which may say more (defaults, injected parts).
fn covers(live: &Value, manifest: &Value, place: Place) -> bool {
    match (live, manifest) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(manifest)) => {
            manifest.iter().all(|(key, value)| covers(live.get(key).unwrap_or(&Value::Null), value, place.of(key)))
        }
        (Value::Array(live), Value::Array(manifest)) => covers_list(live, manifest, place),
        // A map or list that the API server drops because it is empty.
        (Value::Null, Value::Object(manifest)) => manifest.values().all(|v| covers(&Value::Null, v, place)),
        (Value::Null, Value::Array(manifest)) => manifest.is_empty(),
        (live, manifest) => live == manifest || place == Place::Quantities && same_quantity(live, manifest),
    }
}

/// Items are paired by their key, else by position.
fn covers_list(live: &[Value], manifest: &[Value], place: Place) -> bool {
    let key =
        ITEM_KEYS.iter().find(|key| !manifest.is_empty() && manifest.iter().all(|item| item.get(**key).is_some()));
    match key {
        Some(key) => {
            let same = |l: &Value, item: &Value| l.get(*key) == item.get(*key) && covers(l, item, place);
            // As many: a promotion that only takes an item away is live when the item is gone.
            live.len() == manifest.len() && manifest.iter().all(|item| live.iter().any(|l| same(l, item)))
        }
        None => live.len() == manifest.len() && live.iter().zip(manifest).all(|(l, m)| covers(l, m, place)),
    }
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
}
