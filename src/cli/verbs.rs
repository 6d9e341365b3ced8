//! `reiter8 pause | resume | abort | promote | retry NAME`: what a person asks of a running experiment.
//!
//! A request is an annotation with the time at which it was made; the controller handles each time once and notes it in
//! `status.handled`. The commands write the annotation, say what it will do in the phase that the experiment is in, and
//! wait for the note if asked to. What really happens is the controller's choice.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{self, Cluster, Place};
use super::describe::weights;
use super::output::{self, Output, TIMED_OUT, clean};
use crate::api::{Experiment, ExperimentStatus, conditions};
use crate::controller::annotation;
use crate::engine::{Phase, Verb};

/// Who the annotations are by.
const FIELD_MANAGER: &str = "reiter8-cli";
/// Most characters of a reason; the controller reads no more.
const MOST_REASON: usize = 200;
/// How long `--wait` waits if it does not say: a turn takes seconds, a busy controller or forge some more.
const PATIENCE: &str = "60s";

/// Hold the weights; deadlines wait until `resume`
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 asked (with --wait: handled), 1 failed, 2 wrong arguments, 4 not handled in time.\n\n\
    Examples:\n  reiter8 pause productpage-x7k2p -n bookinfo --reason \"incident 4711\"\n  \
    kubectl reiter8 pause productpage-x7k2p --wait"
)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    request: Request,
}

/// Go on after a pause, an approval step, or a person's edit of the weights
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 asked (with --wait: handled), 1 failed, 2 wrong arguments, 4 not handled in time.\n\n\
    Examples:\n  reiter8 resume productpage-x7k2p -n bookinfo\n  \
    reiter8 resume productpage-x7k2p --reason \"approved by Ada\" --wait=2m"
)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    request: Request,
}

/// End the experiment: traffic to the baseline at once, the candidate is discarded
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Asks for nothing, so that pipelines can use it; prints what will happen in the phase that the experiment is in.\n\n\
    Exit codes: 0 asked (with --wait: handled), 1 failed, 2 wrong arguments, 4 not handled in time.\n\n\
    Examples:\n  reiter8 abort productpage-x7k2p -n bookinfo --reason \"wrong image\" --wait\n  \
    reiter8 abort productpage-x7k2p --wait && reiter8 assert productpage-x7k2p --outcome Discard --timeout 1m"
)]
pub(super) struct AbortArgs {
    #[command(flatten)]
    request: Request,
}

/// End the test now and promote the candidate without a proof
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Asks for nothing, so that pipelines can use it; prints what will happen in the phase that the experiment is in.\n\
    The outcome is Promote for the reason Requested; it is never reported as proven.\n\n\
    Exit codes: 0 asked (with --wait: handled), 1 failed, 2 wrong arguments, 4 not handled in time.\n\n\
    Examples:\n  reiter8 promote productpage-x7k2p -n bookinfo --reason \"hotfix, checked by hand\"\n  \
    reiter8 promote productpage-x7k2p --wait=30s -o json"
)]
pub(super) struct PromoteArgs {
    #[command(flatten)]
    request: Request,
}

/// Try the write-back again, after a rejected request or something that blocked it
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 asked (with --wait: handled), 1 failed, 2 wrong arguments, 4 not handled in time.\n\n\
    Examples:\n  reiter8 retry productpage-x7k2p -n bookinfo\n  \
    reiter8 retry productpage-x7k2p --reason \"the token is renewed\" --wait"
)]
pub(super) struct RetryArgs {
    #[command(flatten)]
    request: Request,
}

/// The arguments of every verb.
#[derive(Clone, Debug, clap::Args)]
struct Request {
    /// The experiment
    #[arg(value_parser = client::name)]
    name: String,
    /// Why, for Events, the pull request and whoever reads them
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    /// Wait until the controller has handled it, for `60s` or the time given
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = PATIENCE,
        value_parser = output::duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

/// Asks for a pause.
pub(super) async fn pause(args: PauseArgs) -> anyhow::Result<ExitCode> {
    ask(Verb::Pause, args.request).await
}

/// Asks to go on.
pub(super) async fn resume(args: ResumeArgs) -> anyhow::Result<ExitCode> {
    ask(Verb::Resume, args.request).await
}

/// Asks for the end.
pub(super) async fn abort(args: AbortArgs) -> anyhow::Result<ExitCode> {
    ask(Verb::Abort, args.request).await
}

/// Asks for the promotion.
pub(super) async fn promote(args: PromoteArgs) -> anyhow::Result<ExitCode> {
    ask(Verb::Promote, args.request).await
}

/// Asks for a new attempt.
pub(super) async fn retry(args: RetryArgs) -> anyhow::Result<ExitCode> {
    ask(Verb::Retry, args.request).await
}

/// A reason that fits into an annotation's line.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.chars().count() > MOST_REASON || text.chars().any(char::is_control) {
        return Err(format!("write one line of at most {MOST_REASON} characters"));
    }
    Ok(text.to_owned())
}

