//! Arithmetic on natural logarithms, and numbers that survive JSON to the last bit.
//!
//! Serves the tests of this module. `-inf` is the logarithm of 0 and an ordinary value here; NaN and `+inf` are not.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Halvings of an interval of length 1: enough for every digit of `f64` at the smallest share that can occur.
const HALVINGS: u32 = 100;

/// `ln(exp(a) + exp(b))`, without leaving the range of `f64` on the way.
pub(super) fn add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high.is_infinite() { high } else { high + (low - high).exp().ln_1p() }
}

/// `ln(Σ w·exp(log))` over a grid of (point, weight).
pub(super) fn mixture<const N: usize>(logs: &[Exact; N], grid: &[(f64, f64); N]) -> f64 {
    let most = logs.iter().map(|log| log.0).fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    most + logs.iter().zip(grid).map(|(log, (_, weight))| weight * (log.0 - most).exp()).sum::<f64>().ln()
}

/// `count·ln(x)`, with `0·ln(0) = 0`.
pub(super) fn times_ln(count: f64, x: f64) -> f64 {
    if count > 0.0 { count * x.ln() } else { 0.0 }
}

/// What one interval may add to a logarithm: a real number or `-inf`. Anything else is no evidence.
pub(super) fn no_more_than_a_number(log: f64) -> f64 {
    if log < f64::INFINITY { log } else { 0.0 }
}

/// Where `inside` ends on the way from `inner`, which is inside, to `outer`; `outer` if it does not end.
pub(super) fn boundary(outer: f64, inner: f64, inside: impl Fn(f64) -> bool) -> f64 {
    if inside(outer) {
        return outer;
    }
    let halve = |(outer, inner): (f64, f64), _| {
        let middle = f64::midpoint(outer, inner);
        if inside(middle) { (outer, middle) } else { (middle, inner) }
    };
    (0..HALVINGS).fold((outer, inner), halve).0
}

/// A real number or `-inf`, kept in JSON as text: JSON numbers have no infinity, and readers may round their last digit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact(#[serde(with = "exact")] pub(super) f64);

/// `#[serde(with)]` for `f64` as the shortest text that reads back as the same number.
pub(super) mod exact {
    use super::{Deserialize, Deserializer, Error, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
    pub(crate) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:?}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        let value = text.parse::<f64>().map_err(Error::custom)?;
        let holds = value < f64::INFINITY;
        holds.then_some(value).ok_or_else(|| Error::custom("neither a real number nor -inf"))
    }
}
