//! Edits of manifests change what they mean to and no other byte.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reiter8::gitops::edit::{EditError, Edited, File, Path, Selector, Value, copy_subtree, put, remove, set_scalar};
use reiter8::gitops::promote::{Fields, Promotion, Side, Workload, promote};

/// The lines that differ, as `-old` and `+new`.
fn diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let mut table = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            table[i][j] = if old[i] == new[j] { table[i + 1][j + 1] + 1 } else { table[i + 1][j].max(table[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || table[i + 1][j] >= table[i][j + 1]) {
            lines.push(format!("-{}", old[i].escape_debug()));
            i += 1;
        } else {
            lines.push(format!("+{}", new[j].escape_debug()));
            j += 1;
        }
    }
    lines
}

fn set(text: &str, path: &str, value: &Value) -> Result<Edited, EditError> {
    set_scalar(&File::parse(text.as_bytes())?, &Selector::new("D", "x", path)?, value)
}

/// A document that the selectors find, with `body` as further top-level lines.
fn document(body: &str) -> String {
    format!("kind: D\nmetadata: {{name: x}}\n{body}")
}

#[test]
fn setting_a_leaf_keeps_its_style_and_everything_else() {
    let plain = |text: &str| Value::Scalar { text: text.into(), string: false };
    let cases = [
        ("image: a:1 # pinned\n", "image", Value::string("a:2"), "image: a:2 # pinned\n"),
        ("image: \"a:1\"  # pinned\n", "image", Value::string("a:2"), "image: \"a:2\"  # pinned\n"),
        ("image: 'a:1'\n", "image", Value::string("it's"), "image: 'it''s'\n"),
        ("tag: v1\n", "tag", Value::string("1.20"), "tag: \"1.20\"\n"),
        ("tag: v1\n", "tag", Value::string("yes"), "tag: \"yes\"\n"),
        ("tag: v1\n", "tag", Value::string("a # b"), "tag: \"a # b\"\n"),
        ("tag: \"1\"\n", "tag", plain("2"), "tag: 2\n"),
        ("n: 1\n", "n", plain("3"), "n: 3\n"),
        ("a: {b: c, d: \"e\"} # f\n", "a.d", Value::string("g"), "a: {b: c, d: \"g\"} # f\n"),
        ("a: [b, 'c']\n", "a[1]", Value::string("d"), "a: [b, 'd']\n"),
        ("a:\nz: 1\n", "a", Value::string("b"), "a: b\nz: 1\n"),
        ("a: \"x\n  y\"\nz: 1\n", "a", Value::string("s"), "a: \"s\"\nz: 1\n"),
        ("a: b\r\nc: d # e\r\n", "c", Value::string("f"), "a: b\r\nc: f # e\r\n"),
        ("a: b", "a", Value::string("c"), "a: c"),
        ("m:\n  \"k.x/y\": é # ü\n", "m[\"k.x/y\"]", Value::string("ö"), "m:\n  \"k.x/y\": \"ö\" # ü\n"),
        (
            "l:\n- name: p\n  v: 1\n- name: q\n  v: 2 # two\n",
            "l[name=q].v",
            plain("3"),
            "l:\n- name: p\n  v: 1\n- name: q\n  v: 3 # two\n",
        ),
        (
            "a: b\n...\n---\n# other\nkind: D\nmetadata: {name: y}\na: b\n",
            "a",
            Value::string("c"),
            "a: c\n...\n---\n# other\nkind: D\nmetadata: {name: y}\na: b\n",
        ),
    ];
    for (before, path, value, after) in cases {
        let edited = set(&document(before), path, &value).unwrap_or_else(|error| panic!("{before:?}: {error}"));
        assert_eq!(edited.text, document(after));
        assert_eq!(edited.changes.len(), 1);
    }
    let marked = format!("\u{feff}{}", document("a: b\n"));
    assert_eq!(set(&marked, "a", &Value::string("c")).unwrap().text, format!("\u{feff}{}", document("a: c\n")));
    assert_eq!(set(&document("a: b\n"), "a", &Value::string("b")).unwrap().changes, []);
}

