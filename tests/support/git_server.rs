//! A loopback git server: `git http-backend` behind hyper, with the faults that real servers show.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

/// The token that the server accepts.
pub(crate) const TOKEN: &str = "s3cr3t-token";
/// How that token must arrive.
const AUTHORIZATION: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcjN0LXRva2Vu";

/// What the server does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Serve, to those with the token.
    Serve,
    /// Answer this status, with `Retry-After: 7` and a `Location` elsewhere.
    Status(u16),
    /// Answer a web page.
    Page,
    /// Never answer.
    Stall,
    /// Answer a byte now and then.
    Trickle,
    /// Take the push, and break the connection instead of answering.
    LosePushAnswer,
}

/// A running server; stops when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves the bare repositories in `root`.
    pub(crate) async fn start(root: &Path) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(Mutex::new(Mode::Serve));
        let (root, modes) = (root.to_owned(), mode.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (root, modes) = (root.clone(), modes.clone());
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        answer(request, root.clone(), *modes.lock().unwrap())
                    });
                    // A broken connection is the client's business.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, mode, task }
    }

    /// The clone address of a repository.
    pub(crate) fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    /// Changes what later requests meet.
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn full(status: u16, kind: &str, body: Vec<u8>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(body)).boxed_unsync())
        .unwrap()
}

async fn answer(request: Request<Incoming>, root: PathBuf, mode: Mode) -> Result<Response<Body>, std::io::Error> {
    match mode {
        Mode::Serve | Mode::LosePushAnswer => {}
        Mode::Status(status) => {
            let mut response = full(status, "text/plain", Vec::new());
            response.headers_mut().insert("retry-after", "7".parse().unwrap());
            response.headers_mut().insert("location", "http://127.0.0.1:1/elsewhere".parse().unwrap());
            return Ok(response);
        }
        Mode::Page => return Ok(full(200, "text/html", b"<html>Sign in</html>".to_vec())),
        Mode::Stall => std::future::pending::<()>().await,
        Mode::Trickle => {
            // A packet that promises 65 520 bytes and takes its time.
            let bytes = futures::stream::unfold(true, |first| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok(Frame::data(Bytes::from_static(if first { b"fff0" } else { b"x" }))), false))
            });
            let response = Response::builder().header("content-type", "application/x-git-upload-pack-advertisement");
            return Ok(response.body(StreamBody::new(bytes).boxed_unsync()).unwrap());
        }
    }
    if request.headers().get("authorization").is_none_or(|value| value != AUTHORIZATION) {
        return Ok(full(401, "text/plain", Vec::new()));
    }
    let push = request.method() == hyper::Method::POST && request.uri().path().ends_with("git-receive-pack");
    let response = backend(request, &root).await;
    if push && mode == Mode::LosePushAnswer { Err(std::io::Error::other("lost")) } else { Ok(response) }
}

/// Runs `git http-backend` for one request, as the CGI that it is.
async fn backend(request: Request<Incoming>, root: &Path) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let kind = parts.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", root)
        .env("REMOTE_USER", "bot")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or(""))
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", kind)
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await.unwrap().stdout;
    let _ = feed.await.unwrap();
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(&output[end + 4..])).boxed_unsync());
    for line in std::str::from_utf8(&output[..end]).unwrap().split("\r\n") {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap();
        } else {
            response.headers_mut().insert(name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap());
        }
    }
    response
}
