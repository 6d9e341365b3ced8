//! What is remembered of one criterion: the test that was fixed at the start, and what it has seen.
//!
//! The one place where the kinds of [`super::judge`] become one: everything else of the engine takes in intervals and
//! asks for evidence without knowing what is measured. Called by [`super::shift`], [`super::decide`], [`super::watch`]
//! and [`super::report`].

use serde::{Deserialize, Serialize};

use crate::judge::environment::Weather;
use crate::judge::{
    self, Dispersion, MeanEvidence, MeanTest, RelativeEvidence, RelativeTest, ShareEvidence, ShareTest, Tally,
    ThresholdSeen, ThresholdTest, environment,
};
use crate::reading::Pair;
use crate::rule::{Criterion, Rule};

/// Blocks of a mean that are less than three to one against the candidate open the ramp.
const CALM: f64 = 3.0;
/// A candidate is expected at a fiftieth of its limit at best: one bad request is to be no great surprise.
const LEAST_AIM: f64 = 0.02;
/// Closer to the limit than this, a Pass takes longer than any deadline.
const MOST_AIM: f64 = 0.9;

/// Weight of "every request of the candidate fails" in a comparison with little traffic, where the rest would see it late.
const COLLAPSE: f64 = 0.25;
/// Requests of the baseline in an interval beyond which the rest sees it within three, and the weight would only slow it.
const BUSY: f64 = 100.0;

/// One criterion and its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What is tested, as it was when the evidence began.
    pub criterion: Criterion,
    /// The test and what it has seen.
    pub trial: Trial,
    /// What the baseline suffers by itself.
    pub weather: Weather,
    /// The most that one interval added to the Pass evidence, natural logarithm.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub largest: f64,
}

// Serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &f64) -> bool {
    *value <= 0.0
}

/// A test and what it has seen, by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trial {
    /// A share against a limit.
    Share {
        /// The test.
        test: ShareTest,
        /// What it has seen.
        seen: ShareEvidence,
    },
    /// A share against the baseline's.
    Relative {
        /// The test.
        test: RelativeTest,
        /// What it has seen.
        seen: RelativeEvidence,
    },
    /// A mean against a limit or the baseline's.
    Mean {
        /// The test.
        test: MeanTest,
        /// What it has seen.
        seen: Box<MeanEvidence>,
    },
    /// A number against its limits: no evidence, only what the number was.
    Threshold {
        /// The limits.
        test: ThresholdTest,
        /// What the number was.
        seen: ThresholdSeen,
    },
}

/// How far a criterion lets the weight grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gate {
    /// The share of bad requests is at most this, and may be that.
    Share {
        /// Upper bound of the share.
        upper: f64,
        /// The limit.
        limit: f64,
    },
    /// Nothing is known of single requests; whether the values seen so far are harmless.
    Calm(bool),
}

impl Evidence {
    /// Evidence before the first interval. `history`: the baseline's intervals before the experiment.
    pub fn start(criterion: &Criterion, history: &[Tally], horizon: u32) -> Self {
        Self::new(criterion, Past::of(history, criterion.rule), horizon)
    }

    fn new(criterion: &Criterion, past: Past, horizon: u32) -> Self {
        let trial = Trial::start(criterion.rule, past, horizon);
        Self { criterion: criterion.clone(), trial, weather: Weather::start(past.share), largest: 0.0 }
    }

    /// The same test before its first interval, over another horizon.
    pub(super) fn afresh(&self, horizon: u32) -> Self {
        let trial = match self.trial {
            Trial::Share { test, .. } => Trial::share(ShareTest { horizon, ..test }),
            Trial::Relative { test, .. } => Trial::relative(RelativeTest { horizon, ..test }),
            Trial::Mean { test, .. } => Trial::mean(MeanTest { horizon, ..test }),
            Trial::Threshold { test, .. } => Trial::threshold(test),
        };
        Self { criterion: self.criterion.clone(), trial, weather: self.weather.afresh(), largest: 0.0 }
    }

