//! Takes back what is not wanted any more, and gives up what cannot be done.
//!
//! Called by [`super::Turn::write_back`]. A request that was merged while it was being taken back is in Git: what
//! follows is a revert, never a second thought about the look-up.

use crate::draft::Turn;
use crate::effects::Effect;
use crate::progress::{End, Landed, Phase, Proposal, Proposed, StageProgress, Standing};
use crate::stage::{Pull, PullState, Stage, StageSeen};
use crate::verdict::Reason;

/// Why a request is closed for which there is another one.
const ANOTHER: &str = "another request takes its place";

impl Turn<'_> {
    /// A stage could not be carried out for as long as a request may wait.
    pub(super) fn give_up(&mut self, stage: Stage) {
        let why = self.progress.waiting.as_ref().map_or_else(String::new, |w| format!(": {}", w.what));
        if stage == Stage::Promote && self.progress.phase == Phase::Promoting {
            self.overturn(Reason::Stale, format!("the promote request could not be made{why}"));
            return self.leave_stage();
        }
        let done = if stage == Stage::Promote { "closed" } else { "made" };
        let what = format!("the {} request could not be {done}{why}; `retry` tries again", stage.word());
        self.warn("WriteBackGivenUp", &what);
        self.leave_stage();
        if stage == Stage::Revert {
            self.not_reverted();
        }
    }

    /// A promotion that failed in the cluster stays in Git: the candidate serves until people have mended the baseline.
    pub(super) fn not_reverted(&mut self) {
        let failed = self.progress.decision.as_ref().is_some_and(|d| d.reason == Reason::BaselineRolloutFailed);
        let promotion = self.progress.stages.iter().rev().find(|s| s.stage() == Stage::Promote);
        if let Some(head) = promotion.and_then(|s| s.merged().cloned()).filter(|_| failed) {
            let proposal = self.progress.stages.last().and_then(StageProgress::proposal);
            self.stand(Standing::RollingOut(Landed { head, proposal, differently: false }));
        }
    }

    /// Nothing comes of the last stage.
    fn leave_stage(&mut self) {
        let proposal = self.progress.stages.last().and_then(StageProgress::proposal);
        self.stand(Standing::Done(End::Left(proposal)));
    }

    /// The last stage makes room for another one.
    fn make_room(&mut self) {
        let proposal = self.progress.stages.last().and_then(StageProgress::proposal);
        self.stand(Standing::Done(End::Closed(proposal)));
    }

    /// What the last stage has on the remote is to be taken back.
    pub(super) fn withdraw_later(&mut self) {
        if let Some(proposal) = self.progress.stages.last().and_then(StageProgress::proposal) {
            self.stand(Standing::Withdrawing(proposal));
        }
    }

    /// The clean-up stage is done: it was merged, there was nothing to do, or it made room for another request.
    pub(super) fn after_clean_up(&mut self, end: &End) {
        let again = self.progress.phase != Phase::Discarding && !self.promoted();
        match end {
            End::Closed(_) => self.begin(if again { Stage::Promote } else { Stage::CleanUp }),
            End::Landed(_) if again => {
                let discard = self.progress.overturned.take().map(|d| *d);
                self.progress.decision = discard.or_else(|| self.progress.decision.take());
                let what = "the clean-up request was merged: the candidate is gone; start a new experiment";
                self.warn("NothingToRetry", what);
                self.complete();
            }
            End::Landed(_) | End::Left(_) => self.complete(),
        }
    }

    /// The promotion is not wanted any more.
    pub(super) fn take_back(&mut self, standing: &Standing) {
        match standing {
            // Nothing was written.
            Standing::Planning | Standing::HandingOver(None) | Standing::Draining(None) => self.leave_stage(),
            Standing::Planned(_) | Standing::Pushed { .. } => self.withdraw_unseen(),
            Standing::Waiting(_) | Standing::Checking(_) | Standing::Withdrawing(_) => self.withdraw(),
            Standing::Done(_) => self.begin(if self.promoted() { Stage::Revert } else { Stage::CleanUp }),
            // It is on the base branch: a stage of its own takes it back.
            Standing::Merged(_)
            | Standing::RollingOut(_)
            | Standing::Confirming(_)
            | Standing::HandingOver(Some(_))
            | Standing::Draining(Some(_)) => self.begin(Stage::Revert),
        }
    }

    /// A clean-up request makes room for a promotion that was asked for again, or for another one of its kind.
    pub(super) fn withdraw_clean_up(&mut self) {
        if self.progress.phase == Phase::Completed {
            self.renew(Stage::CleanUp);
        } else {
            self.withdraw();
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
            None => self.make_room(),
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
            None => self.leave_stage(),
        }
    }

    /// What was committed to the base branch cannot be withdrawn from it.
    fn landed(&mut self) {
        let Some(last) = self.progress.stages.last() else { return };
        let Some(head) = last.work().map(|work| work.commit.clone()) else { return };
        let landed = Landed { head, proposal: last.proposal(), differently: false };
        self.stand(Standing::Done(End::Landed(landed)));
    }

    /// Notes the end of a request that was being taken back. One that was merged all the same is in Git.
    fn ended(&mut self, pull: &Pull) {
        let proposed = self.progress.stages.last().and_then(|s| s.proposed(pull, self.now));
        let proposal = proposed.map(Proposal::Proposed);
        self.stand(Standing::Done(match &pull.state {
            PullState::Merged(head) => End::Landed(Landed { head: head.clone(), proposal, differently: false }),
            PullState::Closed | PullState::Open => End::Closed(proposal),
        }));
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
                self.make_room();
                self.begin(stage);
            }
        }
    }

    /// A retry of the clean-up: an open request needs none unless it cannot be merged, a closed one is followed by another.
    pub(super) fn check(&mut self, proposed: Proposed) {
        let Some(StageSeen::Review(seen)) = self.stage_seen() else { return };
        match &seen.request.pull {
            Some(pull) if pull.state == PullState::Open && self.in_conflict(seen) => {
                self.withdraw_later();
            }
            Some(pull) if pull.state == PullState::Open => self.stand(Standing::Waiting(proposed)),
            Some(pull) => self.ended(pull),
            None => self.make_room(),
        }
    }
}
