//! From objectives and rewards to the criteria of the judge, and what has to be read for them.
//!
//! Pure; called by [`super::resolve`]. One objective reads one metric and may be several criteria: its limit, its
//! comparison with the baseline, and the companion that protects while the baseline itself breaks the limit.

use std::sync::Arc;

use super::refusal::{Refusal, item};
use super::resolve::Referred;
use crate::api::experiment::{Criteria, Objective, PreferredDirection, Relative, Reward, TestingPattern};
use crate::api::{Method, MetricKind, MetricSpec, NamedValue, Quantity, Unit};
use crate::engine::judge::Bracket;
use crate::engine::{Criterion, Race, Rule};
use crate::live::{Expression, MetricQuery, OpaqueQuery, ShareQuery, builtin};

/// The fields that messages name.
const METRIC: &str = "spec.criteria.objectives[].metric";
const UPPER: &str = "spec.criteria.objectives[].upperLimit";
const LOWER: &str = "spec.criteria.objectives[].lowerLimit";
const FACTOR: &str = "spec.criteria.objectives[].relative.factor";
const SLACK: &str = "spec.criteria.objectives[].relative.slack";
const RELATIVE: &str = "spec.criteria.objectives[].relative";
const ROLLBACK: &str = "spec.criteria.objectives[].rollback_on_failure";
const REWARDS: &str = "spec.criteria.rewards";
const REWARD: &str = "spec.criteria.rewards[].metric";

/// Largest multiple of the baseline's value: beyond it nothing is limited.
const MOST_FACTOR: f64 = 1e6;

/// What a metric says, once it is known which one it is.
struct Source {
    query: MetricQuery,
    measure: Measure,
}

/// What kind of value it is.
#[derive(Clone, Copy)]
enum Measure {
    /// A share of requests, limited by `upperLimit`.
    Share,
    /// The share of requests slower than `upperLimit`: a quantile's own limit is the share.
    Quantile(f64),
    /// A mean or gauge in this unit.
    Mean { unit: Unit, gauge: bool },
    /// A number of unknown origin in this unit.
    Opaque(Unit),
}

/// What an experiment is judged by.
pub(super) struct Judged {
    /// The criteria of every candidate.
    pub(super) criteria: Vec<Criterion>,
    /// What several candidates compete for.
    pub(super) race: Option<Race>,
    /// The metrics that are read for each candidate.
    pub(super) metrics: Vec<MetricQuery>,
}

/// The criteria of an experiment with so many candidates, and the metrics that they read.
pub(super) fn criteria(
    criteria: &Criteria,
    pattern: TestingPattern,
    candidates: usize,
    referred: &Referred,
) -> Result<Judged, Refusal> {
    let mut both = (vec![], vec![]);
    for (index, objective) in criteria.objectives.iter().enumerate() {
        let (query, rules) = judged(objective, referred).map_err(|refusal| refusal.of_item(index))?;
        add(&mut both, &objective.metric, query, rules);
    }
    let mut race = None;
    if matches!(pattern, TestingPattern::Ab | TestingPattern::Abn) {
        let [reward] = criteria.rewards.as_slice() else {
            let kind = if pattern == TestingPattern::Abn { "A/B/N" } else { "A/B" };
            let problem = format!(
                "an {kind} experiment compares one reward, here are {}; write `rewards: [{{metric: NAME, preferredDirection: High}}]`",
                criteria.rewards.len()
            );
            return Err(Refusal::Invalid { field: REWARDS.into(), problem });
        };
        let (query, rule) = better(reward, referred).map_err(|refusal| refusal.of_item(0))?;
        if candidates > 1 {
            if matches!(rule, Rule::Mean { gauge: true, .. }) {
                let instead = format!(
                    "`{}` is one number an interval, with which a race would take days; name a Metric with `mean`",
                    reward.metric
                );
                return Err(Refusal::NotSupported { field: REWARD.into(), instead }.of_item(0));
            }
            race = Some((Arc::<str>::from(reward.metric.as_str()), both.1.len(), higher_is_better(reward)));
            both.1.push(query);
        } else {
            add(&mut both, &reward.metric, query, vec![rule]);
        }
    } else if !criteria.rewards.is_empty() {
        let problem =
            "only A/B and A/B/N experiments have rewards; write `testingPattern: A/B`, or objectives alone".into();
        return Err(Refusal::Invalid { field: REWARDS.into(), problem });
    }
    let (one, metrics) = both;
    mixed(&one, race.is_some())?;
    // All metrics of the first candidate are read before those of the next one.
    let source = |candidate: usize, metric: usize| candidate * metrics.len() + metric;
    let of = |candidate: usize| {
        one.iter().map(move |c| Criterion { candidate, source: source(candidate, c.source), ..c.clone() })
    };
    let race = race.map(|(metric, at, higher_is_better)| Race {
        metric,
        sources: (0..candidates).map(|candidate| source(candidate, at)).collect(),
        higher_is_better,
    });
    Ok(Judged { criteria: (0..candidates).flat_map(of).collect(), race, metrics })
}

