//! Every kind of criterion through the engine: what it promotes, what it discards, and what it leaves undecided.
//!
//! Observations are made by hand and without chance but for a fixed ripple, which means need.

#![allow(clippy::type_complexity)]

use jiff::Timestamp;
use reiter8::engine::judge::{Counted, Sample, Tally};
use reiter8::engine::*;
use reiter8_testing::{self as testing, trial};

/// Requests per second of both versions together.
const RPS: f64 = 100.0;

fn plan(rules: &[(usize, Rule)]) -> Plan {
    let criterion = |(source, rule): &(usize, Rule)| Criterion {
        metric: format!("m{source}").into(),
        source: *source,
        candidate: 0,
        rule: *rule,
    };
    trial::plan(rules.iter().map(criterion).collect())
}

/// What one metric says, as functions of the interval's number.
enum Metric {
    /// Shares of bad requests: baseline, candidate at least, candidate at most.
    Shares(fn(u32) -> (f64, f64, f64)),
    /// Means of a value of each request.
    Means(fn(u32) -> (f64, f64)),
    /// Gauges.
    Gauges(fn(u32) -> (f64, f64)),
}

struct World {
    /// All but what the metrics say.
    well: testing::World,
    metrics: Vec<Metric>,
    interval: u32,
    owed: [f64; 3],
}

/// A ripple of a few percent, so that values vary without chance.
fn ripple(interval: u32, period: u32) -> f64 {
    1.0 + 0.03 * (f64::from(interval * 7 % period) / f64::from(period) - 0.5)
}

impl World {
    fn new(metrics: Vec<Metric>) -> Self {
        let well = testing::World::ready().replicas(2).history(metrics.len(), &testing::quiet(1000.0));
        Self { well, metrics, interval: 0, owed: [0.0; 3] }
    }

    /// Whole bad requests of a share, the rest owed to the next interval.
    fn whole(&mut self, of: usize, bad: f64) -> f64 {
        let all = self.owed[of] + bad;
        self.owed[of] = all - all.floor();
        all.floor()
    }

    fn pair(&mut self, metric: usize, seconds: f64) -> Pair {
        let candidate = (RPS * seconds * f64::from(self.well.carried()) / 100.0).round();
        let baseline = RPS * seconds - candidate;
        match self.metrics[metric] {
            Metric::Shares(shares) => {
                let (b, least, most) = shares(self.interval);
                let tally = |requests: f64, bad: f64| Tally { requests, bad };
                let (b, least, most) =
                    (self.whole(0, baseline * b), self.whole(1, candidate * least), self.whole(2, candidate * most));
                Pair::Requests {
                    baseline: tally(baseline, b).into(),
                    candidate: Counted { least: tally(candidate, least), most: tally(candidate, most.max(least)) },
                    unreached: 0.0,
                }
            }
            Metric::Means(means) => {
                let (b, c) = means(self.interval);
                let sample = |count: f64, mean: f64| Sample { count, sum: count * mean };
                Pair::Values {
                    baseline: sample(baseline, b * ripple(self.interval, 13)),
                    candidate: sample(candidate, c * ripple(self.interval, 11)),
                }
            }
            Metric::Gauges(gauges) => {
                let (b, c) = gauges(self.interval);
                Pair::Values {
                    baseline: Sample::gauge(b * ripple(self.interval, 13)),
                    candidate: Sample::gauge(c * ripple(self.interval, 11)),
                }
            }
        }
    }

    fn see(&mut self, asked: &Questions) -> Observation {
        let mut seen = self.well.see(asked);
        if let Some(reading) = &mut seen.reading {
            let seconds = reading.window.to.duration_since(reading.window.from).as_secs_f64();
            reading.answers = (0..self.metrics.len()).map(|metric| Ok(self.pair(metric, seconds).into())).collect();
            self.interval += 1;
        }
        seen
    }
}

/// Runs to the verdict, and tells it with the seconds of traffic that it took.
fn run(plan: &Plan, world: &mut World) -> (Progress, i64) {
    let mut progress = Progress::default();
    until(plan, world, &mut progress, trial::start(), |p| p.decision.is_some());
    let seconds = progress.decision.as_ref().unwrap().at.duration_since(progress.first_traffic.unwrap()).as_secs();
    (progress, seconds)
}

