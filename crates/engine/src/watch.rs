//! The guard: a candidate that was decided on and still serves is watched until its traffic ends.
//!
//! A fresh Fail test in each window (length: the deadline), stricter than the verdict's, because windows follow each
//! other for as long as a review takes. Its memory is in the process alone: a lost one begins a new window, and the
//! promise, at most [`FALSE_ALARM`] for each window, is the same.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::draft::Turn;
use crate::evidence::Evidence;
use crate::fact::Window;
use crate::plan::Plan;
use crate::progress::{Phase, Progress, Watch};
use crate::reading::Reading;
use crate::sources;
use crate::summary;
use crate::verdict::Reason;

/// The largest probability that a candidate within its limits trips the guard in one window.
pub(super) const FALSE_ALARM: f64 = 0.01;

/// The interval that is due, if the guard is armed.
pub(super) fn due(plan: &Plan, progress: &Progress, now: Timestamp) -> Option<Window> {
    // There is a watch only while a decided candidate serves.
    let watch = progress.watch.as_ref().filter(|_| matches!(progress.phase, Phase::Promoting | Phase::Discarding))?;
    let (from, to) = (watch.looked, now - plan.analysis.lag);
    let patient = watch.unanswered.is_none_or(|t| now >= t + plan.analysis.interval);
    (patient && to >= from + plan.analysis.interval).then_some(Window { from, to })
}

/// The sources whose interval begins earlier, if the guard is armed.
pub(super) fn behind(progress: &Progress) -> BTreeMap<usize, Timestamp> {
    progress.watch.iter().flat_map(|watch| sources::behind(&watch.places)).collect()
}

impl Turn<'_> {
    /// Keeps the guard armed while the candidate serves, and acts when it trips.
    pub(super) fn guard(&mut self) {
        let serving = self.weight().is_some_and(|w| !w.is_home() && self.progress.carried == Some(w));
        let decided = self.progress.phase == Phase::Promoting || self.keeps_serving();
        if !decided || !serving {
            self.progress.watch = None;
            return;
        }
        let mut watch = self.progress.watch.take().unwrap_or_else(|| self.window(self.now));
        if let Some(reading) = self.seen.reading.as_ref().filter(|r| r.window.from == watch.looked) {
            self.watch_over(&mut watch, reading);
        }
        let a = &self.plan.analysis;
        if let Some(blamed) = summary::blamed(&watch.evidence, -FALSE_ALARM.ln()) {
            return self.trip(blamed, watch.since);
        }
        if self.now >= watch.since + a.deadline {
            watch = Watch {
                looked: watch.looked,
                places: watch.places,
                first: watch.first,
                passed: watch.passed.saturating_add(1),
                last: summary::rows_of(self.plan, &watch.evidence),
                ..self.window(self.now)
            };
        }
        let next = watch.looked + a.interval + a.lag;
        self.at(watch.unanswered.map_or(next, |t| next.max(t + a.interval)));
        self.progress.watch = Some(watch);
    }

    /// A fresh window.
    fn window(&self, now: Timestamp) -> Watch {
        let a = &self.plan.analysis;
        // As for the experiment itself: a horizon of two intervals is the least that the mixture is defined for.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let horizon = (a.deadline.as_secs_f64() / a.interval.as_secs_f64().max(0.001)).ceil().clamp(2.0, 1e7) as u32;
        let evidence = summary::evidence_of(&self.progress.evidence, self.chosen());
        let evidence = evidence.iter().map(|e| e.afresh(horizon)).collect();
        Watch {
            since: now,
            first: now,
            passed: 0,
            last: vec![],
            looked: now,
            unanswered: None,
            places: vec![],
            evidence,
        }
    }

    /// Adds one interval; what could not be read stays open and lands in a longer one.
    fn watch_over(&mut self, watch: &mut Watch, reading: &Reading) {
        let taken = self.take_in(&mut watch.places, reading);
        for e in &mut watch.evidence {
            if let Some(pair) = taken.pair(e.criterion.source) {
                e.update(&pair, false);
            }
        }
        if taken.answered {
            (watch.looked, watch.unanswered) = (reading.window.to, None);
        } else {
            watch.unanswered = Some(self.now);
        }
    }

    /// The candidate broke a limit after its verdict.
    fn trip(&mut self, blamed: &Evidence, since: Timestamp) {
        let sentence =
            format!("after the verdict, since {since}: {}", summary::harm(blamed, &self.version(self.chosen()).name));
        let reason = if self.promoted() { Reason::GuardTrippedAfterMerge } else { Reason::GuardTripped };
        self.warn(reason.as_str(), &sentence);
        self.overturn(reason, sentence);
    }
}
