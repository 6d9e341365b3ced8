//! Where a stage of the write-back stands, with what is known there and nowhere else.
//!
//! Owns one stage's record: the rules of [`crate::writeback`] move it with [`StageProgress::stand`] and count its tries;
//! nothing else of it changes. In the status it keeps the flat form that release 0.1 wrote ([`Flat`]).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fact::CommitId;
use crate::stage::{Pull, Stage, StageState, StageWork};

/// One request of the write-back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Flat", into = "Flat")]
pub struct StageProgress {
    stage: Stage,
    attempt: u32,
    since: Timestamp,
    standing: Standing,
}

/// Where a stage stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// The commit is being computed.
    Planning,
    /// The commit is decided on; it may or may not be on the remote.
    Planned(Written),
    /// The commit is on the remote; the request may or may not exist.
    Pushed {
        /// The commit and its branch.
        written: Written,
        /// How often a request that was found open was to get the labels and reviewers that it lacked.
        annotated: u32,
    },
    /// The request waits for its merge.
    Waiting(Proposed),
    /// A `retry` looks at what became of the request.
    Checking(Proposed),
    /// What is on the remote is being taken back.
    Withdrawing(Proposal),
    /// The promote request was merged; what was merged is compared with what was proposed.
    Merged(Landed),
    /// The baseline's rollout is awaited.
    RollingOut(Landed),
    /// The rollout is complete; the base branch is looked at once more before the traffic moves.
    Confirming(Landed),
    /// Traffic goes to the baseline: after what is on the base branch, or before anything is written.
    HandingOver(Option<Landed>),
    /// Traffic is at the baseline; the last requests leave the candidate.
    Draining(Option<Landed>),
    /// Nothing is left to do.
    Done(End),
}

/// A commit that was decided on, and its branch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    /// The commit.
    pub(crate) work: StageWork,
    /// How often its branch was to be deleted after its request had ended.
    pub(crate) tidied: u32,
}

/// A request that is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposed {
    /// The commit that it is about.
    pub(crate) written: Written,
    /// Its number on the forge.
    pub(crate) number: u64,
    /// Its address.
    pub(crate) url: String,
    /// When it was first seen open, or first seen.
    pub(crate) opened: Timestamp,
}

/// What a stage has on the remote, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Proposal {
    /// A branch, perhaps.
    Written(Written),
    /// A request.
    Proposed(Proposed),
}

/// What a stage has brought to the base branch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Landed {
    /// The base branch's head that holds it.
    pub(crate) head: CommitId,
    /// What it came from; nothing if the base branch was as wanted.
    pub(crate) proposal: Option<Proposal>,
    /// What was merged is not what the request proposed.
    pub(crate) differently: bool,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// The base branch is as it wanted.
    Landed(Landed),
    /// It makes room for another one.
    Closed(Option<Proposal>),
    /// Nothing comes of it: people closed its request, or it was given up, or it was not wanted before anything was written.
    Left(Option<Proposal>),
}

impl Proposal {
    fn written(&self) -> &Written {
        match self {
            Self::Written(written) | Self::Proposed(Proposed { written, .. }) => written,
        }
    }

    fn written_mut(&mut self) -> &mut Written {
        match self {
            Self::Written(written) | Self::Proposed(Proposed { written, .. }) => written,
        }
    }

    fn proposed(&self) -> Option<&Proposed> {
        match self {
            Self::Proposed(proposed) => Some(proposed),
            Self::Written(_) => None,
        }
    }
}

impl Standing {
    /// The name of the state.
    fn state(&self) -> StageState {
        match self {
            Self::Planning => StageState::Planning,
            Self::Planned(_) => StageState::Planned,
            Self::Pushed { .. } => StageState::Pushed,
            Self::Waiting(_) => StageState::Waiting,
            Self::Checking(_) => StageState::Checking,
            Self::Withdrawing(_) => StageState::Withdrawing,
            Self::Merged(_) => StageState::Merged,
            Self::RollingOut(_) => StageState::RollingOut,
            Self::Confirming(_) => StageState::Confirming,
            Self::HandingOver(_) => StageState::HandingOver,
            Self::Draining(_) => StageState::Draining,
            Self::Done(_) => StageState::Done,
        }
    }

    /// What is on the base branch.
    fn landed(&self) -> Option<&Landed> {
        match self {
            Self::Merged(landed) | Self::RollingOut(landed) | Self::Confirming(landed) => Some(landed),
            Self::HandingOver(landed) | Self::Draining(landed) => landed.as_ref(),
            Self::Done(End::Landed(landed)) => Some(landed),
            Self::Planning
            | Self::Planned(_)
            | Self::Pushed { .. }
            | Self::Waiting(_)
            | Self::Checking(_)
            | Self::Withdrawing(_)
            | Self::Done(End::Closed(_) | End::Left(_)) => None,
        }
    }

