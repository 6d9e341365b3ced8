//! An experiment's two ends in every layout: what it writes to Git, byte for byte.

use std::collections::BTreeMap;

use crate::support::gitops;
use crate::support::layouts::{CASES, Snapshot, Tree, after, assert_same, parse, spec, tree};
use reiter8::gitops::forge::{Forge, LocalForge, NewPull};
use reiter8::gitops::layout::RUNNING;
use reiter8::gitops::plan::{
    Change, PlanError, Spec, baseline_template, candidate_template, kept_places, plan_cleanup, plan_discard,
    plan_promote, plan_revert, plan_whole,
};
use reiter8::gitops::preview::{Folder, proposal};
use reiter8::gitops::rehearsal::{Promotion, Rehearsal, rehearse};
use reiter8::gitops::repository::{Lease, Remote, Session};
use reiter8::gitops::transport::Limits;
use reiter8::gitops::tree::{BlobId, Files, Overlay};
use serde_json::{Value, json};

/// One of the plans.
type Plan = fn(&dyn Files, &Spec) -> Result<Change, PlanError>;

/// The spec with what the change of a preflight relied on.
fn recorded(case: &str, started: &Tree) -> Spec {
    let mut spec = spec(case);
    for change in [plan_promote(&Snapshot(started), &spec), plan_discard(&Snapshot(started), &spec)] {
        let change = change.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!((change.unpromoted, change.missing), (vec![], vec![]), "{case}");
        spec.expected.extend(change.recorded);
    }
    spec
}

#[test]
fn promote_and_discard_change_what_they_mean_to_and_no_other_byte() {
    for (case, _) in CASES {
        let (before, started, promoted) = (tree(case, "before"), tree(case, "started"), tree(case, "promoted"));
        assert!(started != before && promoted != before, "{case}");
        let spec = recorded(case, &started);

        assert_same(&after(&started, &plan_discard(&Snapshot(&started), &spec).unwrap()), &before, case);

        let change = plan_promote(&Snapshot(&started), &spec).unwrap();
        let merged = after(&started, &change);
        let cleanup = plan_cleanup(&Snapshot(&merged), &spec).unwrap();
        assert_eq!(cleanup.missing, vec![], "{case}");
        assert_same(&after(&merged, &cleanup), &promoted, case);
        let touched = change.files.iter().all(|file| promoted.contains_key(&file.path));
        assert!(touched, "{case}: the first request removes nothing: {:?}", change.files);

        // One request does the same as two.
        assert_same(&after(&started, &plan_whole(&Snapshot(&started), &spec).unwrap()), &promoted, case);

        // What was done once is not done again.
        let again = plan_cleanup(&Snapshot(&promoted), &spec).unwrap();
        assert!(again.files.is_empty() && !again.missing.is_empty(), "{case}: {again:?}");
    }
}

/// Both contents of every file, as a repository's history has them.
fn with_history(now: &Tree, then: &Tree) -> Tree {
    let mut all = now.clone();
    for (path, content) in then {
        all.insert(format!("history/{path}"), content.clone());
    }
    all
}

fn unquoted(tree: &Tree) -> Tree {
    let bare = |content: &Vec<u8>| content.iter().copied().filter(|byte| *byte != b'"').collect();
    tree.iter().map(|(path, content)| (path.clone(), bare(content))).collect()
}

