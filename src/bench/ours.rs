//! Reiter8 in the benchmark: the product's own engine, driven without a cluster and without Git.
//!
//! The driver answers what [`engine::ask`] asks and does what [`engine::step`] wants; weight and decision are the
//! engine's. Workloads are ready, the target is free, and the routes carry what they are told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::end::{End, Run};
use super::evidence;
use super::scenario::Scenario;
use super::traffic::Traffic;
use crate::api::experiment;
use crate::engine::judge::Tally;
use crate::engine::{
    self, Analysis, Answer, AutoMerge, CommitId, Effect, Gitops, Identity, Lock, Look, Observation, OnUndecided,
    Outcome, Phase, Plan, Planned, Preflight, Progress, Pull, PullState, Ramp, Reading, Reason, RequestSeen, Reviewed,
    Routes, Seen, Split, StageSeen, StageWork, Synced, Version, Wake, Workload, Workloads,
};

/// The rule's name.
pub const NAME: &str = "reiter8";
/// The product's default for the most that a candidate gets, percent.
pub const CAP: u8 = 50;
/// The product's default for the excess bad requests that the ramp tolerates within a reaction time.
pub const BUDGET: f64 = 50.0;
/// Turns at one time beyond which the engine does not come to rest.
const MOST_TURNS: u32 = 100;

/// The experiment of a scenario with the product's defaults, but for the metrics source's lag; none if the engine has no
/// test of its objective.
pub(super) fn plan(scenario: &Scenario) -> Option<Plan> {
    let criteria = evidence::criteria(scenario.objective);
    let version = |name: &str| Version { name: name.into(), workload: name.into() };
    let analysis = analysis(scenario.lag)?;
    (!criteria.is_empty()).then(|| Plan {
        identity: Identity {
            namespace: "benchmark".into(),
            name: "trial".into(),
            uid: "trial".into(),
            target: "benchmark/trial".into(),
        },
        deleting: None,
        refused: None,
        baseline: version("baseline"),
        candidates: vec![version("candidate")],
        ramp: Ramp::Gated { budget: BUDGET },
        cap: CAP,
        capacity: None,
        iterations: None,
        wishes: vec![],
        criteria,
        race: None,
        analysis,
        gitops: None,
    })
}

/// The product's defaults.
fn analysis(lag: f64) -> Option<Analysis> {
    let defaults = experiment::Analysis::default();
    let signed = |duration: std::time::Duration| SignedDuration::try_from(duration).ok();
    Some(Analysis {
        false_rollback: defaults.false_rollback().ok()?,
        false_promotion: defaults.false_promotion().ok()?,
        interval: signed(defaults.interval().ok()?)?,
        lag: SignedDuration::try_from_secs_f64(lag).ok()?,
        warm_up: signed(defaults.warm_up().ok()?)?,
        soak: signed(defaults.soak().ok()?)?,
        deadline: signed(defaults.deadline().ok()?)?,
        hard_deadline: signed(defaults.hard_deadline().ok()?)?,
        on_undecided: OnUndecided::Hold,
    })
}

/// The same experiment with a request that nobody ever merges: the guard stays armed.
pub(super) fn waiting(plan: &Plan) -> Plan {
    let gitops = Gitops {
        base_branch: "main".into(),
        // Longer than any simulated wait.
        stale_after: SignedDuration::from_hours(24 * 365),
        drain: SignedDuration::from_secs(5),
        waiting: engine::WhileWaiting::Hold,
        handover: engine::Handover::TwoPullRequests,
        auto_merge: AutoMerge::default(),
    };
    Plan { gitops: Some(gitops), ..plan.clone() }
}

/// What a metrics source says in a simulated world; times are seconds.
pub(super) trait Meter {
    /// Now.
    fn now(&self) -> f64;
    /// What each metric says of an interval.
    fn pairs(&mut self, from: f64, to: f64) -> Vec<Seen<Answer>>;
    /// What each says of the baseline's past, per step.
    fn past(&mut self, from: f64, to: f64, step: f64) -> Vec<Seen<Vec<Tally>>>;
}

impl Meter for Traffic {
    fn now(&self) -> f64 {
        Self::now(self)
    }

    fn pairs(&mut self, from: f64, to: f64) -> Vec<Seen<Answer>> {
        evidence::pairs(self.pair(from, to))
    }

    fn past(&mut self, from: f64, to: f64, step: f64) -> Vec<Seen<Vec<Tally>>> {
        vec![Ok(self.history(from, to, step))]
    }
}

/// The engine in its world.
pub(super) struct Driver<'a> {
    plan: &'a Plan,
    progress: Progress,
    /// Everything that never changes is filled in once.
    seen: Observation,
    wake: Option<Timestamp>,
    weight: u8,
}

