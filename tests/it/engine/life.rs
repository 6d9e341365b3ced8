//! The engine through a whole life, against observations made by hand: no world, no clock, no Git.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reiter8::engine::Phase::{Completed, Deciding, Preparing, Promoting, Queued, Shifting};
use reiter8::engine::judge::Tally;
use reiter8::engine::*;
use reiter8_testing::{Remote, trial};

const T0: &str = "2026-01-01T00:00:00Z";

fn plan() -> Plan {
    let rule = Rule::Share { limit: 0.01 };
    trial::plan(vec![Criterion { metric: "istio/error-rate".into(), source: 0, candidate: 0, rule }])
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
            let pair = Pair::requests(Tally { requests: rest, bad: (rest * 0.001).round() }, Tally { requests, bad });
            Reading::new(window, vec![Ok(pair.into())])
        });
        Observation {
            lock: Some(Ok(self.lock.clone())),
            routes: Some(Ok(Routes::split(Split::one(self.weight)))),
            workloads: Some(Ok(Workloads { baseline: workload(1), candidates: vec![workload(self.ready)] })),
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
            Effect::Route(split) => self.weight = split.of(0),
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
}

/// Runs until nothing is due, or `limit` steps; every step is checked to be a fixpoint of its own world.
fn run(plan: &Plan, world: &mut World, progress: &mut Progress, now: &mut Timestamp, limit: usize) -> Vec<Phase> {
    let mut phases = vec![progress.phase];
    for _ in 0..limit {
        let seen = world.see(&ask(plan, progress, *now));
        let done = step(plan, progress, &seen, *now);
        assert!(seen.routes.as_ref().unwrap().as_ref().unwrap().candidates.of(0) <= plan.cap);
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
            reading.answers = vec![Err(Unavailable::new(Cause::MetricsUnavailable, "connection refused"))];
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
    assert_eq!(first.effects, [Effect::Route(Split::HOME)]);
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
            seen.routes = Some(Err(Unavailable::new(Cause::RouteIncomplete, "route `b` is gone")));
        }
        let done = step(&plan, &progress, &seen, now);
        if progress.phase == Phase::Discarding {
            assert_eq!(done.effects, [Effect::Route(Split::HOME)]);
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

/// Runs until an experiment with a repository waits for its promotion's review.
fn in_review(plan: &mut Plan, world: &mut World) -> (Progress, Timestamp) {
    let day = SignedDuration::from_hours(24);
    let gitops = Gitops {
        base_branch: "main".into(),
        stale_after: day,
        drain: SignedDuration::ZERO,
        waiting: WhileWaiting::Hold,
        handover: Handover::TwoPullRequests,
        auto_merge: AutoMerge::default(),
    };
    let (mut progress, mut now) = (Progress::default(), T0.parse().unwrap());
    run(plan, world, &mut progress, &mut now, 8);
    plan.gitops = Some(gitops);
    let (base, commit) = (CommitId("b".into()), CommitId("c".into()));
    progress.preflight = Some(Preflight { base: base.clone(), blobs: BTreeMap::new() });
    for _ in 0..200 {
        let questions = ask(plan, &progress, now);
        let mut seen = world.see(&questions);
        seen.stage = questions.stage.map(|q| Ok(remote(&base, &commit).answer(&q.look)));
        let done = step(plan, &progress, &seen, now);
        done.effects.iter().for_each(|e| world.obey(e));
        progress = done.progress;
        if progress.stages.last().is_some_and(|s| s.state() == StageState::Waiting) {
            break;
        }
        let Wake::At(time) = done.wake else { panic!("it waits for nothing: {progress:?}") };
        now = now.max(time);
    }
    assert_eq!((progress.phase, progress.stages.len()), (Promoting, 1));
    (progress, now)
}

fn close(number: u64, why: &str) -> Effect {
    Effect::Close { number, why: why.into() }
}

/// A remote on which everything that was wanted is there: request 7 is open.
fn remote(base: &CommitId, commit: &CommitId) -> Remote {
    let work = StageWork { base: base.clone(), commit: commit.clone(), files: vec![], after: BTreeMap::new() };
    let pull = Pull { number: 7, url: String::new(), state: PullState::Open, head: None, text: None };
    Remote {
        head: Some(base.clone()),
        branch: Some(commit.clone()),
        pull: Some(pull),
        planned: Some(Planned::Commit(work)),
        ..Remote::default()
    }
}

#[test]
fn a_deletion_closes_the_promotion_that_could_still_be_merged() {
    let (mut plan, mut world) = (plan(), World::new(0.001));
    let (progress, now) = in_review(&mut plan, &mut world);
    plan.deleting = Some(now);
    let questions = ask(&plan, &progress, now);
    let question = questions.stage.clone().unwrap();
    let mut seen = world.see(&questions);
    let open = remote(&CommitId("b".into()), &CommitId("c".into()));
    seen.stage = Some(Ok(open.answer(&question.look)));
    let first = step(&plan, &progress, &seen, now);
    assert_eq!(first.effects, [Effect::Route(Split::HOME), close(7, "its experiment was deleted")]);
    first.effects.iter().for_each(|e| world.obey(e));
    let closed = Remote { pull: open.pull.map(|p| Pull { state: PullState::Closed, ..p }), ..open };
    let mut seen = world.see(&questions);
    seen.stage = Some(Ok(closed.answer(&question.look)));
    let second = step(&plan, &first.progress, &seen, now);
    assert!(
        matches!(&second.effects[..], [Effect::Release, Effect::Delete { .. }, Effect::Forget]),
        "{:?}",
        second.effects
    );
}

#[test]
fn a_forge_that_is_away_holds_up_a_deletion_for_half_a_minute_at_most() {
    let (mut plan, mut world) = (plan(), World::new(0.001));
    let (mut progress, now) = in_review(&mut plan, &mut world);
    // Nobody was there to see the deletion for an hour.
    plan.deleting = Some(now - SignedDuration::from_hours(1));
    for (later, released) in [(0, false), (1, false), (29, false), (30, true)] {
        let now = now + SignedDuration::from_secs(later);
        let mut seen = world.see(&ask(&plan, &progress, now));
        seen.stage = Some(Err(Unavailable::new(Cause::ProviderUnavailable, "connection refused")));
        let done = step(&plan, &progress, &seen, now);
        assert_eq!(done.effects.contains(&Effect::Forget), released, "{later} s: {:?}", done.effects);
        let told = done.notices.iter().any(|n| n.reason == "ReleasedWithOpenRequest" && n.message.contains("#7"));
        assert_eq!(told, released, "{:?}", done.notices);
        done.effects.iter().for_each(|e| world.obey(e));
        progress = done.progress;
    }
    assert_eq!(world.weight, 0);
}

#[test]
fn a_promotion_that_is_not_synced_is_overdue_and_the_candidate_keeps_serving() {
    let (mut plan, mut world) = (plan(), World::new(0.001));
    let (mut progress, start) = in_review(&mut plan, &mut world);
    let (weight, base, commit) = (world.weight, CommitId("b".into()), CommitId("c".into()));
    assert!(weight > 0);
    // The merge is seen in the first minute.
    for (minutes, applied, reason) in [
        (0, false, "WaitingForSync"),
        (29, false, "WaitingForSync"),
        (31, false, "SyncOverdue"),
        (32, true, "WaitingForRollout"),
        (61, true, "WaitingForRollout"),
    ] {
        let now = start + SignedDuration::from_mins(minutes);
        for _ in 0..3 {
            let questions = ask(&plan, &progress, now);
            let mut seen = world.see(&questions);
            seen.stage = questions.stage.map(|q| {
                let pull = Pull {
                    number: 7,
                    url: String::new(),
                    state: PullState::Merged(base.clone()),
                    head: None,
                    text: None,
                };
                // Its forge deletes branches that are merged.
                let merged = Remote { pull: Some(pull), branch: None, ..remote(&base, &commit) };
                Ok(merged.answer(&q.look))
            });
            seen.rollout = Some(Ok(Rollout { applied, complete: false, detail: String::new() }));
            let done = step(&plan, &progress, &seen, now);
            done.effects.iter().for_each(|e| world.obey(e));
            progress = done.progress;
        }
        assert_eq!(progress.waiting.as_ref().unwrap().reason, reason, "after {minutes} minutes");
        assert_eq!((progress.phase, world.weight), (Promoting, weight));
    }
    // A rollout that never ends: the promotion is taken back, and the candidate serves until then.
    let now = start + SignedDuration::from_mins(63);
    let mut seen = world.see(&ask(&plan, &progress, now));
    seen.rollout = Some(Ok(Rollout { applied: true, complete: false, detail: String::new() }));
    let done = step(&plan, &progress, &seen, now);
    done.effects.iter().for_each(|e| world.obey(e));
    let decision = done.progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::BaselineRolloutFailed));
    assert_eq!((done.progress.stages.last().unwrap().stage(), world.weight), (Stage::Revert, weight));
}

