//! What operators see: metrics whose number is bounded whatever experiments do, a dashboard that asks for metrics that
//! exist, and one word for one reason everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reiter8::api::Experiment;
use reiter8::engine::{Cause, Outcome, Reason};
use reiter8::server::{self, Readiness};
use reiter8::telemetry::{self, MOST_CRITERIA, MOST_REASONS, MOST_SHOWN, Metrics, Provider};
use serde_json::{Value, json};

const DASHBOARD: &str = include_str!("../../../charts/reiter8/dashboards/reiter8.json");
/// Patience with the start of a process.
const PATIENCE: Duration = Duration::from_secs(30);

/// A name that would break out of a label if it were not escaped.
const HOSTILE: &str = "x\"} 1\nreiter8_forged{a=\"\\";

fn experiment(i: usize, phase: &str, criteria: usize, reason: &str) -> Experiment {
    let criterion = json!({"metric": HOSTILE, "limit": "1 %", "requests": 100, "bad": 1, "estimate": 0.01,
        "interval": {"low": 0.001, "high": 0.02}, "failEvidence": 2.0, "failNeeded": 40.0, "passEvidence": 20.0, "needed": 20.0});
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({
        "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment",
        "metadata": {"name": format!("e{i}"), "namespace": "shop", "creationTimestamp": format!("2026-01-01T{:02}:{:02}:00Z", i / 60 % 24, i % 60)},
        "spec": {"target": "shop/app", "strategy": {"testingPattern": "Canary"},
            "versionInfo": {"baseline": {"name": "a"}, "candidates": [{"name": "b"}]},
            "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]}},
        "status": {"phase": phase, "criteria": vec![criterion; criteria],
            "weights": [{"name": "a", "value": 70}, {"name": "b", "value": 30}],
            "waitingFor": {"what": "something"},
            "conditions": [condition("Ready", "False"), condition("Stalled", "True")],
            "gitops": {"stages": [{"stage": "Promote", "state": "Waiting", "pullRequest": {"number": i, "url": "https://git.example.com/secret", "state": "Open"}}]}}
    }))
    .unwrap()
}

/// A registry that has seen everything once, over experiments that can be exchanged.
fn registry() -> (Metrics, Arc<Mutex<Vec<Experiment>>>) {
    let metrics = Metrics::default();
    let known: Arc<Mutex<Vec<Experiment>>> = Arc::default();
    let shown = Arc::clone(&known);
    metrics.watch(move |show: &mut dyn FnMut(&Experiment)| shown.lock().unwrap().iter().for_each(show));
    metrics.lead();
    metrics.outcome(Outcome::Discard, Reason::Harmful);
    metrics.repaired(2);
    metrics.event("WeightsRepaired");
    metrics.effect("Route");
    metrics.error(Cause::ApiUnavailable);
    metrics.reconciled(0.1);
    for provider in [Provider::Kubernetes, Provider::Prometheus, Provider::Forge, Provider::Git] {
        telemetry::Timer::start(provider).stop(None);
        telemetry::Timer::start(provider).stop(Some(Cause::RateLimited));
    }
    (metrics, known)
}

/// The samples of a scrape.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

