//! How each real part is started on this machine, and how one knows that it is ready.
//!
//! One function for each part; [`super::up`] knows the order. Everything listens on loopback (but for one metrics port
//! of Argo CD, which has no flag for it). Data are thrown away with the folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::Site;
use super::process::{Process, free_port, listens};

/// The user as whom Gitea runs when the stack is started by root, which Gitea refuses to run as.
const NOBODY: u32 = 65534;
/// A part that needs longer is not coming.
const PATIENCE: Duration = Duration::from_secs(60);

const MESH: &str = include_str!("manifests/mesh.yaml");
const ENVOY: &str = include_str!("manifests/envoy.yaml");
const PROMETHEUS: &str = include_str!("manifests/prometheus.yaml");
const GITEA: &str = include_str!("manifests/gitea.ini");
const ARGOCD: &str = include_str!("manifests/argocd.yaml");
const ISTIO: &str = include_str!("manifests/istio.yaml");
const ENVOYFILTER: &str = include_str!("manifests/envoyfilter.yaml");

/// The URL answers with a success.
pub fn answers(url: &str) -> bool {
    let quiet = Command::new("curl").args(["-fsSk", "--max-time", "2", "-o", "/dev/null", url]).output();
    quiet.is_ok_and(|o| o.status.success())
}

/// Sixteen random bytes as digits.
fn secret() -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The control plane without its controllers: etcd and kube-apiserver.
pub struct Kube {
    pub server: String,
    pub kubeconfig: PathBuf,
    controllers: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

pub fn kube(site: &Site) -> anyhow::Result<Kube> {
    let dir = site.dir.join("kube");
    fs::create_dir_all(&dir)?;
    let (client, peer, port) = (free_port()?, free_port()?, free_port()?);
    let mut etcd = Command::new(site.bin.join("etcd"));
    etcd.args(["--name=t", "--unsafe-no-fsync", "--log-level=warn"])
        .arg(format!("--data-dir={}", dir.join("etcd").display()))
        .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
        .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
        .arg(format!("--initial-cluster=t=http://127.0.0.1:{peer}"));
    site.spawn("etcd", client, &mut etcd)?.wait(PATIENCE, || listens(client))?;

    let key = dir.join("sa.key");
    run(Command::new("openssl").args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]).arg(&key))?;
    let (admin, controllers) = (secret()?, secret()?);
    let tokens =
        format!("{admin},admin,admin,\"system:masters\"\n{controllers},system:kube-controller-manager,kcm,\"\"\n");
    fs::write(dir.join("tokens.csv"), tokens)?;
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let mut apiserver = Command::new(site.bin.join("kube-apiserver"));
    apiserver
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
        .args(["--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true", "--authorization-mode=RBAC"])
        .args(["--anonymous-auth=true", "--profiling=false"])
        // No service account has to exist before a pod, and no taint waits for a controller that is not there.
        .arg("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
        .arg(format!("--etcd-servers=http://127.0.0.1:{client}"))
        .arg(format!("--secure-port={port}"))
        .arg(format!("--cert-dir={}", dir.join("certs").display()))
        .arg(format!("--token-auth-file={}", dir.join("tokens.csv").display()))
        .arg(format!("--service-account-issuer={issuer}"))
        .arg(format!("--api-audiences={issuer}"))
        .arg(format!("--service-account-key-file={}", key.display()))
        .arg(format!("--service-account-signing-key-file={}", key.display()));
    let process = site.spawn("kube-apiserver", port, &mut apiserver)?;
    let server = format!("https://127.0.0.1:{port}");
    process.wait(PATIENCE, || answers(&format!("{server}/readyz")))?;
    let kube = Kube {
        kubeconfig: dir.join("kubeconfig"),
        controllers: dir.join("controllers.kubeconfig"),
        ca: dir.join("certs/apiserver.crt"),
        key,
        server,
    };
    kubeconfig(&kube.kubeconfig, &kube.server, &kube.ca, &admin)?;
    kubeconfig(&kube.controllers, &kube.server, &kube.ca, &controllers)?;
    Ok(kube)
}

