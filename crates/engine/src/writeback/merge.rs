//! From a merged promotion, or its merged revert, to all traffic at the baseline.
//!
//! Called by [`super::Turn::write_back`]. What is on the base branch is compared with what was proposed when the merge
//! is seen, and once more before the traffic moves: a base that was rewritten in between takes the promotion back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::SOON;
use crate::draft::{ROLLOUT_DEADLINE, Turn};
use crate::mutants::{Mutant, on};
use crate::plan::Gitops;
use crate::progress::{End, Landed, StageProgress, Standing};
use crate::stage::{Stage, StageSeen};
use crate::verdict::Reason;

/// How long a merge that the forge announced may be missing on the branch that it serves: forges replicate.
const REPLICATION: SignedDuration = SignedDuration::from_mins(1);

/// What the base branch holds of a promotion.
enum Content {
    AsProposed,
    /// What was there before.
    AsBefore,
    /// Something else, in this file.
    Other(String),
}

impl Turn<'_> {
    /// What is on the base branch, by path, against what was proposed. Of a file that others write too, only what the
    /// promotion changed counts.
    fn content(&self, found: &BTreeMap<String, Option<String>>, kept: &BTreeSet<String>) -> Content {
        let work = self.progress.stages.last().and_then(StageProgress::work);
        let Some(work) = work else { return Content::AsProposed };
        let none = BTreeMap::new();
        let before = self.progress.preflight.as_ref().map_or(&none, |p| &p.blobs);
        let now = |path: &String| found.get(path).cloned().flatten();
        let was = |path: &String| before.get(path).cloned();
        let differs = |(path, blob): &(&String, &Option<String>)| now(path) != **blob && !kept.contains(*path);
        let differs = work.after.iter().find(differs).map(|(path, _)| path.clone());
        match differs {
            None => Content::AsProposed,
            Some(_) if work.after.keys().all(|path| now(path) == was(path)) => Content::AsBefore,
            Some(path) => Content::Other(path),
        }
    }

    /// The promotion is merged: what was merged is compared with what was proposed.
    pub(super) fn merged(&mut self, landed: Landed, since: Timestamp) {
        let Some(StageSeen::Contents { blobs, kept }) = self.stage_seen() else { return };
        let until = since + REPLICATION;
        match self.content(blobs, kept) {
            Content::AsProposed => self.stand(Standing::RollingOut(landed)),
            Content::AsBefore if self.now < until => {
                self.wait("MergeNotVisible", "the merge to be visible on the base branch", Some(until));
                self.again(SOON);
            }
            Content::AsBefore => self.taken_back(),
            Content::Other(path) => self.differently(landed, &path),
        }
    }

    /// The rollout is complete: what was rolled out still has to be what the base branch holds.
    pub(super) fn confirm(&mut self, landed: Landed) {
        let Some(StageSeen::Contents { blobs, kept }) = self.stage_seen() else { return };
        match self.content(blobs, kept) {
            Content::AsBefore => self.taken_back(),
            Content::Other(path) if !landed.differently => self.differently(landed, &path),
            Content::AsProposed | Content::Other(_) => self.stand(Standing::HandingOver(Some(landed))),
        }
    }

    /// What is merged is the truth, whoever wrote it: its rollout is awaited.
    fn differently(&mut self, landed: Landed, path: &str) {
        let what = format!(
            "{path} on the base branch is not what the request proposed; what was merged is rolled out, though it was not tried"
        );
        self.warn("MergedDifferently", &what);
        self.stand(Standing::RollingOut(Landed { differently: true, ..landed }));
    }

    /// People removed a merged promotion from the base branch.
    fn taken_back(&mut self) {
        let what = "the merged promotion was removed from the base branch again";
        self.overturn(Reason::PromotionReverted, what.to_owned());
    }

    /// The baseline's rollout of what was merged.
    pub(super) fn rolling_out(&mut self, landed: Landed, since: Timestamp) {
        match &self.seen.rollout {
            Some(Ok(rollout)) if rollout.applied && (rollout.complete || on(Mutant::WeightsBeforeRollout)) => {
                self.rolled_out(landed);
            }
            Some(Ok(rollout)) => {
                // A late sync costs the rollout none of its time, and one that failed gets no new time by that.
                let waiting = self.progress.waiting.as_ref();
                let rolling = waiting.filter(|w| ["WaitingForRollout", "BaselineRolloutFailed"].contains(&&*w.reason));
                let until = match rolling {
                    Some(rolling) if rollout.applied => rolling.until,
                    None if rollout.applied => Some(self.now + ROLLOUT_DEADLINE),
                    Some(_) | None => Some(since + ROLLOUT_DEADLINE),
                };
                let late = until.is_some_and(|u| self.now >= u);
                let given_up = match &self.seen.workloads {
                    Some(Ok(workloads)) => workloads.baseline.failed.clone(),
                    Some(Err(_)) | None => None,
                };
                let failed = rollout.applied && (late || given_up.is_some());
                // One of a revert itself needs a person.
                if failed && self.is_promotion() {
                    return self.rollout_failed(given_up.as_deref());
                }
                // Past the deadline a person is needed; the candidate keeps serving, whatever the baseline does.
                let reason = match (rollout.applied, late || failed) {
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

    fn rolled_out(&mut self, landed: Landed) {
        let proposed = self.is_promotion() && landed.proposal.is_some();
        self.stand(if proposed { Standing::Confirming(landed) } else { Standing::HandingOver(Some(landed)) });
    }

    fn is_promotion(&self) -> bool {
        self.progress.stages.last().is_some_and(|s| s.stage() == Stage::Promote)
    }

    /// The new baseline does not come up: the candidate keeps its traffic, and a request takes the promotion back.
    fn rollout_failed(&mut self, why: Option<&str>) {
        let why = why.map_or_else(
            || format!("it was not complete within {} minutes", ROLLOUT_DEADLINE.as_mins()),
            ToOwned::to_owned,
        );
        let sentence =
            format!("the rollout of {} with the promoted content failed: {why}", self.plan.baseline.workload);
        self.warn("BaselineRolloutFailed", &format!("{sentence}; the candidate keeps serving"));
        self.overturn(Reason::BaselineRolloutFailed, sentence);
    }

    /// All traffic to the baseline.
    pub(super) fn hand_over(&mut self, landed: Option<Landed>, since: Timestamp) {
        let until = since + ROLLOUT_DEADLINE;
        match &self.seen.routes {
            _ if !self.progress.held => self.stand(Standing::Draining(landed)),
            Some(Ok(routes)) if routes.candidates.is_home() => self.stand(Standing::Draining(landed)),
            // Routes that stay away that long carry no traffic to the candidate either.
            Some(Err(u)) if u.cause.routes_are_gone() && self.now >= until => self.stand(Standing::Draining(landed)),
            _ => {
                // Past the deadline a person is needed: something keeps the weights as they are.
                let reason = if self.now < until { "HandingOver" } else { "HandOverOverdue" };
                self.wait(reason, "all traffic to reach the baseline", Some(until));
            }
        }
    }

    /// The last requests leave the candidate. What waited for that goes on with its own work.
    pub(super) fn drain(&mut self, landed: Option<Landed>, gitops: &Gitops, since: Timestamp) {
        let until = since + gitops.drain;
        if self.now >= until {
            self.stand(landed.map_or(Standing::Planning, |landed| Standing::Done(End::Landed(landed))));
        } else {
            self.wait("Draining", "the last requests to leave the candidate", Some(until));
            self.at(until);
        }
    }
}
