//! The real world of one experiment: Kubernetes, Istio, Prometheus, and Git through [`WriteBack`].
//!
//! Answers what the engine asks and does what it wants; makes no choices. Every read is fresh, every write is fenced or
//! idempotent. Built anew for every reconcile; holds nothing that has to survive.

mod binding;
pub mod builtin;
mod call;
mod expression;
mod fields;
mod lock;
mod metric;
mod opaque;
mod owner;
mod prometheus;
mod query;
mod rollout;
mod routes;
mod subsets;
mod unresolved;
mod weights;
mod workloads;

use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

pub use binding::{Binding, Destination, RouteBinding, VersionBinding, WeightField, WeightsAt};
pub use expression::{Expression, ExpressionError};
pub use fields::{FieldPath, FieldPathError};
pub use lock::{Claimant, Contender, Standing};
pub use metric::{MetricQuery, ShareQuery};
pub use opaque::{Opaque, OpaqueError, OpaqueQuery, Reach};
pub use prometheus::{Asked, Prometheus};
pub use query::{SelectorError, Values, Versions};
pub use rollout::{rollout, synced};
pub(crate) use routes::resource as virtual_service;
pub(crate) use unresolved::Unresolved;
pub use workloads::{content, failed};

use crate::api::Experiment;
use crate::engine::judge::Tally;
use crate::engine::{
    Answer, Cause, CommitId, Effect, Notice, Observation, Plan, Questions, Reading, Rollout, Seen, StageQuestion,
    StageSeen, Synced, Unavailable, Window,
};
use crate::gitops::WriteBack;
use crate::turn::World;
use call::call;
use lock::TargetLock;
use subsets::Subsets;
use weights::Weights;
use workloads::Deployments;

/// The finalizer with which traffic comes home before an experiment goes.
pub const FINALIZER: &str = "iter8.tools/reiter8";

/// The real world of one experiment.
pub struct Live {
    experiments: Api<Experiment>,
    prometheus: Prometheus,
    binding: Binding,
    claimant: Claimant,
    lock: TargetLock,
    routes: Weights,
    subsets: Subsets,
    deployments: Deployments,
    write_back: Option<Seen<WriteBack>>,
    contenders: Vec<Contender>,
}

impl Live {
    /// Binds an experiment to the cluster; `namespace` is where the targets' Leases are.
    pub fn new(
        client: Client,
        prometheus: Prometheus,
        namespace: &str,
        binding: Binding,
        write_back: Option<Seen<WriteBack>>,
        contenders: Vec<Contender>,
    ) -> Self {
        Self {
            experiments: Api::namespaced(client.clone(), &binding.namespace),
            lock: TargetLock::new(client.clone(), namespace, &binding.target),
            routes: Weights::new(client.clone(), &binding.namespace, &binding.routes),
            subsets: Subsets::new(client.clone(), &binding.namespace),
            deployments: Deployments::new(
                client,
                &binding.namespace,
                &binding.baseline.workload,
                binding.candidates.iter().map(|candidate| candidate.workload.clone()).collect(),
            ),
            prometheus,
            claimant: binding.claimant(),
            binding,
            write_back,
            contenders,
        }
    }

    /// The placeholders' values for each candidate; a host that the experiment does not name is the route's own.
    async fn versions(&self) -> Seen<Vec<Versions>> {
        let mut binding = self.binding.clone();
        let routes = &mut binding.routes;
        let mut unnamed = std::iter::once(&mut routes.baseline).chain(&mut routes.candidates).map(|d| &mut d.host);
        if unnamed.any(|host| host.is_none())
            && let Some(hosts) = self.routes.hosts().await?
        {
            let all = std::iter::once(&mut routes.baseline).chain(&mut routes.candidates);
            all.zip(hosts).for_each(|(destination, host)| _ = destination.host.get_or_insert(host));
        }
        Ok(Versions::of(&binding))
    }

    /// How many answers there are: each metric's for each candidate.
    fn answers(&self) -> usize {
        self.binding.metrics.len() * self.binding.candidates.len()
    }