#[test]
fn what_cannot_be_edited_safely_is_refused_by_name() {
    let deep = format!("a: {}1{}\n", "[".repeat(80), "]".repeat(80));
    let wide = format!("a: [{}]\n", "1, ".repeat(100_001));
    let large = format!("# {}\n", "x".repeat(1 << 20));
    let cases = [
        ("a: {{ .Values.x }}\n", "a", "TemplateFile"),
        ("a: &x b\nc: *x\n", "a", "AliasInvolved"),
        ("a: &x b\nc: *x\n", "c", "AliasInvolved"),
        ("a: &x {b: c}\nd: *x\n", "a.b", "AliasInvolved"),
        ("a: 1\na: 2\n", "a", "DuplicateKey"),
        ("m: {a: 1, a: 2}\n", "a", "DuplicateKey"),
        ("m:\n\ta: 1\n", "m.a", "TabIndentation"),
        ("a: !!str 1\n", "a", "UnsupportedYaml"),
        ("? a\n: b\n", "a", "UnsupportedYaml"),
        ("a: |\n  b\n", "a", "UnsupportedYaml"),
        ("a: {b: c}\n", "a", "UnsupportedYaml"),
        ("a: b\n", "c", "PathNotFound"),
        ("a: b\n", "a..b", "InvalidPath"),
        ("l: [{name: a, v: 1}, {name: a, v: 2}]\n", "l[name=a].v", "Ambiguous"),
        ("a: b\n---\nkind: D\nmetadata: {name: x}\n", "a", "Ambiguous"),
        ("a: [b\n", "a", "InvalidYaml"),
        ("a: b\nsops: {mac: x}\n", "a", "Encrypted"),
        (&deep, "a", "FileTooDeep"),
        (&wide, "a", "FileTooComplex"),
        (&large, "a", "FileTooLarge"),
    ];
    for (body, path, reason) in cases {
        let refused = set(&document(body), path, &Value::string("z")).expect_err(&body[..body.len().min(40)]);
        assert_eq!(refused.cause().word(), reason, "{}: {refused}", &body[..body.len().min(40)]);
    }
    assert_eq!(File::parse(b"a: \xff").unwrap_err().cause().word(), "NotText");
    assert_eq!(File::parse(b"version https://git-lfs.github.com/spec/v1\n").unwrap_err().cause().word(), "LfsPointer");
    assert_eq!(
        set("kind: D\nmetadata: {name: y}\n", "a", &Value::string("z")).unwrap_err().cause().word(),
        "DocumentMissing"
    );
    let nested = "- ".repeat(5000) + "a\n";
    assert_eq!(File::parse(nested.as_bytes()).unwrap_err().cause().word(), "FileTooDeep");
}

fn without(body: &str, path: &str) -> Result<Edited, EditError> {
    let text = document(body);
    remove(&File::parse(text.as_bytes())?, &Selector::new("D", "x", path)?)
}

