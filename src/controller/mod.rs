//! The controller: resources in, turns out.
//!
//! [`resolve`] turns what was written into what can be carried out, [`experiments`], [`rest`] and [`looks`] decide when a turn is due,
//! [`ledger`] keeps progress, [`status`] says it to people, [`run`] owns the process. Choices about an experiment are
//! the engine's.

mod accepted;
mod analysis;
mod events;
mod experiments;
mod iterations;
mod layout;
mod ledger;
mod looks;
mod objectives;
mod queue;
mod ramp;
pub(crate) mod references;
mod refusal;
pub mod resolve;
mod rest;
mod routes;
pub mod run;
mod slim;
pub mod status;
mod support;
mod wishes;

use std::sync::Arc;

use kube::{Api, Client};
use kube_runtime::events::{Recorder, Reporter};

pub use refusal::Refusal;
pub(crate) use wishes::annotation;

use crate::gitops::forge::Memory;
use crate::gitops::repository::Clones;
use crate::live::Prometheus;
use crate::telemetry::Metrics;

/// What every turn needs.
struct Context {
    client: Client,
    recorder: Recorder,
    prometheus: Prometheus,
    metrics: Arc<Metrics>,
    /// Namespace of the targets' Leases.
    namespace: String,
    /// The only namespace that is looked at, if not all are.
    watch_namespace: Option<String>,
    /// Hosts that may be reached by plain http.
    http_hosts: Vec<String>,
    /// Of the environment repositories, from one turn to the next.
    clones: Clones,
    /// What was learned of the forges.
    forges: Arc<Memory>,
    /// The guards over decided candidates.
    watches: experiments::Watches,
    /// Those for which nothing can be done now.
    resting: rest::Resting,
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
            watch_namespace: args.watch_namespace.clone(),
            http_hosts: args.allow_http_hosts.clone(),
            clones: Clones::default(),
            forges: Arc::default(),
            watches: experiments::Watches::default(),
            resting: rest::Resting::default(),
        })
    }
}

/// The objects of a kind that are looked at: those of one namespace, or all.
fn watched<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    namespace.map_or_else(|| Api::all(client.clone()), |name| Api::namespaced(client.clone(), name))
}

#[cfg(test)]
mod tests;
