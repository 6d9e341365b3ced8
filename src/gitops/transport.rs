//! Git's smart protocol over reqwest and rustls, so that libgit2 needs no TLS of its own.
//!
//! libgit2 sees addresses of a private scheme that carry a number; everything else (the real URL, the token, the deadline, the byte
//! budget) is looked up here under that number. So a token is in no URL, no error text and no file, and every failure is kept as
//! a typed [`Failure`] instead of the text that libgit2 would make of it. Called by [`super::repository`] alone, on threads that
//! may block.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Once, Weak};
use std::time::{Duration, Instant};

use base64::Engine as _;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use parking_lot::Mutex;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::{Certificate, StatusCode, Url, header};

use crate::http;
use crate::telemetry::{Provider, Timer};
use crate::text;

/// The private scheme under which libgit2 finds this transport.
const SCHEME: &str = "reiter8";
/// Longest wait for a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest text that is taken over from a server, in characters.
const MAX_WORDS: usize = 300;
/// Some servers take a client for git only by this prefix.
const USER_AGENT: &str = concat!("git/2.0 (reiter8 ", env!("CARGO_PKG_VERSION"), ")");

/// Who a token belongs to does not matter to the servers, but the name must not be empty.
const USER: &str = "x-access-token";
/// Most bytes of a server's list of refs, which libgit2 keeps in memory: room for 400,000, for forges list every request too.
const MOST_LISTED: u64 = 32 << 20;

/// A credential. It can be sent, never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl Token {
    /// Takes a token as read from a Secret; surrounding white space is a slip of the editor.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// A server's words without this token, for some repeat what they were sent: plain, or as basic authentication carries it.
    pub(super) fn hidden(&self, words: &str) -> String {
        if self.0.is_empty() {
            return words.to_owned();
        }
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{}", self.0));
        words.replace(&self.0, "redacted").replace(&basic, "redacted")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

/// Why an HTTP exchange with a git server failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 401: no token, or not a valid one.
    #[error("the git server rejected the credential (401)")]
    AuthenticationFailed,
    /// 403: the token may not do this.
    #[error("the git server denied access (403)")]
    PermissionDenied,
    /// 404: no such repository, or none that the token may see.
    #[error("the git server has no such repository, or does not show it to this credential (404)")]
    RepositoryNotFound,
    /// A redirect, which is never followed: the token was meant for one host.
    #[error("the repository moved: the git server redirects its address")]
    RepositoryMoved,
    /// 429: asked too often.
    #[error("rate limited by the git server")]
    RateLimited {
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The server is down, slow, or does not speak git.
    #[error("failed to reach the git server: {message}")]
    ProviderUnavailable {
        /// What happened, without addresses.
        message: String,
    },
    /// The answer is larger than allowed.
    #[error("failed to fetch: the answer is larger than {bytes} bytes")]
    TooLarge {
        /// The budget.
        bytes: u64,
    },
    /// The deadline passed.
    #[error("the git server did not finish in time")]
    TimedOut,
}

/// What one operation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes received by one operation: a shallow clone of a large environment repository is some ten MiB.
    pub bytes: u64,
    /// Longest time of one operation.
    pub wall_clock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 20, wall_clock: Duration::from_mins(2) }
    }
}

/// A git server's repository, its credential, and what the operation under way has left.
#[derive(Debug)]
pub(super) struct Endpoint {
    number: u64,
    url: Url,
    token: Option<Token>,
    ca: Option<Arc<str>>,
    limits: Limits,
    run: Mutex<Run>,
}

#[derive(Debug)]
struct Run {
    deadline: Instant,
    bytes_left: u64,
    failure: Option<Failure>,
}

