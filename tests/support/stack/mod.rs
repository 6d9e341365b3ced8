//! The real parts as plain processes, for people (`hack/stack`) and for tests.
//!
//! [`up`] starts everything in a folder and writes `stack.json` there, [`down`] stops what that folder lists. Tests use
//! [`Stack`], which does both.

pub mod gitea;
pub mod load;
pub mod node;
pub mod parts;
pub mod pod;
pub mod process;
pub mod rivals;
pub mod scene;
pub mod trial;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use process::Process;

/// Where a stack is and what it is made of.
pub struct Site {
    pub dir: PathBuf,
    /// The folder of the parts' programs.
    pub bin: PathBuf,
    /// The program of the node and its pods.
    pub node: PathBuf,
}

/// How to reach the parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    pub kubeconfig: PathBuf,
    pub server: String,
    pub certificate_authority: PathBuf,
    /// Where Envoy listens for a Gateway with this port.
    pub gateway_port: u16,
    pub envoy_admin_port: u16,
    pub prometheus_url: String,
    pub gitea_url: String,
    pub bot_token: String,
    pub reviewer_token: String,
    /// Seconds of the start.
    pub seconds: f64,
}

/// Starts everything; what is running already is left as it is.
pub fn up(site: &Site, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Endpoints> {
    if let Ok(endpoints) = endpoints(&site.dir) {
        if processes(&site.dir).iter().all(Process::alive) {
            return Ok(endpoints);
        }
        say("parts of an earlier start are gone; starting anew");
        down(&site.dir)?;
    }
    let began = Instant::now();
    // Between the choice of a port and its use another program may take it: one more try, with other ports.
    let endpoints = attempt(site, say, began).or_else(|error| {
        say(&format!("the start failed, trying once more: {error:#}"));
        attempt(site, say, began)
    })?;
    fs::write(site.dir.join("stack.json"), serde_json::to_vec_pretty(&endpoints)?)?;
    Ok(endpoints)
}

/// Starts everything in an empty folder; what runs is stopped if something does not.
fn attempt(site: &Site, say: &(dyn Fn(&str) + Sync), began: Instant) -> anyhow::Result<Endpoints> {
    claim(&site.dir)?;
    start(site, say, began).inspect_err(|_| {
        stop(&site.dir);
    })
}

/// The file that tells a stack's folder from any other.
const MARK: &str = ".reiter8-stack";

/// Makes a folder the stack's, empty but for the mark. A folder with other things in it is refused, never emptied.
fn claim(dir: &Path) -> anyhow::Result<()> {
    let empty = fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    let ours = dir.join(MARK).exists() || dir.join("processes").exists();
    anyhow::ensure!(empty || ours, "{} holds other things; give a folder that is new or empty", dir.display());
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("failed to empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    fs::write(dir.join(MARK), "").with_context(|| format!("failed to mark {}", dir.display()))
}

fn start(site: &Site, say: &(dyn Fn(&str) + Sync), began: Instant) -> anyhow::Result<Endpoints> {
    let ready = &|part: &str| say(&format!("{part} ready after {:.1} s", began.elapsed().as_secs_f64()));
    std::thread::scope(|scope| {
        let gitea = scope.spawn(|| parts::gitea(site).inspect(|_| ready("Gitea")));
        let kube = Arc::new(parts::kube(site)?);
        ready("kube-apiserver");
        parts::controllers(site, &kube)?;
        ready("kube-controller-manager");
        let (for_argocd, for_node) = (Arc::clone(&kube), Arc::clone(&kube));
        let argocd = scope.spawn(move || parts::argocd(site, &for_argocd).inspect(|()| ready("Argo CD")));
        let node = scope.spawn(move || parts::node(site, &for_node).inspect(|()| ready("node")));
        let (gateway_port, envoy_admin_port) = parts::mesh(site, &kube)?;
        ready("istiod and Envoy");
        let prometheus = parts::prometheus(site, envoy_admin_port)?;
        ready("Prometheus");
        let (gitea, bot_token, reviewer_token) = joined(gitea)?;
        joined(argocd)?;
        joined(node)?;
        Ok(Endpoints {
            certificate_authority: site.dir.join("kube/certs/apiserver.crt"),
            kubeconfig: kube.kubeconfig.clone(),
            server: kube.server.clone(),
            gateway_port,
            envoy_admin_port,
            prometheus_url: format!("http://127.0.0.1:{prometheus}"),
            gitea_url: format!("http://127.0.0.1:{gitea}"),
            bot_token,
            reviewer_token,
            seconds: began.elapsed().as_secs_f64(),
        })
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a starting thread panicked")))
}

/// What a folder's stack is reached by.
pub fn endpoints(dir: &Path) -> anyhow::Result<Endpoints> {
    let file = dir.join("stack.json");
    let text =
        fs::read(&file).with_context(|| format!("no stack in {}; start it with `hack/stack up`", dir.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// The processes that a folder's stack was started with, in that order.
pub fn processes(dir: &Path) -> Vec<Process> {
    let notes = fs::read_to_string(dir.join("processes")).unwrap_or_default();
    notes.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Stops a folder's stack, the last started first, and removes the folder.
pub fn down(dir: &Path) -> anyhow::Result<usize> {
    let stopped = stop(dir);
    if dir.join(MARK).exists() || dir.join("processes").exists() {
        fs::remove_dir_all(dir).with_context(|| format!("failed to remove {}", dir.display()))?;
    }
    Ok(stopped)
}

fn stop(dir: &Path) -> usize {
    let processes = processes(dir);
    for process in processes.iter().rev().filter(|p| p.alive()) {
        // The node ends its pods; nothing else has anything to finish: the data go with the folder.
        let patience = if process.name == "node" { Duration::from_secs(5) } else { Duration::ZERO };
        process.stop(patience);
    }
    processes.len()
}

/// The folder of the parts' programs, as `hack/parts/build` leaves it.
pub fn binaries() -> PathBuf {
    let cache = std::env::var_os("REITER8_CACHE").map(PathBuf::from);
    cache.unwrap_or_else(|| if is_root() { "/var/cache/reiter8".into() } else { home_cache() }).join("bin")
}

fn home_cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache")).join("reiter8")
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}
