//! The metrics adapter against a real Prometheus whose samples are written beforehand, so that nothing has to be
//! waited for; and against servers that answer as Prometheus never should.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::support::prometheus::{self as served, BEGAN, BEGIN, LOOK, Samples, at, interval, versions};
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use reiter8::engine::judge::Tally;
use reiter8::engine::{Pair, Unavailable, Void, Window};
use reiter8::live::{Asked, MetricQuery, Prometheus, ShareQuery, Versions, builtin};
use serde_json::json;

/// Requests of both versions, and those that reached no endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counts {
    baseline: Tally,
    candidate: Tally,
    unreached: f64,
}

fn counts(pair: Pair) -> Counts {
    match pair {
        Pair::Requests { baseline, candidate, unreached } => {
            Counts { baseline: baseline.most, candidate: candidate.most, unreached }
        }
        Pair::Values { .. } => panic!("{pair:?}"),
    }
}

/// What grew in an interval, or why that is not known.
async fn ask_in(
    prometheus: &Prometheus,
    query: &ShareQuery,
    versions: &Versions,
    window: Window,
) -> Result<Result<Counts, Void>, Unavailable> {
    let answer = served::read(prometheus, &MetricQuery::Share(query.clone()), versions, window).await?;
    Ok(served::grown(answer).map(|growth| counts(growth.pair)))
}

async fn ask(
    prometheus: &Prometheus,
    query: &ShareQuery,
    candidate: &str,
) -> Result<Result<Counts, Void>, Unavailable> {
    ask_in(prometheus, query, &versions("stable", candidate), interval()).await
}

fn error_rate() -> ShareQuery {
    builtin::share("istio/error-rate").unwrap()
}

fn tally(requests: f64, bad: f64) -> Tally {
    Tally { requests, bad }
}

