//! The facts a reviewer needs, drawn from the plan and the progress alone: the same progress gives the same report after any
//! crash.

use crate::contest::Contest;
use crate::evidence::Evidence;
use crate::judge::{self, Arm};
use crate::plan::{Plan, Version};
use crate::progress::{Decision, Progress};
use crate::report::{ArmRow, News, Report, Row, Running, Verdict};
use crate::rule::{Rule, number};

/// The report of a decided experiment.
pub(crate) fn report(plan: &Plan, progress: &Progress, decision: &Decision, news: News) -> Report {
    let began = progress.first_traffic.unwrap_or(decision.at);
    let others = plan.candidates.iter().enumerate().filter(|(at, _)| *at != decision.candidate);
    Report {
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

fn running(version: &Version, images: &[String]) -> Running {
    Running { name: version.name.clone(), workload: version.workload.clone(), images: images.to_vec() }
}

/// Each criterion as it stands, in the plan's order.
pub fn rows(plan: &Plan, progress: &Progress) -> Vec<Row> {
    rows_of(plan, &progress.evidence)
}

/// The same of any evidence on the plan's criteria.
pub(crate) fn rows_of(plan: &Plan, evidence: &[Evidence]) -> Vec<Row> {
    let (needed_pass, several) = (1.0 / plan.analysis.false_promotion, plan.candidates.len() > 1);
    let row = |e: &Evidence| {
        let weights: f64 = evidence_of(evidence, e.criterion.candidate).iter().map(|e| e.criterion.rule.weight()).sum();
        // The mean rule: with K criteria of one weight, one of them alone has to reach K times the bar.
        let needed_fail = weights / e.criterion.rule.weight() / plan.analysis.false_rollback;
        let (fail, pass) = (e.log_fail(), e.log_pass());
        let verdict = if fail >= needed_fail.ln() && e.enough() {
            Verdict::Fail
        } else if pass >= needed_pass.ln() && !e.rests_on_one(needed_pass.ln()) {
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
pub(crate) fn evidence_of(evidence: &[Evidence], candidate: usize) -> &[Evidence] {
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

/// The criterion behind the experiment's Fail evidence, if that reaches `needed` (natural logarithm) and enough was seen
/// of it.
pub(crate) fn blamed(evidence: &[Evidence], needed: f64) -> Option<&Evidence> {
    // A mean is at most its largest part: most looks end here.
    if evidence.iter().all(|e| e.log_fail_at_most() < needed) || log_fail(evidence) < needed {
        return None;
    }
    let weighed = |e: &Evidence| e.log_fail() + e.criterion.rule.weight().ln();
    evidence.iter().filter(|e| e.enough()).max_by(|a, b| weighed(a).total_cmp(&weighed(b)))
}

/// What a broken limit looks like, in one sentence.
pub(crate) fn harm(e: &Evidence, candidate: &str) -> String {
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
pub(crate) fn beyond(broken: &[&Evidence], candidate: &str) -> String {
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