/// Runs until something holds; when that was.
fn until(
    plan: &Plan,
    world: &mut World,
    progress: &mut Progress,
    mut now: Timestamp,
    holds: impl Fn(&Progress) -> bool,
) -> Timestamp {
    for _ in 0..20_000 {
        let seen = world.see(&ask(plan, progress, now));
        let done = testing::turn(plan, progress, &seen, now);
        *progress = done.progress;
        done.effects.iter().for_each(|effect| world.well.obey(effect));
        if holds(progress) {
            return now;
        }
        let Wake::At(time) = done.wake else { panic!("nothing more happens: {progress:?}") };
        now = now.max(time);
    }
    panic!("it does not end: {progress:?}")
}

fn verdict(rules: &[(usize, Rule)], metrics: Vec<Metric>) -> (Outcome, Reason, i64) {
    let (progress, seconds) = run(&plan(rules), &mut World::new(metrics));
    let decision = progress.decision.unwrap();
    (decision.outcome, decision.reason, seconds)
}

const LIMITED: [(usize, Rule); 2] = [(0, Rule::Share { limit: 0.01 }), (0, Rule::Companion { limit: 0.01 })];
const RELATIVE: [(usize, Rule); 1] = [(0, Rule::RelativeShare { factor: 1.5, slack: 0.002 })];

fn mean(factor: f64, slack: f64, higher_is_better: bool, gauge: bool) -> (usize, Rule) {
    (0, Rule::Mean { factor, slack, higher_is_better, gauge })
}

#[test]
fn a_share_is_held_against_its_limit_and_against_the_baseline() {
    let promoted = (Outcome::Promote, Reason::Proven);
    let discarded = (Outcome::Discard, Reason::Harmful);
    let table: [(&str, &[(usize, Rule)], fn(u32) -> (f64, f64, f64), _); 6] = [
        ("within the limit", &LIMITED, |_| (0.001, 0.001, 0.001), promoted),
        // Five times the baseline, and still within the limit: the companion is silent while the baseline is well.
        ("within the limit, worse", &LIMITED, |_| (0.0005, 0.004, 0.004), promoted),
        ("beyond the limit", &LIMITED, |_| (0.001, 0.03, 0.03), discarded),
        ("like the baseline", &RELATIVE, |_| (0.004, 0.004, 0.004), promoted),
        (
            "like a baseline that drifts",
            &RELATIVE,
            |i| {
                let share = 0.002 + 0.0004 * f64::from(i.min(100));
                (share, share, share)
            },
            promoted,
        ),
        ("twice the baseline", &RELATIVE, |_| (0.01, 0.03, 0.03), discarded),
    ];
    for (name, rules, shares, (outcome, reason)) in table {
        let (got, why, seconds) = verdict(rules, vec![Metric::Shares(shares)]);
        assert_eq!((got, why), (outcome, reason), "{name} after {seconds} s");
    }
}

#[test]
fn a_bound_between_two_edges_is_passed_at_the_lower_and_failed_at_the_upper_one() {
    // Surely slow: 0.2 %; perhaps slow: 4 %; the limit is 1 %: neither is proven.
    let (_, why, _) = verdict(&LIMITED, vec![Metric::Shares(|_| (0.0, 0.002, 0.04))]);
    assert_eq!(why, Reason::Undecided);
    let (_, why, _) = verdict(&LIMITED, vec![Metric::Shares(|_| (0.0, 0.03, 0.04))]);
    assert_eq!(why, Reason::Harmful);
    let (_, why, _) = verdict(&LIMITED, vec![Metric::Shares(|_| (0.0, 0.001, 0.002))]);
    assert_eq!(why, Reason::Proven);
}

#[test]
fn while_the_environment_is_ill_a_candidate_like_the_baseline_stays_and_one_that_fails_goes() {
    // From the third interval on both fail a tenth of their requests for two minutes.
    let (outcome, why, _) = verdict(
        &LIMITED,
        vec![Metric::Shares(|i| {
            let share = if (3..15).contains(&i) { 0.1 } else { 0.001 };
            (share, share, share)
        })],
    );
    assert_eq!((outcome, why), (Outcome::Promote, Reason::Proven), "both suffered");
    let (progress, seconds) = run(&plan(&LIMITED), &mut World::new(vec![Metric::Shares(|_| (0.1, 1.0, 1.0))]));
    let decision = progress.decision.unwrap();
    assert_eq!(decision.reason, Reason::Harmful);
    // Five intervals, the lag, and the turn that follows.
    assert!(seconds <= 5 * 10 + 20 + 10, "took {seconds} s");
    assert!(decision.sentence.contains("while the baseline itself breaks 1 %"), "{}", decision.sentence);
}

