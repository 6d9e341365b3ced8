//! What the controller costs: memory, and calls to the API server while nothing happens.
//!
//! Starts a real etcd and kube-apiserver (`hack/parts/build` makes them), runs `reiter8 run` against them as a process,
//! and prints for 0, 100 and 1 000 experiments that are queued or completed: resident memory, memory for each experiment
//! beside the size of its JSON, and the calls in an idle window, as the API server counts them. A fifth of the completed ones
//! have a clean-up request that is open and looked after; the window begins with the second look at one of them, a quarter of
//! an hour after the first, and the looks in it are printed too. Then what a review that takes its time costs. Not a test: nothing
//! here fails for being slow.
//!
//! `cargo bench --bench footprint -- --idle 5m` (the release profile), or with `--profile dev`, which is built already.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::too_many_lines)]
#![allow(missing_docs)]

#[allow(dead_code, unreachable_pub)] // Each program uses a part of it.
#[path = "../tests/support"]
mod support {
    pub(crate) mod quiet_forge;
    pub(crate) mod stack;
}

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use reiter8::api::Experiment;
use reiter8::engine::judge::Tally;
use reiter8::engine::{
    CommitId, Criterion, Decision, Evidence, Outcome, Pair, Phase, Preflight, Progress, Reason, Row, Rule, Split,
    Stage, StageState, StageWork, Verdict,
};
use reiter8_testing::trial;
use serde_json::{Value, json};
use support::quiet_forge::QuietForge;
use support::stack::parts::{self, Kube};
use support::stack::process::{Process, free_port};
use support::stack::{self, Site, binaries};

/// Bars of the project: base, and for each experiment at the largest number.
const BASE_KIB: u64 = 40 * 1024;
const EACH_KIB: f64 = 100.0;
/// Patience with a thousand experiments on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
/// A little more than the time between two looks at a clean-up request.
const LOOK: Duration = Duration::from_secs(16 * 60);
/// The clean-up request of one that is looked after has its number plus this.
const CLEAN_UP: u64 = 1000;
/// How long nothing may change before memory is read.
const SETTLE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    /// Length of the window in which nothing should be asked
    #[arg(long, default_value = "5m", value_parser = span)]
    idle: Duration,
    /// Length of the window in which a review waits
    #[arg(long, default_value = "1m", value_parser = span)]
    review: Duration,
    /// Numbers of experiments, rising
    #[arg(long, value_delimiter = ',', default_value = "0,100,1000")]
    experiments: Vec<usize>,
    /// Another program than the one of this build
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long)]
    bench: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text.parse().map_err(|_| format!("`{text}` is no duration such as `5m` or `30s`"))?;
    Duration::try_from(span).map_err(|error| error.to_string())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        println!("nothing measured; run `cargo bench --bench footprint -- --idle 5m`");
        return Ok(());
    }
    let dir = PathBuf::from(format!("/var/tmp/reiter8-footprint-{}", std::process::id()));
    let site = Site { dir: dir.clone(), bin: binaries(), node: PathBuf::new() };
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join(".reiter8-stack"), "")?;
    let measured = measure(&args, &site).await;
    stack::down(&dir)?;
    measured
}

