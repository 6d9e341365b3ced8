//! Which files an outcome changes, computed from a snapshot without writing anything.
//!
//! The promote change brings the candidate's content to the baseline; the clean-up change removes the experiment and touches nothing
//! else. What that means in a directory is its [`Layout`]'s business. Both are computed at the start (where what would fail at the
//! end fails early) and again when they are needed. Pure: the same snapshot and [`Spec`] give the same [`Change`]. The engine
//! decides which of them is proposed, and when.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::edit::{EditError, FieldChange, File, Selector, Value, copy_subtree, put, remove};
use super::layout::{self, Layout, Mark, Version, Work};
use super::promote::{Fields, Workload};
use super::remedy::Field;
use super::tree::{Blob, BlobId, Entry, EntryKind, Files, Overlay, RepoPath, TreeError, read};
use crate::engine::Cause;

/// Most YAML files of the experiment's directory that are searched for the experiment's own manifest.
const MAX_FILES: usize = 500;

/// What the write-back of one experiment works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The directory of all files below, relative to the repository's root.
    pub path: String,
    /// What the directory looks like.
    pub layout: Layout,
    /// The candidate's manifest, relative to `path`.
    pub from: String,
    /// The baseline's manifest, relative to `path`.
    pub to: String,
    /// What is promoted.
    pub fields: Fields,
    /// Further files of the experiment, relative to `path`.
    pub remove: Vec<String>,
    /// The experiment's `metadata.namespace`.
    pub namespace: String,
    /// The experiment's `metadata.name`.
    pub name: String,
    /// The baseline's workload.
    pub baseline: Workload,
    /// The candidate's workload.
    pub candidate: Workload,
    /// The manifests, relative to `path`, and the workloads of further candidates, none of which is promoted.
    pub rivals: Vec<(String, Workload)>,
    /// Labels by which traffic finds the versions; never promoted.
    pub subset_labels: BTreeSet<String>,
    /// Contents that were recorded at the start ([`Change::recorded`]): another content is refused where it matters.
    pub expected: BTreeMap<String, BlobId>,
}

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOp {
    /// The content is replaced.
    Edit {
        /// The content that the change was computed from.
        before: BlobId,
        /// The new content's id.
        after: BlobId,
        /// The new content.
        bytes: Vec<u8>,
    },
    /// The file is removed.
    Remove {
        /// The content that is removed.
        before: BlobId,
    },
}

impl FileOp {
    /// The word for it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Edit { .. } => "edit",
            Self::Remove { .. } => "remove",
        }
    }

    /// The content that the file then has; none if it is removed.
    pub fn after(&self) -> Option<&BlobId> {
        match self {
            Self::Edit { after, .. } => Some(after),
            Self::Remove { .. } => None,
        }
    }
}

/// One file of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path from the repository's root.
    pub path: String,
    /// What happens to it.
    pub op: FileOp,
}

/// Everything that one commit changes, and what a reader should know about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// The files, by path. Empty: the repository is already as wanted.
    pub files: Vec<FileChange>,
    /// The fields that an edit changes.
    pub fields: Vec<FieldChange>,
    /// Places of the pod template that differ and are not promoted (`UnpromotedDifference`).
    pub unpromoted: Vec<String>,
    /// What is to be removed and is not there.
    pub missing: Vec<Missing>,
    /// The contents that the change relies on: those of files by path from the root, those of places in files by `path#place`.
    pub recorded: BTreeMap<String, BlobId>,
}

/// Something to remove that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The experiment's own manifest, by namespace and name.
    Experiment(String),
    /// A file, or an entry of one.
    Place(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Experiment(name) => write!(f, "Experiment {name}"),
            Self::Place(place) => f.write_str(place),
        }
    }
}

