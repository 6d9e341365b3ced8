//! The write-back's state machine: from a verdict to a repository, a cluster and a traffic split that agree.
//!
//! Promote: one request changes the baseline's manifest; merged → rolled out → all traffic to the baseline → drained
//! → a second request removes the experiment. Discard: all traffic to the baseline at once, then the second request
//! alone. `SinglePullRequest` sends all traffic to the baseline first and does both in one request; `CommitToBase`
//! commits where the others ask. Every remote write is preceded by a committed record of it ([`StageState::Planned`],
//! [`StageState::Pushed`]) from which it is recognised after a crash; nothing is pushed once a request was merged or
//! closed. The stages' states are carried out by three parts: [`remote`] writes, [`merge`] follows a merge until the
//! traffic is handed over, [`withdrawal`] takes back. [`automerge`] merges without a person where that is wanted, [`news`]
//! keeps the text of an open request up to date, [`tidy`] deletes its branch when it has ended.
//! [`aftercare`] looks at the last request of a completed experiment.

mod aftercare;
mod automerge;
mod merge;
mod news;
mod remote;
mod tidy;
mod withdrawal;

pub(super) use aftercare::is_quiet;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::draft::{FINAL_SPLIT, Turn};
use crate::fact::CommitId;
use crate::plan::{Handover, Plan};
use crate::progress::{End, Phase, Progress, Proposal, StageProgress, Standing, Written};
use crate::stage::{Look, PullState, Request, RequestSeen, Stage, StageQuestion, StageSeen, StageState};
use crate::summary;
use crate::verdict::{Outcome, Reason};

/// How often a rollout or a route is looked at when no watch announces it.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// A branch name is no longer than this, so that every forge shows it whole.
const LONGEST_BRANCH: usize = 100;

/// How the outcome is handed over; without a write-back nobody asks.
fn handover(plan: &Plan) -> Handover {
    plan.gitops.as_ref().map(|g| g.handover).unwrap_or_default()
}

/// What the current stage has to know.
pub(super) fn question(plan: &Plan, progress: &Progress, now: Timestamp) -> Option<StageQuestion> {
    let leaving = plan.deleting.is_some();
    if !matches!(progress.phase, Phase::Promoting | Phase::Discarding | Phase::Completed) {
        return None;
    }
    let stage = progress.current_stage()?;
    let promoting = stage.stage() == Stage::Promote;
    let withdrawn = promoting && progress.phase == Phase::Discarding;
    // An experiment that is being deleted only has to know whether its promotion could still be merged, and whether its
    // request has left a branch.
    if leaving && !promoting && stage.state() != StageState::Waiting {
        return None;
    }
    let look = match stage.standing() {
        Standing::Planning => Some(Look::Plan).filter(|_| !leaving && !withdrawn)?,
        Standing::Planned(written) | Standing::Pushed { written, .. } => publication(plan, written),
        Standing::Withdrawing(Proposal::Written(written)) => publication(plan, written),
        Standing::Waiting(proposed)
        | Standing::Checking(proposed)
        | Standing::Withdrawing(Proposal::Proposed(proposed)) => Look::Review(proposed.number),
        Standing::Merged(_) | Standing::Confirming(_) => Look::Contents(stage.work()?.after.clone()),
        Standing::RollingOut(_) | Standing::HandingOver(_) | Standing::Draining(_) | Standing::Done(_) => return None,
    };
    let twins = matches!(look, Look::Review(_))
        && !leaving
        && (progress.phase == Phase::Completed || tidy::has_twins(stage, now));
    Some(StageQuestion { request: request(plan, progress, stage)?, look, twins })
}

/// What tells whether a planned write is on the remote.
fn publication(plan: &Plan, written: &Written) -> Look {
    match handover(plan) {
        Handover::CommitToBase => Look::Base(written.work.commit.clone()),
        Handover::TwoPullRequests | Handover::SinglePullRequest => Look::Publish,
    }
}

/// The commit whose rollout is awaited.
pub(super) fn rollout(progress: &Progress) -> Option<CommitId> {
    let stage = progress.current_stage()?;
    match stage.standing() {
        Standing::RollingOut(landed) => Some(landed.head.clone()),
        _ => None,
    }
}