#[test]
fn means_and_gauges_are_held_against_limits_and_the_baseline() {
    let promoted = (Outcome::Promote, Reason::Proven);
    let discarded = (Outcome::Discard, Reason::Harmful);
    for gauge in [false, true] {
        let table: [(&str, (usize, Rule), fn(u32) -> (f64, f64), _); 6] = [
            ("below its limit", mean(0.0, 250.0, false, gauge), |_| (100.0, 100.0), promoted),
            ("above its limit", mean(0.0, 250.0, false, gauge), |_| (100.0, 300.0), discarded),
            ("above its least", mean(0.0, 50.0, true, gauge), |_| (100.0, 100.0), promoted),
            ("below its least", mean(0.0, 50.0, true, gauge), |_| (100.0, 40.0), discarded),
            ("little worse than the baseline", mean(1.2, 0.0, false, gauge), |_| (100.0, 105.0), promoted),
            ("much worse than the baseline", mean(1.2, 0.0, false, gauge), |_| (100.0, 160.0), discarded),
        ];
        for (name, rule, values, expected) in table {
            let metric = if gauge { Metric::Gauges(values) } else { Metric::Means(values) };
            let (outcome, why, seconds) = verdict(&[rule], vec![metric]);
            assert_eq!((outcome, why), expected, "{name}, gauge: {gauge}, after {seconds} s");
        }
    }
}

#[test]
fn a_reward_has_to_be_better_and_a_draw_decides_nothing() {
    let reward = mean(1.0, 0.0, true, false);
    let race = |values: fn(u32) -> (f64, f64)| verdict(&[reward], vec![Metric::Means(values)]).1;
    assert_eq!(race(|_| (10.0, 12.0)), Reason::Proven);
    assert_eq!(race(|_| (12.0, 10.0)), Reason::Harmful);
    assert_eq!(race(|_| (10.0, 10.0)), Reason::Undecided);
}

#[test]
fn several_metrics_are_judged_together() {
    let rules =
        [LIMITED[0], LIMITED[1], (1, Rule::Mean { factor: 0.0, slack: 250.0, higher_is_better: false, gauge: false })];
    let healthy = || Metric::Shares(|_| (0.001, 0.001, 0.001));
    assert_eq!(verdict(&rules, vec![healthy(), Metric::Means(|_| (100.0, 100.0))]).1, Reason::Proven);
    let (progress, _) = run(&plan(&rules), &mut World::new(vec![healthy(), Metric::Means(|_| (100.0, 400.0))]));
    let decision = progress.decision.unwrap();
    assert_eq!(decision.reason, Reason::Harmful);
    assert!(decision.sentence.starts_with("m1 broke its limit of at most 250"), "{}", decision.sentence);
    // The rows add up: each criterion's own bar, by its weight among all.
    let bars: Vec<f64> = decision.rows.iter().map(|row| 1.0 / row.needed_fail).collect();
    assert!(bars.iter().sum::<f64>() < 0.05, "{bars:?}");
}

#[test]
fn edited_limits_begin_the_evidence_anew_and_are_counted() {
    let (first, mut world) = (plan(&LIMITED), World::new(vec![Metric::Shares(|_| (0.001, 0.008, 0.008))]));
    let mut progress = Progress::default();
    let now = until(&first, &mut world, &mut progress, trial::start(), |p| p.intervals == 10);
    assert!(progress.evidence[0].samples() > 0.0 && progress.restarts == 0);
    let weight = progress.weight;
    let edited = plan(&[(0, Rule::Share { limit: 0.02 }), (0, Rule::Companion { limit: 0.02 })]);
    let done = step(&edited, &progress, &world.see(&Questions::default()), now);
    assert_eq!((done.progress.restarts, done.progress.weight), (1, weight));
    assert!(done.progress.evidence[0].samples() <= 0.0, "nothing seen under other limits counts");
    assert!(done.notices.iter().any(|n| n.reason == "EvidenceRestarted"), "{:?}", done.notices);
    let again = step(&edited, &done.progress, &world.see(&Questions::default()), now);
    assert_eq!(again.progress.restarts, 1, "once");
    // What was learnt of the baseline's clumps before the start is kept.
    let phi = |e: &Evidence| match &e.trial {
        Trial::Share { test, .. } => test.dispersion,
        _ => panic!("{e:?}"),
    };
    assert_eq!(phi(&done.progress.evidence[0]), phi(&progress.evidence[0]));
    let mut budget = first.clone();
    budget.analysis.false_rollback = 0.01;
    assert_eq!(step(&budget, &progress, &world.see(&Questions::default()), now).progress.restarts, 1);
}
