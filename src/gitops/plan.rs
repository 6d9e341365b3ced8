//! Which files an outcome changes, computed from a snapshot without writing anything.
//!
//! The promote change edits the baseline's manifest alone; the clean-up change removes the experiment's files and touches nothing
//! else. Both are computed at the start (where what would fail at the end fails early) and again when they are needed. Pure: the
//! same snapshot and [`Spec`] give the same [`Change`]. The engine decides which of them is proposed, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::edit::{EditError, FieldChange, File, Value};
use super::promote::{Fields, Side, Workload, promote};
use super::tree::{Blob, BlobId, EntryKind, Files, RepoPath, TreeError, read};
use crate::engine::mutants::{Mutant, on};

/// Most YAML files of the experiment's directory that are searched for the experiment's own manifest.
const MAX_FILES: usize = 500;

/// File names that say that a tool builds this directory's manifests, so that editing single files would not do.
const BUILD_FILES: [&str; 4] = ["kustomization.yaml", "kustomization.yml", "Kustomization", "Chart.yaml"];

/// What the write-back of one experiment works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The directory of all files below, relative to the repository's root.
    pub path: String,
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
    /// Labels by which traffic finds the versions; never promoted.
    pub subset_labels: BTreeSet<String>,
    /// Contents that were recorded at the start, by path from the root: another content is refused.
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
    /// Files to remove that are not there, and the experiment's own manifest as `Experiment namespace/name` if no file holds it.
    pub missing: Vec<String>,
}

/// Why no change can be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file cannot be edited or understood.
    #[error("failed to use {path}")]
    Edit {
        /// The file.
        path: String,
        /// Why.
        source: EditError,
    },
    /// A needed file is not there.
    #[error("failed to find {path}")]
    FileMissing {
        /// The file.
        path: String,
    },
    /// The directory is built by a tool.
    #[error("failed to plan: {path} says that a tool builds this directory, which is not supported yet")]
    UnsupportedLayout {
        /// The file that says so.
        path: String,
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
    #[error("failed to revert: {path} was changed after the promotion; restore it by hand")]
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
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Tree(error) => error.reason(),
            Self::Edit { source, .. } => source.reason(),
            Self::FileMissing { .. } => "FileMissing",
            Self::UnsupportedLayout { .. } => "UnsupportedLayout",
            Self::CandidateChanged { .. } => "CandidateSuperseded",
            Self::BaselineChanged { .. } => "BaselineChanged",
            Self::MergedDifferently { .. } => "MergedDifferently",
            Self::RemovalChanged { .. } => "FileChanged",
            Self::SharedFile { .. } => "SharedFile",
            Self::SeveralExperiments { .. } => "Ambiguous",
            Self::DirectoryTooLarge { .. } => "DirectoryTooLarge",
        }
    }
}

/// The change that brings the candidate's content into the baseline's manifest.
pub fn plan_promote(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let directory = directory(files, spec)?;
    let (from, to) = (directory.join(&spec.from)?, directory.join(&spec.to)?);
    let (candidate, baseline) = (required(files, &from)?, required(files, &to)?);
    if spec.differs(&from, &candidate.id) && !on(Mutant::UntestedBlobPromoted) {
        return Err(PlanError::CandidateChanged { path: from.to_string() });
    }
    if spec.differs(&to, &baseline.id) {
        return Err(PlanError::BaselineChanged { path: to.to_string() });
    }
    let of = |path: &RepoPath| {
        let path = path.to_string();
        move |source| PlanError::Edit { path, source }
    };
    File::parse(&candidate.bytes)
        .and_then(|file| file.document(&spec.candidate.kind, &spec.candidate.name).map(|_| ()))
        .map_err(of(&from))?;
    let sides = (
        Side { bytes: &candidate.bytes, workload: &spec.candidate },
        Side { bytes: &baseline.bytes, workload: &spec.baseline },
    );
    let promotion = promote(sides.0, sides.1, &spec.fields, &spec.subset_labels).map_err(of(&to))?;
    let bytes = promotion.text.into_bytes();
    let after = BlobId::of(&bytes)?;
    let op = FileOp::Edit { before: baseline.id, after, bytes };
    let files = if promotion.changes.is_empty() { Vec::new() } else { vec![FileChange { path: to.to_string(), op }] };
    Ok(Change { files, fields: promotion.changes, unpromoted: promotion.unpromoted, missing: Vec::new() })
}

