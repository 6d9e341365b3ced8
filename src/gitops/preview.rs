//! A checkout of the environment repository as a snapshot, and changes of one as unified diffs.
//!
//! Reads a folder and writes nothing; what is changed is planned elsewhere. Called by `reiter8 plan` and `reiter8 check`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use similar::TextDiff;

use super::edit::MAX_BYTES;
use super::plan::{Change, FileChange, FileOp, PlanError};
use super::tree::{BlobId, Entry, EntryKind, Files, RepoPath, TreeError, read};

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
                self.seen.lock().insert(id.clone(), entry.path());
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
        let path = self.seen.lock().get(id).cloned();
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

/// A change to a snapshot, for people.
pub fn proposal(files: &dyn Files, change: &Change) -> Result<Proposal, PlanError> {
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
    let files = change.files.iter().map(|file| (file.op.verb(), file.path.clone())).collect();
    Ok(Proposal { files, diff, truncated })
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
