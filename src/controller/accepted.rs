//! What an experiment said when it could be carried out last, kept in its status.
//!
//! An experiment that is edited into something that cannot be carried out, or that loses what it refers to, still has
//! traffic somewhere: only what it said before tells where, and the engine brings it home by that. Survives a restart,
//! since the status does. Called by [`super::experiments`]; whether traffic moves is the engine's choice.

use std::collections::BTreeMap;

use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::references;
use super::refusal::Refusal;
use super::resolve::{Referred, Resolved, any_repository, resolve};
use crate::api::{Experiment, ExperimentSpec, Metric, MetricSpec, Repository};
use crate::engine::{Phase, Plan, Progress, Seen, Unavailable};
use crate::gitops::WriteTarget;
use crate::live::{Binding, VersionBinding, WeightsAt};

/// What was found possible.
#[derive(Serialize, Deserialize)]
struct Accepted {
    spec: ExperimentSpec,
    /// The Metrics that it refers to, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metrics: BTreeMap<String, MetricSpec>,
}

/// An experiment as it is carried out now.
pub(super) struct Carried {
    pub(super) plan: Plan,
    pub(super) binding: Binding,
    /// Where the outcome is written, if it is to be written.
    pub(super) write: Option<Seen<(WriteTarget, Repository)>>,
    /// What its status is to remember; none while it is refused.
    pub(super) accepted: Option<Value>,
}

/// An experiment as it is written, or as it was if it is refused and may have traffic. Without either: the refusal.
pub(super) async fn carried(
    client: &Client,
    experiment: &Experiment,
    progress: &Progress,
) -> Seen<Result<Carried, Refusal>> {
    let before = last(experiment).filter(|_| under_way(progress.phase));
    let refusal = match references::fetch(client, experiment).await {
        Ok(referred) => match written(experiment, &referred, before.as_ref(), progress) {
            Ok(carried) => return Ok(Ok(carried)),
            Err(refusal) => refusal,
        },
        // Neither a right nor a readable object comes by waiting: somebody has to be told.
        Err(u) if u.cause.is_lasting() => Refusal::Unreadable(u),
        Err(u) => return Err(u),
    };
    let Some(before) = before else { return Ok(Err(refusal)) };
    let told = Unavailable::new(refusal.cause(), refusal.to_string());
    let old = Experiment { spec: before.spec.clone(), ..experiment.clone() };
    let repository = references::repository(client, &old).await;
    // What an earlier release took need not be possible in this one.
    Ok(as_before(&old, &before, repository).map_err(|_| refusal).map(|carried| Carried {
        plan: Plan { refused: Some(told), ..carried.plan },
        accepted: None,
        ..carried
    }))
}

/// Whether an experiment holds its target, and with it perhaps traffic.
fn under_way(phase: Phase) -> bool {
    match phase {
        Phase::Queued | Phase::Completed => false,
        Phase::Preparing | Phase::Shifting | Phase::Deciding | Phase::Promoting | Phase::Discarding => true,
    }
}

/// What the status remembers.
fn last(experiment: &Experiment) -> Option<Accepted> {
    let value = experiment.status.as_ref()?.accepted.clone()?;
    serde_json::from_value(value).ok()
}

/// The experiment as it is written.
fn written(
    experiment: &Experiment,
    referred: &Referred,
    before: Option<&Accepted>,
    progress: &Progress,
) -> Result<Carried, Refusal> {
    let Resolved { plan, binding, write } = resolve(experiment, referred)?;
    // Before the first traffic the routes may still be corrected.
    if let Some(before) = before.filter(|_| progress.phase != Phase::Preparing) {
        let old = Experiment { spec: before.spec.clone(), ..experiment.clone() };
        if let Ok(old) = as_before(&old, before, Ok(None)) {
            stays(&old.binding, &binding)?;
        }
    }
    let metrics = referred.metrics.iter().map(|(name, metric)| (name.clone(), metric.spec.clone())).collect();
    let accepted = serde_json::to_value(Accepted { spec: experiment.spec.clone(), metrics }).ok();
    let write = write.zip(referred.repository.clone()).map(Ok);
    Ok(Carried { plan, binding, write, accepted })
}

/// Traffic can be brought home only where it is: an experiment that has some stays with its routes and its workloads.
fn stays(before: &Binding, now: &Binding) -> Result<(), Refusal> {
    let remedy = "write it as it was; another experiment may do otherwise";
    if before.routes != now.routes {
        let place = match &before.routes.weights {
            WeightsAt::VirtualService { name, .. } => format!("VirtualService `{name}`"),
            WeightsAt::Fields { baseline, .. } => format!("{} `{}`", baseline.kind.kind, baseline.name),
        };
        let problem = format!("the weights of {place} are in use, and so are its destinations; {remedy}");
        return Err(Refusal::Invalid { field: "spec.traffic".into(), problem });
    }
    if before.candidates.len() != now.candidates.len() {
        let problem = format!(
            "{} candidates have traffic and became {}; {remedy}",
            before.candidates.len(),
            now.candidates.len()
        );
        return Err(Refusal::Invalid { field: "spec.versionInfo.candidates".into(), problem });
    }
    let changed = |before: &VersionBinding, now: &VersionBinding, field: String| {
        let problem = format!("`{}` has traffic and became `{}`; {remedy}", before.workload, now.workload);
        if before.workload == now.workload { Ok(()) } else { Err(Refusal::Invalid { field: field.into(), problem }) }
    };
    changed(&before.baseline, &now.baseline, "spec.versionInfo.baseline.workload".into())?;
    let mut candidates = before.candidates.iter().zip(&now.candidates).enumerate();
    candidates.try_for_each(|(index, (before, now))| {
        changed(before, now, format!("spec.versionInfo.candidates[{index}].workload"))
    })
}

/// The experiment as it was written. A repository that is gone, or that does not allow it any more, is not written to;
/// another one stands for it, so that the rest can be said.
fn as_before(old: &Experiment, before: &Accepted, repository: Seen<Option<Repository>>) -> Result<Carried, Refusal> {
    let metric = |(name, spec): (&String, &MetricSpec)| (name.clone(), Metric::new(name, spec.clone()));
    let metrics: BTreeMap<_, _> = before.metrics.iter().map(metric).collect();
    let (repository, mut lost) = match repository {
        Ok(repository) => (repository, None),
        Err(u) => (None, Some(u)),
    };
    let mut referred = Referred { metrics, repository };
    let resolved = match resolve(old, &referred) {
        Err(refusal) if refusal.is_about_the_repository() => {
            lost.get_or_insert_with(|| Unavailable::new(refusal.cause(), refusal.to_string()));
            referred.repository = Some(standing_in(old));
            resolve(old, &referred)?
        }
        resolved => resolved?,
    };
    let write = match (resolved.write, lost) {
        (None, _) => None,
        (Some(_), Some(u)) => Some(Err(u)),
        (Some(target), None) => referred.repository.map(|repository| Ok((target, repository))),
    };
    Ok(Carried { plan: resolved.plan, binding: resolved.binding, write, accepted: None })
}

/// A repository that nothing is read from or written to; its branch is the one that the requests name.
fn standing_in(experiment: &Experiment) -> Repository {
    let stages = experiment.status.as_ref().and_then(|s| s.gitops.as_ref()).map(|g| g.stages.as_slice());
    let mut repository = any_repository(&experiment.namespace().unwrap_or_default());
    repository.spec.branch = stages.and_then(|s| s.first()).and_then(|s| s.base.clone());
    repository
}
