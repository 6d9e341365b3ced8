//! The engine stays pure: one crate cannot enforce it, so this test does.

#![allow(clippy::unwrap_used)]

#[path = "support/purity.rs"]
mod purity;

use std::path::{Path, PathBuf};

use purity::violations;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// How many modules a file is below the engine's.
fn depth(engine: &Path, file: &Path) -> usize {
    let below = file.strip_prefix(engine).unwrap();
    below.components().count() - usize::from(below.ends_with("mod.rs"))
}

#[test]
fn the_engine_names_nothing_impure() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let files = files(&engine);
    assert!(files.len() >= 12, "the engine moved: {files:?}");
    for file in files {
        let found = violations(&std::fs::read_to_string(&file).unwrap(), depth(&engine, &file));
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}

/// What must be caught in a module right below the engine's.
const IMPURE: [&str; 54] = [
    // Imports.
    "use tokio::time;",
    "use kube::Api;",
    "use crate::live::Live;",
    "use std::fs;",
    "use ::std::env;",
    "use std::{collections::BTreeMap, fs};",
    "use std::{collections::{BTreeMap, HashMap}, fmt};",
    "use std::*;",
    "use std as s;",
    "use std::time::Instant as Moment;",
    "use jiff::Zoned;",
    "use jiff::{Timestamp, tz};",
    "use jiff;",
    "use super::super::live::Live;",
    "use self::super::super::live::Live;",
    "pub use reqwest::Client;",
    "pub(crate) use git2::Repository;",
    "fn f() { use rand::random; }",
    "extern crate tokio;",
    // Paths.
    "fn f() { crate::gitops::edit(); }",
    "fn f() { super::super::gitops::edit(); }",
    "fn f() -> std::time::Duration { std::time::Duration::ZERO }",
    "fn f() { let t = std::time::Instant::now(); }",
    "fn f() { std::fs::read(\"x\"); }",
    "fn f() { ::std::env::var(\"x\"); }",
    "fn f() { std :: thread :: sleep(d); }",
    "fn f() { std::process::exit(1); }",
    "fn f() { core::time::Duration::ZERO; }",
    "fn f(c: &kube::Client) {}",
    "fn f() { tokio::spawn(g()); }",
    "fn f() { rand::random::<u8>(); }",
    "fn f() -> Vec<tokio::task::JoinHandle<()>> { vec![] }",
    "fn f() -> jiff::Timestamp { jiff::Timestamp::now() }",
    "fn f() { let t = Timestamp::now(); }",
    "fn f() { let t = jiff::Zoned::now(); }",
    "fn f() { let t = Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::system()); }",
    "fn f() { map(Timestamp::now); }",
    "fn f() { <kube::Client as Clone>::clone(&c); }",
    "#[serde(with = \"crate::live::codec\")]\nstruct S;",
    "#[serde(default = \"Timestamp::now\")]\nstruct S;",
    // Words, macros and items.
    "pub async fn f() {}",
    "fn f() { g().await }",
    "fn f() { unsafe {} }",
    "static mut N: u8 = 0;",
    "fn f(t: SystemTime) {}",
    "fn f(m: &HashMap<u8, u8>) {}",
    "fn f() { println!(\"x\"); }",
    "fn f() { dbg!(1); }",
    "const V: &str = env!(\"X\");",
    "#[path = \"../live/mod.rs\"]\nmod live;",
    // Behind what is left out.
    "/* \" */ use tokio::time; // \"",
    "#[cfg(test)]\nmod tests { use std::fs; }\nfn f() { std::fs::read(\"x\"); }",
    "#[cfg(feature = \"other\")]\nfn f() { std::fs::read(\"x\"); }",
    "const T: &str = \"#[cfg(test)]\"; fn f() { std::fs::read(\"x\"); }",
];

/// What must pass there.
const PURE: [&str; 24] = [
    "use std::collections::BTreeMap;",
    "use std::{collections::{BTreeMap, BTreeSet}, fmt, mem};",
    "use jiff::{SignedDuration, Timestamp};",
    "use super::plan::Plan; // not kube::Api",
    "use crate::engine::judge;\nfn f() { judge::step(); }",
    "use super::{judge::{self, Tally}, report};\nfn f() { judge::step(); report::rows(); }",
    "use serde::{Deserialize, de::Error};\n#[derive(Deserialize, serde::Serialize)]\nstruct S;",
    "use super::logspace as log;\nfn f() { log::exact(); }",
    "mod ramp;\npub use ramp::start;",
    "pub(super) fn f(now: Timestamp) -> Timestamp { self.now + now }",
    "/// Like `tokio::time`.\n//! and std::fs\nfn f() {}",
    "/* std::fs /* kube::Api */ tokio::spawn */ fn f() {}",
    "const T: &str = \"std::fs, println! and async\";",
    "const T: &str = r#\"kube::Api \" std::env\"#;",
    "const T: &[u8] = b\"std::fs\"; const C: char = '\"'; const D: char = '\\''; const E: &str = \"std::fs\";",
    "fn f<'a>(x: &'a str) -> &'static str { \"std::fs\" }",
    "fn f() -> f64 { f64::from(u32::MAX) + [1.0].iter().sum::<f64>() }",
    "fn f() { std::mem::take(&mut x); std::iter::once(1); }",
    "fn f() -> impl Iterator<Item = u8> + use<> { std::iter::once(1) }",
    "#[error(\"a text: std::fs is no path here\")]\nstruct E;",
    "fn f() -> bool { a != b && !matches!(x, Some(_)) }",
    "#[cfg(test)]\nmod tests { use std::fs; fn f() { tokio::spawn(g()); println!(); } }\nfn f() {}",
    "#[cfg(test)]\nuse std::fs;\nfn f() {}",
    "#[cfg(feature = \"mutants\")]\nthread_local! { static C: std::cell::Cell<u8> = const { std::cell::Cell::new(0) }; }",
];

#[test]
fn impurities_of_every_shape_are_caught() {
    let missed: Vec<_> = IMPURE.iter().filter(|text| violations(text, 1).is_empty()).collect();
    assert!(missed.is_empty(), "not caught: {missed:#?}");
    // Deeper, a path may climb further.
    assert!(violations("use super::super::plan::Plan;", 2).is_empty());
    assert!(!violations("use super::super::super::live::Live;", 2).is_empty());
    assert!(!violations("use super::live::Live;", 0).is_empty());
}

#[test]
fn what_is_pure_passes() {
    for text in PURE {
        assert!(violations(text, 1).is_empty(), "{text}: {:?}", violations(text, 1));
    }
}

#[test]
fn comments_and_literals_become_spaces_of_the_same_length() {
    for text in IMPURE.iter().chain(&PURE) {
        assert_eq!(purity::blanked(text).len(), text.len(), "{text}");
    }
    assert_eq!(purity::blanked("a('\"', \"é\") // é\nb"), "a(   ,     )      \nb");
}