#[test]
fn removing_takes_its_own_lines_only() {
    let cases = [
        ("r:\n- a\n# about b\n- b # two\n- c\nz: 1\n", "r[1]", vec!["-- b # two\\n"]),
        (
            "r:\n  - name: p\n    v: |\n      x\n\n  - name: q\n",
            "r[name=p]",
            vec!["-  - name: p\\n", "-    v: |\\n", "-      x\\n"],
        ),
        ("r:\r\n- a\r\n- b\r\n", "r[0]", vec!["-- a\\r\\n"]),
        ("r:\n- a # last\nz: 1\n", "r[0]", vec!["-r:\\n", "-- a # last\\n", "+r: []\\n"]),
        // Without a line's end behind the last line there is none afterwards.
        ("r:\n- a\n- b", "r[1]", vec!["-- a\\n", "-- b", "+- a"]),
        // Entries of mappings.
        ("a: 1 # one\n# note\nb: {c: d}\nz: 1\n", "b", vec!["-b: {c: d}\\n"]),
        ("s:\n  a:\n    b: |\n      x\n  c: 1\n", "s.a", vec!["-  a:\\n", "-    b: |\\n", "-      x\\n"]),
        ("s:\n- a: 1 # one\n  b: 2\n", "s[0].a", vec!["-- a: 1 # one\\n", "-  b: 2\\n", "+- b: 2\\n"]),
        ("s: # kept\n  a: 1 # last\nz: 1\n", "s.a", vec!["-s: # kept\\n", "-  a: 1 # last\\n", "+s: {} # kept\\n"]),
        // In flow style one comma goes along.
        ("r: [a, 'b', c] # l\n", "r[1]", vec!["-r: [a, \\'b\\', c] # l\\n", "+r: [a, c] # l\\n"]),
        ("r: [ a, b ] # l\n", "r[1]", vec!["-r: [ a, b ] # l\\n", "+r: [ a ] # l\\n"]),
        ("r: [ a ] # l\n", "r[0]", vec!["-r: [ a ] # l\\n", "+r: [] # l\\n"]),
        ("r: {a: 1, \"b\": [2, 3]}\n", "r.b", vec!["-r: {a: 1, \\\"b\\\": [2, 3]}\\n", "+r: {a: 1}\\n"]),
        ("r: {a: {c: d}}\n", "r.a", vec!["-r: {a: {c: d}}\\n", "+r: {}\\n"]),
    ];
    for (body, path, wanted) in cases {
        let edited = without(body, path).unwrap_or_else(|error| panic!("{body:?}: {error}"));
        assert_eq!(diff(&document(body), &edited.text), wanted, "{body:?}");
        assert_eq!((edited.changes.len(), &edited.changes[0].after), (1, &None));
    }
    for (body, path, reason) in [
        ("r:\n- - a\n  - b\n", "r[0][0]", "UnsupportedYaml"),
        ("r:\n- a\n", "r[3]", "PathNotFound"),
        ("r: a\n", "r.b", "PathNotFound"),
        ("r:\n- &a b\n- *a\n", "r[0]", "AliasInvolved"),
        ("r: &a {b: c}\nz: *a\n", "r.b", "AliasInvolved"),
        ("r: [a, # one\n  b]\n", "r[0]", "UnsupportedYaml"),
        ("r:\n- a: 1\n", "r[0].a", "UnsupportedYaml"),
    ] {
        assert_eq!(without(body, path).unwrap_err().cause().word(), reason, "{body:?}");
    }
}

#[test]
fn what_is_missing_is_put_with_what_leads_to_it() {
    let set = |body: &str, path: &str, value: serde_json::Value| {
        let text = document(body);
        put(&File::parse(text.as_bytes())?, &Selector::new("D", "x", path)?, &Value::from_json(&value))
            .map(|edited| edited.text.strip_prefix(&document("")).unwrap().to_owned())
    };
    let cases = [
        ("a: 1\n", "b.c.d", serde_json::json!("x"), "a: 1\nb: {c: {d: x}}\n"),
        (
            "s:\n  a: 1 # one\n# next\nz: 1\n",
            "s.b",
            serde_json::json!("1.20"),
            "s:\n  a: 1 # one\n  b: \"1.20\"\n# next\nz: 1\n",
        ),
        ("s: {a: 0x1F}\n", "s.b", serde_json::json!(true), "s: {a: 0x1F, b: true}\n"),
        ("s:\nz: 1\n", "s.b", serde_json::json!(2), "s: {b: 2}\nz: 1\n"),
        (
            "l:\n- name: p # first\n- name: q\n",
            "l[name=p].v",
            serde_json::json!("x"),
            "l:\n- name: p # first\n  v: x\n- name: q\n",
        ),
        (
            "r:\n  # all\n  - a # one\n",
            "r",
            serde_json::json!(["a", "b.yaml"]),
            "r:\n  # all\n  - a # one\n  - b.yaml\n",
        ),
        ("r: [a] # l\n", "r", serde_json::json!(["a", "b"]), "r: [a, b] # l\n"),
        ("r: 'a' # l\n", "r", serde_json::json!("b"), "r: 'b' # l\n"),
    ];
    for (body, path, value, wanted) in cases {
        assert_eq!(set(body, path, value).unwrap_or_else(|error| panic!("{body:?}: {error}")), wanted);
    }
    for (body, path) in [("a: 1\n", "a.b"), ("l: []\n", "l[0].a"), ("l: [{name: a}]\n", "l[name=b].v")] {
        assert_eq!(set(body, path, serde_json::json!("x")).unwrap_err().cause().word(), "PathNotFound", "{body:?}");
    }
}

