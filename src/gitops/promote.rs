//! What a promotion brings from the candidate's manifest into the baseline's.
//!
//! Only the pod template moves, and within it never the labels that tell the two versions apart: those that a selector or a subset
//! uses would cut the baseline off from its pods (and `spec.selector` is immutable). Names, replicas and everything else outside
//! of the template stay the baseline's. Pure; called by [`super::plan`].

use std::collections::BTreeSet;

use super::edit::{EditError, Edited, FieldChange, File, Kept, Path, Selector, Value, copy_keeping};

/// Labels that identify a version by convention, besides those that selectors use.
const IDENTITY_LABELS: [&str; 4] =
    ["version", "iter8type", "app.kubernetes.io/instance", "service.istio.io/canonical-revision"];

/// Which part of the pod template is promoted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fields {
    /// All of it, without identity labels.
    #[default]
    Template,
    /// The images of the containers and init containers that both sides have.
    Images,
    /// These places, which must be in the pod template.
    Paths(Vec<Path>),
}

/// A workload by the kind and name of its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// For instance `Deployment`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
}

/// A promotion, computed and re-checked but not written.
#[derive(Debug, Clone, PartialEq)]
pub struct Promotion {
    /// The baseline's new manifest.
    pub text: String,
    /// What is different in it.
    pub changes: Vec<FieldChange>,
    /// Places of the pod template where candidate and new baseline still differ, identity labels aside.
    pub unpromoted: Vec<String>,
}

/// One side of a promotion.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The manifest's bytes.
    pub bytes: &'a [u8],
    /// The workload in it.
    pub workload: &'a Workload,
}

impl Side<'_> {
    fn at(&self, path: Path) -> Selector {
        Selector::named(&self.workload.kind, &self.workload.name, path)
    }
}

fn template_path() -> Path {
    Path::default().key("spec").key("template")
}

/// Computes the baseline's manifest with the candidate's content. `subset_labels` are further labels that route traffic.
pub fn promote(
    from: Side<'_>,
    to: Side<'_>,
    fields: &Fields,
    subset_labels: &BTreeSet<String>,
) -> Result<Promotion, EditError> {
    let candidate = File::parse(from.bytes)?;
    let baseline = File::parse(to.bytes)?;
    let documents = (
        candidate.document(&from.workload.kind, &from.workload.name)?,
        baseline.document(&to.workload.kind, &to.workload.name)?,
    );
    let kept = kept(documents.0, documents.1, subset_labels);
    let paths = match fields {
        Fields::Template => vec![template_path()],
        Fields::Images => images(documents.0, documents.1),
        Fields::Paths(paths) => {
            paths.iter().try_for_each(|path| refuse_identity(path, &kept))?;
            paths.clone()
        }
    };
    let mut done = Edited { text: String::from_utf8_lossy(to.bytes).into_owned(), changes: Vec::new() };
    for path in paths {
        let edited =
            copy_keeping(&candidate, &from.at(path.clone()), &File::parse(done.text.as_bytes())?, &to.at(path), &kept)?;
        done.text = edited.text;
        done.changes.extend(edited.changes);
    }
    let unpromoted = if matches!(fields, Fields::Template) {
        Vec::new()
    } else {
        differences(&candidate, from, &done.text, to, &kept)
    };
    Ok(Promotion { text: done.text, changes: done.changes, unpromoted })
}

/// Where a promotion of the whole template would still change something. A template that cannot be compared differs as a whole.
fn differences(candidate: &File<'_>, from: Side<'_>, text: &str, to: Side<'_>, kept: &Kept) -> Vec<String> {
    let compared = File::parse(text.as_bytes())
        .and_then(|file| copy_keeping(candidate, &from.at(template_path()), &file, &to.at(template_path()), kept));
    compared.map_or_else(
        |_| vec![template_path().to_string()],
        |edited| edited.changes.into_iter().map(|change| change.path).collect(),
    )
}

fn refuse_identity(path: &Path, kept: &Kept) -> Result<(), EditError> {
    if path.is_within(&template_path()) && !kept.covers(path) {
        Ok(())
    } else {
        Err(EditError::NotPromotable { path: path.to_string() })
    }
}

/// The labels that stay: used by a selector of either side, by a subset, or identity by convention.
fn kept(candidate: &Value, baseline: &Value, subset_labels: &BTreeSet<String>) -> Kept {
    let mut keys: BTreeSet<String> =
        IDENTITY_LABELS.iter().map(ToString::to_string).chain(subset_labels.iter().cloned()).collect();
    for document in [candidate, baseline] {
        let selector = document.get("spec").and_then(|spec| spec.get("selector"));
        if let Some(Value::Map(labels)) = selector.and_then(|selector| selector.get("matchLabels")) {
            keys.extend(labels.keys().cloned());
        }
        if let Some(Value::List(expressions)) = selector.and_then(|selector| selector.get("matchExpressions")) {
            keys.extend(
                expressions
                    .iter()
                    .filter_map(|expression| expression.get("key").and_then(Value::text))
                    .map(ToOwned::to_owned),
            );
        }
    }
    Kept { at: template_path().key("metadata").key("labels"), keys }
}

/// The image of every container that both sides have.
fn images(candidate: &Value, baseline: &Value) -> Vec<Path> {
    use super::edit::Segment;
    let mut paths = Vec::new();
    for list in ["initContainers", "containers"] {
        let list = template_path().key("spec").key(list);
        let names = |document: &Value| match document.at(&list) {
            Some(Value::List(items)) => {
                items.iter().filter_map(|item| item.get("name").and_then(Value::text)).map(ToOwned::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let wanted: Vec<String> = names(candidate);
        let both = names(baseline).into_iter().filter(|name| wanted.contains(name));
        paths.extend(both.map(|name| list.join(Segment::Named { key: "name".to_owned(), value: name }).key("image")));
    }
    paths
}
