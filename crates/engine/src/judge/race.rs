//! The reward race of A/B and A/B/n experiments: which version has the best mean reward?
//!
//! For each pair of arms an e-process says how strongly one is better than the other. An arm leaves when the mean of
//! what the others have against it reaches `1/alpha`; the last one wins. Only the best arm matters for an error, and the
//! mean of e-values is an e-value under any dependence, so the best arm ever leaves with probability at most alpha,
//! whatever the number of arms. Asymptotic like all means (see [`super::MeanTest`]).

use serde::{Deserialize, Serialize};

use super::blocks::{Block, Moments, Sample, Sums};
use super::combine_fail;
use super::logspace::exact;
use super::mean::exposure;

/// Values of each arm in a block: rewards have long tails, and either arm may be the one that looks better than it is.
const LEAST: f64 = 200.0;
/// Most arms: the pairs grow with the square.
const MOST_ARMS: usize = 16;

/// What is fixed before the experiment. Arm 0 is the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RaceTest {
    /// Number of versions, the baseline among them, 2 to 16.
    pub arms: usize,
    /// Whether a larger reward is better.
    pub higher_is_better: bool,
    /// What a candidate must be better by than the baseline, in units of the reward, at least 0.
    #[serde(with = "exact")]
    pub margin: f64,
    /// Probability with which the best arm may be lost, in (0, 1).
    #[serde(with = "exact")]
    pub alpha: f64,
}

/// Whether an arm is still in the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arm {
    /// It may be the best.
    Racing,
    /// Another one is better. What it had against others stays.
    Eliminated,
    /// It breaks a limit. What it had against others is void: it cannot take their place.
    Dropped,
}

/// What a race has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaceEvidence {
    arms: Vec<Arm>,
    totals: Vec<Sums>,
    /// Of arms (0, 1), (0, 2), (1, 2), (0, 3) …: how much better the second one is.
    pairs: Vec<(Block, Moments)>,
}

impl RaceTest {
    /// Evidence before the first interval.
    pub fn start(&self) -> RaceEvidence {
        let arms = if (2..=MOST_ARMS).contains(&self.arms) { self.arms } else { 0 };
        RaceEvidence {
            arms: vec![Arm::Racing; arms],
            totals: vec![Sums::start(); arms],
            pairs: pairs(arms).map(|_| (Block::start(), Moments::start())).collect(),
        }
    }

    /// Takes in one interval, `rewards` in the order of the arms (one without values says nothing), then lets arms go.
    pub fn update(&self, e: &mut RaceEvidence, rewards: &[Sample]) {
        if !(self.margin.is_finite() && self.alpha > 0.0 && self.alpha < 1.0) || rewards.len() != e.arms.len() {
            return;
        }
        let racing = |at: usize| e.arms.get(at) == Some(&Arm::Racing);
        let reward = |at: usize| rewards.get(at).and_then(|r| r.sound()).filter(|_| racing(at));
        for (total, reward) in e.totals.iter_mut().enumerate().filter_map(|(at, t)| Some((t, reward(at)?))) {
            total.add(reward);
        }
        for ((first, second), (block, moments)) in pairs(e.arms.len()).zip(&mut e.pairs) {
            let both = reward(first).zip(reward(second));
            if let Some((a, b)) = both.and_then(|(a, b)| block.add(a, b, LEAST)) {
                let better = if self.higher_is_better { b.mean() - a.mean() } else { a.mean() - b.mean() };
                moments.add(better - if first == 0 { self.margin } else { 0.0 }, exposure(a, b));
            }
        }
        eliminate(&mut e.arms, self.alpha, |arms, arm| against(arms, &e.pairs, arm));
    }

    /// Takes an arm that breaks a limit out of the race. The baseline stays.
    pub fn drop_arm(&self, e: &mut RaceEvidence, arm: usize) {
        if let Some(state) = e.arms.get_mut(arm).filter(|_| arm > 0) {
            *state = Arm::Dropped;
        }
    }

