//! The transition table: one function for each phase, and what every phase has in common.
//!
//! Called by [`super::step`]. The functions change the turn's progress and collect effects and notices; the weight
//! that the routes are to have follows from the progress alone ([`Turn::weight`]), so that a crash between any two
//! lines is healed by the next turn.

use jiff::SignedDuration;

use crate::draft::{GLANCE, PATIENCE, Turn};
use crate::effects::Effect;
use crate::entrants::READY_DEADLINE;
use crate::evidence::Evidence;
use crate::fact::Unavailable;
use crate::observation::{Lock, Synced, Workload, Workloads};
use crate::plan::{Ramp, Version};
use crate::progress::{HeldBy, Hold, Phase, Start};
use crate::requests::because;
use crate::rule::Criterion;
use crate::shift;
use crate::split::Split;
use crate::verdict::{Outcome, Reason};

/// How long a deletion waits for traffic to come home; the GitOps tool's whole sync waits with it.
const LEAVE_DEADLINE: SignedDuration = SignedDuration::from_secs(30);
/// How long of it is spent on a forge that does not say whether a request that has ended left a branch: an answer may get
/// lost, and a branch is worth no more.
const LEFT_BRANCH: SignedDuration = SignedDuration::from_secs(5);
/// How often the queue is looked at although nobody said that the target was given back: a message that was lost
/// costs this long, and a queue that is looked at more often costs requests for nothing.
const QUEUE: SignedDuration = SignedDuration::from_mins(10);

