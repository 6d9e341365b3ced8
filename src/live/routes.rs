//! Weights of a VirtualService's http routes: read fresh, written with one fenced patch.
//!
//! Destinations are found by host and subset, never by position. Nothing else of the object is touched: the patch tests
//! the resourceVersion and each destination it saw, and sets one number for each version in each route.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::binding::Destination;
use super::call::call;
use super::owner::{MANAGER, Step, last_write};
use crate::engine::{Cause, Routes, Seen, Split, Unavailable};

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
    wanted: Wanted,
}

/// Which routes and destinations are meant.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Name of the VirtualService.
    pub(super) name: String,
    /// Names of its http routes; none means every route that leads to all destinations.
    pub(super) routes: Vec<String>,
    /// Whether it has to be a delegate.
    pub(super) delegate: bool,
    /// Where the baseline's requests go.
    pub(super) baseline: Destination,
    /// Where the candidates' requests go.
    pub(super) candidates: Vec<Destination>,
}

/// Most characters of a foreign text in a message.
const MOST_TEXT: usize = 200;

/// The routes that were found.
struct Found {
    places: Vec<Place>,
    /// What else was meant, and is not there.
    missing: Option<String>,
    /// What takes a part of the requests beside the versions.
    others: Option<String>,
}

/// Where one http route keeps the weights.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    route: usize,
    baseline: usize,
    /// None for one that the route does not lead to.
    candidates: Vec<Option<usize>>,
}

impl RouteTable {
    pub(super) fn new(client: Client, namespace: &str, wanted: Wanted) -> Self {
        Self { api: Api::namespaced_with(client, namespace, &resource()), namespace: namespace.into(), wanted }
    }

    /// The weights that all routes carry, and who wrote them if we did not.
    ///
    /// Errors besides those of a call: `RouteNotFound` and `DelegateMissing` (nothing of what was meant is there),
    /// `RouteIncomplete` (a part of it is; that part can still be written), `RouteHasOthers` (another destination takes
    /// requests; the weights can still be written), `NotADelegate` (likewise).
    pub(super) async fn read(&self) -> Seen<Routes> {
        let object = self.get().await?;
        if self.wanted.delegate
            && let Some(found) = not_a_delegate(&object)
        {
            let message = format!(
                "{} has {found} and is no delegate; take them out and let a VirtualService with hosts delegate to it, \
                 or write `spec.traffic.mode: InPlace`",
                self.full_name()
            );
            return Err(Unavailable::new(Cause::NotADelegate, message));
        }
        let Found { places, missing, others } = self.find(&object)?;
        if let Some(missing) = missing {
            return Err(Unavailable::new(Cause::RouteIncomplete, missing));
        }
        if let Some(others) = others {
            return Err(Unavailable::new(Cause::RouteHasOthers, format!("{}: {others}", self.full_name())));
        }
        let mut splits = places.iter().map(|place| split(&object, place));
        let first = splits.next();
        let agreed = first.filter(|first| splits.all(|s| s == *first));
        let weights = agreed.unwrap_or_else(|| disagreeing(self.wanted.candidates.len()));
        let paths: Vec<_> = places.iter().flat_map(Place::paths).collect();
        Ok(Routes { writer: last_write(&object, &paths).map(|w| w.manager), ..weights })
    }

