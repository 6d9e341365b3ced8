//! The engine stays pure: its crate can only name what it depends on, and this is the list.

use std::collections::BTreeSet;
use std::path::Path;

/// None of these opens a file or a connection, or starts a thread. The clocks of `jiff` and of the standard library are
/// refused by `crates/engine/clippy.toml`.
const PURE: [&str; 6] = ["jiff", "serde", "sha2", "statrs", "strum", "thiserror"];

#[test]
fn the_engine_depends_on_nothing_impure() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/Cargo.toml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let (_, rest) = text.split_once("[dependencies]").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let named = section.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let named: BTreeSet<&str> = named.filter_map(|line| line.split(['.', ' ', '=']).next()).collect();
    assert_eq!(named, BTreeSet::from(PURE), "say in this test why another crate keeps the engine pure");
    assert!(!text.contains("dev-dependencies") && !text.contains("build-dependencies"), "its tests are pure too");
}
