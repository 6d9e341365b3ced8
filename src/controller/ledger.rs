//! Progress in the status of its resource, fenced by the resourceVersion that was read.
//!
//! A second replica, or this one after a pause, gets a conflict and performs nothing. Holds the newest object, so that
//! several turns in a row need no further read.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt};
use kube_runtime::events::{Event, EventType, Recorder};

use super::status;
use crate::api::{Experiment, ExperimentStatus};
use crate::engine::{Notice, Plan, Progress, Unavailable};
use crate::turn::Ledger;

/// The most bytes of an Event's note that the API takes.
const LONGEST_NOTE: usize = 1000;

/// The status of one experiment.
pub(super) struct StatusLedger<'a> {
    api: Api<Experiment>,
    recorder: &'a Recorder,
    plan: &'a Plan,
    newest: Mutex<Experiment>,
}

impl<'a> StatusLedger<'a> {
    pub(super) fn new(api: Api<Experiment>, recorder: &'a Recorder, plan: &'a Plan, experiment: Experiment) -> Self {
        Self { api, recorder, plan, newest: Mutex::new(experiment) }
    }

    fn newest(&self) -> Experiment {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Ledger for StatusLedger<'_> {
    async fn commit(&self, progress: &Progress) -> Result<(), Unavailable> {
        let mut experiment = self.newest();
        experiment.status = Some(status::of(&experiment, self.plan, progress, Timestamp::now()));
        let written = write(&self.api, &experiment).await?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = written;
        Ok(())
    }

    async fn tell(&self, notices: &[Notice]) {
        let reference = self.newest().object_ref(&());
        for notice in notices {
            tracing::info!(experiment = %self.newest().name_any(), reason = notice.reason, "{}", notice.message);
            publish(self.recorder, &reference, notice).await;
        }
    }
}

/// Replaces the status if the object still is the one that was read.
async fn write(api: &Api<Experiment>, experiment: &Experiment) -> Result<Experiment, Unavailable> {
    api.replace_status(&experiment.name_any(), &PostParams::default(), experiment).await.map_err(|error| match &error {
        kube::Error::Api(status) if status.is_conflict() => {
            Unavailable::new("Conflict", "the experiment was changed meanwhile; the next turn reads it again")
        }
        other => Unavailable::new("ApiUnavailable", format!("failed to write the status: {other}")),
    })
}

/// Writes the status of an experiment that cannot be carried out, if it says something new.
pub(super) async fn refuse(
    api: &Api<Experiment>,
    recorder: &Recorder,
    experiment: &Experiment,
    reason: &'static str,
    message: &str,
) -> Result<(), Unavailable> {
    let status: ExperimentStatus = status::refused(experiment, reason, message, Timestamp::now());
    if experiment.status.as_ref() == Some(&status) {
        return Ok(());
    }
    write(api, &Experiment { status: Some(status), ..experiment.clone() }).await?;
    let notice = Notice { reason, message: message.to_owned(), warning: true };
    publish(recorder, &experiment.object_ref(&()), &notice).await;
    Ok(())
}

/// Publishes an Event; a cluster that refuses it loses a remark, nothing else.
pub(super) async fn publish(
    recorder: &Recorder,
    reference: &k8s_openapi::api::core::v1::ObjectReference,
    notice: &Notice,
) {
    let mut note = notice.message.clone();
    while note.len() > LONGEST_NOTE {
        note.pop();
    }
    let event = Event {
        type_: if notice.warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason.into(),
        note: Some(note),
        action: "Turn".into(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, reference).await {
        tracing::warn!(error = &error as &dyn std::error::Error, reason = notice.reason, "failed to publish an Event");
    }
}
