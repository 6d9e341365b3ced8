//! One service on the stack, as its team sees it: a repository that Argo CD syncs, a gateway, and the controller with
//! the rights that its chart grants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use reiter8::api::Experiment;
use reiter8::http;
use serde_json::{Value, json};

use super::gitea::Gitea;
use super::process::{Process, free_port};
use super::{Endpoints, Site, parts};

const ROUTING: &str = include_str!("manifests/routing.yaml");
pub(super) const BASELINE: &str = include_str!("../../../samples/bookinfo/productpage.yaml");
pub(super) const CANDIDATE: &str = include_str!("../../../samples/bookinfo/productpage-candidate.yaml");
pub(super) const APPLICATION: &str = include_str!("../../../samples/argocd/application.yaml");
const DELEGATE: &str = include_str!("../../../samples/delegate/routing.yaml");
const DELEGATE_APPLICATION: &str = include_str!("../../../samples/delegate/application.yaml");

/// A running stack, stopped when it goes out of scope.
pub struct Stack {
    pub site: Site,
    pub endpoints: Endpoints,
}

impl Drop for Stack {
    fn drop(&mut self) {
        // To look at what a failed test left behind.
        if std::env::var_os("REITER8_KEEP_STACK").is_some() {
            println!("  left running: hack/stack --dir {} status | down", self.site.dir.display());
            return;
        }
        let _ = super::down(&self.site.dir);
    }
}

impl Stack {
    /// Starts a stack of its own for a test program.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let target = std::env::current_exe()?;
        let target = target.parent().and_then(Path::parent).context("a test program in target/debug/deps")?;
        let node = target.join("examples/stack");
        anyhow::ensure!(node.exists(), "{} is missing; run `cargo build --example stack`", node.display());
        let dir = PathBuf::from(format!("/var/tmp/reiter8-test-{name}-{}", std::process::id()));
        let site = Site { dir, bin: super::binaries(), node };
        let endpoints = super::up(&site, &|line| println!("  {line}"))?;
        Ok(Self { site, endpoints })
    }

    /// A client with every right.
    pub async fn client(&self) -> anyhow::Result<Client> {
        reiter8::http::install_provider();
        let file = kube::config::Kubeconfig::read_from(&self.endpoints.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    pub fn kubectl(&self, args: &[&str], input: Option<&str>) -> anyhow::Result<String> {
        let mut command = Command::new(self.site.bin.join("kubectl"));
        command.arg("--kubeconfig").arg(&self.endpoints.kubeconfig).args(args);
        let file = tempfile::NamedTempFile::new()?;
        if let Some(input) = input {
            std::fs::write(file.path(), input)?;
            command.stdin(std::fs::File::open(file.path())?);
        }
        parts::run(&mut command)
    }

    /// A part's newest process.
    pub fn part(&self, name: &str) -> anyhow::Result<Process> {
        let processes = super::processes(&self.site.dir);
        processes.into_iter().rfind(|p| p.name == name).with_context(|| format!("no part is named {name}"))
    }

    pub fn gateway(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.endpoints.gateway_port).into()
    }

    /// Installs the chart and runs the controller as the service account that it makes.
    pub fn controller(&self, binary: &Path) -> anyhow::Result<Controller> {
        for namespace in ["reiter8-system", "platform"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            self.kubectl(&["apply", "-f", "-"], Some(&namespace.to_string()))?;
        }
        let repositories = json!([{"namespace": "platform", "secrets": ["environment-token"]}]);
        let values = ["--set=crds.install=false", "--set-json", &format!("repositories={repositories}")];
        let chart = parts::chart(&self.site, "reiter8-system", &values)?;
        // There is no image to run: the process below stands for the Deployment's pod.
        let manifests: Vec<&str> = chart.split("\n---\n").filter(|d| !d.contains("\nkind: Deployment\n")).collect();
        self.kubectl(&["apply", "-f", "-"], Some(&manifests.join("\n---\n")))?;
        let token = self.kubectl(&["create", "token", "reiter8", "-n", "reiter8-system", "--duration=4h"], None)?;
        let kubeconfig = self.site.dir.join("reiter8.kubeconfig");
        parts::kubeconfig(&kubeconfig, &self.endpoints.server, &self.endpoints.certificate_authority, token.trim())?;
        Controller::start(self, binary, &kubeconfig)
    }

    /// Another replica of the controller.
    pub fn replica(&self, binary: &Path) -> anyhow::Result<Controller> {
        Controller::start(self, binary, &self.site.dir.join("reiter8.kubeconfig"))
    }

    /// The weights that Envoy has for a virtual host, of the baseline and of an only candidate.
    pub async fn envoy_weights(&self, host: &str) -> anyhow::Result<(u64, u64)> {
        let split = self.envoy_split(host).await?;
        let of = |subset: &str| split.get(subset).copied().unwrap_or(0);
        Ok((of("stable"), of("candidate")))
    }

    /// The weights that Envoy has for a virtual host, by subset; it drops those of 0.
    pub async fn envoy_split(&self, host: &str) -> anyhow::Result<BTreeMap<String, u64>> {
        let url =
            format!("http://127.0.0.1:{}/config_dump?resource=dynamic_route_configs", self.endpoints.envoy_admin_port);
        let dump: Value = http::client().build()?.get(url).send().await?.json().await?;
        let configs = dump.get("configs").and_then(Value::as_array).cloned().unwrap_or_default();
        for virtual_host in
            configs.iter().filter_map(|c| c.pointer("/route_config/virtual_hosts")?.as_array()).flatten()
        {
            let domains = virtual_host.get("domains").map(ToString::to_string).unwrap_or_default();
            if !domains.contains(host) {
                continue;
            }
            let route = virtual_host.pointer("/routes/0/route").cloned().unwrap_or_default();
            return Ok(weights(&route));
        }
        bail!("Envoy has no virtual host for {host}")
    }
}