/// Both in one: the candidate's content in the baseline's manifest, and the experiment's files removed.
pub fn plan_whole(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let (mut change, removal) = (plan_promote(files, spec)?, plan_cleanup(files, spec)?);
    change.files.extend(removal.files);
    change.files.sort_by(|a, b| a.path.cmp(&b.path));
    change.missing.extend(removal.missing);
    Ok(change)
}

/// The change that takes a merged promotion back: the baseline's manifest gets the content that it had at the start.
///
/// Only while the manifest is what the promotion made of it; whoever changed it since has to decide.
pub fn plan_revert(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let directory = directory(files, spec)?;
    let (from, to) = (directory.join(&spec.from)?, directory.join(&spec.to)?);
    let now = required(files, &to)?;
    let recorded = |path: &RepoPath| {
        let missing = || PlanError::FileMissing { path: path.to_string() };
        let id = spec.expected.get(path.as_str()).ok_or_else(missing)?;
        Ok::<_, PlanError>((id, files.content(id)?))
    };
    let ((_, candidate), (before, baseline)) = (recorded(&from)?, recorded(&to)?);
    if now.id == *before {
        return Ok(Change::default());
    }
    let sides =
        (Side { bytes: &candidate, workload: &spec.candidate }, Side { bytes: &baseline, workload: &spec.baseline });
    let promotion = promote(sides.0, sides.1, &spec.fields, &spec.subset_labels)
        .map_err(|source| PlanError::Edit { path: to.to_string(), source })?;
    if now.id != BlobId::of(promotion.text.as_bytes())? {
        return Err(PlanError::MergedDifferently { path: to.to_string() });
    }
    let back = |change: FieldChange| FieldChange { before: change.after, after: change.before, ..change };
    let op = FileOp::Edit { before: now.id, after: before.clone(), bytes: baseline };
    let files = vec![FileChange { path: to.to_string(), op }];
    Ok(Change { files, fields: promotion.changes.into_iter().map(back).collect(), ..Change::default() })
}

/// The change that removes the experiment's files: its own manifest, the candidate's, and those that the spec lists.
pub fn plan_cleanup(files: &dyn Files, spec: &Spec) -> Result<Change, PlanError> {
    let directory = directory(files, spec)?;
    let mut paths = BTreeSet::from([directory.join(&spec.from)?]);
    for file in &spec.remove {
        paths.insert(directory.join(file)?);
    }
    let mut change = Change::default();
    match find_experiment(files, &directory, spec)? {
        Some((path, alone)) if alone || paths.contains(&path) => {
            paths.insert(path);
        }
        Some((path, _)) => return Err(PlanError::SharedFile { path: path.to_string() }),
        None => change.missing.push(format!("Experiment {}/{}", spec.namespace, spec.name)),
    }
    for path in paths {
        let Some(blob) = read(files, &path)? else {
            change.missing.push(path.to_string());
            continue;
        };
        if spec.differs(&path, &blob.id) && !on(Mutant::ForeignFileRemoved) {
            return Err(PlanError::RemovalChanged { path: path.to_string() });
        }
        if holds_baseline(&blob, &path, &directory, spec) {
            return Err(PlanError::SharedFile { path: path.to_string() });
        }
        change.files.push(FileChange { path: path.to_string(), op: FileOp::Remove { before: blob.id } });
    }
    Ok(change)
}

/// The pod template of the baseline's manifest, as Kubernetes reads it.
pub fn baseline_template(files: &dyn Files, spec: &Spec) -> Result<serde_json::Value, PlanError> {
    template(files, spec, &spec.to, &spec.baseline)
}

