//! Why an experiment cannot be carried out as it is written: the field, the value and the remedy.

use std::borrow::Cow;
use std::fmt;

use crate::api::InvalidField;
use crate::engine::{Cause, Unavailable};

/// Why an experiment cannot be carried out as it is written.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A value that its field does not take.
    Invalid {
        /// Path of the field.
        field: Cow<'static, str>,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// A field or combination that this release does not carry out.
    NotSupported {
        /// Path of the field.
        field: Cow<'static, str>,
        /// What to write instead.
        instead: String,
    },
    /// An object that is referred to and does not exist.
    Missing {
        /// Path of the field.
        field: Cow<'static, str>,
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The repository's owner does not allow this use.
    NotAllowed {
        /// Path of the field below `spec.gitops`.
        field: Cow<'static, str>,
        /// What is not allowed, and by what.
        problem: String,
    },
    /// An object that is referred to and that the API server does not give.
    Unreadable(Unavailable),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It says itself what could not be read.
            Self::Unreadable(_) => f.write_str(&self.problem()),
            Self::Invalid { .. } | Self::NotSupported { .. } | Self::Missing { .. } | Self::NotAllowed { .. } => {
                write!(f, "{}: {}", self.field(), self.problem())
            }
        }
    }
}

impl Refusal {
    /// Path of the field.
    pub fn field(&self) -> Cow<'_, str> {
        match self {
            Self::Invalid { field, .. } | Self::NotSupported { field, .. } | Self::Missing { field, .. } => {
                Cow::Borrowed(field)
            }
            Self::NotAllowed { field, .. } => format!("spec.gitops.{field}").into(),
            Self::Unreadable(_) => "spec".into(),
        }
    }

    /// What is wrong with it, and what to write instead.
    pub fn problem(&self) -> Cow<'_, str> {
        match self {
            Self::Invalid { problem, .. } | Self::NotAllowed { problem, .. } => problem.into(),
            Self::NotSupported { instead, .. } => format!("not yet supported; {instead}").into(),
            Self::Missing { kind, name, .. } => {
                format!("{kind} {name} was not found; create it or correct the name").into()
            }
            Self::Unreadable(u) => (&u.message).into(),
        }
    }

    /// The reason in conditions, Events, metrics and logs.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Invalid { .. } => Cause::InvalidExperiment,
            Self::NotSupported { .. } => Cause::NotSupported,
            Self::Missing { kind: "Metric", .. } => Cause::MetricNotFound,
            Self::Missing { .. } => Cause::RepositoryNotFound,
            Self::NotAllowed { .. } => Cause::NotAllowed,
            Self::Unreadable(u) => u.cause,
        }
    }

    /// The same about the item of this index in the list that the field goes through.
    pub(super) fn of_item(mut self, index: usize) -> Self {
        match &mut self {
            Self::Invalid { field, .. }
            | Self::NotSupported { field, .. }
            | Self::Missing { field, .. }
            | Self::NotAllowed { field, .. } => *field = item(field, index).into(),
            Self::Unreadable(_) => {}
        }
        self
    }

    /// Whether it concerns the write-back alone: without its repository an experiment is the same.
    pub(super) fn is_about_the_repository(&self) -> bool {
        matches!(self, Self::Missing { kind: "Repository", .. } | Self::NotAllowed { .. })
    }

    /// Whether another object may appear or change and make the experiment possible.
    pub fn may_heal(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::NotAllowed { .. } | Self::Unreadable(_))
    }
}

/// A field with the index of its first list.
pub(super) fn item(field: &str, index: usize) -> String {
    field.replacen("[]", &format!("[{index}]"), 1)
}

impl From<InvalidField> for Refusal {
    fn from(error: InvalidField) -> Self {
        Self::Invalid { field: error.field.into(), problem: error.source.to_string() }
    }
}
