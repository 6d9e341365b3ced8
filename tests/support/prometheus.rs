//! A real Prometheus whose samples are written beforehand, so that nothing has to be waited for.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use jiff::Timestamp;
use reiter8::engine::{Answer, Growth, Seen, Void, Window};
use reiter8::live::{
    Asked, Binding, Destination, MetricQuery, Prometheus, RouteBinding, VersionBinding, Versions, WeightsAt,
};

/// When the written samples begin, seconds; a round number long ago.
pub const BEGIN: i64 = 1_700_000_000;
/// Seconds between two samples.
pub const SCRAPE: i64 = 15;
/// Patience with the start of a process.
const PATIENCE: Duration = Duration::from_secs(30);

/// Samples of counters, in the format that promtool reads.
#[derive(Default)]
pub struct Samples(pub String);

impl Samples {
    /// A series from one second to another, such as `name{label="value"}`; its value is a function of the second.
    pub fn series(&mut self, series: &str, seconds: std::ops::RangeInclusive<i64>, value: impl Fn(i64) -> f64) {
        for second in seconds.clone().filter(|s| (s - seconds.start()) % SCRAPE == 0) {
            writeln!(self.0, "{series} {} {}", value(second), BEGIN + second).unwrap();
        }
    }

    /// Requests to a workload, as the proxy before it reports them.
    pub fn workload(
        &mut self,
        name: &str,
        more: &str,
        seconds: std::ops::RangeInclusive<i64>,
        value: impl Fn(i64) -> f64,
    ) {
        let labels = format!(
            r#"istio_requests_total{{reporter="source",destination_workload="{name}",destination_workload_namespace="shop",destination_service_namespace="shop",{more}}}"#
        );
        self.series(&labels, seconds, value);
    }

    /// A Prometheus that holds them.
    pub async fn served(self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("samples");
        std::fs::write(&text, format!("# TYPE istio_requests counter\n{}# EOF\n", self.0)).unwrap();
        let data = dir.path().join("data");
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&text, &data])
            .output()
            .expect("promtool is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, "{}").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        let mut server = Server { child, url: format!("http://127.0.0.1:{port}"), _dir: dir };
        server.ready().await;
        server
    }
}

/// A Prometheus process; it ends with the test.
pub struct Server {
    child: Child,
    pub url: String,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let url = format!("{}/-/ready", self.url);
        let client = reiter8::http::client().build().unwrap();
        while !client.get(&url).send().await.is_ok_and(|r| r.status().is_success()) {
            assert!(self.child.try_wait().unwrap().is_none(), "prometheus ended before it was ready");
            assert!(Instant::now() < deadline, "prometheus is not ready after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn client(&self) -> Prometheus {
        Prometheus::new(&self.url).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interval that is looked at begins here, seconds after the begin, and takes a minute.
pub const LOOK: i64 = 7200;
/// When the experiments began, seconds after the begin.
pub const BEGAN: i64 = 6900;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

pub fn interval() -> Window {
    Window { from: at(LOOK), to: at(LOOK + 60) }
}

/// What one metric says of an interval, whatever the age of its samples.
pub async fn read(prometheus: &Prometheus, query: &MetricQuery, versions: &Versions, window: Window) -> Seen<Answer> {
    let asked = Asked { query, versions, from: window.from };
    prometheus.read(&[asked], window.to, at(BEGAN), SignedDuration::from_mins(5)).await.remove(0)
}

/// What counters grew by, if that is known.
pub fn grown(answer: Answer) -> Result<Growth, Void> {
    match answer {
        Answer::Grown(growth) => Ok(*growth),
        Answer::Void(void) => Err(void),
        Answer::Counted(pair) => panic!("no counter: {pair:?}"),
    }
}

/// An experiment that compares two workloads of the service `app`.
pub fn versions(baseline: &str, candidate: &str) -> Versions {
    let version = |name: &str, workload: &str| VersionBinding {
        name: name.into(),
        workload: workload.into(),
        variables: vec![("codes".into(), "5..".into())],
    };
    let to = |subset: &str| Destination { host: Some("app".into()), subset: Some(subset.into()) };
    Versions::of(&Binding {
        namespace: "shop".into(),
        name: "trial".into(),
        uid: "u".into(),
        created: at(BEGAN),
        target: "shop/app".into(),
        routes: RouteBinding {
            weights: WeightsAt::VirtualService { name: "app".into(), routes: vec![], delegate: false },
            baseline: to("stable"),
            candidates: vec![to("next")],
        },
        baseline: version("stable", baseline),
        candidates: vec![version("candidate", candidate)],
        metrics: vec![],
    })
    .remove(0)
}
