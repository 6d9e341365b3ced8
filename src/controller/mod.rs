//! The controller: resources in, turns out.
//!
//! [`resolve`] turns what was written into what can be carried out, [`experiments`] decides when a turn is due,
//! [`ledger`] keeps progress, [`status`] says it to people, [`run`] owns the process. Choices about an experiment are
//! the engine's.

mod experiments;
mod ledger;
pub(crate) mod references;
mod refusal;
pub mod resolve;
pub mod run;
mod status;
mod support;

use std::sync::Arc;

use kube::Client;
use kube_runtime::events::{Recorder, Reporter};

pub use refusal::Refusal;

use crate::engine::Phase;
use crate::live::Prometheus;
use crate::telemetry::Metrics;

/// Every phase, for gauges that must not keep an old value.
const PHASES: [Phase; 7] = [
    Phase::Queued,
    Phase::Preparing,
    Phase::Shifting,
    Phase::Deciding,
    Phase::Promoting,
    Phase::Discarding,
    Phase::Completed,
];

/// What every turn needs.
struct Context {
    client: Client,
    recorder: Recorder,
    prometheus: Prometheus,
    metrics: Arc<Metrics>,
    /// Namespace of the targets' Leases.
    namespace: String,
    /// Hosts that may be reached by plain http.
    http_hosts: Vec<String>,
}

impl Context {
    fn new(client: Client, args: &run::RunArgs, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let reporter = Reporter { controller: "reiter8".into(), instance: args.identity.clone() };
        Ok(Self {
            recorder: Recorder::new(client.clone(), reporter),
            prometheus: Prometheus::new(&args.prometheus_url)?,
            client,
            metrics,
            namespace: args.namespace.clone(),
            http_hosts: args.allow_http_hosts.clone(),
        })
    }
}