fn copy(from: &str, to: &str, path: &str) -> Result<String, EditError> {
    let at = Selector::new("D", "x", path)?;
    let (from, to) = (document(from), document(to));
    let edited = copy_subtree(&File::parse(from.as_bytes())?, &at, &File::parse(to.as_bytes())?, &at)?;
    Ok(edited.text.strip_prefix(&document("")).unwrap().to_owned())
}

#[test]
fn copying_a_subtree_changes_only_what_differs() {
    let cases = [
        // Leaves are set in place, new entries follow their neighbours, gone ones leave.
        (
            "s:\n    a: 1\n    b: x # new\n    c: 3\n",
            "s:\n  a: 2 # keep\n  c: 3\n  # note\n  d: 4\n",
            "s",
            "s:\n  a: 1 # keep\n  b: x # new\n  c: 3\n  # note\n",
        ),
        // Items are told apart by name.
        (
            "s:\n- name: p\n  v: 2\n- name: n\n  v: |\n    x\n     y\n- name: q\n  v: 1\n",
            "s:\n  # first\n  - name: p # p\n    v: 1\n  # gone\n  - name: o\n  - name: q\n    v: 1 # q\n",
            "s",
            "s:\n  # first\n  - name: p # p\n    v: 2\n  - name: n\n    v: |\n      x\n       y\n  # gone\n  - name: q\n    v: 1 # q\n",
        ),
        // Another order is another list.
        ("s:\n- name: q\n- name: p\n", "s:\n- name: p # c\n- name: q\n", "s", "s:\n- name: q\n- name: p\n"),
        // A flow target stays flow.
        ("s:\n  a: 1\n  b: [x, 'y z']\n", "s: {a: 1} # c\n", "s", "s: {a: 1, b: [x, \"y z\"]} # c\n"),
        ("s:\n  a: 1\n  b: 2\n", "s: {} # c\nz: 1\n", "s", "s:\n  a: 1\n  b: 2\nz: 1\n"),
        ("s: {a: 2, b: 1}\n", "s: {a: 1, b: 1} # c\n", "s", "s: {a: 2, b: 1} # c\n"),
        // A flow source fits into a block target.
        ("s: {a: 1, b: {c: d}}\n", "s:\n  a: 1\n", "s", "s:\n  a: 1\n  b: {c: d}\n"),
        // Other shapes are replaced with their lines.
        ("s:\n  a:\n  - 1\n  - 2\n", "s:\n    a: x\n    z: y\n", "s.a", "s:\n    a:\n    - 1\n    - 2\n    z: y\n"),
        ("s: |\n  new\n  text\nz: 1\n", "s: |\n    old\n# c\nz: 1\n", "s", "s: |\n  new\n  text\n# c\nz: 1\n"),
        // A whole entry comes or goes.
        ("s:\n  a: 1\n  b:\n    c: d\n", "s:\n  a: 1\nz: 2\n", "s.b", "s:\n  a: 1\n  b:\n    c: d\nz: 2\n"),
        ("s:\n  a: 1\n", "s:\n  a: 1\n  b: 2\nz: 3\n", "s.b", "s:\n  a: 1\nz: 3\n"),
        // A missing last line ending stays missing.
        ("s:\n  a: 1\n  b: 2\n", "s:\n  a: 1", "s", "s:\n  a: 1\n  b: 2"),
        // The first entry behind a dash can go.
        ("s:\n- b: 2\n  c: 3\n", "s:\n- a: 1\n  b: 2\n  c: 3\n", "s[0]", "s:\n- b: 2\n  c: 3\n"),
        // Arguments come and go one by one.
        ("s:\n- --a\n- --new=1\n- --b\n", "s:\n- --a # a\n- --b # b\n", "s", "s:\n- --a # a\n- --new=1\n- --b # b\n"),
        ("s: \"100m\"\n", "s: 100m # same\n", "s", "s: 100m # same\n"),
    ];
    for (from, to, path, wanted) in cases {
        match copy(from, to, path) {
            Ok(text) => assert_eq!(text, wanted, "copying {from:?} over {to:?}"),
            Err(error) => panic!("copying {from:?} over {to:?}: {error}"),
        }
    }
    for (from, to, reason) in [
        ("s: &a {b: c}\nt: *a\n", "s: {b: d}\n", "AliasInvolved"),
        ("s: {b: c}\n", "s:\n  b: &x d\nt: *x\n", "AliasInvolved"),
        ("t: 1\n", "t: 1\n", "PathNotFound"),
    ] {
        assert_eq!(copy(from, to, "s").unwrap_err().cause().word(), reason);
    }
}