    /// The evidence of an edited criterion, which begins anew. What was learnt of the baseline before the experiment is
    /// kept if it is about the same metric; else nothing is known.
    pub(super) fn edited(criterion: &Criterion, before: &[Self], horizon: u32) -> Self {
        let known = before.iter().filter(|e| e.criterion.metric == criterion.metric).find_map(|e| match e.trial {
            Trial::Share { test, .. } => {
                let share = (test.aim > 0.0).then_some(test.aim * test.limit);
                Some(Past { dispersion: test.dispersion, share, collapse: COLLAPSE })
            }
            Trial::Relative { test, .. } => {
                Some(Past { dispersion: test.dispersion, share: Some(test.history), collapse: test.collapse })
            }
            Trial::Mean { .. } | Trial::Threshold { .. } => None,
        });
        Self::new(criterion, known.unwrap_or_else(|| Past::of(&[], criterion.rule)), horizon)
    }

    /// Takes in one interval; Pass evidence only if `counts_for_pass`. What is not of the criterion's kind, or says
    /// nothing about the candidate, changes nothing. Answers whether the baseline alone breaks the limit in it, so that
    /// it says nothing about the limit.
    pub fn update(&mut self, pair: &Pair, counts_for_pass: bool) -> bool {
        let before = self.log_pass_at_most();
        let masked = self.take(pair, counts_for_pass);
        let gain = self.log_pass_at_most() - before;
        if counts_for_pass && gain.is_finite() {
            self.largest = self.largest.max(gain);
        }
        masked
    }

    fn take(&mut self, pair: &Pair, counts_for_pass: bool) -> bool {
        let weather = &mut self.weather;
        match (&mut self.trial, pair) {
            (Trial::Share { test, seen }, Pair::Requests { baseline, candidate, .. }) => {
                let doubtful = weather.doubtful(baseline.least, test.limit, test.dispersion.shown);
                if environment::masked(baseline.least, test.limit) {
                    return true;
                }
                if !doubtful {
                    test.update(seen, *candidate, counts_for_pass);
                    weather.count(baseline.least);
                }
            }
            (Trial::Relative { test, seen }, Pair::Requests { baseline, candidate, .. }) => {
                let asked = match self.criterion.rule {
                    // When its criterion is silent, and only then.
                    Rule::Companion { limit } => environment::masked(baseline.least, limit),
                    Rule::Share { .. } | Rule::RelativeShare { .. } | Rule::Mean { .. } | Rule::Threshold { .. } => {
                        true
                    }
                };
                let unusual = weather.unusual(baseline.least, test.dispersion.clump);
                if asked {
                    test.update(seen, *candidate, *baseline, counts_for_pass && !unusual);
                }
            }
            (Trial::Mean { test, seen }, Pair::Values { baseline, candidate }) => {
                test.update(seen, *candidate, *baseline, counts_for_pass);
            }
            (Trial::Threshold { test, seen }, Pair::Values { candidate, .. }) => test.update(seen, *candidate),
            _ => {}
        }
        false
    }

