//! The Pass side of every share criterion, and the bounds of a share that hold at every look.
//!
//! Serves [`super::share`] and [`super::relative`], which only say what one interval speaks for. Constant memory.

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

use super::Tally;
use super::logspace::{Exact, add, boundary, mixture, no_more_than_a_number, times_ln};

/// Alternatives below the limit, as multiples of it, and their weights: from no bad request at all to just below it.
const HEALTHS: [(f64, f64); 7] =
    [(0.0, 0.10), (0.1, 0.10), (0.25, 0.15), (0.4, 0.15), (0.55, 0.20), (0.7, 0.15), (0.85, 0.15)];

/// Weight of the alternative that is expected: most candidates are what their baseline is. If it is right it costs 0.3
/// nats; if it is wrong, the grid pays 1.4.
const AIMED: f64 = 0.75;

/// Newton's steps at most: each doubles the digits.
const NEWTON: u32 = 50;

/// Evidence that the candidate is within its limit, and the totals that bounds are drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Health {
    logs: [Exact; 7],
    /// Of the alternative that is expected.
    aimed: Exact,
    requests: Exact,
    /// Bad requests, at most: those that may be beyond the bound.
    bad: Exact,
}

impl Health {
    /// Evidence before the first interval.
    pub(super) fn start() -> Self {
        Self { logs: [Exact(0.0); 7], aimed: Exact(0.0), requests: Exact(0.0), bad: Exact(0.0) }
    }

    /// Adds one interval to the totals.
    pub(super) fn count(&mut self, t: Tally) {
        self.requests.0 += t.requests;
        self.bad.0 += t.bad;
    }

    /// Takes in what one interval speaks for: `log_ratio` is the log likelihood ratio, tempered by φ, of the
    /// alternative that lies `rho` times as high as the limit, `aim` the expected one, 0 if there is none.
    pub(super) fn update(&mut self, aim: f64, log_ratio: impl Fn(f64) -> f64) {
        if aim > 0.0 {
            self.aimed.0 += no_more_than_a_number(log_ratio(aim));
        }
        for (log, (rho, _)) in self.logs.iter_mut().zip(HEALTHS) {
            log.0 += no_more_than_a_number(log_ratio(rho));
        }
    }

    /// Natural logarithm of the e-value: the grid's, or mostly the expected alternative's if there is one.
    pub(super) fn log_e(&self, aim: f64) -> f64 {
        let grid = mixture(&self.logs, &HEALTHS);
        if aim > 0.0 { add(grid + (1.0 - AIMED).ln(), self.aimed.0 + AIMED.ln()) } else { grid }
    }

    /// What [`Self::log_e`] is at most, at a fraction of its cost: the weights of the alternatives sum up to 1.
    pub(super) fn at_most(&self) -> f64 {
        self.logs.iter().map(|log| log.0).fold(self.aimed.0, f64::max)
    }

    /// Forgets the evidence, not the totals.
    pub(super) fn restart(&mut self) {
        (self.logs, self.aimed) = (Self::start().logs, Exact(0.0));
    }

    pub(super) fn totals(&self) -> Tally {
        Tally { requests: self.requests.0, bad: self.bad.0 }
    }

    /// Upper bound of the bad share that holds at all times at once with probability at least `1 - gamma`: the smallest
    /// share that the mixture in its Poisson form rejects. 1 if none is rejected.
    ///
    /// The log of the mixture grows with the share and is convex, so Newton's steps from above stay above. The first
    /// point is where a single alternative would already do.
    pub(super) fn upper(&self, phi: f64, gamma: f64) -> f64 {
        let needed = -gamma.ln();
        let lines = HEALTHS.map(|(rho, weight)| {
            (times_ln(self.bad.0, rho) / phi + weight.ln() - needed, (1.0 - rho) * self.requests.0 / phi)
        });
        let enough = |(start, slope): (f64, f64)| if start < 0.0 { -start / slope } else { 0.0 };
        let first = lines.map(enough).into_iter().fold(f64::INFINITY, f64::min);
        let step = |share: f64| {
            let most = lines.iter().map(|(start, slope)| start + slope * share).fold(f64::NEG_INFINITY, f64::max);
            let (sum, slopes) = lines.iter().fold((0.0, 0.0), |(sum, slopes), (start, slope)| {
                let part = (start + slope * share - most).exp();
                (sum + part, slopes + part * slope)
            });
            (most + sum.ln()) * sum / slopes
        };
        let mut share = first;
        for _ in 0..NEWTON {
            let next = share - step(share);
            // Rounding ends the descent, and without requests there is none.
            if !(next < share && next >= 0.0) {
                break;
            }
            share = next;
        }
        share.min(1.0)
    }

    /// Interval for the bad share that holds at all times at once with probability at least `1 - alpha`: Robbins'
    /// mixture over a uniform prior (Robbins 1970; Howard et al. 2021), counts divided by φ. Its lower end rests on
    /// `least` bad requests, those that surely are.
    pub(super) fn interval(&self, least: f64, phi: f64, alpha: f64) -> (f64, f64) {
        let end = |outer: f64, bad: f64| {
            let (bad, good) = (bad / phi, (self.requests.0 - bad) / phi);
            if bad + good <= 0.0 {
                return outer;
            }
            let log_mixture = ln_beta(1.0 + bad, 1.0 + good);
            let credible = |share: f64| log_mixture - times_ln(bad, share) - times_ln(good, 1.0 - share) < -alpha.ln();
            boundary(outer, bad / (bad + good), credible)
        };
        (end(0.0, least), end(1.0, self.bad.0))
    }
}
