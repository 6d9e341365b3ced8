//! What Argo CD and Flux make of an experiment, by their own code: the health script and the expressions of `samples/`,
//! on the statuses that the controller writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::stack;
use jiff::Timestamp;
use reiter8::api::{Experiment, ExperimentStatus};
use reiter8::controller::resolve::{Referred, resolve};
use reiter8::controller::status;
use reiter8::engine::{
    Cause, Decision, Identity, Observation, Outcome, Phase, Plan, Progress, Reason, Unavailable, Version, Waiting, step,
};
use reiter8_testing::trial;
use serde::Deserialize;
use serde_json::Value;

/// Where the samples are, from the project's folder.
const ARGOCD: &str = "samples/argocd/argocd-cm.yaml";
const FLUX: &str = "samples/flux/kustomization.yaml";

#[derive(Debug, Deserialize)]
struct Answer {
    status: String,
    message: String,
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The sample experiment, at its second generation.
fn sample() -> Experiment {
    let mut experiment: Experiment =
        serde_saphyr::from_str(&fs::read_to_string(file("samples/bookinfo/experiment.yaml")).unwrap()).unwrap();
    experiment.metadata.generation = Some(2);
    experiment
}

/// The sample with the status that the controller gives it there.
fn at(phase: Phase, reason: Option<&str>, outcome: Option<Outcome>) -> Experiment {
    let repository = fs::read_to_string(file("samples/platform/repository.yaml")).unwrap();
    let referred = Referred { repository: Some(serde_saphyr::from_str(&repository).unwrap()), ..Referred::default() };
    let mut experiment = sample();
    let plan = resolve(&experiment, &referred).map_err(|refusal| refusal.to_string()).unwrap().plan;
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let waiting = reason.map(|reason| Waiting {
        reason: reason.into(),
        what: "something".into(),
        since: Timestamp::UNIX_EPOCH,
        until: None,
    });
    let decision = outcome.map(|outcome| {
        let reason = if outcome == Outcome::Promote { Reason::Proven } else { Reason::Harmful };
        Decision { at: now, ..trial::decision(outcome, reason) }
    });
    let progress = Progress { phase, waiting, decision, ..Progress::default() };
    experiment.status = Some(status::of(&experiment, &plan, &progress, now));
    experiment
}

/// The sample with the status that it gets when it cannot be carried out.
fn refused(cause: Cause, message: &str) -> Experiment {
    let experiment = sample();
    let version = |name: &str| Version { name: name.into(), workload: name.into() };
    let identity = Identity { namespace: "shop".into(), name: "x".into(), uid: "u".into(), target: "shop/x".into() };
    let versions = (version("stable"), vec![version("candidate")]);
    let plan = Plan::unresolved(identity, versions, vec![], Unavailable::new(cause, message));
    let now = Timestamp::UNIX_EPOCH;
    let progress = step(&plan, &Progress::default(), &Observation::default(), now).progress;
    Experiment { status: Some(status::of(&experiment, &plan, &progress, now)), ..experiment }
}

/// What a tool says of some experiments.
fn asked(tool: &str, configuration: &str, experiments: &[Experiment]) -> Vec<Answer> {
    let mut input = tempfile::tempfile().unwrap();
    serde_json::to_writer(&mut input, experiments).unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    let mut command = Command::new(stack::binaries().join("health"));
    command.arg(tool).arg(file(configuration)).stdin(input).stderr(Stdio::piped());
    let output = command.output().expect("the part `health`: run hack/parts/build");
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn argo_cd_and_flux_say_what_an_experiment_does() {
    use Outcome::{Discard, Promote};
    use Phase::{Completed, Deciding, Discarding, Preparing, Promoting, Queued, Shifting};
    let unseen = sample();
    let mut stale = at(Completed, None, Some(Promote));
    stale.metadata.generation = Some(3);
    let refused = refused(Cause::RouteNotFound, "there is no VirtualService `nowhere`");
    let empty = Experiment { status: Some(ExperimentStatus::default()), ..sample() };
    // Unknown is Flux's word for a status that is not there yet; it asks again.
    let table = vec![
        ("no status", unseen, "Progressing", "Unknown"),
        ("an empty status", empty, "Progressing", "InProgress"),
        ("a newer spec", stale, "Progressing", "InProgress"),
        ("queued", at(Queued, Some("TargetTaken"), None), "Progressing", "Current"),
        ("preparing", at(Preparing, Some("WorkloadNotReady"), None), "Progressing", "Current"),
        ("shifting", at(Shifting, None, None), "Progressing", "Current"),
        ("no requests", at(Shifting, Some("NoTraffic"), None), "Progressing", "Current"),
        ("paused", at(Shifting, Some("Paused"), None), "Suspended", "Current"),
        ("an approval step", at(Shifting, Some("WaitingForApproval"), None), "Suspended", "Current"),
        ("overridden", at(Shifting, Some("TrafficOverridden"), None), "Suspended", "Current"),
        ("deciding", at(Deciding, None, None), "Progressing", "Current"),
        ("in review", at(Promoting, Some("WaitingForReview"), Some(Promote)), "Suspended", "Current"),
        ("rolling out", at(Promoting, Some("WaitingForRollout"), Some(Promote)), "Progressing", "Current"),
        ("stuck", at(Promoting, Some("BaselineRolloutFailed"), Some(Promote)), "Degraded", "Failed"),
        ("discarding", at(Discarding, None, Some(Discard)), "Progressing", "Current"),
        ("promoted", at(Completed, None, Some(Promote)), "Healthy", "Current"),
        ("discarded", at(Completed, None, Some(Discard)), "Healthy", "Current"),
        ("refused", refused, "Degraded", "Failed"),
    ];
    let experiments: Vec<Experiment> = table.iter().map(|(_, experiment, ..)| experiment.clone()).collect();
    let (argocd, flux) = (asked("argocd", ARGOCD, &experiments), asked("flux", FLUX, &experiments));
    for (((name, experiment, in_argocd, in_flux), by_argocd), by_flux) in table.iter().zip(&argocd).zip(&flux) {
        println!("  {name:<16} {:<12} {:<11} {}", by_argocd.status, by_flux.status, by_argocd.message);
        assert_eq!(by_argocd.status, *in_argocd, "Argo CD, {name}: {by_argocd:?}");
        assert_eq!(by_flux.status, *in_flux, "Flux, {name}: {by_flux:?}");
        let current = experiment.status.as_ref().filter(|s| s.observed_generation == experiment.metadata.generation);
        if let Some(message) = current.and_then(|s| s.message.as_ref()) {
            assert_eq!(by_argocd.message, *message, "{name}");
        }
    }
    for phase in [Queued, Preparing, Shifting, Deciding, Promoting, Discarding, Completed] {
        let named = |e: &Experiment| e.status.as_ref().and_then(|s| s.phase.clone()).as_deref() == Some(phase.as_str());
        assert!(experiments.iter().any(named), "no line for {}", phase.as_str());
    }
}

/// Both lists of what a person is asked for are one list.
#[test]
fn both_tools_know_the_same_waits_for_people() {
    let (script, expression) = (fs::read_to_string(file(ARGOCD)).unwrap(), fs::read_to_string(file(FLUX)).unwrap());
    let of_lua = script.split_once("local asks = {").unwrap().1.split_once('}').unwrap().0.replace(" = true", "");
    let of_cel = expression.split_once("c.reason in [").unwrap().1.split_once(']').unwrap().0.replace('\'', "");
    assert_eq!(of_lua, of_cel);
}

#[test]
fn the_stack_has_the_health_script_of_the_sample() {
    let script = |path: &str| {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(file(path)).unwrap()).unwrap();
        let config = documents.iter().find(|d| d["metadata"]["name"] == "argocd-cm").unwrap();
        config["data"]["resource.customizations.health.iter8.tools_Experiment"].clone()
    };
    let sample = script(ARGOCD);
    assert!(sample.is_string());
    assert_eq!(script("tests/support/stack/manifests/argocd.yaml"), sample);
}
