//! Bad input against a real API server and a real forge, as a table: the reason, field, value and fix
//! in the status; the baseline keeps all traffic; the repository is left as it was. And the same for an experiment that
//! runs already, whose spec, Repository, token or branches go wrong under it.
//!
//! `bad_input` has the rows that need no server. Needs the parts that `hack/parts/build` makes; `hack/test` runs it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack::load::Load;
use crate::support::stack::process::free_port;
use crate::support::stack::trial::{APP, Controller, NAME, Stack, Trial};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

/// Patience with anything that takes a few turns.
const PATIENCE: Duration = Duration::from_secs(60);
/// Patience with a verdict.
const VERDICT: Duration = Duration::from_secs(240);
/// Traffic that is not judged is home within this time: a watch, a turn, and a busy machine.
const HOME: Duration = Duration::from_secs(5);
/// Requests per second.
const RPS: u32 = 30;

/// What is wrong.
enum Wrong {
    /// One value of the experiment without a write-back is replaced.
    Spec(&'static str, Value),
    /// The Repository has this laid over its spec.
    Repository(Value),
    /// A file of the environment repository has this text.
    File(&'static str, &'static str),
}

/// What the API server refuses, and what it says to write instead.
fn refused_by_the_api_server(stack: &Stack, trial: &Trial<'_>) {
    let table = [
        ("/spec/strategy/testingPattern", json!("canary"), "Canary"),
        ("/spec/strategy/actions", json!({"start": []}), "remove `spec.strategy.actions`"),
        ("/spec/criteria/objectives", json!([]), "at least one objective"),
        ("/spec/criteria/objectives", json!([{"metric": "istio/error-rate"}]), "upperLimit"),
        (
            "/spec/criteria/rewards",
            json!([{"metric": "x", "preferredDirection": "High"}]),
            "remove `spec.criteria.rewards`",
        ),
        ("/spec/traffic/mirror", json!({"percentage": 5}), "remove `spec.traffic.mirror`"),
        ("/spec/traffic/match", json!([{}]), "remove `spec.traffic.match`"),
        ("/spec/strategy/weights/maxCandidateWeight", json!(101), "100"),
        ("/spec/versionInfo/candidates", json!([]), "candidate"),
        ("/spec/analysis/interval", json!("soon"), "interval"),
        ("/spec/target", json!(""), "target"),
        (
            "/spec/gitops",
            json!({"repository": "platform/env", "path": "../up", "promote": {"from": "a.yaml", "to": "b.yaml"}}),
            "apps/productpage",
        ),
        // Two values: the cap comes with the objective.
        (
            "/spec/strategy/weights",
            json!({"maxCandidateWeight": 95, "relative": true}),
            "`maxCandidateWeight: 90` or less",
        ),
    ];
    for (path, value, needle) in &table {
        let mut object = experiment(trial, "wrong", false);
        let mut value = value.clone();
        if value.as_object_mut().is_some_and(|v| v.remove("relative").is_some()) {
            object["spec"]["criteria"]["objectives"] =
                json!([{"metric": "istio/error-rate", "relative": {"factor": 1.5}}]);
        }
        replace(&mut object, path, value.clone());
        let error = apply(stack, &object).expect_err(&format!("{path} = {value} was taken")).to_string();
        assert!(error.contains(needle), "{path} = {value}: {error}");
        println!("| {path} = {value} | the API server | {} |", error.lines().last().unwrap_or_default());
    }
    let share = json!({"bad": "sum(rate(errors_total[1m]))", "total": "requests_total"});
    let metric = json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Metric",
        "metadata": {"name": "m", "namespace": "shop"}, "spec": {"share": share}});
    let repository = json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Repository", "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"url": "https://user:secret@git.example.com/a/b.git", "provider": "Gitea", "secretRef": {"name": "t"}}});
    for (object, needle) in [(metric, "without rate"), (repository, "credentials belong in the Secret")] {
        let error = apply(stack, &object).expect_err("it was taken").to_string();
        assert!(error.contains(needle), "{error}");
        println!("| {} | the API server | {} |", object["spec"], error.lines().last().unwrap_or_default());
    }
    println!("  {} wrong objects were refused with a remedy", table.len() + 2);
}

