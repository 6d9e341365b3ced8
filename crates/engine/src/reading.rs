//! What the metrics say of the versions in one interval.

use crate::fact::{Seen, Window};
use crate::judge::{Counted, Sample, Tally};

/// What all metrics say of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The interval; that of a source in [`crate::Questions::behind`] begins earlier.
    pub window: Window,
    /// Per metric and candidate that the criteria are about (their `source`): all metrics of the first candidate, then all
    /// of the next one.
    pub answers: Vec<Seen<Answer>>,
    /// For each candidate the first one whose requests go to the same host; none: each has a host of its own.
    pub hosts: Vec<usize>,
}

impl Reading {
    /// What was read of an interval, where no two candidates share a host.
    pub fn new(window: Window, answers: Vec<Seen<Answer>>) -> Self {
        Self { window, answers, hosts: vec![] }
    }
}

/// What one metric says of an interval.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These were the requests or values.
    Counted(Pair),
    /// Counters grew like this.
    Grown(Box<Growth>),
    /// It cannot be known what they were.
    Void(Void),
}

impl From<Pair> for Answer {
    fn from(pair: Pair) -> Self {
        Self::Counted(pair)
    }
}

/// What counters grew by, as one server saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// In the interval; less than nothing where a series fell and did not restart.
    pub pair: Pair,
    /// What they stood at when the interval began.
    pub from: Pair,
    /// What they stood at when it ended.
    pub to: Pair,
}

/// Why an interval says nothing about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// The source knows none of the metric's series at the interval's start: it lost its data, or the series have new labels.
    NoPast,
    /// A series is back that was there before the interval and not at its start.
    Returned,
    /// A value is negative, or no number.
    NotACounter,
    /// Counters stand lower than they did, and no restart explains it.
    Fell,
    /// There are more requests than ten times the usual number.
    Implausible,
}

impl Void {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoPast => {
                "the metrics source has none of its series when the interval began; it may have lost its data"
            }
            Self::Returned => "a series came back that was away when the interval began",
            Self::NotACounter => "a value is negative or not a number, so that it is none of a counter's",
            Self::Fell => {
                "counters stand lower than they did although nothing restarted; servers behind the address of the \
                 metrics source may know different things"
            }
            Self::Implausible => {
                "more than ten times the usual requests were counted; counters may have been given new labels"
            }
        }
    }
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
        /// Requests to the candidate's host that reached no endpoint, whosever they were.
        unreached: f64,
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
    /// Requests of which each one is known to be bad or not, and which all reached an endpoint.
    pub fn requests(baseline: Tally, candidate: Tally) -> Self {
        Self::Requests { baseline: baseline.into(), candidate: candidate.into(), unreached: 0.0 }
    }

    /// Requests or values of the baseline and the candidate.
    pub fn volume(&self) -> (f64, f64) {
        match self {
            Self::Requests { baseline, candidate, .. } => (baseline.most.requests, candidate.most.requests),
            Self::Values { baseline, candidate } => (baseline.count, candidate.count),
        }
    }
}
