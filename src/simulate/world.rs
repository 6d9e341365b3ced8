//! The embedded world: the same questions and effects as the real one, answered by models under a virtual clock.
//!
//! Git is no model: edits, commits, pushes and per-ref results are those of [`WriteBack`] on a bare repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::cluster::Cluster;
use super::environment;
use super::scenario::{Scenario, Timeline};
use super::traffic::Traffic;
use super::{Request, SimulateError};
use crate::engine::{
    Answer, Cause, CommitId, Effect, Lock, Notice, Observation, Plan, Questions, Reading, Rollout, Rule, Seen, Split,
    Synced, Unavailable, Version, Window, Workload, Workloads,
};
use crate::gitops::forge::{Forge, LocalForge};
use crate::gitops::repository::{Clones, Remote};
use crate::gitops::{WriteBack, WriteTarget};
use crate::turn::World;

/// How long the syncing loop takes to notice a commit, seconds.
const SYNC: i64 = 5;

/// Everything that moves by itself.
#[derive(Clone)]
pub(super) struct State {
    pub(super) cluster: Cluster,
    traffic: Traffic,
    pub(super) timeline: Timeline,
    /// Foreign edits that were made.
    edited: usize,
    locked: bool,
    /// Seconds after the start.
    second: i64,
    checked: i64,
    pub(super) requests: Vec<Request>,
    /// Requests that a reviewer pushed to.
    pub(super) touched: BTreeSet<u64>,
    /// What was done to the base branch.
    pub(super) reworked: usize,
}

/// The embedded world.
pub struct Simulated {
    state: Mutex<State>,
    pub(super) repository: Mutex<Repository>,
    pub(super) forge: LocalForge,
    folder: PathBuf,
    pub(super) scenario: Scenario,
    pub(super) start: Timestamp,
    /// The commit that started the experiment.
    pub(super) started: Oid,
    /// The candidates of the experiment.
    pub(super) candidates: Vec<Version>,
    /// None for an experiment that keeps its outcome in the status.
    target: Option<WriteTarget>,
    /// What the running process has of the repository.
    clones: Mutex<Clones>,
}

/// The forge of an environment repository.
fn forge(scenario: &Scenario, folder: &Path) -> LocalForge {
    let forge = LocalForge::new(folder);
    if scenario.merge_denied { forge.without_merge_right() } else { forge }
}

impl Simulated {
    pub(super) fn new(
        scenario: &Scenario,
        folder: &Path,
        repository: Repository,
        start: Timestamp,
        (candidates, target): (Vec<Version>, Option<WriteTarget>),
    ) -> Result<Self, SimulateError> {
        scenario.fits(&candidates)?;
        let timeline = scenario.timeline()?;
        let traffic = Traffic::new(scenario.rps, scenario.seed, timeline.answers(&candidates));
        let started = repository.refname_to_id(&environment::reference())?;
        Ok(Self {
            started,
            state: Mutex::new(State {
                cluster: Cluster::new(timeline.rollout, timeline.rollout_fails),
                traffic,
                timeline,
                edited: 0,
                locked: false,
                second: 0,
                checked: i64::MIN,
                requests: vec![],
                touched: BTreeSet::new(),
                reworked: 0,
            }),
            repository: Mutex::new(repository),
            forge: forge(scenario, folder),
            folder: folder.to_owned(),
            scenario: scenario.clone(),
            start,
            candidates,
            target,
            clones: Mutex::default(),
        })
    }

    /// The same world once more, over a copy of its repository.
    pub(super) fn fork(&self, folder: &Path, repository: Repository) -> Self {
        Self {
            state: Mutex::new(self.state.lock().clone()),
            repository: Mutex::new(repository),
            forge: forge(&self.scenario, folder),
            folder: folder.to_owned(),
            scenario: self.scenario.clone(),
            start: self.start,
            started: self.started,
            candidates: self.candidates.clone(),
            target: self.target.clone(),
            clones: Mutex::default(),
        }
    }

    /// A new process has nothing of the repository.
    pub(super) fn restart(&self) {
        *self.clones.lock() = Clones::default();
    }

