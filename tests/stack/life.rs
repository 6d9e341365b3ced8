//! What happens to experiments in their lives, on real parts: (d) edits of the routes, (g) a newer experiment, (h)
//! `git revert` of the start, (i) a "no" in review, (j) a candidate that turns bad before its merge, (l) weights in a
//! delegate, (o) a person who sends everything to the baseline.
//!
//! All play side by side on one stack. Needs the parts that `hack/parts/build` makes; `hack/test` runs it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack;
use crate::support::stack::scene::{LONG, SHORT, Scene, play};
use crate::support::stack::trial::{APP, NAME, Stack, Trial};
use anyhow::{Context as _, ensure};

/// Requests per second of each scenario.
const RPS: u32 = 30;
/// The product's promise for an edit of its routes by somebody else.
const REPAIRED: Duration = Duration::from_secs(2);

/// (d): three edits of the weights by a person's kubectl in mid-ramp, and a commit to the same object, with which Argo CD
/// puts Git's weights back. Each is repaired, none becomes progress, and the ramp goes on as if nothing had happened;
/// what else was edited stays.
async fn edited(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "d", "edited", RPS).await?;
    let change = scene.trial.change(NAME).quick().steps(&[(10, 25), (30, 5), (50, 0)]);
    scene.trial.submit(&change).await?;
    scene.weight(10, LONG).await?;
    let mut repairs = vec![];
    for (stable, candidate) in [(40, 60), (0, 100), (95, 5)] {
        let patch = format!(
            r#"[{{"op":"add","path":"/spec/http/0/timeout","value":"{candidate}s"}},
                {{"op":"replace","path":"/spec/http/0/route/0/weight","value":{stable}}},
                {{"op":"replace","path":"/spec/http/0/route/1/weight","value":{candidate}}}]"#
        );
        let args = ["patch", "virtualservice", "bookinfo", "-n", "edited", "--type=json", "-p", &patch];
        let before = Instant::now();
        stack.kubectl(&args, None)?;
        repairs.push(repaired(&scene, before, candidate, "kubectl-patch").await?);
    }
    timeout(&scene, "5s").await?;
    let file = format!("{APP}/routing.yaml");
    let routing = scene.trial.forge.file(&file).await?;
    let routing = routing.replace("    route:\n", "    timeout: 9s\n    route:\n");
    let before = Instant::now();
    scene.trial.forge.commit("Wait nine seconds at most", &[(file.as_str(), Some(routing.as_str()))]).await?;
    repairs.push(repaired(&scene, before, 0, "argocd-controller").await?);
    timeout(&scene, "9s").await?;
    let millis: Vec<_> = repairs.iter().map(Duration::as_millis).collect();
    scene.say(&format!("four edits were repaired within {millis:?} ms"));
    ensure!(repairs.iter().all(|took| *took <= REPAIRED), "a repair took longer than 2 s: {millis:?} ms");
    scene.weight(50, LONG).await?;
    let verdict = scene.state("a verdict", LONG, |s| s.status.outcome.is_some()).await?;
    ensure!(verdict.reason() == "Proven", "{}: {}", verdict.reason(), verdict.message());
    ensure!(verdict.progress("/repairs/count") == 4, "counted: {}", verdict.progress("/repairs"));
    {
        let seen = scene.record.look();
        let ramp = seen.planned();
        ensure!(ramp == [10, 30, 50], "the ramp was {ramp:?}");
        let adopted = |w: u64| ![0, 10, 30, 50].contains(&w);
        let adopted: Vec<_> =
            seen.states.iter().filter(|s| s.progress("/weight").as_u64().is_some_and(adopted)).collect();
        ensure!(adopted.is_empty(), "a foreign weight became progress: {adopted:?}");
        let intervals: Vec<u64> = seen.states.iter().filter_map(|s| s.progress("/intervals").as_u64()).collect();
        ensure!(intervals.is_sorted(), "evidence was started anew: {intervals:?}");
    }
    let events = stack.kubectl(&["get", "events.events.k8s.io", "-n", "edited", "-o", "json"], None)?;
    let events: serde_json::Value = serde_json::from_str(&events)?;
    let told = events["items"].as_array().into_iter().flatten().filter(|e| e["reason"] == "WeightsRepaired").count();
    ensure!((1..=4).contains(&told), "{told} Events tell of the repairs");
    scene.close(0).await
}

/// How long a later edit of the candidate's weight by this field manager lasted, in an experiment that wants 10 %.
async fn repaired(scene: &Scene<'_>, before: Instant, candidate: u64, by: &str) -> anyhow::Result<Duration> {
    scene
        .until(&format!("the repair of what {by} wrote"), SHORT, |seen| {
            let edit = seen.splits.iter().rposition(|s| s.at > before && s.candidate == candidate && s.by == by)?;
            let repair = seen.splits[edit..].iter().find(|s| s.candidate == 10 && s.by == "reiter8")?;
            Some(repair.at.duration_since(seen.splits[edit].at))
        })
        .await
}

