//! The evidence-gated ramp: how much traffic the candidate may get, given how bad it could still be.
//!
//! If the true share of bad requests is at the upper bound of what the evidence allows, a reaction time of `tau` seconds
//! at the returned weight costs at most `budget` bad requests more than the limit would. Weights are whole percents,
//! never fall here and grow at most threefold at once. Traffic whose rate is not known opens nothing.

/// Largest growth at once: a bound that is wrong for an interval must not send everything to the candidate.
const MOST_GROWTH: f64 = 3.0;
/// An upper bound at or below the limit leaves no excess; this much keeps the division defined.
const LEAST_EXCESS: f64 = 1e-9;

/// The first weight, as if every request to the candidate failed: `budget / (rps·tau)`, at least 1 %, at most `cap`.
///
/// `rps` is the total rate in requests per second, `budget` excess bad requests, `tau` seconds, `cap` percent.
pub fn start(rps: f64, budget: f64, tau: f64, cap: u8) -> u8 {
    floor_percent(affordable(rps, budget, tau, 1.0)).max(1).min(cap)
}

/// The next weight after `weight` percent. `gates` holds (upper bound, limit) of the bad share of each criterion; the
/// strictest one counts, and without any the weight stays.
pub fn next(weight: u8, rps: f64, budget: f64, tau: f64, cap: u8, gates: impl Iterator<Item = (f64, f64)>) -> u8 {
    let open = gates.map(|(upper, limit)| affordable(rps, budget, tau, upper - limit)).reduce(f64::min);
    let target = open.unwrap_or(0.0).min(MOST_GROWTH * f64::from(weight)).min(f64::from(cap));
    weight.max(floor_percent(target))
}

/// The next weight where nothing counts requests, so that no number of bad ones can be bounded: the largest growth.
pub fn blind(weight: u8, cap: u8) -> u8 {
    weight.max(floor_percent((MOST_GROWTH * f64::from(weight)).min(f64::from(cap))))
}

/// Percent of the traffic at which `excess` (a share) costs `budget` in `tau` seconds; 0 if that cannot be told.
fn affordable(rps: f64, budget: f64, tau: f64, excess: f64) -> f64 {
    let excess = if excess.is_nan() { 1.0 } else { excess.max(LEAST_EXCESS) };
    let percent = 100.0 * budget / (rps * tau * excess);
    if rps > 0.0 && tau > 0.0 && percent.is_finite() { percent } else { 0.0 }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates, and NaN becomes 0
fn floor_percent(percent: f64) -> u8 {
    percent.floor() as u8
}
