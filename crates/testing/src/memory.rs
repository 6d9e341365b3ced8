//! What an engine remembers, made by hand: written down as a status has it, and read as a process reads it.

use reiter8_engine::Progress;
use serde_json::Value;

/// A memory with this in it.
pub fn remembered(what: &Value) -> Progress {
    serde_json::from_value(what.clone()).unwrap_or_else(|error| panic!("{error}: {what}"))
}

/// The same memory with something else in it.
pub fn but(progress: &Progress, what: &Value) -> Progress {
    let mut written = serde_json::to_value(progress).unwrap();
    json_patch::merge(&mut written, what);
    remembered(&written)
}