/// A field that is none of the controller's has this value.
async fn timeout(scene: &Scene<'_>, wanted: &str) -> anyhow::Result<()> {
    let service = scene.trial.virtual_service().await?;
    let found = service.data.pointer("/spec/http/0/timeout");
    ensure!(found.is_some_and(|t| t == wanted), "the route's timeout is {found:?}, not {wanted}");
    Ok(())
}

/// (g): CI commits the next version while an experiment runs. Argo CD prunes the old Experiment and applies the new one,
/// which takes the target over and promotes the newer version; the old one leaves no request.
async fn superseded(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "g", "superseded", RPS).await?;
    let ramp = [(10, 3), (30, 60), (50, 0)];
    scene.trial.submit(&scene.trial.change(NAME).quick().steps(&ramp)).await?;
    scene.weight(30, LONG).await?;
    let newer = scene.trial.change("productpage-b2c4d").quick().steps(&[(20, 3), (50, 0)]);
    let newer = newer.candidate("productpage:v2", "productpage:v3").candidate("value: v2", "value: v3");
    scene.trial.submit(&newer).await?;
    scene
        .until("the older experiment to go", LONG, |seen| {
            seen.states.iter().any(|s| s.name == NAME && s.gone).then_some(())
        })
        .await?;
    scene.say("the older experiment is gone");
    scene.state("the newer one to run", LONG, |s| s.name != NAME && s.phase() == "Shifting").await?;
    scene.say("the newer one has the target");
    scene.merge("promote", LONG).await?;
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    {
        let seen = scene.record.look();
        let ramp = seen.planned();
        ensure!(ramp == [10, 30, 0, 20, 50, 0], "the weights were {ramp:?}\n{}", seen.story());
    }
    scene.repository("v3").await?;
    scene.requests(2).await?;
    scene.close(0).await
}

/// (h): `git revert` of the commit that started the experiment, in mid-ramp.
async fn reverted(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "h", "reverted", RPS).await?;
    scene.trial.submit(&scene.trial.change(NAME).quick().steps(&[(10, 3), (40, 120), (50, 0)])).await?;
    scene.weight(40, LONG).await?;
    // Some traffic at that weight, so that there is something to lose.
    scene
        .until("evidence at 40 %", SHORT, |seen| {
            let looks = |s: &&stack::scene::State| s.progress("/weight") == 40 && !s.progress("/applied").is_null();
            let first = seen.states.iter().find(looks)?.progress("/intervals").as_u64()?;
            (seen.last()?.progress("/intervals").as_u64()? >= first + 2).then_some(())
        })
        .await?;
    scene.trial.reviewer.revert()?;
    scene.say("the start is reverted");
    scene.pruned().await?;
    scene.say("the candidate is gone");
    ensure!(stack.envoy_weights(&scene.trial.host).await? == (100, 0), "traffic is not at the baseline");
    scene.unchanged().await?;
    scene.requests(0).await?;
    scene.close(0).await
}

/// (i): a reviewer closes the promote request: baseline at once, then a clean-up request.
async fn rejected(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "i", "rejected", RPS).await?;
    scene.trial.submit(&scene.trial.change(NAME).quick().steps(&[(20, 3), (50, 0)])).await?;
    let number = scene.trial.open_request("promote", LONG).await?;
    scene.state("the wait for a review", SHORT, |s| s.message().starts_with("WaitingForReview")).await?;
    scene.say("the promote request waits for its review");
    scene.trial.reviewer.close(number).await?;
    let closed = Instant::now();
    let decided = scene.state("RejectedInReview", SHORT, |s| s.reason() == "RejectedInReview").await?;
    let home = scene.weight(0, SHORT).await?;
    let (noticed, acted) = (decided.at.duration_since(closed), home.at.saturating_duration_since(decided.at));
    scene.say(&format!("noticed after {:.1} s, baseline {} ms later", noticed.as_secs_f64(), acted.as_millis()));
    ensure!(acted <= Duration::from_secs(2), "traffic came home {acted:?} after the decision");
    ensure!(decided.status.outcome.as_deref() == Some("Discard"), "{:?}", decided.status.outcome);
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    scene.unchanged().await?;
    scene.requests(2).await?;
    scene.close(0).await
}

/// (j): the candidate turns bad while its promote request waits: baseline at once, the request closed, a clean-up.
async fn turned_bad(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "j", "guarded", RPS).await?;
    scene.trial.submit(&scene.trial.change(NAME).quick().steps(&[(20, 3), (50, 0)])).await?;
    let number = scene.trial.open_request("promote", LONG).await?;
    scene.state("the wait for a review", SHORT, |s| s.message().starts_with("WaitingForReview")).await?;
    scene.say("the promote request waits for its review");
    let good = scene.load.since(scene.began).failed();
    ensure!(good == 0, "{good} failed before the candidate turned bad");
    scene.trial.behave("candidate", 0.3).await?;
    let turned = Instant::now();
    let tripped = scene.state("the guard to trip", SHORT, |s| s.reason() == "GuardTripped").await?;
    let home = scene.weight(0, SHORT).await?;
    let (noticed, acted) = (tripped.at.duration_since(turned), home.at.saturating_duration_since(tripped.at));
    scene.say(&format!("tripped after {:.1} s, baseline {} ms later", noticed.as_secs_f64(), acted.as_millis()));
    ensure!(acted <= Duration::from_secs(2), "traffic came home {acted:?} after the decision");
    ensure!(tripped.status.outcome.as_deref() == Some("Discard"), "{:?}", tripped.status.outcome);
    scene.merge("cleanup", LONG).await?;
    let pulls = scene.trial.forge.pulls().await?;
    let promote = pulls.iter().find(|p| p["number"] == number).context("the promote request")?;
    ensure!(promote["state"] == "closed" && promote["merged"] == false, "the promote request is {}", promote["state"]);
    scene.pruned().await?;
    scene.unchanged().await?;
    scene.requests(2).await?;
    // Three of ten of half of the traffic, for as long as samples, an interval and noticing take.
    scene.close(u64::from(RPS) * 5).await
}

