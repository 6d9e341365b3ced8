//! Iter8's rule, from the resource through the engine: the last of the iterations decides, a missing value never does.
//!
//! Observations are made by hand; each number is a function of the interval's own number.

#![allow(clippy::needless_pass_by_value)]

use jiff::SignedDuration;
use reiter8::api::{Experiment, Metric};
use reiter8::controller::resolve::{Referred, resolve};
use reiter8::engine::judge::Sample;
use reiter8::engine::*;
use reiter8_testing::{World, trial, turn};
use serde_json::{Value, json};

/// How many iterations the plans below have.
const ALL: u32 = 6;

const LIMITED: Rule = Rule::Threshold { lower: None, upper: Some(10.0), at_once: false };
const STRICT: Rule = Rule::Threshold { lower: None, upper: Some(10.0), at_once: true };

fn plan(rules: &[Rule]) -> Plan {
    let criterion = |(source, rule): (usize, &Rule)| Criterion {
        metric: format!("m{source}").into(),
        source,
        candidate: 0,
        rule: *rule,
    };
    let mut plan = trial::plan(rules.iter().enumerate().map(criterion).collect());
    plan.iterations = Some(ALL);
    plan.analysis.interval = SignedDuration::from_secs(20);
    plan
}

/// The candidate's value of each metric in an interval; none is missing.
type Values = fn(u32) -> Vec<Option<f64>>;

/// What came of it: the progress at the verdict, the intervals, and the most weight that the candidate had.
struct Story {
    progress: Progress,
    most: u8,
}

fn run(plan: &Plan, values: Values) -> Story {
    let (mut progress, mut most, mut interval) = (Progress::default(), 0, 0);
    let mut world = World::ready().history(plan.criteria.len(), &[]);
    let mut now = trial::start();
    for _ in 0..20_000 {
        let mut seen = world.see(&ask(plan, &progress, now));
        if let Some(reading) = &mut seen.reading {
            let sample = |value: Option<f64>| value.map_or_else(Sample::default, Sample::gauge);
            // The baseline's number is beyond every limit: nobody asks for it.
            let pair = |value| Pair::Values { baseline: Sample::gauge(1000.0), candidate: sample(value) };
            interval += 1;
            reading.answers = values(interval).into_iter().map(|v| Ok(pair(v).into())).collect();
        }
        let done = turn(plan, &progress, &seen, now);
        progress = done.progress;
        done.effects.iter().for_each(|effect| world.obey(effect));
        most = most.max(world.carried());
        if progress.decision.is_some() {
            return Story { progress, most };
        }
        let Wake::At(time) = done.wake else { panic!("nothing more happens: {progress:?}") };
        now = now.max(time);
    }
    panic!("it does not end: {progress:?}")
}

fn verdict(rules: &[Rule], values: Values) -> (Outcome, Reason, u32) {
    let story = run(&plan(rules), values);
    let decision = story.progress.decision.unwrap();
    (decision.outcome, decision.reason, story.progress.iterations.done)
}

#[test]
fn the_last_iteration_promotes_without_a_proof_and_at_the_final_weight() {
    let story = run(&plan(&[LIMITED]), |_| vec![Some(10.0)]);
    let decision = story.progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Promote, Reason::Unproven));
    assert!(story.progress.iterations.done >= ALL, "{:?}", story.progress.iterations);
    assert_eq!((decision.weight, story.most), (50, 50), "the cap was reached, and not passed");
    assert!(decision.sentence.contains("promises nothing"), "{}", decision.sentence);
    // No evidence either way, whatever was seen.
    let row = &decision.rows[0];
    assert_eq!((row.verdict, row.estimate, row.interval), (Verdict::Undecided, Some(10.0), None));
    assert!((row.fail - 1.0).abs() < 1e-12 && (row.pass - 1.0).abs() < 1e-12, "{row:?}");
}

#[test]
fn the_last_iteration_alone_discards() {
    // Beyond the limit in all but the last one, which comes at a low weight: it is repeated until the final one.
    assert_eq!(verdict(&[LIMITED], |i| vec![Some(if i < ALL { 11.0 } else { 9.0 })]).0, Outcome::Promote);
    let story = run(&plan(&[LIMITED]), |i| vec![Some(if i < ALL { 9.0 } else { 11.0 })]);
    let decision = story.progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::Harmful));
    assert_eq!(story.progress.iterations.done, ALL);
    assert_eq!(decision.sentence, "m0 was 11 at next, not at most 10 in the last of 6 iterations");
}