/// The weights of one route's clusters, by their subset.
fn weights(route: &Value) -> BTreeMap<String, u64> {
    let subset = |cluster: Option<&Value>| Some(cluster?.as_str()?.split('|').nth(2)?.to_owned());
    let Some(clusters) = route.pointer("/weighted_clusters/clusters").and_then(Value::as_array) else {
        return subset(route.get("cluster")).map(|only| (only, 100)).into_iter().collect();
    };
    let mut split = BTreeMap::new();
    for cluster in clusters {
        let weight = cluster.get("weight").and_then(Value::as_u64).unwrap_or(0);
        *split.entry(subset(cluster.get("name")).unwrap_or_default()).or_default() += weight;
    }
    split
}

/// The controller's process.
pub struct Controller {
    process: Process,
    pub port: u16,
    start: Start,
}

/// How a controller is started.
struct Start {
    binary: PathBuf,
    kubeconfig: PathBuf,
}

impl Controller {
    fn start(stack: &Stack, binary: &Path, kubeconfig: &Path) -> anyhow::Result<Self> {
        let start = Start { binary: binary.into(), kubeconfig: kubeconfig.into() };
        let port = free_port()?;
        let process = Self::spawn(stack, &start, port)?;
        process.wait(Duration::from_secs(30), || parts::answers(&format!("http://127.0.0.1:{port}/readyz")))?;
        Ok(Self { process, port, start })
    }

    fn spawn(stack: &Stack, Start { binary, kubeconfig }: &Start, port: u16) -> anyhow::Result<Process> {
        let mut command = Command::new(binary);
        command
            .env("KUBECONFIG", kubeconfig)
            .args([
                "run",
                "--log-format",
                "text",
                "--allow-http-host",
                "127.0.0.1",
                "--identity",
                &format!("replica-{port}"),
            ])
            .args(["--prometheus-url", &stack.endpoints.prometheus_url, "--listen", &format!("127.0.0.1:{port}")]);
        stack.site.spawn("reiter8", port, &mut command)
    }

