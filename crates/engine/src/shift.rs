//! Weights and evidence while traffic is shared: when an interval is due, what it adds, how far the ramp may go.
//!
//! Called by [`super::phases`] for Shifting and Deciding. The statistics are [`super::judge`]'s; the verdict is drawn
//! in [`super::decide`].

use jiff::{SignedDuration, Timestamp};

use crate::attribution::{self, Field};
use crate::draft::Turn;
use crate::entrants;
use crate::evidence::{Evidence, Gate};
use crate::fact::{Seen, Window};
use crate::judge::{Tally, ramp};
use crate::plan::{Plan, Ramp, Rung};
use crate::progress::{HeldBy, Hold, Iterations, Phase, Progress, Spell, runs};
use crate::reading::Reading;
use crate::rule::Rule;
use crate::sources::{self, Place, Taken};

/// Confidence of the upper bound that gates the ramp: it steers the weight, not the verdict, so 10 % is enough.
const GAMMA: f64 = 0.10;
/// Intervals without data after which the status says so: one or two are scrape jitter.
const QUIET: u32 = 5;
/// Looks that the metrics source leaves unanswered before the status says so: one may be a restart of a proxy.
const BLIND: u32 = 2;
/// How long the baseline may break a limit itself before traffic leaves the candidate: longer than a blip, short
/// enough that nobody looks for the cause in the experiment.
const MASKED: SignedDuration = SignedDuration::from_mins(5);
/// How long the baseline has to keep its limits before the ramp begins again.
const CALM: SignedDuration = SignedDuration::from_mins(1);

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

/// How much there was in an interval.
struct Volume {
    /// Requests per second of all versions.
    rate: f64,
    /// Whether the candidates had none.
    silent: bool,
}

