//! `reiter8 assert NAME`: waits until an experiment is as expected, or cannot be any more; the answer is the exit code.
//!
//! Owns what can be expected and when an expectation is lost. `reiter8 watch` ends by the same rules.

use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{self, Place};
use super::describe::weights;
use super::output::{self, DOES_NOT_HOLD, Output, TIMED_OUT, clean};
use crate::api::experiment::RaceStatus;
use crate::api::{Experiment, ExperimentStatus, conditions};
use crate::engine::Reason;

/// Reasons of a refusal that only a change of the manifest can end.
const REFUSED: [&str; 2] = ["InvalidExperiment", "NotSupported"];

/// Wait until an experiment is as expected, or cannot be any more
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "All that is given has to hold; without any of it, `--outcome Promote` is meant. An outcome is known at\n\
    the verdict; `--phase Completed` waits for the end as well. With --timeout, an experiment that is not there yet is\n\
    waited for: the GitOps tool may still be about to create it.\n\n\
    Exit codes: 0 holds, 1 failed (not found, no cluster), 2 wrong arguments, 3 does not hold and cannot any more (another\n\
    outcome, deleted, refused), 4 the time is up.\n\n\
    Examples:\n  reiter8 assert productpage-x7k2p -n bookinfo --outcome Promote --timeout 2h\n  \
    reiter8 assert productpage-x7k2p --phase Completed --timeout 10m\n  \
    reiter8 assert productpage-x7k2p --outcome Discard --reason Harmful,Undecided\n  \
    reiter8 assert productpage-x7k2p -c completed,winnerFound --timeout 0s   # as in Iter8: look once"
)]
pub(super) struct AssertArgs {
    /// The experiment
    #[arg(value_parser = client::name)]
    name: String,
    #[command(flatten)]
    expected: Expected,
    /// Iter8's conditions: `winnerFound` and `successful` mean outcome Promote, `failure` any other
    #[arg(short, long = "condition", value_enum, value_delimiter = ',', value_name = "CONDITION")]
    conditions: Vec<Condition>,
    /// How long to wait, such as `90s`, `10m` or `2h` [default: as long as it takes]
    #[arg(long, value_parser = output::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// What is expected of an experiment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Expected {
    /// One of these outcomes
    #[arg(long = "outcome", value_delimiter = ',', value_name = "OUTCOME", value_parser = ["Promote", "Discard", "None"])]
    pub outcomes: Vec<String>,
    /// One of these phases
    #[arg(long = "phase", value_delimiter = ',', value_name = "PHASE",
        value_parser = ["Queued", "Preparing", "Shifting", "Deciding", "Promoting", "Discarding", "Completed"])]
    pub phases: Vec<String>,
    /// One of these reasons of the outcome, such as Proven, Harmful or Aborted
    #[arg(long = "reason", value_delimiter = ',', value_name = "REASON", value_parser = reason)]
    pub reasons: Vec<String>,
}

/// A reason that an outcome can have: a misspelt one would be waited for until the time is up.
fn reason(text: &str) -> Result<String, String> {
    let known: Result<Reason, serde_json::Error> = serde_json::from_value(Value::from(text));
    known.map(|reason| reason.as_str().to_owned()).map_err(|error| error.to_string())
}

/// Iter8's conditions, by Iter8's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Condition {
    #[value(name = "completed")]
    Completed,
    #[value(name = "winnerFound")]
    WinnerFound,
    #[value(name = "successful")]
    Successful,
    #[value(name = "failure")]
    Failure,
}

/// How an expectation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Holds,
    /// It does not, and will not.
    Lost(String),
    /// It does not yet.
    Open(String),
}

impl Standing {
    /// The exit code of a command that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Lost(_) => DOES_NOT_HOLD,
            Self::Open(_) => TIMED_OUT,
        }
    }
}

impl Expected {
    /// What is meant if nothing is given.
    #[must_use]
    pub fn or_promotion(mut self) -> Self {
        if self.outcomes.is_empty() && self.phases.is_empty() && self.reasons.is_empty() {
            self.outcomes.push("Promote".to_owned());
        }
        self
    }