/// The candidate's pod template as Kubernetes reads it.
pub fn candidate_template(files: &dyn Files, spec: &Spec) -> Result<serde_json::Value, PlanError> {
    template(files, spec, &spec.from, &spec.candidate)
}

fn template(files: &dyn Files, spec: &Spec, file: &str, workload: &Workload) -> Result<serde_json::Value, PlanError> {
    let manifest = workload_manifest(files, spec, file, workload)?;
    manifest.pointer("/spec/template").cloned().ok_or_else(|| PlanError::Edit {
        path: format!("{}/{file}", spec.path),
        source: EditError::PathNotFound { path: "spec.template".to_owned() },
    })
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
    manifest.map_err(|source| PlanError::Edit { path: path.to_string(), source })
}

impl Spec {
    fn differs(&self, path: &RepoPath, found: &BlobId) -> bool {
        self.expected.get(path.as_str()).is_some_and(|expected| expected != found)
    }

    /// Whether a document is this experiment's manifest; one without a namespace gets it from the tool that applies it.
    fn is_experiment(&self, document: &Value) -> bool {
        let text = |value: Option<&Value>| value.and_then(Value::text).map(ToOwned::to_owned);
        let metadata = document.get("metadata");
        let namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
        text(document.get("kind")).as_deref() == Some("Experiment")
            && text(document.get("apiVersion")).is_some_and(|version| version.starts_with("iter8.tools/"))
            && text(metadata.and_then(|metadata| metadata.get("name"))).as_deref() == Some(&self.name)
            && namespace.is_none_or(|namespace| namespace == self.namespace)
    }
}

/// The spec's directory, unless a tool builds it.
fn directory(files: &dyn Files, spec: &Spec) -> Result<RepoPath, PlanError> {
    let directory: RepoPath = spec.path.parse()?;
    let entries = files.list(Some(&directory))?;
    match entries.iter().find(|entry| BUILD_FILES.contains(&entry.name.as_str())) {
        Some(entry) => Err(PlanError::UnsupportedLayout { path: format!("{directory}/{}", entry.name) }),
        None => Ok(directory),
    }
}

fn required(files: &dyn Files, path: &RepoPath) -> Result<Blob, PlanError> {
    read(files, path)?.ok_or_else(|| PlanError::FileMissing { path: path.to_string() })
}

/// The file of the experiment's own manifest, and whether that is all it holds.
fn find_experiment(
    files: &dyn Files,
    directory: &RepoPath,
    spec: &Spec,
) -> Result<Option<(RepoPath, bool)>, PlanError> {
    let mut entries = files.list(Some(directory))?;
    entries.retain(|entry| {
        entry.kind == EntryKind::File && [".yaml", ".yml"].iter().any(|ending| entry.name.ends_with(ending))
    });
    if entries.len() > MAX_FILES {
        return Err(PlanError::DirectoryTooLarge { path: directory.to_string() });
    }
    let mut found: Option<(RepoPath, bool)> = None;
    for entry in entries {
        // A name that is not accepted, or a file that is too large, cannot be the experiment's.
        let (Ok(path), Ok(bytes)) = (directory.join(&entry.name), files.content(&entry.id)) else { continue };
        let mentioned = String::from_utf8_lossy(&bytes).contains(&spec.name);
        let documents = match File::parse(&bytes) {
            Ok(file) => file.documents().to_vec(),
            // A file that names the experiment and cannot be understood might be its manifest.
            Err(source) if mentioned && String::from_utf8_lossy(&bytes).contains("Experiment") => {
                return Err(PlanError::Edit { path: path.to_string(), source });
            }
            Err(_) => continue,
        };
        if !documents.iter().any(|document| spec.is_experiment(document)) {
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

/// Whether a file to remove is, or holds, the baseline's manifest.
fn holds_baseline(blob: &Blob, path: &RepoPath, directory: &RepoPath, spec: &Spec) -> bool {
    let is_target = directory.join(&spec.to).is_ok_and(|to| to == *path);
    is_target
        || File::parse(&blob.bytes).is_ok_and(|file| file.document(&spec.baseline.kind, &spec.baseline.name).is_ok())
}