#[test]
fn waiting_for_a_review_writes_no_status() {
    let (mut plan, mut world) = (plan(), World::new(0.001));
    let (mut progress, mut now) = in_review(&mut plan, &mut world);
    let mut looks = 0;
    for turn in 0..100 {
        let questions = ask(&plan, &progress, now);
        looks += usize::from(questions.window.is_some());
        let mut seen = world.see(&questions);
        let remote = remote(&CommitId("b".into()), &CommitId("c".into()));
        seen.stage = questions.stage.map(|q| Ok(remote.answer(&q.look)));
        let done = step(&plan, &progress, &seen, now);
        assert!(turn == 0 || done.progress.same_record(&progress), "turn {turn} writes: {:?}", done.progress.waiting);
        progress = done.progress;
        let Wake::At(time) = done.wake else { panic!("nobody looks again") };
        now = now.max(time) + SignedDuration::from_millis(1);
    }
    assert!(looks > 10, "the guard looked {looks} times");
}

/// Others merge into the same lines. A forge that has not found out yet costs nothing, however long it takes; a conflict
/// that lasts costs a new request on the new base, while traffic stays where it is.
#[test]
fn a_request_in_conflict_is_made_anew_when_that_can_be_done() {
    let (base, commit) = (CommitId("b".into()), CommitId("c".into()));
    let again =
        |after| Some(Planned::Commit(StageWork { base: base.clone(), commit: commit.clone(), files: vec![], after }));
    let same = again(BTreeMap::new());
    let other = again([("app.yaml".to_owned(), Some("e".to_owned()))].into());
    let nothing = Some(Planned::Nothing(base.clone()));
    for (moved, planned, lasts, renewed) in [
        (true, &other, true, true),
        (true, &nothing, true, true),
        (true, &other, false, false),
        (true, &None, true, false),
        (false, &other, true, false),
        (true, &same, true, false),
    ] {
        let (mut plan, mut world) = (plan(), World::new(0.001));
        let (mut progress, mut now) = in_review(&mut plan, &mut world);
        let (weight, mut closed) = (world.weight, false);
        for look in 0..12 {
            let questions = ask(&plan, &progress, now);
            let mut seen = world.see(&questions);
            seen.stage = questions.stage.map(|q| {
                let mut seen = remote(&base, &commit);
                if matches!(q.look, Look::Review(_)) {
                    seen.conflict = lasts || look == 0;
                    seen.head = Some(if moved { CommitId("d".into()) } else { base.clone() });
                    seen.planned = planned.clone();
                    let state = if closed { PullState::Closed } else { PullState::Open };
                    seen.pull = seen.pull.map(|p| Pull { state, ..p });
                }
                Ok(seen.answer(&q.look))
            });
            let done = step(&plan, &progress, &seen, now);
            closed |= done.effects.contains(&close(7, "another request takes its place"));
            done.effects.iter().for_each(|e| world.obey(e));
            progress = done.progress;
            if progress.stages.len() > 1 {
                break;
            }
            let Wake::At(time) = done.wake else { panic!("nobody looks again") };
            now = now.max(time);
        }
        let attempts: Vec<_> = progress.stages.iter().map(|s| (s.stage(), s.attempt())).collect();
        let wanted = [(Stage::Promote, 1), (Stage::Promote, 2)];
        assert_eq!(attempts, wanted[..=usize::from(renewed)], "{moved} {planned:?} {lasts}");
        assert_eq!((closed, world.weight, progress.phase), (renewed, weight, Promoting));
    }
}

