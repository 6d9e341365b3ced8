//! Several candidates in the engine's closed loop: who wins the race, who leaves, and what the traffic is meanwhile.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use reiter8::api::Experiment;
use reiter8::controller::status;
use reiter8::engine::judge::{Sample, Tally};
use reiter8::engine::*;
use reiter8_testing::{self as testing, trial};

/// Requests per second of all versions together.
const RPS: f64 = 200.0;
/// Standard deviation of the reward of one request, by its mean.
const SPREAD: f64 = 1.0;

/// How a version does: share of bad requests, and mean reward of a request.
#[derive(Clone, Copy)]
struct Does(f64, f64);

const GOOD: Does = Does(0.001, 1.0);

struct World {
    /// All but what the metrics say. Each workload has four replicas, and its content says which one it is.
    well: testing::World,
    baseline: Does,
    candidates: Vec<Does>,
    random: u64,
}

impl World {
    fn new(baseline: Does, candidates: &[Does], seed: u64) -> Self {
        let mut well = testing::World::ready().replicas(4).candidates(candidates.len());
        let quiet = |i: usize| Tally { requests: 2000.0, bad: f64::from(u8::from(i.is_multiple_of(2))) };
        well = well.history(2 * candidates.len(), &(0..360).map(quiet).collect::<Vec<_>>());
        well.workloads.baseline.content = "stable".into();
        for (at, workload) in well.workloads.candidates.iter_mut().enumerate() {
            workload.content = format!("content {at}");
        }
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self { well, baseline, candidates: candidates.to_vec(), random }
    }

    /// So many ready replicas of these candidates.
    fn ready(&mut self, candidates: &[usize], replicas: u32) {
        for at in candidates {
            self.well.workloads.candidates[*at].ready = replicas;
        }
    }

    /// A candidate is rebuilt.
    fn rebuild(&mut self, candidate: usize) {
        self.well.workloads.candidates[candidate].content = "another".into();
    }

    fn split(&self) -> Split {
        self.well.routes.candidates
    }

    /// A person writes the weights.
    fn edit(&mut self, split: Split) {
        self.well.routes = Routes { writer: Some("kubectl-edit".into()), ..Routes::split(split) };
    }

    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and variance 1.
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    fn tally(&mut self, requests: f64, Does(share, _): Does) -> Tally {
        let bad = requests * share;
        let whole = bad.floor() + f64::from(u8::from(self.uniform() < bad.fract()));
        Tally { requests, bad: whole.min(requests) }
    }

    fn reward(&mut self, requests: f64, Does(_, mean): Does) -> Sample {
        let noise = if requests > 0.0 { self.normal() * SPREAD * mean * requests.sqrt() } else { 0.0 };
        Sample { count: requests, sum: (requests * mean + noise).max(0.0) }
    }

    /// Each candidate's error rate and reward.
    fn answers(&mut self, seconds: f64) -> Vec<Seen<Answer>> {
        let of = |weight: u8| (RPS * seconds * f64::from(weight) / 100.0).round();
        let (split, baseline) = (self.split(), self.baseline);
        let all = of(split.baseline());
        let (errors, reward) = (self.tally(all, baseline), self.reward(all, baseline));
        let mut answers = vec![];
        for at in 0..self.candidates.len() {
            let (requests, does) = (of(split.of(at)), self.candidates[at]);
            answers.push(Ok(Pair::requests(errors, self.tally(requests, does)).into()));
            answers.push(Ok(Pair::Values { baseline: reward, candidate: self.reward(requests, does) }.into()));
        }
        answers
    }

    fn see(&mut self, asked: &Questions) -> Observation {
        let mut seen = self.well.see(asked);
        if let Some(reading) = &mut seen.reading {
            let seconds = reading.window.to.duration_since(reading.window.from).as_secs_f64();
            reading.answers = self.answers(seconds);
        }
        seen
    }
}

fn name(candidate: usize) -> String {
    format!("c{}", candidate + 1)
}

