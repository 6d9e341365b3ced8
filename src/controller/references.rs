//! The objects that an experiment refers to: reading them, and knowing which experiments a change concerns.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt};

use super::objectives;
use super::resolve::Referred;
use crate::api::{Experiment, Metric, Repository};
use crate::engine::{Cause, Unavailable};
use crate::gitops::Credential;
use crate::gitops::forge::App;
use crate::gitops::transport::Token;

/// Reads what an experiment refers to; what does not exist is absent from the answer.
pub(crate) async fn fetch(client: &Client, experiment: &Experiment) -> Result<Referred, Unavailable> {
    let namespace = experiment.namespace().unwrap_or_default();
    let mut metrics = BTreeMap::new();
    let api: Api<Metric> = Api::namespaced(client.clone(), &namespace);
    for (query, written) in metrics_of(experiment) {
        // `name` or `namespace/name`; another namespace than the experiment's is not looked into.
        let name = match written.split_once('/') {
            None => written,
            Some((own, name)) if own == namespace => name,
            Some(_) => continue,
        };
        let failed = |e: kube::Error| {
            let field = objectives::field(&experiment.spec.criteria, query);
            unreadable(&format!("{field}: "), &format!("Metric `{namespace}/{name}`"), &e)
        };
        if let Some(metric) = api.get_opt(name).await.map_err(failed)? {
            metrics.insert(written.to_owned(), metric);
        }
    }
    Ok(Referred { metrics, repository: repository(client, experiment).await? })
}

/// The repository that an experiment writes to, if it writes to one that exists.
pub(super) async fn repository(client: &Client, experiment: &Experiment) -> Result<Option<Repository>, Unavailable> {
    let Some((namespace, name)) = repository_name(experiment) else { return Ok(None) };
    named(client, &namespace, &name).await
}

/// A repository, if it exists.
pub(super) async fn named(client: &Client, namespace: &str, name: &str) -> Result<Option<Repository>, Unavailable> {
    let api: Api<Repository> = Api::namespaced(client.clone(), namespace);
    let named = format!("Repository `{namespace}/{name}`");
    api.get_opt(name).await.map_err(|e| unreadable("spec.gitops.repository: ", &named, &e))
}

/// The metrics that an experiment names, as it writes them, each with the index of its query.
fn metrics_of(experiment: &Experiment) -> impl Iterator<Item = (usize, &str)> {
    let criteria = &experiment.spec.criteria;
    let objectives = criteria.objectives.iter().map(|o| o.metric.as_str());
    let all = objectives.chain(criteria.rewards.iter().map(|r| r.metric.as_str()));
    all.enumerate().filter(|(_, metric)| !metric.starts_with("istio/"))
}

/// The credential of a repository, read for every turn, so that a rotation needs no restart.
pub(super) async fn credential(client: &Client, repository: &Repository) -> Result<Credential, Unavailable> {
    let (namespace, (_, name, key)) = (repository.namespace().unwrap_or_default(), repository.spec.secret());
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let named = format!("{namespace}/{name}");
    let secret = api.get_opt(name).await.map_err(|e| unreadable("", &format!("Secret `{named}`"), &e))?;
    let data = secret.and_then(|s| s.data).unwrap_or_default();
    let bytes = data.get(key).map(|b| b.0.as_slice()).unwrap_or_default();
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    let missing = |what: &str| {
        let message = format!("Secret {named} has no {what} under the key `{key}`; put it there");
        Unavailable::new(Cause::CredentialsMissing, message)
    };
    let Some(auth) = &repository.spec.auth else {
        return if text.is_empty() { Err(missing("token")) } else { Ok(Credential::Token(Token::new(text))) };
    };
    let app = &auth.github_app;
    // The schema sees to it that both are positive.
    let (id, installation) = (app.app_id.unsigned_abs(), app.installation_id.map(i64::unsigned_abs));
    App::new(id, installation, text).map(Credential::App).map_err(|_| missing("RSA private key in PEM"))
}

/// Why an object could not be read: the field that names it, if one does, what the server said, and what helps.
fn unreadable(field: &str, object: &str, error: &kube::Error) -> Unavailable {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            let message = format!(
                "{field}the controller may not read {object}: {}; give its service account the right, as `charts/reiter8` does",
                status.message
            );
            Unavailable::new(Cause::Forbidden, message)
        }
        kube::Error::SerdeError(what) => {
            let message =
                format!("{field}{object} cannot be read: {what}; correct it, or apply the definitions of this release");
            Unavailable::new(Cause::ObjectUnreadable, message)
        }
        other => Unavailable::new(Cause::ApiUnavailable, format!("{field}failed to read {object}: {other}")),
    }
}

