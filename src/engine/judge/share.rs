//! The absolute share criterion: is the share of bad requests at most `limit`?
//!
//! Two one-sided e-processes look at the same intervals. *Fail* tests "in every interval the expected share is at most
//! the limit"; *Pass* tests "it is at least the limit". Both may be read after every interval. Memory is constant: the
//! evidence is a few dozen numbers, and no step needs the past.

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

use super::Tally;
use super::logspace::{self, Exact, exact, times_ln};

/// Fractions that are bet on "above the limit", and their weights. Small ones win slowly against small harm, large ones
/// fast against large harm; a mixture needs no guess which it is (Waudby-Smith & Ramdas 2024).
const BETS: [(f64, f64); 6] = [(0.02, 0.12), (0.06, 0.12), (0.15, 0.14), (0.35, 0.17), (0.65, 0.20), (0.95, 0.25)];
/// Alternatives to the limit, as multiples of it, and their weights: from just above it to everything fails.
const HARMS: [(f64, f64); 6] = [(1.3, 0.2), (1.7, 0.2), (2.5, 0.2), (5.0, 0.2), (15.0, 0.1), (60.0, 0.1)];
/// Alternatives below the limit, as multiples of it, and their weights: from no bad request at all to just below it.
const HEALTHS: [(f64, f64); 7] =
    [(0.0, 0.10), (0.1, 0.10), (0.25, 0.15), (0.4, 0.15), (0.55, 0.20), (0.7, 0.15), (0.85, 0.15)];
/// An alternative is at most this share: at 1, a single good request would end the evidence for good.
const MOST_SHARE: f64 = 0.999;
/// Most that one interval may add to the count part, in nats: no single burst may decide alone.
const CAP: f64 = 2.0;
/// Weight of "harmful from the first interval on" in the start-time mixture; the rest waits for harm that comes later.
const FROM_THE_START: f64 = 0.8;
/// Bad requests, and intervals that have some, without which no Fail is believed: one accident is not a pattern.
const LEAST_BAD: (f64, u32) = (3.0, 2);
/// Halvings of an interval of length 1: enough for every digit of `f64` at the smallest share that can occur.
const HALVINGS: u32 = 100;

/// What is fixed before the experiment. Without a sound limit and dispersion no interval counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareTest {
    /// Largest acceptable share of bad requests, strictly between 0 and 1.
    #[serde(with = "exact")]
    pub limit: f64,
    /// Dispersion φ, at least 1: that many bad requests count as one (see [`super::dispersion()`]).
    #[serde(with = "exact")]
    pub phi: f64,
    /// Whether the count part takes part in Fail; without history its φ would be a guess.
    pub mixed: bool,
    /// Intervals in which harm may begin: hard deadline / evidence interval. Harm that begins later is still found, by
    /// the copies that began before.
    pub horizon: u32,
}

/// What one criterion has seen. A log that is `-inf` is evidence 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareEvidence {
    ratio: [Exact; 6],
    counts: [Exact; 6],
    pass: [Exact; 7],
    requests: Exact,
    bad: Exact,
    /// Intervals that counted, which is the index of the start-time mixture.
    intervals: u32,
    bad_intervals: u32,
}

/// Prior weight of "harm began in interval `t`", `t` from 1: 0.8 for the first one, the rest spread evenly up to the
/// horizon. Total 1, so the mixture keeps its guarantee over the whole experiment, where the related Shiryaev–Roberts
/// e-detectors (Shin, Ramdas & Rinaldo 2024) bound only the rate of false alarms.
pub fn start_weight(horizon: u32, t: u32) -> f64 {
    match (horizon, t) {
        (_, 0) => 0.0,
        (0 | 1, 1) => 1.0,
        (_, 1) => FROM_THE_START,
        _ if t <= horizon => (1.0 - FROM_THE_START) / f64::from(horizon - 1),
        _ => 0.0,
    }
}