/// An error rate of at most 1 % for each candidate, and a race for orders.
fn plan(candidates: usize) -> Plan {
    let limit = [Rule::Share { limit: 0.01 }, Rule::Companion { limit: 0.01 }];
    let of = |candidate: usize| {
        limit.map(|rule| Criterion { metric: "istio/error-rate".into(), source: 2 * candidate, candidate, rule })
    };
    let mut plan = trial::plan((0..candidates).flat_map(of).collect());
    plan.candidates =
        (0..candidates).map(|at| Version { name: name(at), workload: format!("app-{}", name(at)) }).collect();
    plan.cap = u8::try_from(100 / (candidates + 1)).unwrap();
    let sources = (0..candidates).map(|at| 2 * at + 1).collect();
    plan.race = Some(Race { metric: "orders".into(), sources, higher_is_better: true });
    plan
}

/// A run: its memory, the splits that were wanted, and what people were told.
struct Run {
    plan: Plan,
    progress: Progress,
    now: Timestamp,
    splits: Vec<Split>,
    told: Vec<String>,
    /// Candidates that the guard had evidence of.
    watched: Vec<usize>,
}

impl Run {
    fn new(plan: Plan) -> Self {
        Self { plan, progress: Progress::default(), now: trial::start(), splits: vec![], told: vec![], watched: vec![] }
    }

    /// Steps until something holds.
    fn until(&mut self, world: &mut World, holds: impl Fn(&Self) -> bool) {
        for _ in 0..40_000 {
            let seen = world.see(&ask(&self.plan, &self.progress, self.now));
            let done = testing::turn(&self.plan, &self.progress, &seen, self.now);
            self.progress = done.progress;
            let watch = self.progress.watch.iter().flat_map(|w| &w.evidence);
            self.watched.extend(watch.map(|e| e.criterion.candidate));
            self.told.extend(done.notices.iter().map(|n| format!("{}: {}", n.reason, n.message)));
            for effect in &done.effects {
                world.well.obey(effect);
                if let Effect::Route(split) = effect {
                    self.splits.push(*split);
                }
            }
            if holds(self) {
                return;
            }
            let Wake::At(time) = done.wake else { panic!("nothing is due: {:?}", self.progress) };
            self.now = self.now.max(time);
        }
        panic!("it never came: {:?}", self.progress.waiting);
    }

    fn verdict(&mut self, world: &mut World) -> &Decision {
        self.until(world, |run| run.progress.decision.is_some());
        self.progress.decision.as_ref().unwrap()
    }

    fn seconds(&self) -> i64 {
        let at = self.progress.decision.as_ref().unwrap().at;
        at.duration_since(self.progress.first_traffic.unwrap()).as_secs()
    }

    fn left(&self, candidate: usize) -> Option<(Reason, &str)> {
        self.progress.entrants.get(candidate)?.left.as_ref().map(|left| (left.reason, left.sentence.as_str()))
    }
}

#[test]
fn the_best_reward_wins_and_others_leave_one_by_one() {
    let mut world = World::new(GOOD, &[Does(0.001, 1.05), Does(0.001, 1.3), Does(0.001, 0.8)], 3);
    let mut run = Run::new(plan(3));
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.reason, decision.candidate), (Outcome::Promote, Reason::Proven, 1));
    assert!(
        decision.sentence.contains("c2 keeps every limit at 25 % of the traffic, and has the best orders"),
        "{decision:?}"
    );
    assert_eq!(run.left(1), None);
    let (reason, why) = run.left(2).expect("the worst one left before");
    assert_eq!(reason, Reason::Outperformed);
    assert!(why.starts_with("orders is better at "), "{why}");
    assert!(
        run.told.iter().any(|t| t.starts_with("CandidateDismissed: c3 is out: orders is better at ")),
        "{:?}",
        run.told
    );
    // All weights were the same, the cap was kept, and a share that became free was the baseline's.
    for split in &run.splits {
        let weights: BTreeSet<u8> = split.weights(3).filter(|w| *w > 0).collect();
        assert!(weights.len() <= 1 && weights.iter().all(|w| *w <= 25), "{split:?}");
    }
    assert!(run.splits.contains(&[25, 25, 25].into_iter().collect()));
    assert!(run.splits.contains(&[25, 25, 0].into_iter().collect()), "{:?}", run.splits);
    // The table that the verdict froze.
    let arms: Vec<(&str, bool)> = decision.race.iter().map(|row| (row.name.as_str(), row.racing)).collect();
    assert_eq!(arms[2], ("c2", true));
    assert!(decision.race.iter().filter(|row| row.name != "c2").all(|row| !row.racing), "{:?}", decision.race);
    assert_eq!(decision.rows.iter().filter(|row| row.candidate.as_deref() == Some("c3")).count(), 1);
    // Until the merge the winner alone keeps its part; without a write-back it stays so.
    run.until(&mut world, |run| run.progress.phase == Phase::Completed);
    assert_eq!(world.split(), Split::only(1, 25));
}

