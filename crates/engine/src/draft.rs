//! A step in the making, and what every rule does with it: waits, tells, asks to be called again, ends.
//!
//! Made and finished by [`crate::step`]; the rules change it in between.

use jiff::{SignedDuration, Timestamp};

use crate::effects::{Effect, Notice, Step, Wake};
use crate::fact::Unavailable;
use crate::observation::{Observation, Workloads};
use crate::plan::Plan;
use crate::progress::{Phase, Progress, Waiting};
use crate::rest::Rest;
use crate::stage::{Stage, StageState};

/// How long an experiment waits for its turn, or for a person who paused it or is asked to approve a step.
pub(crate) const PATIENCE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How often a state is looked at again whose change is usually noticed by a watch.
pub(crate) const GLANCE: SignedDuration = SignedDuration::from_secs(5);
/// How long a merged manifest may take to be synced and rolled out before the status calls for a person: a poll of
/// some minutes, large images, many replicas.
pub(crate) const ROLLOUT_DEADLINE: SignedDuration = SignedDuration::from_mins(30);
/// How long a promotion without a repository waits to see the split that was proven: twice as long as it takes to put
/// contested weights right.
pub(crate) const FINAL_SPLIT: SignedDuration = SignedDuration::from_mins(2);

/// One step in the making.
pub(crate) struct Turn<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) progress: Progress,
    pub(crate) seen: &'a Observation,
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<Effect>,
    pub(crate) notices: Vec<Notice>,
    wake: Option<Timestamp>,
    pub(crate) rest: Option<Rest>,
    /// Whether the effects may be without a visible result, so that looking at once would be in vain.
    pub(crate) patient: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(plan: &'a Plan, progress: Progress, seen: &'a Observation, now: Timestamp) -> Self {
        Self { plan, progress, seen, now, effects: vec![], notices: vec![], wake: None, rest: None, patient: false }
    }

    /// Turns the collected changes into an answer.
    pub(crate) fn finish(mut self, before: &Progress) -> Step {
        if before.phase != self.progress.phase {
            self.progress.since = Some(self.now);
            let why = self.progress.decision.as_ref().map_or_else(String::new, |d| format!(": {}", d.sentence));
            let message = format!("{} → {}{why}", before.phase.as_str(), self.progress.phase.as_str());
            self.notices.push(Notice { reason: self.progress.phase.as_str(), message, warning: false });
        }
        if let Some(waiting) =
            self.progress.waiting.as_ref().filter(|w| Some(&w.reason) != before.waiting.as_ref().map(|w| &w.reason))
        {
            let message = format!("waiting for {}", waiting.what);
            self.notices.push(Notice { reason: "Waiting", message, warning: false });
        }
        // What was just decided or done is looked at at once: the next turn sees its result.
        let news = !self.effects.is_empty() && !self.settled() && !self.patient;
        let (wake, rest) = if !self.progress.same_record(before) || news {
            (Wake::At(self.now), None)
        } else {
            (self.wake.map_or(Wake::OnChange, Wake::At), self.rest)
        };
        Step { progress: self.progress, effects: self.effects, notices: self.notices, wake, rest }
    }

    /// Nothing more is expected to come of this experiment.
    fn settled(&self) -> bool {
        self.progress.phase == Phase::Completed || self.plan.deleting.is_some()
    }

    /// All workloads, or a note of why they are unknown.
    pub(crate) fn workloads(&mut self) -> Option<&'a Workloads> {
        match &self.seen.workloads {
            Some(Ok(workloads)) => Some(workloads),
            Some(Err(u)) => {
                self.missing(u);
                None
            }
            None => None,
        }
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        self.progress.phase = phase;
        self.progress.waiting = None;
    }

    pub(crate) fn wait(&mut self, reason: &str, what: &str, until: Option<Timestamp>) {
        match &mut self.progress.waiting {
            // Written at every look: the same words are not copied again.
            Some(waiting) if waiting.reason == reason => {
                if waiting.what != what {
                    what.clone_into(&mut waiting.what);
                }
                waiting.until = until;
            }
            waiting => {
                *waiting = Some(Waiting { reason: reason.into(), what: what.into(), since: self.now, until });
            }
        }
    }

    /// Waits for a person to mend something, and looks again soon.
    pub(crate) fn stuck(&mut self, reason: &str, what: &str) {
        self.wait(reason, what, self.until());
        self.again(GLANCE);
    }

    /// Notes a fact that could not be had; it is asked for again soon.
    pub(crate) fn missing(&mut self, u: &Unavailable) {
        self.wait(u.cause.word(), &format!("a remedy: {}", u.message), self.until());
        self.again(GLANCE);
    }

    /// Says why the write-back does not get on; what comes of its next try takes that away. Other effects are repeated
    /// soon, and what they wait for is said where it is seen.
    pub(crate) fn note_failure(&mut self, effect: &Effect, why: &Unavailable) {
        match effect {
            // A deletion waits for seconds and says that.
            _ if self.plan.deleting.is_some() => {}
            Effect::Push { .. } | Effect::Open { .. } | Effect::Commit { .. } | Effect::Close { .. } => {
                self.missing(why);
            }
            // Weights that were refused were not overwritten; a write that was too late may well have been.
            Effect::Route(_) if !why.cause.is_conflict() => self.progress.repairs.asked = None,
            // A request that cannot be merged waits all the same, and one with an old text too.
            Effect::Claim
            | Effect::Release
            | Effect::Route(_)
            | Effect::Merge { .. }
            | Effect::Rewrite { .. }
            | Effect::Delete { .. }
            | Effect::Forget => {}
        }
    }

    /// When the present phase ends, or is overdue, although what it waits for did not come.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        let a = &self.plan.analysis;
        match self.progress.phase {
            Phase::Queued => self.progress.since.map(|s| s + PATIENCE),
            Phase::Preparing => self.progress.since.map(|s| s + a.hard_deadline),
            Phase::Shifting | Phase::Deciding => self.progress.began().map(|t| t + a.hard_deadline),
            Phase::Promoting | Phase::Discarding => self.give_up_at().or_else(|| self.overdue_at()),
            Phase::Completed => None,
        }
    }

    /// When a stage that does not get on is given up. A rollout has its own deadline, a person's review too.
    pub(crate) fn give_up_at(&self) -> Option<Timestamp> {
        let stage = self.progress.current_stage()?;
        let patience = self.plan.gitops.as_ref()?.stale_after;
        let stuck = matches!(
            stage.state(),
            StageState::Planning
                | StageState::Planned
                | StageState::Pushed
                | StageState::Checking
                | StageState::Withdrawing
        );
        // A promote request that is to be closed, since there was reason to.
        let decided = self.progress.decision.as_ref().map(|d| d.at);
        let unwanted = stage.stage() == Stage::Promote && stage.state() == StageState::Waiting;
        let unwanted = decided.filter(|_| unwanted && self.progress.phase == Phase::Discarding);
        stuck.then_some(stage.since()).or(unwanted).map(|since| since + patience)
    }

    /// When something is overdue that hinders the write-back without ending it: what is seen then is still acted on.
    pub(crate) fn overdue_at(&self) -> Option<Timestamp> {
        let (gitops, stage) = (self.plan.gitops.as_ref(), self.progress.current_stage());
        match gitops.zip(stage) {
            Some((gitops, s)) if s.state() == StageState::Waiting => {
                Some(s.opened().unwrap_or_else(|| s.since()) + gitops.stale_after)
            }
            Some((_, s)) => Some(s.since() + ROLLOUT_DEADLINE),
            None => self.progress.since.map(|since| since + FINAL_SPLIT),
        }
    }

    pub(crate) fn tell(&mut self, reason: &'static str, message: &str) {
        self.notices.push(Notice { reason, message: message.into(), warning: false });
    }

    pub(crate) fn warn(&mut self, reason: &'static str, message: &str) {
        self.notices.push(Notice { reason, message: message.into(), warning: true });
    }

    /// Come back after this time, or earlier if something else asked for it.
    pub(crate) fn again(&mut self, after: SignedDuration) {
        self.at(self.now + after);
    }

    /// Come back after this time, whoever asked for what before.
    pub(crate) fn only_after(&mut self, time: SignedDuration) {
        self.wake = Some(self.now + time);
    }

    /// Come back at this time, or earlier if something else asked for it.
    pub(crate) fn at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |w| w.min(time)));
    }
}