impl Change {
    /// This change and then another one that was computed on its result.
    #[must_use]
    pub fn and(self, then: Self) -> Self {
        let mut files: BTreeMap<String, FileOp> = self.files.into_iter().map(|file| (file.path, file.op)).collect();
        for FileChange { path, op } in then.files {
            let op = match (files.remove(&path), op) {
                (Some(FileOp::Edit { before, .. }), FileOp::Edit { after, bytes, .. }) => {
                    FileOp::Edit { before, after, bytes }
                }
                (Some(FileOp::Edit { before, .. }), FileOp::Remove { .. }) => FileOp::Remove { before },
                (_, op) => op,
            };
            files.insert(path, op);
        }
        let mut recorded = then.recorded;
        recorded.extend(self.recorded);
        Self {
            files: files.into_iter().map(|(path, op)| FileChange { path, op }).collect(),
            fields: [self.fields, then.fields].concat(),
            unpromoted: [self.unpromoted, then.unpromoted].concat(),
            missing: [self.missing, then.missing].concat(),
            recorded,
        }
    }
}

/// Why no change can be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file cannot be edited or understood.
    #[error("failed to use {path}: {why}")]
    Edit {
        /// The file.
        path: String,
        /// Why; no source, which the chain of causes would repeat.
        why: EditError,
    },
    /// A needed file is not there.
    #[error("failed to find {path}")]
    FileMissing {
        /// The file.
        path: String,
    },
    /// The directory is built by a tool, and the layout says that it is not.
    #[error("failed to plan: {path} says that a tool builds this directory")]
    UnsupportedLayout {
        /// The file that says so.
        path: String,
    },
    /// The directory or a file is not what the layout takes it for.
    #[error("failed to plan on {path}: {problem}")]
    LayoutMismatch {
        /// The directory or file.
        path: String,
        /// What is wrong.
        problem: &'static str,
        /// What to write instead.
        remedy: &'static str,
    },
    /// A directory has two kustomizations, of which kustomize takes neither.
    #[error("failed to choose: both {first} and {second} are kustomizations")]
    SeveralKustomizations {
        /// One file.
        first: String,
        /// Another file.
        second: String,
    },
    /// One entry of a kustomization sets the build of both versions.
    #[error(
        "failed to tell the versions apart: the entry {image} of `images` in {path} sets baseline and candidate alike"
    )]
    SharedImage {
        /// The kustomization.
        path: String,
        /// The entry's name.
        image: String,
    },
    /// No entry of a kustomization sets this image, or several do.
    #[error("failed to find one entry of `images` in {path} for {image}")]
    NoImageEntry {
        /// The kustomization.
        path: String,
        /// The image.
        image: String,
    },
    /// An image without the tag or digest that is to be written.
    #[error("failed to promote {image}: it has no tag or digest to write")]
    NoBuild {
        /// The image.
        image: String,
    },
    /// No leaf has the marker.
    #[error("failed to find the marker {marker} in {path}")]
    NoMarker {
        /// The files.
        path: String,
        /// The marker.
        marker: String,
    },
    /// Nothing of what is promoted could be seen in the cluster.
    #[error("failed to plan on {path}: no image is promoted, so nothing would show when the promotion is live")]
    Unverifiable {
        /// The file.
        path: String,
    },
    /// A chart's values hold another experiment.
    #[error("failed to remove the experiment from {path}: the values hold {found}")]
    OtherExperiment {
        /// The file.
        path: String,
        /// The name in the values.
        found: String,
    },
    /// The candidate's manifest is not the one that was tested.
    #[error("failed to promote: {path} changed since the experiment began")]
    CandidateChanged {
        /// The file.
        path: String,
    },
    /// The baseline's manifest is not the one that was compared with.
    #[error("failed to promote: {path} changed since the experiment began")]
    BaselineChanged {
        /// The file.
        path: String,
    },
    /// The baseline's manifest is not what the promotion made of it.
    #[error("failed to revert: {path} was changed after the promotion")]
    MergedDifferently {
        /// The file.
        path: String,
    },
    /// A file to remove is not the one that belonged to the experiment.
    #[error("failed to remove {path}: it changed since the experiment began")]
    RemovalChanged {
        /// The file.
        path: String,
    },
    /// A file to remove holds more than the experiment's own.
    #[error("failed to remove {path}: it holds other manifests too")]
    SharedFile {
        /// The file.
        path: String,
    },
    /// The experiment's manifest is in more than one file.
    #[error("failed to choose: both {first} and {second} hold the experiment")]
    SeveralExperiments {
        /// One file.
        first: String,
        /// Another file.
        second: String,
    },
    /// Too many files to search.
    #[error("failed to search {path}: more than {MAX_FILES} YAML files")]
    DirectoryTooLarge {
        /// The directory.
        path: String,
    },
}

