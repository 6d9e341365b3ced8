//! The candidates: which of them are still in the running, and how one leaves while others go on.
//!
//! Called by [`super::phases`] and [`super::decide`]. An experiment with one candidate ends with it. One of several that
//! breaks a limit, changes, loses its replicas or is outdone gives its share back to the baseline, and the others go on as
//! they were: their weights do not grow by it, for what a verdict promises is about the weight at which it fell.

use jiff::SignedDuration;

use crate::contest::Contest;
use crate::draft::Turn;
use crate::observation::{Workload, Workloads};
use crate::plan::{Plan, Version};
use crate::progress::{Entrant, Left, Phase, Progress, runs};
use crate::split::Split;
use crate::verdict::{Outcome, Reason};

/// How long a candidate may take to become ready before it is discarded: several image pulls and a slow start.
pub(crate) const READY_DEADLINE: SignedDuration = SignedDuration::from_mins(10);
/// How often a candidate may lose its last ready replica.
const MOST_LOSSES: u32 = 3;

/// The candidates of several that have left or cannot serve: their parts need not be as they should, and no request is theirs.
pub(super) fn idle(plan: &Plan, progress: &Progress) -> Vec<usize> {
    let idle = |at: &usize| progress.entrants.get(*at).is_some_and(|e| e.left.is_some() || e.lost.is_some());
    if plan.candidates.len() > 1 { (0..plan.candidates.len()).filter(idle).collect() } else { vec![] }
}