async fn ask(verb: Verb, request: Request) -> anyhow::Result<ExitCode> {
    let cluster = request.place.connect().await?;
    let before = cluster.get(&request.name).await?;
    let time = format!("{:.3}", Timestamp::now());
    let text = match &request.reason {
        Some(why) if !why.is_empty() => format!("{time} {why}"),
        Some(_) | None => time.clone(),
    };
    let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation(verb): text}}}));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let doing = format!("write the annotation on Experiment {}/{}", cluster.namespace, request.name);
    cluster
        .experiments()
        .patch_metadata(&request.name, &params, &patch)
        .await
        .map_err(|error| cluster.failed(&doing, &error))?;
    let status = before.status.clone().unwrap_or_default();
    let effect = match refused(&status) {
        Some(why) => of_a_refused_one(verb, &why),
        None => effect(verb, &status, before.spec.gitops.is_some()),
    };
    if !request.output.is_json() {
        let name = format!("{}/{}", cluster.namespace, request.name);
        output::say(&clean(&format!("{name}: asked to {}; {effect}", verb.as_str())))?;
    }
    let handled = match request.wait {
        Some(patience) => Some(wait(&cluster, &request.name, verb, &time, Instant::now() + patience).await?),
        None => None,
    };
    tell(verb, &request, &before, &time, &effect, handled.as_ref())
}

/// How a request was taken.
#[derive(Debug, PartialEq, Eq)]
enum Handled {
    /// The controller noted it; what status says since.
    Yes(String),
    /// Not in time.
    Late,
    /// The experiment was deleted meanwhile.
    Gone,
}

/// Waits for the note of the controller.
///
/// Reads untyped: the note is compared as it is written.
async fn wait(cluster: &Cluster, name: &str, verb: Verb, time: &str, deadline: Instant) -> anyhow::Result<Handled> {
    use futures::StreamExt as _;
    let resource = ApiResource::erase::<Experiment>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let mut changes = Box::pin(watcher::watch_object(api, name).default_backoff());
    loop {
        match tokio::time::timeout_at(deadline, changes.next()).await {
            Err(_) | Ok(None) => return Ok(Handled::Late),
            Ok(Some(Ok(Some(object)))) if is_handled(&object.data, verb, time) => {
                let message = object.data.pointer("/status/message").and_then(Value::as_str);
                return Ok(Handled::Yes(message.unwrap_or_default().to_owned()));
            }
            Ok(Some(Ok(None))) => return Ok(Handled::Gone),
            // Not yet, or an interruption: the stream goes on.
            Ok(Some(Ok(Some(_)) | Err(_))) => {}
        }
    }
}

/// Whether status notes this request, or a later one of its kind.
fn is_handled(object: &Value, verb: Verb, time: &str) -> bool {
    let note = object.pointer(&format!("/status/handled/{}", verb.as_str())).and_then(Value::as_str);
    let parsed = |text: &str| text.parse::<Timestamp>().ok();
    note.and_then(parsed).zip(parsed(time)).is_some_and(|(note, asked)| note >= asked)
}

fn tell(
    verb: Verb,
    request: &Request,
    before: &Experiment,
    time: &str,
    effect: &str,
    handled: Option<&Handled>,
) -> anyhow::Result<ExitCode> {
    let name = format!("{}/{}", before.namespace().unwrap_or_default(), before.name_any());
    let (text, code) = match handled {
        None => (None, 0),
        Some(Handled::Yes(message)) => (Some(format!("handled; {message}")), 0),
        Some(Handled::Gone) => (Some("the experiment was deleted meanwhile".to_owned()), 0),
        Some(Handled::Late) => {
            let why = "not handled in time; is the controller running? It will be handled when it is";
            (Some(why.to_owned()), TIMED_OUT)
        }
    };
    if request.output.is_json() {
        let status = before.status.as_ref();
        output::json(&json!({
            "namespace": before.namespace(),
            "name": before.name_any(),
            "verb": verb.as_str(),
            "time": time,
            "reason": request.reason,
            "phase": status.and_then(|s| s.phase.clone()),
            "effect": effect,
            "handled": handled.map(|h| matches!(h, Handled::Yes(_))),
            "deleted": matches!(handled, Some(Handled::Gone)),
        }))?;
    } else if let Some(text) = text {
        output::say(&clean(&format!("{name}: {text}")))?;
    }
    Ok(ExitCode::from(code))
}

