//! Defects on purpose: each breaks one promise of the write-back, and the model test has to find each.
//!
//! One build holds all of them and a test chooses one at run time, for its own thread. Without the feature `mutants`
//! every question is answered with a constant no, and nothing of a defect is compiled.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A commit is pushed again although its branch is there.
    DoublePush,
    /// A branch that somebody deleted is made again.
    ResurrectedBranch,
    /// A weight that somebody else wrote becomes the ramp's.
    ForeignWeightAdopted,
    /// A branch is pushed whose request has ended.
    PushAfterMerge,
    /// Traffic leaves the candidate before the baseline's rollout is complete.
    WeightsBeforeRollout,
    /// A candidate that changed in Git is promoted.
    UntestedBlobPromoted,
    /// A file that is not the experiment's any more is removed.
    ForeignFileRemoved,
    /// A request is opened again although there is one.
    RequestCreatedTwice,
    /// The text that a person wrote in a request is replaced.
    ForeignTextReplaced,
    /// A branch that others pushed to is deleted.
    ForeignBranchDeleted,
}

impl Mutant {
    /// Every defect.
    pub const ALL: [Self; 10] = [
        Self::DoublePush,
        Self::ResurrectedBranch,
        Self::ForeignWeightAdopted,
        Self::PushAfterMerge,
        Self::WeightsBeforeRollout,
        Self::UntestedBlobPromoted,
        Self::ForeignFileRemoved,
        Self::RequestCreatedTwice,
        Self::ForeignTextReplaced,
        Self::ForeignBranchDeleted,
    ];
}

#[cfg(feature = "mutants")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Puts a defect into this thread's engine, or takes it out.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

/// Whether a defect was chosen.
#[cfg(feature = "mutants")]
pub fn on(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// There are no defects on purpose in a release.
#[cfg(not(feature = "mutants"))]
pub const fn on(_: Mutant) -> bool {
    false
}