#[test]
fn nobody_wakes_an_idle_experiment() {
    let mut now: Timestamp = T0.parse().unwrap();
    for (lock, phase) in [(Lock::Free, Completed), (Lock::Taken("other".into()), Queued)] {
        let (plan, mut world, mut progress) = (plan(), World::new(0.05), Progress::default());
        world.lock = lock;
        // The second step in the queue is the first one that has nothing new to say.
        run(&plan, &mut world, &mut progress, &mut now, if phase == Queued { 1 } else { 1000 });
        let done = step(&plan, &progress, &world.see(&ask(&plan, &progress, now)), now);
        assert_eq!(progress.phase, phase);
        assert!(done.progress.same_record(&progress) && done.effects.is_empty() && done.notices.is_empty());
        let later = now + SignedDuration::from_mins(10);
        assert!(
            matches!(done.wake, Wake::OnChange) || matches!(done.wake, Wake::At(t) if t >= later),
            "{:?}",
            done.wake
        );
        assert_eq!(done.wake == Wake::OnChange, phase == Completed);
    }
}

#[test]
fn nobody_waits_for_ever() {
    let week = SignedDuration::from_hours(24 * 7);
    // In the queue.
    let (mut plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    world.lock = Lock::Taken("other".into());
    run(&plan, &mut world, &mut progress, &mut now, 2);
    assert!(progress.waiting.as_ref().unwrap().until.is_some());
    now += week * 2;
    run(&plan, &mut world, &mut progress, &mut now, 5);
    assert_eq!((progress.phase, progress.decision.unwrap().reason), (Completed, Reason::Stale));
    // Paused.
    let (mut world, mut progress) = (World::new(0.001), Progress::default());
    run(&plan, &mut world, &mut progress, &mut now, 8);
    plan.wishes = vec![Wish::Asked { verb: Verb::Pause, at: now, why: String::new() }];
    run(&plan, &mut world, &mut progress, &mut now, 2);
    assert_eq!(progress.waiting.as_ref().unwrap().reason, "Paused");
    now += week * 2;
    run(&plan, &mut world, &mut progress, &mut now, 10);
    assert_eq!((progress.phase, progress.decision.unwrap().reason, world.weight), (Completed, Reason::Stale, 0));
}

#[test]
fn a_request_is_handled_once_and_an_unreadable_one_is_told_once() {
    let (mut plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 8);
    let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    let asked = |verb, second| Wish::Asked { verb, at: at(second), why: String::new() };
    plan.wishes = vec![asked(Verb::Resume, 2), asked(Verb::Pause, 1), Wish::Unreadable("x".into())];
    let mut told = vec![];
    for _ in 0..3 {
        let done = step(&plan, &progress, &world.see(&ask(&plan, &progress, now)), now);
        told.extend(done.notices.iter().map(|n| n.reason));
        progress = done.progress;
    }
    // The older one first: paused, then resumed.
    assert_eq!(progress.hold, None);
    assert_eq!(progress.handled.len(), 2);
    assert_eq!(told.iter().filter(|r| **r == "Resumed").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|r| **r == "RequestUnreadable").count(), 1, "{told:?}");
}

