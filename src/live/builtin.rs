//! The metrics that need no installation: what Istio's proxies report by themselves.
//!
//! Istio's standard metrics, reporter `source`: the proxy in front of the service saw the request, also one that was
//! never answered. Bad: HTTP 5xx, no response at all (code 0), or a gRPC status that blames the server.

use super::binding::ShareQuery;

/// gRPC statuses that blame the server: UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
const GRPC_SERVER_ERRORS: &str = "2|4|12|13|14|15";

/// Requests to one version.
const VERSION: &str =
    r#"reporter="source",destination_workload="$workload",destination_workload_namespace="$workloadNamespace""#;

/// The series of the built-in metric of this name, if it counts requests.
pub fn count(metric: &str) -> Option<String> {
    (metric == "istio/request-count").then(|| format!("istio_requests_total{{{VERSION}}}"))
}

/// The built-in metric of this name, if it is a share of requests.
pub fn share(metric: &str) -> Option<ShareQuery> {
    match metric {
        "istio/error-rate" => Some(ShareQuery {
            bad: vec![
                format!(r#"istio_requests_total{{{VERSION},response_code=~"5..|0"}}"#),
                format!(
                    r#"istio_requests_total{{{VERSION},response_code!~"5..|0",grpc_response_status=~"{GRPC_SERVER_ERRORS}"}}"#
                ),
            ],
            total: count("istio/request-count")?,
            unreached: Some(
                r#"istio_requests_total{reporter="source",destination_workload=~"|unknown",destination_service_namespace="$workloadNamespace",destination_service=~"$hosts"}"#
                    .to_owned(),
            ),
        }),
        _ => None,
    }
}
