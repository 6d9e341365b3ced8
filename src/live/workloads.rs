//! Readiness of both Deployments, read fresh.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use super::call::call;
use crate::engine::{Rollout, Seen, Unavailable, Workload, Workloads};

/// The Deployments of one experiment.
pub(super) struct Deployments {
    api: Api<Deployment>,
    baseline: String,
    candidate: String,
}

impl Deployments {
    pub(super) fn new(client: Client, namespace: &str, baseline: &str, candidate: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), baseline: baseline.into(), candidate: candidate.into() }
    }

    /// Both workloads; one that does not exist is a fact, not an error.
    pub(super) async fn read(&self) -> Seen<Workloads> {
        let (baseline, candidate) =
            futures::future::try_join(self.get(&self.baseline), self.get(&self.candidate)).await?;
        Ok(Workloads { baseline: workload(baseline.as_ref()), candidate: workload(candidate.as_ref()) })
    }

    /// How far the baseline is with this pod template.
    pub(super) async fn rollout(&self, template: &serde_json::Value) -> Seen<Rollout> {
        let live = self.get(&self.baseline).await?;
        live.map(|live| super::rollout::rollout(&live, template))
            .ok_or_else(|| Unavailable::new("WorkloadNotFound", format!("Deployment {} was not found", self.baseline)))
    }

    async fn get(&self, name: &str) -> Seen<Option<Deployment>> {
        call(&format!("read Deployment {name}"), self.api.get(name)).await
    }
}

fn workload(live: Option<&Deployment>) -> Workload {
    let Some(live) = live else { return Workload::default() };
    let count = |n: Option<i32>| u32::try_from(n.unwrap_or(0)).unwrap_or(0);
    let spec = live.spec.as_ref();
    let containers = spec.and_then(|s| s.template.spec.as_ref()).map_or(&[][..], |s| s.containers.as_slice());
    Workload {
        exists: true,
        desired: count(spec.and_then(|s| s.replicas).or(Some(1))),
        ready: count(live.status.as_ref().and_then(|s| s.ready_replicas)),
        images: containers.iter().map(|c| (c.name.clone(), c.image.clone().unwrap_or_default())).collect(),
        content: String::new(),
        failed: None,
    }
}