/// What the controller refuses or waits for: name, what is wrong, reason, and the words of its message.
#[allow(clippy::too_many_lines)] // A table.
fn table() -> Vec<(&'static str, Wrong, &'static str, &'static [&'static str])> {
    let spec = |path, value| Wrong::Spec(path, value);
    let port = free_port().unwrap();
    vec![
        (
            "unknown VirtualService",
            spec("/spec/traffic/virtualService", json!("nowhere")),
            "RouteNotFound",
            &["nowhere"],
        ),
        (
            "unknown route",
            spec("/spec/traffic/routes", json!(["elsewhere"])),
            "RouteNotFound",
            &["elsewhere", "there are: productpage"],
        ),
        (
            "unknown subset",
            spec("/spec/versionInfo/baseline/destination", json!({"subset": "old"})),
            "RouteNotFound",
            &["subset `old`"],
        ),
        (
            "unknown metric",
            spec("/spec/criteria/objectives", json!([{"metric": "mine", "upperLimit": "1%"}])),
            "MetricNotFound",
            &["spec.criteria.objectives[0].metric", "mine", "create it"],
        ),
        (
            "unknown workload",
            spec("/spec/versionInfo/baseline/workload", json!({"name": "absent"})),
            "WorkloadNotReady",
            &["absent"],
        ),
        (
            "limit of another unit",
            spec("/spec/criteria/objectives", json!([{"metric": "istio/error-rate", "upperLimit": "250ms"}])),
            "InvalidExperiment",
            &["upperLimit", "250ms"],
        ),
        ("no delegate", spec("/spec/traffic/mode", json!("Delegate")), "NotADelegate", &["hosts"]),
        (
            "Iter8's duration",
            spec("/spec/duration", json!({"intervalSeconds": 10})),
            "NotSupported",
            &["spec.duration", "spec.analysis.interval"],
        ),
        (
            "foreign request count",
            spec("/spec/criteria/requestCount", json!("mine")),
            "NotSupported",
            &["spec.criteria.requestCount", "istio/request-count"],
        ),
        (
            "target of another namespace",
            spec("/spec/target", json!("elsewhere/productpage")),
            "InvalidExperiment",
            &["spec.target", "shop/NAME"],
        ),
        (
            "unknown Repository",
            spec(
                "/spec/gitops",
                json!({"repository": "platform/none", "path": "apps/x", "promote": {"from": "a.yaml", "to": "b.yaml"}}),
            ),
            "RepositoryNotFound",
            &["spec.gitops.repository", "platform/none"],
        ),
        (
            "namespace that is not allowed",
            Wrong::Repository(json!({"allowedNamespaces": ["bank"]})),
            "NotAllowed",
            &["spec.gitops.repository", "`shop`", "spec.allowedNamespaces"],
        ),
        (
            "wrong token",
            Wrong::Repository(json!({"secretRef": {"key": "wrong"}})),
            "AuthenticationFailed",
            &["spec.secretRef `environment-token`", "under the key `wrong`"],
        ),
        (
            "no token",
            Wrong::Repository(json!({"secretRef": {"key": "absent"}})),
            "CredentialsMissing",
            &["platform/environment-token", "under the key `absent`"],
        ),
        (
            "unreachable forge",
            Wrong::Repository(json!({"url": format!("http://127.0.0.1:{port}/bot/shop.git")})),
            "ProviderUnavailable",
            &["spec.url `http://127.0.0.1:", "correct the address"],
        ),
        (
            "unknown branch",
            Wrong::Repository(json!({"branch": "production"})),
            "BaseBranchMissing",
            &["spec.branch `production`", "correct its name"],
        ),
        (
            "unparsable YAML in the repository",
            Wrong::File("productpage.yaml", "kind: [Deployment\n"),
            "InvalidYaml",
            &["apps/productpage/productpage.yaml", "spec.branch `main`", "correct the file"],
        ),
    ]
}

/// An experiment of this trial, with or without its write-back.
fn experiment(trial: &Trial<'_>, name: &str, gitops: bool) -> Value {
    let mut object: Value = serde_saphyr::from_str(&trial.experiment(name)).unwrap();
    if !gitops {
        object["spec"].as_object_mut().unwrap().remove("gitops");
    }
    object
}

fn replace(object: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
    parent.as_object_mut().unwrap().insert(key.to_owned(), value);
}

fn apply(stack: &Stack, object: &Value) -> anyhow::Result<String> {
    stack.kubectl(&["apply", "-f", "-"], Some(&object.to_string()))
}

