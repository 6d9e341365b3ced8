//! Weights of a VirtualService's http routes: read fresh, written with one fenced patch.
//!
//! Destinations are found by host and subset, never by position. Nothing else of the object is touched: the patch tests
//! the resourceVersion and each destination it saw, and sets two numbers for each route.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::binding::{Destination, RouteBinding};
use crate::engine::{Routes, Seen, Unavailable};

/// The resource of Istio's routes.
pub(crate) fn resource() -> ApiResource {
    ApiResource {
        group: "networking.istio.io".into(),
        version: "v1".into(),
        api_version: "networking.istio.io/v1".into(),
        kind: "VirtualService".into(),
        plural: "virtualservices".into(),
    }
}

/// The routes of one experiment.
pub(super) struct RouteTable {
    api: Api<DynamicObject>,
    namespace: String,
    binding: RouteBinding,
}

/// Where one http route keeps the two weights.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    route: usize,
    baseline: usize,
    candidate: usize,
}

impl RouteTable {
    pub(super) fn new(client: Client, namespace: &str, binding: RouteBinding) -> Self {
        Self { api: Api::namespaced_with(client, namespace, &resource()), namespace: namespace.into(), binding }
    }

    /// The weights that all routes carry.
    pub(super) async fn read(&self) -> Seen<Routes> {
        let object = self.get().await?;
        let places = places(&object, &self.binding, &self.namespace)?;
        let mut splits = places.iter().map(|place| split(&object, place));
        let first = splits.next().unwrap_or(Routes { baseline: 0, candidate: 0 });
        // Routes that disagree equal no wanted split, so that they are repaired together.
        Ok(if splits.all(|s| s == first) { first } else { Routes { baseline: 0, candidate: 0 } })
    }

    /// Gives the candidate its weight and the baseline the rest, in all routes at once.
    pub(super) async fn write(&self, candidate: u8) -> Result<(), Unavailable> {
        let object = self.get().await?;
        let places = places(&object, &self.binding, &self.namespace)?;
        let operations = operations(&object, &places, candidate);
        let patch: json_patch::Patch = serde_json::from_value(operations)
            .map_err(|e| Unavailable::new("Internal", format!("failed to build the patch: {e}")))?;
        let params = PatchParams { field_manager: Some("reiter8".into()), ..PatchParams::default() };
        let name = &self.binding.virtual_service;
        match self.api.patch(name, &params, &Patch::Json::<()>(patch)).await {
            Ok(_) => Ok(()),
            // 409: the object moved on; 422: a test failed. Both mean: look again.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 422 => Err(Unavailable::new(
                "Conflict",
                format!("VirtualService {name} changed meanwhile: {}", status.message),
            )),
            Err(error) => Err(self.unavailable("write", &error)),
        }
    }

    async fn get(&self) -> Seen<DynamicObject> {
        match self.api.get_opt(&self.binding.virtual_service).await {
            Ok(Some(object)) => Ok(object),
            Ok(None) => {
                let message =
                    format!("VirtualService {}/{} was not found", self.namespace, self.binding.virtual_service);
                Err(Unavailable::new("RouteNotFound", message))
            }
            Err(error) => Err(self.unavailable("read", &error)),
        }
    }

    fn unavailable(&self, verb: &str, error: &kube::Error) -> Unavailable {
        let reason = match error {
            kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
            _ => "ApiUnavailable",
        };
        let name = &self.binding.virtual_service;
        Unavailable::new(reason, format!("failed to {verb} VirtualService {}/{name}: {error}", self.namespace))
    }
}

/// Finds the two destinations in every route that is meant.
fn places(object: &DynamicObject, binding: &RouteBinding, namespace: &str) -> Seen<Vec<Place>> {
    let not_found =
        |what: String| Unavailable::new("RouteNotFound", format!("VirtualService {}: {what}", object.name_any()));
    let http = object.data.pointer("/spec/http").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut found = vec![];
    for (route, entry) in http.iter().enumerate() {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        if !binding.routes.is_empty() && !binding.routes.iter().any(|r| r == name) {
            continue;
        }
        let at = |wanted: &Destination| destinations(entry).iter().position(|d| matches(d, wanted, namespace));
        match (at(&binding.baseline), at(&binding.candidate)) {
            (Some(baseline), Some(candidate)) => found.push(Place { route, baseline, candidate }),
            // Without names, routes that lead elsewhere are not meant.
            _ if binding.routes.is_empty() => {}
            (Some(_), None) => return Err(not_found(missing(name, &binding.candidate, entry))),
            (None, _) => return Err(not_found(missing(name, &binding.baseline, entry))),
        }
    }
    let names: Vec<&str> = http.iter().filter_map(|e| e.get("name").and_then(Value::as_str)).collect();
    if let Some(absent) = binding.routes.iter().find(|r| !names.contains(&r.as_str())) {
        return Err(not_found(format!("no http route is named `{absent}`; there are: {}", names.join(", "))));
    }
    if found.is_empty() {
        return Err(not_found("no http route leads to both destinations; name the route and its subsets".into()));
    }
    Ok(found)
}

fn missing(route: &str, wanted: &Destination, entry: &Value) -> String {
    let there: Vec<String> = destinations(entry).iter().map(ToString::to_string).collect();
    let wanted = match (&wanted.host, &wanted.subset) {
        (host, Some(subset)) => {
            format!("subset `{subset}`{}", host.as_ref().map_or_else(String::new, |h| format!(" of `{h}`")))
        }
        (Some(host), None) => format!("`{host}` without a subset"),
        (None, None) => "any host without a subset".into(),
    };
    format!("route `{route}` has no destination {wanted}; there are: {}", there.join(", "))
}

