//! The Fail side of every share criterion: two mixtures over alternatives and start times, and what makes them credible.
//!
//! Serves [`super::share`] and [`super::relative`], which only say what one interval speaks for. Constant memory.

use serde::{Deserialize, Serialize};

use super::logspace::{self, Exact, no_more_than_a_number};

/// Fractions that are bet on "beyond the limit", and their weights. Small ones win slowly against small harm, large ones
/// fast against large harm; a mixture needs no guess which it is (Waudby-Smith & Ramdas 2024).
const BETS: [(f64, f64); 6] = [(0.02, 0.12), (0.06, 0.12), (0.15, 0.14), (0.35, 0.17), (0.65, 0.20), (0.95, 0.25)];
/// Alternatives to the limit, as multiples of it, and their weights: from just above it to everything fails.
const HARMS: [(f64, f64); 6] = [(1.3, 0.2), (1.7, 0.2), (2.5, 0.2), (5.0, 0.2), (15.0, 0.1), (60.0, 0.1)];
/// Most that one interval may add to what counts requests, in nats: no single burst may decide alone.
pub(super) const CAP: f64 = 2.0;
/// Weight of "harmful from the first interval on" in the start-time mixture; the rest waits for harm that comes later.
const FROM_THE_START: f64 = 0.8;
/// Bad requests, and intervals that have some, without which no Fail is believed: one accident is not a pattern.
const LEAST_BAD: (f64, u32) = (3.0, 2);

/// Evidence that the candidate is beyond its limit. A log that is `-inf` is evidence 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Harm {
    ratio: [Exact; 6],
    counts: [Exact; 6],
    /// Bad requests that are surely beyond the bound.
    pub(super) bad: Exact,
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

impl Harm {
    /// Evidence before the first interval.
    pub(super) fn start() -> Self {
        let none = Exact(f64::NEG_INFINITY);
        Self { ratio: [none; 6], counts: [none; 6], bad: Exact(0.0), intervals: 0, bad_intervals: 0 }
    }

    /// Takes in one interval with `bad` bad requests of the candidate, by the recursion `R ← F·(R + π_t)`.
    ///
    /// `ratio` has expectation at most 1 under the null hypothesis, so every bet `1 + f(ratio - 1)` has; `log_ratio`
    /// is the log likelihood ratio, tempered by φ, of the alternative that lies `rho` times as high as the limit.
    pub(super) fn update(&mut self, horizon: u32, bad: f64, ratio: f64, log_ratio: impl Fn(f64) -> f64) {
        self.intervals = self.intervals.saturating_add(1);
        self.bad_intervals = self.bad_intervals.saturating_add(u32::from(bad > 0.0));
        self.bad.0 += bad;
        let onset = start_weight(horizon, self.intervals).ln();
        for (log, (fraction, _)) in self.ratio.iter_mut().zip(BETS) {
            log.0 = logspace::add(log.0, onset) + (fraction * (ratio - 1.0)).ln_1p();
        }
        for (log, (rho, _)) in self.counts.iter_mut().zip(HARMS) {
            log.0 = logspace::add(log.0, onset) + no_more_than_a_number(log_ratio(rho)).min(CAP);
        }
    }

    /// Natural logarithms of the two parts, each `Σ_k w_k Σ_j π_j Π_{i≥j} F_i(k)` over grid points k and start times j.
    pub(super) fn log_parts(&self, horizon: u32) -> (f64, f64) {
        let waiting = start_tail(horizon, self.intervals).ln();
        let part = |logs, grid| logspace::add(logspace::mixture(logs, grid), waiting);
        (part(&self.ratio, &BETS), part(&self.counts, &HARMS))
    }

    /// What [`Self::log_e`] is at most, at a fraction of its cost: weights of a grid, and start times to come, sum up to
    /// at most 1 each.
    pub(super) fn at_most(&self) -> f64 {
        let most = self.ratio.iter().chain(&self.counts).map(|log| log.0).fold(f64::NEG_INFINITY, f64::max);
        logspace::add(most, 0.0)
    }

    /// Natural logarithm of the e-value: half of each part, or the bets alone.
    pub(super) fn log_e(&self, horizon: u32, mixed: bool) -> f64 {
        let (ratio, counts) = self.log_parts(horizon);
        if mixed { logspace::add(ratio, counts) - std::f64::consts::LN_2 } else { ratio }
    }

    /// Intervals that counted, which is the index of the start-time mixture.
    pub(super) fn intervals(&self) -> u32 {
        self.intervals
    }

    /// Whether enough bad requests were seen to believe it: three, in two intervals. It only lowers the false alarms.
    pub(super) fn enough_bad(&self) -> bool {
        self.bad.0 >= LEAST_BAD.0 && self.bad_intervals >= LEAST_BAD.1
    }
}