impl<'a> Turn<'a> {
    /// A candidate, by its position in the plan.
    pub(super) fn version(&self, candidate: usize) -> &'a Version {
        self.plan.candidates.get(candidate).unwrap_or(&self.plan.baseline)
    }

    /// Whether more than one candidate takes part.
    pub(super) fn several(&self) -> bool {
        self.plan.candidates.len() > 1
    }

    /// Whether a candidate has not left.
    pub(super) fn runs(&self, candidate: usize) -> bool {
        runs(&self.progress.entrants, candidate)
    }

    /// Positions of the candidates that have not left.
    pub(super) fn running_ones(&self) -> impl Iterator<Item = usize> + use<'_, 'a> {
        (0..self.plan.candidates.len()).filter(|at| self.runs(*at))
    }

    /// Whether the last step found a candidate without a ready replica.
    pub(super) fn is_lost(&self, candidate: usize) -> bool {
        self.progress.entrants.get(candidate).is_some_and(|e| e.lost.is_some())
    }

    /// Whether a candidate has not left, and has a ready replica.
    fn serves(&self, candidate: usize) -> bool {
        self.runs(candidate) && !self.is_lost(candidate)
    }

    /// Positions of the candidates that have not left and have a ready replica.
    pub(super) fn serving_ones(&self) -> impl Iterator<Item = usize> + use<'_, 'a> {
        (0..self.plan.candidates.len()).filter(|at| self.serves(*at))
    }

    /// Whether no candidate that has not left has a ready replica.
    pub(super) fn all_lost(&self) -> bool {
        self.serving_ones().next().is_none()
    }

    /// The ramp's weight for each candidate that has not left and can serve.
    pub(super) fn shares(&self) -> Split {
        let weight = |at| if self.serves(at) { self.progress.weight } else { 0 };
        (0..self.plan.candidates.len()).map(weight).collect()
    }

    /// The candidate that the decision is about; before one, the first.
    pub(super) fn chosen(&self) -> usize {
        self.progress.decision.as_ref().map_or(0, |d| d.candidate)
    }

    fn entrant(&mut self, candidate: usize) -> &mut Entrant {
        let entrants = &mut self.progress.entrants;
        if entrants.len() <= candidate {
            entrants.resize_with(candidate + 1, Entrant::default);
        }
        #[allow(clippy::indexing_slicing, reason = "it was made as long as needed above")]
        &mut entrants[candidate]
    }

    /// The candidates as they are at the start, and their race. One that did not become ready takes no part.
    pub(super) fn enter_all(&mut self, workloads: &Workloads) {
        for (at, workload) in workloads.candidates.iter().enumerate() {
            workload.content.clone_into(&mut self.entrant(at).content);
        }
        self.begin_race();
    }

    /// Before the start the candidates may be edited: what is known of another workload is void.
    pub(super) fn mind_edits(&mut self) {
        let plan = self.plan;
        self.progress.entrants.truncate(plan.candidates.len());
        for (entrant, version) in self.progress.entrants.iter_mut().zip(&plan.candidates) {
            if !entrant.workload.is_empty() && entrant.workload != version.workload {
                *entrant = Entrant::default();
            }
        }
    }

    /// The race is about this final weight; what another one has shown is void.
    pub(super) fn race_at(&mut self, weight: u8) {
        if self.progress.race.as_ref().is_some_and(|race| race.weight != 0 && race.weight != weight) {
            self.begin_race();
        }
        if let Some(race) = &mut self.progress.race {
            race.weight = weight;
        }
    }

    /// The race from its beginning, among those that have not left.
    pub(super) fn begin_race(&mut self) {
        let mut race = Contest::start(self.plan);
        let weight = self.progress.race.as_ref().map_or(0, |race| race.weight);
        if let Some(race) = &mut race {
            race.weight = weight;
            (0..self.plan.candidates.len()).filter(|at| !self.runs(*at)).for_each(|at| race.drop_out(at));
        }
        self.progress.race = race;
    }

    /// Takes out those that changed or have lost their replicas for good. What one of several says of its end is in its
    /// entry; the last one ends the experiment.
    pub(super) fn look_over(&mut self, workloads: &Workloads) {
        for at in 0..self.plan.candidates.len() {
            let unfit = if self.runs(at) { self.unfit(at, workloads) } else { None };
            if let Some((reason, sentence)) = unfit {
                self.dismiss(at, reason, sentence);
            }
        }
    }

    /// Why a candidate can be tried no longer, if that is so; counts its losses.
    pub(super) fn unfit(&mut self, candidate: usize, workloads: &Workloads) -> Option<(Reason, String)> {
        let workload = workloads.candidates.get(candidate)?;
        if self.changed(candidate, workload) {
            let name = &self.version(candidate).workload;
            let sentence = format!("{name} was changed while it was tried; a new experiment tries what it is now");
            return Some((Reason::CandidateChanged, sentence));
        }
        let why = self.lost_for_good(candidate, workload)?;
        Some((Reason::CandidateNotReady, why))
    }

    /// Whether a candidate runs something else than at the start.
    fn changed(&self, candidate: usize, workload: &Workload) -> bool {
        let before = self.progress.entrants.get(candidate).map_or("", |e| e.content.as_str());
        workload.exists && !before.is_empty() && workload.content != before
    }

    /// Counts losses of a candidate's last ready replica; why there were too many, or one was too long.
    fn lost_for_good(&mut self, candidate: usize, workload: &Workload) -> Option<String> {
        let (now, several) = (self.now, self.several());
        let name = if several { self.version(candidate).name.as_str() } else { "the candidate" };
        let entrant = self.entrant(candidate);
        if workload.ready > 0 {
            entrant.lost = None;
            return None;
        }
        let news = entrant.lost.is_none();
        let since = *entrant.lost.get_or_insert(now);
        entrant.losses = entrant.losses.saturating_add(u32::from(news));
        let losses = entrant.losses;
        if news {
            let what = if several { "its" } else { "all" };
            let what = format!("{name} lost its last ready replica; {what} traffic returns to the baseline");
            self.warn("CandidateNotReady", &what);
        }
        if losses >= MOST_LOSSES {
            return Some(format!("{name} lost its last ready replica {losses} times"));
        }
        // Alone it is waited for until its deadline; here others wait with it.
        let late = several && now >= since + READY_DEADLINE;
        late.then(|| format!("{name} had no ready replica for {} minutes", READY_DEADLINE.as_mins()))
    }

    /// One candidate leaves; the last one ends the experiment.
    pub(super) fn dismiss(&mut self, candidate: usize, reason: Reason, sentence: String) {
        if !self.running_ones().any(|other| other != candidate) {
            return self.decide_on(candidate, Outcome::Discard, reason, sentence);
        }
        if reason != Reason::Outperformed
            && let Some(race) = &mut self.progress.race
        {
            race.drop_out(candidate);
        }
        let what = format!("{} is out: {sentence}; its traffic returns to the baseline", self.version(candidate).name);
        let (name, at) = (self.version(candidate).workload.clone(), self.now);
        let entrant = self.entrant(candidate);
        (entrant.workload, entrant.left) = (name, Some(Left { reason, sentence, at }));
        self.warn("CandidateDismissed", &what);
    }

    /// Whether traffic is still shared.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.progress.phase, Phase::Shifting | Phase::Deciding)
    }
}
