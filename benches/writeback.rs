//! What the write-back costs on large environment repositories: time from the verdict to the open request, bytes fetched,
//! and memory.
//!
//! Starts a real Gitea (`hack/parts/build gitea` makes it) with a repository of 10, 1 000 and 20 000 files and some history. For
//! each of them a process of its own carries two experiments from their verdicts to their open requests with the product's
//! engine and write-back: the first one has to clone the repository, the second one finds the clone. Beside that, in the same
//! run, `git clone --depth 1` of the same repository. Not a test: nothing here fails for being slow.
//!
//! `cargo bench --bench writeback` (the release profile), or with `--profile dev`, which is built already.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs)]

#[allow(dead_code, unreachable_pub)] // Each program uses a part of it.
#[path = "../tests/support"]
mod support {
    pub(crate) mod gitops;
    pub(crate) mod life;
    pub(crate) mod stack;
}

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use reiter8::engine::{Handover, Outcome, Preflight, Unavailable};
use reiter8::gitops::plan::Spec;
use reiter8::gitops::repository::Clones;
use serde::{Deserialize, Serialize};
use support::gitops::{self, APP, fixture, spec};
use support::life::Life;
use support::life::proxy::Proxy;
use support::stack::gitea::{Gitea, Server};
use support::stack::parts;

/// Aims of the project at the largest size.
const AIM: (f64, f64) = (3.0, 64.0);
/// Commits after the first one, and the files that each of them changes.
const HISTORY: (usize, usize) = (50, 20);
/// Manifests of one application, and applications of one team.
const LAYOUT: (usize, usize) = (10, 40);
/// Where a child finds the server's token.
const TOKEN: &str = "REITER8_BENCH_TOKEN";
/// Turns that a write-back may take.
const TURNS: usize = 50;

#[derive(Parser)]
struct Args {
    /// Numbers of files
    #[arg(long, value_delimiter = ',', default_value = "10,1000,20000")]
    files: Vec<usize>,
    /// The child of one measurement: what it has to do, as JSON
    #[arg(long, hide = true)]
    child: Option<String>,
    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long)]
    bench: bool,
}

/// What a child has to do.
#[derive(Serialize, Deserialize)]
struct Task {
    url: String,
    /// What the two experiments saw when they began.
    preflights: [Preflight; 2],
}