    fn written(&self) -> Option<&Written> {
        match self {
            Self::Planned(written) | Self::Pushed { written, .. } => Some(written),
            Self::Waiting(proposed) | Self::Checking(proposed) => Some(&proposed.written),
            Self::Withdrawing(proposal) => Some(proposal.written()),
            Self::Done(End::Closed(proposal) | End::Left(proposal)) => proposal.as_ref().map(Proposal::written),
            Self::Planning
            | Self::Merged(_)
            | Self::RollingOut(_)
            | Self::Confirming(_)
            | Self::HandingOver(_)
            | Self::Draining(_)
            | Self::Done(End::Landed(_)) => self.landed()?.proposal.as_ref().map(Proposal::written),
        }
    }

    fn proposed(&self) -> Option<&Proposed> {
        match self {
            Self::Planning | Self::Planned(_) | Self::Pushed { .. } => None,
            Self::Waiting(proposed) | Self::Checking(proposed) => Some(proposed),
            Self::Withdrawing(proposal) => proposal.proposed(),
            Self::Done(End::Closed(proposal) | End::Left(proposal)) => proposal.as_ref()?.proposed(),
            Self::Merged(_)
            | Self::RollingOut(_)
            | Self::Confirming(_)
            | Self::HandingOver(_)
            | Self::Draining(_)
            | Self::Done(End::Landed(_)) => self.landed()?.proposal.as_ref()?.proposed(),
        }
    }

    /// Whether a stage may go on from here to there. What is on the base branch stays there, and nothing is pushed once a
    /// request has ended: only a `retry` looks at one that has.
    fn may_become(&self, next: &Self) -> bool {
        use StageState::{
            Checking, Confirming, Done, Draining, HandingOver, Merged, Planned, Planning, Pushed, RollingOut, Waiting,
            Withdrawing,
        };
        let kept = self.landed().is_none() || next.landed().is_some() || next.state() == Withdrawing;
        let ordered = match self.state() {
            Planning => matches!(next.state(), Planned | Merged | RollingOut | Done),
            Planned => matches!(next.state(), Planning | Pushed | Waiting | Withdrawing | Merged | RollingOut | Done),
            Pushed => matches!(next.state(), Waiting | Withdrawing | Merged | RollingOut | Done),
            Waiting => matches!(next.state(), Checking | Withdrawing | Merged | RollingOut | Done),
            Checking => matches!(next.state(), Waiting | Withdrawing | Done),
            Withdrawing => matches!(next.state(), Merged | RollingOut | Done),
            Merged => matches!(next.state(), RollingOut),
            RollingOut => matches!(next.state(), Confirming | HandingOver),
            Confirming => matches!(next.state(), RollingOut | HandingOver),
            HandingOver => matches!(next.state(), Draining | Done),
            Draining => matches!(next.state(), Planning | Done),
            Done => matches!(next.state(), Checking | Withdrawing | Done | RollingOut),
        };
        kept && ordered
    }
}

impl StageProgress {
    /// A stage of which nothing is known but that it began.
    pub(crate) fn begin(stage: Stage, attempt: u32, standing: Standing, now: Timestamp) -> Self {
        Self { stage, attempt, since: now, standing }
    }

    /// Which stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Which attempt at it, from 1: a person's `retry` makes another one.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Its state.
    pub fn state(&self) -> StageState {
        self.standing.state()
    }

    /// When the state was entered.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The commit that was decided on.
    pub fn work(&self) -> Option<&StageWork> {
        self.standing.written().map(|written| &written.work)
    }

    /// The request's number, once it is known.
    pub fn number(&self) -> Option<u64> {
        self.standing.proposed().map(|proposed| proposed.number)
    }

    /// The request's address.
    pub fn url(&self) -> Option<&str> {
        self.standing.proposed().map(|proposed| proposed.url.as_str())
    }

    /// When the request was first seen open, as long as it waits.
    pub fn opened(&self) -> Option<Timestamp> {
        self.standing.proposed().map(|proposed| proposed.opened)
    }

    /// The base branch's head that holds what the stage wanted.
    pub fn merged(&self) -> Option<&CommitId> {
        self.standing.landed().map(|landed| &landed.head)
    }

    /// Whether what was merged is not what the request proposed.
    pub fn differently(&self) -> bool {
        self.standing.landed().is_some_and(|landed| landed.differently)
    }

    /// Whether it made room for another one.
    pub fn closed(&self) -> bool {
        matches!(self.standing, Standing::Done(End::Closed(_)))
    }

    /// Where it stands.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What is on the remote of it, as far as it is known.
    pub(crate) fn proposal(&self) -> Option<Proposal> {
        match (self.standing.proposed(), self.standing.written()) {
            (Some(proposed), _) => Some(Proposal::Proposed(proposed.clone())),
            (None, Some(written)) => Some(Proposal::Written(written.clone())),
            (None, None) => None,
        }
    }

    /// The request of its commit, as it was just seen.
    pub(crate) fn proposed(&self, pull: &Pull, now: Timestamp) -> Option<Proposed> {
        let written = self.standing.written()?.clone();
        let opened = self.opened().unwrap_or(now);
        Some(Proposed { written, number: pull.number, url: pull.url.clone(), opened })
    }

