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
use super::observation::{CommitId, Look, Planned, Pull, PullState, Request, StageQuestion, StageSeen, Unavailable};
use super::phases::Turn;
use super::plan::{Gitops, Plan};
use super::progress::{Outcome, Phase, Progress, Reason, Stage, StageProgress, StageState};
use super::report::Report;

/// How often a rollout or a route is looked at when no watch announces it.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// How long a merged manifest may take to be synced and rolled out before the status calls for a person: a poll of
/// some minutes, large images, many replicas.
const ROLLOUT_DEADLINE: SignedDuration = SignedDuration::from_mins(30);
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
    if plan.deleting.is_some() || !matches!(progress.phase, Phase::Promoting | Phase::Discarding) {
        return None;
    }
    let stage = current(progress)?;
    let look = match stage.state {
        StageState::Planning => Look::Plan,
        StageState::Planned | StageState::Pushed => Look::Publish,
        StageState::Waiting => Look::Review(stage.number?),
        StageState::RollingOut | StageState::HandingOver | StageState::Draining | StageState::Done => return None,
    };
    Some(StageQuestion { request: request(plan, progress, stage.stage)?, look })
}

/// The commit whose rollout is awaited.
pub(super) fn rollout(progress: &Progress) -> Option<CommitId> {
    let stage = current(progress)?;
    (stage.state == StageState::RollingOut).then(|| stage.merged.clone()).flatten()
}

/// The request of a stage, whole: the same progress always gives the same request.
pub fn request(plan: &Plan, progress: &Progress, stage: Stage) -> Option<Request> {
    let (gitops, decision) = (plan.gitops.as_ref()?, progress.decision.as_ref()?);
    let key = key(&plan.identity.uid, decision.outcome, stage);
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
fn key(uid: &str, outcome: Outcome, stage: Stage) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(format!("{uid}|{}|{}|1", outcome.as_str(), stage.as_str()));
    hash.iter().take(10).filter_map(|b| DIGITS.get(usize::from(b & 31))).map(|&d| char::from(d)).collect()
}

impl Turn<'_> {
    /// Carries the verdict into Git.
    pub(super) fn write_back(&mut self) {
        let Some(gitops) = &self.plan.gitops else { return self.without_git() };
        if self.progress.preflight.is_none() {
            // Discarded before the rehearsal succeeded: there is nothing that could be written safely.
            return self.complete();
        }
        let Some(stage) = self.progress.stages.last().map(|s| (s.stage, s.state, s.since)) else {
            return self.begin(if self.progress.phase == Phase::Promoting { Stage::Promote } else { Stage::CleanUp });
        };
        match stage {
            (_, StageState::Planning, _) => self.planning(),
            (_, StageState::Planned, _) => self.planned(),
            (_, StageState::Pushed, _) => self.pushed(),
            (Stage::CleanUp, StageState::Waiting, _) => self.complete(),
            (Stage::Promote, StageState::Waiting, since) => self.review(gitops, since),
            (_, StageState::RollingOut, _) => self.rolling_out(),
            (_, StageState::HandingOver, _) => self.hand_over(),
            (_, StageState::Draining, since) => self.drain(gitops, since),
            (Stage::Promote, StageState::Done, _) => self.begin(Stage::CleanUp),
            (Stage::CleanUp, StageState::Done, _) => self.complete(),
        }
    }

    /// Whether traffic belongs to the baseline while the candidate is being promoted.
    pub(super) fn handing_over(&self) -> bool {
        self.progress.stages.iter().any(|s| {
            s.stage == Stage::CleanUp
                || matches!(s.state, StageState::HandingOver | StageState::Draining | StageState::Done)
        })
    }

    /// No repository: a discard ends when traffic is home; a promotion stays with the split that was proven.
    fn without_git(&mut self) {
        if self.progress.phase == Phase::Promoting {
            self.enter(Phase::Completed);
        } else {
            self.complete();
        }
    }

    /// The last request is open or none is needed; done once traffic is seen to be final.
    fn complete(&mut self) {
        match &self.seen.routes {
            Some(Ok(routes)) if routes.candidate == 0 => self.enter(Phase::Completed),
            _ => self.again(SOON),
        }
    }

    fn begin(&mut self, stage: Stage) {
        self.progress.waiting = None;
        self.progress.stages.push(StageProgress {
            stage,
            state: StageState::Planning,
            since: self.now,
            opened: None,
            work: None,
            number: None,
            url: None,
            merged: None,
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
                self.missing(&Unavailable::new("BranchDeleted", what));
            }
        }
    }

    /// A branch of our name holds a commit that is not ours: hands off.
    fn foreign(&mut self, branch: &str, head: &CommitId) {
        let what = format!(
            "a person: branch {branch} holds {}, which is not this experiment's commit; delete the branch to go on",
            head.0
        );
        self.missing(&Unavailable::new("BranchEdited", what));
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
            Some(Stage::Promote) => StageState::RollingOut,
            Some(Stage::CleanUp) | None => StageState::Done,
        }
    }

    /// A promote request that was closed unmerged is a "no"; a closed clean-up request changes nothing.
    fn rejected(&mut self, number: u64) {
        if self.progress.phase == Phase::Promoting
            && self.progress.stages.last().is_some_and(|s| s.stage == Stage::Promote)
        {
            let (reason, sentence) = if self.stale() {
                (Reason::Stale, format!("request #{number} was not reviewed in time"))
            } else {
                (Reason::RejectedInReview, format!("reviewers closed request #{number} unmerged"))
            };
            self.decide(Outcome::Discard, reason, sentence);
            self.begin(Stage::CleanUp);
        }
    }

    /// Whether the promote request has waited for its review longer than it may.
    fn stale(&self) -> bool {
        let opened = self.progress.stages.iter().find(|s| s.stage == Stage::Promote).and_then(|s| s.opened);
        let patience = self.plan.gitops.as_ref().map(|g| g.stale_after);
        opened.zip(patience).is_some_and(|(opened, patience)| self.now >= opened + patience)
    }

    fn review(&mut self, gitops: &Gitops, since: Timestamp) {
        let Some(seen) = self.stage_seen() else { return };
        match &seen.pull {
            Some(pull) if pull.state != PullState::Open => self.found(pull),
            // Closed first, so that nobody merges what is being discarded; the next turn sees it closed.
            Some(pull) if self.stale() => self.effects.push(Effect::Close(pull.number)),
            Some(pull) => {
                let what = format!("request #{} to be merged: {}", pull.number, pull.url);
                self.wait("WaitingForReview", &what, Some(since + gitops.stale_after));
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

    fn hand_over(&mut self) {
        match &self.seen.routes {
            Some(Ok(routes)) if routes.candidate == 0 => self.change(StageState::Draining, |_| {}),
            _ => self.wait("HandingOver", "all traffic to reach the baseline", None),
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
        Some((request(self.plan, &self.progress, stage.stage)?, (work.base.clone(), work.commit.clone())))
    }

    /// Moves the current stage to another state.
    fn change(&mut self, state: StageState, note: impl FnOnce(&mut StageProgress)) {
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
        let first = key("uid", Outcome::Promote, Stage::Promote);
        assert_eq!(first, key("uid", Outcome::Promote, Stage::Promote));
        assert!(first.len() == 10 && first.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{first}");
        let others = [
            key("uid2", Outcome::Promote, Stage::Promote),
            key("uid", Outcome::Discard, Stage::Promote),
            key("uid", Outcome::Promote, Stage::CleanUp),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?}");
    }
}
