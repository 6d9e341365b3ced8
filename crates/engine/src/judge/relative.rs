//! The relative share criterion with slack: is the candidate's share of bad requests at most `ratio·p_b + slack`, where
//! `p_b` is the baseline's share in the same interval?
//!
//! The versions are compared inside each interval, never pooled: a common disturbance, or a share that drifts while the
//! weights move, speaks against nobody. The baseline's unknown share cancels from every factor; an estimate of it only
//! steers what is bet. Interface and evidence are those of [`super::ShareTest`], with a second tally.

use serde::{Deserialize, Serialize};

use super::collapse::Collapse;
use super::harm::Harm;
use super::health::Health;
use super::logspace::{Exact, add, exact, times_ln};
use super::{Counted, Dispersion, Tally};

/// Requests that the share known before the experiment weighs in the estimate of the baseline's share.
const PRIOR_REQUESTS: f64 = 50.0;
/// Least share that is taken for known: with 0 nothing could be bet.
const LEAST_SHARE: f64 = 1e-5;
/// Largest ratio: beyond it the criterion limits nothing, and products leave the range of `f64`.
const MOST_RATIO: f64 = 1e6;

/// What is fixed before the experiment. Without sound numbers no interval counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelativeTest {
    /// Tolerated multiple of the baseline's share, above 0 and at most a million.
    #[serde(with = "exact")]
    pub ratio: f64,
    /// Tolerated share on top, at least 0 and below 1. Without any, rare errors take very long to compare.
    #[serde(with = "exact")]
    pub slack: f64,
    /// How many bad requests count as one (see [`super::dispersion()`]).
    pub dispersion: Dispersion,
    /// Intervals in which harm may begin: hard deadline / evidence interval.
    pub horizon: u32,
    /// Share of bad requests of the baseline before the experiment. A wrong one costs time, not certainty.
    #[serde(with = "exact")]
    pub history: f64,
    /// Where the candidate is expected, in units of the limit: see [`super::ShareTest::aim`].
    #[serde(with = "exact")]
    pub aim: f64,
    /// Weight in Fail, 0 to 1, of the alternative that every request of the candidate fails.
    #[serde(with = "exact")]
    pub collapse: f64,
}

/// What one relative share criterion has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelativeEvidence {
    fail: Harm,
    collapse: Collapse,
    pass: Health,
    baseline: Baseline,
}

/// Totals of the baseline in earlier intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Baseline {
    requests: Exact,
    /// Bad requests, at least and at most (see [`Counted`]).
    least: Exact,
    most: Exact,
}

/// The ratio bet of one interval (see [`RelativeTest::parts`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioParts {
    /// Bad requests that the slack adds to the baseline: `n_b·d/r`.
    pub pseudo: f64,
    /// The candidate's share of the bad requests at the limit: `r·n_c / (r·n_c + n_b)`.
    pub expected: f64,
    /// Its observed share in units of the expected one; 1 if there is nothing to compare.
    pub ratio: f64,
}

/// What each bad request multiplies the evidence by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multipliers {
    /// One of the candidate: above 1 speaks against it.
    pub candidate: f64,
    /// One of the baseline.
    pub baseline: f64,
}

/// Sizes of one interval and the boundary `p_c = ratio·p_b + slack` that is tested in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Tolerated multiple of the baseline's share.
    pub ratio: f64,
    /// Tolerated share on top.
    pub slack: f64,
    /// Requests to the candidate, above 0.
    pub candidate: f64,
    /// Requests to the baseline, above 0.
    pub baseline: f64,
}

impl Comparison {
    /// Multipliers under which the evidence grows fastest if the shares are `p_c` and `p_b`:
    /// the maximum of `n_c·p_c·ln A + n_b·p_b·ln B - n_c·d·(A - 1)` with `B = 1 - (A - 1)·r·n_c/n_b`, which is a root
    /// of a quadratic equation.
    pub fn best(&self, p_c: f64, p_b: f64) -> Multipliers {
        let Self { ratio: r, slack: d, .. } = *self;
        let c = r * self.candidate / self.baseline;
        let b = d * (1.0 + c) + p_c * c + r * p_b;
        let candidate = if r > 0.0 {
            2.0 * p_c * (1.0 + c) / (b + (b * b - 4.0 * d * c * p_c * (1.0 + c)).max(0.0).sqrt())
        } else {
            p_c / d
        };
        self.with(candidate)
    }

