//! The traffic of one run: requests of each version, and what a metrics source knows of them.
//!
//! Requests arrive as Poisson counts in ticks of 5 s, split by the rule's own weights; bad ones come alone or in clumps.
//! Three proxies report them, a third each; every one is scraped each 15 s, in turn, and every rule's query looks a
//! while back. Called by the loops of [`super::ours`] and [`super::theirs`]; it knows neither rule.
//!
//! Counts in disjoint times, proxies and clumps are independent, and sums of (compound) Poisson counts are such counts
//! again. So what a scrape shows is drawn when it is shown, from the mean of the three ticks that it covers; only the
//! candidate's bad requests are drawn when they happen, because time counts from the first one.

use super::chance::Chance;
use super::peers::{Metrics, Version};
use super::scenario::{OUTAGE, OUTAGE_BEGINS, OUTAGE_SHARE, Scenario};
use crate::engine::judge::Tally;

/// Seconds of a tick.
pub const TICK: f64 = 5.0;
/// Seconds between two samples of a proxy, as Prometheus is set up most often.
pub const SCRAPE: f64 = 15.0;
/// Proxies that report; one is scraped at the end of each tick.
pub const PROXIES: usize = 3;

/// What the scrapes so far have shown, since time 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Shown {
    baseline: Tally,
    candidate: Tally,
    control: Tally,
}

/// Mean numbers of requests in a tick.
#[derive(Clone, Copy, Debug, Default)]
struct Means {
    good: f64,
    bad: f64,
}

/// One version's last ticks, the newest first: the scrapes to come will show a part of each.
#[derive(Clone, Copy, Debug, Default)]
struct Recent([Means; PROXIES]);

impl Recent {
    fn push(&mut self, means: Means) {
        self.0.rotate_right(1);
        if let Some(first) = self.0.first_mut() {
            *first = means;
        }
    }

    /// What the next scrape shows of it: one proxy's part of each.
    fn good(&self) -> f64 {
        self.0.iter().map(|means| means.good).sum::<f64>() / PROXIES as f64
    }

    fn bad(&self) -> f64 {
        self.0.iter().map(|means| means.bad).sum::<f64>() / PROXIES as f64
    }
}

/// The traffic of one run.
pub(super) struct Traffic {
    scenario: Scenario,
    chance: Chance,
    /// When both versions begin to fail, if they do.
    outage: Option<f64>,
    now: f64,
    baseline: Recent,
    candidate: Recent,
    control: Recent,
    /// The candidate's bad requests that the next scrapes will show, by scrape.
    pending: [f64; PROXIES],
    /// Its bad requests so far.
    bad: f64,
    first_bad: Option<f64>,
    /// After each tick from time 0 on.
    shown: Vec<Shown>,
}

