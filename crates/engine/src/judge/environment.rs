//! The environment guard: an interval in which the baseline itself breaks the limit says nothing about the candidate.
//!
//! It drops *absolute* evidence only, Fail and Pass. A candidate that fails in such an interval is still found, by the
//! relative companion that every guarded criterion has: otherwise one that drags a shared dependency down would hide
//! behind the baseline it harms. The mask looks at the baseline alone, so the evidence stays an e-process if the
//! versions' bad requests are independent given the environment.

use serde::{Deserialize, Serialize};
use statrs::function::beta::checked_beta_reg;

use super::Tally;
use super::logspace::Exact;

/// Tolerated multiple of the baseline's share in the companion of a guarded criterion.
pub const COMPANION_RATIO: f64 = 1.5;
/// Tolerated share on top: 0.2 percentage points.
pub const COMPANION_SLACK: f64 = 0.002;
/// Chance below which the baseline's bad requests are not within the limit by accident.
const SURPRISING: f64 = 0.001;

/// The same if the interval is only to be left out: few requests cannot show more, and one interval less costs little.
const DOUBTFUL: f64 = 0.05;
/// Intervals that are left out after a doubtful one: an outage does not end between two requests, and the proxies of
/// the versions are scraped at different times.
const AFTER: u32 = 4;
/// The baseline's share is unusual from this multiple of the usual one, and [`COMPANION_SLACK`], on.
const UNUSUAL: f64 = 2.0;
/// Chance below which it is no accident that the candidate has more of the bad requests than its part.
const WORSE: f64 = 0.0005;
/// Share of bad requests from which a candidate is no use whatever the baseline suffers.
const USELESS: f64 = 0.5;
/// Part of an interval in what is usual: an outage of a minute raises it threefold at most, and a new normal is one
/// after some minutes.
const LEARNT: f64 = 0.1;

/// What one criterion remembers of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weather {
    /// Intervals that are still left out.
    after: u32,
    /// The baseline's usual share of bad requests, once it is known.
    usual: Option<Exact>,
    /// The baseline's requests in the intervals that counted, and its bad ones.
    requests: Exact,
    bad: Exact,
}

impl Weather {
    /// Before the first interval; `usual` is the baseline's share in its history, if it has one.
    pub fn start(usual: Option<f64>) -> Self {
        Self { after: 0, usual: usual.map(Exact), requests: Exact(0.0), bad: Exact(0.0) }
    }

    /// The same weather before the first interval of another test.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { requests: Exact(0.0), bad: Exact(0.0), ..*self }
    }

    /// Adds an interval whose evidence counted.
    pub fn count(&mut self, baseline: Tally) {
        let Some(Tally { requests, bad }) = baseline.sound() else { return };
        self.requests.0 += requests;
        self.bad.0 += bad;
    }

    /// Whether the candidate has more of all bad requests than its part of the traffic explains. Few requests cannot
    /// show that the baseline is ill; without this, what both versions suffer at night would be the candidate's fault.
    /// It only lowers the false alarms. A baseline without traffic excuses nothing, nor does any one a candidate that
    /// fails half of its requests.
    pub fn candidate_is_worse(&self, candidate: Tally, phi: f64) -> bool {
        if self.requests.0 <= 0.0 || candidate.bad >= USELESS * candidate.requests {
            return true;
        }
        let part = candidate.requests / (candidate.requests + self.requests.0);
        let all = Tally { requests: candidate.bad + self.bad.0, bad: candidate.bad };
        chance(scaled(all, phi), part) < WORSE
    }

    /// Whether absolute evidence of this interval is in doubt, or of one just before: the baseline's bad requests, `phi`
    /// of which count as one, are hardly within the limit.
    pub fn doubtful(&mut self, baseline: Tally, limit: f64, phi: f64) -> bool {
        let doubtful = above(baseline, limit) && chance(scaled(baseline, phi), limit) < DOUBTFUL;
        self.lasts(doubtful)
    }

    /// Whether this interval, or one just before, is left out.
    fn lasts(&mut self, out: bool) -> bool {
        let still = self.after > 0;
        self.after = if out { AFTER } else { self.after.saturating_sub(1) };
        out || still
    }

    /// Whether the baseline's share is far above the usual one: what both versions suffer makes them look alike, which
    /// would speak for a candidate that is somewhat worse.
    pub fn unusual(&mut self, baseline: Tally, phi: f64) -> bool {
        let Some(Tally { requests, bad }) = baseline.sound() else { return false };
        let share = bad / requests;
        let usual = self.usual.map_or(share, |usual| usual.0);
        let far = (UNUSUAL * usual + COMPANION_SLACK).min(1.0);
        self.usual = Some(Exact(usual + LEARNT * (share.min(far) - usual)));
        self.lasts(share > far && chance(scaled(baseline, phi), far) < DOUBTFUL)
    }
}

fn scaled(t: Tally, phi: f64) -> Tally {
    Tally { requests: t.requests / phi, bad: t.bad / phi }
}

/// A share within the limit is no surprise; the series for its chance converges slowly and need not be trusted.
fn above(baseline: Tally, limit: f64) -> bool {
    baseline.bad > limit * baseline.requests
}

/// Whether absolute evidence of this interval is to be dropped, `limit` being the largest acceptable share of bad
/// requests. A baseline without requests, or a limit that is none, masks nothing.
pub fn masked(baseline: Tally, limit: f64) -> bool {
    above(baseline, limit) && chance(baseline, limit) < SURPRISING
}

/// `P(Bin(n, limit) >= bad)` for n requests of the baseline: how likely as many bad ones are if its share is at the
/// limit, by the regularised incomplete beta function (real counts are as good as integers). 1 without requests.
pub fn chance(baseline: Tally, limit: f64) -> f64 {
    let Some(t) = baseline.sound().filter(|t| t.bad > 0.0 && limit > 0.0 && limit < 1.0) else { return 1.0 };
    // Rounding may leave the range; an undefined value is no reason to drop anything.
    let chance = checked_beta_reg(t.bad, t.requests - t.bad + 1.0, limit).unwrap_or(1.0);
    if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) }
}
