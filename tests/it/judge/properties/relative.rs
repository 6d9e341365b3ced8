//! Properties of the relative share test.

use proptest::prelude::*;
use reiter8::engine::judge::{Counted, Dispersion, RelativeEvidence, RelativeTest, Tally};

use super::{any_number, binomial, near, sum_over_starts};

fn test(ratio: f64, slack: f64, phi: f64, horizon: u32) -> RelativeTest {
    RelativeTest { ratio, slack, dispersion: Dispersion::known(phi), horizon, history: 0.01, aim: 0.0, collapse: 0.25 }
}

type Interval = (Tally, Tally);

fn after(test: &RelativeTest, intervals: &[Interval]) -> RelativeEvidence {
    let mut e = test.start();
    for (candidate, baseline) in intervals {
        test.update(&mut e, *candidate, *baseline, true);
    }
    e
}

fn tally(requests: u32, bad: u32) -> Tally {
    Tally { requests: f64::from(requests), bad: f64::from(bad) }
}

/// Both versions' tallies for every number of bad clumps, with its chance.
fn outcomes(clumps: (u32, u32), size: u32, p: (f64, f64)) -> Vec<(Interval, f64)> {
    let (of_c, of_b) = (binomial(clumps.0, p.0), binomial(clumps.1, p.1));
    let one = |n: u32, k: usize| Tally { requests: f64::from(n * size), bad: k as f64 * f64::from(size) };
    let pair = |(i, a): (usize, &f64)| {
        of_b.iter().enumerate().map(|(j, b)| ((one(clumps.0, i), one(clumps.1, j)), a * b)).collect::<Vec<_>>()
    };
    of_c.iter().enumerate().flat_map(pair).collect()
}

/// Expectations of the count part of Fail and of Pass after two intervals whose sizes differ.
fn expectations(test: &RelativeTest, clumps: (u32, u32), size: u32, p: (f64, f64)) -> (f64, f64) {
    let second = outcomes((clumps.1, clumps.0), size, p);
    let mut sum = (0.0, 0.0);
    for (first, a) in outcomes(clumps, size, p) {
        for (second, b) in &second {
            let e = after(test, &[first, *second]);
            sum.0 += a * b * test.log_fail_parts(&e).1.exp();
            sum.1 += a * b * test.log_pass(&e).exp();
        }
    }
    sum
}

/// Expectation of Fail after two intervals whose sizes differ.
fn expected_fail(test: &RelativeTest, clumps: (u32, u32), size: u32, p: (f64, f64)) -> f64 {
    let second = outcomes((clumps.1, clumps.0), size, p);
    let then = |first: Interval| {
        let after = |(second, b): &(Interval, f64)| b * test.log_fail(&after(test, &[first, *second])).exp();
        second.iter().map(after).sum::<f64>()
    };
    outcomes(clumps, size, p).into_iter().map(|(first, a)| a * then(first)).sum()
}

#[test]
fn with_little_traffic_a_candidate_that_answers_nothing_is_found_in_half_the_time() {
    let looks = |collapse| {
        let test = RelativeTest { collapse, ..test(1.5, 0.002, 3.0, 720) };
        let enough = |n: &usize| test.log_fail(&after(&test, &vec![(tally(5, 5), tally(5, 0)); *n])) >= 20_f64.ln();
        (1..100).find(enough)
    };
    assert_eq!((looks(0.25), looks(0.0)), (Some(3), Some(6)));
}

fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    let one = || (1_u32..400).prop_flat_map(|n| (Just(n), 0..=n)).prop_map(|(n, bad)| tally(n, bad));
    prop::collection::vec((one(), one()), 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn at_the_limit_the_count_part_and_pass_do_not_gain(
        ratio in 0.5..3.0_f64, slack in 0.0..0.1_f64, part in 0.001..1.0, clumps in (1_u32..5, 1_u32..5), size in 1_u32..5,
    ) {
        let share = part * ((1.0 - slack) / ratio).min(1.0);
        let test = test(ratio, slack, f64::from(size), 20);
        let (fail, pass) = expectations(&test, clumps, size, (ratio * share + slack, share));
        prop_assert!(fail <= 1.0 + 1e-9, "Fail gains: {fail}");
        prop_assert!(pass <= 1.0 + 1e-9, "Pass gains: {pass}");
    }

    #[test]
    fn inside_the_limit_fail_does_not_gain_and_beyond_it_pass_does_not(
        ratio in 0.5..3.0, slack in 0.0..0.1, share in 0.001..0.3, part in 0.0..1.0, clumps in (1_u32..5, 1_u32..5),
    ) {
        let (test, limit) = (test(ratio, slack, 1.0, 20), ratio * share + slack);
        prop_assert!(expectations(&test, clumps, 1, (limit * part, share)).0 <= 1.0 + 1e-9);
        prop_assert!(expectations(&test, clumps, 1, (limit + (1.0 - limit) * part, share)).1 <= 1.0 + 1e-9);
    }

    #[test]
    fn within_the_limit_the_alternative_that_everything_fails_does_not_gain(
        ratio in 0.3..3.0_f64, slack in 0.0..0.1_f64, part in 0.001..1.0, within in 0.0..=1.0_f64,
        clumps in (1_u32..5, 1_u32..5), size in 1_u32..5, history in 0.0..0.9,
    ) {
        let share = part * ((1.0 - slack) / ratio).min(1.0);
        // All of the evidence but the rounding: what the other parts say is not to hide a gain.
        let test = RelativeTest { collapse: 1.0 - 1e-9, history, ..test(ratio, slack, f64::from(size), 20) };
        let mean = expected_fail(&test, clumps, size, (within * (ratio * share + slack), share));
        prop_assert!(mean <= 1.0 + 1e-6, "gains: {mean}");
    }

    #[test]
    fn equal_versions_do_not_gain_by_the_ratio_bet(share in 0.0..1.0, clumps in (1_u32..6, 1_u32..6)) {
        let test = RelativeTest { dispersion: Dispersion { mixed: false, ..Dispersion::known(1.0) }, ..test(1.0, 0.0, 1.0, 20) };
        let gain = |((c, b), chance): &(Interval, f64)| chance * test.log_fail(&after(&test, &[(*c, *b)])).exp();
        let sum: f64 = outcomes(clumps, 1, (share, share)).iter().map(gain).sum();
        prop_assert!(sum <= 1.0 + 1e-9, "{sum}");
    }

    #[test]
    fn clumps_in_proportion_to_traffic_and_the_slack_do_not_gain_by_the_ratio_bet(
        ratio in 0.5..3.0, slack in 0.0..0.2, requests in (1_u32..300, 1_u32..300),
        sizes in prop::collection::vec(1_u32..9, 0..7), burst in 1_u32..20,
    ) {
        let test = test(ratio, slack, 1.0, 20);
        let (n_c, n_b) = (f64::from(requests.0), f64::from(requests.1));
        let expected = ratio * n_c / (ratio * n_c + n_b);
        // The slack's bad requests come together or not at all, which is the worst dependence.
        let chance = (n_c * slack / f64::from(burst)).min(1.0);
        let mut sum = 0.0;
        for falls in 0..1_u32 << sizes.len() {
            let on_candidate: u32 = sizes.iter().enumerate().filter(|(i, _)| falls >> i & 1 == 1).map(|(_, s)| s).sum();
            let odds: f64 = (0..sizes.len()).map(|i| if falls >> i & 1 == 1 { expected } else { 1.0 - expected }).product();
            for (extra, p) in [(0, 1.0 - chance), (burst, chance)] {
                let c = Tally { requests: n_c, bad: f64::from(on_candidate + extra) };
                let b = Tally { requests: n_b, bad: f64::from(sizes.iter().sum::<u32>() - on_candidate) };
                sum += odds * p * test.parts(c, b).ratio;
            }
        }
        prop_assert!(sum <= 1.0 + 1e-9, "{sum}");
    }

    #[test]
    fn the_recursion_is_the_sum_over_start_times(
        seen in intervals(), ratio in 0.5..3.0, slack in 0.0..0.05, phi in 1.0..20.0, horizon in 0_u32..40,
    ) {
        let test = test(ratio, slack, phi, horizon);
        let (bets, counts) = test.log_fail_parts(&after(&test, &seen));
        // Each interval with the baseline's totals before it.
        let mut earlier = Tally::default();
        let known = |(c, b): &Interval| {
            let before = earlier;
            earlier = Tally { requests: earlier.requests + b.requests, bad: earlier.bad + b.bad };
            (*c, *b, (before.bad + 0.5) / (before.requests + 50.0))
        };
        let known: Vec<(Tally, Tally, f64)> = seen.iter().map(known).collect();
        let bet = |f: f64, (c, b, _): &(Tally, Tally, f64)| {
            let expected = ratio * c.requests / (ratio * c.requests + b.requests);
            let all = c.bad + b.bad + b.requests * slack / ratio;
            let excess = if all > 0.0 { c.bad / all / expected - 1.0 } else { 0.0 };
            (1.0 + f * excess).ln()
        };
        let count = |rho: f64, (c, b, p_b): &(Tally, Tally, f64)| {
            let p_c = (rho * (ratio * p_b + slack)).min(1.0);
            let odds = ratio * c.requests / b.requests;
            let half = slack * (1.0 + odds) + p_c * odds + ratio * p_b;
            let root = (half * half - 4.0 * slack * odds * p_c * (1.0 + odds)).sqrt();
            let by_c = (2.0 * p_c * (1.0 + odds) / (half + root)).max(1.0);
            let by_b = 1.0 - odds * (by_c - 1.0);
            let gain = c.bad * by_c.ln() + b.bad * by_b.ln() - c.requests * slack * (by_c - 1.0);
            (gain / phi).min(2.0)
        };
        let bets_sum = sum_over_starts("ratio_bet_f", "ratio_bet_w", horizon, &known, bet);
        let counts_sum = sum_over_starts("harm_rho", "harm_w", horizon, &known, count);
        prop_assert!(near(bets, bets_sum), "{bets} is not {bets_sum}");
        prop_assert!(near(counts, counts_sum), "{counts} is not {counts_sum}");
    }

    #[test]
    fn an_interval_that_one_version_has_no_part_in_changes_nothing(seen in intervals(), other in 0_u32..100, bad in any_number()) {
        let test = test(1.5, 0.002, 3.0, 50);
        let before = after(&test, &seen);
        let (none, some) = (Tally { requests: 0.0, bad }, tally(100, other));
        for (c, b) in [(none, some), (some, none), (none, none)] {
            let mut e = before.clone();
            test.update(&mut e, c, b, true);
            prop_assert_eq!(&e, &before);
        }
    }

    #[test]
    fn a_wider_bracket_never_proves_more(c in (1_u32..400, 0.0..1.0), b in (1_u32..400, 0.0..1.0), widen in 0.0..1.0) {
        let test = test(1.5, 0.002, 1.0, 50);
        let tally = |(requests, share): (u32, f64)| Tally { requests: f64::from(requests), bad: f64::from(requests) * share };
        let open = |t: Tally| Counted { least: Tally { bad: t.bad * (1.0 - widen), ..t }, most: t };
        let (exact, mut wide) = (after(&test, &[(tally(c), tally(b))]), test.start());
        test.update(&mut wide, open(tally(c)), open(tally(b)), true);
        prop_assert!(test.log_fail(&wide) <= test.log_fail(&exact) + 1e-9);
        prop_assert!(test.log_pass(&wide) <= test.log_pass(&exact) + 1e-9);
    }

    #[test]
    fn more_certainty_is_never_easier(seen in intervals(), strict in 0.001..0.5, by in 1.0..2.0) {
        let test = test(1.5, 0.002, 2.0, 50);
        let (e, lax) = (after(&test, &seen), strict * by);
        prop_assert!(test.upper(&e, strict) >= test.upper(&e, lax));
        let (outer, inner) = (test.interval(&e, strict), test.interval(&e, lax));
        prop_assert!(outer.0 <= inner.0 && inner.0 <= inner.1 && inner.1 <= outer.1);
    }

    #[test]
    fn no_input_makes_the_evidence_undefined_and_json_keeps_every_bit(
        inputs in prop::collection::vec(((any_number(), any_number()), (any_number(), any_number()), any::<bool>()), 0..40),
        ratio in prop_oneof![0.01..100.0, any_number()],
        slack in prop_oneof![0.0..0.9, any_number()],
        phi in prop_oneof![1.0..200.0, any_number()],
        history in prop_oneof![0.0..1.0, any_number()],
        horizon: u32,
    ) {
        let test = RelativeTest { ratio, slack, dispersion: Dispersion::known(phi), horizon, history, aim: 0.0, collapse: 0.25 };
        let mut e = test.start();
        for ((requests, bad), (others, bad_others), counts) in inputs {
            test.update(&mut e, Tally { requests, bad }, Tally { requests: others, bad: bad_others }, counts);
            let (ratio, counts) = test.log_fail_parts(&e);
            let (lower, upper) = test.interval(&e, 0.05);
            let shown = [ratio, counts, test.log_fail(&e), test.log_pass(&e), test.upper(&e, 0.1), test.limit(&e), lower, upper];
            prop_assert!(shown.iter().all(|x| *x < f64::INFINITY), "{shown:?} from {e:?}");
            let text = serde_json::to_string(&e).unwrap();
            prop_assert_eq!(&serde_json::from_str::<RelativeEvidence>(&text).unwrap(), &e);
        }
    }
}