/// Namespace and name of the repository that an experiment writes to.
fn repository_name(experiment: &Experiment) -> Option<(String, String)> {
    let written = &experiment.spec.gitops.as_ref()?.repository;
    Some(match written.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (experiment.namespace().unwrap_or_default(), written.clone()),
    })
}

/// Whether an experiment shifts weights in this VirtualService.
pub(super) fn uses_virtual_service(experiment: &Experiment, object: &impl ResourceExt) -> bool {
    let spec = &experiment.spec;
    let written = spec.traffic.as_ref().map(|t| t.virtual_service.as_str());
    // `name` or `namespace/name`; another namespace than the experiment's is refused.
    let named = written.map(|w| w.rsplit('/').next().unwrap_or(w));
    // A reference of any other kind is not watched: the engine looks again in time.
    let referred = spec
        .version_info
        .versions()
        .filter_map(|v| v.weight_obj_ref.as_ref())
        .filter(|r| r.kind.as_deref() == Some("VirtualService"))
        .filter_map(|r| r.name.as_deref());
    experiment.namespace() == object.namespace()
        && named.into_iter().chain(referred).any(|name| Some(name) == object.meta().name.as_deref())
}

/// Whether an experiment compares this workload.
pub(super) fn uses_workload(experiment: &Experiment, object: &impl Resource) -> bool {
    let versions = experiment.spec.version_info.versions();
    experiment.namespace() == object.meta().namespace
        && versions.filter_map(|v| v.workload.as_ref()).any(|w| Some(&w.name) == object.meta().name.as_ref())
}

/// Whether an experiment writes to this repository.
pub(super) fn uses_repository(experiment: &Experiment, object: &impl ResourceExt) -> bool {
    repository_name(experiment) == object.namespace().zip(object.meta().name.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use kube::api::DynamicObject;
    use serde_json::{Value, json};

    #[test]
    fn what_cannot_be_read_names_the_field_the_object_and_the_remedy() {
        let told = |error: &kube::Error| unreadable("spec.criteria.objectives[1].metric: ", "Metric `shop/age`", error);
        let status = |code: u16, reason: &str| {
            kube::Error::Api(Box::new(kube::core::Status::failure("no", reason).with_code(code)))
        };
        let malformed = serde_json::from_str::<Metric>("{}").unwrap_err();
        let table = [
            (kube::Error::SerdeError(malformed), Cause::ObjectUnreadable, "correct it"),
            (status(403, "Forbidden"), Cause::Forbidden, "give its service account the right"),
        ];
        for (error, cause, remedy) in table {
            let u = told(&error);
            assert_eq!((u.cause, u.cause.is_lasting()), (cause, true));
            assert!(u.message.starts_with("spec.criteria.objectives[1].metric: "), "{u}");
            assert!(u.message.contains("Metric `shop/age`") && u.message.contains(remedy), "{u}");
        }
        assert!(!told(&status(500, "InternalError")).cause.is_lasting(), "it may answer the next time");
    }

    #[test]
    fn a_virtual_service_concerns_who_names_it_in_either_way() {
        let experiment = |traffic: Value, reference: Value| -> Experiment {
            let version = |name: &str| json!({"name": name, "weightObjRef": reference.clone()});
            serde_json::from_value(json!({
                "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment", "metadata": {"name": "x", "namespace": "ns"},
                "spec": {"target": "ns/app", "strategy": {"testingPattern": "Canary"}, "traffic": traffic,
                    "versionInfo": {"baseline": version("a"), "candidates": [version("b")]},
                    "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}},
            }))
            .unwrap()
        };
        let object =
            |namespace: &str, name: &str| DynamicObject::new(name, &crate::live::virtual_service()).within(namespace);
        let named = experiment(json!({"virtualService": "ns/web"}), Value::Null);
        let referred = experiment(Value::Null, json!({"kind": "VirtualService", "name": "web"}));
        let other = experiment(Value::Null, json!({"kind": "Split", "name": "web"}));
        for (experiment, concerned) in [(named, true), (referred, true), (other, false)] {
            assert_eq!(uses_virtual_service(&experiment, &object("ns", "web")), concerned);
            assert!(!uses_virtual_service(&experiment, &object("bank", "web")));
            assert!(!uses_virtual_service(&experiment, &object("ns", "other")));
        }
    }
}
