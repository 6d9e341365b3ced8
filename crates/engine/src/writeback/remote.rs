//! Puts a stage's commit and request on the remote, each once, and reads what people make of the request.
//!
//! Called by [`super::Turn::write_back`]. Every write follows a look at the remote in the same turn.

use jiff::{SignedDuration, Timestamp};

use super::SOON;
use crate::draft::Turn;
use crate::effects::Effect;
use crate::fact::CommitId;
use crate::mutants::{Mutant, on};
use crate::plan::Gitops;
use crate::progress::{End, Landed, Phase, Proposal, StageProgress, Standing, Written};
use crate::stage::{Planned, Pull, PullState, Reviewed, Stage, StageSeen, TextSeen};
use crate::verdict::Reason;
use crate::writeback::automerge::for_checks;

/// Bounds of the time between two looks at a request that waits for review: a person who merges at once sees the
/// hand-over begin at once, and one who merges next week costs a request every five minutes.
const POLL: (f64, f64) = (2.0, 300.0);
/// A request is looked at again after this part of the time it has waited already.
const POLL_SHARE: f64 = 0.1;
/// How often an open request that lacks labels or reviewers is to get them: once for a process that died in between, once
/// more for the next one. What the forge does not take by then has a wrong name.
const ANNOTATIONS: u32 = 2;
/// How long a forge says that a request cannot be merged before that is believed: after every merge it finds out anew.
const CONFLICT: SignedDuration = SignedDuration::from_secs(30);
/// How many requests are made for one stage because their base moved under them; then people have to choose what comes
/// first.
const MOST_RENEWALS: u32 = 10;