#[test]
fn a_candidate_that_breaks_a_limit_leaves_alone() {
    let mut world = World::new(GOOD, &[Does(0.08, 3.0), Does(0.001, 1.2)], 5);
    let mut run = Run::new(plan(2));
    run.until(&mut world, |run| run.progress.entrants.first().is_some_and(|e| e.left.is_some()));
    let (reason, why) = run.left(0).unwrap();
    assert_eq!(reason, Reason::Harmful);
    assert!(
        why.contains("istio/error-rate broke its limit of 1 %") && why.contains("requests to c1 were bad"),
        "{why}"
    );
    assert_eq!(run.splits.last().unwrap().of(0), 0, "its traffic returns in the same turn");
    assert!(run.splits.last().unwrap().of(1) > 0, "the other one keeps its own");
    let decision = run.verdict(&mut world).clone();
    // It had the best reward by far, which counts for nothing.
    assert_eq!((decision.outcome, decision.candidate), (Outcome::Promote, 1));
}

#[test]
fn where_the_baseline_is_best_everything_stays() {
    let mut world = World::new(Does(0.001, 1.2), &[GOOD, Does(0.001, 0.9)], 7);
    let mut run = Run::new(plan(2));
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::Outperformed));
    assert!(decision.sentence.contains("orders is better at stable"), "{}", decision.sentence);
    run.until(&mut world, |run| run.progress.phase == Phase::Completed);
    assert!(world.split().is_home());
}

#[test]
fn what_cannot_be_told_apart_need_not_be_at_the_deadline() {
    let mut world = World::new(GOOD, &[Does(0.001, 1.3), Does(0.001, 1.3)], 11);
    let mut run = Run::new(plan(2));
    run.plan.analysis.deadline = SignedDuration::from_mins(20);
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Promote, Reason::Proven));
    assert!(
        decision.sentence.contains("is better than the baseline's; until the deadline it could not be told apart"),
        "{decision:?}"
    );
    assert!((1200..1230).contains(&run.seconds()), "{}", run.seconds());
    // With nothing better than the baseline there is nothing to promote.
    let mut world = World::new(GOOD, &[GOOD, GOOD], 11);
    let mut run = Run::new(plan(2));
    (run.plan.analysis.deadline, run.plan.analysis.hard_deadline) =
        (SignedDuration::from_mins(20), SignedDuration::from_mins(30));
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::Undecided));
}

#[test]
fn replicas_and_content_are_each_candidates_own() {
    let mut world = World::new(GOOD, &[Does(0.001, 1.0), Does(0.001, 1.0), Does(0.001, 1.0)], 13);
    let mut run = Run::new(plan(3));
    run.until(&mut world, |run| run.progress.phase == Phase::Deciding);
    world.ready(&[0], 0);
    run.until(&mut world, |run| run.splits.last() == Some(&[0, 25, 25].into_iter().collect()));
    assert!(
        run.told.iter().any(|t| t.contains("c1 lost its last ready replica; its traffic returns")),
        "{:?}",
        run.told
    );
    // It is back, and has its part again.
    world.ready(&[0], 4);
    run.until(&mut world, |run| run.splits.last() == Some(&[25, 25, 25].into_iter().collect()));
    // Another one changes: that is another version, and it leaves at once.
    world.rebuild(1);
    run.until(&mut world, |run| run.left(1).is_some());
    assert_eq!(run.left(1).unwrap().0, Reason::CandidateChanged);
    assert_eq!(run.splits.last(), Some(&[25, 0, 25].into_iter().collect()));
    // One that stays without replicas does not keep the last one waiting for ever.
    world.ready(&[0], 0);
    let lost = run.now;
    run.until(&mut world, |run| run.left(0).is_some());
    assert_eq!(run.left(0).unwrap().0, Reason::CandidateNotReady);
    assert!(run.now.duration_since(lost) < SignedDuration::from_mins(11), "{}", run.now.duration_since(lost));
    assert_eq!(run.splits.last(), Some(&[0, 0, 25].into_iter().collect()));
    // And the last one that leaves ends it.
    world.rebuild(2);
    let decision = run.verdict(&mut world).clone();
    assert_eq!(
        (decision.outcome, decision.reason, decision.candidate),
        (Outcome::Discard, Reason::CandidateChanged, 2)
    );
}

