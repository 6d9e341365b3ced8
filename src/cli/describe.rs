//! `reiter8 describe NAME`: an experiment's status for people, so that nobody has to read logs.
//!
//! Owns the words and the layout, which `reiter8 watch` shows as well. Says what status says and adds no judgement.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use serde_json::json;

use super::client::{self, Cluster, Place};
use super::output::{self, Output, clean, relative};
use super::style::{bar, coloured, paint};
use crate::api::experiment::{CriterionStatus, RaceStatus, StageStatus, VersionWeight};
use crate::api::{Experiment, ExperimentStatus, conditions};
use crate::controller::annotation;
use crate::engine::Verb;

/// Most Events that are shown, the last ones.
const MOST_EVENTS: usize = 10;
/// Most Events that are read; an experiment has a few dozen.
const EVENTS_READ: u32 = 500;
/// Width up to which names of versions are aligned.
const MOST_NAME: usize = 30;
/// Width of the words before each line's content.
const LABEL: usize = 12;

/// Show where an experiment is, why, what happens next and what blocks it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 shown, 1 not found or no cluster, 2 wrong arguments.\n\n\
    Examples:\n  reiter8 describe productpage-x7k2p -n bookinfo\n  \
    kubectl reiter8 describe productpage-x7k2p\n  \
    reiter8 describe productpage-x7k2p -o json | jq .status.criteria")]
pub(super) struct DescribeArgs {
    /// The experiment
    #[arg(value_parser = client::name)]
    name: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(super) async fn describe(args: DescribeArgs) -> anyhow::Result<()> {
    let cluster = args.place.connect().await?;
    let experiment = cluster.get(&args.name).await?;
    let events = events(&cluster, &experiment).await;
    if args.output.is_json() {
        return output::json(&document(&experiment, events.as_deref().unwrap_or_default()));
    }
    let (now, colours) = (Timestamp::now(), coloured());
    let mut lines = summary(&experiment, now, colours);
    lines.extend(conditions_of(&experiment, now, colours));
    match events {
        Ok(events) => lines.extend(events_of(&events, now, colours)),
        Err(why) => lines.push(format!("Events could not be read: {why}")),
    }
    output::say(&lines.join("\n"))
}

/// What happened, as Events tell it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Happened {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    message: String,
    count: i32,
}

/// The last Events of an experiment, oldest first.
async fn events(cluster: &Cluster, experiment: &Experiment) -> Result<Vec<Happened>, String> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let about = format!("involvedObject.uid={}", experiment.uid().unwrap_or_default());
    let list = api.list(&ListParams::default().fields(&about).limit(EVENTS_READ)).await;
    let list = list.map_err(|error| cluster.failed("read Events", &error).to_string())?;
    let mut events: Vec<Happened> = list.items.into_iter().map(happened).collect();
    events.sort_by_key(|event| event.at);
    Ok(events.split_off(events.len().saturating_sub(MOST_EVENTS)))
}

fn happened(event: Event) -> Happened {
    let series = event.series.as_ref();
    let at = series.and_then(|s| s.last_observed_time.as_ref()).or(event.event_time.as_ref()).map(|t| t.0);
    Happened {
        at: at.or_else(|| event.last_timestamp.or(event.first_timestamp).map(|t| t.0)),
        count: series.and_then(|s| s.count).or(event.count).unwrap_or(1),
        kind: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
    }
}

/// The document for programs: names, the status without the engine's memory, the Events.
fn document(experiment: &Experiment, events: &[Happened]) -> serde_json::Value {
    let status = experiment.status.clone().map(|s| ExperimentStatus { accepted: None, progress: None, ..s });
    json!({
        "namespace": experiment.namespace(),
        "name": experiment.name_any(),
        "uid": experiment.uid(),
        "target": experiment.spec.target,
        "created": experiment.creation_timestamp(),
        "deleted": experiment.metadata.deletion_timestamp,
        "status": status,
        "events": events,
    })
}

/// A line with its word in front.
fn row(label: &str, text: &str) -> String {
    format!("{label:<LABEL$}{}", clean(text))
}

fn painted(label: &str, text: &str, colour: u8, colours: bool) -> String {
    format!("{label:<LABEL$}{}", paint(&clean(text), colour, colours))
}