/// Refuses Iter8's thresholds beside what the judge can reason about.
fn mixed(criteria: &[Criterion], race: bool) -> Result<(), Refusal> {
    let opaque = criteria.iter().filter(|c| is_threshold(c)).count();
    if opaque > 0 && (race || opaque < criteria.len()) {
        let instead = "judge either opaque metrics alone, or none; give the others `share`, `histogram`, `mean` or \
                       `gauge`, which the judge can reason about"
            .into();
        return Err(Refusal::NotSupported { field: "spec.criteria.objectives".into(), instead });
    }
    Ok(())
}

/// What is read for an objective, and the criteria that it is.
fn judged(objective: &Objective, referred: &Referred) -> Result<(MetricQuery, Vec<Rule>), Refusal> {
    let source = source(&objective.metric, objective.upper_limit.as_ref(), METRIC, referred)?;
    let rules = match source.measure {
        Measure::Share => share(objective)?,
        Measure::Quantile(quantile) => quantiles(objective, quantile)?,
        Measure::Mean { unit, gauge } => means(objective, unit, gauge)?,
        Measure::Opaque(unit) => vec![threshold(objective, unit)?],
    };
    let opaque = matches!(source.measure, Measure::Opaque(_));
    if !opaque && objective.rollback_on_failure == Some(false) {
        let instead = "remove it; a proven violation always rolls back".into();
        return Err(Refusal::NotSupported { field: ROLLBACK.into(), instead });
    }
    Ok((source.query, rules))
}

/// Whether a criterion is one of Iter8's thresholds, which iterations decide.
pub(super) fn is_threshold(criterion: &Criterion) -> bool {
    matches!(criterion.rule, Rule::Threshold { .. })
}

/// The field that names the metric of a query: those of the objectives come first, then the reward's.
pub(super) fn field(criteria: &Criteria, query: usize) -> String {
    let rewards = query.checked_sub(criteria.objectives.len());
    rewards.map_or_else(|| item(METRIC, query), |index| item(REWARD, index))
}

fn add(both: &mut (Vec<Criterion>, Vec<MetricQuery>), metric: &str, query: MetricQuery, rules: Vec<Rule>) {
    let (source, metric) = (both.1.len(), Arc::<str>::from(metric));
    both.0.extend(rules.into_iter().map(|rule| Criterion { metric: metric.clone(), source, candidate: 0, rule }));
    both.1.push(query);
}

