//! Properties of the criteria on means and gauges.

use proptest::prelude::*;
use reiter8::engine::judge::{self, MeanEvidence, MeanTest, Moments, Sample};

use super::{Chance, any_number, near};

fn test(ratio: f64, slack: f64) -> MeanTest {
    MeanTest { ratio, slack, higher_is_better: false, gauge: false, horizon: 240 }
}

fn gauge() -> MeanTest {
    MeanTest { gauge: true, ..test(1.0, 0.0) }
}

type Interval = (Sample, Sample);

fn after(test: &MeanTest, intervals: &[Interval]) -> MeanEvidence {
    let mut e = test.start();
    for (candidate, baseline) in intervals {
        test.update(&mut e, *candidate, *baseline, true);
    }
    e
}

fn sample(count: f64, mean: f64) -> Sample {
    Sample { count, sum: count * mean }
}

fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    let one = || (1_u32..400, -5.0..50.0).prop_map(|(n, mean)| sample(f64::from(n), mean));
    prop::collection::vec((one(), one()), 0..60)
}

fn blocks() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((-3.0..3.0, 0.1..10.0), 1..40)
}

/// Largest evidence over `intervals` intervals of means with standard error 1 around `mean` in units of the limit.
fn most(test: &MeanTest, chance: &mut Chance, intervals: u32, mean: f64, correlation: f64) -> (f64, f64) {
    let (mut e, mut state) = (test.start(), chance.normal());
    let mut most = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for _ in 0..intervals {
        state = correlation * state + (1.0 - correlation * correlation).sqrt() * chance.normal();
        let candidate = if test.gauge { Sample::gauge(mean + state) } else { sample(100.0, mean + state) };
        test.update(&mut e, candidate, if test.gauge { Sample::gauge(0.0) } else { sample(900.0, 0.0) }, true);
        most = (most.0.max(test.log_fail(&e)), most.1.max(test.log_pass(&e)));
    }
    most
}