/// What the request will do to an experiment that cannot be carried out and has no traffic.
fn of_a_refused_one(verb: Verb, why: &str) -> String {
    match verb {
        Verb::Abort => {
            format!("it ends as Discard before it began, and its files stay in Git; it could not be carried out: {why}")
        }
        Verb::Pause => format!("no traffic will move until it is corrected and resumed: {why}"),
        Verb::Resume | Verb::Promote | Verb::Retry => {
            format!("nothing will change while it cannot be carried out; correct it first: {why}")
        }
    }
}

/// Why an experiment that has not begun cannot.
fn refused(status: &ExperimentStatus) -> Option<String> {
    let failed = status.conditions.iter().find(|c| c.type_ == conditions::FAILED && c.status == "True");
    let begun = status.phase.as_deref().is_some_and(|phase| phase != Phase::Queued.as_str());
    failed.filter(|_| !begun).map(|c| format!("{}: {}", c.reason, c.message))
}

/// What the request will do, given what status said when it was made.
fn effect(verb: Verb, status: &ExperimentStatus, writes: bool) -> String {
    let phase = status.phase.as_deref().unwrap_or("Queued");
    match verb {
        Verb::Pause => pausing(phase, status),
        Verb::Resume => resuming(phase),
        Verb::Abort => aborting(phase, status, writes),
        Verb::Promote => promoting(phase, writes),
        Verb::Retry => retrying(phase, status),
    }
}

fn pausing(phase: &str, status: &ExperimentStatus) -> String {
    match phase {
        "Queued" | "Preparing" => "no traffic will move until `resume`".to_owned(),
        "Shifting" | "Deciding" => {
            format!("the weights stay at {}, and deadlines wait, until `resume`", weights(&status.weights))
        }
        _ => format!("nothing will change: it is {phase}, the verdict has fallen; `abort` ends it"),
    }
}

fn resuming(phase: &str) -> String {
    match phase {
        "Completed" => "nothing will change: it is Completed".to_owned(),
        _ => "it goes on if it is paused, waits for an approval, or a person moved its traffic to the baseline"
            .to_owned(),
    }
}

fn aborting(phase: &str, status: &ExperimentStatus, writes: bool) -> String {
    let clean_up = if writes { "and a request removes its files" } else { "and nothing is written to Git" };
    match phase {
        "Queued" | "Preparing" => format!("no traffic has moved; it ends as Discard, {clean_up}"),
        "Shifting" | "Deciding" => format!("all traffic goes to the baseline at once, {clean_up}"),
        "Promoting" => match promote_request(status) {
            Some((number, true)) => format!("#{number} is merged already: a request that reverts it is opened"),
            Some((number, false)) => {
                format!("all traffic goes to the baseline at once, #{number} is closed, {clean_up}")
            }
            None => format!("all traffic goes to the baseline at once, {clean_up}"),
        },
        "Discarding" => "nothing will change: the candidate is being discarded already".to_owned(),
        _ => "nothing will change: it has ended; revert its request in Git".to_owned(),
    }
}

fn promoting(phase: &str, writes: bool) -> String {
    let then = if writes { "and the request that promotes the candidate is opened" } else { "in status alone" };
    match phase {
        "Queued" | "Preparing" => {
            "nothing will change: the candidate has had no traffic; ask again when it has".to_owned()
        }
        "Shifting" | "Deciding" => {
            format!("the test ends now with the outcome Promote (Requested, not proven), {then}")
        }
        "Promoting" => "nothing will change: the candidate is being promoted already".to_owned(),
        _ => "nothing will change: the outcome is decided; `retry` proposes a rejected promotion again".to_owned(),
    }
}

