//! Pull requests, whoever keeps them.
//!
//! One interface over the forges, whose answers differ; only facts come back, and every call is safe to repeat. Which request is
//! opened, closed or waited for is the engine's choice. Texts are rendered by [`super::render`] before they get here.

mod answer;
mod gitea;
mod github;
mod local;
mod memory;

use std::sync::Arc;
use std::time::Duration;

pub use gitea::Gitea;
pub(crate) use github::granted;
pub use github::{App, GitHub};
pub use local::{LocalForge, LocalPull, MergeStyle};
pub use memory::Memory;

use super::repository::Author;
use super::tree::CommitId;
use crate::engine::Cause;
use crate::telemetry::{self, Provider};

/// A forge that is in use.
#[derive(Debug, Clone)]
pub enum Forge {
    /// Gitea or Forgejo.
    Gitea(Gitea),
    /// GitHub, at github.com or an Enterprise server.
    GitHub(GitHub),
    /// A bare repository on this machine that keeps its own requests.
    Local(LocalForge),
}

/// How a forge is reached.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Whether `http://` is acceptable; the controller's configuration lists such hosts.
    pub allow_http: bool,
    /// Authorities whose certificates are accepted beside those of the system, PEM.
    pub ca: Option<Arc<str>>,
    /// What earlier clients learned.
    pub memory: Arc<Memory>,
}

/// A pull request as the forge knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its number in the repository.
    pub number: u64,
    /// Where people look at it.
    pub url: String,
    /// Open, merged or closed.
    pub state: PullState,
    /// The commit that would be, or was, merged.
    pub head: Option<CommitId>,
    /// The branch that it was opened for.
    pub head_branch: String,
    /// Whether it could be merged; unknown unless it is open. False also means "not computed yet" on some forges.
    pub mergeable: Option<bool>,
    /// The labels that it has, by name.
    pub labels: Vec<String>,
    /// Who is asked for a review and has not given one, by user name.
    pub reviewers: Vec<String>,
    /// Its text, Markdown.
    pub body: Option<String>,
    /// Whether a person has to mark it as ready before it can be merged.
    pub draft: bool,
}

impl Pull {
    /// Whether it is open and the forge says that it cannot be merged.
    pub fn in_conflict(&self) -> bool {
        self.state == PullState::Open && self.mergeable == Some(false)
    }
}

/// What became of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullState {
    /// It waits.
    Open,
    /// It is merged.
    Merged {
        /// The commit on the base branch, when the forge tells.
        commit: Option<CommitId>,
    },
    /// It was closed without a merge.
    Closed,
}

/// A pull request to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPull {
    /// The branch to merge.
    pub head: String,
    /// The branch to merge into.
    pub base: String,
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// Whether a person is to mark it as ready before it can be merged. Where the repository knows no drafts, it is opened as
    /// one that can.
    pub draft: bool,
}

/// A merge that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The only commit that may be merged.
    pub head: CommitId,
    /// Who merges, where that is not whose credential it is.
    pub author: Author,
    /// The merge's time in seconds since 1970, where the forge does not say it.
    pub time_seconds: i64,
}

/// What came of asking for a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merging {
    /// The request is merged.
    Done,
    /// Not by now: checks run or failed, a review is missing, the base moved on, or its head is another commit.
    NotYet {
        /// The forge's words.
        why: String,
    },
}

/// What a request has beside its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Labels, by name.
    pub labels: Vec<String>,
    /// User names of those who are asked for a review.
    pub reviewers: Vec<String>,
    /// Whether it is opened as a draft.
    pub draft: bool,
}

impl Extras {
    /// What an open request was to get and does not have, for people; nothing of one that has ended.
    pub fn lacking(&self, pull: &Pull) -> Vec<String> {
        if pull.state != PullState::Open {
            return Vec::new();
        }
        let lacks = |wanted: &[String], there: &[String], kind: &str| -> Vec<String> {
            let missing = wanted.iter().filter(|name| !has(there, name));
            missing.map(|name| format!("{kind} {name}")).collect()
        };
        let labels = lacks(&self.labels, &pull.labels, "label");
        labels.into_iter().chain(lacks(&self.reviewers, &pull.reviewers, "reviewer")).collect()
    }
}