/// JSON merge patch with kubectl.
fn patch(stack: &Stack, what: &str, namespace: &str, change: &Value) -> anyhow::Result<()> {
    let (kind, name) = what.split_once('/').context("KIND/NAME")?;
    let args = ["patch", kind, name, "-n", namespace, "--type=merge", "-p", &change.to_string()];
    stack.kubectl(&args, None).map(|_| ())
}

async fn weights(trial: &Trial<'_>) -> anyhow::Result<(u64, u64)> {
    let service = trial.virtual_service().await?;
    let weight =
        |i: usize| service.data.pointer(&format!("/spec/http/0/route/{i}/weight")).and_then(Value::as_u64).unwrap_or(0);
    Ok((weight(0), weight(1)))
}

/// Waits until the candidate has this weight; how long it took.
async fn shared(trial: &Trial<'_>, candidate: u64, patience: Duration) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let wanted = (100 - candidate, candidate);
    let what = format!("the weights to be {wanted:?}");
    trial.until(&what, patience, async || Ok((weights(trial).await? == wanted).then_some(()))).await?;
    Ok(began.elapsed())
}

/// Waits until an experiment's message begins with a reason; the message.
async fn says(trial: &Trial<'_>, name: &str, reason: &str, patience: Duration) -> anyhow::Result<String> {
    trial
        .until(&format!("{name} to say {reason}"), patience, async || {
            let found = trial.experiments().get_opt(name).await?.and_then(|e| e.status).unwrap_or_default();
            let message = found.message.unwrap_or_default();
            Ok(message.starts_with(reason).then_some(message))
        })
        .await
}

/// A part of the engine's memory of the running experiment.
async fn progress(trial: &Trial<'_>, pointer: &str) -> anyhow::Result<Value> {
    let progress = trial.get().await?.and_then(|e| e.status).and_then(|s| s.progress).unwrap_or_default();
    Ok(progress.pointer(pointer).cloned().unwrap_or_default())
}

/// What must not change: the files, the branches and the requests.
async fn repository(trial: &Trial<'_>) -> anyhow::Result<(Vec<String>, Vec<String>, usize)> {
    Ok((trial.forge.files().await?, trial.forge.branches().await?, trial.forge.pulls().await?.len()))
}

/// Each row on an experiment of its own, which is deleted afterwards.
async fn refused_by_the_controller(stack: &Stack, trial: &Trial<'_>) -> anyhow::Result<()> {
    let untouched = repository(trial).await?;
    let described = stack.kubectl(&["get", "repository", "shop", "-n", "platform", "-o", "json"], None)?;
    let described: Value = serde_json::from_str(&described)?;
    let restored = json!({"spec": {"url": described["spec"]["url"], "branch": null, "secretRef": {"key": null},
        "allowedNamespaces": described["spec"]["allowedNamespaces"]}});
    let rows = table();
    for (name, wrong, reason, words) in &rows {
        let mut object = experiment(trial, "wrong", !matches!(wrong, Wrong::Spec(..)));
        let mut before = None;
        match wrong {
            Wrong::Spec(path, value) => replace(&mut object, path, value.clone()),
            Wrong::Repository(change) => patch(stack, "repository/shop", "platform", &json!({"spec": change}))?,
            Wrong::File(file, text) => {
                let path = format!("{APP}/{file}");
                before = Some((path.clone(), trial.forge.file(&path).await?));
                trial.forge.commit("A slip", &[(&path, Some(text))]).await?;
            }
        }
        let began = Instant::now();
        apply(stack, &object)?;
        let said = says(trial, "wrong", reason, PATIENCE).await.with_context(|| (*name).to_owned())?;
        println!("| {name} | {reason} | {:.1} s | {said} |", began.elapsed().as_secs_f64());
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        ensure!(missing.is_empty(), "{name}: {said}: {missing:?} is not told");
        ensure!(!said.contains("not-a-token"), "{name}: the token is told");
        ensure!(weights(trial).await? == (100, 0), "{name}: traffic moved");
        match wrong {
            Wrong::Spec(..) => {}
            Wrong::Repository(_) => patch(stack, "repository/shop", "platform", &restored)?,
            Wrong::File(..) => {
                let (path, text) = before.context("the file's text")?;
                trial.forge.commit("Mend it", &[(&path, Some(&text))]).await?;
            }
        }
        stack.kubectl(&["delete", "experiment", "wrong", "-n", "shop", "--timeout=45s"], None)?;
        ensure!(repository(trial).await? == untouched, "{name}: the repository changed");
    }
    println!("  {} impossible experiments say why, and can be deleted", rows.len());
    Ok(())
}