    /// The multipliers with `A = candidate`.
    pub fn with(&self, candidate: f64) -> Multipliers {
        Multipliers { candidate, baseline: 1.0 - self.ratio * self.candidate / self.baseline * (candidate - 1.0) }
    }

    /// Log factor of an interval with `e_c` and `e_b` bad requests: `e_c·ln A + e_b·ln B - n_c·d·(A - 1)`.
    ///
    /// For independent requests its factor has expectation at most `exp(n_c·(A - 1)·(p_c - r·p_b - d))`, which is at most
    /// 1 if A is above 1 and the candidate within the limit, or A below 1 and the candidate beyond it. NaN without
    /// positive multipliers.
    pub fn log_factor(&self, by: Multipliers, e_c: f64, e_b: f64) -> f64 {
        times_ln(e_c, by.candidate) + times_ln(e_b, by.baseline) - self.candidate * self.slack * (by.candidate - 1.0)
    }
}

impl RelativeTest {
    /// Evidence before the first interval.
    pub fn start(&self) -> RelativeEvidence {
        let none = Exact(0.0);
        let baseline = Baseline { requests: none, least: none, most: none };
        RelativeEvidence { fail: Harm::start(), collapse: Collapse::start(), pass: Health::start(), baseline }
    }

    /// Takes in one interval of both versions; Pass evidence only if `counts_for_pass`. Unless both had requests,
    /// nothing changes.
    ///
    /// Where the bound of a latency lies between two buckets, Fail sets the candidate's surely bad requests against all
    /// that may be the baseline's, and Pass the other way round: both stay true statements about the bound.
    pub fn update(
        &self,
        e: &mut RelativeEvidence,
        candidate: impl Into<Counted>,
        baseline: impl Into<Counted>,
        counts_for_pass: bool,
    ) {
        let both = candidate.into().sound().zip(baseline.into().sound());
        let Some((c, b)) = both.filter(|_| self.sound()) else { return };
        let sizes = self.comparison(c.least.requests, b.least.requests);
        let share = self.share(e.baseline.most, e.baseline.requests);
        let harm = |rho| self.log_ratio(sizes, share, rho, c.least.bad, b.most.bad) / self.dispersion.phi;
        e.fail.update(self.horizon, c.least.bad, self.parts(c.least, b.most).ratio, harm);
        if self.collapse > 0.0 {
            let bad = (c.least.bad, b.most.bad);
            e.collapse.update(&e.fail, self.horizon, sizes, share, self.dispersion.phi, bad);
        }
        e.pass.count(c.most);
        if counts_for_pass {
            let share = self.share(e.baseline.least, e.baseline.requests);
            e.pass.update(self.aim, |rho| {
                self.log_ratio(sizes, share, rho, c.most.bad, b.least.bad) / self.dispersion.clump
            });
        }
        e.baseline.requests.0 += b.least.requests;
        e.baseline.least.0 += b.least.bad;
        e.baseline.most.0 += b.most.bad;
    }

    /// The candidate's share of all bad requests in units of what the limit allows it, the slack counted as bad
    /// requests of the baseline. Its expectation is at most 1 under the null hypothesis if clumps of bad requests, of
    /// whatever size, fall on the versions in proportion to traffic.
    pub fn parts(&self, candidate: Tally, baseline: Tally) -> RatioParts {
        let pseudo = baseline.requests * self.slack / self.ratio;
        let weight = self.ratio * candidate.requests;
        let expected = weight / (weight + baseline.requests);
        let all = candidate.bad + baseline.bad + pseudo;
        let ratio = candidate.bad / all / expected;
        let something = all > 0.0 && expected > 0.0 && ratio.is_finite();
        RatioParts { pseudo, expected, ratio: if something { ratio } else { 1.0 } }
    }

    /// Natural logarithm of the Fail e-value; the ratio bet alone unless `mixed`.
    pub fn log_fail(&self, e: &RelativeEvidence) -> f64 {
        let harm = e.fail.log_e(self.horizon, self.dispersion.mixed);
        if !self.dispersion.mixed || self.collapse <= 0.0 {
            return harm;
        }
        let collapse = e.collapse.log_e(&e.fail, self.horizon);
        add(harm + (1.0 - self.collapse).ln(), collapse + self.collapse.ln())
    }