/// Prior weight of "harm begins after interval `t`": what the mixture still holds back.
pub fn start_tail(horizon: u32, t: u32) -> f64 {
    match t {
        0 => 1.0,
        _ if t < horizon => (1.0 - FROM_THE_START) * f64::from(horizon - t) / f64::from(horizon - 1),
        _ => 0.0,
    }
}

impl ShareTest {
    /// Evidence before the first interval.
    pub fn start(&self) -> ShareEvidence {
        let none = Exact(f64::NEG_INFINITY);
        let zero = Exact(0.0);
        ShareEvidence {
            ratio: [none; 6],
            counts: [none; 6],
            pass: [zero; 7],
            requests: zero,
            bad: zero,
            intervals: 0,
            bad_intervals: 0,
        }
    }

    /// Takes in one interval; Pass evidence only if `counts_for_pass`.
    ///
    /// Without requests, or with numbers that cannot be counts, nothing changes, the interval index included: the
    /// start-time mixture runs over the intervals that have data. Whether an interval has data is known before its
    /// outcome, so each factor still has expectation at most 1, and no prior weight is spent on silence.
    pub fn update(&self, e: &mut ShareEvidence, t: Tally, counts_for_pass: bool) {
        let Some(t) = t.sound().filter(|_| self.sound()) else { return };
        e.intervals = e.intervals.saturating_add(1);
        e.bad_intervals = e.bad_intervals.saturating_add(u32::from(t.bad > 0.0));
        e.requests.0 += t.requests;
        e.bad.0 += t.bad;
        let onset = start_weight(self.horizon, e.intervals).ln();
        let excess = self.ratio(t) - 1.0;
        for (log, (fraction, _)) in e.ratio.iter_mut().zip(BETS) {
            log.0 = logspace::add(log.0, onset) + (fraction * excess).ln_1p();
        }
        for (log, (rho, _)) in e.counts.iter_mut().zip(HARMS) {
            log.0 = logspace::add(log.0, onset) + (self.log_harm(rho, t) / self.phi).min(CAP);
        }
        for (log, (rho, _)) in e.pass.iter_mut().zip(HEALTHS).filter(|_| counts_for_pass) {
            log.0 += self.log_health(rho, t) / self.phi;
        }
    }

    /// The share in units of the limit, 1 (no evidence) without requests. Its expectation is at most 1 under the null
    /// hypothesis however requests of one interval depend on each other; every factor of the ratio bet,
    /// `1 + f(ratio - 1)`, inherits that.
    pub fn ratio(&self, t: Tally) -> f64 {
        t.sound().map_or(1.0, |t| (t.bad / t.requests / self.limit).min(f64::MAX))
    }

    /// Natural logarithm of the Fail e-value: half the ratio bet, half the count part; the ratio bet alone unless
    /// `mixed`.
    pub fn log_fail(&self, e: &ShareEvidence) -> f64 {
        let (ratio, counts) = self.log_fail_parts(e);
        if self.mixed { logspace::add(ratio, counts) - std::f64::consts::LN_2 } else { ratio }
    }

    /// Natural logarithms of the two parts of the Fail e-value: the ratio bet, valid under any dependence inside an
    /// interval, and the capped count likelihood ratio (Lindon & Malek 2022), tempered by φ and faster when φ is right.
    /// Each is `Σ_k w_k Σ_j π_j Π_{i≥j} F_i(k)` over grid points k and start times j.
    pub fn log_fail_parts(&self, e: &ShareEvidence) -> (f64, f64) {
        let waiting = start_tail(self.horizon, e.intervals).ln();
        let part = |logs: &[Exact; 6], grid| logspace::add(logspace::mixture(logs.iter().map(|l| l.0), grid), waiting);
        (part(&e.ratio, &BETS), part(&e.counts, &HARMS))
    }

    /// Natural logarithm of the Pass e-value: the count likelihood ratio of shares below the limit, tempered by φ.
    pub fn log_pass(&self, e: &ShareEvidence) -> f64 {
        logspace::mixture(e.pass.iter().map(|l| l.0), &HEALTHS)
    }

