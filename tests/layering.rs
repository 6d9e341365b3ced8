//! The engine stays pure: one crate cannot enforce it, so this test does.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// What a pure module may name: arithmetic, data, time as a value, hashing, and itself.
const ALLOWED: [&str; 11] =
    ["std", "core", "serde", "jiff", "statrs", "sha2", "thiserror", "crate::engine", "self", "super", "Self"];
/// Parts of the standard library, and calls, that reach outside.
const IMPURE: [&str; 16] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::time",
    "std::sync",
    "async ",
    ".await",
    "Timestamp::now",
    "SystemTime",
    "Instant::",
    "println!",
    "static mut",
    "unsafe",
];

/// The text without its comments and its tests, which may use what they like.
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    product.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Everything in a module's text that is not pure.
fn violations(text: &str) -> Vec<String> {
    let code = code(text);
    let mut found: Vec<String> = IMPURE.iter().filter(|word| code.contains(*word)).map(ToString::to_string).collect();
    for statement in code.split(';').filter_map(|s| s.trim_start().rsplit('\n').find_map(imported)) {
        let allowed = ALLOWED.iter().any(|root| statement == *root || statement.starts_with(&format!("{root}::")));
        if !allowed && !local(&code, &statement) {
            found.push(format!("use {statement}"));
        }
    }
    for (at, _) in code.match_indices("crate::") {
        let path = code.get(at..).unwrap_or_default();
        if !path.starts_with("crate::engine") {
            found.push(path.chars().take(40).collect());
        }
    }
    found
}

/// The path of a `use` line.
fn imported(line: &str) -> Option<String> {
    let line = line.trim();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    line.strip_prefix("use ").map(|path| path.trim().to_owned())
}

/// Whether a path begins with a module that the same file declares.
fn local(code: &str, path: &str) -> bool {
    let root = path.split("::").next().unwrap_or_default();
    code.contains(&format!("mod {root};"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_engine_imports_nothing_impure() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine"));
    assert!(files.len() >= 12, "the engine moved: {files:?}");
    for file in files {
        let found = violations(&std::fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn this_test_can_fail() {
    let bad = [
        "use tokio::time;",
        "use kube::Api;",
        "use crate::live::Live;",
        "fn f() { crate::gitops::edit(); }",
        "use std::fs;",
        "pub async fn f() {}",
        "fn f() -> jiff::Timestamp { jiff::Timestamp::now() }",
        "fn f() { let t = std::time::Instant::now(); }",
        "pub use reqwest::Client;",
        "fn f() { unsafe {} }",
    ];
    for text in bad {
        assert!(!violations(text).is_empty(), "{text}");
    }
    let good = [
        "use std::collections::BTreeMap;",
        "use super::plan::Plan; // not kube::Api",
        "mod ramp;\npub use ramp::start;",
    ];
    for text in good {
        assert!(violations(text).is_empty(), "{text}: {:?}", violations(text));
    }
}
