//! Merges requests without a person, where the experiment's owner and the repository's want that.
//!
//! Called by [`super::Turn::write_back`]. The forge's own rules decide when: each look at the request is followed by one
//! try, until it is merged. Only the commit that was pushed is ever merged: each try names it, so that one who adds a
//! commit in between is asked for a review instead. What follows a merge is the same as after a person's.

use jiff::{SignedDuration, Timestamp};

use crate::draft::Turn;
use crate::effects::Effect;
use crate::plan::{Gitops, Plan};
use crate::progress::Phase;
use crate::stage::{Pull, PullState, Stage};

/// How long an experiment whose traffic is final stays for the merge of its clean-up: checks take minutes. One that
/// wants a person as well is left to that person, and its target to the next experiment.
const PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// What is waited for while an open request merges itself.
pub(super) fn for_checks(pull: &Pull) -> String {
    format!("request #{} to be merged, which the forge's checks allow: {}", pull.number, pull.url)
}

/// Whether a stage's request is merged without a person. A revert is not: who takes a promotion back looks at what it
/// takes back.
fn merges_itself(plan: &Plan, stage: Stage) -> bool {
    let policy = plan.gitops.as_ref().map(|g| g.auto_merge).unwrap_or_default();
    match stage {
        Stage::Promote => policy.promote,
        Stage::CleanUp => policy.cleanup,
        Stage::Revert => false,
    }
}

/// What a stage's request waits for, as far as nothing comes in between.
pub(super) fn awaited(plan: &Plan, stage: Stage) -> &'static str {
    if merges_itself(plan, stage) { "WaitingForChecks" } else { "WaitingForReview" }
}

impl Turn<'_> {
    fn merges_itself(&self) -> bool {
        self.progress.current_stage().is_some_and(|s| merges_itself(self.plan, s.stage()))
    }

    /// Tries to merge an open request that is still what was pushed; whether that may come to something.
    pub(super) fn merge(&mut self, pull: &Pull) -> bool {
        if !self.merges_itself() || pull.state != PullState::Open {
            return false;
        }
        let Some((request, (_, commit))) = self.work().filter(|(_, (_, ours))| pull.head.as_ref() == Some(ours)) else {
            return false;
        };
        self.effects.push(Effect::Merge { request, number: pull.number, commit });
        // What hinders a merge takes its time: the next look comes when it would have come without the try.
        self.patient = true;
        true
    }

    /// The clean-up request is open. One that a person merges ends the experiment at once; the merge of another one is
    /// awaited, for it is still to be done.
    pub(super) fn await_removal(&mut self, gitops: &Gitops, number: u64, since: Timestamp) {
        if self.progress.phase == Phase::Completed {
            return self.await_merge(&gitops.base_branch);
        }
        if !self.merges_itself() {
            return self.complete();
        }
        let until = since + PATIENCE;
        if self.now >= until {
            let what = format!(
                "the forge did not let request #{number} be merged for {} minutes; a person has to merge it",
                PATIENCE.as_mins()
            );
            self.warn("MergeOverdue", &what);
            return self.complete();
        }
        let Some(seen) = self.request_seen() else { return };
        match &seen.pull {
            Some(pull) if self.merge(pull) => {
                self.wait("WaitingForChecks", &for_checks(pull), Some(until));
                self.poll(since);
            }
            Some(pull) if pull.state != PullState::Open => self.found(pull, false),
            Some(_) | None => self.complete(),
        }
    }
}
