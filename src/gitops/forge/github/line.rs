//! One exchange with GitHub's API: how it is reached, what it refuses, and when it wants to be left alone.
//!
//! Nothing is sent a second time: a request that was opened could be opened twice. Used by the clients of GitHub alone.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::super::repository::checked;
use super::super::super::transport::{Token, one_line};
use super::super::answer::{client, credential, exchange, number, parse, pause, retry_after, unavailable};
use super::super::memory::{Known, Memory, Who};
use super::super::{ForgeError, Way};

/// GitHub asks for this pause when it names none.
const LEAST_PAUSE: Duration = Duration::from_secs(60);
/// The word before a token.
const SCHEME: &str = "Bearer";
/// The form of answers, and the API's version.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.github+json");
const VERSION: (&str, HeaderValue) = ("x-github-api-version", HeaderValue::from_static("2022-11-28"));

/// A repository's address, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// `https://host/owner/name`
    pub(super) web: Url,
    /// `https://api.github.com/`, `https://host/api/v3` at an Enterprise server.
    pub(super) root: Url,
    pub(super) owner: String,
    pub(super) name: String,
}

impl Address {
    /// Of a clone address, `https://HOST/OWNER/NAME.git`.
    pub(super) fn new(clone_url: &str, allow_http: bool) -> Result<Self, ForgeError> {
        let refuse = |why| ForgeError::AddressRefused { why };
        let mut web = checked(clone_url, allow_http).map_err(|_| refuse("not an acceptable clone address"))?;
        let path = web.path().trim_matches('/').trim_end_matches(".git").to_owned();
        let Some((owner, name)) = path.split_once('/').filter(|(_, name)| !name.contains('/')) else {
            return Err(refuse("GitHub's repositories have an owner and a name, and nothing else in their path"));
        };
        let root = api_root(&web).ok_or_else(|| refuse("its host is not one"))?;
        web.set_path(&path);
        Ok(Self { web, root, owner: owner.to_owned(), name: name.to_owned() })
    }
}

/// A call's method and body.
pub(super) enum Ask {
    Get,
    /// A read that is repeated: an answer that is known costs nothing of what GitHub counts.
    Again,
    Post(Value),
    Patch(Value),
    Put(Value),
}

/// The API below an address, with a credential.
#[derive(Debug, Clone)]
pub(super) struct Line {
    client: Client,
    base: Url,
    token: Option<Token>,
    who: Who,
    memory: Arc<Memory>,
}

impl Line {
    /// The API of a place, below some names of its root. `token` is a user's, an installation's, or the signed claim of an App.
    pub(super) fn new(place: &Address, below: &[&str], token: Option<&Token>, way: &Way) -> Result<Self, ForgeError> {
        let mut base = place.root.clone();
        let no_path = |()| ForgeError::AddressRefused { why: "it has no path" };
        base.path_segments_mut().map_err(no_path)?.pop_if_empty().extend(below);
        let host = place.root.host_str().unwrap_or_default();
        let host = format!("{host}:{}", place.root.port_or_known_default().unwrap_or_default());
        // A token that is no header's text is refused now, not at its first use.
        token.map(|token| credential(SCHEME, token)).transpose()?;
        let (who, memory) = (Who::new(&host, token), Arc::clone(&way.memory));
        Ok(Self { client: client(way)?, base, token: token.cloned(), who, memory })
    }

    #[cfg(test)]
    pub(super) fn with(client: Client, base: Url) -> Self {
        Self { client, base, token: None, who: Who::new("test", None), memory: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// One call; an error if there is no answer, or one that asks to wait. While GitHub wants to be left alone it is.
    pub(super) async fn call(&self, ask: Ask, path: &[&str], query: &[(&str, &str)]) -> Result<Reply, ForgeError> {
        if let Some(left) = self.memory.pause(&self.who) {
            return Err(ForgeError::RateLimited { retry_after: Some(left) });
        }
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| ForgeError::AddressRefused { why: "it has no path" })?.extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let again = matches!(ask, Ask::Again);
        let known = again.then(|| self.memory.answer(&self.who, url.as_str())).flatten();
        let reply = self.exchange(ask, &url, known.as_ref()).await?;
        if let Some(wait) = reply.patience(SystemTime::now()) {
            self.memory.set_pause(&self.who, wait);
            return Err(ForgeError::RateLimited { retry_after: Some(wait) });
        }
        match (reply.status, known) {
            (StatusCode::NOT_MODIFIED, Some(known)) => Ok(Reply { status: StatusCode::OK, body: known.body, ..reply }),
            (StatusCode::OK, _) if again => {
                if let Some(tag) = reply.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
                    let known = Known { tag: tag.to_owned(), body: reply.body.clone() };
                    self.memory.keep_answer(&self.who, url.as_str(), known);
                }
                Ok(reply)
            }
            _ => Ok(reply),
        }
    }

    async fn exchange(&self, ask: Ask, url: &Url, known: Option<&Known>) -> Result<Reply, ForgeError> {
        let (method, body) = match ask {
            Ask::Get | Ask::Again => (Method::GET, None),
            Ask::Post(body) => (Method::POST, Some(body)),
            Ask::Put(body) => (Method::PUT, Some(body)),
            Ask::Patch(body) => (Method::PATCH, Some(body)),
        };
        let mut request = self.client.request(method, url.clone()).header(header::ACCEPT, MEDIA_TYPE);
        request = request.header(VERSION.0, VERSION.1);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, credential(SCHEME, token)?);
        }
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, &known.tag);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let (status, headers, body) = exchange(request, self.token.as_ref()).await?;
        Ok(Reply { status, headers, body })
    }
}