    /// Natural logarithm of the Fail e-value.
    pub fn log_fail(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, seen } => test.log_fail(seen),
            Trial::Relative { test, seen } => test.log_fail(seen),
            Trial::Mean { test, seen } => test.log_fail(seen),
            Trial::Threshold { .. } => 0.0,
        }
    }

    /// What [`Self::log_fail`] is at most, for a fraction of its cost where that is known.
    pub(super) fn log_fail_at_most(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, seen } => test.log_fail_at_most(seen),
            Trial::Relative { test, seen } => test.log_fail_at_most(seen),
            Trial::Mean { test, seen } => test.log_fail(seen),
            Trial::Threshold { .. } => 0.0,
        }
    }

    /// Natural logarithm of the Pass e-value.
    pub fn log_pass(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, seen } => test.log_pass(seen),
            Trial::Relative { test, seen } => test.log_pass(seen),
            Trial::Mean { test, seen } => test.log_pass(seen),
            Trial::Threshold { .. } => 0.0,
        }
    }

    /// What [`Self::log_pass`] is at most, for a fraction of its cost where that is known.
    pub(super) fn log_pass_at_most(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, seen } => test.log_pass_at_most(seen),
            Trial::Relative { test, seen } => test.log_pass_at_most(seen),
            Trial::Mean { test, seen } => test.log_pass(seen),
            Trial::Threshold { .. } => 0.0,
        }
    }

    /// Whether one interval alone decides: without it, there is not a third of the Pass evidence that is needed (natural
    /// logarithm). No accident of the metrics source is to promote anything. The blocks of a mean see to that themselves,
    /// where a large one spreads what they vary by.
    pub(super) fn rests_on_one(&self, needed: f64) -> bool {
        match &self.trial {
            Trial::Share { .. } | Trial::Relative { .. } => self.log_pass_at_most() - self.largest < needed / 3.0,
            Trial::Mean { .. } | Trial::Threshold { .. } => false,
        }
    }

    /// Forgets Pass evidence: what the candidate did at lower weights promises nothing about the final one.
    pub(super) fn restart_pass(&mut self) {
        self.largest = 0.0;
        match &mut self.trial {
            Trial::Share { test, seen } => test.restart_pass(seen),
            Trial::Relative { test, seen } => test.restart_pass(seen),
            Trial::Mean { test, seen } => test.restart_pass(seen),
            Trial::Threshold { .. } => {}
        }
    }

    /// Whether enough was seen to believe a Fail.
    pub fn enough(&self) -> bool {
        match &self.trial {
            Trial::Share { test, seen } => {
                test.enough_bad(seen) && self.weather.candidate_is_worse(test.least_totals(seen), test.dispersion.shown)
            }
            Trial::Relative { test, seen } => test.enough_bad(seen),
            // The blocks that a mean needs are counted by its evidence.
            Trial::Mean { .. } => true,
            // It never speaks.
            Trial::Threshold { .. } => false,
        }
    }

    /// Whether the last interval had a value of the candidate; asked of thresholds alone.
    pub(super) fn has_value(&self) -> bool {
        matches!(&self.trial, Trial::Threshold { seen, .. } if seen.last.is_some())
    }

    /// Whether the candidate's last value is beyond a threshold's limit.
    pub(super) fn beyond(&self) -> bool {
        matches!(&self.trial, Trial::Threshold { test, seen } if test.broken(seen))
    }

    /// How far the weight may grow by this criterion; `None`: it has no say. `gamma`: the chance that the bound is
    /// wrong at any time.
    pub(super) fn gate(&self, gamma: f64) -> Option<Gate> {
        match &self.trial {
            Trial::Share { test, seen } => Some(Gate::Share { upper: test.upper(seen, gamma), limit: test.limit }),
            // While it is silent, its criterion speaks; and while it speaks, no weight grows.
            Trial::Relative { .. } if !self.criterion.rule.has_to_pass() => None,
            Trial::Relative { test, seen } => {
                Some(Gate::Share { upper: test.upper(seen, gamma), limit: test.limit(seen) })
            }
            Trial::Mean { test, seen } => {
                Some(Gate::Calm(test.totals(seen).count > 0.0 && test.log_fail(seen) < CALM.ln()))
            }
            Trial::Threshold { test, seen } => Some(Gate::Calm(test.satisfied(seen))),
        }
    }

    /// Requests or values of the candidate since the start.
    pub fn samples(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, seen } => test.totals(seen).requests,
            Trial::Relative { test, seen } => test.totals(seen).requests,
            Trial::Mean { test, seen } => test.totals(seen).count,
            Trial::Threshold { seen, .. } => f64::from(seen.values),
        }
    }

    /// Bad requests of the candidate since the start; 0 for a mean, which knows none.
    pub fn bad(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, seen } => test.totals(seen).bad,
            Trial::Relative { test, seen } => test.totals(seen).bad,
            Trial::Mean { .. } | Trial::Threshold { .. } => 0.0,
        }
    }

    /// The candidate's share or mean since the start, or a threshold's last value, if anything was seen.
    pub fn estimate(&self) -> Option<f64> {
        let value = match &self.trial {
            Trial::Share { .. } | Trial::Relative { .. } => self.bad() / self.samples(),
            Trial::Mean { test, seen } => test.totals(seen).mean(),
            Trial::Threshold { seen, .. } => return seen.last,
        };
        (self.samples() > 0.0 && value.is_finite()).then_some(value)
    }

    /// The limit in the candidate's unit, by what is known of the baseline.
    pub fn limit(&self) -> f64 {
        match &self.trial {
            Trial::Share { test, .. } => test.limit,
            Trial::Relative { test, seen } => test.limit(seen),
            Trial::Mean { test, seen } => {
                let baseline = test.baseline_totals(seen);
                let followed =
                    if test.ratio > 0.0 && baseline.count > 0.0 { test.ratio * baseline.mean() } else { 0.0 };
                followed + test.slack
            }
            Trial::Threshold { test, seen } => test.nearest(seen),
        }
    }

    /// Where the candidate's share or mean is, at all looks at once with probability at least `1 - alpha`. Ends of a
    /// mean may be infinite.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        match &self.trial {
            Trial::Share { test, seen } => test.interval(seen, alpha),
            Trial::Relative { test, seen } => test.interval(seen, alpha),
            Trial::Mean { test, seen } => {
                let (low, high) = test.interval(seen, alpha);
                let limit = self.limit();
                if test.higher_is_better { (limit - high, limit - low) } else { (limit + low, limit + high) }
            }
            Trial::Threshold { .. } => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Whether nothing that was seen speaks against the candidate: its value is within the limit.
    pub(super) fn within(&self) -> bool {
        if let Trial::Threshold { test, seen } = &self.trial {
            return test.satisfied(seen);
        }
        let higher = matches!(self.criterion.rule, Rule::Mean { higher_is_better: true, .. });
        self.estimate().is_some_and(|value| if higher { value >= self.limit() } else { value <= self.limit() })
    }
}