impl PlanError {
    /// The stable word for this error.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Tree(error) => error.cause(),
            Self::Edit { why, .. } => why.cause(),
            Self::FileMissing { .. } => Cause::FileMissing,
            Self::UnsupportedLayout { .. } => Cause::UnsupportedLayout,
            Self::LayoutMismatch { .. } => Cause::LayoutMismatch,
            Self::SharedImage { .. } => Cause::SharedImage,
            Self::NoImageEntry { .. } | Self::NoMarker { .. } => Cause::PathNotFound,
            Self::NoBuild { .. } => Cause::ImageWithoutBuild,
            Self::Unverifiable { .. } => Cause::UnverifiablePromotion,
            Self::OtherExperiment { .. } => Cause::FileChanged,
            Self::CandidateChanged { .. } => Cause::CandidateSuperseded,
            Self::BaselineChanged { .. } => Cause::BaselineChanged,
            Self::MergedDifferently { .. } => Cause::MergedDifferently,
            Self::RemovalChanged { .. } => Cause::FileChanged,
            Self::SharedFile { .. } => Cause::SharedFile,
            Self::SeveralExperiments { .. } | Self::SeveralKustomizations { .. } => Cause::Ambiguous,
            Self::DirectoryTooLarge { .. } => Cause::DirectoryTooLarge,
        }
    }

    /// What to do about it, where that follows from more than the reason.
    pub fn remedy(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::UnsupportedLayout { .. } => "write `layout: Kustomize`, `layout: HelmValues` or `edits`".into(),
            Self::LayoutMismatch { remedy, .. } => (*remedy).into(),
            Self::SharedImage { .. } => {
                "give the candidate's manifest another image name, and map it with `newName` in \
                an entry behind that one"
                    .into()
            }
            Self::NoImageEntry { .. } => "write one with its `name`, or correct the name".into(),
            Self::NoMarker { marker, .. } => {
                format!("put `# {{\"$iter8\": \"{marker}:tag\"}}` behind the value to set").into()
            }
            Self::Unverifiable { .. } => "promote the image's tag or digest".into(),
            Self::OtherExperiment { .. } => "correct `experiment.name`".into(),
            Self::MergedDifferently { .. } => "restore it by hand".into(),
            Self::Edit { why: EditError::DocumentCount { .. }, .. } => "name the document by its kind and name".into(),
            Self::Tree(_)
            | Self::Edit { .. }
            | Self::FileMissing { .. }
            | Self::SeveralKustomizations { .. }
            | Self::NoBuild { .. }
            | Self::CandidateChanged { .. }
            | Self::BaselineChanged { .. }
            | Self::RemovalChanged { .. }
            | Self::SharedFile { .. }
            | Self::SeveralExperiments { .. }
            | Self::DirectoryTooLarge { .. } => return None,
        })
    }

    /// The field to look at for that remedy.
    pub fn field(&self) -> Field {
        match self {
            Self::UnsupportedLayout { .. } | Self::LayoutMismatch { .. } => Field::Experiment("spec.gitops.layout"),
            _ => Field::GITOPS,
        }
    }
}

/// The change that brings the candidate's content to the baseline.
pub fn plan_promote(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    promotion(files, spec)?.finish()
}

fn promotion<'f>(files: &'f dyn Files, spec: &'f Spec) -> Result<Work<'f>, PlanError> {
    let mut work = Work::new(files, spec)?;
    layout::check(files, spec, &spec.path.parse()?)?;
    layout::promote(&mut work)?;
    Ok(work)
}

/// The change that removes the experiment: its own manifest, the candidate's, and what the spec lists.
pub fn plan_cleanup(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    cleanup(files, spec)?.finish()
}

