//! What the controller would refuse, asked of the controller's own code over the given manifests.
//!
//! Owns the order of the questions and which field an answer is about. What is not among the files may well be in the
//! cluster: its absence is a warning where its kind is given, and no finding otherwise.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::given::{Given, application};
use super::source::Document;
use super::{Finding, Severity};
use crate::api::experiment::{self as spec, DeploymentPattern};
use crate::api::{Experiment, Quantity};
use crate::controller::resolve::{Resolved, any_repository, resolve};
use crate::controller::{Refusal, references};
use crate::engine::{Cause, Observation, Questions, Unavailable, Version};
use crate::gitops::plan::Spec;
use crate::gitops::preview::Folder;
use crate::gitops::rehearsal::rehearse;
use crate::live::{Live, Prometheus};
use crate::turn::World as _;

/// An address that is never asked: metrics are no business of manifests.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The kinds of a destination, all of which have to be given before anything can be said about it.
const DESTINATION: [&str; 3] = ["Service", "DestinationRule", "Deployment"];

/// What the controller would say of an experiment.
pub(super) async fn check(given: &Given, document: &Document, experiment: &Experiment) -> Vec<Finding> {
    let mut findings = vec![];
    let Some(resolved) = resolved(given, document, experiment, &mut findings).await else { return findings };
    let write = resolved.write.as_ref().filter(|_| given.is_rehearsed());
    findings.extend(write.and_then(|write| rehearsal(document, &write.spec, &resolved.plan.candidates)));
    let namespace = resolved.plan.identity.namespace.clone();
    let candidates = resolved.plan.candidates.iter().enumerate();
    let versions: Vec<(String, String)> =
        std::iter::once(("spec.versionInfo.baseline".to_owned(), resolved.plan.baseline.workload.clone()))
            .chain(candidates.map(|(index, v)| (format!("spec.versionInfo.candidates[{index}]"), v.workload.clone())))
            .collect();
    for (version, workload) in &versions {
        if given.of("Deployment", &namespace).next().is_some() && !given.has("Deployment", &namespace, workload) {
            let field = format!("{version}.workload.name");
            findings.push(absent(given, document, &field, "Deployment", &namespace, workload));
        }
    }
    let traffic = experiment.spec.traffic.as_ref().map(|t| t.virtual_service.as_str());
    let service = traffic.map(|t| t.rsplit('/').next().unwrap_or(t));
    match service {
        Some(name) if given.has("VirtualService", &namespace, name) => {
            findings.extend(destinations(given, document, experiment, resolved, &versions).await);
        }
        Some(name) if given.of("VirtualService", &namespace).next().is_some() => {
            findings.push(absent(given, document, "spec.traffic.virtualService", "VirtualService", &namespace, name));
        }
        Some(_) | None => {}
    }
    findings
}

/// Both outcomes are planned on the checkout that the experiment is in, as the controller does before it moves any traffic. Files that
/// are not there are told by name elsewhere.
fn rehearsal(document: &Document, spec: &Spec, candidates: &[Version]) -> Option<Finding> {
    let folder = application(document.folder.as_ref()?, &spec.path)?;
    let named = [&spec.to].into_iter().chain(spec.manifests()).chain(&spec.remove);
    if named.into_iter().any(|file| !folder.join(file).exists()) {
        return None;
    }
    let root = folder.ancestors().nth(spec.path.split('/').count())?;
    let flaw = rehearse(&Folder::new(root), spec).err()?;
    let candidate = flaw.candidate.and_then(|at| candidates.get(at)).map(|candidate| candidate.name.as_str());
    Some(Finding::new(document, Severity::Error, flaw.field.of_experiment(), &flaw.text(candidate)))
}

fn absent(given: &Given, document: &Document, field: &str, kind: &str, namespace: &str, name: &str) -> Finding {
    let there: Vec<&str> = given.of(kind, namespace).map(Document::name).collect();
    let there = if there.is_empty() { String::new() } else { format!(", which have: {}", there.join(", ")) };
    let problem = format!(
        "{kind} `{name}` is not among the given files{there}; correct the name, unless it is in the cluster already"
    );
    Finding::new(document, Severity::Warning, field, &problem)
}

/// The experiment as the controller resolves it. What is missing is stood in for, so that the rest can be said as well.
pub(super) async fn resolved(
    given: &Given,
    document: &Document,
    experiment: &Experiment,
    findings: &mut Vec<Finding>,
) -> Option<Resolved> {
    let mut experiment = experiment.clone();
    // Some rules count from it; manifests have none.
    experiment.metadata.creation_timestamp.get_or_insert_with(|| Time(Timestamp::now()));
    let namespace = experiment.namespace().unwrap_or_default();
    // An object that cannot be read has findings of its own.
    let mut referred = references::fetch(given.client(), &experiment).await.ok()?;
    // Each round takes one missing object away.
    for _ in 0..=experiment.spec.criteria.objectives.len() + 1 {
        match resolve(&experiment, &referred) {
            Ok(resolved) => return Some(resolved),
            Err(Refusal::Missing { kind: "Metric", name, field }) => {
                findings.push(absent(given, document, &field, "Metric", &namespace, &name));
                forget(&mut experiment, &name);
            }
            // The real one is the platform team's, and seldom beside the experiment.
            Err(Refusal::Missing { name, field, .. }) if referred.repository.is_none() => {
                findings.extend(another_repository(given, document, &field, &name));
                referred.repository = Some(any_repository(&namespace));
            }
            Err(refusal) => {
                findings.push(Finding::new(document, Severity::Error, &refusal.field(), &refusal.problem()));
                return None;
            }
        }
    }
    None
}

