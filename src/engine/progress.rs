//! What the engine remembers between two steps; the ledger keeps it in the resource's status.
//!
//! Only what cannot be observed again is kept here: decisions, evidence, times, and the intent behind each remote
//! write. Reading it back gives the same value.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge::{ShareEvidence, ShareTest};
use super::observation::{CommitId, Preflight};
use super::report::Row;

/// The engine's memory of one experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// Where the experiment is.
    pub phase: Phase,
    /// When it got there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it waits for, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Result of the rehearsal of both outcomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// The weight the candidate is to have while the experiment runs, percent.
    pub weight: u8,
    /// Since when the routes were seen with that weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Timestamp>,
    /// When the candidate first carried traffic; deadlines count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_traffic: Option<Timestamp>,
    /// How often the candidate lost its last ready replica while it carried traffic.
    pub losses: u32,
    /// Whether the last step found the candidate without a ready replica.
    pub lost: bool,
    /// End of the last evidence interval: the next one starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
    /// Evidence intervals that were looked at.
    pub intervals: u32,
    /// Intervals in a row without a request to the candidate.
    pub silent: u32,
    /// Times in a row that the metrics source did not answer.
    pub blind: u32,
    /// When it last did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Timestamp>,
    /// Requests per second of both versions together, last seen.
    pub rate: f64,
    /// Evidence per criterion, in the plan's order.
    pub evidence: Vec<Evidence>,
    /// The verdict and what follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The write-back's stages, in the order they were started.
    pub stages: Vec<StageProgress>,
}

/// Where an experiment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Another experiment holds the target.
    #[default]
    Queued,
    /// Everything the end needs is checked before any traffic moves.
    Preparing,
    /// The candidate's weight grows.
    Shifting,
    /// The final weight is reached; the verdict is due.
    Deciding,
    /// The candidate won: Git, cluster and traffic are being brought to it.
    Promoting,
    /// The baseline stays: the experiment is being removed.
    Discarding,
    /// Traffic is final and the last request is open, or none is needed.
    Completed,
}

impl Phase {
    /// The name used in status, Events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Preparing => "Preparing",
            Self::Shifting => "Shifting",
            Self::Deciding => "Deciding",
            Self::Promoting => "Promoting",
            Self::Discarding => "Discarding",
            Self::Completed => "Completed",
        }
    }
}

/// What an experiment waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `CamelCase` reason.
    pub reason: String,
    /// For people.
    pub what: String,
    /// When the wait ends by itself, if nothing happens before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One criterion's test and what it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The test, fixed when the experiment starts.
    pub test: ShareTest,
    /// What it has seen.
    pub seen: ShareEvidence,
}

/// What is done with the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It becomes the baseline.
    Promote,
    /// It is removed.
    Discard,
}

impl Outcome {
    /// The name used in status, branch keys and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "Promote",
            Self::Discard => "Discard",
        }
    }
}

/// Why an outcome was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Every criterion passed at the final weight.
    Proven,
    /// Promoted at the deadline without proof, as the user asked.
    Unproven,
    /// A criterion failed.
    Harmful,
    /// No verdict before the deadline.
    Undecided,
    /// The candidate never became ready, or lost its replicas three times.
    CandidateNotReady,
    /// The promote request was closed unmerged.
    RejectedInReview,
    /// The promote request waited too long for its review.
    Stale,
}

impl Reason {
    /// The name used in conditions, Events, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "Proven",
            Self::Unproven => "Unproven",
            Self::Harmful => "Harmful",
            Self::Undecided => "Undecided",
            Self::CandidateNotReady => "CandidateNotReady",
            Self::RejectedInReview => "RejectedInReview",
            Self::Stale => "Stale",
        }
    }
}

/// The verdict, frozen: later data do not change it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What is done.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The verdict in one sentence.
    pub sentence: String,
    /// When.
    pub at: Timestamp,
    /// The candidate's weight at that moment, percent.
    pub weight: u8,
    /// Each criterion as it stood.
    pub rows: Vec<Row>,
    /// What the baseline ran, container images.
    pub baseline_images: Vec<String>,
    /// What the candidate ran, container images.
    pub candidate_images: Vec<String>,
}

/// One request of the write-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Changes the baseline's manifest, nothing else.
    Promote,
    /// Removes the experiment's files.
    CleanUp,
}

impl Stage {
    /// The name used in status, trailers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "Promote",
            Self::CleanUp => "CleanUp",
        }
    }

    /// The word used in branch names and trailers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::CleanUp => "cleanup",
        }
    }
}

/// Where a stage of the write-back is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageProgress {
    /// Which stage.
    pub stage: Stage,
    /// Its state.
    pub state: StageState,
    /// When the state was entered.
    pub since: Timestamp,
    /// When the request was first seen open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub opened: Option<Timestamp>,
    /// The commit that was decided on, before anything was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<StageWork>,
    /// The request, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The base branch's head that contains the merge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<CommitId>,
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
    /// The promote request was merged; the baseline's rollout is awaited.
    RollingOut,
    /// The rollout is complete; traffic goes to the baseline.
    HandingOver,
    /// Traffic is at the baseline; the last requests leave the candidate.
    Draining,
    /// Nothing is left to do.
    Done,
}

impl StageState {
    /// The name used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "Planning",
            Self::Planned => "Planned",
            Self::Pushed => "Pushed",
            Self::Waiting => "Waiting",
            Self::RollingOut => "RollingOut",
            Self::HandingOver => "HandingOver",
            Self::Draining => "Draining",
            Self::Done => "Done",
        }
    }
}
