//! The commands against a real API server: describe, watch, assert, the verbs, and the kubectl plugin by kubectl.
//!
//! Starts etcd and kube-apiserver alone. No controller runs: what it would note in status, the test writes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::manifests;
use crate::support::stack;
use crate::support::stack::parts::{self, Kube};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_reiter8");
/// Patience with a command that has what it waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API server of its own.
struct Cluster {
    site: stack::Site,
    kube: Kube,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = stack::down(&self.site.dir);
    }
}

impl Cluster {
    fn start() -> Self {
        let dir = PathBuf::from(format!("/var/tmp/reiter8-test-cli-{}", std::process::id()));
        let site = stack::Site { dir, bin: stack::binaries(), node: "unused".into() };
        match parts::kube(&site) {
            Ok(kube) => Self { site, kube },
            Err(error) => {
                let _ = stack::down(&site.dir);
                panic!("{error:#}");
            }
        }
    }

    fn kubectl(&self, args: &[&str], input: Option<&str>) -> String {
        parts::kubectl(&self.site, &self.kube, args, input).unwrap()
    }

    /// The definitions, with the field that notes handled requests.
    fn define(&self) {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut definition: Value = serde_saphyr::from_str(&text).unwrap();
            let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
            if let Some(fields) = definition.pointer_mut(status).and_then(Value::as_object_mut) {
                let notes = json!({"type": "object", "additionalProperties": {"type": "string"}});
                fields.entry("handled").or_insert(notes);
            }
            self.kubectl(&["apply", "--server-side", "-f", "-"], Some(&definition.to_string()));
        }
        self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"], None);
        self.kubectl(&["create", "namespace", "shop"], None);
    }

    fn create(&self, name: &str) {
        let object = json!({
            "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "target": "shop/web",
                "strategy": {"testingPattern": "Canary"},
                "versionInfo": {
                    "baseline": {"name": "stable", "workload": {"name": "web"}, "destination": {"subset": "stable"}},
                    "candidates": [{"name": "candidate", "workload": {"name": "next"}, "destination": {"subset": "candidate"}}]},
                "traffic": {"virtualService": "web"},
                "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]},
            }
        });
        self.kubectl(&["apply", "-f", "-"], Some(&object.to_string()));
    }

    /// Writes status as the controller would.
    fn status(&self, name: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let args = ["patch", "experiment", name, "-n", "shop", "--subresource=status", "--type=merge", "-p", &patch];
        self.kubectl(&args, None);
    }

    fn get(&self, name: &str) -> Value {
        let args = ["get", "experiment", name, "-n", "shop", "-o", "json", "--show-managed-fields"];
        serde_json::from_str(&self.kubectl(&args, None)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).args(["-n", "shop"]).env("KUBECONFIG", &self.kube.kubeconfig);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::new(&self.command(args).output().unwrap())
    }

    fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn is(&self, code: i32, words: &[&str]) {
        let all = format!("{}{}", self.out, self.error);
        assert!(self.code == Some(code) && words.iter().all(|w| all.contains(w)), "{code} {words:?}: {self:?}");
    }
}

/// Waits for a command's end; it is killed if it does not come.
fn ended(mut child: Child) -> Said {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    Said::new(&child.wait_with_output().unwrap())
}

#[test]
fn the_commands_against_a_real_api_server() {
    let cluster = Cluster::start();
    cluster.run(&["describe", "web-1"]).is(1, &["has no Experiments", "reiter8 crds"]);
    cluster.define();
    check(&cluster);
    cluster.run(&["describe", "web-1"]).is(1, &["shop/web-1 was not found", "there is none in the namespace `shop`"]);
    cluster.create("web-1");
    absent(&cluster);
    describe(&cluster);
    plugin(&cluster);
    verbs(&cluster);
    assertions(&cluster);
    watch(&cluster);
}

/// The API server refuses what `check` says it refuses, and takes the rest.
fn check(cluster: &Cluster) {
    for namespace in ["bookinfo", "platform"] {
        cluster.kubectl(&["create", "namespace", namespace], None);
    }
    let applied = |file: &str, from: &str, to: &str| {
        let dir = manifests::changed(file, from, to);
        let path = dir.path().join(file);
        let args = ["apply", "--dry-run=server", "-f", path.to_str().unwrap()];
        parts::kubectl(&cluster.site, &cluster.kube, &args, None).err().map(|error| error.to_string())
    };
    let rows = |list: &'static [manifests::Row]| list.iter().filter(|(file, ..)| *file != manifests::ROUTING);
    for (file, from, to, ..) in rows(manifests::SHAPES) {
        assert!(applied(file, from, to).is_some(), "the API server takes {from} -> {to}");
    }
    for (file, from, to, ..) in rows(manifests::RULES).chain(rows(manifests::NAMES)) {
        assert_eq!(applied(file, from, to), None, "{from} -> {to}");
    }
}