#[test]
fn copied_lines_take_the_line_endings_of_their_file() {
    let (from, to) = (document("s:\n  b: |\n    x\n    y\n"), document("s:\n  a: 1\n  b: z\n").replace('\n', "\r\n"));
    let at = Selector::new("D", "x", "s").unwrap();
    let edited =
        copy_subtree(&File::parse(from.as_bytes()).unwrap(), &at, &File::parse(to.as_bytes()).unwrap(), &at).unwrap();
    assert_eq!(edited.text, document("s:\n  b: |\n    x\n    y\n").replace('\n', "\r\n"));
}

const BASELINE: &str = r#"# The shop's front page.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: productpage
  labels: {app: productpage}
spec:
  replicas: 3  # sized for the evening
  selector:
    matchLabels:
      app: productpage
      track: stable
  template:
    metadata:
      labels:
        app: productpage
        track: stable   # the subset's label
        version: v1
        team: shop
    spec:
      containers:
      # the application
      - name: productpage
        image: "example/productpage:v1.2.0"  # pinned by the release team
        env:
        - name: RATING   # shown as stars
          value: "off"
        - {name: OLD, value: "1"}
        resources:
          limits: {cpu: 100m, memory: 64Mi}
      - name: sidecar
        image: example/proxy:1
---
apiVersion: v1
kind: Service
metadata: {name: productpage}
spec: {selector: {app: productpage}}
"#;

const CANDIDATE: &str = r"apiVersion: apps/v1
kind: Deployment
metadata:
    name: productpage-candidate
spec:
    replicas: 1
    progressDeadlineSeconds: 120
    selector:
        matchLabels: {app: productpage, track: candidate, run: x7}
    template:
        metadata:
            labels: {app: productpage, track: candidate, run: x7, version: v2, team: stars}
        spec:
            containers:
            - name: productpage
              image: example/productpage:v1.3.0
              env:
              - name: RATING
                value: 'on'
              - name: STARS   # how many
                value: '5'
              resources:
                  limits: {cpu: 200m, memory: 64Mi}
            - name: sidecar
              image: example/proxy:1
            terminationGracePeriodSeconds: 10
";

