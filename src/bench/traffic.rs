//! The traffic of one run: requests of each version, and what a metrics source knows of them.
//!
//! Requests arrive as Poisson counts in ticks of 5 s, split by the rule's own weights; bad ones come alone or in clumps.
//! Counters are sampled every 15 s, at a phase of the run's own, and a sample is visible a while later. Called by the
//! loops of [`super::ours`] and [`super::theirs`]; it knows neither rule.

use super::chance::Chance;
use super::peers::{Metrics, Version};
use super::scenario::{OUTAGE, OUTAGE_BEGINS, OUTAGE_SHARE, Scenario};
use crate::engine::judge::Tally;

/// Seconds of a tick.
pub const TICK: f64 = 5.0;
/// Seconds between samples, as Prometheus is set up most often.
pub const SCRAPE: f64 = 15.0;
/// Seconds of traffic before the candidate gets any: an hour of history, and what is not visible yet.
const BEFORE: f64 = 3600.0 + 120.0;

/// Counters since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    baseline: Tally,
    candidate: Tally,
    control: Tally,
}

/// The traffic of one run.
pub(super) struct Traffic {
    scenario: Scenario,
    chance: Chance,
    /// When both versions begin to fail, if they do.
    outage: Option<f64>,
    now: f64,
    counters: Counters,
    /// Values of the counters every [`SCRAPE`] seconds, from `first` on.
    samples: Vec<Counters>,
    first: f64,
    first_bad: Option<f64>,
}

impl Traffic {
    /// An hour of the baseline alone if `history`, then time 0.
    pub(super) fn new(scenario: &Scenario, seed: u64, history: bool) -> Self {
        let mut chance = Chance::new(seed, scenario.clump);
        let phase = (chance.unit() * SCRAPE / TICK).floor() * TICK;
        let (from, to) = OUTAGE_BEGINS;
        let outage = scenario.outage.then(|| from + (to - from) * chance.unit());
        let first = if history { phase - BEFORE } else { phase - SCRAPE };
        let samples = vec![Counters::default()];
        let mut traffic = Self {
            scenario: *scenario,
            chance,
            outage,
            now: first,
            counters: Counters::default(),
            samples,
            first,
            first_bad: None,
        };
        // Nobody looks between two samples of the past.
        while history && traffic.now + SCRAPE <= 0.0 {
            traffic.flow(SCRAPE, 0.0, 0.0);
        }
        traffic.flow(-traffic.now, 0.0, 0.0);
        traffic
    }

    /// Seconds since time 0.
    pub(super) fn now(&self) -> f64 {
        self.now
    }

    /// A tick in which the candidate has this weight, percent, and a control of the baseline as much, if there is one.
    pub(super) fn tick(&mut self, weight: u8, control: bool) {
        let share = f64::from(weight) / 100.0;
        let (began, bad) = (self.now, self.counters.candidate.bad);
        self.flow(TICK, share, if control { share } else { 0.0 });
        if self.first_bad.is_none() && self.counters.candidate.bad > bad {
            self.first_bad = Some(began);
        }
    }

    /// Sends requests for some seconds, and takes the sample that is due at their end.
    fn flow(&mut self, seconds: f64, candidate: f64, control: f64) {
        let middle = self.now + seconds / 2.0;
        let down = self.outage.is_some_and(|from| middle >= from && middle < from + OUTAGE);
        let added = if down { OUTAGE_SHARE } else { 0.0 };
        let (baseline_share, candidate_share) = self.scenario.shares(middle);
        let requests = self.scenario.rps * seconds;
        let rest = (1.0 - candidate - control).max(0.0);
        let counters = &mut self.counters;
        for (tally, part, share) in [
            (&mut counters.baseline, rest, baseline_share),
            (&mut counters.candidate, candidate, candidate_share),
            (&mut counters.control, control, baseline_share),
        ] {
            if part > 0.0 {
                let (mean, share) = (requests * part, (share + added).min(1.0));
                let bad = self.chance.bad(mean * share);
                tally.bad += bad;
                tally.requests += bad + self.chance.poisson(mean * (1.0 - share));
            }
        }
        self.now += seconds;
        if self.now >= self.first + SCRAPE * self.samples.len() as f64 {
            self.samples.push(self.counters);
        }
    }

    /// The last sample at a time, of those that are visible.
    fn known(&self, at: f64) -> (usize, Counters) {
        let visible = at.min(self.now - self.scenario.lag);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates at 0
        let index = (((visible - self.first) / SCRAPE).floor() as usize).min(self.samples.len() - 1);
        (index, self.samples.get(index).copied().unwrap_or_default())
    }

    /// Requests of baseline and candidate between two times, as the samples say.
    pub(super) fn pair(&self, from: f64, to: f64) -> (Tally, Tally) {
        let (a, b) = (self.known(from).1, self.known(to).1);
        (less(b.baseline, a.baseline), less(b.candidate, a.candidate))
    }

