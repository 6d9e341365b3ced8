//! Readiness and content of the versions' Deployments, read fresh.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};
use serde_json::Value;

use super::call::call;
use super::subsets::Labels;
use crate::engine::{Cause, Rollout, Seen, Synced, Unavailable, Workload, Workloads};
use crate::text::digest;

/// Set by `kubectl rollout restart`: other pods, the same content.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Most characters of a condition's text.
const MOST_TEXT: usize = 300;

/// The Deployments of one experiment.
pub(super) struct Deployments {
    api: Api<Deployment>,
    baseline: String,
    candidates: Vec<String>,
}

impl Deployments {
    pub(super) fn new(client: Client, namespace: &str, baseline: &str, candidates: Vec<String>) -> Self {
        Self { api: Api::namespaced(client, namespace), baseline: baseline.into(), candidates }
    }

    /// All workloads; one that does not exist is a fact, not an error.
    pub(super) async fn read(&self) -> Seen<Workloads> {
        let mut all = self.all().await?.into_iter().map(|live| workload(live.as_ref()));
        Ok(Workloads { baseline: all.next().unwrap_or_default(), candidates: all.collect() })
    }

    /// The baseline's name, then the candidates'.
    fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.baseline).chain(&self.candidates)
    }

    async fn all(&self) -> Seen<Vec<Option<Deployment>>> {
        futures::future::try_join_all(self.names().map(|name| self.get(name))).await
    }

    /// How far the baseline is with this pod template.
    pub(super) async fn rollout(&self, template: &Value) -> Seen<Rollout> {
        let live = self.get(&self.baseline).await?;
        live.map(|live| super::rollout::rollout(&live, template)).ok_or_else(|| {
            Unavailable::new(Cause::WorkloadNotFound, format!("Deployment {} was not found", self.baseline))
        })
    }

    /// Whether all but the idle candidates run what these pod templates say: the baseline's, then the candidates'.
    pub(super) async fn synced(&self, templates: &[Value], idle: &[usize]) -> Seen<Synced> {
        let live = self.all().await?;
        let sides = self.names().zip(&live).zip(templates).enumerate();
        let sides = sides.filter(|(at, _)| !is_idle(*at, idle)).map(|(_, side)| side);
        Ok(super::rollout::synced(sides.map(|((name, live), template)| (name.as_str(), live.as_ref(), template))))
    }

    /// The labels of the pods of the baseline and then of each candidate; none of one that is idle.
    ///
    /// Errors besides those of a call: `WorkloadNotFound`.
    pub(super) async fn labels(&self, idle: &[usize]) -> Seen<Vec<Option<Labels>>> {
        let live = self.all().await?.into_iter().zip(self.names()).enumerate();
        live.map(|(at, (live, name))| if is_idle(at, idle) { Ok(None) } else { labels(live, name).map(Some) }).collect()
    }

    async fn get(&self, name: &str) -> Seen<Option<Deployment>> {
        call(&format!("read Deployment {name}"), self.api.get(name)).await
    }
}

/// Whether a version, by its position with the baseline at 0, is an idle candidate.
fn is_idle(version: usize, idle: &[usize]) -> bool {
    version.checked_sub(1).is_some_and(|candidate| idle.contains(&candidate))
}

fn labels(live: Option<Deployment>, name: &str) -> Seen<Labels> {
    let absent = || Unavailable::new(Cause::WorkloadNotFound, format!("Deployment {name} was not found"));
    let template = live.ok_or_else(absent)?.spec.map(|s| s.template);
    Ok(template.and_then(|t| t.metadata).and_then(|m| m.labels).unwrap_or_default())
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
        content: content(live),
        failed: failed(live),
    }
}

/// Digest of what a Deployment's pods run: its pod template, but for the mark of a mere restart. Hexadecimal.
pub fn content(live: &Deployment) -> String {
    let mut template = live.spec.as_ref().and_then(|s| serde_json::to_value(&s.template).ok()).unwrap_or(Value::Null);
    if let Some(Value::Object(metadata)) = template.get_mut("metadata") {
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(RESTARTED);
        }
        // A template is the same without the maps that a restart or the API server left empty.
        metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
        metadata.remove("creationTimestamp");
        if metadata.is_empty() {
            template.as_object_mut().and_then(|t| t.remove("metadata"));
        }
    }
    let mut text = String::new();
    canonical(&template, &mut text);
    digest(text, 32)
}

/// JSON of which there is one for each meaning: keys in order, without nulls and empty lists, which mean nothing. An empty
/// map may be a choice: `emptyDir: {}`.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> =
                map.iter().filter(|(_, value)| !value.is_null() && *value != &Value::Array(vec![])).collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in fields {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

/// Why the rollout of the newest template will not go on by itself, in the Deployment controller's words.
pub fn failed(live: &Deployment) -> Option<String> {
    let status = live.status.as_ref()?;
    if status.observed_generation.unwrap_or(0) < live.metadata.generation.unwrap_or(0) {
        return None;
    }
    let condition = |kind: &str, state: &str| {
        let found = status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == state)?;
        let text = [found.reason.as_deref(), found.message.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        Some(text.join(": ").chars().take(MOST_TEXT).collect())
    };
    condition("Progressing", "False").or_else(|| condition("ReplicaFailure", "True"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn deployment(template: &Value, status: &Value) -> Deployment {
        let spec = json!({"selector": {}, "template": template});
        serde_json::from_value(json!({"metadata": {"generation": 2}, "spec": spec, "status": status})).unwrap()
    }

    fn digest(template: &Value) -> String {
        content(&deployment(template, &json!({})))
    }

    #[test]
    fn content_is_what_runs_and_not_when_it_was_restarted() {
        let containers = |image: &str| json!({"containers": [{"name": "app", "image": image, "env": [{"name": "A", "value": "1"}]}]});
        let plain = digest(&json!({"spec": containers("a:1")}));
        assert_eq!(plain.len(), 64);
        let restarted = json!({"metadata": {"annotations": {RESTARTED: "2026-01-01"}}, "spec": containers("a:1")});
        let annotated = json!({"metadata": {"annotations": {"x": "y"}}, "spec": containers("a:1")});
        let both = json!({"metadata": {"annotations": {"x": "y", RESTARTED: "2026-01-01"}}, "spec": containers("a:1")});
        assert_eq!(digest(&restarted), plain);
        assert_ne!(digest(&annotated), plain);
        assert_eq!(digest(&both), digest(&annotated));
        assert_ne!(digest(&json!({"spec": containers("a:2")})), plain);
        let volume = |volume: Value| digest(&json!({"spec": {"containers": [], "volumes": [volume]}}));
        assert_ne!(volume(json!({"name": "v", "emptyDir": {}})), volume(json!({"name": "v"})));
    }

    #[test]
    fn a_rollout_that_gave_up_says_why() {
        let status = |seen: i64, kind: &str, state: &str| {
            let condition =
                json!({"type": kind, "status": state, "reason": "ProgressDeadlineExceeded", "message": "timed out"});
            deployment(&json!({}), &json!({"observedGeneration": seen, "conditions": [condition]}))
        };
        let why = Some("ProgressDeadlineExceeded: timed out".to_owned());
        assert_eq!(failed(&status(2, "Progressing", "False")), why);
        assert_eq!(failed(&status(2, "ReplicaFailure", "True")), why);
        assert_eq!(failed(&status(2, "Progressing", "True")), None);
        assert_eq!(failed(&status(2, "Available", "False")), None);
        assert_eq!(failed(&status(1, "Progressing", "False")), None, "of the template before");
    }
}
