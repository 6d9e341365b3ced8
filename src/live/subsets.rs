//! Whether the two destinations lead to the two workloads, each to its own and not to the other one.
//!
//! A destination leads to the pods that its Service's (or ServiceEntry's) selector and its subset's labels both select;
//! pods have their template's labels. Read fresh; compares labels and decides nothing. Called by the live world before traffic moves.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::binding::Binding;
use super::call::call;
use super::routes::full;
use crate::engine::{Cause, Seen, Unavailable};

/// Labels, or a selector of labels.
pub(super) type Labels = BTreeMap<String, String>;

/// Most characters of foreign labels in a message.
const MOST_TEXT: usize = 200;

/// Most objects of a kind that are looked through in a namespace.
const MOST_OBJECTS: u32 = 1000;

fn istio(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "networking.istio.io".into(),
        version: "v1".into(),
        api_version: "networking.istio.io/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

/// The objects of one namespace that say where a destination leads.
pub(super) struct Subsets {
    rules: Api<DynamicObject>,
    services: Api<Service>,
    entries: Api<DynamicObject>,
    namespace: String,
}

/// One version's destination and workload.
struct Side<'a> {
    /// The destination's host by its full name.
    host: String,
    subset: Option<&'a str>,
    workload: &'a str,
    /// The labels of the workload's pods.
    labels: &'a Labels,
    /// What the destination selects.
    selector: Labels,
}

impl Subsets {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            rules: Api::namespaced_with(client.clone(), namespace, &istio("DestinationRule", "destinationrules")),
            entries: Api::namespaced_with(client.clone(), namespace, &istio("ServiceEntry", "serviceentries")),
            services: Api::namespaced(client, namespace),
            namespace: namespace.into(),
        }
    }

    /// Compares all destinations with all workloads that have labels here. `hosts` and `labels`: the baseline's, then the
    /// candidates'.
    ///
    /// Errors besides those of a call: `ServiceNotFound`, `SubsetNotFound`, `SubsetMismatch`.
    pub(super) async fn check(&self, binding: &Binding, hosts: &[String], labels: &[Option<Labels>]) -> Seen<()> {
        let routes = &binding.routes;
        let destinations = || std::iter::once(&routes.baseline).chain(&routes.candidates);
        let versions = std::iter::once(&binding.baseline).chain(&binding.candidates);
        let subset = destinations().any(|d| d.subset.is_some());
        let rules = if subset { list(&self.rules, "DestinationRules").await? } else { vec![] };
        let sides = hosts.iter().zip(destinations()).zip(versions).zip(labels);
        let sides = futures::future::try_join_all(sides.filter_map(|(((host, destination), version), labels)| {
            let host = full(host, &self.namespace);
            Some(self.side(&rules, host, destination.subset.as_deref(), &version.workload, labels.as_ref()?))
        }));
        let sides = sides.await?;
        for (at, side) in sides.iter().enumerate() {
            let others = sides.iter().enumerate().filter(|(other, _)| *other != at);
            others.map(|(_, other)| other).try_for_each(|other| side.leads(other))?;
        }
        Ok(())
    }

    async fn side<'a>(
        &self,
        rules: &[DynamicObject],
        host: String,
        subset: Option<&'a str>,
        workload: &'a str,
        labels: &'a Labels,
    ) -> Seen<Side<'a>> {
        let (service, mut selector) = self.service(&host).await?;
        if let Some(subset) = subset {
            for (key, value) in subset_labels(rules, &host, subset, &self.namespace)? {
                if selector.get(&key).is_some_and(|v| *v != value) {
                    let message = format!(
                        "subset `{subset}` of `{host}` asks for {key}={value}, {service} for another value: no \
                         pod has both; correct the labels of the subset"
                    );
                    return Err(Unavailable::new(Cause::SubsetMismatch, message));
                }
                selector.insert(key, value);
            }
        }
        Ok(Side { host, subset, workload, labels, selector })
    }

    /// What a host stands for, and the pods that it selects.
    async fn service(&self, host: &str) -> Seen<(String, Labels)> {
        let parts: Vec<&str> = host.split('.').collect();
        // The text becomes a part of a path on the API server.
        let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if let [name, namespace, "svc", ..] = parts.as_slice()
            && *namespace == self.namespace
            && plain(name)
            && let Some(found) = call(&format!("read Service {name}"), self.services.get(name)).await?
        {
            return Ok((format!("Service {name}"), found.spec.and_then(|s| s.selector).unwrap_or_default()));
        }
        let names = |entry: &DynamicObject| {
            let hosts = entry.data.pointer("/spec/hosts").and_then(Value::as_array);
            hosts.into_iter().flatten().any(|h| h.as_str() == Some(host))
        };
        let entries = list(&self.entries, "ServiceEntries").await?;
        let Some(entry) = entries.iter().find(|entry| names(entry)) else {
            let message = format!(
                "destination `{host}` is neither a Service of namespace `{}`, where the workloads are, nor a host of a \
                 ServiceEntry there; create it or correct the host",
                self.namespace
            );
            return Err(Unavailable::new(Cause::ServiceNotFound, message));
        };
        let selector = entry.data.pointer("/spec/workloadSelector/labels");
        Ok((format!("ServiceEntry {}", entry.name_any()), texts(selector)))
    }
}

