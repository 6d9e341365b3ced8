//! Opaque metrics: one HTTP request for each version and interval, and the number that a jq program finds in its answer.
//!
//! The address, the headers and the program are text of whoever writes a Metric. The address leads nowhere but where it
//! says: by http or https, without redirects, and not to this machine or its cloud's metadata. Owns the bounds of an
//! answer and of the wait for it. No Secret is read. A number that is not there is missing; only a source that does not
//! answer is unavailable.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};

use super::expression::Expression;
use super::query::{Values, Versions};
use crate::engine::judge::Sample;
use crate::engine::{Cause, Pair, Seen, Unavailable, Window};
use crate::http::{self, BodyError};
use crate::telemetry::{self, Provider};

/// Longest wait for a whole answer: Iter8's.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read, bytes: it is about one number.
const MOST_BYTES: usize = 256 << 10;
/// Headers that say where a request goes or how long it is; they are the client's own.
const OWN_HEADERS: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];

/// How an opaque metric is read.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueQuery {
    /// Address, with placeholders behind the host.
    pub url: String,
    /// Query parameters: name, value with placeholders.
    pub params: Vec<(String, String)>,
    /// Whether it is a POST.
    pub post: bool,
    /// JSON to send, with placeholders.
    pub body: Option<String>,
    /// Headers as they are sent.
    pub headers: Vec<(String, String)>,
    /// Finds the number in the answer.
    pub expression: Expression,
}

/// Why a request cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpaqueError {
    /// The address cannot be asked.
    #[error("failed to use `{url}` as an address: {why}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A header cannot be sent.
    #[error("failed to use the header `{0}`: write a plain name and value, and none of those that HTTP itself needs")]
    Header(String),
    /// The body is no JSON.
    #[error("failed to read the body as JSON once its placeholders are filled in: {0}")]
    Body(String),
}

/// Where requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere but to this machine and to link-local addresses, where clouds answer with credentials.
    Others,
    /// Anywhere: for tests.
    Anywhere,
}

/// The source of opaque metrics.
#[derive(Clone)]
pub struct Opaque {
    client: Option<Client>,
    reach: Reach,
}

/// Keeps connections from one reconcile to the next; made when the first opaque metric is read.
static SHARED: LazyLock<Opaque> = LazyLock::new(|| Opaque::new(Reach::Others));

impl Opaque {
    /// A source of its own.
    pub fn new(reach: Reach) -> Self {
        let builder = http::client().timeout(TIMEOUT).connect_timeout(TIMEOUT);
        let builder =
            if reach == Reach::Others { builder.dns_resolver(std::sync::Arc::new(OthersOnly)) } else { builder };
        Self { client: builder.build().ok(), reach }
    }

    /// The one that all experiments share.
    pub(super) fn shared() -> &'static Self {
        &SHARED
    }

    /// The numbers of both versions now. Errors: `MetricsUnavailable`, `InvalidQuery`.
    pub async fn read(&self, query: &OpaqueQuery, versions: &Versions, window: Window, began: Timestamp) -> Seen<Pair> {
        // Iter8's: at least a second, so that a range of it is one.
        let elapsed = window.to.duration_since(began).as_secs().max(1);
        let (baseline, candidate) = futures::future::try_join(
            self.sample(query, &versions.baseline, elapsed),
            self.sample(query, &versions.candidate, elapsed),
        )
        .await?;
        Ok(Pair::Values { baseline, candidate })
    }

    async fn sample(&self, query: &OpaqueQuery, values: &Values, elapsed: i64) -> Seen<Sample> {
        let request =
            query.request(values, elapsed).map_err(|e| Unavailable::new(Cause::InvalidQuery, e.to_string()))?;
        let asked = telemetry::timed(Provider::Opaque, |u: &Unavailable| u.cause, self.ask(request)).await?;
        let expression = query.expression.clone();
        // Reads as long as the answer is large, so not between other turns.
        let number = tokio::task::spawn_blocking(move || expression.number(&asked)).await.ok().flatten();
        Ok(number.map_or_else(Sample::default, Sample::gauge))
    }

    /// The body of an answer, no larger than it may be.
    async fn ask(&self, request: Request) -> Seen<Vec<u8>> {
        let unavailable = |why: String| Unavailable::new(Cause::MetricsUnavailable, why);
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let client = self.client.as_ref().ok_or_else(|| unavailable("failed to start an HTTP client".into()))?;
        if self.reach == Reach::Others && literal(&host).is_some_and(|address| !elsewhere(address)) {
            return Err(unavailable(format!(
                "{host} is on this machine or link-local; opaque metrics are read from others"
            )));
        }
        let mut asked = client.request(request.method, request.url).headers(request.headers);
        if let Some(body) = request.body {
            asked = asked.body(body);
        }
        // The address may hold what is not for a status.
        let failed = |e: reqwest::Error| unavailable(format!("failed to ask {host}: {}", e.without_url()));
        let answer = asked.send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(unavailable(format!("{host} answered {}; redirects are not followed", answer.status())));
        }
        http::body(answer, MOST_BYTES).await.map_err(|error| match error {
            BodyError::TooLarge(most) => unavailable(format!("the answer of {host} is larger than {most} bytes")),
            BodyError::Broken(error) => failed(error),
        })
    }
}