    /// Where each arm stands.
    pub fn arms<'a>(&self, e: &'a RaceEvidence) -> &'a [Arm] {
        &e.arms
    }

    /// The last arm in the race, if the others have left it.
    pub fn winner(&self, e: &RaceEvidence) -> Option<usize> {
        let mut racing = e.arms.iter().enumerate().filter(|(_, state)| **state == Arm::Racing);
        let last = racing.next().map(|(at, _)| at);
        last.filter(|_| racing.next().is_none())
    }

    /// Natural logarithm of the e-value "arm `better` is better than arm `than`"; 0 for an arm that there is not.
    pub fn log_e(&self, e: &RaceEvidence, better: usize, than: usize) -> f64 {
        log_e(&e.pairs, better, than)
    }

    /// Natural logarithm of the mean e-value of the others against `arm`; it leaves at `ln(1/alpha)`.
    pub fn log_against(&self, e: &RaceEvidence, arm: usize) -> f64 {
        against(&e.arms, &e.pairs, arm)
    }

    /// How much better arm `second` is than `first` (`first < second`), less the margin if `first` is the baseline, as
    /// an interval for display that holds at all times at once with probability at least `1 - alpha`.
    pub fn interval(&self, e: &RaceEvidence, first: usize, second: usize, alpha: f64) -> (f64, f64) {
        let found = pairs(e.arms.len()).zip(&e.pairs).find(|(pair, _)| *pair == (first, second));
        found.map_or((f64::NEG_INFINITY, f64::INFINITY), |(_, (_, moments))| moments.interval(alpha, false))
    }

    /// Rewards of an arm since the start.
    pub fn totals(&self, e: &RaceEvidence, arm: usize) -> Sample {
        e.totals.get(arm).map_or_else(Sample::default, |t| t.sample())
    }
}

/// Natural logarithm of the mean e-value against an arm, of the logarithms of the e-values "another one is better".
pub fn log_against(logs: impl IntoIterator<Item = f64>) -> f64 {
    combine_fail(logs.into_iter().map(|log| (log, 1.0)))
}

/// Which arms leave a race in which nothing has happened before, by the logarithms of the mean e-values against them.
/// The one with least against it always stays.
pub fn eliminated(against: &[f64], alpha: f64) -> Vec<bool> {
    let mut arms = vec![Arm::Racing; against.len()];
    eliminate(&mut arms, alpha, |_, arm| against.get(arm).copied().unwrap_or(f64::NEG_INFINITY));
    arms.into_iter().map(|arm| arm == Arm::Eliminated).collect()
}

/// Lets arms go, the one with most against it first, until nothing more is proven or one is left.
fn eliminate(arms: &mut [Arm], alpha: f64, against: impl Fn(&[Arm], usize) -> f64) {
    loop {
        let racing = arms.iter().enumerate().filter(|(_, state)| **state == Arm::Racing);
        let logs: Vec<(usize, f64)> = racing.map(|(at, _)| (at, against(arms, at))).collect();
        let most = logs.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        let Some((worst, log)) = most.filter(|_| logs.len() > 1) else { return };
        match arms.get_mut(worst) {
            Some(state) if log >= -alpha.ln() => *state = Arm::Eliminated,
            _ => return,
        }
    }
}

/// All pairs (first, second) with first below second, ordered so that further arms come last.
fn pairs(arms: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..arms).flat_map(|second| (0..second).map(move |first| (first, second)))
}

fn log_e(known: &[(Block, Moments)], better: usize, than: usize) -> f64 {
    let (first, second) = (better.min(than), better.max(than));
    // Pairs with smaller second arms come before: 0 + 1 + … + (second - 1) of them.
    let at = second.checked_sub(1).filter(|_| first < second).map(|before| second * before / 2 + first);
    at.and_then(|at| known.get(at)).map_or(0.0, |(_, moments)| moments.evidence(better == second, false))
}

/// The mean over all other arms: one that was dropped has nothing against anybody, but still counts as one.
fn against(arms: &[Arm], known: &[(Block, Moments)], arm: usize) -> f64 {
    let others = arms.iter().enumerate().filter(|(at, _)| *at != arm);
    log_against(others.map(|(at, state)| match state {
        Arm::Racing | Arm::Eliminated => log_e(known, at, arm),
        Arm::Dropped => f64::NEG_INFINITY,
    }))
}