    /// Dies at once and is started again, as a kubelet restarts a container: under the same name.
    pub fn crash(&mut self, stack: &Stack) -> anyhow::Result<()> {
        self.kill();
        self.process = Self::spawn(stack, &self.start, self.port)?;
        Ok(())
    }

    /// Stops as Kubernetes would; how long it took.
    pub fn stop(&self) -> Duration {
        let began = Instant::now();
        self.process.stop(Duration::from_secs(30));
        began.elapsed()
    }

    /// Dies at once, as in a crash.
    pub fn kill(&self) {
        self.process.signal("-KILL");
        self.process.stop(Duration::ZERO);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub fn log_file(&self) -> &Path {
        &self.process.log
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.process.stop(Duration::from_secs(5));
    }
}

/// What CI commits: a candidate's manifest and its experiment's.
#[derive(Clone, Debug)]
pub struct Change {
    pub candidate: String,
    pub experiment: String,
}

impl Change {
    /// The candidate's container gets another variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let line = "        - {name: VERSION, value: v2}\n";
        let more = format!("{line}        - {{name: {name}, value: \"{value}\"}}\n");
        self.candidate = self.candidate.replace(line, &more);
        self
    }

    /// The ramp is in steps of a weight and its seconds.
    pub fn steps(mut self, steps: &[(u32, u32)]) -> Self {
        let steps: Vec<String> =
            steps.iter().map(|(weight, hold)| format!("{{weight: {weight}, hold: {hold}s}}")).collect();
        let line = "    weights: {maxCandidateWeight: 50}\n";
        let more = format!("{line}    ramp: {{steps: [{}]}}\n", steps.join(", "));
        self.experiment = self.experiment.replace(line, &more);
        self
    }

    /// A verdict takes a third of the requests: where it is not what is tried, nobody has to wait for it.
    pub fn quick(self) -> Self {
        self.experiment("upperLimit: 1%", "upperLimit: 3%")
    }

    /// The same with another text in the experiment.
    pub fn experiment(mut self, old: &str, new: &str) -> Self {
        self.experiment = self.experiment.replace(old, new);
        self
    }

    /// The same with another text in the candidate.
    pub fn candidate(mut self, old: &str, new: &str) -> Self {
        self.candidate = self.candidate.replace(old, new);
        self
    }
}

/// What differs between trials.
pub struct Candidate {
    pub error_rate: String,
}

/// A service with its repository and its Application.
pub struct Trial<'a> {
    pub stack: &'a Stack,
    pub client: Client,
    pub namespace: String,
    pub host: String,
    pub forge: Gitea,
    pub reviewer: Gitea,
}

/// The directory of the service in its repository.
pub const APP: &str = "apps/productpage";
/// The experiment's name.
pub const NAME: &str = "productpage-x7k2p";

impl<'a> Trial<'a> {
    /// A repository with the baseline, synced by Argo CD, with ready pods that answer through the gateway.
    pub async fn new(stack: &'a Stack, namespace: &str) -> anyhow::Result<Self> {
        Self::routed(stack, namespace, false).await
    }

    /// The same with the routes' split in a delegate, if that is wanted.
    pub async fn routed(stack: &'a Stack, namespace: &str, delegate: bool) -> anyhow::Result<Self> {
        let trial = Self::empty(stack, namespace).await?;
        let baseline = trial.manifest(BASELINE, "0");
        if !delegate {
            let routing = trial.routing();
            return trial.serve(baseline, routing, APPLICATION).await;
        }
        stack.kubectl(&["create", "namespace", namespace], None)?;
        let routing = trial.delegate();
        trial.serve(baseline, routing, DELEGATE_APPLICATION).await
    }

    /// An empty repository.
    pub(super) async fn empty(stack: &'a Stack, namespace: &str) -> anyhow::Result<Self> {
        let trial = Self::unused(stack, namespace).await?;
        trial.forge.create().await?;
        Ok(trial)
    }