fn cleanup<'f>(files: &'f dyn Files, spec: &'f Spec) -> Result<Work<'f>, PlanError> {
    let mut work = Work::new(files, spec)?;
    let directory: RepoPath = spec.path.parse()?;
    layout::check(files, spec, &directory)?;
    let listed = spec.manifests().chain(&spec.remove);
    let listed = listed.map(|file| directory.join(file)).collect::<Result<BTreeSet<_>, _>>()?;
    let found = find_experiment(files, &directory, &layout::folders(&work)?, &layout::written(&work)?)?;
    if let Some((path, false)) = found.as_ref().filter(|(path, _)| !listed.contains(path)) {
        return Err(PlanError::SharedFile { path: path.to_string() });
    }
    layout::cleanup(&mut work, found.as_ref().map(|(path, _)| path))?;
    Ok(work)
}

/// The change when the baseline stays: the clean-up, and what is further done then.
pub fn plan_discard(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let mut work = cleanup(files, spec)?;
    layout::discard(&mut work)?;
    work.finish()
}

/// The change that promotes and cleans up at once.
pub fn plan_whole(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let promote = plan_promote(files, spec)?;
    let cleanup = plan_cleanup(&Overlay::new(files, &promote), spec)?;
    Ok(promote.and(cleanup))
}

/// The change that takes a merged promotion back: what it changed becomes what it was at the start.
///
/// Only while that is what the promotion made of it; whoever changed it since has to decide.
pub fn plan_revert(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let start = AtStart { files, expected: &spec.expected };
    let work = promotion(&start, spec)?;
    let marks = work.marks.clone();
    let promoted = work.finish()?;
    let mut change = Change::default();
    for FileChange { path, op } in promoted.files {
        let FileOp::Edit { before, after, bytes } = op else { continue };
        if !spec.expected.contains_key(&path) {
            return Err(PlanError::FileMissing { path });
        }
        let file: RepoPath = path.parse()?;
        let now = required(files, &file)?;
        let was = start.content(&before).map_err(|error| error.at(&file))?;
        let marks: Vec<&Mark> = marks.iter().filter(|mark| mark.file == path).collect();
        let back = if now.id == before {
            continue;
        } else if now.id == after {
            was
        } else if marks.is_empty() {
            return Err(PlanError::MergedDifferently { path });
        } else {
            taken_back(&path, &now.bytes, (&was, &bytes), &marks)?
        };
        if back != now.bytes {
            let op = FileOp::Edit { before: now.id, after: BlobId::of(&back)?, bytes: back };
            change.files.push(FileChange { path, op });
        }
    }
    let back = |change: FieldChange| FieldChange { before: change.after, after: change.before, ..change };
    if !change.files.is_empty() {
        change.fields = promoted.fields.into_iter().map(back).collect();
    }
    Ok(change)
}

/// The files that a promotion changed in single places and others changed as well, in which each of its places is as the
/// promotion made it. A file that was promoted as a whole is none of them.
pub fn kept_places(files: &dyn Files, spec: &Spec) -> Result<BTreeSet<String>, PlanError> {
    let start = AtStart { files, expected: &spec.expected };
    let work = promotion(&start, spec)?;
    let marks = work.marks.clone();
    let mut kept = BTreeSet::new();
    for FileChange { path, op } in work.finish()?.files {
        let FileOp::Edit { bytes, .. } = op else { continue };
        let marks: Vec<&Mark> = marks.iter().filter(|mark| mark.file == path).collect();
        let Some(now) = read(files, &path.parse()?)?.filter(|_| !marks.is_empty()) else { continue };
        let of = |why| PlanError::Edit { path: path.clone(), why };
        let (promoted, now) = (File::parse(&bytes).map_err(of)?, File::parse(&now.bytes).map_err(of)?);
        let mut same = true;
        for Mark { at, .. } in marks {
            same &= place(&promoted, at).map_err(of)? == place(&now, at).map_err(of)?;
        }
        if same {
            kept.insert(path);
        }
    }
    Ok(kept)
}

/// What is at a place, if anything is.
fn place(file: &File<'_>, at: &Selector) -> Result<Option<Value>, EditError> {
    Ok(file.value(&at.document)?.at(&at.path).cloned())
}

