//! The mesh's traffic and what a metrics source would know of it: cumulative counters, second by second.

use super::random::Random;
use super::scenario::Answers;
use crate::engine::judge::{Sample, Tally};
use crate::engine::{MOST_CANDIDATES, Pair, Split, Window};

/// Seconds of traffic to the baseline before the experiment starts: the history that the judge learns from.
const BEFORE: i64 = 3600;

/// How old a sample is before the metrics source shows it, seconds: one scrape every 15 s, as Prometheus is set up most often.
/// Whoever reads up to the present misses requests, and for good if they do not come back for them.
const DELAY: i64 = 15;

/// Part of the requests that are worth something, and the most that one is worth, in means of all: rewards are rare and
/// unequal.
const WORTH: (f64, f64) = (0.25, 8.0);

/// Traffic up to now. Times are seconds after the start.
#[derive(Clone)]
pub(super) struct Traffic {
    rps: f64,
    seed: u64,
    random: Random,
    /// How the versions answer: the baseline, then the candidates.
    answers: Vec<Answers>,
    /// What each of them was sent since the first second, after each second from `-BEFORE` on.
    counters: Vec<Vec<Tally>>,
}

impl Traffic {
    /// Traffic that has been going to the baseline alone.
    pub(super) fn new(rps: f64, seed: u64, answers: Vec<Answers>) -> Self {
        let (random, counters) = (Random::new(seed), vec![vec![Tally::default()]; answers.len()]);
        let mut traffic = Self { rps, seed, random, answers, counters };
        traffic.advance(0, Split::HOME);
        traffic
    }

