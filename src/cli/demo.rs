//! `reiter8 demo`: the whole story on this machine, for a good candidate and a bad one.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::style::{bar, clock, coloured, diff, for_people, paint, print};
use crate::api::{Quantity, Unit};
use crate::engine::Outcome;
use crate::simulate::{Behaviour, Event, Scenario, Story, play};

/// Pause after each line for people, so that the story can be read.
const PACE: Duration = Duration::from_millis(60);
/// All pauses together: however long the story gets, it is told within fifteen seconds.
const PAUSES: Duration = Duration::from_secs(9);

/// Tell the whole story on this machine: no cluster, no network, nothing installed
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The experiment, its evidence, the edits, commits, pushes and pull requests are real; traffic, \
    metrics and\nworkloads are simulated under a virtual clock.\n\n\
    Exit codes: 0 both stories came to an end and the repository is in order, 1 one of them did not.\n\n\
    Examples:\n  reiter8 demo\n  reiter8 demo --keep /tmp/demo && git -C /tmp/demo/good.git log --graph main\n  \
    reiter8 demo --seed 7 --candidate-errors 5%,0.1% -o json"
)]
pub(super) struct DemoArgs {
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Shares of bad requests of the good and of the bad candidate; one share stands for both
    #[arg(long, default_value = "0.1%,5%", value_name = "SHARE[,SHARE]", value_parser = shares)]
    candidate_errors: [String; 2],
    /// Keep the repositories in this folder, as NAME.git
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// `json` prints one document instead of the story
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json", "text"], default_value = "text")]
    output: String,
    /// Do not pause for people
    #[arg(long)]
    fast: bool,
}

/// The document of `-o json`.
#[derive(Serialize)]
struct Document {
    scenarios: Vec<Told>,
}

/// One story in the document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    name: &'static str,
    outcome: &'static str,
    seconds_to_decision: i64,
    bad_requests: u64,
    final_weights: Weights,
    commits: Vec<String>,
    files_before: Vec<String>,
    files_after: Vec<String>,
}

#[derive(Serialize)]
struct Weights {
    baseline: u8,
    candidate: u8,
}

/// The shares of the good and of the bad candidate.
fn shares(text: &str) -> Result<[String; 2], String> {
    let shares: Vec<&str> = text.split(',').collect();
    let (good, bad) = match shares.as_slice() {
        [both] => (*both, *both),
        [good, bad] => (*good, *bad),
        more => return Err(format!("write one share or two, such as `0.1%,5%`, not {}", more.len())),
    };
    for share in [good, bad] {
        Quantity::from(share).value(Unit::Share).map_err(|error| error.to_string())?;
    }
    Ok([good.to_owned(), bad.to_owned()])
}

/// Runs the demo.
pub(super) async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir().context("failed to make a temporary folder")?;
    let folder = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let pauses = if for_people() && !args.fast { PAUSES } else { Duration::ZERO };
    let teller = Teller { aloud: args.output == "text", colours: coloured(), pauses: Cell::new(pauses) };
    let mut scenarios = vec![];
    for (name, share) in ["good", "bad"].into_iter().zip(&args.candidate_errors) {
        let path = folder.join(format!("{name}.git"));
        ensure!(!path.exists(), "{} is there already; remove it, or name another folder for --keep", path.display());
        let errors = Quantity::from(share.as_str());
        let candidate = Behaviour { errors, ..Behaviour::default() };
        let scenario = Scenario { seed: args.seed, candidate, ..Scenario::default() };
        teller.title(name, share);
        let story = play(&scenario, &path, |event| teller.event(event)).await?;
        teller.requests(&story);
        scenarios.push(told(name, &story)?);
        teller.end(&story, args.keep.is_some().then_some(&path));
    }
    if args.output == "json" {
        print(&(serde_json::to_string_pretty(&Document { scenarios })? + "\n")).context("failed to print")?;
    }
    Ok(())
}

