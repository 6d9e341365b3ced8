//! A small node: what a kubelet does for the Pods that the real ReplicaSet controller makes, with processes for
//! containers.
//!
//! Binds Pods, gives each a loopback address of its own, runs its server, reports what is true, and at the
//! deletionTimestamp runs `preStop`, sends SIGTERM, waits for the grace period, kills, and lets the Pod go. Nothing
//! politer than a kubelet: a Pod stays Ready while it terminates, and its endpoint goes because it is terminating.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

/// Name of the only node.
const NODE: &str = "node-1";
/// An image that never becomes ready, for candidates that must not.
const NEVER_READY: &str = "reiter8.dev/never-ready";
/// Images with this end of their name fail a tenth of their requests, for candidates that look like any other.
const BROKEN: &str = "-broken";
/// The port of a container that names none.
const PORT: i32 = 9080;

struct Host {
    client: Client,
    /// The program that serves as a pod: this one.
    binary: PathBuf,
    /// Addresses that were given out.
    addresses: AtomicU32,
}

/// Runs the node until `stop` resolves; its pods end with it.
pub async fn node(client: Client, binary: PathBuf, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    match nodes.create(&PostParams::default(), &serde_json::from_value(object)?).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error).context("failed to create the Node"),
    }
    let host = Arc::new(Host { client: client.clone(), binary, addresses: AtomicU32::new(1) });
    let watched = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff().applied_objects();
    tokio::pin!(watched, stop);
    let mut pods: HashMap<String, watch::Sender<Pod>> = HashMap::new();
    loop {
        let pod = tokio::select! {
            () = &mut stop => return Ok(()),
            next = watched.next() => match next {
                Some(Ok(pod)) => pod,
                Some(Err(error)) => { eprintln!("watching pods: {error}"); continue }
                None => return Ok(()),
            },
        };
        pods.retain(|_, sender| !sender.is_closed());
        let uid = pod.uid().unwrap_or_default();
        if let Some(known) = pods.get(&uid) {
            let _ = known.send(pod);
            continue;
        }
        let (sender, newest) = watch::channel(pod);
        pods.insert(uid, sender);
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let run = Run::new(&host, &newest.borrow());
            let name = run.name.clone();
            if let Err(error) = run.live(newest).await {
                eprintln!("pod {name}: {error:#}");
            }
        });
    }
}

/// One pod from its binding to its end.
struct Run {
    api: Api<Pod>,
    binary: PathBuf,
    name: String,
    uid: String,
    address: Ipv4Addr,
    restarts: u32,
}

impl Run {
    fn new(host: &Host, pod: &Pod) -> Self {
        let known = pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()).and_then(|ip| ip.parse().ok());
        let next = || {
            let n = host.addresses.fetch_add(1, Ordering::Relaxed);
            // 127.20.0.0/16 to 127.219.0.0/16 by process, so that two stacks share no address; the last part is 1 to 250.
            let network = 20 + std::process::id() % 200;
            Ipv4Addr::from(0x7f00_0000 + network * 65_536 + (n / 250) * 256 + n % 250 + 1)
        };
        Self {
            api: Api::namespaced(host.client.clone(), &pod.namespace().unwrap_or_default()),
            binary: host.binary.clone(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            address: known.unwrap_or_else(next),
            restarts: 0,
        }
    }

    async fn live(mut self, mut newest: watch::Receiver<Pod>) -> anyhow::Result<()> {
        let pod = newest.borrow().clone();
        if pod.spec.as_ref().and_then(|s| s.node_name.as_ref()).is_none() {
            self.bind(&pod).await?;
        }
        let container = pod.spec.and_then(|s| s.containers.into_iter().next()).context("a pod without containers")?;
        // The pipe is held beside its process: waiting for a process closes a pipe that it still owns.
        let (mut child, mut pipe) = self.start(&container)?;
        let mut ready = false;
        self.report(&container, ready).await?;
        loop {
            let pod = newest.borrow_and_update().clone();
            if pod.metadata.deletion_timestamp.is_some() {
                return self.end(&container, pod, child, pipe).await;
            }
            tokio::select! {
                gone = newest.changed() => if gone.is_err() { return Ok(()) },
                _ = child.wait() => {
                    self.restarts += 1;
                    ready = false;
                    self.report(&container, ready).await?;
                    let delay = variable(&container, "RESTART_SECONDS").parse().unwrap_or(1);
                    tokio::time::sleep(Duration::from_secs(delay)).await;
                    (child, pipe) = self.start(&container)?;
                }
                () = tokio::time::sleep(Duration::from_millis(100)), if !ready => {
                    if self.answers(&container).await {
                        ready = true;
                        self.report(&container, ready).await?;
                    }
                }
            }
        }
    }

