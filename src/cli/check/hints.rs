//! What is allowed and probably not meant: warnings that the controller does not give, or gives late.

use kube::ResourceExt as _;

use super::given::{Given, application};
use super::source::Document;
use super::{Finding, Severity};
use crate::api::experiment::Objective;
use crate::api::{Experiment, Metric, Quantity, Unit};

/// Argo CD's annotation for the order of a sync.
const WAVE: &str = "argocd.argoproj.io/sync-wave";
/// The histogram of Istio's latencies.
const LATENCY: &str = "istio_request_duration_milliseconds_bucket";
/// Upper edges of Istio's latency buckets, milliseconds: Envoy's default.
const EDGES: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];

/// Warnings about an experiment.
pub(super) fn experiment(given: &Given, document: &Document, experiment: &Experiment) -> Vec<Finding> {
    let mut findings: Vec<Finding> = wave(given, document, experiment).into_iter().collect();
    for (index, objective) in experiment.spec.criteria.objectives.iter().enumerate() {
        if let Some(limit) = objective.upper_limit.as_ref().filter(|_| objective.metric.starts_with("istio/latency-")) {
            let field = format!("spec.criteria.objectives[{index}].upperLimit");
            findings.extend(edge(document, &field, limit));
        }
        findings.extend(no_room(document, &format!("spec.criteria.objectives[{index}].relative"), objective));
    }
    findings.extend(files(document, experiment));
    findings
}

/// A comparison that only a better candidate passes.
fn no_room(document: &Document, field: &str, objective: &Objective) -> Option<Finding> {
    let relative = objective.relative.as_ref()?;
    // Written down, not computed; the tolerance is for the conversion of percentages.
    let equal = relative.factor().is_ok_and(|factor| (factor - 1.0).abs() < 1e-9) && relative.slack.is_none();
    let problem = "a candidate that is as good as the baseline is never shown to be within this; write a factor above 1, \
                   for example `1.5`, or some `slack`";
    equal.then(|| Finding::new(document, Severity::Warning, field, problem))
}

/// Warnings about a metric.
pub(super) fn metric(document: &Document, metric: &Metric) -> Option<Finding> {
    let histogram = metric.spec.histogram.as_ref()?;
    let istio = histogram.buckets.0.trim_start().starts_with(LATENCY);
    istio.then(|| edge(document, "spec.histogram.bound", &histogram.bound))?
}

/// A bound that is no edge of Istio's buckets.
fn edge(document: &Document, field: &str, limit: &Quantity) -> Option<Finding> {
    let bound = limit.value(Unit::Milliseconds).ok()?;
    // Edges are written down, not computed; the tolerance is for the conversion of units.
    if EDGES.iter().any(|e| (e - bound).abs() < 1e-9 * bound.abs().max(1.0)) {
        return None;
    }
    let (below, above) = (EDGES.iter().rfind(|e| **e < bound), EDGES.iter().find(|e| **e > bound));
    let name = |edge: &f64| format!("`{edge}ms`");
    let problem = match (below.map(name), above.map(name)) {
        (Some(below), Some(above)) => format!(
            "`{limit}` is between two edges of Istio's buckets: Pass is judged at {below}, Fail at {above}; write {below} or {above}"
        ),
        (None, Some(above)) => format!("`{limit}` is below the first edge of Istio's buckets; write {above} or more"),
        (Some(below), None) => format!("`{limit}` is above the last edge of Istio's buckets; write {below} or less"),
        (None, None) => return None,
    };
    Some(Finding::new(document, Severity::Warning, field, &problem))
}

/// Argo CD has to apply the experiment last and remove it first.
fn wave(given: &Given, document: &Document, experiment: &Experiment) -> Option<Finding> {
    let field = format!("metadata.annotations.{WAVE}");
    let warn = |problem: String| Some(Finding::new(document, Severity::Warning, &field, &problem));
    let Some(written) = experiment.annotations().get(WAVE) else {
        return warn(format!(
            "without a sync wave Argo CD may remove the candidate before traffic has left it; write `{WAVE}: \"10\"`, the last wave"
        ));
    };
    let Ok(wave) = written.parse::<i64>() else {
        return warn(format!("`{written}` is not a wave; write a whole number in quotes, such as \"10\""));
    };
    let of = |other: &Document| {
        let written = other.value.get("metadata")?.get("annotations")?.get(WAVE)?.as_str()?;
        written.parse::<i64>().ok()
    };
    let beside = given.documents().iter().filter(|d| d.folder == document.folder && d.kind().2 != "Experiment");
    let late =
        beside.map(|d| (of(d).unwrap_or(0), d)).filter(|(other, _)| *other >= wave).max_by_key(|(other, _)| *other);
    let (latest, other) = late?;
    warn(format!(
        "wave {wave} is not the last one, {} `{}` has {latest}; write \"{}\"",
        other.kind().2,
        other.name(),
        latest.saturating_add(10)
    ))
}

/// In the environment repository the files of the write-back are beside the experiment.
fn files(document: &Document, experiment: &Experiment) -> Vec<Finding> {
    let (Some(gitops), Some(folder)) = (&experiment.spec.gitops, &document.folder) else { return vec![] };
    let Some(folder) = application(folder, &gitops.path) else { return vec![] };
    let promote = &gitops.promote;
    // With several candidates, `from` may be nobody's.
    let candidates = &experiment.spec.version_info.candidates;
    let used = candidates.len() < 2 || candidates.iter().any(|c| !promote.from_each.contains_key(&c.name));
    let from = used.then_some(("promote.from", &promote.from));
    let each = promote.from_each.values().map(|file| ("promote.fromEach", file));
    let removed = gitops.remove.iter().map(|file| ("remove[]", file));
    from.into_iter()
        .chain(each)
        .chain([("promote.to", &promote.to)])
        .chain(removed)
        .filter(|(_, file)| !folder.join(file).is_file())
        .map(|(field, file)| {
            let problem = format!("there is no file `{file}` in {}; correct the name", gitops.path);
            Finding::new(document, Severity::Warning, &format!("spec.gitops.{field}"), &problem)
        })
        .collect()
}
