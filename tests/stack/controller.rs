//! The controller against a real API server, with the rights that its chart grants and no more.
//!
//! No Git here: what concerns resources, status, the queue, the finalizer, the fences and the lease.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack;
use crate::support::stack::trial::{Stack, Trial};
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Patience with anything that takes a few turns.
const PATIENCE: Duration = Duration::from_secs(40);

fn experiment(name: &str) -> Value {
    json!({
        "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "target": "shop/productpage",
            "strategy": {"testingPattern": "Canary", "weights": {"maxCandidateWeight": 20}},
            "versionInfo": {
                "baseline": {"name": "stable", "workload": {"name": "productpage"}, "destination": {"subset": "stable"}},
                "candidates": [{"name": "candidate", "workload": {"name": "productpage-candidate"}, "destination": {"subset": "candidate"}}]},
            "traffic": {"virtualService": "bookinfo", "routes": ["productpage"]},
            "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]},
            "analysis": {"interval": "2s", "lag": "3s"}
        }
    })
}

fn apply(stack: &Stack, object: &Value) -> anyhow::Result<String> {
    stack.kubectl(&["apply", "-f", "-"], Some(&object.to_string()))
}

async fn phase(trial: &Trial<'_>, name: &str) -> anyhow::Result<String> {
    let found = trial.experiments().get_opt(name).await?;
    Ok(found.and_then(|e| e.status).and_then(|s| s.phase).unwrap_or_default())
}

async fn until_phase(trial: &Trial<'_>, name: &str, wanted: &str) -> anyhow::Result<()> {
    let what = format!("{name} to be {wanted}");
    trial.until(&what, PATIENCE, async || Ok((phase(trial, name).await? == wanted).then_some(()))).await
}

async fn weights(trial: &Trial<'_>) -> anyhow::Result<(u64, u64)> {
    let service = trial.virtual_service().await?;
    let weight =
        |i: usize| service.data.pointer(&format!("/spec/http/0/route/{i}/weight")).and_then(Value::as_u64).unwrap_or(0);
    Ok((weight(0), weight(1)))
}

