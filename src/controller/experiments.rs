//! The controller's loop: which experiment needs a turn, and when.
//!
//! Owns watches, predicates, back-off and the finalizer's arrival. Every reconcile reads its experiment fresh, resolves
//! it, and takes turns until the engine wants to wait. It makes no choices about the experiment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DynamicObject, PartialObjectMeta, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::{Api, ResourceExt};
use kube_runtime::controller::{Action, Config};
use kube_runtime::reflector::{self, ObjectRef, Store};
use kube_runtime::{Controller, WatchStreamExt, predicates, watcher};
use parking_lot::Mutex;
use serde_json::json;

use super::ledger::StatusLedger;
use super::slim::slim;
use super::{Context, Refusal, accepted, queue, references, resolve, rest, watched};
use crate::api::{Experiment, Repository};
use crate::engine::{Cause, Phase, Plan, Progress, Rest, Step, Unavailable, Wake, Watch};
use crate::gitops::{Credential, WriteBack};
use crate::live::{FINALIZER, Live, Unresolved, virtual_service};
use crate::server::Readiness;
use crate::turn::{self, World};

/// Turns in one reconcile; an experiment that wants more is put at the end of the queue, so that it starves no other.
const TURNS: usize = 16;
/// Experiments that take turns at the same time. A turn waits for others most of its time.
const CONCURRENCY: u16 = 16;
/// Objects of one page of a list. A page is in memory at once, as text and whole objects, before the cache takes its part.
const PAGE: u32 = 50;
/// Bounds of the time before a failed turn is repeated.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_mins(1));
/// How often it is looked whether a missing reference is there.
const HEALING: Duration = Duration::from_secs(5);
/// A turn begins later than it was wanted by up to this part of the wait for it, and by no more than so long.
const SPREAD: (u32, Duration) = (20, Duration::from_secs(2));

/// The experiments that are known, as the watch has them.
pub(crate) type Experiments = Store<DeserializeGuard<Experiment>>;

/// Reconciles until `stop` resolves; turns that are under way are finished.
pub(super) async fn run(
    context: Arc<Context>,
    readiness: Readiness,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let client = context.client.clone();
    let namespace = context.watch_namespace.clone();
    let namespace = namespace.as_deref();
    let (experiments, writer) = reflector::store();
    let (calls, called) = futures::channel::mpsc::unbounded();
    let (waiting, known) = (experiments.clone(), experiments.clone());
    let (leaving, repositories_of) = (Arc::clone(&context), Arc::clone(&context));
    readiness.wait("experiments", "the list of experiments");
    let wanted = predicates::generation;
    let pages = watcher::Config::default().page_size(PAGE);
    let changed = watcher(watched::<DeserializeGuard<Experiment>>(&client, namespace), pages)
        .default_backoff()
        .modify(slim)
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(event) = event {
                queue::call(&waiting, event, &calls);
            }
            if let Ok(watcher::Event::Delete(gone)) = event {
                leaving.resting.forget(&gone.uid().unwrap_or_default());
            }
            // Not the store's own `wait_until_ready`: it wakes one waiter only, and that has to be the controller.
            if matches!(event, Ok(watcher::Event::InitDone)) {
                readiness.done("experiments");
                let uids = known.state().iter().filter_map(|guard| guard.uid()).collect();
                leaving.resting.keep_only(&uids);
            }
        })
        .applied_objects()
        .predicate_filter(
            kube_runtime::Predicate::combine(
                kube_runtime::Predicate::combine(wanted, predicates::finalizers),
                predicates::annotations,
            ),
            kube_runtime::PredicateConfig::default(),
        );
    let shown = experiments.clone();
    context.metrics.watch(move |show: &mut dyn FnMut(&Experiment)| {
        for experiment in shown.state().iter().filter_map(|guard| guard.0.as_ref().ok()) {
            show(experiment);
        }
    });
    let virtual_services: Api<PartialObjectMeta<DynamicObject>> = match namespace {
        None => Api::all_with(client.clone(), &virtual_service()),
        Some(name) => Api::namespaced_with(client.clone(), name, &virtual_service()),
    };
    let (by_route, by_workload, by_repository) = (experiments.clone(), experiments.clone(), experiments.clone());
    let backoff = Arc::new(Backoff::default());
    let failed = Arc::clone(&backoff);
    // Of these only names are needed, so nothing else is sent or read.
    let routes = watcher(virtual_services, watcher::Config::default());
    let workloads = watcher(watched::<PartialObjectMeta<Deployment>>(&client, namespace), watcher::Config::default());
    let repositories =
        watcher(watched::<PartialObjectMeta<Repository>>(&client, namespace), watcher::Config::default());
    Controller::for_stream(changed, experiments.clone())
        .watches_stream_with(
            routes.default_backoff().touched_objects(),
            move |object| concerned(&by_route, |e| is_active(e) && references::uses_virtual_service(e, &object)),
            virtual_service(),
        )
        .watches_stream(workloads.default_backoff().touched_objects(), move |object| {
            concerned(&by_workload, |e| is_active(e) && references::uses_workload(e, &object))
        })
        .watches_stream(repositories.default_backoff().touched_objects(), move |object| {
            repositories_of.resting.looks.changed(&object);
            concerned(&by_repository, |e| is_active(e) && references::uses_repository(e, &object))
        })
        .reconcile_on(called)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop)
        .run(
            move |object, context| {
                reconcile(object, context, experiments.clone(), Arc::clone(&backoff), Timestamp::now())
            },
            move |object, error, _| Action::requeue(failed.next(&key(&object), error.0.cause, longest(&object))),
            context,
        )
        .for_each(|_| std::future::ready(()))
        .await;
    Ok(())
}