    /// Lets time pass: traffic flows, people act, the syncing loop looks at the repository.
    pub(super) fn advance(&self, now: Timestamp) -> Result<(), SimulateError> {
        let mut state = self.state.lock();
        let second = now.as_second() - self.start.as_second();
        let (weights, timeline) = (state.cluster.weights, state.timeline.clone());
        state.traffic.advance(second, weights);
        state.second = second;
        while let Some((_, (weight, by))) = timeline.edits.get(state.edited).filter(|(at, _)| *at <= second) {
            (state.cluster.weights, state.cluster.writer) = (Split::one(*weight), Some(by.clone()));
            state.edited += 1;
        }
        self.people(&mut state, &timeline, second);
        self.rework(&mut state, second)?;
        if second < state.checked.saturating_add(SYNC) {
            return Ok(());
        }
        state.checked = second;
        self.review(&mut state, second)?;
        let repository = self.repository.lock();
        // A syncing loop without its branch does nothing.
        let Ok(head) = repository.refname_to_id(&environment::reference()) else { return Ok(()) };
        let head = head.to_string();
        if state.cluster.synced.as_deref() != Some(&head) {
            let files = environment::files(&repository)?;
            state.cluster.sync(&files, second, now)?;
            // A held experiment keeps the sync open.
            let held_up = state.cluster.experiment.as_ref().is_some_and(|e| e.metadata.deletion_timestamp.is_some());
            state.cluster.synced = (!held_up).then_some(head);
        }
        Ok(())
    }

    /// When somebody acts next, after a time.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.state.lock().timeline.next(now.as_second() - self.start.as_second())?;
        Some(self.start + jiff::SignedDuration::from_secs(next))
    }

    /// Git and its forge, unless nobody can reach them.
    fn reachable(&self) -> Result<WriteBack, Unavailable> {
        let state = self.state.lock();
        if Timeline::within(&state.timeline.remote_outages, state.second) {
            return Err(Unavailable::new(Cause::ProviderUnavailable, "the forge does not answer"));
        }
        drop(state);
        self.writer()
    }

    /// As in the real world, every turn has a new one, over the process's clones.
    fn writer(&self) -> Result<WriteBack, Unavailable> {
        let absent = || Unavailable::new(Cause::RepositoryNotFound, "the experiment has no repository to write to");
        let target = self.target.as_ref().ok_or_else(absent)?;
        let (remote, forge) = (Remote::Local(self.folder.clone()), Forge::Local(self.forge.clone()));
        let write_back = WriteBack::with(remote, forge, target.clone());
        Ok(write_back.sharing(&self.clones.lock()))
    }

    async fn rollout(&self, plan: &Plan, commit: &CommitId) -> Seen<Rollout> {
        let template = self.reachable()?.expected(commit).await?;
        let state = self.state.lock();
        let live = state.cluster.deployment(&plan.baseline.workload, state.second);
        let missing = || Unavailable::new(Cause::WorkloadNotFound, "the baseline's Deployment was not found");
        live.map(|live| crate::live::rollout(&live, &template)).ok_or_else(missing)
    }

    async fn sync(&self, plan: &Plan, commit: &CommitId) -> Seen<Synced> {
        let templates = self.writer()?.templates(commit).await?;
        let state = self.state.lock();
        let live = |name: &str| state.cluster.deployment(name, state.second);
        let sides = plan.versions().zip(templates).map(|(v, template)| (&v.workload, live(&v.workload), template));
        let sides: Vec<_> = sides.collect();
        Ok(crate::live::synced(sides.iter().map(|(name, live, template)| (name.as_str(), live.as_ref(), template))))
    }

    /// The experiment in the cluster.
    pub(super) fn experiment(&self) -> Option<crate::api::Experiment> {
        self.state.lock().cluster.experiment.clone()
    }

    /// Why the experiment cannot be carried out as it is written now.
    pub(super) fn refusal(&self) -> Option<Unavailable> {
        let state = self.state.lock();
        let what = "spec.target: this value cannot be carried out; write the one that was there";
        let refused = Timeline::within(&state.timeline.refused, state.second);
        refused.then(|| Unavailable::new(Cause::InvalidExperiment, what))
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.lock().requests.clone()
    }

    /// Bad requests that the candidates answered so far.
    pub(super) fn bad_requests(&self) -> f64 {
        self.state.lock().traffic.bad_requests()
    }

    /// The weights in the routes.
    pub(super) fn weights(&self) -> Split {
        self.state.lock().cluster.weights
    }

    /// Whether the syncing loop has nothing left to do.
    pub(super) fn settled(&self) -> bool {
        self.state.lock().cluster.synced.is_some()
    }

    fn reading(&self, state: &State, window: Window, plan: &Plan) -> Reading {
        let [from, to] = [window.from, window.to].map(|t| t.as_second() - self.start.as_second());
        let (measures, candidates) = (measures(plan), plan.candidates.len().max(1));
        let each = measures.len().div_ceil(candidates).max(1);
        let pair = |(source, measure): (usize, Measure)| {
            if Timeline::within(&state.timeline.outages, state.second) {
                return Err(Unavailable::new(Cause::MetricsUnavailable, "the metrics source does not answer"));
            }
            // All metrics of one candidate are side by side.
            let candidate = source / each;
            Ok(Answer::Counted(match measure {
                Measure::Share => state.traffic.pair(candidate, from, to),
                Measure::Mean => state.traffic.values(candidate, from, to),
                Measure::Gauge => state.traffic.gauges(candidate, to),
            }))
        };
        Reading::new(window, measures.into_iter().enumerate().map(pair).collect())
    }
}

