//! What the engine remembers between two steps; the ledger keeps it in the resource's status.
//!
//! Only what cannot be observed again is kept here: decisions, evidence, times, and the intent behind each remote
//! write. Reading it back gives the same value, but for [`Progress::watch`], which is kept in memory alone.

mod standing;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::contest::Contest;
use crate::evidence::Evidence;
use crate::plan::Verb;
use crate::report::{ArmRow, Row};
use crate::sources::Place;
use crate::split::Split;
use crate::stage::{Preflight, StageState};
use crate::verdict::{Outcome, Reason};

pub use standing::StageProgress;
pub(crate) use standing::{End, Landed, Proposal, Proposed, Standing, Written};

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
    /// The weight that each candidate is to have while the experiment runs, percent.
    pub weight: u8,
    /// The weights that the routes were last seen to carry as wanted; none before the first ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried: Option<Split>,
    /// Since when the routes were seen with those weights; none while they are found otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Timestamp>,
    /// Weights that others wrote and that were put right.
    #[serde(skip_serializing_if = "Repairs::is_none")]
    pub repairs: Repairs,
    /// Since when a person keeps all traffic at the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<Timestamp>,
    /// The resource cannot be carried out as it is written now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Since when the ramp is held for a person, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Time that was spent held and counts towards no deadline, seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub idle: i64,
    /// The highest weight that a person approved, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<u8>,
    /// The last request of each kind that was handled.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub handled: BTreeMap<Verb, Timestamp>,
    /// The last annotation that asked for something unreadable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Whether the target was held, so that the routes may carry this experiment's weights.
    pub held: bool,
    /// What was found at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Intervals in a row in which the baseline itself broke a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Spell>,
    /// Since when traffic is at the baseline because the environment is degraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retreated: Option<Timestamp>,
    /// When the candidate first carried traffic; deadlines count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_traffic: Option<Timestamp>,
    /// What is known of each candidate, in the plan's order; of those that are missing at the end, nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrants: Vec<Entrant>,
    /// End of the last evidence interval: the next one starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
    /// Where each source is, by its position in a reading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// Evidence intervals that were looked at.
    pub intervals: u32,
    /// Intervals in a row without a request to the candidate.
    pub silent: u32,
    /// Times in a row that some metric could not be read.
    pub blind: u32,
    /// When it last did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Timestamp>,
    /// Requests per second of both versions together, last seen.
    pub rate: f64,
    /// Evidence per criterion, in the plan's order.
    pub evidence: Vec<Evidence>,
    /// What the race of several candidates has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub race: Option<Box<Contest>>,
    /// Iterations of an experiment whose criteria are thresholds.
    #[serde(skip_serializing_if = "Iterations::is_none")]
    pub iterations: Iterations,
    /// The error budgets that the evidence is held against: bounds of a false rollback and a false promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<[f64; 2]>,
    /// How often the evidence began anew because the experiment's limits were edited: each time spends a new budget.
    #[serde(skip_serializing_if = "is_never")]
    pub restarts: u32,
    /// The verdict and what follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The verdict that a review or a wait overturned; `retry` brings it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overturned: Option<Box<Decision>>,
    /// The write-back's stages, in the order they were started.
    pub stages: Vec<StageProgress>,
    /// When a deletion was first seen that something had to be done for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Timestamp>,
    /// The watch over a decided candidate. In memory only: waiting for a review writes no status, and a watch that is
    /// lost begins a fresh window, with the same promise.
    #[serde(skip)]
    pub watch: Option<Watch>,
}

// Serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(seconds: &i64) -> bool {
    *seconds == 0
}

// Serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_never(times: &u32) -> bool {
    *times == 0
}

impl Progress {
    /// Whether both say the same, as far as a status keeps it.
    pub fn same_record(&self, other: &Self) -> bool {
        if self.watch == other.watch {
            return self == other;
        }
        let record = |progress: &Self| Self { watch: None, ..progress.clone() };
        record(self) == record(other)
    }

