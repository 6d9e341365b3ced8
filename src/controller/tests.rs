//! What the tests of this folder share: a controller that knows some experiments, and an API server of a few objects that
//! counts what it is asked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube_runtime::controller::Action;
use kube_runtime::reflector::store::Writer;
use kube_runtime::{reflector, watcher};
use serde_json::{Value, json};

use super::experiments::{Backoff, Experiments, Unfinished, reconcile};
use super::resolve::{Referred, resolve};
use super::run::RunArgs;
use super::slim::slim;
use super::{Context, status};
use crate::api::Experiment;
use crate::engine::Progress;
use crate::live::FINALIZER;
use crate::telemetry::{LogFormat, Metrics};

/// An experiment as it is in the cluster, with the status that the engine's memory gives.
pub(super) fn experiment(name: &str, second: i64, progress: &Progress) -> Experiment {
    changed_by(name, second, progress, &json!([]), &Referred::default())
}

/// The same, with a spec that differs.
pub(super) fn changed_by(
    name: &str,
    second: i64,
    progress: &Progress,
    over: &Value,
    referred: &Referred,
) -> Experiment {
    let created = Timestamp::from_second(1_700_000_000 + second).unwrap();
    let experiment: Experiment = serde_json::from_value(json!({
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
    let mut experiment = changed(&experiment, over);
    let plan = resolve(&experiment, referred).unwrap_or_else(|e| panic!("{e}")).plan;
    experiment.status = Some(status::of(&experiment, &plan, progress, Timestamp::now()));
    experiment
}

pub(super) fn changed(experiment: &Experiment, over: &Value) -> Experiment {
    let mut value = serde_json::to_value(experiment).unwrap();
    let over: json_patch::Patch = serde_json::from_value(over.clone()).unwrap();
    json_patch::patch(&mut value, &over).unwrap();
    serde_json::from_value(value).unwrap()
}

/// What the API server has, by path. Without any object it is away.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// A controller that knows some experiments.
pub(super) struct Controller {
    pub(super) context: Arc<Context>,
    pub(super) objects: Objects,
    asked: Arc<AtomicUsize>,
    pub(super) known: Experiments,
    writer: Writer<DeserializeGuard<Experiment>>,
    pub(super) backoff: Arc<Backoff>,
}

impl Controller {
    pub(super) fn knowing(experiments: &[Experiment]) -> Self {
        let (asked, objects) = (Arc::<AtomicUsize>::default(), Objects::default());
        let (counted, table) = (Arc::clone(&asked), Arc::clone(&objects));
        let server = tower::service_fn(move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(request, Arc::clone(&table))
        });
        let args = RunArgs {
            prometheus_url: "http://127.0.0.1:9".into(),
            namespace: "reiter8-system".into(),
            watch_namespace: None,
            identity: None,
            listen: ([127, 0, 0, 1], 0).into(),
            allow_http_hosts: vec!["127.0.0.1".into()],
            log_format: LogFormat::Json,
        };
        let client = Client::new(server, "default");
        let context = Arc::new(Context::new(client, &args, Arc::new(Metrics::default())).unwrap());
        let (known, writer) = reflector::store();
        let mut controller = Self { context, objects, asked, known, writer, backoff: Arc::default() };
        for experiment in experiments {
            controller.hear(experiment);
        }
        controller
    }

    /// The watch tells of an experiment.
    pub(super) fn hear(&mut self, experiment: &Experiment) {
        self.writer.apply_watcher_event(&watcher::Event::Apply(cached(experiment)));
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Reconciles; the answer and the requests that it took.
    pub(super) async fn reconcile(
        &self,
        experiment: &Experiment,
        now: Timestamp,
    ) -> (Result<Action, Unfinished>, usize) {
        let (before, object) = (self.asked(), Arc::new(cached(experiment)));
        let (context, backoff) = (Arc::clone(&self.context), Arc::clone(&self.backoff));
        let answer = reconcile(object, context, self.known.clone(), backoff, now).await;
        (answer, self.asked() - before)
    }
}

async fn answer(request: Request<Body>, objects: Objects) -> Result<Response<Body>, std::io::Error> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect_bytes().await.map_err(std::io::Error::other)?;
    let mut objects = objects.lock().unwrap();
    if objects.is_empty() {
        return Err(std::io::Error::other("the API server is away"));
    }
    let own = path.strip_suffix("/status").unwrap_or(&path);
    let (code, value) = match objects.get_mut(own) {
        Some(object) if method == Method::PUT => {
            let mut written: Value = serde_json::from_slice(&body).unwrap();
            let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
            written["metadata"]["resourceVersion"] = (version + 1).to_string().into();
            *object = written.clone();
            (StatusCode::OK, written)
        }
        Some(object) if method == Method::PATCH => {
            json_patch::merge(object, &serde_json::from_slice(&body).unwrap());
            (StatusCode::OK, object.clone())
        }
        Some(_) if method == Method::DELETE => (StatusCode::OK, objects.remove(own).unwrap_or_default()),
        Some(object) => (StatusCode::OK, object.clone()),
        // A Lease, or an Event.
        None if method == Method::POST => {
            let mut created: Value = serde_json::from_slice(&body).unwrap();
            created["metadata"]["resourceVersion"] = "1".into();
            let name = created["metadata"]["name"].as_str().unwrap_or_default();
            objects.insert(format!("{path}/{name}"), created.clone());
            (StatusCode::CREATED, created)
        }
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                "reason": "NotFound", "message": "not found"});
            (StatusCode::NOT_FOUND, status)
        }
    };
    Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&value).unwrap())).unwrap())
}

fn cached(experiment: &Experiment) -> DeserializeGuard<Experiment> {
    let mut guard = DeserializeGuard(Ok(experiment.clone()));
    slim(&mut guard);
    guard
}
