//! Several candidates on real parts: (p) the fastest of three wins, one with errors and a slow one leave; (q) one refuses
//! connections and leaves, another one loses its pods, and later the start is reverted; (r) the baseline is the fastest.
//!
//! All play side by side on one stack. Needs the parts that `hack/parts/build` makes; `hack/test` runs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::stack;
use crate::support::stack::rivals::Rival;
use crate::support::stack::scene::{LONG, SHORT, Scene, State, play};
use crate::support::stack::trial::{APP, Stack, Trial};
use anyhow::{Context as _, ensure};

/// The baseline serves, and its routes lead to these candidates as well.
async fn open<'a>(
    stack: &'a Stack,
    name: &'static str,
    namespace: &str,
    rivals: &[Rival],
    rps: u32,
) -> anyhow::Result<Scene<'a>> {
    Scene::on(Trial::racing(stack, namespace, rivals).await?, name, rps).await
}

/// Why a candidate left while others went on.
fn left(state: &State, candidate: usize) -> Option<String> {
    state.progress(&format!("/entrants/{candidate}/left/reason")).as_str().map(str::to_owned)
}

/// Whether the routes were seen with the weights that are wanted, by what the controller committed.
fn settled(state: &State) -> bool {
    !state.progress("/applied").is_null()
}

/// What the requests of the write-back change: the files' names below the application, with what is done to each.
async fn changed(scene: &Scene<'_>, number: u64) -> anyhow::Result<Vec<String>> {
    let files = scene.trial.forge.changed(number).await?;
    let name = |path: &str| path.strip_prefix(APP).map_or(path, |p| p.trim_start_matches('/')).to_owned();
    Ok(files.iter().map(|(path, status)| format!("{status} {}", name(path))).collect())
}

/// The sentences of the Events that tell of a candidate's end.
fn dismissals(scene: &Scene<'_>) -> anyhow::Result<Vec<String>> {
    let args = ["get", "events.events.k8s.io", "-n", &scene.trial.namespace, "-o", "json"];
    let events: serde_json::Value = serde_json::from_str(&scene.trial.stack.kubectl(&args, None)?)?;
    let all = events["items"].as_array().into_iter().flatten();
    let of_ours = all.filter(|e| e["reason"] == "CandidateDismissed");
    Ok(of_ours.filter_map(|e| Some(e["note"].as_str()?.to_owned())).collect())
}

/// Every split that the controller wrote gave one and the same of these weights to each candidate that got any.
fn only(splits: &[Vec<u64>], weights: &[u64]) -> anyhow::Result<()> {
    for split in splits {
        let shares: Vec<u64> = split.iter().copied().filter(|w| *w > 0).collect();
        ensure!(shares.windows(2).all(|two| two[0] == two[1]), "{split:?} is no fair race: {splits:?}");
        ensure!(shares.iter().all(|w| weights.contains(w)), "{split:?} is outside of the plan: {splits:?}");
    }
    Ok(())
}

/// Waits until Envoy has this split and no other destination.
async fn envoy(scene: &Scene<'_>, wanted: &[(&str, u64)]) -> anyhow::Result<()> {
    let wanted: BTreeMap<String, u64> = wanted.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
    let look = async || Ok((scene.trial.stack.envoy_split(&scene.trial.host).await? == wanted).then_some(()));
    scene.trial.until(&format!("Envoy to have {wanted:?}"), SHORT, look).await
}

