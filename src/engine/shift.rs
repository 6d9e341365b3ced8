//! Weights and evidence while traffic is shared: when an interval is due, what it adds, how far the ramp may go.
//!
//! Called by [`super::phases`] for Shifting and Deciding. The statistics are [`super::judge`]'s; the verdict is drawn
//! in [`super::decide`].

use jiff::{SignedDuration, Timestamp};

use super::judge::{Tally, ramp};
use super::observation::{Pair, Reading, Seen, Window};
use super::phases::Turn;
use super::plan::{Plan, Ramp};
use super::progress::{Phase, Progress};

/// Confidence of the upper bound that gates the ramp: it steers the weight, not the verdict, so 10 % is enough.
const GAMMA: f64 = 0.10;
/// Intervals without data after which the status says so: one or two are scrape jitter.
const QUIET: u32 = 5;

/// The interval that is due, if one is.
pub(super) fn due(plan: &Plan, progress: &Progress, now: Timestamp) -> Option<Window> {
    let from = progress.looked?;
    let to = now - plan.analysis.lag;
    // A source that does not answer is not asked more often than one that does.
    let patient = progress.unanswered.is_none_or(|t| now >= t + plan.analysis.interval);
    (patient && to >= from + plan.analysis.interval).then_some(Window { from, to })
}

/// Requests per second before the experiment, from the baseline's history; 0 if it is unknown.
pub(super) fn rate(history: &[Seen<Vec<Tally>>], interval: SignedDuration) -> f64 {
    // A minute is long enough to be no accident and short enough to be today's traffic.
    let recent = (60.0 / interval.as_secs_f64().max(0.001)).ceil().max(1.0);
    history
        .iter()
        .filter_map(|h| h.as_ref().ok())
        .map(|h| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let tail = h.iter().rev().take(recent as usize).collect::<Vec<_>>();
            let requests: f64 = tail.iter().map(|t| t.requests).sum();
            requests / (interval.as_secs_f64() * tail.len().max(1) as f64)
        })
        .fold(0.0, f64::max)
}

/// The candidate's first weight.
pub(super) fn first_weight(plan: &Plan, rate: f64) -> u8 {
    match &plan.ramp {
        Ramp::Gated { budget } => ramp::start(rate, *budget, plan.analysis.reaction(), plan.cap),
        Ramp::Steps(rungs) => rungs.first().map_or(plan.cap, |r| r.weight.min(plan.cap)),
    }
}

/// The weight at which the verdict falls.
fn final_weight(plan: &Plan) -> u8 {
    match &plan.ramp {
        Ramp::Gated { .. } => plan.cap,
        Ramp::Steps(rungs) => rungs.last().map_or(plan.cap, |r| r.weight.min(plan.cap)),
    }
}

