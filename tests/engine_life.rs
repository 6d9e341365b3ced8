//! The engine through a whole life, against observations made by hand: no world, no clock, no Git.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use jiff::{SignedDuration, Timestamp};
use reiter8::engine::Phase::{Completed, Deciding, Preparing, Promoting, Queued, Shifting};
use reiter8::engine::judge::Tally;
use reiter8::engine::*;

const T0: &str = "2026-01-01T00:00:00Z";

fn plan() -> Plan {
    let seconds = SignedDuration::from_secs;
    Plan {
        identity: Identity { namespace: "ns".into(), name: "trial".into(), uid: "u1".into(), target: "ns/app".into() },
        deleting: None,
        baseline: Version { name: "stable".into(), workload: "app".into() },
        candidate: Version { name: "next".into(), workload: "app-next".into() },
        ramp: Ramp::Gated { budget: 50.0 },
        cap: 50,
        capacity: None,
        wishes: vec![],
        criteria: vec![Criterion { metric: "istio/error-rate".into(), limit: 0.01 }],
        analysis: Analysis {
            false_rollback: 0.05,
            false_promotion: 0.05,
            interval: seconds(10),
            lag: seconds(20),
            warm_up: seconds(30),
            soak: seconds(60),
            deadline: seconds(3600),
            hard_deadline: seconds(7200),
            on_undecided: OnUndecided::Hold,
        },
        gitops: None,
    }
}

/// A world of one number: the candidate's error share, at 50 requests per second, without chance.
struct World {
    share: f64,
    weight: u8,
    ready: u32,
    lock: Lock,
    owed: f64,
}

impl World {
    fn new(share: f64) -> Self {
        Self { share, weight: 0, ready: 1, lock: Lock::Free, owed: 0.0 }
    }

    fn see(&mut self, q: &Questions) -> Observation {
        let workload = |ready| Workload { exists: true, desired: 1, ready, ..Workload::default() };
        let reading = q.window.map(|window| {
            let seconds = window.to.duration_since(window.from).as_secs_f64();
            let requests = (50.0 * seconds * f64::from(self.weight) / 100.0).round();
            self.owed += requests * self.share;
            let bad = self.owed.floor();
            self.owed -= bad;
            let rest = 50.0 * seconds - requests;
            let pair = Pair {
                baseline: Tally { requests: rest, bad: (rest * 0.001).round() },
                candidate: Tally { requests, bad },
            };
            Reading { window, pairs: vec![Ok(Some(pair))] }
        });
        Observation {
            lock: Some(Ok(self.lock.clone())),
            routes: Some(Ok(Routes::split(self.weight))),
            workloads: Some(Ok(Workloads { baseline: workload(1), candidate: workload(self.ready) })),
            reading,
            history: q.history.map(|_| {
                let quiet = |i: usize| Tally { requests: 500.0, bad: f64::from(u8::from(i.is_multiple_of(2))) };
                vec![Ok((0..360).map(quiet).collect())]
            }),
            sync: q.sync.as_ref().map(|_| Ok(Synced::Yes)),
            subsets: q.subsets.then_some(Ok(())),
            ..Observation::default()
        }
    }

    fn obey(&mut self, effect: &Effect) {
        match effect {
            Effect::Claim => self.lock = Lock::Mine,
            Effect::Release => self.lock = Lock::Free,
            Effect::Route(weight) => self.weight = *weight,
            Effect::Push { .. } | Effect::Open { .. } | Effect::Close(_) | Effect::Forget => {}
        }
    }
}

/// Runs until nothing is due, or `limit` steps; every step is checked to be a fixpoint of its own world.
fn run(plan: &Plan, world: &mut World, progress: &mut Progress, now: &mut Timestamp, limit: usize) -> Vec<Phase> {
    let mut phases = vec![progress.phase];
    for _ in 0..limit {
        let seen = world.see(&ask(plan, progress, *now));
        let done = step(plan, progress, &seen, *now);
        assert!(seen.routes.as_ref().unwrap().as_ref().unwrap().candidate <= plan.cap);
        *progress = serde_json::from_str(&serde_json::to_string(&done.progress).unwrap()).unwrap();
        assert!(progress.same_record(&done.progress), "progress survives its status");
        progress.watch = done.progress.watch;
        done.effects.iter().for_each(|e| world.obey(e));
        if phases.last() != Some(&progress.phase) {
            phases.push(progress.phase);
        }
        match done.wake {
            Wake::OnChange => return phases,
            Wake::At(time) => *now = (*now).max(time),
        }
    }
    phases
}

#[test]
fn a_good_candidate_is_promoted_after_its_soak() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    let phases = run(&plan, &mut world, &mut progress, &mut now, 1000);
    assert_eq!(phases, [Queued, Preparing, Shifting, Deciding, Promoting, Completed]);
    let decision = progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason, decision.weight), (Outcome::Promote, Reason::Proven, 50));
    let took = decision.at.duration_since(progress.first_traffic.unwrap()).as_secs();
    assert!((60..=180).contains(&took), "took {took} s");
    assert_eq!(world.lock, Lock::Free, "the target is released");
}

