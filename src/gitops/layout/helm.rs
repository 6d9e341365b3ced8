//! The layout of a chart's values: the candidate is a block of them, and so is the experiment.
//!
//! The chart owns the templates; they make a candidate while the block `candidate` is there, and an Experiment while `experiment`
//! is. A promotion brings the block's values to the same places outside of it, a clean-up removes both blocks.

use super::verb::{OnMissing, Source, Spot, Verb};
use super::work::Work;
use crate::gitops::edit::{EditError, Path, Segment, Selector, Value};
use crate::gitops::plan::PlanError;
use crate::gitops::promote::Fields;

/// The block of the candidate's values.
const CANDIDATE: &str = "candidate";
/// The block of the experiment's.
const EXPERIMENT: &str = "experiment";
/// Values that make the candidate a second instance, not another version; they stay behind.
const INSTANCE: [&str; 10] = [
    "enabled",
    "name",
    "nameOverride",
    "fullnameOverride",
    "replicas",
    "replicaCount",
    "autoscaling",
    "labels",
    "podLabels",
    "selectorLabels",
];

/// The candidate's values, and their places.
fn block(work: &Work<'_>) -> Result<(Spot, Value), PlanError> {
    let spot = Spot::only(&work.spec.from, Path::default().key(CANDIDATE));
    let path = work.path(&spot.file)?;
    match work.value(&path, &Selector::only(spot.path.clone()))? {
        Some(value @ Value::Map(_)) => Ok((spot, value)),
        Some(_) | None => Err(PlanError::Edit {
            path: path.to_string(),
            why: EditError::PathNotFound { path: spot.path.to_string() },
        }),
    }
}

/// The verbs of a promotion.
pub(super) fn promotion(work: &Work<'_>) -> Result<Vec<Verb>, PlanError> {
    let (spot, value) = block(work)?;
    let paths = match &work.spec.fields {
        Fields::Template => leaves(&value),
        Fields::Images => leaves(&value).into_iter().filter(is_image).collect(),
        Fields::Paths(paths) => paths.clone(),
    };
    let missing = match &work.spec.fields {
        Fields::Template | Fields::Images => OnMissing::Add,
        Fields::Paths(_) => OnMissing::Fail,
    };
    let set = |path: Path| Verb::Set {
        to: Spot::only(&work.spec.to, path.clone()),
        value: Source::Spot(Spot {
            path: path.segments().iter().fold(spot.path.clone(), |all, step| all.join(step.clone())),
            ..spot.clone()
        }),
        missing,
    };
    Ok(paths.into_iter().map(set).collect())
}

/// Values of the block that differ from the baseline's and are not promoted.
pub(super) fn left_behind(work: &Work<'_>) -> Result<Vec<String>, PlanError> {
    let (_, value) = block(work)?;
    let path = work.path(&work.spec.to)?;
    let mut left = Vec::new();
    for leaf in leaves(&value) {
        if work.value(&path, &Selector::only(leaf.clone()))?.as_ref() != value.at(&leaf) {
            left.push(leaf.to_string());
        }
    }
    Ok(left)
}

/// The verbs of a clean-up, beside the removal of files.
pub(super) fn cleanup(work: &Work<'_>) -> Result<Vec<Verb>, PlanError> {
    let file = &work.spec.from;
    let path = work.path(file)?;
    let experiment = Path::default().key(EXPERIMENT);
    if let Some(name) = work.value(&path, &Selector::only(experiment.key("name")))? {
        let found = name.text().unwrap_or_default();
        if found != work.spec.name {
            return Err(PlanError::OtherExperiment {
                path: path.to_string(),
                found: found.chars().take(253).collect(),
            });
        }
    }
    Ok([CANDIDATE, EXPERIMENT].map(|key| Verb::RemoveKey(Spot::only(file, Path::default().key(key)))).into())
}

/// Whether the values say that the experiment is there.
pub(super) fn has_experiment(work: &Work<'_>) -> Result<bool, PlanError> {
    let path = work.path(&work.spec.from)?;
    Ok(work.value(&path, &Selector::only(Path::default().key(EXPERIMENT)))?.is_some())
}

/// The places of a block's values; lists are values as a whole.
fn leaves(block: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    let mut open = vec![(Path::default(), block)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Map(entries) if !entries.is_empty() => {
                let own =
                    entries.iter().filter(|(key, _)| !path.segments().is_empty() || !INSTANCE.contains(&key.as_str()));
                open.extend(own.map(|(key, value)| (path.key(key), value)));
            }
            _ if path.segments().is_empty() => {}
            _ => found.push(path),
        }
    }
    found.sort();
    found
}

/// Whether a value is an image or a part of one.
fn is_image(path: &Path) -> bool {
    path.segments().iter().any(|step| matches!(step, Segment::Key(key) if key.to_lowercase().ends_with("image")))
}