#[test]
fn a_shared_outage_speaks_against_nobody_and_a_worse_candidate_is_found_in_it() {
    let test = test(1.5, 0.002, 1.0, 240);
    let shared = after(
        &test,
        &[(tally(100, 1), tally(900, 9)), (tally(100, 30), tally(900, 270)), (tally(100, 50), tally(900, 450))],
    );
    assert!(test.log_fail(&shared) < 0.0);
    let worse = after(&test, &[(tally(100, 100), tally(900, 90)); 3]);
    assert!(test.log_fail(&worse) > 20_f64.ln() && test.enough_bad(&worse));
}

#[test]
fn the_ramp_gets_a_bound_and_a_limit() {
    let test = test(1.5, 0.002, 1.0, 240);
    let mut e = after(&test, &[(tally(1000, 0), tally(9000, 45)); 3]);
    assert!((test.limit(&e) - 0.0095).abs() < 1e-4, "{}", test.limit(&e));
    assert!(test.upper(&e, 0.1) < 0.0095);
    assert!(near(test.totals(&e).requests, 3000.0) && near(test.baseline_totals(&e).bad, 135.0));
    let (fail, pass) = (test.log_fail(&e), test.log_pass(&e));
    assert!(pass > 20_f64.ln());
    test.restart_pass(&mut e);
    assert!(near(test.log_pass(&e), 0.0) && near(test.log_fail(&e), fail));
}
