//! The write-back's mechanics: what an outcome means in Git, and how it gets there.
//!
//! Adapters without choices: [`edit`] changes text, [`promote`] and [`plan`] say which files an outcome changes.
//! Nothing here decides whether or when; the engine does.

pub mod edit;
pub mod promote;