/// The kustomization's experiment with another candidate beside the first one.
fn two_candidates() -> (Tree, Spec) {
    let mut tree = tree("kustomize", "started");
    let text = |tree: &Tree, path: &str| String::from_utf8(tree[path].clone()).unwrap();
    let manifest = text(&tree, "apps/reviews/reviews-candidate.yaml");
    let other = manifest.replace("reviews-candidate", "reviews-other").replace("version: candidate", "version: other");
    tree.insert("apps/reviews/reviews-other.yaml".into(), other.replace("'on'", "'half'").into());
    let list = text(&tree, "apps/reviews/kustomization.yaml")
        .replace("- reviews-candidate.yaml\n", "- reviews-candidate.yaml\n- reviews-other.yaml\n")
        + "- name: reviews-other\n  newName: ghcr.io/acme/reviews\n  newTag: v1.4.0\n";
    tree.insert("apps/reviews/kustomization.yaml".into(), list.into());
    let version = "{name: candidate, workload: {name: reviews-candidate}, destination: {subset: candidate}}";
    let experiment = text(&tree, "apps/reviews/experiment.yaml")
        .replace("Canary", "A/B/N")
        .replace(version, &format!("{version}\n    - {}", version.replace("candidate", "other")))
        .replace("  criteria:\n", "  criteria:\n    rewards: [{metric: istio/mean-latency, preferredDirection: Low}]\n")
        .replace(
            "from: reviews-candidate.yaml,",
            "from: reviews-candidate.yaml, fromEach: {other: reviews-other.yaml},",
        );
    let mut spec = parse(&experiment);
    tree.insert("apps/reviews/experiment.yaml".into(), experiment.into());
    for candidate in [0, 1] {
        let promote = plan_promote(&Snapshot(&tree), &spec.promoting(candidate)).unwrap();
        assert_eq!(promote.unpromoted, Vec::<String>::new());
        spec.expected.extend(promote.recorded);
    }
    spec.expected.extend(plan_discard(&Snapshot(&tree), &spec).unwrap().recorded);
    (tree, spec)
}

#[test]
fn of_several_candidates_the_winner_is_promoted_and_all_are_removed() {
    let (started, spec) = two_candidates();
    let (before, promoted) = (tree("kustomize", "before"), tree("kustomize", "promoted"));
    assert_same(&after(&started, &plan_discard(&Snapshot(&started), &spec).unwrap()), &before, "discard");
    let other = edited(&promoted, "apps/reviews/kustomization.yaml", "v1.3.0", "v1.4.0");
    let other = edited(&other, "apps/reviews/reviews.yaml", "'on'", "'half'");
    for (candidate, promoted) in [(0, promoted), (1, other)] {
        let spec = spec.promoting(candidate);
        let merged = after(&started, &plan_promote(&Snapshot(&started), &spec).unwrap());
        let cleanup = plan_cleanup(&Snapshot(&merged), &spec).unwrap();
        assert_eq!(cleanup.missing, vec![]);
        assert_same(&after(&merged, &cleanup), &promoted, &format!("candidate {candidate}"));
        assert_same(&after(&started, &plan_whole(&Snapshot(&started), &spec).unwrap()), &promoted, "one request");
        let all = with_history(&merged, &started);
        let reverted = after(&merged, &plan_revert(&Snapshot(&all), &spec).unwrap());
        assert_same(&unquoted(&reverted), &unquoted(&started), "reverted");
    }
    // One that changed since is not promoted, and not removed.
    let changed = edited(&started, "apps/reviews/reviews-other.yaml", "'half'", "'twice'");
    assert_eq!(
        plan_promote(&Snapshot(&changed), &spec.promoting(1)).unwrap_err().cause().word(),
        "CandidateSuperseded"
    );
    assert_eq!(plan_discard(&Snapshot(&changed), &spec).unwrap_err().cause().word(), "FileChanged");
}

#[test]
fn a_promotion_is_taken_back_alone() {
    for (case, _) in CASES {
        let started = tree(case, "started");
        let spec = recorded(case, &started);
        let promote = plan_promote(&Snapshot(&started), &spec).unwrap();
        let merged = after(&started, &promote);
        let revert = plan_revert(&Snapshot(&with_history(&merged, &started)), &spec)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_same(&after(&merged, &revert), &started, case);

        // Also when the experiment is gone already; what had no quotes may have some now.
        let cleaned = after(&merged, &plan_cleanup(&Snapshot(&merged), &spec).unwrap());
        let revert = plan_revert(&Snapshot(&with_history(&cleaned, &started)), &spec)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_same(&unquoted(&after(&cleaned, &revert)), &unquoted(&tree(case, "before")), case);
        let done = plan_revert(&Snapshot(&with_history(&tree(case, "before"), &started)), &spec).unwrap();
        assert_eq!(done, Change::default(), "{case}");
    }
}

/// The text of one file of a tree, changed.
fn edited(tree: &Tree, path: &str, from: &str, to: &str) -> Tree {
    let mut tree = tree.clone();
    let text = String::from_utf8(tree[path].clone()).unwrap();
    assert!(text.contains(from), "{path} has no {from:?}");
    tree.insert(path.to_owned(), text.replacen(from, to, 1).into_bytes());
    tree
}

