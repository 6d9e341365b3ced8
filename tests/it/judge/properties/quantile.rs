//! Properties of latency bounds between bucket edges.

use proptest::prelude::*;
use reiter8::engine::judge::{Bracket, Counted, Dispersion, ShareTest, Tally, information, threshold};

use super::{any_number, near};

const EDGES: [f64; 6] = [50.0, 100.0, 250.0, 500.0, 1000.0, f64::INFINITY];

fn buckets(latencies: &[f64]) -> Vec<(f64, f64)> {
    EDGES.map(|edge| (edge, latencies.iter().filter(|l| **l <= edge).count() as f64)).to_vec()
}

proptest! {
    #[test]
    fn the_truth_lies_between_what_fail_and_pass_count(latencies in prop::collection::vec(1.0..2000.0, 1..50), bound in 1.0..2000.0_f64) {
        let bracket = Bracket::around(bound, EDGES);
        let Counted { least, most } = bracket.count(&buckets(&latencies)).unwrap();
        let slower = latencies.iter().filter(|l| **l > bound).count() as f64;
        prop_assert!(least.bad <= slower && slower <= most.bad);
        prop_assert!(near(least.requests, latencies.len() as f64) && near(most.requests, least.requests));
        let exact = Bracket::around(250.0, EDGES);
        let counted = exact.count(&buckets(&latencies)).unwrap();
        prop_assert!(exact.exact() && counted.least == counted.most);
    }

    #[test]
    fn a_bracket_proves_no_more_than_either_edge(bad in 0_u32..200, open in 0_u32..200) {
        let test = ShareTest { limit: 0.05, dispersion: Dispersion::known(1.0), horizon: 100, aim: 0.0 };
        let tally = |bad: u32| Tally { requests: 400.0, bad: f64::from(bad) };
        let after = |seen: Counted| {
            let mut e = test.start();
            test.update(&mut e, seen, true);
            test.update(&mut e, seen, true);
            e
        };
        let (between, low, high) = (
            after(Counted { least: tally(bad), most: tally(bad + open) }),
            after(tally(bad).into()),
            after(tally(bad + open).into()),
        );
        prop_assert!(near(test.log_fail(&between), test.log_fail(&low)));
        prop_assert!(near(test.log_pass(&between), test.log_pass(&high)));
        prop_assert!(near(test.upper(&between, 0.1), test.upper(&high, 0.1)));
        prop_assert_eq!(test.enough_bad(&between), test.enough_bad(&low));
        let ends = (test.interval(&between, 0.05), test.interval(&low, 0.05), test.interval(&high, 0.05));
        prop_assert!(near(ends.0.0, ends.1.0) && near(ends.0.1, ends.2.1));
    }

    #[test]
    fn any_histogram_gives_counts_or_nothing(bound in any_number(), cumulative in prop::collection::vec((any_number(), any_number()), 0..8)) {
        let bracket = Bracket::around(bound, cumulative.iter().map(|b| b.0));
        let test = ShareTest { limit: 0.05, dispersion: Dispersion::known(1.0), horizon: 100, aim: 0.0 };
        let mut e = test.start();
        if let Some(counted) = bracket.count(&cumulative) {
            test.update(&mut e, counted, true);
        }
        prop_assert!(test.log_fail(&e) < f64::INFINITY && test.log_pass(&e) < f64::INFINITY);
    }

    #[test]
    fn information_falls_towards_the_limit(limit in 0.001..0.5, p in 0.0..1.0_f64, q in 0.0..1.0_f64) {
        let (near_it, far) = (p.max(q) * limit, p.min(q) * limit);
        let told = |p: f64| information::absolute(p, limit, 100.0, 1.0);
        prop_assert!(told(far) >= told(near_it) - 1e-9 && told(near_it) >= -1e-9);
        let told = |p: f64| information::relative((100.0, p), (900.0, limit), 1.5, 0.002, 1.0);
        prop_assert!(told(far) >= told(near_it) - 1e-9 && told(near_it) >= -1e-9);
        prop_assert!(near(told(1.5 * limit + 0.002), 0.0));
        prop_assert!(information::intervals_to_pass(told(far), 0.05) > 0.0);
        prop_assert!(information::intervals_to_fail(told(far), 0.05, 0) >= 1.5);
    }
}

#[test]
fn bounds_outside_all_edges_leave_one_verdict() {
    let low = Bracket::around(10.0, EDGES);
    assert!(near(low.lower, 0.0) && near(low.upper, 50.0) && !low.exact());
    let counted = low.count(&buckets(&[5.0, 40.0, 60.0])).unwrap();
    assert!(near(counted.most.bad, 3.0) && near(counted.least.bad, 1.0));
    let high = Bracket::around(5000.0, EDGES);
    let counted = high.count(&buckets(&[5.0, 4000.0, 6000.0])).unwrap();
    assert!(near(counted.most.bad, 2.0) && near(counted.least.bad, 0.0));
    assert!(high.count(&[(1000.0, 1.0)]).is_none() && low.count(&[(f64::INFINITY, 1.0)]).is_none());
}

#[test]
fn an_opaque_value_must_be_there_and_within() {
    assert!(threshold::satisfied(Some(1.0), Some(1.0), Some(1.0)));
    assert!(threshold::satisfied(Some(1.0), None, None));
    assert!(!threshold::satisfied(Some(2.0), None, Some(1.0)) && !threshold::satisfied(Some(0.0), Some(1.0), None));
    assert!(!threshold::satisfied(None, None, None) && !threshold::satisfied(Some(f64::NAN), None, None));
}
