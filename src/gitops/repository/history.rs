//! What the base branch held before its head. A clone has one commit until somebody asks for more.

use git2::{ErrorCode, ObjectType};

use super::super::tree::{BlobId, CommitId};
use super::{Depth, RepositoryError, Session};

/// Commits of the base branch that are searched: days of a busy repository, between two turns of a minute.
pub(super) const MOST_COMMITS: i32 = 500;

impl Session {
    /// Whether the base branch holds a commit, which is looked for below its head of now.
    pub fn holds(&mut self, commit: &CommitId) -> Result<bool, RepositoryError> {
        if self.refresh()? == commit {
            return Ok(true);
        }
        // One that was made here on this very head is not below it.
        let made = self.repository.find_commit(commit.oid());
        if made.is_ok_and(|made| made.parent_id(0).is_ok_and(|base| base == self.head.oid())) {
            return Ok(false);
        }
        self.fetch(Depth::History)?;
        let mut walk = self.repository.revwalk()?;
        walk.push(self.head.oid())?;
        for found in walk.take(usize::try_from(MOST_COMMITS).unwrap_or(usize::MAX)) {
            if found? == commit.oid() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fetches older commits if one of these contents is not here: a content that was replaced lives in them alone.
    pub fn recall<'a>(&mut self, blobs: impl IntoIterator<Item = &'a BlobId>) -> Result<(), RepositoryError> {
        let mut all = true;
        for blob in blobs {
            all &= match self.repository.odb()?.read_header(blob.oid()) {
                Ok((_, kind)) => kind == ObjectType::Blob,
                Err(error) if error.code() == ErrorCode::NotFound => false,
                Err(error) => return Err(error.into()),
            };
        }
        if !all {
            self.fetch(Depth::History)?;
        }
        Ok(())
    }
}
