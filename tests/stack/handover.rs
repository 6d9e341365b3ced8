//! No request fails while an outcome goes through Git, on real parts, in each of the three ways to hand over; and what
//! happens without a hand-over: the classic single request loses requests in every run.
//!
//! The three ways play one after the other, so that each has the whole load, the runs of the control side by side. Needs the parts that `hack/parts/build` makes;
//! `hack/test` runs it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack::load::Load;
use crate::support::stack::scene::{LONG, Part, SHORT, Scene, play};
use crate::support::stack::trial::{APP, Change, NAME, Stack, Trial};
use anyhow::ensure;
use reiter8::engine::Handover;

/// Requests per second of each way, as in the first loop's end-to-end test.
const RPS: u32 = 150;
/// The same of each control, which play side by side.
const CONTROL_RPS: u32 = 30;
/// Requests that have to pass without a failure in each way; in all of them more than in that test.
const LEAST: u64 = 4_000;
/// The part of the traffic that the candidate has when its request is merged, in percent.
const SPLIT: u64 = 50;
/// Runs of the control.
const CONTROLS: [&str; 3] = ["classic-1", "classic-2", "classic-3"];

/// A good candidate at half of the traffic in one step, judged in seconds, handed over in this way.
fn change(trial: &Trial<'_>, mode: Handover) -> Change {
    let handover = format!("    handover: {mode:?}\n    promote:");
    let change = trial.change(NAME).quick().steps(&[(50, 0)]);
    change.experiment("    promote:", &handover).experiment("warmUp: 5s, soak: 15s", "warmUp: 2s, soak: 4s")
}

/// One way from the candidate's commit until nothing of the experiment is left.
async fn handed_over(stack: &Stack, name: &'static str, namespace: &str, mode: Handover) -> anyhow::Result<()> {
    let scene = Scene::open(stack, name, namespace, RPS).await?;
    if mode == Handover::CommitToBase {
        let allowed = r#"{"spec":{"allowCommitToBase":true}}"#;
        stack.kubectl(&["patch", "repository", namespace, "-n", "platform", "--type=merge", "-p", allowed], None)?;
    }
    scene.trial.submit(&change(&scene.trial, mode)).await?;
    scene.weight(SPLIT, LONG).await?;
    scene.say("the candidate has its part of the traffic");
    let requests = match mode {
        Handover::TwoPullRequests => ["promote", "cleanup"].as_slice(),
        Handover::SinglePullRequest => &["promote"],
        Handover::CommitToBase => &[],
    };
    for stage in requests {
        scene.merge(stage, LONG).await?;
        scene.say(&format!("the {stage} request is merged"));
    }
    scene.pruned().await?;
    scene.say("the experiment and its candidate are pruned");
    scene.until("enough requests", SHORT, |_| (scene.load.since(scene.began).sent >= LEAST).then_some(())).await?;
    let weights = scene.record.look().planned();
    ensure!(weights == [SPLIT, 0], "the weights were {weights:?}\n{}", scene.record.look().story());
    let served = scene.load.since(scene.began).by_version;
    ensure!(served.len() == 2, "both versions have to serve: {served:?}");
    ensure!(stack.envoy_weights(&scene.trial.host).await? == (100, 0), "traffic is not at the baseline");
    scene.repository("v2").await?;
    scene.requests(requests.len()).await?;
    scene.close(0).await
}

