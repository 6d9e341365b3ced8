//! What the real kustomize and helm make of an environment repository, before and after each outcome: nothing differs but
//! what was promoted.
#![allow(clippy::type_complexity, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/layouts/mod.rs"]
mod layouts;
#[path = "support/stack/mod.rs"]
mod stack;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use layouts::{Snapshot, Tree, after, spec, tree};
use reiter8::gitops::plan::{plan_cleanup, plan_discard, plan_promote};
use serde_json::{Value, json};

/// Rendered manifests, by kind and name.
type Rendered = BTreeMap<String, Value>;

/// How a case is rendered: a part, its arguments, and a further environment that nothing may change.
const CASES: [(&str, &str, &[&str], Option<&[&str]>); 4] = [
    ("kustomize", "kustomize", &["build", "apps/reviews"], None),
    ("component", "kustomize", &["build", "apps/reviews"], None),
    ("overlay", "kustomize", &["build", "envs/prod"], Some(&["build", "envs/staging"])),
    ("helm", "helm", &["template", "prod", "charts/reviews", "--values", "envs/prod/values.yaml"], None),
];

fn render(tree: &Tree, part: &str, arguments: &[&str]) -> Rendered {
    let folder = tempfile::Builder::new().prefix("reiter8-layouts-").tempdir_in("/var/tmp").unwrap();
    for (path, content) in tree {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    documents(&run(folder.path(), part, arguments))
}

fn run(folder: &Path, part: &str, arguments: &[&str]) -> String {
    let program = stack::binaries().join(part);
    let made = Command::new(&program).args(arguments).current_dir(folder).env("HOME", folder).output();
    let made = made.unwrap_or_else(|error| panic!("{}: {error}; build it with hack/parts/build", program.display()));
    assert!(made.status.success(), "{part} {arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

fn documents(text: &str) -> Rendered {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let name = |document: &Value| {
        format!("{}/{}", document["kind"].as_str().unwrap(), document["metadata"]["name"].as_str().unwrap())
    };
    all.into_iter().filter(|document| !document.is_null()).map(|document| (name(&document), document)).collect()
}

/// The places at which two values differ, with both sides.
fn differences(place: &str, old: &Value, new: &Value, found: &mut BTreeMap<String, (Value, Value)>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys = old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{place}/{key}"), &of(old), &of(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                differences(&format!("{place}/{index}"), old, new, found);
            }
        }
        _ if old == new => {}
        _ => {
            found.insert(place.to_owned(), (old.clone(), new.clone()));
        }
    }
}

fn changed(old: &Rendered, new: &Rendered) -> BTreeMap<String, (Value, Value)> {
    let whole = |all: &Rendered| json!(all);
    let mut found = BTreeMap::new();
    differences("", &whole(old), &whole(new), &mut found);
    found
}

/// What is promoted of each case's pod template: the place below the first container, before and after.
fn promoted(case: &str) -> Vec<(&'static str, String, String)> {
    let digest = format!("ghcr.io/acme/reviews@sha256:{}", "1".repeat(64));
    let (v2, v3) = ("ghcr.io/acme/reviews:v1.2.0".to_owned(), "ghcr.io/acme/reviews:v1.3.0".to_owned());
    match case {
        "kustomize" => vec![("env/0/value", "off".into(), "on".into()), ("image", v2, v3)],
        "component" => vec![("image", v2, digest)],
        "overlay" => {
            let image = |tag: &str| format!("registry.prod.example/acme/reviews:{tag}");
            vec![("image", image("v1.2.0"), image("1.30"))]
        }
        "helm" => {
            vec![("env/1/value", "red".into(), "red,gold".into()), ("image", "ghcr.io/acme/reviews:1.20".into(), v3)]
        }
        _ => panic!("{case}"),
    }
}

#[test]
fn only_the_promoted_fields_differ_in_what_kustomize_and_helm_render() {
    for (case, part, arguments, other) in CASES {
        let (before, started) = (tree(case, "before"), tree(case, "started"));
        let spec = spec(case);
        let (was, running) = (render(&before, part, arguments), render(&started, part, arguments));
        let deployment = format!("Deployment/{}", spec.baseline.name);
        let candidate = format!("Deployment/{}", spec.candidate.name);
        let experiment = running.keys().any(|name| name.starts_with("Experiment/"));
        assert!(
            experiment && running.contains_key(&candidate) && was.contains_key(&deployment),
            "{case}: {running:#?}"
        );
        // The start leaves the baseline as it is; both run what the plan says.
        assert_eq!(running[&deployment], was[&deployment], "{case}");

        let promote = plan_promote(&Snapshot(&started), &spec).unwrap();
        let merged = after(&started, &promote);
        let wanted: BTreeMap<String, (Value, Value)> = promoted(case)
            .into_iter()
            .map(|(place, old, new)| {
                (format!("/{deployment}/spec/template/spec/containers/0/{place}"), (json!(old), json!(new)))
            })
            .collect();
        let found = changed(&running, &render(&merged, part, arguments));
        assert_eq!(found, wanted, "{case}: promote");

        let cleaned = after(&merged, &plan_cleanup(&Snapshot(&merged), &spec).unwrap());
        assert_eq!(changed(&was, &render(&cleaned, part, arguments)), wanted, "{case}: clean-up");
        let discarded = after(&started, &plan_discard(&Snapshot(&started), &spec).unwrap());
        assert_eq!(changed(&was, &render(&discarded, part, arguments)), BTreeMap::new(), "{case}: discard");
        if let Some(other) = other {
            for tree in [&started, &merged, &cleaned, &discarded] {
                assert_eq!(render(tree, part, other), render(&before, part, other), "{case}: {other:?}");
            }
        }
        println!("{case}: {} objects, {} promoted fields", was.len(), wanted.len());
    }
}

/// What the planner takes for the version's pods is what the tools make of them.
#[test]
fn the_expected_images_are_those_that_are_rendered() {
    use reiter8::gitops::layout::RUNNING;
    use reiter8::gitops::plan::{baseline_template, candidate_template};
    for (case, part, arguments, _) in CASES {
        let started = tree(case, "started");
        let spec = spec(case);
        let running = render(&started, part, arguments);
        let sides = [
            (&spec.baseline, baseline_template(&Snapshot(&started), &spec).unwrap()),
            (&spec.candidate, candidate_template(&Snapshot(&started), &spec).unwrap()),
        ];
        for (workload, template) in sides {
            let pods = &running[&format!("Deployment/{}", workload.name)]["spec"]["template"];
            let image = &pods["spec"]["containers"][0]["image"];
            match template.get(RUNNING) {
                Some(images) => assert_eq!(images, &json!([image]), "{case}"),
                None => assert_eq!(&template["spec"]["containers"][0]["image"], image, "{case}"),
            }
        }
    }
}
