//! How much bad requests clump: a restarting pod or one client that retries is one cause, not a hundred.
//!
//! Called once per experiment and criterion, before the first interval, on the baseline's recent past.

use serde::{Deserialize, Serialize};
use statrs::function::beta::checked_beta_reg;

use super::Tally;
use super::logspace::exact;

/// Numbers of intervals that are joined: clumps may be longer than one interval.
const SCALES: [usize; 4] = [1, 2, 4, 8];
/// Bad requests below which an estimate says little about clumps.
const FEW_BAD: f64 = 20.0;
/// Dispersion that is assumed at least when little is known.
const CAUTIOUS: f64 = 3.0;
/// Largest dispersion: beyond it no experiment would ever end.
const MOST: f64 = 200.0;
/// Standard deviations by which a dispersion is above 1 by more than chance.
const CREDIBLE: f64 = 2.0;

/// Dispersion of clumps whose sizes are geometric with a mean of 20, the largest that Pass allows for: `2·20 - 1`.
const LARGEST: f64 = 39.0;
/// What Pass assumes when the history of a service with little traffic has no bad request to learn from: clumps of ten.
const UNSEEN: f64 = 20.0;
/// Fewer intervals are hardly a history: as without any, about [`CAUTIOUS`] are taken for one.
const LEAST_HISTORY: f64 = 60.0;
/// Bad requests at the limit that make a history long: a baseline with a tenth of them, in clumps of 20, would have
/// shown one in 95 of 100 cases (`e^-3`).
const LONG: f64 = 600.0;
/// Single bad requests that a long history, and one that is hardly one, count for on top of what they show: without any
/// they say [`CAUTIOUS`], nearly.
const SINGLES: f64 = 3.0;
/// Chance below which a mean size of clumps is too large for those that were seen.
const SURPRISING: f64 = 0.05;
/// Part of the intervals with bad requests above which several clumps share one, and only the dispersion tells.
const CROWDED: f64 = 0.5;
/// Halvings of the range of sizes: a thousandth of a request.
const HALVINGS: u32 = 16;

/// Dispersion for a [`super::ShareTest`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// For Fail: variance of bad requests in units of what independent ones would have, 1 to 200.
    #[serde(with = "exact")]
    pub phi: f64,
    /// For Pass, which has no bet that holds under any clumping to lean on: what clumps may be at most by the same
    /// history, 1 to 200.
    #[serde(with = "exact")]
    pub clump: f64,
    /// What the history shows, with no caution on top: for the environment's doubts, where caution is to have them.
    #[serde(with = "exact")]
    pub shown: f64,
    /// Whether it rests on data; if not, only the part of Fail that needs no dispersion may be used.
    pub mixed: bool,
}

impl Dispersion {
    /// Clumps of exactly this dispersion.
    pub fn known(phi: f64) -> Self {
        Self { phi, clump: phi, shown: phi, mixed: true }
    }

    /// Whether evidence can be divided by it.
    pub(super) fn sound(self) -> bool {
        [self.phi, self.clump, self.shown].iter().all(|d| (1.0..f64::INFINITY).contains(d))
    }
}

/// Dispersion from the baseline's history, one tally per evidence interval in order of time, an hour or more; `limit` is
/// the largest acceptable share.
///
/// For Fail the largest over several scales; at least 3 with fewer than 20 bad requests. Fewer than two intervals with
/// requests are no history.
pub fn dispersion(history: &[Tally], limit: f64) -> Dispersion {
    let known = Known::of(history);
    if known.intervals < 2.0 {
        return Dispersion { phi: CAUTIOUS, clump: CAUTIOUS, shown: 1.0, mixed: false };
    }
    let least = if known.bad < FEW_BAD { CAUTIOUS } else { 1.0 };
    let scales: Vec<(f64, f64)> = SCALES.iter().filter_map(|scale| at_scale(history, *scale)).collect();
    let shown = scales.iter().map(|(d, _)| *d).fold(1.0, f64::max).min(MOST);
    // By chance alone a dispersion over k blocks varies by sqrt(2 / (k - 1)) about 1.
    let credible = scales.iter().filter(|(d, k)| *d > 1.0 + CREDIBLE * (2.0 / (k - 1.0)).sqrt()).map(|(d, _)| *d);
    let clump = credible.fold(known.clump(limit), f64::max).min(MOST);
    Dispersion { phi: shown.max(least), clump, shown, mixed: true }
}

