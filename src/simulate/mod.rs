//! The embedded world: an experiment's whole life on this machine, in seconds, with nothing installed.
//!
//! The same engine, turn, plan, edits, commits, leased pushes and per-ref results as the real world; a model takes the
//! place of the mesh, the metrics source, the workloads and the syncing loop, and a virtual clock that of time. Called
//! by `reiter8 demo`, `reiter8 simulate` and the tests.

mod cluster;
mod environment;
mod people;
mod random;
mod run;
mod scenario;
mod traffic;
mod world;

use serde::Serialize;

pub use run::{Event, Memory, Simulation, Turned, play};
pub use scenario::{BaseAct, Behaviour, Review, Reviewer, Rework, Sample, Scenario, ScenarioError};
pub use world::Simulated;

use crate::api::Experiment;
use crate::controller::Refusal;
use crate::engine::{Outcome, Split, Unavailable};
use crate::gitops::forge::ForgeError;

/// Why a simulation could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The repository does not do what it should.
    #[error("failed to use the temporary repository")]
    Git(#[from] git2::Error),
    /// A manifest in the repository is not YAML of the expected shape.
    #[error("failed to read {path} from the repository")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// The local forge refused.
    #[error("failed to use the local forge")]
    Forge(#[from] ForgeError),
    /// The experiment cannot be carried out as it is written.
    #[error("failed to resolve the experiment{}", no_metrics(.0))]
    Refused(#[from] Refusal),
    /// An effect failed where nothing can fail.
    #[error("failed to take a turn")]
    Turn(#[from] Unavailable),
    /// The scenario's `experiment` does not fit.
    #[error("failed to lay the scenario's `experiment` over the sample: {problem}")]
    Experiment {
        /// What does not fit.
        problem: String,
    },
    /// The folder for the repository cannot be used.
    #[error("failed to make the repository in {folder}")]
    Folder {
        /// The folder.
        folder: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The engine kept turning without waiting.
    #[error("the engine took {turns} turns at the same instant")]
    Livelock {
        /// How many.
        turns: usize,
    },
}

/// Where a Metric would have to be created is nowhere.
fn no_metrics(refusal: &Refusal) -> &'static str {
    let metric = matches!(refusal, Refusal::Missing { kind: "Metric", .. });
    if metric { " in the embedded world, which has the built-in metrics and `revenue`" } else { "" }
}

/// A pull request, as its reviewers saw it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Number on the local forge.
    pub number: u64,
    /// Title.
    pub title: String,
    /// The branch it was made from.
    pub branch: String,
    /// Its text.
    #[serde(skip)]
    pub body: String,
    /// What it changes, as a unified diff.
    #[serde(skip)]
    pub diff: String,
    /// When it was noticed, seconds after the start.
    pub opened: i64,
    /// When it was merged or closed.
    pub ended: Option<i64>,
    /// `open`, `merged` or `closed`.
    pub outcome: String,
    /// Whether it removes the experiment.
    pub clean_up: bool,
}

/// How an experiment ended.
#[derive(Clone, Debug)]
pub struct Story {
    /// What was done; `None` if the time ran out before.
    pub outcome: Option<Outcome>,
    /// Why, as the status has it.
    pub reason: Option<&'static str>,
    /// Seconds from the first traffic to the verdict.
    pub seconds_to_decision: Option<i64>,
    /// Bad requests that the candidates answered.
    pub bad_requests: f64,
    /// Names of the candidates.
    pub candidates: Vec<String>,
    /// The candidate that the outcome is about: the one that was promoted, or the last one to leave.
    pub candidate: Option<String>,
    /// The weights at the end, percent.
    pub weights: Split,
    /// Whether the experiment was removed from the cluster.
    pub removed: bool,
    /// Every request.
    pub requests: Vec<Request>,
    /// Id and first line of each commit on the base branch, the oldest first.
    pub commits: Vec<String>,
    /// The files before the experiment, with their texts.
    pub before: Vec<(String, String)>,
    /// The files at the end, with their texts.
    pub after: Vec<(String, String)>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The resource, with the status that the controller would write, whenever its phase or its outcome changed.
    pub life: Vec<Experiment>,
}