#[test]
fn a_refused_experiment_has_no_traffic_until_it_is_mended() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 8);
    assert!(progress.phase == Shifting && world.weight > 0);
    let (weight, evidence) = (world.weight, progress.evidence.clone());
    let refusal = Unavailable::new(Cause::InvalidExperiment, "spec.x: `1` is wrong; write `2`");
    let refused = Plan { refused: Some(refusal), ..plan.clone() };
    run(&refused, &mut world, &mut progress, &mut now, 4);
    assert_eq!((world.weight, progress.phase), (0, Shifting));
    assert_eq!(progress.waiting.as_ref().unwrap().reason, "InvalidExperiment");
    // A day later nobody has mended it, but the deadline has passed; a minute later it goes on where it was.
    let (mut ended, mut later) = (progress.clone(), now + SignedDuration::from_hours(24));
    let mut abandoned = World { lock: Lock::Mine, ..World::new(0.001) };
    run(&refused, &mut abandoned, &mut ended, &mut later, 8);
    let decision = ended.decision.unwrap();
    assert_eq!((ended.phase, decision.reason, abandoned.weight), (Completed, Reason::Undecided, 0));
    assert!(decision.sentence.contains("spec.x"), "{}", decision.sentence);
    now += SignedDuration::from_mins(1);
    run(&plan, &mut world, &mut progress, &mut now, 2);
    assert_eq!((world.weight, &progress.evidence, &progress.refused), (weight, &evidence, &None));
    run(&plan, &mut world, &mut progress, &mut now, 1000);
    assert_eq!(progress.decision.unwrap().reason, Reason::Proven);
}

