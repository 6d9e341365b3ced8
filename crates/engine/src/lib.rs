//! The choices of Reiter8, all of them, as two pure functions.
//!
//! [`ask`] says what has to be read; [`step`] takes what was seen and says what to remember, what to do, what to tell
//! and when to come back. Neither knows Kubernetes, Git, Prometheus, a clock, randomness or threads: time is an
//! argument, a missing fact is a value, and a test keeps impure imports out. The controller, the demo, `simulate` and
//! the fault tests all run them through `turn`.
//!
//! A step is a fixpoint: against the world that its effects ask for, it changes nothing and wants nothing.

mod attribution;
mod cause;
mod contest;
mod decide;
mod draft;
mod effects;
mod entrants;
mod evidence;
mod fact;
pub mod judge;
pub mod mutants;
mod observation;
mod phases;
mod plan;
mod progress;
mod race;
mod reading;
mod refused;
mod report;
mod requests;
mod rest;
mod rule;
mod shift;
mod sources;
mod split;
mod stage;
mod summary;
mod traffic;
mod verdict;
mod watch;
mod writeback;

use jiff::{SignedDuration, Timestamp};

pub use cause::Cause;
pub use contest::{Contest, race_test};
pub use effects::{Effect, Notice, Step, Wake};
pub use evidence::{Evidence, Trial};
pub use fact::{CommitId, Seen, Unavailable, Window};
pub use observation::{Lock, Observation, Questions, Rollout, Routes, Synced, Workload, Workloads};
pub use plan::{
    Analysis, AutoMerge, Gitops, Handover, Identity, OnUndecided, Plan, Race, Ramp, Rung, Verb, Version, WhileWaiting,
    Wish,
};
pub use progress::{
    Decision, Entrant, HeldBy, Hold, Left, Phase, Progress, Refused, Repairs, StageProgress, Start, Waiting, Watch,
    runs,
};
pub use reading::{Answer, Growth, Pair, Reading, Void};
pub use report::{ArmRow, Guarded, News, Report, Row, Running, Verdict};
pub use rest::Rest;
pub use rule::{Criterion, Rule, number};
pub use sources::Place;
pub use split::{MOST_CANDIDATES, Split};
pub use stage::{
    Conflict, Look, Planned, Preflight, Pull, PullState, Request, RequestSeen, Reviewed, Stage, StageQuestion,
    StageSeen, StageState, StageWork, TextSeen,
};
pub use summary::{race_rows, rows};
pub use verdict::{Outcome, Reason};
pub use writeback::request;

/// Baseline data read before an experiment starts: enough to see how bad requests clump.
pub const HISTORY: SignedDuration = SignedDuration::from_hours(1);

/// What has to be read before the next step.
pub fn ask(plan: &Plan, progress: &Progress, now: Timestamp) -> Questions {
    // What is refused is neither prepared nor judged.
    let accepted = plan.refused.is_none();
    let running = matches!(progress.phase, Phase::Shifting | Phase::Deciding) && accepted;
    let preparing = progress.phase == Phase::Preparing && plan.deleting.is_none() && accepted;
    // While a workload is not ready nothing else decides: its pods are watched, the rest is read when they are there.
    let ready = preparing && progress.waiting.as_ref().is_none_or(|w| w.reason != phases::NOT_READY);
    let end = now - plan.analysis.lag;
    let decided = progress.phase == Phase::Discarding && plan.deleting.is_none();
    Questions {
        quiet: writeback::is_quiet(plan, progress, now),
        window: if running { shift::due(plan, progress, now) } else { watch::due(plan, progress, now) },
        behind: if running { sources::behind(&progress.places).collect() } else { watch::behind(progress) },
        history: ready.then_some(Window { from: end - HISTORY, to: end }),
        history_step: plan.analysis.interval.as_secs_f64(),
        preflight: (preparing || decided) && plan.gitops.is_some() && progress.preflight.is_none(),
        stage: writeback::question(plan, progress, now),
        rollout: writeback::rollout(progress),
        sync: progress.preflight.as_ref().filter(|_| ready).map(|p| p.base.clone()),
        subsets: ready,
        idle: entrants::idle(plan, progress),
    }
}

/// What is remembered of an effect that could not be done, for people: the next step derives it again.
pub fn failed(plan: &Plan, progress: &Progress, effect: &Effect, why: &Unavailable, now: Timestamp) -> Progress {
    let nothing = Observation::default();
    let mut turn = draft::Turn::new(plan, progress.clone(), &nothing, now);
    turn.note_failure(effect, why);
    turn.progress
}

/// One step: from what is remembered and what was seen to what is to be remembered and done.
pub fn step(plan: &Plan, progress: &Progress, seen: &Observation, now: Timestamp) -> Step {
    let mut turn = draft::Turn::new(plan, progress.clone(), seen, now);
    if plan.deleting.is_some() {
        turn.leave();
    } else {
        turn.advance();
    }
    turn.finish(progress)
}
