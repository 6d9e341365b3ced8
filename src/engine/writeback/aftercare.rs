//! Looks after the clean-up request of an experiment that is completed.
//!
//! Its traffic is final, its target is given back, and the merge of its last request removes it: nothing hurries. But a
//! request that cannot be merged any more, or that people closed, removes nothing, and nobody else would notice. Asks the
//! forge alone, nothing of the cluster, and writes the status only for news.

use jiff::{SignedDuration, Timestamp};

use super::current;
use crate::engine::observation::PullState;
use crate::engine::phases::Turn;
use crate::engine::plan::Plan;
use crate::engine::progress::{Phase, Progress, Stage, StageState};

/// How often the clean-up request is looked at.
const LOOK: SignedDuration = SignedDuration::from_mins(15);
/// How soon work on another one goes on.
const SOON: SignedDuration = SignedDuration::from_mins(1);
/// When everything that a completed experiment does in the cluster is done and seen: after that it asks nothing of it.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);

/// Whether the cluster is left alone.
pub(in crate::engine) fn is_quiet(plan: &Plan, progress: &Progress, now: Timestamp) -> bool {
    let since = progress.since.filter(|_| progress.phase == Phase::Completed && plan.deleting.is_none());
    since.is_some_and(|since| now >= since + SETTLED)
}

impl Turn<'_> {
    /// What became of the clean-up request.
    pub(in crate::engine) fn look_after(&mut self) {
        let (Some(gitops), Some(stage)) = (&self.plan.gitops, current(&self.progress)) else {
            return self.progress.waiting = None;
        };
        if stage.stage != Stage::CleanUp || self.tidy() || self.keep_one() {
            return;
        }
        match stage_of(&self.progress) {
            StageState::Waiting => self.await_merge(&gitops.base_branch),
            StageState::Withdrawing => self.renew(Stage::CleanUp),
            StageState::Planning => self.planning(),
            StageState::Planned => self.planned(),
            StageState::Pushed => self.pushed(),
            StageState::Checking
            | StageState::Merged
            | StageState::RollingOut
            | StageState::Confirming
            | StageState::HandingOver
            | StageState::Draining
            | StageState::Done => {}
        }
        let at_rest = stage_of(&self.progress) == StageState::Waiting && !self.conflicts_anew();
        self.only_after(if at_rest { LOOK } else { SOON });
    }

    fn await_merge(&mut self, base: &str) {
        // A forge that does not answer is no news.
        let Some(Ok(seen)) = self.seen.stage.clone() else { return };
        match &seen.pull {
            Some(pull) if pull.state == PullState::Open && self.in_conflict(&seen) => {
                self.await_renewal(base, &seen, pull, None);
            }
            Some(pull) if pull.state == PullState::Open => self.progress.waiting = None,
            Some(pull) => {
                let (number, closed) = (pull.number, pull.state == PullState::Closed);
                self.found(pull, false);
                if closed {
                    let what = format!(
                        "request #{number} was closed unmerged: the experiment's files stay in Git; `retry` makes another one"
                    );
                    self.warn("CleanUpRejected", &what);
                }
            }
            None => {}
        }
    }

    /// Whether a conflict was first seen a moment ago, so that the next look decides.
    fn conflicts_anew(&self) -> bool {
        self.progress.waiting.as_ref().is_some_and(|w| self.now < w.since + SOON)
    }
}

fn stage_of(progress: &Progress) -> StageState {
    progress.stages.last().map_or(StageState::Done, |s| s.state)
}
