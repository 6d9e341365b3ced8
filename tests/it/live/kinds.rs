//! Buckets, sums and gauges read from a real Prometheus whose samples were written beforehand.

use crate::support::prometheus::{self as served, LOOK, Samples, at, interval, versions};
use reiter8::engine::judge::{Counted, Sample, Tally};
use reiter8::engine::{Answer, Pair, Unavailable, Window};
use reiter8::live::{MetricQuery, Prometheus, builtin};

async fn read(prometheus: &Prometheus, query: &MetricQuery, candidate: &str) -> Result<Option<Pair>, Unavailable> {
    let answer = served::read(prometheus, query, &versions("stable", candidate), interval()).await?;
    Ok(match answer {
        Answer::Grown(growth) => Some(growth.pair),
        Answer::Counted(pair) => Some(pair),
        Answer::Void(_) => None,
    })
}

/// Latencies as Istio's proxies report them: so many requests a second up to each edge.
fn latencies() -> Samples {
    let mut samples = Samples::default();
    let labels = |workload: &str, pod: &str| {
        format!(
            r#"reporter="source",destination_workload="{workload}",destination_workload_namespace="shop",pod="{pod}""#
        )
    };
    let buckets = [("100", 6.0), ("250.0", 8.0), ("500", 9.0), ("+Inf", 10.0)];
    for (workload, pod, rate) in [("stable", "a", 1.0), ("next", "a", 1.0), ("next", "b", 0.5)] {
        let labels = labels(workload, pod);
        for (edge, per_second) in buckets {
            let series = format!("istio_request_duration_milliseconds_bucket{{{labels},le=\"{edge}\"}}");
            samples.series(&series, 0..=LOOK + 300, |t| rate * per_second * t as f64);
        }
        let count = format!("istio_request_duration_milliseconds_count{{{labels}}}");
        samples.series(&count, 0..=LOOK + 300, |t| rate * 10.0 * t as f64);
        let sum = format!("istio_request_duration_milliseconds_sum{{{labels}}}");
        samples.series(&sum, 0..=LOOK + 300, |t| rate * 1500.0 * t as f64);
    }
    samples
}

fn counted(requests: f64, least: f64, most: f64) -> Counted {
    Counted { least: Tally { requests, bad: least }, most: Tally { requests, bad: most } }
}

#[tokio::test]
async fn slow_requests_are_bracketed_by_the_edges_around_the_bound() {
    let server = latencies().served().await;
    let prometheus = server.client();
    let table = [
        // An edge: nothing is left open. It is written as another number than the bound.
        (250.0, counted(600.0, 120.0, 120.0), counted(900.0, 180.0, 180.0)),
        // Between two edges: what is above the upper one is surely slower.
        (300.0, counted(600.0, 60.0, 120.0), counted(900.0, 90.0, 180.0)),
        // Below and above all edges.
        (50.0, counted(600.0, 240.0, 600.0), counted(900.0, 360.0, 900.0)),
        (900.0, counted(600.0, 0.0, 60.0), counted(900.0, 0.0, 90.0)),
    ];
    for (bound, baseline, candidate) in table {
        let pair = read(&prometheus, &builtin::slower(bound), "next").await.unwrap().unwrap();
        assert_eq!(pair, Pair::Requests { baseline, candidate, unreached: 0.0 }, "{bound} ms");
    }
    let nobody = read(&prometheus, &builtin::slower(250.0), "unheard-of").await.unwrap().unwrap();
    assert_eq!(nobody.volume(), (600.0, 0.0), "no series is no request");
}

#[tokio::test]
async fn a_baseline_s_past_is_counted_at_the_same_edges() {
    let server = latencies().served().await;
    let window = Window { from: at(LOOK - 600), to: at(LOOK) };
    let values = versions("stable", "next");
    let history = |query: MetricQuery| {
        let (prometheus, baseline) = (server.client(), values.baseline.clone());
        async move { prometheus.history(&[query], &baseline, window, 60.0).await.remove(0).unwrap() }
    };
    let slow = history(builtin::slower(300.0)).await;
    assert_eq!(slow, vec![Tally { requests: 600.0, bad: 120.0 }; 10]);
    let mean = history(builtin::mean("istio/mean-latency").unwrap()).await;
    assert_eq!(mean, vec![Tally { requests: 600.0, bad: 0.0 }; 10], "a mean's past tells its rate alone");
}

#[tokio::test]
async fn a_mean_is_its_sum_and_its_count() {
    let server = latencies().served().await;
    let query = builtin::mean("istio/mean-latency").unwrap();
    let pair = read(&server.client(), &query, "next").await.unwrap().unwrap();
    let sample = |count: f64| Sample { count, sum: 150.0 * count };
    assert_eq!(pair, Pair::Values { baseline: sample(600.0), candidate: sample(900.0) });
}

#[tokio::test]
async fn a_gauge_is_one_finite_number_or_missing() {
    let mut samples = Samples::default();
    for (workload, value) in [("stable", 3.5), ("next", -1.0), ("wild", f64::INFINITY), ("lost", f64::NAN)] {
        samples.series(&format!("queue_length{{workload=\"{workload}\"}}"), 0..=LOOK + 300, |_| value);
    }
    samples.series("queue_length{workload=\"twice\",pod=\"a\"}", 0..=LOOK + 300, |_| 1.0);
    samples.series("queue_length{workload=\"twice\",pod=\"b\"}", 0..=LOOK + 300, |_| 1.0);
    let server = samples.served().await;
    let prometheus = server.client();
    let gauge = |query: &str| MetricQuery::Gauge { query: query.into() };
    let plain = gauge(r#"queue_length{workload="$workload"}"#);
    let pair = |candidate| Pair::Values { baseline: Sample::gauge(3.5), candidate };
    assert_eq!(read(&prometheus, &plain, "next").await.unwrap(), Some(pair(Sample::gauge(-1.0))));
    for missing in ["unheard-of", "lost"] {
        assert_eq!(read(&prometheus, &plain, missing).await.unwrap(), Some(pair(Sample::default())), "{missing}");
    }
    for (wrong, told) in [("wild", "finite"), ("twice", "2 series")] {
        let error = read(&prometheus, &plain, wrong).await.unwrap_err();
        assert!(error.cause.word() == "InvalidQuery" && error.message.contains(told), "{error:?}");
    }
    // The interval ends a minute after LOOK, the experiment began 300 s before it.
    let elapsed = gauge("sum(queue_length{workload='$workload'}) * 0 + $elapsedTime");
    let read = read(&prometheus, &elapsed, "next").await.unwrap();
    assert_eq!(read, Some(Pair::Values { baseline: Sample::gauge(360.0), candidate: Sample::gauge(360.0) }));
}