/// Pearson's dispersion `Σ (y - p·n)² / (p·n) / (k - 1)` over k blocks of `scale` intervals with n requests, y of them
/// bad, `p = Σy/Σn`. For constant traffic this is variance / mean of y. `None` with fewer than two blocks or without a
/// bad request. Intervals that do not fill a block are left out, blocks without requests too.
pub fn dispersion_at(history: &[Tally], scale: usize) -> Option<f64> {
    at_scale(history, scale).map(|(dispersion, _)| dispersion)
}

/// The same, with k.
fn at_scale(history: &[Tally], scale: usize) -> Option<(f64, f64)> {
    let join = |block: &[Tally]| {
        block
            .iter()
            .filter_map(|t| t.sound())
            .fold(Tally::default(), |a, b| Tally { requests: a.requests + b.requests, bad: a.bad + b.bad })
    };
    let blocks: Vec<Tally> = history.chunks_exact(scale.max(1)).map(join).filter(|b| b.requests > 0.0).collect();
    let (requests, bad) = blocks.iter().fold((0.0, 0.0), |(n, y), b| (n + b.requests, y + b.bad));
    if blocks.len() < 2 || bad <= 0.0 {
        return None;
    }
    let surprise = |b: &Tally| {
        let expected = bad / requests * b.requests;
        (b.bad - expected).powi(2) / expected
    };
    let k = blocks.len() as f64;
    Some((blocks.iter().map(surprise).sum::<f64>() / (k - 1.0), k))
}

/// What a history says of clumps.
struct Known {
    /// Those with requests.
    intervals: f64,
    requests: f64,
    bad: f64,
    /// Intervals with bad requests.
    ill: f64,
}

impl Known {
    fn of(history: &[Tally]) -> Self {
        let none = Self { intervals: 0.0, requests: 0.0, bad: 0.0, ill: 0.0 };
        history.iter().filter_map(|t| t.sound()).fold(none, |k, t| Self {
            intervals: k.intervals + 1.0,
            requests: k.requests + t.requests,
            bad: k.bad + t.bad,
            ill: k.ill + f64::from(u8::from(t.bad > 0.0)),
        })
    }

    /// Upper bound of the dispersion if bad requests come in independent clumps of geometric size: few clumps in a
    /// history are no proof that large ones are rare. With mean m it is `2m - 1`.
    ///
    /// n clumps of y requests in all have a mean of at most m unless `P(sum of n sizes <= y) = I(1/m; n, y - n + 1)` is
    /// a surprise. Clumps are counted by the intervals that have some, as Poisson: `-k·ln(1 - ill/k)`.
    fn clump(&self, limit: f64) -> f64 {
        let part = self.ill / self.intervals;
        if part > CROWDED {
            return 1.0;
        }
        let singled = self.requests * limit >= LONG || self.intervals < LEAST_HISTORY;
        let singles = if singled { SINGLES } else { 0.0 };
        if self.ill + singles <= 0.0 {
            return UNSEEN;
        }
        let clumps = (-self.intervals * (-part).ln_1p()).min(self.bad) + singles;
        let more = self.bad + singles - clumps;
        let possible =
            |mean: f64| checked_beta_reg(clumps, more + 1.0, 1.0 / mean).is_ok_and(|chance| chance >= SURPRISING);
        let halve = |(low, high): (f64, f64), _| {
            let middle = f64::midpoint(low, high);
            if possible(middle) { (middle, high) } else { (low, middle) }
        };
        let largest = f64::midpoint(LARGEST, 1.0);
        let (mean, _) = (0..HALVINGS).fold((1.0, largest), halve);
        2.0 * mean - 1.0
    }
}
