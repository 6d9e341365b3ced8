//! How the routes divide requests: percent for each candidate, the rest is the baseline's.

use serde::{Deserialize, Serialize};

/// Most candidates of one experiment. With all of them each version has an eighth of the traffic; pairs of versions, which
/// the reward race remembers, grow with the square.
pub const MOST_CANDIDATES: usize = 7;

/// Percent for each candidate, in the order of the resource. What they leave is the baseline's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Vec<u8>")]
pub struct Split([u8; MOST_CANDIDATES]);

impl Split {
    /// All traffic is the baseline's.
    pub const HOME: Self = Self([0; MOST_CANDIDATES]);

    /// The first candidate has this much, others nothing.
    pub fn one(weight: u8) -> Self {
        Self::only(0, weight)
    }

    /// One candidate, by its position, has this much, others nothing.
    pub fn only(candidate: usize, weight: u8) -> Self {
        (0..=candidate).map(|at| if at == candidate { weight } else { 0 }).collect()
    }

    /// What a candidate has, percent; 0 of one that there is not.
    pub fn of(&self, candidate: usize) -> u8 {
        self.0.get(candidate).copied().unwrap_or(0)
    }

    /// What is left for the baseline, percent.
    pub fn baseline(&self) -> u8 {
        self.0.iter().fold(100, |left: u8, weight| left.saturating_sub(*weight))
    }

    /// Whether no candidate has anything.
    pub fn is_home(&self) -> bool {
        *self == Self::HOME
    }

    /// Each candidate's percentage, of as many as are asked for.
    pub fn weights(&self, candidates: usize) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().copied().take(candidates)
    }

    /// The baseline's percentage, then each candidate's.
    pub fn all(&self, candidates: usize) -> impl Iterator<Item = u8> + '_ {
        std::iter::once(self.baseline()).chain(self.weights(candidates))
    }

    /// The split as people write it: the baseline's percentage, then each candidate's.
    pub fn text(&self, candidates: usize) -> String {
        self.all(candidates).map(|weight| weight.to_string()).collect::<Vec<_>>().join("/")
    }
}

impl FromIterator<u8> for Split {
    /// Weights in the order of the candidates; more than there can be are left out.
    fn from_iter<I: IntoIterator<Item = u8>>(weights: I) -> Self {
        let mut split = Self::HOME;
        split.0.iter_mut().zip(weights).for_each(|(at, weight)| *at = weight);
        split
    }
}

/// As it is remembered; by releases that knew one candidate, as its weight.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    All(Vec<u8>),
    One(u8),
}

impl From<Written> for Split {
    fn from(written: Written) -> Self {
        match written {
            Written::All(weights) => weights.into(),
            Written::One(weight) => Self::one(weight),
        }
    }
}

impl From<Vec<u8>> for Split {
    fn from(weights: Vec<u8>) -> Self {
        weights.into_iter().collect()
    }
}

impl From<Split> for Vec<u8> {
    /// Without the candidates at the end that have nothing.
    fn from(split: Split) -> Self {
        let last = split.0.iter().rposition(|weight| *weight > 0).map_or(0, |at| at + 1);
        split.weights(last).collect()
    }
}
