//! Looks after the clean-up request of an experiment that is completed.
//!
//! Its traffic is final, its target is given back, and the merge of its last request removes it: nothing hurries. But a
//! request that cannot be merged any more, or that people closed, removes nothing, and nobody else would notice. Asks the
//! forge alone, nothing of the cluster, and writes the status only for news. What a look has to know is small ([`Rest`]): whoever
//! keeps it needs not even the experiment until there is news.

use jiff::{SignedDuration, Timestamp};

use super::request;
use crate::draft::Turn;
use crate::plan::Plan;
use crate::progress::{Phase, Progress, StageProgress};
use crate::rest::{Glance, Rest};
use crate::stage::{PullState, Stage, StageSeen, StageState};
use crate::writeback::news::is_young;

/// How soon work on another one goes on, at first; what hinders it for long is tried ever less often.
const SOON: SignedDuration = SignedDuration::from_mins(1);
/// Work that goes on is thought of again after this part of the time that it has taken.
const PACE: i32 = 10;
/// When everything that a completed experiment does in the cluster is done and seen: after that it asks nothing of it.
const SETTLED: SignedDuration = SignedDuration::from_mins(10);

/// Whether the cluster is left alone.
pub(crate) fn is_quiet(plan: &Plan, progress: &Progress, now: Timestamp) -> bool {
    let since = progress.since.filter(|_| progress.phase == Phase::Completed && plan.deleting.is_none());
    since.is_some_and(|since| now >= since + SETTLED)
}

impl Turn<'_> {
    /// What became of the clean-up request.
    pub(crate) fn look_after(&mut self) {
        let Some(stage) = self.progress.current_stage().filter(|_| self.plan.gitops.is_some()) else {
            return self.progress.waiting = None;
        };
        if stage.stage() != Stage::CleanUp {
            return;
        }
        self.carry_on();
        match self.progress.stages.last().map(StageProgress::state) {
            Some(StageState::Waiting) if self.conflicts_anew() => self.only_after(SOON),
            Some(StageState::Waiting) => {
                self.rest = self.resting();
                self.only_after(Rest::EVERY);
            }
            _ => {
                let spent = self.progress.stages.last().map(|s| self.now.duration_since(s.since()) / PACE);
                self.only_after(spent.map_or(SOON, |spent| spent.clamp(SOON, Rest::EVERY)));
            }
        }
    }

    /// What the next look has to know. Until the cluster is left alone there is more to see than the request; after it no
    /// twin of that comes any more.
    fn resting(&self) -> Option<Rest> {
        let stage = self.progress.current_stage().filter(|_| is_quiet(self.plan, &self.progress, self.now))?;
        let (number, request) = (stage.number()?, request(self.plan, &self.progress, stage)?);
        let seen = match &self.seen.stage {
            Some(Ok(StageSeen::Review(seen))) => Some(seen),
            Some(_) | None => None,
        };
        let mut known = seen.map(Glance::of);
        if let Some(known) = known.as_mut().filter(|_| seen.is_some_and(|seen| is_young(&seen.request, self.now))) {
            // A text that is too young to be replaced is replaced at the next look, unless it tells that already.
            known.text = known.text.take().map(|_| request.report.news.mark());
        }
        Some(Rest { number, branch: request.branch, base_branch: request.base_branch, known })
    }

    pub(super) fn await_merge(&mut self, base: &str) {
        // A forge that does not answer is no news.
        let Some(Ok(StageSeen::Review(seen))) = &self.seen.stage else { return };
        match &seen.request.pull {
            Some(pull) if pull.state == PullState::Open && self.in_conflict(seen) => {
                self.await_renewal(base, seen, pull, None);
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
