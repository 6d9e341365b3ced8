//! Properties behind the judge's promise, beyond single known answers: its factors are e-values, its recursion is the
//! sum it stands for, and no input can break its state.

mod environment;
mod mean;
mod quantile;
mod race;
mod relative;

use proptest::prelude::*;
use reiter8::engine::judge::{self, Dispersion, ShareEvidence, ShareTest, Tally, ramp};
use serde_json::Value;

fn test(limit: f64, phi: f64, horizon: u32) -> ShareTest {
    ShareTest { limit, dispersion: Dispersion::known(phi), horizon, aim: 0.0 }
}

fn after(test: &ShareTest, intervals: &[Tally]) -> ShareEvidence {
    let mut e = test.start();
    for t in intervals {
        test.update(&mut e, *t, true);
    }
    e
}

fn near(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

/// Reproducible chance (`SplitMix64`), seeded by its content.
struct Chance(u64);

impl Chance {
    /// Between 0 and 1, neither included.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 11) as f64 + 0.5) / 2_f64.powi(53)
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// P(Bin(n, p) = k) for every k.
fn binomial(n: u32, p: f64) -> Vec<f64> {
    let mut chances = vec![1.0];
    for _ in 0..n {
        let mut next = vec![0.0; chances.len() + 1];
        for (k, c) in chances.iter().enumerate() {
            next[k] += c * (1.0 - p);
            next[k + 1] += c * p;
        }
        chances = next;
    }
    chances
}

/// Expectations of the Fail and Pass e-values after two intervals of `clumps` clumps of `size` requests, each clump bad
/// as a whole with probability `p`.
fn expectations(test: &ShareTest, clumps: u32, size: u32, p: f64) -> (f64, f64) {
    let chances = binomial(clumps, p);
    let tally = |k: usize| Tally { requests: f64::from(clumps * size), bad: k as f64 * f64::from(size) };
    let mut sum = (0.0, 0.0);
    for (i, a) in chances.iter().enumerate() {
        for (j, b) in chances.iter().enumerate() {
            let e = after(test, &[tally(i), tally(j)]);
            sum.0 += a * b * test.log_fail(&e).exp();
            sum.1 += a * b * test.log_pass(&e).exp();
        }
    }
    sum
}

fn intervals() -> impl Strategy<Value = Vec<Tally>> {
    let one = (0_u32..400).prop_flat_map(|n| (Just(n), 0..=n));
    prop::collection::vec(one.prop_map(|(n, bad)| Tally { requests: f64::from(n), bad: f64::from(bad) }), 0..30)
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), prop::num::f64::ANY, -10.0..1e4, Just(0.0), Just(f64::MAX), Just(f64::MIN_POSITIVE)]
}

