//! Progress in the status of its resource, fenced by the resourceVersion that was read.
//!
//! A second replica, or this one after a pause, gets a conflict and performs nothing. Holds the newest object, so that
//! several turns in a row need no further read.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use kube_runtime::events::{Event, EventType};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::events::{self, Told};
use super::{Context, status};
use crate::api::Experiment;
use crate::engine::{Cause, Notice, Phase, Plan, Progress, Unavailable};
use crate::turn::Ledger;

/// The most bytes of an Event's note that the API takes.
const LONGEST_NOTE: usize = 1000;

/// The status of one experiment.
pub(super) struct StatusLedger<'a> {
    api: Api<Experiment>,
    context: &'a Context,
    plan: &'a Plan,
    /// What the status is to remember of the spec; none while it is refused.
    accepted: Option<Value>,
    newest: Mutex<Newest>,
}

/// What was committed last, and what people know of it.
#[derive(Clone)]
struct Newest {
    experiment: Experiment,
    progress: Progress,
    told: Progress,
}

impl<'a> StatusLedger<'a> {
    /// The ledger of an experiment as it was read; `progress` is what its status remembers.
    pub(super) fn new(
        api: Api<Experiment>,
        context: &'a Context,
        plan: &'a Plan,
        accepted: Option<Value>,
        experiment: Experiment,
        progress: Progress,
    ) -> Self {
        let newest = Newest { experiment, told: progress.clone(), progress };
        Self { api, context, plan, accepted, newest: Mutex::new(newest) }
    }

    /// The version of the object that was read or written last.
    pub(super) fn version(&self) -> Option<String> {
        self.newest().experiment.resource_version()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock()
    }

    /// Counts what a committed change says.
    fn count(&self, before: &Progress, after: &Progress) {
        let metrics = &self.context.metrics;
        if let Some(decision) = events::verdict(before, after) {
            metrics.outcome(decision.outcome, decision.reason);
        }
        metrics.repaired(after.repairs.count.saturating_sub(before.repairs.count));
    }
}

impl Ledger for StatusLedger<'_> {
    async fn commit(&self, progress: &Progress) -> Result<(), Unavailable> {
        let mut experiment = self.newest().experiment.clone();
        let mut status = status::of(&experiment, self.plan, progress, Timestamp::now());
        if let Some(accepted) = &self.accepted {
            status.accepted = Some(accepted.clone());
        }
        // After its end it has no traffic that could be left somewhere.
        status.accepted.take_if(|_| progress.phase == Phase::Completed);
        experiment.status = Some(status);
        let written = write(&self.api, &experiment).await?;
        let mut newest = self.newest();
        self.count(&newest.progress, progress);
        newest.experiment = written;
        newest.progress = progress.clone();
        Ok(())
    }

    async fn tell(&self, notices: &[Notice]) {
        let (reference, told) = {
            let mut newest = self.newest();
            let told = events::told(&newest.told, &newest.progress, notices);
            newest.told = newest.progress.clone();
            (newest.experiment.object_ref(&()), told)
        };
        for one in &told {
            publish(self.context, &reference, one).await;
        }
    }
}

/// Replaces the status if the object still is the one that was read.
async fn write(api: &Api<Experiment>, experiment: &Experiment) -> Result<Experiment, Unavailable> {
    api.replace_status(&experiment.name_any(), &PostParams::default(), experiment).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.is_conflict() => {
            Unavailable::new(Cause::Conflict, "the experiment was changed meanwhile; the next turn reads it again")
        }
        other => Unavailable::new(Cause::ApiUnavailable, format!("failed to write the status: {other}")),
    })
}

/// Logs, counts and publishes one Event; a cluster that refuses it loses a remark, nothing else.
async fn publish(context: &Context, reference: &ObjectReference, told: &Told) {
    let (reason, message) = (told.reason.as_ref(), &told.message);
    let (namespace, name) = (reference.namespace.as_deref(), reference.name.as_deref());
    if told.warning {
        tracing::warn!(namespace, name, reason, "{message}");
    } else {
        tracing::info!(namespace, name, reason, "{message}");
    }
    context.metrics.event(reason);
    let mut note = message.clone();
    while note.len() > LONGEST_NOTE {
        note.pop();
    }
    let event = Event {
        type_: if told.warning { EventType::Warning } else { EventType::Normal },
        reason: reason.into(),
        note: Some(note),
        action: told.action(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, reference).await {
        tracing::warn!(error = &error as &dyn std::error::Error, reason, "failed to publish an Event");
    }
}