impl Trial {
    fn start(rule: Rule, Past { dispersion, share, collapse }: Past, horizon: u32) -> Self {
        let history = share.unwrap_or(0.0);
        let aim = aim(share, rule.share_limit(history));
        let relative =
            |ratio, slack| Self::relative(RelativeTest { ratio, slack, dispersion, horizon, history, aim, collapse });
        match rule {
            Rule::Share { limit } => Self::share(ShareTest { limit, dispersion, aim, horizon }),
            Rule::RelativeShare { factor, slack } => relative(factor, slack),
            Rule::Companion { .. } => relative(environment::COMPANION_RATIO, environment::COMPANION_SLACK),
            Rule::Mean { factor, slack, higher_is_better, gauge } => {
                Self::mean(MeanTest { ratio: factor, slack, higher_is_better, gauge, horizon })
            }
            Rule::Threshold { lower, upper, .. } => Self::threshold(ThresholdTest { lower, upper }),
        }
    }

    fn share(test: ShareTest) -> Self {
        Self::Share { seen: test.start(), test }
    }

    fn relative(test: RelativeTest) -> Self {
        Self::Relative { seen: test.start(), test }
    }

    fn mean(test: MeanTest) -> Self {
        Self::Mean { seen: Box::new(test.start()), test }
    }

    fn threshold(test: ThresholdTest) -> Self {
        Self::Threshold { test, seen: ThresholdSeen::default() }
    }
}

/// What the baseline did before the experiment.
#[derive(Clone, Copy)]
struct Past {
    dispersion: Dispersion,
    /// Share of bad requests, if there were any requests.
    share: Option<f64>,
    /// See [`RelativeTest::collapse`].
    collapse: f64,
}

impl Past {
    fn of(history: &[Tally], rule: Rule) -> Self {
        let (requests, bad) = history.iter().fold((0.0, 0.0), |(n, y), t| (n + t.requests, y + t.bad));
        let share = (requests > 0.0).then(|| (bad / requests).clamp(0.0, 1.0));
        let busy = requests > BUSY * history.len() as f64;
        Self {
            dispersion: judge::dispersion(history, rule.share_limit(share.unwrap_or(0.0))),
            share,
            collapse: if busy { 0.0 } else { COLLAPSE },
        }
    }
}

/// Where a candidate like the baseline is, in units of the limit; 0, "nothing is expected", if that is no distance to
/// prove anything over.
fn aim(share: Option<f64>, limit: f64) -> f64 {
    share.map(|share| (share / limit).max(LEAST_AIM)).filter(|aim| *aim <= MOST_AIM).unwrap_or(0.0)
}
