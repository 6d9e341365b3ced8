//! Criteria on means (of a latency, a reward) and gauges: is the candidate's mean at most `ratio·m_b + slack`, where
//! `m_b` is the baseline's in the same block, or at least that where higher is better?
//!
//! The guarantee is asymptotic: it needs block means that are nearly Gaussian and little correlated. Where a hard one is
//! needed, a share of slow requests is the better criterion. Interface like [`super::RelativeTest`].

use serde::{Deserialize, Serialize};

use super::blocks::{Block, Moments, Sample, Sums};
use super::logspace::{self, exact};

/// Values of each version in a block of Fail.
const LEAST_FOR_FAIL: f64 = 50.0;
/// Values of each version in a block of Pass: long upper tails make small blocks look better than they are.
const LEAST_FOR_PASS: f64 = 200.0;
/// Weights of the copies of Fail, which start at the beginning and after each further quarter of the horizon, so that
/// harm that comes late need not outweigh a healthy past. Unlike a product of factors the t-mixture has no recursion over
/// all start times.
const COPIES: [f64; 4] = [0.7, 0.1, 0.1, 0.1];

/// What is fixed before the experiment. Without sound numbers no interval counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeanTest {
    /// Multiple of the baseline's mean, at least 0. At 0 the limit is absolute, and the baseline not needed.
    #[serde(with = "exact")]
    pub ratio: f64,
    /// The absolute limit, or what is tolerated on top of the multiple; negative is possible.
    #[serde(with = "exact")]
    pub slack: f64,
    /// Whether the limit is a lower one.
    pub higher_is_better: bool,
    /// One value an interval, correlated in time: blocks weigh the same, and the autocorrelation tempers the evidence.
    pub gauge: bool,
    /// Evidence intervals in which harm may begin: hard deadline / evidence interval.
    pub horizon: u32,
}

/// What one criterion on means has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeanEvidence {
    fail: Block,
    copies: [Moments; 4],
    pass: Block,
    passing: Moments,
    candidate: Sums,
    baseline: Sums,
}

impl MeanTest {
    /// Evidence before the first interval.
    pub fn start(&self) -> MeanEvidence {
        MeanEvidence {
            fail: Block::start(),
            copies: [Moments::start(); 4],
            pass: Block::start(),
            passing: Moments::start(),
            candidate: Sums::start(),
            baseline: Sums::start(),
        }
    }

    /// Takes in one interval of both versions; Pass evidence only if `counts_for_pass`. Unless both have values (for an
    /// absolute limit the candidate), nothing changes.
    pub fn update(&self, e: &mut MeanEvidence, candidate: Sample, baseline: Sample, counts_for_pass: bool) {
        // An absolute limit is compared with as many values that are all 0.
        let baseline = if self.ratio > 0.0 { baseline } else { Sample { sum: 0.0, ..candidate } };
        let both = candidate.sound().zip(baseline.sound());
        let Some((c, b)) = both.filter(|_| self.sound()) else { return };
        e.candidate.add(c);
        e.baseline.add(b);
        let least = |least: f64| if self.gauge { 0.0 } else { least };
        if let Some((c, b)) = e.fail.add(c, b, least(LEAST_FOR_FAIL)) {
            let (y, exposure) = (self.beyond(c, b), self.exposure(c, b));
            let past = e.copies.first().map_or(0, Moments::blocks);
            let begun = e.copies.iter_mut().zip(self.starts()).filter(|(_, start)| past >= *start);
            begun.for_each(|(copy, _)| copy.add(y, exposure));
        }
        if let Some((c, b)) = counts_for_pass.then(|| e.pass.add(c, b, least(LEAST_FOR_PASS))).flatten() {
            e.passing.add(self.beyond(c, b), self.exposure(c, b));
        }
    }

    /// Natural logarithm of the Fail e-value: the mean of the copies; one that has not begun is 1.
    pub fn log_fail(&self, e: &MeanEvidence) -> f64 {
        let copies = e.copies.iter().zip(COPIES).map(|(copy, weight)| (copy.evidence(true, self.gauge), weight));
        copies.fold(f64::NEG_INFINITY, |sum, (log, weight)| logspace::add(sum, log + weight.ln()))
    }

    /// Natural logarithm of the Pass e-value.
    pub fn log_pass(&self, e: &MeanEvidence) -> f64 {
        e.passing.evidence(false, self.gauge)
    }

    /// Forgets Pass evidence: what the candidate did at lower weights promises nothing about the final one.
    pub fn restart_pass(&self, e: &mut MeanEvidence) {
        (e.pass, e.passing) = (Block::start(), Moments::start());
    }

    /// The limit in units of the metric, by the baseline's mean since the start; `None` while that is unknown.
    pub fn limit(&self, e: &MeanEvidence) -> Option<f64> {
        let limit = self.ratio * if self.ratio > 0.0 { e.baseline.sample().mean() } else { 0.0 } + self.slack;
        limit.is_finite().then_some(limit)
    }

    /// How far the candidate's mean is beyond the limit, in units of the metric and negative within it, as an interval
    /// for display that holds at all times at once with probability at least `1 - alpha`, `alpha` in (0, 1); of
    /// infinite length while too little is known.
    pub fn interval(&self, e: &MeanEvidence, alpha: f64) -> (f64, f64) {
        e.copies.first().map_or((f64::NEG_INFINITY, f64::INFINITY), |whole| whole.interval(alpha, self.gauge))
    }

    /// Values of the candidate since the start.
    pub fn totals(&self, e: &MeanEvidence) -> Sample {
        e.candidate.sample()
    }

    /// Values of the baseline since the start; for an absolute limit of no meaning.
    pub fn baseline_totals(&self, e: &MeanEvidence) -> Sample {
        e.baseline.sample()
    }

    fn sound(&self) -> bool {
        self.ratio >= 0.0 && self.ratio.is_finite() && self.slack.is_finite()
    }

    /// How far beyond the limit the candidate's block is.
    fn beyond(&self, candidate: Sample, baseline: Sample) -> f64 {
        let above = candidate.mean() - self.ratio * baseline.mean() - self.slack;
        if self.higher_is_better { -above } else { above }
    }

    /// What a block weighs, up to a constant: the variance of a difference of means falls like `1/n_c + 1/n_b`.
    fn exposure(&self, candidate: Sample, baseline: Sample) -> f64 {
        if self.gauge { 1.0 } else { exposure(candidate, baseline) }
    }

    /// Fail blocks before each copy begins.
    fn starts(&self) -> impl Iterator<Item = u32> + use<> {
        let quarter = (self.horizon / super::blocks::INTERVALS / 4).max(1);
        (0..4).map(move |copy: u32| copy.saturating_mul(quarter))
    }
}

/// `n_c·n_b / (n_c + n_b)`, without leaving the range on the way.
pub(super) fn exposure(a: Sample, b: Sample) -> f64 {
    1.0 / (1.0 / a.count + 1.0 / b.count)
}
