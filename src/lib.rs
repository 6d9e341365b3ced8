//! Reiter8.

pub mod gitops;
