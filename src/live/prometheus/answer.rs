//! What the HTTP API of Prometheus answers: read within bounds, told apart from refusals.
//!
//! Knows no metric. The bytes of all answers that are being read at one time have a budget of their own, because a
//! controller reads many at once and none of them is trusted to be small.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::engine::{Cause, Seen, Unavailable};
use crate::text;

/// Bytes that all answers may take together while they are read, in KiB.
const BUDGET: u32 = 16 << 10;
/// All answers of this process.
static IN_FLIGHT: Semaphore = Semaphore::const_new(BUDGET as usize);
/// Most characters of a foreign error text that are passed on.
const MOST_TEXT: usize = 300;

/// Series of an instant query: labels and value.
pub(super) type Vector = Vec<(BTreeMap<String, String>, f64)>;
/// Series of a range query: labels and samples, each with its time in milliseconds.
pub(super) type Matrix = Vec<(BTreeMap<String, String>, Vec<(i64, f64)>)>;

/// Why a question has no answer.
pub(super) struct Failure {
    /// What is told.
    pub(super) why: Unavailable,
    /// The server understood, and could or would not: one metric may have spoilt the answer for the others.
    pub(super) is_spoilt: bool,
}

impl From<Unavailable> for Failure {
    fn from(why: Unavailable) -> Self {
        Self { is_spoilt: matches!(why.cause, Cause::InvalidQuery | Cause::TooManySeries), why }
    }
}

/// What Prometheus answers, also when it refuses.
#[derive(Default, Deserialize)]
struct Answer {
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    kind: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub(super) enum Data {
    /// Of an instant query.
    Vector(Vec<Instant>),
    /// Of a range query.
    Matrix(Vec<Range>),
    /// A query that answers with no series.
    Scalar(serde::de::IgnoredAny),
    /// The same.
    String(serde::de::IgnoredAny),
}

/// One series at one time.
#[derive(Deserialize)]
pub(super) struct Instant {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// One series at many times.
#[derive(Deserialize)]
pub(super) struct Range {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Data {
    /// The series of an instant query.
    pub(super) fn vector(self) -> Seen<Vector> {
        let Self::Vector(series) = self else { return Err(unexpected()) };
        series.into_iter().map(|one| Ok((one.metric, number(&one.value.1)?))).collect()
    }

    /// The series of a range query.
    pub(super) fn matrix(self) -> Seen<Matrix> {
        let Self::Matrix(series) = self else { return Err(unexpected()) };
        let samples = |values: Vec<(f64, String)>| {
            // Times are milliseconds written as seconds.
            #[allow(clippy::cast_possible_truncation)]
            let one = |(at, value): (f64, String)| Ok(((at * 1000.0).round() as i64, number(&value)?));
            values.into_iter().map(one).collect::<Seen<Vec<_>>>()
        };
        series.into_iter().map(|one| Ok((one.metric, samples(one.values)?))).collect()
    }
}

/// Sends a request once there is room for its answer, and reads that.
pub(super) async fn ask(request: reqwest::RequestBuilder, most_bytes: usize, query: &str) -> Result<Data, Failure> {
    let _room = room(most_bytes).await?;
    let mut response = request.send().await.map_err(|error| {
        Unavailable::new(
            Cause::MetricsUnavailable,
            format!("failed to ask Prometheus: {}; bring it back, or correct --prometheus-url", chain(&error)),
        )
    })?;
    let status = response.status();
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.map_err(|e| {
        Unavailable::new(Cause::MetricsUnavailable, format!("failed to read Prometheus' answer: {}", chain(&e)))
    })? {
        if body.len() + chunk.len() > most_bytes {
            return Err(Unavailable::new(
                Cause::TooManySeries,
                format!("the answer is larger than {most_bytes} bytes; narrow what is asked with `{}`", shown(query)),
            )
            .into());
        }
        body.extend_from_slice(&chunk);
    }
    let answer = serde_json::from_slice::<Answer>(&body);
    if !status.is_success() {
        return Err(refused(status, &answer.unwrap_or_default(), query));
    }
    answer.ok().and_then(|a| a.data).ok_or_else(|| unexpected().into())
}

/// Room for an answer; it is given back when the answer was read.
async fn room(bytes: usize) -> Seen<SemaphorePermit<'static>> {
    let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(BUDGET).min(BUDGET);
    IN_FLIGHT.acquire_many(wanted).await.map_err(|e| Unavailable::new(Cause::MetricsUnavailable, e.to_string()))
}

/// A query that Prometheus itself refuses is the user's to correct; anything else is the server's trouble, or that of
/// something before it. VictoriaMetrics names a refusal by its status.
fn refused(status: reqwest::StatusCode, answer: &Answer, query: &str) -> Failure {
    let told: String = answer.error.chars().take(MOST_TEXT).collect();
    let why = match answer.kind.as_str() {
        "bad_data" | "execution" | "400" | "422" => {
            Unavailable::new(Cause::InvalidQuery, format!("Prometheus refused `{}`: {told}", shown(query)))
        }
        _ => Unavailable::new(Cause::MetricsUnavailable, format!("Prometheus answered {status}: {told}")),
    };
    Failure { why, is_spoilt: true }
}

/// A query, for an error.
fn shown(query: &str) -> String {
    let mut text: String = query.chars().take(MOST_TEXT).collect();
    if text.len() < query.len() {
        text.push('…');
    }
    text
}

pub(super) fn unexpected() -> Unavailable {
    Unavailable::new(Cause::MetricsUnavailable, "the answer is not one of Prometheus' HTTP API; check --prometheus-url")
}

/// A sample's value; Prometheus writes infinities as `+Inf` and `-Inf`.
fn number(text: &str) -> Seen<f64> {
    text.parse().map_err(|_| unexpected())
}

/// An error with its causes, cut to length.
fn chain(error: &dyn std::error::Error) -> String {
    text::chain(error).chars().take(MOST_TEXT).collect()
}
