//! The facts a reviewer needs, drawn from the plan and the progress alone: the same progress gives the same report
//! after any crash. Rendering is the business of `gitops::render`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge;
use super::plan::{Plan, Version};
use super::progress::{Decision, Evidence, Outcome, Progress, Reason};

/// One criterion as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The metric, as the user wrote it.
    pub metric: String,
    /// The share that is still acceptable.
    pub limit: f64,
    /// Requests to the candidate that were judged.
    pub requests: f64,
    /// Bad ones among them.
    pub bad: f64,
    /// Interval that holds the true share at every look with the probability 1 - false rollback budget.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Fail evidence, an e-value; `needed_fail` decides.
    pub fail: f64,
    /// Pass evidence at the final weight, an e-value; `needed_pass` decides.
    pub pass: f64,
    /// 1 / false rollback budget.
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
    /// The version on trial.
    pub candidate: Running,
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
}

impl Report {
    /// The report of a decided experiment.
    pub fn new(plan: &Plan, progress: &Progress, decision: &Decision) -> Self {
        let began = progress.first_traffic.unwrap_or(decision.at);
        Self {
            namespace: plan.identity.namespace.clone(),
            name: plan.identity.name.clone(),
            uid: plan.identity.uid.clone(),
            target: plan.identity.target.clone(),
            baseline: running(&plan.baseline, &decision.baseline_images),
            candidate: running(&plan.candidate, &decision.candidate_images),
            outcome: decision.outcome,
            reason: decision.reason,
            sentence: decision.sentence.clone(),
            weight: decision.weight,
            seconds: decision.at.duration_since(began).as_secs(),
            decided_at: decision.at,
            rows: decision.rows.clone(),
        }
    }
}

fn running(version: &Version, images: &[String]) -> Running {
    Running { name: version.name.clone(), workload: version.workload.clone(), images: images.to_vec() }
}

/// Each criterion as it stands, in the plan's order.
pub fn rows(plan: &Plan, progress: &Progress) -> Vec<Row> {
    let (needed_fail, needed_pass) = (1.0 / plan.analysis.false_rollback, 1.0 / plan.analysis.false_promotion);
    // The mean rule of the experiment: with K criteria one of them alone has to reach K times the bar.
    let share = plan.criteria.len() as f64;
    plan.criteria
        .iter()
        .zip(&progress.evidence)
        .map(|(criterion, e)| {
            let total = e.test.totals(&e.seen);
            let (low, high) = e.test.interval(&e.seen, plan.analysis.false_rollback);
            let (fail, pass) = (e.test.log_fail(&e.seen), e.test.log_pass(&e.seen));
            let verdict = if fail >= (needed_fail * share).ln() && e.test.enough_bad(&e.seen) {
                Verdict::Fail
            } else if pass >= needed_pass.ln() {
                Verdict::Pass
            } else {
                Verdict::Undecided
            };
            Row {
                metric: criterion.metric.clone(),
                limit: criterion.limit,
                requests: total.requests,
                bad: total.bad,
                low,
                high,
                fail: shown(fail),
                pass: shown(pass),
                needed_fail: needed_fail * share,
                needed_pass,
                verdict,
            }
        })
        .collect()
}

/// An e-value for people and for JSON: finite, because a number beyond this says no more than "proven".
fn shown(log: f64) -> f64 {
    log.min(MOST_SHOWN).exp()
}

/// Natural logarithm of the largest e-value that is shown.
const MOST_SHOWN: f64 = 30.0;

/// Natural logarithm of the experiment's Fail evidence: the mean of its criteria's.
pub(super) fn log_fail(evidence: &[Evidence]) -> f64 {
    let weight = 1.0 / (evidence.len().max(1) as f64);
    judge::combine_fail(evidence.iter().map(|e| (e.test.log_fail(&e.seen), weight)))
}