/// The request of a stage, whole: the same progress always gives the same request.
pub fn request(plan: &Plan, progress: &Progress, stage: &StageProgress) -> Option<Request> {
    let (gitops, decision) = (plan.gitops.as_ref()?, progress.decision.as_ref()?);
    // A promote request that is taken back is still the same request.
    let outcome = if stage.stage() == Stage::Promote { Outcome::Promote } else { decision.outcome };
    let key = key(&plan.identity.uid, outcome, stage.stage(), stage.attempt());
    let mut branch = format!("iter8/{}-{}", plan.identity.namespace, plan.identity.name);
    let tail = format!("-{}-{key}", stage.stage().word());
    branch.truncate(LONGEST_BRANCH - tail.len());
    branch.push_str(&tail);
    let blobs = progress.preflight.as_ref().map(|p| p.blobs.clone()).unwrap_or_default();
    let report = summary::report(plan, progress, decision, news::news(plan, progress, stage));
    Some(Request {
        stage: stage.stage(),
        key,
        branch,
        base_branch: gitops.base_branch.clone(),
        handover: gitops.handover,
        decided_at: decision.at,
        blobs,
        candidate: decision.candidate,
        report,
    })
}

/// Identity of a request: ten base-32 digits of a hash of what makes it different from every other.
fn key(uid: &str, outcome: Outcome, stage: Stage, attempt: u32) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(format!("{uid}|{}|{}|{attempt}", outcome.as_str(), stage.as_str()));
    hash.iter().take(10).filter_map(|b| DIGITS.get(usize::from(b & 31))).map(|&d| char::from(d)).collect()
}

impl<'a> Turn<'a> {
    /// Carries the verdict into Git.
    pub(super) fn write_back(&mut self) {
        if self.plan.gitops.is_none() {
            return self.without_git();
        }
        if self.progress.preflight.is_none() {
            // Discarded before the rehearsal: it is made up for, or there is nothing that could be written safely.
            match &self.seen.preflight {
                Some(Ok(preflight)) => self.progress.preflight = Some(preflight.clone()),
                Some(Err(_)) | None => return self.complete(),
            }
        }
        let Some(last) = self.progress.stages.last() else {
            let discarding = self.progress.phase == Phase::Discarding;
            return self.begin(if discarding { Stage::CleanUp } else { Stage::Promote });
        };
        let stage = last.stage();
        if self.give_up_at().is_some_and(|t| self.now >= t) {
            return self.give_up(stage);
        }
        self.carry_on();
    }

    /// Does what the last stage needs where it stands.
    fn carry_on(&mut self) {
        if self.tidy() || self.keep_one() {
            return;
        }
        let (Some(gitops), Some(last)) = (&self.plan.gitops, self.progress.stages.last()) else { return };
        let (stage, since, standing) = (last.stage(), last.since(), last.standing().clone());
        if stage == Stage::Promote && self.progress.phase == Phase::Discarding {
            return self.take_back(&standing);
        }
        match standing {
            Standing::Planning => self.planning(),
            Standing::Planned(written) => self.planned(written),
            Standing::Pushed { .. } => self.pushed(),
            Standing::Waiting(proposed) => match stage {
                Stage::Promote | Stage::Revert => self.review(gitops, since),
                Stage::CleanUp => self.await_removal(gitops, proposed.number, since),
            },
            Standing::Checking(proposed) => self.check(proposed),
            Standing::Withdrawing(_) => match stage {
                Stage::Promote | Stage::Revert => self.renew(stage),
                Stage::CleanUp => self.withdraw_clean_up(),
            },
            Standing::Merged(landed) => self.merged(landed, since),
            Standing::RollingOut(landed) => self.rolling_out(landed, since),
            Standing::Confirming(landed) => self.confirm(landed),
            Standing::HandingOver(landed) => self.hand_over(landed, since),
            Standing::Draining(landed) => self.drain(landed, gitops, since),
            Standing::Done(end) => match stage {
                Stage::Promote => self.after_promotion(&end),
                Stage::Revert => self.begin(Stage::CleanUp),
                Stage::CleanUp => self.after_clean_up(&end),
            },
        }
    }

    /// The promotion is done: what comes after it.
    fn after_promotion(&mut self, end: &End) {
        match end {
            End::Landed(_) if self.whole() => self.complete(),
            End::Landed(_) | End::Closed(_) | End::Left(_) => self.begin(Stage::CleanUp),
        }
    }

    /// Whether a promotion of this experiment is on the base branch.
    pub(super) fn promoted(&self) -> bool {
        self.progress.stages.iter().any(|s| s.stage() == Stage::Promote && s.merged().is_some())
    }

    /// Whether a merged promotion is being taken back already.
    pub(super) fn reverting(&self) -> bool {
        self.progress.current_stage().is_some_and(|s| s.stage() == Stage::Revert)
    }