fn retrying(phase: &str, status: &ExperimentStatus) -> String {
    let stages = status.gitops.as_ref().map_or(&[][..], |g| g.stages.as_slice());
    match (status.reason.as_deref(), stages.last()) {
        (Some("RejectedInReview" | "Stale"), _) => {
            "the promotion is proposed again in a new request; traffic stays at the baseline until it is merged"
                .to_owned()
        }
        (_, Some(last)) => format!("the stage {} is tried again", last.stage),
        (_, None) => format!("nothing will change: it is {phase} and has written nothing to Git yet"),
    }
}

/// Number of the promote request, and whether it is merged.
fn promote_request(status: &ExperimentStatus) -> Option<(i64, bool)> {
    let stages = &status.gitops.as_ref()?.stages;
    let request = stages.iter().rev().find(|s| s.stage == "Promote")?.pull_request.as_ref()?;
    Some((request.number, request.state == "Merged"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn status(phase: &str, reason: &str, request: &str) -> ExperimentStatus {
        serde_json::from_value(json!({
            "phase": phase, "reason": reason,
            "weights": [{"name": "stable", "value": 80}, {"name": "candidate", "value": 20}],
            "gitops": {"stages": [{"stage": "Promote", "key": "k", "attempt": 1, "state": "Waiting",
                "pullRequest": {"number": 12, "url": "https://x", "state": request}}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_will_happen_follows_the_phase() {
        let table = [
            (Verb::Pause, "Shifting", "", "Open", "stay at stable 80 %, candidate 20 %"),
            (Verb::Pause, "Promoting", "", "Open", "nothing will change"),
            (Verb::Resume, "Deciding", "", "Open", "goes on if it is paused"),
            (Verb::Abort, "Queued", "", "Open", "no traffic has moved"),
            (Verb::Abort, "Deciding", "", "Open", "baseline at once"),
            (Verb::Abort, "Promoting", "", "Open", "#12 is closed"),
            (Verb::Abort, "Promoting", "", "Merged", "reverts it"),
            (Verb::Abort, "Completed", "", "Merged", "nothing will change"),
            (Verb::Promote, "Preparing", "", "Open", "no traffic"),
            (Verb::Promote, "Shifting", "", "Open", "Requested, not proven"),
            (Verb::Promote, "Completed", "", "Open", "nothing will change"),
            (Verb::Retry, "Discarding", "RejectedInReview", "Closed", "proposed again"),
            (Verb::Retry, "Promoting", "Proven", "Open", "Promote is tried again"),
        ];
        for (verb, phase, reason, request, part) in table {
            let text = effect(verb, &status(phase, reason, request), true);
            assert!(text.contains(part), "{verb:?} in {phase}: {text}");
        }
        assert!(effect(Verb::Retry, &ExperimentStatus::default(), true).contains("nothing"));
    }

    #[test]
    fn of_an_experiment_that_is_refused_people_are_told_why() {
        let status = |phase: Value| -> ExperimentStatus {
            serde_json::from_value(json!({"phase": phase, "conditions": [{"type": "Failed", "status": "True",
                "reason": "NotAllowed", "message": "why", "lastTransitionTime": "2026-01-31T09:00:00Z"}]}))
            .unwrap()
        };
        for before in [Value::Null, json!("Queued")] {
            assert_eq!(refused(&status(before)), Some("NotAllowed: why".into()));
        }
        assert!(of_a_refused_one(Verb::Abort, "NotAllowed: why").contains("it ends as Discard"));
        assert!(of_a_refused_one(Verb::Promote, "NotAllowed: why").contains("correct it first: NotAllowed: why"));
        assert_eq!(refused(&status(json!("Shifting"))), None, "it has traffic, and is brought home");
    }

    #[test]
    fn a_request_is_handled_when_its_time_is_noted() {
        let object = |time: &str| json!({"status": {"handled": {"pause": time}}});
        let asked = "2026-01-31T09:00:00.120Z";
        assert!(is_handled(&object("2026-01-31T09:00:00.12Z"), Verb::Pause, asked));
        assert!(is_handled(&object("2026-01-31T09:00:01Z"), Verb::Pause, asked), "a later one was handled");
        assert!(!is_handled(&object("2026-01-31T09:00:00Z"), Verb::Pause, asked));
        assert!(!is_handled(&object(asked), Verb::Resume, asked));
        assert!(!is_handled(&json!({}), Verb::Pause, asked));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(reason(" why "), Ok("why".into()));
        assert!(reason("a\nb").is_err() && reason(&"x".repeat(201)).is_err());
    }
}
