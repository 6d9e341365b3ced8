//! How long the user's own experiment will take: its plan, run by the engine in simulated traffic.
//!
//! Called by `reiter8 plan`. Criteria on means and gauges are left out: how their values spread is not known before. Of
//! several candidates one stands for all, at the weight that each has; their [`race`] is a forecast of its own.

pub mod race;

use jiff::SignedDuration;

use super::chance;
use super::ours::{Driver, Meter};
use super::scenario::{Objective, Scenario};
use super::statistics::{median, quantile};
use super::traffic::Traffic;
use crate::engine::judge::{self, Dispersion, Tally, information};
use crate::engine::{self, Answer, Criterion, Outcome, Pair, Phase, Plan, Ramp, Reason, Rule, Rung, Seen};

/// What is known of the traffic before the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Requests per second, of both versions together.
    pub rps: f64,
    /// Mean number of bad requests with one cause, at least 1.
    pub clump: f64,
    /// Share of bad requests of the baseline, per metric of the plan.
    pub shares: Vec<f64>,
    /// Simulated experiments for each answer.
    pub replications: u32,
    /// The only source of chance.
    pub seed: u64,
    /// Threads.
    pub jobs: usize,
}

/// What becomes of one kind of candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fate {
    /// Part of the experiments that promote it before the deadline.
    pub promoted: f64,
    /// Part of them that discard it for harm before the deadline.
    pub rolled_back: f64,
    /// Seconds that half of all experiments need at most to the outcome that is asked for; none if fewer reach it.
    pub half: Option<f64>,
    /// Seconds that 90 % of them need.
    pub most: Option<f64>,
    /// Mean of the bad requests that the candidate answers.
    pub bad: f64,
}

/// The plan as it can be simulated, and the metrics that could not be.
pub struct Forecast {
    plan: Plan,
    known: Known,
    /// What the judge makes of the baseline's past, per criterion of the plan.
    dispersions: Vec<Dispersion>,
    /// Metrics whose criteria are left out.
    pub left_out: Vec<String>,
}

impl Forecast {
    /// Takes a plan apart. `None` if no criterion is left.
    pub fn new(plan: &Plan, known: Known) -> Option<Self> {
        let plan = &alone(plan);
        let share = |c: &&Criterion| c.rule.is_share();
        let mut left_out: Vec<String> =
            plan.criteria.iter().filter(|c| !share(c)).map(|c| c.metric.to_string()).collect();
        left_out.dedup();
        let criteria: Vec<Criterion> = plan.criteria.iter().filter(share).cloned().collect();
        let ramp = match &plan.ramp {
            // Whoever approves does so at once.
            Ramp::Steps(rungs) => Ramp::Steps(rungs.iter().map(|r| Rung { approval: false, ..*r }).collect()),
            Ramp::Fixed => Ramp::Steps(vec![Rung { weight: plan.cap, hold: SignedDuration::ZERO, approval: false }]),
            gated @ Ramp::Gated { .. } => gated.clone(),
        };
        let plan = Plan { criteria, ramp, gitops: None, deleting: None, wishes: vec![], ..plan.clone() };
        let mut forecast = Self { plan, known, dispersions: vec![], left_out };
        forecast.dispersions = forecast.plan.criteria.iter().map(|c| forecast.dispersion(c)).collect();
        (!forecast.plan.criteria.is_empty()).then_some(forecast)
    }

    /// The metrics that limit a share: position, name, and the limit beside this baseline.
    pub fn metrics(&self) -> Vec<(usize, String, f64)> {
        let mut metrics: Vec<(usize, String, f64)> = vec![];
        for c in self.plan.criteria.iter().filter(|c| c.rule.has_to_pass()) {
            let limit = self.limit(c);
            match metrics.iter_mut().find(|(source, ..)| *source == c.source) {
                Some((.., least)) => *least = least.min(limit),
                None => metrics.push((c.source, c.metric.to_string(), limit)),
            }
        }
        metrics
    }

    fn share(&self, source: usize) -> f64 {
        self.known.shares.get(source).copied().unwrap_or(0.0)
    }

    fn limit(&self, criterion: &Criterion) -> f64 {
        criterion.rule.share_limit(self.share(criterion.source))
    }

