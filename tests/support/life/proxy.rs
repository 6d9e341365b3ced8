//! Stands between the write-back and a real forge: counts what passes, and makes chosen requests go wrong.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

/// How long a delayed request is under way: longer than the next tries of one who does not wait for it.
const DELAY: Duration = Duration::from_millis(700);

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut, and the forge never hears of it.
    Cut,
    /// The forge carries it out; the connection is cut instead of an answer.
    Lost,
    /// The forge carries it out; the connection is cut within the answer.
    Half,
    /// The connection is cut; the request reaches the forge all the same, later.
    Late,
    /// It reaches the forge twice; the second answer comes back.
    Twice,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::Cut, Self::Lost, Self::Half, Self::Late, Self::Twice];
}

/// Which request: whether it writes, and how many such requests were before it.
pub type Nth = (bool, usize);

/// Whether a request, by its method and path, changes something at the forge.
pub fn writes(call: &str) -> bool {
    !call.starts_with("GET ") && !call.ends_with("/git-upload-pack")
}

/// What passed, and what is to go wrong.
#[derive(Default)]
struct Record {
    /// Method and path of each request, in order.
    requests: Vec<String>,
    /// Bytes of bodies, to the forge and back.
    bytes: (u64, u64),
    /// Fetches that began with nothing.
    clones: usize,
    /// How long the forge took for each request that it answered.
    took: Vec<(String, Duration)>,
    faults: BTreeMap<Nth, Fault>,
    struck: Vec<(Fault, String)>,
    late: Vec<JoinHandle<()>>,
}

/// A running proxy; stops when it is dropped.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    forge: String,
    client: reqwest::Client,
    record: Mutex<Record>,
    /// With faults one request reaches the forge at a time: of two openings at the same instant Gitea makes two requests,
    /// for it looks for another one before it makes its own.
    turn: Option<tokio::sync::Mutex<()>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// In front of the forge at an address; these requests go wrong.
    pub async fn start(forge: &str, faults: BTreeMap<Nth, Fault>) -> io::Result<Self> {
        Self::between(forge, faults, Some(tokio::sync::Mutex::default())).await
    }

    /// In front of the forge at an address; it counts only, and nothing waits for another.
    pub async fn counting(forge: &str) -> io::Result<Self> {
        Self::between(forge, BTreeMap::new(), None).await
    }

    async fn between(
        forge: &str,
        faults: BTreeMap<Nth, Fault>,
        turn: Option<tokio::sync::Mutex<()>>,
    ) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let client = reiter8::http::client().build();
        let client = client.map_err(io::Error::other)?;
        let record = Mutex::new(Record { faults, ..Record::default() });
        let shared = Arc::new(Shared { forge: forge.to_owned(), client, record, turn });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| pass(Arc::clone(&shared), request));
                    // A broken connection is what this is for.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self { url, shared, task })
    }

    /// The address under which the proxy knows what is at the forge's.
    pub fn before(&self, url: &str) -> String {
        url.replace(&self.shared.forge, &self.url)
    }

    /// Method and path of each request so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.record().requests.clone()
    }

    /// Bytes of bodies so far, to the forge and back.
    pub fn bytes(&self) -> (u64, u64) {
        self.shared.record().bytes
    }

    /// Fetches so far that began with nothing.
    pub fn clones(&self) -> usize {
        self.shared.record().clones
    }

    /// How long the forge took so far for each request, by method and path.
    pub fn took(&self) -> Vec<(String, Duration)> {
        self.shared.record().took.clone()
    }

    /// Waits for what is still under way to the forge; what went wrong, and at which request.
    pub async fn settled(&self) -> Vec<(Fault, String)> {
        let late = std::mem::take(&mut self.shared.record().late);
        for one in late {
            let _ = one.await;
        }
        self.shared.record().struck.clone()
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a request down; what is to become of it.
    fn note(&self, parts: &Parts, sent: &[u8]) -> Option<Fault> {
        let mut record = self.record();
        let line = format!("{} {}", parts.method, parts.uri.path());
        record.bytes.0 += sent.len() as u64;
        // One that has something says where its history ends.
        let says = |word: &[u8]| sent.windows(word.len()).any(|part| part == word);
        record.clones += usize::from(line.ends_with("/git-upload-pack") && says(b"deepen ") && !says(b"0035shallow "));
        let write = writes(&line);
        let before = record.requests.iter().filter(|call| writes(call) == write).count();
        record.requests.push(line.clone());
        let fault = record.faults.remove(&(write, before))?;
        record.struck.push((fault, line));
        Some(fault)
    }

    async fn forward(&self, parts: &Parts, body: Bytes) -> io::Result<(StatusCode, HeaderMap, Bytes)> {
        let _turn = match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let began = Instant::now();
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        let mut headers = parts.headers.clone();
        for own in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, ACCEPT_ENCODING] {
            headers.remove(own);
        }
        let request = self.client.request(parts.method.clone(), format!("{}{path}", self.forge));
        let answer = request.headers(headers).body(body).send().await.map_err(io::Error::other)?;
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for own in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(own);
        }
        let bytes = answer.bytes().await.map_err(io::Error::other)?;
        let mut record = self.record();
        record.bytes.1 += bytes.len() as u64;
        record.took.push((format!("{} {}", parts.method, parts.uri.path()), began.elapsed()));
        drop(record);
        Ok((status, headers, bytes))
    }
}

/// One request. An error cuts the connection.
async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let fault = shared.note(&parts, &body);
    let cut = || io::Error::other("cut");
    match fault {
        Some(Fault::Cut) => return Err(cut()),
        Some(Fault::Late) => {
            let later = Arc::clone(&shared);
            let late = tokio::spawn(async move {
                tokio::time::sleep(DELAY).await;
                let _ = later.forward(&parts, body).await;
            });
            shared.record().late.push(late);
            return Err(cut());
        }
        Some(Fault::Twice) => {
            shared.forward(&parts, body.clone()).await?;
        }
        Some(Fault::Lost | Fault::Half) | None => {}
    }
    let (status, headers, bytes) = shared.forward(&parts, body).await?;
    let length = bytes.len();
    let body = match fault {
        Some(Fault::Lost) => return Err(cut()),
        Some(Fault::Half) => {
            let half = bytes.slice(..length / 2);
            StreamBody::new(futures::stream::iter([Ok(Frame::data(half)), Err(cut())])).boxed_unsync()
        }
        _ => Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync(),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // Said in full, so that half of it is seen to be half.
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}
