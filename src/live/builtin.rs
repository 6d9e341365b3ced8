//! The metrics that need no installation: what Istio's proxies report by themselves.
//!
//! Istio's standard metrics, reporter `source`: the proxy in front of the service saw the request, also one that was
//! never answered. Bad: HTTP 5xx, no response at all (code 0) although the client waited, or a gRPC status that blames the
//! server.

use super::metric::{MetricQuery, ShareQuery};

/// gRPC statuses that blame the server: UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
const GRPC_SERVER_ERRORS: &str = "2|4|12|13|14|15";

/// Flags of requests that no endpoint of their destination took: no healthy one, no such destination, no connection. The
/// proxy answers many others itself, all with an unknown workload: preflights, denials, rate limits, injected faults,
/// requests beyond a circuit breaker. Those are nobody's. The code is no help: to a gRPC request the proxy answers 200.
const NO_ENDPOINT: &str = "(.*,)?(UH|NC|UF)(,.*)?";

/// Flags of requests whose client went away: without an answer, and no fault of the server.
const CLIENT_GONE: &str = "(.*,)?DC(,.*)?";

/// Requests to one version.
const VERSION: &str =
    r#"reporter="source",destination_workload="$workload",destination_workload_namespace="$workloadNamespace""#;

/// The series of the built-in metric of this name, if it counts requests.
pub fn count(metric: &str) -> Option<String> {
    (metric == "istio/request-count").then(|| format!("istio_requests_total{{{VERSION}}}"))
}

/// Every built-in metric that an objective can be about, for messages.
pub const OBJECTIVES: &str =
    "`istio/error-rate`, `istio/mean-latency`, `istio/latency-p50`, `p75`, `p90`, `p95`, `p99`";

/// The quantile of a built-in latency metric, in (0, 1).
pub fn quantile(metric: &str) -> Option<f64> {
    match metric.strip_prefix("istio/latency-p")? {
        "50" => Some(0.50),
        "75" => Some(0.75),
        "90" => Some(0.90),
        "95" => Some(0.95),
        "99" => Some(0.99),
        _ => None,
    }
}

/// The share of requests slower than `bound` milliseconds.
pub fn slower(bound: f64) -> MetricQuery {
    MetricQuery::Histogram { buckets: format!("istio_request_duration_milliseconds_bucket{{{VERSION}}}"), bound }
}

/// The built-in metric of this name, if it is a mean: of milliseconds.
pub fn mean(metric: &str) -> Option<MetricQuery> {
    let series = |part: &str| format!("istio_request_duration_milliseconds_{part}{{{VERSION}}}");
    (metric == "istio/mean-latency").then(|| MetricQuery::Mean { sum: series("sum"), count: series("count") })
}

/// The built-in metric of this name, if it is a share of requests.
pub fn share(metric: &str) -> Option<ShareQuery> {
    match metric {
        "istio/error-rate" => Some(ShareQuery {
            bad: vec![
                format!(r#"istio_requests_total{{{VERSION},response_code=~"5..|0",response_flags!~"{CLIENT_GONE}"}}"#),
                format!(
                    r#"istio_requests_total{{{VERSION},response_code!~"5..|0",grpc_response_status=~"{GRPC_SERVER_ERRORS}"}}"#
                ),
            ],
            total: count("istio/request-count")?,
            unreached: Some(format!(
                r#"istio_requests_total{{reporter="source",destination_workload=~"|unknown",destination_service_namespace="$workloadNamespace",destination_service=~"$hosts",response_flags=~"{NO_ENDPOINT}"}}"#
            )),
        }),
        _ => None,
    }
}