/// A file that others changed as well since the promotion: only the promoted places go back.
fn taken_back(path: &str, now: &[u8], (was, promoted): (&[u8], &[u8]), marks: &[&Mark]) -> Result<Vec<u8>, PlanError> {
    let of = |why| PlanError::Edit { path: path.to_owned(), why };
    let (was, promoted) = (File::parse(was).map_err(of)?, File::parse(promoted).map_err(of)?);
    let mut text = String::from_utf8_lossy(now).into_owned();
    for Mark { at, .. } in marks {
        let file = File::parse(text.as_bytes()).map_err(of)?;
        let here = |file: &File<'_>| place(file, at).map_err(of);
        let (old, new, found) = (here(&was)?, here(&promoted)?, here(&file)?);
        if found == old {
            continue;
        }
        if found != new {
            return Err(PlanError::MergedDifferently { path: format!("{path} ({})", at.path) });
        }
        let edited = match &old {
            Some(old) if old.text().is_some() => put(&file, at, old),
            Some(_) => copy_subtree(&was, at, &file, at),
            None => remove(&file, at),
        };
        text = edited.map_err(of)?.text;
    }
    Ok(text.into_bytes())
}

/// What the cluster is to run for the baseline: its pod template as Kubernetes reads it or, where a tool renders it, the images
/// that are known ([`layout::RUNNING`]).
pub fn baseline_template(files: &dyn Files, spec: &Spec) -> Result<serde_json::Value, PlanError> {
    layout::template(&Work::new(files, spec)?, Version::Baseline)
}

/// [`baseline_template`] for the candidate.
pub fn candidate_template(files: &dyn Files, spec: &Spec) -> Result<serde_json::Value, PlanError> {
    layout::template(&Work::new(files, spec)?, Version::Candidate)
}

/// The pod templates of all versions, the baseline's first.
pub fn templates(files: &dyn Files, spec: &Spec) -> Result<Vec<serde_json::Value>, PlanError> {
    let candidate = |at: usize| candidate_template(files, &spec.promoting(at));
    std::iter::once(baseline_template(files, spec)).chain((0..=spec.rivals.len()).map(candidate)).collect()
}

/// A workload's whole manifest in `file` (relative to the spec's directory), as Kubernetes reads it.
pub fn workload_manifest(
    files: &dyn Files,
    spec: &Spec,
    file: &str,
    workload: &Workload,
) -> Result<serde_json::Value, PlanError> {
    let path = spec.path.parse::<RepoPath>()?.join(file)?;
    let blob = required(files, &path)?;
    let manifest =
        File::parse(&blob.bytes).and_then(|file| file.document(&workload.kind, &workload.name).map(Value::to_json));
    manifest.map_err(|why| PlanError::Edit { path: path.to_string(), why })
}

impl Spec {
    /// The same with another one of the candidates, by its position, as the one that is promoted.
    #[must_use]
    pub fn promoting(&self, candidate: usize) -> Self {
        let mut spec = self.clone();
        if let Some((from, workload)) = candidate.checked_sub(1).and_then(|at| spec.rivals.get_mut(at)) {
            std::mem::swap(&mut spec.from, from);
            std::mem::swap(&mut spec.candidate, workload);
        }
        spec
    }

    /// The manifests of all candidates, relative to `path`.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.from).chain(self.rivals.iter().map(|(file, _)| file))
    }

    pub(super) fn differs(&self, path: &RepoPath, found: &BlobId) -> bool {
        self.expected.get(path.as_str()).is_some_and(|expected| expected != found)
    }

    /// Whether a file to remove is, or holds, the baseline's manifest.
    pub(super) fn holds_baseline(&self, blob: &Blob, path: &RepoPath, directory: &RepoPath) -> bool {
        let is_target = directory.join(&self.to).is_ok_and(|to| to == *path);
        is_target
            || File::parse(&blob.bytes)
                .is_ok_and(|file| file.document(&self.baseline.kind, &self.baseline.name).is_ok())
    }
}

