//! What a look at the clean-up request of a completed experiment has to know.
//!
//! Made by [`crate::writeback`]; kept by whoever looks, who needs not even the experiment until there is news.

use jiff::SignedDuration;

use crate::fact::{CommitId, Seen};
use crate::stage::{PullState, Reviewed, TextSeen};

/// A clean-up request that waits: where it is looked at, and what was seen of it when there was nothing to do.
///
/// An answer with the same in it leads to the same step, so that it needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The request.
    pub number: u64,
    /// The branch it is made from.
    pub branch: String,
    /// The branch it is to be merged into.
    pub base_branch: String,
    /// None while nothing could be seen.
    pub(crate) known: Option<Glance>,
}

/// What of an answer can make something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// None if there is no such request.
    open: Option<bool>,
    /// The base branch that it cannot be merged into.
    conflict: Option<CommitId>,
    /// What its text tells, unless a person changed it.
    pub(crate) text: Option<String>,
}

impl Rest {
    /// How often it is looked at.
    pub const EVERY: SignedDuration = SignedDuration::from_mins(15);

    /// Whether an answer needs a turn. A forge that does not answer has no news.
    pub fn is_ended_by(&self, seen: &Seen<Reviewed>) -> bool {
        seen.as_ref().is_ok_and(|seen| self.known.as_ref() != Some(&Glance::of(seen)))
    }
}

impl Glance {
    pub(crate) fn of(seen: &Reviewed) -> Self {
        let pull = seen.request.pull.as_ref();
        Self {
            open: pull.map(|pull| pull.state == PullState::Open),
            conflict: seen.conflict.as_ref().and_then(|_| seen.request.head.clone()),
            text: pull.and_then(|pull| match &pull.text {
                Some(TextSeen::Ours { news, .. }) => Some(news.clone()),
                Some(TextSeen::Edited) | None => None,
            }),
        }
    }
}
