//! The target's Lease: at most one experiment at a time touches a target.
//!
//! The Lease is named after the target's hash and lives in the controller's namespace. It has no expiry: its holder is
//! an experiment, not a process, and it is free when that experiment is gone or completed. Whoever waits longest is
//! next: by creation time, then uid.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use super::binding::Binding;
use crate::engine::{Lock, Seen, Unavailable};

/// Annotations that tell people what a Lease is for.
const TARGET: &str = "iter8.tools/target";
const EXPERIMENT: &str = "iter8.tools/experiment";

/// An experiment that wants, has or had a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Namespace of the experiment.
    pub namespace: String,
    /// Name of the experiment.
    pub name: String,
    /// UID of the experiment.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is completed.
    pub completed: bool,
    /// What it is about.
    pub target: String,
}

/// The Lease of one experiment's target.
pub(super) struct TargetLock {
    api: Api<Lease>,
    name: String,
}

impl TargetLock {
    pub(super) fn new(client: Client, namespace: &str, target: &str) -> Self {
        let hash = Sha256::digest(target);
        let digits: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self { api: Api::namespaced(client, namespace), name: format!("reiter8-target-{digits}") }
    }

    /// Who holds the target.
    pub(super) async fn read(&self, me: &Binding, contenders: &[Contender]) -> Seen<Lock> {
        let lease = self.api.get_opt(&self.name).await.map_err(|e| self.unavailable("read", &e))?;
        Ok(judge(lease.as_ref().and_then(holder), me, contenders))
    }

    /// Takes the target; a Lease whose holder is gone or done is taken over.
    pub(super) async fn claim(&self, me: &Binding, contenders: &[Contender]) -> Result<(), Unavailable> {
        let found = self.api.get_opt(&self.name).await.map_err(|e| self.unavailable("read", &e))?;
        let mut lease = found.clone().unwrap_or_default();
        match judge(found.as_ref().and_then(holder), me, contenders) {
            Lock::Mine => return Ok(()),
            Lock::Free => {}
            Lock::Taken(by) => {
                return Err(Unavailable::new("Conflict", format!("experiment {by} took the target first")));
            }
        }
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.annotations = Some(BTreeMap::from([
            (TARGET.to_owned(), me.target.clone()),
            (EXPERIMENT.to_owned(), format!("{}/{}", me.namespace, me.name)),
        ]));
        lease.spec = Some(LeaseSpec { holder_identity: Some(me.uid.clone()), ..LeaseSpec::default() });
        let params = PostParams::default();
        // Both are fenced: a create meets an existing name, a replace another resourceVersion.
        let written = match found {
            None => self.api.create(&params, &lease).await,
            Some(_) => self.api.replace(&self.name, &params, &lease).await,
        };
        written.map(|_| ()).map_err(|e| self.unavailable("claim", &e))
    }

    /// Gives the target back, if this experiment holds it.
    pub(super) async fn release(&self, me: &Binding) -> Result<(), Unavailable> {
        let Some(lease) = self.api.get_opt(&self.name).await.map_err(|e| self.unavailable("read", &e))? else {
            return Ok(());
        };
        if holder(&lease) != Some(me.uid.as_str()) {
            return Ok(());
        }
        let preconditions = Preconditions { resource_version: lease.resource_version(), uid: lease.uid() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api.delete(&self.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(self.unavailable("release", &error)),
        }
    }

    fn unavailable(&self, verb: &str, error: &kube::Error) -> Unavailable {
        let reason = match error {
            kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => "Conflict",
            _ => "ApiUnavailable",
        };
        Unavailable::new(reason, format!("failed to {verb} Lease {}: {error}", self.name))
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|h| !h.is_empty())
}

/// Whose the target is, from the Lease's holder and everybody who wants it.
fn judge(holder: Option<&str>, me: &Binding, contenders: &[Contender]) -> Lock {
    if holder == Some(me.uid.as_str()) {
        return Lock::Mine;
    }
    let waiting = |c: &&Contender| !c.completed && c.target == me.target && c.uid != me.uid;
    let full = |c: &Contender| format!("{}/{}", c.namespace, c.name);
    let others = contenders.iter().filter(waiting);
    if let Some(active) = holder.and_then(|h| others.clone().find(|c| c.uid == h)) {
        return Lock::Taken(full(active));
    }
    let mine = (me.created, me.uid.as_str());
    let older = others.filter(|c| (c.created, c.uid.as_str()) < mine);
    older.min_by_key(|c| (c.created, c.uid.clone())).map_or(Lock::Free, |c| Lock::Taken(full(c)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::binding::{Destination, RouteBinding, VersionBinding};
    use super::*;

    fn me() -> Binding {
        let nowhere = Destination { host: None, subset: None };
        Binding {
            namespace: "ns".into(),
            name: "me".into(),
            uid: "u5".into(),
            created: Timestamp::from_second(50).unwrap(),
            target: "ns/app".into(),
            routes: RouteBinding {
                virtual_service: "web".into(),
                routes: vec![],
                baseline: nowhere.clone(),
                candidate: nowhere,
            },
            baseline: VersionBinding::default(),
            candidate: VersionBinding::default(),
            metrics: vec![],
        }
    }

    fn contender(uid: &str, created: i64, completed: bool, target: &str) -> Contender {
        let created = Timestamp::from_second(created).unwrap();
        Contender {
            namespace: "ns".into(),
            name: format!("n-{uid}"),
            uid: uid.into(),
            created,
            completed,
            target: target.into(),
        }
    }

    #[test]
    fn the_queue_is_by_age_then_uid() {
        let table = [
            (Some("u5"), vec![], Lock::Mine),
            (None, vec![], Lock::Free),
            (None, vec![contender("u1", 40, false, "ns/app")], Lock::Taken("ns/n-u1".into())),
            (None, vec![contender("u9", 60, false, "ns/app")], Lock::Free),
            (None, vec![contender("u4", 50, false, "ns/app")], Lock::Taken("ns/n-u4".into())),
            (None, vec![contender("u6", 50, false, "ns/app")], Lock::Free),
            (None, vec![contender("u1", 40, true, "ns/app"), contender("u2", 40, false, "ns/other")], Lock::Free),
            // A younger one that holds it is not pushed aside.
            (Some("u9"), vec![contender("u9", 60, false, "ns/app")], Lock::Taken("ns/n-u9".into())),
            // A holder that completed, or is gone.
            (Some("u9"), vec![contender("u9", 60, true, "ns/app")], Lock::Free),
            (Some("gone"), vec![], Lock::Free),
        ];
        for (i, (holder, contenders, lock)) in table.into_iter().enumerate() {
            assert_eq!(judge(holder, &me(), &contenders), lock, "row {i}");
        }
    }
}