async fn measure(args: &Args, site: &Site) -> anyhow::Result<()> {
    let kube = parts::kube(site)?;
    let world = World::new(site, &kube).await?;
    let forge = QuietForge::default();
    world.repository(&forge.serve().await?).await?;
    let binary = args.binary.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_reiter8").into());
    let controller = Controller::start(site, &kube, &binary).await?;
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("program {}, profile of this benchmark: {profile}", binary.display());
    let mut base = None;
    for &number in &args.experiments {
        let there = world.fill(number).await?;
        tokio::time::sleep(SETTLE).await;
        await_looks(&forge, there..number).await?;
        let now = controller.memory()?;
        let base = *base.get_or_insert(now.resident);
        println!("\n{number} experiments");
        let (resident, program) = (mib(now.resident), mib(now.program));
        print!("  memory {resident:.1} MiB, {program:.1} MiB of it the program itself; peak {:.1} MiB", mib(now.peak));
        if number == 0 {
            println!("; bar {:.0} MiB: {}", mib(BASE_KIB), kept(now.resident <= BASE_KIB));
        } else {
            let (json, managed) = world.size().await?;
            let each = now.resident.saturating_sub(base) as f64 / number as f64;
            println!(
                "; {each:.1} KiB for each: {:.1} times its JSON of {json:.1} KiB ({managed:.1} KiB of it managedFields); bar {EACH_KIB:.0} KiB: {}",
                each / json,
                kept(each <= EACH_KIB)
            );
        }
        let before = world.calls().await?;
        let asked = controller.requests().await?;
        let looks = looks(&forge).1;
        tokio::time::sleep(args.idle).await;
        let calls = world.calls().await?.since(&before);
        calls.print(args.idle, controller.requests().await? - asked);
        let (open, all) = self::looks(&forge);
        println!("  looks at {open} open clean-up requests meanwhile: {}", all - looks);
        println!("  memory {:.1} MiB afterwards", mib(controller.memory()?.resident));
    }
    let before = world.calls().await?;
    controller.process.stop(PATIENCE);
    let controller = Controller::start(site, &kube, &binary).await?;
    tokio::time::sleep(SETTLE).await;
    let now = controller.memory()?;
    let number = args.experiments.last().copied().unwrap_or(0);
    println!("\nstarted again beside {number} experiments");
    println!("  memory {:.1} MiB; peak {:.1} MiB", mib(now.resident), mib(now.peak));
    let asked = controller.requests().await?;
    world.calls().await?.since(&before).print(SETTLE, asked);
    println!("\n3 experiments more, whose requests wait for a review");
    world.review().await?;
    tokio::time::sleep(SETTLE).await;
    let before = world.calls().await?;
    let asked = controller.requests().await?;
    tokio::time::sleep(args.review).await;
    let calls = world.calls().await?.since(&before);
    calls.print(args.review, controller.requests().await? - asked);
    let writes: u64 = calls.0.iter().filter(|(call, _)| call.contains("experiments/status")).map(|(_, n)| n).sum();
    println!("  status writes: {writes}; bar 0: {}", kept(writes == 0));
    let states = world.phases().await?;
    println!("  phases at the end: {states:?}");
    Ok(())
}

/// Open clean-up requests that the forge was asked about, and how often.
fn looks(forge: &QuietForge) -> (usize, usize) {
    let said = forge.said();
    let looks = || said.looks.range(CLEAN_UP..);
    (looks().count(), looks().map(|(_, n)| n).sum())
}

/// Whether the clean-up request of a completed experiment is still open.
fn is_looked_after(i: usize) -> bool {
    i % 10 == 1
}