impl Traffic {
    /// Time 0; all traffic has been the baseline's.
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut chance = Chance::new(seed, scenario.clump);
        let (from, to) = OUTAGE_BEGINS;
        let outage = scenario.outage.then(|| from + (to - from) * chance.unit());
        let mut traffic = Self {
            scenario: *scenario,
            chance,
            outage,
            now: 0.0,
            baseline: Recent::default(),
            candidate: Recent::default(),
            control: Recent::default(),
            pending: [0.0; PROXIES],
            bad: 0.0,
            first_bad: None,
            shown: vec![Shown::default()],
        };
        let before = traffic.means(1.0, traffic.scenario.shares(0.0).0);
        traffic.baseline.0 = [before; PROXIES];
        traffic
    }

    /// Requests expected in a tick by a version with this part of the traffic and this share of bad ones.
    fn means(&self, part: f64, share: f64) -> Means {
        let requests = self.scenario.rps * TICK * part;
        Means { good: requests * (1.0 - share), bad: requests * share }
    }

    /// Seconds since time 0.
    pub(super) fn now(&self) -> f64 {
        self.now
    }

    /// A tick in which the candidate has this weight, percent, and a control of the baseline as much, if there is one.
    pub(super) fn tick(&mut self, weight: u8, control: bool) {
        let middle = self.now + TICK / 2.0;
        let down = self.outage.is_some_and(|from| middle >= from && middle < from + OUTAGE);
        let added = if down { OUTAGE_SHARE } else { 0.0 };
        let (baseline, candidate) = self.scenario.shares(middle);
        let (baseline, candidate) = ((baseline + added).min(1.0), (candidate + added).min(1.0));
        let part = f64::from(weight) / 100.0;
        let copied = if control { part } else { 0.0 };
        self.baseline.push(self.means((1.0 - part - copied).max(0.0), baseline));
        self.candidate.push(self.means(part, candidate));
        self.control.push(self.means(copied, baseline));
        self.harm();
        self.now += TICK;
        self.scrape();
    }

    /// The candidate's bad requests of this tick, by the scrape that will show them.
    fn harm(&mut self) {
        let newest = self.candidate.0.first().copied().unwrap_or_default();
        let mean = newest.bad / PROXIES as f64;
        for pending in &mut self.pending {
            // Where every request is bad, they come as requests do: there is nothing left to clump.
            let bad = if newest.good > 0.0 { self.chance.bad(mean) } else { self.chance.poisson(mean) };
            *pending += bad;
            self.bad += bad;
        }
        if self.first_bad.is_none() && self.bad > 0.0 {
            self.first_bad = Some(self.now);
        }
    }

    /// One proxy is scraped.
    fn scrape(&mut self) {
        let mut shown = self.shown.last().copied().unwrap_or_default();
        for (tally, recent) in [(&mut shown.baseline, &self.baseline), (&mut shown.control, &self.control)] {
            let bad = self.chance.bad(recent.bad());
            tally.bad += bad;
            tally.requests += bad + self.chance.poisson(recent.good());
        }
        let [bad, next, last] = self.pending;
        self.pending = [next, last, 0.0];
        shown.candidate.bad += bad;
        shown.candidate.requests += bad + self.chance.poisson(self.candidate.good());
        self.shown.push(shown);
    }

    /// What a query for that time says.
    fn at(&self, time: f64) -> Shown {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the cast saturates at 0
        let ticks = (time / TICK).floor() as usize;
        self.shown.get(ticks).or_else(|| self.shown.last()).copied().unwrap_or_default()
    }

    /// Requests of baseline and candidate between two times from 0 on.
    pub(super) fn pair(&self, from: f64, to: f64) -> (Tally, Tally) {
        let (a, b) = (self.at(from), self.at(to));
        (less(b.baseline, a.baseline), less(b.candidate, a.candidate))
    }

    /// The baseline's requests per `step` between two times before 0, oldest first.
    pub(super) fn history(&mut self, from: f64, to: f64, step: f64) -> Vec<Tally> {
        let Means { good, bad } = self.means(step / TICK, self.scenario.shares(0.0).0);
        let steps = std::iter::successors(Some(from + step), |at| Some(at + step)).take_while(|at| *at <= to);
        let one = |_| {
            let bad = self.chance.bad(bad);
            Tally { requests: bad + self.chance.poisson(good), bad }
        };
        steps.map(one).collect()
    }

    /// The candidate's share of bad requests is another one from now on.
    pub(super) fn set_candidate(&mut self, share: f64) {
        self.scenario.candidate = share;
    }

    /// Bad requests that the candidate has answered.
    pub(super) fn bad(&self) -> f64 {
        self.bad
    }

    /// Start of the tick in which the candidate answered its first bad request.
    pub(super) fn first_bad(&self) -> Option<f64> {
        self.first_bad
    }

    /// When a query first shows one: at the earliest with the tick's own scrape.
    pub(super) fn first_shown(&self) -> Option<f64> {
        let tick = self.shown.iter().position(|shown| shown.candidate.bad > 0.0)?;
        Some(TICK * tick as f64 + self.scenario.lag)
    }
}

