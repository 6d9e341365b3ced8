//! Experiments for which nothing can be done now: their reconcile asks nobody.
//!
//! Owns the memory of which experiments were looked at while they wait in the queue, and the rules by which the watched
//! objects alone say that another turn would find nothing new. Called by [`super::experiments`] before it reads anything.
//! It decides nothing about an experiment: whatever it is not sure of gets a turn.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::controller::Action;

use super::experiments::Experiments;
use super::wishes::wishes;
use crate::api::Experiment;
use crate::engine::{Phase, Wish};
use crate::live::FINALIZER;

/// How often one that waits in the queue is thought of although nothing was heard: a message that was lost costs this
/// long.
const QUEUE: Duration = Duration::from_mins(10);

/// Those in the queue that were looked at: the version of each that was written last, by uid.
///
/// A process that just started has looked at none: one of them may hold its target without knowing it yet.
#[derive(Default)]
pub(super) struct Resting(Mutex<HashMap<String, String>>);

impl Resting {
    /// Notes that the turns of an experiment ended with it waiting for its target.
    pub(super) fn keep(&self, uid: &str, version: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), version);
    }

    /// Forgets it: whatever happens next is for its turns to say.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// When an experiment is to be thought of again, if there is nothing to do for it now.
    pub(super) fn rests(&self, experiment: &Experiment, all: &Experiments, now: Timestamp) -> Option<Action> {
        let status = experiment.status.as_ref()?;
        if !is_known(experiment) {
            return None;
        }
        let phase = status.phase.as_deref();
        if phase == Some(Phase::Completed.as_str()) {
            // A Lease that it could not give back counts as free, and goes when the experiment goes.
            return Some(Action::await_change());
        }
        let waiting = status.waiting_for.as_ref().filter(|_| phase == Some(Phase::Queued.as_str()))?;
        let left = Duration::try_from(waiting.until.as_ref()?.0.duration_since(now)).ok().filter(|d| !d.is_zero())?;
        (self.was_looked_at(experiment) && holder_is_there(experiment, &waiting.what, all))
            .then(|| Action::requeue(left.min(QUEUE)))
    }

    fn was_looked_at(&self, experiment: &Experiment) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (uid, version) = (experiment.uid().unwrap_or_default(), experiment.resource_version());
        known.get(&uid).is_some_and(|v| Some(v) == version.as_ref())
    }
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
            && other.status.as_ref().is_none_or(|s| s.phase.as_deref() != Some(Phase::Completed.as_str()))
            && what.split([' ', ',']).any(|word| word == name)
    };
    all.state().iter().filter_map(|guard| guard.0.as_ref().ok()).any(holds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use jiff::SignedDuration;
    use kube::Client;
    use kube::client::Body;
    use kube::core::DeserializeGuard;
    use kube_runtime::{reflector, watcher};
    use serde_json::{Value, json};

    use super::super::experiments::{Backoff, Unfinished, reconcile};
    use super::super::run::RunArgs;
    use super::super::{Context, status};
    use super::*;
    use crate::controller::resolve::{Referred, resolve};
    use crate::engine::Progress;
    use crate::telemetry::{LogFormat, Metrics};

    fn now() -> Timestamp {
        Timestamp::now()
    }

    /// An experiment as the watch has it, with the status that the engine's memory gives.
    fn experiment(name: &str, second: i64, progress: &Progress) -> Experiment {
        let created = Timestamp::from_second(1_700_000_000 + second).unwrap();
        let mut experiment: Experiment = serde_json::from_value(json!({
            "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1,
                "resourceVersion": "7", "creationTimestamp": created.to_string(), "finalizers": [FINALIZER]},
            "spec": {"target": "shop/app", "strategy": {"testingPattern": "Canary"},
                "traffic": {"virtualService": "web"},
                "versionInfo": {
                    "baseline": {"name": "a", "workload": {"name": "a"}, "destination": {"subset": "a"}},
                    "candidates": [{"name": "b", "workload": {"name": "b"}, "destination": {"subset": "b"}}]},
                "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}}
        }))
        .unwrap();
        let plan = resolve(&experiment, &Referred::default()).unwrap_or_else(|e| panic!("{e}")).plan;
        experiment.status = Some(status::of(&experiment, &plan, progress, now()));
        experiment
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

    /// A controller that knows some experiments, and counts what it asks of an API server that answers nothing.
    struct Controller {
        context: Arc<Context>,
        asked: Arc<AtomicUsize>,
        known: Experiments,
        backoff: Arc<Backoff>,
    }

    impl Controller {
        fn knowing(experiments: &[Experiment]) -> Self {
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&asked);
            let silent = tower::service_fn(move |_: Request<Body>| {
                counted.fetch_add(1, Ordering::SeqCst);
                async { Err::<Response<Body>, _>(std::io::Error::other("the API server is away")) }
            });
            let args = RunArgs {
                prometheus_url: "http://127.0.0.1:9".into(),
                namespace: "reiter8-system".into(),
                watch_namespace: None,
                identity: None,
                listen: ([127, 0, 0, 1], 0).into(),
                allow_http_hosts: vec![],
                log_format: LogFormat::Json,
            };
            let client = Client::new(silent, "default");
            let context = Arc::new(Context::new(client, &args, Arc::new(Metrics::default())).unwrap());
            let (known, mut writer) = reflector::store();
            for experiment in experiments {
                writer.apply_watcher_event(&watcher::Event::Apply(cached(experiment)));
            }
            Self { context, asked, known, backoff: Arc::default() }
        }

        /// Reconciles; the answer and the requests that it took.
        async fn reconcile(&self, experiment: &Experiment) -> (Result<Action, Unfinished>, usize) {
            let before = self.asked.load(Ordering::SeqCst);
            let object = Arc::new(cached(experiment));
            let answer =
                reconcile(object, Arc::clone(&self.context), self.known.clone(), Arc::clone(&self.backoff)).await;
            (answer, self.asked.load(Ordering::SeqCst) - before)
        }
    }

    fn cached(experiment: &Experiment) -> DeserializeGuard<Experiment> {
        let mut guard = DeserializeGuard(Ok(experiment.clone()));
        super::super::slim::slim(&mut guard);
        guard
    }

    fn changed(experiment: &Experiment, over: &Value) -> Experiment {
        let mut value = serde_json::to_value(experiment).unwrap();
        let over: json_patch::Patch = serde_json::from_value(over.clone()).unwrap();
        json_patch::patch(&mut value, &over).unwrap();
        serde_json::from_value(value).unwrap()
    }

    #[tokio::test]
    async fn a_completed_experiment_asks_nobody_until_somebody_asks_something_of_it() {
        let ended = experiment("ended", 10, &in_phase(Phase::Completed));
        let controller = Controller::knowing(std::slice::from_ref(&ended));
        for _ in 0..3 {
            let (answer, asked) = controller.reconcile(&ended).await;
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
            let (answer, asked) = Controller::knowing(&[]).reconcile(&changed(&ended, &over)).await;
            assert!(answer.is_err() && asked > 0, "{over}");
        }
        let handled = json!([{"op": "add", "path": "/metadata/annotations", "value": retry},
            {"op": "add", "path": "/status/handled", "value": {"retry": at}}]);
        assert_eq!(controller.reconcile(&changed(&ended, &handled)).await.1, 0, "it was done");
    }

    #[tokio::test]
    async fn one_in_the_queue_asks_nobody_while_its_target_is_held() {
        let (holder, queued) = (experiment("holder", 10, &in_phase(Phase::Shifting)), queued());
        let controller = Controller::knowing(&[holder, queued.clone()]);
        let (_, asked) = controller.reconcile(&queued).await;
        assert!(asked > 0, "this process has not looked at it yet");
        // As after its turns.
        let looked_at = |controller: &Controller| {
            controller.context.resting.keep("uid-queued", "7".into());
            controller.backoff.worked("shop/queued");
        };
        looked_at(&controller);
        for _ in 0..3 {
            let (answer, asked) = controller.reconcile(&queued).await;
            assert_eq!((answer.unwrap(), asked), (Action::requeue(QUEUE), 0));
        }
        let newer = changed(&queued, &json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "8"}]));
        assert!(controller.reconcile(&newer).await.1 > 0, "somebody wrote it");
        for rivals in [vec![], vec![experiment("holder", 10, &in_phase(Phase::Completed))]] {
            let controller = Controller::knowing(&rivals);
            looked_at(&controller);
            assert!(controller.reconcile(&queued).await.1 > 0, "the target is free: {}", rivals.len());
            assert!(controller.reconcile(&queued).await.1 > 0, "and the failed look is repeated");
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
