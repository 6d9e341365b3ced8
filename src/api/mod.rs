//! The custom resources `Experiment`, `Metric` and `Repository` of `iter8.tools/v2alpha2`: their Rust types, their schemas with
//! the rules that the API server enforces, and the small value languages that their fields use.
//!
//! Owns what a user may write and what the controller reports. It must not talk to a cluster, and it makes no choice that
//! belongs to the engine: accessors only fill in the documented defaults. Called by everything that reads or writes a resource.
//!
//! Fields keep what the user wrote; [`Quantity`] and [`Span`] are parsed on access, so a stored object is never rewritten.

// The derive of `KubeSchema` copies each struct, with its `pub`, into a function; printer columns share words such as their type.
#![allow(unreachable_pub, clippy::duplicated_attributes)]
// Documentation of fields is what `kubectl explain` shows: kinds are words there.
#![allow(clippy::doc_markdown)]

pub mod conditions;
mod duration;
pub mod experiment;
mod metric;
mod quantity;
mod repository;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use duration::{DurationError, Span};
pub use experiment::{Experiment, ExperimentSpec, ExperimentStatus};
pub use metric::{Gauge, Histogram, Mean, Method, Metric, MetricKind, MetricSpec, NamedValue, Selector, Share};
pub use quantity::{Quantity, QuantityError, Unit};
pub use repository::{Auth, CommitIdentity, GitHubApp, PrivateKeyRef, Provider, Repository, RepositorySpec, SecretRef};

/// API group of the three kinds, the one of Iter8.
pub const GROUP: &str = "iter8.tools";

/// The only version, served and stored.
pub const VERSION: &str = "v2alpha2";

/// A value of a field that its text does not allow, with the path of the field.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("failed to read `{field}`")]
pub struct InvalidField {
    /// Path as the user writes it, for example `spec.analysis.interval`.
    pub field: &'static str,
    /// What is wrong with the text, and what to write instead.
    #[source]
    pub source: ValueError,
}

/// What is wrong with the text of a value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Not a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// Not a quantity of the expected unit.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
}

/// The three definitions as the API server gets them: the derived schemas, tightened by `schema::tighten`.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [Experiment::crd(), Metric::crd(), Repository::crd()].map(schema::tighten)
}
