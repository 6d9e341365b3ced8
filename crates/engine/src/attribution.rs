//! Who is held responsible for a request that reached no endpoint.
//!
//! The caller's proxy reports such a request for a host, not for a version: whether the baseline's part of the host was
//! empty or a candidate's has to be concluded, from who answered, who was ready and who was to get how much. Called by
//! [`super::shift`] and [`super::watch`] with every reading, before any of its numbers is evidence.

use crate::fact::Window;
use crate::judge::Tally;
use crate::reading::Pair;
use crate::split::Split;

/// Requests without an endpoint that are needed for each candidate that answered none: one of the same weight that serves
/// would have answered as many, and misses five by chance in one of 150 intervals.
const LEAST: f64 = 5.0;
/// Standard deviations by which a candidate that does answer has to be short of its share, before what others lack is
/// laid at its door.
const SHORT: f64 = 2.0;
/// Standard deviations by which chance may give a silent candidate more than its share.
const CHANCE: f64 = 3.0;

/// What is known beside the numbers of an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field<'a> {
    /// How many candidates there are.
    pub(super) candidates: usize,
    /// For the baseline and each candidate the first version behind the same host; none: all are behind one.
    pub(super) hosts: &'a [usize],
    /// Candidates that were to get no request.
    pub(super) idle: &'a [usize],
    /// Whether the baseline has a ready replica, if that is known.
    pub(super) ready: Option<bool>,
    /// The weights that the routes carried all the time, if that is known.
    pub(super) shares: Option<Split>,
}

/// What one metric says of one candidate.
#[derive(Clone, Copy)]
struct Fact {
    at: usize,
    baseline: Tally,
    candidate: Tally,
    unreached: f64,
}

impl Fact {
    /// Whether it answered nothing but failures.
    fn is_silent(&self) -> bool {
        self.candidate.requests <= self.candidate.bad
    }
}

/// Adds the requests that reached no endpoint to the bad ones of whom they were meant for, where that is known.
pub(super) fn attribute(pairs: &mut [Option<(Pair, Window)>], field: &Field<'_>) {
    let metrics = pairs.len() / field.candidates.max(1);
    for metric in 0..metrics {
        let of_metric = || (0..field.candidates).map(|at| (at, at * metrics + metric));
        let fact = |(at, source): (usize, usize)| match pairs.get(source)? {
            Some((Pair::Requests { baseline, candidate, unreached }, _)) => {
                Some(Fact { at, baseline: baseline.most, candidate: candidate.most, unreached: *unreached })
            }
            Some((Pair::Values { .. }, _)) | None => None,
        };
        let facts: Vec<Fact> = of_metric().filter_map(fact).collect();
        if facts.iter().all(|fact| fact.unreached <= 0.0) {
            continue;
        }
        for fact in &facts {
            let held = field.held(fact, &facts);
            if let Some(Some((Pair::Requests { candidate, .. }, _))) = pairs.get_mut(fact.at * metrics + metric) {
                for tally in [&mut candidate.least, &mut candidate.most] {
                    tally.requests += held;
                    tally.bad += held;
                }
            }
        }
    }
}

