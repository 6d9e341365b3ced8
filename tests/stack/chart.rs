//! The chart: what it makes with which values, what its schema refuses, and the rights that it grants, as a real API
//! server understands them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::stack::{self, Site, parts};
use clap::Parser as _;
use serde_json::Value;

/// Patience with a start, and with anything that takes a few turns.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lets the controller read one Secret.
const REPOSITORIES: &str = r#"--set-json=repositories=[{"namespace":"platform","secrets":["environment-token"]}]"#;
/// An installation of a team that may install nothing cluster-wide.
const NAMESPACED: [&str; 3] = ["--set=watchNamespace=shop", "--set=crds.install=false", REPOSITORIES];
/// Everything that is optional.
const FULL: [&str; 8] = [
    "--set=replicas=2",
    "--set=networkPolicy.create=true,serviceMonitor.create=true,dashboard.create=true",
    "--set=prometheusUrl=https://prometheus.example.com/mesh,allowHttpHosts={gitea.platform}",
    r#"--set-json=otherRoutes=[{"apiGroup":"example.com","resources":["splits"]}]"#,
    r#"--set-json=tolerations=[{"key":"infra","operator":"Exists"}]"#,
    r#"--set-json=extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy:3128"}]"#,
    "--set=imagePullSecrets[0].name=registry,podLabels.team=platform,priorityClassName=system-cluster-critical",
    REPOSITORIES,
];

fn site(dir: &Path) -> Site {
    Site { dir: dir.into(), bin: stack::binaries(), node: PathBuf::new() }
}

fn rendered(values: &[&str]) -> Vec<Value> {
    let text =
        parts::chart(&site(Path::new("")), "reiter8-system", values).expect("the part `helm`: run hack/parts/build");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().filter(|d| !d.is_null()).collect()
}

/// `Kind namespace/name` of each object; the namespace is empty for what is cluster-wide.
fn names(documents: &[Value]) -> Vec<String> {
    let text = |d: &Value, path: &str| d.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = |d| format!("{} {}/{}", text(d, "/kind"), text(d, "/metadata/namespace"), text(d, "/metadata/name"));
    let mut names: Vec<String> = documents.iter().map(name).collect();
    names.sort();
    names
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|d| d["kind"] == kind).collect()
}

#[test]
fn lint_finds_nothing() {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/reiter8");
    for values in [&[][..], &NAMESPACED, &FULL] {
        let mut helm = Command::new(stack::binaries().join("helm"));
        parts::run(helm.args(["lint", "--strict", "--quiet"]).arg(&chart).args(values)).unwrap();
    }
}

#[test]
fn each_set_of_values_makes_these_objects() {
    let everywhere = [
        "ClusterRole /reiter8-controller",
        "ClusterRole /reiter8-edit",
        "ClusterRole /reiter8-view",
        "ClusterRoleBinding /reiter8-controller",
        "CustomResourceDefinition /experiments.iter8.tools",
        "CustomResourceDefinition /metrics.iter8.tools",
        "CustomResourceDefinition /repositories.iter8.tools",
        "Deployment reiter8-system/reiter8",
        "Role reiter8-system/reiter8-leases",
        "RoleBinding reiter8-system/reiter8-leases",
        "Service reiter8-system/reiter8-metrics",
        "ServiceAccount reiter8-system/reiter8",
    ];
    assert_eq!(names(&rendered(&[])), everywhere);

    let full = names(&rendered(&FULL));
    let further: Vec<&str> = full.iter().map(String::as_str).filter(|name| !everywhere.contains(name)).collect();
    assert_eq!(
        further,
        [
            "ConfigMap reiter8-system/reiter8-dashboard",
            "NetworkPolicy reiter8-system/reiter8",
            "PodDisruptionBudget reiter8-system/reiter8",
            "Role platform/reiter8-repository",
            "RoleBinding platform/reiter8-repository",
            "ServiceMonitor reiter8-system/reiter8",
        ]
    );

    assert_eq!(
        names(&rendered(&NAMESPACED)),
        [
            "Deployment reiter8-system/reiter8",
            "Role platform/reiter8-repository",
            "Role reiter8-system/reiter8-leases",
            "Role shop/reiter8-controller",
            "RoleBinding platform/reiter8-repository",
            "RoleBinding reiter8-system/reiter8-leases",
            "RoleBinding shop/reiter8-controller",
            "Service reiter8-system/reiter8-metrics",
            "ServiceAccount reiter8-system/reiter8",
        ],
        "a namespaced installation has nothing cluster-wide"
    );
}

