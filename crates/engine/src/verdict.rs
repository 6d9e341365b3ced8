//! What is done with a candidate, and why.

use serde::{Deserialize, Serialize};

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
    /// It waited too long for a person: a review, an approval, the end of a pause, or its turn in the queue.
    Stale,
    /// A person asked for the promotion before there was a verdict.
    Requested,
    /// A person asked for the end.
    Aborted,
    /// What the experiment needs could not be had before its hard deadline.
    Unprepared,
    /// The candidate's content is no longer what was tried.
    CandidateChanged,
    /// The candidate broke a limit after its verdict, before its request was merged.
    GuardTripped,
    /// The candidate broke a limit after its promote request was merged.
    GuardTrippedAfterMerge,
    /// The promote request's branch was deleted, and the request closed with it.
    BranchDeleted,
    /// The merged promotion was removed from the base branch.
    PromotionReverted,
    /// The baseline's rollout with the promoted content failed.
    BaselineRolloutFailed,
    /// Another version has the better reward.
    Outperformed,
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
            Self::Requested => "Requested",
            Self::Aborted => "Aborted",
            Self::Unprepared => "Unprepared",
            Self::CandidateChanged => "CandidateChanged",
            Self::GuardTripped => "GuardTripped",
            Self::GuardTrippedAfterMerge => "GuardTrippedAfterMerge",
            Self::BranchDeleted => "BranchDeleted",
            Self::PromotionReverted => "PromotionReverted",
            Self::BaselineRolloutFailed => "BaselineRolloutFailed",
            Self::Outperformed => "Outperformed",
        }
    }
}
