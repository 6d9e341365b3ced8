//! The only place where the pure engine meets a world: ask, observe, step, commit, perform.
//!
//! The controller, the demo, `simulate` and the fault tests all run this function; they differ in the [`World`] and
//! the [`Ledger`] they hand in.

use std::future::Future;

use jiff::Timestamp;

use crate::engine::{self, Effect, Notice, Observation, Plan, Progress, Questions, Step, Unavailable};

/// Everything outside one experiment's resource: traffic, workloads, metrics, the repository and its forge.
///
/// A world answers and obeys; it makes no choices. Nothing it learns while performing is kept: the next observation
/// sees it.
pub trait World: Send + Sync {
    /// Answers the questions; what cannot be read is a value in the answer.
    fn observe(&self, plan: &Plan, questions: &Questions) -> impl Future<Output = Observation> + Send;
    /// Brings about one desired state; repeating it is harmless. Returns what people should know of it, which the engine
    /// does not need.
    fn perform(&self, effect: &Effect) -> impl Future<Output = Result<Vec<Notice>, Unavailable>> + Send;
}

/// Where progress is kept, fenced against a second writer.
pub trait Ledger: Send + Sync {
    /// Replaces the remembered progress if it still is the one that was read; otherwise a conflict.
    fn commit(&self, progress: &Progress) -> impl Future<Output = Result<(), Unavailable>> + Send;
    /// Tells people; best effort.
    fn tell(&self, notices: &[Notice]) -> impl Future<Output = ()> + Send;
}

/// One turn. A lost race ends it at the commit, before any effect; a failed effect ends it too, with its reason in the
/// progress, and is derived again by the next turn.
pub async fn turn<W: World, L: Ledger>(
    world: &W,
    ledger: &L,
    plan: &Plan,
    progress: &Progress,
    now: Timestamp,
) -> Result<Step, Unavailable> {
    let seen = world.observe(plan, &engine::ask(plan, progress, now)).await;
    let step = engine::step(plan, progress, &seen, now);
    if !step.progress.same_record(progress) {
        ledger.commit(&step.progress).await?;
    }
    ledger.tell(&step.notices).await;
    for effect in &step.effects {
        match world.perform(effect).await {
            Ok(notices) if notices.is_empty() => {}
            Ok(notices) => ledger.tell(&notices).await,
            Err(u) => {
                let told = engine::failed(plan, &step.progress, effect, &u, now);
                if !told.same_record(&step.progress) {
                    ledger.commit(&told).await?;
                }
                return Err(u);
            }
        }
    }
    Ok(step)
}
