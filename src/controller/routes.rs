//! Where an experiment's weights are: `spec.traffic`, or Iter8's `weightObjRef` of each version.
//!
//! Pure; called by [`super::resolve`]. What becomes a part of a request to the API server is checked here.

use kube::core::{GroupVersion, GroupVersionKind};

use super::refusal::Refusal;
use super::resolve::object_name;
use crate::api::experiment::{self as spec, Mode};
use crate::live::{Binding, Destination, FieldPathError, MetricQuery, RouteBinding, WeightField, WeightsAt};

/// The API group whose objects no experiment may write.
const OWN_GROUP: &str = "iter8.tools";

/// The weights of an experiment.
pub(super) fn routes(spec: &spec::ExperimentSpec, namespace: &str) -> Result<RouteBinding, Refusal> {
    let info = &spec.version_info;
    match &spec.traffic {
        Some(_) if info.versions().any(|version| version.weight_obj_ref.is_some()) => Err(Refusal::Invalid {
            field: "spec.traffic".into(),
            problem: "traffic is named twice; remove every `weightObjRef`, or `spec.traffic`".into(),
        }),
        Some(traffic) => in_routes(traffic, namespace, info),
        None => in_fields(namespace, info),
    }
}

/// What belongs to each version: the baseline's, and the candidates' with the index in the field's name. No two may be the
/// same.
fn of_each<T: PartialEq>(
    info: &spec::VersionInfo,
    [baseline, candidate]: [&'static str; 2],
    same: &str,
    of: impl Fn(&spec::Version, &'static str) -> Result<T, Refusal>,
) -> Result<(T, Vec<T>), Refusal> {
    let first = of(&info.baseline, baseline)?;
    let mut others: Vec<T> = vec![];
    for (index, version) in info.candidates.iter().enumerate() {
        let found = of(version, candidate).map_err(|refusal| refusal.of_item(index))?;
        if found == first || others.contains(&found) {
            return Err(Refusal::Invalid { field: candidate.into(), problem: same.into() }.of_item(index));
        }
        others.push(found);
    }
    Ok((first, others))
}

fn in_routes(traffic: &spec::Traffic, namespace: &str, info: &spec::VersionInfo) -> Result<RouteBinding, Refusal> {
    let destination = |version: &spec::Version, field: &'static str| -> Result<Destination, Refusal> {
        let written = version.destination.as_ref().ok_or_else(|| Refusal::Invalid {
            field: field.into(),
            problem: format!(
                "version `{}` has no destination; write for example `destination: {{subset: {}}}`",
                version.name, version.name
            ),
        })?;
        let host = written.host.as_ref().or(traffic.host.as_ref()).cloned();
        Ok(Destination { host, subset: written.subset.clone() })
    };
    let fields = ["spec.versionInfo.baseline.destination", "spec.versionInfo.candidates[].destination"];
    let same = "two versions have the same destination; write two subsets or two hosts";
    let (baseline, candidates) = of_each(info, fields, same, destination)?;
    let weights = WeightsAt::VirtualService {
        name: object_name(&traffic.virtual_service, namespace, "spec.traffic.virtualService")?,
        routes: traffic.routes.clone(),
        delegate: match traffic.mode() {
            Mode::InPlace => false,
            Mode::Delegate => true,
        },
    };
    Ok(RouteBinding { weights, baseline, candidates })
}

fn in_fields(namespace: &str, info: &spec::VersionInfo) -> Result<RouteBinding, Refusal> {
    let fields = ["spec.versionInfo.baseline.weightObjRef", "spec.versionInfo.candidates[].weightObjRef"];
    let field = |version: &spec::Version, field: &'static str| weight_field(version, namespace, field);
    let (baseline, candidates) = of_each(info, fields, "two versions have the same field; write one for each", field)?;
    Ok(RouteBinding {
        weights: WeightsAt::Fields { baseline, candidates },
        baseline: named(&info.baseline),
        candidates: info.candidates.iter().map(named).collect(),
    })
}

/// Where a version's requests go, as far as it says so itself: a field of an unknown kind does not.
fn named(version: &spec::Version) -> Destination {
    let variable = || version.variables.iter().find(|v| v.name == "host").map(|v| v.value.clone());
    let written = version.destination.as_ref();
    Destination {
        host: written.and_then(|d| d.host.clone()).or_else(variable),
        subset: written.and_then(|d| d.subset.clone()),
    }
}

fn weight_field(version: &spec::Version, namespace: &str, field: &'static str) -> Result<WeightField, Refusal> {
    let invalid = |problem: String| Refusal::Invalid { field: field.into(), problem };
    let written = version.weight_obj_ref.as_ref().ok_or_else(|| {
        invalid(format!(
            "version `{}` has none; write one for every version, or `spec.traffic` and a `destination` for every version",
            version.name
        ))
    })?;
    let text = |value: &Option<String>, key: &str, example: &str| {
        value
            .clone()
            .filter(|v| !v.is_empty())
            .ok_or_else(|| invalid(format!("`{key}` is missing; write for example `{key}: {example}`")))
    };
    let kind = text(&written.kind, "kind", "VirtualService")?;
    let api_version = text(&written.api_version, "apiVersion", "networking.istio.io/v1")?;
    let name = text(&written.name, "name", "my-routes")?;
    let name = object_name(
        &written.namespace.as_ref().map_or_else(|| name.clone(), |n| format!("{n}/{name}")),
        namespace,
        field,
    )?;
    let path = text(&written.field_path, "fieldPath", ".spec.http[0].route[1].weight")?;
    let path = path.parse().map_err(|e: FieldPathError| invalid(format!("`fieldPath`: {e}")))?;
    Ok(WeightField { kind: group_version_kind(&api_version, &kind).map_err(invalid)?, name, path })
}

/// Group, version and kind, of characters that can be a part of an address.
fn group_version_kind(api_version: &str, kind: &str) -> Result<GroupVersionKind, String> {
    let part = |text: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        text.chars().all(allowed) && !text.starts_with(['.', '-']) && !text.ends_with(['.', '-'])
    };
    let parsed: Option<GroupVersion> = api_version.parse().ok();
    let known = parsed.filter(|gv| part(&gv.group) && part(&gv.version) && !gv.version.is_empty());
    let version = known.ok_or_else(|| {
        format!("`apiVersion: {api_version}` is no group and version; write for example `networking.istio.io/v1`")
    })?;
    if !kind.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("`kind: {kind}` is no kind; write for example `VirtualService`"));
    }
    if version.group == OWN_GROUP {
        return Err(format!("`apiVersion: {api_version}` holds no weights; write the object that divides requests"));
    }
    Ok(version.with_kind(kind))
}

