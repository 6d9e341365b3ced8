//! The whole loop on real parts: a commit to Gitea, Argo CD, Istio and Envoy, Prometheus, pull requests, merges.
//!
//! Needs the parts that `hack/parts/build` makes; `hack/test` runs it. One line for each phase with its seconds.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack::load::Load;
use crate::support::stack::trial::{APP, Candidate, Stack, Trial};
use reiter8::api::ExperimentStatus;

/// Requests per second, from first to last.
const RPS: u32 = 150;
/// Patience with anything that involves people's tools: a sync, a rollout, an experiment of this length.
const LONG: Duration = Duration::from_secs(240);

/// What was seen of the weights while an experiment ran.
#[derive(Debug, Default)]
struct Seen {
    /// Milliseconds from a weight in the status to the same weight in Envoy, for each change.
    lags: Vec<u128>,
    /// Holds of at least 500 requests: weight, requests, requests to the candidate, deviations.
    holds: Vec<(u64, u64, u64, f64)>,
    /// When the first interval with data was seen.
    first_data: Option<Instant>,
}

async fn status(trial: &Trial<'_>) -> Option<ExperimentStatus> {
    trial.get().await.ok().flatten().and_then(|e| e.status)
}

fn candidate_weight(status: &ExperimentStatus) -> u64 {
    status.weights.iter().find(|w| w.name == "candidate").map_or(0, |w| u64::try_from(w.value).unwrap())
}

