//! `reiter8 run`: connects, becomes the leader, and reconciles until it is told to stop.
//!
//! Owns start and end of the process. Losing the lease ends it: a second replica has taken over, and a fresh start is
//! the simplest way to wait for the lease again. Correctness never depends on the lease; every write is fenced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::client::ClientBuilder;
use kube::{Api, Client};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::sync::watch;
use tracing::info;

use super::{Context, experiments};
use crate::api::Experiment;
use crate::server::{self, Readiness};
use crate::telemetry::{self, LogFormat, Metrics, TimedKubernetes};

/// Name of the Lease of the controllers among themselves.
const LEASE: &str = "reiter8-controller";
/// A leader that says nothing for this long has lost, seconds.
const LEASE_SECONDS: u64 = 15;
/// It renews this long before that, seconds.
const LEASE_GRACE: u64 = 5;
/// How long a stop waits for turns that are under way: longer than any one call may take.
const LAST_TURNS: Duration = Duration::from_secs(25);

/// Run the controller.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 told to stop, 1 failed or lost the lease, 2 wrong arguments.\n\n\
    Examples:\n  reiter8 run --prometheus-url http://prometheus.istio-system:9090\n  \
    KUBECONFIG=~/.kube/config reiter8 run --prometheus-url http://127.0.0.1:9090 --listen 127.0.0.1:8080")]
pub struct RunArgs {
    /// Prometheus that holds the mesh's metrics
    #[arg(long, env = "REITER8_PROMETHEUS_URL", value_name = "URL")]
    pub prometheus_url: String,
    /// Namespace of the controller's and the targets' Leases
    #[arg(long, env = "POD_NAMESPACE", default_value = "reiter8-system", value_name = "NAME")]
    pub namespace: String,
    /// The only namespace whose experiments, routes and workloads are looked at; all of them by default
    #[arg(long, env = "REITER8_WATCH_NAMESPACE", value_name = "NAME")]
    pub watch_namespace: Option<String>,
    /// Name of this replica in the Lease; the host's name by default
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
    /// Address of /healthz, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// A repository host that may be reached by plain http; may be repeated
    #[arg(long = "allow-http-host", value_name = "HOST")]
    pub allow_http_hosts: Vec<String>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Runs the controller until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    telemetry::start(args.log_format);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        signalled().await;
        info!("told to stop");
        let _ = stop.send(true);
    });
    let readiness = Readiness::default();
    readiness.wait("kubernetes", "the API server to answer");
    let metrics = Arc::new(Metrics::default());
    let (address, serving) = server::serve(args.listen, readiness.clone(), Arc::clone(&metrics), told(stopped.clone()))
        .await
        .with_context(|| format!("failed to listen on {} (--listen)", args.listen))?;
    info!(%address, version = env!("CARGO_PKG_VERSION"), "serving /healthz, /readyz and /metrics");
    let client = connect().await.context("failed to find a cluster: set KUBECONFIG, or run in one")?;
    let watched = super::watched(&client, args.watch_namespace.as_deref());
    tokio::select! {
        served = await_resources(watched, &readiness) => served,
        () = told(stopped.clone()) => return Ok(()),
    }
    lead(args, client, readiness, metrics, stopped).await?;
    serving.await.context("failed to stop the server")?.context("failed to serve")
}

/// A client of the cluster that this program runs in, or that KUBECONFIG names; its requests are measured.
async fn connect() -> anyhow::Result<Client> {
    let config = kube::Config::infer().await?;
    Ok(ClientBuilder::try_from(config)?.with_layer(&TimedKubernetes).build())
}

/// Holds the lease around the controller.
async fn lead(
    args: RunArgs,
    client: Client,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let identity = args.identity.clone().or_else(hostname).unwrap_or_else(|| format!("pid-{}", std::process::id()));
    let manager = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&args.namespace)
        .with_identity(&identity)
        .with_field_manager(format!("reiter8-{identity}"))
        .with_duration(LEASE_SECONDS)
        .with_grace(LEASE_GRACE)
        .build()
        .await
        .with_context(|| format!("failed to read Lease {}/{LEASE}", args.namespace))?;
    let (mut leader, lease) = manager.watch().await;
    info!(identity, "waiting for the lease");
    tokio::select! {
        won = leader.wait_for(|&leads| leads) => { won.context("failed to keep watching the lease")?; }
        () = told(stopped.clone()) => return Ok(()),
    }
    info!(identity, "leading");
    metrics.lead();
    let context = Arc::new(Context::new(client, &args, metrics)?);
    let reconciling = tokio::spawn(experiments::run(context, readiness, told(stopped.clone())));
    let lost = async {
        let _ = leader.wait_for(|&leads| !leads).await;
    };
    tokio::pin!(reconciling);
    tokio::select! {
        ended = &mut reconciling => ended.context("failed to reconcile")??,
        () = lost => bail!("lost the lease {}/{LEASE}: another replica leads", args.namespace),
        () = told(stopped) => {
            if tokio::time::timeout(LAST_TURNS, &mut reconciling).await.is_err() {
                tracing::warn!("stopped while a turn was under way; the next start carries on from its last commit");
            }
        }
    }
    drop(leader);
    // Gives the lease back, so that the next replica leads at once.
    lease.await.context("failed to give back the lease")?.context("failed to give back the lease")?;
    Ok(())
}

/// Waits until the API server serves our resources; they may be installed after the controller.
async fn await_resources(experiments: Api<Experiment>, readiness: &Readiness) {
    let one = kube::api::ListParams::default().limit(1);
    loop {
        match experiments.list_metadata(&one).await {
            Ok(_) => return readiness.done("kubernetes"),
            Err(error) => {
                let what = format!("the API server to serve experiments.iter8.tools (kubectl apply -f crds/): {error}");
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot list experiments yet");
                readiness.wait("kubernetes", what);
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// Resolves when the controller is told to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone has nothing more to tell: the process is ending anyway.
    let _ = stopped.wait_for(|&stop| stop).await;
}

/// Resolves on SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