/// One workload for each thing that may happen to its series around the interval.
fn lives() -> Samples {
    const OK: &str = r#"response_code="200",grpc_response_status="0",pod="a""#;
    const BAD: &str = r#"response_code="503",pod="a""#;
    let end = LOOK + 300;
    let mut s = Samples::default();
    s.workload("stable", OK, 0..=end, |t| 10.0 * t as f64);
    s.workload("steady", OK, 0..=end, |t| 10.0 * t as f64);
    s.workload("steady", BAD, 0..=end, |t| t as f64);
    s.workload("never-bad", OK, 0..=end, |t| 2.0 * t as f64);
    // Two proxies report; one restarts within the interval and counts anew.
    s.workload("restarted", OK, 0..=end, |t| if t <= LOOK + 30 { 5000.0 } else { 7.0 });
    s.workload("restarted", r#"response_code="200",pod="b""#, 0..=end, |t| t as f64);
    // First seen within the experiment: all of it is new.
    s.workload("fresh", OK, LOOK + 15..=end, |t| 100.0 + t as f64 - (LOOK + 60) as f64);
    // Was there before the experiment, was away at the interval's start, is back.
    s.workload("returning", OK, 0..=BEGAN - 600, |_| 50.0);
    s.workload("returning", OK, LOOK + 15..=end, |_| 60.0);
    // The same with its bad requests only: the total is known, their number is not.
    s.workload("half-known", OK, 0..=end, |t| t as f64);
    s.workload("half-known", BAD, 0..=BEGAN - 600, |_| 5.0);
    s.workload("half-known", BAD, LOOK + 15..=end, |_| 9.0);
    // Gone shortly before the interval's end: its last sample still counts; gone for long: nothing does.
    s.workload("vanishing", OK, 0..=LOOK + 30, |t| t as f64);
    s.workload("vanished", OK, 0..=LOOK - 400, |t| t as f64);
    s.workload("not-a-number", OK, 0..=end, |t| if t == LOOK + 60 { f64::NAN } else { t as f64 });
    // HTTP 200 with a status in the trailers: UNAVAILABLE blames the server, NOT_FOUND the caller; code 0 is no answer.
    s.workload("grpc", r#"response_code="200",grpc_response_status="14""#, 0..=end, |t| t as f64);
    s.workload("grpc", r#"response_code="200",grpc_response_status="5""#, 0..=end, |t| 2.0 * t as f64);
    s.workload("grpc", r#"response_code="0",grpc_response_status="14""#, 0..=end, |t| t as f64);
    s
}

#[tokio::test]
async fn counts_are_raw_differences_whatever_happened_to_a_series() {
    let server = lives().served().await;
    let prometheus = server.client();
    let table = [
        ("steady", Ok(tally(660.0, 60.0))),
        ("never-bad", Ok(tally(120.0, 0.0))),
        ("unheard-of", Ok(tally(0.0, 0.0))),
        ("restarted", Ok(tally(67.0, 0.0))),
        ("fresh", Ok(tally(100.0, 0.0))),
        ("returning", Err(Void::Returned)),
        ("half-known", Err(Void::Returned)),
        ("vanishing", Ok(tally(30.0, 0.0))),
        ("vanished", Ok(tally(0.0, 0.0))),
        ("not-a-number", Err(Void::NotACounter)),
        ("grpc", Ok(tally(240.0, 120.0))),
    ];
    for (candidate, expected) in table {
        let counts = ask(&prometheus, &error_rate(), candidate).await.unwrap();
        assert_eq!(counts.map(|c| c.candidate), expected, "{candidate}");
        assert!(counts.is_err() || counts.is_ok_and(|c| c.baseline == tally(600.0, 0.0)), "{candidate}: {counts:?}");
    }
    // The next interval of a series that came back is known again.
    let next = Window { from: at(LOOK + 60), to: at(LOOK + 120) };
    let back = ask_in(&prometheus, &error_rate(), &versions("stable", "returning"), next).await.unwrap();
    assert_eq!(back.map(|c| c.candidate), Ok(tally(0.0, 0.0)));
}

#[tokio::test]
async fn what_was_last_known_before_an_outage_is_no_news() {
    let mut samples = Samples::default();
    let ok = r#"response_code="200""#;
    samples.workload("stable", ok, 0..=LOOK - 60, |t| t as f64);
    samples.workload("stable", ok, LOOK + 60..=LOOK + 300, |t| t as f64);
    samples.workload("candidate", ok, 0..=LOOK - 300, |t| t as f64);
    let server = samples.served().await;
    let table = [
        ("stable", LOOK - 60, true),
        ("stable", LOOK - 45, true),
        ("stable", LOOK, false),
        ("stable", LOOK + 59, false),
        // One version's last requests are long ago: the other's samples show that somebody looks.
        ("stable", LOOK + 60, true),
        // Neither has a series: nothing is known to be missing.
        ("unheard-of", LOOK + 200, true),
    ];
    for (baseline, second, current) in table {
        let versions = versions(baseline, "candidate");
        let age = jiff::SignedDuration::from_secs(20);
        let query = MetricQuery::Share(error_rate());
        let asked = Asked { query: &query, versions: &versions, from: at(second - 10) };
        let answer = server.client().read(&[asked], at(second), at(BEGAN), age).await.remove(0);
        assert_eq!(
            answer.as_ref().err().map(|u| u.cause.word()),
            (!current).then_some("MetricsUnavailable"),
            "{second}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn own_selectors_have_the_versions_placeholders_and_their_mistakes_are_the_users() {
    let mut samples = lives();
    for (name, factor) in [("first", 1), ("second", 2)] {
        writeln!(samples.0, "# TYPE {name} counter").unwrap();
        for second in (0..=LOOK + 300).step_by(15) {
            writeln!(samples.0, "{name}_total {} {}", factor * second, BEGIN + second).unwrap();
        }
    }
    let server = samples.served().await;
    let prometheus = server.client();
    let total = r#"istio_requests_total{destination_workload='$workload', destination_workload_namespace="$workloadNamespace"}"#;
    let own =
        ShareQuery::share(r#"istio_requests_total{destination_workload="$workload",response_code=~`$codes`}"#, total);
    assert_eq!(ask(&prometheus, &own, "steady").await.unwrap().unwrap().candidate, tally(660.0, 60.0));
    // Two counters that differ in nothing but their name are two series.
    let named = ShareQuery::share(r#"none{a="b"}"#, r#"{__name__=~"first_total|second_total"}"#);
    assert_eq!(ask(&prometheus, &named, "steady").await.unwrap().unwrap().candidate, tally(180.0, 0.0));
    let table = [
        (r#"m{a=~"("}"#, "error parsing regexp"),
        (r#"{a=~".*"}"#, "at least one non-empty matcher"),
        (r#"m{a="$elapsed"}"#, "`$workloadNamespace`"),
        ("rate(m[1m])", "(m[1m])"),
    ];
    for (selector, why) in table {
        let error = ask(&prometheus, &ShareQuery::share(selector, total), "steady").await.unwrap_err();
        assert_eq!(error.cause.word(), "InvalidQuery", "{selector}: {error}");
        assert!(error.message.contains(why), "{selector}: {error}");
    }
}

#[tokio::test]
async fn requests_to_the_host_that_reached_no_endpoint_are_counted_apart() {
    let mut samples = lives();
    let unreached = |workload: &str, service: &str, namespace: &str| {
        format!(
            r#"istio_requests_total{{reporter="source",destination_workload="{workload}",destination_service="{service}",destination_service_namespace="{namespace}",response_code="503",response_flags="UH"}}"#
        )
    };
    samples.series(&unreached("", "app.shop.svc.cluster.local", "shop"), LOOK + 15..=LOOK + 300, |_| 7.0);
    samples.series(&unreached("unknown", "app", "shop"), 0..=LOOK + 300, |t| t as f64 / 15.0);
    // Another service's, and another namespace's.
    samples.series(&unreached("", "other.shop.svc.cluster.local", "shop"), LOOK + 15..=LOOK + 300, |_| 100.0);
    samples.series(&unreached("", "app.bank.svc.cluster.local", "bank"), LOOK + 15..=LOOK + 300, |_| 100.0);
    let server = samples.served().await;
    let counts = ask(&server.client(), &error_rate(), "unheard-of").await.unwrap().unwrap();
    assert_eq!(counts, Counts { baseline: tally(600.0, 0.0), candidate: tally(0.0, 0.0), unreached: 11.0 });
}

#[tokio::test]
async fn history_is_the_same_differences_step_by_step() {
    let mut samples = Samples::default();
    let ok = r#"response_code="200""#;
    // Ten a second, nothing in the third minute, a restart after the fifth.
    let total = |t: i64| match t {
        ..120 => 10.0 * t as f64,
        120..180 => 1200.0,
        180..=300 => 1200.0 + 10.0 * (t - 180) as f64,
        _ => 10.0 * (t - 300) as f64,
    };
    samples.workload("stable", ok, 0..=480, total);
    samples.workload("stable", r#"response_code="500""#, 0..=480, |t| if t >= 60 { 3.0 } else { 0.0 });
    let server = samples.served().await;
    let (prometheus, versions) = (server.client(), versions("stable", "x"));
    let span = Window { from: at(0), to: at(480) };
    let query = [MetricQuery::Share(error_rate())];
    let history = prometheus.history(&query, &versions.baseline, span, 60.0).await.remove(0).unwrap();
    let seen: Vec<(f64, f64)> = history.iter().map(|t| (t.requests, t.bad)).collect();
    let minute = (600.0, 0.0);
    assert_eq!(seen, [(603.0, 3.0), minute, (0.0, 0.0), minute, minute, minute, minute, minute]);
    // Far more steps than Prometheus answers: they are made longer, and no request is lost or counted twice.
    let days = Window { from: at(0), to: at(2 * 86_400) };
    let history = prometheus.history(&query, &versions.baseline, days, 1.0).await.remove(0).unwrap();
    let (requests, bad) = history.iter().fold((0.0, 0.0), |(r, b), t| (r + t.requests, b + t.bad));
    assert!((requests - 4203.0).abs() < 1e-6 && (bad - 3.0).abs() < 1e-6, "{requests} {bad}");
    let none = prometheus.history(&query, &versions.candidate, span, 60.0).await.remove(0).unwrap();
    assert_eq!(none, []);
}

/// A server that gives every request the same answer.
async fn answering(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = axum::Router::new().fallback(move || std::future::ready(answer()));
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn failing(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Unavailable {
    let address = answering(answer).await;
    let prometheus = Prometheus::new(&format!("http://{address}")).unwrap();
    ask(&prometheus, &error_rate(), "x").await.unwrap_err()
}

fn says(error: &Unavailable, reason: &str, what: &str) {
    assert!(error.cause.word() == reason && error.message.contains(what), "{error:?} is not {reason}: … {what} …");
}

#[tokio::test]
async fn a_server_in_trouble_is_no_mistake_of_the_user() {
    let busy = json!({"status": "error", "errorType": "timeout", "error": "query timed out in expression evaluation"});
    says(
        &failing(move || (StatusCode::SERVICE_UNAVAILABLE, axum::Json(busy.clone())).into_response()).await,
        "MetricsUnavailable",
        "query timed out",
    );
    // A proxy's own refusal says nothing about the query.
    says(&failing(|| (StatusCode::BAD_REQUEST, "no such host").into_response()).await, "MetricsUnavailable", "400");
    says(&failing(|| "<html>log in</html>".into_response()).await, "MetricsUnavailable", "--prometheus-url");
    let text = json!({"status": "success", "data": {"resultType": "string", "result": [1, "x"]}});
    says(&failing(move || axum::Json(text.clone()).into_response()).await, "MetricsUnavailable", "--prometheus-url");
    // Deeper than any answer is.
    says(&failing(|| "[".repeat(1 << 15).into_response()).await, "MetricsUnavailable", "--prometheus-url");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Prometheus::new(&format!("http://{closed}")).unwrap();
    says(&ask(&nobody, &error_rate(), "x").await.unwrap_err(), "MetricsUnavailable", "refused");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = answering(|| panic!("the redirect was followed")).await;
    let error = failing(move || Redirect::temporary(&format!("http://{elsewhere}/")).into_response()).await;
    says(&error, "MetricsUnavailable", "307");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let endless = || {
        let chunk = Bytes::from(vec![b' '; 1 << 16]);
        Body::from_stream(futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()))).into_response()
    };
    says(&failing(endless).await, "TooManySeries", "bytes");
    // An answer about an interval has some rows for each counter.
    let series: Vec<_> = (0..10_001).map(|i| json!({"metric": {"i": i.to_string()}, "value": [1, "1"]})).collect();
    let many = json!({"status": "success", "data": {"resultType": "vector", "result": series}});
    says(&failing(move || axum::Json(many.clone()).into_response()).await, "TooManySeries", "bytes");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_awaited() {
    // One server is silent from the start, the other one after the first bytes of its answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = Prometheus::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let stalling = answering(|| {
        let first = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>(Bytes::from("{"))));
        Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending())).into_response()
    });
    let stalled = Prometheus::new(&format!("http://{}", stalling.await)).unwrap();
    let (query, began) = (error_rate(), Instant::now());
    let (first, second) = futures::join!(ask(&mute, &query, "x"), ask(&stalled, &query, "x"));
    says(&first.unwrap_err(), "MetricsUnavailable", "timed out");
    says(&second.unwrap_err(), "MetricsUnavailable", "timed out");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