#[test]
fn what_is_refused_is_not_promoted_by_a_person_either() {
    let (mut plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    run(&plan, &mut world, &mut progress, &mut now, 8);
    plan.refused = Some(Unavailable::new(Cause::RepositoryNotFound, "spec.gitops.repository: gone"));
    plan.wishes = vec![Wish::Asked { verb: Verb::Promote, at: now, why: String::new() }];
    run(&plan, &mut world, &mut progress, &mut now, 4);
    assert_eq!((progress.phase, progress.decision.is_none(), world.weight), (Shifting, true, 0));
    plan.wishes.push(Wish::Asked { verb: Verb::Abort, at: now, why: String::new() });
    run(&plan, &mut world, &mut progress, &mut now, 8);
    assert_eq!(progress.decision.unwrap().reason, Reason::Aborted);
}

#[test]
fn metrics_that_cannot_be_read_move_no_traffic() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let now: Timestamp = T0.parse().unwrap();
    for _ in 0..6 {
        let mut seen = world.see(&ask(&plan, &progress, now));
        seen.history = seen.history.map(|_| vec![Err(Unavailable::new(Cause::MetricsUnavailable, "gone"))]);
        let done = step(&plan, &progress, &seen, now);
        done.effects.iter().for_each(|e| world.obey(e));
        progress = done.progress;
    }
    assert_eq!((progress.phase, world.weight), (Preparing, 0));
    assert_eq!(progress.waiting.unwrap().reason, "MetricsUnavailable");
}

#[test]
fn an_effect_that_failed_is_told_once() {
    let plan = plan();
    let now: Timestamp = T0.parse().unwrap();
    let progress = Progress { phase: Promoting, ..Progress::default() };
    let why = Unavailable::new(Cause::ProtectedBranch, "failed to push");
    let told = failed(&plan, &progress, &close(1, ""), &why, now);
    assert_eq!(told.waiting.as_ref().unwrap().reason, "ProtectedBranch");
    let again = failed(&plan, &told, &close(1, ""), &why, now + SignedDuration::from_secs(5));
    assert_eq!(again, told, "no status write for each try");
    assert_eq!(failed(&plan, &progress, &Effect::Route(Split::HOME), &why, now), progress);
    let leaving = Plan { deleting: Some(now), ..plan };
    assert_eq!(failed(&leaving, &progress, &close(1, ""), &why, now), progress);
}

#[test]
fn a_writer_who_is_always_faster_is_given_way_to() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    let begun = |p: &Progress| p.phase == Shifting && p.weight > 0;
    while !begun(&progress) {
        run(&plan, &mut world, &mut progress, &mut now, 1);
    }
    // Whatever is written, the next look finds the other's weights: ours are never seen.
    let (first, mut writes, mut warned) = (now, vec![], vec![]);
    world.weight = 0;
    while now < first + SignedDuration::from_mins(4) {
        let mut seen = world.see(&ask(&plan, &progress, now));
        seen.routes = Some(Ok(Routes { writer: Some("webhook".into()), ..Routes::split(Split::one(0)) }));
        let done = step(&plan, &progress, &seen, now);
        writes.extend(done.effects.iter().filter(|e| matches!(e, Effect::Route(_))).map(|_| now));
        warned.extend(done.notices.into_iter().filter(|n| n.reason == "WeightsContested").map(|n| n.message));
        progress = done.progress;
        let Wake::At(time) = done.wake else { panic!("nobody looks again") };
        now = now.max(time);
    }
    let rushed = writes.iter().filter(|t| **t < first + SignedDuration::from_secs(10)).count();
    assert!((5..=8).contains(&rushed) && writes.len() <= rushed + 4, "{rushed} at once, {} in all", writes.len());
    assert!(warned[0].contains("webhook"), "{warned:?}");
    assert_eq!(progress.waiting.as_ref().map(|w| w.reason.as_str()), Some("WeightsContested"));
    // The other one stops: the ramp goes on.
    run(&plan, &mut world, &mut progress, &mut now, 40);
    assert!(world.weight > 0 && progress.repairs.asked.is_none(), "{:?}", progress.repairs);
}

#[test]
fn a_write_that_was_refused_is_no_contest() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    let refused = Unavailable::new(Cause::Forbidden, "not yours");
    let mut told = vec![];
    for _ in 0..60 {
        let seen = world.see(&ask(&plan, &progress, now));
        let done = step(&plan, &progress, &seen, now);
        progress = done.progress;
        told.extend(done.notices.into_iter().map(|n| n.reason));
        for effect in &done.effects {
            match effect {
                Effect::Route(_) => progress = failed(&plan, &progress, effect, &refused, now),
                other => world.obey(other),
            }
        }
        now += SignedDuration::from_secs(2);
    }
    assert!(progress.phase == Shifting && world.weight == 0, "{:?}", progress.phase);
    assert!(!told.contains(&"WeightsContested"), "{told:?}");
}

