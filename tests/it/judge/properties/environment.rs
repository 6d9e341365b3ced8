//! Properties of the environment guard.

use proptest::prelude::*;
use reiter8::engine::judge::{
    Tally,
    environment::{self, Weather},
};

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

const CALM: Tally = Tally { requests: 100.0, bad: 0.0 };

#[test]
fn doubt_outlasts_its_interval() {
    let mut weather = Weather::start(None);
    let mut doubts = |bad| weather.doubtful(Tally { bad, ..CALM }, 0.01, 1.0);
    let after = [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0].map(&mut doubts);
    assert_eq!(after, [false, true, true, true, true, true, false]);
    // Four bad requests of one cause are one.
    assert!(!Weather::start(None).doubtful(Tally { bad: 4.0, ..CALM }, 0.01, 4.0));
}

#[test]
fn a_candidate_is_to_blame_for_more_than_its_part() {
    let mut weather = Weather::start(None);
    let half = |bad| Tally { requests: 100.0, bad };
    assert!(weather.candidate_is_worse(half(1.0), 1.0), "a baseline without traffic excuses nothing");
    weather.count(CALM);
    assert!(!weather.candidate_is_worse(half(10.0), 1.0) && weather.candidate_is_worse(half(11.0), 1.0));
    // A candidate with a hundredth of the requests has no business with two of two.
    weather.count(Tally { requests: 900.0, bad: 0.0 });
    assert!(weather.candidate_is_worse(Tally { requests: 10.0, bad: 2.0 }, 1.0));
    let mut weather = Weather::start(None);
    weather.count(CALM);
    weather.count(Tally { requests: 100.0, bad: 60.0 });
    assert!(!weather.candidate_is_worse(half(40.0), 1.0), "the baseline is worse");
    assert!(weather.candidate_is_worse(half(50.0), 1.0), "half of all requests fail");
    assert!(!weather.afresh().candidate_is_worse(half(0.0), 1.0) || weather.afresh() != weather);
}

#[test]
fn an_unusual_share_is_one_until_it_is_the_new_normal() {
    let mut weather = Weather::start(Some(0.005));
    let mut unusual = |share: f64| weather.unusual(Tally { requests: 1000.0, bad: 1000.0 * share }, 1.0);
    assert!(!unusual(0.005) && !unusual(0.01));
    // A minute at 10.5 % is not long enough to get used to it, and is not over at once; ten minutes are.
    assert!((0..6).all(|_| unusual(0.105)));
    assert_eq!([0.005; 6].map(&mut unusual), [true, true, true, true, false, false]);
    let last = (0..60).map(|_| unusual(0.105)).filter(|unusual| *unusual).count();
    assert!((6..40).contains(&last), "{last}");
}
