//! What both outcomes of an experiment would change in a checkout of the environment repository, as unified diffs.
//!
//! Reads a folder and writes nothing; the plans are those of the controller. Called by `reiter8 plan` and `reiter8 check`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use similar::TextDiff;

use super::edit::MAX_BYTES;
use super::lock;
use super::plan::{
    Change, FileChange, FileOp, PlanError, Spec, baseline_template, candidate_template, plan_cleanup, plan_discard,
    plan_promote, plan_whole,
};
use super::tree::{BlobId, Entry, EntryKind, Files, Overlay, RepoPath, TreeError, read};

/// Lines around a change.
const CONTEXT: usize = 3;
/// Longest diff of one request, bytes: more than anybody reads, and less than a directory of large files would make.
pub const MAX_DIFF: usize = 128 << 10;
/// Longest search for the shortest diff of one file; a longer diff says the same. Files are small, only hostile ones need it.
const MAX_SEARCH: Duration = Duration::from_secs(2);

/// A folder as if it were committed.
pub struct Folder {
    root: PathBuf,
    /// Where a content was seen, by its id.
    seen: Mutex<BTreeMap<BlobId, PathBuf>>,
}

impl Folder {
    /// The folder that holds the whole repository.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), seen: Mutex::default() }
    }

    fn content_at(path: &Path) -> Result<Vec<u8>, TreeError> {
        let failed = |error: std::io::Error| TreeError::Store { message: format!("{}: {error}", path.display()) };
        let size = fs::symlink_metadata(path).map_err(failed)?.len();
        if size > MAX_BYTES as u64 {
            return Err(TreeError::TooLarge { path: path.display().to_string() });
        }
        fs::read(path).map_err(failed)
    }
}

impl Files for Folder {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let mut folder = self.root.clone();
        for part in directory.into_iter().flat_map(|path| path.as_str().split('/')) {
            folder.push(part);
            match fs::symlink_metadata(&folder) {
                Ok(found) if found.is_dir() => {}
                Ok(found) => {
                    let found = if found.is_symlink() { EntryKind::Link } else { EntryKind::File };
                    return Err(TreeError::NotAFile { path: folder.display().to_string(), found });
                }
                Err(_) => return Ok(Vec::new()),
            }
        }
        let failed = |error: std::io::Error| TreeError::Store { message: format!("{}: {error}", folder.display()) };
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not text cannot be asked for.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type().map_err(failed)?;
            let (kind, id) = if kind.is_dir() {
                (EntryKind::Directory, BlobId::of(b"")?)
            } else if kind.is_file() {
                // One that is too large is refused when it is asked for.
                let id = BlobId::of(
                    &Self::content_at(&entry.path())
                        .unwrap_or_else(|_| entry.path().display().to_string().into_bytes()),
                )?;
                lock(&self.seen).insert(id.clone(), entry.path());
                (EntryKind::File, id)
            } else {
                (if kind.is_symlink() { EntryKind::Link } else { EntryKind::Other }, BlobId::of(b"")?)
            };
            entries.push(Entry { name, kind, id });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        let path = lock(&self.seen).get(id).cloned();
        path.map_or_else(
            || Err(TreeError::Store { message: format!("{id} is not in the folder") }),
            |path| Self::content_at(&path),
        )
    }
}

/// What one request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// `edit` or `remove`, and the path from the root, in the order of paths. None: it changes nothing.
    pub files: Vec<(&'static str, String)>,
    /// The unified diff, at most [`MAX_DIFF`] bytes of whole lines.
    pub diff: String,
    /// Whether the diff goes on.
    pub truncated: bool,
}

/// What both outcomes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// The request that promotes the candidate.
    pub promote: Proposal,
    /// The request that then removes the experiment.
    pub cleanup: Proposal,
    /// The only request when the baseline stays.
    pub discard: Proposal,
    /// Places where the candidate differs from the baseline and that are not promoted.
    pub unpromoted: Vec<String>,
    /// Files and entries to remove that are not there.
    pub missing: Vec<String>,
}

/// Plans both outcomes on a snapshot.
pub fn outcomes(files: &dyn Files, spec: &Spec) -> Result<Outcomes, PlanError> {
    let promote = plan_promote(files, spec)?;
    // What the cluster will be compared with has to be known as well.
    baseline_template(files, spec).and_then(|_| candidate_template(files, spec))?;
    let promoted = Overlay::new(files, &promote);
    let (cleanup, discard) = (plan_cleanup(&promoted, spec)?, plan_discard(files, spec)?);
    Ok(Outcomes {
        promote: proposal(files, &promote)?,
        cleanup: proposal(&promoted, &cleanup)?,
        discard: proposal(files, &discard)?,
        unpromoted: promote.unpromoted,
        missing: discard.missing,
    })
}

/// The request that promotes and cleans up at once.
pub fn whole(files: &dyn Files, spec: &Spec) -> Result<Proposal, PlanError> {
    proposal(files, &plan_whole(files, spec)?)
}

/// A change to a snapshot, for people.
fn proposal(files: &dyn Files, change: &Change) -> Result<Proposal, PlanError> {
    let mut diff = String::new();
    for file in &change.files {
        diff += &of_file(files, file)?;
        if diff.len() > MAX_DIFF {
            break;
        }
    }
    let truncated = diff.len() > MAX_DIFF;
    if truncated {
        // After a line's end, which is also the end of a character.
        let end = diff.as_bytes().get(..MAX_DIFF).and_then(|shown| shown.iter().rposition(|byte| *byte == b'\n'));
        diff.truncate(end.map_or(0, |end| end + 1));
    }
    let name = |file: &FileChange| match file.op {
        FileOp::Edit { .. } => ("edit", file.path.clone()),
        FileOp::Remove { .. } => ("remove", file.path.clone()),
    };
    Ok(Proposal { files: change.files.iter().map(name).collect(), diff, truncated })
}

/// The unified diff of one file, in git's form.
fn of_file(files: &dyn Files, file: &FileChange) -> Result<String, PlanError> {
    let path: RepoPath = file.path.parse()?;
    let before = read(files, &path)?.ok_or_else(|| PlanError::FileMissing { path: file.path.clone() })?.bytes;
    let (after, name) = match &file.op {
        FileOp::Edit { bytes, .. } => (bytes.as_slice(), format!("b/{path}")),
        FileOp::Remove { .. } => (&[][..], "/dev/null".to_owned()),
    };
    let (before, after) = (String::from_utf8_lossy(&before), String::from_utf8_lossy(after));
    let diff = TextDiff::configure().timeout(MAX_SEARCH).diff_lines(before.as_ref(), after.as_ref());
    Ok(diff.unified_diff().context_radius(CONTEXT).header(&format!("a/{path}"), &name).to_string())
}
