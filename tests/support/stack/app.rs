//! The commands of `hack/stack`.

use std::path::PathBuf;

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
    /// Run Reiter8 on the stack and start the sample experiment there, as CI would
    Sample {
        /// Share of the candidate's requests that fail
        #[arg(long, default_value = "0")]
        errors: String,
        /// Requests per second that are sent through the gateway until Ctrl-C
        #[arg(long, default_value_t = 50)]
        rps: u32,
    },
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
        Command::Sample { errors, rps } => runtime()?.block_on(sample(cli.dir, &errors, rps)),
        Command::Node { kubeconfig } => runtime()?.block_on(async move {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
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
    let root = env!("CARGO_MANIFEST_DIR");
    format!(
        "The stack runs since {:.1} s of starting; its logs are in {dir}/log.\n\
         Kubernetes  export KUBECONFIG={}; {}/kubectl get all -A\n\
         Gateway     http://127.0.0.1:{port} for a Gateway with `port: {{number: {port}}}` and `bind: 127.0.0.1`\n\
         Envoy       http://127.0.0.1:{}\n\
         Prometheus  {}\n\
         Gitea       {}  users bot and reviewer, password only-for-tests; tokens in {dir}/stack.json\n\
         Argo CD     Applications in namespace argocd\n\
         Reiter8     {root}/target/debug/reiter8 run --prometheus-url {} --allow-http-host 127.0.0.1 --listen 127.0.0.1:8080\n\
         Sample      hack/stack sample; with a bad candidate: hack/stack sample --errors 0.05\n\
         Stop it     hack/stack down\n",
        e.seconds,
        e.kubeconfig.display(),
        site.bin.display(),
        e.envoy_admin_port,
        e.prometheus_url,
        e.gitea_url,
        e.prometheus_url,
        port = e.gateway_port,
        dir = site.dir.display(),
    )
}

/// Everything of the loop but the reviewer, who is the reader: prints where to merge, and what the status says.
async fn sample(dir: PathBuf, errors: &str, rps: u32) -> anyhow::Result<()> {
    let endpoints = stack::endpoints(&dir)?;
    let site = Site { dir, bin: stack::binaries(), node: std::env::current_exe()? };
    // Stopped by `hack/stack down`, like everything else.
    let stack = std::mem::ManuallyDrop::new(Stack { site, endpoints });
    let binary = std::env::current_exe()?.with_file_name("../reiter8");
    let _controller = std::mem::ManuallyDrop::new(stack.controller(&binary)?);
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

fn status(dir: &std::path::Path, json: bool) -> anyhow::Result<()> {
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