impl Turn<'_> {
    /// The candidates' first weight; none if there is no split to take over.
    pub(super) fn first_weight(&mut self) -> Option<u8> {
        let cap = self.cap();
        Some(match &self.plan.ramp {
            Ramp::Gated { budget } => {
                ramp::start(self.progress.rate, self.each(*budget), self.plan.analysis.reaction(), self.plan.cap)
                    .min(cap)
            }
            Ramp::Steps(rungs) => rungs.first().map_or(cap, |r| r.weight.min(cap)),
            Ramp::Fixed => {
                let found = self.seen.routes.as_ref().and_then(|r| r.as_ref().ok()).map_or(0, |r| r.candidates.of(0));
                if found == 0 || found > 100 {
                    let what =
                        "a split to keep: the routes give the candidate no traffic, and FixedSplit changes no weight";
                    self.stuck("NoSplit", what);
                    return None;
                }
                found
            }
        })
    }

    /// One candidate's part of a budget: together they may cost no more than one alone.
    fn each(&self, budget: f64) -> f64 {
        budget / self.running_ones().count().max(1) as f64
    }

    /// The weight at which the verdict falls.
    fn final_weight(&self) -> u8 {
        match &self.plan.ramp {
            Ramp::Gated { .. } => self.cap(),
            Ramp::Steps(rungs) => rungs.last().map_or(100, |r| r.weight).min(self.cap()),
            Ramp::Fixed => self.progress.weight,
        }
    }

    /// Takes in an interval if one was read, then moves the ramp and draws the verdict.
    pub(super) fn look(&mut self) {
        if let Some(reading) = self.seen.reading.as_ref().filter(|r| Some(r.window.from) == self.progress.looked) {
            self.take(reading);
        }
        self.environment();
        if self.progress.hold.is_none() && self.progress.retreated.is_none() {
            self.climb();
        }
        self.verdict();
        if matches!(self.progress.phase, Phase::Shifting | Phase::Deciding) {
            if self.progress.hold.is_none() {
                self.explain();
            }
            self.wake_for_look();
        }
    }

    /// Adds one interval to the evidence: what the sources that answered say.
    fn take(&mut self, reading: &Reading) {
        let mut places = std::mem::take(&mut self.progress.places);
        let taken = self.take_in(&mut places, reading);
        self.progress.places = places;
        // It counts no further than anybody asks: a long outage is not a status write for each interval.
        self.progress.blind = if taken.unread { (self.progress.blind + 1).min(BLIND) } else { 0 };
        if !taken.answered {
            self.progress.unanswered = Some(self.now);
            return;
        }
        let mut masked = false;
        for at in 0..self.progress.evidence.len() {
            let Some((pair, window)) = self.progress.evidence.get(at).and_then(|e| taken.of(e.criterion.source)) else {
                continue;
            };
            let counts = self.counts_for_pass(window);
            let (all, entrants) = (&mut self.progress.evidence, &self.progress.entrants);
            if let Some(evidence) = all.get_mut(at).filter(|e| runs(entrants, e.criterion.candidate)) {
                masked |= evidence.update(&pair, counts);
            }
        }
        let counts = self.counts_for_pass(reading.window);
        if counts {
            self.take_rewards(&taken);
        }
        if !taken.unread {
            self.iterate(counts);
        }
        self.note_environment(masked, reading.window);
        let Volume { rate, silent } = self.volume(&taken);
        if rate > 0.0 {
            self.progress.rate = rate;
        }
        self.progress.silent = if silent { self.progress.silent.saturating_add(1) } else { 0 };
        self.progress.unanswered = None;
        self.progress.looked = Some(reading.window.to);
        self.progress.intervals = self.progress.intervals.saturating_add(1);
        if !silent && !masked && !taken.unread {
            self.open_gate();
        }
    }

    /// What counts of a reading, with every request at whoever is responsible for it; people are told what does not count.
    pub(super) fn take_in(&mut self, places: &mut Vec<Place>, reading: &Reading) -> Taken {
        let mut taken = sources::take_in(places, reading, self.progress.rate);
        let workloads = self.seen.workloads.as_ref().and_then(|w| w.as_ref().ok());
        let field = Field {
            candidates: self.plan.candidates.len(),
            hosts: &reading.hosts,
            idle: &entrants::idle(self.plan, &self.progress),
            ready: workloads.map(|w| w.baseline.ready > 0),
            // Samples are as old as the lag: until then they may be about the weights before.
            shares: self
                .progress
                .carried
                .filter(|_| self.progress.applied.is_some_and(|t| t + self.plan.analysis.lag <= reading.window.from)),
        };
        attribution::attribute(&mut taken.pairs, &field);
        for (source, void) in &taken.voided {
            let metric = self.plan.metric(*source);
            self.warn("IntervalVoid", &format!("an interval of {metric} does not count: {}", void.text()));
        }
        taken
    }

    /// Counts an iteration: an interval in which every threshold has a value. A missing one repeats it; and time that is
    /// held for a person is none of an experiment's.
    fn iterate(&mut self, counts: bool) {
        if self.plan.iterations.is_none() || self.progress.hold.is_some() {
            return;
        }
        let last = self.progress.evidence.iter().all(Evidence::has_value);
        let iterations = &mut self.progress.iterations;
        iterations.done = iterations.done.saturating_add(u32::from(last));
        (iterations.last, iterations.settled) = (last, last && counts);
    }

    /// How much there was in an interval. A gauge counts no requests: alone it tells of no rate, and of no silence while it
    /// has a value.
    fn volume(&self, taken: &Taken) -> Volume {
        let mut volume = Volume { rate: 0.0, silent: true };
        for of_one in self.progress.evidence.chunk_by(|a, b| a.criterion.candidate == b.criterion.candidate) {
            let mut most = 0.0_f64;
            for e in of_one {
                let Some((pair, window)) = taken.of(e.criterion.source) else { continue };
                let (baseline, candidate) = pair.volume();
                if !matches!(e.criterion.rule, Rule::Mean { gauge: true, .. } | Rule::Threshold { .. }) {
                    // The baseline's are the same beside every candidate's.
                    let first = e.criterion.candidate == 0;
                    let seconds = window.to.duration_since(window.from).as_secs_f64().max(0.001);
                    most = most.max((candidate + if first { baseline } else { 0.0 }) / seconds);
                }
                volume.silent &= candidate <= 0.0;
            }
            volume.rate += most;
        }
        volume
    }

    /// Edited limits or budgets: the evidence begins anew, and a new budget is spent. The weight stays.
    pub(super) fn keep_terms(&mut self) {
        let (criteria, budgets) = (&self.plan.criteria, self.plan.analysis.budgets());
        let before = &self.progress.evidence;
        let same = criteria.len() == before.len() && criteria.iter().zip(before).all(|(c, e)| *c == e.criterion);
        let same = same && self.progress.race.as_ref().is_none_or(|race| race.is_of(self.plan));
        if same && self.progress.budgets.is_none_or(|b| b.map(f64::to_bits) == budgets.map(f64::to_bits)) {
            return;
        }
        let horizon = self.plan.analysis.horizon();
        self.progress.evidence = criteria.iter().map(|c| Evidence::edited(c, before, horizon)).collect();
        self.begin_race();
        self.progress.iterations = Iterations::default();
        self.progress.budgets = Some(budgets);
        self.progress.restarts = self.progress.restarts.saturating_add(1);
        self.warn("EvidenceRestarted", "limits or error budgets were edited; the evidence begins anew");
    }

    /// Remembers how long the baseline has broken a limit itself.
    fn note_environment(&mut self, masked: bool, window: Window) {
        let p = &mut self.progress;
        match &mut p.degraded {
            Some(spell) if masked => spell.to = window.to,
            None if masked => p.degraded = Some(Spell { from: window.from, to: window.to }),
            // While traffic is away, the end of the spell says how long it has been calm.
            Some(_) if p.retreated.is_none() => p.degraded = None,
            Some(_) | None => {}
        }
    }

    /// Leaves the candidate when the environment is degraded for long, and comes back when it recovered.
    fn environment(&mut self) {
        let (Some(spell), Some(looked)) = (self.progress.degraded, self.progress.looked) else { return };
        if self.progress.retreated.is_none() && spell.to.duration_since(spell.from) >= MASKED {
            self.progress.retreated = Some(self.now);
            let what = format!(
                "the baseline itself has broken a limit for {} minutes; all traffic returns to it, without a verdict",
                MASKED.as_mins()
            );
            self.warn("EnvironmentRetreat", &what);
        } else if self.progress.retreated.is_some() && looked >= spell.to + CALM {
            (self.progress.retreated, self.progress.degraded, self.progress.silent) = (None, None, 0);
            self.enter(Phase::Shifting);
            if let Some(weight) = self.first_weight().filter(|_| self.plan.ramp != Ramp::Fixed) {
                self.progress.weight = weight;
            }
            self.tell("EnvironmentRecovered", "the baseline keeps its limits again; the ramp begins anew");
        }
    }

    /// Pass evidence counts only from the moment the final weight was reached, and after the warm-up.
    pub(super) fn counts_for_pass(&self, window: Window) -> bool {
        let warm = self.progress.first_traffic.is_some_and(|t| window.from >= t + self.plan.analysis.warm_up);
        let settled = self.settled_since().is_some_and(|t| window.from >= t);
        self.progress.phase == Phase::Deciding && warm && settled
    }

    /// The evidence-gated ramp: new evidence may allow a higher weight.
    fn open_gate(&mut self) {
        let Ramp::Gated { budget } = self.plan.ramp else { return };
        if self.progress.phase != Phase::Shifting || self.settled_since().is_none() {
            return;
        }
        let entrants = &self.progress.entrants;
        let running = || self.progress.evidence.iter().filter(|e| runs(entrants, e.criterion.candidate));
        let gates = || running().filter_map(|e| e.gate(GAMMA));
        if gates().any(|g| g == Gate::Calm(false)) {
            return;
        }
        let shares = gates().filter_map(|g| match g {
            Gate::Share { upper, limit } => Some((upper, limit)),
            Gate::Calm(_) => None,
        });
        let (weight, cap) = (self.progress.weight, self.cap());
        let next = if shares.clone().next().is_some() {
            ramp::next(weight, self.progress.rate, self.each(budget), self.plan.analysis.reaction(), cap, shares)
        } else {
            ramp::blind(weight, cap)
        };
        self.raise(next);
    }

    /// Explicit steps by their hold times and approvals; and the last weight opens the verdict.
    fn climb(&mut self) {
        let Some(applied) = self.settled_since().filter(|_| self.progress.phase == Phase::Shifting) else { return };
        let rung = match &self.plan.ramp {
            Ramp::Steps(rungs) => rungs.iter().find(|r| r.weight >= self.progress.weight).copied(),
            Ramp::Gated { .. } | Ramp::Fixed => None,
        };
        if self.progress.weight >= self.final_weight() {
            if rung.is_some_and(|r| self.asks(r)) {
                return;
            }
            self.progress.evidence.iter_mut().for_each(Evidence::restart_pass);
            self.race_at(self.progress.weight);
            return self.enter(Phase::Deciding);
        }
        let (Ramp::Steps(rungs), Some(rung)) = (&self.plan.ramp, rung) else { return };
        let quiet = self.progress.silent >= QUIET || self.progress.blind >= BLIND;
        if self.now < applied + rung.hold {
            self.at(applied + rung.hold);
        } else if !quiet
            && !self.asks(rung)
            && let Some(next) = rungs.iter().find(|r| r.weight > self.progress.weight)
        {
            self.raise(next.weight);
        }
    }

    /// Whether a step waits for a person's approval; the wait begins here.
    fn asks(&mut self, rung: Rung) -> bool {
        let asks = rung.approval && self.progress.approved.is_none_or(|w| w < self.progress.weight);
        if asks {
            self.progress.hold = Some(Hold { since: self.now, by: HeldBy::Approval, why: String::new() });
        }
        asks
    }

    /// A higher weight is wanted; when the routes have it, the next turn sees. It rises no further than the replicas
    /// carry, and not while the baseline was scaled down: a rollback must find it strong enough.
    fn raise(&mut self, weight: u8) {
        let weight = weight.min(self.cap());
        let free = self.progress.hold.is_none() && self.progress.retreated.is_none() && !self.scaled_down();
        if weight > self.progress.weight && free {
            self.progress.weight = weight;
        }
    }

    /// What the experiment waits for while traffic is shared.
    fn explain(&mut self) {
        let a = &self.plan.analysis;
        let (began, hard) = (self.progress.began(), a.hard_deadline);
        let deadline = began.map(|t| t + a.deadline);
        if self.progress.retreated.is_some() {
            let what = "the baseline to keep its limits for a minute: traffic is away from the candidate";
            self.wait("EnvironmentRetreat", what, began.map(|t| t + hard));
        } else if self.all_lost() {
            let lost: Vec<&str> = self.running_ones().map(|at| self.version(at).workload.as_str()).collect();
            self.wait("CandidateNotReady", &format!("a ready replica of {}", lost.join(" or ")), deadline);
        } else if self.progress.blind >= BLIND {
            let why = self.seen.reading.as_ref().and_then(|r| r.answers.iter().find_map(|p| p.as_ref().err()));
            let before = self.progress.waiting.clone().filter(|w| w.reason == "MetricsUnavailable");
            match (why, before) {
                (Some(u), _) => {
                    self.wait("MetricsUnavailable", &format!("the metrics source to answer: {}", u.message), deadline);
                }
                (None, Some(_)) => {}
                (None, None) => self.wait("MetricsUnavailable", "the metrics source to answer", deadline),
            }
        } else if self.progress.silent >= QUIET && self.plan.iterations.is_some() {
            self.wait("NoValue", "a number from the opaque metrics: none came in five intervals", deadline);
        } else if self.progress.silent >= QUIET {
            self.wait("NoTraffic", "requests to the candidate: none were seen in five intervals", deadline);
        } else if self.scaled_down() {
            let what = format!(
                "{} to have the {} replicas that it started with",
                self.plan.baseline.workload,
                self.progress.start.as_ref().map_or(0, |s| s.baseline_desired)
            );
            self.wait("BaselineScaledDown", &what, deadline);
        } else if self.progress.phase == Phase::Shifting {
            self.wait("Shifting", &format!("evidence that allows more than {} %", self.progress.weight), deadline);
        } else {
            let past = deadline.is_some_and(|d| self.now >= d);
            let until = if past { began.map(|t| t + hard) } else { deadline };
            let what = match self.plan.iterations {
                Some(all) => format!("the last of {all} iterations at {} %", self.progress.weight),
                None => format!("a verdict at {} %", self.progress.weight),
            };
            self.wait("Deciding", &what, until);
        }
    }

    fn wake_for_look(&mut self) {
        let a = &self.plan.analysis;
        if let Some(looked) = self.progress.looked {
            let next = looked + a.interval + a.lag;
            self.at(self.progress.unanswered.map_or(next, |t| next.max(t + a.interval)));
        }
        if let (Phase::Deciding, Some(applied)) = (self.progress.phase, self.settled_since()) {
            let soaked = applied + a.soak;
            if soaked > self.now {
                self.at(soaked);
            }
        }
    }
}
