//! Takes back what is not wanted any more, and gives up what cannot be done.
//!
//! Called by [`super::Turn::write_back`]. A request that was merged while it was being taken back is in Git: what
//! follows is a revert, never a second thought about the look-up.

use crate::draft::Turn;
use crate::effects::Effect;
use crate::progress::Phase;
use crate::stage::{Pull, PullState, Stage, StageSeen, StageState};
use crate::verdict::Reason;

/// Why a request is closed for which there is another one.
const ANOTHER: &str = "another request takes its place";

impl Turn<'_> {
    /// A stage could not be carried out for as long as a request may wait.
    pub(super) fn give_up(&mut self, stage: Stage) {
        let why = self.progress.waiting.as_ref().map_or_else(String::new, |w| format!(": {}", w.what));
        if stage == Stage::Promote && self.progress.phase == Phase::Promoting {
            self.overturn(Reason::Stale, format!("the promote request could not be made{why}"));
            return self.change(StageState::Done, |_| {});
        }
        let done = if stage == Stage::Promote { "closed" } else { "made" };
        let what = format!("the {} request could not be {done}{why}; `retry` tries again", stage.word());
        self.warn("WriteBackGivenUp", &what);
        self.change(StageState::Done, |_| {});
        if stage == Stage::Revert {
            self.not_reverted();
        }
    }

    /// A promotion that failed in the cluster stays in Git: the candidate serves until people have mended the baseline.
    pub(super) fn not_reverted(&mut self) {
        let failed = self.progress.decision.as_ref().is_some_and(|d| d.reason == Reason::BaselineRolloutFailed);
        let promotion = self.progress.stages.iter().rev().find(|s| s.stage == Stage::Promote);
        if let Some(head) = promotion.and_then(|s| s.merged.clone()).filter(|_| failed) {
            self.change(StageState::RollingOut, |s| s.merged = Some(head));
        }
    }

    /// The clean-up stage is done: it was merged, there was nothing to do, or it made room for another request.
    pub(super) fn after_clean_up(&mut self, discarding: bool) {
        let Some(stage) = self.progress.stages.last() else { return };
        let again = !discarding && !self.promoted();
        match (stage.closed, stage.merged.is_some()) {
            (true, _) => self.begin(if again { Stage::Promote } else { Stage::CleanUp }),
            (false, true) if again => {
                let discard = self.progress.overturned.take().map(|d| *d);
                self.progress.decision = discard.or_else(|| self.progress.decision.take());
                let what = "the clean-up request was merged: the candidate is gone; start a new experiment";
                self.warn("NothingToRetry", what);
                self.complete();
            }
            (false, _) => self.complete(),
        }
    }

    /// A request that is not wanted any more is closed; the next turn sees what became of it.
    pub(super) fn withdraw(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        if matches!(seen, StageSeen::Base { landed: true, .. }) {
            return self.landed();
        }
        match seen.request().and_then(|request| request.pull.as_ref()) {
            Some(pull) if pull.state == PullState::Open => {
                let (number, decision) = (pull.number, self.progress.decision.as_ref());
                let unwanted = decision.filter(|_| self.progress.phase == Phase::Discarding);
                let why = unwanted.map_or_else(|| ANOTHER.to_owned(), |d| d.sentence.clone());
                self.effects.push(Effect::Close { number, why });
            }
            Some(pull) => self.ended(pull),
            // A forge that has forgotten the request has nothing that could be merged.
            None => self.change(StageState::Done, |s| s.closed = true),
        }
    }

    /// Nothing may have come of a push or a request that was wanted: only what is there has to go.
    pub(super) fn withdraw_unseen(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        if matches!(seen, StageSeen::Base { landed: true, .. }) {
            return self.landed();
        }
        match seen.request().and_then(|request| request.pull.as_ref()) {
            Some(pull) if pull.state == PullState::Open => self.found(pull, false),
            Some(pull) => self.ended(pull),
            None if self.drop_branch() => {}
            None => self.change(StageState::Done, |_| {}),
        }
    }

    /// What was committed to the base branch cannot be withdrawn from it.
    fn landed(&mut self) {
        self.change(StageState::Done, |s| s.merged = s.work.as_ref().map(|w| w.commit.clone()));
    }

    /// Notes the end of a request that was being taken back. One that was merged all the same is in Git.
    fn ended(&mut self, pull: &Pull) {
        let pull = pull.clone();
        self.change(StageState::Done, |s| {
            (s.number, s.url) = (Some(pull.number), Some(pull.url));
            match pull.state {
                PullState::Merged(head) => s.merged = Some(head),
                PullState::Closed | PullState::Open => s.closed = true,
            }
        });
    }

    /// A request that cannot be merged any more gives way to another one, made on the base branch as it is then. One that
    /// was merged all the same goes on.
    pub(super) fn renew(&mut self, stage: Stage) {
        let Some(seen) = self.request_seen() else { return };
        match &seen.pull {
            Some(pull) if pull.state == PullState::Open => {
                self.effects.push(Effect::Close { number: pull.number, why: ANOTHER.into() });
            }
            Some(pull) if pull.state != PullState::Closed => self.found(pull, false),
            Some(_) | None => {
                self.change(StageState::Done, |s| s.closed = true);
                self.begin(stage);
            }
        }
    }

    /// A retry of the clean-up: an open request needs none unless it cannot be merged, a closed one is followed by another.
    pub(super) fn check(&mut self) {
        let Some(StageSeen::Review(seen)) = self.stage_seen() else { return };
        match &seen.request.pull {
            Some(pull) if pull.state == PullState::Open && self.in_conflict(seen) => {
                self.change(StageState::Withdrawing, |_| {});
            }
            Some(pull) if pull.state == PullState::Open => self.change(StageState::Waiting, |_| {}),
            Some(pull) => self.ended(pull),
            None => self.change(StageState::Done, |s| s.closed = true),
        }
    }
}