/// The `destination` objects of a route.
fn destinations(entry: &Value) -> Vec<&Value> {
    let route = entry.get("route").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    route.iter().map(|r| r.get("destination").unwrap_or(&Value::Null)).collect()
}

fn matches(found: &Value, wanted: &Destination, namespace: &str) -> bool {
    let text = |key: &str| found.get(key).and_then(Value::as_str);
    let host = text("host").unwrap_or_default();
    wanted.host.as_ref().is_none_or(|w| full(w, namespace) == full(host, namespace))
        && text("subset") == wanted.subset.as_deref()
}

/// A host by its full name, as Istio reads short ones: relative to the VirtualService's namespace.
fn full(host: &str, namespace: &str) -> String {
    match host.split('.').collect::<Vec<_>>().as_slice() {
        [name] => format!("{name}.{namespace}.svc.cluster.local"),
        [name, namespace] => format!("{name}.{namespace}.svc.cluster.local"),
        [name, namespace, "svc"] => format!("{name}.{namespace}.svc.cluster.local"),
        _ => host.to_owned(),
    }
}

/// The two weights of a route. A weight that is not written is 100 for an only destination, else 0.
fn split(object: &DynamicObject, place: &Place) -> Routes {
    let route = format!("/spec/http/{}/route", place.route);
    let only = object.data.pointer(&route).and_then(Value::as_array).is_some_and(|r| r.len() == 1);
    let weight = |index: usize| {
        let written = object.data.pointer(&format!("{route}/{index}/weight")).and_then(Value::as_u64);
        u8::try_from(written.unwrap_or(if only { 100 } else { 0 })).unwrap_or(u8::MAX)
    };
    Routes { baseline: weight(place.baseline), candidate: weight(place.candidate) }
}

/// The JSON patch: tests of what was seen, then the weights.
fn operations(object: &DynamicObject, places: &[Place], candidate: u8) -> Value {
    let mut operations =
        vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.resource_version()})];
    for place in places {
        for (index, weight) in [(place.baseline, 100 - candidate), (place.candidate, candidate)] {
            let path = format!("/spec/http/{}/route/{index}", place.route);
            let seen = object.data.pointer(&format!("{path}/destination"));
            operations.push(json!({"op": "test", "path": format!("{path}/destination"), "value": seen}));
            // `add` replaces as well, and works where the weight was not written.
            operations.push(json!({"op": "add", "path": format!("{path}/weight"), "value": weight}));
        }
    }
    Value::Array(operations)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn object(http: &Value) -> DynamicObject {
        let mut object = DynamicObject::new("web", &resource()).data(json!({"spec": {"http": http}}));
        object.metadata.resource_version = Some("7".into());
        object
    }

    fn binding(routes: &[&str]) -> RouteBinding {
        let to = |subset: &str| Destination { host: Some("app".into()), subset: Some(subset.into()) };
        RouteBinding {
            virtual_service: "web".into(),
            routes: routes.iter().map(ToString::to_string).collect(),
            baseline: to("stable"),
            candidate: to("next"),
        }
    }

    fn two(first: &str, second: &str) -> Value {
        json!([{"destination": {"host": "app.ns.svc.cluster.local", "subset": first}, "weight": 90},
               {"destination": {"host": "app", "subset": second}, "weight": 10}])
    }

    #[test]
    fn destinations_are_found_by_name_wherever_they_stand() {
        let web = object(&json!([{"name": "other"}, {"name": "main", "route": two("next", "stable")}]));
        let found = places(&web, &binding(&["main"]), "ns").unwrap();
        assert_eq!(found, [Place { route: 1, baseline: 1, candidate: 0 }]);
        assert_eq!(split(&web, &found[0]), Routes { baseline: 10, candidate: 90 });
    }

    #[test]
    fn without_names_every_route_to_both_is_meant_and_no_other() {
        let web = object(&json!([{"route": two("stable", "next")}, {"route": [{"destination": {"host": "app"}}]}]));
        assert_eq!(places(&web, &binding(&[]), "ns").unwrap().len(), 1);
    }

    #[test]
    fn what_is_missing_is_named_together_with_what_is_there() {
        let web = object(&json!([{"name": "main", "route": two("stable", "old")}]));
        let error = places(&web, &binding(&["main"]), "ns").unwrap_err();
        assert_eq!(error.reason, "RouteNotFound");
        assert!(error.message.contains("subset `next`") && error.message.contains("old"), "{}", error.message);
        let error = places(&web, &binding(&["mian"]), "ns").unwrap_err();
        assert!(error.message.contains("`mian`; there are: main"), "{}", error.message);
    }

    #[test]
    fn the_patch_tests_what_it_saw_and_sets_two_numbers() {
        let web = object(&json!([{"name": "main", "timeout": "3s", "route": two("stable", "next")}]));
        let found = places(&web, &binding(&["main"]), "ns").unwrap();
        let patch = operations(&web, &found, 25);
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
        let sets: Vec<_> = patch.as_array().unwrap().iter().filter(|o| o["op"] == "add").collect();
        assert_eq!(sets.len(), 2);
        assert_eq!(*sets[0], json!({"op": "add", "path": "/spec/http/0/route/0/weight", "value": 75}));
        assert_eq!(patch.as_array().unwrap().len(), 5);
    }
}