proptest! {
    #[test]
    fn at_the_limit_neither_side_gains(limit in 0.001..0.95, clumps in 1_u32..12, size in 1_u32..6, aim in 0.0..0.99, mixed: bool) {
        let dispersion = Dispersion { mixed, ..Dispersion::known(f64::from(size)) };
        let test = ShareTest { dispersion, aim, ..test(limit, 1.0, 20) };
        let (fail, pass) = expectations(&test, clumps, size, limit);
        prop_assert!(fail <= 1.0 + 1e-9, "Fail gains: {fail}");
        prop_assert!(pass <= 1.0 + 1e-9, "Pass gains: {pass}");
    }

    #[test]
    fn inside_the_limit_fail_does_not_gain_and_beyond_it_pass_does_not(limit in 0.01..0.8, clumps in 1_u32..12, part in 0.0..1.0) {
        let test = test(limit, 1.0, 20);
        prop_assert!(expectations(&test, clumps, 1, limit * part).0 <= 1.0 + 1e-9);
        prop_assert!(expectations(&test, clumps, 1, limit + (1.0 - limit) * part).1 <= 1.0 + 1e-9);
    }

    #[test]
    fn the_ratio_bet_needs_no_dispersion(limit in 0.001..0.95, requests in 1_u32..500) {
        // The worst dependence: an interval fails as a whole.
        let test = ShareTest { dispersion: Dispersion { mixed: false, ..Dispersion::known(1.0) }, ..test(limit, 1.0, 20) };
        prop_assert!(expectations(&test, 1, requests, limit).0 <= 1.0 + 1e-9);
    }

    #[test]
    fn the_recursion_is_the_sum_over_start_times(seen in intervals(), limit in 0.005..0.5, phi in 1.0..20.0, horizon in 0_u32..40) {
        let test = test(limit, phi, horizon);
        let (ratio, counts) = test.log_fail_parts(&after(&test, &seen));
        let seen: Vec<Tally> = seen.into_iter().filter(|t| t.requests > 0.0).collect();
        let bet = |f: f64, t: &Tally| (1.0 + f * (t.bad / t.requests / limit - 1.0)).ln();
        let count = |rho: f64, t: &Tally| {
            let share = (rho * limit).min(0.999);
            let gain = t.bad * (share / limit).ln() + (t.requests - t.bad) * ((1.0 - share) / (1.0 - limit)).ln();
            (gain / phi).min(2.0)
        };
        let ratio_sum = sum_over_starts("ratio_bet_f", "ratio_bet_w", horizon, &seen, bet);
        let count_sum = sum_over_starts("harm_rho", "harm_w", horizon, &seen, count);
        prop_assert!(near(ratio, ratio_sum), "{ratio} is not {ratio_sum}");
        prop_assert!(near(counts, count_sum), "{counts} is not {count_sum}");
    }

    #[test]
    fn start_times_have_total_weight_one(horizon in 0_u32..500, t in 0_u32..600) {
        let begun: f64 = (1..=t).map(|j| judge::start_weight(horizon, j)).sum();
        prop_assert!((begun + judge::start_tail(horizon, t) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_interval_without_sound_counts_changes_nothing(seen in intervals(), requests in any_number(), bad in any_number()) {
        let test = test(0.01, 3.0, 50);
        let before = after(&test, &seen);
        let sound = requests > 0.0 && requests <= 2_f64.powi(53) && bad >= 0.0;
        for t in [Some(Tally { requests: 0.0, bad }), (!sound).then_some(Tally { requests, bad })].into_iter().flatten() {
            let mut e = before.clone();
            test.update(&mut e, t, true);
            prop_assert_eq!(&e, &before);
        }
    }

    #[test]
    fn how_requests_fall_into_intervals_does_not_matter_to_pass(seen in intervals(), phi in 1.0..20.0) {
        let test = test(0.02, phi, 50);
        let whole = seen.iter().fold(Tally::default(), |a, b| Tally { requests: a.requests + b.requests, bad: a.bad + b.bad });
        let (split, joined) = (after(&test, &seen), after(&test, &[whole]));
        prop_assert!(near(test.log_pass(&split), test.log_pass(&joined)));
        prop_assert_eq!(test.totals(&split), whole);
        prop_assert!(near(test.upper(&split, 0.1), test.upper(&joined, 0.1)));
    }

    #[test]
    fn the_order_of_intervals_does_not_matter_without_start_times(seen in intervals(), limit in 0.005..0.5) {
        let test = test(limit, 2.0, 1);
        // Prior weight lies on the first interval alone, so the copies that begin there see all of them.
        let turned: Vec<Tally> = seen.iter().rev().copied().collect();
        prop_assert!(near(test.log_fail(&after(&test, &seen)), test.log_fail(&after(&test, &turned))));
    }

    #[test]
    fn more_certainty_is_never_easier(seen in intervals(), strict in 0.001..0.5, by in 1.0..2.0) {
        let test = test(0.02, 2.0, 50);
        let (e, lax) = (after(&test, &seen), strict * by);
        prop_assert!(test.upper(&e, strict) >= test.upper(&e, lax));
        let (outer, inner) = (test.interval(&e, strict), test.interval(&e, lax));
        prop_assert!(outer.0 <= inner.0 && inner.0 <= inner.1 && inner.1 <= outer.1);
        prop_assert!(0.0 <= outer.0 && outer.1 <= 1.0);
        let log = test.log_pass(&e);
        prop_assert!(!judge::combine_pass([log], strict) || judge::combine_pass([log], lax));
    }

    #[test]
    fn json_keeps_every_bit(seen in intervals(), extra in 0.0..1.0, phi in 1.0..200.0) {
        let test = test(0.0123, phi, 77);
        let mut e = after(&test, &seen);
        test.update(&mut e, Tally { requests: 1.0 + extra, bad: extra }, false);
        let text = serde_json::to_string(&(&test, &e)).unwrap();
        prop_assert_eq!(serde_json::from_str::<(ShareTest, ShareEvidence)>(&text).unwrap(), (test, e.clone()));
        let tree = serde_json::to_value(&e).unwrap();
        prop_assert_eq!(serde_json::from_value::<ShareEvidence>(tree).unwrap(), e);
    }

    #[test]
    fn no_input_makes_the_evidence_undefined(
        inputs in prop::collection::vec((any_number(), any_number(), any::<bool>()), 0..40),
        limit in prop_oneof![0.0001..0.9999, any_number(), Just(f64::MIN_POSITIVE), Just(1.0 - f64::EPSILON), Just(5e-324)],
        phi in prop_oneof![1.0..200.0, any_number()],
        horizon: u32,
    ) {
        let test = test(limit, phi, horizon);
        let mut e = test.start();
        for (requests, bad, counts) in inputs {
            test.update(&mut e, Tally { requests, bad }, counts);
            let (ratio, counts) = test.log_fail_parts(&e);
            let (lower, upper) = test.interval(&e, 0.05);
            let shown = [ratio, counts, test.log_fail(&e), test.log_pass(&e), test.upper(&e, 0.1), lower, upper];
            prop_assert!(shown.iter().all(|x| *x < f64::INFINITY), "{shown:?} from {e:?}");
            let text = serde_json::to_string(&e).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ShareEvidence>(&text).unwrap(), &e);
        }
    }

    #[test]
    fn dispersion_stays_in_its_range(history in prop::collection::vec((any_number(), any_number()), 0..60)) {
        let history: Vec<Tally> = history.into_iter().map(|(requests, bad)| Tally { requests, bad }).collect();
        let d = judge::dispersion(&history, 0.01);
        prop_assert!((1.0..=200.0).contains(&d.phi));
        prop_assert!((1.0..=200.0).contains(&d.clump) && (1.0..=d.phi).contains(&d.shown));
        prop_assert!(d.mixed || d.phi >= 3.0);
    }

    #[test]
    fn the_ramp_never_falls_and_keeps_its_bounds(
        weight in 1_u8..=100, cap in 1_u8..=100, rps in any_number(), budget in any_number(), tau in any_number(),
        gates in prop::collection::vec((any_number(), any_number()), 0..4),
    ) {
        let next = ramp::next(weight, rps, budget, tau, cap, gates.iter().copied());
        prop_assert!(next >= weight && next <= weight.max(cap) && u32::from(next) <= 3 * u32::from(weight));
        prop_assert!((1..=cap).contains(&ramp::start(rps, budget, tau, cap)));
    }
}

/// `ln Σ_k w_k (Σ_j π_j Π_{i≥j} F_i(k) + Σ_{j>t} π_j)` term by term, with the grid of the known answers.
fn sum_over_starts<T>(
    points: &str,
    weights: &str,
    horizon: u32,
    seen: &[T],
    log_factor: impl Fn(f64, &T) -> f64,
) -> f64 {
    let file: Value = serde_json::from_str(include_str!("../../vectors/judge.json")).unwrap();
    let grid =
        |key: &str| file["constants"][key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let first = if horizon <= 1 { 1.0 } else { file["constants"]["pi1"].as_f64().unwrap() };
    let prior = |j: usize| match j {
        0 => first,
        _ if j < horizon as usize => (1.0 - first) / f64::from(horizon - 1),
        _ => 0.0,
    };
    let begun = |point: f64| -> f64 {
        let product = |j: usize| seen[j..].iter().map(|t| log_factor(point, t)).sum::<f64>().exp();
        (0..seen.len()).map(|j| prior(j) * product(j)).sum()
    };
    let waiting = if seen.is_empty() { 1.0 } else { (seen.len()..horizon as usize).map(prior).sum::<f64>() };
    let sum: f64 = grid(points).into_iter().zip(grid(weights)).map(|(point, w)| w * begun(point)).sum();
    (sum + waiting).ln()
}

#[test]
fn a_wrong_dispersion_would_break_the_promise() {
    // The check above can fail: clumps of five with φ = 1 make Pass gain at the limit.
    assert!(expectations(&test(0.1, 1.0, 20), 10, 5, 0.1).1 > 1.5);
}

#[test]
fn a_failing_candidate_is_caught_at_once_and_a_clean_one_passes() {
    let test = test(0.01, 1.0, 360);
    let failing = after(&test, &[Tally { requests: 10.0, bad: 10.0 }; 2]);
    assert!(judge::combine_fail([(test.log_fail(&failing), 1.0)]) >= 20_f64.ln());
    assert!(test.enough_bad(&failing));
    let mut clean = after(&test, &[Tally { requests: 250.0, bad: 0.0 }; 2]);
    assert!(judge::combine_pass([test.log_pass(&clean)], 0.05));
    test.restart_pass(&mut clean);
    assert!(near(test.log_pass(&clean), 0.0));
    assert!(near(test.totals(&clean).requests, 500.0));
}

#[test]
fn a_limit_above_every_alternative_never_speaks_against_a_better_candidate() {
    let test = test(0.9999, 1.0, 20);
    assert!(expectations(&test, 12, 1, 0.5).0 <= 1.0 + 1e-9);
    let (_, counts) = test.log_fail_parts(&after(&test, &[Tally { requests: 100.0, bad: 50.0 }; 5]));
    assert!(counts <= 1e-12, "{counts}");
}

#[test]
fn one_accident_is_not_enough() {
    let test = test(0.01, 1.0, 360);
    let once = after(&test, &[Tally { requests: 100.0, bad: 50.0 }, Tally { requests: 100.0, bad: 0.0 }]);
    assert!(!test.enough_bad(&once));
    let two = after(&test, &[Tally { requests: 100.0, bad: 1.0 }; 2]);
    assert!(!test.enough_bad(&two));
    assert!(test.enough_bad(&after(&test, &[Tally { requests: 100.0, bad: 1.5 }; 2])));
}

#[test]
fn pass_evidence_counts_only_when_asked() {
    let test = test(0.01, 1.0, 360);
    let mut e = test.start();
    test.update(&mut e, Tally { requests: 1000.0, bad: 0.0 }, false);
    assert!(near(test.log_pass(&e), 0.0));
    assert!(test.log_fail(&e) < 0.0);
}

#[test]
fn nothing_is_proven_without_criteria() {
    assert!(!judge::combine_pass([], 0.05));
    assert_eq!(judge::combine_fail([]).to_bits(), f64::NEG_INFINITY.to_bits());
}

#[test]
fn the_blame_falls_on_the_heaviest_evidence() {
    let (weak, strong) = (3_f64.ln(), 30_f64.ln());
    assert_eq!(judge::blame([(weak, 0.5), (strong, 0.5)]), Some(1));
    assert_eq!(judge::blame([(weak, 1.0), (strong, 0.05)]), Some(0));
    assert_eq!(judge::blame([(weak, 1.0), (f64::INFINITY, 0.0)]), Some(0));
    assert_eq!(judge::blame([(f64::NEG_INFINITY, 1.0)]), None);
    let mean = judge::combine_fail([(weak, 3.0), (strong, 1.0)]).exp();
    assert!(near(mean, (3.0 * 3.0 + 30.0) / 4.0), "{mean}");
}

#[test]
fn dispersion_is_cautious_when_little_is_known() {
    let quiet = [Tally { requests: 100.0, bad: 0.0 }; 360];
    let d = judge::dispersion(&[], 0.01);
    assert!(!d.mixed && near(d.phi, 3.0));
    let d = judge::dispersion(&quiet, 0.01);
    assert!(d.mixed && near(d.phi, 3.0));
    let steady = [Tally { requests: 100.0, bad: 1.0 }; 360];
    assert!(near(judge::dispersion(&steady, 0.01).phi, 1.0));
    let mut burst = quiet;
    burst[17].bad = 100.0;
    // One interval of 360 has all 100: variance / mean is 100, at every scale.
    assert!((judge::dispersion(&burst, 0.01).phi - 100.0).abs() < 1.0);
    burst.fill(Tally { requests: 1e6, bad: 0.0 });
    burst[17].bad = 1e6;
    assert!(near(judge::dispersion(&burst, 0.01).phi, 200.0));
}

#[test]
fn pass_allows_for_clumps_that_the_history_may_have_hidden() {
    let clump = |requests: f64, bad: &[f64]| {
        let tally =
            |n: usize| Tally { requests, bad: bad.get(n / 7).copied().filter(|_| n.is_multiple_of(7)).unwrap_or(0.0) };
        judge::dispersion(&(0..360).map(tally).collect::<Vec<_>>(), 0.01).clump
    };
    // Nothing seen: of a short history nothing is known, in a long one clumps would have shown.
    assert!(near(clump(5.0, &[]), 20.0));
    assert!((3.0..5.0).contains(&clump(500.0, &[])), "{}", clump(500.0, &[]));
    let minutes = vec![Tally { requests: 500.0, bad: 0.0 }; 20];
    assert!((3.0..5.0).contains(&judge::dispersion(&minutes, 0.01).clump), "a service that has just begun");
    // Single ones, more and more of them.
    let singles: Vec<f64> = [1, 5, 50].map(|n| clump(500.0, &vec![1.0; n])).to_vec();
    assert!(singles.is_sorted_by(|a, b| a > b) && singles[2] < 1.2, "{singles:?}");
    // Three bursts of twenty may be as many of forty.
    assert!(clump(500.0, &[20.0; 3]) > 30.0, "{}", clump(500.0, &[20.0; 3]));
    // Many intervals with bad requests are no clumps.
    assert!(near(judge::dispersion(&[Tally { requests: 500.0, bad: 4.0 }; 360], 0.01).clump, 1.0));
}

#[test]
fn the_ramp_opens_with_evidence_and_only_then() {
    let next = |weight, upper| ramp::next(weight, 500.0, 50.0, 40.0, 50, [(upper, 0.01)].into_iter());
    assert_eq!(next(1, 1.0), 1);
    // 50 / (500 · 40 · 0.05) = 5 %
    assert_eq!(next(2, 0.06), 5);
    assert_eq!(next(10, 0.06), 10);
    assert_eq!(next(5, 0.005), 15);
    assert_eq!(next(40, 0.005), 50);
    // The strictest criterion counts; nothing opens without one, or at an unknown rate.
    assert_eq!(ramp::next(2, 500.0, 50.0, 40.0, 50, [(0.0, 0.01), (0.06, 0.01)].into_iter()), 5);
    assert_eq!(ramp::next(2, 500.0, 50.0, 40.0, 50, std::iter::empty()), 2);
    assert_eq!(ramp::next(2, 0.0, 50.0, 40.0, 50, [(0.0, 0.01)].into_iter()), 2);
    assert_eq!(ramp::start(0.0, 50.0, 40.0, 50), 1);
    assert_eq!(ramp::start(1.0, 50.0, 40.0, 50), 50);
}

#[test]
fn evidence_from_outside_is_refused_unless_it_is_a_number() {
    let e = serde_json::to_value(test(0.01, 1.0, 5).start()).unwrap();
    assert_eq!(e["fail"]["ratio"][0], "-inf");
    for wrong in ["NaN", "inf", "infinity", "1e999", "", "one"] {
        let mut e = e.clone();
        e["fail"]["ratio"][0] = wrong.into();
        assert!(serde_json::from_value::<ShareEvidence>(e).is_err(), "{wrong}");
    }
}
