//! What the baseline did before the experiment, step by step, summed by the server.
//!
//! Read in pieces: the answer's size does not depend on the number of series, and no evaluation takes long.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::answer::Failure;
use super::question::{self, LOOKBACK, Question};
use super::{Prometheus, answer, edges, in_place, unfilled};
use crate::engine::judge::Tally;
use crate::engine::{Seen, Window};
use crate::live::metric::MetricQuery;
use crate::live::query::{Selector, Values};

/// Most steps of a window: a longer one is read in longer steps.
const MOST_POINTS: i64 = 10_000;
/// Steps of one piece.
const PIECE: i64 = 120;

/// What is read of one metric.
enum Source {
    /// All requests, and the bad ones.
    Share(Selector, Vec<Selector>),
    /// A histogram and its bound.
    Slower(Selector, f64),
    /// How many values there were: they tell a rate, and nothing about bad requests.
    Mean(Selector),
    /// What has no past.
    Nothing,
}

/// What each counter grew by in each step, by the time of the step's end, and by the edges of a histogram.
type Grown = HashMap<Selector, BTreeMap<i64, Vec<(f64, f64)>>>;

/// A window and its steps, milliseconds.
#[derive(Clone, Copy)]
struct Steps {
    window: Window,
    step: i64,
}

impl Prometheus {
    /// A version's requests per `step` seconds by each metric, oldest first; only steps that have data.
    ///
    /// A series that appears within the window counts from its second sample on: what it held before is not known. A
    /// window of very many steps is read in longer ones.
    pub async fn history(
        &self,
        queries: &[MetricQuery],
        values: &Values,
        window: Window,
        step: f64,
    ) -> Vec<Seen<Vec<Tally>>> {
        let span = window.to.as_millisecond() - window.from.as_millisecond();
        #[allow(clippy::cast_possible_truncation)]
        let step = ((step * 1000.0).round() as i64).max(span / MOST_POINTS).max(1);
        let steps = Steps { window, step };
        let sources: Vec<Seen<Source>> = queries.iter().map(|query| Source::new(query, values)).collect();
        let read: Vec<&Source> = sources.iter().filter_map(|source| source.as_ref().ok()).collect();
        let all = match self.past(&read, steps).await {
            Ok(all) => all.into_iter().map(Ok).collect(),
            Err(failure) if failure.is_spoilt && read.len() > 1 => {
                let mut alone = vec![];
                for source in &read {
                    let past = self.past(&[source], steps).await.map_err(|failure| failure.why);
                    alone.push(past.and_then(|mut one| one.pop().ok_or_else(answer::unexpected)));
                }
                alone
            }
            Err(failure) => vec![Err(failure.why); read.len()],
        };
        in_place(sources, all)
    }

    async fn past(&self, sources: &[&Source], steps: Steps) -> Result<Vec<Vec<Tally>>, Failure> {
        self.learn_edges(sources, steps.window.to).await?;
        let mut selectors: Vec<Selector> = vec![];
        for selector in sources.iter().flat_map(|source| self.counters(source)) {
            if !selectors.contains(&selector) {
                selectors.push(selector);
            }
        }
        let grown = self.grown(&selectors, steps).await?;
        Ok(sources.iter().map(|source| self.tallies(source, &grown)).collect())
    }

    /// Reads the edges of the histograms that are not known.
    async fn learn_edges(&self, sources: &[&Source], at: Timestamp) -> Result<(), Failure> {
        let histograms =
            sources.iter().filter_map(|source| if let Source::Slower(s, _) = source { Some(s) } else { None });
        let unknown: Vec<&Selector> = histograms.filter(|selector| self.edges.known(selector).is_none()).collect();
        let mut question = Question::new();
        for (index, selector) in unknown.iter().enumerate() {
            question.row(&format!("e{index}"), &question::edges(selector, at));
        }
        if question.is_empty() {
            return Ok(());
        }
        let answered = self.ask(&question, at).await?;
        for (index, selector) in unknown.into_iter().enumerate() {
            self.edges.learn(selector, answered.edges(&format!("e{index}")));
        }
        Ok(())
    }

    /// The counters of a source; of a histogram without a series there is none.
    fn counters(&self, source: &Source) -> Vec<Selector> {
        match source {
            Source::Share(total, bad) => std::iter::once(total).chain(bad).cloned().collect(),
            Source::Slower(selector, bound) => {
                let Some(written) = self.edges.known(selector) else { return vec![] };
                let bracket = edges::bracket(&written, *bound);
                vec![edges::at(selector, &written, [bracket.lower, bracket.upper].into_iter()).0]
            }
            Source::Mean(count) => vec![count.clone()],
            Source::Nothing => vec![],
        }
    }