impl Turn<'_> {
    /// Lets the phase the experiment is in do its part.
    pub(super) fn advance(&mut self) {
        if self.progress.since.is_none() {
            self.progress.since = Some(self.now);
        }
        self.mind_refusal();
        self.heed();
        match self.progress.phase {
            Phase::Queued => self.queued(),
            Phase::Preparing => self.preparing(),
            Phase::Shifting | Phase::Deciding => self.running(),
            Phase::Promoting => {
                if !self.serves_no_more() {
                    self.write_back();
                }
            }
            Phase::Discarding => self.write_back(),
            Phase::Completed => self.look_after(),
        }
        self.keep_weight();
        self.guard();
        self.keep_text();
        if self.progress.phase == Phase::Completed && self.seen.lock == Some(Ok(Lock::Mine)) {
            self.effects.push(Effect::Release);
        }
    }

    /// The resource is being deleted: traffic comes home, then it is let go.
    pub(super) fn leave(&mut self) {
        let home = match &self.seen.routes {
            Some(Ok(routes)) => routes.candidates.is_home(),
            // The routes were removed together with the experiment: nothing is left to bring home.
            Some(Err(u)) => u.cause.routes_are_gone(),
            None => true,
        };
        // Before and after these phases the routes may be another experiment's.
        let moved = self.progress.held
            && matches!(self.progress.phase, Phase::Shifting | Phase::Deciding | Phase::Promoting | Phase::Discarding);
        // From when it was seen: one that came while nobody was there to see it has the same half minute.
        let late = self.progress.leaving.is_some_and(|since| self.now >= since + LEAVE_DEADLINE);
        let open = self.open_request();
        if late && moved && !home {
            self.warn(
                "ReleasedWithoutHandOver",
                "traffic could not be brought to the baseline within 30 s of the deletion; check the VirtualService",
            );
        }
        if late && let Some(number) = open {
            let what = format!("request #{number} could not be closed within 30 s of the deletion; close it by hand");
            self.warn("ReleasedWithOpenRequest", &what);
        }
        let asked = matches!(self.seen.stage, Some(Err(_)));
        let unknown = asked && self.progress.leaving.is_none_or(|since| self.now < since + LEFT_BRANCH);
        if late || (!moved || home) && open.is_none() && !unknown {
            if self.seen.lock == Some(Ok(Lock::Mine)) {
                self.effects.push(Effect::Release);
            }
            self.effects.extend(self.last_branch());
            self.effects.push(Effect::Forget);
            return;
        }
        let since = *self.progress.leaving.get_or_insert(self.now);
        let what = "all traffic to return to the baseline and its promote request to be closed";
        self.wait("Deleting", what, Some(since + LEAVE_DEADLINE));
        if moved && !home {
            self.effects.push(Effect::Route(Split::HOME));
        }
        if let Some(number) = open {
            self.effects.push(Effect::Close { number, why: "its experiment was deleted".into() });
        }
        self.again(SignedDuration::from_secs(1));
    }

    fn queued(&mut self) {
        if self.plan.refused.is_some() {
            return self.stand_aside();
        }
        let until = self.progress.since.map(|s| s + PATIENCE);
        match &self.seen.lock {
            Some(Ok(Lock::Mine)) => {
                self.progress.held = true;
                self.enter(Phase::Preparing);
            }
            Some(Ok(Lock::Free)) => self.effects.push(Effect::Claim),
            Some(Ok(Lock::Taken(_)) | Err(_)) if until.is_some_and(|u| self.now >= u) => {
                let sentence =
                    format!("target {} was not free within {} h", self.plan.identity.target, PATIENCE.as_hours());
                self.decide(Outcome::Discard, Reason::Stale, sentence);
            }
            Some(Ok(Lock::Taken(other))) => {
                let what = format!("target {}, which experiment {other} holds", self.plan.identity.target);
                self.wait("TargetTaken", &what, until);
                self.again(QUEUE);
            }
            Some(Err(u)) => self.missing(u),
            None => {}
        }
    }

    /// An experiment that cannot be carried out and has no traffic is in nobody's way: it holds no target, and waits for its
    /// remedy, or for a person who ends it. The time in the queue begins with the remedy.
    fn stand_aside(&mut self) {
        if self.seen.lock == Some(Ok(Lock::Mine)) {
            self.effects.push(Effect::Release);
        }
        self.progress.waiting = None;
        self.progress.since = None;
    }

    /// One obstacle after the other: what would fail at the end fails here, with no traffic moved.
    fn preparing(&mut self) {
        let late = self.until().is_some_and(|u| self.now >= u);
        if let Some(waiting) = self.progress.waiting.as_ref().filter(|_| late) {
            let sentence = format!("the preparation did not end in time; it waited for {}", waiting.what);
            return self.decide(Outcome::Discard, Reason::Unprepared, sentence);
        }
        if let Some(hold) = self.progress.hold.clone() {
            return self.held_up(&hold);
        }
        if let Some(refusal) = &self.plan.refused {
            return self.missing(refusal);
        }
        self.mind_edits();
        if self.running_ones().next().is_none() {
            let sentence = "no candidate became ready".to_owned();
            return self.decide(Outcome::Discard, Reason::CandidateNotReady, sentence);
        }
        let Some(workloads) = self.workloads() else { return };
        match &self.seen.preflight {
            Some(Ok(preflight)) => self.progress.preflight = Some(preflight.clone()),
            Some(Err(u)) => return self.missing(u),
            None if self.plan.gitops.is_some() && self.progress.preflight.is_none() => return,
            None => {}
        }
        let Ok(()) = self.clear(self.seen.routes.as_ref()) else { return };
        let candidates = self.plan.candidates.iter().zip(&workloads.candidates).enumerate();
        let candidates = candidates.filter(|(at, _)| self.runs(*at)).map(|(at, (version, w))| (Some(at), version, w));
        let all: Vec<_> = std::iter::once((None, &self.plan.baseline, &workloads.baseline)).chain(candidates).collect();
        for (candidate, version, workload) in all {
            if workload.ready == 0 || !workload.exists {
                return self.not_ready(candidate, version, workload);
            }
        }
        let Ok(()) = self.clear(self.seen.subsets.as_ref()) else { return };
        match &self.seen.sync {
            Some(Ok(Synced::Yes)) => {}
            Some(Ok(Synced::No(what))) => {
                let what = format!("the cluster to be what Git says: {what}");
                self.wait("WaitingForSync", &what, self.until());
                return self.again(GLANCE);
            }
            Some(Err(u)) => return self.missing(u),
            // Not asked yet: the workloads became ready just now.
            None if self.plan.gitops.is_some() => return self.progress.waiting = None,
            None => {}
        }
        match &self.seen.history {
            // What cannot be looked at now could not be judged either.
            Some(history) => match history.iter().find_map(|h| h.as_ref().err()) {
                Some(u) => self.missing(u),
                None => self.start(workloads),
            },
            None => self.progress.waiting = None,
        }
    }

    /// Whether a fact could be had; if not, it is waited for.
    fn clear<T>(&mut self, fact: Option<&Result<T, Unavailable>>) -> Result<(), ()> {
        if let Some(Err(u)) = fact {
            self.missing(u);
            return Err(());
        }
        Ok(())
    }

    /// A workload has no ready replica before the start. One of several candidates is not waited for longer than one alone.
    fn not_ready(&mut self, candidate: Option<usize>, version: &Version, workload: &Workload) {
        let name = &version.workload;
        let until = self.progress.since.map(|s| s + READY_DEADLINE);
        if let Some((at, failed)) = candidate.zip(workload.failed.as_ref()) {
            let sentence = format!("{name} did not become ready: {failed}");
            return self.dismiss(at, Reason::CandidateNotReady, sentence);
        }
        if until.is_some_and(|u| self.now >= u) {
            let sentence = format!("{name} had no ready replica within {} minutes", READY_DEADLINE.as_mins());
            return match candidate {
                Some(at) => self.dismiss(at, Reason::CandidateNotReady, sentence),
                None => self.decide(Outcome::Discard, Reason::CandidateNotReady, sentence),
            };
        }
        let what =
            if workload.exists { format!("a ready replica of {name}") } else { format!("workload {name} to exist") };
        self.wait(NOT_READY, &what, until);
        self.again(GLANCE);
    }

    /// Everything is as it must be: the tests are fixed and the first weight is chosen.
    fn start(&mut self, workloads: &Workloads) {
        let a = &self.plan.analysis;
        let empty = vec![];
        let history = self.seen.history.as_ref().unwrap_or(&empty);
        let known = |c: &Criterion| history.get(c.source).and_then(|h| h.as_ref().ok()).map_or(&[][..], Vec::as_slice);
        self.progress.evidence = self.plan.criteria.iter().map(|c| Evidence::start(c, known(c), a.horizon())).collect();
        self.progress.budgets = Some(self.plan.analysis.budgets());
        self.progress.start =
            Some(Start { baseline_desired: workloads.baseline.desired, baseline_ready: workloads.baseline.ready });
        self.enter_all(workloads);
        self.progress.rate = shift::rate(history, a.interval);
        let Some(weight) = self.first_weight() else { return };
        self.progress.weight = weight;
        self.enter(Phase::Shifting);
        if self.cap() < self.plan.cap && self.plan.ramp != Ramp::Fixed {
            let message = format!("final weight {} %: {}", self.cap(), self.replicas(workloads));
            self.warn("CapacityLimited", &message);
        }
    }

    /// Traffic is shared: people first, then readiness, then the evidence.
    fn running(&mut self) {
        if let Some(refusal) = &self.plan.refused {
            return self.refused(refusal);
        }
        self.keep_terms();
        let Some(workloads) = self.workloads() else { return self.time_is_up() };
        self.look_over(workloads);
        if !self.is_running() {
            return;
        }
        self.fit(workloads);
        if self.progress.overridden.is_some() {
            let until = self.progress.began().map(|t| t + self.plan.analysis.hard_deadline);
            self.wait("TrafficOverridden", "`resume`: a person sent all traffic to the baseline", until);
            return self.time_is_up();
        }
        self.look();
    }

    /// Whether a candidate that waits for its promotion had to be given up: it changed, or its replicas are gone.
    fn serves_no_more(&mut self) -> bool {
        if self.promoted() || !self.progress.held {
            return false;
        }
        let Some(Ok(workloads)) = &self.seen.workloads else { return false };
        if let Some((reason, sentence)) = self.unfit(self.chosen(), workloads) {
            self.overturn(reason, sentence);
        }
        self.progress.phase != Phase::Promoting
    }

    /// A person holds the ramp: until when, and what ends it.
    pub(super) fn held_up(&mut self, hold: &Hold) {
        let until = hold.since + PATIENCE;
        let (reason, what) = match hold.by {
            HeldBy::Pause => ("Paused", because("`resume`: a person paused the experiment", &hold.why)),
            HeldBy::Approval => {
                ("WaitingForApproval", format!("`resume`: a person has to approve {} %", self.progress.weight))
            }
        };
        if self.now >= until {
            let sentence = format!("nobody resumed the experiment within {} h", PATIENCE.as_hours());
            return self.decide(Outcome::Discard, Reason::Stale, sentence);
        }
        self.wait(reason, &what, Some(until));
        self.at(until);
    }
}

/// What an experiment waits for whose workloads are not ready.
pub(super) const NOT_READY: &str = "WorkloadNotReady";
