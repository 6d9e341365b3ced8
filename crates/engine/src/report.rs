//! What people are told of a decided experiment: the data alone. [`crate::summary`] fills them in, rendering is the business
//! of `gitops::render`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rule::Rule;
use crate::verdict::{Outcome, Reason};

/// One criterion as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The metric, as the user wrote it.
    pub metric: String,
    /// The candidate that is tested, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// What is tested.
    pub rule: Rule,
    /// The limit by what is known of the baseline, in the metric's unit.
    pub limit: f64,
    /// Requests (or values) of the candidate that were judged.
    pub requests: f64,
    /// Bad ones among them; 0 for a mean.
    pub bad: f64,
    /// The candidate's share or mean, if anything was seen.
    pub estimate: Option<f64>,
    /// Interval that holds the true value at every look with the probability 1 - false rollback budget, if it has two
    /// ends.
    pub interval: Option<(f64, f64)>,
    /// Fail evidence, an e-value; `needed_fail` decides.
    pub fail: f64,
    /// Pass evidence at the final weight, an e-value; `needed_pass` decides.
    pub pass: f64,
    /// With which this criterion alone would decide: 1 / false rollback budget / its part of all weights.
    pub needed_fail: f64,
    /// 1 / false promotion budget.
    pub needed_pass: f64,
    /// What the criterion says.
    pub verdict: Verdict,
}

/// What a criterion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The limit is kept.
    Pass,
    /// The limit is broken.
    Fail,
    /// Neither is proven yet.
    Undecided,
}

impl Verdict {
    /// The word used in status and requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Fail => "Fail",
            Self::Undecided => "Undecided",
        }
    }
}

/// One version of a race as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmRow {
    /// The version's name.
    pub name: String,
    /// Values that were compared.
    pub values: f64,
    /// Their mean, if there are any.
    pub mean: Option<f64>,
    /// Evidence that another version is better, an e-value; `needed` takes it out.
    pub against: f64,
    /// 1 / the smaller error budget.
    pub needed: f64,
    /// Whether it may still be the best, and has not left for another reason.
    pub racing: bool,
    /// Why it left, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// A version and what it ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name in the experiment.
    pub name: String,
    /// Its workload's name.
    pub workload: String,
    /// Its container images.
    pub images: Vec<String>,
}

/// What is told to reviewers.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Namespace of the experiment.
    pub namespace: String,
    /// Name of the experiment.
    pub name: String,
    /// UID of the experiment.
    pub uid: String,
    /// What it is about.
    pub target: String,
    /// The version that serves users today.
    pub baseline: Running,
    /// The version on trial; of several, the one that is promoted or was the last to leave.
    pub candidate: Running,
    /// The other candidates, if there are several; what they ran is not told.
    pub others: Vec<Running>,
    /// The reward that several candidates competed for, with all versions as they stood.
    pub race: Option<(String, Vec<ArmRow>)>,
    /// What is done.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The verdict in one sentence.
    pub sentence: String,
    /// The candidate's weight at the verdict, percent.
    pub weight: u8,
    /// Seconds from the first traffic to the verdict; 0 if there was none.
    pub seconds: i64,
    /// When the verdict fell.
    pub decided_at: Timestamp,
    /// Each criterion as it stood.
    pub rows: Vec<Row>,
    /// What is new since then.
    pub news: News,
}

/// What is new since the report of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The reason that it waits for.
    pub waits: String,
    /// What the guard saw, once a window of it has passed in this process.
    pub guard: Option<Guarded>,
}

/// What the guard saw of a decided candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Guarded {
    /// Since when it is watched without a gap.
    pub since: Timestamp,
    /// How many windows have passed without an alarm.
    pub windows: u32,
    /// Each criterion at the end of the last one.
    pub rows: Vec<Row>,
}

impl News {
    /// One word that is another one for other news.
    pub fn mark(&self) -> String {
        match &self.guard {
            None => self.waits.clone(),
            Some(guard) => format!("{},{},{}", self.waits, guard.windows, guard.since.as_second()),
        }
    }

    /// Whether a text with this mark tells them. What a new process does not know of the guard is not taken back.
    pub(crate) fn is_told(&self, mark: &str) -> bool {
        match &self.guard {
            None => mark.split(',').next() == Some(self.waits.as_str()),
            Some(_) => mark == self.mark(),
        }
    }
}
