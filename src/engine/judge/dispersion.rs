//! How much bad requests clump: a restarting pod or one client that retries is one cause, not a hundred.
//!
//! Called once per experiment and criterion, before the first interval, on the baseline's recent past.

use serde::{Deserialize, Serialize};

use super::Tally;

/// Numbers of intervals that are joined: clumps may be longer than one interval.
const SCALES: [usize; 4] = [1, 2, 4, 8];
/// Bad requests below which an estimate says little about clumps.
const FEW_BAD: f64 = 20.0;
/// Dispersion that is assumed at least when little is known.
const CAUTIOUS: f64 = 3.0;
/// Largest dispersion: beyond it no experiment would ever end.
const MOST: f64 = 200.0;

/// Dispersion for a [`super::ShareTest`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// Variance of bad requests in units of what independent ones would have, 1 to 200.
    pub phi: f64,
    /// Whether it rests on data; if not, only the part of Fail that needs no dispersion may be used.
    pub mixed: bool,
}

/// Dispersion from the baseline's history, one tally per evidence interval in order of time, an hour or more.
///
/// The largest over several scales; at least 3 with fewer than 20 bad requests. Fewer than two intervals with requests
/// are no history.
pub fn dispersion(history: &[Tally]) -> Dispersion {
    let known = history.iter().filter_map(|t| t.sound());
    let (intervals, bad) = known.fold((0_u32, 0.0), |(n, bad), t| (n.saturating_add(1), bad + t.bad));
    if intervals < 2 {
        return Dispersion { phi: CAUTIOUS, mixed: false };
    }
    let least = if bad < FEW_BAD { CAUTIOUS } else { 1.0 };
    let phi = SCALES.iter().filter_map(|scale| dispersion_at(history, *scale)).fold(least, f64::max).min(MOST);
    Dispersion { phi, mixed: true }
}

/// Pearson's dispersion `Σ (y - p·n)² / (p·n) / (k - 1)` over k blocks of `scale` intervals with n requests, y of them
/// bad, `p = Σy/Σn`. For constant traffic this is variance / mean of y. `None` with fewer than two blocks or without a
/// bad request. Intervals that do not fill a block are left out, blocks without requests too.
pub fn dispersion_at(history: &[Tally], scale: usize) -> Option<f64> {
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
    Some(blocks.iter().map(surprise).sum::<f64>() / (blocks.len() - 1) as f64)
}
