//! Kayenta: a point per minute of the candidate and of a fresh copy of the baseline, compared every few minutes by an
//! interval for the shift between them (Mann–Whitney); the score of the last judgement decides.
//!
//! The interval is that of Hollander & Wolfe's distribution-free shift estimate in its normal approximation, with
//! corrections for ties and continuity, its ends found by Brent's method to an absolute 1e-4, which is part of the rule:
//! the comparison with a quarter of the estimate sees it.

use statrs::distribution::{ContinuousCDF, Normal};

use super::{Metrics, Rule, Turn, Verdict, Version, share};

/// Confidence of the interval.
const CONFIDENCE: f64 = 0.98;
/// Part of the estimated shift that the interval must be clear of.
const TOLERANCE: f64 = 0.25;
/// Absolute tolerance of the ends.
const PRECISION: f64 = 1e-4;
/// Relative noise that is added to two series that are constant and different.
const NOISE: f64 = 1e-5;
/// Seconds between the points of a series.
const STEP: f64 = 60.0;
/// Points between judgements, and at the end: every 10 minutes of an hour.
const JUDGED: usize = 10;
const POINTS: usize = 60;
/// Weight of the candidate, percent; the copy of the baseline has as much.
const WEIGHT: u8 = 10;
/// Scores from which the last judgement passes, and down to which an earlier one ends the run.
const PASS: f64 = 95.0;
const MARGINAL: f64 = 75.0;

/// How a metric compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No worse.
    Pass,
    /// Higher than the control.
    High,
    /// A series is empty.
    Nodata,
}

/// The interval for the shift from `control` to `candidate`, and its estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The shift at which the rank sums agree.
    pub estimate: f64,
}

impl Shift {
    /// Of two series that are not empty and not all the same value.
    pub fn between(candidate: &[f64], control: &[f64], confidence: f64) -> Self {
        let z = Normal::standard().inverse_cdf(1.0 - (1.0 - confidence) / 2.0);
        let root = |z: f64, correction: f64| {
            let least = minimum(candidate) - maximum(control);
            let most = maximum(candidate) - minimum(control);
            let excess = |shift: f64| standardised(candidate, control, shift, correction) - z;
            let (at_least, at_most) = (excess(least), excess(most));
            if at_least <= 0.0 {
                least
            } else if at_most >= 0.0 {
                most
            } else {
                brent((least, at_least), (most, at_most), excess)
            }
        };
        Self { low: root(z, 0.5), high: root(-z, 0.5), estimate: root(0.0, 0.0) }
    }

    /// Whether the candidate is higher: the interval is clear of a quarter of the estimate.
    pub fn is_high(&self) -> bool {
        self.low > TOLERANCE * self.estimate.abs()
    }
}

