//! The diffs of both outcomes: exactly what the requests would change, or why nobody can say.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{planned, reiter8};
use crate::support::layouts::{Tree, tree};

/// What all of these plans are made with.
const TRAFFIC: [&str; 6] = ["--rps", "100", "--bad", "0.1%", "--replications", "20"];

const FLAT_PROMOTED: &str = r#"--- a/apps/productpage/productpage.yaml
+++ b/apps/productpage/productpage.yaml
@@ -24,19 +24,20 @@
       containers:
       # the application itself
       - name: productpage
-        image: "example/productpage:v1.2.0"  # pinned by the release team
+        image: "example/productpage:v1.3.0"  # pinned by the release team
         args: [--port, "9080"]
         env:
         - name: RATINGS          # shown as stars
-          value: 'off'
-        - {name: LEGACY_HEADER, value: "1"}  # to go with v1.3
+          value: 'on'
+        - name: RATINGS_URL   # new in v1.3
+          value: http://ratings:9080
         ports:
         - containerPort: 9080
         readinessProbe:
-          httpGet: {path: /health, port: 9080}
+          httpGet: {path: /healthz, port: 9080}
         resources:
           limits:
-            cpu: 500m   # measured in May
+            cpu: 750m   # measured in May
             memory: 256Mi
       volumes:
       - name: tmp
"#;

const KUSTOMIZE_PROMOTED: &str = r#"--- a/apps/reviews/kustomization.yaml
+++ b/apps/reviews/kustomization.yaml
@@ -14,7 +14,7 @@
   includeTemplates: true
 images:
 - name: ghcr.io/acme/reviews
-  newTag: "v1.2.0"   # pinned by the release team
+  newTag: "v1.3.0"   # pinned by the release team
 - name: reviews-candidate
   newName: ghcr.io/acme/reviews
   newTag: v1.3.0
--- a/apps/reviews/reviews.yaml
+++ b/apps/reviews/reviews.yaml
@@ -17,7 +17,7 @@
         image: ghcr.io/acme/reviews  # which build: kustomization.yaml
         env:
         - name: STARS
-          value: 'off'   # until v1.3
+          value: 'on'   # until v1.3
         ports:
         - containerPort: 9080
 ---
"#;

/// `TAG` is the build that the baseline has by then.
const KUSTOMIZATION_CLEANED: &str = r#"--- a/apps/reviews/kustomization.yaml
+++ b/apps/reviews/kustomization.yaml
@@ -6,15 +6,9 @@
 # the application
 - reviews.yaml
 - "routing.yaml"   # the mesh
-- experiment.yaml
-- fortio.yaml
-- reviews-candidate.yaml
 labels:
 - pairs: {team: reviews}
   includeTemplates: true
 images:
 - name: ghcr.io/acme/reviews
   newTag: "TAG"   # pinned by the release team
-- name: reviews-candidate
-  newName: ghcr.io/acme/reviews
-  newTag: v1.3.0
"#;

/// A checkout with these files.
fn checkout(files: &Tree) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    for (path, content) in files {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    dir
}

/// The environment of plain manifests, with its experiment.
fn flat() -> Tree {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gitops/started");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &std::fs::DirEntry| format!("apps/productpage/{}", entry.file_name().to_str().unwrap());
    files.map(|entry| (name(&entry), std::fs::read(entry.path()).unwrap())).collect()
}

/// A tree with a text replaced in one file.
fn edited(mut tree: Tree, path: &str, from: &str, to: &str) -> Tree {
    let text = String::from_utf8(tree[path].clone()).unwrap();
    assert!(text.contains(from), "{path} has no {from}");
    tree.insert(path.to_owned(), text.replacen(from, to, 1).into_bytes());
    tree
}

/// The diff of files that are removed.
fn removed(tree: &Tree, paths: &[&str]) -> String {
    let of = |path: &&str| {
        let text = String::from_utf8(tree[*path].clone()).unwrap();
        let lines: String = text.lines().map(|line| format!("-{line}\n")).collect();
        format!("--- a/{path}\n+++ /dev/null\n@@ -1,{} +0,0 @@\n{lines}", text.lines().count())
    };
    paths.iter().map(of).collect()
}

