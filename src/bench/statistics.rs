//! Medians and bounds of what was counted.

use statrs::function::beta::inv_beta_reg;

/// Clopper and Pearson's one-sided 95 % upper bound of the probability of something that happened in `hits` of `n` runs.
pub fn upper_bound(hits: u32, n: u32) -> f64 {
    if hits >= n { 1.0 } else { inv_beta_reg(f64::from(hits) + 1.0, f64::from(n - hits), 0.95) }
}

/// The median; `None` if it is infinite or there is nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied()?;
    let lower = if sorted.len().is_multiple_of(2) { sorted.get(half.checked_sub(1)?).copied()? } else { upper };
    Some(f64::midpoint(lower, upper)).filter(|median| median.is_finite())
}

/// The smallest value that so large a part of the values reaches at most; `None` if it is infinite or there is nothing.
pub(super) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let sorted = sorted(values);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.checked_sub(1)?).copied().filter(|value| value.is_finite())
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_clopper_and_pearsons() {
        // No hit: 1 - 0.05^(1/n). Two of ten, and 200 of 10 000: by numerical inversion of the binomial tail.
        assert!((upper_bound(0, 1000) - (1.0 - 0.05_f64.powf(0.001))).abs() < 1e-12);
        assert!((upper_bound(2, 10) - 0.506_901).abs() < 1e-6, "{}", upper_bound(2, 10));
        assert!((upper_bound(200, 10_000) - 0.022_459).abs() < 1e-5, "{}", upper_bound(200, 10_000));
        assert!((upper_bound(3, 3) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_never_happens_counts_as_infinite() {
        let never = f64::INFINITY;
        assert_eq!(median(&[3.0, 1.0, never]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[1.0, never, never]), None);
        assert_eq!(median(&[1.0, never]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(quantile(&[4.0, 1.0, 2.0, 3.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0, never], 0.95), None);
    }
}
