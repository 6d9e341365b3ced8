//! Properties of the environment guard.

use proptest::prelude::*;
use reiter8::engine::judge::{Tally, environment};

use super::{any_number, binomial};

proptest! {
    #[test]
    fn the_chance_is_the_sum_over_all_outcomes(requests in 1_u32..60, bad in 0_u32..60, limit in 0.001..0.9) {
        let bad = bad.min(requests);
        let chance = environment::chance(Tally { requests: f64::from(requests), bad: f64::from(bad) }, limit);
        let sum: f64 = binomial(requests, limit).iter().skip(bad as usize).sum();
        prop_assert!((chance - sum).abs() < 1e-9, "{chance} is not {sum}");
    }

    #[test]
    fn more_bad_requests_mask_sooner(requests in 1_u32..2_000_000, share in 0.0..1.0, more in 0.0..1.0, limit in 0.001..0.5) {
        let n = f64::from(requests);
        let tally = |share: f64| Tally { requests: n, bad: n * share };
        let worse = share + (1.0 - share) * more;
        prop_assert!(!environment::masked(tally(share), limit) || environment::masked(tally(worse), limit));
        prop_assert!(share > limit || !environment::masked(tally(share), limit));
    }

    #[test]
    fn any_input_gives_a_chance(requests in any_number(), bad in any_number(), limit in any_number()) {
        let chance = environment::chance(Tally { requests, bad }, limit);
        prop_assert!((0.0..=1.0).contains(&chance));
    }
}

#[test]
fn large_counts_follow_the_normal_law() {
    for requests in [1e4, 1e6, 1e8] {
        let sd = (requests * 0.01_f64 * 0.99).sqrt();
        let at = |z: f64| Tally { requests, bad: requests * 0.01 + z * sd };
        for z in [0.01, 0.1, 0.5, 1.0, 2.0, 2.5] {
            assert!(!environment::masked(at(z), 0.01), "{z} of {requests}: {}", environment::chance(at(z), 0.01));
        }
        assert!(environment::masked(at(3.7), 0.01), "{requests}");
        let chance = environment::chance(at(3.0), 0.01);
        assert!((0.001_25..0.002_5).contains(&chance), "{requests}: {chance}");
    }
}
