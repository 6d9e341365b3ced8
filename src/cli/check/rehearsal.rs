//! Both outcomes rehearsed in a checkout, as the controller does before it moves any traffic.
//!
//! Owns the words for what would be refused: reason, field, and a fix. Reads the checkout and writes nothing. Called by
//! `reiter8 check`, which makes it a finding, and by `reiter8 plan`, which shows the outcomes.

use std::path::Path;

use crate::gitops::plan::{PlanError, Spec};
use crate::gitops::preview::{Folder, Outcomes, outcomes};

/// Why an experiment would not begin.
#[derive(Debug)]
pub(in crate::cli) struct Flaw {
    /// The word that the controller has for it.
    pub(in crate::cli) reason: &'static str,
    /// The field to look at.
    pub(in crate::cli) field: &'static str,
    /// What is wrong and what to write instead.
    pub(in crate::cli) problem: String,
}

/// What both outcomes change in the checkout at `root`.
pub(in crate::cli) fn rehearse(root: &Path, spec: &Spec) -> Result<Outcomes, Flaw> {
    let found = outcomes(&Folder::new(root), spec).map_err(|error| refused(&error))?;
    if let Some(path) = found.unpromoted.first() {
        let problem = format!(
            "the candidate differs from the baseline at `{path}`, which would be left behind; write `Template`, or remove the difference"
        );
        return Err(Flaw { reason: "UnpromotedDifference", field: "spec.gitops.promote.fields", problem });
    }
    if let Some(what) = found.missing.first() {
        // Only a commit of the experiment itself can put its own manifest there.
        let remedy = if what.starts_with("Experiment ") {
            "commit its manifest there first, or give a checkout that has it: `--repository-dir DIR`"
        } else {
            "correct the name"
        };
        let problem = format!("a clean-up would not find {what} in `{}`; {remedy}", spec.path);
        return Err(Flaw { reason: "WaitingForSync", field: "spec.gitops", problem });
    }
    Ok(found)
}

fn refused(error: &PlanError) -> Flaw {
    let (reason, said) = (error.reason(), error.to_string());
    // Some errors know their own fix.
    let problem = if said.contains("; ") { said } else { format!("{said}; {}", fix(reason)) };
    Flaw { reason, field: "spec.gitops", problem }
}

/// What a person can do about an error that tells only what happened.
fn fix(reason: &str) -> &'static str {
    match reason {
        "FileMissing" | "DocumentMissing" | "PathNotFound" => "correct the name in `spec.gitops`, or add what it names",
        "FileTooLarge" | "FileTooComplex" | "FileTooDeep" | "DirectoryTooLarge" => "split it",
        "UnsupportedEntry" => "put a plain file or directory there",
        "RepositoryUnreadable" => "let this user read it",
        "Ambiguous" => "leave only one of them",
        "ImageWithoutBuild" => "write the tag or digest",
        "SharedFile" => "give each manifest of the experiment a file of its own",
        _ => "correct the file, or name each edit in `spec.gitops.edits`",
    }
}
