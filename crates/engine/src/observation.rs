//! What the engine asks and what a world answers: facts, or the reason why a fact is missing.
//!
//! Worlds fill these in and decide nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::fact::{CommitId, Seen, Window};
use crate::judge::Tally;
use crate::reading::Reading;
use crate::split::Split;
use crate::stage::{Preflight, StageQuestion, StageSeen};

/// What has to be read before the next step, beside who holds the target, the routes' weights and the workloads'
/// readiness, which are read unless it is [`Self::quiet`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    /// Nothing of the cluster has to be read, not even what is always read.
    pub quiet: bool,
    /// Requests of both versions in this interval.
    pub window: Option<Window>,
    /// Sources whose interval begins earlier, because they could not be read when the others were.
    pub behind: BTreeMap<usize, Timestamp>,
    /// The baseline's requests per interval of `history_step` in this span, before the experiment.
    pub history: Option<Window>,
    /// Length of one interval of the history, seconds.
    pub history_step: f64,
    /// Both outcomes' edits, computed without writing, and the credentials' rights.
    pub preflight: bool,
    /// The state of one stage of the write-back.
    pub stage: Option<StageQuestion>,
    /// Whether what this commit says about the baseline is live and rolled out.
    pub rollout: Option<CommitId>,
    /// Whether what this commit says about all workloads is live.
    pub sync: Option<CommitId>,
    /// Whether the destinations lead to their workloads.
    pub subsets: bool,
    /// Positions of candidates, of several, that have left or cannot serve: neither their workloads nor their destinations
    /// have to be as they should, and no request that found no endpoint was meant for them.
    pub idle: Vec<usize>,
}

/// What a world saw. A question that was not asked has no answer (`None`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Who holds the target.
    pub lock: Option<Seen<Lock>>,
    /// The routes' weights.
    pub routes: Option<Seen<Routes>>,
    /// The workloads of all versions.
    pub workloads: Option<Seen<Workloads>>,
    /// Requests in the interval that was asked for.
    pub reading: Option<Reading>,
    /// As the answers of a [`Reading`]: the baseline's history, oldest first; empty if there is none.
    pub history: Option<Vec<Seen<Vec<Tally>>>>,
    /// Result of the rehearsal of both outcomes.
    pub preflight: Option<Seen<Preflight>>,
    /// State of the stage that was asked for.
    pub stage: Option<Seen<StageSeen>>,
    /// The baseline's rollout.
    pub rollout: Option<Seen<Rollout>>,
    /// Whether the workloads are what Git says: if not, which one is not.
    pub sync: Option<Seen<Synced>>,
    /// The destinations lead to the workloads they should, and to no other.
    pub subsets: Option<Seen<()>>,
}

/// Who holds the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This experiment does.
    Mine,
    /// Nobody does, and no older experiment waits for it.
    Free,
    /// Another one does, or waits longer: its name.
    Taken(String),
}

/// Weights of the experiment's routes, percent. All its routes carry the same split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Weight of the baseline's destination.
    pub baseline: u8,
    /// Weights of the candidates' destinations.
    pub candidates: Split,
    /// The field manager that wrote the weights after us, if another one did.
    pub writer: Option<String>,
}

impl Routes {
    /// A split in which the baseline has what the candidates leave.
    pub fn split(candidates: Split) -> Self {
        Self { baseline: candidates.baseline(), candidates, writer: None }
    }
}

/// The workloads of all versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads {
    /// The baseline's.
    pub baseline: Workload,
    /// The candidates', in the plan's order.
    pub candidates: Vec<Workload>,
}

/// One workload's readiness, from its own status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Whether the object exists.
    pub exists: bool,
    /// Replicas asked for.
    pub desired: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Image of each container, by container name, as the workload asks for it.
    pub images: BTreeMap<String, String>,
    /// Digest of the pod template as far as it says what runs: another value is another version.
    pub content: String,
    /// Why its rollout will not go on by itself, in the workload's own words.
    pub failed: Option<String>,
}

/// The baseline's rollout against a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The commit's pod template is what the cluster runs.
    pub applied: bool,
    /// All replicas run it and are available, none of the old ones is left.
    pub complete: bool,
    /// For people: how far it is.
    pub detail: String,
}

/// Whether the workloads in the cluster are what a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Synced {
    /// They are.
    Yes,
    /// This one is not: for people, with the field that differs.
    No(String),
}
