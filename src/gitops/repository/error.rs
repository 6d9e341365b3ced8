//! Why the repository cannot be read or written.

use std::time::Duration;

use super::super::transport::{Failure, one_line};
use super::super::tree::CommitId;
use crate::engine::Cause;

/// Why the repository cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// The exchange with the server failed.
    #[error(transparent)]
    Remote(#[from] Failure),
    /// The address is not one that is used.
    #[error("the repository's address cannot be used: {why}")]
    UrlRefused {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a branch name.
    #[error("invalid branch name {branch:?}")]
    BadBranch {
        /// The text.
        branch: String,
    },
    /// The remote has no such branch.
    #[error("failed to find the branch {branch}")]
    BranchMissing {
        /// The branch.
        branch: String,
    },
    /// A file of the base is not the one that the change was computed from.
    #[error("failed to commit: {path} is not what the change was planned on")]
    BaseMoved {
        /// The file.
        path: String,
    },
    /// The temporary repository failed.
    #[error("failed to use the temporary repository: {message}")]
    Store {
        /// libgit2's or the system's words.
        message: String,
    },
}

impl RepositoryError {
    /// The stable word for this error.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Remote(failure) => failure.cause(),
            Self::UrlRefused { .. } => Cause::AddressRefused,
            Self::BadBranch { .. } => Cause::InvalidBranch,
            Self::BranchMissing { .. } => Cause::BaseBranchMissing,
            Self::BaseMoved { .. } => Cause::BaseMoved,
            Self::Store { .. } => Cause::RepositoryUnreadable,
        }
    }
}

impl RepositoryError {
    /// The same with other words where they may be the server's.
    #[must_use]
    pub(super) fn reworded(self, reword: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Remote(Failure::ProviderUnavailable { message }) => {
                Failure::ProviderUnavailable { message: reword(&message) }.into()
            }
            Self::Store { message } => Self::Store { message: reword(&message) },
            other => other,
        }
    }
}

impl Failure {
    /// The stable word for this failure.
    pub fn cause(&self) -> Cause {
        match self {
            Self::AuthenticationFailed => Cause::AuthenticationFailed,
            Self::PermissionDenied => Cause::PermissionDenied,
            Self::RepositoryNotFound => Cause::RepositoryNotFound,
            Self::RepositoryMoved => Cause::RepositoryMoved,
            Self::RateLimited { .. } => Cause::RateLimited,
            Self::ProviderUnavailable { .. } | Self::TimedOut => Cause::ProviderUnavailable,
            Self::TooLarge { .. } => Cause::RepositoryTooLarge,
        }
    }

    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => *retry_after,
            Self::AuthenticationFailed
            | Self::PermissionDenied
            | Self::RepositoryNotFound
            | Self::RepositoryMoved
            | Self::ProviderUnavailable { .. }
            | Self::TooLarge { .. }
            | Self::TimedOut => None,
        }
    }
}

impl From<&git2::Error> for RepositoryError {
    fn from(error: &git2::Error) -> Self {
        match (error.class(), error.code()) {
            (_, git2::ErrorCode::User) => Failure::TimedOut.into(),
            (git2::ErrorClass::Net | git2::ErrorClass::Http, _) => {
                Failure::ProviderUnavailable { message: error.message().to_owned() }.into()
            }
            _ => Self::Store { message: error.message().to_owned() },
        }
    }
}

impl From<git2::Error> for RepositoryError {
    fn from(error: git2::Error) -> Self {
        Self::from(&error)
    }
}

/// Why a branch was not written. After `Repository` the branch's state is unknown: read it before deciding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The exchange failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A hook of the server refused the branch.
    #[error("failed to push: a hook of the server rejected it: {message}")]
    HookRejected {
        /// The server's words, without control characters.
        message: String,
    },
    /// The branch is protected.
    #[error("failed to push: the branch is protected: {message}")]
    ProtectedBranch {
        /// The server's words, without control characters.
        message: String,
    },
    /// The branch is not where the lease says.
    #[error("failed to push: the branch is at {}", found.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string))]
    LeaseLost {
        /// Where it is.
        found: Option<CommitId>,
    },
    /// The server accepts only commits that continue the branch.
    #[error("failed to push: the server takes only commits that continue the branch")]
    NotFastForward,
}

impl PushError {
    /// The stable word for this error.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Repository(error) => error.cause(),
            Self::HookRejected { .. } => Cause::HookRejected,
            Self::ProtectedBranch { .. } => Cause::ProtectedBranch,
            Self::LeaseLost { .. } => Cause::BranchEdited,
            Self::NotFastForward => Cause::NotFastForward,
        }
    }

    /// The server's word about one ref, and what its hooks said meanwhile.
    pub(super) fn of_status(status: &str, said: &str) -> Self {
        let message = one_line(format!("{status}. {said}").trim_end_matches([' ', '.', '\n']));
        let lower = message.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&["protected"]) {
            Self::ProtectedBranch { message }
        } else if says(&["non-fast-forward", "fetch first", "non-fast forward"]) {
            Self::NotFastForward
        } else if says(&[
            "failed to update ref",
            "cannot lock ref",
            "stale info",
            "reference already exists",
            "failed to lock",
        ]) {
            // Somebody was faster between the server's answer to our question and its update of the ref.
            Self::LeaseLost { found: None }
        } else {
            Self::HookRejected { message }
        }
    }
}