/// Checks that a story came to its end, and sums it up.
fn told(name: &'static str, story: &Story) -> anyhow::Result<Told> {
    let Some(outcome) = story.outcome else { bail!("the {name} story ended without a verdict") };
    let names = |files: &[(String, String)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    ensure!(story.removed, "the {name} story's experiment was not removed");
    ensure!(names(&story.before) == names(&story.after), "the {name} story's directory has other files than before");
    // Counts of requests are whole and small.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bad_requests = story.bad_requests.round() as u64;
    Ok(Told {
        name,
        outcome: outcome.as_str(),
        seconds_to_decision: story.seconds_to_decision.unwrap_or(0),
        bad_requests,
        final_weights: Weights { baseline: story.weights.baseline(), candidate: story.weights.of(0) },
        commits: story.commits.clone(),
        files_before: names(&story.before),
        files_after: names(&story.after),
    })
}

/// Tells the story on the terminal.
struct Teller {
    aloud: bool,
    colours: bool,
    /// What is left of all pauses.
    pauses: Cell<Duration>,
}

impl Teller {
    fn say(&self, line: &str) {
        if !self.aloud {
            return;
        }
        // A terminal that fails is no reason to leave a kept repository half-way.
        let _ = print(&format!("{line}\n"));
        let pause = PACE.min(self.pauses.get());
        self.pauses.set(self.pauses.get().saturating_sub(pause));
        std::thread::sleep(pause);
    }

    fn title(&self, name: &str, share: &str) {
        let title = format!("The {name} candidate: {share} of its requests fail; the limit is 1 %");
        self.say(&format!("\n{}", paint(&title, 1, self.colours)));
        self.say("CI commits the candidate and its Experiment; the GitOps tool syncs them.\n");
        self.say("  time   candidate                    requests   bad   Fail evidence   Pass evidence");
    }

    fn event(&self, event: &Event) {
        let at = clock(event.at);
        if event.what == "evidence" {
            let (fail, pass) = (
                format!("{:.2} of {:.0}", event.fail.0.min(9999.0), event.fail.1),
                format!("{:.2} of {:.0}", event.pass.0.min(9999.0), event.pass.1),
            );
            let weight = bar(event.weight);
            self.say(&format!(
                "  {at:>5}  {} {:>3} %  {:>8.0} {:>5.0}   {fail:<14}  {pass}",
                paint(&weight, 36, self.colours),
                event.weight,
                event.requests,
                event.bad
            ));
        } else if !event.what.starts_with("Waiting") {
            self.say(&format!("  {at:>5}  {}", paint(&event.what, 1, self.colours)));
        }
    }

    fn requests(&self, story: &Story) {
        for request in &story.requests {
            let heading = format!("Pull request #{}: {}", request.number, request.title);
            self.say(&format!("\n  {}", paint(&heading, 1, self.colours)));
            let ended = request.ended.map_or_else(String::new, |e| format!(", {} at {}", request.outcome, clock(e)));
            self.say(&format!("  from {}, opened at {}{ended}", request.branch, clock(request.opened)));
            for line in diff(&request.diff, self.colours).lines() {
                self.say(line);
            }
        }
    }

    fn end(&self, story: &Story, kept: Option<&PathBuf>) {
        let (word, colour) = match story.outcome {
            Some(Outcome::Promote) => ("promoted", 32),
            Some(Outcome::Discard) => ("discarded", 31),
            None => ("undecided", 33),
        };
        let seconds = story.seconds_to_decision.unwrap_or(0);
        self.say(&format!(
            "\n  The candidate was {} {seconds} s after its first request; it answered {:.0} requests badly.",
            paint(word, colour, self.colours),
            story.bad_requests
        ));
        let changed: Vec<&str> =
            story.before.iter().filter(|file| !story.after.contains(file)).map(|(path, _)| path.as_str()).collect();
        let shape = if changed.is_empty() {
            "every byte of them as before".into()
        } else {
            format!("changed: {}", changed.join(", "))
        };
        self.say(&format!("  The repository has the files it had before the experiment; {shape}."));
        if let Some(path) = kept {
            self.say(&format!("  git -C {} log --graph main", path.display()));
        }
    }
}
