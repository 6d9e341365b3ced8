//! The cluster and its traffic, as the engine sees them.

use jiff::{SignedDuration, Timestamp};
use reiter8_engine::judge::Tally;
use reiter8_engine::{
    Effect, Lock, Observation, Pair, Plan, Preflight, Progress, Questions, Reading, Rollout, Routes, Seen, Split, Step,
    Synced, Unavailable, Window, Workload, Workloads, step,
};

use crate::{Remote, trial};

/// What there is to see. Every field is free to be changed by a test.
#[derive(Clone, Debug)]
pub struct World {
    /// Who holds the target.
    pub lock: Lock,
    /// The weights that the routes carry, and who else wrote them.
    pub routes: Routes,
    /// The workloads of all versions.
    pub workloads: Workloads,
    /// What the versions answer; a test with other metrics replaces the reading.
    pub traffic: Traffic,
    /// Why the metrics cannot be read, if they cannot. Nothing that happens meanwhile is counted.
    pub outage: Option<Unavailable>,
    /// The baseline's history, by metric and candidate as in a reading.
    pub history: Vec<Seen<Vec<Tally>>>,
    /// What the rehearsal of both outcomes finds.
    pub preflight: Preflight,
    /// The repository and its forge. Without one, questions about a stage have no answer.
    pub remote: Option<Remote>,
    /// How far the baseline's rollout is.
    pub rollout: Rollout,
}

impl World {
    /// The target is held, the baseline has all traffic, and the one candidate is ready and makes no errors.
    pub fn ready() -> Self {
        let workload = || Workload { exists: true, desired: 1, ready: 1, ..Workload::default() };
        Self {
            lock: Lock::Mine,
            routes: Routes::split(Split::HOME),
            workloads: Workloads { baseline: workload(), candidates: vec![workload()] },
            traffic: Traffic { rps: 50.0, errors: 0.0, baseline_errors: 0.0, owed: 0.0 },
            outage: None,
            history: vec![Ok(quiet(500.0))],
            preflight: Preflight { base: trial::commit("base"), blobs: [].into() },
            remote: None,
            rollout: Rollout { applied: true, complete: true, detail: String::new() },
        }
    }

    /// So many candidates, as ready as the first one.
    #[must_use]
    pub fn candidates(mut self, count: usize) -> Self {
        let first = self.workloads.candidates.first().cloned().unwrap_or_default();
        self.workloads.candidates = vec![first; count];
        self
    }

    /// So many ready replicas of each version.
    #[must_use]
    pub fn replicas(mut self, count: u32) -> Self {
        let Workloads { baseline, candidates } = &mut self.workloads;
        for workload in candidates.iter_mut().chain([baseline]) {
            (workload.desired, workload.ready) = (count, count);
        }
        self
    }

    /// Nobody holds the target.
    #[must_use]
    pub fn free(mut self) -> Self {
        self.lock = Lock::Free;
        self
    }

    /// The routes carry this weight for the first candidate.
    #[must_use]
    pub fn weight(mut self, weight: u8) -> Self {
        self.routes = Routes::split(Split::one(weight));
        self
    }

    /// Somebody else wrote the routes' weights last.
    #[must_use]
    pub fn edited(mut self, by: &str) -> Self {
        self.routes.writer = Some(by.to_owned());
        self
    }

    /// The share of the candidate's requests that fail.
    #[must_use]
    pub fn errors(mut self, share: f64) -> Self {
        self.traffic.errors = share;
        self
    }

    /// The history of each of so many metrics, or an empty one.
    #[must_use]
    pub fn history(mut self, sources: usize, history: &[Tally]) -> Self {
        self.history = vec![Ok(history.to_vec()); sources];
        self
    }

    /// This repository and forge.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.remote = Some(remote);
        self
    }

    /// The answers to what is asked.
    pub fn see(&mut self, asked: &Questions) -> Observation {
        let weight = self.carried();
        Observation {
            lock: Some(Ok(self.lock.clone())),
            routes: Some(Ok(self.routes.clone())),
            workloads: Some(Ok(self.workloads.clone())),
            reading: asked.window.map(|window| {
                let answer = match &self.outage {
                    Some(why) => Err(why.clone()),
                    None => Ok(self.traffic.pair(weight, window).into()),
                };
                Reading::new(window, vec![answer; self.history.len()])
            }),
            history: asked.history.map(|_| self.history.clone()),
            preflight: asked.preflight.then(|| Ok(self.preflight.clone())),
            stage: asked.stage.as_ref().and_then(|q| self.remote.as_ref().map(|remote| Ok(remote.answer(&q.look)))),
            rollout: asked.rollout.as_ref().map(|_| Ok(self.rollout.clone())),
            sync: asked.sync.as_ref().map(|_| Ok(Synced::Yes)),
            subsets: asked.subsets.then_some(Ok(())),
        }
    }

    /// Carries out what an effect asks of the cluster. What it asks of Git is left to those who test that.
    pub fn obey(&mut self, effect: &Effect) {
        match effect {
            Effect::Claim => self.lock = Lock::Mine,
            Effect::Release => self.lock = Lock::Free,
            Effect::Route(split) => self.routes = Routes::split(*split),
            Effect::Push { .. }
            | Effect::Open { .. }
            | Effect::Commit { .. }
            | Effect::Close { .. }
            | Effect::Merge { .. }
            | Effect::Rewrite { .. }
            | Effect::Delete { .. }
            | Effect::Forget => {}
        }
    }

    /// The first candidate's weight on the routes.
    pub fn carried(&self) -> u8 {
        self.routes.candidates.of(0)
    }
}

/// Requests of two versions, without chance.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Requests a second to both versions together.
    pub rps: f64,
    /// Share of the candidate's requests that are bad.
    pub errors: f64,
    /// Share of the baseline's.
    pub baseline_errors: f64,
    /// The part of a bad request that is still due, so that the share is exact however few requests there are.
    owed: f64,
}

impl Traffic {
    /// What both versions did in an interval at the candidate's weight, percent.
    pub fn pair(&mut self, weight: u8, window: Window) -> Pair {
        let seconds = window.to.duration_since(window.from).max(SignedDuration::ZERO).as_secs_f64();
        let all = self.rps * seconds;
        let requests = (all * f64::from(weight) / 100.0).round();
        self.owed += requests * self.errors;
        let bad = self.owed.floor();
        self.owed -= bad;
        let rest = all - requests;
        let baseline = Tally { requests: rest, bad: (rest * self.baseline_errors).round() };
        Pair::requests(baseline, Tally { requests, bad })
    }
}

/// An hour of a baseline with hardly an error: so many requests in each interval.
pub fn quiet(requests: f64) -> Vec<Tally> {
    (0..360).map(|i| Tally { requests, bad: f64::from(u8::from(i % 2 == 0)) }).collect()
}

/// A step whose progress goes through its status, as that of each turn does.
pub fn turn(plan: &Plan, progress: &Progress, seen: &Observation, now: Timestamp) -> Step {
    let mut done = step(plan, progress, seen, now);
    let written = serde_json::to_string(&done.progress).unwrap();
    let mut read: Progress = serde_json::from_str(&written).unwrap();
    assert!(read.same_record(&done.progress), "progress survives its status");
    // A process keeps this beside its status.
    read.watch = done.progress.watch.take();
    Step { progress: read, ..done }
}
