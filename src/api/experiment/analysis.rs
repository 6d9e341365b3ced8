//! `spec.analysis`: how sure and how fast the decision is.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{InvalidField, Quantity, QuantityError, Span, Unit};

/// Time between looks at the metrics: two scrapes of the usual 5 s.
const INTERVAL: Duration = Duration::from_secs(10);

/// How far behind now an interval of evidence ends: one scrape interval of 15 s, and 5 s for the scrape itself.
const LAG: Duration = Duration::from_secs(20);

/// Evidence for a Pass does not count while caches and connection pools of the candidate fill.
const WARM_UP: Duration = Duration::from_secs(30);

/// The least time at the final weight before a Pass.
const SOAK: Duration = Duration::from_mins(1);

/// When an undecided experiment is treated as `onUndecided` says.
const DEADLINE: Duration = Duration::from_hours(1);

/// When an undecided experiment that was held ends.
const HARD_DEADLINE: Duration = Duration::from_hours(2);

/// Both error budgets: one wrong decision in twenty at the limit is the convention that most readers expect.
const ERROR_BUDGET: f64 = 0.05;

/// How sure and how fast the decision is. Times count from the first traffic to the candidate; queue and pause do not count.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// The largest probability of rolling back a candidate that is within every limit, as a share below 0.5. Default: 0.05.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_rollback: Option<Quantity>,
    /// The largest probability of promoting a candidate that is beyond a limit, as a share below 0.5. Default: 0.05.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_promotion: Option<Quantity>,
    /// Time between looks at the metrics. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// How far behind now an interval of evidence ends; one scrape interval plus 5 s. Default: 20s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Span>,
    /// Time from the first traffic in which evidence for promotion is dropped; evidence for a rollback always counts. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Span>,
    /// The least time at the final weight before promotion. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Span>,
    /// When an undecided experiment is treated as `onUndecided` says; longer than `interval`, `lag`, `warmUp` and `soak`. Default: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    /// When a held experiment is discarded; not before `deadline`. Default: 2h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_deadline: Option<Span>,
    /// What happens at the deadline without a decision: Hold (keep the traffic until `hardDeadline`, then discard), Discard, or
    /// PromoteUnproven (promote if there are data for every objective). Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OnUndecided")]
    pub on_undecided: Option<OnUndecided>,
}

impl Analysis {
    /// The largest probability of rolling back a good candidate, in (0, 0.5).
    pub fn false_rollback(&self) -> Result<f64, InvalidField> {
        share("spec.analysis.falseRollback", self.false_rollback.as_ref())
    }

    /// The largest probability of promoting a bad candidate, in (0, 0.5).
    pub fn false_promotion(&self) -> Result<f64, InvalidField> {
        share("spec.analysis.falsePromotion", self.false_promotion.as_ref())
    }

    /// Time between looks at the metrics.
    pub fn interval(&self) -> Result<Duration, InvalidField> {
        span("spec.analysis.interval", self.interval.as_ref(), INTERVAL)
    }

    /// How far behind now an interval of evidence ends.
    pub fn lag(&self) -> Result<Duration, InvalidField> {
        span("spec.analysis.lag", self.lag.as_ref(), LAG)
    }

    /// Time from the first traffic in which evidence for promotion is dropped.
    pub fn warm_up(&self) -> Result<Duration, InvalidField> {
        span("spec.analysis.warmUp", self.warm_up.as_ref(), WARM_UP)
    }

    /// The least time at the final weight before promotion.
    pub fn soak(&self) -> Result<Duration, InvalidField> {
        span("spec.analysis.soak", self.soak.as_ref(), SOAK)
    }

    /// When an undecided experiment is treated as `onUndecided` says, counted from the first traffic.
    pub fn deadline(&self) -> Result<Duration, InvalidField> {
        span("spec.analysis.deadline", self.deadline.as_ref(), DEADLINE)
    }

    /// When a held experiment is discarded, counted from the first traffic. Follows a longer `deadline` if it is not written.
    pub fn hard_deadline(&self) -> Result<Duration, InvalidField> {
        let default = HARD_DEADLINE.max(self.deadline()?);
        span("spec.analysis.hardDeadline", self.hard_deadline.as_ref(), default)
    }

    /// What happens at the deadline without a decision.
    pub fn on_undecided(&self) -> OnUndecided {
        self.on_undecided.unwrap_or_default()
    }
}

/// What happens at the deadline without a decision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUndecided {
    /// Keep the traffic and go on until `hardDeadline`, then discard.
    #[default]
    Hold,
    /// Discard the candidate.
    Discard,
    /// Promote the candidate if there are data for every objective; reported as `Unproven`.
    PromoteUnproven,
}

fn span(field: &'static str, written: Option<&Span>, default: Duration) -> Result<Duration, InvalidField> {
    written.map_or(Ok(default), |text| text.duration().map_err(|source| InvalidField { field, source: source.into() }))
}

fn share(field: &'static str, written: Option<&Quantity>) -> Result<f64, InvalidField> {
    let Some(text) = written else { return Ok(ERROR_BUDGET) };
    let budget = text.value(Unit::Share).map_err(|source| InvalidField { field, source: source.into() })?;
    if budget > 0.0 && budget < 0.5 {
        return Ok(budget);
    }
    let expected = "a probability above 0 and below 0.5, for example `0.05`";
    Err(InvalidField { field, source: QuantityError::OutOfRange { value: text.to_string(), expected }.into() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_empty_analysis_has_the_documented_defaults() {
        let empty = Analysis::default();
        assert_eq!(empty.interval(), Ok(Duration::from_secs(10)));
        assert_eq!(empty.hard_deadline(), Ok(Duration::from_hours(2)));
        assert_eq!(empty.false_rollback(), Ok(0.05));
        assert_eq!(empty.on_undecided(), OnUndecided::Hold);
    }

    #[test]
    fn a_long_deadline_carries_the_hard_one_along() {
        let long = Analysis { deadline: Some(Span::new("6h")), ..Analysis::default() };
        assert_eq!(long.hard_deadline(), long.deadline());
    }

    #[test]
    fn errors_name_the_field() {
        let wrong = Analysis {
            soak: Some(Span::new("soon")),
            false_promotion: Some(Quantity::from("60%")),
            ..Analysis::default()
        };
        assert_eq!(wrong.soak().unwrap_err().field, "spec.analysis.soak");
        let error = wrong.false_promotion().unwrap_err();
        assert!(error.source.to_string().contains("below 0.5"), "{}", error.source);
    }
}
