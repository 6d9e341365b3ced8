//! Flagger: every interval all checks must pass for the weight to grow by a step; failed checks are counted over the
//! whole run, and at the threshold the next tick rolls back. The baseline is not asked.

use super::{Metrics, Rule, Turn, Verdict, Version, share};

/// How Flagger is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Seconds between ticks, at least 10.
    pub interval: f64,
    /// Seconds that each metric looks back.
    pub window: f64,
    /// Failed checks that end the run.
    pub threshold: u32,
    /// Weight of the last step, percent.
    pub most: u8,
    /// Growth of the weight, percent.
    pub step: u8,
}

impl Default for Setup {
    /// What the resource has if only the weights are given (as in its documentation): 1 minute, threshold 1.
    fn default() -> Self {
        Self { interval: 60.0, window: 60.0, threshold: 1, most: 50, step: 10 }
    }
}

impl Setup {
    /// The documentation's Istio example: threshold 5.
    pub fn documented() -> Self {
        Self { threshold: 5, ..Self::default() }
    }
}

/// A canary in Flagger.
#[derive(Clone, Debug)]
pub struct Flagger {
    name: String,
    setup: Setup,
    limit: f64,
    weight: u8,
    failed: u32,
}

impl Flagger {
    /// With a largest share of bad requests.
    pub fn new(setup: Setup, limit: f64) -> Self {
        let name = format!("flagger {} s threshold {}", setup.interval, setup.threshold);
        Self { name, setup, limit, weight: 0, failed: 0 }
    }

    /// One tick, whose checks pass or do not; no value is a failed check. The first tick only starts the traffic.
    pub fn tick(&mut self, passed: bool) -> Turn {
        let mut verdict = None;
        if self.failed >= self.setup.threshold {
            (self.weight, verdict) = (0, Some(Verdict::Rollback));
        } else if self.weight == 0 {
            self.weight = self.setup.step.min(self.setup.most);
        } else if !passed {
            self.failed += 1;
        } else if self.weight < self.setup.most {
            self.weight = self.weight.saturating_add(self.setup.step).min(self.setup.most);
        } else {
            verdict = Some(Verdict::Promote);
        }
        Turn { weight: self.weight, verdict, wait: self.setup.interval }
    }
}

impl Rule for Flagger {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&mut self, _: f64, metrics: &dyn Metrics) -> Turn {
        let value = metrics.window(Version::Candidate, self.setup.window).and_then(share);
        self.tick(value.is_some_and(|share| share <= self.limit))
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds
mod tests {
    use super::super::tests::{Constant, bad, run};
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        let Setup { interval, window, threshold, most, step } = Setup::default();
        assert_eq!((interval as u32, window as u32, threshold, most, step), (60, 60, 1, 50, 10));
        assert_eq!(Setup::documented().threshold, 5);
    }

    #[test]
    fn a_good_candidate_takes_five_minutes_and_a_bad_one_a_tick_more_than_the_threshold() {
        let weights = vec![(0.0, 10), (60.0, 20), (120.0, 30), (180.0, 40), (240.0, 50)];
        let documented = || Flagger::new(Setup::documented(), 0.01);
        assert_eq!(run(&mut documented(), &bad(1.0)), (Verdict::Promote, 300.0, weights));
        assert_eq!(run(&mut documented(), &bad(1.1)), (Verdict::Rollback, 360.0, vec![(0.0, 10), (360.0, 0)]));
        assert_eq!(run(&mut Flagger::new(Setup::default(), 0.01), &bad(100.0)).1 as u32, 120);
    }

    #[test]
    fn no_traffic_is_a_failed_check() {
        assert_eq!(run(&mut Flagger::new(Setup::default(), 0.01), &Constant(None)).0, Verdict::Rollback);
        assert_eq!(run(&mut Flagger::new(Setup::default(), 0.01), &bad(f64::NAN)).0, Verdict::Rollback);
    }
}
