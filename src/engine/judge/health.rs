//! The Pass side of every share criterion, and the bounds of a share that hold at every look.
//!
//! Serves [`super::share`] and [`super::relative`], which only say what one interval speaks for. Constant memory.

use serde::{Deserialize, Serialize};
use statrs::function::beta::ln_beta;

use super::Tally;
use super::logspace::{self, Exact, boundary, no_more_than_a_number, times_ln};

/// Alternatives below the limit, as multiples of it, and their weights: from no bad request at all to just below it.
const HEALTHS: [(f64, f64); 7] =
    [(0.0, 0.10), (0.1, 0.10), (0.25, 0.15), (0.4, 0.15), (0.55, 0.20), (0.7, 0.15), (0.85, 0.15)];

/// Evidence that the candidate is within its limit, and the totals that bounds are drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Health {
    logs: [Exact; 7],
    requests: Exact,
    /// Bad requests, at most: those that may be beyond the bound.
    bad: Exact,
}

impl Health {
    /// Evidence before the first interval.
    pub(super) fn start() -> Self {
        Self { logs: [Exact(0.0); 7], requests: Exact(0.0), bad: Exact(0.0) }
    }

    /// Adds one interval to the totals.
    pub(super) fn count(&mut self, t: Tally) {
        self.requests.0 += t.requests;
        self.bad.0 += t.bad;
    }

    /// Takes in what one interval speaks for: `log_ratio` is the log likelihood ratio, tempered by φ, of the
    /// alternative that lies `rho` times as high as the limit.
    pub(super) fn update(&mut self, log_ratio: impl Fn(f64) -> f64) {
        for (log, (rho, _)) in self.logs.iter_mut().zip(HEALTHS) {
            log.0 += no_more_than_a_number(log_ratio(rho));
        }
    }

    /// Natural logarithm of the e-value.
    pub(super) fn log_e(&self) -> f64 {
        logspace::mixture(self.logs.iter().map(|l| l.0), &HEALTHS)
    }

    /// Forgets the evidence, not the totals.
    pub(super) fn restart(&mut self) {
        self.logs = Self::start().logs;
    }

    pub(super) fn totals(&self) -> Tally {
        Tally { requests: self.requests.0, bad: self.bad.0 }
    }

    /// Upper bound of the bad share that holds at all times at once with probability at least `1 - gamma`: the smallest
    /// share that the mixture in its Poisson form rejects. 1 if none is rejected.
    pub(super) fn upper(&self, phi: f64, gamma: f64) -> f64 {
        let needed = -gamma.ln();
        let log_evidence = |share: f64| {
            let log = |(rho, _)| (times_ln(self.bad.0, rho) + (1.0 - rho) * share * self.requests.0) / phi;
            logspace::mixture(HEALTHS.into_iter().map(log), &HEALTHS)
        };
        boundary(1.0, 0.0, |share| log_evidence(share) < needed)
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
