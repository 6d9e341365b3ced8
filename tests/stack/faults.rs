//! What breaks while an experiment runs, on real parts: (c) the controller, at twenty instants; (e) Prometheus; (f) the
//! candidate's pods; (k) the forge; (m) a candidate that never becomes ready; (n) one that is Ready and refuses.
//!
//! What disturbs nobody else plays side by side. Needs the parts that `hack/parts/build` makes; `hack/test` runs it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack::parts;
use crate::support::stack::process::Process;
use crate::support::stack::scene::{LONG, Part, SHORT, Scene, State, play};
use crate::support::stack::trial::{Controller, NAME, Stack};
use anyhow::ensure;

/// Requests per second of each scenario.
const RPS: u32 = 50;
/// The interval of the experiments here.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long Prometheus and the forge are away.
const OUTAGE: Duration = Duration::from_secs(120);

/// (m): no pod of the candidate ever becomes ready: it is discarded, and no request ever went to it.
async fn never_ready(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "m", "unready", RPS).await?;
    let change = scene.trial.change(NAME).env("READY", "never");
    scene.trial.submit(&change.candidate("progressDeadlineSeconds: 120", "progressDeadlineSeconds: 15")).await?;
    // The first sync waits for the candidate until its deadline; the next one brings the experiment.
    let decided = scene.state("the candidate's end", LONG, |s| s.status.outcome.is_some()).await?;
    ensure!(decided.reason() == "CandidateNotReady", "{}: {}", decided.reason(), decided.message());
    scene.say(decided.message());
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    ensure!(scene.record.look().planned().is_empty(), "traffic moved: {:?}", scene.record.look().planned());
    scene.unchanged().await?;
    scene.requests(1).await?;
    scene.close(0).await
}

/// (n): the candidate's pods are Ready, but nothing listens: that is evidence against it, not a lack of data.
async fn refusing(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "n", "refusing", RPS).await?;
    scene.trial.submit(&scene.trial.change(NAME).env("LISTEN", "refuse")).await?;
    let first = scene.until("traffic to the candidate", LONG, |s| s.splits.iter().find(|s| s.candidate > 0).cloned());
    let first = first.await?;
    let decided = scene.state("the rollback", LONG, |s| s.status.outcome.is_some()).await?;
    scene.weight(0, SHORT).await?;
    let took = decided.at.duration_since(first.at).as_secs_f64();
    scene.say(&format!("rolled back {took:.1} s after the first traffic"));
    ensure!(decided.reason() == "Harmful", "{}: {}", decided.reason(), decided.message());
    ensure!(took <= 90.0, "{took} s");
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    scene.unchanged().await?;
    scene.requests(1).await?;
    scene.close(60).await
}

/// (f): every pod of the candidate is killed while it has half of the traffic, again and again: baseline in the same
/// turn each time, and an end after the third at the latest.
async fn killed(stack: &Stack) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "f", "killed", RPS).await?;
    let change = scene.trial.change(NAME).steps(&[(50, 0)]).env("RESTART_SECONDS", "8");
    scene.trial.submit(&change).await?;
    let lost = |s: &State| !s.progress("/entrants/0/lost").is_null();
    let mut losses = 0;
    loop {
        let half = |s: &State| s.status.outcome.is_some() || !lost(s) && !s.progress("/applied").is_null();
        if scene.state("half of the traffic or the end", LONG, half).await?.status.outcome.is_some() {
            break;
        }
        // In the middle of it, not at the first request.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        ensure!(scene.trial.kill_pods("candidate").await? == 2, "the candidate has two pods");
        let noticed = scene
            .until("the loss", SHORT, |seen| {
                let found = seen.states.iter().find(|s| s.at > began && (lost(s) || s.status.outcome.is_some()));
                found.cloned()
            })
            .await?;
        let home = scene.weight(0, SHORT).await?;
        losses += 1;
        let (noticed, acted) = (noticed.at.duration_since(began), home.at.saturating_duration_since(noticed.at));
        let failed = scene.load.since(began).failed();
        let (noticed, acted) = (noticed.as_millis(), acted.as_millis());
        scene.say(&format!("loss {losses}: noticed after {noticed} ms, baseline {acted} ms later, {failed} failed"));
        ensure!(acted <= 1000, "baseline only {acted} ms after the loss was noticed");
    }
    let end = scene.state("the end", SHORT, |s| s.status.outcome.is_some()).await?;
    ensure!(["CandidateNotReady", "Harmful"].contains(&end.reason()), "{}: {}", end.reason(), end.message());
    scene.say(&format!("{} after {losses} losses", end.reason()));
    ensure!((1..=3).contains(&losses), "{losses} losses");
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    scene.unchanged().await?;
    // Half of the traffic for the two seconds that noticing may take on a busy machine, each time.
    scene.close(u64::from(RPS) * losses).await
}

