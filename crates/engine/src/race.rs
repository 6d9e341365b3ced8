//! The race of several candidates and the baseline for the best reward: when a version has lost it, and who won.
//!
//! Called by [`super::shift`] with what was read, by [`super::decide`] for the verdict. The statistics are
//! [`crate::judge::RaceTest`]'s. What counts are intervals in which Pass evidence counts as well: at the final weight and after the
//! warm-up, so that what is promised of the winner holds there.

use crate::draft::Turn;
use crate::judge::Sample;
use crate::reading::Pair;
use crate::rule::number;
use crate::sources::Taken;
use crate::verdict::{Outcome, Reason};

impl Turn<'_> {
    /// Adds what an interval says of the rewards, as far as Pass evidence counts in it.
    pub(super) fn take_rewards(&mut self, taken: &Taken) {
        let Some(race) = &self.plan.race else { return };
        let values = race.sources.iter().map(|source| match taken.of(*source) {
            Some((Pair::Values { baseline, candidate }, window)) if self.counts_for_pass(window) => {
                (baseline, candidate)
            }
            Some(_) | None => (Sample::default(), Sample::default()),
        });
        let values: Vec<(Sample, Sample)> = values.collect();
        if let Some(contest) = &mut self.progress.race {
            contest.take(&values);
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