    /// What each metric says of an interval, candidate by candidate.
    async fn reading(&self, questions: &Questions) -> Option<Reading> {
        let window = questions.window?;
        let versions = match self.versions().await {
            Ok(versions) => versions,
            Err(u) => return Some(Reading::new(window, vec![Err(u); self.answers()])),
        };
        let began = self.binding.created;
        // The interval ends as long ago as samples need to arrive: from then on, the newest is no older than that.
        let age = Timestamp::now().duration_since(window.to);
        let all = versions.iter().flat_map(|pair| self.binding.metrics.iter().map(move |query| (query, pair)));
        let all = all.enumerate().map(|(source, (query, versions))| {
            let from = questions.behind.get(&source).copied().unwrap_or(window.from);
            Asked { query, versions, from }
        });
        let (others, counted): (Vec<_>, Vec<_>) =
            all.enumerate().partition(|(_, asked)| matches!(asked.query, MetricQuery::Opaque(_)));
        let opaque = others.into_iter().map(async |(source, Asked { query, versions, from })| {
            let MetricQuery::Opaque(query) = query else { return (source, Err(no_write_back())) };
            let window = Window { from, ..window };
            (source, Opaque::shared().read(query, versions, window, began).await.map(Answer::Counted))
        });
        let (sources, asked): (Vec<usize>, Vec<Asked<'_>>) = counted.into_iter().unzip();
        let (counted, opaque) =
            futures::join!(self.prometheus.read(&asked, window.to, began, age), futures::future::join_all(opaque));
        let mut answers: Vec<(usize, Seen<Answer>)> = sources.into_iter().zip(counted).chain(opaque).collect();
        answers.sort_by_key(|(source, _)| *source);
        let answers = answers.into_iter().map(|(_, answer)| answer).collect();
        Some(Reading { window, answers, hosts: hosts(&versions) })
    }

    async fn history(&self, questions: &Questions) -> Option<Vec<Seen<Vec<Tally>>>> {
        let window = questions.history?;
        let versions = match self.versions().await {
            Ok(versions) => versions,
            Err(u) => return Some(vec![Err(u); self.answers()]),
        };
        let Some(Versions { baseline, .. }) = versions.first() else { return Some(vec![]) };
        let step = questions.history_step;
        // The baseline's is the same beside every candidate.
        let once = self.prometheus.history(&self.binding.metrics, baseline, window, step).await;
        Some(versions.iter().flat_map(|_| once.iter().cloned()).collect())
    }

    async fn stage(&self, question: Option<&StageQuestion>) -> Option<Seen<StageSeen>> {
        let question = question?;
        Some(match self.writer() {
            Ok(write_back) => write_back.stage(question).await,
            Err(u) => Err(u),
        })
    }

    async fn rollout(&self, commit: Option<&CommitId>) -> Option<Seen<Rollout>> {
        let commit = commit?;
        let write_back = match self.writer() {
            Ok(write_back) => write_back,
            Err(u) => return Some(Err(u)),
        };
        Some(match write_back.expected(commit).await {
            Ok(template) => self.deployments.rollout(&template).await,
            Err(u) => Err(u),
        })
    }

    async fn sync(&self, commit: Option<&CommitId>, idle: &[usize]) -> Option<Seen<Synced>> {
        let commit = commit?;
        let write_back = match self.writer() {
            Ok(write_back) => write_back,
            Err(u) => return Some(Err(u)),
        };
        Some(match write_back.templates(commit).await {
            Ok(templates) => self.deployments.synced(&templates, idle).await,
            Err(u) => Err(u),
        })
    }

    /// Whether the destinations lead to the workloads; of fields in objects of unknown meaning nobody can tell.
    async fn subsets(&self, asked: bool, idle: &[usize]) -> Option<Seen<()>> {
        if !asked {
            return None;
        }
        Some(match (self.routes.hosts().await, self.deployments.labels(idle).await) {
            (Ok(None), _) => Ok(()),
            (Ok(Some(hosts)), Ok(labels)) => self.subsets.check(&self.binding, &hosts, &labels).await,
            (Err(u), _) | (_, Err(u)) => Err(u),
        })
    }

    async fn preflight(&self, asked: bool) -> Option<Seen<crate::engine::Preflight>> {
        if !asked {
            return None;
        }
        Some(match self.writer() {
            Ok(write_back) => write_back.preflight().await,
            Err(u) => Err(u),
        })
    }

    /// Takes our finalizer off, and no other.
    async fn forget(&self) -> Result<(), Unavailable> {
        let name = &self.binding.name;
        let Some(experiment) = call("read the experiment", self.experiments.get(name)).await? else { return Ok(()) };
        let ours = experiment.uid().as_deref() == Some(self.binding.uid.as_str());
        let Some(index) = experiment.finalizers().iter().position(|f| f == FINALIZER).filter(|_| ours) else {
            return Ok(());
        };
        let path = format!("/metadata/finalizers/{index}");
        let operations = json!([{"op": "test", "path": path, "value": FINALIZER}, {"op": "remove", "path": path}]);
        let patch: json_patch::Patch = serde_json::from_value(operations)
            .map_err(|e| Unavailable::new(Cause::Internal, format!("failed to build the patch: {e}")))?;
        let (params, patch) = (PatchParams::default(), Patch::Json::<()>(patch));
        let request = self.experiments.patch(name, &params, &patch);
        // One that is gone needs no more.
        call("release the experiment", request).await.map(|_| ())
    }

    /// Git and its forge.
    async fn write(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        Box::pin(self.writer()?.perform(effect)).await.map_err(|u| self.told(u))
    }

    /// What the write-back said, with what a person can do about it.
    fn told(&self, u: Unavailable) -> Unavailable {
        match self.writer() {
            Ok(write_back) => write_back.remedied(u),
            Err(_) => u,
        }
    }

    fn writer(&self) -> Result<&WriteBack, Unavailable> {
        self.write_back.as_ref().map_or_else(|| Err(no_write_back()), |w| w.as_ref().map_err(Clone::clone))
    }
}

/// For the baseline and each candidate the first version whose requests go to the same host.
fn hosts(versions: &[Versions]) -> Vec<usize> {
    let baseline = versions.first().map(|v| v.baseline.get("host"));
    let all: Vec<Option<&str>> = baseline.into_iter().chain(versions.iter().map(|v| v.candidate.get("host"))).collect();
    all.iter().map(|host| all.iter().position(|other| other == host).unwrap_or(0)).collect()
}

/// A fact, unless it is not asked for.
async fn unless<T>(quiet: bool, fact: impl Future<Output = T>) -> Option<T> {
    if quiet { None } else { Some(fact.await) }
}

fn no_write_back() -> Unavailable {
    Unavailable::new(Cause::RepositoryNotFound, "the experiment has no repository to write to")
}

impl World for Live {
    async fn observe(&self, _plan: &Plan, questions: &Questions) -> Observation {
        // Boxed: side by side they would be larger than a thread's stack has room for.
        let (lock, routes, workloads, reading, history, preflight, stage, rollout, sync, subsets) = futures::join!(
            Box::pin(unless(questions.quiet, self.lock.read(&self.claimant, &self.contenders))),
            Box::pin(unless(questions.quiet, self.routes.read())),
            Box::pin(unless(questions.quiet, self.deployments.read())),
            Box::pin(self.reading(questions)),
            Box::pin(self.history(questions)),
            Box::pin(self.preflight(questions.preflight)),
            Box::pin(self.stage(questions.stage.as_ref())),
            Box::pin(self.rollout(questions.rollout.as_ref())),
            Box::pin(self.sync(questions.sync.as_ref(), &questions.idle)),
            Box::pin(self.subsets(questions.subsets, &questions.idle)),
        );
        Observation {
            lock,
            routes,
            workloads,
            reading,
            history,
            preflight: preflight.map(|seen| seen.map_err(|u| self.told(u))),
            stage: stage.map(|seen| seen.map_err(|u| self.told(u))),
            rollout: rollout.map(|seen| seen.map_err(|u| self.told(u))),
            sync: sync.map(|seen| seen.map_err(|u| self.told(u))),
            subsets,
        }
    }

    async fn perform(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        match effect {
            Effect::Claim => self.lock.claim(&self.claimant, &self.contenders).await?,
            Effect::Release => self.lock.release(&self.claimant).await?,
            Effect::Route(wanted) => self.routes.write(*wanted).await?,
            Effect::Forget => self.forget().await?,
            Effect::Push { .. }
            | Effect::Open { .. }
            | Effect::Commit { .. }
            | Effect::Merge { .. }
            | Effect::Rewrite { .. }
            | Effect::Close { .. }
            | Effect::Delete { .. } => return self.write(effect).await,
        }
        Ok(Vec::new())
    }
}
