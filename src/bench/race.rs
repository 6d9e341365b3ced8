//! How often a race of several candidates ends wrongly, and how soon it ends: `reiter8 bench race`.
//!
//! The product's own engine with its defaults, in closed loop: versions serve a Poisson number of requests in each
//! evidence interval by the weights that the engine sets; each request has a reward with a long tail (log-normal), and is
//! bad with a small chance. Nothing is scraped here: what delays and late samples do to a verdict is [`super::run`]'s
//! subject.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::chance::{self, Chance};
use super::ours;
use super::report::About;
use super::run::{held, on_threads};
use super::scenario::{LAG, Objective, Scenario};
use super::statistics::{median, upper_bound};
use crate::engine::judge::{Sample, Tally};
use crate::engine::{
    self, Criterion, Effect, Lock, Observation, Outcome, Pair, Phase, Plan, Progress, Questions, Race, Reading, Reason,
    Routes, Split, Version, Wake, Workload, Workloads,
};

/// Mean reward of a request to the baseline; no result depends on it.
const MEAN: f64 = 10.0;
/// Standard deviation of the logarithm of a reward: its own is 1.3 times its mean.
const TAIL: f64 = 1.0;
/// Every version's share of bad requests: a tenth of the limit.
const ERRORS: f64 = 0.001;
/// The product's default budget for a wrong decision.
const MOST: f64 = 0.05;
/// Turns of a run that are never reached.
const MOST_TURNS: u32 = 100_000;

/// Versions, and who is the best.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Requests per second of all versions together.
    pub rps: f64,
    /// Each candidate's mean reward, the baseline's being 1.
    pub candidates: Vec<f64>,
}

impl Field {
    /// The fields of the benchmark.
    pub fn all() -> Vec<Self> {
        let field = |rps: f64, candidates: &[f64]| Self { rps, candidates: candidates.to_vec() };
        let mut all = vec![];
        for rps in [50.0, 200.0] {
            for others in 1..=4 {
                all.push(field(rps, &vec![1.0; others + 1]));
            }
            for gain in [1.1, 1.25, 1.5] {
                all.push(field(rps, &[gain, 1.0]));
                all.push(field(rps, &[gain, 1.0, 1.0, 1.0]));
            }
            all.push(field(rps, &[0.9, 0.9]));
            all.push(field(rps, &[1.25, 1.25]));
        }
        all
    }

    /// In words.
    pub fn name(&self) -> String {
        let candidates: Vec<String> = self.candidates.iter().map(|mean| format!("{mean}")).collect();
        format!("{} rps, baseline 1, candidates {}", self.rps, candidates.join(" "))
    }

    /// The best version, by which the promise is measured: of several that are alike the first. 0 is the baseline.
    fn best(&self) -> usize {
        (0..=self.candidates.len()).find(|version| self.is_best(*version)).unwrap_or(0)
    }

    /// Whether a version is as good as the best: 0 is the baseline.
    fn is_best(&self, version: usize) -> bool {
        let mean = |at: usize| at.checked_sub(1).map_or(1.0, |at| self.candidates.get(at).copied().unwrap_or(0.0));
        (0..=self.candidates.len()).all(|other| mean(other) <= mean(version))
    }

    /// One objective on errors for each candidate, and the race; everything else as the product has it by default.
    fn plan(&self) -> Option<Plan> {
        let mut plan = ours::plan(&Scenario::new(Objective::Absolute, self.rps, ERRORS, ERRORS))?;
        let (one, count) = (plan.criteria.clone(), self.candidates.len());
        let of =
            |candidate: usize| one.iter().map(move |c| Criterion { candidate, source: 2 * candidate, ..c.clone() });
        plan.criteria = (0..count).flat_map(of).collect();
        let version = |at: usize| Version { name: format!("candidate-{at}"), workload: format!("candidate-{at}") };
        plan.candidates = (1..=count).map(version).collect();
        plan.cap = plan.cap.min(u8::try_from(100 / (count + 1)).ok()?);
        let sources = (0..count).map(|candidate| 2 * candidate + 1).collect();
        plan.race = Some(Race { metric: "reward".into(), sources, higher_is_better: true });
        Some(plan)
    }
}

