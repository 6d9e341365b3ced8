//! Plays a scenario: turns under a virtual clock until the experiment is gone or the time is up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::environment::{self, Sample};
use super::scenario::Scenario;
use super::world::Simulated;
use super::{SimulateError, Story};
use crate::api::{Experiment, Metric, Provider, Repository, RepositorySpec};
use crate::controller::resolve::{self, Referred};
use crate::controller::status;
use crate::engine::{self, ArmRow, Cause, Effect, Notice, Plan, Progress, Row, Step, Unavailable, Wake, Watch};
use crate::turn::{self, Ledger, World};

/// When every simulation starts; only differences matter.
const START: &str = "2026-01-01T09:00:00Z";
/// The longest jump of the clock: the models act at this pace.
const PACE: SignedDuration = SignedDuration::from_secs(5);
/// Turns at one instant that no experiment needs.
const LIVELOCK: usize = 50;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Seconds after the start.
    pub at: i64,
    /// What, in a few words.
    pub what: String,
    /// Where the experiment was.
    pub phase: &'static str,
    /// The weight that was wanted for the candidate, of several for each one, percent.
    pub weight: u8,
    /// The candidates' requests that were judged so far by the first criterion of each.
    pub requests: f64,
    /// Bad ones among them.
    pub bad: f64,
    /// Fail evidence of the first criterion, and what is needed; of several candidates, of the worst that is in the running.
    pub fail: (f64, f64),
    /// Pass evidence of the first criterion, and what is needed; of several candidates, of the one that needs most yet.
    pub pass: (f64, f64),
    /// Each version of a race as it stands, the baseline first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub race: Vec<ArmRow>,
}

/// Progress in memory; it passes through JSON at every commit, as it does in a status.
#[derive(Default)]
pub struct Memory {
    progress: Mutex<String>,
    notices: Mutex<Vec<Notice>>,
}

impl Memory {
    fn fork(&self) -> Self {
        let progress = self.progress.lock().clone();
        let notices = self.notices.lock().clone();
        Self { progress: Mutex::new(progress), notices: Mutex::new(notices) }
    }

    /// What was told since the last call.
    fn told(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock())
    }

    /// What was committed last.
    pub fn progress(&self) -> Result<Progress, SimulateError> {
        let text = self.progress.lock();
        if text.is_empty() {
            return Ok(Progress::default());
        }
        serde_json::from_str(&text)
            .map_err(|e| SimulateError::Turn(Unavailable::new(Cause::ProgressUnreadable, e.to_string())))
    }
}

impl Ledger for Memory {
    async fn commit(&self, progress: &Progress) -> Result<(), Unavailable> {
        let text = serde_json::to_string(progress).map_err(|e| Unavailable::new(Cause::Internal, e.to_string()))?;
        *self.progress.lock() = text;
        Ok(())
    }

    async fn tell(&self, notices: &[Notice]) {
        self.notices.lock().extend_from_slice(notices);
    }
}

/// A scenario that is being played, one turn after the other.
///
/// The turns run over the world and the ledger that are handed in, which may stand between the engine and those of
/// this simulation: so a test sees every call, and breaks some.
pub struct Simulation {
    world: Arc<Simulated>,
    ledger: Arc<Memory>,
    referred: Referred,
    repository: git2::Repository,
    before: Vec<(String, String)>,
    start: Timestamp,
    until: Timestamp,
    now: Timestamp,
    /// Turns in a row at one instant.
    same: usize,
    /// What a process remembers beside its ledger.
    watched: Option<Watch>,
    /// The resource as people saw it, at each change of its phase or outcome.
    life: Vec<Experiment>,
}

/// What a turn of a simulation came to.
pub enum Turned {
    /// It was taken; what a reader wants to know of it.
    Taken(Vec<Event>),
    /// It ended early, and is taken again a little later.
    Failed(Unavailable),
    /// The story is over.
    Over,
}

