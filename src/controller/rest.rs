//! Experiments for which nothing can be done now: their reconcile asks nobody, or the forge alone.
//!
//! Owns the memory of which experiments were looked at while they wait in the queue, and the rules by which the watched
//! objects alone say that another turn would find nothing new. Completed ones whose clean-up request is open are looked after by
//! [`super::looks`]. Called by [`super::experiments`] before it reads anything.
//! It decides nothing about an experiment: whatever it is not sure of gets a turn.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::controller::Action;
use parking_lot::Mutex;

use super::Context;
use super::experiments::Experiments;
use super::looks::Looks;
use super::queue::standing;
use super::wishes::wishes;
use crate::api::Experiment;
use crate::engine::{Phase, Stage, StageState, Wish};
use crate::live::{FINALIZER, Standing};

/// How often one that waits in the queue is thought of although nothing was heard: a message that was lost costs this
/// long.
const QUEUE: Duration = Duration::from_mins(10);

/// Those in the queue that were looked at: the version of each that was written last, by uid.
///
/// A process that just started has looked at none: one of them may hold its target without knowing it yet.
#[derive(Default)]
pub(super) struct Resting {
    queued: Mutex<HashMap<String, String>>,
    /// Those that are completed.
    pub(super) looks: Looks,
}

impl Resting {
    /// Notes that the turns of an experiment ended with it waiting for its target.
    pub(super) fn keep(&self, uid: &str, version: String) {
        self.queued.lock().insert(uid.to_owned(), version);
    }

    /// Forgets it: whatever happens next is for its turns to say.
    pub(super) fn forget(&self, uid: &str) {
        self.queued.lock().remove(uid);
        self.looks.forget(uid);
    }

    /// Forgets all but these uids: a list that begins anew tells nobody what went meanwhile.
    pub(super) fn keep_only(&self, uids: &HashSet<String>) {
        self.queued.lock().retain(|uid, _| uids.contains(uid));
        self.looks.keep_only(uids);
    }

    /// When an experiment is to be thought of again, if there is nothing to do for it now. May ask its forge.
    pub(super) async fn rest(
        &self,
        experiment: &Experiment,
        all: &Experiments,
        context: &Context,
        now: Timestamp,
    ) -> Option<Action> {
        if is_over(experiment) && is_looked_after(experiment) {
            return self.looks.look(experiment, context, now).await;
        }
        self.rests(experiment, all, now)
    }

    fn rests(&self, experiment: &Experiment, all: &Experiments, now: Timestamp) -> Option<Action> {
        if is_over(experiment) {
            // A Lease that it could not give back counts as free, and goes when the experiment goes.
            return Some(Action::await_change());
        }
        let status = experiment.status.as_ref().filter(|_| is_known(experiment) && is_in(experiment, Phase::Queued))?;
        let waiting = status.waiting_for.as_ref()?;
        let left = Duration::try_from(waiting.until.as_ref()?.0.duration_since(now)).ok().filter(|d| !d.is_zero())?;
        (self.was_looked_at(experiment) && holder_is_there(experiment, &waiting.what, all))
            .then(|| Action::requeue(left.min(QUEUE)))
    }

    fn was_looked_at(&self, experiment: &Experiment) -> bool {
        let known = self.queued.lock();
        let (uid, version) = (experiment.uid().unwrap_or_default(), experiment.resource_version());
        known.get(&uid).is_some_and(|v| Some(v) == version.as_ref())
    }
}

fn is_in(experiment: &Experiment, phase: Phase) -> bool {
    experiment.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some(phase.as_str()))
}

/// Whether it is completed, and nobody has asked anything of it since.
pub(super) fn is_over(experiment: &Experiment) -> bool {
    is_in(experiment, Phase::Completed) && is_known(experiment)
}

/// Whether the request that removes a completed experiment is still to be merged, as the status has it.
fn is_looked_after(experiment: &Experiment) -> bool {
    let stages = experiment.status.as_ref().and_then(|s| s.gitops.as_ref()).map(|g| g.stages.as_slice());
    let last = stages.and_then(<[_]>::last).filter(|_| experiment.spec.gitops.is_some());
    last.is_some_and(|s| s.stage == Stage::CleanUp.as_str() && s.state != StageState::Done.as_str())
}

/// Whether everything that was written about an experiment was taken in: its spec, and what people ask for.
fn is_known(experiment: &Experiment) -> bool {
    let (metadata, status) = (&experiment.metadata, experiment.status.as_ref());
    metadata.deletion_timestamp.is_none()
        && experiment.finalizers().iter().any(|f| f == FINALIZER)
        && metadata.generation.is_some()
        && status.and_then(|s| s.observed_generation) == metadata.generation
        && wishes(experiment).iter().all(|wish| match wish {
            Wish::Asked { verb, at, .. } => {
                status.and_then(|s| s.handled.get(verb.as_str())).is_some_and(|handled| *handled == at.to_string())
            }
            Wish::Unreadable(_) => false,
        })
}

