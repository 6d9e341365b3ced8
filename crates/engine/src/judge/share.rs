//! The absolute share criterion: is the share of bad requests at most `limit`?
//!
//! Two one-sided e-processes look at the same intervals. *Fail* tests "in every interval the expected share is at most
//! the limit"; *Pass* tests "it is at least the limit". Both may be read after every interval. Memory is constant: the
//! evidence is a few dozen numbers, and no step needs the past.

use serde::{Deserialize, Serialize};

use super::harm::Harm;
use super::health::Health;
use super::logspace::{exact, times_ln};
use super::{Counted, Dispersion, Tally};

/// An alternative is at most this share: at 1, a single good request would end the evidence for good.
const MOST_SHARE: f64 = 0.999;

/// What is fixed before the experiment. Without a sound limit and dispersion no interval counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareTest {
    /// Largest acceptable share of bad requests, strictly between 0 and 1.
    #[serde(with = "exact")]
    pub limit: f64,
    /// How many bad requests count as one (see [`super::dispersion()`]).
    pub dispersion: Dispersion,
    /// Where the candidate is expected, in units of the limit: an alternative of its own, with most of the weight of
    /// Pass. 0: nothing is expected. A wrong one costs time, not certainty.
    #[serde(with = "exact")]
    pub aim: f64,
    /// Intervals in which harm may begin: hard deadline / evidence interval. Harm that begins later is still found, by
    /// the copies that began before.
    pub horizon: u32,
}

/// What one absolute share criterion has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareEvidence {
    fail: Harm,
    pass: Health,
}

impl ShareTest {
    /// Evidence before the first interval.
    pub fn start(&self) -> ShareEvidence {
        ShareEvidence { fail: Harm::start(), pass: Health::start() }
    }

    /// Takes in one interval; Pass evidence only if `counts_for_pass`.
    ///
    /// Without requests, or with numbers that cannot be counts, nothing changes, the interval index included: the
    /// start-time mixture runs over the intervals that have data. Whether an interval has data is known before its
    /// outcome, so each factor still has expectation at most 1, and no prior weight is spent on silence.
    pub fn update(&self, e: &mut ShareEvidence, seen: impl Into<Counted>, counts_for_pass: bool) {
        let Some(Counted { least, most }) = seen.into().sound().filter(|_| self.sound()) else { return };
        let good = (-self.limit).ln_1p();
        let harm = |rho| self.log_harm(rho, least, good) / self.dispersion.phi;
        e.fail.update(self.horizon, least.bad, self.ratio(least), harm);
        e.pass.count(most);
        if counts_for_pass {
            e.pass.update(self.aim, |rho| self.log_health(rho, most, good) / self.dispersion.clump);
        }
    }

    /// The share in units of the limit, 1 (no evidence) without requests. Its expectation is at most 1 under the null
    /// hypothesis however requests of one interval depend on each other.
    pub fn ratio(&self, t: Tally) -> f64 {
        t.sound().map_or(1.0, |t| (t.bad / t.requests / self.limit).min(f64::MAX))
    }

    /// Natural logarithm of the Fail e-value: half the ratio bet, half the count part; the ratio bet alone unless
    /// `mixed`.
    pub fn log_fail(&self, e: &ShareEvidence) -> f64 {
        e.fail.log_e(self.horizon, self.dispersion.mixed)
    }

    /// What [`Self::log_fail`] is at most, for a fraction of its cost.
    pub fn log_fail_at_most(&self, e: &ShareEvidence) -> f64 {
        e.fail.at_most()
    }

    /// Natural logarithms of the two parts of the Fail e-value: the ratio bet, valid under any dependence inside an
    /// interval, and the capped count likelihood ratio (Lindon & Malek 2022), tempered by φ and faster when φ is right.
    pub fn log_fail_parts(&self, e: &ShareEvidence) -> (f64, f64) {
        e.fail.log_parts(self.horizon)
    }

    /// Natural logarithm of the Pass e-value: the count likelihood ratio of shares below the limit, tempered by φ.
    pub fn log_pass(&self, e: &ShareEvidence) -> f64 {
        e.pass.log_e(self.aim)
    }

    /// What [`Self::log_pass`] is at most, for a fraction of its cost.
    pub fn log_pass_at_most(&self, e: &ShareEvidence) -> f64 {
        e.pass.at_most()
    }

    /// Forgets Pass evidence: what the candidate did at lower weights promises nothing about the final one.
    pub fn restart_pass(&self, e: &mut ShareEvidence) {
        e.pass.restart();
    }

    /// Whether enough bad requests were seen to believe a Fail: three, in two intervals. It only lowers the false alarms.
    pub fn enough_bad(&self, e: &ShareEvidence) -> bool {
        e.fail.enough_bad()
    }

    /// Upper bound of the bad share that holds at all times at once with probability at least `1 - gamma`, `gamma` in
    /// (0, 1). 1 if nothing is known.
    pub fn upper(&self, e: &ShareEvidence, gamma: f64) -> f64 {
        if self.sound() { e.pass.upper(self.dispersion.phi, gamma) } else { 1.0 }
    }

    /// Interval for the bad share, for display, that holds at all times at once with probability at least `1 - alpha`,
    /// `alpha` in (0, 1).
    pub fn interval(&self, e: &ShareEvidence, alpha: f64) -> (f64, f64) {
        if self.sound() { e.pass.interval(e.fail.bad.0, self.dispersion.phi, alpha) } else { (0.0, 1.0) }
    }

    /// Requests and bad requests since the start; where a bound lies between two buckets, those that surely are.
    pub fn least_totals(&self, e: &ShareEvidence) -> Tally {
        Tally { requests: e.pass.totals().requests, bad: e.fail.bad.0 }
    }

    /// Requests and bad requests since the start; where a bound lies between two buckets, the bad ones at most.
    pub fn totals(&self, e: &ShareEvidence) -> Tally {
        e.pass.totals()
    }

    fn sound(&self) -> bool {
        self.limit > 0.0 && self.limit < 1.0 && self.dispersion.sound() && (0.0..1.0).contains(&self.aim)
    }

    /// Log likelihood ratio of the share `rho·limit` above the limit against the limit, independent requests; `good` is
    /// the log of the chance of a good one at the limit.
    fn log_harm(&self, rho: f64, t: Tally, good: f64) -> f64 {
        // Never below the limit itself: there the ratio would speak for the candidate.
        let share = (rho * self.limit).min(MOST_SHARE).max(self.limit);
        times_ln(t.bad, share / self.limit) + (t.requests - t.bad) * ((-share).ln_1p() - good)
    }

    /// Log likelihood ratio of the share `rho·limit` below the limit against the limit; `-inf` for "never bad" once
    /// something was.
    fn log_health(&self, rho: f64, t: Tally, good: f64) -> f64 {
        let share = rho * self.limit;
        times_ln(t.bad, rho) + (t.requests - t.bad) * ((-share).ln_1p() - good)
    }
}
