//! The transition table: one function for each phase, and what every phase has in common.
//!
//! Called by [`super::step`]. The functions change the turn's progress and collect effects and notices; the weight
//! that the routes are to have follows from the progress alone ([`Turn::weight`]), so that a crash between any two
//! lines is healed by the next turn.

use jiff::{SignedDuration, Timestamp};

use super::effects::{Effect, Notice, Step, Wake};
use super::observation::{Lock, Observation, Unavailable, Workloads};
use super::plan::Plan;
use super::progress::{Evidence, Outcome, Phase, Progress, Reason, Waiting};
use super::{judge, shift};

/// How long a candidate may take to become ready before it is discarded: several image pulls and a slow start.
const READY_DEADLINE: SignedDuration = SignedDuration::from_mins(10);
/// How long a deletion waits for traffic to come home; the GitOps tool's whole sync waits with it.
const LEAVE_DEADLINE: SignedDuration = SignedDuration::from_secs(30);
/// How often a state is looked at again whose change is usually noticed by a watch.
const GLANCE: SignedDuration = SignedDuration::from_secs(5);
/// How often the queue is looked at: nothing announces that another experiment ended.
const QUEUE: SignedDuration = SignedDuration::from_secs(2);
/// How often a candidate may lose its last ready replica.
const MOST_LOSSES: u32 = 3;

/// One step in the making.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a Plan,
    pub(super) progress: Progress,
    pub(super) seen: &'a Observation,
    pub(super) now: Timestamp,
    pub(super) effects: Vec<Effect>,
    pub(super) notices: Vec<Notice>,
    wake: Option<Timestamp>,
    /// Whether the effects may be without a visible result, so that looking at once would be in vain.
    patient: bool,
}

impl<'a> Turn<'a> {
    pub(super) fn new(plan: &'a Plan, progress: Progress, seen: &'a Observation, now: Timestamp) -> Self {
        Self { plan, progress, seen, now, effects: vec![], notices: vec![], wake: None, patient: false }
    }

    /// Lets the phase the experiment is in do its part.
    pub(super) fn advance(&mut self) {
        if self.progress.since.is_none() {
            self.progress.since = Some(self.now);
        }
        match self.progress.phase {
            Phase::Queued => self.queued(),
            Phase::Preparing => self.preparing(),
            Phase::Shifting | Phase::Deciding => self.running(),
            Phase::Promoting | Phase::Discarding => self.write_back(),
            Phase::Completed => self.progress.waiting = None,
        }
        self.keep_weight();
        if self.progress.phase == Phase::Completed && self.seen.lock == Some(Ok(Lock::Mine)) {
            self.effects.push(Effect::Release);
        }
    }

    /// The resource is being deleted: traffic comes home, then it is let go.
    pub(super) fn leave(&mut self) {
        let home = match &self.seen.routes {
            Some(Ok(routes)) => routes.candidate == 0,
            // The routes were removed together with the experiment: nothing is left to bring home.
            Some(Err(u)) => u.reason == ROUTE_NOT_FOUND,
            None => true,
        };
        // Before and after these phases the routes may be another experiment's.
        let moved =
            matches!(self.progress.phase, Phase::Shifting | Phase::Deciding | Phase::Promoting | Phase::Discarding);
        let late = self.plan.deleting.is_some_and(|since| self.now >= since + LEAVE_DEADLINE);
        if !moved || home || late {
            if moved && !home {
                self.warn("ReleasedWithoutHandOver", "traffic could not be brought to the baseline within 30 s of the deletion; check the VirtualService");
            }
            if self.seen.lock == Some(Ok(Lock::Mine)) {
                self.effects.push(Effect::Release);
            }
            self.effects.push(Effect::Forget);
        } else {
            self.wait(
                "Deleting",
                "all traffic to return to the baseline",
                self.plan.deleting.map(|d| d + LEAVE_DEADLINE),
            );
            self.effects.push(Effect::Route(0));
            self.again(SignedDuration::from_secs(1));
        }
    }

    /// Turns the collected changes into an answer.
    pub(super) fn finish(mut self, before: &Progress) -> Step {
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
        let wake = if self.progress != *before || news {
            Wake::At(self.now)
        } else {
            self.wake.map_or(Wake::OnChange, Wake::At)
        };
        Step { progress: self.progress, effects: self.effects, notices: self.notices, wake }
    }

    /// Nothing more is expected to come of this experiment.
    fn settled(&self) -> bool {
        self.progress.phase == Phase::Completed || self.plan.deleting.is_some()
    }

    fn queued(&mut self) {
        match &self.seen.lock {
            Some(Ok(Lock::Mine)) => self.enter(Phase::Preparing),
            Some(Ok(Lock::Free)) => self.effects.push(Effect::Claim),
            Some(Ok(Lock::Taken(other))) => {
                let what = format!("target {}, which experiment {other} holds", self.plan.identity.target);
                self.wait("TargetTaken", &what, None);
                self.again(QUEUE);
            }
            Some(Err(u)) => self.missing(u),
            None => {}
        }
    }

    fn preparing(&mut self) {
        let Some(workloads) = self.workloads() else { return };
        if let Some(Err(u)) = &self.seen.routes {
            return self.missing(u);
        }
        match &self.seen.preflight {
            Some(Ok(preflight)) => self.progress.preflight = Some(preflight.clone()),
            Some(Err(u)) => return self.missing(u),
            None if self.plan.gitops.is_some() && self.progress.preflight.is_none() => return,
            None => {}
        }
        for (version, workload) in
            [(&self.plan.baseline, &workloads.baseline), (&self.plan.candidate, &workloads.candidate)]
        {
            if workload.ready == 0 || !workload.exists {
                return self.not_ready(&version.workload, workload.exists);
            }
        }
        if self.seen.history.is_some() {
            self.start();
        }
    }