/// Time 0 of every run.
fn at(seconds: f64) -> Timestamp {
    // Ticks are whole seconds, far from the end of time.
    #[allow(clippy::cast_possible_truncation)]
    let whole = seconds as i64;
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + whole)
}

fn seconds(at: Timestamp) -> f64 {
    at.as_second() as f64 - 1_000_000.0
}

impl<'a> Driver<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let workload = || Workload { exists: true, desired: 10, ready: 10, ..Workload::default() };
        let seen = Observation {
            lock: Some(Ok(Lock::Mine)),
            routes: Some(Ok(Routes::split(Split::HOME))),
            workloads: Some(Ok(Workloads { baseline: workload(), candidates: vec![workload()] })),
            ..Observation::default()
        };
        Self { plan, progress: Progress::default(), seen, wake: Some(at(0.0)), weight: 0 }
    }

    /// The candidate's weight, percent.
    pub(super) fn weight(&self) -> u8 {
        self.weight
    }

    /// Whether nothing more will happen by itself.
    pub(super) fn asleep(&self) -> bool {
        self.wake.is_none()
    }

    /// The engine's memory.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// All turns that are due by now.
    pub(super) fn turns(&mut self, traffic: &mut impl Meter) {
        let now = at(traffic.now());
        let mut turns = 0;
        while self.wake.is_some_and(|wake| wake <= now) && turns < MOST_TURNS {
            self.turn(traffic, now);
            turns += 1;
        }
    }

    fn turn(&mut self, traffic: &mut impl Meter, now: Timestamp) {
        self.observe(traffic, now);
        let step = engine::step(self.plan, &self.progress, &self.seen, now);
        for effect in &step.effects {
            if let Effect::Route(split) = effect {
                self.weight = split.of(0);
                self.seen.routes = Some(Ok(Routes::split(*split)));
            }
        }
        self.progress = step.progress;
        self.wake = match step.wake {
            Wake::At(time) => Some(time),
            Wake::OnChange => (!step.effects.is_empty()).then_some(now),
        };
    }

    /// Answers what is asked.
    fn observe(&mut self, traffic: &mut impl Meter, now: Timestamp) {
        let asked = engine::ask(self.plan, &self.progress, now);
        self.seen.reading = asked.window.map(|window| {
            let pairs = traffic.pairs(seconds(window.from), seconds(window.to));
            Reading::new(window, pairs)
        });
        self.seen.history =
            asked.history.map(|window| traffic.past(seconds(window.from), seconds(window.to), asked.history_step));
        self.seen.subsets = asked.subsets.then_some(Ok(()));
        let commit = || CommitId("0".repeat(40));
        self.seen.preflight = asked.preflight.then(|| Ok(Preflight { base: commit(), blobs: BTreeMap::new() }));
        self.seen.sync = asked.sync.is_some().then_some(Ok(Synced::Yes));
        // The request is there as soon as it is wanted, and nobody merges it.
        self.seen.stage = asked.stage.map(|question| {
            let pull = Pull { number: 1, url: String::new(), state: PullState::Open, head: Some(commit()), text: None };
            let request = RequestSeen { head: Some(commit()), branch: Some(commit()), pull: Some(pull) };
            let (base, files, after) = (commit(), vec![], BTreeMap::new());
            Ok(match question.look {
                Look::Plan => StageSeen::Plan(Planned::Commit(StageWork { base, commit: commit(), files, after })),
                Look::Publish => StageSeen::Publish { request, lacks: vec![] },
                Look::Review(_) => StageSeen::Review(Reviewed { request, ..Reviewed::default() }),
                Look::Base(_) => StageSeen::Base { head: commit(), landed: false },
                Look::Contents(blobs) => StageSeen::Contents { blobs, kept: BTreeSet::new() },
            })
        });
    }
}

/// One experiment until its verdict.
pub(super) fn run(plan: &Plan, scenario: &Scenario, seed: u64) -> Run {
    let mut traffic = Traffic::new(scenario, seed);
    let mut driver = Driver::new(plan);
    loop {
        driver.turns(&mut traffic);
        if let Some(decision) = &driver.progress().decision {
            let end = match (decision.outcome, decision.reason) {
                (Outcome::Promote, _) => End::Promote,
                (Outcome::Discard, Reason::Harmful) => End::Rollback,
                (Outcome::Discard, _) => End::Undecided,
            };
            return Run::ended(end, &traffic);
        }
        if driver.asleep() || driver.progress().phase == Phase::Completed {
            return Run::ended(End::Undecided, &traffic);
        }
        traffic.tick(driver.weight(), false);
    }
}
