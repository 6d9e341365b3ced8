//! Latency quantiles as shares: "the q-quantile is at most x" is the same statement as "at most `1 - q` of the requests
//! are slower than x".
//!
//! A histogram knows only its bucket edges. If x is none of them, its neighbours bracket it: requests above the upper
//! edge are surely slower than x, those above the lower edge at most. Fail counts the former, Pass the latter, so both
//! stay true statements about x; nothing is interpolated.

use super::Tally;

/// What is known of the bad requests of one version in one interval: two tallies with the same requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// With those that surely are bad.
    pub least: Tally,
    /// With all that may be.
    pub most: Tally,
}

impl From<Tally> for Counted {
    fn from(t: Tally) -> Self {
        Self { least: t, most: t }
    }
}

impl Counted {
    /// Both tallies as evidence (see [`Tally`]), or nothing: of the same requests, and with the smaller number first.
    pub(super) fn sound(self) -> Option<Self> {
        let (least, most) = (self.least.sound()?, self.most.sound()?);
        let same = least.requests.to_bits() == most.requests.to_bits();
        let bad = least.bad.min(most.bad);
        same.then_some(Self { least: Tally { bad, ..least }, most })
    }
}

/// The bucket edges around a bound. Equal if the bound is an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bracket {
    /// Largest edge that is not above the bound, 0 if all are: Pass counts what is above it.
    pub lower: f64,
    /// Smallest edge that is not below the bound, infinite if all are: Fail counts what is above it.
    pub upper: f64,
}

impl Bracket {
    /// The edges around `bound`, of `edges` in any order (`+Inf` may be among them; what is no number is ignored).
    pub fn around(bound: f64, edges: impl IntoIterator<Item = f64>) -> Self {
        let widest = Self { lower: 0.0, upper: f64::INFINITY };
        edges.into_iter().fold(widest, |Self { lower, upper }, edge| Self {
            lower: if edge <= bound { lower.max(edge) } else { lower },
            upper: if edge >= bound { upper.min(edge) } else { upper },
        })
    }

    /// Whether the bound is an edge, so that nothing is left open between Pass and Fail.
    pub fn exact(&self) -> bool {
        self.lower.to_bits() == self.upper.to_bits()
    }

    /// Requests slower than the bound, of cumulative `buckets` (edge, requests up to it) of one interval, `+Inf` among
    /// them. `None` without `+Inf`, or if an edge of the bracket is missing: another histogram than the one it is for.
    pub fn count(&self, buckets: &[(f64, f64)]) -> Option<Counted> {
        let up_to = |edge: f64| buckets.iter().find(|(le, _)| le.to_bits() == edge.to_bits()).map(|(_, n)| *n);
        let requests = up_to(f64::INFINITY)?;
        let slower = |edge: f64| {
            let faster = if edge > 0.0 { up_to(edge)? } else { 0.0 };
            // Two counters read a moment apart may disagree; NaN stays NaN, and is then no evidence.
            Some(Tally { requests, bad: if faster > requests { 0.0 } else { requests - faster } })
        };
        Some(Counted { least: slower(self.upper)?, most: slower(self.lower)? })
    }

    /// The limit of the share that says the same as a bound of the q-quantile.
    pub fn limit(quantile: f64) -> f64 {
        1.0 - quantile
    }
}
