//! The given manifests as a cluster: a client that reads them as if they were applied.
//!
//! The controller's own code can so be asked what it would say, and no rule is written down twice. It answers reads of
//! single objects and lists; nothing can be written.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// Resources and their kinds, as far as the controller reads them.
const KINDS: [(&str, &str); 7] = [
    ("experiments", "Experiment"),
    ("metrics", "Metric"),
    ("repositories", "Repository"),
    ("deployments", "Deployment"),
    ("services", "Service"),
    ("virtualservices", "VirtualService"),
    ("destinationrules", "DestinationRule"),
];

/// A client that reads these objects. One that names no namespace is in every namespace.
pub(super) fn client(objects: Vec<Value>) -> Client {
    let objects = Arc::new(objects);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (status, body) = answer(&objects, request.uri().path());
        let mut response = Response::new(Body::from(body.to_string().into_bytes()));
        *response.status_mut() = status;
        std::future::ready(Ok::<_, Infallible>(response))
    });
    Client::new(service, "default")
}

/// Answers a read of `/…/namespaces/NAMESPACE/RESOURCE[/NAME]`.
fn answer(objects: &[Value], path: &str) -> (StatusCode, Value) {
    let mut segments = path.split('/').skip_while(|s| *s != "namespaces").skip(1);
    let (namespace, resource, name) = (segments.next(), segments.next(), segments.next());
    let kind = KINDS.iter().find(|(plural, _)| Some(*plural) == resource).map(|(_, kind)| *kind);
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
    let mut found = objects.iter().filter(|object| {
        let own = text(object, "/metadata/namespace");
        text(object, "/kind").as_deref() == kind && own.is_none_or(|own| Some(own.as_str()) == namespace)
    });
    match name {
        None => (
            StatusCode::OK,
            json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": found.collect::<Vec<_>>()}),
        ),
        Some(name) => match found.find(|object| text(object, "/metadata/name").as_deref() == Some(name)) {
            Some(object) => (StatusCode::OK, object.clone()),
            None => (StatusCode::NOT_FOUND, absent()),
        },
    }
}

fn absent() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
        "message": "not among the given files", "code": 404})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_by_kind_namespace_and_name() {
        let objects = [
            json!({"kind": "Metric", "metadata": {"name": "a", "namespace": "x"}}),
            json!({"kind": "Metric", "metadata": {"name": "b"}}),
            json!({"kind": "Service", "metadata": {"name": "a", "namespace": "x"}}),
        ];
        let status = |path: &str| answer(&objects, path).0.as_u16();
        assert_eq!(status("/apis/iter8.tools/v2alpha2/namespaces/x/metrics/a"), 200);
        assert_eq!(status("/apis/iter8.tools/v2alpha2/namespaces/y/metrics/a"), 404);
        assert_eq!(status("/apis/iter8.tools/v2alpha2/namespaces/y/metrics/b"), 200);
        assert_eq!(status("/api/v1/namespaces/x/secrets/a"), 404);
        let list = answer(&objects, "/apis/iter8.tools/v2alpha2/namespaces/x/metrics").1;
        assert_eq!(list.pointer("/items").and_then(Value::as_array).map(Vec::len), Some(2));
    }
}