    /// The baseline's requests per `step` between two times, oldest first.
    pub(super) fn history(&self, from: f64, to: f64, step: f64) -> Vec<Tally> {
        let steps = std::iter::successors(Some(from), |at| Some(at + step)).take_while(|at| at + step <= to);
        steps.map(|at| self.pair(at, at + step).0).collect()
    }

    /// The candidate's share of bad requests is another one from now on.
    pub(super) fn set_candidate(&mut self, share: f64) {
        self.scenario.candidate = share;
    }

    /// Bad requests that the candidate has answered.
    pub(super) fn bad(&self) -> f64 {
        self.counters.candidate.bad
    }

    /// Start of the tick in which the candidate answered its first bad request.
    pub(super) fn first_bad(&self) -> Option<f64> {
        self.first_bad
    }

    /// When the metrics source first shows it.
    pub(super) fn first_shown(&self) -> Option<f64> {
        let end = self.first_bad? + TICK;
        let sample = self.first + SCRAPE * ((end - self.first) / SCRAPE).ceil();
        Some(sample + self.scenario.lag)
    }
}

impl Counters {
    fn of(&self, version: Version) -> Tally {
        match version {
            Version::Baseline => self.baseline,
            Version::Candidate => self.candidate,
            Version::Control => self.control,
        }
    }
}

fn less(a: Tally, b: Tally) -> Tally {
    Tally { requests: a.requests - b.requests, bad: a.bad - b.bad }
}

impl Metrics for Traffic {
    fn window(&self, version: Version, seconds: f64) -> Option<Tally> {
        let (last, to) = self.known(self.now);
        let start = (self.now - seconds - self.first) / SCRAPE;
        // The window is open at its start.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates at 0
        let first = if start < 0.0 { 0 } else { start.floor() as usize + 1 };
        let from = self.samples.get(first).filter(|_| first < last)?;
        Some(less(to.of(version), from.of(version)))
    }

    fn instant(&self, version: Version) -> Option<Tally> {
        let (last, to) = self.known(self.now);
        let from = self.samples.get(last.checked_sub(1)?)?;
        Some(less(to.of(version), from.of(version)))
    }

    fn total(&self, version: Version) -> Option<Tally> {
        (self.now >= self.scenario.lag).then(|| self.known(self.now).1.of(version))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Objective;
    use super::*;

    fn traffic(seed: u64, ticks: usize) -> Traffic {
        let mut traffic = Traffic::new(&Scenario::new(Objective::Absolute, 50.0, 0.005, 0.02), seed, true);
        (0..ticks).for_each(|_| traffic.tick(50, false));
        traffic
    }

    #[test]
    fn the_source_is_late_and_loses_nothing() {
        for seed in 0..20 {
            let mut t = traffic(seed, 12);
            let early = t.pair(0.0, 60.0).1;
            assert_eq!(early, t.pair(0.0, 45.0).1, "the last 15 s are not visible yet");
            assert!(early.requests < t.counters.candidate.requests - 200.0, "{early:?}");
            (0..6).for_each(|_| t.tick(0, false));
            let (a, b, all) = (t.pair(-99.0, 20.0).1, t.pair(20.0, 75.0).1, t.pair(-99.0, 75.0).1);
            assert!((a.requests + b.requests - t.counters.candidate.requests).abs() < 0.5, "windows add up");
            assert_eq!(all, t.counters.candidate);
        }
    }

    #[test]
    fn the_history_is_an_hour_of_the_baseline() {
        let history = traffic(1, 0).history(-3615.0, -15.0, 10.0);
        let requests: f64 = history.iter().map(|t| t.requests).sum();
        // Five standard errors, and a sample's worth at either end.
        assert!((requests - 180_000.0).abs() < 5.0 * 424.0 + 750.0, "{requests}");
        assert_eq!(history.len(), 360);
    }

    #[test]
    fn peers_see_windows_of_visible_samples() {
        let mut t = traffic(1, 0);
        assert!(t.total(Version::Candidate).is_none());
        (0..24).for_each(|_| t.tick(100, false));
        let minute = t.window(Version::Candidate, 60.0).map_or(0.0, |t| t.requests);
        // Of 60 seconds 15 are not visible yet; 2 or 3 distances of samples lie in the rest.
        assert!((1300.0..2400.0).contains(&minute), "{minute}");
        let instant = t.instant(Version::Candidate).map_or(0.0, |t| t.requests);
        assert!((550.0..950.0).contains(&instant), "{instant}");
        assert!(t.window(Version::Candidate, 20.0).is_none(), "one sample is no rate");
    }

    #[test]
    fn an_outage_is_of_both_and_passes() {
        let scenario = Scenario { outage: true, ..Scenario::new(Objective::Absolute, 500.0, 0.001, 0.001) };
        let mut t = Traffic::new(&scenario, 3, true);
        (0..60).for_each(|_| t.tick(50, false));
        let (baseline, candidate) = t.pair(0.0, 285.0);
        let expected = 250.0 * (0.1 * OUTAGE + 0.001 * 285.0);
        for tally in [baseline, candidate] {
            assert!((tally.bad / expected - 1.0).abs() < 0.2, "{tally:?} against {expected}");
        }
    }
}