#[test]
fn neighbours_in_a_shared_file_may_change_meanwhile() {
    for (case, file, from, to) in [
        ("kustomize", "apps/reviews/kustomization.yaml", "namespace: shop", "namespace: mall # moved"),
        ("component", "apps/reviews/kustomization.yaml", "resources:", "commonAnnotations: {a: b}\r\nresources:"),
        ("helm", "envs/prod/values.yaml", "replicaCount: 3", "replicaCount: 4"),
        ("edits", "apps/reviews.yaml", "chart: reviews", "chart: reviews2"),
    ] {
        let started = tree(case, "started");
        let spec = recorded(case, &started);
        let moved = edited(&started, file, from, to);
        let merged = after(&moved, &plan_promote(&Snapshot(&moved), &spec).unwrap());
        let done = after(&merged, &plan_cleanup(&Snapshot(&merged), &spec).unwrap());
        assert_same(&done, &edited(&tree(case, "promoted"), file, from, to), case);
        let done = after(&moved, &plan_discard(&Snapshot(&moved), &spec).unwrap());
        assert_same(&done, &edited(&tree(case, "before"), file, from, to), case);
        let back = plan_revert(&Snapshot(&with_history(&merged, &started)), &spec)
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_same(&after(&merged, &back), &moved, case);
    }
}

#[test]
fn a_merged_promotion_is_known_in_a_file_that_others_changed_since() {
    for (case, file, (from, to), (place, other)) in [
        ("kustomize", "apps/reviews/kustomization.yaml", ("namespace: shop", "namespace: mall"), ("v1.3.0", "v9")),
        ("helm", "envs/prod/values.yaml", ("replicaCount: 3", "replicaCount: 4"), ("tag: \"v1.3.0\"", "tag: v9")),
    ] {
        let started = tree(case, "started");
        let spec = recorded(case, &started);
        let merged = after(&started, &plan_promote(&Snapshot(&started), &spec).unwrap());
        for (now, kept) in [
            (edited(&merged, file, from, to), true),
            (edited(&merged, file, place, other), false),
            (edited(&edited(&merged, file, place, other), file, from, to), false),
            (started.clone(), false),
        ] {
            let found = kept_places(&Snapshot(&with_history(&now, &started)), &spec)
                .unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(found.contains(file), kept, "{case}: {found:?}");
        }
    }
}

#[test]
fn what_changed_since_the_start_is_neither_promoted_nor_removed() {
    let table: [(&str, &str, &str, &str, Plan, &str); 11] = [
        ("kustomize", "apps/reviews/kustomization.yaml", "v1.2.0", "v1.2.1", plan_promote, "BaselineChanged"),
        ("kustomize", "apps/reviews/reviews.yaml", "replicas: 3", "replicas: 4", plan_promote, "BaselineChanged"),
        ("kustomize", "apps/reviews/reviews-candidate.yaml", "'on'", "'x'", plan_promote, "CandidateSuperseded"),
        ("kustomize", "apps/reviews/fortio.yaml", "1.60", "1.61", plan_cleanup, "FileChanged"),
        ("component", "apps/reviews/kustomization.yaml", "v1.2.0", "v1.2.1", plan_promote, "BaselineChanged"),
        ("component", "apps/reviews/experiment/kustomization.yaml", "1111", "2222", plan_cleanup, "FileChanged"),
        ("helm", "envs/prod/values.yaml", "tag: v1.3.0", "tag: v1.4.0", plan_promote, "CandidateSuperseded"),
        ("helm", "envs/prod/values.yaml", "tag: v1.3.0", "tag: v1.4.0", plan_cleanup, "FileChanged"),
        ("helm", "envs/prod/values.yaml", "\"1.20\"", "\"1.21\"", plan_promote, "BaselineChanged"),
        ("helm", "envs/prod/values.yaml", "name: reviews-x7k2p", "name: other", plan_cleanup, "FileChanged"),
        ("edits", "apps/versions.yaml", "reviews: v1.2.0", "reviews: v1.2.1", plan_promote, "BaselineChanged"),
    ];
    for (case, file, from, to, plan, reason) in table {
        let started = tree(case, "started");
        let spec = recorded(case, &started);
        let error = plan(&Snapshot(&edited(&started, file, from, to)), &spec).expect_err(case);
        assert_eq!(error.cause().word(), reason, "{case}: {error}");
        assert!(error.to_string().contains(file), "{case}: {error}");
    }
    // Somebody's file in the experiment's directory.
    let mut started = tree("component", "started");
    let spec = recorded("component", &started);
    started.insert("apps/reviews/experiment/notes.txt".into(), b"mine\n".to_vec());
    let error = plan_cleanup(&Snapshot(&started), &spec).unwrap_err();
    assert_eq!(error.cause().word(), "FileChanged");
    assert!(error.to_string().contains("notes.txt"), "{error}");
}

