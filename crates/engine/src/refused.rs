//! A resource that cannot be carried out as it is written: it was edited, lost what it refers to, or never was possible.
//!
//! Called by [`super::phases`]. Without traffic it stands aside in the queue. With traffic nobody knows what such an
//! experiment is to be judged by, so that the candidate serves nobody meanwhile: the plan is what the resource said
//! before, and by it traffic comes home. Mended, it goes on where it was, with the evidence it has; else it ends at its
//! hard deadline. Once its promotion is merged both versions are to be the same, and the hand-over goes on as it was
//! planned: there, away from the candidate is no way to safety.

use jiff::Timestamp;

use crate::draft::Turn;
use crate::fact::Unavailable;
use crate::progress::{Phase, Refused};
use crate::verdict::{Outcome, Reason};

impl Turn<'_> {
    /// Notes that the resource is refused, or that it is mended.
    pub(super) fn mind_refusal(&mut self) {
        let ours = self.progress.phase != Phase::Completed;
        match (&self.plan.refused, self.progress.refused.take()) {
            (Some(refusal), before) if ours => {
                let news = before.as_ref().is_none_or(|r| r.cause != refusal.cause || r.message != refusal.message);
                let home = before.as_ref().map_or_else(|| !self.promoted(), |r| r.home);
                if news {
                    self.warn(refusal.cause.word(), &self.refusal_sentence(refusal, home));
                }
                // What flows until the candidate is without traffic is not judged: the next interval begins when it has
                // some again. While traffic is away already, it is the baseline that is looked at.
                if before.is_none() && home && self.progress.retreated.is_none() {
                    self.progress.looked = None;
                }
                self.progress.refused = Some(Refused {
                    since: before.map_or(self.now, |r| r.since),
                    cause: refusal.cause,
                    message: refusal.message.clone(),
                    home,
                });
            }
            (None, Some(_)) => {
                self.progress.waiting = None;
                self.tell("RefusalEnded", "the experiment can be carried out again as it is written; it goes on");
            }
            (_, _) => {}
        }
    }

    fn refusal_sentence(&self, refusal: &Unavailable, home: bool) -> String {
        let away = home && matches!(self.progress.phase, Phase::Shifting | Phase::Deciding | Phase::Promoting);
        let traffic = if away { "; all traffic returns to the baseline until it is mended" } else { "" };
        format!("{}{traffic}", refusal.message)
    }

    /// Waits for the remedy with all traffic at the baseline, no longer than for a verdict.
    pub(super) fn refused(&mut self, refusal: &Unavailable) {
        let until = self.refused_until();
        if self.now >= until {
            let sentence = format!("no verdict: the experiment could not be carried out any more: {}", refusal.message);
            return self.decide(Outcome::Discard, Reason::Undecided, sentence);
        }
        self.missing(refusal);
        self.wait(refusal.cause.word(), &format!("a remedy: {}", refusal.message), Some(until));
        self.at(until);
    }

    /// When a refused experiment that has no verdict ends: at its hard deadline, which is counted from here if no clock
    /// runs.
    fn refused_until(&self) -> Timestamp {
        let since = self.progress.refused.as_ref().map_or(self.now, |r| r.since);
        let began = self.progress.began().filter(|_| self.progress.hold.is_none());
        began.unwrap_or(since) + self.plan.analysis.hard_deadline
    }
}
