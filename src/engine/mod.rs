//! The choices of Reiter8, all of them, as two pure functions.
//!
//! [`ask`] says what has to be read; [`step`] takes what was seen and says what to remember, what to do, what to tell
//! and when to come back. Neither knows Kubernetes, Git, Prometheus, a clock, randomness or threads: time is an
//! argument, a missing fact is a value, and a test keeps impure imports out. The controller, the demo, `simulate` and
//! the fault tests all run them through [`crate::turn`].
//!
//! A step is a fixpoint: against the world that its effects ask for, it changes nothing and wants nothing.

mod decide;
mod effects;
pub mod judge;
mod observation;
mod phases;
mod plan;
mod progress;
mod report;
mod shift;
mod writeback;

use jiff::{SignedDuration, Timestamp};

pub use effects::{Effect, Notice, Step, Wake};
pub use observation::{
    CommitId, Lock, Look, Observation, Pair, Planned, Preflight, Pull, PullState, Questions, Reading, Request, Rollout,
    Routes, Seen, StageQuestion, StageSeen, Synced, Unavailable, Window, Workload, Workloads,
};
pub use plan::{Analysis, Criterion, Gitops, Identity, OnUndecided, Plan, Ramp, Rung, Version};
pub use progress::{
    Decision, Evidence, Outcome, Phase, Progress, Reason, Stage, StageProgress, StageState, StageWork, Waiting,
};
pub use report::{Report, Row, Running, Verdict, rows};
pub use writeback::request;

/// Baseline data read before an experiment starts: enough to see how bad requests clump.
const HISTORY: SignedDuration = SignedDuration::from_hours(1);

/// What has to be read before the next step.
pub fn ask(plan: &Plan, progress: &Progress, now: Timestamp) -> Questions {
    let running = matches!(progress.phase, Phase::Shifting | Phase::Deciding);
    let preparing = progress.phase == Phase::Preparing && plan.deleting.is_none();
    let end = now - plan.analysis.lag;
    Questions {
        window: running.then(|| shift::due(plan, progress, now)).flatten(),
        history: preparing.then_some(Window { from: end - HISTORY, to: end }),
        history_step: plan.analysis.interval.as_secs_f64(),
        preflight: preparing && plan.gitops.is_some() && progress.preflight.is_none(),
        stage: writeback::question(plan, progress),
        rollout: writeback::rollout(progress),
        sync: None,
        subsets: false,
    }
}

/// One step: from what is remembered and what was seen to what is to be remembered and done.
pub fn step(plan: &Plan, progress: &Progress, seen: &Observation, now: Timestamp) -> Step {
    let mut turn = phases::Turn::new(plan, progress.clone(), seen, now);
    if plan.deleting.is_some() {
        turn.leave();
    } else {
        turn.advance();
    }
    turn.finish(progress)
}