    async fn grown(&self, selectors: &[Selector], Steps { window, step }: Steps) -> Result<Grown, Failure> {
        let mut grown: Grown = HashMap::new();
        let rows = selectors.iter().enumerate();
        let query = rows.map(|(index, selector)| row(index, selector, step)).collect::<Vec<_>>().join(" or ");
        let at = |point: i64| window.from + SignedDuration::from_millis(point * step);
        let points = (window.to.as_millisecond() - window.from.as_millisecond()) / step;
        let mut from = 1;
        while from <= points && !selectors.is_empty() {
            let to = (from + PIECE - 1).min(points);
            for (labels, samples) in self.range(&query, at(from), at(to), step).await? {
                let index = labels.get(question::ROW).and_then(|row| row.parse::<usize>().ok());
                let selector = index.and_then(|index| selectors.get(index)).ok_or_else(answer::unexpected)?;
                let edge = labels.get("le").map_or(Some(f64::INFINITY), |text| question::edge(text));
                let of_one = grown.entry(selector.clone()).or_default();
                for (at, more) in samples.into_iter().filter(|(_, more)| more.is_finite()) {
                    of_one.entry(at).or_default().extend(edge.map(|edge| (edge, more)));
                }
            }
            from = to + 1;
        }
        Ok(grown)
    }

    fn tallies(&self, source: &Source, grown: &Grown) -> Vec<Tally> {
        let of = |selector: &Selector| grown.get(selector).cloned().unwrap_or_default();
        let sum = |edges: &[(f64, f64)]| edges.iter().map(|(_, more)| more).sum::<f64>();
        match source {
            Source::Share(total, bad) => {
                let bad: Vec<_> = bad.iter().map(of).collect();
                let tally = |(at, requests): (i64, Vec<(f64, f64)>)| {
                    let bad: f64 = bad.iter().filter_map(|steps| steps.get(&at)).map(|edges| sum(edges)).sum();
                    let requests = sum(&requests);
                    Tally { requests, bad: bad.min(requests) }
                };
                of(total).into_iter().map(tally).collect()
            }
            Source::Slower(selector, bound) => {
                let Some(bracket) = self.edges.known(selector).map(|edges| edges::bracket(&edges, *bound)) else {
                    return vec![];
                };
                let steps: Vec<_> = self.counters(source).iter().flat_map(of).collect();
                steps
                    .iter()
                    .filter_map(|(_, edges)| bracket.count(&merged(edges)))
                    .map(|counted| counted.most)
                    .collect()
            }
            Source::Mean(count) => {
                of(count).into_values().map(|edges| Tally { requests: sum(&edges), bad: 0.0 }).collect()
            }
            Source::Nothing => vec![],
        }
    }
}

impl Source {
    fn new(query: &MetricQuery, values: &Values) -> Seen<Self> {
        let fill = |selector: &str| values.fill(selector).map_err(|e| unfilled(&e));
        Ok(match query {
            MetricQuery::Share(share) => {
                let bad: Seen<Vec<Selector>> = share.bad.iter().map(|selector| fill(selector)).collect();
                Self::Share(fill(&share.total)?, bad?)
            }
            MetricQuery::Histogram { buckets, bound } => Self::Slower(fill(buckets)?, *bound),
            MetricQuery::Mean { count, .. } => Self::Mean(fill(count)?),
            MetricQuery::Gauge { .. } | MetricQuery::Opaque(_) => Self::Nothing,
        })
    }
}

/// Edges that are written in several ways are one.
fn merged(edges: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sums = question::Sums::default();
    for (edge, more) in edges {
        sums.add(*edge, *more);
    }
    sums.edges().collect()
}

/// What a selector's series grew by together in the step that ends at the time of evaluation. One that fell to near 0
/// restarted there; one that fell by little did not.
fn row(index: usize, selector: &Selector, step: i64) -> String {
    let series = |offset: &str| {
        question::named(selector, &format!("last_over_time({selector}[{}ms]{offset})", LOOKBACK.as_millis()))
    };
    let (after, before) = (series(""), series(&format!(" offset {step}ms")));
    let grown = format!("sum by (le) (({after} - {before} >= 0) or ({after} <= {before} / 2))");
    question::row(&index.to_string(), &grown)
}