#[test]
fn foreign_weights_are_put_right_and_never_adopted() {
    let mut world = World::new(GOOD, &[GOOD, GOOD], 17);
    let mut run = Run::new(plan(2));
    run.until(&mut world, |run| run.progress.phase == Phase::Deciding);
    let wanted = world.split();
    // Somebody shifts traffic from one candidate to the other: the sum is the same.
    world.edit([60, 6].into_iter().collect());
    run.until(&mut world, |run| run.progress.repairs.count == 1);
    assert_eq!(world.split(), wanted);
    assert!(
        run.told.iter().any(|t| t == "WeightsRepaired: kubectl-edit set the weights to 34/60/6; they are put right"),
        "{:?}",
        run.told
    );
    // A person's 100 % baseline is obeyed.
    run.until(&mut world, |run| run.progress.applied.is_some());
    world.edit(Split::HOME);
    run.until(&mut world, |run| run.progress.overridden.is_some());
    assert!(world.split().is_home());
}

#[test]
fn a_person_promotes_the_leader() {
    let mut world = World::new(GOOD, &[GOOD, Does(0.001, 1.1)], 19);
    let mut run = Run::new(plan(2));
    let looked = |run: &Run| run.progress.phase == Phase::Deciding && run.progress.intervals > 20;
    run.until(&mut world, looked);
    run.plan.wishes = vec![Wish::Asked { verb: Verb::Promote, at: run.now, why: "sold out".into() }];
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.reason, decision.candidate), (Outcome::Promote, Reason::Requested, 1));
}

#[test]
fn edited_terms_begin_the_race_anew_without_those_that_left() {
    let mut world = World::new(GOOD, &[Does(0.08, 1.0), GOOD, GOOD], 23);
    let mut run = Run::new(plan(3));
    run.until(&mut world, |run| run.progress.phase == Phase::Deciding && run.left(0).is_some());
    run.plan.analysis.false_promotion = 0.01;
    run.until(&mut world, |run| run.progress.restarts == 1);
    let table = race_rows(&run.plan, &run.progress);
    assert!(!table[1].racing && table[2].racing && table[3].racing, "{table:?}");
    assert!(table.iter().all(|row| (row.needed - 100.0).abs() < 1e-9), "{table:?}");
}

/// The guard after the verdict watches the winner, by its own evidence.
#[test]
fn the_guard_watches_the_winner() {
    let mut world = World::new(GOOD, &[Does(0.001, 0.8), Does(0.001, 1.3)], 29);
    let mut run = Run::new(Plan { gitops: Some(gitops()), ..plan(2) });
    run.until(&mut world, |run| run.progress.watch.is_some());
    let watched: BTreeSet<usize> = run.watched.iter().copied().collect();
    assert_eq!(watched, BTreeSet::from([1]));
}

fn gitops() -> Gitops {
    Gitops {
        base_branch: "main".into(),
        stale_after: SignedDuration::from_hours(24),
        drain: SignedDuration::from_secs(10),
        waiting: WhileWaiting::Hold,
        handover: Handover::TwoPullRequests,
        auto_merge: AutoMerge::default(),
    }
}

/// One that never becomes ready takes no part; the others start without it.
#[test]
fn who_is_not_ready_at_the_start_takes_no_part() {
    let mut world = World::new(GOOD, &[GOOD, Does(0.001, 1.3), GOOD], 41);
    world.ready(&[2], 0);
    let mut run = Run::new(plan(3));
    run.until(&mut world, |run| run.progress.phase == Phase::Shifting);
    assert_eq!(run.left(2).unwrap(), (Reason::CandidateNotReady, "app-c3 had no ready replica within 10 minutes"));
    // It comes back too late to be compared fairly.
    world.ready(&[2], 4);
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.candidate), (Outcome::Promote, 1));
    assert!(run.splits.iter().all(|split| split.of(2) == 0), "{:?}", run.splits);
    // Without any there is nothing to try.
    let mut world = World::new(GOOD, &[GOOD, GOOD], 43);
    world.ready(&[0, 1], 0);
    let mut run = Run::new(plan(2));
    let decision = run.verdict(&mut world).clone();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::CandidateNotReady));
}

