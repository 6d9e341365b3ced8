//! The engine's files stand in one order, and each names only those above it: there is no circle among them.

use std::collections::BTreeSet;
use std::path::Path;

/// The files of the crate, by layer: facts, the judge, data, memory, the seam to the world, rules.
const ORDER: [&[&str]; 6] = [
    &["mutants", "cause", "fact", "split", "verdict"],
    &["judge"],
    &["rule", "reading", "plan", "evidence", "sources", "attribution", "contest", "report", "stage", "rest"],
    &["progress"],
    &["observation", "effects", "summary", "draft"],
    &["traffic", "entrants", "race", "decide", "shift", "refused", "requests", "watch", "writeback", "phases"],
];

/// The sources of a file or a folder of the crate, without comments.
fn source(path: &Path) -> String {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.map(|entry| source(&entry)).collect();
    }
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// The files of the crate that a source names after this prefix.
fn named(source: &str, prefix: &str) -> BTreeSet<String> {
    let name = |path: &str| path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    source.split(prefix).skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

/// The files of the crate that one of them names.
fn names_of(src: &Path, file: &str) -> BTreeSet<String> {
    let (own, folder) = (src.join(format!("{file}.rs")), src.join(file));
    let mut names = BTreeSet::new();
    if own.is_file() {
        let own = source(&own);
        names.append(&mut named(&own, "crate::"));
        // Here that is the crate; in a folder it is the file that the folder belongs to.
        names.append(&mut named(&own, "super::"));
    }
    if folder.is_dir() {
        let parts = source(&folder);
        names.append(&mut named(&parts, "crate::"));
        names.append(&mut named(&parts, "super::super::"));
    }
    names
}

#[test]
fn each_file_names_only_those_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/src");
    let order: Vec<&str> = ORDER.into_iter().flatten().copied().collect();
    let entries = std::fs::read_dir(&src).unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<String> = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let listed: BTreeSet<String> = order.iter().chain(&["lib"]).map(ToString::to_string).collect();
    assert_eq!(there, listed, "each file of the crate has its place in the order, and no other has one");
    let (mut names, mut wrong) = (0, vec![]);
    for (place, file) in order.iter().enumerate() {
        for name in names_of(&src, file) {
            names += 1;
            let above = order.iter().take(place + 1).any(|above| *above == name);
            if !above {
                wrong.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(names > 100, "the files name too little: {names}");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_name_is_found_wherever_it_is_written() {
    let text = "use crate::fact::{Seen, Window};\n    let x = crate::plan::first(y);\nuse super::*;";
    assert_eq!(named(text, "crate::").into_iter().collect::<Vec<_>>(), ["fact", "plan"]);
    assert!(named(text, "super::").is_empty());
}