/// An answer of any status, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// The body of a refusal.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    message: String,
    /// Objects with `message`, or `field` and `code`; plain texts at some calls.
    #[serde(default)]
    errors: Vec<Value>,
}

impl Reply {
    /// How long GitHub wants not to be asked, when that is its answer.
    fn patience(&self, now: SystemTime) -> Option<Duration> {
        if !matches!(self.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
            return None;
        }
        if let Some(wait) = retry_after(&self.headers) {
            return Some(wait);
        }
        if number(&self.headers, "x-ratelimit-remaining") == Some(0) {
            let reset = number(&self.headers, "x-ratelimit-reset")?;
            let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            return Some(pause(reset.saturating_sub(now)));
        }
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS || self.complaint().says("rate limit");
        limited.then_some(LEAST_PAUSE)
    }

    /// Turns a refusal into its error.
    pub(super) fn accept(&self) -> Result<(), ForgeError> {
        match self.status {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => Err(ForgeError::AuthenticationFailed),
            StatusCode::FORBIDDEN if self.complaint().says("archived") => Err(ForgeError::RepositoryArchived),
            StatusCode::FORBIDDEN => Err(ForgeError::PermissionDenied),
            StatusCode::NOT_FOUND => Err(ForgeError::NotFound),
            status if status.is_redirection() => Err(ForgeError::RepositoryMoved),
            status if status.is_client_error() => Err(ForgeError::Refused { message: self.complaint().words() }),
            status => Err(unavailable(&format!("status {}", status.as_u16()))),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        self.accept().and_then(|()| parse(&self.body))
    }

    pub(super) fn complaint(&self) -> Complaint {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Complaint {
    /// The message and the details, made harmless.
    pub(super) fn words(&self) -> String {
        let mut words = self.message.clone();
        for error in &self.errors {
            let text = |key| error.get(key).and_then(Value::as_str);
            let detail = match (error.as_str().or_else(|| text("message")), text("field"), text("code")) {
                (Some(message), _, _) => message.to_owned(),
                (None, Some(field), Some(code)) => format!("{field} is {code}"),
                (None, _, code) => code.unwrap_or("unknown").to_owned(),
            };
            // Writing to a text cannot fail.
            let _ = write!(words, "; {detail}");
        }
        one_line(&words)
    }

    pub(super) fn says(&self, phrase: &str) -> bool {
        self.words().to_lowercase().contains(&phrase.to_lowercase())
    }

    /// `head` or `base` is no branch.
    pub(super) fn names_missing_branch(&self) -> bool {
        self.errors.iter().any(|error| {
            let field = error.get("field").and_then(Value::as_str);
            matches!(field, Some("head" | "base")) && error.get("code").and_then(Value::as_str) == Some("invalid")
        })
    }
}

/// The root of the API that serves a repository's address.
fn api_root(web: &Url) -> Option<Url> {
    let mut root = web.clone();
    match web.host_str()? {
        "github.com" => root.set_host(Some("api.github.com")).ok()?,
        // Enterprise Cloud with its data in one region.
        host if host.ends_with(".ghe.com") => root.set_host(Some(&format!("api.{host}"))).ok()?,
        _ => {
            root.set_path("/api/v3");
            return Some(root);
        }
    }
    root.set_path("/");
    Some(root)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &Value) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_string().into_bytes() }
    }

    #[test]
    fn the_api_is_where_github_says_and_nowhere_else() {
        let root = |web: &str| api_root(&web.parse().unwrap()).unwrap().to_string();
        assert_eq!(root("https://github.com/acme/env.git"), "https://api.github.com/");
        assert_eq!(root("https://acme.ghe.com/acme/env"), "https://api.acme.ghe.com/");
        assert_eq!(root("https://git.acme.example:8443/acme/env"), "https://git.acme.example:8443/api/v3");
        assert_eq!(root("https://github.com.evil.example/a/b"), "https://github.com.evil.example/api/v3");
    }

    #[test]
    fn a_pause_is_what_github_asks_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let asked = |status, headers: &[(&'static str, &str)], message: &str| {
            reply(status, headers, &json!({"message": message})).patience(now).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(403, &[("retry-after", "7")], ""), Some(7));
        assert_eq!(asked(429, &[], ""), Some(60));
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1030")];
        assert_eq!(asked(403, &spent, "API rate limit exceeded"), Some(30));
        assert_eq!(asked(403, &[], "You have exceeded a secondary rate limit."), Some(60));
        assert_eq!(asked(403, &[("retry-after", "999999999999")], ""), Some(3600));
        assert_eq!(
            asked(403, &[("x-ratelimit-remaining", "17")], "Resource not accessible by personal access token"),
            None
        );
        assert_eq!(asked(404, &[("retry-after", "7")], ""), None);
    }

    #[test]
    fn refusals_keep_their_words_without_control_characters() {
        let body = json!({"message": "Validation\u{1b} Failed", "errors": [
            {"resource": "PullRequest", "field": "head", "code": "invalid"}, "a text", {"code": "custom", "message": "more"}, 7]});
        let refusal = reply(422, &[], &body);
        assert!(refusal.complaint().names_missing_branch());
        let words = "Validation  Failed; head is invalid; a text; more; unknown".to_owned();
        assert_eq!(refusal.accept(), Err(ForgeError::Refused { message: words }));
        assert_eq!(reply(502, &[], &Value::Null).accept(), Err(unavailable("status 502")));
        assert_eq!(reply(301, &[], &Value::Null).accept(), Err(ForgeError::RepositoryMoved));
        let archived = json!({"message": "Repository was archived so is read-only."});
        assert_eq!(reply(403, &[], &archived).accept(), Err(ForgeError::RepositoryArchived));
    }
}
