//! The write-back's state machine: from a verdict to a repository, a cluster and a traffic split that agree.
//!
//! Promote: one request changes the baseline's manifest; merged → rolled out → all traffic to the baseline → drained
//! → a second request removes the experiment. Discard: all traffic to the baseline at once, then the second request
//! alone. Every remote write is preceded by a committed record of it ([`StageState::Planned`],
//! [`StageState::Pushed`]) from which it is recognised after a crash; nothing is pushed once a request was merged or
//! closed.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::effects::Effect;
use super::observation::{CommitId, Look, Planned, Pull, PullState, Request, StageQuestion, StageSeen};
use super::phases::{Turn, routes_are_gone};
use super::plan::{Gitops, Plan};
use super::progress::{Outcome, Phase, Progress, Reason, Stage, StageProgress, StageState};
use super::report::Report;

/// How often a rollout or a route is looked at when no watch announces it.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// How long a merged manifest may take to be synced and rolled out before the status calls for a person: a poll of
/// some minutes, large images, many replicas.
const ROLLOUT_DEADLINE: SignedDuration = SignedDuration::from_mins(30);
/// How long a promotion without a repository waits to see the split that was proven: twice as long as it takes to put
/// contested weights right.
const FINAL_SPLIT: SignedDuration = SignedDuration::from_mins(2);
/// Bounds of the time between two looks at a request that waits for review: a person who merges at once sees the
/// hand-over begin at once, and one who merges next week costs a request every five minutes.
const POLL: (f64, f64) = (2.0, 300.0);
/// A request is looked at again after this part of the time it has waited already.
const POLL_SHARE: f64 = 0.1;
/// A branch name is no longer than this, so that every forge shows it whole.
const LONGEST_BRANCH: usize = 100;

/// The stage that work is being done on: the last one that was started and is not done.
fn current(progress: &Progress) -> Option<&StageProgress> {
    progress.stages.last().filter(|s| s.state != StageState::Done)
}

/// What the current stage has to know.
pub(super) fn question(plan: &Plan, progress: &Progress) -> Option<StageQuestion> {
    if !matches!(progress.phase, Phase::Promoting | Phase::Discarding) {
        return None;
    }
    let stage = current(progress)?;
    let leaving = plan.deleting.is_some();
    let look = match stage.state {
        // An experiment that is being deleted only has to know whether its promotion could still be merged.
        _ if leaving && stage.stage != Stage::Promote => return None,
        StageState::Planning if leaving => return None,
        // Withdrawn before anything was written.
        StageState::Planning if stage.stage == Stage::Promote && progress.phase == Phase::Discarding => return None,
        StageState::Planning => Look::Plan,
        StageState::Planned | StageState::Pushed => Look::Publish,
        StageState::Waiting | StageState::Checking | StageState::Withdrawing => Look::Review(stage.number?),
        StageState::RollingOut | StageState::HandingOver | StageState::Draining | StageState::Done => return None,
    };
    Some(StageQuestion { request: request(plan, progress, stage)?, look })
}

/// The commit whose rollout is awaited.
pub(super) fn rollout(progress: &Progress) -> Option<CommitId> {
    let stage = current(progress)?;
    (stage.state == StageState::RollingOut).then(|| stage.merged.clone()).flatten()
}

/// The request of a stage, whole: the same progress always gives the same request.
pub fn request(plan: &Plan, progress: &Progress, stage: &StageProgress) -> Option<Request> {
    let (gitops, decision) = (plan.gitops.as_ref()?, progress.decision.as_ref()?);
    let (attempt, stage) = (stage.attempt, stage.stage);
    // A promote request that is taken back is still the same request.
    let outcome = if stage == Stage::Promote { Outcome::Promote } else { decision.outcome };
    let key = key(&plan.identity.uid, outcome, stage, attempt);
    let mut branch = format!("iter8/{}-{}", plan.identity.namespace, plan.identity.name);
    let tail = format!("-{}-{key}", stage.word());
    branch.truncate(LONGEST_BRANCH - tail.len());
    branch.push_str(&tail);
    let blobs = progress.preflight.as_ref().map(|p| p.blobs.clone()).unwrap_or_default();
    let report = Report::new(plan, progress, decision);
    Some(Request {
        stage,
        key,
        branch,
        base_branch: gitops.base_branch.clone(),
        decided_at: decision.at,
        blobs,
        report,
    })
}

