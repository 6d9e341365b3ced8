//! The stages of the write-back: what is asked of the remote for one, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fact::CommitId;
use crate::plan::Handover;
use crate::report::Report;

/// One request of the write-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Changes the baseline's manifest, nothing else.
    Promote,
    /// Removes the experiment's files.
    CleanUp,
    /// Takes a merged promotion back.
    Revert,
}

impl Stage {
    /// The name used in status, trailers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "Promote",
            Self::CleanUp => "CleanUp",
            Self::Revert => "Revert",
        }
    }

    /// The word used in branch names and trailers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::CleanUp => "cleanup",
            Self::Revert => "revert",
        }
    }
}

/// A commit that was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageWork {
    /// The commit it is made on.
    pub base: CommitId,
    /// Its id, known before it is pushed.
    pub commit: CommitId,
    /// What it does, one line for each file.
    pub files: Vec<String>,
    /// The blob id that each of its files has afterwards, by path; none for a removed one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub after: BTreeMap<String, Option<String>>,
}

/// State of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageState {
    /// The commit is being computed.
    Planning,
    /// The commit is decided on; it may or may not be on the remote.
    Planned,
    /// The commit is on the remote; the request may or may not exist.
    Pushed,
    /// The request waits for its merge.
    Waiting,
    /// The promote request was merged; what was merged is compared with what was proposed.
    Merged,
    /// The baseline's rollout is awaited.
    RollingOut,
    /// The rollout is complete; the base branch is looked at once more before the traffic moves.
    Confirming,
    /// The rollout is complete; traffic goes to the baseline.
    HandingOver,
    /// Traffic is at the baseline; the last requests leave the candidate.
    Draining,
    /// Nothing is left to do.
    Done,
    /// A `retry` looks at what became of the request.
    Checking,
    /// A `retry` of the promotion takes the clean-up request back.
    Withdrawing,
}

impl StageState {
    /// The name used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "Planning",
            Self::Planned => "Planned",
            Self::Pushed => "Pushed",
            Self::Waiting => "Waiting",
            Self::Merged => "Merged",
            Self::RollingOut => "RollingOut",
            Self::Confirming => "Confirming",
            Self::HandingOver => "HandingOver",
            Self::Draining => "Draining",
            Self::Done => "Done",
            Self::Checking => "Checking",
            Self::Withdrawing => "Withdrawing",
        }
    }
}

/// The rehearsal of both outcomes succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Head of the base branch that was rehearsed on.
    pub base: CommitId,
    /// Blob id of each file that an outcome touches, by path.
    pub blobs: BTreeMap<String, String>,
}

/// What is asked about a stage of the write-back.
#[derive(Clone, Debug, PartialEq)]
pub struct StageQuestion {
    /// Which request, on which branch, with which text.
    pub request: Request,
    /// How much of the remote has to be looked at.
    pub look: Look,
    /// Whether the open requests from the same branch have to be looked up too.
    pub twins: bool,
}

/// A pull request as it is to be: the same value always gives the same branch, commit and text.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the request does.
    pub stage: Stage,
    /// Its identity in branch name, commit trailers and text.
    pub key: String,
    /// The branch it is made from.
    pub branch: String,
    /// The branch it is to be merged into.
    pub base_branch: String,
    /// What the request is made of: `SinglePullRequest` removes the experiment with its promotion.
    pub handover: Handover,
    /// The commit's time, so that a repeated commit has the same id.
    pub decided_at: Timestamp,
    /// Blob ids of the files as they were when the experiment started, by path: nothing else is removed or promoted.
    pub blobs: BTreeMap<String, String>,
    /// Which candidate is promoted, by its position in the plan.
    pub candidate: usize,
    /// What is told to reviewers.
    pub report: Report,
}

/// How much of the remote has to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Compute the commit on the base branch's head.
    Plan,
    /// Find the branch and a request made from it, in any state.
    Publish,
    /// Read the request of this number, and whether its branch and the base branch are there.
    Review(u64),
    /// Whether the base branch holds this commit, and what its head is.
    Base(CommitId),
    /// The blob ids that the base branch has at these paths, beside those that were proposed.
    Contents(BTreeMap<String, Option<String>>),
}

/// What the remote says about a stage: one answer for each [`Look`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageSeen {
    /// To [`Look::Plan`]: the work to do.
    Plan(Planned),
    /// To [`Look::Publish`].
    Publish {
        /// The branch, and the request made from it.
        request: RequestSeen,
        /// Labels and reviewers that the open request was to get and does not have, for people.
        lacks: Vec<String>,
    },
    /// To [`Look::Review`].
    Review(Reviewed),
    /// To [`Look::Base`].
    Base {
        /// Head of the base branch.
        head: CommitId,
        /// Whether the base branch holds the commit.
        landed: bool,
    },
    /// To [`Look::Contents`].
    Contents {
        /// The blob id at each path, none if there is no file.
        blobs: BTreeMap<String, Option<String>>,
        /// Files that are not as proposed, in which every place that the promotion changed is.
        kept: BTreeSet<String>,
    },
}

impl StageSeen {
    /// The request and its branches, as far as they were looked at.
    pub fn request(&self) -> Option<&RequestSeen> {
        match self {
            Self::Publish { request, .. } | Self::Review(Reviewed { request, .. }) => Some(request),
            Self::Plan(_) | Self::Base { .. } | Self::Contents { .. } => None,
        }
    }
}

/// A request and its branches on the remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestSeen {
    /// Head of the base branch, if it is there.
    pub head: Option<CommitId>,
    /// Head of the request's branch, if it is there.
    pub branch: Option<CommitId>,
    /// The request, if there is one.
    pub pull: Option<Pull>,
}

/// A request that waits for its merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// The request and its branches.
    pub request: RequestSeen,
    /// Asked for with [`StageQuestion::twins`]: other open requests from the same branch that have the same key.
    pub twins: Vec<Pull>,
    /// The request is open, and the forge says that it cannot be merged into the base branch. Some forges say so as well
    /// while they find out.
    pub conflict: Option<Conflict>,
}

/// A request that cannot be merged into its base branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflict {
    /// What the request would be if it was made now, if there is anything that could be proposed.
    pub again: Option<Planned>,
}

/// What a stage has to do on the base branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// This commit.
    Commit(StageWork),
    /// Nothing: the base branch, at this head, already is as wanted.
    Nothing(CommitId),
}

/// A pull request on the forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Number on the forge.
    pub number: u64,
    /// Address for people.
    pub url: String,
    /// What became of it.
    pub state: PullState,
    /// The commit that is, or was, to be merged, if the forge tells.
    pub head: Option<CommitId>,
    /// Whose text it has, if the forge tells.
    pub text: Option<TextSeen>,
}

/// Whose text a request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSeen {
    /// As this program wrote it.
    Ours {
        /// The mark of the news that it tells.
        news: String,
        /// When it was written.
        at: Timestamp,
    },
    /// A person changed it.
    Edited,
}

/// What became of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullState {
    /// It waits.
    Open,
    /// It was merged; the base branch's head that contains it.
    Merged(CommitId),
    /// It was closed unmerged.
    Closed,
}
