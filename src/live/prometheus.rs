//! Requests and bad requests from Prometheus, as raw counter deltas between the two ends of an interval.
//!
//! No `increase()`: its extrapolation inflates the variance that the judge relies on. Samples are read at both ends,
//! paired by their labels, and resets are handled here. Owns time-outs, the bounds of an answer, and what an absent
//! series means; judges nothing.

mod kinds;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, PromqlResult};
use serde::Deserialize;

use super::metric::{MetricQuery, ShareQuery};
use super::query::{SelectorError, Values, Versions};
use crate::engine::judge::{Tally, counter_delta};
use crate::engine::{Pair, Seen, Unavailable, Window};
use crate::telemetry::{self, Provider};
use crate::text;

/// How old a sample may be to count as a series' value: Prometheus' own notion of staleness.
const LOOKBACK: &str = "5m";
/// A newest sample of this age is no outage, seconds: many installations scrape every 5 s.
const LEAST_AGE: i64 = 5;
/// How long before an experiment a series may have been seen last and still be an old one that comes back: longer than
/// a restart of Prometheus or of a proxy takes. Seconds.
const MEMORY: i64 = 3600;
/// No series is looked for further back than this: one that was away for a day was started anew. Seconds.
const LONGEST_MEMORY: i64 = 86_400;
/// Longest wait for an answer; an interval is rarely shorter.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read, bytes: an hour of history of some hundred series.
const MOST_BYTES: usize = 8 << 20;
/// Most series that one selector may have: more means that the selector is wrong.
const MOST_SERIES: usize = 10_000;
/// Most points of a range query that Prometheus answers.
const MOST_POINTS: f64 = 10_000.0;
/// Most characters of a foreign error text that are passed on.
const MOST_TEXT: usize = 300;

/// A Prometheus server.
#[derive(Clone)]
pub struct Prometheus {
    client: Client,
}

/// What the counters say of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Requests that the baseline got.
    pub baseline: Tally,
    /// Requests that the candidate got.
    pub candidate: Tally,
    /// Requests to the service that no endpoint got.
    pub unreached: f64,
}

impl Counts {
    /// The requests of both versions: while the baseline is available, a request that found no endpoint was meant for
    /// the candidate. `ready`: whether the baseline has a ready replica, if that is known.
    pub fn pair(self, ready: Option<bool>) -> Pair {
        let Self { baseline, mut candidate, unreached } = self;
        let answers = baseline.requests > baseline.bad;
        let available = match ready {
            // Readiness is of now, the counters are of the interval: neither may speak against it.
            Some(ready) => ready && (answers || baseline.requests <= 0.0),
            None => answers,
        };
        if available {
            candidate.requests += unreached;
            candidate.bad += unreached;
        }
        Pair::requests(baseline, candidate)
    }
}

/// Requests without an endpoint that are needed for each candidate that answered none: one of the same weight that serves
/// would have answered as many, and misses five by chance in one of 150 intervals.
const LEAST_UNREACHED: f64 = 5.0;

/// What one metric says of several candidates, each with its host and the requests to it that found no endpoint. Where
/// several are behind one host, these are held against those that answered no request in the interval, and only if so many
/// were not reached that this is no accident. None was meant for an idle candidate.
pub(super) fn blame<'a>(
    answers: impl Iterator<Item = &'a mut Seen<Option<Read>>>,
    hosts: &[Option<&str>],
    idle: &[usize],
) {
    let mut counts: Vec<(usize, &mut Counts)> = answers
        .enumerate()
        .filter_map(|(at, answer)| match answer {
            Ok(Some(Read::Counts(counts))) => Some((at, counts)),
            Ok(Some(Read::Pair(_)) | None) | Err(_) => None,
        })
        .collect();
    let silent = |counts: &Counts| counts.candidate.requests <= counts.candidate.bad;
    let beside = |one: usize, other: usize| hosts.get(one) == hosts.get(other) && !idle.contains(&other);
    let held: Vec<bool> = counts
        .iter()
        .map(|(at, own)| {
            let group = || counts.iter().filter(|(other, _)| beside(*at, *other));
            let needed = LEAST_UNREACHED * group().filter(|(_, c)| silent(c)).count() as f64;
            !idle.contains(at) && (group().count() == 1 || silent(own) && own.unreached >= needed)
        })
        .collect();
    for ((_, own), held) in counts.iter_mut().zip(held) {
        own.unreached = if held { own.unreached } else { 0.0 };
    }
}

