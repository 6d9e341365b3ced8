//! The candidate that answers no request at all, beside a baseline that does: the alternative that must be found first,
//! and the one that a comparison of rare errors sees late.
//!
//! Where half of all requests are bad, the Poisson form of [`super::Comparison`] loses half of what an interval says. This
//! is the Bernoulli form of the same comparison, for that one alternative: the likelihood ratio of it against the point of
//! the null hypothesis that is nearest to it, which is an e-value because the null hypothesis is convex (Turner, Ly &
//! Grünwald 2024). Serves [`super::relative`].

use serde::{Deserialize, Serialize};

use super::harm::{CAP, Harm, start_tail, start_weight};
use super::logspace::{Exact, add, times_ln};
use super::relative::Comparison;

/// Part of the bet that stays out of an interval: a good answer of the candidate costs a factor of ten, not everything.
const KEPT: f64 = 0.1;

/// The start-time mixture of its likelihood ratios, as a natural logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Collapse(Exact);

impl Collapse {
    /// Evidence before the first interval.
    pub(super) fn start() -> Self {
        Self(Exact(f64::NEG_INFINITY))
    }

    /// Takes in the interval that `harm` has just counted, with `e_c` and `e_b` bad requests. `p_b`: estimate of the
    /// baseline's share from the past; `phi`: how many bad requests count as one.
    pub(super) fn update(&mut self, harm: &Harm, horizon: u32, sizes: Comparison, p_b: f64, phi: f64, bad: (f64, f64)) {
        let onset = start_weight(horizon, harm.intervals()).ln();
        let log = (log_factor(sizes, p_b, bad) / phi).min(CAP);
        self.0.0 = add(self.0.0, onset) + (KEPT + (1.0 - KEPT) * log.exp()).ln();
    }

    /// Natural logarithm of the e-value.
    pub(super) fn log_e(self, harm: &Harm, horizon: u32) -> f64 {
        add(self.0.0, start_tail(horizon, harm.intervals()).ln())
    }

    /// What [`Self::log_e`] is at most.
    pub(super) fn at_most(self) -> f64 {
        add(self.0.0, 0.0)
    }
}

/// Log likelihood ratio of "every request of the candidate fails, `p_b` of the baseline's" against the nearest shares
/// `q_b` and `q_c = r·q_b + d`; 0 where that alternative is within the limit itself, `-inf` once a request of the
/// candidate was good.
fn log_factor(sizes: Comparison, p_b: f64, (e_c, e_b): (f64, f64)) -> f64 {
    let q_b = nearest(sizes, p_b);
    let q_c = sizes.ratio * q_b + sizes.slack;
    if !(q_c < 1.0 && q_b > 0.0 && p_b > 0.0) {
        return 0.0;
    }
    if e_c < sizes.candidate {
        return f64::NEG_INFINITY;
    }
    -times_ln(e_c, q_c) + times_ln(e_b, p_b / q_b) + times_ln(sizes.baseline - e_b, (1.0 - p_b) / (1.0 - q_b))
}

/// The baseline's share `q` at the point of the limit that is nearest: the positive root of
/// `n_b (q - p_b)(r·q + d) = n_c·r·q (1 - q)`, which minimises `n_c·KL(1 ‖ r·q + d) + n_b·KL(p_b ‖ q)`.
fn nearest(Comparison { ratio: r, slack: d, candidate: n_c, baseline: n_b }: Comparison, p_b: f64) -> f64 {
    let square = r * (n_b + n_c);
    let linear = n_b * (d - r * p_b) - n_c * r;
    let constant = -n_b * p_b * d;
    let root = (linear * linear - 4.0 * square * constant).sqrt();
    // The form that does not subtract what is nearly equal.
    if linear < 0.0 { (root - linear) / (2.0 * square) } else { -2.0 * constant / (linear + root) }
}