#[test]
fn the_dashboard_is_where_grafana_looks_for_it() {
    let documents = rendered(&FULL);
    let [map] = of_kind(&documents, "ConfigMap")[..] else { panic!("one ConfigMap") };
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let given: Value = serde_json::from_str(map["data"]["reiter8.json"].as_str().unwrap()).unwrap();
    let committed = include_str!("../../charts/reiter8/dashboards/reiter8.json");
    assert_eq!(given, serde_json::from_str::<Value>(committed).unwrap(), "as `observability` tries it");
}

#[test]
fn definitions_are_those_of_the_types_and_outlive_the_release() {
    let documents = rendered(&[]);
    let mut definitions = of_kind(&documents, "CustomResourceDefinition");
    definitions.sort_by_key(|d| d["metadata"]["name"].to_string());
    let committed = reiter8::api::definitions();
    assert_eq!(definitions.len(), committed.len());
    for definition in definitions {
        let own = committed.iter().find(|c| definition["metadata"]["name"] == c.metadata.name.as_deref().unwrap());
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        let parsed: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_json::from_value(definition.clone()).unwrap();
        assert_eq!(parsed.spec, own.unwrap().spec, "run `cargo run -- crds --dir crds`");
    }
}

#[test]
fn the_pod_is_confined_and_its_arguments_are_those_of_run() {
    for values in [&[][..], &NAMESPACED, &FULL] {
        let documents = rendered(values);
        let pod = &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
        for field in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
            assert!(container.pointer(field).is_some(), "no {field}");
        }
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
        let given = container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap());
        reiter8::cli::Cli::try_parse_from(std::iter::once("reiter8").chain(given)).unwrap();
    }
    let documents = rendered(&NAMESPACED);
    let given = &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(given.as_array().unwrap().contains(&"--watch-namespace=shop".into()), "{given}");
}

#[test]
fn a_network_policy_lets_out_what_is_needed() {
    let ports = |prometheus: &str| {
        let url = format!("--set=networkPolicy.create=true,prometheusUrl={prometheus}");
        let documents = rendered(&[&url]);
        let rules = of_kind(&documents, "NetworkPolicy")[0]["spec"]["egress"].as_array().unwrap().clone();
        let ports = rules.iter().flat_map(|r| r["ports"].as_array().unwrap().clone());
        ports.map(|p| p["port"].as_u64().unwrap()).collect::<BTreeSet<u64>>()
    };
    assert_eq!(ports("http://prometheus.istio-system:9090"), BTreeSet::from([53, 443, 6443, 9090]));
    assert_eq!(ports("http://prometheus.istio-system"), BTreeSet::from([53, 80, 443, 6443]));
    assert_eq!(ports("https://[2001:db8::1]:9091/mesh"), BTreeSet::from([53, 443, 6443, 9091]));
    assert_eq!(ports("https://prometheus.example.com/"), BTreeSet::from([53, 443, 6443]));
}

