//! Reiter8: progressive delivery for Istio that commits its verdicts to Git.
//!
//! The map, in the order in which data flow:
//!
//! * [`api`] is what users write: `Experiment`, `Metric`, `Repository`, and the status they read.
//! * [`engine`] makes every choice, as a pure function from progress and observation to progress and effects.
//! * [`turn`] is the one place where the engine meets a world.
//! * [`controller`] turns resources into plans, keeps progress in their status, and decides when a turn is due.
//! * [`live`] is the real world: Kubernetes, Istio, Prometheus. [`simulate`] is the embedded one.
//! * [`gitops`] edits manifests, commits, pushes and opens pull requests, for both worlds.
//! * [`start`] commits what begins an experiment, for CI.
//! * [`mod@bench`] is what other tools would have decided, to compare the judge with.
//! * [`cli`] is what a person or a pipeline calls.

pub mod api;
pub mod bench;
pub mod cli;
pub mod controller;
pub mod gitops;
pub mod http;
pub mod live;
pub mod server;
pub mod simulate;
pub mod start;
pub mod telemetry;
mod text;
pub mod turn;

pub use reiter8_engine as engine;
