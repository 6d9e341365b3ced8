//! The weight that the routes are to have, and what is done about weights that others wrote.
//!
//! Called by [`super::phases`] at the end of every turn. The wanted weight follows from the progress alone, so that a
//! crash between any two lines is healed by the next turn; what the routes say is never taken over as progress. One
//! foreign edit is obeyed: a person who sends all traffic to the baseline.

use jiff::SignedDuration;

use crate::draft::Turn;
use crate::effects::Effect;
use crate::mutants::{Mutant, on};
use crate::observation::{Routes, Workload, Workloads};
use crate::plan::WhileWaiting;
use crate::progress::{Phase, Repairs};
use crate::split::Split;

/// Field managers that bring Git's manifests to the cluster. Their 100 % baseline is Git's, not a person's decision.
const GITOPS_TOOLS: [&str; 5] =
    ["argocd-controller", "argocd-application-controller", "gitops-engine", "kustomize-controller", "helm-controller"];
/// More foreign edits than this within [`CONTEST`] are a contest, not an accident.
const MOST_EDITS: usize = 5;
/// How long a foreign edit counts towards a contest.
const CONTEST: SignedDuration = SignedDuration::from_mins(5);
/// Time between repairs during a contest: two controllers that overwrite each other must not flood the API server.
const BACK_OFF: SignedDuration = SignedDuration::from_mins(1);
/// Time between two writes of the way home during a contest.
const BREATH: SignedDuration = SignedDuration::from_secs(1);

