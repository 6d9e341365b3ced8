//! Iter8 v2: iterations at fixed times, each on values accumulated since the start. The candidate wins while it meets
//! the objectives; the weights follow the winner, and the last iteration's winner is the verdict.

use super::{Metrics, Rule, Turn, Verdict, Version, share};

/// Seconds between iterations, by default.
const INTERVAL: f64 = 20.0;
/// Iterations in the one loop, by default.
const ITERATIONS: u32 = 15;
/// Weight of each of two versions that exploration keeps: 10 % spread evenly.
const EXPLORED: u8 = 5;
/// The winner's: the rest as well.
const EXPLOITED: u8 = 95;
/// Most that the candidate's weight grows in an iteration, by default; it may fall at once.
const MOST_GROWTH: u8 = 10;

/// A canary experiment in Iter8 v2 with its defaults.
#[derive(Clone, Debug)]
pub struct Iter8 {
    limit: f64,
    iterations: u32,
    weight: u8,
    winner: bool,
}

impl Iter8 {
    /// With a largest share of bad requests.
    pub fn new(limit: f64) -> Self {
        Self { limit, iterations: 0, weight: 0, winner: false }
    }
}

impl Rule for Iter8 {
    fn name(&self) -> &'static str {
        "iter8 v2"
    }

    fn turn(&mut self, _: f64, metrics: &dyn Metrics) -> Turn {
        if self.iterations >= ITERATIONS {
            let verdict = if self.winner { Verdict::Promote } else { Verdict::Rollback };
            return Turn { weight: self.weight, verdict: Some(verdict), wait: INTERVAL };
        }
        self.iterations += 1;
        // Without a value the objective is not met.
        self.winner = metrics.total(Version::Candidate).and_then(share).is_some_and(|share| share <= self.limit);
        let wanted = if self.winner { EXPLOITED } else { EXPLORED };
        self.weight = wanted.min(self.weight.saturating_add(MOST_GROWTH));
        Turn { weight: self.weight, verdict: None, wait: INTERVAL }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole seconds
mod tests {
    use super::super::tests::{Constant, bad, run};
    use super::*;

    #[test]
    fn defaults_are_the_documented_ones() {
        assert_eq!((INTERVAL as u32, ITERATIONS, MOST_GROWTH, EXPLORED + EXPLOITED), (20, 15, 10, 100));
    }

    #[test]
    fn the_end_is_after_five_minutes_and_the_weight_follows_the_winner() {
        let (verdict, at, weights) = run(&mut Iter8::new(0.01), &bad(1.0));
        assert_eq!((verdict, at as u32), (Verdict::Promote, 300));
        assert_eq!(weights.first(), Some(&(0.0, 10)));
        assert_eq!(weights.last(), Some(&(180.0, 95)));
        assert_eq!(run(&mut Iter8::new(0.01), &bad(1.1)), (Verdict::Rollback, 300.0, vec![(0.0, 5)]));
        assert_eq!(run(&mut Iter8::new(0.01), &Constant(None)).0, Verdict::Rollback);
    }
}