#[test]
fn a_number_beyond_its_limit_opens_no_weight() {
    let story = run(&plan(&[LIMITED]), |_| vec![Some(11.0)]);
    assert_eq!(story.progress.decision.unwrap().reason, Reason::Harmful);
    assert_eq!(story.most, 1, "the first weight, and no other");
}

#[test]
fn rollback_on_failure_discards_at_the_first_number_beyond_its_limit() {
    assert_eq!(
        verdict(&[STRICT], |i| vec![Some(if i == 2 { 11.0 } else { 9.0 })]),
        (Outcome::Discard, Reason::Harmful, 2)
    );
    // Also while another metric is silent; and a missing value is none beyond a limit.
    assert_eq!(
        verdict(&[STRICT, LIMITED], |i| vec![Some(if i == 3 { 11.0 } else { 9.0 }), None]),
        (Outcome::Discard, Reason::Harmful, 0)
    );
    assert_eq!(verdict(&[STRICT], |i| vec![(i % 2 == 0).then_some(9.0)]).0, Outcome::Promote);
}

#[test]
fn a_missing_value_repeats_the_iteration_until_the_deadline() {
    // One metric or the other is missing in every interval: there is no iteration at all.
    let never = run(&plan(&[LIMITED, LIMITED]), |i| vec![(i % 2 == 0).then_some(9.0), (i % 2 == 1).then_some(9.0)]);
    let decision = never.progress.decision.unwrap();
    assert_eq!((decision.outcome, decision.reason), (Outcome::Discard, Reason::Undecided));
    assert_eq!(never.progress.iterations.done, 0);
    // Every third interval has a number: it takes longer, and the outcome is the same.
    let seconds = |values: Values| {
        let progress = run(&plan(&[LIMITED]), values).progress;
        let decision = progress.decision.unwrap();
        assert_eq!(decision.reason, Reason::Unproven);
        decision.at.duration_since(progress.first_traffic.unwrap()).as_secs()
    };
    let (all, some) = (seconds(|_| vec![Some(9.0)]), seconds(|i| vec![(i % 3 == 0).then_some(9.0)]));
    assert!(some > all + 60, "{some} s, and {all} s");
    // NaN is missing too, also in the last iteration.
    assert_eq!(verdict(&[STRICT], |_| vec![Some(f64::NAN)]).1, Reason::Undecided);
}

#[test]
fn limits_on_both_sides_include_their_ends() {
    let rule = Rule::Threshold { lower: Some(2.0), upper: Some(3.0), at_once: true };
    let outcome = |values: Values| verdict(&[rule], values).0;
    assert_eq!(outcome(|i| vec![Some(if i % 2 == 0 { 2.0 } else { 3.0 })]), Outcome::Promote);
    assert_eq!(outcome(|_| vec![Some(1.9)]), Outcome::Discard);
    assert_eq!(outcome(|_| vec![Some(3.1)]), Outcome::Discard);
}

/// Resolves an experiment of these objectives; `spec` is added to it, `metric` to the spec of its opaque metric.
fn resolved(objectives: Value, spec: Value, metric: Value) -> Result<Plan, String> {
    let join = |mut base: Value, more: Value| {
        for (name, value) in more.as_object().unwrap() {
            base[name] = value.clone();
        }
        base
    };
    let version = |name: &str| json!({"name": name, "workload": {"name": name}, "destination": {"subset": name}});
    let base = json!({
        "target": "shop/app",
        "strategy": {"testingPattern": "Canary"},
        "versionInfo": {"baseline": version("stable"), "candidates": [version("next")]},
        "traffic": {"virtualService": "app"},
        "criteria": {"objectives": objectives},
    });
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "iter8.tools/v2alpha2", "kind": kind, "metadata": {"namespace": "shop", "name": name}, "spec": spec});
    let base = object("Experiment", "trial", join(base, spec));
    let opaque = json!({
        "urlTemplate": "http://metrics/query",
        "params": [{"name": "query", "value": "age{version='$name'}"}],
        "jqExpression": ".data.result[0].value[1] | tonumber",
        "units": "s",
    });
    let experiment: Experiment = serde_json::from_value(base).unwrap();
    let metric: Metric = serde_json::from_value(object("Metric", "age", join(opaque, metric))).unwrap();
    let referred = Referred { metrics: [("age".to_owned(), metric)].into(), repository: None };
    resolve(&experiment, &referred).map(|r| r.plan).map_err(|e| format!("{}: {e}", e.cause().word()))
}

