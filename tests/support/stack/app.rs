//! The commands of `hack/stack`.

use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::stack::load::Load;
use crate::stack::trial::{Candidate, Stack, Trial};
use crate::stack::{self, Endpoints, Site, node, pod};

/// Real kube-apiserver, istiod, Envoy, Prometheus, Gitea and Argo CD as plain processes
#[derive(Parser)]
#[command(
    name = "hack/stack",
    after_help = "Examples:\n  hack/stack up\n  hack/stack status -o json\n  hack/stack down\n\n\
    Exit codes: 0 done (status: everything runs), 1 failed (status: something does not run), 2 wrong arguments."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Folder of the stack: its data, logs and stack.json
    #[arg(long, global = true, env = "REITER8_STACK", default_value_os_t = default_dir())]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything that does not run yet, and say how to reach it
    Up,
    /// Stop everything and remove its data
    Down,
    /// Say what runs
    Status {
        /// `json` prints one document
        #[arg(short, long)]
        output: Option<String>,
    },
    /// Print what a shell needs to use the stack: `eval "$(hack/stack env)"`
    Env,
    /// Grant what the chart grants, and run the controller on the stack with these rights, until `down`
    Controller,
    /// Send requests through the gateway, until `down`
    Load {
        /// The virtual host
        #[arg(long, default_value = "bookinfo.example.com")]
        host: String,
        /// Requests per second
        #[arg(long, default_value_t = 50)]
        rps: u32,
    },
    /// Say what became of the requests that `load` sent
    Requests,
    /// Run Reiter8 on the stack and start the sample experiment there, as CI would
    Sample {
        /// Share of the candidate's requests that fail
        #[arg(long, default_value = "0")]
        errors: String,
        /// Requests per second that are sent through the gateway until Ctrl-C
        #[arg(long, default_value_t = 50)]
        rps: u32,
    },
    /// Be the client (started by `load`)
    #[command(hide = true)]
    Client(Client),
    /// Be the node (started by `up`)
    #[command(hide = true)]
    Node {
        #[arg(long)]
        kubeconfig: PathBuf,
    },
    /// Be a pod (started by the node)
    #[command(hide = true)]
    Pod(pod::Args),
}

/// A client that goes on until it is stopped.
#[derive(Clone, Debug, clap::Args)]
struct Client {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    host: String,
    #[arg(long)]
    rps: u32,
    /// Where it keeps its counts
    #[arg(long)]
    counts: PathBuf,
}

fn default_dir() -> PathBuf {
    let user = std::fs::metadata("/proc/self").map_or(0, |own| std::os::unix::fs::MetadataExt::uid(&own));
    PathBuf::from(format!("/var/tmp/reiter8-stack-{user}"))
}

