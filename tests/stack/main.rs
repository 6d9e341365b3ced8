//! Every test on real parts, in one program. `hack/parts/build` makes the parts; `hack/test` runs this program.
//!
//! A test starts the parts that it needs and stops them. Two cores carry one stack: run it with `--test-threads=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, unreachable_pub)] // Each program uses a part of it.
#[path = "../support"]
mod support {
    pub(crate) mod github {
        pub(crate) mod front;
        pub(crate) mod openapi;
    }
    pub(crate) mod gitops;
    pub(crate) mod layouts;
    pub(crate) mod life;
    pub(crate) mod manifests;
    pub(crate) mod stack;
}

mod abn;
mod bad_input;
mod chart;
mod cli;
mod contention;
mod controller;
mod e2e;
mod faults;
mod folder;
mod forges;
mod handover;
mod health;
mod layouts;
mod life;
mod live;
mod sweep;
mod texts;
mod tutorial;
