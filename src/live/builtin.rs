//! The metrics that need no installation: what Istio's proxies report by themselves.
//!
//! Istio's standard metrics, reporter `source`: the proxy in front of the service saw the request, also one that was
//! never answered. Bad: HTTP 5xx, no response at all (code 0), or a gRPC status that blames the server.

use super::binding::ShareQuery;

/// gRPC statuses that blame the server: UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, `DATA_LOSS`.
const GRPC_SERVER_ERRORS: &str = "2|4|12|13|14|15";

/// The built-in metric of this name, if it is a share of requests.
pub fn share(metric: &str) -> Option<ShareQuery> {
    let version =
        r#"reporter="source",destination_workload="$workload",destination_workload_namespace="$workloadNamespace""#;
    let total = format!("istio_requests_total{{{version}}}");
    match metric {
        "istio/error-rate" => Some(ShareQuery {
            bad: vec![
                format!(r#"istio_requests_total{{{version},response_code=~"5..|0"}}"#),
                format!(
                    r#"istio_requests_total{{{version},response_code!~"5..|0",grpc_response_status=~"{GRPC_SERVER_ERRORS}"}}"#
                ),
            ],
            total,
            unreached: Some(
                r#"istio_requests_total{reporter="source",destination_workload=~"|unknown",destination_service_namespace="$workloadNamespace",destination_service=~"$hosts"}"#
                    .to_owned(),
            ),
        }),
        _ => None,
    }
}