fn promotion(candidate: &str, baseline: &str, fields: &Fields) -> Result<Promotion, EditError> {
    let workload = |name: &str| Workload { kind: "Deployment".into(), name: name.into() };
    let (from, to) = (workload("productpage-candidate"), workload("productpage"));
    promote(
        Side { bytes: candidate.as_bytes(), workload: &from },
        Side { bytes: baseline.as_bytes(), workload: &to },
        fields,
        &BTreeSet::new(),
    )
}

#[test]
fn promotion_brings_the_template_and_leaves_identity() {
    let promoted = promotion(CANDIDATE, BASELINE, &Fields::Template).unwrap();
    assert_eq!(
        diff(BASELINE, &promoted.text),
        [
            "-        team: shop\\n",
            "+        team: stars\\n",
            "-        image: \\\"example/productpage:v1.2.0\\\"  # pinned by the release team\\n",
            "+        image: \\\"example/productpage:v1.3.0\\\"  # pinned by the release team\\n",
            "-          value: \\\"off\\\"\\n",
            "-        - {name: OLD, value: \\\"1\\\"}\\n",
            "+          value: \\\"on\\\"\\n",
            "+        - name: STARS   # how many\\n",
            "+          value: \\'5\\'\\n",
            "-          limits: {cpu: 100m, memory: 64Mi}\\n",
            "+          limits: {cpu: 200m, memory: 64Mi}\\n",
            "+      terminationGracePeriodSeconds: 10\\n",
        ]
    );
    let paths: Vec<_> = promoted.changes.iter().map(|change| change.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.template.metadata.labels.team",
            "spec.template.spec.containers[name=productpage].image",
            "spec.template.spec.containers[name=productpage].env[name=OLD]",
            "spec.template.spec.containers[name=productpage].env[name=RATING].value",
            "spec.template.spec.containers[name=productpage].env[name=STARS]",
            "spec.template.spec.containers[name=productpage].resources.limits.cpu",
            "spec.template.spec.terminationGracePeriodSeconds",
        ]
    );
    assert_eq!(promoted.unpromoted, Vec::<String>::new());
    let again = promotion(CANDIDATE, &promoted.text, &Fields::Template).unwrap();
    assert_eq!((again.text, again.changes), (promoted.text, vec![]));
}

#[test]
fn a_narrow_promotion_names_what_it_leaves_behind() {
    let promoted = promotion(CANDIDATE, BASELINE, &Fields::Images).unwrap();
    assert_eq!(promoted.changes.len(), 1);
    assert_eq!(promoted.changes[0].before, Some("example/productpage:v1.2.0".into()));
    assert!(
        promoted
            .unpromoted
            .contains(&"spec.template.spec.containers[name=productpage].env[name=RATING].value".to_owned())
    );
    assert!(!promoted.unpromoted.iter().any(|path| path.ends_with("image") || path.ends_with("track")));

    let path = |text: &str| text.parse::<Path>().unwrap();
    let paths = Fields::Paths(vec![
        path("spec.template.spec.containers[name=productpage].env"),
        path("spec.template.spec.terminationGracePeriodSeconds"),
    ]);
    let promoted = promotion(CANDIDATE, BASELINE, &paths).unwrap();
    assert_eq!(promoted.changes.len(), 4);
    assert!(promoted.text.contains("v1.2.0") && promoted.text.contains("STARS"));
    for refused in [
        "spec.replicas",
        "metadata.name",
        "spec.selector",
        "spec",
        "spec.template.metadata.labels.track",
        "spec.template.metadata.labels.version",
    ] {
        let error = promotion(CANDIDATE, BASELINE, &Fields::Paths(vec![path(refused)])).unwrap_err();
        assert_eq!(error.cause().word(), "NotPromotable", "{refused}");
    }
}