impl Shown {
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
        let to = self.now - self.scenario.lag;
        // Each proxy's growth between its first and its last sample in the window; extrapolation cancels in a share.
        let from = to - seconds + SCRAPE;
        (to > 0.0 && from + SCRAPE <= to).then(|| less(self.at(to).of(version), self.at(from).of(version)))
    }

    fn instant(&self, version: Version) -> Option<Tally> {
        let to = self.now - self.scenario.lag;
        (to >= SCRAPE).then(|| less(self.at(to).of(version), self.at(to - SCRAPE).of(version)))
    }

    fn total(&self, version: Version) -> Option<Tally> {
        let to = self.now - self.scenario.lag;
        (to > 0.0).then(|| self.at(to).of(version))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Objective;
    use super::*;

    fn traffic(seed: u64, ticks: usize) -> Traffic {
        let mut traffic = Traffic::new(&Scenario::new(Objective::Absolute, 50.0, 0.005, 0.02), seed);
        (0..ticks).for_each(|_| traffic.tick(50, false));
        traffic
    }

    #[test]
    fn the_source_is_behind_and_loses_nothing() {
        for seed in 0..20 {
            let mut t = traffic(seed, 12);
            assert!(t.pair(0.0, 60.0).1.bad <= t.bad);
            (0..3).for_each(|_| t.tick(0, false));
            let (a, b, all) = (t.pair(0.0, 20.0).1, t.pair(20.0, 75.0).1, t.pair(0.0, 75.0).1);
            assert!((a.requests + b.requests - all.requests).abs() < 0.5, "windows add up");
            assert!((all.bad - t.bad).abs() < 0.5, "{all:?} of {}", t.bad);
            // A minute at half of 50 requests a second; five standard errors.
            assert!((all.requests - 1500.0).abs() < 5.0 * 1500_f64.sqrt(), "{all:?}");
        }
    }

    #[test]
    fn a_scrape_shows_a_third_of_what_is_new() {
        let mean =
            |ticks: usize| (0..400).map(|seed| traffic(seed, ticks).at(1e9).candidate.requests).sum::<f64>() / 400.0;
        // A tick has 125 requests of the candidate.
        for (ticks, expected) in [(1, 125.0 / 3.0), (2, 125.0), (3, 250.0), (4, 375.0)] {
            let mean = mean(ticks);
            assert!((mean - expected).abs() < 5.0 * (expected / 400.0).sqrt(), "{ticks}: {mean}");
        }
    }

    #[test]
    fn the_history_is_the_baselines() {
        let history = traffic(1, 0).history(-3615.0, -15.0, 10.0);
        let requests: f64 = history.iter().map(|t| t.requests).sum();
        let bad: f64 = history.iter().map(|t| t.bad).sum();
        assert_eq!(history.len(), 360);
        // Five standard errors.
        assert!((requests - 180_000.0).abs() < 5.0 * 424.0, "{requests}");
        assert!((bad - 900.0).abs() < 5.0 * 30.0, "{bad}");
    }

    #[test]
    fn peers_see_windows_of_samples() {
        let mut t = traffic(1, 0);
        assert!(t.total(Version::Candidate).is_none());
        (0..24).for_each(|_| t.tick(100, false));
        let minute = t.window(Version::Candidate, 60.0).map_or(0.0, |t| t.requests);
        // A minute has four samples of each proxy, and so three distances of 15 s.
        assert!((minute - 2250.0).abs() < 5.0 * 2250_f64.sqrt(), "{minute}");
        let instant = t.instant(Version::Candidate).map_or(0.0, |t| t.requests);
        assert!((instant - 750.0).abs() < 5.0 * 750_f64.sqrt(), "{instant}");
        assert!(t.window(Version::Candidate, 20.0).is_none(), "one sample is no rate");
        let first = t.first_shown().zip(t.first_bad());
        assert!(first.is_some_and(|(shown, bad)| shown >= bad + TICK + 15.0), "{first:?}");
    }

    #[test]
    fn an_outage_is_of_both_and_passes() {
        let scenario = Scenario { outage: true, ..Scenario::new(Objective::Absolute, 500.0, 0.001, 0.001) };
        let mut t = Traffic::new(&scenario, 3);
        (0..60).for_each(|_| t.tick(50, false));
        let (baseline, candidate) = t.pair(0.0, 300.0);
        let expected = 250.0 * (0.1 * OUTAGE + 0.001 * 300.0);
        for tally in [baseline, candidate] {
            assert!((tally.bad / expected - 1.0).abs() < 0.2, "{tally:?} against {expected}");
        }
    }
}
