//! From what was written to what can be carried out: parse, don't validate.
//!
//! Pure. Takes an `Experiment` and the objects it refers to; gives the engine's plan and the addresses that a world
//! needs, or a refusal that names the field, the value and the remedy. Called by the controller and the embedded world.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::analysis::{analysis, signed};
use super::layout::{Sides, fields, layout, manifests};
use super::objectives::Judged;
use super::ramp::{cap, percent, ramp};
use super::refusal::Refusal;
use super::wishes::wishes;
use crate::api::experiment::{self as spec, AutoMerge, Handover, WeightsWhileWaiting};
use crate::api::{Experiment, Metric, Provider, Repository, RepositorySpec};
use crate::engine::{self, Gitops, Identity, MOST_CANDIDATES, Plan, Unavailable, Version, WhileWaiting};
use crate::gitops::WriteTarget;
use crate::gitops::forge::Extras;
use crate::gitops::plan::Spec;
use crate::gitops::promote::Workload;
use crate::live::{Binding, VersionBinding};

/// How long requests need to leave a version whose weight became 0: longer than nearly every request takes.
const DRAIN: SignedDuration = SignedDuration::from_secs(10);
/// Labels by which Istio's subsets tell versions apart; they belong to a manifest's place, not to what was tested.
const SUBSET_LABELS: [&str; 1] = ["version"];

/// The objects that an experiment refers to, as far as they exist.
#[derive(Clone, Debug, Default)]
pub struct Referred {
    /// Metrics of the experiment's namespace, by name.
    pub metrics: BTreeMap<String, Metric>,
    /// The repository of `spec.gitops.repository`.
    pub repository: Option<Repository>,
}

/// A repository that allows everything to a namespace and leads nowhere: it stands for one that cannot be read, so that
/// the rest of an experiment can be resolved.
pub(crate) fn any_repository(namespace: &str) -> Repository {
    let spec = RepositorySpec {
        allowed_namespaces: vec!["*".into()],
        allow_commit_to_base: true,
        allow_auto_merge: true,
        ..RepositorySpec::new("https://git.invalid/owner/name.git", Provider::Gitea, "token")
    };
    let mut repository = Repository::new("absent", spec);
    repository.metadata.namespace = Some(namespace.to_owned());
    repository
}

/// An experiment that can be carried out.
pub struct Resolved {
    /// What the engine decides by.
    pub plan: Plan,
    /// Where a world finds its parts.
    pub binding: Binding,
    /// Where the outcome is written.
    pub write: Option<WriteTarget>,
}

/// Resolves an experiment.
pub fn resolve(experiment: &Experiment, referred: &Referred) -> Result<Resolved, Refusal> {
    let spec = &experiment.spec;
    super::support::check(experiment)?;
    let namespace = experiment.namespace().unwrap_or_default();
    let info = &spec.version_info;
    let mut analysis = analysis(&spec.analysis)?;
    let pattern = spec.strategy.testing_pattern;
    let Judged { criteria, race, metrics } =
        super::objectives::criteria(&spec.criteria, pattern, info.candidates.len(), referred)?;
    let iterations = super::iterations::iterations(spec, &criteria, &mut analysis)?;
    let write = spec.gitops.as_ref().map(|g| write(g, experiment, referred)).transpose()?;
    let cap = cap(spec)?;
    let plan = Plan {
        identity: identity(experiment),
        deleting: experiment.metadata.deletion_timestamp.as_ref().map(|t| t.0),
        refused: None,
        baseline: version(&info.baseline, &namespace, "spec.versionInfo.baseline.workload")?,
        candidates: candidates(info, &namespace)?,
        ramp: ramp(spec, cap, &analysis)?,
        cap,
        capacity: spec
            .traffic
            .as_ref()
            .and_then(|t| t.capacity)
            .map(|percentage| percent(percentage, "spec.traffic.capacity"))
            .transpose()?,
        wishes: wishes(experiment),
        criteria,
        race,
        iterations,
        analysis,
        gitops: spec.gitops.as_ref().zip(write.as_ref()).map(|(g, w)| gitops(g, w)).transpose()?,
    };
    let binding = Binding {
        namespace,
        name: plan.identity.name.clone(),
        uid: plan.identity.uid.clone(),
        created: experiment.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        target: plan.identity.target.clone(),
        routes: super::routes::routes(spec, &plan.identity.namespace)?,
        baseline: placeholders(&info.baseline, &plan.baseline),
        candidates: info.candidates.iter().zip(&plan.candidates).map(|(v, plan)| placeholders(v, plan)).collect(),
        metrics,
    };
    binding.check().map_err(|(query, e)| Refusal::Invalid {
        field: super::objectives::field(&spec.criteria, query).into(),
        problem: e.to_string(),
    })?;
    super::routes::check_hosts(&binding)?;
    Ok(Resolved { plan, binding, write })
}

