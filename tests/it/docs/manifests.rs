//! The files that users apply: `crds/` is what the types say, every sample is valid, and no schema lets unbounded text in.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use reiter8::{
    api::{self, Experiment, Metric, Repository, conditions},
    cli::crds,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema(kind: &str) -> JSONSchemaProps {
    let definition = api::definitions().into_iter().find(|d| d.spec.names.kind == kind).unwrap();
    definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap()
}

fn property<'a>(schema: &'a JSONSchemaProps, path: &str) -> &'a JSONSchemaProps {
    path.split('.').fold(schema, |at, name| {
        let at = match &at.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => items,
            _ => at,
        };
        at.properties.as_ref().and_then(|all| all.get(name)).unwrap_or_else(|| panic!("no `{name}` of {path}"))
    })
}

/// Calls `visit` with each schema below and including `schema`, and its path.
fn walk(path: &str, schema: &JSONSchemaProps, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
    visit(path, schema);
    for (name, below) in schema.properties.iter().flatten() {
        walk(&format!("{path}.{name}"), below, visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(&format!("{path}{{}}"), values, visit);
    }
}

#[test]
fn committed_definitions_are_what_the_types_say() {
    let documents = crds::documents().unwrap();
    let mut names: Vec<String> = documents.iter().map(|(name, _)| name.clone()).collect();
    for (name, yaml) in &documents {
        let committed = fs::read_to_string(root().join("crds").join(name)).unwrap_or_default();
        assert!(committed == *yaml, "crds/{name} is out of date: run `cargo run -- crds --dir crds`");
    }
    let mut present: Vec<String> = fs::read_dir(root().join("crds"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    present.sort();
    assert_eq!(present, names);
}

#[test]
fn every_text_and_list_of_a_spec_is_bounded_and_explained() {
    for kind in ["Experiment", "Metric", "Repository"] {
        let schema = schema(kind);
        walk("spec", property(&schema, "spec"), &mut |path, at| {
            let place = format!("{kind} {path}");
            match at.type_.as_deref() {
                Some("string") => assert!(at.max_length.is_some() || at.enum_.is_some(), "{place} is unbounded text"),
                Some("array") => assert!(at.max_items.is_some(), "{place} is an unbounded list"),
                Some("object" | "integer" | "boolean" | "number") => {}
                Some(other) => panic!("{place} has the type {other}"),
                None => {
                    assert!(at.x_kubernetes_preserve_unknown_fields == Some(true), "{place} is neither typed nor free");
                }
            }
            assert!(
                at.default.is_none() && at.nullable.is_none() && at.ref_path.is_none(),
                "{place} has a default, null or reference"
            );
            assert!(path.ends_with(']') || path.ends_with('}') || at.description.is_some(), "{place} is not explained");
        });
    }
}

#[test]
fn printer_columns_are_those_of_iter8_with_phase_weight_and_outcome() {
    let definition = &api::definitions()[0];
    let columns: Vec<_> = definition.spec.versions[0].additional_printer_columns.iter().flatten().collect();
    let shown: Vec<_> = columns
        .iter()
        .filter(|c| c.priority.is_none_or(|p| p == 0))
        .map(|c| (c.name.as_str(), c.json_path.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("type", ".spec.strategy.testingPattern"),
            ("target", ".spec.target"),
            ("stage", ".status.stage"),
            ("phase", ".status.phase"),
            ("weight", ".status.weights[1].value"),
            ("outcome", ".status.outcome"),
            ("completed iterations", ".status.completedIterations"),
            ("message", ".status.message"),
        ]
    );
    assert!(definition.spec.versions[0].subresources.as_ref().unwrap().status.is_some());
}

#[test]
fn no_field_of_iter8_is_pruned() {
    let experiment = schema("Experiment");
    for path in [
        "spec.versionInfo.baseline.variables.value",
        "spec.versionInfo.candidates.weightObjRef.fieldPath",
        "spec.strategy.deploymentPattern",
        "spec.strategy.weights.maxCandidateWeightIncrement",
        "spec.strategy.actions",
        "spec.criteria.requestCount",
        "spec.criteria.rewards.preferredDirection",
        "spec.criteria.indicators",
        "spec.criteria.objectives.lowerLimit",
        "spec.criteria.objectives.rollback_on_failure",
        "spec.criteria.strength",
        "spec.duration.intervalSeconds",
        "spec.duration.iterationsPerLoop",
        "spec.duration.maxLoops",
        "status.initTime",
        "status.startTime",
        "status.lastUpdateTime",
        "status.completedIterations",
        "status.currentWeightDistribution.value",
        "status.versionRecommendedForPromotion",
        "status.analysis",
        "status.metrics",
    ] {
        property(&experiment, path);
    }
    let metric = schema("Metric");
    for name in "description units provider type sampleSize method urlTemplate params body headerTemplates authType secret jqExpression mock".split(' ') {
        property(&metric, &format!("spec.{name}"));
    }
}

#[test]
fn conditions_merge_by_type() {
    let schema = schema("Experiment");
    let conditions = property(&schema, "status.conditions");
    assert_eq!(conditions.x_kubernetes_list_type.as_deref(), Some("map"));
    assert_eq!(conditions.x_kubernetes_list_map_keys.as_deref(), Some(&["type".to_owned()][..]));
    let explained = conditions.description.as_deref().unwrap();
    for type_ in [
        conditions::READY,
        conditions::RECONCILING,
        conditions::STALLED,
        conditions::COMPLETED,
        conditions::FAILED,
        conditions::TARGET_ACQUIRED,
        conditions::DECIDED,
        conditions::GITOPS_READY,
    ] {
        assert!(explained.contains(type_), "{type_} is not explained");
    }
}

/// Every document of every YAML file below `dir`, with the file's path.
fn documents_below(dir: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(documents_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).unwrap();
            let all: Vec<Value> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            found.extend(all.into_iter().map(|document| (path.display().to_string(), document)));
        }
    }
    found
}

fn parsed<K: DeserializeOwned>(place: &str, document: &Value) -> K {
    serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{place}: {error}"))
}

#[test]
fn every_sample_is_a_typed_object_with_readable_values() {
    let mut kinds = Vec::new();
    for (place, document) in documents_below(&root().join("samples")) {
        let kind = document["kind"].as_str().unwrap_or_else(|| panic!("{place}: no kind"));
        match kind {
            "Experiment" => check_experiment(&place, &parsed::<Experiment>(&place, &document)),
            "Metric" => assert!(parsed::<Metric>(&place, &document).spec.kind().is_some(), "{place}"),
            "Repository" => {
                let repository: Repository = parsed(&place, &document);
                assert!(repository.spec.allows_namespace("platform", "bookinfo"), "{place}");
            }
            _ => {}
        }
        kinds.push(kind.to_owned());
    }
    for expected in
        ["Experiment", "Metric", "Repository", "Deployment", "VirtualService", "DestinationRule", "Gateway", "Service"]
    {
        assert!(kinds.iter().any(|kind| kind == expected), "no sample of a {expected}");
    }
}

fn check_experiment(place: &str, experiment: &Experiment) {
    let spec = &experiment.spec;
    let analysis = &spec.analysis;
    let spans = [
        analysis.interval(),
        analysis.lag(),
        analysis.warm_up(),
        analysis.soak(),
        analysis.deadline(),
        analysis.hard_deadline(),
    ];
    for span in spans {
        assert!(span.is_ok(), "{place}: {span:?}");
    }
    for share in [analysis.false_rollback(), analysis.false_promotion()] {
        assert!(share.is_ok(), "{place}: {share:?}");
    }
    let namespace = experiment.metadata.namespace.as_deref().unwrap_or_default();
    assert!(spec.target.starts_with(&format!("{namespace}/")), "{place}: the target does not begin with the namespace");
    if let Some(gitops) = &spec.gitops {
        let directory = Path::new(place).parent().unwrap();
        // The templates of `start` are beside nothing: it commits them where they belong.
        let template = directory.ends_with("start");
        let named = [&gitops.promote.from, &gitops.promote.to].into_iter().chain(gitops.promote.from_each.values());
        for file in named.chain(&gitops.remove).filter(|_| !template) {
            assert!(directory.join(file).exists(), "{place}: {file} is not beside it");
        }
    }
}