    /// What becomes of a candidate that is like the baseline, but for the share of one metric.
    pub fn fate(&self, other: Option<(usize, f64)>, wanted: Outcome) -> Fate {
        let jobs = u32::try_from(self.known.jobs.max(1)).unwrap_or(1);
        let ends: Vec<(Option<Outcome>, f64, f64)> = std::thread::scope(|scope| {
            let part = |job: u32| {
                let mine = (job..self.known.replications).step_by(jobs as usize);
                scope.spawn(move || mine.map(|n| self.run(other, u64::from(n))).collect::<Vec<_>>())
            };
            let parts: Vec<_> = (0..jobs).map(part).collect();
            parts.into_iter().filter_map(|part| part.join().ok()).flatten().collect()
        });
        let deadline = self.plan.analysis.deadline.as_secs_f64();
        let count = ends.len().max(1) as f64;
        let part = |outcome| {
            ends.iter().filter(|(end, at, _)| *end == Some(outcome) && *at <= deadline).count() as f64 / count
        };
        let times: Vec<f64> =
            ends.iter().map(|(end, at, _)| if *end == Some(wanted) { *at } else { f64::INFINITY }).collect();
        Fate {
            promoted: part(Outcome::Promote),
            rolled_back: part(Outcome::Discard),
            half: median(&times),
            most: quantile(&times, 0.9).filter(|t| t.is_finite()),
            bad: ends.iter().map(|(.., bad)| bad).sum::<f64>() / count,
        }
    }

    /// One experiment: how it ended (a discard only if for harm), after how many seconds, with how many bad requests.
    fn run(&self, other: Option<(usize, f64)>, replication: u64) -> (Option<Outcome>, f64, f64) {
        let seed = |source: usize| chance::seed(&format!("{source}"), self.known.seed, replication);
        let sources = self.known.shares.len();
        let one = |source: usize| {
            let (baseline, mut candidate) = (self.share(source), self.share(source));
            if let Some((_, share)) = other.filter(|(changed, _)| *changed == source) {
                candidate = share;
            }
            let lag = self.plan.analysis.lag.as_secs_f64();
            let quiet = Scenario::new(Objective::Absolute, self.known.rps, baseline, candidate);
            Traffic::new(&Scenario { clump: self.known.clump, lag, ..quiet }, seed(source))
        };
        let mut meters = Meters((0..sources).map(one).collect());
        let mut driver = Driver::new(&self.plan);
        // Between the hard deadline and the end of the driver's patience every experiment ends by itself.
        loop {
            driver.turns(&mut meters);
            if let Some(decision) = &driver.progress().decision {
                let end = match (decision.outcome, decision.reason) {
                    (Outcome::Promote, _) => Some(Outcome::Promote),
                    (Outcome::Discard, Reason::Harmful) => Some(Outcome::Discard),
                    (Outcome::Discard, _) => None,
                };
                return (end, meters.now(), meters.bad());
            }
            if driver.asleep() || driver.progress().phase == Phase::Completed {
                return (None, meters.now(), meters.bad());
            }
            meters.0.iter_mut().for_each(|traffic| traffic.tick(driver.weight(), false));
        }
    }

    /// The smallest share of a metric whose harm is found, on average, before the deadline; none if not even a total
    /// failure is. From the information of an interval at the final weight ([`information`]).
    pub fn smallest(&self, source: usize) -> Option<f64> {
        let a = &self.plan.analysis;
        let intervals = a.deadline.as_secs_f64() / a.interval.as_secs_f64();
        let found = |share: f64| self.intervals_to_fail(source, share) <= intervals;
        let least = self.plan.criteria.iter().filter(|c| c.source == source && c.rule.has_to_pass());
        let mut low = least.map(|c| self.limit(c)).fold(f64::INFINITY, f64::min).min(1.0);
        let mut high = 1.0;
        if !found(high) {
            return None;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            (low, high) = if found(middle) { (low, middle) } else { (middle, high) };
        }
        Some(high)
    }

    /// Mean number of intervals at the final weight until a candidate of this share is found to be harmful.
    pub fn intervals_to_fail(&self, source: usize, share: f64) -> f64 {
        let (a, criteria) = (&self.plan.analysis, &self.plan.criteria);
        let count = u32::try_from(criteria.len()).unwrap_or(u32::MAX);
        let of = |(c, d): (&Criterion, &Dispersion)| {
            let nats = self.information(c, share, d.phi);
            information::intervals_to_fail(nats, a.false_rollback, count)
        };
        let beyond = |c: &Criterion| c.source == source && c.rule.has_to_pass() && share > self.limit(c);
        let broken = criteria.iter().zip(&self.dispersions).filter(|(c, _)| beyond(c));
        broken.map(of).fold(f64::INFINITY, f64::min)
    }

    /// Mean number of intervals at the final weight until a candidate like the baseline has passed everything.
    pub fn intervals_to_pass(&self) -> f64 {
        let asked = self.plan.criteria.iter().zip(&self.dispersions).filter(|(c, _)| c.rule.has_to_pass());
        let of = |(c, d): (&Criterion, &Dispersion)| {
            let share = self.share(c.source);
            let nats = if share < self.limit(c) { self.information(c, share, d.clump) } else { 0.0 };
            information::intervals_to_pass(nats, self.plan.analysis.false_promotion)
        };
        asked.map(of).fold(0.0, f64::max)
    }

