//! The statistics behind a verdict: how strongly the requests seen so far speak against a limit, or for it.
//!
//! Owns the e-processes of each kind of criterion: shares of bad requests against a limit ([`ShareTest`]) or against
//! the baseline ([`RelativeTest`]), latency quantiles as shares ([`Bracket`]), means and gauges ([`MeanTest`]), the reward
//! race ([`RaceTest`]); their combination, the dispersion of bad requests, the [`environment`] guard, and the arithmetic
//! of the evidence-gated [`ramp`] and of planning ([`information`]). It draws no verdict and knows no phases, no clock and
//! no metrics source: the engine's `shift` feeds it intervals and its `decide` reads it.
//!
//! Every kind is a `…Test`, fixed before the experiment, and a `…Evidence`, constant in size, that `update` takes one
//! interval into: `start`, `update`, `log_fail`, `log_pass`, `restart_pass`, `interval`, `totals`.
//!
//! An *e-value* is a non-negative number whose expectation is at most 1 if the null hypothesis is true; an *e-process*
//! is one that stays an e-value whenever one stops looking. By Ville's inequality it ever reaches `1/a` with probability
//! at most `a`, so looking after every interval, for as long as one likes, costs nothing. All e-values are kept as
//! natural logarithms. Sources: Ramdas, Grünwald, Vovk & Shafer 2023 ("Game-theoretic statistics"), Howard et al. 2021,
//! Waudby-Smith & Ramdas 2024 ("betting"), Lindon & Malek 2022, Vovk & Wang 2021.

mod blocks;
mod collapse;
mod dispersion;
pub mod environment;
mod harm;
mod health;
pub mod information;
mod logspace;
mod mean;
mod quantile;
mod race;
pub mod ramp;
mod relative;
mod share;
pub mod threshold;

use serde::{Deserialize, Serialize};

pub use blocks::{Moments, Sample, temper};
pub use dispersion::{Dispersion, dispersion, dispersion_at};
pub use harm::{start_tail, start_weight};
pub use mean::{MeanEvidence, MeanTest};
pub use quantile::{Bracket, Counted};
pub use race::{Arm, RaceEvidence, RaceTest, eliminated, log_against};
pub use relative::{Comparison, Multipliers, RatioParts, RelativeEvidence, RelativeTest};
pub use share::{ShareEvidence, ShareTest};
pub use threshold::{ThresholdSeen, ThresholdTest};

/// Counts beyond this are not counts: above it, `f64` no longer holds every integer.
const MOST_REQUESTS: f64 = 9_007_199_254_740_992.0;

/// Requests of one version in one evidence interval. Reals are accepted: some sources estimate counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// All requests, at least 0.
    pub requests: f64,
    /// Those that failed or were too slow, 0 to `requests`.
    pub bad: f64,
}

impl Tally {
    /// The tally if it can serve as evidence: some requests, both numbers in range. `bad` is cut to `requests`, because
    /// two counters that are read a moment apart may disagree by what arrived in between.
    fn sound(self) -> Option<Self> {
        let Self { requests, bad } = self;
        let counts = requests > 0.0 && requests <= MOST_REQUESTS && bad >= 0.0;
        counts.then(|| Self { requests, bad: bad.min(requests) })
    }
}

/// Natural logarithm of the weighted mean of e-values, given as (natural logarithm, weight at least 0).
///
/// The mean of e-values is an e-value under any dependence (Vovk & Wang 2021), so `>= ln(1/alpha)` rejects "every limit
/// is kept" at level `alpha` with no further correction for the number of criteria. Without criteria: `-inf`.
pub fn combine_fail(criteria: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let weighted = criteria.into_iter().filter(|(_, weight)| *weight > 0.0);
    let (sum, total) = weighted.fold((f64::NEG_INFINITY, 0.0), |(sum, total), (log, weight)| {
        (logspace::add(sum, log + weight.ln()), total + weight)
    });
    if total > 0.0 { sum - total.ln() } else { f64::NEG_INFINITY }
}

/// The criterion that the combined Fail evidence comes from: the position of the largest weight times e-value, each given
/// as (natural logarithm, weight at least 0). `None` without evidence.
pub fn blame(criteria: impl IntoIterator<Item = (f64, f64)>) -> Option<usize> {
    let weighted = criteria.into_iter().map(|(log, weight)| log + weight.max(0.0).ln()).enumerate();
    let most = weighted.filter(|(_, log)| *log > f64::NEG_INFINITY).reduce(|a, b| if b.1 > a.1 { b } else { a });
    most.map(|(at, _)| at)
}

/// Whether every criterion's Pass e-value (natural logarithm) reaches `1/beta`, `beta` in (0, 1).
///
/// Intersection–union: if one limit is broken, a promotion needs a false rejection of that very null hypothesis, so no
/// correction is due. Without criteria nothing is proven, and the answer is no.
pub fn combine_pass(logs: impl IntoIterator<Item = f64>, beta: f64) -> bool {
    let needed = -beta.ln();
    let mut logs = logs.into_iter().peekable();
    logs.peek().is_some() && logs.all(|log| log >= needed)
}

/// What a counter grew by between two samples of the same series. A fall means that it restarted at 0.
///
/// NaN in, NaN out: [`ShareTest::update`] then leaves the interval out.
pub fn counter_delta(previous: f64, current: f64) -> f64 {
    if current < previous { current } else { current - previous }
}
