//! The race of several candidates and the baseline, as it is remembered, and what can be told from it.
//!
//! The statistics are [`RaceTest`]'s. Called by [`crate::race`], and by [`crate::summary`] for what people read.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::judge::{Arm, MeanEvidence, MeanTest, RaceEvidence, RaceTest, Sample};
use crate::plan::Plan;

/// A race, and what it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// The reward, as the user wrote it.
    pub metric: Arc<str>,
    /// The candidates' weight when the race began, percent; 0 before the final one was reached.
    pub weight: u8,
    /// The test, as it was when the race began. Arm 0 is the baseline, then the candidates in the plan's order.
    pub test: RaceTest,
    /// What it has seen.
    pub seen: RaceEvidence,
    /// Whether each candidate alone is better than the baseline: the race does not compare with a version that is out.
    pub ahead: Vec<MeanEvidence>,
}

impl Contest {
    /// The race of a plan before its first interval. The best version is lost with at most the smaller of both error
    /// budgets: it may be the baseline, or a candidate.
    pub(crate) fn start(plan: &Plan) -> Option<Box<Self>> {
        let race = plan.race.as_ref()?;
        let test = race_test(plan)?;
        let ahead = vec![ahead(&test).start(); plan.candidates.len()];
        Some(Box::new(Self { metric: race.metric.clone(), weight: 0, seen: test.start(), test, ahead }))
    }

    /// Whether it still is the race of this plan.
    pub(crate) fn is_of(&self, plan: &Plan) -> bool {
        plan.race.as_ref().is_some_and(|race| race.metric == self.metric) && race_test(plan) == Some(self.test)
    }

    /// Natural logarithm of the evidence that a candidate alone is better than the baseline.
    pub(crate) fn log_ahead(&self, candidate: usize) -> f64 {
        self.ahead.get(candidate).map_or(0.0, |seen| ahead(&self.test).log_pass(seen))
    }

    /// Whether nothing speaks against a candidate: it and the baseline have so many values, and its mean is no worse.
    pub(crate) fn is_unsuspicious(&self, candidate: usize, least: f64) -> bool {
        let values = |arm: usize| self.test.totals(&self.seen, arm).count;
        let means = self.mean(candidate + 1).zip(self.mean(0));
        values(candidate + 1) >= least && values(0) >= least && means.is_some_and(|(own, base)| !self.better(base, own))
    }

    /// A candidate left for another reason than its reward: what it had against others is void.
    pub(crate) fn drop_out(&mut self, candidate: usize) {
        self.test.drop_arm(&mut self.seen, candidate + 1);
    }

    /// Adds what an interval says of the rewards: for each candidate the baseline's values, and its own.
    pub(crate) fn take(&mut self, values: &[(Sample, Sample)]) {
        // Every candidate's answer has the baseline's values too; one that is void has none of either.
        let baseline = values.iter().map(|(baseline, _)| *baseline).find(|b| b.count > 0.0).unwrap_or_default();
        let rewards: Vec<Sample> = std::iter::once(baseline).chain(values.iter().map(|(_, own)| *own)).collect();
        self.test.update(&mut self.seen, &rewards);
        let ahead = ahead(&self.test);
        for (seen, (_, own)) in self.ahead.iter_mut().zip(values) {
            ahead.update(seen, *own, baseline, true);
        }
    }

    /// Whether a candidate was shown not to be the best.
    pub(crate) fn is_outdone(&self, candidate: usize) -> bool {
        self.test.arms(&self.seen).get(candidate + 1) == Some(&Arm::Eliminated)
    }

    /// Whether this candidate is the last version that may be the best. Where one was dropped, what took the baseline out may
    /// have been that one's: then the winner has to be better than the baseline by itself.
    pub(crate) fn is_won_by(&self, candidate: usize) -> bool {
        let dropped = self.test.arms(&self.seen).contains(&Arm::Dropped);
        let won = self.test.winner(&self.seen) == Some(candidate + 1);
        won && (!dropped || self.log_ahead(candidate) >= -self.test.alpha.ln())
    }

    /// The mean reward of an arm, if it has values.
    pub(crate) fn mean(&self, arm: usize) -> Option<f64> {
        let total = self.test.totals(&self.seen, arm);
        (total.count > 0.0).then(|| total.mean())
    }

    /// The better of two means.
    pub(crate) fn better(&self, a: f64, b: f64) -> bool {
        if self.test.higher_is_better { a > b } else { a < b }
    }

    /// The arm with most evidence against another one.
    pub(crate) fn best_against(&self, arm: usize) -> usize {
        let void = |other: &usize| self.test.arms(&self.seen).get(*other) == Some(&Arm::Dropped);
        let others = (0..self.test.arms).filter(|other| *other != arm && !void(other));
        let log = |other: &usize| self.test.log_e(&self.seen, *other, arm);
        others.max_by(|a, b| log(a).total_cmp(&log(b))).unwrap_or(0)
    }
}

/// The race that a plan asks for; none without several candidates.
pub fn race_test(plan: &Plan) -> Option<RaceTest> {
    let race = plan.race.as_ref()?;
    let [rollback, promotion] = plan.analysis.budgets();
    let (arms, alpha) = (plan.candidates.len() + 1, rollback.min(promotion));
    Some(RaceTest { arms, higher_is_better: race.higher_is_better, margin: 0.0, alpha })
}

/// The test of one candidate against the baseline, of which the Pass evidence is asked.
fn ahead(test: &RaceTest) -> MeanTest {
    // The horizon is Fail's alone; two is the least that it is defined for.
    MeanTest { ratio: 1.0, slack: 0.0, higher_is_better: test.higher_is_better, gauge: false, horizon: 2 }
}