    /// How the expectation stands with this experiment.
    #[must_use]
    pub fn standing(&self, experiment: &Experiment) -> Standing {
        let nothing = ExperimentStatus::default();
        let status = experiment.status.as_ref().unwrap_or(&nothing);
        let phase = status.phase.as_deref().unwrap_or("Queued");
        let completed = phase == "Completed";
        let outcome = status.outcome.as_deref().or_else(|| completed.then_some("None"));
        let checks = [
            ("outcome", &self.outcomes, outcome),
            ("reason", &self.reasons, status.reason.as_deref()),
            ("phase", &self.phases, Some(phase)),
        ];
        let wrong = checks
            .iter()
            .find(|(_, wanted, found)| !wanted.is_empty() && !found.is_some_and(|f| wanted.iter().any(|w| w == f)));
        let Some((what, wanted, found)) = wrong else { return Standing::Holds };
        let told = format!("{what} is {}, not {}", found.unwrap_or("not known yet"), wanted.join(" or "));
        // A discarded candidate does not come back by itself, nor does an end; before, anything may still happen.
        let discarded = outcome == Some("Discard") && !self.outcomes.is_empty() && *what == "outcome";
        if completed || discarded {
            return Standing::Lost(told);
        }
        match refusal(status, experiment.metadata.generation) {
            Some(refusal) => Standing::Lost(refusal),
            None => Standing::Open(told),
        }
    }

    /// How the expectation stands when the experiment is gone; `last` is what was seen of it.
    pub(super) fn after_the_end(&self, last: &Experiment) -> Standing {
        match self.standing(last) {
            Standing::Holds => Standing::Holds,
            Standing::Lost(why) | Standing::Open(why) => {
                Standing::Lost(format!("the experiment was deleted; its last {why}"))
            }
        }
    }

    fn add(&mut self, condition: Condition) {
        let (list, values): (_, &[&str]) = match condition {
            Condition::Completed => (&mut self.phases, &["Completed"]),
            Condition::WinnerFound | Condition::Successful => (&mut self.outcomes, &["Promote"]),
            Condition::Failure => (&mut self.outcomes, &["Discard", "None"]),
        };
        list.extend(values.iter().map(ToString::to_string));
    }
}

/// Why the controller does not carry the experiment out as it is written, if so.
fn refusal(status: &ExperimentStatus, generation: Option<i64>) -> Option<String> {
    let failed = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        c.type_ == conditions::FAILED && c.status == "True" && REFUSED.contains(&c.reason.as_str())
    };
    let current = status.observed_generation == generation;
    status.conditions.iter().find(failed).filter(|_| current).map(|c| format!("refused: {}: {}", c.reason, c.message))
}

/// Runs the command.
pub(super) async fn assert(args: AssertArgs) -> anyhow::Result<ExitCode> {
    let mut expected = args.expected.clone();
    args.conditions.iter().for_each(|c| expected.add(*c));
    let expected = expected.or_promotion();
    let cluster = args.place.connect().await?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut last = match cluster.get(&args.name).await {
        Ok(experiment) => Some(experiment),
        Err(client::ClientError::NotFound { .. }) if args.timeout.is_some_and(|t| !t.is_zero()) => None,
        Err(error) => return Err(error.into()),
    };
    let mut changes = Box::pin(cluster.follow(&args.name));
    let mut standing = last.as_ref().map_or_else(
        || Standing::Open(format!("there is no Experiment {}/{} yet", cluster.namespace, args.name)),
        |e| expected.standing(e),
    );
    while matches!(standing, Standing::Open(_)) {
        match next(&mut changes, deadline).await {
            None => break,
            Some(Some(experiment)) => {
                standing = expected.standing(&experiment);
                last = Some(experiment);
            }
            Some(None) => {
                if let Some(last) = &last {
                    standing = expected.after_the_end(last);
                }
            }
        }
    }
    report(&args, last.as_ref(), &standing)
}

/// The next change before the deadline; `None` when the time is up.
pub(super) async fn next<S>(changes: &mut S, deadline: Option<Instant>) -> Option<Option<Experiment>>
where
    S: futures::Stream<Item = Option<Experiment>> + Unpin,
{
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, changes.next()).await.ok().flatten(),
        None => changes.next().await,
    }
}