    /// Nats an interval at the final weight, if so many bad requests count as one.
    fn information(&self, c: &Criterion, share: f64, phi: f64) -> f64 {
        let requests = self.known.rps * self.plan.analysis.interval.as_secs_f64();
        let weight = f64::from(final_weight(&self.plan)) / 100.0;
        let baseline = self.share(c.source);
        let (candidate, rest) = (requests * weight, requests * (1.0 - weight));
        match c.rule {
            Rule::Share { limit } => information::absolute(share, limit, candidate, phi),
            Rule::RelativeShare { factor, slack } => {
                information::relative((candidate, share), (rest, baseline), factor, slack, phi)
            }
            Rule::Companion { .. } | Rule::Mean { .. } | Rule::Threshold { .. } => 0.0,
        }
    }

    /// What the judge makes of an hour of this baseline.
    fn dispersion(&self, c: &Criterion) -> Dispersion {
        let share = self.share(c.source);
        let quiet = Scenario::new(Objective::Absolute, self.known.rps, share, share);
        let mut before = Traffic::new(&Scenario { clump: self.known.clump, ..quiet }, self.known.seed);
        let interval = self.plan.analysis.interval.as_secs_f64();
        judge::dispersion(&before.history(-engine::HISTORY.as_secs_f64(), 0.0, interval), self.limit(c))
    }
}

/// The weight of each candidate when the verdict is due, percent.
pub fn final_weight(plan: &Plan) -> u8 {
    match &plan.ramp {
        Ramp::Steps(rungs) => rungs.last().map_or(plan.cap, |r| r.weight).min(plan.cap),
        Ramp::Gated { .. } | Ramp::Fixed => plan.cap,
    }
}

/// A plan whose first candidate is the only one: each has its own criteria, and its part of the ramp's budget.
fn alone(plan: &Plan) -> Plan {
    let ramp = match &plan.ramp {
        Ramp::Gated { budget } => Ramp::Gated { budget: budget / plan.candidates.len().max(1) as f64 },
        steps => steps.clone(),
    };
    let criteria = plan.criteria.iter().filter(|c| c.candidate == 0).cloned().collect();
    let candidates = plan.candidates.iter().take(1).cloned().collect();
    Plan { criteria, candidates, ramp, race: None, ..plan.clone() }
}

/// One metric beside the other; the requests are the same number, each with its own bad ones.
struct Meters(Vec<Traffic>);

impl Meters {
    fn bad(&self) -> f64 {
        self.0.iter().map(Traffic::bad).fold(0.0, f64::max)
    }
}

impl Meter for Meters {
    fn now(&self) -> f64 {
        self.0.first().map_or(0.0, Traffic::now)
    }

    fn pairs(&mut self, from: f64, to: f64) -> Vec<Seen<Answer>> {
        let one = |traffic: &mut Traffic| {
            let (baseline, candidate) = traffic.pair(from, to);
            Ok(Pair::requests(baseline, candidate).into())
        };
        self.0.iter_mut().map(one).collect()
    }

    fn past(&mut self, from: f64, to: f64, step: f64) -> Vec<Seen<Vec<Tally>>> {
        self.0.iter_mut().map(|traffic| Ok(traffic.history(from, to, step))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::ours;
    use super::*;

    fn forecast(share: f64) -> Forecast {
        let scenario = Scenario::new(Objective::Absolute, 50.0, share, share);
        let known = Known { rps: 50.0, clump: 1.0, shares: vec![share], replications: 100, seed: 1, jobs: 1 };
        Forecast::new(&ours::plan(&scenario).unwrap(), known).unwrap()
    }

    #[test]
    fn a_healthy_candidate_passes_about_when_the_information_says() {
        let forecast = forecast(0.005);
        let fate = forecast.fate(None, Outcome::Promote);
        assert!(fate.promoted > 0.95, "{fate:?}");
        // Ramp, warm-up and lag come on top of the intervals at the final weight.
        let least = forecast.intervals_to_pass() * 10.0 * 0.7;
        let half = fate.half.unwrap();
        assert!(half > least && half < least + 300.0, "{half} against {least}");
    }

    #[test]
    fn the_smallest_effect_is_the_border_of_what_is_found() {
        let forecast = forecast(0.005);
        let smallest = forecast.smallest(0).unwrap();
        assert!(smallest > 0.01 && smallest < 0.015, "{smallest}");
        let larger = forecast.fate(Some((0, smallest * 1.3)), Outcome::Discard);
        assert!(larger.rolled_back > 0.8, "{larger:?}");
        assert!(forecast.intervals_to_fail(0, 0.011) > 360.0, "just above the limit takes longer than the deadline");
    }

    #[test]
    fn a_baseline_at_its_limit_proves_nothing() {
        let fate = forecast(0.0098).fate(None, Outcome::Promote);
        assert!(fate.promoted < 0.2 && fate.half.is_none(), "{fate:?}");
    }
}
