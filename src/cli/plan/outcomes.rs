//! What both outcomes of a planned experiment would change in a checkout of the environment repository.
//!
//! Finds the checkout and owns the words; the changes are planned by the controller's own code ([`rehearse`]).
//! Reads only. What cannot be shown is told with its fix and is no failure of the forecast. Called by [`super::plan`].

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::check::Planned;
use crate::cli::output::clean;
use crate::cli::style;
use crate::engine::{Handover, Version};
use crate::gitops::plan::{PlanError, Spec};
use crate::gitops::preview::{Folder, MAX_DIFF, Proposal, proposal};
use crate::gitops::rehearsal::{Promotion, rehearse};
use crate::gitops::tree::{Files, Overlay};

/// What the outcomes change, or why that is not known.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Outcomes {
    /// One request each.
    #[serde(rename_all = "camelCase")]
    Shown {
        /// The request that promotes the candidate.
        promote: Request,
        /// The request that then removes the experiment; none if the first one does.
        #[serde(skip_serializing_if = "Option::is_none")]
        cleanup: Option<Request>,
        /// What is different if another one of several candidates is promoted than the first.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        others: Vec<Other>,
        /// The first candidate of several.
        #[serde(skip)]
        first: Option<String>,
        /// The request when the baseline stays.
        discard: Request,
        /// What a change is called: `CommitToBase` makes no requests.
        #[serde(skip)]
        called: &'static str,
    },
    /// Nothing can be shown.
    Not(Not),
}

/// The promotion of another candidate.
#[derive(Debug, Serialize)]
pub(super) struct Other {
    /// Its name.
    candidate: String,
    /// As of the first candidate.
    promote: Request,
    /// As of the first candidate.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleanup: Option<Request>,
}

/// Why nothing can be shown.
#[derive(Debug, Serialize)]
pub(super) struct Not {
    /// A stable word: the controller's, `NoWriteBack` or `NoCheckout`.
    reason: &'static str,
    /// Why, and what to do.
    message: String,
}

/// What one request changes.
#[derive(Debug, Serialize)]
pub(super) struct Request {
    files: Vec<File>,
    /// The unified diff, at most [`MAX_DIFF`] bytes.
    diff: String,
    /// Whether the diff goes on.
    truncated: bool,
}

/// One file of a request.
#[derive(Debug, Serialize)]
struct File {
    /// `edit` or `remove`.
    change: &'static str,
    /// The path from the repository's root.
    path: String,
}

impl From<Proposal> for Request {
    fn from(proposal: Proposal) -> Self {
        let files = proposal.files.into_iter().map(|(change, path)| File { change, path }).collect();
        Self { files, diff: proposal.diff, truncated: proposal.truncated }
    }
}

/// The outcomes in the given checkout, or in the git work tree that the experiment's manifest is in.
pub(super) fn outcomes(planned: &Planned, given: Option<&Path>) -> Outcomes {
    found(planned, given).unwrap_or_else(Outcomes::Not)
}

fn found(planned: &Planned, given: Option<&Path>) -> Result<Outcomes, Not> {
    let Some(spec) = &planned.write else {
        let message =
            "the experiment has no `spec.gitops`, and so writes nothing back; write one for a promotion by Git";
        return Err(Not { reason: "NoWriteBack", message: message.into() });
    };
    let root = checkout(planned, given, spec).map_err(|message| Not { reason: "NoCheckout", message })?;
    let handover = planned.plan.gitops.as_ref().map(|gitops| gitops.handover).unwrap_or_default();
    shown(&root, spec, handover, &planned.plan.candidates)
}

fn shown(root: &Path, spec: &Spec, handover: Handover, candidates: &[Version]) -> Result<Outcomes, Not> {
    let files = Folder::new(root);
    let rehearsal = rehearse(&files, spec).map_err(|flaw| {
        let candidate = flaw.candidate.and_then(|at| candidates.get(at)).map(|candidate| candidate.name.as_str());
        Not { reason: flaw.cause.word(), message: flaw.text(candidate) }
    })?;
    let not = |error: PlanError| Not { reason: error.cause().word(), message: error.to_string() };
    let other = |(candidate, promotion): (&Version, Promotion)| {
        let (promote, cleanup) = requests(&files, promotion, handover).map_err(not)?;
        Ok(Other { candidate: candidate.name.clone(), promote, cleanup })
    };
    let all = candidates.iter().zip(rehearsal.promotions).map(other).collect::<Result<Vec<_>, Not>>()?;
    let discard = proposal(&files, &rehearsal.discard).map_err(not)?.into();
    let mut all = all.into_iter();
    let nobody = || Not { reason: "Internal", message: "the experiment has no candidate".into() };
    let Other { candidate, promote, cleanup } = all.next().ok_or_else(nobody)?;
    let others: Vec<Other> = all.collect();
    let first = (!others.is_empty()).then_some(candidate);
    let called = if handover == Handover::CommitToBase { "commit" } else { "request" };
    Ok(Outcomes::Shown { promote, cleanup, others, first, discard, called })
}

