//! The verdict: when the evidence is enough, and what follows when it is not and time is up.
//!
//! Bounds: P(Discard | every limit is kept) ≤ false rollback budget; P(Promote as proven | some limit is broken at the
//! final weight) ≤ false promotion budget; both over the whole life of the experiment and any number of looks.

use super::judge;
use super::observation::Workload;
use super::phases::Turn;
use super::plan::OnUndecided;
use super::progress::{Decision, Outcome, Phase, Reason};
use super::report::{self, Row};

/// Requests per criterion without which even an unproven promotion is refused: fewer say nothing.
const LEAST_UNPROVEN: f64 = 100.0;
/// Fail evidence from which an unproven promotion is refused: three to one that a limit is broken.
const SUSPECT: f64 = 3.0;

impl Turn<'_> {
    /// Draws the verdict if the evidence or the clock allows one.
    pub(super) fn verdict(&mut self) {
        if let Some(sentence) = self.harm() {
            return self.decide(Outcome::Discard, Reason::Harmful, sentence);
        }
        if self.proven() {
            let sentence =
                format!("{} keeps every limit at {} % of the traffic", self.plan.candidate.name, self.progress.weight);
            return self.decide(Outcome::Promote, Reason::Proven, sentence);
        }
        self.time_is_up();
    }

    /// The criterion that broke its limit, in one sentence.
    fn harm(&self) -> Option<String> {
        let needed = -self.plan.analysis.false_rollback.ln();
        if report::log_fail(&self.progress) < needed {
            return None;
        }
        let blamed = self
            .progress
            .evidence
            .iter()
            .zip(&self.plan.criteria)
            .filter(|(e, _)| e.test.enough_bad(&e.seen))
            .max_by(|(a, _), (b, _)| a.test.log_fail(&a.seen).total_cmp(&b.test.log_fail(&b.seen)));
        let (e, criterion) = blamed?;
        let total = e.test.totals(&e.seen);
        Some(format!(
            "{} broke its limit of {} %: {:.0} of {:.0} requests to {} were bad",
            criterion.metric,
            percent(criterion.limit),
            total.bad,
            total.requests,
            self.plan.candidate.name
        ))
    }

    fn proven(&self) -> bool {
        let soaked = self.progress.applied.is_some_and(|t| self.now >= t + self.plan.analysis.soak);
        let logs = self.progress.evidence.iter().map(|e| e.test.log_pass(&e.seen));
        self.progress.phase == Phase::Deciding
            && !self.progress.lost
            && soaked
            && judge::combine_pass(logs, self.plan.analysis.false_promotion)
    }

    fn time_is_up(&mut self) {
        let a = &self.plan.analysis;
        let Some(began) = self.progress.first_traffic else { return };
        let (deadline, hard) = (began + a.deadline, began + a.hard_deadline);
        if self.now >= hard || self.now >= deadline && a.on_undecided == OnUndecided::Discard {
            let sentence =
                format!("no verdict within {} s of the first traffic", self.now.duration_since(began).as_secs());
            self.decide(Outcome::Discard, Reason::Undecided, sentence);
        } else if self.now >= deadline && a.on_undecided == OnUndecided::PromoteUnproven && self.unsuspicious() {
            let sentence = format!(
                "{} was promoted at the deadline without proof, as its experiment asks",
                self.plan.candidate.name
            );
            self.decide(Outcome::Promote, Reason::Unproven, sentence);
        } else {
            self.at(if self.now < deadline { deadline } else { hard });
        }
    }

    /// Every criterion has data at the final weight and none speaks against the candidate.
    fn unsuspicious(&self) -> bool {
        self.progress.phase == Phase::Deciding
            && !self.progress.lost
            && self.progress.evidence.iter().all(|e| {
                let total = e.test.totals(&e.seen);
                total.requests >= LEAST_UNPROVEN
                    && total.bad / total.requests <= e.test.limit
                    && e.test.log_fail(&e.seen) < SUSPECT.ln()
            })
    }

    /// Freezes a verdict and enters the phase that carries it out.
    pub(super) fn decide(&mut self, outcome: Outcome, reason: Reason, sentence: String) {
        let rows: Vec<Row> = report::rows(self.plan, &self.progress);
        let (at, weight) = (self.now, self.progress.weight);
        let (baseline_images, candidate_images) = match &self.seen.workloads {
            Some(Ok(w)) => (images(&w.baseline), images(&w.candidate)),
            Some(Err(_)) | None => (vec![], vec![]),
        };
        let decision = Decision { outcome, reason, sentence, at, weight, rows, baseline_images, candidate_images };
        self.progress.decision = Some(decision);
        match outcome {
            Outcome::Promote => self.enter(Phase::Promoting),
            Outcome::Discard => {
                self.progress.applied = None;
                self.enter(Phase::Discarding);
            }
        }
    }
}

fn images(workload: &Workload) -> Vec<String> {
    workload.images.values().cloned().collect()
}

/// A share as a percentage with no more digits than it needs.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}