/// A request, filled in.
struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl OpaqueQuery {
    /// Whether a request can be made of it.
    pub(super) fn check(&self, values: &Values) -> Result<(), OpaqueError> {
        self.request(values, 1).map(|_| ())
    }

    fn request(&self, values: &Values, elapsed: i64) -> Result<Request, OpaqueError> {
        let refuse = |why| OpaqueError::Address { url: excerpt(&self.url), why };
        let parse = |text: &str| text.parse::<Url>().map_err(|_| refuse("it is no URL"));
        let plain = parse(&self.url)?;
        if !matches!(plain.scheme(), "http" | "https") {
            return Err(refuse("write `http://` or `https://`"));
        }
        if !plain.username().is_empty() || plain.password().is_some() {
            return Err(refuse("it holds credentials; they would be seen by everybody who may read Metrics"));
        }
        let host =
            plain.host_str().filter(|host| !host.contains('$')).ok_or_else(|| refuse("its host is not fixed"))?;
        let mut url = parse(&values.fill_text(&self.url, elapsed, percent))?;
        if url.origin() != plain.origin() || url.host_str() != Some(host) {
            return Err(refuse("a placeholder changes its host"));
        }
        if !self.params.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &self.params {
                pairs.append_pair(name, &values.fill_text(value, elapsed, str::to_owned));
            }
        }
        let body = self.body.as_ref().map(|body| values.fill_text(body, elapsed, inside_json));
        let mut headers = self.headers()?;
        if let Some(body) = &body {
            serde_json::from_str::<serde_json::Value>(body).map_err(|e| OpaqueError::Body(e.to_string()))?;
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        Ok(Request { method: if self.post { Method::POST } else { Method::GET }, url, headers, body })
    }

    fn headers(&self) -> Result<HeaderMap, OpaqueError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let refuse = || OpaqueError::Header(excerpt(name));
            let parsed: HeaderName = name.parse().map_err(|_| refuse())?;
            let mut value: HeaderValue = value.parse().map_err(|_| refuse())?;
            if OWN_HEADERS.contains(&parsed.as_str()) {
                return Err(refuse());
            }
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(headers)
    }
}

/// Names resolved to addresses of others alone; checked at every connection, so that a name cannot change its mind.
struct OthersOnly;

impl Resolve for OthersOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let others: Vec<SocketAddr> = found.filter(|address| elsewhere(address.ip())).collect();
            if others.is_empty() {
                return Err(format!("{} is on this machine or link-local", name.as_str()).into());
            }
            Ok(Box::new(others.into_iter()) as Addrs)
        })
    }
}

/// The address that a URL's host is, if it is no name.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// Whether an address is neither this machine's nor link-local.
fn elsewhere(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    }
}

/// What a value inside a URL may show as it is: RFC 3986's unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value inside a URL.
fn percent(value: &str) -> String {
    utf8_percent_encode(value, UNRESERVED).to_string()
}

/// A value inside a JSON string; a number stays one.
fn inside_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}
