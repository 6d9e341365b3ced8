//! Facts, or why they are missing: the words that everything else of the engine is said in.
//!
//! A source that cannot be read is a value ([`Unavailable`]) that the engine reasons about, never an error that ends a
//! turn.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cause::Cause;

/// A fact, or why it could not be had.
pub type Seen<T> = Result<T, Unavailable>;

/// Why a fact is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unavailable {
    /// Why, for the program; its word is the reason in conditions, Events, metrics and logs.
    pub cause: Cause,
    /// For people: what failed, with the field or address and the value.
    pub message: String,
}

impl Unavailable {
    /// A missing fact with its cause.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }
}

/// A Git commit id, 40 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitId(pub String);

/// A span of time, open at the start and closed at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Excluded start.
    pub from: Timestamp,
    /// Included end.
    pub to: Timestamp,
}