#[test]
fn a_bad_candidate_is_rolled_back_and_its_weight_is_zero() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.05), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 1000);
    let decision = progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::Harmful));
    assert!(decision.at.duration_since(progress.first_traffic.unwrap()).as_secs() <= 120);
    assert_eq!(world.weight, 0);
    assert!(decision.sentence.contains("istio/error-rate broke its limit of 1 %"), "{}", decision.sentence);
}

#[test]
fn missing_answers_are_neither_failure_nor_success() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 8);
    let before = progress.evidence.clone();
    for _ in 0..20 {
        now += SignedDuration::from_secs(30);
        let questions = ask(&plan, &progress, now);
        let mut seen = world.see(&questions);
        if let Some(reading) = &mut seen.reading {
            reading.pairs = vec![Err(Unavailable::new("MetricsUnavailable", "connection refused"))];
        }
        let done = step(&plan, &progress, &seen, now);
        progress = done.progress;
    }
    assert_eq!(progress.evidence, before, "no answer, no evidence");
    assert!(progress.decision.is_none());
    assert_eq!(progress.waiting.unwrap().reason, "MetricsUnavailable");
}

#[test]
fn a_candidate_without_a_ready_replica_gets_no_traffic() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 12);
    assert!(world.weight > 0);
    for loss in 1..=3 {
        world.ready = 0;
        run(&plan, &mut world, &mut progress, &mut now, 2);
        assert_eq!(world.weight, 0, "in the same turn, loss {loss}");
        if loss < 3 {
            world.ready = 1;
            run(&plan, &mut world, &mut progress, &mut now, 3);
            assert!(world.weight > 0, "back after loss {loss}");
        }
    }
    let decision = progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::CandidateNotReady));
}

#[test]
fn a_deletion_brings_traffic_home_before_it_lets_go() {
    let (mut plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 12);
    assert!(world.weight > 0);
    plan.deleting = Some(now);
    let seen = world.see(&ask(&plan, &progress, now));
    let first = step(&plan, &progress, &seen, now);
    assert_eq!(first.effects, [Effect::Route(0)]);
    first.effects.iter().for_each(|e| world.obey(e));
    let seen = world.see(&ask(&plan, &first.progress, now));
    let second = step(&plan, &first.progress, &seen, now);
    assert_eq!(second.effects, [Effect::Release, Effect::Forget]);
}

#[test]
fn a_queued_or_finished_experiment_leaves_the_routes_alone() {
    let (mut plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    world.lock = Lock::Taken("other".into());
    world.weight = 20;
    run(&plan, &mut world, &mut progress, &mut now, 3);
    assert_eq!(world.weight, 20);
    assert_eq!(progress.waiting.as_ref().unwrap().reason, "TargetTaken");
    plan.deleting = Some(now);
    let seen = world.see(&ask(&plan, &progress, now));
    assert_eq!(step(&plan, &progress, &seen, now).effects, [Effect::Forget]);
}

#[test]
fn without_a_repository_a_discard_ends_only_when_traffic_is_home() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.05), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    // The verdict is remembered before it is carried out: the write of the weights fails at first.
    for _ in 0..1000 {
        let done = step(&plan, &progress, &world.see(&ask(&plan, &progress, now)), now);
        progress = done.progress;
        if progress.decision.is_some() {
            break;
        }
        done.effects.iter().for_each(|e| world.obey(e));
        if let Wake::At(time) = done.wake {
            now = now.max(time);
        }
    }
    assert_eq!((progress.phase, progress.decision.as_ref().unwrap().outcome), (Phase::Discarding, Outcome::Discard));
    assert!(world.weight > 0, "the write failed");
    let phases = run(&plan, &mut world, &mut progress, &mut now, 100);
    assert_eq!((world.weight, phases), (0, vec![Phase::Discarding, Phase::Completed]));
}

#[test]
fn a_rollback_does_not_wait_for_routes_that_are_missing() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.05), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    for _ in 0..200 {
        let mut seen = world.see(&ask(&plan, &progress, now));
        if progress.phase == Phase::Discarding {
            seen.routes = Some(Err(Unavailable::new("RouteIncomplete", "route `b` is gone")));
        }
        let done = step(&plan, &progress, &seen, now);
        if progress.phase == Phase::Discarding {
            assert_eq!(done.effects, [Effect::Route(0)]);
            if done.progress == progress {
                assert!(matches!(done.wake, Wake::At(time) if time > now), "no turn follows at once: {:?}", done.wake);
                return;
            }
        }
        progress = done.progress;
        done.effects.iter().for_each(|e| world.obey(e));
        now = match done.wake {
            Wake::At(time) => now.max(time),
            Wake::OnChange => break,
        };
    }
    panic!("never discarding: {:?}", progress.phase);
}