static ENDPOINTS: LazyLock<Mutex<HashMap<u64, Weak<Endpoint>>>> = LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Endpoint {
    /// Makes a repository reachable for libgit2 until the value is dropped. `url` is checked by the caller.
    pub(super) fn open(url: Url, token: Option<Token>, ca: Option<Arc<str>>, limits: Limits) -> Arc<Self> {
        let run = Run { deadline: Instant::now(), bytes_left: 0, failure: None };
        let endpoint = Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            url,
            token,
            ca,
            limits,
            run: Mutex::new(run),
        });
        let mut endpoints = ENDPOINTS.lock();
        endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
        endpoints.insert(endpoint.number, Arc::downgrade(&endpoint));
        endpoint
    }

    /// The same repository for another operation, which has a clock and a budget of its own.
    pub(super) fn beside(&self) -> Arc<Self> {
        Self::open(self.url.clone(), self.token.clone(), self.ca.clone(), self.limits)
    }

    /// The address to give to libgit2.
    pub(super) fn address(&self) -> String {
        format!("{SCHEME}://{}", self.number)
    }

    /// Starts the clock and the byte budget of one operation.
    pub(super) fn begin(&self) {
        *self.run.lock() =
            Run { deadline: Instant::now() + self.limits.wall_clock, bytes_left: self.limits.bytes, failure: None };
    }

    /// What made the operation fail, if it was the exchange with the server.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.run.lock().failure.take()
    }

    fn find(address: &str) -> Option<Arc<Self>> {
        let number = address.strip_prefix(SCHEME)?.strip_prefix("://")?.trim_end_matches('/').parse().ok()?;
        ENDPOINTS.lock().get(&number)?.upgrade()
    }

    fn fail(&self, failure: Failure) -> io::Error {
        let text = failure.to_string();
        // The first failure is the cause; libgit2 may try again and meet others.
        self.run.lock().failure.get_or_insert(failure);
        io::Error::other(text)
    }

    fn send(&self, request: RequestBuilder, accept: &str) -> io::Result<Response> {
        let left = self.run.lock().deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.fail(Failure::TimedOut));
        }
        let request = request.timeout(left).header(header::USER_AGENT, USER_AGENT).header(header::ACCEPT, accept);
        let request = match &self.token {
            Some(token) => request.basic_auth(USER, Some(token.expose())),
            None => request,
        };
        let timer = Timer::start(Provider::Git);
        let answer = request.send().map_err(|error| unreachable_server(&error)).and_then(|r| accepted(r, accept));
        timer.stop(answer.as_ref().err().map(Failure::cause));
        answer.map_err(|failure| self.fail(failure))
    }

    /// A server's words without the credential, as [`one_line`].
    pub(super) fn harmless(&self, words: &str) -> String {
        let hidden = self.token.as_ref().map_or_else(|| words.to_owned(), |token| token.hidden(words));
        one_line(&hidden)
    }

    fn receive(&self, response: &mut Response, buffer: &mut [u8]) -> io::Result<usize> {
        if self.run.lock().deadline <= Instant::now() {
            return Err(self.fail(Failure::TimedOut));
        }
        let read = response.read(buffer).map_err(|_| {
            if self.run.lock().deadline <= Instant::now() {
                Failure::TimedOut
            } else {
                Failure::ProviderUnavailable { message: "the answer stopped".to_owned() }
            }
        });
        let read = read.map_err(|failure| self.fail(failure))?;
        let left = self.run.lock().bytes_left.checked_sub(read as u64);
        match left {
            Some(left) => self.run.lock().bytes_left = left,
            None => return Err(self.fail(Failure::TooLarge { bytes: self.limits.bytes })),
        }
        Ok(read)
    }
}

fn unreachable_server(error: &reqwest::Error) -> Failure {
    if error.is_timeout() && !error.is_connect() {
        return Failure::TimedOut;
    }
    let message = if error.is_connect() { "no connection" } else { "the exchange failed" };
    Failure::ProviderUnavailable { message: message.to_owned() }
}

/// The answer, if it is of the kind that was asked for.
fn accepted(response: Response, kind: &str) -> Result<Response, Failure> {
    if let Some(failure) = refusal(&response) {
        return Err(failure);
    }
    let right = response.headers().get(header::CONTENT_TYPE).is_some_and(|k| k.as_bytes() == kind.as_bytes());
    let stranger = || Failure::ProviderUnavailable { message: "the answer is not git's".to_owned() };
    right.then_some(response).ok_or_else(stranger)
}

fn refusal(response: &Response) -> Option<Failure> {
    let status = response.status();
    match status {
        StatusCode::OK => None,
        StatusCode::UNAUTHORIZED => Some(Failure::AuthenticationFailed),
        StatusCode::FORBIDDEN => Some(Failure::PermissionDenied),
        StatusCode::NOT_FOUND | StatusCode::GONE => Some(Failure::RepositoryNotFound),
        StatusCode::TOO_MANY_REQUESTS => {
            let seconds = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.parse().ok());
            Some(Failure::RateLimited { retry_after: seconds.map(Duration::from_secs) })
        }
        _ if status.is_redirection() => Some(Failure::RepositoryMoved),
        _ => Some(Failure::ProviderUnavailable { message: format!("status {}", status.as_u16()) }),
    }
}

