//! The write-back's promises: one branch, one commit and one request for each stage, whatever dies, and the files of
//! before with the winner as the baseline.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "promotion/crash_sweep.rs"]
mod crash_sweep;
#[path = "promotion/faults.rs"]
mod faults;
#[path = "promotion/model.rs"]
mod model;
#[path = "support/scratch.rs"]
mod scratch;
#[path = "support/gitops/mod.rs"]
mod support;
