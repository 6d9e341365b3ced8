//! Texts for people: title and body of a request, commit message.
//!
//! Pure: a [`Report`] in, text out, so a restart renders the same text again. Everything that comes from a resource or a file is
//! hostile: outside of code spans only plain words appear, inside of them nothing can end the span or the table's row. Such
//! text cannot ping anyone, link, close an issue, or pose as a trailer.

mod mark;
mod text;

use std::fmt::Write as _;

pub use mark::{marked, whose};
pub(crate) use text::is_invisible;
use text::{cell, code, duration, percent, plain};

use super::edit::FieldChange;
use super::tree::CommitId;
use crate::engine::{ArmRow, Handover, News, Outcome, Reason, Row, Rule, Running, Stage};

/// Most files and most fields that a body lists; the request's own diff shows them all.
const MAX_ROWS: usize = 40;

/// One criterion, as decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Criterion {
    /// The metric's name.
    pub metric: String,
    /// The candidate that was tested, if there are several.
    pub candidate: Option<String>,
    /// What is tested.
    pub rule: Rule,
    /// The candidate's requests, or values, that counted.
    pub requests: u64,
    /// Those of them that were bad.
    pub bad: u64,
    /// The share of bad requests or the mean, if there was anything.
    pub estimate: Option<f64>,
    /// Lowest and highest plausible value.
    pub interval: Option<(f64, f64)>,
    /// The evidence that was collected for the verdict.
    pub evidence: f64,
    /// The evidence that the verdict needs.
    pub needed: f64,
    /// Pass, Fail or Undecided.
    pub verdict: String,
}

/// Everything that a request tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The experiment's namespace.
    pub namespace: String,
    /// The experiment's name.
    pub name: String,
    /// The experiment's uid.
    pub uid: String,
    /// What the experiment is about.
    pub target: String,
    /// Which request this is.
    pub stage: Stage,
    /// What is done.
    pub outcome: Outcome,
    /// Why, in one word.
    pub reason: String,
    /// The version that was there.
    pub baseline: Running,
    /// The version that was tried; of several, the one that is promoted or was the last to leave.
    pub candidate: Running,
    /// The other candidates, if there are several.
    pub others: Vec<Running>,
    /// The reward that several candidates competed for, with all versions as they stood.
    pub race: Option<(String, Vec<ArmRow>)>,
    /// The criteria, in the experiment's order.
    pub criteria: Vec<Criterion>,
    /// The candidate's part of the traffic at the decision, in percent.
    pub weight: u8,
    /// From the first traffic to the decision, in seconds.
    pub duration_seconds: u64,
    /// What happens to which file: a verb and a path.
    pub files: Vec<(&'static str, String)>,
    /// The fields that change.
    pub fields: Vec<FieldChange>,
    /// The verdict in one sentence, without a full stop; may be empty.
    pub sentence: String,
    /// The request's key.
    pub key: String,
    /// The commit that the change was computed on.
    pub base: CommitId,
    /// In how many requests the outcome is written.
    pub handover: Handover,
    /// What is new since the decision.
    pub news: News,
}