/// All objects of a kind in the namespace; none if the cluster does not have the kind.
async fn list(api: &Api<DynamicObject>, kinds: &str) -> Seen<Vec<DynamicObject>> {
    let params = ListParams::default().limit(MOST_OBJECTS);
    Ok(call(&format!("list {kinds}"), api.list(&params)).await?.map(|list| list.items).unwrap_or_default())
}

/// The entries of a map whose values are texts.
fn texts(map: Option<&Value>) -> Labels {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

impl Side<'_> {
    /// Whether this destination selects its own workload's pods and not those of the other one.
    fn leads(&self, other: &Self) -> Seen<()> {
        let selects = |labels: &Labels| self.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        let (what, workload) = (self.destination(), self.workload);
        let problem = if self.selector.is_empty() {
            format!("{what} has no selector, so that nothing says that it leads to Deployment {workload}; give it one")
        } else if !selects(self.labels) {
            format!(
                "{what} selects {}, but the pods of Deployment {workload} have {}; correct the labels",
                show(&self.selector),
                show(self.labels)
            )
        } else if selects(other.labels) {
            format!(
                "{what} selects {}, which the pods of Deployment {} have as well as those of {workload}; add a label \
                 that tells them apart",
                show(&self.selector),
                other.workload
            )
        } else {
            return Ok(());
        };
        Err(Unavailable::new(Cause::SubsetMismatch, problem))
    }

    fn destination(&self) -> String {
        match self.subset {
            Some(subset) => format!("subset `{subset}` of `{}`", self.host),
            None => format!("`{}`", self.host),
        }
    }
}

/// The labels of a subset, as every DestinationRule of its host gives them.
fn subset_labels(rules: &[DynamicObject], host: &str, subset: &str, namespace: &str) -> Seen<Labels> {
    // Rules for some clients only say nothing about the others.
    let general = |rule: &&DynamicObject| rule.data.pointer("/spec/workloadSelector").is_none_or(Value::is_null);
    let rule_host = |rule: &DynamicObject| {
        let written = rule.data.pointer("/spec/host").and_then(Value::as_str).unwrap_or_default();
        if written.starts_with('*') { written.to_owned() } else { full(written, namespace) }
    };
    let mut exact: Vec<&DynamicObject> = rules.iter().filter(general).filter(|r| rule_host(r) == host).collect();
    if exact.is_empty() {
        // Else the wildcard that says most.
        let covers = |r: &&DynamicObject| rule_host(r).strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix));
        exact = rules.iter().filter(general).filter(covers).max_by_key(|r| rule_host(r).len()).into_iter().collect();
    }
    // Several rules of a host are one; the oldest counts where they disagree.
    exact.sort_by_key(|rule| (rule.creation_timestamp().map(|t| t.0), rule.name_any()));
    let subsets = |rule: &DynamicObject| rule.data.pointer("/spec/subsets").and_then(Value::as_array).cloned();
    let all: Vec<Value> = exact.iter().filter_map(|rule| subsets(rule)).flatten().collect();
    let name = |s: &Value| s.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(found) = all.iter().find(|s| name(s) == subset) else {
        let problem = if exact.is_empty() {
            format!("no DestinationRule in `{namespace}` is for host `{host}`; write one with subset `{subset}`")
        } else {
            let names = excerpt(&all.iter().map(name).collect::<Vec<_>>().join(", "));
            format!("the DestinationRules of `{host}` have no subset `{subset}`; there are: {names}")
        };
        return Err(Unavailable::new(Cause::SubsetNotFound, problem));
    };
    Ok(texts(found.get("labels")))
}

