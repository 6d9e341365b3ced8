//! Requests and bad requests from Prometheus, as raw counter deltas between the two ends of an interval.
//!
//! No `increase()`: its extrapolation inflates the variance that the judge relies on. Samples are read at both ends,
//! paired by their labels, and resets are handled here. Owns time-outs, the bounds of an answer, and what an absent
//! series means; judges nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, PromqlResult};

use super::binding::ShareQuery;
use super::query::Values;
use crate::engine::judge::{Tally, counter_delta};
use crate::engine::{Pair, Seen, Unavailable, Window};

/// How old a sample may be to count as a series' value: Prometheus' own notion of staleness.
const LOOKBACK: &str = "5m";
/// The same in seconds.
const LOOKBACK_SECONDS: i64 = 300;
/// Longest wait for an answer; an interval is rarely shorter.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read, bytes: an hour of history of some hundred series.
const MOST_BYTES: usize = 16 << 20;
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

/// The placeholders' values of both versions.
pub(super) struct Versions {
    pub(super) baseline: Values,
    pub(super) candidate: Values,
}

/// A series by its labels.
type Labels = BTreeMap<String, String>;

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

    /// Requests of both versions in the interval; `None` if a counter's start cannot be known. `began`: when the
    /// experiment did.
    pub(super) async fn pair(
        &self,
        query: &ShareQuery,
        versions: &Versions,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<Pair>> {
        let (baseline, candidate, unreached) = futures::future::try_join3(
            self.tally(query, &versions.baseline, window, began),
            self.tally(query, &versions.candidate, window, began),
            self.unreached(query, &versions.candidate, window, began),
        )
        .await?;
        let (Some(baseline), Some(mut candidate), Some(unreached)) = (baseline, candidate, unreached) else {
            return Ok(None);
        };
        // While the baseline answers, a request that found no endpoint was meant for the candidate.
        if baseline.requests > baseline.bad {
            candidate.requests += unreached;
            candidate.bad += unreached;
        }
        Ok(Some(Pair { baseline, candidate }))
    }

    /// The baseline's requests per step, oldest first; only steps that have data.
    pub(super) async fn history(
        &self,
        query: &ShareQuery,
        values: &Values,
        window: Window,
        step: f64,
    ) -> Seen<Vec<Tally>> {
        let total = self.steps(&values.fill(&query.total), window, step).await?;
        let mut bad: BTreeMap<i64, f64> = BTreeMap::new();
        for selector in &query.bad {
            for (at, delta) in self.steps(&values.fill(selector), window, step).await? {
                *bad.entry(at).or_default() += delta;
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
        let total = self.delta(&values.fill(&query.total), window, began).await?;
        let mut bad = Some(0.0);
        for selector in &query.bad {
            let more = self.delta(&values.fill(selector), window, began).await?;
            bad = bad.zip(more).map(|(a, b)| a + b);
        }
        // Bad requests are among all requests; scrapes of two targets may differ by a moment.
        Ok(total.zip(bad).map(|(requests, bad)| Tally { requests, bad: bad.min(requests) }))
    }

    async fn unreached(
        &self,
        query: &ShareQuery,
        values: &Values,
        window: Window,
        began: Timestamp,
    ) -> Seen<Option<f64>> {
        match &query.unreached {
            Some(selector) => self.delta(&values.fill(selector), window, began).await,
            None => Ok(Some(0.0)),
        }
    }

    /// What the selector's counters grew by; `None` if that cannot be known.
    async fn delta(&self, selector: &str, window: Window, began: Timestamp) -> Seen<Option<f64>> {
        let query = format!("last_over_time({selector}[{LOOKBACK}])");
        let (before, after) =
            futures::future::try_join(self.instant(&query, window.from), self.instant(&query, window.to)).await?;
        let new: Vec<&Labels> = after.keys().filter(|labels| !before.contains_key(*labels)).collect();
        if !new.is_empty() {
            // A series that had been there before and was away at the interval's start may hold older requests.
            let span = (window.from.as_second() - began.as_second()).max(0) + LOOKBACK_SECONDS;
            let known = self.instant(&format!("last_over_time({selector}[{span}s])"), window.from).await?;
            if new.iter().any(|labels| known.contains_key(*labels)) {
                return Ok(None);
            }
        }
        Ok(Some(
            after.iter().map(|(labels, &value)| counter_delta(before.get(labels).copied().unwrap_or(0.0), value)).sum(),
        ))
    }

    /// What the selector's counters grew by in each step, by the step's time.
    async fn steps(&self, selector: &str, window: Window, step: f64) -> Seen<BTreeMap<i64, f64>> {
        let span = window.to.duration_since(window.from).as_secs_f64();
        let step = step.max(span / MOST_POINTS);
        let query = format!("last_over_time({selector}[{LOOKBACK}])");
        let (from, to) = (window.from.as_second(), window.to.as_second());
        let request = self.client.query_range(&query, from, to, step);
        let data = self.answer(request.post_raw().await, &query).await?;
        let Data::Matrix(series) = data.data() else { return Err(unexpected(&query)) };
        let mut grown: BTreeMap<i64, f64> = BTreeMap::new();
        for one in bounded(series, &query)? {
            for two in one.samples().windows(2) {
                let [a, b] = two else { continue };
                #[allow(clippy::cast_possible_truncation)]
                let at = (b.timestamp() * 1000.0).round() as i64;
                // A hole in the middle makes one long step; it says nothing about a step's requests.
                if b.timestamp() - a.timestamp() < 1.5 * step {
                    *grown.entry(at).or_default() += counter_delta(a.value(), b.value());
                }
            }
        }
        Ok(grown)
    }

    /// The value of every series at a time.
    async fn instant(&self, query: &str, at: Timestamp) -> Seen<BTreeMap<Labels, f64>> {
        let seconds = format!("{:.3}", at.as_millisecond() as f64 / 1000.0);
        let request = self.client.query(query).query("time", seconds);
        let data = self.answer(request.post_raw().await, query).await?;
        let Data::Vector(series) = data.data() else { return Err(unexpected(query)) };
        Ok(bounded(series, query)?
            .iter()
            .map(|s| (labels(s.metric()), s.sample().value()))
            .filter(|(_, v)| v.is_finite())
            .collect())
    }

    /// Reads an answer, no larger than it may be.
    async fn answer(
        &self,
        sent: Result<reqwest::Response, prometheus_http_query::Error>,
        query: &str,
    ) -> Seen<PromqlResult> {
        let mut response = sent.map_err(|error| {
            Unavailable::new("MetricsUnavailable", format!("failed to ask Prometheus: {}", chain(&error)))
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
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let text = answer.get("error").and_then(serde_json::Value::as_str).unwrap_or_default();
            return Err(refused(status, text, query));
        }
        let data = answer.get("data").cloned().unwrap_or_default();
        serde_json::from_value(data).map_err(|_| unexpected(query))
    }
}

/// A refused query is the user's to correct; any other status is the server's trouble.
fn refused(status: reqwest::StatusCode, text: &str, query: &str) -> Unavailable {
    let text: String = text.chars().take(MOST_TEXT).collect();
    match status.as_u16() {
        400 | 422 => Unavailable::new("InvalidQuery", format!("Prometheus refused `{query}`: {text}")),
        code => Unavailable::new("MetricsUnavailable", format!("Prometheus answered {code}: {text}")),
    }
}

fn unexpected(query: &str) -> Unavailable {
    Unavailable::new("InvalidQuery", format!("Prometheus' answer to `{query}` is not of the expected shape"))
}

fn bounded<'a, T>(series: &'a [T], query: &str) -> Seen<&'a [T]> {
    if series.len() > MOST_SERIES {
        let message = format!("{} series are more than {MOST_SERIES}; narrow the selector in `{query}`", series.len());
        return Err(Unavailable::new("TooManySeries", message));
    }
    Ok(series)
}

/// A series without its name, which functions keep or drop as they like.
fn labels(metric: &HashMap<String, String>) -> Labels {
    metric.iter().filter(|(key, _)| *key != "__name__").map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text.chars().take(MOST_TEXT).collect()
}
