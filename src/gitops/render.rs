//! Texts for people: title and body of a request, commit message.
//!
//! Pure: what the engine reports and what the commit changes in, text out, so a restart renders the same text again. Called by
//! [`super::writeback`]. Everything that comes from a resource or a file is hostile: outside of code spans only plain words
//! appear, inside of them nothing can end the span or the table's row. Such text cannot ping anyone, link, close an issue, or
//! pose as a trailer.

mod mark;
mod text;

use std::fmt::Write as _;

pub use mark::{marked, whose};
use text::{cell, code, duration, percent, plain};

use super::plan::Change;
use super::tree::CommitId;
use crate::engine::{Handover, Outcome, Reason, Report, Request, Row, Rule, Running, Stage, Verdict};

/// Most files and most fields that a body lists; the request's own diff shows them all.
const MAX_ROWS: usize = 40;

/// What a request proposes: the engine's request with its report, and the change that it makes.
#[derive(Debug, Clone, Copy)]
pub struct Proposed<'a> {
    /// The request.
    pub request: &'a Request,
    /// The commit that the change was computed on.
    pub base: &'a CommitId,
    /// What the request's commit changes.
    pub change: &'a Change,
}

/// The request's title and the commit's first line.
pub fn title(request: &Request) -> String {
    let report = &request.report;
    let (target, candidate) = (plain(&report.target), plain(&report.candidate.name));
    let experiment = format!("{}/{}", plain(&report.namespace), plain(&report.name));
    match (request.stage, report.outcome) {
        (Stage::Promote, _) => format!("Promote {candidate} to baseline of {target}"),
        (Stage::CleanUp, Outcome::Promote) => format!("Remove experiment {experiment} after its promotion"),
        (Stage::CleanUp, Outcome::Discard) if report.race.is_some() => {
            format!("Discard all candidates of {target} and remove experiment {experiment}")
        }
        (Stage::CleanUp, Outcome::Discard) => {
            format!("Discard {candidate} of {target} and remove experiment {experiment}")
        }
        (Stage::Revert, _) => format!("Revert the promotion of {candidate} to baseline of {target}"),
    }
}

/// The whole commit message, with the trailers by which the commit is recognised.
pub fn commit_message(request: &Request, base: &CommitId) -> String {
    let report = &request.report;
    format!(
        "{}\n\nIter8-Experiment: {}/{}\nIter8-Uid: {}\nIter8-Stage: {}\nIter8-Key: {}\nIter8-Base: {base}\n",
        title(request),
        plain(&report.namespace),
        plain(&report.name),
        plain(&report.uid),
        request.stage.word(),
        plain(&request.key),
    )
}

/// The request's body.
pub fn body(Proposed { request, base, change }: Proposed<'_>) -> String {
    let report = &request.report;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{}\n\n", verdict(request));
    if !report.sentence.is_empty() {
        let _ = write!(text, "Verdict: {}.\n\n", cell(&report.sentence));
    }
    let _ = write!(text, "{}\n{}{}", versions(report), criteria(&report.rows), race(report));
    let _ = write!(
        text,
        "\nAt the verdict, {} carried {} % of the traffic and the experiment had run for {}.\n",
        if report.race.is_some() { "each remaining candidate" } else { "the candidate" },
        report.weight,
        duration(report.seconds)
    );
    text.push_str(&news(report));
    text.push_str(&changes(change));
    text.push_str(outlook(request));
    let _ = write!(
        text,
        "\n<!-- iter8: experiment={}/{} uid={} stage={} key={} base={base} -->\n",
        plain(&report.namespace),
        plain(&report.name),
        plain(&report.uid),
        request.stage.word(),
        plain(&request.key),
    );
    text
}

/// Whether a request's body was written for this key.
pub fn has_key(body: &str, key: &str) -> bool {
    body.lines().any(|line| {
        line.starts_with("<!-- iter8: ") && line.split(' ').any(|word| word.strip_prefix("key=") == Some(key))
    })
}

/// What a request that is closed says about it.
pub fn closing(why: &str) -> String {
    format!("The experiment closes this request: {}.\n", code(why))
}

