//! The model cluster: Deployments that roll out, the routes' weights, the experiment, and a syncing loop that does what
//! Argo CD does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use serde::Deserialize;

use super::SimulateError;
use crate::api::Experiment;
use crate::engine::{Routes, Split, Workload};
use crate::live::FINALIZER;

/// How long a Deployment may make no progress before it says so, seconds; as the samples have it.
const PROGRESS_DEADLINE: i64 = 120;

/// What the cluster holds.
#[derive(Clone, Default)]
pub(super) struct Cluster {
    deployments: BTreeMap<String, Running>,
    /// Weights of the candidates; the baseline has the rest.
    pub(super) weights: Split,
    /// Who wrote it, if not the experiment.
    pub(super) writer: Option<String>,
    /// How long a changed Deployment takes to roll out, seconds.
    pub(super) rollout: i64,
    /// Whether the first update of a workload never becomes ready.
    pub(super) fails: bool,
    /// Replicas that somebody asked for, by workload.
    pub(super) scaled: BTreeMap<String, i32>,
    pub(super) experiment: Option<Experiment>,
    /// The commit that was synced last.
    pub(super) synced: Option<String>,
}

/// A Deployment and since when its template is what it is.
#[derive(Clone)]
struct Running {
    object: Deployment,
    changed: i64,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

impl Cluster {
    /// An empty cluster in which a rollout takes so many seconds.
    pub(super) fn new(rollout: i64, fails: bool) -> Self {
        Self { rollout, fails, ..Self::default() }
    }

    /// Applies the manifests of a commit and prunes what they no longer hold. Live weights stay, as with
    /// `ignoreDifferences` and `ApplyOutOfSyncOnly`. `second`: after the start.
    pub(super) fn sync(
        &mut self,
        files: &[(String, String)],
        second: i64,
        now: Timestamp,
    ) -> Result<(), SimulateError> {
        let mut wanted = vec![];
        let mut experiment = None;
        for (path, text) in files {
            for document in text.split("\n---\n") {
                let unreadable = |e| SimulateError::Manifest { path: path.clone(), source: Box::new(e) };
                let kind: Kind = serde_saphyr::from_str(document).map_err(unreadable)?;
                match kind.kind.as_str() {
                    "Deployment" => wanted.push(serde_saphyr::from_str::<Deployment>(document).map_err(unreadable)?),
                    "Experiment" => {
                        experiment = Some(serde_saphyr::from_str::<Experiment>(document).map_err(unreadable)?);
                    }
                    _ => {}
                }
            }
        }
        let names: Vec<String> = wanted.iter().filter_map(|d| d.metadata.name.clone()).collect();
        for object in wanted {
            self.apply(object, second);
        }
        self.sync_experiment(experiment, now);
        // As Argo CD does it, the later wave is pruned first: the candidate stays while the experiment is held.
        if self.experiment.as_ref().is_none_or(|e| e.metadata.deletion_timestamp.is_none()) {
            self.deployments.retain(|name, _| names.contains(name));
        }
        Ok(())
    }

    fn apply(&mut self, mut object: Deployment, second: i64) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let generation = match self.deployments.get(&name) {
            Some(running) if running.object.spec == object.spec => return,
            Some(running) => running.object.metadata.generation.unwrap_or(1) + 1,
            None => 1,
        };
        object.metadata.generation = Some(generation);
        self.deployments.insert(name, Running { object, changed: second });
    }

    fn sync_experiment(&mut self, wanted: Option<Experiment>, now: Timestamp) {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        match (wanted, &mut self.experiment) {
            (Some(mut new), None) => {
                new.metadata.uid = Some("00000000-0000-4000-8000-000000000001".into());
                new.metadata.creation_timestamp = Some(Time(now));
                new.metadata.generation = Some(1);
                new.metadata.finalizers = Some(vec![FINALIZER.into()]);
                self.experiment = Some(new);
            }
            (Some(new), Some(live)) => live.spec = new.spec,
            (None, Some(live)) => {
                live.metadata.deletion_timestamp.get_or_insert(Time(now));
            }
            (None, None) => {}
        }
    }

    /// The object with the status that its rollout has reached.
    pub(super) fn deployment(&self, name: &str, second: i64) -> Option<Deployment> {
        let running = self.deployments.get(name)?;
        let mut object = running.object.clone();
        let scaled = self.scaled.get(name).copied();
        let replicas = scaled.or_else(|| object.spec.as_ref().and_then(|s| s.replicas)).unwrap_or(1);
        if let Some(spec) = &mut object.spec {
            spec.replicas = Some(replicas);
        }
        let first = object.metadata.generation == Some(1);
        let fails = self.fails && object.metadata.generation == Some(2);
        let done = second >= running.changed + self.rollout && !fails;
        let exceeded = (fails && second >= running.changed + PROGRESS_DEADLINE).then(|| DeploymentCondition {
            type_: "Progressing".into(),
            status: "False".into(),
            reason: Some("ProgressDeadlineExceeded".into()),
            ..DeploymentCondition::default()
        });
        // While an update rolls out, the old replicas serve; a new Deployment has none yet.
        let updated = if done { replicas } else { 0 };
        let available = if first { updated } else { replicas };
        object.status = Some(DeploymentStatus {
            observed_generation: object.metadata.generation,
            replicas: Some(replicas),
            updated_replicas: Some(updated),
            ready_replicas: Some(available),
            available_replicas: Some(available),
            conditions: exceeded.map(|condition| vec![condition]),
            ..DeploymentStatus::default()
        });
        Some(object)
    }

    /// A workload as the engine sees it.
    pub(super) fn workload(&self, name: &str, second: i64) -> Workload {
        let Some(object) = self.deployment(name, second) else { return Workload::default() };
        let count = |n: Option<i32>| u32::try_from(n.unwrap_or(0)).unwrap_or(0);
        let (content, failed) = (crate::live::content(&object), crate::live::failed(&object));
        let status = object.status.unwrap_or_default();
        let containers = object.spec.and_then(|s| s.template.spec).map(|s| s.containers).unwrap_or_default();
        Workload {
            exists: true,
            desired: count(status.replicas),
            ready: count(status.ready_replicas),
            images: containers.into_iter().map(|c| (c.name, c.image.unwrap_or_default())).collect(),
            content,
            failed,
        }
    }

    pub(super) fn routes(&self) -> Routes {
        Routes { writer: self.writer.clone(), ..Routes::split(self.weights) }
    }

    /// The finalizer is taken off: an experiment that is being deleted is gone.
    pub(super) fn forget(&mut self) {
        if self.experiment.as_ref().is_some_and(|e| e.metadata.deletion_timestamp.is_some()) {
            self.experiment = None;
            // The next sync prunes the candidate.
            self.synced = None;
        }
    }
}
