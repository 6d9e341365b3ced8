//! How one run ended, and what it cost. Every rule's driver answers with it; [`super::run`] counts.

use super::traffic::Traffic;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The baseline keeps the traffic, because the candidate is worse than its limit.
    Rollback,
    /// The candidate gets it.
    Promote,
    /// Neither before the rule's end.
    Undecided,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) end: End,
    /// Seconds from the start.
    pub(super) seconds: f64,
    /// Seconds from the first bad request that the candidate answered; from the start without any.
    pub(super) harmed: f64,
    /// Seconds from when the metrics source first showed that; from the start without any.
    pub(super) shown: f64,
    /// Bad requests that the candidate answered.
    pub(super) bad: f64,
}

impl Run {
    pub(super) fn ended(end: End, traffic: &Traffic) -> Self {
        let seconds = traffic.now();
        let since = |time: Option<f64>| seconds - time.unwrap_or(0.0);
        Self {
            end,
            seconds,
            harmed: since(traffic.first_bad()),
            shown: since(traffic.first_shown()),
            bad: traffic.bad(),
        }
    }
}