fn verdict(request: &Request) -> String {
    let report = &request.report;
    let (candidate, target) = (code(&report.candidate.name), code(&report.target));
    let (experiment, reason) = (code(&format!("{}/{}", report.namespace, report.name)), code(report.reason.as_str()));
    match (request.stage, report.outcome) {
        // Only what was proven is recommended.
        (Stage::Promote, _) => match report.reason {
            Reason::Requested => format!(
                "A person asked experiment {experiment} to make {candidate} the new baseline of {target} ({reason}). There was no verdict: nothing is proven."
            ),
            Reason::Unproven => format!(
                "Experiment {experiment} proposes {candidate} as the new baseline of {target} without proof ({reason}), as its settings tell it to."
            ),
            _ => {
                format!("Experiment {experiment} recommends {candidate} as the new baseline of {target} ({reason}).")
            }
        },
        (Stage::CleanUp, Outcome::Promote) => format!(
            "Experiment {experiment} is done: {candidate} is the baseline of {target} ({reason}). Its files can be removed."
        ),
        (Stage::CleanUp, Outcome::Discard) if report.race.is_some() => format!(
            "Experiment {experiment} discards all candidates of {target} ({reason}). All traffic is back on the baseline."
        ),
        (Stage::CleanUp, Outcome::Discard) => format!(
            "Experiment {experiment} discards {candidate} of {target} ({reason}). All traffic is back on the baseline."
        ),
        (Stage::Revert, _) => format!(
            "Experiment {experiment} reverts the promotion of {candidate} ({reason}): the baseline of {target} returns to its previous content."
        ),
    }
}

fn versions(report: &Report) -> String {
    let row = |role: &str, version: &Running| {
        let images: Vec<_> = version.images.iter().take(MAX_ROWS).map(|image| cell(image)).collect();
        format!("| {role} | {} | {} | {} |\n", cell(&version.name), cell(&version.workload), images.join(" "))
    };
    let others: String = report.others.iter().map(|other| row("candidate", other)).collect();
    format!(
        "| | version | workload | images |\n|---|---|---|---|\n{}{}{others}",
        row("baseline", &report.baseline),
        row("candidate", &report.candidate)
    )
}

fn criteria(rows: &[Row]) -> String {
    let mut text =
        "| metric | limit | requests | bad | value | evidence | verdict |\n|---|---|---|---|---|---|---|\n".to_owned();
    for row in rows.iter().take(MAX_ROWS) {
        let show = |value| shown(row.rule, value);
        let value = match (row.estimate, row.interval.filter(|_| row.requests > 0.0)) {
            (Some(estimate), Some((low, high))) => format!("{} ({} to {})", show(estimate), show(low), show(high)),
            (Some(estimate), None) => show(estimate),
            (None, _) => "no data".to_owned(),
        };
        let (has, needs) = match row.verdict {
            Verdict::Fail => (row.fail, row.needed_fail),
            Verdict::Pass | Verdict::Undecided => (row.pass, row.needed_pass),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {value} | {} | {} |",
            metric(row.candidate.as_deref(), &row.metric),
            row.rule.text(),
            row.requests,
            counted(row.rule, row.bad),
            evidence(has, needs),
            cell(row.verdict.as_str())
        );
    }
    text
}

/// Evidence beside what is needed of it. Far beyond that it grows without bound and says no more.
fn evidence(has: f64, needs: f64) -> String {
    let most = 10.0 * needs;
    if has > most { format!("over {most:.0} of {needs:.0}") } else { format!("{has:.1} of {needs:.0}") }
}

/// A metric, with the candidate that it is about if there are several.
fn metric(candidate: Option<&str>, metric: &str) -> String {
    candidate.map_or_else(|| cell(metric), |name| format!("{} of {}", cell(metric), cell(name)))
}

/// Where each version stood in the race of several candidates.
fn race(report: &Report) -> String {
    let Some((reward, versions)) = &report.race else { return String::new() };
    let mut text =
        format!("\n| version | {} | values | evidence against it | |\n|---|---|---|---|---|\n", cell(reward));
    for version in versions {
        let left = version.left.as_deref().map_or_else(String::new, cell);
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {left} |",
            cell(&version.name),
            version.mean.map_or_else(|| "no data".to_owned(), crate::engine::number),
            version.values,
            evidence(version.against, version.needed)
        );
    }
    text
}

