//! Conditions in status: their types and reasons, and how one is set.
//!
//! Owns the rule that a transition time changes only on a transition. Must not decide which conditions hold; the ledger of the
//! controller and the preflight call it.

use crate::text::one_line;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether the experiment does its work or is done with it (kstatus).
pub const READY: &str = "Ready";
/// True while the experiment moves by itself (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// True while nothing moves without a person (kstatus).
pub const STALLED: &str = "Stalled";
/// True when traffic is final and no further pull request will be opened (Iter8).
pub const COMPLETED: &str = "Completed";
/// True after an error that ended the experiment; a discarded candidate is not an error (Iter8).
pub const FAILED: &str = "Failed";
/// True while the experiment holds its target and its routes (Iter8).
pub const TARGET_ACQUIRED: &str = "TargetAcquired";
/// True at the verdict.
pub const DECIDED: &str = "Decided";
/// True when the write-back passed its preflight, or none is wanted.
pub const GITOPS_READY: &str = "GitOpsReady";

/// The longest message, in characters: enough for a cause and its remedy, small enough that hostile error texts do not fill an object.
const MAX_MESSAGE: usize = 1024;

/// Truth of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet, or not any more.
    Unknown,
}

impl Truth {
    /// The text in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What a condition is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim<'a> {
    /// One of the types above.
    pub type_: &'a str,
    /// Whether it holds.
    pub truth: Truth,
    /// CamelCase, the same word as in Events, metrics and logs.
    pub reason: &'a str,
    /// For people; control characters become spaces and it is cut at 1024 characters.
    pub message: &'a str,
}

/// Sets one condition, adding it at the end if it is absent, and reports whether anything a reader sees changed.
///
/// `generation` is the one that the claim was made for. `now` becomes the transition time only if the truth differs from before.
pub fn set(conditions: &mut Vec<Condition>, claim: &Claim<'_>, generation: i64, now: Timestamp) -> bool {
    let next = Condition {
        type_: claim.type_.to_owned(),
        status: claim.truth.as_str().to_owned(),
        reason: claim.reason.to_owned(),
        message: one_line(claim.message, MAX_MESSAGE),
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    let Some(present) = conditions.iter_mut().find(|condition| condition.type_ == next.type_) else {
        conditions.push(next);
        return true;
    };
    let since = if present.status == next.status {
        present.last_transition_time.clone()
    } else {
        next.last_transition_time.clone()
    };
    let next = Condition { last_transition_time: since, ..next };
    let changed = *present != next;
    *present = next;
    changed
}

/// Whether the condition is there and true.
pub fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == Truth::True.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(truth: bool, reason: &'static str) -> Claim<'static> {
        Claim { type_: READY, truth: truth.into(), reason, message: "m" }
    }

    #[test]
    fn transition_time_moves_only_with_the_truth() {
        let mut all = Vec::new();
        assert!(set(&mut all, &ready(false, "Queued"), 1, at(10)));
        assert!(set(&mut all, &ready(false, "Preparing"), 2, at(20)), "a new reason is a change");
        assert_eq!((all[0].last_transition_time.0, all[0].observed_generation), (at(10), Some(2)));
        assert!(set(&mut all, &ready(true, "Shifting"), 2, at(30)));
        assert_eq!(all[0].last_transition_time.0, at(30));
        assert!(holds(&all, READY) && !holds(&all, STALLED));
    }

    #[test]
    fn the_same_claim_again_changes_nothing() {
        let mut all = Vec::new();
        set(&mut all, &ready(true, "Shifting"), 1, at(10));
        let before = all.clone();
        assert!(!set(&mut all, &ready(true, "Shifting"), 1, at(99)));
        assert_eq!(all, before);
    }

    #[test]
    fn one_entry_per_type_in_order_of_appearance() {
        let mut all = Vec::new();
        for type_ in [READY, STALLED, READY, COMPLETED, STALLED] {
            set(&mut all, &Claim { type_, truth: Truth::Unknown, reason: "R", message: "" }, 1, at(1));
        }
        assert_eq!(all.iter().map(|c| c.type_.as_str()).collect::<Vec<_>>(), [READY, STALLED, COMPLETED]);
    }

    #[test]
    fn hostile_messages_are_bounded_and_on_one_line() {
        let mut all = Vec::new();
        let message = format!("a\nb\u{1b}[31m{}", "é".repeat(5000));
        set(&mut all, &Claim { type_: FAILED, truth: Truth::True, reason: "R", message: &message }, 1, at(1));
        assert!(all[0].message.starts_with("a b [31m"));
        assert_eq!(all[0].message.chars().count(), 1024);
    }
}
