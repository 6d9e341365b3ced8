//! Leaves nothing behind: the branch of a request that has ended goes, where the forge did not delete it, and of two
//! requests from one branch the younger is closed.
//!
//! Called by [`super::Turn::write_back`] before a request's end is acted on. Only a branch that still is what was pushed is
//! deleted; one that others pushed to is theirs. What refuses it, such as a protected branch, holds up nothing.

use jiff::{SignedDuration, Timestamp};

use crate::draft::Turn;
use crate::effects::Effect;
use crate::mutants::{Mutant, on};
use crate::progress::StageProgress;
use crate::stage::{PullState, RequestSeen, StageSeen, StageState};

/// How often a branch is to be deleted: once for a process that died in between, once more for the next one.
const TRIES: u32 = 2;
/// How long a second request from one branch is looked for. A call that opens one and gets no answer is given up after half a
/// minute, the next one finds nothing and opens another; servers and proxies finish what they were sent within the same time
/// again. It is looked for from the first second: a request that is merged at once must not take the other one's branch.
/// One that comes later ends with the branch.
const TWINS: SignedDuration = SignedDuration::from_secs(120);

/// Whether a stage may by now have two requests.
pub(super) fn has_twins(stage: &StageProgress, now: Timestamp) -> bool {
    let waited = stage.opened().map(|opened| now.duration_since(opened));
    stage.state() == StageState::Waiting && waited.is_some_and(|waited| waited <= TWINS)
}

impl Turn<'_> {
    /// Whether the branch of a request that has ended is asked to go, in this turn and before anything else. Each try is
    /// counted before it is made. Another open request from the branch is closed first.
    pub(super) fn tidy(&mut self) -> bool {
        let ended = self.seen_pull().is_some_and(|state| *state != PullState::Open);
        ended && (self.close_twins() || self.drop_branch())
    }

    /// The same of any branch of ours that nobody needs.
    pub(super) fn drop_branch(&mut self) -> bool {
        let Some(effect) = self.left_branch() else { return false };
        let tried = self.progress.stages.last_mut().is_some_and(|stage| stage.tidy(TRIES));
        self.effects.extend(Some(effect).filter(|_| tried));
        tried
    }

    /// The branch of a request that has ended, for an experiment that is being let go: it gets one try.
    pub(crate) fn last_branch(&self) -> Option<Effect> {
        let ended = self.seen_pull().is_some_and(|state| *state != PullState::Open);
        self.left_branch().filter(|_| ended)
    }

    /// One request stays of those that an opening made which met another one that was under way: the oldest. Whether that is
    /// another one than was thought.
    pub(super) fn keep_one(&mut self) -> bool {
        let open = self.seen_pull() == Some(&PullState::Open);
        let Some(Ok(StageSeen::Review(seen))) = &self.seen.stage else { return false };
        let Some(stage) = self.progress.stages.last_mut() else { return false };
        let Some(number) = stage.number() else { return false };
        let oldest = seen.twins.iter().filter(|twin| open && twin.number < number).min_by_key(|twin| twin.number);
        if let Some(oldest) = oldest {
            stage.follow(oldest);
            return true;
        }
        self.close_twins();
        false
    }

    /// Closes the other open requests from the current one's branch; whether there are any.
    fn close_twins(&mut self) -> bool {
        let Some(Ok(StageSeen::Review(seen))) = &self.seen.stage else { return false };
        let Some(number) = self.progress.stages.last().and_then(StageProgress::number) else { return false };
        for twin in &seen.twins {
            let why = format!("request #{number} was opened from the same branch before it");
            self.effects.push(Effect::Close { number: twin.number, why });
        }
        !seen.twins.is_empty()
    }

    fn seen_pull(&self) -> Option<&PullState> {
        self.progress.current_stage()?;
        self.request_known()?.pull.as_ref().map(|p| &p.state)
    }

    /// The current stage's request, if it could be looked at.
    pub(super) fn request_known(&self) -> Option<&RequestSeen> {
        self.seen.stage.as_ref()?.as_ref().ok()?.request()
    }

    /// The deletion of the current stage's branch, if that is there and holds our commit.
    fn left_branch(&self) -> Option<Effect> {
        let seen = self.request_known()?;
        let (request, (_, commit)) = self.work()?;
        let head = seen.branch.as_ref()?;
        // Requests into a branch that was renamed are closed without anybody's "no".
        let whole = seen.head.is_some();
        let ours = *head == commit || on(Mutant::ForeignBranchDeleted);
        (whole && ours).then_some(Effect::Delete { branch: request.branch, commit })
    }
}
