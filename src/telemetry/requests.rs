//! What requests to others cost: how long they take and why they fail, by provider.
//!
//! One set for the process: libgit2's transport has no place to hand a registry through, and a request is the
//! process's, whichever experiment caused it. [`super::Metrics`] registers it; adapters measure with [`timed`] or
//! [`Timer`], the Kubernetes client with [`TimedKubernetes`].

use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::engine::Cause;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

/// From an answer out of a cache to the longest wait of any adapter, seconds.
const BUCKETS: [f64; 9] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// Whom the controller asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The Kubernetes API server; a watch counts until its first answer.
    Kubernetes,
    /// The source of the metrics.
    Prometheus,
    /// The sources of opaque metrics.
    Opaque,
    /// The forge's API. One operation, of a call or two.
    Forge,
    /// The Git server. One exchange, until its answer begins.
    Git,
}

impl Provider {
    /// The word in the label `provider`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Prometheus => "prometheus",
            Self::Opaque => "opaque",
            Self::Forge => "forge",
            Self::Git => "git",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    provider: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    provider: &'static str,
    reason: &'static str,
}

struct Requests {
    seconds: Family<Finished, Histogram, fn() -> Histogram>,
    errors: Family<Failed, Counter>,
}

static REQUESTS: LazyLock<Requests> = LazyLock::new(|| Requests {
    seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
    errors: Family::default(),
});

/// Makes the process's requests part of a registry.
pub(super) fn register(registry: &mut Registry) {
    registry.register("request_seconds", "Time until the answer to a request", REQUESTS.seconds.clone());
    registry.register("request_errors", "Requests that failed, by reason", REQUESTS.errors.clone());
}

/// A request under way.
pub struct Timer {
    provider: Provider,
    began: Instant,
}

impl Timer {
    /// A request begins.
    pub fn start(provider: Provider) -> Self {
        Self { provider, began: Instant::now() }
    }

    /// It ended; `cause` says why it failed, if it did.
    pub fn stop(self, cause: Option<Cause>) {
        let provider = self.provider.as_str();
        let result = if cause.is_none() { "success" } else { "error" };
        REQUESTS.seconds.get_or_create(&Finished { provider, result }).observe(self.began.elapsed().as_secs_f64());
        if let Some(cause) = cause {
            REQUESTS.errors.get_or_create(&Failed { provider, reason: cause.word() }).inc();
        }
    }
}

/// Measures a request; `cause` names its error as conditions and logs do.
pub async fn timed<T, E>(
    provider: Provider,
    cause: impl FnOnce(&E) -> Cause,
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timer = Timer::start(provider);
    let answer = request.await;
    timer.stop(answer.as_ref().err().map(cause));
    answer
}

/// A layer of the Kubernetes client that measures every request.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimedKubernetes;

impl<S> Layer<S> for TimedKubernetes {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner }
    }
}

/// A client whose requests are measured.
#[derive(Clone, Debug)]
pub struct Timed<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Timed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let timer = Timer::start(Provider::Kubernetes);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            timer.stop(match &answer {
                Ok(response) => refusal(response.status()),
                Err(_) => Some(Cause::ApiUnavailable),
            });
            answer
        })
    }
}

/// Why the API server did not do what was asked. That an object is absent is an answer.
fn refusal(status: StatusCode) -> Option<Cause> {
    match status {
        StatusCode::NOT_FOUND => None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(Cause::Forbidden),
        StatusCode::CONFLICT => Some(Cause::Conflict),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Some(Cause::Refused),
        status if status.is_client_error() || status.is_server_error() => Some(Cause::ApiUnavailable),
        _ => None,
    }
}
