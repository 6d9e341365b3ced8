//! How long the race of the user's own experiment will take: the judge's race at the final weights, with rewards whose
//! spread the user tells.
//!
//! Rewards are Gamma distributed: positive, with a tail that grows with the spread. The ramp and the objectives are not
//! part of it.

use super::super::chance::{self, Chance};
use super::super::statistics::{median, quantile};
use super::Known;
use crate::engine::judge::{Arm, Sample};
use crate::engine::{Plan, race_test};

/// Mean reward of the baseline; no result depends on it.
const MEAN: f64 = 100.0;

/// What becomes of races in which one candidate is better than all other versions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Won {
    /// By how much its mean reward is better, as a part of theirs.
    pub by: f64,
    /// Part of the races that it has won before the deadline.
    pub in_time: f64,
    /// Part in which it left the race.
    pub lost: f64,
    /// Seconds at the final weight until half of all races are won; none if fewer are.
    pub half: Option<f64>,
    /// Seconds until 90 % of them are.
    pub most: Option<f64>,
}

/// Races of a plan's candidates, each of which has this weight at the end; `spread`: the standard deviation of a request's
/// reward in means. None for a plan without a race.
pub fn won(plan: &Plan, known: &Known, weight: u8, spread: f64, by: f64) -> Option<Won> {
    let test = race_test(plan)?;
    let per_percent = known.rps * plan.analysis.interval.as_secs_f64() / 100.0;
    let intervals = plan.analysis.deadline.as_secs_f64() / plan.analysis.interval.as_secs_f64();
    let better = if test.higher_is_better { 1.0 + by } else { 1.0 - by };
    let run = |replication: u32| {
        let mut chance = Chance::new(chance::seed("race", known.seed, replication.into()), 1.0);
        let mut seen = test.start();
        let mut past = 0.0;
        while past < intervals {
            past += 1.0;
            let weights = weights(test.arms(&seen), weight);
            let rewards = weights.iter().enumerate().map(|(arm, weight)| {
                let count = chance.poisson(weight * per_percent);
                let mean = if arm == 1 { better * MEAN } else { MEAN };
                Sample { count, sum: chance.worth(count, mean, spread) }
            });
            let rewards: Vec<Sample> = rewards.collect();
            test.update(&mut seen, &rewards);
            if test.arms(&seen).get(1) != Some(&Arm::Racing) {
                return (f64::INFINITY, true);
            }
            if test.winner(&seen) == Some(1) {
                return (past * plan.analysis.interval.as_secs_f64(), false);
            }
        }
        (f64::INFINITY, false)
    };
    let ends: Vec<(f64, bool)> = (0..known.replications).map(run).collect();
    let (times, count) = (ends.iter().map(|(at, _)| *at).collect::<Vec<_>>(), ends.len().max(1) as f64);
    Some(Won {
        by,
        in_time: times.iter().filter(|at| at.is_finite()).count() as f64 / count,
        lost: ends.iter().filter(|(_, lost)| *lost).count() as f64 / count,
        half: median(&times),
        most: quantile(&times, 0.9),
    })
}

/// Percent for each version: what a candidate had that left is the baseline's.
fn weights(arms: &[Arm], weight: u8) -> Vec<f64> {
    let candidates = arms.iter().skip(1).map(|arm| if *arm == Arm::Racing { f64::from(weight) } else { 0.0 });
    let mut weights: Vec<f64> = std::iter::once(100.0).chain(candidates).collect();
    let tried: f64 = weights.iter().skip(1).sum();
    weights.iter_mut().take(1).for_each(|baseline| *baseline = f64::max(*baseline - tried, 0.0));
    weights
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::ours;
    use super::super::super::scenario::{Objective, Scenario};
    use super::*;
    use crate::engine::{Race, Version};

    fn raced(spread: f64, by: f64, higher_is_better: bool) -> Won {
        let scenario = Scenario::new(Objective::Absolute, 50.0, 0.001, 0.001);
        let mut plan = ours::plan(&scenario).unwrap();
        plan.candidates.push(Version { name: "other".into(), workload: "other".into() });
        plan.race = Some(Race { metric: "revenue".into(), sources: vec![1, 3], higher_is_better });
        let known = Known { rps: 50.0, clump: 1.0, shares: vec![], replications: 60, seed: 1, jobs: 1 };
        won(&plan, &known, 33, spread, by).unwrap()
    }

    #[test]
    fn a_larger_difference_is_found_sooner_and_a_larger_spread_later() {
        let half = |spread, by| raced(spread, by, true).half.unwrap();
        assert!(half(1.0, 0.1) > half(1.0, 0.5) && half(2.0, 0.25) > half(1.0, 0.25));
        // Differences of means have the variance 2·(spread·mean)²/n: with three versions at 1000 requests a minute the
        // evidence of 20 or more needs some minutes.
        assert!((60.0..900.0).contains(&half(1.0, 0.25)), "{}", half(1.0, 0.25));
        assert!(raced(1.0, 0.25, false).in_time > 0.9, "lower may be the better one");
    }

    #[test]
    fn the_best_version_is_seldom_lost_and_no_difference_proves_nothing() {
        let none = raced(2.0, 0.0, true);
        assert!(none.in_time < 0.05 && none.lost < 0.15, "{none:?}");
        assert!(raced(2.0, 0.05, true).lost < 0.1);
    }
}