/// What a metric says of one interval, before it is known who was there to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// Counters of requests.
    Counts(Counts),
    /// Anything else.
    Pair(Pair),
}

impl Read {
    /// What it says of both versions; `ready` as for [`Counts::pair`].
    pub fn pair(self, ready: Option<bool>) -> Pair {
        match self {
            Self::Counts(counts) => counts.pair(ready),
            Self::Pair(pair) => pair,
        }
    }
}

/// A series by its labels.
type Labels = BTreeMap<String, String>;

/// What each series of a selector grew by.
type Growth = Vec<(Labels, f64)>;

impl Prometheus {
    /// The server at this address.
    pub fn new(url: &str) -> Seen<Self> {
        let refuse = |why: String| {
            Unavailable::new("MetricsUnavailable", format!("failed to use `{url}` as the address of Prometheus: {why}"))
        };
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| refuse(e.to_string()))?;
        Ok(Self { client: Client::from(http, url).map_err(|e| refuse(e.to_string()))? })
    }

    /// What a metric says of both versions in the interval; `None` if a counter's start cannot be known. `began`: when
    /// the experiment did. Errors: `MetricsUnavailable`, `InvalidQuery`, `TooManySeries`.
    pub async fn read(
        &self,
        query: &MetricQuery,
        versions: &Versions,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Read>> {
        let pair = match query {
            MetricQuery::Share(share) => {
                return Ok(Box::pin(self.counts(share, versions, window, began)).await?.map(Read::Counts));
            }
            MetricQuery::Histogram { buckets, bound } => {
                Box::pin(self.slower((buckets, *bound), versions, window, began)).await?
            }
            MetricQuery::Mean { sum, count } => Box::pin(self.values((sum, count), versions, window, began)).await?,
            MetricQuery::Gauge { query } => Box::pin(self.gauges(query, versions, window, began)).await?,
            MetricQuery::Opaque(_) => {
                return Err(Unavailable::new("InvalidQuery", "an opaque metric is not one of Prometheus"));
            }
        };
        Ok(pair.map(Read::Pair))
    }

    /// Requests of both versions in the interval; `None` if a counter's start cannot be known. `began`: when the
    /// experiment did. Errors: `MetricsUnavailable`, `InvalidQuery`, `TooManySeries`.
    pub async fn counts(
        &self,
        query: &ShareQuery,
        versions: &Versions,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Counts>> {
        let unreached = async {
            match &query.unreached {
                Some(selector) => self.delta(selector, &versions.candidate, window, began).await,
                None => Ok(Some(0.0)),
            }
        };
        let (baseline, candidate, unreached) = futures::future::try_join3(
            self.tally(query, &versions.baseline, window, began),
            self.tally(query, &versions.candidate, window, began),
            unreached,
        )
        .await?;
        let (Some(baseline), Some(candidate), Some(unreached)) = (baseline, candidate, unreached) else {
            return Ok(None);
        };
        Ok(Some(Counts { baseline, candidate, unreached }))
    }

    /// Whether the newest samples are at most `age` old at a time, if there are any; else `MetricsUnavailable`.
    ///
    /// A server that was away answers with what it last knew. An interval that ended then would look as if nothing had
    /// happened, and the next one would get all that happened meanwhile, whatever the weights were.
    pub async fn current(
        &self,
        query: &MetricQuery,
        versions: &Versions,
        at: Timestamp,
        age: SignedDuration,
    ) -> Seen<()> {
        let Some(pulse) = query.pulse() else { return Ok(()) };
        let fill = |values: &Values| values.fill(pulse).map_err(|e| unfilled(&e));
        let (baseline, candidate) = (fill(&versions.baseline)?, fill(&versions.candidate)?);
        let newest =
            |span: &str| format!("count(last_over_time({baseline}[{span}]) or last_over_time({candidate}[{span}]))");
        let age = age.as_secs().max(LEAST_AGE);
        let stale = format!("{} unless on() {}", newest(LOOKBACK), newest(&format!("{age}s")));
        if self.instant(&stale, at).await?.is_empty() {
            return Ok(());
        }
        let message =
            format!("Prometheus has no sample of the {age} s before {at}: it was away, or what it scrapes was");
        Err(Unavailable::new("MetricsUnavailable", message))
    }

    /// A version's requests per `step` seconds, oldest first; only steps that have data.
    ///
    /// A series that appears within the window counts from its second sample on: what it held before is not known. A
    /// window of more steps than Prometheus answers is read in longer ones.
    pub async fn history(&self, query: &MetricQuery, values: &Values, window: Window, step: f64) -> Seen<Vec<Tally>> {
        match query {
            MetricQuery::Share(share) => Box::pin(self.share_before(share, values, window, step)).await,
            MetricQuery::Histogram { buckets, bound } => {
                Box::pin(self.slower_before((buckets, *bound), values, window, step)).await
            }
            MetricQuery::Mean { count, .. } => Box::pin(self.values_before(count, values, window, step)).await,
            MetricQuery::Gauge { .. } | MetricQuery::Opaque(_) => Ok(vec![]),
        }
    }

    async fn share_before(&self, query: &ShareQuery, values: &Values, window: Window, step: f64) -> Seen<Vec<Tally>> {
        let per_step = async |selector: &str| {
            let selector = values.fill(selector).map_err(|e| unfilled(&e))?;
            let mut all: BTreeMap<i64, f64> = BTreeMap::new();
            for (at, more) in self.steps(&selector, window, step).await?.into_iter().flat_map(|(_, grown)| grown) {
                *all.entry(at).or_default() += more;
            }
            Ok::<_, Unavailable>(all)
        };
        let total = per_step(&query.total).await?;
        let mut bad: BTreeMap<i64, f64> = BTreeMap::new();
        for selector in &query.bad {
            for (at, more) in per_step(selector).await? {
                *bad.entry(at).or_default() += more;
            }
        }
        let tally =
            |(at, requests): (i64, f64)| Tally { requests, bad: bad.get(&at).copied().unwrap_or(0.0).min(requests) };
        Ok(total.into_iter().map(tally).collect())
    }

    async fn tally(
        &self,
        query: &ShareQuery,
        values: &Values,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Tally>> {
        let bad = query.bad.iter().map(|selector| self.delta(selector, values, window, began));
        let (total, bad) = futures::future::try_join(
            self.delta(&query.total, values, window, began),
            futures::future::try_join_all(bad),
        )
        .await?;
        let bad: Option<f64> = bad.into_iter().sum();
        // Bad requests are among all requests; scrapes of two targets may differ by a moment.
        Ok(total.zip(bad).map(|(requests, bad)| Tally { requests, bad: bad.min(requests) }))
    }

    /// What the selector's counters grew by; `None` if that cannot be known.
    async fn delta(&self, selector: &str, values: &Values, window: Window, began: Timestamp) -> Seen<Option<f64>> {
        let selector = values.fill(selector).map_err(|e| unfilled(&e))?;
        let grown = self.grown(&selector, window, began).await?;
        Ok(grown.map(|grown| grown.into_iter().map(|(_, more)| more).sum()))
    }

    /// What each series of a filled-in selector grew by; `None` if that cannot be known.
    async fn grown(&self, selector: &str, window: Window, began: Timestamp) -> Seen<Option<Growth>> {
        let query = format!("last_over_time({selector}[{LOOKBACK}])");
        let (before, after) =
            futures::future::try_join(self.instant(&query, window.from), self.instant(&query, window.to)).await?;
        let new: Vec<&Labels> = after.keys().filter(|labels| !before.contains_key(*labels)).collect();
        if !new.is_empty() {
            // A series that had been there before and was away at the interval's start may hold older requests.
            let age = window.from.as_second().saturating_sub(began.as_second()).max(0);
            let span = age.saturating_add(MEMORY).min(LONGEST_MEMORY);
            let known = self.instant(&format!("last_over_time({selector}[{span}s])"), window.from).await?;
            if new.iter().any(|labels| known.contains_key(*labels)) {
                return Ok(None);
            }
        }
        // One that vanished adds nothing: what it grew by since is not known, and little.
        let grown = after.into_iter().map(|(labels, value)| {
            let more = growth(before.get(&labels).copied().unwrap_or(0.0), value)?;
            Some((labels, more))
        });
        Ok(grown.collect())
    }

    /// What each series of a filled-in selector grew by in each step, by the step's time.
    async fn steps(&self, selector: &str, window: Window, step: f64) -> Seen<Vec<(Labels, BTreeMap<i64, f64>)>> {
        let span = window.to.duration_since(window.from).as_secs_f64();
        let step = step.max(span / MOST_POINTS);
        let query = format!("last_over_time({selector}[{LOOKBACK}])");
        let (from, to) = (window.from.as_second(), window.to.as_second());
        let request = self.client.query_range(&query, from, to, step);
        let data = watched(async { answer(request.post_raw().await, &query).await }).await?;
        let Data::Matrix(series) = data.data() else { return Err(unexpected()) };
        let mut all = vec![];
        for one in bounded(series, &query)? {
            let mut grown: BTreeMap<i64, f64> = BTreeMap::new();
            for two in one.samples().windows(2) {
                let [a, b] = two else { continue };
                #[allow(clippy::cast_possible_truncation)]
                let at = (b.timestamp() * 1000.0).round() as i64;
                // A hole in the middle makes one long step; it says nothing about a step's requests.
                let whole = b.timestamp() - a.timestamp() < 1.5 * step;
                if let Some(more) = growth(a.value(), b.value()).filter(|_| whole) {
                    *grown.entry(at).or_default() += more;
                }
            }
            all.push((labels(one.metric()), grown));
        }
        Ok(all)
    }

    /// The value of every series at a time.
    async fn instant(&self, query: &str, at: Timestamp) -> Seen<BTreeMap<Labels, f64>> {
        let seconds = format!("{:.3}", at.as_millisecond() as f64 / 1000.0);
        let request = self.client.query(query).query("time", seconds);
        let data = watched(async { answer(request.post_raw().await, query).await }).await?;
        let Data::Vector(series) = data.data() else { return Err(unexpected()) };
        Ok(bounded(series, query)?.iter().map(|s| (labels(s.metric()), s.sample().value())).collect())
    }
}

/// Measures a query and counts its failure.
async fn watched<T>(query: impl Future<Output = Seen<T>>) -> Seen<T> {
    telemetry::timed(Provider::Prometheus, |u: &Unavailable| u.reason, query).await
}

/// Reads an answer, no larger than it may be.
async fn answer(sent: Result<reqwest::Response, prometheus_http_query::Error>, query: &str) -> Seen<PromqlResult> {
    let mut response = sent.map_err(|error| {
        Unavailable::new(
            "MetricsUnavailable",
            format!("failed to ask Prometheus: {}; bring it back, or correct --prometheus-url", chain(&error)),
        )
    })?;
    let status = response.status();
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.map_err(|e| {
        Unavailable::new("MetricsUnavailable", format!("failed to read Prometheus' answer: {}", chain(&e)))
    })? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            return Err(Unavailable::new(
                "TooManySeries",
                format!("the answer is larger than {MOST_BYTES} bytes; narrow the selector in `{query}`"),
            ));
        }
    }
    let answer = serde_json::from_slice::<Answer>(&body);
    if !status.is_success() {
        return Err(refused(status, &answer.unwrap_or_default(), query));
    }
    answer.ok().and_then(|a| a.data).ok_or_else(unexpected)
}