/// What becomes of the candidates besides what the cluster does with them.
fn disturb(state: &State, plan: &Plan, candidates: &mut [Workload]) {
    let (timeline, second) = (&state.timeline, state.second);
    for (at, (version, workload)) in plan.candidates.iter().zip(candidates).enumerate() {
        let meant = |name: &Option<String>| name.as_ref().map_or(at == 0, |name| *name == version.name);
        let mut gone = timeline.not_ready.iter().filter(|(_, name)| meant(name));
        if gone.any(|(span, _)| Timeline::within(&[*span], second)) {
            workload.ready = 0;
        }
        let changes = timeline.changes.iter().filter(|(at, name)| *at <= second && meant(name)).count();
        workload.content = format!("{}+{changes}", workload.images.values().cloned().collect::<String>());
    }
}

/// What a metric is in this world.
#[derive(Clone, Copy)]
enum Measure {
    /// Bad requests.
    Share,
    /// Values of requests.
    Mean,
    /// One number an interval.
    Gauge,
}

/// What each source of a plan is. Those that nothing asks for are shares.
fn measures(plan: &Plan) -> Vec<Measure> {
    let criteria = plan.criteria.iter().map(|c| {
        let measure = match c.rule {
            Rule::Share { .. } | Rule::RelativeShare { .. } | Rule::Companion { .. } => Measure::Share,
            Rule::Mean { gauge: false, .. } => Measure::Mean,
            Rule::Mean { gauge: true, .. } | Rule::Threshold { .. } => Measure::Gauge,
        };
        (c.source, measure)
    });
    let race = plan.race.iter().flat_map(|race| race.sources.iter().map(|source| (*source, Measure::Mean)));
    let known: BTreeMap<usize, Measure> = criteria.chain(race).collect();
    let count = known.last_key_value().map_or(0, |(last, _)| last + 1);
    (0..count).map(|source| known.get(&source).copied().unwrap_or(Measure::Share)).collect()
}

impl World for Simulated {
    async fn observe(&self, plan: &Plan, questions: &Questions) -> Observation {
        let mut seen = {
            let state = self.state.lock();
            let ready = |name: &str| state.cluster.workload(name, state.second);
            let mut candidates: Vec<Workload> = plan.candidates.iter().map(|v| ready(&v.workload)).collect();
            disturb(&state, plan, &mut candidates);
            let history = questions.history.map(|window| {
                let one = state.traffic.history(window, questions.history_step, self.start.as_second());
                measures(plan).iter().map(|_| Ok(one.clone())).collect()
            });
            Observation {
                lock: Some(Ok(if state.locked { Lock::Mine } else { Lock::Free })),
                routes: Some(Ok(state.cluster.routes())),
                workloads: Some(Ok(Workloads { baseline: ready(&plan.baseline.workload), candidates })),
                reading: questions.window.map(|window| self.reading(&state, window, plan)),
                history,
                subsets: questions.subsets.then_some(Ok(())),
                ..Observation::default()
            }
        };
        if questions.preflight {
            seen.preflight = Some(match self.reachable() {
                Ok(writer) => writer.preflight().await,
                Err(u) => Err(u),
            });
        }
        if let Some(question) = &questions.stage {
            seen.stage = Some(match self.reachable() {
                Ok(writer) => writer.stage(question).await,
                Err(u) => Err(u),
            });
        }
        if let Some(commit) = &questions.rollout {
            seen.rollout = Some(self.rollout(plan, commit).await);
        }
        if let Some(commit) = &questions.sync {
            seen.sync = Some(self.sync(plan, commit).await);
        }
        // The model's destinations are its workloads.
        seen.subsets = questions.subsets.then_some(Ok(()));
        seen
    }

    async fn perform(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        match effect {
            Effect::Claim => self.state.lock().locked = true,
            Effect::Release => self.state.lock().locked = false,
            Effect::Route(split) => {
                let mut state = self.state.lock();
                (state.cluster.weights, state.cluster.writer) = (*split, None);
            }
            Effect::Forget => self.state.lock().cluster.forget(),
            Effect::Push { .. }
            | Effect::Open { .. }
            | Effect::Commit { .. }
            | Effect::Merge { .. }
            | Effect::Rewrite { .. }
            | Effect::Close { .. }
            | Effect::Delete { .. } => return self.reachable()?.perform(effect).await,
        }
        Ok(vec![])
    }
}