/// Stops a part as its operator would.
fn stop(stack: &Stack, name: &str) -> anyhow::Result<Process> {
    let part = stack.part(name)?;
    part.stop(Duration::from_secs(20));
    ensure!(!part.alive(), "{name} did not stop");
    Ok(part)
}

/// (e) and (k): the forge is away for two minutes when one experiment's verdict falls, and Prometheus for two minutes
/// while another one's weight rises.
async fn outages(stack: &Stack) -> anyhow::Result<()> {
    let blind = Scene::open(stack, "e", "blind", RPS).await?;
    // The step's time is over in the middle of the outage: the weight must not rise on no evidence.
    blind.trial.submit(&blind.trial.change(NAME).quick().steps(&[(10, 3), (30, 100), (50, 0)])).await?;
    blind.weight(30, LONG).await?;
    let proven = Scene::open(stack, "k", "proven", RPS).await?;
    proven.trial.submit(&proven.trial.change(NAME).quick().steps(&[(20, 3), (50, 0)])).await?;
    proven.state("its final weight", LONG, |s| s.phase() == "Deciding").await?;
    let gitea = stop(stack, "gitea")?;
    let since = Instant::now();
    proven.say("Gitea is stopped");
    let verdict = proven.state("a verdict without the forge", LONG, |s| s.status.outcome.is_some()).await?;
    ensure!(verdict.reason() == "Proven", "{}: {}", verdict.reason(), verdict.message());
    proven.say("the candidate is proven");
    futures::try_join!(without_metrics(stack, blind), without_forge(stack, proven, gitea, since)).map(|_| ())
}

/// (k) from the verdict on: the split stays, and the write-back is done once the forge is back, once.
async fn without_forge(stack: &Stack, scene: Scene<'_>, gitea: Process, since: Instant) -> anyhow::Result<()> {
    let why = scene.state("the reason", SHORT, |s| s.message().contains("failed to"));
    let why = why.await?.message().to_owned();
    scene.say(&format!("it says: {why}"));
    tokio::time::sleep_until((since + OUTAGE).into()).await;
    ensure!(scene.record.look().planned() == [20, 50], "{:?}", scene.record.look().planned());
    parts::gitea_at(&stack.site, gitea.port)?;
    let back = Instant::now();
    let number = scene.trial.open_request("promote", LONG).await?;
    scene.say(&format!("the request is open {:.1} s after Gitea is back", back.elapsed().as_secs_f64()));
    scene.trial.reviewer.merge(number).await?;
    scene.merge("cleanup", LONG).await?;
    scene.pruned().await?;
    scene.repository("v2").await?;
    scene.requests(2).await?;
    scene.close(0).await
}