/// Everything but conditions and Events.
pub(super) fn summary(experiment: &Experiment, now: Timestamp, colours: bool) -> Vec<String> {
    let nothing = ExperimentStatus::default();
    let status = experiment.status.as_ref().unwrap_or(&nothing);
    let title = format!("{}/{}", experiment.namespace().unwrap_or_default(), experiment.name_any());
    let mut lines = vec![painted("Experiment", &title, 1, colours), row("Target", &experiment.spec.target)];
    if let Some(created) = experiment.creation_timestamp() {
        lines.push(row("Created", &relative(created.0, now)));
    }
    if let Some(since) = &experiment.metadata.deletion_timestamp {
        lines.push(painted("Deleted", &format!("{}; traffic goes home first", relative(since.0, now)), 33, colours));
    }
    lines.extend(state(status, now, colours));
    lines.extend(traffic(status, now, colours));
    lines.extend(status.race.iter().flat_map(|r| race(r, colours)));
    lines.extend(status.criteria.iter().flat_map(|c| criterion(c, colours)));
    lines.extend(outlook(status, now, colours));
    lines.extend(requests(status, colours));
    lines.extend(asked(experiment, now));
    lines
}

/// What people asked for, each verb's last request.
fn asked(experiment: &Experiment, now: Timestamp) -> Vec<String> {
    let of = |verb: &Verb| {
        let text = experiment.annotations().get(&annotation(*verb))?;
        let (time, why) = text.split_once(' ').unwrap_or((text, ""));
        let told = match time.parse::<Timestamp>() {
            Ok(at) if why.is_empty() => relative(at, now),
            Ok(at) => format!("{}: {why}", relative(at, now)),
            Err(_) => format!("`{time}` is not a time and is ignored"),
        };
        Some(row("Asked", &format!("{} {told}", verb.as_str())))
    };
    Verb::ALL.iter().filter_map(of).collect()
}

/// Phase, message and outcome.
fn state(status: &ExperimentStatus, now: Timestamp, colours: bool) -> Vec<String> {
    let Some(phase) = &status.phase else {
        let text = status.message.as_deref().unwrap_or("no controller has looked at it yet; is `reiter8 run` running?");
        return vec![painted("Phase", text, 33, colours)];
    };
    let mut lines = vec![painted("Phase", phase, 1, colours)];
    if let Some(message) = status.message.as_ref().filter(|m| *m != phase) {
        lines.push(row("", message));
    }
    if let Some(waiting) = &status.waiting_for {
        let until =
            waiting.until.as_ref().map_or_else(|| "no deadline".into(), |t| format!("until {}", when(t.0, now)));
        lines.push(row("Waits for", &format!("{} ({until})", waiting.what)));
    }
    lines.push(match (&status.outcome, &status.reason) {
        (Some(outcome), reason) => {
            let colour = if outcome == "Promote" { 32 } else { 31 };
            let reason = reason.as_ref().map_or_else(String::new, |r| format!(" ({r})"));
            painted("Outcome", &format!("{outcome}{reason}"), colour, colours)
        }
        (None, _) => row("Outcome", "no verdict yet"),
    });
    lines
}

fn traffic(status: &ExperimentStatus, now: Timestamp, colours: bool) -> Vec<String> {
    let mut lines = vec![];
    if !status.weights.is_empty() {
        // All candidates' together.
        let tried: i32 = status.weights.iter().skip(1).map(|w| w.value.clamp(0, 100)).sum();
        let tried = u8::try_from(tried.min(100)).unwrap_or(0);
        lines.push(format!("{}  {}", row("Weights", &weights(&status.weights)), paint(&bar(tried), 36, colours)));
    }
    if let Some(start) = &status.start_time {
        let looks = status.completed_iterations.unwrap_or(0);
        lines.push(row("Traffic", &format!("first {}, {looks} intervals of evidence", relative(start.0, now))));
    }
    lines
}

/// `stable 80 %, candidate 20 %`.
pub(super) fn weights(weights: &[VersionWeight]) -> String {
    weights.iter().map(|w| format!("{} {} %", w.name, w.value)).collect::<Vec<_>>().join(", ")
}

/// The versions of a race, one below the other.
fn race(race: &RaceStatus, colours: bool) -> Vec<String> {
    let name = race.versions.iter().map(|v| v.name.chars().count()).max().unwrap_or(0).min(MOST_NAME);
    let mean = |mean: Option<f64>| mean.map_or_else(|| "no values".into(), |mean| format!("{mean:.4}"));
    let mut lines = vec![row("Race", &format!("{}, mean of each version:", race.metric))];
    lines.extend(race.versions.iter().map(|version| {
        let text = format!("{:<name$} {:>12} of {:>9} values  ", version.name, mean(version.mean), version.values);
        let colour = if version.state == "Racing" { 32 } else { 31 };
        let state = paint(&clean(&format!("{:<7}", version.state)), colour, colours);
        format!("{}{state} {}", row("", &text), clean(&version.why))
    }));
    lines
}

