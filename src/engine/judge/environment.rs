//! Whether the environment alone breaks a limit.
//!
//! Looks at the baseline's requests only, so that the candidate cannot influence which of its intervals count; absolute
//! evidence of a masked interval is dropped.

use statrs::function::beta::beta_reg;

use super::Tally;

/// An interval is masked when a baseline within the limit would look this bad less often than this.
const IMPLAUSIBLE: f64 = 0.001;

/// Whether the baseline's requests of an interval refute that the baseline keeps the limit: `P(Bin(n, limit) ≥ bad)`
/// is below one in a thousand. `limit` in (0, 1); without sound counts the answer is no.
pub fn masked(baseline: Tally, limit: f64) -> bool {
    let Some(t) = baseline.sound().filter(|_| limit > 0.0 && limit < 1.0) else { return false };
    // Counts of sources that estimate are rounded towards "not masked".
    let (bad, requests) = (t.bad.floor(), t.requests.floor().max(1.0));
    // The binomial tail is an incomplete beta integral; its parameters must be positive.
    bad >= 1.0 && beta_reg(bad, (requests - bad + 1.0).max(1.0), limit) < IMPLAUSIBLE
}