/// Two experiments on one target: the younger waits; when the elder is deleted, its traffic comes home first, a foreign
/// finalizer stays, and the younger goes on.
async fn queue_and_finalizer(stack: &Stack, trial: &Trial<'_>) -> anyhow::Result<()> {
    apply(stack, &experiment("first"))?;
    until_phase(trial, "first", "Shifting").await?;
    apply(stack, &experiment("second"))?;
    until_phase(trial, "second", "Queued").await?;
    let message = trial.experiments().get("second").await?.status.and_then(|s| s.message).unwrap_or_default();
    anyhow::ensure!(message.contains("shop/first"), "{message}");
    trial.until("weight for the candidate", PATIENCE, async || Ok((weights(trial).await?.1 > 0).then_some(()))).await?;

    let foreign = json!({"metadata": {"finalizers": ["iter8.tools/reiter8", "example.com/foreign"]}}).to_string();
    stack.kubectl(&["patch", "experiment", "first", "-n", "shop", "--type=merge", "-p", &foreign], None)?;
    stack.kubectl(&["delete", "experiment", "first", "-n", "shop", "--wait=false"], None)?;
    let began = Instant::now();
    let left = trial
        .until("our finalizer to go", PATIENCE, async || {
            let found = trial.experiments().get("first").await?;
            let ours = found.finalizers().iter().any(|f| f == "iter8.tools/reiter8");
            Ok((!ours).then(|| found.finalizers().to_vec()))
        })
        .await?;
    anyhow::ensure!(left == ["example.com/foreign"], "{left:?}");
    println!("  a deleted experiment let go after {:.1} s", began.elapsed().as_secs_f64());
    stack.kubectl(
        &["patch", "experiment", "first", "-n", "shop", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#],
        None,
    )?;
    until_phase(trial, "second", "Shifting").await?;
    Ok(())
}

/// Somebody who keeps changing the VirtualService makes patches miss their resourceVersion; they are repeated, the
/// weights arrive, and what the other wrote stays.
async fn conflicts(stack: &Stack, trial: &Trial<'_>) -> anyhow::Result<()> {
    let mut edits = 0;
    stack.kubectl(&["patch", "virtualservice", "bookinfo", "-n", "shop", "--type=json", "-p",
        r#"[{"op":"add","path":"/spec/http/0/timeout","value":"7s"},{"op":"replace","path":"/spec/http/0/route/0/weight","value":60},{"op":"replace","path":"/spec/http/0/route/1/weight","value":40}]"#], None)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let note = format!("example.com/note=n{edits}");
        stack.kubectl(&["annotate", "--overwrite", "virtualservice", "bookinfo", "-n", "shop", &note], None)?;
        edits += 1;
        let wanted = trial.experiments().get("second").await?.status.map(|s| s.weights).unwrap_or_default();
        let candidate =
            wanted.iter().find(|w| w.name == "candidate").map_or(0, |w| u64::try_from(w.value).unwrap_or(0));
        if edits > 10 && candidate > 0 && weights(trial).await? == (100 - candidate, candidate) {
            break;
        }
        anyhow::ensure!(Instant::now() < deadline, "weights {:?}, wanted {candidate}", weights(trial).await?);
    }
    let service = trial.virtual_service().await?;
    assert_eq!(service.data.pointer("/spec/http/0/timeout"), Some(&json!("7s")), "a foreign field stays");
    assert_eq!(service.data.pointer("/spec/http/0/retries/attempts"), Some(&json!(0)));
    println!("  foreign weights were repaired under {edits} concurrent edits, foreign fields kept");
    Ok(())
}

/// What the controller may not do.
fn rights(stack: &Stack) {
    let may = |verb: &str, what: &str, namespace: &str| {
        let args = ["auth", "can-i", verb, what, "-n", namespace, "--as=system:serviceaccount:reiter8-system:reiter8"];
        stack.kubectl(&args, None).is_ok_and(|said| said.trim() == "yes")
    };
    for (verb, what, namespace) in [
        ("list", "secrets", "platform"),
        ("get", "secrets", "shop"),
        ("patch", "deployments.apps", "shop"),
        ("delete", "pods", "shop"),
        ("create", "experiments.iter8.tools", "shop"),
        ("delete", "experiments.iter8.tools", "shop"),
        ("patch", "destinationrules.networking.istio.io", "shop"),
    ] {
        assert!(!may(verb, what, namespace), "the controller may {verb} {what}");
    }
    assert!(may("get", "secrets/environment-token", "platform"));
    assert!(may("patch", "virtualservices.networking.istio.io", "shop"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_against_a_real_api_server() {
    let stack = Stack::start("controller").unwrap();
    let trial = Trial::plain(&stack, "shop").await.unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_reiter8"));
    let controller = stack.controller(binary).unwrap();
    rights(&stack);
    let all = async {
        queue_and_finalizer(&stack, &trial).await?;
        conflicts(&stack, &trial).await?;
        standby(&stack, &trial, binary, &controller).await
    };
    if let Err(error) = all.await {
        let log = controller.log();
        let lines: Vec<&str> = log.lines().collect();
        panic!("{error:#}\nthe controller's log ends with:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
}

/// A second replica stands by, ready; when the first is killed it takes over within the lease and carries on.
async fn standby(
    stack: &Stack,
    trial: &Trial<'_>,
    binary: &Path,
    first: &stack::trial::Controller,
) -> anyhow::Result<()> {
    let second = stack.replica(binary)?;
    let client = &reiter8::http::client().build()?;
    let metrics = |port: u16| async move {
        Ok::<_, anyhow::Error>(client.get(format!("http://127.0.0.1:{port}/metrics")).send().await?.text().await?)
    };
    let turns = |text: &str| {
        let line = text.lines().find(|l| l.starts_with("reiter8_reconcile_seconds_count")).unwrap_or_default();
        line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    anyhow::ensure!(turns(&metrics(first.port).await?) > 0, "the leader takes turns");
    anyhow::ensure!(turns(&metrics(second.port).await?) == 0, "the standby takes none");
    first.kill();
    let began = Instant::now();
    trial
        .until("the standby to take over", PATIENCE, async || {
            Ok((turns(&metrics(second.port).await?) > 0).then_some(()))
        })
        .await?;
    println!("  the standby took over after {:.1} s", began.elapsed().as_secs_f64());
    until_phase(trial, "second", "Shifting").await?;
    let took = second.stop();
    anyhow::ensure!(took < Duration::from_secs(28), "a stop took {took:?}");
    Ok(())
}