fn report(args: &AssertArgs, last: Option<&Experiment>, standing: &Standing) -> anyhow::Result<ExitCode> {
    let (result, why) = match standing {
        Standing::Holds => ("Holds", String::new()),
        Standing::Lost(why) => ("DoesNotHold", why.clone()),
        Standing::Open(why) => ("TimedOut", why.clone()),
    };
    if args.output.is_json() {
        output::json(&verdict(&args.name, last, result, &why))?;
    } else {
        let text = match result {
            "Holds" => format!("{}: holds ({})", args.name, last.map(brief).unwrap_or_default()),
            "TimedOut" => format!("{}: the time is up; {why}", args.name),
            _ => format!("{}: does not hold; {why}", args.name),
        };
        output::say(&clean(&text))?;
    }
    Ok(ExitCode::from(standing.exit_code()))
}

/// The document for programs.
pub(super) fn verdict(name: &str, last: Option<&Experiment>, result: &str, why: &str) -> Value {
    let status = last.and_then(|e| e.status.as_ref());
    let mut document = json!({
        "namespace": last.and_then(kube::ResourceExt::namespace),
        "name": name,
        "result": result,
        "why": why,
        "phase": status.and_then(|s| s.phase.clone()),
        "outcome": status.and_then(|s| s.outcome.clone()),
        "reason": status.and_then(|s| s.reason.clone()),
        "message": status.and_then(|s| s.message.clone()),
        "weights": status.map(|s| s.weights.clone()),
    });
    if let (Some(race), Some(fields)) = (status.and_then(|s| s.race.as_ref()), document.as_object_mut()) {
        fields.insert("out".to_owned(), json!(out(race)));
    }
    document
}

/// The versions that have left a race.
fn out(race: &RaceStatus) -> Vec<&str> {
    race.versions.iter().filter(|v| v.state != "Racing").map(|v| v.name.as_str()).collect()
}

/// Phase, outcome and weights in one line.
pub(super) fn brief(experiment: &Experiment) -> String {
    let Some(status) = &experiment.status else { return "no status yet".to_owned() };
    let mut parts = vec![status.phase.clone().unwrap_or_else(|| "no phase yet".to_owned())];
    if let Some(outcome) = &status.outcome {
        parts.push(status.reason.as_ref().map_or_else(|| outcome.clone(), |reason| format!("{outcome}: {reason}")));
    }
    if !status.weights.is_empty() {
        parts.push(weights(&status.weights));
    }
    let left = status.race.as_ref().map(out).unwrap_or_default();
    if !left.is_empty() {
        parts.push(format!("out: {}", left.join(" and ")));
    }
    parts.join(", ")
}

/// Whether an experiment has come to its end.
pub(super) fn ended(experiment: &Experiment) -> bool {
    experiment.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Completed")
}

