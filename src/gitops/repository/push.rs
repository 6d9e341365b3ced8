//! Pushing and deleting branches under a lease.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::sync::Arc;

use git2::{Oid, PushOptions, RemoteCallbacks, Repository, RepositoryOpenFlags};
use tempfile::TempDir;

use super::super::tree::CommitId;
use super::{Link, PushError, RepositoryError, Session, branch_ref};

/// Most bytes of a hook's words that are looked through for the credential before they are cut to what is shown: one that
/// the limit cuts in two is not recognised, and has to be far behind what is shown even if all before it is taken out.
const MAX_WORDS: usize = 64 << 10;

/// Where a branch must be for a push to go ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// Nowhere: the push creates it.
    Absent,
    /// At this commit.
    At(CommitId),
}

impl Lease {
    fn oid(&self) -> Oid {
        match self {
            Self::Absent => Oid::ZERO_SHA1,
            Self::At(commit) => commit.oid(),
        }
    }
}

fn commit_or_none(oid: Oid) -> Option<CommitId> {
    (oid != Oid::ZERO_SHA1).then(|| oid.into())
}

impl Session {
    /// [`Sender::push`], from here.
    pub fn push(&self, commit: &CommitId, branch: &str, lease: &Lease) -> Result<(), PushError> {
        self.sender()?.push(commit, branch, lease)
    }

    /// [`Sender::delete_branch`], from here.
    pub fn delete_branch(&self, branch: &str, lease: &Lease) -> Result<(), PushError> {
        self.sender()?.delete_branch(branch, lease)
    }
}

/// Pushes what is in a clone. It only reads there, so that nobody who uses the clone waits for a server's hooks.
pub struct Sender {
    repository: Repository,
    link: Link,
    /// Kept while there is something to send.
    _folder: Arc<TempDir>,
}

impl Sender {
    pub(super) fn new(folder: Arc<TempDir>, link: Link) -> Result<Self, RepositoryError> {
        // Not `open_bare`, which does not read where a shallow history ends.
        let flags = RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_SEARCH;
        let repository = Repository::open_ext(folder.path(), flags, std::iter::empty::<&OsStr>());
        let repository = repository.map_err(|error| RepositoryError::from(&error))?;
        Ok(Self { repository, link, _folder: folder })
    }

    /// Puts `branch` at `commit` if the lease holds. Repeating a push that succeeded is a success, whatever the lease.
    pub fn push(&self, commit: &CommitId, branch: &str, lease: &Lease) -> Result<(), PushError> {
        // `+`: the lease, not ancestry, says what may be replaced; a shallow history knows no ancestry.
        self.send(&format!("+{commit}:{}", branch_ref(branch)?), Some(commit), branch, lease)
    }

    /// Deletes `branch` if the lease holds. A branch that is gone already is a success.
    pub fn delete_branch(&self, branch: &str, lease: &Lease) -> Result<(), PushError> {
        self.send(&format!(":{}", branch_ref(branch)?), None, branch, lease)
    }

    /// The server's word about a ref and its hooks' words, as they may be shown.
    fn refusal(&self, status: &str, said: &[u8]) -> PushError {
        PushError::of_status(&self.link.harmless(status), &self.link.harmless(&String::from_utf8_lossy(said)))
    }

    /// Pushes one refspec; the lease is checked against what the server says in this very exchange, and by the server once more.
    fn send(&self, refspec: &str, wanted: Option<&CommitId>, branch: &str, lease: &Lease) -> Result<(), PushError> {
        self.link.begin();
        let verdict: RefCell<Option<PushError>> = RefCell::new(None);
        let (confirmed, there) = (Cell::new(false), Cell::new(false));
        let target = wanted.map_or(Oid::ZERO_SHA1, CommitId::oid);
        let said = RefCell::new(Vec::new());
        let mut callbacks = RemoteCallbacks::new();
        // What a hook prints, which often says more than the ref's status.
        callbacks.sideband_progress(|text| {
            let mut said = said.borrow_mut();
            let room = MAX_WORDS.saturating_sub(said.len());
            said.extend(text.iter().take(room));
            true
        });
        callbacks.push_negotiation(|updates| {
            for update in updates {
                if update.src() == target {
                    there.set(true);
                    return Err(git2::Error::from_str("nothing is left to do"));
                }
                if update.src() != lease.oid() {
                    verdict.replace(Some(PushError::LeaseLost { found: commit_or_none(update.src()) }));
                    return Err(git2::Error::from_str("the lease is lost"));
                }
            }
            Ok(())
        });
        // A refused ref is no error to libgit2: only this callback tells.
        callbacks.push_update_reference(|_, status| {
            confirmed.set(true);
            if let Some(status) = status {
                verdict.replace(Some(self.refusal(status, &said.borrow())));
            }
            Ok(())
        });
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks);
        let pushed = self
            .repository
            .remote_anonymous(&self.link.address())
            .and_then(|mut remote| remote.push(&[refspec], Some(&mut options)));
        drop(options);
        if there.get() {
            return Ok(());
        }
        if let Some(verdict) = verdict.take() {
            return Err(verdict);
        }
        match pushed {
            Ok(()) if confirmed.get() => Ok(()),
            // The server said nothing about the ref: only a look can tell.
            Ok(()) => match self.link.heads([branch])? {
                [found] if found.as_ref() == wanted => Ok(()),
                [found] => Err(PushError::LeaseLost { found }),
            },
            Err(error) if error.code() == git2::ErrorCode::NotFastForward => Err(PushError::NotFastForward),
            Err(error) => Err(self.link.explain(&error).into()),
        }
    }
}