    /// What [`Self::log_fail`] is at most, for a fraction of its cost.
    pub fn log_fail_at_most(&self, e: &RelativeEvidence) -> f64 {
        e.fail.at_most().max(e.collapse.at_most())
    }

    /// Natural logarithms of the ratio bet and of the capped, tempered count part of the Fail e-value.
    pub fn log_fail_parts(&self, e: &RelativeEvidence) -> (f64, f64) {
        e.fail.log_parts(self.horizon)
    }

    /// Natural logarithm of the Pass e-value.
    pub fn log_pass(&self, e: &RelativeEvidence) -> f64 {
        e.pass.log_e(self.aim)
    }

    /// What [`Self::log_pass`] is at most, for a fraction of its cost.
    pub fn log_pass_at_most(&self, e: &RelativeEvidence) -> f64 {
        e.pass.at_most()
    }

    /// Forgets Pass evidence: what the candidate did at lower weights promises nothing about the final one.
    pub fn restart_pass(&self, e: &mut RelativeEvidence) {
        e.pass.restart();
    }

    /// Whether enough bad requests of the candidate were seen to believe a Fail: three, in two intervals.
    pub fn enough_bad(&self, e: &RelativeEvidence) -> bool {
        e.fail.enough_bad()
    }

    /// Upper bound of the candidate's bad share that holds at all times at once with probability at least `1 - gamma`,
    /// `gamma` in (0, 1). 1 if nothing is known.
    pub fn upper(&self, e: &RelativeEvidence, gamma: f64) -> f64 {
        if self.sound() { e.pass.upper(self.dispersion.phi, gamma) } else { 1.0 }
    }

    /// The limit of the candidate's share by today's estimate of the baseline's, at most 1: what the ramp compares
    /// [`Self::upper`] with.
    pub fn limit(&self, e: &RelativeEvidence) -> f64 {
        let limit = self.ratio * self.share(e.baseline.least, e.baseline.requests) + self.slack;
        if self.sound() { limit.min(1.0) } else { 0.0 }
    }

    /// Interval for the candidate's bad share, for display, that holds at all times at once with probability at least
    /// `1 - alpha`, `alpha` in (0, 1).
    pub fn interval(&self, e: &RelativeEvidence, alpha: f64) -> (f64, f64) {
        if self.sound() { e.pass.interval(e.fail.bad.0, self.dispersion.phi, alpha) } else { (0.0, 1.0) }
    }

    /// Requests and bad requests of the candidate since the start.
    pub fn totals(&self, e: &RelativeEvidence) -> Tally {
        e.pass.totals()
    }

    /// Requests and bad requests of the baseline since the start.
    pub fn baseline_totals(&self, e: &RelativeEvidence) -> Tally {
        Tally { requests: e.baseline.requests.0, bad: e.baseline.most.0 }
    }

    fn sound(&self) -> bool {
        self.ratio > 0.0
            && self.ratio <= MOST_RATIO
            && (0.0..1.0).contains(&self.slack)
            && self.dispersion.sound()
            && (0.0..1.0).contains(&self.aim)
            && (0.0..1.0).contains(&self.collapse)
            && (0.0..=1.0).contains(&self.history)
    }

    fn comparison(&self, candidate: f64, baseline: f64) -> Comparison {
        Comparison { ratio: self.ratio, slack: self.slack, candidate, baseline }
    }

    /// Estimate of the baseline's share from the past.
    fn share(&self, bad: Exact, requests: Exact) -> f64 {
        (bad.0 + PRIOR_REQUESTS * self.history.max(LEAST_SHARE)) / (requests.0 + PRIOR_REQUESTS)
    }

    /// Log factor that bets on a candidate `rho` times as bad as the limit at the baseline's share `p_b`.
    fn log_ratio(&self, sizes: Comparison, p_b: f64, rho: f64, e_c: f64, e_b: f64) -> f64 {
        let p_c = (rho * (self.ratio * p_b + self.slack)).min(1.0);
        let best = sizes.best(p_c, p_b).candidate;
        // On its own side of 1 in spite of rounding, and of a limit above every possible share.
        let by = sizes.with(if rho > 1.0 { best.max(1.0) } else { best.min(1.0) });
        let defined = by.candidate.is_finite() && by.baseline > 0.0 && by.baseline.is_finite();
        if defined { sizes.log_factor(by, e_c, e_b) } else { 0.0 }
    }
}