    /// Forgets Pass evidence: what the candidate did at lower weights promises nothing about the final one.
    pub fn restart_pass(&self, e: &mut ShareEvidence) {
        e.pass = self.start().pass;
    }

    /// Whether enough bad requests were seen to believe a Fail: three, in two intervals. It only lowers the false alarms.
    pub fn enough_bad(&self, e: &ShareEvidence) -> bool {
        e.bad.0 >= LEAST_BAD.0 && e.bad_intervals >= LEAST_BAD.1
    }

    /// Upper bound of the bad share that holds at all times at once with probability at least `1 - gamma`, `gamma` in
    /// (0, 1): the smallest share that the Pass mixture in its Poisson form rejects. 1 if none is rejected.
    pub fn upper(&self, e: &ShareEvidence, gamma: f64) -> f64 {
        if !self.sound() {
            return 1.0;
        }
        let needed = -gamma.ln();
        let log_evidence = |share: f64| {
            let log = |(rho, _)| (times_ln(e.bad.0, rho) + (1.0 - rho) * share * e.requests.0) / self.phi;
            logspace::mixture(HEALTHS.into_iter().map(log), &HEALTHS)
        };
        boundary(1.0, 0.0, |share| log_evidence(share) < needed)
    }

    /// Interval for the bad share, for display, that holds at all times at once with probability at least `1 - alpha`,
    /// `alpha` in (0, 1): Robbins' mixture over a uniform prior (Robbins 1970; Howard et al. 2021), counts divided by φ.
    pub fn interval(&self, e: &ShareEvidence, alpha: f64) -> (f64, f64) {
        let (bad, good) = (e.bad.0 / self.phi, (e.requests.0 - e.bad.0) / self.phi);
        if !self.sound() || bad + good <= 0.0 {
            return (0.0, 1.0);
        }
        let needed = -alpha.ln();
        let log_mixture = ln_beta(1.0 + bad, 1.0 + good);
        let credible = |share: f64| log_mixture - times_ln(bad, share) - times_ln(good, 1.0 - share) < needed;
        let seen = bad / (bad + good);
        (boundary(0.0, seen, credible), boundary(1.0, seen, credible))
    }

    /// Requests and bad requests since the start.
    pub fn totals(&self, e: &ShareEvidence) -> Tally {
        Tally { requests: e.requests.0, bad: e.bad.0 }
    }

    fn sound(&self) -> bool {
        self.limit > 0.0 && self.limit < 1.0 && self.phi >= 1.0 && self.phi.is_finite()
    }

    /// Log likelihood ratio of the share `rho·limit` above the limit against the limit, independent requests.
    fn log_harm(&self, rho: f64, t: Tally) -> f64 {
        // Never below the limit itself: there the ratio would speak for the candidate.
        let share = (rho * self.limit).min(MOST_SHARE).max(self.limit);
        t.bad * (share / self.limit).ln() + (t.requests - t.bad) * ((-share).ln_1p() - (-self.limit).ln_1p())
    }

    /// Log likelihood ratio of the share `rho·limit` below the limit against the limit; `-inf` for "never bad" once
    /// something was.
    fn log_health(&self, rho: f64, t: Tally) -> f64 {
        let share = rho * self.limit;
        times_ln(t.bad, rho) + (t.requests - t.bad) * ((-share).ln_1p() - (-self.limit).ln_1p())
    }
}

/// Where `inside` ends on the way from `inner`, which is inside, to `outer`; `outer` if it does not end.
fn boundary(outer: f64, inner: f64, inside: impl Fn(f64) -> bool) -> f64 {
    if inside(outer) {
        return outer;
    }
    let halve = |(outer, inner): (f64, f64), _| {
        let middle = f64::midpoint(outer, inner);
        if inside(middle) { (outer, middle) } else { (middle, inner) }
    };
    (0..HALVINGS).fold((outer, inner), halve).0
}