/// The outcomes for programs; the forecast is good in all of these.
fn outcomes(dir: &Path, more: &[&str]) -> Value {
    let (code, plan) = planned(dir, &[&TRAFFIC[..4], more].concat());
    assert_eq!((code, plan[0]["good"].as_bool()), (Some(0), Some(true)), "{plan}");
    plan[0]["outcomes"].clone()
}

/// The outcomes for people.
fn told(dir: &Path) -> String {
    let output = reiter8("plan", dir, &TRAFFIC);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let (_, outcomes) = text.split_once("before the deadline\n").unwrap_or_else(|| panic!("{text}"));
    outcomes.to_owned()
}

fn request(diff: &str, files: &[(&str, &str)]) -> Value {
    let files: Vec<Value> = files.iter().map(|(change, path)| json!({"change": change, "path": path})).collect();
    json!({"files": files, "diff": diff, "truncated": false})
}

#[test]
fn the_outcomes_of_plain_manifests_are_shown_to_the_byte() {
    let tree = flat();
    let dir = checkout(&tree);
    let gone =
        ["experiment.yaml", "fortio.yaml", "productpage-candidate.yaml"].map(|f| format!("apps/productpage/{f}"));
    let gone = gone.each_ref().map(String::as_str);
    let removal = request(&removed(&tree, &gone), &gone.map(|path| ("remove", path)));
    let wanted = json!({
        "promote": request(FLAT_PROMOTED, &[("edit", "apps/productpage/productpage.yaml")]),
        "cleanup": removal,
        "discard": removal,
    });
    assert_eq!(outcomes(&dir.path().join("apps"), &[]), wanted);

    // The same checkout may be named, and the manifest be somewhere else.
    let elsewhere = tempfile::tempdir().unwrap();
    let manifest = elsewhere.path().join("experiment.yaml");
    std::fs::write(&manifest, &tree["apps/productpage/experiment.yaml"]).unwrap();
    let root = dir.path().to_str().unwrap();
    assert_eq!(outcomes(&manifest, &["--repository-dir", root]), wanted);
}

#[test]
fn the_outcomes_of_a_kustomization_are_told_under_their_headings() {
    let tree = tree("kustomize", "started");
    let dir = checkout(&tree);
    let cleaned = |tag: &str| {
        let file = |name: &str| removed(&tree, &[&format!("apps/reviews/{name}")]);
        let kustomization = KUSTOMIZATION_CLEANED.replace("TAG", tag);
        file("experiment.yaml") + &file("fortio.yaml") + &kustomization + &file("reviews-candidate.yaml")
    };
    let indented = |diff: &str| diff.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let wanted = format!(
        "\nIf promoted\n  the first request:\n{}  the second request, when the first one is live:\n{}\n\
         If discarded\n  the only request:\n{}",
        indented(KUSTOMIZE_PROMOTED),
        indented(&cleaned("v1.3.0")),
        indented(&cleaned("v1.2.0")),
    );
    assert_eq!(told(&dir.path().join("apps/reviews")), wanted);
    let shown = outcomes(dir.path(), &[]);
    assert_eq!(shown["promote"]["diff"], KUSTOMIZE_PROMOTED);
    assert_eq!(shown["discard"]["diff"], cleaned("v1.2.0"));
}

#[test]
fn one_request_that_does_both_is_shown_as_one() {
    let experiment = "apps/productpage/experiment.yaml";
    let tree = edited(flat(), experiment, "  gitops:\n", "  gitops:\n    handover: SinglePullRequest\n");
    let dir = checkout(&tree);
    let shown = outcomes(dir.path(), &[]);
    assert_eq!(shown.get("cleanup"), None, "{shown}");
    let gone = [experiment, "apps/productpage/fortio.yaml", "apps/productpage/productpage-candidate.yaml"];
    assert_eq!(shown["promote"]["diff"], removed(&tree, &gone) + FLAT_PROMOTED);
    let text = told(dir.path());
    assert!(text.starts_with("\nIf promoted\n  the only request:\n") && !text.contains("the second"), "{text}");
}

