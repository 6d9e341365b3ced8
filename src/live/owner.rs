//! Who wrote a field last, as the API server keeps it in `metadata.managedFields`.
//!
//! Pure. Whoever changes a field takes it from all others, so that it still is ours as long as we are among its owners.
//! Entries are written by others and may be anything: what does not lead to the field is nobody's.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

/// The field manager of everything that is written to routes.
pub(super) const MANAGER: &str = "reiter8";
/// Most characters of a field manager's name; the API server takes no more either.
const MOST_NAME: usize = 128;

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of this name.
    Key(String),
    /// The item of a list at this place.
    Index(usize),
}

/// Somebody else's write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Write {
    time: Option<Timestamp>,
    /// The field manager.
    pub(super) manager: String,
}

/// The latest write to any of these fields; none if each of them is ours or nobody's.
pub(super) fn last_write(object: &DynamicObject, paths: &[Vec<Step>]) -> Option<Write> {
    paths.iter().filter_map(|path| write(object, path)).max()
}

fn write(object: &DynamicObject, path: &[Step]) -> Option<Write> {
    let owners: Vec<_> = object
        .managed_fields()
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0, &object.data, path)))
        .collect();
    if owners.iter().any(|entry| entry.manager.as_deref() == Some(MANAGER)) {
        return None;
    }
    let named = |manager: Option<&str>| {
        let name: String = manager.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MOST_NAME).collect();
        if name.is_empty() { "unknown".to_owned() } else { name }
    };
    owners
        .iter()
        .map(|entry| Write { time: entry.time.as_ref().map(|t| t.0), manager: named(entry.manager.as_deref()) })
        .max()
}

/// Whether a set of fields holds the one at the path.
fn owns(fields: &Value, live: &Value, path: &[Step]) -> bool {
    let (Some(children), Some((step, rest))) = (fields.as_object(), path.split_first()) else { return false };
    let below_live = match step {
        Step::Key(key) => live.get(key),
        Step::Index(index) => live.get(index),
    };
    children.iter().filter(|(key, _)| selects(key, step, below_live)).any(|(_, below)| {
        // Without children it stands for everything below it: a field, or a list that is replaced as a whole.
        let whole = below.as_object().is_some_and(serde_json::Map::is_empty);
        whole || owns(below, below_live.unwrap_or(&Value::Null), rest)
    })
}

/// Whether a key of a set of fields means this step. `item` is what the object has there.
fn selects(key: &str, step: &Step, item: Option<&Value>) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (step, key.split_once(':')) {
        (Step::Key(name), Some(("f", found))) => found == name,
        (Step::Index(index), Some(("i", found))) => found.parse() == Ok(*index),
        (Step::Index(_), Some(("v", found))) => parsed(found).as_ref() == item,
        // An item that is told apart by some of its fields.
        (Step::Index(_), Some(("k", found))) => {
            let keys = parsed(found);
            let keys = keys.as_ref().and_then(Value::as_object);
            keys.zip(item)
                .is_some_and(|(keys, item)| !keys.is_empty() && keys.iter().all(|(k, v)| item.get(k) == Some(v)))
        }
        (Step::Key(_) | Step::Index(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    /// An object whose managers own these fields since these seconds.
    fn object(managers: &[(&str, &str, Value)]) -> DynamicObject {
        let entries: Vec<Value> = managers
            .iter()
            .map(|(name, time, fields)| json!({"manager": name, "time": time, "operation": "Update", "fieldsV1": fields}))
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x", "managedFields": entries},
            "spec": {"http": [{"name": "a"}, {"name": "b", "weight": 1}]},
        }))
        .unwrap()
    }

    fn writer(managers: &[(&str, &str, Value)]) -> Option<String> {
        let key = |k: &str| Step::Key(k.into());
        let path = vec![key("spec"), key("http"), Step::Index(1), key("weight")];
        last_write(&object(managers), &[path]).map(|w| w.manager)
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-01T00:00:01Z";

    #[test]
    fn the_last_owner_of_the_field_wrote_it_unless_it_is_ours() {
        let http = || json!({"f:spec": {".": {}, "f:http": {}}});
        let hosts = || json!({"f:spec": {"f:hosts": {}}});
        assert_eq!(writer(&[]), None);
        assert_eq!(writer(&[("kubectl-edit", LATE, hosts())]), None);
        assert_eq!(writer(&[(MANAGER, EARLY, http()), ("kubectl-edit", LATE, hosts())]), None);
        assert_eq!(writer(&[(MANAGER, LATE, hosts()), ("kubectl-edit", EARLY, http())]), Some("kubectl-edit".into()));
        assert_eq!(writer(&[("flux", LATE, http()), ("argocd", EARLY, http())]), Some("flux".into()));
        // Who applies what we wrote owns it as well and has changed nothing.
        assert_eq!(writer(&[(MANAGER, EARLY, http()), ("argocd", LATE, http())]), None);
    }

    #[test]
    fn items_are_found_by_place_key_and_value() {
        for item in ["i:1", r#"k:{"name":"b"}"#, r#"v:{"name":"b","weight":1}"#] {
            assert!(
                writer(&[("x", LATE, json!({"f:spec": {"f:http": {item: {"f:weight": {}}}}}))]).is_some(),
                "{item}"
            );
            assert!(writer(&[("x", LATE, json!({"f:spec": {"f:http": {item: {".": {}}}}}))]).is_none(), "{item}");
        }
        for item in ["i:0", r#"k:{"name":"a"}"#, "k:{}", "k:[", "v:", "i:-1", "i", "f:1", ""] {
            assert!(
                writer(&[("x", LATE, json!({"f:spec": {"f:http": {item: {"f:weight": {}}}}}))]).is_none(),
                "{item}"
            );
        }
    }

    #[test]
    fn entries_that_make_no_sense_are_nobodys() {
        for fields in [
            json!({}),
            json!(null),
            json!([]),
            json!("f:spec"),
            json!({"f:spec": []}),
            json!({"f:spec": {"f:http": 7}}),
        ] {
            assert_eq!(writer(&[("x", LATE, fields.clone())]), None, "{fields}");
        }
        let long = "a\n".repeat(500);
        let found = writer(&[(&long, LATE, json!({"f:spec": {}}))]).unwrap();
        assert_eq!(found, "a".repeat(MOST_NAME));
        assert_eq!(writer(&[("", LATE, json!({"f:spec": {}}))]), Some("unknown".into()));
    }
}
