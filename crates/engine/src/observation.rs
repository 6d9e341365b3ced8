//! What the engine asks and what a world answers: facts, or the reason why a fact is missing.
//!
//! A source that cannot be read is a value ([`Unavailable`]) that the engine reasons about, never an error that ends
//! a turn. Worlds fill these in and decide nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge::{Counted, Sample, Tally};
use super::plan::Handover;
use super::progress::{Stage, StageWork};
use super::report::Report;
use super::split::Split;

/// A fact, or why it could not be had.
pub type Seen<T> = Result<T, Unavailable>;

/// Why a fact is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unavailable {
    /// `CamelCase`, stable, bounded: the reason in conditions, Events, metrics and logs.
    pub reason: &'static str,
    /// For people: what failed, with the field or address and the value.
    pub message: String,
}

impl Unavailable {
    /// A missing fact with its reason.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A Git commit id, 40 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitId(pub String);

/// A span of time, open at the start and closed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Excluded start.
    pub from: Timestamp,
    /// Included end.
    pub to: Timestamp,
}

/// What has to be read before the next step, beside who holds the target, the routes' weights and the workloads'
/// readiness, which are read unless it is [`Self::quiet`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    /// Nothing of the cluster has to be read, not even what is always read.
    pub quiet: bool,
    /// Requests of both versions in this interval.
    pub window: Option<Window>,
    /// The baseline's requests per interval of `history_step` in this span, before the experiment.
    pub history: Option<Window>,
    /// Length of one interval of the history, seconds.
    pub history_step: f64,
    /// Both outcomes' edits, computed without writing, and the credentials' rights.
    pub preflight: bool,
    /// The state of one stage of the write-back.
    pub stage: Option<StageQuestion>,
    /// Whether what this commit says about the baseline is live and rolled out.
    pub rollout: Option<CommitId>,
    /// Whether what this commit says about all workloads is live.
    pub sync: Option<CommitId>,
    /// Whether the destinations lead to their workloads.
    pub subsets: bool,
    /// Positions of candidates, of several, that have left or cannot serve: neither their workloads nor their destinations
    /// have to be as they should, and no request that found no endpoint was meant for them.
    pub idle: Vec<usize>,
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

/// What a world saw. A question that was not asked has no answer (`None`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Who holds the target.
    pub lock: Option<Seen<Lock>>,
    /// The routes' weights.
    pub routes: Option<Seen<Routes>>,
    /// The workloads of all versions.
    pub workloads: Option<Seen<Workloads>>,
    /// Requests in the interval that was asked for.
    pub reading: Option<Reading>,
    /// As in a [`Reading`]: the baseline's history, oldest first; empty if there is none.
    pub history: Option<Vec<Seen<Vec<Tally>>>>,
    /// Result of the rehearsal of both outcomes.
    pub preflight: Option<Seen<Preflight>>,
    /// State of the stage that was asked for.
    pub stage: Option<Seen<StageSeen>>,
    /// The baseline's rollout.
    pub rollout: Option<Seen<Rollout>>,
    /// Whether the workloads are what Git says: if not, which one is not.
    pub sync: Option<Seen<Synced>>,
    /// The destinations lead to the workloads they should, and to no other.
    pub subsets: Option<Seen<()>>,
}

/// Who holds the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This experiment does.
    Mine,
    /// Nobody does, and no older experiment waits for it.
    Free,
    /// Another one does, or waits longer: its name.
    Taken(String),
}

/// Weights of the experiment's routes, percent. All its routes carry the same split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Weight of the baseline's destination.
    pub baseline: u8,
    /// Weights of the candidates' destinations.
    pub candidates: Split,
    /// The field manager that wrote the weights after us, if another one did.
    pub writer: Option<String>,
}

impl Routes {
    /// A split in which the baseline has what the candidates leave.
    pub fn split(candidates: Split) -> Self {
        Self { baseline: candidates.baseline(), candidates, writer: None }
    }
}

/// The workloads of all versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads {
    /// The baseline's.
    pub baseline: Workload,
    /// The candidates', in the plan's order.
    pub candidates: Vec<Workload>,
}

/// One workload's readiness, from its own status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Whether the object exists.
    pub exists: bool,
    /// Replicas asked for.
    pub desired: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Image of each container, by container name, as the workload asks for it.
    pub images: BTreeMap<String, String>,
    /// Digest of the pod template as far as it says what runs: another value is another version.
    pub content: String,
    /// Why its rollout will not go on by itself, in the workload's own words.
    pub failed: Option<String>,
}

/// Requests of both versions in one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The interval.
    pub window: Window,
    /// Per metric and candidate that the criteria are about (their `source`): all metrics of the first candidate, then all
    /// of the next one. `Ok(None)`: the interval is void, its counts cannot be
    /// known.
    pub pairs: Vec<Seen<Option<Pair>>>,
}

/// What one metric says of both versions in one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pair {
    /// Requests, and the bad ones among them.
    Requests {
        /// The baseline's.
        baseline: Counted,
        /// The candidate's.
        candidate: Counted,
    },
    /// Values: how many, and their sum. A gauge has one an interval.
    Values {
        /// The baseline's.
        baseline: Sample,
        /// The candidate's.
        candidate: Sample,
    },
}

impl Pair {
    /// Requests of which each one is known to be bad or not.
    pub fn requests(baseline: Tally, candidate: Tally) -> Self {
        Self::Requests { baseline: baseline.into(), candidate: candidate.into() }
    }

    /// Requests or values of the baseline and the candidate.
    pub fn volume(&self) -> (f64, f64) {
        match self {
            Self::Requests { baseline, candidate } => (baseline.most.requests, candidate.most.requests),
            Self::Values { baseline, candidate } => (baseline.count, candidate.count),
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

/// The baseline's rollout against a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The commit's pod template is what the cluster runs.
    pub applied: bool,
    /// All replicas run it and are available, none of the old ones is left.
    pub complete: bool,
    /// For people: how far it is.
    pub detail: String,
}

/// Whether the workloads in the cluster are what a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Synced {
    /// They are.
    Yes,
    /// This one is not: for people, with the field that differs.
    No(String),
}
