//! What is tested of a candidate: a metric's rule, and how its limit reads.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::judge::environment;

/// One test that the candidate has to stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// The metric, as the user wrote it; every copy of the evidence shares it.
    pub metric: Arc<str>,
    /// Which of the metrics that the world reads it is about: the position in [`crate::Reading::answers`]. Criteria of
    /// one objective read the same one.
    pub source: usize,
    /// Which candidate is tested: its position in [`crate::Plan::candidates`].
    #[serde(default, skip_serializing_if = "is_first")]
    pub candidate: usize,
    /// What is tested.
    pub rule: Rule,
}

// Serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_first(candidate: &usize) -> bool {
    *candidate == 0
}

/// What is tested. A number is in the metric's unit; a share in (0, 1) is of requests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The share of bad requests is at most `limit`. Intervals in which the baseline breaks it say nothing.
    Share {
        /// The share that is still acceptable, in (0, 1).
        limit: f64,
    },
    /// The share of bad requests is at most `factor` times the baseline's plus `slack`.
    RelativeShare {
        /// Tolerated multiple, above 0.
        factor: f64,
        /// Tolerated share on top, at least 0.
        slack: f64,
    },
    /// What holds for a [`Rule::Share`] in those intervals that say nothing about it: a candidate that fails, or that
    /// drags a shared dependency down, must not hide behind a baseline that breaks the limit too. It fails, never passes.
    Companion {
        /// The limit that the baseline has to break.
        limit: f64,
    },
    /// The mean of values is at most `factor` times the baseline's plus `slack`, or at least that.
    Mean {
        /// Multiple of the baseline's mean; 0: the limit is `slack` alone.
        factor: f64,
        /// The limit, or what is tolerated on top.
        slack: f64,
        /// Whether the limit is a lower one.
        higher_is_better: bool,
        /// One value an interval instead of the mean of many.
        gauge: bool,
    },
    /// The last value is within its limits: Iter8's rule for a number of unknown origin. It promises nothing.
    Threshold {
        /// The least good value.
        lower: Option<f64>,
        /// The largest good value.
        upper: Option<f64>,
        /// Whether one value beyond a limit discards at once.
        at_once: bool,
    },
}

impl Rule {
    /// What it weighs in the mean that the experiment's Fail evidence is. Whatever the weights are, the mean is an
    /// e-value; a companion, which rarely speaks, is to cost the others little time: a quarter is 0.22 nats.
    pub fn weight(&self) -> f64 {
        if self.has_to_pass() { 1.0 } else { 0.25 }
    }

    /// The largest acceptable share of bad requests beside a baseline of this share; 0 if it limits no share.
    pub fn share_limit(&self, baseline: f64) -> f64 {
        match self {
            Self::Share { limit } => *limit,
            Self::RelativeShare { factor, slack } => factor * baseline + slack,
            Self::Companion { .. } => environment::COMPANION_RATIO * baseline + environment::COMPANION_SLACK,
            Self::Mean { .. } | Self::Threshold { .. } => 0.0,
        }
    }

    /// Whether the candidate has to pass it. A companion only protects.
    pub fn has_to_pass(&self) -> bool {
        !matches!(self, Self::Companion { .. })
    }

    /// The limit, as it reads.
    pub fn text(&self) -> String {
        match *self {
            Self::Share { limit } => percent(limit),
            Self::RelativeShare { factor, slack } => following(factor, slack, percent),
            Self::Companion { limit } => format!(
                "{} while the baseline itself breaks {}",
                following(environment::COMPANION_RATIO, environment::COMPANION_SLACK, percent),
                percent(limit)
            ),
            Self::Mean { factor, slack, higher_is_better, .. } => {
                let limit = if factor > 0.0 { following(factor, slack, number) } else { number(slack) };
                format!("at {} {limit}", if higher_is_better { "least" } else { "most" })
            }
            Self::Threshold { lower, upper, .. } => match (lower, upper) {
                (Some(lower), Some(upper)) => format!("{} to {}", number(lower), number(upper)),
                (Some(lower), None) => format!("at least {}", number(lower)),
                (None, Some(upper)) => format!("at most {}", number(upper)),
                (None, None) => "any value".into(),
            },
        }
    }

    /// The limit, unless it follows the baseline.
    pub fn absolute(&self) -> Option<f64> {
        match *self {
            Self::Share { limit } => Some(limit),
            Self::Mean { factor, slack, .. } if factor <= 0.0 => Some(slack),
            Self::Threshold { lower: Some(limit), upper: None, .. } | Self::Threshold { upper: Some(limit), .. } => {
                Some(limit)
            }
            Self::RelativeShare { .. } | Self::Companion { .. } | Self::Mean { .. } | Self::Threshold { .. } => None,
        }
    }

    /// A value of the metric, as it reads.
    pub fn shown(&self, value: f64) -> String {
        match self {
            Self::Share { .. } | Self::RelativeShare { .. } | Self::Companion { .. } => percent(value),
            Self::Mean { .. } | Self::Threshold { .. } => number(value),
        }
    }

    /// Whether values are shares of requests.
    pub fn is_share(&self) -> bool {
        !matches!(self, Self::Mean { .. } | Self::Threshold { .. })
    }
}

fn following(factor: f64, slack: f64, show: impl Fn(f64) -> String) -> String {
    match (factor, slack) {
        (1.0, 0.0) => "the baseline's".into(),
        (_, 0.0) => format!("{factor} times the baseline's"),
        (1.0, _) => format!("the baseline's + {}", show(slack)),
        _ => format!("{factor} times the baseline's + {}", show(slack)),
    }
}

/// A share as a percentage with no more digits than it needs.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

/// A number with no more digits than it needs.
pub fn number(value: f64) -> String {
    format!("{}", (value * 1e4).round() / 1e4)
}