/// Whether the experiment that is waited for, as the status names it, is still there and not at its end.
fn holder_is_there(experiment: &Experiment, what: &str, all: &Experiments) -> bool {
    let holds = |other: &Experiment| {
        let name = format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any());
        other.spec.target == experiment.spec.target
            && standing(other) == Standing::InLine
            && what.split([' ', ',']).any(|word| word == name)
    };
    all.state().iter().filter_map(|guard| guard.0.as_ref().ok()).any(holds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use jiff::SignedDuration;
    use serde_json::json;

    use super::super::resolve::{Referred, resolve};
    use super::super::tests::{Controller, changed, experiment};
    use super::*;
    use crate::engine::Progress;

    fn now() -> Timestamp {
        Timestamp::now()
    }

    fn in_phase(phase: Phase) -> Progress {
        Progress { phase, ..Progress::default() }
    }

    /// One that the engine itself has put in the queue behind `shop/holder`.
    fn queued() -> Experiment {
        use crate::engine::{Lock, Observation, step};
        let new = experiment("queued", 20, &Progress::default());
        let plan = resolve(&new, &Referred::default()).unwrap_or_else(|e| panic!("{e}")).plan;
        let seen = Observation { lock: Some(Ok(Lock::Taken("shop/holder".into()))), ..Observation::default() };
        let progress = step(&plan, &Progress::default(), &seen, now()).progress;
        experiment("queued", 20, &progress)
    }

    #[tokio::test]
    async fn a_completed_experiment_asks_nobody_until_somebody_asks_something_of_it() {
        let ended = experiment("ended", 10, &in_phase(Phase::Completed));
        let controller = Controller::knowing(std::slice::from_ref(&ended));
        for _ in 0..3 {
            let (answer, asked) = controller.reconcile(&ended, now()).await;
            assert_eq!((answer.unwrap(), asked), (Action::await_change(), 0));
        }
        let at = "2026-01-01T00:00:00Z";
        let retry = json!({"iter8.tools/retry": at});
        let news = [
            json!([{"op": "add", "path": "/metadata/annotations", "value": retry}]),
            json!([{"op": "add", "path": "/metadata/annotations", "value": {"iter8.tools/retry": "now"}}]),
            json!([{"op": "add", "path": "/metadata/deletionTimestamp", "value": at}]),
            json!([{"op": "replace", "path": "/metadata/generation", "value": 2}]),
            json!([{"op": "replace", "path": "/metadata/finalizers", "value": []}]),
        ];
        for over in news {
            let (answer, asked) = Controller::knowing(&[]).reconcile(&changed(&ended, &over), now()).await;
            assert!(answer.is_err() && asked > 0, "{over}");
        }
        let handled = json!([{"op": "add", "path": "/metadata/annotations", "value": retry},
            {"op": "add", "path": "/status/handled", "value": {"retry": at}}]);
        assert_eq!(controller.reconcile(&changed(&ended, &handled), now()).await.1, 0, "it was done");
    }

    #[tokio::test]
    async fn one_in_the_queue_asks_nobody_while_its_target_is_held() {
        let (holder, queued) = (experiment("holder", 10, &in_phase(Phase::Shifting)), queued());
        let controller = Controller::knowing(&[holder, queued.clone()]);
        let (_, asked) = controller.reconcile(&queued, now()).await;
        assert!(asked > 0, "this process has not looked at it yet");
        // As after its turns.
        let looked_at = |controller: &Controller| {
            controller.context.resting.keep("uid-queued", "7".into());
            controller.backoff.worked("shop/queued");
        };
        looked_at(&controller);
        for _ in 0..3 {
            let (answer, asked) = controller.reconcile(&queued, now()).await;
            assert_eq!((answer.unwrap(), asked), (Action::requeue(QUEUE), 0));
        }
        let newer = changed(&queued, &json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "8"}]));
        assert!(controller.reconcile(&newer, now()).await.1 > 0, "somebody wrote it");
        for rivals in [vec![], vec![experiment("holder", 10, &in_phase(Phase::Completed))]] {
            let controller = Controller::knowing(&rivals);
            looked_at(&controller);
            assert!(controller.reconcile(&queued, now()).await.1 > 0, "the target is free: {}", rivals.len());
            assert!(controller.reconcile(&queued, now()).await.1 > 0, "and the failed look is repeated");
        }
    }

    #[tokio::test]
    async fn the_end_of_patience_is_not_slept_through() {
        let (holder, queued) = (experiment("holder", 10, &in_phase(Phase::Shifting)), queued());
        let controller = Controller::knowing(&[holder]);
        let resting = &controller.context.resting;
        resting.keep("uid-queued", "7".into());
        let until = queued.status.as_ref().unwrap().waiting_for.as_ref().unwrap().until.as_ref().unwrap().0;
        let minute = SignedDuration::from_mins(1);
        let rests = |now| resting.rests(&queued, &controller.known, now);
        assert_eq!(rests(until - minute * 60), Some(Action::requeue(QUEUE)));
        assert_eq!(rests(until - minute), Some(Action::requeue(Duration::from_mins(1))));
        assert_eq!(rests(until), None);
    }
}