/// The metric of this name. `bound` is the objective's limit, which says what "slow" is for a built-in latency.
fn source(metric: &str, bound: Option<&Quantity>, field: &'static str, referred: &Referred) -> Result<Source, Refusal> {
    if let Some(share) = builtin::share(metric) {
        return Ok(Source { query: MetricQuery::Share(share), measure: Measure::Share });
    }
    if let Some(query) = builtin::mean(metric) {
        return Ok(Source { query, measure: Measure::Mean { unit: Unit::Milliseconds, gauge: false } });
    }
    if let Some(quantile) = builtin::quantile(metric) {
        let bound = bound.ok_or_else(|| Refusal::Invalid {
            field: UPPER.into(),
            problem: format!("objective `{metric}` has no limit; write for example `upperLimit: 250ms`"),
        })?;
        let bound = positive(bound, Unit::Milliseconds, UPPER)?;
        return Ok(Source { query: builtin::slower(bound), measure: Measure::Quantile(quantile) });
    }
    if metric.starts_with("istio/") {
        let problem = format!("there is no `{metric}` to judge; write one of {}", builtin::OBJECTIVES);
        return Err(Refusal::Invalid { field: field.into(), problem });
    }
    let found = referred.metrics.get(metric).ok_or_else(|| Refusal::Missing {
        field: field.into(),
        kind: "Metric",
        name: metric.into(),
    })?;
    let unit = found.spec.unit();
    let (query, measure) = match found.spec.kind() {
        Some(MetricKind::Share(s)) => (MetricQuery::Share(ShareQuery::share(&s.bad.0, &s.total.0)), Measure::Share),
        Some(MetricKind::Histogram(h)) => {
            let bound = positive(&h.bound, Unit::Plain, "spec.histogram.bound of the Metric")?;
            (MetricQuery::Histogram { buckets: h.buckets.0.clone(), bound }, Measure::Share)
        }
        Some(MetricKind::Mean(m)) => {
            (MetricQuery::Mean { sum: m.sum.0.clone(), count: m.count.0.clone() }, Measure::Mean { unit, gauge: false })
        }
        Some(MetricKind::Gauge(g)) => {
            (MetricQuery::Gauge { query: g.query.clone() }, Measure::Mean { unit, gauge: true })
        }
        Some(MetricKind::Opaque) => (opaque(metric, &found.spec, field)?, Measure::Opaque(unit)),
        None => {
            let instead = format!("give Metric `{metric}` one of `share`, `histogram`, `mean` and `gauge`");
            return Err(Refusal::NotSupported { field: field.into(), instead });
        }
    };
    Ok(Source { query, measure })
}

/// Iter8's request. What needs a Secret is refused: the controller may read none of the experiment's namespace.
fn opaque(metric: &str, spec: &MetricSpec, field: &'static str) -> Result<MetricQuery, Refusal> {
    let refuse =
        |what: &str| Refusal::NotSupported { field: field.into(), instead: format!("Metric `{metric}`: {what}") };
    if spec.secret.is_some() || spec.auth_type.is_some() {
        return Err(refuse(
            "remove `secret` and `authType`, the controller reads no Secrets of an experiment's namespace; read a \
             source that asks for none, or write a typed metric",
        ));
    }
    if spec.mock.is_some() {
        return Err(refuse("remove `mock`; `reiter8 simulate` plays with made-up values"));
    }
    let invalid =
        |problem: String| Refusal::Invalid { field: field.into(), problem: format!("Metric `{metric}`: {problem}") };
    let missing = |name: &str| invalid(format!("it has no `{name}`; an opaque metric needs it"));
    let program = spec.jq_expression.as_ref().ok_or_else(|| missing("jqExpression"))?;
    let pairs = |all: &[NamedValue]| all.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
    Ok(MetricQuery::Opaque(Box::new(OpaqueQuery {
        url: spec.url_template.clone().ok_or_else(|| missing("urlTemplate"))?,
        params: pairs(&spec.params),
        post: spec.method == Some(Method::Post),
        body: spec.body.clone(),
        headers: pairs(&spec.header_templates),
        expression: Expression::new(program).map_err(|e| invalid(e.to_string()))?,
    })))
}