/// An experiment in mid-ramp whose spec, Repository or routes go wrong: all traffic is at the baseline within seconds,
/// through a restart of the controller, and each time it goes on with the evidence it had when that is mended.
async fn edited(stack: &Stack, trial: &Trial<'_>, controller: &mut Controller) -> anyhow::Result<()> {
    let namespace = trial.namespace.as_str();
    let mut object = experiment(trial, NAME, true);
    object["spec"]["criteria"]["objectives"][0]["upperLimit"] = json!("3%");
    replace(&mut object, "/spec/strategy/ramp", json!({"steps": [{"weight": 20, "hold": "45s"}, {"weight": 50}]}));
    apply(stack, &object)?;
    shared(trial, 20, PATIENCE).await?;
    let look = async || Ok((progress(trial, "/intervals").await?.as_u64() >= Some(2)).then_some(()));
    trial.until("evidence", PATIENCE, look).await?;
    let experiment = format!("experiment/{NAME}");
    let this = format!("repository/{namespace}");
    let described = stack.kubectl(&["get", "repository", namespace, "-n", "platform", "-o", "json"], None)?;
    let described: Value = serde_json::from_str(&described)?;
    let again = json!({"apiVersion": described["apiVersion"], "kind": "Repository",
        "metadata": {"name": namespace, "namespace": "platform"}, "spec": described["spec"]});
    let spec = |path: &str, value: Value| {
        let mut change = value;
        for key in path.rsplit('/') {
            change = json!({key: change});
        }
        change
    };
    for (name, reason, crash) in [
        ("a deadline before its time", "InvalidExperiment", true),
        ("no Repository", "RepositoryNotFound", false),
        ("other routes", "InvalidExperiment", false),
    ] {
        let evidence = progress(trial, "/evidence").await?;
        let deadline = "spec/analysis/hardDeadline";
        match name {
            "no Repository" => drop(stack.kubectl(&["delete", "repository", namespace, "-n", "platform"], None)?),
            "other routes" => {
                patch(stack, &experiment, namespace, &spec("spec/traffic/virtualService", json!("elsewhere")))?;
            }
            _ => patch(stack, &experiment, namespace, &spec(deadline, json!("1m")))?,
        }
        let home = shared(trial, 0, PATIENCE).await?;
        let said = says(trial, NAME, reason, PATIENCE).await?;
        println!("  {name}: all traffic at the baseline after {:.1} s: {said}", home.as_secs_f64());
        ensure!(home <= HOME, "{name}: it took {home:?}");
        ensure!(said.contains("all traffic is at the baseline"), "{said}");
        if crash {
            controller.crash(stack)?;
        }
        // Nothing may happen for some intervals, and after a restart.
        tokio::time::sleep(Duration::from_secs(6)).await;
        ensure!(weights(trial).await? == (100, 0), "{name}: the candidate got traffic again");
        let kept = progress(trial, "/evidence").await?;
        // A look that was under way may have been committed.
        let before = evidence.pointer("/0/seen/requests").and_then(Value::as_f64).unwrap_or(0.0);
        let after = kept.pointer("/0/seen/requests").and_then(Value::as_f64).unwrap_or(0.0);
        ensure!(after >= before, "{name}: evidence was lost: {before} requests, then {after}");
        match name {
            "no Repository" => drop(apply(stack, &again)?),
            "other routes" => {
                patch(stack, &experiment, namespace, &spec("spec/traffic/virtualService", json!("bookinfo")))?;
            }
            _ => patch(stack, &experiment, namespace, &spec(deadline, Value::Null))?,
        }
        let back = shared(trial, 20, PATIENCE).await?;
        let now = progress(trial, "/evidence").await?;
        let now = now.pointer("/0/seen/requests").and_then(Value::as_f64).unwrap_or(0.0);
        ensure!(now >= after, "{name}: evidence was lost at the remedy");
        println!("  {name}: mended, it goes on after {:.1} s", back.as_secs_f64());
    }
    ensure!(trial.forge.branches().await? == ["main"], "something was written to {this}");
    Ok(())
}

