//! The environment guard: an interval in which the baseline itself breaks the limit says nothing about the candidate.
//!
//! It drops *absolute* evidence only, Fail and Pass. A candidate that fails in such an interval is still found, by the
//! relative companion that every guarded criterion has: otherwise one that drags a shared dependency down would hide
//! behind the baseline it harms. The mask looks at the baseline alone, so the evidence stays an e-process if the
//! versions' bad requests are independent given the environment.

use statrs::function::beta::checked_beta_reg;

use super::Tally;

/// Tolerated multiple of the baseline's share in the companion of a guarded criterion.
pub const COMPANION_RATIO: f64 = 1.5;
/// Tolerated share on top: 0.2 percentage points.
pub const COMPANION_SLACK: f64 = 0.002;
/// Chance below which the baseline's bad requests are not within the limit by accident.
const SURPRISING: f64 = 0.001;

/// Whether absolute evidence of this interval is to be dropped, `limit` being the largest acceptable share of bad
/// requests. A baseline without requests, or a limit that is none, masks nothing.
pub fn masked(baseline: Tally, limit: f64) -> bool {
    // A share within the limit is no surprise; the series for its chance converges slowly and need not be trusted.
    baseline.bad > limit * baseline.requests && chance(baseline, limit) < SURPRISING
}

/// `P(Bin(n, limit) >= bad)` for n requests of the baseline: how likely as many bad ones are if its share is at the
/// limit, by the regularised incomplete beta function (real counts are as good as integers). 1 without requests.
pub fn chance(baseline: Tally, limit: f64) -> f64 {
    let Some(t) = baseline.sound().filter(|t| t.bad > 0.0 && limit > 0.0 && limit < 1.0) else { return 1.0 };
    // Rounding may leave the range; an undefined value is no reason to drop anything.
    let chance = checked_beta_reg(t.bad, t.requests - t.bad + 1.0, limit).unwrap_or(1.0);
    if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) }
}