/// (e): the reason is said within two intervals, the weight and the evidence stay, then both go on.
async fn without_metrics(stack: &Stack, scene: Scene<'_>) -> anyhow::Result<()> {
    let prometheus = stop(stack, "prometheus")?;
    let since = Instant::now();
    let said = scene.state("the reason", SHORT, |s| s.message().starts_with("MetricsUnavailable")).await?;
    let took = said.at.saturating_duration_since(since);
    scene.say(&format!("MetricsUnavailable {:.1} s after Prometheus was gone", took.as_secs_f64()));
    tokio::time::sleep_until((since + OUTAGE).into()).await;
    {
        let seen = scene.record.look();
        let during: Vec<&State> = seen.states.iter().filter(|s| s.at >= said.at).collect();
        for what in ["/evidence", "/intervals", "/weight"] {
            let changed = during.iter().find(|s| s.progress(what) != said.progress(what));
            ensure!(changed.is_none(), "{what} changed without Prometheus:\n{}", seen.story());
        }
        let requests = said.progress("/evidence/0/trial/share/seen/pass/requests");
        let some = requests.as_str().and_then(|n| n.parse::<f64>().ok()).is_some_and(|n| n > 0.0);
        ensure!(some, "there was no evidence to keep: {requests}");
        ensure!(seen.splits.iter().all(|s| s.at < since), "the weights changed:\n{}", seen.story());
    }
    parts::prometheus_at(&stack.site, prometheus.port)?;
    let (back, looks) = (Instant::now(), said.progress("/intervals").as_u64());
    scene.state("new evidence", SHORT, |s| s.progress("/intervals").as_u64() > looks).await?;
    scene.say(&format!("evidence goes on {:.1} s after Prometheus is back", back.elapsed().as_secs_f64()));
    let verdict = scene.state("a verdict", LONG, |s| s.status.outcome.is_some()).await?;
    // What happened during the outage, at another weight, is no evidence for a Pass at the final one.
    let counted = |s: &State| s.status.criteria.first().and_then(|c| c.requests).unwrap_or(0);
    let deciding = |s: &&State| s.phase() == "Deciding";
    let counted: Vec<i64> = scene.record.look().states.iter().filter(deciding).map(counted).collect();
    let jump = counted.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0);
    ensure!(jump < 4 * 2 * i64::from(RPS), "one look at the final weight took in {jump} requests: {counted:?}");
    ensure!(verdict.reason() == "Proven", "{}: {}", verdict.reason(), verdict.message());
    ensure!(scene.record.look().planned() == [10, 30, 50], "{:?}", scene.record.look().planned());
    ensure!(took <= 2 * INTERVAL, "the reason came after {took:?}, more than two intervals");
    scene.close(0).await
}

/// A reproducible sequence of numbers (splitmix64).
struct Seeded(u64);

impl Seeded {
    /// A time below this bound.
    fn below(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        most.mul_f64((z ^ z >> 31) as f64 / u64::MAX as f64)
    }
}

/// Where an experiment is, as far as a crash could matter.
fn place(state: &State) -> String {
    let parts = ["/phase", "/weight", "/applied", "/stages"];
    parts.map(|p| state.progress(p).to_string()).join(" ")
}

/// (c): the controller is killed at twenty seeded instants or more, from the start of an experiment to its end: soon
/// after each step that it commits, and when it has long committed none. A good and a bad candidate live through it.
async fn crashed(stack: &Stack, controller: &mut Controller, seed: u64) -> anyhow::Result<()> {
    let scene = Scene::open(stack, "c", "crashed", RPS).await?;
    let harmful = Scene::open(stack, "c, bad candidate", "crashed-bad", RPS).await?;
    scene.trial.submit(&scene.trial.change(NAME).steps(&[(10, 3), (30, 3), (50, 0)])).await?;
    let bad = harmful.trial.change(NAME).steps(&[(10, 10), (30, 3), (50, 0)]);
    harmful.trial.submit(&bad.candidate("ERROR_RATE, value: \"0\"", "ERROR_RATE, value: \"0.2\"")).await?;
    scene.state("the experiment", LONG, |_| true).await?;
    let good_life = async {
        scene.merge("promote", LONG).await?;
        scene.say("promoted");
        scene.merge("cleanup", LONG).await?;
        scene.pruned().await
    };
    let bad_life = async {
        harmful.merge("cleanup", LONG).await?;
        harmful.say("discarded");
        harmful.pruned().await
    };
    let mut crashes = vec![];
    tokio::select! {
        ended = futures::future::try_join(good_life, bad_life) => ended.map(|_| ())?,
        failed = chaos(stack, controller, [&scene, &harmful], Seeded(seed), &mut crashes) => failed?,
    }
    scene.say(&format!("seed {seed}: {} crashes, at {}", crashes.len(), grouped(&crashes)));
    ensure!(crashes.len() >= 20, "only {} crashes", crashes.len());
    let weights = scene.record.look().planned();
    ensure!(weights == [10, 30, 50, 0], "the weights were {weights:?}\n{}", scene.record.look().story());
    scene.repository("v2").await?;
    scene.requests(2).await?;
    branches(&scene, &["-promote-", "-cleanup-"]).await?;
    let weights = harmful.record.look().planned();
    let planned = [[10, 0].as_slice(), &[10, 30, 0], &[10, 30, 50, 0]];
    ensure!(planned.contains(&&weights[..]), "the weights were {weights:?}\n{}", harmful.record.look().story());
    harmful.unchanged().await?;
    harmful.requests(1).await?;
    branches(&harmful, &["-cleanup-"]).await?;
    scene.close(0).await?;
    // A fifth of what it got for as long as a verdict takes with crashes.
    harmful.close(u64::from(RPS) * 5).await
}