impl Simulation {
    /// Sets a scenario up in a folder that does not exist yet.
    pub fn new(scenario: &Scenario, folder: &Path) -> Result<Self, SimulateError> {
        let start: Timestamp = START.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let sample = scenario.sample.files();
        let experiment = experiment(sample, &scenario.experiment)?;
        let unusable = |source| SimulateError::Folder { folder: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(unusable)?;
        let repository = environment::create(sample, folder, start.as_second() - 86_400)?;
        let before = environment::files(&repository)?;
        let referred = Referred { repository: Some(described(sample)), metrics: metrics(sample)? };
        let parsed: Experiment = serde_saphyr::from_str(&experiment)
            .map_err(|e| SimulateError::Manifest { path: "experiment.yaml".into(), source: Box::new(e) })?;
        let further = further(sample, &parsed, &before)?;
        environment::start(&repository, sample, (&experiment, &further), start.as_second())?;
        let resolved = resolve::resolve(&parsed, &referred)?;
        let about = (resolved.plan.candidates, resolved.write);
        let world = Simulated::new(scenario, folder, git2::Repository::open_bare(folder)?, start, about)?;
        let until = start + SignedDuration::from_secs(scenario.timeline()?.until);
        Ok(Self {
            world: Arc::new(world),
            ledger: Arc::default(),
            referred,
            repository,
            before,
            start,
            until,
            now: start,
            same: 0,
            watched: None,
            life: vec![],
        })
    }

    /// The world of this simulation.
    pub fn world(&self) -> Arc<Simulated> {
        Arc::clone(&self.world)
    }

    /// Where this simulation's progress is kept.
    pub fn ledger(&self) -> Arc<Memory> {
        Arc::clone(&self.ledger)
    }

    /// Another simulation that goes on from here on its own, in a folder that does not exist yet.
    pub fn fork(&self, folder: &Path) -> Result<Self, SimulateError> {
        environment::copy(self.repository.path(), folder)
            .map_err(|source| SimulateError::Folder { folder: folder.display().to_string(), source })?;
        Ok(Self {
            world: Arc::new(self.world.fork(folder, git2::Repository::open_bare(folder)?)),
            ledger: Arc::new(self.ledger.fork()),
            referred: self.referred.clone(),
            repository: git2::Repository::open_bare(folder)?,
            before: self.before.clone(),
            watched: self.watched.clone(),
            life: self.life.clone(),
            ..*self
        })
    }

    /// A process dies and another one takes its place: what is left is the world, and what the ledger holds.
    pub fn restart(&mut self) {
        self.watched = None;
        self.world.restart();
    }

    /// Lets time pass until the next turn is due, and takes it.
    pub async fn turn<W: World, L: Ledger>(&mut self, world: &W, ledger: &L) -> Result<Turned, SimulateError> {
        let live = loop {
            if self.now >= self.until {
                return Ok(Turned::Over);
            }
            self.world.advance(self.now)?;
            match self.world.experiment() {
                Some(live) => break live,
                None if self.world.settled() && self.now > self.start => return Ok(Turned::Over),
                None => self.now += PACE,
            }
        };
        let mut plan = resolve::resolve(&live, &self.referred)?.plan;
        plan.refused = self.world.refusal();
        let progress = Progress { watch: self.watched.take(), ..self.ledger.progress()? };
        // An effect that failed is derived again by the next turn, a little later.
        let step = match turn::turn(world, ledger, &plan, &progress, self.now).await {
            Ok(step) => step,
            Err(u) => {
                self.now += PACE;
                return Ok(Turned::Failed(u));
            }
        };
        self.watched.clone_from(&step.progress.watch);
        note(&mut self.life, live, &plan, &step.progress, self.now);
        let second = self.now.as_second() - self.start.as_second();
        let events = noteworthy(&plan, &progress, &step, &self.ledger.told(), second);
        let next = match step.wake {
            Wake::At(time) => time.min(self.now + PACE),
            Wake::OnChange => self.now + PACE,
        };
        let next = self.world.next(self.now).map_or(next, |acts| next.min(acts));
        self.same = if next <= self.now { self.same + 1 } else { 0 };
        if self.same > LIVELOCK {
            return Err(SimulateError::Livelock { turns: self.same });
        }
        self.now = self.now.max(next);
        Ok(Turned::Taken(events))
    }

    /// How it has ended, or where it is.
    pub fn story(&self, events: Vec<Event>) -> Result<Story, SimulateError> {
        let progress = self.ledger.progress()?;
        let decision = progress.decision.as_ref();
        let since = |d: &engine::Decision| d.at.duration_since(progress.first_traffic.unwrap_or(d.at)).as_secs();
        Ok(Story {
            outcome: decision.map(|d| d.outcome),
            reason: decision.map(|d| d.reason.as_str()),
            seconds_to_decision: decision.map(since),
            bad_requests: self.world.bad_requests(),
            candidate: decision.and_then(|d| self.world.candidates.get(d.candidate)).map(|c| c.name.clone()),
            candidates: self.world.candidates.iter().map(|c| c.name.clone()).collect(),
            weights: self.world.weights(),
            removed: self.world.experiment().is_none(),
            requests: self.world.requests(),
            commits: environment::commits(&self.repository)?,
            before: self.before.clone(),
            after: environment::files(&self.repository)?,
            events,
            life: self.life.clone(),
        })
    }
}

/// Plays a scenario in a folder that does not exist yet; `watch` sees each event as it happens.
pub async fn play(scenario: &Scenario, folder: &Path, mut watch: impl FnMut(&Event)) -> Result<Story, SimulateError> {
    let mut simulation = Simulation::new(scenario, folder)?;
    let (world, ledger) = (simulation.world(), simulation.ledger());
    let mut events = vec![];
    loop {
        match simulation.turn(&*world, &*ledger).await? {
            Turned::Taken(news) => {
                news.iter().for_each(&mut watch);
                events.extend(news);
            }
            // The scenario's own outages; nothing else fails here.
            Turned::Failed(u) if u.cause == Cause::ProviderUnavailable => {}
            Turned::Failed(u) => return Err(u.into()),
            Turned::Over => return simulation.story(events),
        }
    }
}

/// Notes the resource as people see it, if its phase or its outcome is another one than before.
fn note(life: &mut Vec<Experiment>, mut live: Experiment, plan: &Plan, progress: &Progress, now: Timestamp) {
    let before = life.last().and_then(|before| before.status.as_ref());
    let decision = progress.decision.as_ref();
    let told =
        (Some(progress.phase.as_str()), decision.map(|d| d.outcome.as_str()), decision.map(|d| d.reason.as_str()));
    if before.is_some_and(|s| (s.phase.as_deref(), s.outcome.as_deref(), s.reason.as_deref()) == told) {
        return;
    }
    live.status = before.cloned();
    live.status = Some(status::of(&live, plan, progress, now));
    life.push(live);
}

/// The sample experiment with the scenario's spec laid over it.
fn experiment(sample: &Sample, over: &Value) -> Result<String, SimulateError> {
    if over.is_null() {
        return Ok(sample.experiment.to_owned());
    }
    let wrong = |problem: String| SimulateError::Experiment { problem };
    let mut manifest: Value = serde_saphyr::from_str(sample.experiment).map_err(|e| wrong(e.to_string()))?;
    let spec = manifest.get_mut("spec").ok_or_else(|| wrong("the sample has no spec".into()))?;
    json_patch::merge(spec, over);
    let text = serde_saphyr::to_string(&manifest).map_err(|e| wrong(e.to_string()))?;
    serde_saphyr::from_str::<Experiment>(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(text)
}

/// The Repository that the sample names; its address is never used.
fn described(sample: &Sample) -> Repository {
    let url = "https://git.example.com/platform/environment.git";
    let spec = RepositorySpec {
        branch: Some(environment::BRANCH.into()),
        allowed_namespaces: vec!["*".into()],
        allowed_paths: vec![sample.app.into()],
        allow_commit_to_base: true,
        allow_auto_merge: true,
        ..RepositorySpec::new(url, Provider::Gitea, "environment-token")
    };
    let mut repository = Repository::new("environment", spec);
    repository.metadata.namespace = Some("platform".into());
    repository
}

/// The metrics that an experiment may name beside the built-in ones.
fn metrics(sample: &Sample) -> Result<BTreeMap<String, Metric>, SimulateError> {
    let read = |text: &&str| {
        let metric: Metric = serde_saphyr::from_str(text)
            .map_err(|e| SimulateError::Manifest { path: "the Metric".into(), source: Box::new(e) })?;
        Ok((metric.metadata.name.clone().unwrap_or_default(), metric))
    };
    sample.metrics.iter().map(read).collect()
}

/// The further files of an experiment: plain names, of files that are not there before it.
fn further(
    sample: &Sample,
    experiment: &Experiment,
    before: &[(String, String)],
) -> Result<Vec<String>, SimulateError> {
    let files = experiment.spec.gitops.as_ref().map_or(&[][..], |g| g.remove.as_slice());
    for file in files {
        let taken = before.iter().any(|(path, _)| *path == format!("{}/{file}", sample.app));
        let plain = file.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && !file.starts_with('.');
        if taken || !plain || file.is_empty() {
            let problem = format!("`gitops.remove` names `{file}`; write the name of a new file such as `fortio.yaml`");
            return Err(SimulateError::Experiment { problem });
        }
    }
    Ok(files.to_vec())
}

/// The first criterion of each candidate, and whether that one is still in the running.
fn firsts(plan: &Plan, progress: &Progress) -> Vec<(Row, bool)> {
    let runs = |row: &Row| {
        let name = row.candidate.as_deref();
        let at = plan.candidates.iter().position(|c| Some(c.name.as_str()) == name).unwrap_or(0);
        engine::runs(&progress.entrants, at)
    };
    let mut rows = engine::rows(plan, progress);
    rows.dedup_by(|a, b| a.candidate == b.candidate);
    rows.into_iter().map(|row| (runs(&row), row)).map(|(runs, row)| (row, runs)).collect()
}

/// What a reader of the timeline wants to know about a step.
fn noteworthy(plan: &Plan, before: &Progress, step: &Step, notices: &[Notice], at: i64) -> Vec<Event> {
    let (firsts, race) = (firsts(plan, &step.progress), engine::race_rows(plan, &step.progress));
    let running: Vec<&Row> = firsts.iter().filter(|(_, runs)| *runs).map(|(row, _)| row).collect();
    let (worst, last) = (
        running.iter().max_by(|a, b| a.fail.total_cmp(&b.fail)),
        running.iter().min_by(|a, b| a.pass.total_cmp(&b.pass)),
    );
    let event = |what: String| Event {
        at,
        what,
        phase: step.progress.phase.as_str(),
        weight: step.progress.weight,
        // From 0.0: the sum of nothing is -0.
        requests: firsts.iter().fold(0.0, |all, (r, _)| all + r.requests),
        bad: firsts.iter().fold(0.0, |all, (r, _)| all + r.bad),
        fail: worst.map_or((0.0, 0.0), |r| (r.fail, r.needed_fail)),
        pass: last.map_or((0.0, 0.0), |r| (r.pass, r.needed_pass)),
        race: race.clone(),
    };
    let mut events: Vec<Event> = notices.iter().map(|n| event(format!("{}: {}", n.reason, n.message))).collect();
    if step.progress.intervals > before.intervals {
        events.push(event("evidence".into()));
    }
    for effect in &step.effects {
        match effect {
            Effect::Route(split) => events.push(event(format!("weights {}", split.text(plan.candidates.len())))),
            Effect::Push { request, .. } => events.push(event(format!("push {}", request.branch))),
            Effect::Open { request, .. } => events.push(event(format!("open the {} request", request.stage.as_str()))),
            Effect::Commit { request, .. } => {
                events.push(event(format!("commit the {} to {}", request.stage.as_str(), request.base_branch)));
            }
            Effect::Merge { number, .. } => events.push(event(format!("merge request #{number}"))),
            Effect::Rewrite { number, .. } => events.push(event(format!("update the text of request #{number}"))),
            Effect::Close { number, .. } => events.push(event(format!("close request #{number}"))),
            Effect::Delete { branch, .. } => events.push(event(format!("delete branch {branch}"))),
            Effect::Claim | Effect::Release | Effect::Forget => {}
        }
    }
    events
}