/// Before the start the candidates may be edited: what is known of one that is gone concerns no other.
#[test]
fn candidates_that_are_edited_before_the_start_begin_anew() {
    let mut world = World::new(GOOD, &[GOOD, GOOD], 47);
    world.ready(&[0, 1], 0);
    let mut run = Run::new(plan(2));
    run.until(&mut world, |run| run.progress.entrants.first().is_some_and(|e| e.left.is_some()));
    // The first one is taken out in Git: the second one is the first now.
    let mut alone = plan(1);
    (alone.candidates[0], alone.race) = (run.plan.candidates[1].clone(), None);
    let (mut edited, mut other) = (Run { plan: alone, ..run }, World::new(GOOD, &[GOOD], 47));
    edited.until(&mut other, |run| run.progress.first_traffic.is_some());
    // The one that is left of two is not ready, and never was.
    let mut world = World::new(GOOD, &[GOOD, GOOD], 47);
    world.ready(&[0, 1], 0);
    let mut run = Run::new(plan(2));
    run.until(&mut world, |run| run.progress.entrants.first().is_some_and(|e| e.left.is_some()));
    let mut alone = plan(1);
    (alone.candidates[0], alone.race) = (run.plan.candidates[0].clone(), None);
    let mut ended = Run { plan: alone, ..run };
    let decision = ended.verdict(&mut World::new(GOOD, &[GOOD], 47)).clone();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::CandidateNotReady));
}

/// Whatever took the baseline out of the race is void with the candidate that had it: the one that is left has to be better
/// by itself.
#[test]
fn the_last_one_beside_a_dropped_one_is_no_winner_by_that() {
    let (mut seen, mut promoted) = (0, 0);
    for seed in 53..113 {
        let mut world = World::new(GOOD, &[Does(0.001, 1.05), Does(0.001, 1.001)], seed);
        let mut run = Run::new(plan(2));
        run.plan.analysis.hard_deadline = run.plan.analysis.deadline;
        let out = |run: &Run| race_rows(&run.plan, &run.progress).first().is_some_and(|row| !row.racing);
        run.until(&mut world, |run| out(run) || run.left(1).is_some() || run.progress.decision.is_some());
        if run.progress.decision.is_some() || run.left(1).is_some() {
            continue;
        }
        seen += 1;
        world.rebuild(0);
        let decision = run.verdict(&mut world).clone();
        promoted += u32::from(decision.outcome == Outcome::Promote);
    }
    // The baseline left by chance now and then; that it did is no proof for the one that is left.
    assert!(seen >= 4 && 4 * promoted <= seen, "{promoted} of {seen} were promoted");
}

/// What the race has shown at one final weight is void at another, and of one reward at another.
#[test]
fn another_final_weight_or_reward_begins_the_race_anew() {
    let mut world = World::new(GOOD, &[GOOD, GOOD], 59);
    let mut run = Run::new(plan(2));
    let values = |run: &Run| race_rows(&run.plan, &run.progress).get(1).map_or(0.0, |row| row.values);
    run.until(&mut world, |run| values(run) > 10_000.0);
    run.plan.race.as_mut().unwrap().metric = "clicks".into();
    run.until(&mut world, |run| run.progress.restarts == 1);
    assert!(values(&run) < 1_000.0);
    run.until(&mut world, |run| values(run) > 10_000.0);
    world.ready(&[0], 1);
    run.until(&mut world, |run| run.progress.weight == 25 && run.progress.phase == Phase::Deciding);
    assert!(values(&run) < 1_000.0, "{}", values(&run));
    assert!(
        run.told.iter().any(|t| t == "CapacityLimited: final weight 25 %: 1 of 4 replicas of c1"),
        "{:?}",
        run.told
    );
}