    /// Nothing but names.
    async fn unused(stack: &'a Stack, namespace: &str) -> anyhow::Result<Self> {
        let e = &stack.endpoints;
        let gitea = |token: &str| Gitea::new(&e.gitea_url, token, namespace);
        let (forge, reviewer) = (gitea(&e.bot_token), gitea(&e.reviewer_token));
        let host = format!("{namespace}.example.com");
        Ok(Self { stack, client: stack.client().await?, namespace: namespace.into(), reviewer, host, forge })
    }

    /// Commits the baseline and the routes, which Argo CD syncs from then on, and waits for the first answer.
    pub(super) async fn serve(self, baseline: String, routing: String, application: &str) -> anyhow::Result<Self> {
        let files =
            [(format!("{APP}/productpage.yaml"), Some(baseline)), (format!("{APP}/routing.yaml"), Some(routing))];
        self.commit("The product page", &files).await?;
        self.repository().await?;
        self.application(application)?;
        self.until("the baseline to serve", Duration::from_secs(60), async || {
            let sent = http::client()
                .build()?
                .get(format!("http://{}/productpage", self.stack.gateway()))
                .header("host", &self.host)
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            Ok(sent.is_ok_and(|a| a.status().is_success()).then_some(()))
        })
        .await?;
        Ok(self)
    }

    /// The baseline, the candidate and the routing without Git, Argo CD or an experiment; both are ready.
    pub async fn plain(stack: &'a Stack, namespace: &str) -> anyhow::Result<Self> {
        let trial = Self::unused(stack, namespace).await?;
        stack.kubectl(&["create", "namespace", namespace], None)?;
        for manifest in [trial.manifest(BASELINE, "0"), trial.manifest(CANDIDATE, "0"), trial.routing()] {
            stack.kubectl(&["apply", "-f", "-"], Some(&manifest))?;
        }
        let wait = ["wait", "--for=condition=Available", "deployment", "--all", "-n", namespace, "--timeout=60s"];
        stack.kubectl(&wait, None)?;
        Ok(trial)
    }

    /// As [`Self::plain`], with a repository that says the same and that nobody syncs.
    pub async fn unsynced(stack: &'a Stack, namespace: &str) -> anyhow::Result<Self> {
        let trial = Self::plain(stack, namespace).await?;
        trial.forge.create().await?;
        let file = |name: &str, text: String| (format!("{APP}/{name}"), Some(text));
        let files = [
            file("productpage.yaml", trial.manifest(BASELINE, "0")),
            file("productpage-candidate.yaml", trial.manifest(CANDIDATE, "0")),
            file("routing.yaml", trial.routing()),
            file("experiment.yaml", trial.experiment(NAME)),
        ];
        trial.commit("The product page and its candidate", &files).await?;
        trial.repository().await?;
        Ok(trial)
    }

    /// A sample's manifest for this trial: its namespace, its error rate, and two seconds of preStop.
    pub(super) fn manifest(&self, sample: &str, error_rate: &str) -> String {
        sample
            .replace("namespace: bookinfo", &format!("namespace: {}", self.namespace))
            .replace("value: \"0.001\"", &format!("value: \"{error_rate}\""))
            .replace("sleep: {seconds: 5}", "sleep: {seconds: 3}")
    }

    pub(super) fn routing(&self) -> String {
        ROUTING
            .replace("@NAMESPACE@", &self.namespace)
            .replace("@HOST@", &self.host)
            .replace("@PORT@", &self.stack.endpoints.gateway_port.to_string())
    }

    /// The routing with the sample's two VirtualServices in the place of the one.
    fn delegate(&self) -> String {
        let kept = self.routing();
        let kept = kept.split("\n---\n").filter(|d| !d.contains("kind: VirtualService"));
        let ours = DELEGATE
            .replace("namespace: bookinfo", &format!("namespace: {}", self.namespace))
            .replace("bookinfo.example.com", &self.host)
            .replace("productpage.bookinfo.svc.cluster.local", &format!("productpage.{}.mesh.local", self.namespace));
        let split: Vec<&str> = ours.split("\n---\n").filter(|d| d.contains("kind: VirtualService")).collect();
        kept.chain(split).collect::<Vec<_>>().join("\n---\n")
    }