pub(crate) fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Command::Up => {
            let site = Site { dir: cli.dir, bin: stack::binaries(), node: std::env::current_exe()? };
            let endpoints = stack::up(&site, &|line| eprintln!("{line}"))?;
            print!("{}", reach(&site, &endpoints));
            Ok(())
        }
        Command::Down => {
            println!("stopped {} processes", stack::down(&cli.dir)?);
            Ok(())
        }
        Command::Status { output } => status(&cli.dir, output.as_deref() == Some("json")),
        Command::Env => {
            print!("{}", environment(&cli.dir)?);
            Ok(())
        }
        Command::Controller => controller(cli.dir),
        Command::Load { host, rps } => load(cli.dir, &host, rps),
        Command::Requests => requests(&cli.dir),
        Command::Client(client) => runtime()?.block_on(send(client)),
        Command::Sample { errors, rps } => runtime()?.block_on(sample(cli.dir, &errors, rps)),
        Command::Node { kubeconfig } => runtime()?.block_on(async move {
            reiter8::http::install_provider();
            let config = kube::config::Kubeconfig::read_from(kubeconfig)?;
            let config =
                kube::Config::from_custom_kubeconfig(config, &kube::config::KubeConfigOptions::default()).await?;
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            node::node(kube::Client::try_from(config)?, std::env::current_exe()?, async move {
                term.recv().await;
            })
            .await
        }),
        Command::Pod(args) => runtime()?.block_on(pod::pod(args)),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn reach(site: &Site, e: &Endpoints) -> String {
    format!(
        "The stack runs since {:.1} s of starting; its logs are in {dir}/log.\n\
         Kubernetes  {}/kubectl --kubeconfig {} get all -A\n\
         Gateway     http://127.0.0.1:{port} for a Gateway with `port: {{number: {port}}}` and `bind: 127.0.0.1`\n\
         Envoy       http://127.0.0.1:{}\n\
         Prometheus  {}\n\
         Gitea       {}  users bot and reviewer, password only-for-tests; tokens in {dir}/stack.json\n\
         Argo CD     Applications in namespace argocd\n\
         Shell       eval \"$(hack/stack env)\"; docs/tutorial.md goes on from here\n\
         Reiter8     hack/stack controller; hack/stack load sends requests\n\
         Sample      hack/stack sample; with a bad candidate: hack/stack sample --errors 0.05\n\
         Stop it     hack/stack down\n",
        e.seconds,
        site.bin.display(),
        e.kubeconfig.display(),
        e.envoy_admin_port,
        e.prometheus_url,
        e.gitea_url,
        port = e.gateway_port,
        dir = site.dir.display(),
    )
}

/// Assignments for a shell.
fn environment(dir: &Path) -> anyhow::Result<String> {
    let e = stack::endpoints(dir)?;
    let programs = std::env::current_exe()?;
    let programs = programs.parent().and_then(Path::parent).context("a program in target/debug/examples")?;
    let path = format!("{}:{}", programs.display(), stack::binaries().display());
    let variables = [
        ("REITER8_STACK", dir.display().to_string()),
        ("KUBECONFIG", e.kubeconfig.display().to_string()),
        ("GATEWAY_PORT", e.gateway_port.to_string()),
        ("PROMETHEUS", e.prometheus_url),
        ("GITEA", e.gitea_url),
        ("BOT_TOKEN", e.bot_token),
        ("REVIEWER_TOKEN", e.reviewer_token),
    ];
    let lines = variables.map(|(name, value)| format!("export {name}={}\n", quoted(&value)));
    Ok(format!("{}export PATH={}:\"$PATH\"\n", lines.concat(), quoted(&path)))
}

/// A word that no shell changes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The stack in a folder, left running when this command ends.
fn running(dir: PathBuf) -> anyhow::Result<ManuallyDrop<Stack>> {
    let endpoints = stack::endpoints(&dir)?;
    let site = Site { dir, bin: stack::binaries(), node: std::env::current_exe()? };
    Ok(ManuallyDrop::new(Stack { site, endpoints }))
}

/// The process of this name, if it runs.
fn found(stack: &Stack, name: &str) -> Option<stack::process::Process> {
    stack.part(name).ok().filter(stack::process::Process::alive)
}

/// The binary that belongs to this program.
fn reiter8() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("../reiter8"))
}

fn controller(dir: PathBuf) -> anyhow::Result<()> {
    let stack = running(dir)?;
    if found(&stack, "reiter8").is_none() {
        let _ = ManuallyDrop::new(stack.controller(&reiter8()?)?);
    }
    let process = found(&stack, "reiter8").context("the controller ended")?;
    println!("Reiter8 is ready at http://127.0.0.1:{}/readyz; its log is {}", process.port, process.log.display());
    Ok(())
}

/// Where the client keeps its counts.
fn counts(dir: &Path) -> PathBuf {
    dir.join("requests.json")
}

