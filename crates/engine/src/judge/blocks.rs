//! Sums of values by blocks of intervals, and the t-mixture over block differences.
//!
//! Serves [`super::mean`] and [`super::race`]. No value has a known bound or variance, so the guarantee rests on block
//! means being nearly Gaussian: blocks are long, and the first few are not believed. Constant memory.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::logspace::{Exact, boundary};

/// Evidence intervals that make a block.
pub(super) const INTERVALS: u32 = 3;
/// Blocks before which nothing is proven: the law of few blocks says too much.
const LEAST_BLOCKS: u32 = 5;
/// Prior variance of the effect in units of the block variance (half-normal); the answer hardly depends on it.
const EFFECT: f64 = 0.5;
/// Most autocorrelation that tempering corrects for; beyond it intervals are too short for the metric.
const MOST_CORRELATION: f64 = 0.9;
/// Powers of 2 of the root mean square at which the end of an interval is searched.
const FINEST: i32 = -20;
const COARSEST: i32 = 20;
/// Values beyond this are not values: their squares leave the range of `f64`.
const MOST_VALUE: f64 = 1e100;

/// Values of one version in one evidence interval. A gauge's value counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// How many values, above 0.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
}

impl Sample {
    /// A gauge's value.
    pub fn gauge(value: f64) -> Self {
        Self { count: 1.0, sum: value }
    }

    /// The mean of the values, NaN without any.
    pub fn mean(self) -> f64 {
        self.sum / self.count
    }

    pub(super) fn sound(self) -> Option<Self> {
        let counts = self.count > 0.0 && self.count <= super::MOST_REQUESTS;
        (counts && self.sum.abs() <= MOST_VALUE && self.mean().abs() <= MOST_VALUE).then_some(self)
    }
}

/// Count and sum since some moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    count: Exact,
    sum: Exact,
}

impl Sums {
    pub(super) fn start() -> Self {
        Self { count: Exact(0.0), sum: Exact(0.0) }
    }

    pub(super) fn add(&mut self, s: Sample) {
        let sum = Sample { count: self.count.0 + s.count, sum: self.sum.0 + s.sum };
        (self.count.0, self.sum.0) = (sum.count, sum.sum.clamp(-f64::MAX, f64::MAX));
    }

    pub(super) fn sample(self) -> Sample {
        Sample { count: self.count.0, sum: self.sum.0 }
    }
}

/// The block being filled, of two versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    intervals: u32,
    ours: Sums,
    theirs: Sums,
}

impl Block {
    pub(super) fn start() -> Self {
        Self { intervals: 0, ours: Sums::start(), theirs: Sums::start() }
    }

    /// Adds an interval of both; the finished block if it is the third or later and both have `least` values. How long a
    /// block lasts depends on the numbers of values alone, never on the values.
    pub(super) fn add(&mut self, ours: Sample, theirs: Sample, least: f64) -> Option<(Sample, Sample)> {
        self.intervals = self.intervals.saturating_add(1);
        self.ours.add(ours);
        self.theirs.add(theirs);
        let (ours, theirs) = (self.ours.sample(), self.theirs.sample());
        let full = self.intervals >= INTERVALS && ours.count >= least && theirs.count >= least;
        full.then(|| {
            *self = Self::start();
            (ours, theirs)
        })
    }
}

/// What the t-mixture remembers of the blocks: sums of z = √h·y over block differences y with exposures h.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    blocks: u32,
    /// Exposure of the first block, the unit of the others.
    unit: Exact,
    /// Σ √h·z = Σ h·y
    sum: Exact,
    /// Σ z²
    squares: Exact,
    /// Σ h
    exposure: Exact,
    /// For the autocorrelation, all less the first z (which keeps the digits where the mean is large): the last one,
    /// and Σ u, Σ u², Σ u·(previous u).
    first: Exact,
    last: Exact,
    drift: Exact,
    spread: Exact,
    lagged: Exact,
}

impl Moments {
    /// Before the first block.
    pub fn start() -> Self {
        let none = Exact(0.0);
        Self {
            blocks: 0,
            unit: none,
            sum: none,
            squares: none,
            exposure: none,
            first: none,
            last: none,
            drift: none,
            spread: none,
            lagged: none,
        }
    }

    /// Takes in a block whose difference is `y`, at `exposure` above 0 in whatever unit. Out of range: nothing changes.
    pub(super) fn add(&mut self, y: f64, exposure: f64) {
        let unit = if self.blocks == 0 { exposure } else { self.unit.0 };
        let h = exposure / unit;
        if h > 0.0 && h <= super::MOST_REQUESTS {
            self.unit.0 = unit;
            self.add_weighted(h.sqrt() * y, h);
        }
    }