/// (p): one candidate has errors, and the best reward; it leaves alone. The slow one is outdone, the fast one wins, and
/// is promoted although it is the last in the list.
async fn fastest(stack: &Stack) -> anyhow::Result<()> {
    const RPS: u32 = 104;
    let rivals = [Rival { errors: "0.3", ..Rival::new("bad", 5) }, Rival::new("slow", 150), Rival::new("fast", 15)];
    let scene = open(stack, "p", "race", &rivals, RPS).await?;
    let routing = scene.trial.forge.file(&format!("{APP}/routing.yaml")).await?;
    // The second step comes before the first look at the metrics: what leaves then leaves without a step at once.
    scene.trial.race(&rivals, &[(10, 2), (25, 0)]).await?;
    scene.split(&[10, 10, 10], LONG).await?;
    scene.say("all three have traffic");

    let out = scene.state("the bad one's end", LONG, |s| left(s, 0).is_some()).await?;
    ensure!(left(&out, 0).as_deref() == Some("Harmful"), "{:?}", left(&out, 0));
    ensure!(out.status.outcome.is_none() && left(&out, 1).is_none() && left(&out, 2).is_none(), "it left alone");
    let home = scene.until("its share to be the baseline's", SHORT, |seen| {
        let at = seen.splits.iter().rposition(|s| s.candidate > 0)?;
        Some((seen.splits[at].clone(), seen.splits.get(at + 1)?.clone()))
    });
    let (before, after) = home.await?;
    ensure!(after.others == before.others, "the others had {:?}, now {:?}", before.others, after.others);
    ensure!(after.stable == before.stable + before.candidate, "{before:?} became {after:?}");
    let took = after.at.saturating_duration_since(out.at);
    scene.say(&format!("bad is out, its {} % are the baseline's {} ms later", before.candidate, took.as_millis()));
    ensure!(took <= Duration::from_secs(2), "its traffic came home {took:?} after the decision");

    scene.split(&[0, 25, 25], LONG).await?;
    envoy(&scene, &[("stable", 50), ("slow", 25), ("fast", 25)]).await?;
    let race = Instant::now();
    let verdict = scene.state("a verdict", LONG, |s| s.status.outcome.is_some()).await?;
    let counts = scene.load.between(race, Duration::from_millis(300));
    scene.say(&format!("verdict {:.0} s after 25 %: {}", race.elapsed().as_secs_f64(), verdict.message()));
    scene.say(&format!("requests at 25 %: {:?}", counts.by_version));
    ensure!(verdict.reason() == "Proven", "{}: {}", verdict.reason(), verdict.message());
    ensure!(left(&verdict, 1).as_deref() == Some("Outperformed") && left(&verdict, 2).is_none(), "slow is outdone");
    ensure!(verdict.progress("/decision/candidate") == 2, "{}", verdict.progress("/decision/candidate"));
    scene.split(&[0, 0, 25], SHORT).await?;

    let number = scene.trial.open_request("promote", LONG).await?;
    let files = changed(&scene, number).await?;
    ensure!(files == ["changed productpage.yaml"], "the promote request: {files:?}");
    scene.trial.reviewer.merge(number).await?;
    scene.say("the promote request is merged");
    let number = scene.trial.open_request("cleanup", LONG).await?;
    envoy(&scene, &[("stable", 100)]).await?;
    let files = changed(&scene, number).await?;
    let mut wanted = vec!["deleted experiment.yaml".to_owned()];
    wanted.extend(["bad", "fast", "slow"].map(|name| format!("deleted productpage-{name}.yaml")));
    ensure!(files == wanted, "the clean-up request: {files:?}");
    scene.trial.reviewer.merge(number).await?;
    scene.say("handed over; the clean-up request is merged");
    scene.pruned().await?;
    scene.say("all candidates are pruned");

    let promoted = rivals[2].promoted();
    let promoted: Vec<(&str, &str)> = promoted.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    scene.differs_by(&promoted).await?;
    ensure!(scene.trial.forge.file(&format!("{APP}/routing.yaml")).await? == routing, "the routing is as it was");
    scene.requests(2).await?;
    envoy(&scene, &[("stable", 100)]).await?;
    let told = dismissals(&scene)?;
    let of = |name: &str| told.iter().filter(|t| t.starts_with(&format!("{name} is out: "))).count();
    ensure!((of("bad"), of("slow"), told.len()) == (1, 1, 2), "the Events tell {told:?}");
    let splits = scene.record.look().splits();
    scene.say(&format!("weights of bad/slow/fast: {splits:?}"));
    only(&splits, &[10, 25])?;
    ensure!(splits.ends_with(&[vec![0, 25, 25], vec![0, 0, 25], vec![0, 0, 0]]), "{splits:?}");
    // Three of ten of a tenth of the traffic, or of a quarter, for as long as samples and the first looks take.
    let counts = scene.end(u64::from(RPS)).await?;
    let failed: Vec<(&str, u64)> = counts.failed_by_version.iter().map(|(v, n)| (v.as_str(), *n)).collect();
    println!("  (p) failed by version: {failed:?}");
    ensure!(counts.lost == 0 && failed.iter().all(|(v, _)| *v == "bad"), "{failed:?}: {:?}", counts.failures);
    Ok(())
}

