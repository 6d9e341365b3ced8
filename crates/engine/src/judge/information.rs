//! How fast evidence grows if the shares are known: information per interval, and from it the number of intervals to a
//! verdict. For planning alone; nothing is decided by it.

/// Nats beyond the threshold that a Pass costs on average, and intervals on top; fitted to simulations of the judge.
const PASS_COST: (f64, f64) = (0.9, 0.5);
/// The same for a Fail.
const FAIL_COST: (f64, f64) = (2.2, 1.5);
/// Most that one interval adds to a Fail, in nats.
const FAIL_CAP: f64 = 2.0;
/// Percentiles of the number of intervals in units of its mean.
pub const PERCENTILE_80: f64 = 1.45;
/// See [`PERCENTILE_80`].
pub const PERCENTILE_90: f64 = 1.9;
/// Steps of the golden-section search: the interval of length 1 shrinks below the precision of `f64`.
const STEPS: u32 = 80;

/// Nats per interval with `requests` requests of which the share `p` is bad, against an absolute `limit` in (0, 1).
pub fn absolute(p: f64, limit: f64, requests: f64, phi: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    requests * (part(p, limit) + part(1.0 - p, 1.0 - limit)) / phi
}

/// Nats per interval with (requests, share of bad ones) of both versions, against `p_c <= ratio·p_b + slack`: the least
/// over all baseline shares on the boundary, found by golden section (the function is convex).
pub fn relative(candidate: (f64, f64), baseline: (f64, f64), ratio: f64, slack: f64, phi: f64) -> f64 {
    let poisson = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() - p + q } else { q };
    let at = |q: f64| candidate.0 * poisson(candidate.1, ratio * q + slack) + baseline.0 * poisson(baseline.1, q);
    let golden = (5_f64.sqrt() - 1.0) / 2.0;
    // The least lies between the baseline's share and the one at which the candidate is at its limit.
    let touching = ((candidate.1 - slack) / ratio).max(0.0);
    let range = (baseline.1.min(touching), baseline.1.max(touching));
    let narrow = |(low, high): (f64, f64), _| {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if at(left) <= at(right) { (low, right) } else { (left, high) }
    };
    let (low, high) = (0..STEPS).fold(range, narrow);
    at(f64::midpoint(low, high)) / phi
}

/// Mean number of intervals until a Pass at error probability `beta`, at `information` nats per interval. Infinite
/// without information.
pub fn intervals_to_pass(information: f64, beta: f64) -> f64 {
    (-beta.ln() + PASS_COST.0) / information + PASS_COST.1
}

/// Mean number of intervals until a Fail at error probability `alpha`, if one of `criteria` criteria is broken.
pub fn intervals_to_fail(information: f64, alpha: f64, criteria: u32) -> f64 {
    (-alpha.ln() + f64::from(criteria.max(1)).ln() + FAIL_COST.0) / information.min(FAIL_CAP) + FAIL_COST.1
}
