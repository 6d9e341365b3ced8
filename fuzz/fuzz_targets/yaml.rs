//! Any bytes are read as YAML or refused, and every edit of what is read means what it should.
#![no_main]

#[allow(dead_code)] // The property tests use more of it.
#[path = "../../tests/support/yaml/mod.rs"]
mod yaml;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // What takes long is found by the timeout; what is large, by the limits' own tests.
    if bytes.len() <= 4096 {
        yaml::exercise(bytes);
    }
});
