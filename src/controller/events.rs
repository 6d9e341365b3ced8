//! What people are told about an experiment, under the one reason that its conditions and metrics carry too.
//!
//! Pure: the engine's notices, and what a committed change of the progress itself says (a verdict, another thing that is
//! waited for). [`super::ledger`] publishes it.

use std::borrow::Cow;

use crate::engine::{Decision, Notice, Outcome, Progress, Reason};
use crate::text::digest;

/// The engine's word for "it waits for something else now"; the Event's reason is what it waits for.
const WAITING: &str = "Waiting";

/// The engine's word for weights that others wrote and that were put right.
const REPAIRED: &str = "WeightsRepaired";

/// Something that a person is told, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// `CamelCase` reason.
    pub(super) reason: Cow<'static, str>,
    /// For people.
    pub(super) message: String,
    /// Whether it is bad news.
    pub(super) warning: bool,
}

impl Told {
    /// The Event's action. Events of one reason and action become one, which keeps the first note: repairs of weights are
    /// to be one and counted, but a wait for request #6 is not the wait for #4 once more.
    pub(super) fn action(&self) -> String {
        if self.reason == REPAIRED {
            return "Repair".into();
        }
        format!("Turn-{}", digest(&self.message, 4))
    }
}

impl From<&Notice> for Told {
    fn from(notice: &Notice) -> Self {
        Self { reason: notice.reason.into(), message: notice.message.clone(), warning: notice.warning }
    }
}

/// What is told of a change that was committed, in this order: the verdict, then the engine's notices.
pub(super) fn told(before: &Progress, after: &Progress, notices: &[Notice]) -> Vec<Told> {
    let waits = |notice: &Notice| match &after.waiting {
        Some(waiting) if notice.reason == WAITING => {
            Told { reason: waiting.reason.clone().into(), ..Told::from(notice) }
        }
        _ => Told::from(notice),
    };
    // The guard says itself why it overturned a verdict.
    let news = verdict(before, after).filter(|v| notices.iter().all(|n| n.reason != v.reason.as_str()));
    news.map(announced).into_iter().chain(notices.iter().map(waits)).collect()
}

/// The verdict that a change brought.
pub(super) fn verdict<'a>(before: &Progress, after: &'a Progress) -> Option<&'a Decision> {
    let known = |decision: &Decision| before.decision.as_ref().is_some_and(|b| b.reason == decision.reason);
    after.decision.as_ref().filter(|decision| !known(decision))
}

fn announced(decision: &Decision) -> Told {
    let message = format!("{}: {}", decision.outcome.as_str(), decision.sentence);
    Told { reason: decision.reason.as_str().into(), message, warning: bad(decision) }
}

/// A candidate that is not promoted is bad news, unless people wanted it so.
fn bad(decision: &Decision) -> bool {
    match (decision.outcome, decision.reason) {
        (Outcome::Promote, _) | (Outcome::Discard, Reason::Aborted | Reason::RejectedInReview) => false,
        (Outcome::Discard, _) => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;

    use super::*;
    use crate::engine::Waiting;

    #[test]
    fn events_become_one_only_if_they_say_the_same() {
        let told = |reason: &'static str, message: &str| Told {
            reason: reason.into(),
            message: message.into(),
            warning: false,
        };
        let action = |reason, message| told(reason, message).action();
        assert_eq!(action("WeightsRepaired", "to 70/30"), action("WeightsRepaired", "to 60/40"));
        assert_eq!(action("WaitingForReview", "request #4"), action("WaitingForReview", "request #4"));
        assert_ne!(action("WaitingForReview", "request #4"), action("WaitingForReview", "request #6"));
        assert!(action("WaitingForReview", &"x".repeat(5000)).len() < 128, "the API takes no more");
    }

    fn decided(outcome: Outcome, reason: Reason) -> Progress {
        let decision = reiter8_testing::trial::decision(outcome, reason);
        Progress { decision: Some(decision), ..Progress::default() }
    }

    #[test]
    fn an_event_of_a_wait_has_the_reason_of_the_condition() {
        let waiting = Waiting {
            reason: "TargetTaken".into(),
            what: "the target".into(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        };
        let after = Progress { waiting: Some(waiting), ..Progress::default() };
        let notices = [
            Notice { reason: "Waiting", message: "waiting for the target".into(), warning: false },
            Notice { reason: "WeightsRepaired", message: "put right".into(), warning: true },
        ];
        let reasons: Vec<_> = told(&Progress::default(), &after, &notices).into_iter().map(|t| t.reason).collect();
        assert_eq!(reasons, ["TargetTaken", "WeightsRepaired"]);
    }

    #[test]
    fn a_verdict_is_told_once_under_its_reason() {
        let none = Progress::default();
        let harmful = decided(Outcome::Discard, Reason::Harmful);
        let told = |before: &Progress, after: &Progress| {
            let told = told(before, after, &[]);
            told.into_iter().map(|t| (t.reason.into_owned(), t.warning)).collect::<Vec<_>>()
        };
        assert_eq!(told(&none, &harmful), [("Harmful".to_owned(), true)]);
        assert_eq!(told(&harmful, &harmful), []);
        let proven = decided(Outcome::Promote, Reason::Proven);
        assert_eq!(told(&none, &proven), [("Proven".to_owned(), false)]);
        let tripped = decided(Outcome::Discard, Reason::GuardTripped);
        assert_eq!(told(&proven, &tripped), [("GuardTripped".to_owned(), true)]);
    }
}