fn load(dir: PathBuf, host: &str, rps: u32) -> anyhow::Result<()> {
    let stack = running(dir)?;
    anyhow::ensure!(found(&stack, "client").is_none(), "requests are sent already; `hack/stack requests` counts them");
    let counts = counts(&stack.site.dir);
    if counts.exists() {
        std::fs::remove_file(&counts)?;
    }
    let mut command = std::process::Command::new(&stack.site.node);
    command.args(["client", "--host", host, "--address", &stack.gateway().to_string(), "--rps", &rps.to_string()]);
    let process = stack.site.spawn("client", 0, command.arg("--counts").arg(&counts))?;
    process.wait(std::time::Duration::from_secs(30), || counts.exists())?;
    println!("sending {rps} requests a second to {host}; `hack/stack requests` counts them");
    Ok(())
}

/// Sends for ever, and keeps the file of counts up to date.
async fn send(client: Client) -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let load = Load::start(client.address, &client.host, client.rps);
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        ticks.tick().await;
        let counts = load.since(began);
        let seconds = began.elapsed().as_secs();
        let (failed, first) = (counts.failed(), counts.failures);
        let document = serde_json::json!({"seconds": seconds, "sent": counts.sent, "failed": failed, "first": first});
        let new = client.counts.with_extension("new");
        std::fs::write(&new, document.to_string())?;
        std::fs::rename(new, &client.counts)?;
    }
}

fn requests(dir: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(counts(dir)).context("no requests were sent; start with `hack/stack load`")?;
    let document: serde_json::Value = serde_json::from_slice(&text)?;
    let number = |name: &str| document.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    println!("{} requests in {} s, {} failed", number("sent"), number("seconds"), number("failed"));
    for failure in document.get("first").and_then(serde_json::Value::as_array).into_iter().flatten().take(3) {
        println!("  {}", failure.as_str().unwrap_or_default());
    }
    Ok(())
}

/// Everything of the loop but the reviewer, who is the reader: prints where to merge, and what the status says.
async fn sample(dir: PathBuf, errors: &str, rps: u32) -> anyhow::Result<()> {
    // Stopped by `hack/stack down`, like everything else.
    let stack = running(dir)?;
    let _controller = ManuallyDrop::new(stack.controller(&reiter8()?)?);
    let trial = Trial::new(&stack, "bookinfo").await?;
    let load = Load::start(stack.gateway(), &trial.host, rps);
    trial.start(&Candidate { error_rate: errors.to_owned() }).await?;
    println!(
        "CI committed a candidate and its Experiment to {}\n\
         sign in there as reviewer, password only-for-tests, and merge the requests that Reiter8 opens; Ctrl-C ends this",
        trial.forge.clone_url()
    );
    let mut said = String::new();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            () = tokio::time::sleep(std::time::Duration::from_millis(500)) => {}
        }
        let status = trial.get().await?.and_then(|e| e.status).unwrap_or_default();
        let weights: Vec<String> = status.weights.iter().map(|w| format!("{} {} %", w.name, w.value)).collect();
        let now = format!(
            "{:<10} {}  {}",
            status.phase.unwrap_or_default(),
            weights.join(", "),
            status.message.unwrap_or_default()
        );
        if now != said {
            println!("{now}");
            said = now;
        }
    }
    let counts = load.stop().await;
    println!("{} requests sent, {} failed", counts.sent, counts.failed());
    Ok(())
}

fn status(dir: &Path, json: bool) -> anyhow::Result<()> {
    let processes = stack::processes(dir);
    let rows: Vec<_> = processes
        .iter()
        .map(|p| serde_json::json!({"name": p.name, "running": p.alive(), "pid": p.pid, "port": p.port, "rssMiB": p.rss(), "log": p.log}))
        .collect();
    if json {
        println!("{}", serde_json::json!({"dir": dir, "parts": rows}));
    } else {
        for p in &processes {
            let state = if p.alive() { "running" } else { "gone" };
            println!("{:<30} {state:<8} pid {:<8} port {:<6} {:>4} MiB", p.name, p.pid, p.port, p.rss());
        }
    }
    anyhow::ensure!(!processes.is_empty(), "no stack in {}; start it with `hack/stack up`", dir.display());
    anyhow::ensure!(
        processes.iter().all(stack::process::Process::alive),
        "some parts do not run; see the logs in {}/log",
        dir.display()
    );
    Ok(())
}