/// The control: the candidate has half of the traffic, and one request gives the baseline its content and removes it. Argo
/// CD does both in one sync, and nobody hands the traffic over.
async fn classic(stack: &Stack, namespace: &'static str) -> anyhow::Result<()> {
    let trial = Trial::new(stack, namespace).await?;
    let candidate = format!("{APP}/productpage-candidate.yaml");
    trial.forge.commit("The next product page", &[(&candidate, Some(&trial.change(NAME).candidate))]).await?;
    trial
        .until("the candidate to be ready", LONG, async || {
            let ready = trial.deployment("productpage-candidate").await?.and_then(|d| d.status?.ready_replicas);
            Ok((ready == Some(2)).then_some(()))
        })
        .await?;
    let split = format!(
        r#"[{{"op":"replace","path":"/spec/http/0/route/0/weight","value":{}}},
            {{"op":"replace","path":"/spec/http/0/route/1/weight","value":{SPLIT}}}]"#,
        100 - SPLIT
    );
    stack.kubectl(&["patch", "virtualservice", "bookinfo", "-n", namespace, "--type=json", "-p", &split], None)?;
    trial
        .until("Envoy to have the split", SHORT, async || {
            Ok((stack.envoy_weights(&trial.host).await? == (100 - SPLIT, SPLIT)).then_some(()))
        })
        .await?;
    let (load, began) = (Load::start(stack.gateway(), &trial.host, CONTROL_RPS), Instant::now());
    let file = format!("{APP}/productpage.yaml");
    let promoted = trial.forge.file(&file).await?.replace("productpage:v1", "productpage:v2");
    let promoted = promoted.replace("value: v1", "value: v2");
    let files = [(file.as_str(), Some(promoted.as_str())), (candidate.as_str(), None)];
    let number = trial.forge.propose("classic", "Promote and clean up", &files).await?;
    trial
        .until("both versions to serve", SHORT, async || {
            let served = load.since(began).by_version;
            Ok(["v1", "v2"].iter().all(|v| served.get(*v).is_some_and(|n| *n >= 50)).then_some(()))
        })
        .await?;
    let before = load.since(began).failed();
    trial.reviewer.merge(number).await?;
    let merged = Instant::now();
    trial
        .until("the candidate to be gone and the baseline to be rolled out", LONG, async || {
            Ok((gone(&trial).await? && rolled_out(&trial).await?).then_some(()))
        })
        .await?;
    // What is under way when the rollout ends is counted too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seconds = began.elapsed().as_secs_f64();
    let after = load.since(merged).failed();
    let counts = load.stop().await;
    println!("  ({namespace}) {seconds:.0} s, {} requests sent, {} failed", counts.sent, counts.failed());
    ensure!(before == 0, "{before} failed before the merge: {:?}", counts.failures);
    ensure!(after > 0, "the classic single request lost nothing: this load does not see the hole");
    Ok(())
}

/// Whether Argo CD has pruned the candidate.
async fn gone(trial: &Trial<'_>) -> anyhow::Result<bool> {
    Ok(trial.deployment("productpage-candidate").await?.is_none() && trial.pods("candidate").await?.is_empty())
}

/// Whether the baseline runs its new content alone.
async fn rolled_out(trial: &Trial<'_>) -> anyhow::Result<bool> {
    let Some(baseline) = trial.deployment("productpage").await? else { return Ok(false) };
    let promoted = serde_json::to_string(&baseline.spec)?.contains("productpage:v2");
    let (wanted, status) = (baseline.spec.and_then(|s| s.replicas), baseline.status.unwrap_or_default());
    let counts = [status.replicas, status.updated_replicas, status.available_replicas];
    Ok(promoted && status.observed_generation == baseline.metadata.generation && counts.iter().all(|n| *n == wanted))
}

#[test]
fn nothing_fails_in_any_hand_over_and_the_classic_request_loses_requests() {
    let stack = Stack::start("handover").unwrap();
    println!("  the stack started in {:.1} s", stack.endpoints.seconds);
    let controller = stack.controller(Path::new(env!("CARGO_BIN_EXE_reiter8"))).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let on = runtime.handle();
    let mode = |name: &'static str, namespace: &'static str, mode: Handover| -> Part<'_> {
        let stack = &stack;
        (name, Box::new(move || on.block_on(handed_over(stack, name, namespace, mode))))
    };
    let modes = [
        mode("TwoPullRequests", "two", Handover::TwoPullRequests),
        mode("SinglePullRequest", "single", Handover::SinglePullRequest),
        mode("CommitToBase", "direct", Handover::CommitToBase),
    ];
    for mode in modes {
        play(vec![mode], controller.log_file());
    }
    let control = |name: &'static str| -> Part<'_> {
        let stack = &stack;
        (name, Box::new(move || on.block_on(classic(stack, name))))
    };
    play(CONTROLS.into_iter().map(control).collect(), controller.log_file());
}
