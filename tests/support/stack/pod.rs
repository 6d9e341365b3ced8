//! One pod: an HTTP server whose behaviour is set by the container's environment.
//!
//! `IMAGE` (in the answer), `VERSION` (in the header `x-version`; the image's tag by default), `ERROR_RATE` (share of
//! requests answered with 500), `LATENCY_MS`, `LISTEN=refuse` (Ready, but nothing listens), `READY=never`,
//! `RESTART_SECONDS` (how long its node waits before it starts a dead one again). `POST /behave/errors/SHARE` changes the
//! share of errors while it runs. On SIGTERM it stops accepting, finishes what is in flight, and exits. It ends with its
//! node, whose death closes the standard input.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::{get, post};
use tokio::signal::unix::{SignalKind, signal};

/// Where a pod listens and what it is called.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub address: SocketAddr,
    #[arg(long)]
    pub name: String,
}

struct Behaviour {
    version: String,
    image: String,
    pod: String,
    /// The bits of a share.
    errors: AtomicU64,
    latency: Duration,
    /// Requests so far; every n-th one fails, so that the share is exact.
    served: AtomicU64,
}

fn number(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Serves until SIGTERM or until the node is gone.
pub async fn pod(args: Args) -> anyhow::Result<()> {
    let image = std::env::var("IMAGE").unwrap_or_else(|_| "unknown".into());
    let tag = image.rsplit(':').next().unwrap_or_default();
    let behaviour = Arc::new(Behaviour {
        version: std::env::var("VERSION").unwrap_or_else(|_| tag.to_owned()),
        image,
        pod: args.name,
        errors: AtomicU64::new(number("ERROR_RATE", 0.0).clamp(0.0, 1.0).to_bits()),
        latency: Duration::from_secs_f64(number("LATENCY_MS", 5.0).max(0.0) / 1000.0),
        served: AtomicU64::new(0),
    });
    if std::env::var("LISTEN").is_ok_and(|l| l == "refuse") {
        ended().await;
        return Ok(());
    }
    let routes = Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/behave/errors/{share}", post(behave))
        .fallback(answer)
        .with_state(behaviour);
    let listener = tokio::net::TcpListener::bind(args.address).await?;
    axum::serve(listener, routes).with_graceful_shutdown(ended()).await?;
    Ok(())
}

/// Another share of errors from now on.
async fn behave(State(b): State<Arc<Behaviour>>, Path(share): Path<f64>) {
    b.errors.store(share.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
}

async fn answer(State(b): State<Arc<Behaviour>>) -> (StatusCode, HeaderMap, String) {
    let n = b.served.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(b.latency).await;
    let errors = f64::from_bits(b.errors.load(Ordering::Relaxed));
    #[allow(clippy::cast_precision_loss)]
    let failed = |n: u64| (n as f64 * errors).floor();
    let status = if failed(n + 1) > failed(n) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let mut headers = HeaderMap::new();
    if let Ok(version) = HeaderValue::from_str(&b.version) {
        headers.insert("x-version", version);
    }
    (status, headers, format!("{} in {}\n", b.image, b.pod))
}

/// Resolves on SIGTERM, or when the node closes the standard input by dying.
async fn ended() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    let (closed, orphaned) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0_u8; 1]);
        let _ = closed.send(());
    });
    tokio::select! {
        _ = term.recv() => {}
        _ = orphaned => {}
    }
}