/// How often Fail and Pass reach 20 in 400 runs.
fn rates(test: &MeanTest, mean: f64, correlation: f64) -> (f64, f64) {
    let mut chance = Chance(8);
    let runs: Vec<_> = (0..400).map(|_| most(test, &mut chance, 180, mean, correlation)).collect();
    let rate =
        |reached: fn(&(f64, f64)) -> f64| runs.iter().filter(|r| reached(r) >= 20_f64.ln()).count() as f64 / 400.0;
    (rate(|r| r.0), rate(|r| r.1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_sums_are_those_over_all_blocks(blocks in blocks(), effect in 0.1..2.0) {
        let mut moments = Moments::start();
        for (z, h) in &blocks {
 moments.add_weighted(*z, *h);
}
        let (n, z): (f64, Vec<f64>) = (blocks.len() as f64, blocks.iter().map(|b| b.0).collect());
        let (squares, sum) = (z.iter().map(|z| z * z).sum::<f64>(), blocks.iter().map(|(z, h)| z * h.sqrt()).sum::<f64>());
        let grown: f64 = 1.0 + effect * blocks.iter().map(|b| b.1).sum::<f64>();
        let rest: f64 = squares - sum * sum * effect / grown;
        // Both directions together are the two-sided mixture, twice.
        let both = 2_f64.ln() - grown.ln() / 2.0 - n / 2.0 * f64::ln(rest / squares);
        let (up, down) = (moments.log_e(true, effect), moments.log_e(false, effect));
        prop_assert!(near((up.exp() + down.exp()).ln(), both), "{up} {down} {both}");
        prop_assert_eq!(up > down, sum > 0.0);
        let mean = z.iter().sum::<f64>() / n;
        let lagged: f64 = z.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
        let spread: f64 = z.iter().map(|z| (z - mean).powi(2)).sum();
        let correlation = if blocks.len() > 1 { lagged / spread } else { 0.0 };
        prop_assert!((moments.correlation() - correlation).abs() < 1e-6, "{} {correlation}", moments.correlation());
    }

    #[test]
    fn an_interval_without_values_changes_nothing(seen in intervals(), wrong in any_number()) {
        let test = test(1.1, 0.5);
        let before = after(&test, &seen);
        let none = Sample { count: 0.0, sum: wrong };
        for (c, b) in [(none, sample(100.0, 1.0)), (sample(100.0, 1.0), none), (Sample::gauge(f64::NAN), Sample::gauge(1.0))] {
            let mut e = before.clone();
            test.update(&mut e, c, b, true);
            prop_assert_eq!(&e, &before);
        }
        // An absolute limit needs no baseline.
        let absolute = MeanTest { ratio: 0.0, ..test };
        let mut e = absolute.start();
        absolute.update(&mut e, sample(100.0, 1.0), none, true);
        prop_assert_ne!(&e, &absolute.start());
    }

    #[test]
    fn the_order_inside_a_block_does_not_matter(seen in intervals()) {
        let test = test(1.1, 0.5);
        let large: Vec<Interval> = seen.into_iter().map(|(c, b)| (Sample { count: c.count + 200.0, ..c }, Sample { count: b.count + 200.0, ..b })).collect();
        let turned: Vec<Interval> = large.chunks(3).flat_map(|block| block.iter().rev().copied()).collect();
        let (a, b) = (after(&test, &large), after(&test, &turned));
        prop_assert!(near(test.log_fail(&a), test.log_fail(&b)) && near(test.log_pass(&a), test.log_pass(&b)));
    }

    #[test]
    fn neither_unit_nor_direction_matters(seen in intervals(), unit in 0.001..1000.0) {
        let test = test(1.1, 0.5);
        let scale = |by: f64| move |(c, b): &Interval| (Sample { sum: c.sum * by, ..*c }, Sample { sum: b.sum * by, ..*b });
        let same = MeanTest { slack: test.slack * unit, ..test };
        let mirrored = MeanTest { slack: -test.slack, higher_is_better: true, ..test };
        let e = after(&test, &seen);
        for (other, by) in [(same, unit), (mirrored, -1.0)] {
            let o = after(&other, &seen.iter().map(scale(by)).collect::<Vec<_>>());
            prop_assert!((test.log_fail(&e) - other.log_fail(&o)).abs() < 1e-6);
            prop_assert!((test.log_pass(&e) - other.log_pass(&o)).abs() < 1e-6);
        }
    }

    #[test]
    fn more_certainty_is_never_easier(seen in intervals(), strict in 0.001..0.5, by in 1.0..2.0) {
        let test = test(1.1, 0.5);
        let e = after(&test, &seen);
        let (outer, inner) = (test.interval(&e, strict), test.interval(&e, strict * by));
        prop_assert!(outer.0 <= inner.0 && inner.0 <= inner.1 && inner.1 <= outer.1, "{outer:?} {inner:?}");
    }

    #[test]
    fn no_input_makes_the_evidence_undefined_and_json_keeps_every_bit(
        inputs in prop::collection::vec(((any_number(), any_number()), (any_number(), any_number()), any::<bool>()), 0..60),
        ratio in prop_oneof![0.0..10.0, any_number()], slack in any_number(),
        higher_is_better: bool, gauge: bool, horizon: u32,
    ) {
        let test = MeanTest { ratio, slack, higher_is_better, gauge, horizon };
        let mut e = test.start();
        for ((count, sum), (others, sum_others), counts) in inputs {
            test.update(&mut e, Sample { count, sum }, Sample { count: others, sum: sum_others }, counts);
            let (lower, upper) = test.interval(&e, 0.05);
            let shown = [test.log_fail(&e), test.log_pass(&e), test.limit(&e).unwrap_or(0.0), lower];
            prop_assert!(shown.iter().all(|x| *x < f64::INFINITY) && upper > f64::NEG_INFINITY, "{shown:?} {upper} from {e:?}");
            let text = serde_json::to_string(&e).unwrap();
            prop_assert_eq!(&serde_json::from_str::<MeanEvidence>(&text).unwrap(), &e);
        }
    }
}

#[test]
fn at_the_limit_both_verdicts_are_rare() {
    // Nominal 5 %; three standard errors of 400 runs are 3.3 points.
    let (fail, pass) = rates(&test(1.0, 0.0), 0.0, 0.0);
    assert!(fail <= 0.05 && pass <= 0.05, "{fail} {pass}");
    let (fail, pass) = rates(&gauge(), 0.0, 0.4);
    assert!(fail <= 0.07 && pass <= 0.07, "{fail} {pass}");
    let untempered = MeanTest { gauge: false, ..gauge() };
    assert!(rates(&untempered, 0.0, 0.6).0 > 0.1, "the check above can fail");
}

#[test]
fn a_clear_difference_is_found_in_either_direction() {
    let (fail, pass) = rates(&test(1.0, 0.0), 0.5, 0.0);
    assert!(fail > 0.95 && pass < 0.01, "{fail} {pass}");
    let (fail, pass) = rates(&test(1.0, 0.0), -0.5, 0.0);
    assert!(pass > 0.95 && fail < 0.01, "{fail} {pass}");
}

#[test]
fn harm_that_comes_late_is_found_by_a_later_copy() {
    let (test, mut chance) = (test(1.0, 0.0), Chance(3));
    let mut e = test.start();
    let mut delay = 0;
    for interval in 0..400 {
        let mean = if interval < 180 { -1.0 } else { 1.0 };
        test.update(&mut e, sample(100.0, mean + chance.normal()), sample(900.0, 0.0), true);
        if interval >= 180 && test.log_fail(&e) < 20_f64.ln() {
            delay += 1;
        }
    }
    assert!(delay < 60, "{delay} intervals");
}

#[test]
fn few_blocks_prove_nothing_and_pass_needs_larger_ones() {
    let test = test(1.0, 0.0);
    let clear = |n: usize| after(&test, &vec![(sample(30.0, 9.0), sample(900.0, 1.0)); n]);
    assert!(test.log_fail(&clear(12)) <= 1e-9);
    assert!(test.log_fail(&clear(15)) > 1.0);
    let healthy = |n: usize| after(&test, &vec![(sample(30.0, 1.0), sample(900.0, 9.0)); n]);
    // 200 values take seven intervals of 30.
    assert!(test.log_pass(&healthy(34)) <= 0.0);
    let mut e = healthy(35);
    assert!(test.log_pass(&e) > 1.0);
    test.restart_pass(&mut e);
    assert!(near(test.log_pass(&e), 0.0) && near(test.totals(&e).count, 1050.0) && near(test.limit(&e).unwrap(), 9.0));
}

#[test]
fn tempering_never_strengthens() {
    for r1 in [-1.0, -0.3, 0.0, 0.5, 1.0, f64::NAN] {
        for blocks in [0, 1, 5, 100] {
            assert!((0.0..=1.0).contains(&judge::temper(r1, blocks)));
        }
    }
}