/// What Prometheus answers, also when it refuses.
#[derive(Default, Deserialize)]
struct Answer {
    data: Option<PromqlResult>,
    #[serde(default, rename = "errorType")]
    kind: String,
    #[serde(default)]
    error: String,
}

/// A query that Prometheus itself refuses is the user's to correct; anything else is the server's trouble, or that of
/// something before it.
fn refused(status: reqwest::StatusCode, answer: &Answer, query: &str) -> Unavailable {
    let text: String = answer.error.chars().take(MOST_TEXT).collect();
    match answer.kind.as_str() {
        "bad_data" | "execution" => Unavailable::new("InvalidQuery", format!("Prometheus refused `{query}`: {text}")),
        _ => Unavailable::new("MetricsUnavailable", format!("Prometheus answered {status}: {text}")),
    }
}

fn unfilled(error: &SelectorError) -> Unavailable {
    Unavailable::new("InvalidQuery", error.to_string())
}

fn unexpected() -> Unavailable {
    Unavailable::new("MetricsUnavailable", "the answer is not one of Prometheus' HTTP API; check --prometheus-url")
}

/// What a counter grew by; `None` if a value is none of a counter's.
fn growth(before: f64, after: f64) -> Option<f64> {
    let count = |value: f64| value.is_finite() && value >= 0.0;
    (count(before) && count(after)).then(|| counter_delta(before, after))
}