/// Kills the controller again and again, and notes where the experiments were.
async fn chaos(
    stack: &Stack,
    controller: &mut Controller,
    scenes: [&Scene<'_>; 2],
    mut random: Seeded,
    crashes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let all = || scenes.map(|scene| scene.record.look().last().map(place).unwrap_or_default());
    loop {
        let (here, began) = (all(), Instant::now());
        let patience = Duration::from_secs(3) + random.below(Duration::from_secs(4));
        while all() == here && began.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if all() != here {
            tokio::time::sleep(random.below(Duration::from_millis(400))).await;
        }
        controller.crash(stack)?;
        let now = scenes.map(|scene| scene.record.look().last().map(stage).unwrap_or_default());
        crashes.push(now.join("+"));
    }
}

/// A list with its repetitions counted.
fn grouped(places: &[String]) -> String {
    let text = |group: &[String]| match group {
        [one] => one.clone(),
        _ => format!("{} × {}", group.len(), group[0]),
    };
    places.chunk_by(|a, b| a == b).map(text).collect::<Vec<_>>().join(", ")
}

/// The phase, and the stage of the write-back if there is one.
fn stage(state: &State) -> String {
    let stages = state.progress("/stages");
    let last = stages.as_array().and_then(|s| s.last()).cloned().unwrap_or_default();
    let word = |key: &str| last.get(key).and_then(|v| v.as_str()).map_or_else(String::new, |v| format!("/{v}"));
    format!("{}{}{}", state.phase(), word("stage"), word("state"))
}

/// At most one branch for each stage, and no other.
async fn branches(scene: &Scene<'_>, stages: &[&str]) -> anyhow::Result<()> {
    let all = scene.trial.forge.branches().await?;
    let of = |stage: &str| all.iter().filter(|b| b.contains(stage)).count();
    let foreign = all.iter().filter(|b| *b != "main" && !stages.iter().any(|s| b.contains(s))).count();
    ensure!(foreign == 0 && stages.iter().all(|stage| of(stage) <= 1), "the branches are {all:?}");
    Ok(())
}

#[test]
fn what_breaks_while_an_experiment_runs() {
    let stack = Stack::start("faults").unwrap();
    println!("  the stack started in {:.1} s", stack.endpoints.seconds);
    let mut controller = stack.controller(Path::new(env!("CARGO_BIN_EXE_reiter8"))).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let on = runtime.handle();
    let log = controller.log_file().to_owned();
    let alone: Vec<Part<'_>> = vec![
        ("m", Box::new(|| on.block_on(never_ready(&stack)))),
        ("n", Box::new(|| on.block_on(refusing(&stack)))),
        ("f", Box::new(|| on.block_on(killed(&stack)))),
    ];
    play(alone, &log);
    play(vec![("e, k", Box::new(|| on.block_on(outages(&stack))))], &log);
    let seed = std::env::var("REITER8_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    play(vec![("c", Box::new(|| on.block_on(crashed(&stack, &mut controller, seed))))], &log);
}