/// Writes a kubeconfig of one user.
pub fn kubeconfig(path: &Path, server: &str, ca: &Path, token: &str) -> anyhow::Result<()> {
    let ca = ca.display();
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: t, cluster: {{server: \"{server}\", certificate-authority: \"{ca}\"}}}}]\n\
         users: [{{name: t, user: {{token: \"{token}\"}}}}]\ncontexts: [{{name: t, context: {{cluster: t, user: t}}}}]\ncurrent-context: t\n"
    );
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// Definitions of every kind, then the controllers: a garbage collector started earlier learns new kinds late.
pub fn controllers(site: &Site, kube: &Kube) -> anyhow::Result<()> {
    let mut definitions: Vec<PathBuf> =
        ["istio-crds.yaml", "application-crd.yaml", "appproject-crd.yaml"].iter().map(|f| site.bin.join(f)).collect();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    definitions.extend(fs::read_dir(own)?.filter_map(|e| e.ok().map(|e| e.path())));
    for file in definitions {
        kubectl(site, kube, &["apply", "--server-side", "-f", &file.display().to_string()], None)?;
    }
    kubectl(site, kube, &["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"], None)?;
    for manifest in [ISTIO, ENVOYFILTER, ARGOCD] {
        kubectl(site, kube, &["apply", "--server-side", "-f", "-"], Some(manifest))?;
    }
    let enabled = "garbage-collector-controller,namespace-controller,deployment-controller,replicaset-controller,\
                   endpoints-controller,endpointslice-controller,serviceaccount-controller,\
                   serviceaccount-token-controller,root-ca-certificate-publisher-controller";
    let mut command = Command::new(site.bin.join("kube-controller-manager"));
    command
        .args(["--use-service-account-credentials=true", "--leader-elect=false", "--bind-address=127.0.0.1"])
        .args(["--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000", "--profiling=false"])
        .arg(format!("--kubeconfig={}", kube.controllers.display()))
        .arg(format!("--service-account-private-key-file={}", kube.key.display()))
        .arg(format!("--root-ca-file={}", kube.ca.display()))
        .arg(format!("--controllers={enabled}"));
    let process = site.spawn("kube-controller-manager", 0, &mut command)?;
    let account = ["get", "serviceaccount", "default", "-n", "default"];
    process.wait(PATIENCE, || kubectl(site, kube, &account, None).is_ok())
}

/// istiod, then Envoy as the gateway. Returns the ports of the gateway and of Envoy's administration.
pub fn mesh(site: &Site, kube: &Kube) -> anyhow::Result<(u16, u16)> {
    let dir = site.dir.join("mesh");
    fs::create_dir_all(&dir)?;
    let (xds, http, monitoring) = (free_port()?, free_port()?, free_port()?);
    fs::write(dir.join("mesh.yaml"), MESH.replace("@XDS@", &xds.to_string()))?;
    let mut istiod = Command::new(site.bin.join("pilot-discovery"));
    istiod
        .args(["discovery", "--httpsAddr=", "--secureGRPCAddr=", "--ctrlz_address=127.0.0.1", "--ctrlz_port=0"])
        .args(["--shutdownDuration=1s", "--profile=false"])
        .arg(format!("--kubeconfig={}", kube.kubeconfig.display()))
        .arg(format!("--meshConfig={}", dir.join("mesh.yaml").display()))
        .arg(format!("--httpAddr=127.0.0.1:{http}"))
        .arg(format!("--grpcAddr=127.0.0.1:{xds}"))
        .arg(format!("--monitoringAddr=127.0.0.1:{monitoring}"))
        .current_dir(&dir)
        .envs([("POD_NAME", "istiod-0"), ("POD_NAMESPACE", "istio-system"), ("CLUSTER_ID", "Kubernetes")])
        .envs([("ENABLE_CA_SERVER", "false"), ("PILOT_CERT_PROVIDER", "none"), ("INJECT_ENABLED", "false")])
        .envs([("VALIDATION_WEBHOOK_CONFIG_NAME", ""), ("INJECTION_WEBHOOK_CONFIG_NAME", "")])
        // What a stock Envoy does not know.
        .envs([("PILOT_ENABLE_METADATA_EXCHANGE", "false"), ("PILOT_ENABLE_ALPN_FILTER", "false")])
        .envs([("PILOT_ENABLE_GATEWAY_API", "false"), ("PILOT_ENABLE_WORKLOAD_ENTRY_AUTOREGISTRATION", "false")])
        .envs([("ENABLE_LEADER_ELECTION", "false"), ("PILOT_DEBOUNCE_AFTER", "10ms"), ("GOMEMLIMIT", "300MiB")]);
    let process = site.spawn("istiod", http, &mut istiod)?;
    process.wait(PATIENCE, || answers(&format!("http://127.0.0.1:{http}/ready")))?;

    let (gateway, admin) = (free_port()?, free_port()?);
    let bootstrap = ENVOY.replace("@XDS@", &xds.to_string()).replace("@ADMIN@", &admin.to_string());
    fs::write(dir.join("envoy.yaml"), bootstrap)?;
    let mut envoy = Command::new(site.bin.join("envoy"));
    // Hot restart ties Envoy to the thread that started it.
    envoy.args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning", "-c"]).arg(dir.join("envoy.yaml"));
    let process = site.spawn("envoy", admin, &mut envoy)?;
    process.wait(PATIENCE, || answers(&format!("http://127.0.0.1:{admin}/server_info")))?;
    Ok((gateway, admin))
}

pub fn prometheus(site: &Site, envoy_admin: u16) -> anyhow::Result<u16> {
    let dir = site.dir.join("prometheus");
    fs::create_dir_all(&dir)?;
    let port = free_port()?;
    fs::write(dir.join("prometheus.yaml"), PROMETHEUS.replace("@ADMIN@", &envoy_admin.to_string()))?;
    prometheus_at(site, port)?;
    Ok(port)
}

/// Starts Prometheus with the data that it has.
pub fn prometheus_at(site: &Site, port: u16) -> anyhow::Result<()> {
    let dir = site.dir.join("prometheus");
    let mut command = Command::new("prometheus");
    command
        .arg("--storage.tsdb.retention.time=2h")
        .arg(format!("--config.file={}", dir.join("prometheus.yaml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(&dir);
    let process = site.spawn("prometheus", port, &mut command)?;
    process.wait(PATIENCE, || answers(&format!("http://127.0.0.1:{port}/-/ready")))
}

/// Gitea with two users: `bot`, who administers, and `reviewer`. Returns its port and both tokens.
pub fn gitea(site: &Site) -> anyhow::Result<(u16, String, String)> {
    let dir = site.dir.join("gitea");
    for sub in ["data", "custom/public/assets/.vite", "repos", "log", "home"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    fs::write(dir.join("custom/public/assets/.vite/manifest.json"), "{}")?;
    let port = free_port()?;
    let root = run(Command::new("id").arg("-u"))?.trim() == "0";
    let user = if root { "nobody".to_owned() } else { run(Command::new("id").arg("-un"))?.trim().to_owned() };
    let ini = GITEA
        .replace("@DIR@", &dir.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@USER@", &user)
        .replace("@STATIC@", &site.bin.join("gitea-static").display().to_string());
    fs::write(dir.join("app.ini"), ini)?;
    if root {
        own(&dir)?;
    }
    let gitea = |args: &[&str]| gitea_command(site, args);
    run(&mut gitea(&["migrate"]))?;
    let user =
        ["admin", "user", "create", "--must-change-password=false", "--password", "only-for-tests", "--username"];
    run(&mut gitea(&[&user[..], &["bot", "--email", "bot@example.test", "--admin"]].concat()))?;
    run(&mut gitea(&[&user[..], &["reviewer", "--email", "reviewer@example.test"]].concat()))?;
    let token = |name: &str| -> anyhow::Result<String> {
        let args = [
            "admin",
            "user",
            "generate-access-token",
            "--token-name",
            "t",
            "--scopes",
            "all",
            "--raw",
            "--username",
            name,
        ];
        let printed = run(&mut gitea(&args))?;
        Ok(printed.lines().last().unwrap_or_default().trim().to_owned())
    };
    let tokens = (token("bot")?, token("reviewer")?);
    gitea_at(site, port)?;
    Ok((port, tokens.0, tokens.1))
}

/// Starts Gitea with the data that it has.
pub fn gitea_at(site: &Site, port: u16) -> anyhow::Result<()> {
    let process = site.spawn("gitea", port, &mut gitea_command(site, &["web"]))?;
    process.wait(PATIENCE, || answers(&format!("http://127.0.0.1:{port}/api/v1/version")))
}

/// Gitea's program with its settings.
fn gitea_command(site: &Site, args: &[&str]) -> Command {
    let dir = site.dir.join("gitea");
    let mut command = Command::new(site.bin.join("gitea"));
    command.arg("--config").arg(dir.join("app.ini")).args(args).current_dir(&dir);
    command.env("GITEA_WORK_DIR", &dir).env("HOME", dir.join("home"));
    if super::is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Gives a folder and what is in it to the unprivileged user.
fn own(path: &Path) -> anyhow::Result<()> {
    chown(path, Some(NOBODY), Some(NOBODY))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path())?;
        }
    }
    Ok(())
}

/// Argo CD's repo-server and application-controller, with redis.
pub fn argocd(site: &Site, kube: &Kube) -> anyhow::Result<()> {
    let dir = site.dir.join("argocd");
    for sub in ["bin", "tls", "ssh", "gpg/source", "gpg/keys", "plugins", "tmp", "redis"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    fs::write(dir.join("ssh/ssh_known_hosts"), "")?;
    for name in ["argocd", "argocd-repo-server", "argocd-application-controller", "git-verify-wrapper.sh", "kustomize"]
    {
        let source = if name.starts_with("argocd") { "argocd-core" } else { name };
        symlink(site.bin.join(source), dir.join("bin").join(name))?;
    }
    let (redis, repo, metrics, own_metrics) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &redis.to_string(), "--dir"]);
    command.arg(dir.join("redis"));
    site.spawn("redis", redis, &mut command)?.wait(PATIENCE, || listens(redis))?;
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let argocd = |name: &str| {
        let mut command = Command::new(dir.join("bin").join(name));
        command
            .env("PATH", &path)
            .env("HOME", &dir)
            .env("TMPDIR", dir.join("tmp"))
            .env("KUBECONFIG", &kube.kubeconfig)
            .env("ARGOCD_TLS_DATA_PATH", dir.join("tls"))
            .env("ARGOCD_SSH_DATA_PATH", dir.join("ssh"))
            .env("ARGOCD_GNUPGHOME", dir.join("gpg/keys"))
            .env("ARGOCD_GPG_DATA_PATH", dir.join("gpg/source"))
            .env("ARGOCD_PLUGINSOCKFILEPATH", dir.join("plugins"))
            .env("ARGOCD_ASK_PASS_SOCK", dir.join("tmp/ask.sock"))
            .envs([("ARGOCD_FAKE_IN_CLUSTER", "true"), ("ARGOCD_GPG_ENABLED", "false")])
            // Both processes cache what a branch points to for this long.
            .envs([("ARGOCD_RECONCILIATION_TIMEOUT", "2s"), ("ARGOCD_RECONCILIATION_JITTER", "0s")])
            .args(["--redis", &format!("127.0.0.1:{redis}"), "--logformat", "text"]);
        command
    };
    let mut server = argocd("argocd-repo-server");
    server.args(["--address", "127.0.0.1", "--metrics-address", "127.0.0.1", "--disable-tls", "--client-ca-path="]);
    server.args(["--port", &repo.to_string(), "--metrics-port", &metrics.to_string()]);
    site.spawn("argocd-repo-server", repo, &mut server)?.wait(PATIENCE, || listens(repo))?;
    let mut controller = argocd("argocd-application-controller");
    controller.args([
        "--namespace",
        "argocd",
        "--repo-server-plaintext",
        "--repo-server",
        &format!("127.0.0.1:{repo}"),
    ]);
    controller.args(["--metrics-port", &own_metrics.to_string(), "--self-heal-timeout-seconds", "1"]);
    controller.args(["--self-heal-backoff-timeout-seconds", "1", "--self-heal-backoff-factor", "1"]);
    controller.args(["--self-heal-backoff-cap-seconds", "1"]);
    let process = site.spawn("argocd-application-controller", own_metrics, &mut controller)?;
    process.wait(PATIENCE, || answers(&format!("http://127.0.0.1:{own_metrics}/healthz")))
}

/// The node: this program again.
pub fn node(site: &Site, kube: &Kube) -> anyhow::Result<()> {
    let mut command = Command::new(&site.node);
    command.arg("node").arg("--kubeconfig").arg(&kube.kubeconfig);
    let process = site.spawn("node", 0, &mut command)?;
    process.wait(PATIENCE, || kubectl(site, kube, &["get", "node", "node-1"], None).is_ok())
}

/// Runs the stack's own kubectl.
pub fn kubectl(site: &Site, kube: &Kube, args: &[&str], input: Option<&str>) -> anyhow::Result<String> {
    let mut command = Command::new(site.bin.join("kubectl"));
    command.arg("--kubeconfig").arg(&kube.kubeconfig).args(args);
    let Some(input) = input else { return run(&mut command) };
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), input)?;
    run(command.stdin(fs::File::open(file.path())?))
}

/// What the chart makes with these values.
pub fn chart(site: &Site, namespace: &str, values: &[&str]) -> anyhow::Result<String> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/reiter8");
    run(Command::new(site.bin.join("helm"))
        .args(["template", "reiter8", "--namespace", namespace])
        .arg(chart)
        .args(values))
}

/// Runs a command to its end; its output, or its complaint.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("failed to run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Spawns for a site and notes the process, so that `down` finds it even if `up` is interrupted.
impl Site {
    pub fn spawn(&self, name: &str, port: u16, command: &mut Command) -> anyhow::Result<Process> {
        let process = Process::spawn(&self.dir, name, port, command)?;
        let mut note = serde_json::to_vec(&process)?;
        note.push(b'\n');
        fs::OpenOptions::new().create(true).append(true).open(self.dir.join("processes"))?.write_all(&note)?;
        Ok(process)
    }
}
