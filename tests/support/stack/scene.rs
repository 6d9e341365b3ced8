//! One scenario: a service under load, and everything that its experiment and its routes went through.
//!
//! [`play`] runs several at once on one stack; each has a namespace, a repository and an Application of its own, so that
//! they share nothing but the parts. What happened is taken from watches, which skip nothing, not from looking now and
//! then.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, Event};
use reiter8::api::{Experiment, ExperimentStatus};
use serde_json::Value;
use tokio::task::AbortHandle;

use super::load::{Counts, Load};
use super::trial::{APP, Stack, Trial, virtual_services};

/// Patience with anything that involves people's tools: a sync, a rollout, an experiment of a minute.
pub const LONG: Duration = Duration::from_secs(240);
/// Patience with what the controller does by itself.
pub const SHORT: Duration = Duration::from_secs(60);

/// A status that was seen.
#[derive(Clone, Debug)]
pub struct State {
    pub at: Instant,
    pub name: String,
    pub status: ExperimentStatus,
    /// The experiment is gone.
    pub gone: bool,
}

impl State {
    /// A part of the engine's memory.
    pub fn progress(&self, pointer: &str) -> Value {
        self.status.progress.as_ref().and_then(|p| p.pointer(pointer)).cloned().unwrap_or_default()
    }

    pub fn phase(&self) -> &str {
        self.status.phase.as_deref().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.status.message.as_deref().unwrap_or_default()
    }

    pub fn reason(&self) -> &str {
        self.status.reason.as_deref().unwrap_or_default()
    }
}

/// Weights that the route was seen with.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub at: Instant,
    pub stable: u64,
    pub candidate: u64,
    /// Those of further candidates.
    pub others: Vec<u64>,
    /// Who wrote the route last.
    pub by: String,
}

impl Split {
    /// The weights of all candidates.
    pub fn candidates(&self) -> Vec<u64> {
        [&[self.candidate], &self.others[..]].concat()
    }

    /// Whether all weights are 100 together.
    fn adds_up(&self) -> bool {
        self.stable + self.candidates().iter().sum::<u64>() == 100
    }
}

/// What was seen, oldest first.
#[derive(Debug, Default)]
pub struct Seen {
    pub states: Vec<State>,
    pub splits: Vec<Split>,
}

impl Seen {
    pub fn last(&self) -> Option<&State> {
        self.states.last()
    }

    /// The weights of the candidate that the controller wrote, without repetitions.
    pub fn planned(&self) -> Vec<u64> {
        let mut weights: Vec<u64> = self.splits.iter().filter(|s| s.by == "reiter8").map(|s| s.candidate).collect();
        weights.dedup();
        weights
    }

    /// The weights of all candidates that the controller wrote, without repetitions.
    pub fn splits(&self) -> Vec<Vec<u64>> {
        let written = self.splits.iter().filter(|s| s.by == "reiter8");
        let mut weights: Vec<Vec<u64>> = written.map(Split::candidates).collect();
        weights.dedup();
        weights
    }

    /// What holds in every experiment: a weight that the controller writes was committed as progress; nothing but a look
    /// at the metrics changes the evidence.
    pub fn check(&self) -> anyhow::Result<()> {
        let committed: Vec<u64> = self.states.iter().filter_map(|s| s.progress("/weight").as_u64()).collect();
        for split in self.splits.iter().filter(|s| s.by == "reiter8") {
            ensure!(split.adds_up(), "{split:?} does not add up");
            let planned = |weight: &u64| *weight == 0 || committed.contains(weight);
            ensure!(split.candidates().iter().all(planned), "{split:?} was in no committed progress: {committed:?}");
        }
        for two in self.states.windows(2) {
            let [before, after] = two else { continue };
            let same = |pointer: &str| before.progress(pointer) == after.progress(pointer);
            if before.name == after.name && same("/intervals") && same("/phase") && before.status.progress.is_some() {
                ensure!(same("/evidence"), "evidence changed without a look: {:?}", after.message());
            }
        }
        Ok(())
    }

    /// The history in a few lines, for messages.
    pub fn story(&self) -> String {
        let Some(first) = self.states.first() else { return "no experiment was seen".into() };
        let began = first.at;
        let mut lines: Vec<(f64, String)> = vec![];
        for state in &self.states {
            let line = if state.gone { "gone".into() } else { format!("{} · {}", state.phase(), state.message()) };
            let line = format!("{} {line}", state.name);
            if lines.last().is_none_or(|(_, last)| *last != line) {
                lines.push((state.at.duration_since(began).as_secs_f64(), line));
            }
        }
        for split in self.splits.iter().filter(|s| s.at > began) {
            let at = split.at.duration_since(began).as_secs_f64();
            let weights: Vec<String> = split.candidates().iter().map(ToString::to_string).collect();
            lines.push((at, format!("route {}/{} by {}", split.stable, weights.join("/"), split.by)));
        }
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        lines.iter().map(|(at, line)| format!("    {at:7.2} s  {line}\n")).collect()
    }
}

