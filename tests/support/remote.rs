//! A remote made by hand: what is there, for whatever is asked.

use std::collections::{BTreeMap, BTreeSet};

use reiter8::engine::*;

/// What is on the remote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    pub(crate) head: Option<CommitId>,
    pub(crate) branch: Option<CommitId>,
    pub(crate) pull: Option<Pull>,
    pub(crate) lacks: Vec<String>,
    pub(crate) twins: Vec<Pull>,
    /// The forge says that the open request cannot be merged.
    pub(crate) conflict: bool,
    /// What a stage would do now.
    pub(crate) planned: Option<Planned>,
    pub(crate) contents: BTreeMap<String, Option<String>>,
    pub(crate) kept: BTreeSet<String>,
}

impl Remote {
    /// The answer to a question.
    pub(crate) fn answer(&self, look: &Look) -> StageSeen {
        match look {
            Look::Plan => StageSeen::Plan(self.planned.clone().expect("nothing can be planned here")),
            Look::Publish => StageSeen::Publish { request: self.request(), lacks: self.lacks.clone() },
            Look::Review(_) => StageSeen::Review(self.reviewed()),
            Look::Base(commit) => {
                let head = self.head.clone().expect("there is no base branch here");
                StageSeen::Base { landed: head == *commit, head }
            }
            Look::Contents(_) => StageSeen::Contents { blobs: self.contents.clone(), kept: self.kept.clone() },
        }
    }

    /// The request as it is looked at while it waits.
    pub(crate) fn reviewed(&self) -> Reviewed {
        let conflict = self.conflict.then(|| Conflict { again: self.planned.clone() });
        Reviewed { request: self.request(), twins: self.twins.clone(), conflict }
    }

    fn request(&self) -> RequestSeen {
        RequestSeen { head: self.head.clone(), branch: self.branch.clone(), pull: self.pull.clone() }
    }
}
