//! The facts a reviewer needs, drawn from the plan and the progress alone: the same progress gives the same report
//! after any crash. Rendering is the business of `gitops::render`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::judge::{self, Arm, environment};
use super::plan::{Plan, Rule, Version};
use super::progress::{Decision, Outcome, Progress, Reason};
use super::race::Contest;
use super::writeback::News;

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

impl Report {
    /// The report of a decided experiment.
    pub fn new(plan: &Plan, progress: &Progress, decision: &Decision, news: News) -> Self {
        let began = progress.first_traffic.unwrap_or(decision.at);
        let others = plan.candidates.iter().enumerate().filter(|(at, _)| *at != decision.candidate);
        Self {
            namespace: plan.identity.namespace.clone(),
            name: plan.identity.name.clone(),
            uid: plan.identity.uid.clone(),
            target: plan.identity.target.clone(),
            baseline: running(&plan.baseline, &decision.baseline_images),
            candidate: running(
                plan.candidates.get(decision.candidate).unwrap_or(&plan.baseline),
                &decision.candidate_images,
            ),
            others: others.map(|(_, version)| running(version, &[])).collect(),
            race: plan.race.as_ref().map(|race| (race.metric.to_string(), decision.race.clone())),
            outcome: decision.outcome,
            reason: decision.reason,
            sentence: decision.sentence.clone(),
            weight: decision.weight,
            seconds: decision.at.duration_since(began).as_secs(),
            decided_at: decision.at,
            rows: decision.rows.clone(),
            news,
        }
    }
}

fn running(version: &Version, images: &[String]) -> Running {
    Running { name: version.name.clone(), workload: version.workload.clone(), images: images.to_vec() }
}

/// Each criterion as it stands, in the plan's order.
pub fn rows(plan: &Plan, progress: &Progress) -> Vec<Row> {
    rows_of(plan, &progress.evidence)
}

/// The same of any evidence on the plan's criteria.
pub(super) fn rows_of(plan: &Plan, evidence: &[Evidence]) -> Vec<Row> {
    let (needed_pass, several) = (1.0 / plan.analysis.false_promotion, plan.candidates.len() > 1);
    let row = |e: &Evidence| {
        let weights: f64 = evidence_of(evidence, e.criterion.candidate).iter().map(|e| e.criterion.rule.weight()).sum();
        // The mean rule: with K criteria of one weight, one of them alone has to reach K times the bar.
        let needed_fail = weights / e.criterion.rule.weight() / plan.analysis.false_rollback;
        let (fail, pass) = (e.log_fail(), e.log_pass());
        let verdict = if fail >= needed_fail.ln() && e.enough() {
            Verdict::Fail
        } else if pass >= needed_pass.ln() {
            Verdict::Pass
        } else {
            Verdict::Undecided
        };
        let (low, high) = shown_interval(e, verdict, plan.analysis.false_rollback);
        Row {
            metric: e.criterion.metric.to_string(),
            candidate: plan.candidates.get(e.criterion.candidate).filter(|_| several).map(|v| v.name.clone()),
            rule: e.criterion.rule,
            limit: e.limit(),
            requests: e.samples(),
            bad: e.bad(),
            estimate: e.estimate(),
            interval: (low.is_finite() && high.is_finite()).then_some((low, high)),
            fail: shown(fail),
            pass: shown(pass),
            needed_fail,
            needed_pass,
            verdict,
        }
    };
    // A companion that was never asked has nothing to tell.
    let told = |e: &&Evidence| e.criterion.rule.has_to_pass() || e.samples() > 0.0;
    evidence.iter().filter(told).map(row).collect()
}

/// The part of the evidence that is about one candidate: the plan has its criteria side by side.
pub(super) fn evidence_of(evidence: &[Evidence], candidate: usize) -> &[Evidence] {
    let from = evidence.partition_point(|e| e.criterion.candidate < candidate);
    let to = evidence.partition_point(|e| e.criterion.candidate <= candidate);
    evidence.get(from..to).unwrap_or_default()
}

/// Each version of a race as it stands, the baseline first; empty without a race.
pub fn race_rows(plan: &Plan, progress: &Progress) -> Vec<ArmRow> {
    let Some(Contest { test, seen, .. }) = progress.race.as_deref() else { return vec![] };
    let row = |(arm, version): (usize, &Version)| {
        let total = test.totals(seen, arm);
        let entrant = arm.checked_sub(1).and_then(|at| progress.entrants.get(at));
        let left = entrant.and_then(|e| e.left.as_ref()).map(|left| left.sentence.clone());
        ArmRow {
            name: version.name.clone(),
            values: total.count,
            mean: (total.count > 0.0).then(|| total.mean()),
            against: shown(test.log_against(seen, arm)),
            needed: 1.0 / test.alpha,
            racing: left.is_none() && test.arms(seen).get(arm) == Some(&Arm::Racing),
            left,
        }
    };
    plan.versions().enumerate().map(row).collect()
}

