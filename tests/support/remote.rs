//! A remote made by hand: what is there, for whatever is asked.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use reiter8::engine::*;

/// What is on the remote.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    pub head: Option<CommitId>,
    pub branch: Option<CommitId>,
    pub pull: Option<Pull>,
    pub lacks: Vec<String>,
    pub twins: Vec<Pull>,
    /// The forge says that the open request cannot be merged.
    pub conflict: bool,
    /// What a stage would do now.
    pub planned: Option<Planned>,
    pub contents: BTreeMap<String, Option<String>>,
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
                StageSeen::Base { landed: head == *commit, head }
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
