//! The controller's own HTTP server: `/healthz`, `/readyz` and `/metrics`.
//!
//! Readiness is a list of what is still waited for; parts cross their line off when they have it. Nothing here talks
//! to the cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use crate::telemetry::Metrics;

/// What the registry writes. A scraper that takes it for the older format does not find the counters' types.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the controller still waits for before it is ready.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// Says that `part` is waited for, and for what.
    pub fn wait(&self, part: &'static str, what: impl Into<String>) {
        self.0.lock().insert(part, what.into());
    }

    /// Says that `part` is there.
    pub fn done(&self, part: &'static str) {
        self.0.lock().remove(part);
    }

    /// What is waited for, by part.
    pub fn waiting(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().clone()
    }
}

#[derive(Clone)]
struct Served {
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// Binds the address now, so that a taken port is an error of the start; serves until `stop` resolves.
pub async fn serve(
    address: SocketAddr,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(
            "/metrics",
            get(|State(s): State<Served>| async move { ([(CONTENT_TYPE, OPEN_METRICS)], s.metrics.encode()) }),
        )
        .with_state(Served { readiness, metrics });
    let served = axum::serve(listener, routes).with_graceful_shutdown(stop);
    Ok((bound, tokio::spawn(async move { served.await })))
}

async fn ready(State(served): State<Served>) -> (StatusCode, [(HeaderName, &'static str); 1], String) {
    let waiting = served.readiness.waiting();
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"ready": waiting.is_empty(), "waitingFor": waiting});
    (status, [(CONTENT_TYPE, "application/json")], body.to_string())
}