    /// The stage that work is being done on: the last one that was started and is not done.
    pub(crate) fn current_stage(&self) -> Option<&StageProgress> {
        self.stages.last().filter(|s| s.state() != StageState::Done)
    }

    /// The instant that deadlines count from: the first traffic, later by the time that was spent held.
    pub fn began(&self) -> Option<Timestamp> {
        self.first_traffic.map(|t| t + SignedDuration::from_secs(self.idle))
    }
}

/// Iterations: intervals in which every threshold had a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Iterations {
    /// How many there were.
    pub done: u32,
    /// Whether the last interval was one.
    pub last: bool,
    /// Whether the last one was at the final weight, and after the warm-up.
    pub settled: bool,
}

impl Iterations {
    // Serde asks with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Weights that others wrote and that were put right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Repairs {
    /// How many.
    pub count: u32,
    /// When, as far as the back-off has to know.
    pub recent: Vec<Timestamp>,
    /// Who wrote last: a field manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// No repair before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The weights that were written last, until they are seen: a writer who is always faster shows by that alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Split>,
}

impl Repairs {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Intervals in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spell {
    /// Start of the first one.
    pub from: Timestamp,
    /// End of the last one.
    pub to: Timestamp,
}

/// The ramp is held for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when.
    pub since: Timestamp,
    /// By what.
    pub by: HeldBy,
    /// Why, in the person's words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Why a ramp is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldBy {
    /// A person paused it.
    Pause,
    /// A step asks for approval.
    Approval,
}

/// The resource cannot be carried out as it is written now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    #[serde(rename = "reason")]
    pub cause: Cause,
    /// For people: the field, the value and the remedy.
    pub message: String,
    /// Whether traffic came home because of it: until the resource can be carried out again.
    pub home: bool,
}

/// What was found at the start: what later turns compare with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Replicas that the baseline was asked for.
    pub baseline_desired: u32,
    /// Replicas of the baseline that were ready.
    pub baseline_ready: u32,
}

/// What is known of one candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entrant {
    /// The workload of one that left: before the start the candidates may still be edited.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// Digest of what it ran at the start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// How often it lost its last ready replica while it carried traffic.
    #[serde(skip_serializing_if = "is_never")]
    pub losses: u32,
    /// Since when it has no ready replica, by the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Timestamp>,
    /// Why it left while others went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// Whether the candidate at a position has not left.
pub fn runs(entrants: &[Entrant], candidate: usize) -> bool {
    entrants.get(candidate).is_none_or(|entrant| entrant.left.is_none())
}

/// The end of one candidate among several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Why.
    pub reason: Reason,
    /// The same in one sentence.
    pub sentence: String,
    /// When.
    pub at: Timestamp,
}

/// A fresh Fail test over a decided candidate that still serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// When its window began.
    pub since: Timestamp,
    /// When the first window began.
    pub first: Timestamp,
    /// Windows that passed without an alarm.
    pub passed: u32,
    /// Each criterion at the end of the last one of them.
    pub last: Vec<Row>,
    /// End of the last interval that was looked at.
    pub looked: Timestamp,
    /// When the metrics source was last asked in vain.
    pub unanswered: Option<Timestamp>,
    /// Where each source is, by its position in a reading.
    pub places: Vec<Place>,
    /// Evidence per criterion, in the plan's order.
    pub evidence: Vec<Evidence>,
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
    /// Since when it waits for this reason.
    pub since: Timestamp,
    /// When the wait ends by itself, if nothing happens before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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
    /// The candidate that is promoted, or was the last one to leave: its position in the plan.
    #[serde(default, skip_serializing_if = "crate::rule::is_first")]
    pub candidate: usize,
    /// The candidate's weight at that moment, percent.
    pub weight: u8,
    /// Each criterion as it stood.
    pub rows: Vec<Row>,
    /// Each version of a race as it stood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub race: Vec<ArmRow>,
    /// What the baseline ran, container images.
    pub baseline_images: Vec<String>,
    /// What the candidate ran, container images.
    pub candidate_images: Vec<String>,
}
