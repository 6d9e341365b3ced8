//! What Git says about a version's pods, where a tool renders their manifest.

use serde_json::{Value as Json, json};

use super::image::Image;
use super::verb::{Edits, ImageSource, Source, Verb};
use super::work::Work;
use super::{Layout, helm, kustomize};
use crate::gitops::edit::{Path, Segment, Selector, Value};
use crate::gitops::plan::PlanError;

/// The key under which a template that is not known as a whole says which images run: each ends one container's, behind a `/`
/// or as a whole.
pub const RUNNING: &str = "iter8.tools/images";

/// A template of which only images are known.
pub(super) fn running(images: impl IntoIterator<Item = String>) -> Json {
    let mut images: Vec<String> = images.into_iter().collect();
    images.sort();
    images.dedup();
    json!({RUNNING: images})
}

/// Which of the two versions is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Baseline,
    Candidate,
}

/// What Git says about the pods of a version: its template, or the images that it runs.
pub(crate) fn template(work: &Work<'_>, version: Version) -> Result<Json, PlanError> {
    let spec = work.spec;
    let (file, workload) = match version {
        Version::Baseline => (&spec.to, &spec.baseline),
        Version::Candidate => (&spec.from, &spec.candidate),
    };
    match &spec.layout {
        Layout::Flat => kustomize::template(work, file, workload),
        Layout::Kustomize if !kustomize::is_kustomization(file) => kustomize::template(work, file, workload),
        Layout::Kustomize => seen(work, &kustomize::promotion(work)?, version),
        Layout::HelmValues => seen(work, &helm::promotion(work)?, version),
        Layout::Edits(Edits { promote, .. }) => {
            kustomize::template(work, file, workload).or_else(|_| seen(work, promote, version))
        }
    }
}

/// The images that verbs move, as they are on one side.
fn seen(work: &Work<'_>, verbs: &[Verb], version: Version) -> Result<Json, PlanError> {
    let mut images = Vec::new();
    for verb in verbs {
        match verb {
            Verb::KustomizeImage { image: ImageSource::Literal(image), .. } if version == Version::Candidate => {
                images.push(image.clone());
            }
            Verb::KustomizeImage { image: source @ ImageSource::Container { .. }, .. }
            | Verb::SetMarked { image: source @ ImageSource::Container { .. }, .. }
                if version == Version::Candidate =>
            {
                if let ImageSource::Container { place, container } = source {
                    images.push(kustomize::container(work, place, container.as_deref())?.to_string());
                }
            }
            Verb::KustomizeImage { file, name, .. } => images.extend(kustomize::entry_image(work, file, name)?),
            Verb::Set { to, value, .. } => {
                let at = |file: &str, spot: &super::Spot| {
                    let path = work.path(file)?;
                    let at = Selector { document: spot.document.clone(), path: Path::default() };
                    Ok::<_, PlanError>(work.value(&path, &at)?.map(|root| (root, spot.path.clone())))
                };
                let baseline = at(&to.file, to)?;
                let own = match (version, value) {
                    (Version::Baseline, _) => None,
                    (Version::Candidate, Source::Spot(from)) => at(&from.file, from)?,
                    (Version::Candidate, Source::Literal(value)) => {
                        let (root, path) = (baseline.as_ref().map(|(root, _)| root.clone()), to.path.clone());
                        root.and_then(|mut root| root.put(&path, Some(value.clone())).is_ok().then_some((root, path)))
                    }
                };
                images.extend(reference(own.as_ref(), baseline.as_ref()));
            }
            _ => {}
        }
    }
    if images.is_empty() {
        return Err(PlanError::Unverifiable { path: format!("{}/{}", work.spec.path, work.spec.to) });
    }
    Ok(running(images))
}

/// The image that the values around a promoted one make, by the convention of charts: `image`, or `repository` with `tag` or
/// `digest`. What the candidate's values do not say is the baseline's.
fn reference(own: Option<&(Value, Path)>, baseline: Option<&(Value, Path)>) -> Option<String> {
    let (_, path) = own.or(baseline)?;
    let Some(Segment::Key(leaf)) = path.segments().last() else { return None };
    let beside = |key: &str| {
        [own, baseline].into_iter().flatten().find_map(|(root, path)| {
            let (parent, _) = path.split_last()?;
            root.at(&parent)?.get(key)?.text().filter(|text| !matches!(*text, "" | "null")).map(ToOwned::to_owned)
        })
    };
    match leaf.as_str() {
        "tag" | "digest" | "repository" | "newTag" => {
            let name = beside("repository").or_else(|| beside("newName")).unwrap_or_default();
            let (tag, digest) = (beside("tag").or_else(|| beside("newTag")), beside("digest"));
            // A chart may write a digest behind a tag or without one.
            match (digest, tag) {
                (Some(digest), _) => Some(format!("@{digest}")),
                (None, Some(tag)) => Some(Image { name, tag: Some(tag), digest: None }.to_string()),
                (None, None) => None,
            }
        }
        leaf if leaf.to_lowercase().ends_with("image") => beside(leaf),
        _ => None,
    }
}