#[test]
fn what_cannot_be_shown_is_told_with_its_fix_and_fails_nothing() {
    let experiment = "apps/productpage/experiment.yaml";
    let text = String::from_utf8(flat()[experiment].clone()).unwrap();
    let gitops = text.find("  gitops:").unwrap();
    let none = edited(flat(), experiment, &text[gitops..], "");
    let nowhere = edited(flat(), experiment, "path: apps/productpage", "path: apps/other");
    let absent = edited(flat(), experiment, "to: productpage.yaml", "to: stable.yaml");
    let images =
        edited(flat(), experiment, "to: productpage.yaml}", "to: productpage.yaml, fields: [\"metadata.labels\"]}");
    let part = edited(flat(), experiment, "to: productpage.yaml}", "to: productpage.yaml, fields: Images}");
    let shared = edited(
        flat(),
        experiment,
        "apiVersion",
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\napiVersion",
    );
    let table = [
        (none, "NoWriteBack", "`spec.gitops`"),
        (nowhere, "NoCheckout", "--repository-dir DIR"),
        (absent, "FileMissing", "apps/productpage/stable.yaml; correct the name in `spec.gitops`"),
        (images, "NotPromotable", "; correct the file"),
        (part, "UnpromotedDifference", "write `Template`"),
        (shared, "SharedFile", "; give each manifest of the experiment a file of its own"),
    ];
    for (tree, reason, fix) in table {
        let dir = checkout(&tree);
        let not = outcomes(dir.path(), &[]);
        let message = not["message"].as_str().unwrap_or_else(|| panic!("{reason}: {not}"));
        assert!(not["reason"] == reason && message.contains(fix), "{reason}: {not}");
        assert_eq!(told(dir.path()), format!("\nNo diff of the outcomes: {message} ({reason})\n"));
    }
    // A manifest that is still to be committed.
    let mut without = flat();
    let manifest = tempfile::tempdir().unwrap();
    let file = manifest.path().join("experiment.yaml");
    std::fs::write(&file, without.remove(experiment).unwrap()).unwrap();
    let without = checkout(&without);
    let not = outcomes(&file, &["--repository-dir", without.path().to_str().unwrap()]);
    assert!(
        not["reason"] == "WaitingForSync" && not["message"].as_str().unwrap().contains("Experiment bookinfo/"),
        "{not}"
    );

    let dir = checkout(&flat());
    std::fs::remove_dir(dir.path().join(".git")).unwrap();
    assert_eq!(outcomes(dir.path(), &[])["reason"], "NoCheckout", "{} is in a work tree", dir.path().display());
    let error = reiter8("plan", dir.path(), &[&TRAFFIC[..], &["--repository-dir", "/nonexistent"]].concat());
    assert_eq!(error.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&error.stderr).contains("--repository-dir /nonexistent is not a directory"));
}

#[test]
fn a_long_diff_ends_at_a_line_and_says_so() {
    const MOST: usize = 128 << 10;
    let mut tree = flat();
    // Characters of several bytes, so that a wrong cut would be in the middle of one.
    let line = format!("# {}\n", "ä".repeat(500));
    tree.get_mut("apps/productpage/fortio.yaml").unwrap().extend(line.repeat(200).bytes());
    let dir = checkout(&tree);
    let shown = outcomes(dir.path(), &[]);
    let diff = shown["discard"]["diff"].as_str().unwrap();
    assert!(diff.len() <= MOST && diff.len() > MOST - line.len() - 1, "{}", diff.len());
    assert!(diff.ends_with(&format!("-{line}")) && shown["discard"]["truncated"] == true);
    assert_eq!(shown["discard"]["files"].as_array().unwrap().len(), 3, "all files are named");
    assert_eq!(shown["promote"]["truncated"], false);
    assert!(told(dir.path()).ends_with("    … cut at 128 KiB; it changes 3 files in all\n"));
}