/// What it measured. Memory in KiB.
#[derive(Serialize, Deserialize)]
struct Measured {
    /// Seconds of the first experiment, which clones, and of the second one.
    seconds: [f64; 2],
    /// Seconds of those that this process had a core.
    busy: [f64; 2],
    /// Memory before, and its peak after each.
    memory: [u64; 3],
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(task) = &args.child {
        let measured = write_back(&serde_json::from_str(task)?).await?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    if !args.bench {
        println!("nothing measured; run `cargo bench --bench writeback`");
        return Ok(());
    }
    let server = Server::start("writeback")?;
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("from the verdict to the open request, Gitea on loopback, profile {profile}");
    for files in args.files {
        measure(&server, files).await?;
    }
    Ok(())
}

async fn measure(server: &Server, files: usize) -> anyhow::Result<()> {
    let forge = repository(server, files).await?;
    let proxy = Proxy::counting(&server.url).await?;
    let near = proxy.before(&forge.clone_url());
    // One clone of each kind through the proxy for its bytes, and one without it for time and memory.
    git_clone(&near, server)?;
    let git_bytes = proxy.bytes().1;
    // As the experiments saw the repository when they began; each with a clone of its own, which is gone afterwards.
    let begun = [began(&forge.clone_url(), &server.bot, 0).await?, began(&forge.clone_url(), &server.bot, 1).await?];
    let counting = Proxy::counting(&server.url).await?;
    let through = child(&Task { url: counting.before(&forge.clone_url()), preflights: begun.clone() }, server).await?;
    let through: f64 = through.seconds.iter().sum();
    let (own_bytes, calls) = (counting.bytes().1, counting.requests().len());
    let waited: f64 = counting.took().iter().map(|(_, took)| took.as_secs_f64()).sum();
    let forge = repository(server, files + 1).await?;
    let begun = [began(&forge.clone_url(), &server.bot, 0).await?, began(&forge.clone_url(), &server.bot, 1).await?];
    let git_seconds = git_clone(&forge.clone_url(), server)?;
    let Measured { seconds, busy, memory } = child(&Task { url: forge.clone_url(), preflights: begun }, server).await?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("\n{files} files");
    println!(
        "  with a new clone {:.2} s, {:.1} of git clone --depth 1 ({git_seconds:.2} s); with a kept one {:.2} s",
        seconds[0],
        seconds[0] / git_seconds,
        seconds[1]
    );
    println!("  of that the process had a core for {:.2} s and {:.2} s", busy[0], busy[1]);
    println!("  of both through a counting proxy {:.0} % is the wait for Gitea's answers", 100.0 * waited / through);
    println!(
        "  {:.2} MiB received in {calls} calls for both, {:.2} of git clone --depth 1 ({:.2} MiB)",
        own_bytes as f64 / 1_048_576.0,
        own_bytes as f64 / git_bytes as f64,
        git_bytes as f64 / 1_048_576.0
    );
    println!(
        "  memory of the process {:.1} MiB before, peak {:.1} MiB with the new clone, {:.1} MiB after the second",
        mib(memory[0]),
        mib(memory[1]),
        mib(memory[2])
    );
    if files >= 20_000 {
        let kept = |holds: bool| if holds { "kept" } else { "MISSED" };
        println!(
            "  aim {} s: {}; aim {} MiB: {}",
            AIM.0,
            kept(seconds[0] <= AIM.0),
            AIM.1,
            kept(mib(memory[1]) <= AIM.1)
        );
    }
    Ok(())
}

/// The experiments of the repository: each has a directory.
fn service(i: usize) -> String {
    format!("productpage-{i}")
}

fn renamed(text: &str, i: usize) -> String {
    text.replace("productpage", &service(i))
}

fn asked(i: usize) -> Spec {
    let spec = spec();
    let mut renamed_spec =
        Spec { path: renamed(&spec.path, i), from: renamed(&spec.from, i), to: renamed(&spec.to, i), ..spec };
    for name in [&mut renamed_spec.name, &mut renamed_spec.baseline.name, &mut renamed_spec.candidate.name] {
        *name = renamed(name, i);
    }
    renamed_spec
}

/// What an experiment sees of the repository when it begins.
async fn began(url: &str, token: &str, i: usize) -> anyhow::Result<Preflight> {
    let life = Life::about((url, token), asked(i), Outcome::Promote, Handover::TwoPullRequests).map_err(said)?;
    life.rehearsed().await.map_err(said)?.progress().preflight.context("a rehearsal")
}

// As `map_err` wants it.
#[allow(clippy::needless_pass_by_value)]
fn said(u: Unavailable) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", u.cause, u.message)
}

/// Runs a task in a process of its own.
async fn child(task: &Task, server: &Server) -> anyhow::Result<Measured> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    let output = command.args(["--child", &serde_json::to_string(task)?]).env(TOKEN, &server.bot).output().await?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Both experiments, one after the other, on clones as the controller shares them.
async fn write_back(task: &Task) -> anyhow::Result<Measured> {
    let (token, clones) = (std::env::var(TOKEN)?, Clones::default());
    let (mut seconds, mut busy, mut memory) = ([0.0; 2], [0.0; 2], [peak()?; 3]);
    for (i, preflight) in task.preflights.iter().enumerate() {
        let life =
            Life::about((&task.url, &token), asked(i), Outcome::Promote, Handover::TwoPullRequests).map_err(said)?;
        let life = life.sharing(&clones).began_with(preflight.clone());
        let (began, before) = (Instant::now(), on_a_core()?);
        for turn in 0.. {
            anyhow::ensure!(turn < TURNS, "{}", life.place());
            life.turn().await.map_err(said)?;
            if life.number().is_some() {
                break;
            }
        }
        (seconds[i], memory[i + 1]) = (began.elapsed().as_secs_f64(), peak()?);
        busy[i] = on_a_core()? - before;
    }
    Ok(Measured { seconds, busy, memory })
}

