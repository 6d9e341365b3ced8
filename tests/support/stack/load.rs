//! An open-loop client: one request every 1/rps seconds, whatever the answers do. No retries of any kind.
//!
//! Every request has a connection of its own, so that a kept connection that the server closes at the same moment is
//! never mistaken for a lost request, and no client library can retry. A socket error, a time-out or a status other
//! than 2xx is a failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What became of one request.
#[derive(Clone, Debug)]
struct Answer {
    at: Instant,
    /// The status, or the socket's error.
    outcome: Result<u16, String>,
    version: String,
}

/// Counts over a span of time.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub sent: u64,
    /// Answered with 2xx.
    pub ok: u64,
    /// Answered with another status.
    pub bad: u64,
    /// Not answered.
    pub lost: u64,
    /// Answers of any status, by version.
    pub by_version: BTreeMap<String, u64>,
    /// Requests without a good answer, by version; those that were not answered have none.
    pub failed_by_version: BTreeMap<String, u64>,
    /// The first failures, for messages.
    pub failures: Vec<String>,
}

impl Counts {
    /// Requests without a good answer.
    pub fn failed(&self) -> u64 {
        self.bad + self.lost
    }
}

/// A running load.
pub struct Load {
    answers: Arc<Mutex<Vec<Answer>>>,
    task: JoinHandle<()>,
    stop: tokio::sync::watch::Sender<bool>,
    began: Instant,
}

impl Load {
    /// Starts sending to `address` for the virtual host `host`.
    pub fn start(address: SocketAddr, host: &str, rps: u32) -> Self {
        let answers = Arc::new(Mutex::new(vec![]));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(send_all(address, host.to_owned(), rps, Arc::clone(&answers), stopped));
        Self { answers, task, stop, began: Instant::now() }
    }

    /// What was answered since a moment.
    pub fn since(&self, moment: Instant) -> Counts {
        count(&self.answers.lock().unwrap_or_else(PoisonError::into_inner), moment, self.began)
    }

    /// What was sent from a moment on, but for the last `short` time, whose answers may still be under way.
    pub fn between(&self, from: Instant, short: Duration) -> Counts {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let within: Vec<Answer> = answers.iter().filter(|a| a.at.elapsed() > short).cloned().collect();
        count(&within, from, self.began)
    }

    /// Stops sending, waits for what is under way, and counts everything.
    pub async fn stop(self) -> Counts {
        let _ = self.stop.send(true);
        let _ = self.task.await;
        count(&self.answers.lock().unwrap_or_else(PoisonError::into_inner), self.began, self.began)
    }
}

fn count(answers: &[Answer], moment: Instant, began: Instant) -> Counts {
    let mut counts = Counts::default();
    for answer in answers.iter().filter(|a| a.at >= moment) {
        counts.sent += 1;
        match &answer.outcome {
            Ok(200..=299) => counts.ok += 1,
            Ok(_) => counts.bad += 1,
            Err(_) => counts.lost += 1,
        }
        if answer.outcome.is_ok() {
            *counts.by_version.entry(answer.version.clone()).or_default() += 1;
        }
        if matches!(answer.outcome, Ok(200..=299)) {
            continue;
        }
        *counts.failed_by_version.entry(answer.version.clone()).or_default() += 1;
        if counts.failures.len() < 20 {
            let seconds = answer.at.duration_since(began).as_secs_f64();
            counts.failures.push(format!("{seconds:.2} s: {:?} {}", answer.outcome, answer.version));
        }
    }
    counts
}

async fn send_all(
    address: SocketAddr,
    host: String,
    rps: u32,
    answers: Arc<Mutex<Vec<Answer>>>,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(rps.max(1))));
    // Open loop: a late tick is made up for, not left out.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {
                let (host, answers) = (host.clone(), Arc::clone(&answers));
                under_way.spawn(async move {
                    let at = Instant::now();
                    let sent = tokio::time::timeout(TIMEOUT, send(address, &host)).await;
                    let (outcome, version) = match sent {
                        Ok(Ok((status, version))) => (Ok(status), version),
                        Ok(Err(error)) => (Err(error.to_string()), String::new()),
                        Err(_) => (Err("timed out".to_owned()), String::new()),
                    };
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push(Answer { at, outcome, version });
                });
                while under_way.try_join_next().is_some() {}
            }
        }
    }
    while under_way.join_next().await.is_some() {}
}

async fn send(address: SocketAddr, host: &str) -> anyhow::Result<(u16, String)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get("/productpage").header("host", host).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let version = answer.headers().get("x-version").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    answer.into_body().collect().await?;
    Ok((status, version))
}
