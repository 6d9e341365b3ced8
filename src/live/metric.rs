//! What is asked of Prometheus for one metric: selectors and queries with placeholders, by kind.
//!
//! Built by `controller::resolve` from a Metric or a built-in name; filled in and read by [`super::prometheus`].

use super::opaque::OpaqueQuery;
use super::query::{SelectorError, Values};

/// How a metric is read.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricQuery {
    /// The share of bad requests: counters.
    Share(ShareQuery),
    /// The share of observations above a bound: cumulative buckets.
    Histogram {
        /// Series of the buckets, with their `le` label.
        buckets: String,
        /// Observations above it are bad, in the unit of `le`.
        bound: f64,
    },
    /// The mean of observations: counters of their sum and their number.
    Mean {
        /// Series of the sum.
        sum: String,
        /// Series of the number.
        count: String,
    },
    /// One number at a time.
    Gauge {
        /// A query that answers with one number.
        query: String,
    },
    /// One number at a time, from anywhere; read by [`super::Opaque`].
    Opaque(Box<OpaqueQuery>),
}

/// A share of bad requests, as series selectors with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareQuery {
    /// Series of bad requests; no series is in two of them.
    pub bad: Vec<String>,
    /// Series of all requests.
    pub total: String,
    /// Series of requests to the service that reached no endpoint at all, if the metric knows them.
    pub unreached: Option<String>,
}

impl ShareQuery {
    /// The share of two selectors.
    pub fn share(bad: &str, total: &str) -> Self {
        Self { bad: vec![bad.to_owned()], total: total.to_owned(), unreached: None }
    }
}

impl MetricQuery {
    /// Whether every selector is a plain one, and every placeholder one that the version has.
    pub(super) fn check(&self, values: &Values) -> Result<(), SelectorError> {
        self.texts().into_iter().try_for_each(|text| match self {
            Self::Gauge { .. } => values.fill_query(text, 0).map(|_| ()),
            Self::Share(_) | Self::Histogram { .. } | Self::Mean { .. } => values.fill(text).map(|_| ()),
            Self::Opaque(query) => Ok(query.check(values)?),
        })
    }

    /// Every text in it that may hold placeholders.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Share(q) => q.bad.iter().chain([&q.total]).chain(&q.unreached).map(String::as_str).collect(),
            Self::Histogram { buckets, .. } => vec![buckets],
            Self::Mean { sum, count } => vec![sum, count],
            Self::Gauge { query } => vec![query],
            Self::Opaque(query) => {
                let params = query.params.iter().map(|(_, value)| value);
                std::iter::once(&query.url).chain(params).chain(&query.body).map(String::as_str).collect()
            }
        }
    }
}