    /// The experiment's manifest. Intervals are short, because Prometheus scrapes every second here.
    pub fn experiment(&self, name: &str) -> String {
        format!(
            "apiVersion: iter8.tools/v2alpha2
kind: Experiment
metadata:
  name: {name}
  namespace: {ns}
  annotations: {{argocd.argoproj.io/sync-wave: \"10\"}}
spec:
  target: {ns}/productpage
  strategy:
    testingPattern: Canary
    weights: {{maxCandidateWeight: 50}}
  versionInfo:
    baseline: {{name: stable, workload: {{name: productpage}}, destination: {{subset: stable}}}}
    candidates:
    - {{name: candidate, workload: {{name: productpage-candidate}}, destination: {{subset: candidate}}}}
  traffic: {{virtualService: bookinfo, routes: [productpage], host: productpage.{ns}.mesh.local}}
  criteria:
    objectives:
    - {{metric: istio/error-rate, upperLimit: 1%}}
    - {{metric: istio/latency-p95, upperLimit: 5s}}
  analysis: {{interval: 2s, lag: 3s, warmUp: 5s, soak: 15s, deadline: 10m}}
  gitops:
    repository: platform/{ns}
    path: {APP}
    promote: {{from: productpage-candidate.yaml, to: productpage.yaml}}
",
            ns = self.namespace
        )
    }

    /// A candidate without errors and an experiment of this name.
    pub fn change(&self, name: &str) -> Change {
        Change { candidate: self.manifest(CANDIDATE, "0"), experiment: self.experiment(name) }
    }

    /// What CI does: one commit with the candidate and the experiment.
    pub async fn start(&self, candidate: &Candidate) -> anyhow::Result<()> {
        let candidate = self.manifest(CANDIDATE, &candidate.error_rate);
        self.submit(&Change { candidate, experiment: self.experiment(NAME) }).await
    }

    /// Commits a change.
    pub async fn submit(&self, change: &Change) -> anyhow::Result<()> {
        let files = [
            (format!("{APP}/productpage-candidate.yaml"), Some(change.candidate.clone())),
            (format!("{APP}/experiment.yaml"), Some(change.experiment.clone())),
        ];
        self.commit("Try the next product page", &files).await
    }

    pub(super) async fn commit(&self, message: &str, files: &[(String, Option<String>)]) -> anyhow::Result<()> {
        let files: Vec<_> = files.iter().map(|(p, c)| (p.as_str(), c.as_deref())).collect();
        self.forge.commit(message, &files).await
    }

    /// The Repository with its Secret, owned by the platform team.
    async fn repository(&self) -> anyhow::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), "platform");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "environment-token", "namespace": "platform"},
            "stringData": {"token": self.stack.endpoints.bot_token}});
        let params = PatchParams::apply("tests").force();
        secrets.patch("environment-token", &params, &Patch::Apply(&secret)).await?;
        let repository = json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Repository",
            "metadata": {"name": self.namespace, "namespace": "platform"},
            "spec": {"url": self.forge.clone_url(), "provider": "Gitea", "secretRef": {"name": "environment-token"},
                "allowedNamespaces": [self.namespace], "allowedPaths": [APP]}});
        self.stack.kubectl(&["apply", "-f", "-"], Some(&repository.to_string()))?;
        Ok(())
    }

    /// The sample's Application, of this trial's repository.
    fn application(&self, sample: &str) -> anyhow::Result<()> {
        let application = sample
            .replace("name: bookinfo\n", &format!("name: {}\n", self.namespace))
            .replace("namespace: bookinfo\n", &format!("namespace: {}\n", self.namespace))
            .replace("https://git.example.com/platform/environment.git", &self.forge.clone_url())
            .replace("path: apps/productpage\n", &format!("path: {APP}\n"));
        self.stack.kubectl(&["apply", "-f", "-"], Some(&application))?;
        Ok(())
    }

    pub fn experiments(&self) -> Api<Experiment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The experiment as it is now.
    pub async fn get(&self) -> anyhow::Result<Option<Experiment>> {
        Ok(self.experiments().get_opt(NAME).await?)
    }

    /// Waits for something; what it was is in the error, with the experiment's own words.
    pub async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let status = self.get().await.ok().flatten().and_then(|e| e.status);
                let status = serde_json::to_string(&status.map(|s| (s.phase, s.message, s.criteria, s.gitops)))?;
                bail!("waited {} s for {what}; the experiment says {status}", patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The number of the open request whose branch belongs to a stage.
    pub async fn open_request(&self, stage: &str, patience: Duration) -> anyhow::Result<u64> {
        let marker = format!("-{stage}-");
        self.until(&format!("the {stage} request"), patience, async || {
            let pulls = self.forge.pulls().await?;
            let open = pulls.iter().find(|p| {
                let branch = p.pointer("/head/label").and_then(Value::as_str).unwrap_or_default();
                p.get("state").and_then(Value::as_str) == Some("open") && branch.contains(&marker)
            });
            Ok(open.and_then(|p| p.get("number")?.as_u64()))
        })
        .await
    }

    /// The addresses of a version's pods.
    pub async fn pods(&self, version: &str) -> anyhow::Result<Vec<String>> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = pods.list(&ListParams::default().labels(&format!("version={version}"))).await?;
        let address =
            |p: &k8s_openapi::api::core::v1::Pod| p.status.as_ref()?.pod_ip.as_ref().map(|ip| format!("{ip}:9080"));
        Ok(list.iter().filter_map(address).collect())
    }

    /// Kills the processes of a version's pods, as the kernel does when memory runs out; how many they were.
    pub async fn kill_pods(&self, version: &str) -> anyhow::Result<usize> {
        let (addresses, node) = (self.pods(version).await?, self.stack.part("node")?.pid);
        let mut killed = 0;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let arguments = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let ours = status.lines().any(|l| l.strip_prefix("PPid:").is_some_and(|p| p.trim() == node.to_string()));
            if ours && arguments.split('\0').any(|a| addresses.iter().any(|address| a == address)) {
                parts::run(Command::new("kill").args(["-KILL", &pid.to_string()]))?;
                killed += 1;
            }
        }
        Ok(killed)
    }

    /// Makes a version's pods answer with this share of errors from now on.
    pub async fn behave(&self, version: &str, errors: f64) -> anyhow::Result<()> {
        for address in self.pods(version).await? {
            let url = format!("http://{address}/behave/errors/{errors}");
            http::client().build()?.post(url).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// A Deployment as it is now.
    pub async fn deployment(&self, name: &str) -> anyhow::Result<Option<k8s_openapi::api::apps::v1::Deployment>> {
        Ok(Api::namespaced(self.client.clone(), &self.namespace).get_opt(name).await?)
    }

    /// Names of the Deployments and Experiments in the namespace.
    pub async fn objects(&self) -> anyhow::Result<Vec<String>> {
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let mut names: Vec<String> = deployments
            .list(&ListParams::default())
            .await?
            .iter()
            .map(|d| format!("Deployment/{}", d.name_any()))
            .collect();
        let experiments = self.experiments().list(&ListParams::default()).await?;
        names.extend(experiments.iter().map(|e| format!("Experiment/{}", e.name_any())));
        Ok(names)
    }

    /// The VirtualService as it is now.
    pub async fn virtual_service(&self) -> anyhow::Result<DynamicObject> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &virtual_services());
        Ok(api.get("bookinfo").await?)
    }
}

/// The resource of Istio's routes.
pub fn virtual_services() -> kube::api::ApiResource {
    kube::api::ApiResource {
        group: "networking.istio.io".into(),
        version: "v1".into(),
        api_version: "networking.istio.io/v1".into(),
        kind: "VirtualService".into(),
        plural: "virtualservices".into(),
    }
}
