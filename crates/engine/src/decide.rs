//! The verdict: when the evidence is enough, and what follows when it is not and time is up.
//!
//! Bounds: P(Discard | every limit is kept) ≤ false rollback budget; P(Promote as proven | some limit is broken at the
//! final weight) ≤ false promotion budget; both over the whole life of the experiment and any number of looks. An
//! experiment of thresholds has no such bounds: its last iteration decides, and is reported as unproven.

use crate::draft::Turn;
use crate::evidence::Evidence;
use crate::judge;
use crate::observation::Workload;
use crate::plan::OnUndecided;
use crate::progress::{Decision, Phase};
use crate::report::Row;
use crate::rule::Rule;
use crate::sources::Place;
use crate::stage::Stage;
use crate::summary;
use crate::verdict::{Outcome, Reason};

/// Requests per criterion without which even an unproven promotion is refused: fewer say nothing.
const LEAST_UNPROVEN: f64 = 100.0;
/// The same for a gauge, which has one value an interval.
const LEAST_GAUGED: f64 = 5.0;
/// Fail evidence from which an unproven promotion is refused: three to one that a limit is broken.
const SUSPECT: f64 = 3.0;

impl Turn<'_> {
    /// Draws the verdict if the evidence or the clock allows one.
    pub(super) fn verdict(&mut self) {
        if self.reject() {
            return;
        }
        // A held experiment is still protected; everything else waits for the person.
        if let Some(hold) = self.progress.hold.clone() {
            return self.held_up(&hold);
        }
        if self.let_go() || self.promote_the_best() {
            return;
        }
        if let Some((outcome, reason, sentence)) = self.last_iteration() {
            return self.decide(outcome, reason, sentence);
        }
        self.time_is_up();
    }

    /// Takes out the candidates that broke a limit; whether that ended the experiment.
    fn reject(&mut self) -> bool {
        for at in 0..self.plan.candidates.len() {
            let sentence = if self.runs(at) { self.harm(at).or_else(|| self.beyond_at_once(at)) } else { None };
            if let Some(sentence) = sentence {
                self.dismiss(at, Reason::Harmful, sentence);
            }
        }
        !self.is_running()
    }

    /// A candidate's evidence.
    fn evidence(&self, candidate: usize) -> &[Evidence] {
        summary::evidence_of(&self.progress.evidence, candidate)
    }

    /// A threshold that discards at its first value beyond a limit, in one sentence.
    fn beyond_at_once(&self, candidate: usize) -> Option<String> {
        let strict = |e: &&Evidence| matches!(e.criterion.rule, Rule::Threshold { at_once: true, .. }) && e.beyond();
        let broken: Vec<&Evidence> = self.evidence(candidate).iter().filter(strict).collect();
        let told = summary::beyond(&broken, &self.version(candidate).name);
        (!broken.is_empty()).then(|| format!("{told}; its objective rolls back at once, by a threshold alone"))
    }

    /// What the last of Iter8's iterations says. All values within their limits promote at the final weight only: until
    /// it is reached and held, the last iteration is repeated.
    fn last_iteration(&self) -> Option<(Outcome, Reason, String)> {
        let (all, iterations) = (self.plan.iterations?, self.progress.iterations);
        if iterations.done < all || !iterations.last {
            return None;
        }
        let name = &self.version(0).name;
        let broken: Vec<&Evidence> = self.evidence(0).iter().filter(|e| e.beyond()).collect();
        if !broken.is_empty() {
            let sentence = format!("{} in the last of {} iterations", summary::beyond(&broken, name), iterations.done);
            return Some((Outcome::Discard, Reason::Harmful, sentence));
        }
        let sentence = format!(
            "{name} was within every threshold in the last of {} iterations; this rule of Iter8 promises nothing about \
             a wrong decision",
            iterations.done
        );
        (iterations.settled && self.ripe(0)).then_some((Outcome::Promote, Reason::Unproven, sentence))
    }

    /// The criterion that broke its limit, in one sentence.
    fn harm(&self, candidate: usize) -> Option<String> {
        let needed = -self.plan.analysis.false_rollback.ln();
        let blamed = summary::blamed(self.evidence(candidate), needed)?;
        Some(summary::harm(blamed, &self.version(candidate).name))
    }

    /// Whether a candidate was shown to keep every limit.
    pub(super) fn passes(&self, candidate: usize) -> bool {
        let asked = self.evidence(candidate).iter().filter(|e| e.criterion.rule.has_to_pass());
        let beta = self.plan.analysis.false_promotion;
        let needed = -beta.ln();
        // Most looks end here, without a sum over the alternatives.
        let possible = || asked.clone().all(|e| e.log_pass_at_most() >= needed && !e.rests_on_one(needed));
        self.ripe(candidate)
            && self.is_current(candidate)
            && possible()
            && judge::combine_pass(asked.clone().map(Evidence::log_pass), beta)
    }

    /// Whether every metric of a candidate is known up to the last interval.
    fn is_current(&self, candidate: usize) -> bool {
        let place = |e: &Evidence| self.progress.places.get(e.criterion.source);
        self.evidence(candidate).iter().all(|e| place(e).is_none_or(Place::is_current))
    }

    /// Whether a promotion is due at all: the candidate serves, and has soaked at the final weight.
    fn ripe(&self, candidate: usize) -> bool {
        let soaked = self.settled_since().is_some_and(|t| self.now >= t + self.plan.analysis.soak);
        self.progress.phase == Phase::Deciding
            && !self.is_lost(candidate)
            && self.progress.retreated.is_none()
            && soaked
    }

    pub(super) fn time_is_up(&mut self) {
        let a = &self.plan.analysis;
        let Some(began) = self.progress.began().filter(|_| self.progress.hold.is_none()) else { return };
        let (deadline, hard) = (began + a.deadline, began + a.hard_deadline);
        if self.now >= deadline
            && let Some((at, sentence)) = self.better_than_baseline()
        {
            self.decide_on(at, Outcome::Promote, Reason::Proven, sentence);
        } else if self.now >= hard || self.now >= deadline && a.on_undecided == OnUndecided::Discard {
            let sentence =
                format!("no verdict within {} s of the first traffic", self.now.duration_since(began).as_secs());
            self.decide(Outcome::Discard, Reason::Undecided, sentence);
        } else if self.now >= deadline
            && a.on_undecided == OnUndecided::PromoteUnproven
            && let Some(at) = self.leader().filter(|at| self.unsuspicious(*at))
        {
            let name = &self.version(at).name;
            let sentence = format!("{name} was promoted at the deadline without proof, as its experiment asks");
            self.decide_on(at, Outcome::Promote, Reason::Unproven, sentence);
        } else {
            self.at(if self.now < deadline { deadline } else { hard });
        }
    }

    /// Every criterion has data at the final weight and none speaks against the candidate.
    fn unsuspicious(&self, candidate: usize) -> bool {
        self.progress.phase == Phase::Deciding
            && !self.is_lost(candidate)
            && self.is_current(candidate)
            && self.progress.race.as_ref().is_none_or(|race| race.is_unsuspicious(candidate, LEAST_UNPROVEN))
            && self.evidence(candidate).iter().all(|e| {
                let asked = e.criterion.rule.has_to_pass();
                let gauge = matches!(e.criterion.rule, Rule::Mean { gauge: true, .. } | Rule::Threshold { .. });
                let least = if gauge { LEAST_GAUGED } else { LEAST_UNPROVEN };
                (!asked || e.samples() >= least && e.within()) && e.log_fail() < SUSPECT.ln()
            })
    }

    /// [`Self::decide_on`] all candidates alike, or the one that was decided on before.
    pub(super) fn decide(&mut self, outcome: Outcome, reason: Reason, sentence: String) {
        self.decide_on(self.chosen(), outcome, reason, sentence);
    }

    /// Freezes a verdict and enters the phase that carries it out.
    pub(super) fn decide_on(&mut self, candidate: usize, outcome: Outcome, reason: Reason, sentence: String) {
        let rows: Vec<Row> = summary::rows(self.plan, &self.progress);
        let race = summary::race_rows(self.plan, &self.progress);
        let (at, weight) = (self.now, self.progress.weight);
        let (baseline_images, candidate_images) = match &self.seen.workloads {
            Some(Ok(w)) => (images(&w.baseline), w.candidates.get(candidate).map(images).unwrap_or_default()),
            Some(Err(_)) | None => (vec![], vec![]),
        };
        let decision = Decision {
            outcome,
            reason,
            sentence,
            at,
            candidate,
            weight,
            rows,
            race,
            baseline_images,
            candidate_images,
        };
        self.progress.decision = Some(decision);
        self.progress.hold = None;
        match outcome {
            Outcome::Promote => self.enter(Phase::Promoting),
            Outcome::Discard => self.enter(Phase::Discarding),
        }
    }

    /// Discards a candidate, be it decided on already: a promotion that was merged is taken back by a request of its own.
    pub(super) fn overturn(&mut self, reason: Reason, sentence: String) {
        let merged = self.promoted();
        let verdict = self.progress.decision.take();
        if let Some(verdict) = verdict {
            // The versions and their numbers stay those of the verdict: later ones were not judged.
            let (rows, race, weight) = (verdict.rows.clone(), verdict.race.clone(), verdict.weight);
            self.decide_on(verdict.candidate, Outcome::Discard, reason, sentence);
            if let Some(decision) = &mut self.progress.decision {
                (decision.rows, decision.race, decision.weight) = (rows, race, weight);
            }
            self.progress.overturned = Some(Box::new(verdict));
        } else {
            self.decide(Outcome::Discard, reason, sentence);
        }
        if merged && !self.reverting() {
            self.begin(Stage::Revert);
        }
    }
}

fn images(workload: &Workload) -> Vec<String> {
    workload.images.values().cloned().collect()
}