impl Turn<'_> {
    /// The weights the candidates are to have now; `None` while the routes are none of our business.
    pub(super) fn weight(&self) -> Option<Split> {
        let p = &self.progress;
        let refused = p.refused.as_ref().is_some_and(|r| r.home);
        let absent = refused || p.overridden.is_some() || p.retreated.is_some();
        let chosen = |weight: u8| Split::only(self.chosen(), weight.min(self.carries_of(self.chosen())));
        match p.phase {
            // Before and after, the routes may be another experiment's.
            Phase::Queued | Phase::Preparing | Phase::Completed => None,
            _ if !p.held => None,
            Phase::Shifting | Phase::Deciding | Phase::Promoting if absent => Some(Split::HOME),
            Phase::Shifting | Phase::Deciding => Some(self.shares()),
            Phase::Promoting if self.handing_over() || self.is_lost(self.chosen()) => Some(Split::HOME),
            Phase::Promoting => Some(chosen(self.while_waiting())),
            Phase::Discarding if self.keeps_serving() => Some(chosen(self.while_waiting())),
            Phase::Discarding => Some(Split::HOME),
        }
    }

    /// The chosen candidate's weight between the verdict for it and the hand-over.
    fn while_waiting(&self) -> u8 {
        match self.plan.gitops.as_ref().map(|g| g.waiting).unwrap_or_default() {
            WhileWaiting::Hold => self.progress.weight,
            WhileWaiting::Candidate => 100,
            WhileWaiting::Baseline => 0,
        }
    }

    /// The most that the ready replicas of each candidate carry that has any, percent: all have the same weight. 100 if it
    /// is unknown, nothing if none has one.
    pub(super) fn carries(&self) -> u8 {
        self.serving_ones().map(|at| self.carries_of(at)).min().unwrap_or(0)
    }

    /// The most that the ready replicas of a candidate carry, percent; 100 if it is unknown, nothing without one.
    pub(super) fn carries_of(&self, candidate: usize) -> u8 {
        let (Some(Ok(workloads)), Some(start)) = (&self.seen.workloads, &self.progress.start) else { return 100 };
        let ready = workloads.candidates.get(candidate).map_or(0, |w| u64::from(w.ready));
        if ready == 0 {
            return 0;
        }
        let percent = match self.plan.capacity {
            Some(each) => ready * u64::from(each),
            None => (ready * 100).checked_div(u64::from(start.baseline_ready)).unwrap_or(100),
        };
        u8::try_from(percent.clamp(1, 100)).unwrap_or(100)
    }

    /// The most that a candidate may get now, percent.
    pub(super) fn cap(&self) -> u8 {
        self.plan.cap.min(self.carries())
    }

    /// Lowers a weight that the candidates' ready replicas no longer carry; the ramp goes on from there.
    pub(super) fn fit(&mut self, workloads: &Workloads) {
        let carries = self.carries();
        if self.all_lost() || self.progress.weight <= carries {
            return;
        }
        self.progress.weight = carries;
        if self.progress.phase == Phase::Deciding {
            self.enter(Phase::Shifting);
        }
        let message = format!("final weight {carries} %: {}", self.replicas(workloads));
        self.warn("CapacityLimited", &message);
    }

    /// The candidates' ready replicas, where they are fewest, against those that the baseline started with.
    pub(super) fn replicas(&self, workloads: &Workloads) -> String {
        let of = self.progress.start.as_ref().map_or(0, |s| s.baseline_ready);
        let ready = |at: &usize| workloads.candidates.get(*at).map_or(0, |w: &Workload| w.ready);
        let fewest = self.serving_ones().min_by_key(ready);
        let whose =
            fewest.filter(|_| self.several()).map_or_else(String::new, |at| format!(" of {}", self.version(at).name));
        format!("{} of {of} replicas{whose}", fewest.as_ref().map_or(0, ready))
    }

    /// Whether the baseline has fewer replicas than it started with while it shares the traffic.
    pub(super) fn scaled_down(&self) -> bool {
        let (Some(Ok(workloads)), Some(start)) = (&self.seen.workloads, &self.progress.start) else { return false };
        self.progress.weight > 0 && workloads.baseline.desired < start.baseline_desired
    }

    /// Brings the routes to the weights that are wanted, whoever changed them, and notes since when they have them.
    pub(super) fn keep_weight(&mut self) {
        let (Some(wanted), Some(seen)) = (self.weight(), &self.seen.routes) else { return };
        match seen {
            Ok(_) if self.has(wanted) => self.applied(wanted),
            Ok(routes) if self.progress.carried == Some(wanted) && self.progress.applied.is_some() => {
                self.edited(wanted, routes);
            }
            Ok(routes) => self.insist(wanted, routes),
            Err(u) => {
                self.missing(u);
                // Routes that are left are brought home although others are missing; the same answer is no news.
                if wanted.is_home() && u.cause.routes_are_writable() {
                    self.effects.push(Effect::Route(Split::HOME));
                    self.patient = true;
                }
            }
        }
    }

    /// Since when the routes have carried the ramp's weight.
    pub(super) fn settled_since(&self) -> Option<jiff::Timestamp> {
        let shares = self.shares();
        self.progress.applied.filter(|_| self.progress.carried == Some(shares) && !shares.is_home())
    }

    /// Whether the routes were just seen with these weights.
    fn has(&self, wanted: Split) -> bool {
        matches!(&self.seen.routes, Some(Ok(r)) if r.candidates == wanted && r.baseline == wanted.baseline())
    }

    /// Whether the weights that are wanted last were just seen; then it is noted, because nobody looks again.
    pub(super) fn traffic_is_final(&mut self) -> bool {
        match self.weight() {
            None => true,
            Some(wanted) if self.has(wanted) => {
                self.applied(wanted);
                true
            }
            Some(_) => false,
        }
    }

    /// The routes have the wanted weights.
    fn applied(&mut self, wanted: Split) {
        let p = &mut self.progress;
        p.repairs.asked = None;
        if p.carried != Some(wanted) || p.applied.is_none() {
            (p.carried, p.applied) = (Some(wanted), Some(self.now));
        }
        if matches!(p.phase, Phase::Shifting | Phase::Deciding) && !wanted.is_home() {
            p.first_traffic.get_or_insert(self.now);
            p.looked.get_or_insert(self.now);
        }
    }

    /// Somebody changed weights that were as wanted.
    fn edited(&mut self, wanted: Split, routes: &Routes) {
        self.progress.applied = None;
        let writer = routes.writer.as_deref();
        let person = writer.filter(|w| !GITOPS_TOOLS.contains(w));
        if let Some(person) =
            person.filter(|_| !wanted.is_home() && routes.candidates.is_home() && routes.baseline == 100)
        {
            return self.obey(person);
        }
        if on(Mutant::ForeignWeightAdopted) {
            self.progress.weight = routes.candidates.of(0);
        }
        let contested = self.contested(routes);
        self.progress.repairs.count = self.progress.repairs.count.saturating_add(1);
        if !contested {
            let who = writer.unwrap_or("an unknown field manager");
            let found = std::iter::once(routes.baseline).chain(routes.candidates.weights(self.plan.candidates.len()));
            let found = found.map(|weight| weight.to_string()).collect::<Vec<_>>().join("/");
            let what = format!("{who} set the weights to {found}; they are put right");
            self.warn("WeightsRepaired", &what);
        }
        self.put_right(wanted);
    }

    /// The weights are not as wanted, and were not yet. One write that was lost, by a crash say, is nothing; many are
    /// somebody who writes faster than we look.
    fn insist(&mut self, wanted: Split, routes: &Routes) {
        let resting = self.progress.repairs.not_before.is_some_and(|t| self.now < t);
        if self.progress.repairs.asked == Some(wanted) && !resting && self.contested(routes) {
            self.progress.repairs.count = self.progress.repairs.count.saturating_add(1);
        }
        // The way home is not delayed, but it is not written in a rush for ever either.
        if resting && wanted.is_home() {
            self.patient = true;
            self.again(BREATH);
        }
        self.put_right(wanted);
    }

    /// Notes a foreign edit; whether there were so many that it is a contest, which is told.
    fn contested(&mut self, routes: &Routes) -> bool {
        let now = self.now;
        let repairs = &mut self.progress.repairs;
        repairs.writer.clone_from(&routes.writer);
        repairs.recent.retain(|t| now < *t + CONTEST);
        repairs.recent.push(now);
        let contested = repairs.recent.len() > MOST_EDITS;
        if contested {
            // Only what the back-off needs is kept: the list stays short however long the contest lasts.
            repairs.recent.remove(0);
            repairs.not_before = Some(now + BACK_OFF);
            let who = routes.writer.as_deref().unwrap_or("an unknown field manager");
            let what = format!(
                "{who} changed the weights more than {MOST_EDITS} times in {} minutes; one repair a minute from now on",
                CONTEST.as_mins()
            );
            self.warn("WeightsContested", &what);
        }
        contested
    }

    /// A person sent all traffic to the baseline: that stays until `resume`.
    fn obey(&mut self, person: &str) {
        self.progress.overridden = Some(self.now);
        self.progress.looked = None;
        (self.progress.carried, self.progress.applied) = (Some(Split::HOME), Some(self.now));
        let what = format!("{person} sent all traffic to the baseline; evidence stops until `resume`");
        self.warn("TrafficOverridden", &what);
    }

    /// Writes the wanted weights, unless a contest asks for patience. A way home is never delayed.
    fn put_right(&mut self, wanted: Split) {
        let Repairs { not_before, writer, .. } = &self.progress.repairs;
        let Some(time) = not_before.filter(|t| self.now < *t && !wanted.is_home()) else {
            self.progress.repairs.asked = Some(wanted);
            return self.effects.push(Effect::Route(wanted));
        };
        let who = writer.clone().unwrap_or_else(|| "another field manager".into());
        let what = format!("{who} to leave the weights alone: stop it, or make it ignore them");
        self.wait("WeightsContested", &what, Some(time));
        self.at(time);
        self.progress.repairs.asked = None;
    }
}