/// Compares a metric that must not increase. `NaN` values are left out.
pub fn classify(candidate: &[f64], control: &[f64]) -> Class {
    let numbers = |series: &[f64]| series.iter().copied().filter(|x| !x.is_nan()).collect::<Vec<_>>();
    let (candidate, control) = (numbers(candidate), numbers(control));
    if candidate.is_empty() || control.is_empty() {
        return Class::Nodata;
    }
    let sorted = |series: &[f64]| {
        let mut sorted = series.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let constant = |series: &[f64]| minimum(series) >= maximum(series);
    let flat = constant(&candidate) && constant(&control);
    if sorted(&candidate) == sorted(&control) || (flat && candidate.first() == control.first()) {
        return Class::Pass;
    }
    let shift = if flat {
        Shift::between(&noisy(&candidate), &noisy(&control), CONFIDENCE)
    } else {
        Shift::between(&candidate, &control, CONFIDENCE)
    };
    // The ratio of the means must reach the allowed increase of 1; it is not tested where a mean is 0.
    let effect = mean(&candidate) / mean(&control);
    let tested = mean(&candidate).abs() > 0.0 && mean(&control).abs() > 0.0;
    if shift.is_high() && (!tested || effect >= 1.0) { Class::High } else { Class::Pass }
}

/// Score of a judgement on a single metric: all of it or nothing; without data nothing.
pub fn score(class: Class) -> f64 {
    match class {
        Class::Pass => 100.0,
        Class::High | Class::Nodata => 0.0,
    }
}

/// A standalone analysis in Kayenta.
#[derive(Clone, Debug, Default)]
pub struct Kayenta {
    candidate: Vec<f64>,
    control: Vec<f64>,
    started: bool,
}

impl Rule for Kayenta {
    fn name(&self) -> &'static str {
        "kayenta 60 x 60 s"
    }

    fn turn(&mut self, _: f64, metrics: &dyn Metrics) -> Turn {
        let going = Turn { weight: WEIGHT, verdict: None, wait: STEP };
        if !std::mem::replace(&mut self.started, true) {
            return going;
        }
        // A minute without requests is 0/0, and a point of its own.
        let percent = |version| metrics.window(version, STEP).and_then(share).map_or(f64::NAN, |share| 100.0 * share);
        self.candidate.push(percent(Version::Candidate));
        self.control.push(percent(Version::Control));
        if !self.candidate.len().is_multiple_of(JUDGED) {
            return going;
        }
        let score = score(classify(&self.candidate, &self.control));
        let last = self.candidate.len() >= POINTS;
        let verdict = match (last, score) {
            (true, score) if score >= PASS => Some(Verdict::Promote),
            (false, score) if score > MARGINAL => None,
            _ => Some(Verdict::Rollback),
        };
        Turn { verdict, weight: if verdict == Some(Verdict::Rollback) { 0 } else { WEIGHT }, ..going }
    }
}

fn minimum(series: &[f64]) -> f64 {
    series.iter().copied().fold(f64::INFINITY, f64::min)
}