    /// Moves it on.
    pub(crate) fn stand(&mut self, standing: Standing, now: Timestamp) {
        debug_assert!(
            self.standing.may_become(&standing),
            "the {:?} stage goes from {:?} to {standing:?}",
            self.stage,
            self.standing
        );
        self.standing = standing;
        self.since = now;
    }

    /// Counts a try to give an open request what it lacks; false when there were enough.
    pub(crate) fn annotate(&mut self, most: u32) -> bool {
        let Standing::Pushed { annotated, .. } = &mut self.standing else { return false };
        let free = *annotated < most;
        *annotated += u32::from(free);
        free
    }

    /// Counts a try to delete the branch; false when there were enough.
    pub(crate) fn tidy(&mut self, most: u32) -> bool {
        let written = match &mut self.standing {
            Standing::Planned(written) | Standing::Pushed { written, .. } => written,
            Standing::Waiting(proposed) | Standing::Checking(proposed) => &mut proposed.written,
            Standing::Withdrawing(proposal) => proposal.written_mut(),
            Standing::Planning
            | Standing::Merged(_)
            | Standing::RollingOut(_)
            | Standing::Confirming(_)
            | Standing::HandingOver(_)
            | Standing::Draining(_)
            | Standing::Done(_) => return false,
        };
        let free = written.tidied < most;
        written.tidied += u32::from(free);
        free
    }

    /// Another request is the one that counts.
    pub(crate) fn follow(&mut self, pull: &Pull) {
        let proposed = match &mut self.standing {
            Standing::Waiting(proposed)
            | Standing::Checking(proposed)
            | Standing::Withdrawing(Proposal::Proposed(proposed)) => proposed,
            standing => return debug_assert!(false, "there is no request to follow in {standing:?}"),
        };
        proposed.number = pull.number;
        proposed.url.clone_from(&pull.url);
    }
}

/// A stage as the status has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flat {
    stage: Stage,
    #[serde(default = "first")]
    attempt: u32,
    state: StageState,
    since: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    opened: Option<Timestamp>,
    #[serde(skip_serializing_if = "super::is_never", default)]
    annotated: u32,
    #[serde(skip_serializing_if = "super::is_never", default)]
    tidied: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<StageWork>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merged: Option<CommitId>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    differently: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    closed: bool,
}

fn first() -> u32 {
    1
}

impl From<StageProgress> for Flat {
    fn from(progress: StageProgress) -> Self {
        let written = progress.standing.written();
        Self {
            stage: progress.stage,
            attempt: progress.attempt,
            state: progress.state(),
            since: progress.since,
            opened: progress.opened(),
            annotated: if let Standing::Pushed { annotated, .. } = progress.standing { annotated } else { 0 },
            tidied: written.map_or(0, |written| written.tidied),
            work: written.map(|written| written.work.clone()),
            number: progress.number(),
            url: progress.url().map(ToOwned::to_owned),
            merged: progress.merged().cloned(),
            differently: progress.differently(),
            closed: progress.closed(),
        }
    }
}

impl TryFrom<Flat> for StageProgress {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Self, String> {
        let Flat { stage, attempt, state, since, annotated, .. } = flat;
        let lacks = |what: &str| format!("the {} stage is {} without {what}", stage.as_str(), state.as_str());
        let written = flat.work.map(|work| Written { work, tidied: flat.tidied });
        let proposal = match (written, flat.number) {
            (Some(written), Some(number)) => {
                let (url, opened) = (flat.url.unwrap_or_default(), flat.opened.unwrap_or(since));
                Some(Proposal::Proposed(Proposed { written, number, url, opened }))
            }
            (Some(written), None) => Some(Proposal::Written(written)),
            (None, _) => None,
        };
        let written = || proposal.as_ref().map(|p| p.written().clone()).ok_or_else(|| lacks("`work`"));
        let proposed =
            || proposal.as_ref().and_then(Proposal::proposed).cloned().ok_or_else(|| lacks("`work` and `number`"));
        let landed = flat.merged.map(|head| Landed { head, proposal: proposal.clone(), differently: flat.differently });
        let on_base = || landed.clone().ok_or_else(|| lacks("`merged`"));
        let standing = match state {
            StageState::Planning => Standing::Planning,
            StageState::Planned => Standing::Planned(written()?),
            StageState::Pushed => Standing::Pushed { written: written()?, annotated },
            StageState::Waiting => Standing::Waiting(proposed()?),
            StageState::Checking => Standing::Checking(proposed()?),
            StageState::Withdrawing => Standing::Withdrawing(proposal.clone().ok_or_else(|| lacks("`work`"))?),
            StageState::Merged => Standing::Merged(on_base()?),
            StageState::RollingOut => Standing::RollingOut(on_base()?),
            StageState::Confirming => Standing::Confirming(on_base()?),
            StageState::HandingOver => Standing::HandingOver(landed),
            StageState::Draining => Standing::Draining(landed),
            StageState::Done => Standing::Done(match landed {
                Some(landed) => End::Landed(landed),
                None if flat.closed => End::Closed(proposal),
                None => End::Left(proposal),
            }),
        };
        Ok(Self { stage, attempt, since, standing })
    }
}
