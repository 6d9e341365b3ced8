//! What the real kustomize and helm make of an environment repository, before and after each outcome: nothing differs but
//! what was promoted.
#![allow(clippy::type_complexity)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::layouts::{Snapshot, Tree, after, parse, spec, tree};
use crate::support::stack;
use reiter8::gitops::plan::{Spec, plan_cleanup, plan_discard, plan_promote};
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

/// The Kustomize case with one more candidate, and what its experiment asks for.
fn two_candidates() -> (Tree, Spec) {
    let mut tree = tree("kustomize", "started");
    let path = |name: &str| format!("apps/reviews/{name}.yaml");
    let text = |tree: &Tree, name: &str| String::from_utf8(tree[&path(name)].clone()).unwrap();
    let edit = |text: String, edits: &[(&str, &str)]| {
        edits.iter().fold(text, |text, (old, new)| {
            assert!(text.contains(old), "{text} has no {old}");
            text.replace(old, new)
        })
    };
    let manifest = text(&tree, "reviews-candidate");
    let other = [("reviews-candidate", "reviews-other"), ("version: candidate", "version: other"), ("'on'", "'gold'")];
    let other = edit(manifest, &other);
    let resource = "- reviews-candidate.yaml\n";
    let image = "- name: reviews-candidate\n  newName: ghcr.io/acme/reviews\n  newTag: v1.3.0\n";
    let more = |line: &str| format!("{line}{}", edit(line.into(), &[("reviews-candidate", "reviews-other")]));
    let images = more(image);
    let (first, last) = images.rsplit_once("v1.3.0").unwrap();
    let images = format!("{first}v1.4.0{last}");
    let kustomization = edit(text(&tree, "kustomization"), &[(resource, &more(resource)), (image, &images)]);
    let candidate = "    - {name: candidate, workload: {name: reviews-candidate}, destination: {subset: candidate}}\n";
    let candidates = format!("{candidate}{}", candidate.replace("candidate", "other"));
    let experiment = edit(
        text(&tree, "experiment"),
        &[
            (candidate, &candidates),
            ("testingPattern: Canary", "testingPattern: A/B/N"),
            ("  criteria:\n", "  criteria:\n    rewards: [{metric: istio/mean-latency, preferredDirection: Low}]\n"),
            ("from: reviews-candidate.yaml,", "from: reviews-candidate.yaml, fromEach: {other: reviews-other.yaml},"),
        ],
    );
    let spec = parse(&experiment);
    let files = [("reviews-other", other), ("kustomization", kustomization), ("experiment", experiment)];
    tree.extend(files.map(|(name, text)| (path(name), text.into_bytes())));
    (tree, spec)
}

#[test]
fn of_two_candidates_only_the_winners_fields_are_left() {
    let (before, (started, spec)) = (tree("kustomize", "before"), two_candidates());
    let render = |tree: &Tree| render(tree, "kustomize", &["build", "apps/reviews"]);
    let (was, running) = (render(&before), render(&started));
    let names = ["Deployment/reviews-candidate", "Deployment/reviews-other", "Experiment/reviews-x7k2p"];
    assert!(names.iter().all(|name| running.contains_key(*name) && !was.contains_key(*name)), "{running:#?}");
    for (winner, stars, tag) in [(0, "on", "v1.3.0"), (1, "gold", "v1.4.0")] {
        let spec = spec.promoting(winner);
        let merged = after(&started, &plan_promote(&Snapshot(&started), &spec).unwrap());
        let field = |place: &str| format!("/Deployment/reviews/spec/template/spec/containers/0/{place}");
        let image = |tag: &str| json!(format!("ghcr.io/acme/reviews:{tag}"));
        let wanted = BTreeMap::from([
            (field("env/0/value"), (json!("off"), json!(stars))),
            (field("image"), (image("v1.2.0"), image(tag))),
        ]);
        assert_eq!(changed(&running, &render(&merged)), wanted, "{tag}: promote");
        let cleaned = after(&merged, &plan_cleanup(&Snapshot(&merged), &spec).unwrap());
        assert_eq!(changed(&was, &render(&cleaned)), wanted, "{tag}: clean-up");
        let texts: Vec<_> = cleaned.values().map(|content| String::from_utf8_lossy(content)).collect();
        assert!(texts.iter().all(|t| !t.contains("reviews-candidate") && !t.contains("reviews-other")), "{texts:?}");
    }
    let discarded = after(&started, &plan_discard(&Snapshot(&started), &spec).unwrap());
    assert_eq!(discarded, before);
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
