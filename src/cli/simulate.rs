//! `reiter8 simulate FILE`: plays a scenario and prints its timeline.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;

use super::style::{clock, print};
use crate::engine::{ArmRow, Outcome};
use crate::simulate::{Event, Scenario, Story, play};

/// Largest scenario file that is read, bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Play a scenario in the embedded world and print what happens
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "A scenario is YAML; every field has a default:\n\n  \
    seed: 7\n  rps: 50\n  baseline: {errors: 0.1%}\n  candidate: {errors: 0.1%, from: [{at: 10m, errors: 5%}]}\n  \
    sample: reviews                 # an A/B/N experiment with the candidates `black` and `red`; default bookinfo, with one\n  \
    candidates: {red: {reward: 2}}  # errors and the mean reward of one of several; default 0.1% and 1\n  \
    outages: [{from: 2m, to: 4m}]\n  notReady: [{from: 3m, to: 4m}]\n  edits: [{at: 90s, candidate: 30}]\n  \
    reviewer: {promote: merge, cleanUp: merge, after: 30s}   # merge | close | ignore\n  \
    experiment: {analysis: {deadline: 20m}}   # laid over the sample's spec\n  until: 6h\n\n\
    Exit codes: 0 played to its end, 1 the scenario is wrong or could not be played.\n\n\
    Examples:\n  reiter8 simulate tests/scenarios/outage.yaml\n  reiter8 simulate late.yaml -o json | jq .outcome")]
pub(super) struct SimulateArgs {
    /// The scenario
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Another seed than the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// `json` prints one document instead of the timeline
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "text"], default_value = "text")]
    output: String,
}

/// Runs the simulation.
pub(super) async fn simulate(args: SimulateArgs) -> anyhow::Result<()> {
    let file = args.file.display();
    let size = std::fs::metadata(&args.file).with_context(|| format!("failed to read {file}"))?.len();
    anyhow::ensure!(size <= MOST_BYTES, "{file} has {size} bytes; a scenario has at most {MOST_BYTES}");
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("failed to read {file}"))?;
    let mut scenario = Scenario::read(&text).with_context(|| file.to_string())?;
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    let folder = tempfile::tempdir().context("failed to make a temporary folder")?;
    let story = play(&scenario, &folder.path().join("environment.git"), |_| {}).await?;
    let text = match args.output.as_str() {
        "json" => serde_json::to_string_pretty(&document(&story))? + "\n",
        _ => timeline(&story),
    };
    print(&text).context("failed to print")
}

fn document(story: &Story) -> serde_json::Value {
    let paths = |files: &[(String, String)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    json!({
        "outcome": story.outcome.map(Outcome::as_str),
        "reason": story.reason,
        "secondsToDecision": story.seconds_to_decision,
        "badRequests": story.bad_requests,
        "candidate": story.candidate,
        "finalWeights": weights(story),
        "removed": story.removed,
        "requests": story.requests,
        "commits": story.commits,
        "filesBefore": paths(&story.before),
        "filesAfter": paths(&story.after),
        "events": story.events,
    })
}

/// The baseline's weight, and the candidate's; of several, each by its name.
fn weights(story: &Story) -> serde_json::Value {
    let several = story.candidates.len() > 1;
    let name = |name: &String| if several { name.clone() } else { "candidate".into() };
    let candidates = story.candidates.iter().map(name).zip(story.weights.weights(story.candidates.len()));
    std::iter::once(("baseline".to_owned(), story.weights.baseline())).chain(candidates).collect()
}

/// The timeline as a table; evidence is shown when it changes the weight or ends a phase, and every tenth time.
pub fn timeline(story: &Story) -> String {
    let mut text = format!(
        "{:>7}  {:<11} {:>4}  {:>9} {:>6}  {:>15} {:>15}  what\n",
        "time", "phase", "cand", "requests", "bad", "Fail evidence", "Pass evidence"
    );
    let mut silent = 0;
    for event in &story.events {
        silent = if event.what == "evidence" { silent + 1 } else { 0 };
        if event.what != "evidence" || silent % 10 == 1 {
            text.push_str(&line(event));
        }
    }
    let outcome = story.outcome.map_or("no verdict", Outcome::as_str);
    let reason = story.reason.unwrap_or("the time is up");
    let seconds = story.seconds_to_decision.map_or_else(|| "-".into(), |s| s.to_string());
    text.push_str(&format!(
        "{outcome}{} ({reason}) after {seconds} s, {:.0} bad requests; weights {}; experiment {}\n",
        winner(story),
        story.bad_requests,
        story.weights.text(story.candidates.len()),
        if story.removed { "removed" } else { "still there" }
    ));
    for request in &story.requests {
        text.push_str(&format!("#{} {} ({})\n", request.number, request.title, request.outcome));
    }
    text
}

/// Which of several candidates was promoted.
fn winner(story: &Story) -> String {
    let promoted = story.outcome == Some(Outcome::Promote) && story.candidates.len() > 1;
    story.candidate.as_ref().filter(|_| promoted).map_or_else(String::new, |name| format!(" {name}"))
}

/// Each version's mean in a race, and what speaks against it.
fn standing(row: &ArmRow) -> String {
    let mean = row.mean.map_or_else(|| "no values".into(), |mean| format!("{mean:.3}"));
    let against = format!("{:.3} of {:.0}", row.against.min(99_999.0), row.needed);
    let state = if row.racing { against } else { "out".into() };
    format!("{} {mean} ({state})", row.name)
}

fn line(event: &Event) -> String {
    let race: Vec<String> = event.race.iter().filter(|row| row.values > 0.0).map(standing).collect();
    let told = event.what == "evidence" && !race.is_empty();
    let what = if told { format!("evidence; {}", race.join(", ")) } else { event.what.clone() };
    let evidence = |(value, needed): (f64, f64)| format!("{:.3} of {needed:.0}", value.min(99_999.0));
    format!(
        "{:>7}  {:<11} {:>3}%  {:>9.0} {:>6.0}  {:>15} {:>15}  {}\n",
        clock(event.at),
        event.phase,
        event.weight,
        event.requests,
        event.bad,
        evidence(event.fail),
        evidence(event.pass),
        what
    )
}
