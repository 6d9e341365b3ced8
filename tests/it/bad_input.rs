//! Bad input, as a table: what is wrong, and the reason, field, value and fix that are told. Each row goes through the
//! code that meets it in production, up to the engine: no traffic moves, what has traffic comes home, and a repository
//! is left as it was. `tests/stack/bad_input.rs` has the rows that need a real API server and a real forge.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::manifests::{EXPERIMENT, NAMES, RULES, SHAPES, changed, samples};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

use crate::support::git_server::{Mode, Server, TOKEN};
use crate::support::gitops;
use reiter8::api::{Experiment, Metric, Provider, Repository, RepositorySpec};
use reiter8::controller::resolve::{Referred, Resolved, resolve};
use reiter8::engine::{self, Effect, Observation, Phase, Plan, Progress, Questions, Unavailable, Wake};
use reiter8::gitops::forge::{Extras, Forge, LocalForge};
use reiter8::gitops::repository::Remote;
use reiter8::gitops::transport::Token;
use reiter8::gitops::{Credential, WriteBack, WriteTarget};
use reiter8::live::{Asked, Prometheus, Versions};
use reiter8_testing::{World, trial};
use serde_json::{Value, json};

/// What is wrong.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// The sample experiment's spec with this laid over it.
    Spec(&'static str),
    /// An experiment that is judged by a Metric of this spec.
    Metric(&'static str),
    /// A file of the environment repository with another text.
    File(&'static str, &'static str),
    /// How the git server and its forge answer.
    Forge(Mode),
    /// Nobody listens at the forge's address.
    NoForge,
    /// Nobody listens at Prometheus' address.
    NoPrometheus,
}

/// Name; what is wrong; then the reason, and the field, the value and the fix as they are told.
type Row = (&'static str, Input, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    (
        "unknown metric",
        Input::Spec(r#"{"criteria": {"objectives": [{"metric": "checkout-errors", "upperLimit": "1%"}]}}"#),
        "MetricNotFound",
        &["spec.criteria.objectives[0].metric", "checkout-errors", "create it or correct the name"],
    ),
    (
        "unknown metric of Istio",
        Input::Spec(r#"{"criteria": {"objectives": [{"metric": "istio/eror-rate", "upperLimit": "1%"}]}}"#),
        "InvalidExperiment",
        &["spec.criteria.objectives[0].metric", "`istio/eror-rate`", "`istio/error-rate`"],
    ),
    (
        "aggregation in a selector",
        Input::Metric(r#"{"share": {"bad": "sum(rate(errors_total[1m]))", "total": "requests_total"}}"#),
        "InvalidExperiment",
        &["spec.criteria.objectives[0].metric", "sum(rate(errors_total[1m]))", "without"],
    ),
    (
        "placeholder that no version has",
        Input::Metric(r#"{"share": {"bad": "errors_total{shard=\"$shard\"}", "total": "requests_total"}}"#),
        "InvalidExperiment",
        &["spec.criteria.objectives[0].metric", "`$shard`", "there are `$name`"],
    ),
    (
        "limit of another unit",
        Input::Spec(r#"{"criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "250ms"}]}}"#),
        "InvalidExperiment",
        &["spec.criteria.objectives[0].upperLimit", "`250ms`", "`1%`"],
    ),
    (
        "limit that cannot be proven",
        Input::Spec(r#"{"criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "0%"}]}}"#),
        "InvalidExperiment",
        &["spec.criteria.objectives[0].upperLimit", "`0%`", "`0.1%`"],
    ),
    (
        "target of another namespace",
        Input::Spec(r#"{"target": "bank/productpage"}"#),
        "InvalidExperiment",
        &["spec.target", "`bank/productpage`", "`bookinfo/NAME`"],
    ),
    (
        "route of another namespace",
        Input::Spec(r#"{"traffic": {"virtualService": "bank/bookinfo"}}"#),
        "NotSupported",
        &["spec.traffic.virtualService", "`bank/bookinfo`", "write an object of `bookinfo`"],
    ),
    (
        "hostile name",
        Input::Spec(r#"{"traffic": {"virtualService": "../../secrets"}}"#),
        "NotSupported",
        &["spec.traffic.virtualService", "`../../secrets`", "write an object of `bookinfo`"],
    ),
    (
        "no workload",
        Input::Spec(r#"{"versionInfo": {"baseline": {"workload": null}}}"#),
        "InvalidExperiment",
        &["spec.versionInfo.baseline.workload", "`stable`", "{name: DEPLOYMENT}"],
    ),
    (
        "both versions at one destination",
        Input::Spec(r#"{"versionInfo": {"baseline": {"destination": {"subset": "candidate"}}}}"#),
        "InvalidExperiment",
        &["spec.versionInfo", "same destination", "two subsets"],
    ),
    (
        "deadlines in the wrong order",
        Input::Spec(r#"{"analysis": {"deadline": "1h", "hardDeadline": "5m"}}"#),
        "InvalidExperiment",
        &["spec.analysis.hardDeadline", "5m is before the deadline of 1h", "write a longer one"],
    ),
    (
        "no time at all",
        Input::Spec(r#"{"analysis": {"deadline": "0s"}}"#),
        "InvalidExperiment",
        &["spec.analysis.deadline", "`0s`", "write for example `1h`"],
    ),
    (
        "interval that does not end before the deadline",
        Input::Spec(r#"{"analysis": {"interval": "1h", "deadline": "30m"}}"#),
        "InvalidExperiment",
        &["spec.analysis.interval", "1h is not shorter than the deadline of 30m", "write a shorter time"],
    ),
    (
        "lag beyond the deadline",
        Input::Spec(r#"{"analysis": {"lag": "30m", "deadline": "30m"}}"#),
        "InvalidExperiment",
        &["spec.analysis.lag", "30m is not shorter", "`spec.analysis.deadline`"],
    ),
    (
        "warm-up beyond the deadline",
        Input::Spec(r#"{"analysis": {"warmUp": "2h"}}"#),
        "InvalidExperiment",
        &["spec.analysis.warmUp", "2h is not shorter than the deadline of 1h", "`spec.analysis.deadline`"],
    ),
    (
        "soak beyond the deadline",
        Input::Spec(r#"{"analysis": {"soak": "90m"}}"#),
        "InvalidExperiment",
        &["spec.analysis.soak", "1h 30m is not shorter than the deadline of 1h", "write a shorter time"],
    ),
    (
        "error budget of a coin",
        Input::Spec(r#"{"analysis": {"falsePromotion": "50%"}}"#),
        "InvalidExperiment",
        &["spec.analysis.falsePromotion", "`50%`", "below 0.5"],
    ),
    (
        "steps that fall",
        Input::Spec(r#"{"strategy": {"ramp": {"steps": [{"weight": 20}, {"weight": 10}, {"weight": 30}]}}}"#),
        "InvalidExperiment",
        &["spec.strategy.ramp.steps[1].weight", "10 is not above the 20 before it", "write weights that rise"],
    ),
    (
        "step over the cap",
        Input::Spec(r#"{"strategy": {"ramp": {"steps": [{"weight": 20}, {"weight": 80}]}}}"#),
        "InvalidExperiment",
        &["spec.strategy.ramp.steps[1].weight", "80 is over the cap of 50", "write at most 50"],
    ),
    (
        "steps that outlast the experiment",
        Input::Spec(
            r#"{"strategy": {"ramp": {"steps": [{"weight": 5, "hold": "90m"}, {"weight": 20, "hold": "30m"}, {"weight": 50}]}}}"#,
        ),
        "InvalidExperiment",
        &["spec.strategy.ramp.steps", "2h 1m", "ends after 2h", "`spec.analysis.hardDeadline`"],
    ),
    (
        "ramp of a fixed split",
        Input::Spec(r#"{"strategy": {"deploymentPattern": "FixedSplit", "ramp": {"badRequestBudget": 10}}}"#),
        "InvalidExperiment",
        &["spec.strategy.ramp", "`FixedSplit`", "remove `ramp`"],
    ),
    (
        "factor that no equal candidate passes",
        Input::Spec(
            r#"{"criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"},
                {"metric": "istio/latency-p95", "upperLimit": "250ms", "relative": {"factor": 0.5}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.criteria.objectives[1].relative.factor", "0.5", "write at least `1`"],
    ),
    (
        "limits that nothing is between",
        Input::Spec(
            r#"{"criteria": {"objectives": [{"metric": "istio/mean-latency", "lowerLimit": "300ms", "upperLimit": "200ms"}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.criteria.objectives[0].lowerLimit", "`300ms` is not below the upper limit `200ms`", "exchange the two"],
    ),
    (
        "one workload for both versions",
        Input::Spec(
            r#"{"versionInfo": {"candidates": [{"name": "candidate", "workload": {"name": "productpage"}, "destination": {"subset": "candidate"}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.versionInfo.candidates[0].workload", "`productpage`", "name the candidate's own"],
    ),
    (
        "clean-up of the baseline",
        Input::Spec(r#"{"gitops": {"remove": ["fortio.yaml", "productpage.yaml"]}}"#),
        "InvalidExperiment",
        &["spec.gitops.remove[1]", "`productpage.yaml`", "remove it from the list"],
    ),
    (
        "one file for both versions",
        Input::Spec(r#"{"gitops": {"promote": {"from": "productpage.yaml"}}}"#),
        "InvalidExperiment",
        &["spec.gitops.promote.from", "`productpage.yaml`", "two different files"],
    ),
    (
        "review without time",
        Input::Spec(r#"{"gitops": {"pullRequest": {"staleAfter": "0s"}}}"#),
        "InvalidExperiment",
        &["spec.gitops.pullRequest.staleAfter", "`0s`", "write for example `7d`"],
    ),
    (
        "A/B without a reward",
        Input::Spec(r#"{"strategy": {"testingPattern": "A/B"}}"#),
        "InvalidExperiment",
        &["spec.criteria.rewards", "one reward, here are 0", "preferredDirection"],
    ),
    (
        "reward that is none",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B"},
                "criteria": {"rewards": [{"metric": "istio/latency-p95", "preferredDirection": "Low"}]}}"#,
        ),
        "NotSupported",
        &["spec.criteria.rewards[0].metric", "`istio/latency-p95`", "`mean` or `gauge`"],
    ),
    (
        "too many candidates",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "c0", "workload": {"name": "w0"}, "destination": {"subset": "s0"}}, {"name": "c1", "workload": {"name": "w1"}, "destination": {"subset": "s1"}}, {"name": "c2", "workload": {"name": "w2"}, "destination": {"subset": "s2"}}, {"name": "c3", "workload": {"name": "w3"}, "destination": {"subset": "s3"}}, {"name": "c4", "workload": {"name": "w4"}, "destination": {"subset": "s4"}}, {"name": "c5", "workload": {"name": "w5"}, "destination": {"subset": "s5"}}, {"name": "c6", "workload": {"name": "w6"}, "destination": {"subset": "s6"}}, {"name": "c7", "workload": {"name": "w7"}, "destination": {"subset": "s7"}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.versionInfo.candidates", "8 candidates", "1 to 7"],
    ),
    (
        "one workload for two candidates",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-b"}, "destination": {"subset": "c"}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.versionInfo.candidates[1].workload", "`pp-b`", "name the candidate's own"],
    ),
    (
        "one destination for two candidates",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-c"}, "destination": {"subset": "b"}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.versionInfo.candidates[1].destination", "same destination", "two subsets"],
    ),
    (
        "file of a candidate that there is not",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-c"}, "destination": {"subset": "c"}}]}, "gitops": {"promote": {"fromEach": {"d": "pp-d.yaml"}}}}"#,
        ),
        "InvalidExperiment",
        &["spec.gitops.promote.fromEach", "`d`", "there are `b`, `c`"],
    ),
    (
        "candidate in the baseline's file",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-c"}, "destination": {"subset": "c"}}]}, "gitops": {"promote": {"fromEach": {"c": "productpage.yaml"}}}}"#,
        ),
        "InvalidExperiment",
        &["spec.gitops.promote.fromEach", "`productpage.yaml`", "write the file of `c`"],
    ),
    (
        "several candidates in a chart's values",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-c"}, "destination": {"subset": "c"}}]}, "gitops": {"layout": "HelmValues"}}"#,
        ),
        "NotSupported",
        &["spec.gitops.layout", "several candidates", "layout: Flat"],
    ),
    (
        "several candidates at a fixed split",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N", "deploymentPattern": "FixedSplit"}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-c"}, "destination": {"subset": "c"}}]}}"#,
        ),
        "NotSupported",
        &["spec.strategy.deploymentPattern", "same weight", "steps"],
    ),
    (
        "step over an equal part",
        Input::Spec(
            r#"{"strategy": {"testingPattern": "A/B/N", "ramp": {"steps": [{"weight": 40}]}}, "criteria": {"rewards": [{"metric": "istio/mean-latency", "preferredDirection": "Low"}]}, "versionInfo": {"candidates": [{"name": "b", "workload": {"name": "pp-b"}, "destination": {"subset": "b"}},
                {"name": "c", "workload": {"name": "pp-c"}, "destination": {"subset": "c"}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.strategy.ramp.steps[0].weight", "40 is over", "at most 33, which leaves every version an equal part"],
    ),
    (
        "directory that is not allowed",
        Input::Spec(r#"{"gitops": {"path": "apps/ratings"}}"#),
        "NotAllowed",
        &["spec.gitops.path", "`apps/ratings`", "spec.allowedPaths"],
    ),
    (
        "draft that merges itself",
        Input::Spec(r#"{"gitops": {"pullRequest": {"draft": true, "autoMerge": {"cleanup": true}}}}"#),
        "InvalidExperiment",
        &["spec.gitops.pullRequest.draft", "`autoMerge`", "remove one"],
    ),
    (
        "cap over 90 with a relative criterion",
        Input::Spec(
            r#"{"strategy": {"weights": {"maxCandidateWeight": 95}},
                "criteria": {"objectives": [{"metric": "istio/error-rate", "relative": {"factor": 1.5}}]}}"#,
        ),
        "InvalidExperiment",
        &["spec.strategy.weights.maxCandidateWeight", "95", "write at most 90"],
    ),
    (
        "unparsable YAML in the repository",
        Input::File("productpage.yaml", "kind: [Deployment\n"),
        "InvalidYaml",
        &["apps/productpage/productpage.yaml", "spec.branch `main`", "correct the file"],
    ),
    (
        "tab in the repository's YAML",
        Input::File("productpage.yaml", "kind: Deployment\nmetadata:\n\tname: productpage\n"),
        "TabIndentation",
        &["apps/productpage/productpage.yaml", "line 3", "correct the file"],
    ),
    (
        "template instead of a manifest",
        Input::File("productpage-candidate.yaml", "kind: Deployment\nmetadata: {name: {{ .Values.name }}}\n"),
        "TemplateFile",
        &["apps/productpage/productpage-candidate.yaml", "template"],
    ),
    (
        "candidate that is not in the repository",
        Input::File("productpage-candidate.yaml", "kind: Deployment\nmetadata: {name: another}\n"),
        "DocumentMissing",
        &["apps/productpage/productpage-candidate.yaml", "Deployment productpage-candidate"],
    ),
    (
        "wrong token",
        Input::Forge(Mode::Status(401)),
        "AuthenticationFailed",
        &["spec.secretRef `environment-token`", "valid token under the key `token`"],
    ),
    (
        "token with too few rights",
        Input::Forge(Mode::Status(403)),
        "PermissionDenied",
        &["spec.secretRef `environment-token`", "read, push and open requests"],
    ),
    (
        "no such repository",
        Input::Forge(Mode::Status(404)),
        "RepositoryNotFound",
        &["spec.url `http://", "correct the address, or let the token see"],
    ),
    (
        "repository that moved",
        Input::Forge(Mode::Status(301)),
        "RepositoryMoved",
        &["spec.url `http://", "write the address that the repository has now"],
    ),
    (
        "forge that fails",
        Input::Forge(Mode::Status(503)),
        "ProviderUnavailable",
        &["spec.url `http://", "bring the server back"],
    ),
    (
        "forge that asks for a login",
        Input::Forge(Mode::Page),
        "ProviderUnavailable",
        &["spec.url `http://", "correct the address"],
    ),
    (
        "unreachable forge",
        Input::NoForge,
        "ProviderUnavailable",
        &["no connection", "spec.url `http://", "correct the address"],
    ),
    (
        "unreachable Prometheus",
        Input::NoPrometheus,
        "MetricsUnavailable",
        &["http://127.0.0.1:", "bring it back", "--prometheus-url"],
    ),
];

/// Rows whose feature has not landed; they are said, not passed.
const WAITING: &[&str] = &[];

fn sample(file: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(samples().join(file)).unwrap()).unwrap()
}

fn experiment(over: &Value) -> Experiment {
    let mut object = sample(EXPERIMENT);
    json_patch::merge(&mut object["spec"], over);
    object["metadata"]["uid"] = json!("u1");
    serde_json::from_value(object).unwrap()
}

fn referred() -> Referred {
    let repository: Repository = serde_json::from_value(sample("platform/repository.yaml")).unwrap();
    Referred { repository: Some(repository), ..Referred::default() }
}

fn resolved() -> Resolved {
    resolve(&experiment(&json!({})), &referred()).unwrap()
}

/// What is told of an input by the code that meets it.
async fn told(input: Input) -> Unavailable {
    match input {
        Input::Spec(over) => refused(&experiment(&serde_json::from_str(over).unwrap()), &referred()),
        Input::Metric(spec) => {
            let spec: Value = serde_json::from_str(spec).unwrap();
            let metric = json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Metric",
                "metadata": {"name": "mine", "namespace": "bookinfo"}, "spec": spec});
            let metric: Metric = serde_json::from_value(metric).unwrap();
            let judged = json!({"criteria": {"objectives": [{"metric": "mine", "upperLimit": "1%"}]}});
            let metrics = BTreeMap::from([("mine".to_owned(), metric)]);
            refused(&experiment(&judged), &Referred { metrics, ..referred() })
        }
        Input::File(name, text) => local(name, text).await,
        Input::Forge(mode) => {
            let root = tempfile::tempdir().unwrap();
            gitops::environment(&root.path().join("env.git"));
            let server = Server::start(root.path()).await;
            server.set(mode);
            let unchanged = refs(&root.path().join("env.git"));
            let told = remote(&server.url("owner/env.git")).await;
            assert_eq!(refs(&root.path().join("env.git")), unchanged);
            told
        }
        Input::NoForge => remote(&format!("http://{}/owner/env.git", nobody())).await,
        Input::NoPrometheus => {
            let prometheus = Prometheus::new(&format!("http://{}", nobody())).unwrap();
            let binding = resolved().binding;
            let versions = Versions::of(&binding).remove(0);
            let window = engine::Window { from: time(-60), to: time(0) };
            let history = prometheus.history(&binding.metrics[..1], &versions.baseline, window, 10.0).await;
            let history = history.into_iter().next().unwrap().unwrap_err();
            let asked = Asked { query: &binding.metrics[0], versions: &versions, from: window.from };
            let answers = prometheus.read(&[asked], window.to, time(-3600), SignedDuration::from_secs(20)).await;
            let counts = answers.into_iter().next().unwrap().unwrap_err();
            assert_eq!(history.cause, counts.cause);
            counts
        }
    }
}

fn refused(experiment: &Experiment, referred: &Referred) -> Unavailable {
    let Err(refusal) = resolve(experiment, referred) else { panic!("it was taken: {:?}", experiment.spec) };
    Unavailable::new(refusal.cause(), refusal.to_string())
}

/// An address at which nobody listens.
fn nobody() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

fn repository(url: &str) -> RepositorySpec {
    RepositorySpec::new(url, Provider::Gitea, "environment-token")
}

/// The preflight over the network.
async fn remote(url: &str) -> Unavailable {
    let target = WriteTarget { repository: repository(url), spec: gitops::spec(), extras: Extras::default() };
    let write_back =
        WriteBack::new(target, Some(Credential::Token(Token::new(TOKEN))), &["127.0.0.1".to_owned()], &Arc::default())
            .unwrap();
    let told = write_back.remedied(write_back.preflight().await.unwrap_err());
    assert!(!told.message.contains(TOKEN), "{told}");
    told
}

/// The preflight in a repository one of whose files is wrong.
async fn local(name: &str, text: &str) -> Unavailable {
    let folder = tempfile::tempdir().unwrap();
    let bare = gitops::environment(folder.path());
    let files = BTreeMap::from([(format!("{}/{name}", gitops::APP), text.as_bytes().to_vec())]);
    gitops::commit(&bare, "main", "A slip", &files);
    let unchanged = (refs(folder.path()), gitops::files(&bare, "main"));
    let forge = Forge::Local(LocalForge::new(folder.path()));
    let repository = repository("https://git.example.com/owner/env.git");
    let target = WriteTarget { repository, spec: gitops::spec(), extras: Extras::default() };
    let write_back = WriteBack::with(Remote::Local(folder.path().into()), forge, target);
    let told = write_back.remedied(write_back.preflight().await.unwrap_err());
    assert_eq!((refs(folder.path()), gitops::files(&bare, "main")), unchanged, "the repository changed");
    told
}

/// Every ref of a bare repository with its commit.
fn refs(path: &Path) -> Vec<String> {
    let repository = git2::Repository::open_bare(path).unwrap();
    let refs = repository.references().unwrap();
    refs.map(|r| r.unwrap()).map(|r| format!("{} {:?}", r.name().unwrap_or_default(), r.target())).collect()
}

fn time(second: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

/// A world in which all is well, at this weight.
fn well(weight: u8) -> Observation {
    let window = engine::Window { from: time(-3600), to: time(0) };
    World::ready().replicas(2).weight(weight).see(&Questions {
        history: Some(window),
        preflight: true,
        sync: Some(trial::commit("base")),
        subsets: true,
        ..Questions::default()
    })
}

/// Takes a few turns against one observation; the last progress, and every weight that was wanted.
fn turns(plan: &Plan, mut progress: Progress, seen: &Observation) -> (Progress, Vec<u8>) {
    let mut weights = vec![];
    for _ in 0..6 {
        let step = engine::step(plan, &progress, seen, time(0));
        weights.extend(step.effects.iter().filter_map(|e| match e {
            Effect::Route(split) => Some(split.of(0)),
            _ => None,
        }));
        assert!(step.wake != Wake::OnChange, "it would be forgotten");
        progress = step.progress;
    }
    (progress, weights)
}

/// The baseline keeps or gets everything, and the reason is what the experiment waits for.
fn traffic_is_safe(input: Input, why: &Unavailable) {
    let plan = resolved().plan;
    let preparing = Progress { phase: Phase::Preparing, held: true, since: Some(time(0)), ..Progress::default() };
    let (mut refused, mut before) = (plan.clone(), well(0));
    match input {
        Input::Spec(_) | Input::Metric(_) => refused.refused = Some(why.clone()),
        Input::File(..) | Input::Forge(_) | Input::NoForge => before.preflight = Some(Err(why.clone())),
        Input::NoPrometheus => before.history = Some(vec![Err(why.clone())]),
    }
    let (waiting, weights) = turns(&refused, preparing.clone(), &before);
    assert_eq!((waiting.phase, weights), (Phase::Preparing, vec![]), "{why}");
    assert_eq!(waiting.waiting.unwrap().reason, why.cause.word());
    // The same with nothing wrong begins, so that the rows prove something.
    let (running, weights) = turns(&plan, preparing, &well(0));
    assert!(running.phase == Phase::Shifting && weights.iter().all(|w| *w > 0) && !weights.is_empty());
    if refused.refused.is_some() {
        let (home, weights) = turns(&refused, running.clone(), &well(running.weight));
        assert!(!weights.is_empty() && weights.iter().all(|w| *w == 0), "{why}: {weights:?}");
        assert_eq!((home.phase, home.evidence), (Phase::Shifting, running.evidence), "nothing is lost");
        assert_eq!(home.waiting.unwrap().reason, why.cause.word());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_has_a_reason_a_field_a_value_and_a_fix() {
    let mut wrong = vec![];
    for (name, input, reason, words) in TABLE {
        if WAITING.contains(name) {
            println!("| {name} | {input:?} | waits for its feature | |");
            continue;
        }
        let told = told(*input).await;
        println!("| {name} | {input:?} | {} | {told} |", told.cause.word());
        let missing: Vec<_> = words.iter().filter(|word| !told.message.contains(**word)).collect();
        if told.cause.word() != *reason || !missing.is_empty() {
            wrong.push(format!("{name}: {}: {told}: wanted {reason}, {missing:?}", told.cause.word()));
            continue;
        }
        traffic_is_safe(*input, &told);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `reiter8 check` says of a directory: exit code and lines.
fn check(dir: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reiter8")).arg("check").arg(dir).args(more).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// Malformed manifests, unknown routes, subsets and workloads, a missing wave: all before anything is committed.
#[test]
fn every_bad_file_is_told_with_line_field_value_and_remedy() {
    let mut wrong = vec![];
    for (file, from, to, line, severity, field, words) in SHAPES.iter().chain(RULES).chain(NAMES) {
        let dir = changed(file, from, to);
        let (code, text) = check(dir.path(), &[]);
        let place = format!(":{line}: {severity}: {field}");
        let found = text.lines().find(|l| l.contains(&place) && words.iter().all(|w| l.contains(w)));
        let said = found.map(|l| l.trim_start_matches(&*dir.path().display().to_string()).trim_start_matches('/'));
        println!("| {} | {} | {} |", from.trim().escape_debug(), to.trim().escape_debug(), said.unwrap_or_default());
        let failed = text.lines().any(|l| l.contains(": error: "));
        let strict = *severity == "error" || check(dir.path(), &["--strict"]).0 == Some(1);
        if found.is_none() || code != Some(i32::from(failed)) || !strict {
            wrong.push(format!("{from} -> {to}: wanted `{place}` with {words:?} in\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