/// (l): a good candidate with its weights in a delegate that Argo CD leaves alone, from start to end.
async fn delegated(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::on(Trial::routed(stack, "delegated", true).await?, "l", RPS).await?;
    let change = scene.trial.change(NAME).quick().steps(&[(10, 3), (30, 3), (50, 0)]);
    let ours = "virtualService: bookinfo, routes: [productpage],";
    scene.trial.submit(&change.experiment(ours, "virtualService: productpage-split, mode: Delegate,")).await?;
    scene.merge("promote", LONG).await?;
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    let weights = scene.record.look().planned();
    ensure!(weights == [10, 30, 50, 0], "the weights were {weights:?}\n{}", scene.record.look().story());
    ensure!(stack.envoy_weights(&scene.trial.host).await? == (100, 0), "traffic is not at the baseline");
    scene.repository("v2").await?;
    scene.requests(2).await?;
    scene.close(0).await
}

/// (o): an on-call person sends everything to the baseline in mid-ramp. That stays, and nothing is learned, until a
/// person resumes; then the experiment goes on and ends.
async fn overridden(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "o", "overridden", RPS).await?;
    scene.trial.submit(&scene.trial.change(NAME).quick().steps(&[(10, 3), (40, 20), (50, 0)])).await?;
    scene.weight(40, LONG).await?;
    let patch = r#"[{"op":"replace","path":"/spec/http/0/route/0/weight","value":100},
                    {"op":"replace","path":"/spec/http/0/route/1/weight","value":0}]"#;
    stack.kubectl(&["patch", "virtualservice", "bookinfo", "-n", "overridden", "--type=json", "-p", patch], None)?;
    let edited = Instant::now();
    let said = scene.state("TrafficOverridden", SHORT, |s| s.message().starts_with("TrafficOverridden")).await?;
    scene.say(&format!("obeyed after {} ms", said.at.saturating_duration_since(edited).as_millis()));
    // Nothing may happen for some intervals, self-heal of Argo CD included.
    tokio::time::sleep(Duration::from_secs(8)).await;
    {
        let seen = scene.record.look();
        let since = seen.splits.iter().filter(|s| s.at > edited).count();
        ensure!(since == 0, "the weights changed after the person's edit\n{}", seen.story());
        let learned = seen.states.iter().filter(|s| s.at > said.at).find(|s| {
            ["/evidence", "/weight", "/intervals"].iter().any(|what| s.progress(what) != said.progress(what))
        });
        ensure!(learned.is_none(), "something was learned without traffic\n{}", seen.story());
    }
    let request = format!("iter8.tools/resume={} the incident is over", jiff::Timestamp::now());
    stack.kubectl(&["annotate", "experiment", NAME, "-n", "overridden", &request], None)?;
    let resumed = Instant::now();
    let back = scene.weight(40, SHORT).await?;
    scene.say(&format!("resumed after {} ms", back.at.saturating_duration_since(resumed).as_millis()));
    let verdict = scene.state("a verdict", LONG, |s| s.status.outcome.is_some()).await?;
    ensure!(verdict.reason() == "Proven", "{}: {}", verdict.reason(), verdict.message());
    let weights = scene.record.look().planned();
    ensure!(weights == [10, 40, 50], "the weights were {weights:?}\n{}", scene.record.look().story());
    scene.close(0).await
}

#[test]
fn experiments_live_and_end_on_real_parts() {
    let stack = Stack::start("life").unwrap();
    println!("  the stack started in {:.1} s", stack.endpoints.seconds);
    let controller = stack.controller(Path::new(env!("CARGO_BIN_EXE_reiter8"))).unwrap();
    let runtime = tokio::runtime::Runtime::new().context("a runtime").unwrap();
    let on = runtime.handle();
    play(
        vec![
            ("d", Box::new(|| on.block_on(edited(&stack)))),
            ("g", Box::new(|| on.block_on(superseded(&stack)))),
            ("h", Box::new(|| on.block_on(reverted(&stack)))),
            ("i", Box::new(|| on.block_on(rejected(&stack)))),
            ("j", Box::new(|| on.block_on(turned_bad(&stack)))),
            ("l", Box::new(|| on.block_on(delegated(&stack)))),
            ("o", Box::new(|| on.block_on(overridden(&stack)))),
        ],
        controller.log_file(),
    );
}