/// Follows an experiment until it leaves Shifting and Deciding, comparing status, Envoy and the client's own split.
async fn follow(trial: &Trial<'_>, load: &Load) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let (mut weight, mut since) = (0, None::<Instant>);
    let deadline = Instant::now() + LONG;
    loop {
        anyhow::ensure!(Instant::now() < deadline, "no verdict within {} s: {:?}", LONG.as_secs(), status(trial).await);
        let Some(now) = status(trial).await else { continue };
        if now.completed_iterations.unwrap_or(0) > 0 && seen.first_data.is_none() {
            seen.first_data = Some(Instant::now());
        }
        let phase = now.phase.clone().unwrap_or_default();
        let running = phase == "Shifting" || phase == "Deciding";
        if now.outcome.is_some() || running && candidate_weight(&now) != weight {
            if let Some(since) = since {
                hold(&mut seen, load, weight, since);
            }
            if now.outcome.is_some() {
                return Ok(seen);
            }
            weight = candidate_weight(&now);
            let changed = Instant::now();
            while trial.stack.envoy_weights(&trial.host).await.ok() != Some((100 - weight, weight)) {
                let waited = changed.elapsed();
                anyhow::ensure!(
                    waited < Duration::from_secs(2),
                    "Envoy does not have weight {weight} after {waited:?}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            seen.lags.push(changed.elapsed().as_millis());
            since = Some(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Compares the client's split during one hold with its weight.
fn hold(seen: &mut Seen, load: &Load, weight: u64, since: Instant) {
    // What is under way when a weight changes may still go the old way; a request takes some tens of milliseconds.
    let counts = load.between(since + Duration::from_millis(100), Duration::from_millis(300));
    let to_candidate = counts.by_version.get("v2").copied().unwrap_or(0);
    let (n, p) = (counts.sent as f64, weight as f64 / 100.0);
    if counts.sent >= 500 {
        let deviations = (to_candidate as f64 - n * p).abs() / (n * p * (1.0 - p)).sqrt().max(1e-9);
        seen.holds.push((weight, counts.sent, to_candidate, deviations));
    }
}

fn check(seen: &Seen) {
    println!(
        "  Envoy followed within {:?} ms; holds (weight, requests, candidate, sigmas): {:?}",
        seen.lags, seen.holds
    );
    assert!(!seen.lags.is_empty(), "no weight change was seen");
    for (weight, requests, candidate, deviations) in &seen.holds {
        assert!(*deviations <= 4.0, "at {weight} %: {candidate} of {requests} requests, {deviations:.1} deviations");
    }
}

async fn gone(trial: &Trial<'_>) -> anyhow::Result<()> {
    let left = vec!["Deployment/productpage".to_owned()];
    trial
        .until("the experiment and its candidate to be pruned", LONG, async || {
            Ok((trial.objects().await? == left).then_some(()))
        })
        .await
}

/// (a): promoted, both requests merged, nothing failed, the repository in its old shape.
async fn good(stack: &Stack) -> anyhow::Result<()> {
    let trial = Trial::new(stack, "good").await?;
    let (files, baseline) = (trial.forge.files().await?, trial.forge.file(&format!("{APP}/productpage.yaml")).await?);
    let load = Load::start(stack.gateway(), &trial.host, RPS);
    let mut clock = Clock::new("good");
    trial.start(&Candidate { error_rate: "0".into() }).await?;
    trial.until("the experiment to be synced", LONG, async || Ok(status(&trial).await)).await?;
    clock.lap("committed → synced");
    let seen = follow(&trial, &load).await?;
    clock.lap("synced → verdict");
    let number = trial.open_request("promote", LONG).await?;
    clock.lap("verdict → promote request");
    trial.reviewer.merge(number).await?;
    let number = trial.open_request("cleanup", LONG).await?;
    clock.lap("merged → synced, rolled out, handed over, clean-up request");
    let status_now = status(&trial).await.unwrap();
    assert_eq!(status_now.outcome.as_deref(), Some("Promote"));
    trial.reviewer.merge(number).await?;
    gone(&trial).await?;
    clock.lap("merged → pruned");
    while load.since(clock.began).sent < 10_000 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let counts = load.stop().await;
    println!(
        "  (a) {:.0} s, {} requests sent, {} failed",
        clock.began.elapsed().as_secs_f64(),
        counts.sent,
        counts.failed()
    );
    check(&seen);
    assert_eq!(counts.failed(), 0, "{:?}", counts.failures);
    assert_eq!(trial.forge.files().await?, files, "the directory has the files it had");
    let promoted = trial.forge.file(&format!("{APP}/productpage.yaml")).await?;
    let wanted = baseline.replace("productpage:v1", "productpage:v2").replace("value: v1", "value: v2");
    assert_eq!(promoted, wanted, "only the promoted values differ");
    assert_eq!(stack.envoy_weights(&trial.host).await?, (100, 0));
    assert_eq!(trial.forge.pulls().await?.len(), 2);
    Ok(())
}

/// (b): rolled back in time, clean-up merged, the repository as it was.
async fn bad(stack: &Stack) -> anyhow::Result<()> {
    let trial = Trial::new(stack, "bad").await?;
    let (files, baseline) = (trial.forge.files().await?, trial.forge.file(&format!("{APP}/productpage.yaml")).await?);
    let load = Load::start(stack.gateway(), &trial.host, RPS);
    let mut clock = Clock::new("bad");
    trial.start(&Candidate { error_rate: "0.05".into() }).await?;
    trial.until("the experiment to be synced", LONG, async || Ok(status(&trial).await)).await?;
    clock.lap("committed → synced");
    let seen = follow(&trial, &load).await?;
    trial
        .until("all traffic at the baseline", LONG, async || {
            Ok((stack.envoy_weights(&trial.host).await? == (100, 0)).then_some(()))
        })
        .await?;
    let first = seen.first_data.expect("data were seen");
    let (seconds, bad) = (first.elapsed().as_secs_f64(), load.since(first).failed());
    clock.lap("synced → rolled back");
    let number = trial.open_request("cleanup", LONG).await?;
    clock.lap("rolled back → clean-up request");
    assert_eq!(status(&trial).await.unwrap().reason.as_deref(), Some("Harmful"));
    trial.reviewer.merge(number).await?;
    gone(&trial).await?;
    clock.lap("merged → pruned");
    let counts = load.stop().await;
    println!(
        "  (b) rolled back {seconds:.1} s and {bad} bad requests after the first data; {} requests sent, {} bad, {} lost",
        counts.sent, counts.bad, counts.lost
    );
    check(&seen);
    assert!(seconds <= 90.0, "{seconds} s");
    assert!(bad <= 60, "{bad} bad requests");
    assert_eq!(counts.lost, 0, "{:?}", counts.failures);
    assert_eq!(trial.forge.files().await?, files);
    assert_eq!(trial.forge.file(&format!("{APP}/productpage.yaml")).await?, baseline);
    assert_eq!(trial.forge.pulls().await?.len(), 1);
    Ok(())
}

/// Prints the seconds of each phase.
struct Clock {
    name: &'static str,
    began: Instant,
    last: Instant,
}

impl Clock {
    fn new(name: &'static str) -> Self {
        Self { name, began: Instant::now(), last: Instant::now() }
    }

    fn lap(&mut self, phase: &str) {
        println!("  {}: {phase}: {:.1} s", self.name, self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_runs_on_real_parts() {
    let stack = Stack::start("e2e").unwrap();
    println!("  the stack started in {:.1} s", stack.endpoints.seconds);
    let controller = stack.controller(Path::new(env!("CARGO_BIN_EXE_reiter8"))).unwrap();
    for (name, result) in [("good", good(&stack).await), ("bad", bad(&stack).await)] {
        if let Err(error) = result {
            panic!("{name}: {error:#}\nthe controller's log ends with:\n{}", end(&controller.log()));
        }
    }
    let took = controller.stop();
    assert!(took < Duration::from_secs(28), "the controller took {took:?} to stop");
}

fn end(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