#[test]
fn a_revert_is_refused_where_the_promoted_place_changed_again() {
    for (case, file, from) in [
        ("kustomize", "apps/reviews/kustomization.yaml", "v1.3.0\""),
        ("kustomize", "apps/reviews/reviews.yaml", "'on'"),
        ("helm", "envs/prod/values.yaml", "tag: \"v1.3.0\""),
    ] {
        let started = tree(case, "started");
        let spec = recorded(case, &started);
        let merged = after(&started, &plan_promote(&Snapshot(&started), &spec).unwrap());
        let changed = edited(&merged, file, from, &from.replace("v1.3.0", "v9").replace("on", "x"));
        let error = plan_revert(&Snapshot(&with_history(&changed, &started)), &spec).unwrap_err();
        assert_eq!(error.cause().word(), "MergedDifferently", "{case}: {error}");
    }
}

#[test]
fn a_wrong_layout_or_place_is_named() {
    let experiment =
        |case: &str| String::from_utf8(tree(case, "started")["apps/reviews/experiment.yaml"].clone()).unwrap();
    let kustomize = experiment("kustomize");
    let started = tree("kustomize", "started");
    let promote = |tree: &Tree, experiment: &str| plan_promote(&Snapshot(tree), &parse(experiment)).unwrap_err();
    let told = |error: PlanError| (error.cause().word(), format!("{error}; {}", error.remedy().unwrap_or_default()));

    let (reason, text) = told(promote(&started, &kustomize.replace("layout: Kustomize", "layout: Flat")));
    assert_eq!(reason, "UnsupportedLayout");
    assert!(text.contains("apps/reviews/kustomization.yaml") && text.contains("layout: Kustomize"), "{text}");

    let mut flat = started.clone();
    flat.remove("apps/reviews/kustomization.yaml");
    let (reason, text) = told(promote(&flat, &kustomize));
    assert_eq!(reason, "LayoutMismatch");
    assert!(text.contains("apps/reviews") && text.contains("spec.gitops.path"), "{text}");

    let mut both = started.clone();
    both.insert("apps/reviews/Kustomization".into(), b"kind: Kustomization\n".to_vec());
    assert_eq!(promote(&both, &kustomize).cause().word(), "Ambiguous");

    let file = "apps/reviews/kustomization.yaml";
    // One entry for both versions, by name or because it stands behind.
    let shared = edited(
        &started,
        "apps/reviews/reviews-candidate.yaml",
        "image: reviews-candidate",
        "image: ghcr.io/acme/reviews",
    );
    let behind = "- name: reviews-candidate\n  newName: ghcr.io/acme/reviews\n  newTag: v1.3.0\n";
    let behind = edited(&edited(&started, file, behind, ""), file, "images:\n", &format!("images:\n{behind}"));
    for tree in [&shared, &behind] {
        let (reason, text) = told(promote(tree, &kustomize));
        assert_eq!(reason, "SharedImage");
        assert!(text.contains(file) && text.contains("ghcr.io/acme/reviews") && text.contains("newName"), "{text}");
    }
    let into = kustomize.replace("to: reviews.yaml}", "to: kustomization.yaml}");
    let (reason, text) = told(promote(&started, &into));
    assert_eq!(reason, "LayoutMismatch");
    assert!(text.contains("fields: Images"), "{text}");
    let images = into.replace("kustomization.yaml}", "kustomization.yaml, fields: Images}");
    let none = edited(
        &started,
        file,
        "- name: ghcr.io/acme/reviews\n  newTag: \"v1.2.0\"   # pinned by the release team\n",
        "",
    );
    let (reason, text) = told(promote(&none, &images));
    assert_eq!(reason, "PathNotFound");
    assert!(text.contains("ghcr.io/acme/reviews"), "{text}");
    let untagged = edited(&started, file, "  newTag: v1.3.0\n", "");
    assert_eq!(promote(&untagged, &kustomize).cause().word(), "ImageWithoutBuild");

    let change = plan_promote(
        &Snapshot(&started),
        &parse(&kustomize.replace("to: reviews.yaml}", "to: reviews.yaml, fields: Images}")),
    )
    .unwrap();
    assert_eq!(change.unpromoted, ["spec.template.spec.containers[name=app].env[name=STARS].value"]);
    let path = kustomize
        .replace("to: reviews.yaml}", "to: reviews.yaml, fields: [\"spec.template.spec.containers[name=app].env\"]}");
    let change = plan_promote(&Snapshot(&started), &parse(&path)).unwrap();
    assert_eq!(change.unpromoted, ["spec.template.spec.containers[name=app].image"]);

    let helm = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/gitops/layouts/helm/experiment.yaml"
    ))
    .unwrap();
    let started = tree("helm", "started");
    let values = "envs/prod/values.yaml";
    let (reason, text) = told(promote(&edited(&started, values, "candidate:", "other:"), &helm));
    assert_eq!(reason, "PathNotFound");
    assert!(text.contains(values) && text.contains("candidate"), "{text}");
    let narrow = parse(&helm.replace("to: values.yaml}", "to: values.yaml, fields: [colours]}"));
    assert_eq!(plan_promote(&Snapshot(&started), &narrow).unwrap().unpromoted, ["image.tag"]);
    let (reason, text) = told(baseline_template(&Snapshot(&started), &narrow).map(|_| Change::default()).unwrap_err());
    assert_eq!(reason, "UnverifiablePromotion");
    assert!(text.contains(values), "{text}");
    let hidden = edited(&started, values, "stars: &stars off", "stars: &stars on");
    assert_eq!(promote(&hidden, &helm).cause().word(), "AliasInvolved");
}