/// Identity of a request: ten base-32 digits of a hash of what makes it different from every other.
fn key(uid: &str, outcome: Outcome, stage: Stage, attempt: u32) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(format!("{uid}|{}|{}|{attempt}", outcome.as_str(), stage.as_str()));
    hash.iter().take(10).filter_map(|b| DIGITS.get(usize::from(b & 31))).map(|&d| char::from(d)).collect()
}

impl Turn<'_> {
    /// Carries the verdict into Git.
    pub(super) fn write_back(&mut self) {
        let Some(gitops) = &self.plan.gitops else { return self.without_git() };
        if self.progress.preflight.is_none() {
            // Discarded before the rehearsal: it is made up for, or there is nothing that could be written safely.
            match &self.seen.preflight {
                Some(Ok(preflight)) => self.progress.preflight = Some(preflight.clone()),
                Some(Err(_)) | None => return self.complete(),
            }
        }
        let discarding = self.progress.phase == Phase::Discarding;
        let Some(stage) = self.progress.stages.last().map(|s| (s.stage, s.state, s.since)) else {
            return self.begin(if discarding { Stage::CleanUp } else { Stage::Promote });
        };
        if self.give_up_at().is_some_and(|t| self.now >= t) {
            return self.give_up(stage.0);
        }
        match stage {
            (Stage::Promote, StageState::Planning, _) if discarding => self.change(StageState::Done, |_| {}),
            (Stage::Promote, StageState::Planned | StageState::Pushed, _) if discarding => self.withdraw_unseen(),
            (Stage::Promote, StageState::Waiting, _) if discarding => self.withdraw(),
            (Stage::Promote, StageState::Done, _) if discarding && self.promoted() => self.begin(Stage::Revert),
            (_, StageState::Planning, _) => self.planning(),
            (_, StageState::Planned, _) => self.planned(),
            (_, StageState::Pushed, _) => self.pushed(),
            (_, StageState::Checking, _) => self.check(),
            (_, StageState::Withdrawing, _) => self.withdraw(),
            (Stage::CleanUp, StageState::Waiting, _) => self.complete(),
            (Stage::Promote | Stage::Revert, StageState::Waiting, since) => self.review(gitops, since),
            (_, StageState::RollingOut, _) => self.rolling_out(),
            (_, StageState::HandingOver, since) => self.hand_over(since),
            (_, StageState::Draining, since) => self.drain(gitops, since),
            (Stage::Promote | Stage::Revert, StageState::Done, _) => self.begin(Stage::CleanUp),
            (Stage::CleanUp, StageState::Done, _) => self.after_clean_up(discarding),
        }
    }

    /// Whether a promotion of this experiment is on the base branch.
    pub(super) fn promoted(&self) -> bool {
        self.progress.stages.iter().any(|s| s.stage == Stage::Promote && s.merged.is_some())
    }

    /// Whether traffic belongs to the baseline while the candidate is being promoted.
    pub(super) fn handing_over(&self) -> bool {
        self.progress.stages.last().is_some_and(|s| {
            s.stage == Stage::CleanUp && s.state != StageState::Withdrawing
                || matches!(s.state, StageState::HandingOver | StageState::Draining | StageState::Done)
        })
    }

    /// The promote request that could still be merged.
    pub(super) fn open_request(&self) -> Option<u64> {
        let undecided = matches!(self.progress.phase, Phase::Promoting | Phase::Discarding);
        let stage = current(&self.progress).filter(|s| s.stage == Stage::Promote && s.merged.is_none() && undecided)?;
        match &self.seen.stage {
            Some(Ok(seen)) => seen.pull.as_ref().filter(|p| p.state == PullState::Open).map(|p| p.number),
            // What is not known is taken to be open, until the deadline of the deletion.
            Some(Err(_)) | None => stage.number,
        }
    }

    /// When a stage that does not get on is given up. A rollout has its own deadline, a person's review too.
    pub(super) fn give_up_at(&self) -> Option<Timestamp> {
        let stage = current(&self.progress)?;
        let patience = self.plan.gitops.as_ref()?.stale_after;
        let stuck = matches!(
            stage.state,
            StageState::Planning
                | StageState::Planned
                | StageState::Pushed
                | StageState::Checking
                | StageState::Withdrawing
        );
        // A promote request that is to be closed, since there was reason to.
        let decided = self.progress.decision.as_ref().map(|d| d.at);
        let unwanted = stage.stage == Stage::Promote && stage.state == StageState::Waiting;
        let unwanted = decided.filter(|_| unwanted && self.progress.phase == Phase::Discarding);
        stuck.then_some(stage.since).or(unwanted).map(|since| since + patience)
    }

    /// A stage could not be carried out for as long as a request may wait.
    fn give_up(&mut self, stage: Stage) {
        let why = self.progress.waiting.as_ref().map_or_else(String::new, |w| format!(": {}", w.what));
        if stage == Stage::Promote && self.progress.phase == Phase::Promoting {
            self.overturn(Reason::Stale, format!("the promote request could not be made{why}"));
            return self.change(StageState::Done, |_| {});
        }
        let done = if stage == Stage::Promote { "closed" } else { "made" };
        let what = format!("the {} request could not be {done}{why}; `retry` tries again", stage.word());
        self.warn("WriteBackGivenUp", &what);
        self.change(StageState::Done, |_| {});
        self.complete();
    }

    /// The clean-up stage is done: it was merged, there was nothing to do, or it made room for another request.
    fn after_clean_up(&mut self, discarding: bool) {
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
    fn withdraw(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        match &seen.pull {
            Some(pull) if pull.state == PullState::Open => self.effects.push(Effect::Close(pull.number)),
            Some(pull) => self.ended(pull),
            // A forge that has forgotten the request has nothing that could be merged.
            None => self.change(StageState::Done, |s| s.closed = true),
        }
    }

    /// Nothing may have come of a push or a request that was wanted: only what is there has to go.
    fn withdraw_unseen(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        match &seen.pull {
            Some(pull) if pull.state == PullState::Open => self.found(pull),
            Some(pull) => self.ended(pull),
            None => self.change(StageState::Done, |_| {}),
        }
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

    /// A retry of the clean-up: an open request needs none, a closed one is followed by another.
    fn check(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        match &seen.pull {
            Some(pull) if pull.state == PullState::Open => self.change(StageState::Waiting, |_| {}),
            Some(pull) => self.ended(pull),
            None => self.change(StageState::Done, |s| s.closed = true),
        }
    }

    /// No repository: a discard ends when traffic is home; a promotion stays with the split that was proven.
    fn without_git(&mut self) {
        if self.progress.phase == Phase::Discarding {
            return self.complete();
        }
        // Nobody puts the weights right afterwards, so they are seen first; somebody who contests them ends nothing.
        let late = self.progress.since.is_some_and(|s| self.now >= s + FINAL_SPLIT);
        if self.traffic_is_final() || late {
            self.enter(Phase::Completed);
        } else {
            self.again(SOON);
        }
    }

    /// The last request is open or none is needed; done once traffic is seen to be final.
    fn complete(&mut self) {
        match &self.seen.routes {
            // Another experiment's weights are not ours to wait for.
            _ if !self.progress.held => self.enter(Phase::Completed),
            Some(Ok(routes)) if routes.candidate == 0 => {
                self.traffic_is_final();
                self.enter(Phase::Completed);
            }
            _ => self.again(SOON),
        }
    }

    pub(super) fn begin(&mut self, stage: Stage) {
        self.progress.waiting = None;
        let earlier = self.progress.stages.iter().filter(|s| s.stage == stage).count();
        self.progress.stages.push(StageProgress {
            stage,
            attempt: u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1),
            state: StageState::Planning,
            since: self.now,
            opened: None,
            work: None,
            number: None,
            url: None,
            merged: None,
            closed: false,
        });
    }

    fn planning(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        match &seen.planned {
            Some(Planned::Commit(work)) => {
                let work = work.clone();
                self.change(StageState::Planned, |s| s.work = Some(work));
            }
            Some(Planned::Nothing(head)) => {
                let head = head.clone();
                self.change(self.after_merge(), |s| s.merged = Some(head));
            }
            None => {}
        }
    }

    fn planned(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        if let Some(pull) = &seen.pull {
            return self.found(pull);
        }
        let Some((request, work)) = self.work() else { return };
        match &seen.branch {
            // Nothing is on the remote yet: a base that moved on costs a new plan, not a conflict.
            None if seen.head.as_ref() != Some(&work.0) => self.change(StageState::Planning, |s| s.work = None),
            None => self.effects.push(Effect::Push { request, base: work.0, commit: work.1 }),
            Some(head) if *head == work.1 => self.change(StageState::Pushed, |_| {}),
            Some(head) => self.foreign(&request.branch, head),
        }
    }

    fn pushed(&mut self) {
        let Some(seen) = self.stage_seen() else { return };
        if let Some(pull) = &seen.pull {
            return self.found(pull);
        }
        let Some((request, work)) = self.work() else { return };
        match &seen.branch {
            Some(head) if *head == work.1 => self.effects.push(Effect::Open { request, base: work.0 }),
            Some(head) => self.foreign(&request.branch, head),
            None => {
                let what = format!("a person: branch {} was deleted before its request was opened", request.branch);
                self.stuck("BranchDeleted", &what);
            }
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
    fn found(&mut self, pull: &Pull) {
        let (number, url) = (pull.number, pull.url.clone());
        let note = move |s: &mut StageProgress| {
            s.number = Some(number);
            s.url = Some(url);
        };
        match &pull.state {
            PullState::Open => {
                let now = self.now;
                self.change(StageState::Waiting, |s| {
                    note(s);
                    s.opened = Some(now);
                });
            }
            PullState::Merged(head) => {
                let head = head.clone();
                self.change(self.after_merge(), |s| {
                    note(s);
                    s.merged = Some(head);
                });
            }
            PullState::Closed => {
                self.change(StageState::Done, note);
                self.rejected(pull.number);
            }
        }
    }

    /// What follows when the base branch is as the current stage wants it.
    fn after_merge(&self) -> StageState {
        match self.progress.stages.last().map(|s| s.stage) {
            // Merged while it was being taken back: a revert follows.
            Some(Stage::Promote) if self.progress.phase == Phase::Discarding => StageState::Done,
            Some(Stage::Promote | Stage::Revert) => StageState::RollingOut,
            Some(Stage::CleanUp) | None => StageState::Done,
        }
    }

    /// A promote request that was closed unmerged is a "no"; a revert that was, keeps the promotion; a closed clean-up
    /// request changes nothing.
    fn rejected(&mut self, number: u64) {
        match (self.progress.stages.last().map(|s| s.stage), self.progress.phase) {
            (Some(Stage::Promote), Phase::Promoting) => {
                self.overturn(Reason::RejectedInReview, format!("reviewers closed request #{number} unmerged"));
            }
            (Some(Stage::Revert), _) => {
                let what = format!("reviewers closed request #{number} unmerged: the promotion stays in Git");
                self.warn("RevertRejected", &what);
            }
            (Some(Stage::Promote | Stage::CleanUp) | None, _) => {}
        }
    }

    /// Whether the promote request has waited for its review longer than it may.
    fn stale(&self) -> bool {
        let opened = current(&self.progress).filter(|s| s.stage == Stage::Promote).and_then(|s| s.opened);
        let patience = self.plan.gitops.as_ref().map(|g| g.stale_after);
        opened.zip(patience).is_some_and(|(opened, patience)| self.now >= opened + patience)
    }

    fn review(&mut self, gitops: &Gitops, since: Timestamp) {
        let Some(seen) = self.stage_seen() else {
            // Nobody can say what became of it: it waits no longer for that than for its review.
            if self.stale() {
                let why = self.progress.waiting.as_ref().map_or_else(String::new, |w| format!(": {}", w.what));
                self.overturn(Reason::Stale, format!("the promote request could not be looked at in time{why}"));
            }
            return;
        };
        match &seen.pull {
            Some(pull) if pull.state != PullState::Open => self.found(pull),
            Some(pull) if self.stale() => {
                self.overturn(Reason::Stale, format!("request #{} was not reviewed in time", pull.number));
            }
            Some(pull) => {
                let what = format!("request #{} to be merged: {}", pull.number, pull.url);
                let overdue = self.progress.phase == Phase::Discarding && self.now >= since + gitops.stale_after;
                let reason = if overdue { "ReviewOverdue" } else { "WaitingForReview" };
                self.wait(reason, &what, Some(since + gitops.stale_after));
                let age = self.now.duration_since(since).as_secs_f64();
                self.again(SignedDuration::try_from_secs_f64((age * POLL_SHARE).clamp(POLL.0, POLL.1)).unwrap_or(SOON));
            }
            None => {}
        }
    }

    fn rolling_out(&mut self) {
        match &self.seen.rollout {
            Some(Ok(rollout)) if rollout.applied && rollout.complete => self.change(StageState::HandingOver, |_| {}),
            Some(Ok(rollout)) => {
                let until = self.progress.stages.last().map(|s| s.since + ROLLOUT_DEADLINE);
                // Past the deadline a person is needed; the candidate keeps serving, whatever the baseline does.
                let reason = match (rollout.applied, until.is_some_and(|u| self.now >= u)) {
                    (true, false) => "WaitingForRollout",
                    (false, false) => "WaitingForSync",
                    (true, true) => "BaselineRolloutFailed",
                    (false, true) => "SyncOverdue",
                };
                // The detail counts replicas; it is looked up, not stored, so that a rollout writes the status twice at most.
                let what = if rollout.applied {
                    "the baseline's rollout to complete"
                } else {
                    "the merged manifest to be synced to the cluster"
                };
                self.wait(reason, what, until);
                self.again(SOON);
            }
            Some(Err(u)) => self.missing(u),
            None => {}
        }
    }

    fn hand_over(&mut self, since: Timestamp) {
        let until = since + ROLLOUT_DEADLINE;
        match &self.seen.routes {
            _ if !self.progress.held => self.change(StageState::Draining, |_| {}),
            Some(Ok(routes)) if routes.candidate == 0 => self.change(StageState::Draining, |_| {}),
            // Routes that stay away that long carry no traffic to the candidate either.
            Some(Err(u)) if routes_are_gone(u.reason) && self.now >= until => self.change(StageState::Draining, |_| {}),
            _ => self.wait("HandingOver", "all traffic to reach the baseline", Some(until)),
        }
    }

    fn drain(&mut self, gitops: &Gitops, since: Timestamp) {
        let until = since + gitops.drain;
        if self.now >= until {
            self.change(StageState::Done, |_| {});
        } else {
            self.wait("Draining", "the last requests to leave the candidate", Some(until));
            self.at(until);
        }
    }

    /// What the remote says, or a note of why it is unknown.
    fn stage_seen(&mut self) -> Option<StageSeen> {
        match &self.seen.stage {
            Some(Ok(seen)) => Some(seen.clone()),
            Some(Err(u)) => {
                self.missing(u);
                None
            }
            None => None,
        }
    }

    /// The current stage's request and its base and commit.
    fn work(&self) -> Option<(Request, (CommitId, CommitId))> {
        let stage = self.progress.stages.last()?;
        let work = stage.work.as_ref()?;
        Some((request(self.plan, &self.progress, stage)?, (work.base.clone(), work.commit.clone())))
    }

    /// Moves the current stage to another state.
    pub(super) fn change(&mut self, state: StageState, note: impl FnOnce(&mut StageProgress)) {
        let now = self.now;
        if let Some(stage) = self.progress.stages.last_mut() {
            note(stage);
            stage.state = state;
            stage.since = now;
            self.progress.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_again_and_another_for_everything_else() {
        let first = key("uid", Outcome::Promote, Stage::Promote, 1);
        assert_eq!(first, key("uid", Outcome::Promote, Stage::Promote, 1));
        assert!(first.len() == 10 && first.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{first}");
        let others = [
            key("uid2", Outcome::Promote, Stage::Promote, 1),
            key("uid", Outcome::Discard, Stage::Promote, 1),
            key("uid", Outcome::Promote, Stage::CleanUp, 1),
            key("uid", Outcome::Promote, Stage::Promote, 2),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?}");
    }
}