#[test]
fn a_promotion_never_cuts_the_baseline_off_from_its_selector() {
    let flow = BASELINE.replace("      labels:\n        app: productpage\n        track: stable   # the subset's label\n        version: v1\n        team: shop\n", "      labels: {app: productpage, track: stable, version: v1}\n");
    let promoted = promotion(CANDIDATE, &flow, &Fields::Template).unwrap();
    assert!(
        promoted.text.contains("      labels: {app: productpage, team: stars, track: stable, version: v1}\n"),
        "{}",
        promoted.text
    );
    let bare = CANDIDATE.replace("        metadata:\n            labels: {app: productpage, track: candidate, run: x7, version: v2, team: stars}\n", "");
    assert_eq!(promotion(&bare, BASELINE, &Fields::Template).unwrap_err().cause().word(), "SelectorWouldChange");
}

/// An image, arguments, and an environment.
type Container = (String, Vec<String>, Vec<(String, String)>);

/// A pod template to be written in many ways.
#[derive(Debug, Clone)]
struct Pod {
    labels: BTreeMap<String, String>,
    containers: BTreeMap<String, Container>,
}

fn pod() -> impl Strategy<Value = Pod> {
    let text = || {
        prop::sample::select(vec![
            "v1",
            "1.20",
            "yes",
            "a: b",
            "x # y",
            "it's",
            "é",
            "",
            "two\nlines",
            "- a",
            "{x}",
            "100m",
            "null",
            "a,b",
            "tab\there",
            "&a",
            "*b",
            "0755",
            " s ",
        ])
        .prop_map(str::to_owned)
    };
    let env =
        prop::collection::vec((prop::sample::select(vec!["A", "B", "C", "D"]).prop_map(str::to_owned), text()), 0..5)
            .prop_map(|all| {
                let mut seen = BTreeSet::new();
                all.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect::<Vec<_>>()
            });
    let container = (text(), prop::collection::vec(text(), 0..4), env);
    let names = || prop::sample::select(vec!["app", "proxy", "log"]).prop_map(str::to_owned);
    let labels = prop::collection::btree_map(
        prop::sample::select(vec!["team", "tier", "a.b/c"]).prop_map(str::to_owned),
        text(),
        0..3,
    );
    (labels, prop::collection::btree_map(names(), container, 1..4))
        .prop_map(|(labels, containers)| Pod { labels, containers })
}

/// Writes a pod with the styles that `choices` select; every line gets a comment of its own where one may stand.
#[allow(clippy::format_push_string)]
fn write(pod: &Pod, name: &str, mut choices: u64) -> String {
    let mut choose = || {
        choices = choices.rotate_right(1) ^ 0x9e37;
        choices & 1 == 1
    };
    let quote = |text: &str, fancy: bool, indent: usize| match text {
        _ if fancy && text.contains('\n') => format!(
            "|-\n{}",
            text.lines().map(|line| format!("{}{line}", " ".repeat(indent + 4))).collect::<Vec<_>>().join("\n")
        ),
        _ if fancy && !text.contains(['\n', '\t']) => format!("'{}'", text.replace('\'', "''")),
        "v1" | "100m" => text.to_owned(),
        _ => serde_json::Value::from(text).to_string(),
    };
    let step = if choose() { 2 } else { 4 };
    let pad = |depth: usize| " ".repeat(depth * step);
    let comment = |text: &str| if text.contains("|-") { "" } else { " # note" };
    let mut out = format!(
        "# {name}\nkind: Deployment\nmetadata: {{name: {name}}} # identity\nspec:\n{0}replicas: 3 # kept\n{0}selector: {{matchLabels: {{app: x}}}}\n{0}template:\n{1}metadata:\n",
        pad(1),
        pad(2)
    );
    out += &format!("{}labels:\n{}app: x # {name}\n{}version: {name}\n", pad(3), pad(4), pad(4));
    for (key, value) in &pod.labels {
        let value = quote(value, choose(), 4 * step);
        out += &format!("{}{key}: {value}{}\n", pad(4), comment(&value));
    }
    out += &format!("{}spec:\n{}containers:\n", pad(2), pad(3));
    for (key, (image, args, env)) in &pod.containers {
        let image = quote(image, choose(), 4 * step);
        out += &format!(
            "{}# about {key}\n{}- name: {key}\n{}  image: {image}{}\n",
            pad(3),
            pad(3),
            pad(3),
            comment(&image)
        );
        let flow = choose();
        if flow || args.is_empty() {
            let args =
                args.iter().map(|arg| serde_json::Value::from(arg.as_str()).to_string()).collect::<Vec<_>>().join(", ");
            out += &format!("{}  args: [{args}] # arguments\n", pad(3));
        } else {
            out += &format!("{}  args:\n", pad(3));
            for arg in args {
                let arg = quote(arg, choose(), 4 * step);
                out += &format!("{}  - {arg}{}\n", pad(3), comment(&arg));
            }
        }
        if !env.is_empty() {
            out += &format!("{}  env:\n", pad(3));
        }
        for (key, value) in env {
            if choose() {
                out += &format!(
                    "{}  - {{name: {key}, value: {}}} # {key}\n",
                    pad(3),
                    serde_json::Value::from(value.as_str())
                );
            } else {
                let value = quote(value, choose(), 4 * step);
                out += &format!("{}  - name: {key}\n{}    value: {value}{}\n", pad(3), pad(3), comment(&value));
            }
        }
    }
    out + &format!("{}dnsPolicy: Default # {name}\nstatus: {{}} # {name}\n", pad(3))
}