/// What is being seen; ends when it goes out of scope.
pub struct Record {
    seen: Arc<Mutex<Seen>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Record {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Record {
    fn start(trial: &Trial<'_>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let config = watcher::Config::default;
        let services: Api<DynamicObject> =
            Api::namespaced_with(trial.client.clone(), &trial.namespace, &virtual_services());
        let (states, splits) = (Arc::clone(&seen), Arc::clone(&seen));
        let experiments = note(watcher::watcher(trial.experiments(), config()), move |experiment: Experiment, gone| {
            let (name, status) = (experiment.name_any(), experiment.status.unwrap_or_default());
            lock(&states).states.push(State { at: Instant::now(), name, status, gone });
        });
        let routes = note(watcher::watcher(services, config()), move |service: DynamicObject, _| {
            // One that delegates has no weights.
            let Some(route) = service.data.pointer("/spec/http/0/route").and_then(Value::as_array) else { return };
            let mut weights = route.iter().map(|to| to.get("weight").and_then(Value::as_u64).unwrap_or(0));
            let mut next = || weights.next().unwrap_or(0);
            let (stable, candidate) = (next(), next());
            let split =
                Split { at: Instant::now(), stable, candidate, others: weights.collect(), by: writer(&service) };
            lock(&splits).splits.push(split);
        });
        let tasks = [tokio::spawn(experiments).abort_handle(), tokio::spawn(routes).abort_handle()];
        Self { seen, tasks }
    }

    pub fn look(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn note<K: Clone>(
    watch: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    mut take: impl FnMut(K, bool) + Send,
) {
    let mut events = std::pin::pin!(watch.default_backoff().into_stream());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => take(object, false),
            Ok(Event::Delete(object)) => take(object, true),
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
}

/// The field manager that the http routes, one value to the API server, belong to.
fn writer(service: &DynamicObject) -> String {
    let fields = service.metadata.managed_fields.iter().flatten();
    let mut owners = fields.filter(|f| f.fields_v1.as_ref().is_some_and(|f| f.0.pointer("/f:spec/f:http").is_some()));
    owners.next_back().and_then(|f| f.manager.clone()).unwrap_or_default()
}

/// One scenario on its way.
pub struct Scene<'a> {
    pub trial: Trial<'a>,
    pub load: Load,
    pub record: Record,
    pub began: Instant,
    name: &'static str,
    files: Vec<String>,
    baseline: String,
}

impl<'a> Scene<'a> {
    /// The baseline serves and is under load.
    pub async fn open(stack: &'a Stack, name: &'static str, namespace: &str, rps: u32) -> anyhow::Result<Self> {
        Self::on(Trial::new(stack, namespace).await?, name, rps).await
    }

    /// The same on a trial that was made otherwise.
    pub async fn on(trial: Trial<'a>, name: &'static str, rps: u32) -> anyhow::Result<Self> {
        let record = Record::start(&trial);
        let load = Load::start(trial.stack.gateway(), &trial.host, rps);
        let (files, baseline) =
            (trial.forge.files().await?, trial.forge.file(&format!("{APP}/productpage.yaml")).await?);
        Ok(Self { trial, load, record, began: Instant::now(), name, files, baseline })
    }

    /// Says what happened, at which second.
    pub fn say(&self, what: &str) {
        println!("  {} {:5.1} s: {what}", self.name, self.began.elapsed().as_secs_f64());
    }

    /// Waits until something was seen.
    pub async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&Seen) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look(&self.record.look()) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("waited {} s for {what}\n{}", patience.as_secs(), self.record.look().story());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the newest status is like this, and gives it.
    pub async fn state(&self, what: &str, patience: Duration, is: impl Fn(&State) -> bool) -> anyhow::Result<State> {
        self.until(what, patience, |seen| seen.last().filter(|s| !s.gone && is(s)).cloned()).await
    }

    /// Waits until the candidate has this weight in the routes.
    pub async fn weight(&self, candidate: u64, patience: Duration) -> anyhow::Result<Split> {
        let what = format!("the candidate to have {candidate} %");
        self.until(&what, patience, |seen| {
            seen.splits.last().filter(|s| s.candidate == candidate && s.adds_up()).cloned()
        })
        .await
    }

    /// Waits until the candidates have these weights in the routes.
    pub async fn split(&self, candidates: &[u64], patience: Duration) -> anyhow::Result<Split> {
        let what = format!("the candidates to have {candidates:?} %");
        self.until(&what, patience, |seen| {
            seen.splits.last().filter(|s| s.candidates() == candidates && s.adds_up()).cloned()
        })
        .await
    }

    /// Merges the request of a stage as soon as it is there.
    pub async fn merge(&self, stage: &str, patience: Duration) -> anyhow::Result<()> {
        let number = self.trial.open_request(stage, patience).await?;
        self.trial.reviewer.merge(number).await
    }

    /// Waits until the experiment and its candidates are pruned.
    pub async fn pruned(&self) -> anyhow::Result<()> {
        let left = vec!["Deployment/productpage".to_owned()];
        self.trial
            .until("the experiment and its candidate to be pruned", LONG, async || {
                Ok((self.trial.objects().await? == left).then_some(()))
            })
            .await
    }

    /// The repository is as it was before the experiment.
    pub async fn unchanged(&self) -> anyhow::Result<()> {
        self.repository("v1").await
    }

    /// The repository has its old shape, and its baseline this version.
    pub async fn repository(&self, version: &str) -> anyhow::Result<()> {
        let (image, variable) = (format!("productpage:{version}"), format!("value: {version}"));
        self.differs_by(&[("productpage:v1", &image), ("value: v1", &variable)]).await
    }

    /// The repository has its old shape, and its baseline these texts in the place of others.
    pub async fn differs_by(&self, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        let files = self.trial.forge.files().await?;
        ensure!(files == self.files, "the repository's files are {files:?}, they were {:?}", self.files);
        let baseline = self.trial.forge.file(&format!("{APP}/productpage.yaml")).await?;
        let wanted = changes.iter().fold(self.baseline.clone(), |text, (old, new)| text.replace(old, new));
        ensure!(baseline == wanted, "the baseline's manifest is:\n{baseline}");
        Ok(())
    }

    /// How many requests there are, in any state.
    pub async fn requests(&self, wanted: usize) -> anyhow::Result<()> {
        let pulls = self.trial.forge.pulls().await?;
        let titles: Vec<_> = pulls.iter().filter_map(|p| p.get("title")).collect();
        ensure!(pulls.len() == wanted, "{} requests instead of {wanted}: {titles:?}", pulls.len());
        Ok(())
    }

    /// Ends the load, prints the seconds and the requests, and checks them.
    pub async fn close(self, most_failed: u64) -> anyhow::Result<()> {
        self.end(most_failed).await.map(|_| ())
    }

    /// The same, and what became of the requests.
    pub async fn end(self, most_failed: u64) -> anyhow::Result<Counts> {
        let story = self.record.look().story();
        let seconds = self.began.elapsed().as_secs_f64();
        let counts: Counts = self.load.stop().await;
        println!("  ({}) {seconds:.0} s, {} requests sent, {} failed", self.name, counts.sent, counts.failed());
        let checked = self.record.look().check();
        let few = counts.failed() <= most_failed;
        ensure!(few, "{} failed, at most {most_failed} may: {:?}\n{story}", counts.failed(), counts.failures);
        checked.map_err(|e| e.context(story))?;
        Ok(counts)
    }
}

/// One scenario by its name.
pub type Part<'a> = (&'static str, Box<dyn FnOnce() -> anyhow::Result<()> + Send + 'a>);

/// Plays scenarios side by side, each on a thread of its own, and panics with what went wrong in each. With
/// `REITER8_SCENES=d,h` only those. `log` is the controller's.
// A test fails by a panic.
#[allow(clippy::panic)]
pub fn play(parts: Vec<Part<'_>>, log: &Path) {
    let wanted = std::env::var("REITER8_SCENES").ok();
    let plays = |name: &str| wanted.as_ref().is_none_or(|w| w.split(',').any(|w| name.split(", ").any(|n| n == w)));
    let parts: Vec<Part<'_>> = parts.into_iter().filter(|(name, _)| plays(name)).collect();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts.into_iter().map(|(name, part)| (name, scope.spawn(part))).collect();
        let ended = threads.into_iter().map(|(name, thread)| (name, thread.join()));
        ended
            .filter_map(|(name, result)| match result {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                Err(_) => Some(format!("{name}: panicked, see above")),
            })
            .collect()
    });
    if !failures.is_empty() {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n");
        panic!("{}\nthe controller's log ends with:\n{end}", failures.join("\n\n"));
    }
}
