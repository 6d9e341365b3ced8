//! What people ask for: pause, resume, abort, promote, retry.
//!
//! Called by [`super::phases`] at the start of a turn. A request is an annotation with a time; handling it is latched
//! in the progress, so that it is handled once, and a GitOps tool that takes the annotation away undoes nothing.

use jiff::Timestamp;

use crate::draft::Turn;
use crate::plan::{Verb, Wish};
use crate::progress::{End, HeldBy, Hold, Phase, Proposal, StageProgress, Standing};
use crate::stage::{Stage, StageState};
use crate::verdict::{Outcome, Reason};

impl Turn<'_> {
    /// Handles what was asked for since the last step, the oldest request first.
    pub(super) fn heed(&mut self) {
        let mut asked: Vec<(Timestamp, Verb, &str)> = vec![];
        for wish in &self.plan.wishes {
            match wish {
                // Any other time is a new request: a clock that was wrong once must not silence later ones.
                Wish::Asked { verb, at, why } if self.progress.handled.get(verb) != Some(at) => {
                    asked.push((*at, *verb, why));
                }
                Wish::Asked { .. } => {}
                Wish::Unreadable(text) => self.unreadable(text),
            }
        }
        asked.sort_unstable();
        for (at, verb, why) in asked {
            self.progress.handled.insert(verb, at);
            match verb {
                Verb::Pause => self.pause(why),
                Verb::Resume => self.resume(why),
                Verb::Abort => self.abort(why),
                Verb::Promote => self.promote(why),
                Verb::Retry => self.retry(why),
            }
        }
    }

    fn unreadable(&mut self, text: &str) {
        if self.progress.unreadable.as_deref() != Some(text) {
            self.progress.unreadable = Some(text.to_owned());
            let what = format!("{text} is ignored: write the time as in `2026-01-31T09:00:00Z`, then a space and why");
            self.warn("RequestUnreadable", &what);
        }
    }

    fn pause(&mut self, why: &str) {
        match (self.progress.phase, &mut self.progress.hold) {
            (Phase::Promoting | Phase::Discarding | Phase::Completed, _) => {
                self.warn("NothingToPause", "the verdict has fallen; `abort` ends the experiment");
            }
            (_, Some(hold)) if hold.by == HeldBy::Pause => why.clone_into(&mut hold.why),
            (_, Some(_)) => {}
            (_, hold @ None) => *hold = Some(Hold { since: self.now, by: HeldBy::Pause, why: why.to_owned() }),
        }
    }

    fn resume(&mut self, why: &str) {
        let (held, overridden) = (self.progress.hold.take(), self.progress.overridden.take());
        if let Some(hold) = &held {
            // Before the first traffic no clock runs that the pause could stop.
            if self.progress.first_traffic.is_some() {
                self.progress.idle += self.now.duration_since(hold.since).as_secs();
            }
            if hold.by == HeldBy::Approval {
                self.progress.approved = Some(self.progress.weight);
            }
        }
        if held.is_none() && overridden.is_none() {
            return self.warn("NothingToResume", "the experiment is not held");
        }
        self.progress.waiting = None;
        self.tell("Resumed", &because("a person lets the experiment go on", why));
    }

    fn abort(&mut self, why: &str) {
        let sentence = because("a person aborted the experiment", why);
        match self.progress.phase {
            Phase::Completed => self.warn("NothingToAbort", "the experiment has ended; revert its request in Git"),
            Phase::Discarding => self.warn("NothingToAbort", "the candidate is being discarded already"),
            Phase::Queued | Phase::Preparing | Phase::Shifting | Phase::Deciding | Phase::Promoting => {
                self.overturn(Reason::Aborted, sentence);
            }
        }
    }

    fn promote(&mut self, why: &str) {
        match self.progress.phase {
            Phase::Shifting | Phase::Deciding if self.progress.refused.is_some() => {
                self.warn("CannotPromote", "the experiment is refused as it is written; ask again when it is mended");
            }
            Phase::Shifting | Phase::Deciding if self.nobody_leads() => {
                self.warn(
                    "CannotPromote",
                    "the candidates' rewards were not compared yet; ask again when `status.race` has values",
                );
            }
            Phase::Shifting | Phase::Deciding if let Some(leader) = self.leader() => {
                let sentence = because("a person asked for the promotion before there was a verdict", why);
                (self.progress.hold, self.progress.overridden) = (None, None);
                self.decide_on(leader, Outcome::Promote, Reason::Requested, sentence);
            }
            Phase::Shifting | Phase::Deciding => {
                self.warn("CannotPromote", "the candidate has no ready replica; ask again when it is ready");
            }
            Phase::Queued | Phase::Preparing => {
                self.warn("CannotPromote", "the candidate has had no traffic yet; ask again when it has");
            }
            Phase::Promoting => self.warn("CannotPromote", "the candidate is being promoted already"),
            Phase::Discarding | Phase::Completed => {
                self.warn("CannotPromote", "the outcome is decided; `retry` proposes a rejected promotion again");
            }
        }
    }

    fn retry(&mut self, why: &str) {
        match self.attempt() {
            Ok(()) => self.tell("Retried", &because("a person asked for a new attempt at the write-back", why)),
            Err(nothing) => self.warn("NothingToRetry", nothing),
        }
    }

    /// A new attempt at what people or a broken remote ended; else why there is nothing to attempt.
    fn attempt(&mut self) -> Result<(), &'static str> {
        if self.plan.is_unresolved() {
            return Err("the experiment cannot be carried out as it is written; correct it, then ask again");
        }
        let decided = self.progress.decision.as_ref().map(|d| d.reason);
        let merged = self.progress.stages.iter().any(|s| s.stage() != Stage::Promote && s.merged().is_some());
        let rejected =
            matches!(decided, Some(Reason::RejectedInReview | Reason::BranchDeleted | Reason::Stale)) && !merged;
        if let Some(verdict) = self.progress.overturned.take_if(|_| rejected) {
            // The verdict stands; traffic stays where it is until the merge.
            self.progress.overturned = self.progress.decision.replace(*verdict).map(Box::new);
            (self.progress.held, self.progress.weight) = (self.progress.phase != Phase::Completed, 0);
            self.enter(Phase::Promoting);
            // Of a clean-up that nothing was written for, nothing has to be taken back.
            let written = self.progress.stages.last().and_then(StageProgress::proposal);
            self.stand(written.map_or(Standing::Done(End::Closed(None)), Standing::Withdrawing));
            return Ok(());
        }
        let last = self.progress.stages.last().map(|s| (s.stage(), s.state(), s.merged().is_some()));
        let Some((stage, state, ended)) = last else { return Err("nothing was written to Git yet") };
        match state {
            StageState::Planning | StageState::Planned | StageState::Pushed => self.begin(stage),
            StageState::Waiting | StageState::Done if stage == Stage::CleanUp && !ended => {
                let promoted = self.progress.decision.as_ref().is_some_and(|d| d.outcome == Outcome::Promote);
                if self.progress.phase == Phase::Completed {
                    // The target was given back: the routes may be another experiment's.
                    self.progress.held = false;
                    self.enter(if promoted { Phase::Promoting } else { Phase::Discarding });
                }
                match self.progress.stages.last().and_then(StageProgress::proposal) {
                    Some(Proposal::Proposed(proposed)) => self.stand(Standing::Checking(proposed)),
                    // There never was a request.
                    Some(Proposal::Written(_)) | None => self.begin(stage),
                }
            }
            _ => return Err("the request waits for its review, or was merged"),
        }
        Ok(())
    }
}

pub(super) fn because(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}