pub(super) fn phase_of(experiment: &Experiment) -> Option<&str> {
    experiment.status.as_ref().and_then(|s| s.phase.as_deref())
}

/// Whether changes around it matter to an experiment: not while it waits in the queue, nor after its end.
fn is_active(experiment: &Experiment) -> bool {
    ![Some(Phase::Queued.as_str()), Some(Phase::Completed.as_str())].contains(&phase_of(experiment))
}

/// Namespace and name.
fn key(object: &DeserializeGuard<Experiment>) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// The longest time before a failed turn is repeated. What is left to do for one that is completed does not hurry.
fn longest(object: &DeserializeGuard<Experiment>) -> Duration {
    let over = object.0.as_ref().is_ok_and(rest::is_over);
    if over { Rest::EVERY.unsigned_abs() } else { BACKOFF.1 }
}

/// Experiments that a changed object concerns.
fn concerned(
    experiments: &Experiments,
    uses: impl Fn(&Experiment) -> bool,
) -> Vec<ObjectRef<DeserializeGuard<Experiment>>> {
    experiments
        .state()
        .iter()
        .filter(|guard| guard.0.as_ref().is_ok_and(&uses))
        .map(|guard| ObjectRef::from_obj(&**guard))
        .collect()
}

/// A turn that could not be finished.
#[derive(Debug, thiserror::Error)]
#[error("failed to finish a turn")]
pub(super) struct Unfinished(#[source] Unavailable);

/// Attempts in a row that failed, by experiment.
#[derive(Default)]
pub(super) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// The time until the next attempt; a lost race is repeated at once, since the winner already acted.
    fn next(&self, name: &str, cause: Cause, longest: Duration) -> Duration {
        let mut failures = self.0.lock();
        let failures = failures.entry(name.to_owned()).or_default();
        if cause.is_conflict() {
            return BACKOFF.0;
        }
        *failures = failures.saturating_add(1);
        let pause = (BACKOFF.0 * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(longest);
        // Those who lost a race, or a server, together do not come back together.
        pause / 2 + part(pause / 2)
    }

    fn fails(&self, name: &str) -> bool {
        self.0.lock().contains_key(name)
    }

    pub(super) fn worked(&self, name: &str) {
        self.0.lock().remove(name);
    }
}

/// A random part of a time.
pub(super) fn part(time: Duration) -> Duration {
    time.mul_f64(fastrand::f64())
}

/// A wait, a little longer for each in its own way: what began together asks Prometheus, the forge and the API server one
/// after the other. Never shorter, for before its time a turn has nothing to do.
pub(super) fn spread(wait: Duration) -> Duration {
    wait + part((wait / SPREAD.0).min(SPREAD.1))
}

/// What the engine keeps in memory alone, by the experiment's uid: between two reconciles it would be lost.
#[derive(Default)]
pub(super) struct Watches(Mutex<HashMap<String, Watch>>);

impl Watches {
    fn take(&self, uid: &str) -> Option<Watch> {
        self.0.lock().remove(uid)
    }

    fn keep(&self, uid: &str, watch: Option<Watch>) {
        if let Some(watch) = watch {
            self.0.lock().insert(uid.to_owned(), watch);
        }
    }
}

pub(super) async fn reconcile(
    object: Arc<DeserializeGuard<Experiment>>,
    context: Arc<Context>,
    experiments: Experiments,
    backoff: Arc<Backoff>,
    now: Timestamp,
) -> Result<Action, Unfinished> {
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    // What an effect left undone is tried again.
    let settled = object.0.as_ref().ok().filter(|_| !backoff.fails(&key(&object)));
    if let Some(experiment) = settled
        && let Some(action) = context.resting.rest(experiment, &experiments, &context, now).await
    {
        return Ok(action);
    }
    context.resting.forget(&object.uid().unwrap_or_default());
    let began = Instant::now();
    let result = Box::pin(one(&context, &experiments, &namespace, &name, now)).await;
    context.metrics.reconciled(began.elapsed().as_secs_f64());
    match result {
        Ok(action) => {
            backoff.worked(&key(&object));
            Ok(action)
        }
        Err(error) => {
            context.metrics.error(error.cause);
            if error.cause.is_conflict() {
                tracing::debug!(namespace, name, "{error}");
            } else {
                tracing::warn!(namespace, name, reason = error.cause.word(), "{error}");
            }
            Err(Unfinished(error))
        }
    }
}

/// All turns that one experiment wants now.
async fn one(
    context: &Arc<Context>,
    experiments: &Experiments,
    namespace: &str,
    name: &str,
    now: Timestamp,
) -> Result<Action, Unavailable> {
    let api: Api<Experiment> = Api::namespaced(context.client.clone(), namespace);
    let read =
        |error: kube::Error| Unavailable::new(Cause::ApiUnavailable, format!("failed to read the experiment: {error}"));
    let Some(experiment) = api.get_opt(name).await.map_err(read)? else { return Ok(Action::await_change()) };
    let leaving = experiment.metadata.deletion_timestamp.is_some();
    if leaving && !experiment.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(Action::await_change());
    }
    let progress = remembered(&experiment)?;
    let carried = match accepted::carried(&context.client, &experiment, &progress).await? {
        Ok(carried) => carried,
        Err(refusal) if leaving => {
            tracing::warn!(
                namespace,
                name,
                reason = refusal.cause().word(),
                "released although it cannot be resolved: {refusal}"
            );
            return release(&api, &experiment).await;
        }
        Err(refusal) if rest::is_over(&experiment) => {
            // It was carried out: what it refers to may go before its files do, and nobody waits for anything else.
            tracing::debug!(namespace, name, reason = refusal.cause().word(), "{refusal}");
            return Ok(context.resting.looks.lose(&experiment, now));
        }
        Err(refusal) => return unresolved(context, api, experiment, progress, &refusal).await,
    };
    let experiment = hold(&api, experiment, leaving).await?;
    // A remote that cannot be reached is a fact for the engine: it delays no rollback.
    let (write_back, home) = match carried.write {
        None => (None, None),
        Some(Err(u)) => (Some(Err(u)), None),
        Some(Ok((target, repository))) => {
            let credential = references::credential(&context.client, &repository).await;
            let write_back = credential
                .clone()
                .and_then(|credential| WriteBack::new(target, Some(credential), &context.http_hosts, &context.forges));
            (Some(write_back.map(|w| w.sharing(&context.clones))), Some((repository, credential.ok())))
        }
    };
    let live = Live::new(
        context.client.clone(),
        context.prometheus.clone(),
        &context.namespace,
        carried.binding,
        write_back,
        queue::contenders(experiments),
    );
    let plan = &carried.plan;
    let ledger = StatusLedger::new(api, context, plan, carried.accepted, experiment, progress.clone());
    turns(context, &live, &ledger, plan, progress, home).await
}