/// The request's title and the commit's first line.
pub fn title(report: &Report) -> String {
    let (target, candidate) = (plain(&report.target), plain(&report.candidate.name));
    let experiment = format!("{}/{}", plain(&report.namespace), plain(&report.name));
    match (report.stage, report.outcome) {
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
pub fn commit_message(report: &Report) -> String {
    format!(
        "{}\n\nIter8-Experiment: {}/{}\nIter8-Uid: {}\nIter8-Stage: {}\nIter8-Key: {}\nIter8-Base: {}\n",
        title(report),
        plain(&report.namespace),
        plain(&report.name),
        plain(&report.uid),
        report.stage.word(),
        plain(&report.key),
        report.base,
    )
}

/// The request's body.
pub fn body(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{}\n\n", verdict(report));
    if !report.sentence.is_empty() {
        let _ = write!(text, "In its words: {}.\n\n", cell(&report.sentence));
    }
    let _ = write!(text, "{}\n{}{}", versions(report), criteria(report), race(report));
    let _ = write!(
        text,
        "\nAt the decision {} carried {} % of the traffic; the experiment had run for {}.\n",
        if report.race.is_some() { "each candidate that was left" } else { "the candidate" },
        report.weight,
        duration(report.duration_seconds)
    );
    text.push_str(&news(report));
    text.push_str(&changes(report));
    text.push_str(&outlook(report));
    let _ = write!(
        text,
        "\n<!-- iter8: experiment={}/{} uid={} stage={} key={} base={} -->\n",
        plain(&report.namespace),
        plain(&report.name),
        plain(&report.uid),
        report.stage.word(),
        plain(&report.key),
        report.base
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

fn verdict(report: &Report) -> String {
    let (candidate, target, reason) = (code(&report.candidate.name), code(&report.target), code(&report.reason));
    let experiment = code(&format!("{}/{}", report.namespace, report.name));
    match (report.stage, report.outcome) {
        // Only what was proven is recommended.
        (Stage::Promote, _) if report.reason == Reason::Requested.as_str() => format!(
            "A person asked experiment {experiment} for {candidate} as the new baseline of {target} ({reason}). There was no verdict: nothing is proven."
        ),
        (Stage::Promote, _) if report.reason == Reason::Unproven.as_str() => format!(
            "Experiment {experiment} proposes {candidate} as the new baseline of {target} without a proof ({reason}), as it was told to."
        ),
        (Stage::Promote, _) => {
            format!("Experiment {experiment} recommends {candidate} as the new baseline of {target} ({reason}).")
        }
        (Stage::CleanUp, Outcome::Promote) => format!(
            "Experiment {experiment} is done: {candidate} is the baseline of {target} ({reason}). Its files can go."
        ),
        (Stage::CleanUp, Outcome::Discard) if report.race.is_some() => format!(
            "Experiment {experiment} discards all candidates of {target} ({reason}). All traffic is back at the baseline."
        ),
        (Stage::CleanUp, Outcome::Discard) => format!(
            "Experiment {experiment} discards {candidate} of {target} ({reason}). All traffic is back at the baseline."
        ),
        (Stage::Revert, _) => format!(
            "Experiment {experiment} takes the promotion of {candidate} back ({reason}): the baseline of {target} gets its former content."
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

fn criteria(report: &Report) -> String {
    let mut text =
        "| metric | limit | requests | bad | value | evidence | verdict |\n|---|---|---|---|---|---|---|\n".to_owned();
    for criterion in report.criteria.iter().take(MAX_ROWS) {
        let show = |value| shown(criterion.rule, value);
        let value = match (criterion.estimate, criterion.interval) {
            (Some(estimate), Some((low, high))) => format!("{} ({} to {})", show(estimate), show(low), show(high)),
            (Some(estimate), None) => show(estimate),
            (None, _) => "no data".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {value} | {:.1} of {:.1} | {} |",
            metric(criterion.candidate.as_deref(), &criterion.metric),
            criterion.rule.text(),
            criterion.requests,
            counted(criterion.rule, criterion.bad),
            criterion.evidence,
            criterion.needed,
            cell(&criterion.verdict)
        );
    }
    text
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
            "| {} | {} | {:.0} | {:.1} of {:.1} | {left} |",
            cell(&version.name),
            version.mean.map_or_else(|| "no data".to_owned(), crate::engine::number),
            version.values,
            version.against,
            version.needed
        );
    }
    text
}

/// A criterion's value: a share as people write it, everything else in the rule's own words.
fn shown(rule: Rule, value: f64) -> String {
    if rule.is_share() { percent(value) } else { rule.shown(value) }
}

/// Bad requests, of a rule that knows any.
fn counted(rule: Rule, bad: impl std::fmt::Display) -> String {
    if rule.is_share() { format!("{bad:.0}") } else { "-".to_owned() }
}

/// What is new since the decision; nothing for a request that waits for its review as every other does.
fn news(report: &Report) -> String {
    let mut text = String::new();
    if let Some(guard) = &report.news.guard {
        let windows = if guard.windows == 1 { "One window".to_owned() } else { format!("{} windows", guard.windows) };
        let _ = write!(
            text,
            "\n{windows} of the guard passed without an alarm since {}. In the last one:\n\n{}",
            code(&guard.since.to_string()),
            seen(&guard.rows)
        );
    }
    let waits = match report.news.waits.as_str() {
        "WaitingForReview" => return text,
        "WaitingForChecks" => "It is merged without a person, when the forge's checks allow that.".to_owned(),
        "RequestEdited" => "Others have commits of their own in it. What is merged is what is rolled out.".to_owned(),
        "BaseConflict" => "It cannot be merged: others changed the same lines. If that stays, another request takes its place, or a person resolves it.".to_owned(),
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

fn changes(report: &Report) -> String {
    let mut text = "\nThis request changes:\n\n".to_owned();
    for (verb, path) in report.files.iter().take(MAX_ROWS) {
        let _ = writeln!(text, "- {verb} {}", code(path));
    }
    if !report.fields.is_empty() {
        text.push_str("\n| field | before | after |\n|---|---|---|\n");
        let value = |value: Option<&serde_json::Value>| {
            value.map_or_else(
                || "absent".to_owned(),
                |value| cell(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)),
            )
        };
        for field in report.fields.iter().take(MAX_ROWS) {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                cell(&field.path),
                value(field.before.as_ref()),
                value(field.after.as_ref())
            );
        }
    }
    let hidden = report.files.len().saturating_sub(MAX_ROWS) + report.fields.len().saturating_sub(MAX_ROWS);
    if hidden > 0 {
        let _ = writeln!(text, "\n{hidden} more are in the diff.");
    }
    text
}

fn outlook(report: &Report) -> String {
    match report.stage {
        Stage::Promote if report.handover == Handover::SinglePullRequest => "\n**All traffic is at the baseline.** After the merge the baseline gets the candidate's content, and the experiment's files are gone.\n\n\
             **Closing this request** without a merge discards the candidate; a second request removes the experiment.\n"
            .to_owned(),
        Stage::Promote => "\n**After the merge** the candidate keeps its part of the traffic until the baseline's rollout is complete; a second request then removes the experiment.\n\n\
             **Closing this request** without a merge discards the candidate: all traffic returns to the baseline.\n"
            .to_owned(),
        Stage::CleanUp => "\n**After the merge** the directory has the files that it had before the experiment.\n\n\
             **Closing this request** without a merge changes no traffic; the files stay until somebody removes them.\n"
            .to_owned(),
        Stage::Revert => "\n**After the merge** and the baseline's rollout a second request removes the experiment.\n\n\
             **Closing this request** without a merge keeps the promotion; a second request removes the experiment.\n"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