    async fn bind(&self, pod: &Pod) -> anyhow::Result<()> {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": self.name, "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE}});
        let params = PostParams::default();
        let bound: Result<serde_json::Value, _> =
            self.api.create_subresource("binding", &self.name, &params, &binding).await;
        match bound {
            Ok(_) => Ok(()),
            // Bound before a restart of the node.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            Err(error) => Err(error).context("failed to bind"),
        }
    }

    fn start(&self, container: &Container) -> anyhow::Result<(Child, Option<ChildStdin>)> {
        let address = format!("{}:{}", self.address, port(container));
        let mut command = Command::new(&self.binary);
        command.args(["pod", "--name", &self.name, "--address", &address]).stdin(Stdio::piped()).kill_on_drop(true);
        command.env("IMAGE", image(container));
        for variable in container.env.iter().flatten() {
            command.env(&variable.name, variable.value.clone().unwrap_or_default());
        }
        if image(container).ends_with(BROKEN) {
            command.env("ERROR_RATE", "0.1");
        }
        let mut child = command.spawn().context("failed to start the pod's process")?;
        let pipe = child.stdin.take();
        Ok((child, pipe))
    }

    /// The readiness probe.
    async fn answers(&self, container: &Container) -> bool {
        if image(container).starts_with(NEVER_READY) || variable(container, "READY") == "never" {
            return false;
        }
        if variable(container, "LISTEN") == "refuse" {
            return true;
        }
        tokio::net::TcpStream::connect((self.address, u16::try_from(port(container)).unwrap_or(0))).await.is_ok()
    }

    /// Writes the status as a kubelet would.
    async fn report(&self, container: &Container, ready: bool) -> anyhow::Result<()> {
        let truth = if ready { "True" } else { "False" };
        let now = Timestamp::now();
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastTransitionTime": now});
        let digest: String = Sha256::digest(image(container)).iter().map(|b| format!("{b:02x}")).collect();
        let status = json!({"metadata": {"uid": self.uid}, "status": {
            "phase": "Running", "hostIP": "127.0.0.1", "podIP": self.address.to_string(),
            "podIPs": [{"ip": self.address.to_string()}], "startTime": now,
            "conditions": [condition("PodScheduled", "True"), condition("Initialized", "True"),
                condition("ContainersReady", truth), condition("Ready", truth)],
            "containerStatuses": [{"name": container.name, "image": image(container), "imageID": format!("sha256:{digest}"),
                "ready": ready, "started": true, "restartCount": self.restarts, "state": {"running": {"startedAt": now}}}],
        }});
        match self.api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&status)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error).context("failed to report the status"),
        }
    }

    /// What a kubelet does at the deletionTimestamp.
    async fn end(
        self,
        container: &Container,
        pod: Pod,
        mut child: Child,
        pipe: Option<ChildStdin>,
    ) -> anyhow::Result<()> {
        let grace = u64::try_from(pod.metadata.deletion_grace_period_seconds.unwrap_or(30)).unwrap_or(30);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(grace);
        tokio::select! {
            () = tokio::time::sleep(pre_stop(container)) => {}
            () = tokio::time::sleep_until(deadline) => {}
            _ = child.wait() => {}
        }
        if let Some(pid) = child.id() {
            let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        }
        if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
        drop(pipe);
        let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self.api.delete(&self.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error).context("failed to let the pod go"),
        }
    }
}

fn variable(container: &Container, name: &str) -> String {
    container.env.iter().flatten().find(|v| v.name == name).and_then(|v| v.value.clone()).unwrap_or_default()
}

fn image(container: &Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

fn port(container: &Container) -> i32 {
    container.ports.iter().flatten().next().map_or(PORT, |p| p.container_port)
}

/// How long the container's `preStop` takes: `sleep`, or `exec` of a sleep.
fn pre_stop(container: &Container) -> Duration {
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return Duration::ZERO };
    let written = hook.exec.as_ref().and_then(|e| match e.command.as_deref() {
        Some([sleep, seconds]) if sleep == "sleep" => seconds.parse().ok(),
        _ => None,
    });
    let seconds = hook.sleep.as_ref().map(|s| s.seconds).or(written).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