/// The limits of an opaque metric.
fn threshold(objective: &Objective, unit: Unit) -> Result<Rule, Refusal> {
    if objective.relative.is_some() {
        let instead = format!(
            "write `upperLimit` or `lowerLimit` for `{}`: an opaque metric is compared with limits alone",
            objective.metric
        );
        return Err(Refusal::NotSupported { field: RELATIVE.into(), instead });
    }
    let (lower, upper) = limits(objective, unit)?;
    if lower.zip(upper).is_some_and(|(lower, upper)| lower > upper) {
        return Err(crossed(objective));
    }
    if lower.is_none() && upper.is_none() {
        let problem = format!("objective `{}` has no limit; write `upperLimit` or `lowerLimit`", objective.metric);
        return Err(Refusal::Invalid { field: UPPER.into(), problem });
    }
    Ok(Rule::Threshold { lower, upper, at_once: objective.rollback_on_failure == Some(true) })
}

/// A limit on a share of requests, a comparison with the baseline's, or both.
fn share(objective: &Objective) -> Result<Vec<Rule>, Refusal> {
    no_lower(objective)?;
    let mut rules = vec![];
    if let Some(upper) = &objective.upper_limit {
        let limit = quantity(upper, Unit::Share, UPPER)?;
        if limit <= 0.0 || limit >= 1.0 {
            let problem =
                format!("`{upper}` is not between 0 and 100 %; a share can be shown to be below `0.1%`, never to be 0");
            return Err(Refusal::Invalid { field: UPPER.into(), problem });
        }
        rules.push(Rule::Share { limit });
    }
    relative_share(objective, &mut rules)?;
    if rules.is_empty() {
        let problem = format!("objective `{}` has no limit; write for example `upperLimit: 1%`", objective.metric);
        return Err(Refusal::Invalid { field: UPPER.into(), problem });
    }
    Ok(rules)
}

/// "The quantile is at most x" says the same as "at most `1 - q` of the requests are slower than x".
fn quantiles(objective: &Objective, quantile: f64) -> Result<Vec<Rule>, Refusal> {
    no_lower(objective)?;
    let mut rules = vec![Rule::Share { limit: Bracket::limit(quantile) }];
    relative_share(objective, &mut rules)?;
    Ok(rules)
}

/// Adds the comparison with the baseline's share; without one, the companion of a limit.
fn relative_share(objective: &Objective, rules: &mut Vec<Rule>) -> Result<(), Refusal> {
    if let Some(relative) = &objective.relative {
        let (factor, slack) = following(relative, Unit::Share)?;
        if slack >= 1.0 {
            let problem = "a slack of 100 % allows everything; write for example `0.2%`".into();
            return Err(Refusal::Invalid { field: SLACK.into(), problem });
        }
        rules.push(Rule::RelativeShare { factor, slack });
    } else if let Some(Rule::Share { limit }) = rules.first().copied() {
        rules.push(Rule::Companion { limit });
    }
    Ok(())
}

/// Limits on a mean or a gauge.
fn means(objective: &Objective, unit: Unit, gauge: bool) -> Result<Vec<Rule>, Refusal> {
    let (lower, upper) = limits(objective, unit)?;
    // No mean is proven to be on both sides of one number.
    if lower.zip(upper).is_some_and(|(lower, upper)| lower >= upper) {
        return Err(crossed(objective));
    }
    let absolute = |slack: f64, higher_is_better| Rule::Mean { factor: 0.0, slack, higher_is_better, gauge };
    let relative = objective.relative.as_ref().map(|relative| following(relative, unit)).transpose()?;
    let relative = relative.map(|(factor, slack)| Rule::Mean { factor, slack, higher_is_better: false, gauge });
    let (upper, lower) = (upper.map(|u| absolute(u, false)), lower.map(|l| absolute(l, true)));
    let rules: Vec<Rule> = upper.into_iter().chain(lower).chain(relative).collect();
    if rules.is_empty() {
        let problem =
            format!("objective `{}` has no limit; write `upperLimit`, `lowerLimit` or `relative`", objective.metric);
        return Err(Refusal::Invalid { field: UPPER.into(), problem });
    }
    Ok(rules)
}

