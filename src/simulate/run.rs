//! Plays a scenario: turns under a virtual clock until the experiment is gone or the time is up.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::environment;
use super::scenario::Scenario;
use super::world::Simulated;
use super::{SimulateError, Story};
use crate::api::{Experiment, Provider, Repository, RepositorySpec, SecretRef};
use crate::controller::resolve::{self, Referred, Resolved};
use crate::controller::status;
use crate::engine::{self, Effect, Notice, Plan, Progress, Step, Unavailable, Wake};
use crate::gitops::WriteBack;
use crate::gitops::forge::{Forge, LocalForge};
use crate::gitops::repository::Remote;
use crate::turn::{self, Ledger};

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
    /// The candidate's weight that was wanted, percent.
    pub weight: u8,
    /// The candidate's requests that were judged so far.
    pub requests: f64,
    /// Bad ones among them.
    pub bad: f64,
    /// Fail evidence of the first criterion, and what is needed.
    pub fail: (f64, f64),
    /// Pass evidence of the first criterion, and what is needed.
    pub pass: (f64, f64),
}

/// Progress in memory; it passes through JSON at every commit, as it does in a status.
#[derive(Default)]
struct Memory {
    progress: Mutex<String>,
    notices: Mutex<Vec<Notice>>,
}

impl Memory {
    fn progress(&self) -> Result<Progress, SimulateError> {
        let text = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if text.is_empty() {
            return Ok(Progress::default());
        }
        serde_json::from_str(&text)
            .map_err(|e| SimulateError::Turn(Unavailable::new("ProgressUnreadable", e.to_string())))
    }
}

impl Ledger for Memory {
    async fn commit(&self, progress: &Progress) -> Result<(), Unavailable> {
        let text = serde_json::to_string(progress).map_err(|e| Unavailable::new("Internal", e.to_string()))?;
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = text;
        Ok(())
    }

    async fn tell(&self, notices: &[Notice]) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(notices);
    }
}