fn meaning(text: &str) -> serde_json::Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any candidate over any baseline: the template is the candidate's, everything else is the baseline's to the byte.
    #[test]
    fn a_promoted_template_means_the_candidates(baseline in pod(), candidate in pod(), styles in any::<(u64, u64)>()) {
        let (old, new) = (write(&baseline, "productpage", styles.0), write(&candidate, "productpage-candidate", styles.1));
        let promoted = promotion(&new, &old, &Fields::Template).unwrap_or_else(|error| panic!("{error}\n{old}\n{new}"));
        let mut wanted = meaning(&old);
        let mut template = meaning(&new)["spec"]["template"].take();
        template["metadata"]["labels"]["version"] = "productpage".into();
        wanted["spec"]["template"] = template;
        prop_assert_eq!(meaning(&promoted.text), wanted, "{}", promoted.text);
        let lines = |text: &str| -> (Vec<String>, Vec<String>) {
            let all: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
            let start = all.iter().position(|line| line.trim_start().starts_with("version:")).unwrap();
            (all[..=start].to_vec(), all[all.len() - 2..].to_vec())
        };
        prop_assert_eq!(lines(&promoted.text), lines(&old));
        prop_assert_eq!(promotion(&new, &promoted.text, &Fields::Template).unwrap().changes, vec![]);
    }

    /// One changed image: every other line is byte-identical.
    #[test]
    fn a_changed_leaf_changes_its_line_only(baseline in pod(), image in "[a-z]{1,8}:[0-9]{1,3}", styles in any::<(u64, u64)>()) {
        let mut candidate = baseline.clone();
        let (name, container) = candidate.containers.iter_mut().next().unwrap();
        container.0.clone_from(&image);
        let path = format!("spec.template.spec.containers[name={name}].image");
        let (old, new) = (write(&baseline, "productpage", styles.0), write(&candidate, "productpage-candidate", styles.1));
        let promoted = promotion(&new, &old, &Fields::Template).unwrap();
        prop_assert_eq!(promoted.changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>(), vec![path.as_str()]);
        let changed = diff(&old, &promoted.text);
        let added: Vec<_> = changed.iter().filter(|line| line.starts_with('+')).collect();
        prop_assert_eq!(added.len(), 1, "{:?}", changed);
        prop_assert!(added[0].contains(&image));
    }

    /// Bytes from anywhere are read or refused, never a panic.
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n\t\u{e9}]{0,200}") {
        let _ = File::parse(text.as_bytes()).map(|file| file.documents().len());
    }
}
