//! Opaque metrics, by Iter8's rule: one number per version, compared with a lower and an upper limit.
//!
//! Nothing is known of how such a number came about, so nothing is promised about a wrong decision.

/// Whether an objective is met: the value is there and within its limits, each of which may be absent.
pub fn satisfied(value: Option<f64>, lower: Option<f64>, upper: Option<f64>) -> bool {
    value.is_some_and(|v| !v.is_nan() && lower.is_none_or(|l| v >= l) && upper.is_none_or(|u| v <= u))
}