impl Field<'_> {
    /// How many of the requests without an endpoint a candidate is held responsible for.
    fn held(&self, own: &Fact, facts: &[Fact]) -> f64 {
        if self.idle.contains(&own.at) || own.unreached <= 0.0 {
            return 0.0;
        }
        let beside: Vec<&Fact> = facts
            .iter()
            .filter(|f| self.host(f.at + 1) == self.host(own.at + 1) && !self.idle.contains(&f.at))
            .collect();
        if self.host(own.at + 1) != self.host(0) && beside.len() == 1 {
            // Behind a host of its own there is no doubt.
            return own.unreached;
        }
        if !self.is_baseline_available(own) {
            return 0.0;
        }
        if beside.len() > 1 { self.held_among(own, &beside) } else { self.held_alone(own, facts) }
    }

    /// The first version behind the host of this one; version 0 is the baseline.
    fn host(&self, version: usize) -> usize {
        self.hosts.get(version).copied().unwrap_or(0)
    }

    /// Whether the baseline can be left out of suspicion.
    fn is_baseline_available(&self, fact: &Fact) -> bool {
        let answers = fact.baseline.requests > fact.baseline.bad;
        match self.ready {
            // Readiness is of now, the counters are of the interval: neither may speak against it.
            Some(ready) => ready && (answers || fact.baseline.requests <= 0.0),
            None => answers,
        }
    }

    /// One candidate beside the baseline. Its part of what is missing is what it did not answer of its share; whatever is
    /// more than that was the baseline's, or nobody's.
    fn held_alone(&self, own: &Fact, facts: &[Fact]) -> f64 {
        let Some(expected) = self.expected(own, facts) else {
            return if own.is_silent() { own.unreached } else { 0.0 };
        };
        let missing = (expected - own.candidate.requests).max(0.0);
        let spread = expected.sqrt();
        if !own.is_silent() {
            return (missing - SHORT * spread).clamp(0.0, own.unreached);
        }
        // With few requests none may have been meant for it.
        let explained = own.unreached <= missing + CHANCE * spread + 1.0;
        if explained {
            own.unreached
        } else if expected >= LEAST {
            missing.min(own.unreached)
        } else {
            0.0
        }
    }

    /// One of several candidates behind one host: those that answer nothing share what reached nobody by their weights.
    fn held_among(&self, own: &Fact, beside: &[&Fact]) -> f64 {
        let silent: Vec<&&Fact> = beside.iter().filter(|fact| fact.is_silent()).collect();
        if !own.is_silent() || own.unreached < LEAST * silent.len() as f64 {
            return 0.0;
        }
        let weight = |fact: &Fact| self.shares.map_or(1.0, |shares| f64::from(shares.of(fact.at)));
        let all: f64 = silent.iter().map(|fact| weight(fact)).sum();
        if all > 0.0 { own.unreached * weight(own) / all } else { 0.0 }
    }

    /// Requests that a candidate was to get by its weight.
    fn expected(&self, own: &Fact, facts: &[Fact]) -> Option<f64> {
        let share = f64::from(self.shares?.of(own.at)) / 100.0;
        let mut hosts = vec![];
        let mut all = own.baseline.requests;
        for fact in facts {
            all += fact.candidate.requests;
            if !hosts.contains(&self.host(fact.at + 1)) {
                hosts.push(self.host(fact.at + 1));
                all += fact.unreached;
            }
        }
        Some(share * all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use jiff::Timestamp;

    use super::*;

    /// Requests and bad ones of each candidate beside a baseline with so many, and so many requests without an endpoint;
    /// what is held against each.
    fn held(baseline: (f64, f64), unreached: f64, candidates: &[(f64, f64)], field: Field<'_>) -> Vec<f64> {
        let tally = |(requests, bad): (f64, f64)| Tally { requests, bad };
        let window = Window { from: Timestamp::UNIX_EPOCH, to: Timestamp::UNIX_EPOCH };
        let pair = |own: &(f64, f64)| Pair::Requests {
            baseline: tally(baseline).into(),
            candidate: tally(*own).into(),
            unreached,
        };
        let mut pairs: Vec<_> = candidates.iter().map(|own| Some((pair(own), window))).collect();
        attribute(&mut pairs, &Field { candidates: candidates.len(), ..field });
        let more = |(pair, own): (Option<(Pair, Window)>, &(f64, f64))| match pair.unwrap().0 {
            Pair::Requests { candidate, .. } => {
                assert!((candidate.most.bad - own.1 - (candidate.most.requests - own.0)).abs() < 1e-9);
                candidate.most.bad - own.1
            }
            Pair::Values { .. } => panic!(),
        };
        pairs.into_iter().zip(candidates).map(more).collect()
    }

    const READY: Field<'_> = Field { candidates: 0, hosts: &[], idle: &[], ready: Some(true), shares: None };

    #[test]
    fn a_candidate_that_answers_is_not_blamed_for_one_that_refuses() {
        let one_host = |unreached, candidates: &[(f64, f64)]| held((100.0, 0.0), unreached, candidates, READY);
        assert_eq!(one_host(9.0, &[(30.0, 1.0), (0.0, 0.0)]), [0.0, 9.0]);
        assert_eq!(one_host(12.0, &[(0.0, 0.0), (2.0, 2.0), (40.0, 0.0)]), [6.0, 6.0, 0.0], "two refuse");
        // So few may have been meant for one that had no request by chance.
        assert_eq!(one_host(4.0, &[(3.0, 0.0), (0.0, 0.0)]), [0.0, 0.0]);
        assert_eq!(one_host(9.0, &[(0.0, 0.0), (0.0, 0.0)]), [0.0, 0.0]);
        assert_eq!(one_host(0.0, &[(30.0, 1.0), (30.0, 0.0)]), [0.0, 0.0]);
        // One that has no traffic is neither blamed nor counted.
        let idle = |unreached, candidates: &[(f64, f64)], idle| {
            held((100.0, 0.0), unreached, candidates, Field { idle, ..READY })
        };
        assert_eq!(idle(9.0, &[(0.0, 0.0), (0.0, 0.0), (30.0, 0.0)], &[0]), [0.0, 9.0, 0.0]);
        assert_eq!(idle(2.0, &[(0.0, 0.0), (0.0, 0.0), (7.0, 0.0)], &[0, 1]), [0.0, 0.0, 0.0]);
        // Behind a host of its own there is no doubt, whatever became of the baseline.
        let apart = Field { hosts: &[0, 1, 2], ready: Some(false), ..READY };
        assert_eq!(held((0.0, 0.0), 2.0, &[(9.0, 0.0), (9.0, 0.0)], apart), [2.0, 2.0]);
    }

    #[test]
    fn several_that_refuse_share_the_blame_by_their_weights() {
        let shares = [10, 30, 10].into_iter().collect();
        let field = Field { shares: Some(shares), ..READY };
        assert_eq!(held((100.0, 0.0), 80.0, &[(0.0, 0.0), (0.0, 0.0), (20.0, 0.0)], field), [20.0, 60.0, 0.0]);
    }

    #[test]
    fn one_candidate_is_charged_with_what_it_did_not_answer_of_its_share() {
        let at = |weight: u8, baseline: f64, unreached: f64, candidate: (f64, f64)| {
            let field = Field { shares: Some(Split::one(weight)), ..READY };
            held((baseline, 0.0), unreached, &[candidate], field)
        };
        // It answers nothing: all of them were meant for it.
        assert_eq!(at(50, 100.0, 100.0, (0.0, 0.0)), [100.0]);
        assert_eq!(at(1, 99.0, 1.0, (0.0, 0.0)), [1.0]);
        // It answers its share: they were the baseline's.
        assert_eq!(at(50, 80.0, 20.0, (100.0, 0.0)), [0.0]);
        assert_eq!(at(10, 150.0, 30.0, (20.0, 0.0)), [0.0]);
        // A baseline that is down for some seconds while the candidate had no request by chance.
        assert_eq!(at(1, 50.0, 50.0, (0.0, 0.0)), [0.0]);
        // Half of a large share is missing; chance has two standard deviations of it.
        let half = at(50, 1000.0, 500.0, (500.0, 0.0))[0];
        assert!((half - (500.0 - 2.0 * 1000.0_f64.sqrt())).abs() < 1e-9, "{half}");
        // More than its share is missing although it answers nothing: some were the baseline's.
        assert_eq!(at(10, 100.0, 100.0, (0.0, 0.0)), [20.0]);
    }

    #[test]
    fn nobody_is_blamed_while_the_baseline_may_be_the_one_that_failed() {
        let table = [
            ((600.0, 0.0), Some(true), 11.0),
            ((600.0, 0.0), None, 11.0),
            // The baseline is down: nobody can say whose they were.
            ((600.0, 0.0), Some(false), 0.0),
            ((9.0, 9.0), Some(true), 0.0),
            // A baseline that is ready and gets no traffic at all is not the one that failed.
            ((0.0, 0.0), Some(true), 11.0),
            ((0.0, 0.0), None, 0.0),
        ];
        for (baseline, ready, lost) in table {
            assert_eq!(held(baseline, 11.0, &[(0.0, 0.0)], Field { ready, ..READY }), [lost], "{baseline:?} {ready:?}");
        }
    }
}