    /// Takes in a block with z = `z` and weight `h`, both in range, else nothing changes.
    pub fn add_weighted(&mut self, z: f64, h: f64) {
        if !(z.abs() <= MOST_VALUE * MOST_REQUESTS_ROOT && h > 0.0 && h <= super::MOST_REQUESTS) {
            return;
        }
        if self.blocks == 0 {
            self.first.0 = z;
        }
        let u = z - self.first.0;
        self.blocks = self.blocks.saturating_add(1);
        self.sum.0 += h.sqrt() * z;
        self.squares.0 += z * z;
        self.exposure.0 += h;
        self.drift.0 += u;
        self.spread.0 += u * u;
        self.lagged.0 += u * self.last.0;
        self.last.0 = u;
    }

    /// Blocks so far.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Natural logarithm of the one-sided t-mixture for "the mean of y is above 0", or below it if `upwards` is false:
    /// half-normal over the standardised effect with variance `effect`, right-Haar over the standard deviation, the
    /// effect integrated first. The one-sided form of the t-test martingale of Wang & Ramdas 2023.
    ///
    /// With `S = Σhy`, `V = Σhy²`, `H = Σh`, n blocks, `s = √τ²·S/√(1 + τ²H)`, `D = V - s²`:
    /// `ln E = ln 2 - ½ln(1 + τ²H) - (n/2)·ln(D/V) + ln T_n(s·√(n/D))`. No evidence without variation.
    pub fn log_e(&self, upwards: bool, effect: f64) -> f64 {
        let (n, squares, grown) = (f64::from(self.blocks), self.squares.0, 1.0 + effect * self.exposure.0);
        let sum = if upwards { self.sum.0 } else { -self.sum.0 };
        let s = (effect / grown).sqrt() * sum;
        let rest = squares - s * s;
        if self.blocks == 0 || rest <= 0.0 {
            return 0.0;
        }
        let tail = StudentsT::new(0.0, 1.0, n).map_or(0.0, |t| t.cdf(s * (n / rest).sqrt()));
        let log = std::f64::consts::LN_2 - grown.ln() / 2.0 - n / 2.0 * (rest / squares).ln() + tail.ln();
        if log < f64::INFINITY { log } else { 0.0 }
    }

    /// [`Self::log_e`] as evidence: tempered by the autocorrelation if asked, and before five blocks at most nothing.
    pub(super) fn evidence(&self, upwards: bool, tempered: bool) -> f64 {
        let log = self.log_e(upwards, EFFECT);
        let log = if tempered { log * temper(self.correlation(), self.blocks) } else { log };
        if self.blocks < LEAST_BLOCKS { log.min(0.0) } else { log }
    }

    /// Interval for the mean of y that holds at all times at once with probability at least `1 - alpha`: what neither
    /// direction rejects with half of it. An end that nothing rejects is infinite.
    pub(super) fn interval(&self, alpha: f64, tempered: bool) -> (f64, f64) {
        let mean = self.sum.0 / self.exposure.0;
        let needed = (2.0 / alpha).ln();
        let end = |upwards: bool| {
            let outwards = if upwards { -1.0 } else { 1.0 };
            let credible = |mean: f64| self.less(mean).evidence(upwards, tempered) < needed;
            let far = |power: i32| mean + outwards * (self.squares.0 / self.exposure.0).sqrt() * 2_f64.powi(power);
            let rejected = (FINEST..COARSEST).map(far).find(|x| !credible(*x));
            rejected.map_or(outwards * f64::INFINITY, |outer| boundary(outer, mean, credible))
        };
        if mean.is_finite() { (end(true), end(false)) } else { (f64::NEG_INFINITY, f64::INFINITY) }
    }

    /// The sums of `y - by`. Deviations from the first z are left as they are, which is right where all weights are the
    /// same, and elsewhere nothing is tempered.
    fn less(&self, by: f64) -> Self {
        let squares = self.squares.0 - 2.0 * by * self.sum.0 + by * by * self.exposure.0;
        Self { sum: Exact(self.sum.0 - by * self.exposure.0), squares: Exact(squares), ..*self }
    }

    /// Lag-1 autocorrelation of z; 0 where z does not vary.
    pub fn correlation(&self) -> f64 {
        let n = f64::from(self.blocks);
        let mean = self.drift.0 / n;
        let spread = self.spread.0 - n * mean * mean;
        let lagged = self.lagged.0 - mean * (2.0 * self.drift.0 - self.last.0) + (n - 1.0) * mean * mean;
        let r = lagged / spread;
        if spread > 0.0 && r.is_finite() { r.clamp(-1.0, 1.0) } else { 0.0 }
    }
}

/// Root of the largest weight.
const MOST_REQUESTS_ROOT: f64 = 94_906_265.624_251_56;

/// The power to which an e-value from `blocks` correlated blocks is raised: `(1 - r)/(1 + r)` with the lag-1
/// autocorrelation `r1` corrected for its bias, `r = r1 + (1 + 3·r1)/n` within 0 to 0.9. A power of at most 1 of an
/// e-value is an e-value; that this one suffices is an approximation.
pub fn temper(r1: f64, blocks: u32) -> f64 {
    let r = r1 + (1.0 + 3.0 * r1) / f64::from(blocks);
    let r = if r.is_nan() { MOST_CORRELATION } else { r.clamp(0.0, MOST_CORRELATION) };
    (1.0 - r) / (1.0 + r)
}
