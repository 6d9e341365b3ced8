//! The mesh's traffic and what a metrics source would know of it: cumulative counters, second by second.

use super::random::Random;
use super::scenario::Timeline;
use crate::engine::judge::Tally;
use crate::engine::{Pair, Window};

/// Seconds of traffic to the baseline before the experiment starts: the history that the judge learns from.
const BEFORE: i64 = 3600;

/// How old a sample is before the metrics source shows it, seconds: one scrape every 15 s, as Prometheus is set up most often.
/// Whoever reads up to the present misses requests, and for good if they do not come back for them.
const DELAY: i64 = 15;

/// Counters of both versions since the first second.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    baseline: Tally,
    candidate: Tally,
}

/// Traffic up to now. Times are seconds after the start.
#[derive(Clone)]
pub(super) struct Traffic {
    rps: f64,
    random: Random,
    /// After each second from `-BEFORE` on.
    counters: Vec<Counters>,
}

impl Traffic {
    /// Traffic that has been going to the baseline alone.
    pub(super) fn new(rps: f64, seed: u64, timeline: &Timeline) -> Self {
        let mut traffic = Self { rps, random: Random::new(seed), counters: vec![Counters::default()] };
        traffic.advance(0, 0, timeline);
        traffic
    }

    /// The second up to which there is traffic.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.counters.len()).unwrap_or(i64::MAX) - 1 - BEFORE
    }

    /// Sends requests until a second, with this weight for the candidate.
    pub(super) fn advance(&mut self, until: i64, weight: u8, timeline: &Timeline) {
        while self.now() < until {
            let at = self.now();
            let mut next = self.counters.last().copied().unwrap_or_default();
            let requests = self.random.poisson(self.rps);
            let to_candidate = self.random.binomial(requests, f64::from(weight) / 100.0);
            for (tally, count, shares) in [
                (&mut next.baseline, requests - to_candidate, &timeline.baseline),
                (&mut next.candidate, to_candidate, &timeline.candidate),
            ] {
                let share = shares.iter().rev().find(|(from, _)| *from <= at).map_or(0.0, |(_, share)| *share);
                tally.requests += count as f64;
                tally.bad += self.random.binomial(count, share) as f64;
            }
            self.counters.push(next);
        }
    }

    /// What the metrics source knows now about the counters at a second: nothing newer than its last samples.
    fn known(&self, second: i64) -> Counters {
        self.at(second.min(self.now() - DELAY))
    }

    fn at(&self, second: i64) -> Counters {
        let index = usize::try_from((second + BEFORE).max(0)).unwrap_or(0);
        self.counters.get(index).or_else(|| self.counters.last()).copied().unwrap_or_default()
    }

    /// What both versions were sent between two seconds, as far as the metrics source knows.
    pub(super) fn pair(&self, from: i64, to: i64) -> Pair {
        let (baseline, candidate) = self.both(from, to);
        Pair::requests(baseline, candidate)
    }

    /// The same, of the baseline and of the candidate.
    fn both(&self, from: i64, to: i64) -> (Tally, Tally) {
        let (a, b) = (self.known(from), self.known(to));
        let delta = |a: Tally, b: Tally| Tally { requests: b.requests - a.requests, bad: b.bad - a.bad };
        (delta(a.baseline, b.baseline), delta(a.candidate, b.candidate))
    }

    /// The baseline's requests per step in a window, oldest first.
    pub(super) fn history(&self, window: Window, step: f64, start: i64) -> Vec<Tally> {
        #[allow(clippy::cast_possible_truncation)]
        let step = (step.round() as i64).max(1);
        let (from, to) = (window.from.as_second() - start, window.to.as_second() - start);
        let steps = (from.max(-BEFORE)..to).step_by(usize::try_from(step).unwrap_or(1));
        steps.map(|t| self.both(t, (t + step).min(to)).0).collect()
    }

    /// Bad requests that the candidate answered so far.
    pub(super) fn bad_requests(&self) -> f64 {
        self.at(self.now()).candidate.bad
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Scenario;
    use super::*;

    #[test]
    fn the_metrics_source_is_behind_and_loses_nothing() {
        let timeline = Scenario::default().timeline().unwrap();
        let mut traffic = Traffic::new(50.0, 1, &timeline);
        traffic.advance(30, 50, &timeline);
        let early = traffic.both(0, 30);
        assert_eq!(early, traffic.both(0, 30 - DELAY), "the last seconds are not known yet");
        traffic.advance(30 + DELAY, 50, &timeline);
        let late = traffic.both(0, 30);
        assert!(late.1.requests > early.1.requests, "{early:?} {late:?}");
        let (a, b) = (traffic.both(0, 10).1, traffic.both(10, 30).1);
        assert!((a.requests + b.requests - late.1.requests).abs() < 0.5, "windows add up");
    }
}
