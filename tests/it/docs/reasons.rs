//! Every reason that the code can give is explained in `docs/operations.md` or `docs/outcomes.md`, and they explain no
//! other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use reiter8::engine::Cause;
use strum::VariantArray as _;

/// Where reasons are written: what is waited for, and what is told.
const PLACES: [&str; 4] = [
    r#"\.(?:wait|warn|tell|stuck)\(\s*"([A-Z]\w+)""#,
    r#"Self::\w+(?:\s*\{ \.\. \}|\([^)]*\))?(?:\s*\|\s*Self::\w+(?:\s*\{ \.\. \})?)*\s*=>\s*"([A-Z]\w+)""#,
    r#"\((?:true|false), (?:true|false)\) => "([A-Z]\w+)""#,
    r#"const NOT_READY: &str = "(\w+)""#,
];

/// Words that the patterns find and that are no reasons: phases, stages, states and verdicts.
const OTHER_WORDS: [&str; 33] = [
    "Rewrite",
    "Delete",
    "Merge",
    "Commit",
    "Queued",
    "Preparing",
    "Promoting",
    "Discarding",
    "Completed",
    "Promote",
    "Discard",
    "CleanUp",
    "Revert",
    "Planning",
    "Planned",
    "Pushed",
    "Waiting",
    "Done",
    "Checking",
    "Withdrawing",
    "Pass",
    "Fail",
    "Undecided",
    "Claim",
    "Release",
    "Route",
    "Push",
    "Open",
    "Close",
    "Forget",
    "RollingOut",
    "Draining",
    "HandingOver",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

fn in_the_code() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    for folder in ["crates/engine/src", "src/controller", "src/live", "src/gitops"] {
        sources(&root.join(folder), &mut files);
    }
    let patterns = PLACES.map(|p| Regex::new(p).unwrap());
    let mut reasons: BTreeSet<String> = Cause::VARIANTS.iter().map(|cause| cause.word().to_owned()).collect();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for pattern in &patterns {
            reasons.extend(pattern.captures_iter(product).map(|c| c.get(1).unwrap().as_str().to_owned()));
        }
    }
    reasons.retain(|r| !OTHER_WORDS.contains(&r.as_str()));
    reasons
}

/// The words in code spans of both pages' first columns.
fn in_the_docs() -> BTreeSet<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let word = Regex::new(r"`([A-Z][A-Za-z]+)`").unwrap();
    let mut explained = BTreeSet::new();
    for page in ["operations.md", "outcomes.md"] {
        let text = fs::read_to_string(docs.join(page)).unwrap();
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            let first = row.split('|').nth(1).unwrap_or_default();
            explained.extend(word.captures_iter(first).map(|c| c.get(1).unwrap().as_str().to_owned()));
        }
    }
    explained
}

#[test]
fn every_reason_is_explained_and_no_other() {
    let (code, docs) = (in_the_code(), in_the_docs());
    assert!(code.len() > 80, "the patterns find too little: {code:?}");
    let unexplained: Vec<_> = code.difference(&docs).collect();
    assert!(unexplained.is_empty(), "explain in docs/operations.md: {unexplained:?}");
    let source = |word: &str| {
        let mut files = vec![];
        for folder in ["src", "crates/engine/src"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
        }
        files.iter().any(|f| fs::read_to_string(f).unwrap().contains(&format!("\"{word}\"")))
    };
    let unknown: Vec<_> = docs.difference(&code).filter(|word| !source(word)).collect();
    assert!(unknown.is_empty(), "no code gives these reasons: {unknown:?}");
}

#[test]
fn reasons_are_camel_case_and_short() {
    let shape = Regex::new(r"^([A-Z][a-z]+)+$|^Not[A-Z]+[a-z]*[A-Z]?[a-z]+$").unwrap();
    for reason in in_the_code() {
        assert!(shape.is_match(&reason) && reason.len() <= 40, "{reason}");
    }
}