#[test]
fn what_the_cluster_is_to_run_is_known_in_every_layout() {
    let image = |case: &str, state: &str| -> (Value, Value) {
        let started = tree(case, "started");
        let spec = recorded(case, &started);
        let files = if state == "merged" {
            after(&started, &plan_promote(&Snapshot(&started), &spec).unwrap())
        } else {
            started
        };
        let run = |template: Result<Value, PlanError>| {
            let template = template.unwrap_or_else(|error| panic!("{case}: {error}"));
            template.get(RUNNING).cloned().unwrap_or_else(|| template["spec"]["containers"][0]["image"].clone())
        };
        (run(baseline_template(&Snapshot(&files), &spec)), run(candidate_template(&Snapshot(&files), &spec)))
    };
    let digest = json!(format!("ghcr.io/acme/reviews@sha256:{}", "1".repeat(64)));
    let table = [
        ("kustomize", json!("ghcr.io/acme/reviews:v1.2.0"), json!("ghcr.io/acme/reviews:v1.3.0")),
        ("component", json!("ghcr.io/acme/reviews:v1.2.0"), digest),
        (
            "overlay",
            json!(["registry.prod.example/acme/reviews:v1.2.0"]),
            json!(["registry.prod.example/acme/reviews:1.30"]),
        ),
        ("helm", json!(["ghcr.io/acme/reviews:1.20"]), json!(["ghcr.io/acme/reviews:v1.3.0"])),
    ];
    for (case, baseline, candidate) in table {
        assert_eq!(image(case, "started"), (baseline, candidate.clone()), "{case}");
        assert_eq!(image(case, "merged"), (candidate.clone(), candidate), "{case}");
    }
    // Labels that kustomize sets are its business; everything else of a plain kustomization is known.
    let started = tree("kustomize", "started");
    let template = baseline_template(&Snapshot(&started), &spec("kustomize")).unwrap();
    assert_eq!(template["metadata"]["labels"], json!({"app": "reviews", "version": "stable"}));
    assert_eq!(template["spec"]["containers"][0]["env"][0]["value"], "off");
}

