//! What counters and gauges say, from Prometheus or what speaks its language.
//!
//! No `increase()`: its extrapolation inflates the variance that the judge relies on. What series stood at is summed by
//! the server at both ends of an interval, in one evaluation. Owns time-outs, the bounds of an answer, and what an absent
//! series means; judges nothing, and attributes no request to anybody.

mod answer;
mod edges;
mod interval;
mod past;
mod question;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;

use self::answer::{Data, Failure, Matrix};
use self::edges::Edges;
use self::question::{Answered, Question};
use super::query::SelectorError;
use crate::engine::{Cause, Seen, Unavailable};
use crate::http;
use crate::telemetry::{self, Provider};

pub use interval::Asked;

/// Longest wait for an answer; an interval is rarely shorter.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After this the server is to give up by itself, so that its refusal still arrives.
const PATIENCE: &str = "4s";
/// Largest answer about an interval, bytes: some rows for each counter, whatever the number of series.
const MOST_INTERVAL: usize = 64 << 10;
/// Largest answer about the past, bytes: some hundred samples for each counter.
const MOST_PAST: usize = 512 << 10;

/// A Prometheus server.
#[derive(Clone)]
pub struct Prometheus {
    client: reqwest::Client,
    instant: Url,
    range: Url,
    edges: Arc<Edges>,
}

impl Prometheus {
    /// The server at this address.
    pub fn new(url: &str) -> Seen<Self> {
        let refuse = |why: String| {
            Unavailable::new(
                Cause::MetricsUnavailable,
                format!("failed to use `{url}` as the address of Prometheus: {why}"),
            )
        };
        let client =
            http::client().timeout(TIMEOUT).connect_timeout(TIMEOUT).build().map_err(|e| refuse(e.to_string()))?;
        let at = |path: &str| {
            Url::parse(&format!("{}/api/v1/{path}", url.trim_end_matches('/'))).map_err(|e| refuse(e.to_string()))
        };
        Ok(Self { client, instant: at("query")?, range: at("query_range")?, edges: Arc::default() })
    }

    /// Asks a question at a time.
    async fn ask(&self, question: &Question, at: Timestamp) -> Result<Answered, Failure> {
        let text = question.text();
        let form = [("query", text.as_str()), ("time", &seconds(at)), ("timeout", PATIENCE)];
        let data = self.send(&self.instant, &form, MOST_INTERVAL, &text).await?;
        Ok(Answered::new(data.vector()?))
    }

    /// Asks a query at several times, `step` milliseconds apart.
    async fn range(&self, query: &str, from: Timestamp, to: Timestamp, step: i64) -> Result<Matrix, Failure> {
        let step = format!("{:.3}", step as f64 / 1000.0);
        let form = [
            ("query", query),
            ("start", &seconds(from)),
            ("end", &seconds(to)),
            ("step", &step),
            ("timeout", PATIENCE),
        ];
        Ok(self.send(&self.range, &form, MOST_PAST, query).await?.matrix()?)
    }

    /// Sends a form; as a body, because an address has room for a few selectors only.
    async fn send(&self, url: &Url, form: &[(&str, &str)], most: usize, query: &str) -> Result<Data, Failure> {
        let request = self.client.post(url.clone()).form(form);
        telemetry::timed(Provider::Prometheus, |failure: &Failure| failure.why.cause, answer::ask(request, most, query))
            .await
    }
}

/// The answers of those sources that could be asked, in their places among all.
fn in_place<S, T>(sources: Vec<Seen<S>>, answers: Vec<Seen<T>>) -> Vec<Seen<T>> {
    let mut answers = answers.into_iter();
    let next = |source: Seen<S>| source.and_then(|_| answers.next().unwrap_or_else(|| Err(answer::unexpected())));
    sources.into_iter().map(next).collect()
}

/// A time, as the API reads it.
fn seconds(at: Timestamp) -> String {
    format!("{:.3}", at.as_millisecond() as f64 / 1000.0)
}

fn unfilled(error: &SelectorError) -> Unavailable {
    Unavailable::new(Cause::InvalidQuery, error.to_string())
}