fn bounded<'a, T>(series: &'a [T], query: &str) -> Seen<&'a [T]> {
    if series.len() > MOST_SERIES {
        let message = format!("{} series are more than {MOST_SERIES}; narrow the selector in `{query}`", series.len());
        return Err(Unavailable::new("TooManySeries", message));
    }
    Ok(series)
}

/// A series' labels, its name among them: `last_over_time` keeps it, and two counters may differ in it alone.
fn labels(metric: &HashMap<String, String>) -> Labels {
    metric.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// An error with its causes, cut to length.
fn chain(error: &dyn std::error::Error) -> String {
    text::chain(error).chars().take(MOST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// Requests and bad ones of each candidate, so many of them behind one host, beside so many that found no endpoint; what
    /// is held against each.
    fn held(unreached: f64, candidates: &[(f64, f64)], shared: usize, idle: &[usize]) -> Vec<f64> {
        let tally = |(requests, bad): (f64, f64)| Tally { requests, bad };
        let counts = |own: &(f64, f64)| Counts { baseline: tally((100.0, 0.0)), candidate: tally(*own), unreached };
        let mut answers: Vec<Seen<Option<Read>>> =
            candidates.iter().map(|c| Ok(Some(Read::Counts(counts(c))))).collect();
        let host = |at: usize| if at < shared { "app" } else { "other" };
        let hosts: Vec<Option<&str>> = (0..candidates.len()).map(|at| Some(host(at))).collect();
        blame(answers.iter_mut(), &hosts, idle);
        let unreached = |answer: Seen<Option<Read>>| match answer {
            Ok(Some(Read::Counts(counts))) => counts.unreached,
            other => panic!("{other:?}"),
        };
        answers.into_iter().map(unreached).collect()
    }

    #[test]
    fn a_candidate_that_answers_is_not_blamed_for_one_that_refuses() {
        let one_host = |unreached: f64, candidates: &[(f64, f64)]| held(unreached, candidates, 9, &[]);
        assert_eq!(one_host(9.0, &[(30.0, 1.0), (0.0, 0.0)]), [0.0, 9.0]);
        assert_eq!(one_host(12.0, &[(0.0, 0.0), (2.0, 2.0), (40.0, 0.0)]), [12.0, 12.0, 0.0], "two refuse");
        // So few may have been meant for one that had no request by chance.
        assert_eq!(one_host(4.0, &[(3.0, 0.0), (0.0, 0.0)]), [0.0, 0.0]);
        assert_eq!(one_host(9.0, &[(0.0, 0.0), (0.0, 0.0)]), [0.0, 0.0]);
        assert_eq!(one_host(0.0, &[(30.0, 1.0), (30.0, 0.0)]), [0.0, 0.0]);
        // One that has no traffic is neither blamed nor counted, and the last one is as one alone.
        assert_eq!(held(9.0, &[(0.0, 0.0), (0.0, 0.0), (30.0, 0.0)], 9, &[0]), [0.0, 9.0, 0.0]);
        assert_eq!(held(2.0, &[(0.0, 0.0), (0.0, 0.0), (7.0, 0.0)], 9, &[0, 1]), [0.0, 0.0, 2.0]);
        // Behind a host of its own there is no doubt.
        assert_eq!(held(2.0, &[(9.0, 0.0), (9.0, 0.0)], 1, &[]), [2.0, 2.0]);
    }
}