    /// Whether one request both promotes and removes.
    fn whole(&self) -> bool {
        handover(self.plan) == Handover::SinglePullRequest
    }

    /// Whether outcomes are committed to the base branch, where no review holds them up.
    fn direct(&self) -> bool {
        handover(self.plan) == Handover::CommitToBase
    }

    /// Whether nobody has to look at the removal of the experiment before it happens.
    fn removes_at_once(&self) -> bool {
        self.direct() || self.plan.gitops.as_ref().is_some_and(|g| g.auto_merge.cleanup)
    }

    /// Whether traffic belongs to the baseline while the candidate is being promoted.
    pub(super) fn handing_over(&self) -> bool {
        self.whole()
            || self.progress.stages.last().is_some_and(|s| {
                s.stage() == Stage::CleanUp && s.state() != StageState::Withdrawing
                    || matches!(s.state(), StageState::HandingOver | StageState::Draining | StageState::Done)
            })
    }

    /// Whether a candidate whose promotion failed in the cluster still serves: its traffic stays until the baseline is
    /// whole again.
    pub(super) fn keeps_serving(&self) -> bool {
        let failed = self.progress.decision.as_ref().is_some_and(|d| d.reason == Reason::BaselineRolloutFailed);
        let ready = !matches!(&self.seen.workloads, Some(Ok(w)) if w.candidates.get(self.chosen()).is_none_or(|w| w.ready == 0));
        let underway = self.progress.current_stage().is_some_and(|s| {
            s.stage() == Stage::Revert && !matches!(s.state(), StageState::HandingOver | StageState::Draining)
        });
        self.progress.phase == Phase::Discarding && failed && ready && underway
    }

    /// The promote request that could still be merged.
    pub(super) fn open_request(&self) -> Option<u64> {
        let undecided = matches!(self.progress.phase, Phase::Promoting | Phase::Discarding);
        let stage = self
            .progress
            .current_stage()
            .filter(|s| s.stage() == Stage::Promote && s.merged().is_none() && undecided)?;
        match &self.seen.stage {
            Some(Ok(seen)) => {
                let pull = seen.request().and_then(|request| request.pull.as_ref());
                pull.filter(|p| p.state == PullState::Open).map(|p| p.number)
            }
            // What is not known is taken to be open, until the deadline of the deletion.
            Some(Err(_)) | None => stage.number(),
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
            Some(Ok(routes)) if routes.candidates.is_home() => {
                self.traffic_is_final();
                self.enter(Phase::Completed);
            }
            _ => self.again(SOON),
        }
    }

    /// Starts a stage, with a key of its own.
    pub(super) fn begin(&mut self, stage: Stage) {
        let first = self.first_standing(stage);
        self.progress.waiting = None;
        let earlier = self.progress.stages.iter().filter(|s| s.stage() == stage).count();
        let attempt = u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1);
        self.progress.stages.push(StageProgress::begin(stage, attempt, first, self.now));
    }

    /// What removes the candidate at once, or without another look at the traffic, waits until the traffic is home.
    fn first_standing(&self, stage: Stage) -> Standing {
        let last = self.progress.stages.last();
        let drained = last.is_some_and(|s| s.stage() != Stage::CleanUp && s.merged().is_some());
        match stage {
            _ if self.progress.phase == Phase::Completed => Standing::Planning,
            Stage::Promote if self.whole() => Standing::HandingOver(None),
            Stage::CleanUp if self.removes_at_once() && !drained => Standing::HandingOver(None),
            Stage::Promote | Stage::CleanUp | Stage::Revert => Standing::Planning,
        }
    }

    /// What the remote says, or a note of why it is unknown. What was asked for another state than the present one says
    /// nothing about it.
    fn stage_seen(&mut self) -> Option<&'a StageSeen> {
        match &self.seen.stage {
            Some(Ok(seen)) => Some(seen),
            Some(Err(u)) => {
                self.missing(u);
                None
            }
            None => None,
        }
    }

    /// The same of the request.
    fn request_seen(&mut self) -> Option<&'a RequestSeen> {
        self.stage_seen().and_then(StageSeen::request)
    }

    /// The current stage's request and its base and commit.
    fn work(&self) -> Option<(Request, (CommitId, CommitId))> {
        let stage = self.progress.stages.last()?;
        let work = stage.work()?;
        Some((request(self.plan, &self.progress, stage)?, (work.base.clone(), work.commit.clone())))
    }

    /// Moves the last stage on.
    pub(super) fn stand(&mut self, standing: Standing) {
        if let Some(stage) = self.progress.stages.last_mut() {
            stage.stand(standing, self.now);
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