/// What the runs of a field came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Runs.
    pub runs: u32,
    /// The best version left the race: what is promised to be rare.
    pub best_lost: u32,
    /// A version was promoted that is worse than another one.
    pub promoted_wrongly: u32,
    /// The race discarded all candidates, one of which is better than the baseline.
    pub discarded_wrongly: u32,
    /// Promotions.
    pub promoted: u32,
    /// Neither until the hard deadline.
    pub undecided: u32,
    /// Seconds to the verdict; infinite for an undecided run.
    pub seconds: Vec<f64>,
}

/// How one run ended.
struct End {
    promoted: Option<usize>,
    discarded: bool,
    best_lost: bool,
    seconds: f64,
}

/// One run's world.
struct Mesh<'a> {
    field: &'a Field,
    chance: Chance,
    split: Split,
}

impl Mesh<'_> {
    /// Bad requests and rewards of a version in so many seconds.
    fn serve(&mut self, mean: f64, weight: u8, seconds: f64) -> (Tally, Sample) {
        let requests = self.chance.poisson(self.field.rps * seconds * f64::from(weight) / 100.0);
        let bad = self.chance.bad(requests * ERRORS).min(requests);
        let sum = self.chance.rewards(requests, mean * MEAN, TAIL);
        (Tally { requests, bad }, Sample { count: requests, sum })
    }

    fn see(&mut self, asked: &Questions) -> Observation {
        let workload = || Workload { exists: true, desired: 10, ready: 10, ..Workload::default() };
        let field = self.field;
        let reading = asked.window.map(|window| {
            let seconds = window.to.duration_since(window.from).as_secs_f64();
            let (errors, rewards) = self.serve(1.0, self.split.baseline(), seconds);
            let mut pairs = vec![];
            for (at, mean) in field.candidates.iter().enumerate() {
                let (bad, own) = self.serve(*mean, self.split.of(at), seconds);
                pairs.push(Ok(Pair::requests(errors, bad).into()));
                pairs.push(Ok(Pair::Values { baseline: rewards, candidate: own }.into()));
            }
            Reading::new(window, pairs)
        });
        let history = asked.history.map(|window| {
            let steps = window.to.duration_since(window.from).as_secs_f64() / asked.history_step.max(1.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an hour of seconds
            let past: Vec<Tally> = (0..steps as u32).map(|_| self.serve(1.0, 100, asked.history_step).0).collect();
            (0..2 * field.candidates.len()).map(|at| Ok(if at % 2 == 0 { past.clone() } else { vec![] })).collect()
        });
        Observation {
            lock: Some(Ok(Lock::Mine)),
            routes: Some(Ok(Routes::split(self.split))),
            workloads: Some(Ok(Workloads {
                baseline: workload(),
                candidates: field.candidates.iter().map(|_| workload()).collect(),
            })),
            reading,
            history,
            subsets: asked.subsets.then_some(Ok(())),
            ..Observation::default()
        }
    }
}

/// One run to its verdict.
fn run(field: &Field, plan: &Plan, seed: u64) -> Option<End> {
    let mut mesh = Mesh { field, chance: Chance::new(seed, 1.0), split: Split::HOME };
    let mut progress = Progress::default();
    let mut now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000);
    for _ in 0..MOST_TURNS {
        let seen = mesh.see(&engine::ask(plan, &progress, now));
        let step = engine::step(plan, &progress, &seen, now);
        for effect in &step.effects {
            if let Effect::Route(split) = effect {
                mesh.split = *split;
            }
        }
        progress = step.progress;
        if progress.phase >= Phase::Promoting {
            return end(field, &progress);
        }
        if let Wake::At(time) = step.wake {
            now = now.max(time);
        }
    }
    None
}

fn end(field: &Field, progress: &Progress) -> Option<End> {
    let (decision, began) = (progress.decision.as_ref()?, progress.first_traffic?);
    let promoted = (decision.outcome == Outcome::Promote).then_some(decision.candidate);
    let lost = decision.race.get(field.best()).is_some_and(|row| !row.racing);
    Some(End {
        promoted,
        discarded: decision.reason == Reason::Outperformed,
        best_lost: lost,
        seconds: decision.at.duration_since(began).as_secs_f64(),
    })
}

impl Counts {
    fn add(&mut self, field: &Field, end: &End) {
        let count = |happened: bool| u32::from(happened);
        self.runs += 1;
        self.promoted += count(end.promoted.is_some());
        self.promoted_wrongly += count(end.promoted.is_some_and(|at| !field.is_best(at + 1)));
        self.discarded_wrongly += count(end.discarded && !field.is_best(0));
        self.best_lost += count(end.best_lost);
        let decided = end.promoted.is_some() || end.discarded;
        self.undecided += count(!decided);
        self.seconds.push(if decided { end.seconds } else { f64::INFINITY });
    }
}