fn value(text: &str, series: &str) -> Option<f64> {
    samples(text).into_iter().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn the_number_of_series_is_bounded_whatever_experiments_do() {
    let (metrics, known) = registry();
    let process = samples(&metrics.encode()).len();
    assert!(process < 200, "{process} series without experiments");

    let many = 3 * MOST_SHOWN;
    let reason = |i: usize| if i.is_multiple_of(2) { HOSTILE.to_owned() } else { format!("R{}", "a".repeat(i % 200)) };
    *known.lock().unwrap() =
        (0..many).map(|i| experiment(i, "Shifting", MOST_CRITERIA + 5, &reason(i))).collect::<Vec<_>>();
    let text = metrics.encode();
    let most = process + MOST_SHOWN * (1 + 5 * MOST_CRITERIA) + MOST_REASONS + 4;
    assert!(samples(&text).len() <= most, "{} series, at most {most}", samples(&text).len());
    assert_eq!(text.matches("reiter8_experiment_candidate_weight_percent{").count(), MOST_SHOWN);
    assert_eq!(value(&text, "reiter8_experiments_hidden"), Some((many - MOST_SHOWN) as f64));
    assert_eq!(value(&text, "reiter8_experiments{phase=\"Shifting\"}"), Some(many as f64));
    assert!(text.contains("experiment=\"e0\""), "the oldest are shown");
    assert!(!text.contains(&format!("experiment=\"e{}\"", many - 1)), "the newest are not");

    for end in ["Completed", "Queued"] {
        *known.lock().unwrap() = (0..many).map(|i| experiment(i, end, 3, "Stale")).collect::<Vec<_>>();
        let text = metrics.encode();
        assert!(!text.contains("experiment=\""), "one that is {end} has no series of its own");
        assert_eq!(value(&text, &format!("reiter8_experiments{{phase=\"{end}\"}}")), Some(many as f64));
        assert_eq!(value(&text, "reiter8_experiments_hidden"), Some(0.0));
    }
    known.lock().unwrap().clear();
    let left = samples(&metrics.encode()).len();
    assert!(left <= process, "{left} series are left of {process}");
}

#[test]
fn labels_hold_what_they_should_and_nothing_breaks_out_of_them() {
    let (metrics, known) = registry();
    *known.lock().unwrap() = vec![experiment(1, "Deciding", 2, "WaitingForReview")];
    let text = metrics.encode();
    assert!(!text.contains("\nreiter8_forged"), "{text}");
    assert!(!text.contains("secret"), "addresses are in no label");
    let of = |name: &str, of: &str| {
        let found = samples(&text).into_iter().find(|l| l.starts_with(name) && l.contains(&format!("of=\"{of}\"")));
        found.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!((of("reiter8_criterion_evidence_ratio", "Pass") - 1.0).abs() < 1e-9, "20 of 20 decides");
    // Two criteria: one alone needs twice 1/0.05.
    assert!((of("reiter8_criterion_evidence_ratio", "Fail") - 2_f64.ln() / 40_f64.ln()).abs() < 1e-9);
    assert!((of("reiter8_criterion_bad_ratio", "high") - 0.02).abs() < 1e-9);
    let weight = "reiter8_experiment_candidate_weight_percent{namespace=\"shop\",experiment=\"e1\",candidate=\"b\"}";
    assert_eq!(value(&text, weight), Some(30.0));
    let waiting = "reiter8_experiments_waiting{reason=\"WaitingForReview\",stalled=\"true\"}";
    assert_eq!(value(&text, waiting), Some(1.0));
    assert_eq!(value(&text, "reiter8_pull_requests{stage=\"Promote\",state=\"Open\"}"), Some(1.0));
    assert_eq!(value(&text, "reiter8_pull_requests{stage=\"CleanUp\",state=\"Open\"}"), Some(0.0));
    assert_eq!(value(&text, "reiter8_outcomes_total{outcome=\"Discard\",reason=\"Harmful\"}"), Some(1.0));
    assert_eq!(value(&text, "reiter8_repairs_total"), Some(2.0));
    // What two criteria say of one metric stays two series.
    let mut series: Vec<&str> = samples(&text).into_iter().map(|l| l.rsplit_once(' ').unwrap().0).collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "a series appears twice");
}

/// Every expression of the dashboard with what it belongs to; Grafana's own variables are filled in.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = vec![];
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            found.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query") {
        let query = variable["definition"].as_str().unwrap();
        assert_eq!(variable["query"]["query"], query);
        let series = query.strip_prefix("label_values(").unwrap().rsplit_once(',').unwrap().0;
        found.push((variable["name"].to_string(), series.to_owned()));
    }
    let fill =
        |text: String| text.replace("$__rate_interval", "1m").replace("$namespace", ".*").replace("$experiment", ".*");
    found.into_iter().map(|(title, text)| (title, fill(text))).collect()
}

/// The metrics that an expression names.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|w| w.starts_with("reiter8_")).map(str::to_owned).collect()
}

