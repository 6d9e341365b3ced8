//! The target's Lease: at most one experiment at a time touches a target.
//!
//! The Lease is named after the target's hash and lives in the controller's namespace. It has no expiry: its holder is
//! an experiment, not a process, and it is free when that experiment is gone or completed. Whoever waits longest is
//! next: by creation time, then uid.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::call::call;
use crate::api::Experiment;
use crate::engine::{Cause, Lock, Phase, Seen, Unavailable};
use crate::text::digest;

/// Annotations that tell people what a Lease is for.
const TARGET: &str = "iter8.tools/target";
const EXPERIMENT: &str = "iter8.tools/experiment";

/// An experiment as far as its target goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Namespace of the experiment.
    pub namespace: String,
    /// Name of the experiment.
    pub name: String,
    /// UID of the experiment.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// What it is about.
    pub target: String,
}

/// An experiment that wants, has or had a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Which one.
    pub claimant: Claimant,
    /// How it stands to its target.
    pub standing: Standing,
}

/// How an experiment stands to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds it, or waits for it.
    InLine,
    /// It cannot be carried out as it is written and has no traffic: nobody waits for it.
    Aside,
    /// It is completed.
    Done,
}

impl Claimant {
    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whoever was created first comes first.
    fn age(&self) -> (Timestamp, &str) {
        (self.created, &self.uid)
    }
}

/// The Lease of one experiment's target.
pub(super) struct TargetLock {
    client: Client,
    api: Api<Lease>,
    name: String,
}

impl TargetLock {
    pub(super) fn new(client: Client, namespace: &str, target: &str) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { client, api, name: format!("reiter8-target-{}", digest(target, 8)) }
    }

    /// Who holds the target.
    pub(super) async fn read(&self, me: &Claimant, contenders: &[Contender]) -> Seen<Lock> {
        let lease = self.get().await?;
        self.judge(lease.as_ref(), me, contenders).await
    }

    /// Takes the target; a Lease whose holder is gone or done is taken over.
    pub(super) async fn claim(&self, me: &Claimant, contenders: &[Contender]) -> Result<(), Unavailable> {
        let found = self.get().await?;
        match self.judge(found.as_ref(), me, contenders).await? {
            Lock::Mine => return Ok(()),
            Lock::Free => {}
            Lock::Taken(by) => {
                return Err(Unavailable::new(Cause::Conflict, format!("experiment {by} took the target first")));
            }
        }
        let mut lease = found.clone().unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.annotations =
            Some(BTreeMap::from([(TARGET.to_owned(), me.target.clone()), (EXPERIMENT.to_owned(), me.full_name())]));
        lease.spec = Some(LeaseSpec { holder_identity: Some(me.uid.clone()), ..LeaseSpec::default() });
        let params = PostParams::default();
        // Both are fenced: a create meets an existing name, a replace another resourceVersion.
        let doing = format!("claim Lease {}", self.name);
        let written = match found {
            None => call(&doing, self.api.create(&params, &lease)).await?,
            Some(_) => call(&doing, self.api.replace(&self.name, &params, &lease)).await?,
        };
        written
            .map(|_| ())
            .ok_or_else(|| Unavailable::new(Cause::Conflict, format!("Lease {} was just released", self.name)))
    }

    /// Gives the target back, if this experiment holds it.
    pub(super) async fn release(&self, me: &Claimant) -> Result<(), Unavailable> {
        let Some(lease) = self.get().await?.filter(|l| holder(l) == Some(me.uid.as_str())) else { return Ok(()) };
        let preconditions = Preconditions { resource_version: lease.resource_version(), uid: lease.uid() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        // One that is gone is released as well.
        call(&format!("release Lease {}", self.name), self.api.delete(&self.name, &params)).await.map(|_| ())
    }

    async fn get(&self) -> Seen<Option<Lease>> {
        call(&format!("read Lease {}", self.name), self.api.get(&self.name)).await
    }

    /// Whose the target is. A holder that is not among the contenders is looked up: the list may be behind, or not know
    /// it because it cannot be read.
    async fn judge(&self, lease: Option<&Lease>, me: &Claimant, contenders: &[Contender]) -> Seen<Lock> {
        let holds = match lease.and_then(|lease| Some((lease, holder(lease)?))) {
            None => None,
            Some((_, uid)) if uid == me.uid => return Ok(Lock::Mine),
            Some((lease, uid)) => match contenders.iter().find(|c| c.claimant.uid == uid) {
                Some(known) => (known.standing == Standing::InLine).then(|| known.claimant.full_name()),
                None => self.look_up(lease, uid).await?,
            },
        };
        Ok(holds.map_or_else(|| queue(me, contenders), Lock::Taken))
    }

    /// The name of a Lease's holder, unless it is gone or done.
    async fn look_up(&self, lease: &Lease, uid: &str) -> Seen<Option<String>> {
        let full = lease.annotations().get(EXPERIMENT).cloned().unwrap_or_default();
        let Some((namespace, name)) = full.split_once('/').filter(|(_, name)| !name.contains('/')) else {
            return Ok(None);
        };
        // Untyped: an experiment that this release cannot read holds its target all the same.
        let resource = ApiResource::erase::<Experiment>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let found = call(&format!("read experiment {full}"), api.get(name)).await?;
        let active = |e: &DynamicObject| {
            let phase = e.data.pointer("/status/phase").and_then(serde_json::Value::as_str);
            e.uid().as_deref() == Some(uid) && phase != Some(Phase::Completed.as_str())
        };
        Ok(found.filter(active).map(|_| full))
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|h| !h.is_empty())
}

/// Whose turn it is when nobody holds the target.
fn queue(me: &Claimant, contenders: &[Contender]) -> Lock {
    let in_line = contenders.iter().filter(|c| c.standing == Standing::InLine && c.claimant.target == me.target);
    let older = in_line.map(|c| &c.claimant).filter(|c| c.age() < me.age());
    older.min_by_key(|c| c.age()).map_or(Lock::Free, |c| Lock::Taken(c.full_name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use Standing::{Aside, Done, InLine};

    use super::*;

    fn claimant(uid: &str, created: i64, target: &str) -> Claimant {
        Claimant {
            namespace: "ns".into(),
            name: format!("n-{uid}"),
            uid: uid.into(),
            created: Timestamp::from_second(created).unwrap(),
            target: target.into(),
        }
    }

    fn contender(uid: &str, created: i64, standing: Standing, target: &str) -> Contender {
        Contender { claimant: claimant(uid, created, target), standing }
    }

    #[test]
    fn the_queue_is_by_age_then_uid() {
        let table = [
            (vec![], Lock::Free),
            (vec![contender("u1", 40, InLine, "ns/app")], Lock::Taken("ns/n-u1".into())),
            (vec![contender("u9", 60, InLine, "ns/app")], Lock::Free),
            (vec![contender("u4", 50, InLine, "ns/app")], Lock::Taken("ns/n-u4".into())),
            (vec![contender("u5", 50, InLine, "ns/app"), contender("u6", 50, InLine, "ns/app")], Lock::Free),
            (vec![contender("u1", 40, Done, "ns/app"), contender("u2", 40, InLine, "ns/other")], Lock::Free),
            (vec![contender("u1", 40, Aside, "ns/app")], Lock::Free),
        ];
        for (i, (contenders, lock)) in table.into_iter().enumerate() {
            assert_eq!(queue(&claimant("u5", 50, "ns/app"), &contenders), lock, "row {i}");
        }
    }
}
