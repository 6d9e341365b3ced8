//! The judge benchmark: what other tools would have decided on the same traffic.
//!
//! Owns the peers' rules and what their queries return. Nothing here takes part in an experiment; the engine does not
//! know it.

pub mod peers;
pub mod promql;
