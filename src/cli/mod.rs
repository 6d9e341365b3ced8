//! The commands of the `reiter8` binary.

pub mod crds;