    /// The hosts of the baseline's and then of each candidate's destination, as the first route writes them.
    pub(super) async fn hosts(&self) -> Seen<Vec<String>> {
        let object = self.get().await?;
        let Found { places, missing, .. } = self.find(&object)?;
        let host = |route: usize, index: usize| {
            let path = format!("/spec/http/{route}/route/{index}/destination/host");
            object.data.pointer(&path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let whole = |place: &Place| place.all().map(|index| Some(host(place.route, index?))).collect();
        let hosts = places.iter().find_map(whole);
        hosts.ok_or_else(|| Unavailable::new(Cause::RouteIncomplete, missing.unwrap_or_default()))
    }

    /// Gives the candidates their weights and the baseline the rest, in all routes at once. Routes and candidates that are
    /// missing hinder nothing: a rollback is not to wait for them.
    pub(super) async fn write(&self, wanted: Split) -> Result<(), Unavailable> {
        let object = self.get().await?;
        let places = self.find(&object)?.places;
        let operations = operations(&object, &places, wanted);
        let written = patch(&self.api, &self.wanted.name, operations, &self.full_name()).await?;
        if written { Ok(()) } else { Err(self.absent()) }
    }

    async fn get(&self) -> Seen<DynamicObject> {
        let request = self.api.get(&self.wanted.name);
        call(&format!("read {}", self.full_name()), request).await?.ok_or_else(|| self.absent())
    }

    fn find(&self, object: &DynamicObject) -> Seen<Found> {
        let found = find(object, &self.wanted, &self.namespace);
        let missing = found.missing.as_ref().map(|what| format!("{}: {what}", self.full_name()));
        match missing {
            Some(missing) if found.places.is_empty() => Err(Unavailable::new(Cause::RouteNotFound, missing)),
            missing => Ok(Found { missing, ..found }),
        }
    }

    fn absent(&self) -> Unavailable {
        let name = self.full_name();
        if self.wanted.delegate {
            let message = format!(
                "{name} was not found; `spec.traffic.mode: Delegate` needs it in Git, without hosts and gateways, at \
                 100 % baseline"
            );
            Unavailable::new(Cause::DelegateMissing, message)
        } else {
            Unavailable::new(Cause::RouteNotFound, format!("{name} was not found"))
        }
    }

    fn full_name(&self) -> String {
        format!("VirtualService {}/{}", self.namespace, self.wanted.name)
    }
}

/// Sends a patch of fenced operations; `false` if the object is gone.
pub(super) async fn patch(
    api: &Api<DynamicObject>,
    name: &str,
    operations: Value,
    full_name: &str,
) -> Result<bool, Unavailable> {
    let patch: json_patch::Patch = serde_json::from_value(operations)
        .map_err(|e| Unavailable::new(Cause::Internal, format!("failed to build the patch: {e}")))?;
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Json::<()>(patch);
    Ok(call(&format!("write {full_name}"), api.patch(name, &params, &patch)).await?.is_some())
}

/// What makes a VirtualService serve hosts of its own, so that no other one can delegate to it.
fn not_a_delegate(object: &DynamicObject) -> Option<&'static str> {
    let has = |key: &str| object.data.pointer(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    match (has("/spec/hosts"), has("/spec/gateways")) {
        (true, true) => Some("hosts and gateways"),
        (true, false) => Some("hosts"),
        (false, true) => Some("gateways"),
        (false, false) => None,
    }
}

/// What routes that disagree are reported as: neither any wanted split nor home, so that they are repaired together.
fn disagreeing(candidates: usize) -> Routes {
    Routes { baseline: u8::MAX, candidates: vec![u8::MAX; candidates].into(), writer: None }
}

impl Place {
    /// The baseline's position, then the candidates'.
    fn all(&self) -> impl Iterator<Item = Option<usize>> {
        std::iter::once(Some(self.baseline)).chain(self.candidates.iter().copied())
    }

    /// All weights.
    fn paths(&self) -> impl Iterator<Item = Vec<Step>> {
        let key = |k: &str| Step::Key(k.into());
        self.all().flatten().map(move |index| {
            let (route, index) = (Step::Index(self.route), Step::Index(index));
            vec![key("spec"), key("http"), route, key("route"), index, key("weight")]
        })
    }
}

/// Finds the destinations in every route that is meant.
fn find(object: &DynamicObject, wanted: &Wanted, namespace: &str) -> Found {
    let http = object.data.pointer("/spec/http").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (mut places, mut absent, mut others) = (vec![], None, None);
    for (route, entry) in http.iter().enumerate() {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        if !wanted.routes.is_empty() && !wanted.routes.iter().any(|r| r == name) {
            continue;
        }
        let at = |version: &Destination| destinations(entry).iter().position(|d| matches(d, version, namespace));
        let mut all = std::iter::once(&wanted.baseline).chain(&wanted.candidates);
        let candidates: Vec<Option<usize>> = wanted.candidates.iter().map(at).collect();
        let first = all.find(|version| at(version).is_none());
        // Without names, routes that lead elsewhere are not meant; but the only one is.
        let some = at(&wanted.baseline).is_some() && candidates.iter().any(Option::is_some);
        if first.is_some() && !some && wanted.routes.is_empty() && http.len() > 1 {
            continue;
        }
        absent = first.map(|first| missing(name, first, entry)).or(absent);
        let Some(baseline) = at(&wanted.baseline) else { continue };
        // What is left of several candidates can still be brought home.
        if candidates.iter().any(Option::is_some) {
            let ours: Vec<usize> = std::iter::once(baseline).chain(candidates.iter().copied().flatten()).collect();
            others = others.or_else(|| other(name, entry, &ours));
            places.push(Place { route, baseline, candidates });
        }
    }
    let names: Vec<&str> = http.iter().filter_map(|e| e.get("name").and_then(Value::as_str)).collect();
    if let Some(unknown) = wanted.routes.iter().find(|r| !names.contains(&r.as_str())) {
        absent = Some(format!("no http route is named `{unknown}`; there are: {}", names.join(", ")));
    }
    if places.is_empty() && absent.is_none() {
        absent = Some("no http route leads to all destinations; name the route and its subsets".into());
    }
    Found { places, missing: absent, others }
}

/// Who else takes requests of a route, with the remedy: of 100 % only the versions can have a share.
fn other(route: &str, entry: &Value, ours: &[usize]) -> Option<String> {
    let weight = |index: usize| entry.pointer(&format!("/route/{index}/weight")).unwrap_or(&Value::Null);
    let destinations = destinations(entry);
    let (index, found) = destinations
        .iter()
        .enumerate()
        .find(|(i, _)| !ours.contains(i) && !matches!(weight(*i).as_u64(), Some(0)) && !weight(*i).is_null())?;
    let again = ours.iter().any(|i| {
        let same = |key: &str| destinations.get(*i).and_then(|d| d.get(key)) == found.get(key);
        same("host") && same("subset")
    });
    let (weight, what) =
        (weight(index), if again { "names a version's destination once more" } else { "is no version's destination" });
    Some(format!(
        "route `{route}` sends {weight} % to {}, which {what}; only the experiment's versions can share the requests: \
         remove it or give it weight 0",
        excerpt(&found.to_string())
    ))
}

/// The beginning of a text that others wrote.
fn excerpt(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
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
pub(super) fn full(host: &str, namespace: &str) -> String {
    match host.split('.').collect::<Vec<_>>().as_slice() {
        [name] => format!("{name}.{namespace}.svc.cluster.local"),
        [name, namespace] => format!("{name}.{namespace}.svc.cluster.local"),
        [name, namespace, "svc"] => format!("{name}.{namespace}.svc.cluster.local"),
        _ => host.to_owned(),
    }
}

/// The weights of a route. A weight that is not written is 100 for an only destination, else 0.
fn split(object: &DynamicObject, place: &Place) -> Routes {
    let route = format!("/spec/http/{}/route", place.route);
    let only = object.data.pointer(&route).and_then(Value::as_array).is_some_and(|r| r.len() == 1);
    let weight = |index: usize| {
        let written = object.data.pointer(&format!("{route}/{index}/weight")).and_then(Value::as_u64);
        u8::try_from(written.unwrap_or(if only { 100 } else { 0 })).unwrap_or(u8::MAX)
    };
    let candidates = place.candidates.iter().map(|index| index.map_or(0, weight)).collect();
    Routes { baseline: weight(place.baseline), candidates, writer: None }
}

/// The JSON patch: tests of what was seen, then the weights.
fn operations(object: &DynamicObject, places: &[Place], wanted: Split) -> Value {
    let mut operations =
        vec![json!({"op": "test", "path": "/metadata/resourceVersion", "value": object.resource_version()})];
    for place in places {
        let candidates = place.candidates.iter().zip(wanted.weights(place.candidates.len()));
        let candidates: Vec<(usize, u8)> = candidates.filter_map(|(index, weight)| Some(((*index)?, weight))).collect();
        let rest = candidates.iter().fold(100, |left: u8, (_, weight)| left.saturating_sub(*weight));
        for (index, weight) in std::iter::once((place.baseline, rest)).chain(candidates) {
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

    fn wanted(routes: &[&str]) -> Wanted {
        let to = |subset: &str| Destination { host: Some("app".into()), subset: Some(subset.into()) };
        Wanted {
            name: "web".into(),
            routes: routes.iter().map(ToString::to_string).collect(),
            delegate: false,
            baseline: to("stable"),
            candidates: vec![to("next")],
        }
    }

    fn two(first: &str, second: &str) -> Value {
        json!([{"destination": {"host": "app.ns.svc.cluster.local", "subset": first}, "weight": 90},
               {"destination": {"host": "app", "subset": second}, "weight": 10}])
    }

    #[test]
    fn destinations_are_found_by_name_wherever_they_stand() {
        let web = object(&json!([{"name": "other"}, {"name": "main", "route": two("next", "stable")}]));
        let found = find(&web, &wanted(&["main"]), "ns").places;
        assert_eq!(found, [Place { route: 1, baseline: 1, candidates: vec![Some(0)] }]);
        assert_eq!(split(&web, &found[0]), Routes::split(Split::one(90)));
    }

    #[test]
    fn without_names_every_route_to_both_is_meant_and_no_other() {
        let web = object(&json!([{"route": two("stable", "next")}, {"route": [{"destination": {"host": "app"}}]}]));
        let found = find(&web, &wanted(&[]), "ns");
        assert_eq!((found.places.len(), found.missing), (1, None));
    }

    #[test]
    fn what_is_missing_is_named_together_with_what_is_there() {
        let web = object(&json!([{"name": "main", "route": two("stable", "old")}]));
        let missing = |routes: &[&str]| find(&web, &wanted(routes), "ns").missing.unwrap();
        for routes in [&["main"][..], &[]] {
            let text = missing(routes);
            assert!(text.contains("subset `next`") && text.contains("old"), "{text}");
        }
        assert!(missing(&["mian"]).contains("`mian`; there are: main"));
    }

    #[test]
    fn what_is_left_of_several_routes_is_found() {
        let web = object(&json!([{"name": "main", "route": two("stable", "next")}]));
        let found = find(&web, &wanted(&["main", "gone"]), "ns");
        assert_eq!(found.places.len(), 1);
        assert!(found.missing.unwrap().contains("`gone`"));
    }

    #[test]
    fn what_is_left_of_several_candidates_can_be_brought_home() {
        let mut wanted = wanted(&["main"]);
        wanted.candidates.push(Destination { host: Some("app".into()), subset: Some("last".into()) });
        let web = object(&json!([{"name": "main", "route": two("stable", "last")}]));
        let found = find(&web, &wanted, "ns");
        assert!(found.missing.unwrap().contains("subset `next`"));
        let patch = operations(&web, &found.places, Split::HOME);
        let sets: Vec<_> = patch.as_array().unwrap().iter().filter(|o| o["op"] == "add").collect();
        let path = "/spec/http/0/route";
        assert_eq!(*sets[0], json!({"op": "add", "path": format!("{path}/0/weight"), "value": 100}));
        assert_eq!(*sets[1], json!({"op": "add", "path": format!("{path}/1/weight"), "value": 0}));
        // Without the baseline there is no home.
        wanted.baseline.subset = Some("gone".into());
        assert_eq!(find(&web, &wanted, "ns").places, []);
    }

    #[test]
    fn the_patch_tests_what_it_saw_and_sets_two_numbers() {
        let web = object(&json!([{"name": "main", "timeout": "3s", "route": two("stable", "next")}]));
        let found = find(&web, &wanted(&["main"]), "ns").places;
        let patch = operations(&web, &found, Split::one(25));
        assert_eq!(patch[0], json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"}));
        let sets: Vec<_> = patch.as_array().unwrap().iter().filter(|o| o["op"] == "add").collect();
        assert_eq!(sets.len(), 2);
        assert_eq!(*sets[0], json!({"op": "add", "path": "/spec/http/0/route/0/weight", "value": 75}));
        assert_eq!(patch.as_array().unwrap().len(), 5);
    }

    #[test]
    fn who_else_takes_requests_is_named_with_the_remedy() {
        let others = |extra: Value| {
            let mut route = two("stable", "next");
            route.as_array_mut().unwrap().push(extra);
            find(&object(&json!([{"name": "main", "route": route}])), &wanted(&[]), "ns").others
        };
        let to = |subset: &str| json!({"host": "app", "subset": subset});
        assert_eq!(others(json!({"destination": to("old")})), None);
        assert_eq!(others(json!({"destination": to("old"), "weight": 0})), None);
        let third = others(json!({"destination": to("old"), "weight": 7})).unwrap();
        assert!(third.contains("7 %") && third.contains("\"old\"") && third.contains("no version"), "{third}");
        let again = others(json!({"destination": to("next"), "weight": 10})).unwrap();
        assert!(again.contains("once more") && again.contains("weight 0"), "{again}");
        assert!(others(json!({"destination": "x".repeat(5000), "weight": -1})).unwrap().len() < 500);
    }

    #[test]
    fn a_delegate_serves_no_host_of_its_own() {
        let service = |spec: Value| DynamicObject::new("web", &resource()).data(json!({"spec": spec}));
        assert_eq!(not_a_delegate(&service(json!({"http": []}))), None);
        assert_eq!(not_a_delegate(&service(json!({"hosts": [], "gateways": null}))), None);
        assert_eq!(not_a_delegate(&service(json!({"hosts": ["a"]}))), Some("hosts"));
        assert_eq!(not_a_delegate(&service(json!({"hosts": ["a"], "gateways": ["b"]}))), Some("hosts and gateways"));
    }
}
