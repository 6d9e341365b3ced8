//! Every test that needs no real parts, in one program: one link instead of forty.
//!
//! What a test needs beside the product stands in `tests/support`, declared here once. Tests that measure their own process
//! have a program of their own, `tests/security`; those of the real parts are in `tests/stack`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, unreachable_pub)] // Each program uses a part of it.
#[path = "../support"]
mod support {
    pub(crate) mod git_server;
    pub(crate) mod github {
        pub(crate) mod app;
        pub(crate) mod openapi;
    }
    pub(crate) mod gitops;
    pub(crate) mod layouts;
    pub(crate) mod manifests;
    pub(crate) mod named_tests;
    pub(crate) mod prometheus;
    pub(crate) mod scratch;
    pub(crate) mod yaml;
}

mod bad_input;

mod cli {
    mod commands;
    mod demo;
    mod image;
    mod plan;
    mod start;
}

mod docs {
    mod api_reference;
    mod manifests;
    mod observability;
    mod operations;
    mod outcomes;
    mod pages;
    mod races;
    mod reasons;
}

mod engine {
    mod forge;
    mod kinds;
    mod layers;
    mod life;
    mod memory;
    mod properties;
    mod purity;
    mod race;
    mod scenarios;
    mod threshold;
    mod waits;
    mod weights;
}

mod forge {
    mod app;
    mod github;
    mod network;
}

mod gitops {
    mod http;
    mod layouts;
    mod local;
    mod yaml_edits;
    mod yaml_properties;
}

mod judge {
    mod bench;
    mod properties;
    mod vectors;
}

mod live {
    mod kinds;
    mod opaque;
    mod prometheus;
}
