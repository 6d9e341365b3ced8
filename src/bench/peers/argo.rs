//! Argo Rollouts: weight steps with pauses, and analysis runs that measure at intervals, in the background or as a step.
//! More failed measurements than the limit abort; nothing is compared with the baseline.

use super::{Metrics, Rule, Turn, Verdict, Version, share};

/// Seconds until a measurement that ended in an error is tried again.
const RETRY: f64 = 10.0;
/// Errors in a row that are tolerated, by default.
const ERROR_LIMIT: u32 = 4;
/// Inconclusive measurements that are tolerated, by default.
const INCONCLUSIVE_LIMIT: u32 = 0;

/// How a metric of an analysis is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Template {
    /// Seconds before the first measurement.
    pub delay: f64,
    /// Seconds between measurements.
    pub interval: f64,
    /// Measurements that complete it; without, it runs until it is stopped.
    pub count: Option<u32>,
    /// Failed measurements that are tolerated.
    pub failure_limit: u32,
}

impl Default for Template {
    /// No failure is tolerated, and one measurement is enough.
    fn default() -> Self {
        Self { delay: 0.0, interval: 0.0, count: Some(1), failure_limit: 0 }
    }
}

/// What a measurement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measurement {
    /// The success condition holds.
    Successful,
    /// It does not, or the failure condition does; so does NaN with a success condition alone.
    Failed,
    /// Neither of two conditions holds.
    Inconclusive,
    /// There was nothing to evaluate: an empty result, or no answer.
    Error,
}

/// Where an analysis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// More measurements are due.
    Running,
    /// It is complete.
    Successful,
    /// Too many measurements failed.
    Failed,
    /// Too many were inconclusive.
    Inconclusive,
    /// Too many errors in a row.
    Error,
}

/// A run of an analysis with one metric.
#[derive(Clone, Debug)]
pub struct Analysis {
    template: Template,
    due: f64,
    measured: u32,
    failed: u32,
    inconclusive: u32,
    errors: u32,
}

impl Analysis {
    /// That begins at `now`.
    pub fn start(template: Template, now: f64) -> Self {
        Self { template, due: now + template.delay, measured: 0, failed: 0, inconclusive: 0, errors: 0 }
    }

    /// Counts a measurement. Errors are not measurements, and only those in a row count.
    pub fn measure(&mut self, measurement: Measurement) -> Phase {
        self.errors = if measurement == Measurement::Error { self.errors + 1 } else { 0 };
        self.measured += u32::from(measurement != Measurement::Error);
        self.failed += u32::from(measurement == Measurement::Failed);
        self.inconclusive += u32::from(measurement == Measurement::Inconclusive);
        // A later limit overrides an earlier one.
        if self.errors > ERROR_LIMIT {
            Phase::Error
        } else if self.inconclusive > INCONCLUSIVE_LIMIT {
            Phase::Inconclusive
        } else if self.failed > self.template.failure_limit {
            Phase::Failed
        } else if self.template.count.is_some_and(|count| self.measured >= count) {
            Phase::Successful
        } else {
            Phase::Running
        }
    }

    /// Measures if it is time.
    fn turn(&mut self, now: f64, measure: impl Fn() -> Measurement) -> Phase {
        if now < self.due {
            return Phase::Running;
        }
        let measurement = measure();
        self.due = now + if measurement == Measurement::Error { RETRY } else { self.template.interval };
        self.measure(measurement)
    }
}

/// A step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Sets the candidate's weight, percent.
    Weight(u8),
    /// Waits that many seconds.
    Pause(f64),
    /// Waits for an analysis.
    Analysis(Template),
}

/// A rollout.
#[derive(Clone, Debug)]
pub struct Argo {
    name: &'static str,
    steps: Vec<Step>,
    /// The analysis in the background, and the index of the step before which it starts.
    background: Option<(usize, Template)>,
    limit: f64,
    at: usize,
    weight: u8,
    resumes: Option<f64>,
    inline: Option<Analysis>,
    behind: Option<Analysis>,
}

impl Argo {
    /// The documentation's background analysis: 20, 40, 60, 80 % for 10 minutes each; from 40 % on a measurement every 5
    /// minutes, 3 failures tolerated.
    pub fn background(limit: f64) -> Self {
        let steps = [20, 40, 60, 80].into_iter().flat_map(|weight| [Step::Weight(weight), Step::Pause(600.0)]);
        let template = Template { interval: 300.0, count: None, failure_limit: 3, ..Template::default() };
        Self::new("argo background 5 m", steps.collect(), Some((2, template)), limit)
    }

    /// The documentation's analysis with several measurements, 5 of them 60 seconds apart and none of which may fail, as
    /// a step at each of the weights 20, 40, 60, 80 %. The first one waits for as long (its `initialDelay`): a version
    /// that just got its first requests has no rate yet, and that would be an error.
    pub fn inline(limit: f64) -> Self {
        let template = Template { delay: 60.0, interval: 60.0, count: Some(5), ..Template::default() };
        let steps = [20, 40, 60, 80].into_iter().flat_map(|weight| [Step::Weight(weight), Step::Analysis(template)]);
        Self::new("argo inline 5 x 60 s", steps.collect(), None, limit)
    }

