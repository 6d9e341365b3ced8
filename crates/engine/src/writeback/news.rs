//! Keeps the text of an open request up to date: what the request waits for, and what the guard has seen since the
//! verdict.
//!
//! Called by [`super::super::phases`] at the end of a turn. The text says itself what it tells and since when, so that
//! nothing of it has to be remembered, and waiting still writes no status. A text that a person changed is theirs.

use jiff::{SignedDuration, Timestamp};

use crate::draft::Turn;
use crate::effects::Effect;
use crate::mutants::{Mutant, on};
use crate::plan::Plan;
use crate::progress::{Phase, Progress, StageProgress};
use crate::report::{Guarded, News};
use crate::stage::{PullState, RequestSeen, Stage, StageState, TextSeen};
use crate::writeback::automerge;

/// The least time between two texts of one request: people who are told of each change shall not mute them.
const LEAST: SignedDuration = SignedDuration::from_mins(5);
/// What an open request can wait for, as far as its text says so.
const TOLD: [&str; 5] = ["WaitingForReview", "WaitingForChecks", "RequestEdited", "BaseConflict", "ReviewOverdue"];

/// What is known of a stage's request now.
pub(crate) fn news(plan: &Plan, progress: &Progress, stage: &StageProgress) -> News {
    let waiting = progress.waiting.as_ref().filter(|_| stage.state() == StageState::Waiting);
    let waits = waiting.map(|w| w.reason.as_str()).filter(|reason| TOLD.contains(reason));
    let watch = progress.watch.as_ref().filter(|w| w.passed > 0 && stage.stage() == Stage::Promote);
    News {
        waits: waits.unwrap_or_else(|| automerge::awaited(plan, stage.stage())).to_owned(),
        guard: watch.map(|w| Guarded { since: w.first, windows: w.passed, rows: w.last.clone() }),
    }
}

/// Whether the text of a request was written a moment ago, so that another one has to wait.
pub(super) fn is_young(seen: &RequestSeen, now: Timestamp) -> bool {
    match seen.pull.as_ref().and_then(|pull| pull.text.as_ref()) {
        Some(TextSeen::Ours { at, .. }) => now < *at + LEAST,
        Some(TextSeen::Edited) | None => false,
    }
}

impl Turn<'_> {
    /// Writes the text of an open request anew if it does not tell the news, not too often.
    pub(crate) fn keep_text(&mut self) {
        let Some(stage) = self.progress.stages.last().filter(|s| s.state() == StageState::Waiting) else { return };
        // One that is about to be closed is closed with its reason.
        if stage.stage() == Stage::Promote && self.progress.phase == Phase::Discarding {
            return;
        }
        let Some(seen) = self.request_known() else { return };
        let open = |state: &PullState| *state == PullState::Open;
        let Some(pull) = seen.pull.as_ref().filter(|p| open(&p.state) && stage.number() == Some(p.number)) else {
            return;
        };
        let told = match &pull.text {
            Some(TextSeen::Ours { news, .. }) if !is_young(seen, self.now) => Some(news.as_str()),
            Some(TextSeen::Edited) if on(Mutant::ForeignTextReplaced) => Some(""),
            Some(TextSeen::Ours { .. } | TextSeen::Edited) | None => None,
        };
        let (Some(told), Some((request, (base, _)))) = (told, self.work()) else { return };
        if !request.report.news.is_told(told) {
            self.effects.push(Effect::Rewrite { request, base, number: pull.number, at: self.now });
            // It comes to be with the next look: nothing else waits for it.
            self.patient = true;
        }
    }
}
