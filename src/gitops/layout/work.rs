//! A change in the making: the snapshot with the edits so far, and what they relied on.

use std::collections::BTreeMap;

use crate::gitops::edit::{Document, EditError, Edited, File, Path, Selector, Value};
use crate::gitops::plan::{Change, FileChange, FileOp, PlanError, Spec};
use crate::gitops::tree::{Blob, BlobId, Files, RepoPath, read};

/// An edit of one place, as it can be taken back.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// The file's path from the root.
    pub(crate) file: String,
    /// The place.
    pub(crate) at: Selector,
}

/// A change in the making.
pub(crate) struct Work<'w> {
    files: &'w dyn Files,
    pub(super) spec: &'w Spec,
    pub(super) directory: RepoPath,
    /// Files that were edited or removed: their first content and the present one.
    touched: BTreeMap<String, (BlobId, Option<Vec<u8>>)>,
    /// What is told about the change; its files are added at the end.
    pub(super) told: Change,
    /// The places of edits that did not take their file as a whole.
    pub(crate) marks: Vec<Mark>,
}

impl<'w> Work<'w> {
    pub(crate) fn new(files: &'w dyn Files, spec: &'w Spec) -> Result<Self, PlanError> {
        let directory = spec.path.parse()?;
        Ok(Self { files, spec, directory, touched: BTreeMap::new(), told: Change::default(), marks: Vec::new() })
    }

    /// A file of the directory.
    pub(super) fn path(&self, file: &str) -> Result<RepoPath, PlanError> {
        Ok(self.directory.join(file)?)
    }

    pub(super) fn files(&self) -> &'w dyn Files {
        self.files
    }

    /// The file with the edits so far, and the id that it has without them.
    pub(super) fn find(&self, path: &RepoPath) -> Result<Option<Blob>, PlanError> {
        match self.touched.get(path.as_str()) {
            Some((id, bytes)) => Ok(bytes.clone().map(|bytes| Blob { id: id.clone(), bytes })),
            None => Ok(read(self.files, path)?),
        }
    }

    /// [`Self::find`] of a file that is needed.
    pub(super) fn need(&self, path: &RepoPath) -> Result<Blob, PlanError> {
        self.find(path)?.ok_or_else(|| PlanError::FileMissing { path: path.to_string() })
    }

    /// Keeps an edited file.
    pub(super) fn put(&mut self, path: &RepoPath, was: &Blob, edited: Edited) {
        self.told.recorded.insert(path.to_string(), was.id.clone());
        if !edited.changes.is_empty() {
            self.told.fields.extend(edited.changes);
            self.touched.insert(path.to_string(), (was.id.clone(), Some(edited.text.into_bytes())));
        }
    }

    /// Removes a file.
    pub(super) fn remove(&mut self, path: &RepoPath, was: &Blob) {
        self.told.recorded.insert(path.to_string(), was.id.clone());
        self.touched.insert(path.to_string(), (was.id.clone(), None));
    }

    /// Whether the file was removed by this change.
    pub(super) fn is_removed(&self, path: &RepoPath) -> bool {
        self.touched.get(path.as_str()).is_some_and(|(_, bytes)| bytes.is_none())
    }

    /// Whether a part of a file is what it was at the start, as far as that is recorded; it is recorded now.
    pub(super) fn same_part(&mut self, path: &RepoPath, at: &Selector, value: &Value) -> Result<bool, PlanError> {
        let (key, id) = (part(path, &at.document, &at.path), BlobId::of(value.to_json().to_string().as_bytes())?);
        if self.told.recorded.contains_key(&key) {
            // What an earlier verb of this change made of it is no news.
            return Ok(true);
        }
        let same = self.spec.expected.get(&key).is_none_or(|expected| *expected == id);
        self.told.recorded.insert(key, id);
        Ok(same)
    }

    /// Reads and edits a file of the directory.
    pub(super) fn edit(
        &mut self,
        path: &RepoPath,
        edit: impl FnOnce(&File<'_>) -> Result<Edited, EditError>,
    ) -> Result<(), PlanError> {
        let blob = self.need(path)?;
        let edited = File::parse(&blob.bytes).and_then(|file| edit(&file)).map_err(of(path))?;
        self.put(path, &blob, edited);
        Ok(())
    }

    /// What a place means, if it is there.
    pub(super) fn value(&self, path: &RepoPath, at: &Selector) -> Result<Option<Value>, PlanError> {
        let blob = self.need(path)?;
        let file = File::parse(&blob.bytes).map_err(of(path))?;
        Ok(file.value(&at.document).map_err(of(path))?.at(&at.path).cloned())
    }

    /// The change.
    pub(crate) fn finish(self) -> Result<Change, PlanError> {
        let files = self.touched.into_iter().map(|(path, (before, bytes))| {
            let op = match bytes {
                Some(bytes) => FileOp::Edit { before, after: BlobId::of(&bytes)?, bytes },
                None => FileOp::Remove { before },
            };
            Ok::<_, PlanError>(FileChange { path, op })
        });
        let mut files: Vec<FileChange> = files.collect::<Result<_, _>>()?;
        files.retain(|file| !matches!(&file.op, FileOp::Edit { before, after, .. } if before == after));
        Ok(Change { files, ..self.told })
    }
}

/// A file that cannot be edited or understood.
pub(super) fn of(path: &RepoPath) -> impl Fn(EditError) -> PlanError + use<> {
    let path = path.to_string();
    move |why| PlanError::Edit { path: path.clone(), why }
}

/// What a part of a file is called among the recorded contents. No path of a repository has a `#`.
fn part(path: &RepoPath, document: &Document, place: &Path) -> String {
    match document {
        Document::Only => format!("{path}#{place}"),
        Document::Named { kind, name } => format!("{path}#{kind}/{name}#{place}"),
        Document::At(index) => format!("{path}#{index}#{place}"),
    }
}