/// The largest resident memory of this process so far, KiB.
fn peak() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("a line of /proc/self/status")?;
    line.split_whitespace().next().and_then(|n| n.parse().ok()).context("a number of KiB")
}

/// Seconds that this process had a core so far, in all its threads.
fn on_a_core() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name, in parentheses, may have spaces; utime and stime are fields 14 and 15, in hundredths on every Linux.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).context("a number of ticks");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// What git itself takes to fetch as much, seconds.
fn git_clone(url: &str, server: &Server) -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let began = Instant::now();
    git(dir.path(), &server.bot, &["clone", "--quiet", "--bare", "--depth", "1", "--branch", "main", url, "."])?;
    Ok(began.elapsed().as_secs_f64())
}

fn git(dir: &Path, token: &str, args: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args);
    // By the environment: arguments are for everybody to see.
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "http.extraHeader");
    command.env("GIT_CONFIG_VALUE_0", format!("Authorization: token {token}"));
    parts::run(&mut command)?;
    Ok(())
}

/// A repository of so many files with a history, by one push.
async fn repository(server: &Server, files: usize) -> anyhow::Result<Gitea> {
    let forge = Gitea::new(&server.url, &server.bot, &format!("environment-{files}"));
    forge.create().await?;
    let dir = tempfile::tempdir()?;
    let bare = git2::Repository::init_bare(dir.path())?;
    let mut tree: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for i in 0..2 {
        for (path, content) in [fixture("before"), fixture("started")].into_iter().flatten() {
            tree.insert(renamed(&path, i), renamed(&String::from_utf8(content)?, i).into_bytes());
        }
    }
    assert!(tree.keys().all(|path| path.starts_with(&renamed(APP, 0)) || path.starts_with(&renamed(APP, 1))));
    let others: Vec<String> = (tree.len()..files).map(other).collect();
    tree.extend(others.iter().enumerate().map(|(n, path)| (path.clone(), manifest(n, 0))));
    gitops::commit(&bare, "main", "The environment", &tree);
    for commit in 1..=HISTORY.0 {
        let changed = (0..HISTORY.1).filter_map(|i| {
            let n = (commit * 7919 + i * 104_729) % others.len().max(1);
            others.get(n).map(|path| (path.clone(), manifest(n, commit)))
        });
        gitops::commit(&bare, "main", &format!("Release {commit}"), &changed.collect());
    }
    git(dir.path(), &server.bot, &["push", "--quiet", "--force", &forge.clone_url(), "refs/heads/main"])?;
    Ok(forge)
}

/// Where the n-th manifest of others is.
fn other(n: usize) -> String {
    let application = n / LAYOUT.0;
    format!("teams/team-{:02}/app-{application:04}/manifest-{}.yaml", application / LAYOUT.1, n % LAYOUT.0)
}

/// Its content at some release: of a usual length, and nobody else's.
fn manifest(n: usize, release: usize) -> Vec<u8> {
    let digest = |salt: &str| {
        use sha2::Digest as _;
        sha2::Sha256::digest(format!("{salt}-{n}-{release}"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let environment: String = (0..n % 12)
        .map(|i| format!("        - name: SETTING_{i}\n          value: \"{}\"\n", &digest(&i.to_string())[..24]))
        .collect();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-{n}\n  labels:\n    app.kubernetes.io/name: app-{n}\n    app.kubernetes.io/version: v1.{release}.0\nspec:\n  replicas: {}\n  selector:\n    matchLabels:\n      app: app-{n}\n  template:\n    metadata:\n      labels:\n        app: app-{n}\n    spec:\n      containers:\n      - name: app\n        image: registry.example.com/team/app-{n}@sha256:{}\n        env:\n{environment}        ports:\n        - containerPort: 8080\n        resources:\n          limits: {{cpu: 500m, memory: 256Mi}}\n",
        n % 5 + 1,
        digest("image"),
    )
    .into_bytes()
}