fn criterion(criterion: &CriterionStatus, colours: bool) -> Vec<String> {
    let verdict = criterion.verdict.as_deref().unwrap_or("Undecided");
    let colour = match verdict {
        "Pass" => 32,
        "Fail" => 31,
        _ => 33,
    };
    let whose = criterion.candidate.as_ref().map_or_else(String::new, |name| format!("{name}: "));
    let title = format!("{whose}{}, limit {}: ", criterion.metric, criterion.limit);
    let mut lines = vec![format!("{}{}", row("Criterion", &title), paint(&clean(verdict), colour, colours))];
    if let Some(requests) = criterion.requests {
        let what = criterion
            .bad
            .map_or_else(|| format!("{requests} values"), |bad| format!("{bad} bad of {requests} requests"));
        // A share is told in percent, as its limit is.
        let value =
            |x: f64| if criterion.limit.contains('%') { format!("{:.3} %", x * 100.0) } else { format!("{x:.3}") };
        let estimate = criterion.estimate.map_or_else(String::new, |e| format!(": {}", value(e)));
        let interval = criterion
            .interval
            .as_ref()
            .map_or_else(String::new, |i| format!(", between {} and {}", value(i.low), value(i.high)));
        lines.push(row("", &format!("{what}{estimate}{interval}")));
    }
    lines.extend(criterion.why.as_ref().map(|why| row("", why)));
    lines
}

/// What comes, and what hinders it.
fn outlook(status: &ExperimentStatus, now: Timestamp, colours: bool) -> Vec<String> {
    let mut lines = vec![];
    if let Some(next) = &status.next {
        let at = next.at.as_ref().map_or_else(String::new, |t| format!(", {}", when(t.0, now)));
        lines.push(row("Next", &format!("{}{at}", next.what)));
    }
    for stalled in status.conditions.iter().filter(|c| c.type_ == conditions::STALLED && c.status == "True") {
        lines.push(painted("Blocked by", &format!("{}: {}", stalled.reason, stalled.message), 31, colours));
    }
    lines
}

fn requests(status: &ExperimentStatus, colours: bool) -> Vec<String> {
    let stages = status.gitops.as_ref().map_or(&[][..], |g| g.stages.as_slice());
    stages.iter().map(|stage| request(stage, colours)).collect()
}

fn request(stage: &StageStatus, colours: bool) -> String {
    let again = if stage.attempt > 1 { format!(", attempt {}", stage.attempt) } else { String::new() };
    let text = match &stage.pull_request {
        Some(request) => {
            format!("{}: {} (#{}), {}{again}", stage.stage, request.url, request.number, request.state)
        }
        // A retry may leave a stage behind that never had a request.
        None if stage.state == "Done" => format!("{}: no request, {}{again}", stage.stage, stage.state),
        None => format!("{}: no request yet, {}{again}", stage.stage, stage.state),
    };
    let open = stage.pull_request.as_ref().is_some_and(|r| r.state == "Open");
    if open { painted("Request", &text, 1, colours) } else { row("Request", &text) }
}

/// An instant with its clock time, `10:22:13Z (in 8 s)`; on another day with its date.
fn when(at: Timestamp, now: Timestamp) -> String {
    let day = |t: Timestamp| t.strftime("%Y-%m-%d").to_string();
    let date = if day(at) == day(now) { String::new() } else { format!("{} ", day(at)) };
    format!("{date}{} ({})", at.strftime("%H:%M:%SZ"), relative(at, now))
}

fn conditions_of(experiment: &Experiment, now: Timestamp, colours: bool) -> Vec<String> {
    let conditions = experiment.status.as_ref().map_or(&[][..], |s| s.conditions.as_slice());
    let mut lines = vec![];
    if !conditions.is_empty() {
        lines.extend([String::new(), paint("Conditions", 1, colours)]);
    }
    let line = |c: &Condition| {
        let text = format!("  {:<15} {:<7} {:<22} {}", c.type_, c.status, c.reason, c.message);
        format!("{} ({})", clean(text.trim_end()), relative(c.last_transition_time.0, now))
    };
    lines.extend(conditions.iter().map(line));
    lines
}

