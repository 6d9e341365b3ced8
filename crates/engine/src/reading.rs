//! What the metrics say of the versions in one interval.

use crate::fact::{Seen, Window};
use crate::judge::{Counted, Sample, Tally};

/// Requests of both versions in one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The interval.
    pub window: Window,
    /// Per metric and candidate that the criteria are about (their `source`): all metrics of the first candidate, then all
    /// of the next one. `Ok(None)`: the interval is void, its counts cannot be
    /// known.
    pub pairs: Vec<Seen<Option<Pair>>>,
}

/// What one metric says of both versions in one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pair {
    /// Requests, and the bad ones among them.
    Requests {
        /// The baseline's.
        baseline: Counted,
        /// The candidate's.
        candidate: Counted,
    },
    /// Values: how many, and their sum. A gauge has one an interval.
    Values {
        /// The baseline's.
        baseline: Sample,
        /// The candidate's.
        candidate: Sample,
    },
}

impl Pair {
    /// Requests of which each one is known to be bad or not.
    pub fn requests(baseline: Tally, candidate: Tally) -> Self {
        Self::Requests { baseline: baseline.into(), candidate: candidate.into() }
    }

    /// Requests or values of the baseline and the candidate.
    pub fn volume(&self) -> (f64, f64) {
        match self {
            Self::Requests { baseline, candidate } => (baseline.most.requests, candidate.most.requests),
            Self::Values { baseline, candidate } => (baseline.count, candidate.count),
        }
    }
}

/// What a metric says of the interval; none if it could not be read or is void.
pub(crate) fn pair_of(reading: &Reading, source: usize) -> Option<Pair> {
    reading.pairs.get(source).and_then(|p| p.as_ref().ok().copied().flatten())
}
