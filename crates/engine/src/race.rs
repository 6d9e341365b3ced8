//! The race of several candidates and the baseline for the best reward: when a version has lost it, and who won.
//!
//! Called by [`super::shift`] with what was read, by [`super::decide`] for the verdict. The statistics are
//! [`RaceTest`]'s. What counts are intervals in which Pass evidence counts as well: at the final weight and after the
//! warm-up, so that what is promised of the winner holds there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::judge::{Arm, MeanEvidence, MeanTest, RaceEvidence, RaceTest, Sample};
use super::observation::{Pair, Reading};
use super::phases::Turn;
use super::plan::Plan;
use super::progress::{Outcome, Reason};
use super::report::number;
use super::shift::pair_of;

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
    pub(super) fn start(plan: &Plan) -> Option<Box<Self>> {
        let race = plan.race.as_ref()?;
        let test = race_test(plan)?;
        let ahead = vec![ahead(&test).start(); plan.candidates.len()];
        Some(Box::new(Self { metric: race.metric.clone(), weight: 0, seen: test.start(), test, ahead }))
    }

    /// Whether it still is the race of this plan.
    pub(super) fn is_of(&self, plan: &Plan) -> bool {
        plan.race.as_ref().is_some_and(|race| race.metric == self.metric) && race_test(plan) == Some(self.test)
    }

    /// Natural logarithm of the evidence that a candidate alone is better than the baseline.
    fn log_ahead(&self, candidate: usize) -> f64 {
        self.ahead.get(candidate).map_or(0.0, |seen| ahead(&self.test).log_pass(seen))
    }

    /// Whether nothing speaks against a candidate: it and the baseline have so many values, and its mean is no worse.
    pub(super) fn is_unsuspicious(&self, candidate: usize, least: f64) -> bool {
        let values = |arm: usize| self.test.totals(&self.seen, arm).count;
        let means = self.mean(candidate + 1).zip(self.mean(0));
        values(candidate + 1) >= least && values(0) >= least && means.is_some_and(|(own, base)| !self.better(base, own))
    }

    /// A candidate left for another reason than its reward: what it had against others is void.
    pub(super) fn drop_out(&mut self, candidate: usize) {
        self.test.drop_arm(&mut self.seen, candidate + 1);
    }

    /// Whether a candidate was shown not to be the best.
    fn is_outdone(&self, candidate: usize) -> bool {
        self.test.arms(&self.seen).get(candidate + 1) == Some(&Arm::Eliminated)
    }

    /// Whether this candidate is the last version that may be the best. Where one was dropped, what took the baseline out may
    /// have been that one's: then the winner has to be better than the baseline by itself.
    fn is_won_by(&self, candidate: usize) -> bool {
        let dropped = self.test.arms(&self.seen).contains(&Arm::Dropped);
        let won = self.test.winner(&self.seen) == Some(candidate + 1);
        won && (!dropped || self.log_ahead(candidate) >= -self.test.alpha.ln())
    }

    /// The mean reward of an arm, if it has values.
    pub(super) fn mean(&self, arm: usize) -> Option<f64> {
        let total = self.test.totals(&self.seen, arm);
        (total.count > 0.0).then(|| total.mean())
    }

    /// The better of two means.
    fn better(&self, a: f64, b: f64) -> bool {
        if self.test.higher_is_better { a > b } else { a < b }
    }

    /// The arm with most evidence against another one.
    fn best_against(&self, arm: usize) -> usize {
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

impl Turn<'_> {
    /// Adds what an interval says of the rewards.
    pub(super) fn take_rewards(&mut self, reading: &Reading) {
        let (Some(race), Some(contest)) = (&self.plan.race, &mut self.progress.race) else { return };
        let values = race.sources.iter().map(|source| match pair_of(reading, *source) {
            Some(Pair::Values { baseline, candidate }) => (baseline, candidate),
            Some(Pair::Requests { .. }) | None => (Sample::default(), Sample::default()),
        });
        let values: Vec<(Sample, Sample)> = values.collect();
        // Every candidate's answer has the baseline's values too; one that is void has none of either.
        let baseline = values.iter().map(|(baseline, _)| *baseline).find(|b| b.count > 0.0).unwrap_or_default();
        let rewards: Vec<Sample> = std::iter::once(baseline).chain(values.iter().map(|(_, own)| *own)).collect();
        contest.test.update(&mut contest.seen, &rewards);
        let ahead = ahead(&contest.test);
        for (seen, (_, own)) in contest.ahead.iter_mut().zip(&values) {
            ahead.update(seen, *own, baseline, true);
        }
    }

    /// Takes out the candidates whose reward was shown not to be the best; whether that ended the experiment.
    pub(super) fn let_go(&mut self) -> bool {
        let outdone = |at: &usize| self.progress.race.as_ref().is_some_and(|race| race.is_outdone(*at));
        let outdone: Vec<usize> = self.running_ones().filter(outdone).collect();
        for at in outdone {
            let sentence = self.outdone(at);
            self.dismiss(at, Reason::Outperformed, sentence);
        }
        !self.is_running()
    }

    /// Who did better than a candidate, in one sentence.
    fn outdone(&self, candidate: usize) -> String {
        let (Some(race), Some(contest)) = (&self.plan.race, &self.progress.race) else { return String::new() };
        let better = contest.best_against(candidate + 1);
        let mean = |arm: usize| contest.mean(arm).map_or_else(|| "unknown".into(), number);
        let name =
            |arm: usize| arm.checked_sub(1).map_or(self.plan.baseline.name.as_str(), |at| &self.version(at).name);
        format!(
            "{} is better at {} ({}) than at {} ({})",
            race.metric,
            name(better),
            mean(better),
            name(candidate + 1),
            mean(candidate + 1)
        )
    }

    /// Whether several candidates compete, and none of them has a reward yet.
    pub(super) fn nobody_leads(&self) -> bool {
        let race = self.progress.race.as_ref();
        race.is_some_and(|race| !self.running_ones().any(|at| race.mean(at + 1).is_some()))
    }

    /// The candidate that has the best reward so far; the first one before there is any.
    pub(super) fn leader(&self) -> Option<usize> {
        self.serving_ones().reduce(|best, at| {
            let mean =
                |at: usize| self.progress.race.as_ref().and_then(|race| race.mean(at + 1).map(|mean| (race, mean)));
            match (mean(best), mean(at)) {
                (Some((race, best_so_far)), Some((_, mean))) if race.better(mean, best_so_far) => at,
                (None, Some(_)) => at,
                _ => best,
            }
        })
    }

    /// At the deadline, candidates that cannot be told apart need not be: the leader that was shown to be better than
    /// the baseline is promoted. Each candidate had the chance to be that one, hence the threshold of all of them.
    pub(super) fn better_than_baseline(&self) -> Option<(usize, String)> {
        let (race, contest) = (self.plan.race.as_ref()?, self.progress.race.as_ref()?);
        let leader = self.leader()?;
        let needed = (self.plan.candidates.len() as f64 / contest.test.alpha).ln();
        if contest.log_ahead(leader) < needed || !self.passes(leader) {
            return None;
        }
        let others: Vec<&str> =
            self.running_ones().filter(|at| *at != leader).map(|at| self.version(at).name.as_str()).collect();
        let sentence = format!(
            "{} keeps every limit at {} % of the traffic, and its {} is better than the baseline's",
            self.version(leader).name,
            self.progress.weight,
            race.metric,
        );
        if others.is_empty() {
            return Some((leader, sentence));
        }
        let rest = format!("; until the deadline it could not be told apart from that of {}", others.join(" and "));
        Some((leader, sentence + &rest))
    }

    /// The verdict for a candidate: that of its limits and, with several, that of the race.
    pub(super) fn promote_the_best(&mut self) -> bool {
        let won = |at: &usize| self.progress.race.as_ref().is_none_or(|race| race.is_won_by(*at));
        let Some(at) = self.running_ones().find(won).filter(|at| self.passes(*at)) else { return false };
        let name = &self.version(at).name;
        let limits = format!("{name} keeps every limit at {} % of the traffic", self.progress.weight);
        let sentence = match &self.plan.race {
            Some(race) => format!("{limits}, and has the best {}", race.metric),
            None => limits,
        };
        self.decide_on(at, Outcome::Promote, Reason::Proven, sentence);
        true
    }
}
