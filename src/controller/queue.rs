//! The queue for a target: who stands in it, and who looks again when somebody has left it.
//!
//! Reads the cache of experiments alone. It makes no choice: who holds a target is in its Lease, and whose turn it is
//! is said by [`crate::live`]. Called by [`super::experiments`] and [`super::rest`].

use futures::channel::mpsc::UnboundedSender;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube_runtime::reflector::ObjectRef;
use kube_runtime::watcher;

use super::experiments::{Experiments, phase_of};
use crate::api::Experiment;
use crate::api::conditions::{self, Truth};
use crate::engine::Phase;
use crate::live::{Claimant, Contender, Standing};

/// Everybody who wants a target.
pub(super) fn contenders(experiments: &Experiments) -> Vec<Contender> {
    let known = experiments.state();
    let known = known.iter().filter_map(|guard| guard.0.as_ref().ok());
    known.map(|e| Contender { claimant: claimant(e), standing: standing(e) }).collect()
}

pub(super) fn claimant(experiment: &Experiment) -> Claimant {
    Claimant {
        namespace: experiment.namespace().unwrap_or_default(),
        name: experiment.name_any(),
        uid: experiment.uid().unwrap_or_default(),
        created: experiment.creation_timestamp().map(|t| t.0).unwrap_or_default(),
        target: experiment.spec.target.clone(),
    }
}

/// How an experiment stands to its target, as its status has it.
pub(super) fn standing(experiment: &Experiment) -> Standing {
    let conditions = experiment.status.as_ref().map_or(&[][..], |s| s.conditions.as_slice());
    let failed = conditions.iter().any(|c| c.type_ == conditions::FAILED && c.status == Truth::True.as_str());
    match phase_of(experiment) {
        Some(phase) if phase == Phase::Completed.as_str() => Standing::Done,
        Some(phase) if phase != Phase::Queued.as_str() => Standing::InLine,
        _ if failed => Standing::Aside,
        _ => Standing::InLine,
    }
}

/// Lets the one look again whose turn it is when an experiment has ended, stands aside or is gone: the oldest that waits for
/// the same target, and those that may just be finding it taken. The store has the event already, so that they see the same.
pub(super) fn call(
    experiments: &Experiments,
    event: &watcher::Event<DeserializeGuard<Experiment>>,
    calls: &UnboundedSender<ObjectRef<DeserializeGuard<Experiment>>>,
) {
    let ended = match event {
        watcher::Event::Delete(guard) => guard.0.as_ref().ok(),
        watcher::Event::Apply(guard) => guard.0.as_ref().ok().filter(|e| standing(e) != Standing::InLine),
        watcher::Event::Init | watcher::Event::InitApply(_) | watcher::Event::InitDone => None,
    };
    let Some(ended) = ended else { return };
    let rivals = experiments.state();
    let rivals = rivals.iter().filter(|g| g.0.as_ref().is_ok_and(|e| e.spec.target == ended.spec.target));
    let rivals = rivals.filter(|g| g.0.as_ref().is_ok_and(|e| standing(e) == Standing::InLine));
    let (queued, others): (Vec<_>, Vec<_>) = rivals.partition(|g| phase(g) == Some(Phase::Queued.as_str()));
    let next = queued.into_iter().min_by_key(|g| (g.creation_timestamp().map(|t| t.0), g.uid()));
    for guard in next.into_iter().chain(others.into_iter().filter(|g| phase(g).is_none())) {
        // A controller that has stopped listens to nobody.
        let _ = calls.unbounded_send(ObjectRef::from_obj(&**guard));
    }
}