/// Waits until each of the new ones that are looked after had its first turn, and one of them its next look: those of the
/// others follow, for they came at about the same time.
async fn await_looks(forge: &QuietForge, new: Range<usize>) -> anyhow::Result<()> {
    let wanted: Vec<u64> = new.filter(|&i| is_looked_after(i)).map(|i| CLEAN_UP + i as u64).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let had = || wanted.iter().map(|number| forge.said().looks.get(number).copied().unwrap_or(0)).collect::<Vec<_>>();
    let began = Instant::now();
    let patience = |what: &str| {
        anyhow::ensure!(began.elapsed() < 2 * LOOK, "waited in vain for {what}");
        anyhow::Ok(())
    };
    while had().contains(&0) {
        patience("the first look at each new clean-up request")?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(SETTLE).await;
    let first = had();
    while had() == first {
        patience("the next look at one of the new clean-up requests")?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("\n{} s until the next looks at {} new clean-up requests begin", began.elapsed().as_secs(), wanted.len());
    Ok(())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn kept(holds: bool) -> &'static str {
    if holds { "kept" } else { "MISSED" }
}

/// The controller's process.
struct Controller {
    process: Process,
    port: u16,
}

/// In KiB.
struct Memory {
    resident: u64,
    /// Pages of the program's file and its libraries, which replicas on a node share.
    program: u64,
    peak: u64,
}

impl Controller {
    async fn start(site: &Site, kube: &Kube, binary: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(binary);
        command
            .env("KUBECONFIG", &kube.kubeconfig)
            .args(["run", "--log-format", "json", "--allow-http-host", "127.0.0.1", "--identity", "footprint"])
            // Nobody answers there: no metrics are needed.
            .args(["--prometheus-url", "http://127.0.0.1:9", "--listen", &format!("127.0.0.1:{port}")]);
        let process = site.spawn("reiter8", port, &mut command)?;
        let controller = Self { process, port };
        until("the controller to be ready", async || {
            Ok(reiter8::http::client()
                .build()?
                .get(controller.url("readyz"))
                .send()
                .await
                .is_ok_and(|r| r.status().is_success()))
        })
        .await?;
        Ok(controller)
    }

    fn url(&self, page: &str) -> String {
        format!("http://127.0.0.1:{}/{page}", self.port)
    }

    fn memory(&self) -> anyhow::Result<Memory> {
        anyhow::ensure!(self.process.alive(), "the controller ended; see {}", self.process.log.display());
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).context("a line of /proc/PID/status")?;
            line.split_whitespace().next().and_then(|n| n.parse().ok()).context("a number of KiB")
        };
        Ok(Memory { resident: field("VmRSS:")?, program: field("RssFile:")?, peak: field("VmHWM:")? })
    }

    /// Requests to the API server that the controller itself counted.
    async fn requests(&self) -> anyhow::Result<u64> {
        let text = reiter8::http::client().build()?.get(self.url("metrics")).send().await?.text().await?;
        let lines = text.lines().filter(|l| l.starts_with("reiter8_request_seconds_count{provider=\"kubernetes\""));
        Ok(lines.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

/// Calls by verb and resource.
struct Calls(BTreeMap<String, u64>);

impl Calls {
    fn since(&self, before: &Self) -> Self {
        let grown = |(call, n): (&String, &u64)| (call.clone(), n - before.0.get(call).copied().unwrap_or(0));
        Self(self.0.iter().map(grown).filter(|(_, n)| *n > 0).collect())
    }

    fn print(&self, window: Duration, own: u64) {
        let is = |call: &str| match call {
            // The leader renews its own. An experiment's cannot hide among them: each of its turns reads it first.
            call if call.contains(" leases") => "lease",
            // A watch ends after minutes and is begun anew where it was: one for each kind.
            call if call.starts_with("WATCH") => "watch",
            _ => "call",
        };
        let sum = |kind: &str| self.0.iter().filter(|(call, _)| is(call) == kind).map(|(_, n)| n).sum::<u64>();
        println!(
            "  in {} s: {} calls; not among them, and the same for any number of experiments: {} for the replicas' own Lease, {} watches begun anew (the controller itself counted {own} requests)",
            window.as_secs(),
            sum("call"),
            sum("lease"),
            sum("watch"),
        );
        for (call, n) in self.0.iter().filter(|(call, _)| is(call) == "call") {
            println!("    {n:6} {call}");
        }
    }
}

/// What the controller looks at.
struct World {
    client: Client,
    http: reqwest::Client,
    server: String,
    token: String,
}

/// API groups whose calls are the controller's: nobody else is there who asks for them.
const GROUPS: [&str; 5] = ["iter8.tools", "networking.istio.io", "apps", "events.k8s.io", "coordination.k8s.io"];

impl World {
    async fn new(site: &Site, kube: &Kube) -> anyhow::Result<Self> {
        reiter8::http::install_provider();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        let mut definitions = vec![site.bin.join("istio-crds.yaml")];
        definitions.extend(std::fs::read_dir(own)?.filter_map(|e| e.ok().map(|e| e.path())));
        for file in definitions {
            parts::kubectl(site, kube, &["apply", "--server-side", "-f", &file.display().to_string()], None)?;
        }
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        parts::kubectl(site, kube, &wait, None)?;
        for namespace in ["shop", "reiter8-system"] {
            parts::kubectl(site, kube, &["create", "namespace", namespace], None)?;
        }
        let file = kube::config::Kubeconfig::read_from(&kube.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
        let tokens = std::fs::read_to_string(site.dir.join("kube/tokens.csv"))?;
        let token = tokens.split(',').next().unwrap_or_default().to_owned();
        let http = reiter8::http::client().danger_accept_invalid_certs(true).build()?;
        let world = Self { client: Client::try_from(config)?, http, server: kube.server.clone(), token };
        Self::surroundings(site, kube)?;
        Ok(world)
    }

    /// Routes and ready workloads, and the experiment that holds the target of those that wait: a person paused it.
    fn surroundings(site: &Site, kube: &Kube) -> anyhow::Result<()> {
        let routes = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "bookinfo", "namespace": "shop"},
            "spec": {"hosts": ["shop.example.com"], "http": [{"name": "productpage", "route": [
                {"destination": {"host": "productpage", "subset": "stable"}, "weight": 50},
                {"destination": {"host": "productpage", "subset": "candidate"}, "weight": 50}]}]}});
        let mut objects = vec![routes];
        for name in ["productpage", "productpage-candidate"] {
            let labels = json!({"app": name});
            objects.push(json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                    "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]}}}}));
        }
        for object in &objects {
            parts::kubectl(site, kube, &["apply", "-f", "-"], Some(&object.to_string()))?;
        }
        let ready = json!({"status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}});
        for name in ["productpage", "productpage-candidate"] {
            let args = ["patch", "deployment", name, "-n", "shop", "--subresource=status", "--type=merge", "-p"];
            parts::kubectl(site, kube, &[&args[..], &[&ready.to_string()]].concat(), None)?;
        }
        Ok(())
    }

    fn experiments(&self) -> Api<Experiment> {
        Api::namespaced(self.client.clone(), "shop")
    }

    /// Adds experiments until there are so many: half of them queued behind one that is paused, half completed.
    /// How many there were.
    async fn fill(&self, number: usize) -> anyhow::Result<usize> {
        let there = self.experiments().list_metadata(&ListParams::default()).await?.items.len();
        if number > 0 && there == 0 {
            let mut holder = experiment("queued-0", "shop/productpage");
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            holder["metadata"]["annotations"] = json!({"iter8.tools/pause": now});
            self.create(holder).await?;
            self.until_phase("queued-0", "Preparing").await?;
        }
        let began = Instant::now();
        let new: Vec<usize> = (there.max(1)..number).collect();
        let made = futures::stream::iter(new.iter().map(|&i| self.one(i))).buffer_unordered(8);
        made.collect::<Vec<_>>().await.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
        if number > there {
            until("every experiment to be queued or completed", async || {
                let known = self.phases().await?;
                let idle = |phase: &str| known.get(phase).copied().unwrap_or(0);
                Ok(idle("Queued") + idle("Completed") + 1 == number)
            })
            .await?;
            println!("\n{} experiments were taken in within {:.1} s", number - there, began.elapsed().as_secs_f64());
        }
        Ok(there)
    }

    /// One more: an odd one ended some time ago.
    async fn one(&self, i: usize) -> anyhow::Result<()> {
        if i.is_multiple_of(2) {
            return self.create(experiment(&format!("queued-{i}"), "shop/productpage")).await;
        }
        let name = format!("completed-{i}");
        let mut object = experiment(&name, &format!("shop/service-{i}"));
        let looked_after = is_looked_after(i);
        if looked_after {
            object["spec"]["gitops"] = gitops();
        }
        let ended = progress(Phase::Completed, if looked_after { CLEAN_UP + i as u64 } else { 1 })?;
        self.create(object).await?;
        self.write(&name, &ended).await
    }

    async fn create(&self, object: Value) -> anyhow::Result<()> {
        let object: Experiment = serde_json::from_value(object)?;
        self.experiments().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Writes a status as the controller would, until the controller, which has seen the object too, leaves it so.
    async fn write(&self, name: &str, progress: &Progress) -> anyhow::Result<()> {
        let experiment = self.experiments().get(name).await?;
        let plan = plan();
        let mut status = reiter8::controller::status::of(&experiment, &plan, progress, Timestamp::now());
        status.observed_generation = Some(1);
        let patch = json!({"status": status});
        until("a status to stay", async || {
            let params = PatchParams::default();
            self.experiments().patch_status(name, &params, &Patch::Merge(&patch)).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let phase = self.experiments().get(name).await?.status.and_then(|s| s.phase);
            Ok(phase.as_deref() == Some(progress.phase.as_str()))
        })
        .await
    }

    async fn until_phase(&self, name: &str, phase: &str) -> anyhow::Result<()> {
        until(&format!("{name} to be {phase}"), async || {
            let found = self.experiments().get(name).await?.status.and_then(|s| s.phase);
            Ok(found.as_deref() == Some(phase))
        })
        .await
    }

    async fn phases(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut known = BTreeMap::new();
        for experiment in self.experiments().list(&ListParams::default()).await? {
            let phase = experiment.status.and_then(|s| s.phase).unwrap_or_default();
            *known.entry(phase).or_default() += 1;
        }
        Ok(known)
    }

    /// Mean size of an experiment as JSON and of its managedFields, KiB.
    async fn size(&self) -> anyhow::Result<(f64, f64)> {
        let resource = kube::api::ApiResource::erase::<Experiment>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "shop", &resource);
        let all = api.list(&ListParams::default()).await?.items;
        let kib = |bytes: usize| bytes as f64 / 1024.0 / all.len() as f64;
        let json: usize = all.iter().map(|o| serde_json::to_vec(o).map_or(0, |v| v.len())).sum();
        let managed: usize = all.iter().map(|o| serde_json::to_vec(o.managed_fields()).map_or(0, |v| v.len())).sum();
        Ok((kib(json), kib(managed)))
    }

    /// The calls that the API server counted, without those of this program.
    async fn calls(&self) -> anyhow::Result<Calls> {
        let url = format!("{}/metrics", self.server);
        let text = self.http.get(url).bearer_auth(&self.token).send().await?.error_for_status()?.text().await?;
        let mut calls = BTreeMap::new();
        for line in text.lines().filter(|l| l.starts_with("apiserver_request_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split('"').next()
            };
            let group = label("{group").or_else(|| label(",group")).unwrap_or_default();
            let resource = label(",resource").unwrap_or_default();
            if !GROUPS.contains(&group) && resource != "secrets" {
                continue;
            }
            let sub = label("subresource").filter(|s| !s.is_empty()).map(|s| format!("/{s}")).unwrap_or_default();
            let count = line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let count = count as u64;
            let call =
                format!("{} {resource}{sub} {}", label("verb").unwrap_or_default(), label("code").unwrap_or_default());
            *calls.entry(call).or_default() += count;
        }
        Ok(Calls(calls))
    }

    /// The environment repository of those that have one.
    async fn repository(&self, forge: &str) -> anyhow::Result<()> {
        for object in [
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "shop"}, "stringData": {"token": "footprint-token"}}),
            json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Repository", "metadata": {"name": "env", "namespace": "shop"},
                "spec": {"url": format!("{forge}/o/env.git"), "provider": "Gitea", "secretRef": {"name": "token"}}}),
        ] {
            let found: DynamicObject = serde_json::from_value(object)?;
            let gvk = kube::core::GroupVersionKind::try_from(found.types.clone().context("a type")?)?;
            let resource = kube::api::ApiResource::from_gvk(&gvk);
            let resource = if gvk.kind == "Repository" {
                kube::api::ApiResource { plural: "repositories".into(), ..resource }
            } else {
                resource
            };
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "shop", &resource);
            api.create(&PostParams::default(), &found).await?;
        }
        Ok(())
    }

    /// Experiments whose promote request is open and stays so.
    async fn review(&self) -> anyhow::Result<()> {
        for i in 0..3 {
            let name = format!("review-{i}");
            let mut object = experiment(&name, &format!("shop/review-{i}"));
            object["spec"]["gitops"] = gitops();
            // Stays where it is put: a paused experiment starts nothing.
            object["metadata"]["annotations"] = json!({"iter8.tools/pause": "2026-01-01T00:00:00Z"});
            self.create(object).await?;
            self.until_phase(&name, "Preparing").await?;
            let mut waiting = progress(Phase::Promoting, 1)?;
            let known = self.experiments().get(&name).await?.status.and_then(|s| s.progress).context("progress")?;
            let known: Progress = serde_json::from_value(known)?;
            waiting.handled = known.handled;
            waiting.held = true;
            self.write(&name, &waiting).await?;
        }
        // A watched change sets them going.
        for i in 0..3 {
            let note = json!({"metadata": {"annotations": {"example.com/go": "1"}}});
            let name = format!("review-{i}");
            self.experiments().patch(&name, &PatchParams::default(), &Patch::Merge(&note)).await?;
        }
        Ok(())
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        anyhow::ensure!(Instant::now() < deadline, "waited {} s in vain for {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn gitops() -> Value {
    json!({"repository": "env", "path": "apps/productpage",
        "promote": {"from": "productpage-candidate.yaml", "to": "productpage.yaml"}})
}

fn experiment(name: &str, target: &str) -> Value {
    json!({
        "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app.kubernetes.io/part-of": "bookinfo"}},
        "spec": {
            "target": target,
            "strategy": {"testingPattern": "Canary", "weights": {"maxCandidateWeight": 50}},
            "versionInfo": {
                "baseline": {"name": "stable", "workload": {"name": "productpage"}, "destination": {"subset": "stable"}},
                "candidates": [{"name": "candidate", "workload": {"name": "productpage-candidate"}, "destination": {"subset": "candidate"}}]},
            "traffic": {"virtualService": "bookinfo", "routes": ["productpage"]},
            "criteria": {"objectives": [
                {"metric": "istio/error-rate", "upperLimit": "1%"},
                {"metric": "istio/error-rate", "upperLimit": "2%"}]},
            "analysis": {"interval": "10s", "warmUp": "30s", "soak": "60s", "deadline": "1h"}
        }
    })
}