/// The lower and the upper limit.
fn limits(objective: &Objective, unit: Unit) -> Result<(Option<f64>, Option<f64>), Refusal> {
    let limit = |limit: &Option<Quantity>, field| limit.as_ref().map(|l| quantity(l, unit, field)).transpose();
    Ok((limit(&objective.lower_limit, LOWER)?, limit(&objective.upper_limit, UPPER)?))
}

/// No value is within both limits.
fn crossed(objective: &Objective) -> Refusal {
    let text = |limit: &Option<Quantity>| limit.as_ref().map(ToString::to_string).unwrap_or_default();
    let (lower, upper) = (text(&objective.lower_limit), text(&objective.upper_limit));
    let problem = format!("`{lower}` is not below the upper limit `{upper}`; write a lower one, or exchange the two");
    Refusal::Invalid { field: LOWER.into(), problem }
}

fn higher_is_better(reward: &Reward) -> bool {
    reward.preferred_direction == PreferredDirection::High
}

/// The reward that a candidate has to do better on.
fn better(reward: &Reward, referred: &Referred) -> Result<(MetricQuery, Rule), Refusal> {
    let instead = || Refusal::NotSupported {
        field: REWARD.into(),
        instead: format!(
            "`{}` is no reward: name a Metric with `mean` or `gauge`; a share of bad or slow requests is an objective",
            reward.metric
        ),
    };
    if builtin::share(&reward.metric).is_some() || builtin::quantile(&reward.metric).is_some() {
        return Err(instead());
    }
    let source = source(&reward.metric, None, REWARD, referred)?;
    let Measure::Mean { gauge, .. } = source.measure else { return Err(instead()) };
    let rule = Rule::Mean { factor: 1.0, slack: 0.0, higher_is_better: higher_is_better(reward), gauge };
    Ok((source.query, rule))
}

fn following(relative: &Relative, unit: Unit) -> Result<(f64, f64), Refusal> {
    let factor = relative.factor().map_err(|e| Refusal::Invalid { field: FACTOR.into(), problem: e.to_string() })?;
    let slack = relative.slack(unit).map_err(|e| Refusal::Invalid { field: SLACK.into(), problem: e.to_string() })?;
    if !(1.0..=MOST_FACTOR).contains(&factor) {
        let problem = format!(
            "a candidate that is as good as the baseline has to fail at {factor} times its value; write at least `1`, for example `1.5`"
        );
        return Err(Refusal::Invalid { field: FACTOR.into(), problem });
    }
    if slack < 0.0 {
        let problem = format!("{slack} is below 0; the limit is `factor` times the baseline's value plus `slack`");
        return Err(Refusal::Invalid { field: SLACK.into(), problem });
    }
    Ok((factor, slack))
}

fn no_lower(objective: &Objective) -> Result<(), Refusal> {
    match &objective.lower_limit {
        Some(_) => Err(Refusal::NotSupported {
            field: LOWER.into(),
            instead: "write `upperLimit`: a share of bad requests is better the lower it is".into(),
        }),
        None => Ok(()),
    }
}

fn quantity(quantity: &Quantity, unit: Unit, field: &'static str) -> Result<f64, Refusal> {
    quantity.value(unit).map_err(|e| Refusal::Invalid { field: field.into(), problem: e.to_string() })
}

fn positive(bound: &Quantity, unit: Unit, field: &'static str) -> Result<f64, Refusal> {
    let value = quantity(bound, unit, field)?;
    if value <= 0.0 {
        let problem = format!("`{bound}` is not above 0; write the bound of a good request");
        return Err(Refusal::Invalid { field: field.into(), problem });
    }
    Ok(value)
}