fn show(labels: &Labels) -> String {
    let text: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if text.is_empty() { "no labels".into() } else { excerpt(&text.join(", ")) }
}

fn excerpt(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    const HOST: &str = "app.ns.svc.cluster.local";

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn rule(name: &str, second: u32, spec: &Value) -> DynamicObject {
        let created = format!("2026-01-01T00:00:{second:02}Z");
        let metadata = json!({"name": name, "creationTimestamp": created});
        serde_json::from_value(json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata, "spec": spec})).unwrap()
    }

    fn to(host: &str, version: &str) -> Value {
        json!({"host": host, "subsets": [{"name": "stable", "labels": {"version": version}}]})
    }

    #[test]
    fn a_subset_is_that_of_the_oldest_rule_of_its_host() {
        let found = |rules: &[DynamicObject]| {
            subset_labels(rules, HOST, "stable", "ns").map(|l| l.get("version").cloned().unwrap())
        };
        assert_eq!(found(&[rule("b", 2, &to("app", "new")), rule("c", 1, &to(HOST, "old"))]), Ok("old".into()));
        assert_eq!(
            found(&[rule("a", 1, &to("*.ns.svc.cluster.local", "wide")), rule("b", 2, &to("app", "own"))]),
            Ok("own".into())
        );
        assert_eq!(
            found(&[rule("a", 1, &to("*.local", "wide")), rule("b", 2, &to("*.ns.svc.cluster.local", "narrow"))]),
            Ok("narrow".into())
        );
        let mut some = to("app", "some");
        some["workloadSelector"] = json!({"matchLabels": {"a": "b"}});
        for rules in
            [vec![], vec![rule("a", 1, &to("other", "x"))], vec![rule("a", 1, &some)], vec![rule("a", 1, &json!(7))]]
        {
            let missing = found(&rules).unwrap_err();
            assert!(
                missing.cause == Cause::SubsetNotFound && missing.message.contains("no DestinationRule"),
                "{missing}"
            );
        }
        let other = json!({"host": "app", "subsets": [{"name": "v1"}, {"name": "v2"}, 7]});
        assert!(found(&[rule("a", 1, &other)]).unwrap_err().message.contains("there are: v1, v2"));
    }

    #[test]
    fn each_destination_leads_to_its_own_workload_only() {
        let side =
            |pods, selector| Side { host: HOST.into(), subset: Some("s"), workload: "web", labels: pods, selector };
        let (stable, next) =
            (labels(&[("app", "x"), ("version", "stable")]), labels(&[("app", "x"), ("version", "next")]));
        let check = |selector: &[(&str, &str)]| side(&stable, labels(selector)).leads(&side(&next, labels(&[])));
        assert_eq!(check(&[("app", "x"), ("version", "stable")]), Ok(()));
        let table = [
            (&[][..], "no selector"),
            (&[("version", "next")], "selects version=next, but the pods of Deployment web have app=x, version=stable"),
            (&[("app", "x")], "as well as"),
        ];
        for (selector, words) in table {
            let problem = check(selector).unwrap_err();
            assert!(problem.cause == Cause::SubsetMismatch && problem.message.contains(words), "{problem}");
        }
    }
}
