//! Why an experiment was not started.

use crate::controller::Refusal;
use crate::engine::Cause;
use crate::gitops::edit::EditError;
use crate::gitops::forge::ForgeError;
use crate::gitops::plan::PlanError;
use crate::gitops::rehearsal::Flaw;
use crate::gitops::repository::{PushError, RepositoryError};
use crate::gitops::tree::TreeError;

/// Why an experiment was not started. Nothing is committed after any of these, except where [`StartError::GaveUp`] says so.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum StartError {
    /// A file of the repository, or a template, cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: EditError,
    },
    /// A template is not there.
    #[error("{path}: not found; write the template, or name another one")]
    TemplateMissing {
        /// The file.
        path: String,
    },
    /// A placeholder of a template cannot be filled in.
    #[error("{path}, line {line}: {problem}")]
    #[strum(serialize = "InvalidTemplate")]
    Placeholder {
        /// The template.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// A template or the baseline's manifest does not say what is needed.
    #[error("{path}: {problem}")]
    #[strum(serialize = "InvalidManifest")]
    Manifest {
        /// The file.
        path: String,
        /// The field, what is wrong, and what to write instead.
        problem: String,
    },
    /// The Experiment would be refused by the controller.
    #[error("{path}: {source}")]
    Refused {
        /// The template.
        path: String,
        /// The field, the value and the remedy.
        source: Refusal,
    },
    /// The directory cannot be searched.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The outcome could not be written back at the end.
    #[error("{path}: {}: the experiment could not be ended by a pull request: {}", .flaw.field.of_experiment(), .flaw.text(None))]
    Unfinishable {
        /// The Experiment's template.
        path: String,
        /// What is wrong.
        flaw: Box<Flaw>,
    },
    /// A file that would be written is there already and belongs to something else.
    #[error("{path} already exists and does not belong to the running experiment; {remedy}")]
    FileExists {
        /// The file.
        path: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The candidate is what runs already.
    #[error("nothing to try: the candidate's pod template is the one in {path}; name another --image")]
    NothingToTry {
        /// The baseline's manifest.
        path: String,
    },
    /// An experiment for the same target is there, and waiting was not asked for.
    #[error(
        "{running} is running for {target}; wait for it with --on-running wait, or replace it with --on-running supersede"
    )]
    Running {
        /// What is there.
        running: String,
        /// The target of both.
        target: String,
    },
    /// Another start replaced this one at once.
    #[error("another start replaced {name} on the branch {branch}")]
    Superseded {
        /// The experiment.
        name: String,
        /// The branch of the pull request.
        branch: String,
    },
    /// Waiting took too long.
    #[error("{running} is still there after {seconds} s; nothing was committed")]
    TimedOut {
        /// What is there.
        running: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The branch moved, or the server failed, too often.
    #[error("gave up after {attempts} attempts: {last}{}", if *.unknown { format!("; whether {name} was committed is unknown: look for it on the branch") } else { "; nothing was committed".into() })]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        last: String,
        /// The experiment.
        name: String,
        /// Whether the answer to a push was lost.
        unknown: bool,
    },
    /// The snapshot cannot be read as wanted.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The branch cannot be written.
    #[error("{}", pushed(.0))]
    Push(#[from] PushError),
    /// The forge did not open or tell about the request.
    #[error("{error}{}", left.as_ref().map_or_else(|| "; nothing is left behind".to_owned(), |branch| format!("; delete the branch {branch}, which has no pull request")))]
    Forge {
        /// The forge's refusal.
        error: ForgeError,
        /// A branch that was pushed and could not be removed again.
        left: Option<String>,
    },
}

impl StartError {
    /// The stable word for programs: the cause's, or this error's own.
    pub fn word(&self) -> &'static str {
        self.cause().map_or_else(|| self.into(), Cause::word)
    }

    /// What failed below, unless `start` itself refused.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::File { source, .. } => Some(source.cause()),
            Self::Refused { source, .. } => Some(source.cause()),
            Self::Plan(error) => Some(error.cause()),
            Self::Unfinishable { flaw, .. } => Some(flaw.cause),
            Self::Tree(error) => Some(error.cause()),
            Self::Repository(error) => Some(error.cause()),
            Self::Push(error) => Some(error.cause()),
            Self::Forge { error, .. } => Some(error.cause()),
            Self::TemplateMissing { .. }
            | Self::Placeholder { .. }
            | Self::Manifest { .. }
            | Self::FileExists { .. }
            | Self::NothingToTry { .. }
            | Self::Running { .. }
            | Self::Superseded { .. }
            | Self::TimedOut { .. }
            | Self::GaveUp { .. } => None,
        }
    }

    /// The exit code of `reiter8 start`: what a pipeline would treat differently has a code of its own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running { .. } | Self::Superseded { .. } => 3,
            Self::TimedOut { .. } => 4,
            Self::GaveUp { .. } => 5,
            Self::NothingToTry { .. } => 6,
            Self::File { .. }
            | Self::TemplateMissing { .. }
            | Self::Placeholder { .. }
            | Self::Manifest { .. }
            | Self::Refused { .. }
            | Self::Plan(_)
            | Self::Unfinishable { .. }
            | Self::FileExists { .. }
            | Self::Tree(_)
            | Self::Repository(_)
            | Self::Push(_)
            | Self::Forge { .. } => 1,
        }
    }
}

/// A refused push, and the way around it.
fn pushed(error: &PushError) -> String {
    let protected = matches!(error, PushError::ProtectedBranch { .. });
    format!("{error}{}", if protected { "; open a pull request instead: --pull-request" } else { "" })
}