#[test]
fn both_outcomes_are_shown_for_a_checkout() {
    let started = tree("kustomize", "started");
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in &started {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    let files = Folder::new(folder.path());
    let Rehearsal { promotions, discard } = rehearse(&files, &spec("kustomize")).unwrap();
    let [Promotion { promote, cleanup }] = promotions.try_into().unwrap();
    let cleanup = proposal(&Overlay::new(&files, &promote), &cleanup).unwrap();
    let (promote, discard) = (proposal(&files, &promote).unwrap(), proposal(&files, &discard).unwrap());
    let changed = |diff: &str| -> Vec<String> {
        let lines = diff
            .lines()
            .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("---") && !line.starts_with("+++"));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(
        changed(&promote.diff),
        [
            "-  newTag: \"v1.2.0\"   # pinned by the release team",
            "+  newTag: \"v1.3.0\"   # pinned by the release team",
            "-          value: 'off'   # until v1.3",
            "+          value: 'on'   # until v1.3",
        ]
    );
    for header in [
        "--- a/apps/reviews/kustomization.yaml\n+++ b/apps/reviews/kustomization.yaml\n@@ ",
        "+++ b/apps/reviews/reviews.yaml\n",
    ] {
        assert!(promote.diff.contains(header), "{}", promote.diff);
    }
    let gone = |diff: &str| diff.matches("+++ /dev/null\n").count();
    assert_eq!((gone(&promote.diff), gone(&cleanup.diff), gone(&discard.diff)), (0, 3, 3));
    assert!(changed(&discard.diff).contains(&"-- experiment.yaml".to_owned()), "{}", discard.diff);
    assert!(!discard.diff.contains("+  "), "{}", discard.diff);
    let flaw = rehearse(&files, &spec("helm")).unwrap_err();
    assert!(flaw.problem.contains("envs/prod/values.yaml"), "{flaw:?}");

    // Links lead nowhere, here as in a repository.
    #[cfg(unix)]
    {
        let file = folder.path().join("apps/reviews/fortio.yaml");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &file).unwrap();
        let flaw = rehearse(&Folder::new(folder.path()), &spec("kustomize")).unwrap_err();
        assert_eq!(flaw.cause.word(), "UnsupportedEntry");
    }
}

#[test]
fn a_record_is_small_and_names_places() {
    let started = tree("helm", "started");
    let spec = recorded("helm", &started);
    let mut keys: BTreeMap<&str, &BlobId> = spec.expected.iter().map(|(place, id)| (place.as_str(), id)).collect();
    for place in ["", "#candidate", "#candidate.image.tag", "#image.tag", "#experiment"] {
        assert!(keys.remove(format!("envs/prod/values.yaml{place}").as_str()).is_some(), "{place}: {keys:?}");
    }
    assert!(keys.len() < 8, "{keys:?}");
}

#[tokio::test]
async fn environments_as_branches_each_get_their_own_requests() {
    let folder = tempfile::tempdir().unwrap();
    let remote = git2::Repository::init_bare(folder.path()).unwrap();
    let started = tree("kustomize", "started");
    for branch in ["main", "env/staging", "env/prod"] {
        gitops::commit(&remote, branch, "Before", &tree("kustomize", "before"));
    }
    gitops::commit(&remote, "env/prod", "Start", &started);
    let spec = recorded("kustomize", &started);
    let forge = LocalForge::new(folder.path());
    let mut session = Session::open(&Remote::Local(folder.path().to_owned()), "env/prod", Limits::default()).unwrap();
    let stages: [(&str, Plan); 2] = [("iter8/promote", plan_promote), ("iter8/cleanup", plan_cleanup)];
    for (branch, plan) in stages {
        let change = plan(&session.files().unwrap(), &spec).unwrap();
        let author = gitops::author();
        let commit = session.commit(session.head(), &change, gitops::text("Message", &author)).unwrap();
        session.push(&commit, branch, &Lease::Absent).unwrap();
        let new =
            NewPull { head: branch.into(), base: "env/prod".into(), title: "T".into(), body: "B".into(), draft: false };
        let pull = Forge::Local(forge.clone()).open(&new).await.unwrap();
        forge.merge(pull.number, &author, gitops::TIME).unwrap();
        session.refresh().unwrap();
    }
    assert_same(&gitops::files(&remote, "env/prod"), &tree("kustomize", "promoted"), "env/prod");
    for other in ["main", "env/staging"] {
        assert_same(&gitops::files(&remote, other), &tree("kustomize", "before"), other);
    }
}