/// The plan of an experiment that is refused and has no traffic: as much as people need to be told why, and to end it.
pub(super) fn unresolved(experiment: &Experiment, refusal: &Refusal) -> Plan {
    let info = &experiment.spec.version_info;
    let version = |version: &spec::Version| Version {
        name: version.name.clone(),
        workload: version.workload.as_ref().map(|w| w.name.clone()).unwrap_or_default(),
    };
    Plan::unresolved(
        identity(experiment),
        (version(&info.baseline), info.candidates.iter().map(version).collect()),
        wishes(experiment),
        Unavailable::new(refusal.cause(), refusal.to_string()),
    )
}

fn identity(experiment: &Experiment) -> Identity {
    Identity {
        namespace: experiment.namespace().unwrap_or_default(),
        name: experiment.name_any(),
        uid: experiment.uid().unwrap_or_default(),
        target: experiment.spec.target.clone(),
    }
}

/// The candidates, each a workload of its own.
fn candidates(info: &spec::VersionInfo, namespace: &str) -> Result<Vec<Version>, Refusal> {
    const FIELD: &str = "spec.versionInfo.candidates[].workload";
    if !(1..=MOST_CANDIDATES).contains(&info.candidates.len()) {
        let problem = format!(
            "{} candidates; write 1 to {MOST_CANDIDATES}, each with its name, workload and destination",
            info.candidates.len()
        );
        return Err(Refusal::Invalid { field: "spec.versionInfo.candidates".into(), problem });
    }
    let mut known = vec![version(&info.baseline, namespace, "spec.versionInfo.baseline.workload")?];
    for (index, candidate) in info.candidates.iter().enumerate() {
        let found = version(candidate, namespace, FIELD).map_err(|refusal| refusal.of_item(index))?;
        if let Some(same) = known.iter().find(|other| other.workload == found.workload) {
            let problem = format!(
                "`{}` and `{}` are both the workload `{}`, so that nothing could be compared; name the candidate's own",
                same.name, found.name, found.workload
            );
            return Err(Refusal::Invalid { field: FIELD.into(), problem }.of_item(index));
        }
        known.push(found);
    }
    known.remove(0);
    Ok(known)
}

/// What a version's placeholders stand for.
fn placeholders(version: &spec::Version, plan: &Version) -> VersionBinding {
    let variables = version.variables.iter().map(|v| (v.name.clone(), v.value.clone())).collect();
    VersionBinding { name: plan.name.clone(), workload: plan.workload.clone(), variables }
}

fn unsupported(field: &'static str, instead: &str) -> Refusal {
    Refusal::NotSupported { field: field.into(), instead: instead.into() }
}

fn version(version: &spec::Version, namespace: &str, field: &'static str) -> Result<Version, Refusal> {
    let workload = version.workload.as_ref().ok_or_else(|| Refusal::Invalid {
        field: field.into(),
        problem: format!("version `{}` has no workload; write `workload: {{name: DEPLOYMENT}}`", version.name),
    })?;
    let written =
        workload.namespace.as_ref().map_or_else(|| workload.name.clone(), |n| format!("{n}/{}", workload.name));
    Ok(Version { name: version.name.clone(), workload: object_name(&written, namespace, field)? })
}