/// A server's words, on one line and bounded.
pub(super) fn one_line(words: &str) -> String {
    text::one_line(words, MAX_WORDS)
}

/// The certificates in a PEM text; none if it holds none, or one that cannot be read.
pub(super) fn authorities(pem: &str) -> Option<Vec<Certificate>> {
    Certificate::from_pem_bundle(pem.as_bytes()).ok().filter(|certificates| !certificates.is_empty())
}

/// The HTTP client of all git exchanges that trust the same authorities. It lives as long as the process: a blocking client must not
/// be dropped on an async thread. `HTTPS_PROXY` and its kin are obeyed.
fn client(ca: Option<&Arc<str>>) -> Result<Client, git2::Error> {
    static CLIENTS: LazyLock<Mutex<HashMap<Option<Arc<str>>, Client>>> = LazyLock::new(Mutex::default);
    let mut clients = CLIENTS.lock();
    if let Some(client) = clients.get(&ca.cloned()) {
        return Ok(client.clone());
    }
    let failed = || git2::Error::from_str("failed to set up TLS");
    let builder = http::blocking_client().connect_timeout(CONNECT_TIMEOUT);
    let builder = match ca {
        Some(pem) => builder.tls_certs_merge(authorities(pem).ok_or_else(failed)?),
        None => builder,
    };
    let client = builder.build().map_err(|_| failed())?;
    clients.insert(ca.cloned(), client.clone());
    Ok(client)
}

struct Smart;

impl SmartSubtransport for Smart {
    fn action(&self, address: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let endpoint = Endpoint::find(address).ok_or_else(|| git2::Error::from_str("the repository was closed"))?;
        let (path, kind) = match service {
            Service::UploadPackLs => {
                ("info/refs?service=git-upload-pack", "application/x-git-upload-pack-advertisement")
            }
            Service::UploadPack => ("git-upload-pack", "application/x-git-upload-pack-result"),
            Service::ReceivePackLs => {
                ("info/refs?service=git-receive-pack", "application/x-git-receive-pack-advertisement")
            }
            Service::ReceivePack => ("git-receive-pack", "application/x-git-receive-pack-result"),
        };
        let url = format!("{}/{path}", endpoint.url.as_str().trim_end_matches('/'));
        let get = matches!(service, Service::UploadPackLs | Service::ReceivePackLs);
        Ok(Box::new(Exchange {
            client: client(endpoint.ca.as_ref())?,
            endpoint,
            url,
            kind,
            get,
            listed: 0,
            body: Vec::new(),
            response: None,
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer: what is written is the body, the first read sends it.
struct Exchange {
    endpoint: Arc<Endpoint>,
    client: Client,
    url: String,
    kind: &'static str,
    get: bool,
    /// Bytes of a list of refs that came so far.
    listed: u64,
    body: Vec<u8>,
    response: Option<Response>,
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.response.is_none() {
            self.send()?;
        }
        // Just sent, if it was not before.
        let Some(response) = &mut self.response else { return Ok(0) };
        let read = self.endpoint.receive(response, buffer)?;
        if self.get {
            self.listed += read as u64;
            if self.listed > MOST_LISTED {
                return Err(self.endpoint.fail(Failure::TooLarge { bytes: MOST_LISTED }));
            }
        }
        Ok(read)
    }
}

impl Exchange {
    fn send(&mut self) -> io::Result<()> {
        let request = if self.get {
            self.client.get(&self.url)
        } else {
            let kind = self.kind.replace("-result", "-request");
            self.client.post(&self.url).header(header::CONTENT_TYPE, kind).body(std::mem::take(&mut self.body))
        };
        self.response = Some(self.endpoint.send(request, self.kind)?);
        Ok(())
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prepares libgit2 once per process: this transport is known, and no configuration of the machine or its user is read, so that
/// none can rewrite addresses or add helpers. Called before any other use of libgit2's network.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        use git2::ConfigLevel::{Global, ProgramData, System, XDG};
        // SAFETY: both calls change libgit2's global state without a lock. `Once` keeps them from running twice, and every
        // repository of this crate is opened behind this function, so nothing reads that state before or meanwhile.
        #[allow(unsafe_code)]
        let results = unsafe {
            [Global, XDG, System, ProgramData]
                .map(|level| git2::opts::set_search_path(level, ""))
                .into_iter()
                .chain([git2::transport::register(SCHEME, |remote| Transport::smart(remote, true, Smart))])
        };
        for error in results.filter_map(Result::err) {
            tracing::error!(error = error.message(), "failed to prepare libgit2");
        }
    });
}
