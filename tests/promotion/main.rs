//! The write-back's promises: one branch, one commit and one request for each stage, whatever dies, and the files of
//! before with the winner as the baseline.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, unreachable_pub)] // Each program uses a part of it.
#[path = "../support"]
mod support {
    pub(crate) mod gitops;
    pub(crate) mod scratch;
}

mod crash_sweep;
mod faults;
mod model;