/// The same experiment, whose token is revoked in mid-ramp, whose branch is protected at the verdict, whose token is
/// revoked again and whose spec is broken while its request waits; then it is deleted as it is.
async fn locked_out(stack: &Stack, trial: &Trial<'_>) -> anyhow::Result<()> {
    let token =
        |text: &str| patch(stack, "secret/environment-token", "platform", &json!({"stringData": {"token": text}}));
    let (good, namespace) = (stack.endpoints.bot_token.as_str(), trial.namespace.as_str());
    token("not-a-token")?;
    shared(trial, 50, PATIENCE * 2).await.context("a token is no business of the ramp")?;
    let said = says(trial, NAME, "AuthenticationFailed", VERDICT).await?;
    println!("  revoked in mid-ramp, at the verdict: {said}");
    ensure!(said.contains("spec.secretRef `environment-token`") && !said.contains("not-a-token"), "{said}");
    ensure!(weights(trial).await? == (50, 50), "the proven split is held");
    trial.forge.protect("iter8/**").await?;
    token(good)?;
    let said = says(trial, NAME, "ProtectedBranch", PATIENCE).await?;
    println!("  protected at the push: {said}");
    ensure!(said.contains("`iter8/`") && said.contains("spec.url"), "{said}");
    ensure!(
        trial.forge.branches().await? == ["main"] && trial.forge.pulls().await?.is_empty(),
        "something was written"
    );
    ensure!(weights(trial).await? == (50, 50), "the proven split is held");
    trial.forge.unprotect("iter8/**").await?;
    // A push that failed is repeated after a minute at most.
    trial.open_request("promote", PATIENCE * 2).await?;
    says(trial, NAME, "WaitingForReview", PATIENCE).await?;
    token("not-a-token")?;
    let said = says(trial, NAME, "AuthenticationFailed", PATIENCE).await?;
    println!("  revoked while the request waits: {said}");
    let armed = trial.get().await?.and_then(|e| e.status).and_then(|s| s.guard).unwrap_or_default();
    ensure!(weights(trial).await? == (50, 50) && armed.starts_with("armed"), "held under the guard: {armed:?}");
    token(good)?;
    says(trial, NAME, "WaitingForReview", PATIENCE).await?;
    let broken = json!({"spec": {"analysis": {"hardDeadline": "1m"}}});
    patch(stack, &format!("experiment/{NAME}"), namespace, &broken)?;
    let home = shared(trial, 0, PATIENCE).await?;
    let said = says(trial, NAME, "InvalidExperiment", PATIENCE).await?;
    println!("  broken while the request waits: at the baseline after {:.1} s: {said}", home.as_secs_f64());
    ensure!(home <= HOME, "it took {home:?}");
    stack.kubectl(&["delete", "experiment", NAME, "-n", namespace, "--timeout=25s"], None)?;
    let pulls = trial.forge.pulls().await?;
    ensure!(pulls.len() == 1 && pulls[0]["state"] == "closed" && pulls[0]["merged"] == false, "{pulls:?}");
    ensure!(weights(trial).await? == (100, 0), "traffic moved at the deletion");
    println!("  deleted as it is: its request is closed, traffic stays at the baseline");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_on_real_parts() {
    let stack = Stack::start("input").unwrap();
    let mut controller = stack.controller(Path::new(env!("CARGO_BIN_EXE_reiter8"))).unwrap();
    let all = async {
        let trial = Trial::unsynced(&stack, "shop").await?;
        let wrong = json!({"stringData": {"wrong": "not-a-token"}});
        patch(&stack, "secret/environment-token", "platform", &wrong)?;
        refused_by_the_api_server(&stack, &trial);
        refused_by_the_controller(&stack, &trial).await?;
        let trial = Trial::unsynced(&stack, "edited").await?;
        let load = Load::start(stack.gateway(), &trial.host, RPS);
        edited(&stack, &trial, &mut controller).await?;
        locked_out(&stack, &trial).await?;
        let counts = load.stop().await;
        println!("  {} requests were sent, {} failed", counts.sent, counts.failed());
        ensure!(counts.failed() == 0 && counts.sent > 1000, "{:?}", counts.failures);
        Ok(())
    };
    if let Err(error) = all.await {
        let log = controller.log();
        let lines: Vec<&str> = log.lines().collect();
        panic!("{error:#}\nthe controller's log ends with:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
}