    fn new(name: &'static str, steps: Vec<Step>, background: Option<(usize, Template)>, limit: f64) -> Self {
        Self { name, steps, background, limit, at: 0, weight: 0, resumes: None, inline: None, behind: None }
    }

    /// The documented query looks at the last two samples alone.
    fn measure(limit: f64, metrics: &dyn Metrics) -> Measurement {
        match metrics.instant(Version::Candidate) {
            None => Measurement::Error,
            Some(t) if share(t).is_some_and(|share| share <= limit) => Measurement::Successful,
            Some(_) => Measurement::Failed,
        }
    }

    /// Goes through the steps that are done by now; the verdict if the last one is, or an analysis ends badly.
    fn advance(&mut self, now: f64, metrics: &dyn Metrics) -> Option<Verdict> {
        let limit = self.limit;
        loop {
            let Some(step) = self.steps.get(self.at).copied() else { return Some(Verdict::Promote) };
            if let Some((_, template)) = self.background.filter(|(from, _)| *from == self.at) {
                self.behind.get_or_insert_with(|| Analysis::start(template, now));
            }
            match step {
                Step::Weight(weight) => self.weight = weight,
                Step::Pause(seconds) if now < *self.resumes.get_or_insert(now + seconds) => return None,
                Step::Pause(_) => self.resumes = None,
                Step::Analysis(template) => {
                    let run = self.inline.get_or_insert_with(|| Analysis::start(template, now));
                    match run.turn(now, || Self::measure(limit, metrics)) {
                        Phase::Running => return None,
                        Phase::Successful => self.inline = None,
                        ended => return verdict(ended),
                    }
                }
            }
            self.at += 1;
        }
    }
}

fn verdict(phase: Phase) -> Option<Verdict> {
    match phase {
        Phase::Running | Phase::Successful => None,
        Phase::Failed | Phase::Error => Some(Verdict::Rollback),
        Phase::Inconclusive => Some(Verdict::Paused),
    }
}

impl Rule for Argo {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, now: f64, metrics: &dyn Metrics) -> Turn {
        let ended = self.advance(now, metrics);
        let limit = self.limit;
        let behind = self.behind.as_mut().and_then(|run| verdict(run.turn(now, || Self::measure(limit, metrics))));
        // An analysis that fails at the very end comes too late: the rollout has completed.
        let verdict = ended.or(behind);
        if verdict == Some(Verdict::Rollback) {
            self.weight = 0;
        }
        let due = [self.resumes, self.inline.as_ref().map(|run| run.due), self.behind.as_ref().map(|run| run.due)];
        let next = due.into_iter().flatten().fold(f64::INFINITY, f64::min);
        Turn { weight: self.weight, verdict, wait: next - now }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds
mod tests {
    use super::super::tests::{Constant, bad, run};
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        assert_eq!(Template::default(), Template { delay: 0.0, interval: 0.0, count: Some(1), failure_limit: 0 });
        assert_eq!((ERROR_LIMIT, INCONCLUSIVE_LIMIT, RETRY as u32), (4, 0, 10));
    }

    #[test]
    fn the_background_example_takes_forty_minutes_and_aborts_at_the_fourth_failure() {
        let weights = vec![(0.0, 20), (600.0, 40), (1200.0, 60), (1800.0, 80)];
        assert_eq!(run(&mut Argo::background(0.01), &bad(1.0)), (Verdict::Promote, 2400.0, weights));
        // Measurements at 600, 900, 1200 and 1500 s.
        assert_eq!(run(&mut Argo::background(0.01), &bad(2.0)).1 as u32, 1500);
    }

    #[test]
    fn the_inline_example_measures_five_times_at_each_weight() {
        let weights = vec![(0.0, 20), (300.0, 40), (600.0, 60), (900.0, 80)];
        assert_eq!(run(&mut Argo::inline(0.01), &bad(1.0)), (Verdict::Promote, 1200.0, weights));
        assert_eq!(run(&mut Argo::inline(0.01), &bad(2.0)).1 as u32, 60);
    }

    #[test]
    fn no_result_is_an_error_that_is_tried_again_and_nan_a_failure() {
        assert_eq!(
            run(&mut Argo::inline(0.01), &Constant(None)),
            (Verdict::Rollback, 100.0, vec![(0.0, 20), (100.0, 0)])
        );
        assert_eq!(run(&mut Argo::inline(0.01), &bad(f64::NAN)).1 as u32, 60);
        let mut analysis = Analysis::start(Template { count: None, ..Template::default() }, 0.0);
        let outcomes = [Measurement::Error, Measurement::Successful, Measurement::Error, Measurement::Inconclusive];
        let phases = outcomes.map(|m| analysis.measure(m));
        assert_eq!(phases, [Phase::Running, Phase::Running, Phase::Running, Phase::Inconclusive]);
    }
}
