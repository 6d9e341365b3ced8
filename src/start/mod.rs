//! `reiter8 start`: commits what begins an experiment to the environment repository, once for each call.
//!
//! Plans on a snapshot of the branch ([`compose`]), commits, and pushes under the lease of that snapshot. Whoever was faster wins:
//! a refused push means a new snapshot and a plan from scratch, with the look for a running experiment, so that never two
//! experiments for one target come onto a branch. A pull request's branch is named after base branch, directory and target and is
//! pushed under a lease too, so that never two requests for one target are open. Called by the command line; it decides nothing about a
//! running experiment and talks to no cluster.

mod compose;
mod directory;
mod error;
mod manifest;
mod run;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

pub use error::StartError;
pub use manifest::Image;
pub use template::{Templates, Values, is_name, is_value};

use crate::gitops::forge::Forge;
use crate::gitops::repository::{Author, Remote};
use crate::gitops::tree::{CommitId, RepoPath};

/// What happens when an experiment for the same target is in the directory, or in an open request of an earlier start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRunning {
    /// Nothing is committed; [`StartError::Running`].
    Fail,
    /// Nothing is committed until it is gone.
    Wait,
    /// Its files are replaced in the same commit.
    Supersede,
}

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The environment repository.
    pub remote: Remote,
    /// With a forge, a pull request is opened; without, the branch itself gets the commit.
    pub forge: Option<Forge>,
    /// The branch that the GitOps tool reads.
    pub branch: String,
    /// The application's directory.
    pub directory: RepoPath,
    /// Where the templates are.
    pub templates: Templates,
    /// The Experiment's template; the file in the directory gets the same name.
    pub experiment: String,
    /// A further template, such as a load generator; the file in the directory gets the same name.
    pub load_generator: Option<String>,
    /// The candidate's images.
    pub images: Vec<Image>,
    /// Labels of a derived candidate; without any, the routing's subset says them.
    pub labels: BTreeMap<String, String>,
    /// Further values of placeholders.
    pub values: Values,
    /// What a running experiment means.
    pub on_running: OnRunning,
    /// Longest wait for a running experiment.
    pub timeout: Duration,
    /// Longest pause between two looks while waiting.
    pub poll: Duration,
    /// Plan, and push nothing.
    pub dry_run: bool,
    /// Who commits.
    pub author: Author,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The experiment's `metadata.name`.
    pub experiment: String,
    /// Its target.
    pub target: String,
    /// The commit that begins it.
    pub commit: CommitId,
    /// The branch that holds the commit.
    pub branch: String,
    /// Number and address of the pull request.
    pub pull_request: Option<(u64, String)>,
    /// What happened to each file: `add`, `edit` or `remove`, and its path.
    pub files: Vec<(&'static str, String)>,
    /// Names of the experiments that were replaced.
    pub superseded: Vec<String>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// The commit's unified diff.
    pub diff: String,
}

/// Starts an experiment. `say` is told what is waited for, in one line each.
pub async fn start(request: Request, say: impl Fn(&str) + Send + 'static) -> Result<Started, StartError> {
    let forges = tokio::runtime::Handle::current();
    // Git blocks, and so do the pauses; calls to the forge are asynchronous.
    crate::gitops::blocking(move || run::Run::new(request, forges, Box::new(say)).run()).await
}