    /// A workload has no ready replica before the start.
    fn not_ready(&mut self, workload: &str, exists: bool) {
        let until = self.progress.since.map(|s| s + READY_DEADLINE);
        if until.is_some_and(|u| self.now >= u) {
            let sentence = format!("{workload} had no ready replica within {} minutes", READY_DEADLINE.as_mins());
            return self.decide(Outcome::Discard, Reason::CandidateNotReady, sentence);
        }
        let what =
            if exists { format!("a ready replica of {workload}") } else { format!("workload {workload} to exist") };
        self.wait("WorkloadNotReady", &what, until);
        self.again(GLANCE);
    }

    /// Everything is as it must be: the tests are fixed and the first weight is chosen.
    fn start(&mut self) {
        let a = &self.plan.analysis;
        let empty = vec![];
        let history = self.seen.history.as_ref().unwrap_or(&empty);
        self.progress.evidence = self
            .plan
            .criteria
            .iter()
            .enumerate()
            .map(|(i, criterion)| {
                let known = history.get(i).and_then(|h| h.as_ref().ok()).map_or(&[][..], Vec::as_slice);
                let d = judge::dispersion(known);
                let test =
                    judge::ShareTest { limit: criterion.limit, phi: d.phi, mixed: d.mixed, horizon: a.horizon() };
                Evidence { seen: test.start(), test }
            })
            .collect();
        self.progress.rate = shift::rate(history, a.interval);
        self.progress.weight = shift::first_weight(self.plan, self.progress.rate);
        self.enter(Phase::Shifting);
    }

    /// Traffic is shared: readiness first, then the evidence.
    fn running(&mut self) {
        let Some(workloads) = self.workloads() else { return };
        let lost = workloads.candidate.ready == 0;
        if lost && !self.progress.lost {
            self.progress.losses += 1;
            self.warn(
                "CandidateNotReady",
                "the candidate lost its last ready replica; all traffic returns to the baseline",
            );
        }
        if lost != self.progress.lost {
            self.progress.applied = None;
            self.progress.lost = lost;
        }
        if lost && self.progress.losses >= MOST_LOSSES {
            let sentence = format!("the candidate lost its last ready replica {} times", self.progress.losses);
            return self.decide(Outcome::Discard, Reason::CandidateNotReady, sentence);
        }
        self.look();
    }

    /// Both workloads, or a note of why they are unknown.
    fn workloads(&mut self) -> Option<&'a Workloads> {
        match &self.seen.workloads {
            Some(Ok(workloads)) => Some(workloads),
            Some(Err(u)) => {
                self.missing(u);
                None
            }
            None => None,
        }
    }

    /// The weight the candidate is to have now; `None` while the routes are none of our business.
    pub(super) fn weight(&self) -> Option<u8> {
        match self.progress.phase {
            // Before and after, the routes may be another experiment's.
            Phase::Queued | Phase::Preparing | Phase::Completed => None,
            Phase::Shifting | Phase::Deciding if self.progress.lost => Some(0),
            Phase::Shifting | Phase::Deciding => Some(self.progress.weight),
            Phase::Promoting if !self.handing_over() => Some(self.progress.weight),
            Phase::Promoting | Phase::Discarding => Some(0),
        }
    }

    /// Brings the routes to the weight that is wanted, whoever changed them, and notes since when they have it.
    fn keep_weight(&mut self) {
        let (Some(wanted), Some(seen)) = (self.weight(), &self.seen.routes) else { return };
        match seen {
            Ok(routes) if routes.candidate == wanted && routes.baseline == 100 - wanted => self.applied(),
            Ok(_) => self.effects.push(Effect::Route(wanted)),
            Err(u) => {
                self.missing(u);
                // Routes that are left are brought home although others are missing; the same answer is no news.
                if wanted == 0 && u.reason == ROUTE_INCOMPLETE {
                    self.effects.push(Effect::Route(0));
                    self.patient = true;
                }
            }
        }
    }

    /// The routes have the wanted weight.
    fn applied(&mut self) {
        if self.progress.applied.is_none() {
            self.progress.applied = Some(self.now);
        }
        let shared = matches!(self.progress.phase, Phase::Shifting | Phase::Deciding) && !self.progress.lost;
        if shared && self.progress.first_traffic.is_none() {
            self.progress.first_traffic = Some(self.now);
            self.progress.looked = Some(self.now);
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.progress.phase = phase;
        self.progress.waiting = None;
    }

    pub(super) fn wait(&mut self, reason: &str, what: &str, until: Option<Timestamp>) {
        self.progress.waiting = Some(Waiting { reason: reason.into(), what: what.into(), until });
    }

    /// Notes a fact that could not be had; it is asked for again soon.
    pub(super) fn missing(&mut self, u: &Unavailable) {
        self.wait(u.reason, &u.message, None);
        self.again(GLANCE);
    }

    pub(super) fn warn(&mut self, reason: &'static str, message: &str) {
        self.notices.push(Notice { reason, message: message.into(), warning: true });
    }

    /// Come back after this time, or earlier if something else asked for it.
    pub(super) fn again(&mut self, after: SignedDuration) {
        self.at(self.now + after);
    }

    /// Come back at this time, or earlier if something else asked for it.
    pub(super) fn at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |w| w.min(time)));
    }
}

/// The reason with which a world says that some of the routes are missing.
pub(super) const ROUTE_INCOMPLETE: &str = "RouteIncomplete";
/// The reason with which a world says that the routes do not exist.
pub(super) const ROUTE_NOT_FOUND: &str = "RouteNotFound";