#[test]
fn what_people_write_with_a_request_is_shown() {
    let (mut plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    while progress.phase != Shifting {
        run(&plan, &mut world, &mut progress, &mut now, 1);
    }
    let mut ask_for = |verb, why: &str, progress: &mut Progress| {
        now += SignedDuration::from_secs(1);
        plan.wishes = vec![Wish::Asked { verb, at: now, why: why.into() }];
        let done = step(&plan, progress, &world.see(&ask(&plan, progress, now)), now);
        *progress = done.progress;
        let waits = progress.waiting.as_ref().map(|w| w.what.clone()).unwrap_or_default();
        let told = done.notices.into_iter().map(|n| n.message).chain([waits]);
        told.collect::<Vec<_>>().join("\n")
    };
    let paused = ask_for(Verb::Pause, "incident 4711", &mut progress);
    assert_eq!(paused.matches("a person paused the experiment: incident 4711").count(), 2, "Event and wait: {paused}");
    let again = ask_for(Verb::Pause, "incident 4712", &mut progress);
    assert!(again.contains("incident 4712"), "{again}");
    let resumed = ask_for(Verb::Resume, "it is over", &mut progress);
    assert!(resumed.contains("a person lets the experiment go on: it is over"), "{resumed}");
    let aborted = ask_for(Verb::Abort, "wrong image", &mut progress);
    assert!(aborted.contains("a person aborted the experiment: wrong image"), "{aborted}");
}

#[test]
fn a_fixed_split_is_judged_as_it_is_found() {
    for (share, outcome, left) in [(0.001, Outcome::Promote, 30), (0.1, Outcome::Discard, 0)] {
        let mut plan = Plan { ramp: Ramp::Fixed, ..plan() };
        plan.gitops = None;
        let (mut world, mut progress) = (World { weight: 30, ..World::new(share) }, Progress::default());
        let mut now: Timestamp = T0.parse().unwrap();
        while progress.decision.is_none() {
            let seen = world.see(&ask(&plan, &progress, now));
            let done = step(&plan, &progress, &seen, now);
            let moved = done.effects.iter().any(|e| matches!(e, Effect::Route(w) if w.of(0) != 30 && !w.is_home()));
            assert!(!moved, "{:?}", done.effects);
            done.effects.iter().for_each(|e| world.obey(e));
            progress = done.progress;
            let Wake::At(time) = done.wake else { panic!("nobody looks again") };
            now = now.max(time);
        }
        let decision = progress.decision.as_ref().unwrap();
        assert_eq!((decision.outcome, decision.weight), (outcome, 30), "{}", decision.sentence);
        run(&plan, &mut world, &mut progress, &mut now, 4);
        assert_eq!(world.weight, left, "without a write-back the split stays, or goes home");
    }
}

#[test]
fn no_traffic_is_said_and_holds_the_weight() {
    let (plan, mut world, mut progress) = (plan(), World::new(0.001), Progress::default());
    let mut now: Timestamp = T0.parse().unwrap();
    while !(progress.phase == Shifting && progress.intervals > 0) {
        run(&plan, &mut world, &mut progress, &mut now, 1);
    }
    let weight = progress.weight;
    let waits = |p: &Progress| p.waiting.as_ref().is_some_and(|w| w.reason == "NoTraffic" && w.until.is_some());
    for look in 1..=12 {
        let before = progress.intervals;
        while progress.intervals == before {
            let mut seen = world.see(&ask(&plan, &progress, now));
            if let Some(reading) = &mut seen.reading {
                let nothing = Pair::requests(Tally { requests: 500.0, bad: 0.0 }, Tally::default());
                reading.answers = vec![Ok(nothing.into())];
            }
            let done = step(&plan, &progress, &seen, now);
            progress = done.progress;
            let Wake::At(time) = done.wake else { panic!("nobody looks again") };
            now = now.max(time);
        }
        assert_eq!(waits(&progress), look >= 5, "after {look} silent intervals: {:?}", progress.waiting);
    }
    assert_eq!((progress.weight, progress.decision.is_none()), (weight, true), "no data is neither Pass nor Fail");
    run(&plan, &mut world, &mut progress, &mut now, 10);
    assert!(
        !waits(&progress) && progress.weight > weight,
        "requests came back, and it goes on: {:?}",
        progress.waiting
    );
}