fn events_of(events: &[Happened], now: Timestamp, colours: bool) -> Vec<String> {
    let mut lines = vec![];
    if !events.is_empty() {
        lines.extend([String::new(), paint("Events", 1, colours)]);
    }
    lines.extend(events.iter().map(|event| {
        let at = event.at.map_or_else(|| "some time ago".into(), |t| relative(t, now));
        let times = if event.count > 1 { format!(" (x{})", event.count) } else { String::new() };
        let text = clean(&format!("  {at:<14} {:<8} {:<22} {}{times}", event.kind, event.reason, event.message));
        if event.kind == "Warning" { paint(&text, 33, colours) } else { text }
    }));
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn experiment() -> Experiment {
        serde_json::from_value(json!({
            "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
            "metadata": {"name": "web-1", "namespace": "shop", "creationTimestamp": "2026-01-31T09:00:00Z",
                "annotations": {"iter8.tools/pause": "2026-01-31T09:08:00.000Z look\nat this", "iter8.tools/abort": "now"}},
            "spec": {"target": "shop/web", "strategy": {"testingPattern": "Canary"},
                "versionInfo": {"baseline": {"name": "stable"}, "candidates": [{"name": "candidate"}]},
                "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}},
            "status": {
                "phase": "Promoting", "outcome": "Promote", "reason": "Proven", "message": "WaitingForReview: waiting for a review",
                "startTime": "2026-01-31T09:01:00Z", "completedIterations": 24,
                "waitingFor": {"what": "a review of #12", "until": "2026-02-07T09:00:00Z"},
                "weights": [{"name": "stable", "value": 50}, {"name": "candidate", "value": 50}],
                "criteria": [{"metric": "istio/error-rate", "limit": "1 %", "requests": 3400, "bad": 12, "estimate": 0.0035,
                    "interval": {"low": 0.001, "high": 0.009}, "verdict": "Pass", "why": "Pass evidence 24.2 of 20"}],
                "gitops": {"stages": [{"stage": "Promote", "state": "Waiting", "attempt": 2, "key": "k",
                    "pullRequest": {"number": 12, "url": "https://git.example.com/env/pulls/12", "state": "Open"}}]},
                "next": {"what": "the hand-over", "at": "2026-01-31T09:10:08Z"},
                "conditions": [{"type": "Stalled", "status": "True", "reason": "Forbidden", "message": "the forge\u{1b}[2J refuses",
                    "lastTransitionTime": "2026-01-31T09:05:00Z"}],
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_status_is_told_without_logs() {
        let now: Timestamp = "2026-01-31T09:10:00Z".parse().unwrap();
        let text = summary(&experiment(), now, false).join("\n");
        for part in [
            "shop/web-1",
            "Created     10 m 0 s ago",
            "WaitingForReview",
            "a review of #12 (until 2026-02-07 09:00:00Z (in 6 d 23 h))",
            "Promote (Proven)",
            "stable 50 %, candidate 50 %",
            "first 9 m 0 s ago, 24 intervals",
            "istio/error-rate, limit 1 %: Pass",
            "12 bad of 3400 requests: 0.350 %, between 0.100 % and 0.900 %",
            "Pass evidence 24.2 of 20",
            "the hand-over, 09:10:08Z (in 8 s)",
            "Blocked by  Forbidden: the forge [2J refuses",
            "https://git.example.com/env/pulls/12 (#12), Open, attempt 2",
            "Asked       pause 2 m 0 s ago: look at this",
            "abort `now` is not a time",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_race_is_told_version_by_version() {
        let mut experiment = experiment();
        let status = experiment.status.as_mut().unwrap();
        status.weights = serde_json::from_value(json!([{"name": "plain", "value": 70}, {"name": "black", "value": 0},
            {"name": "red", "value": 30}]))
        .unwrap();
        status.race = serde_json::from_value(json!({"metric": "revenue", "versions": [
            {"name": "plain", "mean": 2.0, "values": 1200, "state": "Racing", "why": "evidence against it 3.1 of 20"},
            {"name": "black", "mean": 2.43128, "values": 900, "state": "Out", "why": "it broke\nits limit"},
            {"name": "red", "values": 0, "state": "Racing", "why": "evidence against it 1.0 of 20"},
        ]}))
        .unwrap();
        status.criteria[0].candidate = Some("red".into());
        let text = summary(&experiment, Timestamp::UNIX_EPOCH, false).join("\n");
        for part in [
            "Race        revenue, mean of each version:",
            "plain       2.0000 of      1200 values  Racing  evidence against it 3.1 of 20",
            "black       2.4313 of       900 values  Out     it broke its limit",
            "red      no values of         0 values  Racing  evidence against it 1.0 of 20",
            "Criterion   red: istio/error-rate, limit 1 %: Pass",
            "plain 70 %, black 0 %, red 30 %",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.contains(&bar(30)), "the bar is all candidates' weight together: {text}");
    }

    #[test]
    fn an_experiment_without_a_status_says_what_is_missing() {
        let mut new = experiment();
        new.status = None;
        let text = summary(&new, Timestamp::UNIX_EPOCH, false).join("\n");
        assert!(text.contains("no controller has looked at it yet"), "{text}");
    }

    #[test]
    fn the_document_leaves_the_engines_memory_out() {
        let mut experiment = experiment();
        experiment.status.as_mut().unwrap().progress = Some(json!({"phase": "Promoting"}));
        let document = document(&experiment, &[]);
        assert_eq!(document.pointer("/status/outcome"), Some(&json!("Promote")));
        assert_eq!(document.pointer("/status/progress"), None);
    }
}