    /// The second up to which there is traffic.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.counters.first().map_or(0, Vec::len)).unwrap_or(i64::MAX) - 1 - BEFORE
    }

    /// Sends requests until a second, divided like this.
    pub(super) fn advance(&mut self, until: i64, split: Split) {
        while self.now() < until {
            let at = self.now();
            let counts = self.divide(split);
            for ((counters, count), answers) in self.counters.iter_mut().zip(counts).zip(&self.answers) {
                let mut tally = counters.last().copied().unwrap_or_default();
                tally.requests += count as f64;
                tally.bad += self.random.binomial(count, Answers::at(&answers.errors, at)) as f64;
                counters.push(tally);
            }
        }
    }

    /// A second's requests to each version.
    fn divide(&mut self, split: Split) -> [u64; MOST_CANDIDATES + 1] {
        let mut counts = [0; MOST_CANDIDATES + 1];
        let (mut left, mut percent) = (self.random.poisson(self.rps), 100.0);
        let candidates = self.answers.len().saturating_sub(1);
        // Each candidate's part of what those before it have left: together a draw from all versions.
        for (count, weight) in counts.iter_mut().skip(1).zip(split.weights(candidates)) {
            *count = self.random.binomial(left, f64::from(weight) / f64::max(percent, 1.0));
            left -= *count;
            percent -= f64::from(weight);
        }
        counts[0] = left;
        counts
    }

    /// The last second that the metrics source knows of: nothing newer than its last samples.
    fn known(&self, second: i64) -> i64 {
        second.min(self.now() - DELAY)
    }

    /// What a version was sent until a second.
    fn at(&self, version: usize, second: i64) -> Tally {
        let index = usize::try_from((second + BEFORE).max(0)).unwrap_or(0);
        let counters = self.counters.get(version).map_or(&[][..], Vec::as_slice);
        counters.get(index).or_else(|| counters.last()).copied().unwrap_or_default()
    }

    /// What a version was sent between two seconds, as far as the metrics source knows.
    fn requests(&self, version: usize, from: i64, to: i64) -> Tally {
        let [a, b] = [from, to].map(|second| self.at(version, self.known(second)));
        Tally { requests: b.requests - a.requests, bad: b.bad - a.bad }
    }

    /// What the baseline and a candidate were sent between two seconds.
    pub(super) fn pair(&self, candidate: usize, from: i64, to: i64) -> Pair {
        Pair::requests(self.requests(0, from, to), self.requests(candidate + 1, from, to))
    }

    /// What those requests were worth.
    pub(super) fn values(&self, candidate: usize, from: i64, to: i64) -> Pair {
        let one = |version| {
            let seconds = self.known(from)..self.known(to);
            seconds
                .map(|at| self.worth(version, at))
                .fold(Sample::default(), |all, one| Sample { count: all.count + one.count, sum: all.sum + one.sum })
        };
        Pair::Values { baseline: one(0), candidate: one(candidate + 1) }
    }

    /// The mean values at the end of an interval: one number each.
    pub(super) fn gauges(&self, candidate: usize, to: i64) -> Pair {
        let one = |version: usize| {
            let mean = self.answers.get(version).map_or(0.0, |a| Answers::at(&a.rewards, self.known(to)));
            Sample { count: 1.0, sum: mean }
        };
        Pair::Values { baseline: one(0), candidate: one(candidate + 1) }
    }

    /// The values of one second's requests. Drawn when they are asked for, from a stream of their own: who asks for none
    /// has the same traffic as without them.
    fn worth(&self, version: usize, at: i64) -> Sample {
        let Some(answers) = self.answers.get(version) else { return Sample::default() };
        let [a, b] = [at, at + 1].map(|second| self.at(version, second).requests);
        let (count, mean, (part, most)) = (b - a, Answers::at(&answers.rewards, at), WORTH);
        let mut random = Random::of(&[self.seed, version as u64, at.cast_unsigned()]);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests is whole")]
        let worth = (0..count as u64).map(|_| if random.unit() < part { most * mean * random.unit() } else { 0.0 });
        Sample { count, sum: worth.sum() }
    }

    /// The baseline's requests per step in a window, oldest first.
    pub(super) fn history(&self, window: Window, step: f64, start: i64) -> Vec<Tally> {
        #[allow(clippy::cast_possible_truncation)]
        let step = (step.round() as i64).max(1);
        let (from, to) = (window.from.as_second() - start, window.to.as_second() - start);
        let steps = (from.max(-BEFORE)..to).step_by(usize::try_from(step).unwrap_or(1));
        steps.map(|t| self.requests(0, t, (t + step).min(to))).collect()
    }

    /// Bad requests that the candidates answered so far.
    pub(super) fn bad_requests(&self) -> f64 {
        (1..self.answers.len()).map(|version| self.at(version, self.now()).bad).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::Scenario;
    use super::*;
    use crate::engine::Version;

    fn traffic(scenario: &str, candidates: &[&str]) -> Traffic {
        let version = |name: &&str| Version { name: (*name).into(), workload: (*name).into() };
        let versions: Vec<Version> = candidates.iter().map(version).collect();
        let scenario = Scenario::read(scenario).unwrap();
        Traffic::new(scenario.rps, scenario.seed, scenario.timeline().unwrap().answers(&versions))
    }

    #[test]
    fn the_metrics_source_is_behind_and_loses_nothing() {
        let mut traffic = traffic("rps: 50", &["candidate"]);
        traffic.advance(30, Split::one(50));
        let early = traffic.requests(1, 0, 30);
        assert_eq!(early, traffic.requests(1, 0, 30 - DELAY), "the last seconds are not known yet");
        traffic.advance(30 + DELAY, Split::one(50));
        let late = traffic.requests(1, 0, 30);
        assert!(late.requests > early.requests, "{early:?} {late:?}");
        let (a, b) = (traffic.requests(1, 0, 10), traffic.requests(1, 10, 30));
        assert!((a.requests + b.requests - late.requests).abs() < 0.5, "windows add up");
    }

    #[test]
    fn several_candidates_have_their_weights_errors_and_values() {
        let text = "{baseline: {reward: 2}, candidate: {errors: 0%}, candidates: {b: {errors: 100%, reward: 3}}}";
        let mut traffic = traffic(text, &["a", "b"]);
        let split: Split = [20, 30].into_iter().collect();
        traffic.advance(4000, split);
        let requests = |version| traffic.requests(version, 0, 3600);
        for (version, part, bad) in [(0, 0.5, 0.001), (1, 0.2, 0.0), (2, 0.3, 1.0)] {
            let Tally { requests: all, bad: wrong } = requests(version);
            // Five standard errors, or what the shares of a thousandth need.
            assert!((all / 180_000.0 - part).abs() < 0.01, "{version}: {all}");
            assert!((wrong / all - bad).abs() < 0.002, "{version}: {wrong} of {all}");
        }
        for (candidate, mean) in [(0, 1.0), (1, 3.0)] {
            let Pair::Values { baseline, candidate: own } = traffic.values(candidate, 0, 3600) else { panic!() };
            assert!((baseline.mean() - 2.0).abs() < 0.08 && (own.mean() - mean).abs() < 0.1, "{baseline:?} {own:?}");
            assert!((own.count - requests(candidate + 1).requests).abs() < 0.5, "each request has a value");
            let [Pair::Values { candidate: a, .. }, Pair::Values { candidate: b, .. }] =
                [(0, 1000), (1000, 3600)].map(|(from, to)| traffic.values(candidate, from, to))
            else {
                panic!()
            };
            assert!((a.sum + b.sum - own.sum).abs() < 1e-6, "windows add up");
        }
    }
}