/// A Prometheus that scrapes one address; it ends with the test.
struct Scraper {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Scraper {
    fn start(target: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: reiter8\n  static_configs: [{{targets: [\"{target}\"], labels: {{pod: reiter8-0}}}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        Self { child, url: format!("http://127.0.0.1:{port}"), _dir: dir }
    }

    async fn ask(&self, query: &str) -> Option<Value> {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/query", self.url)).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        reiter8::http::client().build().ok()?.get(url).send().await.ok()?.json().await.ok()
    }

    /// Series that a query finds.
    async fn count(&self, query: &str) -> Result<usize, String> {
        let answer = self.ask(query).await.ok_or("no answer")?;
        let found = answer["data"]["result"].as_array().map(Vec::len);
        found.ok_or_else(|| answer["error"].to_string())
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real Prometheus scrapes the real page, and every panel has something to show.
#[tokio::test]
async fn every_panel_of_the_dashboard_shows_what_is_exported() {
    let (metrics, known) = registry();
    *known.lock().unwrap() = vec![experiment(1, "Deciding", 2, "WaitingForReview")];
    let metrics = Arc::new(metrics);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = async {
        let _ = stopped.await;
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let (address, serving) = server::serve(address, Readiness::default(), Arc::clone(&metrics), ended).await.unwrap();
    let scraper = Scraper::start(&address.to_string());
    let deadline = Instant::now() + PATIENCE;
    // Rates need two scrapes.
    while scraper.count("count_over_time(up[1m]) >= 2 and up == 1").await != Ok(1) {
        assert!(Instant::now() < deadline, "not scraped: {:?}", scraper.ask("up").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 20, "{}", expressions.len());
    let mut shown = BTreeSet::new();
    for (title, expression) in &expressions {
        let found = scraper.count(expression).await.unwrap_or_else(|error| panic!("{title}: {expression}: {error}"));
        assert!(found > 0, "{title}: nothing answers {expression}");
        for metric in metrics_of(expression) {
            let found = scraper.count(&metric).await.unwrap();
            assert!(found > 0, "{title}: nobody exports {metric}");
            shown.insert(metric);
        }
    }
    // And nothing is exported that nobody can see.
    for line in metrics.encode().lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(shown.iter().any(|s| s.starts_with(name)), "{name} is on no panel");
    }
    assert!(scraper.count("nonsense(").await.is_err(), "the check can fail");
    let _ = stop.send(());
    serving.await.unwrap().unwrap();
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    assert!(dashboard["id"].is_null() && dashboard["uid"] == "reiter8");
    let ids: BTreeMap<u64, &Value> =
        dashboard["panels"].as_array().unwrap().iter().map(|p| (p["id"].as_u64().unwrap(), p)).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len(), "panel ids are unique");
    // No two panels lie on each other.
    let mut cells = BTreeSet::new();
    for panel in ids.values() {
        let at = |k: &str| panel["gridPos"][k].as_u64().unwrap();
        for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(cell.0 < 24 && cells.insert(cell), "{} overlaps", panel["title"]);
        }
    }
}

/// The names of the metrics, as Prometheus stores them.
fn names(text: &str) -> BTreeSet<String> {
    let parts = ["_bucket", "_sum", "_count"];
    let series = samples(text).into_iter().filter_map(|line| line.split(['{', ' ']).next());
    series.map(|name| parts.iter().find_map(|p| name.strip_suffix(p)).unwrap_or(name).to_owned()).collect()
}

#[test]
fn the_documentation_has_every_metric_and_its_alerts_work() {
    let (metrics, known) = registry();
    *known.lock().unwrap() = vec![experiment(1, "Deciding", 2, "WaitingForReview")];
    metrics.reconciled(0.1);
    let text = include_str!("../../../docs/operations.md").split("\n## Metrics and alerts\n").nth(1).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `reiter8_")?.split('`').next());
    let told: BTreeSet<String> = rows.map(|name| format!("reiter8_{name}")).collect();
    assert_eq!(told, names(&metrics.encode()));

    let rules = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let asked = metrics_of(rules);
    assert!(asked.len() >= 3 && asked.is_subset(&told), "{asked:?}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    std::fs::write(dir.path().join("test.yaml"), include_str!("../../fixtures/alerts.yaml")).unwrap();
    for args in [["check", "rules", "rules.yaml"], ["test", "rules", "test.yaml"]] {
        let said = Command::new("promtool").args(args).current_dir(dir.path()).output().expect("promtool is installed");
        assert!(said.status.success(), "{args:?}: {said:?}");
    }
}
