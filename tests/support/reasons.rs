//! Every reason that this program gives, read from its sources.
//!
//! A reason is a word that appears in a condition, an Event, a metric's label and a log line. All capitalised words in
//! the sources of the modules that give reasons are one, but for those listed here as something else: a new word is a
//! reason until somebody says that it is not, so that none escapes the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where reasons are given.
const MODULES: [&str; 4] = ["crates/engine/src", "src/live", "src/gitops", "src/controller"];

/// Capitalised words that are no reasons, by what they are.
const OTHERS: [&[&str]; 8] = [
    // Kinds of resources, and what is written in manifests.
    &["Deployment", "DestinationRule", "DestinationRules", "Experiment", "Kustomization", "Metric", "Repository"],
    &["ServiceEntries", "ServiceEntry", "VirtualService", "NULL", "Null", "True", "False", "String"],
    // Units of memory.
    &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"],
    // Names of values on the command line, and of a type in a debug output.
    &["ADDRESS", "HOST", "NAME", "URL", "Session"],
    // Effects and the action of an Event.
    &["Claim", "Release", "Route", "Push", "Open", "Rewrite", "Close", "Delete", "Forget"],
    // Outcomes, verdicts of a criterion, and stages of the write-back.
    &["Promote", "Discard", "Pass", "Fail", "CleanUp", "Revert"],
    // States of a stage and of its request that are never a reason.
    &["Planning", "Planned", "Pushed", "RollingOut", "Done", "Checking", "Withdrawing", "Merged", "Closed"],
    // Conditions of a Deployment; and the engine's notice that is published as what is waited for.
    &["Progressing", "ReplicaFailure", "Waiting"],
];

/// Calls and fields whose first text is a reason.
const GIVERS: [&str; 7] =
    ["Unavailable::new(", ".warn(", ".tell(", ".wait(", ".stuck(", "Notice { reason: ", "fn reason("];

/// Every reason with the files that give it.
pub fn reasons() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in sources() {
        for word in texts(&code).into_iter().filter(|text| is_word(text) && !is_other(text)) {
            found.entry(word).or_default().insert(file.clone());
        }
    }
    found
}

/// The texts right where a reason is to be given, whatever they look like, with their file.
pub fn given() -> Vec<(String, String)> {
    let mut found = vec![];
    for (file, code) in sources() {
        // The controller waits and tells in other senses too.
        let engine = file.starts_with("engine");
        for giver in GIVERS.into_iter().filter(|giver| engine || !giver.starts_with('.')) {
            for (at, _) in code.match_indices(giver) {
                let rest = &code[at + giver.len()..];
                if giver == "fn reason(" {
                    // All texts of the function's arms.
                    let end = rest.find("\n    }").unwrap_or(rest.len());
                    let arms = texts(&rest[..end]).into_iter().map(|text| (file.clone(), text));
                    // A kind of resource in a pattern is no reason.
                    found.extend(arms.filter(|(_, text)| !is_other(text)));
                } else if let Some(text) = rest.trim_start().strip_prefix('"') {
                    found.push((file.clone(), text.split('"').next().unwrap_or_default().to_owned()));
                }
            }
        }
    }
    found
}

/// `CamelCase`, letters alone.
pub fn is_word(text: &str) -> bool {
    let letters = text.len() > 1 && text.bytes().all(|b| b.is_ascii_alphabetic());
    // Abbreviations such as `URL` are no reasons, but `NotADelegate` is one.
    let capitals = text.as_bytes().windows(3).any(|three| three.iter().all(u8::is_ascii_uppercase));
    letters && text.starts_with(|c: char| c.is_ascii_uppercase()) && !capitals
}

pub fn is_other(text: &str) -> bool {
    OTHERS.iter().any(|group| group.contains(&text))
}

/// Words that are listed as no reasons and are nowhere: the list is to stay true.
pub fn stale() -> Vec<&'static str> {
    let all: BTreeSet<String> = sources().iter().flat_map(|(_, code)| texts(code)).collect();
    OTHERS.iter().flat_map(|group| group.iter().copied()).filter(|word| !all.contains(*word)).collect()
}

/// The sources without comments and tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
    let mut all = vec![];
    for module in MODULES {
        let files = files(&root.join(module)).into_iter().chain([root.join(format!("{module}.rs"))]);
        for file in files.filter(|f| f.is_file() && !f.ends_with("tests.rs")) {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
            all.push((name, lines.join("\n")));
        }
    }
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|e| e.ok().map(|e| e.path()));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The texts in quotes that stand on one line; an escaped quote ends one early, which no single word has.
fn texts(code: &str) -> Vec<String> {
    code.lines().flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}