/// (q): requests that reach no pod are held against the candidate that refuses them and no other. The pods of another one
/// are killed: its share is the baseline's in the same turn, the last one keeps its own; it comes back and goes on. Then
/// `git revert` of the start, in mid-race, brings all shares home.
async fn orphaned(stack: &Stack) -> anyhow::Result<()> {
    const RPS: u32 = 40;
    let rival = |name, env| Rival { env, ..Rival::new(name, stack::rivals::LATENCY) };
    let killed = rival("killed", Some(("RESTART_SECONDS", "8")));
    let rivals = [killed, rival("kept", None), rival("refusing", Some(("LISTEN", "refuse")))];
    let scene = open(stack, "q", "orphaned", &rivals, RPS).await?;
    scene.trial.race(&rivals, &[(20, 0)]).await?;
    let first = scene.split(&[20, 20, 20], LONG).await?;
    let out = scene.split(&[20, 20, 0], SHORT).await?;
    let refused = scene.load.since(scene.began).failed();
    let took = out.at.duration_since(first.at).as_secs_f64();
    scene.say(&format!("the refusing one is out {took:.1} s after its first traffic, {refused} failed"));
    let on = scene.state("the race without it", SHORT, settled).await?;
    ensure!(left(&on, 2).as_deref() == Some("Harmful"), "{:?}", left(&on, 2));
    ensure!(left(&on, 0).is_none() && left(&on, 1).is_none(), "it left alone");
    // In the middle of it, not at the first request.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let began = Instant::now();
    ensure!(scene.trial.kill_pods("killed").await? == 2, "the candidate has two pods");
    let lost = |s: &State| !s.progress("/entrants/0/lost").is_null();
    let noticed =
        scene.until("the loss", SHORT, |seen| seen.states.iter().find(|s| s.at > began && lost(s)).cloned()).await?;
    let home = scene.split(&[0, 20, 0], SHORT).await?;
    let acted = home.at.saturating_duration_since(noticed.at).as_millis();
    envoy(&scene, &[("stable", 80), ("kept", 20)]).await?;
    let noticed = noticed.at.duration_since(began).as_millis();
    ensure!(acted <= 1000, "baseline only {acted} ms after the loss was noticed");
    let back = scene.split(&[20, 20, 0], SHORT).await?;
    let failed = scene.load.since(began).failed();
    let away = back.at.duration_since(began).as_secs_f64();
    scene.say(&format!(
        "killed: noticed after {noticed} ms, its share home {acted} ms later, {failed} failed; back after {away:.1} s"
    ));
    let looks = scene.record.look().last().and_then(|s| s.progress("/intervals").as_u64());
    let on = scene.state("the race to go on", SHORT, |s| s.progress("/intervals").as_u64() > looks).await?;
    ensure!(left(&on, 0).is_none() && left(&on, 1).is_none() && on.status.outcome.is_none(), "{}", on.message());
    ensure!(on.progress("/entrants/0/losses") == 1, "{}", on.progress("/entrants"));

    let reverted = Instant::now();
    scene.trial.reviewer.revert()?;
    let home = scene.split(&[0, 0, 0], LONG).await?;
    let took = home.at.duration_since(reverted).as_secs_f64();
    scene.pruned().await?;
    scene.say(&format!("the start is reverted: home after {took:.1} s, pruned"));
    envoy(&scene, &[("stable", 100)]).await?;
    let later = scene.load.since(reverted);
    ensure!(later.failed() == 0, "{} failed since the revert: {:?}", later.failed(), later.failures);
    scene.unchanged().await?;
    scene.requests(0).await?;
    let splits = scene.record.look().splits();
    let wanted = [[20, 20, 20], [20, 20, 0], [0, 20, 0], [20, 20, 0], [0, 0, 0]];
    ensure!(splits == wanted, "{splits:?}");
    ensure!(failed <= u64::from(RPS), "{failed} failed when the pods were killed");
    let rest = scene.load.since(back.at);
    scene.say(&format!("{} failed since it is back: {:?}", rest.failed(), rest.failures));
    // A fifth of the traffic for as long as the first looks take.
    scene.close(failed + u64::from(RPS) * 3).await
}