/// A criterion's value: a share as people write it, everything else in the rule's own words.
fn shown(rule: Rule, value: f64) -> String {
    if rule.is_share() { percent(value) } else { rule.shown(value) }
}

/// Bad requests, of a rule that knows any.
fn counted(rule: Rule, bad: f64) -> String {
    if rule.is_share() { format!("{bad:.0}") } else { "-".to_owned() }
}

/// What is new since the decision; nothing for a request that waits for its review as every other does.
fn news(report: &Report) -> String {
    let mut text = String::new();
    if let Some(guard) = &report.news.guard {
        let windows =
            if guard.windows == 1 { "One guard window".to_owned() } else { format!("{} guard windows", guard.windows) };
        let _ = write!(
            text,
            "\n{windows} passed without an alarm since {}. Seen in the last one:\n\n{}",
            code(&guard.since.to_string()),
            seen(&guard.rows)
        );
    }
    let waits = match report.news.waits.as_str() {
        "WaitingForReview" => return text,
        "WaitingForChecks" => "It is merged automatically as soon as the forge's checks allow it.".to_owned(),
        "RequestEdited" => "Others pushed commits of their own to it. What is merged is what is rolled out.".to_owned(),
        "BaseConflict" => "It cannot be merged: others changed the same lines. If that stays so, another request replaces it, or a person resolves the conflict.".to_owned(),
        "ReviewOverdue" => "Its review is overdue.".to_owned(),
        other => code(other),
    };
    let _ = write!(text, "\n**Now:** {waits}\n");
    text
}

/// What was seen of each criterion, without a verdict.
fn seen(rows: &[Row]) -> String {
    let mut text = "| metric | limit | requests | bad | value |\n|---|---|---|---|---|\n".to_owned();
    for row in rows.iter().take(MAX_ROWS) {
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {} | {} |",
            metric(row.candidate.as_deref(), &row.metric),
            row.rule.text(),
            row.requests,
            counted(row.rule, row.bad),
            row.estimate.map_or_else(|| "no data".to_owned(), |value| shown(row.rule, value))
        );
    }
    text
}

fn changes(change: &Change) -> String {
    let mut text = "\nThis request changes:\n\n".to_owned();
    for file in change.files.iter().take(MAX_ROWS) {
        let _ = writeln!(text, "- {} {}", file.op.verb(), code(&file.path));
    }
    if !change.fields.is_empty() {
        text.push_str("\n| field | before | after |\n|---|---|---|\n");
        let value = |value: Option<&serde_json::Value>| {
            value.map_or_else(
                || "absent".to_owned(),
                |value| cell(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)),
            )
        };
        for field in change.fields.iter().take(MAX_ROWS) {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                cell(&field.path),
                value(field.before.as_ref()),
                value(field.after.as_ref())
            );
        }
    }
    let hidden = change.files.len().saturating_sub(MAX_ROWS) + change.fields.len().saturating_sub(MAX_ROWS);
    if hidden > 0 {
        let _ = writeln!(text, "\nThe diff shows {hidden} more.");
    }
    text
}

/// What follows a merge, and what follows a close without one.
fn outlook(request: &Request) -> &'static str {
    match request.stage {
        Stage::Promote if request.handover == Handover::SinglePullRequest => {
            "\n**All traffic is on the baseline.** After the merge the baseline has the candidate's content, and the experiment's files are gone.\n\n\
             **Closing this request** without merging it discards the candidate; a second request then removes the experiment.\n"
        }
        Stage::Promote => {
            "\n**After the merge** the candidate keeps its share of the traffic until the baseline's rollout is complete; a second request then removes the experiment.\n\n\
             **Closing this request** without merging it discards the candidate: all traffic returns to the baseline.\n"
        }
        Stage::CleanUp => {
            "\n**After the merge** the directory has the files that it had before the experiment.\n\n\
             **Closing this request** without merging it changes no traffic; the files stay until somebody removes them.\n"
        }
        Stage::Revert => {
            "\n**After the merge** and the baseline's rollout, a second request removes the experiment.\n\n\
             **Closing this request** without merging it keeps the promotion; a second request then removes the experiment.\n"
        }
    }
}

#[cfg(test)]
mod tests;