/// A plan that gives a status of the usual size.
fn plan() -> reiter8::engine::Plan {
    use reiter8::engine::{AutoMerge, Gitops, Handover, Identity, Plan, Version, WhileWaiting};
    let seconds = SignedDuration::from_secs;
    Plan {
        identity: Identity { namespace: "shop".into(), name: "x".into(), uid: "u".into(), target: "shop/x".into() },
        baseline: Version { name: "stable".into(), workload: "productpage".into() },
        candidates: vec![Version { name: "candidate".into(), workload: "productpage-candidate".into() }],
        gitops: Some(Gitops {
            base_branch: "main".into(),
            stale_after: seconds(14 * 86400),
            waiting: WhileWaiting::Hold,
            handover: Handover::TwoPullRequests,
            auto_merge: AutoMerge::default(),
            drain: seconds(30),
        }),
        ..trial::plan([0.01, 0.02].map(criterion).into())
    }
}

fn criterion(limit: f64) -> Criterion {
    Criterion { metric: "istio/error-rate".into(), source: 0, candidate: 0, rule: Rule::Share { limit } }
}

/// What an experiment remembers after an hour of two criteria, with its requests.
fn progress(phase: Phase, request: u64) -> anyhow::Result<Progress> {
    let now = Timestamp::now();
    let ago = |seconds: i64| now - SignedDuration::from_secs(seconds);
    let mut evidence: Vec<_> = [0.01, 0.02].map(|limit| Evidence::start(&criterion(limit), &[], 720)).into();
    for _ in 0..100 {
        let pair = Pair::requests(Tally { requests: 517.0, bad: 1.0 }, Tally { requests: 517.0, bad: 1.0 });
        for e in &mut evidence {
            e.update(&pair, true);
        }
    }
    let row = |limit: f64| Row {
        metric: "istio/error-rate".into(),
        candidate: None,
        rule: Rule::Share { limit },
        limit,
        requests: 51_700.0,
        bad: 100.0,
        estimate: Some(0.001_934_236),
        interval: Some((0.001_234_567, 0.002_345_678)),
        fail: 0.012_345,
        pass: 123.456_789,
        needed_fail: 40.0,
        needed_pass: 20.0,
        verdict: Verdict::Pass,
    };
    let work = StageWork {
        base: CommitId("b".repeat(40)),
        commit: CommitId("a".repeat(40)),
        files: vec!["change apps/productpage/productpage.yaml".into()],
        after: [("apps/productpage/productpage.yaml".into(), Some("d".repeat(40)))].into(),
    };
    let stage = |stage: Stage, state: StageState| {
        let merged = (state == StageState::Done).then(|| CommitId("c".repeat(40)));
        let url = "https://git.example.com/platform/environment/pulls/1";
        json!({"stage": stage, "state": state, "since": ago(20), "opened": ago(20), "work": work, "number": request,
            "url": url, "merged": merged})
    };
    let stages = match phase {
        Phase::Completed => vec![stage(Stage::Promote, StageState::Done), stage(Stage::CleanUp, StageState::Waiting)],
        _ => vec![stage(Stage::Promote, StageState::Waiting)],
    };
    let blobs = ["productpage.yaml", "productpage-candidate.yaml", "experiment.yaml"];
    let preflight = Preflight {
        base: CommitId("b".repeat(40)),
        blobs: blobs.map(|f| (format!("apps/productpage/{f}"), "d".repeat(40))).into(),
    };
    let decision = Decision {
        sentence: "both criteria passed at 50 %: istio/error-rate at most 1 %, istio/error-rate at most 2 %".into(),
        at: ago(30),
        rows: vec![row(0.01), row(0.02)],
        baseline_images: vec!["example.com/app:1".into()],
        candidate_images: vec!["example.com/app:2".into()],
        ..trial::decision(Outcome::Promote, Reason::Proven)
    };
    // What is completed has settled.
    let since = ago(if phase == Phase::Completed { 3600 } else { 30 });
    Ok(serde_json::from_value(json!({
        "phase": phase,
        "since": since,
        "preflight": preflight,
        "weight": 50,
        "carried": Split::one(50),
        "applied": ago(600),
        "firstTraffic": ago(3600),
        "looked": ago(40),
        "intervals": 100,
        "rate": 51.7,
        "evidence": evidence,
        "decision": decision,
        "stages": stages,
    }))?)
}
