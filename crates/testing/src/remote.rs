//! A remote made by hand: what is there, for whatever is asked.

use std::collections::{BTreeMap, BTreeSet};

use reiter8_engine::{CommitId, Conflict, Look, Planned, Pull, RequestSeen, Reviewed, StageSeen};

/// What is on the remote.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// Head of the base branch.
    pub head: Option<CommitId>,
    /// Commits that the base branch holds beside its head.
    pub landed: BTreeSet<CommitId>,
    /// Head of the request's branch.
    pub branch: Option<CommitId>,
    /// The request.
    pub pull: Option<Pull>,
    /// What the open request was to get and does not have.
    pub lacks: Vec<String>,
    /// Other open requests from the same branch.
    pub twins: Vec<Pull>,
    /// The forge says that the open request cannot be merged.
    pub conflict: bool,
    /// What a stage would do now.
    pub planned: Option<Planned>,
    /// The base branch's blob ids by path.
    pub contents: BTreeMap<String, Option<String>>,
    /// Files that others changed, and in which the promotion is.
    pub kept: BTreeSet<String>,
}

impl Remote {
    /// The answer to a question.
    pub fn answer(&self, look: &Look) -> StageSeen {
        match look {
            Look::Plan => StageSeen::Plan(self.planned.clone().expect("nothing can be planned here")),
            Look::Publish => StageSeen::Publish { request: self.request(), lacks: self.lacks.clone() },
            Look::Review(_) => StageSeen::Review(self.reviewed()),
            Look::Base(commit) => {
                let head = self.head.clone().expect("there is no base branch here");
                StageSeen::Base { landed: head == *commit || self.landed.contains(commit), head }
            }
            Look::Contents(_) => StageSeen::Contents { blobs: self.contents.clone(), kept: self.kept.clone() },
        }
    }

    /// The request as it is looked at while it waits.
    pub fn reviewed(&self) -> Reviewed {
        let conflict = self.conflict.then(|| Conflict { again: self.planned.clone() });
        Reviewed { request: self.request(), twins: self.twins.clone(), conflict }
    }

    fn request(&self) -> RequestSeen {
        RequestSeen { head: self.head.clone(), branch: self.branch.clone(), pull: self.pull.clone() }
    }
}