/// An unproven promotion needs a reward that is no worse than the baseline's; one that is asked for needs one at all.
#[test]
fn without_a_reward_nobody_is_promoted() {
    let mut world = World::new(Does(0.001, 1.01), &[GOOD, GOOD], 61);
    let mut run = Run::new(plan(2));
    run.plan.wishes = vec![Wish::Asked { verb: Verb::Promote, at: run.now, why: String::new() }];
    run.until(&mut world, |run| run.progress.phase == Phase::Shifting);
    run.plan.wishes =
        vec![Wish::Asked { verb: Verb::Promote, at: run.now + SignedDuration::from_secs(1), why: String::new() }];
    run.until(&mut world, |run| run.told.iter().any(|t| t.contains("rewards were not compared yet")));
    run.plan.wishes = vec![];
    run.plan.analysis.on_undecided = OnUndecided::PromoteUnproven;
    run.plan.analysis.deadline = SignedDuration::from_mins(15);
    let decision = run.verdict(&mut world).clone();
    let best = decision.race.iter().skip(1).filter_map(|row| row.mean).fold(f64::NEG_INFINITY, f64::max);
    let promoted = decision.outcome == Outcome::Promote;
    assert!(!promoted || best >= decision.race[0].mean.unwrap(), "{decision:?}");
}

#[test]
fn a_split_of_an_earlier_release_is_read() {
    let read = |text: &str| serde_json::from_str::<Split>(text).unwrap();
    assert_eq!((read("25"), read("[25]"), read("[]")), (Split::one(25), Split::one(25), Split::HOME));
    assert_eq!(serde_json::to_string(&[Split::one(25), Split::only(1, 30)]).unwrap(), "[[25],[0,30]]");
}

/// What a status shows of it: four weights, criteria by candidate, and the race.
#[test]
fn the_status_shows_every_version() {
    let mut world = World::new(GOOD, &[Does(0.08, 1.0), Does(0.001, 1.3), GOOD], 31);
    let mut run = Run::new(plan(3));
    run.until(&mut world, |run| run.progress.phase == Phase::Deciding && run.left(0).is_some());
    let experiment = Experiment::new("trial", serde_json::from_value(spec()).unwrap());
    let shown = status::of(&experiment, &run.plan, &run.progress, run.now);
    let weights: Vec<(&str, i32)> = shown.weights.iter().map(|w| (w.name.as_str(), w.value)).collect();
    assert_eq!(weights, [("stable", 50), ("c1", 0), ("c2", 25), ("c3", 25)]);
    let of: BTreeSet<&str> = shown.criteria.iter().filter_map(|c| c.candidate.as_deref()).collect();
    assert_eq!(of, BTreeSet::from(["c1", "c2", "c3"]));
    let race = shown.race.unwrap();
    let states: Vec<(&str, &str)> = race.versions.iter().map(|v| (v.name.as_str(), v.state.as_str())).collect();
    assert_eq!(states, [("stable", "Racing"), ("c1", "Out"), ("c2", "Racing"), ("c3", "Racing")]);
    assert!(race.versions[1].why.starts_with("istio/error-rate broke its limit"), "{race:?}");
    assert!(race.versions[2].why.starts_with("evidence against it "), "{race:?}");
    run.verdict(&mut world);
    let shown = status::of(&experiment, &run.plan, &run.progress, run.now);
    assert_eq!(shown.version_recommended_for_promotion.as_deref(), Some("c2"));
    assert!(serde_json::to_string(&shown).unwrap().len() < 64 * 1024, "it fits an object");
}

/// The most candidates that there may be still fit their status.
#[test]
fn the_state_of_the_largest_race_is_small() {
    let mut world = World::new(GOOD, &[GOOD; MOST_CANDIDATES], 37);
    let mut run = Run::new(plan(MOST_CANDIDATES));
    run.until(&mut world, |run| run.progress.phase == Phase::Deciding && run.progress.intervals > 60);
    let size = serde_json::to_string(&run.progress).unwrap().len();
    println!("progress of {MOST_CANDIDATES} candidates: {size} bytes");
    assert!(size < 128 * 1024, "{size}");
}

fn spec() -> serde_json::Value {
    let version = |name: &str| serde_json::json!({"name": name, "destination": {"subset": name}});
    serde_json::json!({
        "target": "ns/app", "strategy": {"testingPattern": "A/B/N"}, "traffic": {"virtualService": "app"},
        "versionInfo": {"baseline": version("stable"), "candidates": [version("c1"), version("c2"), version("c3")]},
        "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}],
                     "rewards": [{"metric": "orders", "preferredDirection": "High"}]},
    })
}