/// Refuses metrics that need a host where nothing says which one it is.
pub(super) fn check_hosts(binding: &Binding) -> Result<(), Refusal> {
    let WeightsAt::Fields { .. } = binding.routes.weights else { return Ok(()) };
    let needed = binding.metrics.iter().flat_map(MetricQuery::texts).any(|selector| selector.contains("$host"));
    let RouteBinding { baseline, candidates, .. } = &binding.routes;
    let nameless = |destination: &Destination| needed && destination.host.is_none();
    let field = match candidates.iter().position(nameless) {
        _ if nameless(baseline) => Some("spec.versionInfo.baseline.variables".to_owned()),
        Some(index) => Some(format!("spec.versionInfo.candidates[{index}].variables")),
        None => None,
    };
    match field {
        None => Ok(()),
        Some(field) => Err(Refusal::Invalid {
            field: field.into(),
            problem: "a metric asks for the service's host, which `weightObjRef` does not tell; write \
                      `- {name: host, value: SERVICE.NAMESPACE.svc.cluster.local}`"
                .into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use serde_json::{Value, json};

    fn experiment(baseline: &Value, candidate: &Value, traffic: &Value) -> spec::ExperimentSpec {
        serde_json::from_value(json!({
            "target": "ns/app", "strategy": {"testingPattern": "Canary"}, "traffic": traffic,
            "versionInfo": {"baseline": baseline, "candidates": [candidate]},
            "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]},
        }))
        .unwrap()
    }

    fn resolve(spec: &spec::ExperimentSpec) -> Result<RouteBinding, Refusal> {
        routes(spec, "ns")
    }

    fn reference(index: usize) -> Value {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "name": "web",
               "fieldPath": format!(".spec.http[0].route[{index}].weight")})
    }

    fn version(name: &str, reference: &Value) -> Value {
        json!({"name": name, "workload": {"name": name}, "weightObjRef": reference})
    }

    #[test]
    fn fields_of_both_versions_are_found() {
        let mut baseline = version("a", &reference(0));
        baseline["variables"] = json!([{"name": "host", "value": "app.ns.svc.cluster.local"}]);
        let found = resolve(&experiment(&baseline, &version("b", &reference(1)), &Value::Null)).unwrap();
        let WeightsAt::Fields { baseline, candidates } = found.weights else { unreachable!() };
        assert_eq!(baseline.kind, GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
        assert_eq!(candidates[0].path.to_string(), ".spec.http[0].route[1].weight");
        assert_eq!(found.baseline.host.as_deref(), Some("app.ns.svc.cluster.local"));
        assert_eq!(found.candidates[0].host, None);
    }

    #[test]
    fn a_reference_that_could_mean_anything_else_is_refused() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut changed = reference(1);
            change(&mut changed);
            resolve(&experiment(&version("a", &reference(0)), &version("b", &changed), &Value::Null))
                .unwrap_err()
                .to_string()
        };
        let set = |key: &str, value: Value| refused(&|r: &mut Value| r[key] = value.clone());
        let table = [
            (refused(&|r: &mut Value| *r = reference(0)), "the same field"),
            (refused(&|r: &mut Value| *r = Value::Null), "version `b` has none"),
            (set("kind", Value::Null), "`kind` is missing"),
            (set("fieldPath", json!("")), "`fieldPath` is missing"),
            (set("fieldPath", json!(".spec.http[*].weight")), "`[*].weight`"),
            (set("fieldPath", json!(".metadata.generation")), "into the spec"),
            (set("namespace", json!("bank")), "outside the experiment's namespace"),
            (set("name", json!("../web")), "outside the experiment's namespace"),
            (set("name", json!("..")), "no name of an object"),
            (set("apiVersion", json!("apps/v1/../../x")), "no group and version"),
            (set("apiVersion", json!("../v1")), "no group and version"),
            (set("apiVersion", json!("a/")), "no group and version"),
            (set("apiVersion", json!("iter8.tools/v2alpha2")), "holds no weights"),
            (set("kind", json!("Virtual/Service")), "no kind"),
        ];
        for (problem, words) in table {
            assert!(problem.contains(words), "{words}: {problem}");
        }
    }

    #[test]
    fn a_delegate_is_asked_for_by_the_mode() {
        let version = |name: &str| json!({"name": name, "destination": {"subset": name}});
        for (mode, delegate) in [("InPlace", false), ("Delegate", true)] {
            let traffic = json!({"virtualService": "ns/web", "mode": mode});
            let found = resolve(&experiment(&version("a"), &version("b"), &traffic)).unwrap();
            let mut both = version("a");
            both["weightObjRef"] = reference(0);
            let twice = resolve(&experiment(&both, &version("b"), &traffic)).unwrap_err().to_string();
            assert!(twice.contains("named twice"), "{twice}");
            assert_eq!(found.weights, WeightsAt::VirtualService { name: "web".into(), routes: vec![], delegate });
        }
    }

    #[test]
    fn a_host_that_a_metric_needs_and_nobody_tells_is_asked_for() {
        let spec = experiment(&version("a", &reference(0)), &version("b", &reference(1)), &Value::Null);
        let mut binding = Binding {
            namespace: "ns".into(),
            name: "x".into(),
            uid: "u".into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            target: "ns/app".into(),
            routes: resolve(&spec).unwrap(),
            baseline: crate::live::VersionBinding::default(),
            candidates: vec![crate::live::VersionBinding::default()],
            metrics: vec![MetricQuery::Share(crate::live::ShareQuery::share("bad", "all"))],
        };
        assert!(check_hosts(&binding).is_ok());
        binding.metrics.extend(crate::live::builtin::share("istio/error-rate").map(MetricQuery::Share));
        let refused = check_hosts(&binding).unwrap_err().to_string();
        assert!(refused.contains("baseline.variables") && refused.contains("name: host"), "{refused}");
        binding.routes.baseline.host = Some("app".into());
        binding.routes.candidates[0].host = Some("app".into());
        assert!(check_hosts(&binding).is_ok());
    }
}
