//! Commits of whole files, and what such a commit changes.

use git2::build::TreeUpdateBuilder;
use git2::{DiffFormat, FileMode, Signature, Time};

use super::super::tree::{CommitId, RepoPath, read};
use super::{CommitText, RepositoryError, Session};

/// Longest diff that is rendered, in bytes: a few manifests are some KiB.
const MAX_DIFF: usize = 1 << 20;

/// A file as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Where.
    pub path: RepoPath,
    /// The content; `None` removes the file, which must be there.
    pub content: Option<Vec<u8>>,
}

impl Session {
    /// Writes a commit on `base` with these files, without any branch; the same arguments give the same id. Links, submodules and
    /// directories are never written over or through.
    pub fn put(&self, base: &CommitId, files: &[Put], text: CommitText<'_>) -> Result<CommitId, RepositoryError> {
        let parent = self.repository.find_commit(base.oid())?;
        let tree = parent.tree()?;
        let mut update = TreeUpdateBuilder::new();
        for file in files {
            let there = read(&self.files_at(base)?, &file.path);
            there.map_err(|error| RepositoryError::Store { message: error.to_string() })?;
            let path = file.path.as_str();
            let Some(content) = &file.content else {
                update.remove(path);
                continue;
            };
            let mode = tree.get_path(std::path::Path::new(path)).map_or(0, |entry| entry.filemode());
            let executable = mode == i32::from(FileMode::BlobExecutable);
            let mode = if executable { FileMode::BlobExecutable } else { FileMode::Blob };
            update.upsert(path, self.repository.blob(content)?, mode);
        }
        let tree = self.repository.find_tree(update.create_updated(&self.repository, &tree)?)?;
        let signature = Signature::new(&text.author.name, &text.author.email, &Time::new(text.time_seconds, 0))?;
        let commit = self.repository.commit(None, &signature, &signature, text.message, &tree, &[&parent])?;
        Ok(commit.into())
    }

    /// A unified diff between two commits of this session, cut at 1 MiB.
    pub fn diff(&self, old: &CommitId, new: &CommitId) -> Result<String, RepositoryError> {
        let tree = |commit: &CommitId| self.repository.find_commit(commit.oid())?.tree();
        let (old, new) = (tree(old)?, tree(new)?);
        let diff = self.repository.diff_tree_to_tree(Some(&old), Some(&new), None)?;
        let mut bytes = Vec::new();
        diff.print(DiffFormat::Patch, |_, _, line| {
            if matches!(line.origin(), '+' | '-' | ' ') {
                bytes.push(u8::try_from(line.origin()).unwrap_or(b' '));
            }
            bytes.extend_from_slice(line.content());
            bytes.len() < MAX_DIFF
        })
        .or_else(|error| if error.code() == git2::ErrorCode::User { Ok(()) } else { Err(error) })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