/// An experiment's name with its namespace.
pub(super) fn full_name(experiment: &Experiment) -> String {
    format!("{}/{}", experiment.namespace().unwrap_or_default(), experiment.name_any())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn experiment(status: &Value) -> Experiment {
        serde_json::from_value(json!({
            "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
            "metadata": {"name": "web-1", "namespace": "shop", "generation": 1},
            "spec": {"target": "shop/web", "strategy": {"testingPattern": "Canary"},
                "versionInfo": {"baseline": {"name": "stable"}},
                "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}},
            "status": status,
        }))
        .unwrap()
    }

    fn expected(outcomes: &[&str], phases: &[&str], reasons: &[&str]) -> Expected {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Expected { outcomes: owned(outcomes), phases: owned(phases), reasons: owned(reasons) }
    }

    /// The first letter of a standing: Holds, Lost or Open.
    fn letter(standing: &Standing) -> char {
        match standing {
            Standing::Holds => 'H',
            Standing::Lost(_) => 'L',
            Standing::Open(_) => 'O',
        }
    }

    #[test]
    fn an_expectation_is_open_until_it_holds_or_is_lost() {
        let promote = expected(&["Promote"], &[], &[]);
        let final_promote = expected(&["Promote"], &["Completed"], &[]);
        let discard = expected(&["Discard"], &[], &["Harmful"]);
        let deciding = expected(&[], &["Deciding"], &[]);
        let table = [
            (json!({}), ['O', 'O', 'O', 'O']),
            (json!({"phase": "Deciding"}), ['O', 'O', 'O', 'H']),
            (json!({"phase": "Promoting", "outcome": "Promote", "reason": "Proven"}), ['H', 'O', 'O', 'O']),
            (json!({"phase": "Completed", "outcome": "Promote", "reason": "Proven"}), ['H', 'H', 'L', 'L']),
            (json!({"phase": "Discarding", "outcome": "Discard", "reason": "Harmful"}), ['L', 'L', 'H', 'O']),
            (json!({"phase": "Completed", "outcome": "Discard", "reason": "Aborted"}), ['L', 'L', 'L', 'L']),
            (json!({"phase": "Completed"}), ['L', 'L', 'L', 'L']),
        ];
        for (status, letters) in table {
            let found =
                [&promote, &final_promote, &discard, &deciding].map(|e| letter(&e.standing(&experiment(&status))));
            assert_eq!(found, letters, "{status}");
        }
    }

    #[test]
    fn who_is_out_of_a_race_is_told() {
        let version = |name: &str, state: &str| json!({"name": name, "values": 9, "state": state, "why": "so"});
        let raced = experiment(&json!({"phase": "Deciding", "weights": [{"name": "plain", "value": 70}],
            "race": {"metric": "revenue", "versions": [version("plain", "Out"), version("black", "Out"), version("red", "Racing")]}}));
        assert_eq!(brief(&raced), "Deciding, plain 70 %, out: plain and black");
        assert_eq!(verdict("web-1", Some(&raced), "Seen", "")["out"], json!(["plain", "black"]));
        let alone = experiment(&json!({"phase": "Deciding"}));
        assert_eq!((brief(&alone).as_str(), verdict("web-1", Some(&alone), "Seen", "").get("out")), ("Deciding", None));
    }

    #[test]
    fn a_misspelt_reason_is_told_at_once() {
        assert_eq!(reason("Harmful"), Ok("Harmful".into()));
        let told = reason("Proved").unwrap_err();
        assert!(told.contains("`Proved`") && told.contains("`Proven`"), "{told}");
    }

    #[test]
    fn a_refused_manifest_is_not_waited_for_but_a_missing_object_is() {
        let status = |reason: &str, generation: i64| {
            json!({"observedGeneration": generation, "conditions": [{"type": "Failed", "status": "True",
                "reason": reason, "message": "why", "lastTransitionTime": "2026-01-31T09:00:00Z"}]})
        };
        let promote = Expected::default().or_promotion();
        let lost = promote.standing(&experiment(&status("InvalidExperiment", 1)));
        assert_eq!(lost, Standing::Lost("refused: InvalidExperiment: why".into()));
        assert_eq!(letter(&promote.standing(&experiment(&status("InvalidExperiment", 0)))), 'O', "an old refusal");
        assert_eq!(letter(&promote.standing(&experiment(&status("MetricNotFound", 1)))), 'O');
    }

    #[test]
    fn the_last_word_of_a_deleted_experiment_counts() {
        let promote = Expected::default().or_promotion();
        let promoted = json!({"phase": "Completed", "outcome": "Promote"});
        assert_eq!(promote.after_the_end(&experiment(&promoted)), Standing::Holds);
        let lost = promote.after_the_end(&experiment(&json!({"phase": "Shifting"})));
        assert!(matches!(&lost, Standing::Lost(why) if why.contains("deleted")), "{lost:?}");
    }

    #[test]
    fn iter8s_conditions_have_their_meaning() {
        let mut both = Expected::default();
        both.add(Condition::Completed);
        both.add(Condition::WinnerFound);
        let found = |outcome: &str| both.standing(&experiment(&json!({"phase": "Completed", "outcome": outcome})));
        assert_eq!((letter(&found("Promote")), letter(&found("Discard"))), ('H', 'L'));
        let mut failure = Expected::default();
        failure.add(Condition::Failure);
        assert_eq!(failure.standing(&experiment(&json!({"phase": "Completed"}))), Standing::Holds);
    }
}