impl Turn<'_> {
    /// The commit is computed before anything is written.
    pub(super) fn planning(&mut self) {
        let Some(StageSeen::Plan(planned)) = self.stage_seen() else { return };
        match planned {
            Planned::Commit(work) => self.stand(Standing::Planned(Written { work: work.clone(), tidied: 0 })),
            Planned::Nothing(head) => self.land(head.clone(), None),
        }
    }

    /// The commit is decided on: whether it is on the remote is looked up before it is written.
    pub(super) fn planned(&mut self, written: Written) {
        if self.direct() {
            return self.commit_to_base(written);
        }
        let Some(seen) = self.request_seen() else { return };
        if let Some(pull) = &seen.pull {
            return self.found(pull, seen.branch.is_none());
        }
        let Some((request, work)) = self.work() else { return };
        match &seen.branch {
            Some(_) if on(Mutant::DoublePush) => {
                self.effects.push(Effect::Push { request, base: work.0, commit: work.1 });
                self.stand(Standing::Pushed { written, annotated: 0 });
            }
            // Nothing is on the remote yet: a base that moved on costs a new plan, not a conflict.
            None if seen.head.as_ref() != Some(&work.0) => self.stand(Standing::Planning),
            None => self.effects.push(Effect::Push { request, base: work.0, commit: work.1 }),
            Some(head) if *head == work.1 => self.stand(Standing::Pushed { written, annotated: 0 }),
            Some(head) => self.foreign(&request.branch, head),
        }
    }

    /// The commit is on its branch: its request is looked up before it is opened.
    pub(super) fn pushed(&mut self) {
        let Some(StageSeen::Publish { request: seen, lacks }) = self.stage_seen() else { return };
        if let Some(pull) = seen.pull.as_ref().filter(|_| !on(Mutant::RequestCreatedTwice)) {
            if pull.state == PullState::Open && !lacks.is_empty() && self.annotate() {
                return;
            }
            return self.found(pull, seen.branch.is_none());
        }
        let Some((request, work)) = self.work() else { return };
        match &seen.branch {
            None if on(Mutant::ResurrectedBranch) => {
                self.effects.push(Effect::Push { request, base: work.0, commit: work.1 });
            }
            Some(head) if *head == work.1 => self.effects.push(Effect::Open { request, base: work.0 }),
            Some(head) => self.foreign(&request.branch, head),
            None => {
                let what = format!("a person: branch {} was deleted before its request was opened", request.branch);
                self.stuck("BranchDeleted", &what);
            }
        }
    }

    /// Opening a request and giving it labels and reviewers are several calls: who dies in between leaves one without.
    /// Opening it again finishes it. Each try is counted before it is made; false when there were enough.
    fn annotate(&mut self) -> bool {
        let Some((request, (base, _))) = self.work() else { return false };
        if !self.progress.stages.last_mut().is_some_and(|stage| stage.annotate(ANNOTATIONS)) {
            return false;
        }
        self.effects.push(Effect::Open { request, base });
        self.again(SOON);
        true
    }

    /// Without a review: the commit goes on the base branch that it was made on, and on no other.
    fn commit_to_base(&mut self, written: Written) {
        let Some(StageSeen::Base { head, landed }) = self.stage_seen() else { return };
        let Some((request, (base, commit))) = self.work() else { return };
        if *landed {
            self.land(commit, Some(Proposal::Written(written)));
        } else if *head == base {
            self.effects.push(Effect::Commit { request, base, commit });
        } else {
            self.stand(Standing::Planning);
        }
    }

    /// A branch of our name holds a commit that is not ours: hands off.
    fn foreign(&mut self, branch: &str, head: &CommitId) {
        let what = format!(
            "a person: branch {branch} holds {}, which is not this experiment's commit; delete the branch to go on",
            head.0
        );
        self.stuck("BranchEdited", &what);
    }

    /// A request of ours exists: what became of it decides.
    pub(super) fn found(&mut self, pull: &Pull, branch_is_gone: bool) {
        let Some(proposed) = self.progress.stages.last().and_then(|s| s.proposed(pull, self.now)) else { return };
        match &pull.state {
            PullState::Open => self.stand(Standing::Waiting(proposed)),
            PullState::Merged(head) => self.land(head.clone(), Some(Proposal::Proposed(proposed))),
            PullState::Closed => {
                // One that was there when the request had ended is gone because it was deleted then.
                let deleted = branch_is_gone && proposed.written.tidied == 0;
                self.stand(Standing::Done(End::Left(Some(Proposal::Proposed(proposed)))));
                self.rejected(pull.number, deleted);
            }
        }
    }

    /// The base branch is as the last stage wants it: what follows.
    fn land(&mut self, head: CommitId, proposal: Option<Proposal>) {
        let Some(stage) = self.progress.stages.last().map(StageProgress::stage) else { return };
        let written = proposal.is_some();
        let landed = Landed { head, proposal, differently: false };
        self.stand(match stage {
            // Merged while it was being taken back: a revert follows.
            Stage::Promote if self.progress.phase == Phase::Discarding => Standing::Done(End::Landed(landed)),
            // The experiment goes with its merge; its traffic is home.
            Stage::Promote if self.whole() => Standing::Done(End::Landed(landed)),
            Stage::Promote if written => Standing::Merged(landed),
            Stage::Promote | Stage::Revert => Standing::RollingOut(landed),
            Stage::CleanUp => Standing::Done(End::Landed(landed)),
        });
    }

    /// A promote request that was closed unmerged is a "no"; a revert that was, keeps the promotion; a closed clean-up
    /// request changes nothing. Forges close the request of a branch that is deleted.
    fn rejected(&mut self, number: u64, branch_is_gone: bool) {
        match (self.progress.stages.last().map(StageProgress::stage), self.progress.phase) {
            (Some(Stage::Promote), Phase::Promoting) if branch_is_gone => {
                let what = format!("somebody deleted the branch of request #{number}, which is closed unmerged");
                self.overturn(Reason::BranchDeleted, what);
            }
            (Some(Stage::Promote), Phase::Promoting) => {
                self.overturn(Reason::RejectedInReview, format!("reviewers closed request #{number} unmerged"));
            }
            (Some(Stage::Revert), _) => {
                let what = format!("reviewers closed request #{number} unmerged: the promotion stays in Git");
                self.warn("RevertRejected", &what);
                self.not_reverted();
            }
            (Some(Stage::Promote | Stage::CleanUp) | None, _) => {}
        }
    }

    /// Whether the promote request has waited for its review longer than it may.
    fn stale(&self) -> bool {
        let promotion = self.progress.current_stage().filter(|s| s.stage() == Stage::Promote);
        let opened = promotion.and_then(StageProgress::opened);
        let patience = self.plan.gitops.as_ref().map(|g| g.stale_after);
        opened.zip(patience).is_some_and(|(opened, patience)| self.now >= opened + patience)
    }

    /// The request waits for people, who may do anything with it.
    pub(super) fn review(&mut self, gitops: &Gitops, since: Timestamp) {
        let Some(seen) = self.stage_seen() else {
            // Nobody can say what became of it: it waits no longer for that than for its review.
            if self.stale() {
                let why = self.progress.waiting.as_ref().map_or_else(String::new, |w| format!(": {}", w.what));
                self.overturn(Reason::Stale, format!("the promote request could not be looked at in time{why}"));
            }
            return;
        };
        let StageSeen::Review(seen) = seen else { return };
        let Some(pull) = &seen.request.pull else { return };
        let until = since + gitops.stale_after;
        if on(Mutant::PushAfterMerge)
            && let (None, PullState::Merged(_), Some((request, work))) =
                (&seen.request.branch, &pull.state, self.work())
        {
            self.effects.push(Effect::Push { request, base: work.0, commit: work.1 });
        }
        match &pull.state {
            PullState::Merged(_) => return self.found(pull, false),
            _ if self.stale() => {
                return self.overturn(Reason::Stale, format!("request #{} was not reviewed in time", pull.number));
            }
            // A forge closes the requests into a branch that goes: that is nobody's "no".
            _ if seen.request.head.is_none() => {
                let what = format!(
                    "branch {} to exist again: request #{} cannot be merged without it; rename it back, or name its successor in the Repository's spec.branch and retry",
                    gitops.base_branch, pull.number
                );
                self.wait("BaseBranchMissing", &what, Some(until));
            }
            PullState::Closed => return self.found(pull, seen.request.branch.is_none()),
            PullState::Open if self.in_conflict(seen) => {
                return self.await_renewal(&gitops.base_branch, seen, pull, Some(until));
            }
            PullState::Open => {
                let merging = self.merge(pull);
                self.await_review(gitops, pull, merging, until);
            }
        }
        self.poll(since);
    }

    /// Looks at an open request again: soon, then ever less often.
    pub(super) fn poll(&mut self, since: Timestamp) {
        let age = self.now.duration_since(since).as_secs_f64();
        self.again(SignedDuration::try_from_secs_f64((age * POLL_SHARE).clamp(POLL.0, POLL.1)).unwrap_or(SOON));
    }

    /// Whether others changed the base branch so that the request cannot be merged into it. Without such a change it can:
    /// a forge that is still finding out says the same as one that found a conflict, and after every merge it finds out
    /// for all requests that are open.
    pub(super) fn in_conflict(&self, seen: &Reviewed) -> bool {
        let Some(conflict) = &seen.conflict else { return false };
        let work = self.progress.current_stage().and_then(StageProgress::work);
        let moved = seen.request.head.as_ref() != work.map(|w| &w.base);
        let again = match &conflict.again {
            Some(Planned::Commit(again)) => Some(&again.after),
            Some(Planned::Nothing(_)) | None => None,
        };
        moved && (again.is_none() || again != work.map(|w| &w.after))
    }

    /// Edits are recomputed on the new base, never rebased: what was proposed is closed, and proposed anew. What cannot be
    /// proposed any more, or was often enough, is left to people with the request that they know.
    pub(super) fn await_renewal(&mut self, base: &str, seen: &Reviewed, pull: &Pull, until: Option<Timestamp>) {
        let attempt = self.progress.current_stage().map_or(0, StageProgress::attempt);
        let since = self.progress.waiting.as_ref().filter(|w| w.reason == "BaseConflict").map(|w| w.since);
        let lasts = since.is_some_and(|since| self.now >= since + CONFLICT);
        let possible = seen.conflict.as_ref().is_some_and(|conflict| conflict.again.is_some());
        if lasts && attempt <= MOST_RENEWALS && possible {
            let what = format!("request #{} conflicts with {base}; another one is made", pull.number);
            self.tell("BaseConflict", &what);
            return self.withdraw_later();
        }
        let what = format!(
            "request #{} to be mergeable: others changed the same lines on {base}; resolve that if it stays: {}",
            pull.number, pull.url
        );
        self.wait("BaseConflict", &what, until);
        self.again(CONFLICT);
    }

    fn await_review(&mut self, gitops: &Gitops, pull: &Pull, merging: bool, until: Timestamp) {
        let ours = self.progress.current_stage().and_then(StageProgress::work).map(|w| &w.commit);
        let edited = pull.head.is_some() && pull.head.as_ref() != ours;
        let overdue = self.progress.phase == Phase::Discarding && self.now >= until;
        let (number, url) = (pull.number, &pull.url);
        let (reason, what) = match (overdue, edited) {
            (true, _) => ("ReviewOverdue", format!("request #{number} to be merged: {url}")),
            // What others pushed is theirs: nothing is pushed over it, and its merge is what is rolled out.
            (false, true) => (
                "RequestEdited",
                format!(
                    "request #{number} to be merged, in which others have commits of their own; what is merged into {} is what is rolled out: {url}",
                    gitops.base_branch
                ),
            ),
            (false, false) if merging => ("WaitingForChecks", for_checks(pull)),
            (false, false) => ("WaitingForReview", format!("request #{number} to be merged: {url}")),
        };
        let text = match &pull.text {
            Some(TextSeen::Edited) => "; a person changed its text, which stays as it is",
            Some(TextSeen::Ours { .. }) | None => "",
        };
        self.wait(reason, &format!("{what}{text}"), Some(until));
    }
}
