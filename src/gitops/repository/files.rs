//! [`Files`] over a git tree.

use git2::{ErrorCode, FileMode, ObjectType, Repository, Tree};

use super::super::edit::MAX_BYTES;
use super::super::tree::{BlobId, Entry, EntryKind, Files, RepoPath, TreeError};

/// The files of one tree of a repository.
pub(super) struct GitFiles<'r> {
    repository: &'r Repository,
    root: Tree<'r>,
}

impl<'r> GitFiles<'r> {
    pub(super) fn new(repository: &'r Repository, root: Tree<'r>) -> Self {
        Self { repository, root }
    }

    fn entries(tree: &Tree<'_>) -> Vec<Entry> {
        // A name that is not text cannot be asked for.
        let named =
            tree.iter().filter_map(|entry| Some((entry.name().ok()?.to_owned(), entry.filemode_raw(), entry.id())));
        named.map(|(name, mode, id)| Entry { name, kind: kind(mode), id: id.into() }).collect()
    }
}

/// Of the mode as it is written: libgit2 would take what it does not know for a file, git for a submodule.
fn kind(mode: i32) -> EntryKind {
    match mode {
        _ if mode == i32::from(FileMode::Tree) => EntryKind::Directory,
        _ if mode == i32::from(FileMode::Link) => EntryKind::Link,
        _ if [FileMode::Blob, FileMode::BlobExecutable, FileMode::BlobGroupWritable].map(i32::from).contains(&mode) => {
            EntryKind::File
        }
        _ => EntryKind::Other,
    }
}

fn store(error: &git2::Error) -> TreeError {
    TreeError::Store { message: error.message().to_owned() }
}

impl Files for GitFiles<'_> {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let Some(path) = directory else { return Ok(Self::entries(&self.root)) };
        let entry = match self.root.get_path(std::path::Path::new(path.as_str())) {
            Ok(entry) => entry,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(store(&error)),
        };
        match kind(entry.filemode_raw()) {
            EntryKind::Directory => {
                self.repository.find_tree(entry.id()).map(|tree| Self::entries(&tree)).map_err(|error| store(&error))
            }
            found @ (EntryKind::File | EntryKind::Link | EntryKind::Other) => {
                Err(TreeError::NotAFile { path: path.to_string(), found })
            }
        }
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        let odb = self.repository.odb().map_err(|error| store(&error))?;
        // The size is known before anything is unpacked.
        let (size, found) = odb.read_header(id.oid()).map_err(|error| store(&error))?;
        if size > MAX_BYTES || found != ObjectType::Blob {
            return Err(TreeError::TooLarge { path: id.to_string() });
        }
        self.repository.find_blob(id.oid()).map(|blob| blob.content().to_vec()).map_err(|error| store(&error))
    }
}
