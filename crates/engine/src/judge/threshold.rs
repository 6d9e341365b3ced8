//! Opaque metrics, by Iter8's rule: one number per version, compared with a lower and an upper limit.
//!
//! Nothing is known of how such a number came about, so nothing is promised about a wrong decision, and there is no
//! evidence: only the last number, and how many there were.

use serde::{Deserialize, Serialize};

use super::Sample;

/// Limits of a number; each may be absent, and equality keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdTest {
    /// The least good value.
    pub lower: Option<f64>,
    /// The largest good value.
    pub upper: Option<f64>,
}

/// What was seen of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ThresholdSeen {
    /// The candidate's value in the last interval; none if it was missing.
    pub last: Option<f64>,
    /// Intervals with a value.
    pub values: u32,
}

impl ThresholdTest {
    /// Takes in an interval: the candidate's one value, or none.
    pub fn update(&self, seen: &mut ThresholdSeen, candidate: Sample) {
        seen.last = (candidate.count > 0.0).then(|| candidate.mean()).filter(|value| value.is_finite());
        if seen.last.is_some() {
            seen.values = seen.values.saturating_add(1);
        }
    }

    /// Whether the last value is there and within its limits.
    pub fn satisfied(&self, seen: &ThresholdSeen) -> bool {
        satisfied(seen.last, self.lower, self.upper)
    }

    /// Whether the last value is there and beyond a limit. A missing one never is.
    pub fn broken(&self, seen: &ThresholdSeen) -> bool {
        seen.last.is_some() && !self.satisfied(seen)
    }

    /// The limit that the last value breaks; else the one that it is nearest to, the upper one without a value.
    pub fn nearest(&self, seen: &ThresholdSeen) -> f64 {
        match (self.lower, self.upper, seen.last) {
            (Some(lower), Some(upper), Some(value)) if (value - lower).abs() < (upper - value).abs() => lower,
            (_, Some(upper), _) => upper,
            (Some(lower), None, _) => lower,
            (None, None, _) => f64::INFINITY,
        }
    }
}

/// Whether an objective is met: the value is there and within its limits, each of which may be absent.
pub fn satisfied(value: Option<f64>, lower: Option<f64>, upper: Option<f64>) -> bool {
    value.is_some_and(|v| !v.is_nan() && lower.is_none_or(|l| v >= l) && upper.is_none_or(|u| v <= u))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_neither_keeps_nor_breaks_a_limit() {
        let test = ThresholdTest { lower: Some(1.0), upper: Some(3.0) };
        let mut seen = ThresholdSeen::default();
        for (value, satisfied, broken) in
            [(1.0, true, false), (3.0, true, false), (3.1, false, true), (0.9, false, true)]
        {
            test.update(&mut seen, Sample::gauge(value));
            assert_eq!((test.satisfied(&seen), test.broken(&seen)), (satisfied, broken), "{value}");
        }
        for missing in [Sample::default(), Sample::gauge(f64::NAN), Sample::gauge(f64::INFINITY)] {
            test.update(&mut seen, missing);
            assert_eq!((test.satisfied(&seen), test.broken(&seen)), (false, false), "{missing:?}");
        }
        assert_eq!(seen.values, 4, "missing values are not counted");
    }
}