/// (r): no candidate is faster than the baseline: one request removes everything.
async fn best_already(stack: &Stack) -> anyhow::Result<()> {
    const RPS: u32 = 62;
    let rivals = [Rival::new("slower", 110), Rival::new("slowest", 160)];
    let scene = open(stack, "r", "best", &rivals, RPS).await?;
    scene.trial.race(&rivals, &[(33, 0)]).await?;
    scene.split(&[33, 33], LONG).await?;
    let began = Instant::now();
    let verdict = scene.state("a verdict", LONG, |s| s.status.outcome.is_some()).await?;
    scene.say(&format!("verdict {:.0} s after 33 %: {}", began.elapsed().as_secs_f64(), verdict.message()));
    ensure!(verdict.status.outcome.as_deref() == Some("Discard"), "{:?}", verdict.status.outcome);
    ensure!(verdict.reason() == "Outperformed", "{}: {}", verdict.reason(), verdict.message());
    let race = verdict.status.race.as_ref().context("where the versions of the race stand")?;
    let states: Vec<(&str, &str)> = race.versions.iter().map(|v| (v.name.as_str(), v.state.as_str())).collect();
    ensure!(states == [("stable", "Racing"), ("slower", "Out"), ("slowest", "Out")], "{states:?}");
    let home = scene.split(&[0, 0], SHORT).await?;
    let acted = home.at.saturating_duration_since(verdict.at);
    ensure!(acted <= Duration::from_secs(2), "traffic came home {acted:?} after the decision");
    let number = scene.trial.open_request("cleanup", LONG).await?;
    let files = changed(&scene, number).await?;
    let wanted = ["experiment", "productpage-slower", "productpage-slowest"].map(|f| format!("deleted {f}.yaml"));
    ensure!(files == wanted, "the clean-up request: {files:?}");
    scene.trial.reviewer.merge(number).await?;
    scene.pruned().await?;
    envoy(&scene, &[("stable", 100)]).await?;
    scene.unchanged().await?;
    scene.requests(1).await?;
    only(&scene.record.look().splits(), &[33])?;
    scene.close(0).await
}

#[test]
fn several_candidates_race_on_real_parts() {
    let stack = Stack::start("abn").unwrap();
    println!("  the stack started in {:.1} s", stack.endpoints.seconds);
    let controller = stack.controller(Path::new(env!("CARGO_BIN_EXE_reiter8"))).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let on = runtime.handle();
    play(
        vec![
            ("p", Box::new(|| on.block_on(fastest(&stack)))),
            ("q", Box::new(|| on.block_on(orphaned(&stack)))),
            ("r", Box::new(|| on.block_on(best_already(&stack)))),
        ],
        controller.log_file(),
    );
}
