//! What a step wants done. Effects are desired states, not events: performing one twice is harmless, and one that
//! failed is derived again from the next observation.

use jiff::Timestamp;

use crate::fact::CommitId;
use crate::progress::Progress;
use crate::rest::Rest;
use crate::split::Split;
use crate::stage::Request;

/// A desired state of something outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// This experiment holds its target.
    Claim,
    /// It holds the target no longer.
    Release,
    /// The candidates' weights in every route; the baseline has the rest.
    Route(Split),
    /// The request's branch is at this commit, made on this base. Only an absent branch is created.
    Push {
        /// The request the branch is for.
        request: Request,
        /// The commit it is made on.
        base: CommitId,
        /// The commit.
        commit: CommitId,
    },
    /// There is one request from the branch.
    Open {
        /// The request.
        request: Request,
        /// The commit that its change was made on.
        base: CommitId,
    },
    /// The base branch holds this commit, made on this base, its head. Only that head is replaced.
    Commit {
        /// What the commit is for.
        request: Request,
        /// The commit it is made on.
        base: CommitId,
        /// The commit.
        commit: CommitId,
    },
    /// The request of this number is merged, if this commit is its head and the forge's rules let it be.
    Merge {
        /// The request.
        request: Request,
        /// Its number.
        number: u64,
        /// The only commit that may be merged.
        commit: CommitId,
    },
    /// The text of the request of this number tells the news, unless a person changed it.
    Rewrite {
        /// The request, with the news.
        request: Request,
        /// The commit that its change was made on.
        base: CommitId,
        /// Its number.
        number: u64,
        /// Now: the text says when it was written.
        at: Timestamp,
    },
    /// The request of this number is not open any more, and says why.
    Close {
        /// Its number.
        number: u64,
        /// One sentence without a full stop, for people.
        why: String,
    },
    /// There is no such branch, if it was at this commit.
    Delete {
        /// The branch of a request that has ended.
        branch: String,
        /// The only commit at which it is deleted.
        commit: CommitId,
    },
    /// The resource may be deleted as far as this experiment is concerned.
    Forget,
}

impl Effect {
    /// The name used in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Claim => "Claim",
            Self::Release => "Release",
            Self::Route(_) => "Route",
            Self::Push { .. } => "Push",
            Self::Open { .. } => "Open",
            Self::Commit { .. } => "Commit",
            Self::Merge { .. } => "Merge",
            Self::Rewrite { .. } => "Rewrite",
            Self::Close { .. } => "Close",
            Self::Delete { .. } => "Delete",
            Self::Forget => "Forget",
        }
    }
}

/// Something a person may want to know, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `CamelCase` reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Whether it is bad news.
    pub warning: bool,
}

/// When the next step is due, if nothing changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// At this time.
    At(Timestamp),
    /// Only when something changes.
    OnChange,
}

/// The engine's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What to remember; commit it before performing anything.
    pub progress: Progress,
    /// What to do.
    pub effects: Vec<Effect>,
    /// What to tell.
    pub notices: Vec<Notice>,
    /// When to come back.
    pub wake: Wake,
    /// Set if nothing but news of this request needs another step then.
    pub rest: Option<Rest>,
}
