//! Leaves nothing behind: the branch of a request that has ended goes, where the forge did not delete it.
//!
//! Called by [`super::Turn::write_back`] before a request's end is acted on. Only a branch that still is what was pushed is
//! deleted; one that others pushed to is theirs. What refuses it, such as a protected branch, holds up nothing.

use super::current;
use crate::engine::effects::Effect;
use crate::engine::mutants::{Mutant, on};
use crate::engine::observation::PullState;
use crate::engine::phases::Turn;

/// How often a branch is to be deleted: once for a process that died in between, once more for the next one.
const TRIES: u32 = 2;

impl Turn<'_> {
    /// Whether the branch of a request that has ended is asked to go, in this turn and before anything else. Each try is
    /// counted before it is made.
    pub(super) fn tidy(&mut self) -> bool {
        let ended = self.seen_pull().is_some_and(|state| *state != PullState::Open);
        ended && self.drop_branch()
    }

    /// The same of any branch of ours that nobody needs.
    pub(super) fn drop_branch(&mut self) -> bool {
        let Some(effect) = self.left_branch() else { return false };
        let Some(stage) = self.progress.stages.last_mut().filter(|s| s.tidied < TRIES) else { return false };
        stage.tidied += 1;
        self.effects.push(effect);
        true
    }

    /// The branch of a request that has ended, for an experiment that is being let go: it gets one try.
    pub(in crate::engine) fn last_branch(&self) -> Option<Effect> {
        let ended = self.seen_pull().is_some_and(|state| *state != PullState::Open);
        self.left_branch().filter(|_| ended)
    }

    fn seen_pull(&self) -> Option<&PullState> {
        current(&self.progress)?;
        match &self.seen.stage {
            Some(Ok(seen)) => seen.pull.as_ref().map(|p| &p.state),
            Some(Err(_)) | None => None,
        }
    }

    /// The deletion of the current stage's branch, if that is there and holds our commit.
    fn left_branch(&self) -> Option<Effect> {
        let Some(Ok(seen)) = &self.seen.stage else { return None };
        let (request, (_, commit)) = self.work()?;
        let head = seen.branch.as_ref()?;
        // Requests into a branch that was renamed are closed without anybody's "no".
        let whole = seen.head.is_some();
        let ours = *head == commit || on(Mutant::ForeignBranchDeleted);
        (whole && ours).then_some(Effect::Delete { branch: request.branch, commit })
    }
}