fn absent(cluster: &Cluster) {
    for command in ["describe", "watch", "assert", "abort"] {
        cluster.run(&[command, "web-2"]).is(1, &["shop/web-2 was not found", "there are: web-1"]);
    }
    let mut elsewhere = Command::new(BINARY);
    elsewhere.args(["describe", "web-1", "--kubeconfig"]).arg(&cluster.kube.kubeconfig).env_remove("KUBECONFIG");
    let said = Said::new(&elsewhere.output().unwrap());
    said.is(1, &["default/web-1 was not found", "elsewhere there are: shop/web-1", "--namespace"]);
    cluster.run(&["describe", "web-1", "--context", "nobody"]).is(1, &["nobody", "--context"]);
    let dead = cluster.site.dir.join("dead.kubeconfig");
    let ca = cluster.site.dir.join("kube/certs/apiserver.crt");
    let port = stack::process::free_port().unwrap();
    parts::kubeconfig(&dead, &format!("https://127.0.0.1:{port}"), &ca, "token").unwrap();
    let dead = dead.to_str().unwrap();
    cluster.run(&["pause", "web-1", "--kubeconfig", dead]).is(1, &["failed to", "127.0.0.1", "is the cluster running"]);
}

fn describe(cluster: &Cluster) {
    cluster.run(&["describe", "experiment/web-1"]).is(0, &["shop/web-1", "no controller has looked at it yet"]);
    cluster.status(
        "web-1",
        &json!({"phase": "Shifting", "message": "Shifting", "weights": [{"name": "stable", "value": 80}, {"name": "candidate", "value": 20}],
            "criteria": [{"metric": "istio/error-rate", "limit": "1 %", "requests": 900, "bad": 3, "verdict": "Undecided",
                "why": "Fail evidence 0.1 of 20, Pass evidence 14.2 of 20"}],
            "progress": {"secret": "memory"}}),
    );
    // What kubectl itself shows: where it is comes before the long message.
    let listed = cluster.kubectl(&["get", "experiment", "web-1", "-n", "shop"], None);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows[0].join(" ").starts_with("NAME TYPE TARGET STAGE PHASE WEIGHT OUTCOME "), "{listed}");
    assert!(rows[1].join(" ").starts_with("web-1 Canary shop/web Shifting 20 "), "{listed}");
    let uid = cluster.get("web-1")["metadata"]["uid"].clone();
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web-1.1", "namespace": "shop"},
        "involvedObject": {"kind": "Experiment", "namespace": "shop", "name": "web-1", "uid": uid},
        "type": "Normal", "reason": "Shifted", "message": "20 % for the candidate", "lastTimestamp": "2026-01-31T09:00:00Z"});
    cluster.kubectl(&["apply", "-f", "-"], Some(&event.to_string()));
    let said = cluster.run(&["describe", "web-1"]);
    said.is(0, &["stable 80 %, candidate 20 %", "Pass evidence 14.2 of 20", "Shifted", "20 % for the candidate"]);
    assert!(!said.out.contains('\x1b') && !said.out.contains("memory"), "{}", said.out);
    let document = cluster.run(&["describe", "web-1", "-o", "json"]).json();
    assert_eq!(document["status"]["criteria"][0]["requests"], 900);
    assert_eq!((&document["events"][0]["reason"], &document["status"]["progress"]), (&json!("Shifted"), &Value::Null));
}

/// kubectl itself finds the plugin by its name.
fn plugin(cluster: &Cluster) {
    let path = cluster.site.dir.join("path");
    std::fs::create_dir(&path).unwrap();
    std::os::unix::fs::symlink(BINARY, path.join("kubectl-reiter8")).unwrap();
    let mut kubectl = Command::new(cluster.site.bin.join("kubectl"));
    kubectl.args(["reiter8", "describe", "web-1", "-n", "shop"]).env("PATH", &path);
    let said = Said::new(&kubectl.env("KUBECONFIG", &cluster.kube.kubeconfig).output().unwrap());
    said.is(0, &["shop/web-1", "Shifting"]);
}

