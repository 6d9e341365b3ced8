//! The write-back's mechanics: what an outcome means in Git, and how it gets there.
//!
//! Adapters without choices: [`edit`] changes text; [`promote`], [`layout`] and [`plan`] say which files an outcome changes;
//! [`rehearsal`] tries every outcome before an experiment begins, [`remedy`] knows what helps against a refusal, [`preview`]
//! shows changes as diffs; [`repository`] reads and pushes branches, [`forge`] keeps the requests, [`access`] has the
//! credential for both, [`lookout`] reads them, [`render`] writes what people read, [`writeback`] puts all of it together.
//! Nothing here decides whether or when anything happens; the engine does. Everything read from a repository or a forge is
//! hostile until parsed.

mod access;
pub mod edit;
pub mod forge;
pub mod layout;
mod lookout;
pub mod plan;
pub mod preview;
pub mod promote;
pub mod rehearsal;
pub mod remedy;
pub mod render;
pub mod repository;
pub mod transport;
pub mod tree;
pub mod writeback;

pub use access::Credential;
pub use lookout::Lookout;
pub use writeback::{WriteBack, WriteTarget};

use repository::RepositoryError;

/// Runs git work, which blocks, on a thread that may. The work has its own deadline ([`transport::Limits`]).
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<RepositoryError> + Send + 'static,
{
    let lost =
        |error: tokio::task::JoinError| RepositoryError::Store { message: format!("the git thread ended: {error}") };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}