/// Takes the turns of an experiment that cannot be carried out and has no traffic: people are told why, and may end it.
async fn unresolved(
    context: &Context,
    api: Api<Experiment>,
    experiment: Experiment,
    mut progress: Progress,
    refusal: &Refusal,
) -> Result<Action, Unavailable> {
    let plan = resolve::unresolved(&experiment, refusal);
    // Nothing was claimed before our finalizer was there.
    let held = experiment.finalizers().iter().any(|f| f == FINALIZER);
    let world = Unresolved::new(context.client.clone(), &context.namespace, queue::claimant(&experiment), held);
    let ledger = StatusLedger::new(api, context, &plan, None, experiment, progress.clone());
    take_turns(context, &world, &ledger, &plan, &mut progress).await?;
    // A reference that is missing may appear; what is written wrong changes only with the object.
    let heals = refusal.may_heal() && progress.phase != Phase::Completed;
    Ok(if heals { Action::requeue(HEALING) } else { Action::await_change() })
}

/// A Repository as it was read, with its credential.
type Home = (Repository, Option<Credential>);

/// Takes turns until the engine wants to wait.
async fn turns(
    context: &Context,
    live: &Live,
    ledger: &StatusLedger<'_>,
    plan: &Plan,
    mut progress: Progress,
    home: Option<Home>,
) -> Result<Action, Unavailable> {
    let uid = &plan.identity.uid;
    progress.watch = context.watches.take(uid);
    let result = take_turns(context, live, ledger, plan, &mut progress).await;
    let stays = plan.deleting.is_none();
    // One that leaves is watched no more, and nobody would take its watch away.
    context.watches.keep(uid, progress.watch.take().filter(|_| stays));
    let (wake, rest) = result?;
    if progress.phase == Phase::Completed && stays {
        let rest = rest.zip(home).map(|(rest, (repository, credential))| {
            (rest, context.resting.looks.place(&repository, credential, Timestamp::now()))
        });
        context.resting.looks.keep(uid, ledger.version(), wake, rest);
    }
    let queued = progress.waiting.as_ref().is_some_and(|w| w.reason == "TargetTaken");
    if let Some(version) = ledger.version().filter(|_| queued && stays) {
        context.resting.keep(uid, version);
    }
    let Some(wake) = wake else { return Ok(Action::await_change()) };
    let wait = Duration::try_from(wake.duration_since(Timestamp::now())).unwrap_or_default();
    Ok(Action::requeue(if wait.is_zero() { BACKOFF.0 } else { spread(wait) }))
}