#[test]
fn wrong_values_are_refused_by_name() {
    let table = [
        ("--set=replicas=two", "/replicas", "want integer"),
        ("--set=replicas=-1", "/replicas", "minimum"),
        ("--set=replicaCount=2", "replicaCount", "not allowed"),
        ("--set=prometheusUrl=prometheus:9090", "/prometheusUrl", "https?://"),
        ("--set=prometheusUrl=http://user:password@prometheus", "/prometheusUrl", "pattern"),
        ("--set=prometheusUrl=null", "prometheusUrl", "missing"),
        ("--set=image.digest=sha256:abc", "/image/digest", "sha256:[0-9a-f]{64}"),
        ("--set=image.pullPolicy=Sometimes", "/image/pullPolicy", "IfNotPresent"),
        ("--set=watchNamespace=Shop", "/watchNamespace", "pattern"),
        (r#"--set-json=repositories=[{"namespace":"platform"}]"#, "/repositories/0", "secrets"),
        (r#"--set-json=repositories=[{"namespace":"platform","secrets":[]}]"#, "/repositories/0/secrets", "minItems"),
        (
            r#"--set-json=repositories=[{"namespace":"platform","secrets":["*"]}]"#,
            "/repositories/0/secrets/0",
            "pattern",
        ),
        (r#"--set-json=otherRoutes=[{"apiGroup":"*","resources":["splits"]}]"#, "/otherRoutes/0/apiGroup", "pattern"),
        (
            r#"--set-json=otherRoutes=[{"apiGroup":"apps","resources":["deployments"]}]"#,
            "/otherRoutes/0/apiGroup",
            "pattern",
        ),
        ("--set=allowHttpHosts={http://gitea:3000}", "/allowHttpHosts/0", "pattern"),
        ("--set=logFormat=yaml", "/logFormat", "json"),
        ("--set=resources.requests.cpu=lots", "/resources/requests/cpu", "pattern"),
        ("--set=serviceMonitor.interval=often", "/serviceMonitor/interval", "pattern"),
        ("--set=networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts/0", "minimum"),
    ];
    for (value, field, needle) in table {
        let error = parts::chart(&site(Path::new("")), "reiter8-system", &[value]).expect_err(value).to_string();
        assert!(error.contains(field) && error.contains(needle), "{value}: {error}");
    }
    println!("  {} wrong values were refused", table.len());
}

/// etcd and kube-apiserver, stopped when out of scope.
struct ControlPlane {
    site: Site,
    kube: parts::Kube,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = stack::down(&self.site.dir);
    }
}

impl ControlPlane {
    fn start() -> Self {
        let site = site(&PathBuf::from(format!("/var/tmp/reiter8-test-chart-{}", std::process::id())));
        std::fs::create_dir_all(&site.dir).unwrap();
        let kube = parts::kube(&site).unwrap();
        Self { site, kube }
    }

    /// What kubectl prints, warnings included.
    fn kubectl(&self, args: &[&str], input: Option<&str>) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), input.unwrap_or_default()).unwrap();
        let mut kubectl = Command::new(self.site.bin.join("kubectl"));
        kubectl.arg("--kubeconfig").arg(&self.kube.kubeconfig).args(args);
        let output = kubectl.stdin(std::fs::File::open(file.path()).unwrap()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    fn install(&self, namespace: &str, values: &[&str]) {
        let chart = parts::chart(&self.site, namespace, values).unwrap();
        let said = self.kubectl(&["apply", "--server-side", "-f", "-"], Some(&chart)).unwrap();
        assert!(!said.contains("Warning"), "{said}");
    }

    /// Who of `account` may do each of these, as the API server's authorizer has it: lines that are not as expected.
    fn surprises(&self, account: &str, table: &[(&str, &str, &str, bool)]) -> Vec<String> {
        let user = format!("--as=system:serviceaccount:{account}");
        let may = |verb: &str, what: &str, namespace: &str| {
            let place = if namespace.is_empty() { "-A".to_owned() } else { format!("--namespace={namespace}") };
            let (what, part) = what.split_once(':').unwrap_or((what, ""));
            let part = format!("--subresource={part}");
            let said = self.kubectl(&["auth", "can-i", verb, what, &part, &place, &user], None);
            let said = said.unwrap_or_else(|said| said);
            // A kind that the server does not know is a mistake in the table: nobody may do anything with it.
            assert!(!said.contains("have a resource type"), "{what}: {said}");
            said.starts_with("yes")
        };
        let wrong = table.iter().filter(|(verb, what, namespace, expected)| may(verb, what, namespace) != *expected);
        wrong
            .map(|(verb, what, namespace, expected)| format!("{verb} {what} in `{namespace}` is not {expected}"))
            .collect()
    }
}

/// Each verb that the controller uses, and those that it must not have: verb, what (`kind/name`, `kind:subresource`), in
/// which namespace (all of them if empty), and whether it may.
const EVERYWHERE: [(&str, &str, &str, bool); 38] = [
    ("watch", "experiments.iter8.tools", "", true),
    ("patch", "experiments.iter8.tools", "shop", true),
    ("update", "experiments.iter8.tools:status", "shop", true),
    ("get", "metrics.iter8.tools", "shop", true),
    ("watch", "repositories.iter8.tools", "", true),
    ("watch", "virtualservices.networking.istio.io", "", true),
    ("patch", "virtualservices.networking.istio.io", "shop", true),
    ("get", "destinationrules.networking.istio.io", "shop", true),
    ("watch", "deployments.apps", "", true),
    ("list", "pods", "shop", false),
    ("get", "services", "shop", true),
    ("list", "serviceentries.networking.istio.io", "shop", true),
    ("create", "events.events.k8s.io", "shop", true),
    ("patch", "events.events.k8s.io", "shop", true),
    ("create", "leases.coordination.k8s.io", "reiter8-system", true),
    ("update", "leases.coordination.k8s.io", "reiter8-system", true),
    ("delete", "leases.coordination.k8s.io", "reiter8-system", true),
    ("get", "secrets/environment-token", "platform", true),
    ("get", "secrets/another", "platform", false),
    ("list", "secrets", "platform", false),
    ("list", "secrets", "", false),
    ("get", "secrets/environment-token", "shop", false),
    ("get", "secrets", "reiter8-system", false),
    ("create", "experiments.iter8.tools", "shop", false),
    ("update", "experiments.iter8.tools", "shop", false),
    ("delete", "experiments.iter8.tools", "shop", false),
    ("patch", "repositories.iter8.tools", "platform", false),
    ("update", "virtualservices.networking.istio.io", "shop", false),
    ("delete", "virtualservices.networking.istio.io", "shop", false),
    ("patch", "destinationrules.networking.istio.io", "shop", false),
    ("patch", "deployments.apps", "shop", false),
    ("patch", "deployments.apps:scale", "shop", false),
    ("delete", "pods", "shop", false),
    ("create", "pods:exec", "shop", false),
    ("get", "configmaps", "shop", false),
    ("get", "leases.coordination.k8s.io", "shop", false),
    ("create", "serviceaccounts:token", "reiter8-system", false),
    ("escalate", "clusterroles.rbac.authorization.k8s.io", "", false),
];

/// The same for an installation that looks after `shop` alone.
const ONE_NAMESPACE: [(&str, &str, &str, bool); 17] = [
    ("watch", "experiments.iter8.tools", "shop", true),
    ("patch", "experiments.iter8.tools", "shop", true),
    ("update", "experiments.iter8.tools:status", "shop", true),
    ("watch", "virtualservices.networking.istio.io", "shop", true),
    ("patch", "virtualservices.networking.istio.io", "shop", true),
    ("watch", "deployments.apps", "shop", true),
    ("get", "repositories.iter8.tools", "platform", true),
    ("get", "secrets/environment-token", "platform", true),
    ("create", "leases.coordination.k8s.io", "shop-reiter8", true),
    ("list", "experiments.iter8.tools", "", false),
    ("get", "experiments.iter8.tools", "other", false),
    ("patch", "virtualservices.networking.istio.io", "other", false),
    ("get", "deployments.apps", "platform", false),
    ("list", "repositories.iter8.tools", "platform", false),
    ("get", "secrets", "shop", false),
    ("list", "secrets", "platform", false),
    ("patch", "deployments.apps", "shop", false),
];

#[test]
fn a_real_api_server_takes_it_and_grants_what_is_needed_and_no_more() {
    let cluster = ControlPlane::start();
    for namespace in ["reiter8-system", "shop-reiter8", "platform", "shop", "argocd"] {
        cluster.kubectl(&["create", "namespace", namespace], None).unwrap();
        let level = "pod-security.kubernetes.io/warn=restricted";
        cluster.kubectl(&["label", "namespace", namespace, level], None).unwrap();
    }
    let istio = cluster.site.bin.join("istio-crds.yaml").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-f", &istio], None).unwrap();
    // All of FULL but the monitor, whose definition is the Prometheus operator's.
    let full = FULL.map(|v| v.replace("serviceMonitor.create=true", "serviceMonitor.create=false"));
    cluster.install("reiter8-system", &full.each_ref().map(String::as_str));
    cluster.install("reiter8-system", &[REPOSITORIES]);
    // The other as people do it.
    let mut helm = Command::new(cluster.site.bin.join("helm"));
    helm.arg("--kubeconfig").arg(&cluster.kube.kubeconfig).args(["install", "reiter8", "--namespace=shop-reiter8"]);
    helm.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/reiter8")).args(NAMESPACED);
    let said = parts::run(&mut helm).unwrap();
    assert!(said.contains("looks after the experiments of namespace shop"), "{said}");
    assert_eq!(cluster.surprises("reiter8-system:reiter8", &EVERYWHERE), Vec::<String>::new());
    assert_eq!(cluster.surprises("shop-reiter8:reiter8", &ONE_NAMESPACE), Vec::<String>::new());
    println!("  {} rights are granted or refused as they are to be", EVERYWHERE.len() + ONE_NAMESPACE.len());
    one_namespace(&cluster);
    samples_for_argo_cd(&cluster);
}

/// The controller with the arguments and the rights of a namespaced installation takes up that namespace's experiment,
/// and leaves the other's alone.
fn one_namespace(cluster: &ControlPlane) {
    cluster.kubectl(&["create", "namespace", "other"], None).unwrap();
    let sample = include_str!("../../samples/bookinfo/experiment.yaml");
    for namespace in ["other", "shop"] {
        let experiment = sample.replace("namespace: bookinfo", &format!("namespace: {namespace}"));
        let experiment = experiment.replace("target: bookinfo/", &format!("target: {namespace}/"));
        cluster.kubectl(&["apply", "-f", "-"], Some(&experiment)).unwrap();
    }
    let token = cluster.kubectl(&["create", "token", "reiter8", "-n", "shop-reiter8", "--duration=1h"], None).unwrap();
    let kubeconfig = cluster.site.dir.join("reiter8.kubeconfig");
    let authority = cluster.site.dir.join("kube/certs/apiserver.crt");
    parts::kubeconfig(&kubeconfig, &cluster.kube.server, &authority, token.trim()).unwrap();
    let documents = rendered(&NAMESPACED);
    let given = &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    let port = stack::process::free_port().unwrap();
    let mut controller = Command::new(env!("CARGO_BIN_EXE_reiter8"));
    controller.args(given.as_array().unwrap().iter().map(|a| a.as_str().unwrap()));
    controller.arg(format!("--listen=127.0.0.1:{port}")).env("KUBECONFIG", &kubeconfig);
    controller.env("POD_NAMESPACE", "shop-reiter8").env("POD_NAME", "reiter8-0");
    let process = cluster.site.spawn("reiter8", port, &mut controller).unwrap();
    let ready = process.wait(PATIENCE, || parts::answers(&format!("http://127.0.0.1:{port}/readyz")));
    let said = |namespace: &str| {
        let message = "-o=jsonpath={.status.message}";
        cluster.kubectl(&["get", "experiment", "productpage-x7k2p", "-n", namespace, message], None).unwrap()
    };
    let handled = ready.and_then(|()| process.wait(PATIENCE, || said("shop").starts_with("RepositoryNotFound")));
    let log = std::fs::read_to_string(&process.log).unwrap_or_default();
    assert!(handled.is_ok(), "{handled:?}, {}, the log:\n{log}", said("shop"));
    assert_eq!(said("other"), "", "the other namespace is not this controller's");
    assert!(!log.to_lowercase().contains("forbidden"), "{log}");
    // What it has no right to read is told where people look, and read as soon as the right is there.
    let asked = sample.replace("namespace: bookinfo", "namespace: shop").replace("target: bookinfo/", "target: shop/");
    let asked = asked.replace("repository: platform/", "repository: other/");
    cluster.kubectl(&["apply", "-f", "-"], Some(&asked)).unwrap();
    let refused = process.wait(PATIENCE, || said("shop").starts_with("Forbidden: spec.gitops.repository: "));
    assert!(refused.is_ok(), "{}", said("shop"));
    for part in ["Repository `other/environment`", "give its service account the right"] {
        assert!(said("shop").contains(part), "{}", said("shop"));
    }
    let events = ["get", "events", "-n", "shop", "-o=jsonpath={.items[?(@.reason==\"Forbidden\")].message}"];
    let events = cluster.kubectl(&events, None).unwrap();
    assert!(events.contains("spec.gitops.repository: "), "{events}");
    let role = ["create", "role", "reader", "-n", "other", "--verb=get", "--resource=repositories.iter8.tools"];
    cluster.kubectl(&role, None).unwrap();
    let binding =
        ["create", "rolebinding", "reader", "-n", "other", "--role=reader", "--serviceaccount=shop-reiter8:reiter8"];
    cluster.kubectl(&binding, None).unwrap();
    let healed = process.wait(PATIENCE, || said("shop").starts_with("RepositoryNotFound"));
    assert!(healed.is_ok(), "{}", said("shop"));
    process.stop(PATIENCE);
}

/// The samples for Argo CD are applied in the way that they say.
fn samples_for_argo_cd(cluster: &ControlPlane) {
    let sample = |name: &str| format!("{}/samples/argocd/{name}", env!("CARGO_MANIFEST_DIR"));
    let definition = cluster.site.bin.join("application-crd.yaml").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "-f", &definition], None).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"], None).unwrap();
    let application = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f"];
    cluster.kubectl(&[&application[..], &[&sample("application.yaml")]].concat(), None).unwrap();
    cluster.kubectl(&["create", "configmap", "argocd-cm", "-n", "argocd", "--from-literal=url=kept"], None).unwrap();
    let patch = ["patch", "configmap", "argocd-cm", "-n", "argocd", "--patch-file"];
    cluster.kubectl(&[&patch[..], &[&sample("argocd-cm.yaml")]].concat(), None).unwrap();
    let found = cluster.kubectl(&["get", "configmap", "argocd-cm", "-n", "argocd", "-o", "yaml"], None).unwrap();
    assert!(found.contains("url: kept") && found.contains("resource.customizations.health.iter8.tools_Experiment"));
}
