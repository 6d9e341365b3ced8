//! `reiter8 plan`: what it says before an experiment starts, and which objectives can be judged at all.

mod outcomes;

use std::path::Path;
use std::process::{Command, Output};

use crate::support::manifests::{self, ERROR_RATE, EXPERIMENT, changed};
use serde_json::Value;

/// Runs the program away from any cluster and terminal.
fn reiter8(command: &str, dir: &Path, more: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_reiter8"));
    program.arg(command).arg(dir).args(more).env("KUBECONFIG", "/nonexistent").env("HOME", "/nonexistent");
    program.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap()
}

/// The sample with other objectives, and Metrics beside it.
fn with(objectives: &str) -> tempfile::TempDir {
    let dir = changed(EXPERIMENT, ERROR_RATE, objectives);
    let metric = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: iter8.tools/v2alpha2\nkind: Metric\nmetadata: {{name: {name}, namespace: bookinfo}}\nspec: {spec}\n"
        )
    };
    let metrics = [
        metric("failed", "{share: {bad: 'f{w=\"$workload\"}', total: 'a{w=\"$workload\"}'}}"),
        metric("slow", "{histogram: {buckets: 'b{w=\"$workload\"}', bound: 250}}"),
        metric("basket", "{units: EUR, mean: {sum: 's{w=\"$workload\"}', count: 'c{w=\"$workload\"}'}}"),
        metric("queue", "{gauge: {query: 'max(q{w=\"$workload\"})'}}"),
        metric("loose", "{gauge: {query: 'max(q{w=$workload})'}}"),
    ];
    std::fs::write(dir.path().join("bookinfo/metrics.yaml"), metrics.concat()).unwrap();
    dir
}

fn planned(dir: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let mut args = vec!["-o", "json", "--replications", "40"];
    args.extend(more);
    let output = reiter8("plan", dir, &args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_str(&text).unwrap())
}

#[test]
fn a_plan_says_how_long_a_healthy_candidate_takes_and_how_soon_harm_ends() {
    let dir = with("{metric: istio/error-rate, upperLimit: 1%, relative: {factor: 1.5, slack: 0.2%}}");
    let (code, plan) = planned(dir.path(), &["--rps", "100", "--bad", "0.3%"]);
    assert_eq!(code, Some(0));
    let plan = &plan[0];
    assert_eq!((plan["experiment"].as_str(), plan["good"].as_bool()), (Some("bookinfo/productpage-x7k2p"), Some(true)));
    // The tighter of both limits is the comparison: 1.5 × 0.3 % + 0.2 %.
    assert!((plan["baseline"][0]["limit"].as_f64().unwrap() - 0.0065).abs() < 1e-9, "{plan}");
    let cases = plan["cases"].as_array().unwrap();
    let half = |case: &Value| case["secondsHalf"].as_f64().unwrap();
    assert!(cases[0]["promotedInTime"].as_f64().unwrap() >= 0.9 && half(&cases[0]) < 1800.0, "{plan}");
    let [twice, five, all] = &cases[1..] else { panic!("{plan}") };
    assert!(half(twice) > half(five) && half(five) > half(all) && half(all) <= 60.0, "{plan}");
    assert!(
        all["rolledBackInTime"].as_f64().unwrap() >= 0.99 && all["badRequests"].as_f64().unwrap() < 200.0,
        "{plan}"
    );
    let smallest = plan["smallestEffect"][0]["share"].as_f64().unwrap();
    assert!(smallest > 0.0065 && smallest < 0.013, "{smallest}");
    let again = planned(dir.path(), &["--rps", "100", "--bad", "0.3%"]).1;
    assert_eq!(*plan, again[0], "the seed is the only source of chance");
}

/// The sample with several candidates, where its application is in a repository.
fn reviews() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("apps/reviews");
    std::fs::create_dir_all(&app).unwrap();
    for entry in std::fs::read_dir(manifests::samples().join("reviews")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, app.join(path.file_name().unwrap())).unwrap();
    }
    dir
}