/// When the next turn is due, none before something changes, and what has to be looked at until then.
async fn take_turns<W: World>(
    context: &Context,
    world: &W,
    ledger: &StatusLedger<'_>,
    plan: &Plan,
    progress: &mut Progress,
) -> Result<(Option<Timestamp>, Option<Rest>), Unavailable> {
    for _ in 0..TURNS {
        let Step { progress: next, effects, wake, rest, .. } =
            turn::turn(world, ledger, plan, progress, Timestamp::now()).await?;
        for effect in &effects {
            context.metrics.effect(effect.as_str());
        }
        *progress = next;
        match wake {
            Wake::OnChange => return Ok((None, rest)),
            Wake::At(time) if time > Timestamp::now() => return Ok((Some(time), rest)),
            Wake::At(_) => {}
        }
    }
    Ok((Some(Timestamp::now()), None))
}

/// The engine's memory of an experiment; a new one remembers nothing.
fn remembered(experiment: &Experiment) -> Result<Progress, Unavailable> {
    let Some(value) = experiment.status.as_ref().and_then(|s| s.progress.clone()) else {
        return Ok(Progress::default());
    };
    serde_json::from_value(value).or_else(|error| {
        if experiment.metadata.deletion_timestamp.is_some() {
            return Ok(forgotten(experiment));
        }
        Err(Unavailable::new(
            Cause::ProgressUnreadable,
            format!("failed to read status.progress, written by another release?: {error}"),
        ))
    })
}