impl Turn<'_> {
    /// Takes in an interval if one was read, then moves the ramp and draws the verdict.
    pub(super) fn look(&mut self) {
        if let Some(reading) = self.seen.reading.as_ref().filter(|r| Some(r.window.from) == self.progress.looked) {
            self.take(reading);
        }
        self.climb();
        self.verdict();
        if matches!(self.progress.phase, Phase::Shifting | Phase::Deciding) {
            self.explain();
            self.wake_for_look();
        }
    }

    /// Adds one interval to the evidence.
    fn take(&mut self, reading: &Reading) {
        if reading.pairs.iter().any(Result::is_err) {
            // The interval stays open: what arrives later lands in a longer one, and nothing is lost.
            self.progress.blind += 1;
            self.progress.unanswered = Some(self.now);
            return;
        }
        let pairs: Vec<Pair> =
            reading.pairs.iter().map(|p| p.as_ref().ok().copied().flatten().unwrap_or_default()).collect();
        let counts = self.counts_for_pass(reading.window);
        for (evidence, pair) in self.progress.evidence.iter_mut().zip(&pairs) {
            evidence.test.update(&mut evidence.seen, pair.candidate, counts);
        }
        let seconds = reading.window.to.duration_since(reading.window.from).as_secs_f64();
        let requests = pairs.iter().map(|p| p.baseline.requests + p.candidate.requests).fold(0.0, f64::max);
        if requests > 0.0 {
            self.progress.rate = requests / seconds.max(0.001);
        }
        let silent = pairs.iter().all(|p| p.candidate.requests <= 0.0);
        self.progress.silent = if silent { self.progress.silent + 1 } else { 0 };
        self.progress.blind = 0;
        self.progress.unanswered = None;
        self.progress.looked = Some(reading.window.to);
        self.progress.intervals += 1;
        if !silent {
            self.open_gate();
        }
    }

    /// Pass evidence counts only from the moment the final weight was reached, and after the warm-up.
    fn counts_for_pass(&self, window: Window) -> bool {
        let warm = self.progress.first_traffic.is_some_and(|t| window.from >= t + self.plan.analysis.warm_up);
        let settled = self.progress.applied.is_some_and(|t| window.from >= t);
        self.progress.phase == Phase::Deciding && warm && settled
    }

    /// The evidence-gated ramp: new evidence may allow a higher weight.
    fn open_gate(&mut self) {
        let Ramp::Gated { budget } = self.plan.ramp else { return };
        if self.progress.phase != Phase::Shifting || self.progress.applied.is_none() {
            return;
        }
        let gates = self.progress.evidence.iter().map(|e| (e.test.upper(&e.seen, GAMMA), e.test.limit));
        let reaction = self.plan.analysis.reaction();
        let next = ramp::next(self.progress.weight, self.progress.rate, budget, reaction, self.plan.cap, gates);
        self.raise(next);
    }

    /// Explicit steps by their hold times; and the last weight opens the verdict.
    fn climb(&mut self) {
        let Some(applied) = self.progress.applied.filter(|_| self.progress.phase == Phase::Shifting) else { return };
        if self.progress.weight >= final_weight(self.plan) {
            for e in &mut self.progress.evidence {
                e.test.restart_pass(&mut e.seen);
            }
            return self.enter(Phase::Deciding);
        }
        let Ramp::Steps(rungs) = &self.plan.ramp else { return };
        let hold = rungs.iter().find(|r| r.weight >= self.progress.weight).map_or(SignedDuration::ZERO, |r| r.hold);
        let quiet = self.progress.silent >= QUIET || self.progress.blind >= QUIET;
        if self.now < applied + hold {
            self.at(applied + hold);
        } else if !quiet && let Some(next) = rungs.iter().find(|r| r.weight > self.progress.weight) {
            self.raise(next.weight.min(self.plan.cap));
        }
    }

    /// A higher weight is wanted; when the routes have it, the next turn sees.
    fn raise(&mut self, weight: u8) {
        if weight > self.progress.weight {
            self.progress.weight = weight;
            self.progress.applied = None;
        }
    }

    /// What the experiment waits for while traffic is shared.
    fn explain(&mut self) {
        let a = &self.plan.analysis;
        let deadline = self.progress.first_traffic.map(|t| t + a.deadline);
        if self.progress.lost {
            self.wait("CandidateNotReady", &format!("a ready replica of {}", self.plan.candidate.workload), deadline);
        } else if self.progress.blind >= QUIET {
            let why = self.seen.reading.as_ref().and_then(|r| r.pairs.iter().find_map(|p| p.as_ref().err()));
            let before = self.progress.waiting.clone().filter(|w| w.reason == "MetricsUnavailable");
            match (why, before) {
                (Some(u), _) => {
                    self.wait("MetricsUnavailable", &format!("the metrics source to answer: {}", u.message), deadline);
                }
                (None, Some(_)) => {}
                (None, None) => self.wait("MetricsUnavailable", "the metrics source to answer", deadline),
            }
        } else if self.progress.silent >= QUIET {
            self.wait("NoTraffic", "requests to the candidate: none were seen in five intervals", deadline);
        } else if self.progress.phase == Phase::Shifting {
            self.wait("Shifting", &format!("evidence that allows more than {} %", self.progress.weight), deadline);
        } else {
            let past = deadline.is_some_and(|d| self.now >= d);
            let until = if past { self.progress.first_traffic.map(|t| t + a.hard_deadline) } else { deadline };
            self.wait("Deciding", &format!("a verdict at {} %", self.progress.weight), until);
        }
    }

    fn wake_for_look(&mut self) {
        let a = &self.plan.analysis;
        if let Some(looked) = self.progress.looked {
            let next = looked + a.interval + a.lag;
            self.at(self.progress.unanswered.map_or(next, |t| next.max(t + a.interval)));
        }
        if let (Phase::Deciding, Some(applied)) = (self.progress.phase, self.progress.applied) {
            let soaked = applied + a.soak;
            if soaked > self.now {
                self.at(soaked);
            }
        }
    }
}
