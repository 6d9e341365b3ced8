//! A world made by hand: what the engine's tests and benchmarks let it see, without a cluster, a repository or a clock.
//!
//! [`World`] answers every question that the engine asks, as if all were well; a test changes the answers that it is about.
//! [`Remote`] does the same for a repository and its forge. A new question or effect of the engine needs one edit here, and
//! none in the tests that do not care about it.
//!
//! This is a crate, so that the test programs, the benchmarks and the unit tests of the product share one compiled copy. It
//! depends on the engine alone and decides nothing. The product does not depend on it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod memory;
mod remote;
pub mod trial;
mod world;

pub use memory::{but, remembered};
pub use remote::Remote;
pub use world::{Traffic, World, quiet, turn};