/// The annotation of a verb, and who wrote it.
fn annotation(cluster: &Cluster, verb: &str) -> Option<String> {
    let object = cluster.get("web-1");
    let text = object["metadata"]["annotations"][format!("iter8.tools/{verb}")].as_str()?.to_owned();
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|m| m["manager"] == "reiter8-cli"), "{managers:?}");
    Some(text)
}

fn verbs(cluster: &Cluster) {
    cluster.run(&["pause", "web-1", "--reason", "incident 4711"]).is(0, &["asked to pause", "stay at stable 80 %"]);
    let text = annotation(cluster, "pause").unwrap();
    let (time, why) = text.split_once(' ').unwrap();
    assert_eq!((time.len(), why), ("2026-01-31T09:00:00.000Z".len(), "incident 4711"));
    let late = cluster.run(&["resume", "web-1", "--wait=1s"]);
    late.is(4, &["not handled in time", "is the controller running"]);
    // The note of an older request of the same kind is no answer.
    cluster.status("web-1", &json!({"handled": {"abort": "2026-01-31T09:00:00.000Z"}}));
    let waiting = cluster.spawn(&["abort", "web-1", "--wait=25s", "-o", "json"]);
    let deadline = Instant::now() + PATIENCE;
    let asked = loop {
        if let Some(text) = annotation(cluster, "abort") {
            break text;
        }
        assert!(Instant::now() < deadline, "no annotation came");
    };
    cluster.status(
        "web-1",
        &json!({"handled": {"abort": asked}, "phase": "Discarding", "outcome": "Discard", "reason": "Aborted"}),
    );
    let said = ended(waiting);
    let document = said.json();
    assert_eq!(
        (said.code, &document["handled"], &document["time"]),
        (Some(0), &json!(true), &json!(asked)),
        "{said:?}"
    );
    cluster.run(&["promote", "web-1"]).is(0, &["nothing will change: the outcome is decided"]);
    cluster.run(&["retry", "web-1"]).is(0, &["nothing to Git yet"]);
}

fn assertions(cluster: &Cluster) {
    cluster
        .run(&["assert", "web-1", "--outcome", "Discard", "--reason", "Aborted"])
        .is(0, &["holds", "Discard: Aborted"]);
    cluster.run(&["assert", "web-1"]).is(3, &["outcome is Discard, not Promote"]);
    let document = cluster.run(&["assert", "web-1", "-c", "failure", "-o", "json"]).json();
    assert_eq!((&document["result"], &document["reason"]), (&json!("Holds"), &json!("Aborted")));
    cluster
        .run(&["assert", "web-1", "--phase", "Completed", "--timeout", "0s"])
        .is(4, &["the time is up", "Discarding"]);
    // One that the GitOps tool has not created yet is waited for.
    let waiting = cluster.spawn(&["assert", "web-3", "--outcome", "Promote", "--timeout", "25s"]);
    cluster.create("web-3");
    cluster.status("web-3", &json!({"phase": "Promoting", "outcome": "Promote", "reason": "Proven"}));
    ended(waiting).is(0, &["holds", "Promote: Proven"]);
}

fn watch(cluster: &Cluster) {
    let mut child = cluster.spawn(&["watch", "web-1", "--outcome", "Discard", "-o", "json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["phase"], "Discarding");
    cluster.status("web-1", &json!({"message": "Draining: waiting for the last requests"}));
    assert_eq!(next()["message"], "Draining: waiting for the last requests");
    cluster.status("web-1", &json!({"phase": "Completed"}));
    assert_eq!(next()["phase"], "Completed");
    ended(child).is(0, &[]);
    cluster.run(&["watch", "web-1"]).is(3, &["Completed, Discard: Aborted", "not Promote"]);
    cluster.create("web-4");
    let mut child = cluster.spawn(&["watch", "web-4"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("no status yet"));
    cluster.kubectl(&["delete", "experiment", "web-4", "-n", "shop"], None);
    let last = lines.next().unwrap().unwrap();
    assert!(last.contains("was deleted"), "{last}");
    ended(child).is(3, &[]);
    cluster.run(&["watch", "web-4"]).is(1, &["not found"]);
    cluster.create("web-5");
    cluster.run(&["watch", "web-5", "--timeout", "1s"]).is(4, &["the time is up"]);
}