/// Plays a scenario in a folder that does not exist yet; `watch` sees each event as it happens.
pub async fn play(scenario: &Scenario, folder: &Path, mut watch: impl FnMut(&Event)) -> Result<Story, SimulateError> {
    let start: Timestamp = START.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let experiment = experiment(&scenario.experiment)?;
    let unusable = |source| SimulateError::Folder { folder: folder.display().to_string(), source };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    let repository = environment::create(folder, start.as_second() - 86_400)?;
    let before = environment::files(&repository)?;
    let referred = Referred { repository: Some(described()), ..Referred::default() };
    let parsed: Experiment = serde_saphyr::from_str(&experiment)
        .map_err(|e| SimulateError::Manifest { path: "experiment.yaml".into(), source: Box::new(e) })?;
    let further = further(&parsed, &before)?;
    environment::start(&repository, &experiment, &further, start.as_second())?;
    let write_back = write_back(resolve::resolve(&parsed, &referred)?, folder);
    let world = Simulated::new(scenario, folder, git2::Repository::open_bare(folder)?, start, write_back)?;
    let (ledger, mut events, mut life) = (Memory::default(), vec![], vec![]);
    let until = start + SignedDuration::from_secs(scenario.timeline()?.until);
    let (mut now, mut same, mut watched) = (start, 0, None);
    loop {
        world.advance(now)?;
        let Some(live) = world.experiment() else {
            if world.settled() && now > start || now >= until {
                break;
            }
            now += PACE;
            continue;
        };
        let mut plan = resolve::resolve(&live, &referred)?.plan;
        plan.refused = world.refusal();
        let progress = ledger.progress()?;
        let progress = Progress { watch: watched.take(), ..progress };
        // An effect that failed is derived again by the next turn, a little later.
        let step = match turn::turn(&world, &ledger, &plan, &progress, now).await {
            Ok(step) => step,
            Err(u) if u.reason == "ForgeUnavailable" => {
                now += PACE;
                continue;
            }
            Err(u) => return Err(u.into()),
        };
        watched.clone_from(&step.progress.watch);
        note(&mut life, live, &plan, &step.progress, now);
        let notices = std::mem::take(&mut *ledger.notices.lock().unwrap_or_else(PoisonError::into_inner));
        let second = now.as_second() - start.as_second();
        for event in noteworthy(&plan, &progress, &step, &notices, second) {
            watch(&event);
            events.push(event);
        }
        let next = match step.wake {
            Wake::At(time) => time.min(now + PACE),
            Wake::OnChange => now + PACE,
        };
        let next = world.next(now).map_or(next, |acts| next.min(acts));
        same = if next <= now { same + 1 } else { 0 };
        if same > LIVELOCK {
            return Err(SimulateError::Livelock { turns: same });
        }
        now = now.max(next);
        if now >= until {
            break;
        }
    }
    let progress = ledger.progress()?;
    let decision = progress.decision.as_ref();
    Ok(Story {
        outcome: decision.map(|d| d.outcome),
        reason: decision.map(|d| d.reason.as_str()),
        seconds_to_decision: decision.map(|d| d.at.duration_since(progress.first_traffic.unwrap_or(d.at)).as_secs()),
        bad_requests: world.bad_requests(),
        candidate_weight: world.weight(),
        removed: world.experiment().is_none(),
        requests: world.requests(),
        commits: environment::commits(&repository)?,
        before,
        after: environment::files(&repository)?,
        events,
        life,
    })
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
fn experiment(over: &Value) -> Result<String, SimulateError> {
    if over.is_null() {
        return Ok(environment::EXPERIMENT.to_owned());
    }
    let wrong = |problem: String| SimulateError::Experiment { problem };
    let mut sample: Value = serde_saphyr::from_str(environment::EXPERIMENT).map_err(|e| wrong(e.to_string()))?;
    let spec = sample.get_mut("spec").ok_or_else(|| wrong("the sample has no spec".into()))?;
    lay_over(spec, over);
    let text = serde_saphyr::to_string(&sample).map_err(|e| wrong(e.to_string()))?;
    serde_saphyr::from_str::<Experiment>(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(text)
}

/// JSON merge patch (RFC 7396).
fn lay_over(target: &mut Value, over: &Value) {
    match (target, over) {
        (Value::Object(target), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    target.remove(key);
                } else {
                    lay_over(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, over) => *target = over.clone(),
    }
}

/// The Repository that the sample names; its address is never used.
fn described() -> Repository {
    let spec = RepositorySpec {
        url: "https://git.example.com/platform/environment.git".into(),
        provider: Provider::Gitea,
        branch: Some(environment::BRANCH.into()),
        secret_ref: SecretRef { name: "environment-token".into(), key: None },
        allowed_namespaces: vec!["*".into()],
        allowed_paths: vec![environment::APP.into()],
        commit: None,
    };
    let mut repository = Repository::new("environment", spec);
    repository.metadata.namespace = Some("platform".into());
    repository
}

/// The write-back, if the experiment asks for one.
fn write_back(resolved: Resolved, folder: &Path) -> Option<WriteBack> {
    let target = resolved.write?;
    let remote = Remote::Local(folder.to_owned());
    Some(WriteBack::with(remote, Forge::Local(LocalForge::new(folder)), &target.repository, target.spec))
}

/// The further files of an experiment: plain names, of files that are not there before it.
fn further(experiment: &Experiment, before: &[(String, String)]) -> Result<Vec<String>, SimulateError> {
    let files = experiment.spec.gitops.as_ref().map_or(&[][..], |g| g.remove.as_slice());
    for file in files {
        let taken = before.iter().any(|(path, _)| *path == format!("{}/{file}", environment::APP));
        let plain = file.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) && !file.starts_with('.');
        if taken || !plain || file.is_empty() {
            let problem = format!("`gitops.remove` names `{file}`; write the name of a new file such as `fortio.yaml`");
            return Err(SimulateError::Experiment { problem });
        }
    }
    Ok(files.to_vec())
}

/// What a reader of the timeline wants to know about a step.
fn noteworthy(plan: &Plan, before: &Progress, step: &Step, notices: &[Notice], at: i64) -> Vec<Event> {
    let row = engine::rows(plan, &step.progress).into_iter().next();
    let event = |what: String| Event {
        at,
        what,
        phase: step.progress.phase.as_str(),
        weight: step.progress.weight,
        requests: row.as_ref().map_or(0.0, |r| r.requests),
        bad: row.as_ref().map_or(0.0, |r| r.bad),
        fail: row.as_ref().map_or((0.0, 0.0), |r| (r.fail, r.needed_fail)),
        pass: row.as_ref().map_or((0.0, 0.0), |r| (r.pass, r.needed_pass)),
    };
    let mut events: Vec<Event> = notices.iter().map(|n| event(format!("{}: {}", n.reason, n.message))).collect();
    if step.progress.intervals > before.intervals {
        events.push(event("evidence".into()));
    }
    for effect in &step.effects {
        match effect {
            Effect::Route(weight) => events.push(event(format!("weights {}/{weight}", 100 - weight))),
            Effect::Push { request, .. } => events.push(event(format!("push {}", request.branch))),
            Effect::Open { request, .. } => events.push(event(format!("open the {} request", request.stage.as_str()))),
            Effect::Close(number) => events.push(event(format!("close request #{number}"))),
            Effect::Claim | Effect::Release | Effect::Forget => {}
        }
    }
    events
}