/// The experiment's name and namespace as its manifest has them: a tool that builds it may add to them.
pub(super) struct Written {
    /// `metadata.name`.
    pub(super) name: String,
    /// `metadata.namespace`, if the manifest has one; none when the tool sets it, whatever is written.
    pub(super) namespace: Option<String>,
}

impl Written {
    /// Whether a document is this experiment's manifest.
    fn is(&self, document: &Value) -> bool {
        let text = |value: Option<&Value>| value.and_then(Value::text).map(ToOwned::to_owned);
        let metadata = document.get("metadata");
        let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
        text(document.get("kind")).as_deref() == Some("Experiment")
            && text(document.get("apiVersion")).is_some_and(|version| version.starts_with("iter8.tools/"))
            && text(metadata.and_then(|metadata| metadata.get("name"))).as_deref() == Some(&self.name)
            && (self.namespace.is_none() || namespace.is_none() || self.namespace == namespace)
    }
}

/// The files as they were at the start, as far as that is recorded.
struct AtStart<'f> {
    files: &'f dyn Files,
    expected: &'f BTreeMap<String, BlobId>,
}

impl Files for AtStart<'_> {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let prefix = directory.map_or_else(String::new, |directory| format!("{directory}/"));
        let mut entries: BTreeMap<String, Entry> =
            self.files.list(directory)?.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        for (path, id) in self.expected.iter().filter(|(path, _)| !path.contains('#')) {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            match rest.split_once('/') {
                None => {
                    let entry = Entry { name: rest.to_owned(), kind: EntryKind::File, id: id.clone() };
                    entries.insert(rest.to_owned(), entry);
                }
                Some((name, _)) => {
                    let entry = Entry { name: name.to_owned(), kind: EntryKind::Directory, id: id.clone() };
                    entries.entry(name.to_owned()).or_insert(entry);
                }
            }
        }
        Ok(entries.into_values().collect())
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        self.files.content(id)
    }
}

fn required(files: &dyn Files, path: &RepoPath) -> Result<Blob, PlanError> {
    read(files, path)?.ok_or_else(|| PlanError::FileMissing { path: path.to_string() })
}

/// The file of the experiment's own manifest, and whether that is all it holds.
fn find_experiment(
    files: &dyn Files,
    directory: &RepoPath,
    folders: &[RepoPath],
    written: &Written,
) -> Result<Option<(RepoPath, bool)>, PlanError> {
    let mut entries = Vec::new();
    for folder in std::iter::once(directory).chain(folders) {
        let yaml = |entry: &Entry| {
            entry.kind == EntryKind::File && [".yaml", ".yml"].iter().any(|ending| entry.name.ends_with(ending))
        };
        entries.extend(files.list(Some(folder))?.into_iter().filter(yaml).map(|entry| (folder, entry)));
    }
    if entries.len() > MAX_FILES {
        return Err(PlanError::DirectoryTooLarge { path: directory.to_string() });
    }
    let mut found: Option<(RepoPath, bool)> = None;
    for (folder, entry) in entries {
        // A name that is not accepted, or a file that is too large, cannot be the experiment's.
        let (Ok(path), Ok(bytes)) = (folder.join(&entry.name), files.content(&entry.id)) else { continue };
        let mentioned = String::from_utf8_lossy(&bytes).contains(&written.name);
        let documents = match File::parse(&bytes) {
            Ok(file) => file.documents().to_vec(),
            // A file that names the experiment and cannot be understood might be its manifest.
            Err(why) if mentioned && String::from_utf8_lossy(&bytes).contains("Experiment") => {
                return Err(PlanError::Edit { path: path.to_string(), why });
            }
            Err(_) => continue,
        };
        if !documents.iter().any(|document| written.is(document)) {
            continue;
        }
        if let Some((first, _)) = found {
            return Err(PlanError::SeveralExperiments { first: first.to_string(), second: path.to_string() });
        }
        // A trailing `---` makes an empty document, which is nobody's.
        let held = documents.iter().filter(|document| document.text() != Some("null")).count();
        found = Some((path, held == 1));
    }
    Ok(found)
}