/// As much of an unreadable memory as a deletion needs to bring traffic home: the phase, which people read as well.
fn forgotten(experiment: &Experiment) -> Progress {
    let phase = phase_of(experiment).and_then(|phase| serde_json::from_value(phase.into()).ok()).unwrap_or_default();
    Progress { phase, held: !matches!(phase, Phase::Queued | Phase::Completed), ..Progress::default() }
}

/// Puts our finalizer on an experiment before anything of it reaches traffic.
async fn hold(api: &Api<Experiment>, experiment: Experiment, leaving: bool) -> Result<Experiment, Unavailable> {
    if leaving || experiment.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(experiment);
    }
    let mut finalizers = experiment.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    patch_finalizers(api, &experiment, &finalizers).await
}

/// Takes our finalizer off an experiment that cannot be carried out.
async fn release(api: &Api<Experiment>, experiment: &Experiment) -> Result<Action, Unavailable> {
    let finalizers: Vec<String> = experiment.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    patch_finalizers(api, experiment, &finalizers).await?;
    Ok(Action::await_change())
}

async fn patch_finalizers(
    api: &Api<Experiment>,
    experiment: &Experiment,
    finalizers: &[String],
) -> Result<Experiment, Unavailable> {
    let metadata = json!({"metadata": {"finalizers": finalizers, "resourceVersion": experiment.resource_version()}});
    api.patch(&experiment.name_any(), &PatchParams::default(), &Patch::Merge(&metadata)).await.map_err(|error| {
        match &error {
            kube::Error::Api(status) if status.is_conflict() => {
                Unavailable::new(Cause::Conflict, "the experiment was changed meanwhile; the next turn reads it again")
            }
            other => Unavailable::new(Cause::ApiUnavailable, format!("failed to write the finalizer: {other}")),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn waits_are_spread_and_never_shortened() {
        let (backoff, minute) = (Backoff::default(), Duration::from_mins(1));
        for attempt in 0..20 {
            let longest = (BACKOFF.0 * 2_u32.pow(attempt.min(8))).min(BACKOFF.1);
            let pause = backoff.next("shop/web", Cause::ProviderUnavailable, BACKOFF.1);
            assert!(longest / 2 <= pause && pause <= longest, "{attempt}: {pause:?}");
        }
        let waits: std::collections::BTreeSet<Duration> = (0..100).map(|_| spread(minute)).collect();
        assert!(waits.len() > 50, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait >= minute && *wait <= minute + SPREAD.1), "{waits:?}");
        assert!(spread(Duration::from_secs(1)) <= Duration::from_millis(1050));
    }

    #[test]
    fn a_deletion_needs_no_more_of_an_unreadable_memory_than_the_phase() {
        let experiment = |phase: &str, deleting: bool| -> Experiment {
            serde_json::from_value(json!({
                "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
                "metadata": {"name": "web-1", "deletionTimestamp": deleting.then_some("2026-01-31T09:00:00Z")},
                "spec": {"target": "shop/web", "strategy": {"testingPattern": "Canary"},
                    "versionInfo": {"baseline": {"name": "stable"}},
                    "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}},
                "status": {"phase": phase, "progress": {"phase": ["of", "another", "release"]}},
            }))
            .unwrap()
        };
        assert_eq!(remembered(&experiment("Shifting", false)).unwrap_err().cause, Cause::ProgressUnreadable);
        for (phase, held) in [("Queued", false), ("Shifting", true), ("Promoting", true), ("Completed", false)] {
            let progress = remembered(&experiment(phase, true)).unwrap();
            assert_eq!((progress.phase.as_str(), progress.held), (phase, held));
        }
    }
}