#[test]
fn an_opaque_objective_becomes_a_threshold_with_the_iterations_of_iter8() {
    let objective = json!([{"metric": "age", "upperLimit": "250ms"}]);
    let plan = resolved(objective.clone(), json!({}), json!({})).unwrap();
    assert_eq!(plan.criteria[0].rule, Rule::Threshold { lower: None, upper: Some(0.25), at_once: false });
    assert_eq!((plan.iterations, plan.analysis.interval), (Some(15), SignedDuration::from_secs(20)));
    let duration = json!({"duration": {"intervalSeconds": 5, "iterationsPerLoop": 4, "maxLoops": 3}});
    let plan = resolved(objective, duration, json!({})).unwrap();
    assert_eq!((plan.iterations, plan.analysis.interval), (Some(12), SignedDuration::from_secs(5)));
    let strict = json!([{"metric": "age", "lowerLimit": "1s", "upperLimit": "2s", "rollback_on_failure": true}]);
    let plan = resolved(strict, json!({"analysis": {"interval": "30s"}}), json!({})).unwrap();
    assert_eq!(plan.criteria[0].rule, Rule::Threshold { lower: Some(1.0), upper: Some(2.0), at_once: true });
    assert_eq!((plan.iterations, plan.analysis.interval), (Some(15), SignedDuration::from_secs(30)));
}

#[test]
fn what_opaque_metrics_cannot_do_is_refused_with_what_to_write() {
    let objective = || json!([{"metric": "age", "upperLimit": "250ms"}]);
    let typed = json!([{"metric": "istio/error-rate", "upperLimit": "1%"}]);
    let mixed = json!([{"metric": "age", "upperLimit": "1s"}, {"metric": "istio/error-rate", "upperLimit": "1%"}]);
    let relative = json!([{"metric": "age", "relative": {"factor": "1.5"}}]);
    let duration = json!({"duration": {"maxLoops": 2}});
    let two = json!({"duration": {"intervalSeconds": 5}, "analysis": {"interval": "5s"}});
    let long = json!({"duration": {"maxLoops": 100}});
    for (objectives, spec, metric, reason, word) in [
        (mixed, json!({}), json!({}), "NotSupported", "opaque metrics alone"),
        (relative, json!({}), json!({}), "NotSupported", "`upperLimit` or `lowerLimit`"),
        (typed, duration, json!({}), "NotSupported", "spec.analysis.interval"),
        (objective(), two, json!({}), "InvalidExperiment", "two intervals"),
        (objective(), long, json!({}), "InvalidExperiment", "spec.analysis.hardDeadline"),
        (objective(), json!({}), json!({"secret": "token"}), "NotSupported", "`secret`"),
        (objective(), json!({}), json!({"secret": "other/token", "authType": "Bearer"}), "NotSupported", "`secret`"),
        (objective(), json!({}), json!({"authType": "Basic"}), "NotSupported", "`authType`"),
        (objective(), json!({}), json!({"mock": []}), "NotSupported", "`mock`"),
        (objective(), json!({}), json!({"jqExpression": null}), "InvalidExperiment", "`jqExpression`"),
        (objective(), json!({}), json!({"jqExpression": "env.HOME"}), "InvalidExperiment", "`env`"),
        (objective(), json!({}), json!({"jqExpression": "def f: f; f"}), "InvalidExperiment", "`def`"),
        (objective(), json!({}), json!({"urlTemplate": "ftp://metrics"}), "InvalidExperiment", "`http://`"),
        (objective(), json!({}), json!({"urlTemplate": "http://$name/x"}), "InvalidExperiment", "host"),
        (objective(), json!({}), json!({"body": "{"}), "InvalidExperiment", "JSON"),
    ] {
        let refused = resolved(objectives, spec, metric).unwrap_err();
        assert!(refused.starts_with(reason) && refused.contains(word), "{word}: {refused}");
    }
}