/// Runs of all fields on so many threads; those that were done if `stop` is set. A field's numbers depend on its name and
/// the seed alone.
pub fn results(
    replications: u32,
    seed: u64,
    jobs: usize,
    stop: &AtomicBool,
    tell: &(dyn Fn(usize, usize) + Sync),
) -> Vec<(Field, Counts)> {
    let fields = Field::all();
    let work: Vec<(usize, u32)> = (0..fields.len()).flat_map(|at| (0..replications).map(move |n| (at, n))).collect();
    let (done, counts) = (AtomicUsize::new(0), Mutex::new(vec![Counts::default(); fields.len()]));
    let plans: Vec<Option<Plan>> = fields.iter().map(Field::plan).collect();
    on_threads(&work, jobs, stop, |(at, n)| {
        let (Some(field), Some(Some(plan))) = (fields.get(*at), plans.get(*at)) else { return };
        let seed = chance::seed(&format!("race | {}", field.name()), seed, u64::from(*n));
        if let Some(end) = run(field, plan, seed)
            && let Some(result) = held(&counts).get_mut(*at)
        {
            result.add(field, &end);
        }
        tell(done.fetch_add(1, Ordering::Relaxed) + 1, work.len());
    });
    let results = held(&counts).clone();
    fields.into_iter().zip(results).collect()
}

/// The document for people.
pub fn markdown(about: &About, results: &[(Field, Counts)]) -> String {
    let mut text = format!(
        "# Races of several candidates\n\n`{}`: seed {}, {:.0} s on {} threads.\n\n\
         The product's engine with its defaults and one objective (errors at most 1 %, all versions at 0.1 %). Rewards are\n\
         log-normal, with a standard deviation of 1.3 times the mean; the numbers of a field are each version's mean reward.\n\
         The promise: the best version is lost (promoted past, or discarded) in at most 5 % of the runs. Bounds are Clopper and\n\
         Pearson's, one-sided, 95 %. The median is over all runs, undecided ones being infinite; at the deadline of one hour the\n\
         leader is promoted if it was shown to be better than the baseline.\n\n\
         | field | runs | best version lost | bound | worse one promoted | better one discarded | promoted | undecided | median seconds |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        about.command, about.seed, about.seconds, about.jobs
    );
    for (field, result) in results.iter().filter(|(_, result)| result.runs > 0) {
        let part = |count: u32| format!("{:.1} %", 100.0 * f64::from(count) / f64::from(result.runs));
        let seconds = median(&result.seconds).map_or_else(|| "never".to_owned(), |s| format!("{s:.0}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} % | {} | {} | {} | {} | {seconds} |",
            field.name(),
            result.runs,
            part(result.best_lost),
            100.0 * upper_bound(result.best_lost, result.runs),
            part(result.promoted_wrongly),
            part(result.discarded_wrongly),
            part(result.promoted),
            part(result.undecided),
        );
    }
    text
}

/// The document for programs.
pub fn json(about: &About, results: &[(Field, Counts)]) -> String {
    let cell = |(field, result): &(Field, Counts)| {
        let part = |count: u32| f64::from(count) / f64::from(result.runs.max(1));
        json!({
            "field": field.name(), "runs": result.runs, "wrongPromotion": part(result.promoted_wrongly),
            "wrongDiscard": part(result.discarded_wrongly), "bestLost": part(result.best_lost),
            "promoted": part(result.promoted), "undecided": part(result.undecided),
            "medianSeconds": median(&result.seconds),
        })
    };
    let cells: Vec<Value> = results.iter().map(cell).collect();
    let document = json!({"command": about.command, "seed": about.seed, "lag": LAG, "cells": cells});
    format!("{document:#}\n")
}

/// Whether what was counted keeps the promise, in every field.
pub fn holds(results: &[(Field, Counts)]) -> bool {
    let rare = |count: u32, of: u32| f64::from(count) <= MOST * f64::from(of);
    results.iter().all(|(_, r)| [r.best_lost, r.promoted_wrongly, r.discarded_wrongly].iter().all(|n| rare(*n, r.runs)))
}
