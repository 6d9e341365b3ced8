//! The peers' rules as programs, written from their documentation and behaviour: when they look, what they ask, how they
//! decide. None of their code is used.
//!
//! A simulation calls [`Rule::turn`] when the rule asked for it and gives the candidate the weight it answers. Every
//! rule judges the same objective, a largest share of bad requests: for a quantile of a latency that is the share of
//! slower ones.

pub mod argo;
pub mod flagger;
pub mod iter8;
pub mod kayenta;

use crate::engine::judge::Tally;

/// Whose requests are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The version in production.
    Baseline,
    /// The new version.
    Candidate,
    /// A fresh copy of the baseline with as much traffic as the candidate, which some rules compare with.
    Control,
}

/// What a metrics source would answer now, its delays included.
pub trait Metrics {
    /// Requests in the last `seconds`; `None` unless two samples lie in them.
    fn window(&self, version: Version, seconds: f64) -> Option<Tally>;
    /// Requests between the last two samples; `None` without two.
    fn instant(&self, version: Version) -> Option<Tally>;
    /// Requests since the rule began; `None` without a sample.
    fn total(&self, version: Version) -> Option<Tally>;
}

/// How a rule ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate gets all traffic.
    Promote,
    /// The baseline keeps it.
    Rollback,
    /// A person has to decide.
    Paused,
}

/// What a rule wants after a look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Weight of the candidate, percent.
    pub weight: u8,
    /// The end, if this is it.
    pub verdict: Option<Verdict>,
    /// Seconds until the next look.
    pub wait: f64,
}

/// A rule in a run; the first turn is at time 0.
pub trait Rule {
    /// For tables.
    fn name(&self) -> &str;
    /// One look at `now` seconds since the start.
    fn turn(&mut self, now: f64, metrics: &dyn Metrics) -> Turn;
}

/// Share of bad requests, `None` without requests: PromQL's `0/0` is NaN.
fn share(t: Tally) -> Option<f64> {
    (t.requests > 0.0).then(|| t.bad / t.requests)
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Rule, Tally, Turn, Verdict, Version};

    /// The same answer to every question.
    pub(super) struct Constant(pub(super) Option<Tally>);

    impl Metrics for Constant {
        fn window(&self, _: Version, _: f64) -> Option<Tally> {
            self.0
        }
        fn instant(&self, _: Version) -> Option<Tally> {
            self.0
        }
        fn total(&self, _: Version) -> Option<Tally> {
            self.0
        }
    }

    pub(super) fn bad(percent: f64) -> Constant {
        Constant(Some(Tally { requests: 100.0, bad: percent }))
    }

    /// Verdict, its time, and the weights on the way as (seconds, percent).
    pub(super) fn run(rule: &mut dyn Rule, metrics: &dyn Metrics) -> (Verdict, f64, Vec<(f64, u8)>) {
        let (mut now, mut weights): (f64, Vec<(f64, u8)>) = (0.0, Vec::new());
        for _ in 0..10_000 {
            let Turn { weight, verdict, wait } = rule.turn(now, metrics);
            if weights.last().is_none_or(|(_, last)| *last != weight) {
                weights.push((now, weight));
            }
            if let Some(verdict) = verdict {
                return (verdict, now, weights);
            }
            assert!(wait > 0.0, "a rule must let time pass");
            now += wait;
        }
        unreachable!("no verdict")
    }
}