/// The Repositories that are given, where none of them is the one that the experiment names.
fn another_repository(given: &Given, document: &Document, field: &str, name: &str) -> Option<Finding> {
    let there = given.documents().iter().filter(|d| d.kind().2 == "Repository");
    let there: Vec<String> =
        there.map(|d| d.namespace().map(|n| format!("{n}/")).unwrap_or_default() + d.name()).collect();
    (!there.is_empty()).then(|| {
        let problem = format!(
            "Repository `{name}` is not among the given files, which have: {}; correct the name, unless it is in the cluster already",
            there.join(", ")
        );
        Finding::new(document, Severity::Warning, field, &problem)
    })
}

/// Leaves out what cannot be judged without its metric. Something else stands in its place, so that indices stay.
fn forget(experiment: &mut Experiment, metric: &str) {
    for objective in experiment.spec.criteria.objectives.iter_mut().filter(|o| o.metric == metric) {
        objective.metric = "istio/error-rate".into();
        objective.upper_limit = Some(Quantity::from("1%"));
        (objective.lower_limit, objective.relative) = (None, None);
    }
    for reward in experiment.spec.criteria.rewards.iter_mut().filter(|r| r.metric == metric) {
        reward.metric = "istio/mean-latency".into();
    }
}

/// Where the destinations lead, as the controller finds it before any traffic moves.
async fn destinations(
    given: &Given,
    document: &Document,
    experiment: &Experiment,
    resolved: Resolved,
    versions: &[(String, String)],
) -> Vec<Finding> {
    let namespace = resolved.plan.identity.namespace.clone();
    let all = DESTINATION.iter().all(|kind| given.of(kind, &namespace).next().is_some());
    let workloads = versions.iter().all(|(_, workload)| given.has("Deployment", &namespace, workload));
    let questions = Questions { subsets: all && workloads, ..Questions::default() };
    let Ok(prometheus) = Prometheus::new(NOWHERE) else { return vec![] };
    let live = Live::new(given.client().clone(), prometheus, &namespace, resolved.binding, None, vec![]);
    let Observation { routes, subsets, .. } = live.observe(&resolved.plan, &questions).await;
    let mut findings = vec![];
    let fixed = experiment.spec.strategy.deployment_pattern == Some(DeploymentPattern::FixedSplit);
    if let Some(Ok(routes)) = &routes
        && routes.baseline != 100
        && !fixed
    {
        let problem = "the VirtualService does not give the baseline 100 %, so that a sync would move traffic; write \
                       `weight: 100` for the baseline and 0 for the candidate";
        findings.push(Finding::new(document, Severity::Warning, "spec.traffic.virtualService", problem));
    }
    let missing = [routes.and_then(Result::err), subsets.and_then(Result::err)];
    findings.extend(missing.into_iter().flatten().map(|u| unfit(document, experiment, versions, &u)));
    findings
}

/// A finding about routes or destinations.
fn unfit(document: &Document, experiment: &Experiment, versions: &[(String, String)], found: &Unavailable) -> Finding {
    let message = &found.message;
    let info = &experiment.spec.version_info;
    // The version whose subset the message names first.
    let position = |version: &spec::Version| {
        let subset = version.destination.as_ref()?.subset.as_ref()?;
        message.find(&format!("subset `{subset}`"))
    };
    let named = info.versions().enumerate().filter_map(|(index, version)| Some((position(version)?, index))).min();
    let destination = versions.get(named.map_or(0, |(_, index)| index)).map_or("spec.versionInfo", |(field, _)| field);
    let field = match found.cause {
        Cause::NotADelegate | Cause::DelegateMissing => "spec.traffic.mode".to_owned(),
        Cause::RouteNotFound | Cause::RouteIncomplete if message.contains("no http route is named") => {
            "spec.traffic.routes[]".to_owned()
        }
        Cause::RouteHasOthers => "spec.traffic.routes".to_owned(),
        _ if named.is_some() => format!("{destination}.destination"),
        _ => "spec.traffic".to_owned(),
    };
    // A Service may be in the cluster alone; what is given is as it is.
    let severity = if found.cause == Cause::ServiceNotFound { Severity::Warning } else { Severity::Error };
    let remedy = if message.contains("; ") { "" } else { "; correct the name" };
    Finding::new(document, severity, &field, &format!("{message}{remedy}"))
}