/// What the credential may do in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// Push branches.
    pub can_push: bool,
    /// Read.
    pub can_pull: bool,
}

/// Why the forge did not do or tell something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// The repository's address has no owner and name, or may not be used.
    #[error("the repository's address cannot be used: {why}")]
    AddressRefused {
        /// What is wrong with it.
        why: &'static str,
    },
    /// An App's private key that cannot sign.
    #[error("failed to sign for the App: the private key is not an RSA key in PEM")]
    KeyUnusable,
    /// A new token of an App that the forge does not take yet.
    #[error("the App's new token is not valid everywhere at the forge yet")]
    TokenNotReady,
    /// 401.
    #[error("the forge rejected the credential (401)")]
    AuthenticationFailed,
    /// 403.
    #[error("the forge denied access (403)")]
    PermissionDenied,
    /// 404: the repository, the request or a branch, or the right to see it.
    #[error("the forge has no such repository, branch or request, or does not show it to this credential (404)")]
    NotFound,
    /// A redirect; none is followed.
    #[error("the repository moved: the forge redirects its address")]
    RepositoryMoved,
    /// The repository is read-only.
    #[error("the repository is archived and takes no writes")]
    RepositoryArchived,
    /// 429, or 403 with GitHub's marks of it.
    #[error("rate limited by the forge{}", .retry_after.map(|wait| format!(", asked to wait {} s", wait.as_secs())).unwrap_or_default())]
    RateLimited {
        /// How long the forge asks to wait.
        retry_after: Option<Duration>,
    },
    /// Head and base are the same.
    #[error("failed to open a request: it would change nothing")]
    NoChanges,
    /// The request is merged already.
    #[error("failed to close the request: it is already merged")]
    AlreadyMerged,
    /// The forge refused what was asked.
    #[error("the forge rejected the request: {message}")]
    Refused {
        /// The forge's words, without control characters.
        message: String,
    },
    /// Down, slow, or an answer that is not one.
    #[error("failed to reach the forge: {message}")]
    ProviderUnavailable {
        /// What happened, without addresses.
        message: String,
    },
    /// The local repository failed.
    #[error("failed to use the local repository: {message}")]
    Store {
        /// libgit2's words.
        message: String,
    },
}

impl ForgeError {
    /// The stable word for this error.
    pub fn cause(&self) -> Cause {
        match self {
            Self::AddressRefused { .. } => Cause::AddressRefused,
            Self::KeyUnusable => Cause::CredentialsMissing,
            Self::TokenNotReady => Cause::TokenNotReady,
            Self::AuthenticationFailed => Cause::AuthenticationFailed,
            Self::PermissionDenied => Cause::PermissionDenied,
            Self::NotFound => Cause::RepositoryNotFound,
            Self::RepositoryMoved => Cause::RepositoryMoved,
            Self::RepositoryArchived => Cause::RepositoryArchived,
            Self::RateLimited { .. } => Cause::RateLimited,
            Self::NoChanges => Cause::NoChange,
            Self::AlreadyMerged => Cause::AlreadyMerged,
            Self::Refused { .. } => Cause::RequestRefused,
            Self::ProviderUnavailable { .. } => Cause::ProviderUnavailable,
            Self::Store { .. } => Cause::RepositoryUnreadable,
        }
    }
}