#[test]
fn several_candidates_are_planned_side_by_side_and_their_race_by_the_spread_of_its_rewards() {
    let dir = reviews();
    let root = dir.path().to_str().unwrap();
    let traffic = ["--rps", "50", "--bad", "0.1%", "--repository-dir", root];
    let (code, plan) = planned(dir.path(), &[&traffic[..], &["--spread", "2"]].concat());
    let plan = &plan[0];
    assert_eq!((code, &plan["finalWeight"]), (Some(0), &Value::from(30)), "{plan}");
    assert_eq!(plan["baseline"].as_array().unwrap().len(), 1, "a metric is told once: {plan}");
    assert_eq!(plan["notPlanned"], Value::Array(vec![]), "{plan}");
    let race = &plan["race"];
    assert_eq!(race["versions"], serde_json::json!(["plain", "black", "red"]));
    let half: Vec<f64> = race["cases"].as_array().unwrap().iter().map(|c| c["secondsHalf"].as_f64().unwrap()).collect();
    assert!(
        half.len() == 4 && half.windows(2).all(|two| two[0] > two[1]),
        "a larger difference is found sooner: {plan}"
    );
    let outcomes = &plan["outcomes"];
    let promotes = [&outcomes["promote"], &outcomes["others"][0]["promote"]].map(|p| p["diff"].as_str().unwrap());
    for (diff, own, other) in [(promotes[0], "reviews:v2", "reviews:v3"), (promotes[1], "reviews:v3", "reviews:v2")] {
        assert!(diff.contains(own) && !diff.contains(other), "{diff}");
    }
    assert_eq!(outcomes["cleanup"]["files"].as_array().unwrap().len(), 3, "{outcomes}");

    let output = reiter8("plan", dir.path(), &[&traffic[..], &["--replications", "20"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let told = ["for each candidate", "is not forecast", "--spread N", "If black is promoted", "If red is promoted"];
    assert!(told.iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(text.matches("when the first one is live:").count(), 2, "{text}");
    assert_eq!(text.matches("the first one is live: as above").count(), 1, "{text}");
}

#[test]
fn a_race_alone_is_planned_with_a_spread_and_refused_without() {
    let dir = reviews();
    let file = dir.path().join("apps/reviews/experiment.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let alone = text.replace(ERROR_RATE, "{metric: revenue, lowerLimit: 1}");
    assert_ne!(text, alone);
    std::fs::write(&file, &alone).unwrap();
    let (code, plan) = planned(dir.path(), &["--rps", "50", "--spread", "2"]);
    assert_eq!((code, plan[0]["cases"].as_array().unwrap().len()), (Some(0), 0), "{plan}");
    assert_eq!(plan[0]["notPlanned"], serde_json::json!(["revenue"]), "{plan}");
    assert!(plan[0]["race"]["cases"][3]["wonInTime"].as_f64().unwrap() > 0.9, "{plan}");
    let error = reiter8("plan", dir.path(), &["--rps", "50"]).stderr;
    let error = String::from_utf8_lossy(&error).into_owned();
    assert!(error.contains("nothing can be planned") && error.contains("--spread N"), "{error}");
    let stepped =
        alone.replace("{maxCandidateWeight: 30}", "{maxCandidateWeight: 30}\n    ramp: {steps: [{weight: 10}]}");
    assert_ne!(alone, stepped);
    std::fs::write(&file, stepped).unwrap();
    let (_, plan) = planned(dir.path(), &["--rps", "50", "--spread", "2"]);
    assert_eq!(plan[0]["finalWeight"], 10, "the weight that the race was forecast at: {plan}");
}

#[test]
fn a_healthy_candidate_that_seldom_passes_in_time_is_a_poor_plan() {
    let dir = with(ERROR_RATE);
    let (code, plan) = planned(dir.path(), &["--rps", "5", "--bad", "0.8%"]);
    assert_eq!((code, plan[0]["good"].as_bool()), (Some(3), Some(false)), "{plan}");
    let output = reiter8("plan", dir.path(), &["--rps", "5", "--bad", "istio/error-rate=0.8%", "--replications", "40"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(3) && text.contains("WARNING"), "{text}");
}

#[test]
fn what_is_missing_or_wrong_is_named_with_its_remedy() {
    let dir = with(ERROR_RATE);
    let table: [(&[&str], i32, &str); 9] = [
        (&[], 1, "--rps N"),
        (&["--rps", "0"], 2, "'0' for '--rps"),
        (&["--rps", "many"], 2, "'many' for '--rps"),
        (&["--rps", "50", "--bad", "150%"], 2, "'150%' for '--bad"),
        (&["--rps", "50", "--bad", "100%"], 2, "nothing to compare with"),
        (&["--rps", "50", "--bad", "other=1%"], 1, "no objective on `other`"),
        (&["--rps", "50", "--clump", "0.5"], 2, "'0.5' for '--clump"),
        (&["--rps", "50", "--spread", "-1"], 2, "-1"),
        (&["--prometheus-url", "http://127.0.0.1:9"], 1, "MetricsUnavailable"),
    ];
    for (args, code, told) in table {
        let output = reiter8("plan", dir.path(), args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && error.contains(told), "{args:?}: {error}");
    }
    let gauges = with("{metric: queue, upperLimit: 10}");
    let error = reiter8("plan", gauges.path(), &["--rps", "50"]).stderr;
    assert!(String::from_utf8_lossy(&error).contains("nothing can be planned"));
    let refused = with("{metric: istio/error-rate, upperLimit: 1%, lowerLimit: 0}");
    let error = reiter8("plan", refused.path(), &["--rps", "50"]).stderr;
    assert!(String::from_utf8_lossy(&error).contains("lowerLimit"), "a plan of what is refused is no plan");
}

#[test]
fn every_kind_of_objective_is_taken_and_every_mistake_told() {
    let good = [
        "{metric: istio/error-rate, relative: {factor: 1.5, slack: 0.2%}}",
        "{metric: istio/latency-p99, upperLimit: 250ms, relative: {factor: 2, slack: 1%}}",
        "{metric: istio/mean-latency, upperLimit: 0.1s, relative: {factor: 1.2, slack: 5ms}}",
        "{metric: failed, upperLimit: 2%}",
        "{metric: slow, upperLimit: 5%, relative: {slack: 1%}}",
        "{metric: basket, lowerLimit: 12.5}",
        "{metric: queue, upperLimit: 10, lowerLimit: 0}",
        "{metric: bookinfo/queue, upperLimit: 10}",
    ];
    for objective in good {
        let output = reiter8("check", with(objective).path(), &["--strict"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!((output.status.code(), text.as_str()), (Some(0), ""), "{objective}");
    }
    let wrong = [
        ("{metric: istio/latency-p95}", "upperLimit"),
        ("{metric: istio/latency-p95, relative: {factor: 2}}", "upperLimit: 250ms"),
        ("{metric: istio/latency-p94, upperLimit: 250ms}", "istio/latency-p50"),
        ("{metric: istio/latency-p95, upperLimit: 250m}", "250ms"),
        ("{metric: istio/latency-p95, upperLimit: 5%}", "a time"),
        ("{metric: istio/latency-p95, upperLimit: 250ms, relative: {slack: 10ms}}", "a share"),
        ("{metric: istio/error-rate, relative: {factor: 0}}", "factor"),
        ("{metric: istio/error-rate, relative: {slack: 100%}}", "slack"),
        ("{metric: failed, upperLimit: 100%}", "100 %"),
        ("{metric: failed, lowerLimit: 1%}", "upperLimit"),
        ("{metric: basket, relative: {factor: 1, slack: -1}}", "below 0"),
        ("{metric: loose, upperLimit: 1}", "workload=\"$workload\""),
    ];
    for (objective, told) in wrong {
        let output = reiter8("check", with(objective).path(), &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(told), "{objective}: {text}");
    }
}

#[test]
fn a_reward_is_for_a_b_experiments() {
    let pattern = |dir: &Path| {
        let file = dir.join(EXPERIMENT);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("testingPattern: Canary", "testingPattern: A/B")).unwrap();
    };
    let rewarded = |reward: &str| with(&format!("{ERROR_RATE}\n    rewards: [{reward}]"));
    let check = |dir: &Path| {
        let output = reiter8("check", dir, &[]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let canary = rewarded("{metric: basket, preferredDirection: High}");
    let (code, text) = check(canary.path());
    assert!(code == Some(1) && text.contains("testingPattern: A/B"), "{text}");
    pattern(canary.path());
    assert_eq!(check(canary.path()), (Some(0), String::new()));
    let none = with(ERROR_RATE);
    pattern(none.path());
    let (code, text) = check(none.path());
    assert!(code == Some(1) && text.contains("preferredDirection"), "{text}");
    let share = rewarded("{metric: failed, preferredDirection: Low}");
    pattern(share.path());
    let (code, text) = check(share.path());
    assert!(code == Some(1) && text.contains("`mean` or `gauge`"), "{text}");
}

#[test]
fn a_cap_that_leaves_no_baseline_is_refused_where_it_is_compared() {
    let dir = with("{metric: istio/error-rate, relative: {factor: 1.5}}");
    let file = dir.path().join(EXPERIMENT);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("maxCandidateWeight: 50", "maxCandidateWeight: 95")).unwrap();
    let output = reiter8("check", dir.path(), &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.code() == Some(1)
            && text.contains("maxCandidateWeight")
            && text.contains("`maxCandidateWeight: 90`"),
        "{text}"
    );
}