fn maximum(series: &[f64]) -> f64 {
    series.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn mean(series: &[f64]) -> f64 {
    series.iter().sum::<f64>() / series.len() as f64
}

/// Two constant series cannot be ranked: normal scores take the place of random noise, so that a run can be repeated.
fn noisy(series: &[f64]) -> Vec<f64> {
    let score = |at: usize| Normal::standard().inverse_cdf((at as f64 + 0.5) / series.len() as f64);
    series.iter().enumerate().map(|(at, x)| x * (1.0 + NOISE * score(at))).collect()
}

/// The rank sum of the candidate, shifted back by `shift`, in standard deviations from what equal series would have.
fn standardised(candidate: &[f64], control: &[f64], shift: f64, correction: f64) -> f64 {
    let mut all: Vec<(f64, bool)> = candidate.iter().map(|x| (x - shift, true)).collect();
    all.extend(control.iter().map(|x| (*x, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut before, mut ranks, mut ties) = (0.0, 0.0, 0.0);
    // Equal values share the mean of their ranks. -0 equals 0.
    for group in all.chunk_by(|a, b| a.0 >= b.0) {
        let size = group.len() as f64;
        ranks += group.iter().filter(|(_, ours)| *ours).count() as f64 * (before + f64::midpoint(size, 1.0));
        ties += size.powi(3) - size;
        before += size;
    }
    let (n, m) = (candidate.len() as f64, control.len() as f64);
    let distance = ranks - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let toward = if distance > 0.0 {
        correction
    } else if distance < 0.0 {
        -correction
    } else {
        0.0
    };
    let variance = n * m / 12.0 * ((n + m + 1.0) - ties / ((n + m) * (n + m - 1.0)));
    (distance - toward) / variance.sqrt()
}

/// A point of a function.
type Point = (f64, f64);

/// Brent's root (Brent 1973, chapter 4) of a function with opposite signs at two points: interpolation where it is
/// trusted, bisection where not. `best` has the smallest value so far, `last` is the point before it, and the root lies
/// between `best` and `far`.
fn brent(mut last: Point, mut best: Point, function: impl Fn(f64) -> f64) -> f64 {
    let mut far = last;
    // Bisection alone needs fewer.
    for _ in 0..1000 {
        let before = best.0 - last.0;
        if far.1.abs() < best.1.abs() {
            (last, best, far) = (best, far, best);
        }
        let close = 2.0 * f64::EPSILON * best.0.abs() + PRECISION / 2.0;
        let half = (far.0 - best.0) / 2.0;
        if half.abs() <= close || best.1 == 0.0 {
            break;
        }
        let mut step = half;
        if before.abs() >= close && last.1.abs() > best.1.abs() {
            let (top, bottom) = interpolation(last, best, far);
            let inside = top < 1.5 * half * bottom - (close * bottom).abs() / 2.0;
            if inside && top < (before * bottom / 2.0).abs() {
                step = top / bottom;
            }
        }
        last = best;
        best.0 += if step.abs() < close { close.copysign(step) } else { step };
        best.1 = function(best.0);
        if (best.1 > 0.0 && far.1 > 0.0) || (best.1 < 0.0 && far.1 < 0.0) {
            far = last;
        }
    }
    best.0
}

/// The step from `best` to the interpolated root as a fraction whose numerator is at least 0: linear if `last` and `far`
/// are one point, else inverse quadratic.
fn interpolation(last: Point, best: Point, far: Point) -> (f64, f64) {
    let (width, to_last) = (far.0 - best.0, best.1 / last.1);
    let (top, bottom) = if last.0.to_bits() == far.0.to_bits() {
        (width * to_last, 1.0 - to_last)
    } else {
        let (ends, to_far) = (last.1 / far.1, best.1 / far.1);
        let top = to_last * (width * ends * (ends - to_far) - (best.0 - last.0) * (to_far - 1.0));
        (top, (ends - 1.0) * (to_far - 1.0) * (to_last - 1.0))
    };
    if top > 0.0 { (top, -bottom) } else { (-top, bottom) }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds
mod tests {
    use super::super::Tally;
    use super::super::tests::{Constant, bad, run};
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let shown = [CONFIDENCE, TOLERANCE, PASS, MARGINAL, STEP];
        assert_eq!(shown.map(|x| (100.0 * x) as u32), [98, 25, 9500, 7500, 6000]);
        assert_eq!((JUDGED, POINTS, WEIGHT), (10, 60, 10));
    }

    #[test]
    fn equal_versions_take_an_hour_and_no_data_ends_at_the_first_judgement() {
        assert_eq!(run(&mut Kayenta::default(), &bad(1.0)), (Verdict::Promote, 3600.0, vec![(0.0, 10)]));
        let (verdict, at, _) = run(&mut Kayenta::default(), &Constant(None));
        assert_eq!((verdict, at as u32), (Verdict::Rollback, 600));
    }

    /// A control without and a candidate with bad requests.
    struct Apart;

    impl Metrics for Apart {
        fn window(&self, version: Version, _: f64) -> Option<Tally> {
            Some(Tally { requests: 100.0, bad: if version == Version::Control { 1.0 } else { 5.0 } })
        }
        fn instant(&self, _: Version) -> Option<Tally> {
            None
        }
        fn total(&self, _: Version) -> Option<Tally> {
            None
        }
    }

    #[test]
    fn a_clear_difference_ends_at_the_first_judgement() {
        let (verdict, at, weights) = run(&mut Kayenta::default(), &Apart);
        assert_eq!((verdict, at as u32, weights), (Verdict::Rollback, 600, vec![(0.0, 10), (600.0, 0)]));
    }

    #[test]
    fn the_same_values_pass_in_any_order_and_fewer_bad_ones_too() {
        let (up, down) = ([1.0, 2.0, 3.0, f64::NAN], [3.0, 2.0, 1.0]);
        assert_eq!(classify(&up, &down), Class::Pass);
        assert_eq!(classify(&[0.0; 20], &[0.0; 20]), Class::Pass);
        assert_eq!(classify(&[1.0; 20], &[9.0; 20]), Class::Pass);
        assert_eq!(classify(&[f64::NAN], &[1.0]), Class::Nodata);
    }
}