impl Forge {
    /// The request from `head` into `base`, whatever its state: the oldest open one, else the newest.
    pub async fn find(&self, head: &str, base: &str) -> Result<Option<Pull>, ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.find(head, base).await,
                Self::GitHub(forge) => forge.find(head, base).await,
                Self::Local(forge) => forge.find(head, base),
            }
        })
        .await
    }

    /// The open requests from `head` into `base`, of which there is one at most unless two were opened at the same time.
    pub async fn open_from(&self, head: &str, base: &str) -> Result<Vec<Pull>, ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.open_from(head, base).await,
                Self::GitHub(forge) => forge.open_from(head, base).await,
                Self::Local(forge) => forge.open_from(head, base),
            }
        })
        .await
    }

    /// The request with this number.
    pub async fn get(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.get(number).await,
                Self::GitHub(forge) => forge.get(number).await,
                Self::Local(forge) => forge.get(number),
            }
        })
        .await
    }

    /// Opens a request, or returns the open one that exists for the same branches.
    pub async fn open(&self, new: &NewPull) -> Result<Pull, ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.open(new).await,
                Self::GitHub(forge) => forge.open(new).await,
                Self::Local(forge) => forge.open(new),
            }
        })
        .await
    }

    /// Replaces the body, and the title if there is one.
    pub async fn update_text(&self, number: u64, title: Option<&str>, body: &str) -> Result<(), ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.update_text(number, title, body).await,
                Self::GitHub(forge) => forge.update_text(number, title, body).await,
                Self::Local(forge) => forge.update_text(number, title, body),
            }
        })
        .await
    }

    /// Adds a comment.
    pub async fn comment(&self, number: u64, body: &str) -> Result<(), ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.comment(number, body).await,
                Self::GitHub(forge) => forge.comment(number, body).await,
                Self::Local(forge) => forge.comment(number, body),
            }
        })
        .await
    }

    /// Closes a request without merging it; one that is closed already stays so.
    pub async fn close(&self, number: u64) -> Result<(), ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.close(number).await,
                Self::GitHub(forge) => forge.close(number).await,
                Self::Local(forge) => forge.close(number),
            }
        })
        .await
    }

    /// Merges a request whose head is the given commit, as far as the forge's own rules allow. Its head is compared by the forge, so
    /// that nothing can come in between.
    pub async fn merge(&self, number: u64, merge: &Merge) -> Result<Merging, ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.merge(number, &merge.head).await,
                Self::GitHub(forge) => forge.merge(number, &merge.head).await,
                Self::Local(forge) => forge.merge_if(number, merge),
            }
        })
        .await
    }

    /// Adds labels and asks for reviews; what is there already stays. What the forge did not take comes back, a line each: a request
    /// without a label is worth more than none.
    pub async fn annotate(&self, number: u64, extras: &Extras) -> Vec<String> {
        match self {
            Self::Gitea(forge) => forge.annotate(number, extras).await,
            Self::GitHub(forge) => forge.annotate(number, extras).await,
            // A bare repository has neither labels nor people.
            Self::Local(_) => {
                let reviewers =
                    extras.reviewers.iter().map(|name| format!("reviewer `{name}` is not known to the forge"));
                absent(&extras.labels, &[]).into_iter().chain(reviewers).collect()
            }
        }
    }

    /// What the credential may do. Of a fine-grained GitHub token it is what its user may do, which can be more.
    pub async fn permissions(&self) -> Result<Permissions, ForgeError> {
        watched(async {
            match self {
                Self::Gitea(forge) => forge.permissions().await,
                Self::GitHub(forge) => forge.permissions().await,
                Self::Local(_) => Ok(Permissions { can_push: true, can_pull: true }),
            }
        })
        .await
    }
}

/// Measures an operation and counts its failure.
async fn watched<T>(operation: impl Future<Output = Result<T, ForgeError>>) -> Result<T, ForgeError> {
    telemetry::timed(Provider::Forge, ForgeError::cause, operation).await
}

/// Of several requests from one branch the one that counts: the oldest open one, else the newest.
fn foremost(pulls: impl IntoIterator<Item = Pull>) -> Option<Pull> {
    let rank = |pull: &Pull| {
        let open = pull.state == PullState::Open;
        (open, if open { u64::MAX - pull.number } else { pull.number })
    };
    pulls.into_iter().max_by_key(rank)
}

/// Whether a label or a user is in a list. Case does not count at the forges.
fn has(there: &[String], name: &str) -> bool {
    there.iter().any(|there| there.eq_ignore_ascii_case(name))
}

/// The labels that a request was to get and does not have.
fn absent(wanted: &[String], there: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|label| !has(there, label));
    missing.map(|label| format!("label `{label}` does not exist at the forge; create it there")).collect()
}
