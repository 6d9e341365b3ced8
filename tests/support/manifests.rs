//! The samples with one thing wrong: what `reiter8 check` has to say of each, and whether the API server takes it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

/// A copy of the samples with one text replaced in one file.
pub fn changed(file: &str, from: &str, to: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["bookinfo", "platform"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(samples().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            // The templates of `start` are no manifests.
            if path.is_dir() {
                continue;
            }
            std::fs::copy(&path, dir.path().join(folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = dir.path().join(file);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(before.contains(from), "{from} is not in {file}");
    std::fs::write(path, if from.is_empty() { to.to_owned() } else { before.replacen(from, to, 1) }).unwrap();
    dir
}

pub const EXPERIMENT: &str = "bookinfo/experiment.yaml";
pub const ROUTING: &str = "bookinfo/routing.yaml";
pub const METRIC: &str = "bookinfo/metric.yaml";
pub const ERROR_RATE: &str = "{metric: istio/error-rate, upperLimit: 1%}";

/// The samples' objectives, and everything behind them.
const OBJECTIVES: &str = "    - {metric: istio/error-rate, upperLimit: 1%}\n  analysis: {interval: 10s, warmUp: 30s, soak: 60s, deadline: 1h}\n  gitops:\n    repository: platform/environment\n    path: apps/productpage\n    promote: {from: productpage-candidate.yaml, to: productpage.yaml, fields: Template}\n";

/// Bad files: file, text, its replacement; then line, severity, field, and what is said of the value and the remedy.
pub type Row = (&'static str, &'static str, &'static str, usize, &'static str, &'static str, &'static [&'static str]);

/// What the API server refuses.
pub const SHAPES: &[Row] = &[
    (
        EXPERIMENT,
        "testingPattern: Canary",
        "testingPattern: canary",
        12,
        "error",
        "spec.strategy.testingPattern",
        &["`canary`", "`Canary`"],
    ),
    (
        EXPERIMENT,
        "maxCandidateWeight: 50",
        "maxCandidateWeight: 101",
        13,
        "error",
        "spec.strategy.weights.maxCandidateWeight",
        &["`101`", "at most 100"],
    ),
    (
        EXPERIMENT,
        "maxCandidateWeight: 50",
        "maxCandidateWeight: half",
        13,
        "error",
        "spec.strategy.weights.maxCandidateWeight",
        &["`half`", "a whole number"],
    ),
    (
        EXPERIMENT,
        "maxCandidateWeight: 50",
        "maxWeight: 50",
        13,
        "error",
        "spec.strategy.weights.maxWeight",
        &["no field `maxWeight`", "maxCandidateWeight"],
    ),
    (
        EXPERIMENT,
        "upperLimit: 1%",
        "upperlimit: 1%",
        28,
        "error",
        "spec.criteria.objectives[0].upperlimit",
        &["write `upperLimit`"],
    ),
    (EXPERIMENT, ", upperLimit: 1%", "", 28, "error", "spec.criteria.objectives[0]", &["`upperLimit`", "`relative`"]),
    (
        EXPERIMENT,
        "upperLimit: 1%",
        "upperLimit: 1 percent",
        28,
        "error",
        "spec.criteria.objectives[0].upperLimit",
        &["`1 percent`", "`1%`"],
    ),
    (
        EXPERIMENT,
        "interval: 10s",
        "interval: soon",
        29,
        "error",
        "spec.analysis.interval",
        &["`soon`", "not a duration", "`10s`"],
    ),
    (EXPERIMENT, "  target: bookinfo/productpage\n", "", 9, "error", "spec.target", &["missing", "write `target`"]),
    (
        EXPERIMENT,
        "  traffic:\n",
        "  traffic:\n    mirror: {percentage: 5}\n",
        23,
        "error",
        "spec.traffic",
        &["remove `spec.traffic.mirror`"],
    ),
    (
        EXPERIMENT,
        "    testingPattern",
        "    actions: {start: []}\n    testingPattern",
        11,
        "error",
        "spec.strategy",
        &["remove `spec.strategy.actions`"],
    ),
    (
        EXPERIMENT,
        "repository: platform/environment",
        "repository: https://git.example.com/platform/environment.git",
        31,
        "error",
        "spec.gitops.repository",
        &["`https://git.example.com/", "not the name of a Repository", "`namespace/name`"],
    ),
    (EXPERIMENT, "interval: 10s", "interval: 10", 29, "error", "spec.analysis.interval", &["`10`", "`10s`"]),
    (
        EXPERIMENT,
        "upperLimit: 1%",
        "uperLimit: 1%",
        28,
        "error",
        "spec.criteria.objectives[0].uperLimit",
        &["no field `uperLimit`", "write `upperLimit`"],
    ),
    (EXPERIMENT, "path: apps/productpage", "path: ../up", 32, "error", "spec.gitops.path", &["`apps/productpage`"]),
    (
        EXPERIMENT,
        "fields: Template",
        "fields: Everything",
        33,
        "error",
        "spec.gitops.promote.fields",
        &["`Everything`", "`Template`"],
    ),
    (EXPERIMENT, "v2alpha2", "v2alpha1", 2, "error", "apiVersion", &["iter8.tools/v2alpha1", "`iter8.tools/v2alpha2`"]),
    (EXPERIMENT, "kind: Experiment", "kind: Experimint", 3, "error", "kind", &["`Experimint`", "Experiment"]),
    (
        EXPERIMENT,
        "sync-wave: \"10\"",
        "sync-wave: 10",
        8,
        "error",
        "metadata.annotations.argocd.argoproj.io/sync-wave",
        &["invalid type"],
    ),
    (
        EXPERIMENT,
        "name: productpage-x7k2p",
        "name: a-name-that-is-longer-than-the-sixty-three-characters-that-labels-have",
        2,
        "error",
        "",
        &["at most 63 characters"],
    ),
    (
        "platform/repository.yaml",
        "https://",
        "https://user:secret@",
        11,
        "error",
        "spec.url",
        &["belong in the Secret"],
    ),
    (
        "platform/repository.yaml",
        "provider: Gitea",
        "provider: Gitee",
        12,
        "error",
        "spec.provider",
        &["`Gitee`", "Gitea"],
    ),
    (
        METRIC,
        "",
        "apiVersion: iter8.tools/v2alpha2\nkind: Metric\nmetadata: {name: mine}\nspec:\n  share:\n    bad: sum(rate(errors_total[1m]))\n    total: requests_total\n",
        6,
        "error",
        "spec.share.bad",
        &["not a series selector", "without rate"],
    ),
    (
        METRIC,
        "",
        "apiVersion: iter8.tools/v2alpha2\nkind: Metric\nmetadata: {name: mine}\nspec: {description: nothing}\n",
        4,
        "error",
        "spec",
        &["exactly one of `share`"],
    ),
    (METRIC, "", "a: [1\n", 1, "error", "", &["not YAML", "correct the syntax"]),
    (
        METRIC,
        "",
        "apiVersion: iter8.tools/v2alpha2\nkind: Experiment\nmetadata: {name: x}\nspec:\n  target: bookinfo/x\n  strategy: {testingPattern: Canary, weights: {maxCandidateWeight: 95}}\n  versionInfo:\n    baseline: {name: a, destination: {subset: a}}\n    candidates: [{name: b, destination: {subset: b}}]\n  traffic: {virtualService: bookinfo}\n  criteria:\n    objectives: [{metric: istio/error-rate, relative: {factor: 1.5}}]\n",
        4,
        "error",
        "spec",
        &["no baseline traffic", "`maxCandidateWeight: 90` or less"],
    ),
];

/// What the controller refuses.
pub const RULES: &[Row] = &[
    (
        EXPERIMENT,
        "target: bookinfo/",
        "target: elsewhere/",
        10,
        "error",
        "spec.target",
        &["`elsewhere/productpage`", "`bookinfo/NAME`"],
    ),
    (
        EXPERIMENT,
        "upperLimit: 1%",
        "upperLimit: 250ms",
        28,
        "error",
        "spec.criteria.objectives[0].upperLimit",
        &["`250ms`", "`1%`"],
    ),
    (EXPERIMENT, "interval: 10s", "interval: 10ms", 29, "error", "spec.analysis.interval", &["10ms", "at least `1s`"]),
    (
        EXPERIMENT,
        "deadline: 1h",
        "deadline: 1h, hardDeadline: 5m",
        29,
        "error",
        "spec.analysis.hardDeadline",
        &["before the deadline", "write a longer one"],
    ),
    (
        EXPERIMENT,
        "deadline: 1h",
        "deadline: 5s",
        29,
        "error",
        "spec.analysis.interval",
        &["10s is not shorter than the deadline of 5s", "write a shorter time"],
    ),
    (
        EXPERIMENT,
        "istio/error-rate",
        "istio/eror-rate",
        28,
        "error",
        "spec.criteria.objectives[0].metric",
        &["`istio/eror-rate`", "`istio/error-rate`"],
    ),
    (
        EXPERIMENT,
        "  traffic:",
        "  duration: {intervalSeconds: 10}\n  traffic:",
        23,
        "error",
        "spec.duration",
        &["spec.analysis.interval"],
    ),
    (
        EXPERIMENT,
        OBJECTIVES,
        "    - {metric: istio/error-rate, upperLimit: 1%}\n    - {metric: age, upperLimit: 3}\n---\napiVersion: iter8.tools/v2alpha2\nkind: Metric\nmetadata: {name: age, namespace: bookinfo}\nspec: {urlTemplate: \"http://metrics/age\", jqExpression: .age}\n",
        27,
        "error",
        "spec.criteria.objectives",
        &["not yet supported", "opaque metrics alone"],
    ),
    (
        EXPERIMENT,
        "subset: candidate",
        "subset: stable",
        22,
        "error",
        "spec.versionInfo.candidates[0].destination",
        &["same destination", "two subsets"],
    ),
    (
        "platform/repository.yaml",
        "[bookinfo]",
        "[shop]",
        31,
        "error",
        "spec.gitops.repository",
        &["`bookinfo`", "spec.allowedNamespaces"],
    ),
    (
        "platform/repository.yaml",
        "[apps/productpage, apps/reviews]",
        "[apps/reviews]",
        32,
        "error",
        "spec.gitops.path",
        &["`apps/productpage`", "spec.allowedPaths"],
    ),
];

/// Names that the other files do not have, and what is probably not meant.
pub const NAMES: &[Row] = &[
    (
        ROUTING,
        "weight: 100",
        "weight: 70",
        24,
        "warning",
        "spec.traffic.virtualService",
        &["does not give the baseline 100 %", "`weight: 100`"],
    ),
    (
        EXPERIMENT,
        "routes: [productpage]",
        "routes: [reviews]",
        25,
        "error",
        "spec.traffic.routes[]",
        &["`reviews`", "there are: productpage"],
    ),
    (
        EXPERIMENT,
        "subset: candidate",
        "subset: canary",
        22,
        "error",
        "spec.versionInfo.candidates[0].destination",
        &["subset `canary`", "there are"],
    ),
    (
        ROUTING,
        "subset: stable, port",
        "subset: old, port",
        18,
        "error",
        "spec.versionInfo.baseline.destination",
        &["subset `stable`", "old"],
    ),
    (
        EXPERIMENT,
        "virtualService: bookinfo",
        "virtualService: bookshop",
        24,
        "warning",
        "spec.traffic.virtualService",
        &["`bookshop`", "bookinfo"],
    ),
    (
        EXPERIMENT,
        "{name: productpage-candidate}",
        "{name: productpage-canary}",
        21,
        "warning",
        "spec.versionInfo.candidates[0].workload.name",
        &["`productpage-canary`", "productpage-candidate"],
    ),
    (
        EXPERIMENT,
        ERROR_RATE,
        "{metric: checkout-errors, upperLimit: 1%}",
        28,
        "warning",
        "spec.criteria.objectives[0].metric",
        &["`checkout-errors`", "correct the name"],
    ),
    (
        EXPERIMENT,
        "    argocd.argoproj.io/sync-wave: \"10\"",
        "    example.com/note: x",
        7,
        "warning",
        "metadata.annotations.argocd.argoproj.io/sync-wave",
        &["without a sync wave", "\"10\""],
    ),
    (
        EXPERIMENT,
        "sync-wave: \"10\"",
        "sync-wave: \"0\"",
        8,
        "warning",
        "metadata.annotations.argocd.argoproj.io/sync-wave",
        &["wave 0 is not the last", "write \"10\""],
    ),
    (
        EXPERIMENT,
        ERROR_RATE,
        "{metric: istio/latency-p95, upperLimit: 300ms}",
        28,
        "warning",
        "spec.criteria.objectives[0].upperLimit",
        &["`300ms`", "`250ms`", "`500ms`"],
    ),
    (
        EXPERIMENT,
        ERROR_RATE,
        "{metric: istio/error-rate, upperLimit: 1%, relative: {factor: 100%}}",
        28,
        "warning",
        "spec.criteria.objectives[0].relative",
        &["as good as the baseline", "a factor above 1"],
    ),
    (
        "platform/repository.yaml",
        "name: environment\n",
        "name: another\n",
        31,
        "warning",
        "spec.gitops.repository",
        &["`platform/environment`", "platform/another", "correct the name"],
    ),
    (
        "platform/repository.yaml",
        "allowedPaths: [",
        "allowedPaths: [elsewhere] #",
        32,
        "error",
        "spec.gitops.path",
        &["`apps/productpage`", "spec.allowedPaths"],
    ),
    (
        METRIC,
        "",
        "apiVersion: iter8.tools/v2alpha2\nkind: Metric\nmetadata: {name: slow}\nspec:\n  histogram:\n    buckets: istio_request_duration_milliseconds_bucket\n    bound: 0.2\n",
        7,
        "warning",
        "spec.histogram.bound",
        &["`0.2`", "`0.5ms` or more"],
    ),
];
