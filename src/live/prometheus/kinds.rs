//! The kinds of metrics that are not two counters: buckets, sums and gauges.
//!
//! Uses the paired counters of [`super`]; decides nothing. A bound between two bucket edges is bracketed by them, never
//! interpolated.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Growth, Prometheus, unfilled};
use crate::engine::judge::{Bracket, Counted, Sample, Tally};
use crate::engine::{Cause, Pair, Seen, Unavailable, Window};
use crate::live::query::{Values, Versions};

/// The bucket edges that count, and a selector of them alone.
struct Edges {
    bracket: Bracket,
    selector: String,
}

impl Prometheus {
    /// Observations of both versions above the bound.
    pub(super) async fn slower(
        &self,
        (buckets, bound): (&str, f64),
        versions: &Versions,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Pair>> {
        let (baseline, candidate) = futures::future::try_join(
            self.above(buckets, bound, &versions.baseline, window, began),
            self.above(buckets, bound, &versions.candidate, window, began),
        )
        .await?;
        Ok(baseline.zip(candidate).map(|(baseline, candidate)| Pair::Requests { baseline, candidate }))
    }

    async fn above(
        &self,
        buckets: &str,
        bound: f64,
        values: &Values,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Counted>> {
        let selector = values.fill(buckets).map_err(|e| unfilled(&e))?;
        let Some(edges) = self.edges(&selector, bound, window.to).await? else {
            return Ok(Some(Tally::default().into()));
        };
        let grown = self.grown(&edges.selector, window, began).await?;
        Ok(grown.and_then(|grown| edges.bracket.count(&by_edge(&grown))))
    }

    /// The baseline's observations above the bound in each step, oldest first; all that may be.
    pub(super) async fn slower_before(
        &self,
        (buckets, bound): (&str, f64),
        values: &Values,
        window: Window,
        step: f64,
    ) -> Seen<Vec<Tally>> {
        let selector = values.fill(buckets).map_err(|e| unfilled(&e))?;
        let Some(edges) = self.edges(&selector, bound, window.to).await? else { return Ok(vec![]) };
        let mut steps: BTreeMap<i64, Vec<(f64, f64)>> = BTreeMap::new();
        for (labels, grown) in self.steps(&edges.selector, window, step).await? {
            let Some(edge) = edge(labels.get("le").map(String::as_str)) else { continue };
            for (at, more) in grown {
                add(steps.entry(at).or_default(), edge, more);
            }
        }
        Ok(steps.values().filter_map(|buckets| edges.bracket.count(buckets)).map(|counted| counted.most).collect())
    }

    /// The edges around a bound that a histogram has at a time; none without a series.
    async fn edges(&self, selector: &str, bound: f64, at: Timestamp) -> Seen<Option<Edges>> {
        let query = format!("count by (le) (last_over_time({selector}[{}]))", super::LOOKBACK);
        let found = self.instant(&query, at).await?;
        let edges: Vec<(&str, f64)> = found
            .keys()
            .filter_map(|labels| labels.get("le"))
            .filter_map(|text| edge(Some(text)).map(|edge| (text.as_str(), edge)))
            .collect();
        if edges.is_empty() {
            return Ok(None);
        }
        let bracket = Bracket::around(bound, edges.iter().map(|(_, edge)| *edge));
        let asked = |edge: f64| {
            edge.is_infinite() || edge.to_bits() == bracket.lower.to_bits() || edge.to_bits() == bracket.upper.to_bits()
        };
        let texts: Vec<String> = edges
            .iter()
            .filter(|(_, edge)| asked(*edge))
            .map(|(text, _)| text.replace('+', "[+]").replace('.', "[.]"))
            .collect();
        Ok(Some(Edges { bracket, selector: matching(selector, &format!("le=~\"{}\"", texts.join("|"))) }))
    }

    /// Values of both versions: number and sum.
    pub(super) async fn values(
        &self,
        (sum, count): (&str, &str),
        versions: &Versions,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Pair>> {
        let sample = async |values: &Values| {
            let fill = |selector: &str| values.fill(selector).map_err(|e| unfilled(&e));
            let (sum, count) = (fill(sum)?, fill(count)?);
            let (sum, count) =
                futures::future::try_join(self.grown(&sum, window, began), self.grown(&count, window, began)).await?;
            let total = |grown: Growth| grown.into_iter().map(|(_, more)| more).sum::<f64>();
            Ok::<_, Unavailable>(sum.zip(count).map(|(sum, count)| Sample { count: total(count), sum: total(sum) }))
        };
        let (baseline, candidate) =
            futures::future::try_join(sample(&versions.baseline), sample(&versions.candidate)).await?;
        Ok(baseline.zip(candidate).map(|(baseline, candidate)| Pair::Values { baseline, candidate }))
    }

    /// How many values the baseline had in each step: they tell its rate, and nothing about bad requests.
    pub(super) async fn values_before(
        &self,
        count: &str,
        values: &Values,
        window: Window,
        step: f64,
    ) -> Seen<Vec<Tally>> {
        let selector = values.fill(count).map_err(|e| unfilled(&e))?;
        let mut steps: BTreeMap<i64, f64> = BTreeMap::new();
        for (at, more) in self.steps(&selector, window, step).await?.into_iter().flat_map(|(_, grown)| grown) {
            *steps.entry(at).or_default() += more;
        }
        Ok(steps.into_values().map(|requests| Tally { requests, bad: 0.0 }).collect())
    }

    /// A gauge's number for both versions at the interval's end. No series, or NaN, is a value that is missing.
    pub(super) async fn gauges(
        &self,
        query: &str,
        versions: &Versions,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Pair>> {
        let elapsed = window.to.duration_since(began).as_secs().max(0);
        let read = async |values: &Values| {
            let query = values.fill_query(query, elapsed).map_err(|e| unfilled(&e))?;
            let found = self.instant(&query, window.to).await?;
            match found.values().copied().collect::<Vec<_>>().as_slice() {
                [] => Ok(Sample::default()),
                [value] if value.is_nan() => Ok(Sample::default()),
                [value] if value.is_finite() => Ok(Sample::gauge(*value)),
                [value] => Err(invalid(format!("`{query}` answered {value}; a gauge is a finite number"))),
                many => Err(invalid(format!("`{query}` answered {} series; aggregate them to one number", many.len()))),
            }
        };
        let (baseline, candidate) =
            futures::future::try_join(read(&versions.baseline), read(&versions.candidate)).await?;
        Ok(Some(Pair::Values { baseline, candidate }))
    }
}

fn invalid(message: String) -> Unavailable {
    Unavailable::new(Cause::InvalidQuery, message)
}

/// A filled-in selector with one more matcher.
fn matching(selector: &str, matcher: &str) -> String {
    match selector.strip_suffix('}') {
        Some(open) => format!("{open}{matcher}}}"),
        None => format!("{selector}{{{matcher}}}"),
    }
}

/// A bucket's edge as a number: `250` is `250.0`.
fn edge(text: Option<&str>) -> Option<f64> {
    text?.parse::<f64>().ok().filter(|edge| !edge.is_nan())
}

/// What each edge's counters grew by together.
fn by_edge(grown: &Growth) -> Vec<(f64, f64)> {
    let mut buckets = vec![];
    for (labels, more) in grown {
        if let Some(edge) = edge(labels.get("le").map(String::as_str)) {
            add(&mut buckets, edge, *more);
        }
    }
    buckets
}

fn add(buckets: &mut Vec<(f64, f64)>, edge: f64, more: f64) {
    match buckets.iter_mut().find(|(e, _)| e.to_bits() == edge.to_bits()) {
        Some((_, count)) => *count += more,
        None => buckets.push((edge, more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_is_added_to_any_selector() {
        assert_eq!(matching("m", "le=\"1\""), "m{le=\"1\"}");
        assert_eq!(matching("m{a=\"b\",}", "le=\"1\""), "m{a=\"b\",le=\"1\"}");
        assert_eq!(matching("m{}", "le=\"1\""), "m{le=\"1\"}");
    }

    #[test]
    fn edges_are_compared_as_numbers() {
        let series = |le: &str, more: f64| (BTreeMap::from([("le".to_owned(), le.to_owned())]), more);
        let grown = vec![series("250", 3.0), series("250.0", 4.0), series("+Inf", 10.0), series("x", 1.0)];
        assert_eq!(by_edge(&grown), [(250.0, 7.0), (f64::INFINITY, 10.0)]);
    }
}