/// What a promotion changes, and what follows it if that is another request.
fn requests(
    files: &dyn Files,
    Promotion { promote, cleanup }: Promotion,
    handover: Handover,
) -> Result<(Request, Option<Request>), PlanError> {
    match handover {
        Handover::SinglePullRequest => Ok((proposal(files, &promote.and(cleanup))?.into(), None)),
        Handover::TwoPullRequests | Handover::CommitToBase => {
            let cleanup = proposal(&Overlay::new(files, &promote), &cleanup)?.into();
            Ok((proposal(files, &promote)?.into(), Some(cleanup)))
        }
    }
}

/// The root of the checkout that has the application's directory.
fn checkout(planned: &Planned, given: Option<&Path>, spec: &Spec) -> Result<PathBuf, String> {
    const GIVE: &str = "give a checkout of the environment repository: `--repository-dir DIR`";
    let root = match (given, &planned.folder) {
        (Some(given), _) => given.to_owned(),
        (None, Some(folder)) => {
            work_tree(folder).ok_or_else(|| format!("the experiment's file is in no git work tree; {GIVE}"))?
        }
        (None, None) => return Err(format!("the experiment is from standard input; {GIVE}")),
    };
    if root.join(&spec.path).is_dir() {
        Ok(root)
    } else {
        Err(format!("there is no directory `{}` in {}; {GIVE}", spec.path, root.display()))
    }
}

/// The nearest folder above that git has its files for; a linked work tree has a file where others have a folder.
fn work_tree(folder: &Path) -> Option<PathBuf> {
    // A manifest that is named alone has the empty folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let real = folder.canonicalize().ok()?;
    real.ancestors().find(|folder| folder.join(".git").exists()).map(ToOwned::to_owned)
}

/// The outcomes for people.
pub(super) fn text(outcomes: &Outcomes, colours: bool) -> String {
    match outcomes {
        Outcomes::Not(Not { reason, message }) => format!("\nNo diff of the outcomes: {} ({reason})", clean(message)),
        Outcomes::Shown { promote, cleanup, others, first, discard, called } => {
            let mut out = String::new();
            let of = |name: &String| format!("If {} is promoted", clean(name));
            let heading = first.as_ref().map_or_else(|| "If promoted".into(), of);
            promoted(&mut out, &heading, promote, (cleanup.as_ref(), None), (called, colours));
            for Other { candidate, promote, cleanup: own } in others {
                promoted(&mut out, &of(candidate), promote, (own.as_ref(), cleanup.as_ref()), (called, colours));
            }
            section(&mut out, "If discarded", &[(format!("the only {called}"), discard)], colours);
            out.trim_end().to_owned()
        }
    }
}

/// One promotion. Its clean-up is not shown again if it is the one that was shown above.
fn promoted(
    out: &mut String,
    heading: &str,
    promote: &Request,
    (cleanup, above): (Option<&Request>, Option<&Request>),
    (called, colours): (&str, bool),
) {
    let Some(cleanup) = cleanup else {
        return section(out, heading, &[(format!("the only {called}"), promote)], colours);
    };
    let mut requests = vec![(format!("the first {called}"), promote)];
    let second = format!("the second {called}, when the first one is live");
    let same = above.is_some_and(|above| above.diff == cleanup.diff && above.files.len() == cleanup.files.len());
    if !same {
        requests.push((second.clone(), cleanup));
    }
    section(out, heading, &requests, colours);
    if same {
        let _ = writeln!(out, "  {second}: as above");
    }
}

fn section(out: &mut String, heading: &str, requests: &[(String, &Request)], colours: bool) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n{}", style::paint(heading, 1, colours));
    for (title, request) in requests {
        let nothing = if request.files.is_empty() { " changes nothing" } else { ":" };
        let _ = writeln!(out, "  {title}{nothing}");
        let lines: Vec<String> = request.diff.lines().map(clean).collect();
        out.push_str(&style::diff(&lines.join("\n"), colours));
        if request.truncated {
            let files = request.files.len();
            let _ = writeln!(out, "    … cut at {} KiB; it changes {files} files in all", MAX_DIFF >> 10);
        }
    }
}