/// The interval for people. What a verdict has shown of a share belongs to it: a Pass is the proof that the share is below
/// the limit, though the interval by itself, which aims at no limit, may still be wider.
fn shown_interval(e: &Evidence, verdict: Verdict, alpha: f64) -> (f64, f64) {
    let ((low, high), limit) = (e.interval(alpha), e.limit());
    match verdict {
        Verdict::Pass if e.criterion.rule.is_share() => (low.min(limit), high.min(limit)),
        Verdict::Fail if e.criterion.rule.is_share() => (low.max(limit), high.max(limit)),
        _ => (low, high),
    }
}

impl Rule {
    /// The limit, as it reads.
    pub fn text(&self) -> String {
        match *self {
            Self::Share { limit } => percent(limit),
            Self::RelativeShare { factor, slack } => following(factor, slack, percent),
            Self::Companion { limit } => format!(
                "{} while the baseline itself breaks {}",
                following(environment::COMPANION_RATIO, environment::COMPANION_SLACK, percent),
                percent(limit)
            ),
            Self::Mean { factor, slack, higher_is_better, .. } => {
                let limit = if factor > 0.0 { following(factor, slack, number) } else { number(slack) };
                format!("at {} {limit}", if higher_is_better { "least" } else { "most" })
            }
            Self::Threshold { lower, upper, .. } => match (lower, upper) {
                (Some(lower), Some(upper)) => format!("{} to {}", number(lower), number(upper)),
                (Some(lower), None) => format!("at least {}", number(lower)),
                (None, Some(upper)) => format!("at most {}", number(upper)),
                (None, None) => "any value".into(),
            },
        }
    }

    /// The limit, unless it follows the baseline.
    pub fn absolute(&self) -> Option<f64> {
        match *self {
            Self::Share { limit } => Some(limit),
            Self::Mean { factor, slack, .. } if factor <= 0.0 => Some(slack),
            Self::Threshold { lower: Some(limit), upper: None, .. } | Self::Threshold { upper: Some(limit), .. } => {
                Some(limit)
            }
            Self::RelativeShare { .. } | Self::Companion { .. } | Self::Mean { .. } | Self::Threshold { .. } => None,
        }
    }

    /// A value of the metric, as it reads.
    pub fn shown(&self, value: f64) -> String {
        match self {
            Self::Share { .. } | Self::RelativeShare { .. } | Self::Companion { .. } => percent(value),
            Self::Mean { .. } | Self::Threshold { .. } => number(value),
        }
    }

    /// Whether values are shares of requests.
    pub fn is_share(&self) -> bool {
        !matches!(self, Self::Mean { .. } | Self::Threshold { .. })
    }
}

fn following(factor: f64, slack: f64, show: impl Fn(f64) -> String) -> String {
    match (factor, slack) {
        (1.0, 0.0) => "the baseline's".into(),
        (_, 0.0) => format!("{factor} times the baseline's"),
        (1.0, _) => format!("the baseline's + {}", show(slack)),
        _ => format!("{factor} times the baseline's + {}", show(slack)),
    }
}

/// A share as a percentage with no more digits than it needs.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

/// A number with no more digits than it needs.
pub fn number(value: f64) -> String {
    format!("{}", (value * 1e4).round() / 1e4)
}

/// The criterion behind the experiment's Fail evidence, if that reaches `needed` (natural logarithm) and enough was seen
/// of it.
pub(super) fn blamed(evidence: &[Evidence], needed: f64) -> Option<&Evidence> {
    // A mean is at most its largest part: most looks end here.
    if evidence.iter().all(|e| e.log_fail_at_most() < needed) || log_fail(evidence) < needed {
        return None;
    }
    let weighed = |e: &Evidence| e.log_fail() + e.criterion.rule.weight().ln();
    evidence.iter().filter(|e| e.enough()).max_by(|a, b| weighed(a).total_cmp(&weighed(b)))
}

/// What a broken limit looks like, in one sentence.
pub(super) fn harm(e: &Evidence, candidate: &str) -> String {
    let (metric, rule) = (&e.criterion.metric, e.criterion.rule);
    let limit = rule.text();
    match (rule, e.estimate()) {
        (Rule::Mean { .. }, Some(mean)) => {
            format!("{metric} broke its limit of {limit}: {} at {candidate}", number(mean))
        }
        (Rule::Mean { .. }, None) => format!("{metric} broke its limit of {limit} at {candidate}"),
        _ => format!(
            "{metric} broke its limit of {limit}: {:.0} of {:.0} requests to {candidate} were bad",
            e.bad(),
            e.samples()
        ),
    }
}

/// The thresholds that the last values break, in one sentence.
pub(super) fn beyond(broken: &[&Evidence], candidate: &str) -> String {
    let one = |e: &&Evidence| {
        let value = e.estimate().map_or_else(|| "nothing".into(), number);
        format!("{} was {value} at {candidate}, not {}", e.criterion.metric, e.criterion.rule.text())
    };
    broken.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// An e-value for people and for JSON: finite, because a number beyond this says no more than "proven".
fn shown(log: f64) -> f64 {
    log.min(MOST_SHOWN).exp()
}

/// Natural logarithm of the largest e-value that is shown.
const MOST_SHOWN: f64 = 30.0;

/// Natural logarithm of the experiment's Fail evidence: the mean of its criteria's.
fn log_fail(evidence: &[Evidence]) -> f64 {
    judge::combine_fail(evidence.iter().map(|e| (e.log_fail(), e.criterion.rule.weight())))
}
