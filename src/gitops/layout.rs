//! What a directory of the environment repository looks like, and the edits that an outcome means there.
//!
//! Every layout expands to the closed set of verbs in `verb`; `edits:` are such verbs as the user wrote them. `work` keeps a change
//! in the making over a snapshot, `run` carries verbs out, [`kustomize`] and [`helm`] know what their tools make of a file. Nothing
//! is written here and nothing outside of the experiment's directory is touched. Called by [`super::plan`], and by
//! [`crate::start`] for what a new experiment has to be listed in.

mod helm;
mod image;
mod kustomize;
mod listing;
mod pods;
mod run;
mod verb;
mod work;

pub(crate) use kustomize::NAMES as KUSTOMIZATIONS;
pub use listing::listed;
pub use pods::RUNNING;
pub(super) use pods::{Version, template};
pub use verb::{Edits, ImageSource, OnMissing, Place, Source, Spot, Verb};
pub(super) use work::{Mark, Work};

use std::collections::BTreeSet;

use super::plan::{Missing, PlanError, Spec, Written};
use super::tree::{Files, RepoPath};

/// What the experiment's directory looks like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Layout {
    /// Plain manifests.
    #[default]
    Flat,
    /// A kustomization lists them.
    Kustomize,
    /// Values of a chart, with a block for the candidate and one for the experiment.
    HelmValues,
    /// Whatever it looks like, these are the edits.
    Edits(Edits),
}

/// File names that say that a tool builds this directory's manifests, so that editing single files would not do.
const CHART: &str = "Chart.yaml";

/// Refuses a directory that is not of the spec's layout.
pub(super) fn check(files: &dyn Files, spec: &Spec, directory: &RepoPath) -> Result<(), PlanError> {
    let entries = files.list(Some(directory))?;
    let built = |name: &str| name == CHART || KUSTOMIZATIONS.contains(&name);
    match &spec.layout {
        Layout::Flat => match entries.iter().find(|entry| built(&entry.name)) {
            Some(entry) => Err(PlanError::UnsupportedLayout { path: format!("{directory}/{}", entry.name) }),
            None => Ok(()),
        },
        Layout::Kustomize | Layout::HelmValues | Layout::Edits(_) => Ok(()),
    }
}

/// Carries out a promotion.
pub(super) fn promote(work: &mut Work<'_>) -> Result<(), PlanError> {
    let spec = work.spec;
    let verbs = match &spec.layout {
        Layout::Flat => vec![Verb::Copy {
            from: Place { file: spec.from.clone(), workload: spec.candidate.clone() },
            to: Place { file: spec.to.clone(), workload: spec.baseline.clone() },
            fields: spec.fields.clone(),
            images: Vec::new(),
        }],
        Layout::Kustomize => kustomize::promotion(work)?,
        Layout::HelmValues => helm::promotion(work)?,
        Layout::Edits(edits) => edits.promote.clone(),
    };
    run(work, &verbs)?;
    if spec.layout == Layout::HelmValues {
        let left = helm::left_behind(work)?;
        work.told.unpromoted.extend(left);
    }
    Ok(())
}

/// Where the experiment's manifest may be, beside its directory.
pub(super) fn folders(work: &Work<'_>) -> Result<Vec<RepoPath>, PlanError> {
    match &work.spec.layout {
        Layout::Kustomize => kustomize::folders(work),
        Layout::Flat | Layout::HelmValues | Layout::Edits(_) => Ok(Vec::new()),
    }
}

/// What the experiment's manifest calls itself.
pub(super) fn written(work: &Work<'_>) -> Result<Written, PlanError> {
    let (name, namespace) = (work.spec.name.clone(), Some(work.spec.namespace.clone()));
    match &work.spec.layout {
        Layout::Kustomize => kustomize::written(work),
        Layout::Flat | Layout::HelmValues | Layout::Edits(_) => Ok(Written { name, namespace }),
    }
}

/// Carries out a clean-up. `experiment` is the file of the experiment's own manifest.
pub(super) fn cleanup(work: &mut Work<'_>, experiment: Option<&RepoPath>) -> Result<(), PlanError> {
    let spec = work.spec;
    let mut files: BTreeSet<RepoPath> = experiment.into_iter().cloned().collect();
    for file in &spec.remove {
        files.insert(work.path(file)?);
    }
    let own = || Missing::Experiment(format!("{}/{}", spec.namespace, spec.name));
    let verbs = match &spec.layout {
        Layout::Edits(edits) => {
            run(work, &edits.cleanup)?;
            files.retain(|path| !work.is_removed(path));
            vec![removal(work, &files)]
        }
        Layout::HelmValues => {
            if experiment.is_none() && !helm::has_experiment(work)? {
                work.told.missing.push(own());
            }
            let mut verbs = helm::cleanup(work)?;
            // One that a file of its own holds is not in the values as well.
            if experiment.is_some() && !helm::has_experiment(work)? {
                verbs.truncate(1);
            }
            verbs.push(removal(work, &files));
            verbs
        }
        Layout::Flat | Layout::Kustomize => {
            for manifest in spec.manifests() {
                files.insert(work.path(manifest)?);
            }
            if experiment.is_none() {
                work.told.missing.push(own());
            }
            if spec.layout == Layout::Kustomize {
                kustomize::cleanup(work, &files)?
            } else {
                vec![removal(work, &files)]
            }
        }
    };
    run(work, &verbs)
}

/// Carries out what is further done when the baseline stays.
pub(super) fn discard(work: &mut Work<'_>) -> Result<(), PlanError> {
    let spec = work.spec;
    match &spec.layout {
        Layout::Edits(edits) => run(work, &edits.discard),
        Layout::Flat | Layout::Kustomize | Layout::HelmValues => Ok(()),
    }
}

fn removal(work: &Work<'_>, files: &BTreeSet<RepoPath>) -> Verb {
    let below = format!("{}/", work.directory);
    let names = files.iter().map(|path| path.as_str().strip_prefix(&below).unwrap_or_default().to_owned());
    Verb::RemoveFiles(names.collect())
}

fn run(work: &mut Work<'_>, verbs: &[Verb]) -> Result<(), PlanError> {
    verbs.iter().try_for_each(|verb| work.run(verb))
}