fn phase(guard: &DeserializeGuard<Experiment>) -> Option<&str> {
    guard.0.as_ref().ok().and_then(phase_of)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use jiff::Timestamp;
    use kube_runtime::controller::Action;
    use serde_json::{Value, json};

    use super::super::tests::{Controller, changed, experiment};
    use super::*;
    use crate::engine::Progress;

    const EXPERIMENTS: &str = "/apis/iter8.tools/v2alpha2/namespaces/shop/experiments";

    /// A controller that knows an older experiment without its Metric, and a younger one for the same target.
    fn scene() -> Controller {
        let metric = json!([{"op": "replace", "path": "/spec/criteria/objectives/0/metric", "value": "absent"}]);
        let unmarked = json!([{"op": "remove", "path": "/metadata/finalizers"}, {"op": "remove", "path": "/status"}]);
        let new = |name, second| changed(&experiment(name, second, &Progress::default()), &unmarked);
        let known = [changed(&new("broken", 10), &metric), new("next", 20)];
        let controller = Controller::knowing(&known);
        for experiment in known {
            let path = format!("{EXPERIMENTS}/{}", experiment.name_any());
            controller.objects.lock().unwrap().insert(path, serde_json::to_value(experiment).unwrap());
        }
        controller
    }

    fn stored(controller: &Controller, name: &str) -> Value {
        controller.objects.lock().unwrap()[&format!("{EXPERIMENTS}/{name}")].clone()
    }

    /// A turn, of which the watch then tells.
    async fn turn(controller: &mut Controller, name: &str) -> Action {
        let stored_one = |c: &Controller| serde_json::from_value::<Experiment>(stored(c, name)).unwrap();
        let (answer, _) = controller.reconcile(&stored_one(controller), Timestamp::now()).await;
        let seen = stored_one(controller);
        controller.hear(&seen);
        answer.unwrap()
    }

    fn condition(experiment: &Value, kind: &str) -> (String, String) {
        let conditions = experiment["status"]["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
        let text = |key: &str| found[key].as_str().unwrap().to_owned();
        (text("status"), text("reason"))
    }

    #[tokio::test]
    async fn one_that_cannot_be_carried_out_holds_up_nobody() {
        let mut controller = scene();
        assert_eq!(turn(&mut controller, "broken").await, Action::requeue(std::time::Duration::from_secs(5)));
        let broken = stored(&controller, "broken");
        assert_eq!(condition(&broken, "Failed"), ("True".into(), "MetricNotFound".into()));
        assert_eq!(condition(&broken, "Stalled"), ("True".into(), "MetricNotFound".into()));
        assert!(broken["status"]["message"].as_str().unwrap().contains("Metric absent was not found"), "{broken}");
        assert!(broken["metadata"]["finalizers"].is_null(), "nothing has to be brought home");
        let _ = turn(&mut controller, "next").await;
        assert_ne!(stored(&controller, "next")["status"]["phase"], "Queued");
    }

    #[tokio::test]
    async fn one_that_cannot_be_carried_out_is_ended_by_a_person() {
        let mut controller = scene();
        let _ = turn(&mut controller, "broken").await;
        let asked = json!({"iter8.tools/abort": "2026-01-31T09:00:00Z never mind"});
        let path = format!("{EXPERIMENTS}/broken");
        controller.objects.lock().unwrap().get_mut(&path).unwrap()["metadata"]["annotations"] = asked;
        assert_eq!(turn(&mut controller, "broken").await, Action::await_change());
        let ended = &stored(&controller, "broken")["status"];
        assert_eq!(
            (&ended["phase"], &ended["outcome"], &ended["reason"]),
            (&json!("Completed"), &json!("Discard"), &json!("Aborted"))
        );
        assert_eq!(ended["handled"]["abort"], "2026-01-31T09:00:00Z");
        assert!(ended["message"].as_str().unwrap().contains("never mind"), "{ended}");
        assert_eq!(condition(&stored(&controller, "broken"), "Failed").0, "False");
        // Nothing begins it again.
        assert_eq!(turn(&mut controller, "broken").await, Action::await_change());
        assert_eq!(stored(&controller, "broken")["status"]["phase"], "Completed");
    }

    #[tokio::test]
    async fn a_target_that_was_taken_before_the_refusal_is_given_back() {
        let mut controller = scene();
        let path = format!("{EXPERIMENTS}/next");
        let metric = |controller: &Controller, name: &str| {
            controller.objects.lock().unwrap().get_mut(&path).unwrap()["spec"]["criteria"]["objectives"][0]["metric"] =
                name.into();
        };
        let _ = turn(&mut controller, "broken").await;
        let _ = turn(&mut controller, "next").await;
        let leases = |controller: &Controller| {
            controller.objects.lock().unwrap().keys().filter(|path| path.contains("/leases/")).count()
        };
        assert_eq!(leases(&controller), 1);
        // Its process died between the claim and the note of it, and somebody edited it.
        metric(&controller, "absent");
        controller.objects.lock().unwrap().get_mut(&path).unwrap()["status"]["progress"] =
            serde_json::to_value(Progress::default()).unwrap();
        controller.objects.lock().unwrap().get_mut(&path).unwrap()["status"]["phase"] = "Queued".into();
        let _ = turn(&mut controller, "next").await;
        assert_eq!(leases(&controller), 0);
        // Mended, it takes its target again.
        metric(&controller, "istio/error-rate");
        let _ = turn(&mut controller, "next").await;
        assert_eq!(leases(&controller), 1);
    }
}