/// The name of an object in the experiment's namespace, written as `name` or `namespace/name`.
///
/// The text becomes a part of a path on the API server, so that nothing but a name may pass.
pub(super) fn object_name(written: &str, namespace: &str, field: &'static str) -> Result<String, Refusal> {
    let name = match written.split_once('/') {
        None => written,
        Some((own, name)) if own == namespace => name,
        Some(_) => {
            let instead =
                format!("`{written}` is outside the experiment's namespace; write an object of `{namespace}`");
            return Err(unsupported(field, &instead));
        }
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() > 253 || !name.chars().all(allowed) || !ends(name.chars().next()) || !ends(name.chars().last()) {
        let problem = format!("`{name}` is no name of an object; write lower-case letters, digits, `-` and `.`");
        return Err(Refusal::Invalid { field: field.into(), problem });
    }
    Ok(name.to_owned())
}

/// Where the outcome is written, if the repository's owner allows it.
fn write(gitops: &spec::GitOps, experiment: &Experiment, referred: &Referred) -> Result<WriteTarget, Refusal> {
    let away = matches!(gitops.weights_while_waiting, Some(WeightsWhileWaiting::Hold | WeightsWhileWaiting::Candidate));
    if gitops.handover() == Handover::SinglePullRequest && away {
        let problem = "with `SinglePullRequest` all traffic is at the baseline before the request is opened, which removes the candidate; write `Baseline` or remove it, or write `handover: TwoPullRequests`";
        return Err(Refusal::Invalid { field: "spec.gitops.weightsWhileWaiting".into(), problem: problem.into() });
    }
    keeps_the_baseline(gitops)?;
    let repository = referred.repository.as_ref().ok_or_else(|| Refusal::Missing {
        field: "spec.gitops.repository".into(),
        kind: "Repository",
        name: gitops.repository.clone(),
    })?;
    let namespace = experiment.namespace().unwrap_or_default();
    let own = repository.namespace().unwrap_or_default();
    if !repository.spec.allows_namespace(&own, &namespace) {
        let problem = format!(
            "Repository {} does not allow namespace `{namespace}` (its spec.allowedNamespaces)",
            gitops.repository
        );
        return Err(Refusal::NotAllowed { field: "repository".into(), problem });
    }
    if !repository.spec.allows_path(&gitops.path) {
        let problem =
            format!("Repository {} does not allow `{}` (its spec.allowedPaths)", gitops.repository, gitops.path);
        return Err(Refusal::NotAllowed { field: "path".into(), problem });
    }
    if gitops.handover() == Handover::CommitToBase && !repository.spec.allow_commit_to_base {
        let problem = format!(
            "Repository {} does not allow `CommitToBase` (its spec.allowCommitToBase is not true); write `TwoPullRequests`, or ask its owner",
            gitops.repository
        );
        return Err(Refusal::NotAllowed { field: "handover".into(), problem });
    }
    if gitops.auto_merge() != AutoMerge::default() && gitops.pull_request.as_ref().is_some_and(|p| p.draft) {
        let problem = "true, and `autoMerge` wants no person, for whom a draft waits; remove one of the two".into();
        return Err(Refusal::Invalid { field: "spec.gitops.pullRequest.draft".into(), problem });
    }
    if gitops.auto_merge() != AutoMerge::default() && !repository.spec.allow_auto_merge {
        let problem = format!(
            "Repository {} does not allow requests to be merged without a person (its spec.allowAutoMerge is not true); remove the field, or ask its owner",
            gitops.repository
        );
        return Err(Refusal::NotAllowed { field: "pullRequest.autoMerge".into(), problem });
    }
    let info = &experiment.spec.version_info;
    let workload = |v: &spec::Version| Workload {
        kind: "Deployment".into(),
        name: v.workload.as_ref().map(|w| w.name.clone()).unwrap_or_default(),
    };
    let mut manifests = manifests(gitops, info)?.into_iter().zip(info.candidates.iter().map(workload));
    let (from, candidate) = manifests.next().unwrap_or_else(|| (gitops.promote.from.clone(), workload(&info.baseline)));
    let baseline = workload(&info.baseline);
    let sides = Sides { baseline: &baseline, candidate: &candidate, from: &from };
    Ok(WriteTarget {
        repository: repository.spec.clone(),
        spec: Spec {
            path: gitops.path.clone(),
            layout: layout(gitops, &sides)?,
            from: from.clone(),
            to: gitops.promote.to.clone(),
            fields: fields(gitops.promote.fields(), "spec.gitops.promote.fields[]")?,
            remove: gitops.remove.clone(),
            namespace,
            name: experiment.name_any(),
            baseline,
            candidate,
            rivals: manifests.collect(),
            subset_labels: SUBSET_LABELS.iter().map(ToString::to_string).collect(),
            expected: BTreeMap::new(),
        },
        extras: gitops.pull_request.as_ref().map_or_else(Extras::default, |request| Extras {
            labels: request.labels.clone(),
            reviewers: request.reviewers.clone(),
            draft: request.draft,
        }),
    })
}

/// The clean-up takes away what belongs to the experiment; the baseline's manifest does not.
fn keeps_the_baseline(gitops: &spec::GitOps) -> Result<(), Refusal> {
    let promote = &gitops.promote;
    if let Some((name, _)) = promote.from_each.iter().find(|(_, file)| **file == promote.to) {
        let problem = format!("`{}` is the baseline's manifest (`promote.to`); write the file of `{name}`", promote.to);
        return Err(Refusal::Invalid { field: "spec.gitops.promote.fromEach".into(), problem });
    }
    if let Some(index) = gitops.remove.iter().position(|file| *file == promote.to) {
        let problem =
            format!("`{}` is the baseline's manifest (`promote.to`), which stays; remove it from the list", promote.to);
        return Err(Refusal::Invalid { field: "spec.gitops.remove[]".into(), problem }.of_item(index));
    }
    // Elsewhere one file may have the values of both.
    if gitops.edits.is_none() && gitops.layout() == spec::Layout::Flat && promote.from == promote.to {
        let problem = format!(
            "`{}` is the baseline's manifest as well, and the clean-up removes the candidate's; write two different files",
            promote.from
        );
        return Err(Refusal::Invalid { field: "spec.gitops.promote.from".into(), problem });
    }
    Ok(())
}

fn gitops(gitops: &spec::GitOps, write: &WriteTarget) -> Result<Gitops, Refusal> {
    let stale_after = signed(gitops.stale_after()?);
    if stale_after.is_zero() {
        let problem = "`0s` gives nobody time for a review; write for example `7d`".into();
        return Err(Refusal::Invalid { field: "spec.gitops.pullRequest.staleAfter".into(), problem });
    }
    Ok(Gitops {
        base_branch: write.repository.branch().to_owned(),
        stale_after,
        drain: DRAIN,
        waiting: match gitops.weights_while_waiting() {
            WeightsWhileWaiting::Hold => WhileWaiting::Hold,
            WeightsWhileWaiting::Candidate => WhileWaiting::Candidate,
            WeightsWhileWaiting::Baseline => WhileWaiting::Baseline,
        },
        handover: match gitops.handover() {
            Handover::TwoPullRequests => engine::Handover::TwoPullRequests,
            Handover::SinglePullRequest => engine::Handover::SinglePullRequest,
            Handover::CommitToBase => engine::Handover::CommitToBase,
        },
        auto_merge: {
            let AutoMerge { promote, cleanup } = gitops.auto_merge();
            engine::AutoMerge { promote, cleanup }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cause;

    #[test]
    fn nothing_but_a_name_in_the_own_namespace_becomes_a_part_of_a_path() {
        let name = |written: &str| object_name(written, "shop", "spec.traffic.virtualService").map_err(|e| e.cause());
        assert_eq!(name("app-1.x"), Ok("app-1.x".into()));
        assert_eq!(name("shop/app"), Ok("app".into()));
        assert_eq!(name("bank/app"), Err(Cause::NotSupported));
        for hostile in ["", "shop/", "shop/../bank", "shop/a/b", "..", "a?x=1", "a b", "App", "-a"] {
            assert_eq!(name(hostile), Err(Cause::InvalidExperiment), "{hostile}");
        }
    }
}
